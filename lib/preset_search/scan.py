"""Which layer, which settings? Tries an editor on a few cases, coarse to fine, proposes a preset.

What is tried, and in which stages, is in candidates.py; here are trials, time, journal and result.
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

from ..atomic_files import whole_file
from ..data.facts import Case, Fact
from ..errors import EditError, EditWarning, ScanError, TargetError
from ..evaluation.evaluate import baseline, evaluate
from ..evaluation.scores import EVENTS_OF, LOWER_IS_BETTER
from ..evaluation.single_edits import singly
from ..model.lm import LM
from ..registry import EDITORS
from .candidates import Space, plain_json

SCORED = ("efficacy", "generalization", "specificity")
CLOSE = 0.01  # scores that a few cases cannot tell apart


def scan(
    lm: LM,
    editor: str,
    cases: Sequence[Case],
    layers: Sequence[int] | None = None,
    budget: float | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    around: int = 2,
    journal: str | Path | None = None,
    together: bool | None = None,
    *,
    widths: Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    facts: Sequence[Fact] | None = None,
    event: str = "generation",
    metrics: Sequence[str] = SCORED,
    progress: bool | None = None,
    say: Callable[[str], None] | None = None,
) -> Scan:
    """The editor tried over layers and settings: rows, the best of them, a preset for this model.

    layers   where to look, default everywhere; for editors of several layers the last one of a
             window, which is as wide as in the preset and cut off at layer 0
    budget   seconds; too few make the scan coarser (`.note`); at least one trial is made
    grid     {setting: values}, the most important setting first
    around   how far stage 2 goes to both sides of the best layer, within the ends of `layers`
    journal  JSON file of the rows so far, whole after every trial; a later call goes on from it
    together all facts in one call of the editor, then every case asked; False: each case alone.
             Default: True for editors of several layers and for those that need no subject
    widths   of the window, in layers
    settings of the editor in every trial, on top of its preset
    facts    of the one call, default the cases' own
    event    decides the metrics; the score is the harmonic mean of `metrics`
    say      is told the estimate after the first trial; default: a line on stderr above the bar

    Raises ScanError for what cannot be scanned and for the journal of another scan, EditError for
    facts or settings that the editor refuses. A trial that fails later is a row of score 0.
    """
    space = Space(lm, editor, settings or {}, layers, around, grid or {}, widths)
    if not (cases := list(cases)):
        raise ScanError("there is no case to scan on")
    if budget is not None and not budget > 0:
        raise ScanError(f"the budget should be a number of seconds above 0, not {budget}")
    if together is None:
        together = space.where == "layers" or not EDITORS[editor].needs_subject
    if facts is not None and not together:
        raise ScanError("facts are for one call of the editor, so they need together=True")
    for metric in metrics:
        if event not in EVENTS_OF.get(metric, ()) or metric in LOWER_IS_BETTER:
            raise ScanError(f"'{metric}' by the event '{event}' cannot be part of a score")
    facts = [case.fact for case in cases] if facts is None else list(facts)
    EDITORS[editor](lm, **space.given).check(facts)
    found = Scan(lm, editor, cases, facts, together, event, tuple(metrics), space, budget, journal)
    found._run(sys.stderr.isatty() if progress is None else progress, say)
    return found


@dataclass(eq=False, repr=False)
class Scan:
    """What a scan found.

    rows     one per trial: the settings tried, the scored metrics, kl_nats of locality, harmonic
             (the score), seconds (median per edit), trial_seconds; error where it failed
    before   the scored metrics of the base model on these cases
    estimate seconds of all trials that were left to do, from the first timed one
    note     what was not measured or not tried; empty where all was
    """

    lm: LM
    editor: str
    cases: list[Case]
    facts: list[Fact]
    together: bool
    event: str
    metrics: tuple[str, ...]
    space: Space
    budget: float | None = None
    journal: str | Path | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    estimate: float | None = None
    note: str = ""

    def _run(self, progress: bool, say: Callable[[str], None] | None) -> None:
        self._end = time.perf_counter() + (math.inf if self.budget is None else self.budget)
        self.rows = self._read()
        self._dropped: set[Any] = set()
        self._measured = {"events": (self.event,), "metrics": (*self.metrics, "locality")}
        self._base = baseline(self.lm, self.cases, **self._measured)
        self._choose(self._base.scores.json())
        coarse = self.space.coarse()
        planned = {self.space.key(one) for one in coarse}
        for stage in self.space.stages():  # how many there will be: as if the middle were the best
            planned |= {self.space.key(one) for one in stage(coarse[0])}
        to_do = len(planned - {self.space.key(row) for row in self.rows})
        with tqdm(total=to_do, disable=not progress, unit="trial") as self._bar:
            mine = self._try(coarse[:1])
            pace = self._pace()
            self.estimate = pace * to_do
            say = say or (lambda line: progress and self._bar.write(line, file=sys.stderr))
            say(f"{to_do} trials of about {pace:.3g} s: about {self.estimate:.0f} s")
            mine += self._try(coarse[1:], self._affordable(to_do - self._bar.n))
            for stage in self.space.stages():
                if any("error" not in row for row in mine):
                    mine += self._try(stage(self._best(mine)))
        if dropped := len(self._dropped - {self.space.key(row) for row in self.rows}):
            whole = f"{to_do} trials would take about {self.estimate:.0f} s"
            self.note += f"{whole}; the budget of {self.budget:g} s left {dropped} out. "
        if not any(row["harmonic"] for row in self.rows):
            self.note += "Every score is 0: there is nothing to choose from."
        self.note = self.note.strip()

    def _choose(self, before: Mapping[str, Any]) -> None:
        """Score what the cases have prompts for; locality may stand in for specificity."""
        known = {m: before.get(m, {}).get(self.event) for m in (*self.metrics, "locality")}
        self.scored = [m for m in self.metrics if known[m] is not None]
        missing = [m for m in self.metrics if known[m] is None]
        if not self.scored:
            raise ScanError(f"the cases have no prompts for {', '.join(missing)} by {self.event}")
        if missing:
            instead = "specificity" in missing and known["locality"] is not None
            self.scored = list(dict.fromkeys([*self.scored, *["locality"] * instead]))
            self.note = f"Not in these cases: {', '.join(missing)}"
            self.note += "; locality stands in for specificity. " if instead else ". "
        self.before = {m: round(known[m], 4) for m in self.scored}

    def _affordable(self, to_do: int) -> float:
        """How many more trials stage 1 may take: half of those that fit, where not all do."""
        fit = self._left() // self._pace()
        return math.inf if to_do <= fit else max(fit // 2, min(2, fit))

    def _left(self) -> float:
        return self._end - time.perf_counter()

    def _pace(self) -> float:
        """Mean seconds of a trial; failed ones end early and count where there is no other."""
        good = [row for row in self.rows if "error" not in row] or self.rows
        return statistics.fmean(row["trial_seconds"] for row in good)

    def _try(self, candidates: list[dict[str, Any]], limit: float = math.inf) -> list[dict]:
        """Their rows, from the journal or tried now as far as limit and budget allow."""
        found = []
        for changes in candidates:
            key = self.space.key(changes)
            row = next((row for row in self.rows if self.space.key(row) == key), None)
            if row is None and (limit < 1 or (self.rows and self._left() < self._pace())):
                self._dropped.add(key)
                continue
            if row is None:
                limit -= 1
                self.rows.append(row := self._attempt(changes))
                self._bar.update()
                self._write()
            found.append(row)
        return found

    def _attempt(self, changes: dict[str, Any]) -> dict[str, Any]:
        """A row; of score 0 where the edit fails."""
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", EditWarning)  # the same ones in every trial
                row = changes | self._trial(changes)
        except (EditError, TargetError, torch.linalg.LinAlgError) as error:
            row = changes | {"harmonic": 0.0, "error": str(error)}
        return row | {"trial_seconds": round(time.perf_counter() - start, 4) or 1e-4}

    def _trial(self, changes: dict[str, Any]) -> dict[str, Any]:
        editor = EDITORS[self.editor](self.lm, **{**self.space.given, **changes})
        ask: dict[str, Any] = {**self._measured, "base": self._base}
        if self.together:
            start = time.perf_counter()
            patch = editor.edit(self.facts)
            seconds = (time.perf_counter() - start) / len(self.facts)
            scores = evaluate(self.lm, self.cases, patch, **ask)
        else:
            scores = singly(editor, self.cases, progress=False, **ask)
            seconds = statistics.median(scores.seconds)
        found = scores.json()
        row = {m: found[m][self.event] for m in self.scored}
        row["kl_nats"] = found["locality"]["kl_nats"]
        row["harmonic"] = float(statistics.harmonic_mean([row[m] for m in self.scored]))
        row["seconds"] = seconds
        return {name: value and round(value, 4) for name, value in row.items()}

    def _best(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The highest score; within 0.01, which few cases cannot tell apart, less damage."""
        good = [row for row in rows if "error" not in row]
        if not good:
            raise ScanError(f"no trial of {self.editor} succeeded: {rows[0]['error']}")
        top = max(row["harmonic"] for row in good)
        close = [row for row in good if row["harmonic"] > top - CLOSE]
        order = [m for m in ("efficacy", "specificity", "locality") if m in self.scored]
        return max(close, key=lambda row: [row[m] for m in order])

    @property
    def best(self) -> dict[str, Any]:
        """The row to take. Raises ScanError where every trial failed."""
        return self._best(self.rows)

    @property
    def settings(self) -> dict[str, Any]:
        """What the best row was tried with, for `EDITORS[name](lm, **settings)`."""
        found = {k: tuple(v) if isinstance(v, list) else v for k, v in self.best.items()}
        return {**self.space.given, **{k: v for k, v in found.items() if k in self.space.config}}

    def preset(self) -> str:
        """A row for `presets.toml`: all settings that are not the editor's own defaults."""
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
        table = self.table().to_string(index=False, na_rep="–")
        return "\n".join([f"{on} {how}, by {self.event}", table, before, self.note]).rstrip()

    def _identity(self) -> dict[str, Any]:
        """What must be equal for rows to be comparable."""
        fixed = {k: v for k, v in self.space.config.items() if k != self.space.where}
        prompts = hashlib.sha256(repr((self.cases, self.facts)).encode()).hexdigest()[:16]
        return {
            "editor": self.editor, "model": self.lm.identity, "settings": fixed, "cases": prompts,
            "together": self.together, "event": self.event, "metrics": list(self.metrics),
        }  # fmt: skip

    def json(self) -> dict[str, Any]:
        """All of it, for a file."""
        found = {k: getattr(self, k) for k in ("estimate", "before", "note", "rows", "best")}
        return {**self._identity(), **found, "preset": self.preset()}

    def _read(self) -> list[dict[str, Any]]:
        if self.journal is None or not Path(self.journal).exists():
            return []
        try:
            rows = (kept := json.loads(Path(self.journal).read_text()))["rows"]
        except (ValueError, KeyError, TypeError):
            raise ScanError(f"{self.journal} is not the journal of a scan") from None
        for name, value in self._identity().items():
            if kept.get(name) != value:
                raise ScanError(f"{self.journal} is of a scan with other '{name}', not of this one")
        return [{**self.space.defaults, **row} for row in rows]  # it may have had a smaller grid

    def _write(self) -> None:
        if self.journal is not None:
            text = json.dumps({**self._identity(), "rows": self.rows}, indent=1) + "\n"
            with whole_file(Path(self.journal)) as part:
                part.write_text(text)
