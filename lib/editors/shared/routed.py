"""The editing frame shared by the routed editors (GRACE, HoReN, WISE, LEMoE, MEMOIR).

Instead of changing weights, a routed editor attaches a `Route` to one module. The route decides at
the prompt whether one of its entries answers; everything else stays with the base model. Every edit
has the same frame: `begun` looks for the state of earlier edits, `without_route` is the model for
learning new entries, and `with_route` puts the new route and the editor's state into the patch.
Each editor's own file implements its learning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data import texts
from ...errors import EditError
from ...model.answer_rows import AnswerRows
from ...model.lm import LM
from ...model.partial_forward import Replay
from ...patch.patch import Patch
from ...patch.route import Route


def begun(after: Patch, module: str, name: str, state: Mapping[str, Any] | None, what: str) -> bool:
    """Return whether `after` contains earlier edits of the editor `name` at `module`.

    state  the editor's memory of earlier edits, None before the first
    what   name of the object that it keeps at the module, for error messages

    Raises EditError if the earlier edits are at another module, or if the patch has lost the route
    or the state.
    """
    if state is not None and state.get("module", module) != module:
        raise EditError(f"This patch has its {what} at {state['module']}. Edit that layer.")
    if state is None and module in after.routes:
        raise EditError(f"This patch has lost the state of {name} for {module}.")
    if state is not None and module not in after.routes:
        raise EditError(f"This patch has lost the {what} at {module}.")
    return state is not None


def linear(lm: LM, layer: int, module: str | None) -> str:
    """Return the name of the linear module of a layer for attaching a route.

    module  its name with `{}` for the layer; None uses the MLP's output projection

    Raises EditError if it is not a linear module of this layer, ValueError for an unknown layer.
    """
    mlp_out = lm.mlp_out(layer)  # rejects a missing layer
    if module is None:
        return mlp_out
    name = module.format(layer)
    inside = dict(lm.blocks[layer].named_modules(prefix=f"{lm.arch.blocks}.{layer}"))
    if getattr(getattr(inside.get(name), "weight", None), "ndim", 0) != 2:
        raise EditError(
            f"{name} is not a linear module of layer {layer}. For example, {mlp_out} is."
        )
    return name


def without_route(after: Patch, module: str) -> Patch:
    """Return `after` without the route at `module`, keeping the changes of other editors.

    Entries are learned using this model, preventing the old entries from changing the inputs of the
    new entries or answering in their place.
    """
    return replace(after, routes={m: route for m, route in after.routes.items() if m != module})


def with_route(
    after: Patch, module: str, route: Route, name: str, state: Mapping[str, Any]
) -> Patch:
    """Return `after` with the new route at `module` and the editor `name`'s new memory."""
    routes, memory = {**after.routes, module: route}, {**after.memory, name: state}
    return replace(after, routes=routes, memory=memory)


def irrelevant_texts(config: Any) -> Sequence[str]:
    """Return texts that must stay with the base model: `config.irrelevant`, or irrelevant.txt."""
    return texts.irrelevant() if config.irrelevant is None else config.irrelevant


class CapturedRows:
    """Rows of prompts and answers, running everything below a layer's MLP only once.

    rows     the rows
    replay   the states after the MLP's output, for running the blocks above
    inputs   (rows, length, d_in) the module's inputs
    output   (rows, length, d_out) its outputs
    """

    def __init__(
        self, lm: LM, rows: AnswerRows, layer: int, module: str, own: int, watch: Sequence[str] = ()
    ) -> None:
        """Run the rows; the first `own` of them belong to the new facts."""
        self.lm, self.rows = lm, rows
        with torch.no_grad():
            self.replay = Replay.at_mlp(
                lm, rows.ids, layer, watch=[module, *watch], behind=rows.behind
            )
        self.inputs, self.output = self.replay.seen[module]
        self.labels = self.replay.labels(rows)
        sizes = torch.where(rows.labels[0] < own, own, max(1, len(rows) - own))
        self.share = (rows.share / sizes).float().to(self.replay.device)

    def nll(self, states: Tensor) -> Tensor:
        """Return the NLL (nats) of the answers at the last states.

        It is the mean over the own rows plus the mean over the other rows; each row counts as the
        mean over its answer.
        """
        row, column, token = self.labels
        log_probs = self.lm.head(states[row, column]).log_softmax(-1)
        return -(log_probs.gather(1, token[:, None])[:, 0] * self.share).sum()


def nearest(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest score (m,) of each row of (m, n), and its entry; ties: the smallest index.

    Without an entry, it is −1 at entry −1.
    """
    if not scores.shape[1]:
        none = scores.new_full((len(scores),), -1.0)
        return none, none.long()
    best = scores.max(1).values
    return best, (scores == best[:, None]).int().argmax(1)


def add_at(output: Tensor, here: Tensor, moved: Tensor) -> Tensor:
    """Return a copy of output (rows, length, d) with moved (n, d) added where `here` is true."""
    output = output.clone()
    output[here] = (output[here].float() + moved).to(output.dtype)
    return output


def pack_bits(masks: Tensor) -> Tensor:
    """Return bool masks (n, d) as bytes (n, ⌈d / 8⌉), the first entry in the lowest bit."""
    return torch.from_numpy(np.packbits(masks.numpy(), axis=1, bitorder="little"))


def unpack_bits(packed: Tensor, d: int) -> Tensor:
    """Return the bool masks (n, d) from the bytes of `pack_bits`."""
    bits = np.unpackbits(packed.numpy(), axis=1, count=d, bitorder="little")
    return torch.from_numpy(bits).bool()


def flat_tuples(name: str, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Return tuples of any length as a tensor of numbers and one of sizes, as stored in files."""
    whole = torch.tensor([number for row in rows for number in row], dtype=torch.long)
    return {name: whole, f"{name}_sizes": torch.tensor([*map(len, rows)], dtype=torch.long)}


def tuples_of(name: str, state: Mapping[str, Any]) -> list[Any]:
    """Return the tuples originally passed to `flat_tuples`."""
    numbers = iter(state[name].tolist())
    return [tuple(next(numbers) for _ in range(size)) for size in state[f"{name}_sizes"].tolist()]
