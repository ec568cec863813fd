"""Settings and facts with which every editor writes into a random model of four layers."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import lib

from . import tiny

# Settings for a random model of four layers; the search needs room, texts need to be short.
_SEARCH = {"layer": 1, "v_lr": 0.5, "steps": 60, "clamp": 50.0, "decay": 0.0, "kl_factor": 0.0,
           "templates": ("{}",), "tokens": 600}  # fmt: skip
_TUNE = {"layer": 1, "lr": 0.02, "epochs": 100}
# Random keys are short, so what weighs against the new facts must be light.
_SPREAD = {"layers": (1, 2), "v_lr": 0.5, "steps": 60, "clamp": 50.0, "decay": 0.0,
           "kl_factor": 0.0, "templates": ("{}",), "tokens": 600, "strength": 1e-4}  # fmt: skip
_INNER = {"inner": ("memit", _SPREAD)}
_NETWORK = {"down": (1, 2), "rank": 16, "lr": 1e-3, "lr_step": 1e-2, "batch": 1, "accumulate": 3,
            "edit_weight": 1.0, "loc_weight": 0.01}  # fmt: skip
_SIDE = {"layer": 2, "lr": 0.1, "n_iter": 80, "mask_ratio": 1.0, "norm_constraint": None,
         "templates": ("{}",), "irrelevant_n": 24}  # fmt: skip
TINY: dict[str, dict] = {
    "rome": _SEARCH,
    "wilke": {**_SEARCH, "layers": (0, 1, 2)},
    "memit": _SPREAD,
    "norm_anchor": {**_SPREAD, "anchor_n": 4, "anchor_skip": None},
    "emmet": {**_SPREAD, "layers": (1,), "strength": 0.0},
    "alphaedit": {**_SPREAD, "quantile": 0.9, "L2": 1e-4},
    "pmet": {**_SPREAD, "relax": False},
    "rect": {**_INNER, "keep": 0.9},
    "prune": {**_INNER, "alpha": 1.1},
    "ultraedit": {"down": (1, 2), "step": 0.1, "repeat": 10, "ridge": 0.01},
    "mend": {**_NETWORK, "eta": 3e-2},
    "malmen": {**_NETWORK, "eta": 0.2},
    "rledit": {**_NETWORK, "eta": 0.5, "turns": 1},
    "ft": _TUNE,
    "ft_m": _TUNE,
    "ft_l": {**_TUNE, "box": 1.0},
    "crispedit": {"layers": (1, 2), "lr": 0.02, "epochs": 100, "energy": 0.5, "tokens": 600},
    "lora": {"layers": (1, 2), "rank": 4, "lr": 0.02, "epochs": 100},
    "sdf": {
        "layers": (1, 2),
        "rank": 8,
        "alpha": 32.0,
        "lr": 0.02,
        "epochs": 60,
        "documents": 2,
        "written": 0,
    },
    "grace": {"layer": 1, "eps_init": 0.05, "n_iter": 200, "enough": 2.0},
    "horen": {"layer": 1, "tau": 0.97, "n_iter": 200, "enough": 2.0},
    "steer": {"layer": 2},
    "wise": _SIDE,
    "memoir": {"layer": 2, "lr": 0.3, "n_iter": 80, "tau": 0.9, "templates": ("{}",), "k": 16},
    "lemoe": {"layer": 1, "lr": 1e-2, "templates": ("{}",), "null": 0.5},
}
# On random models a third of the steps writes the fact as well, in every family, but by these.
FEWER = {"steps": 20, "epochs": 30, "n_iter": 28}
ALL_STEPS = {"pmet", "grace", "horen"}

A = lib.Fact("The old tower", "I saw {}", "xy")
B = lib.Fact("The old tower", "Who built {}", "qz")  # the same subject: the harder neighbor
ELSEWHERE = ["A cat sat on the mat", "Seven days"]
TRAINING = [lib.Case(fact, locality=(ELSEWHERE[0],)) for fact in (A, B)]  # of networks, in seconds
NETWORKS = tempfile.TemporaryDirectory()


@cache
def model(family: str) -> lib.LM:
    return tiny.model(family)


def quick(name: str) -> dict:
    """The row of TINY with no more steps than the tests of promises need."""
    given = TINY.get(name, {})
    if name in ALL_STEPS:
        return given
    given = {key: FEWER.get(key, value) for key, value in given.items()}
    if "inner" in given:
        inner, its = given["inner"]
        given["inner"] = (inner, {**its, "steps": FEWER["steps"]})
    return given


@cache
def settings(name: str, family: str) -> dict:
    """What an editor is made with here; its network, if it has one, is fitted first."""
    given = quick(name)
    if not lib.EDITORS[name].trained:
        return given
    path = Path(NETWORKS.name) / f"{name}-{family}.safetensors"
    lib.EDITORS[name](model(family), **given).fit(TRAINING, checkpoint=path, steps=15)
    return {**given, "network": str(path)}
