"""The tables of notebook 15: notebook 14's stored run under every event, with intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import lib
from lib.data.facts import encode_target
from lib.evaluation.intervals import DIFFERENCE, interval

from .runs_14_lifelong import ends

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
# Facts of the classroom whose other direction has one answer: the prompt that asks for the subject.
# Kept are those that the base model answers for the old answer ("The opposite of south is"), and not
# by itself for the new one; both were looked up before any edit.
REVERSE = {
    19: "The most famous book by {} is",
    79: "The most famous book by {} is",
    89: "A {} is the young of a",
    99: "The opposite of {} is",
    121: "{} is the capital of the state of",
    129: "The most famous book by {} is",
    153: "The {} is the SI unit of",
    155: "The {} is the national currency of",
    165: "The most famous book by {} is",
}
BENCHMARKS = Path(__file__).resolve().parents[2] / "tests" / "benchmarks"


def long_facts() -> list[lib.Case]:
    """Facts with long answers, none of them true."""
    return [lib.Case(lib.Fact(*fact), id=i) for i, fact in enumerate(LONG)]


def by_event(
    rows: Sequence[Mapping[str, Any]], metric: str, events: Sequence[str] = tuple(EVENTS)
) -> tuple[list[str], dict[str, list[tuple[float, float, float]]]]:
    """Return the editors, the best by generation first, and {event: (mean, low, high) in %}."""
    found: dict[str, list] = {EVENTS[event]: [] for event in events}
    last = {name: row for name, row in ends(rows).items() if name != "base"}
    score = {name: sum(present(row["cases"][metric]["generation"])) for name, row in last.items()}
    last = {name: last[name] for name in sorted(last, key=lambda name: -score[name])}
    for row in last.values():
        for event in events:
            values = present(row["cases"][metric][event])
            low, high = interval(values)
            found[EVENTS[event]].append((100 * sum(values) / len(values), 100 * low, 100 * high))
    return list(last), found


def ranks(
    rows: Sequence[Mapping[str, Any]], metric: str, most: int = 6
) -> list[dict[str, str | float]]:
    """Return the editors whose rank differs most between events, with rank and share under each.

    The best has rank 1, and equal shares have one rank.
    """
    names, found = by_event(rows, metric)
    table = []
    for i, name in enumerate(names):
        places = {
            event: 1 + sum(other[0] > values[i][0] + 1e-9 for other in values)
            for event, values in found.items()
        }
        line = {event: f"{place}. ({found[event][i][0]:.0f} %)" for event, place in places.items()}
        table.append((max(places.values()) - min(places.values()), {"editor": name} | line))
    table.sort(key=lambda pair: -pair[0])
    return [line for _, line in table[:most]]


def reverse(lm: lib.LM, editors: Mapping[str, lib.Editor]) -> list[dict[str, Any]]:
    """Write each fact of REVERSE alone, and count how many prompts say what was written.

    The prompts are the fact's own, and those that ask for the subject by the new and by the old
    answer. The base model comes first.
    """
    cases = [case for case in lib.classroom() if case.id in REVERSE]
    table = []
    for name, editor in {"base": None, **editors}.items():
        hits = [0, 0, 0]
        for case in cases:
            fact = case.fact
            back = [REVERSE[case.id].format(end) for end in (fact.target_new, fact.target_true)]
            patch = editor.edit([fact]) if editor else lib.EMPTY
            with lm.patched(patch, only=True):
                own, *said = lm.answer([fact.text, *back], 10)
            subject = fact.subject.removeprefix("The ").casefold()
            found = [lib.evaluation.answers.begins(own, fact.target_new)]
            found += [subject in text.casefold() for text in said]
            hits = [hit + bool(one) for hit, one in zip(hits, found, strict=True)]
        columns = "fact written", "its reverse", "the old reverse"
        said = (f"{hit} of {len(cases)}" for hit in hits)
        table.append({"editor": name} | dict(zip(columns, said, strict=True)))
    return table


def present(values: Sequence[float | None]) -> list[float]:
    """Return the values that are there."""
    return [value for value in values if value is not None]


def paired(rows: Sequence[Mapping[str, Any]], a: str, b: str, metric: str) -> list[dict[str, Any]]:
    """a minus b under each event, in points, with the interval of the paired difference.

    The last row is how far the difference swings from probability to generation.
    """
    last, gaps = ends(rows), {}
    for event, label in EVENTS.items():
        pairs = zip(*(last[name]["cases"][metric][event] for name in (a, b)), strict=True)
        gaps[label] = [x - y for x, y in pairs]
    swing = zip(gaps["generation"], gaps["probability"], strict=True)
    gaps["generation − probability"] = [x - y for x, y in swing]
    table = []
    for label, values in gaps.items():
        # a difference of differences reaches twice as far
        low, high = interval(values, (-2, 2) if "−" in label else DIFFERENCE)
        mean = 100 * sum(values) / len(values)
        said = f"{mean:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}]"
        table.append({"event": label, f"{a} − {b}": said, "0 is outside": str(low > 0 or high < 0)})
    return table


def moved(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Unrelated next words kept (%): against the model before each turn, and against the base."""
    base, table = rows[0]["next"]["unrelated"], []
    for name in ends(rows):
        own = [row["next"]["unrelated"] for row in rows if row["line"] == name]
        if name == "base":
            continue
        steps = [_kept(a, b) for a, b in zip([base, *own], own, strict=False)]
        table.append(
            {
                "editor": name,
                "against the model before the turn, worst": min(steps),
                "the same, mean of all turns": sum(steps) / len(steps),
                "against the base model": _kept(base, own[-1]),
            }
        )
    return table


