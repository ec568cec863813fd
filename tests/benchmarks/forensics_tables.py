"""The tables of forensics: who is named, what is called edited by mistake, what comes back.

They are tables like those of `tables.py`, which `results.py` puts on the pages. Unless a table says
otherwise its rows are odd cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import lib
from lib.evaluation.intervals import interval
from lib.workbench.forensics.investigation import THRESHOLD

from .tables import Row, called, made, number, percents, read, table

WAYS = {
    "edited": "*the edited model*",
    "control": "the same path, nothing taken out (control)",
    "published, k = 1": "largest singular component dropped",
    "published, k = 11": "eleven largest dropped",
    "one prefix, damping 0.01": "one prefix's direction, damping 0.01",
    "15 prefixes, damping 1": "15 prefixes, none bare, damping 1",
    "16 prefixes, damping 0.1": "16 prefixes, damping 0.1",
    "16 prefixes, damping 1": "**16 prefixes, damping 1** (the default)",
    "16 prefixes, damping 10": "16 prefixes, damping 10",
}


def groups(found: Mapping[str, Any], half: str | None) -> dict[tuple[str, int], list[Row]]:
    """{(editor, facts in a suspect): rows} of one half of the cases, or with None of all.

    Suspects that were read in whole are left out. Few facts come first, and of as many facts the
    editors in the library's order.
    """
    rows: dict[tuple[str, int], list[Row]] = {}
    for key, row in found["suspects"].items():
        editor, size, *rest = key.split()
        if len(rest) == 1 and half in (None, row["half"]):
            rows.setdefault((editor, int(size)), []).append(row)
    order = list(lib.EDITORS)
    return dict(sorted(rows.items(), key=lambda one: (one[0][1], order.index(one[0][0]))))


def named(row: Row) -> list[float]:
    """For each fact of a suspect: 1 where it stands above all others, in an edited layer."""
    most = row["other"]["z"] if row["other"] else float("-inf")
    return [float(own["z"] > most and own["in_edited"]) for own in row["own"]]


def over(row: Row) -> list[float]:
    """For each fact of a suspect: 1 where its z is at or above the threshold."""
    return [float(own["z"] >= THRESHOLD) for own in row["own"]]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@made("forensics-named", "forensics")
def forensics_named() -> str:
    """Subjects that are named, by editor and number of facts in a suspect; odd cases."""
    found = read("forensics")
    lines = []
    for (editor, size), rows in groups(found, "odd").items():
        own = [one["z"] for row in rows for one in row["own"]]
        others = [row["other"]["z"] for row in rows]
        lines.append(
            (
                f"{called(editor)}, {size} {'fact' if size == 1 else 'facts'}",
                len(rows),
                percents([mean(named(row)) for row in rows]),
                percents([mean(over(row)) for row in rows]),
                f"{median(own):.1f} ({min(own):.1f} to {max(own):.1f})",
                number(max(others), 1),
            )
        )
    head = (
        "suspects, odd cases",
        "n",
        "facts above all other candidates, in an edited layer, %",
        f"facts with z ≥ {THRESHOLD:g}, %",
        "z of the facts: median (range)",
        "largest z of another candidate",
    )
    return f"{found['candidates']:,} candidates.\n\n" + table(head, lines)


@made("forensics-prompts", "forensics")
def forensics_prompts() -> str:
    """Whole prompts that are named, without and with the base; cases of both halves."""
    found = read("forensics")["prompts"]
    lines = []
    for (editor, size), rows in groups(found, None).items():
        own = [one["z"] for row in rows for one in row["own"]]
        based = [row["with_base"] for row in rows if row["with_base"]]
        lines.append(
            (
                f"{called(editor)}, {size} {'fact' if size == 1 else 'facts'}",
                len(rows),
                percents([mean(named(row)) for row in rows]),
                percents([mean(_least(row, 10)) for row in rows]),
                f"{median(own):.1f} ({min(own):.1f} to {max(own):.1f})",
                number(max(row["other"]["z"] for row in rows), 1),
                percents([mean([float(o["in_layer"] == 1) for o in row["own"]]) for row in rows]),
                percents([mean(_least(one, 1)) for one in based]),
                percents([mean(_least(one, 10)) for one in based]),
            )
        )
    head = (
        "suspects",
        "n",
        "weights alone: above all other prompts, in an edited layer, %",
        "among the first ten, %",
        "z: median (range)",
        "largest z of another prompt",
        "above all others within an edited layer, %",
        "with the base: best explained, %",
        "among the first ten, %",
    )
    nobody = found["negatives"]["untouched"]
    return (
        f"{found['candidates']:,} prompts. The largest z of the untouched model is "
        f"{nobody['z']:.1f} (“{nobody['first']} …”).\n\n" + table(head, lines)
    )


def _least(row: Row, most: int) -> list[float]:
    """For each fact of a suspect: 1 where it is among so many candidates, beside its own kind."""
    count = len(row["own"])
    return [float(own["rank"] <= most + count - 1) for own in row["own"]]


@made("forensics-negatives", "forensics")
def forensics_negatives() -> str:
    """Models that nobody edited: their largest z."""
    found = read("forensics")["negatives"]
    lines = [
        (
            name,
            "0 to 29" if "read" not in row else f"{row['read'][0]} to {row['read'][-1]}",
            number(row["z"], 1),
            row["first"],
            "no" if row["z"] < THRESHOLD else "**yes**",
        )
        for name, row in found.items()
    ]
    return table(
        ("model", "layers read", "largest z", "candidate", "called edited"), lines
    ) + _detection(read("forensics"))


def _detection(found: dict[str, Any]) -> str:
    """How well the largest z of a suspect parts single ROME edits from the negatives."""
    rows = groups(found, "odd").get(("rome", 1), [])
    if not rows:
        return ""
    no = [row["z"] for row in found["negatives"].values()]
    wins = [mean([float(row["z"] > z) + 0.5 * float(row["z"] == z) for z in no]) for row in rows]
    layers = [z for row in rows for i, z in enumerate(row["z_of_layers"]) if i not in row["edited"]]
    layers += [z for row in found["negatives"].values() for z in row.get("z_of_layers", ())]
    edited = [max(row["z_of_layers"][i] for i in row["edited"]) for row in rows]
    bound = sorted(layers)[int(0.99 * len(layers))]
    hits = [float(z > bound) for z in edited]
    alarms = sum(z >= THRESHOLD for z in layers)
    return (
        f"\nSingle `rome` edits (n = {len(rows)}, odd) against {_models(len(no))}: area under "
        f"the ROC {mean(wins):.2f} {_between(wins)}. Layer by layer, {len(edited)} edited against "
        f"{len(layers)} unedited ones: at a false alarm in 100 (z > {bound:.1f}) "
        f"{percents(hits)} % of the edited layers are found. At the threshold of {THRESHOLD:g} "
        f"there are {alarms} false alarms in the {len(layers)}.\n"
    )


def _models(count: int) -> str:
    """How many models nobody edited."""
    return "this one model" if count == 1 else f"these {count} models"


def _between(values: Sequence[float]) -> str:
    low, high = interval(values)
    return f"[{low:.2f}, {high:.2f}]"


@made("forensics-reversal", "forensics")
def forensics_reversal() -> str:
    """Single ROME edits taken out without the base model; odd cases."""
    rows = groups(read("forensics"), "odd").get(("rome", 1), [])
    return _reversal(rows)


def _reversal(rows: Iterable[Row]) -> str:
    """Ways of taking an edit out, each as shares of next tokens that are the base model's."""
    every = [one for row in rows for one in row.get("reversal", ())]
    lines = []
    for way, words in WAYS.items():
        some = [one["ways"][way] for one in every if way in one["ways"]]
        if some:
            cells = []
            for name in ("edit", "reworded", "neighbors", "unrelated", "still_edited"):
                cells.append(percents([one[name] for one in some if one[name] is not None]))
            lines.append((words, *cells))
    head = (
        f"what is taken out (n = {len(every)})",
        "the edit's prompt: base answer again, %",
        "rewordings, %",
        "neighbors, %",
        "unrelated, %",
        "edited answer still there, %",
    )
    ranks = [one["object_rank"] for one in every]
    first, ten = ([float(r is not None and r <= most) for r in ranks] for most in (1, 10))
    said = (
        f"\nThe new answer's first token is the first of the tokens named in {percents(first)} %, "
        f"and among the first ten in {percents(ten)} %.\n"
    )
    return table(head, lines) + (said if every else "")
