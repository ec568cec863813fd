"""The embedded model with matrices of eight and four bits: memory and answers.

    pip install "torchao>=0.18,<0.19"
    OMP_NUM_THREADS=1 python -m tests.benchmarks.quantized

Each form of the unedited model is asked twenty facts that the float32 model knows. quantized.json
is written after every form, and a run goes on behind what is stored. The bytes of a model of eight
billion weights are counted and not measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

import lib
from lib.atomic_files import whole_file
from lib.evaluation.answers import begins
from lib.evaluation.intervals import bootstrap
from lib.model.quantized import is_quantized
from tests.benchmarks import command, measured
from tests.benchmarks.rows import classroom
from tests.benchmarks.tables import made, percents, read, table

OUT = Path(__file__).with_suffix(".json")
FORMS = ("float32", "int8", "int4")
# weights that share a scale, and scales that share another: QLoRA has 256, which is more than
# the embedded model's key projections have in whole groups
BLOCK, SCALES = 64, 64
ASKED, TOKENS = 20, 8
LLAMA = LlamaConfig(  # the shape of Llama 3 8B
    vocab_size=128256,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
)


def configured(form: str, scales: int = SCALES) -> Any:
    """The `quantization_config` of a form, None for float32."""
    if form == "float32":
        return None
    from torchao.prototype._nf4tensor_api import NF4WeightOnlyConfig
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    four = NF4WeightOnlyConfig()
    four.scaler_block_size = scales
    return TorchAoConfig(Int8WeightOnlyConfig() if form == "int8" else four)


def weight_bytes(model: nn.Module) -> int:
    """The bytes that a model's parameters take, of a quantized one those of all its parts."""
    return sum(map(_bytes, model.parameters()))


def _bytes(weight: Any) -> int:
    if not is_quantized(weight):
        return weight.nbytes
    return sum(_bytes(getattr(weight, part)) for part in weight.__tensor_flatten__()[0])


def counted(model: nn.Module, form: str, blocks: str, group: int = SCALES) -> int:
    """The bytes of a model's parameters in a form, from their shapes and their type alone."""
    linear = {
        id(m.weight) for m in model.get_submodule(blocks).modules() if isinstance(m, nn.Linear)
    }
    total = 0
    for p in model.parameters():
        n, size = p.numel(), p.element_size()
        if form == "int8" and id(p) in linear:
            total += n + 5 * len(p)  # of each row a float32 scale and a zero point of a byte
        elif form == "int4" and id(p) in linear:
            scales = n // BLOCK
            # a byte for each scale, a factor for each group of them, their mean, sixteen values
            total += n // 2 + scales + size * (scales // group + 1 + 16)
        else:
            total += n * size
    return total


def bytes_of_8b() -> dict[str, int]:
    """{form: bytes} of a model of Llama 3 8B's shape, whose other weights are bf16; no weights."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LLAMA, dtype=torch.bfloat16)
    found = {form: counted(model, form, "model.layers") for form in ("bf16", "int8", "int4")}
    found["one MLP output matrix, float32"] = 4 * LLAMA.hidden_size * LLAMA.intermediate_size
    return found


def answers(lm: lib.LM, form: str, plain: torch.Tensor, cases: list[lib.Case]) -> dict[str, Any]:
    """Whether each fact is known, and how far its next-token distribution is from float32's."""
    texts = [case.fact.text for case in cases]
    said, now = lm.answer(texts, TOKENS), lm.next_token(texts)
    known = [
        int(begins(text, str(case.fact.target_true)))
        for text, case in zip(said, cases, strict=True)
    ]
    kl = (plain.exp() * (plain - now)).sum(-1)
    first = (plain.argmax(-1) == now.argmax(-1)).int()
    return {
        "facts": [case.id for case in cases],
        "known": known,
        "kl": [round(value, 5) for value in kl.tolist()],
        "same first token": first.tolist(),
        "bytes": weight_bytes(lm.model),
    }


@made("quantized-memory", "quantized")
def memory() -> str:
    """The bytes of the weights in each form, measured and counted."""
    stored = read("quantized")
    lines = []
    for form in FORMS:
        row = stored[f"{form}, answers"]
        share = row["bytes"] / stored["float32, answers"]["bytes"]
        lines.append((form, f"{row['bytes'] / 1e6:.1f}", f"{100 * share:.0f}"))
    large = [(name, f"{size / 1e9:.2f}") for name, size in stored["8B, counted"].items()]
    return (
        table(("default model", "weights, MB (measured)", "% of float32"), lines)
        + "\n"
        + table(("Llama 3 8B's shape, the rest in bf16", "weights, GB (counted)"), large)
    )


@made("quantized-answers", "quantized")
def base_answers() -> str:
    """What each form of the unedited model answers."""
    stored, lines = read("quantized"), []
    for form in FORMS:
        row = stored[f"{form}, answers"]
        low, high = bootstrap(row["kl"])
        kl = "–" if form == "float32" else f"{sum(row['kl']) / len(row['kl']):.3f}"
        kl += "" if form == "float32" else f" [{low:.3f}, {high:.3f}]"
        first = percents(row["same first token"])
        lines.append((form, len(row["facts"]), percents(row["known"]), first, kl))
    head = (
        "unedited model",
        "facts",
        "known, %",
        "first token as in float32, %",
        "KL of the next token, nats",
    )
    return table(head, lines)


def store(rows: dict[str, Any]) -> None:
    """Put the figure into its file, whole or not at all."""
    with whole_file(OUT) as part:
        part.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rows: dict[str, Any] = json.loads(OUT.read_text("utf-8")) if OUT.exists() else {}
    rows["8B, counted"] = bytes_of_8b()
    cases = classroom("tables")[:ASKED]
    forms = {
        form: lib.load(dtype="float32", quantization_config=configured(form)) for form in FORMS
    }
    known = forms["float32"].next_token([case.fact.text for case in cases])
    for form, lm in forms.items():
        if f"{form}, answers" not in rows:
            rows[f"{form}, answers"] = answers(lm, form, known, cases)
            store(rows)
    measured.record(OUT, {})


if __name__ == "__main__":
    command(main)
