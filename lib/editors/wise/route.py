"""WISE's route: side memories of one matrix, and the activation difference for choosing among them.

The main memory is a linear module's own weight W. A side memory is a copy of it, W′ = W + τ, that
has learned some facts; only τ is stored. The distance by which a side memory moves the module's
output on a prompt shows whether the prompt is one of its facts. This is the activation difference
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

    tau    (d_out, d_in) float32: its addition to W; 0 outside the masks used in training
    eps    ε, about the least Δ among its facts, compared with a prompt's Δ
    facts  number of facts stored
    """

    tau: Tensor
    eps: float
    facts: int


@dataclass(frozen=True)
class ActivationDifference:
    """The measurement of the activation difference Δ.

    pool        "mean": over prompt tokens, without padding and without a leading BOS;
                "row": over all real tokens of the call, answer included, as published
    activation  name of φ in ‖φ(W′a) − φ(W a)‖, None for the plain difference
    bos         the id that the tokenizer prepends, None if there is none
    """

    pool: Literal["mean", "row"] = "mean"
    activation: str | None = None
    bos: int | None = None

    def counted(self, seqs: Sequences) -> Tensor:
        """Return the tokens over which Δ is a mean, (rows, length) bool."""
        return seqs.real if self.pool == "row" else seqs.prompt_tokens(self.bos)

    def tokens(self, moved: Tensor, output: Tensor) -> Tensor:
        """Return δ (n,), the difference at single tokens.

        moved (n, d_out) is the memory's addition to the output there, output (n, d_out) the
        original output.
        """
        if self.activation is None:
            return torch.linalg.vector_norm(moved, dim=-1)
        phi, output = ACTIVATIONS[self.activation], output.float()
        return torch.linalg.vector_norm(phi(output + moved) - phi(output), dim=-1)


