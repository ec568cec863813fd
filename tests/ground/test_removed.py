"""Ten things that earlier versions had: each is one sentence that says what to use instead."""

from __future__ import annotations

import pytest

import lib
from lib.__main__ import main

from ..support import tiny

CASE = [lib.classroom()[0]]
NAMES = [f"{i} names" for i in range(20)]
CALLS = {
    "lib.Arena": lambda lm: lib.Arena,
    "lib.predicted_kl": lambda lm: lib.predicted_kl,
    "an import": lambda lm: exec("from lib import Arena"),
    "baseline": lambda lm: lib.baseline(lm, CASE, keep_base=True),
    "stream": lambda lm: lib.stream(lm, "rome", CASE, keep_base=True),
    "dossier": lambda lm: lib.dossier(lm, "Rome", layers=[3]),
    "its answers": lambda lm: lib.dossier(lm, "Rome", answers_only=True),
    "superposition": lambda lm: lib.superposition(lm, NAMES, 1, C=None),
    "investigate": lambda lm: lib.investigate(lm, NAMES, vectors=True),
    "its spectrum": lambda lm: lib.investigate(lm, NAMES, null=True),
    "a setting": lambda lm: lib.EDITORS["memit"](lm, chunk=20),
    "a format": lambda lm: lib.read_cases([{"update": "x", "rephrase": "y"}]),
}
INSTEAD = ("leave it out", "tests.benchmarks.arena", "notebook 06", "it is always", "write them")


@pytest.mark.parametrize("name", CALLS)
def test_what_has_left_says_what_to_use(name):
    with pytest.raises((ImportError, TypeError, ValueError)) as error:
        CALLS[name](tiny.model("llama"))
    text = str(error.value)
    assert "\n" not in text and any(words in text for words in INSTEAD), text


@pytest.mark.parametrize(
    "words", ["arena --to x", "forensics m --vectors", "describe x --layers 3"]
)
def test_commands_and_options_that_have_left_say_it_too(words, capsys):
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert any(instead in said for instead in INSTEAD)
