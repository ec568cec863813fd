"""Journals for tests: damaged at random, and what a run reads from one."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import lib

SPOILS: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 7, 10**30, 0.5, 1e308, float("nan"), float("inf"), "", "x",
    "patch.safetensors", "../header.json", "\ud800", [], {}, [0], [[]], {"a": None}, [1, "x"],
)  # fmt: skip


def damage(folder: Path, draw: random.Random) -> str:
    """Damage one or two files of a journal as a disk or a person would; returns what was done."""
    files = sorted(path for path in folder.iterdir() if path.name != "lock")
    path = draw.choice(files)
    ways = [flip, cut, splice, swap, double_line, spoil, spoil, spoil]
    way = draw.choice(ways if path.stat().st_size else [splice])
    way(path, draw)
    return f"{way.__name__} of {path.name}"


def flip(path: Path, draw: random.Random) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut(path: Path, draw: random.Random) -> None:
    """Keep only a beginning, or delete the file."""
    data = path.read_bytes()
    if draw.random() < 0.2:
        path.unlink()
    else:
        path.write_bytes(data[: draw.randrange(len(data) + 1)])


def splice(path: Path, draw: random.Random) -> None:
    """Overwrite, insert or remove some bytes."""
    data = path.read_bytes()
    at, size = draw.randrange(len(data) + 1), draw.randrange(1, 40)
    new = draw.randbytes(draw.choice([0, size]))
    path.write_bytes(data[:at] + new + data[at + draw.choice([0, size]) :])


def swap(path: Path, draw: random.Random) -> None:
    """Put another file of the journal in its place."""
    others = [p for p in path.parent.iterdir() if p.suffix == path.suffix and p != path]
    if others:
        shutil.copyfile(draw.choice(sorted(others)), path)
    else:
        flip(path, draw)


def double_line(path: Path, draw: random.Random) -> None:
    """Repeat, drop or exchange a line."""
    lines = path.read_bytes().splitlines(keepends=True)
    i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
    way = draw.randrange(3)
    if way == 0:
        lines.insert(j, lines[i])
    elif way == 1:
        del lines[i]
    else:
        lines[i], lines[j] = lines[j], lines[i]
    path.write_bytes(b"".join(lines))


def spoil(path: Path, draw: random.Random) -> None:
    """Set, remove or add a value somewhere in the JSON."""
    if path.suffix not in (".json", ".jsonl"):
        flip(path, draw)
        return
    lines = path.read_bytes().splitlines()
    i = draw.randrange(len(lines))
    try:
        content = json.loads(lines[i])
    except ValueError:  # damaged before
        flip(path, draw)
        return
    places = list(_places(content))
    if not places:
        return
    holder, key = draw.choice(places)
    value = draw.choice(SPOILS)
    if draw.random() < 0.15:
        del holder[key]
    elif draw.random() < 0.15 and isinstance(holder, dict):
        holder["more"] = value
    elif draw.random() < 0.1:
        holder[key] = "DEEP"
    elif isinstance(holder[key], float) and draw.random() < 0.5:
        holder[key] = 1.0 - holder[key] if holder[key] <= 1 else holder[key] + 1
    else:
        holder[key] = value
    lines[i] = json.dumps(content).encode().replace(b'"DEEP"', b"[" * 5000 + b"]" * 5000)
    path.write_bytes(b"\n".join(lines) + (b"\n" if path.suffix == ".jsonl" else b""))


def _places(value: Any) -> Any:
    """(holder, key) of every value inside."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def known(run: Any) -> tuple:
    """All that a run has from its journal, in a form that can be compared bit for bit."""
    tensors = {
        name: (v if isinstance(v, lib.LowRank) else v.numpy().tobytes())
        for name, v in run.patch.weights.items()
    }
    scores = {
        n: (repr(s.rows.to_numpy().tolist()), s.title, s.perplexity) for n, s in run.scores.items()
    }
    tables = [repr(table.to_numpy().tolist()) for table in run._written]
    return (
        run.edits, repr(run.rows), repr(run.seconds), run.patch.log, tensors, scores,
        run.contradicted, tables,
    )  # fmt: skip
