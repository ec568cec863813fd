"""A class is graded at once: one folder per student, several students at a time.

Every student gets the same random inputs, and all files are read before the first one is run, so
that none can change another. The result is a table of marks, or JSON with the message
of every verdict; `report` makes a folder of it with a diagnosis and feedback for each student.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

from lessons.grading import diagnosis, files
from lessons.grading.confinement import protection
from lessons.grading.exercise_source import Exercise
from lessons.grading.gradebooks import gradebooks
from lessons.grading.sandbox import SECONDS, Sandbox
from lessons.grading.verdict import Verdict, grade_file, hand_in, summary
from lessons.marking import clean

STOPPED = 130  # the exit code of a command that was interrupted


def grade_folder(
    chosen: Sequence[Exercise],
    folder: Path,
    *,
    marks: Path | None = None,
    report: Path | None = None,
    jobs: int | None = None,
    seed: int = 0,
    seconds: float = SECONDS,
    as_json: bool = False,
) -> int:
    """Grades every student's folder, writes the CSV or the report, and prints the table or JSON.

    A student's files lie in the folder itself or in `my/` inside it. All get the same inputs.
    Returns 0, or what was not done: 1 where the CSV could not be written in the end, 130 after an
    interruption, 2 where the machine failed. The students that were graded are shown in any case,
    and those of a part go into a file of another name.
    """
    students = files.students(folder)
    files.writable(marks)
    if report is not None:
        if folder.resolve() in report.resolve().parents:
            raise ValueError(f"{report} would be one of the students: name a folder outside")
        files.free(report, files.unfinished(report))
    inside = [student / "my" for student in students]
    places = [my if my.is_dir() and not my.is_symlink() else my.parent for my in inside]
    texts = [hand_in(chosen, place) for place in places]
    found, why = _graded(chosen, texts, folder, jobs, seed, seconds)
    code = {None: 0, "interrupted": STOPPED}.get(why, 2)
    graded = {student: one for student, one in zip(students, found, strict=True) if one}
    rows = table([*graded], [*graded.values()]) if graded else []
    if why is not None:
        print(f"{why}: {len(graded)} of {len(students)} students are graded", file=sys.stderr)
        marks, report = (path and files.unfinished(path) for path in (marks, report))
    unwritten = ""
    try:  # before anything is printed, which may fail as well
        if marks is not None and rows:
            files.write(marks, files.as_csv(rows))
        if report is not None and rows:
            files.write_folder(report, reported(graded, rows))
    except OSError as error:
        unwritten = str(error)
    if as_json:
        verdicts_too = {
            "seed": seed,
            "protection": protection(),
            "students": {s.name: summary(v) for s, v in graded.items()},
        }
        if why is not None:
            verdicts_too["not graded"] = [s.name for s in students if s not in graded]
        print(json.dumps(verdicts_too, indent=2, ensure_ascii=False))
    else:
        widths = [max(map(len, map(str, column))) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(f"{x!s:<{w}}" for x, w in zip(row, widths, strict=True)).rstrip())
        print(f"\nProtection: {protection()}")
    if report is not None and rows and not unwritten:
        print(f"The report is in {report}; begin with class.md.", file=sys.stderr)
    if unwritten:
        print(f"error: {unwritten}; the marks are only what is printed", file=sys.stderr)
        code = code or 1
    return code


def _graded(
    chosen: Sequence[Exercise],
    texts: Sequence[list[str | Verdict]],
    folder: Path,
    jobs: int | None,
    seed: int,
    seconds: float,
) -> tuple[list[list[Verdict] | None], str | None]:
    """The verdicts of each student, None for whom they are not complete, and why that is so."""
    jobs = max(1, min(jobs or os.cpu_count() or 1, len(texts)))
    why: str | None = None

    def one(student: list[str | Verdict]) -> list[Verdict] | None:
        sandbox, found = free.pop(), []
        try:
            for exercise, text in zip(chosen, student, strict=True):
                if why is not None:
                    break
                found.append(grade_file(exercise, text, sandbox, seed))
        finally:
            free.append(sandbox)
        return found if why is None else None

    with ExitStack() as opened:
        sandboxes = [
            opened.enter_context(Sandbox(hidden=[folder], seconds=seconds)) for _ in range(jobs)
        ]
        free = sandboxes.copy()  # as many as there are threads
        with ThreadPoolExecutor(jobs) as pool:
            running = [pool.submit(one, student) for student in texts]
            try:
                wait(running)
            except KeyboardInterrupt:
                why = "interrupted"
                for sandbox in sandboxes:
                    sandbox.interrupt()
    for each in running:
        if why is None and (error := each.exception()) is not None:
            if not isinstance(error, OSError):
                raise error
            why = f"error: {error}"
    return [None if each.exception() else each.result() for each in running], why


def reported(graded: Mapping[Path, Sequence[Verdict]], rows: Sequence[Sequence]) -> dict[str, str]:
    """The files of a report, by their paths in its folder."""
    names = {student.name: verdicts for student, verdicts in graded.items()}
    pages = {
        f"feedback/{student.name}.md": diagnosis.feedback(student, verdicts)
        for student, verdicts in graded.items()
    }
    tables = {"marks.csv": files.as_csv(rows), **gradebooks(names)}
    return {"class.md": diagnosis.page(names), **tables, **pages}


def table(students: Sequence[Path], found: Sequence[Sequence[Verdict]]) -> list[list]:
    """Return a heading and a row per student: points per exercise, then the sums.

    A cell is empty where the exercise was not attempted.
    """
    rows = [["student", *(v.exercise for v in found[0]), "solved", "points", "of"]]
    for student, verdicts in zip(students, found, strict=True):
        tried = [v.points if v.status not in diagnosis.OPEN or v.points else "" for v in verdicts]
        total = summary(verdicts)
        name = " ".join(clean(student.name).split())
        rows.append([name, *tried, total["solved"], total["points"], total["of"]])
    return rows
