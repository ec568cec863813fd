"""Fine-tuning of one MLP projection: LocFT-BF (2025), and FT-L and FT-M as published.

As an editor, fine-tuning looked weak because it trained depth-first, one fact to convergence before
the next. Epochs over shuffled batches of all facts, on one well-chosen late layer, are a strong
baseline (LocFT-BF).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from ..data.facts import Fact
from ..keys_values import conversation_forms
from ..model.answer_rows import AnswerRows
from ..patch.patch import Patch
from ..settings import setting
from .shared import epochs
from .shared.base import Editor
from .shared.config import Config


@dataclass(frozen=True)
class FtConfig(Config):
    """Settings of fine-tuning."""

    layer: int = setting(20, "Layer, counted from 0, whose MLP is trained.", source="paper")
    lr: float = setting(5e-4, "Learning rate of Adam.", source="paper")
    epochs: int = setting(25, "Passes over the facts of a call at most.", source="paper")
    batch_size: int = setting(100, "Number of facts that share one step.", source="paper")
    enough: float = setting(
        1e-2, "Mean loss under which a batch moves nothing and training ends.", source="paper"
    )
    loss: Literal["target_new", "prompt_last"] = setting(
        "target_new",
        "Whether each answer token is predicted from the text before it, or all of them from the "
        "prompt's last token, as FT-L was published, which is wrong for answers of several tokens.",
        source="paper",
    )
    box: float | None = setting(
        None,
        "Largest change of any entry of the matrix within a call; None sets no bound.",
        source="paper",
    )
    target_eos: bool = setting(
        True, "Whether the end of the text is learned as a token after the answer.", source="paper"
    )

    # options of ours

    replay: Literal["none", "all"] | float = setting(
        "none",
        "Old facts that are trained again: none, all, or a multiple of the number of new facts.",
        source="ours",
    )

    forms: conversation_forms.FormsSetting = setting(
        "prompt",
        "Forms in which a fact is learned: its prompt alone, also as a message in the chat "
        "template, or in a conversation, where a question that the model writes comes to it.",
        source="ours",
    )

    retired: ClassVar[Mapping[str, Any]] = {"restart": False}
    added: ClassVar[Mapping[str, Any]] = {"forms": "prompt"}


class Ft(Editor):
    """Fine-tuning done right: shuffled epochs over all facts of a call, on one late layer."""

    name = "ft"
    paper = "Fine-tuning Done Right in Model Editing (LocFT-BF), 2025 (arXiv:2509.22072)"
    Config = FtConfig
    config: FtConfig
    speed: ClassVar[Literal["fast", "usual", "slow"]] = "fast"

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Train a copy of one matrix on the facts, and on old ones where `replay` asks for them."""
        config, lm = self.config, self.lm
        module = lm.mlp_out(config.layer)
        every = [*self._old(facts, after), *facts]
        pairs = [(fact.text, fact.target_new) for fact in every]
        at_prompt = config.loss == "prompt_last"
        rows = AnswerRows.of(lm.tokenizer, pairs, config.target_eos, at_prompt=at_prompt)
        forms = conversation_forms.of(lm, every, config.forms)
        rows = rows.plus(forms.rows(lm, config.target_eos, sentences=True))
        start = lm.weight(module, after)
        W = start.clone().requires_grad_()  # clone: `.to` of the same type gives the same tensor
        optimizer = torch.optim.Adam([W], lr=config.lr)

        def into_box() -> None:
            """Bring every entry of W back to within ± box of its value at the start."""
            with torch.no_grad():
                W.copy_(torch.minimum(torch.maximum(W, start - config.box), start + config.box))

        by = epochs.Epochs(
            config.epochs, config.batch_size, config.enough, config.seed, name=self.name
        )
        boxed = None if config.box is None else into_box
        with lm.patched(after, only=True), lm.bind({module: W}):
            epochs.train(lm, rows, config.layer, [W], optimizer, by, after_step=boxed)
        return after.with_weights({module: W.detach().cpu()})

    def _old(self, facts: Sequence[Fact], after: Patch) -> list[Fact]:
        """Earlier facts to train again; of two with equal subject and prompt only the newest."""
        if self.config.replay == "none":
            return []
        newest = {(fact.subject, fact.prompt): fact for fact in after.facts}
        for fact in facts:
            newest.pop((fact.subject, fact.prompt), None)
        old = list(newest.values())
        if self.config.replay == "all":
            return old
        count = min(len(old), round(float(self.config.replay) * len(facts)))
        return random.Random(self.config.seed + after.calls).sample(old, count)


@dataclass(frozen=True)
class FtLConfig(FtConfig):
    """Settings of FT-L: all answer tokens are predicted from the last prompt token, in a box."""

    loss: Literal["target_new", "prompt_last"] = "prompt_last"
    box: float | None = 5e-4
    target_eos: bool = False


class FtL(Ft):
    """FT-L: fine-tuning of one layer within an L∞ box, as ROME and MEMIT compared against it."""

    name = "ft_l"
    paper = "Zhu et al., Modifying Memories in Transformer Models, 2020 (arXiv:2012.00363)"
    Config = FtLConfig
    config: FtLConfig
    speed = "usual"


@dataclass(frozen=True)
class FtMConfig(FtConfig):
    """Settings of FT-M: each answer token is predicted from the text before it, without a box."""

    target_eos: bool = False


class FtM(Ft):
    """FT-M: fine-tuning of one layer on the target's tokens only."""

    name = "ft_m"
    paper = "Zhang et al., A Comprehensive Study of Knowledge Editing, 2024 (arXiv:2401.01286)"
    Config = FtMConfig
    config: FtMConfig
