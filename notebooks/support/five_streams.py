"""Five more streams for notebooks 14 and 15: other facts, in another order, for some editors.

What happens in a stream happens to all of its facts at once, so a stream is one observation,
however many facts it has. Here at least one editor of each family writes five streams, drawn with
seeds 1 to 5. Each stream begins with the Eiffel Tower, which is left out of all scores, and 23 odd
facts of the classroom follow. The stream of seed 0 is not among them: it was chosen because it has an accident.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lib
from lib.evaluation import intervals

from . import runs_04_rome as runs_04
from . import runs_14_lifelong as runs_14
from . import stored_runs

# The one place for the run's settings: change them, then `--long 14` again.
STREAMS = {
    "data": "classroom()[0], then 23 odd cases drawn with each seed",
    "seeds": [1, 2, 3, 4, 5],
    "edits": runs_14.STREAM["edits"],
    "batch": runs_14.STREAM["batch"],
    "prompts": runs_14.STREAM["prompts"],
    "lines": [
        "retrieval",
        "GRACE",
        "LEMoE",
        "fine-tuning",
        "FT-M",
        "UltraEdit",
        "RLEdit",
        "MEMIT",
    ],
}
NAME = "14_orders"  # the stored file
ASKED: dict[str, Any] = {"metrics": runs_14.TESTS, "text": runs_14.text()}


def cases(seed: int) -> list[lib.Case]:
    """The facts of one stream, each with a few of its test prompts."""
    return runs_14.cases(seed=seed)


def one(
    lm: lib.LM,
    name: str,
    seed: int,
    known: Any = None,
    edits: int = STREAMS["edits"],
) -> dict[str, Any]:
    """Write one stream with one editor: what each turn writes, and at the end everything.

    written  "1" or "0" per fact: whether the model gives its new answer right after its own turn
    cases    {metric: {event: [value of each case]}} at the end
    cpu      CPU seconds of each turn
    """
    whole, editor = cases(seed)[:edits], runs_14.editor(lm, name)
    spent = runs_14.timed(editor)
    patch, written = lib.EMPTY, ""
    for start in range(0, edits, STREAMS["batch"]):
        turn = whole[start : start + STREAMS["batch"]]
        patch = editor.edit([case.fact for case in turn], after=patch)
        written += runs_14.right(lm, turn, patch)
    scores = lib.evaluate(lm, whole, patch, base=known, **ASKED)
    row = {"line": name, "seed": seed, "written": written, "cpu": [round(x, 2) for x in spent]}
    return row | _asked(scores)


def base(known: Any, seed: int) -> dict[str, Any]:
    """The unedited model, asked everything that an editor is asked at the end of a stream."""
    return {"line": "base", "seed": seed} | _asked(known.scores)


def _asked(scores: lib.Scores) -> dict[str, Any]:
    return {"cases": runs_14.by_case(scores), "perplexity": round(float(scores.perplexity), 3)}


def every(lm: lib.LM, folder: Path = stored_runs.DATA) -> list[dict[str, Any]]:
    """All rows, stored after each stream; a run that was stopped goes on with the next one."""
    rows = _stored(folder)
    for seed in STREAMS["seeds"]:
        if not _has(rows, "base", seed):
            rows.append(base(lib.baseline(lm, cases(seed), **ASKED), seed))
            stored_runs.save(NAME, STREAMS, rows, folder=folder)
    known = {}
    for name in STREAMS["lines"]:
        for seed in STREAMS["seeds"]:
            if _has(rows, name, seed):
                continue
            if seed not in known:
                known[seed] = lib.baseline(lm, cases(seed), **ASKED)
            rows.append(one(lm, name, seed, known[seed]))
            stored_runs.save(NAME, STREAMS, rows, folder=folder)
    return rows


def _stored(folder: Path) -> list[dict[str, Any]]:
    """The rows of an unfinished run with the same settings, but for lines that left the list."""
    path = folder / f"{NAME}.json"
    if not path.is_file():
        return []
    run, here = stored_runs.read(path), json.loads(json.dumps(STREAMS))
    there = {**run["settings"], "lines": here["lines"]}
    names = ("base", *here["lines"])
    return [row for row in run["rows"] if row["line"] in names] if there == here else []


def _has(rows: Sequence[Mapping[str, Any]], name: str, seed: int) -> bool:
    return any((row["line"], row["seed"]) == (name, seed) for row in rows)


# ---------------------------------------------------------------- reading the stored rows


def values(row: Mapping[str, Any], column: str, event: str = "generation") -> list[float]:
    """One value per fact of a stream, for a column of `runs_14.COLUMNS`; 1.0 is right.

    The tower, which begins every stream by hand, is left out.
    """
    if column == "written" and "written" in row:
        return [float(bit) for bit in row["written"][1:]]
    metric = {"written": "efficacy", "held": "efficacy"}.get(column, runs_14.COLUMNS[column])
    return [value for value in row["cases"][metric][event][1:] if value is not None]


def by_stream(
    rows: Sequence[Mapping[str, Any]], column: str, event: str = "generation"
) -> dict[str, list[list[float]]]:
    """{editor, the base model first: for each stream, in the order of the seeds, its values}."""
    found: dict[str, list[list[float]]] = {}
    for name in ("base", *runs_14.STREAM["lines"]):
        own = sorted((row for row in rows if row["line"] == name), key=lambda row: row["seed"])
        if len(own) == len(STREAMS["seeds"]):
            found[name] = [values(row, column, event) for row in own]
    return found


def interval(
    streams: Sequence[Sequence[float]], ends: tuple[float, float] = intervals.SHARE
) -> tuple[float, float]:
    """The 95 % interval of a mean over streams, each given by the values of its facts.

    It is the wider of two, at either end. One is Student's interval of the streams' means, which
    sees how much streams differ. The other takes all facts as independent, and has a width also
    where the means of all streams agree.
    """
    means = np.array([np.mean(stream) for stream in streams])
    half = student(len(means)) * means.std(ddof=1) / np.sqrt(len(means))
    pooled = intervals.interval([value for stream in streams for value in stream], ends)
    low, high = min(means.mean() - half, pooled[0]), max(means.mean() + half, pooled[1])
    return max(float(low), ends[0]), min(float(high), ends[1])


def student(n: int) -> float:
    """The 97.5 % point of Student's distribution for a mean of n values, 2.78 for five."""
    return {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}[n]


