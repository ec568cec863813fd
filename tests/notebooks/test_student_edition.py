"""The student's edition: pages without outputs and answers, and the answers for a teacher."""

import ast
import json
import re

import nbformat
import pytest

from lessons.grading.exercise_source import exercises
from notebooks import build, student
from notebooks.build import HERE, Tree

PAGES = [Tree(HERE).notebook(source) for source in Tree(HERE).sources()]


def test_pages_have_no_outputs_and_no_answers(tmp_path):
    student.edition(PAGES, tmp_path / "student")
    for path in PAGES:
        page = nbformat.read(tmp_path / "student" / path.name, 4)
        nbformat.validate(page)
        assert all(c.get("execution_count") is None and not c.get("outputs") for c in page.cells)
        text = "\n".join(cell.source for cell in page.cells)
        assert not any(f"<summary>{it}" in text for it in ("Solution", "Answer", "Work it out"))
        whole = path.read_text(encoding="utf-8")
        answers = (tmp_path / "student/teacher" / f"{path.stem}.md").read_text(encoding="utf-8")
        assert answers.count("**Solution") == whole.count("<summary>Solution")
        assert text.count("<summary>Hint") == whole.count("<summary>Hint")
        for cell in page.cells:  # of two folds in a row one has to see which is whose
            titles = re.findall("<summary>(.+?)<", cell.source)
            assert len(titles) == len({*titles}), (path, titles)
        # without an empty line the text behind what is folded shows its asterisks
        assert not any(re.search(r"</details>\n(?!\n)", cell.source) for cell in page.cells)


def test_what_is_taken_out_stands_under_its_heading():
    text = "## One\n\na\n\n<details><summary>Answer</summary>\n\n4, **not** 5\n\n</details>\nb\n\n"
    page = {
        "metadata": {"widgets": {}},
        "cells": [
            {"cell_type": "markdown", "metadata": {}, "source": f"{text}## Two"},
            {"cell_type": "code", "metadata": {}, "outputs": [{}], "execution_count": 3},
        ],
    }
    assert student.stripped(page) == "## One\n\n**Answer**\n\n4, **not** 5\n\n## Two"
    assert page["cells"][0]["source"] == "## One\n\na\n\nb\n\n## Two"


def test_a_folder_with_something_in_it_stays_as_it_is(tmp_path, capsys):
    (tmp_path / "mine.ipynb").write_text("my work")
    assert build.main(["--student", str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.ipynb"]


def test_a_broken_page_leaves_nothing_behind(tmp_path):
    (tmp_path / "01_x.ipynb").write_text(json.dumps({"metadata": {}, "cells": [{}]}))
    with pytest.raises(KeyError):
        student.edition([tmp_path / "01_x.ipynb"], tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["01_x.ipynb"]


def bodies():
    """The solution of every exercise by function, as lines of more than a few letters."""
    for exercise in exercises():
        for part in ast.parse(exercise.solution).body:
            if getattr(part, "name", "") in exercise.blocks:
                lines = map(str.strip, ast.unparse(part.body[-1]).splitlines())
                yield exercise.number, [line for line in lines if len(line) > 40]


def test_no_solution_no_verdict_and_no_output_is_left_anywhere(tmp_path):
    out = tmp_path / "student"
    student.edition(PAGES, out)
    files = [path for path in out.rglob("*") if path.is_file() and path.parent.name != "teacher"]
    assert len(files) == len(PAGES) and {path.suffix for path in files} == {".ipynb"}
    for path in files:
        page = json.loads(path.read_text(encoding="utf-8"))
        code = ["".join(c["source"]) for c in page["cells"] if c["cell_type"] == "code"]
        text = "\n".join("".join(cell["source"]) for cell in page["cells"])
        assert not re.search(r"<summary>(?!Hint|A hint|How these)|\d ✓|\d ✗|Last run with", text), (
            path
        )
        assert not any(cell.get("outputs") for cell in page["cells"])
        assert "image/png" not in path.read_text(encoding="utf-8")
        spaced = " ".join(text.split())
        sent = re.search(r"hint and solution|solution (?:below|above|stands)", spaced)
        assert sent is None, f"{path.name} sends a student to a solution that is not there"
        assert not [n for n, lines in bodies() if any(line in spaced for line in lines)], path
        asked = {name: number for number, name in student.USE.findall("\n".join(code))}
        parts = [part for cell in code for part in ast.parse(cell).body]
        holes = {part.name for part in parts if student.is_empty(part)}
        written = {p.name for p in parts if isinstance(p, ast.FunctionDef)} - holes
        assert asked.keys() <= holes and not asked.keys() & written, path


def test_the_form_of_nbgrader_has_a_solution_and_a_cell_of_points_for_each_hole(tmp_path):
    assert build.main(["--nbgrader", str(tmp_path / "course")]) == 0
    solved, points = set(), 0.0
    for path in PAGES:
        file = tmp_path / "course/source" / path.stem / path.name
        page = nbformat.read(file, 4)
        nbformat.validate(page)
        marked = [cell for cell in page.cells if "nbgrader" in cell.metadata]
        marks = [cell.metadata["nbgrader"] for cell in marked]
        assert len({mark["grade_id"] for mark in marks}) == len(marks)
        for cell, mark in zip(marked, marks, strict=True):
            # what nbgrader's schema of version 3 asks for and allows
            assert mark.keys() - {"points"} == {
                *("schema_version", "grade", "grade_id", "locked", "solution", "task")
            }
            assert mark["schema_version"] == 3 and re.fullmatch(r"[\w-]+", mark["grade_id"])
            assert mark["grade"] == ("points" in mark) and mark["locked"] != mark["solution"]
            opened = cell.source.count("### BEGIN SOLUTION")
            assert (
                opened == cell.source.count("### END SOLUTION") and (opened > 0) == mark["solution"]
            )
            if mark["solution"]:
                ast.parse(cell.source)
                emptied = re.sub(r"### BEGIN.*?### END SOLUTION", "...", cell.source, flags=re.S)
                assert "..." in emptied
            if mark["grade"]:
                solved.add(tuple(re.findall(r'"(.+?)"', cell.source)))
                points += mark["points"]
    wanted = {(number, name) for p in PAGES for number, name in student.USE.findall(_code(p))}
    assert solved == wanted and points > 70


def _code(path):
    page = nbformat.read(path, 4)
    return "\n".join(cell.source for cell in page.cells if cell.cell_type == "code")


def test_nbgrader_takes_its_form(tmp_path):
    nbgraderformat = pytest.importorskip("nbgrader.nbgraderformat")
    student.edition(PAGES[:3], tmp_path / "course", nbgrader=True)
    for file in (tmp_path / "course").rglob("*.ipynb"):
        nbgraderformat.read(str(file), as_version=nbformat.current_nbformat)
