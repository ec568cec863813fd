"""Training of fine-tuning, LoRA and CrispEdit: epochs over shuffled batches of all facts.

The first step on a batch captures the states entering the lowest trained layer. Further steps on
the batch run only from that layer on, leaving out the constant blocks below. With one row in a
batch, the same batches come again in every epoch, so the captured states are kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...cancellation import steps
from ...data.facts import Fact
from ...model.answer_rows import AnswerRows
from ...model.hooks import hooked_all
from ...model.lm import LM
from ...model.partial_forward import Replay
from .answer_training import Descent
from .base import Editor

KEPT = 1 << 14  # tokens of one-row batches whose captured states are kept for the next epoch


def fact_rows(editor: Editor, facts: Sequence[Fact], at_prompt: bool = False) -> AnswerRows:
    """Return the rows of the facts' prompts and answers; for `at_prompt`, see `AnswerRows`."""
    pairs = [(fact.text, fact.target_new) for fact in facts]
    eos = cast(Any, editor.config).target_eos
    return AnswerRows.of(editor.lm.tokenizer, pairs, eos, at_prompt=at_prompt)


def train(
    editor: Editor,
    rows: AnswerRows,
    layer: int,
    leaves: Sequence[Tensor],
    move: Callable[[], Any],
) -> None:
    """Move the leaves until the model, using its current patch, gives the rows' answers.

    The leaves are already bound to the model, and none of them is below block `layer`; for `move`,
    see `Descent`. The editor's settings are `EpochSettings`: at most `epochs` passes over all rows,
    using `batch_size` of them in a step; training ends with the first pass whose mean loss is below
    `enough`. The seed determines the rows' order, which matters only when there are several
    batches. Raises EditError if a loss or a leaf is not finite.
    """
    lm, c = editor.lm, cast(Any, editor.config)
    descent = Descent(leaves, move, lambda loss: loss < c.enough, editor.name)
    order, shuffle, size = list(range(len(rows))), random.Random(c.seed), c.batch_size
    keeps = len(rows) <= size or (size == 1 and sum(map(len, rows.ids)) <= KEPT)
    losses: dict[int, _BatchLoss] = {}  # keyed by a batch's first row
    for _ in steps(range(c.epochs), f"{editor.name}: epochs"):
        mean = 0.0
        if len(rows) > size:
            shuffle.shuffle(order)
        for first in range(0, len(rows), size):
            some = order[first : first + size]
            loss = losses.get(some[0]) or _BatchLoss(lm, rows.take(some), layer)
            if keeps:
                losses[some[0]] = loss
            now, _ = descent.step(loss)
            mean += now * loss.count / len(rows)
        if descent.settled(mean):
            break
    descent.check()


def adapters(
    lm: LM, names: Sequence[str], rank: int, draw: Callable[[int, int], Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return new adapters {module: (B (d_out, r) zero, A (r, d_in) from `draw`)} as leaves.

    Each is on the device of its module.
    """
    made = {}
    for name in names:
        weight = lm.model.get_submodule(name).weight
        d_out, d_in = weight.shape[::-1] if lm.arch.transposed else weight.shape
        B, A = torch.zeros(d_out, rank), draw(rank, d_in)
        made[name] = B.to(weight.device).requires_grad_(), A.to(weight.device).requires_grad_()
    return made


@contextmanager
def beside(lm: LM, added: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Within the body, add a function of its inputs (in float32) to each module's output."""

    def hook(change: Callable[[Tensor], Tensor], _: nn.Module, given: tuple, output: Tensor) -> Any:
        return output + change(given[0].float()).to(output.dtype)

    with hooked_all(lm.model, {name: partial(hook, change) for name, change in added.items()}):
        yield


class _BatchLoss:
    """The loss of one batch of rows, whose states are captured once, for the first step."""

    def __init__(self, lm: LM, rows: AnswerRows, layer: int) -> None:
        self.lm, self.count = lm, len(rows)
        self.replay = Replay(lm, rows.ids, layer, behind=rows.behind, grad=True)
        self.labels = self.replay.labels(rows)
        self.share = rows.share.float().to(self.replay.device)

    def __call__(self) -> Tensor:
        """Return the mean over rows of the mean NLL of each row's answer, nats; differentiable."""
        replay, top = self.replay, self.replay.top
        states = top.last_hidden_state.to(replay.device) if top else replay.run(replay.hidden)
        replay.top = None  # valid only for the leaves before their first step
        row, column, token = self.labels
        log_probs = self.lm.head(states[row, column]).log_softmax(-1)
        chosen = log_probs.gather(1, token[:, None])[:, 0]
        return -(chosen * self.share).sum() / self.count
