"""Every figure: axes named, finite, drawn without a warning, and shown by Jupyter as it is."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import lib
from lib.workbench import plot
from lib.workbench.plot import style
from lib.workbench.plot.palette import EDITOR_COLORS, OWN

LAYERS = list(range(6))
FALL = [0.9, 0.8, 0.5, None, 0.3, 0.1]
TOKENS = [(" Paris", 0.6), (" Rome", 1e-6), ("\n", 0.0), (" $x$", 0.1), ("東", 0.01)]
NORMAL = np.random.default_rng(0).normal(size=(40, 40))

FIGURES = {
    "token_bars": lambda: plot.token_bars(TOKENS, TOKENS, "It costs $5 or $6 in"),
    "lines": lambda: plot.lines(
        LAYERS, {"base": FALL, "memit": FALL}, "edits", "kept (%)", bands={"memit": (FALL, FALL)}
    ),
    "lines, x of their own": lambda: plot.lines(
        {"a": [1, 10], "b": [1, 100, 1000]}, {"a": [1, 2], "b": [3, 2, 1]}, "n", "s", xlog=True
    ),
    "lines, many": lambda: plot.lines(
        LAYERS, {f"{i}": np.full(6, i) for i in range(30)}, "edits", "kept (%)", title="a"
    ),
    "long names": lambda: plot.layer_curve(
        LAYERS, {"a": FALL, "b": FALL}, "word " * 16, highlight=[0, 5]
    ),
    "histogram": lambda: plot.histogram(
        {"edited": NORMAL[0], "other": [0, 1, np.inf]}, "distance", marks={"ε": 1.0}
    ),
    "loss_curve": lambda: plot.loss_curve([{"total": 3 - i, "nll": 2 - i} for i in range(3)]),
    "layer_curve": lambda: plot.layer_curve(LAYERS, {"MLP": FALL}, "effect (Δp)", highlight=2),
    "rank_over_layers": lambda: plot.rank_over_layers(
        LAYERS, {"Paris": [9, 8, 4, 1, 1, 5], "Rome": [900, 80, 9, 2, 2, 1]},
        before={"Paris": [9, 8, 4, 1, 1, 1]}, highlight=[1, 2],
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_named_finite_and_quiet(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = FIGURES[name]()
        png = figure._repr_png_()
    assert isinstance(figure, Figure) and png.startswith(b"\x89PNG") and len(png) < 100_000
    axes = figure.axes[0]
    assert axes.get_xlabel() and axes.get_ylabel()
    assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()
    width, height = figure.get_size_inches()
    drawn = figure.get_tightbbox()  # inches; what is cut off would stand outside
    assert drawn.x0 > -0.02 and drawn.x1 < width + 0.02, drawn
    assert drawn.y0 > -0.02 and drawn.y1 < height + 0.02, drawn
    for text in figure.findobj(Text):
        assert not text.get_text() or text.get_fontsize() >= style.SMALL, text


@pytest.mark.slow
def test_plotting_needs_no_pyplot():
    code = "import sys, lib.workbench.plot; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_picture_is_the_same_twice():
    assert FIGURES["lines"]()._repr_png_() == FIGURES["lines"]()._repr_png_()


def test_colors_can_be_seen_and_read():
    assert style.contrast("#000000") == pytest.approx(21)
    for color in (*style.COLORS.values(), *style.CYCLE, *EDITOR_COLORS.values()):
        assert style.contrast(color) >= 3.4
        assert style.contrast(style.readable(color)) >= 4.5


def test_fixed_names_keep_their_colors():
    styles = style.styles(["x", "edited", "y", *"abcd"])
    assert styles["edited"] == (plot.EDITED, "-")
    assert styles["x"][0] == style.CYCLE[0] and styles["y"][0] == style.CYCLE[1]
    assert styles["d"] == (style.CYCLE[0], "--")  # a second turn: other dashes


def test_an_editor_has_one_color_in_every_figure(monkeypatch):
    assert style.editor_color("Norm-anchor, ten") == EDITOR_COLORS["norm_anchor"]
    assert style.editor_color("fine-tuning") == EDITOR_COLORS["ft"]
    assert style.editor_color("a rule") is None
    monkeypatch.setitem(lib.EDITORS, "mine", type("Mine", (lib.Editor,), {"name": "mine"}))
    assert style.editor_color("Mine, ten") == OWN
    for names in (["MEMIT", "a"], ["a", "b", "MEMIT"], ["ROME", "MEMIT", "c"]):
        assert style.styles(names)["MEMIT"] == (style.CYCLE[0], "-")
    many = style.styles([*lib.EDITORS][:7] + list("abc"))
    assert len(set(many.values())) == len(many), "two lines that nobody can tell apart"
    both = style.styles(["MEMIT", "MEMIT, kept keys", "PMET"])
    assert {color for color, _ in both.values()} == {style.CYCLE[0]}
    assert len({dash for _, dash in both.values()}) == 3
    reserved = set(style.COLORS.values())
    assert not reserved & {*EDITOR_COLORS.values(), *style.CYCLE}


def test_names_at_the_ends_move_as_little_as_possible():
    assert style._spread([0.5, 0.5, 0.9], 0.1) == pytest.approx([0.45, 0.55, 0.9])
    assert style._spread([0.98, 0.99, 1.0], 0.1) == pytest.approx([0.8, 0.9, 1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.token_bars([("a", 1)], [("b", 1)]), "same tokens"),
        (lambda: plot.lines([1, 2], {"a": [1]}, "x", "y"), "'a' has 1 values, but x has 2"),
        (lambda: plot.lines([1], {}, "x", "y"), "no series"),
        (lambda: plot.histogram({"a": []}, "x"), "no finite values"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
