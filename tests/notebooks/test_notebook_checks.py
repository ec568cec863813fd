"""The checks of the notebooks' exercises name each mistake, and can be solved."""

from __future__ import annotations

import pytest

from lib.interpret import causal_trace
from notebooks.support import checks_03_where as checks_03
from notebooks.support import models

SYNONYM = {
    "solved": ("Mumbai", "Bombay"),
    "same subject": ("Mumbai", "mumbai"),
    "same thing": ("Mumbai", "Vancouver"),
    "no peak": ("Bombay", "Mumbai"),
}


@pytest.fixture(scope="module")
def traced_once():
    """Traces of the default model by prompt: two of the words below ask for Mumbai's again."""
    known = {}

    def trace(lm, prompt, subject, **more):
        if prompt not in known:
            known[prompt] = causal_trace.trace(lm, prompt, subject, **more)
        return known[prompt]

    return trace


@pytest.mark.slow
@pytest.mark.parametrize("word", SYNONYM)
def test_the_check_of_a_synonym_names_the_mistake(plain_lm, word, traced_once, monkeypatch):
    monkeypatch.setattr(checks_03, "trace", traced_once)
    pairs = [(f"{name} is a city in the country of", name) for name in SYNONYM[word]]
    said = checks_03.synonym(plain_lm, 0.117, *pairs)
    assert word in said and said.startswith("solved") == (word == "solved"), said


def test_a_synonym_that_is_no_prompt_is_named():
    lm = models.load("tiny")
    assert checks_03.synonym(lm, 0.1, None, None).startswith("not attempted")
    assert "cannot be traced" in checks_03.synonym(lm, 0.1, ("x y", "z"), ("a b", "b"))
