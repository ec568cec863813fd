"""The lifelong runner: batches of cases in, rows out, with everything measured at chosen points.

A stream is a fold, patch = editor.edit(batch, after=patch). `Run` is lazy: iterating it edits one
batch after the other, and a run that was left can be iterated on. Efficacy is measured right after
a fact's own batch, all else at the points, on all facts so far, with the model as it is then.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from tqdm import tqdm

from .events import EVENTS, plain
from .facts import Case
from .metrics import Base, measure
from .patch import EMPTY, Patch
from .prompts import METRICS, Item, names, normal, plan
from .scores import Scores, asked

if TYPE_CHECKING:
    from .editor import Editor
    from .lm import LM

_SETTINGS = ("events", "metrics", "pool", "text", "kl_prompts", "seed")  # what `evaluate` takes
_OF_THE_FACT = (  # not measured any more on a fact that a later edit contradicts
    "retention", "generalization", "portability", "negation_leak", "negation_base", "chat",
)  # fmt: skip


class StreamError(ValueError):
    """A stream that cannot be run, or a batch that could not be edited; the run is as it was."""


def stream(
    lm: LM,
    editor: str | Editor,
    cases: Sequence[Case],
    batch_size: int = 1,
    eval_at: Sequence[int] | None = None,
    evaluate_with: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Run:
    """A run over the cases in their order, batch by batch; nothing happens before it is iterated.

    editor        a name in EDITORS (with its preset) or an editor of this model
    eval_at       numbers of edits at which everything is measured, default 0 and the end; 0 is the
                  base model, on all cases
    evaluate_with arguments of `evaluate` by name: events, metrics, pool, text, kl_prompts, seed
    progress      bar on stderr, default only on a terminal

    Raises StreamError for an unknown editor, one of another model, no case, a batch size below 1,
    an unknown argument, or a point that is not at the end of a batch.
    """
    cases = list(cases)
    if not cases:
        raise StreamError("there is no case to edit")
    if batch_size < 1:
        raise StreamError(f"the batch size should be at least 1, not {batch_size}")
    for name in evaluate_with or ():
        if name not in _SETTINGS:
            raise StreamError(f"evaluate_with knows {', '.join(_SETTINGS)}, not '{name}'")
    points = tuple(sorted(set((0, len(cases)) if eval_at is None else eval_at)))
    for point in points:
        if not 0 <= point <= len(cases):
            raise StreamError(f"eval_at {point} lies outside the stream of {len(cases)} edits")
        if point % batch_size and point != len(cases):
            raise StreamError(f"eval_at {point} is not at the end of a batch of {batch_size} edits")
    run = Run(lm, _editor(lm, editor), cases, batch_size, points, dict(evaluate_with or {}))
    run.progress = sys.stderr.isatty() if progress is None else progress
    return run


def _editor(lm: LM, editor: str | Editor) -> Editor:
    from .editors import EDITORS

    if isinstance(editor, str):
        if editor not in EDITORS:
            raise StreamError(f"there is no editor '{editor}'; there are {', '.join(EDITORS)}")
        return EDITORS[editor](lm)
    if editor.lm is not lm:
        raise StreamError(f"this {editor.name} editor belongs to another model than {lm.name}")
    return editor


@dataclass(eq=False)
class Run:
    """A stream on its way: iterate for rows, one per batch; `finish` runs to the end.

    A row has edits (so far), rows (first and last of the batch), seconds (of its edit), efficacy
    ({event: mean} right after it), and scores where its end is a point of `eval_at`.

    patch   after `edits` edits; scores {point: Scores}; contradicted {point: number of facts that a
            later edit contradicted, which are left out of what is measured of the fact itself}
    seconds {"edit", "evaluate"}; rows: all rows so far; base: the base model's answers
    """

    lm: LM
    editor: Editor
    cases: list[Case]
    batch_size: int
    eval_at: tuple[int, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    patch: Patch = EMPTY
    edits: int = 0
    progress: bool = False

    def __post_init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.scores: dict[int, Scores] = {}
        self.contradicted: dict[int, int] = {}
        self.seconds = {"edit": 0.0, "evaluate": 0.0}
        self.base = Base(self.lm.identity)
        self._written: list[pd.DataFrame] = []  # efficacy of every fact right after its own batch
        self._metrics = self.settings.pop("metrics", METRICS)
        self._asked = asked({*self._metrics, "retention"}, self.settings.get("events", EVENTS))
        self._names = list(names(self.cases))
        pool, seed = self.settings.pop("pool", None), self.settings.pop("seed", 0)
        # one plan for all points, so that they ask the same
        items = plan(self.cases, self._metrics, pool, seed=seed)
        self._plan = {name: list(some) for name, some in groupby(items, lambda item: item.case)}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        total = len(self.cases)
        with tqdm(total=total, initial=self.edits, unit="edit", disable=not self.progress) as bar:
            if 0 in self.eval_at and 0 not in self.scores:
                start = time.perf_counter()
                self.scores[0], self.contradicted[0] = self._at(0, EMPTY, []), 0
                self.seconds["evaluate"] += time.perf_counter() - start
            while self.edits < total:
                row = self.step()
                bar.update(self.edits - bar.n)
                yield row

    def finish(self) -> Run:
        """Run to the end and come back itself."""
        for _ in self:
            pass
        return self

    def step(self) -> dict[str, Any]:
        """Edit and measure the next batch; a StreamError names its rows and changes nothing."""
        first, end = self.edits, min(self.edits + self.batch_size, len(self.cases))
        start = time.perf_counter()
        try:
            facts = [case.fact for case in self.cases[first:end]]
            patch = self.editor.edit(facts, after=self.patch)
        except ValueError as error:
            where = f"rows {first} to {end - 1}" if end - first > 1 else f"row {first}"
            raise StreamError(f"{where} could not be edited: {error}") from error
        edited = time.perf_counter()
        edits = [item for item in self._items(first, end) if item.metric == "efficacy"]
        after = self._measure(edits, patch, ("efficacy",))
        row = {
            "edits": end,
            "rows": (first, end - 1),
            "seconds": edited - start,
            "efficacy": after.json()["efficacy"],
        }
        if end in self.eval_at:
            self.scores[end] = self._at(end, patch, [*self._written, after.rows])
            row["scores"] = self.scores[end].json()
            self.contradicted[end] = len(contradicted(self.cases[:end]))
        self.patch, self.edits = patch, end  # only now: nothing before this line changed the run
        self._written.append(after.rows)
        self.rows.append(row)
        self.seconds["edit"] += row["seconds"]
        self.seconds["evaluate"] += time.perf_counter() - edited
        return row

    def _items(self, first: int, end: int) -> list[Item]:
        return [item for name in self._names[first:end] for item in self._plan[name]]

    def _measure(self, items: Sequence[Item], patch: Patch, metrics: Collection[str]) -> Scores:
        return measure(self.lm, items, patch, base=self.base, metrics=metrics, **self.settings)

    def _at(self, point: int, patch: Patch, written: list[pd.DataFrame]) -> Scores:
        """Everything on all facts so far; at 0 on all facts of the stream, under the base model."""
        found = self._measure(self._items(0, point or len(self.cases)), patch, self._metrics)
        rows = found.rows
        edits = rows["metric"] == "efficacy"
        again = rows[edits].assign(metric="retention")
        gone = {self._names[i] for i in contradicted(self.cases[:point])}
        rows = pd.concat([*(written or [rows[edits]]), again, rows[~edits]], ignore_index=True)
        stale = rows["case"].isin(gone) & rows["metric"].isin(_OF_THE_FACT)
        rows = rows[~stale].reset_index(drop=True)
        return Scores(rows, self._asked, found.title, found.perplexity, self.base)

    def json(self) -> dict[str, Any]:
        """The run as `python -m lib stream --json` writes it."""
        return {
            "editor": self.editor.name,
            "model": self.lm.name,
            "settings": {**asdict(self.editor.config), "batch": self.batch_size},
            "edits": self.edits,
            "seconds": dict(self.seconds),
            "peak_memory_bytes": peak_memory(self.lm),
            "scores": {
                str(point): {**scores.json(), "contradicted": self.contradicted[point]}
                for point, scores in self.scores.items()
            },
        }


def contradicted(cases: Sequence[Case]) -> set[int]:
    """Numbers of the cases whose subject and prompt a later case writes with another target."""
    later: dict[tuple[str, str], set[str]] = {}
    found = set()
    for i, case in reversed(list(enumerate(cases))):
        fact = case.fact
        targets = later.setdefault((normal(fact.subject or ""), normal(fact.text)), set())
        if targets - {plain(fact.target_new)}:
            found.add(i)
        targets.add(plain(fact.target_new))
    return found


def peak_memory(lm: LM) -> int:
    """Most bytes in use at once so far: tensors on the model's GPU, otherwise the whole process."""
    if lm.device.type == "cuda":
        return torch.cuda.max_memory_allocated(lm.device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
