"""The tables of the notebooks: one number format per column, shares and differences in percent."""

from __future__ import annotations

from notebooks.support import figures, show, sliders
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


def test_a_slider_draws_its_figure_anew():
    drawn = []

    def draw(value):
        drawn.append(value)
        return figures.panels()[0]

    slider = sliders.Slider(draw, "λ", [0.0, 0.25, 1 / 3], 0.25)
    (control,) = slider.controls().values()
    assert control.options == (("0", 0.0), ("0.25", 0.25), ("0.333", 1 / 3))
    assert control.value == 0.25 and not drawn
    assert slider.view.text == "λ: 0.25" and slider.rows == []
    assert slider.look(1 / 3).text == "λ: 0.333" and drawn == [0.25, 1 / 3]


def test_the_memory_picture_is_one_script_and_a_still_one_where_no_script_runs():
    shown = show.memory_picture().data
    still, script = shown.split("<script>")
    assert "<svg" in still and 'class="memory-here"' in still and "memoryPicture" not in still
    assert script.startswith("(() => {") and script.endswith("})();</script>")
    assert script.count("</script") == 1
