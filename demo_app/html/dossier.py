"""The dossier of an entity as HTML: its verdict, and a table with one row per relation."""

from __future__ import annotations

import math
from html import escape

import lib
from lib.interpret.entity_dossier import Line, Told, facts_about
from lib.interpret.entity_inside import Inside

from .render import NOTHING, number, numbers

WHAT = {
    "agreement": "How many of the wordings of the question give this answer.",
    "lift": "How much more probable the answer is here than for other subjects of the same "
    "question: the difference of log-probabilities, in nats. 0 is an answer that everybody gets.",
    "layer": "The first layer from which on the model's own output would say this answer.",
}


def shown(found: lib.Dossier) -> str:
    """The verdict, the edits that name the entity, and the table."""
    both = any(line.after is not line.before for line in found.lines)
    edits = "".join(
        f"<li>{escape(edit.editor)} wrote “{escape(fact.text)} {escape(fact.target_new)}”</li>"
        for edit in found.edits
        for fact in facts_about(edit, found.entity)
    )
    live = f'<ul class="edits-of">{edits}</ul>' if edits else ""
    rows = "".join(_row(line, both) for line in found.lines)
    heads = ["Asked", "Before", *(["After"] if both else [])]
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        f'<p class="verdict" role="status">{escape(found.verdict)}</p>{live}'
        f'<table class="rows dossier {"both" if both else "one"}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>{_inside(found.inside)}"
    )


def _inside(found: Inside | None) -> str:
    """Keys, neighbors and features, folded; "" where they were not read."""
    if found is None:
        return ""
    keys = [
        (
            str(key.layer), f"{key.length:.2f} ({_percent(key.length_part)})",
            f"{key.q:.0f} ({_percent(key.q_part)})", _pairs(key.lands), _pairs(key.suffers),
            f"{key.usual:.2f}", f"{key.z:.1f} ({key.z_most:.1f})",
        )
        for key in found.keys
    ]  # fmt: skip
    near = [
        (str(one.layer), _pairs(one.nearest), f"{one.usual:.2f} ({_percent(one.part)})")
        for one in found.neighbors
    ]
    opened = [
        (
            f"layer {layer.layer}, {one.number}", f"{one.size:.2f} ({_percent(one.part)})",
            " ".join(one.up), " ".join(one.down),
            "–" if one.change is None else f"{one.change:+.3f}",
        )
        for layer in found.features
        for one in layer.top[:3]
    ]  # fmt: skip
    shares = "; ".join(
        f"layer {layer.layer} {_percent(layer.share)} (typical {_percent(layer.usual)})"
        for layer in found.features
    )
    recalled = [
        (
            one.relation, one.answer.strip(), f"{one.p_clean:.3f}", f"{one.p_noisy:.3f}",
            f"{one.effect:.3f} ({one.low:.3f} to {one.high:.3f})", str(one.layer),
            "–" if one.usual is None else f"{one.usual:.3f}",
        )
        for one in found.effects
    ]  # fmt: skip
    others, few = found.keys[0].others, found.features[0].others
    zero = "No relation is answered consistently, so no feature was set to zero."
    if found.relations and found.chance is not None:
        zero = (
            f"Set to zero: change of the lift of {', '.join(found.relations)}, in nats; of "
            f"features drawn at random at most {found.chance:.3f}. Only this says what a "
            "feature does to answers."
        )
    parts = (
        (
            "Its key, and whom an edit of it disturbs",
            numbers(
                (
                    "Layer", "‖k‖", "q", "an edit lands on", "suffers from", "typical",
                    "z (others)",
                ),
                keys,
                (
                    f"In brackets: smaller for so many of {others} other entities. Names with ρ, "
                    "the share of a write that lands; typical: the largest of a typical other. "
                    "z: how far the weights stretch its direction, large after an edit; in "
                    "brackets the largest of the others.",
                ),
            ),
        ),
        (
            "Its nearest neighbors, by keys",
            numbers(
                ("Layer", "nearest", "typical"), near,
                (
                    "Cosine in the metric of C⁻¹. Typical: of another entity with its own nearest "
                    "one (in brackets: for how many that is less alike).",
                ),
            ),
        ),
        (
            "The features it opens",
            numbers(
                ("Feature", "size", "writes up", "writes down", "set to zero"), opened,
                (
                    f"Size: |k|·‖W‖ (in brackets: smaller for so many of {few} others). Features "
                    f"that most others open are left out. The largest 20 make of ‖Wk‖²: {shares}.",
                    zero,
                ),
            ),
        ),
    )  # fmt: skip
    if recalled:
        parts += (
            (
                "Through which layers its answers are recalled",
                numbers(
                    (
                        "Asked", "answer", "p", "p with noise", "brought back", "around layer",
                        "of others",
                    ),
                    recalled,
                    (
                        "Noise on its tokens makes the model forget; the clean outputs of ten MLPs "
                        "in a row, put back at its last token, bring a part of p back. In brackets "
                        "the least and the most over three noises. Of others: the most that it is "
                        "in any layer for a typical other subject and its own answer. It says "
                        "where the answer flows, not where an edit works best.",
                    ),
                ),
            ),
        )  # fmt: skip
    return "".join(
        f'<details class="inside"><summary>{name}</summary>{table}</details>'
        for name, table in parts
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def _pairs(pairs: tuple[tuple[str, float], ...]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in pairs[:3])


def _row(line: Line, both: bool) -> str:
    """One relation: the first wording that was asked, with the answers."""
    others = escape(" · ".join(line.prompts[1:]))
    cells = f'<td class="prompt" title="{others}">{escape(line.prompts[0])} …</td>'
    cells += _cell("Before", line.before, False)
    if both:
        cells += _cell("After", line.after, line.changed)
    kind = ' class="moved"' if both and line.changed else ""
    return f"<tr{kind}>{cells}</tr>"


def _cell(name: str, told: Told, changed: bool) -> str:
    """An answer, gray where it is not consistent, with its numbers."""
    text = escape(told.answer) or NOTHING
    if changed:
        text = f"<mark>{text}</mark>"
    kind = "sure" if told.consistent else "unsure"
    agreed = round(told.agreement * len(told.replies))
    lift = "–" if math.isnan(told.lift) else f"{told.lift:+.1f}"
    layer = "–" if told.layer is None else str(told.layer)
    parts = [
        f'<abbr title="{WHAT["agreement"]}">{agreed}/{len(told.replies)}</abbr>',
        f'<abbr title="{WHAT["lift"]}">lift {lift}</abbr>',
        f"p {number(told.p)}",
        f'<abbr title="{WHAT["layer"]}">layer {layer}</abbr>',
    ]
    numbers = "".join(f"<span>{part}</span> " for part in parts)
    return (
        f'<td class="{kind}" data-name="{name}"><span>{text}</span>'
        f'<small class="free numbers">{numbers}</small></td>'
    )
