"""The tables of notebook 15: notebook 14's stored runs under every event, with intervals.

The file is long because it is a collection: each function makes one table or one number of the
page, and none of them is needed by another page.
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
from lib.evaluation.intervals import DIFFERENCE, interval, wilson

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


def ranks(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, dict[str, int]]:
    """{editor: {event: its rank}}; the best has rank 1, and equal shares have one rank."""
    names, found = by_event(rows, metric)
    return {
        name: {
            event: 1 + sum(other[0] > cells[i][0] + 1e-9 for other in cells[1:])
            for event, cells in found.items()
        }
        for i, name in enumerate(names)
        if name != "base"
    }


def cases_of(
    rows: Sequence[Mapping[str, Any]], metric: str, event: str, leave: Sequence[str] = ()
) -> np.ndarray:
    """The values of all editors but those of `leave`: (editors, facts)."""
    last = {name: row for name, row in ends(rows).items() if name not in ("base", *leave)}
    return np.array([row["cases"][metric][event] for row in last.values()], dtype=float)


def tau(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's τ_b of two lists: 1 if they rank alike, −1 if one is the other turned round."""
    up, over = np.triu_indices(len(a), 1)
    x, y = (np.sign(np.round(v[up] - v[over], 9)) for v in (np.asarray(a), np.asarray(b)))
    return float((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()))


def halves(a: np.ndarray, b: np.ndarray, draws: int = 1000) -> tuple[float, float, float]:
    """τ of the editors' means, a over one random half of the facts and b over the other.

    The median over many random halves, and their middle 95 %.
    """
    draw = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        order = draw.permutation(a.shape[1])
        one, other = np.array_split(order, 2)
        found.append(tau(a[:, one].mean(1), b[:, other].mean(1)))
    low, middle, high = np.percentile(found, (2.5, 50, 97.5))
    return float(middle), float(low), float(high)


BROKEN = ("MEND", "MALMEN", "ROME, published")  # what is left of the model writes no answers


def agreement(rows: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, str]]:
    """How alike two events rank the editors, beside two halves of the facts under one event."""
    table = []
    kinds = list(EVENTS)[:3]
    for i, one in enumerate(kinds):
        for other in kinds[i:]:
            row = {"ranked by": EVENTS[one], "and by": EVENTS[other]}
            for label, leave in (("all editors", ()), ("without the three broken", BROKEN)):
                a, b = (cases_of(rows, metric, event, leave) for event in (one, other))
                row[f"τ, {label}"] = f"{tau(a.mean(1), b.mean(1)):.2f}" if one != other else "1"
                if not leave:
                    said = "{:.2f} [{:.2f}, {:.2f}]".format(*halves(a, b))
                    row["τ, each on half of the facts"] = said
            table.append(row)
    return table


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
        sides = [interval([1.0] * hit + [0.0] * (len(cases) - hit)) for hit in hits]
        said = (
            f"{hit} of {len(cases)} [{100 * low:.0f}, {100 * high:.0f} %]"
            for hit, (low, high) in zip(hits, sides, strict=True)
        )
        table.append({"editor": name} | dict(zip(columns, said, strict=True)))
    return table


def paired(rows: Sequence[Mapping[str, Any]], a: str, b: str, metric: str) -> list[dict[str, Any]]:
    """a minus b under each event, in points, with the interval of the paired difference.

    The last row is how far the difference swings from probability to generation.
    """
    last, gaps = ends(rows), {}
    for event, label in EVENTS.items():
        pairs = zip(*(last[name]["cases"][metric][event] for name in (a, b)), strict=True)
        gaps[label] = [x - y for x, y in pairs]
    swing = zip(gaps["generation"], gaps["probability"], strict=True)
    gaps[SWING] = [x - y for x, y in swing]
    table = []
    for label, values in gaps.items():
        # a difference of differences reaches twice as far
        low, high = interval(values, (-2, 2) if label == SWING else DIFFERENCE)
        said = five_streams.points(100 * mean(values), 100 * low, 100 * high)
        table.append({"event": label, f"{a} − {b}": said})
    return table


SWING = "generation − probability"


def turned_streams(more: Sequence[Mapping[str, Any]], one: str, other: str) -> tuple[int, int]:
    """How many pairs of the five streams' editors turn round between two events, and of how many.

    They are compared by their neighbors, in the mean of all streams.
    """
    names = [name for name in five_streams.by_stream(more, "neighbors") if name != "base"]
    gaps = [
        [
            five_streams.difference(more, a, b, "neighbors", (event, event))[0]
            for event in (one, other)
        ]
        for a, b in combinations(names, 2)
    ]
    return sum(round(x, 9) * round(y, 9) < 0 for x, y in gaps), len(gaps)


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


