"""How often the subject of a public row is found in its sentence, and how often it is refused.

    python -m tests.benchmarks.sentences counterfact=FILE zsre=FILE

A row's prompt goes to `lib.Fact.from_sentence` without its subject. The answer is right where the
subject is the row's own, letter by letter; every other one is wrong. The rows are those that
rows.toml calls "sentences". The rule was made on rows for tuning: 2000-6999 of counterfact, and all
of zsre. Rows whose prompt does not hold the subject exactly once have no right answer, and are left
out. Counts stand in sentences.json, with the numbers of the rows that were refused or wrong.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lib
from lib.atomic_files import whole_file
from lib.data.normalized_text import around
from lib.evaluation.intervals import wilson
from tests.benchmarks import command, measured, rows
from tests.benchmarks.tables import made, read, table

OUT = Path(__file__).with_suffix(".json")


def score(numbers: Iterable[int], facts: Iterable[lib.Fact]) -> dict[str, Any]:
    """{"asked": how many, "right": how many, "refused": numbers, "wrong": {number: found}}."""
    found: dict[str, Any] = {"asked": 0, "right": 0, "refused": [], "wrong": {}}
    for number, fact in zip(numbers, facts, strict=True):
        if fact.subject is None or len(around(fact.subject, fact.text)) != 1:
            continue
        found["asked"] += 1
        try:
            subject = lib.Fact.from_sentence(fact.text, fact.target_new).subject
        except lib.errors.FactError:
            found["refused"].append(number)
            continue
        if subject == fact.subject:
            found["right"] += 1
        else:
            found["wrong"][str(number)] = subject
    return found


@made("sentences", "sentences")
def sentences() -> str:
    """Shares of the rows with Wilson's intervals."""
    stored, lines = read("sentences"), []
    total = {name: sum(_counts(one)[name] for one in stored.values()) for name in SHARES}
    for name, counts in [*((key, _counts(one)) for key, one in stored.items()), ("both", total)]:
        n, cells = sum(counts.values()), []
        for hits in counts.values():
            low, high = wilson(hits, n)
            cells.append(f"{100 * hits / n:.1f} ({100 * low:.1f} to {100 * high:.1f})")
        lines.append([name, n, *cells])
    return table(["rows", "n", *(f"{name}, %" for name in SHARES)], lines)


SHARES = ("right", "refused", "wrong")


def _counts(one: dict[str, Any]) -> dict[str, int]:
    """{"right": rows, "refused": rows, "wrong": rows}."""
    return {"right": one["right"], "refused": len(one["refused"]), "wrong": len(one["wrong"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", metavar="NAME=FILE", help="counterfact or zsre")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    kept: dict[str, Any] = {}
    for pair in given.data:
        name, equals, path = pair.partition("=")
        if not equals:
            raise ValueError(f"'{pair}' should be NAME=FILE")
        cases = rows.of_file(name, "sentences", Path(path))
        kept[name] = score(sorted(rows.of(name, "sentences")), [case.fact for case in cases])
        print(f"{name}: {_counts(kept[name])}", flush=True)
    with whole_file(given.out) as part:
        part.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    measured.record(given.out, "the rows that rows.toml calls sentences")


if __name__ == "__main__":
    command(main)
