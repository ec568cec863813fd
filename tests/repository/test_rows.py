"""Rows that something was chosen on and rows of the tables: disjoint, or named in rows.toml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..benchmarks import rows

HERE = Path(rows.__file__).parent
TABLE = rows.TABLE
RECORDS = [*TABLE["choices"].values(), *TABLE["tables"].values()]
USES = ("tuning", "tables", "unseen")


def numbered(value: Any) -> Iterator[int]:
    """The rows that a stored file names itself: "cases": [0, 2], "rows": "0-99" or [0, 99], …"""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        name = re.search(r"\.json (\d+)-(\d+)", str(key))
        span = re.fullmatch(r"(\d+)-(\d+)", inner) if isinstance(inner, str) else name
        if span:
            yield from range(int(span[1]), int(span[2]) + 1)
        elif key in ("cases", "facts", "questions", "rows") and isinstance(inner, dict | list):
            ints = [int(one) for one in inner if str(one).isdigit()]
            yield from range(ints[0], ints[1] + 1) if key == "rows" and len(ints) == 2 else ints
        if isinstance(inner, dict | list):
            yield from numbered(inner)


def test_a_text_names_rows():
    assert rows.span("0-2, 4-8 even, 11") == {0, 1, 2, 4, 6, 8, 11}
    assert rows.span("1-5 odd") == {1, 3, 5} and rows.span("") == frozenset()
    with pytest.raises(ValueError, match="'a-b' names no rows"):
        rows.span("a-b")


def test_no_row_is_for_two_uses():
    for name, parts in TABLE["sets"].items():
        spans = [rows.span(parts.get(use, "")) for use in USES]
        assert sum(map(len, spans)) == len(frozenset().union(*spans)), name
        assert all(part <= rows.of(name, "all") for part in spans), name
        assert rows.span(parts.get("arena", "")) <= spans[1], name


def test_rows_that_nobody_has_looked_at_are_in_no_record():
    for record in RECORDS:
        for name in TABLE["sets"].keys() & record.keys():
            assert not rows.recorded(name, record[name]) & rows.of(name, "unseen"), record


def test_a_choice_and_a_table_share_no_row_but_where_it_is_said():
    """A new overlap, and one that is listed and is gone, is a difference."""
    listed = [(c, t) for one in TABLE["shared"] for c in one["choices"] for t in one["tables"]]
    assert sorted(listed) == sorted(rows.shared())


def test_an_overlap_is_found(monkeypatch):
    monkeypatch.setitem(TABLE["tables"]["five-streams"], "zsre", "500")
    assert ("grace", "five-streams") in {*rows.shared()}
    table = TABLE["tables"]["long-stream"]
    monkeypatch.setitem(TABLE["choices"]["mend"], "counterfact", "1999")
    assert ("mend", "long-stream") not in {*rows.shared()}  # which is UltraEdit's alone
    monkeypatch.setitem(table, "of", ["rledit"])  # which takes from MALMEN's, and that from MEND's
    assert ("mend", "long-stream") in {*rows.shared()}
    monkeypatch.setitem(TABLE["choices"]["mend"], "counterfact", "3999")  # not one of its rows
    assert ("mend", "long-stream") not in {*rows.shared()}


@pytest.mark.parametrize("path", sorted(HERE.rglob("*.json")), ids=lambda path: path.stem)
def test_the_rows_of_a_stored_file_are_those_that_are_said(path):
    name = path.relative_to(HERE).as_posix()
    records = [record for record in RECORDS if record.get("stored", [""])[0] == name]
    if not records:
        assert path.stem in TABLE["other"]["unjudged"], f"rows.toml does not know {name}"
        return
    stored = json.loads(path.read_text(encoding="utf-8"))
    parts = {record["stored"][1] for record in records if len(record["stored"]) > 1}
    assert not parts or all(entry.startswith((*parts,)) for entry in stored), name
    for part in parts or {""}:
        found = set(numbered({key: stored[key] for key in stored if key.startswith(part)}))
        own = [r for r in records if r["stored"][1:] in ([], [part])]
        keys = (*TABLE["sets"], "written")
        said = [rows.recorded(key, r[key]) for r in own for key in keys if key in r]
        assert found <= frozenset().union(*said), (name, part)


def test_programs_take_their_facts_from_one_place():
    for path in HERE.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        found = re.findall(r"lib\.(?:classroom|read_cases)\(", text)
        assert path.stem == "rows" or not found, path.name


def test_cases_of_a_use(tmp_path):
    file = tmp_path / "zsre.json"
    keys = {"subject": "x", "src": "Where is x?", "rephrase": "x?", "alt": "b", "answers": ["a"]}
    keys |= {"pred": "a", "loc": "q", "loc_ans": "r", "cond": "c"}
    file.write_text(json.dumps([{**keys, "alt": f"b{i}"} for i in range(420)]), encoding="utf-8")
    found = rows.of_file("zsre", "arena", file, 3)
    assert [case.fact.target_new for case in found] == ["b400", "b401", "b402"]
    assert {case.id % 2 for case in rows.classroom("tables")} == {1}
    with pytest.raises(ValueError, match="does not say which rows of 'weather' are for 'arena'"):
        rows.of_file("weather", "arena", file)
    file.write_text(json.dumps([keys]), encoding="utf-8")
    with pytest.raises(ValueError, match="ends before the rows of 'zsre' that are for 'arena'"):
        rows.of_file("zsre", "arena", file)


def test_a_shared_row_is_said_below_the_table():
    assert "first_scale" in rows.note("five-streams")
    assert not rows.note("speed-now")
