"""ROME: insert one fact by a rank-one change of one MLP (Meng et al., 2022; R-ROME: Gupta, 2024).

The MLP's output projection W is a linear memory that maps keys to values. ROME reads the subject's
key k, searches the value v* that makes the model give the new answer, and writes the pair (k, v*)
with the least disturbance of general text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from .. import memory
from ..data.facts import Fact
from ..errors import EditError
from ..keys_values import context_templates as contexts
from ..keys_values import conversation_forms, target_value
from ..keys_values.second_moment import second_moment
from ..patch.patch import EMPTY, Patch
from ..settings import setting
from .shared.base import Editor, add_low_rank
from .shared.config import Config


@dataclass(frozen=True)
class RomeConfig(Config):
    """Settings of ROME."""

    layer: int = setting(5, "Layer, counted from 0, whose MLP is edited.", source="paper")
    keys: Literal["both", "mixed", "mean", "prompt"] = setting(
        "both",
        "Which key is written: ROME's mix of mean key and bare prompt, R-ROME's one of the two "
        "(mean, prompt), or both as two columns, which alone holds one-token subjects at position "
        "0.",
        source="paper",
        published="mixed",
    )
    v_lr: float = setting(0.5, "Learning rate of Adam in the search for the value.", source="paper")
    steps: int = setting(
        20, "Steps of the search at most; the last one only looks at the loss.", source="paper"
    )
    decay: float = setting(
        0.5, "Weight of the found change's length in its search.", source="paper"
    )
    clamp: float = setting(
        4.0,
        "Bound on the change's length, as a multiple of the length of the state there.",
        source="paper",
    )
    kl_factor: float = setting(
        0.0625,
        "Weight of the KL divergence of the prediction right after the subject.",
        source="paper",
    )
    enough: float = setting(0.05, "Total loss under which the search ends.", source="paper")
    contexts: tuple[tuple[int, int], ...] = setting(
        ((5, 10), (10, 10)),
        "Contexts that the model writes, as pairs of a length in tokens and a number of texts.",
        source="paper",
    )
    context_start: int | None = setting(
        None,
        "Token id that contexts begin with; None begins them with the end of text.",
        source="paper",
    )
    context_top_k: int = setting(
        5,
        "Number of likeliest tokens that contexts are drawn from; 0 draws from the whole "
        "vocabulary.",
        source="paper",
    )
    second_moment: bool = setting(
        True,
        "Whether C, the second moment of general text, weighs the keys; without it C is the "
        "identity.",
        source="paper",
    )
    # options of ours

    target_eos: bool = setting(
        False, "Whether the end of the text is learned as a token after the answer.", source="ours"
    )
    templates: tuple[str, ...] | None = setting(
        None,
        "Context templates, each with `{}` for the prompt; None lets the model write them.",
        source="ours",
    )
    forms: conversation_forms.FormsSetting = setting(
        "prompt",
        "Forms in which a fact is learned: its prompt alone, also as a message in the chat "
        "template, or in a conversation, where a question that the model writes comes to it.",
        source="ours",
    )
    text: str | None = setting(
        None,
        "File of general text for C; None takes the text shipped with the library.",
        source="ours",
    )
    tokens: int | None = setting(
        None,
        "Number of tokens of general text that C is estimated from; None takes ten for each of "
        "its rows.",
        source="ours",
    )
    damping: float = setting(
        1e-4,
        "Multiple of its mean eigenvalue that is added to the diagonal of C.",
        source="ours",
        published=0.0,
    )

    added: ClassVar[Mapping[str, Any]] = {"forms": "prompt", "enough": 0.05}


class Rome(Editor):
    """Rank-one insert of one fact into one layer, with the value found by optimization."""

    name = "rome"
    paper = "Meng et al., Locating and Editing Factual Associations in GPT, 2022 (arXiv:2202.05262)"
    Config = RomeConfig
    config: RomeConfig
    needs_subject = True
    geometry = "whitened"

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Write one fact after another, each on the result of the one before."""
        templates = self.templates(after)
        for fact in facts:
            update, _ = self.update(fact, after, templates)
            after = add_low_rank(self.lm, after, {self.lm.mlp_out(self.config.layer): update})
        return replace(after, memory={**after.memory, self.name: {"templates": templates}})

    def templates(self, after: Patch = EMPTY) -> tuple[str, ...]:
        """The context templates: given, kept from an earlier edit, or written by the base model."""
        kept = after.memory.get(self.name, {}).get("templates")
        return contexts.of(self.lm, self.config, kept)

    def update(
        self, fact: Fact, after: Patch = EMPTY, templates: tuple[str, ...] | None = None
    ) -> tuple[tuple[Tensor, Tensor], target_value.Target]:
        """ΔW as factors (d_out, r), (r, d_in), float32, and the search that found v*."""
        lm, layer = self.lm, self.config.layer
        templates = self.templates(after) if templates is None else templates
        forms = conversation_forms.of(lm, [fact], self.config.forms)
        # read the subject's keys and search the value v*, under all templates and in all forms
        with lm.patched(after, only=True):
            found = target_value.search(lm, [fact], layer, templates, self.search(), forms=forms)[0]
        # write the pair into the weights as they are now
        W = lm.weight(lm.mlp_out(layer), after).cpu()
        return insert(W, found, self.moment(layer), self.config.keys, len(forms)), found

    def search(self) -> target_value.Search:
        """The settings of the search for v*."""
        c = self.config
        return target_value.Search(
            c.v_lr, c.steps, c.decay, c.clamp, c.kl_factor, c.enough, c.target_eos
        )

    def moment(self, layer: int) -> memory.Moment | None:
        """The second moment C of a layer's keys, or None for the identity."""
        c = self.config
        if not c.second_moment:
            return None
        return second_moment(self.lm, [layer], c.text, c.tokens, c.damping)[layer]


