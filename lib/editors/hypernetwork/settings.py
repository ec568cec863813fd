"""Settings that MEND, MALMEN and RLEdit share: modules, network, update and training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...settings import setting
from ..shared.config import Config


@dataclass(frozen=True)
class TrainableConfig(Config):
    """Settings of an editor whose update comes from a trained network."""

    down: tuple[int, ...] = setting(
        (),
        "Layers whose MLP output projection is edited; with none of the three lists given the "
        "editor chooses.",
        source="paper",
    )
    gate: tuple[int, ...] = setting(
        (), "Layers whose gate projection of the MLP is edited.", source="paper"
    )
    up: tuple[int, ...] = setting(
        (), "Layers whose input projection of the MLP is edited.", source="paper"
    )
    rank: int | None = setting(
        None,
        "Rank of the network's blocks; None takes a quarter of their width, at most 1024.",
        source="paper",
        published=1920,
    )
    blocks: int = setting(2, "Number of the network's residual blocks.", source="paper")
    eta: float = setting(1e-6, "Where the learned step of the update starts.", source="paper")
    ridge: float = setting(
        1.0, "Where the learned ridge λ of the regression starts.", source="paper"
    )
    lr: float = setting(1e-5, "Learning rate of Adam for the network.", source="paper")
    lr_step: float = setting(
        1e-5, "Learning rate of Adam for the learned step of the update.", source="paper"
    )
    clip: float = setting(1.0, "Norm that all gradients together are cut to.", source="paper")
    batch: int = setting(100, "Number of facts of one edit in training.", source="paper")
    accumulate: int = setting(1, "Number of edits of one training step.", source="paper")
    edit_weight: float = setting(1.0, "Weight of the loss on rewordings.", source="paper")
    loc_weight: float = setting(
        1.0, "Weight of the KL divergence on unrelated texts.", source="paper"
    )
    tokens: Literal["answer", "all"] = setting(
        "answer",
        "Positions whose keys and gradients are used: those of the answer, as in MALMEN, or all, "
        "as in MEND.",
        source="paper",
    )
    group: int = setting(10, "Number of texts that share one mean loss.", source="paper")
    reduction: Literal["group_mean", "fact_mean"] = setting(
        "group_mean",
        "Whether a loss is the mean over a group's tokens or, apart for every fact, over its own.",
        source="paper",
    )
    chunk: int = setting(
        1024, "Number of columns that pass through the network at once.", source="paper"
    )
    check_every: int = setting(
        20, "Training steps between two looks at the validation cases.", source="paper"
    )
    patience: int = setting(
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
    first_scale: float = setting(
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
