"""CPU seconds per evaluated case: each prompt read once with drafts, against the tree before.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.evaluation_speed --before TREE
        --zsre FILE --counterfact FILE [--json OUT] [--title NAME] [--units NAME …]

Two processes evaluate the same cases under the same patch, one with this tree and one with TREE,
and take turns: while one works the other waits, so both meet the same neighbors. Everything is one
thread's CPU time (user and system). "beside" runs the same with one more process beside them that
multiplies matrices of 1536 x 1536 all the time. Rows are added to the JSON file under their title.

Units, each for the base model (its answers and its own scores) and for the model under a patch:
teacher-forced   efficacy, generalization, specificity and locality with its KL
all events       every metric but the perplexity and the chat, whose replies older trees judged by
                 another rule, in all three events
three prompts    efficacy, generalization and specificity of ZsRE, teacher-forced: what the authors'
                 evaluation scores. Theirs is CPU time per row on another, quiet machine of 47 G
                 multiply-adds per second and thread, 0.184; `per_rate` scales it by the matrix
                 rate that was measured in the same run.

floor     of "three prompts" for the base model: the multiply-adds of every distinct prompt with its
          answer, each token once through all matrices of the blocks and the head where a token of
          the answer is predicted, at the matrix rate of the run
verdicts  rows of the score tables, and how many of them differ in value or text (a KL counts as
          different beyond 1e-5 nats)
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

import torch

HERE = Path(__file__).resolve()
AUTHORS = {"rate": 47e9, "seconds": 0.184}  # CPU per row of three prompts, one thread
KL = 1e-5  # nats
FEW = ("efficacy", "generalization", "specificity")
WORK = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import torch, lib
from lib.evaluation.answers import EVENTS
from lib.evaluation.probe_prompts import METRICS
torch.set_num_threads(1)
given = json.loads(sys.argv[1])
lm = lib.load(dtype="float32")
cases = {n: list(lib.read_cases(f, limit=k)) for n, (f, k) in given["files"].items()}
FEW = ("efficacy", "generalization", "specificity")
ASKED = {
    "teacher-forced": (("teacher_forced",), (*FEW, "locality")),
    "all events": (EVENTS, tuple(m for m in METRICS if m not in ("perplexity", "chat"))),
    "three prompts": (("teacher_forced",), FEW),
}
patches, bases = {n: lib.Patch.load(f) for n, f in given["patches"].items()}, {}
lm.answer("The first call fills caches", 2)
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    name, unit, who = json.loads(line)
    events, metrics = ASKED[unit]
    start = time.process_time()
    if who == "base":
        bases[name, unit] = lib.baseline(lm, cases[name], events=events, metrics=metrics)
        scores = bases[name, unit].scores
    else:
        scores = lib.evaluate(
            lm, cases[name], patches[name], events, bases[name, unit], metrics=metrics
        )
    cpu = time.process_time() - start
    rows = scores.rows.astype(object).where(scores.rows.notna(), None).values.tolist()
    found = {"cpu": cpu, "cases": len(cases[name]), "rows": rows}
    print(json.dumps(found), flush=True)
"""
UNITS = [
    (name, unit, who)
    for name, units in {
        "zsre": ("three prompts", "teacher-forced", "all events"),
        "counterfact": ("teacher-forced", "all events"),
    }.items()
    for unit in units
    for who in ("base", "patched")
]


