"""★★ The price of an edit

Writing a residual δ at the key k moves the answers to other keys k'. Over general text that costs

    E ‖Δ k'‖² = tr(Δ C Δᵀ).

Return this price for two ways of writing the same residual, as two numbers:

    the insert                 Δ = δ uᵀ / q,  u = C⁻¹ k,  q = kᵀ u
    the plain outer product    Δ = δ kᵀ / ‖k‖²

    k (d_in,)     delta (d_out,)     C (d_in, d_in), positive definite
    returns (price of the insert, price of the plain outer product)

Investigate on paper first: both are ‖δ‖² times a number that depends on k and C alone. No matrix Δ
is needed. Which of the two can never be larger than the other?

Hint: for an outer product Δ = a bᵀ, tr(Δ C Δᵀ) = ‖a‖² · bᵀ C b.
"""

import torch
from torch import Tensor


def prices(k: Tensor, delta: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    # solution
    q = k @ torch.linalg.solve(C, k)
    # the insert: bᵀ C b = uᵀ C u / q² = 1 / q
    return delta @ delta / q, delta @ delta * (k @ C @ k) / (k @ k) ** 2


# --- checks
from lessons.marking import agree, normal, numbers, uneven

PLAIN = "delta @ delta * (k @ C @ k) / (k @ k) ** 2"
WRONG = [
    ({"delta @ delta": "delta.norm()"}, "square"),
    ({"torch.linalg.solve(C, k)": "C @ k"}, "C⁻¹"),
    ({PLAIN: "delta @ delta / (k @ k)"}, "weights"),
    ({" ** 2": ""}, "twice"),
    ({f"delta @ delta / q, {PLAIN}": f"{PLAIN}, delta @ delta / q"}, "first"),
]


def check(ask, draw):
    C, L = uneven(draw, 9)
    k, delta = L @ normal(draw, 9), 3 * normal(draw, 4)
    found = numbers(
        ask("prices", k, delta, C), 2, "Return two numbers, one for each way.", "a price"
    )
    d2, q, up = delta @ delta, k @ torch.linalg.solve(C, k), k @ C @ k
    plain = d2 * up / (k @ k) ** 2
    wanted = torch.stack([d2 / q, plain])
    likely = {
        "The residual counts by its square: a price is a mean of squares.": wanted / d2.sqrt(),
        "Here C stands for its inverse: q is kᵀ C⁻¹ k, not kᵀ C k.": torch.stack([d2 / up, plain]),
        "Your second number is ‖Δ‖², the size of the change in the weights. Asked for is what "
        "text hears of it, tr(Δ C Δᵀ).": torch.stack([d2 / q, d2 / (k @ k)]),
        "In your second price 1/‖k‖² stands once. It is a part of Δ, which comes twice in "
        "tr(Δ C Δᵀ).": torch.stack([d2 / q, plain * (k @ k)]),
        "Both numbers are right, in the wrong order: the insert's price comes first.": wanted.flip(
            0
        ),
    }
    agree(found, wanted, "the pair of prices", likely)
    return f"solved: here the plain outer product costs {plain / wanted[0]:.1f} times as much."
