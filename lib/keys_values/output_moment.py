"""The second moment S = E[g gᵀ] of a layer's output gradients over general text, cached like C.

g is the gradient, with respect to the output of an MLP's output projection at one token, of the
cross entropy summed over all tokens of the row that the model predicts, including the effect on all
later tokens. C shows which inputs general text uses, and S which outputs matter to it. Together,
they are the curvature of the layer's weights (curvature.py). The positions used are the positions
predicting a token, excluding a row's last position, and its first if C excludes it.

The theory (the Fisher matrix) requires tokens sampled from the model's own prediction. As
published, S uses the text's own tokens. On text that the model wrote itself at temperature 1, such
as the shipped text for the default model, both have the same expectation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from ..cancellation import steps
from ..computed_once import CachedTensors, Tensors, make_missing
from ..model import batching
from ..model.answer_rows import AnswerRows
from ..model.lm import LM
from ..patch.patch import EMPTY
from .answer_gradients import one_pass
from .curvature import Curvature, curvature
from .general_text import Text, chosen, general_text
from .null_space import eigen
from .second_moment import WINDOW, Spread, about, shrunk, stored_moments, windows

AT_ONCE = 4 * WINDOW  # tokens of one pass, storing all activations for the backward pass


def curvatures(
    lm: LM,
    layers: Sequence[int],
    energy: float,
    text: Text = None,
    tokens: int | None = None,
) -> dict[int, Curvature]:
    """Return {layer: the curvature of its MLP's output projection over general text}, float64.

    energy  as in `curvature`
    text    and `tokens`: as in `second_moment`, counted for each dimension of A and of S

    A is the C of `second_moment`, and S of all layers comes from one forward and one backward pass.
    Raises EditError if the text cannot be read or is empty.
    """
    inputs, outputs = stored_pairs(lm, layers, text, tokens)
    make_missing([*inputs.values(), *outputs.values()])

    def made(A: CachedTensors, S: CachedTensors) -> Curvature:
        found = lm.once(("output eigen", S), lambda: torch.linalg.eigh(shrunk(S.tensors(), "S")))
        return curvature(eigen(lm, A), found, energy)

    return {
        layer: lm.once(("curvature", *pair, energy), partial(made, *pair))
        for layer in steps(layers, "curvatures")
        for pair in [(inputs[layer], outputs[layer])]
    }


def stored_pairs(
    lm: LM, layers: Sequence[int], text: Text, tokens: int | None
) -> tuple[dict[int, CachedTensors], dict[int, CachedTensors]]:
    """Return {layer: its A} and {layer: its S}, as they are or will be stored."""
    if text is not None and not isinstance(text, str | os.PathLike):
        text = [general_text(text)]  # it is read twice, but a generator can be read only once
    inputs = stored_moments(lm, layers, text, tokens)
    skip_first = lm.leading_bos is None  # as in C
    names = {layer: lm.mlp_out(layer) for layer in layers}  # rejects a missing layer
    source = chosen(lm, text, tokens, lm.weight(names[layers[0]]).shape[0])
    label = f"{lm.stored_identity} {source.label} {source.tokens} {skip_first} data"
    label += " shrunk" * source.few

    def make(missing: list[int]) -> Iterator[tuple[int, Tensors]]:
        some = [names[layer] for layer in missing]
        rows = windows(lm, source.read(), source.tokens)
        sums, count, spreads = _accumulate(lm, some, rows, skip_first, source.few)
        for layer in missing:
            mean = sums.pop(names[layer]) / count
            yield layer, {"S": mean, **about(mean, count, spreads.get(names[layer]))}

    return inputs, {layer: CachedTensors("output_moments", label, make, layer) for layer in layers}


def _accumulate(
    lm: LM, names: list[str], texts: list[list[int]], skip_first: bool, few: bool
) -> tuple[dict[str, Tensor], int, dict[str, Spread]]:
    """Return {module: Σ g gᵀ}, float64 on the CPU, the number of gradients in each, and spreads."""
    spreads = {name: Spread.of(sum(map(len, texts))) for name in names if few}
    sums: dict[str, Tensor] = {}
    count = 0
    groups = list(batching.batches(texts, limit=AT_ONCE))
    with lm.patched(EMPTY, only=True):
        for group in steps(groups, "output gradients"):
            part = [texts[i] for i in group]
            rows = AnswerRows([row[:1] for row in part], [row[1:] for row in part])
            # the sum over all tokens of all rows: rows do not interact
            found = one_pass(lm, rows, torch.ones(rows.labels.shape[1]), names)
            wanted = rows.labels[1] >= int(skip_first)
            for name, (_, G) in found.items():  # (d_out, tokens): float32 products
                G = G[:, wanted.to(G.device)]
                more = (G @ G.T).cpu().double()
                sums[name] = sums[name].add_(more) if name in sums else more
                if few:
                    spreads[name].see(G)
            count += int(wanted.sum())
    return sums, count, spreads
