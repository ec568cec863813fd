"""LEMoE's experts: their matrices, their training, and the route choosing among them.

An expert is a small network f_i trained on one batch of facts: a copy of the layer's MLP, or a
low-rank change of its output projection. The route follows the MLP, adding the output of the chosen
expert, MLP(x) + λ f_i(x). A router chooses the expert at the prompt (routers.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import EditError
from ...model.answer_rows import AnswerRows
from ...model.architectures import ACTIVATIONS, dense, mlp_activation
from ...model.lm import LM
from ...model.sequences import Counted, Sequences
from ...patch.route import Part, Route
from ...patch.tensor_file import Real, Schema, Size, TokenId
from ..shared.routed import CapturedRows, add_at
from .routers import AnchorRouter, HiddenStateRouter, Router

# a copy of the MLP: up, down, gate if the family has one, and biases; or low rank: a (r, d_in) and
# b (d_out, r)
Expert = Mapping[str, Tensor]
Kind = Literal["ffn", "lora"]


def answer(expert: Mapping[str, Tensor], x: Tensor, activation: str) -> Tensor:
    """Return f(x) (n, d_out) for x (n, d_in), both float32."""
    if "a" in expert:
        return x @ expert["a"].T @ expert["b"].T
    inner, phi = F.linear(x, expert["up"], expert.get("up_bias")), ACTIVATIONS[activation]
    if "gate" in expert:
        inner = phi(F.linear(x, expert["gate"], expert.get("gate_bias"))) * inner
    else:
        inner = phi(inner)
    return F.linear(inner, expert["down"], expert.get("down_bias"))


# ---- a new expert: its module, and its first matrices ------------------------------------------


def module_for(lm: LM, layer: int, kind: Kind) -> str:
    """Return the module extended by experts of a kind, raising EditError if there is none."""
    out = lm.mlp_out(layer)  # rejects a missing layer
    if kind == "lora":
        return out
    if lm.arch.mlp is None:
        raise EditError(f"{lm.name} has no MLP module for adding experts. Use expert='lora'.")
    name = lm.arch.mlp.format(layer)
    if len(inspect.signature(lm.model.get_submodule(name).forward).parameters) != 1:
        raise EditError(f"{name} adds the residual itself. Use expert='lora'.")
    return name


def fresh(lm: LM, layer: int, kind: Kind, rank: int, seed: int) -> Expert:
    """Return a new expert, float32 on the CPU, adding exactly zero because its last matrix is zero.

    "ffn" is a copy of the layer's MLP with a zero output projection, "lora" a product b a of `rank`
    with b = 0. Only a is random, depending on `seed`.
    """
    out = lm.mlp_out(layer)
    d_out, d_in = lm.weight(out).shape
    if kind == "lora":
        a = torch.randn(rank, d_in, generator=torch.Generator().manual_seed(seed)) / d_in**0.5
        return {"a": a, "b": torch.zeros(d_out, rank)}
    # copy the input projections; phi3 stores gate and up as one matrix, which is split in two
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
    """Return the name of the experts' activation; EditError if an expert needs an unknown one."""
    act = mlp_activation(lm.model.config)
    if kind == "ffn" and act not in ACTIVATIONS:
        raise EditError(f"The activation '{act}' is not supported by experts. Use expert='lora'.")
    return act if act in ACTIVATIONS else "silu"


def _linear(lm: LM, name: str) -> tuple[Tensor, Tensor | None]:
    """Return copies of a linear module's weight (d_out, d_in) and bias, float32 on the CPU."""
    module = lm.model.get_submodule(name)
    weight = dense(module.weight.detach(), lm.arch.transposed).cpu()
    weight = weight.clone(memory_format=torch.contiguous_format)
    bias = getattr(module, "bias", None)
    return weight, None if bias is None else bias.detach().float().cpu().clone()


# ---- the rows that experts learn from ----------------------------------------------------------


