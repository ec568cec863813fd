"""Cases and settings with which hypernetworks are trained in seconds."""

from __future__ import annotations

import lib

CASES = [
    lib.Case(lib.Fact(None, "I saw the old tower", "xyz"), ("Look, the tower",),
             (lib.Probe("A dog", "cat"),)),
    lib.Case(lib.Fact(None, "A cat sat on the", "qz"), ("On what sat it",), (),
             ("Seven days of rain",)),
    lib.Case(lib.Fact(None, "Who", "abcde"), ("And who",), (lib.Probe("Ten men", "x"),)),
]  # fmt: skip
APART = [lib.Case(lib.Fact(None, "The bridge", "qz"), ("A bridge",), (), ("Two eggs",))]
SMALL = {"down": (1, 2), "rank": 8, "lr": 1e-3, "lr_step": 1e-3, "eta": 0.1, "accumulate": 2,
         "batch": 1, "check_every": 2, "group": 2}  # fmt: skip
