"""LEMoE's route: a router decides at the prompt, experts answer beside one FFN.

It stands behind a layer's MLP and adds what the chosen expert says: FFN(x) + λ f_i(x). Anchors read
the prompt's input embeddings, whatever stands below; MEMoE's router reads what the layer reads.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from .anchors import Router
from .memoe import Hidden
from .patch import Route
from .pooled import prompt_means
from .sequences import Sequences
from .side import ACTIVATIONS

# ffn: up, down, gate where the family has one, biases; lora: a (r, d_in), b (d_out, r)
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


class Experts(Route):
    """Behind a layer's MLP: rows of expert i get λ f_i(x) on top at all their real positions.

    gate "hard": the winner has weight 1; "softmax": its share. bos is what means leave out.
    """

    kind = "lemoe"
    axes = ("score of the best expert", "score of the null anchor")

    def __init__(
        self,
        module: str,
        experts: tuple[Expert, ...],
        activation: str,
        router: Router | Hidden,
        scale: float = 1.0,
        gate: str = "hard",
        bos: int | None = None,
    ) -> None:
        self.module, self.experts, self.activation = module, tuple(experts), activation
        self.router, self.scale, self.gate, self.bos = router, scale, gate, bos
        self._there: dict[torch.device, tuple[Router | Hidden, list[Expert]]] = {}

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """(rows,) the winning expert; notes its score, the null anchor's, and its softmax share."""
        router, _ = self._placed(output.device)
        if isinstance(router, Hidden):
            rows = [i[p].tolist() for i, p in zip(seqs.ids, seqs.prompt, strict=True)]
            e = router.features(prompt_means(inputs, seqs, self.bos), rows)
        else:
            means = prompt_means(seqs.embedded(), seqs, self.bos)
            e = router.pooled(means.to(output.device))
        scores = router.scores(e)
        choice = scores.argmax(1) - 1
        seqs.memo[f"{self.module}/score"] = scores[:, 1:].max(1).values
        seqs.memo[f"{self.module}/threshold"] = scores[:, 0]
        seqs.memo[f"{self.module}/share"] = scores.softmax(1).gather(1, choice[:, None] + 1)[:, 0]
        return choice

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """The output with λ g f_i(x) added in the rows that chose i; else the same tensor."""
        chosen = [m for m in choice.unique().tolist() if m >= 0]
        if not chosen:
            return output
        (_, experts), output = self._placed(output.device), output.clone()
        real = seqs.real[:, -output.shape[1] :].to(output.device)
        weight = torch.full(choice.shape, self.scale, device=output.device)
        if self.gate == "softmax":
            weight = weight * seqs.memo[f"{self.module}/share"].to(output.device)
        weight = weight[:, None].expand(real.shape)
        for m in chosen:
            here = (choice == m)[:, None] & real
            moved = answer(experts[m], inputs[here].float(), self.activation)
            moved = output[here].float() + weight[here][:, None] * moved
            output[here] = moved.to(output.dtype)
        return output

    def tensors(self) -> dict[str, Tensor]:
        """Every expert's matrices, and the router's."""
        found = {f"{i}/{name}": t for i, e in enumerate(self.experts) for name, t in e.items()}
        return {**found, **{f"router/{name}": t for name, t in self.router.tensors().items()}}

    def header(self) -> dict:
        """Where it stands, how it answers, and what of the router is no tensor."""
        return {
            "module": self.module, "experts": len(self.experts), "activation": self.activation,
            "scale": self.scale, "gate": self.gate, "bos": self.bos, "router": self.router.header(),
        }  # fmt: skip

    @classmethod
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Experts:
        """The route of a file; ValueError where its parts do not belong together."""
        module, gate, act = header["module"], header["gate"], header["activation"]
        if any(t.dtype != torch.float32 or not torch.isfinite(t).all() for t in tensors.values()):
            raise ValueError(f"the experts at {module} are no finite float32 values")
        if act not in ACTIVATIONS or gate not in ("hard", "softmax"):
            raise ValueError(f"unknown activation or gate of the experts at {module}")
        parts: list[dict[str, Tensor]] = [{} for _ in range(header["experts"])]
        routing: dict[str, Tensor] = {}
        for name, t in tensors.items():
            number, part = name.split("/")
            # cloned: where a file left it in memory, sums may come out another way in the last bit
            (routing if number == "router" else parts[int(number)])[part] = t.clone()
        whole = [{"up", "down"} <= e.keys() or {"a", "b"} <= e.keys() for e in parts]
        if not parts or not all(whole):
            raise ValueError(f"an expert at {module} is not whole")
        kind = Hidden if "weight" in routing else Router
        router = kind.load(routing, header["router"], len(parts))
        return cls(module, tuple(parts), act, router, float(header["scale"]), gate, header["bos"])

    def _placed(self, device: torch.device) -> tuple[Router | Hidden, list[Expert]]:
        if device not in self._there:
            experts = [{n: t.to(device) for n, t in e.items()} for e in self.experts]
            self._there[device] = self.router.to(device), experts
        return self._there[device]
