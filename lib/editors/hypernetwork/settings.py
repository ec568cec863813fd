"""Settings of an editor with a trained network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..shared.config import Config


@dataclass(frozen=True)
class TrainableConfig(Config):
    """Settings of an editor with a network.

    down, gate, up: edited layers of the MLP's output and input projections; none given: the
    editor's own choice. rank None: min(1024, s/4). eta: where α or η starts; ridge: where λ does.
    lr, lr_step: Adam's rate for the network and for α or η; clip: norm of all gradients. batch:
    facts of one edit. varied: up to `batch` of them, drawn evenly in the logarithm, so that one
    network serves single edits and batches (ours). accumulate: edits of one step. edit_weight,
    loc_weight: of the rewordings' loss and of the KL on unrelated texts. own_prompt: the edit's own
    prompt counts among its rewordings; False, as published: only other wordings are learned from.
    tokens: features and KL of the answer's positions, as MALMEN publishes, or of all, as MEND.
    group, reduction: which texts share a mean (features of all tokens: every fact its own). chunk:
    columns in the network at once. first_scale: the first edit of a model takes this many times the
    learned α or η; those that stand on it or have more facts than `batch`, and training, take it
    once (ours). check_every, patience: steps between looks at the validation cases, and without a
    new best after which training ends. network: a trained file; None: the cache folder's, or else
    the one that comes with the library.
    """

    down: tuple[int, ...] = ()
    gate: tuple[int, ...] = ()
    up: tuple[int, ...] = ()
    rank: int | None = None
    blocks: int = 2
    eta: float = 1e-6
    ridge: float = 1.0
    lr: float = 1e-5
    lr_step: float = 1e-5
    clip: float = 1.0
    batch: int = 100
    varied: bool = False
    accumulate: int = 1
    edit_weight: float = 1.0
    loc_weight: float = 1.0
    own_prompt: bool = False
    tokens: Literal["answer", "all"] = "answer"
    group: int = 10
    reduction: Literal["group_mean", "fact_mean"] = "group_mean"
    chunk: int = 1024
    first_scale: float = 1.0
    check_every: int = 20
    patience: int = 200
    network: str | None = None
