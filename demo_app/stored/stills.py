"""The lab's six questions as cards, each with a small picture of its stored answer.

A picture has 150 × 96 units and is drawn from the model's stored examples; a card has no picture if
its question has no stored answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..session.views import clause, tally
from .examples import Examples

ASKED = {  # relations in the first picture, and their names there
    "located in the city of": "city",
    "country of city": "country",
    "continent of": "continent",
}
INKS = {"retrieval": ("good", ""), "rome": ("accent", ""), "ft": ("quiet", "5 3")}
BROKEN = ("bad", "2 2")  # style for any other line

Still = tuple[str, str, str]  # the picture's elements, its text alternative, and the card's caption


def cards(questions: Sequence[tuple[str, str]], kept: Examples | None) -> str:
    """The cards for these (key, title) pairs; clicking one opens its question."""
    found = stills(kept) if kept is not None else {}
    buttons = []
    for key, title in questions:
        picture, line = "", "Try it with your last edit."
        if key in found:
            parts, said, line = found[key]
            picture = (
                f'<svg viewBox="0 0 150 96" role="img" aria-label="{escape(said)}">{parts}</svg>'
            )
        buttons.append(
            f'<button type="button" data-question="{key}" aria-expanded="false">'
            f"<span>{picture}</span><span><b>{escape(title)}</b><small>{escape(line)}</small></span>"
            "</button>"
        )
    return f'<div class="questions">{"".join(buttons)}</div>'


def stills(kept: Examples) -> dict[str, Still]:
    """{question's key: its picture}, for the questions with a stored answer."""
    made = {
        "dossier": _dossier,
        "interference": _disturbed,
        "lifelong": _race,
        "layers": _layers,
        "trace": _traced,
        "lasts": _lasting,
    }
    found = {key: draw(kept) for key, draw in made.items()}
    return {key: still for key, still in found.items() if still is not None}


def _dossier(kept: Examples) -> Still | None:
    """Three answers about the subject, before and after."""
    lines = {line.relation: line for line in (kept.dossier.lines if kept.dossier else ())}
    some = [(name, lines[of]) for of, name in ASKED.items() if of in lines]
    if not some:
        return None
    parts, said = [], []
    for i, (name, line) in enumerate(some):
        y, sure = 20 + 30 * i, line.after.consistent
        old, new = (short(clause(one.answer)) for one in (line.before, line.after))
        moved = line.changed
        said_now = (new if sure else f"{new}?") if moved else "same"
        ink = "accent" if moved and sure else "quiet"
        parts += [
            _text(0, y, name, 11, "quiet"),
            _text(58, y, old, 12, "quiet", more=' text-decoration="line-through"' * moved),
            _text(104, y, said_now, 12, ink, moved and sure),
            f'<path d="M0 {y + 9}H150" stroke="var(--line)"/>',
        ]
        said.append(f"{name}: {old}, then {said_now}")
    names = ", ".join(name for name, _ in some)
    subject = kept.dossier.entity
    return "".join(parts), "; ".join(said), f"{subject} after its edit: {names}."


def _disturbed(kept: Examples) -> Still | None:
    """The facts with the same question, ordered by key similarity, raising those that moved."""
    found = kept.forecast[0] if kept.forecast else None
    alike = [one for one in found.victims if one.group == "same question"] if found else []
    if not alike:
        return None
    most = max(abs(one.rho) for one in alike) or 1.0
    place = {one: 8 + 126 * max(0.0, one.rho) / most for one in alike}
    parts = ['<path d="M4 70H146" stroke="var(--quiet)"/>']
    for one in sorted(alike, key=lambda one: one.changed):
        y, ink = (54, "bad") if one.changed else (70, "quiet")
        fill = "var(--bad)" if one.changed else "var(--card)"
        parts.append(
            f'<circle cx="{place[one]:.0f}" cy="{y}" r="4.5" fill="{fill}" stroke="var(--{ink})"/>'
        )
    moved = [one for one in alike if one.changed]
    for i, one in enumerate(moved[:2]):
        x = place[one] - 6 * i
        parts.append(
            _text(
                x, 36 + 4 * i, short(clause(one.before)), 11, "bad", True, "end" if i else "middle"
            )
        )
    stays = next((one for one in alike if not one.changed), None)
    if stays is not None:
        parts.append(_text(146, 60, short(clause(stays.before)), 11, "ink", anchor="end"))
    subject, new = found.fact.subject, found.fact.target_new
    parts += [
        _text(4, 90, "unlike", 10, "quiet"),
        _text(146, 90, f"key like {subject}’s", 10, "quiet", anchor="end"),
    ]
    gone = " and ".join(short(clause(one.before)) for one in moved) or "none"
    nearest = f"{short(clause(alike[0].before))}, with the most similar key, stayed"
    stayed = f"; {nearest}" if not alike[0].changed else ""
    said = f"{len(alike)} facts by the similarity of their keys to {subject}: {gone} moved{stayed}"
    return "".join(parts), said, f"{subject} → {new}: {gone} moved{stayed}."


def _race(kept: Examples) -> Still | None:
    """The fraction of neighbors answered correctly over the edits, with a line per editor."""
    if kept.race is None or kept.race.base is None:
        return None
    test, parts, ends = kept.race, ['<path d="M4 86H88" stroke="var(--quiet)"/>'], []
    count, all_ = len(test.cases), len(test.base.neighbors)
    for line in test.lines:
        points = [test.base, *line.points]
        xy = [(4 + 84 * p.edits / count, 10 + 74 * (1 - p.specificity)) for p in points]
        ink, dash = INKS.get(line.editor, BROKEN)
        path = " L".join(f"{x:.1f} {y:.1f}" for x, y in xy)
        parts.append(
            f'<path fill="none" stroke="var(--{ink})" stroke-width="2.4" stroke-dasharray="{dash}" '
            f'd="M{path}"/>'
        )
        ends.append((xy[-1][1], line.name, ink, sum(points[-1].neighbors)))
    low = -99.0
    for y, name, ink, _ in sorted(ends):  # keep names from overlapping
        low = max(y + 4, low + 12)
        parts.append(_text(92, low, name, 11, ink, True))
    parts.append(_text(4, 96, f"{count} edits", 9.5, "quiet"))
    said = ", ".join(f"{name} keeps {right}" for _, name, _, right in ends)
    said = f"After {count} edits, out of {all_} neighbors, {said}"
    what = f"{count} facts, one after another: how many of {all_} neighbors stay right."
    return "".join(parts), said, what


def _layers(kept: Examples) -> Still | None:
    """The probability of the new answer if the edit is made in each of five layers."""
    if kept.layers is None:
        return None
    found, parts = kept.layers, ['<path d="M4 66H146" stroke="var(--quiet)"/>']
    takes, dragged, places = [], 0, found.layers
    for i, (column, layer) in enumerate(zip(found.view.columns, places, strict=True)):
        if not column.rows:
            continue
        x, row = 18 + 28 * i, column.rows[0]
        high = max(2.0, 54 * (row.p_after or 0.0))
        good, asked = tally(column.rows, "neighbor")
        moved = asked - good
        parts.append(
            f'<rect x="{x - 8}" y="{66 - high:.1f}" width="16" height="{high:.1f}" '
            'fill="var(--is)"/>'
        )
        parts.append(_text(x, 79, str(layer), 10, "quiet", anchor="middle"))
        dots = (x + 6 * (j - (moved - 1) / 2) for j in range(moved))
        parts += [f'<circle cx="{at:.0f}" cy="89" r="2.6" fill="var(--bad)"/>' for at in dots]
        if row.good:
            takes.append(layer)
            dragged += moved
    fact = found.view.subject.case.fact
    drags = " and move neighbors (red)" if dragged else ""
    what = f"{len(takes)} of them take it{drags}" if takes else "None takes it"
    line = f"{fact.subject} → {fact.target_new} in {len(places)} layers. {what}."
    every, some = (", ".join(map(str, one)) for one in (places, takes))
    said = f"The same edit in layers {every}: {some or 'none'} take it"
    return "".join(parts), said, line


def _traced(kept: Examples) -> Still | None:
    """The largest z in each layer, with the threshold."""
    if kept.traced is None:
        return None
    found = kept.traced.findings
    most, wide = max(place.value for place in found.places), 142 / len(found.places)
    parts, base = ['<path d="M4 84H146" stroke="var(--quiet)"/>'], 84 - 74 * found.threshold / most
    parts.append(f'<path d="M4 {base:.1f}H146" stroke="var(--quiet)" stroke-dasharray="3 3"/>')
    over = [place for place in found.places if place.value == most]
    for i, place in enumerate(found.places):
        high, ink = 74 * place.value / most, "bad" if place in over else "quiet"
        parts.append(
            f'<rect x="{4 + wide * i:.1f}" y="{84 - high:.1f}" width="{wide * 0.7:.1f}" '
            f'height="{high:.1f}" fill="var(--{ink})"/>'
        )
    x = 4 + wide * (found.places.index(over[0]) + 1.5)
    count = len(found.places)
    parts += [
        _text(x, 24, "?", 15, "bad", True),
        _text(4, 95, "layer 0", 9.5, "quiet"),
        _text(146, 95, str(count - 1), 9.5, "quiet", anchor="end"),
    ]
    line = f"One layer of {count} stands out. Can you guess the subject?"
    return "".join(parts), f"{over[0].where} of {count} layers stands out", line


def _lasting(kept: Examples) -> Still | None:
    """The model's answers after further training."""
    if not kept.lasts:
        return None
    parts, said = ['<path d="M8 62H142" stroke="var(--quiet)"/>'], []
    new, wide = kept.fact.target_new, 114 / max(1, len(kept.lasts) - 1)
    for i, (steps, text, _) in enumerate(kept.lasts):
        x, word = 18 + wide * i, short(clause(text), 8)
        held = word.casefold().startswith(new.casefold()[:8])
        ink = "accent" if held else "bad"
        parts += [
            f'<circle cx="{x:.0f}" cy="62" r="6" fill="var(--{"is" if held else "bad"})"/>',
            _text(x, 46, word, 9.6, ink, True, "middle"),
            _text(x, 84, str(steps), 10.5, "quiet", anchor="middle"),
        ]
        said.append(f"{word} after {steps} steps")
    steps, text, _ = kept.lasts[-1]
    line = f"After {steps} more training steps, the model says {short(clause(text))}."
    return "".join(parts), ", ".join(said), line


def short(text: str, most: int = 11) -> str:
    """Shorten an answer to a few letters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _text(
    x: float, y: float, text: str, size: float, ink: str, bold: bool = False,
    anchor: str = "start", more: str = "",
) -> str:  # fmt: skip
    weight = ' font-weight="700"' * bold
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="var(--{ink})"{weight}{more}>{escape(text)}</text>'
    )
