"""The training loop of an editor's network, with its checkpoint file.

A training takes steps, looks at the validation cases in between, keeps the best network so far, and
writes all of that to a file after every look. Everything random is a function of the seed and the
step. So a training that was stopped anywhere and resumed gives the same bits as one that was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Protocol

import torch

from ...data.facts import Case
from ...errors import EditError
from ...model.lm import LM
from . import network_file
from .network_file import Networks
from .settings import TrainableConfig

# The order in which files name the settings, whatever that of the fields: a training knows its file
# by a hash of them, and a patch its network by the hash of the network's file.
RECORDED = (
    *("seed", "down", "gate", "up", "rank", "blocks", "eta", "ridge", "lr", "lr_step", "clip"),
    *("batch", "varied", "accumulate", "edit_weight", "loc_weight", "own_prompt", "tokens"),
    *("group", "reduction", "chunk", "first_scale", "check_every", "patience", "network"),
    *("keys", "strength", "begin", "order", "turns", "discount", "window", "reg", "each_turn"),
)


class Learner(Protocol):
    """The methods of an editor that its training calls."""

    name: ClassVar[str]
    lm: LM
    config: TrainableConfig

    def fresh(self, cases: Sequence[Case] = ()) -> Networks:
        """Untrained networks."""

    def restored(self, path: Path, header: dict[str, Any], state: dict[str, Any]) -> Networks:
        """Networks from a file's content."""

    def gradients(self, networks: Networks, cases: Sequence[Case], step: int) -> float:
        """The loss of one step; its gradients are added to the networks' parameters."""

    def validate(self, networks: Networks, cases: Sequence[Case]) -> float:
        """Mean loss of cases that are kept apart."""

    def header(self) -> dict[str, Any]:
        """The entries that every file of the editor begins with."""


def recorded(config: TrainableConfig) -> dict[str, Any]:
    """All settings that a network was trained with, the retired ones with their only value too."""
    settings = {**config.retired, **asdict(config), "network": None}
    return {name: settings.pop(name) for name in RECORDED if name in settings} | settings


class Training:
    """One training of an editor's networks, all of which its file holds after every look.

    networks    the networks as they are now
    adam        their optimizer
    step        number of steps taken
    best        state of the networks with the lowest validation loss so far
    best_loss   that loss
    best_step   the step at which it was reached
    history     [step, mean training loss since the look before, validation loss] of every look
    losses      training losses since the last look
    label       hash of settings and cases, by which a file is recognized
    """

    def __init__(
        self, editor: Learner, cases: list[Case], validation: list[Case], file: Path
    ) -> None:
        self.editor, self.cases, self.validation, self.file = editor, cases, validation, file
        label = json.dumps([recorded(editor.config), repr(cases), repr(validation)])
        self.label = hashlib.sha256(label.encode()).hexdigest()[:16]
        self.step, self.best_loss, self.best_step = 0, float("inf"), 0
        self.best: dict[str, Any] = {}
        self.history: list[list[float]] = []
        self.losses: list[float] = []
        if file.exists():
            header, state, _ = network_file.load(file, editor.lm.fingerprint, editor.name)
            if header["label"] != self.label:
                raise EditError(
                    f"{file} was begun with other settings or cases: choose another checkpoint"
                )
            self.networks = editor.restored(file, header, state)
            for name in ("step", "best_loss", "best_step", "history", "losses"):
                setattr(self, name, header[name])
            self.best = state["best"]
        else:
            self.networks = editor.fresh(cases)
        self.adam = self._optimizer()
        if file.exists():
            kept = {int(i): part for i, part in state["adam"].items()}
            groups = self.adam.state_dict()["param_groups"]
            self.adam.load_state_dict({"state": kept, "param_groups": groups})

    def _optimizer(self) -> torch.optim.Adam:
        c, nets = self.editor.config, self.networks.nets.values()
        rest = [p for net in nets for name, p in net.named_parameters() if name != "step"]
        steps = [net.step for net in nets]
        return torch.optim.Adam([{"params": rest, "lr": c.lr}, {"params": steps, "lr": c.lr_step}])

    def go(self, steps: int, say: Callable[[str], None]) -> None:
        """Train up to the given number of steps, with looks at the validation cases in between."""
        c = self.editor.config
        if not self.step and self.validation and not self.history:
            self._look(say)
        while self.step < steps and not self.ended:
            self.losses.append(self._one())
            if self.step % c.check_every == 0:
                self._look(say)
        self.save()

    @property
    def ended(self) -> bool:
        """Whether validation has not improved for `patience` steps."""
        return bool(self.validation) and self.step - self.best_step >= self.editor.config.patience

    def _one(self) -> float:
        """Take one step and return its loss."""
        self.adam.zero_grad()
        loss = self.editor.gradients(self.networks, self.cases, self.step)
        self.update()
        self.step += 1
        return loss

    def update(self) -> None:
        """Step Adam; where the gradients are not finite, the network stays unchanged."""
        every = [p for group in self.adam.param_groups for p in group["params"]]
        if any(p.grad is not None for p in every):
            norm = torch.nn.utils.clip_grad_norm_(every, self.editor.config.clip)
            if norm.isfinite():
                self.adam.step()
            self.adam.zero_grad()

    def _look(self, say: Callable[[str], None]) -> None:
        """Measure the validation loss, keep the networks if they are the best, and save."""
        trained = sum(self.losses) / len(self.losses) if self.losses else float("nan")
        self.losses = []
        found = float("nan")
        if self.validation:
            found = self.editor.validate(self.networks, self.validation)
            if found < self.best_loss or not self.best:
                self.best_loss, self.best_step = found, self.step
                self.best = self.networks.state()
        self.history.append([self.step, trained, found])
        say(f"step {self.step}: training loss {trained:.4f}, validation {found:.4f}")
        self.save()

    def result(self) -> tuple[dict[str, Any], int]:
        """State and step of the best networks; those after the last step compete too."""
        if self.validation and self.step % self.editor.config.check_every == 0:
            return self.best, self.best_step
        if self.validation:
            found = self.editor.validate(self.networks, self.validation)
            if not found < self.best_loss:
                return self.best, self.best_step
        return self.networks.state(), self.step

    def save(self) -> None:
        """Write the whole training to its file."""
        names = ("label", "step", "best_loss", "best_step", "history", "losses")
        header = {**self.editor.header(), **{name: getattr(self, name) for name in names}}
        adam = {str(i): part for i, part in self.adam.state_dict()["state"].items()}
        now = self.networks.state()
        network_file.save(self.file, header, {"now": now, "best": self.best, "adam": adam})


@lru_cache(maxsize=4)
def _order(n: int, seed: str) -> list[int]:
    return Random(seed).sample(range(n), n)


def take(cases: Sequence[Case], start: int, count: int, seed: int) -> list[Case]:
    """Cases `start` to `start + count` of an endless stream of shuffled epochs.

    They depend on the seed and the place in the stream alone, not on earlier calls.
    """
    places: Iterator[tuple[int, int]] = (divmod(i, len(cases)) for i in range(start, start + count))
    return [cases[_order(len(cases), f"{seed} {epoch}")[j]] for epoch, j in places]
