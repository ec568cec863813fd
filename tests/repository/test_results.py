"""The tables of RESULTS.md and results/ are those of the stored rows."""

from ..benchmarks import judge_tables, results, tables


def test_a_changed_number_is_found(tmp_path, monkeypatch, capsys):
    """With one table; `.ci/run` compares all of them with their rows."""
    table = tables.TABLES["classroom"]
    page = tmp_path / "PAGE.md"
    monkeypatch.setattr(results, "PAGES", [page])
    monkeypatch.setattr(results, "DRAWN", tmp_path / "drawn.txt")
    monkeypatch.setattr(results, "TABLES", {"classroom": table})
    text = f"words\n<!-- table: classroom -->\n\n{table()}\n<!-- end -->\n"
    page.write_text(text.replace("97 [85, 100]", "98 [85, 100]", 1), encoding="utf-8")
    assert results.main(["--check"]) == 1
    assert "PAGE.md: the table 'classroom' differs from its rows" in capsys.readouterr().err
    results.main([])  # writes it again
    assert page.read_text(encoding="utf-8") == text
    assert results.main(["--check"]) == 0


def test_consequences_are_counted_by_fact_and_beside_the_unedited_model(monkeypatch):
    asked = {"1": [["one-hop", "p", "x"], ["alias", "q", "y"]], "3": [["one-hop", "r", "z"]]}
    stored = {
        "questions": asked,
        "base": {"1": {"edit": 0, "follows": [1, 0]}, "3": {"edit": 0, "follows": [0]}},
        "editors": {
            "ft_m": {"facts": {"1": {"edit": 1, "follows": [1, 1], "cpu": 2.0},
                               "3": {"edit": 1, "follows": [0], "cpu": 1.0}}},
            "rome": {"facts": {"1": {"edit": 1, "follows": [0, 1], "cpu": 4.0}}},
            "wise": {"facts": {}},
        },
    }  # fmt: skip
    monkeypatch.setattr(judge_tables, "read", lambda name: {judge_tables.MODEL: stored})
    rows = [line.split(" | ") for line in judge_tables.consequences().splitlines()[2:]]
    cells = {row[0].strip("| `"): [cell.split()[0] for cell in row[1:7]] for row in rows}
    # facts, the fact itself, one-hop, that more than unedited, alias, reverse
    assert cells["unedited model"] == ["2", "0", "50", "–", "0", "–"]
    assert cells["ft_m"] == ["2", "100", "50", "0", "100", "–"]
    assert cells["rome` (R-ROME's mean key)"] == ["1", "100", "0", "−100", "100", "–"]
    assert "wise" not in cells
