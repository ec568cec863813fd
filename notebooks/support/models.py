"""The models of the notebooks: `load(SCALE)` returns the one that belongs to a scale.

"tiny" is a random llama of three layers that knows nothing and answers in bytes. It runs every cell
in seconds, for tests. "small" is the library's own model, and "full" is an 8B for a GPU. Another
model takes the place of the library's own where EDIT_MODEL names it:

    EDIT_MODEL=gemma-3-270m python notebooks/src/00_first_edit.py

Gemma 3 270M comes under Google's Gemma Terms of Use (ai.google.dev/gemma/terms).
"""

from __future__ import annotations

import os

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import lib

FULL = "Qwen/Qwen3-8B"
END = 256  # id of the end-of-text token, behind the 256 bytes


def load(scale: str, sink: str | None = None) -> lib.LM:
    """The model for "tiny", "small" or "full"; ValueError for any other scale.

    sink  at "small", the token in front of every text: "own" is the library's default. Pages whose
          stored runs were made without it leave it out.
    """
    if scale == "tiny":
        return lib.LM(_random_llama(), _bytes(), name="random-llama")
    if scale == "small":
        other = another()
        if other:
            print(
                f"EDIT_MODEL={other}: all cells use this model. The text and the stored runs are about "
                "SmolLM2-135M-Instruct."
            )
        return lib.load(other, sink=sink)
    if scale == "full":
        return lib.load(FULL)
    raise ValueError(f"the scale is tiny, small or full, not {scale!r}")


def another() -> str | None:
    """The model that EDIT_MODEL names in place of the library's own, None where it is not set."""
    return os.environ.get("EDIT_MODEL") or None


def same(lm: lib.LM, a: Tensor, b: Tensor, tolerance: float = 1e-3) -> None:
    """Assert that two results of a model are equal, up to a share of the length of `b`.

    A model in half precision rounds its states to three digits, so there the tolerance is 5 %.
    """
    allowed = tolerance if lm.dtype == torch.float32 else max(tolerance, 0.05)
    away, length = (a - b).norm().item(), b.norm().item()
    assert away <= allowed * length, f"they differ by {away / length:.2g} of their length"


def _random_llama() -> LlamaForCausalLM:
    """Three layers; the large initializer makes its answers depend on the prompt."""
    torch.manual_seed(0)
    sizes = LlamaConfig(
        vocab_size=END + 1,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=0,
    )
    return LlamaForCausalLM(sizes)


def _bytes() -> PreTrainedTokenizerFast:
    """One token per byte, and one that ends the text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|end|>"])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>")
