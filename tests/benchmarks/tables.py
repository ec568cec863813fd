"""The tables of RESULTS.md and results/, each made from the rows that the benchmarks stored.

A function here is one table, or one group of tables of the same form. It reads the JSON files of
this folder (one reads the stored streams of notebook 14) and returns Markdown. `results.py` puts it
between the marks that carry its name. It is one long file of short functions, none of which needs
another; newer rooms of tables stand beside it (`judge_tables`, `arena_tables`, `tables_scale`, …).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import mean
from typing import Any

from lib.evaluation.intervals import DIFFERENCE, interval, wilson
from lib.lifelong.sample import GROUPS
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support import which_editor
from notebooks.support.stored_runs import OURS

from . import measured
from .measured import HERE, WORDS, Source

SUNK = "SmolLM2-135M-Instruct-behind"  # the embedded model, as `lib.load` gives it
ARENA = f"arena/{SUNK}"
SHOWN = ("retrieval", "GRACE", "fine-tuning", "UltraEdit", "MEMIT", "AlphaEdit", "ROME", "WilKE")
EVENTS = {
    "probability": "probability",
    "teacher_forced": "teacher-forced",
    "generation": "generation",
    "generation_exact": "generation, exact",
    "kl_nats": "KL, nats",
}
TABLES: dict[str, Callable[[], str]] = {}
SOURCES: dict[str, tuple[Source, ...]] = {}  # of each table: the figures whose rows it shows

Row = dict[str, Any]
Draw = Callable[[], str]


def made(name: str, *sources: Source) -> Callable[[Draw], Draw]:
    """Register a function as the table of this name, which shows rows of these figures."""

    def register(function: Draw) -> Draw:
        SOURCES[name] = sources
        TABLES[name] = lambda: measured.caption(sources) + function()
        return function

    return register


# --- how a cell is written


def read(name: str) -> dict[str, Any]:
    """One of the JSON files."""
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> str:
    """A Markdown table: the first columns left, the others right."""
    lines = [[str(cell) for cell in row] for row in rows]
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines)) + "\n"


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.0f}"


def share(row: Row | None) -> str:
    """ "80 [78, 82]", or a dash where nothing was measured."""
    if row is None or row.get("mean") is None:
        return "–"
    if row["event"] == "kl_nats":
        return f"{row['mean']:.3f}"
    low, high = row.get("low"), row.get("high")
    between = "" if low is None or high is None else f" [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{100 * row['mean']:.0f}{between}"


def pick(rows: Iterable[Row], metric: str, event: str) -> Row | None:
    """The row of a metric and event."""
    return next((r for r in rows if (r["metric"], r["event"]) == (metric, event)), None)


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash."""
    return "–" if value is None else f"{value:,.{digits}f}"


def times(value: float | None, digits: int = 2) -> str:
    """A ratio, or a dash."""
    return "–" if value is None else f"{value:.{digits}f} ×"


FORMATS = {"number": number, "times": times}


def percents(values: Sequence[float], ends: tuple[float, float] = (0.0, 1.0)) -> str:
    """The mean of values with its interval, in %: "80 [78, 82]"; a dash without a value."""
    if not values:
        return "–"
    low, high = interval(values, ends)
    mean = sum(values) / len(values)
    shown = [f"{100 * value:.0f}" for value in (mean, low, high)]
    if ends == DIFFERENCE:
        shown = [f"{100 * value:+.0f}".replace("-", "−") for value in (mean, low, high)]
        shown = [text.replace("+0", "0").replace("−0", "0") for text in shown]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def called(editor: str) -> str:
    """How a row of an editor is named, with what its preset changes in the method."""
    note = note_of(editor)
    return f"`{editor}` ({note})" if note else f"`{editor}`"


def note_of(editor: str) -> str:
    """What an editor's preset for the embedded model changes in the method (tables.toml)."""
    return WORDS["notes"].get(editor, "")


# --- every editor

ARENA = "arena/SmolLM2-135M-Instruct-behind"


