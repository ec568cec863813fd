"""Everything for a session: `python -m lessons monday 1 --to monday_1`."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence

from lessons import exam
from lib.atomic_files import path_of
from lib.errors import sentence
from lib.workbench.console import printable
from notebooks import monday


@printable()
def main(argv: Sequence[str] | None = None) -> int:
    """Write the folder; return 0, or 2 with a sentence if that is impossible."""
    parser = argparse.ArgumentParser(prog="python -m lessons", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    session = commands.add_parser("monday", help="a folder with everything for a session")
    numbers = range(1, len([*exam.HERE.glob("session_*.md")]) + 1)
    session.add_argument("session", type=int, choices=numbers, help="the number of the session")
    session.add_argument("--to", type=path_of, required=True, help="the folder to create")
    session.add_argument("--students", type=exam.counted, default=30, help="sheets (default 30)")
    session.add_argument("--seed", type=int, help="of the exam (default: a new one)")
    given = parser.parse_args(argv)
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    try:
        printed = monday.write(given.to, given.session, given.students, seed)
    except (ValueError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    print(f"{given.to}: begin with teacher.html. Students get student.zip and a quiz.")
    if not printed:
        print(
            "No browser was found for creating PDFs. Open the HTML files and print them from there."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
