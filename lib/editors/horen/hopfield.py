"""HoReN's route: a codebook behind one module whose entries are found by their angle.

A prompt's query is the mean of the module's inputs over the last part of the prompt, of length one.
It is moved towards the stored keys by a damped step of a Hopfield network, and the entry with the
largest cosine answers if that is above a threshold. One key far ahead of all others only makes
every cosine s larger, s' = ((1−α)s + α)/√((1−α)² + α² + 2α(1−α)s), so that the step then decides
nothing that a lower threshold would not. It matters where several keys are near: it moves the query
towards their mean.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch
from msgspec import Meta
from torch import Tensor
from torch.nn.functional import normalize

from ...model.sequences import Counted, Sequences
from ...patch.route import Route
from ...patch.tensor_file import Real, Schema, check_names, check_tensor, convert

MeanOf = Literal["inputs", "directions"]
ROUNDS = 64  # steps at most; the query has settled long before
SETTLED = 1e-5  # distance from query to recalled pattern under which it moves no more


class Query(NamedTuple):
    """How the query of a prompt is made from a module's inputs.

    share         part of the prompt's tokens, counted from its end, that the mean is over
    exclude_sink  whether the prompt's first token is left out, unless it is the only one
    mean_of       the mean of the "inputs", or of their "directions" (each of length one)
    """

    share: float
    exclude_sink: bool
    mean_of: MeanOf

    def of(self, inputs: Tensor, seqs: Sequences) -> Tensor:
        """Queries (rows, d_in) of length one, float32, from inputs (rows, length, d_in).

        Raises RuntimeError where this call holds only a part of a prompt.
        """
        if inputs.shape[1] != seqs.ids.shape[1] or not bool(seqs.prompt.any(1).all()):
            raise RuntimeError("a prompt must be run whole: a part of it is not in this call")
        counted = Counted(self.places(seqs.prompt).to(inputs.device))
        values = counted.values(inputs).float()
        if self.mean_of == "directions":
            values = normalize(values, dim=1)
        return normalize(counted.means(values), dim=1)

    def places(self, prompt: Tensor) -> Tensor:
        """The positions (rows, length) bool that the mean is over, among those of the prompts."""
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
        """Queries (m, d_in) after the steps towards the keys K (d_in, n), all of length one."""
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
        """Cosines (m, n) of the relaxed queries with all keys."""
        return self.relax(K, q.float()) @ K


def nearest(cosines: Tensor) -> tuple[Tensor, Tensor]:
    """The largest cosine (m,) of each row of (m, n), and its entry; ties: the smallest index.

    Without an entry it is −1 at entry −1.
    """
    if not cosines.shape[1]:
        none = cosines.new_full((len(cosines),), -1.0)
        return none, none.long()
    best = cosines.max(1).values
    return best, (cosines == best[:, None]).int().argmax(1)


class HopfieldHeader(Schema):
    """The header of a `Hopfield` in a patch file."""

    module: str
    share: Annotated[float, Meta(gt=0, le=1)]
    exclude_sink: bool
    mean_of: MeanOf
    beta: Real
    alpha: Annotated[float, Meta(ge=0, le=1)]
    rounds: Annotated[int, Meta(ge=0, le=ROUNDS)]
    tau: Real


class Hopfield(Route):
    """A codebook behind one module that is read by angle, and adds to the module's output.

    The entry whose key has the largest cosine with the prompt's relaxed query answers, if this is
    above its threshold: its value is added to the module's output at the prompt's last token.
    Everywhere else the output stays as it is, bit for bit.

    K         (d_in, n) keys of length one, float32
    V         (d_out, n) values, float32
    query     how a prompt's query is made
    dynamics  how it is moved
    tau       the cosine above which an entry answers
    taus      (n,) the same for each entry, where they differ: entries that were made in the chat
              template need more, since all messages share its end. None: tau for all.
    """

    kind = "horen"
    axes = ("cosine with the nearest key", "threshold")

    def __init__(
        self,
        module: str,
        K: Tensor,
        V: Tensor,
        query: Query,
        dynamics: Dynamics,
        tau: float,
        taus: Tensor | None = None,
    ) -> None:
        self.module, self.query, self.dynamics, self.tau = module, query, dynamics, tau
        self.K, self.V, self.taus = K, V, taus

    def placed(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """K (d_in, n), Vᵀ (n, d_out) and which values are not zero (n,), on a device."""
        V = self.V.T.contiguous().to(device)
        return self.K.to(device), V, V.any(1)

    def decide(self, inputs: Tensor, output: Tensor, seqs: Sequences) -> Tensor:
        """The entry that answers each prompt, -1 for none; notes cosine and threshold."""
        query = self.query.of(inputs, seqs)
        cosines = self.dynamics.cosines(self.on(inputs.device)[0], query)
        score, entry = nearest(cosines)
        least = torch.full_like(score, self.tau)
        if self.taus is not None:  # the nearest of those that are reached, or of all if none is
            taus = self.taus.to(score)
            best, other = nearest(cosines.masked_fill(cosines <= taus, -1.0))
            score, entry = torch.where(best > -1, best, score), torch.where(best > -1, other, entry)
            least = taus[entry]
        self.note(seqs, score=score, threshold=least)
        return torch.where(score > least, entry, -1)

    def apply(self, inputs: Tensor, output: Tensor, choice: Tensor, seqs: Sequences) -> Tensor:
        """`output` with the chosen values added at the prompts' ends; itself without any."""
        _, V, moves = self.on(output.device)
        if not len(V):
            return output
        hit = (choice >= 0) & moves[choice.clamp(min=0)]
        columns = torch.arange(seqs.ids.shape[1], device=seqs.ids.device)
        ends = seqs.prompt & (columns == seqs.last.to(columns.device)[:, None])
        places = ends[:, -output.shape[1] :] & hit[:, None]
        if not bool(places.any()):
            return output
        moved = (output.float() + V[choice.clamp(min=0)][:, None]).to(output.dtype)
        return torch.where(places[..., None], moved, output)

    def tensors(self) -> dict[str, Tensor]:
        """Keys and values, and the thresholds of entries where they differ."""
        found = {"K": self.K, "V": self.V}
        return found if self.taus is None else {**found, "taus": self.taus}

    def header(self) -> dict:
        """Where it stands, and how it decides."""
        how = {**self.query._asdict(), **self.dynamics._asdict()}
        return {"module": self.module, **how, "tau": self.tau}

    @classmethod
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Hopfield:
        """The route of a file; ValueError where its parts do not belong together."""
        head = convert(header, HopfieldHeader)
        check_names("the codebook", tensors, ("K", "V", *(["taus"] if "taus" in tensors else [])))
        K, V, taus = tensors["K"], tensors["V"], tensors.get("taus")
        check_tensor("K", K, (-1, -1), torch.float32)
        check_tensor("V", V, (-1, K.shape[1]), torch.float32)
        if taus is not None:
            check_tensor("taus", taus, (K.shape[1],), torch.float32)
        query = Query(head.share, head.exclude_sink, head.mean_of)
        dynamics = Dynamics(head.beta, head.alpha, head.rounds)
        return cls(head.module, K, V, query, dynamics, head.tau, taus)

    @property
    def widths(self) -> tuple[int, int]:
        """Widths of keys and values."""
        return self.K.shape[0], self.V.shape[0]
