"""Panels for notebooks: controls above a figure, and the figure's numbers in words below it.

    from lib import widgets
    widgets.EditAndLook(lm, fact)

As the last line of a cell a panel shows itself. Where a front end can draw them (ipywidgets) it has
its controls, and otherwise it is the figure and the table of its present values. The controls set
traits of the same names, so a panel can be driven from code: `panel.layer = 3`, then
`panel.static()`, `panel.text` or `panel.rows`. Long computations are kept, so a slider only
redraws.
"""

from __future__ import annotations

from .curve_player import CurvePlayer, Played
from .edit_and_look import EditAndLook
from .interference import InterferenceExplorer
from .layer_slider import LayerSlider
from .memory_scopes import RadiusExplorer, ThresholdExplorer
from .panel import Panel, View, live

__all__ = [
    "CurvePlayer",
    "EditAndLook",
    "InterferenceExplorer",
    "LayerSlider",
    "Panel",
    "Played",
    "RadiusExplorer",
    "ThresholdExplorer",
    "View",
    "live",
]
