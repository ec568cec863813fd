"""The frame of an edit that the routed editors (GRACE, HoReN, WISE, LEMoE, MEMOIR) share.

A routed editor leaves the weights as they are and puts a `Route` behind one module. The route
decides at the prompt whether one of its entries answers; everything else stays with the base model.
Every edit has the same frame: `begun` looks for what earlier edits left behind, `without_route` is
the model on which new entries are learned, and `with_route` puts the new route and the editor's
state into the patch. What is learned, and how, stands in each editor's own file.
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
    """Whether `after` holds earlier edits of the editor `name` at `module`, so that it goes on.

    state  the editor's memory of earlier edits, None before the first
    what   name of the thing that it keeps at the module, for the message of an error

    Raises EditError where the earlier edits stand at another module, and where the patch has lost
    the route or the state.
    """
    if state is not None and state.get("module", module) != module:
        raise EditError(f"this patch has its {what} at {state['module']}: edit that layer")
    if state is None and module in after.routes:
        raise EditError(f"this patch has lost what {name} remembered of {module}")
    if state is not None and module not in after.routes:
        raise EditError(f"this patch has lost the {what} at {module}")
    return state is not None


def linear(lm: LM, layer: int, module: str | None) -> str:
    """The name of the linear module of a layer behind which a route shall stand.

    module  its name with `{}` for the layer; None takes the MLP's output projection

    Raises EditError for what is no linear module of this layer, ValueError for an unknown layer.
    """
    mlp_out = lm.mlp_out(layer)  # refuses a layer that is not there
    if module is None:
        return mlp_out
    name = module.format(layer)
    inside = dict(lm.blocks[layer].named_modules(prefix=f"{lm.arch.blocks}.{layer}"))
    if getattr(getattr(inside.get(name), "weight", None), "ndim", 0) != 2:
        raise EditError(f"{name} is no linear module of layer {layer}, as {mlp_out} would be")
    return name


def without_route(after: Patch, module: str) -> Patch:
    """`after` without the route at `module`; the changes of other editors stay.

    Entries are learned on this model, since the old entries must neither change the inputs of the
    new ones nor answer in their place.
    """
    return replace(after, routes={m: route for m, route in after.routes.items() if m != module})


def with_route(
    after: Patch, module: str, route: Route, name: str, state: Mapping[str, Any]
) -> Patch:
    """`after` with the new route at `module` and the new memory of the editor `name`."""
    routes, memory = {**after.routes, module: route}, {**after.memory, name: state}
    return replace(after, routes=routes, memory=memory)


def irrelevant_texts(config: Any) -> Sequence[str]:
    """Texts that must stay with the base model: `config.irrelevant`, or those of irrelevant.txt."""
    return texts.irrelevant() if config.irrelevant is None else config.irrelevant


class CapturedRows:
    """Rows of prompts and answers, of which everything below a layer's MLP is run only once.

    rows     the rows
    replay   the states behind the MLP's output, and how the blocks above go on from them
    inputs   (rows, length, d_in) what the module reads
    output   (rows, length, d_out) what it puts out
    """

    def __init__(
        self, lm: LM, rows: AnswerRows, layer: int, module: str, own: int, watch: Sequence[str] = ()
    ) -> None:
        """Run the rows; the first `own` of them are those of the new facts."""
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
        """NLL (nats) of the answers at the last states: of the own rows the mean, plus that of the
        other rows; each row counts as the mean over its answer.
        """
        row, column, token = self.labels
        log_probs = self.lm.head(states[row, column]).log_softmax(-1)
        return -(log_probs.gather(1, token[:, None])[:, 0] * self.share).sum()


def nearest(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The largest score (m,) of each row of (m, n), and its entry; ties: the smallest index.

    Without an entry it is −1 at entry −1.
    """
    if not scores.shape[1]:
        none = scores.new_full((len(scores),), -1.0)
        return none, none.long()
    best = scores.max(1).values
    return best, (scores == best[:, None]).int().argmax(1)


def add_at(output: Tensor, here: Tensor, moved: Tensor) -> Tensor:
    """A copy of output (rows, length, d) with moved (n, d) added at the n true places of `here`."""
    output = output.clone()
    output[here] = (output[here].float() + moved).to(output.dtype)
    return output


def pack_bits(masks: Tensor) -> Tensor:
    """Bool masks (n, d) as bytes (n, ⌈d / 8⌉), the first entry in the lowest bit."""
    return torch.from_numpy(np.packbits(masks.numpy(), axis=1, bitorder="little"))


def unpack_bits(packed: Tensor, d: int) -> Tensor:
    """The bool masks (n, d) of the bytes that `pack_bits` made."""
    bits = np.unpackbits(packed.numpy(), axis=1, count=d, bitorder="little")
    return torch.from_numpy(bits).bool()


def flat_tuples(name: str, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Tuples of any length as one tensor of numbers and one of sizes, as a file holds them."""
    whole = torch.tensor([number for row in rows for number in row], dtype=torch.long)
    return {name: whole, f"{name}_sizes": torch.tensor([*map(len, rows)], dtype=torch.long)}


def tuples_of(name: str, state: Mapping[str, Any]) -> list[Any]:
    """The tuples that `flat_tuples` was given."""
    numbers = iter(state[name].tolist())
    return [tuple(next(numbers) for _ in range(size)) for size in state[f"{name}_sizes"].tolist()]
