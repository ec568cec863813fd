"""The student's own editor, grown from functions of several pages."""

import ast
import inspect
import os

import pytest
from torch import Tensor

from notebooks.support import hand_ins


def double(x):
    return 2 * x


def unit(x: Tensor) -> Tensor:
    return x / x.norm()


@pytest.fixture
def my(tmp_path, monkeypatch):
    monkeypatch.setattr(hand_ins, "MY", tmp_path / "my")
    return tmp_path / "my"


def test_functions_of_several_pages_stand_in_one_file(my, capsys):
    hand_ins.Editor("editor.py").grow(double)
    hand_ins.Editor("editor.py").grow(unit, double)
    text = (my / "editor.py").read_text()
    assert [n.name for n in ast.parse(text).body if hasattr(n, "name")] == ["double", "unit"]
    assert "\nfrom torch import Tensor\n" in text
    assert os.listdir(my) == ["editor.py"]
    assert "unit, double: It is written in" in capsys.readouterr().out


def test_what_a_student_changed_by_hand_is_laid_aside(my):
    hand_ins.Editor("editor.py").grow(double)
    changed = inspect.getsource(double).replace("2", "3")
    (my / "editor.py").write_text(changed)
    hand_ins.Editor("editor.py").grow(double)
    assert "2 * x" in (my / "editor.py").read_text()
    assert (my / "editor.py.old1").read_text() == changed


@pytest.mark.parametrize("text", [b"def (", b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_left_alone(my, text, capsys):
    my.mkdir()
    (my / "editor.py").write_bytes(text)
    hand_ins.Editor("editor.py").grow(double)
    assert (my / "editor.py").read_bytes() == text
    assert "was left as it is: it cannot be read" in capsys.readouterr().out
