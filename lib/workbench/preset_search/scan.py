"""`scan` tries an editor on a few cases, coarse to fine, and proposes layer and settings.

The candidates and their stages are in `candidates`. Here are the trials, the budget of time, the
journal and the result; the file passes 300 lines because `Scan` is both the run and its result, and
half of `scan` explains its settings.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from ...atomic_files import path_of, whole_file
from ...data import as_facts
from ...data.facts import Case, Fact
from ...data.short_repr import as_json
from ...errors import EditError, EditWarning
from ...evaluation.evaluate import baseline, evaluate
from ...evaluation.results import Table
from ...evaluation.single_edits import singly
from ...model.lm import LM
from ...registry import EDITORS
from ...setting_fields import Count, Positive
from .candidates import Space, plain_json, read_journal

# the score is the harmonic mean of these, judged by this event
SCORED, EVENT = ("efficacy", "generalization", "specificity"), "generation"
MEASURED: dict[str, Any] = {"events": (EVENT,), "metrics": (*SCORED, "locality")}
CLOSE = 0.01  # a difference of scores that a few cases cannot tell from none


def scan(
    lm: LM,
    editor: str,
    cases: as_facts.Given,
    layers: Sequence[int] | None = None,
    budget: Positive | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    around: Count = 2,
    journal: str | Path | None = None,
    together: bool | None = None,
    *,
    widths: Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    facts: as_facts.Given | None = None,
    say: Callable[[str], None] | None = None,
) -> Scan:
    """Try the editor over layers and settings; returns the rows, the best of them, and a preset.

    layers    The layers to try, by default all. For editors of several layers these are the last
              layers of windows, which are as wide as in the preset and cut off at layer 0.
    budget    Seconds. Too few make the scan coarser, as `.note` then says; at least one trial is
              made.
    grid      {setting: values}, the most important setting first.
    around    The number of layers that stage 2 tries to both sides of the best layer, within the
              ends of `layers`.
    journal   A JSON file of the rows so far, whole after every trial. A later call goes on from it.
    together  All facts are written in one call of the editor before every case is asked; with False
              each case is edited alone. The default is True for editors of several layers and for
              those that need no subject.
    widths    Widths of the window to try, in layers.
    settings  Settings of the editor in every trial, on top of its preset.
    facts     The facts of the one call, by default the cases' own.
    say       Is called with the estimate after the first trial; by default it is a line above
              the bar, which stands on stderr where that is a terminal.

    Raises EditError for what cannot be scanned, for the journal of another scan, and for facts or
    settings that the editor refuses. A trial that fails later is a row of score 0.
    """
    space = Space(lm, editor, settings or {}, layers, around, grid or {}, widths)
    some = list(as_facts.cases(cases))
    if not some:
        raise EditError("there is no case to scan on")
    if together is None:
        together = space.where != "layer" or not EDITORS[editor].needs_subject
    if facts is not None and not together:
        raise EditError("facts are for one call of the editor, so they need together=True")
    facts = as_facts.facts(some if facts is None else facts)
    EDITORS[editor](lm, **space.given).check(facts)
    found = Scan(lm, editor, some, facts, together, space, budget, journal)
    return found.run(say)


@dataclass(eq=False, repr=False)
class Scan:
    """The result of a scan.

    rows      One per trial: the settings tried, the scored metrics, kl_nats of locality, harmonic
              (the score), seconds (median per edit), trial_seconds, and error where it failed.
    before    The scored metrics of the base model on these cases.
    estimate  The seconds of all trials that were left to do, judged by the first timed one.
    note      The metrics that were not measured and the trials that were left out, if any.
    """

    lm: LM
    editor: str
    cases: list[Case]
    facts: list[Fact]
    together: bool
    space: Space
    budget: float | None = None
    journal: str | Path | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    estimate: float | None = None
    note: str = ""

    def run(self, say: Callable[[str], None] | None) -> Scan:
        """Make the trials, stage by stage, as far as the budget goes; returns the scan itself."""
        # 1. trials of an earlier call, and the base model's answers
        self._end = time.perf_counter() + (math.inf if self.budget is None else self.budget)
        self.rows = self._read()
        self._dropped: set[Any] = set()
        self._base = baseline(self.lm, self.cases, **MEASURED)
        self._choose(self._base.scores.json())
        # 2. count the trials, as if the first candidate were the best one of every stage
        coarse = self.space.coarse()
        planned = {self.space.key(one) for one in coarse}
        for stage in self.space.stages():
            planned |= {self.space.key(one) for one in stage(coarse[0])}
        to_do = len(planned - {self.space.key(row) for row in self.rows})
        with tqdm(total=to_do, disable=None, unit="trial", desc=self.editor) as self._bar:
            # 3. the first trial tells how long all of them will take
            mine = self._try(coarse[:1])
            pace = self._pace()
            self.estimate = pace * to_do
            say = say or (lambda line: self._bar.disable or self._bar.write(line, file=sys.stderr))
            say(f"{to_do} trials of about {pace:.3g} s: about {self.estimate:.0f} s")
            # 4. the rest of stage 1, as far as it leaves time for the other stages
            mine += self._try(coarse[1:], self._affordable(to_do - self._bar.n))
            # 5. each further stage starts from the best candidate so far
            for stage in self.space.stages():
                if any("error" not in row for row in mine):
                    mine += self._try(stage(self._best(mine)))
        # 6. say what is missing
        dropped = len(self._dropped - {self.space.key(row) for row in self.rows})
        if dropped:
            whole = f"{to_do} trials would take about {self.estimate:.0f} s"
            self.note += f"{whole}; the budget of {self.budget:g} s left {dropped} out. "
        if not any(row["harmonic"] for row in self.rows):
            self.note += "Every score is 0: there is nothing to choose from."
        self.note = self.note.strip()
        return self

    def _choose(self, before: Mapping[str, Any]) -> None:
        """Choose the metrics to score: those for which the cases have prompts.

        Where specificity has none, locality stands in for it.
        """
        known = {m: before.get(m, {}).get(EVENT) for m in MEASURED["metrics"]}
        self.scored = [m for m in SCORED if known[m] is not None]
        missing = [m for m in SCORED if known[m] is None]
        if missing:
            instead = "specificity" in missing and known["locality"] is not None
            self.note = f"Not in these cases: {', '.join(missing)}"
            self.scored += ["locality"] * instead
            self.note += "; locality stands in for specificity. " if instead else ". "
        self.before = {m: round(known[m], 4) for m in self.scored}

    def _affordable(self, to_do: int) -> float:
        """The trials that stage 1 may still make: half of those that fit, where not all do."""
        fit = self._left() // self._pace()
        return math.inf if to_do <= fit else max(fit // 2, min(2, fit))

    def _left(self) -> float:
        """The seconds that are left of the budget."""
        return self._end - time.perf_counter()

    def _pace(self) -> float:
        """The mean seconds of a trial; failed ones end early, so they count only without others."""
        good = [row for row in self.rows if "error" not in row] or self.rows
        return statistics.fmean(row["trial_seconds"] for row in good)

    def _try(self, candidates: list[dict[str, Any]], limit: float = math.inf) -> list[dict]:
        """The rows of the candidates, from the journal or tried now.

        Candidates for which limit or budget leave no trial are dropped.
        """
        found = []
        for changes in candidates:
            key = self.space.key(changes)
            row = next((row for row in self.rows if self.space.key(row) == key), None)
            if row is None and (limit < 1 or (self.rows and self._left() < self._pace())):
                self._dropped.add(key)
                continue
            if row is None:
                limit -= 1
                row = self._attempt(changes)
                self.rows.append(row)
                self._bar.update()
                self._write()
            found.append(row)
        return found

    def _attempt(self, changes: dict[str, Any]) -> dict[str, Any]:
        """The row of one trial, with score 0 and the error where the edit fails."""
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", EditWarning)  # the same ones in every trial
                row = changes | self._trial(changes)
        except (EditError, torch.linalg.LinAlgError) as error:
            row = changes | {"harmonic": 0.0, "error": str(error)}
        return row | {"trial_seconds": round(time.perf_counter() - start, 4) or 1e-4}

    def _trial(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Edit and measure with one candidate's settings."""
        editor = EDITORS[self.editor](self.lm, **{**self.space.given, **changes})
        ask: dict[str, Any] = {**MEASURED, "base": self._base}
        if self.together:
            start = time.perf_counter()
            patch = editor.edit(self.facts, check=False)
            seconds = (time.perf_counter() - start) / len(self.facts)
            scores = evaluate(self.lm, self.cases, patch, **ask)
        else:
            scores = singly(editor, self.cases, progress=False, **ask)
            seconds = statistics.median(scores.seconds)
        found = scores.json()
        row = {m: found[m][EVENT] for m in self.scored}
        row["kl_nats"] = found["locality"]["kl_nats"]
        row["harmonic"] = float(statistics.harmonic_mean([row[m] for m in self.scored]))
        row["seconds"] = seconds
        return {name: value and round(value, 4) for name, value in row.items()}

    def _best(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The highest score; of rows within 0.01, less damage: specificity, locality, then KL."""
        good = [row for row in rows if "error" not in row]
        if not good:
            raise EditError(f"no trial of {self.editor} succeeded: {rows[0]['error']}")
        top = max(row["harmonic"] for row in good)
        close = [row for row in good if row["harmonic"] > top - CLOSE]
        kept = [m for m in ("specificity", "locality") if m in self.scored]
        return max(close, key=lambda row: [*(row[m] for m in kept), -(row["kl_nats"] or 0)])

    @property
    def best(self) -> dict[str, Any]:
        """The best row of all. Raises EditError where every trial failed."""
        return self._best(self.rows)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the best row, for `EDITORS[name](lm, **settings)`."""
        tried = {k: v for k, v in self.best.items() if k in self.space.config}
        tried = {k: tuple(v) if isinstance(v, list) else v for k, v in tried.items()}
        return {**self.space.given, **tried}

    def preset(self) -> str:
        """A row for `presets.toml` with all settings that are not the editor's own defaults."""
        best, chosen = self.best, plain_json(self.settings)
        own = plain_json(asdict(EDITORS[self.editor].Config()))
        shares = ", ".join(f"{m} {best[m]:.2f}" for m in self.scored)
        place = f'[{self.editor}."{self.lm.name.rstrip("/").split("/")[-1]}"]'
        lines = [f"{place}   # scan, {len(self.rows)} trials on {len(self.cases)} cases: {shares}"]
        lines.append("tuned = true")
        for name, value in {**self.space.config, **chosen}.items():
            if name in chosen or value != own[name]:
                text = json.dumps(value, ensure_ascii=False)
                lines.append(f"# {name}: none" if value is None else f"{name} = {text}")
        return "\n".join(lines) + "\n"

    def table(self) -> pd.DataFrame:
        """The rows, highest score first; the index is the order in which they were tried."""
        found = pd.DataFrame(self.rows).drop(columns="trial_seconds")
        return found.sort_values("harmonic", ascending=False, kind="stable")

    def __repr__(self) -> str:
        how = f"after {len(self.facts)} facts in one call" if self.together else "each alone"
        on = f"{self.editor} on {self.lm.name}: {len(self.rows)} trials, {len(self.cases)} cases"
        before = "base model: " + ", ".join(f"{m} {v:.2f}" for m, v in self.before.items())
        table = repr(Table(self.table()))
        return "\n".join([f"{on} {how}, by {EVENT}", table, before, self.note]).rstrip()

    def _identity(self, written: Callable[[Any], str] = as_json) -> dict[str, Any]:
        """Everything that must be equal for rows to be comparable; cases by a hash of their text.

        written  how the cases are written for it; version 0.1 took `repr`
        """
        fixed = {k: v for k, v in self.space.config.items() if k != self.space.where}
        return {
            "editor": self.editor,
            "model": self.lm.identity,
            "settings": fixed,
            "cases": hashlib.sha256(written((self.cases, self.facts)).encode()).hexdigest()[:16],
            "together": self.together,
            "event": EVENT,
            "metrics": list(SCORED),
        }

    def _read(self) -> list[dict[str, Any]]:
        """The rows of the journal; none without one."""
        stored = (
            {} if self.journal is None else read_journal(path_of(self.journal), self.lm.identity)
        )
        if not stored:
            return []
        before = self._identity(repr)
        for name, value in self._identity().items():
            if stored.get(name) not in (value, before[name]):
                raise EditError(f"{self.journal} is of a scan with other '{name}', not of this one")
        # an earlier call may have varied fewer settings: the others had their defaults
        return [{**self.space.defaults, **row} for row in stored["rows"]]

    def _write(self) -> None:
        """Write the rows so far into the journal."""
        if self.journal is not None:
            text = json.dumps({**self._identity(), "rows": self.rows}, indent=1) + "\n"
            with whole_file(path_of(self.journal)) as part:
                part.write_text(text)
