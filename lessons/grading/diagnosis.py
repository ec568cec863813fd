"""Results of a class in words: a page for the teacher, and a page for each student.

The words come from the checks. Folder names and students' texts are shown as plain text: names are
escaped and messages are indented, so that Markdown doesn't change them.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lessons.grading.student_file import STUB
from lessons.grading.verdict import Verdict, by_session, marked, summary
from lessons.marking import UNNAMED, clean

SHOWN = 3  # named mistakes of an exercise
STOPPED = (
    "## Files that stopped before giving an answer",
    "",
    "Open these files, since the reason may be a slip or a trick. The quoted line is where a",
    "file stopped; the cause may be in an earlier line.",
    "",
)
OPEN = (STUB, "missing")
KINDS = ("solved", "wrong", "stopped", STUB)  # columns of the tables
WIDTH = 92


def plain(name: str) -> str:
    """A folder's name on one line, escaped so that Markdown shows it unchanged."""
    return re.sub(r"([\\`*_\[\]<>|#!&~])", r"\\\1", " ".join(clean(name).split()))


def quoted(text: str, indent: int = 4) -> str:
    """A text that others wrote, indented so that Markdown shows it unchanged."""
    lines = [
        piece
        for line in clean(text).splitlines()
        for piece in textwrap.wrap(line, WIDTH, break_on_hyphens=False) or [""]
    ]
    return textwrap.indent("\n".join(lines), " " * indent)


def listed(names: Iterable[str]) -> str:
    """Names in a sentence."""
    return ", ".join(map(plain, names))


def kind(verdict: Verdict) -> str:
    """The column in which a verdict counts."""
    if verdict.status in OPEN or verdict.unread:
        return STUB
    return "stopped" if verdict.stopped else verdict.status


def mistakes(found: Mapping[str, Verdict]) -> list[tuple[str, list[str]]]:
    """(message, students) for one exercise's wrong answers, the most frequent first.

    Messages that differ only in their numbers are one mistake.
    """
    groups: dict[str, dict[str, str]] = {}
    for student, verdict in found.items():
        for message in (verdict.message, *verdict.others) if kind(verdict) == "wrong" else ():
            if not message.endswith((UNNAMED, f"{STUB}.")):
                told = re.sub(r"-?\d+(\.\d+)?(e[-+]\d+)?", "#", message)
                groups.setdefault(told, {}).setdefault(student, message)
    ranked = sorted(groups.values(), key=len, reverse=True)
    return [(next(iter(said.values())), [*said]) for said in ranked]


def page(
    graded: Mapping[str, Sequence[Verdict]],
    odd: Mapping[str, Sequence[str]],
    others: Sequence[str],
) -> str:
    """The teacher's page: hand-ins to look at, solved exercises, and mistakes.

    odd     sentences about the hand-in of each student
    others  sentences about several students, or about files that are not hand-ins
    """
    lines = [
        f"# What {counted(len(graded))} solved",
        "",
        *_odd(graded, odd, others),
        "| exercise | title | solved | wrong | stopped | not attempted |",
        "|---|---|---|---|---|---|",
    ]
    parts: list[str] = []
    for column in zip(*graded.values(), strict=True):
        one, counts = column[0], Counter(map(kind, column))
        cells = " | ".join([one.title, *(str(counts[name]) for name in KINDS)])
        lines.append(f"| {one.exercise} {'★' * one.stars} | {cells} |")
        if counts["wrong"] or any(v.right for v in column):
            told = _wrong(dict(zip(graded, column, strict=True)))
            parts += [f"## {one.exercise} {one.title}", "", *told]
    whole = [s for s, some in graded.items() if all(v.status == "solved" for v in some)]
    lines += [
        "",
        f"At most {SHOWN} mistakes of each exercise are listed below, the most frequent first,",
        "in the words that the students saw. *Wrong* includes exercises that are partly solved.",
        "The last table shows who left out an exercise. A file that *stopped* did not give an",
        "answer.",
        "",
        f"{counted(len(whole))} solved everything{': ' if whole else ''}{listed(whole)}.",
        "",
        *_stopped(graded),
    ]
    return "\n".join([*lines, *parts, *_stuck(graded)])


