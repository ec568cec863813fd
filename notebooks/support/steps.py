"""What notebooks do beside their subject: read a stored run, repeat its beginning, compare.

    rows = steps.stored("08_wilke", SETTINGS, lambda: runs_08.rows(lm, SETTINGS))
    steps.repeats(rows, lambda: runs_08.rows(lm, first_two), ["case", "layer"], tolerance=0.02)

Both lines stand in a notebook once per long run. What they take into account is explained here and
not there: which scale the notebook runs at, whether `notebooks.build --long` is running it, and in
which type of numbers the model computes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import lib

from . import stored_runs

Rows = Iterable[Mapping[str, Any]]


def stored(
    name: str, settings: Mapping[str, Any], make: Callable[[], Rows]
) -> Sequence[dict[str, Any]]:
    """The rows of the stored run of this name; `build --long` makes them first, by `make()`.

    Raises StoredError where the file is missing or was made with other settings.
    """
    if stored_runs.long():
        stored_runs.save(name, settings, make())
    return stored_runs.load(name, settings)["rows"]


def repeats(
    rows: Sequence[Mapping[str, Any]],
    make: Callable[[], Rows],
    keys: Sequence[str] | None = None,
    tolerance: float = 0.0,
) -> list[Mapping[str, Any]]:
    """Make the first rows of a stored run again, and return them.

    With the model of scale "small", which made the stored rows, they must agree in the columns
    `keys` (all by default) up to `tolerance`: AssertionError names the row that does not. At the
    other scales the code runs, but another model gives other numbers.
    """
    live = list(make())
    if os.environ.get("EDIT_SCALE", "small") == "small":
        stored_runs.begins_with(rows, live, list(keys or live[0]), tolerance=tolerance)
    return live


def same(lm: lib.LM, a: Tensor, b: Tensor, tolerance: float = 1e-3) -> None:
    """Assert that two results of a model are equal, up to a share of the length of `b`.

    A model in half precision rounds its states to three digits, so there the tolerance is 5 %.
    """
    allowed = tolerance if lm.dtype == torch.float32 else max(tolerance, 0.05)
    away, length = (a - b).norm().item(), b.norm().item()
    assert away <= allowed * length, f"they differ by {away / length:.2g} of their length"
