"""`Panel` is the base of all panels: traits linked to controls, one view at a time, two displays.

ipywidgets is imported only where controls are made, so that a panel also works without it.
"""

from __future__ import annotations

import base64
import html
import math
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import traitlets
from matplotlib.figure import Figure

TEXT = "text-align: left; vertical-align: top; white-space: normal; padding: 3px 14px 3px 0"
NUMBER = "text-align: right; vertical-align: top; padding: 3px 14px 3px 0"
VIEW = "application/vnd.jupyter.widget-view+json"

Control = tuple[str, dict[str, Any]]  # the name of an ipywidgets class, and its settings
Rows = Sequence[Mapping[str, object]]


class View(NamedTuple):
    """The view of a panel at one moment.

    figure  The figure.
    text    A sentence or two with its main numbers.
    rows    The rows of the table, {column: value} each.
    """

    figure: Figure
    text: str
    rows: list[dict[str, Any]]


class Panel(traitlets.HasTraits):
    """Controls above a figure; `look` makes the view that belongs to the traits' values.

    LABELS   {trait: the name of its control}, in the order of the controls.
    message  The reason why the present values cannot be shown, in which case the last view stays.
             It is empty where they can.
    """

    LABELS: ClassVar[dict[str, str]]
    message = traitlets.Unicode()

    def __init__(self, **values: Any) -> None:
        self._view: View | None = None
        self._stale, self._box = True, None
        self._kept: dict[Any, Any] = {}  # results that took long, by the values they belong to
        super().__init__(**values)
        self.observe(self._changed, names=list(self.LABELS))

    @abstractmethod
    def look(self) -> View:
        """Make the view of the present values; a ValueError says why there is none."""

    @abstractmethod
    def controls(self) -> dict[str, Control]:
        """The control of each trait in LABELS, {trait: (ipywidgets class, its settings)}."""

    # ---- the view, without a front end --------------------------------------------------------

    def refresh(self) -> None:
        """Make the view if the values have changed; values without a view set `message`."""
        if self._stale:
            self._stale = False
            try:
                self._view, self.message = self.look(), ""
            except ValueError as error:
                self.message = str(error)

    @property
    def view(self) -> View:
        """The present view, made when it is asked for; ValueError where there never was one."""
        self.refresh()
        if self._view is None:
            raise ValueError(self.message)
        return self._view

    def static(self) -> Figure:
        """The figure alone, which is shown where there is no front end."""
        return self.view.figure

    @property
    def rows(self) -> list[dict[str, object]]:
        """The numbers of the table below the figure."""
        return self.view.rows

    @property
    def text(self) -> str:
        """The view in words and numbers, with one row of the table per line."""
        text, rows = self.view.text, self.view.rows
        lines = [list(rows[0]), *(map(plain, row.values()) for row in rows)] if rows else []
        return "\n".join([text, *(" | ".join(line) for line in lines)])

    @property
    def html(self) -> str:
        """The view in words and numbers, as a paragraph and a table in HTML."""
        said = f"<p>{html.escape(self.view.text)}</p>{table(self.view.rows)}"
        # ipywidgets sets lines 28 pixels apart
        return f'<div style="line-height: 1.4">{said}</div>'

    def _changed(self, _: Any) -> None:
        """A trait has another value: show its view."""
        self._stale = True
        self._show()

    # ---- with one -----------------------------------------------------------------------------

    @property
    def output(self) -> Any:
        """Controls, figure and numbers as one ipywidgets box, made at the first call."""
        if self._box is None:
            import ipywidgets

            style = {"description_width": "initial"}
            self._controls = {
                name: getattr(ipywidgets, kind)(
                    description=self.LABELS[name], style=style, **settings
                )
                for name, (kind, settings) in self.controls().items()
            }
            for name, control in self._controls.items():
                traitlets.link((self, name), (control, "value"))
            self._status, self._picture, self._words = (ipywidgets.HTML() for _ in range(3))
            wrapped = ipywidgets.Layout(flex_flow="row wrap", grid_gap="2px 18px")
            self._box = ipywidgets.VBox(
                [
                    ipywidgets.HBox([*self._controls.values(), *self._buttons()], layout=wrapped),
                    self._status,
                    self._picture,
                    self._words,
                ]
            )
            self._show()
        return self._box

    def _buttons(self) -> list[Any]:
        """Further controls that are no traits; a panel may have some."""
        return []

    def _show(self) -> None:
        """Put the present view into the box, where there is one."""
        if self._box is None:
            return
        # this text is seen as long as the view is being made
        if self._stale:
            self._status.value = "<p>computing …</p>"
        try:
            figure, text, _ = self.view
        except ValueError:
            figure = None  # nothing to show yet: the message says why
        self._status.value = (
            f'<p role="alert"><b>{html.escape(self.message)}</b></p>' if self.message else ""
        )
        if figure is not None:
            source = f"data:image/png;base64,{_png(figure)}"
            self._picture.value = (
                f'<img style="max-width: 100%; display: block" alt="{html.escape(text)}"'
                f' src="{source}">'
            )
            self._words.value = self.html

    # ---- display ------------------------------------------------------------------------------

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The figure and its text, and before them the box where there is a front end.

        A page that cannot draw the box, or a notebook without a kernel, shows the figure.
        """
        box = self.output._repr_mimebundle_() if live() else {}
        return {**box, "image/png": _png(self.static()), "text/plain": self.text}

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self._repr_mimebundle_(), raw=True)
        if not live():
            display({"text/html": self.html, "text/plain": self.text}, raw=True)


def live() -> bool:
    """Whether controls can be drawn: in a kernel, with ipywidgets, unless EDIT_PANELS=static."""
    if os.environ.get("EDIT_PANELS") == "static":  # a build: nobody will move a slider
        return False
    try:
        import ipywidgets  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")


def one_of(value: Any, known: Sequence[Any], what: str) -> Any:
    """The value itself when it is among the known ones; ValueError naming them otherwise."""
    if value not in known:
        names = ", ".join(map(str, known[:12])) + (", …" if len(known) > 12 else "")
        raise ValueError(f"{what} should be one of {names}, not {value}")
    return value


def between(value: float, low: float, high: float, what: str) -> float:
    """The value itself when it lies in the range, ends included; ValueError otherwise."""
    if not low <= value <= high:  # NaN too
        raise ValueError(f"{what} should lie between {low:g} and {high:g}, not at {value:g}")
    return value


def plain(value: object) -> str:
    """A value on one line: floats with three decimals, from 10 on with one; NaN as a dash."""
    if isinstance(value, float) and math.isnan(value):
        return "–"
    if isinstance(value, float):
        return f"{value:,.{3 if abs(value) < 10 else 1}f}"
    return " ".join(str(value).split())


def table(rows: Rows) -> str:
    """Rows (column -> text or number) as HTML: text left and wrapped, numbers right."""
    if not rows:
        return ""
    style = {c: NUMBER if isinstance(v, int | float) else TEXT for c, v in rows[0].items()}
    head = "".join(f'<th style="{style[c]}">{html.escape(c)}</th>' for c in style)
    lines = (
        "".join(f'<td style="{style[c]}">{html.escape(plain(row[c]))}</td>' for c in style)
        for row in rows
    )
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _png(figure: Figure) -> str:
    return base64.b64encode(cast(Any, figure)._repr_png_()).decode()
