"""The training half of MEND, MALMEN and RLEdit: a network learning from many edits.

`fit` trains a network on many edits and writes it to one file, which the editor then uses for
editing (network_editor.py). Training never backpropagates through the language model and the
network at once. The language model provides one matrix per edited weight, G = ∂L/∂W (losses.py).
With G held fixed, ⟨G, ΔW⟩ has the same gradient with respect to the network as L (Tan, Zhang, Fu,
MALMEN, 2024, section 4).

Everything random is a function of the seed and the step. Stopping a training anywhere and resuming
it therefore gives the same bits as never stopping.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from ...atomic_files import path_of
from ...data import as_facts
from ...data.facts import Case
from ...data.short_repr import as_json
from ...errors import EditError
from ...patch.patch import EMPTY, Patch
from . import losses, network_file
from .losses import Outcome, Text
from .network import ModuleUpdate
from .network_editor import Factors, N, NetworkEditor
from .network_file import Networks

# The order of settings in files, independent of the order of the fields: a training recognizes its
# file by a hash of them, and a patch recognizes its network by the hash of the network's file.
RECORDED = (
    *("seed", "down", "gate", "up", "rank", "blocks", "eta", "ridge", "lr", "lr_step", "clip"),
    *("batch", "varied", "accumulate", "edit_weight", "loc_weight", "own_prompt", "tokens"),
    *("group", "reduction", "chunk", "first_scale", "check_every", "patience", "network"),
    *("keys", "strength", "begin", "order", "turns", "discount", "window", "reg", "each_turn"),
)
# removed settings that are still part of that hash
COUNTED: Mapping[str, Mapping[str, Any]] = {
    "malmen": {"strength": 0.0},
    "rledit": {"strength": 0.0, "discount": 0.95, "reg": 1e-4, "each_turn": False},
}
Texts = tuple[list[Text], list[Text]]  # paraphrases and unrelated texts


class Trainable(NetworkEditor[N]):
    """An editor needing a single training with `fit`, then used like any other."""

    def backward(self, wanted: ModuleUpdate, G: Tensor) -> None:
        """Add the network's gradients for G = ∂L/∂W (d_out, d_in), held fixed.

        The gradient of ⟨G, ΔW⟩ first flows to k̃, g̃ and the learned numbers of the update. From k̃
        and g̃, it continues into the network, chunk by chunk.
        """
        k, g = (side.requires_grad_() for side in wanted.answers())
        with torch.enable_grad():
            A, B = self.factors(wanted, k, g)
            # ⟨G, A B⟩ = ⟨A, G Bᵀ⟩
            (A * (G.cpu().double() @ B.T)).sum().backward()
            for some, *pair in wanted.parts():
                grads = k.grad[:, some], g.grad[:, some]
                k_part, g_part = (
                    (grad.to(one) * one).sum() for grad, one in zip(grads, pair, strict=True)
                )
                (k_part + g_part).backward()

    def fit(
        self,
        cases: as_facts.Given,
        validation: as_facts.Given = (),
        checkpoint: str | Path | None = None,
        steps: int = 1000,
        say: Callable[[str], None] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Path:
        """Train to `steps` in all, or until validation has not improved for `patience` steps.

        Returns the file of the network performing best on `validation` (or the last network without
        any), which this editor uses from that point on. A second file, `*.training.safetensors`,
        holds everything needed for continuing, bit for bit. `data` (JSON) records in the file where
        the cases are from. Raises EditError if a validation fact is also used for training, or if
        the checkpoint was begun with other cases or settings.
        """
        some, held = list(as_facts.cases(cases)), list(as_facts.cases(validation))
        if not some:
            raise EditError("There is no case to train on. Provide at least one.")
        self.check([case.fact for case in (*some, *held)])
        both = {c.fact.text for c in some} & {c.fact.text for c in held}
        if both:
            raise EditError(
                f"'{sorted(both)[0]}' is in both the training and the validation cases. Remove it "
                "from one of them."
            )
        path = self.path if checkpoint is None else path_of(checkpoint)
        training = Training(self, some, held, path.with_suffix(".training.safetensors"))
        training.go(steps, say or (lambda line: None))
        state, at = training.result()
        header = {
            **self.header(),
            "step": at,
            "best": training.best_loss,
            "history": training.history,
            "settings": recorded(self),
            "data": dict(data or {}),
        }
        network_file.save(path, header, {"now": network_file.compact(state)})
        if path != self.path:
            self.config = replace(self.config, network=str(path.absolute()))
        self._networks = {}
        self.networks()
        return path

    def gradients(self, networks: Networks, cases: Sequence[Case], step: int) -> float:
        """Add up the gradients of one training step and return the mean loss of an edit.

        An edit is left out if its loss or gradient is not finite.
        """
        c, found = self.config, []
        for i in range(c.accumulate):
            draw = Random(f"{c.seed} {step} {i}")
            size = min(c.batch, len(cases))
            some = take(cases, (step * c.accumulate + i) * size, size, c.seed)
            if c.varied:
                some = some[: round(size ** draw.random())]
            try:
                seen, _ = self.learn(networks, some, self.texts(some, draw))
            except EditError:
                continue
            if seen.finite:
                found.append(seen.edit + seen.locality)
        return sum(found) / len(found) if found else float("nan")

    def texts(self, cases: Sequence[Case], draw: Random, factor: float = 1.0) -> Texts:
        """Return the paraphrases and the unrelated texts that judge an edit, with their weights."""
        c, lm = self.config, self.lm
        rewordings = losses.rewordings(lm, cases, draw, c.own_prompt)
        unrelated = losses.unrelated(lm, cases, draw, c.tokens == "all")
        return (
            losses.weighted(rewordings, c.group, factor * c.edit_weight),
            losses.weighted(unrelated, c.group, factor * c.loc_weight),
        )

    def learn(
        self,
        networks: Networks,
        cases: Sequence[Case],
        texts: Texts,
        after: Patch = EMPTY,
        reg: float = 0.0,
        train: bool = True,
    ) -> tuple[Outcome, dict[str, Factors]]:
        """Make one edit of the model under `after`; return its effect, and ΔW as factors by module.

        With train=True, the network's gradients are added up. reg weights ‖ΔW‖². The moments in
        `networks` are updated.
        """
        # read keys and gradients, without a graph
        found = self.read([case.fact for case in cases], after)
        if train or not self.frozen:
            networks.moments = self.seen(networks.moments, found)
        # compute ΔW using the network, again without a graph
        wanted = self.module_updates(networks, networks.moments, found)
        updates = {name: self.update(one) for name, one in wanted.items()}
        deltas = {name: (A @ B).float() for name, (A, B) in updates.items()}
        # measure the loss of the edited model: this gives ∂L/∂W, independent of any network
        seen = losses.outcome(self.lm, after, deltas, *texts, train)
        # pass ∂L/∂W (including the part of reg ‖ΔW‖²) to the network, independent of any language
        # model
        if train and seen.finite:
            for name, one in wanted.items():
                self.backward(one, seen.grads[name].cpu() + 2 * reg * deltas[name])
        return seen, updates

    def validate(self, networks: Networks, cases: Sequence[Case]) -> float:
        """Return the mean loss of edits on cases not used for training, restoring the moments.

        Edits have `batch` facts. If training varies them, half of the facts are edited one by one.
        """
        before, found, size = networks.moments, [], self.config.batch
        alone = len(cases) // 2 if self.config.varied else 0
        starts = [(i, 1) for i in range(alone)]
        starts += [(i, size) for i in range(alone, len(cases), size)]
        for start, count in starts:
            some = cases[start : start + count]
            texts = self.texts(some, Random(f"validation {start}"))
            seen, _ = self.learn(networks, some, texts, train=False)
            networks.moments = before
            found.append((seen.edit + seen.locality, len(some) if alone else 1))
        return sum(loss * n for loss, n in found) / sum(n for _, n in found)


class Training:
    """One training of an editor's networks; its file holds all of it after every check.

    networks    the current networks
    adam        their optimizer
    step        number of steps done
    best        state of the networks with the lowest validation loss so far
    best_loss   that loss
    best_step   the step at which it was reached
    history     [step, mean training loss since the previous check, validation loss] for every check
    losses      training losses since the last check
    label       hash of settings and cases, used for recognizing a file
    """

    STORED = ("label", "step", "best_loss", "best_step", "history", "losses")

    def __init__(
        self, editor: Trainable, cases: list[Case], validation: list[Case], file: Path
    ) -> None:
        self.editor, self.cases, self.validation, self.file = editor, cases, validation, file
        given = recorded(editor), cases, validation
        self.label = hashlib.sha256(as_json(given).encode()).hexdigest()[:16]
        self.step, self.best_loss, self.best_step = 0, float("inf"), 0
        self.best: dict[str, Any] = {}
        self.history: list[list[float]] = []
        self.losses: list[float] = []
        if not file.exists():
            self.networks = editor.fresh(cases)
            self.adam = self._optimizer()
            return
        header, state, _ = network_file.load(file, editor.lm.fingerprint, editor.name)
        if header["label"] != self.label:
            raise EditError(
                f"{file} was begun with other settings or cases. Choose another checkpoint."
            )
        self.networks = editor.restored(file, header, state)
        for name in self.STORED:
            setattr(self, name, header[name])
        self.best, self.adam = state["best"], self._optimizer()
        groups = self.adam.state_dict()["param_groups"]
        kept = {int(i): part for i, part in state["adam"].items()}
        self.adam.load_state_dict({"state": kept, "param_groups": groups})

    def _optimizer(self) -> torch.optim.Adam:
        c, nets = self.editor.config, self.networks.nets.values()
        rest = [p for net in nets for name, p in net.named_parameters() if name != "step"]
        steps = [net.step for net in nets]
        return torch.optim.Adam([{"params": rest, "lr": c.lr}, {"params": steps, "lr": c.lr_step}])

    def go(self, steps: int, say: Callable[[str], None]) -> None:
        """Train up to the given number of steps, checking the validation cases in between."""
        c = self.editor.config
        if not self.step and self.validation and not self.history:
            self._look(say)
        while self.step < steps and not self.ended:
            self.losses.append(self.editor.gradients(self.networks, self.cases, self.step))
            self._update()
            self.step += 1
            if self.step % c.check_every == 0:
                self._look(say)
        self.save()

    @property
    def ended(self) -> bool:
        """Return whether validation has not improved for `patience` steps."""
        return bool(self.validation) and self.step - self.best_step >= self.editor.config.patience

    def _update(self) -> None:
        """Step Adam; if the gradients are not finite, the network is unchanged."""
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

    def result(self) -> tuple[Mapping[str, Any], int]:
        """Return the state and step of the best networks, including those after the last step."""
        if self.validation:
            looked = self.step % self.editor.config.check_every == 0
            if looked or not (
                self.editor.validate(self.networks, self.validation) < self.best_loss
            ):
                return self.best, self.best_step
        return self.networks.state(), self.step

    def save(self) -> None:
        """Write the whole training to its file."""
        header = {**self.editor.header(), **{name: getattr(self, name) for name in self.STORED}}
        adam = {str(i): part for i, part in self.adam.state_dict()["state"].items()}
        now = self.networks.state()
        network_file.save(self.file, header, {"now": now, "best": self.best, "adam": adam})


def recorded(editor: Trainable) -> dict[str, Any]:
    """Return all settings used in training, including removed settings that the hash counts."""
    retired = COUNTED.get(editor.name, {})
    settings = {**retired, **asdict(editor.config), "network": None}
    return {name: settings.pop(name) for name in RECORDED if name in settings} | settings


@lru_cache(maxsize=4)
def _order(n: int, seed: str) -> list[int]:
    return Random(seed).sample(range(n), n)


def take(cases: Sequence[Case], start: int, count: int, seed: int) -> list[Case]:
    """Return cases `start` to `start + count` of an endless stream of shuffled epochs.

    They depend only on the seed and the place in the stream, not on earlier calls.
    """
    n = len(cases)
    places = (divmod(i, n) for i in range(start, start + count))
    return [cases[_order(n, f"{seed} {epoch}")[j]] for epoch, j in places]
