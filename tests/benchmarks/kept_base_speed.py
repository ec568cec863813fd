"""CPU seconds of an evaluation in a fresh process, with the base model's answers on disk or not.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.kept_base_speed --zsre FILE [--cases 24]
        [--units NAME …] [--out FILE]

Every row is a process of its own, which loads the embedded model, asks the base model (`baseline`)
and measures one UltraEdit patch of all the facts (`evaluate`). Loading is not counted. The ways:
"not kept" is as without the option, "empty" keeps the answers in a folder without any, and "filled"
is the next process on the same cases. The cache folder is a temporary one with links to the real
one's models. Units are those of `evaluation_speed`, "all events" without the chat template.

opening  seconds of `baseline` for the label of the file: all weights and the tokenizer are read
differ   rows of the two score tables that differ from those of "not kept"; a KL beyond 1e-5 nats
bytes    size of the folder afterwards
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import command
from .evaluation_speed import differing

OUT = Path(__file__).with_suffix(".json")
UNITS = ("teacher-forced", "all events")
WAYS = ("not kept", "empty", "filled")
WORK = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import torch, lib
from lib.atomic_files import cache_folder
from lib.evaluation import kept_base
from lib.evaluation.answers import EVENTS
from lib.evaluation.probe_prompts import METRICS
torch.set_num_threads(1)
given = json.loads(sys.argv[1])
lm = lib.load(dtype="float32")
cases = list(lib.read_cases(given["zsre"], limit=given["cases"]))
some = ("efficacy", "generalization", "specificity", "locality")
asked = {
    "teacher-forced": {"events": ("teacher_forced",), "metrics": some},
    "all events": {
        "events": EVENTS, "metrics": [m for m in METRICS if m not in ("perplexity", "chat")],
    },
}[given["unit"]]
patch = lib.Patch.load(given["patch"])
lm.answer("The first call fills caches", 2)
opening, real = [0.0], kept_base.label

def timed(lm):
    start = time.process_time()
    found = real(lm)
    opening[0] += time.process_time() - start
    return found

kept_base.label = timed
start = time.process_time()
base = lib.baseline(lm, cases, keep_base=given["way"] != "not kept", **asked)
middle = time.process_time()
scores = lib.evaluate(lm, cases, patch, base=base, **asked)
end = time.process_time()

def listed(scores):
    rows = scores.rows
    return rows.astype(object).where(rows.notna(), None).values.tolist()

folder = cache_folder() / "base-answers"
print(json.dumps({
    "baseline": middle - start, "opening": opening[0], "evaluate": end - middle,
    "bytes": sum(f.stat().st_size for f in folder.iterdir()) if folder.exists() else 0,
    "rows": listed(base.scores) + listed(scores), "model": lm.identity,
}))
"""


def fresh(cache: Path, given: dict[str, Any]) -> dict[str, Any]:
    """What a process of its own measures, with its cache there."""
    env = {**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", WORK, json.dumps(given)]
    root = Path(__file__).parents[2]
    done = subprocess.run(words, cwd=root, env=env, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"a process failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measured(zsre: Path, cases: int, unit: str) -> list[dict[str, Any]]:
    """The three ways of a unit, one process after the other."""
    import lib
    from lib.atomic_files import cache_folder

    rows: list[dict[str, Any]] = []
    plain: list = []
    with tempfile.TemporaryDirectory() as work:
        cache, patch = Path(work) / "cache", Path(work) / "patch.safetensors"
        own = cache / "model-editing"
        own.mkdir(parents=True)
        lm = lib.load(dtype="float32")
        facts = [case.fact for case in lib.read_cases(zsre, limit=cases)]
        lib.EDITORS["ultraedit"](lm).edit(facts).save(patch)
        for path in cache_folder().iterdir():
            if path.name != "base-answers":
                (own / path.name).symlink_to(path)
        given = {"zsre": str(zsre.resolve()), "cases": cases, "unit": unit, "patch": str(patch)}
        for way in WAYS:
            found = fresh(cache, {**given, "way": way})
            scores = found.pop("rows")
            plain = plain or scores
            row = {"unit": unit, "way": way, "cases": cases, **found}
            rows.append({**row, "scores": len(scores), "differ": differing(scores, plain)})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zsre", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--units", nargs="+", choices=UNITS, default=UNITS)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    if given.cases < 1:
        raise ValueError("take at least one case")
    old = json.loads(given.out.read_text("utf-8"))["rows"] if given.out.exists() else []
    rows = [row for row in old if row["unit"] not in given.units]
    for unit in given.units:
        rows += measured(given.zsre, given.cases, unit)
    found = {"date": time.strftime("%Y-%m-%d"), "load": os.getloadavg()[0], "rows": rows}
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command(main)