@made("which-editor", "14_five")
def which() -> str:
    """Which editor should I use: the rows of README and of page 14."""
    rows = which_editor.lines(runs_14.stored())
    return table([*rows[0]], ([*row.values()] for row in rows), left=2)


LONG = {  # columns of the hundreds
    "held": "retention",
    "reworded": "generalization",
    "others as before": "same_relation",
}
MANY = "retrieval", "GRACE", "HoReN", "WISE", "fine-tuning"


@made("hundreds", (ARENA, [f"*-100-{runs_14.LINES[name][0]}.json" for name in MANY]))
def hundreds() -> str:
    """A hundred facts of each of two public sets, written one by one: what is held, and left."""
    found = {column: which_editor.hundred(metric) for column, metric in LONG.items()}
    cells = [
        [percent(found[column][name][i]) for i in range(2) for column in LONG] for name in MANY
    ]
    head = (f"{data}: {column}" for data in which_editor.SETS.values() for column in LONG)
    names = map(which_editor.code, MANY)
    return table(("editor", *head), ((name, *row) for name, row in zip(names, cells, strict=True)))


@made("five-streams", "14_five")
def five() -> str:
    """What every editor holds and leaves after a stream (notebook 14)."""
    rows = runs_14.stored()
    found = {column: runs_14.streams(rows, column) for column in runs_14.COLUMNS}
    text: dict[str, list[float]] = {}
    for row in rows:
        text.setdefault(row["line"], []).append(row["perplexity"])
    seconds = {"base": None} | {name: mean(each) for name, each in runs_14.seconds(rows).items()}
    return table(
        ("editor", *(f"{column}, %" for column in found), "perplexity", "CPU s per edit"),
        (
            (
                _line(name),
                *(_of_streams(of[name]) for of in found.values()),
                _perplexity(mean(text[name])),
                number(seconds[name], 1),
            )
            for name in ("base", *runs_14.LINES)
        ),
    )


def _line(name: str) -> str:
    """A line of page 14 as its editor and the settings that differ from the preset."""
    if name == "base":
        return "unedited model"
    editor, settings = runs_14.LINES[name]
    if settings == OURS:
        return which_editor.code(name)
    return ", ".join([f"`{editor}`", *(f"`{key}={value}`" for key, value in settings.items())])


def _perplexity(value: float) -> str:
    """ "17.1", or a power of ten where the model is broken."""
    return f"{value:.1f}" if value < 1000 else f"10^{len(f'{value:.0f}') - 1}"


def _of_streams(streams: Sequence[Sequence[float]]) -> str:
    """ "83 [70, 95]": the mean of the streams' means, with its interval over streams."""
    middle, low, high = runs_14.wide(streams)
    return f"{percent(middle)} [{percent(low)}, {percent(high)}]"


@made("hundred-edits", "14_five")
def hundred_edits() -> str:
    """How long an edit takes in a stream, and a hundred, of editors that people ask for."""
    seconds, lines = runs_14.seconds(runs_14.stored()), []
    for name in sorted(SHOWN, key=lambda name: mean(seconds[name])):
        each = mean(seconds[name])
        lines.append((_line(name), f"{each:.1f}", f"{100 * each / 60:.1f}"))
    return table(("editor", "CPU s per edit", "a hundred edits, CPU minutes"), lines)


# --- single edits

SINGLE = {  # column: metric, by what the model says
    "written": "efficacy",
    "reworded": "generalization",
    "neighbors": "specificity",
    "same subject": "same_subject",
    "negated": "negation_leak",
}
ALONE = ("rome", "memit", "alphaedit", "ultraedit", "ft_m", "grace", "wise", "retrieval")


SECOND = "gemma-3-270m"
THERE = ("rome", "memit", "ultraedit", "ft_m", "grace", "retrieval")


def _alone(names: Sequence[str], model: str = "") -> str:
    """Well-known facts, each written alone: what follows, and what should not."""
    stored, lines = read("quality"), []
    for name in ("base", *names):
        rows = stored[f"classroom {name}{model}"]["summary"]
        # of the unedited model: how often a negated prompt gets its own answer, as without "not"
        asked = SINGLE | ({"negated": "negation_base"} if name == "base" else {})
        found = [pick(rows, metric, "generation") for metric in asked.values()]
        shares = [share(row if row and row["cases"] > 1 else None) for row in found]
        lines.append(("unedited model" if name == "base" else f"`{name}`", *shares))
    return table(("editor", *SINGLE), lines)


