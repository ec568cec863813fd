"""An arena's results in compact form: the same tables come back, and other arenas are refused."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from lib.evaluation.scores import COLUMNS, Scores
from tests.benchmarks import arena_store, arena_tables, tables
from tests.benchmarks.arena_store import Cell, Result
from tests.benchmarks.arena_tables import tables_of

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


@pytest.mark.slow
def test_the_same_tables_come_back_from_a_small_file(folder, tmp_path):
    ran = Result.load(folder / "rows-3-rome.json")
    ran.made = {"settings": {"layer": 5, "layers": [3]}, "commit": "0abafd6", "cpu": 7.5}
    ran.save(folder / "rows-3-rome.json")
    path = arena_store.store(folder, tmp_path / "kept")
    (found,) = arena_store.arenas(tmp_path / "kept").values()
    assert set(found) == {Cell(e, "rows", n) for e in ("base", "ft_m", "rome") for n in (1, 3)}
    before = {
        arena_store.cell_of(file): Result.load(file)
        for file in sorted(folder.glob("rows-*.json"))
    }  # fmt: skip
    for key, table in tables_of(before).items():
        assert table.sort_index().equals(tables_of(found)[key].sort_index()), key
    assert path.stat().st_size < sum(f.stat().st_size for f in folder.glob("rows-*.json"))
    assert found[Cell("rome", "rows", 3)].made == ran.made
    assert not found[Cell("rome", "rows", 1)].made


def test_a_later_run_adds_its_cells_and_changes_no_other(folder, tmp_path):
    first = arena_store.store(folder, tmp_path / "kept").read_text()
    assert arena_store.store(folder, tmp_path / "kept").read_text() == first
    for file in folder.glob("rows-*.json"):
        file.unlink()
    result(Cell("grace", "rows", 3), 1.0).save(folder / "rows-3-grace.json")
    arena_store.store(folder, tmp_path / "kept")
    (found,) = arena_store.arenas(tmp_path / "kept").values()
    assert len(found) == 7 and Cell("rome", "rows", 1) in found


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


def test_two_models_are_compared_on_the_facts_that_both_were_given(monkeypatch):
    def of(model: str, right: float, facts: int) -> dict[Cell, Result]:
        names = ["x", *(f"{i}" for i in range(facts))]
        rows = [(name, "retention", "generation", name, right, None, None) for name in names]
        rows[0] = (*rows[0][:4], 0.0, None, None)  # the first fact is held by neither
        scores = Scores(pd.DataFrame(rows, columns=COLUMNS), [("retention", "generation")], model)
        return {
            Cell(editor, "rows", edits): Result(scores, 1.0, 1, None, [])
            for editor, edits in (("rome", 10), ("rome", 100), ("grace", 100))
        }

    arenas = {tables.SUNK: of("small", 1.0, 3), tables.SECOND: of("large", 0.5, 2)}
    monkeypatch.setattr(arena_tables, "stored", lambda: arenas)
    head, _, *lines = arena_tables.both_models().splitlines()
    assert head.startswith("| editor | facts of | held, SmolLM2 | held, Gemma 3 | difference |")
    (line,) = lines  # only rome has ten edits on both
    cells = [cell.split(" [")[0] for cell in line.strip("| ").split(" | ")]
    # three of four facts held, and half of two of three; the pairs are x, 0 and 1
    note = "`rome` (both keys) (SmolLM2: R-ROME's mean key)"
    assert cells[:5] == [note, "rows", "75", "33", "−33"]
    assert cells[5:] == ["–"] * 6


def test_a_row_of_a_preset_that_was_replaced_stands_below_and_is_not_ranked(monkeypatch):
    """With a first score of an editor, no other row gets or loses its mark."""
    cells = {name: Cell(name, "rows", 10) for name in ("base", "rome", "ultraedit", "lora")}
    right = {"base": 0.0, "rome": 0.5, "ultraedit": 0.0, "lora": 0.5}
    found = {cell: result(cell, right[name]) for name, cell in cells.items()}
    before = Cell("ultraedit@643b500", "rows", 10)
    key = ("rows", 10, "generation")
    plain, both = (tables_of(some)[key] for some in (found, {**found, before: result(before, 1.0)}))
    assert both.drop(index=before.editor).equals(plain)
    names = [line.split(" |")[0] for line in arena_tables._lines(both, "tiny").splitlines()[2:]]
    said = "| `ultraedit`, the preset before (stored at 643b500)"
    assert names[:3] == ["| unedited model", "| `rome`", "| `ultraedit`"] and names[3] == said
