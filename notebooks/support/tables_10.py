"""The tables and points of notebook 10, computed from the rows of its long run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
        if row["way"] != "base":
            x = _mean(row["kl"]), *interval(row["kl"], None)
            y = _mean(row["tokens"]), *interval(row["tokens"], SHARE)
            points.setdefault(row["way"], []).append((x, tuple(100 * value for value in y)))
    return points


def same_damage(rows: Sequence[Mapping[str, Any]], what: str) -> dict[str, tuple]:
    """Every way without lifelong moments less the one with them, where all do the same damage.

    The damage is the mean KL of lifelong moments with the larger step. A way has two points, and
    its values at that damage lie on the line between them, or on its continuation. The differences
    are taken fact by fact: {way: (step, mean, low, high)}, with a 95 % interval over the facts.
    """
    found = {(row["way"], row["scale"]): row for row in ends(rows)}
    wanted = found["lifelong", 1.0]
    differences = {}
    for way in list(runs_10.WAYS)[1:]:
        small, large = found[way, 0.7], found[way, 1.0]
        low, high = _mean(small["kl"]), _mean(large["kl"])
        share = (_mean(wanted["kl"]) - low) / (high - low)
        at = [a + share * (b - a) for a, b in zip(small[what], large[what], strict=True)]
        less = [min(1.0, max(-1.0, a - b)) for a, b in zip(at, wanted[what], strict=True)]
        step = (0.7 + 0.3 * share) * runs_10.SETTINGS["step"]
        differences[way] = step, _mean(less), *interval(less, DIFFERENCE)
    return differences


def filling(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[list[int], list[float], list[tuple], list[float]]:
    """Edits, change of the weights in %, points of the first turn's facts, CPU seconds per turn.

    All are of lifelong moments with the larger step; a point is (edits, share in %, low, high).
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
