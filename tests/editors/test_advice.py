"""What an error advises can be done: it is done here."""

from __future__ import annotations

import re

import pytest

import lib
from lib.errors import EditError, ExportError, PatchError

from ..support import tiny
from ..support.editor_settings import quick

FACT = lib.Fact("cat", "I saw a {}", "xy")
BESIDE = ("horen", "memoir", "steer", "grace", "wise", "lemoe", "retrieval")  # not in the weights


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.mark.parametrize("name", BESIDE)
def test_a_patch_that_acts_on_prompts_is_asked_and_kept_as_the_error_says(lm, name, tmp_path):
    patch = lib.EDITORS[name](lm, **quick(name)).edit([FACT], check=False)
    with lm.patched(patch):
        ids = lm.tokenizer("I saw a cat", return_tensors="pt").input_ids
        with pytest.raises(PatchError) as error:
            lm.model.generate(ids, max_new_tokens=2)
        said = str(error.value)
        assert "lm.answer" in said and "lm.generate" in said and "export" not in said
        assert isinstance(lm.answer("I saw a cat"), str) and lm.generate(["I saw a cat"], 2)
    path = patch.save(tmp_path / "p.safetensors")
    with lm.patched(lib.Patch.load(path)):
        assert lm.answer("I saw a cat")


@pytest.mark.parametrize("name", BESIDE)
def test_an_adapter_that_is_refused_is_not_sent_to_an_export_that_refuses(lm, name, tmp_path):
    patch = lib.EDITORS[name](lm, **quick(name)).edit([FACT], check=False)
    with pytest.raises(ExportError, match=r"Share the patch file, which lib.Patch.load reads\.$"):
        lib.workbench.export_peft(lm, patch, tmp_path / "adapter")


@pytest.mark.parametrize("name", [name for name, kind in lib.EDITORS.items() if kind.trained])
def test_a_network_that_is_missing_is_trained_as_the_error_says(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bare = tiny.model("llama")
    for own in (lib.LM(bare.model, bare.tokenizer), lib.LM(bare.model, bare.tokenizer, name="x/y")):
        small = {"down": (1, 2), "rank": 8}
        with pytest.raises(EditError) as error:
            lib.EDITORS[name](own, **small).edit([FACT])
        assert f"--model {own.name}" not in str(error.value)
        (call,) = re.findall(
            r"lib\.EDITORS\['(\w+)'\]\(lm\)\.fit\(cases, other_cases\)", str(error.value)
        )
        assert call == name and callable(lib.EDITORS[name](own, **small).fit)
