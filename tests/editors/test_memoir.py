"""MEMOIR: fingerprints, masks, the overlap rule, untouched columns, and going on from a file."""

from __future__ import annotations

from functools import cache

import pytest
import torch

import lib
from lib.editors.memoir import fingerprint
from lib.editors.memoir.fingerprint import Fingerprint, insert
from lib.editors.memoir.route import Residual, threshold
from lib.editors.shared.routed import nearest, pack_bits, unpack_bits
from lib.model import batching

from ..support import tiny

FACTS = [
    lib.Fact("The old tower", "I saw {}", "xy"),
    lib.Fact("Anna", "{} lives in", "qz"),
    lib.Fact("A ship", "Where does {} sail", "xy"),
    lib.Fact("The sea", "{} is as blue as", "qz"),
]
CALM = ("A cat sat on the mat", "Seven days", "what is it", "In the morning he ran")
SETTINGS = {"layer": 2, "lr": 0.3, "n_iter": 8, "k": 14, "tau": 0.9, "templates": ("{}", "So. {}"),
            "irrelevant": CALM}  # fmt: skip


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def editor(lm, **more):
    return lib.EDITORS["memoir"](lm, **{**SETTINGS, **more})


@cache
def patches() -> list[lib.Patch]:
    """The patches after 1 … 4 facts."""
    found, made = [lib.EMPTY], editor(tiny.model("llama"))
    for fact in FACTS:
        found.append(made.edit([fact], after=found[-1]))
    return found[1:]


def route(patch: lib.Patch) -> Residual:
    (found,) = patch.routes.values()
    return found


def masks(patch: lib.Patch) -> torch.Tensor:
    return unpack_bits(route(patch).masks, route(patch).W.shape[1])


# ---- fingerprints -------------------------------------------------------------------------------


def test_a_mask_by_hand_and_top_k_keeps_its_meaning_under_the_permutation():
    prints = Fingerprint(torch.zeros(4), torch.tensor([1, 2, 3, 0]), 2)
    assert prints.mask(torch.tensor([[0.1, -3.0, 2.0, 0.0]])).int().tolist() == [[0, 0, 1, 1]]
    shifted = Fingerprint(torch.tensor([0.0, -3.0, 0.0, 5.0]), prints.order, 2)
    assert shifted.mask(torch.tensor([[0.1, -3.0, 2.0, 0.0]])).int().tolist() == [[1, 0, 0, 1]]
    f = torch.randn(6, 48)
    plain = Fingerprint(torch.zeros(48), torch.arange(48), 14).mask(f)
    order = fingerprint.permutation(48, 0)
    mixed = Fingerprint(torch.zeros(48), order, 14).mask(f)
    assert torch.equal(mixed[:, order], plain) and (mixed.sum(1) == 14).all()
    both = [(m.float() @ m.float().T) for m in (plain, mixed)]
    assert torch.equal(*both)  # overlaps are those of the fingerprints
    assert order.sort().values.tolist() == list(range(48))
    assert torch.equal(order, fingerprint.permutation(48, 0))


def test_the_mean_is_over_the_prompt_without_bos_padding_and_answer():
    ids = torch.tensor([[0, 9, 5, 6, 7]])
    real = torch.tensor([[0, 1, 1, 1, 1]]).bool()
    prompt = torch.tensor([[0, 1, 1, 1, 0]]).bool()
    seqs = lib.model.sequences.Sequences(ids, real, prompt, torch.tensor([3]))
    a = torch.tensor([[[99.0, 0, 0], [99.0, 0, 0], [0, 3.0, 0], [0, 1.0, 0], [0, 0, 99.0]]])
    prints = Fingerprint(torch.zeros(3), torch.arange(3), 1, bos=9)
    assert prints.of(a, seqs).int().tolist() == [[0, 1, 0]]
    assert Fingerprint(torch.zeros(3), torch.arange(3), 1).of(a, seqs)[0, 0]  # the BOS leads


def test_bits_come_back_and_equal_masks_are_stored_once():
    m = torch.rand(5, 13) < 0.3
    m[4] = m[1]
    assert pack_bits(m).shape == (5, 2) and torch.equal(unpack_bits(pack_bits(m), 13), m)
    stored, entries = insert(m[:2], m[2:])
    assert entries == [2, 3, 1] and torch.equal(stored, m[:4])


def test_ties_go_to_the_smallest_index():
    share, at = nearest(torch.tensor([[0.2, 0.5, 0.5], [0.9, 0.9, 0.1]]))
    assert share.tolist() == pytest.approx([0.5, 0.9]) and at.tolist() == [1, 0]


