"""Makes lib/data/known.json: what a further model knows of the classroom and of the abilities.

    python -m tests.make_known gemma-3-270m     # writes that model's part of lib/data/known.json

The classroom and the abilities were made for the embedded model, which has all of them right. Of
another model the file says which cases it answers rightly before any edit, which neighbors of each
of them, and which items of the abilities. "Right" is the event *generation* in float32, and as
tests.benchmarks.abilities says. Not collected by pytest (minutes); the functions can be imported.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import lib
from lib.atomic_files import whole_file
from lib.data.texts import KNOWN
from lib.evaluation.prompt_batch import generated
from tests.benchmarks.abilities import KINDS, _right, items


def classroom_of(lm: lib.LM, cases: list[lib.Case]) -> dict[str, Any]:
    """The known cases, as {id: places of the known neighbors}, and how many rewordings are right.

    Keys: known, neighbors, rewordings; the last two as [right, asked] over the known cases.
    """
    asked = [(case.fact.text, case.fact.target_true) for case in cases]
    near = [(probe.prompt, probe.target) for case in cases for probe in case.neighborhood]
    reworded = [(text, case.fact.target_true) for case in cases for text in case.paraphrases]
    said = generated(lm, [*asked, *near, *reworded])
    right = {pair: verdict.begins for pair, (_, verdict) in said.items()}
    known, rewordings, neighbors = {}, [], []
    for case, pair in zip(cases, asked, strict=True):
        if right[pair]:
            good = [right[probe.prompt, probe.target] for probe in case.neighborhood]
            known[str(case.id)] = [place for place, one in enumerate(good) if one]
            neighbors += good
            rewordings += [right[text, case.fact.target_true] for text in case.paraphrases]
    return {
        "known": known,
        "neighbors": [sum(neighbors), len(neighbors)],
        "rewordings": [sum(rewordings), len(rewordings)],
    }


def abilities_of(lm: lib.LM) -> dict[str, list[int]]:
    """Of every kind the places of the items that the model has right."""
    some = items()
    good = dict(zip(some, _right(lm, list(some)), strict=True))
    kinds = {kind: [item for item in some if item.kind == kind] for kind in KINDS}
    return {
        kind: [place for place, item in enumerate(own) if good[item]] for kind, own in kinds.items()
    }


def main() -> None:
    """Measure one model and write its part of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a packaged model, a hub id or a local folder")
    parser.add_argument("--sink", help="as of `lib.load`: such a model has a name of its own")
    given = parser.parse_args()
    lm, start = lib.load(given.model, dtype="float32", sink=given.sink), time.perf_counter()
    found = {
        "model": lm.identity,
        "date": time.strftime("%Y-%m-%d"),
        "command": f"python -m tests.make_known {given.model}"
        + (f" --sink '{given.sink}'" if given.sink else ""),
        "classroom": classroom_of(lm, lib.classroom()),
        "abilities": abilities_of(lm),
    }
    kept = json.loads(KNOWN.read_text(encoding="utf-8")) if KNOWN.exists() else {}
    text = json.dumps({**kept, lm.name: found}, ensure_ascii=False)
    with whole_file(KNOWN) as part:
        part.write_text(text + "\n", encoding="utf-8")
    cases = found["classroom"]
    print(f"{len(cases['known'])} cases, neighbors {cases['neighbors']}, rewordings", end=" ")
    print(cases["rewordings"], {kind: len(v) for kind, v in found["abilities"].items()}, end=" ")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
