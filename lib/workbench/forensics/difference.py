"""The differences between a model's weights and their base, by matrix, and possible methods.

With the base model available, nothing has to be identified for undoing an edit: the base is the
model before it. The remaining question is what was done, by how many edits, about whom. Each family
of methods leaves a differently shaped difference (`Difference.signature`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...cancellation import finished, steps
from ...errors import ForensicsError
from ...evaluation.results import Table
from ...keys_values.second_moment import second_moment
from ...model.architectures import dense
from ...model.batching import grouped
from ...model.lm import LM
from ...patch.patch import EMPTY, Patch
from .candidates import PREFIX, measured
from .signatures import signature

T = TypeVar("T")
EDGE = 4.0  # a singular value counts above this many noise edges: int8's values reach 3.1 …
ROUNDING = (
    1e-5  # … and this fraction of the largest: float32 rounds large entries more than small ones
)
TOP = 32  # maximum number of singular vectors of a change to examine
FEW = 10  # read C for up to this many changed output projections: it takes seconds per layer
INSIDE = 1e-3  # of a unit vector may be outside a null space, or the amount explained by the noise


@dataclass(frozen=True)
class Change:
    """ΔW of one matrix, to the extent that it is above its noise.

    U  (d_out, r) left singular vectors, S (r,) singular values, V (d_in, r) right singular vectors.
    """

    U: Tensor
    S: Tensor
    V: Tensor


@dataclass(frozen=True)
class Difference:
    """The matrices in which two models differ.

    table      one row per changed matrix of a block; columns below.
    changes    {module: its change of rank r, at most 32}.
    elsewhere  changed parameters other than matrices of a block: embeddings, norms, biases.

    change       ‖ΔW‖_F / ‖W₀‖_F.
    norm         ‖ΔW‖₂, the largest singular value.
    rank         singular values above four times the edge of the noise and 1e-5 of the largest; a
                 lower bound on the number of edits.
    noise        that edge: the end of the singular values of a random matrix with the same median.
    tail         fraction of ‖ΔW‖²_F missing from these singular values.
    zeros        fraction of entries that did not change at all.
    piled        fraction of the entries within 1% of the largest.
    null         the smallest fraction of C's directions, least used first, that holds the top right
                 vectors except for a length of 1e-3, or of noise/norm. nan if C was not read.
    next         mean cosine of the principal angles to the left vectors of the next changed layer's
                 matrix of the same kind; nan without one.
    """

    table: pd.DataFrame
    changes: dict[str, Change]
    elsewhere: tuple[str, ...]

    @property
    def edits(self) -> int:
        """A lower bound on the number of edits: the largest rank above the noise."""
        return int(self.table["rank"].max()) if len(self.table) else 0

    @property
    def signature(self) -> str:
        """One sentence naming a cause consistent with the shape of the difference."""
        return signature(self.table, self.elsewhere)

    def __repr__(self) -> str:
        if not len(self.table):
            return self.signature
        return f"{Table(self.table)!r}\n{self.signature}"


def difference(
    base: LM, suspect: LM | None = None, patch: Patch = EMPTY, text: str | None = None
) -> Difference:
    """Return the difference between a suspect's weights and its base's.

    suspect  another model of the same shape; None uses the base itself, under the patch
    patch    of the base
    text     a file of general text for C of the base, as in `second_moment`

    C is read for the MLPs' output projections if at most ten of them changed. Raises ForensicsError
    for a model of another shape, or when given both a suspect and a patch.
    """
    return finished(compare(base, suspect, patch, text))


def compare(
    base: LM, suspect: LM | None = None, patch: Patch = EMPTY, text: str | None = None
) -> Generator[float, None, Difference]:
    """Compute `difference` in steps of one matrix each, yielding the fraction of matrices done."""
    if suspect is not None and patch:
        raise ForensicsError(
            "The suspect is either another model or the base under a patch. Give only one of them."
        )
    pairs, elsewhere = _pairs(base, suspect, patch)
    rows, changes = [], {}
    for done, module in enumerate(steps(pairs, "matrices compared")):
        yield done / len(pairs)
        W0 = base.weight(module).cpu()
        W1 = (base.weight(module, patch) if suspect is None else suspect.weight(module)).cpu()
        if torch.equal(W0, W1):
            continue
        row, changes[module] = _row(module, W0, W1 - W0)
        rows.append(row)
    table = pd.DataFrame(rows, columns=_COLUMNS).set_index("module")
    _add_null(base, table, changes, text)
    _add_next(base, table, changes)
    return Difference(table, changes, elsewhere)


def subjects(
    base: LM, found: Difference, names: Sequence[str], prefix: str = PREFIX, text: str | None = None
) -> pd.DataFrame:
    """Return candidates by how well their keys explain a difference, starting with the best.

    names   candidate subjects; or whole prompts, with the prefix "{}"
    prefix  text before a candidate

    name   the candidate.
    score  ‖Π k‖/‖k‖ for the projector Π on span(C V) of the top right vectors V, mean over the
           changed layers: 1 for a key written using this C (k ∝ C v).

    The keys are the base model's, in changed output projections of MLPs. Raises ForensicsError if
    none of these changed above its noise.
    """

    def bases(change: Change, C: Tensor) -> Tensor:
        return torch.linalg.qr(C @ change.V)[0]  # (d_in, r), orthonormal

    spans = _of_layers(base, found, bases, text)
    shares = measured(
        base,
        names,
        list(spans),
        lambda layer, K: (K @ spans[layer]).norm(dim=1) / K.norm(dim=1),
        prefix=prefix,
    )
    table = pd.DataFrame({"name": list(names), "score": shares.mean(0).tolist()})
    return table.sort_values("score", ascending=False, ignore_index=True)


def _of_layers(
    base: LM, found: Difference, make: Callable[[Change, Tensor], T], text: str | None
) -> dict[int, T]:
    """Return {layer: result of `make` for its change and C}: MLP output projections above noise."""
    layers = _outputs(base, found.table)
    if not layers:
        raise ForensicsError(
            "No output projection of an MLP changed above its noise, so no subject can be named."
        )
    C = second_moment(base, list(layers), text)
    return {layer: make(found.changes[m], C[layer].C.float()) for layer, m in layers.items()}


def _outputs(base: LM, table: pd.DataFrame) -> dict[int, str]:
    """Return {layer: module} of the output projections of MLPs that changed above their noise."""
    where = {base.mlp_out(layer): layer for layer in range(base.n_layers)}
    return {where[m]: m for m in table.index if m in where and table["rank"][m] > 0}


_COLUMNS = [
    "module", "change", "norm", "rank", "noise", "tail", "zeros", "piled",
]  # fmt: skip


def _pairs(base: LM, suspect: LM | None, patch: Patch) -> tuple[list[str], tuple[str, ...]]:
    """Return modules with a matrix that may differ, and the other parameters that do."""
    if suspect is None:
        base.check(patch)
        return list(patch.weights), ()
    here, there = (dict(lm.model.named_parameters()) for lm in (base, suspect))
    shapes = [{name: tuple(p.shape) for name, p in one.items()} for one in (here, there)]
    if shapes[0] != shapes[1]:
        differ = sorted(set(shapes[0].items()) ^ set(shapes[1].items()))
        raise ForensicsError(
            f"{suspect.name} does not have the shape of {base.name}: {differ[0][0]} differs."
        )
    matrices, elsewhere = [], []
    for name, p in here.items():
        if torch.equal(*(dense(one.detach(), False).cpu() for one in (p, there[name]))):
            continue
        if name.startswith(f"{base.arch.blocks}.") and p.ndim == 2:
            matrices.append(name.removesuffix(".weight"))
        else:
            elsewhere.append(name)
    return matrices, tuple(elsewhere)


def _row(module: str, W0: Tensor, D: Tensor) -> tuple[tuple, Change]:
    """Return the row of a matrix, and its change above the noise."""
    U, S, Vh = torch.linalg.svd(D.double(), full_matrices=False)
    edge = noise_edge(S, D.shape)
    rank = int((S > max(EDGE * edge, ROUNDING * S[0].item())).sum())
    r = min(TOP, max(1, rank))
    size, whole = D.norm().item(), W0.norm().item()
    largest = D.abs().max().item()
    row = (
        module,
        size / whole if whole else float("inf"),
        S[0].item(),
        rank,
        edge,
        (S[rank:].square().sum() / S.square().sum()).item(),
        (D == 0).double().mean().item(),
        (D.abs() >= 0.99 * largest).double().mean().item(),
    )
    return row, Change(U[:, :r].float(), S[:r].float(), Vh[:r].T.float())


def noise_edge(S: Tensor, shape: Sequence[int]) -> float:
    """Return the end of the singular values of noise, from the median of all singular values.

    For independent entries of equal variance, the squared values follow the Marchenko–Pastur law,
    in which the median determines the edge. Rounding of every kind produces noise of this sort, so
    there is no need for naming it. A change whose rank is more than half of the full rank moves the
    median, leaving fewer values above the edge than its rank. Idea: M. Gavish and D. L. Donoho,
    "The optimal hard threshold for singular values is 4/√3" (2014).
    """
    small, large = sorted(shape)
    return (S.median() * (1 + (small / large) ** 0.5) / _median(small / large) ** 0.5).item()


@cache
def _median(beta: float) -> float:
    """Return the median of the Marchenko–Pastur law with aspect β ≤ 1 and variance 1."""
    low, high = (1 - beta**0.5) ** 2, (1 + beta**0.5) ** 2
    x = np.linspace(low, high, 20_001)[1:-1]
    density = np.sqrt((high - x) * (x - low)) / x
    return float(x[np.searchsorted(np.cumsum(density) / density.sum(), 0.5)])


def _add_null(base: LM, table: pd.DataFrame, changes: dict[str, Change], text: str | None) -> None:
    """Add the column `null` if reading C is cheap."""
    table["null"] = np.nan
    layers = _outputs(base, table)
    if not 0 < len(layers) <= FEW:
        return
    for layer in layers:
        # all layers in one pass over the text, if any is missing on the disk
        C = second_moment(base, [layer], text, damping=1e-4, among=list(layers))[layer].C
        values, vectors = torch.linalg.eigh(C)
        V = changes[layers[layer]].V.double()
        parts = (vectors.T @ V).square()  # (d_in, r): fractions of each vector, least used first
        # length of v outside the r least used directions, for the worst v, for r = d_in … 1
        outside = parts.flip(0).cumsum(0).max(1).values.sqrt()
        row = table.loc[layers[layer]]
        allowed = max(INSIDE, row["noise"] / changes[layers[layer]].S[-1].item())
        needed = len(values) - int((outside < allowed).sum())
        table.loc[layers[layer], "null"] = needed / len(values)


def _add_next(base: LM, table: pd.DataFrame, changes: dict[str, Change]) -> None:
    """Add the column `next` from the principal angles of neighboring layers' left vectors."""
    table["next"] = np.nan
    prefix = f"{base.arch.blocks}."
    parts = {module: module.removeprefix(prefix).partition(".") for module in table.index}
    kinds = grouped(
        (kind, (int(layer), module))
        for module, (layer, _, kind) in parts.items()
        if layer.isdigit() and table["rank"][module] > 0
    )
    for some in kinds.values():
        for (_, one), (_, other) in pairwise(sorted(some)):
            cosines = torch.linalg.svdvals(changes[one].U.T @ changes[other].U)
            table.loc[one, "next"] = cosines.mean().item()
