"""The two moments of a layer's MLP, as the curvature is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from lib.computed_once import make_missing
from lib.keys_values.output_moment import stored_pairs
from lib.model.lm import LM


def moments(
    lm: LM, layers: Sequence[int], text: str | Path | None = None, tokens: int | None = None
) -> dict[int, tuple[Tensor, Tensor]]:
    """{layer: A (d_in, d_in) and S (d_out, d_out) of the same text}, float64, without damping."""
    inputs, outputs = stored_pairs(lm, layers, text, tokens)
    make_missing([*inputs.values(), *outputs.values()])
    return {
        layer: (inputs[layer].tensors()["C"].double(), outputs[layer].tensors()["S"])
        for layer in layers
    }
