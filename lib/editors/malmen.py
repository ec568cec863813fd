"""MALMEN: thousands of edits in one update, by a network and a ridge regression (Tan et al., 2024).

Summed outer products of many edits, as in MEND, cancel or pile up. Here each answer token asks for
a shift v = −η ⟨k, k̃⟩ g̃ of the output at its own key k, where a trained network gives k̃ and g̃, and
one regression grants all of them at once (regression.py): ΔW = V Kᵀ(K Kᵀ + λI)⁻¹.
"""

from __future__ import annotations

from .hypernetwork.regression import Regression


class Malmen(Regression):
    """The network learns from single updates of the base model, of `batch` facts each."""

    name = "malmen"
    paper = "Tan et al., Massive Editing for LLMs via Meta Learning, ICLR 2024"
