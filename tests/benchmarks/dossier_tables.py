"""The tables of what a dossier is worth: made-up names taken for known, and edges without a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lib.evaluation.intervals import DIFFERENCE

from .tables import made, percents, read, table

SETS = {"edges": "static edges of its name", "features": "features of its state in a context"}


@made("dossier-made-up")
def dossier_made_up() -> str:
    """Of answers about names that nobody has: the share that passes each pair of thresholds."""
    names = read("dossier")["made up"]
    new = [row for row in names.values() if not row["seen"]]
    old = [row for row in names.values() if row["seen"]]
    lines = []
    for bounds in next(iter(names.values()))["passed"]:
        shares = [[row["passed"][bounds] / row["answers"] for row in part] for part in (new, old)]
        whom = [float(row["passed"][bounds] > 0) for row in new]
        lines.append((bounds, *map(percents, shares), percents(whom)))
    heads = (
        "an answer passes with", f"new names (n = {len(new)}), % of answers",
        f"names that the thresholds were chosen on ({len(old)}), %",
        "new names with at least one such answer, %",
    )  # fmt: skip
    return table(heads, lines)


@made("dossier-edges")
def dossier_edges() -> str:
    """How much of what an entity opens is among its answers, beside answers about the others."""
    found = read("dossier")["entities"]
    lines = []
    for part, words in SETS.items():
        own, others = shares(found, part)
        apart = [a - b for a, b in zip(own, others, strict=True)]
        cells = percents(own), percents(others), percents(apart, DIFFERENCE)
        lines.append((words, len(own), *cells))
    heads = ("tokens", "entities", "among its own answers, %", "among others' answers, %",
             "difference, points")  # fmt: skip
    return table(heads, lines)


def shares(found: Mapping[str, Any], part: str) -> tuple[list[float], list[float]]:
    """For each entity the share of its tokens among its own answers, and among others' in the mean.

    An entity without tokens is passed over.
    """
    own, others = [], []
    for name, row in found.items():
        tokens = set(row[part])
        if not tokens:
            continue
        rest = [overlap(tokens, one["answers"]) for other, one in found.items() if other != name]
        own.append(overlap(tokens, row["answers"]))
        others.append(sum(rest) / len(rest))
    return own, others


def overlap(tokens: set[str], answers: Sequence[str]) -> float:
    """The share of tokens that are among the answers."""
    return len(tokens & set(answers)) / len(tokens)
