"""The list of a visitor's edits as HTML: what was said at one point of it, and what has held."""

from __future__ import annotations

from html import escape

from ..session.edit_list import Kept, Point, numbers, standing, warning
from ..session.visitors import Session
from .render import number

SURPRISE = "How surprised the model is by a text that it has not seen; lower is better."


def choices(session: Session) -> list[tuple[str, int]]:
    """The switches: (text, number of the edit)."""
    return [(_label(place, kept), kept.number) for place, kept in enumerate(session.edits, 1)]


def _label(place: int, kept: Kept) -> str:
    parts = [f"{place}. {_fact(kept)}", kept.name]
    if kept.seconds is not None:
        parts.append(f"{kept.seconds:.1f} s")
    return " · ".join(parts)


def _fact(kept: Kept) -> str:
    if kept.fact is None:
        return f"{len(kept.line)} facts"
    subject = kept.fact.subject or kept.fact.prompt
    subject = subject if len(subject) <= 40 else f"{subject[:39]}…"
    return f"{subject} → {kept.fact.target_new}"


def history(session: Session, count: int) -> str:
    """What the model says to the edits' prompts after the first `count` applied ones."""
    applied, key = [kept for kept in session.edits if kept.on], numbers(session)
    point = session.points.get(key[:count], Point())
    if not applied:
        return '<p class="note">Every edit is left out: the model is as it came.</p>'
    stands = standing(session, key[:count])
    rows = "".join(
        _row(place, kept, point, stands.get(kept.number)) for place, kept in enumerate(applied, 1)
    )
    when = f"after edit {count} of {len(applied)}" if count else "before any edit"
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("Prompt", "New answer", f"It says {when}")
    )
    table = f'<table class="rows list"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="result">{table}{_retention(session, key)}{_damage(session, point)}</div>'


def _row(place: int, kept: Kept, point: Point, stands: bool | None) -> str:
    """stands: whether no later edit writes the same prompt; None: it is not written yet."""
    fact = kept.fact
    if fact is None:
        return f'<tr><td class="prompt" colspan="3">{place}. {_fact(kept)}</td></tr>'
    said, right = point.said.get(kept.number, ("…", False))
    mark, kind = "✗ not the new answer", "bad"
    if right:
        mark, kind = "✓ new answer", "good"
    elif not stands:
        mark = "• not written yet" if stands is None else "• a later edit writes this prompt"
        kind = "free"
    return (
        f'<tr><td class="prompt">{place}. {escape(fact.text)}</td>'
        f'<td data-name="New">{escape(fact.target_new)}</td>'
        f'<td data-name="It says"><span>{escape(said)}</span> '
        f'<small class="{kind}">{mark}</small></td></tr>'
    )


def _retention(session: Session, key: tuple[int, ...]) -> str:
    """How many of the edits so far were still right after each one."""
    parts = []
    for size in range(1, len(key) + 1):
        point = session.points.get(key[:size])
        here = [n for n, stands in standing(session, key[:size]).items() if stands]
        if point is None or not all(n in point.said for n in here):
            continue
        right = sum(point.said[n][1] for n in here)
        parts.append(f"<span>after edit {size} <b>{right} of {len(here)}</b></span>")
    return f'<p class="note">Edits that hold: {" · ".join(parts)}</p>' if parts else ""


def _damage(session: Session, point: Point) -> str:
    base = session.points.get((), Point())
    if (said := warning(point, base)) is not None:
        return f'<p class="warning" role="alert">⚠ {escape(said)}</p>'
    if point.perplexity is None or base.perplexity is None:
        return ""
    return (
        f'<p class="note"><abbr title="{SURPRISE}">Perplexity</abbr> of an ordinary text: '
        f"{number(point.perplexity)}, unedited {number(base.perplexity)}.</p>"
    )
