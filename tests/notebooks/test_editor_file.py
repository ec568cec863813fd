"""The student's own editor, grown from functions of several pages."""

import ast
import linecache
import os
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

import lib
from lessons import l5_3_space, l5_5_spread, leaderboard
from lib.keys_values import value_search
from notebooks.build import parse
from notebooks.support import hand_ins

from ..support import tiny

PAGE = Path(hand_ins.__file__).parents[1] / "src" / "06_null_space.py"


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
    assert "unit, double: It is saved in" in capsys.readouterr().out


def test_each_function_that_a_student_changed_is_laid_aside_and_named(my, capsys):
    hand_ins.Editor("editor.py").grow(double, unit)
    text = (my / "editor.py").read_text()
    (my / "editor.py").write_text(changed := text.replace("2 *", "3 *"))
    hand_ins.Editor("editor.py").grow(double, unit)  # the last one is as it was
    assert (my / "editor.py").read_text() == text
    assert (my / "editor.py.old1").read_text() == changed
    assert "your earlier double can be found in editor.py.old1." in capsys.readouterr().out
    (my / "editor.py").write_text(changed.replace("x.norm()", "2"))
    hand_ins.Editor("editor.py").grow(double, unit)
    assert sorted(os.listdir(my)) == ["editor.py", "editor.py.old1", "editor.py.old2"]
    assert "your earlier double and unit can be found in editor.py.old2." in capsys.readouterr().out


def test_a_file_that_cannot_be_read_is_left_alone(my, capsys):
    text = b"\xff\xfe"
    my.mkdir()
    (my / "editor.py").write_bytes(text)
    hand_ins.Editor("editor.py").grow(double)
    assert (my / "editor.py").read_bytes() == text
    assert "was left unchanged: it cannot be read" in capsys.readouterr().out


@pytest.mark.slow
def test_the_leaderboard_takes_the_file_that_page_06_makes_as_it_is(my, tmp_path, capsys):
    page = {"cache": cache, "lib": lib, "torch": torch, "value_search": value_search}
    page |= {"place": l5_3_space.place, "spread": l5_5_spread.spread, "__name__": "__main__"}
    parts = [
        cell.text
        for cell in parse(PAGE)
        if "def projector(" in cell.text or "def edit(" in cell.text
    ]
    text = "\n\n".join(part[max(0, part.find("@cache")) :] for part in parts)
    linecache.cache["<06>"] = (len(text), None, text.splitlines(keepends=True), "<06>")
    exec(compile(text, "<06>", "exec"), page)
    parts = l5_5_spread.asked, l5_5_spread.layer_change, l5_5_spread.spread, l5_3_space.place
    hand_ins.Editor("editor.py").grow(*parts, page["projector"], page["edit"])
    lm = tiny.model("llama")
    lm.model.save_pretrained(tmp_path / "tiny")
    lm.tokenizer.save_pretrained(tmp_path / "tiny")
    call = [str(my / "editor.py"), "--against", "", "--model", str(tmp_path / "tiny")]
    call += ["--cases", "1", "--stream", "2", "--seed", "3", "--memory", "0"]
    assert leaderboard.main(call) == 0
    shown = capsys.readouterr().out.splitlines()
    (line,) = (row.split() for row in shown if " * " in row and "yours" not in row)
    assert line[-1] == "0"  # edits that failed
