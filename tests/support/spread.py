"""Facts and settings with which the editors of MLP output projections are tested."""

from __future__ import annotations

import lib

FACTS = [
    lib.Fact("The old tower", "I saw {}", "xy"),
    lib.Fact("A cat", "{} sat on the", "qz"),
    lib.Fact("Pisa", "The tower of {}", "xy"),
]
SPREAD = {"layers": (1, 2), "v_lr": 0.5, "steps": 12, "clamp": 20.0, "decay": 0.0, "kl_factor": 0.0,
          "tokens": 600, "templates": ("{}",)}  # fmt: skip
ROME = {k: v for k, v in SPREAD.items() if k != "layers"}


def delta(lm, patch, layer, under=lib.EMPTY):
    """The change of a layer's output projection."""
    name = lm.mlp_out(layer)
    return lm.weight(name, patch) - lm.weight(name, under)
