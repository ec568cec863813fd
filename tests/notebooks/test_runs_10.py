"""Moments of notebook 10 stay frozen where they should."""

from __future__ import annotations

import lib
from notebooks.support import models
from notebooks.support import runs_10_ultraedit as runs_10


def test_moments_of_the_first_turn_stay_frozen_and_lifelong_ones_do_not():
    lm = models.load("tiny")
    facts = [lib.Fact(None, f"The number {i} is", "odd" if i % 2 else "even") for i in range(8)]
    moved = {}
    for way in ("lifelong", "first turn"):
        editor = runs_10.editor(lm, way)
        first = editor.edit(facts[:4])
        second = editor.edit(facts[4:], after=first)
        means = [
            next(iter(patch.memory["ultraedit"]["moments"].values()))["keys"]["mean"]
            for patch in (first, second)
        ]
        moved[way] = (means[0] - means[1]).norm().item()
    assert moved["first turn"] == 0 < moved["lifelong"]
