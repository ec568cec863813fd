"""Superposition is the overlap of a layer's keys, measured by the matrices ρ and Q.

The measures come from *Knowledge in Superposition* (Hu et al., 2024, arXiv:2408.07413), whose P
matrix is ρ here. Writing key i adds the fraction ρ(i, j) of its residual at key j. An edit that
does not harm any other fact requires ρ(i, j) = 0, which means that keys are orthogonal after
whitening. Kurtosis shows little about the distance from that state, so rms ρ and the percentage
above a threshold are also given. All of it is computed in float64 on the CPU, using
`lib.associative_memory.interference`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import associative_memory as memory
from ..associative_memory import Moment
from ..data import as_facts
from ..data.facts import Case, Fact
from ..errors import ArgumentError
from ..keys_values.second_moment import second_moment
from ..model.lm import LM
from .probe_prompts import normal

THRESHOLDS = (0.01, 0.1)  # of |ρ|
FAR = 4.0  # the tail begins this many standard deviations from the mean


@dataclass(frozen=True, eq=False)
class Superposition:
    """Overlaps of the keys of n subjects in one layer, in float64.

    rho       (n, n) ρ(i, j) = k_iᵀC⁻¹k_j / q_i, the fraction of residual i added at key j.
    Q         (n, n) k_iᵀ k_j.
    q         (n,) k_iᵀC⁻¹k_i, squared lengths in the whitened space; their mean over text is d_in.
    subjects  The subjects' names, in the order of the keys.
    layer     The layer's number, if known.
    d_in      The length of a key.
    """

    rho: Tensor
    Q: Tensor
    q: Tensor
    subjects: tuple[str, ...]
    layer: int | None = None
    d_in: int = 0

    @classmethod
    def of(
        cls,
        K: Tensor,
        C: Tensor | Moment | None = None,
        subjects: Sequence[str] | None = None,
        layer: int | None = None,
    ) -> Superposition:
        """Return the overlaps of given keys K (d_in, n); C = None is the identity, as in `gram`.

        K = [[1, 1], [0, 1]], C = None -> ρ = [[1, 1], [0.5, 1]], Q = [[1, 1], [1, 2]], q = [1, 2].
        """
        K = K.detach().cpu().double()
        if K.ndim != 2 or K.shape[1] < 2:
            raise ArgumentError(
                f"Overlaps need at least two keys as columns, not {tuple(K.shape)}."
            )
        names = tuple(map(str, range(K.shape[1]) if subjects is None else subjects))
        if len(names) != K.shape[1]:
            raise ArgumentError(
                f"There are {K.shape[1]} keys, but {len(names)} subjects. Give one subject per key."
            )
        C = C.cpu().double() if isinstance(C, Tensor) else C
        q = (K * memory.whiten(K, C)).sum(0)
        return cls(memory.interference(K, C), memory.gram(K), q, names, layer, len(K))

    def __len__(self) -> int:
        return len(self.subjects)

    def __repr__(self) -> str:
        return f"Superposition(layer {self.layer}, {len(self)} subjects, {self.d_in} inputs)"

    @property
    def cosines(self) -> Tensor:
        """Return the whitened keys' cosines, (n, n), symmetric: ρ(i, j) ρ(j, i) is their square."""
        # ρ(i, j) = cos · ‖k̃_j‖/‖k̃_i‖
        length = self.q.sqrt()
        return self.rho * length[:, None] / length[None]

    @property
    def activation_cosines(self) -> Tensor:
        """Return the cosines of the keys without whitening, (n, n)."""
        length = self.Q.diagonal().sqrt()
        return self.Q / length[:, None] / length[None]

    def off_diagonal(self) -> Tensor:
        """Return the n(n − 1) entries ρ(i, j), i ≠ j, row by row."""
        return self.rho[~torch.eye(len(self), dtype=torch.bool)]

    def beyond(self, distances: Tensor) -> Tensor:
        """Return the proportion of off-diagonal entries farther from their mean than each distance.

        Distances are in standard deviations.
        """
        entries = self.off_diagonal()
        away = (entries - entries.mean()).abs() / entries.std(correction=0)
        return torch.stack([(away > one).double().mean() for one in distances])

    def statistics(self) -> dict[str, float]:
        """Return one row of numbers about the n(n − 1) off-diagonal entries of ρ, and the angles.

        mean, rms, std    Of the entries.
        kurtosis          Fisher's, biased; 0 for a Gaussian.
        share > 0.1       The proportion of |ρ| above a threshold.
        tail              The proportion of entries more than 4 std from the mean, divided by a
                          Gaussian's; 1 for a Gaussian.
        mean_q            The mean of q.
        whitened_angle    The median angle of the whitened keys in degrees; _5 and _95 are the 5th
                          and 95th percentiles over the pairs.
        activation_angle  The same for the keys without whitening.
        1/√d_in           The rms of random keys.
        """
        entries = self.off_diagonal()
        # a Gaussian has erfc(4/√2) = 6.3e-5 of its values beyond 4 std
        far = self.beyond(torch.tensor([FAR])).item()
        pairs = torch.triu_indices(len(self), len(self), 1)
        both = {"whitened_angle": self.cosines, "activation_angle": self.activation_cosines}
        angles: dict[str, float] = {}
        for name, cosines in both.items():
            each = torch.rad2deg(cosines[*pairs].clamp(-1, 1).acos())
            low, median, high = each.quantile(each.new_tensor([0.05, 0.5, 0.95])).tolist()
            angles |= {name: median, f"{name}_5": low, f"{name}_95": high}
        return {
            "layer": self.layer,
            "subjects": len(self),
            "d_in": self.d_in,
            "mean": entries.mean().item(),
            "rms": entries.pow(2).mean().sqrt().item(),
            "std": entries.std(correction=0).item(),
            "kurtosis": kurtosis(entries),
            **{
                f"share > {threshold:g}": (entries.abs() > threshold).double().mean().item()
                for threshold in THRESHOLDS
            },
            "tail": far / math.erfc(FAR / math.sqrt(2)),
            "mean_q": self.q.mean().item(),
            **angles,
            "1/√d_in": self.d_in**-0.5,
        }


