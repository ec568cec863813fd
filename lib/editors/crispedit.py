"""CrispEdit: fine-tuning in the directions in which general text is flat (Ikram et al., 2026).

AlphaEdit leaves alone the directions that general text reads. CrispEdit also asks which outputs
matter to it. A direction u_i v_jᵀ of a matrix has the curvature s_i a_j (keys_values/curvature.py);
those that hold most of the curvature are forbidden, and Adam goes on in the others. The forms of
one step differ in what is projected:

    grad    Adam(Π(G)), as in the authors' code; Adam's division by each entry's own size leaves the
            flat directions again
    update  Π(Adam(G)), inside them
    basis   Adam on the coordinates along the flat directions, ΔW = U_s (Y ∘ M) U_aᵀ, inside them
            (ours)

With `sequential` the curvature of the facts written so far is added to that of the text, after
CrispEdit-Seq. There Adam's moments go on from batch to batch; here each call begins anew, because
an edit depends on its facts and on the patch before it alone. With `mix` the keys and gradients of
all facts so far are read anew after each call, as the edited model has them by then. With
`recalculate` the moments of the text are read anew at the start of a call for which an earlier one
has moved a matrix far from the base model's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from .. import memory
from ..data.facts import Fact
from ..errors import EditError
from ..keys_values.answer_gradients import one_pass
from ..keys_values.curvature import Curvature, curvature
from ..keys_values.output_moment import curvatures, moments
from ..model.answer_rows import AnswerRows
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from ..settings import setting
from .shared import epochs, routed
from .shared.base import Editor
from .shared.config import Config

Form = Literal["grad", "update", "basis"]
OUTSIDE = 1e-5  # share of a change's length that rounding may leave outside the flat directions


@dataclass(frozen=True)
class CrispEditConfig(Config):
    """Settings of CrispEdit."""

    layers: tuple[int, ...] = setting(
        (19, 20, 21, 22, 23), "Layers whose MLP output projections are trained.", source="paper"
    )
    energy: float = setting(
        0.99,
        "Share of the curvature of general text whose sharpest directions are forbidden; 0 "
        "forbids the single sharpest one.",
        source="paper",
    )
    project: Form = setting(
        "basis",
        "What is kept in the flat directions: the gradient before Adam, which leaves them again, "
        "the step after it, or the coordinates that Adam moves.",
        source="paper",
        published="grad",
    )
    labels: Literal["data", "sampled"] = setting(
        "data",
        "Tokens whose cross entropy the curvature is of: those of the text, or those drawn from "
        "the model's own prediction.",
        source="paper",
    )
    lr: float = setting(5e-4, "Learning rate of Adam.", source="paper")
    epochs: int = setting(25, "Passes over the facts of a call at most.", source="paper")
    batch_size: int = setting(32, "Number of facts that share one step.", source="paper")
    enough: float = setting(
        1e-2, "Mean loss under which a batch moves nothing and training ends.", source="paper"
    )
    sequential: bool = setting(
        False,
        "Whether the curvature of facts that were written before is added to that of the text.",
        source="paper",
    )
    mix: bool = setting(
        False,
        "Whether facts that were written before are read anew after each call, on the model as it "
        "is edited by then, where their curvature is added.",
        source="paper",
    )
    recalculate: float | None = setting(
        None,
        "Share of its length by which a matrix must have moved from the base model's before the "
        "moments of the text are read anew, on the model as it is edited by then (0.25 in the "
        "paper's option); None never reads them anew.",
        source="paper",
    )
    text: str | None = setting(
        None, "File of general text; None takes the one shipped with the library.", source="paper"
    )
    tokens: int | None = setting(
        None,
        "Tokens of text that are read; None takes ten per input dimension for the inputs and ten "
        "per output dimension for the gradients.",
        source="paper",
    )

    # options of ours

    edit_weight: float | None = setting(
        None,
        "Weight of a token of an earlier fact against one of general text; None gives all facts "
        "together a tenth of the text's weight.",
        source="ours",
        published=1.0,
    )
    target_eos: bool = setting(
        False, "Whether the end of the text is learned as a token after the answer.", source="ours"
    )

    added: ClassVar[Mapping[str, Any]] = {"mix": False, "recalculate": None}


class CrispEdit(Editor):
    """Fine-tuning of several layers along the directions of low curvature only."""

    name = "crispedit"
    paper = "Ikram et al., CrispEdit, 2026 (arXiv:2602.15823)"
    Config = CrispEditConfig
    config: CrispEditConfig
    speed: ClassVar[Literal["fast", "usual", "slow"]] = "usual"

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Train copies of the layers' matrices on the facts, inside the flat directions."""
        c, lm = self.config, self.lm
        names = self.places()
        state = after.memory.get(self.name, {}) if c.sequential else {}
        flat = self.curvatures(state, after)
        pairs = [(fact.text, fact.target_new) for fact in facts]
        rows = AnswerRows.of(lm.tokenizer, pairs, c.target_eos)
        start = [lm.weight(name, after) for name in names.values()]
        steps = FlatAdam(start, list(flat.values()), c.project, c.lr)
        by = epochs.Epochs(c.epochs, c.batch_size, c.enough, c.seed, name=self.name)
        bound = dict(zip(names.values(), steps.weights, strict=True))
        with lm.patched(after, only=True), lm.bind(bound):
            epochs.train(lm, rows, min(names), steps.weights, steps, by)
        new = {}
        for name, W, delta in zip(names.values(), start, steps.changes(), strict=True):
            new[name] = (W.double() + delta).float().cpu()
        patch = after.with_weights(new)
        if not c.sequential:
            return patch
        kept = keep(lm, rows, names, patch, state, c.mix)
        return replace(patch, memory={**patch.memory, self.name: kept})

    def places(self) -> dict[int, str]:
        """{layer: its MLP's output projection}; EditError for layers out of order."""
        layers = self.config.layers
        if list(layers) != sorted(set(layers)):
            raise EditError(f"layers must ascend without repeats, not {layers}")
        return {layer: self.lm.mlp_out(layer) for layer in layers}

    def moved_far(self, after: Patch) -> bool:
        """Whether a patch moves a matrix so far that the text is read anew."""
        if self.config.recalculate is None:
            return False
        weight, share = self.lm.weight, self.config.recalculate
        return any(
            (weight(name, after) - weight(name)).norm() > share * weight(name).norm()
            for name in self.places().values()
            if name in after.weights
        )

    def curvatures(self, state: Mapping[str, Any], after: Patch = EMPTY) -> dict[int, Curvature]:
        """{layer: its curvature}, of the text and of the facts that `state` remembers.

        The text is read on the base model, or under `after` where that has moved far. Raises
        EditError where no direction of a layer is flat.
        """
        c, lm = self.config, self.lm
        given = c.text, c.tokens, c.labels
        again = self.moved_far(after)
        if not state and not again:
            found = curvatures(lm, c.layers, c.energy, *given)
        else:
            found = {}
            for layer, at in moments(lm, c.layers, *given, after if again else None).items():
                if state:
                    K, G = (state[side][str(layer)] for side in ("keys", "grads"))
                    at = at.merged(K, G, int(state["count"]), c.edit_weight)
                found[layer] = curvature(at.A, at.S, c.energy)
        for layer, one in found.items():
            if not one.flat.any():
                raise EditError(
                    f"energy={c.energy} leaves no direction of layer {layer} to move in: take a "
                    "smaller share"
                )
        return found


