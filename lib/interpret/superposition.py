"""How far a layer's keys overlap: the matrices ρ and Q, their tails, and the width of the layer.

From *Knowledge in Superposition* (Hu et al., 2024, arXiv:2408.07413), whose P matrix is ρ here.
Writing key i puts the share ρ(i, j) of its residual on key j, so an edit that harms no other fact
needs ρ(i, j) = 0: keys orthogonal after whitening. Kurtosis alone says little about how far they
are from it: rms ρ and the share above a threshold stand beside it.

Computed in float64 on the CPU; memory.py has the formulas, this file reads keys and counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from .. import memory
from ..data.facts import Fact
from ..keys_values.second_moment import second_moment
from ..memory import Moment
from ..model.lm import LM, load

THRESHOLDS = (0.01, 0.1)  # of |ρ|
FAR = 4.0  # standard deviations: where the tail begins
AT_ONCE = 4e9  # bytes of second moments held at a time: all layers of a small model, one of an 8B's

Moments = Tensor | Moment | Mapping[int, Tensor | Moment] | None


@dataclass(frozen=True, eq=False)
class Superposition:
    """Overlaps of the keys of n subjects in one layer, float64.

    rho (n, n): ρ(i, j) = k_iᵀC⁻¹k_j / q_i, the share of residual i that lands on key j.
    Q (n, n): k_iᵀ k_j. q (n,): k_iᵀC⁻¹k_i, squared lengths in the whitened space; over text their
    mean is d_in.
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
        """From keys K (d_in, n) themselves; C = None is the identity, as in `memory`.

        K = [[1, 1], [0, 1]], C = None -> ρ = [[1, 1], [0.5, 1]], Q = [[1, 1], [1, 2]], q = [1, 2].
        """
        K = K.detach().cpu().double()
        if K.ndim != 2 or K.shape[1] < 2:
            raise ValueError(f"overlaps need at least two keys as columns, not {tuple(K.shape)}")
        names = tuple(map(str, range(K.shape[1]) if subjects is None else subjects))
        if len(names) != K.shape[1]:
            raise ValueError(f"there are {K.shape[1]} keys, but {len(names)} subjects")
        C = C.cpu().double() if isinstance(C, Tensor) else C
        q = (K * memory.whiten(K, C)).sum(0)
        return cls(memory.interference(K, C), memory.gram(K), q, names, layer, len(K))

    def __len__(self) -> int:
        return len(self.subjects)

    def __repr__(self) -> str:
        return f"Superposition(layer {self.layer}, {len(self)} subjects, {self.d_in} inputs)"

    def take(self, which: Sequence[int]) -> Superposition:
        """The same for some of the subjects, by their places; ValueError for fewer than two."""
        if len(which) < 2 or not all(0 <= i < len(self) for i in which):
            raise ValueError(
                f"two or more of the {len(self)} distinct subjects can be taken, not {list(which)}"
            )
        i = torch.tensor(which)
        names = tuple(self.subjects[place] for place in which)
        return replace(self, rho=self.rho[i][:, i], Q=self.Q[i][:, i], q=self.q[i], subjects=names)

    @property
    def cosines(self) -> Tensor:
        """Cosines of the whitened keys, (n, n), symmetric: ρ(i, j) ρ(j, i) is their square."""
        # ρ(i, j) = cos · ‖k̃_j‖/‖k̃_i‖
        length = self.q.sqrt()
        return self.rho * length[:, None] / length[None]

    @property
    def activation_cosines(self) -> Tensor:
        """Cosines of the keys as they are, (n, n)."""
        length = self.Q.diagonal().sqrt()
        return self.Q / length[:, None] / length[None]

    def off_diagonal(self) -> Tensor:
        """The n(n − 1) entries ρ(i, j), i ≠ j, row by row."""
        return self.rho[~torch.eye(len(self), dtype=torch.bool)]

    def beyond(self, distances: Tensor) -> Tensor:
        """Share of the off-diagonal entries farther from their mean than each distance, in std."""
        entries = self.off_diagonal()
        away = (entries - entries.mean()).abs() / entries.std(correction=0)
        return torch.stack([(away > one).double().mean() for one in distances])

    def statistics(self) -> dict[str, float]:
        """One row of numbers about the n(n − 1) off-diagonal entries of ρ, and the angles.

        mean, rms, std; kurtosis (Fisher's, biased: 0 for a Gaussian); "share > 0.1" of |ρ|; "tail",
        the share that lies more than 4 std from the mean over the share of a Gaussian there (1 for
        a Gaussian); mean_q; whitened_angle and activation_angle, the median in degrees, with _5 and
        _95 its 5th and 95th percentile over the pairs; d_in, and 1/√d_in, the rms of random keys.
        """
        entries = self.off_diagonal()
        row = {
            "layer": self.layer, "subjects": len(self), "d_in": self.d_in,
            "mean": entries.mean().item(), "rms": entries.pow(2).mean().sqrt().item(),
            "std": entries.std(correction=0).item(), "kurtosis": kurtosis(entries),
        }  # fmt: skip
        for threshold in THRESHOLDS:
            row[f"share > {threshold:g}"] = (entries.abs() > threshold).double().mean().item()
        # a Gaussian has erfc(4/√2) = 6.3e-5 of its values beyond 4 std
        far = self.beyond(torch.tensor([FAR])).item()
        row["tail"] = far / math.erfc(FAR / math.sqrt(2))
        row["mean_q"] = self.q.mean().item()
        pairs = torch.triu_indices(len(self), len(self), 1)
        for name, cosines in (
            ("whitened_angle", self.cosines),
            ("activation_angle", self.activation_cosines),
        ):
            angles = torch.rad2deg(cosines[*pairs].clamp(-1, 1).acos())
            low, median, high = angles.quantile(angles.new_tensor([0.05, 0.5, 0.95])).tolist()
            row |= {name: median, f"{name}_5": low, f"{name}_95": high}
        row["1/√d_in"] = self.d_in**-0.5
        return row

    def pairs(self, k: int = 10) -> pd.DataFrame:
        """The k most entangled pairs, once each: i, j, ρ(i, j), ρ(j, i) and the whitened cosine.

        Sorted by |ρ(i, j)|; i is the one that does the greater harm when it is edited.
        """
        larger = torch.where(self.rho.abs() >= self.rho.T.abs(), self.rho, self.rho.T)
        above = torch.triu_indices(len(self), len(self), 1)
        best = larger[*above].abs().topk(min(k, above.shape[1])).indices
        rows, cosines = [], self.cosines
        for i, j in above[:, best].T.tolist():
            if self.rho[i, j].abs() < self.rho[j, i].abs():
                i, j = j, i
            rows.append({
                "i": self.subjects[i], "j": self.subjects[j], "ρ(i, j)": self.rho[i, j].item(),
                "ρ(j, i)": self.rho[j, i].item(), "cosine": cosines[i, j].item(),
            })  # fmt: skip
        return pd.DataFrame(rows)


