"""The tests' own small world: random models of every family and a byte tokenizer. No downloads."""

from __future__ import annotations

import copy
from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from lib.model.lm import LM

SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
    "n_embd": 32, "n_layer": 4, "n_head": 4, "n_inner": 48, "n_positions": 256, "rotary_dim": 4,
    "ffn_dim": 48, "word_embed_proj_dim": 32, "initializer_range": 0.2, "init_std": 0.2,
}  # fmt: skip
_SMALL = {name: SIZES[name] for name in (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings", "initializer_range")}  # fmt: skip
SPECIAL = {
    "gpt_neo": {"num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]],
                "window_size": 6},
    "gemma2": {"sliding_window": 6},
    "gemma3_text": {"sliding_window": 6,
                    "layer_types": ["sliding_attention", "full_attention"] * 2},
    "gemma3": {
        "text_config": {**_SMALL, "vocab_size": 259, "pad_token_id": 0, "sliding_window": 6,
                        "layer_types": ["sliding_attention", "full_attention"] * 2},
        "vision_config": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
                          "num_attention_heads": 4, "image_size": 16, "patch_size": 8}},
    "mistral": {"sliding_window": 6},
    "cohere2": {"sliding_window": 6},
    "granite": {"residual_multiplier": 0.3, "logits_scaling": 4.0, "embedding_multiplier": 3.0},
    "qwen3_5_text": {
        "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
        "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"] * 2},
    "falcon": {"alibi": True, "new_decoder_architecture": False},
}  # fmt: skip
EOS = 256
WORDS = (" xy", " qz")  # answers of one token: FT-L cannot write longer ones even in principle


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, 256 ends the text, two words have a token of their own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(alphabet)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|end|>"])
    made.add_tokens(list(WORDS))
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>")


def model(family: str, seed: int = 0, dtype: torch.dtype = torch.float32, **more) -> LM:
    """A random model of four layers; the large initializer makes its answers depend on the
    prompt.
    """
    known = AutoConfig.for_model(family)
    names = set(known.to_dict()) | set(getattr(known, "attribute_map", {}))
    sizes = {k: v for k, v in SIZES.items() if k in names}
    settings = {**sizes, "vocab_size": EOS + 1 + len(WORDS), "pad_token_id": 0, "bos_token_id": EOS,
                "eos_token_id": EOS, **SPECIAL.get(family, {}), **more}  # fmt: skip
    torch.manual_seed(seed)
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings))
    with torch.no_grad():  # norms start at 1 (or 0): move them, so that none can be left out unseen
        for name, p in made.named_parameters():
            if p.ndim == 1:
                p.add_(0.1 * torch.randn_like(p))
            if "post_feedforward_layernorm" in name:  # else the norm bounds what an edit can write
                p.add_(5.0)
    made.generation_config.eos_token_id = None  # random models hit any token: let them write on
    return LM(made.to(dtype), tokenizer(), name=f"tiny-{family}")


def chatting(family: str, **more) -> LM:
    """A random model whose tokenizer has a chat template: `<role>text` in lines of their own."""
    lm = model(family, max_position_embeddings=1024, **more)  # two turns are long, byte by byte
    lm.tokenizer = copy.deepcopy(lm.tokenizer)
    lm.tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>\n{% endif %}"
    )
    return lm
