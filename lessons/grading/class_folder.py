"""A class is graded at once: one folder per student, several students at a time.

Every student gets the same random inputs, and all files are read before the first one is run, so
that none can change another. The result is a table of marks, or JSON with the message
of every verdict.
"""

from __future__ import annotations

import csv
import json
import os
import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lessons.grading.confinement import protection
from lessons.grading.exercise_source import Exercise
from lessons.grading.sandbox import SECONDS, Sandbox
from lessons.grading.verdict import Verdict, grade_files, hand_in, summary
from lessons.marking import clean


def grade_folder(
    chosen: Sequence[Exercise],
    folder: Path,
    *,
    marks: Path | None = None,
    jobs: int | None = None,
    seed: int = 0,
    seconds: float = SECONDS,
    as_json: bool = False,
) -> None:
    """Grades every student's folder, prints the table or JSON, writes the CSV.

    A student's files lie in the folder itself or in `my/` inside it. All get the same inputs.
    """
    students = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not students:
        raise ValueError(f"there is no folder of a student in {folder}")
    if marks is not None:
        writable(marks)
    jobs = max(1, min(jobs or os.cpu_count() or 1, len(students)))
    free: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
    sandboxes = [Sandbox(hidden=[folder], seconds=seconds) for _ in range(jobs)]
    for sandbox in sandboxes:
        free.put(sandbox)

    inside = [student / "my" for student in students]
    places = [my if my.is_dir() else my.parent for my in inside]
    texts = [hand_in(chosen, place) for place in places]

    def one(files: list[str | Verdict]) -> list[Verdict]:
        sandbox = free.get()
        try:
            return grade_files(chosen, files, sandbox, seed)
        finally:
            free.put(sandbox)

    try:
        with ThreadPoolExecutor(jobs) as pool:
            found = list(pool.map(one, texts))
    finally:
        for sandbox in sandboxes:
            sandbox.close()
    rows = table(students, found)
    if marks is not None:
        write(rows, marks)
    if as_json:
        students_found = {s.name: summary(v) for s, v in zip(students, found, strict=True)}
        report = {"seed": seed, "protection": protection(), "students": students_found}
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            print("  ".join(f"{x!s:<{w}}" for x, w in zip(row, widths, strict=True)).rstrip())
        print(f"\nProtection: {protection()}")


def table(students: Sequence[Path], found: Sequence[Sequence[Verdict]]) -> list[list]:
    """Return a heading and a row per student: points per exercise, then the sums.

    A cell is empty where the exercise was not attempted.
    """
    rows = [["student", *(v.exercise for v in found[0]), "solved", "points", "of"]]
    for student, verdicts in zip(students, found, strict=True):
        tried = ["" if v.status in ("missing", "not attempted") else v.points for v in verdicts]
        total = summary(verdicts)
        name = " ".join(clean(student.name).split())
        rows.append([name, *tried, total["solved"], total["points"], total["of"]])
    return rows


def writable(path: Path) -> None:
    """Raise ValueError unless a table can be written there, before hours of work."""
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} for {path.name}")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ValueError(f"{path} is no plain file: nothing is written there")


def write(rows: list[list], path: Path) -> None:
    """The table as CSV; a name that a spreadsheet would take for a formula gets a quote."""
    with path.open("w", newline="", encoding="utf-8") as file:
        for name, *points in rows:
            safe = f"'{name}" if name.startswith(("=", "+", "-", "@")) else name
            csv.writer(file).writerow([safe, *points])
