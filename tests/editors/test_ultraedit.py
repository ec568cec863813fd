"""Features of a turn, running moments, and UltraEdit's turns, against their definitions."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.errors import EditError
from lib.keys_values import answer_gradients
from lib.keys_values.running_moments import KeyGradientMoments, RunningMoments
from lib.patch.patch import LowRank

from ..support import tiny

FACTS = [
    lib.Fact(None, "I saw the old tower", "xyz"),
    lib.Fact(None, "A cat sat on the", "qz"),
    lib.Fact(None, "The tower of Pisa leans to", "xy"),
    lib.Fact(None, "Who", "abcde"),
    lib.Fact(None, "Seven", "qz"),
]
SETTINGS = {"down": (1, 2), "step": 0.05, "warmup": "none"}


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def dense(lm, patch, layer):
    name = lm.mlp_out(layer)
    return lm.weight(name, patch) - lm.weight(name)


# ---- moments ------------------------------------------------------------------------------------


def test_any_split_gives_the_moments_of_the_union():
    torch.manual_seed(0)
    x = torch.randn(5, 40).double() * 3 + 7
    for sizes in ([40], [1, 39], [13, 1, 1, 25], [1] * 40):
        state, order = RunningMoments.empty(5, full=True), torch.randperm(40)
        for part in x[:, order].split(sizes, 1):
            state = state.merge(part)
        assert state.n == 40
        torch.testing.assert_close(state.mean, x.mean(1), atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(state.deviation, x.std(1), atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(state.scatter / 39, x.cov(), atol=1e-10, rtol=1e-10)


def test_two_workers_merge_to_one():
    x = torch.randn(3, 10).double()
    assert RunningMoments.empty(3).merge(x[:, :0]).n == 0
    one = RunningMoments.empty(3).merge(x[:, :1])
    torch.testing.assert_close(one.standardize(x[:, :1]), torch.zeros(3, 1).double())


def test_whitened_gradients_have_the_covariance_they_should():
    torch.manual_seed(1)
    mix = torch.randn(6, 6).double()
    x = mix @ torch.randn(6, 50).double()
    state = RunningMoments.empty(6, full=True).merge(x)
    wanted = (50 - 6 - 1) / (50 - 1) * torch.eye(6).double()
    torch.testing.assert_close(state.whiten(x).cov(), wanted, atol=1e-8, rtol=1e-8)
    Q = torch.linalg.qr(torch.randn(6, 6).double()).Q
    turned = RunningMoments.empty(6, full=True).merge(Q @ x)
    torch.testing.assert_close(turned.whiten(Q @ x), Q @ state.whiten(x), atol=1e-8, rtol=1e-8)
    few = RunningMoments.empty(6, full=True).merge(x[:, :7])
    torch.testing.assert_close(few.whiten(x), few.standardize(x))


# ---- features -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma3_text", "falcon"])
def test_in_the_last_block_features_give_the_weight_gradient(family):
    lm = tiny.model(family)
    name, fact = lm.mlp_out(3), FACTS[0]
    found = answer_gradients.read(lm, [fact], [name])[name]
    W = lm.weight(name).clone().requires_grad_()
    rows, _ = lm.rows([fact.text])
    target = lib.data.facts.encode_target(lm.tokenizer, fact.target_new)
    ids = torch.tensor([[*rows[0], *target[:-1]]])
    real = torch.ones_like(ids, dtype=torch.bool)
    with lm.bind({name: W}), torch.enable_grad():
        hidden = lm.backbone(ids, real, use_cache=False).last_hidden_state
        log_probs = lm.head(hidden[0, len(rows[0]) - 1 :]).log_softmax(-1)
        loss = -log_probs.gather(1, torch.tensor(target)[:, None]).mean()
        (wanted,) = torch.autograd.grad(loss, W)
    if family in ("llama", "gpt2"):  # elsewhere a norm or a sum stands behind the module
        torch.testing.assert_close(found.G @ found.K.T, wanted, atol=1e-5, rtol=1e-3)
    assert torch.isfinite(found.G).all() and found.G.abs().sum() > 0


def test_one_pass_equals_one_pass_per_group(lm, monkeypatch):
    names = [lm.mlp_out(1), lm.mlp_out(2)]
    together = answer_gradients.read(lm, FACTS, names, group=2)
    monkeypatch.setattr(answer_gradients, "TOKENS", 1)  # every fact in a pass of its own
    alone = answer_gradients.read(lm, FACTS, names, group=2)
    for name in names:
        torch.testing.assert_close(together[name].K, alone[name].K, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together[name].G, alone[name].G, atol=1e-6, rtol=1e-4)
        assert torch.equal(together[name].group, alone[name].group)


def test_partition_matters_for_group_mean_and_not_for_fact_mean(lm):
    def delta(**more):
        editor = lib.EDITORS["ultraedit"](lm, **SETTINGS, **more)
        return dense(lm, editor.edit(FACTS), 1)

    base = delta(group=2)
    shuffled = lib.EDITORS["ultraedit"](lm, **SETTINGS, group=len(FACTS)).edit(FACTS[::-1])
    whole = delta(group=len(FACTS))
    torch.testing.assert_close(dense(lm, shuffled, 1), whole, atol=1e-5, rtol=1e-3)
    assert (base - whole).norm() > 1e-3 * whole.norm()
    one, other = (delta(group=g, reduction="fact_mean") for g in (2, 5))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


# ---- turns --------------------------------------------------------------------------------------


def test_a_turn_is_the_ridge_solution_of_the_wanted_shifts(lm):
    editor = lib.EDITORS["ultraedit"](lm, **SETTINGS)
    patch = editor.edit(FACTS)
    found = answer_gradients.read(lm, FACTS, [lm.mlp_out(1), lm.mlp_out(2)])
    both = KeyGradientMoments.empty(48, 32).merge(found.values())
    pair = found[lm.mlp_out(1)]
    k_hat, g_hat = both.standardize(pair)
    V = -(0.05 / 48) * k_hat.square().sum(0) * g_hat
    K = pair.K.double()
    delta = dense(lm, patch, 1).double()
    gradient = (delta @ K - V) @ K.T + 1.0 * delta  # of ‖ΔW K − V‖² + λ‖ΔW‖²
    assert gradient.norm() < 1e-4 * (V @ K.T).norm()


def test_columns_without_gradient_are_dropped():
    K, G = torch.randn(4, 3), torch.randn(5, 3)
    G[:, 1] = 0
    kept = answer_gradients.KeyGradients(K, G, torch.tensor([0, 0, 1])).nonzero()
    assert torch.equal(kept.K, K[:, [0, 2]]) and kept.group.tolist() == [0, 1]


def test_a_turn_without_any_gradient_leaves_weights_and_moments(lm, monkeypatch):
    editor = lib.EDITORS["ultraedit"](lm, **SETTINGS)
    first = editor.edit(FACTS)

    def nothing(*given, real=answer_gradients.read, **more):
        return {
            name: answer_gradients.KeyGradients(p.K, torch.zeros_like(p.G), p.group)
            for name, p in real(*given, **more).items()
        }

    monkeypatch.setattr(answer_gradients, "read", nothing)
    second = editor.edit(FACTS[:1], after=first)
    assert second.weights == first.weights
    one, two = (p.memory["ultraedit"]["moments"]["32x48"]["keys"]["n"] for p in (first, second))
    assert one == two


def test_a_lone_fact_needs_the_warm_up(lm):
    alone = lib.Fact(None, "Seven", "x")
    cold = lib.EDITORS["ultraedit"](lm, **{**SETTINGS, "down": (1,)})
    one_token = answer_gradients.read(lm, [lib.Fact(None, "Seven", "xy")], [lm.mlp_out(1)])
    assert one_token[lm.mlp_out(1)].K.shape[1] == 1
    assert dense(lm, cold.edit([lib.Fact(None, "Seven", "xy")]), 1).norm() == 0
    warm = lib.EDITORS["ultraedit"](lm, **{**SETTINGS, "warmup": "statistics"})
    patch = warm.edit([alone])
    assert dense(lm, patch, 1).norm() > 0
    kept = patch.memory["ultraedit"]["moments"]["32x48"]["keys"]["n"]
    assert kept > 256 and torch.equal(dense(lm, warm.edit([alone]), 1), dense(lm, patch, 1))


def test_a_loss_that_is_not_finite_is_named_and_changes_nothing(lm, monkeypatch):
    monkeypatch.setattr(lm, "head", lambda hidden, real=lm.head: real(hidden) * float("nan"))
    with pytest.raises(EditError, match="group 0 on is not finite"):
        lib.EDITORS["ultraedit"](lm, **SETTINGS).edit(FACTS)
    assert all(p.grad is None for p in lm.model.parameters())


def test_fused_and_missing_projections_are_refused():
    with pytest.raises(lib.errors.EditError, match="gate and up in one matrix"):
        lib.EDITORS["ultraedit"](tiny.model("phi3"), up=(1,)).edit(FACTS[:1])
    with pytest.raises(lib.errors.EditError, match="have no gate"):
        lib.EDITORS["ultraedit"](tiny.model("gpt2"), gate=(1,)).edit(FACTS[:1])
    with pytest.raises(ValueError, match="layer 9 does not exist"):
        lib.EDITORS["ultraedit"](tiny.model("gpt2"), up=(9,)).edit(FACTS[:1])


def test_stableedit_whitens_gradients(lm):
    settings = {**SETTINGS, "whiten": "gradient", "warmup": "statistics"}
    patch = lib.EDITORS["ultraedit"](lm, **settings).edit(FACTS)
    assert patch.memory["ultraedit"]["moments"]["32x48"]["grads"]["scatter"].shape == (32, 32)
    plain = lib.EDITORS["ultraedit"](lm, **{**settings, "whiten": None}).edit(FACTS)
    assert (dense(lm, patch, 1) - dense(lm, plain, 1)).norm() > 1e-3 * dense(lm, plain, 1).norm()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("whole", [False, True])
def test_one_number_that_is_not_finite_is_refused(lm, bad, whole, monkeypatch):
    name, made = lm.mlp_out(1), lib.EDITORS["ultraedit"](lm, **SETTINGS)
    spoiled = lm.weight(name).clone()
    spoiled[1, -1] = bad
    value = spoiled if whole else LowRank(((spoiled, torch.eye(spoiled.shape[1])),))
    monkeypatch.setattr(type(made), "write", lambda *_: lib.Patch({name: value}))
    with pytest.raises(lib.errors.EditError, match="NaN or infinite weights"):
        made.edit(FACTS[:2])
