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
from lessons.marking import Wrong, agree, mistaken, normal, several, tensor

SIZE, SOLVED = "(K_hat * K_hat).sum(0)", "torch.linalg.solve(small, V.T).T"
TURN = {  # message: the pieces of the solution that the mistake replaces
    "η is the step itself here: divide by d_in, or the width matters.": {"-step / d_in": "-step"},
    "Here ‖k‖² of raw keys determines the size of a shift. Raw keys differ by orders of magnitude: "
    "use k̂.": {SIZE: "(K * K).sum(0)"},
    "Every token has its own ‖k̂‖²; this is the sum over all of them.": {
        "sum(0) * G_hat": "sum() * G_hat"
    },
    "You solve for standardized keys, but the layer sees raw keys: Δ k must be v.": {
        "small = K.T @ K": "small = K_hat.T @ K_hat"
    },
    "You multiply by (KᵀK + λI); divide by it instead.": {SOLVED: "V @ small"},
    "‖k̂‖ is not squared.": {SIZE: f"{SIZE}.sqrt()"},
    "‖k̂‖² is missing, which gives the size of a token's shift.": {f"{SIZE} * G_hat": "G_hat"},
    "λ is added to every entry; λ I has it only on the diagonal.": {"lam * torch.eye(n)": "lam"},
    "This is V: you sum outer products directly, with all their crosstalk.": {SOLVED: "V"},
    "The sign is wrong: use −η, against the gradient.": {"-step": "step"},
    "Where is λ?": {" + lam * torch.eye(n)": ""},
}
RIDGE = " + lam * torch.eye(K.shape[1])"
AT_ZERO = {
    "If g = 0, a plain step changes nothing. But subtracting the mean makes ĝ = −μ/σ.": {
        "return mean_g": "return 0 * mean_g"
    },
    "v goes against ĝ = −μ/σ, so it goes along μ, uphill: the two signs cancel.": {
        "return mean_g": "return -mean_g"
    },
    "After the mean is subtracted, each coordinate is divided by σ.": {" / sigma_g": ""},
    "You multiply μ by σ; divide by it instead.": {" / sigma_g": " * sigma_g"},
    "You solve for standardized keys, but the layer sees raw keys.": {
        "K @ torch.linalg.solve(K.T @ K": "K_hat @ torch.linalg.solve(K_hat.T @ K_hat"
    },
    "λ is missing.": {RIDGE: ""},
    "η is the step itself here: divide by d_in.": {" / len(K)": ""},
    "You sum v kᵀ as if keys were orthonormal: the regression is missing.": {
        f"torch.linalg.solve(K.T @ K{RIDGE}, size)": "size"
    },
}
WRONG = [
    ({SOLVED: f"{SOLVED} @ K.T"}, "factor"),
    *((pieces, why) for why, pieces in (TURN | AT_ZERO).items()),
]


def check(ask, draw):
    for d_in, n, lam in ((40, 6, 2.0), (9, 4, 0.1)):
        K = normal(draw, d_in, n) * normal(draw, d_in, 1).exp() + normal(draw, d_in, 1)
        given = K, normal(draw, d_in, n), normal(draw, 5, n), 0.02, lam
        found = ask("turn", *given)
        if isinstance(found, torch.Tensor) and found.shape == (5, d_in):
            raise Wrong("This is Δ itself: return the factor Y with Δ = Y Kᵀ, (d_out, n).")
        likely = {why: mistaken(turn, how)(*given) for why, how in TURN.items()}
        agree(found, turn(*given), "Y", likely, note="a column per token")
        given = K, given[1], *normal(draw, 2, 5).exp(), 0.02, lam
        found = ask("at_zero", *given)
        a, b = several(found, 2, "Return the two vectors a and b of Δ = a bᵀ.")
        found = torch.outer(tensor(a, (5,), "a"), tensor(b, (d_in,), "b"))
        likely = {why: torch.outer(*mistaken(at_zero, how)(*given)) for why, how in AT_ZERO.items()}
        agree(found, torch.outer(*at_zero(*given)), "Δ = a bᵀ", likely)
    return "solved: n tokens, an n × n system, and known facts all ask for the mean gradient."
