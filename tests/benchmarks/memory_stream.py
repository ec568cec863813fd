"""Memory editors on one stream: what holds after T edits, what reaches rewordings, what else moves.

    python -m tests.benchmarks.memory_stream wise --data zsre-600.json --points 10,50,100
    python -m tests.benchmarks.memory_stream wise --data selfcheck-400.json --points 10,50

At every point T the first T rows are asked with the patch as it is then: the share of target tokens
right under teacher forcing and by generation, with the base model beside it, and the perplexity of
the target, exp(mean NLL), averaged over edits (the measure for hallucinations). `--singly N`: the
first N rows one by one, each on the base model (T = 1). Results by NAME in memory_stream.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import lib
from lib.data.facts import encode_target
from lib.model import scoring
from tests.benchmarks import command

OUT = Path(__file__).with_suffix(".json")
SETTINGS = {
    "metrics": ("efficacy", "generalization", "locality"),
    "events": ("teacher_forced", "generation"),
}


def target_perplexity(lm: lib.LM, cases: list[lib.Case], patch: lib.Patch) -> float:
    """Mean over cases of exp(mean NLL of the target's tokens)."""
    targets = [encode_target(lm.tokenizer, case.fact.target_new) for case in cases]
    with lm.patched(patch):
        rows, _ = lm.rows([case.fact.text for case in cases])
        found = scoring.score(lm, rows, targets)
    each = [(-score.log_probs.float().mean()).exp().item() for score in found]
    return sum(each) / len(each)


def scored(scores: lib.Scores) -> list[dict]:
    """Summary rows of teacher forcing, generation and KL."""
    return json.loads(scores.summary().round(4).to_json(orient="records"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("editor")
    parser.add_argument("--name", help="key in the results, default the editor's name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--points", default="10,50,100")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--singly", type=int, default=0)
    parser.add_argument("--irrelevant", help="rows A-B whose unrelated prompts must stay (WISE)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # rows without a new answer are left out; facts known already
    points = sorted(map(int, given.points.split(",")))
    settings = {name: json.loads(value) for name, _, value in (s.partition("=") for s in given.set)}
    lm = lib.load(dtype="float32")
    every = lib.read_cases(given.data)
    cases = [case for case in every if case.id >= given.first][: points[-1]]
    base = lib.evaluate(lm, cases, **SETTINGS).base
    if given.irrelevant:
        a, b = map(int, given.irrelevant.split("-"))
        settings["irrelevant"] = tuple(c.locality[0] for c in every if a <= c.id <= b)
    editor = lib.EDITORS[given.editor](lm, **settings)
    result = {
        "date": time.strftime("%Y-%m-%d"), "model": lm.identity, "data": given.data.name,
        "editor": given.editor, "batch": given.batch, "irrelevant": given.irrelevant,
        "settings": {**lib.editors.shared.base.asdict(editor.config), "irrelevant": None},
        "rows": [cases[0].id, cases[-1].id], "points": [],
    }  # fmt: skip

    def write() -> None:
        kept = json.loads(given.out.read_text()) if given.out.exists() else {}
        kept[given.name or given.editor] = result
        given.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")

    def show(edits: int, rows: list[dict], *more: float) -> None:
        said = {f"{r['metric'][:5]} {r['event'][:10]}": r["mean"] for r in rows}
        print(edits, said, *(round(number, 3) for number in more), flush=True)

    result["base"] = scored(lib.evaluate(lm, cases, base=base, **SETTINGS))
    result["base_perplexity"] = target_perplexity(lm, cases, lib.EMPTY)
    show(0, result["base"], result["base_perplexity"])
    if given.singly:
        start = time.process_time()
        alone = lib.singly(editor, cases[: given.singly], base=base, **SETTINGS)
        result["singly"] = {"edits": given.singly, "scores": scored(alone)}
        show(1, result["singly"]["scores"], (time.process_time() - start) / given.singly)
        write()
    patch, cpu = lib.EMPTY, 0.0
    for start in range(0, points[-1], given.batch):
        some, begun = cases[start : start + given.batch], time.process_time()
        patch = editor.edit([case.fact for case in some], after=patch)
        cpu += time.process_time() - begun
        done = start + len(some)
        if done in points:
            scores = scored(lib.evaluate(lm, cases[:done], patch, base=base, **SETTINGS))
            said = target_perplexity(lm, cases[:done], patch)
            result["points"].append({
                "edits": done, "scores": scores, "target_perplexity": said,
                "cpu_per_edit": round(cpu / done, 3),
            })  # fmt: skip
            show(done, scores, said, cpu / done)
            write()


if __name__ == "__main__":
    command(main)
