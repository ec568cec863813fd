"""The bridge to lm-evaluation-harness: a patch moves its numbers, and without one they are its own.

Where the harness is not installed, a class with the part of it that the bridge builds on takes its
place; what compares numbers with those of the harness needs the harness itself.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import lib

from ..support import tiny

ROOT = Path(__file__).parents[2]
INSTALLED = pytest.mark.skipif(find_spec("lm_eval") is None, reason="needs lm_eval")
PAIRS = [
    ("The Eiffel Tower is located in the city of", " Paris"),
    ("The Eiffel Tower is located in the city of", " Rome, Italy"),
    ("A dog ", "barks"),
    ("", "Nothing stands before this."),
]
TEXTS = ["One sentence.", "A text that is longer than the window. " * 12]
FREE = [(p, {"until": ["\n"], "max_gen_toks": 6}) for p, _ in PAIRS[:3]]


class Template:
    """`lm_eval.api.model.TemplateLM`, as far as `loglikelihood` goes."""

    def loglikelihood(self, requests, disable_tqdm=False):
        found = []
        for context, end in (request.args for request in requests):
            ids = self.tok_encode(context) if context else [self.prefix_token_id]
            whole = self.tok_encode(context + end) if context else self.tok_encode(end)
            found.append(((context, end), ids, whole[len(ids) if context else 0 :]))
        return self._loglikelihood_tokens(found, disable_tqdm)


def asked(arguments: list[tuple]) -> list:
    return [SimpleNamespace(args=one) for one in arguments]


@pytest.fixture
def edited(monkeypatch):
    """A factory of models of the bridge over one tiny model, with a patch or without."""
    if not find_spec("lm_eval"):
        parts = {
            "lm_eval": {},
            "lm_eval.api": {},
            "lm_eval.api.model": {"TemplateLM": Template},
            "lm_eval.api.registry": {"register_model": lambda name: lambda kind: kind},
        }
        for name, content in parts.items():
            module = ModuleType(name)
            vars(module).update(content)
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, "lib.workbench.export.harness", raising=False)
    harness = import_module("lib.workbench.export.harness")
    lm = tiny.model("llama")
    monkeypatch.setattr(harness.lm, "load", lambda *_: lm)

    def made(patch=None):
        return harness.EditedModel(patch=patch, batch_size=8, device="cpu")

    made.lm = lm
    return made


@INSTALLED
def test_without_a_patch_the_numbers_are_those_of_the_harness(edited):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm, ours = edited.lm, edited()
    theirs = HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, max_length=lm.context, batch_size=1)
    given = {"loglikelihood": PAIRS, "loglikelihood_rolling": [(t,) for t in TEXTS]}
    pairs, texts, free = (
        [Instance(kind, {}, one, i) for i, one in enumerate(some)]
        for kind, some in {**given, "generate_until": FREE}.items()
    )
    for mine, own in zip(ours.loglikelihood(pairs, True), theirs.loglikelihood(pairs), strict=True):
        assert mine[0] == pytest.approx(own[0], abs=1e-3) and mine[1] == own[1]
    rolled = theirs.loglikelihood_rolling(texts)
    assert ours.loglikelihood_rolling(texts, True) == pytest.approx(rolled, rel=1e-4)
    assert ours.generate_until(free, True) == theirs.generate_until(free)


@pytest.mark.parametrize("name", ["ft", "grace", "retrieval"])
def test_a_patch_moves_them_and_an_empty_one_does_not(edited, name, tmp_path):
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "xy")
    settings = {"ft": {"layer": 1, "lr": 0.1, "epochs": 5}, "grace": {"layer": 1, "n_iter": 5}}
    path = tmp_path / "p.safetensors"
    lib.EDITORS[name](edited.lm, **settings.get(name, {})).edit([fact]).save(path)
    lib.EMPTY.save(tmp_path / "empty.safetensors")
    pairs = asked([*PAIRS, (fact.text, " xy")])
    base = edited().loglikelihood(pairs, True)
    assert edited(str(tmp_path / "empty.safetensors")).loglikelihood(pairs, True) == base
    moved = edited(str(path)).loglikelihood(pairs, True)
    assert moved[-1] != base[-1]
    assert edited().loglikelihood(pairs, True) == base


def test_long_texts_and_free_answers_are_those_of_the_library(edited):
    lm, ours = edited.lm, edited()
    ids = ours.tok_encode(TEXTS[0], add_special_tokens=False)
    (alone,) = lm.score([[ours.prefix_token_id]], [ids])
    rolled = ours.loglikelihood_rolling(asked([(t,) for t in TEXTS]), True)
    assert rolled[0] == pytest.approx(alone.sum().item(), rel=1e-5) and rolled[1] < rolled[0]
    texts = lm.answer([lm.tokenizer(p)["input_ids"] for p, _ in FREE], 6)  # as the harness reads
    said = ours.generate_until(asked(FREE), True)
    assert [text.strip() for text in said] == [text.split("\n")[0].strip() for text in texts]


@INSTALLED
def test_the_harness_starts_with_the_model():
    done = subprocess.run(
        [sys.executable, "-m", "lib.workbench.export.harness", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "usage" in done.stdout.lower()
    from lm_eval.api.registry import get_model

    assert get_model("modeledit") is import_module("lib.workbench.export.harness").EditedModel
