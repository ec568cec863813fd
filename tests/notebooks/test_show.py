"""The tables of the notebooks: one number format per column."""

from __future__ import annotations

from notebooks.support.show import Table


def test_percent_columns_have_no_decimals_and_a_column_has_one_format():
    table = Table(
        [
            {"line": "base", "held (%)": 1.0, "KL": 0.0, "seconds": 12.25, "tokens": 1200.4},
            {"line": "rome", "held (%)": 83.33, "KL": 7.3333, "seconds": 0.5, "tokens": 7.0},
        ]
    )
    assert repr(table).splitlines() == [
        "line | held (%) | KL | seconds | tokens",
        "base | 1 | 0.000 | 12.2 | 1,200",
        "rome | 83 | 7.333 | 0.5 | 7",
    ]
    assert ">83</td>" in table._repr_html_() and ">0.000</td>" in table._repr_html_()


def test_texts_whole_numbers_and_what_is_no_number_stay_as_they_are():
    shown = repr(Table([{"a": "x\n y", "b": 3, "c": None}, {"a": "z", "b": 40, "c": float("nan")}]))
    assert shown.splitlines()[1:] == ["x y | 3 | None", "z | 40 | nan"]