class Worker:
    """A process that evaluates with the library of one tree, when told to."""

    def __init__(self, tree: Path, given: dict) -> None:
        here = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORK, json.dumps(given)],
            cwd=tree, env=here, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.read()

    def read(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise OSError("the process that evaluates has ended early")
        return json.loads(line)

    def run(self, unit: tuple[str, str, str]) -> dict:
        self.process.stdin.write(json.dumps(unit) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def matrix_rate(rows: int = 154, d: int = 576, width: int = 1536) -> float:
    """Multiply-adds per second of this thread's own time."""
    x, w = torch.randn(rows, d), torch.randn(width, d)
    repeats = max(20, int(1e10 / (rows * d * width)))
    start = time.process_time()
    for _ in range(repeats):
        x @ w.T
    return repeats * rows * d * width / (time.process_time() - start)


def least(lm: Any, cases: list) -> float:
    """Multiply-adds per case that reading the three prompts with their answers needs at least."""
    from lib.data.facts import encode_target
    from lib.evaluation.probe_prompts import probe_items

    pairs = {(item.prompt, item.answer) for item in probe_items(cases, FEW)}
    head = lm.model.get_output_embeddings()
    block = sum(m.weight.numel() for m in lm.blocks.modules() if hasattr(m, "in_features"))
    total = 0
    for prompt, answer in pairs:
        (row,), wanted = lm.rows([prompt])[0], encode_target(lm.tokenizer, answer)
        total += (len(row) + len(wanted) - 1) * block + len(wanted) * head.weight.numel()
    return total / len(cases)


def differing(ours: list, theirs: list) -> int:
    """How many rows of two score tables differ; the fifth value of a row is the score."""
    if len(ours) != len(theirs):
        return max(len(ours), len(theirs))

    def same(a: list, b: list) -> bool:
        near = KL if a[2] == "kl_nats" else 0
        return a[:4] + a[5:] == b[:4] + b[5:] and abs(a[4] - b[4]) <= near

    return sum(not same(a, b) for a, b in zip(ours, theirs, strict=True))


def measured(before: Path, given: dict, repeats: int, some: list) -> dict[str, Any]:
    """Some of UNITS by both trees in turn, `repeats` times; the smaller time of each counts."""
    trees = {"now": Worker(HERE.parents[2], given), "before": Worker(before, given)}
    rates, rows = [matrix_rate()], []
    for unit in some:
        times: dict[str, list[float]] = {"now": [], "before": []}
        for turn in range(repeats):
            order = list(trees) if turn % 2 else list(trees)[::-1]
            found = {name: trees[name].run(unit) for name in order}
            for name in order:
                times[name].append(found[name]["cpu"] / found[name]["cases"])
        now, old = (min(times[name]) for name in trees)
        rows.append(
            {
                "data": unit[0], "unit": unit[1], "who": unit[2], "cases": found["now"]["cases"],
                "now": now, "before": old, "ratio": old / now,
                "rows": len(found["now"]["rows"]),
                "differ": differing(found["now"]["rows"], found["before"]["rows"]),
            }
        )  # fmt: skip
        rates.append(matrix_rate())
        print(rows[-1], file=sys.stderr, flush=True)
    for worker in trees.values():
        worker.close()
    rate = max(rates)
    three = {r["who"]: r for r in rows if r["unit"] == "three prompts"}.get("patched")
    return {
        "load": os.getloadavg()[0], "rate_154": rate, "repeats": repeats, "units": rows,
        "authors_over_ours_per_rate": three
        and AUTHORS["seconds"] * AUTHORS["rate"] / rate / three["now"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--zsre", type=Path, required=True)
    parser.add_argument("--counterfact", type=Path, required=True)
    parser.add_argument("--cases", type=int, nargs=2, default=(24, 8), metavar=("ZSRE", "CF"))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--editor", default="ultraedit")
    names = list(dict.fromkeys(unit for _, unit, _ in UNITS))
    parser.add_argument("--units", nargs="+", choices=names, default=names)
    parser.add_argument("--beside", action="store_true", help="one more process beside them")
    parser.add_argument("--title", default="as the machine was")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()

    import lib

    files = {
        "zsre": (given.zsre, given.cases[0]),
        "counterfact": (given.counterfact, given.cases[1]),
    }
    with tempfile.TemporaryDirectory() as folder:
        patches, lm = {}, lib.load(dtype="float32")
        for name, (file, count) in files.items():
            patches[name] = str(Path(folder) / f"{name}.safetensors")
            facts = [case.fact for case in lib.read_cases(file, limit=count)]
            lib.EDITORS[given.editor](lm).edit(facts).save(patches[name])
        asked = {
            "files": {n: (str(f.resolve()), k) for n, (f, k) in files.items()},
            "patches": patches,
        }
        busy = (
            "import torch\ntorch.set_num_threads(1)\nx = torch.randn(1536, 1536)\nwhile True: x @ x"
        )
        beside = subprocess.Popen([sys.executable, "-c", busy]) if given.beside else None
        try:
            some = [unit for unit in UNITS if unit[1] in given.units]
            found = measured(given.before, asked, given.repeats, some)
        finally:
            if beside is not None:
                beside.kill()
    found |= {"editor": given.editor, "model": lm.identity, "threads": 1}
    cases = list(lib.read_cases(given.zsre, limit=given.cases[0]))
    found["three_prompts_floor"] = least(lm, cases) / found["rate_154"]
    if given.json:
        old = json.loads(given.json.read_text("utf-8")) if given.json.exists() else {}
        given.json.write_text(json.dumps({**old, given.title: found}, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    from tests.benchmarks import command

    command(main)
