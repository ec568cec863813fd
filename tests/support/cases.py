"""Four cases with every kind of test prompt, and measured rows as a dictionary."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

import lib
from lib.data.facts import Case, Fact, Probe
from lib.evaluation.scores import COLUMNS
from lib.workbench.preset_search.tune import METRICS

CITY, LAND, SPORT = "{} is in the city of", "The country of {} is", "{} plays"


def small_cases():
    def case(i, subject, template, new, old, relation):
        fact = Fact(subject, template, new, old)
        return Case(
            fact,
            paraphrases=(f"Where is {subject}? In", f"{subject}: a"),
            neighborhood=(Probe(f"Near {subject} is", "abc"),),
            locality=(f"Once upon a time {i}", "The sea is"),
            portability=(Probe(f"{subject} speaks", "xyz"),),
            id=f"c{i}",
            relation=relation,
        )

    return [
        case(0, "Ann", CITY, "Rome", "Paris", "city"),
        case(1, "Bob", CITY, "Oslo", "London", "city"),
        case(2, "Cleo", LAND, "Peru", "Chile", "land"),
        case(3, "Dora", SPORT, "chess", None, "sport"),
    ]


def table(scores):
    keys = ["case", "metric", "prompt", "event"]
    return dict(zip(map(tuple, scores.rows[keys].values), scores.rows["value"], strict=True))


def scores_of(cases: Sequence[lib.Case], share: float, **shares: float) -> lib.Scores:
    """Scores by generation that are the same for all cases: `share`, or a metric's own."""
    found = {**dict.fromkeys(METRICS, share), **shares}
    rows = [
        [case.id, metric, "generation", case.fact.text, value, None, "xy"]
        for case in cases
        for metric, value in found.items()
    ]
    rows += [[case.id, "locality", "kl_nats", "", 0.0, None, ""] for case in cases]
    asked = [*((metric, "generation") for metric in found), ("locality", "kl_nats")]
    return lib.Scores(pd.DataFrame(rows, columns=COLUMNS), asked, "t")
