"""Binding patches to a live model, for the body of a `with`; no other file touches the model.

On entry parameters are rebound and routes registered. On exit the same tensors are put back, also
when the body raises. Undo is exact because nothing is ever added back or divided out.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from functools import partial
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from ..errors import EditWarning, FamilyError, PatchError
from ..patch.patch import EMPTY, Patch, parted, same_model
from ..patch.route import Route
from .architectures import Arch, dense, refuse_unpatchable
from .fingerprint import Seen, fingerprint, parameters
from .hooks import hooked, hooked_all, swapped
from .infer_architecture import arch_of
from .quantized import is_quantized
from .sequences import Sequences

T = TypeVar("T")
LOST = "inside `lm.patched`, which puts the model's own weights back when it ends"


class Patchable:
    """The half of `LM` that exchanges weights and registers routes.

    arch         the row that names the model's modules: of ARCHS, or found by running it.
    model        the transformers model in eval mode; no weight gets a gradient.
    name         its name, by which presets are found.
    quantized    whether some of its weights are quantized (see quantized.py).
    lock         held while a patch is entered and while the model runs: threads take turns.

    The weights may change under it: by an optimizer, `load_state_dict`, `to`, or an adapter that is
    merged. The next edit or `patched` notices, says so once, and takes them for another model.
    """

    def __init__(self, model: nn.Module, name: str | None = None, arch: Arch | None = None) -> None:
        refuse_unpatchable(model)
        self.arch = arch or arch_of(model)
        self.model: Any = model.eval().requires_grad_(False)  # attributes depend on the family
        config: Any = model.config
        self.name: str = name or getattr(config, "_name_or_path", "") or config.model_type
        self._kept: dict[Hashable, Any] = {}  # what `once` has made
        self._read_weights()
        self.lock = threading.RLock()
        self._base: dict[str, Tensor] = {}  # original parameters of the modules bound at the moment
        self._routes: dict[str, Route] = {}
        self._rewrites: tuple = ()
        self._seqs: Sequences | None = None

    @property
    def plain_name(self) -> str:
        """The name of its weights, whatever token stands in front of every text."""
        return parted(self.name)[0]

    @property
    def sink(self) -> str | None:
        """The token that was put in front of every text, None where none was."""
        return parted(self.name)[1]

    @property
    def fingerprint(self) -> str:
        """A hash of the weights as they are now, by which a patch knows its model."""
        self._look()
        return self._fingerprint

    @property
    def identity(self) -> str:
        """Name and fingerprint, which a patch keeps in `base`; `same_model` compares two."""
        return f"{self.name} {self.fingerprint}"

    @property
    def is_untouched(self) -> bool:
        """Whether nobody has changed the weights since the last look."""
        found = list(parameters(self.model))
        # a patch that is entered puts plain tensors in the place of some; who entered it has looked
        return not all(isinstance(p, nn.Parameter) for p in found) or self._seen.still(found)

    def _look(self) -> None:
        """Notice weights that were changed since the last look."""
        if self.is_untouched:
            return
        before = self._fingerprint
        self._read_weights()
        if self._fingerprint != before:
            self._kept.clear()
            warnings.warn(
                f"the weights of {self.name} have changed. What was computed from the old ones is "
                "computed again, and patches that were made for them no longer fit",
                EditWarning,
                stacklevel=3,
            )

    def _read_weights(self) -> None:
        """Take the model's present weights for those of the base model."""
        refuse_unpatchable(self.model)
        self._fingerprint, self._seen = fingerprint(self.model), Seen(parameters(self.model))
        self.quantized = any(map(is_quantized, self.model.parameters()))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` computes from the base model, kept as long as this object and its weights."""
        if key not in self._kept:
            self._kept[key] = make()
        found: T = self._kept[key]
        return found

    @property
    def is_patched(self) -> bool:
        """Whether a patch is entered, or some module is bound to another matrix."""
        return bool(self._base or self._routes or self._rewrites)

    def weight(self, module: str, under: Patch = EMPTY) -> Tensor:
        """The matrix (d_out, d_in) of a module under a patch (default: the base), in float32.

        It is on the module's device. A low-rank change travels there as its factors, which are a
        thousandth of the matrix. Raises FamilyError for a module without a matrix of its own.
        """
        value = under.weights.get(module)
        stored = self._base.get(module, getattr(self.model.get_submodule(module), "weight", None))
        if stored is None:
            raise FamilyError(f"{module} of {self.name} has no matrix")
        if isinstance(value, Tensor):
            return value.to(stored.device)
        base = dense(stored.detach(), self.arch.transposed)
        if value is None:
            return base
        A, B = (side.to(base.device) for side in value.joined())
        change = A @ B
        # the sum needs no matrix of its own; where weights are stored transposed it stays so
        return change.add_(base) if base.is_contiguous() else base + change

    @contextmanager
    def patched(self, patch: Patch, *, only: bool = False) -> Iterator[Self]:
        """The model under `patch` for the body of `with`, and then the base model, bit for bit.

        An inner `patched` shadows the outer one on the same modules and leaves the others;
        only=True shadows everything outside, which editors need. Nothing may yield inside. Raises
        PatchError for a patch of another model, and at the end where weights that the patch
        replaces were trained, loaded or cast inside, because that is lost.
        """
        self.check(patch)
        with self.lock, ExitStack() as undo:
            # made one after another: of each only the copy in the model's own type remains. What
            # the patch holds whole is cast on its way to the card
            made = {name: self._made(name, patch) for name in patch.weights}
            # with only=True, modules bound outside and not by this patch get their base weight
            for name in (self._base.keys() - made.keys()) if only else ():
                held = self.model.get_submodule(name)._parameters
                undo.callback(held.__setitem__, "weight", held["weight"])
                held["weight"] = self._base[name]
            for name, weight in made.items():
                self._exchange(name, weight, undo)
            bound = {name: Seen([weight]) for name, weight in made.items()}
            del made  # the model has them
            undo.enter_context(self._routed(patch, only))
            yield self
            for name, seen in bound.items():
                if not seen.still([self.model.get_submodule(name)._parameters["weight"]]):
                    raise PatchError(
                        f"{name} was written {LOST}: this is lost, and what was written to other "
                        "modules is not. Train or load the model outside"
                    )

    @contextmanager
    def bind(self, masters: Mapping[str, Tensor]) -> Iterator[None]:
        """Run modules on other float32 matrices (d_out, d_in), given as {module: master}.

        A master that requires grad and already has the model's type and orientation is handed over
        as it is; otherwise it is cast at every forward, so that optimizer steps on it take effect.
        """
        with ExitStack() as undo:
            for name, master in masters.items():
                module = self.model.get_submodule(name)
                stored = partial(self._stored, master, module.weight.dtype, module.weight.device)
                self._exchange(name, stored(), undo)
                if master.requires_grad and module.weight is not master:
                    cast = module.register_forward_pre_hook(
                        lambda module, _, stored=stored: module._parameters.__setitem__(
                            "weight", stored()
                        )
                    )
                    undo.callback(cast.remove)
            yield

    def _made(self, name: str, patch: Patch) -> Tensor:
        """A module's weight under a patch, as the model stores it."""
        value, here = patch.weights[name], self.model.get_submodule(name).weight
        if self._base.get(name, here).requires_grad:
            raise PatchError(
                f"{name} requires gradients, and training would not reach it {LOST}: call "
                "lm.model.requires_grad_(False) first"
            )
        master = value if isinstance(value, Tensor) else self.weight(name, patch)
        return self._stored(master, here.dtype, here.device)

    def _exchange(self, name: str, weight: Tensor, undo: ExitStack) -> None:
        """Put a weight in the place of a module's own until `undo` ends."""
        module = self.model.get_submodule(name)
        undo.callback(module._parameters.__setitem__, "weight", module._parameters["weight"])
        if name not in self._base:
            self._base[name] = module._parameters["weight"]
            undo.callback(self._base.pop, name)
        # set in the dict, because assigning to the module would wrap the tensor
        module._parameters["weight"] = weight

    def _stored(self, master: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        """A master in the orientation, type and place of the model's own weight."""
        return (master.T if self.arch.transposed else master).to(device=device, dtype=dtype)

    @contextmanager
    def _routed(self, patch: Patch, only: bool) -> Iterator[None]:
        """In the body, the patch's routes and rewrites are active, over those from outside."""
        outside = self._routes
        left = {} if only else {m: r for m, r in outside.items() if m not in patch.weights}
        with ExitStack() as undo:
            if patch.routes or patch.rewrites:
                self._guard(undo)
            new = {name: partial(self._route, name) for name in patch.routes.keys() - outside}
            undo.enter_context(hooked_all(self.model, new))
            rewrites = patch.rewrites if only else patch.rewrites or self._rewrites
            with swapped(self, _routes={**left, **patch.routes}, _rewrites=rewrites):
                yield

    def _guard(self, undo: ExitStack) -> None:
        """Until `undo` ends, refuse what goes around `lm` while a route or rewrite is active.

        A route needs to know where prompts end and a rewrite their text, so that the model by
        itself would answer, or be written, as if it were unedited.
        """
        if any(getattr(m, "_compiled_call_impl", None) for m in self.model.modules()):
            raise PatchError("a compiled model does not see this patch: load it uncompiled")
        first = self.model.get_submodule(self.arch.blocks)[0]
        undo.enter_context(hooked(first, self._refuse_around, before=True))
        for module in (self.model, first):
            undo.callback(module.register_state_dict_pre_hook(self._refuse_around).remove)

    def _refuse_around(self, *_: Any) -> None:
        """The hook that raises PatchError where a route is active and no run of `lm` is open."""
        if self._seqs is None and (self._routes or self._rewrites):
            raise PatchError(
                "this patch acts on prompts, which the model alone does not show it: ask by "
                "lm.answer, lm.generate, lm.score or lm.run, and keep the patch by patch.save"
            )

    def _route(self, name: str, module: nn.Module, inputs: tuple, output: Any) -> Any:
        """The hook of a routed module: the route decides at the prompt and then answers or not."""
        route = self._routes.get(name)
        if route is None:
            return None
        self._refuse_around()  # one block by itself
        seqs: Any = self._seqs
        shape, rows, seqs = output.shape, len(seqs.ids), seqs.on(output.device)
        given = inputs[0].to(output.device)
        given = given.reshape(rows, -1, given.shape[-1])  # opt flattens rows and positions
        output = output.reshape(rows, -1, shape[-1])
        if name not in seqs.memo:
            seqs.memo[name] = route.decide(given, output, seqs)
        return route.apply(given, output, seqs.memo[name], seqs).reshape(shape)

    def check(self, patch: Patch) -> None:
        """Raise PatchError unless the patch is for this model, and its matrices and routes fit."""
        self._look()
        if patch.base and not same_model(patch.base, self.identity):
            said = f"this patch is for {patch.base}, the model here is {self.identity}"
            name, _, weights = patch.base.rpartition(" ")
            if weights == self.fingerprint:
                said += f"; load the model with sink={parted(name)[1]!r} for it"
            raise PatchError(said)
        for name, value in patch.weights.items():
            if self.arch.fused_in and any(fnmatch(name, n.format("*")) for n in self.arch.mlp_in):
                raise PatchError(f"{name} holds two matrices in one: it cannot be edited by itself")
            here = self._shape(name)
            if tuple(value.shape) != here:
                raise PatchError(
                    f"this patch holds {tuple(value.shape)} for {name}, the model {here}"
                )
        for name, route in patch.routes.items():
            if not self._stands(name, route):
                raise PatchError(
                    f"this patch has a route at {name}, where none of its kind fits {self.name}"
                )

    def _shape(self, name: str) -> tuple[int, ...]:
        """(d_out, d_in) of a module's matrix; PatchError for a module without one."""
        try:
            weight = self.model.get_submodule(name)._parameters["weight"]
        except (AttributeError, KeyError):
            weight = None
        if weight is None:
            raise PatchError(f"this patch changes {name}, which {self.name} does not have")
        return tuple(weight.shape[:: -1 if self.arch.transposed else 1])

    def _stands(self, name: str, route: Route) -> bool:
        """Whether a route can stand after a module: a matrix or MLP of its widths in a block."""
        try:
            self.model.get_submodule(name)
        except AttributeError:
            return False
        if route.widths is None:
            return True
        if self.arch.mlp and fnmatch(name, self.arch.mlp.format("*")):
            hidden = self._shape(self.arch.mlp_out.format(0))[0]
            shape: tuple[int, ...] = (hidden, hidden)
        else:
            shape = self._shape(name)
            shape = shape * 2 if len(shape) == 1 else shape  # a norm keeps the width
        inputs, embeds = route.read_widths
        return (
            name.startswith(f"{self.arch.blocks}.")
            and shape[::-1] == route.widths
            and inputs in (None, route.widths[0])
            and embeds in (None, self.model.get_input_embeddings().weight.shape[1])
        )
