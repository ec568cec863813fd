"""Streams of facts for LEMoE and WISE, the scores after some edits, and intervals by stream.

Without `--data` the streams are dealt from the packaged facts that the tables ask. With it they are
those of `zsre_mend_edit.json` there (or `zsre_mend_eval.json`) or, if there is none, of
`counterfact.json`.

Scores are by the papers' event, in which each token of an answer is predicted from the true tokens
before it, and by free generation. Reliability is of a fact's own prompt, generalization of its
rewordings. Locality is the share of tokens of the base model's own answers to unrelated prompts
that the edited model predicts, too; the papers use the file's answers there, which only ZsRE has.
Neighbors, which the papers do not ask, keep the answer that the file gives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lib
from lib.data.texts import CLASSROOM
from lib.evaluation.intervals import DIFFERENCE, SHARE
from notebooks.support.runs_14_lifelong import wide
from notebooks.support.score_tables import STUDENT, by_case
from tests.benchmarks.rows import classroom

from .frame import CLAIMS, Given, Row
from .verdicts import UNSEEN, detectable, overall, verdict

FILES = ("zsre_mend_edit.json", "zsre_mend_eval.json", "counterfact.json")
COLUMNS = {
    "reliability": "efficacy",
    "generalization": "generalization",
    "neighbors": "specificity",
    "locality": "locality",
}
EVENTS = {"forced": "teacher_forced", "said": "generation"}
THREE = ("reliability", "generalization", "locality")  # of which the papers take the mean


def file_of(given: Given) -> Path:
    """The file of the facts; ValueError if the folder has none of FILES."""
    if given.data is None:
        return CLASSROOM
    found = [given.data / name for name in FILES if (given.data / name).is_file()]
    if not found:
        raise ValueError(f"there is neither {' nor '.join(FILES)} in {given.data}")
    return found[0]


def streams(given: Given, facts: int, count: int) -> list[list[lib.Case]]:
    """Streams of so many facts that share none; every count-th fact, so that relations mix."""
    if given.data is None:
        cases = classroom("tables")
    else:
        cases = list(lib.read_cases(file_of(given), limit=2 * count * facts))
        # the same question twice would be one fact with two answers
        cases = list({case.fact.text: case for case in cases}.values())
    if len(cases) < count * facts:
        raise ValueError(f"{file_of(given).name} has {len(cases)} facts of {count * facts}")
    return [cases[i::count][:facts] for i in range(count)]


def scored(
    lm: lib.LM,
    cases: Sequence[lib.Case],
    patch: lib.Patch = lib.EMPTY,
    base: Any = None,
    columns: Sequence[str] = tuple(COLUMNS),
    events: Sequence[str] = tuple(EVENTS),
) -> dict[str, dict[str, list[float]]]:
    """{event: {column: one share per case}}, of "forced" and "said"."""
    metrics = [COLUMNS[name] for name in columns]
    asked = [EVENTS[event] for event in events]
    found = lib.evaluate(lm, cases, patch, asked, base, metrics=metrics)
    return {event: by_case(found, COLUMNS, EVENTS[event]) for event in events}


def values(row: Row, column: str, event: str = "forced") -> list[float]:
    """One value per case of a row; "average" is the mean of the papers' three."""
    if column != "average":
        return row[event][column]
    return [sum(three) / len(three) for three in zip(*(row[event][c] for c in THREE), strict=True)]


def ahead(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> Any:
    """(mean, low, high) of the differences, the same facts in the same streams."""
    pairs = [zip(a, b, strict=True) for a, b in zip(one, other, strict=True)]
    return wide([[a - b for a, b in pair] for pair in pairs], DIFFERENCE)


def of_streams(
    rows: Sequence[Row], arm: str, column: str, event: str = "forced"
) -> list[list[float]]:
    """The values of an arm, stream by stream."""
    return [values(row, column, event) for row in rows if row["arm"] == arm]


def enough(rows: Sequence[Row], *arms: str) -> bool:
    """Whether there are so many streams of each arm that they have an interval."""
    return all(sum(row["arm"] == arm for row in rows) in STUDENT for arm in arms)


def rule(paper: str, name: str) -> Mapping[str, Any]:
    """A claim, with its two numbers."""
    (found,) = (c for c in CLAIMS["claims"] if (c["paper"], c["name"]) == (paper, name))
    return found


def judged(claim: Mapping[str, Any], *found: Sequence[float]) -> tuple[str, str]:
    """(what came out, verdict) of one or more (mean, low, high), all of which have to agree."""
    every = [verdict(one[1:], claim["same"], claim["opposite"]) for one in found]
    said = "; ".join("{:+.0f} [{:+.0f}, {:+.0f}]".format(*(100 * x for x in one)) for one in found)
    said, answer = said.replace("-", "−") + " points", overall(every)
    if answer == UNSEEN:
        wide_ones = [
            detectable(one[1:]) for one, v in zip(found, every, strict=True) if v == UNSEEN
        ]
        said += f" (smallest detectable difference: {100 * max(wide_ones, default=0):.0f} points)"
    return said, answer


def cell(rows: Sequence[Row], arm: str, column: str, event: str = "forced") -> str:
    """ "80 [70, 88]" of an arm over all streams; without an interval for fewer than three."""
    found = of_streams(rows, arm, column, event)
    if not found or not all(found):
        return "–"
    if len(found) not in STUDENT:
        flat = [value for one in found for value in one]
        return f"{100 * sum(flat) / len(flat):.0f}"
    return "{:.0f} [{:.0f}, {:.0f}]".format(*(100 * x for x in wide(found, SHARE)))
