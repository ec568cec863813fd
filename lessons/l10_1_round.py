"""★ Round to a few bits

A smaller machine keeps a matrix as whole numbers. With b bits the whole numbers go from −n to n,
where n = 2^(b−1) − 1. Each row of W (each output channel) has a scale s of its own, chosen so that
the row's largest entry in absolute value becomes n. What the machine computes with is s times the
nearest whole number. A row of zeros stays a row of zeros.

    W  (d_out, d_in)    the matrix
    b                   bits, at least 2
    returns (d_out, d_in)    what the machine computes with

Hint: for b = 2 there are three whole numbers. Which entries of the row [1, 0.4, −0.6] are left?
"""

import torch
from torch import Tensor


def rounded(W: Tensor, b: int) -> Tensor:
    # solution
    n = 2 ** (b - 1) - 1
    s = W.abs().amax(1, keepdim=True).clamp(min=1e-12) / n
    return (W / s).round() * s


# --- checks
from lessons.marking import agree, normal, tensor

BODY = "n = 2 ** (b - 1) - 1\ns = W.abs().amax(1, keepdim=True).clamp(min=1e-12) / n\n"
WRONG = [
    (BODY.replace("amax(1, keepdim=True)", "max()") + "return (W / s).round() * s", "each row"),
    (BODY.replace("amax(1", "amax(0") + "return (W / s).round() * s", "column"),
    (BODY.replace(" - 1\ns", "\ns") + "return (W / s).round() * s", "one number too many"),
    (BODY.replace("W.abs().", "W.") + "return (W / s).round() * s", "largest negative"),
    (BODY + "return (W / s).floor() * s", "nearest"),
    (BODY + "return (W / s).round()", "back"),
    (BODY.replace(".clamp(min=1e-12)", "") + "return (W / s).round() * s", "divided by 0"),
]


def check(ask, draw):
    for b in (4, 8, 3):
        W = normal(draw, 6, 17) * torch.arange(1, 7).double()[:, None]
        W[:, 0] = -9.0 * torch.arange(1, 7)  # the largest of every row is negative
        found = tensor(ask("rounded", W, b), (6, 17), "the rounded matrix", "d_out, d_in")
        n = 2 ** (b - 1) - 1
        s = W.abs().amax(1, keepdim=True) / n
        most, mean = n * s, W.abs().mean(1, keepdim=True) / n
        large = most / (2**b - 1)
        whole = W.abs().max() / n
        column = W.abs().amax(0, keepdim=True) / n
        wide, signed = W.abs().amax(1, keepdim=True) / (n + 1), W.amax(1, keepdim=True) / n
        likely = {
            "One scale for the whole matrix: each row has its own, or small rows vanish.": (
                (W / whole).round() * whole
            ),
            "There is a scale for each column; an output channel is a row.": (
                (W / column).round() * column
            ),
            "n is one number too many: with b bits and a sign, the largest is 2^(b−1) − 1.": (
                (W / wide).round() * wide
            ),
            "The scale goes by the largest entry with its sign: a row's largest negative entry "
            "becomes too large a number.": (W / signed).round() * signed,
            "Cut off, and not rounded to the nearest whole number.": (W / s).floor() * s,
            "n has a bit too many: one of the b is for the sign, so the largest is 2^(b−1) − 1.": (
                (W / large).round() * large
            ),
            "Cut off toward 0, and not rounded to the nearest whole number.": (W / s).trunc() * s,
            "Rounded up, and not to the nearest whole number.": (W / s).ceil() * s,
            "b is the number of bits; the largest whole number is 2^(b−1) − 1.": (
                (W * b / most).round() * most / b
            ),
            "The scale goes by the mean size of a row: its largest entry would not fit.": (
                (W / mean).round() * mean
            ),
            "W is rounded before it is divided by its scale.": W.round() * s,
            "These are the whole numbers: bring them back to W's size by the scale.": (
                (W / s).round()
            ),
        }
        agree(found, (W / s).round() * s, f"the matrix with {b} bits", likely)
    zero = normal(draw, 2, 5)
    zero[1] = 0
    found = tensor(ask("rounded", zero, 4), (2, 5), "a matrix with a row of zeros")
    s = zero[:1].abs().amax() / 7
    agree(found[1], zero[1], "the row of zeros")
    agree(found[0], (zero[0] / s).round() * s, "the other row")
    return "solved: no entry moves by more than half a step of its row, and zeros stay."
