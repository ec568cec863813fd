"""Which editor should I use: the rows on page 14 and in the README, made only from stored rows.

    python -m notebooks.support.which_editor    writes them into the README

An editor is advised only if it holds most facts and is not ruinous elsewhere (`fits`). Of those that a
row allows, it names all that may be best by page 15's rule.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from . import runs_14_lifelong as runs_14
from .score_tables import may_be_best
from .stored_runs import OURS

ROOT = Path(__file__).resolve().parents[2]
ARENA = ROOT / "tests/benchmarks/arena/SmolLM2-135M-Instruct-behind.json"
HEADING = "## Which editor should I use?"
# An editor holds at least this much of its facts, in the streams and in the hundreds, and leaves at
# least this much of what the unedited model gets right
HELD, LONG, LEFT = 0.8, 0.5, 0.5
SECONDS = "s per edit"
SETS = {"counterfact": "CounterFact", "zsre": "ZsRE"}
BESIDE = runs_14.FAMILIES["external memory"]
WRITTEN = [name for name in runs_14.LINES if name not in ("retrieval", *BESIDE)]
UNCHANGED = ["retrieval", *BESIDE]
NEEDS: dict[str, tuple[list[str], str]] = {  # priority: the editors it allows, and its column
    "rewordings follow": ([*runs_14.LINES], "reworded"),
    "neighbors stay": ([*runs_14.LINES], "neighbors"),
    "unrelated texts stay": ([*runs_14.LINES], "unrelated"),
    "neighbors stay, and the edit is in the weights": (WRITTEN, "neighbors"),
    "unrelated texts stay, and the edit is in the weights": (WRITTEN, "unrelated"),
    "rewordings follow, and no weight changes": (UNCHANGED, "reworded"),
    "neighbors stay, and no weight changes": (UNCHANGED, "neighbors"),
}


class Advice(NamedTuple):
    """All editors that may be best for a need, highest mean first; none if no editor fits."""

    need: str
    names: list[str]


@cache
def hundred(metric: str = "retention") -> dict[str, list[float]]:
    """{editor: share of a hundred facts of CounterFact and of ZsRE, written one by one}.

    A set without this metric is left out.
    """
    cells = json.loads(ARENA.read_text(encoding="utf-8"))["cells"]
    found = {}
    for name, (editor, _) in runs_14.LINES.items():
        if name != "ROME, published":  # the arena has ROME with the library's key
            asked = [cells[f"{data}-100-{editor}.json"]["values"] for data in SETS]
            each = [values[metric]["generation"] for values in asked if metric in values]
            found[name] = [sum(some) / len(some) for some in each]
    return found


def fits(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The editors that hold their facts, and aren't ruinous for neighbors or unrelated texts."""
    of = {
        column: {name: runs_14.mean(some) for name, some in runs_14.streams(rows, column).items()}
        for column in runs_14.COLUMNS
    }
    return [
        name
        for name in hundred()
        if of["held"][name] >= HELD
        and all(of[c][name] >= LEFT * of[c]["base"] for c in ("neighbors", "unrelated"))
        and mean(hundred()[name]) >= LONG
        and min(hundred("locality")[name]) >= LEFT
    ]


def advice(rows: Sequence[Mapping[str, Any]]) -> list[Advice]:
    """For each need, all editors that fit and may be best in its column."""
    good, found = fits(rows), []
    for need, (names, column) in NEEDS.items():
        values = runs_14.streams(rows, column)
        means = {n: [mean(one) for one in values[n]] for n in names if n in good}
        kept = may_be_best(means) if means else []
        found.append(Advice(need, sorted(kept, key=lambda name: -mean(means[name]))))
    return found


def after_a_hundred() -> list[str]:
    """The editors that hold half of the hundreds and leave half of the neighbors in either set."""
    return [
        name
        for name, held in hundred().items()
        if mean(held) >= LONG and min(hundred("same_relation")[name]) >= LEFT
    ]


def lines(
    rows: Sequence[Mapping[str, Any]], called: Callable[[str], str] | None = None
) -> list[dict[str, str]]:
    """The rows of the advice, and below them the unedited model: {column: text}.

    A number after an editor is its mean in the column that counts. All other numbers are the first
    editor's.

    called  how the table names an editor; as `code` does if it is not given
    """
    shares = {column: runs_14.streams(rows, column) for column in runs_14.COLUMNS}
    means = {
        column: {name: f"{100 * runs_14.mean(some):.0f}" for name, some in of.items()}
        for column, of in shares.items()
    }
    seconds, found = runs_14.seconds(rows), []
    for need, names in advice(rows):
        counts = means[NEEDS[need][1]]
        each = [f"{(called or code)(name)} {counts[name]}" for name in names]
        row = {"your priority": need, "editors": ", ".join(each) or "none fits"}
        row |= {f"{c}, %": of[names[0]] if names else "–" for c, of in means.items()}
        found.append(row | {SECONDS: f"{mean(seconds[names[0]]):.1f}" if names else "–"})
    base = {f"{c}, %": of["base"] for c, of in means.items()}
    return [*found, {"your priority": "the unedited model", "editors": "–", **base, SECONDS: "–"}]


def code(name: str) -> str:
    """The name of a line as it is written in a program, "`memit`", or "`wise` (ours)"."""
    editor, settings = runs_14.LINES[name]
    return f"`{editor}`" + " (ours)" * (settings == OURS)


def section(rows: Sequence[Mapping[str, Any]]) -> str:
    """README's section under the heading."""
    table, n = lines(rows), len({row["seed"] for row in rows})
    head = [*table[0]]
    body = [head, ["---", "---", *["---:"] * (len(head) - 2)], *(row.values() for row in table)]
    *some, last = map(code, after_a_hundred())
    hundreds = f"{', '.join(some)}, and {last}"
    return (
        f"\nFor a single fact, use `rome`, `memit`, or `alphaedit`. After a hundred facts, only {hundreds} still preserve half of\n"
        f"the neighbors. For short streams, we edited {n} streams of {runs_14.EDITS} facts into the default model, on one CPU thread. Each row of\n"
        "the table lists every editor that may be the best for a priority, with its mean in the column that counts; these streams can't\n"
        "tell them apart. The other columns show the first editor. *Held* is the percentage of facts that get the new answer, *reworded*\n"
        "the percentage of their rewordings, *neighbors* the percentage of other subjects that still get their true answer, and\n"
        "*unrelated* the percentage of other texts that the model continues as before. Editors that hold less than\n"
        f"{HELD:.0%} of the facts, or lose half of the neighbors or unrelated texts that the unedited model gets right, aren't listed\n"
        "([all rules](tests/benchmarks/RESULTS.md#which-editor-for-what) · [all editors](tests/benchmarks/results/every_editor.md)). *Ours* is our\n"
        'variant, selected by `preset="ours"`; the default is the paper\'s algorithm.\n\n'
        + "".join(f"| {' | '.join(row)} |\n" for row in body)
        + "\n"
    )


def in_readme(text: str) -> str:
    """The current text under the heading."""
    return text.split(f"{HEADING}\n", 1)[1].split("## ", 1)[0]


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(text.replace(in_readme(text), section(runs_14.stored())), encoding="utf-8")


if __name__ == "__main__":
    main()
