"""The counts of notebook 16: multiply-adds and bytes of an edit on models of every size.

Timings of a partial forward pass and the rows of the benchmarks are compared with the counts.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import lib
from lib.keys_values import answer_gradients
from lib.model.partial_forward import Replay

from . import stored_runs

BENCHMARKS = Path(__file__).resolve().parents[2] / "tests" / "benchmarks"


@dataclass(frozen=True)
class Shape:
    """Sizes of a llama: layers, width d, inner width, width of keys and values, vocabulary.

    tied  Whether the output head is the table of embeddings, so that both are stored once.
    """

    layers: int
    d: int
    inner: int
    kv: int
    vocabulary: int
    tied: bool = False

    @property
    def block(self) -> int:
        """Multiply-adds of one token through one block, without the attention's own products."""
        return 2 * self.d**2 + 2 * self.d * self.kv + 3 * self.d * self.inner

    @property
    def head(self) -> int:
        """Multiply-adds of one token through the output head."""
        return self.d * self.vocabulary

    @property
    def weights(self) -> int:
        """All matrices, with embeddings and head once or twice; the norms are too few to count."""
        return self.layers * self.block + (1 if self.tied else 2) * self.head

    @property
    def used(self) -> int:
        """Weights that a forward pass reads: of the embeddings it only looks up some rows."""
        return self.layers * self.block + self.head


SHAPES = {
    "135M (SmolLM2)": Shape(30, 576, 1536, 192, 49152, tied=True),
    "1.7B (SmolLM2)": Shape(24, 2048, 8192, 2048, 49152, tied=True),
    "7B (Llama 2)": Shape(32, 4096, 11008, 4096, 32000),
    "8B (Llama 3)": Shape(32, 4096, 14336, 1024, 128256),
    "70B (Llama 3)": Shape(80, 8192, 28672, 1024, 128256),
}


def shape_of(lm: lib.LM) -> Shape:
    """The shape of a loaded llama."""
    config = lm.model.config
    heads = config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    return Shape(
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        heads,
        config.vocab_size,
        tied=bool(config.tie_word_embeddings),
    )


def search(
    shape: Shape,
    layer: int,
    rows: int = 5,
    length: int = 12,
    tail: int = 4,
    looks: int = 20,
    *,
    replay: bool = True,
) -> float:
    """Return multiply-adds of one search for v*: `looks` forwards and one backward less.

    rows     sequences, each with one label
    length   tokens per row
    tail     how many of them are the token that is looked up or come after it
    replay   whether only the blocks above the edited layer are run again
    """
    whole = rows * (length * shape.layers * shape.block + shape.head)
    if not replay:
        return (2 * looks - 1) * whole
    part = rows * (tail * (shape.layers - layer - 1) * shape.block + shape.head)
    return whole + (2 * looks - 1) * part


def reading(shape: Shape, layer: int, looks: int = 20) -> float:
    """Bytes of bf16 weights that the same search reads, once per pass, with replay."""
    above = (shape.layers - layer - 1) * shape.block + shape.head
    return 2 * (shape.used + (2 * looks - 1) * above)


def features(shape: Shape, length: int = 16, labels: int = 2, lowest: int = 12) -> float:
    """Multiply-adds of UltraEdit's features of one fact: a forward, a backward down to `lowest`."""
    forward = length * shape.layers * shape.block + labels * shape.head
    return forward + length * (shape.layers - lowest) * shape.block + labels * shape.head


def reading_features(shape: Shape, lowest: int) -> float:
    """Bytes of bf16 weights that the features read, once forward and once backward."""
    return 2 * (shape.used + (shape.layers - lowest) * shape.block + shape.head)


PEAK, BANDWIDTH = 200e12, 4e12  # the GPU that is assumed: multiply-adds and bytes per second


def counts() -> list[dict[str, Any]]:
    """Per model: its weights, and the multiply-adds of one fact in billions."""
    table = []
    for name, shape in SHAPES.items():
        layer, lowest = shape.layers // 8, 2 * shape.layers // 5
        row = {"model": name, "weights, billions": shape.weights / 1e9}
        row["ROME, whole model"] = search(shape, layer, replay=False) / 1e9
        row["ROME, with replay"] = search(shape, layer) / 1e9
        table.append(row | {"UltraEdit": features(shape, lowest=lowest) / 1e9})
    return table


def loads(shape: Shape) -> dict[str, tuple[float, float]]:
    """{what is done: (multiply-adds, bytes of weights read)}, one fact or many at once."""
    layer, lowest = shape.layers // 8, 2 * shape.layers // 5
    found = {}
    for facts in (1, 32):
        found[_at_once("search", facts)] = facts * search(shape, layer), reading(shape, layer)
    for facts in (1, 10):
        some = facts * features(shape, lowest=lowest)
        found[_at_once("UltraEdit", facts)] = some, reading_features(shape, lowest)
    return found


def _at_once(name: str, facts: int) -> str:
    return f"{name}, {facts} fact" + ("s at once" if facts > 1 else "")


def waits(shape: Shape) -> list[dict[str, Any]]:
    """Per load: what it has to do per byte that it reads, and the milliseconds of both."""
    table = []
    for name, (work, size) in loads(shape).items():
        row = {"in the 8B model": name, "multiply-adds per byte": work / size}
        row["arithmetic, ms"] = 1000 * work / PEAK
        row["reading weights, ms"] = 1000 * size / BANDWIDTH
        row["waits for"] = "memory" if work / size < PEAK / BANDWIDTH else "arithmetic"
        table.append(row)
    return table


