"""The algebra of patches: joins, sums of low-rank changes, and lines that are taken out."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lib
from lib.errors import PatchError
from lib.patch.patch import EMPTY, LowRank

from ..support import tiny

MODULES = ("a", "b", "c", "d", "e")
FACTS = [
    lib.Fact(name, "{} is in", target)
    for name, target in (("Ab", "xy"), ("Cd", "qz"), ("Ef", "xy"))
]


def matrix(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def low_rank(seeds: list[int]) -> LowRank:
    pairs = [(matrix(seed, 5, 1 + seed % 3), matrix(seed + 1, 1 + seed % 3, 7)) for seed in seeds]
    return LowRank(tuple(pairs))


@st.composite
def patches(draw, names=MODULES) -> lib.Patch:
    """A patch that changes some modules, densely or in low rank, with a line for each."""
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=len(names)))
    weights = {}
    for name in chosen:
        seeds = draw(st.lists(st.integers(0, 99), max_size=3))
        weights[name] = low_rank(seeds) if seeds else matrix(len(name), 5, 7)
    log = tuple(lib.Edit("ft", {}, (lib.Fact(n, "{} is", "x"),)) for n in chosen)
    return lib.Patch(weights, log=log, base=draw(st.sampled_from(["", "model 1"])))


def same(p: lib.Patch, q: lib.Patch) -> bool:
    """Equal in everything but the order in which modules were named."""
    return (
        p.weights.keys() == q.weights.keys()
        and all(p.weights[name] is q.weights[name] for name in p.weights)
        and p.log == q.log
        and p.base == q.base
    )


@given(patches())
def test_the_empty_patch_is_neutral(p):
    assert same(p | EMPTY, p) and same(EMPTY | p, p)


@given(patches(MODULES[:2]), patches(MODULES[2:4]), patches(MODULES[4:]))
def test_joining_is_associative_and_order_matters_only_in_the_log(p, q, r):
    assert same((p | q) | r, p | (q | r))
    one, other = p | q, q | p
    assert one.weights.keys() == other.weights.keys() and one.base == other.base
    assert one.log == p.log + q.log and other.log == q.log + p.log
    assert all(one.weights[name] is other.weights[name] for name in one.weights)
    assert bool(one) == (bool(p) or bool(q))


@given(patches(), patches())
def test_patches_on_one_module_are_not_joined(p, q):
    if p.weights.keys() & q.weights.keys():
        with pytest.raises(PatchError, match="Both patches change"):
            p | q
    else:
        before = dict(p.weights), dict(q.weights)
        assert (p | q).weights == {**before[0], **before[1]}
        assert (dict(p.weights), dict(q.weights)) == before


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4), st.integers(0, 99))
def test_a_chunk_more_is_a_sum(seeds, new):
    change, (a, b) = low_rank(seeds), low_rank([new]).chunks[0]
    wanted = sum((x @ y for x, y in change.chunks), torch.zeros(change.shape))
    torch.testing.assert_close(change.dense(), wanted, atol=1e-5, rtol=1e-5)
    more = change.plus(a, b)
    torch.testing.assert_close(more.dense(), wanted + a @ b, atol=1e-5, rtol=1e-5)
    assert more.rank == change.rank + a.shape[1] and more.shape == change.shape
    assert all(x is y for x, y in zip(more.chunks, change.chunks, strict=False))  # shared


@cache
def editor() -> lib.Editor:
    return lib.EDITORS["ft"](tiny.model("llama"), layer=1, epochs=2)


@settings(max_examples=3)
@given(st.permutations(range(3)).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, 2))))
def test_a_line_taken_out_is_as_if_never_written(chosen):
    order, out = chosen
    patch, kept = EMPTY, EMPTY
    for i, number in enumerate(order):
        patch = editor().edit([FACTS[number]], after=patch)
        if i != out:
            kept = editor().edit([FACTS[number]], after=kept)
    without = patch.without(out, editor().lm)
    assert without.log == kept.log and len(without.log) == 2
    for name, value in kept.weights.items():
        dense = [v.dense() if isinstance(v, LowRank) else v for v in (value, without.weights[name])]
        assert torch.equal(*dense)
