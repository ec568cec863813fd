"""★★★ Layer by layer

MEMIT searches for one target z for the output of the last layer of a window, and every layer of the
window writes part of the residual there. Layer l of L writes this part:

    R_l = (z − h) / (L − l)     l = 0 … L − 1; h: the output of the last layer *now*

so the first layer writes an L-th of the whole residual, and the last layer writes all that remains.
Each writes Δ_l = R_l K_lᵀ (λ C_l + K_l K_lᵀ)⁻¹ at its own keys. These keys, and h, change with
every layer that is written: read them again each time. Write it in three steps:

    asked         the part R of the residual that one layer has to write; left is L − l
    layer_change  Δ, from the residuals R at the keys K of one layer
    spread        the loop; it may call the two above. It returns the list of the L changes

    read(changes)   the model with changes Δ_0, Δ_1, … of its first layers (a list, [] for none);
                    returns (keys, h): keys[l] (d_in, n) of every layer l, and h (d_out, n)
    z  (d_out, n)          C  a list of L matrices (d_in, d_in)          lam  a number, λ
    returns a list of L matrices (d_out, d_in)

Investigate: what is left over if every layer writes an L-th of the residual at its time?

Hint: the loop has three lines: read, ask, append the change.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def asked(z: Tensor, h: Tensor, left: int) -> Tensor:
    # solution
    return (z - h) / left


def layer_change(R: Tensor, K: Tensor, C: Tensor, lam: float) -> Tensor:
    # solution
    return torch.linalg.solve(lam * C + K @ K.T, K @ R.T).T


def spread(read: Callable, z: Tensor, C: list[Tensor], lam: float) -> list[Tensor]:
    # solution
    changes = []
    for layer in range(len(C)):
        keys, h = read(changes)
        R = asked(z, h, len(C) - layer)
        changes.append(layer_change(R, keys[layer], C[layer], lam))
    return changes


# --- checks
from lessons.marking import Wrong, agree, mistaken, normal, tensor, uneven

WRONG = [
    ({"(z - h) / left": "z - h / left"}, "all of the remainder"),
    ({"(z - h)": "(h - z)"}, "sign is flipped"),
    ({"lam * C + K @ K.T": "K @ K.T + 1e-9 * C"}, "ignores general text"),
    ({"lam * C + K @ K.T": "lam * C"}, "K Kᵀ"),
    ({"read(changes)": "read([])"}, "You read keys"),
    ({"len(C) - layer": "len(C)"}, "a remainder"),
    ({"len(C) - layer": "1"}, "all that is missing"),
]


def check(ask, draw):
    layers, d_in, d_out, n = 3, 6, 5, 4
    W = [normal(draw, d_out, d_in) / 3 for _ in range(layers)]
    U = [normal(draw, d_in, d_out) / 2 for _ in range(layers)]
    x, z = normal(draw, d_out, n), normal(draw, d_out, n)
    C = [uneven(draw, d_in)[0] for _ in range(layers)]

    agree(
        ask("asked", z, x, 4),
        (z - x) / 4,
        "asked",
        {
            "asked: compute z − h first, and divide all of the remainder.": z - x / 4,
            "asked: the sign is flipped. The residual is z − h.": (x - z) / 4,
            "asked: this is all that is missing; each remaining layer writes a part.": z - x,
        },
    )
    first = normal(draw, d_in, n)
    wanted = layer_change(z, first, C[0], 0.5)
    agree(
        ask("layer_change", z, first, C[0], 0.5),
        wanted,
        "layer_change",
        {
            "layer_change: this ignores general text: where is λ C?": (
                torch.linalg.solve(first @ first.T + 1e-9 * C[0], first @ z.T).T
            ),
            "layer_change: C is missing its λ.": layer_change(z, first, C[0], 1.0),
            "layer_change: you divide only by λ C; also include the new keys, K Kᵀ.": (
                z @ first.T @ torch.linalg.inv(0.5 * C[0])
            ),
        },
        1e-4,
    )

    def read(changes):
        keys, h = [], x
        for layer in range(layers):
            keys.append((U[layer] @ h).tanh())
            matrix = W[layer] + (changes[layer].double() if layer < len(changes) else 0)
            h = h + matrix @ keys[-1]
        return keys, h

    def written(pieces, C=C, lam=0.5):
        return torch.stack(mistaken(spread, pieces)(read, z, C, lam))

    found = ask("spread", read, z, C, 0.5)
    if not isinstance(found, list | tuple | Tensor) or len(found) != layers:
        raise Wrong(f"return a list of {layers} changes, one for each layer.")
    found = torch.stack([tensor(one, (d_out, d_in), f"Δ_{i}") for i, one in enumerate(found)])
    likely = {
        "You read keys and h once; writing a layer changes them.": written(
            {"read(changes)": "read([])"}
        ),
        "You read h once; writing a layer changes it.": written(
            {"read(changes)": "read(changes)[0], read([])[1]"}
        ),
        "You read the keys once; writing a layer changes the keys above it.": written(
            {"read(changes)": "read([])[0], read(changes)[1]"}
        ),
        "Every layer is written at the keys of the first layer; each has its own keys.": written(
            {"keys[layer]": "keys[0]"}
        ),
        "The parts are reversed: here the first layer writes all, and the last an L-th.": (
            written({"len(C) - layer": "layer + 1"})
        ),
        "C_l is missing its λ.": written({}, lam=1.0),
        "Where is C_l, the constraint from general text?": written({}, [torch.eye(d_in)] * layers),
        "λ C_l is missing: every layer ignores general text.": written({}, lam=0.0),
        "Every layer gets an L-th of the current residual, which leaves a remainder at the "
        "end: the last layer has to write all of it.": written({"len(C) - layer": "len(C)"}),
        "The first layer already writes all that is missing, and the others repair it.": written(
            {"len(C) - layer": "1"}
        ),
    }
    agree(found, written({}), "the changes", likely)
    return "solved: each layer writes its part of the current residual."
