"""The closed forms of the MEMIT family with a weight for each direction of the outputs (ours).

MEMIT and AlphaEdit ask which inputs general text uses, and take all outputs as alike. CrispEdit
(Ikram et al., 2026) also asks which outputs matter to it: S = E[g gᵀ] = Σ s_i u_i u_iᵀ. With S the
problem of MEMIT, min ‖Δ K − R‖² + λ tr(S Δ C Δᵀ), falls apart along the eigenvectors u_i,

    Δ = Σ_i u_i (u_iᵀ R) B_i,

where B_i is MEMIT's own solve with the strength λ s_i. In AlphaEdit each output has a null space of
its own, of the inputs v_j with s_i c_j below the threshold. S is scaled to a mean eigenvalue of
one, so S = I gives back MEMIT and AlphaEdit. Outputs with nearly the same s_i share one solve, that
of the largest of them, so that none is written more freely than its own s_i allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ...errors import EditError
from ...keys_values.output_moment import output_moment
from ...patch.patch import Patch
from ...settings import setting
from .base import add_low_rank
from .chunks import ChunkConfig, Chunked

LEAST = 1e-6  # times the largest s: outputs below it share the last group


@dataclass(frozen=True)
class OutputConfig(ChunkConfig):
    """Settings of a method of the MEMIT family that can weigh directions of the outputs."""

    outputs: Literal["equal", "curvature"] = setting(
        "equal",
        "Whether all directions of a layer's outputs weigh alike, or each by how much general text "
        "minds a change along it, as CrispEdit measures it.",
        source="ours",
    )
    output_groups: int = setting(
        8, "Solves at most, among which the directions of the outputs are shared.", source="ours"
    )

    added: ClassVar[Mapping[str, Any]] = {
        **ChunkConfig.added,
        "outputs": "equal",
        "output_groups": 8,
    }

    def __post_init__(self) -> None:
        """Refuse a number of groups that is none."""
        super().__post_init__()
        if self.output_groups < 1:
            raise EditError(f"output_groups is at least 1, not {self.output_groups}")


class ByOutput(Chunked):
    """The family's loop, in which the setting `outputs` weighs the directions of the outputs."""

    Config = OutputConfig
    config: OutputConfig

    def _put(
        self, patch: Patch, layer: int, R: Tensor, K: Tensor, state: Mapping[str, Any]
    ) -> Patch:
        """`patch` with Δ = Σ_g U_g U_gᵀ R B_g added at one layer, a term for each group."""
        if self.config.outputs == "equal":
            return super()._put(patch, layer, R, K, state)
        R = R.repeat(1, K.shape[1] // R.shape[1]).double()
        s, U = self.output_curvature(layer)
        left, right = [], []
        for own, weight in groups(s, self.config.output_groups):
            part = U[:, own]
            left.append(part @ (part.T @ R))  # (d_out, n)
            right.append(self.weighed(layer, K.double(), state, weight))  # (n, d_in)
        factors = torch.cat(left, 1).float(), torch.cat(right).float()
        return add_low_rank(self.lm, patch, {self.lm.mlp_out(layer): factors})

    def weighed(self, layer: int, K: Tensor, state: Mapping[str, Any], weight: float) -> Tensor:
        """The reach B (n, d_in) of the keys K (d_in, n) for outputs of this weight."""
        raise NotImplementedError

    def output_curvature(self, layer: int) -> tuple[Tensor, Tensor]:
        """Eigenvalues s (d_out,) of S, with mean 1, and eigenvectors U (d_out, d_out), float64."""
        c = self.config
        layers = sorted({*c.layers, layer})  # one pass for all
        S, _ = output_moment(self.lm, layers, c.text, c.tokens)[layer]
        s, U = torch.linalg.eigh(S)
        s = s.clamp(min=0)
        return s / s.mean(), U

    def without(self, patch: Patch, i: int, *, exact: bool = True) -> Patch | None:
        """`Spread.without`; None where outputs are weighed: a line's factors are no keys' then."""
        if any(line.settings.get("outputs", "equal") != "equal" for line in patch.log):
            return None
        return super().without(patch, i, exact=exact)


def groups(s: Tensor, count: int) -> list[tuple[Tensor, float]]:
    """Which of the eigenvalues s (d_out,) share a solve, and its weight, the largest of them.

    The groups are equally wide in log s, from the largest s down to LEAST times it. With as many
    groups as eigenvalues each stands alone.
    """
    if count >= len(s):
        return [(torch.tensor([i]), max(float(x), LEAST)) for i, x in enumerate(s)]
    top = float(s.max())
    if not top > 0:
        raise EditError("general text minds no output of this layer: there is nothing to weigh")
    deep = (s / top).clamp(min=LEAST).log()  # from log LEAST to 0
    least = float(deep.min())
    place = torch.zeros(len(s), dtype=torch.long)
    if least < -1e-9:
        place = (deep / least * count).long().clamp(max=count - 1)
    found = []
    for number in range(count):
        own = (place == number).nonzero()[:, 0]
        if len(own):
            found.append((own, max(float(s[own].max()), LEAST * top)))
    return found