def _odd(
    graded: Mapping[str, Sequence[Verdict]],
    odd: Mapping[str, Sequence[str]],
    others: Sequence[str],
) -> list[str]:
    """The part on irregular hand-ins, and on marks that are left open."""
    said = [f"{name}: {one}" for name, some in odd.items() for one in some]
    said += others
    lines = [f"* {plain(one)}" for one in said] or ["Nothing: all hand-ins are in order."]
    empty = [
        f"{plain(name)} ({', '.join(n for n, v in by_session(some).items() if not marked(v))})"
        for name, some in graded.items()
        if not all(map(marked, by_session(some).values()))
    ]
    if empty:
        told = "The gradebooks leave these sessions empty, so decide on the marks yourself: "
        lines += ["", f"{told}{', '.join(empty)}."]
    return ["## Hand-ins to look at", "", *lines, ""]


def _stopped(graded: Mapping[str, Sequence[Verdict]]) -> list[str]:
    """The part on files that did not give an answer."""
    lines: list[str] = []
    for student, verdicts in graded.items():
        if odd := [v for v in verdicts if kind(v) == "stopped"]:
            said: dict[str, list[str]] = {}
            for v in odd:
                said.setdefault(v.message, []).append(v.exercise)
            for message, numbers in said.items():
                head = f"* {plain(student)}, in {', '.join(numbers)}"
                lines += [head, "", quoted(message, 6), ""]
    return [*STOPPED, *lines] if lines else []


def _wrong(found: Mapping[str, Verdict]) -> list[str]:
    """The part of the page on an exercise with wrong answers."""
    lines, named = [], mistakes(found)
    for message, students in named[:SHOWN]:
        lines += [f"* {counted(len(students))}: {listed(students)}", "", quoted(message, 6), ""]
    rest = [*dict.fromkeys(student for _, students in named[SHOWN:] for student in students)]
    if rest:
        more = "with other mistakes, which are listed in their feedback"
        lines += [f"* {counted(len(rest))} {more}: {listed(rest)}", ""]
    other = [
        s
        for s, v in found.items()
        if kind(v) == "wrong" and any(m.endswith(UNNAMED) for m in (v.message, *v.others))
    ]
    if other:
        differ = "whose numbers differ in a way that the check can't explain"
        lines += [f"* {counted(len(other))} {differ}: {listed(other)}", ""]
    partly = {s: found[s] for s in found if found[s].right}
    if partly:
        said = [
            f"{plain(s)} ({v.points:g} of {v.stars} points for {_code(v.right)})"
            for s, v in partly.items()
        ]
        lines += [f"Some functions of the exercise are right: {', '.join(said)}.", ""]
    return lines


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def counted(n: int, what: str = "student") -> str:
    """A number of students, or of something else."""
    return f"{n} {what}" + "s" * (n != 1)


def _stuck(graded: Mapping[str, Sequence[Verdict]]) -> list[str]:
    """A row for each student who has not solved everything, beginning with the fewest points."""
    lines = ["## Who is stuck where", ""]
    rows = []
    for student, verdicts in graded.items():
        lacking = [", ".join(v.exercise for v in verdicts if kind(v) == name) for name in KINDS[1:]]
        if any(lacking):
            total = summary(verdicts)
            of = f"{total['points']:g} of {total['of']}"
            cells = " | ".join((plain(student), of, *lacking))
            rows.append((total["points"], f"| {cells} |"))
    if not rows:
        return [*lines, "No one: everything is solved.", ""]
    lines += ["| student | points | wrong | stopped | not attempted |", "|---|---|---|---|---|"]
    return [*lines, *(row for _, row in sorted(rows, key=lambda row: row[0])), ""]


def feedback(student: str, verdicts: Sequence[Verdict], notes: Sequence[str] = ()) -> str:
    """The page of one student: notes on versions and lateness, and the message of each check."""
    total = summary(verdicts)
    lines = [
        f"# Feedback for {plain(student)}",
        "",
        f"{total['points']:g} of {total['of']} points. "
        f"Solved completely: {total['solved']} of {total['exercises']} exercises.",
    ]
    if notes:
        lines += ["", *(f"* {plain(note)}" for note in notes)]
    for v in verdicts:
        lines += ["", f"## {v.exercise} {'★' * v.stars} {v.title}: {v.result}", ""]
        lines.append(quoted("\n".join([v.message, *v.others])))
        if v.right:
            gives = f"That gives {v.points:g} of {v.stars} points."
            lines += ["", f"Already right, of {v.parts} functions: {_code(v.right)}. {gives}"]
        if v.printed:
            lines += ["", "Your file printed:", "", quoted("\n".join(v.printed.splitlines()[:20]))]
    return "\n".join(lines) + "\n"
