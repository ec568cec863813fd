"""A whole examination: the verdict, its JSON, groups of layers, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch

import lib
from lib.patch.patch import Patch
from lib.workbench.forensics.investigation import NOT_COVERED, examine, investigate

from ..support.editor_settings import quick
from .conftest import LAYER, NAMES, SUBJECT, rank_one

SMALL = {"tokens": 4000, "threshold": 5.0}


@pytest.fixture
def suspect(lm, moments):
    C = moments[LAYER] + 1e-2 * moments[LAYER].diagonal().mean() * torch.eye(len(moments[LAYER]))
    return rank_one(lm, C, size=8.0)[0]


def test_the_verdict_names_subject_and_layer_and_is_not_certain(lm, suspect, text):
    found = investigate(lm, NAMES, suspect, layers=[0, LAYER], text=text, **SMALL)
    assert found.found[0].name == SUBJECT and found.found[0].layers == (LAYER,)
    assert found.verdict.startswith(f"Consistent with an edit of: {SUBJECT} (layer {LAYER}, z ")
    assert NOT_COVERED in str(found) and SUBJECT in str(found)
    assert list(found.answers.columns) == ["token", "kl", "rise", "p"]
    kept = json.loads(json.dumps(found.json(), allow_nan=False))
    assert kept["suspects"][0]["name"] == SUBJECT and len(kept["layers"]) == 2
    assert kept["layers"][LAYER]["name"] == SUBJECT and kept["candidates"] == len(NAMES)


def test_an_unedited_model_gets_no_suspect(lm, text):
    found = investigate(lm, NAMES, text=text, **{**SMALL, "threshold": 20.0})
    assert not found.found and not len(found.answers)
    assert found.verdict.startswith("No candidate stands out: of 200 candidates in 4 layers")


def test_groups_of_layers_give_the_same(lm, suspect, text, monkeypatch):
    more = {"prompts": [f"{name} is" for name in NAMES]}
    whole = investigate(lm, NAMES, suspect, text=text, **more, **SMALL)
    monkeypatch.setattr("lib.workbench.forensics.investigation.room", lambda: 1)
    parts = investigate(lm, NAMES, suspect, text=text, **more, **SMALL)
    assert torch.allclose(whole.filtered.z, parts.filtered.z, atol=0.05)
    assert torch.allclose(whole.prompts.z, parts.prompts.z, atol=0.05)
    assert parts.prompts.layers == parts.filtered.layers == tuple(range(lm.n_layers))
    assert parts.answers.token.tolist() == whole.answers.token.tolist()


def test_whole_prompts_are_candidates_too(lm, text):
    """Fine-tuning of one layer changes it where the prompt ends."""
    fact = lib.Fact("cat", "I saw a {}", "xy")
    patch = lib.EDITORS["ft_m"](lm, **{**quick("ft_m"), "layer": LAYER}).edit([fact])
    prompts = [fact.text, *(f"{name} and {name[::-1]}" for name in NAMES)]
    more = {**SMALL, "threshold": 0.1, "layers": [LAYER]}
    found = investigate(lm, prompts, patch, prefix="{}", text=text, **more)
    z = found.filtered.z[0]
    assert z[0] > z[1:].quantile(0.9) and len(found.answers)


def test_prompts_beside_subjects_have_a_null_of_their_own(lm, moments, text):
    """An edit where a prompt ends: no subject is named, and the prompt is, in one examination."""
    asked = [f"{name} and {name[::-1]}" for name in NAMES]
    C = moments[LAYER] + 1e-2 * moments[LAYER].diagonal().mean() * torch.eye(len(moments[LAYER]))
    patch = rank_one(lm, C, asked[3], size=8.0, prefix="{}")[0]
    more = {**SMALL, "layers": [0, LAYER], "text": text, "prompt_threshold": 5.0}
    found = investigate(lm, NAMES, patch, prompts=asked, **more)
    alone = investigate(lm, NAMES, patch, **more)
    assert torch.equal(found.filtered.z, alone.filtered.z), "subjects are compared as before"
    whole = investigate(lm, asked, patch, prefix="{}", **more)
    assert torch.equal(found.prompts.z, whole.filtered.z) and alone.prompts is None
    first = found.suspects[0]
    assert first.prompt and first.name == asked[3] and first.layers == (LAYER,)
    assert found.verdict.startswith(f"Consistent with an edit of: “{asked[3]} …” (layer {LAYER}, ")
    assert list(found.spaces) == [LAYER] and found.spaces[LAYER].shape[1] == 1, "one key, no prefix"
    assert len(found.answers) and f"“{asked[3]} …”" in str(found)
    kept = json.loads(json.dumps(found.json(), allow_nan=False))
    assert kept["suspects"][0]["prompt"] and kept["prompts"]["layers"][LAYER]["name"] == asked[3]
    assert kept["prompts"]["candidates"] == len(asked) and alone.json()["prompts"] is None
    high = {**more, "threshold": 20.0, "prompt_threshold": 1000.0}
    none = investigate(lm, NAMES, patch, prompts=asked, **high)
    assert "of 200 candidates and 200 prompts in 2 layers" in none.verdict
    assert not none.found and not none.spaces, "the prompt's z is below the prompts' threshold"
    assert not none.suspects[0].prompt, "a subject reaches more of its threshold"
    low = investigate(lm, NAMES, patch, prompts=asked, **{**high, "threshold": 0.1})
    assert low.found and not any(one.prompt for one in low.found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"names": ["a", "b"]}, "at least 20 candidates"),
        ({"prompts": ["a", "b"]}, "at least 20 whole prompts"),
        ({"threshold": -1.0}, "threshold should be a number of at least 0"),
        ({"layers": [99]}, "has layers 0 to 3"),
        ({"prefix": "no place"}, "should end with its one"),
        ({"text": "no/such/file"}, "cannot be read"),
    ],
)
def test_what_cannot_be_examined_is_refused_in_a_sentence(lm, text, given, said):
    with pytest.raises(lib.Error, match=said):
        investigate(lm, **{"names": NAMES, "text": text, **SMALL, **given})


def test_a_patch_of_routes_is_not_looked_for_in_the_weights(lm):
    patch = lib.EDITORS["grace"](lm, **quick("grace")).edit([lib.Fact("cat", "I saw a {}", "xy")])
    with pytest.raises(lib.errors.ForensicsError, match="decides at the prompt"):
        investigate(lm, NAMES, patch)
    with pytest.raises(lib.errors.PatchError, match="This patch is for another"):
        investigate(lm, NAMES, Patch(base="another 0"))


def test_between_two_steps_the_model_is_free_and_the_result_is_the_same(lm, suspect, text):
    """A page serves others meanwhile, so no patch may stay entered across a step."""
    seen, steps = [], examine(lm, NAMES, suspect, layers=[0, LAYER], text=text, **SMALL)
    while True:
        try:
            share, words = next(steps)
        except StopIteration as end:
            found = end.value
            break
        assert not lm.is_patched and words
        with lm.patched(lib.EMPTY, only=True):
            lm.next_token(["somebody else asks"])
        seen.append(share)
    assert len(seen) > 4 and seen == sorted(seen) and 0 < seen[0] and seen[-1] < 1
    whole = investigate(lm, NAMES, suspect, layers=[0, LAYER], text=text, **SMALL)
    assert torch.equal(found.filtered.z, whole.filtered.z)
    assert list(found.spaces) == [LAYER], "the directions with which the suspect is taken out"
    B = found.spaces[LAYER]
    assert torch.allclose(B.T @ B, torch.eye(B.shape[1]), atol=1e-4)
    assert not investigate(lm, NAMES, text=text, **{**SMALL, "threshold": 99.0}).spaces
