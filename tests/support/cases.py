"""Four cases with every kind of test prompt, and measured rows as a dictionary."""

from __future__ import annotations

from lib.data.facts import Case, Fact, Probe

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
