"""Hooks and attributes for the body of a `with`, and an exception to end a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class StopForward(Exception):
    """Raised by a hook to end the forward pass once everything requested has been seen."""


def hooked(module: nn.Module, hook: Callable[..., Any], *, before: bool = False) -> RemovableHandle:
    """Call `hook(module, inputs, output)` within the body whenever the module has run.

    before=True calls `hook(module, inputs, named_inputs)` whenever it is about to run. If a hook
    returns a value, this replaces the output, or the inputs.
    """
    if before:
        return module.register_forward_pre_hook(hook, with_kwargs=True)
    return module.register_forward_hook(hook)


@contextmanager
def hooked_all(
    model: nn.Module, hooks: Mapping[str, Callable[..., Any]], *, before: bool = False
) -> Iterator[None]:
    """Hook each module of these names within the body, as in `hooked`."""
    with ExitStack() as stack:
        for name, hook in hooks.items():
            stack.enter_context(hooked(model.get_submodule(name), hook, before=before))
        yield


@contextmanager
def swapped(owner: Any, **values: Any) -> Iterator[None]:
    """Replace some attributes of an object within the body."""
    before = {name: getattr(owner, name) for name in values}
    vars(owner).update(values)
    try:
        yield
    finally:
        vars(owner).update(before)


@contextmanager
def watched(
    model: nn.Module, modules: Sequence[str], n: int
) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Yield {module: its input and output (n, length, width)} of the body's last run of n rows."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def look(name: str, _: nn.Module, inputs: tuple, output: Any) -> None:
        # a block returns a tuple whose first entry is its hidden states
        output = output[0] if isinstance(output, tuple) else output
        output = output.clone()  # falcon adds the attention's output to it in place
        given = inputs[0] if inputs else output
        # opt's MLP sees rows and positions as one dimension
        given, output = (t.detach().reshape(n, -1, t.shape[-1]) for t in (given, output))
        seen[name] = given, output

    with hooked_all(model, {name: partial(look, name) for name in modules}):
        yield seen


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Leave training mode for the body, because dropout would make every answer random."""
    training = [part for part in model.modules() if part.training] if model.training else []
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
