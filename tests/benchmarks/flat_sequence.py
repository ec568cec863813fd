"""What protects earlier facts where CrispEdit writes call after call: its forms in a sequence.

    python -m tests.benchmarks.flat_sequence        # about twenty minutes of one core

The same odd classroom cases are written in calls of eight, each call on the patch before it, by the
editor's own preset and each of its sequential forms. After the last call all facts are asked again,
beside what the edits cost neighbors and held-out text. Rows go to the JSON file of its name after
each form, and forms that are there already stay as they are.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import lib
from lib.atomic_files import whole_file
from lib.interpret import predicted_kl
from tests.benchmarks import command

OUT = Path(__file__).with_suffix(".json")
FORMS: dict[str, dict[str, Any]] = {
    "each call anew": {},
    "sequential, facts a tenth of the text": {"sequential": True},
    "sequential, a token a token": {"sequential": True, "edit_weight": 1.0},
    "sequential, mix": {"sequential": True, "mix": True},
    "recalculate at 0.25": {"recalculate": 0.25},
    "recalculate at 0.01": {"recalculate": 0.01},
}
FIRST, FACTS, CALL, TEXT = 32, 32, 8, 512  # the cases of flat_directions come before these


def form_row(lm: lib.LM, cases: list[lib.Case], settings: dict[str, Any], base: Any) -> Any:
    """One form.

    moved   the largest share of its length by which a matrix has moved, after each call
    first   the share of the first call's facts that are generated, after each call
    held, rewordings, neighbors   by generation after the last call, one share per case
    text    KL(base ‖ edited) on held-out text, a mean per window, nats per token
    """
    editor, patch = lib.EDITORS["crispedit"](lm, **settings), lib.EMPTY
    row: dict[str, Any] = {"moved": [], "first": []}
    seconds = 0.0
    for start in range(0, len(cases), CALL):
        begun = time.process_time()
        patch = editor.edit([case.fact for case in cases[start : start + CALL]], after=patch)
        seconds += time.process_time() - begun
        shares = [
            float((W - lm.weight(name).cpu()).norm() / lm.weight(name).norm())
            for name, W in patch.weights.items()
        ]
        row["moved"].append(round(max(shares), 4))
        found = lib.evaluate(lm, cases[:CALL], patch, ["generation"], metrics=[])
        row["first"].append(found.by_case()["efficacy", "generation"]["mean"].tolist())
    row["cpu_seconds"] = round(seconds, 1)
    sums, counts = predicted_kl.by_window(lm, [patch], tokens=TEXT)
    row["text"] = [round(x, 7) for x in (sums / counts)[0].tolist()]
    asked = ["generalization", "specificity"]
    found = lib.evaluate(lm, cases, patch, ["generation"], metrics=asked, base=base)
    of = found.by_case()
    for name, metric in {
        "held": "efficacy", "rewordings": "generalization", "neighbors": "specificity",
    }.items():  # fmt: skip
        row[name] = [round(float(x), 6) for x in of[metric, "generation"]["mean"]]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore", lib.EditWarning)
    lm = lib.load(dtype="float32")
    odd = [case for case in lib.classroom() if case.id % 2]
    cases = odd[FIRST : FIRST + FACTS]
    kept = json.loads(given.out.read_text()) if given.out.exists() else {"forms": {}}
    base = lib.baseline(lm, cases, events=["generation"], metrics=["generalization", "specificity"])
    for name, settings in FORMS.items():
        if name in kept["forms"]:
            continue
        kept["forms"][name] = form_row(lm, cases, settings, base)
        kept |= {
            "command": "python -m tests.benchmarks.flat_sequence",
            "model": lm.identity,
            "date": time.strftime("%Y-%m-%d"),
            "cases": [case.id for case in cases],
            "call": CALL,
        }
        with whole_file(given.out) as part:
            part.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        last = kept["forms"][name]
        print(name, last["moved"], sum(last["held"]) / len(cases), flush=True)


if __name__ == "__main__":
    command(main)
