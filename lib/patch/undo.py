"""Removing one fact from a patch by writing all others again, as if it had never been edited."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..cancellation import steps
from ..data.facts import Case, Fact, quoted
from ..errors import PatchError
from ..registry import EDITORS
from .patch import EMPTY, Edit, Model, Patch


def without(lm: Model, patch: Patch, fact: Fact | Case | int | str) -> Patch:
    """Return the patch without one fact, even from the middle of a batch or of a stream.

    The editors of the log write all other facts again, in the same calls as before.

    lm    the patch's model
    fact  the fact; its number in `patch.facts`, as shown by `python -m lib patch show`; or its
          subject

    Raises PatchError unless exactly one fact is meant, and if the patch is for another model.
    """
    lm.check(patch)
    line, at = _find(patch, fact)
    log = (*patch.log[:line], *patch.log[line].less(at), *patch.log[line + 1 :])
    return written_again(lm, log)


def _find(patch: Patch, fact: Fact | Case | int | str) -> tuple[int, int]:
    """Return (line of the log, number of the fact in that line)."""
    held = [(line, at) for line, edit in enumerate(patch.log) for at in range(len(edit))]
    meant = fact.fact if isinstance(fact, Case) else fact
    if isinstance(meant, Fact):
        fits, said = [i for i, one in enumerate(patch.facts) if one == meant], meant.text
    elif isinstance(meant, str):
        said, words = meant, meant.casefold().split()  # ignoring spaces and case
        fits = [
            i
            for i, one in enumerate(patch.facts)
            if one.subject is not None and one.subject.casefold().split() == words
        ]
    else:
        fits, said = [meant] if 0 <= meant < len(held) else [], str(meant)
    if not fits:
        count = f"{len(held)} fact{'s' * (len(held) != 1)}"
        raise PatchError(f"The patch has {count}; there is no fact {quoted(said)}.")
    if len(fits) > 1:
        raise PatchError(
            f"{quoted(said)} may be fact {' or '.join(map(str, fits))}. Give a number."
        )
    return held[fits[0]]


def written_again(lm: Any, log: Iterable[Edit]) -> Patch:
    """Return the patch that a log's editors make of its facts, call by call, with this log."""
    log = tuple(log)
    calls = []
    for edit in log:
        editor, size = EDITORS[edit.editor](lm, **edit.settings), edit.batch or max(1, len(edit))
        for start in range(0, len(edit), size):
            calls.append((editor, edit.facts[start : start + size], edit.batch is None))
    whole = EMPTY
    for editor, facts, check in steps(calls, "calls of the log, written again"):
        # the batches of a stream were not checked when they were written
        whole = editor.edit(facts, after=whole, check=check)
    return replace(whole, log=log)
