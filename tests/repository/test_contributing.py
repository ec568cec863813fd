"""CONTRIBUTING.md tells the truth: its paths and names exist, its example is an editor."""

import ast
import re
import sys
import types
import warnings
from pathlib import Path

import pytest
import torch

import lib

from ..support import tiny

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


def test_there_are_thirty_questions():
    assert len(answers()) >= 30 and len({question for question, _, _ in answers()}) >= 30


@pytest.mark.parametrize("question, paths, name", answers())
def test_every_answer_is_a_file_that_defines_it(question, paths, name):
    assert question.endswith("?") and paths
    for path in paths:
        assert (ROOT / path).is_file(), path
    if name:
        assert name in defined(ROOT / paths[0]), f"{paths[0]} does not define {name}"


def test_every_room_of_the_map_is_there():
    rooms = re.findall(r"^\| \d+ \| (.*?) \|", section("The map"), re.MULTILINE)
    named = {name.rstrip("/") for row in rooms for name in re.findall(r"`([\w/.]+)`", row)}
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


@pytest.fixture
def example(monkeypatch):
    """The editor of the page, as if its file stood in lib/editors."""
    code = re.search(r"```python\n(.*?)```", section("Add an editor"), re.DOTALL)[1]
    module = types.ModuleType("lib.editors.nudge")
    module.__package__ = "lib.editors"
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where dataclasses look names up
    exec(compile(code, "CONTRIBUTING.md", "exec", dont_inherit=True), module.__dict__)
    monkeypatch.setitem(lib.EDITORS, "nudge", module.Nudge)
    return module.Nudge


def test_the_example_is_an_editor(example, tmp_path):
    lm = tiny.model("llama")
    a, b = lib.Fact("The old tower", "I saw {}", "xy"), lib.Fact("My cat", "{} sleeps on", "qz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lib.errors.EditWarning)
        patch = example(lm, layer=1).edit([a])
        with lm.patched(patch):
            assert lm.answer(a.text, 1) == " " + a.target_new
        again = lib.Patch.load(patch.save(tmp_path / "nudge.safetensors"))
        assert [edit.editor for edit in again.log] == ["nudge"]
        two = [example(lm, layer=1).edit([b], after=p) for p in (patch, again)]
    module = lm.mlp_out(1)
    assert torch.equal(*(lm.weight(module, p) for p in two))
