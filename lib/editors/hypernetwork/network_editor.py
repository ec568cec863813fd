"""The editing half of MEND, MALMEN and RLEdit: a trained network turns gradients into an edit.

An edit takes one forward and one backward pass through the language model, giving the keys and
gradients of the answer tokens, and one pass through the network, turning them into ΔW. This file
finds the network, keeps its moments, and writes the edit. For training a network, see trainable.py.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from ... import atomic_files
from ...data.facts import Case, Fact
from ...errors import EditError, NetworkError
from ...keys_values import answer_gradients
from ...keys_values.answer_gradients import KeyGradients, Reduction
from ...keys_values.running_moments import KeyGradientMoments
from ...model.lm import LM
from ...patch.patch import EMPTY, Patch
from ..shared.base import Editor, add_low_rank
from . import network, network_file
from .network import ModuleUpdate, Order
from .network_file import Networks
from .settings import TrainableConfig

WARM = 64  # training cases read before the first step to compute the moments
Factors = tuple[Tensor, Tensor]
N = TypeVar("N", bound=TrainableConfig)


class NetworkEditor(Editor[N]):
    """An editor whose ΔW comes from a trained network; a subclass implements `factors`.

    The trained network is not part of the patch, which refers to it using the hash of its file.
    Moments updated while editing belong to the patch.

    solves  whether a regression with its own learned λ adds up the columns
    frozen  whether the moments stay as training left them
    """

    trained = True
    solves: ClassVar[bool] = True
    frozen: ClassVar[bool] = False

    def __init__(self, lm: LM, config: TrainableConfig | None = None, **settings: Any) -> None:
        super().__init__(lm, config, **settings)
        self._networks: dict[str, Networks] = {}  # keyed by the weights that they were trained for

    @property
    def order(self) -> Order:
        """Return the published block used by the network (`network.EditNet`)."""
        return getattr(self.config, "order", "mend")

    @abstractmethod
    def factors(self, wanted: ModuleUpdate, k: Tensor, g: Tensor) -> Factors:
        """Return ΔW = A B of one module, A (d_out, r) and B (r, d_in), float64, differentiable.

        k (d_in, n) and g (d_out, n) are the network's output pairs, k̃ and g̃.
        """

    @torch.no_grad()
    def update(self, wanted: ModuleUpdate) -> Factors:
        """Return the factors of ΔW, without a graph."""
        return self.factors(wanted, *wanted.answers())

    # ---- editing ----------------------------------------------------------------------------

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Read the keys and gradients of all modules in one pass, then write ΔW of every module."""
        networks, held = self.networks(), after.memory.get(self.name, {})
        if held and held["network"] != networks.hash:
            raise EditError(
                f"The patch was written using network {held['network']}, but this is "
                f"{networks.hash}. Continue with network=FILE of the first."
            )
        moments = networks.moments
        if "moments" in held:
            moments = {
                shape: KeyGradientMoments.load(kept) for shape, kept in held["moments"].items()
            }
        found = self.read(facts, after)
        if not self.frozen:
            moments = self.seen(moments, found)
        # a model's first edit may take a different step than the edits of a stream
        alone = not held and len(facts) <= self.config.batch
        scale = self.config.first_scale if alone else 1.0
        wanted = self.module_updates(networks, moments, found, scale)
        states = {shape: both.state() for shape, both in moments.items()}
        kept = {} if self.frozen else {"moments": states}
        updates = {name: self.update(one) for name, one in wanted.items()}
        memories = {**after.memory, self.name: {"network": networks.hash, **kept}}
        return add_low_rank(self.lm, after, updates, memory=memories)

    def read(self, facts: Sequence[Fact], after: Patch) -> dict[str, KeyGradients]:
        """Return {module: keys and gradients} under a patch, without columns that are exactly 0."""
        c, names, everywhere = self.config, list(self.modules()), self.config.tokens == "all"
        reduction: Reduction = "fact_mean" if everywhere else c.reduction
        group = 1 if everywhere else c.group
        with self.lm.patched(after, only=True):
            found = answer_gradients.read(
                self.lm, facts, names, group, reduction, everywhere=everywhere
            )
        return {name: pair.nonzero() for name, pair in found.items()}

    def seen(
        self, moments: dict[str, KeyGradientMoments], found: dict[str, KeyGradients]
    ) -> dict[str, KeyGradientMoments]:
        """Return {shape: its moments} updated with these keys and gradients."""
        shapes = self.modules()
        return {
            shape: both.merge(pair for name, pair in found.items() if shapes[name] == shape)
            for shape, both in moments.items()
        }

    def module_updates(
        self,
        networks: Networks,
        moments: dict[str, KeyGradientMoments],
        found: dict[str, KeyGradients],
        scale: float = 1.0,
    ) -> dict[str, ModuleUpdate]:
        """Return {module: its requested update}, for modules that have any column."""
        chunk, shapes = self.config.chunk, self.modules()
        return {
            name: ModuleUpdate(
                networks.nets[shape], name, pair, moments[shape].standardize(pair), chunk, scale
            )
            for name, pair in found.items()
            for shape in [shapes[name]]
            if pair.K.shape[1]
        }

    def modules(self) -> dict[str, str]:
        """Return {edited module: its shape d_out x d_in, as text}."""
        shapes = answer_gradients.mlp_modules(self.lm, *self.config.edited_layers(self.lm))
        return {name: f"{d_out}x{d_in}" for name, (d_in, d_out) in shapes.items()}

    # ---- the network ------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """Return the file for writing a trained network, which is also the first place to look."""
        if self.config.network:
            return atomic_files.path_of(self.config.network)
        return atomic_files.cache_folder() / "networks" / self._file

    @property
    def shipped(self) -> Path:
        """Return the library's own network for this model, a file that need not exist."""
        return network_file.SHIPPED / self._file

    @property
    def _file(self) -> str:
        return f"{self.name}-{self.lm.fingerprint}.safetensors"

    def networks(self) -> Networks:
        """Return the trained networks, read once; EditError names the command if there are none."""
        weights = self.lm.fingerprint
        if weights not in self._networks:
            own = self.path
            path = own if own.is_file() or self.config.network else self.shipped
            if not path.is_file():
                raise EditError(
                    f"{self.name} has no trained network for {self.lm.name} at {own}. Train a "
                    f"network using lib.EDITORS['{self.name}'](lm).fit(cases, other_cases), or "
                    f"using `python -m lib train --editor {self.name}` with the --model that you "
                    "load by its name."
                )
            header, state, content = network_file.load(path, weights, self.name)
            self._networks = {weights: self.restored(path, header, state)}
            self._networks[weights].hash = content
        return self._networks[weights]

    def fresh(self, cases: Sequence[Case] = ()) -> Networks:
        """Return untrained networks, which are the identity, with moments over some cases."""
        c, names = self.config, self.modules()
        ridge = c.ridge if self.solves else None
        nets = network.build(names, c.rank, c.blocks, self.order, c.eta, c.seed, ridge)
        nets = {shape: net.to(self.lm.device) for shape, net in nets.items()}
        moments = {
            shape: KeyGradientMoments.empty(net.d_in, net.first.shape[2] - net.d_in)
            for shape, net in nets.items()
        }
        if cases:
            moments = self.seen(moments, self.read([c.fact for c in cases[:WARM]], EMPTY))
        return Networks(nets, moments)

    def restored(self, path: Path, header: dict[str, Any], state: dict[str, Any]) -> Networks:
        """Return networks from a file's content; EditError if they do not fit the settings."""
        networks = self.fresh()
        try:
            if header["modules"] != self.modules():
                raise NetworkError("It was trained for other modules.")
            settings = header.get("settings", {})
            for name in ("tokens", "keys", "order"):  # settings used in training
                mine = getattr(self.config, name, None)
                learned = settings.get(name, mine)
                if learned != mine:
                    raise NetworkError(f"It was trained with {name}={learned}.")
            networks.load(state["now"])
        except (NetworkError, EditError, KeyError) as error:
            on = str(header.get("base")).rpartition(" ")[0]
            said = f"{path} was trained on {on} and does not fit the settings of {self.name}"
            raise EditError(f"{said}: {error}") from None
        return networks

    def header(self) -> dict[str, Any]:
        """Return the editor, the model and the modules, as named in every file of this editor."""
        return {"editor": self.name, "base": self.lm.identity, "modules": self.modules()}
