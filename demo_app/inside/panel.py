"""What the looks inside share: a panel, whose insides these are, and which layers. No Gradio here.

A panel is a generator that does its model work in jobs (chain.py), yields their progress and
returns a figure, what was found in one sentence, and the same in words for those who cannot see it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

import lib

from ..session.worker import Progress

if TYPE_CHECKING:
    from ..session.studio import Studio
    from ..session.views import Subject
    from ..session.visitors import Session

WHERE = "Press Edit in the first tab, then come back."
Steps = Generator[Progress, None, "Panel"]


@dataclass(frozen=True)
class Panel:
    """A figure, what it shows in one sentence, and its numbers in words (HTML)."""

    figure: Figure
    found: str
    words: str = ""


def subject_of(studio: Studio, session: Session) -> Subject:
    """What the visitor looks at, or the ready example where he has not looked at anything."""
    if session.view is not None:
        return session.view.subject
    fact = studio.example(studio.ready).fact
    return studio.subject(fact.subject, fact.prompt, fact.target_new)


def layers_of(lm: lib.LM, patch: lib.Patch) -> list[int]:
    """The layers that a patch touches, by weights or routes."""
    found = set()
    for name in (*patch.weights, *patch.routes):
        for layer in range(lm.n_layers):
            if f"{name}.".startswith(f"{lm.arch.blocks}.{layer}."):
                found.add(layer)
    return sorted(found)


def about(studio: Studio, session: Session) -> str:
    """One line over the panels: whose insides these are."""
    fact, patch = subject_of(studio, session).case.fact, session.patch
    prompt = f"“{escape(fact.text)} …”"
    if not patch:
        return f"No edit is live: you see the model as it is, at {prompt}. {WHERE}"
    layers = layers_of(studio.lm, patch)
    where = f"layer{'s' * (len(layers) > 1)} {listed(layers)}" if layers else "no layer"
    count = len(patch.facts)
    return f"{count} edit{'s' * (count > 1)} live, in {where}; the prompt is {prompt}."


def listed(layers: list[int]) -> str:
    """[3, 4, 5, 9] -> "3–5, 9"."""
    parts: list[list[int]] = []
    for layer in layers:
        if parts and layer == parts[-1][-1] + 1:
            parts[-1].append(layer)
        else:
            parts.append([layer])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)
