"""Marks as the tables that Canvas and Moodle read: a row for each student, a column per session.

Both find a student by the name of the folder, which has to be the name that they log in with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lessons.grading import files
from lessons.grading.verdict import Verdict, summary
from lessons.marking import clean


def gradebooks(graded: Mapping[str, Sequence[Verdict]]) -> dict[str, str]:
    """The files canvas.csv and moodle.csv; whoever has handed in nothing gets 0 points."""
    some = next(iter(graded.values()))
    sessions = list(dict.fromkeys(v.exercise.partition(".")[0] for v in some))
    titles = [f"Session {session}" for session in sessions]
    of = [_sum(some, session)["of"] for session in sessions]
    canvas = [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *titles],
        ["Points Possible", "", "", "", "", *of],  # Canvas makes new assignments with these
    ]
    moodle: list[list] = [["Username", *titles]]
    for student, verdicts in graded.items():
        name = " ".join(clean(student).split())
        login = f"'{name}" if name.startswith(files.FORMULA) else name  # as in the first column
        points = [_sum(verdicts, session)["points"] for session in sessions]
        canvas.append([name, "", "", login, "", *points])
        moodle.append([name, *points])
    return {"canvas.csv": files.as_csv(canvas), "moodle.csv": files.as_csv(moodle)}


def _sum(verdicts: Sequence[Verdict], session: str) -> dict:
    return summary([v for v in verdicts if v.exercise.startswith(f"{session}.")])
