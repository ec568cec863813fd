"""The common parts of all instruments' results: rows, and a table with surrounding lines.

A result contains one row per question. Its table has one line per group of questions, showing each
number with its 95% interval (`intervals.Estimate`). When testing several models on the same
questions, two of them are compared question by question. Everything is printed whole, in at most
100 columns.
"""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from textwrap import fill
from typing import ClassVar

import pandas as pd

from .intervals import DIFFERENCE, Estimate

WIDTH = 100  # characters of a printed line


class Table(pd.DataFrame):
    """A DataFrame shown whole: three digits, wrapping columns that do not fit on a line."""

    @property
    def _constructor(self) -> type[Table]:
        return Table

    def __repr__(self) -> str:
        return self.to_string(na_rep="–", float_format="{:.3g}".format, line_width=WIDTH)

    def _repr_html_(self) -> str:
        return self.to_html(na_rep="–", float_format="{:.3g}".format, border=0)


class Results(ABC):
    """A result shown as a table with a line above it and another one below."""

    title: str

    @property
    @abstractmethod
    def footer(self) -> str:
        """Return the line below the table."""

    @abstractmethod
    def table(self) -> pd.DataFrame:
        """Return the measurements in a form for readers."""

    def __repr__(self) -> str:
        return f"{fill(self.title, WIDTH)}\n{Table(self.table())!r}\n{fill(self.footer, WIDTH)}"

    def _repr_html_(self) -> str:
        return (
            f"<div><b>{html.escape(self.title)}</b>{Table(self.table())._repr_html_()}"
            f"<small>{self.footer}</small></div>"
        )


class Shares(Results):
    """The proportions of several models on the same questions, and the difference of two of them.

    PAIRED  the name of the difference, the model, and the model compared with it
    """

    PAIRED: ClassVar[tuple[str, str, str]]

    @abstractmethod
    def questions(self) -> pd.DataFrame:
        """Return each model's score, 0 to 1, in a row per question, indexed by its line's name."""

    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """Return {line: {model, or the name of the difference: its estimate}}."""
        name, one, other = self.PAIRED
        return {
            str(line): {
                **{str(model): Estimate.of(some[model]) for model in some},
                name: Estimate.of(some[one] - some[other], DIFFERENCE),
            }
            for line, some in self.questions().groupby(level=0, sort=False)
        }

    def table(self) -> pd.DataFrame:
        """Return the proportions in percent with 95% intervals, one line per group of questions."""
        cells = {
            line: {name: one.cell() for name, one in found.items()}
            for line, found in self.estimates().items()
        }
        table = pd.DataFrame.from_dict(cells, orient="index")
        return table.rename_axis(self.questions().index.names[0])
