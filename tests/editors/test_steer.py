"""Steering: one vector for every prompt, which is why it is no editor of facts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import lib
from lib.editors.steer import Shift
from lib.model import generation

from ..support import tiny
from ..support.editor_settings import ELSEWHERE, A, B

FAMILIES = ("llama", "gpt2", "gemma3_text")
PAIR = replace(A, target_true="qz")


def editor(lm, **more):
    return lib.EDITORS["steer"](lm, **{"layer": 2, **more})


def shift(lm, patch) -> Shift:
    (route,) = patch.routes.values()
    return route


def states(lm, patch, text):
    """The output of layer 2 at every token of a text."""
    name = lm.above(2)
    row = lm.rows([text])[0][0]
    found = {}

    def look(_, given, named):
        found["h"] = (given[0] if given else named["hidden_states"]).detach().clone()

    handle = lm.model.get_submodule(name).register_forward_pre_hook(look, with_kwargs=True)
    with lm.patched(patch):
        lm.run([row])
    handle.remove()
    return found["h"][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_vector_is_the_difference_of_the_states_at_the_answers(family):
    lm = tiny.model(family)
    v = shift(lm, editor(lm).edit([PAIR])).v
    # answers of one token: the last state of prompt and answer
    wanted = states(lm, lib.EMPTY, A.text + " xy")[-1] - states(lm, lib.EMPTY, A.text + " qz")[-1]
    torch.testing.assert_close(v, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("positions", ["prompt_end", "all"])
def test_it_is_added_to_the_layer_s_output_at_its_positions(family, positions):
    lm = tiny.model(family)
    patch = editor(lm, positions=positions, multiplier=0.5).edit([PAIR])
    v = shift(lm, patch).v
    for text in (A.text, *ELSEWHERE):  # every prompt alike, whatever it is about
        moved = states(lm, patch, text) - states(lm, lib.EMPTY, text)
        wanted = torch.zeros_like(moved)
        wanted[-1 if positions == "prompt_end" else slice(None)] = v
        torch.testing.assert_close(moved, wanted, atol=2e-5, rtol=1e-4)


def test_a_multiple_of_zero_changes_no_bit():
    lm = tiny.model("llama")
    patch = editor(lm, multiplier=0.0).edit([PAIR])
    plain = lm.run([A.text, *ELSEWHERE]).logits
    with lm.patched(patch):
        assert torch.equal(lm.run([A.text, *ELSEWHERE]).logits, plain)


def test_swapped_pairs_give_the_opposite_and_vectors_add_up_in_any_order():
    lm = tiny.model("llama")
    v = shift(lm, editor(lm).edit([PAIR])).v
    swapped = replace(A, target_new="qz", target_true="xy")
    assert torch.equal(shift(lm, editor(lm).edit([swapped])).v, -v)
    other = replace(B, target_true="xy")
    one = editor(lm).edit([other], after=editor(lm).edit([PAIR]))
    two = editor(lm).edit([PAIR], after=editor(lm).edit([other]))
    assert torch.equal(shift(lm, one).v, shift(lm, two).v)
    both = shift(lm, editor(lm).edit([PAIR, other])).v  # of one call it is the mean
    torch.testing.assert_close(2 * both, shift(lm, one).v, atol=1e-5, rtol=1e-4)


def test_without_an_old_answer_the_model_s_own_is_taken():
    lm = tiny.model("llama")
    said = generation.generate(lm, [lm.rows([A.text])[0][0]], 1).ids[0]
    own = lm.tokenizer.decode(said)
    v = shift(lm, editor(lm).edit([A])).v
    row = lm.rows([A.text])[0][0]
    high, low = (
        lm.run([[*row, *ids]], watch=[lm.above(2)]).seen[lm.above(2)][0][0, -1]
        for ids in (lm.tokenizer(" xy")["input_ids"], said)
    )
    torch.testing.assert_close(v, high - low, atol=1e-5, rtol=1e-4)
    assert own != " xy"


def test_what_cannot_be_is_one_sentence():
    lm = tiny.model("llama")
    first = editor(lm).edit([PAIR])
    with pytest.raises(lib.errors.EditError, match="is at 'prompt_end', not 'all'"):
        editor(lm, positions="all").edit([B], after=first)
    with pytest.raises(lib.errors.EditError, match="Both need"):
        ft = lib.EDITORS["ft"](lm, layer=2, epochs=1).edit([A])
        editor(lm).edit([A], after=ft)
    with pytest.raises(ValueError, match="layer 99 does not exist"):
        editor(lm, layer=99).edit([A])
    with pytest.raises(lib.errors.EditError, match="multiplier should be a finite number"):
        editor(lm, multiplier=float("inf"))
    wrong = lib.Patch(routes={lm.mlp_out(2): Shift(lm.mlp_out(2), torch.ones(7), 48, "all")})
    with pytest.raises(lib.errors.PatchError, match="its kind does not fit"):
        lm.patched(wrong).__enter__()
