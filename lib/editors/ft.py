"""Fine-tuning of one MLP projection: FT-L and FT-M as published, and fine-tuning done right.

Fine-tuning looked weak because it ran depth-first, one fact to convergence before the next. Epochs
over shuffled batches of all facts on one well-chosen late layer are a strong baseline (LocFT-BF,
2025).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from ..data.facts import Fact
from ..model.answer_rows import AnswerRows
from ..patch.patch import Patch
from .shared import epochs
from .shared.base import Editor
from .shared.config import Config


@dataclass(frozen=True)
class FtConfig(Config):
    """Settings of fine-tuning.

    loss "target_new": teacher forcing on the target's tokens. "prompt_last": all of them predicted
    from the prompt's last token, as FT-L was published, which is wrong for targets of several
    tokens.
    box: entries stay within ± box of where they began (L∞); None: free.
    replay: old facts trained again, "none", a number r (r·n of them, drawn by seed), or "all".
    """

    layer: int = 20
    lr: float = 5e-4
    epochs: int = 25
    batch_size: int = 100
    enough: float = 1e-2
    loss: Literal["target_new", "prompt_last"] = "target_new"
    box: float | None = None
    target_eos: bool = True
    replay: Literal["none", "all"] | float = "none"

    retired: ClassVar[Mapping[str, Any]] = {"restart": False}


class Ft(Editor):
    """Fine-tuning done right: shuffled epochs over all facts of a call, on one late layer."""

    name = "ft"
    paper = "Fine-tuning Done Right in Model Editing (LocFT-BF), 2025 (arXiv:2509.22072)"
    Config = FtConfig
    speed = "fast"

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Train a copy of one matrix on the facts and replayed old ones, from `after` on."""
        config, lm = self.config, self.lm
        module = lm.mlp_out(config.layer)
        pairs = [(fact.text, fact.target_new) for fact in [*self._old(facts, after), *facts]]
        rows = AnswerRows.of(
            lm.tokenizer, pairs, config.target_eos, at_prompt=config.loss == "prompt_last"
        )
        start = lm.weight(module, after)
        W = start.clone().requires_grad_()  # clone: `.to` of the same type gives the same tensor
        optimizer = torch.optim.Adam([W], lr=config.lr)

        def into_box() -> None:
            """Every entry of W back to within ± box of where it began."""
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
        """Earlier facts to rehearse; of two with equal subject and prompt only the newest."""
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
    """FT-L as published: every target token from the last prompt token, and the box."""

    loss: Literal["target_new", "prompt_last"] = "prompt_last"
    box: float | None = 5e-4
    target_eos: bool = False


class FtL(Ft):
    """FT-L: fine-tuning of one layer within an L∞ box, as ROME and MEMIT compared against it."""

    name = "ft_l"
    paper = "Zhu et al., Modifying Memories in Transformer Models, 2020 (arXiv:2012.00363)"
    Config = FtLConfig
    speed = "usual"


@dataclass(frozen=True)
class FtMConfig(FtConfig):
    """FT-M: teacher forcing on the target, no box."""

    target_eos: bool = False


class FtM(Ft):
    """FT-M: fine-tuning of one layer on the target's tokens only."""

    name = "ft_m"
    paper = "Zhang et al., A Comprehensive Study of Knowledge Editing, 2024 (arXiv:2401.01286)"
    Config = FtMConfig
