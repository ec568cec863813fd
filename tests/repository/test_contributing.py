"""The paths and names of CONTRIBUTING.md exist; test_recipes.py follows its recipes."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def section(title):
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[
        1
    ]


def answers():
    """(question, paths, name) of each row of the newcomer's table."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section("Where is …?").strip().splitlines()
    ]
    return [
        (question, re.findall(r"`([\w/.]+)`", path), name.strip("`"))
        for question, path, name in rows[2:]
    ]


def defined(path):
    """What a Python file defines at its top level."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
    return names


@pytest.mark.parametrize("question, paths, name", answers())
def test_every_answer_is_a_file_that_defines_it(question, paths, name):
    assert question.endswith("?") and paths
    for path in paths:
        assert (ROOT / path).is_file(), path
    if name:
        assert name in defined(ROOT / paths[0]), f"{paths[0]} does not define {name}"


def test_every_package_of_the_map_is_there():
    packages = re.findall(r"^\| (`.*?) \|", section("The map"), re.MULTILINE)
    named = {name.rstrip("/") for row in packages for name in re.findall(r"`([\w/.]+)`", row)}
    for name in named:
        path = ROOT / "lib" / name
        assert path.exists() or path.with_suffix(".py").exists(), name
    there = {
        path.relative_to(ROOT / "lib").as_posix()
        for folder in ("lib", "lib/workbench")
        for path in (ROOT / folder).iterdir()
        if (path.is_dir() and path.name != "__pycache__") or path.suffix == ".py"
    }
    assert there - {"workbench", "workbench/__init__.py"} == named
