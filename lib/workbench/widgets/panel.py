"""`Panel` is the base of all panels: controls above a figure, drawn by ipywidgets.

ipywidgets is imported only when controls are created, so a panel also works without it.
"""

from __future__ import annotations

import base64
import html
import os
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, cast

import pandas as pd
from matplotlib.figure import Figure

from ...errors import Error


class View(NamedTuple):
    """A panel's content for some values of its controls.

    figure  The figure.
    text    A sentence or two with its main numbers.
    rows    The rows of the table, {column: value} each.
    """

    figure: Figure
    text: str
    rows: list[dict[str, Any]]

    def display(self) -> None:
        """Show the figure, and below it the text and the table."""
        from IPython.display import display

        rows = pd.DataFrame(self.rows)
        words = f"<p>{html.escape(self.text)}</p>"
        if len(rows):
            words += rows.to_html(index=False, border=0, na_rep="–", float_format="{:,.3f}".format)
        image = base64.b64encode(cast(Any, self.figure)._repr_png_()).decode()
        display({"image/png": image, "text/plain": self.text}, raw=True)
        display({"text/html": words, "text/plain": rows.to_string(index=False)}, raw=True)


class Panel(ABC):
    """Controls above a figure; `look` creates the view of their values.

    values  The initial values, the arguments of `look` by name.
    BUTTON  The button's label if nothing is drawn before pressing it; None redraws at every change.
            While the view is being created, the button shows this and cannot be pressed again.
    """

    BUTTON: ClassVar[str | None] = None

    def __init__(self, **values: Any) -> None:
        self.values = values

    @abstractmethod
    def look(self, *args: Any, **values: Any) -> View:
        """Create the view of some values; an Error or a ValueError explains why there is none."""

    @abstractmethod
    def controls(self) -> dict[str, Any]:
        """Return {name: an ipywidgets control} for each value."""

    @cached_property
    def view(self) -> View:
        """The initial view, which is shown if there are no controls."""
        return self.look(**self.values)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The numbers of the table below the figure."""
        return self.view.rows

    def box(self) -> Any:
        """Return the controls above their view, as an ipywidgets box."""
        import ipywidgets

        controls = self.controls()
        for control in controls.values():
            control.style.description_width = "initial"
        if self.BUTTON is None:
            return ipywidgets.interactive(self._redraw, **controls)
        # not `interactive` with its own button, because that treats typing text as a press
        button, out = ipywidgets.Button(description=self.BUTTON), ipywidgets.Output()

        def press(_: Any) -> None:
            button.disabled, button.description = True, f"{self.BUTTON}: working …"
            try:
                with out:
                    out.clear_output(wait=True)
                    self._redraw(**{name: control.value for name, control in controls.items()})
            finally:
                button.disabled, button.description = False, self.BUTTON

        button.on_click(press)
        return ipywidgets.VBox([*controls.values(), button, out])

    def _redraw(self, **values: Any) -> None:
        from IPython.display import display

        try:
            self.look(**values).display()
        except (Error, ValueError, KeyboardInterrupt) as error:
            said = str(error) or "Interrupted: this view was not finished."
            display({"text/plain": said}, raw=True)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if live():
            display(self.box())
        else:
            self.view.display()


def live() -> bool:
    """Return whether controls can be drawn: in a kernel with ipywidgets.

    EDIT_PANELS=static disables them.
    """
    if os.environ.get("EDIT_PANELS") == "static":  # a build, without anyone moving a slider
        return False
    try:
        import ipywidgets  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")
