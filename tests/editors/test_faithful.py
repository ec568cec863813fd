"""The defaults of the five papers' editors are the papers' algorithms; `preset="ours"` is ours."""

from __future__ import annotations

from dataclasses import replace

import pytest

import lib

from ..support import tiny
from ..support.editor_settings import settings

# what makes each algorithm the paper's, whatever rates, margins, layers and sizes a model has; the
# settings say themselves where one change of ours is kept, as lemoe's `routing` does
STRUCTURE = {
    "wise": {
        "mask_ratio": 0.2,
        "density": 0.53,
        "merge": "ties",
        "retrieve": False,
        "act_ratio": 0.88,
        "irrelevant_n": 1,
        "margin_weight": 1.0,
        "contexts": ((5, 5), (10, 5)),
        "context_start": "words",
        "context_top_k": 5,
        "remeasure": False,
        "track": False,
        "calibrate": None,
        "whiten": None,
        "rehearse": 0,
    },
    "lemoe": {
        "expert": "ffn",
        "insert": True,
        "routing": "fitted",  # the one change: trained with the expert alone, it forgets
        "gate": "softmax",
        "null": None,
        "order": "cluster",
        "contexts": (),
    },
    "ultraedit": {
        "ridge": 1.0,
        "whiten": None,
        "warmup": "statistics",  # the one change: else a lone fact is not edited
        "strength": 0.0,
        "keep_keys": False,
        "repeat": 1,
        "few": None,
        "reduction": "group_mean",
    },
    "wilke": {"keys": "mixed", "layers": None, "ceiling": 7},
}
CHANGED = {"lemoe": {"routing": "paper"}, "ultraedit": {"warmup": "none"}}
# models: their name, and the number of blocks that their rows are for
MODELS = {
    "somebody/new": 4,
    "SmolLM2-135M-Instruct behind <|endoftext|>": 30,
    "gemma-3-270m": 18,
}
FACTS = [lib.Fact("The old tower", "I saw {}", "qz"), lib.Fact("Anna", "{} lives in", "xy")]


@pytest.mark.parametrize("name", STRUCTURE)
@pytest.mark.parametrize("model", MODELS)
def test_the_default_has_the_structure_of_the_paper(name, model):
    lm = tiny.model("llama", num_hidden_layers=MODELS[model])
    lm.name = model
    kind = lib.EDITORS[name]
    config, paper = vars(kind(lm).config), vars(kind.published(lm))
    assert {key: config[key] for key in STRUCTURE[name]} == STRUCTURE[name]
    as_published = STRUCTURE[name] | CHANGED.get(name, {})
    assert {key: paper[key] for key in as_published} == as_published


@pytest.mark.parametrize("name", lib.EDITORS)
def test_every_editor_has_a_preset_named_ours(name):
    lm, Config = tiny.model("llama"), lib.EDITORS[name].Config
    ours = Config.preset(lm, name, preset="ours")
    assert name in STRUCTURE or ours == Config.preset(lm, name)


@pytest.mark.parametrize("name", STRUCTURE)
@pytest.mark.parametrize("order", [(None, "ours"), ("ours", None)], ids=["ours last", "ours first"])
def test_both_forms_write_on_an_untuned_model_and_go_on_after_each_other(name, order):
    lm, kind = tiny.model("llama"), lib.EDITORS[name]
    given = {k: v for k, v in settings(name, "llama").items() if k not in STRUCTURE[name]}
    first, second = (kind(lm, preset=form, **given) for form in order)
    patch = first.edit(FACTS[:1], check=False)
    assert patch.log[0].settings == first.settings_dict()
    if name == "lemoe":  # all experts of one patch have one gate
        with pytest.raises(lib.errors.EditError, match="This patch contains experts with gate"):
            second.edit(FACTS[1:], after=patch)
        return
    patch = second.edit(FACTS[1:], after=patch, check=False)
    assert [edit.settings for edit in patch.log] == [first.settings_dict(), second.settings_dict()]
    assert lm.is_untouched


def test_a_preset_inside_ours_begins_with_ours():
    lm = tiny.model("llama", num_hidden_layers=30)
    lm.name = "SmolLM2-135M-Instruct behind <|endoftext|>"
    kind = lib.EDITORS["ultraedit"]
    ours, batch = (kind(lm, preset=name).config for name in ("ours", "ours.batch"))
    assert replace(ours, down=batch.down, step=batch.step, strength=batch.strength) == batch
    assert batch != ours
    with pytest.raises(lib.errors.EditError, match="Available presets: ours, ours.batch$"):
        kind(lm, preset="batch")