def kurtosis(values: Tensor) -> float:
    """Fisher's kurtosis, biased: m₄/m₂² − 3, 0 for a Gaussian; NaN when all values are equal.

    [−1, 1] -> −2.
    """
    away = values.double() - values.double().mean()
    spread = away.pow(2).mean()
    return (away.pow(4).mean() / spread**2 - 3).item() if spread > 0 else math.nan


def superposition(
    lm: LM,
    subjects: Sequence[Fact | str],
    layer: int | Sequence[int],
    C: Moments = None,
    prompt: str = "{}",
) -> Any:
    """Overlaps of the subjects' keys in a layer; a list of layers gives {layer: Superposition}.

    A Fact's key is read at its subject's last token in its own prompt, bare; a string is put into
    `prompt`. A one-token subject that begins a prompt stands in the attention sink where the
    tokenizer adds no BOS: all of those have nearly one key, so give facts, or another prompt.
    Subjects equal up to case and white space are one subject: the first stays, since a repeated
    one is no overlap of two. Keys are those of the model as it is now, patches included.

    C     the second moment of the layer, or {layer: one}; None estimates it from general text

    Raises FactError for a fact without subject, ValueError for fewer than two distinct subjects.
    """
    layers = [layer] if isinstance(layer, int) else list(layer)
    if C is not None and not isinstance(C, Mapping):
        if len(layers) > 1:
            raise ValueError(f"one C was given for {len(layers)} layers: give {{layer: C}}")
        C = {layers[0]: C}
    facts = _distinct(subjects, prompt)
    keys = lm.keys(facts, layers)  # one read for all layers
    names = [fact.subject for fact in facts]
    found = {}
    size = 2 * 8 * len(keys[layers[0]]) ** 2  # C and its factor, float64
    step = max(1, int(AT_ONCE // size))
    for start in range(0, len(layers), step):
        group = layers[start : start + step]
        moments = second_moment(lm, group) if C is None else C
        for one in group:
            if one not in moments:
                raise ValueError(f"no C was given for layer {one}")
            found[one] = Superposition.of(keys[one], moments[one], names, one)
    return found[layer] if isinstance(layer, int) else found


def statistics(
    lm: LM,
    subjects: Sequence[Fact | str],
    layers: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    C: Moments = None,
    prompt: str = "{}",
) -> pd.DataFrame:
    """One row per layer and number of subjects: the numbers of `Superposition.statistics`.

    layers all of them by default. sizes: numbers of subjects, always the first ones, all by
    default. The fourth moment hangs on a few pairs, so kurtosis needs far more subjects than rms
    (default model, layer 0: 28 with 100 subjects and 16 with 181, rms 0.068 and 0.069).
    """
    layers = range(lm.n_layers) if layers is None else layers
    found = superposition(lm, subjects, list(layers), C, prompt)
    return pd.DataFrame(
        [one.take(range(n)).statistics() for one in found.values() for n in sizes or [len(one)]]
    )


def scaling(
    models: Sequence[LM | str | None],
    subjects: Sequence[Fact | str],
    depth: float | Sequence[float] = 0.2,
    prompt: str = "{}",
) -> pd.DataFrame:
    """One row per model and depth: how overlap falls with width.

    models   models, or names as `load` takes them, which are loaded one at a time and let go
    depth    layer as a share of the way up, 0 the first and 1 the last; several for several rows

    Columns: model, parameters (number), depth, and those of `statistics`. With three widths or
    more, `.attrs["exponent"]` is that of `exponent`.
    """
    rows = []
    for given in models:
        lm = given if isinstance(given, LM) else load(given)
        depths = [depth] if isinstance(depth, int | float) else list(depth)
        layers = [round(share * (lm.n_layers - 1)) for share in depths]
        found = superposition(lm, subjects, sorted(set(layers)), prompt=prompt)
        count = sum(p.numel() for p in lm.model.parameters())
        rows += [
            {"model": lm.name, "parameters": count, "depth": share, **found[one].statistics()}
            for share, one in zip(depths, layers, strict=True)
        ]
    table = pd.DataFrame(rows)
    table.attrs["exponent"] = exponent(table)
    return table


def exponent(table: pd.DataFrame) -> float | None:
    """The slope of log rms ρ over log d_in in a table of `scaling`: −0.5 for random keys.

    None with fewer than three widths. rms 0.1, 0.05, 0.025 at 100, 400, 1600 -> −0.5.
    """
    if table["d_in"].nunique() < 3:
        return None
    x, y = (torch.tensor(table[name].to_numpy(float)).log() for name in ("d_in", "rms"))
    x, y = x - x.mean(), y - y.mean()
    return ((x * y).sum() / (x * x).sum()).item()


def _distinct(subjects: Sequence[Fact | str], prompt: str) -> list[Fact]:
    """Facts to read keys from, each subject once."""
    found: dict[str, Fact] = {}
    for one in subjects:
        # the answer is never read, only the subject's last token
        fact = one if isinstance(one, Fact) else Fact(one, prompt, "?")
        name = " ".join((fact.subject or fact.prompt).casefold().split())
        found.setdefault(name, fact)
    if len(found) < 2:
        raise ValueError(f"overlaps need at least two distinct subjects, not {len(found)}")
    return list(found.values())
