"""Large matrices are kept as far as there is room, and made one after another."""

from __future__ import annotations

import gc

import pytest
import torch

import lib
from lib.keys_values import matrix_cache, null_space, second_moment
from lib.memory import Moment

from ..support import tiny


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_what_is_kept_fits_into_the_room_and_is_made_again_otherwise(monkeypatch):
    made = []

    @matrix_cache.kept
    def matrix(i):
        made.append(i)
        return torch.full((10, 10), float(i)), torch.zeros(10)

    monkeypatch.setattr(matrix_cache, "room", lambda: 3 * 4 * 110)
    for i in (0, 1, 2, 0, 1, 2):
        assert matrix(i)[0][0, 0] == i
    assert made == [0, 1, 2]
    matrix(3)  # the one that was asked for longest ago goes
    assert (matrix(2), matrix(1)) and made == [0, 1, 2, 3]
    matrix(0)
    assert made == [0, 1, 2, 3, 0]
    monkeypatch.setattr(matrix_cache, "room", lambda: 0)
    assert matrix(5) is matrix(5) and made == [0, 1, 2, 3, 0, 5]  # the newest stays in any case
    matrix.cache_clear()
    matrix(5)
    assert made == [0, 1, 2, 3, 0, 5, 5]


def test_small_matrices_are_bounded_by_their_number():
    calls = []
    function = matrix_cache.kept(lambda i: calls.append(i) or torch.zeros(1))
    for i in range(matrix_cache.ENTRIES + 1):
        function(i)
    function(1), function(0)
    assert calls == [*range(matrix_cache.ENTRIES + 1), 0]
    assert matrix_cache.size(Moment(torch.eye(3).double())) == 2 * 8 * 9
    assert matrix_cache.room() > 1 << 28


def test_layers_of_several_passes_have_the_bits_of_one(lm, monkeypatch):
    together = second_moment.second_moment(lm, [0, 1, 2], tokens=700)
    spaces = null_space.null_space(lm, [0, 1, 2], None, 0.5, tokens=700)
    paths, *_ = second_moment.stored_moments(lm, [0, 1, 2], None, 700, None)
    before = {layer: path.read_bytes() for layer, path in paths.items()}
    for path in [*paths.values(), *(p.with_suffix(".eigen.safetensors") for p in paths.values())]:
        path.unlink()
    passes, accumulate = [], second_moment.accumulated
    monkeypatch.setattr(
        second_moment, "accumulated", lambda *a: passes.append(a[1]) or accumulate(*a)
    )
    for module in (second_moment, matrix_cache):
        monkeypatch.setattr(module, "room", lambda: 2 * 8 * 48 * 48)
    second_moment._damped.cache_clear(), null_space.eigen.cache_clear()
    # one layer is asked for, and those that will be wanted too are made in the same passes
    found = second_moment.second_moment(lm, [1], tokens=700, among=[0, 1, 2])
    assert list(found) == [1] and passes == [[1, 0], [2]]
    assert torch.equal(found[1].C, together[1].C)
    assert {layer: path.read_bytes() for layer, path in paths.items()} == before
    space = null_space.null_space(lm, [2], None, 0.5, tokens=700, among=[0, 1, 2])
    assert list(space) == [2] and torch.equal(space[2].Q, spaces[2].Q)
    assert passes == [[1, 0], [2]]


def test_damping_adds_its_share_of_the_mean_eigenvalue_to_the_diagonal(lm):
    plain = second_moment.second_moment(lm, [1], tokens=700, damping=0.0)[1].C
    damped = second_moment.second_moment(lm, [1], tokens=700, damping=0.3)[1].C
    wanted = plain + 0.3 * plain.diagonal().mean() * torch.eye(48, dtype=torch.float64)
    assert torch.equal(damped, wanted)


def test_a_patched_model_holds_no_matrix_in_float32_beside_its_own():
    lm = tiny.model("llama", dtype=torch.bfloat16, intermediate_size=56)
    name, other = lm.mlp_out(1), lm.mlp_out(2)
    shape = lm.weight(name).shape
    patch = lib.EMPTY.with_weights({
        m: lib.LowRank(((torch.randn(32, 2), torch.randn(2, 56)),)) for m in (name, other)
    })  # fmt: skip
    wanted = (lm.weight(name) + patch.weights[name].dense()).bfloat16()

    def wide():
        return [
            x for x in gc.get_objects()
            if type(x) is torch.Tensor and x.dtype == torch.float32 and x.shape == shape
        ]  # fmt: skip

    before = len(wide())
    with lm.patched(patch):
        assert len(wide()) == before
        assert torch.equal(lm.model.get_submodule(name).weight, wanted)
        with lm.patched(lib.EMPTY, only=True):
            assert not torch.equal(lm.model.get_submodule(name).weight, wanted)
        assert torch.equal(lm.model.get_submodule(name).weight, wanted)
    assert type(lm.model.get_submodule(name).weight) is torch.nn.Parameter
