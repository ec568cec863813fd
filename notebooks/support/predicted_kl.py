"""How far an edit moves general text: predicted from its matrices alone, and measured.

To second order, the KL divergence from the base to the edited model, per token of general text, is
half of E[(gᵀ Δ k)²], and with the Kronecker form of the curvature ½ tr(S Δ A Δᵀ) (Ikram et al.,
CrispEdit, 2026; lib/keys_values/curvature.py). The prediction takes inputs and gradients of a layer as
independent, the layers as not interacting, and the tokens of a row as each alone, so it is right up
to a factor at best. `curve` holds it against the KL that is measured, over strengths of one edit:
in both the divergence should grow with the square of the strength.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import kl_div

import lib
from lib import EMPTY, LM, Patch
from lib.data.texts import HELD_OUT
from lib.keys_values.output_moment import moments
from lib.keys_values.second_moment import general_text, windows
from lib.model import activations

STRENGTHS = (0.1, 0.2, 0.5, 1.0)


def predicted(
    lm: LM,
    patch: Patch,
    text: str | Path | None = None,
    tokens: int | None = None,
) -> float:
    """Half of Σ tr(S Δ A Δᵀ) over the patch's matrices: nats per token of general text.

    A and S are those of the base model on the text, as `moments` reads them. Raises PatchError
    where the patch changes anything but output projections of MLPs.
    """
    layers = {lm.mlp_out(layer): layer for layer in range(lm.n_layers)}
    if patch.routes or patch.rewrites:
        raise lib.PatchError("a routed edit has no predicted divergence: it changes no matrix")
    for name in patch.weights:
        if name not in layers:
            raise lib.PatchError(
                f"curvatures are read at output projections of MLPs, not at {name}"
            )
    changed = [layers[name] for name in patch.weights]
    if not changed:
        return 0.0
    total = 0.0
    for layer, (A, S) in moments(lm, changed, text, tokens).items():
        name = lm.mlp_out(layer)
        delta = (lm.weight(name, patch) - lm.weight(name)).cpu().double()  # (d_out, d_in)
        # tr(S Δ A Δᵀ) = Σ (S Δ A) ∘ Δ
        total += float(((S @ delta @ A) * delta).sum())
    return total / 2


def by_window(
    lm: LM, patches: Sequence[Patch], text: str | Path | None = None, tokens: int = 1024
) -> tuple[Tensor, Tensor]:
    """Sums of KL(base ‖ edited) (patches, windows), nats, and the tokens (windows,) in each.

    text    a file; None takes the held-out text of the library, which is in no statistics
    tokens  number of tokens to read; the first of each window is not counted, nor the last

    The base model reads each window once, whatever the number of patches.
    """
    sums, counts = [], []
    for row in windows(lm, general_text(HELD_OUT if text is None else text), tokens):
        base = _log_probs(lm, EMPTY, row)
        column = []
        for patch in patches:
            edited = _log_probs(lm, patch, row)
            column.append(float(kl_div(edited, base, log_target=True, reduction="sum")))
        sums.append(column)
        counts.append(len(base))
    return torch.tensor(sums, dtype=torch.float64).T, torch.tensor(counts)


def curve(
    lm: LM,
    patch: Patch,
    strengths: Sequence[float] = STRENGTHS,
    text: str | Path | None = None,
    tokens: int = 1024,
) -> pd.DataFrame:
    """One row per strength of a patch: strength, predicted and measured nats, and their ratio.

    The prediction is of the library's general text, the measurement of `text` as in `by_window`.
    """
    whole = predicted(lm, patch)
    found, counts = by_window(lm, [lib.scaled(lm, patch, one) for one in strengths], text, tokens)
    means = (found.sum(1) / counts.sum().clamp(min=1)).tolist()
    rows = []
    for strength, nats in zip(strengths, means, strict=True):
        expected = whole * strength**2
        rows.append((strength, expected, nats, nats / expected if expected else float("nan")))
    return pd.DataFrame(rows, columns=["strength", "predicted", "measured", "ratio"])


def _log_probs(lm: LM, patch: Patch, row: list[int]) -> Tensor:
    """Log p (tokens, vocabulary), float64, at all positions of a row but the first and the last."""
    with lm.patched(patch, only=True), torch.no_grad():
        return activations.record(lm, [row]).logits[0, 1:-1].double().log_softmax(-1)
