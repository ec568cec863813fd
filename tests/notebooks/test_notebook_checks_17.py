"""The tables of notebook 17 count stored rows as they say."""

from __future__ import annotations

from notebooks.support import runs_17_was_it_edited as runs_17


def suspect(own, z, half="odd"):
    return {"half": half, "own": own, "other": z and {"z": z}}


def own(name, z, there=True):
    return {"name": name, "z": z, "in_edited": there}


STORED = {
    "suspects": {
        "rome 1 3": suspect([own("a", 12.0)], 4.0),
        "rome 1 5": suspect([own("b", 7.0)], 9.0),
        "rome 1 4": suspect([own("c", 1.0)], 9.0, half="even"),
        "rome 1 3 whole": suspect([own("a", 1.0)], 9.0),
        "wilke 1 3": suspect([own("a", 3.0)], 2.0),
        "memit 2 7": suspect([own("d", 9.0), own("e", 20.0, False)], None),
    },
}


def test_stored_rows_are_counted_by_fact_and_odd_cases_alone():
    rome, memit = runs_17.named(STORED)
    assert (rome["suspects"], rome["n"], rome["facts"], memit["n"]) == (3, 2, 1, 1)
    assert rome["named (%)"].startswith("50 [") and rome["own (%)"].startswith("25 [")
    assert memit["named (%)"].startswith("50 [") and memit["own (%)"].startswith("100 [")
    assert rome["other (%)"].startswith("50 [") and memit["other (%)"].startswith("0 [")


def test_a_way_that_some_rows_lack_is_counted_where_it_is():
    kept = {"edit": 1.0, "reworded": None, "neighbors": 1.0, "unrelated": 0.0, "still_edited": 0.0}
    rows = {
        "rome 1 1": {
            "half": "odd",
            "reversal": [{"ways": {"edited": kept, "published, k = 1": kept}}],
        },
        "rome 1 3": {"half": "odd", "reversal": [{"ways": {"edited": kept}}]},
        "rome 1 5": {"half": "odd"},
    }
    edited, dropped, *_ = runs_17.taken_out({"suspects": rows})
    assert (edited["n"], dropped["n"]) == (2, 1)
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
    still = row | {"hidden, asked": 8.1, "price": [0, 1, 9, 9]}
    table = runs_17.table_of([row, row, quiet, other, still])
    unedited, cheapest, hidden, full, first, second = table
    assert [line["n"] for line in table] == ["3 of 5"] * 5 + ["2 of 5"]
    found = [line["asked (%)"].split()[0] for line in table]
    assert found == ["0", "100", "33", "100", "-67", "–"]
    prices = [line["price (n = 2)"].split()[0] for line in table[:4]]
    assert prices == ["–", "1.0", "4.0", "9.0"]
    assert unedited["new answer (%)"].startswith("0 [")
    assert full["new answer (%)"].startswith("0 [") and first["new answer (%)"].startswith("+0 [")
    assert second["new answer (%)"].startswith("-100 [")
    assert second["other text (%)"].startswith("+100 [")


def test_what_is_stored_can_be_shown():
    stored = runs_17.stored()
    assert runs_17.named(stored) and runs_17.taken_out(stored)
    for one in runs_17.single(stored):  # with strength 0 the path out does nothing
        assert one["control"] == one["edited"]
