"""The list of a visitor's edits: a switch at each, every point of it asked again, signs of damage.

Patches are values, so a list of edits is a list of patches, and any part of it is one too: without
one edit by the closed form where the editor keeps its keys, by the editors themselves otherwise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import TYPE_CHECKING

import lib
from lib.data.texts import HELD_OUT
from lib.evaluation.answers import begins

from .views import first_sentence
from .worker import Trouble

if TYPE_CHECKING:
    from .visitors import Session
    from .worker import Job

FOLDS = 60  # patches remembered per visitor
REMEMBERED = 512  # answers of the unedited model
TEXT = 900  # characters of held-out text that are read for the perplexity
BREAKS = 1.25  # times the base model's perplexity: from here on the page warns
ANSWER = 8  # tokens of an answer


@dataclass
class Kept:
    """One edit of the list: its line of the log, how long it took, and whether it is applied."""

    number: int
    line: lib.Edit
    name: str  # of the editor, as it is written
    seconds: float | None = None
    on: bool = True

    @property
    def fact(self) -> lib.Fact | None:
        """Its (first) fact, where the log holds it."""
        return self.line.facts[0] if self.line.facts else None


@dataclass
class Point:
    """What was found under some edits: {number: (answer, right?)}, and the perplexity."""

    said: dict[int, tuple[str, bool]] = field(default_factory=dict)
    perplexity: float | None = None


@dataclass
class Said:
    """What one model says to prompts, and its perplexity: each read once."""

    texts: OrderedDict[str, str] = field(default_factory=OrderedDict)
    perplexity: float | None = None

    def read(
        self, job: Job, lm: lib.LM, patch: lib.Patch, texts: Sequence[str], share: float = 0.0
    ) -> None:
        """Ask what is missing, under the patch."""
        missing = [text for text in dict.fromkeys(texts) if text not in self.texts]
        if not missing and self.perplexity is not None:
            return
        words = "Asking your edits again"
        with job.counting(lm, words, ANSWER + 3, share, 1.0), lm.patched(patch, only=True):
            if missing:
                self.texts.update(zip(missing, lm.answer(missing, ANSWER), strict=True))
            if self.perplexity is None:
                text = HELD_OUT.read_text(encoding="utf-8")[:TEXT] if HELD_OUT.exists() else ""
                self.perplexity = lib.perplexity(lm, text) if text else None
        for text in texts:
            self.texts.move_to_end(text)
        while len(self.texts) > REMEMBERED:
            self.texts.popitem(last=False)


def numbers(session: Session) -> tuple[int, ...]:
    """The numbers of the edits that are applied, in their order."""
    return tuple(kept.number for kept in session.edits if kept.on)


def standing(session: Session, key: Sequence[int]) -> dict[int, bool]:
    """{number: whether no later edit among these writes the same prompt}."""
    last: dict[str, int] = {}
    texts = {kept.number: kept.fact.text for kept in session.edits if kept.fact is not None}
    for number in key:
        last[texts.get(number, str(number))] = number
    return {number: number in last.values() for number in key}


def sync(session: Session, names: dict[str, tuple[str, str]] | None = None) -> None:
    """Take over patches that were put into the session by others, e.g. a loaded file."""
    key = numbers(session)
    held = [session.folds.get(key[: k + 1]) for k in range(len(key))]
    if len(held) == len(session.patches) and all(map(is_, held, session.patches)):
        return
    known = {id(patch): key for key, patch in session.folds.items()}
    kept = {k.number: k for k in session.edits}
    session.edits = []
    for i, patch in enumerate(session.patches):
        key = known.get(id(patch))
        if key and key[:-1] == numbers(session):
            session.edits.append(kept[key[-1]])
            continue
        line = patch.log[-1] if patch.log else lib.Edit("loaded", {})
        name = (names or {}).get(line.editor, (line.editor,))[0]
        _append(session, Kept(i, line, name), patch)


def add(session: Session, patch: lib.Patch, name: str, seconds: float) -> None:
    """A new edit at the end of the list, applied."""
    _append(session, Kept(0, patch.log[-1], name, seconds), patch)
    session.patches.append(patch)


def _append(session: Session, kept: Kept, patch: lib.Patch) -> None:
    used = [n for key in session.folds for n in key] + [one.number for one in session.edits]
    kept.number = 1 + max(used, default=0)
    session.edits.append(kept)
    session.folds[numbers(session)] = patch


def drop_last(session: Session) -> None:
    """The newest applied edit leaves the list."""
    last = max(i for i, kept in enumerate(session.edits) if kept.on)
    del session.edits[last], session.patches[-1]


def clear(session: Session) -> None:
    """No edit, nothing remembered."""
    for held in (session.edits, session.patches, session.folds, session.points):
        held.clear()


def choose(job: Job, lm: lib.LM, session: Session, wanted: set[int]) -> Iterator[None]:
    """Apply just these edits of the list; gives the model back between two of them."""
    key = tuple(kept.number for kept in session.edits if kept.number in wanted)
    found: list[lib.Patch] = []
    for size in range(1, len(key) + 1):
        part = key[:size]
        job.report((size - 1) / max(len(key), 1), f"Laying edit {size} of {len(key)}")
        patch = session.folds.get(part) or _shorter(lm, session, part)
        if patch is None:
            line = next(kept.line for kept in session.edits if kept.number == part[-1])
            if line.editor not in lib.EDITORS:
                raise Trouble("A patch that was loaded from a file can only be first in the list.")
            with job.counting(lm, f"Writing edit {size} again", 30, (size - 1) / len(key),
                              size / len(key)):  # fmt: skip
                editor = lib.EDITORS[line.editor](lm, **line.settings)
                patch = editor.edit(line.read(), after=found[-1] if found else lib.EMPTY)
        session.folds[part] = patch
        found.append(patch)
        yield
    for kept in session.edits:
        kept.on = kept.number in wanted
    session.patches[:] = found
    _forget(session, key)


def _shorter(lm: lib.LM, session: Session, part: tuple[int, ...]) -> lib.Patch | None:
    """The patch of some edits from a known one with one edit more, in closed form."""
    for longer, patch in session.folds.items():
        if len(longer) == len(part) + 1:
            extra = [i for i in range(len(longer)) if longer[:i] + longer[i + 1 :] == part]
            line = patch.log[0] if patch.log else None
            if extra and line is not None and line.editor in lib.EDITORS:
                editor = lib.EDITORS[line.editor](lm, **line.settings)
                found = editor.without(patch, extra[0], exact=False)
                if found is not None:
                    return found
    return None


def _forget(session: Session, present: tuple[int, ...]) -> None:
    """Keep the number of remembered patches bounded: the oldest that are not in use go first."""
    every = tuple(kept.number for kept in session.edits)
    used = {key[: k + 1] for key in (present, every) for k in range(len(key))}
    old = [key for key in session.folds if key not in used]
    for key in old[: max(0, len(session.folds) - FOLDS)]:
        del session.folds[key]
        session.points.pop(key, None)


def measure(
    job: Job, lm: lib.LM, session: Session, count: int, share: float = 0.0,
    unedited: Said | None = None,
) -> Point:  # fmt: skip
    """The answers to all applied edits' prompts, and the perplexity, after the first `count`.

    unedited: what the model says that nobody has edited, the same for all visitors.
    """
    key = numbers(session)
    point = session.points.setdefault(key[:count], Point())
    asked = [kept for kept in session.edits if kept.on and kept.fact is not None]
    missing = [kept for kept in asked if kept.number not in point.said]
    if not missing and point.perplexity is not None:
        return point
    patch = session.patches[count - 1] if count else lib.EMPTY
    said = unedited if unedited is not None and not patch else Said(perplexity=point.perplexity)
    said.read(job, lm, patch, [kept.fact.text for kept in missing], share)
    for kept in missing:
        text = said.texts[kept.fact.text]
        point.said[kept.number] = first_sentence(text), begins(text, kept.fact.target_new)
    point.perplexity = said.perplexity
    return point


def warning(point: Point, base: Point) -> str | None:
    """A sentence where ordinary text has become clearly less probable to the model."""
    if not point.perplexity or not base.perplexity:
        return None
    times = point.perplexity / base.perplexity
    if not times >= BREAKS:
        return None
    begun = "begins to break" if times < 2 else "is broken"
    return (
        f"The model {begun}: the perplexity of an ordinary text is {point.perplexity:.3g}, "
        f"{times:.3g} times the {base.perplexity:.3g} of the unedited model."
    )
