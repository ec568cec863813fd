"""A linear layer as a memory: insert one pair, and say beforehand which others pay for it.

A matrix W maps keys k to values v = W k. Keys and values are columns, K (d_in, n) and V (d_out, n).
C (d_in, d_in) is the second moment E[k kᵀ] of the keys of general text: what W says there shall
stay. To insert a pair with the least change in that sense is a problem with a closed form, and from
the same form one reads, before anything is written, how much of the change lands on every other
key. That is all of this file; the methods are about where k and v come from.

Left out: several pairs at once (memit.py). Given: a text that stands for general text.

    python -m notebooks.scratch.interference [FOLDER OF A MODEL]
"""

import torch

from . import common


def outer_products(K, V):
    """The naive memory W = Σ v kᵀ (d_out, d_in), exact only where keys are orthonormal."""
    return V @ K.T


def fit(K, V):
    """The W (d_out, d_in) with the least ‖W K − V‖². Gradient zero: W K Kᵀ = V Kᵀ."""
    return V @ K.T @ torch.linalg.inv(K @ K.T)


def insert(W, k, v, C):
    """W with W k = v, changed as little as possible: least tr(Δ C Δᵀ), which is E‖Δ k‖² over text.

    W (d_out, d_in), k (d_in), v (d_out), C (d_in, d_in). The Lagrangian gives Δ C = m kᵀ for some
    m (d_out), so Δ = m (C⁻¹k)ᵀ, and Δ k = v − W k says which m.
    """
    u = torch.linalg.solve(C, k)  # C⁻¹k, the direction in which only k-like keys are read
    return W + torch.outer(v - W @ k, u) / (k @ u)


def interference(K, C):
    """ρ(i, j) = kᵢᵀC⁻¹kⱼ / kᵢᵀC⁻¹kᵢ (n, n): the share of edit i's residual that lands on key j."""
    inner = K.T @ torch.linalg.solve(C, K)  # (n, n)
    return inner / inner.diagonal()[:, None]


def whitened_cosine(K, C):
    """Cosines between keys (n, n) where general text has the same spread in all directions."""
    inner = K.T @ torch.linalg.solve(C, K)
    length = inner.diagonal().sqrt()
    return inner / length[:, None] / length


def kurtosis(rho):
    """m₄/m₂² − 3 of the entries off the diagonal: 0 for a Gaussian, large when a few stick out."""
    x = rho[~torch.eye(len(rho), dtype=torch.bool)]
    away = x - x.mean()
    return away.pow(4).mean() / away.pow(2).mean() ** 2 - 3


def after_all(W, K, V, C):
    """All pairs inserted one after another; the last is exact, the others as ρ lets them.

    Key j ends at v_j + Σ_{i>j} ρ(i, j) δᵢ, where δᵢ is what edit i had to add.
    """
    for k, v in zip(K.T, V.T, strict=True):
        W = insert(W, k, v, C)
    return W


class Enough(Exception):
    """Raised by a hook when all that was asked for has been read."""


@torch.no_grad()
def second_moment(model, tokenizer, layers, tokens=8_000, damping=1e-4, window=256):
    """{layer: C} of the inputs of the MLPs' output projections on general text, in float64.

    The first token of every window is left out: there this model's states are a hundred times
    longer than elsewhere, and C would be about little else. Damping keeps C invertible.
    """
    ids = tokenizer(common.text("general_text.txt"), add_special_tokens=False).input_ids
    ids = ids[: tokens + tokens // window + 1]
    sums, count = dict.fromkeys(layers, 0.0), 0
    projections = {model.model.layers[layer].mlp.down_proj: layer for layer in layers}

    def add(module, inputs, output):
        k = inputs[0][0, 1:].T.double()  # (d_in, tokens)
        sums[projections[module]] += k @ k.T
        if projections[module] == max(layers):
            raise Enough

    handles = [module.register_forward_hook(add) for module in projections]
    for start in range(0, len(ids), window):
        part = ids[start : start + window]
        count += len(part) - 1
        try:
            model.model(torch.tensor([part]))
        except Enough:
            pass
    for handle in handles:
        handle.remove()
    for layer, total in sums.items():
        C = total / count
        sums[layer] = C + damping * C.diagonal().mean() * torch.eye(len(C))
    return sums


def main():
    """Teach one subject's key something new, and look at what six others have to take."""
    layer, prompt = 3, "{} is located in the city of"
    subjects = ["The Eiffel Tower", "The Louvre", "Notre-Dame", "Big Ben", "The Reichstag",
                "The Kremlin", "Mount Everest"]  # fmt: skip
    model, tokenizer = common.load()
    projection = model.model.layers[layer].mlp.down_proj
    rows = [common.subject_end(tokenizer, common.Fact(subject, prompt, "")) for subject in subjects]
    [(keys, _)] = common.watch(model, common.padded([ids for ids, _ in rows]), projection)
    K = keys[range(len(rows)), [at for _, at in rows]].T.double()  # (d_in, n)
    W, C = projection.weight.double(), second_moment(model, tokenizer, [layer])[layer]

    v = W @ K[:, 0] + torch.randn(len(W), generator=torch.Generator().manual_seed(0))
    edited = insert(W, K[:, 0], v, C)
    residual = (v - W @ K[:, 0]).norm()
    rho = interference(K, C)
    print(f"layer {layer}: a new value for {subjects[0]}, {residual:.1f} away from the old one\n")
    print(f"{'':18}{'ρ':>8}{'ρ · residual':>14}{'measured':>10}")
    for j, subject in enumerate(subjects):
        measured = ((edited - W) @ K[:, j]).norm()
        print(f"{subject:18}{rho[0, j]:8.3f}{rho[0, j].abs() * residual:14.2f}{measured:10.2f}")
    print(f"\nkurtosis of all {len(K.T) * (len(K.T) - 1)} overlaps: {kurtosis(rho):.1f}")


if __name__ == "__main__":
    main()