@dataclass(eq=False, repr=False)
class Side(Route):
    """Side memories for one linear module.

    A prompt chooses the memory with the largest Δ among those that it reaches: memory m is reached
    if Δ_m ≥ act_ratio · ε_m. Its module then outputs W a + τ_m a at all positions, including the
    generated ones. A prompt reaching none keeps the module's own output, bit for bit.

    memories   the side memories
    act_ratio  fraction of ε that a prompt has to reach
    score      the measurement of Δ
    """

    kind = "wise"

    class Header(Schema):
        """Thresholds, and the measurement of Δ."""

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
        """Return τ (d_out, d_in) of every memory on a device."""
        return [memory.tau.to(device) for memory in self.memories]

    def thresholds(self) -> Tensor:
        """Return the values that Δ has to reach, (m,) float32."""
        return self.act_ratio * torch.tensor([memory.eps for memory in self.memories])

    def scores(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """Return Δ (rows, m) of every prompt under each of m memories."""
        # skip the product for padding and answers
        counted = Counted(self.score.counted(seqs))
        inputs, output = counted.values(inputs).float(), counted.values(output)
        found = [self.score.tokens(inputs @ tau.T, output) for tau in self.on(inputs.device)]
        return torch.stack([counted.means(tokens) for tokens in found], 1)

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """Return the passing memory with the largest Δ, -1 for none, (rows,) int64."""
        scores = self.scores(inputs, output, seqs)
        choice = self.choose(scores)
        shown = torch.where(
            choice < 0, scores.argmax(1), choice
        )  # without an answer, show the closest
        score = scores.gather(1, shown[:, None])[:, 0]
        self.note(seqs, score=score, threshold=self.thresholds().to(scores)[shown])
        return choice

    def choose(self, scores: Tensor) -> Tensor:
        """Apply only the rule, on Δ (rows, m): among the memories reached, the largest Δ wins.

        thresholds (20, 5): Δ (18, 12) -> 1; (30, 25) -> 0; (3, 4) -> -1
        """
        passed = scores >= self.thresholds().to(scores)
        best = torch.where(passed, scores, -torch.inf).argmax(1)
        return torch.where(passed.any(1), best, -1)

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """Return the output with z_m = W a + τ_m a in rows that chose m, else the same tensor."""
        taus = self.on(output.device)
        # a partial forward runs only the last columns
        real = seqs.real[:, -output.shape[1] :]
        for m in choice[choice >= 0].unique().tolist():
            here = (choice == m)[:, None] & real
            # z = W a + τ a, at the real positions of the rows that chose m
            output = add_at(output, here, inputs[here].float() @ taus[m].T)
        return output

    @property
    def reads_answer(self) -> bool:
        """Return whether Δ is the mean over a whole row, answer included, as published."""
        return self.score.pool == "row"

    def tensors(self) -> dict[str, Tensor]:
        """Return the nonzero entries of τ by memory, row by row, and a bit per entry as a mask."""
        found = {}
        for i, memory in enumerate(self.memories):
            mask = memory.tau != 0
            found[f"{i}/values"], found[f"{i}/bits"] = memory.tau[mask], pack(mask)
        return found

    def header(self) -> dict:
        """Return thresholds and the measurement of Δ."""
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
        """Return two parts for every memory; its mask has as many bits as τ has entries."""
        if not head.eps or len(head.eps) != len(head.facts):
            raise ValueError(f"It has {len(head.eps)} thresholds for {len(head.facts)} memories.")
        bits = Part(f"{-(-prod(head.shape) // 8)}", torch.uint8)
        parts = {f"{i}/values": Part(f"n{i}") for i in range(len(head.eps))}
        return {**parts, **{f"{i}/bits": bits for i in range(len(head.eps))}}

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], head: Any) -> Side:
        """Return the route of a file."""
        if head.activation is not None and head.activation not in ACTIVATIONS:
            raise ValueError(f"The activation '{head.activation}' is unknown.")
        memories = []
        for i, (eps, facts) in enumerate(zip(head.eps, head.facts, strict=True)):
            values, mask = tensors[f"{i}/values"], unpack(tensors[f"{i}/bits"], head.shape)
            if len(values) != mask.sum():
                raise ValueError(f"Side memory {i} has {len(values)} values for another mask.")
            tau = torch.zeros(head.shape)
            tau[mask] = values
            memories.append(SideMemory(tau, eps, facts))
        score = ActivationDifference(head.pool, head.activation, head.bos)
        return cls(tuple(memories), head.act_ratio, score, head.module)

    @property
    def widths(self) -> tuple[int, int]:
        """Return the widths of inputs and outputs of τ."""
        d_out, d_in = self.memories[0].tau.shape
        return d_in, d_out


def pack(mask: Tensor) -> Tensor:
    """Return a bool tensor as bytes, eight entries each, the first in the lowest bit."""
    return pack_bits(mask.reshape(1, -1))[0]


def unpack(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the bool tensor that was passed to `pack`."""
    return unpack_bits(packed[None], prod(shape)).view(shape)


def draw_mask(shape: tuple[int, int], share: float, seed: int, shard: int) -> Tensor:
    """Return (d_out, d_in) bool, True with probability `share`; every shard's is different."""
    draw = torch.Generator().manual_seed(1_000_003 * seed + shard)
    return torch.rand(shape, generator=draw) < share


def hinges(
    inside: Tensor, outside: Tensor, alpha: float, beta: float, gamma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return WISE's margins on Δ_e (n,) of edits and Δ_i (m,) of irrelevant texts: scalars ≥ 0.

    max(0, Δ_i − α) keeps Δ small on irrelevant texts, max(0, β − Δ_e) large on edits, and max(0, γ
    − (Δ_e − Δ_i)), over all pairs, keeps a gap between the two. Each is the mean over only its
    positive terms, or 0 if there are none.
    Δ_e (4, 30), Δ_i (7,), margins 5, 20, 10 -> 2, 16, 13
    """
    gap = gamma - (inside[None] - outside[:, None])
    some, most, apart = (
        torch.where(terms > 0, terms, 0.0).sum() / (terms > 0).sum().clamp(min=1)
        for terms in (outside - alpha, beta - inside, gap)
    )
    return some, most, apart
