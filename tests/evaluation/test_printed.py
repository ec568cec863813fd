"""Results print whole: at most 100 columns, no "…" in place of a number, no line without one."""

from __future__ import annotations

import math

import pytest

import lib
from lib.evaluation.results import Table
from lib.evaluation.single_edits import singly
from lib.workbench.forensics.difference import difference
from lib.workbench.preset_search.tune import Tuned

from ..support import tiny
from ..support.cases import small_cases
from ..support.streams import Noise


@pytest.fixture(scope="module")
def lm():
    return tiny.chatting("llama")


@pytest.fixture(scope="module")
def scores(lm):
    """{name: scores} of three cases, one case, bare facts, single edits and a sampled stream."""
    cases, facts = small_cases(), [case.fact for case in small_cases()]
    patch = Noise(lm).edit(facts, check=False)
    run = lib.stream(lm, Noise(lm), cases, 2, sample=1).finish()
    return {
        "three": lib.evaluate(lm, cases[:3], patch),
        "one": lib.evaluate(lm, cases[:1], patch),
        "facts": lib.evaluate(
            lm, facts[:3], patch, metrics=("efficacy", "locality", "portability")
        ),
        "single": singly(Noise(lm), cases[:2]),
        "stream": run.scores[len(cases)],
        "sample": run.groups(len(cases))["recent"],
    }


def whole(text):
    assert all(len(line) <= 100 for line in text.splitlines()), max(text.splitlines(), key=len)
    assert "…" not in text and " ... " not in text and "NaN" not in text and "nan" not in text
    return True


KINDS = ("three", "facts", "sample")


@pytest.mark.parametrize("kind", KINDS)
def test_scores_print_whole(scores, kind):
    one = scores[kind]
    assert whole(repr(one)) and whole(repr(one.summary())) and whole(repr(one.table()))
    assert "NaN" not in one._repr_html_() and "…" not in one.summary()._repr_html_()
    assert one.summary()["cases"].iloc[:-1].min() > 0
    assert not one.summary()["mean"].isna().any()
    for metric, event in one.estimates():
        row = one.summary().query("metric == @metric and event == @event")
        assert f"{row['mean'].item():.3g}" in repr(row), (metric, event)


@pytest.mark.parametrize("kind", KINDS)
def test_a_comparison_prints_its_difference_and_interval(scores, kind):
    table = lib.compare(scores[kind], scores[kind])
    assert whole(repr(table)) and {"difference", "low", "high"} <= set(table)
    head = repr(table).splitlines()[0].split()
    assert head == ["metric", "event", "difference", "low", "high", "n", "better"]
    assert not table["difference"].isna().any()
    part = table[table["metric"] == "efficacy"]  # a part of it prints in the same way
    assert isinstance(part, Table) and whole(repr(part))


def test_columns_that_do_not_fit_stand_below_and_a_gap_is_a_dash():
    table = Table({f"a column of number {n}": [0.123456, math.nan] for n in range(12)})
    assert whole(repr(table)) and "–" in repr(table) and "0.123" in repr(table)
    assert all(name in repr(table) for name in table)
    assert "–" in table._repr_html_()


def test_forensics_and_searches_print_whole(lm):
    patch = Noise(lm).edit([case.fact for case in small_cases()], check=False)
    found = difference(lm, patch=patch)
    assert repr(found) == str(found) and whole(repr(found)) and "tensor(" not in repr(found)
    made = Tuned("p.toml", "p.md", {"rome": {"trials": [{"layer": 1}] * 99}})
    assert "trials" not in repr(made) and "p.toml" in repr(made)
