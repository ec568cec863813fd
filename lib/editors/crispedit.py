"""CrispEdit: fine-tuning in the directions in which general text is flat (Ikram et al., 2026).

AlphaEdit avoids the directions that general text reads. CrispEdit also considers which outputs
matter to general text. A direction u_i v_jᵀ of a matrix has the curvature s_i a_j
(keys_values/curvature.py). The directions holding most of the curvature are forbidden, leaving Adam
to move in the others. The forms of a step differ in what they project:

    grad   Adam(Π(G)), as in the authors' code; by dividing by each entry's own size, Adam leaves
           the flat directions again
    basis  Adam on the coordinates along the flat directions, ΔW = U_s (Y ∘ M) U_aᵀ, inside them
           (ours)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from ..computed_once import CachedTensors
from ..data.facts import Fact
from ..errors import EditError
from ..keys_values.curvature import Curvature
from ..keys_values.null_space import stored_eigen
from ..keys_values.output_moment import curvatures, stored_pairs
from ..patch.patch import EMPTY, Patch
from ..setting_fields import Layers, Share, Size, from_paper
from .shared.base import Editor, mlp_outputs
from .shared.config import Config
from .shared.fine_tuning import beside, fact_rows, train
from .shared.shared_settings import EndOfText, EpochSettings, GeneralText


@dataclass(frozen=True)
class CrispEditConfig(EpochSettings, GeneralText, EndOfText, Config):
    """Settings of CrispEdit."""

    layers: Layers = from_paper(
        (19, 20, 21, 22, 23), "Layers whose MLP output projections are trained."
    )
    energy: Share = from_paper(
        0.99,
        "Fraction of the curvature of general text whose sharpest directions are forbidden; 0 "
        "forbids only the single sharpest direction.",
    )
    project: Literal["grad", "basis"] = from_paper(
        "basis",
        "Quantity kept in the flat directions: the gradient before Adam, which leaves them again, "
        "or the coordinates that Adam moves.",
        published="grad",
    )
    batch_size: Size = 32


class CrispEdit(Editor[CrispEditConfig]):
    """Fine-tuning several layers along low-curvature directions only."""

    name = "crispedit"
    title = "CrispEdit"
    paper = "Ikram et al., CrispEdit, 2026 (arXiv:2602.15823)"

    def statistics(self, after: Patch = EMPTY) -> list[CachedTensors]:
        """Return both second moments of the layers, and the eigenvectors of the input moments."""
        c, lm = self.config, self.lm
        inputs, outputs = stored_pairs(lm, list(mlp_outputs(lm, c.layers)), c.text, c.tokens)
        eigen = [stored_eigen(one, lm.device) for one in inputs.values()]
        return [*inputs.values(), *outputs.values(), *eigen]

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Train the layers' matrices on the facts inside the flat directions."""
        c, lm = self.config, self.lm
        names, flat = mlp_outputs(lm, c.layers), self.curvatures()
        start = {name: lm.weight(name, after) for name in names.values()}
        # float32 is precise enough for a step
        flats = {names[layer]: one.to(start[names[layer]]) for layer, one in flat.items()}
        basis = c.project == "basis"
        # what Adam moves: the coordinates Y (d_out, d_in) of each change, or with "grad" the matrix
        made = torch.zeros_like if basis else torch.clone
        leaves = {name: made(W).requires_grad_() for name, W in start.items()}
        adam = torch.optim.Adam(leaves.values(), lr=c.lr)

        def move() -> None:
            for name, W in leaves.items() if not basis else ():
                W.grad = flats[name].project(W.grad)
            adam.step()

        # No step forms ΔW or its gradient: rotating a batch's few tokens into the eigenvectors
        # takes a product for each token, but rotating a matrix takes one for each of its rows
        added = {name: partial(flats[name].moved, Y) for name, Y in leaves.items()}
        with lm.patched(after, only=True), beside(lm, added) if basis else lm.bind(leaves):
            train(self, fact_rows(self, facts), min(names), [*leaves.values()], move)
        found = {name: leaf.detach() for name, leaf in leaves.items()}
        if basis:
            found = {name: start[name] + flats[name].inside(Y) for name, Y in found.items()}
        return after.with_weights({name: W.cpu() for name, W in found.items()})

    def curvatures(self) -> dict[int, Curvature]:
        """Return {layer: its curvature} over general text, computed on the base model.

        Raises EditError if a layer has no flat direction.
        """
        c = self.config
        found = curvatures(self.lm, c.layers, c.energy, c.text, c.tokens)
        for layer, one in found.items():
            if not one.flat.any():
                raise EditError(
                    f"With energy={c.energy}, layer {layer} has no direction left to move in. Use "
                    "a smaller fraction."
                )
        return found
