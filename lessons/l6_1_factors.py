"""★ A gradient in factors

A linear layer maps the key k_t of each token to y_t = W k_t, and g_t = ∂L/∂y_t is the loss's demand
on that output. So the gradient is one outer product per token,

    ∂L/∂W = Σ over t of g_t k_tᵀ = G Kᵀ,

and a plain step with learning rate α is Δ = −α G Kᵀ. What does this step add to the output at
*another* key q? Fill in the last line, without forming a matrix of (d_out, d_in): a model has too
many.

    K  (d_in, n)     G (d_out, n)     q (d_in,)     alpha: a number
    returns (d_out,), Δ q

Hint: you can put brackets into G Kᵀ q in two ways.
"""

import torch
from torch import Tensor


def moved(K: Tensor, G: Tensor, q: Tensor, alpha: float) -> Tensor:
    heard = K.T @ q  # (n,): similarity of q to each key
    # solution
    return -alpha * (G @ heard)


# --- checks
from lessons.marking import agree, normal

WRONG = [
    ("return alpha * (G @ heard)", "uphill"),
    ("return -alpha * (G @ heard) / K.shape[1]", "mean"),
    ("return -alpha * (G @ heard) / (K * K).sum()", "length"),
    ("return -alpha * G.sum(1)", "weigh each"),
]


def check(ask, draw):
    for d_in, n in ((7, 3), (20_000, 2)):
        K, G, q = normal(draw, d_in, n), normal(draw, 5, n), normal(draw, d_in)
        wanted = -0.3 * (G @ (K.T @ q))
        likely = {
            "The sign is wrong: a step goes against the gradient, but yours goes uphill.": -wanted,
            "This is a mean over the tokens. Add them up: g already contains the loss's 1/n.": (
                wanted / n
            ),
            "Don't divide by a length: the keys determine the size of the step.": (
                wanted / (K * K).sum()
            ),
            "α is missing.": wanted / 0.3,
            "These are cosines: weigh each token by kᵀ q itself, with both lengths.": (
                -0.3 * (G @ (K.T @ q / K.norm(dim=0) / q.norm()))
            ),
            "This is a softmax over tokens; weigh each token by kᵀ q itself.": (
                -0.3 * (G @ (K.T @ q).softmax(0))
            ),
            "The sign of kᵀ q is lost: a key on the opposite side changes in the opposite "
            "direction.": (-0.3 * (G @ (K.T @ q).abs())),
            "You grant every token's demand in full. Weigh each by kᵀ q.": (-0.3 * G.sum(1)),
        }
        agree(ask("moved", K, G, q, 0.3), wanted, "Δ q", likely, note="an output")
    return (
        "solved: the step acts on a key by their inner product, on a neighbor as well as the fact."
    )
