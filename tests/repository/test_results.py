"""The tables of README.md and RESULTS.md are those of the stored rows."""

import pytest

import lib

from ..benchmarks import results, tables


def test_every_table_is_that_of_its_rows():
    assert results.differences(results.PAGES) == []
    assert results.main(["--check"]) == 0


def test_a_changed_number_is_found(tmp_path, monkeypatch, capsys):
    pages = []
    for path in results.PAGES:
        pages.append(tmp_path / path.name)
        pages[-1].write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    text = pages[0].read_text(encoding="utf-8")
    start = text.index("<!-- table: counterfact -->")
    changed = text[:start] + text[start:].replace("99 [95, 100]", "98 [95, 100]", 1)
    pages[0].write_text(changed, encoding="utf-8")
    monkeypatch.setattr(results, "PAGES", pages)
    assert results.differences(pages) == [
        "RESULTS.md: the table 'counterfact' differs from its rows"
    ]
    assert results.main(["--check"]) == 1
    assert "'counterfact' differs" in capsys.readouterr().err
    results.main([])  # writes it again
    assert pages[0].read_text(encoding="utf-8") == text


def test_marks_that_do_not_fit(tmp_path):
    page = tmp_path / "PAGE.md"
    page.write_text("<!-- table: speed -->\n\nno end\n", encoding="utf-8")
    found = results.differences([page])
    assert "PAGE.md: a table's marks are not closed" in found
    assert "the table 'speed' is on no page" in found
    with pytest.raises(results.PageError, match="no function makes a table 'weather'"):
        results.written("<!-- table: weather -->\n<!-- end -->")


def test_the_table_of_methods_has_every_editor():
    assert set(tables.METHODS) == set(lib.EDITORS)
    for editor in lib.EDITORS.values():
        authors, year = tables.cited(editor.paper)
        assert authors and 2018 < int(year) < 2030
