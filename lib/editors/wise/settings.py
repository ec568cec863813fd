"""The settings of WISE: first the paper's, then ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from ...errors import EditError
from ...setting_fields import Amount, Count, Real, Share, Size, Texts, from_paper, ours
from ..shared.config import Config
from ..shared.shared_settings import ChatWordings, ContextSettings, EndOfText

# undamped, the moment of few tokens has no inverse
Damping = Annotated[float, Meta(ge=1e-6, lt=1e18, description="a number of at least 1e-06")]


@dataclass(frozen=True)
class WiseConfig(ContextSettings, EndOfText, ChatWordings, Config):
    """Settings of WISE."""

    layer: Count = from_paper(25, "Layer, counted from 0, whose MLP gets a side memory.")
    lr: Amount = from_paper(1.0, "Learning rate of gradient descent.")
    n_iter: Count = from_paper(70, "Maximum number of training steps per fact.")
    alpha: Real = from_paper(
        0.25,
        "Margin under which the activation difference of irrelevant texts should stay.",
        published=5.0,
    )
    beta: Real = from_paper(
        1.0, "Margin above which the activation difference of edits should be.", published=20.0
    )
    gamma: Real = from_paper(
        0.5, "Margin by which edits should exceed irrelevant texts.", published=10.0
    )
    act_ratio: Real = from_paper(0.88, "Fraction of its threshold at which a side memory answers.")
    mask_ratio: Share = from_paper(0.2, "Fraction of the matrix's entries that a shard may change.")
    density: Share = from_paper(
        0.53, "Fraction of each shard's largest entries that the TIES merge keeps."
    )
    merge: Literal["ties", "sign", "linear"] = from_paper(
        "ties", "Rule for merging full shards into one side memory."
    )
    save_freq: Size = from_paper(500, "Number of facts per shard.")
    merge_freq: Size = from_paper(1000, "Number of facts after which shards are merged.")
    retrieve: bool = from_paper(
        False,
        "Whether merged memories are kept separately and the best one answers, or are merged "
        "again into one.",
    )
    replay: bool = from_paper(
        False,
        "Whether prompts of merged memories are trained not to affect the open shard, if memories "
        "are retrieved.",
    )
    norm_constraint: Amount | None = from_paper(
        1.0, "Largest change of any entry of the matrix; None sets no bound."
    )
    weight_decay: Amount = from_paper(
        0.0, "Weight decay of the whole side memory at every step.", published=1e-5
    )
    pool: Literal["mean", "row"] = from_paper(
        "mean",
        "Tokens over which the activation difference is averaged: the prompt's, or, as in the "
        "released code, all of the text that is run.",
        published="row",
    )
    activation: Literal["hidden"] | None = from_paper(
        None,
        "Whether outputs pass through the model's activation function before they are compared.",
        published="hidden",
    )
    irrelevant_n: Count = from_paper(1, "Number of irrelevant texts used in training every fact.")

    # our additions: margins for any model, paraphrases in scope, lasting facts in an open shard

    enough: Real = ours(0.02, "Loss of answer and margins at which the training of a fact ends.")
    margin_weight: Real = ours(1.0, "Weight of the margins relative to the loss of the answer.")
    units: Literal["output", "absolute"] = ours(
        "output",
        "Whether margins are in units of the mean output on irrelevant texts or are absolute; raw "
        "margins can outweigh the answer a hundredfold.",
        published="absolute",
    )
    remeasure: bool = ours(
        False,
        "Whether the activation difference of merged facts is measured again after the merge.",
    )
    track: bool = ours(
        False,
        "Whether the activation difference of the open shard's facts is measured again after "
        "every edit, since later edits change all of them.",
    )
    calibrate: Real | None = ours(
        None,
        "Place of the threshold between the 95% quantile on held-out irrelevant texts (0) and the "
        "least of any fact (1), if facts are tracked; None uses the least of any fact.",
    )
    whiten: Damping | None = ours(
        None,
        "Damping, as a multiple of the mean eigenvalue, of the second moment of general text "
        "whose inverse multiplies the gradients; None leaves them unchanged.",
    )
    rehearse: Count = ours(
        0, "Maximum number of the open shard's earlier facts trained together with a new one."
    )
    irrelevant: Texts | None = ours(
        None,
        "Texts that must stay with the main memory; None uses the texts shipped with the library.",
    )

    def __post_init__(self) -> None:
        """Also reject settings that do not go together."""
        super().__post_init__()
        if self.merge_freq % self.save_freq:
            raise EditError(
                f"wise merges shards every merge_freq facts, but {self.merge_freq} is not a "
                f"multiple of {self.save_freq}. Make merge_freq a multiple of save_freq."
            )
        if self.replay and not self.retrieve:
            raise EditError(
                "wise replays prompts of merged memories only with retrieve=True. Set it, or "
                "disable replay."
            )
        if self.calibrate is not None and not (self.track and self.remeasure):
            raise EditError(
                "wise calibrates thresholds only with track=True and remeasure=True. Set both, or "
                "disable calibrate."
            )
