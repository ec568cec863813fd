"""A course of several weeks: the contents of its folder, its deadlines, and one page about it."""

from __future__ import annotations

import csv
import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from statistics import median

from lessons.grading import files, hand_ins
from lessons.grading.diagnosis import counted
from lessons.grading.diagnosis import plain as shown
from lessons.grading.exercise_source import Exercise, exercises
from lessons.grading.hand_ins import HandIn
from lessons.grading.verdict import Verdict, by_session, marked, missing, plain, summary

DAY = 24 * 60 * 60
COPIED = " No one was in time. Were the files copied? A copied file may have the date of the copy."
MISSED = 10  # exercises in the table of those that are missed most


@dataclass(frozen=True)
class Deadlines:
    """`deadlines.toml` of a class or a course: when each session is due, in seconds since 1970.

    grace    minutes that are not counted
    deducted fraction of the points for every day begun after that; 0 by default
    """

    due: Mapping[str, float] = field(default_factory=dict)
    grace: float = 0.0
    deducted: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> Deadlines:
        """Read the deadlines in the folder, or next to it. Raises ValueError with the mistake."""
        there = (place / "deadlines.toml" for place in (folder, folder.resolve().parent))
        path = next((one for one in there if one.is_file()), None)
        if path is None:
            return cls()
        try:
            told = tomllib.loads(files.text_of(path))
            due = {session: _seconds(when) for session, when in told.pop("due").items()}
            found = cls(due, **{key: float(value) for key, value in told.items()})
            if not (0 <= found.grace < math.inf and 0 <= found.deducted <= 1):
                raise ValueError("grace is in minutes, deducted is a fraction from 0 to 1")
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            form = (
                "[due], 2 = 2026-10-12 23:59:00; optionally above it grace = 30 and deducted = 0.1"
            )
            raise ValueError(f"{path} cannot be read ({error}). Its form is {form}") from None
        return found

    def late(self, session: str, saved: float) -> float:
        """Seconds after the deadline and its grace; 0 for work in time or without a deadline."""
        due = self.due.get(session, math.inf) + 60 * self.grace
        return max(0.0, saved - due)

    def kept(self, chosen: Sequence[Exercise], some: Sequence[HandIn]) -> dict:
        """{(student, session): the fraction of the points that is left}, for late work."""
        return {
            (one.student, n): max(0.0, 1 - self.deducted * math.ceil(late / DAY))
            for one in some
            for n, saved in sessions(chosen, one).items()
            if (late := self.late(n, saved))
        }

    def deducted_from(
        self, chosen: Sequence[Exercise], one: HandIn, verdicts: Sequence[Verdict]
    ) -> Iterator[str]:
        """Sentences for the student on points deducted from a session, as in the gradebook."""
        kept, saved = self.kept(chosen, [one]), sessions(chosen, one)
        for n, some in by_session(verdicts).items():
            share, points = kept.get((one.student, n), 1), summary(some)["points"]
            if share < 1 and points and marked(some):
                seconds = self.late(n, saved[n])
                days = counted(math.ceil(seconds / DAY), "day")
                late = f"Session {n} was {span(seconds)} late ({days} begun)"
                count = f"{plain(points * share):g} of {points:g} points count"
                yield f"{late}, so {1 - share:.0%} is deducted: {count}."

    def told(self, chosen: Sequence[Exercise], some: Sequence[HandIn]) -> Iterator[str]:
        """Sentences for the teacher on each session with late work."""
        each = f" ({self.deducted:.0%} is deducted for each day or part of a day)"
        lost = each * bool(self.deducted)
        saved = {one.student: sessions(chosen, one) for one in some}
        for n in self.due:
            late = {who: self.late(n, when[n]) for who, when in saved.items() if when.get(n)}
            names = [f"{who} ({span(seconds)})" for who, seconds in late.items() if seconds]
            if names:
                yield f"Late in session {n}{lost}: {', '.join(names)}.{COPIED * all(late.values())}"


def _seconds(when: object) -> float:
    """A date from TOML. A day ends at midnight, and a time without a zone is local time."""
    if isinstance(when, datetime):
        return when.timestamp()
    if isinstance(when, date):
        return datetime.combine(when, time.max).timestamp()
    raise ValueError(f"{when!r} is not a date")


def day(seconds: float) -> str:
    """A date as shown on the page: 5 Oct."""
    return datetime.fromtimestamp(seconds).strftime("%d %b").lstrip("0")


def span(seconds: float) -> str:
    """A time in minutes, in hours, or in days and hours, rounded up."""
    if seconds < 3600:
        return f"{math.ceil(seconds / 60)} min"
    days, hours = divmod(math.ceil(seconds / 3600), 24)
    return " ".join([f"{days} d"] * bool(days) + [f"{hours} h"] * bool(hours))


def sessions(chosen: Sequence[Exercise], one: HandIn) -> dict[str, float]:
    """When the last file of each session was saved, or 0 if there isn't one."""
    found: dict[str, float] = {}
    for exercise, saved in zip(chosen, one.saved, strict=True):
        found[str(exercise.session)] = max(found.get(str(exercise.session), 0.0), saved)
    return found


