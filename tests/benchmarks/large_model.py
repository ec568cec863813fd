"""A model of 8 billion weights on this machine: for memory and truth, not for speed.

    python -m tests.benchmarks.large_model FOLDER [--layers 32] [--limit GIGABYTES]

`make` writes a random llama of Llama 3 8B's shape in bf16 to a folder, tensor by tensor, each with
random bits of its own. `run` loads it from there on the CPU as a user would, edits it, takes the
edits away and exports one, and notes after each step how much memory the process needs:

anonymous  RssAnon: what the process holds itself. No system can take it back.
mapped     RssFile: pages of the model's files that are in memory at the moment. They are a copy of
           what is on the disk, so the system drops them whenever memory is wanted.

The searches are cut to a few steps and C is that of few tokens: both cost time, and neither changes
what has to be in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

import lib
from lib.keys_values import second_moment

from ..support import tiny
from . import command, measured

OUT = Path(__file__).with_suffix(".json")
WIDTH, INNER, VOCABULARY, KEYS = 4096, 14336, 128256, 1024
LAYER = 6  # the layer that ROME and MEMIT write
TOKENS = 96  # tokens of general text for C
EDITORS: dict[str, dict[str, Any]] = {
    "ultraedit": {"down": (), "gate": (LAYER - 1,), "up": (LAYER,), "step": 0.05,
                  "warmup": "none"},
    "rome": {"layer": LAYER, "steps": 2, "templates": ("{}",), "tokens": TOKENS},
    "memit": {"layers": (LAYER,), "steps": 2, "templates": ("{}",), "tokens": TOKENS},
}  # fmt: skip


def make(folder: Path, layers: int) -> None:
    """Write config, tokenizer and weights; at no time is more than one layer in memory."""
    from transformers import AutoConfig

    folder.mkdir(parents=True)
    config = AutoConfig.for_model(
        "llama", num_hidden_layers=layers, hidden_size=WIDTH, intermediate_size=INNER,
        num_attention_heads=32, num_key_value_heads=KEYS // 128, head_dim=128,
        vocab_size=VOCABULARY, max_position_embeddings=8192, tie_word_embeddings=False,
        dtype="bfloat16", pad_token_id=0, bos_token_id=tiny.EOS, eos_token_id=tiny.EOS,
        architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    config.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    draw, places = np.random.default_rng(0), {}
    shards: list[dict[str, tuple[int, ...]]] = [
        {"model.embed_tokens.weight": (VOCABULARY, WIDTH)}, {"lm_head.weight": (VOCABULARY, WIDTH)}
    ]  # fmt: skip
    for i in range(layers):
        at, mlp, block = (f"model.layers.{i}.{part}" for part in ("self_attn", "mlp", ""))
        shards.append({
            f"{at}.q_proj.weight": (WIDTH, WIDTH), f"{at}.o_proj.weight": (WIDTH, WIDTH),
            f"{at}.k_proj.weight": (KEYS, WIDTH), f"{at}.v_proj.weight": (KEYS, WIDTH),
            f"{mlp}.gate_proj.weight": (INNER, WIDTH), f"{mlp}.up_proj.weight": (INNER, WIDTH),
            f"{mlp}.down_proj.weight": (WIDTH, INNER),
            f"{block}input_layernorm.weight": (WIDTH,),
            f"{block}post_attention_layernorm.weight": (WIDTH,),
        })  # fmt: skip
    shards[0]["model.norm.weight"] = (WIDTH,)
    for number, shapes in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensors = {key: _random(draw, shape) for key, shape in shapes.items()}
        save_file(tensors, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(shapes, name)
    index = {"metadata": {"total_size": 2 * weights(layers)}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _random(draw: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    """Random numbers in bf16: ones for a norm, else ± 1/64 to 1/32, made of random bits."""
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    bits = np.frombuffer(draw.bytes(2 * int(np.prod(shape))), dtype=np.uint16)
    # sign and the seven bits of the fraction are random; the exponent is that of 2⁻⁶
    bits = (bits & np.uint16(0x807F)) | np.uint16((127 - 6) << 7)
    return torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).reshape(shape)


def weights(layers: int) -> int:
    """The number of weights of the matrices."""
    block = 2 * WIDTH * WIDTH + 2 * WIDTH * KEYS + 3 * WIDTH * INNER
    return layers * block + 2 * VOCABULARY * WIDTH


def counted() -> dict[str, int]:
    """Bytes that each step has to have beside the mapped weights, from the shapes of its matrices.

    C and its Cholesky factor in float64 stay from the step that makes them on. There is a third
    such matrix while the factor is computed, and again while an editor solves with it, since
    torch's solve copies the factor. An edited matrix is bound in bf16, and while one is made there
    are its float32 form and that of the change.
    """
    matrix, square = WIDTH * INNER, 8 * INNER * INNER
    made = 2 * 4 * matrix
    asked = 2 * square + made + 2 * matrix
    return {
        "load": 0, "ask": 0, "ultraedit": made, "ultraedit, asked": made + 2 * 2 * matrix,
        "C": 3 * square, "rome": 3 * square + made, "rome, asked": asked,
        "memit": 3 * square + made, "memit, asked": asked, "export": 2 * square + made,
    }  # fmt: skip


def memory() -> dict[str, int]:
    """Resident bytes of this process now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return {"anonymous": 1024 * int(found["RssAnon"]), "mapped": 1024 * int(found["RssFile"])}


