"""★★ Steal a layer

You see pairs of a hidden matrix, V = W K + noise. With about as many pairs as inputs, least squares
fits the noise, and at new keys its error is larger than with no matrix at all. Ridge helps, using a
λ that you have to find without knowing W. Write it in three steps:

    excess    the errors of ridge at new pairs, one for each λ: fitted on K and V, the squared error
              ‖Ŵ K_new − V_new‖² over ‖V_new‖²
    choose    the λ of the list with the lowest error on the last fifth of the pairs, fitted on the
              others. Of n pairs, fit the first 4n/5, rounded down
    stolen    ridge on all pairs, with the λ that `choose` gives

    Ridge: W (K Kᵀ + λ I) = V Kᵀ
    K, K_new  (d_in, n), (d_in, m)     V, V_new  (d_out, n), (d_out, m)     lams  list of λ > 0
    excess returns (len(lams),), choose one of the lams, stolen W (d_out, d_in)

Hint: K Kᵀ is the same for every λ. With its eigenvectors Q and eigenvalues s, the inverse of K Kᵀ +
λ I is Q diag(1/(s + λ)) Qᵀ, so you don't need a separate solve for each λ.
"""

import torch
from torch import Tensor


def excess(K: Tensor, V: Tensor, K_new: Tensor, V_new: Tensor, lams: list[float]) -> Tensor:
    # solution
    s, Q = torch.linalg.eigh(K @ K.T)
    A, B = V @ K.T @ Q, Q.T @ K_new
    errors = [(A / (s + lam) @ B - V_new).square().sum() for lam in lams]
    return torch.stack(errors) / V_new.square().sum()


def choose(K: Tensor, V: Tensor, lams: list[float]) -> float:
    # solution
    n = K.shape[1] * 4 // 5
    errors = excess(K[:, :n], V[:, :n], K[:, n:], V[:, n:], lams)
    return lams[errors.argmin()]


def stolen(K: Tensor, V: Tensor, lams: list[float]) -> Tensor:
    # solution
    M = K @ K.T + choose(K, V, lams) * torch.eye(len(K)).to(K)
    return torch.linalg.solve(M, K @ V.T).T


# --- checks
from lessons.marking import Wrong, agree, mistaken, normal, number

ERRORS, RIDGE = "torch.stack(errors) / V_new.square().sum()", "M = K @ K.T + choose(K, V, lams) *"
PART = "lam, m = choose(K, V, lams), K.shape[1] * 4 // 5; K, V = {}; M = K @ K.T + lam *"
EXCESS = {  # message: the pieces of the solution that the mistake replaces
    "The errors should be fractions: divide by ‖V_new‖².": {ERRORS: "torch.stack(errors)"},
    "This is the root: return a squared error.": {ERRORS: f"({ERRORS}).sqrt()"},
    "These are the errors at the fitted pairs; use new ones.": {
        "Q.T @ K_new": "Q.T @ K",
        "@ B - V_new": "@ B - V",
        "/ V_new.square": "/ V.square",
    },
    "This is ridge with n λ: λ ‖W‖² is added once, not for every pair.": {
        "(s + lam)": "(s + K.shape[1] * lam)"
    },
    "This is ridge with √λ, or λ was squared.": {"(s + lam)": "(s + lam**0.5)"},
    "λ has no effect here: this is least squares.": {"(s + lam)": "(s + 1e-9)"},
    "These are means over the entries; divide by ‖V_new‖² instead.": {
        ERRORS: "torch.stack(errors) / V_new.numel()"
    },
}
CHOOSE = {
    "λ is chosen on pairs that were fitted, and there the smallest λ always wins. Use the held-out "
    "fifth.": {"K[:, n:], V[:, n:]": "K[:, :n], V[:, :n]"},
    "The fifth used for choosing was also fitted. Leave it out of the fit.": {
        "K[:, :n], V[:, :n]": "K, V"
    },
    "This λ has the largest error; choose the lowest.": {"argmin": "argmax"},
    "The first fifth is held out; it should be the last.": {
        "* 4 // 5": "// 5",
        "K[:, :n], V[:, :n], K[:, n:], V[:, n:]": "K[:, n:], V[:, n:], K[:, :n], V[:, :n]",
    },
}
STOLEN = {
    "stolen: this is ridge with the smallest λ of the list: call `choose`.": {
        "choose(K, V, lams) *": "lams[0] *"
    },
    "stolen: now that λ is chosen, you can fit all pairs.": {
        RIDGE: PART.format("K[:, :m], V[:, :m]")
    },
    "stolen: only the last fifth is fitted here.": {RIDGE: PART.format("K[:, m:], V[:, m:]")},
    "stolen: this is ridge with the largest λ of the list.": {"choose(K, V, lams) *": "lams[-1] *"},
}
ALL = (EXCESS | CHOOSE | STOLEN).items()
WRONG = [  # a fifth that was also fitted gives the λ of the first mistake in `choose`
    *((pieces, why) for why, pieces in ALL if "also fitted" not in why),
    ({"lams[errors.argmin()]": "errors.argmin()"}, "place"),
]


def check(ask, draw):
    lams, chosen = [0.01, 0.1, 0.4, 1.5, 6.0, 25.0, 100.0], None
    for n, noise in ((11, 0.5), (8, 0.6), (15, 1.0), (12, 1.5), (20, 0.8), (10, 0.3)):
        hidden, K, new = normal(draw, 4, 8), normal(draw, 8, n), normal(draw, 8, 9)
        V = hidden @ K + noise * normal(draw, 4, n)
        given = K, V, new, hidden @ new, lams
        likely = {why: mistaken(excess, how)(*given) for why, how in EXCESS.items()}
        found = ask("excess", *given)
        agree(found, excess(*given), "excess", likely, note="one per λ", told=True)
        given = K, V, lams
        found, lam = number(ask("choose", *given), "choose"), choose(*given)
        if found != lam:
            if found == lams.index(lam):
                raise Wrong("choose: this is the place of λ in the list; return λ itself.")
            likely = {mistaken(choose, how)(*given): why for why, how in reversed(CHOOSE.items())}
            why = (
                f"not {lam:g}. {likely[found]}"
                if found in likely
                else f"not {lam:g}, for {n} pairs."
            )
            raise Wrong(f"choose: you returned {found:g}, {why}")
        likely = {why: mistaken(stolen, how)(*given) for why, how in STOLEN.items()}
        agree(ask("stolen", *given), stolen(*given), "stolen", likely)
        chosen = lam if chosen is None else chosen
    return f"solved: for eleven pairs in eight dimensions, the choice is λ = {chosen:g}."
