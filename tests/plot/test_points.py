"""Figures of points: named, finite, quiet; the legend counts who is answered."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from matplotlib.text import Text

from lib.workbench.plot import points, style

POINTS = {
    "edited": ([0, 1, 2.0], [3, 3, 1.5]),
    "neighbor": ([9, 5, np.nan], [3, 3, 3]),
    "other": (np.linspace(5, 20, 200), np.full(200, 8.0)),
}
FIGURES = {
    "scatter": lambda: points.scatter(POINTS, "x", "y (nats)", title="a"),
    "scope": lambda: points.scope_map(POINTS, "distance", "radius"),
}


def legend_of(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_named_finite_and_quiet(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = FIGURES[name]()
        png = figure._repr_png_()
    assert png.startswith(b"\x89PNG") and len(png) < 100_000
    axes = figure.axes[0]
    assert axes.get_xlabel() and axes.get_ylabel()
    assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()
    for text in figure.findobj(Text):
        assert not text.get_text() or text.get_fontsize() >= style.SMALL, text


def test_the_legend_counts_who_is_answered():
    assert legend_of(FIGURES["scope"]())[:2] == ["edited (2 of 3)", "neighbor (0 of 2)"]
    assert legend_of(FIGURES["scatter"]()) == list(POINTS)


def test_a_score_that_meets_its_threshold_is_answered():
    figure = points.scope_map({"a": ([2.0], [2.0])}, "x", "y")
    assert legend_of(figure) == ["a (1 of 1)"]


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="no points"):
        points.scatter({}, "x", "y")
    with pytest.raises(ValueError, match="'a' has 1, 2 and 1 values"):
        points.scatter({"a": ([1], [1, 2])}, "x", "y")
