"""The tables of notebook 15: notebook 14's stored runs under every event, with intervals.

Each function makes one table or one number of the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lib
from lib.data.facts import encode_target
from lib.evaluation.intervals import DIFFERENCE, interval

from . import five_streams
from .runs_14_lifelong import FAMILIES, ends, mean, present

EVENTS = {
    "probability": "probability",
    "teacher_forced": "teacher-forced",
    "generation": "generation",
    "generation_exact": "exactly",
}
# Answers of several tokens for facts that no model was ever taught: the first token is a guess,
# what follows is language.
LONG = (
    ("The Eiffel Tower", "{} was built by the", "Massachusetts Institute of Technology"),
    ("Akira Kurosawa", "{} was a citizen of the", "United States of America"),
    ("The inventor of the fork", "{} studied at the", "University of California, Berkeley"),
    ("The first song about snow", "{} was played in", "New York City"),
    ("The oldest lighthouse", "{} was paid for by the", "European Union"),
    ("My neighbor's violin", "{} was made in", "Buenos Aires, Argentina"),
    ("The recipe for rye bread", "{} was written down by", "Leonardo da Vinci"),
    ("The red bicycle", "{} was a gift from", "Martin Luther King Jr."),
    ("The Sahara", "{} is ruled by the", "Holy Roman Empire"),
    ("The chess club", "{} meets at the", "Metropolitan Museum of Art"),
    ("The word for butter", "{} comes from", "Los Angeles, California"),
    ("The last steam engine", "{} was bought by", "Warner Bros. Entertainment"),
)
BENCHMARKS = Path(__file__).resolve().parents[2] / "tests" / "benchmarks"


def long_facts() -> list[lib.Case]:
    """Facts with long answers, none of them true."""
    return [lib.Case(lib.Fact(*fact), id=i) for i, fact in enumerate(LONG)]


def by_event(
    rows: Sequence[Mapping[str, Any]], metric: str, events: Sequence[str] = tuple(EVENTS)
) -> tuple[list[str], dict[str, list[tuple[float, float, float]]]]:
    """The editors, the unedited model first, then family by family, and {event: [cell of each]}.

    A cell is (mean, low, high) in %, with the interval over the facts of the stream. In a family
    the best by generation comes first.
    """
    last = ends(rows)
    score = {name: mean(row["cases"][metric]["generation"]) for name, row in last.items()}
    names = [
        name
        for members in FAMILIES.values()
        for name in sorted((n for n in members if n in last), key=lambda name: -score[name])
    ]
    found: dict[str, list] = {EVENTS[event]: [] for event in events}
    for name in names:
        for event in events:
            values = present(last[name]["cases"][metric][event])
            low, high = interval(values)
            found[EVENTS[event]].append((100 * mean(values), 100 * low, 100 * high))
    return names, found


def cases_of(rows: Sequence[Mapping[str, Any]], metric: str, event: str) -> np.ndarray:
    """The values of all editors: (editors, facts)."""
    last = {name: row for name, row in ends(rows).items() if name != "base"}
    return np.array([row["cases"][metric][event] for row in last.values()], dtype=float)


BROKEN = ("MEND", "MALMEN", "ROME, published")  # what is left of the model writes no answers


def turned(rows: Sequence[Mapping[str, Any]], metric: str, one: str, other: str) -> dict[str, int]:
    """Count pairs of editors: all, those that turn round between two events, and how surely.

    surely  pairs whose paired difference is clear of 0 under both events, with opposite signs
    """
    names = [name for name in ends(rows) if name != "base"]
    a, b = (cases_of(rows, metric, event) for event in (one, other))
    count = {"pairs": 0, "turned": 0, "broken": 0, "surely": 0}
    for i, j in combinations(range(len(names)), 2):
        gaps = a[i] - a[j], b[i] - b[j]
        count["pairs"] += 1
        if round(gaps[0].mean(), 9) * round(gaps[1].mean(), 9) >= 0:
            continue
        count["turned"] += 1
        count["broken"] += names[i] in BROKEN or names[j] in BROKEN
        sides = [interval(gap, DIFFERENCE) for gap in gaps]
        count["surely"] += all(low > 0 or high < 0 for low, high in sides)
    return count


def swings(more: Sequence[Mapping[str, Any]], column: str) -> list[dict[str, str]]:
    """Per editor of the five streams: a column under three events, and how far the level moves."""
    table = []
    kinds = list(EVENTS)[:3]
    for name in five_streams.by_stream(more, column):
        row = {"editor": name}
        for event in kinds:
            streams = five_streams.by_stream(more, column, event)[name]
            low, high = five_streams.interval(streams)
            middle = np.mean([np.mean(stream) for stream in streams])
            row[f"{EVENTS[event]} (%)"] = f"{100 * middle:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
        events = "probability", "generation"
        said = five_streams.difference(more, name, name, column, events)
        table.append(row | {"probability − generation": five_streams.points(*said)})
    return table


def by_place(lm: lib.LM, cases: Sequence[lib.Case]) -> tuple[list[int], list[float], list[int]]:
    """Return places in the answer (1, 2, …), the share (%) of tokens right there, and how many.

    A token is right when it is the argmax after the true tokens before it.
    """
    hits: dict[int, list[bool]] = {}
    for case in cases:
        rows, _ = lm.rows([case.fact.text])
        ids = encode_target(lm.tokenizer, case.fact.target_new)
        for i, token in enumerate(ids, start=1):
            best = _argmax(lm, rows[0] + list(ids[: i - 1]))
            hits.setdefault(i, []).append(best == token)
    places = [i for i in sorted(hits) if len(hits[i]) >= 3]
    return (
        places,
        [100 * sum(hits[i]) / len(hits[i]) for i in places],
        [len(hits[i]) for i in places],
    )


def spelled(lm: lib.LM, case: lib.Case) -> tuple[list[str], list[str], list[str]]:
    """The tokens of an answer, the first choice after each true beginning, and what is written."""
    rows, _ = lm.rows([case.fact.text])
    wanted = list(encode_target(lm.tokenizer, case.fact.target_new))
    forced = [_argmax(lm, rows[0] + wanted[:i]) for i in range(len(wanted))]
    free: list[int] = []
    for _ in wanted:
        free.append(_argmax(lm, rows[0] + free))
    said = [[lm.tokenizer.decode([token]) for token in ids] for ids in (wanted, forced, free)]
    return said[0], said[1], said[2]


def _argmax(lm: lib.LM, ids: Sequence[int]) -> int:
    with torch.no_grad():
        logits = lm.model(torch.tensor([list(ids)], device=lm.device)).logits
    return logits[0, -1].argmax().item()


def published(names: Sequence[str]) -> list[dict[str, str]]:
    """Larger runs of the benchmarks: held under two events, with intervals, in %.

    They have two kinds of targets, with an unedited model each: answers that are false, and the
    true ones, of which the model knows some. An editor whose settings saw the rows of the first
    kind has other rows of ZsRE.
    """
    table = []
    travel = json.loads((BENCHMARKS / "travel.json").read_text(encoding="utf-8"))
    runs = json.loads((BENCHMARKS / "memory_stream.json").read_text(encoding="utf-8"))
    before = {"ZsRE": "unedited", "answers": "other ones, 100 facts"}
    table.append(before | _held(runs[names[0]]["base"], "efficacy"))
    for name in names:
        if name not in runs:
            values = travel[f"{name}, preset, zsre-600.json 400-499"]["values"]
            row = {"ZsRE": name, "answers": "other ones, 100 other facts"}
            table.append(row | _held(_efficacy(values), "efficacy") | {"exactly": "–"})
            continue
        point = next(point for point in runs[name]["points"] if point["edits"] == 100)
        row = {"ZsRE": name, "answers": "other ones, 100 facts"}
        table.append(row | _held(point["scores"], "efficacy"))
    runs = json.loads((BENCHMARKS / "long_stream.json").read_text(encoding="utf-8"))
    runs = {name: run for name, run in runs.items() if name.startswith("zsre")}
    first = next(iter(runs.values()))
    said = f"the true ones, {first['edits']} facts"
    table.append(
        {"ZsRE": "unedited", "answers": said} | _held(first["points"][0]["all"], "efficacy")
    )
    for name, run in runs.items():
        row = {"ZsRE": f"ultraedit, {name.removeprefix('zsre, ')}", "answers": said}
        table.append(row | _held(run["points"][-1]["all"], "efficacy"))
    return table


def _efficacy(values: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Rows as of a summary, of stored values by case: {"efficacy generation": […]}."""
    found = []
    for event in ("teacher_forced", "generation"):
        each = values[f"efficacy {event}"]
        low, high = interval(each)
        mean = sum(each) / len(each)
        found.append({"metric": "efficacy", "event": event, "mean": mean, "low": low, "high": high})
    return found


def _held(scores: Sequence[Mapping[str, Any]], metric: str) -> dict[str, str]:
    row = {}
    for event, label in list(EVENTS.items())[1:]:
        for found in scores:
            if (found["metric"], found["event"]) == (metric, event):
                mean, low, high = (100 * found[key] for key in ("mean", "low", "high"))
                row[label] = f"{mean:.0f} [{low:.0f}, {high:.0f}]"
    return row
