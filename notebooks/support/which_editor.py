"""Which editor should I use: a few rows that stand on page 14 and in the README, made of stored rows alone.

    python -m notebooks.support.which_editor    writes them into the README

Two rules choose. Of the editors that a need allows, and that hold most facts of page 14's streams and half of the
hundreds, those stay of which the leader is not shown to be ahead. Then the hundreds decide, two sets of other facts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch

from lessons.l8_4_streams import unbeaten

from . import runs_14_lifelong as runs_14
from .stored_runs import OURS

ROOT = Path(__file__).resolve().parents[2]
ARENA = ROOT / "tests/benchmarks/arena/SmolLM2-135M-Instruct-behind.json"
HEADING = "## Which editor should I use?"
# the share of its facts that an editor holds at least, to be advised: in the streams, and of the hundreds
HELD, LONG = 0.8, 0.5
ASKED = {  # what stands for a column of the streams in the hundred edits
    "reworded": "generalization",
    "neighbors": "same_relation",
    "unrelated": "locality",
}
SETS = {"counterfact": "CounterFact", "zsre": "ZsRE"}
BESIDE = runs_14.FAMILIES["beside the weights"]
WRITTEN = [name for name in runs_14.LINES if name not in ("retrieval", *BESIDE)]
SECONDS, HUNDRED = "s per edit", "held of 100, two sets, %"
NEEDS = {  # what is needed: the editors that it allows, and the column that counts
    "a note in front of the prompt is allowed": (["retrieval"], "reworded"),
    "weights are written, rewordings follow": (WRITTEN, "reworded"),
    "weights are written, neighbors stay": (WRITTEN, "neighbors"),
    "weights are written, unrelated texts stay": (WRITTEN, "unrelated"),
    "weights stay, rewordings follow": (BESIDE, "reworded"),
    "weights stay, neighbors stay": (BESIDE, "neighbors"),
}


class Advice(NamedTuple):
    """What is advised for a need: an editor, and those that the streams do not tell from it."""

    need: str
    name: str
    alike: list[str]


@cache
def hundred(metric: str = "retention") -> dict[str, list[float]]:
    """{editor: share of a hundred facts of CounterFact and of ZsRE, written one by one}.

    A set of which the metric was not asked is left out.
    """
    cells = json.loads(ARENA.read_text(encoding="utf-8"))["cells"]
    found = {}
    for name, (editor, _) in runs_14.LINES.items():
        if name != "ROME, published":  # the arena has ROME with the library's key
            asked = [cells[f"{data}-100-{editor}.json"]["values"] for data in SETS]
            each = [values[metric]["generation"] for values in asked if metric in values]
            found[name] = [sum(some) / len(some) for some in each]
    return found


def advice(rows: Sequence[Mapping[str, Any]]) -> list[Advice]:
    """For each need the editor that two rules choose."""
    held, found = runs_14.streams(rows, "held"), []
    for need, (names, column) in NEEDS.items():
        known = [n for n in names if n in hundred() and mean(hundred()[n]) >= LONG]
        allowed = [name for name in known if runs_14.mean(held[name]) >= HELD]
        allowed = allowed or [*names]
        values = runs_14.streams(rows, column)
        some = {name: [torch.tensor(one) for one in values[name]] for name in allowed}
        kept, metrics = unbeaten(some, runs_14.ahead), ["retention", ASKED[column]]
        best = max(kept, key=lambda name: sum(mean(hundred(metric)[name]) for metric in metrics))
        found.append(Advice(need, best, [name for name in kept if name != best]))
    return found


def lines(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The rows of the advice, and below them the unedited model: {column: text}."""
    shares = {column: runs_14.streams(rows, column) for column in runs_14.COLUMNS}

    def means(name: str) -> dict[str, str]:
        return {f"{c}, %": f"{100 * runs_14.mean(of[name]):.0f}" for c, of in shares.items()}

    seconds, found = runs_14.seconds(rows), []
    for need, name, alike in advice(rows):
        row = {"what counts": need, "take": code(name), **means(name)}
        row[SECONDS] = f"{sum(seconds[name]) / len(seconds[name]):.1f}"
        row[HUNDRED] = " and ".join(f"{100 * x:.0f}" for x in hundred()[name])
        found.append(row | {"not told apart": ", ".join(map(code, alike)) or "–"})
    unedited = {"what counts": "the unedited model", **means("base")}
    return [*found, dict.fromkeys(found[0], "–") | unedited]


def code(name: str) -> str:
    """The name of a line as it is written in a program, "`memit`", or "`wise` (ours)"."""
    editor, settings = runs_14.LINES[name]
    return f"`{editor}`" + " (ours)" * (settings == OURS)


def section(rows: Sequence[Mapping[str, Any]]) -> str:
    """README's section under the heading."""
    left = HUNDRED, "not told apart"  # page 14 has them
    table = [{k: v for k, v in row.items() if k not in left} for row in lines(rows)]
    n = len({row["seed"] for row in rows})
    head = [*table[0]]
    body = [
        head,
        ["---", "---", *["---:"] * (len(head) - 2)],
        *(row.values() for row in table),
    ]
    return (
        f"\nThe table shows means of {n} streams of {runs_14.EDITS} facts, written into the default model using one CPU thread. *Held* is the percentage of\n"
        "facts that get the new answer, *reworded* that of their rewordings, *neighbors* that of other subjects that still get their true\n"
        "answer, and *unrelated* that of other texts that the model continues as before.\n"
        "[RESULTS](tests/benchmarks/RESULTS.md#which-editor-for-what) lists the editors that may be as good, and [all editors with their\n"
        "intervals](tests/benchmarks/results/every_editor.md).\n\n"
        + "".join(f"| {' | '.join(row)} |\n" for row in body)
        + '\n*Ours* means `preset="ours"`; the default is the paper\'s algorithm.'
        + " For a single fact, use `rome`, `memit`, or `alphaedit`; for many facts, see [RESULTS](tests/benchmarks/RESULTS.md).\n\n"
    )


def in_readme(text: str) -> str:
    """What stands under the heading now."""
    return text.split(f"{HEADING}\n", 1)[1].split("## ", 1)[0]


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(text.replace(in_readme(text), section(runs_14.stored())), encoding="utf-8")


if __name__ == "__main__":
    main()
