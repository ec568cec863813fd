"""Flashes: single edits of a stream that move their matrix much further than all others.

Every edit moves its matrix a little further from the base model, which is the buildup. Now and then
one edit moves it much further than all others and ruins the model, which is a flash. The names are
those of WilKE (Hu et al., 2024).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FAR = 5.0  # of the spread of log sizes: beyond it an edit is a flash
MAD = 1.4826  # median absolute deviation -> standard deviation of a normal distribution


def flash(values: Sequence[float]) -> list[int]:
    """The indices of flashes, edits whose step is far above all others.

    An edit is a flash when log(value) > median + 5 s. Here s is 1.4826 times the median
    absolute deviation of the logs, and at least 0.1, so that among nearly equal steps one that is a
    few per cent larger is none. Median and s resist the outliers themselves, up to half of the
    values. Zeros and NaN are left out, and an infinite step always counts. Fewer than four positive
    steps give no flash, since there are no others to compare with.

    values  One size per edit: the norm of its step, or a KL.

    There is about one false alarm in three million edits whose logs are normal.

    flash([1, 1.2, 0.9, 1.1, 40, 1]) -> [4]
    """
    sizes = np.asarray(values, dtype=float)
    usual = np.isfinite(sizes) & (sizes > 0)
    infinite = np.flatnonzero(sizes == np.inf).tolist()
    if usual.sum() < 4:
        return infinite
    logs = np.log(sizes[usual])
    middle = np.median(logs)
    scale = max(MAD * np.median(np.abs(logs - middle)), 0.1)
    far = np.flatnonzero(usual)[logs > middle + FAR * scale]
    return sorted([*far.tolist(), *infinite])
