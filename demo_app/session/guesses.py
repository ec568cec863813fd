"""Guess first, see afterwards: what a visitor expects of an edit, and how much of it came true.

Before an edit is shown, the visitor ticks which neighbors will change their answer and which
rewordings will get the new one. Every prompt is one guess. Beside the score stands that of the
steady guess, that all rewordings hold and no neighbor changes: a score says little without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from . import given
from .views import Score, Subject, View
from .visitors import Session
from .worker import Trouble

NOTHING = "There is no edit to reveal: tick “Guess first”, and press Edit."


@dataclass(frozen=True)
class Asked:
    """The prompts about which one guesses.

    neighbors: (prompt, its right answer) of other subjects, which should stay as they are.
    rewordings: prompts that say the edited fact in other words.
    """

    neighbors: tuple[tuple[str, str], ...] = ()
    rewordings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.neighbors or self.rewordings)


def asked(subject: Subject) -> Asked:
    """What can be guessed about an edit of a subject; nothing where no prompt tests it."""
    neighbors = {probe.prompt: probe.target for probe in subject.case.neighborhood}
    return Asked(tuple(neighbors.items()), tuple(dict.fromkeys(subject.case.paraphrases)))


def reveal(session: Session, changed: Any, held: Any) -> tuple[View, Score]:
    """The view that was kept back, with a mark at each guessed row, and the score of this edit.

    changed: the numbers of the neighbors that the visitor expects to change, as in `asked`.
    held: the numbers of the rewordings that are expected to give the new answer.

    The score is added to that of the visit, `session.score`. Raises Trouble where nothing is kept
    back, and for what is no list of numbers.
    """
    view = session.view
    if not session.guessing or view is None:
        raise Trouble(NOTHING)
    ticked = set(given.wholes("list of neighbors", changed))
    expected = set(given.wholes("list of rewordings", held))
    prompts = asked(view.subject)
    moved = {prompt: i in ticked for i, (prompt, _) in enumerate(prompts.neighbors)}
    holds = {prompt: i in expected for i, prompt in enumerate(prompts.rewordings)}
    guessed, score = [], Score()
    for row in view.rows:
        came = holds.get(row.prompt) if row.group == "reworded" else None
        if row.group == "neighbor" and row.prompt in moved:
            came = not moved[row.prompt]
        hit = None if came is None or row.good is None else came is row.good
        guessed.append(hit)
        if hit is not None:
            score += Score(int(hit), 1, int(row.good is True))
    session.guessing = False
    session.score = session.score + score
    session.view = replace(view, guessed=tuple(guessed))
    return session.view, score
