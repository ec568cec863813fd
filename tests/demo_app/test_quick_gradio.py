"""Gradio's stubs are not written when the page starts."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

from demo_app.tabs import quick_gradio


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a module as Gradio has one, and the finder for it."""
    folder = tmp_path / "a_page_maker"
    folder.mkdir()
    (folder / "__init__.py").write_text("from . import component_meta, other\n")
    source = "def create_or_modify_pyi(*given):\n    return 'written'\n\n\nKEPT = 3\n"
    (folder / "component_meta.py").write_text(source)
    (folder / "other.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(quick_gradio, "WRITER", "a_page_maker.component_meta")
    yield folder
    for name in [name for name in sys.modules if name.startswith("a_page_maker")]:
        del sys.modules[name]


def test_only_the_writer_of_stubs_is_replaced(package, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [quick_gradio._Finder(), *sys.meta_path])
    made = importlib.import_module("a_page_maker")
    assert made.component_meta.create_or_modify_pyi("a", "b", []) is None
    assert made.component_meta.KEPT == 3 and made.other.create_or_modify_pyi() == "written"


def test_a_gradio_without_the_writer_is_imported_as_it_is(package, monkeypatch):
    (package / "component_meta.py").write_text("KEPT = 4\n")
    monkeypatch.setattr(sys, "meta_path", [quick_gradio._Finder(), *sys.meta_path])
    made = importlib.import_module("a_page_maker")
    assert made.component_meta.KEPT == 4 and not hasattr(
        made.component_meta, "create_or_modify_pyi"
    )


def test_gradio_has_the_writer_and_no_finder_stays_behind():
    found = importlib.util.find_spec("gradio")
    if found is None:
        pytest.skip("Gradio is not installed")
    source = Path(found.origin).parent / "component_meta.py"
    assert f"def {quick_gradio.FUNCTION}(" in source.read_text(encoding="utf-8")
    before = list(sys.meta_path)
    assert quick_gradio.load().__name__ == "gradio" and sys.meta_path == before
