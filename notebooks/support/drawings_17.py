"""The drawing of notebook 17: where an edit is loud."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lib.workbench.plot.style import BASE, EDITED, INK, QUIET, SMALL, readable

from .figures import arrow, panels, plain


def trace() -> Figure:
    """Draw keys of general text in the plane, a key and its û, and ‖W x‖ over all directions x."""
    turn = np.deg2rad(25)
    axes_of_text = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    C = axes_of_text @ np.diag([1.0, 0.06]) @ axes_of_text.T
    k = axes_of_text @ np.array([0.9, 0.42])
    u = np.linalg.solve(C, k)
    W = np.array([[0.9, 0.2], [-0.2, 0.8], [0, 0]])  # the edit writes what W₀ leaves free
    edited = W + np.outer([0, 0, 1.5], u) / (k @ u)
    figure, (left, right) = panels(2, height=3.3, width_ratios=(1, 1.35))
    text = np.random.default_rng(0).multivariate_normal([0, 0], C, 300)
    left.scatter(*text.T, s=7, color=BASE, alpha=0.55, linewidth=0)
    unit = 1.6 * u / np.linalg.norm(u)
    for end, color, name in ((k, INK, "k"), (unit, EDITED, "û = C⁻¹k/‖C⁻¹k‖")):
        arrow(left, end, color, linewidth=2, mutation_scale=14)
        left.text(*(1.08 * end), name, color=readable(color), va="bottom")
    left.set(xlim=(-2.4, 2.4), ylim=(-2, 2.3), aspect="equal", xticks=[], yticks=[])
    left.spines[:].set_visible(False)
    left.set_title("keys of general text (gray)", fontsize=SMALL)
    angles = np.linspace(0, np.pi, 361)
    x = np.array([np.cos(angles), np.sin(angles)])
    for matrix, color, name in ((W, BASE, "W₀"), (edited, EDITED, "W₀ + Δ")):
        y = np.linalg.norm(matrix @ x, axis=0)
        right.plot(np.rad2deg(angles), y, color=color, linewidth=2)
        right.text(-3, y[0], name, color=readable(color), ha="right", va="center")
    for vector, name in ((axes_of_text[:, 0], "text"), (k, "k"), (u, "û")):
        at = np.rad2deg(np.arctan2(vector[1], vector[0])) % 180
        right.axvline(at, color=QUIET, linewidth=1, linestyle="--")
        right.text(at + 2, 0.03, name, va="bottom")
    right.set(xlim=(0, 180), ylim=(0, None), xticks=(0, 45, 90, 135, 180), yticks=[])
    right.set_xlabel("direction x (degrees)")
    right.set_title("how far it is stretched, ‖W x‖", fontsize=SMALL)
    plain(right)
    return figure
