"""What experts.py rests on in transformers, whose own module gives the same model and state."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from transformers import AutoModelForCausalLM

import lib
from lib.data.facts import lookup
from lib.model.experts import ModuleExperts, mixtures
from lib.model.recognition import arch_of

from ..support import tiny
from . import families, shared_expert

# transposed and with biases, without a gate's second half, with experts that all tokens share
OTHERS = ["gpt_oss", "aria_text", "deepseek_v3"]


@families.of_older
@pytest.mark.parametrize("family", OTHERS)
def test_experts_of_other_families_give_what_they_gave(family):
    lm = families.built(family)
    with torch.no_grad():  # biases begin at 0, and one that was left out would not be seen
        for name, p in lm.model.named_parameters():
            if name.endswith("_proj_bias"):
                p.add_(0.1 * torch.randn_like(p))
    plain = AutoModelForCausalLM.from_config(lm.model.config).eval()
    plain.load_state_dict(lm.model.state_dict())
    ids = torch.arange(5, 14)[None]
    with torch.no_grad():
        torch.testing.assert_close(lm.model(ids).logits, plain(ids).logits, atol=1e-5, rtol=1e-5)
    fact, layer = lib.Fact("The old tower", "I saw {}", "xy"), lm.written_layers[-1]
    given = []
    experts = plain.get_submodule(lm.arch.mlp.format(layer)).experts
    experts.register_forward_hook(lambda _, args, put: given.append(args))
    text, at = lookup(lm.tokenizer, fact)
    with torch.no_grad():
        plain(torch.tensor([text]))
    ((_, index, weights),) = given
    with lm.sent(fact):  # the one whose weight arrives
        name = f".experts.{index[at, weights[at].argmax()]}.down_proj"
        assert lm.mlp_out(layer).endswith(name)


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
def test_the_model_and_its_state_are_those_of_transformers(family):
    ours = tiny.model(family).model
    plain = AutoModelForCausalLM.from_config(ours.config).eval()
    (mlp, *_), (own, *_) = (list(mixtures(m, arch_of(m)).values()) for m in (plain, ours))
    assert isinstance(own.experts, ModuleExperts)
    assert {"gate_up_proj", "down_proj"} == set(dict(mlp.experts.named_parameters()))
    assert mlp.experts.act_fn and len(inspect.signature(mlp.experts.forward).parameters) == 3
    state = ours.state_dict()
    assert state.keys() == plain.state_dict().keys()
    plain.load_state_dict(state)
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, plain(ids).logits, atol=1e-5, rtol=1e-5)


def test_the_shared_expert_is_written_where_it_is_asked_for_and_undone():
    lm = families.built("qwen2_moe")  # its shared expert stands before a gate
    fact, texts = lib.Fact("The old tower", "I saw {}", "xy"), ["I saw The old tower", "It is"]
    first, before, arch = lm.score(fact.text, "xy").sum(), lm.next_token(texts), lm.arch
    lm.write_expert("shared")
    for name in ("rome", "memit", "ft", "ft_m"):
        patch = lib.EDITORS[name](lm, **families.settings(name, lm)).edit([fact])
        (written,) = patch.weights
        assert written.endswith(".mlp.shared_expert.down_proj"), name
        with lm.patched(patch):
            assert lm.score(fact.text, "xy").sum() > first + 1, name
        assert torch.equal(lm.next_token(texts), before) and lm.arch == arch
    lm.write_expert("routed")
    patch = lib.EDITORS["ft"](lm, **families.settings("ft", lm)).edit([fact])
    assert ".mlp.experts." in next(iter(patch.weights))


@pytest.mark.parametrize("family", ["mixtral", "llama"])
def test_a_model_without_a_shared_expert_says_so(family):
    lm = tiny.model(family)
    with pytest.raises(lib.errors.EditError, match=f"^tiny-{family} has no shared expert"):
        lm.write_expert("shared")
    assert lm.expert == "routed"


def test_an_edit_of_the_shared_expert_reaches_what_is_sent_elsewhere():
    stored = json.loads(shared_expert.STORE.read_text(encoding="utf-8"))
    assert tuple(stored) == shared_expert.FAMILIES
    for row in stored.values():
        for kind in ("wording, elsewhere", "subject, elsewhere"):
            routed, shared = row["routed"][kind][0], row["shared"][kind][0]
            assert abs(routed) < 0.4 and shared > routed + 0.3


@pytest.mark.slow
def test_the_stored_row_is_measured_again():
    stored = json.loads(shared_expert.STORE.read_text(encoding="utf-8"))["granitemoeshared"]
    for which, kinds in shared_expert.row("granitemoeshared").items():
        for kind, (gain, count) in kinds.items():
            assert [pytest.approx(gain, abs=0.05), count] == stored[which][kind], (which, kind)
