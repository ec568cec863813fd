"""Eighty facts as visitors type them, and what tests each: measured, and kept in typed_facts.json.

    python -m tests.support.typed_facts

asks the embedded model (some minutes). Sixty are rows of public data, drawn with seed 59: thirty of
ROME's known_1000.json and thirty of CounterFact (both MIT); twenty are typed. Before the first run
a reader wrote down for each which relations its prompt means, and of which kinds its neighbors may
be. A score is false where it rests on another relation or kind, on fewer than three neighbors, on
one whose answer the model is not sure of, or on an answer that several subjects get.

Three are false and 23 have no neighbors. With the visitor's own prompt alone one was false and 47
had none; with facts of other questions alone, as long as the same prompt gave too few, three were
false and 29 had none. The verdicts were left as they were.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lib
from demo_app.session import asking, kinds
from demo_app.session.own_facts import FIRM, LEAST
from demo_app.session.studio import Studio
from demo_app.session.worker import Job

FILE = Path(__file__).with_suffix(".json")


def tested(studio: Studio, subject: str, prompt: str, target: str) -> dict[str, Any]:
    """The relation of a typed fact or the kind of its subject, and the prompts that test it."""
    asked = studio.choices.subject(subject, prompt, target)
    case = studio.own_facts.judged(Job(lambda _: None), asked).case
    pairs = [[probe.prompt, probe.target] for probe in case.neighborhood]
    kind = None if case.relation else kinds.kind_of(studio.lm, subject)
    return {"relation": case.relation, "kind": kind, "neighbors": pairs}


def false(one: dict[str, Any]) -> str | None:
    """Why a score of such a fact would be false; None where it would not, or there is none."""
    found = one["found"]
    answers = [answer.casefold() for _, answer in found["neighbors"]]
    if found["relation"] is not None:
        means = found["relation"] in one["means"]
        return None if means else f"it does not mean “{found['relation']}”"
    if answers and found["kind"] not in one["kinds"]:
        return f"it is no {found['kind']}"
    if 0 < len(answers) < LEAST or len(set(answers)) < len(answers):
        return f"too few neighbors that differ ({FIRM})"
    return None


if __name__ == "__main__":
    held = json.loads(FILE.read_text(encoding="utf-8"))
    asking.TOKENS = 5  # an answer is judged by its first words
    studio = Studio(lib.load())
    studio.own_facts._in_its_sense = lambda *_: ()  # rewordings have tests of their own
    for one in held["facts"]:
        one["found"] = tested(studio, *one["fact"])
        print(one["fact"], one["found"], false(one), flush=True)
    held["model"] = studio.lm.name
    lines = ",\n".join("  " + json.dumps(one, ensure_ascii=False) for one in held.pop("facts"))
    text = json.dumps(held)[:-1] + f', "facts": [\n{lines}\n]}}\n'
    FILE.write_text(text, encoding="utf-8")
    studio.close()
