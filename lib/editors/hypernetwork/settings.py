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
        "Rank of the network's blocks; None uses a quarter of their width, at most 1024.",
        published=1920,
    )
    blocks: Size = from_paper(2, "Number of the network's residual blocks.")
    eta: Real = from_paper(1e-6, "Initial value of the learned step of the update.")
    ridge: Amount = from_paper(1.0, "Initial value of the learned ridge λ of the regression.")
    lr: Amount = from_paper(1e-5, "Learning rate of Adam for the network.")
    lr_step: Amount = from_paper(1e-5, "Learning rate of Adam for the learned step of the update.")
    clip: Amount = from_paper(1.0, "Norm to which all gradients are clipped together.")
    batch: Size = from_paper(100, "Number of facts per edit in training.")
    accumulate: Size = from_paper(1, "Number of edits per training step.")
    edit_weight: Amount = from_paper(1.0, "Weight of the loss on paraphrases.")
    loc_weight: Real = from_paper(1.0, "Weight of the KL divergence on unrelated texts.")
    tokens: Literal["answer", "all"] = from_paper(
        "answer",
        "Positions whose keys and gradients are used: only the answer's, as in MALMEN, or all, as "
        "in MEND.",
    )
    chunk: Size = from_paper(1024, "Number of columns passing through the network at once.")
    check_every: Size = from_paper(20, "Training steps between two checks on the validation cases.")
    patience: Count = from_paper(200, "Training steps without a new best before training ends.")

    # our additions

    varied: bool = ours(
        False,
        "Whether edits in training use any number of facts up to `batch`, so that one network can "
        "handle single edits and batches.",
    )
    own_prompt: bool = ours(
        False,
        "Whether the edit's own prompt is included among its paraphrases, the only texts used for "
        "learning otherwise.",
    )
    first_scale: Real = ours(
        1.0, "Multiple of the learned step for the first edit of a model, up to `batch` facts."
    )
    network: str | None = ours(
        None,
        "File of a trained network; None uses the network in the cache folder, or else the "
        "network shipped with the library.",
    )


@dataclass(frozen=True)
class RegressionConfig(TrainableConfig):
    """Settings of a network whose shifts one regression writes (MALMEN, RLEdit); all are ours."""

    keys: Literal["raw", "network"] = ours(
        "raw",
        "Whether the regression uses the keys as read or the network's keys, whose mean squared "
        "length is then the unit of λ.",
    )
    begin: Literal["malmen", "mend"] | None = ours(
        None,
        "Editor whose trained network is the starting point for training; None starts from "
        "the identity.",
    )
    order: Literal["malmen", "mend"] = ours(
        "malmen",
        "Method whose blocks make up the network; MEND's when starting from MEND's network.",
    )
