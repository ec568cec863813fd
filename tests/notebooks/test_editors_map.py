"""The map of all editors: picture and table are those of today's file and today's library."""

import pytest

import lib
from notebooks import editors_map
from notebooks.editors_map import PICTURE, README, TABLE


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


def test_an_editor_that_is_not_on_the_map_is_named(monkeypatch):
    kind = type("New", (lib.EDITORS["rome"],), {"name": "new_one"})
    monkeypatch.setitem(lib.EDITORS, "new_one", kind)
    with pytest.raises(ValueError, match="differ in new_one"):
        editors_map.groups()
