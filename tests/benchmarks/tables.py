"""The tables of RESULTS.md and README.md, each made from the rows that the benchmarks stored.

A function here is one table, or one group of tables of the same form. It reads the JSON files of
this folder (two read the stored stream of notebook 14) and returns Markdown. `results.py` puts it
between the marks that carry its name. It is one long file of short functions, none of which needs
another; newer rooms of tables stand beside it (`judge_tables`, `arena_tables`, `tables_scale`, …).
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lib import EDITORS, Editor
from lib.evaluation.intervals import DIFFERENCE, SHARE, interval

HERE = Path(__file__).parent
STREAM = HERE.parents[1] / "notebooks" / "data" / "14_streams.json"
EVENTS = {
    "probability": "probability",
    "teacher_forced": "teacher-forced",
    "generation": "generation",
    "generation_exact": "generation, exact",
    "kl_nats": "KL, nats",
}
TABLES: dict[str, Callable[[], str]] = {}

Row = dict[str, Any]


def made(name: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Register a function as the table of this name."""

    def register(function: Callable[[], str]) -> Callable[[], str]:
        TABLES[name] = function
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


def hundredth(value: float) -> str:
    """A number with two decimals."""
    return f"{value:.2f}"


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


# --- every editor on one stream (notebook 14)

# display name of the line -> the stored line, in the order of the table of methods
LINES = {
    "base model": "base",
    "rome": "ROME, both keys",
    "rome, published key": "ROME, published",
    "wilke": "WilKE",
    "memit, keep_keys=True": "MEMIT",
    "norm_anchor": "norm anchor",
    "emmet": "EMMET",
    "alphaedit": "AlphaEdit",
    "pmet": "PMET",
    "rect": "RECT",
    "prune": "PRUNE",
    "ultraedit": "UltraEdit",
    "mend": "MEND",
    "malmen": "MALMEN",
    "rledit": "RLEdit",
    "ft": "fine-tuning",
    "ft_l": "FT-L",
    "ft_m": "FT-M",
    "crispedit": "CrispEdit",
    "lora": "LoRA",
    "retrieval": "retrieval",
    "grace": "GRACE",
    "horen": "HoReN",
    "wise": "WISE",
    "lemoe": "LEMoE",
    "memoir": "MEMOIR",
}


def last_rows() -> dict[str, Row]:
    """The row of each line after the last turn."""
    rows = json.loads(STREAM.read_text(encoding="utf-8"))["rows"]
    return {row["line"]: row for row in rows if "cases" in row}


def of_cases(row: Row, metric: str) -> str:
    """A metric by generation with its interval over cases: "75 [64, 85]"."""
    by_event = row["cases"].get(metric) or row["cases"]["efficacy"]  # the base model wrote nothing
    values = [value for value in by_event["generation"] if value is not None]
    low, high = interval(values)
    return f"{percent(sum(values) / len(values))} [{percent(low)}, {percent(high)}]"


@made("every-editor")
def every_editor() -> str:
    """All editors after the last turn of one stream."""
    rows, last = [], last_rows()
    metrics = ("retention", "generalization", "specificity", "locality")
    for name, line in LINES.items():
        row = last[line]
        perplexity = row["scores"]["perplexity"]
        shown = f"{perplexity:.1f}" if perplexity < 1e4 else f"{perplexity:.0e}"
        rows.append((name, *(of_cases(row, metric) for metric in metrics), shown))
    head = ("editor", "held", "reworded", "neighbors", "unrelated", "perplexity")
    return table(head, rows)