def kurtosis(values: Tensor) -> float:
    """Return Fisher's kurtosis, biased, m₄/m₂² − 3, which is 0 for a Gaussian.

    NaN if all values are equal. [−1, 1] -> −2.
    """
    away = values.double() - values.double().mean()
    spread = away.pow(2).mean()
    return (away.pow(4).mean() / spread**2 - 3).item() if spread > 0 else math.nan


def superposition(
    lm: LM,
    subjects: as_facts.Given | Iterable[str | Fact | Case],
    layer: int | Sequence[int],
    prompt: str = "{}",
) -> Any:
    """Return the subjects' key overlaps in a layer; several layers give {layer: Superposition}.

    A Fact's key is read at its subject's last token in its own bare prompt; a string is inserted
    into `prompt`. If the tokenizer adds no BOS, a one-token subject beginning a prompt is read in
    the attention sink. All such subjects have almost the same key, so use facts or another prompt.
    Subjects that are equal up to case and white space count as one, keeping the first. Keys are
    read from the model using the currently applied patch. C is estimated from general text; to use
    another C, see `Superposition.of`.

    Raises FactError for a fact without a subject, ValueError for fewer than two distinct subjects.
    """
    layers = [layer] if isinstance(layer, int) else list(layer)
    facts = _distinct(subjects, prompt)
    keys = lm.keys(facts, layers)  # all layers are read at once
    names = [fact.subject for fact in facts]
    found = {  # one layer at a time, so that the second moments fit into memory
        one: Superposition.of(keys[one], second_moment(lm, [one], among=layers)[one], names, one)
        for one in layers
    }
    return found[layer] if isinstance(layer, int) else found


def _distinct(subjects: as_facts.Given | Iterable[str | Fact | Case], prompt: str) -> list[Fact]:
    """Return the facts whose keys are read, each subject once."""
    found: dict[str, Fact] = {}
    # the answer is never read, only the subject's last token
    for fact in as_facts.facts(subjects, lambda subject: Fact(subject, prompt, "?")):
        found.setdefault(normal(fact.subject or fact.prompt), fact)
    if len(found) < 2:
        raise ArgumentError(f"Overlaps need at least two distinct subjects, not {len(found)}.")
    return list(found.values())
