"""★★ A place where little text goes

AlphaEdit writes only along directions that general text rarely uses: Δ P instead of Δ, where P
projects onto the eigenvectors of C whose eigenvalue is below a threshold τ. Return P, and the two
numbers that show how much this space is worth:

    inside   the fraction of general text in it, tr(P C) / tr(C)
    bound    the largest mean damage tr(Δ C Δᵀ) that any Δ = Δ P with ‖Δ‖ = 1 can do

    C    (d, d)      second moment of general text
    tau  a number    at least one eigenvalue is below it
    returns (P (d, d), inside, bound)

Hint: values, vectors = torch.linalg.eigh(C): values increase, and column i of vectors belongs to
values[i]. τ is *a* bound on the damage. Which of the eigenvalues is the bound itself?
"""

import torch
from torch import Tensor


def place(C: Tensor, tau: float) -> tuple[Tensor, Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(C)
    # solution
    low = values < tau
    Q = vectors[:, low]  # (d, r), orthonormal columns
    return Q @ Q.T, values[low].sum() / values.sum(), values[low].max()


# --- checks
from lessons.marking import agree, normal, several

WRONG = [
    ({"values < tau": "values > tau"}, "busiest"),
    ({"vectors[:, low]": "vectors[low].T"}, "column"),
    ({"< tau": "< tau * values[-1]"}, "size"),
    ({"values[low].sum() / values.sum()": "low.double().mean()"}, "directions"),
    ({"values[low].max()": "tau"}, "reached"),
    ({"values[low].max()": "values[low].sum()"}, "split"),
    ({"Q @ Q.T": "Q @ values[low].diag() @ Q.T"}, "includes eigenvalues"),
]


def check(ask, draw):
    for d in (6, 11):
        V = torch.linalg.qr(normal(draw, d, d)).Q
        values = normal(draw, d).mul(1.5).exp().sort().values
        C, r = V @ values.diag() @ V.T, d // 2 + 1
        tau = (values[r - 1] + 0.6 * (values[r] - values[r - 1])).item()
        found = several(ask("place", C, tau), 3, "Return three things: P, inside, bound.")
        vectors = torch.linalg.eigh(C).eigenvectors
        Q, rows = vectors[:, :r], vectors[:r]
        under = vectors[:, values < tau * values[-1]]
        likely = {
            "This is the complement, the busiest directions: those with an eigenvalue above τ.": (
                torch.eye(d) - Q @ Q.T
            ),
            "Eigenvectors are the columns of `vectors`, but you use its rows.": rows.T @ rows,
            "This includes eigenvalues, so P P is not P: a projection doesn't change vectors "
            "inside.": (Q @ values[:r].diag() @ Q.T),
            "τ is an eigenvalue's size, not a fraction of the largest eigenvalue.": under @ under.T,
        }
        agree(found[0], Q @ Q.T, "P", likely, note="Q Qᵀ, not Qᵀ Q")
        likely = {
            "This is the fraction of directions. Text does not use them equally: weigh them by "
            "their eigenvalue.": torch.tensor(r / d),
            "This is the text inside, tr(P C); divide it by all text, tr C.": (values[:r].sum()),
            "This is the fraction outside.": values[r:].sum() / values.sum(),
        }
        inside = values[:r].sum() / values.sum()
        agree(found[1], inside, "inside", likely)
        likely = {
            "τ is a bound, but it is not reached: no direction inside has an eigenvalue that "
            "large.": torch.tensor(tau),
            "You can put ‖Δ‖ = 1 into one direction, without splitting it: which is the worst?": (
                values[:r].sum()
            ),
            "This is the smallest eigenvalue outside; P keeps Δ inside.": values[r],
            "This is the largest eigenvalue of all; P keeps Δ inside.": values[-1],
            "This is the smallest damage inside; return the largest.": values[0],
            "This is the mean of the directions; return the largest damage.": (values[:r].mean()),
        }
        agree(found[2], values[r - 1], "bound", likely)
    return f"solved: {r} of {d} directions, and {inside:.0%} of general text still goes there."