# Editor -> what it does, its stored line of that stream (None: not run yet), its notebook.
METHODS: dict[str, tuple[str, str | None, str]] = {
    "rome": (
        "one fact, a rank-one change of one layer; `keys=` chooses published ROME, R-ROME or both",
        "ROME, both keys",
        "04_rome",
    ),
    "wilke": ("ROME in the layer that fits each fact best", "WilKE", "08_wilke"),
    "memit": (
        "many facts in one least-squares update of several layers; `keep_keys` holds earlier ones",
        "MEMIT",
        "05_memit",
    ),
    "norm_anchor": (
        "MEMIT whose values keep the norm they have on the unedited model",
        "norm anchor",
        "14_lifelong",
    ),
    "emmet": ("the same with equality; with one fact it is ROME", "EMMET", "05_memit"),
    "alphaedit": (
        "the same inside the null space of general text, next to all earlier keys",
        "AlphaEdit",
        "06_null_space",
    ),
    "pmet": ("MEMIT without the attention's share of the change", "PMET", "14_lifelong"),
    "rect": (
        "around another editor: the relatively largest entries stay",
        "RECT",
        "06_null_space",
    ),
    "prune": ("around another editor: singular values are bounded", "PRUNE", "14_lifelong"),
    "ultraedit": (
        "standardized gradients, one ridge regression per turn: no training, no subject, no store",
        "UltraEdit",
        "10_ultraedit",
    ),
    "mend": (
        "a trained network turns one gradient into an edit",
        "MEND",
        "09_learning_to_edit",
    ),
    "malmen": ("… and a regression adds up many of them", "MALMEN", "09_learning_to_edit"),
    "rledit": ("… trained on whole streams", "RLEdit", "09_learning_to_edit"),
    "ft": (
        "fine-tuning done right: shuffled epochs over all facts, one late layer",
        "fine-tuning",
        "14_lifelong",
    ),
    "ft_l": ("fine-tuning as published in comparisons: in an L∞ box", "FT-L", "14_lifelong"),
    "ft_m": ("… and teacher-forced on the answer's tokens", "FT-M", "14_lifelong"),
    "crispedit": (
        "fine-tuning along the directions in which general text is flat",
        None,
        "06_null_space",
    ),
    "lora": ("low-rank adapters trained on the facts, in PEFT's form", "LoRA", "14_lifelong"),
    "retrieval": (
        "no weight changes: the nearest stored fact is put before the prompt",
        "retrieval",
        "14_lifelong",
    ),
    "grace": (
        "a codebook beside one layer: keys with a radius, a value per fact",
        "GRACE",
        "11_grace",
    ),
    "horen": (
        "a codebook read by the angle of an averaged query; values are added",
        None,
        "11_grace",
    ),
    "wise": (
        "a side memory written in random shards, and a router that decides at the prompt",
        "WISE",
        "12_wise",
    ),
    "lemoe": (
        "a new expert per batch, old ones frozen, anchors that choose, fitted anew to all stored "
        "prompts (ours: without it 15 % of 40 facts are held); parts switched off: MEMoE",
        "LEMoE",
        "13_lemoe",
    ),
    "steer": (
        "no editor of facts: one direction is added to every prompt, for the contrast",
        None,
        "14_lifelong",
    ),
    "memoir": (
        "a sparse side matrix; a prompt's fingerprint says which columns are its own",
        "MEMOIR",
        "14_lifelong",
    ),
}


@made("methods")
def methods() -> str:
    """README's table: every editor with its paper, file, notebook and a few numbers."""
    from . import arena_tables, judge_tables  # they are made of the cells above

    last, long = last_rows(), arena_tables.hundred()
    base = of_cases(last["base"], "generalization"), judge_tables.one_hop("base")
    rows = [
        (
            "–",
            "*unedited model*",
            "",
            "",
            "",
            "",
            *base,
            *(cells["base"] for cells in long.values()),
        )
    ]
    for name, (does, line, notebook) in METHODS.items():
        authors, year = cited(EDITORS[name].paper)
        file = file_of(EDITORS[name])
        rows.append(
            (
                f"`{name}`",
                does,
                authors,
                year,
                f"[{file.removeprefix('lib/editors/')}]({file})",
                f"[{notebook[:2]}](notebooks/{notebook}.ipynb)",
                of_cases(last[line], "generalization") if line else "–",
                judge_tables.one_hop(name),
                *(cells.get(name, "–") for cells in long.values()),
            )
        )
    head = ("editor", "what it does", "paper", "year", "where", "notebook", "reworded, %")
    return table((*head, "one step on, %", *long), rows, left=6)


def cited(paper: str) -> tuple[str, str]:
    """Who wrote the paper, as a link where its number is known, and its year.

    "Hu et al., WilKE, 2024 (arXiv:2402.10987)" -> ("[Hu et al.](https://arxiv.org/…)", "2024")
    """
    found = re.fullmatch(r"(.*)\b(\d{4})(?: \(arXiv:([\d.]+)\))?", paper)
    if found is None:
        raise ValueError(f"a paper should end with its year, not '{paper}'")
    authors, year = found[1].split(",")[0], found[2]
    return (f"[{authors}](https://arxiv.org/abs/{found[3]})" if found[3] else authors), year


def file_of(editor: type[Editor]) -> str:
    """Where a method stands: its file, or its folder where it has one of its own."""
    path = Path(str(inspect.getsourcefile(editor))).relative_to(HERE.parents[1])
    own_folder = path.parent.name == path.stem
    return f"{path.parent.as_posix()}/" if own_folder else path.as_posix()


# --- single edits


