"""The long runs of notebooks 02 and 02b, of what an edit changes for earlier facts, and the pages' intervals."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

import lib

from . import models, stored_runs

STREAMS, EDITS = 3, 30
# ROME's settings for the embedded model without the token: the best of a search on even facts
# (`rome` in tests/benchmarks/sweeps.json). The library has presets of the model with the token only.
WITHOUT_TOKEN = {
    "layer": 3,
    "v_lr": 0.25,
    "clamp": 20.0,
    "contexts": [[9, 4]],
    "context_start": 0,
    "context_top_k": 0,
}


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


def drawn(number: int) -> list[lib.Case]:
    """Odd classroom facts, drawn with this seed."""
    return random.Random(number).sample([c for c in lib.classroom() if c.id % 2], EDITS)


def rome_settings(lm: lib.LM) -> dict[str, Any]:
    """What ROME has on this model instead of its preset."""
    return WITHOUT_TOKEN if lm.name == "SmolLM2-135M-Instruct" else {}


def stream(lm: lib.LM, number: int, settings: Mapping[str, Any] | None = None) -> Iterator[dict]:
    """Write the facts of a stream by ROME, one after another; one row per edit t.

    lands   ‖Δ_t k_j‖, what lands on the key of fact j
    change  the change of log p of fact j's new answer by this edit, in nats
    """
    given = rome_settings(lm) if settings is None else settings
    editor, cases = lib.EDITORS["rome"](lm, **given), drawn(number)
    texts, answers = [c.fact.text for c in cases], [c.fact.target_new for c in cases]
    layer, first = editor.config.layer, openers(lm, cases)
    K = lm.keys([c.fact for c in cases], layer).cpu().double()  # (d_in, facts)
    patch, name, before = lib.EMPTY, lm.mlp_out(layer), lm.score(texts, answers)
    old = lm.weight(name).cpu().double()
    for t, case in enumerate(cases):
        patch = editor.edit([case.fact], after=patch, check=False)
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
            "case": case.id,
            "first word": case in first,
            "lands": _rounded(lands.tolist()),
            "change": _rounded(change),
        }


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Three streams: as the model is loaded, without the token, and behind it by equal settings."""
    found, plain = [], models.load("small")
    for name, model, more in (
        ("02_behind", lm, {}),
        ("02_interference", plain, rome_settings(plain)),
        ("02_equal", lm, {**rome_settings(plain), "keys": "both"}),
    ):
        lines = {"ROME": (lib.EDITORS["rome"], more)}
        cases = [[case.id for case in drawn(i)] for i in range(STREAMS)]
        jobs = {str(i): partial(stream, model, i, more) for i in range(STREAMS)}
        found.append(stored_runs.long_run(model, name, lines, jobs, cases=cases))
    return found


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
