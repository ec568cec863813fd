"""Every exercise in the folder: its solution passes, its stub and its wrong answers do not.

Each of these texts is tried in this process as well, as a page tries it: it has to say the same.
"""

from __future__ import annotations

import ast
import itertools
import re
import time
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from lessons.grading import student_file, wire
from lessons.grading.exercise_source import Exercise, exercises
from lessons.grading.sandbox import SECONDS, WALL, Sandbox
from lessons.grading.verdict import grade
from lessons.marking import UNNAMED
from notebooks import student
from notebooks.build import HERE, Tree, assemble
from notebooks.support.holes import tried

from ..support.usual import few

ROOT = Path(__file__).parents[2]
ALL = exercises()
SESSIONS = sorted({e.session for e in ALL})
every = pytest.mark.parametrize("exercise", ALL, ids=lambda e: e.name)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as one:
        yield one


@every
@pytest.mark.parametrize("seed", few(range(10), 1, drawn=1))
def test_the_solution_passes_whatever_is_drawn(exercise, seed, sandbox):
    alone = () if seed else exercise.blocks  # each function, the solution in the others' place
    for only in (*alone, None):
        verdict = grade(exercise, exercise.solution, sandbox, seed, only)
        assert verdict.status == "solved" and verdict.message.startswith("solved"), verdict
    assert seed or tried(exercise, exercise.solution)[:2] == ("solved", verdict.message)


@every
def test_the_stub_is_not_attempted(exercise, sandbox):
    assert "not attempted" in exercise.stub and "# solution" not in exercise.stub
    verdict = grade(exercise, exercise.stub, sandbox)
    assert (verdict.status, verdict.points) == ("not attempted", 0), verdict
    assert tried(exercise, exercise.stub)[0] == "not attempted"
    hole = exercise.with_bodies(dict.fromkeys(exercise.blocks, "..."))  # as a page has it
    said = grade(exercise, hole, sandbox).status, tried(exercise, hole)[0]
    given = exercise.open_in(hole) == []  # lines around the block are there to be read
    assert given or said == ("not attempted", "not attempted")


@every
@pytest.mark.parametrize("seed", few((0, 1), 1, drawn=0))
def test_every_wrong_answer_gets_its_own_message(exercise, seed, sandbox):
    said = []
    for body, word in exercise.module.WRONG:
        verdict = grade(exercise, exercise.wrong(body), sandbox, seed)
        assert verdict.status == "wrong", (word, verdict)
        assert word.lower() in verdict.message.lower(), (word, verdict.message)
        if seed == 0:
            assert tried(exercise, exercise.wrong(body))[:2] == ("wrong", verdict.message)
        said.append(re.sub(r"[\d.]+", "", verdict.message))
    assert len(said) >= 2 and len(set(said)) == len(said), said


MISTAKES = tomllib.loads((Path(__file__).with_name("mistakes.toml")).read_text(encoding="utf-8"))


def test_the_table_of_mistakes_has_every_exercise():
    assert list(MISTAKES) == [e.number for e in ALL]
    for number, kinds in MISTAKES.items():
        assert list(kinds) == ["axis", "sign", "ridge", "mean"], number
    assert sum(bool(one) for kinds in MISTAKES.values() for one in kinds.values()) >= 120


@pytest.mark.parametrize("exercise", ALL, ids=lambda e: e.name)
def test_a_wrong_axis_sign_ridge_or_mean_is_named(exercise):
    for line, slip, says in filter(None, MISTAKES.get(exercise.number, {}).values()):
        assert line in exercise.solution, line
        status, said, _ = tried(exercise, exercise.solution.replace(line, slip))
        assert status == "wrong" and says in said, (slip, said)


@every
def test_the_file_is_as_students_can_read_it(exercise):
    text = ast.get_docstring(ast.parse(exercise.stub))
    assert 1 <= exercise.stars <= 3 and exercise.title and len(text.splitlines()) > 3
    assert "returns" in text and ("Hint:" in text or "Investigate" in text or exercise.stars == 3)
    assert set(exercise.blocks) and "WRONG" not in exercise.stub
    for node in ast.walk(ast.parse(exercise.stub)):  # students are asked to write it themselves
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            given = "lessons", *(() if exercise.option("LIB") else ("lib",))
            assert not any(name.split(".")[0] in given for name in names)


def lines(text: str) -> list[str]:
    """Lines of code without their spaces and comments."""
    return [x for line in text.splitlines() if (x := re.sub(r"(^ *|  )#.*|\s", "", line))]


def test_no_page_for_students_has_two_lines_of_a_solution():
    tree, pages = Tree(HERE), {}
    for source in tree.sources():
        page = assemble(source, tree.repository())
        student.stripped(page)
        pages[source.stem] = lines("\n".join("".join(cell["source"]) for cell in page["cells"]))
    pairs = {name: {*itertools.pairwise(page)} for name, page in pages.items()}
    for exercise in ALL:
        given = {*itertools.pairwise(lines(exercise.stub))}
        for part in ast.parse(exercise.solution).body:
            if getattr(part, "name", "") in exercise.blocks:
                first = part.body[ast.get_docstring(part) is not None].lineno - 1
                body = lines("\n".join(exercise.solution.splitlines()[first : part.end_lineno]))
                own = {*itertools.pairwise(body)} - given
                assert not [name for name, page in pairs.items() if own & page], exercise.number


def test_the_course_is_whole():
    assert SESSIONS == list(range(1, 11)) and len(ALL) >= 36


