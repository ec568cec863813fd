"""The settings that `tune` searches for each editor, the most important one first.

A first stage tries layers with the editor's own settings, so a grid need not hold these values. The
bounds and rates reach down to what a model with a norm after the MLP needs, whose outputs are short
(Gemma 3), and the published value is always among them.
"""

from __future__ import annotations

from typing import Any

# four contexts of at most nine tokens and the bare prompt: a quarter of the published cost
SHORT: dict[str, Any] = {"contexts": ((9, 4),)}
SPREAD: dict[str, Any] = {"around": 0, "widths": (1, 3, 5), "settings": SHORT}
CLAMPS = (1.0, 4.0)
RATES = (0.05, 0.15, 0.5)

# {editor: arguments of `scan`}; depths are layers as shares of the model's, by default all of them
GRIDS: dict[str, dict[str, Any]] = {
    "rome": {
        "depths": (0.1, 0.2, 0.3, 0.45, 0.6),
        "around": 1,
        "grid": {"clamp": CLAMPS, "v_lr": RATES},
        "settings": SHORT,
    },
    "memit": {
        **SPREAD,
        "grid": {"clamp": CLAMPS, "v_lr": RATES, "strength": (1_000.0, 3_000.0, 15_000.0)},
    },
    "pmet": {
        **SPREAD,
        "grid": {"clamp": CLAMPS, "v_lr": RATES, "strength": (1_000.0, 3_000.0, 15_000.0)},
    },
    "emmet": {
        **SPREAD,
        "grid": {"clamp": CLAMPS, "v_lr": RATES, "strength": (0.0, 1_000.0, 10_000.0)},
    },
    "alphaedit": {
        **SPREAD,
        "grid": {"clamp": CLAMPS, "v_lr": RATES, "quantile": (0.5, 0.7, 0.9), "L2": (1.0, 10.0)},
    },
    "ultraedit": {
        # every window has moments of its own to start from, which take a minute
        "depths": (0.55, 0.75, 0.9),
        "around": 0,
        "widths": (2, 5),
        "grid": {"step": (0.004, 0.008, 0.015, 0.03, 0.06, 0.2)},
        # these settings belong together: changed one after another, the search kept one pass
        # without strength, and its held-out facts lost unrelated answers (RESULTS.md)
        "settings": {
            "reduction": "fact_mean",
            "keep_keys": True,
            "repeat": 3,
            "strength": 1_000.0,
        },
    },
    "ft": {"around": 1, "grid": {"lr": (5e-4, 1e-3, 2e-3)}},
    "ft_m": {"around": 1, "grid": {"lr": (3e-5, 6e-5, 1.2e-4, 2.5e-4, 5e-4)}},
    "grace": {"around": 1, "grid": {"eps_init": (1.0, 4.0, 16.0)}},
}
