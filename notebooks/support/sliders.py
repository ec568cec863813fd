"""A figure that a slider changes, computed anew for each of its places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lib.workbench import plot
from lib.workbench.widgets import Panel, View


def plainly(value: float) -> str:
    """Three digits, and no power of ten for a thousand: 0.003, 3.16, 1,000."""
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


class Slider(Panel):
    """`draw(value)` is the figure of each value, in order; without a kernel that of `start` stands."""

    def __init__(
        self, draw: Callable[[float], plot.Figure], name: str, values: Sequence[float], start: float
    ) -> None:
        self.draw, self.name, self.places = draw, name, sorted(set(values))
        super().__init__(value=start)

    def controls(self) -> dict[str, Any]:
        import ipywidgets

        places = [(plainly(value), value) for value in self.places]
        look = {"description": self.name, "continuous_update": False}
        return {"value": ipywidgets.SelectionSlider(options=places, **self.values, **look)}

    def look(self, value: float) -> View:
        """The figure, and the value as text."""
        return View(self.draw(value), f"{self.name}: {plainly(value)}", [])
