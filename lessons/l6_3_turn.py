"""★★ A turn of UltraEdit, in the small

Every answer token asks for a shift of the output at its own key, in standardized units, and one
ridge regression grants all shifts:

    v = −η ‖k̂‖² ĝ,      Δ = V Kᵀ (K Kᵀ + λ I)⁻¹ = V (Kᵀ K + λ I)⁻¹ Kᵀ

In the right form, the matrix has the size of the number of tokens. Return the factor Y (d_out, n)
of Δ = Y Kᵀ; you don't need Δ itself.

‖k̂‖² is about d_in, so a fixed η means a different step in every model. The setting here is `step`,
which is independent of the width: η = step / d_in.

    K  (d_in, n)     raw keys              K_hat (d_in, n), G_hat (d_out, n): standardized
    step, lam        numbers; λ > 0
    returns Y (d_out, n)

And what does a fact ask for if the model already knows it? Its gradient is zero, g = 0. But ĝ is g
with the mean subtracted, (g − μ) / σ. If all tokens of a turn have g = 0, then Δ = a bᵀ.

    mean_g, sigma_g  (d_out,), μ and σ of the gradients      K, K_hat, step, lam  as above
    returns a (d_out,), b (d_in,); a factor may be in either, as only a bᵀ is compared

Hint: each column has its own ‖k̂‖²; (K_hat * K_hat).sum(0) has them all. Which keys does the model
really have, raw or standardized keys? Solve for those.
"""

import torch
from torch import Tensor


def turn(K: Tensor, K_hat: Tensor, G_hat: Tensor, step: float, lam: float) -> Tensor:
    # solution
    d_in, n = K.shape
    V = -step / d_in * (K_hat * K_hat).sum(0) * G_hat  # (d_out, n)
    small = K.T @ K + lam * torch.eye(n)
    return torch.linalg.solve(small, V.T).T  # V (KᵀK + λI)⁻¹


def at_zero(
    K: Tensor, K_hat: Tensor, mean_g: Tensor, sigma_g: Tensor, step: float, lam: float
) -> tuple[Tensor, Tensor]:
    # solution
    size = step / len(K) * (K_hat * K_hat).sum(0)  # (n,): v = size · μ/σ at every token
    b = K @ torch.linalg.solve(K.T @ K + lam * torch.eye(K.shape[1]), size)
    return mean_g / sigma_g, b


# --- checks
from lessons.marking import Wrong, agree, normal, several, tensor

WRONG = [
    ({"-step / d_in": "-step"}, "width"),
    ({"(K_hat * K_hat).sum(0) * G_hat": "(K * K).sum(0) * G_hat"}, "the size of a shift"),
    ({"sum(0) * G_hat": "sum() * G_hat"}, "its own"),
    ({"small = K.T @ K": "small = K_hat.T @ K_hat"}, "raw"),
    ({"torch.linalg.solve(small, V.T).T": "V"}, "crosstalk"),
    ({"solve(small, V.T).T": "solve(small, V.T).T @ K.T"}, "factor"),
    ({"at_zero": "return 0 * mean_g, K[:, 0]"}, "plain step"),
    ({"return mean_g": "return -mean_g"}, "uphill"),
    ({"mean_g / sigma_g, b": "mean_g, b"}, "divided by σ"),
    ({"sigma_g, b": "sigma_g, K @ size"}, "as if"),
]


def check(ask, draw):
    for d_in, n, lam in ((40, 6, 2.0), (9, 4, 0.1)):
        K = normal(draw, d_in, n) * normal(draw, d_in, 1).exp() + normal(draw, d_in, 1)
        K_hat, G_hat = normal(draw, d_in, n), normal(draw, 5, n)
        found = ask("turn", K, K_hat, G_hat, 0.02, lam)
        if isinstance(found, torch.Tensor) and found.shape == (5, d_in):
            raise Wrong("This is Δ itself: return the factor Y with Δ = Y Kᵀ, (d_out, n).")
        one, size = torch.eye(n).double(), (K_hat * K_hat).sum(0)

        def solved(V, keys, one=one, lam=lam):
            return torch.linalg.solve(keys.T @ keys + lam * one, V.T).T

        V = -0.02 / d_in * size * G_hat
        likely = {
            "η is the step itself here: divide by d_in, or the width matters.": (
                solved(V * d_in, K)
            ),
            "Here ‖k‖² of raw keys determines the size of a shift. Raw keys differ by orders of "
            "magnitude: use k̂.": solved(-0.02 / d_in * (K * K).sum(0) * G_hat, K),
            "Every token has its own ‖k̂‖²; this is the sum over all of them.": (
                solved(-0.02 / d_in * size.sum() * G_hat, K)
            ),
            "You solve for standardized keys, but the layer sees raw keys: Δ k must be v.": (
                solved(V, K_hat)
            ),
            "You multiply by (KᵀK + λI); divide by it instead.": V @ (K.T @ K + lam * one),
            "‖k̂‖ is not squared.": solved(V / size.sqrt(), K),
            "‖k̂‖² is missing, which gives the size of a token's shift.": solved(V / size, K),
            "λ is added to every entry; λ I has it only on the diagonal.": (
                torch.linalg.solve(K.T @ K + lam, V.T).T
            ),
            "This is V: you sum outer products directly, with all their crosstalk.": V,
            "The sign is wrong: use −η, against the gradient.": -solved(V, K),
            "Where is λ?": torch.linalg.solve(K.T @ K, V.T).T,
        }
        agree(found, solved(V, K), "Y", likely, note="a column per token")
        mean, sigma = normal(draw, 2, 5).exp()
        found = ask("at_zero", K, K_hat, mean, sigma, 0.02, lam)
        a, b = several(found, 2, "Return the two vectors a and b of Δ = a bᵀ.")
        found = torch.outer(tensor(a, (5,), "a"), tensor(b, (d_in,), "b"))
        v = 0.02 / d_in * size * (mean / sigma)[:, None]
        likely = {
            "If g = 0, a plain step changes nothing. But subtracting the mean makes ĝ = −μ/σ.": (
                torch.zeros(5, d_in)
            ),
            "v goes against ĝ = −μ/σ, so it goes along μ, uphill: the two signs cancel.": (
                -solved(v, K) @ K.T
            ),
            "After the mean is subtracted, each coordinate is divided by σ.": (
                sigma[:, None] * solved(v, K) @ K.T
            ),
            "You multiply μ by σ; divide by it instead.": sigma[:, None] ** 2 * solved(v, K) @ K.T,
            "You solve for standardized keys, but the layer sees raw keys.": solved(v, K_hat)
            @ K_hat.T,
            "Where is λ?": torch.linalg.solve(K.T @ K, v.T).T @ K.T,
            "η is the step itself here: divide by d_in.": d_in * solved(v, K) @ K.T,
            "You sum v kᵀ as if keys were orthonormal: the regression is missing.": v @ K.T,
        }
        agree(found, solved(v, K) @ K.T, "Δ = a bᵀ", likely)
    return "solved: n tokens, an n × n system, and known facts all ask for the mean gradient."
