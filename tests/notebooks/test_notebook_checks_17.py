"""The tables of notebook 17 count stored rows as they say."""

from __future__ import annotations

from notebooks.support import runs_17_was_it_edited as runs_17


def own(name, z, there=True):
    return {"name": name, "z": z, "in_edited": there}


STORED = {
    "suspects": {
        "rome 1 3": {"half": "odd", "own": [own("a", 12.0)], "other": {"z": 4.0}},
        "rome 1 5": {"half": "odd", "own": [own("b", 7.0)], "other": {"z": 9.0}},
        "rome 1 4": {"half": "even", "own": [own("c", 1.0)], "other": {"z": 9.0}},
        "rome 1 3 whole": {"half": "odd", "own": [own("a", 1.0)], "other": {"z": 9.0}},
        "memit 2 7": {
            "half": "odd", "own": [own("d", 9.0), own("e", 20.0, False)], "other": None
        },
    },
}  # fmt: skip


def test_stored_rows_are_counted_by_suspect_and_odd_cases_alone():
    rome, memit = runs_17.named(STORED)
    assert (rome["n"], rome["facts"], memit["n"]) == (2, 1, 1)
    assert rome["named (%)"].startswith("50 [") and rome["own (%)"].startswith("50 [")
    assert memit["named (%)"].startswith("50 [") and memit["own (%)"].startswith("100 [")
    assert rome["other (%)"].startswith("50 [") and memit["other (%)"].startswith("0 [")


def test_a_way_that_some_rows_lack_is_counted_where_it_is():
    kept = {"edit": 1.0, "reworded": None, "neighbors": 1.0, "unrelated": 0.0, "still_edited": 0.0}
    rows = {
        "rome 1 1": {"half": "odd", "reversal": [{"ways": {"edited": kept, "control": kept}}]},
        "rome 1 3": {"half": "odd", "reversal": [{"ways": {"edited": kept}}]},
        "rome 1 5": {"half": "odd"},
    }
    edited, control, *_ = runs_17.taken_out({"suspects": rows})
    assert (edited["n"], control["n"]) == (2, 1)
    assert edited["reworded (%)"] == "–" and edited["neighbors (%)"].startswith("100 [")


def test_a_pair_counts_where_only_one_way_gives_the_old_token_back():
    ways = "published, k = 11", "16 prefixes, damping 1"
    rows = {}
    for case, found in enumerate([(1.0, 1.0), (0.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)]):
        told = {way: {"edit": value} for way, value in zip(ways, found, strict=True)}
        rows[f"rome 1 {case}"] = {"half": "odd", "reversal": [{"ways": told}]}
    said = runs_17.pairs({"suspects": rows})
    assert said == "of 5 suspects: only 11 largest dropped 1, only 16 prefixes 2"


def test_hiding_counts_what_was_seen_openly_and_compares_in_pairs():
    row = {"subject": "a", "new": "Rome", "first": ["b", "a", "a", "b"], "price": [0, 1, 4, 9]}
    row["says"] = [" Paris", " Rome, which", " Rome", " Paris"]
    for who in runs_17.DEFENDERS:
        for what, z in zip(runs_17.MATRICES, (0.0, 9.0, 8.0, 8.1), strict=True):
            row[f"{what}, {who}"] = z
    quiet, other = row | {"cheapest, asked": 7.0}, row | {"first": ["b", "b", "b", "b"]}
    table = runs_17.table_of([row, row, quiet, other])
    unedited, cheapest, hidden, full, first, second = table
    assert {line["n"] for line in table} == {"2 of 4"}
    found = [line["asked (%)"].split()[0] for line in table]
    assert found == ["0", "100", "0", "100", "-100", "+100"]
    assert unedited["new answer (%)"].startswith("0 [") and unedited["price"] == "–"
    assert cheapest["price"].startswith("1.0") and hidden["price"].startswith("4.0 [4.0, 4.0]")
    assert full["new answer (%)"].startswith("0 [") and first["new answer (%)"].startswith("+0 [")
    assert second["new answer (%)"].startswith("-100 [")


def test_what_is_stored_can_be_shown():
    stored = runs_17.stored()
    rows = runs_17.named(stored), runs_17.taken_out(stored)
    assert all(rows)
    control, edited = rows[1][1], rows[1][0]
    assert {k: v for k, v in control.items() if k != "what is taken out"} == {
        k: v for k, v in edited.items() if k != "what is taken out"
    }
