"""`Arena` runs all editors on the same facts, cell by cell, and goes on where it was stopped.

A stream's cell has a journal, so a kill costs at most one batch; the single edits of a cell are
kept in parts. With a budget the arena ends when the time is over, and a later call goes on.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ..atomic_files import whole_file
from ..data.facts import Case
from ..editors.shared.base import Editor
from ..errors import ArenaError, EditError, JournalError, StreamError
from ..evaluation.abilities import Abilities, abilities
from ..evaluation.evaluate import evaluate
from ..evaluation.probe_prompts import LONG as OF_LONG_TEXTS
from ..evaluation.scores import Base, Scores
from ..evaluation.single_edits import QUICK, singly
from ..lifelong.journal import digest
from ..lifelong.stream import stream
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from ..registry import EDITORS
from .cells import BASE, SINGLES, Cell, Result, condensed, plan

TOGETHER = 10  # single edits between two looks at the clock
LONG = 1000  # from this length on only editors of at most FAST seconds an edit are run
FAST = 1.0


def marks(cases: Sequence[Case], lengths: Iterable[int]) -> dict[str, str]:
    """{count: digest of the first so many cases}, by which two arenas see whether facts are equal.

    Longer streams and further sets may come later, so there is no digest of the whole alone: the
    lengths of this arena are marked, and 1, 10, 100, … as far as there are cases.
    """
    counts = {SINGLES if n == 1 else n for n in lengths}
    counts |= {10**power for power in range(len(str(len(cases))))}
    return {str(n): digest(cases[:n]) for n in sorted(counts)}


def joined(known: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The marks of two arenas together; ArenaError where facts of one name differ."""
    found = {name: dict(of) for name, of in known.items()}
    for name, of in more.items():
        before = found.setdefault(name, {})
        if any(before.get(count, mark) != mark for count, mark in of.items()):
            raise ArenaError(f"{name} has other facts than before")
        found[name] = {**before, **of}
    return found


