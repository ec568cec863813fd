"""ρ, Q and their statistics: on keys that are known, on tiny models, and on the default one."""

from __future__ import annotations

import math

import pytest
import torch

from lib import Fact, classroom, second_moment
from lib.associative_memory import Moment
from lib.data.facts import lookup
from lib.evaluation.superposition import (
    Superposition,
    kurtosis,
    superposition,
)
from tests.support import tiny

WORDS = ["Rome", "the Louvre", "sheep", "Mont Blanc", "zinc", "Kyoto"]
FACTS = [Fact(word, "Tell me about {} now", "xy") for word in WORDS]


def normal(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def test_by_hand():
    found = Superposition.of(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), subjects=["a", "b"])
    assert found.rho.tolist() == [[1, 1], [0.5, 1]] and found.Q.tolist() == [[1, 1], [1, 2]]
    assert found.q.tolist() == [1, 2] and found.d_in == 2 and len(found) == 2
    assert found.off_diagonal().tolist() == [1, 0.5]
    assert found.beyond(torch.tensor([0.9, 1.1])).tolist() == [1, 0]
    row = found.statistics()
    assert row["mean"] == 0.75 and row["std"] == 0.25 and row["rms"] == pytest.approx(0.625**0.5)
    assert row["kurtosis"] == pytest.approx(-2) and row["share > 0.1"] == 1 and row["tail"] == 0
    assert row["whitened_angle"] == row["activation_angle_95"] == pytest.approx(45)
    assert row["mean_q"] == 1.5 and row["1/√d_in"] == pytest.approx(0.5**0.5)


def test_a_second_moment_whitens_by_hand():
    C = torch.diag(torch.tensor([4.0, 1.0]))  # k̃ = (1/2, 0) and (1/2, 1)
    for given in (C, Moment(C.double())):
        found = Superposition.of(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), given)
        torch.testing.assert_close(found.q, torch.tensor([0.25, 1.25]).double())
        torch.testing.assert_close(found.rho, torch.tensor([[1, 1], [0.2, 1]]).double())
        torch.testing.assert_close(found.cosines[0, 1], torch.tensor(0.2).double().sqrt())


def test_orthonormal_keys_do_not_interfere():
    K = torch.linalg.qr(normal(40, 12)).Q
    found = Superposition.of(K)
    torch.testing.assert_close(found.rho, torch.eye(12).double(), atol=1e-12, rtol=0)
    row = found.statistics()
    assert row["rms"] < 1e-12 and row["share > 0.01"] == 0
    assert row["whitened_angle_5"] == pytest.approx(90)


@pytest.mark.parametrize("d", [512, 1536])
def test_gaussian_keys_have_no_tail_and_the_rms_of_their_width(d):
    row = Superposition.of(normal(d, 128)).statistics()
    assert abs(row["kurtosis"]) < 0.3 and row["rms"] == pytest.approx(d**-0.5, rel=0.1)
    assert row["tail"] < 4 and row["mean_q"] == pytest.approx(d, rel=0.05)
    assert row["whitened_angle"] == pytest.approx(90, abs=0.2)


def test_symmetries():
    K, A = normal(30, 20), normal(30, 60, seed=1)
    C = A @ A.T / 60
    found, scaled = Superposition.of(K, C), Superposition.of(K, 7 * C)
    D = found.rho * found.q[:, None]
    torch.testing.assert_close(D, D.T)  # ρ(i, j) q_i = ρ(j, i) q_j
    torch.testing.assert_close(found.rho * found.rho.T, found.cosines**2)
    torch.testing.assert_close(found.rho, scaled.rho)
    torch.testing.assert_close(found.cosines, found.cosines.T)
    torch.testing.assert_close(found.rho.diagonal(), torch.ones(20).double())
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(C), K, upper=False)
    torch.testing.assert_close(
        found.cosines, torch.nn.functional.cosine_similarity(white[:, :, None], white[:, None], 0)
    )


def test_kurtosis_of_known_distributions():
    assert kurtosis(torch.tensor([-1.0, 1.0])) == pytest.approx(-2)
    assert abs(kurtosis(normal(200_000))) < 0.05
    uniform = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    assert kurtosis(uniform) == pytest.approx(-1.2, abs=0.02)
    assert math.isnan(kurtosis(torch.ones(4)))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_tiny_models_give_one_result_per_layer(family):
    lm = tiny.model(family)
    found = superposition(lm, FACTS, [0, 3])
    keys, moments = lm.keys(FACTS, [0, 3]), second_moment(lm, [0, 3])
    for layer in (0, 3):
        K, C = keys[layer].double(), moments[layer].C
        D = K.T @ torch.linalg.solve(C, K)
        torch.testing.assert_close(
            found[layer].rho, D / D.diagonal()[:, None], atol=1e-6, rtol=1e-6
        )
        torch.testing.assert_close(found[layer].Q, K.T @ K)
        assert found[layer].layer == layer and found[layer].subjects == tuple(WORDS)
    torch.testing.assert_close(superposition(lm, FACTS, 3).rho, found[3].rho)
    row = found[3].statistics()
    assert (row["layer"], row["subjects"], row["d_in"]) == (3, 6, 48) and not lm.model.training


def test_strings_stand_in_the_prompt_and_count_once():
    lm = tiny.model("llama")
    named = superposition(lm, [*WORDS, "KYOTO ", FACTS[2]], 1, prompt="Tell me about {} now")
    assert named.subjects == tuple(WORDS)
    torch.testing.assert_close(named.rho, superposition(lm, FACTS, 1).rho)
    bare = superposition(lm, WORDS, 1)
    assert (bare.rho - named.rho).abs().max() > 1e-3


def test_at_layer_0_of_the_default_model_the_last_token_is_the_key(default_lm):
    """The pairs at the top share their last token; nothing else puts them there."""
    chosen = (72, 10, 19, 69, 34, 74, 24, 126, 62, 23, 136, 80, 148, 64)
    facts = [case.fact for case in classroom() if case.id in chosen]
    read = [lookup(default_lm.tokenizer, fact) for fact in facts]
    last = {fact.subject: ids[at] for fact, (ids, at) in zip(facts, read, strict=True)}
    assert all(at > 0 for _, at in read)
    found = superposition(default_lm, facts, 0)
    larger = torch.maximum(found.rho.abs(), found.rho.abs().T).triu(1).flatten()
    best = [divmod(place, len(found)) for place in larger.topk(3).indices.tolist()]
    named = [(found.subjects[i], found.subjects[j]) for i, j in best]
    assert [last[one] == last[other] for one, other in named] == [True, True, False]
    assert larger.topk(3).values[1] > 0.9 and larger.topk(3).values[2] < 0.6
