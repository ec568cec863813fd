"""Panels for notebooks: controls above a figure, and the figure's numbers in words below it.

    from lib.workbench import widgets
    widgets.EditAndLook(lm, fact)

As the last line of a cell, a panel shows itself. If a front end can draw them (ipywidgets), it has
its controls; otherwise it is the first view: the figure and the table of its values. In code,
`panel.look(radius=0.5)` returns the figure, the text and the rows for any values.
"""

from __future__ import annotations

from .edit_and_look import EditAndLook
from .memory_scopes import RadiusExplorer, ThresholdExplorer
from .panel import Panel, View, live

__all__ = [
    "EditAndLook",
    "Panel",
    "RadiusExplorer",
    "ThresholdExplorer",
    "View",
    "live",
]
