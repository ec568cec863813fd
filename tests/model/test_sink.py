"""A token in front of every text: where it stands, whom it belongs to, and what is refused."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest
from torch.testing import assert_close

import lib
from lib.data.facts import encode_prompt, lookup
from lib.model.lm import put_in_front
from lib.workbench.cli import options
from lib.workbench.export.export import export_model, export_peft

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
    assert (plain.sink, sunk.sink, sunk.name) == (None, "<|end|>", f"{plain.name} behind <|end|>")
    assert sunk.fingerprint == plain.fingerprint and sunk.stored_identity != plain.stored_identity
    for lm, other in (both, both[::-1]):
        patch = lib.EDITORS["ft_m"](lm, layer=1, epochs=1).edit([FACT])
        token = None if lm is plain else "<|end|>"
        with pytest.raises(lib.errors.PatchError) as refused, other.patched(patch):
            pass
        assert str(refused.value) == (
            f"This patch is for {lm.identity}, but the model here is {other.identity}. Load the "
            f"model with sink={token!r} for it."
        )
    elsewhere = replace(patch, base="another behind <|end|> 0123456789abcdef")
    with pytest.raises(lib.errors.PatchError, match=r"the model here is \S+ \w+\.$"):
        plain.check(elsewhere)


def test_an_exported_model_keeps_its_token(both, tmp_path):
    lm = both[1]
    patch = lib.EDITORS["ft_m"](lm, layer=1, epochs=1).edit([FACT])
    export_model(lm, patch, tmp_path / "model")
    assert lib.load(str(tmp_path / "model")).leading_bos == tiny.EOS


def test_the_card_of_an_adapter_names_the_token(both, tmp_path):
    for lm, name in zip(both, ("plain", "sunk"), strict=True):
        patch = lib.EDITORS["ft_m"](lm, layer=1, epochs=1).edit([FACT])
        export_peft(lm, patch, tmp_path / name)
        card = (tmp_path / name / "README.md").read_text("utf-8")
        assert ("preceded by `<|end|>`" in card) == (name == "sunk")


@pytest.mark.parametrize("sink", ["no token", 5])
def test_what_is_no_token_is_refused(folder, sink):
    with pytest.raises(lib.Error, match="is not a token that this tokenizer can put before"):
        lib.load(folder, sink=sink)


def test_a_second_token_is_refused(both):
    with pytest.raises(ValueError, match="already puts a token before every text"):
        put_in_front(both[1].tokenizer, "<|end|>")


def test_only_a_packaged_model_has_a_sink_of_its_own(default_lm, plain_lm, folder):
    assert lib.load(folder).leading_bos is None and lib.load(folder).plain_name.startswith("tiny")
    assert default_lm.leading_bos == default_lm.tokenizer.bos_token_id == 0
    assert (plain_lm.leading_bos, plain_lm.name) == (None, "SmolLM2-135M-Instruct")
    assert default_lm.plain_name == plain_lm.name != default_lm.name


WAYS = [((), None), (("--sink", "none"), None), (("--sink", "<|end|>"), "<|end|>")]


@pytest.mark.parametrize(("given", "behind"), WAYS)
def test_the_command_line_names_a_sink(folder, given, behind):
    parser = argparse.ArgumentParser()
    for names, keywords in options.MODEL:
        parser.add_argument(*names, **keywords)
    found = options.load(parser.parse_args(["--model", folder, *given]))
    assert found.leading_bos == (behind and tiny.EOS)
