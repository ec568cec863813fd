"""The lifelong runner: batches of cases in, rows out, with everything measured at chosen points.

A stream is a fold, patch = editor.edit(batch, after=patch). `Run` is lazy: iterating it edits one
batch after the other, and a run that was left can be iterated on. Efficacy is measured right after
a fact's own batch, all else at the points, on all facts so far, or on a sample of them, with the
model as it is then. With a journal (journal.py) a run that was killed goes on where it was.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import distributed
from ..data.facts import Case
from ..data.readers import Cases, LazyCases
from ..editors.shared.base import Editor
from ..errors import JournalError, StreamError
from ..model.lm import LM
from ..registry import EDITORS
from .journal import Journal, digest
from .run import Run

_SETTINGS = ("events", "metrics", "pool", "text", "kl_prompts", "seed")  # what `evaluate` takes


def stream(
    lm: LM,
    editor: str | Editor,
    cases: Sequence[Case],
    batch_size: int = 1,
    eval_at: Sequence[int] | None = None,
    evaluate_with: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    *,
    journal: str | Path | None = None,
    save_every: int = 1,
    sample: int | None = None,
) -> Run:
    """A run over the cases in their order, batch by batch; nothing happens before it is iterated.

    The patch of cases that `read_cases` gave names their source and rows, and does not hold them.
    Several processes (parallel.py) make the same run, each of them all of it but for what an editor
    shares; the first has the journal and the bar.

    editor        a name in EDITORS (with its preset) or an editor of this model
    eval_at       numbers of edits at which everything is measured, default 0 and the end; 0 is the
                  base model, on all cases
    evaluate_with arguments of `evaluate` by name: events, metrics, pool, text, kl_prompts, seed
    progress      bar on stderr, default only on a terminal
    journal       folder from which the same call goes on after a kill, bit for bit; a finished one
                  gives its result without an edit
    save_every    batches between two saved patches; what came after the last one is done again
    sample        measure at a point at most so many old (first quarter), recent (last batches) and
                  other facts instead of all; the same ones for every editor, `efficacy` too

    Raises StreamError for an unknown editor, one of another model, no case, a number below 1, an
    unknown argument, or a point that is not at the end of a batch; JournalError for a journal in
    use, or of a run with other arguments.
    """
    cases = cases[:] if isinstance(cases, Cases | LazyCases) else list(cases)
    if not cases:
        raise StreamError("there is no case to edit")
    counts = {"batch size": batch_size, "save_every": save_every, "sample": sample}
    for name, count in counts.items():
        if count is not None and count < 1:
            raise StreamError(f"the {name} should be at least 1, not {count}")
    for name in evaluate_with or ():
        if name not in _SETTINGS:
            raise StreamError(f"evaluate_with knows {', '.join(_SETTINGS)}, not '{name}'")
    points = tuple(sorted(set((0, len(cases)) if eval_at is None else eval_at)))
    for point in points:
        if not 0 <= point <= len(cases):
            raise StreamError(f"eval_at {point} lies outside the stream of {len(cases)} edits")
        if point % batch_size and point != len(cases):
            raise StreamError(f"eval_at {point} is not at the end of a batch of {batch_size} edits")
    settings = dict(evaluate_with or {})
    run = Run(lm, _editor(lm, editor), cases, batch_size, points, settings, sample)
    shown = sys.stderr.isatty() if progress is None else progress
    run.progress = shown and distributed.rank() == 0
    run.save_every = save_every
    if journal is not None:
        header = _header(run, dict(evaluate_with or {}))
        run.keep(_journal(journal, header, run.editor.current))
    return run


def _journal(folder: str | Path, header: dict[str, Any], current: Callable) -> Journal:
    """The journal; in any process but the first a copy of it, which goes when the run goes.

    All of them must go on from the same edit, and read a saved patch back as the first one does.
    """
    with distributed.together(JournalError):
        own = Journal(folder, header, current) if distributed.rank() == 0 else None
    if distributed.world() == 1:
        return own
    copy = distributed.folder_of_first(own.folder if own else None)
    if own is None:
        own = Journal(copy.name, header, current)
        weakref.finalize(own, copy.cleanup)
    return own


def _header(run: Run, settings: dict[str, Any]) -> dict[str, Any]:
    """All that decides what a run gives, as JSON; cases by their hash."""
    if settings.get("pool") is not None:
        settings["pool"] = digest(settings["pool"])
    given = {k: sorted(v) if isinstance(v, set | frozenset) else v for k, v in settings.items()}
    return {
        "model": run.lm.identity,
        "dtype": str(run.lm.dtype),
        "editor": run.editor.name,
        "settings": run.editor._settings(),
        "cases": digest(run.cases),
        "edits": len(run.cases),
        "batch size": run.batch_size,
        "eval_at": run.eval_at,
        "evaluate_with": given,
        "sample": run.sample,
    }


def _editor(lm: LM, editor: str | Editor) -> Editor:
    if isinstance(editor, str):
        if editor not in EDITORS:
            raise StreamError(f"there is no editor '{editor}'; there are {', '.join(EDITORS)}")
        return EDITORS[editor](lm)
    if editor.lm is not lm:
        raise StreamError(f"this {editor.name} editor belongs to another model than {lm.name}")
    return editor
