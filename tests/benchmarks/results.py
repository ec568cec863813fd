"""Write the tables of RESULTS.md and of results/ from the rows that the benchmarks stored.

    python -m tests.benchmarks.results            writes every table again
    python -m tests.benchmarks.results five-streams    writes this one, which takes seconds
    python -m tests.benchmarks.results --check    fails where a table differs from its rows

The pages are written by hand but for their tables. A table stands between two comments, the first
with its name (`tables.py` says how each is made). A table of rows that were measured when an editor
or a metric behaved otherwise says that they are earlier (`measured.py`), so it differs until it is
written again; and rows of which nobody knows where they were measured fail the check, too.

    <!-- table: NAME -->
    …
    <!-- end -->

Where a table has rows that something was chosen on, rows.toml names them, and a sentence below the
table says it.

Intervals of paired differences take minutes, so drawn.txt has two sums for each table that was
written: of all that it was drawn from, and of its text. The check compares files: it runs no model,
and draws a table again only where a sum is another one.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lib.atomic_files import whole_file
from lib.data.texts import CLASSROOM, KNOWN
from lib.evaluation import intervals
from notebooks.support import which_editor
from tests.benchmarks.abilities import ABILITIES
from tests.reference import current

from . import (
    judge_tables,
    measured,
    quantized,
    rows,
    tables,
    tables_models,
    tables_pages,
    tables_papers,
    tables_scale,
)
from .rows import note
from .tables import HERE, SOURCES, TABLES

MORE = (
    judge_tables,
    quantized,
    tables_models,
    tables_pages,
    tables_papers,
    tables_scale,
)  # importing them has registered their tables
PAGES = (HERE / "RESULTS.md", *sorted((HERE / "results").glob("*.md")))
MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
CAPTION = re.compile(r"^\*(Earlier|In part earlier|Taken): .*\*\n\n", re.MULTILINE)
BEGINS = re.compile(r"^<!-- table:", re.MULTILINE)
DRAWN = HERE / "results" / "drawn.txt"
# beside the rows of its figures, what every table is drawn from
COMMON = (
    *(Path(room.__file__) for room in (tables, rows, intervals, *MORE)),
    HERE / "tables.toml",
    HERE / "rows.toml",
    *(ABILITIES, CLASSROOM, KNOWN),
    *(
        HERE / "papers" / name
        for name in (
            *("claims.toml", "lemoe.py", "streams.py", "superposition.py", "ultraedit.py"),
            *("verdicts.py", "wilke.py", "wise.py"),
        )
    ),
    *(Path(which_editor.__file__), which_editor.ARENA),
)


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


def sums(page: str) -> dict[str, list[str]]:
    """{table: [sum of what it would be drawn from today, sum of its text]} of a page."""
    common = _sum(*(path.read_bytes() for path in COMMON))
    found = {}
    for _, name, text, _ in (match.groups() for match in MARKED.finditer(page)):
        sources = SOURCES.get(name, ())
        figures = [one if isinstance(one, str) else one[0] for one in sources]
        stored = [measured.path_of(figure).read_bytes() for figure in figures]
        said = measured.caption(sources)
        found[name] = [_sum(common.encode(), said.encode(), *stored), _sum(text.encode())]
    return found


def known() -> dict[str, list[str]]:
    """The sums of the tables that were written last."""
    lines = DRAWN.read_text("utf-8").splitlines() if DRAWN.exists() else []
    return {name: both for name, *both in map(str.split, lines)}


def _sum(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def differences(pages: Sequence[Path], drawn: Mapping[str, list[str]] | None = None) -> list[str]:
    """One sentence for each table that differs from its rows, and for each that is nowhere.

    drawn  the sums of tables that were written: one that has them still is not drawn again
    """
    found, shown = [], set()
    for path in pages:
        old = path.read_text(encoding="utf-8")
        again = [name for name, both in sums(old).items() if (drawn or {}).get(name) != both]
        new = written(old, again) if again else old
        names = [match[2] for match in MARKED.finditer(old)]
        shown.update(names)
        if len(BEGINS.findall(old)) != len(names):
            found.append(f"{path.name}: a table's marks are not closed")
        tables = zip(MARKED.finditer(old), MARKED.finditer(new), strict=True)
        for before, after in tables:
            if before[3] != after[3]:
                other = CAPTION.sub("", before[3]) != CAPTION.sub("", after[3])
                why = "differs from its rows" if other else "does not say when it was measured"
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
        found = current.of_other_settings() + measured.missing()
        found += differences(PAGES, known())
        for line in found:
            print(line, file=sys.stderr)
        return 1 if found else 0
    for path in PAGES:
        old = path.read_text(encoding="utf-8")
        if (new := written(old, given.only)) != old:
            path.write_text(new, encoding="utf-8")
            print(f"{path.name} written")
    drawn = known() if given.only else {}
    for path in PAGES:
        every = sums(path.read_text(encoding="utf-8"))
        drawn |= {name: both for name, both in every.items() if name in (given.only or every)}
    with whole_file(DRAWN) as part:
        lines = [f"{name} {' '.join(both)}\n" for name, both in sorted(drawn.items())]
        part.write_text("".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
