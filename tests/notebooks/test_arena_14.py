"""Notebook 14's view of the arena: which streams are shown, and who can be told from the best."""

from __future__ import annotations

from notebooks.support import arena_14_lifelong as arena


def row(editor, edits=8, held=(1,) * 8, data="rows", model="tiny", **columns):
    found = {"held": list(map(float, held)), "reworded": [0.5] * len(held), **columns}
    return {"model": model, "data": data, "edits": edits, "editor": editor, "columns": found,
            "abilities": "", "seconds": 1.0}  # fmt: skip


SIX = ("retrieval", "base", "rome", "ft", "grace", "mend")


def test_the_longest_stream_that_most_editors_have_run_is_shown():
    rows = [row(name, edits) for edits in (1, 8) for name in SIX]
    rows += [row(name, 100) for name in SIX[:3]] + [row(SIX[0], data="other")]
    assert arena.longest(rows) == [("tiny", "rows", 8)]
    assert arena.longest(rows, enough=3) == [("tiny", "rows", 8)], "three are half of the six"
    assert arena.longest([*rows, row(SIX[3], 100)], enough=3) == [("tiny", "rows", 100)]
    assert list(arena.places(rows)["tiny", "rows", 8])[0] == "base", "the unedited model first"


def test_only_those_whose_paired_interval_parts_from_the_best_are_told_from_it():
    rows = {
        "base": row("base", held=(0,) * 8),
        "retrieval": row("retrieval"),  # the best of all, and not ranked
        "rome": row("rome", held=(1, 1, 1, 1, 1, 1, 1, 0)),
        "ft": row("ft", held=(1, 1, 1, 1, 1, 0, 1, 0)),
        "grace": row("grace", held=(0,) * 8),
    }
    assert arena.together(rows, "held") == ("rome", ["rome", "ft"])
    assert arena.together(rows, "reworded") == ("rome", ["rome", "ft", "grace"])


def test_the_table_and_the_picture_have_every_stream():
    rows = [
        row(name, data=data, model=model, held=(1, 1, 0, 1, 0, 1, 1, 1))
        for name in SIX
        for data in ("rows", "more")
        for model in ("tiny", "other")
    ]
    found = arena.table(rows)
    assert [line["column"] for line in found] == ["held", "reworded"] * 4  # no neighbors asked
    assert found[0]["not told from it"] == "3 of 3"
    assert found[0]["best − retrieval, points"].startswith("+0")
    figure = arena.picture(rows)
    assert len(figure.axes) == 4
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names[0] == "unedited" and set(names) == {"unedited", *SIX} - {"base"}


def test_the_stored_rows_are_the_arenas():
    rows = arena.stored()
    assert {"model", "data", "edits", "editor", "columns"} <= set(rows[0])
    for one in rows:
        assert one["editor"] in arena.ORDER
        assert all(0 <= v <= 1 for values in one["columns"].values() for v in values)


def test_neighbors_are_left_out_where_the_unedited_model_has_none_right():
    rows = [row(name, neighbors=[0.0] * 8, data="none") for name in SIX]
    rows += [row(name, neighbors=[0.5] * 8, data="some") for name in SIX]
    asked = {line["stream"].split(",")[0]: [] for line in arena.table(rows)}
    for line in arena.table(rows):
        asked[line["stream"].split(",")[0]].append(line["column"])
    assert asked == {"none": ["held", "reworded"], "some": ["held", "reworded", "neighbors"]}
    legend = arena.picture(rows[:6]).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["held", "reworded"]
