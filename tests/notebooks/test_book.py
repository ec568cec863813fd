"""The book: every page is there, links lead to pages, the glossary has the words of the code."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path

import pytest

import lib
from lib.evaluation.metrics import METRICS
from notebooks import book
from notebooks.build import Tree

PAGES = book.Book()


def text_of(page):
    if not page.endswith(".ipynb"):
        return PAGES.pages[page]
    cells = json.loads(PAGES.pages[page])["cells"]
    return "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")


def test_every_notebook_session_and_reference_page_is_in_the_contents():
    wanted = [f"notebooks/{source.stem}" for source in Tree().sources()]
    wanted += ["lessons/TEACHER", *(f"lessons/session_{n}" for n in range(1, 11))]
    names = ("glossary", "notation", "bibliography", "which_editor", "errata", "from_easyedit")
    wanted += [f"notebooks/reference/{name}" for name in names]
    assert not set(wanted) - set(PAGES.pages["index.md"].split())


def test_links_lead_to_pages_of_the_book():
    for page in PAGES.pages:
        for words, way, _ in book.LINK.findall(text_of(page)):
            inside = (book.ROOT / page).parent.joinpath(way).resolve()
            if inside.exists():
                assert str(inside.relative_to(book.ROOT)) in PAGES.pages, (page, words)


def test_pictures_and_what_the_first_page_names_are_in_the_book(tmp_path):
    PAGES.write(tmp_path)
    for page in PAGES.pages:
        ends = r"svg|md" if page == "index.md" else "svg"
        for way in re.findall(rf"\]\(([\w./]+\.(?:{ends}))\)", text_of(page)):
            assert (tmp_path / page).parent.joinpath(way).is_file(), (page, way)


def test_the_setup_cell_is_left_out():
    cells = json.loads(PAGES.pages["notebooks/02_insert.ipynb"])["cells"]
    assert not any("Setup: finds the library" in "".join(cell["source"]) for cell in cells)
    for source in Tree().sources():  # and what is said about it
        said = text_of(f"notebooks/{source.stem}.ipynb")
        assert "olded cell" not in said and "Run it and read on" not in said
        assert "**Minutes**" in said and "\n## " in said


def test_the_words_of_the_glossary_are_those_of_the_code():
    text = (book.HERE / "reference/glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^(\S[^\n(:]*?)(?: \(`([\w.]+)`\))?\n: ", text, re.MULTILINE)
    assert len(terms) > 20
    fields = {"editor.edit", "fact.subject", "fact.target_new", "case.neighborhood", "retention"}
    for term, name in terms:
        first = name.removeprefix("lib.").partition(".")[0]
        known = not name or name in {*METRICS, *fields, "events"} or hasattr(lib, first)
        assert known or (book.ROOT / "lib" / first).is_dir(), term


def test_entries_of_the_errata_name_a_paper_a_test_and_settings_that_are_there():
    text = (book.HERE / "reference/errata.md").read_text(encoding="utf-8")
    for entry in text.split("\n## ")[1:-1]:
        assert re.search(r"arXiv:\d{4}\.\d{5}", entry) and "::test_" in entry, entry[:60]
    for name, setting, value in re.findall(r"`(\w+)\((\w+)=(.+?)\)`", text):
        lib.EDITORS[name].Config(**{setting: ast.literal_eval(value)})


def test_every_paper_is_in_the_bibliography():
    page = PAGES.pages["notebooks/reference/bibliography.md"]
    assert all(f"`{name}`" in page for name, editor in lib.EDITORS.items() if editor.paper)
    assert "[arXiv:2202.05262](https://arxiv.org/abs/2202.05262)" in page


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, book.NEEDED)), reason="what makes the book is missing"
)
def test_the_book_is_built_without_a_warning(tmp_path):
    assert book.main([str(tmp_path / "out")]) == 0
    pages = list(Path(tmp_path / "out").rglob("*.html"))
    assert len(pages) > len(PAGES.pages)
    for page in pages:  # nothing is asked of another host
        assert not re.search(r'(?:src|href)="https?://[^"]+\.(?:js|css|woff2?)', page.read_text())
