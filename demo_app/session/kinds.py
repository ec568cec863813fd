"""What kind of thing a subject is, by what the model itself makes of its name.

A neighbor of a visitor's fact should be a subject of the same kind: of the Danube another river.
The page has a list of well-known names by their kinds (stored/names.json). Names of one kind have
states near each other behind "… is a", so a subject is of the kind whose names it is nearest to, by
a linear discriminant: d_c(x) = μ_cᵀ Σ⁻¹ x − ½ μ_cᵀ Σ⁻¹ μ_c, with one covariance Σ for all kinds.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

import lib
from lib.data.relations import bare
from lib.model import activations
from lib.stored import remembered

NAMES = Path(__file__).parents[1] / "stored" / "names.json"
PROMPT = "{} is a"
DEPTH = 0.8  # of the block whose input is compared
READ = 8  # names of each kind from which the kinds are learned
SHRINK = 0.6  # share of the covariance that gives way to a multiple of the identity
SURE = 0.5  # probability of a kind from which on a subject is said to be of it


@cache
def named() -> dict[str, tuple[str, ...]]:
    """{kind: names of it}, those first of which the embedded model is surest."""
    held = json.loads(NAMES.read_text(encoding="utf-8"))
    return {kind: tuple(names) for kind, names in held["kinds"].items()}


def states(lm: lib.LM, names: list[str]) -> Tensor:
    """The unedited model's states (n, d) behind "… is a"."""
    block = min(round(DEPTH * lm.n_layers), lm.n_layers - 1)
    with lm.patched(lib.EMPTY, only=True):
        texts = [PROMPT.format(name) for name in names]
        return activations.states_at_ends(lm, texts, block).float().cpu()


def learned(X: Tensor, labels: Tensor, kinds: int) -> tuple[Tensor, Tensor]:
    """Σ⁻¹ μ of each kind (d, kinds) and −½ μᵀ Σ⁻¹ μ (kinds,), from states X (n, d)."""
    M = torch.stack([X[labels == kind].mean(0) for kind in range(kinds)])  # (kinds, d)
    R = X - M[labels]
    S = R.T @ R / len(X)
    S = (1 - SHRINK) * S + SHRINK * S.diagonal().mean() * torch.eye(len(S))
    W = torch.linalg.solve(S, M.T)
    return W, -0.5 * (M.T * W).sum(0)


def of_model(lm: lib.LM) -> tuple[Tensor, Tensor]:
    """The discriminant of a model, read once from the first names of each kind."""

    def make() -> tuple[Tensor, Tensor]:
        pairs = [(name, i) for i, names in enumerate(named().values()) for name in names[:READ]]
        X = states(lm, [name for name, _ in pairs])
        return learned(X, torch.tensor([i for _, i in pairs]), len(named()))

    return remembered(("kinds", lm.stored_identity), make)


def kind_of(lm: lib.LM, subject: str) -> str | None:
    """The kind of a subject; None where the model is not sure of any.

    A name of the list is of the kind under which it stands.
    """
    for kind, names in named().items():
        if bare(subject) in map(bare, names):
            return kind
    W, b = of_model(lm)
    chances = (states(lm, [subject])[0] @ W + b).softmax(0)
    best = int(chances.argmax())
    return list(named())[best] if chances[best] >= SURE else None
