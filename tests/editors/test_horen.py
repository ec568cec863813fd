"""HoReN: the Hopfield step, the query, the threshold, and what the authors' code does."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

import lib
from lib.data.facts import encode_target
from lib.editors.horen import calibration
from lib.editors.horen.route import Dynamics, Hopfield, Query
from lib.editors.shared.routed import nearest
from lib.model.sequences import Sequences

from ..support import tiny
from ..support.editor_settings import ELSEWHERE, TINY, A, B

NAME = "model.layers.1.mlp.down_proj"
PLAIN = Query(0.5, True)


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def editor(lm, **more):
    return lib.EDITORS["horen"](lm, **{**TINY["horen"], **more})


def directions(d, n, seed=0):
    """Columns (d, n) of length one, float64."""
    drawn = torch.randn(d, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return normalize(drawn, dim=0)


# ---- the dynamics ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [Dynamics(20.0, 0.0, 1), Dynamics(20.0, 0.1, 0)])
def test_without_a_step_it_is_the_plain_cosine(how):
    K, q = directions(12, 30).float(), directions(12, 5, 1).T.float()
    assert torch.equal(how.cosines(K, q), q @ K)
    score, entry = nearest(how.cosines(K, q))
    assert torch.equal(entry, (q @ K).argmax(1)) and torch.equal(score, (q @ K).max(1).values)


def test_one_key_moves_every_cosine_by_the_formula():
    k = directions(9, 1)
    other = normalize(directions(9, 1, 1) - k * (k.T @ directions(9, 1, 1)), dim=0)
    for s, published in ((0.5, 0.577), (0.7, 0.7505), (0.85, 0.877), (0.9, 0.918)):
        q = (s * k + math.sqrt(1 - s * s) * other).T
        a = 0.1
        wanted = ((1 - a) * s + a) / math.sqrt((1 - a) ** 2 + a**2 + 2 * a * (1 - a) * s)
        found = float(Dynamics(20.0, a, 1).relax(k, q) @ k)
        assert found == pytest.approx(wanted, abs=1e-6)
        assert found == pytest.approx(published, abs=1e-3)


def test_a_sharp_full_step_recalls_the_nearest_key():
    K, q = directions(12, 30), directions(12, 6, 1).T
    found = Dynamics(1e6, 1.0, 3).relax(K, q)
    near = (q @ K).argmax(1)
    torch.testing.assert_close(found, K.T[near])
    assert torch.equal(nearest(found @ K)[1], near)


def test_orthonormal_keys_are_mixed_by_the_softmax():
    K = torch.eye(6, dtype=torch.float64)[:, :2]
    a, b, beta = 0.8, 0.6, 5.0
    z = Dynamics(beta, 1.0, 1).relax(K, (a * K[:, 0] + b * K[:, 1])[None])[0]
    assert float(z[0] / z[1]) == pytest.approx(math.exp(beta * (a - b)), rel=1e-12)


# ---- the query ---------------------------------------------------------------------------------


def sequences(*lengths):
    """Rows padded on the left, whole prompts."""
    width = max(lengths)
    real = torch.tensor([[i >= width - n for i in range(width)] for n in lengths])
    return Sequences(real.long(), real, real, torch.full((len(lengths),), width - 1))


@pytest.mark.parametrize(
    ("share", "sink", "length", "wanted"),
    [
        (0.5, True, 6, [3, 4, 5]),
        (0.5, True, 5, [2, 3, 4]),
        (0.6, True, 5, [2, 3, 4]),
        (1.0, True, 4, [1, 2, 3]),
        (1.0, False, 4, [0, 1, 2, 3]),
        (0.5, True, 1, [0]),
        (0.5, True, 2, [1]),
        (0.01, True, 7, [6]),
    ],
)
def test_the_query_is_the_mean_over_the_last_share_of_the_prompt(share, sink, length, wanted):
    seqs = sequences(8, length)
    places = Query(share, sink).positions(seqs.prompt)[1]
    assert places.nonzero()[:, 0].tolist() == [8 - length + i for i in wanted]
    x = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0))
    found = Query(share, sink).of(x, seqs)[1]
    torch.testing.assert_close(found, normalize(x[1, places].mean(0), dim=0))


def test_a_part_of_a_prompt_is_refused():
    with pytest.raises(RuntimeError, match="Run the prompt as a whole"):
        PLAIN.of(torch.zeros(1, 3, 5), sequences(8))


# ---- the route ---------------------------------------------------------------------------------


def test_a_zero_value_leaves_the_very_output(lm):
    route = Hopfield(NAME, directions(48, 1).float(), torch.zeros(32, 1), PLAIN,
                     Dynamics(20.0, 0.1, 1), -1.0)  # fmt: skip
    output = torch.randn(1, 8, 32)
    assert route.apply(torch.zeros(1, 8, 48), output, torch.tensor([0]), sequences(8)) is output
    plain = lm.run([A.text]).logits
    with lm.patched(lib.Patch(routes={NAME: route})):
        assert torch.equal(lm.run([A.text]).logits, plain)


def test_with_own_thresholds_the_nearest_entry_that_is_reached_answers():
    plain = Dynamics(20.0, 0.0, 0)
    K = torch.eye(3)
    x = torch.tensor([0.8, 0.6, 0.0]).expand(1, 4, 3)  # cosines 0.8, 0.6 and 0 with the three keys

    def choice(*taus: float) -> int:
        route = Hopfield("m", K, torch.ones(2, 3), PLAIN, plain, 0.1, torch.tensor(taus))
        return int(route.decide(x, x, sequences(4)))

    assert choice(0.7, 0.1, 0.1) == 0
    assert choice(0.9, 0.5, 0.1) == 1, "the first is nearer, and is not reached"
    assert choice(0.9, 0.7, 0.1) == -1 and choice(0.8, 0.6, 0.0) == -1


def test_a_value_is_added_once_at_the_prompt_s_end(lm):
    patch = editor(lm).edit([A])
    route = patch.routes[NAME]
    rows, _ = lm.rows([A.text, *ELSEWHERE])
    plain = lm.run(rows, watch=[NAME])
    with lm.patched(patch):
        seen = lm.run(rows, watch=[NAME])
    moved = seen.seen[NAME][1] - plain.seen[NAME][1]
    torch.testing.assert_close(moved[0, -1], route.V[:, 0], atol=1e-5, rtol=1e-4)
    assert not moved[0, :-1].any() and not moved[1:].any()


HEAD = {"module": NAME, "share": 0.5, "exclude_sink": True, "mean_of": "inputs", "beta": 20.0,
        "alpha": 0.1, "rounds": 1, "tau": 0.9}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"rounds": 10**9},
        {"alpha": 2.0},
        {"share": 0.0},
        {"tau": float("nan")},
        {"beta": 1e300},
        {"mean_of": "all"},
        {"more": 1},
    ],
)
def test_a_made_up_header_is_refused(change):
    parts = {"K": torch.ones(4, 2), "V": torch.ones(3, 2)}
    assert Hopfield.load(parts, HEAD).header() == HEAD
    with pytest.raises(ValueError):
        Hopfield.load(parts, {**HEAD, **change})
    for wrong in ({"V": torch.ones(3, 1)}, {"K": torch.full((4, 2), torch.inf)}):
        with pytest.raises(ValueError):
            Hopfield.load({**parts, **wrong}, HEAD)


# ---- writing -----------------------------------------------------------------------------------


def test_the_newest_answer_to_a_prompt_wins_and_an_old_one_is_trained_again(lm):
    first = editor(lm).edit([A])
    again = editor(lm).edit([A], after=first)
    assert again.routes[NAME].K.shape[1] == 1
    other = lib.Fact(A.subject, A.prompt, "qz")
    both = editor(lm).edit([other], after=first)
    assert both.routes[NAME].K.shape[1] == 1
    with lm.patched(both):
        assert lm.answer(A.text, 1) == " qz"
    # as published the key is stored twice, and the older entry answers
    loose = editor(lm, strict=False).edit([other], after=first)
    assert loose.routes[NAME].K.shape[1] == 2
    within = editor(lm).edit([A, other])
    with lm.patched(within):
        assert lm.answer(A.text, 1) == " qz"


def test_keys_of_another_kind_are_refused(lm):
    first = editor(lm).edit([A])
    with pytest.raises(lib.errors.EditError, match="different kind of mean"):
        editor(lm, share=1.0).edit([B], after=first)
    with pytest.raises(lib.errors.EditError, match="not a linear module of layer 1"):
        editor(lm, module="model.layers.{}.mlp").edit([A])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"share": 0.0}, "share should be a number above 0"),
        ({"share": 1.5}, "share should be a number above 0 and up to 1"),
        ({"alpha": 1.5}, "alpha should be a number from 0 to 1"),
        ({"rounds": 10**9}, "rounds should be a whole number from 0 to 64"),
        ({"tau": 2.0}, "tau should be a number from -1 to 1"),
        ({"quantile": 1.5}, "quantile should be a number from 0 to 1"),
    ],
)
def test_settings_that_are_none_are_one_sentence(lm, wrong, said):
    with pytest.raises(lib.errors.EditError, match=said):
        editor(lm, **wrong)


# ---- the threshold -----------------------------------------------------------------------------


def test_the_threshold_is_a_quantile_of_what_strangers_reach():
    K, general = directions(16, 6).float(), directions(16, 200, 1).T.float()
    how = Dynamics(20.0, 0.1, 1)
    labels = [(1,), (1,), (2,), (2,), (3,), (3,)]
    strangers = [float(how.cosines(K, q[None]).max()) for q in general]
    for i, label in enumerate(labels):
        found = how.cosines(K, K.T[i : i + 1])[0]
        strangers.append(max(float(s) for s, other in zip(found, labels, strict=True)
                             if other != label))  # fmt: skip
    for quantile in (0.5, 0.9, 1.0):
        tau = calibration.threshold(K, labels, general, how, quantile, 0)
        strangers.sort()
        assert tau == pytest.approx(strangers[math.ceil(quantile * 205)], abs=1e-6)
    alone = calibration.threshold(K, [(1,)] * 6, general, how, 1.0, 0)
    assert alone == pytest.approx(float(how.cosines(K, general).max()))


def test_a_calibrated_book_answers_its_facts_and_leaves_general_text(lm, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    patch = editor(lm, tau=None).edit([A, B])
    route = patch.routes[NAME]
    general = calibration.general_queries(lm, NAME, route.query).tensors()["Q"]
    assert 100 < len(general) <= calibration.PROMPTS
    torch.testing.assert_close(general.norm(dim=1), torch.ones(len(general)))
    found = nearest(route.dynamics.cosines(route.K, general))[0]
    assert float((found <= route.tau).double().mean()) >= 0.99
    with lm.patched(patch):
        assert lm.answer([A.text, B.text], 1) == [" xy", " qz"]
    assert len(list(tmp_path.rglob("queries/*.safetensors"))) == 1
    monkeypatch.setattr(calibration, "queries", None)  # read from the file
    again = calibration.general_queries(lm, NAME, route.query).tensors()["Q"]
    assert torch.equal(again, general)


def test_an_own_prompt_always_reaches_the_threshold(lm):
    patch = editor(lm, tau=1.0).edit([A, B])
    with lm.patched(patch):
        assert lm.answer([A.text, B.text], 1) == [" xy", " qz"]
    loose = editor(lm, tau=1.0, strict=False).edit([A])
    assert loose.routes[NAME].tau == 1.0


# ---- parity ------------------------------------------------------------------------------------


def by_the_code(lm, facts, lr, n_iter, seed):
    """The authors' way, one fact after another: mean of the second half, and Adam on one value."""
    K, V, labels = [], [], []
    module = lm.model.get_submodule(NAME)
    for number, fact in enumerate(facts):
        row = lm.rows([fact.text])[0][0]
        (token,) = encode_target(lm.tokenizer, fact.target_new)
        x = lm.run([row], watch=[NAME]).seen[NAME][0][0]
        q = x[-math.ceil(0.5 * len(row)) :].mean(0)
        q = q / q.norm()
        at = None
        if K:
            keys = torch.stack(K, 1)
            w = torch.softmax(20.0 * keys.T @ q, 0)
            z = keys @ w
            z = z / z.norm()
            moved = 0.9 * q + 0.1 * z
            moved = moved / moved.norm()
            s = keys.T @ moved
            if float(s.max()) > 0.85 and labels[int(s.argmax())] == token:
                at = int(s.argmax())
        if at is None:
            at = len(K)
            K.append(q)
            V.append(torch.rand(32, generator=torch.Generator().manual_seed(seed + number)))
            labels.append(token)
        v = V[at].clone().requires_grad_()
        adam = torch.optim.Adam([v], lr=lr)
        for _ in range(n_iter):

            def add(_, __, output, v=v):
                end = torch.zeros_like(output)
                end[0, -1] = 1.0
                return output + end * v

            handle = module.register_forward_hook(add)
            with torch.enable_grad():
                logits = lm.model(torch.tensor([row])).logits[0, -1]
                loss = -logits.log_softmax(-1)[token]
                (v.grad,) = torch.autograd.grad(loss, v)
            handle.remove()
            adam.step()
        V[at] = v.detach()
    return torch.stack(K, 1), torch.stack(V, 1)


def test_the_published_form_is_that_of_the_code(lm):
    given = {"strict": False, "exclude_sink": False, "value_init": "cold", "enough": 0.0,
             "lr": 1.0, "n_iter": 6, "tau": 0.85}  # fmt: skip
    third = lib.Fact("Seven grey days", "Behold: {}", "xy")
    patch = lib.EMPTY
    for fact in (A, B, third):
        patch = editor(lm, **given).edit([fact], after=patch)
    K, V = by_the_code(lm, (A, B, third), 1.0, 6, 0)
    route = patch.routes[NAME]
    torch.testing.assert_close(route.K, K, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(route.V, V, atol=1e-3, rtol=1e-3)
    assert route.tau == 0.85 and route.dynamics == Dynamics(20.0, 0.1, 1)