def compared(columns: dict[str, str], rows: Sequence[tuple[str, str, str]]) -> str:
    """Runs of `quality` side by side: one row per metric and event.

    columns: head -> name of the stored run; rows: words of the metric, metric, event
    """
    runs = {head: read("quality")[name]["summary"] for head, name in columns.items()}
    lines = []
    for words, metric, event in rows:
        cells = [share(pick(summary, metric, event)) for summary in runs.values()]
        lines.append((words, EVENTS[event], *cells))
    return table(("metric", "event", *columns), lines, left=2)


SHARES = ("probability", "teacher_forced", "generation")
LEAK = ("negation leak (lower is better)", "negation_leak", "generation")
SAME_SUBJECT = ("same subject, another relation", "same_subject", "generation")


def by_event(*metrics: str) -> list[tuple[str, str, str]]:
    """Rows of `compared`: each metric by three events."""
    return [(metric, metric, event) for metric in metrics for event in SHARES]


GENERATED = [
    ("the edit itself (efficacy)", "efficacy", "generation"),
    ("rewordings (generalization)", "generalization", "generation"),
    ("neighbors keep their answer (specificity)", "specificity", "generation"),
    ("unrelated text goes on as before (locality)", "locality", "generation"),
    ("same subject, another relation, as before", *SAME_SUBJECT[1:]),
    LEAK,
]


@made("classroom")
def classroom() -> str:
    """Single edits on the classroom."""
    columns = {
        "base model": "classroom base",
        "`rome`": "classroom rome",
        "`ft_m`": "classroom ft_m",
        "`retrieval`": "classroom retrieval",
    }
    rows = by_event("efficacy", "generalization", "specificity")
    rows += [("locality", "locality", event) for event in ("generation", "kl_nats")]
    return compared(columns, [*rows, SAME_SUBJECT, LEAK])


@made("classroom-generation")
def classroom_generation() -> str:
    """The rows of `classroom` that README shows: by generation only."""
    columns = {
        "unedited model": "classroom base",
        "`rome`": "classroom rome",
        "`ft_m`": "classroom ft_m",
        "`retrieval`": "classroom retrieval",
    }
    return compared(columns, GENERATED)


@made("classroom-newer")
def classroom_newer() -> str:
    """Single edits of the newer editors on the first odd cases, by generation."""
    columns = {
        "unedited model": "classroom base, 20 cases",
        "`crispedit`": "classroom crispedit, 20 cases",
        "`horen`": "classroom horen, 20 cases",
    }
    return compared(columns, GENERATED)


@made("counterfact")
def counterfact() -> str:
    """Single edits on CounterFact."""
    columns = {"base model": "counterfact base", "`rome`": "counterfact rome"}
    rows = by_event("efficacy", "generalization", "specificity")
    return compared(columns, [*rows, SAME_SUBJECT, LEAK])


def with_perplexity(columns: dict[str, str], rows: Sequence[tuple[str, str, str]]) -> str:
    """`compared`, and perplexity on held-out text below."""
    values = [f"{read('quality')[name]['perplexity']:.1f}" for name in columns.values()]
    last = " | ".join(("perplexity", "held text", *values))
    return f"{compared(columns, rows)}| {last} |\n"


@made("many-40")
def many_40() -> str:
    """Forty CounterFact rows, as the authors' own code was run."""
    columns = {
        "base model": "counterfact 40 by 40 base",
        "`memit`, one batch": "counterfact 40 by 40 memit",
        "`alphaedit`, five of 8": "counterfact 40 by 8 alphaedit",
    }
    rows = by_event("retention", "generalization", "specificity")
    return with_perplexity(columns, [*rows, LEAK])


@made("many-100")
def many_100() -> str:
    """A hundred CounterFact rows in one batch and in ten."""
    columns = {
        "base model": "counterfact 100 by 100 base",
        "`memit` 1 × 100": "counterfact 100 by 100 memit",
        "`memit` 10 × 10": "counterfact 100 by 10 memit",
        "`alphaedit` 1 × 100": "counterfact 100 by 100 alphaedit",
        "`alphaedit` 10 × 10": "counterfact 100 by 10 alphaedit",
    }
    rows = by_event("retention", "generalization", "specificity")
    return with_perplexity(columns, [("efficacy", "efficacy", "generation"), *rows])


@made("quality-in-full")
def quality() -> str:
    """Every run of `quality` with all that it measured."""
    parts = []
    for run in read("quality").values():
        events = [e for e in EVENTS if any(r["event"] == e for r in run["summary"])]
        metrics = list(dict.fromkeys(r["metric"] for r in run["summary"] if r["event"]))
        rows = [
            (m.replace("_", " "), *(share(pick(run["summary"], m, e)) for e in events))
            for m in metrics
        ]
        seconds = run["seconds_median"]
        took = "" if seconds is None else f" ({seconds:.2g} s per edit, median)"
        names = [EVENTS[e] for e in events]
        parts.append(f"### {run['title']}{took}\n\n{table(('metric', *names), rows)}")
    return "\n".join(parts)


