"""Settings that MEND, MALMEN and RLEdit share: modules, network, update and training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...setting_fields import Amount, Count, Real, Size, from_paper, ours
from ..shared.config import Config
from ..shared.shared_settings import GradientSettings


@dataclass(frozen=True)
class TrainableConfig(GradientSettings, Config):
    """Settings of an editor whose update comes from a trained network."""

    rank: Size | None = from_paper(
        None,
        "Rank of the network's blocks; None takes a quarter of their width, at most 1024.",
        published=1920,
    )
    blocks: Size = from_paper(2, "Number of the network's residual blocks.")
    eta: Real = from_paper(1e-6, "Where the learned step of the update starts.")
    ridge: Amount = from_paper(1.0, "Where the learned ridge λ of the regression starts.")
    lr: Amount = from_paper(1e-5, "Learning rate of Adam for the network.")
    lr_step: Amount = from_paper(1e-5, "Learning rate of Adam for the learned step of the update.")
    clip: Amount = from_paper(1.0, "Norm that all gradients together are cut to.")
    batch: Size = from_paper(100, "Number of facts of one edit in training.")
    accumulate: Size = from_paper(1, "Number of edits of one training step.")
    edit_weight: Amount = from_paper(1.0, "Weight of the loss on rewordings.")
    loc_weight: Real = from_paper(1.0, "Weight of the KL divergence on unrelated texts.")
    tokens: Literal["answer", "all"] = from_paper(
        "answer",
        "Positions whose keys and gradients are used: those of the answer, as in MALMEN, or all, "
        "as in MEND.",
    )
    chunk: Size = from_paper(1024, "Number of columns that pass through the network at once.")
    check_every: Size = from_paper(20, "Training steps between two looks at the validation cases.")
    patience: Count = from_paper(
        200, "Training steps without a new best after which training ends."
    )

    # options of ours

    varied: bool = ours(
        False,
        "Whether edits in training have any number of facts up to `batch`, so that one network "
        "serves single edits and batches.",
    )
    own_prompt: bool = ours(
        False,
        "Whether the edit's own prompt counts among its rewordings, which alone are learned from "
        "otherwise.",
    )
    first_scale: Real = ours(
        1.0, "Multiple of the learned step for the first edit of a model, up to `batch` facts."
    )
    network: str | None = ours(
        None,
        "File of a trained network; None takes the one in the cache folder, or else the one that "
        "comes with the library.",
    )


@dataclass(frozen=True)
class RegressionConfig(TrainableConfig):
    """Settings of a network whose shifts one regression writes (MALMEN, RLEdit); all are ours."""

    keys: Literal["raw", "network"] = ours(
        "raw",
        "Whether the regression stands on the keys as they are read or on the network's, in whose "
        "mean squared length λ then counts.",
    )
    begin: Literal["malmen", "mend"] | None = ours(
        None, "Editor whose trained network training starts from; None starts from the identity."
    )
    order: Literal["malmen", "mend"] = ours(
        "malmen",
        "Method whose blocks the network is made of; MEND's where it begins from MEND's network.",
    )
