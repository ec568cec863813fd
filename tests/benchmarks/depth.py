"""Whether edited facts are held when they are doubted, in free text, after thinking, by a probe.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.depth --to FOLDER [--editors rome,ft]

The patches are those of `tests.benchmarks.survival`, sixty facts each, in the same folder; the
first forty facts are asked. The probe of truth is trained on the classroom's other facts.
depth.json beside this file gets the value of each fact in each test.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import torch

import lib
from lib.atomic_files import whole_file
from lib.errors import ProbeError
from lib.workbench.instruments.depth import EDITED, TESTS, TOLD, TRUTH, UNEDITED, Depth, depth
from lib.workbench.instruments.truth_probe import TruthProbe, truth_probe
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom
from tests.benchmarks.survival import FACTS, written

OUT = Path(__file__).with_suffix(".json")
ASKED = 40
NEW, OLD = "the new answer looks true", "the old answer looks true"


def values(found: Depth, model: str) -> dict[str, list[float]]:
    """{test: the value of each fact}."""
    return {test: [round(v, 4) for v in found.values(model, test)] for test in TESTS}


def looks_true(
    lm: lib.LM, probe: TruthProbe, cases: list[lib.Case], patch: lib.Patch
) -> dict[str, list[int]]:
    """{answer: whether each fact's statement with it looks true}; empty where the probe refuses."""
    try:
        return {
            name: [
                int(score > 0)
                for score in probe.scores(
                    lm, [(c.fact.text, str(getattr(c.fact, key))) for c in cases], patch
                )
            ]
            for name, key in ((NEW, "target_new"), (OLD, "target_true"))
        }
    except ProbeError as error:
        print(error)
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, required=True, help="folder of patches")
    parser.add_argument("--editors", default="rome,memit,ultraedit,ft,alphaedit,lora,grace")
    given = parser.parse_args()
    warnings.simplefilter("ignore", lib.errors.EditWarning)
    lm, cases = lib.load(dtype=torch.float32), classroom("tables")
    some = cases[:FACTS]
    asked = some[:ASKED]
    every = sorted([*classroom("tuning"), *cases], key=lambda case: case.id)
    probe = truth_probe(lm, every, some)
    stored = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    stored["probe"] = {
        "accuracy": [round(v, 4) for v in (probe.accuracy, probe.low, probe.high)],
        "statements": probe.statements,
        "block": probe.block,
    }
    base: Depth | None = None
    for name in given.editors.split(","):
        start = time.process_time()
        patch = written(lm, name, [case.fact for case in some], given.to)
        found = depth(lm, patch, asked, base)
        if base is None:
            base, plain = found, looks_true(lm, probe, asked, lib.EMPTY)
            stored |= {model: values(found, model) for model in (TOLD, TRUTH)}
            stored[UNEDITED] = values(found, UNEDITED) | plain
        stored[name] = values(found, EDITED) | looks_true(lm, probe, asked, patch)
        with whole_file(OUT) as part:
            part.write_text(json.dumps(stored) + "\n", encoding="utf-8")
        measured.record(OUT, vars(given))
        print(f"{name}, {time.process_time() - start:.0f} CPU s\n{found}", flush=True)


if __name__ == "__main__":
    command(main)
