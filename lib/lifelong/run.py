"""A `Run` is a stream in progress, editing batch after batch and measuring at the points.

`lib.lifelong.stream.stream` creates runs, with or without a journal. A step changes the run only
after everything in it has succeeded, so you can always continue iterating a run that was
interrupted.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from ..cancellation import progress_after
from ..data.facts import Case
from ..editors.shared.base import Editor
from ..errors import EditError, EditWarning, FactError
from ..evaluation.answers import EVENTS
from ..evaluation.evaluate import measure, read
from ..evaluation.metrics import METRICS, TABLE, asked, counted
from ..evaluation.probe_prompts import Item
from ..evaluation.prompt_batch import Base
from ..evaluation.scores import Scores
from ..model.devices import on_card
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from .journal import Journal
from .sample import MeasurementPlan, contradicted


@dataclass(eq=False)
class Run:
    """A stream in progress: iterate for rows, one per batch; `finish` runs to the end.

    A row contains edits (so far), rows (first and last of the batch), seconds (of its edit),
    efficacy ({event: mean} right after it), and scores if it ends at a point of `eval_at`.

    settings      The arguments for `evaluate` given to `stream`.
    patch         The patch after `edits` edits.
    edits         The number of edits so far.
    rows          The rows so far.
    scores        {point: Scores}.
    contradicted  {point: number of facts contradicted by a later edit}; these facts are excluded
                  from the metrics asking for the fact itself.
    seconds       The time spent so far, {"edit", "evaluate"}.
    base          The base model's answers.
    numbers       The original row of each case, which differs from its place if rows that cannot be
                  edited were left out.
    """

    lm: LM
    editor: Editor
    cases: Sequence[Case]
    batch_size: int
    eval_at: tuple[int, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    sample: int | None = None
    patch: Patch = EMPTY
    edits: int = 0
    progress: bool = False
    save_every: int = 1
    journal: Journal | None = None
    numbers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        self.numbers = range(len(self.cases)) if self.numbers is None else self.numbers
        self._interrupted = False  # the journal may be ahead of the run
        self.rows: list[dict[str, Any]] = []
        self.scores: dict[int, Scores] = {}
        self.contradicted: dict[int, int] = {}
        self.seconds = {"edit": 0.0, "evaluate": 0.0}
        self.base = Base(self.lm.identity)
        self._unread: list[int] = []  # points measured earlier whose base answers are missing here
        self._written: list[pd.DataFrame] = []  # efficacy of the facts right after their own batch
        given = self.settings
        self._metrics = given.get("metrics", METRICS)
        # metrics, pool and seed determine the items; the rest is passed to every measurement of
        # them
        self._plan = MeasurementPlan(
            self.cases,
            self.batch_size,
            self.eval_at,
            self._metrics,
            given.get("pool"),
            given.get("seed", 0),
            self.sample,
        )
        lines = dict.fromkeys(item.metric for item in self._plan.every())
        wanted = {*self._metrics, "retention"}
        self._asked = asked(wanted, given.get("events", EVENTS), lines)
        self._counted = counted(lines)
        # metrics that no longer count for a fact that a later edit contradicts
        self._of_fact = {m.name for m in (*lines, TABLE["retention"]) if m.of_fact}
        planned = ("metrics", "pool", "seed")
        self._measured = {name: value for name, value in given.items() if name not in planned}

    def __repr__(self) -> str:
        return (
            f"Run({self.editor.name} on {self.lm.name}: {self.edits} of {len(self.cases)} edits, "
            f"measured at {list(self.scores)})"
        )

    def keep(self, journal: Journal) -> None:
        """Resume from a journal and write to it."""
        self.journal = journal
        self._restore()
        if self._finished():
            journal.close()

    def _restore(self) -> None:
        """Restore the last state in the run's journal."""
        saved = self.journal.read()
        self.patch, self._written = saved.patch, saved.written
        self.edits, self.rows, self.seconds = saved.edits, saved.rows, saved.seconds
        self.contradicted = {n: point["contradicted"] for n, point in saved.points.items()}
        self.scores = {
            n: self._scores(p["rows"], p["title"], p["perplexity"]) for n, p in saved.points.items()
        }
        self._unread = list(saved.points)
        self._interrupted = False

    def _finished(self) -> bool:
        return self.edits == len(self.cases) and not set(self.eval_at) - self.scores.keys()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        total = len(self.cases)
        self._check()
        if self._interrupted:
            self._restore()
        with tqdm(total=total, initial=self.edits, unit="edit", disable=not self.progress) as bar:
            if 0 in self.eval_at and 0 not in self.scores:
                self._start()
            while self.edits < total:
                row = self._step()
                bar.update(self.edits - bar.n)
                yield row
                if self.edits == total and self._written:
                    self._warn_unsaid()
        if self.journal:
            self.journal.close()

    def finish(self) -> Run:
        """Run to the end and return the run itself."""
        for _ in self:
            pass
        return self

    def _warn_unsaid(self) -> None:
        """Warn about facts that the model did not give right after their own batch, by any event.

        In a sampled run, these are facts of the samples.
        """
        asked = pd.concat(self._written)
        said = asked[asked["event"].isin(EVENTS[1:])].groupby("case")["value"].max() > 0
        if self.editor.factual and not said.all():
            warnings.warn(
                f"{self.editor.name}: right after its own batch the model did not give "
                f"{(~said).sum()} of {len(said)} new answers",
                EditWarning,
                stacklevel=3,
            )

    def _check(self) -> None:
        """Reject a stream with rows that cannot be edited, before editing any more of them."""
        if found := unusable(self.editor, self.cases, self.edits):
            raise EditError(
                "Nothing was edited. Correct these rows, or leave them out using "
                f"skip_unusable=True. {listed(found)}"
            )

    def _start(self) -> None:
        """Measure the base model."""
        start = time.perf_counter()
        scores, gone = self._at(0, EMPTY, [])
        seconds = {**self.seconds, "evaluate": time.perf_counter() - start}
        if self.journal:
            self._interrupted = True
            self.journal.append(0, seconds, point=self._point(scores, gone))
        self.scores[0], self.contradicted[0], self.seconds = scores, gone, seconds
        self._interrupted = False

    def _step(self) -> dict[str, Any]:
        """Edit and measure the next batch; an EditError names its rows and changes nothing."""
        # 1. edit the batch
        first, end = self.edits, min(self.edits + self.batch_size, len(self.cases))
        start = time.perf_counter()
        facts = [case.fact for case in self.cases[first:end]]
        try:
            # the first batch may compute statistics, showing progress; after that, the run's own
            # bar is enough
            with progress_after(math.inf if self.edits else 0.0):
                patch = self._logged(self.editor.edit(facts, after=self.patch, check=False))
        except ValueError as error:
            rows = self.numbers[first:end]
            where = f"Rows {rows[0]} to {rows[-1]}" if len(rows) > 1 else f"Row {rows[0]}"
            raise EditError(f"{where} could not be edited: {error}") from error
        edited = time.perf_counter()
        # 2. test the batch's own facts at once: efficacy is judged before later edits
        edits = [
            Item(i, TABLE["efficacy"], fact.text, fact.target_new, fact.target_true)
            for i, fact in enumerate(facts, first)
        ]
        after = self._measure(edits, patch, ("efficacy",))
        row = {
            "edits": end,
            "rows": (first, end - 1),
            "seconds": edited - start,
            "efficacy": after.json()["efficacy"],
        }
        written = self._plan.named(after.rows)
        # 3. at a point, measure everything
        scores = None
        if end in self.eval_at:
            scores, gone = self._at(end, patch, [*self._written, written])
            row["scores"] = scores.json()
        seconds = {
            "edit": self.seconds["edit"] + row["seconds"],
            "evaluate": self.seconds["evaluate"] + time.perf_counter() - edited,
        }
        # 4. write it to the journal; a point and the last batch are always saved
        if self.journal:
            self._interrupted = True
            point = self._point(scores, gone) if scores else None
            self.journal.append(end, seconds, row, written, point)
            batch = -(-end // self.batch_size)
            if scores or end == len(self.cases) or batch % self.save_every == 0:
                patch = self.journal.save(patch)
        # 5. only now change the run: any failure above leaves it unchanged
        self.patch, self.edits, self.seconds = patch, end, seconds
        if len(written):  # in a sampled run, most batches have none
            self._written.append(written)
        self.rows.append(row)
        if scores:
            self.scores[end], self.contradicted[end] = scores, gone
        self._interrupted = False
        return row

    @staticmethod
    def _point(scores: Scores, gone: int) -> dict[str, Any]:
        """Return a point's measurement as stored in a journal."""
        more = {"title": scores.title, "perplexity": scores.perplexity, "contradicted": gone}
        return {"rows": scores.rows, **more}

    def _logged(self, patch: Patch) -> Patch:
        """Return the patch with one line in its log for all batches of the stream."""
        line = replace(patch.log[-1], batch=self.batch_size)
        if not self.patch.log:
            return replace(patch, log=(line,))
        *earlier, last = self.patch.log
        return replace(patch, log=(*earlier, *last.then(line)))

    def _measure(self, items: Sequence[Item], patch: Patch, metrics: Collection[str]) -> Scores:
        return measure(self.lm, items, patch, base=self.base, metrics=metrics, **self._measured)

    def _at(self, point: int, patch: Patch, written: list[pd.DataFrame]) -> tuple[Scores, int]:
        """Return the scores of a point's facts, and the number contradicted by a later edit.

        written  The tables of the facts' efficacy, each measured right after the fact's own batch.
        """
        # a resumed run has lost the base model's answers: get them point by point, as the first
        # time, since other batches would change their last bits
        while self._unread:
            read(self.lm, self._plan.items(self._unread[0]), self.base, **self._measured)
            del self._unread[0]
        # test the model in its current state
        items = self._plan.items(point)
        found = self._measure(items, patch, self._metrics)
        rows = found.rows
        # a fact tested now gives its retention; its efficacy is the answer right after its own
        # batch
        edits = rows["metric"] == "efficacy"
        again = rows[edits].assign(metric="retention")
        before = pd.concat(written) if written else rows[edits]
        before = before[before["case"].isin({item.case for item in items})]
        rows = pd.concat([before, again, rows[~edits]], ignore_index=True)
        # a fact that a later edit contradicts should not be retained: exclude its own prompts
        numbers = contradicted(self.cases[:point]).intersection(self._plan.rows(point))
        gone = {self._plan.names[i] for i in numbers}
        outdated = rows["case"].isin(gone) & rows["metric"].isin(self._of_fact)
        rows = rows[~outdated].reset_index(drop=True)
        title = found.title
        if self.sample is not None:
            sizes = [f"{len(some)} {group}" for group, some in self._plan.draws[point].items()]
            title += f" (a sample: {', '.join(sizes)})"
        return self._scores(rows, title, found.perplexity), len(gone)

    def _scores(self, rows: pd.DataFrame, title: str, perplexity: float | None) -> Scores:
        return Scores(rows, self._asked, title, perplexity, self.base, counted=self._counted)

    def groups(self, point: int) -> dict[str, Scores]:
        """Return a sampled run's scores at a point, separately for old, between and recent facts.

        Without a sample, there are no groups, and the result is empty.
        """
        if point not in self.scores:
            raise EditError(
                f"Nothing was measured at {point}. Available points: {list(self.scores)}"
            )
        whole, draws = self.scores[point], self._plan.draws[point] if self.sample else {}
        return {
            group: self._scores(whole.rows[of_it], f"{whole.title}: {group}", None)
            for group, rows in draws.items()
            for of_it in [whole.rows["case"].isin({self._plan.names[i] for i in rows})]
        }

    def json(self) -> dict[str, Any]:
        """Return the run in the form written by `python -m lib stream --json`."""
        groups = {p: {g: some.json() for g, some in self.groups(p).items()} for p in self.scores}
        return {
            "editor": self.editor.name,
            "model": self.lm.name,
            "settings": {**asdict(self.editor.config), "batch": self.batch_size},
            "edits": self.edits,
            **({} if isinstance(self.numbers, range) else {"rows": list(self.numbers)}),
            "seconds": dict(self.seconds),
            "peak_memory_bytes": peak_memory(self.lm),
            "scores": {
                str(point): {
                    **scores.json(),
                    "contradicted": self.contradicted[point],
                    **({"groups": groups[point]} if self.sample else {}),
                }
                for point, scores in self.scores.items()
            },
        }


def unusable(editor: Editor, cases: Sequence[Case], first: int = 0) -> dict[int, str]:
    """Return {row: reason} for the cases from `first` on whose facts the editor rejects.

    No model runs. A row costs 0.2 ms at most, a tenth of the fastest editor's time for it, and
    plain English, whose tokens need not be counted, costs a twentieth of that.
    """
    found = {}
    for row in range(first, len(cases)):
        try:
            editor.check([cases[row].fact], row)
        except (EditError, FactError) as error:
            found[row] = str(error)
    return found


def listed(found: Mapping[int, str]) -> str:
    """Return the number of rows that cannot be edited, with the reasons for the first three."""
    rows = "1 row" if len(found) == 1 else f"{len(found):,} rows"
    return f"{rows} cannot be edited: {'; '.join([*found.values()][:3])}"


def peak_memory(lm: LM) -> int | None:
    """Return the peak memory in bytes so far: of the model's GPUs, added up, or of the process.

    None if the system does not report it, such as Windows.
    """
    if on_card(lm.device):
        card = torch.get_device_module(lm.device)
        return sum(card.max_memory_allocated(device) for device in lm.devices)
    try:
        import resource
    except ImportError:  # only Unix has it
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