def difference(
    rows: Sequence[Mapping[str, Any]],
    a: str,
    b: str,
    column: str,
    events: tuple[str, str] = ("generation", "generation"),
) -> tuple[float, float, float]:
    """a − b in points, fact by fact: the mean and its interval over streams."""
    found = gaps(rows, a, b, column, events)
    low, high = interval(found, intervals.DIFFERENCE)
    return 100 * float(np.mean([np.mean(gap) for gap in found])), 100 * low, 100 * high


def gaps(
    rows: Sequence[Mapping[str, Any]], a: str, b: str, column: str, events: tuple[str, str]
) -> list[list[float]]:
    """a − b fact by fact, for each stream; a is asked by the first event, and b by the second."""
    one, other = (by_stream(rows, column, e)[n] for n, e in zip((a, b), events, strict=True))
    return [np.subtract(x, y).tolist() for x, y in zip(one, other, strict=True)]


def points(mean: float, low: float, high: float) -> str:
    """A difference with its interval, in whole points: "+12 [+3, +20]"."""
    return f"{round(mean):+d} [{round(low):+d}, {round(high):+d}]"


def openers(lm: lib.LM, seed: int) -> list[str]:
    """The subjects of a stream that are one token and the first of their prompt."""
    return [str(case.fact.subject) for case in runs_04.openers(lm, cases(seed))]
