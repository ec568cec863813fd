"""The rows of notebook 16: what benchmarks have stored, what is kept, and times of a part of a pass."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import lib
from lib.model.partial_forward import Replay

from . import stored_runs

BENCHMARKS = Path(__file__).resolve().parents[2] / "tests" / "benchmarks"


LORA = 16  # rank and facts of an expert, LEMoE's settings


def kept(d: int, inner: int, edits: Sequence[int]) -> dict[str, list[float]]:
    """GB beside a model of widths d and inner after so many edits, by method; float32, one layer.

    LEMoE adds an expert for every 16 facts. It is a copy of the MLP, as in notebook 13, or a change
    of rank 16 of the output projection, as its presets for larger models have it. WISE keeps one
    side matrix, and here one more per 10,000 facts, which is an assumption. A fact of retrieval
    takes what it took in notebook 14's stored stream.
    """
    one, both, text = d * inner, d + inner, retrieval_bytes()
    experts = {n: -(-n // LORA) for n in edits}
    sizes = {
        "LEMoE, experts like the MLP": lambda n: 4 * 3 * one * experts[n],
        "LEMoE, experts of rank 16": lambda n: 4 * LORA * both * experts[n],
        "GRACE": lambda n: 4 * both * n,
        "WISE": lambda n: 4 * one * (1 + n // 10_000),
        "MEMIT, keys kept": lambda n: (
            4 * (one + inner**2) if n > inner // 2 else 4 * (both + inner) * n
        ),
        "UltraEdit, published": lambda n: 4 * min(one, both * n) + 16 * both,
        "retrieval": lambda n: text * n,
    }
    return {name: [size(n) / 1e9 for n in edits] for name, size in sizes.items()}


def retrieval_bytes() -> float:
    """Bytes of one fact in the file of retrieval's patch, measured in notebook 14's stream."""
    run = stored_runs.read(stored_runs.DATA / "14_streams.json")
    (size,) = (row["bytes"] for row in run["rows"] if row["line"] == "retrieval" and "bytes" in row)
    return size / run["settings"]["edits"]


def times(
    lm: lib.LM, prompts: Sequence[str], starts: Sequence[int], repeats: int = 5
) -> list[float]:
    """Seconds of one look from each block on, the median; the output head is in all of them.

    Of CPU time where the model is on a CPU: a busy machine then does not count.
    """
    clock = time.process_time if lm.device.type == "cpu" else time.perf_counter
    rows, _ = lm.rows(list(prompts))
    last = torch.tensor([len(row) - 1 for row in rows])
    replays = {start: Replay(lm, rows, start) for start in starts}
    found: dict[int, list[float]] = {start: [] for start in starts}
    for _ in range(repeats):  # in turn: a busy machine is busy for all of them
        for start, replay in replays.items():
            begin = clock()
            with torch.no_grad():
                states = replay.run(replay.hidden)
                with lm.opened(replay.seqs):
                    lm.head(states[torch.arange(len(rows)), last.to(states.device)])
            found[start].append(clock() - begin)
    return [statistics.median(values) for values in found.values()]


def read(name: str) -> dict[str, Any]:
    """A file of tests/benchmarks."""
    return json.loads((BENCHMARKS / f"{name}.json").read_text(encoding="utf-8"))


def speeds() -> list[dict[str, Any]]:
    """CPU seconds per edit of the library's present products, beside the floor."""
    return [
        {
            "editor": name,
            "CPU seconds per edit": row["cpu"],
            "of the floor": f"{row['over_floor']:.2f} ×",
            "edits per hour": f"{3600 / row['cpu']:,.0f}",
        }
        for name, row in read("speed_now").items()
    ]


LINES = {"ultraedit, preset": "preset", "ultraedit, published form": "published"}


def long_stream() -> tuple[dict[str, list[int]], dict[str, list[float]], dict[str, tuple]]:
    """Edits, the share held (%) of the first and last hundred facts, and its interval, by line."""
    x: dict[str, list[int]] = {}
    y: dict[str, list[float]] = {}
    bands: dict[str, tuple[list[float], list[float]]] = {}
    for name, label in LINES.items():
        for group in ("first", "last"):
            line = f"{group} 100, {label}"
            points = [p for p in read("long_stream")[name]["points"] if p["edits"]]
            found = [_score(point[group], "efficacy", "generation") for point in points]
            x[line] = [point["edits"] for point in points]
            y[line] = [100 * score["mean"] for score in found]
            sides = ([100 * score[side] for score in found] for side in ("low", "high"))
            bands[line] = tuple(sides)
    return x, y, bands


def long_table() -> list[dict[str, Any]]:
    """The two long runs at points that both have, with the unedited model; shares in %."""
    table = []
    for name, label in LINES.items():
        for point in read("long_stream")[name]["points"]:
            if point["edits"] not in (0, 1000, 5000, 10_000):
                continue
            row = {"settings": label if point["edits"] else "unedited", "edits": point["edits"]}
            for group in ("first", "last"):
                for event in ("generation", "probability"):
                    score = _score(point[group], "efficacy", event)
                    ends = f"[{100 * score['low']:.0f}, {100 * score['high']:.0f}]"
                    row[f"{group} 100, {event} (%)"] = f"{100 * score['mean']:.0f} {ends}"
            table.append(row | {"perplexity": f"{point['perplexity']:.1f}"})
    return table


def _score(scores: Sequence[Mapping[str, Any]], metric: str, event: str) -> Mapping[str, Any]:
    return next(row for row in scores if (row["metric"], row["event"]) == (metric, event))


def processes() -> list[dict[str, Any]]:
    """What each process does in a turn that one or two of them share."""
    return [
        {
            "processes": row["processes"],
            "CPU seconds of reading, each": _each(row["reading"]),
            "CPU seconds in all, each": _each(row["cpu"]),
            "bits of one process": "yes" if row["same_bits"] else "no",
        }
        for row in read("processes")["rows"]
    ]


def _each(values: Sequence[float]) -> str:
    return " and ".join(f"{value:.1f}" for value in values)


def constant(run: dict[str, Any]) -> list[dict[str, Any]]:
    """What an edit of a long stream of made-up facts costs, and the memory, early and late."""
    return [
        {
            "edits so far": f"{point['edits']:,}",
            "CPU milliseconds per edit": point["cpu_ms"],
            "of the cheapest turn near by": _cheapest(run, point["edits"]),
            "memory of the process, MB": point["anonymous"] / 1e6,
        }
        for point in run["points"]
    ]


def _cheapest(run: dict[str, Any], edits: int) -> float:
    """Milliseconds per edit of the cheapest turn in the part of the stream that holds a point."""
    return next(part["least"] for part in run["calm"] if edits <= part["edits"])


STEPS = ("load", "ask", "ultraedit", "C", "rome", "memit", "export")


def largest() -> dict[str, Any]:
    """The run on the deepest random model of 8B's shape that came to its end."""
    ended = [run for run in read("large_model").values() if STEPS[-1] in run["steps"]]
    return max(ended, key=lambda run: run["layers"])


def memory_of_steps() -> list[dict[str, Any]]:
    """The peak memory of each step of that run, in GB, beside its count."""
    run = largest()
    before = run["before"]["anonymous"]
    return [
        {
            "step": name,
            "memory of the process, GB": (run["steps"][name]["anonymous"] - before) / 1e9,
            "counted, GB": run["counted"][name] / 1e9,
            "files in memory, GB": run["steps"][name]["mapped"] / 1e9,
        }
        for name in STEPS
        if name in run["steps"]
    ]
