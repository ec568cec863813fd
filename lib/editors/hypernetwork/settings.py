"""Settings that MEND, MALMEN and RLEdit share: modules, network, update and training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...settings import Amount, Count, Real, Size, setting
from ..shared.config import Config
from ..shared.options import GradientSettings


@dataclass(frozen=True)
class TrainableConfig(GradientSettings, Config):
    """Settings of an editor whose update comes from a trained network."""

    rank: Size | None = setting(
        None,
        "Rank of the network's blocks; None takes a quarter of their width, at most 1024.",
        source="paper",
        published=1920,
    )
    blocks: Size = setting(2, "Number of the network's residual blocks.", source="paper")
    eta: Real = setting(1e-6, "Where the learned step of the update starts.", source="paper")
    ridge: Amount = setting(
        1.0, "Where the learned ridge λ of the regression starts.", source="paper"
    )
    lr: Amount = setting(1e-5, "Learning rate of Adam for the network.", source="paper")
    lr_step: Amount = setting(
        1e-5, "Learning rate of Adam for the learned step of the update.", source="paper"
    )
    clip: Amount = setting(1.0, "Norm that all gradients together are cut to.", source="paper")
    batch: Size = setting(100, "Number of facts of one edit in training.", source="paper")
    accumulate: Size = setting(1, "Number of edits of one training step.", source="paper")
    edit_weight: Amount = setting(1.0, "Weight of the loss on rewordings.", source="paper")
    loc_weight: Real = setting(
        1.0, "Weight of the KL divergence on unrelated texts.", source="paper"
    )
    tokens: Literal["answer", "all"] = setting(
        "answer",
        "Positions whose keys and gradients are used: those of the answer, as in MALMEN, or all, "
        "as in MEND.",
        source="paper",
    )
    chunk: Size = setting(
        1024, "Number of columns that pass through the network at once.", source="paper"
    )
    check_every: Size = setting(
        20, "Training steps between two looks at the validation cases.", source="paper"
    )
    patience: Count = setting(
        200, "Training steps without a new best after which training ends.", source="paper"
    )

    # options of ours

    varied: bool = setting(
        False,
        "Whether edits in training have any number of facts up to `batch`, so that one network "
        "serves single edits and batches.",
        source="ours",
    )
    own_prompt: bool = setting(
        False,
        "Whether the edit's own prompt counts among its rewordings, which alone are learned from "
        "otherwise.",
        source="ours",
    )
    first_scale: Real = setting(
        1.0,
        "Multiple of the learned step for the first edit of a model, up to `batch` facts.",
        source="ours",
    )
    network: str | None = setting(
        None,
        "File of a trained network; None takes the one in the cache folder, or else the one that "
        "comes with the library.",
        source="ours",
    )


@dataclass(frozen=True)
class RegressionConfig(TrainableConfig):
    """Settings of a network whose shifts one regression writes (MALMEN, RLEdit); all are ours."""

    keys: Literal["raw", "network"] = setting(
        "raw",
        "Whether the regression stands on the keys as they are read or on the network's, in whose "
        "mean squared length λ then counts.",
        source="ours",
    )
    begin: Literal["malmen", "mend"] | None = setting(
        None,
        "Editor whose trained network training starts from; None starts from the identity.",
        source="ours",
    )
    order: Literal["malmen", "mend"] = setting(
        "malmen",
        "Method whose blocks the network is made of; MEND's where it begins from MEND's network.",
        source="ours",
    )
