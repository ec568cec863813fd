"""Five more streams for notebooks 14 and 15: other facts, in another order, for some editors.

What happens in a stream happens to all of its facts at once, so a stream is one observation,
however many facts it has. Here at least one editor of each family writes five streams, drawn with
seeds 1 to 5. Each stream begins with the Eiffel Tower, which is left out of all scores, and 23 odd
facts of the classroom follow. The stream of seed 0 is not among them: it was chosen because it has an accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lib
from lib.evaluation import intervals

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
        *"retrieval GRACE LEMoE fine-tuning FT-M UltraEdit RLEdit MEMIT".split(),
        "ROME, published",
    ],
}
MORE = STREAMS | {  # the other editors of page 14's advice, in "14_orders_more"; page 15 has none
    "lines": ["MEMOIR", "WISE", "MALMEN", "MEND"]
}
NAME = "14_orders"  # the stored file of STREAMS
STUDENT = 2.776  # the 97.5 % point of Student's distribution for a mean of five values


def one(lm: lib.LM, name: str, seed: int, known: Any) -> dict[str, Any]:
    """One stream of one editor: `runs_14.stream_row`."""
    editor, whole = runs_14.editor(lm, name), runs_14.cases(seed=seed)
    return runs_14.stream_row(editor, name, seed, whole, known)


def base(known: Any, seed: int) -> dict[str, Any]:
    """The unedited model, asked everything that an editor is asked at the end of a stream."""
    return {"line": "base", "seed": seed} | runs_14.at_the_end(known.scores)


def every(
    lm: lib.LM, stored: str = NAME, settings: Any = STREAMS, folder: Path = stored_runs.DATA
) -> list[dict[str, Any]]:
    """All rows, stored after each stream; a run that was stopped goes on with the next one.

    The base model has its rows in the file of STREAMS alone.
    """
    rows = runs_14.finished(stored, settings, folder)
    done = {(row["line"], row["seed"]) for row in rows}
    known: dict[int, Any] = {}
    for name in ("base", *settings["lines"]) if stored == NAME else settings["lines"]:
        for seed in settings["seeds"]:
            if (name, seed) in done:
                continue
            if seed not in known:
                known[seed] = lib.baseline(lm, runs_14.cases(seed=seed), **runs_14.ASKED)
            more = known[seed]
            rows.append(base(more, seed) if name == "base" else one(lm, name, seed, more))
            stored_runs.save(stored, settings, rows, folder=folder)
    return rows


# ---------------------------------------------------------------- reading the stored rows


def by_stream(
    rows: Sequence[Mapping[str, Any]], column: str, event: str = "generation"
) -> dict[str, list[list[float]]]:
    """{editor, the base model first: for each stream, in the order of the seeds, its values}.

    The tower, which begins every stream by hand, is left out.
    """
    found: dict[str, list[list[float]]] = {}
    for name in ("base", *runs_14.STREAM["lines"]):
        own = sorted((row for row in rows if row["line"] == name), key=lambda row: row["seed"])
        if len(own) == len(STREAMS["seeds"]):
            found[name] = [runs_14.values(row, column, event)[1:] for row in own]
    return found


def interval(
    streams: Sequence[Sequence[float]], ends: tuple[float, float] = intervals.SHARE
) -> tuple[float, float]:
    """The 95 % interval of a mean over five streams, each given by the values of its facts.

    It is the wider of two, at either end. One is Student's interval of the streams' means, which
    sees how much streams differ. The other takes all facts as independent, and has a width also
    where the means of all streams agree.
    """
    means = np.array([np.mean(stream) for stream in streams])
    half = STUDENT * means.std(ddof=1) / np.sqrt(len(means))
    pooled = intervals.interval([value for stream in streams for value in stream], ends)
    low, high = min(means.mean() - half, pooled[0]), max(means.mean() + half, pooled[1])
    return max(float(low), ends[0]), min(float(high), ends[1])
