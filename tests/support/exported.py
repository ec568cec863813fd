"""Logits of a model, of a patched model and of a model with a loaded adapter, to be compared."""

from __future__ import annotations

import pytest
import torch

import lib

from . import tiny

TEXTS = ("I saw the old tower", "Seven days")


def logits(model: torch.nn.Module) -> list[torch.Tensor]:
    with torch.no_grad():
        return [model(torch.tensor([tiny.tokenizer()(text).input_ids])).logits for text in TEXTS]


def patched_logits(lm: lib.LM, patch: lib.Patch) -> list[torch.Tensor]:
    with lm.patched(patch):
        return logits(lm.model)


def with_adapter(lm: lib.LM, family: str, folder) -> list[torch.Tensor]:
    peft = pytest.importorskip("peft")
    base = tiny.model(family).model  # peft writes into the model it is given
    return logits(peft.PeftModel.from_pretrained(base, folder).eval())
