"""Every closed form against its definition, `lstsq` on the stacked problem, and a case by hand."""

from __future__ import annotations

import pytest
import torch

from lib import associative_memory as memory

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


def root(A: torch.Tensor) -> torch.Tensor:
    """A symmetric positive definite A as R Rᵀ."""
    return torch.linalg.cholesky(A)


def stacked(parts: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The Δ that minimizes Σ‖Δ X − Y‖², by `lstsq` on all (X, Y) side by side."""
    X, Y = (torch.cat(side, 1) for side in zip(*parts, strict=True))
    return torch.linalg.lstsq(X.T, Y.T).solution.T


Kp = torch.randn(10, 4, dtype=torch.float64)
R1 = V1 - W @ K1


@pytest.mark.parametrize("n", [3, 30], ids=["n-form", "d-form"])
@pytest.mark.parametrize("kept", [None, Kp], ids=["new-only", "kept"])
@pytest.mark.parametrize("general", [C, None], ids=["C", "identity"])
def test_soft_inserts_equal_the_stacked_problem(n, kept, general):
    K, V = torch.randn(10, n).double(), torch.randn(6, n).double()
    a, b = memory.insert_many(W, K, V, general, strength=0.3, kept=kept)
    eye = torch.eye(10, dtype=torch.float64)
    whole = eye if general is None else C
    rows = [(0.3**0.5 * root(whole), torch.zeros(6, 10).double()), (K, V - W @ K)]
    if kept is not None:
        rows.append((kept, torch.zeros(6, 4).double()))
    torch.testing.assert_close(a @ b, stacked(rows), **close)
    gradient = (a @ b) @ (0.3 * whole + K @ K.T + (0 if kept is None else kept @ kept.T))
    torch.testing.assert_close(gradient, (V - W @ K) @ K.T, **close)


def test_one_family_soft_hard_and_single():
    hard = torch.matmul(*memory.insert_many(W, K1, V1, C))
    torch.testing.assert_close(
        torch.matmul(*memory.insert_many(W, K1, V1, C, strength=1e-10)), hard, atol=1e-6, rtol=1e-6
    )
    # EMMET's ε on the diagonal with C weighed by w is MEMIT with λ = wε
    w, eps = 100.0, 0.1
    U = torch.linalg.solve(w * C, K1)
    D = K1.T @ U + eps * torch.eye(3).double()
    emmet = R1 @ torch.linalg.solve(D, U.T)
    soft = torch.matmul(*memory.insert_many(W, K1, V1, C, strength=w * eps))
    torch.testing.assert_close(emmet, soft, **close)
    far = torch.matmul(*memory.insert_many(W, K1, V1, C, strength=1e12))
    first = R1 @ torch.linalg.solve(C, K1).T
    torch.testing.assert_close(1e12 * far, first, atol=0, rtol=1e-6)


def test_one_soft_fact_arrives_by_q_over_lambda_plus_q():
    k, v = K1[:, :1], V1[:, :1]
    q = (k.T @ torch.linalg.solve(C, k)).item()
    a, b = memory.insert_many(W, k, v, C, strength=q)  # λ = q: half of it
    torch.testing.assert_close(a @ (b @ k), (v - W @ k) / 2, **close)
    by_hand = memory.reach(torch.tensor([[2.0], [0.0]]), None, strength=4.0)
    torch.testing.assert_close(by_hand, torch.tensor([[0.25, 0.0]]))


def test_null_space_inserts_leave_what_is_kept_alone():
    few = K0[:, :4]
    space = memory.null_space(few @ few.T / 4, 1e-9)
    Q, P = space.Q, space.Q @ space.Q.T
    assert Q.shape == (10, 6) and space.share < 1e-12
    torch.testing.assert_close(P @ P, P, **close)
    a, b = memory.insert_null(W, K1, V1, Q, 0.5, kept=Kp)
    delta = a @ b
    torch.testing.assert_close(delta @ few, torch.zeros(6, 4).double(), atol=1e-10, rtol=0)
    torch.testing.assert_close(delta @ P, delta, **close)
    # the authors' form, d_in × d_in: Δ = R Kᵀ P (KpKpᵀP + KKᵀP + L2·I)⁻¹
    right = (Kp @ Kp.T + K1 @ K1.T) @ P + 0.5 * torch.eye(10).double()
    torch.testing.assert_close(delta, R1 @ K1.T @ P @ torch.linalg.inv(right), **close)
    rows = [(Q.T @ K1, R1), (Q.T @ Kp, torch.zeros(6, 4).double()),
            (0.5**0.5 * torch.eye(6).double(), torch.zeros(6, 6).double())]  # fmt: skip
    torch.testing.assert_close(delta, stacked(rows) @ Q.T, **close)
    everything = memory.insert_null(W, K1, V1, torch.eye(10).double(), 0.5)
    plain = memory.insert_many(W, K1, V1, None, strength=0.5)
    torch.testing.assert_close(everything[1], plain[1], **close)


def test_the_threshold_bounds_the_damage_and_the_quantile_counts_directions():
    values = torch.linalg.eigvalsh(C)
    tau = values[5].item() + 1e-9  # six directions are below
    space = memory.null_space(C, tau)
    assert space.Q.shape[1] == 6
    delta = torch.matmul(*memory.insert_null(W, K1, V1, space.Q, 0.1))
    damage = (delta @ K0).pow(2).sum(0).mean()  # over the sample that made C
    torch.testing.assert_close(damage, torch.trace(delta @ C @ delta.T), **close)
    assert 0 < damage <= tau * delta.norm() ** 2
    assert memory.null_space(C, quantile=0.4).Q.shape[1] == 4
    assert space.share == pytest.approx((values[:6].sum() / values.sum()).item())
    with pytest.raises(ValueError, match="No eigenvalue of C is below 1e-09"):
        memory.null_space(C, 1e-9)


def fold(insert) -> torch.Tensor:
    """W after three batches, each written by `insert(W, K, V, kept)` on the one before."""
    now, kept = W, None
    for K, V in BATCHES:
        a, b = insert(now, K, V, kept)
        now, kept = now + a @ b, K if kept is None else torch.cat([kept, K], 1)
    return now


BATCHES = [(torch.randn(10, n).double(), torch.randn(6, n).double()) for n in (3, 4, 2)]
ALL = tuple(torch.cat(side, 1) for side in zip(*BATCHES, strict=True))


def test_folds_with_kept_keys_equal_one_batch_and_without_do_not():
    Q = memory.null_space(C, quantile=0.7).Q

    def soft(now, K, V, kept):
        return memory.insert_many(now, K, V, C, strength=0.2, kept=kept)

    def null(now, K, V, kept):
        return memory.insert_null(now, K, V, Q, 0.2, kept=kept)

    for insert in (soft, null):
        whole = W + torch.matmul(*insert(W, *ALL, None))
        torch.testing.assert_close(fold(insert), whole, **close)
    forgetful = fold(lambda now, K, V, kept: soft(now, K, V, None))
    assert (forgetful - (W + torch.matmul(*soft(W, *ALL, None)))).norm() > 1e-3


def test_a_batch_does_not_know_the_order_of_its_facts():
    order = torch.tensor([2, 0, 1])
    a, b = memory.insert_many(W, K1, V1, C, strength=0.2)
    c, d = memory.insert_many(W, K1[:, order], V1[:, order], C, strength=0.2)
    torch.testing.assert_close(a @ b, c @ d, **close)


def test_lifelong_is_the_fold_in_one_step():
    K, V = ALL
    deltas, B = memory.lifelong(W, K, V, C)
    now = W
    for t in range(K.shape[1]):
        torch.testing.assert_close(deltas[:, t], V[:, t] - now @ K[:, t], **close)
        a, b = memory.insert(now, K[:, t], V[:, t], C)
        foreign = torch.randn(10, 7).double()
        rho = memory.interference(K[:, t : t + 1], C, foreign)
        torch.testing.assert_close(a @ (b @ foreign), deltas[:, t : t + 1] * rho, **close)
        now = now + a @ b
    torch.testing.assert_close(W + deltas @ B, now, **close)
    rho = memory.interference(K, C)
    later = deltas @ rho.tril(-1)  # Σ_{i>j} δ_i ρ(i, j)
    torch.testing.assert_close(now @ K, V + later, **close)
    torch.testing.assert_close(now @ K[:, -1], V[:, -1], **close)  # nothing came after the last


def test_writing_one_key_again_and_again_averages():
    k = K1[:, :1]
    c = (k.T @ torch.linalg.solve(C, k)).item()
    now, kept = W, None
    for n in range(4):  # the (n+1)-th write realizes c / (1 + (n+1) c) of its residual
        v = torch.randn(6, 1).double()
        a, b = memory.insert_many(now, k, v, C, strength=1.0, kept=kept)
        torch.testing.assert_close((b @ k).item(), c / (1 + (n + 1) * c), atol=1e-8, rtol=0)
        now, kept = now + a @ b, k if kept is None else torch.cat([kept, k], 1)
