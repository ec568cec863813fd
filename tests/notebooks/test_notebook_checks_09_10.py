"""Answers to notebook 09's exercise, right and wrong; moments of notebook 10 that stay frozen."""

from __future__ import annotations

import torch

import lib
from notebooks.support import models
from notebooks.support import runs_10_ultraedit as runs_10


def ridge(right=lambda H, V, K, G, lam: H @ K, ell=lambda lam, inner: -lam * inner):
    """An answer to 09's exercise; `right` gives ∂L/∂V, `ell` ∂L/∂ℓ from λ and ⟨H, ΔW⟩."""

    def function(G, K, V, log_ridge):
        lam = log_ridge.exp()
        M = K @ K.T + lam * torch.eye(len(K), dtype=K.dtype)
        H = G @ torch.linalg.inv(M)
        inner = (H * (V @ K.T @ torch.linalg.inv(M))).sum()
        return right(H, V, K, G, lam), ell(lam, inner)

    return function


RIDGE = {
    "not attempted": lambda *given: "not attempted",
    "return two": lambda *given: (1.0,),
    "has shape": ridge(right=lambda H, V, K, G, lam: H),
    "where is the inverse": ridge(right=lambda H, V, K, G, lam: G @ K),
    "one number": ridge(ell=lambda lam, inner: torch.zeros(3)),
    "the sign": ridge(ell=lambda lam, inner: lam * inner),
    "that is ∂L/∂λ": ridge(ell=lambda lam, inner: -inner),
    "not ℓ": ridge(ell=lambda lam, inner: -lam.log() * inner),
    "solved": ridge(),
}


def test_moments_of_the_first_turn_stay_frozen_and_lifelong_ones_do_not():
    lm = models.load("tiny")
    facts = [lib.Fact(None, f"The number {i} is", "odd" if i % 2 else "even") for i in range(8)]
    moved = {}
    for way in ("lifelong", "first turn"):
        editor = runs_10.Lifelong(lm, (), runs_10.STREAM).editor(way)
        first = editor.edit(facts[:4])
        second = editor.edit(facts[4:], after=first)
        means = [
            next(iter(patch.memory["ultraedit"]["moments"].values()))["keys"]["mean"]
            for patch in (first, second)
        ]
        moved[way] = (means[0] - means[1]).norm().item()
    assert moved["first turn"] == 0 < moved["lifelong"]