made("single-edits", ("quality", [f"classroom {name}" for name in ("base", *ALONE)]))(
    partial(_alone, ALONE)
)
made("gemma-edits", ("quality", [f"classroom {name}, {SECOND}" for name in ("base", *THERE)]))(
    partial(_alone, THERE, f", {SECOND}")
)


@made("thousand", "thousand")
def thousand() -> str:
    """A thousand facts, one batch of a hundred after another: what is held at the end."""
    found: dict[str, list[Row]] = {}
    for row in read("thousand").values():
        found.setdefault(row["editor"], []).append(row)
    lines = []
    for name, streams in found.items():
        held = [[row["efficacy"][part] for row in streams] for part in GROUPS]
        rest = [
            [[x for part in row[metric].values() for x in part] for row in streams]
            for metric in ("generalization", "same_relation")
        ]
        cells = map(_of_streams, (*held, *rest))
        each = mean(row["seconds"] for row in streams)
        lines.append((f"`{name}`", len(streams), *cells, f"{each:.1f}"))
    head = ("first 250 held", "between", "last 100 held", "reworded", "others as before")
    return table(("editor", "streams", *head, "s per edit"), lines)


@made("sentences", "sentences")
def sentences() -> str:
    """How often the subject of a public row is found: shares with Wilson's intervals."""
    found: dict[str, tuple[int, ...]] = {
        name: (one["right"], len(one["refused"]), len(one["wrong"]))
        for name, one in read("sentences").items()
    }
    found["both"] = tuple(map(sum, zip(*found.values(), strict=True)))
    lines = []
    for name, counts in found.items():
        n, cells = sum(counts), []
        for hits in counts:
            low, high = wilson(hits, n)
            cells.append(f"{100 * hits / n:.1f} ({100 * low:.1f} to {100 * high:.1f})")
        lines.append([name, n, *cells])
    return table(["rows", "n", "right, %", "refused, %", "wrong, %"], lines)


# --- rows and columns of tables.toml

SHARES = ("probability", "teacher_forced", "generation")


def compared(columns: Sequence[Sequence[str]], rows: Sequence) -> str:
    """Runs of `quality` side by side: one row per metric and event.

    columns: head and name of the stored run; rows: "metric event", or words and that
    """
    runs = [read("quality")[name] for _, name in columns]
    lines = []
    for row in rows:
        words, pair = row if isinstance(row, list) else (row.split()[0], row)
        metric, event = pair.split()
        for one in SHARES if event == "*" else (event,):
            cells = [share(pick(run["summary"], metric, one)) for run in runs]
            lines.append((words, EVENTS[one], *cells))
    return table(("metric", "event", *(head for head, _ in columns)), lines, left=2)


def stored_rows(file: str, columns: Sequence[Sequence[str]], having: str) -> str:
    """The rows of a file that have a key.

    columns: head, key or template, and how a number is written
    """
    lines = []
    for name, entry in read(file).items():
        if isinstance(entry, dict) and having in entry:
            editor, _, form = name.partition(", ")
            if note := note_of(editor):
                editor = f"{editor} ({note})"
            known = {**entry, "plain": name, "editor": editor, "form": form or "filled"}
            lines.append([_written(known, *how) for _, *how in columns])
    return table([head for head, *_ in columns], lines)


def _written(row: Row, key: str, how: str = "") -> str:
    if not how:
        return key.format_map(row)
    kind, digits = how.split()
    return FORMATS[kind](row.get(key), int(digits))


for _name, _spec in WORDS["compared"].items():
    _runs = [run for _, run in _spec["columns"]]
    made(_name, ("quality", _runs))(partial(compared, **_spec))
for _name, _spec in WORDS["rows"].items():
    made(_name, _spec["file"])(partial(stored_rows, **_spec))