LORA = 16  # rank and facts of an expert, LEMoE's settings


def kept(shape: Shape, edits: Sequence[int]) -> dict[str, list[float]]:
    """GB beside the model after so many edits, by method; float32, one edited layer each.

    LEMoE adds an expert for every 16 facts. It is a copy of the MLP, as in notebook 13, or a change
    of rank 16 of the output projection, as its presets for larger models have it. WISE keeps one
    side matrix, and here one more per 10,000 facts, which is an assumption. A fact of retrieval
    takes what it took in notebook 14's stored stream.
    """
    one, both, text = shape.d * shape.inner, shape.d + shape.inner, retrieval_bytes()
    experts = {n: -(-n // LORA) for n in edits}
    sizes = {
        "LEMoE, experts like the MLP": lambda n: 4 * 3 * one * experts[n],
        "LEMoE, experts of rank 16": lambda n: 4 * LORA * both * experts[n],
        "GRACE": lambda n: 4 * both * n,
        "WISE": lambda n: 4 * one * (1 + n // 10_000),
        "MEMIT, keys kept": lambda n: (
            4 * (one + shape.inner**2) if n > shape.inner // 2 else 4 * (both + shape.inner) * n
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


def crossing(shape: Shape, name: str) -> float:
    """Facts after which a method that keeps the same for each has outgrown the model in bf16."""
    edits = 1_000_000
    return 2 * shape.weights / (1e9 * kept(shape, [edits])[name][0] / edits)


def times(
    lm: lib.LM, prompts: Sequence[str], starts: Sequence[int], repeats: int = 5
) -> list[float]:
    """Seconds of one look from each block on, the median; the output head is in all of them.

    Of CPU time where the model is on a CPU: a busy machine then does not count.
    """
    clock = time.process_time if lm.device.type == "cpu" else now
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


def now() -> float:
    """Seconds on a clock, once a GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def read(name: str) -> dict[str, Any]:
    """A file of tests/benchmarks."""
    return json.loads((BENCHMARKS / f"{name}.json").read_text(encoding="utf-8"))


def speeds() -> list[dict[str, Any]]:
    """Measured seconds per edit, beside the floor."""
    table = []
    for n, row in read("rome_speed").items():
        if isinstance(row, dict):
            table.append(_speed(f"ROME, {n} contexts, one fact", row["seconds"], row["over_floor"]))
    for name, row in read("spread_speed").items():
        if isinstance(row, dict) and "over_floor" in row and name != "rome":
            table.append(
                _speed(
                    f"{name}, {row['facts']} facts at once, bare prompt",
                    row["seconds"],
                    row["over_floor"],
                )
            )
    row = read("ultraedit_speed")["edits"]
    return [*table, _speed("ultraedit, published form, 100 facts", row["cpu"], row["over_floor"])]


def _speed(name: str, seconds: float, over: float) -> dict[str, Any]:
    return {
        "editor": name,
        "seconds per edit": seconds,
        "of the floor": f"{over:.2f} ×",
        "edits per hour": f"{3600 / seconds:,.0f}",
    }


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


def profile(
    editor: lib.Editor, facts: Sequence[lib.Fact], after: lib.Patch
) -> list[dict[str, Any]]:
    """Where the seconds of one turn of UltraEdit go: per part the calls, the seconds, the share."""
    parts = {
        "reading keys and gradients": (answer_gradients, "read"),
        "preparing the ridge with kept keys": (editor, "metric"),
        "solving": (editor, "solve"),
        "asking whether all are right": (editor, "gives_answers"),
    }
    calls: dict[str, list[float]] = {name: [] for name in parts}
    with ExitStack() as stack:
        for name, (owner, attribute) in parts.items():
            timed = _timed(getattr(owner, attribute), calls[name])
            stack.enter_context(mock.patch.object(owner, attribute, timed))
        start = now()
        editor.edit(list(facts), after=after)
        whole = now() - start
    rows = [(name, len(spent), sum(spent)) for name, spent in calls.items()]
    rows += [("all else", 1, whole - sum(seconds for *_, seconds in rows)), ("turn", 1, whole)]
    return [
        {"part": name, "calls": count, "seconds": seconds, "share (%)": 100 * seconds / whole}
        for name, count, seconds in rows
    ]


def _timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    def call(*args: Any, **settings: Any) -> Any:
        start = now()
        found = function(*args, **settings)
        spent.append(now() - start)
        return found

    return call


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


def made_up_streams() -> list[dict[str, Any]]:
    """The streams of made-up facts that were run to their end, the longest last."""
    return sorted(read("million").values(), key=lambda run: run["edits"])


def constant() -> list[dict[str, Any]]:
    """What an edit of the longest of these streams costs, and the memory, early and late."""
    run = made_up_streams()[-1]
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


def on_a_card() -> list[dict[str, Any]] | str:
    """The editors on a card against the floor; a sentence where nothing was run on one."""
    if not (BENCHMARKS / "gpu.json").exists() or (run := read("gpu"))["scale"] != "full":
        return "Never run: there is no tests/benchmarks/gpu.json of a graphics card."
    return [
        {
            "editor": row["editor"],
            "facts in a call": row["facts"],
            "seconds per edit": row["seconds"],
            "of the floor": f"{row['over_floor']:.1f} ×",
            "peak, GB": row["peak"] / 1e9,
        }
        for row in run["parts"]["b"]["rows"]
        if "seconds" in row and "editor" in row
    ]
