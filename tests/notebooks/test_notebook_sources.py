"""The notebooks' sources run at scale tiny and keep their size."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path

import pytest

from notebooks import build
from notebooks.support import models

from ..support.scripts import Scripts
from ..support.usual import few

ROOT = Path(__file__).parents[2]
SOURCES = build.Tree().sources()
CELLS, CODE, FIGURES = 35, 25, 6  # cells, lines of one code cell, figures


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    made = Scripts(tmp_path_factory.mktemp("cache"))
    yield made
    made.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("source", few(SOURCES, 1, drawn=4), ids=lambda path: path.stem)
def test_a_source_runs_as_plain_python_and_its_exercises_pass_unsolved_nowhere(
    source, scripts, tmp_path
):
    done = scripts.run(source, tmp_path, EDIT_SCALE="tiny", XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "✓" not in done.stdout
    if "use(" in source.read_text(encoding="utf-8"):  # a page may have no hole
        assert "not attempted" in done.stdout or "is still open" in done.stdout


def test_every_table_that_a_page_reads_is_there():
    folder = ROOT / "tests/benchmarks"
    asked = re.findall(r'\bstored\("(\w+)"\)', "".join(path.read_text("utf-8") for path in SOURCES))
    assert asked and not [name for name in asked if not (folder / f"{name}.json").is_file()]


def import_lines(text):
    """How many lines import statements take: one per module, however many there are."""
    found = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Import | ast.ImportFrom)]
    return sum(node.end_lineno - node.lineno + 1 for node in found)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_source_keeps_to_its_form(source):
    cells = build.parse(source)
    assert len(cells) <= CELLS
    code = [cell for cell in cells if cell.kind == "code" and "setup" not in cell.tags]
    for cell in code:
        assert len(cell.text.splitlines()) - import_lines(cell.text) <= CODE, cell.line
    prose = "\n".join(cell.text for cell in cells if cell.kind == "markdown")
    for part in ("**You will**", "**Needs**", "**Predict.**", "## What we know now",
                 "## Where it breaks", "## References", "xercise"):  # fmt: skip
        assert part in prose, part
    assert prose.count("<details>") == prose.count("</details>") >= prose.count("**Predict.**")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_shows_few_figures(source):
    built = json.loads((source.parents[1] / f"{source.stem}.ipynb").read_text(encoding="utf-8"))
    outputs = [out for cell in built["cells"] for out in cell.get("outputs", [])]
    images = [out for out in outputs if any("image" in kind for kind in out.get("data", {}))]
    assert 1 <= len(images) <= FIGURES


def test_an_unknown_scale_is_named():
    with pytest.raises(ValueError, match="tiny, small or full"):
        models.load("huge")
