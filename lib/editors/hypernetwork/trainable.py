"""The training half of MEND, MALMEN and RLEdit: a network learns from many edits.

`fit` trains a network on many edits and writes it to one file, which the editor then edits with
(network_editor.py). Training never backpropagates through the language model and the network at
once: the language model gives G = ∂L/∂W of the edited matrices (losses.py), and the network turns G
into its own gradient (network.py).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from torch import Tensor

from ...data.facts import Case
from ...errors import EditError, FeatureError
from ...model.prefix_cache import Prefix
from ...patch.patch import EMPTY, Patch
from . import losses, network_file
from .losses import Outcome, Text
from .network import ModuleUpdate
from .network_editor import Factors, NetworkEditor
from .network_file import Networks
from .training import Training, recorded, take


class Trainable(NetworkEditor):
    """An editor to be trained with `fit` once, and then used as any other.

    A subclass says what ΔW is (`update`) and what its gradient is (`backward`).
    """

    @abstractmethod
    def backward(self, wanted: ModuleUpdate, factors: Factors, G: Tensor) -> None:
        """Add the network's gradients for G = ∂L/∂W (d_out, d_in); factors are those of ΔW."""

    def fit(
        self,
        cases: Sequence[Case],
        validation: Sequence[Case] = (),
        checkpoint: str | Path | None = None,
        steps: int = 1000,
        say: Callable[[str], None] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Path:
        """Train to `steps` in all, or until validation has not improved for `patience` steps.

        Returns the file of the best network on `validation` (of the last one without any), which
        this editor uses from then on. Beside it `*.training.safetensors` holds everything to go on
        from, bit for bit. `data` (JSON) says in the file where the cases are from. Raises EditError
        when a validation fact is also trained on, or the checkpoint was begun with other cases or
        settings.
        """
        cases, validation = list(cases), list(validation)
        if not cases:
            raise EditError("there is no case to train on")
        self.check([case.fact for case in (*cases, *validation)])
        both = {c.fact.text for c in cases} & {c.fact.text for c in validation}
        if both:
            raise EditError(f"'{sorted(both)[0]}' is among the training and the validation cases")
        path = Path(checkpoint) if checkpoint else self.path
        # the blocks below the lowest edited matrix never change, so their states are kept
        with Prefix(self.lm, self.lowest()).used():
            training = Training(self, cases, validation, path.with_suffix(".training.safetensors"))
            training.go(steps, say or (lambda line: None))
            state, at = training.result()
        header = {
            **self.header(),
            "step": at,
            "best": training.best_loss,
            "history": training.history,
            "settings": recorded(self.config),
            "data": dict(data or {}),
        }
        network_file.save(path, header, {"now": network_file.compact(state)})
        if path != self.path:
            self.config = replace(self.config, network=str(path.absolute()))
        self._networks = None
        self.networks()
        return path

    def gradients(self, networks: Networks, cases: Sequence[Case], step: int) -> float:
        """Add up the gradients of one training step and return the mean loss of an edit.

        An edit whose loss or gradient is not finite is left out.
        """
        c, found = self.config, []
        for i in range(c.accumulate):
            # every choice is a function of the seed and the step, so that a run can be resumed
            draw = Random(f"{c.seed} {step} {i}")
            size = min(c.batch, len(cases))
            some = take(cases, (step * c.accumulate + i) * size, size, c.seed)
            if c.varied:
                some = some[: round(size ** draw.random())]
            try:
                seen, _ = self.learn(networks, some, *self.texts(some, draw))
            except FeatureError:
                continue
            if seen.finite:
                found.append(seen.edit + seen.locality)
        return sum(found) / len(found) if found else float("nan")

    def texts(
        self, cases: Sequence[Case], draw: Random, factor: float = 1.0
    ) -> tuple[list[Text], list[Text]]:
        """The rewordings and the unrelated texts that judge an edit, with their weights."""
        c, lm = self.config, self.lm
        said = losses.rewordings(lm, cases, draw, c.own_prompt)
        calm = losses.unrelated(lm, cases, draw, c.tokens == "all")
        return (
            losses.weighted(said, c.group, factor * c.edit_weight),
            losses.weighted(calm, c.group, factor * c.loc_weight),
        )

    def learn(
        self,
        networks: Networks,
        cases: Sequence[Case],
        said: list[Text],
        calm: list[Text],
        after: Patch = EMPTY,
        reg: float = 0.0,
        train: bool = True,
    ) -> tuple[Outcome, dict[str, Factors]]:
        """One edit of the model under `after`: its effect, and its ΔW as factors by module.

        With train=True the network's gradients are added up. reg weighs ‖ΔW‖². The moments in
        `networks` go on.
        """
        # read keys and gradients, without a graph
        found = self.read([case.fact for case in cases], after)
        if train or not self.frozen:
            networks.moments = self.seen(networks.moments, found)
        # let the network make ΔW, again without a graph
        wanted = self.module_updates(networks, networks.moments, found)
        updates = {name: self.update(one) for name, one in wanted.items()}
        deltas = {name: (A @ B).float() for name, (A, B) in updates.items()}
        # see what the edited model loses: this gives ∂L/∂W and knows no network
        seen = losses.outcome(self.lm, after, deltas, said, calm, train)
        # hand ∂L/∂W (with that of reg ‖ΔW‖²) to the network: this knows no language model
        if train and seen.finite:
            for name, one in wanted.items():
                G = seen.grads[name].cpu() + 2 * reg * deltas[name]
                self.backward(one, updates[name], G)
        return seen, updates

    def validate(self, networks: Networks, cases: Sequence[Case]) -> float:
        """Mean loss of edits of cases that are not trained on; moments are put back.

        Edits have `batch` facts. Where training varies them, half of the facts come one by one.
        """
        held, found, size = networks.moments, [], self.config.batch
        alone = len(cases) // 2 if self.config.varied else 0
        starts = [(i, 1) for i in range(alone)]
        starts += [(i, size) for i in range(alone, len(cases), size)]
        for start, count in starts:
            some = cases[start : start + count]
            texts = self.texts(some, Random(f"validation {start}"))
            seen, _ = self.learn(networks, some, *texts, train=False)
            networks.moments = held
            found.append((seen.edit + seen.locality, len(some) if alone else 1))
        return sum(loss * n for loss, n in found) / sum(n for _, n in found)
