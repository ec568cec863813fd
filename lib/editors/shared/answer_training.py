"""Gradient steps: the common loop of all editors training something on the answers of facts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...cancellation import raise_if_cancelled
from ...cancellation import steps as counted
from ...errors import EditError


@dataclass(frozen=True)
class Descent:
    """Taking gradient steps on some leaves until a loss is small enough.

    leaves   tensors requiring grad; they are moved in place
    move     moves the leaves once their `grad` is set, like `step` of a torch optimizer; it also
             enforces any bound on the leaves
    settled  whether a loss (nats) is so small that no step is needed
    name     the editor's name in errors
    clip     bound on the norm of the gradients of all leaves together, or None
    """

    leaves: Sequence[Tensor]
    move: Callable[[], Any]
    settled: Callable[[float], bool]
    name: str
    clip: float | None = None

    def step(self, loss: Callable[[], Tensor]) -> tuple[float, bool]:
        """Return the loss before one step, and whether it was followed by a step.

        A settled loss moves nothing. Raises EditError if the loss is not finite.
        """
        raise_if_cancelled()
        with torch.enable_grad():
            value = loss()
        now = value.item()  # the only number read in a step, because reading makes a GPU wait
        if not math.isfinite(now):
            raise EditError(f"{self.name}: the loss is not finite. Use a smaller lr.")
        if self.settled(now):
            return now, False
        grads = torch.autograd.grad(value, self.leaves, allow_unused=True)
        for leaf, grad in zip(self.leaves, grads, strict=True):
            leaf.grad = grad
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.leaves, self.clip)
        self.move()
        return now, True

    def run(self, loss: Callable[[], Tensor], steps: int) -> None:
        """Step until the loss has settled, at most `steps` times.

        Raises EditError if the loss or the leaves are not finite.
        """
        for _ in counted(range(steps), f"{self.name}: steps"):
            if not self.step(loss)[1]:
                break
        self.check()

    def check(self) -> None:
        """Raise EditError if the leaves are not finite."""
        if not all(torch.isfinite(leaf).all() for leaf in self.leaves):
            raise EditError(f"{self.name} produced NaN or infinite weights. Use a smaller lr.")
