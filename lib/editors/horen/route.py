"""HoReN's route: a codebook for one module, finding its entries by angle.

A prompt's query is the mean of the module's inputs over the last part of the prompt, normalized to
length one. A damped step of a Hopfield network moves it towards the stored keys, and the entry with
the largest cosine answers if that cosine is above a threshold. If one key is far ahead of all
others, the step only makes every cosine s larger, s' = ((1−α)s + α)/√((1−α)² + α² + 2α(1−α)s), and
then has no effect that a lower threshold would not. It matters when several keys are near, moving
the query towards their mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import torch
from msgspec import Meta
from torch import Tensor
from torch.nn.functional import normalize

from ...model.sequences import Sequences
from ...patch.route import Part, Route
from ...patch.tensor_file import Real, Schema
from ...setting_fields import Share
from ..shared.routed import nearest

ROUNDS = 64  # maximum number of steps; the query settles long before
PositiveShare = Annotated[float, Meta(gt=0, le=1, description="a number above 0 and up to 1")]
Rounds = Annotated[int, Meta(ge=0, le=ROUNDS, description=f"a whole number from 0 to {ROUNDS}")]
SETTLED = 1e-5  # stop moving when the distance from query to recalled pattern is below this


class Query(NamedTuple):
    """The rule for computing a prompt's query from a module's inputs.

    share         fraction of the prompt's tokens, counted from its end, used for the mean
    exclude_sink  whether the prompt's first token is excluded, unless it is the only token
    """

    share: float
    exclude_sink: bool

    def of(self, inputs: Tensor, seqs: Sequences) -> Tensor:
        """Return queries (rows, d_in) of length one, float32, from inputs (rows, length, d_in).

        Raises RuntimeError if this call holds only a part of a prompt.
        """
        return normalize(seqs.mean_over(inputs, self.positions(seqs.prompt)), dim=1)

    def positions(self, prompt: Tensor) -> Tensor:
        """Return the prompt positions (rows, length), bool, used for the mean."""
        number = prompt.long().cumsum(1)  # 1 at a prompt's first token
        size = number[:, -1:]
        # the last ⌈ρ (p + 1)⌉; 1e-9 keeps ρ = 0.6 of 5 tokens at 3
        wanted = (self.share * size.double() - 1e-9).ceil()
        found = prompt & (number > size - wanted)
        return found & ((number > 1) | (size == 1)) if self.exclude_sink else found


class Dynamics(NamedTuple):
    """The damped Hopfield step: how often (rounds), how far (alpha) and how sharp (beta)."""

    beta: float
    alpha: float
    rounds: int

    def relax(self, K: Tensor, q: Tensor) -> Tensor:
        """Return queries (m, d_in) after the steps towards the keys K (d_in, n), of length one."""
        for _ in range(self.rounds if K.shape[1] and self.alpha else 0):
            # z = K softmax(β Kᵀq), of length one; q ← (1 − α) q + α z
            z = normalize((self.beta * q @ K).softmax(1) @ K.T, dim=1)
            going = (z - q).norm(dim=1, keepdim=True) >= SETTLED
            if not bool(going.any()):
                break
            moved = normalize((1 - self.alpha) * q + self.alpha * z, dim=1)
            q = torch.where(going, moved, q)
        return q

    def cosines(self, K: Tensor, q: Tensor) -> Tensor:
        """Return the cosines (m, n) of the relaxed queries with all keys."""
        return self.relax(K, q.float()) @ K


@dataclass(eq=False, repr=False)
class Hopfield(Route):
    """A codebook for one module, finding entries by angle and adding to the module's output.

    The entry whose key has the largest cosine with the prompt's relaxed query answers if this
    cosine is above its threshold: its value is added to the module's output at the prompt's last
    token. Everywhere else the output is unchanged, bit for bit.

    K         (d_in, n) keys of length one, float32
    V         (d_out, n) values, float32
    query     the rule for computing a prompt's query
    dynamics  the steps that it takes
    tau       the cosine above which an entry answers
    taus      (n,) the same for each entry, if they differ: entries created in the chat template
              need higher cosines, since all messages share its ending. None: tau for all.
    """

    kind = "horen"
    parts = {"K": Part("d_in n"), "V": Part("d_out n"), "taus": Part("n", optional=True)}

    class Header(Schema):
        """The module, and the rule for deciding."""

        module: str
        share: PositiveShare
        exclude_sink: bool
        mean_of: Literal["inputs"]  # earlier versions could also use the mean of directions
        beta: Real
        alpha: Share
        rounds: Rounds
        tau: Real

    module: str = field()  # without the default of `Route`
    K: Tensor
    V: Tensor
    query: Query
    dynamics: Dynamics
    tau: float
    taus: Tensor | None = None

    def placed(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return K (d_in, n), Vᵀ (n, d_out) and which values are nonzero (n,), on a device."""
        V = self.V.T.contiguous().to(device)
        return self.K.to(device), V, V.any(1)

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """Return the entry answering each prompt, -1 for none; notes cosine and threshold."""
        query = self.query.of(inputs, seqs)
        cosines = self.dynamics.cosines(self.on(inputs.device)[0], query)
        score, entry = nearest(cosines)
        least = torch.full_like(score, self.tau)
        if self.taus is not None:  # the nearest entry reached, or the nearest if none is
            taus = self.taus.to(score)
            best, other = nearest(cosines.masked_fill(cosines <= taus, -1.0))
            score, entry = torch.where(best > -1, best, score), torch.where(best > -1, other, entry)
            least = taus[entry]
        self.note(seqs, score=score, threshold=least)
        return torch.where(score > least, entry, -1)

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """Return `output` with chosen values added at the prompts' ends, unchanged without any."""
        _, V, moves = self.on(output.device)
        if not len(V):
            return output
        answers = (choice >= 0) & moves[choice.clamp(min=0)]
        mask = seqs.prompt_end()[:, -output.shape[1] :] & answers[:, None]
        if not bool(mask.any()):
            return output
        moved = (output.float() + V[choice.clamp(min=0)][:, None]).to(output.dtype)
        return torch.where(mask[..., None], moved, output)

    def header(self) -> dict:
        """Return the module, and the rule for deciding."""
        query = {**self.query._asdict(), "mean_of": "inputs"}
        return {"module": self.module, **query, **self.dynamics._asdict(), "tau": self.tau}

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], head: Any) -> Hopfield:
        """Return the route of a file."""
        query = Query(head.share, head.exclude_sink)
        dynamics = Dynamics(head.beta, head.alpha, head.rounds)
        return cls(head.module, query=query, dynamics=dynamics, tau=head.tau, **tensors)
