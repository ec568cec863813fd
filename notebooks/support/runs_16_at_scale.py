"""The counts of notebook 16: multiply-adds and bytes of an edit on models of every size.

Timings of a partial forward pass and the rows of the benchmarks are compared with the counts.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import lib
from lib.model.partial_forward import Replay

BENCHMARKS = Path(__file__).resolve().parents[2] / "tests" / "benchmarks"


@dataclass(frozen=True)
class Shape:
    """Sizes of a llama: layers, width d, inner width, width of keys and values, vocabulary."""

    layers: int
    d: int
    inner: int
    kv: int
    vocabulary: int

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
        """All of them, the table of embeddings once."""
        return self.layers * self.block + self.head


SHAPES = {
    "135M (SmolLM2)": Shape(30, 576, 1536, 192, 49152),
    "1.7B (SmolLM2)": Shape(24, 2048, 8192, 2048, 49152),
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
    return 2 * (shape.weights + (2 * looks - 1) * above)


def features(shape: Shape, length: int = 16, labels: int = 2, lowest: int = 12) -> float:
    """Multiply-adds of UltraEdit's features of one fact: a forward, a backward down to `lowest`."""
    forward = length * shape.layers * shape.block + labels * shape.head
    return forward + length * (shape.layers - lowest) * shape.block + labels * shape.head


def kept(shape: Shape, edits: Sequence[int]) -> dict[str, list[float]]:
    """GB beside the model after so many edits, by method; float32, one edited layer each.

    LEMoE: an expert of rank 16 on the three matrices of an MLP per 100 facts. WISE: one side
    matrix and one more per 10,000 facts.
    """
    one, both = shape.d * shape.inner, shape.d + shape.inner
    sizes = {
        "retrieval": lambda n: 100 * n,
        "GRACE": lambda n: 4 * both * n,
        "LEMoE": lambda n: 4 * 3 * 16 * both * -(-n // 100),
        "WISE": lambda n: 4 * one * (1 + n // 10_000),
        "MEMIT, keys kept": lambda n: (
            4 * (one + shape.inner**2) if n > shape.inner // 2 else 4 * (both + shape.inner) * n
        ),
        "UltraEdit, published": lambda n: 4 * min(one, both * n) + 16 * both,
    }
    return {name: [size(n) / 1e9 for n in edits] for name, size in sizes.items()}


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


def long_stream() -> tuple[dict[str, list[int]], dict[str, list[float]]]:
    """Return edits, and the share held (%) of the first and of the last hundred facts, by line."""
    x: dict[str, list[int]] = {}
    y: dict[str, list[float]] = {}
    for name, label in {
        "ultraedit, preset": "preset",
        "ultraedit, published form": "published",
    }.items():
        for group in ("first", "last"):
            line = f"{group} 100, {label}"
            points = [p for p in read("long_stream")[name]["points"] if p["edits"]]
            x[line] = [point["edits"] for point in points]
            y[line] = [100 * _mean(point[group], "efficacy", "generation") for point in points]
    return x, y


def _mean(scores: Sequence[Mapping[str, Any]], metric: str, event: str) -> float:
    return next(r["mean"] for r in scores if (r["metric"], r["event"]) == (metric, event))