class Peak:
    """The largest memory during each step, looked at every 20 ms by a thread of its own.

    The process ends with code 3 where its anonymous memory goes beyond `limit` bytes. (The limits
    of the operating system count mapped files, too.)
    """

    def __init__(self, limit: float | None = None) -> None:
        self.now, self.steps, self.limit = memory(), dict[str, dict[str, float]](), limit
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            seen = memory()
            if self.limit and seen["anonymous"] > self.limit:
                os.write(2, f"over the limit: {seen}, after {list(self.steps)}\n".encode())
                os._exit(3)
            self.now = {key: max(value, seen[key]) for key, value in self.now.items()}
            time.sleep(0.02)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note the peak and the seconds of the body under a name."""
        self.now, start = memory(), time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self.steps[name] = {**self.now, "after": memory()["anonymous"], "seconds": seconds}


def run(folder: Path, peak: Peak, keep: Callable[[dict[str, Any]], None]) -> None:
    """Load, edit by three editors, undo, export; all that is known is kept after each step."""
    facts = [lib.Fact(f"n{i}", "{} is in", " xyz") for i in range(13)]
    found: dict[str, Any] = {"counted": counted(), "before": memory(), "steps": peak.steps}
    checks = found["checks"] = {}
    with peak.step("load"):
        lm = lib.load(str(folder), dtype="bfloat16")
    lm.name = "random 8B"
    found |= {"layers": lm.n_layers, "weights": weights(lm.n_layers)}
    with peak.step("ask"):
        said = lm.score(facts[0].text, " xyz")
    for name, some in {"ultraedit": facts[:8], "rome": facts[8:9], "memit": facts[9:]}.items():
        if name == "rome":
            with peak.step("C"):
                second_moment.second_moment(lm, [LAYER], tokens=TOKENS)
            keep(found)
        with peak.step(name):
            patch = lib.EDITORS[name](lm, **EDITORS[name]).edit(some, check=False)
        with peak.step(f"{name}, asked"), lm.patched(patch):
            moved = lm.score(facts[0].text, " xyz")
        checks[f"{name} moves the answer"] = not torch.equal(moved, said)
        checks[f"{name} is undone"] = torch.equal(lm.score(facts[0].text, " xyz"), said)
        keep(found)
    with peak.step("export"):
        done = lib.workbench.export_peft(lm, patch, folder.parent / "adapter")
    found["rank"] = done.rank
    keep(found)


def main() -> None:
    """Make the model in a folder if it is not there, run, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--limit", type=float, help="gigabytes of memory that is not mapped")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    if given.layers <= LAYER or not (given.limit is None or given.limit > 0):
        raise ValueError(f"take at least {LAYER + 1} layers, and a limit above 0 gigabytes")
    warnings.simplefilter("ignore")
    model = given.folder / f"model-{given.layers}"
    if not model.exists():
        work = given.folder / "begun"
        shutil.rmtree(work, ignore_errors=True)
        make(work, given.layers)
        work.rename(model)
    before = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}

    def keep(result: dict[str, Any]) -> None:
        row = {"date": time.strftime("%Y-%m-%d"), "limit": given.limit, **result}
        rows = sorted({**before, str(given.layers): row}.items(), key=lambda item: int(item[0]))
        given.out.write_text(json.dumps(dict(rows), indent=1) + "\n", encoding="utf-8")

    with tempfile.TemporaryDirectory(dir=given.folder) as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        shutil.rmtree(given.folder / "adapter", ignore_errors=True)
        run(model, Peak(1e9 * given.limit if given.limit else None), keep)
    measured.record(given.out, vars(given))


if __name__ == "__main__":
    command(main)
