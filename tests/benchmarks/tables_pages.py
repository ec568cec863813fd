"""The tables drawn from the stored runs of the notebooks.

A notebook's run names all settings of its editors, and tests/notebooks/test_long_runs.py compares
them with today's presets. What happens in a stream happens to all of its facts, so an interval over
several streams is the wider of two: Student's over their means, and the one over all of their
facts (`runs_14_lifelong.wide`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lib.evaluation.intervals import DIFFERENCE, SHARE
from lib.workbench.forensics.investigation import THRESHOLD
from notebooks.support import long_runs
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support import runs_17_was_it_edited as runs_17
from notebooks.support import runs_18_does_it_last as runs_18

from .tables import Row, made, percent, table

Streams = Sequence[Sequence[float]]  # of each stream, one value per fact


def known(values: Sequence[float | None]) -> list[float]:
    """The values of the facts that were asked."""
    return [value for value in values if value is not None]


def shares(streams: Streams) -> str:
    """ "83 [70, 95]": the mean of the streams in percent, with its interval over streams."""
    mean, low, high = runs_14.wide(streams, SHARE)
    return f"{percent(mean)} [{percent(low)}, {percent(high)}]"


def points(one: Streams, other: Streams) -> str:
    """ "−12 [−21, −4]": how much more one has than the other, fact by fact, in points."""
    gaps = [[a - b for a, b in zip(*pair, strict=True)] for pair in zip(one, other, strict=True)]
    mean, *ends = (round(100 * value) for value in runs_14.wide(gaps, DIFFERENCE))
    shown = [f"{value:+d}".replace("-", "−").replace("+0", "0") for value in (mean, *ends)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def of(name: str, wanted: Callable[[Row], Any]) -> list[Row]:
    """The rows of a stored run that are wanted, one a stream, in their order."""
    return [row for row in long_runs.rows(name) if wanted(row)]


# --- rows of edits

LINES = {  # of page 06, as they are called in a program
    "MEMIT": "`memit`",
    "MEMIT, kept keys": "`memit`, `keep_keys=True`",
    "AlphaEdit, projector only": "`alphaedit`, `keep_keys=False`",
    "AlphaEdit": "`alphaedit`",
}


@made("long-rows", "04_rows", "06_lines", "10_draws")
def long_rows() -> str:
    """What is still said after the last of many edits."""
    rows = [
        ('`rome`, `preset="stream"`', 20, of("04_rows", lambda row: row["edits"] == 20)),
        ("`ultraedit`, in three turns", 60, of("10_draws", lambda row: row["way"] == "ultraedit")),
    ]
    for name, label in LINES.items():
        by_edits: dict[int, list[Row]] = {}
        for row in of("06_lines", lambda row, n=name: row["line"] == n):
            by_edits.setdefault(row["edits"], []).append(row)
        rows += [(label, edits, found) for edits, found in by_edits.items()]
    lines = []
    for label, edits, some in rows:
        held = [known(row["held"]) for row in some]
        each = " to ".join(percent(share) for share in ends([sum(x) / len(x) for x in held]))
        lines.append((label, edits, len(held), len(held[0]), each, shares(held)))
    head = ("editor", "facts written", "streams", "facts asked", "held, stream by stream, %")
    return table((*head, "held, mean, %"), lines)


def ends(values: Sequence[float]) -> tuple[float, float]:
    """The smallest and the largest."""
    return min(values), max(values)


@made("token", "04_rows", "04_rows_plain")
def token() -> str:
    """Twenty edits by ROME in a row, with the token in front of every text and without it."""
    lines = []
    for label, run in (("with the token", "04_rows"), ("without it", "04_rows_plain")):
        before, after = (
            of(run, lambda row, n=n: (row["draw"], row["edits"]) == ("first", n))[0]
            for n in (0, 20)
        )
        held, near = known(after["held"]), [known(row["neighbors"]) for row in (before, after)]
        cells = (sum(values) / len(values) for values in (held, *near))
        text = (f"{row['perplexity']:.1f}" for row in (before, after))
        lines.append((label, len(held), *map(percent, cells), *text))
    head = ("the model reads", "facts", "held, %", "neighbors before, %", "neighbors after, %")
    return table((*head, "perplexity before", "perplexity after"), lines)


# --- what lasts, and what a probe takes to be true


@made("lasts", "18_lives")
def lasts() -> str:
    """What is still said after the model was rounded, trained or edited again."""
    lines = []
    for line in (runs_18.CONTROL, *runs_18.LINES):
        held = {
            life: [row["held"] for row in of("18_lives", in_life(line, life))]
            for life in runs_18.LIVES
        }
        first, *others = held.values()
        name = "unedited model, its old answers" if line == runs_18.CONTROL else f"`{line.lower()}`"
        lines.append((name, shares(first), *(points(other, first) for other in others)))
    return table(("editor", "said, %", *runs_18.LIVES[1:]), lines)


def in_life(line: str, life: str) -> Callable[[Row], bool]:
    """Whether a row is of a line after a life."""
    return lambda row: (row["line"], row["life"]) == (line, life)


@made("believed", "18_lives")
def believed() -> str:
    """What a linear probe takes to be true, before and after ROME, fact by fact."""
    lines = []
    for line, name in ((runs_18.CONTROL, "unedited model"), ("ROME", "`rome`")):
        verdicts = [
            (fact[0] > 0, fact[1] > 0)
            for row in of("18_lives", in_life(line, runs_18.LIVES[0]))
            for fact in row["looks"]
        ]
        counts = (
            sum(new for new, _ in verdicts),
            sum(old for _, old in verdicts),
            sum(new == old for new, old in verdicts),
            sum(new and not old for new, old in verdicts),
        )
        lines.append((name, len(verdicts), *counts))
    head = ("model", "facts", "new answer looks true", "old answer looks true")
    return table((*head, "both get the same verdict", "only the new one looks true"), lines)


# --- was it edited

BACK = ("16 prefixes", "11 components")  # two ways of taking an edit out


@made("suspects", "17_suspects")
def suspects() -> str:
    """Which single edits a filter names, and what happens when they are taken out."""
    lines: list[Sequence[Any]] = []
    for editor in runs_17.EDITORS:
        some = of("17_suspects", lambda row, e=editor: row.get("editor") == e)
        some = [row for row in some if row["draw"] in runs_17.DRAWS]
        seen = [row["up to five"] for row in some]
        named = sum(one["own"] >= max(THRESHOLD, one["other"]["z"]) for one in seen)
        back = [sum(row["out"][way][0] for row in some if "out" in row) for way in BACK]
        z = " to ".join(f"{value:.0f}" for value in ends([one["own"] for one in seen]))
        taken = any("out" in row for row in some)
        cells = (f"{value:.0f}" if taken else "–" for value in back)
        lines.append((f"`{editor.lower()}`", len(some), named, z, *cells))
    plain = of("17_suspects", lambda row: "editor" not in row)
    z = " to ".join(f"{v:.0f}" for v in ends([row["up to five"]["other"]["z"] for row in plain]))
    lines.append(("none: models that were rounded or trained", len(plain), 0, z, "–", "–"))
    head = ("editor", "models", "subject named", "its z, smallest and largest")
    return table((*head, *(f"old answer back: {way}" for way in BACK)), lines)


# --- trained editors

WAYS = ("unedited", "plain step, α = 0.02", "plain step, α = 0.01", "UltraEdit")
TRAINED = {"MEND": "09_mend", "MALMEN": "09_malmen", "RLEdit": "09_rledit"}


@made("trained", *TRAINED.values())
def trained() -> str:
    """One fact, and twenty in one update, by editors that learn to edit and by plain steps."""
    lines = []
    for way in (*WAYS, *TRAINED):
        run, cells = TRAINED.get(way, "09_mend"), []
        for when, columns in (
            ("alone", ("written", "reworded", "neighbors")),
            ("together", ("written", "neighbors")),
        ):
            when = "–" if way == "unedited" else when
            found = of(run, lambda row, w=when, n=way: (row["way"], row["when"]) == (n, w))
            for column in columns:
                streams = [known(row[column]) for row in found]
                cells.append(shares(streams) if streams else "–")
        lines.append((way, *cells))
    one, many = "one fact: ", "twenty at once: "
    head = (f"{one}written", f"{one}reworded", f"{one}neighbors", f"{many}written")
    return table(("editor", *head, f"{many}neighbors"), lines)
