"""Mutations of lines that matter, each with the tests that must notice it.

    python -m tests.benchmarks.mutations                  # all of them, two at a time
    python -m tests.benchmarks.mutations rome-divisor     # some of them, by name

mutations.toml has them: a name, a file, a text that occurs there once, the text in its place, and
the tests. Each mutation is made in a copy of its own in a temporary folder, and the named tests run
there, with a cache that has the packaged models alone; the checkout stays as it is. A mutation is
killed where a test fails. It survives where all pass, and also where they could not run: a module
that cannot be imported says nothing about its tests. The same tests pass on a copy without any
mutation, or nothing counts.
Exit code 1 where a mutation survives.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import command
from tests.benchmarks.edit_speed import only_models

ROOT = Path(__file__).parents[2]
NEEDED = ("lib", "lessons", "tests", "pyproject.toml")
AT_ONCE = 2
LONGEST = 120  # seconds of a test, after which it has failed
FAILED = 1  # pytest's exit code where tests ran and one failed


class Mutation(NamedTuple):
    """`old` becomes `new` in a file, and one of the tests must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def mutations() -> list[Mutation]:
    """All of mutations.toml."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    found = tomllib.loads(text)
    return [Mutation(name, **{**row, "tests": tuple(row["tests"])}) for name, row in found.items()]


def ran(mutation: Mutation) -> tuple[int, str, float]:
    """Exit code and last lines of the tests with the mutation in place, and the seconds."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mutation-") as place:
        for name in NEEDED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, Path(place) / name)
        if mutation.file:
            path = Path(place) / mutation.file
            text = path.read_text(encoding="utf-8")
            if text.count(mutation.old) != 1:
                raise ValueError(f"{mutation.name}: {mutation.file} has its text not exactly once")
            path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        only_models(Path(place) / "cache")
        how = ["-x", "-n0", "-mslow or not slow", f"-otimeout={LONGEST}"]
        done = subprocess.run(
            [sys.executable, "-mpytest", *how, *mutation.tests],
            cwd=place,
            env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": f"{place}/cache"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    return done.returncode, done.stdout[-2000:], time.perf_counter() - start


def survivors(wanted: Sequence[Mutation]) -> list[str]:
    """Run the mutations and print a line for each; the names of those that survive.

    Raises ValueError where a test fails without any mutation.
    """
    every = tuple(dict.fromkeys(test for one in wanted for test in one.tests))
    found = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        unchanged = pool.submit(ran, Mutation("none", "", "", "", every))
        for one, (code, said, seconds) in zip(wanted, pool.map(ran, wanted), strict=True):
            how = "killed" if code == FAILED else "survived"
            print(f"{how:8} {seconds:6.1f} s  {one.name}", flush=True)
            if code != FAILED:
                found.append(one.name)
                print(said)
        code, said, seconds = unchanged.result()
    if code:
        raise ValueError(f"without any mutation the tests do not pass: {said}")
    print(f"{len(wanted) - len(found)} of {len(wanted)} killed; {seconds:.0f} s without a mutation")
    return found


def main() -> None:
    """All mutations, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.mutations")
    parser.add_argument("names", nargs="*", help="names of mutations; all by default")
    names, known = parser.parse_args().names, {one.name: one for one in mutations()}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no mutation {unknown[0]}")
    sys.exit(bool(survivors([known[name] for name in names or known])))


if __name__ == "__main__":
    command(main)
