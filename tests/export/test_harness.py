"""The bridge to lm-evaluation-harness, where that is installed: its own numbers, and an edit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lib

from ..support import tiny

pytest.importorskip("lm_eval")
from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

from lib.export import harness  # noqa: E402

ROOT = Path(__file__).parents[2]
PAIRS = [
    ("The Eiffel Tower is located in the city of", " Paris"),
    ("The Eiffel Tower is located in the city of", " Rome, Italy"),
    ("A dog ", "barks"),
    ("", "Nothing stands before this."),
]
TEXTS = ["One sentence.", "A text that is longer than the window. " * 12]


def asked(kind: str, arguments: list[tuple]) -> list[Instance]:
    return [Instance(kind, {}, one, i) for i, one in enumerate(arguments)]


@pytest.fixture
def edited(monkeypatch):
    """A factory of models of the bridge over one tiny model, with a patch or without."""
    lm = tiny.model("llama")
    monkeypatch.setattr(harness.lm, "load", lambda *_: lm)

    def made(patch=None):
        return harness.EditedModel(patch=patch, batch_size=8, device="cpu")

    made.lm = lm
    return made


def test_without_a_patch_the_numbers_are_those_of_the_harness(edited):
    lm, ours = edited.lm, edited()
    theirs = HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, max_length=lm.context, batch_size=1)
    pairs, texts = (
        asked("loglikelihood", PAIRS),
        asked("loglikelihood_rolling", [(t,) for t in TEXTS]),
    )
    for mine, own in zip(ours.loglikelihood(pairs, True), theirs.loglikelihood(pairs), strict=True):
        assert mine[0] == pytest.approx(own[0], abs=1e-3) and mine[1] == own[1]
    rolled = theirs.loglikelihood_rolling(texts)
    assert ours.loglikelihood_rolling(texts, True) == pytest.approx(rolled, rel=1e-4)
    free = asked(
        "generate_until", [(p, {"until": ["\n"], "max_gen_toks": 6}) for p, _ in PAIRS[:3]]
    )
    assert ours.generate_until(free, True) == theirs.generate_until(free)


@pytest.mark.parametrize("name", ["ft", "grace", "retrieval"])
def test_a_patch_moves_them_and_an_empty_one_does_not(edited, name, tmp_path):
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "xy")
    settings = {"ft": {"layer": 1, "lr": 0.1, "epochs": 5}, "grace": {"layer": 1, "n_iter": 5}}
    path = tmp_path / "p.safetensors"
    lib.EDITORS[name](edited.lm, **settings.get(name, {})).edit([fact]).save(path)
    lib.EMPTY.save(tmp_path / "empty.safetensors")
    pairs = asked("loglikelihood", [*PAIRS, (fact.text, " xy")])
    base = edited().loglikelihood(pairs, True)
    assert edited(str(tmp_path / "empty.safetensors")).loglikelihood(pairs, True) == base
    moved = edited(str(path)).loglikelihood(pairs, True)
    assert moved[-1] != base[-1] and not edited.lm.owner.held
    assert edited().loglikelihood(pairs, True) == base


def test_the_harness_starts_with_the_model(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lib.export.harness", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "usage" in done.stdout.lower()
    from lm_eval.api.registry import get_model

    assert get_model("modeledit") is harness.EditedModel
