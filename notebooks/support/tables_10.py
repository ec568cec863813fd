"""The tables and points of notebook 10, computed from the rows of its long run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lib.evaluation.intervals import SHARE, interval

from . import runs_10_ultraedit as runs_10
from .runs_04_rome import percent


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


def tradeoff(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple]]:
    """{way: its points}; a point is KL in nats and tokens right in %, each with its interval."""
    points: dict[str, list[tuple]] = {}
    for row in sorted(ends(rows), key=lambda row: row["scale"]):
        x = _mean(row["kl"]), *interval(row["kl"], None)
        y = _mean(row["tokens"]), *interval(row["tokens"], SHARE)
        points.setdefault(row["way"], []).append((x, tuple(100 * value for value in y)))
    return points


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


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