# --- parts taken away


@made("rome-keys")
def rome_keys() -> str:
    """What each of ROME's keys does, with a one-token subject at position 0 and otherwise."""
    runs = read("rome_keys")
    rows = [
        (f"`{key}`", group, *(f"{v:.4f}" if m == "kl_nats" else percent(v) for m, v in r.items()))
        for group, keys in runs.items()
        for key, r in keys.items()
    ]
    measured = next(iter(next(iter(runs.values())).values()))
    names = (m.replace("kl_nats", "KL, nats") for m in measured)
    return table(("`keys=`", "cases", *names), rows, left=2)


@made("lemoe-parts")
def lemoe_parts() -> str:
    """LEMoE without each of its parts, with the paired difference to the whole."""
    run = read("lemoe_ablation")
    words = {
        "lemoe": "`lemoe`",
        "lemoe - insertion": "without insertion (four experts, trained in turn)",
        "lemoe - anchors": "without anchors (router on hidden states)",
        "lemoe - order": "without order planning",
        "memoe": "none of the three: MEMoE",
    }
    rows = []
    for name, shown in words.items():
        found, cells = run["variants"][name], []
        for metric in ("retention", "generalization", "locality"):
            gap = pick(run["minus_lemoe"].get(name, ()), metric, "teacher_forced")
            cells.append(percent(found[metric]["teacher_forced"]) + (signed(gap) if gap else ""))
        rows.append((shown, *cells, number(found["cpu_seconds_per_edit"])))
    head = ("variant", "retention", "generalization", "locality", "CPU s per edit")
    return table(head, rows)


def signed(gap: Row) -> str:
    """A paired difference in points: " (−21 [−28, −15])"."""
    low, high = (f"{100 * gap[key]:+.0f}" for key in ("low", "high"))
    return f" ({100 * gap['difference']:+.0f} [{low}, {high}])".replace("-", "−")


# --- long streams


def kept(point: Row | None) -> str:
    """The share of abilities that are left at a point of a stream, over all items."""
    bits = "".join(point["right"].values()) if point else ""
    return percents([float(mark) for mark in bits])


def able(run: str, edits: int) -> Row | None:
    """What was stored of a stream's abilities at one of its points."""
    return read("stream_abilities").get(run, {"points": {}})["points"].get(str(edits))


@made("zsre-stream")
def zsre_stream() -> str:
    """500 ZsRE facts: the published form and our preset."""
    runs = read("long_stream")
    columns = {
        "base model": runs["zsre, preset"]["points"][0],
        "published form, the authors' settings": runs["zsre, released"]["points"][-1],
        "our preset": runs["zsre, preset"]["points"][-1],
    }
    rows = []
    for words, metric in (
        ("retention of the edits", "efficacy"),
        ("generalization", "generalization"),
        ("specificity", "specificity"),
    ):
        for event in ("teacher_forced", "generation"):
            cells = [share(pick(point["all"], metric, event)) for point in columns.values()]
            rows.append((words, EVENTS[event], *cells))
    rows.append(("perplexity", "", *(f"{p['perplexity']:.1f}" for p in columns.values())))
    return table(("metric", "event", *columns), rows, left=2)


@made("counterfact-stream")
def counterfact_stream() -> str:
    """10,000 CounterFact facts, the first and the last thousand asked at the end."""
    runs = read("long_stream")
    columns = {
        "base model": runs["ultraedit, preset"]["points"][0],
        "published form, step .2": runs["ultraedit, published form"]["points"][-1],
        "StableEdit, step .2": runs["stableedit"]["points"][-1],
        "our preset": runs["ultraedit, preset"]["points"][-1],
    }
    rows = []
    for group in ("first thousand", "last thousand"):
        for words, metric in (
            ("retention", "efficacy"),
            ("generalization", "generalization"),
            ("specificity", "specificity"),
        ):
            for event in SHARES:
                cells = [share(pick(point[group], metric, event)) for point in columns.values()]
                rows.append((f"{words}, {group}", EVENTS[event], *cells))
    points = columns.values()
    rows.append(("perplexity", "", *(f"{p['perplexity']:.1f}" for p in points)))
    rows.append(("‖ΔW‖/‖W‖", "", *(f"{p['update']:.2f}" if p["edits"] else "0" for p in points)))
    for edits in (1000, 5000, 10_000):
        some = ("ultraedit, published form", "stableedit", "ultraedit, preset")
        left = [kept(able(name, edits)) for name in some]
        rows.append((f"abilities after {edits:,} edits", "", "100", *left))
    rows.append(("CPU seconds per edit", "", *(number(p["cpu_per_edit"], 3) for p in points)))
    return table(("metric", "event", *columns), rows, left=2)


