"""“Was this model edited?” as HTML: the findings, the removal, and the answer.

The evidence in the weights stays folded until the visitor has guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lib.workbench import plot

from ..session.findings import Findings, Said, Told, Undone
from ..session.subject_in_view import listed
from ..session.verdicts import judged
from ..session.views import Row
from .figures import picture
from .render import NOTHING, folded, hint, in_words, numbers, table

LISTED = 5  # candidates listed in the table


def shown(found: Findings) -> str:
    """All layers, with names to choose from; then the verdict and the candidates."""
    names = sorted(one.name for one in found.suspects[:LISTED])
    buttons = "".join(f'<button type="button" data-whom>{escape(name)}</button> ' for name in names)
    guess = f"Guess first: does a layer stand out, and who or what was it about? Maybe: {buttons}"
    return (
        f'<div class="trace">{_layers(found)}{hint(guess)}'
        f"{folded('What the weights show', _verdict(found))}</div>"
    )


def _verdict(found: Findings) -> str:
    """The verdict, its reasons and the candidates."""
    lines = [f"{one.where}: z {one.value:.1f} ({one.name})" for one in found.places]
    return (
        f'<p class="verdict" role="status">{escape(found.verdict)}</p>'
        f'<p class="note">from the weights, without a base model · {found.candidates:,} candidates'
        f"</p>{_candidates(found)}{in_words(lines)}"
    )


def undone(found: Undone) -> str:
    """The effect of the removal, with its control."""
    heads = ("Weights", "About the subject", "About others", "Distance")
    rows = [
        (way.name, f"{way.back}/{way.asked}", f"{way.kept}/{way.others}", f"{way.left:.1f}")
        for way in found.ways
    ]
    notes = (
        f"About the subject: prompts about {found.subject} where the next word is the unedited "
        "model's again; about others: the same for other subjects. Distance from the unedited "
        "weights: 1 is as far as the edit moved them. The first row is the control, using the "
        "same path without removing anything. The reversal itself never saw the unedited model.",
    )
    layers = f"{'layer' if len(found.layers) == 1 else 'layers'} {listed(list(found.layers))}"
    return (
        f'<p class="verdict">{escape(found.subject)} removed from {layers}</p>'
        f"{numbers(heads, rows, notes)}{_said(found.said)}"
    )


def told(found: Told) -> str:
    """The edit itself, how much of it was named, and whether it took."""
    many = f" and {found.count - 1} more" if found.count > 1 else ""
    where = f" in layer {escape(found.layers)}" if found.layers else ""
    place = (
        "isn't in the top ten" if found.place is None else f"is number {found.place} on the list"
    )
    lines = [_mark(found.place == 1, f"the subject {place}")]
    if found.layer_hit is not None:
        lines.append(_mark(found.layer_hit, "the named layer is one that the edit wrote"))
    rows = [Row("edit", one.prompt, one.base, None, one.edited) for one in found.said[:1]]
    if any(judged(row, found.target).good is False for row in rows):
        lines.append(_mark(False, "the edit itself did not take: the model doesn't say it"))
    return (
        '<div class="told" role="status">'
        f"<p>It was <strong>{escape(found.editor)}</strong>{where}, which wrote “"
        f"{escape(found.text)} <b>{escape(found.target)}</b>”{many}.</p>"
        f'<ul class="stated">{"".join(lines)}</ul></div>{_said(found.said)}'
    )


def _mark(good: bool, words: str) -> str:
    kind, icon = ("good", "✓") if good else ("bad", "✗")
    return f'<li><small class="{kind}">{icon}</small> {escape(words)}</li>'


def _candidates(found: Findings) -> str:
    """The candidates with the strongest evidence."""
    rows = [
        (
            f"{one.name}{'  ← stands out' if one.z >= found.threshold else ''}",
            f"{one.z:.2f}",
            listed(list(one.layers)),
        )
        for one in found.suspects[:LISTED]
    ]
    note = f"A candidate with z of at least {found.threshold:g} is called a suspect."
    return numbers(("Candidate", "z", "layers"), rows, [note])


def _layers(found: Findings) -> str:
    """The largest z in each layer, with the unedited model's and the threshold."""
    layers = [int(place.where.removeprefix("layer ")) for place in found.places]
    series = {"edited": [place.value for place in found.places]}
    if any(place.null is not None for place in found.places):
        series["unedited"] = [place.null for place in found.places]
    figure = plot.layer_curve(layers, series, "largest z of any subject")
    figure.axes[0].axhline(found.threshold, color=plot.QUIET, linewidth=1, linestyle="--")
    said = (
        "z measures how far one subject is beyond the others: how many standard deviations its "
        f"direction in the weights is longer than the median. Dashed: {found.threshold:g}, the "
        "smallest z of a suspect. The verdict also combines layers: a subject may stand out in "
        "several of them even if no single layer shows it."
    )
    return f"{picture(figure, said)}{hint(said)}"


def _said(rows: Sequence[Said]) -> str:
    """Prompts with the unedited, the edited and the reversed model's answers."""
    if not rows:
        return ""
    names = ["Unedited", "Edited", *(["Reversed"] if any(row.reversed for row in rows) else [])]
    body = []
    for row in rows:
        texts = (row.base, row.edited, row.reversed)
        cells = "".join(
            f'<td data-name="{name}"><span>{escape(text) or NOTHING}</span></td>'
            for name, text in zip(names, texts, strict=False)
        )
        body.append(f'<tr><td class="prompt">{escape(row.prompt)} …</td>{cells}</tr>')
    return table("rows said", ("Prompt", *names), body)
