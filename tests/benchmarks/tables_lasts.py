"""The tables of what lasts: edits when the model lives on, and when they are doubted."""

from __future__ import annotations

from collections.abc import Sequence

from lib.evaluation.intervals import DIFFERENCE
from lib.workbench.instruments.depth import TESTS, TOLD, TRUTH, UNEDITED
from lib.workbench.instruments.survival import BEFORE

from .depth import NEW, OLD
from .standard import EDITS
from .survival import BASE, OWN
from .tables import SUNK, called, made, percents, read, table

PLAIN = {BASE: "unedited model, new answers", OWN: "unedited model, its old answers"}
CONTROLS = (UNEDITED, TOLD, TRUTH)


def less(one: Sequence[float], other: Sequence[float]) -> str:
    """The paired difference of two lists of values, in points."""
    return percents([a - b for a, b in zip(one, other, strict=True)], DIFFERENCE)


@made("survival", "survival")
def survival() -> str:
    """The share of facts that each editor's model says, and what each life changes, paired."""
    stored = read("survival")
    lives = [life for life in stored[BASE]["values"] if life != BEFORE]
    lines = []
    for name, row in stored.items():
        found = {life: by["efficacy"] for life, by in row["values"].items()}
        title = PLAIN.get(name) or called(name, SUNK)
        changes = [less(found[life], found[BEFORE]) if life in found else "–" for life in lives]
        lines.append((title, percents(found[BEFORE]), *changes))
    return table(("editor", "said", *lives), lines)


@made("depth", "depth")
def depth() -> str:
    """The share of replies that name the answer, in four ways, and what a probe of truth says."""
    stored = read("depth")
    names = [*CONTROLS, *(name for name in stored if name not in (*CONTROLS, "probe"))]
    lines = []
    for name in names:
        row = stored[name]
        title = name if name in CONTROLS else called(name, SUNK)
        probe = [percents(row[answer]) if row.get(answer) else "–" for answer in (NEW, OLD)]
        lines.append((title, *(percents(row[test]) for test in TESTS), *probe))
    accuracy, low, high = (f"{100 * value:.0f}" for value in stored["probe"]["accuracy"])
    n = stored["probe"]["statements"]
    return (
        table(("model", *TESTS, NEW, OLD), lines)
        + f"\nThe probe reads before block {stored['probe']['block']} and judges {accuracy} "
        f"[{low}, {high}] % of {n} statements of held-out relations rightly.\n"
    )


@made("depth-paired", "depth")
def paired() -> str:
    """Each editor less the unedited model that is told the fact, paired over facts."""
    stored = read("depth")
    lines = [
        (called(name, SUNK), *(less(row[test], stored[TOLD][test]) for test in TESTS))
        for name, row in stored.items()
        if name not in (*CONTROLS, "probe")
    ]
    return table(("editor, less the fact told", *TESTS), lines)


# as the model's card gives them (lighteval, other prompts); ARC is the mean of easy and challenge
CARD = {"hellaswag": 40.9, "piqa": 66.3}


def pooled(answers: dict[str, list[int]]) -> list[int]:
    """The answers to all questions, set by set in the order of the sets' names."""
    return [right for task in sorted(answers) for right in answers[task]]


@made("standard", "standard")
def standard() -> str:
    """What edits change of the share of all standard questions that are right, paired."""
    stored = read("standard")
    lines = []
    for name, by_edits in stored.items():
        if name != BASE:
            cells = (less(pooled(by_edits[str(n)]), pooled(stored[BASE])) for n in EDITS)
            lines.append((called(name, SUNK), *cells))
    right = pooled(stored[BASE])
    return (
        table(("editor", *(f"edits: {n}" for n in EDITS)), lines)
        + f"\nThe unedited model has {percents(right)} % of the {len(right)} questions right.\n"
    )


@made("standard-sets", "standard")
def sets() -> str:
    """The same by set, after a hundred edits, below the unedited model."""
    stored = read("standard")
    tasks = list(stored[BASE])
    lines: list[tuple] = [
        ("unedited", *(percents(stored[BASE][task]) for task in tasks)),
        ("its card", *(CARD.get(task, "–") for task in tasks)),
    ]
    for name, by_edits in stored.items():
        if name != BASE:
            found = by_edits[str(EDITS[-1])]
            some = (less(found[task], stored[BASE][task]) for task in tasks)
            lines.append((called(name, SUNK), *some))
    return table(("model", *tasks), lines)
