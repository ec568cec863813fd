"""★★ A probe that has to prove itself

A linear probe says from the states of statements whether they look true, by ridge regression:

    w = (Xᵀ X + λ I)⁻¹ Xᵀ y        y = +1 for true statements and −1 for false ones

A state x looks true where its score wᵀ x is positive. Statements of one relation ("is located in
the city of") resemble each other, so a probe that is tested on the relations it was trained on can
know their answers by heart. Give each statement its score by a probe that has not seen its
relation: each relation is left out in its turn, and the probe is trained on all others.

    X  (n, d)         states
    y  (n,)           +1 or −1
    relations         list of n names
    penalty           λ
    returns (n,)      scores

Hint: how many probes are trained, and on how many statements each?
"""

import torch
from torch import Tensor


def held_out(X: Tensor, y: Tensor, relations: list, penalty: float) -> Tensor:
    scores = torch.zeros(len(y)).to(X)
    for name in set(relations):
        out = torch.tensor([one == name for one in relations])
        # solution
        A = X[~out]
        w = torch.linalg.solve(A.T @ A + penalty * torch.eye(X.shape[1]).to(X), A.T @ y[~out])
        scores[out] = X[out] @ w
        # end
    return scores


# --- checks
from lessons.marking import Wrong, agree, normal, same, tensor

BODY = (
    "A = X[~out]\n"
    "w = torch.linalg.solve(A.T @ A + penalty * torch.eye(X.shape[1]).to(X), A.T @ y[~out])\n"
    "scores[out] = X[out] @ w\n"
)
WRONG = [
    (BODY.replace("A = X[~out]", "A = X").replace("y[~out]", "y"), "by heart"),
    (BODY.replace("~out", "out"), "trained on the relation"),
    (BODY.replace("penalty * ", "0 * "), "λ"),
    (BODY.replace("X[out] @ w", "X[out] @ w * y[out]"), "label"),
    (BODY.replace("scores[out] = X[out]", "scores[:] = X"), "writes all scores"),
    (BODY.replace("A = X[~out]", "A = X[~out] / X[~out].norm(dim=1, keepdim=True)"), "units"),
    ("w = X[~out].T @ y[~out]\nscores[out] = X[out] @ w", "(Xᵀ X + λ I)⁻¹"),
]


def check(ask, draw):
    d, each, names = 12, 16, list("abcdefg")
    y = torch.tensor([1.0, -1.0] * (each * len(names) // 2)).double()
    relations = [name for name in names for _ in range(each)]
    X = normal(draw, len(y), d)
    X[:, 0] += 1.5 * y  # truth, in all relations
    for i, name in enumerate(names):  # and a feature of each relation alone
        X[[one == name for one in relations], i + 1] *= 6

    def scores(train="others", penalty=2.0, inverse=True, spread=False, unit=False, last=None):
        found = torch.zeros_like(y)
        for name in names:
            out = torch.tensor([one == name for one in relations])
            rows = {"others": ~out, "own": out, "all": out | True}[train]
            A = X[rows] / X[rows].norm(dim=1, keepdim=True) if unit else X[rows]
            w = A.T @ y[rows]
            if inverse:
                w = torch.linalg.solve(
                    A.T @ A + penalty * (1 if spread else torch.eye(d).double()), w
                )
            found[out] = X[out] @ w
            if name == last:
                return X @ w
        return found

    found = tensor(ask("held_out", X, y, relations, 2.0), (len(y),), "scores", "one per statement")
    wanted = scores()
    if any(same(found, scores(last=name)) for name in names):  # any may come last in a set
        raise Wrong("Each probe writes all scores; it has only those of the relation left out.")
    likely = {
        "The rows are made units; a state counts as long as it is.": scores(unit=True),
        "The probe has seen the relation that it scores: it knows its answers by heart.": (
            scores("all")
        ),
        "The probe was trained on the relation alone that should be left out.": scores("own"),
        "The penalty λ is missing.": scores(penalty=0.0),
        "The score must not know the label: that is what it is compared with later.": wanted * y,
        "These are signs; a score also says how sure the probe is.": wanted.sign(),
        "These are probabilities; the score is wᵀ x itself.": wanted.sigmoid(),
        "λ is multiplied by the number of statements.": (scores(penalty=2.0 * (len(y) - each))),
        "Xᵀ X is divided by the number of statements, and Xᵀ y is not.": (
            scores(penalty=2.0 * (len(y) - each)) * (len(y) - each)
        ),
        "λ is added to every entry; λ I has it on the diagonal alone.": scores(spread=True),
        "The inverse (Xᵀ X + λ I)⁻¹ is missing: long directions weigh too much.": (
            scores(inverse=False)
        ),
    }
    agree(found, wanted, "scores", likely)
    right = (wanted * y > 0).double().mean()
    return f"solved: {right:.0%} are judged rightly by probes that have not seen them."
