"""The flash detector on synthetic series."""

from __future__ import annotations

import numpy as np

from lib.workbench.interpret.damage import flash


def test_a_flash_stands_out_of_slow_growth_and_noise():
    draw = np.random.default_rng(0)
    series = np.exp(0.3 * draw.normal(size=1000) + np.linspace(0, 0.5, 1000))
    assert flash(series) == []
    series[[17, 400, 401]] *= 20
    assert flash(series) == [17, 400, 401]
    series[400] = np.inf
    assert flash(series) == [17, 400, 401]
    few = series[:100].copy()
    few[0] = 1e-6  # far below is none
    assert flash(few) == [17]


def test_what_is_no_step_is_no_flash():
    assert flash([1, 1.2, 0.9, 1.1, 40, 1]) == [4]
    assert flash([2.0] * 9 + [2.1]) == [] and flash([2.0] * 9 + [4.0]) == [9]
    assert flash([]) == [] and flash([1, 100]) == [] and flash([float("inf")]) == [0]
    assert flash([0, float("nan"), 1, 1, 1, 1, 0, 99]) == [7]
    assert flash(np.array([1, 1.2, 0.9, 1.1, 40, 1]) * 1e-9) == [4]  # the unit does not matter