@made("long-streams")
def long_streams() -> str:
    """Every point of every run of `long_stream`."""
    parts = []
    head = (
        "edits, asked",
        "held, teacher-forced",
        "held, generation",
        "reworded, teacher-forced",
        "reworded, generation",
        "neighbors, probability",
        "abilities",
        "perplexity",
        "‖ΔW‖/‖W‖",
        "CPU s per edit",
    )
    groups = ("all", "first thousand", "first", "last thousand", "last")
    for name, run in read("long_stream").items():
        rows = []
        for point in run["points"]:
            for group in (group for group in groups if group in point):
                scores = point[group]
                cells = [
                    share(pick(scores, metric, event))
                    for metric in ("efficacy", "generalization")
                    for event in ("teacher_forced", "generation")
                ]
                rows.append(
                    (
                        f"{point['edits']:,}, {group}",
                        *cells,
                        share(pick(scores, "specificity", "probability")),
                        kept(able(name, point["edits"])) if point["edits"] else "100",
                        number(point["perplexity"], 1),
                        f"{point['update']:.2f}",
                        number(point["cpu_per_edit"], 3),
                    )
                )
        title = f"{name}: {run['edits']:,} edits in turns of {run['batch']}"
        parts.append(f"### {title}\n\n{table(head, rows)}")
    return "\n".join(parts)


# --- beside the weights

BESIDE = ("grace", "wise", "lemoe", "memoir")


def held(scores: Sequence[Row]) -> str:
    """The metric that says what is held: a single edit has no retention apart from its efficacy."""
    return "retention" if pick(scores, "retention", "teacher_forced") else "efficacy"


@made("beside-100")
def beside_100() -> str:
    """A hundred ZsRE facts: the editors that leave the weights alone."""
    runs = read("memory_stream")
    points = {name: next(p for p in runs[name]["points"] if p["edits"] == 100) for name in BESIDE}
    scores = {
        "base model": runs["wise"]["base"],
        **{f"`{name}`": p["scores"] for name, p in points.items()},
    }
    rows = []
    for metric in ("retention", "generalization", "locality"):
        for event in ("teacher_forced", "generation"):
            cells = [
                share(pick(found, held(found) if metric == "retention" else metric, event))
                for found in scores.values()
            ]
            rows.append((metric, EVENTS[event], *cells))
    seconds = [number(p["cpu_per_edit"]) for p in points.values()]
    rows.append(("CPU seconds per edit", "", "–", *seconds))
    return table(("T = 100", "event", *scores), rows, left=2)


@made("beside-lengths")
def beside_lengths() -> str:
    """The same editors over the length of the stream."""
    runs, rows = read("memory_stream"), []
    for length in (1, 10, 50, 500):
        cells = []
        for name in BESIDE:
            found = [p["scores"] for p in runs[name]["points"] if p["edits"] == length]
            if length == 1:
                found = [runs[name]["singly"]["scores"]]
            cells.append(three(found[0]) if found else "–")
        rows.append((f"T = {length}" + " (20 facts singly)" * (length == 1), *cells))
    head = ("teacher-forced: retention · generalization · locality", *(f"`{n}`" for n in BESIDE))
    return table(head, rows)


def three(scores: Sequence[Row]) -> str:
    """Held, reworded and unrelated, teacher-forced: "100 · 38 · 100"."""
    metrics = (held(scores), "generalization", "locality")
    found = [pick(scores, metric, "teacher_forced") for metric in metrics]
    return " · ".join(percent(row["mean"]) for row in found if row)


@made("memory-streams")
def memory_streams() -> str:
    """Every point of every run of `memory_stream`."""
    parts = []
    head = (
        "edits",
        "held, teacher-forced",
        "held, generation",
        "reworded, teacher-forced",
        "reworded, generation",
        "unrelated, teacher-forced",
    )
    for name, run in read("memory_stream").items():
        rows = [("0 (base model)", *beside(run["base"]))]
        rows += [(point["edits"], *beside(point["scores"])) for point in run["points"]]
        title = f"{name}: {run['data']}, turns of {run['batch']}"
        parts.append(f"### {title}\n\n{table(head, rows)}")
    return "\n".join(parts)


def beside(scores: Sequence[Row]) -> list[str]:
    """The cells of one point."""
    cells = [
        share(pick(scores, metric, event))
        for metric in (held(scores), "generalization")
        for event in ("teacher_forced", "generation")
    ]
    return [*cells, share(pick(scores, "locality", "teacher_forced"))]


