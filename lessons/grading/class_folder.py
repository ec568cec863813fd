"""Grades a class from one folder per student, several students at a time.

Every student gets the same random inputs, and all files are read before the first is run, so that
no file can change another. The result is a folder containing a page for the teacher, feedback for
each student, the marks as tables, and the message of every verdict as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

from lessons import printing
from lessons.grading import course, diagnosis, files
from lessons.grading.confinement import protection
from lessons.grading.exercise_source import Exercise
from lessons.grading.gradebooks import gradebooks
from lessons.grading.hand_ins import shared
from lessons.grading.sandbox import SECONDS, Sandbox
from lessons.grading.verdict import Verdict, grade_file, summary

STOPPED = 130  # the exit code of a command that was interrupted


def grade_folder(
    chosen: Sequence[Exercise],
    folder: Path,
    report: Path,
    *,
    weeks: bool = False,
    jobs: int | None = None,
    seed: int = 0,
    seconds: float = SECONDS,
) -> int:
    """Grade every student's folder or archive, write the report, and print the table of marks.

    With `weeks` the folder contains one class folder for each session. All get the same inputs.
    Returns 0, or the reason for failing: 1 if the report could not be written at the end, 130 after
    an interruption, 2 if the machine failed. The graded students are shown in any case, and a
    partial result goes into a report with another name.
    """
    if folder.resolve() in report.resolve().parents:
        raise ValueError(f"{report} would be one of the students. Choose a folder outside")
    files.free(report, files.unfinished(report))
    dates = course.Deadlines.read(folder)
    chosen, hand_ins, odd = course.read(chosen, folder, weeks)
    odd += [*shared(chosen, hand_ins), *dates.told(chosen, hand_ins)]
    texts = [one.texts for one in hand_ins]
    found, why = _graded(chosen, texts, folder, jobs, seed, seconds)
    code = {None: 0, "interrupted": STOPPED}.get(why, 2)
    graded = {one.student: v for one, v in zip(hand_ins, found, strict=True) if v}
    rows = table(graded) if graded else []
    if why is not None:
        print(f"{why}: {len(graded)} of {len(hand_ins)} students are graded", file=sys.stderr)
        report = files.unfinished(report)
    if rows:
        messages = {
            "seed": seed,
            "protection": protection(),
            "students": {name: summary(v) for name, v in graded.items()},
            "not graded": [one.student for one in hand_ins if one.student not in graded],
        }
        books = gradebooks(graded, dates.kept(chosen, hand_ins))
        try:  # before printing, which can also fail
            texts_of = {
                "class.md": diagnosis.page(
                    graded, {h.student: h.odd + h.versions for h in hand_ins}, odd
                ),
                "marks.csv": files.as_csv(rows),
                "messages.json": json.dumps(messages, indent=2, ensure_ascii=False),
                **books,
            }
            for h in (one for one in hand_ins if one.student in graded):
                mine, path = graded[h.student], f"feedback/{h.student}"
                notes = [*h.versions, *dates.deducted_from(chosen, h, mine)]
                text = diagnosis.feedback(h.student, mine, notes)
                html = printing.page(f"Feedback for {h.student}", [text], ours=False)
                texts_of |= {f"{path}.md": text, f"{path}.html": html}
            if weeks:
                texts_of["course.md"] = course.page(graded, hand_ins, dates, folder)
            files.write_folder(report, texts_of)
            begin = "course.md" if weeks else "class.md"
            print(f"The report is in {report}; begin with {begin}.", file=sys.stderr)
        except OSError as error:
            print(f"error: {error}; the marks are only what is printed", file=sys.stderr)
            code = code or 1
    widths = [max(map(len, map(str, column))) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{x!s:<{w}}" for x, w in zip(row, widths, strict=True)).rstrip())
    print(f"\nProtection: {protection()}")
    return code


def _graded(
    chosen: Sequence[Exercise],
    texts: Sequence[list[str | Verdict]],
    folder: Path,
    jobs: int | None,
    seed: int,
    seconds: float,
) -> tuple[list[list[Verdict] | None], str | None]:
    """The verdicts of each student, None for students with incomplete verdicts, and the reason."""
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


def table(graded: Mapping[str, Sequence[Verdict]]) -> list[list]:
    """Return a heading and a row per student: points per exercise, then the sums.

    A cell is empty if the exercise was not attempted or could not be read.
    """
    numbers = [v.exercise for v in next(iter(graded.values()))]
    rows: list[list] = [["student", *numbers, "solved", "points", "of"]]
    for student, verdicts in graded.items():
        total = summary(verdicts)
        tried = [v.points if v.tried else "" for v in verdicts]
        rows.append([student, *tried, total["solved"], total["points"], total["of"]])
    return rows
