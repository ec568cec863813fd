"""“Was this edited?” as HTML: what lies on the table, what was found, reversed, and told."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lib.forensics.investigation import named

from ..session.findings import Findings, Place, Said, Told, Traced, Undone
from ..session.subject_in_view import listed
from ..session.suspects import Suspect
from .render import NOTHING, in_words, numbers

EMPTY = "Nothing lies on the table yet."
WIDTH, HEIGHT, FOOT = 720, 170, 26  # of the drawing of all layers, in its own units
GUESSES = ("The right subject, first of all", "The right subject, among the ten", "Not at all")
SHARE = (
    "share: how far the change stretches the direction in which a candidate is read, of the most "
    "that it stretches any direction. Subjects and whole prompts are ordered by it."
)
Z = "z: the distance from the median of all candidates, in robust standard deviations."
OF_LIST = (
    "z: its distance from the median of all candidates of its kind, in robust standard deviations."
)
NORM = "It is taken of how far the weights stretch the direction in which they read a candidate."
EXACT = (
    "With the base at hand its own weights undo the change exactly. “Take it out” does without "
    "them, and is then judged by them."
)
LISTED = 5  # candidates in the table; the others stand in a line below


def laid(suspect: Suspect | None) -> str:
    """The line that says what lies on the table."""
    if suspect is None:
        return f'<p class="stored" role="status">{EMPTY}</p>'
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in suspect.notes)
    lead = f'<p class="stored" role="status">On the table: <b>{escape(suspect.name)}</b>.'
    return f"{lead} Press Examine.</p>{notes}"


def caption(found: Traced, model: str) -> str:
    """Over the stored example."""
    return (
        f'<p class="stored">Stored example: <b>{escape(found.name)}</b>, on {escape(model)}, '
        "examined without the base model.</p>"
    )


def shown(found: Findings) -> str:
    """The verdict, the candidates, the answers, and all layers."""
    how = "compared with the base model" if found.with_base else "the weights alone, no base model"
    prompts = f" and {found.prompts:,} whole prompts" if found.prompts else ""
    took = f" · {found.seconds:.0f} s" if found.seconds else ""
    parts = [
        f'<p class="verdict" role="status">{escape(found.verdict)}</p>',
        f'<p class="note">{how} · {found.candidates:,} candidates{prompts}{took}</p>',
        "" if found.with_base else _layers(found),
        _candidates(found),
        _answers(found),
        _matrices(found.places) if found.with_base else "",
        *(f'<p class="note">{escape(note)}</p>' for note in found.notes),
    ]
    return f'<div class="trace">{"".join(parts)}</div>'


def undone(found: Undone) -> str:
    """What the reversal reached, with its control."""
    heads = ("Weights", "about it", "others", "KL about it", "KL others", "distance left")
    rows = [
        (
            way.name, f"{way.back}/{way.asked}", f"{way.kept}/{way.others}", f"{way.kl:.3f}",
            f"{way.others_kl:.3f}", f"{100 * way.left:.0f} %",
        )
        for way in found.ways
    ]  # fmt: skip
    notes = (
        f"About it: prompts about {found.subject} whose next word is the unedited model’s again; "
        "others: the same for prompts about other subjects. KL: from the unedited model, in nats. "
        "Distance left: from the unedited weights, as a share of the edit’s; above 100 % the "
        "reversal took more of the model’s own than of the edit.",
        "The first row is the control: the edited weights put through the same path with nothing "
        "taken out. Here the page’s own model is the judge; the reversal has not seen it.",
    )
    layers = f"{'layer' if len(found.layers) == 1 else 'layers'} {listed(list(found.layers))}"
    return (
        f'<h3 class="name">Reversal: {escape(found.subject)} taken out of {layers}</h3>'
        f"{numbers(heads, rows, notes)}{_said(found.said)}"
    )


def told(found: Told, guess: str | None = None) -> str:
    """What it was, and how much of it was named."""
    many = f" and {found.count - 1} more" if found.count > 1 else ""
    where = f" in layer {escape(found.layers)}" if found.layers else ""
    place = "not among the ten" if found.place is None else f"in place {found.place} of the list"
    lines = [_mark(found.place == 1, f"the subject, or its whole prompt, stood {place}")]
    if found.layer_hit is not None:
        lines.append(_mark(found.layer_hit, "the named layer is one that was written"))
    if found.answer_hit is not None:
        lines.append(_mark(True, f"the new answer begins with token {found.answer_hit} named"))
    else:
        lines.append(_mark(False, "the new answer is not among the tokens named"))
    if guess in GUESSES:
        truth = 0 if found.place == 1 else 1 if found.place else 2
        lines.append(_mark(GUESSES.index(guess) == truth, f"your guess: {guess.lower()}"))
    return (
        '<div class="score" role="status">'
        f"<p>It was <strong>{escape(found.editor)}</strong>{where}, which wrote “"
        f"{escape(found.text)} <b>{escape(found.target)}</b>”{many}.</p>"
        f'<ul class="stated">{"".join(lines)}</ul></div>{_said(found.said)}'
    )


def _mark(good: bool, words: str) -> str:
    kind, icon = ("good", "✓") if good else ("bad", "✗")
    return f'<li><small class="{kind}">{icon}</small> {escape(words)}</li>'


def _candidates(found: Findings) -> str:
    """The ten candidates; with the base also the share of the change that is stretched."""
    if not found.suspects:
        return ""
    with_share = found.with_base
    heads = ["Candidate", *(["share"] if with_share else []), "z", "layers"]
    rows = [
        (
            f"{named(one.name, one.prompt)}{'  ← stands out' if one.z >= found.least(one) else ''}",
            *(["–" if one.share is None else f"{one.share:.2f}"] if with_share else []),
            _rounded(one.z, found.least(one)),
            listed(list(one.layers)),
        )
        for one in found.suspects[:LISTED]
    ]
    more = ", ".join(
        f"{named(one.name, one.prompt)} {one.z:.1f}" for one in found.suspects[LISTED:]
    )
    notes = [f"Then: {more}."] if more else []
    notes.append(f"{SHARE} {OF_LIST}" if with_share else f"{Z} {NORM}")
    least = f"z = {found.threshold:g} on"
    if found.prompts and found.prompt_threshold != found.threshold:
        least += f", a whole prompt from {found.prompt_threshold:g} on: many end alike"
    notes.append(f"A candidate is called a suspect from {least}.{_null(found)}")
    return numbers(heads, rows, notes)


def _rounded(z: float, least: float) -> str:
    """One digit, or two where one would show a z below the threshold as if it reached it."""
    return f"{z:.1f}" if z >= least or round(z, 1) < least else f"{z:.2f}"


def _null(found: Findings) -> str:
    """What the statistic is where nothing was edited, in a sentence; "" where that is not known."""
    usual = [place.null for place in found.places if place.null is not None]
    if not usual:
        return ""
    return (
        f" In the unedited model the largest z of these layers is {max(usual):.1f}, with "
        "the same subjects as candidates and the same text."
    )


def _answers(found: Findings) -> str:
    """The tokens that are said more readily about the first suspect."""
    if not found.words or found.first is None:
        return ""
    against = "the base model" if found.with_base else "its own weights without it"
    heads = ("Answer begins with", "more probable by", "probability")
    rows = [
        (word.token.strip() or "(blank)", f"{word.rise:+.1f} nats", f"{word.p:.3f}")
        for word in found.words[:5]
        if word.rise > 0
    ]
    if not rows:
        return ""
    about = f"about {found.first.name}", "10 prompts"
    if found.first.prompt:
        about = f"after “{found.first.name}”", "this one prompt"
    note = f"What it says {about[0]} more readily than {against} would, {about[1]}."
    return numbers(heads, rows, [note])


def _matrices(places: Sequence[Place]) -> str:
    """Matrices that differ from the base."""
    heads = ("Matrix", "change", "rank", "largest singular value", "noise ends at")
    rows = [
        (
            one.where, f"{100 * one.value:.2f} %", str(one.rank), f"{one.norm:.2f}",
            f"{one.noise:.3f}",
        )
        for one in places
    ]  # fmt: skip
    if not rows:
        return ""
    note = "Change: ‖ΔW‖/‖W‖. Rank: singular values above four times the edge of the noise."
    table = numbers(heads, rows, [note, EXACT])
    return f"<details><summary>Matrix by matrix</summary>{table}</details>"


def _layers(found: Findings) -> str:
    """The largest z of each layer as bars, with the null and the threshold, and in words."""
    places = found.places
    marked = set(found.first.layers) if found.first else set()
    top = max(found.threshold * 1.3, *(place.value for place in places))
    step = WIDTH / len(places)

    def y(value: float) -> float:
        return (HEIGHT - FOOT) * (1 - max(0.0, value) / top)

    bars, lines = [], []
    for i, place in enumerate(places):
        layer = int(place.where.removeprefix("layer "))
        kind = "named" if layer in marked else "other"
        x, high = i * step, HEIGHT - FOOT - y(place.value)
        bars.append(
            f'<rect class="{kind}" x="{x + 0.15 * step:.1f}" y="{y(place.value):.1f}" '
            f'width="{0.7 * step:.1f}" height="{high:.1f}"/>'
        )
        if place.null is not None:
            bars.append(
                f'<line class="usual" x1="{x + 0.05 * step:.1f}" x2="{x + 0.95 * step:.1f}" '
                f'y1="{y(place.null):.1f}" y2="{y(place.null):.1f}"/>'
            )
        if layer in marked or layer % 5 == 0:
            bars.append(
                f'<text class="{kind}" x="{x + step / 2:.1f}" y="{HEIGHT - 8}">{layer}</text>'
            )
        usual = "" if place.null is None else f", unedited {place.null:.1f}"
        lines.append((place.where, f"z {place.value:.1f} ({place.name}){usual}"))
    at = y(found.threshold)
    said = (
        f"The largest z of any candidate in each of {len(places)} layers; the line at "
        f"{found.threshold:g} is where a suspect begins."
    )
    return (
        f'<figure><figcaption class="caption">Largest z per layer'
        f"<span>{'a dash: the same in the unedited model; ' if _null(found) else ''}"
        f"the line: {found.threshold:g}, from which on somebody is called a suspect</span>"
        '</figcaption><div class="wide" tabindex="0" role="group" aria-label="All layers">'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">'
        f'{"".join(bars)}<line class="least" x1="0" x2="{WIDTH}" y1="{at:.1f}" y2="{at:.1f}"/>'
        f"</svg></div></figure>{in_words(lines)}"
    )


def _said(rows: Sequence[Said]) -> str:
    """Prompts with the answers of the unedited, the edited and the reversed model."""
    if not rows:
        return ""
    back = any(row.reversed for row in rows)
    heads = ["Prompt", "Unedited", "Edited", *(["Reversed"] if back else [])]
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = []
    for row in rows:
        texts = (row.base, row.edited, *([row.reversed] if back else []))
        cells = "".join(
            f'<td data-name="{name}"><span>{escape(text) or NOTHING}</span></td>'
            for name, text in zip(heads[1:], texts, strict=True)
        )
        body.append(f'<tr><td class="prompt">{escape(row.prompt)} …</td>{cells}</tr>')
    return (
        f'<table class="rows said"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody>'
        "</table>"
    )
