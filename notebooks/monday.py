"""All that a session needs on its day, in one new folder.

    python -m lessons monday 1 --to monday_1

student.zip     for students: the pages that this session is the first to use, as `student.py` makes
                them, without outputs, answers and solutions
quiz.html       the five questions before and after, a sheet for each student
slides.html     the slides (slides.py)
teacher.html    one sheet: what to do, the minutes, the answers of the quiz, the pitfalls
exam/           sheets.html and answers.html, on the pages up to this session (lessons/exam.py)

Where a browser is found it prints each HTML file into a PDF beside it.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lessons import exam, printing
from lessons.grading import files
from lib.atomic_files import whole_folder

from . import slides, student

ROOT = slides.ROOT
BOX = "before: ☐ a ☐ b ☐ c&emsp;&emsp;after: ☐ a ☐ b ☐ c"
TODAY = """**Today.** Give students `student.zip`, to be unpacked in the folder of the repository: it has
{pages}. Print a `quiz` for each of them, open `slides.html` and press an arrow key to go on, `n` for
your notes. **Afterwards** put what students hand in into a folder `students`, one folder for each, and
run `.venv/bin/python -m lessons.grader class students/ {number} --out report_{number}`. The sheets in `exam` have the seed {seed}."""
COUNTED = """| right answers | 1 | 2 | 3 | 4 | 5 |
|---|---|---|---|---|---|
| before | | | | | |
| after | | | | | |"""


def named(number: int) -> list[str]:
    """The numbers of the pages that a session uses, in class or at home."""
    text = (ROOT / f"lessons/session_{number}.md").read_text(encoding="utf-8")
    links = re.findall(r"\.\./notebooks/(\d\d[a-z]?)_", text.partition("## Before and after")[0])
    return [*dict.fromkeys(links)]


def archive(pages: Sequence[str], to: Path) -> None:
    """Pack the student's edition of some pages, in a folder `student`."""
    notebooks = [path for page in pages for path in (ROOT / "notebooks").glob(f"{page}_*.ipynb")]
    with tempfile.TemporaryDirectory() as place:
        student.edition(notebooks, Path(place) / "student")
        shutil.make_archive(str(to.with_suffix("")), "zip", place, "student")


def quiz(number: int) -> str:
    """The five questions without their answers, each with boxes to tick before and after."""
    told = slides.lesson(number)
    title = told.about.splitlines()[0].lstrip("# ")
    asked = re.split(r"^(?=\d\. )", told.five, flags=re.MULTILINE)[1:]
    boxed = "\n\n".join(f"{question.strip()}\n\n   {BOX}" for question in asked)
    return printing.page(title, [f"# {title}\n\nName:\n\n{boxed}"], size=12)


def sheet(number: int, seed: int, new: Sequence[str]) -> str:
    """The teacher's sheet of a session."""
    told = slides.lesson(number)
    pages = f"page{'s' * (len(new) > 1)} {', '.join(new)}" if new else "no page that is new"
    parts = [told.about, TODAY.format(pages=pages, number=number, seed=seed), told.plan]
    parts += ["## Answers, and how many students got them right", told.answers, COUNTED]
    parts += [f"## {name}\n\n{text}" for name, text in told.parts.items() if name != "Questions"]
    return printing.page(f"Session {number}, for the teacher", ["\n\n".join(parts)], size=8.5)


def write(folder: Path, number: int, students: int, seed: int) -> bool:
    """Make the folder of a session; whether a browser printed all of it.

    Raises ValueError or OSError where it is there or cannot be written.
    """
    files.free(folder)
    before = [page for earlier in range(1, number) for page in named(earlier)]
    new = [page for page in named(number) if page not in before]
    exams = exam.pages(students, seed, [*before, *new])
    made = {
        "teacher.html": sheet(number, seed, new),
        "slides.html": slides.page(number),
        "quiz.html": quiz(number),
        **{f"exam/{name}": exams[name] for name in ("sheets.html", "answers.html")},
    }
    with whole_folder(folder) as whole:
        archive(new, whole / "student.zip")
        for name, text in made.items():
            (whole / name).parent.mkdir(exist_ok=True)
            (whole / name).write_text(text, encoding="utf-8")
        return all([printing.pdf(whole / name) for name in made])
