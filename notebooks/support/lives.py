"""What a model may go through after an edit, in notebooks 17 and 18: rounding, training, more edits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from torch import Tensor

import lib
from lessons import l10_1_round as exercise
from lib.data.texts import HELD_OUT
from lib.workbench.instruments.survival import EditedAgain, Life, Trained, matrices

LATER = 4  # facts that are written in the life in which the model is edited again
TRAINED = {"steps": 6, "lr": 4e-4, "batch": 1}  # all matrices, on rows of 128 tokens
ROUNDED = {  # life: bits, and how many weights share a scale; None for those of a row
    "8 bits, per row": (8, None),
    "4 bits, per row": (4, None),
    "4 bits, per 64": (4, 64),
}
SHIFTED = "4 bits, own format"  # 32 weights share a scale and an offset, as the weights came


def coarse(name: str, W: Tensor) -> Tensor:
    """W (d_out, d_in) as it is computed with in one of the lives that round."""
    bits, size = ROUNDED.get(name, (4, 32))
    size = math.gcd(size or W.shape[1], W.shape[1])  # a toy has fewer columns
    return (exercise.shifted if name == SHIFTED else exercise.grouped)(W, bits, size)


def rounding(name: str, lm: lib.LM, patch: lib.Patch) -> lib.Patch:
    """A life: every matrix of the blocks is rounded."""
    made = {matrix: coarse(name, lm.weight(matrix, patch)).cpu() for matrix in matrices(lm, patch)}
    return patch.with_weights(made)


def lives(seed: int, later: Sequence[lib.Fact]) -> dict[str, Life]:
    """What a draw's model goes through, each time from its edits anew."""
    found: dict[str, Life] = {name: partial(rounding, name) for name in (*ROUNDED, SHIFTED)}
    found["trained"] = Trained((HELD_OUT.read_text(encoding="utf-8"),), **TRAINED, seed=seed)
    return found | {"edited again": EditedAgain("ultraedit", tuple(later), batch=LATER)}
