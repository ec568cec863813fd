"""CPU seconds per edit with this checkout and with another one, which take turns.

    git worktree add --detach /tmp/before COMMIT
    OMP_NUM_THREADS=1 python -m tests.benchmarks.edit_speed --before /tmp/before [--facts 5] [--json OUT]

Each checkout runs in a process of its own, and both edit the same classroom facts, which of them
first by turns. Each edit is a single one on the unedited model and by a new editor, as on the page
and in a command. An edit of another fact comes before and is stored too ("first"): it makes what is
kept in memory, and reads, or makes, the statistics in the cache folder. Seconds are those of the
process, so that other work on the machine counts little. "gap" is the largest relative difference
of any tensor that the two patches hold. With --cold each edit is the first one of a new process
whose cache folder holds the packaged models and nothing else.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import lib
from lib.atomic_files import cache_folder
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom

EDITORS = ["rome", "memit", "crispedit", "wise", "memoir", "horen", "grace"]
WARM = 0  # number of the fact that is edited first


def tensors(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors and numbers that a part of a patch holds, by name."""
    if hasattr(value, "dense"):
        value = value.dense()
    if isinstance(value, torch.Tensor | float):
        yield name, torch.as_tensor(value).float()
    elif isinstance(value, tuple | list):
        for i, part in enumerate(value):
            yield from tensors(f"{name} {i}", part)
    elif hasattr(value, "__dict__"):
        for key, part in vars(value).items():
            yield from tensors(f"{name} {key}", part)


def serve() -> None:
    """Answer each line "EDITOR FACT FILE" with the seconds of this edit; the patch is in FILE.

    The texts are as they come: the token in front was not there, or no default, in older checkouts.
    """
    warnings.simplefilter("ignore")
    lm = lib.load(dtype="float32", sink=None)
    facts = [case.fact for case in classroom("all")]
    for line in sys.stdin:
        name, number, file = line.split()
        start = time.process_time()
        patch = lib.EDITORS[name](lm).edit([facts[int(number)]])
        seconds = time.process_time() - start
        torch.save(dict(tensors("", [*patch.weights.values(), *patch.routes.values()])), file)
        print(json.dumps(seconds), flush=True)


def started(checkout: Path, home: Path | None = None) -> subprocess.Popen:
    """A process of a checkout that runs `serve` as it stands here; `home` has its cache folder."""
    env = {**os.environ, "PYTHONPATH": str(checkout)} | (
        {"XDG_CACHE_HOME": str(home)} if home else {}
    )
    pipe = subprocess.PIPE
    words = [sys.executable, str(Path(__file__).resolve()), "--serve"]
    return subprocess.Popen(words, cwd=checkout, env=env, stdin=pipe, stdout=pipe, text=True)


def cold(checkout: Path, name: str, number: int, file: Path) -> float:
    """Seconds of the first edit of a new process, with nothing but models in its cache folder."""
    with tempfile.TemporaryDirectory() as folder:
        only_models(Path(folder))
        out, _ = started(checkout, Path(folder)).communicate(f"{name} {number} {file}\n")
        return json.loads(out)


def only_models(home: Path) -> None:
    """Make the cache folder of a fresh machine that has fetched the packaged models."""
    own = cache_folder()
    for model in own.glob("*/complete"):
        link = home / own.name / model.parent.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(model.parent)


def gap(before: Path, after: Path) -> float:
    """The largest relative difference of two stored patches."""
    old, new = torch.load(before), torch.load(after)
    if old.keys() != new.keys():
        raise ValueError("the two checkouts' patches hold different tensors")
    return max(float((new[k] - v).norm() / v.norm().clamp(min=1e-12)) for k, v in old.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="folder of the other checkout")
    parser.add_argument("--editors", nargs="+", choices=sorted(lib.EDITORS), default=EDITORS)
    parser.add_argument("--facts", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="from an empty cache folder each time")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        return serve()
    if given.before is None or not (given.before / "lib").is_dir():
        raise ValueError("--before is the folder of another checkout")
    stored = given.json is not None and given.json.exists()
    found = json.loads(given.json.read_text(encoding="utf-8")) if stored else {}
    where = ["git", "-C", str(given.before), "rev-parse", "--short", "HEAD"]
    than = subprocess.run(where, capture_output=True, text=True).stdout.strip()
    checkouts = [given.before, measured.ROOT]
    sides = [] if given.cold else [started(checkout) for checkout in checkouts]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("before", "after")]

        def edit(side: int, name: str, number: int) -> float:
            if given.cold:
                return cold(checkouts[side], name, number, files[side])
            process: Any = sides[side]
            process.stdin.write(f"{name} {number} {files[side]}\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline() or "null")

        for name in given.editors:
            first = [] if given.cold else [edit(side, name, WARM) for side in (0, 1)]
            pairs, gaps = [], []
            for number in range(WARM + 1, WARM + 1 + given.facts):
                order = (0, 1) if number % 2 else (1, 0)
                seconds = {side: edit(side, name, number) for side in order}
                pairs.append([seconds[0], seconds[1]])
                gaps.append(gap(*files))
            old, new = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratios = sorted(after / before for before, after in pairs)
            found[f"{name}, empty cache" if given.cold else name] = {
                "facts": len(pairs),
                "than": than,
                "before": old,
                "after": new,
                "first": first,
                "ratio": statistics.median(ratios),
                "least": ratios[0],
                "most": ratios[-1],
                "gap": max(gaps),
            }
            if given.json:
                given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                measured.record(given.json, vars(given))
            print(name, pairs, ratios, max(gaps), flush=True)
    for process in sides:
        process.communicate()


if __name__ == "__main__":
    command(main)
