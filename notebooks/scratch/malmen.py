"""MALMEN: many facts by a trained network, added up by a regression (Tan et al., 2024).

Summed outer products, as in mend.py, cancel or pile up when there are many facts. So each token
only says which shift of the output it wants at its own key, and one ridge regression grants all
shifts at once:

    v = −η ⟨k, k̃⟩ g̃        Δ = V Kᵀ (K Kᵀ + λI)⁻¹

The training is the other idea. The loss is that of the edited model, so its gradient would have to
run through the network and the language model together. It is cut in two at Δ: first the language
model alone gives G = ∂L/∂W at W + Δ, one matrix; then, with G held fixed, ⟨G, Δ⟩ has the same
gradient with respect to the network as L (`phase_one`, `phase_two`).

Left out: the loop of the training, and moments that go on while editing. Given: the trained network
and its moments. The one that comes with the library takes the network's keys k̃ in the regression
in the place of the model's, and λ in units of their mean squared length (`raw=False`).

    python -m notebooks.scratch.malmen [FOLDER OF A MODEL]
"""

import torch

from . import common
from .memit import FACTS, OTHERS
from .mend import FILES, asking, keys_and_gradients, network, read_networks, standardize


def shifts(K, k, g, step):
    """The shift that every token asks for, V (d_out, n): v = −η ⟨k, k̃⟩ g̃."""
    return -step * (K * k).sum(0) * g


def regression(K, V, ridge):
    """Δ (d_out, d_in) with the least ‖Δ K − V‖² + λ‖Δ‖²; n columns are fewer than d_in rows."""
    small = K.T @ K + ridge * torch.eye(K.shape[1], dtype=K.dtype)
    return V @ torch.linalg.solve(small, K.T)


def change(parameters, number, K, K_hat, G_hat, raw=False):
    """Δ of one matrix from its pairs; differentiable in the network's parameters."""
    k, g = network(parameters, number, K_hat, G_hat)
    step, ridge = (
        parameters["step"][number].double(),
        parameters["log_ridge"][number].double().exp(),
    )
    if raw:  # as published
        return regression(K, shifts(K, k, g, step), ridge)
    return regression(k, shifts(k, k, g, step), ridge * k.square().sum(0).mean())


def pairs_of(model, tokenizer, facts, networks, everywhere=True):
    """[(module, parameters, number, K, K̂, Ĝ)]: everything that `change` reads, of each matrix."""
    modules = {model.get_submodule(name): given for name, given in networks.items()}
    pairs, found = keys_and_gradients(model, tokenizer, facts, list(modules), everywhere), []
    for module, (parameters, number, of_keys, of_gradients) in modules.items():
        K, G = asking(*pairs[module])
        hats = standardize(K, *of_keys), standardize(G, *of_gradients)
        found.append((module, parameters, number, K.double(), *hats))
    return found


def edit(model, tokenizer, facts, networks, raw=False, everywhere=True):
    """{module: Δ (d_out, d_in)} of all matrices that the networks were trained for."""
    found = pairs_of(model, tokenizer, facts, networks, everywhere)
    return {module: change(*given, raw).detach().float() for module, *given in found}


def phase_one(model, tokenizer, changes, facts):
    """{module: G = ∂L/∂W (d_out, d_in)} at W + Δ, for the loss on some facts; no network is run."""
    with common.added(changes):
        pairs = keys_and_gradients(model, tokenizer, facts, list(changes))
    return {module: G @ K.T for module, (K, G) in pairs.items()}  # Σ g kᵀ over all tokens


def phase_two(found, G, raw=False):
    """Gradients of the networks' parameters, in their `.grad`; the language model is not run.

    found is from `pairs_of`, G from `phase_one`. With G held fixed ∂L/∂φ = ∂⟨G, Δ(φ)⟩/∂φ.
    """
    for module, *given in found:
        (G[module].double() * change(*given, raw)).sum().backward()


def main():
    """Three facts in one update, and one gradient for the network that made it."""
    model, tokenizer = common.load()
    [path] = FILES.glob("malmen-*.safetensors")
    networks = read_networks(path)
    changes = edit(model, tokenizer, FACTS, networks)
    sizes = [change.norm() / module.weight.norm() for module, change in changes.items()]
    print(f"{len(changes)} matrices, ‖Δ‖ / ‖W‖ from {min(sizes):.4f} to {max(sizes):.4f}")
    common.show(model, tokenizer, lambda ids: common.added(changes), OTHERS)

    # what a training step would ask of the learned rates, so that a neighbor keeps its answer
    neighbor = common.Fact("The Louvre", common.TOWER.prompt, "Paris")
    found = pairs_of(model, tokenizer, FACTS, networks)
    for _, parameters, *_ in found:
        parameters["step"].requires_grad_()
    G = phase_one(model, tokenizer, changes, [neighbor])
    phase_two(found, G)
    slopes = [parameters["step"].grad[number].item() for _, parameters, number, *_ in found]
    print("\n∂L/∂η of the nine matrices:", ", ".join(f"{slope:+.0e}" for slope in slopes))


if __name__ == "__main__":
    main()
