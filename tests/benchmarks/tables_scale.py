"""The tables about scale: the card, models of 8 billion weights, a million edits, two processes.

What needs a card stands in `gpu.json`, which `python -m tests.benchmarks.gpu` writes where there is
one. Where that file is missing the tables say so in a sentence: nothing of it was ever run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .tables import HERE, Row, made, number, read, table, times

GPU = HERE / "gpu.json"
NEVER = (
    "**Never run.** No graphics card was there. `python -m tests.benchmarks.gpu "
    "tests/benchmarks/gpu.json` measures it in at most nine minutes on one card.\n"
)
AS_ABOVE = "**Never run.**\n"


def card() -> dict[str, Any] | None:
    """The run on a card, None where there was none; a run at tiny scale does not count."""
    if not GPU.exists():
        return None
    found = json.loads(GPU.read_text(encoding="utf-8"))
    return found if found["scale"] == "full" else None


def rows_of(run: dict[str, Any], part: str) -> list[Row]:
    """The rows of a part, as far as it came."""
    return run["parts"].get(part, {"rows": []})["rows"]


def gigabytes(size: float | None) -> str:
    """Bytes as a cell."""
    return "–" if size is None else f"{size / 1e9:.2f}"


@made("gpu-parts")
def gpu_parts() -> str:
    """How far the run on a card came."""
    run = card()
    if run is None:
        return NEVER
    device = run["device"]
    said = f"{device['name']}, torch {device['torch']}, {run['date']}.\n\n"
    rows = [
        (
            f"{name}: {part['title']}",
            part["state"],
            number(part.get("seconds")),
            f"{part['limit']:.0f}",
        )
        for name, part in run["parts"].items()
    ]
    return said + table(("part", "how it ended", "seconds", "limit"), rows, left=2)


@made("gpu-values")
def gpu_values() -> str:
    """Patches of the card against those of the CPU."""
    run = card()
    if run is None:
        return AS_ABOVE
    found: dict[str, dict[str, Row]] = {}
    for row in rows_of(run, "a"):
        if "type" in row:
            found.setdefault(row["editor"], {})[row["type"]] = row
    rows = [
        (f"`{name}`", *(_values(types.get(kind)) for kind in ("float32", "bfloat16")))
        for name, types in found.items()
    ]
    return table(("editor", "float32: ΔW differs by", "bf16: ΔW differs by"), rows)


def _values(row: Row | None) -> str:
    if row is None:
        return "–"
    if "error" in row:
        return row["error"].replace("|", "/")
    return f"{row['difference']:.0e}" + ("" if row["undone"] else ", not undone")


@made("gpu-speed")
def gpu_speed() -> str:
    """Seconds, memory and generation of every editor on a model of 8B."""
    run = card()
    if run is None:
        return AS_ABOVE
    rows = []
    for row in rows_of(run, "b"):
        if "error" in row:
            rows.append(
                (f"`{row['editor']}`, {row['facts']}", row["error"].replace("|", "/"), *5 * "–")
            )
        elif "editor" in row:
            slower = f"{100 * row['slower']:.1f} %" if "slower" in row else "–"
            patched = f"{row['tokens_patched']:.0f}" if "tokens_patched" in row else "–"
            rows.append(
                (
                    f"`{row['editor']}`, {row['facts']}",
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
        "seconds per edit",
        "floor",
        "of the floor",
        "peak, GB",
        "tokens per second, patched",
        "slower than the base",
    )
    return table(head, rows)


@made("gpu-long")
def gpu_long() -> str:
    """UltraEdit's long stream, large batches, and the matrices that are made once."""
    run = card()
    if run is None:
        return AS_ABOVE
    rows = [
        (
            f"`ultraedit`, {row['edits']:,} edits in turns of {row['turn']}",
            number(row["seconds"], 1),
            f"features {row['features']:.1f}, moments {row['moments']:.1f}, solves "
            f"{row['solves']:.1f}; {_hours(row)}",
            gigabytes(row["peak"]),
        )
        for row in rows_of(run, "c")
        if "turn" in row
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


@made("million")
def million() -> str:
    """A stream of a million edits, or as far as it came."""
    parts = []
    for edits, run in read("million").items():
        rows = [
            (
                f"{point['edits']:,}",
                f"{point['cpu_ms']:.2f}",
                f"{point['least']:.2f} to {point['most']:.2f}",
                point["turns"],
                f"{point['anonymous'] / 1e6:.0f}",
                f"{point['mapped'] / 1e6:.0f}",
            )
            for point in run["points"]
        ]
        head = (
            "edits so far",
            "CPU ms per edit",
            "least and most",
            "turns",
            "memory of its own, MB",
            "mapped files, MB",
        )
        parts += [
            f"{int(edits):,} edits in turns of {run['turn']}: {_kills(run)}\n",
            table(head, rows),
            *_calm(run),
        ]
    return "\n".join(parts)


def _calm(run: Row) -> list[str]:
    """A line with the cheapest turn of each part of the stream, where that was noted."""
    if len(run.get("calm", ())) < 2:
        return []
    span = run["calm"][0]["edits"]
    least = ", ".join(f"{part['least']:.2f}" for part in run["calm"])
    return [f"The cheapest turn of each {span:,} edits, in CPU ms per edit: {least}.\n"]


def _kills(run: Row) -> str:
    sizes = run["bytes"]
    text = (
        f"{run['cpu_seconds']:.0f} CPU seconds, opened in "
        f"{run['opened']['index'] + run['opened']['open']:.0f} of them more, journal "
        f"{sizes['journal'] / 1e6:.1f} MB, file of facts {sizes['facts'] / 1e6:.0f} MB; "
    )
    if "same" not in run:
        return text + "the run that is killed on the way has not ended."
    where = ", ".join(f"{kill['saved']:,}" for kill in run["kills"])
    same = "the same bits at the end" if run["same"] else "ANOTHER RESULT at the end"
    return text + f"killed after {where} edits: {same}."


@made("processes")
def processes() -> str:
    """The work of each of one and two processes."""
    found = read("processes")
    rows = [
        (
            row["processes"],
            _each(row["reading"]),
            _each(row["cpu"]),
            _each(row["wall"]),
            "yes" if row["same_bits"] else "NO",
        )
        for row in found["rows"]
    ]
    head = (
        "processes",
        "CPU s of reading, each",
        "CPU s of the turn, each",
        "seconds on the clock",
        "bits of one process",
    )
    return table(head, rows)


def _each(values: Sequence[float]) -> str:
    return " and ".join(f"{value:.1f}" for value in values)


@made("large-model")
def large_model() -> str:
    """Peak memory of each step on a model of 8B's shape, against the count."""
    if not (HERE / "large_model.json").exists():
        return "**Never run** to its end: `python -m tests.benchmarks.large_model FOLDER`.\n"
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
        head = ("step", "memory of its own, GB", "counted, GB", "mapped files, GB", "seconds")
        said = (
            f"{run['layers']} layers, {run['weights'] / 1e9:.2f} billion weights, "
            f"{2 * run['weights'] / 1e9:.1f} GB of files{_ended(run)}:\n"
        )
        parts += [said, table(head, rows)]
    return "\n".join(parts)


@made("speed-pairs")
def speed_pairs() -> str:
    """The same ratios on a quiet machine, and with one other process beside."""
    found = json.loads((HERE / "speed_pairs.json").read_text(encoding="utf-8"))
    states = [_ratios(found[name]) for name in ("quiet", "one other process beside")]
    rows = []
    for name in states[0]:
        each = [state.get(name, {}) for state in states]
        ratios = ("over_floor", "authors_over_ours_per_rate")
        rows.append((
            name, *(number(one.get("cpu"), 3) for one in each),
            *(times(one.get(key)) for key in ratios for one in each),
        ))  # fmt: skip
    head = (
        "editor", "CPU s per edit: quiet", "beside", "against the floor: quiet", "beside",
        "authors' code / ours: quiet", "beside",
    )  # fmt: skip
    said = f"{found['processor']}, {found['cores']} cores, one thread.\n\n"
    return said + table(head, rows)


def _ratios(run: dict[str, Any]) -> dict[str, dict[str, float]]:
    """{what was measured: its numbers} of the speed benchmarks that ran in one state."""
    found: dict[str, dict[str, float]] = {}
    for part, rows in run.items():
        for name, row in rows.items() if isinstance(rows, dict) else ():
            if not isinstance(row, dict) or "cpu" not in row or name == "evaluation":
                continue  # numbers of the whole run, and parts that have no edit
            facts = f", {row['facts']} facts" if part != "memory_speed" and "facts" in row else ""
            said = {"rome_speed": f"`rome`, {name} contexts", "ultraedit_speed": "`ultraedit`"}
            editor, comma, rest = name.partition(",")
            plain = f"`{editor}`{comma}{rest}"
            found[said.get(part, plain) + facts] = row
    return found


@made("resident")
def resident() -> str:
    """Resident memory of editing and evaluating the embedded model."""
    found = read("resident")
    weights = found["weights"]
    rows = [
        (name, gigabytes(step["peak"]), gigabytes(step["anonymous"]), times(step["peak"] / weights))
        for name, step in found["steps"].items()
    ]
    head = ("step", "peak, GB", "its own afterwards, GB", "peak / weights")
    return f"Weights {weights / 1e9:.2f} GB, {found['date']}.\n\n" + table(head, rows)


@made("kept-base")
def kept_base() -> str:
    """An evaluation in a fresh process, with the base model's answers on disk or not."""
    found = read("kept_base_speed")
    whole = {
        row["unit"]: row["baseline"] + row["evaluate"]
        for row in found["rows"]
        if row["way"] == "not kept"
    }
    rows = [
        (
            f"{row['unit']}, {row['cases']} rows of ZsRE",
            row["way"],
            f"{row['baseline']:.2f}",
            f"{row['opening']:.2f}",
            f"{row['evaluate']:.2f}",
            times(whole[row["unit"]] / (row["baseline"] + row["evaluate"])),
            f"{row['differ']} of {row['scores']}",
            f"{row['bytes'] / 1e6:.2f}",
        )
        for row in found["rows"]
    ]
    head = (
        "what is evaluated",
        "answers on disk",
        "base model, CPU s",
        "of it opening",
        "patched model, CPU s",
        "not kept / this",
        "scores that differ",
        "MB on disk",
    )
    return f"{found['date']}, one thread.\n\n" + table(head, rows, left=2)


def _ended(run: Row) -> str:
    """What is said of a run that was not made to its end."""
    return f" ({run['ended']})" if "ended" in run else ""
