"""★ Which norm stands out?

A suspect's matrix W is given, and no base model. For each candidate subject somebody has computed
T = ‖W û‖, how far W stretches the candidate's direction. In an unedited layer the T of all
candidates lie close together, and an edited subject lies above them. Say how far each one stands
out, by the robust z: its distance from the median, over 1.4826 times the median of the absolute
distances (for a normal distribution that is one standard deviation). Where more than half of all T
are equal, that median is 0: then every z shall be 0.

    T  (n,), n odd      norms
    returns (n,)        z

Hint: x.median() is the middle one of an odd number of values. Why not mean and standard deviation?
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
    ("return (T - T.mean()) / T.std()", "behind it"),
    ("return away / T.std()", "still the standard deviation"),
    ("return away / away.abs().median()", "1.4826"),
    ("return away.abs() / (1.4826 * away.abs().median())", "sign"),
    ("return away / (1.4826 * away.abs().median())", "divided by 0"),
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
                "Nothing of it is finite: the median of the distances themselves is 0 by "
                "definition. Take that of their absolute values."
            )
        likely = {
            "Mean and standard deviation: the edited candidate makes the spread large by itself, "
            "and hides behind it.": (T - T.mean()) / T.std(),
            "The middle is robust, but the spread is still the standard deviation, which one large "
            "value blows up.": away / T.std(),
            "The factor 1.4826 is missing: without it a z of 1 is no standard deviation.": (
                away * 1.4826 / spread
            ),
            "The spread is the mean of the distances, which one large value moves; take their "
            "median.": away / (1.4826 * away.abs().mean()),
            "The spread is 1.4826 times the median of the distances, and here divided by it.": (
                away * 1.4826 / (spread / 1.4826)
            ),
            "Divided by the median of T: how far apart are norms that nobody edited?": (
                away / T.median()
            ),
            "Nothing is divided: a z says how many standard deviations it is.": away,
            "The distance is that from the mean, which one large value moves.": (
                (T - T.mean()) / (1.4826 * (T - T.mean()).abs().median())
            ),
            "The sign is lost: a norm *below* the others would accuse, too.": away.abs() / spread,
        }
        agree(found, away / spread, "z", likely, note="one per candidate")
    equal = torch.full((7,), 4.4).double()
    equal[2] = 5.0
    found = tensor(ask("stands_out", equal), (7,), "z where most T are equal")
    if found.isfinite().all() and found.max() > 1000:
        raise Wrong(
            "A small number in the divisor makes any difference huge: ask whether the spread is 0."
        )
    agree(found, torch.zeros(7).double(), "z where most T are equal, and their spread is 0")
    return f"solved: the edited one has a z of {(away / spread).max():.0f} among {n} candidates."
