"""The training of LEMoE's experts on the rows of their facts.

A router that learns by the same loss is trained along. In the published form of LEMoE these are its
projection and the expert's key, and in MEMoE its matrix. Anchors that are fitted are not trained
here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...errors import EditError
from .expert_rows import ExpertRows
from .experts import Expert
from .router_training import Routing


@dataclass(frozen=True)
class ExpertTraining:
    """Settings of one expert's training with AdamW.

    lr      learning rate
    steps   largest number of steps
    enough  loss at which training ends early
    scale   λ, the factor of the experts' outputs
    gate    "hard" for weight 1 of the chosen expert, "softmax" for its share among all scores
    """

    lr: float
    steps: int
    enough: float
    scale: float
    gate: str


def train(
    rows: ExpertRows,
    experts: Sequence[Expert],
    routing: Routing,
    which: int | None,
    act: str,
    by: ExpertTraining,
) -> list[Expert]:
    """All experts, after expert `which` has learned to answer the rows.

    With None every expert learns the rows that are routed to it. The parts of `routing` that learn
    by the experts' loss are trained along, in place. Raises EditError for a loss or weights that
    are not finite.
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
            # the expert of each row, and its share among the router's scores
            logits = scores()
            if which is None:
                choice = logits.argmax(1) - 1
            else:
                choice = torch.full((len(logits),), which, device=device)
            share = logits.softmax(1).gather(1, choice[:, None] + 1)[:, 0]
            # the hard gate has weight 1 and the gradient of the share
            weight = share if by.gate == "softmax" else 1 + share - share.detach()
            loss = rows.loss(made, choice, by.scale * weight, act)
        now = loss.item()  # the one number of a step that is read, as a card waits for it
        if not math.isfinite(now):
            raise EditError("lemoe: the loss is not finite; try a smaller lr")
        if now <= by.enough:
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
