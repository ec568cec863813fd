"""`stream` creates a lifelong run: many batches of edits, measured at chosen points.

A stream is a fold, patch = editor.edit(batch, after=patch). The returned `Run` is lazy: iterating
it edits one batch after another, and you can leave a run and continue iterating later.

Efficacy is measured right after a fact's own batch, everything else at the points, on all facts
written so far or on a sample. With a journal, a killed run resumes where it stopped.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import distributed
from ..data import as_facts
from ..editors.shared.base import Editor
from ..errors import DataWarning, EditError, JournalError
from ..model.lm import LM
from ..registry import EDITORS
from ..setting_fields import at_least
from .journal import Journal, digest
from .run import Run, listed, unusable

_SETTINGS = ("events", "metrics", "pool", "text", "kl_prompts", "seed")  # arguments of `evaluate`


def stream(
    lm: LM,
    editor: str | Editor,
    cases: as_facts.Given,
    batch_size: int = 1,
    eval_at: Sequence[int] | None = None,
    evaluate_with: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    *,
    journal: str | Path | None = None,
    save_every: int = 1,
    sample: int | None = None,
    skip_unusable: bool = False,
) -> Run:
    """Return a run over the cases in order, batch by batch; nothing happens before iterating it.

    Before the first batch, all rows are checked, without the model (for the cost, see
    `run.unusable`). Rows that the editor rejects are listed in one EditError, and nothing is edited
    in this case.

    With several processes (`lib.distributed`), the first has the journal and the bar.

    editor         A name in EDITORS, giving the editor its preset, or an editor of this model.
    batch_size     The number of facts in one call of the editor.
    eval_at        Numbers of edits at which everything is measured, by default 0 and the end. At 0,
                   the base model is measured, on all cases.
    evaluate_with  Arguments of `evaluate` by name: events, metrics, pool, text, kl_prompts, seed.
    progress       A bar on stderr, by default only on a terminal.
    journal        A folder for resuming the same call, with the same number of threads, after being
                   killed, bit for bit. A finished journal gives its result without editing.
    save_every     Batches between two saved patches; a resumed run repeats the batches after the
                   last one.
    sample         The maximum number of old facts (first quarter), recent facts (last batches) and
                   other facts to measure at a point, instead of all of them. They are the same for
                   every editor, and `efficacy` at a point is also sampled.
    skip_unusable  Leave out the rows that the editor rejects, listing them in a DataWarning.
                   Searching for them happens at once, because points and batches count the
                   remaining rows.

    Raises EditError for an unknown editor, an editor of another model, no case, an unknown
    argument, a size below 1, or a point that is not at the end of a batch; JournalError for a
    journal in use, or of a run with other arguments.
    """
    at_least(1, batch_size=batch_size, save_every=save_every, sample=sample)
    some, given = as_facts.cases(cases), dict(evaluate_with or {})
    made = EDITORS[editor](lm) if isinstance(editor, str) else editor
    if made.lm is not lm:
        raise EditError(
            f"This {made.name} editor belongs to another model than {lm.name}. Create it for this "
            "model."
        )
    numbers = None
    if skip_unusable and (found := unusable(made, some)):
        warnings.warn(f"Skipped, because {listed(found)}", DataWarning, stacklevel=3)
        numbers = [row for row in range(len(some)) if row not in found]
        some = [some[row] for row in numbers]
    if not some:
        raise EditError("There is no case to edit. Provide at least one.")
    for name in given:
        if name not in _SETTINGS:
            raise EditError(f"evaluate_with accepts {', '.join(_SETTINGS)}, not '{name}'.")
    if given.get("pool") is not None:
        given["pool"] = as_facts.cases(given["pool"])
    points = tuple(sorted(set((0, len(some)) if eval_at is None else eval_at)))
    for point in points:
        if not 0 <= point <= len(some):
            raise EditError(f"eval_at {point} is outside the stream of {len(some)} edits.")
        if point % batch_size and point != len(some):
            raise EditError(f"eval_at {point} is not at the end of a batch of {batch_size} edits.")
    shown = sys.stderr.isatty() if progress is None else progress
    run = Run(
        lm,
        made,
        some,
        batch_size,
        points,
        given,
        sample,
        progress=shown and distributed.rank() == 0,
        save_every=save_every,
        numbers=numbers,
    )
    if journal is not None:
        run.keep(_journal(journal, _header(run)))
    return run


def _journal(folder: str | Path, header: Mapping[str, Any]) -> Journal:
    """Return the journal; in every process except the first, a copy in a temporary folder.

    All processes must continue from the same edit, reading a saved patch back like the first
    process.
    """
    with distributed.together(JournalError):
        own = Journal(folder, header) if distributed.rank() == 0 else None
    if distributed.world() == 1:
        return own
    copy = distributed.folder_of_first(own.folder if own else None)
    if own is None:
        own = Journal(copy.name, header)
        weakref.finalize(own, copy.cleanup)  # the copy is deleted with the run
    return own


def _header(run: Run) -> dict[str, Any]:
    """Return everything determining a run's result, as JSON; cases are identified by hash."""
    pool = run.settings.get("pool")
    settings = run.settings | ({} if pool is None else {"pool": digest(pool)})
    given = {k: sorted(v) if isinstance(v, set | frozenset) else v for k, v in settings.items()}
    return {
        "model": run.lm.identity,
        "dtype": str(run.lm.dtype),
        "editor": run.editor.name,
        "settings": run.editor.settings_dict(),
        "cases": digest(run.cases),
        "edits": len(run.cases),
        "batch size": run.batch_size,
        "eval_at": run.eval_at,
        "evaluate_with": given,
        "sample": run.sample,
    }
