"""A first editor, as a starting point: small steps of rank one until the answer is there.

This copies it to my/editor.py, unless that file exists, and tries it:
python -m lessons.leaderboard my/editor.py --start --quick
"""

from __future__ import annotations

from collections.abc import Sequence

import lib

STEP, TURNS = 0.3, 20  # fraction of the output's own length; maximal number of steps


def edit(lm: lib.LM, facts: Sequence[lib.Fact], after: lib.Patch) -> lib.Patch:
    """The patch that holds `facts` and, with some luck, still the facts of `after`."""
    module = lm.mlp_out(2 * lm.n_layers // 3)  # one matrix, two thirds up
    for fact in facts:
        for _ in range(TURNS):
            with lm.patched(after, only=True):
                if lm.score(fact.text, fact.target_new).exp().min() > 0.5:
                    break
                found = lib.keys_values.answer_gradients.read(lm, [fact], [module])[module]
            K, G = found.K.float(), found.G.float()  # (d_in, n), (d_out, n): at answer tokens
            W = lm.weight(module, after).cpu()
            # each answer token asks for v = −c ‖W k‖ g/‖g‖, a step of known length downhill
            V = -STEP * (W @ K).norm(dim=0) * G / G.norm(dim=0).clamp(min=1e-12)
            # Δ = Σ v kᵀ/‖k‖²: an outer product per token. No C, no crosstalk: see notebooks 01, 02
            after = lib.add_low_rank(lm, after, {module: (V, (K / K.square().sum(0)).T)})
    return after
