"""Settings in files of earlier versions, by editor: those that are gone, and those that came later.

Patches, journals and networks keep the settings with which they were made. A file of an earlier
version is read as if this version had written it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SPREAD = {  # of the editors that spread a change over layers
    "forms": "prompt",
    "chunk": None,
    "hold": None,
    "outputs": "equal",
    "output_groups": 8,
    "keys": "mean",
    "anchor": None,
    "anchor_n": 200,
    "anchor_skip": 2.0,
}
_TUNED = {"restart": False, "forms": "prompt", "replay": "none"}
# settings that this version has not, each with the only value that is still accepted
RETIRED: Mapping[str, Mapping[str, Any]] = {
    "rome": {"forms": "prompt"},
    "wilke": {"forms": "prompt"},
    **dict.fromkeys(("memit", "emmet", "alphaedit", "pmet"), _SPREAD),
    "norm_anchor": {
        "forms": "prompt",
        "chunk": None,
        "hold": None,
        "outputs": "equal",
        "output_groups": 8,
        "keys": "mean",
        "anchor": "base",
    },
    "ultraedit": {"compat": False, "forms": "prompt"},
    "malmen": {"strength": 0.0},
    "rledit": {"strength": 0.0, "discount": 0.95, "reg": 1e-4, "each_turn": False},
    **dict.fromkeys(("ft", "ft_l", "ft_m"), _TUNED),
    "crispedit": {
        "sequential": False,
        "mix": False,
        "recalculate": None,
        "edit_weight": None,
        "labels": "data",
    },
    "retrieval": {
        "tau_rel": 0.2,
        "tau_free": 0.75,
        "demos": 0,
        "ratio": (1, 3, 4),
        "order": "last",
        "pool": None,
    },
    "grace": {"only_errors": False},
    "horen": {"mean_of": "inputs"},
    "lemoe": {
        "projection": "shared",
        "views": ("prompt", "subject"),
        "route_steps": 60,
        "route_lr": 1e-3,
        "d_k": 64,
    },
    "memoir": {"joint": False, "rehearse": 0},
}
# settings that files of earlier versions have not, each with the value that those files mean
ADDED: Mapping[str, Mapping[str, Any]] = {
    "rome": {"enough": 0.05},
    "wilke": {"enough": 0.05},
    "retrieval": {"always": False},
    "grace": {"forms": "prompt"},
    "horen": {"forms": "prompt"},
    "wise": {"forms": "prompt"},
}