# --- presets on several draws of rows

TRAVELED = (
    ("held, teacher-forced", "efficacy teacher_forced"),
    ("held, generation", "efficacy generation"),
    ("reworded, teacher-forced", "generalization teacher_forced"),
    ("reworded, generation", "generalization generation"),
    ("unrelated, teacher-forced", "locality teacher_forced"),
    ("unrelated, generation", "locality generation"),
)


def mean_of(values: Sequence[float] | None, ends: tuple[float, float] = SHARE) -> str:
    """The mean of one value per case with its interval, "80 [78, 82]"; a dash without values."""
    if not values:
        return "–"
    low, high = interval(values, ends)
    plus = "+" if ends != SHARE and sum(values) > 0 else ""
    mean = f"{plus}{percent(sum(values) / len(values))}"
    return f"{mean} [{percent(low)}, {percent(high)}]".replace("-", "−")


def draws() -> Iterable[tuple[str, str, Row]]:
    """The stored runs of `travel`: the editor or "base", "preset" or what it was, and the run.

    The draws that a setting was chosen on, a few facts each, come together as one.
    """
    together: dict[tuple[str, ...], Row] = {}
    for name, run in read("travel").items():
        first, *kind = name.split(", ")[:-1]
        key = (first, kind[0] if kind else "", run["data"])
        if not run["chosen"]:
            yield *key[:2], run
        elif key not in together:
            together[key] = {**run, "values": {k: [*v] for k, v in run["values"].items()}}
        else:
            together[key]["rows"] += f", {run['rows']}"
            for column, found in run["values"].items():
                together[key]["values"][column] += found
    for key, run in together.items():
        yield *key[:2], run


@made("travel")
def travel() -> str:
    """Each editor's preset on every draw that no setting was chosen on, the base model first."""
    rows = []
    for name, kind, run in sorted(draws(), key=lambda draw: draw[0] != "base"):
        if kind not in ("", "preset") or run["chosen"]:
            continue
        where = f"{run['data'].split('-')[0]} {run['rows']}"
        cells = [mean_of(run["values"].get(key)) for _, key in TRAVELED]
        label = "base model" if name == "base" else f"`{name}`"
        rows.append((label, where, *cells, number(run.get("cpu_per_edit"))))
    head = ("editor", "rows", *(words for words, _ in TRAVELED), "CPU s per edit")
    return table(head, rows, left=2)


@made("travel-before")
def travel_before() -> str:
    """A preset against the one before it, on the same cases, for each draw that has both."""
    rows = []
    for name, kind, run in draws():
        new = at_preset(name, run)
        if kind == "before" and new is not None:
            where = f"`{name}`, {run['data'].split('-')[0]} {run['rows']}"
            rows += [(where, *cells) for cells in paired(run, new)]
    return table(("editor, rows", "", "before", "now", "difference"), rows, left=2)


@made("travel-tried")
def travel_tried() -> str:
    """One setting in place of the preset's, on the same cases, for each draw that has both."""
    rows = []
    for name, kind, run in draws():
        preset = at_preset(name, run)
        if kind not in ("", "preset", "before") and preset is not None:
            where = f"`{name}`, {kind}, {run['data'].split('-')[0]} {run['rows']}"
            where += " (chosen on them)" * run["chosen"]
            facts = len(next(iter(run["values"].values())))
            rows += [(where, *cells, facts) for cells in paired(preset, run)]
    head = ("editor, setting, rows", "", "preset", "with it", "difference", "facts")
    return table(head, rows, left=2)


def at_preset(name: str, run: Row) -> Row | None:
    """The stored run of an editor's preset on the rows of another run."""
    same = ("data", "rows")
    return next(
        (
            other
            for editor, kind, other in draws()
            if (editor, kind) == (name, "preset") and all(other[key] == run[key] for key in same)
        ),
        None,
    )


def paired(first: Row, second: Row) -> Iterable[tuple[str, ...]]:
    """What two runs on the same cases say and their difference, for each metric of a draw."""
    for words, key in TRAVELED:
        a, b = first["values"].get(key), second["values"].get(key)
        if a and b:
            gap = [y - x for x, y in zip(a, b, strict=True)]
            yield words, mean_of(a), mean_of(b), mean_of(gap, DIFFERENCE)


# --- trained editors

