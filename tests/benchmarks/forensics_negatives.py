"""Models that were changed and not edited: what a detector of edits must not call edited.

bf16       all matrices of the blocks rounded to bfloat16.
int8       the same rounded to 255 steps of each row's largest entry, and back.
finetuned  all matrices trained for some steps on general text.
harder     the same with five times the steps at ten times the rate.
lora       adapters of rank 8 on all matrices, trained so and merged.
merged     halfway between the base model and the fine-tuned one.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import lib

NEGATIVES = ("bf16", "int8", "finetuned", "harder", "lora", "merged")
LENGTH, RANK = 256, 8
STEPS = {"finetuned": 12, "harder": 60, "lora": 12}
RATES = {"finetuned": 1e-5, "harder": 1e-4, "lora": 1e-3}


def negative(lm: lib.LM, name: str, work: Path, text: Path) -> lib.Patch:
    """One of NEGATIVES as a patch of dense matrices; trained ones are kept in the folder."""
    modules = matrices(lm)
    if name == "bf16":
        return _patch(lm, {m: lm.weight(m).bfloat16().float() for m in modules})
    if name == "int8":
        return _patch(lm, {m: int8(lm.weight(m)) for m in modules})
    if name == "merged":
        whole = negative(lm, "finetuned", work, text).weights
        return _patch(lm, {m: (lm.weight(m) + whole[m]) / 2 for m in modules})
    if name not in RATES:
        raise ValueError(f"there is no negative '{name}': {', '.join(NEGATIVES)}")
    path = work / f"{name}.safetensors"
    if not path.exists():
        _patch(lm, trained(lm, modules, name, text)).save(path)
    return lib.Patch.load(path)


def matrices(lm: lib.LM) -> list[str]:
    """The modules of the blocks that have a matrix."""
    return [
        name.removesuffix(".weight")
        for name, p in lm.model.named_parameters()
        if p.ndim == 2 and name.startswith(f"{lm.arch.blocks}.")
    ]


def int8(W: Tensor) -> Tensor:
    """Each row in 255 steps of its largest entry, and back."""
    step = W.abs().amax(1, keepdim=True) / 127
    return (W / step).round() * step


def trained(lm: lib.LM, modules: list[str], kind: str, text: Path) -> dict[str, Tensor]:
    """Matrices after some steps of Adam on windows of a text, from its end backward."""
    ids = lm.tokenizer(text.read_text(encoding="utf-8")).input_ids
    W0 = {m: lm.model.get_submodule(m).weight.detach() for m in modules}
    torch.manual_seed(0)
    if kind == "lora":
        A = {m: (torch.randn(RANK, W.shape[1]) / W.shape[1] ** 0.5) for m, W in W0.items()}
        B = {m: torch.zeros(len(W), RANK) for m, W in W0.items()}
        free = [p.requires_grad_() for one in (A, B) for p in one.values()]
    else:
        own = {m: W.clone().requires_grad_() for m, W in W0.items()}
        free = list(own.values())
    adam = torch.optim.Adam(free, lr=RATES[kind])
    for step in range(STEPS[kind]):
        end = len(ids) - step * LENGTH % (len(ids) - LENGTH)
        row = torch.tensor([ids[end - LENGTH : end]])
        now = {m: W + B[m] @ A[m] for m, W in W0.items()} if kind == "lora" else own
        bound = {f"{m}.weight": W for m, W in now.items()}
        logits = torch.func.functional_call(lm.model, bound, (row,)).logits
        loss = F.cross_entropy(logits[0, :-1].float(), row[0, 1:])
        adam.zero_grad()
        loss.backward()
        adam.step()
        print(kind, step, f"{loss.item():.3f}", flush=True)
    with torch.no_grad():
        last = {m: W + B[m] @ A[m] for m, W in W0.items()} if kind == "lora" else own
        return {m: W.detach().clone() for m, W in last.items()}


def _patch(lm: lib.LM, weights: dict[str, Tensor]) -> lib.Patch:
    return lib.EMPTY.with_weights(weights, base=lm.identity)
