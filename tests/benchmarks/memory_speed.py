"""Seconds per edit of GRACE and WISE, and what a routed patch costs while text is generated.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.memory_speed [--facts 16] [--json OUT]

All figures come from one run. "published" does the work of the reference run: 30 steps of Adam from
a random value for GRACE, 8 steps on eleven templates and one irrelevant text for WISE. The floor is
the number of multiply-adds that replay cannot avoid, at the rate of PyTorch's plain matrix product
in the same run. "authors" is the CPU time per edit of the released code, one thread, on a machine
of 47 G multiply-adds per second and thread; `per_rate` scales by the matrix rate, taken in CPU time
too. Overhead: CPU time of the same 32 new tokens with and without the patch, in turn, the median of
the ratios, for GRACE with 1,000 keys; the others' route does not grow with edits (WISE: one matrix,
LEMoE: the one expert that answers) or hardly (MEMOIR: a product with the stored masks).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch

import lib
from lib.data.facts import encode_prompt, encode_target
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom

from .rome_speed import matrix_rate

AUTHORS = {"rate": 47e9, "grace": 3.9, "wise": 9.4}  # CPU seconds per edit, one thread, T = 50
PUBLISHED = {
    "grace": {"n_iter": 30, "enough": 0.0, "value_init": "cold", "lr": 1.0, "eps_init": 3.0},
    "wise": {"n_iter": 8, "enough": 0.0, "rehearse": 0, "irrelevant_n": 1, "track": False,
             "calibrate": None, "contexts": [[5, 5], [10, 5]], "context_start": "words",
             "context_top_k": 5, "mask_ratio": 0.2, "whiten": None, "target_eos": False},
}  # fmt: skip
PROMPTS = ["The recipe for this cake begins with", "In the morning the fishermen",
           "My favorite thing about the city is", "The committee decided that"]  # fmt: skip


def block_size(lm: lib.LM) -> int:
    """Multiply-adds of one token in one block, attention scores left out."""
    return sum(m.weight.numel() for m in lm.blocks[0].modules() if hasattr(m, "in_features"))


def floor(lm: lib.LM, name: str, fact: lib.Fact, steps: int, templates: list[str], layer=25):
    """Multiply-adds per edit: one forward to the layer, then `steps` replays above it and back."""
    target = len(encode_target(lm.tokenizer, fact.target_new))
    rows = [len(encode_prompt(lm.tokenizer, t.format(fact.text))) + target - 1 for t in templates]
    above, head = lm.n_layers - layer - 1, lm.model.get_output_embeddings().weight.numel()
    replayed = target if name == "grace" else sum(rows)  # GRACE's value moves the answer only
    labels = target * len(rows)
    step = 2 * (replayed * above * block_size(lm) + labels * head)  # forward, backward to inputs
    if name == "wise":
        step += 2 * sum(rows) * lm.weight(lm.mlp_out(layer)).numel()  # W' and its gradient
    return sum(rows) * (layer + 1) * block_size(lm) + steps * step


def edits(lm: lib.LM, name: str, facts: list[lib.Fact], batch: int, settings: dict) -> dict:
    """CPU seconds per edit, after a warm-up on another fact."""
    editor = lib.EDITORS[name](lm, **settings)
    patch = editor.edit(facts[:1])  # templates, noise, packed weights, irrelevant texts
    state = patch.memory[name]
    templates = list(state.get("templates", ("{}",)))
    patch, some = lib.EMPTY, facts[1:]
    start = time.process_time()
    for first in range(0, len(some), batch):
        patch = editor.edit(some[first : first + batch], after=patch)
    cpu = (time.process_time() - start) / len(some)
    return {"facts": len(some), "batch": batch, "cpu": cpu, "templates": templates}


def per_rate(row: dict, name: str, rate: float) -> None:
    """How many times less CPU time than the authors' code, machines made equal."""
    row["authors_over_ours_per_rate"] = AUTHORS[name] * AUTHORS["rate"] / rate / row["cpu"]


def overhead(lm: lib.LM, patch: lib.Patch, prompts: list[str], times: int) -> float:
    """Median ratio of CPU times with and without the patch, taken in turn."""
    ratios = []
    for _ in range(times):
        spent = []
        for some in (lib.EMPTY, patch):
            with lm.patched(some):
                start = time.process_time()
                lm.generate(prompts, 32)
                spent.append(time.process_time() - start)
        ratios.append(spent[1] / spent[0])
    return statistics.median(ratios)


def many(patch: lib.Patch, count: int) -> lib.Patch:
    """GRACE with `count` keys, all but its own far from anything."""
    ((module, route),) = patch.routes.items()
    draw = torch.Generator().manual_seed(0)
    far = 50 + torch.randn(route.K.shape[0], count - route.K.shape[1], generator=draw)
    V = torch.randn(route.V.shape[0], far.shape[1], generator=draw)
    K, V = torch.cat([route.K, far], 1), torch.cat([route.V, V], 1)
    eps = torch.cat([route.eps, torch.full((far.shape[1],), 0.5)])
    return replace(patch, routes={module: type(route)(module, K, V, eps, route.replacement)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facts", type=int, default=16)
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    lm = lib.load(dtype="float32")
    facts = [case.fact for case in classroom("tables")][: given.facts + 1]
    rate = matrix_rate(154, 576, 1536)
    found: dict = {"threads": torch.get_num_threads(), "model": lm.identity, "rate_154": rate}
    for name, batch in (("grace", 1), ("grace", 8), ("wise", 1)):
        for form, settings in (("published", PUBLISHED[name]), ("preset", {})):
            row = edits(lm, name, facts, batch, settings)
            templates = row.pop("templates")
            per_rate(row, name, rate)
            if form == "published":
                steps = settings["n_iter"]
                least = [floor(lm, name, fact, steps, templates) for fact in facts[1:]]
                row["floor"] = sum(least) / len(least) / matrix_rate(8 * batch, 576, 1536)
                row["over_floor"] = row["cpu"] / row["floor"]
            found[f"{name}, {form}, batch {batch}"] = row
            print(f"{name}, {form}, batch {batch}", row, flush=True)
    asked = [fact.text for fact in facts[: len(PROMPTS)]]
    for name in ("grace", "wise", "memoir", "lemoe"):
        patch = lib.EDITORS[name](lm).edit(facts[: len(PROMPTS)])
        if name == "grace":
            patch = many(patch, 1000)
        row = {
            "outside": overhead(lm, patch, PROMPTS, given.times) - 1,
            "inside": overhead(lm, patch, asked, given.times) - 1,
        }
        found[f"{name}, generation overhead"] = row
        print(name, row, flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        measured.record(given.json, vars(given))


if __name__ == "__main__":
    command(main)