FILE = "counterfact-flat-10000.json"
# Stored run -> its words in the short table, and the rows that are shown there
CHOSEN = {
    f"mend, {FILE} 200-259, batches of 1": (
        "`mend`, 60 single edits (rows 200–259)",
        "efficacy tf, generalization tf, specificity p, locality kl",
    ),
    f"malmen, {FILE} 0-199, batches of 1": (
        "`malmen`, 200 single edits (rows 0–199)",
        "efficacy tf, generalization p, generalization tf, specificity p, specificity tf, "
        "locality kl",
    ),
    f"malmen, {FILE} 0-199, batches of 10": (
        "`malmen`, the same 200 in batches of ten",
        "efficacy g, generalization p, generalization g, specificity p, specificity tf, "
        "locality kl",
    ),
    f"rledit, {FILE} 0-199, batches of 1": (
        "`rledit`, the same 200 single edits",
        "efficacy tf, generalization p, generalization tf, specificity p, specificity tf, "
        "locality kl",
    ),
    f"rledit, {FILE} 0-199, batches of 10": (
        "`rledit`, the same batches of ten",
        "efficacy g, generalization p, generalization tf, generalization g, specificity p, "
        "specificity tf, locality kl",
    ),
    f"rledit, {FILE} 0-99, turns of 10": (
        "`rledit`, a stream: rows 0–99 in turns of ten",
        "efficacy g, generalization p, generalization tf, specificity p, locality kl",
    ),
    f"rledit, {FILE} 100-199, batches of 100": (
        "`rledit`, 100 facts in one batch (rows 100–199)",
        "efficacy tf, generalization p, generalization tf, specificity p, locality kl",
    ),
    f"malmen, {FILE} 100-199, batches of 100": (
        "`malmen`, the same batch",
        "efficacy tf, generalization p, generalization tf, specificity p, locality kl",
    ),
}
SHORT = {"p": "probability", "tf": "teacher_forced", "g": "generation", "kl": "kl_nats"}


@made("trained")
def trained_in_short() -> str:
    """Trained editors against fine-tuning: the rows that tell them apart."""
    runs, rows = read("trained"), []
    for run, (words, chosen) in CHOSEN.items():
        name, other = run.split(",")[0], runs[run]["against"]
        for pair in chosen.split(", "):
            metric, event = pair.split()
            row = pick(runs[run]["rows"], metric, SHORT[event])
            assert row is not None, (run, pair)
            write = hundredth if event == "kl" else percent
            values = [write(row[key]) for key in ("base", other, name)]
            gap = [write(row[key]) for key in ("difference", "low", "high")]
            plus = "" if gap[0].startswith("-") else "+"
            gap = f"{plus}{gap[0]} [{gap[1]}, {gap[2]}]".replace("-", "−")
            # bold: better than fine-tuning, and the interval leaves no doubt
            better = row["high"] < 0 if event == "kl" else row["low"] > 0
            gap = f"**{gap}**" if better else gap
            rows.append((words, metric, EVENTS[SHORT[event]], *values, gap))
            words = ""
    head = ("", "metric", "event", "base", "`ft`", "trained", "difference")
    return table(head, rows, left=3)


@made("trained-in-full")
def trained() -> str:
    """Trained editors against fine-tuning on rows never trained on."""
    parts = []
    for title, run in read("trained").items():
        name, other, rows = title.split(",")[0], run["against"], []
        for row in run["rows"]:
            write = hundredth if row["event"] == "kl_nats" else percent
            values = [write(row[key]) for key in ("base", other, name)]
            gap = f"{write(row['difference'])} [{write(row['low'])}, {write(row['high'])}]"
            rows.append((f"{row['metric']}, {EVENTS[row['event']]}", *values, gap))
        head = ("metric", "base model", other, name, "difference")
        parts.append(f"### {title}\n\n{table(head, rows)}")
    return "\n".join(parts)


# --- speed


@made("speed")
def speed() -> str:
    """Seconds per edit against floors."""
    rome, spread, ultra = read("rome_speed"), read("spread_speed"), read("ultraedit_speed")
    rows = [
        (
            f"`rome`, {n} contexts",
            number(r["seconds"]),
            times(r["over_floor"]),
            times(r["whole_plain_over_replay"], 1),
            times(r["whole_over_replay"], 1),
            times(r["authors_over_ours_per_rate"], 1),
        )
        for n, r in rome.items()
        if isinstance(r, dict)
    ]
    for name, r in spread.items():
        if isinstance(r, dict) and "over_floor" in r:
            rows.append(
                (
                    f"`{name}`, {r['facts']} facts, bare prompt",
                    number(r["seconds"]),
                    times(r["over_floor"]),
                    "–",
                    "–",
                    times(r.get("authors_over_ours_per_rate"), 1),
                )
            )
    edits = ultra["edits"]
    rows.append(
        (
            f"`ultraedit`, {edits['facts']} facts in a turn (CPU)",
            number(edits["cpu"], 3),
            times(edits["over_floor"]),
            "–",
            "–",
            times(edits["authors_over_ours_per_rate"], 1),
        )
    )
    head = (
        "editor",
        "seconds per edit",
        "against the floor",
        "whole model, plain products / replay",
        "whole model, packed products / replay",
        "authors' code / ours",
    )
    return table(head, rows)


