"""What a page says where somebody interrupts it, and where a hole is run before its imports."""

import json
import re

from IPython.core.interactiveshell import InteractiveShell

from notebooks import support
from notebooks.build import FIRST, HERE, Tree
from notebooks.support.sliders import Slider


def test_an_interrupted_cell_shows_one_sentence(capsys):
    shell = InteractiveShell()
    shell.set_custom_exc((KeyboardInterrupt,), support.interrupted)
    deep = "def f(n):\n    if n: f(n - 1)\n    raise KeyboardInterrupt\nf(20)"
    assert not shell.run_cell(deep).success  # what was to run behind it does not
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("Interrupted: ") and said.err.count("\n") == 1
    assert not shell.run_cell("1 / 0").success
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_an_interrupted_view_says_so(monkeypatch):
    said = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: said.append(data))

    def stopped(value):
        raise KeyboardInterrupt

    Slider(stopped, "τ", [1, 2], 1)._redraw(value=1)
    assert said == [{"text/plain": "Interrupted: this view was not finished."}]


def test_a_hole_says_which_cells_come_first_and_they_import_what_it_calls():
    for source in Tree(HERE).sources():
        page = json.loads(Tree(HERE).notebook(source).read_text(encoding="utf-8"))
        code = ["".join(c["source"]) for c in page["cells"] if c["cell_type"] == "code"]
        holes = [text for text in code if re.search(r"^\w+ = use\(", text, re.M)]
        if holes:
            assert code[0].startswith("# @title Setup") and re.search(r"import .*\buse\b", code[1])
        assert all(text.count(FIRST) == 1 for text in holes), source
