"""The settings of WISE, those of the paper first and ours after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from ...errors import EditError
from ...setting_fields import Amount, Count, Real, Share, Size, Texts, from_paper, ours
from ..shared.config import Config
from ..shared.shared_settings import ChatWordings, ContextSettings, EndOfText

# undamped, the moment of few tokens has no inverse
Damping = Annotated[float, Meta(ge=1e-6, lt=1e18, description="a number from 1e-06 on")]


@dataclass(frozen=True)
class WiseConfig(ContextSettings, EndOfText, ChatWordings, Config):
    """Settings of WISE."""

    layer: Count = from_paper(25, "Layer, counted from 0, whose MLP gets a side memory.")
    lr: Amount = from_paper(1.0, "Learning rate of gradient descent.")
    n_iter: Count = from_paper(70, "Steps of training per fact at most.")
    alpha: Real = from_paper(
        0.25,
        "Margin under which the activation difference of irrelevant texts is to stay.",
        published=5.0,
    )
    beta: Real = from_paper(
        1.0, "Margin above which the activation difference of edits is to lie.", published=20.0
    )
    gamma: Real = from_paper(
        0.5, "Margin by which edits are to lie above irrelevant texts.", published=10.0
    )
    act_ratio: Real = from_paper(
        0.88, "Share of its threshold from which on a side memory answers."
    )
    mask_ratio: Share = from_paper(0.2, "Share of the matrix's entries that a shard may change.")
    density: Share = from_paper(
        0.53, "Share of each shard's largest entries that the TIES merge keeps."
    )
    merge: Literal["ties", "sign", "linear"] = from_paper(
        "ties", "Rule by which full shards become one side memory."
    )
    save_freq: Size = from_paper(500, "Number of facts of one shard.")
    merge_freq: Size = from_paper(1000, "Number of facts after which shards are merged.")
    retrieve: bool = from_paper(
        False,
        "Whether merged memories stand side by side and the best one answers, or are merged again "
        "into one.",
    )
    replay: bool = from_paper(
        False,
        "Whether prompts of merged memories are trained to leave the open shard alone, where "
        "memories are retrieved.",
    )
    norm_constraint: Amount | None = from_paper(
        1.0, "Largest change of any entry of the matrix; None sets no bound."
    )
    weight_decay: Amount = from_paper(
        0.0, "Weight decay of all of the side memory at every step.", published=1e-5
    )
    pool: Literal["mean", "row"] = from_paper(
        "mean",
        "Tokens that the activation difference is a mean over: the prompt's, or, as in the "
        "released code, all of the text that is run.",
        published="row",
    )
    activation: Literal["hidden"] | None = from_paper(
        None,
        "Whether outputs pass through the model's activation function before they are compared.",
        published="hidden",
    )
    irrelevant_n: Count = from_paper(
        1, "Number of irrelevant texts that every fact is trained with."
    )

    # options of ours: margins of any model, rewordings in scope, facts of an open shard that last

    enough: Real = ours(0.02, "Loss of answer and margins at which the training of a fact ends.")
    margin_weight: Real = ours(1.0, "Weight of the margins beside the loss of the answer.")
    units: Literal["output", "absolute"] = ours(
        "output",
        "Whether margins count in units of the mean output on irrelevant texts or are absolute; "
        "raw margins can outweigh the answer a hundredfold.",
        published="absolute",
    )
    remeasure: bool = ours(
        False,
        "Whether the activation difference of merged facts is measured again after the merge.",
    )
    track: bool = ours(
        False,
        "Whether the activation difference of the open shard's facts is measured again after every "
        "edit, since later ones move all of them.",
    )
    calibrate: Real | None = ours(
        None,
        "Place of the threshold between the 95 % quantile on held out irrelevant texts (0) and "
        "the least of any fact (1), where facts are tracked; None takes the least of any fact.",
    )
    whiten: Damping | None = ours(
        None,
        "Damping, as a multiple of the mean eigenvalue, of the second moment of general text by "
        "whose inverse the gradients are multiplied; None leaves them as they are.",
    )
    rehearse: Count = ours(
        0, "Number of earlier facts of the open shard that are trained along at most."
    )
    irrelevant: Texts | None = ours(
        None,
        "Texts that must stay with the main memory; None takes those shipped with the library.",
    )

    def __post_init__(self) -> None:
        """Refuse also settings that do not go together."""
        super().__post_init__()
        if self.merge_freq % self.save_freq:
            raise EditError(
                "wise merges shards every merge_freq facts, a multiple of save_freq; not "
                f"{self.merge_freq} of {self.save_freq}"
            )
        if self.replay and not self.retrieve:
            raise EditError("wise replays prompts of merged memories only with retrieve=True")
        if self.calibrate is not None and not (self.track and self.remeasure):
            raise EditError("wise calibrates thresholds only with track=True and remeasure=True")
