"""The long run of notebooks 02 and 02b: what one edit changes for the facts that were edited before.

Beside it are the intervals of the pages: of a root mean square, and of ranks.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

import lib

from . import long_runs

SETTINGS = {"editor": "rome", "layer": 3, "streams": 3, "edits": 30, "cases": "odd classroom ids"}
SETTINGS |= {"noted": ["lands", "change"]}


def streams(name: str, lm: lib.LM, **more: str) -> Sequence[dict]:
    """The rows of a stored run, whose first one is made again; `more` are settings of its own."""

    def make(edits: int | None = None) -> Iterator[dict]:  # all, or the first ones of one stream
        for number in range(SETTINGS["streams"] if edits is None else 1):
            yield from stream(lib.EDITORS["rome"](lm), number, edits or SETTINGS["edits"])

    return long_runs.known(name, SETTINGS | more, make, 1, tolerance=0.05)


def openers(lm: lib.LM, cases: Sequence[lib.Case]) -> list[lib.Case]:
    """The cases whose subject is one token that opens the prompt, in their order."""
    start = int(lm.leading_bos is not None)  # behind the token that the model reads first
    return [case for case in cases if lib.data.facts.lookup(lm.tokenizer, case.fact)[1] == start]


def loudness(rho: torch.Tensor, pairs: torch.Tensor) -> tuple[float, float, float]:
    """The root mean square of ρ (n, n) over the chosen pairs, and its 95 % interval.

    The bootstrap (500 draws, seed 0) draws the facts: one that is drawn twice counts twice, as the
    one that writes and as the one that is hit.
    """
    squares = torch.where(pairs, rho.square(), 0.0).numpy()
    chosen, n = pairs.double().numpy(), len(rho)
    draw, found = np.random.default_rng(0), []
    for count in [np.ones(n), *draw.multinomial(n, np.full(n, 1 / n), 500)]:
        found.append(np.sqrt(count @ squares @ count / max(count @ chosen @ count, 1e-9)))
    low, high = np.percentile(found[1:], (2.5, 97.5))
    return float(found[0]), float(low), float(high)


def stream(editor: lib.Editor, number: int, edits: int, facts: int = 30) -> Iterator[dict]:
    """Write odd classroom facts, drawn with this seed, one after another; one row per edit t.

    lands   ‖Δ_t k_j‖, what lands on the key of fact j
    change  the change of log p of fact j's new answer by this edit, in nats
    """
    lm, layer = editor.lm, editor.config.layer
    cases = random.Random(number).sample([c for c in lib.classroom() if c.id % 2], facts)
    texts, answers = [c.fact.text for c in cases], [c.fact.target_new for c in cases]
    first = openers(lm, cases)
    K = lm.keys([c.fact for c in cases], layer).cpu().double()  # (d_in, facts)
    patch, name, before = lib.EMPTY, lm.mlp_out(layer), lm.score(texts, answers)
    old = lm.weight(name).cpu().double()
    for t in range(edits):
        patch = editor.edit([cases[t].fact], after=patch, check=False)
        W = lm.weight(name, patch).cpu().double()
        written, old = W - old, W  # Δ_t
        lands = (written @ K).norm(dim=0)
        with lm.patched(patch):
            now = lm.score(texts, answers)
        change = [(a.sum() - b.sum()).item() for a, b in zip(now, before, strict=True)]
        before = now
        yield {
            "stream": number,
            "edit": t,
            "case": cases[t].id,
            "first word": cases[t] in first,
            "lands": _rounded(lands.tolist()),
            "change": _rounded(change),
        }


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(value, 4) for value in values]


def earlier(rows: Sequence[Mapping]) -> pd.DataFrame:
    """One line for each edit and each fact that was written before it.

    Columns: stream, edit, first word, change, lands, and share: of what arrives at the edit's own key.
    """
    return pd.DataFrame(
        [
            {name: row[name] for name in ("stream", "edit", "first word")}
            | {"share": row["lands"][j] / row["lands"][row["edit"]]}
            | {name: row[name][j] for name in ("lands", "change")}
            for row in rows
            for j in range(row["edit"])
        ]
    )


def rank_correlation(x: Any, y: Any) -> tuple[float, float, float]:
    """Spearman's rank correlation and its 95 % interval (a bootstrap over the rows, seed 0)."""
    x, y, draw = pd.Series(x), pd.Series(y), np.random.default_rng(0)
    found = [x.rank().corr(y.rank())]
    for _ in range(1000):
        rows = draw.integers(0, len(x), len(x))
        found.append(x.iloc[rows].rank().corr(y.iloc[rows].rank()))
    low, high = np.nanpercentile(found[1:], (2.5, 97.5))
    return float(found[0]), float(low), float(high)
