"""MALMEN: thousands of edits in one update, by a network and a ridge regression (Tan et al., 2024).

Summed outer products of many edits, as in MEND, cancel or pile up. Here each answer token asks for
a shift v = −η ⟨k, k̃⟩ g̃ of the output at its own key k, where a trained network gives k̃ and g̃. One
ridge regression, ΔW = V Kᵀ(K Kᵀ + λI)⁻¹, grants all shifts at once (hypernetwork/regression.py).
"""

from __future__ import annotations

from .hypernetwork.regression import Regression


class Malmen(Regression):
    """MALMEN: its network learns from single updates of the base model, of `batch` facts each."""

    name = "malmen"
    paper = "Tan et al., Massive Editing for LLMs via Meta Learning, ICLR 2024"
