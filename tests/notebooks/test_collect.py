"""Notebooks that are handed in: their holes become the files that the grader reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lessons.grading.exercise_source import exercises
from notebooks import collect

(WEIGH,) = exercises("5.1")
IMPORTS = "%matplotlib inline"
USED = "import math as m\nfrom torch.linalg import solve, inv\nimport lib"
FILLED = """
def memit(W, K, V, C, lam):
    return solve(lam * C + K @ K.T, K @ (V - W @ K).T).T * m.exp(0)


print("not run")
memit = use("5.1", memit)
"""
EMPTY = 'def memit(W, K, V, C, lam):\n    """Shapes."""\n    ...\nmemit = use("5.1", memit)\n'


def notebook(*cells: str) -> str:
    made = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    return json.dumps({"cells": [{"cell_type": "markdown", "source": "5.1"}, *made]})


@pytest.fixture
def student(tmp_path) -> Path:
    folder = tmp_path / "students" / "ada"
    folder.mkdir(parents=True)
    return folder


def test_a_hole_becomes_a_file_that_is_right(student, capsys):
    (student / "05_memit.ipynb").write_text(notebook(IMPORTS, USED, FILLED))
    (student / "01_x.ipynb").write_text(notebook(EMPTY))
    assert collect.main([str(student.parent)]) == 0
    path = student / WEIGH.path.name
    assert capsys.readouterr().err.strip() == str(path)
    assert [p.suffix for p in student.iterdir()].count(".py") == 1
    text = path.read_text(encoding="utf-8")
    assert text.startswith(WEIGH.stub.partition("def memit")[0].rstrip())
    assert "import math as m" in text and "from torch.linalg import solve\n" in text
    assert "lib" not in text.partition("import math")[2] and "print" not in text
    module: dict = {}
    exec(text, module)
    assert not WEIGH.module.check(lambda name, *given: module[name](*given), _draw()).startswith(
        "no"
    )


def _draw():
    import torch

    return torch.Generator().manual_seed(0)


def test_what_is_there_stays_and_open_holes_are_left_out(student):
    (student / "05_memit.ipynb").write_text(notebook(FILLED))
    (student / "my").mkdir()
    path = student / "my" / WEIGH.path.name
    path.write_text("mine")
    assert list(collect.collect(student)) == [] and path.read_text() == "mine"
    path.unlink()
    path.symlink_to(student / "elsewhere")
    assert list(collect.collect(student)) == [] and not (student / "elsewhere").exists()
    (student / "05_memit.ipynb").write_text(notebook(EMPTY))
    path.unlink()
    assert list(collect.collect(student)) == [] and not path.exists()


def test_a_hole_that_is_not_python_is_handed_to_the_grader_as_it_is(student):
    broken = 'def memit(W:\n    pass\nmemit = use("5.1", memit)\n'
    (student / "05_memit.ipynb").write_text(notebook(broken))
    assert len(list(collect.collect(student))) == 1
    assert (student / WEIGH.path.name).read_text() == broken


def test_a_neighbors_notebook_behind_a_link_is_not_taken(student):
    (student / "05_memit.ipynb").write_text(notebook(FILLED))
    ben = student.parent / "ben"
    ben.mkdir()
    (ben / "my").symlink_to(student)
    (ben / "05_memit.ipynb").symlink_to(student / "05_memit.ipynb")
    (said,) = collect.collect(ben)
    assert "a link" in said and sorted(p.name for p in ben.iterdir()) == ["05_memit.ipynb", "my"]
    assert [p.name for p in student.iterdir()] == ["05_memit.ipynb"]


HOSTILE = {
    "no JSON": "hello",
    "a source of another kind": '{"cells": [{"cell_type": "code", "source": 1e9}]}',
    "deep": "[" * 200_000,
    "no letters": b"\xff\xfe\xfa",
    "huge": " " * (collect.LARGEST + 1),
    "deep code": notebook(f'use("5.1", {"(" * 5000})'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_notebook_is_one_sentence_and_stops_nobody(name, student, capsys):
    path, content = student / "05_memit.ipynb", HOSTILE[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    ben = student.parent / "ben"
    ben.mkdir()
    (ben / "05_memit.ipynb").write_text(notebook(FILLED))
    assert collect.main([str(student.parent)]) == 0
    first, last = capsys.readouterr().err.splitlines()
    if name in ("no JSON", "deep"):
        assert "05_memit.ipynb is no notebook: save it in Jupyter" in first
    assert len(first) < 300 and "ada" in first and last.endswith(WEIGH.path.name)
    assert (ben / WEIGH.path.name).is_file()
