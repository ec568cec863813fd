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
what transformers' modules of experts share: the attributes `gate_up_proj` or `up_proj`, `down_proj`
and their biases, `is_transposed`, `has_bias` and `has_gate`, `_apply_gate` and `act_fn`, the
arguments of their forward, and the one tensor `down_proj` in a saved state.
tests/model/test_experts.py fails where a new version has another module.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.facts import Fact, encode_prompt, lookup
from .batching import sequences
from .hooks import hooked_all

if TYPE_CHECKING:
    from .architectures import Arch
    from .lm import LM


class ModuleExperts(nn.Module):
    """The experts of one layer, in the place of the module that transformers made.

    An expert runs on the tokens that are sent to it, by the module's own gate. One with a hook at
    its output projection runs on all tokens, so that whoever looks there finds every token at its
    place. A bias behind the projection has the router's weight, too, and is added beside it.
    """

    def __init__(self, joined: Any) -> None:
        super().__init__()
        self.own = (joined,)  # in a tuple, so that its parameters have one name
        for name, p in joined.named_parameters(recurse=False):
            if name != "down_proj":
                self.register_parameter(name, p)
        for number, weight in enumerate(joined.down_proj.detach()):
            weight = weight.T if joined.is_transposed else weight
            d_out, d_in = weight.shape
            out = nn.Linear(d_in, d_out, bias=False, device="meta")
            out.weight = nn.Parameter(weight, requires_grad=False)  # a view
            self.add_module(str(number), nn.ModuleDict({"down_proj": out}))
        joined.down_proj = None  # else it would keep the memory of a model that moves
        self.register_state_dict_post_hook(_join)

    def outs(self) -> list[Any]:
        """The output projections of all experts."""
        return [part.down_proj for part in self.children()]

    def forward(self, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """What all experts add to the stream (tokens, d).

        index    (tokens, k) the experts that each token is sent to
        weights  (tokens, k) the router's weights of them
        """
        outs, (joined,) = self.outs(), self.own
        # the parameters are read here, not in `joined`: what moves a model to a card moves these
        inner: Tensor = getattr(self, "gate_up_proj" if joined.has_gate else "up_proj")
        inner_bias: Tensor | None = getattr(self, "gate_up_proj_bias", None)
        bias: Tensor | None = getattr(self, "down_proj_bias", None)
        gated = joined._apply_gate if joined.has_gate else joined.act_fn
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
            W = inner[number].T if joined.is_transposed else inner[number]
            wide = F.linear(hidden[tokens], W, None if inner_bias is None else inner_bias[number])
            weight = share[tokens, number, None]
            put = out((weight * gated(wide)).to(hidden.dtype))
            if bias is not None:
                put = put + (weight * bias[number]).to(put)
            added = added.index_add(0, tokens, put)
        return added


def mixtures(model: nn.Module, arch: Arch) -> dict[int, Any]:
    """{layer: its MLP}, of the layers whose MLP is a mixture of experts, where some are."""
    blocks: Any = model.get_submodule(arch.blocks)
    mlps = {i: model.get_submodule(arch.mlp.format(i)) for i in range(len(blocks))}
    return {layer: mlp for layer, mlp in mlps.items() if hasattr(mlp, arch.experts)}


def separate(model: nn.Module) -> None:
    """Give each expert of a model a module of its own, unless it has one already.

    Those that transformers builds in one way say how: by these words, and no norm behind them,
    of which older releases do not know.
    """
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if hasattr(part, "is_transposed") and not getattr(part, "has_post_expert_norm", False):
                setattr(parent, name, ModuleExperts(part))


def chosen(lm: LM, fact: Fact) -> dict[int, str]:
    """{layer: the module that the fact is written into}, on the model as it is patched now.

    It is the output projection of the expert whose weight is largest where it arrives, at the
    subject's last token, or at the prompt's where the fact has no subject; that of the shared
    expert where `LM.write_expert` says so; and that of the MLP in layers without experts.
    """
    arch, mixed = lm.arch, mixtures(lm.model, lm.arch)
    if lm.expert == "shared":
        return {
            i: (arch.shared if i in mixed else arch.dense_out).format(i) for i in lm.written_layers
        }
    ids = encode_prompt(lm.tokenizer, fact.text)
    at = len(ids) - 1
    if fact.subject is not None:
        ids, at = lookup(lm.tokenizer, fact)
    found = {layer: arch.dense_out.format(layer) for layer in lm.written_layers}

    def look(layer: int, _: nn.Module, args: tuple, __: Any) -> None:
        _hidden, index, weights = args
        expert = index[at, weights[at].argmax()].item()
        found[layer] = f"{arch.mlp}.{arch.experts}.{expert}.down_proj".format(layer)

    seqs = sequences(lm, [ids[: at + 1]])
    looks = {f"{arch.mlp}.{arch.experts}".format(i): partial(look, i) for i in mixed}
    with lm.opened(seqs), hooked_all(lm.model, looks):
        lm.backbone(seqs.ids, seqs.real, use_cache=False)
    return found


def _join(experts: Any, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Put the output projections into a state as the one tensor that transformers reads."""
    (joined,) = experts.own
    names = [f"{prefix}{number}.down_proj.weight" for number in range(len(experts.outs()))]
    stored = torch.stack([state.pop(name) for name in names])
    state[f"{prefix}down_proj"] = stored.transpose(1, 2) if joined.is_transposed else stored
