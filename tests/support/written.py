"""Tiny language models with shapes of their own, as people's custom code has them.

`model(shape)` is a model of four blocks whose forward takes nothing but states and a mask, keeps no
cache and has no positions. A shape is a word of SHAPES, each of which changes one thing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.pytorch_utils import Conv1D

from . import tiny

SHAPES = {
    "plain": "attention and then an MLP, each behind a norm and added to the stream",
    "parallel": "attention and MLP read the same states",
    "two mlps": "two MLPs, one after the other",
    "scaled": "attention and MLP are added times 0.22, as in Granite",
    "scaled once": "the third layer alone is scaled",
    "normed": "a norm stands behind the MLP",
    "turned": "weights are stored (d_in, d_out)",
    "head with a bias": "the head has a bias",
    "capped": "logits are capped at 30",
    "divided": "logits are divided by 8",
    "tied": "all layers share one output projection",
    "tied sides": "a layer's projections are one matrix and its transpose",
    "no attention": "tokens do not see each other",
    "no mlp": "only an attention",
    "norm on the stream": "a norm stands on the stream itself, as in the first transformers",
    "experts": "every token passes one of two MLPs",
    "counted from the edge": "positions count padding",
    "squared logits": "the head's products are squared",
    "named states": "blocks take states by name, behind other arguments",
    "length first": "blocks take states (length, rows, width), as ChatGLM's",
    "looks ahead": "tokens see those behind them",
    "no last norm": "the head reads what the last block gives, as in the first transformers",
}
WIDTH, INNER, HEADS = 32, 48, 4


class WrittenConfig(PreTrainedConfig):
    """A shape, and sizes and numbers under names that nobody else has."""

    model_type = "written"

    def __init__(self, shape: str = "plain", width: int = WIDTH, **more) -> None:
        self.shape, self.width = shape, width
        self.quiet, self.final_logit_softcapping = 8.0, 30.0 if shape == "capped" else None
        self.num_hidden_layers = 4
        super().__init__(**more)


class Mixing(nn.Module):
    """Causal attention without positions."""

    def __init__(self) -> None:
        super().__init__()
        self.joined, self.back = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, sees: Tensor) -> Tensor:
        parts = self.joined(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(*parts, attn_mask=sees)
        return self.back(y.transpose(1, 2).flatten(2))


class Feed(nn.Module):
    """A gated MLP that names and orders its projections in its own way."""

    def __init__(self, shape: str) -> None:
        super().__init__()
        make = (lambda a, b: Conv1D(b, a)) if shape == "turned" else nn.Linear
        self.wide, self.door, self.close = make(WIDTH, INNER), make(WIDTH, INNER), None
        self.close = make(INNER, WIDTH)
        if shape == "tied sides":
            self.close.weight = nn.Parameter(self.wide.weight.detach().T)

    def forward(self, x: Tensor) -> Tensor:
        return self.close(self.wide(x) * torch.sigmoid(self.door(x)))


class Choice(nn.Module):
    """A token passes one of two MLPs."""

    def __init__(self) -> None:
        super().__init__()
        self.some = nn.ModuleList(Feed("") for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        flat, out = x.flatten(0, 1), torch.zeros_like(x.flatten(0, 1))
        first = flat[:, 0] > 0
        for feed, mine in zip(self.some, (first, ~first), strict=True):
            out[mine] = feed(flat[mine])
        return out.view_as(x)


class Layer(nn.Module):
    """One block."""

    def __init__(self, shape: str) -> None:
        super().__init__()
        self.shape = shape
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        if shape != "no attention":
            self.mixing = Mixing()
        if shape != "no mlp":
            self.feed = Choice() if shape == "experts" else Feed(shape)
        if shape == "two mlps":
            self.second = Feed(shape)
        if shape in ("normed", "norm on the stream"):
            self.behind = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, sees: Tensor) -> Tensor:
        if self.shape == "length first":
            return self.step(x.transpose(0, 1), sees).transpose(0, 1)
        return self.step(x, sees)

    def step(self, x: Tensor, sees: Tensor) -> Tensor:
        shape, start = self.shape, x
        scale = 0.22 if shape == "scaled" else 1.0
        if shape != "no attention":
            x = x + scale * self.mixing(self.before(x), sees)
        if shape == "no mlp":
            return x
        y = self.feed(self.between(start if shape == "parallel" else x))
        if shape == "norm on the stream":
            return self.behind(x + y)
        y = self.behind(y) if shape == "normed" else scale * y
        x = x + y
        return x + self.second(self.before(x)) if shape == "two mlps" else x


class WrittenBase(PreTrainedModel):
    """The model without its head."""

    config_class, base_model_prefix = WrittenConfig, "stem"

    def __init__(self, config: WrittenConfig) -> None:
        super().__init__(config)
        self.words = nn.Embedding(tiny.EOS + 1 + len(tiny.WORDS), WIDTH)
        self.places = nn.Embedding(64, WIDTH)
        self.stack = nn.ModuleList(
            Layer("scaled" if (config.shape, i) == ("scaled once", 2) else config.shape)
            for i in range(4)
        )
        self.last = nn.LayerNorm(WIDTH) if config.shape != "no last norm" else None
        if config.shape == "tied":
            for layer in self.stack:
                layer.feed.close = self.stack[0].feed.close
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def _init_weights(self, module: nn.Module) -> None:
        pass

    def forward(self, input_ids, attention_mask=None, use_cache=None, **_):
        n, length = input_ids.shape
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        causal = torch.ones(length, length, dtype=torch.bool, device=input_ids.device)
        causal = causal if self.config.shape == "looks ahead" else causal.tril()
        own = torch.eye(length, dtype=torch.bool, device=input_ids.device)
        sees = (causal & real[:, None].bool()) | own
        x = self.words(input_ids)
        if self.config.shape == "counted from the edge":
            x = x + self.places(torch.arange(length, device=x.device))
        if self.config.shape == "length first":
            x = x.transpose(0, 1)
        for layer in self.stack:
            if self.config.shape == "named states":
                x = layer(sees=sees[:, None], x=x)
            else:
                x = layer(x, sees[:, None])
        if self.config.shape == "length first":
            x = x.transpose(0, 1)
        return BaseModelOutputWithPast(last_hidden_state=self.last(x) if self.last else x)


class WrittenModel(PreTrainedModel):
    """The model with its head."""

    config_class, base_model_prefix = WrittenConfig, "stem"

    def __init__(self, config: WrittenConfig) -> None:
        super().__init__(config)
        self.stem = WrittenBase(config)
        many = tiny.EOS + 1 + len(tiny.WORDS)
        self.speak = nn.Linear(WIDTH, many, bias=config.shape == "head with a bias")
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.speak

    def _init_weights(self, module: nn.Module) -> None:
        pass

    def forward(self, input_ids, attention_mask=None, **more):
        out = self.stem(input_ids, attention_mask, **more)
        logits = self.speak(out.last_hidden_state)
        if self.config.shape == "capped":
            most = self.config.final_logit_softcapping
            logits = most * torch.tanh(logits / most)
        if self.config.shape == "divided":
            logits = logits / self.config.quiet
        if self.config.shape == "squared logits":
            logits = logits.square()
        return CausalLMOutputWithPast(logits=logits)


def network(shape: str) -> WrittenModel:
    """A random network of a shape, with weights large enough for its answers to depend on them."""
    torch.manual_seed(0)
    made = WrittenModel(WrittenConfig(shape, pad_token_id=0, eos_token_id=tiny.EOS))
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made
