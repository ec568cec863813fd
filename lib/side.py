"""WISE's route: side memories of one matrix, and the activation difference that chooses among them.

A side memory is τ = W′ − W behind a linear module. How far it moves the module's output on a prompt
says whether it is meant: Δ(x) = mean over prompt tokens of ‖(W + τ)a − W a‖₂.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from .patch import Route

if TYPE_CHECKING:
    from .sequences import Sequences

Pool = Literal["mean", "row"]
ACTIVATIONS = {  # of the published score only; by transformers' names
    "silu": F.silu,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
}


@dataclass(frozen=True)
class Memory:
    """One side memory: τ (d_out, d_in) float32, 0 outside its masks; its threshold ε; its facts."""

    tau: Tensor
    eps: float
    facts: int


@dataclass(frozen=True)
class Score:
    """How Δ is measured.

    pool "mean": over prompt tokens, without padding and without a leading BOS, whose activation is
    huge and the same everywhere. "row": over all real tokens of the call, answer included, as
    published; for parity only. activation: name of φ in ‖φ(W′a) − φ(Wa)‖, None for the raw form.
    bos: the id that the tokenizer puts in front, None where it puts none.
    """

    pool: Pool = "mean"
    activation: str | None = None
    bos: int | None = None

    def counted(self, ids: Tensor, real: Tensor, prompt: Tensor) -> Tensor:
        """(rows, length) bool: the tokens that Δ is a mean over."""
        here = real if self.pool == "row" else prompt
        if self.bos is None or self.pool == "row":
            return here
        rest = here & ~((ids == self.bos) & (here.long().cumsum(1) == 1))
        return torch.where(rest.any(1, keepdim=True), rest, here)  # a BOS alone has to do

    def tokens(self, moved: Tensor, output: Tensor) -> Tensor:
        """δ (n,) of tokens from how far each output moves, (n, d_out), and what it was."""
        if self.activation is None:
            return torch.linalg.vector_norm(moved, dim=-1)
        phi, output = ACTIVATIONS[self.activation], output.float()
        return torch.linalg.vector_norm(phi(output + moved) - phi(output), dim=-1)

    def rows(self, tau: Tensor, inputs: Tensor, output: Tensor, counted: Tensor) -> Tensor:
        """Δ (rows,) of inputs (rows, length, d_in) under τ; differentiable in τ."""
        # τ a at the counted tokens only: no product for padding or answers
        moved = inputs[counted].float() @ tau.T  # (n, d_out)
        owner = counted.nonzero()[:, 0]
        total = moved.new_zeros(len(counted)).index_add(
            0, owner, self.tokens(moved, output[counted])
        )
        return total / counted.sum(1)


class Side(Route):
    """Side memories behind one module: the largest Δ among those that reach their own threshold.

    Memory m is eligible iff Δ_m ≥ act_ratio·ε_m. A row with choice m gets W a + τ_m a at all its
    real positions, later ones too; a row without keeps the module's own output, bit for bit.
    """

    kind = "wise"
    axes = ("activation difference of the side memory", "threshold")

    def __init__(
        self, memories: tuple[Memory, ...], act_ratio: float, score: Score, module: str = ""
    ) -> None:
        self.memories, self.act_ratio, self.score = tuple(memories), act_ratio, score
        self.module = module  # where it stands: its notes for `explain` go under this name
        self._placed: dict[torch.device, list[Tensor]] = {}

    def thresholds(self) -> Tensor:
        """(m,) float32: what Δ has to reach."""
        return self.act_ratio * torch.tensor([memory.eps for memory in self.memories])

    def scores(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """Δ (rows, m) of every prompt under every memory."""
        counted = self.score.counted(seqs.ids, seqs.real, seqs.prompt)
        found = [self.score.rows(tau, inputs, output, counted) for tau in self._taus(inputs.device)]
        return torch.stack(found, 1)

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """(rows,) int64: the memory with the largest Δ among those that pass, -1 for none."""
        scores = self.scores(inputs, output, seqs)
        choice = self.choose(scores)
        shown = torch.where(choice < 0, scores.argmax(1), choice)  # nobody answers: the closest
        seqs.memo[f"{self.module}/score"] = scores.gather(1, shown[:, None])[:, 0]
        seqs.memo[f"{self.module}/threshold"] = self.thresholds().to(scores)[shown]
        return choice

    def choose(self, scores: Tensor) -> Tensor:
        """The rule alone, on Δ (rows, m): eligible first, then the largest.

        thresholds (20, 5): Δ (18, 12) -> 1; (30, 25) -> 0; (3, 4) -> -1
        """
        passed = scores >= self.thresholds().to(scores)
        best = torch.where(passed, scores, -torch.inf).argmax(1)
        return torch.where(passed.any(1), best, -1)

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """The output with z_m = W a + τ_m a in the rows that chose m; else the same tensor."""
        chosen = [m for m in choice.unique().tolist() if m >= 0]
        if not chosen:
            return output
        taus, output = self._taus(output.device), output.clone()
        for m in chosen:
            here = (choice == m)[:, None] & seqs.real
            moved = inputs[here].float() @ taus[m].T
            output[here] = (output[here].float() + moved).to(output.dtype)
        return output

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
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Side:
        """The route that `tensors()` and `header()` describe; ValueError when they disagree."""
        shape, memories = tuple(header["shape"]), []
        for i, (eps, facts) in enumerate(zip(header["eps"], header["facts"], strict=True)):
            values, mask = tensors[f"{i}/values"], unpack(tensors[f"{i}/bits"], shape)
            if values.dtype != torch.float32 or not torch.isfinite(values).all():
                raise ValueError(f"side memory {i} holds no finite float32 values")
            tau = torch.zeros(shape)
            tau[mask] = values  # raises where the numbers of values and bits differ
            memories.append(Memory(tau, float(eps), int(facts)))
        if header["pool"] not in ("mean", "row"):
            raise ValueError(f"unknown pool '{header['pool']}'")
        if header["activation"] not in {None, *ACTIVATIONS}:
            raise ValueError(f"unknown activation '{header['activation']}'")
        score = Score(header["pool"], header["activation"], header["bos"])
        return cls(tuple(memories), float(header["act_ratio"]), score, str(header["module"]))

    def _taus(self, device: torch.device) -> list[Tensor]:
        if device not in self._placed:
            self._placed[device] = [memory.tau.to(device) for memory in self.memories]
        return self._placed[device]


def pack(mask: Tensor) -> Tensor:
    """A bool tensor as bytes, eight entries each, the first in the lowest bit."""
    bits = F.pad(mask.flatten(), (0, -mask.numel() % 8)).view(-1, 8).to(torch.uint8)
    return (bits << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def unpack(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The bool tensor that `pack` was given."""
    bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    return bits.flatten()[: torch.Size(shape).numel()].bool().view(shape)


def draw_mask(shape: tuple[int, int], share: float, seed: int, shard: int) -> Tensor:
    """(d_out, d_in) bool, each entry True with probability `share`; another one for every shard."""
    draw = torch.Generator().manual_seed(1_000_003 * seed + shard)
    return torch.rand(shape, generator=draw) < share


def hinges(
    inside: Tensor, outside: Tensor, alpha: float, beta: float, gamma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The three margins on Δ of edits (n,) and of irrelevant texts (m,): scalars, each ≥ 0.

    max(0, Δ_i − α), max(0, β − Δ_e), max(0, γ − (Δ_e − Δ_i)) over all pairs; each is the mean over
    its positive terms alone, 0 where there is none.
    Δ_e (4, 30), Δ_i (7,), margins 5, 20, 10 -> 2, 16, 13
    """
    apart = gamma - (inside[None] - outside[:, None])
    return tuple(_positive(part) for part in (outside - alpha, beta - inside, apart))


def _positive(terms: Tensor) -> Tensor:
    above = terms > 0
    return torch.where(above, terms, 0.0).sum() / above.sum().clamp(min=1)
