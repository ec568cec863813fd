"""WISE's route: side memories of one matrix, and the activation difference that chooses among them.

The main memory is a linear module's own weight W. A side memory is a copy of it, W′ = W + τ, that
has learned some facts; only τ is kept. How far a side memory moves the module's output on a prompt
says whether the prompt is one of its facts. This is the activation difference
Δ(x) = mean over the prompt's tokens of ‖(W + τ) a − W a‖₂: training makes it large on the memory's
facts and small elsewhere (`hinges`), and the route compares it with a threshold ε.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor

from ...model.architectures import ACTIVATIONS
from ...model.sequences import Counted, Sequences
from ...patch.route import Part, Route
from ...patch.tensor_file import Count, Real, Schema, Size, TokenId
from ..shared.routed import add_at, pack_bits, unpack_bits

Pool = Literal["mean", "row"]


@dataclass(frozen=True)
class SideMemory:
    """One side memory.

    tau    (d_out, d_in) float32: what it adds to W; 0 outside the masks that it was trained in
    eps    ε, about the least Δ among its facts, which prompts are compared with
    facts  how many facts it holds
    """

    tau: Tensor
    eps: float
    facts: int


@dataclass(frozen=True)
class ActivationDifference:
    """How the activation difference Δ is measured.

    pool        "mean": over prompt tokens, without padding and without a leading BOS;
                "row": over all real tokens of the call, answer included, as published
    activation  name of φ in ‖φ(W′a) − φ(W a)‖, None for the plain difference
    bos         the id that the tokenizer puts in front, None where it puts none
    """

    pool: Literal["mean", "row"] = "mean"
    activation: str | None = None
    bos: int | None = None

    def counted(self, seqs: Sequences) -> Tensor:
        """(rows, length) bool: the tokens that Δ is a mean over."""
        return seqs.real if self.pool == "row" else seqs.prompt_tokens(self.bos)

    def tokens(self, moved: Tensor, output: Tensor) -> Tensor:
        """δ (n,), the difference at single tokens.

        moved (n, d_out) is what the memory adds to the output there, output (n, d_out) what it was.
        """
        if self.activation is None:
            return torch.linalg.vector_norm(moved, dim=-1)
        phi, output = ACTIVATIONS[self.activation], output.float()
        return torch.linalg.vector_norm(phi(output + moved) - phi(output), dim=-1)


@dataclass(eq=False, repr=False)
class Side(Route):
    """Side memories beside one linear module.

    A prompt chooses the memory with the largest Δ among those that it reaches: memory m is reached
    where Δ_m ≥ act_ratio · ε_m. Its module puts out W a + τ_m a at all positions then, the
    generated ones too. A prompt that reaches none keeps the module's own output, bit for bit.

    memories   the side memories
    act_ratio  which share of ε a prompt has to reach
    score      how Δ is measured
    """

    kind = "wise"

    class Header(Schema):
        """Thresholds, and how Δ is measured."""

        module: str
        shape: tuple[Size, Size]
        eps: list[Real]
        facts: list[Count]
        act_ratio: Real
        pool: Pool
        activation: str | None
        bos: TokenId | None

    memories: tuple[SideMemory, ...]
    act_ratio: float
    score: ActivationDifference
    module: str = ""

    def placed(self, device: torch.device) -> list[Tensor]:
        """τ (d_out, d_in) of every memory on a device."""
        return [memory.tau.to(device) for memory in self.memories]

    def thresholds(self) -> Tensor:
        """(m,) float32: what Δ has to reach."""
        return self.act_ratio * torch.tensor([memory.eps for memory in self.memories])

    def scores(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """Δ (rows, m) of every prompt under every one of m memories."""
        # there is no product for padding or answers
        counted = Counted(self.score.counted(seqs))
        inputs, output = counted.values(inputs).float(), counted.values(output)
        found = [self.score.tokens(inputs @ tau.T, output) for tau in self.on(inputs.device)]
        return torch.stack([counted.means(tokens) for tokens in found], 1)

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """(rows,) int64: the memory with the largest Δ among those that pass, -1 for none."""
        scores = self.scores(inputs, output, seqs)
        choice = self.choose(scores)
        shown = torch.where(choice < 0, scores.argmax(1), choice)  # nobody answers: the closest
        score = scores.gather(1, shown[:, None])[:, 0]
        self.note(seqs, score=score, threshold=self.thresholds().to(scores)[shown])
        return choice

    def choose(self, scores: Tensor) -> Tensor:
        """The rule alone, on Δ (rows, m): among the memories that are reached the largest Δ wins.

        thresholds (20, 5): Δ (18, 12) -> 1; (30, 25) -> 0; (3, 4) -> -1
        """
        passed = scores >= self.thresholds().to(scores)
        best = torch.where(passed, scores, -torch.inf).argmax(1)
        return torch.where(passed.any(1), best, -1)

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """The output with z_m = W a + τ_m a in the rows that chose m; else the same tensor."""
        taus = self.on(output.device)
        # a partial forward runs the last columns only
        real = seqs.real[:, -output.shape[1] :]
        for m in choice[choice >= 0].unique().tolist():
            here = (choice == m)[:, None] & real
            # z = W a + τ a, at the real positions of the rows that chose m
            output = add_at(output, here, inputs[here].float() @ taus[m].T)
        return output

    @property
    def reads_answer(self) -> bool:
        """Whether Δ is the mean over a whole row, answer included, as published."""
        return self.score.pool == "row"

    def tensors(self) -> dict[str, Tensor]:
        """Per memory the nonzero entries of τ, row by row, and a bit per entry that says where."""
        found = {}
        for i, memory in enumerate(self.memories):
            mask = memory.tau != 0
            found[f"{i}/values"], found[f"{i}/bits"] = memory.tau[mask], pack(mask)
        return found

    def header(self) -> dict:
        """Thresholds and how Δ is measured."""
        return {
            "module": self.module,
            "shape": list(self.memories[0].tau.shape),
            "eps": [memory.eps for memory in self.memories],
            "facts": [memory.facts for memory in self.memories],
            "act_ratio": self.act_ratio,
            "pool": self.score.pool,
            "activation": self.score.activation,
            "bos": self.score.bos,
        }

    @classmethod
    def file_tensors(cls, head: Any, names: Collection[str]) -> Mapping[str, Part]:
        """Two parts of every memory; the bits of its mask are as many as τ has entries."""
        if not head.eps or len(head.eps) != len(head.facts):
            raise ValueError(f"it has {len(head.eps)} thresholds for {len(head.facts)} memories")
        bits = Part(f"{-(-prod(head.shape) // 8)}", torch.uint8)
        parts = {f"{i}/values": Part(f"n{i}") for i in range(len(head.eps))}
        return {**parts, **{f"{i}/bits": bits for i in range(len(head.eps))}}

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], head: Any) -> Side:
        """The route of a file."""
        if head.activation is not None and head.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation '{head.activation}'")
        memories = []
        for i, (eps, facts) in enumerate(zip(head.eps, head.facts, strict=True)):
            values, mask = tensors[f"{i}/values"], unpack(tensors[f"{i}/bits"], head.shape)
            if len(values) != mask.sum():
                raise ValueError(f"side memory {i} has {len(values)} values for another mask")
            tau = torch.zeros(head.shape)
            tau[mask] = values
            memories.append(SideMemory(tau, eps, facts))
        score = ActivationDifference(head.pool, head.activation, head.bos)
        return cls(tuple(memories), head.act_ratio, score, head.module)

    @property
    def widths(self) -> tuple[int, int]:
        """Widths of inputs and outputs of τ."""
        d_out, d_in = self.memories[0].tau.shape
        return d_in, d_out


def pack(mask: Tensor) -> Tensor:
    """A bool tensor as bytes, eight entries each, the first in the lowest bit."""
    return pack_bits(mask.reshape(1, -1))[0]


def unpack(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The bool tensor that `pack` was given."""
    return unpack_bits(packed[None], prod(shape)).view(shape)


def draw_mask(shape: tuple[int, int], share: float, seed: int, shard: int) -> Tensor:
    """(d_out, d_in) bool, each entry True with probability `share`; another one for every shard."""
    draw = torch.Generator().manual_seed(1_000_003 * seed + shard)
    return torch.rand(shape, generator=draw) < share


def hinges(
    inside: Tensor, outside: Tensor, alpha: float, beta: float, gamma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """WISE's margins on Δ_e (n,) of edits and Δ_i (m,) of irrelevant texts: scalars, each ≥ 0.

    max(0, Δ_i − α) keeps Δ small on irrelevant texts, max(0, β − Δ_e) large on edits, and
    max(0, γ − (Δ_e − Δ_i)), over all pairs, keeps a gap between the two. Each is the mean over its
    positive terms alone, 0 where there is none.
    Δ_e (4, 30), Δ_i (7,), margins 5, 20, 10 -> 2, 16, 13
    """
    gap = gamma - (inside[None] - outside[:, None])
    some, most, apart = (
        torch.where(terms > 0, terms, 0.0).sum() / (terms > 0).sum().clamp(min=1)
        for terms in (outside - alpha, beta - inside, gap)
    )
    return some, most, apart
