"""Every row of the table of metrics can be asked by its name alone: a new one needs no more."""

from __future__ import annotations

import pytest

from lib import Case, Fact, evaluate
from lib.evaluation.metrics import EDITED, TABLE
from lib.evaluation.probe_prompts import probe_items

from ..support import tiny
from ..support.cases import small_cases

TOWER = Fact("The Eiffel Tower", "{} is located in the city of", "Rome", "Paris")


@pytest.fixture(scope="module")
def lm():
    return tiny.chatting("llama")


@pytest.mark.parametrize("name", [one.name for one in TABLE.values() if one.about == EDITED])
def test_a_metric_is_measured_where_it_is_asked_for(name, lm):
    cases = [*small_cases(), Case(TOWER, relation="located in the city of")]
    made = {item.metric.name for item in probe_items(cases, [name])}
    assert name in made or name == "retention"  # that one asks for the edits of a stream
    if not TABLE[name].stated:  # the random model states no fact that a negation could leak
        assert set(evaluate(lm, cases, metrics=[name]).rows["metric"]) == made