class ExpertRows:
    """Rows of (prompt, answer) with the inputs of the experts and of their router.

    As when the patch is used, an expert is added at every token other than padding.

    prompts  token ids of the rows' prompts
    means    (n, d) mean input embedding of each row's prompt, for the anchors
    hidden   (n, w) mean input of the module at each row's prompt, for MEMoE's router
    inputs   (tokens, w) input of the module at every token that is not padding
    owner    (tokens,) the row of each of these tokens
    """

    def __init__(
        self,
        lm: LM,
        module: str,
        layer: int,
        pairs: Sequence[tuple[str, str]],
        bos: int | None,
        target_eos: bool = False,
    ) -> None:
        rows, embed = AnswerRows.of(lm.tokenizer, pairs, target_eos), lm.arch.embed
        self.captured = CapturedRows(lm, rows, layer, module, len(rows), [embed])
        self.prompts, replay = rows.prompts, self.captured.replay
        self.means = replay.seqs.prompt_mean(replay.seen[embed][1], bos)
        self.hidden = replay.seqs.prompt_mean(self.captured.inputs, bos)
        self.real = Counted(replay.seqs.real)
        self.owner = self.real.row
        self.inputs = self.real.values(self.captured.inputs).float()

    def loss(
        self, experts: Mapping[int, Expert], choice: Tensor, weight: Tensor, act: str
    ) -> Tensor:
        """Return the mean over rows of the mean NLL (nats) of their answers, differentiable.

        Row i gets the output of expert choice[i], multiplied by weight[i]. If there is only one
        expert, all rows get its output.
        """
        # the output that its row's expert adds at every token
        replay = self.captured.replay
        moved = self.inputs.new_zeros(len(self.inputs), replay.hidden.shape[-1])
        per_token, everywhere = choice[self.owner], torch.arange(len(moved), device=moved.device)
        for m in experts if len(experts) == 1 else choice.unique().tolist():
            here = everywhere if len(experts) == 1 else (per_token == m).nonzero()[:, 0]
            added = weight[self.owner[here]][:, None] * answer(experts[m], self.inputs[here], act)
            moved = moved.index_add(0, here, added)
        # the blocks above, with these outputs added to the layer's
        delta = moved.new_zeros(*replay.seqs.real.shape, moved.shape[-1])
        delta[self.real.row, self.real.column] = moved
        return self.captured.nll(replay.with_added(delta))