def _kept(a: Sequence[int], b: Sequence[int]) -> float:
    return 100 * sum(x == y for x, y in zip(a, b, strict=True)) / len(a)


def negatives(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per editor, in %: held, the negated fact answered by the new answer, other relations kept."""
    table = []
    for name, row in ends(rows).items():
        found, line = row["cases"], {"editor": name}
        for label, metric in {
            "held": "retention",
            "says it when negated": "negation_leak",
            "same subject, kept": "same_subject",
        }.items():
            values = present(found.get(metric, {}).get("generation", []))
            line[label] = f"{100 * sum(values) / len(values):.0f}" if values else "–"
            if metric == "negation_leak":
                line["of"] = len(values)
        table.append(line)
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


def _argmax(lm: lib.LM, ids: Sequence[int]) -> int:
    with torch.no_grad():
        logits = lm.model(torch.tensor([list(ids)], device=lm.device)).logits
    return logits[0, -1].argmax().item()


def published(names: Sequence[str]) -> list[dict[str, str]]:
    """Larger runs of the benchmarks: held under two events, with intervals, in %."""
    table = []
    runs = json.loads((BENCHMARKS / "memory_stream.json").read_text(encoding="utf-8"))
    for name in names:
        point = next(point for point in runs[name]["points"] if point["edits"] == 100)
        table.append({"ZsRE": f"{name}, 100 facts"} | _held(point["scores"], "efficacy"))
    runs = json.loads((BENCHMARKS / "long_stream.json").read_text(encoding="utf-8"))
    for name, run in runs.items():
        if name.startswith("zsre"):
            what = f"ultraedit, {name.removeprefix('zsre, ')}, {run['edits']} facts"
            table.append({"ZsRE": what} | _held(run["points"][-1]["all"], "efficacy"))
    return table


def _held(scores: Sequence[Mapping[str, Any]], metric: str) -> dict[str, str]:
    row = {}
    for event, label in list(EVENTS.items())[1:]:
        for found in scores:
            if (found["metric"], found["event"]) == (metric, event):
                mean, low, high = (100 * found[key] for key in ("mean", "low", "high"))
                row[label] = f"{mean:.0f} [{low:.0f}, {high:.0f}]"
    return row
