"""Hand out exercises and grade them: start 2, check 2, solution 2; class students/ for all."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from lessons.grading import files
from lessons.grading.class_folder import STOPPED, grade_folder
from lessons.grading.confinement import protection
from lessons.grading.exercise_source import Exercise, aside, exercises
from lessons.grading.sandbox import SECONDS, Sandbox
from lessons.grading.student_file import STUB
from lessons.grading.verdict import Verdict, grade_file, hand_in, summary
from lib.atomic_files import path_of
from lib.errors import sentence
from lib.workbench.console import printable

MARKS = {"solved": "✓", "wrong": "✗", STUB: "·", "missing": "·"}


def start(chosen: Sequence[Exercise], folder: Path, fresh: bool) -> list[str]:
    """Write the stubs. An existing file stays; with `fresh` it is set aside, never lost."""
    folder.mkdir(parents=True, exist_ok=True)
    said = []
    for exercise in chosen:
        path = folder / exercise.path.name
        if path.exists() and not fresh:
            said.append(f"kept     {path} (exists already; --fresh sets it aside)")
            continue
        if path.exists():
            said.append(f"aside    {path.rename(aside(path))}")
        files.write(path, exercise.stub)
        said.append(f"written  {path}  {'★' * exercise.stars} {exercise.title}")
    return said


def show(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as text.

    The file's own output comes after a bar, to distinguish it from ours.
    """
    lines = []
    for v in verdicts:
        lines.append(f"{MARKS[v.status]} {v.exercise} {'★' * v.stars:<3} {v.title}: {v.message}")
        lines += [f"      {message}" for message in v.others]
        if v.right:
            lines.append(f"      right by themselves: {', '.join(v.right)} ({v.points:g} points)")
        lines += [f"      your file printed │ {line}" for line in v.printed.splitlines()[:5]]
    total = summary(verdicts)
    lines.append(
        f"{total['solved']} of {total['exercises']} solved, {total['points']:g} of {total['of']} ★"
    )
    return "\n".join(lines)


@printable()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if all is solved, 1 if not, 2 for a wrong call, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m lessons.grader",
        description=__doc__,
        epilog=f"Protection while a file is graded: {protection()}.",
    )
    parser.set_defaults(json=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, what in (
        ("start", "write the stubs of a session, or a single stub"),
        ("check", "grade them"),
        ("solution", "show the solution"),
        ("class", "grade a class: marks, a diagnosis, and feedback for each student"),
    ):
        one = verbs.add_parser(verb, help=what, description=what, epilog=parser.epilog)
        session = {"help": "a session (2), an exercise (2.1), or all"}
        if verb == "class":
            one.add_argument(
                "folder", type=path_of, help="a folder containing one folder per student"
            )
            one.add_argument("which", nargs="?", default="all", **session)
            one.add_argument(
                "--out",
                type=path_of,
                default="report",
                help="the folder to create (default: report)",
            )
        else:
            one.add_argument("which", **session)
        if verb in ("start", "check"):
            one.add_argument("--my", type=path_of, default="my", help="folder of your files")
        if verb == "start":
            one.add_argument("--fresh", action="store_true", help="set files aside, start over")
        if verb == "check":
            one.add_argument("--json", action="store_true", help="print the verdicts as JSON")
        if verb == "class":
            one.add_argument(
                "--course", action="store_true", help="a folder containing one folder per session"
            )
            one.add_argument("--jobs", type=int, help="students at a time (default: all cores)")
        if verb in ("check", "class"):
            one.add_argument(
                "--seconds", type=files.positive, default=SECONDS, help="limit of one call"
            )
            one.add_argument("--seed", type=int, help="generate the same inputs again")
    asked = parser.parse_args(argv)
    try:
        chosen = exercises(asked.which)
        if asked.verb == "start":
            print("\n".join(start(chosen, asked.my, asked.fresh)))
            return 0
        if asked.verb == "solution":
            print("\n\n".join(f"# {e.path.name}\n{e.solution}" for e in chosen))
            return 0
        seed = secrets.randbelow(2**31) if asked.seed is None else asked.seed
        if asked.verb == "class":
            return grade_folder(
                chosen,
                asked.folder,
                asked.out,
                weeks=asked.course,
                jobs=asked.jobs,
                seed=seed,
                seconds=asked.seconds,
            )
        verdicts: list[Verdict] = []
        with Sandbox(seconds=asked.seconds) as sandbox:
            try:
                for exercise, text in zip(chosen, hand_in(chosen, asked.my), strict=True):
                    verdicts.append(grade_file(exercise, text, sandbox, seed))
            except KeyboardInterrupt:
                done = f"{len(verdicts)} of {len(chosen)} exercises"
                print(f"interrupted: {done} are graded", file=sys.stderr)
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return STOPPED
    except (ValueError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    report = {
        "session": asked.which,
        "seed": seed,
        "protection": protection(),
        **summary(verdicts),
    }
    if asked.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        print(f"{show(verdicts)}\nProtection: {protection()}")
    if len(verdicts) < len(chosen):
        return STOPPED
    return 0 if report["solved"] == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
