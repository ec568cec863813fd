"""Training of LEMoE's experts on the rows of their facts, together with what its router learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .errors import EditError
from .expert_lesson import ExpertLesson
from .experts import Expert
from .routing import Routing


@dataclass(frozen=True)
class Descent:
    """AdamW with rate lr, until the loss is `enough` or for `steps` steps; λ; the gate."""

    lr: float
    steps: int
    enough: float
    scale: float
    gate: str


def train(
    lesson: ExpertLesson,
    experts: Sequence[Expert],
    routing: Routing,
    which: int | None,
    act: str,
    by: Descent,
) -> list[Expert]:
    """The experts after `which` has learned to answer all rows; None: all learn, as routed.

    What `routing` learns by the experts' loss is trained with them. The hard gate weighs 1 and has
    the gradient of the share.
    """
    device = lesson.owner.device
    mine = range(len(experts)) if which is None else (which,)
    made = {
        m: {n: t.to(device, copy=True).requires_grad_() for n, t in experts[m].items()}
        for m in mine
    }
    routed, scores = routing.learning(lesson, which)
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
            loss = lesson.loss(made, choice, by.scale * weight, act)
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
