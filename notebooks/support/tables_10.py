"""The tables and points of notebook 10, computed from the rows of its long run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lib.evaluation.intervals import DIFFERENCE, SHARE, interval

from . import runs_10_ultraedit as runs_10


def ends(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows at which the ways are compared, base model first."""
    return [row for row in rows if "kl" in row]


def shown(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The compared rows as a table: shares in % with 95 % intervals, KL with its own."""
    table = []
    for row in ends(rows):
        line = {"moments": row["way"], "step": f"{row['scale'] * runs_10.SETTINGS['step']:.2g}"}
        line["tokens right (%)"] = percent(row["tokens"])
        for name in ("held", "reworded", "neighbors", "unrelated"):
            line[f"{name} (%)"] = percent(row[name])
        low, high = interval(row["kl"], None)
        line["KL (nats)"] = f"{_mean(row['kl']):.2f} ({low:.2f}–{high:.2f})"
        table.append(line | {"perplexity": row["perplexity"]})
    return table


def percent(shares: Sequence[float]) -> str:
    """The mean in percent and its 95 % interval: "83 (60–94)"."""
    low, high = interval(shares, SHARE)
    return f"{100 * _mean(shares):.0f} ({100 * low:.0f}–{100 * high:.0f})"


def tradeoff(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple]]:
    """{way: its points}; a point is KL in nats and tokens right in %, each with its interval."""
    points: dict[str, list[tuple]] = {}
    for row in sorted(ends(rows), key=lambda row: row["scale"]):
        x = _mean(row["kl"]), *interval(row["kl"], None)
        y = _mean(row["tokens"]), *interval(row["tokens"], SHARE)
        points.setdefault(row["way"], []).append((x, tuple(100 * value for value in y)))
    return points


def same_damage(
    rows: Sequence[Mapping[str, Any]], what: str, draws: int = 2000
) -> dict[str, tuple[float, ...]]:
    """Every way without lifelong moments less the one with them, where all do the same damage.

    The damage is the mean KL of lifelong moments. A way has two points, and
    its value at that damage lies on the line between them, or on its continuation. What comes back
    is {way: (step, difference, low, high)}. The 95 % interval is a bootstrap that draws the facts
    and, for the KL, the prompts anew; all ways have the same facts and the same prompts.
    """
    found = {(row["way"], row["scale"]): row for row in ends(rows)}
    draw = np.random.default_rng(0)
    everyone = [np.arange(len(found["lifelong", 1.0][name]))[None] for name in (what, "kl")]
    again = [draw.integers(0, one.size, (draws, one.size)) for one in everyone]
    differences = {}
    for way in list(runs_10.WAYS)[1:]:
        three = [found[way, 0.7], found[way, 1.0], found["lifelong", 1.0]]
        steps, less = zip(
            *(_difference(three, what, *some) for some in (everyone, again)), strict=True
        )
        low, high = np.percentile(less[1], (2.5, 97.5))
        differences[way] = float(steps[0][0]), float(less[0][0]), float(low), float(high)
    return differences


def _difference(
    rows: Sequence[Mapping[str, Any]], what: str, facts: np.ndarray, prompts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The step with the KL of the last row, and what it then has less that row; (draws,) each.

    rows are the small and the large step of one way and the row that it is compared with.
    """
    small, large, wanted = (np.array(row["kl"])[prompts].mean(1) for row in rows)
    share = (wanted - small) / (large - small)
    few, many, other = (np.array(row[what])[facts].mean(1) for row in rows)
    step = (0.7 + 0.3 * share) * runs_10.SETTINGS["step"]
    return step, few + share * (many - few) - other


def filling(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[list[int], list[float], list[tuple], list[float]]:
    """Edits, change of the weights in %, points of the first turn's facts, CPU seconds per turn.

    All are of lifelong moments; a point is (edits, share in %, low, high).
    """
    own = [row for row in rows if (row["way"], row["scale"]) == ("lifelong", 1.0)]
    points = []
    for row in own:
        if "first" in row:
            share = _mean(row["first"]), *interval(row["first"], SHARE)
            points.append((row["edits"], *(100 * value for value in share)))
    moved = [100 * _mean(row["change"]) for row in own]
    return [row["edits"] for row in own], moved, points, [row["cpu"] for row in own]


def first_later(rows: Sequence[Mapping[str, Any]], early: int, late: int) -> tuple:
    """How the first turn's facts change from one number of edits to another: mean and interval."""
    own = [row for row in rows if (row["way"], row["scale"]) == ("lifelong", 1.0)]
    before, after = (next(r["first"] for r in own if r["edits"] == at) for at in (early, late))
    change = [b - a for a, b in zip(before, after, strict=True)]
    return _mean(change), *interval(change, DIFFERENCE)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
