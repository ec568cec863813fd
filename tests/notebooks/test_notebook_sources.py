"""The notebooks' sources run at scale tiny and keep their size."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from notebooks import build

from ..support.scripts import Scripts
from ..support.usual import few

ROOT = Path(__file__).parents[2]
SOURCES = build.Tree().sources()


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    made = Scripts(tmp_path_factory.mktemp("cache"))
    yield made
    made.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("source", few(SOURCES, 0, drawn=4), ids=lambda path: path.stem)
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
