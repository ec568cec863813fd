"""The checks of notebooks 09 and 10 name each mistake, and can be solved."""

from __future__ import annotations

import pytest
import torch

from notebooks.support import checks_09_learning_to_edit as checks_09
from notebooks.support import checks_10_ultraedit as checks_10


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


@pytest.mark.parametrize("word", RIDGE)
def test_the_check_of_the_ridge_gradient_names_the_mistake(word):
    said = checks_09.by_ridge(RIDGE[word])
    assert word in said and said.startswith("solved") == (word == "solved"), said


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


@pytest.mark.parametrize("word", MERGE)
def test_the_check_of_the_merge_names_the_mistake(word):
    said = checks_10.merge(MERGE[word])
    assert word in said and said.startswith("solved") == (word == "solved"), said


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


@pytest.mark.parametrize("word", BOUND)
def test_the_check_of_the_bound_names_the_mistake(word):
    said = checks_10.bound(BOUND[word])
    assert word in said and said.startswith("solved") == (word == "solved"), said
