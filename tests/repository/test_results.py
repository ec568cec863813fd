"""The tables of README.md and RESULTS.md are those of the stored rows."""

import pytest

import lib

from ..benchmarks import dossier_tables, judge_tables, results, tables


@pytest.mark.slow
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
    assert cells["rome"] == ["1", "100", "0", "−100", "100", "–"]
    assert "wise" not in cells
    assert judge_tables.one_hop("rome").endswith("] (1)") and judge_tables.one_hop("wise") == "–"
    assert judge_tables.one_hop("ft_m").startswith("50 [") and "(" not in judge_tables.one_hop(
        "ft_m"
    )


def test_tokens_of_an_entity_are_held_against_its_own_and_others_answers():
    found = {
        "a": {"edges": ["x", "y"], "answers": ["x"]},
        "b": {"edges": ["z"], "answers": ["x", "y"]},
        "c": {"edges": [], "answers": ["z"]},
    }
    own, others = dossier_tables.shares(found, "edges")
    assert own == [0.5, 0.0], "c opens nothing and is passed over"
    assert others == [(1.0 + 0.0) / 2, (0.0 + 1.0) / 2]


def test_a_setting_in_place_of_the_presets_is_paired_with_it_and_draws_chosen_on_are_one(
    monkeypatch,
):
    def run(rows: str, values: list[float], chosen: bool = False) -> dict:
        held = {"efficacy generation": values}
        return {"data": "zsre-600.json", "rows": rows, "chosen": chosen, "values": held}

    stored = {
        "base, zsre-600.json 400-499": run("400-499", [0, 0]),
        "memit, preset, zsre-600.json 400-499": run("400-499", [0, 1]),
        "memit, clamp=4.0, zsre-600.json 400-499": run("400-499", [1, 1]),
        "memit, clamp=4.0, zsre-600.json 320-399": run("320-399", [1, 1]),  # no preset beside it
        "memit, preset, zsre-600.json 0-1": run("0-1", [0, 0], chosen=True),
        "memit, preset, zsre-600.json 2-3": run("2-3", [1, 0], chosen=True),
        "memit, clamp=4.0, zsre-600.json 0-1": run("0-1", [1, 1], chosen=True),
        "memit, clamp=4.0, zsre-600.json 2-3": run("2-3", [1, 0], chosen=True),
    }
    monkeypatch.setattr(tables, "read", lambda name: stored)
    unseen, chosen = tables.travel_tried().splitlines()[2:]
    assert unseen.startswith("| `memit`, clamp=4.0, zsre 400-499 | held, generation | 50 [")
    assert "| 100 [" in unseen and "| +50 [" in unseen
    where = "| `memit`, clamp=4.0, zsre 0-1, 2-3 (chosen on them) | held, generation | 25 ["
    assert chosen.startswith(where) and "| 75 [" in chosen
    assert chosen.endswith("| 4 |") and unseen.endswith("| 2 |")
    assert "0-1" not in tables.travel() and "| `memit` | zsre 400-499 |" in tables.travel()
    assert stored["memit, preset, zsre-600.json 0-1"]["values"]["efficacy generation"] == [0, 0]
