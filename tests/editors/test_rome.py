"""ROME: its value at its key, whichever keys are written."""

from __future__ import annotations

import pytest
import torch

import lib

from ..support import tiny
from ..support.spread import FACTS, SPREAD


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_rome_writes_its_value_at_its_key_on_the_weights_as_they_are(lm):
    settings = {k: v for k, v in SPREAD.items() if k != "layers"} | {"steps": 4}
    for keys, held in (("prompt", [0]), ("mean", [1]), ("both", [0, 1]), ("mixed", [0])):
        editor = lib.EDITORS["rome"](
            lm, **{**settings, "templates": ("{}", "Well. {}")}, layer=1, keys=keys
        )
        first = editor.edit(FACTS[:1])
        _, found = editor.update(FACTS[1], first)
        W, before = (
            lm.weight(lm.mlp_out(1), patch) for patch in (editor.edit(FACTS[1:2], first), first)
        )
        bare, mean = found.keys[0], found.keys.mean(0)
        wanted = before @ bare + found.delta if keys == "prompt" else found.v_star
        for key in held:
            torch.testing.assert_close(W @ (bare, mean)[key], wanted, atol=1e-3, rtol=1e-3)
