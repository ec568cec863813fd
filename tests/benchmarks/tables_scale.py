"""The tables about scale: the card, models of 8 billion weights, a million edits, two processes.

What needs a card stands in `gpu.json`, which `python -m tests.benchmarks.gpu` writes where there is
one.
"""

from __future__ import annotations

import json
from typing import Any

from .tables import HERE, Row, made, number, read, table, times

GPU = HERE / "gpu.json"


def card() -> dict[str, Any]:
    """The run on a card; ValueError for one at tiny scale, which is no result."""
    run = json.loads(GPU.read_text(encoding="utf-8"))
    if run["scale"] != "full":
        raise ValueError(f"{GPU.name} was made at tiny scale, which says nothing of a card")
    return run


def rows_of(run: dict[str, Any], *parts: str) -> list[Row]:
    """The rows of some parts, as far as they came, each with the short name of its card."""
    every = [run["parts"][part] for part in parts if part in run["parts"]]
    return [
        {**row, "card": about.get("card", run["device"]["name"]).removeprefix("NVIDIA ").split()[0]}
        for about in every
        for row in about["rows"]
    ]


def gigabytes(size: float | None) -> str:
    """Bytes as a cell."""
    return "–" if size is None else f"{size / 1e9:.2f}"


@made("gpu-parts", "gpu")
def gpu_parts() -> str:
    """How far the run on a card came."""
    run = card()
    device = run["device"]
    said = f"{device['name']}, torch {device['torch']}, {run['date']}.\n\n"
    rows = [
        (
            part["title"],
            part["state"],
            number(part.get("seconds")),
            f"{part['limit']:.0f}",
        )
        for name, part in run["parts"].items()
    ]
    return said + table(("part", "how it ended", "seconds", "limit"), rows, left=2)


@made("gpu-values", "gpu")
def gpu_values() -> str:
    """Patches of the card against those of the CPU."""
    run = card()
    rows = []
    both = ((("a", "values h200"), "random"), (("embedded values",), "the default model's"))
    for parts, weights in both:
        found: dict[str, dict[str, Row]] = {}
        for row in rows_of(run, *parts):
            if "type" in row:
                found.setdefault(row["editor"], {})[row["type"]] = row
        for name, types in found.items():
            values = (_values(types.get(kind)) for kind in ("float32", "bfloat16"))
            rows.append((f"`{name}`", weights, *values))
    return table(("editor", "weights", "float32: ΔW differs by", "bf16: ΔW differs by"), rows)


def _values(row: Row | None) -> str:
    if row is None:
        return "–"
    if "error" in row:
        return row["error"].replace("|", "/")
    return f"{row['difference']:.0e}" + ("" if row["undone"] else ", not undone")


@made("gpu-speed", "gpu")
def gpu_speed() -> str:
    """Seconds, memory and generation of every editor on a model of 8B."""
    run = card()
    rows = []
    for row in rows_of(run, "b", "alphaedit", "speed h200"):
        if "error" in row:
            rows.append((f"`{row['editor']}`, {row['facts']}", row["card"], _values(row), *5 * "–"))
        elif "editor" in row:
            slower = f"{100 * row['slower']:.1f} %" if "slower" in row else "–"
            patched = f"{row['tokens_patched']:.0f}" if "tokens_patched" in row else "–"
            rows.append(
                (
                    f"`{row['editor']}`, {row['facts']}",
                    row["card"],
                    number(row["seconds"], 3),
                    number(row["floor"], 3),
                    times(row["over_floor"], 1),
                    gigabytes(row["peak"]),
                    patched,
                    slower,
                )
            )
    head = (
        "editor, facts in a call",
        "GPU",
        "seconds per edit",
        "floor",
        "of the floor",
        "peak, GB",
        "tokens per second, patched",
        "slower than unedited",
    )
    return table(head, rows, left=2)


@made("gpu-embedded", "gpu")
def gpu_embedded() -> str:
    """The default model's values on a GPU, compared one by one with the CPU's."""
    run = card()
    rows = [
        (row["what"], row["values"], row["differ"]) for row in rows_of(run, "m") if "what" in row
    ]
    return table(("compared between GPU and CPU", "values", "differing"), rows)


@made("gpu-long", "gpu")
def gpu_long() -> str:
    """UltraEdit's long stream, large batches, and the matrices that are made once."""
    run = card()
    rows = [
        (
            f"`ultraedit`, {row['edits']:,} edits in turns of {row['turn']} ({row['card']})",
            number(row["seconds"], 1),
            f"features {row['features']:.1f}, moments {row['moments']:.1f}, solves "
            f"{row['solves']:.1f}; {_hours(row)}",
            gigabytes(row["peak"]),
        )
        for row in rows_of(run, "c", "long h200")
        if "turn" in row
    ]
    rows += [
        (
            f"`ultraedit`, one turn of {row['turn']}, {row['code']} 200f808",
            number(row["seconds"], 1),
            "",
            "–",
        )
        for row in rows_of(run, "pairs")
    ]
    rows += [
        (f"profile of a turn: {row['what']}", number(row["seconds"], 2), "", "–")
        for row in rows_of(run, "profile")
    ]
    rows += [
        (
            f"`{row['editor']}`, {row['facts']} facts",
            number(row["seconds"], 1),
            "",
            gigabytes(row["peak"]),
        )
        for row in rows_of(run, "d")
        if "editor" in row
    ]
    rows += [
        (_cold(row), number(row["seconds"], 1), "", gigabytes(row["peak"]))
        for row in rows_of(run, "e")
        if "what" in row
    ]
    return table(("what", "seconds", "of it", "peak, GB"), rows)


def _hours(row: Row) -> str:
    return f"a million, extrapolated: {row['extrapolated']['1000000'] / 3600:.1f} h"


def _cold(row: Row) -> str:
    count = row.get("layers")
    many = f", {count} layers together" if count else f", layer number {row['number']}"
    return row["what"] + many


@made("large-model", "large_model")
def large_model() -> str:
    """Peak memory of each step on a model of 8B's shape, against the count."""
    parts = []
    for run in read("large_model").values():
        begun = run["before"]["anonymous"]
        rows = [
            (
                name,
                gigabytes(step["anonymous"] - begun),
                gigabytes(run["counted"].get(name)),
                gigabytes(step["mapped"]),
                f"{step['seconds']:.0f}",
            )
            for name, step in run["steps"].items()
        ]
        head = ("step", "own memory, GB", "calculated, GB", "mapped files, GB", "seconds")
        said = (
            f"{run['layers']} layers, {run['weights'] / 1e9:.2f} billion weights, "
            f"{2 * run['weights'] / 1e9:.1f} GB of files{_ended(run)}:\n"
        )
        parts += [said, table(head, rows)]
    return "\n".join(parts)


def _ended(run: Row) -> str:
    """What is said of a run that was not made to its end."""
    return f" ({run['ended']})" if "ended" in run else ""
