"""A patch without one of its facts: the entry leaves, a solve without it, or all else once more.

Three ways lead there, and `Without.way` says which it was. A memory beside the model gives up the
fact's entry, and everything else stays bit for bit ("entry"). A closed form whose keys and values
are in the patch is solved again without the fact's column ("solved"). Otherwise the editors of the
log write all other facts again, as if this one had never been there ("written again").
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, NamedTuple

from ..data.facts import Case, Fact, quoted
from ..errors import PatchError
from ..registry import EDITORS
from .patch import EMPTY, Model, Patch

Way = Literal["entry", "solved", "written again", "empty"]
SAID: dict[Way, str] = {
    "entry": "Its entry left the memory; everything else stayed as it was, bit for bit.",
    "solved": "The closed form was solved again without it, from the keys that the patch keeps.",
    "written again": "The other facts were written again by their editors, as if it had never been "
    "made. For a patch that was merged this is not its sum without that fact, so ask them again.",
    "empty": "It was the only fact, so the empty patch is left.",
}


class Without(NamedTuple):
    """What `without` gives.

    patch  the patch without the fact
    fact   the fact that left
    way    how: "entry", "solved" or "written again" (see the module), "empty" after the last fact
    """

    patch: Patch
    fact: Fact
    way: Way


def without(lm: Model, patch: Patch, fact: Fact | Case | int | str) -> Without:
    """The patch without one fact, also out of the middle of a batch or of a stream.

    The other facts hold as before. The log says afterwards what is in the patch: a stream's line
    becomes two, and the facts of a stream are read from its source.

    lm    the model that the patch is for
    fact  the fact; its number in `patch.facts`, as `python -m lib patch show` counts; or its
          subject

    Raises PatchError where no fact or more than one is meant, or the patch is for another model;
    FactError where the source of a stream has changed.
    """
    lm.check(patch)
    line, at, found = _find(patch, fact)
    rest, way = left(lm, patch, line, at)
    return Without(rest, found, way)


def _find(patch: Patch, fact: Fact | Case | int | str) -> tuple[int, int, Fact]:
    """(line of the log, number of the fact in that line, the fact)."""
    held = [
        (line, at, one) for line, edit in enumerate(patch.log) for at, one in enumerate(edit.read())
    ]
    meant = fact.fact if isinstance(fact, Case) else fact
    if isinstance(meant, Fact):
        fits, said = [number for number, (*_, one) in enumerate(held) if one == meant], meant.text
    elif isinstance(meant, str):
        said, words = meant, meant.casefold().split()  # whatever its blanks and capitals
        fits = [
            number
            for number, (*_, one) in enumerate(held)
            if one.subject is not None and one.subject.casefold().split() == words
        ]
    else:
        fits, said = [meant] if 0 <= meant < len(held) else [], str(meant)
    if not fits:
        count = f"{len(held)} fact{'s' * (len(held) != 1)}"
        raise PatchError(f"the patch holds {count}, there is no fact {quoted(said)}")
    if len(fits) > 1:
        raise PatchError(f"{quoted(said)} may be fact {' or '.join(map(str, fits))}: give a number")
    return held[fits[0]]


def left(
    lm: Any, patch: Patch, i: int, at: int | None = None, *, fold: bool = False
) -> tuple[Patch, Way]:
    """`patch` without fact `at` of line `i`, or with None without the whole line; and how."""
    log = patch.lines_without(i, at)
    if not log:
        return EMPTY, "empty"
    # the short way: a memory's entry leaves, or one editor with one setting wrote everything
    made = [(edit.editor, EDITORS[edit.editor].current(edit.settings)) for edit in patch.log]
    if not fold and (at is not None or all(one == made[0] for one in made)):
        line = patch.log[i]
        editor = EDITORS[line.editor](lm, **line.settings)
        try:
            found = editor.without(patch, i, at=at)
        except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            editor.refuse_memory(error, patch)
            raise
        if found is not None:
            return found, "solved" if editor.writes == "weights" else "entry"
    # the long way: every other fact is written again, batch by batch
    whole = EMPTY
    for edit in log:
        editor, facts = EDITORS[edit.editor](lm, **edit.settings), edit.read()
        size = edit.batch or max(1, len(facts))
        for start in range(0, len(facts), size):
            # the batches of a stream were not checked when they were written
            some = facts[start : start + size]
            whole = editor.edit(some, after=whole, check=edit.batch is None)
    return replace(whole, log=log), "written again"
