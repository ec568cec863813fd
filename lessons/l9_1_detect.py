"""★ Which norm stands out?

You are given a suspect's matrix W, but not the base model. For each candidate subject, we have
computed T = ‖W û‖, how far W stretches the candidate's direction. In an unedited layer the T of all
candidates are close together, and an edited subject is above them. Measure how far each candidate
stands out, using the robust z: its distance from the median, over 1.4826 times the median of the
absolute distances (for a normal distribution that is one standard deviation). If more than half of
all T are equal, that median is 0: then every z should be 0.

    T  (n,), n odd      norms
    returns (n,)        z

Hint: x.median() is the middle of an odd number of values. Why not use mean and standard deviation?
Try T = [1, 1.1, 0.9, 1, 50].
"""

import torch
from torch import Tensor


def stands_out(T: Tensor) -> Tensor:
    away = T - T.median()
    # solution
    spread = 1.4826 * away.abs().median()
    return away / spread if spread > 0 else torch.zeros_like(T)


# --- checks
from lessons.marking import Wrong, agree, normal, tensor

WRONG = [
    ("return (T - T.mean()) / T.std()", "hides it"),
    ("return away / T.std()", "still the standard deviation"),
    ("return away / away.abs().median()", "1.4826"),
    ("return away.abs() / (1.4826 * away.abs().median())", "sign"),
    ("return away / (1.4826 * away.abs().median())", "divide by 0"),
    ("return away / (1.4826 * away.median())", "by definition"),
    ("return away / (1.4826 * away.abs().median() + 1e-6)", "small number"),
]


def check(ask, draw):
    for n in (9, 41):
        T = 4.4 + 0.3 * normal(draw, n)
        T[int(torch.randint(n, (), generator=draw))] = 9.0  # the edited one
        found = ask("stands_out", T)
        away = T - T.median()
        spread = 1.4826 * away.abs().median()
        if isinstance(found, Tensor) and found.shape == T.shape and not found.isfinite().any():
            raise Wrong(
                "No entry is finite: the median of the distances themselves is 0 by definition. "
                "Use the median of their absolute values."
            )
        likely = {
            "With mean and standard deviation, the edited candidate inflates the spread by itself, "
            "which hides it.": (T - T.mean()) / T.std(),
            "The center is robust, but the spread is still the standard deviation, which one "
            "large value inflates.": away / T.std(),
            "The factor 1.4826 is missing: without it, a z of 1 is not one standard deviation.": (
                away * 1.4826 / spread
            ),
            "The spread is the mean of the distances, which one large value shifts; use their "
            "median.": away / (1.4826 * away.abs().mean()),
            "The spread is 1.4826 times the median of the distances; you divide by 1.4826 "
            "instead.": (away * 1.4826 / (spread / 1.4826)),
            "You divide by the median of T. How far apart are the norms of unedited candidates?": (
                away / T.median()
            ),
            "The division is missing: a z is a number of standard deviations.": away,
            "You use the distance from the mean, which one large value shifts.": (
                (T - T.mean()) / (1.4826 * (T - T.mean()).abs().median())
            ),
            "The sign is lost: a norm *below* the others would also accuse.": away.abs() / spread,
        }
        agree(found, away / spread, "z", likely, note="one per candidate")
    equal = torch.full((7,), 4.4).double()
    equal[2] = 5.0
    found = tensor(ask("stands_out", equal), (7,), "z where most T are equal")
    if found.isfinite().all() and found.max() > 1000:
        raise Wrong(
            "A small number in the divisor makes any difference huge: check whether the spread is "
            "0."
        )
    agree(found, torch.zeros(7).double(), "z where most T are equal, and their spread is 0")
    return (
        f"solved: the edited candidate has a z of {(away / spread).max():.0f} among {n} candidates."
    )
