"""The cells of an arena: what is run, in which order, and what is kept of each.

A cell is one editor on one set of facts for one length of the stream. Its result is small: the mean
of each case, metric and event, from which every interval and every paired difference follows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ..atomic_files import whole_file
from ..errors import JournalError
from ..evaluation.scores import COLUMNS, Scores

BASE = "base"  # the row of the unedited model
FIRST = (BASE, "retrieval", "ft")  # rows that every arena has: what an editor has to be better than
SINGLES = 50  # separate edits that stand for a stream of length 1


class Cell(NamedTuple):
    """One editor, one set of facts by its name, and the length of the stream (1: single edits)."""

    editor: str
    data: str
    edits: int

    @property
    def name(self) -> str:
        """Of its file and of its journal's folder."""
        return f"{self.data}-{self.edits}-{self.editor}"


def plan(editors: Iterable[str], data: Iterable[str], lengths: Iterable[int]) -> list[Cell]:
    """All cells: short streams before long ones, and in each the base model and baselines first."""
    names = list(dict.fromkeys((*FIRST, *editors)))
    sets = list(data)
    return [Cell(e, d, n) for n in sorted(set(lengths)) for d in sets for e in names]


@dataclass(eq=False)
class Result:
    """What is kept of a cell.

    scores     one row per case, metric and event: the mean over the case's prompts
    seconds    of one edit, in the mean; None for the unedited model
    peak       bytes of memory above what the process held before the cell, None where unknown
    abilities  `Abilities.json` after the last edit, None where it was not asked
    ability    whether each item that the unedited model has right is still right
    """

    scores: Scores
    seconds: float | None = None
    peak: int | None = None
    abilities: dict[str, Any] | None = None
    ability: Sequence[bool] = ()

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        rows = self.scores.rows
        table: dict[str, dict[str, dict[str, float]]] = {}
        for line in rows.itertuples():
            events = table.setdefault(line.metric, {})
            events.setdefault(line.event, {})[str(line.case)] = round(float(line.value), 6)
        edits = rows[rows["metric"] == "efficacy"].drop_duplicates("case")
        state = {
            "title": self.scores.title,
            "prompts": {str(c): p for c, p in zip(edits["case"], edits["prompt"], strict=True)},
            "values": table,
            "perplexity": self.scores.perplexity,
            "seconds": self.seconds,
            "peak": self.peak,
            "abilities": self.abilities,
            "ability": "".join("01"[bool(right)] for right in self.ability),
        }
        with whole_file(path) as part:
            part.write_text(json.dumps(state, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Result:
        """A result that `save` wrote; JournalError for anything else."""
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            lines = [
                (case, metric, event, state["prompts"].get(case, ""), float(value), None, None)
                for metric, events in state["values"].items()
                for event, values in events.items()
                for case, value in values.items()
            ]
            asked = [(m, e) for m, events in state["values"].items() for e in events]
            scores = Scores(
                pd.DataFrame(lines, columns=COLUMNS), asked, state["title"], state["perplexity"]
            )
            right = [mark == "1" for mark in state["ability"]]
            return cls(scores, state["seconds"], state["peak"], state["abilities"], right)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise JournalError(
                f"{path} is no result of an arena ({type(error).__name__}): delete it, and the "
                "cell is run again"
            ) from None


def condensed(scores: Scores) -> Scores:
    """The same scores with one row per case, metric and event."""
    rows = scores.rows.assign(case=scores.rows["case"].astype(str))
    first = rows[rows["metric"] == "efficacy"].drop_duplicates("case").set_index("case")["prompt"]
    means = rows.groupby(["metric", "event", "case"], sort=False)["value"].mean().reset_index()
    means = means.assign(prompt=means["case"].map(first).fillna(""), text=None, answer=None)
    found = {pair for pair in zip(means["metric"], means["event"], strict=True)}
    asked = [pair for pair in scores.asked if pair in found]
    return Scores(means[COLUMNS], asked, scores.title, scores.perplexity)
