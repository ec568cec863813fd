"""What notebook 11 says about HoReN: the rows of tests/benchmarks/horen_roc.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.evaluation.intervals import DIFFERENCE, interval

FILE = Path(__file__).resolve().parents[2] / "tests" / "benchmarks" / "horen_roc.json"
WAYS = ("last, distance", "last, angle", "mean, distance", "mean, angle", "mean, one step")
COLUMNS = {  # rewordings
    "own_entry": "nearest is their own (%)",
    "at_general": "… and 1 % of text let in (%)",
    "at_neighbors_5": "… and 5 % of neighbors (%)",
    "at_neighbors_20": "… and 20 % of neighbors (%)",
}


def read(share: float = 0.5) -> dict[str, Any]:
    """The stored run with queries that are means over this share of a prompt."""
    runs = json.loads(FILE.read_text(encoding="utf-8"))
    return next(run for run in runs.values() if run["rows"][0]["share"] == share)


def row_of(rows: Sequence[Mapping], way: str, crowd: int = 0) -> Mapping[str, Any]:
    """The row of a way of looking up, with so many further keys."""
    return next(row for row in rows if (row["way"], row["crowd"]) == (way, crowd))


def shown(values: Sequence[float]) -> str:
    """The mean over cases in %, with its 95 % interval: "43 (37 to 50)"."""
    low, high = interval(values)
    return f"{100 * sum(values) / len(values):.0f} ({100 * low:.0f} to {100 * high:.0f})"


def table(rows: Sequence[Mapping], crowd: int = 0) -> list[dict[str, str]]:
    """One line per way: rewordings that find their entry, and that reach it at three thresholds."""
    return [
        {"looked up by": way}
        | {words: shown(row_of(rows, way, crowd)[name]) for name, words in COLUMNS.items()}
        for way in WAYS
    ]


def paired(rows: Sequence[Mapping], one: str, other: str, what: str, crowd: int = 0) -> str:
    """The mean difference of two ways over the same cases, and its 95 % interval."""
    sides = (row_of(rows, way, crowd)[what] for way in (one, other))
    found = [a - b for a, b in zip(*sides, strict=True)]
    low, high = interval(found, DIFFERENCE)
    values = (f"{100 * x:+.0f}" for x in (sum(found) / len(found), low, high))
    return "{} points (95 %: {} to {})".format(*values)


def crowding(rows: Sequence[Mapping]) -> list[dict[str, str]]:
    """One line per number of keys: the crowding rule beside the mass that own keys hold."""
    lines = []
    for row in rows:
        if "rule" not in row:
            continue
        plain = row_of(rows, "mean, angle", row["crowd"])
        lines.append(
            {
                "keys": f"{row['crowd'] + len(row['own_entry']):,}",
                "cosine of two keys": f"{row['mu']:.2f} ± {row['sigma']:.2f}",
                "least cosine by the rule": f"{row['least_s']:.2f}",
                "own cosine (median)": f"{row['median_s']:.2f}",
                "rule says kept (%)": f"{100 * row['rule']:.0f}",
                "own mass over half (%)": f"{100 * row['mass']:.0f}",
                "own entry, no step (%)": shown(plain["own_entry"]),
                "one step (%)": shown(row["own_entry"]),
            }
        )
    return lines


def curves(run: Mapping[str, Any], group: str, crowd: int = 0) -> dict[str, list[float]]:
    """{way: % of rewordings that reach their entry}, at the run's rates of the group let in."""
    return {way: [100 * x for x in row_of(run["rows"], way, crowd)["roc"][group]] for way in WAYS}
