"""Write the tables of RESULTS.md and of results/ from the rows that the benchmarks stored.

    python -m tests.benchmarks.results            writes every table again
    python -m tests.benchmarks.results five-streams    writes this one, which takes seconds
    python -m tests.benchmarks.results --check    fails where a table differs from its rows

The pages are written by hand but for their tables. A table stands between two comments, the first
with its name (`tables.py` says how each is made). A table whose code has changed since its rows
were measured says at which commits that was (`measured.py`), so it differs until it is written
again; and rows of which nobody knows where they were measured fail the check, too.

    <!-- table: NAME -->
    …
    <!-- end -->

Where a table has rows that something was chosen on, rows.toml names them, and a sentence below the
table says it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from . import (
    arena_tables,
    forensics_tables,
    judge_tables,
    measured,
    quantized,
    runtimes,
    sentences,
    tables_lasts,
    tables_models,
    tables_paired,
    tables_scale,
    tables_sink,
)
from .rows import note
from .tables import HERE, TABLES

MORE = (
    arena_tables,
    forensics_tables,
    judge_tables,
    quantized,
    runtimes,
    sentences,
    tables_lasts,
    tables_models,
    tables_paired,
    tables_scale,
    tables_sink,
)  # importing them has registered their tables
PAGES = (HERE / "RESULTS.md", *sorted((HERE / "results").glob("*.md")))
MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
CAPTION = re.compile(r"^\*(Measured|In part measured) at .*\*\n\n", re.MULTILINE)
BEGINS = re.compile(r"^<!-- table:", re.MULTILINE)


class PageError(ValueError):
    """A page and the tables do not belong together."""


def written(page: str, only: Sequence[str] = ()) -> str:
    """The page with its tables, or only some, made again; PageError for one that nobody makes."""

    def again(found: re.Match[str]) -> str:
        begin, name, _, end = found.groups()
        if only and name not in only:
            return found[0]
        if name not in TABLES:
            raise PageError(f"no function makes a table '{name}'; there are {', '.join(TABLES)}")
        below = f"\n\n{note(name)}" if note(name) else ""
        return f"{begin}\n{TABLES[name]().rstrip()}{below}\n\n{end}"

    return MARKED.sub(again, page)


def differences(pages: Sequence[Path]) -> list[str]:
    """One sentence for each table that differs from its rows, and for each that is nowhere."""
    found, shown = [], set()
    for path in pages:
        old = path.read_text(encoding="utf-8")
        new = written(old)
        names = [match[2] for match in MARKED.finditer(old)]
        shown.update(names)
        if len(BEGINS.findall(old)) != len(names):
            found.append(f"{path.name}: a table's marks are not closed")
        tables = zip(MARKED.finditer(old), MARKED.finditer(new), strict=True)
        for before, after in tables:
            if before[3] != after[3]:
                rows = CAPTION.sub("", before[3]) != CAPTION.sub("", after[3])
                why = "differs from its rows" if rows else "does not say where it was measured"
                found.append(f"{path.name}: the table '{before[2]}' {why}")
    return found + [f"the table '{name}' is on no page" for name in TABLES if name not in shown]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or compare them; 1 if they differ."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.results",
        description="Write the tables of RESULTS.md and results/ from the stored rows.",
    )
    parser.add_argument(
        "--check", action="store_true", help="only compare, and fail on differences"
    )
    parser.add_argument("only", nargs="*", metavar="TABLE", help="by default all of them")
    given = parser.parse_args(arguments)
    if given.check:
        found = measured.missing() + differences(PAGES)
        for line in found:
            print(line, file=sys.stderr)
        return 1 if found else 0
    for path in PAGES:
        old = path.read_text(encoding="utf-8")
        if (new := written(old, given.only)) != old:
            path.write_text(new, encoding="utf-8")
            print(f"{path.name} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
