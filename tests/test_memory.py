"""Every closed form against its definition, `lstsq` on the stacked problem, and a case by hand."""

from __future__ import annotations

import pytest
import torch

from lib import memory

torch.manual_seed(0)
W = torch.randn(6, 10, dtype=torch.float64)
K0 = torch.randn(10, 40, dtype=torch.float64)
C = K0 @ K0.T / 40
K1 = torch.randn(10, 3, dtype=torch.float64)
V1 = torch.randn(6, 3, dtype=torch.float64)
close = {"atol": 1e-9, "rtol": 1e-9}


def test_fit_has_zero_gradient_and_equals_lstsq():
    V0 = torch.randn(6, 40, dtype=torch.float64)
    fitted = memory.fit(K0, V0)
    torch.testing.assert_close(
        (fitted @ K0 - V0) @ K0.T, torch.zeros(6, 10, dtype=torch.float64), **close
    )
    torch.testing.assert_close(fitted, torch.linalg.lstsq(K0.T, V0.T).solution.T, **close)
    few = memory.fit(K0[:, :4], V0[:, :4])  # fewer keys than dimensions: exact, and the shortest W
    torch.testing.assert_close(few @ K0[:, :4], V0[:, :4], **close)
    torch.testing.assert_close(few, V0[:, :4] @ torch.linalg.pinv(K0[:, :4]), **close)


def test_fit_by_hand():
    K, V = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(memory.fit(K, V), torch.tensor([[3.0, 2.0]]))


@pytest.mark.parametrize("n", [3, 40])
def test_ridge_in_both_forms_equals_the_stacked_problem(n):
    K, V = K0[:, :n], torch.randn(6, n, dtype=torch.float64)
    stacked = torch.cat([K, 0.7**0.5 * torch.eye(10, dtype=torch.float64)], 1)
    zeros = torch.zeros(6, 10, dtype=torch.float64)
    wanted = torch.linalg.lstsq(stacked.T, torch.cat([V, zeros], 1).T).solution.T
    torch.testing.assert_close(memory.ridge(K, V, 0.7), wanted, **close)
    by_hand = memory.ridge(torch.tensor([[1.0], [0.0]]), torch.tensor([[2.0]]), 1.0)
    torch.testing.assert_close(by_hand, torch.tensor([[1.0, 0.0]]))


def test_insert_by_hand():
    a, b = memory.insert(torch.eye(2), torch.tensor([1.0, 0.0]), torch.tensor([5.0, 7.0]))
    torch.testing.assert_close(a @ b, torch.tensor([[4.0, 0.0], [7.0, 0.0]]))


def test_insert_is_exact_rank_one_least_disturbing_and_free_of_scale():
    k, v = K1[:, 0], V1[:, 0]
    a, b = memory.insert(W, k, v, C)
    delta = a @ b
    torch.testing.assert_close((W + delta) @ k, v, **close)
    assert torch.linalg.matrix_rank(delta) == 1
    damage = torch.trace(delta @ C @ delta.T)
    for seed in range(20):  # any other change that also writes the pair disturbs C more
        N = torch.randn(6, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        N = N - (N @ k)[:, None] * k[None] / (k @ k)  # N k = 0
        other = delta + 0.1 * N
        assert torch.trace(other @ C @ other.T) > damage
    scaled = memory.insert(W, k, v, 7 * C)
    torch.testing.assert_close(scaled[0] @ scaled[1], delta, **close)


def test_expected_damage_is_the_residual_over_q():
    k, v = K1[:, 0], V1[:, 0]
    a, b = memory.insert(W, k, v, C)
    delta, q = v - W @ k, k @ torch.linalg.solve(C, k)
    damage = (a @ b @ K0).pow(2).sum(0).mean()  # over the very sample that made C
    torch.testing.assert_close(damage, delta @ delta / q, **close)


def test_insert_many_is_exact_and_equals_the_constrained_problem():
    a, b = memory.insert_many(W, K1, V1, C)
    delta = a @ b
    torch.testing.assert_close((W + delta) @ K1, V1, **close)
    one = memory.insert_many(W, K1[:, :1], V1[:, :1], C)
    single = memory.insert(W, K1[:, 0], V1[:, 0], C)
    torch.testing.assert_close(one[0] @ one[1], single[0] @ single[1], **close)
    # Lagrange: Δ C = M K1ᵀ and (W + Δ) K1 = V1, as one stacked least-squares system
    n = 3
    system = torch.zeros(10 + n, 10 + n, dtype=torch.float64)
    system[:10, :10], system[:10, 10:], system[10:, :10] = C, -K1, K1.T
    right = torch.cat([torch.zeros(10, 6, dtype=torch.float64), (V1 - W @ K1).T])
    torch.testing.assert_close(delta, torch.linalg.lstsq(system, right).solution[:10].T, **close)


def test_equal_keys_need_the_ridge_and_meet_in_the_middle():
    K = K1[:, :1].expand(-1, 2)
    V = V1[:, :2]
    a, b = memory.insert_many(W, K, V, C, ridge=1e-8)
    torch.testing.assert_close((W + a @ b) @ K1[:, 0], V.mean(1), atol=1e-6, rtol=1e-6)


def test_interference_predicts_every_later_change():
    keys = torch.randn(10, 5, dtype=torch.float64)
    rho, current = memory.interference(keys, C), W.clone()
    targets, residuals = torch.randn(6, 5, dtype=torch.float64), []
    for t in range(5):
        residuals.append(targets[:, t] - current @ keys[:, t])
        a, b = memory.insert(current, keys[:, t], targets[:, t], C)
        for j in range(5):
            torch.testing.assert_close(a @ b @ keys[:, j], rho[t, j] * residuals[t], **close)
        current = current + a @ b
    for j in range(5):
        later = sum((rho[i, j] * residuals[i] for i in range(j + 1, 5)), torch.zeros(6).double())
        torch.testing.assert_close(current @ keys[:, j] - targets[:, j], later, **close)


def test_interference_identities():
    rho, q = memory.interference(K1, C), torch.einsum("di,di->i", K1, torch.linalg.solve(C, K1))
    torch.testing.assert_close(rho.diagonal(), torch.ones(3, dtype=torch.float64), **close)
    torch.testing.assert_close(rho * q[:, None], (rho * q[:, None]).T, **close)
    torch.testing.assert_close(memory.interference(K1, 7 * C), rho, **close)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(C), K1, upper=False)
    cosine = torch.nn.functional.cosine_similarity(white.T[:, None], white.T[None], dim=2)
    torch.testing.assert_close(rho * rho.T, cosine**2, **close)
    whole = memory.interference(torch.cat([K1, K0], 1), C)[:3, 3:]
    torch.testing.assert_close(whole.pow(2).mean(1), 1 / q, **close)
    torch.testing.assert_close(memory.interference(torch.eye(4)), torch.eye(4))
    torch.testing.assert_close(memory.gram(K1), K1.T @ K1)


def test_a_singular_moment_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="not positive definite"):
        memory.Moment(K0[:, :4] @ K0[:, :4].T)
    torch.testing.assert_close(memory.Moment(C).solve(K1), torch.linalg.solve(C, K1), **close)
