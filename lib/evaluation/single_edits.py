"""Single edits: each fact is edited on the base model, measured, and forgotten.

Most papers first report an editor using these numbers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import pandas as pd
from tqdm import tqdm

from ..data import as_facts
from ..data.facts import Case
from ..editors.shared.base import Editor
from ..patch.patch import EMPTY
from .answers import EVENTS
from .evaluate import measure
from .metrics import METRICS
from .own_facts import with_tests
from .probe_prompts import Item, probe_items
from .prompt_batch import Base
from .scores import Scores

QUICK = tuple(m for m in METRICS if m not in ("perplexity", "chat"))


def singly(
    editor: Editor,
    cases: as_facts.Given,
    events: Sequence[str] = EVENTS,
    metrics: Collection[str] = QUICK,
    base: Base | None = None,
    progress: bool | None = None,
) -> Scores:
    """Return scores over all cases, each measured with a patch containing only its own fact.

    The facts of a batch, which belong together, are one edit and are measured together. By default,
    facts without tests get tests from `case_for`. The base model is measured only once for all of
    them, and its own scores on the same cases are in `.base.scores`. The seconds of each edit are
    in `.seconds`. The perplexity is the mean over the patches if it is among the metrics.
    """
    some, lm = list(as_facts.cases(cases)), editor.lm
    if metrics is QUICK:
        some = with_tests(lm, some)
    items = probe_items(some, metrics)
    by_case = [list(own) for _, own in groupby(items, lambda item: item.case)]
    settings: dict[str, Any] = {"events": events, "metrics": metrics}
    # measure the base model once, providing the answers for comparing with every patch
    before = measure(lm, items, EMPTY, base=base, **settings)
    base = before.base
    base.scores = before
    found, seconds = [], []
    shown = sys.stderr.isatty() if progress is None else progress
    pairs = list(zip(some, by_case, strict=True))
    # adjacent cases sharing a batch are one edit
    edits = [list(those) for _, those in groupby(enumerate(pairs), lambda pair: _batch(*pair))]
    for together in tqdm(edits, disable=not shown, unit="edit"):
        own = [item for _, (_, its) in together for item in its]
        start = time.perf_counter()
        patch = editor.edit([case.fact for _, (case, _) in together], check=False)
        seconds.append(time.perf_counter() - start)
        found.append(measure(lm, own, patch, base=base, **settings))
    known = [one.perplexity for one in found if one.perplexity is not None]
    return replace(
        before,
        rows=pd.concat([one.rows for one in found] or [before.rows], ignore_index=True),
        title=f"{editor.name}, {len(edits)} single edits, each on the base model, {lm.name}",
        perplexity=sum(known) / len(known) if known else None,
        seconds=seconds,
    )


def _batch(number: int, pair: tuple[Case, list[Item]]) -> tuple[bool, Any]:
    """Return the key that cases of one edit share: their batch, or the number of a single case."""
    batch = pair[0].batch
    return (False, number) if batch is None else (True, batch)
