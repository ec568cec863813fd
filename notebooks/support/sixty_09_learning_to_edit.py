"""The long run of notebook 09: sixty facts, alone, in batches and in streams.

Every way of editing is asked about the same sixty facts. A row keeps one share per fact, so that
the page can draw intervals and compare two ways fact by fact. All answers are generated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lib
from lib.evaluation.intervals import DIFFERENCE, interval

from .runs_04_rome import percent
from .runs_09_learning_to_edit import SHOWN, Plain, Solved, short

RATES = [0.01, 0.02, 0.03, 0.06]
SIXTY = {"facts": 60, "in all": 100, "few": 3, "rates": RATES, "rate": 0.01, "turns": [6, 10]}
MEASURED = {"written": "efficacy", "reworded": "generalization", "neighbors": "specificity"}


def classroom() -> list[lib.Case]:
    """The hundred odd-numbered cases, which no network was trained on, with fewer prompts."""
    return short(case for case in lib.classroom() if case.id % 2)


def shares(lm: lib.LM, cases: Sequence[lib.Case], patch: lib.Patch) -> dict[str, list[float]]:
    """Shares of each case's prompts that are answered as wanted, by generation; one per case."""
    metrics = ["generalization", "specificity"]
    by_case = lib.evaluate(lm, cases, patch, ["generation"], metrics=metrics).by_case()
    return {
        name: [round(share, 4) for share in by_case[metric, "generation"]["mean"]]
        for name, metric in MEASURED.items()
    }


def batches(editor: Any, cases: Sequence[lib.Case], size: int, count: int) -> dict[str, list]:
    """Shares of the first `count` cases, each asked right after the update that holds it."""
    found: dict[str, list[float]] = {name: [] for name in MEASURED}
    for start in range(0, count, size):
        whole = cases[start : start + size]
        patch = editor.edit([case.fact for case in whole])
        for name, values in shares(editor.lm, whole[: count - start], patch).items():
            found[name] += values
    return found


def ways(editors: Mapping[str, Any]) -> dict[str, Any]:
    """{name: editor}: a plain step, the trained networks, MEND's pairs in a regression."""
    mend = editors["mend"]
    named = {SHOWN[name]: editor for name, editor in editors.items()}
    plain = Plain(mend.lm, mend.modules(), SIXTY["rate"])
    solved = {"solved on k": Solved(mend, "raw"), "solved on k̃": Solved(mend, "network")}
    return {"plain step": plain, **named, **solved}


def sixty(lm: lib.LM, editors: Mapping[str, Any]) -> Iterator[dict]:
    """All rows: MEND on a few facts, the base model, then every way in every size and stream."""
    cases, count, mend = classroom(), SIXTY["facts"], editors["mend"]
    yield first(mend)
    asked = cases[:count]
    yield {"way": "unedited", "update": 0} | shares(lm, asked, lib.EMPTY)
    for rate in SIXTY["rates"]:
        plain = Plain(lm, mend.modules(), rate)
        yield {"way": f"plain, α = {rate:g}", "update": 1} | batches(plain, cases, 1, count)
    for name, editor in ways(editors).items():
        yield {"way": name, "update": 10} | batches(editor, cases, 10, count)
        if name.startswith("solved"):
            continue
        if name in SHOWN.values():
            yield {"way": name, "update": 1} | batches(editor, cases, 1, count)
        size = SIXTY["in all"]
        yield {"way": name, "update": size} | batches(editor, cases, size, count)
        yield from stream(editor, name, cases, asked)


def first(mend: Any) -> dict:
    """MEND on the first few facts, each alone, which a notebook can repeat."""
    few = SIXTY["few"]
    return {"way": "MEND, few", "update": 1} | batches(mend, classroom(), 1, few)


def stream(
    editor: Any, name: str, cases: Sequence[lib.Case], asked: Sequence[lib.Case]
) -> Iterator[dict]:
    """Turns of ten facts, one after another; the same facts are asked after each of `turns`."""
    patch = lib.EMPTY
    for turn in range(max(SIXTY["turns"])):
        patch = editor.edit([case.fact for case in cases[10 * turn : 10 * turn + 10]], after=patch)
        if turn + 1 in SIXTY["turns"]:
            yield {"way": name, "update": 10, "turns": turn + 1} | shares(editor.lm, asked, patch)


def pick(rows: Sequence[Mapping], way: str, update: int, turns: int | None = None) -> Mapping:
    """The row of one way of editing."""
    found = (row for row in rows if (row["way"], row["update"]) == (way, update))
    return next(row for row in found if row.get("turns") == turns)


def line(row: Mapping) -> dict[str, str]:
    """A row as percent with 95 % intervals."""
    return {f"{name} (%)": percent(row[name]) for name in MEASURED}


def paired(one: Mapping, other: Mapping) -> dict[str, str]:
    """One way less another over the same facts, in points, with 95 % intervals."""
    found = {}
    for name in MEASURED:
        change = [a - b for a, b in zip(one[name], other[name], strict=True)]
        ends = sum(change) / len(change), *interval(change, DIFFERENCE)
        found[name] = "{:+.0f} points (95 %: {:+.0f} to {:+.0f})".format(*(100 * x for x in ends))
    return found
