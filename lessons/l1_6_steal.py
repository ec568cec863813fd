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
from lessons.marking import Wrong, agree, normal, number

WRONG = [
    ({" / V_new.square().sum()": ""}, "fractions"),
    ({"torch.stack(errors) / V_new.square().sum()":
      "(torch.stack(errors) / V_new.square().sum()).sqrt()"}, "root"),
    ({"Q.T @ K_new": "Q.T @ K", "@ B - V_new": "@ B - V", "/ V_new.square": "/ V.square"},
     "new ones"),
    ({"(s + lam)": "(s + K.shape[1] * lam)"}, "n λ"),
    ({"K[:, n:], V[:, n:], lams)": "K[:, :n], V[:, :n], lams)"}, "were fitted"),
    ({"lams[errors.argmin()]": "errors.argmin()"}, "place"),
    ({"argmin": "argmax"}, "largest"),
    ({"n = K.shape[1] * 4 // 5\nerrors = excess(K[:, :n], V[:, :n], K[:, n:], V[:, n:], lams)":
      "n = K.shape[1] // 5\nerrors = excess(K[:, n:], V[:, n:], K[:, :n], V[:, :n], lams)"},
     "first fifth"),
    ({"choose(K, V, lams) *": "min(lams) *"}, "smallest λ"),
    ({"M = K @ K.T +": "lam = choose(K, V, lams)\nK, V = K[:, : K.shape[1] * 4 // 5], "
      "V[:, : K.shape[1] * 4 // 5]\nM = K @ K.T +",
      "choose(K, V, lams) * torch.eye": "lam * torch.eye"}, "all pairs"),
]  # fmt: skip


def _ridge(K, V, lam):
    return torch.linalg.solve(K @ K.T + lam * torch.eye(len(K)).to(K), K @ V.T).T


def _error(W, K, V):
    return (W @ K - V).square().sum() / V.square().sum()


def check(ask, draw):
    lams, chosen = [0.01, 0.1, 0.4, 1.5, 6.0, 25.0, 100.0], None
    for n, noise in ((11, 0.5), (8, 0.6), (15, 1.0), (12, 1.5), (20, 0.8), (10, 0.3)):
        hidden, K, new = normal(draw, 4, 8), normal(draw, 8, n), normal(draw, 8, 9)
        V = hidden @ K + noise * normal(draw, 4, n)
        V_new = hidden @ new
        fitted = [_ridge(K, V, lam) for lam in lams]
        wanted = torch.stack([_error(W, new, V_new) for W in fitted])
        likely = {
            "The errors should be fractions: divide by ‖V_new‖².": wanted * V_new.square().sum(),
            "This is the root: return a squared error.": wanted.sqrt(),
            "These are the errors at the fitted pairs; use new ones.": (
                torch.stack([_error(W, K, V) for W in fitted])
            ),
            "This is ridge with n λ: λ ‖W‖² is added once, not for every pair.": (
                torch.stack([_error(_ridge(K, V, n * lam), new, V_new) for lam in lams])
            ),
            "This is ridge with √λ, or λ was squared.": torch.stack(
                [_error(_ridge(K, V, lam**0.5), new, V_new) for lam in lams]
            ),
            "λ has no effect here: this is least squares.": torch.stack(
                [_error(_ridge(K, V, 1e-9), new, V_new) for _ in lams]
            ),
            "These are means over the entries; divide by ‖V_new‖² instead.": (
                wanted * V_new.square().mean()
            ),
        }
        found = ask("excess", K, V, new, V_new, lams)
        agree(found, wanted, "excess", likely, note="one per λ", told=True)

        def best(one, other, pick=min):
            errors = [_error(_ridge(*one, lam), *other).item() for lam in lams]
            return errors.index(pick(errors))

        m, f = n * 4 // 5, n // 5
        early, late = (K[:, :m], V[:, :m]), (K[:, m:], V[:, m:])
        place = best(early, late)
        found = number(ask("choose", K, V, lams), "choose")
        if found != lams[place]:
            on = {
                "λ is chosen on pairs that were fitted, and there the smallest λ always wins. Use "
                "the held-out fifth.": best(early, early),
                "The fifth used for choosing was also fitted. Leave it out of the fit.": best(
                    (K, V), late
                ),
                "This λ has the largest error; choose the lowest.": best(early, late, max),
                "The first fifth is held out; it should be the last.": best(
                    (K[:, f:], V[:, f:]), (K[:, :f], V[:, :f])
                ),
            }
            for reason, at in on.items():
                if found == lams[at]:
                    raise Wrong(f"choose: you returned {found:g}, not {lams[place]:g}. {reason}")
            if found == place:
                raise Wrong("choose: this is the place of λ in the list; return λ itself.")
            raise Wrong(f"choose: you returned {found:g}, not {lams[place]:g}, for {n} pairs.")
        lam = lams[place]
        likely = {
            "stolen: this is ridge with the smallest λ of the list: call `choose`.": _ridge(
                K, V, lams[0]
            ),
            "stolen: now that λ is chosen, you can fit all pairs.": _ridge(*early, lam),
            "stolen: only the last fifth is fitted here.": _ridge(*late, lam),
            "stolen: this is ridge with the largest λ of the list.": _ridge(K, V, lams[-1]),
        }
        agree(ask("stolen", K, V, lams), _ridge(K, V, lam), "stolen", likely)
        chosen = lam if chosen is None else chosen
    return f"solved: for eleven pairs in eight dimensions, the choice is λ = {chosen:g}."
