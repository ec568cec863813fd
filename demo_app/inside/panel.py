"""The parts that all looks inside an edit share: the panel, and the line that names the edit.

A look inside is a generator: it does its model work in the jobs of a long run, yields their
progress, and returns a panel: plain values that can draw and describe themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import TYPE_CHECKING

from ..session.studio import Studio
from ..session.subject_in_view import layers_of, listed, subject_of
from ..session.visitors import Session
from ..session.worker import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHERE = "Press Edit in the first tab, then come back."
Steps = Generator[Progress, None, "Panel"]


class Panel(ABC):
    """What a look has found, as plain values that a file can hold, and how it is shown."""

    @property
    @abstractmethod
    def figure(self) -> Figure:
        """The figure, drawn anew at each call."""

    @property
    @abstractmethod
    def found(self) -> str:
        """What the figure shows, in one sentence or two."""

    @property
    @abstractmethod
    def lines(self) -> tuple[str, ...]:
        """Its numbers as plain text, for those who cannot see the figure."""


def about(studio: Studio, session: Session) -> str:
    """The line over the panels, in plain text: how many edits are live, in which layers."""
    fact, patch = subject_of(studio.choices, session).case.fact, session.patch
    prompt = f"“{fact.text} …”"
    if not patch:
        return f"No edit is live: you see the model as it is, at {prompt}. {WHERE}"
    layers = layers_of(studio.lm, patch)
    where = f"layer{'s' * (len(layers) > 1)} {listed(layers)}" if layers else "no layer"
    count = len(patch.facts)
    return f"{count} edit{'s' * (count > 1)} live, in {where}; the prompt is {prompt}."
