"""MEND: gradients of all tokens, of which it makes its edit."""

from __future__ import annotations

from random import Random

import pytest
import torch

import lib
from lib.editors.hypernetwork import losses as phases
from lib.keys_values import answer_gradients

from ..support import tiny
from ..support.networks import CASES, SMALL, naive_nll


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_features_of_all_tokens_give_the_weight_gradient_anywhere(family):
    lm = tiny.model(family)
    name, facts = lm.mlp_out(1), [case.fact for case in CASES]
    found = answer_gradients.read(lm, facts, [name], 1, "fact_mean", everywhere=True)[name]
    W = lm.weight(name).requires_grad_()
    loss = sum(naive_nll(lm, name, W, fact.text, fact.target_new) for fact in facts)
    (wanted,) = torch.autograd.grad(loss, W)
    torch.testing.assert_close(found.G @ found.K.T, wanted, atol=1e-5, rtol=1e-3)
    assert found.group.tolist() == sorted(found.group.tolist()) and found.group.max() == 2


def test_features_of_all_tokens_are_read_where_asked(lm):
    """MALMEN publishes the answer's positions; tokens="all" also reads the prompt's, as MEND."""
    fact = CASES[0].fact
    prompt = phases.encode_prompt(lm.tokenizer, fact.text)
    target = phases.encode_target(lm.tokenizer, fact.target_new)
    for tokens, count in (("answer", len(target)), ("all", len(prompt) + len(target) - 1)):
        editor = lib.EDITORS["malmen"](lm, **SMALL, tokens=tokens)
        found = editor.read([fact], lib.EMPTY)
        assert {pair.K.shape[1] for pair in found.values()} == {count}
        calm = editor.texts(CASES[:1], Random(0))[1][0]
        assert (len(calm.answer) == len(calm.ids)) == (tokens == "all")
    assert lib.EDITORS["mend"](lm, **SMALL).config.tokens == "all"
