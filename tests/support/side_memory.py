"""Settings of WISE that train a side memory of a random model in a few steps."""

from __future__ import annotations

CALM = ("A cat sat on the mat", "Seven days", "what is it", "In the morning he ran")
SETTINGS = {"layer": 1, "lr": 0.3, "n_iter": 12, "templates": ("{}", "So. {}"), "irrelevant": CALM,
            "irrelevant_n": 2, "norm_constraint": None, "remeasure": True}  # fmt: skip
SHORT = {**SETTINGS, "n_iter": 4, "save_freq": 2, "merge_freq": 4}