# ---- the route ---------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class Experts(Route):
    """Experts added to one MLP: a prompt choosing expert i also gets λ f_i(x) at all positions.

    experts     their matrices by name
    activation  the name of the MLP's activation function
    router      anchors, or MEMoE's
    scale       λ
    gate        weight of the winner: "hard" 1, "softmax" its fraction of all scores
    bos         the id of a leading BOS, which means over a prompt exclude
    """

    kind = "lemoe"

    class Header(Schema):
        """The way it answers, and the parts of the router that are not tensors."""

        module: str
        experts: Size
        activation: str
        scale: Real
        gate: Literal["hard", "softmax"]
        bos: TokenId | None
        router: dict[str, Any]

    module: str = field()  # without the default of `Route`
    experts: tuple[Expert, ...]
    activation: str
    router: Router
    scale: float = 1.0
    gate: str = "hard"
    bos: int | None = None

    def placed(self, device: torch.device) -> tuple[Router, list[Expert]]:
        """Return the router and the experts on a device."""
        experts: list[Expert]
        experts = [{n: t.to(device) for n, t in expert.items()} for expert in self.experts]
        return self.router.to(device), experts

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """Return the winning expert, -1 for none, as (rows,) int64.

        Notes its score, the null anchor's as threshold, and its fraction in the softmax.
        """
        router, _ = self.on(output.device)
        if router.reads_hidden:
            rows = [i[p].tolist() for i, p in zip(seqs.ids, seqs.prompt, strict=True)]
            e = router.features(seqs.prompt_mean(inputs, self.bos), rows)
        else:
            means = seqs.prompt_mean(seqs.embedded(), self.bos)
            e = router.pooled(means.to(output.device))
        scores = router.scores(e)  # (rows, 1 + t), the null anchor first
        choice = scores.argmax(1) - 1
        share = scores.softmax(1).gather(1, choice[:, None] + 1)[:, 0]
        best = scores[:, 1:].max(1).values
        self.note(seqs, score=best, threshold=scores[:, 0], share=share)
        return choice

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """Return the output with λ g f_i(x) added in the rows choosing i, else the same tensor."""
        _, experts = self.on(output.device)
        real = seqs.real[:, -output.shape[1] :].to(output.device)
        weight = torch.full(choice.shape, self.scale, device=output.device)
        winners = choice[choice >= 0].unique().tolist()
        if self.gate == "softmax" and winners:
            weight = weight * self.noted(seqs, "share").to(output.device)
        weight = weight[:, None].expand(real.shape)
        for m in winners:
            here = (choice == m)[:, None] & real
            # MLP(x) + λ g f_i(x), at the real positions of the rows that chose expert m
            moved = answer(experts[m], inputs[here].float(), self.activation)
            output = add_at(output, here, weight[here][:, None] * moved)
        return output

    def tensors(self) -> dict[str, Tensor]:
        """Return every expert's matrices, and the router's."""
        found = {f"{i}/{name}": t for i, e in enumerate(self.experts) for name, t in e.items()}
        return {**found, **{f"router/{name}": t for name, t in self.router.tensors().items()}}

    def header(self) -> dict:
        """Return the number of experts, and the router's own header."""
        own = {
            name: getattr(self, name) for name in ("module", "activation", "scale", "gate", "bos")
        }
        return {**own, "experts": len(self.experts), "router": self.router.header()}

    @classmethod
    def file_tensors(cls, head: Any, names: Collection[str]) -> Mapping[str, Part]:
        """Return the parts of every expert and of the router; experts differ in hidden width."""
        if head.experts > len(names):
            raise ValueError(
                f"It announces {head.experts} experts but contains {len(names)} tensors."
            )
        found: dict[str, Part] = {}
        for i in range(head.experts):
            if "0/a" in names:
                parts = {"a": Part(f"r{i} d_in"), "b": Part(f"d_out r{i}")}
            else:
                parts = {
                    "up": Part(f"w{i} d_in"),
                    "down": Part(f"d_out w{i}"),
                    "gate": Part(f"w{i} d_in", optional=True),
                    **{f"{n}_bias": Part(f"w{i}", optional=True) for n in ("up", "gate")},
                    "down_bias": Part("d_out", optional=True),
                }
            found |= {f"{i}/{name}": part for name, part in parts.items()}
        kind = _router_kind(names)
        return {**found, **{f"router/{name}": part for name, part in kind.parts.items()}}

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], head: Any) -> Experts:
        """Return the route of a file."""
        if head.activation not in ACTIVATIONS:
            raise ValueError(f"The activation '{head.activation}' is unknown.")
        experts: list[dict[str, Tensor]] = [{} for _ in range(head.experts)]
        routing: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            number, _, part = name.partition("/")
            # cloned: sums may differ in the last bit depending on a file's memory layout
            (routing if number == "router" else experts[int(number)])[part] = tensor.clone()
        router = _router_kind(tensors).load(routing, head.router)
        if (known := router.sizes()["t"]) != len(experts):
            raise ValueError(f"The router knows {known} of {len(experts)} experts.")
        return cls(
            head.module, tuple(experts), head.activation, router, head.scale, head.gate, head.bos
        )

    @property
    def widths(self) -> tuple[int, int]:
        """Return the widths of the experts' inputs and outputs."""
        first = self.experts[0]
        inner, outer = (first["a"], first["b"]) if "a" in first else (first["up"], first["down"])
        return inner.shape[1], outer.shape[0]

    @property
    def read_widths(self) -> tuple[int | None, int]:
        """Return the widths of the module's inputs (None if not read) and of the embeddings."""
        sizes = self.router.sizes()
        return sizes.get("w"), sizes["d"]


def _router_kind(names: Collection[str]) -> type[Router]:
    return HiddenStateRouter if "router/weight" in names else AnchorRouter
