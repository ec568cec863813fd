"""UltraEdit: statistics in the place of a trained network (Gu et al., 2025).

As MALMEN (malmen.py) it reads keys k and gradients g at the tokens of the answers, lets every token
ask for a shift of the output at its own key, and grants all shifts by one ridge regression. But
nothing is trained: k and g are standardized with the mean and deviation of all that was ever seen,
and the shift is

    v = −η ‖k̂‖² ĝ,        Δ = V Kᵀ (K Kᵀ + λI)⁻¹.

All that lives on from turn to turn are the moments, a few thousand numbers per matrix, so a
million edits cost as much memory as one.

Left out: the keys of earlier turns and the weight of general text, which the library adds, and
losses that are means over groups of ten facts. Given: moments to start from, because a first fact
alone would be standardized to nothing; here they come from forty questions that are not edited.

    python -m notebooks.scratch.ultraedit [FOLDER OF A MODEL]
"""

import json

import torch

from . import common
from .memit import FACTS, OTHERS
from .mend import asking, keys_and_gradients, standardize


def empty(d):
    """The moments (n, mean, S) of d numbers before anything was seen."""
    return 0, torch.zeros(d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)


def merge(moments, X):
    """The moments after columns X (d, m) more, as if all had been seen at once (Chan et al., 1979).

    S is the sum of squared deviations from the mean; two means that differ add δ² n m / (n + m).
    """
    n, mean, S = moments
    m, X = X.shape[1], X.double()
    middle = X.mean(1)
    shift = middle - mean
    S = S + (X - middle[:, None]).square().sum(1) + shift.square() * n * m / (n + m)
    return n + m, mean + shift * m / (n + m), S


def turn(K, G, of_keys, of_gradients, eta, ridge):
    """Δ (d_out, d_in) of one matrix, from the keys and gradients of all tokens of a turn.

    K (d_in, n), G (d_out, n); the moments are those after this turn. A token whose gradient is
    exactly zero asks for nothing and is left out (mend.asking).
    """
    K, G = (X.double() for X in asking(K, G))
    K_hat, G_hat = standardize(K, *of_keys), standardize(G, *of_gradients)
    V = -eta * K_hat.square().sum(0) * G_hat  # (d_out, n): the shift at each key
    small = K.T @ K + ridge * torch.eye(K.shape[1], dtype=K.dtype)
    return V @ torch.linalg.solve(small, K.T)


def edit(model, tokenizer, facts, modules, moments, step, ridge):
    """One turn: {module: Δ}, and the moments that the next turn starts from.

    moments is (those of keys, those of gradients), shared by modules of one shape. η = step / d_in,
    so that a step means the same in models of any width.
    """
    of_keys, of_gradients = moments
    pairs = keys_and_gradients(model, tokenizer, facts, modules, everywhere=False)
    for K, G in pairs.values():  # all are seen before any is used
        K, G = asking(K, G)
        of_keys, of_gradients = merge(of_keys, K), merge(of_gradients, G)
    changes = {
        module: turn(K, G, of_keys, of_gradients, step / len(K), ridge).float()
        for module, (K, G) in pairs.items()
    }
    return changes, (of_keys, of_gradients)


def first_moments(model, tokenizer, modules, count=40):
    """Moments of questions that are read and never edited, so that a first fact has a scale."""
    rows = json.loads(common.text("classroom.json"))[:count]
    facts = [common.Fact(row["subject"], row["prompt"], row["target_new"]) for row in rows]
    of_keys, of_gradients = (empty(d) for d in modules[0].weight.shape[::-1])
    pairs = keys_and_gradients(model, tokenizer, facts, modules, everywhere=False)
    for K, G in pairs.values():
        of_keys, of_gradients = merge(of_keys, K), merge(of_gradients, G)
    return of_keys, of_gradients


def main():
    """Three facts in five turns, each on the result of the one before."""
    model, tokenizer = common.load()
    modules = [model.model.layers[layer].mlp.down_proj for layer in range(12, 21)]
    moments = first_moments(model, tokenizer, modules)
    total = {module: torch.zeros_like(module.weight) for module in modules}
    for number in range(5):
        with common.added(total):
            changes, moments = edit(model, tokenizer, FACTS, modules, moments, 0.05, ridge=1.0)
        total = {module: total[module] + changes[module] for module in modules}
        size = sum(change.norm() for change in changes.values())
        print(f"turn {number + 1}: {moments[0][0]} columns seen, ‖Δ‖ = {size:.2f}")
    common.show(model, tokenizer, lambda ids: common.added(total), OTHERS)


if __name__ == "__main__":
    main()
