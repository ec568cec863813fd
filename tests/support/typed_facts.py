"""Forty facts as visitors type them, and what tests each: measured, and kept in typed_facts.json.

    python -m tests.support.typed_facts

asks the embedded model (some minutes). A score is false where it rests on a relation that the
prompt does not mean, on fewer than three neighbors, on one whose answer the model is not sure of,
or on an answer that several subjects get.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lib
from demo_app.session.own_facts import FIRM, LEAST
from demo_app.session.studio import Studio
from demo_app.session.visitors import Session
from demo_app.session.worker import Trouble

FILE = Path(__file__).with_suffix(".json")


def tested(studio: Studio, subject: str, prompt: str, target: str) -> dict[str, Any]:
    """The relation of a typed fact, its neighbors, and what the model is sure of about them."""
    try:
        asked = studio.choices.subject(subject, prompt, target)
    except Trouble as error:
        return {"refused": str(error)}
    view = studio.look(Session(), asked).outcome()
    case = view.subject.case
    pairs = [(probe.prompt, probe.target) for probe in case.neighborhood]
    said = {row.prompt: row.before for row in view.rows if row.group == "neighbor"}
    return {"kind": case.relation, "neighbors": [[*pair, said[pair[0]]] for pair in pairs]}


def false(means: list[str], found: dict[str, Any]) -> str | None:
    """Why a score of such a fact would be false; None where it would not, or there is none."""
    if "refused" in found or (found["kind"] is None and not found["neighbors"]):
        return None
    if found["kind"] is not None:
        return None if found["kind"] in means else f"it does not mean “{found['kind']}”"
    answers = [answer.casefold() for _, answer, _ in found["neighbors"]]
    if len(answers) < LEAST or len(set(answers)) < len(answers):
        return "too few neighbors that differ"
    kept = all(said.strip().startswith(answer) for _, answer, said in found["neighbors"])
    return None if kept else f"a neighbor of which the model is not sure ({FIRM})"


if __name__ == "__main__":
    held = json.loads(FILE.read_text(encoding="utf-8"))
    studio = Studio(lib.load())
    for one in held["facts"]:
        one["found"] = tested(studio, *one["fact"])
        print(one["fact"], one["found"], false(one["means"], one["found"]), flush=True)
    held["model"] = studio.lm.name
    lines = ",\n".join("  " + json.dumps(one, ensure_ascii=False) for one in held.pop("facts"))
    text = json.dumps(held)[:-1] + f', "facts": [\n{lines}\n]}}\n'
    FILE.write_text(text, encoding="utf-8")
    studio.close()
