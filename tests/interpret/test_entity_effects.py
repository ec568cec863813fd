"""Causal traces of a dossier: the slow definition, the spread over noises, and others beside."""

from __future__ import annotations

from statistics import fmean

import pytest

import lib
from lib.data.relations import relations
from lib.interpret.causal_trace import trace
from lib.interpret.entity_effects import BESIDE, SAMPLES, SEEDS, effects

from ..support import tiny

KNOWN = relations()


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def lm(request):
    return tiny.model(request.param)


def test_an_effect_is_that_of_a_trace_at_the_subjects_last_token(lm):
    relation = KNOWN["capital of"]
    found = effects(lm, "  Xanadu and Ur ", [relation])[0]
    prompt = relation.ask(relation.templates[0], "Xanadu and Ur")
    runs = [
        trace(lm, prompt, "Xanadu and Ur", kinds=("mlp",), samples=SAMPLES, seed=seed)
        for seed in SEEDS
    ]
    last = runs[0].subject[1]
    means = [
        fmean(run.indirect("mlp")[last, layer].item() for run in runs)
        for layer in range(0, lm.n_layers, 3)
    ]
    assert found.effect == pytest.approx(max(means), abs=1e-6)
    assert found.layer == 3 * means.index(max(means)) and found.relation == "capital of"
    here = [run.indirect("mlp")[last, found.layer].item() for run in runs]
    assert (found.low, found.high) == pytest.approx((min(here), max(here)), abs=1e-6)
    assert found.low < found.high, "the noises differ"
    assert found.answer == runs[0].answer and found.p_clean == pytest.approx(runs[0].p_clean)
    assert found.p_noisy == pytest.approx(fmean(run.p_corrupted for run in runs), abs=1e-6)
    assert found.others == BESIDE and found.usual is not None


def test_an_article_inside_a_sentence_is_the_subjects_own(lm):
    relation = KNOWN["located in the city of"]
    inside = next(t for t in relation.templates if not t.startswith("{}"))
    turned = lib.Relation("r", (inside,), relation.answers, (), ())
    found = effects(lm, "The Eiffel Tower", [turned])[0]
    assert found.relation == "r" and 0 <= found.p_clean <= 1


def test_the_entity_is_none_of_the_others_and_nobody_else_gives_none(lm):
    one = relations([lib.Case(lib.Fact("A", "It is said that {} is", "x", "y"), relation="r")])["r"]
    found = effects(lm, "a", [one])[0]
    assert found.others == 0 and found.usual is None


def test_the_patch_is_traced_and_left(lm):
    relation = KNOWN["capital of"]
    module = lm.mlp_out(1)
    patch = lib.Patch({module: lm.weight(module) * 3})
    before, after = (effects(lm, "Xanadu", [relation], p)[0] for p in (lib.EMPTY, patch))
    assert before.p_clean != after.p_clean and not lm.is_patched
    assert effects(lm, "Xanadu", []) == ()
