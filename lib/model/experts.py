"""Mixtures of experts: the output projection of each expert as a module that a patch can change.

transformers keeps those of all experts of a layer in one tensor (experts, d, d_ff). `separate`
makes each a linear module `….experts.E.down_proj`, which shares the tensor's memory. A router gives
every token a weight w_e for each expert, 0 for all but a few, and the layer adds to the stream

    Σ_e w_e W_e k_e = [W_1 … W_n] [w_1 k_1; …; w_n k_n]

So the whole layer is one linear memory whose key has the weights in it. The module of expert e
reads w_e k_e, which is 0 at tokens that are sent elsewhere, and puts out what the expert adds to
the stream. An edit that shall add δ there therefore asks ΔW (w_e k_e) = δ, which is the same as
ΔW k_e = δ / w_e, and the second moment E[w_e² k_e k_eᵀ] weighs general text by what an edit changes
in the stream.

No public way of transformers gives an expert a module, so its own one is exchanged. This rests on
the attributes `gate_up_proj`, `down_proj` and `act_fn` of that module, on the arguments of its
forward, and on the one tensor `down_proj` in a saved state. tests/model/test_experts.py fails where
a new version has another module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.facts import Fact, encode_prompt, lookup
from . import activations

if TYPE_CHECKING:
    from .architectures import Arch
    from .lm import LM


class ModuleExperts(nn.Module):
    """The experts of one layer, in the place of the module that transformers made.

    An expert runs on the tokens that are sent to it. One with a hook at its output projection runs
    on all tokens, so that whoever looks there finds every token at its place.
    """

    def __init__(self, joined: Any) -> None:
        super().__init__()
        self.gate_up_proj, self.act_fn = joined.gate_up_proj, joined.act_fn
        for number, weight in enumerate(joined.down_proj.detach()):
            d_out, d_in = weight.shape
            out = nn.Linear(d_in, d_out, bias=False, device="meta")
            out.weight = nn.Parameter(weight, requires_grad=False)  # a view
            self.add_module(str(number), nn.ModuleDict({"down_proj": out}))
        self.register_state_dict_post_hook(_join)

    def outs(self) -> list[Any]:
        """The output projections of all experts."""
        return [getattr(self, str(number)).down_proj for number in range(len(self.gate_up_proj))]

    def forward(self, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """What all experts add to the stream (tokens, d).

        index    (tokens, k) the experts that each token is sent to
        weights  (tokens, k) the router's weights of them
        """
        outs = self.outs()
        share = weights.new_zeros(len(hidden), len(outs)).scatter(1, index, weights)
        asked = set(index.unique().tolist())
        added = torch.zeros_like(hidden)
        for number, out in enumerate(outs):
            if out._forward_hooks or out._forward_pre_hooks:
                tokens = torch.arange(len(hidden), device=hidden.device)
            elif number in asked:
                tokens = share[:, number].nonzero()[:, 0]
            else:
                continue
            gate, up = F.linear(hidden[tokens], self.gate_up_proj[number]).chunk(2, -1)
            key = share[tokens, number, None] * (self.act_fn(gate) * up)
            added = added.index_add(0, tokens, out(key.to(hidden.dtype)))
        return added


def mixtures(model: nn.Module, arch: Arch) -> dict[int, Any]:
    """{layer: its MLP}, of the layers whose MLP is a mixture of experts."""
    if arch.experts is None or arch.mlp is None:
        return {}
    blocks: Any = model.get_submodule(arch.blocks)
    mlps = {i: model.get_submodule(arch.mlp.format(i)) for i in range(len(blocks))}
    return {layer: mlp for layer, mlp in mlps.items() if hasattr(mlp, arch.experts)}


def separate(model: nn.Module, arch: Arch) -> None:
    """Give each expert of a model a module of its own, unless it has one already."""
    for mlp in mixtures(model, arch).values():
        joined = getattr(mlp, arch.experts)
        if not isinstance(joined, ModuleExperts):
            setattr(mlp, arch.experts, ModuleExperts(joined))


def chosen(lm: LM, fact: Fact) -> dict[int, str]:
    """{layer: the module that the fact is written into}, on the model as it is patched now.

    It is the output projection of the expert with the router's largest weight at the subject's last
    token, or at the prompt's where the fact has no subject; and that of the MLP in layers without
    experts.
    """
    arch, ids = lm.arch, encode_prompt(lm.tokenizer, fact.text)
    at = len(ids) - 1
    if fact.subject is not None:
        ids, at = lookup(lm.tokenizer, fact)
    found = {layer: f"{arch.mlp}.down_proj".format(layer) for layer in range(lm.n_layers)}
    mlps = mixtures(lm.model, arch)
    routers = {layer: f"{arch.mlp}.{arch.router}".format(layer) for layer in mlps}
    seen = activations.module_inputs_at(lm, [ids[: at + 1]], [at], list(routers.values()))
    for layer, name in routers.items():
        logits, *_ = lm.model.get_submodule(name)(seen[name])
        expert = f"{arch.mlp}.{arch.experts}.{logits.argmax().item()}.down_proj"
        found[layer] = expert.format(layer)
    return found


def _join(experts: Any, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Put the output projections into a state as the one tensor that transformers reads."""
    names = [f"{prefix}{number}.down_proj.weight" for number in range(len(experts.gate_up_proj))]
    state[f"{prefix}down_proj"] = torch.stack([state.pop(name) for name in names])
