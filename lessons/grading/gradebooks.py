"""Marks as the tables that Canvas and Moodle read: a row for each student, a column per session.

Both identify a student by the folder's name, which has to be the login name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lessons.grading import files
from lessons.grading.verdict import Verdict, by_session, marked, plain, summary


def gradebooks(
    graded: Mapping[str, Sequence[Verdict]], kept: Mapping[tuple[str, str], float]
) -> dict[str, str]:
    """The files canvas.csv and moodle.csv; a cell is empty if a mark would be a guess.

    This happens if nothing in a session was attempted, or if one of its files could not be read.
    `kept` maps (student, session) to the fraction of the points left for late work.
    """
    of = {n: summary(v)["of"] for n, v in by_session(next(iter(graded.values()))).items()}
    titles = [f"Session {session}" for session in of]
    canvas = [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *titles],
        ["Points Possible", "", "", "", "", *of.values()],  # Canvas creates new assignments from it
    ]
    moodle: list[list] = [["Username", *titles]]
    for student, verdicts in graded.items():
        quote = "'" if student.startswith(files.FORMULA) else ""  # as in the first column
        points = [
            plain(summary(some)["points"] * kept.get((student, n), 1)) if marked(some) else ""
            for n, some in by_session(verdicts).items()
        ]
        canvas.append([student, "", "", f"{quote}{student}", "", *points])
        moodle.append([student, *points])
    return {"canvas.csv": files.as_csv(canvas), "moodle.csv": files.as_csv(moodle)}
