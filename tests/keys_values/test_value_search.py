"""The search for v*: its loss terms, where it stops, batches of facts, and NaN."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import lib
from lib.errors import EditWarning
from lib.keys_values import value_search
from lib.keys_values.context_templates import contexts
from lib.model.hooks import hooked

from ..support import tiny

FACTS = [
    lib.Fact("The old tower", "I saw {} in", "xy"),
    lib.Fact("A cat", "{} sat on the", "qz"),
    lib.Fact("Pisa", "The tower of {}", "xyz"),
]
TEMPLATES = ("{}", "Well. {}")
MANY = (*TEMPLATES, "So {}", "And {}", "Oh, {}", "Yes. {}")  # whose KL rows run by themselves


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma3_text"])
def lm(request):
    return tiny.model(request.param)


def test_the_first_look_is_the_model_itself(lm):
    found = value_search.search(lm, FACTS[:1], 1, TEMPLATES, value_search.Search(steps=1))[0]
    total, nll, kl, decay, chance = found.loss[0]
    scores = [lm.score(t.replace("{}", FACTS[0].text), FACTS[0].target_new) for t in TEMPLATES]
    own = -torch.stack([s.mean() for s in scores]).mean().item()
    assert nll == pytest.approx(own, rel=1e-4) and kl == pytest.approx(0, abs=1e-6) and decay == 0
    assert total == pytest.approx(nll, rel=1e-6)
    assert torch.equal(found.delta, torch.zeros_like(found.delta))  # the last look makes no step
    wanted = torch.stack([s.exp().mean() for s in scores]).mean().item()
    assert chance == pytest.approx(wanted, rel=1e-4)


def test_key_and_init_are_input_and_output_of_the_module(lm):
    found = value_search.search(lm, FACTS[:1], 1, TEMPLATES, value_search.Search(steps=1))[0]
    K = lm.keys(FACTS[:1], 1, TEMPLATES)[:, :, 0]  # (t, d_in)
    torch.testing.assert_close(found.keys, K, atol=1e-5, rtol=1e-4)
    name = lm.mlp_out(1)
    bias = lm.model.get_submodule(name).bias
    value = lm.weight(name) @ K[0] + (0 if bias is None else bias)
    torch.testing.assert_close(found.init, value, atol=1e-4, rtol=1e-4)


def test_the_clamp_holds_and_the_search_goes_down(lm):
    settings = value_search.Search(v_lr=0.5, steps=15, clamp=0.7, enough=-1.0)
    for found in value_search.search(lm, FACTS, 1, TEMPLATES, settings):
        assert found.delta.norm() <= 0.7 * found.init.norm() * (1 + 1e-5)
        assert len(found.loss) == 15 and found.loss[-1][1] < found.loss[0][1]
        torch.testing.assert_close(found.v_star, found.init + found.delta)


@pytest.mark.slow
@pytest.mark.parametrize("templates", [TEMPLATES, MANY])
def test_a_batch_equals_one_by_one_each_with_its_own_stop(lm, templates):
    free = value_search.Search(v_lr=0.5, steps=12, clamp=20.0, decay=0.0, enough=-1.0)
    curves = [found.loss for found in value_search.search(lm, FACTS, 1, templates, free)]
    low = min(curves, key=lambda curve: curve[7][0])
    settings = replace(free, enough=(low[6][0] + low[7][0]) / 2)  # one fact ends before the others
    together = value_search.search(lm, FACTS, 1, templates, settings)
    steps = set()
    for fact, found in zip(FACTS, together, strict=True):
        (alone,) = value_search.search(lm, [fact], 1, templates, settings)
        assert len(alone.loss) == len(found.loss)
        scale = alone.v_star.norm()
        assert (alone.v_star - found.v_star).norm() < 1e-3 * scale
        steps.add(len(found.loss))
    assert len(steps) > 1


@pytest.mark.parametrize("templates", [TEMPLATES, MANY])
def test_the_kl_term_is_that_of_the_subject_whichever_row_it_is_read_in(lm, templates):
    _, _, subjects = value_search.rows_of(lm, FACTS, templates, False)
    n, t = len(FACTS), len(templates)
    assert subjects == [n * t, t, n * t + 1]  # the second prompt begins with its subject
    settings = value_search.Search(steps=4, kl_factor=1.0)
    every = value_search.search(lm, FACTS, 1, templates, settings)
    for fact, found in zip(FACTS, every, strict=True):
        ids, at = lib.data.facts.lookup(lm.tokenizer, replace(fact, prompt="{} is a"))

        def moved(_, __, output, found=found, at=at):
            output[:, at] += found.delta
            return output

        before = lm.model(torch.tensor([ids])).logits[0, at].log_softmax(-1)
        with hooked(lm.model.get_submodule(lm.mlp_out(1)), moved):
            now = lm.model(torch.tensor([ids])).logits[0, at].log_softmax(-1)
        kl = (now.exp() * (now - before)).sum()
        assert found.loss[-1][2] == pytest.approx(kl.item(), rel=1e-3) and kl > 1e-4


def test_the_block_can_be_the_site(lm):
    found = value_search.search(
        lm, FACTS[:1], 1, ("{}",), value_search.Search(steps=1), site="block"
    )[0]
    name = f"{lm.arch.blocks}.1"
    ids, at = lib.data.facts.lookup(lm.tokenizer, FACTS[0])
    seen = lm.run([ids], watch=[name, lm.mlp_out(1)]).seen
    wanted = seen[lm.mlp_out(1) if lm.arch.post_norm else name][1][0, at]
    torch.testing.assert_close(found.init, wanted, atol=1e-4, rtol=1e-4)


def test_nan_during_the_search_is_one_sentence_and_changes_nothing(lm, monkeypatch):
    settings = {"layer": 1, "templates": ("{}",), "tokens": 600, "steps": 5}
    editor = lib.EDITORS["rome"](lm, **settings)
    before = [p.clone() for p in lm.model.parameters()]
    looks = []

    def head(hidden, real=lm.head):
        looks.append(1)
        return real(hidden) * (
            float("nan") if len(looks) == 4 else 1
        )  # one look warns, not searches

    with monkeypatch.context() as patched:
        patched.setattr(lm, "head", head)
        with pytest.raises(lib.errors.EditError, match="produced NaN or infinity at step 2"):
            editor.edit(FACTS[:1])

    def search(*given, real=value_search.search, **more):
        return [replace(f, delta=f.delta * float("inf")) for f in real(*given, **more)]

    monkeypatch.setattr(value_search, "search", search)
    with pytest.raises(lib.errors.EditError, match="NaN or infinite"):
        editor.edit(FACTS[:1])
    assert all(torch.equal(a, b) for a, b in zip(before, lm.model.parameters(), strict=True))


def test_a_fact_that_the_model_knows_already_is_a_warning(default_lm):
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Paris")
    with pytest.warns(EditWarning, match="already answers .* with 'Paris'"):
        lib.EDITORS["retrieval"](default_lm).edit([fact])


def test_contexts_are_seeded_and_hold_one_place_each(lm):
    made = contexts(lm, ((5, 2), (10, 2)), start=5, seed=3, top_k=0)
    lm._kept.clear()
    assert made == contexts(lm, ((5, 2), (10, 2)), start=5, seed=3, top_k=0)
    assert made != contexts(lm, ((5, 2), (10, 2)), start=5, seed=4, top_k=0)
    assert made[0] == "{}" and len(made) == 5
    assert all(t.count("{}") == 1 and t.endswith(". {}") for t in made[1:])
    words = contexts(lm, ((10, 5),), start="words", seed=0)
    assert words[1].startswith("The") and words[5].startswith("You")


def test_contexts_hold_no_token_that_is_no_text(lm, monkeypatch):
    """Gemma 3 begins one text of seventeen with the beginning of an image."""
    lm._kept.clear()
    image, head = 7, type(lm).head
    likely = torch.zeros(lm.model.config.vocab_size).index_fill(0, torch.tensor([image]), 50)
    monkeypatch.setattr(lm, "head", lambda hidden: head(lm, hidden) + likely)
    made = contexts(lm, ((9, 3),), start=5, seed=3, top_k=0)
    mark = lm.tokenizer.decode([image]).strip()
    assert all(mark in text for text in made[1:])
    tokenizer = type(lm.tokenizer)
    monkeypatch.setattr(tokenizer, "added_tokens_decoder", property(lambda self: {image: mark}))
    lm._kept.clear()
    made = contexts(lm, ((9, 3),), start=5, seed=3, top_k=0)
    assert len(made) == 4 and not any(mark in text for text in made)


def test_settings_are_named_in_the_order_that_a_cache_on_disk_knows():
    assert repr(value_search.Search()) == (
        "Search(v_lr=0.5, steps=20, decay=0.5, clamp=4.0, kl_factor=0.0625, enough=0.05, "
        "target_eos=False, relax=False)"
    )
