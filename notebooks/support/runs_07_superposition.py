"""The long run of notebook 07, fifty edits in a row, and what is read off its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

import lib

from . import runs_04_rome as runs_04

SETTINGS = {"editor": "rome", "cases": "classroom()[1::2]", "edits": 50, "tokens": runs_04.TOKENS}
RESAMPLES = 1000


def in_a_row(
    lm: lib.LM,
    edits: int = SETTINGS["edits"],
    cases: Sequence[lib.Case] | None = None,
    **settings: Any,
) -> Iterator[dict[str, Any]]:
    """Write facts by ROME one after another; one row per edit.

    residual  The length of what the edit adds to the layer's output at its own key.
    rho       ρ(t, j) for the facts j that were written before it, from the unedited model.
    held, p   For these and the new one: whether the model begins with the answer, and its
              probability.
    """
    facts = [case.fact for case in (cases or lib.classroom()[1::2])[:edits]]
    editor, patch = lib.EDITORS["rome"](lm, **settings), lib.EMPTY
    look = runs_04.looks(editor, facts)
    for n, fact in enumerate(facts):
        patch = editor.edit([fact], after=patch, check=False)
        yield look(n, patch)


def falls(rows: Sequence[Mapping], which: Sequence[bool]) -> np.ndarray:
    """For each fact, by how much these edits together lowered the probability of its answer."""
    found = np.zeros(len(rows))
    for t in range(1, len(rows)):
        if which[t]:
            for j in range(t):
                found[j] += rows[t - 1]["p"][j] - rows[t]["p"][j]
    return found


def meetings(rows: Sequence[Mapping], opener: Sequence[bool]) -> list[dict[str, Any]]:
    """Every held fact and every later edit: |ρ|, whether an opener is among them, and the loss."""
    return [
        {
            "fact": rows[j]["subject"],
            "edit": t + 1,
            "by": rows[t]["subject"],
            "|ρ|": abs(rows[t]["rho"][j]),
            "an opener": "yes" if opener[t] or opener[j] else "no",
            "lost": not rows[t]["held"][j],
        }
        for t in range(1, len(rows))
        for j in range(t)
        if rows[t - 1]["held"][j]
    ]


def ahead(fall: pd.Series, forecast: pd.Series, age: pd.Series) -> str:
    """The rank correlation of the forecast with the fall, less that of age, and its 95 % interval.

    Each draw of the bootstrap takes the same facts for both, so the difference is paired.
    """
    both = pd.DataFrame({"fall": fall, "forecast": forecast, "age": age})
    draws = (both.sample(frac=1, replace=True, random_state=i) for i in range(RESAMPLES))
    less = [r["forecast"] - r["age"] for r in (x.rank().corr()["fall"] for x in (both, *draws))]
    low, high = np.percentile(less[1:], (2.5, 97.5))
    return f"{less[0]:.2f} [{low:.2f}, {high:.2f}]"


def over_names(values: Tensor, group: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The mean of values (layers, n, n) over a group's pairs (layers,), also in draws of names.

    The draws (draws, layers), the same for every group, are a bootstrap over the names, since pairs
    that share a name are not independent. A draw without a pair is NaN.
    """
    i, j = (side.numpy() for side in group.triu(1).nonzero().T)
    pairs, n = values.numpy()[:, i, j], len(group)
    draw, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        times = np.bincount(draw.integers(0, n, n), minlength=n)
        weight = times[i] * times[j]
        found.append(pairs @ weight / (weight.sum() or np.nan))
    return pairs.mean(1), np.stack(found)
