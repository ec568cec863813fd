"""Write an exam of forty questions: a sheet for each student, and the answers in another folder.

python -m lessons.exam --students 30 --seed 5 exam

Two thirds are questions from lessons/questions.toml, the same for all students; the others have
different numbers on every sheet. The same seed gives the same exam, so keep it as secret as the
answers. To print everything, use `sheets.html` and `answers.html`.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from random import Random

from lessons import printing
from lessons.exam_numbers import KINDS, Question
from lessons.grading import files
from lib.atomic_files import path_of
from lib.errors import sentence
from lib.workbench.console import printable

ASKED = 40
HERE = Path(__file__).parent
HEAD = """# Exam, sheet {number:0{width}}

Name:

There are {asked} questions, each worth one point. Two or three sentences are enough for an answer
in words. If a question asks for a number, write the formula, insert the numbers, and give three
digits after the decimal point.
"""


@cache
def titles() -> dict[str, str]:
    """The titles of the notebooks, by their numbers."""
    heading = re.compile(r'"# (.+?)(?:\\n)?"')
    pages = sorted((HERE.parent / "notebooks").glob("*_*.ipynb"))
    found = ((path.name, heading.search(path.read_text(encoding="utf-8"))) for path in pages)
    return {name.partition("_")[0]: title[1] for name, title in found if title}


def common(seed: int, taught: Collection[str]) -> list[Question]:
    """Questions on the pages that were taught, the same for all students, some for each page."""
    text = (HERE / "questions.toml").read_text(encoding="utf-8")
    draw, piles = Random(f"{seed}/common"), []
    for page in tomllib.loads(text)["page"]:
        if page["number"] in taught:
            pile = [Question(page["number"], *pair) for pair in page["questions"]]
            piles.append(draw.sample(pile, len(pile)))
    if lacking := {kind(Random(0)).page for kind in KINDS} - {*titles()}:
        raise ValueError(f"notebooks/ lacks pages that the exam asks about: {', '.join(lacking)}")
    draw.shuffle(piles)
    rounds = [question for same in zip(*piles, strict=False) for question in same]
    return rounds[: ASKED - len(KINDS)]


def sheet(seed: int, number: int, taught: Collection[str] | None = None) -> list[Question]:
    """The questions of one student, in the order of the pages; each has all kinds.

    taught  the numbers of the pages to ask about, or None for all
    """
    taught = titles() if taught is None else taught
    own = [kind(Random(f"{seed}/{number}/{kind.__name__}")) for kind in KINDS]
    asked = [*common(seed, taught), *(question for question in own if question.page in taught)]
    return sorted(asked, key=lambda question: question.page)


def pages(students: int, seed: int, taught: Collection[str] | None = None) -> dict[str, str]:
    """All files of an exam, by their paths in its folder."""
    made, width = {}, max(2, len(str(students)))
    for number in range(1, students + 1):
        questions = sheet(seed, number, taught)
        asked = [HEAD.format(number=number, width=width, asked=len(questions))]
        told = [f"# Answers to sheet {number:0{width}}, seed {seed}\n"]
        for i, question in enumerate(questions, 1):
            if i == 1 or question.page != questions[i - 2].page:
                asked.append(f"## {titles()[question.page]}\n")
            asked.append(f"**{i}.** {question.text}\n")
            told.append(f"**{i}.** {question.answer} (Page {question.page}.)\n")
        name = f"student_{number:0{width}}.md"
        made |= {f"sheets/{name}": "\n".join(asked), f"answers/{name}": "\n".join(told)}
    for folder in ("sheets", "answers"):
        texts = [text for path, text in made.items() if path.startswith(folder)]
        made[f"{folder}.html"] = printing.page(f"Exam: {folder}", texts)
    return made


def counted(given: str) -> int:
    """A number of students, as given to a command."""
    if not given.isdecimal() or not 1 <= int(given[:5]) <= 1000:
        raise argparse.ArgumentTypeError(f"{given[:20]} is not a number of students from 1 to 1000")
    return int(given)


@printable()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 with a sentence if nothing was written."""
    parser = argparse.ArgumentParser(
        prog="python -m lessons.exam", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--students", type=counted, required=True, help="sheets, 1 to 1000")
    parser.add_argument("--seed", type=int, required=True, help="the same seed, the same exam")
    parser.add_argument("out", type=path_of, help="the folder to create")
    given = parser.parse_args(argv)
    try:
        files.free(given.out)
        files.write_folder(given.out, pages(given.students, given.seed))
    except (ValueError, OSError) as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    print(
        f"{given.students} sheets are in {given.out / 'sheets'}, and their answers, which are\n"
        f"only for teachers, in {given.out / 'answers'}. Print sheets.html and answers.html."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
