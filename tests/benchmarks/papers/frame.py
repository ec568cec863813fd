"""What the experiments of the papers share: scales, an estimate, and rows that survive kills.

A paper is a module with `experiments(given)`, which gives its runs, and `shown(row)`, the line that
is printed of a row with the paper's figure beside it. The rows of a run are kept by
`notebooks.support.stored_runs`: every job that is done is a line of a file, a command that was
killed goes on behind the last whole one, and each row has the commit that made it.
"""

from __future__ import annotations

import gc
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lib
from lib.model.activations import module_inputs
from notebooks.support import stored_runs
from tests.benchmarks import measured

HERE = Path(__file__).parent
CLAIMS: dict[str, Any] = tomllib.loads((HERE / "claims.toml").read_text(encoding="utf-8"))
WINDOW, WIDE = 128, 1024  # tokens of a window, and the width of a product, that are timed
SECOND = "gemma-3-270m"
Row = dict[str, Any]


@dataclass
class Given:
    """What a command was given.

    scale   "tiny" for a test of seconds, "default" for the packaged models, "paper" for the paper's
            sizes
    models  hub ids, local folders, names of packaged models, or loaded models
    data    a folder with the paper's files, or None for the facts that come along
    """

    scale: str = "default"
    models: tuple[str | None | lib.LM, ...] = (None, SECOND)
    data: Path | None = None
    _held: dict[str, lib.LM] = field(default_factory=dict)

    def lm(self, model: str | None | lib.LM, sink: str | None = "own") -> lib.LM:
        """A model, of which one is held at a time; `sink` as in `lib.load`."""
        if isinstance(model, lib.LM):
            return model
        name = f"{model or 'default'}, {sink}"
        if name not in self._held:
            self._held.clear()
            gc.collect()
            dtype = "float32" if self.scale != "paper" else None
            self._held[name] = lib.load(model, dtype=dtype, sink=sink)
        return self._held[name]

    @property
    def stored(self) -> bool:
        """Whether it is the run whose rows are in the repository."""
        return self.scale == "default" and self.models == (None, SECOND) and self.data is None


@dataclass(frozen=True)
class Experiment:
    """A run with what it costs at most on this machine.

    seconds  of one process, where nothing is in the cache yet
    memory   bytes
    """

    run: stored_runs.LongRun
    seconds: float
    memory: int


@dataclass(frozen=True)
class Speed:
    """What this machine does: seconds for a token of a model, and for a multiply-add in float64."""

    token: float
    step: float

    @classmethod
    def of(cls, lm: lib.LM) -> Speed:
        """Measured on one window and one product, each after a first one that is not counted."""
        size = min(WINDOW, lm.context or WINDOW)
        rows, modules = [[*range(3, 3 + size)]], [lm.mlp_out(lm.n_layers - 1)]
        wide = torch.ones(WIDE, WIDE, dtype=torch.float64)
        return cls(
            _seconds(lambda: module_inputs(lm, rows, modules)) / size,
            _seconds(lambda: wide @ wide) / WIDE**3,
        )


def _seconds(act: Callable[[], Any]) -> float:
    act()
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def second_moments(lm: lib.LM, tokens: int, layers: int) -> tuple[float, int]:
    """(seconds, bytes) at most for the second moments of so many layers with their factors."""
    speed, width = Speed.of(lm), lm.weight(lm.mlp_out(0)).shape[1]
    each = tokens * width**2 / 2 + width**3 / 3 + 2 * 128 * width**2  # K Kᵀ, its factor, one solve
    return tokens * speed.token + layers * each * speed.step, 3 * 8 * width**2


def weights(lm: lib.LM) -> int:
    """The bytes of a model's weights."""
    return sum(p.numel() * p.element_size() for p in lm.model.parameters())


def make(experiment: Experiment, folder: Path, minutes: float, say: Callable[[str], None]) -> Path:
    """Make what is missing of an experiment's rows; the path of the file, as `stored_runs.make`."""
    run = experiment.run
    jobs = {
        name: partial(_told, rows_of, f"{run.name}: {name} ({place} of {len(run.jobs)})", say)
        for place, (name, rows_of) in enumerate(run.jobs.items(), 1)
    }
    folder.mkdir(parents=True, exist_ok=True)
    commit()
    path = stored_runs.make(replace(run, jobs=jobs), minutes, folder=folder)
    measured.record(path, "in the file")
    return path


def _told(
    rows_of: Callable[[], Iterable[Mapping[str, Any]]], doing: str, say: Callable[[str], None]
) -> Iterator[Row]:
    say(f"{doing} …")
    for row in rows_of():
        yield {**row, "commit": commit()}


commit = cache(measured.commit)  # of this process, whatever is checked out while it runs


def quantile_interval(draws: Tensor, digits: int = 4) -> list[list[float]]:
    """The middle 95 % of draws (draws, n): [[low, high]] for each column."""
    ends = draws.nanquantile(draws.new_tensor([0.025, 0.975]), dim=0)
    return [[round(x, digits) for x in pair] for pair in ends.T.tolist()]


def say(text: str) -> None:
    """A line of progress, which is no part of what a command prints."""
    print(text, file=sys.stderr, flush=True)
