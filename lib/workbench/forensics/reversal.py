"""Removing an edit without its base model, given the layer and the reported subject.

The published way drops the largest singular components of the matrix, which in the default model
are the model's own. Here, the directions come from the subject: its keys after several prefixes,
whitened, span a small space that almost contains the edit's own direction, and W is set to zero on
that space. The base matrix on it is also lost, which barely affects general text, because it barely
uses these directions. Most of ‖ΔW‖ remains: only the part read by the subject is removed.

Nothing here restores the base model; doing that requires the base model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...editors.shared.base import add_low_rank
from ...errors import ForensicsError
from ...model.lm import LM
from ...patch.patch import EMPTY, Patch
from .candidates import keys, rows_of

PREFIXES = (
    "{}", "About {}", "I was told about {}", "We talked about {}", "In the case of {}",
    "This is {}", "He said {}", "Yesterday, {}", "A book on {}", "Question: {}", "News: {}",
    "According to {}", "People say that {}", "It is known that {}", "There is {}", "What about {}",
)  # fmt: skip
DAMPING = 1.0  # of the mean eigenvalue of C; see `subject_space`


def subject_space(
    lm: LM,
    layer: int,
    subject: str,
    C: Tensor,
    patch: Patch = EMPTY,
    prefixes: Sequence[str] = PREFIXES,
    damping: float = DAMPING,
) -> Tensor:
    """Return orthonormal directions (d_in, r) by which a layer reads a subject, off general text.

    C         (d_in, d_in) second moment of the layer's keys, undamped
    patch     the suspect is the model under this patch
    prefixes  texts before the subject; each gives a key, and r is at most their number
    damping   multiple of the mean eigenvalue of C on its diagonal. Large values point at the key
              itself, small ones at its part that no general text shares.

    Raises ForensicsError for any damping not greater than zero, and for anything rejected by
    `rows_of`.
    """
    if not damping > 0:
        raise ForensicsError("The damping of a reversal should be positive.")
    rows = [row for prefix in prefixes for row in rows_of(lm, [subject], prefix)]
    K = torch.empty(len(rows), len(C))
    for part, read in keys(lm, rows, [layer], patch):
        K[part] = read[layer]
    damped = C.float() + damping * C.diagonal().mean() * torch.eye(len(C))
    U = torch.linalg.solve(damped, K.T)  # (d_in, prefixes): C⁻¹k of each
    directions, sizes, _ = torch.linalg.svd(U / U.norm(dim=0), full_matrices=False)
    return directions[:, sizes > 1e-4 * sizes[0]]


def removed(
    lm: LM, spaces: Mapping[int, Tensor], patch: Patch = EMPTY, strength: float = 1.0
) -> Patch:
    """Return the suspect without its layers' effect on some directions, as a patch.

    The patch is for the same model.

    spaces    {layer: orthonormal directions B (d_in, r)}
    patch     the suspect is the model under this patch, which the result contains
    strength  β of W̃ = W − β (W B) Bᵀ: 1 removes all of it, 0 restores the suspect through the same
              path, which is the control for every measurement

    The log is unchanged, because removing is not an edit of a fact.
    """
    updates = {}
    for layer, B in spaces.items():
        W = lm.weight(lm.mlp_out(layer), patch).cpu()
        updates[lm.mlp_out(layer)] = (-strength * (W @ B), B.T.contiguous())
    return replace(add_low_rank(lm, patch, updates), base=patch.base or lm.identity)
