"""What asking the facts again after an edit costs: CPU time with the check over that without it.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.check_speed [--facts 10] [--times 5]

Both are taken in turn in one process, so the ratio does not depend on the machine. ROME is given
one fact at a time, UltraEdit all facts in one call.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings

import lib
from tests.benchmarks import command
from tests.benchmarks.rows import classroom

from .rome_speed import timed


def ratios(editor: lib.Editor, calls: list[list[lib.Fact]]) -> list[float]:
    """CPU time of each call with the check over that of the same call without it."""
    editor.edit(calls[0], check=False)  # statistics, caches
    found = []
    for facts in calls:
        plain = min(timed(lambda some=facts: editor.edit(some, check=False))[1] for _ in range(2))
        asked = min(timed(lambda some=facts: editor.edit(some))[1] for _ in range(2))
        found.append(asked / plain)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facts", type=int, default=10)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    warnings.simplefilter("ignore", lib.errors.EditWarning)
    lm = lib.load(dtype="float32")
    facts = [case.fact for case in classroom("tables")][: given.facts]
    rows = {}
    for name, calls in {
        "rome": [[fact] for fact in facts[: given.times]],
        "ultraedit": [facts] * given.times,
    }.items():
        found = ratios(lib.EDITORS[name](lm, preset="ours"), calls)
        rows[name] = {"median": statistics.median(found), "calls": [round(one, 4) for one in found]}
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    command(main)
