"""★★ A probe that has to prove itself

A linear probe predicts from the states of statements whether they look true, using ridge
regression:

    w = (Xᵀ X + λ I)⁻¹ Xᵀ y        y = +1 for true statements and −1 for false statements

A state x looks true if its score wᵀ x is positive. Statements of one relation ("is located in the
city of") resemble each other, so a probe tested on its training relations can have memorized their
answers. Score each statement using a probe that has not seen its relation: leave out each relation
in turn, and train the probe on all others.

Then apply the probe to facts after an edit: once with the new answer, once with the old answer. Two
percentages, "the new answer looks true" and "the old answer does", don't show whether they are the
same facts. The joint table does. Write three functions; the second may call the first.

    X  (n, d)         states
    y  (n,)           +1 or −1
    relations         list of n names
    penalty           λ
    `weigh` returns w (d,), and `held_out` returns scores (n,)

    new, old  (n,)    scores of the statements of n facts, with the new and with the old answer
    `joint` returns (2, 2) the number of facts of each kind; row 1: the new answer looks true,
                      row 0: it does not; column 1: the old answer looks true, column 0: it does not

Hint: how many probes are trained, and on how many statements each? And comparing two tensors gives
a tensor of True and False.
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
from lessons.marking import Wrong, agree, mistaken, normal, same, tensor

CALL = "weigh(X[~out], y[~out], penalty)"
HELD_OUT = {  # message: the pieces of `held_out` that the mistake replaces
    "You normalize the rows; use states at their own length.": {
        CALL: "weigh(X[~out] / X[~out].norm(dim=1, keepdim=True), y[~out], penalty)"
    },
    "The probe has seen the relation that it scores: it has memorized its answers.": {
        CALL: "weigh(X, y, penalty)"
    },
    "The probe was trained on only the relation that should be left out.": {
        CALL: "weigh(X[out], y[out], penalty)"
    },
    "The penalty λ is missing.": {CALL: "weigh(X[~out], y[~out], 0.0)"},
    "The score must not use the label: the two are compared later.": {CALL: f"{CALL} * y[out]"},
    "These are signs; a score also shows how sure the probe is.": {
        "return scores": "return scores.sign()"
    },
    "These are probabilities; the score is wᵀ x itself.": {
        "return scores": "return scores.sigmoid()"
    },
    "λ is multiplied by the number of statements.": {
        CALL: "weigh(X[~out], y[~out], penalty * (~out).sum())"
    },
    "Xᵀ X is divided by the number of statements, and Xᵀ y is not.": {
        CALL: "weigh(X[~out], y[~out], penalty * (~out).sum()) * (~out).sum()"
    },
    "λ is added to every entry; λ I has it only on the diagonal.": {
        CALL: "torch.linalg.solve(X[~out].T @ X[~out] + penalty, X[~out].T @ y[~out])"
    },
    "The inverse (Xᵀ X + λ I)⁻¹ is missing: long directions weigh too much.": {
        CALL: "(X[~out].T @ y[~out])"
    },
}
WRONG = [
    ({"penalty * torch.eye": "0 * torch.eye"}, "λ is missing"),
    ({"weigh": "return X.T @ y"}, "(Xᵀ X + λ I)⁻¹"),
    *((pieces, why) for why, pieces in HELD_OUT.items()),
    ({"scores[out] = X[out]": "scores[:] = X"}, "all scores"),
    ({"(~n & o).sum()], [(n & ~o)": "(n & ~o).sum()], [(~n & o)"}, "transposed"),
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
    for i, name in enumerate(names):  # and a feature specific to each relation
        X[[one == name for one in relations], i + 1] *= 6

    full = X.T @ X + 2.0 * torch.eye(d).double()
    likely = {
        "weigh: the penalty λ is missing.": torch.linalg.solve(X.T @ X, X.T @ y),
        "weigh: the inverse (Xᵀ X + λ I)⁻¹ is missing: long directions count too much.": X.T @ y,
        "weigh: λ is added to every entry; λ I has it only on the diagonal.": torch.linalg.solve(
            X.T @ X + 2.0, X.T @ y
        ),
        "weigh: you multiply by Xᵀ X instead of dividing by it.": full @ (X.T @ y),
    }
    agree(
        ask("weigh", X, y, 2.0),
        torch.linalg.solve(full, X.T @ y),
        "w",
        likely,
        note="one weight for each entry of a state",
    )
    found = tensor(ask("held_out", X, y, relations, 2.0), (len(y),), "scores", "one per statement")
    given = X, y, relations, 2.0
    wanted = held_out(*given)
    others = [torch.tensor([one != name for one in relations]) for name in names]
    if any(same(found, X @ weigh(X[rows], y[rows], 2.0)) for rows in others):
        raise Wrong(
            "Each probe writes all scores; it should write only scores of the relation left out."
        )
    likely = {why: mistaken(held_out, how)(*given) for why, how in HELD_OUT.items()}
    agree(found, wanted, "scores", likely)
    new, old = normal(draw, 40), normal(draw, 40) - 0.4
    new[:12] = old[:12].abs() + 0.1  # some facts for which both look true, or one
    n, o = new > 0, old > 0
    wanted_counts = joint(new, old).double()
    alone = torch.stack([torch.stack([(~x).sum(), x.sum()]) for x in (n, o)]).double()
    agree(
        ask("joint", new, old),
        wanted_counts,
        "the joint table",
        {
            "The table is transposed: its rows are the new answer, and its columns the old "
            "answer.": (wanted_counts.T),
            "This is computed from the two percentages, as if they were independent: count the "
            "facts.": (torch.outer(alone[0], alone[1]) / len(n)),
            "A statement looks true if its score is above 0, not above the mean.": joint(
                new - new.mean(), old - new.mean()
            ),
            "These are fractions; return numbers of facts.": wanted_counts / len(n),
        },
        note="new, old",
    )
    right = (wanted * y > 0).double().mean()
    return f"solved: {right:.0%} are judged correctly by probes that have not seen them."
