"""Facts and cases are taken as they come, by every function that takes either."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lib
from lib.data import as_facts
from lib.data.relations import relations
from lib.workbench.interpret.causal_trace import trace

from ..support import tiny
from ..support.streams import Noise

FACTS = [
    lib.Fact(name, "{} is in", city, "Oslo")
    for name, city in [("Ann", "Rome"), ("Bob", "Bonn"), ("Cleo", "Lima")]
]
CASES = [lib.Case(fact, ("Where?",), id=f"c{i}") for i, fact in enumerate(FACTS)]


def objects(items):
    found = np.empty(len(items), dtype=object)
    found[:] = items
    return found


HOLDERS = {
    "a list": list,
    "a tuple": tuple,
    "a generator": lambda items: (item for item in items),
    "an array": objects,
    "a filtered column": lambda items: pd.Series([None, *items])[1:],
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("items", [FACTS, CASES], ids=["facts", "cases"])
def test_whatever_holds_them_in_an_order_is_taken(holder, items):
    assert as_facts.facts(HOLDERS[holder](items)) == FACTS
    found = as_facts.cases(HOLDERS[holder](items))
    assert list(found) == (CASES if items is CASES else [lib.Case(f, id=i) for i, f in
                                                         enumerate(FACTS)])  # fmt: skip


def test_a_single_one_is_taken():
    for one in (FACTS[1], CASES[1]):
        assert as_facts.facts(one) == [FACTS[1]] and as_facts.fact(one) == FACTS[1]
    with pytest.raises(lib.errors.ArgumentError, match="Expected one fact, but got 3"):
        as_facts.fact(CASES)


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_every_entrance_takes_a_fact_a_case_and_a_column(lm):
    editor, column = Noise(lm), pd.Series(FACTS + CASES)[1:3]
    quick = {"metrics": ("efficacy",), "events": ("teacher_forced",)}
    for given in (FACTS[1], CASES[1], column, (c for c in CASES)):
        some = [*given] if not isinstance(given, lib.Fact | lib.Case) else given
        facts = tuple(as_facts.facts(some))
        patch = editor.edit(some)
        assert patch.facts == facts
        assert lib.evaluate(lm, some, patch, pool=some, **quick).rows.case.nunique() == len(facts)
        assert lib.baseline(lm, some, **quick).scores.rows.case.nunique() == len(facts)
        assert lib.singly(editor, some, **{**quick, "metrics": ("efficacy",)}).seconds
        assert lib.known(lm, some) == []
        run = lib.stream(lm, editor, some, evaluate_with={**quick, "pool": some}).finish()
        assert run.edits == len(facts) and run.patch.facts == facts
        lives = {"again": lib.workbench.EditedAgain("ft", some)}
        assert lives["again"].facts == facts
        assert lm.keys(some, 1).shape[1] == len(facts)
        assert lm.at_subjects(some, [lm.mlp_out(1)])[lm.mlp_out(1)].shape[1] == len(facts)
        assert lib.keys_values.answer_gradients.read(lm, some, [lm.mlp_out(1)])[
            lm.mlp_out(1)
        ].K.shape[1]
        assert relations(some) == {}
        with pytest.raises(lib.Error, match="probe of truth needs"):
            lib.workbench.truth_probe(lm, some, some)
        with pytest.raises(lib.Error, match="knows 0 facts"):
            lib.workbench.tune(lm, ["ft"], some)
    assert len(lib.superposition(lm, pd.Series(CASES), 1)) == 3
    assert len(lib.superposition(lm, ["Ann", FACTS[1], CASES[2]], 1)) == 3
    for one in (FACTS[0], CASES[0], [CASES[0]], pd.Series(FACTS)[:1]):
        assert (
            lib.evaluation.own_facts.matches(lm, one, {}) == []
            and lib.case_for(lm, one, among={}) is None
        )
        assert trace(lm, one, layers=[1], samples=1).subject == (0, 2)
        assert lib.workbench.dossier(lm, one, among={}).entity == "Ann"