def insert(
    W: Tensor, found: target_value.Target, C: memory.Moment | None, keys: str, forms: int = 0
) -> tuple[Tensor, Tensor]:
    """ΔW as factors (d_out, r), (r, d_in), for one of the four ways to choose the key.

    "mixed" is ROME, "mean" and "prompt" are R-ROME's, and "both" is ours. The last `forms` keys are
    of forms of conversation. Each of them is a column of its own beside the two of "both", since a
    key behind the chat template's system text is far from that of the prompt.
    """
    plain = found.keys[: len(found.keys) - forms]
    bare, mean, v_star = plain[0].cpu(), plain.mean(0).cpu(), found.v_star.cpu()
    if forms and keys != "both":
        raise EditError(f"forms of conversation are written with keys='both', not '{keys}'")
    if forms:
        K = torch.stack([bare, mean, *found.keys[len(plain) :].cpu()], 1)  # (d_in, 2 + forms)
        K = K[:, 1:] if torch.equal(bare, mean) else K
        V = v_star[:, None].expand(-1, K.shape[1])
        return memory.insert_many(W, K, V, C, ridge=1e-6)
    if keys == "mean":
        return memory.insert(W, mean, v_star, C)
    if keys == "prompt" or (keys == "both" and torch.equal(bare, mean)):
        return memory.insert(W, bare, W @ bare + found.delta.cpu(), C)
    if keys == "both":
        K = torch.stack([bare, mean], 1)  # (d_in, 2), both mapped to v*
        return memory.insert_many(W, K, v_star[:, None].expand(-1, 2), C, ridge=1e-6)
    if keys == "mixed":
        # u = C⁻¹k̄, Δ = (v* − W k₀) uᵀ / (u·k₀): exact at the bare prompt, divides by u·k₀
        u = memory.whiten(mean[:, None], C)[:, 0]
        return ((v_star - W @ bare) / (u @ bare))[:, None], u[None]
    raise EditError(f"keys must be both, mixed, mean or prompt, not '{keys}'")