@made("speed-together")
def speed_together() -> str:
    """Values of many facts searched at once."""
    rows = []
    for name, words in (("batched_1", "bare prompt"), ("batched_5", "five contexts")):
        r = read("spread_speed")[name]
        rows.append((words, times(r["speedup"]), f"{r['largest_relative_gap']:.0e}"))
    head = ("32 values searched at once", "faster than one by one", "largest relative gap")
    return table(head, rows)


@made("ultraedit-speed")
def ultraedit_speed() -> str:
    """UltraEdit against its floor and the released code."""
    found = read("ultraedit_speed")
    edits, asked, wide = found["edits"], found["evaluation"], found["wide"]
    rows = (
        (
            "CPU seconds per edit, published form",
            f"{edits['cpu']:.3f}",
            f"floor {edits['floor']:.3f}",
            times(edits["over_floor"]),
        ),
        (
            "the same, done as the released code does it",
            f"{edits['cpu']:.3f}",
            f"{edits['as_released']:.3f}",
            f"{edits['as_released_over_ours']:.1f} × more",
        ),
        (
            "the authors' own figure, per matrix rate",
            "",
            "",
            f"{edits['authors_over_ours_per_rate']:.1f} × more",
        ),
        (
            "CPU seconds per evaluated prompt, same scores",
            f"{asked['cpu']:.3f}",
            f"{asked['as_released']:.3f}",
            f"{asked['as_released_over_ours']:.1f} × more",
        ),
        (
            "regression of one 7B-shaped matrix (14336 to 4096, 400 columns)",
            f"{wide['cpu']:.1f} s",
            f"{wide['primal']:.0f} s",
            f"{wide['primal_over_ours']:.0f} × more",
        ),
    )
    return table(("what", "ours", "the other side", "ratio"), rows)


@made("evaluation-speed")
def evaluation_speed() -> str:
    """CPU time of an evaluated case, before and now."""
    rows = [
        (
            f"{r['data']}, {r['unit']}, {r['who']}",
            title,
            r["cases"],
            f"{r['before']:.3f}",
            f"{r['now']:.3f}",
            times(r["ratio"]),
            f"{r['differ']} of {r['rows']}",
        )
        for title, found in read("evaluation_speed").items()
        for r in found["units"]
    ]
    head = (
        "what is evaluated", "machine", "cases", "CPU s per case before", "now", "before / now",
        "scores that differ",
    )  # fmt: skip
    return table(head, rows)


@made("onednn-speed")
def onednn_speed() -> str:
    """Products by oneDNN, a pair of columns for each processor."""
    found = read("onednn_speed")
    ways = ("forward", "backward")
    head = [f"{machine}, {way}" for machine in found for way in ways]
    names = [name for name, row in next(iter(found.values())).items() if isinstance(row, dict)]
    rows = [(n, *(times(one[n][way]) for one in found.values() for way in ways)) for n in names]
    return table(("plain / oneDNN", *head), rows)


@made("transfers")
def transfers() -> str:
    """Waits for a card and copies to it, counted on a simulated one."""
    found = read("transfers")
    keys = ("waits", "up", "numbers")
    head = ("unit", "waits before", "after", "copies up before", "after", "numbers before", "after")
    rows = [
        (unit, *(f"{found[when][unit][key]:,.10g}" for key in keys for when in ("before", "after")))
        for unit in found["after"]
    ]
    return table(head, rows)


@made("memory-speed")
def memory_speed() -> str:
    """Cost of an edit beside the weights."""
    ratios = "over_floor", "authors_over_ours_per_rate"
    rows = [
        (name, number(r["cpu"], 3), *(times(r.get(k)) for k in ratios))
        for name, r in read("memory_speed").items()
        if isinstance(r, dict) and "cpu" in r
    ]
    return table(("editor", "CPU s per edit", "against the floor", "authors' code / ours"), rows)


@made("routed-generation")
def routed_generation() -> str:
    """How much slower generation gets under a routed patch."""
    rows = [
        (name.split(",")[0], *(f"{100 * r[k]:.1f} %" for k in ("outside", "inside")))
        for name, r in read("memory_speed").items()
        if isinstance(r, dict) and "inside" in r
    ]
    return table(("generation is slower by", "outside its scope", "inside"), rows)
