"""Where the defaults for the embedded model come from: layer and learning rate, coarse to fine.

    python -m tests.sweep rome          # about 15 minutes on two cores; writes lib/sweeps.json

Only even-numbered classroom cases are used; odd ones are for reporting. Stage 1 tries six layers on
12 cases, stage 2 the best layer ± 2 with three learning rates, on the same cases. Each is scored by
free
generation: the harmonic mean of efficacy, generalization and specificity decides.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import lib

OUT = Path(lib.__file__).parent / "sweeps.json"
GRID = {
    "rome": {"layers": (3, 6, 9, 12, 16, 20), "rate": "v_lr", "rates": (0.25, 0.5, 1.0)},
    "ft": {"layers": (6, 12, 18, 20, 22, 25, 27), "rate": "lr", "rates": (1e-4, 5e-4, 1e-3)},
}


def trial(editor: lib.Editor, cases: list[lib.Case], base) -> dict:
    """Three shares by generation, their harmonic mean, and the median seconds of an edit."""
    metrics = ("efficacy", "generalization", "specificity", "locality")
    scores = lib.singly(editor, cases, ("generation",), metrics, base)
    found = scores.json()
    shares = [found[m]["generation"] for m in metrics[:3]]
    row = dict(zip(metrics, shares, strict=False))
    row["kl_nats"] = found["locality"]["kl_nats"]
    row["harmonic"] = statistics.harmonic_mean(shares)
    row["seconds"] = statistics.median(scores.seconds)
    return {name: round(value, 4) for name, value in row.items()}


def sweep(name: str, count: int, settings: dict) -> dict:
    """Both stages; the rows in the order in which they were tried, and the best one."""
    lm, grid = lib.load(dtype="float32"), GRID[name]
    cases = [case for case in lib.classroom() if case.id % 2 == 0][:count]
    metrics = ("efficacy", "generalization", "specificity", "locality")
    base = lib.baseline(lm, cases, events=("generation",), metrics=metrics)
    default = lib.EDITORS[name](lm, **settings).config
    rows = []

    def attempt(**changes) -> None:
        if any(all(row[k] == v for k, v in changes.items()) for row in rows):
            return
        editor = lib.EDITORS[name](lm, **{**settings, **changes})
        rows.append({**changes, **trial(editor, cases, base)})
        print(rows[-1], file=sys.stderr, flush=True)

    for layer in grid["layers"]:
        attempt(layer=layer, **{grid["rate"]: getattr(default, grid["rate"])})
    best = max(rows, key=lambda row: row["harmonic"])["layer"]
    for layer in range(max(0, best - 2), min(lm.n_layers, best + 3)):
        for rate in grid["rates"]:
            attempt(layer=layer, **{grid["rate"]: rate})
    return {
        "command": f"python -m tests.sweep {name} --cases {count}"
        + "".join(f" --set {key}={json.dumps(value)}" for key, value in settings.items()),
        "date": time.strftime("%Y-%m-%d"),
        "model": lm.identity,
        "cases": [case.id for case in cases],
        "rows": rows,
        "best": max(rows, key=lambda row: row["harmonic"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("editor", choices=sorted(GRID))
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    settings = {k: json.loads(v) for k, _, v in (pair.partition("=") for pair in given.set)}
    found = sweep(given.editor, given.cases, settings)
    kept = json.loads(given.out.read_text()) if given.out.exists() else {}
    part = given.out.with_suffix(f".{os.getpid()}.tmp")
    part.write_text(json.dumps({**kept, given.editor: found}, indent=1) + "\n", encoding="utf-8")
    part.replace(given.out)
    print(json.dumps(found["best"], indent=1))


if __name__ == "__main__":
    main()
