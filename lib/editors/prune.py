"""PRUNE: bound the singular values of everything written so far (Ma et al., 2025).

With every edit, the condition number of the edited matrix grows, increasingly disturbing general
text. PRUNE shrinks the large singular values of the total update W_T − W_0 using a logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor

from ..data.facts import Fact
from ..patch.patch import LowRank, Patch
from ..setting_fields import from_paper
from .shared.config import Config
from .shared.wrapper import Wrapper


@dataclass(frozen=True)
class PruneConfig(Config):
    """Settings of PRUNE."""

    alpha: Annotated[float, Meta(gt=1, lt=1e18, description="a number above 1")] = from_paper(
        math.e, "Base, above 1, of the logarithm used to shrink large singular values."
    )


class Prune(Wrapper[PruneConfig]):
    """The inner editor's total update, shrunk once.

    A singular value s above σ, the largest of W_0, becomes log_α(s/σ) + σ. The inner editor
    continues from the unshrunk weights, which are kept in the memory. Otherwise, shrinking would be
    applied T times to the first of T edits.
    """

    name = "prune"
    paper = "Ma et al., Perturbation-Restrained Sequential Model Editing, 2025 (arXiv:2405.16821)"

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Write a batch with the inner editor, then W_0 + U diag(s') Vᵀ for each edited module."""
        # the inner editor continues from the weights before any shrinking
        whole = {
            module: value if isinstance(value, Tensor) else LowRank(tuple(map(tuple, value)))
            for module, value in after.memory.get(self.name, {}).items()
        }
        # and from whatever another editor has since added to the shrunk weights; a wrapper of this
        # editor counts as itself
        names = [(line.editor, *line.settings.get("inner", ())[:1]) for line in after.log[-1:]]
        if names and self.name not in names[0]:
            under, shrunk = Patch(weights=whole), self.pruned(whole)
            whole = {
                name: self.lm.weight(name, after).cpu() + self.lm.weight(name, under).cpu() - less
                for name, less in shrunk.items()
            }
        patch = self.wrapped.write(facts, replace(after, weights={**after.weights, **whole}))
        total = {
            module: value
            for module, value in patch.weights.items()
            if module in whole or value is not after.weights.get(module)
        }
        kept = {
            module: value if isinstance(value, Tensor) else value.chunks
            for module, value in total.items()
        }
        return patch.with_weights(self.pruned(total), memory={**patch.memory, self.name: kept})

    def pruned(self, total: Mapping[str, Tensor | LowRank]) -> dict[str, Tensor]:
        """Return {module: W_0 + U diag(s') Vᵀ} for each module's total update."""
        found = {}
        for module, value in total.items():
            W = self.lm.weight(module).cpu()
            # the largest singular value of W_0, using W Wᵀ, which has the size of the module's
            # output
            sigma = torch.linalg.eigvalsh(W.double() @ W.double().mT)[-1].sqrt().item()
            change = value - W if isinstance(value, Tensor) else value
            found[module] = W + shrink(change, sigma, self.config.alpha)
        return found


def shrink(delta: Tensor | LowRank, sigma: float, alpha: float) -> Tensor:
    """Return Δ with singular values s > σ replaced by log_α s − log_α σ + σ, unless that is larger.

    The order of the singular values is preserved. delta = diag(e², 1), sigma 1, alpha e -> diag(3,
    1). For Δ = A B with A = Q_a R_a and Bᵀ = Q_b R_b, only R_a R_bᵀ is decomposed, which is no
    larger than the inner size of A B.
    """
    A, B = delta.joined() if isinstance(delta, LowRank) else (torch.eye(len(delta)), delta)
    (Qa, Ra), (Qb, Rb) = (torch.linalg.qr(side.double()) for side in (A, B.mT))
    U, s, Vh = torch.linalg.svd(Ra @ Rb.mT, full_matrices=False)
    less = torch.minimum(s, (s.clamp(min=1e-30) / sigma).log() / math.log(alpha) + sigma)
    return (Qa @ (U * torch.where(s > sigma, less, s)) @ (Vh @ Qb.mT)).to(A)
