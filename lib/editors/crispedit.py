"""CrispEdit: fine-tuning in the directions in which general text is flat (Ikram et al., 2026).

AlphaEdit leaves alone the directions that general text reads. CrispEdit also asks which outputs
matter to it. A direction u_i v_jᵀ of a matrix has the curvature s_i a_j (keys_values/curvature.py);
those that hold most of the curvature are forbidden, and Adam goes on in the others. The forms of
one step differ in what is projected:

    grad   Adam(Π(G)), as in the authors' code; Adam's division by each entry's own size leaves the
           flat directions again
    basis  Adam on the coordinates along the flat directions, ΔW = U_s (Y ∘ M) U_aᵀ, inside them
           (ours)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..data.facts import Fact
from ..errors import EditError
from ..keys_values.curvature import Curvature
from ..keys_values.null_space import stored_eigen
from ..keys_values.output_moment import curvatures, stored_pairs
from ..patch.patch import EMPTY, Patch
from ..settings import Layers, Share, Size, setting
from ..stored import Stored
from .shared.base import Editor, mlp_outputs
from .shared.config import Config
from .shared.fine_tuning import train
from .shared.options import EndOfText, EpochSettings, GeneralText

Projection = Literal["grad", "basis"]


@dataclass(frozen=True)
class CrispEditConfig(EpochSettings, GeneralText, EndOfText, Config):
    """Settings of CrispEdit."""

    layers: Layers = setting(
        (19, 20, 21, 22, 23), "Layers whose MLP output projections are trained.", source="paper"
    )
    energy: Share = setting(
        0.99,
        "Share of the curvature of general text whose sharpest directions are forbidden; 0 "
        "forbids the single sharpest one.",
        source="paper",
    )
    project: Projection = setting(
        "basis",
        "What is kept in the flat directions: the gradient before Adam, which leaves them again, "
        "or the coordinates that Adam moves.",
        source="paper",
        published="grad",
    )
    batch_size: Size = 32

    retired: ClassVar[Mapping[str, Any]] = {
        "sequential": False,
        "mix": False,
        "recalculate": None,
        "edit_weight": None,
        "labels": "data",
    }

    @classmethod
    def current(cls, editor: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that this version knows; the published `edit_weight` is accepted too.

        It had no effect but with `sequential`, which is refused.
        """
        if isinstance(settings, Mapping) and settings.get("edit_weight") == 1.0:
            settings = {**settings, "edit_weight": None}
        return super().current(editor, settings)


class CrispEdit(Editor):
    """Fine-tuning of several layers along the directions of low curvature only."""

    name = "crispedit"
    paper = "Ikram et al., CrispEdit, 2026 (arXiv:2602.15823)"
    Config = CrispEditConfig
    config: CrispEditConfig
    speed: ClassVar[Literal["fast", "usual", "slow"]] = "usual"

    def statistics(self, after: Patch = EMPTY) -> list[Stored]:
        """Both second moments of the layers, and the eigenvectors of that of the inputs."""
        c, lm = self.config, self.lm
        inputs, outputs = stored_pairs(lm, list(mlp_outputs(lm, c.layers)), c.text, c.tokens)
        eigen = [stored_eigen(one, lm.device) for one in inputs.values()]
        return [*inputs.values(), *outputs.values(), *eigen]

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Train copies of the layers' matrices on the facts, inside the flat directions."""
        c, lm = self.config, self.lm
        names, flat = mlp_outputs(lm, c.layers), self.curvatures()
        start = [lm.weight(name, after) for name in names.values()]
        adam = FlatAdam(start, list(flat.values()), c.project, c.lr)
        bound = dict(zip(names.values(), adam.weights, strict=True))
        with lm.patched(after, only=True), lm.bind(bound):
            train(self, facts, min(names), adam.weights, adam.step)
        changes = zip(names.values(), start, adam.changes(), strict=True)
        return after.with_weights({n: (W.double() + D).float().cpu() for n, W, D in changes})

    def curvatures(self) -> dict[int, Curvature]:
        """{layer: its curvature} over general text, read on the base model.

        Raises EditError where no direction of a layer is flat.
        """
        c = self.config
        found = curvatures(self.lm, c.layers, c.energy, c.text, c.tokens)
        for layer, one in found.items():
            if not one.flat.any():
                raise EditError(
                    f"energy={c.energy} leaves no direction of layer {layer} to move in: take a "
                    "smaller share"
                )
        return found


class FlatAdam:
    """Adam on several matrices within the flat directions of each.

    weights  the matrices (d_out, d_in), float32, that are trained in place
    moved    what Adam moves: the weights, or with "basis" their coordinates (d_out, d_in)
    """

    def __init__(
        self, start: Sequence[Tensor], flat: Sequence[Curvature], project: Projection, lr: float
    ) -> None:
        self.start, self.flat, self.project = start, flat, project
        # float32 is enough for a step; `changes` computes once more in float64
        self.rounded = [one.to(W) for one, W in zip(flat, start, strict=True)]
        self.weights = [W.clone().requires_grad_() for W in start]
        self.moved = self.weights
        if project == "basis":
            self.moved = [torch.zeros_like(W).requires_grad_() for W in start]
        self.adam = torch.optim.Adam(self.moved, lr=lr)

    @torch.no_grad()
    def step(self) -> None:
        """One step of Adam from the gradients of the weights."""
        parts = list(zip(self.weights, self.moved, self.start, self.rounded, strict=True))
        for W, Y, _, flat in parts:
            assert W.grad is not None
            # ∂L/∂Y = (U_sᵀ G U_a) ∘ M
            Y.grad = flat.coordinates(W.grad) if self.project == "basis" else flat.project(W.grad)
        self.adam.step()
        if self.project == "basis":
            for W, Y, start, flat in parts:
                W.copy_(start + flat.inside(Y))

    def changes(self) -> list[Tensor]:
        """The change Δ (d_out, d_in) of each matrix, float64; "basis" keeps it in the flat ones."""
        if self.project == "grad":
            pairs = zip(self.weights, self.start, strict=True)
            return [W.detach().double() - start.double() for W, start in pairs]
        moved = zip(self.moved, self.flat, strict=True)
        return [flat.to(Y.double()).inside(Y.detach().double()) for Y, flat in moved]
