"""A token in front of every text: where it stands, whom it belongs to, and what is refused."""

from __future__ import annotations

import pytest
from torch.testing import assert_close

import lib
from lib.data.facts import encode_prompt, lookup
from lib.export.export import export_model
from lib.model.lm import put_in_front

from ..support import tiny

FACT = lib.Fact("Rome", "{} is in", " Italy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tiny.model("llama")
    kept = tmp_path_factory.mktemp("tiny")
    made.model.save_pretrained(kept)
    made.tokenizer.save_pretrained(kept)
    return str(kept)


@pytest.fixture(scope="module")
def both(folder):
    return lib.load(folder), lib.load(folder, sink="<|end|>")


def test_the_token_stands_before_every_text_once(both):
    plain, sunk = both
    assert (plain.leading_bos, sunk.leading_bos) == (None, tiny.EOS)
    ids, place = lookup(plain.tokenizer, FACT)
    assert lookup(sunk.tokenizer, FACT) == ([tiny.EOS, *ids], place + 1)
    assert encode_prompt(sunk.tokenizer, "") == [tiny.EOS]
    before = [plain.tokenizer.eos_token_id, *ids]
    assert_close(sunk.score(FACT.text, " It"), plain.score([before], [" It"])[0])


def test_patches_belong_to_one_of_the_two(both):
    plain, sunk = both
    assert sunk.name == f"{plain.name} behind <|end|>"
    assert sunk.fingerprint == plain.fingerprint and sunk.stored_identity != plain.stored_identity
    for lm, other in (both, both[::-1]):
        patch = lib.EDITORS["ft_m"](lm, layer=1, epochs=1).edit([FACT])
        with (
            pytest.raises(
                lib.PatchError, match=r"this patch is for \S+( behind .*)? \w+, the model here is"
            ),
            other.patched(patch),
        ):
            pass


def test_an_exported_model_keeps_its_token(both, tmp_path):
    lm = both[1]
    patch = lib.EDITORS["ft_m"](lm, layer=1, epochs=1).edit([FACT])
    export_model(lm, patch, tmp_path / "model")
    assert lib.load(str(tmp_path / "model")).leading_bos == tiny.EOS


@pytest.mark.parametrize("sink", ["no token", "", "Rome Rome", 5, ["<|end|>"]])
def test_what_is_no_token_is_refused(folder, sink):
    with pytest.raises(ValueError, match="is no token that this tokenizer can put in front"):
        lib.load(folder, sink=sink)


def test_a_second_token_is_refused(both):
    with pytest.raises(ValueError, match="puts a token in front of every text already"):
        put_in_front(both[1].tokenizer, "<|end|>")
