"""An arena's results in compact form: the same values come back, and other arenas are refused."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from lib.evaluation.scores import COLUMNS, Scores
from tests.benchmarks import arena_store
from tests.benchmarks.arena_store import Cell, Result

CASES = ["a", "b", "c", "d"]
HEADER = {
    "model": "tiny 0123", "dtype": "torch.float32", "data": {"rows": {"3": "11"}},
    "metrics": ["efficacy"], "settings": {},
}  # fmt: skip


def result(cell: Cell, right: float) -> Result:
    cases = CASES[: cell.edits] if cell.edits > 1 else CASES
    values = [("efficacy", "generation", c, right) for c in cases]
    values += [("retention", "generation", c, 1 / 3) for c in cases if cell.edits > 1]
    values += [("locality", "kl_nats", c, 0.01234) for c in cases[1:]]  # the first has no text
    rows = [(c, metric, event, c, value, None, None) for metric, event, c, value in values]
    asked = list(dict.fromkeys((metric, event) for metric, event, *_ in values))
    scores = Scores(pd.DataFrame(rows, columns=COLUMNS), asked, cell.name, None)
    if cell.editor == "base":
        return Result(scores, None, None, {"all": 1.0}, [True] * 5)
    return Result(scores, 1.5, 2_000_000, {"all": 0.8}, [True] * 4 + [False])


@pytest.fixture
def folder(tmp_path):
    """An arena's folder with six cells of two lengths, and the folder of a journal."""
    made = tmp_path / "arena"
    made.mkdir()
    (made / "arena.json").write_text(json.dumps(HEADER))
    (made / "rows-3-rome").mkdir()
    for edits in (1, 3):
        for editor, right in (("base", 0.0), ("ft_m", 1.0), ("rome", 0.5)):
            cell = Cell(editor, "rows", edits)
            result(cell, right).save(made / f"{cell.name}.json")
    return made


def cells(path):
    """The stored cells by name."""
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def test_the_same_values_come_back_from_a_small_file(folder, tmp_path):
    ran = Result.load(folder / "rows-3-rome.json")
    ran.made = {"settings": {"layer": 5, "layers": [3]}, "commit": "0abafd6", "cpu": 7.5}
    ran.save(folder / "rows-3-rome.json")
    path = arena_store.store(folder, tmp_path / "kept")
    found = cells(path)
    assert set(found) == {f"rows-{n}-{e}.json" for e in ("base", "ft_m", "rome") for n in (1, 3)}
    rome = found["rows-3-rome.json"]
    assert rome["values"] == {
        "efficacy": {"generation": [0.5] * 3},
        "retention": {"generation": [0.3333] * 3},
        "locality": {"kl_nats": [None, 0.0123, 0.0123]},
    }
    assert {name: rome[name] for name in ran.made} == ran.made and rome["ability"] == "11110"
    assert "settings" not in found["rows-1-rome.json"]
    assert path.stat().st_size < sum(f.stat().st_size for f in folder.glob("rows-*.json"))


def test_a_later_run_adds_its_cells_and_changes_no_other(folder, tmp_path):
    first = arena_store.store(folder, tmp_path / "kept").read_text()
    assert arena_store.store(folder, tmp_path / "kept").read_text() == first
    for file in folder.glob("rows-*.json"):
        file.unlink()
    result(Cell("grace", "rows", 3), 1.0).save(folder / "rows-3-grace.json")
    found = cells(arena_store.store(folder, tmp_path / "kept"))
    assert len(found) == 7 and "rows-1-rome.json" in found


def test_what_does_not_belong_is_refused_and_nothing_changes(folder, tmp_path):
    path = arena_store.store(folder, tmp_path / "kept")
    before = path.read_bytes()
    for change, why in (
        ({"data": {"rows": {"3": "22"}}}, "rows has other facts"),
        ({"metrics": ["chat"]}, "another 'metrics'"),
        ({"model": "tiny 9999"}, "another 'model'"),
    ):
        (folder / "arena.json").write_text(json.dumps({**HEADER, **change}))
        with pytest.raises(ValueError, match=why):
            arena_store.store(folder, tmp_path / "kept")
    (folder / "arena.json").write_text(json.dumps(HEADER))
    (folder / "notes.json").write_text("{}")
    with pytest.raises(ValueError, match="not named as a cell"):
        arena_store.store(folder, tmp_path / "kept")
    (folder / "arena.json").unlink()
    with pytest.raises(ValueError, match="holds no arena"):
        arena_store.store(folder, tmp_path / "kept")
    assert path.read_bytes() == before
