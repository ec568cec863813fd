"""What the library copies to and from a card, and how often it waits for it, counted.

    python -m tests.benchmarks.transfers [--before TREE]

The card is a simulated one (`tests/support/simulated.py`) with a tiny random llama on it, so the
counts are exact and say nothing of time. Per unit, such as a generated token or a step of a search,
the counts of two runs of different length are subtracted and divided. With --before the same is
counted in another tree of this repository, in a process of its own, and stored beside. The stored
"before" is commit 3baf92b with these two files copied in, whose tests for "cuda" (in
keys_values/answer_gradients.py and target_value.py) were made to hold for the simulated card.

waits     copies down, numbers that are read, and results whose size depends on values
up        copies up; CUDA waits for these too, where the memory is not pinned
numbers   how many numbers are copied, up and down
kernels   operations on the card
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
NEVER = {"enough": 0.0}  # no step ends a training early


def units() -> dict[str, tuple[Callable[[int], Any], int, int]]:
    """{unit: (run of so many units, fewer, more)} on a model that is on one card."""
    import lib
    from lib.keys_values.second_moment import second_moment

    from ..support import simulated, tiny
    from ..support.editor_settings import A, B, quick

    lm = simulated.placed(tiny.model("llama", vocab_size=2048), 1)
    rows = [[i + 40 for i in range(8)]] * 3
    facts = [A, B, *(lib.Fact(f"The boat {i}", "I saw {}", "xy") for i in range(30))]

    calm = tuple(f"Day {i}" for i in range(8))
    short = {"steps": 3, "epochs": 3, "n_iter": 3, "irrelevant": calm, "repeat": 1, "tokens": 600}

    def editor(name: str, **more: Any) -> Any:
        known = {field.name for field in fields(lib.EDITORS[name].Config)}
        given = {**quick(name), **{key: short[key] for key in short.keys() & known}, **more}
        return lib.EDITORS[name](lm, **given)

    first = {name: editor(name).edit([A]) for name in ("rome", "ft", "ultraedit", "wise", "memoir")}
    first["lemoe"] = editor("lemoe", routing="paper").edit([A])

    def enter(modules: int) -> None:
        names = [lm.mlp_out(i) for i in range(modules)]
        chunk = first["rome"].weights[lm.mlp_out(1)]
        with lm.patched(lib.Patch({name: chunk for name in names})):
            pass

    def moments(tokens: int) -> None:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["XDG_CACHE_HOME"] = cache
            second_moment(lm, [0], tokens=2048 * tokens)

    def generated(n: int, **more: Any) -> Any:
        from lib.model.generation import generate

        return generate(lm, rows, n, **more)

    return {
        "generated token, 3 rows": (lambda n: generated(n), 4, 12),
        "sampled token, top_k 5": (lambda n: generated(n, temperature=1.0, top_k=5), 4, 12),
        "sampled token": (lambda n: generated(n, temperature=1.0), 4, 12),
        "scored prompt": (lambda n: lm.score([f"Day {i}" for i in range(n)], [" xyz"] * n), 8, 16),
        "ROME step": (lambda n: editor("rome", steps=n, v_lr=1e-3).edit([A]), 5, 15),
        "GRACE step": (lambda n: editor("grace", n_iter=n, **NEVER).edit([A]), 5, 15),
        "UltraEdit turn, 2 modules": (
            lambda n: _fold(editor("ultraedit"), facts, n, first["ultraedit"]), 1, 3,
        ),
        "FT epoch": (lambda n: editor("ft", epochs=n, **NEVER).edit([A]), 5, 15),
        "FT epoch after an edit": (
            lambda n: editor("ft", epochs=n, **NEVER).edit([B], after=first["ft"]), 5, 15,
        ),
        "LoRA epoch": (lambda n: editor("lora", epochs=n, **NEVER).edit([A]), 5, 15),
        "WISE step": (
            lambda n: editor("wise", n_iter=n, enough=-1.0).edit([B], after=first["wise"]), 5, 15,
        ),
        "MEMOIR step": (
            lambda n: editor("memoir", n_iter=n, **NEVER).edit([B], after=first["memoir"]), 5, 15,
        ),
        "LEMoE step": (
            lambda n: editor("lemoe", steps=n, routing="paper", **NEVER).edit(
                [B], after=first["lemoe"]
            ), 5, 15,
        ),
        "a patch entered, per module": (enter, 1, 3),
        "2048 tokens for C": (moments, 2, 4),
    }  # fmt: skip


def _fold(editor: Any, facts: list, turns: int, patch: Any) -> Any:
    for i in range(turns):
        patch = editor.edit(facts[i : i + 2], after=patch)
    return patch


def measured() -> dict[str, dict[str, float]]:
    """{unit: its counts}."""
    from ..support import simulated

    simulated.install()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found = {}
    for name, (run, few, many) in units().items():
        run(few)  # what is made once is there now
        counts = []
        for n in (few, many):
            with simulated.counted() as seen:
                run(n)
            counts.append(
                {
                    "waits": seen.total("down", "item", "size"),
                    "up": seen.total("up"),
                    "numbers": seen.values["down"] + seen.values["up"],
                    "kernels": seen.kernels,
                }
            )
        found[name] = {
            key: round((counts[1][key] - counts[0][key]) / (many - few), 2) for key in counts[0]
        }
    return found


def main() -> None:
    """Count, and write transfers.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="another tree of this repository")
    parser.add_argument("--print", action="store_true", help="only print the counts")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        found = measured()
    if given.print:
        print(json.dumps(found))
        return
    path = HERE / "transfers.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    before = old.get("before", {})
    if given.before:
        command = [sys.executable, "-m", "tests.benchmarks.transfers", "--print"]
        done = subprocess.run(command, cwd=given.before, capture_output=True, check=True, text=True)
        before = json.loads(done.stdout.splitlines()[-1])
    text = json.dumps({"before": before, "after": found}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    from . import command

    command(main)
