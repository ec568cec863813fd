"""The checks of notebooks 09 and 10 name each mistake, and can be solved."""

from __future__ import annotations

import torch

import lib
from notebooks.support import checks_10_ultraedit as checks_10
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


def merge(mean=lambda a, b, n: (a[0] * a[1] + b[0] * b[1]) / n, between=lambda a, b, n: a * b / n):
    """An answer to 10's first exercise: the mean, and the weight of δ²."""

    def function(a, b):
        n = a[0] + b[0]
        return n, mean(a, b, n), a[2] + b[2] + (b[1] - a[1]) ** 2 * between(a[0], b[0], n)

    return function


MERGE = {
    "not attempted": lambda a, b: "not attempted",
    "a state is": lambda a, b: a[1],
    "n is 7": lambda a, b: a,
    "by its count": merge(mean=lambda a, b, n: (a[1] + b[1]) / 2),
    "the two means differ": merge(between=lambda a, b, n: 0),
    "n, not 1": merge(between=lambda a, b, n: 1),
    "not n_a n_b": merge(between=lambda a, b, n: a * b),
    "solved": merge(),
}


def test_a_merge_that_divides_by_nothing_is_named():
    def function(a, b):
        n, mean, S = merge()(a, b)
        return n, mean, S * (a[0] - 1) / torch.tensor(a[0] - 1)

    assert "not a finite number" in checks_10.merge(function)


BOUND = {
    "not attempted": lambda n: None,
    "without the mean": lambda n: n**0.5,
    "divides S by n": lambda n: (n - 1) ** 0.5,
    "not yet over": lambda n: (n - 1) / n,
    "no row of that many": lambda n: 10.0 * n,
    "one row apart": lambda n: 0.1,
    "solved": lambda n: (n - 1) / n**0.5,
}


def turn(
    center=1.0,
    length=lambda k, k_hat: k_hat.square().sum(0),
    keys=lambda k, k_hat: k,
    sign=-1,
    ridge=1.0,
):
    """An answer to 10's third exercise, with a part of it exchanged."""

    def function(K, G, mean_k, sigma_k, mean_g, sigma_g, eta, strength):
        k_hat = (K - mean_k[:, None]) / sigma_k[:, None]
        g_hat = (G - center * mean_g[:, None]) / sigma_g[:, None]
        V = sign * eta * length(K, k_hat) * g_hat
        X = keys(K, k_hat)
        if not ridge:
            return V @ torch.linalg.pinv(X)
        return V @ torch.linalg.solve(X.T @ X + strength * torch.eye(X.shape[1]).to(X), X.T)

    return function


TURN = {
    "not attempted": lambda *given: "not attempted",
    "Δ is (d_out, d_in)": lambda K, G, *rest: K @ G.T,
    "downhill": turn(sign=1),
    "not of k.": turn(length=lambda k, k_hat: k.square().sum(0)),
    "not ‖k̂‖.": turn(length=lambda k, k_hat: k_hat.norm(dim=0)),
    "a mean is taken off": turn(center=0.0),
    "standardized, too": lambda K, G, a, b, c, d, eta, s: turn()(
        K, G, a, b, 0 * c, 1 + 0 * d, eta, s
    ),
    "K and not K̂": turn(keys=lambda k, k_hat: k_hat),
    "where is λ": turn(ridge=0),
    "off by": turn(sign=-2),
    "solved": turn(),
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
