"""The map of all editors: picture and table are those of today's file and today's library."""

import pytest

import lib
from notebooks import editors_map
from notebooks.editors_map import LEFT, PICTURE, README, TABLE, WIDTH


def test_picture_and_table_are_up_to_date():
    read = editors_map.groups()
    assert TABLE.read_text(encoding="utf-8") == editors_map.table(read)
    assert PICTURE.read_text(encoding="utf-8") == editors_map.picture(read)
    readme, rows = README.read_text(encoding="utf-8"), editors_map.short(read)
    assert editors_map.in_readme(readme, rows) == readme
    assert len(readme.splitlines()) <= 150
    for group in read:
        for editor in group["editor"]:
            assert len(editor["idea"].split()) <= 12, editor["name"]


def test_no_cell_runs_into_the_next():
    room = [(b - a) / 7.4 for a, b in zip(LEFT[1:], (*LEFT[2:], WIDTH), strict=True)]
    for group in editors_map.groups():
        for row in (group["columns"], *(editor["cells"] for editor in group["editor"])):
            assert all(len(cell) <= most for cell, most in zip(row, room, strict=True)), row


def test_an_editor_that_is_not_on_the_map_is_named(monkeypatch):
    kind = type("New", (lib.EDITORS["rome"],), {"name": "new_one"})
    monkeypatch.setitem(lib.EDITORS, "new_one", kind)
    with pytest.raises(ValueError, match="differ in new_one"):
        editors_map.groups()


def test_a_paper_without_a_year_and_an_editor_without_a_family_are_named(monkeypatch):
    with pytest.raises(ValueError, match="should end with its year, not 'Hu et al.'"):
        editors_map.cited("Hu et al.")
    of = editors_map.groups()
    del of[0]["editor"][0]
    with pytest.raises(ValueError, match="should have every editor once"):
        editors_map.by_family(of)