@pytest.mark.parametrize("session", SESSIONS)
def test_a_session_rises_and_its_page_names_every_exercise(session):
    mine = [e for e in ALL if e.session == session]
    assert [e.place for e in mine] == list(range(1, len(mine) + 1)) and 3 <= len(mine) <= 6
    assert sorted(mine, key=lambda e: e.stars) == mine
    page = (ROOT / "lessons" / f"session_{session}.md").read_text(encoding="utf-8")
    for exercise in mine:
        assert f"{exercise.number} {'★' * exercise.stars} {exercise.title}" in page, exercise.name
    assert page.count("<details>") == page.count("</details>") >= 4
    plan = re.findall(r"^\| (\d+) \| (.+) \|$", page, re.M)
    assert sum(int(minutes) for minutes, _ in plan) == 90, plan
    assert plan[0] == ("5", 'the five questions from "Before and after", answered individually')
    assert " ".join(plan[-1]).startswith("5 the five questions again, answered individually")
    name = re.search(r"\.\./notebooks/(\w+\.ipynb)", page)[1]
    assert f"`.venv/bin/jupyter lab notebooks/{name} --ServerApp.root_dir=.`" in page
    teacher = (ROOT / "lessons" / "TEACHER.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!http)([^)#]+)", page + teacher):
        assert (ROOT / "lessons" / link).exists(), link


def test_a_slip_is_told_once_and_without_the_line_that_it_is_in(sandbox):
    """Also where the function is not the first that is asked, and nothing where none fits."""
    one = exercises("3.3")[0]
    text = one.solution.replace("- torch.outer(K.T @ u0", "+ torch.outer(K.T @ u0")
    said = grade(one, text, sandbox).message
    assert said.startswith("keeping: you get these numbers if one sign is flipped, + instead of")
    assert "outer" not in said and tried(one, text)[1] == said
    foreign = grade(one, one.with_bodies({"keeping": "return K.T @ K"}), sandbox).message
    assert foreign.endswith(UNNAMED) and "slip" not in foreign
    endless = exercises("3.4")[0]  # a slip in its `while` might never end
    start = time.monotonic()
    assert grade(endless, endless.wrong("return [0] * len(q)"), sandbox).status == "wrong"
    assert time.monotonic() - start < 30


WORDS = {word: n for n, word in enumerate(["", "one", "two", "three", "four", "five", "six"])}
WORDS |= {"nine": 9, "ten": 10}


def test_numbers_of_the_teachers_page_and_the_readme_are_counted():
    teacher = (ROOT / "lessons" / "TEACHER.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    grading, making = (
        (ROOT / "lessons" / name).read_text(encoding="utf-8")
        for name in ("GRADING.md", "EXERCISES.md")
    )
    said = re.findall(r"(\w+) sessions", teacher.partition("## Schedule")[0] + readme)
    assert {WORDS[word.lower()] for word in said} == {len(SESSIONS)} and len(said) == 2
    rows = re.findall(
        r"^\| \[(\d+)\]\(session_\1\.md\) \|.+\| (\d+\.1)–(\d+\.\d+) \|$", teacher, re.M
    )
    ranges = [[e.number for e in ALL if e.session == n] for n in SESSIONS]
    assert rows == [(str(n), some[0], some[-1]) for n, some in zip(SESSIONS, ranges, strict=True)]
    second = re.findall(r"(?:one student|30 students), (\w+) exercises", grading)
    assert len(second) == 2 and {WORDS[word] for word in second} == {len(ranges[1])}
    seconds, wall, total = re.search(
        r"(\d+) CPU seconds and (\d+) s on the clock a call, (\d+) CPU seconds in all", grading
    ).groups()
    assert (int(seconds), int(wall), int(total)) == (SECONDS, WALL, student_file.TOTAL)
    assert f"{student_file.FILES} of at most {wire.FILE >> 20} MB" in grading
    assert f"{student_file.WRITTEN >> 20} MB in all" in grading
    assert f"{wire.LARGEST >> 10} kB, before it is parsed" in grading
    for path in (ROOT / "lessons").rglob("*.py"):  # what is where
        known = path.stem == "__init__" or re.match(r"l\d+_\d_", path.stem)
        assert known or re.search(rf"\b{path.stem}\.py`", making), path


def test_the_teachers_example_is_an_exercise(sandbox, tmp_path):
    page = (ROOT / "lessons" / "EXERCISES.md").read_text(encoding="utf-8")
    text = re.search(r"```python\n(.*?)```", page, re.S).group(1)
    path = tmp_path / "l3_6_name.py"
    path.write_text(text, encoding="utf-8")
    exercise, module = Exercise(path, 3, 6), ModuleType("example")
    exec(compile(text, str(path), "exec"), module.__dict__)
    exercise.__dict__["module"] = module
    assert (exercise.number, exercise.stars, exercise.title) == ("3.6", 3, "Title of one line")
    assert grade(exercise, exercise.solution, sandbox).status == "solved"
    assert grade(exercise, exercise.stub, sandbox).status == "not attempted"
    for body, word in module.WRONG:
        verdict = grade(exercise, exercise.wrong(body), sandbox)
        assert verdict.status == "wrong" and word in verdict.message, verdict


@pytest.mark.parametrize("session", range(1, 11))
def test_five_questions_stand_before_the_lesson_with_their_answers(session):
    page = (ROOT / "lessons" / f"session_{session}.md").read_text(encoding="utf-8")
    (part,) = re.findall(r"^## Before and after\n(.+?)(?=^## )", page, re.M | re.S)
    asked, _, answers = part.partition("<details>")
    lines = [line for line in re.split(r"^(?=\d\. )", asked, flags=re.M) if line[0].isdigit()]
    assert [re.findall(r"\(([abc])\)\s", line) for line in lines] == [["a", "b", "c"]] * 5
    assert len(re.findall(r"^\d\. \*\*[abc]\.\*\*", answers, re.M)) == 5
