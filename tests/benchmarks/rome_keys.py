"""Which key ROME should write: published `mixed`, R-ROME's `mean` and `prompt`, or `both`.

    python -m tests.benchmarks.rome_keys      # writes rome_keys.json beside itself

Twenty even classroom cases and all even ones with a one-token subject at position 0, where the bare
prompt's key and those behind a context differ most; by generation, each fact alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import lib
from tests.benchmarks import command

OUT = Path(__file__).with_suffix(".json")
METRICS = ("efficacy", "generalization", "specificity", "locality")


def main() -> None:
    lm = lib.load(dtype="float32")
    even = [case for case in lib.classroom() if case.id % 2 == 0]
    first = [
        case
        for case in even
        if case.fact.prompt.startswith("{}") and len(lm.tokenizer(case.fact.subject).input_ids) == 1
    ]
    groups = {
        "one-token subject at position 0": first,
        "others": [c for c in even if c not in first],
    }
    found: dict[str, dict] = {}
    for group, cases in groups.items():
        cases, base = cases[:20], None
        for keys in ("mixed", "mean", "prompt", "both"):
            scores = lib.singly(
                lib.EDITORS["rome"](lm, keys=keys), cases, ("generation",), METRICS, base
            )
            base = scores.base
            means = scores.json()
            row = {metric: round(means[metric]["generation"], 3) for metric in METRICS}
            row["kl_nats"] = round(means["locality"]["kl_nats"], 4)
            found.setdefault(f"{group}, {len(cases)} cases", {})[keys] = row
            print(group, keys, row, flush=True)
            OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(main)
