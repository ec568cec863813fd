"""The subject in view, and the layers that a patch changes; used for figures, links and files.

Each function only takes the values it needs, so that this module can stay below the studio.
"""

from __future__ import annotations

import lib

from .choices import Choices
from .views import Subject
from .visitors import Session


def subject_of(choices: Choices, session: Session) -> Subject:
    """The subject in view, or the opening example's if the visitor hasn't looked at anything."""
    return choices.ready_subject() if session.view is None else session.view.subject


def layers_of(lm: lib.LM, patch: lib.Patch) -> list[int]:
    """The layers that a patch changes, by weights or routes."""
    begins = {layer: f"{lm.arch.blocks}.{layer}." for layer in range(lm.n_layers)}
    names = [f"{name}." for name in (*patch.weights, *patch.routes)]
    return [layer for layer, begin in begins.items() if any(n.startswith(begin) for n in names)]


def listed(layers: list[int]) -> str:
    """[3, 4, 5, 9] -> "3–5, 9"."""
    parts: list[list[int]] = []
    for layer in layers:
        if parts and layer == parts[-1][-1] + 1:
            parts[-1].append(layer)
        else:
            parts.append([layer])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)
