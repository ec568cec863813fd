"""outputs="curvature": the closed forms with a weight for each direction of the outputs."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.editors.shared import by_output
from lib.keys_values.output_moment import output_moment

from ..support import tiny
from ..support.editor_settings import TINY, A, B

LAYER = 1
KEY = lib.Fact("Ada", "{} lived in", "Rome")


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def editor(lm, name, **more):
    return lib.EDITORS[name](lm, **{**TINY[name], "layers": (LAYER,), **more})


def flat(lm, layers, *_):
    d = lm.weight(lm.mlp_out(layers[0])).shape[0]
    return {layer: (3.0 * torch.eye(d, dtype=torch.float64), 100) for layer in layers}


def delta(lm, patch, layer=LAYER):
    name = lm.mlp_out(layer)
    return (lm.weight(name, patch) - lm.weight(name)).double()


@pytest.mark.parametrize("groups", (1, 8, 10_000))
@pytest.mark.parametrize(
    ("name", "more"),
    [("memit", {}), ("alphaedit", {"quantile": 0.6}), ("alphaedit", {"threshold": 1e-2})],
    ids=str,
)
def test_outputs_that_are_all_alike_give_the_method_itself(lm, monkeypatch, name, more, groups):
    monkeypatch.setattr(by_output, "output_moment", flat)
    own = editor(lm, name, outputs="curvature", output_groups=groups, **more)
    plain = editor(lm, name, **more)
    first, wanted = own.edit([A, B]), plain.edit([A, B])
    again, after = own.edit([KEY], after=first), plain.edit([KEY], after=wanted)
    for one, other in ((first, wanted), (again, after)):
        want = delta(lm, other)
        assert (delta(lm, one) - want).norm() <= 1e-6 * want.norm()


def test_memit_solves_the_problem_with_the_outputs_in_it(lm):
    own = editor(lm, "memit", outputs="curvature", output_groups=10_000)
    W = lm.weight(lm.mlp_out(LAYER))
    draw = torch.Generator().manual_seed(0)
    K, R = (torch.randn(n, 3, generator=draw) for n in (W.shape[1], W.shape[0]))
    D = delta(lm, own._put(lib.EMPTY, LAYER, R, K, {}))
    S = output_moment(lm, [LAYER])[LAYER][0]
    S = S / (S.trace() / len(S))
    C = own.moment(LAYER).C
    K, R = K.double(), R.double()
    # (ΔK − R)Kᵀ + λ S Δ C = 0
    left = (D @ K - R) @ K.T + own.config.strength * S @ D @ C
    assert left.norm() < 1e-4 * (R @ K.T).norm()


def test_alphaedit_keeps_each_output_to_its_own_null_space(lm):
    own = editor(lm, "alphaedit", outputs="curvature", output_groups=10_000, quantile=0.6)
    W = lm.weight(lm.mlp_out(LAYER))
    draw = torch.Generator().manual_seed(0)
    K, R = (torch.randn(n, 3, generator=draw) for n in (W.shape[1], W.shape[0]))
    D = delta(lm, own._put(lib.EMPTY, LAYER, R, K, {}))
    s, U = own.output_curvature(LAYER)
    values, vectors = own._inputs(LAYER)
    sharp = torch.outer(s, values) >= own.cut(LAYER)
    assert 0.3 < sharp.double().mean() < 0.5
    assert (U.T @ D @ vectors)[sharp].norm() < 1e-5 * D.norm() and D.norm() > 0


def test_fewer_groups_hold_back_more_and_never_less(lm):
    s = torch.logspace(-9, 1, 40, dtype=torch.float64)
    for count in (1, 3, 8, 40):
        found = by_output.groups(s, count)
        assert sorted(int(i) for own, _ in found for i in own) == list(range(40))
        assert len(found) <= count
        assert all(weight >= float(s[own].max()) for own, weight in found)
    ((own, weight),) = by_output.groups(torch.ones(5), 3)
    assert len(own) == 5 and weight == 1.0
    with pytest.raises(lib.EditError, match="nothing to weigh"):
        by_output.groups(torch.zeros(5), 3)


def test_settings_that_are_none_and_lines_that_cannot_be_taken_out(lm):
    with pytest.raises(lib.EditError, match="output_groups is at least 1, not 0"):
        editor(lm, "memit", output_groups=0)
    with pytest.raises(lib.EditError, match="outputs is equal or curvature"):
        editor(lm, "memit", outputs="sharp")
    own = editor(lm, "memit", outputs="curvature", keep_keys=True, values_on="base")
    assert own.without(own.edit([B], after=own.edit([A])), 0) is None
