"""Lives: later changes to an edited model, as functions mapping a patch to a patch.

A `Life` trains the patched model on other text or edits it again. A patch of routes keeps its
routes while the weights change. Use `evaluate` to measure whether its edits are still given.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...cancellation import steps as counted
from ...data import as_facts
from ...data.facts import Fact
from ...editors.shared.answer_training import Descent
from ...editors.shared.base import add_low_rank
from ...editors.shared.fine_tuning import adapters, beside
from ...errors import ArgumentError
from ...model import activations
from ...model.lm import LM
from ...patch.patch import EMPTY, Patch
from ...registry import EDITORS
from ...setting_fields import at_least

Life = Callable[[LM, Patch], Patch]

WINDOW = 128  # tokens of a training row


def matrices(lm: LM, patch: Patch = EMPTY) -> list[str]:
    """Return the names of all matrices in the blocks for a patch, except those with a route."""
    fused = [pattern.format("*") for pattern in lm.arch.mlp_in] if lm.arch.fused_in else []
    return [
        name
        for name, module in lm.model.named_modules()
        if name.startswith(f"{lm.arch.blocks}.")
        and getattr(getattr(module, "weight", None), "ndim", 0) == 2
        and name not in patch.routes
        and not any(fnmatch(name, pattern) for pattern in fused)
    ]


@dataclass(frozen=True)
class Trained:
    """A life: training with AdamW on the next token of other texts, in all matrices of the blocks.

    Embeddings and norms are unchanged. The rows of a step are sampled using the seed, so the edited
    and the unedited model are trained on the same rows in the same order.

    texts  the training texts; long ones are cut into rows of 128 tokens
    steps  number of steps
    lr     learning rate, constant
    batch  rows of a step
    rank   of a LoRA adapter for every matrix (α = 2 · rank); None trains the matrices themselves
    seed   for the order of the rows, and the adapters' initial values
    """

    texts: tuple[str, ...]
    steps: int = 50
    lr: float = 1e-5
    batch: int = 4
    rank: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(1, steps=self.steps, batch=self.batch, rank=self.rank)
        at_least(0, lr=self.lr)

    def __call__(self, lm: LM, patch: Patch) -> Patch:
        names, rows = matrices(lm, patch), self.rows(lm)
        weights = replace(
            patch, routes={}, rewrites=()
        )  # a memory outside the weights is not trained
        order = random.Random(self.seed)
        with lm.patched(weights, only=True), ExitStack() as bound:
            if self.rank is None:
                masters = {name: lm.weight(name, weights).clone() for name in names}
                leaves = list(masters.values())
                bound.enter_context(lm.bind({n: W.requires_grad_() for n, W in masters.items()}))
            else:
                # B holds LoRA's factor α / r = 2
                draw = torch.Generator().manual_seed(self.seed)
                made = adapters(
                    lm,
                    names,
                    self.rank,
                    lambda r, d_in: 2 * torch.randn(r, d_in, generator=draw) / d_in**0.5,
                )
                leaves = [side for pair in made.values() for side in pair]
                added = {n: lambda k, B=B, A=A: k @ A.T @ B.T for n, (B, A) in made.items()}
                bound.enter_context(beside(lm, added))
            move = torch.optim.AdamW(leaves, lr=self.lr, weight_decay=0.0).step
            descent = Descent(leaves, move, lambda loss: False, "survival", clip=1.0)
            for _ in counted(range(self.steps), "steps of training on other text"):
                some = order.sample(rows, min(self.batch, len(rows)))
                descent.step(partial(next_token_loss, lm, some))
            descent.check()
        if self.rank is None:
            return patch.with_weights({name: W.detach().cpu() for name, W in masters.items()})
        return add_low_rank(lm, patch, made)

    def rows(self, lm: LM) -> list[list[int]]:
        """Return the token ids of all texts, in rows of at least two tokens."""
        ids = [lm.tokenizer(text, add_special_tokens=False)["input_ids"] for text in self.texts]
        rows = [row for one in ids for row in lm.windows(one, WINDOW) if len(row) > 1]
        if not rows:
            raise ArgumentError("There is no text to train on. Give a longer text.")
        return rows


def next_token_loss(lm: LM, rows: list[list[int]]) -> Tensor:
    """Return the mean −log p of some rows' tokens, each given its prefix, nats; differentiable."""
    seqs = activations.sequences(lm, rows)
    with lm.opened(seqs, grad=True):
        hidden = lm.backbone(seqs.ids, seqs.real, use_cache=False).last_hidden_state
        wanted = seqs.real[
            :, :-1
        ]  # padding is on the left: every real token is followed by another
        return cross_entropy(lm.head(hidden[:, :-1][wanted]), seqs.ids[:, 1:][wanted])


@dataclass(frozen=True)
class EditedAgain:
    """A life: writing other facts after the patch, `batch` of them at a time.

    preset  the editor's preset, by default its own for the model
    """

    editor: str
    facts: tuple[Fact, ...] | Any  # given in any form that `as_facts.facts` accepts
    batch: int = 1
    preset: str | None = None

    def __post_init__(self) -> None:
        at_least(1, batch=self.batch)
        object.__setattr__(self, "facts", tuple(as_facts.facts(self.facts)))
        EDITORS[self.editor]  # rejects an unknown name now, not after the preceding lives
        if not self.facts:
            raise ArgumentError("There is no fact for later edits. Provide at least one.")

    def __call__(self, lm: LM, patch: Patch) -> Patch:
        editor = EDITORS[self.editor](lm, preset=self.preset)
        for first in counted(range(0, len(self.facts), self.batch), "later edits"):
            patch = editor.edit(self.facts[first : first + self.batch], patch, check=False)
        return patch