@dataclass(eq=False)
class Arena:
    """All editors × sets of facts × lengths of the stream, on one model.

    lm        the model
    data      {name: cases}; a cell takes the first ones
    folder    where results and journals are kept; the same arena goes on there
    lengths   numbers of edits in a row; 1 stands for 50 edits, each on the unedited model
    editors   names in EDITORS, by default all; the base model, retrieval and ft are always rows
    settings  {editor: settings} where the preset is not wanted
    metrics   of `evaluate`; those of long answers only where they are named
    keep_base whether the base model's answers are kept in the cache folder, prompts included, for
              other arenas and streams of the same facts
    results   {cell: Result} of what is done

    Raises ArenaError for an unknown editor, a length that a set of facts does not have, or a name
    that is no file name; JournalError where the folder holds another arena.
    """

    lm: LM
    data: Mapping[str, Sequence[Case]]
    folder: Path
    lengths: Sequence[int] = (1, 10, 100)
    editors: Collection[str] | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: Collection[str] = tuple(metric for metric in QUICK if metric not in OF_LONG_TEXTS)
    keep_base: bool = False

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        chosen = list(EDITORS) if self.editors is None else list(self.editors)
        for editor in (*chosen, *self.settings):
            if editor not in EDITORS:
                raise ArenaError(f"there is no editor '{editor}'; there are {', '.join(EDITORS)}")
        if not self.data or not self.lengths:
            raise ArenaError("an arena needs facts and lengths of streams")
        for name, cases in self.data.items():
            if not name or not all(letter.isalnum() or letter in "_." for letter in name):
                raise ArenaError(f"'{name}' is no name of a set of facts: letters and digits only")
            most = max(SINGLES if n == 1 else n for n in self.lengths)
            if len(cases) < most:
                raise ArenaError(f"{name} has {len(cases)} facts, where {most} are needed")
        if min(self.lengths) < 1:
            raise ArenaError(f"a stream has at least 1 edit, not {min(self.lengths)}")
        self.cells = plan(chosen, self.data, self.lengths)
        self.results: dict[Cell, Result] = {}
        self.left_out: dict[Cell, str] = {}
        self._abilities: Abilities | None = None  # the first one, for what it says of the base
        self._bases: dict[str, Base] = {}
        self._claim()

    def _claim(self) -> None:
        """Write down which arena this is, or see that the folder holds the same one."""
        header = {
            "model": self.lm.identity,
            "dtype": str(self.lm.dtype),
            "data": {name: marks(cases, self.lengths) for name, cases in self.data.items()},
            "metrics": sorted(self.metrics),
            "settings": json.loads(json.dumps({e: dict(s) for e, s in self.settings.items()})),
        }
        path = self.folder / "arena.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                known = None
            if not isinstance(known, dict) or {**known, "data": 0} != {**header, "data": 0}:
                raise JournalError(f"{self.folder} holds another arena: name another folder")
            try:
                header["data"] = joined(known["data"], header["data"])
            except (ArenaError, AttributeError, KeyError, TypeError, ValueError):
                raise JournalError(f"{self.folder} holds an arena of other facts") from None
            if known == header:
                header = {}
        if header:
            with whole_file(path) as part:
                part.write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
        for cell in self.cells:
            if self._file(cell).exists():
                self.results[cell] = Result.load(self._file(cell))

    def _file(self, cell: Cell) -> Path:
        return self.folder / f"{cell.name}.json"

    def run(self, budget: float | None = None) -> Iterator[tuple[Cell, Result | None]]:
        """Run the cells that are not done, and give each with its result as soon as it is.

        A cell that the budget ended, or that was left out, comes with None; `left_out` says why:
        a long stream of a slow editor, or one that an editor refuses, as MEND does where no network
        was trained for the model.

        budget  seconds; None goes on to the end
        """
        until = math.inf if budget is None else time.monotonic() + budget
        for cell in self.cells:
            if cell in self.results:
                continue
            if reason := self._too_slow(cell):
                self.left_out[cell] = reason
                yield cell, None
                continue
            reason = "the budget was spent"
            try:
                result = self._run(cell, until) if time.monotonic() < until else None
            except (EditError, StreamError) as error:  # of this editor: the others go on
                result, reason = None, str(error)
            if result is None:
                self.left_out[cell] = reason
                yield cell, None
                continue
            self.left_out.pop(cell, None)
            result.save(self._file(cell))
            self.results[cell] = result
            yield cell, result

    def _too_slow(self, cell: Cell) -> str | None:
        """Why a long stream of this editor is not run."""
        if cell.edits < LONG:
            return None
        shorter = [
            one.seconds
            for other, one in self.results.items()
            if other.editor == cell.editor and other.edits < cell.edits and one.seconds is not None
        ]
        if shorter and min(shorter) > FAST:
            hours = min(shorter) * cell.edits / 3600
            return f"{min(shorter):.1f} s an edit: about {hours:.1f} hours"
        return None

    def _run(self, cell: Cell, until: float) -> Result | None:
        cases = list(self.data[cell.data])[: SINGLES if cell.edits == 1 else cell.edits]
        memory = _Memory(self.lm)
        if cell.editor == BASE:
            scores = evaluate(self.lm, cases, EMPTY, metrics=self.metrics, base=self._base(cell))
            return Result(condensed(scores), None, None, *self._able(EMPTY))
        editor = EDITORS[cell.editor](self.lm, **self.settings.get(cell.editor, {}))
        if cell.edits == 1:
            return self._singly(cell, editor, cases, until, memory)
        run = stream(
            self.lm,
            editor,
            cases,
            eval_at=(cell.edits,),
            evaluate_with={"metrics": set(self.metrics)},
            journal=self.folder / cell.name,
            save_every=max(1, cell.edits // 20),
            progress=False,
            keep_base=self.keep_base,
        )
        for _ in run:
            if time.monotonic() > until and run.edits < cell.edits:
                if run.journal:
                    run.journal.close()
                return None
        seconds, peak = run.seconds["edit"] / cell.edits, memory.peak()
        scores = condensed(run.scores[cell.edits])
        return Result(scores, seconds, peak, *self._able(run.patch))

    def _singly(
        self, cell: Cell, editor: Editor, cases: list[Case], until: float, memory: _Memory
    ) -> Result | None:
        """Single edits, some at a time; each part is a file until all are there."""
        parts, base = [], self._base(cell)
        for start in range(0, len(cases), TOGETHER):
            path = self.folder / cell.name / f"{start}.json"
            if path.exists():
                parts.append(Result.load(path))
                continue
            if time.monotonic() > until:
                return None
            some = cases[start : start + TOGETHER]
            found = singly(editor, some, metrics=self.metrics, base=base, progress=False)
            seconds = sum(found.seconds) / len(found.seconds)
            parts.append(Result(condensed(found), seconds, memory.peak()))
            path.parent.mkdir(exist_ok=True)
            parts[-1].save(path)
        rows = pd.concat([part.scores.rows for part in parts], ignore_index=True)
        scores = Scores(rows, parts[0].scores.asked, f"{cell.editor}, {len(cases)} single edits")
        # fifty models, each with one edit: abilities are not asked of each of them
        return Result(
            scores,
            sum(part.seconds for part in parts) / len(parts),
            max((part.peak for part in parts if part.peak is not None), default=None),
        )

    def _base(self, cell: Cell) -> Base:
        """The base model's answers about a set of facts, which all of its cells share."""
        return self._bases.setdefault(cell.data, Base(self.lm.identity, on_disk=self.keep_base))

    def _able(self, patch: Patch) -> tuple[dict[str, Any], list[bool]]:
        """The abilities with a patch: by kind, and item by item."""
        found = abilities(self.lm, patch, base=self._abilities)
        self._abilities = self._abilities or found
        return found.json(), found.rows["right"].tolist()


class _Memory:
    """The highest memory since it was made, above what was held then."""

    def __init__(self, lm: LM) -> None:
        self.device = lm.device if lm.device.type == "cuda" else None
        if self.device:
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the highest so far
        except OSError:
            pass
        self.before = _resident()

    def peak(self) -> int | None:
        """Bytes, None where the system does not say."""
        if self.device:
            return torch.cuda.max_memory_allocated(self.device) - self.before
        now = _resident()
        return None if now is None or self.before is None else max(0, now - self.before)


def _resident() -> int | None:
    """The highest resident memory of this process so far, None where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(found[0]) * 1024 if found else None
