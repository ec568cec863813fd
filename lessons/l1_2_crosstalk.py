"""★★ The oldest memory, and its crosstalk

The oldest memory adds up one outer product v_i k_iᵀ per pair. At k_j its output is v_j, scaled by
‖k_j‖², plus a small part of every other value. These parts are the crosstalk,

    W k_j − ‖k_j‖² v_j = Σ over i ≠ j of v_i (k_iᵀ k_j).

Return both, the matrix and the crosstalk of all keys at once, without a loop.

    K  (d_in, n)     keys of any length, not only 1
    V  (d_out, n)
    returns W (d_out, d_in) and a tensor (d_out, n), column j: the crosstalk at key j

Hint: a sum of outer products is a single matrix product, and so are all the outputs.
"""

import torch
from torch import Tensor


def outer_memory(K: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    # solution
    W = V @ K.T
    return W, W @ K - V * K.pow(2).sum(0)


# --- checks
from lessons.marking import agree, normal, several

WRONG = [
    ({" - V * K.pow(2).sum(0)": ""}, "its own value"),
    ({"V * K.pow(2).sum(0)": "V"}, "length 1"),
    ({"- V * K.pow(2).sum(0)": "/ K.pow(2).sum(0) - V"}, "divided"),
    ("W = V @ K.pinverse()\nreturn W, W @ K - V", "least squares"),
]


def check(ask, draw):
    K, V = normal(draw, 6, 9), normal(draw, 3, 9)
    found = several(
        ask("outer_memory", K, V), 2, "Return two things: the matrix and the crosstalk."
    )
    W, own = V @ K.T, V * K.pow(2).sum(0)
    best = V @ K.pinverse()
    likely = {
        "This is least squares; the oldest memory adds up one outer product per pair.": best,
        "This is the mean of the outer products; the memory is their sum.": W / K.shape[1],
    }
    agree(found[0], W, "W", likely, note="it maps a key to a value")
    root = W @ K - V * K.norm(dim=0)
    likely = {
        "The key's own part is v_j times the squared length of its key, without a root.": root,
        "This is the whole output W k_j: its own value, ‖k_j‖² v_j, is not crosstalk.": W @ K,
        "The key's own part is ‖k_j‖² v_j. You subtracted v_j, as if all keys had length 1.": W @ K
        - V,
        "‖k_j‖² is the squared length of one key, and this is the sum over all keys.": (
            W @ K - V * K.pow(2).sum()
        ),
        "The sign is wrong: the crosstalk is the output minus the key's own part.": own - W @ K,
        "You divide by ‖k_j‖², but the sum is not divided.": W @ K / K.pow(2).sum(0) - V,
    }
    agree(found[1], W @ K - own, "the crosstalk", likely)
    return "solved: every other value leaks in by k_iᵀ k_j."