def read(
    chosen: Sequence[Exercise], folder: Path, weeks_of: bool
) -> tuple[list[Exercise], list[HandIn], list[str]]:
    """The exercises, the hand-ins, and notes on them, for one folder or one for each session.

    Folders of sessions are called 2, week_2 or session 02. A course without such folders is read as
    a single class in which every student has the files of all sessions.
    """
    weeks: dict[int, dict[str, HandIn]] = {}
    odd, unread = [], []
    there = files.listed(folder) if weeks_of and folder.is_dir() else []
    known = {one.session for one in exercises("all")}
    for path in sorted(folder.glob("*") if weeks_of else ()):
        found = re.fullmatch(r"(?:week|session)?[ _-]*0*(\d+)", path.name.casefold())
        mine = [one for one in chosen if found and str(one.session) == found[1]]
        if path in there and not (found and path.is_dir() and int(found[1]) in known):
            unread.append(path.name)
        if mine and path.is_dir():
            if mine[0].session in weeks:
                raise ValueError(f"two folders in {folder} belong to session {mine[0].session}")
            try:
                some, loose = hand_ins.read(mine, path)
            except ValueError as error:
                some, loose = [], [str(error)]
            odd += [f"Session {mine[0].session}: {said}" for said in loose]
            weeks[mine[0].session] = {one.student: one for one in some}
    called = "the folder of a session is called 2, week_2 or session 02"
    if not weeks:
        some, odd = hand_ins.read(chosen, folder)
        return list(chosen), some, [f"Read as one class: {called}."] * weeks_of + odd
    if unread:
        odd.insert(0, f"Not read: {', '.join(unread)}; {called}.")
    chosen = [one for one in chosen if one.session in weeks]
    everybody = []
    for name in sorted({name for week in weeks.values() for name in week}):
        whole = HandIn(name, [], [])
        for session, week in sorted(weeks.items()):
            some = [missing(one) for one in chosen if one.session == session]
            part = week.get(name, HandIn(name, some, [0.0] * len(some)))
            whole.texts += part.texts
            whole.saved += part.saved
            whole.odd += [f"Session {session}: {said}" for said in part.odd]
            whole.versions += [f"Session {session}: {said}" for said in part.versions]
        everybody.append(whole)
    return chosen, everybody, odd


def page(
    graded: Mapping[str, Sequence[Verdict]],
    some: Sequence[HandIn],
    dates: Deadlines,
    folder: Path,
) -> str:
    """The teacher's page on all weeks."""
    first = next(iter(graded.values()))
    chosen = [exercises(v.exercise)[0] for v in first]
    of = {n: summary(v)["of"] for n, v in by_session(first).items()}
    kept, points = dates.kept(chosen, some), dict[str, dict[str, float]]()
    lines = [f"# {counted(len(graded), 'student')}, {counted(len(of), 'session')}", ""]
    due = {n: f", due {day(when)}" for n, when in dates.due.items()}
    heads = [f"{n} (of {most}{due.get(n, '')})" for n, most in of.items()]
    lines += [f"| student | {' | '.join(heads)} | points |", "|---" * (len(of) + 2) + "|"]
    saved = {one.student: sessions(chosen, one) for one in some}
    for student, verdicts in graded.items():
        mine = points[student] = {}
        cells = []
        for n, part in by_session(verdicts).items():
            late = dates.late(n, saved[student][n])
            mine[n] = summary(part)["points"] * kept.get((student, n), 1)
            when = day(saved[student][n])
            what = f"{plain(mine[n]):g}" if marked(part) else "?"
            when += f", {span(late)} late" if late else ""
            cells.append(f"{what} ({when})" if saved[student][n] else "")
        cells.append(f"{plain(sum(mine.values())):g}")
        lines.append(f"| {shown(student)} | {' | '.join(cells)} |")
    lines += [
        "",
        "A cell shows the points, and the day on which the last file of the session was saved,",
        "which copying may change. *?* means that there is no mark: class.md explains why.",
        "",
        "## Who falls behind",
        "",
        *behind(points),
        "",
        "## Exercises missed most often",
        "",
        "| exercise | solved | tried and not solved | not attempted |",
        "|---|---|---|---|",
        *often(graded),
        "",
        *quiz(folder / "quiz.csv"),
    ]
    return "\n".join(lines) + "\n"


def behind(points: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Students with less than half of the median's points in both of the last two sessions."""
    given = [n for n in next(iter(points.values())) if any(mine[n] for mine in points.values())]
    last = given[-2:]
    half = {n: median(mine[n] for mine in points.values()) / 2 for n in last}
    names = [shown(s) for s, mine in points.items() if all(mine[n] < half[n] for n in last)]
    if len(last) < 2:
        return ["This needs two sessions with points."]
    who = {0: "No student has", 1: "This student has"}.get(len(names), "These students have")
    two = f"both of the last two graded sessions ({' and '.join(last)})"
    end = f": {', '.join(names)}." if names else "."
    return [f"{who} less than half the median in {two}{end}"]


def often(graded: Mapping[str, Sequence[Verdict]]) -> list[str]:
    """Rows of the exercises solved by the fewest students, sorted by attempts."""
    rows = []
    for column in zip(*graded.values(), strict=True):
        count = Counter("solved" if v.status == "solved" else v.tried for v in column)
        cells = f"{count['solved']} | {count[True]} | {count[False]}"
        head = f"| {column[0].exercise} {column[0].title} | {cells} |"
        rows.append((count["solved"], -count[True], head))
    rows.sort(key=lambda row: row[:2])
    return [row for solved, _, row in rows[:MISSED] if solved < len(graded)]


def quiz(path: Path) -> list[str]:
    """The table of the counts in `quiz.csv`: session, question, before, after, of."""
    if not path.is_file():
        return []
    lines = [
        "## Before and after",
        "",
        "| session | question | before | after |",
        "|---|---|---|---|",
    ]
    try:
        for row in csv.reader(files.text_of(path).splitlines()):
            if row and row[0].strip().isdigit():
                session, question, before, after, of = map(int, row)
                cells = f"{before} of {of} | {after} of {of}"
                lines.append(f"| {session} | {question} | {cells} |")
    except (ValueError, csv.Error) as error:
        form = "session,question,before,after,of, then a line of numbers for each question"
        lines.append(f"\n{path.name} cannot be read further ({error}). Its form is `{form}`.")
    return [*lines, ""]
