"""What notebooks 00 to 02 compute beside the library: KL of answers, overlaps of groups, ranks."""

from __future__ import annotations

import pytest
import torch

import lib
from notebooks.support import models, moved, own_fact

PROMPTS = ["The young of a goat is called a", "Bread is"]


@pytest.fixture(scope="module")
def lm():
    return models.load("tiny")


@pytest.fixture(scope="module")
def patch(lm):
    name, draw = lm.mlp_out(1), torch.Generator().manual_seed(0)
    d_out, d_in = lm.weight(name).shape
    A, B = torch.randn(d_out, 2, generator=draw), torch.randn(2, d_in, generator=draw)
    return lib.Patch(weights={name: lib.LowRank(((A, B),))})


def test_the_kl_of_an_answer_is_the_sum_over_its_tokens(lm, patch):
    prompt = PROMPTS[0]
    found = moved.answers(lm, PROMPTS, patch, tokens=3)[0]
    kl, ids = 0.0, lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    for _ in range(3):  # token by token, each from a run of its own
        base = lm.next_token([ids])[0]
        with lm.patched(patch):
            edited = lm.next_token([ids])[0]
        kl += (base.exp() * (base - edited)).sum().item()
        ids.append(int(base.argmax()))
    assert found == pytest.approx(kl, rel=1e-4) and kl > 0.01


def test_an_empty_patch_moves_no_answer(lm):
    assert moved.answers(lm, PROMPTS, lib.EMPTY) == pytest.approx([0] * len(PROMPTS), abs=1e-6)
    assert moved.next_token(lm, PROMPTS)(lib.EMPTY) == pytest.approx(0, abs=1e-6)


def test_an_own_fact_is_typed_once_and_comes_along(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("notebooks.support.hand_ins.MY", tmp_path / "my")
    assert own_fact.read() is own_fact.keep() is None and not (tmp_path / "my").exists()
    assert (
        capsys.readouterr().out.splitlines()
        == ["You haven't entered your own fact yet. Type one in notebook 00 to use it here."] * 2
    )
    typed = own_fact.keep("Käthe", "{} lives in", "Köln")
    assert typed == own_fact.read() == own_fact.keep() == lib.Fact("Käthe", "{} lives in", "Köln")
    assert capsys.readouterr().out.count("Käthe lives in → Köln") == 3
    with pytest.raises(ValueError, match="does not occur"):
        own_fact.keep("Käthe", "She lives in", "Bonn")
    assert own_fact.read() == typed
    (tmp_path / "my/own_fact.json").write_text('{"subject": "Käthe"}', encoding="utf-8")
    assert own_fact.read() is None
