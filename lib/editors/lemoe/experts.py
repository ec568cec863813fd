"""LEMoE's route: experts beside one MLP, and a router that chooses among them at the prompt.

An expert is a small network f_i that learned one batch of facts: a copy of the layer's MLP, or a
low-rank change of its output projection. The route stands after the MLP and adds the output of the
chosen expert, MLP(x) + λ f_i(x). The anchors (anchor_router.py) decide by the prompt's input
embeddings, which no layer below changes. MEMoE's router (memoe_router.py) decides by the inputs of
the layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ...model.architectures import ACTIVATIONS
from ...model.sequences import Sequences
from ...patch.route import Route
from ...patch.tensor_file import Real, Schema, Size, TokenId, check_names, check_tensor, convert
from .anchor_router import AnchorRouter
from .memoe_router import HiddenStateRouter

# a copy of the MLP: up, down, gate where the family has one, and biases; or low rank: a (r, d_in)
# and b (d_out, r)
Expert = Mapping[str, Tensor]


def answer(expert: Expert, x: Tensor, activation: str) -> Tensor:
    """f(x) (n, d_out) of x (n, d_in), both float32."""
    if "a" in expert:
        return x @ expert["a"].T @ expert["b"].T
    inner, phi = F.linear(x, expert["up"], expert.get("up_bias")), ACTIVATIONS[activation]
    if "gate" in expert:
        inner = phi(F.linear(x, expert["gate"], expert.get("gate_bias"))) * inner
    else:
        inner = phi(inner)
    return F.linear(inner, expert["down"], expert.get("down_bias"))


class ExpertsHeader(Schema):
    """The header of an `Experts` in a patch file; its router reads its own part."""

    module: str
    experts: Size
    activation: str
    scale: Real
    gate: Literal["hard", "softmax"]
    bos: TokenId | None
    router: dict[str, Any]


class Experts(Route):
    """Experts beside one MLP: a prompt that chooses expert i gets λ f_i(x) on top at all positions.

    experts     their matrices by name
    activation  the name of the MLP's activation function
    router      anchors, or MEMoE's
    scale       λ
    gate        weight of the winner: "hard" 1, "softmax" its share among all scores
    bos         the id of a leading BOS, which means over a prompt leave out
    """

    kind = "lemoe"
    axes = ("score of the best expert", "score of the null anchor")

    def __init__(
        self,
        module: str,
        experts: tuple[Expert, ...],
        activation: str,
        router: AnchorRouter | HiddenStateRouter,
        scale: float = 1.0,
        gate: str = "hard",
        bos: int | None = None,
    ) -> None:
        self.module, self.experts, self.activation = module, tuple(experts), activation
        self.router, self.scale, self.gate, self.bos = router, scale, gate, bos

    def placed(self, device: torch.device) -> tuple[AnchorRouter | HiddenStateRouter, list[Expert]]:
        """The router and the experts on a device."""
        experts: list[Expert]
        experts = [{n: t.to(device) for n, t in expert.items()} for expert in self.experts]
        return self.router.to(device), experts

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """(rows,) int64: the winning expert, -1 for none.

        Notes its score, the null anchor's as threshold, and its share in the softmax.
        """
        router, _ = self.on(output.device)
        if isinstance(router, HiddenStateRouter):
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
        """The output with λ g f_i(x) added in the rows that chose i; else the same tensor."""
        chosen = [m for m in choice.unique().tolist() if m >= 0]
        if not chosen:
            return output
        (_, experts), output = self.on(output.device), output.clone()
        real = seqs.real[:, -output.shape[1] :].to(output.device)
        weight = torch.full(choice.shape, self.scale, device=output.device)
        if self.gate == "softmax":
            weight = weight * self.noted(seqs, "share").to(output.device)
        weight = weight[:, None].expand(real.shape)
        for m in chosen:
            here = (choice == m)[:, None] & real
            # MLP(x) + λ g f_i(x), at the real positions of the rows that chose expert m
            moved = answer(experts[m], inputs[here].float(), self.activation)
            moved = output[here].float() + weight[here][:, None] * moved
            output[here] = moved.to(output.dtype)
        return output

    def tensors(self) -> dict[str, Tensor]:
        """Every expert's matrices, and the router's."""
        found = {f"{i}/{name}": t for i, e in enumerate(self.experts) for name, t in e.items()}
        return {**found, **{f"router/{name}": t for name, t in self.router.tensors().items()}}

    def header(self) -> dict:
        """Its module, the way it answers, and the parts of the router that are no tensors."""
        return {
            "module": self.module,
            "experts": len(self.experts),
            "activation": self.activation,
            "scale": self.scale,
            "gate": self.gate,
            "bos": self.bos,
            "router": self.router.header(),
        }

    @classmethod
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Experts:
        """The route of a file; ValueError where its parts do not belong together."""
        head = convert(header, ExpertsHeader)
        if head.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation '{head.activation}'")
        # the experts are those whose tensors are there; the header only agrees
        parts: dict[str, dict[str, Tensor]] = {}
        for name, t in tensors.items():
            number, _, part = name.partition("/")
            # cloned: sums may differ in the last bit by where a file left a tensor in memory
            parts.setdefault(number, {})[part] = t.clone()
        routing = parts.pop("router", {})
        if len(parts) != head.experts:
            raise ValueError(f"it promises {head.experts} experts and holds {len(parts)}")
        check_names("it", parts, [str(i) for i in range(len(parts))])
        experts = tuple(parts[str(i)] for i in range(len(parts)))
        sizes = {_check_expert(i, expert) for i, expert in enumerate(experts)}
        if len(sizes) > 1:
            raise ValueError("its experts have different sizes")
        kind = HiddenStateRouter if "weight" in routing else AnchorRouter
        router = kind.load(routing, head.router, len(experts))
        return cls(head.module, experts, head.activation, router, head.scale, head.gate, head.bos)

    @property
    def widths(self) -> tuple[int, int]:
        """Widths of the experts' inputs and outputs."""
        first = self.experts[0]
        inner, outer = (first["a"], first["b"]) if "a" in first else (first["up"], first["down"])
        return inner.shape[1], outer.shape[0]

    @property
    def read_widths(self) -> tuple[int | None, int]:
        """Widths of the inputs (None where they are not read) and embeddings that the router reads.

        They must be those of the module and of the model.
        """
        if isinstance(self.router, HiddenStateRouter):
            return len(self.router.center), self.router.embeds.shape[1]
        return None, len(self.router.mu)


def _check_expert(i: int, expert: Expert) -> tuple[int, int]:
    """Widths of an expert's inputs and outputs; ValueError where its parts do not fit together."""
    if "a" in expert or "b" in expert:
        check_names(f"expert {i}", expert, ("a", "b"))
        inner, outer, biases = {"a": expert["a"]}, expert["b"], {}
    else:
        whole = {"up", "down"} | ({"gate"} & expert.keys())
        held = {f"{name}_bias" for name in whole} & expert.keys()
        check_names(f"expert {i}", expert, whole | held)
        inner, outer = {n: expert[n] for n in whole - {"down"}}, expert["down"]
        biases = {name: expert[name] for name in held}
    check_tensor(f"expert {i}", outer, (-1, -1), torch.float32)
    d_out, width = outer.shape
    for name, tensor in inner.items():
        check_tensor(f"{name} of expert {i}", tensor, (width, -1), torch.float32)
    d_in, *others = {tensor.shape[1] for tensor in inner.values()}
    if others:
        raise ValueError(f"the input projections of expert {i} read different widths")
    for name, tensor in biases.items():
        wide = d_out if name == "down_bias" else width
        check_tensor(f"{name} of expert {i}", tensor, (wide,), torch.float32)
    return d_in, d_out