def keep(
    lm: LM,
    rows: AnswerRows,
    names: Mapping[int, str],
    patch: Patch,
    state: Mapping[str, Any],
    mix: bool = False,
) -> dict[str, Any]:
    """The memory for later batches: keys and gradients at the answers' tokens, once written.

    Only K Kᵀ and G Gᵀ matter, so that no more columns than 5/4 of a width are kept. With `mix` the
    rows of all facts are kept too, and read again. Raises EditError where earlier ones are missing.
    """
    made: dict[str, Any] = {"keys": {}, "grads": {}}
    if mix:
        if state and "prompts" not in state:
            raise EditError(
                "mix needs the facts of earlier calls: write those with mix=True as well"
            )
        old = [routed.tuples_of(side, state) if state else [] for side in ("prompts", "answers")]
        prompts, answers = (
            [*before, *map(tuple, now)]
            for before, now in zip(old, (rows.prompts, rows.answers), strict=True)
        )
        rows, state = AnswerRows(prompts, answers), {}
        made |= routed.flat_tuples("prompts", prompts) | routed.flat_tuples("answers", answers)
    with lm.patched(patch, only=True):
        weight = torch.ones(rows.labels.shape[1])  # the loss is summed, as over the text
        found = one_pass(lm, rows, weight, list(names.values()), 0)
    for layer, name in names.items():
        for side, new in zip(("keys", "grads"), found[name], strict=True):
            before = state.get(side, {}).get(str(layer))
            new = new.cpu() if before is None else torch.cat([before, new.cpu()], 1)
            made[side][str(layer)] = memory.compressed(new)
    return {**made, "count": int(state.get("count", 0)) + rows.labels.shape[1]}


class FlatAdam:
    """Adam on several matrices within the flat directions of each.

    weights  the matrices (d_out, d_in), float32, that are trained in place
    """

    def __init__(
        self, start: Sequence[Tensor], flat: Sequence[Curvature], project: Form, lr: float
    ) -> None:
        self.start, self.flat, self.project = start, flat, project
        # float32 is enough for a step; `changes` projects once more in float64
        self.near = [one.to(W) for one, W in zip(flat, start, strict=True)]
        self.weights = [W.clone().requires_grad_() for W in start]
        self.moved = self.weights
        if project == "basis":  # Adam moves coordinates along the flat directions
            self.moved = [torch.zeros_like(W).requires_grad_() for W in start]
        self.adam = torch.optim.Adam(self.moved, lr=lr)

    @torch.no_grad()
    def step(self) -> None:
        """One step of Adam from the gradients of the weights."""
        parts = list(zip(self.weights, self.moved, self.start, self.near, strict=True))
        for W, Y, _, near in parts:
            assert W.grad is not None
            if self.project == "grad":
                W.grad = near.project(W.grad)
            elif self.project == "basis":
                Y.grad = near.coordinates(W.grad)  # ∂L/∂Y = (U_sᵀ G U_a) ∘ M
        self.adam.step()
        for W, Y, start, near in parts:
            if self.project == "update":
                W.copy_(start + near.project(W - start))
            elif self.project == "basis":
                W.copy_(start + near.inside(Y))

    def changes(self) -> list[Tensor]:
        """The change Δ (d_out, d_in) of each matrix, float64.

        But for "grad" it lies in the flat directions up to the share OUTSIDE of its length; raises
        EditError where it does not.
        """
        found = []
        for W, Y, start, flat in zip(self.weights, self.moved, self.start, self.flat, strict=True):
            wide = flat.to(start.double())
            if self.project == "grad":
                found.append(W.detach().double() - start.double())
                continue
            if self.project == "basis":
                delta = wide.inside(Y.detach().double())
            else:
                delta = wide.project(W.detach().double() - start.double())
            if (wide.project(delta) - delta).norm() > OUTSIDE * delta.norm():
                raise EditError("crispedit left the flat directions; nothing was changed")
            found.append(delta)
        return found
