"""The student's edition: pages without outputs and answers, and the form of nbgrader."""

import ast
import json
import re

import nbformat

from lessons.grading.exercise_source import exercises
from notebooks import build, student
from notebooks.build import HERE, Tree

PAGES = [Tree(HERE).notebook(source) for source in Tree(HERE).sources()]


def test_a_folder_with_something_in_it_stays_as_it_is(tmp_path, capsys):
    (tmp_path / "mine.ipynb").write_text("my work")
    assert build.main(["--student", str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.ipynb"]


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
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == len(PAGES) and {path.suffix for path in files} == {".ipynb"}
    known = [*bodies()]
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
        assert not [n for n, lines in known if any(line in spaced for line in lines)], path
        asked = {name: number for number, name in student.USE.findall("\n".join(code))}
        parts = [part for cell in code for part in ast.parse(cell).body]
        holes = {part.name for part in parts if student.is_empty(part)}
        written = {p.name for p in parts if isinstance(p, ast.FunctionDef)} - holes
        assert asked.keys() <= holes and not asked.keys() & written, path


def test_the_form_of_nbgrader_has_a_solution_and_a_cell_of_points_for_each_hole(tmp_path):
    assert build.main(["--nbgrader", str(tmp_path / "course")]) == 0
    solved, points = set(), {}
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
                number, name = re.findall(r'"(.+?)"', cell.source)
                solved.add((number, name))
                points.setdefault(number, {})[name] = mark["points"]
    wanted = {(number, name) for p in PAGES for number, name in student.USE.findall(_code(p))}
    assert solved == wanted
    for number, given in points.items():  # 2 points of three functions are 0.67, 0.66 and 0.67
        (exercise,) = exercises(number)
        if given.keys() == {*exercise.blocks}:
            assert round(sum(given.values()), 9) == exercise.stars, number
    assert sum(map(len, points.values())) > 70


def _code(path):
    page = nbformat.read(path, 4)
    return "\n".join(cell.source for cell in page.cells if cell.cell_type == "code")
