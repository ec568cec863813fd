"""Training of LEMoE's experts: rows of facts are captured once and replayed at every step.

Everything below the experts' layer is constant while they learn, so a step runs only the blocks
that can feel what the experts add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .answer_rows import AnswerRows
from .editor import EditError
from .experts import Expert, answer
from .pooled import prompt_means
from .replay import Replay

if TYPE_CHECKING:
    from .lm import LM
    from .routing import Routing


@dataclass(frozen=True)
class ExpertTraining:
    """Settings of one expert's training with AdamW.

    lr      learning rate
    steps   most steps that are taken
    enough  loss at which training ends early
    scale   λ, the factor of what the experts add
    gate    "hard", weight 1 for the chosen expert, or "softmax", its share
    """

    lr: float
    steps: int
    enough: float
    scale: float
    gate: str


class ExpertRows:
    """Rows of (prompt, answer), and what the experts and their router read there.

    Experts are added at every token that is not padding, as in use.

    prompts  token ids of the rows' prompts
    means    (n, d): mean input embedding of each row's prompt
    hidden   (n, w): mean input of the module at each row's prompt
    """

    def __init__(
        self,
        lm: LM,
        module: str,
        layer: int,
        pairs: Sequence[tuple[str, str]],
        bos: int | None,
        target_eos: bool = False,
    ) -> None:
        self.lm = lm
        rows = AnswerRows.of(lm.tokenizer, pairs, target_eos)
        self.prompts = rows.prompts
        with torch.no_grad():
            self.replay = Replay.at_mlp(
                lm, rows.ids, layer, watch=[module, lm.arch.embed], behind=rows.behind
            )
        seqs, inputs = self.replay.seqs, self.replay.seen[module][0]
        self.means = prompt_means(self.replay.seen[lm.arch.embed][1], seqs, bos)
        self.hidden = prompt_means(inputs, seqs, bos)
        self.real = seqs.real.to(inputs.device)
        self.owner = self.real.nonzero()[:, 0]  # the row of every real token
        self.inputs = inputs[self.real].float()  # (tokens, w)
        self.labels = self.replay.labels(rows)
        self.share = (rows.share / len(rows)).float().to(self.labels.device)

    def loss(self, experts: dict[int, Expert], choice: Tensor, weight: Tensor, act: str) -> Tensor:
        """Mean over rows of the mean NLL of their answers when row i has weight[i] of expert
        choice[i]; differentiable in both.
        """
        moved = self.inputs.new_zeros(len(self.inputs), self.replay.hidden.shape[-1])
        per_token = choice.to(self.owner.device)[self.owner]
        for m in choice.unique().tolist():
            here = (per_token == m).nonzero()[:, 0]
            said = answer(experts[m], self.inputs[here], act)
            moved = moved.index_add(0, here, weight[self.owner[here]][:, None] * said)
        wide = moved.new_zeros(*self.real.shape, moved.shape[-1])
        wide[self.real] = moved
        row, column, token = self.labels
        log_probs = self.lm.head(self.replay.with_added(wide)[row, column]).log_softmax(-1)
        chosen = log_probs.gather(1, token.to(log_probs.device)[:, None])[:, 0]
        return -(chosen * self.share.to(chosen.device)).sum()


def train(
    rows: ExpertRows,
    experts: Sequence[Expert],
    routing: Routing,
    which: int | None,
    act: str,
    by: ExpertTraining,
) -> list[Expert]:
    """All experts after expert `which` has learned to answer the rows.

    With None every expert learns the rows that are routed to it. The parts of `routing` that learn
    by the experts' loss are trained along. The hard gate has weight 1 and the gradient of the
    share.
    """
    device = rows.owner.device
    mine = range(len(experts)) if which is None else (which,)
    made = {
        m: {n: t.to(device, copy=True).requires_grad_() for n, t in experts[m].items()}
        for m in mine
    }
    routed, scores = routing.learning(rows, which)
    leaves = [t for expert in made.values() for t in expert.values()] + routed
    optimizer = torch.optim.AdamW(leaves, lr=by.lr, weight_decay=0.0)
    for _ in range(by.steps):
        with torch.enable_grad():
            logits = scores()
            if which is None:
                choice = logits.argmax(1) - 1
            else:
                choice = torch.full((len(logits),), which, device=device)
            share = logits.softmax(1).gather(1, choice[:, None] + 1)[:, 0]
            weight = share if by.gate == "softmax" else 1 + share - share.detach()
            loss = rows.loss(made, choice, by.scale * weight, act)
        if not torch.isfinite(loss):
            raise EditError("lemoe: the loss is not finite; try a smaller lr")
        if loss <= by.enough:
            break
        grads = torch.autograd.grad(loss, leaves, allow_unused=True)
        for leaf, grad in zip(leaves, grads, strict=True):
            leaf.grad = grad
        optimizer.step()
    done = {m: {n: t.detach().cpu() for n, t in e.items()} for m, e in made.items()}
    if not all(torch.isfinite(t).all() for e in done.values() for t in e.values()):
        raise EditError("lemoe produced NaN or infinite weights; try a smaller lr")
    routing.learned([part.detach().cpu() for part in routed], which)
    return [done.get(m, expert) for m, expert in enumerate(experts)]
