"""Facts and cases are taken as they come, by every function that takes either."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lib
from lib.data import taken
from lib.data.relations import relations
from lib.workbench.interpret.causal_trace import trace

from ..support import tiny
from ..support.streams import Noise

ROWS = [
    {"subject": name, "prompt": "{} is in", "target_new": city, "target_true": "Oslo",
     "paraphrases": [], "neighborhood": [], "locality": []}
    for name, city in [("Ann", "Rome"), ("Bob", "Bonn"), ("Cleo", "Lima")]
]  # fmt: skip
FACTS = [lib.Fact(row["subject"], row["prompt"], row["target_new"], "Oslo") for row in ROWS]
CASES = [lib.Case(fact, ("Where?",), id=f"c{i}") for i, fact in enumerate(FACTS)]


def objects(items):
    found = np.empty(len(items), dtype=object)
    found[:] = items
    return found


HOLDERS = {
    "a list": list,
    "a tuple": tuple,
    "a generator": lambda items: (item for item in items),
    "a dictionary's values": lambda items: dict(enumerate(items)).values(),
    "an array": objects,
    "a filtered column": lambda items: pd.Series([None, *items])[1:],
    "a column, named": lambda items: pd.Series(objects(items), index=list("xyz")),
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("items", [FACTS, CASES], ids=["facts", "cases"])
def test_whatever_holds_them_in_an_order_is_taken(holder, items):
    assert taken.facts(HOLDERS[holder](items)) == FACTS
    found = taken.cases(HOLDERS[holder](items))
    assert list(found) == (CASES if items is CASES else [lib.Case(f, id=i) for i, f in
                                                         enumerate(FACTS)])  # fmt: skip


def test_a_single_one_and_rows_of_a_table_are_taken():
    frame = pd.DataFrame(ROWS)
    for one in (FACTS[1], CASES[1], ROWS[1], frame.iloc[1], frame[1:2], objects(CASES[1:2])[0]):
        assert taken.facts(one) == [FACTS[1]] and taken.fact(one) == FACTS[1]
    assert taken.facts(frame) == taken.facts(ROWS) == taken.facts(r for r in ROWS) == FACTS
    assert taken.facts(frame[frame.subject != "Bob"]) == FACTS[::2], "its index is 0 and 2"
    assert [case.fact for case in lib.read_cases(frame)] == FACTS
    assert relations(frame) == relations(frame.iloc[1]) == {}, "a public function, too"
    with pytest.raises(lib.errors.ArgumentError, match="one fact is taken here, not 3"):
        taken.fact(CASES)


WRONG = {
    "a set": ({FACTS[0]}, "which has no order"),
    "a dictionary's keys": ({FACTS[0]: 1}.keys(), "which has no order"),
    "a path": ("facts.json", "are taken here, one or a list of them, not 'facts.json'"),
    "bytes": (b"facts", "not b'facts'"),
    "None": (None, "not None"),
    "NaN": (float("nan"), "not nan"),
    "the class": (lib.Fact, "not <class"),
    "a number among them": ([FACTS[0], 3], "row 1 is 3, not a lib.Fact or a lib.Case"),
    "NaN among them": (pd.Series([FACTS[0], None]), "row 1 is"),
    "a list in a list": ([CASES], r"row 0 is \[Case"),
}


@pytest.mark.parametrize("name", WRONG)
def test_everything_else_is_one_sentence(name):
    given, said = WRONG[name]
    for read in (taken.facts, taken.cases):
        with pytest.raises(lib.errors.ArgumentTypeError, match=said):
            read(given)
    with pytest.raises(lib.errors.FactError, match="row 0"):
        taken.facts([{"subject": "Ann"}])


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def test_every_entrance_takes_a_fact_a_case_and_a_column(lm):
    editor, column = Noise(lm), pd.Series(FACTS + CASES)[1:3]
    quick = {"metrics": ("efficacy",), "events": ("teacher_forced",)}
    for given in (FACTS[1], CASES[1], column, (c for c in CASES)):
        some = [*given] if not isinstance(given, lib.Fact | lib.Case) else given
        facts = tuple(taken.facts(some))
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
