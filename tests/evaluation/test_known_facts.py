"""Which facts a model knows before any edit."""

from __future__ import annotations

from dataclasses import replace

import lib


def test_known_facts_are_those_that_the_model_says_by_itself(default_lm):
    cases = lib.classroom()[:3]
    never = replace(cases[1], fact=replace(cases[1].fact, target_true="Reykjavik"))
    unasked = replace(cases[2], fact=replace(cases[2].fact, target_true=None))
    assert lib.known(default_lm, [cases[0], never, unasked]) == [cases[0]]
    assert lib.known(default_lm, []) == []
    patch = lib.EDITORS["retrieval"](default_lm).edit([cases[1].fact])
    assert lib.known(default_lm, cases[1:2], patch) == [], "with the edit it says the new answer"
    assert lib.known(default_lm, cases[1:2]) == cases[1:2]
