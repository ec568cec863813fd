"""The list of a visitor's edits: each can be switched off, and every point of it is asked again.

Patches are values, so a list of edits is a list of patches, and so is any part of it. A patch
without one of its edits comes from the closed form where the editor keeps its keys; otherwise the
editors write the rest again. A few lines over 300: every public function is one thing that a
visitor can do with the list, and they share its kept answers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import is_

import lib
from lib.data.texts import HELD_OUT
from lib.evaluation.answers import begins

from .edits import AppliedEdit, LookBack, PastEdit, Point
from .views import first_sentence
from .visitors import Session
from .worker import Job, Trouble

FOLDS = 60  # patches remembered per visitor
REMEMBERED = 512  # answers of the unedited model
TEXT = 900  # characters of held-out text that are read for the perplexity
BREAKS = 1.25  # times the base model's perplexity: from here on the page warns
ANSWER = 12  # tokens of an answer, as in the table


class BaseAnswers:
    """What the unedited model says to the prompts of edits, and its perplexity.

    Each is read once and is the same for all visitors.

    texts: {prompt: answer}, the least recently used first.
    perplexity: of a held-out text; None until it is measured.
    """

    def __init__(self) -> None:
        self.texts: OrderedDict[str, str] = OrderedDict()
        self.perplexity: float | None = None

    def know(self, answers: Mapping[str, str]) -> None:
        """Keep answers that were read elsewhere: {prompt: answer}."""
        for text, answer in answers.items():
            self.texts.setdefault(text, answer)

    def read(
        self,
        job: Job,
        lm: lib.LM,
        texts: Sequence[str],
        share: float = 0.0,
        perplexity: bool = True,
    ) -> None:
        """Ask what is missing; the job's bar begins at `share`.

        perplexity: whether it is wanted, too.
        """
        missing = [text for text in dict.fromkeys(texts) if text not in self.texts]
        wanted = perplexity and self.perplexity is None
        if not missing and not wanted:
            return
        found, measured = _asked(job, lm, lib.EMPTY, missing, wanted, share)
        self.perplexity = measured if wanted else self.perplexity
        self.texts.update(found)
        for text in texts:
            self.texts.move_to_end(text)
        while len(self.texts) > REMEMBERED:
            self.texts.popitem(last=False)


def _asked(
    job: Job,
    lm: lib.LM,
    patch: lib.Patch,
    texts: Sequence[str],
    perplexity: bool,
    share: float,
) -> tuple[dict[str, str], float | None]:
    """Answers to texts under a patch, and the perplexity where it is wanted; else None."""
    found: dict[str, str] = {}
    words = "Asking your edits again"
    with job.counting(lm, words, ANSWER + 3, share, 1.0), lm.patched(patch, only=True):
        if texts:
            found = dict(zip(texts, lm.answer(list(texts), ANSWER), strict=True))
        if not perplexity:
            return found, None
        text = HELD_OUT.read_text(encoding="utf-8")[:TEXT] if HELD_OUT.exists() else ""
        return found, lib.perplexity(lm, text) if text else None


def numbers(session: Session) -> tuple[int, ...]:
    """The numbers of the edits that are applied, in their order."""
    return tuple(edit.number for edit in session.edits if edit.on)


def standing(session: Session, key: Sequence[int]) -> dict[int, bool]:
    """{number: whether no later edit among these writes the same prompt}."""
    last: dict[str, int] = {}
    texts = {edit.number: edit.fact.text for edit in session.edits if edit.fact is not None}
    for number in key:
        last[texts.get(number, str(number))] = number
    return {number: number in last.values() for number in key}


def sync(session: Session, names: dict[str, tuple[str, str]] | None = None) -> None:
    """Bring the list up to date where patches were put into the session by others.

    A loaded file does so. `names` says how the page writes an editor: {editor: (name, sentence)}.
    """
    key = numbers(session)
    held = [session.folds.get(key[: k + 1]) for k in range(len(key))]
    if len(held) == len(session.patches) and all(map(is_, held, session.patches)):
        return
    known = {id(patch): key for key, patch in session.folds.items()}
    by_number = {edit.number: edit for edit in session.edits}
    session.edits = []
    for i, patch in enumerate(session.patches):
        key = known.get(id(patch))
        # a patch that the list made itself, on top of the same edits: its entry stays
        if key and key[:-1] == numbers(session):
            session.edits.append(by_number[key[-1]])
            continue
        line = patch.log[-1] if patch.log else lib.Edit("loaded", {})
        name = (names or {}).get(line.editor, (line.editor,))[0]
        _append(session, AppliedEdit(i, line, name), patch)


def add(session: Session, patch: lib.Patch, name: str, seconds: float) -> None:
    """A new edit at the end of the list, applied."""
    _append(session, AppliedEdit(0, patch.log[-1], name, seconds), patch)
    session.patches.append(patch)


def _append(session: Session, edit: AppliedEdit, patch: lib.Patch) -> None:
    """Give the edit a number that was never used, and remember its patch."""
    used = [n for key in session.folds for n in key] + [one.number for one in session.edits]
    edit.number = 1 + max(used, default=0)
    session.edits.append(edit)
    session.folds[numbers(session)] = patch


def strengthen(session: Session, patch: lib.Patch, whole: lib.Patch, strength: float) -> None:
    """The last applied edit at another strength: its patch, and the one at strength 1."""
    key = numbers(session)
    edit = next(one for one in reversed(session.edits) if one.on)
    edit.strength, session.patches[-1] = strength, patch
    for known in (session.folds, session.wholes, session.points):
        for other in [other for other in known if edit.number in other]:
            del known[other]  # they hold this edit at the strength that it had
    session.folds[key] = patch
    if strength != 1:
        session.wholes[key] = whole


def drop_last(session: Session) -> None:
    """The newest applied edit leaves the list."""
    last = max(i for i, edit in enumerate(session.edits) if edit.on)
    del session.edits[last], session.patches[-1]


def clear(session: Session) -> None:
    """No edit, and nothing remembered of any."""
    for held in (session.edits, session.patches, session.folds, session.wholes, session.points):
        held.clear()


@contextmanager
def whole_or_not(session: Session) -> Iterator[None]:
    """In the body the list changes; where it fails or is stopped, the list is as it was before."""
    edits = [(edit, edit.on, edit.strength) for edit in session.edits]
    patches = list(session.patches)
    kept = [(known, dict(known)) for known in (session.folds, session.wholes, session.points)]
    try:
        yield
    except BaseException:
        session.edits[:], session.patches[:] = [edit for edit, *_ in edits], patches
        for edit, on, strength in edits:
            edit.on, edit.strength = on, strength
        for known, before in kept:
            known.clear()
            known.update(before)  # type: ignore[arg-type]
        raise


def fold(
    job: Job, lm: lib.LM, session: Session, wanted: set[int]
) -> Generator[None, None, list[lib.Patch]]:
    """The patches of just these edits of the list; gives the model back between two of them."""
    key = tuple(edit.number for edit in session.edits if edit.number in wanted)
    found: list[lib.Patch] = []
    for size in range(1, len(key) + 1):
        part, before = key[:size], found[-1] if found else lib.EMPTY
        job.report((size - 1) / max(len(key), 1), f"Laying edit {size} of {len(key)}")
        last = next(edit for edit in session.edits if edit.number == part[-1])
        patch = session.folds.get(part) or _shorter(lm, session, part)
        if patch is None:
            line = last.line
            if line.editor not in lib.EDITORS:
                raise Trouble("A patch that was loaded from a file can only be first in the list.")
            words, share = f"Writing edit {size} again", 1 / len(key)
            with job.counting(lm, words, 30, (size - 1) * share, size * share):
                editor = lib.EDITORS[line.editor](lm, **line.settings)
                patch = editor.edit(line.read(), after=before)
            if last.strength != 1:
                session.wholes[part] = patch
                patch = lib.scaled(lm, patch, last.strength, before)
        session.folds[part] = patch
        found.append(patch)
        yield
    return found


def choose(session: Session, wanted: set[int], found: Sequence[lib.Patch]) -> None:
    """Apply just these edits of the list, whose patches `fold` has found."""
    for edit in session.edits:
        edit.on = edit.number in wanted
    session.patches[:] = found
    _forget(session, numbers(session))


def _shorter(lm: lib.LM, session: Session, part: tuple[int, ...]) -> lib.Patch | None:
    """The patch of some edits from a known one with one edit more, in closed form."""
    if any(edit.strength != 1 for edit in session.edits):
        return None  # the closed form takes out what was written, not a part of it
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
    every = tuple(edit.number for edit in session.edits)
    used = {key[: k + 1] for key in (present, every) for k in range(len(key))}
    old = [key for key in session.folds if key not in used]
    for key in old[: max(0, len(session.folds) - FOLDS)]:
        del session.folds[key]
        session.wholes.pop(key, None)
        session.points.pop(key, None)


def measure(
    job: Job,
    lm: lib.LM,
    session: Session,
    count: int,
    share: float = 0.0,
    unedited: BaseAnswers | None = None,
    read: Mapping[str, str] | None = None,
    perplexity: bool = True,
) -> Point:
    """The answers to all applied edits' prompts, and the perplexity, after the first `count`.

    unedited: the answers of the model that nobody has edited, which all visitors share.
    read: {prompt: answer} of those that were read under these edits just now.
    perplexity: False leaves it to whoever looks at the list; it is a page of text to read.
    """
    key = numbers(session)
    point = session.points.setdefault(key[:count], Point())
    asked = [edit for edit in session.edits if edit.on and edit.fact is not None]
    missing = [edit for edit in asked if edit.number not in point.said]
    wanted = perplexity and point.perplexity is None
    if not missing and not wanted:
        return point
    patch = session.patches[count - 1] if count else lib.EMPTY
    texts = list(dict.fromkeys(edit.fact.text for edit in missing))
    if unedited is not None and not patch:
        unedited.read(job, lm, texts, share, perplexity)
        said, point.perplexity = unedited.texts, unedited.perplexity
    else:
        said = dict(read or {})
        more = [text for text in texts if text not in said]
        if more or wanted:
            found, measured = _asked(job, lm, patch, more, wanted, share)
            said |= found
            point.perplexity = measured if wanted else point.perplexity
    for edit in missing:
        text = said[edit.fact.text]
        point.said[edit.number] = first_sentence(text), begins(text, edit.fact.target_new)
    return point


def look_back(session: Session, count: int) -> LookBack:
    """The list as it stood after the first `count` applied edits, from what was measured."""
    applied, key = [edit for edit in session.edits if edit.on], numbers(session)
    point = session.points.get(key[:count], Point())
    base = session.points.get((), Point())
    stands = standing(session, key[:count])
    edits = tuple(
        _past(place, edit, point, stands.get(edit.number)) for place, edit in enumerate(applied, 1)
    )
    warned = warning(point, base)
    return LookBack(
        count, edits, _retention(session, key), point.perplexity, base.perplexity, warned
    )


def _past(place: int, edit: AppliedEdit, point: Point, stands: bool | None) -> PastEdit:
    """stands: whether no later edit writes the same prompt; None: it is not written yet."""
    said, right = point.said.get(edit.number, (None, False))
    state = "wrong"
    if right:
        state = "right"
    elif not stands:
        state = "not yet" if stands is None else "replaced"
    return PastEdit(place, edit.fact, len(edit.line), said, state)


def _retention(session: Session, key: tuple[int, ...]) -> tuple[tuple[int, int, int], ...]:
    """(number of edits, right, asked): how many of the edits so far were right after each one."""
    found = []
    for size in range(1, len(key) + 1):
        point = session.points.get(key[:size])
        here = [n for n, stands in standing(session, key[:size]).items() if stands]
        if point is not None and all(n in point.said for n in here):
            found.append((size, sum(point.said[n][1] for n in here), len(here)))
    return tuple(found)


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
