"""Binding patches to a live model for the body of a `with`; no other file changes the model.

On entry, parameters are rebound and routes registered. On exit, the same tensors are put back, even
if the body raises. Undo is exact because nothing is ever added back or divided out.
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
LOST = "inside `lm.patched`, which restores the model's own weights when it ends"


class Patchable:
    """The half of `LM` exchanging weights and registering routes.

    arch         the row naming the model's modules: from ARCHS, or found by running it.
    model        the transformers model in eval mode; no weight gets a gradient.
    name         its name, used for finding presets.
    quantized    whether some of its weights are quantized (see quantized.py).
    lock         held while a patch is applied and while the model runs: threads take turns.

    The weights can change during its lifetime: by an optimizer, `load_state_dict`, `to`, or merging
    an adapter. The next edit or `patched` notices the change, warns once, and treats them as
    another model.
    """

    def __init__(self, model: nn.Module, name: str | None = None, arch: Arch | None = None) -> None:
        refuse_unpatchable(model)
        self.arch = arch or arch_of(model)
        self.model: Any = model.eval().requires_grad_(False)  # attributes depend on the family
        config: Any = model.config
        self.name: str = name or getattr(config, "_name_or_path", "") or config.model_type
        self._kept: dict[Hashable, Any] = {}  # results of `once`
        self._read_weights()
        self.lock = threading.RLock()
        self._base: dict[str, Tensor] = {}  # original parameters of the currently bound modules
        self._routes: dict[str, Route] = {}
        self._rewrites: tuple = ()
        self._seqs: Sequences | None = None

    @property
    def plain_name(self) -> str:
        """The name of its weights, independent of any token prepended to every text."""
        return parted(self.name)[0]

    @property
    def sink(self) -> str | None:
        """The token prepended to every text, or None if there isn't one."""
        return parted(self.name)[1]

    @property
    def fingerprint(self) -> str:
        """A hash of the current weights, used by a patch to recognize its model."""
        self._look()
        return self._fingerprint

    @property
    def identity(self) -> str:
        """Name and fingerprint, which a patch stores in `base`; `same_model` compares two."""
        return f"{self.name} {self.fingerprint}"

    @property
    def is_untouched(self) -> bool:
        """True if the weights are unchanged since the last check."""
        found = list(parameters(self.model))
        # an applied patch replaces some parameters with plain tensors; its caller has checked
        return not all(isinstance(p, nn.Parameter) for p in found) or self._seen.still(found)

    def _look(self) -> None:
        """Notice weights changed since the last check."""
        if self.is_untouched:
            return
        before = self._fingerprint
        self._read_weights()
        if self._fingerprint != before:
            self._kept.clear()
            warnings.warn(
                f"The weights of {self.name} have changed. Results computed from the old weights "
                "will be computed again, and patches made for them no longer fit.",
                EditWarning,
                stacklevel=3,
            )

    def _read_weights(self) -> None:
        """Use the model's present weights as the base model's."""
        refuse_unpatchable(self.model)
        self._fingerprint, self._seen = fingerprint(self.model), Seen(parameters(self.model))
        self.quantized = any(map(is_quantized, self.model.parameters()))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the result of `make` on the base model, cached for this object and its weights."""
        if key not in self._kept:
            self._kept[key] = make()
        found: T = self._kept[key]
        return found

    @property
    def is_patched(self) -> bool:
        """True if a patch is applied, or some module is bound to another matrix."""
        return bool(self._base or self._routes or self._rewrites)

    def weight(self, module: str, under: Patch = EMPTY) -> Tensor:
        """Return a module's matrix (d_out, d_in) under a patch (default: the base), in float32.

        It is on the module's device. A low-rank change is moved there as its factors, which are a
        thousandth of the matrix. Raises FamilyError for a module without its own matrix.
        """
        value = under.weights.get(module)
        stored = self._base.get(module, getattr(self.model.get_submodule(module), "weight", None))
        if stored is None:
            raise FamilyError(f"{module} of {self.name} has no matrix. Choose another module.")
        if isinstance(value, Tensor):
            return value.to(stored.device)
        base = dense(stored.detach(), self.arch.transposed)
        if value is None:
            return base
        A, B = (side.to(base.device) for side in value.joined())
        change = A @ B
        # the sum needs no other matrix; if weights are stored transposed, it stays transposed
        return change.add_(base) if base.is_contiguous() else base + change

    @contextmanager
    def patched(self, patch: Patch, *, only: bool = False) -> Iterator[Self]:
        """Apply `patch` for the body of `with`, then restore the base model, bit for bit.

        An inner `patched` shadows the outer one on the same modules, leaving the others active;
        only=True, which editors need, shadows everything outside. The body must not yield. Raises
        PatchError for another model's patch, and at the end if weights replaced by the patch were
        trained, loaded or cast inside, because such changes are lost.
        """
        self.check(patch)
        with self.lock, ExitStack() as undo:
            # made one after another: only the copy in the model's own type remains of each. Whole
            # matrices in the patch are cast while moving to the GPU
            made = {name: self._made(name, patch) for name in patch.weights}
            # with only=True, modules bound outside but not by this patch get their base weight
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
                        f"{name} was written {LOST}. This change is lost, but changes to other "
                        "modules are not. Train or load the model outside."
                    )

    @contextmanager
    def bind(self, masters: Mapping[str, Tensor]) -> Iterator[None]:
        """Run modules using other float32 matrices (d_out, d_in), given as {module: master}.

        A master requiring grad and already having the model's type and orientation is used
        directly; otherwise it is cast at every forward pass, so that optimizer steps on it take
        effect.
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
        """Return a module's weight under a patch, in the model's format."""
        value, here = patch.weights[name], self.model.get_submodule(name).weight
        if self._base.get(name, here).requires_grad:
            raise PatchError(
                f"{name} requires gradients, and training would not reach it {LOST}. Call "
                "lm.model.requires_grad_(False) first."
            )
        master = value if isinstance(value, Tensor) else self.weight(name, patch)
        return self._stored(master, here.dtype, here.device)

    def _exchange(self, name: str, weight: Tensor, undo: ExitStack) -> None:
        """Replace a module's own weight until `undo` ends."""
        module = self.model.get_submodule(name)
        undo.callback(module._parameters.__setitem__, "weight", module._parameters["weight"])
        if name not in self._base:
            self._base[name] = module._parameters["weight"]
            undo.callback(self._base.pop, name)
        # set in the dict, because assigning to the module would wrap the tensor
        module._parameters["weight"] = weight

    def _stored(self, master: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return a master in the orientation, type and place of the model's own weight."""
        return (master.T if self.arch.transposed else master).to(device=device, dtype=dtype)

    @contextmanager
    def _routed(self, patch: Patch, only: bool) -> Iterator[None]:
        """Activate the patch's routes and rewrites for the body, over those from outside."""
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
        """Until `undo` ends, reject calls bypassing `lm` while a route or rewrite is active.

        A route needs the end of each prompt and a rewrite its text, so calling the model directly
        would answer, or save it, as if it were unedited.
        """
        if any(getattr(m, "_compiled_call_impl", None) for m in self.model.modules()):
            raise PatchError("A compiled model does not see this patch. Load it without compiling.")
        first = self.model.get_submodule(self.arch.blocks)[0]
        undo.enter_context(hooked(first, self._refuse_around, before=True))
        for module in (self.model, first):
            undo.callback(module.register_state_dict_pre_hook(self._refuse_around).remove)

    def _refuse_around(self, *_: Any) -> None:
        """Raise PatchError, as a hook, if a route is active and no run of `lm` is open."""
        if self._seqs is None and (self._routes or self._rewrites):
            raise PatchError(
                "This patch acts on prompts, which calling the model directly does not show it. "
                "Use lm.answer, lm.generate, lm.score or lm.run to generate, and patch.save to "
                "store the patch."
            )

    def _route(self, name: str, module: nn.Module, inputs: tuple, output: Any) -> Any:
        """Run a routed module's route, as a hook: it decides at the prompt, then may answer."""
        route = self._routes.get(name)
        if route is None:
            return None
        self._refuse_around()  # a single block called directly
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
            said = f"This patch is for {patch.base}, but the model here is {self.identity}."
            name, _, weights = patch.base.rpartition(" ")
            if weights == self.fingerprint:
                said += f" Load the model with sink={parted(name)[1]!r} for it."
            raise PatchError(said)
        for name, value in patch.weights.items():
            if self.arch.fused_in and any(fnmatch(name, n.format("*")) for n in self.arch.mlp_in):
                raise PatchError(f"{name} stores two matrices in one; neither can be edited alone.")
            here = self._shape(name)
            if tuple(value.shape) != here:
                raise PatchError(
                    f"This patch has {tuple(value.shape)} for {name}, but the model has {here}."
                )
        for name, route in patch.routes.items():
            if not self._stands(name, route):
                raise PatchError(
                    f"This patch has a route at {name}, but its kind does not fit {self.name}."
                )

    def _shape(self, name: str) -> tuple[int, ...]:
        """Return (d_out, d_in) of a module's matrix; PatchError for a module without one."""
        try:
            weight = self.model.get_submodule(name)._parameters["weight"]
        except (AttributeError, KeyError):
            weight = None
        if weight is None:
            raise PatchError(f"This patch changes {name}, which {self.name} does not have.")
        return tuple(weight.shape[:: -1 if self.arch.transposed else 1])

    def _stands(self, name: str, route: Route) -> bool:
        """Return whether a route fits a module: a matrix or MLP of its widths in a block."""
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
