"""Fine-tuning of one MLP projection: LocFT-BF (2025), and FT-L and FT-M as published.

As an editor, fine-tuning looked weak because it was run depth-first, training one fact to
convergence before the next. Training in epochs over shuffled batches of all facts, on one
well-chosen late layer, is a strong baseline (LocFT-BF).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ..data.facts import Fact
from ..patch.patch import Patch
from ..setting_fields import Amount, Count, from_paper
from .shared.base import Editor
from .shared.config import Config
from .shared.fine_tuning import fact_rows, train
from .shared.shared_settings import EndOfText, EpochSettings


@dataclass(frozen=True)
class FtConfig(EpochSettings, EndOfText, Config):
    """Settings of fine-tuning."""

    layer: Count = from_paper(20, "Layer, counted from 0, whose MLP is trained.")
    loss: Literal["target_new", "prompt_last"] = from_paper(
        "target_new",
        "How answer tokens are predicted: each from the text before it, or all of them from the "
        "prompt's last token, as FT-L was published, which is wrong for answers of several tokens.",
    )
    box: Amount | None = from_paper(
        None, "Largest change of any entry of the matrix within a call; None sets no bound."
    )
    target_eos: bool = from_paper(True)


class Ft(Editor[FtConfig]):
    """Fine-tuning done right: shuffled epochs over all facts of a call, on one late layer."""

    name = "ft"
    paper = "Yang et al., Fine-tuning Done Right in Model Editing, 2025 (arXiv:2509.22072)"
    speed: ClassVar[Literal["fast", "usual", "slow"]] = "fast"

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Train a copy of one matrix on the facts."""
        config, lm = self.config, self.lm
        module = lm.mlp_out(config.layer)
        start = lm.weight(module, after)
        W = start.clone().requires_grad_()  # clone: `.to` of the same type returns the same tensor
        optimizer = torch.optim.Adam([W], lr=config.lr)

        def move() -> None:
            """Take a step of Adam, then keep every entry of W within ± box of its start."""
            optimizer.step()
            if config.box is not None:
                with torch.no_grad():
                    W.copy_(torch.minimum(torch.maximum(W, start - config.box), start + config.box))

        with lm.patched(after, only=True), lm.bind({module: W}):
            rows = fact_rows(self, facts, at_prompt=config.loss == "prompt_last")
            train(self, rows, config.layer, [W], move)
        return after.with_weights({module: W.detach().cpu()})


@dataclass(frozen=True)
class FtLConfig(FtConfig):
    """Settings of FT-L: all answer tokens predicted from the last prompt token, within a box."""

    loss: Literal["target_new", "prompt_last"] = "prompt_last"
    box: Amount | None = 5e-4
    target_eos: bool = False


class FtL(Ft):
    """FT-L: fine-tuning of one layer within an L∞ box, the baseline in ROME and MEMIT."""

    name = "ft_l"
    paper = "Zhu et al., Modifying Memories in Transformer Models, 2020 (arXiv:2012.00363)"
    Config = FtLConfig
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
