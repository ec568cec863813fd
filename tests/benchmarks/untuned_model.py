"""First and later edits of a model that nobody tuned: Qwen2-0.5B's shape with random weights.

    OMP_NUM_THREADS=2 python -m tests.benchmarks.untuned_model [--editors rome grace] [--json OUT]

The editors choose their layers by depth, as they do for every model without a preset. The text is
that of the embedded model's tokenizer, so prompts are as long as a user's, while the head has the
151,936 outputs of the shape. Each editor begins in a process of its own with an empty cache folder.
Random weights say what an edit costs and nothing of what it is worth; a search that would end early
in a trained model may run longer here. "held" is the largest resident memory over the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

import lib
from lib.model.lm import LM
from tests.benchmarks import command, measured
from tests.benchmarks.edit_speed import only_models
from tests.benchmarks.rows import classroom

EDITORS = ("rome", "memit", "ultraedit", "grace")
FACTS = 6  # the first one waits for what the editor needs


def model() -> LM:
    """The random model, float32, behind the embedded model's tokenizer."""
    tokenizer = lib.load().tokenizer
    config = AutoConfig.for_model(
        "qwen2", vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, max_position_embeddings=4096,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    return LM(AutoModelForCausalLM.from_config(config).eval(), tokenizer)


def edits(name: str) -> dict:
    """Seconds of the first and of later edits by one editor, and the memory."""
    warnings.simplefilter("ignore")
    lm, seconds = model(), []
    weights = sum(p.nbytes for p in lm.model.parameters())
    editor = lib.EDITORS[name](lm)
    for case in classroom("all")[:FACTS]:
        start = time.perf_counter()
        editor.edit([case.fact], check=False)
        seconds.append(round(time.perf_counter() - start, 2))
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    later = sorted(seconds[1:])[(FACTS - 1) // 2]
    settings = {k: v for k, v in vars(editor.config).items() if k in ("layer", "layers")}
    return {
        "editor": name,
        "first": seconds[0],
        "later": later,
        "all": seconds,
        "held": round(peak / weights, 2),
        "weights": weights,
        "settings": json.loads(json.dumps(settings)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--editors", nargs="+", default=EDITORS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(edits(given.one)))
        return
    kept = given.json and given.json.exists()  # the rows of other editors stay
    found = json.loads(given.json.read_text(encoding="utf-8")) if kept else {}
    for name in given.editors:
        with tempfile.TemporaryDirectory() as home:
            only_models(Path(home))
            words = [sys.executable, "-m", "tests.benchmarks.untuned_model", "--one", name]
            env = {**os.environ, "XDG_CACHE_HOME": home}
            done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
        found[name] = {**json.loads(done.stdout), "threads": torch.get_num_threads()}
        if given.json:
            given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            measured.record(given.json, vars(given))
        print(found[name], flush=True)


if __name__ == "__main__":
    command(main)