def test_the_threshold_lies_midway():
    own, unrelated = torch.linspace(0.5, 0.6, 101), torch.linspace(0.2, 0.3, 101)
    assert threshold(own, unrelated) == pytest.approx((0.51 + 0.299) / 2)


# ---- the edit -----------------------------------------------------------------------------------


def test_columns_outside_the_mask_are_exactly_zero_and_stay_as_they_were(lm):
    first, both = patches()[0], patches()[1]
    (mask,) = masks(first)
    assert mask.sum() == 14 and not route(first).W[:, ~mask].any()
    assert route(first).W[:, mask].any(0).all()
    second = masks(both)[1]
    assert torch.equal(route(both).W[:, ~second], route(first).W[:, ~second])


def test_a_fact_is_bit_equal_after_another_one_with_a_disjoint_mask():
    torch.manual_seed(0)
    m = torch.zeros(2, 8, dtype=torch.bool)
    m[0, :4], m[1, 4:] = True, True
    prints = Fingerprint(torch.zeros(8), torch.arange(8), 4)
    W = torch.randn(3, 8)
    later = W.clone()
    later[:, 4:] += 1
    seqs = batching.sequences(tiny.model("llama"), [[1, 2]])
    a, y, choice = torch.randn(1, 2, 8), torch.randn(1, 2, 3), torch.tensor([0])
    moved = [Residual("m", w, pack_bits(m), prints, 0.5).apply(a, y, choice, seqs)
             for w in (W, later)]  # fmt: skip
    assert torch.equal(*moved)
    torch.testing.assert_close(moved[0], y + (a * m[0]) @ W.T)


def test_gradients_are_clipped_and_weight_decay_shrinks_all_of_the_matrix(lm):
    one = editor(lm, n_iter=1, lr=0.5).edit(FACTS[:1])
    assert route(one).W.norm() <= 0.5 + 1e-5  # lr times the clipped norm
    before = route(one).W
    decayed = editor(lm, n_iter=3, lr=0.5, weight_decay=0.1).edit(FACTS[1:2], after=one)
    outside = ~masks(decayed)[1]
    torch.testing.assert_close(route(decayed).W[:, outside], before[:, outside] * 0.95**3)
    kept = editor(lm, n_iter=3, lr=0.5).edit(FACTS[1:2], after=one)
    assert torch.equal(route(kept).W[:, outside], before[:, outside])


def test_the_same_prompt_again_takes_the_same_mask(lm):
    again = lib.Fact("The old tower", "I saw {}", "qz")
    patch = editor(lm, n_iter=80).edit([again], after=patches()[0])
    assert len(route(patch).masks) == 1
    with lm.patched(patch):
        assert lm.answer(again.text, 1) == " qz"


def test_a_call_is_the_fold_of_its_facts(lm):
    assert torch.equal(route(editor(lm).edit(FACTS)).W, route(patches()[-1]).W)


def test_what_does_not_fit_is_a_sentence(lm):
    with pytest.raises(lib.errors.EditError, match="from 1 to 48, not 49"):
        editor(lm, k=49).edit(FACTS[:1])
    with pytest.raises(lib.errors.EditError, match="residual matrix at"):
        editor(lm, layer=1).edit(FACTS[:1], after=patches()[0])
    with pytest.raises(lib.errors.EditError, match="has k = 14 and tau = 0.9"):
        editor(lm, tau=0.5).edit(FACTS[:1], after=patches()[0])
    with pytest.raises(lib.errors.EditError, match="paraphrases and unrelated"):
        editor(lm).calibrate([lib.Case(FACTS[0])])
    tuned = lib.EDITORS["ft"](lm, layer=2, lr=0.01, epochs=2).edit(FACTS[:1])
    with pytest.raises(lib.errors.EditError, match="Both need"):
        editor(lm).edit(FACTS[:1], after=tuned)


# ---- use ----------------------------------------------------------------------------------------


# ---- files --------------------------------------------------------------------------------------


def test_a_broken_file_is_refused():
    found = route(patches()[-1])
    parts, header = found.tensors(), found.header()
    assert torch.equal(Residual.load(parts, header).W, found.W)
    for name, wrong, said in (
        ("W", found.W / 0, "NaN or infinite"),
        ("W", found.W[:, 1:], "W has the shape"),
        ("masks", found.masks | 255, "does not have 14 ones"),
        ("order", torch.zeros(48, dtype=torch.long), "not a permutation"),
    ):
        with pytest.raises(ValueError, match=said):
            Residual.load({**parts, name: wrong}, header)
