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
        "memit 1 3": suspect([own("a", 9.0, False)], None),
        "memit 1 7": suspect([own("d", 9.0)], None),
        "memit 2 9": suspect([own("e", 9.0), own("f", 9.0)], None),
    },
}


def test_stored_rows_are_counted_by_fact_and_odd_cases_alone():
    lines = runs_17.detected(STORED)
    assert [line["n"] for line in lines] == [2, 2, 1] and lines[0]["suspects"] == 3
    found = [[line[title].split()[0] for title in runs_17.SHARES] for line in lines]
    # of "a" ROME has both ranked first and one detected; MEMIT's is detected outside its layers
    assert found == [["50", "25", "50"], ["50", "100", "0"], ["+100", "-50", "+0"]]
    turns = runs_17.detected(STORED, (20.0, 0.0))  # each suspect has the next threshold
    assert [line["detected (%)"].split()[0] for line in turns[:2]] == ["50", "50"]


def test_the_last_line_of_ways_out_is_the_paired_difference_of_the_last_two():
    parts = ("edit", "reworded", "neighbors", "unrelated", "still_edited")
    rows = {}
    for case, found in enumerate([(1.0, 1.0), (0.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)]):
        values = (0.0, 0.0, *found)
        told = {way: dict.fromkeys(parts, x) for way, x in zip(runs_17.WAYS, values, strict=True)}
        rows[f"rome 1 {case}"] = {"half": "odd", "reversal": [{"ways": told}]}
    rows["rome 1 9"] = {"half": "odd"}  # not taken out
    *_, dropped, prefixes, pair = runs_17.taken_out({"suspects": rows})
    assert dropped["n"] == prefixes["n"] == pair["n"] == 5
    said = [line["neighbors (%)"].split()[0] for line in (dropped, prefixes, pair)]
    assert said == ["40", "60", "+20"]


def test_hiding_counts_what_was_seen_openly_and_compares_in_pairs():
    row = {"subject": "a", "new": "Rome", "first": ["b", "a", "a"], "price": [0, 1, 4]}
    row |= {"says": [" Paris", " Rome, which", " Rome"], "along": [9.0, 9.4, 8.0]}
    for who in runs_17.DEFENDERS:
        for what, z in zip(runs_17.MATRICES, (0.0, 9.0, 8.0), strict=True):
            row[f"{what}, {who}"] = z
    quiet, other = row | {"cheapest, asked": 7.0}, row | {"first": ["b", "b", "b"]}
    still = row | {"hidden, asked": 8.1, "price": [0, 1, 9], "along": [9.0, 8.2, 8.1]}
    table = runs_17.table_of([row, row, quiet, other, still])
    assert [line["n"] for line in table] == [3, 3, 3, 3, 3, 2] and "5 other facts" in table[0]
    *shares, always, price = ([text.split()[0] for text in [*line.values()][2:]] for line in table)
    # for who is asked one of the three stays detected; for the others z is 8 for all
    assert shares == [
        ["100", "100", "+0"],
        ["100", "33", "-67"],
        ["100", "0", "-100"],
        ["100", "0", "-100"],
    ]
    assert always == ["–", "33", "–"] and price == ["1", "4.0", "–"]


def test_what_is_stored_can_be_shown():
    stored = runs_17.stored()
    assert runs_17.detected(stored) and runs_17.taken_out(stored)
    for row in runs_17.singles(stored)["rome"]:  # with strength 0 the path out does nothing
        assert all(one["ways"]["control"] == one["ways"]["edited"] for one in row["reversal"])
