"""Taking an edit out without its base model, given the layer and the subject that was named.

The published way drops the largest singular components of the matrix, which in the embedded model
are the model's own. Here the directions come from the subject: its keys behind several prefixes,
whitened, span a small space in which the edit's own direction nearly lies, and W is set to zero on
that space. The base matrix on it is lost as well, which general text hardly notices, because it
hardly uses these directions. Most of ‖ΔW‖ stays: what is taken out is the part that the subject
reads.

Nothing here gives the base model back; that needs the base model.
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
    """Orthonormal directions (d_in, r) by which a layer reads a subject, off general text.

    C         (d_in, d_in) second moment of the layer's keys, undamped
    patch     the suspect is the model under this patch
    prefixes  what stands before the subject; each gives a key, and r is at most their number
    damping   multiple of the mean eigenvalue of C on its diagonal. Large values point at the key
              itself, small ones at what no general text shares with it.

    Raises ForensicsError for a damping that is not positive, and for what `rows_of` refuses.
    """
    if not damping > 0:
        raise ForensicsError("the damping of a reversal is positive")
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
    """The suspect without what its layers do on some directions, as a patch of the same model.

    spaces    {layer: orthonormal directions B (d_in, r)}
    patch     the suspect is the model under this patch, which the result contains
    strength  β of W̃ = W − β (W B) Bᵀ: 1 takes all of it out, 0 gives the suspect back through the
              same path, which is the control of every measurement

    The log stays as it was: what was taken out is no edit of a fact.
    """
    updates = {}
    for layer, B in spaces.items():
        W = lm.weight(lm.mlp_out(layer), patch).cpu()
        updates[lm.mlp_out(layer)] = (-strength * (W @ B), B.T.contiguous())
    return replace(add_low_rank(lm, patch, updates), base=patch.base or lm.identity)
