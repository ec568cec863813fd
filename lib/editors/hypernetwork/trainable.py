"""Editors with a network that must be trained first: what MEND, MALMEN and RLEdit have in common.

`fit` trains on many edits and writes one file; `edit` then needs one pass through the model and the
network. Training never backpropagates through the language model and the network at once: the
model gives ∂L/∂W (phases.py), the network turns it into its own gradient (hypernet.py).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Literal

from torch import Tensor

from ... import atomic_files
from ...data.facts import Case, Fact
from ...errors import EditError, FeatureError, NetworkError
from ...keys_values import answer_gradients
from ...keys_values.running_moments import Pairs
from ...memory import Moment
from ...model import default_model
from ...model.lm import LM
from ...model.prefix_cache import Prefix
from ...patch.patch import EMPTY, Patch
from ..shared.base import Editor, add_low_rank
from . import losses as phases
from . import network, network_file
from .network import Turn
from .network_file import Networks
from .settings import TrainableConfig
from .training import Run, recorded, take

WARM = 64  # training cases whose features are read before the first step, for the moments
SHIPPED = Path(__file__).parent / "networks"
Factors = tuple[Tensor, Tensor]


class Trainable(Editor):
    """`fit` once, then `edit` as any other; a subclass says what ΔW is and what its gradient is.

    The trained network stays out of the patch, which names it by the hash of its file; moments that
    go on while editing belong to the patch.
    """

    trained = True
    Config = TrainableConfig
    config: TrainableConfig
    solves: ClassVar[bool] = True  # columns are added up by a regression with a λ of its own
    frozen: ClassVar[bool] = False  # moments stay as training left them

    def __init__(self, lm: LM, config: TrainableConfig | None = None, **settings: Any) -> None:
        super().__init__(lm, config, **settings)
        self._networks: Networks | None = None

    @property
    @abstractmethod
    def order(self) -> Literal["mend", "malmen"]:
        """Which of the two published blocks the network is made of (hypernet.py)."""

    @abstractmethod
    def update(self, turn: Turn) -> Factors:
        """ΔW = A B of one module, A (d_out, r), B (r, d_in); no graph."""

    @abstractmethod
    def backward(self, turn: Turn, update: Factors, G: Tensor) -> None:
        """Add the network's gradients for G = ∂L/∂W (d_out, d_in)."""

    def choice(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """Layers of down, gate and up where the settings name none: by far the cheapest."""
        return range(max(0, self.lm.n_layers - 3), max(1, self.lm.n_layers - 1)), (), ()

    # ---- editing ----------------------------------------------------------------------------

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Features of all modules from one pass, then every module's ΔW, simultaneously."""
        networks, held = self.networks(), after.memory.get(self.name, {})
        if held and held["network"] != networks.hash:
            raise EditError(
                f"the patch was written with network {held['network']}, here is {networks.hash}: "
                "go on with network=FILE of the first"
            )
        moments = networks.moments
        if "moments" in held:
            moments = {shape: Pairs.load(kept) for shape, kept in held["moments"].items()}
        found = self.read(facts, after)
        if not self.frozen:
            moments = self.seen(moments, found)
        alone = not held and len(facts) <= self.config.batch
        turns = self.turns(networks, moments, found, self.config.first_scale if alone else 1.0)
        memory: dict[str, Any] = {"network": networks.hash}
        if not self.frozen:
            memory["moments"] = {shape: both.state() for shape, both in moments.items()}
        updates = {name: self.update(turn) for name, turn in turns.items()}
        memories = {**after.memory, self.name: memory}
        return add_low_rank(self.lm, after, updates, memory=memories)

    def read(self, facts: Sequence[Fact], after: Patch) -> dict[str, answer_gradients.Features]:
        """{module: pairs} under a patch, without columns that are exactly zero."""
        names = list(self.modules())
        with self.lm.patched(after, only=True):
            if self.config.tokens == "all":
                found = phases.read_everywhere(self.lm, facts, names)
            else:
                c = self.config
                found = answer_gradients.read(self.lm, facts, names, c.group, c.reduction)
        return {name: pair.kept() for name, pair in found.items()}

    def seen(
        self, moments: dict[str, Pairs], found: dict[str, answer_gradients.Features]
    ) -> dict[str, Pairs]:
        """Moments that have also seen these pairs, per shape."""
        shapes = self.modules()
        return {
            shape: both.merge(pair for name, pair in found.items() if shapes[name] == shape)
            for shape, both in moments.items()
        }

    def turns(
        self,
        networks: Networks,
        moments: dict[str, Pairs],
        found: dict[str, answer_gradients.Features],
        scale: float = 1.0,
    ) -> dict[str, Turn]:
        """{module: what it asked for}, for modules with any column."""
        shapes, chunk = self.modules(), self.config.chunk
        return {
            name: Turn(
                networks.nets[shapes[name]], name, pair,
                moments[shapes[name]].standardize(pair), chunk, self.metric(name), scale,
            )
            for name, pair in found.items() if pair.K.shape[1]
        }  # fmt: skip

    def metric(self, name: str) -> Moment | None:
        """What stands in the place of a regression's I; None for I itself, as published."""
        return None

    def modules(self) -> dict[str, str]:
        """{edited module: its shape as text, d_out x d_in}."""
        shapes = answer_gradients.mlp_modules(self.lm, *self.layers())
        return {name: f"{d_out}x{d_in}" for name, (d_in, d_out) in shapes.items()}

    def layers(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """Edited layers of down, gate and up: the settings', or the editor's own choice."""
        c = self.config
        return (c.down, c.gate, c.up) if c.down or c.gate or c.up else self.choice()

    def lowest(self) -> int:
        """The first block with an edited matrix."""
        return min(min(some) for some in self.layers() if some)

    # ---- the network ------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """Where a trained network is written, and looked for first."""
        if self.config.network:
            return Path(self.config.network)
        return atomic_files.cache_folder() / "networks" / self._file

    @property
    def shipped(self) -> Path:
        """Where the library keeps a network for this model, if it has one."""
        return SHIPPED / self._file

    @property
    def _file(self) -> str:
        return f"{self.name}-{self.lm.fingerprint}.safetensors"

    def networks(self) -> Networks:
        """The trained networks, read once; EditError names the command when there are none."""
        if self._networks is None:
            path = self.path
            if not path.exists() and not self.config.network:
                path = self.shipped
            if not path.exists():
                model = "" if self.lm.name == default_model.NAME else f" --model {self.lm.name}"
                raise EditError(
                    f"{self.name} has no trained network for {self.lm.name} at {self.path}: run "
                    f"`python -m lib train --editor {self.name}{model}`"
                )
            header, state, content = network_file.load(path, self.lm.fingerprint, self.name)
            self._networks = self.restored(path, header, state)
            self._networks.hash = content
        return self._networks

    def fresh(self, cases: Sequence[Case] = ()) -> Networks:
        """Untrained networks, the identity, with moments over some of the cases."""
        c, names = self.config, self.modules()
        ridge = c.ridge if self.solves else None
        nets = network.build(names, c.rank, c.blocks, self.order, c.eta, c.seed, ridge)
        nets = {shape: net.to(self.lm.device) for shape, net in nets.items()}
        moments = {
            shape: Pairs.empty(net.d_in, net.first.shape[2] - net.d_in)
            for shape, net in nets.items()
        }
        if cases:
            moments = self.seen(moments, self.read([c.fact for c in cases[:WARM]], EMPTY))
        return Networks(nets, moments)

    def restored(self, path: Path, header: dict[str, Any], state: dict[str, Any]) -> Networks:
        """Networks from a file's content; EditError where they do not fit the settings."""
        networks = self.fresh()
        try:
            if header["modules"] != self.modules():
                raise NetworkError("it was trained for other modules")
            settings = self.current(header.get("settings", {}))
            for name in ("tokens", "keys", "strength", "order"):  # it has learned with these
                mine = getattr(self.config, name, None)
                learned = settings.get(name, mine)
                if learned != mine:
                    raise NetworkError(f"it was trained with {name}={learned}")
            networks.load(state["now"])
        except (NetworkError, EditError, KeyError) as error:
            raise EditError(f"{path} does not fit the settings of {self.name}: {error}") from None
        return networks

    # ---- training ---------------------------------------------------------------------------

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
        with Prefix(self.lm, self.lowest()).used():  # below, nothing ever changes
            run = Run(self, cases, validation, path.with_suffix(".training.safetensors"))
            run.go(steps, say or (lambda line: None))
            state, at = run.result()
        header = {
            **self.header(),
            "step": at, "best": run.best_loss, "history": run.history,
            "settings": recorded(self.config), "data": dict(data or {}),
        }  # fmt: skip
        network_file.save(path, header, {"now": network_file.compact(state)})
        if path != self.path:
            self.config = replace(self.config, network=str(path.absolute()))
        self._networks = None
        self.networks()
        return path

    def gradients(self, networks: Networks, cases: Sequence[Case], step: int) -> float:
        """Gradients of one training step, added up; what comes back is the mean loss of an edit.

        An edit whose loss or gradient is not finite is left out.
        """
        c, losses = self.config, []
        for i in range(c.accumulate):
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
                losses.append(seen.edit + seen.locality)
        return sum(losses) / len(losses) if losses else float("nan")

    def texts(self, cases: Sequence[Case], draw: Random, factor: float = 1.0) -> tuple[list, list]:
        """What the edit is judged by: rewordings and unrelated texts with their weights."""
        c, lm = self.config, self.lm
        said = phases.rewordings(lm, cases, draw, c.own_prompt), factor * c.edit_weight
        calm = phases.unrelated(lm, cases, draw, c.tokens == "all"), factor * c.loc_weight
        judged = [phases.weighted(texts, c.group, weight) for texts, weight in (said, calm)]
        return judged[0], judged[1]

    def learn(
        self,
        networks: Networks,
        cases: Sequence[Case],
        said: list[phases.Text],
        calm: list[phases.Text],
        after: Patch = EMPTY,
        reg: float = 0.0,
        train: bool = True,
    ) -> tuple[phases.Outcome, dict[str, Factors]]:
        """One edit: features, ΔW, its effect, and (train) the network's gradients added up.

        reg weighs ‖ΔW‖². Moments in `networks` go on. Returns the effect and ΔW as factors.
        """
        found = self.read([case.fact for case in cases], after)  # A: no graph
        if train or not self.frozen:
            networks.moments = self.seen(networks.moments, found)
        turns = self.turns(networks, networks.moments, found)
        updates = {name: self.update(turn) for name, turn in turns.items()}  # B: no graph
        deltas = {name: (A @ B).float() for name, (A, B) in updates.items()}
        seen = phases.outcome(self.lm, after, deltas, said, calm, train)  # C: ∂L/∂W alone
        if train and seen.finite:
            for name, turn in turns.items():  # D: the network alone
                G = seen.grads[name].cpu() + 2 * reg * deltas[name]
                self.backward(turn, updates[name], G)
        return seen, updates

    def validate(self, networks: Networks, cases: Sequence[Case]) -> float:
        """Mean loss of edits of cases that are not trained on; moments are put back.

        Edits of `batch` facts; where training varies them, half of the facts come one by one.
        """
        held, losses, size = networks.moments, [], self.config.batch
        alone = len(cases) // 2 if self.config.varied else 0
        starts = [(i, 1) for i in range(alone)]
        starts += [(i, size) for i in range(alone, len(cases), size)]
        for start, count in starts:
            some = cases[start : start + count]
            texts = self.texts(some, Random(f"validation {start}"))
            seen, _ = self.learn(networks, some, *texts, train=False)
            networks.moments = held
            losses.append((seen.edit + seen.locality, len(some) if alone else 1))
        return sum(loss * n for loss, n in losses) / sum(n for _, n in losses)

    def header(self) -> dict[str, Any]:
        """What every file of this editor says of itself."""
        return {"editor": self.name, "base": self.lm.identity, "modules": self.modules()}
