"""LEMoE: what stays frozen, who answers what, its parts switched off, and going on exactly."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import pytest
import torch

import lib
from lib.editors.lemoe.experts import ExpertRows, Experts, activation, answer, fresh, module_for
from lib.editors.lemoe.routers import AnchorFit

from ..support import tiny

FACTS = [
    lib.Fact("The old tower", "I saw {}", "qz"),
    lib.Fact("Anna", "{} lives in", "xy"),
    lib.Fact("A ship", "Where does {} sail", "qz"),
    lib.Fact("Peter", "Ask {} about", "xyz"),
]
CALM = ("A cat sat on the mat", "Seven days", "what is it", "In the morning he ran", "so be it")
# our form, whose hard gate and null anchor most of these tests are about
SETTINGS = {"preset": "ours", "layer": 1, "lr": 1e-2, "steps": 30, "templates": ("{}",),
            "irrelevant": CALM,
            "width": 32, "batch_size": 2}  # fmt: skip


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def editor(lm, **more):
    return lib.EDITORS["lemoe"](lm, **{**SETTINGS, **more})


@cache
def two(**more) -> tuple[lib.Patch, lib.Patch]:
    """Two facts, then two more, an expert each."""
    made = editor(tiny.model("llama"), **more)
    first = made.edit(FACTS[:2])
    return first, made.edit(FACTS[2:], after=first)


def experts(patch: lib.Patch) -> Experts:
    (found,) = (route for route in patch.routes.values() if isinstance(route, Experts))
    return found


def router(patch: lib.Patch):
    return experts(patch).router


def entries(lm, patch, texts):
    with lm.patched(patch):
        return [notes[0]["entry"] for notes in lm.answer(texts, 1, explain=True)[1]]


def frozen(a: Experts, b: Experts, count: int) -> bool:
    pairs = zip(a.experts[:count], b.experts[:count], strict=True)
    return all(torch.equal(e[name], f[name]) for e, f in pairs for name in e)


# ---- experts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ffn", "lora"])
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "phi3", "gemma3_text", "falcon"])
def test_a_new_expert_is_a_copy_that_says_nothing(family, kind):
    lm = tiny.model(family)
    expert, module, act = fresh(lm, 1, kind, 16, 0), module_for(lm, 1, kind), activation(lm, kind)
    text = FACTS[0].text
    x, y = (t[0].float() for t in lm.run([text], watch=[module]).seen[module])
    assert not answer(expert, x, act).any()
    if kind == "ffn":  # with the layer's own output projection it is the layer's MLP
        out = lm.mlp_out(1)
        expert["down"] = lm.weight(out)
        if "down_bias" in expert:
            expert["down_bias"] = lm.model.get_submodule(out).bias.detach()
        torch.testing.assert_close(answer(expert, x, act), y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["opt", "bloom"])
def test_families_without_a_plain_mlp_module_take_lora_only(family):
    lm = tiny.model(family)
    with pytest.raises(lib.errors.EditError, match="Use expert='lora'"):
        editor(lm).edit(FACTS[:1])
    patch = editor(lm, expert="lora", steps=3).edit(FACTS[:1])
    assert set(patch.routes) == {lm.mlp_out(1)}


@pytest.mark.parametrize("kind", ["ffn", "lora"])
def test_old_experts_and_keys_are_frozen_and_still_answer(lm, kind):
    first, both = two(expert=kind)
    assert len(experts(first).experts) == 1 and len(experts(both).experts) == 2
    assert frozen(experts(first), experts(both), 1)
    assert torch.equal(router(first).keys, router(both).keys[:1])
    texts = [fact.text for fact in FACTS]
    assert entries(lm, both, texts) == [0, 0, 1, 1]
    before = logits(lm, first, texts[:2])
    after = logits(lm, both, texts[:2])
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))  # bit for bit


def logits(lm, patch, texts):
    with lm.patched(patch):
        return [lm.run([text]).logits for text in texts]


def test_under_the_soft_gate_old_answers_move(lm):
    first, both = two(gate="softmax")
    text = [FACTS[0].text]
    assert entries(lm, both, text) == [0] and frozen(experts(first), experts(both), 1)
    assert not torch.equal(logits(lm, first, text)[0], logits(lm, both, text)[0])


# ---- routing ------------------------------------------------------------------------------------


def test_every_stored_prompt_finds_its_own_expert_or_it_is_said(lm, monkeypatch):
    for patch in two():
        state = patch.memory["lemoe"]
        e, owner = state["e"][state["prompt"]], state["owner"][state["prompt"]]
        assert router(patch).misrouted(e, owner) == 0
    assert two()[1].memory["lemoe"]["facts"] == 4
    # anagrams have one mean: only the newer can win, and nothing else is said of the older
    same = [lib.Fact(None, "ab cd", "xy"), lib.Fact(None, "dc ba", "qz")]
    patch = editor(lm, batch_size=1, steps=3).edit(same)
    assert patch.memory["lemoe"]["owner"].tolist() == [1]
    monkeypatch.setattr("lib.editors.lemoe.lemoe.AnchorFit", partial(AnchorFit, steps=0))
    with pytest.warns(lib.errors.EditWarning, match="2 of 2 stored prompts are not answered"):
        editor(lm, steps=2, null=5.0).edit(FACTS[:2])


def test_the_decision_reads_the_prompt_alone(lm, monkeypatch):
    patch, seen, whole = two()[1], [], Experts.decide

    def watched(self, inputs, output, seqs):
        seen.append(whole(self, inputs, output, seqs))
        return seen[-1]

    monkeypatch.setattr(Experts, "decide", watched)
    tuned = lib.EDITORS["ft"](lm, layer=0, lr=0.05, epochs=5).edit(FACTS[:1])
    for under in (patch, patch | tuned):  # nor on what other edits do to hidden states
        with lm.patched(under):
            for target in (None, "xy", "something longer"):
                for prompt in (FACTS[0].text, FACTS[2].text, CALM[0]):
                    lm.answer(prompt, 3) if target is None else lm.score(prompt, target)
    assert torch.cat(seen).tolist() == [0, 1, -1] * 6


# ---- parts switched off -------------------------------------------------------------------------


def test_memoe_trains_all_its_experts_at_every_batch(lm):
    made = editor(lm, insert=False, routing="hidden", gate="softmax", experts=3)
    first = made.edit(FACTS[:2])
    both = made.edit(FACTS[2:], after=first)
    assert len(experts(both).experts) == 3 and set(both.routes) == {experts(both).module}
    old, new = router(first).weight, router(both).weight
    assert old.shape == new.shape and not torch.equal(old, new)  # the router keeps moving
    assert not frozen(experts(first), experts(both), 3)
    found = entries(lm, both, [fact.text for fact in FACTS] + list(CALM))
    assert min(found) >= 0  # nothing is out of scope
    again = lib.EDITORS["lemoe"](lm, made.config).edit(FACTS[2:], after=first)
    assert torch.equal(router(again).weight, new)


def test_each_part_can_be_left_out(lm):
    reused = editor(lm, insert=False, experts=2, batch_size=1, steps=2).edit(FACTS)
    assert len(experts(reused).experts) == len(router(reused).keys) == 2
    assert reused.memory["lemoe"]["owner"][reused.memory["lemoe"]["prompt"]].tolist()[-1] == 1
    paper = editor(lm, routing="paper", steps=3).edit(FACTS)
    assert router(paper).bias is None and min(entries(lm, paper, list(CALM))) >= 0
    with pytest.warns(lib.errors.EditWarning, match="of 4 stored prompts are not answered"):
        hidden = editor(lm, routing="hidden", batch_size=1, steps=2).edit(FACTS)
    assert router(hidden).weight.shape[0] == 4
    with pytest.raises(lib.errors.EditError, match="experts with routing fitted, not paper"):
        editor(lm, routing="paper").edit(FACTS[:1], after=two()[0])
    with pytest.raises(lib.errors.EditError, match="routing should be .* not 'best'"):
        editor(lm, routing="best").edit(FACTS[:1])


def test_the_facts_of_one_call_are_planned(lm):
    facts = [FACTS[0], lib.Fact("zzz", "{} 777", "qz"), replace(FACTS[0], prompt="I saw {} a"),
             lib.Fact("zzz", "{} 778", "qz")]  # fmt: skip
    owners = {}
    for order in ("cluster", "given"):
        state = editor(lm, order=order, steps=2).edit(facts).memory["lemoe"]
        owners[order] = state["owner"][state["prompt"]].tolist()
    assert owners == {"cluster": [0, 0, 1, 1], "given": [0, 0, 1, 1]}
    given = [f.text for f in facts]
    planned = editor(lm, order="cluster", steps=2).edit(facts)
    assert entries(lm, planned, given) == [0, 1, 0, 1]


# ---- patches ------------------------------------------------------------------------------------


def test_facts_given_twice_and_wrong_numbers(lm):
    twice = [FACTS[0], replace(FACTS[0], target_new="xy")]
    patch = editor(lm, steps=100).edit(twice)
    with lm.patched(patch):
        assert lm.answer(FACTS[0].text, 1) == " xy"
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(ExpertRows, "loss", lambda *_: torch.tensor(torch.nan))
        with pytest.raises(lib.errors.EditError, match="loss is not finite"):
            editor(lm).edit(FACTS[:1])
    with pytest.raises(lib.errors.EditError, match="irrelevant should be a list of non-empty"):
        editor(lm, irrelevant=())
