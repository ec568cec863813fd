"""The long run of notebook 07, fifty edits in a row, and what is read off its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

import lib
from lib.evaluation.answers import begins
from lib.interpret.superposition import superposition

SETTINGS = {"editor": "rome", "cases": "classroom()[1::2]", "edits": 50, "tokens": 8}
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
    look = looks(editor, facts)
    for n, fact in enumerate(facts):
        patch = editor.edit([fact], after=patch, check=False)
        yield look(n, patch)


def looks(
    editor: lib.Editor, facts: Sequence[lib.Fact]
) -> Callable[[int, lib.Patch], dict[str, Any]]:
    """What `in_a_row` says of edit n, as a function of n and of the patch after it."""
    lm, layer, new = editor.lm, editor.config.layer, [fact.target_new for fact in facts]
    K, rho = lm.keys(facts, layer).cpu(), superposition(lm, facts, layer).rho

    def look(n: int, patch: lib.Patch) -> dict[str, Any]:
        a, b = patch.weights[lm.mlp_out(layer)].chunks[-1]  # ΔW = a b
        asked = [one.text for one in facts[: n + 1]]
        with lm.patched(patch):
            said = lm.answer(asked, SETTINGS["tokens"])
            p = [round(x.sum().exp().item(), 4) for x in lm.score(asked, new[: n + 1])]
        return {
            "subject": facts[n].subject,
            "residual": (a @ (b @ K[:, n])).norm().item(),
            "rho": [round(r, 4) for r in rho[n, :n].tolist()],
            "held": [int(begins(*both)) for both in zip(said, new, strict=False)],
            "p": p,
        }

    return look


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