def coverage(
    spread: float, streams: int = 5, facts: int = 24, draws: int = 2000
) -> dict[str, float]:
    """How often three 95 % intervals hold the true mean of streams, in simulated streams.

    Each stream has its own chance, which varies around 0.7 with this standard deviation; its facts
    are right with that chance.
    """
    draw = np.random.default_rng(0)
    size = max(0.7 * 0.3 / spread**2 - 1, 1e-9) if spread else 0.0  # a + b of a Beta distribution
    hits = dict.fromkeys(("facts alone", "Student over streams", "the wider of both"), 0)
    for _ in range(draws):
        chance = draw.beta(0.7 * size, 0.3 * size, streams) if spread else np.full(streams, 0.7)
        right = draw.binomial(facts, chance)
        means, n = right / facts, streams * facts
        share = right.sum() / n
        half = five_streams.student(streams) * means.std(ddof=1) / np.sqrt(streams)
        low, high = wilson(int(right.sum()), n)  # as good as the resampled one, and fast
        hits["facts alone"] += low <= 0.7 <= high
        hits["Student over streams"] += share - half <= 0.7 <= share + half
        hits["the wider of both"] += min(low, share - half) <= 0.7 <= max(high, share + half)
    return {name: count / draws for name, count in hits.items()}


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
                "kept against the model before the turn, worst (%)": min(steps),
                "the same, mean of all turns (%)": sum(steps) / len(steps),
                "kept against the base model (%)": share(
                    [float(a == b) for a, b in zip(base, own[-1], strict=True)]
                ),
            }
        )
    return table


def _kept(a: Sequence[int], b: Sequence[int]) -> float:
    return 100 * sum(x == y for x, y in zip(a, b, strict=True)) / len(a)


def negatives(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per editor, in %, with intervals: what it says to a negated fact that it holds.

    The third column is how many points more often that is than the unedited model says its own
    answer to the same negated facts, paired fact by fact.
    """
    table, last = [], ends(rows)
    deaf = last["base"]["cases"]["negation_base"]["generation"]
    for name, row in last.items():
        found = row["cases"]
        said = found.get("negation_leak", {}).get("generation", [])
        said = deaf if name == "base" else said
        pairs = [x - y for x, y in zip(said, deaf, strict=bool(said)) if None not in (x, y)]
        line = {"editor": name, "held facts": len(present(said))}
        line["the new answer when negated (%)"] = share(said)
        low, high = interval(pairs, DIFFERENCE)
        more = five_streams.points(100 * mean(pairs), 100 * low, 100 * high) if pairs else "–"
        line["points more than the unedited model"] = "0" if name == "base" else more
        subject = found.get("same_subject", {}).get("generation", [])
        table.append(line | {"same subject as before (%)": share(subject)})
    return table


def share(values: Sequence[float | None]) -> str:
    """A mean with its interval, in %: "78 [44, 98]", or a dash where there is no value."""
    there = present(values)
    if not there:
        return "–"
    low, high = interval(there)
    return f"{100 * mean(there):.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def of_the_tower(
    lm: lib.LM, case: lib.Case, editors: Mapping[str, lib.Editor]
) -> list[dict[str, str]]:
    """The consequences of one fact: what should come, and what is said before and after each edit."""
    prompts = [probe.prompt for probe in case.portability]
    parts = [part for probe in case.portability for part in probe.parts]
    table = [
        {"prompt": prompt, "should be": probe.target, "before": text}
        for prompt, probe, text in zip(
            prompts, case.portability, lm.answer(prompts, 3), strict=True
        )
    ]
    for name, editor in editors.items():
        with lm.patched(editor.edit([case.fact]), only=True):
            for row, text in zip(table, lm.answer(prompts, 3), strict=True):
                row[name] = text
    said = lm.answer([part.prompt for part in parts], 3)
    known = [
        {"prompt": part.prompt, "should be": part.target, "before": text}
        | dict.fromkeys(editors, "")
        for part, text in zip(parts, said, strict=True)
    ]
    return known + table


def consequences(model: str = "SmolLM2-135M-Instruct") -> list[dict[str, Any]]:
    """Stored single edits of the benchmarks: what follows from them, kind by kind, in %.

    The unedited model comes first, asked the same questions of all facts; some editors were run on
    fewer facts than others, always the first ones.
    """
    path = BENCHMARKS / "consequences.json"
    run = json.loads(path.read_text(encoding="utf-8"))[model]
    lines = {"unedited": run["base"], **{e: found["facts"] for e, found in run["editors"].items()}}
    kinds = list(dict.fromkeys(kind for asked in run["questions"].values() for kind, *_ in asked))
    table = []
    for name, rows in lines.items():
        if not rows:
            continue
        row: dict[str, Any] = {"editor": name, "facts": len(rows)}
        row["the fact itself (%)"] = share([float(found["edit"]) for found in rows.values()])
        for kind in kinds:
            means = []
            for case, found in rows.items():
                asked = zip(run["questions"][case], found["follows"], strict=True)
                hits = [float(hit) for (own, *_), hit in asked if own == kind]
                means += [mean(hits)] if hits else []
            row[f"{kind} (%)"] = share(means)
        table.append(row)
    order = ["unedited", *lib.EDITORS]
    return sorted(table, key=lambda row: order.index(row["editor"]))


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
