"""Moments of notebook 10 stay frozen where they should."""

from __future__ import annotations

from unittest import mock

import lib
from notebooks.support import models
from notebooks.support.runs_10_ultraedit import UltraEdit, editor


def test_moments_of_the_first_turn_stay_frozen_and_lifelong_ones_do_not():
    facts = [lib.Fact(None, f"The number {i} is", "odd" if i % 2 else "even") for i in range(8)]
    moved, solve = {}, UltraEdit.solve
    for way in ("lifelong", "first turn"):
        writer = editor(models.load("tiny"), way)
        with mock.patch.object(UltraEdit, "solve", autospec=True, side_effect=solve) as spy:
            writer.edit(facts[4:], after=writer.edit(facts[:4]))
        first, *_, last = (call.args[2].keys.mean for call in spy.call_args_list)
        moved[way] = (first - last).norm().item()
    assert moved["first turn"] == 0 < moved["lifelong"]
