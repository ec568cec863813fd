"""A new expert of LEMoE: where it stands, and its first matrices.

A new expert adds exactly zero to the MLP's output, because its last matrix is zero. Training begins
from the model as it is.
"""

from __future__ import annotations

import inspect
from typing import Literal

import torch
from torch import Tensor

from ...errors import EditError
from ...model.architectures import ACTIVATIONS, mlp_activation
from ...model.lm import LM
from .experts import Expert

Kind = Literal["ffn", "lora"]


def place(lm: LM, layer: int, kind: Kind) -> str:
    """The module beside which experts of a kind stand; EditError for a family without one."""
    out = lm.mlp_out(layer)  # refuses a layer that is not there
    if kind == "lora":
        return out
    if lm.arch.mlp is None:
        raise EditError(f"{lm.name} has no MLP module to stand beside: use expert='lora'")
    name = lm.arch.mlp.format(layer)
    if len(inspect.signature(lm.model.get_submodule(name).forward).parameters) != 1:
        raise EditError(f"{name} adds the residual itself: use expert='lora'")
    return name


def fresh(lm: LM, layer: int, kind: Kind, rank: int, seed: int) -> Expert:
    """A new expert, float32 on the CPU.

    "ffn" is a copy of the layer's MLP with a zero output projection, "lora" a product b a of `rank`
    with b = 0. Only a is random, by `seed`.
    """
    out = lm.mlp_out(layer)
    d_out, d_in = lm.weight(out).shape
    if kind == "lora":
        a = torch.randn(rank, d_in, generator=torch.Generator().manual_seed(seed)) / d_in**0.5
        return {"a": a, "b": torch.zeros(d_out, rank)}
    # the input projections are copied; phi3 stores gate and up as one matrix, which is cut in two
    names = [name.format(layer) for name in lm.arch.mlp_in]
    found = {"down": torch.zeros(d_out, d_in)}
    for name in names:
        weight, bias = _linear(lm, name)
        part = "gate" if len(names) == 2 and name == names[0] else "up"
        found |= {part: weight} | ({} if bias is None else {f"{part}_bias": bias})
    if lm.arch.fused_in:
        found["gate"], found["up"] = (t.clone() for t in found["up"].chunk(2))
    if _linear(lm, out)[1] is not None:
        found["down_bias"] = torch.zeros(d_out)
    return found


def activation(lm: LM, kind: Kind) -> str:
    """The name of the experts' activation; EditError where an expert needs one unknown here."""
    act = mlp_activation(lm.model.config)
    if kind == "ffn" and act not in ACTIVATIONS:
        raise EditError(f"experts know no activation '{act}': use expert='lora'")
    return act if act in ACTIVATIONS else "silu"


def _linear(lm: LM, name: str) -> tuple[Tensor, Tensor | None]:
    """Copies of a linear module's weight (d_out, d_in) and bias, float32 on the CPU."""
    held = lm.model.get_submodule(name)
    weight = held.weight.detach()
    weight = (weight.T if lm.arch.transposed else weight).float().cpu()
    weight = weight.clone(memory_format=torch.contiguous_format)
    bias = getattr(held, "bias", None)
    return weight, None if bias is None else bias.detach().float().cpu().clone()
