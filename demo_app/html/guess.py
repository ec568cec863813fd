"""Guess first, see afterwards, as HTML: what is asked, and how much of it came true."""

from __future__ import annotations

from html import escape

from ..session.views import Score, View

ASK = (
    "The edit is written, and nothing of it is shown yet. Tick what you expect of it, then reveal."
)


def withheld(view_prompt: str) -> str:
    """The headline while the result is kept back: the prompt, and no answer."""
    return (
        f'<h2 class="headline"><span>{escape(view_prompt)}</span> '
        '<b aria-label="kept back until you have guessed">?</b></h2>'
    )


def waiting(written: bool) -> str:
    """The line over the guesses: whether the edit is there already."""
    if written:
        return f'<div class="status done" role="status">✓ {ASK}</div>'
    return (
        '<p class="hint">The edit is being written. Meanwhile tick what you expect of it: it is '
        "shown when you press Reveal.</p>"
    )


def neighbors(pairs: tuple[tuple[str, str], ...]) -> list[tuple[str, int]]:
    """The neighbors as choices: (prompt with its right answer, number)."""
    return [(f"{prompt} … {answer}", i) for i, (prompt, answer) in enumerate(pairs)]


def scored(view: View, score: Score, visit: Score) -> str:
    """How this guess went, and the score of the visit beside that of the steady guess."""
    by = f" of {escape(view.editor)}" if view.editor and len(view.columns) > 1 else ""
    return (
        '<div class="score" role="status">'
        f"<p>You saw <strong>{score.hits} of {score.asked}</strong> coming{by}.</p>"
        f"<p>This visit: <strong>{visit.hits} of {visit.asked}</strong>. Whoever always says that "
        "all rewordings hold and no neighbor changes would have "
        f"<strong>{visit.steady}</strong>.</p></div>"
    )
