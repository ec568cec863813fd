"""MEND: a trained network turns the gradient of a fact into its edit (Mitchell et al., 2022).

The gradient of a linear layer's weight is a sum of outer products over tokens, Σ g kᵀ: k is what
the layer read at a token, g the gradient of the loss with respect to what it put out there. A plain
step along it writes the fact and much besides. MEND sends every pair (k, g), 2,112 numbers here and
not the 884,736 of the matrix, through a small network that has seen many edits:

    (k, g) -> standardize -> two residual layers, the identity before training -> (k̃, g̃)
    Δ = −α Σ g̃ k̃ᵀ

Left out: the training, of which malmen.py has the central step. Given: the trained network with its
moments, in the file that comes with the library for the embedded model (`read_networks`). All nine
matrices that it was trained for are edited.

    python -m notebooks.scratch.mend [FOLDER OF A MODEL]
"""

import json
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import safe_open

from . import common

FILES = Path(__file__).parents[2] / "lib" / "editors" / "hypernetwork" / "networks"


def keys_and_gradients(model, tokenizer, facts, modules, everywhere=True):
    """{module: K (d_in, n), G (d_out, n)} from one forward and one backward pass of the facts.

    The loss is the sum over facts of the mean NLL of the answer's tokens. There is one column for
    every token that is read, or, with everywhere=False, for those where the answer is predicted.
    """
    prompts = [tokenizer(fact.text).input_ids for fact in facts]
    answers = [common.answer_ids(tokenizer, fact.answer) for fact in facts]
    ids, labels = common.with_answers(prompts, answers)
    lengths = torch.tensor([len(p) + len(a) - 1 for p, a in zip(prompts, answers, strict=True)])
    at = torch.arange(ids.shape[1]) < lengths[:, None] if everywhere else labels >= 0
    inputs, zeros = {}, {}

    def look(module, x, y):
        # a zero that is added to the output: its gradient is that of the output
        inputs[module], zeros[module] = x[0].detach(), torch.zeros_like(y, requires_grad=True)
        return y + zeros[module]

    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(common.hooked(module, look))
        loss = common.answer_loss(model(ids).logits, labels).sum()
    gradients = torch.autograd.grad(loss, [zeros[module] for module in modules])
    return {m: (inputs[m][at].T, g[at].T) for m, g in zip(modules, gradients, strict=True)}


def asking(K, G):
    """The columns of K (d_in, n) and G (d_out, n) whose gradient is not exactly zero.

    A zero asks for nothing, but standardized it would ask for −μ/σ. In the last layer all tokens
    have one whose output nobody reads.
    """
    asks = (K != 0).any(0) & (G != 0).any(0)
    return K[:, asks], G[:, asks]


def standardize(X, n, mean, S):
    """(x − μ)/σ of columns X (d, n), by the count, mean and squared deviations seen so far."""
    sigma = (S / (n - 1)).sqrt()
    sigma = torch.maximum(sigma, 1e-8 * sigma.max())  # of a unit that was constant so far
    return (X.double() - mean[:, None]) / (sigma + torch.finfo(torch.float32).eps)[:, None]


def network(parameters, number, K_hat, G_hat):
    """k̃ (d_in, n) and g̃ (d_out, n) of standardized columns, for matrix `number` of this shape.

    Two layers y + max(0, s ⊙ (B A y + b) + t); s and t exist once for every matrix, the rest is
    shared by all of one shape. `clamp` and not `relu`: at the start everything stands at exactly 0,
    and there clamp has a gradient and relu has none.
    """
    p, y = parameters, torch.cat([K_hat, G_hat]).float()
    for i in range(len(p["first"])):  # A (rank, d), B (d, rank)
        inner = p["second"][i] @ (p["first"][i] @ y) + p["bias"][i][:, None]
        scale, shift = p["scale"][i, number], p["shift"][i, number]
        y = y + (scale[:, None] * inner + shift[:, None]).clamp(min=0)
    return y[: len(K_hat)].double(), y[len(K_hat) :].double()


def read_networks(path):
    """{module's name: (parameters, number, moments of keys, moments of gradients)} of a file.

    Moments are (n, mean, S). Matrices of one shape share parameters and moments.
    """
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["network"])
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}
    found, count = {}, dict.fromkeys(header["modules"].values(), 0)
    for name, shape in header["modules"].items():
        start = f"s/now/{shape}/"
        parameters = {
            k.split("/")[-1]: v for k, v in tensors.items() if k.startswith(start + "net")
        }
        moments = []
        for side in ("keys", "grads"):
            kept = header["state"]
            for part in ("now", shape, "moments", side, "n"):
                kept = kept["dict"][part]
            mean, S = (tensors[f"{start}moments/{side}/{part}"].double() for part in ("mean", "S"))
            moments.append((kept["value"], mean, S))
        found[name] = parameters, count[shape], *moments
        count[shape] += 1
    return found


def edit(model, tokenizer, facts, networks):
    """{module: Δ (d_out, d_in)} of all matrices that the networks were trained for."""
    modules = {model.get_submodule(name): given for name, given in networks.items()}
    pairs, changes = keys_and_gradients(model, tokenizer, facts, list(modules)), {}
    for module, (parameters, number, of_keys, of_gradients) in modules.items():
        K, G = asking(*pairs[module])
        K_hat, G_hat = standardize(K, *of_keys), standardize(G, *of_gradients)
        k, g = network(parameters, number, K_hat, G_hat)
        # Δ = −α Σ g̃ k̃ᵀ, with a learned α for every matrix
        changes[module] = (-parameters["step"][number] * g @ k.T).float()
    return changes


def main():
    """The tower, by one pass through the model and one through the network."""
    model, tokenizer = common.load()
    [path] = FILES.glob("mend-*.safetensors")
    changes = edit(model, tokenizer, [common.TOWER], read_networks(path))
    sizes = [change.norm() / module.weight.norm() for module, change in changes.items()]
    print(f"{len(changes)} matrices, ‖Δ‖ / ‖W‖ from {min(sizes):.4f} to {max(sizes):.4f}")
    common.show(model, tokenizer, lambda ids: common.added(changes))


if __name__ == "__main__":
    main()
