"""What a visitor looks at, and which layers a patch touches: figures, links and files ask for it.

Each function takes the few things it reads, so that this file stands below the studio.
"""

from __future__ import annotations

import lib

from .choices import Choices
from .views import Subject
from .visitors import Session


def subject_of(choices: Choices, session: Session) -> Subject:
    """The subject in view, or that of the ready example where the visitor has looked at nothing."""
    return choices.ready_subject() if session.view is None else session.view.subject


def layers_of(lm: lib.LM, patch: lib.Patch) -> list[int]:
    """The layers that a patch touches, by weights or routes."""
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
