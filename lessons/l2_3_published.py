"""★★ ROME as published, and its slip

ROME reads the key of a subject twice: k0 in the bare prompt, and k_mean, the mean over several
sentences prepended to it. The released code uses the direction of one and the length of the other:

    u = C⁻¹ k_mean,   Δ = (v* − W k0) uᵀ / (uᵀ k0)

Return W + Δ, and how many times longer it made Δ than it would be with k_mean everywhere (R-ROME),
if W k0 and W k_mean are the same: the quotient of the two denominators, |uᵀ k_mean / uᵀ k0|.

    W (d_out, d_in)     k0, k_mean (d_in,)     v_star (d_out,)     C (d_in, d_in)
    returns (new matrix (d_out, d_in), a number)

Notebook 08 needs this number: if it is large, one edit ruins the model.

Hint: the inner product of two vectors is a @ b. Check on your W' that the bare prompt gives v*.
"""

import torch
from torch import Tensor


def published(W: Tensor, k0: Tensor, k_mean: Tensor, v_star: Tensor, C: Tensor):
    # solution
    u = torch.linalg.solve(C, k_mean)
    new = W + torch.outer(v_star - W @ k0, u) / (u @ k0)
    return new, (u @ k_mean / (u @ k0)).abs()


# --- checks
from lessons.marking import agree, normal, several, uneven

WRONG = [
    ({"u) / (u @ k0)": "u) / (u @ k_mean)"}, "bare prompt"),
    ({"solve(C, k_mean)": "solve(C, k0)"}, "direction"),
    ({"W @ k0, u) / (u @ k0)": "W @ k_mean, u) / (u @ k_mean)"}, "R-ROME"),
    ({"u @ k_mean / (u @ k0)": "u @ k0 / (u @ k_mean)"}, "upside down"),
    ({".abs()": ""}, "absolute"),
]


def check(ask, draw):
    C, L = uneven(draw, 8)
    W, k0, v = normal(draw, 5, 8), L @ normal(draw, 8), normal(draw, 5)
    mean = 0.6 * k0 + 0.5 * L @ normal(draw, 8)
    u, u0 = torch.linalg.solve(C, mean), torch.linalg.solve(C, k0)
    k0 *= -(u @ k0).sign()  # the number is negative without its absolute value
    found = several(
        ask("published", W, k0, mean, v, C), 2, "Return two things: the new matrix, and a number."
    )
    likely = {
        "At the bare prompt W' k0 is not v*: you divide by uᵀ k_mean, not by uᵀ k0.": W
        + torch.outer(v - W @ k0, u) / (u @ mean),
        "This is the direction of the bare prompt's key: u belongs to k_mean.": W
        + torch.outer(v - W @ k0, u0) / (u0 @ k0),
        "This uses k_mean everywhere, like the later R-ROME: the released code mixes both keys.": (
            W + torch.outer(v - W @ mean, u) / (u @ mean)
        ),
        "This is the residual at k_mean; the missing part at the bare prompt is v* − W k0.": W
        + torch.outer(v - W @ mean, u) / (u @ k0),
        "Where is C? The direction is C⁻¹ k_mean, and this is k_mean itself.": W
        + torch.outer(v - W @ k0, mean) / (mean @ k0),
        "This is only Δ: return W + Δ.": torch.outer(v - W @ k0, u) / (u @ k0),
    }
    agree(found[0], W + torch.outer(v - W @ k0, u) / (u @ k0), "W'", likely)
    wanted = (u @ mean / (u @ k0)).abs()
    likely = {
        "Your number is upside down: it should grow as uᵀ k0 gets smaller.": 1 / wanted,
        "C is missing in the number: it compares uᵀ k_mean and uᵀ k0, with u = C⁻¹ k_mean.": (
            (mean @ mean / (mean @ k0)).abs()
        ),
        "Use the absolute value: a length doesn't have a sign.": -wanted,
    }
    agree(found[1], wanted, "the number", likely)
    return "solved: if k0 and k_mean have little in common, uᵀ k0 is almost 0, and Δ explodes."
