"""★★ A probe that has to prove itself

A linear probe says from the states of statements whether they look true, by ridge regression:

    w = (Xᵀ X + λ I)⁻¹ Xᵀ y        y = +1 for true statements and −1 for false ones

A state x looks true where its score wᵀ x is positive. Statements of one relation ("is located in
the city of") resemble each other, so a probe that is tested on the relations it was trained on can
know their answers by heart. Give each statement its score by a probe that has not seen its
relation: each relation is left out in its turn, and the probe is trained on all others.

Then the probe is asked about facts after an edit: once with the new answer, once with the old one.
Two shares, "the new one looks true" and "the old one does", do not say whether they are the same
facts. The joint table does. You write three functions, and the second may call the first.

    X  (n, d)         states
    y  (n,)           +1 or −1
    relations         list of n names
    penalty           λ
    `weigh` returns w (d,), and `held_out` returns scores (n,)

    new, old  (n,)    scores of the statements of n facts, with the new and with the old answer
    `joint` returns (2, 2) how many facts there are of each kind; row 1: the new answer looks true,
                      row 0: it does not; column 1: the old answer looks true, column 0: it does not

Hint: how many probes are trained, and on how many statements each? And a comparison of two tensors
gives a tensor of True and False.
"""

import torch
from torch import Tensor


def weigh(X: Tensor, y: Tensor, penalty: float) -> Tensor:
    # solution
    return torch.linalg.solve(X.T @ X + penalty * torch.eye(X.shape[1]).to(X), X.T @ y)


def held_out(X: Tensor, y: Tensor, relations: list, penalty: float) -> Tensor:
    # solution
    scores = torch.zeros(len(y)).to(X)
    for name in set(relations):
        out = torch.tensor([one == name for one in relations])
        scores[out] = X[out] @ weigh(X[~out], y[~out], penalty)
    return scores


def joint(new: Tensor, old: Tensor) -> Tensor:
    # solution
    n, o = new > 0, old > 0
    return torch.tensor([[(~n & ~o).sum(), (~n & o).sum()], [(n & ~o).sum(), (n & o).sum()]])


# --- checks
from lessons.marking import Wrong, agree, normal, same, tensor

WRONG = [
    ({"penalty * torch.eye": "0 * torch.eye"}, "λ is missing"),
    ({"weigh": "return X.T @ y"}, "(Xᵀ X + λ I)⁻¹"),
    ({"X[~out], y[~out]": "X, y"}, "by heart"),
    ({"X[~out], y[~out]": "X[out], y[out]"}, "trained on the relation"),
    ({"y[~out], penalty)": "y[~out], penalty) * y[out]"}, "label"),
    ({"scores[out] = X[out]": "scores[:] = X"}, "all scores"),
    ({"(~n & o).sum()], [(n & ~o)": "(n & ~o).sum()], [(~n & o)"}, "turned"),
    (
        {
            "joint": "n, o = ([(x <= 0).sum(), (x > 0).sum()] for x in (new, old))\n"
            "return torch.outer(torch.stack(n), torch.stack(o)) / len(new)"
        },
        "independent",
    ),
    ({"> 0": "> new.mean()"}, "above 0"),
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

    full = X.T @ X + 2.0 * torch.eye(d).double()
    likely = {
        "weigh: the penalty λ is missing.": torch.linalg.solve(X.T @ X, X.T @ y),
        "weigh: the inverse (Xᵀ X + λ I)⁻¹ is missing: long directions weigh too much.": X.T @ y,
        "weigh: λ is added to every entry; λ I has it on the diagonal alone.": torch.linalg.solve(
            X.T @ X + 2.0, X.T @ y
        ),
        "weigh: Xᵀ X is multiplied in, not divided out.": full @ (X.T @ y),
    }
    agree(
        ask("weigh", X, y, 2.0),
        torch.linalg.solve(full, X.T @ y),
        "w",
        likely,
        note="one weight for each entry of a state",
    )
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
    new, old = normal(draw, 40), normal(draw, 40) - 0.4
    new[:12] = old[:12].abs() + 0.1  # some facts of which both look true, or one
    n, o = new > 0, old > 0
    wanted_counts = joint(new, old).double()
    alone = torch.stack([torch.stack([(~x).sum(), x.sum()]) for x in (n, o)]).double()
    agree(
        ask("joint", new, old),
        wanted_counts,
        "the joint table",
        {
            "The table is turned: its rows are the new answer, and its columns the old one.": (
                wanted_counts.T
            ),
            "This is made from the two shares, as if they were independent: count the facts.": (
                torch.outer(alone[0], alone[1]) / len(n)
            ),
            "A statement looks true where its score is above 0, not above the mean.": joint(
                new - new.mean(), old - new.mean()
            ),
            "These are shares; asked for are numbers of facts.": wanted_counts / len(n),
        },
        note="new, old",
    )
    right = (wanted * y > 0).double().mean()
    return f"solved: {right:.0%} are judged rightly by probes that have not seen them."
