"""★ Round to a few bits

A smaller machine stores a matrix as whole numbers. With b bits, the whole numbers go from −n to n,
where n = 2^(b−1) − 1. Write three methods, from the simplest to one that runtimes use.

`rounded`: each row of W (each output channel) has its own scale s, chosen so that the row's largest
entry in absolute value becomes n. The machine computes with s times the nearest whole number. A row
of zeros stays a row of zeros.

`grouped`: one large entry makes the steps of its whole row large. So every `size` neighbors in a
row share a scale, instead of the whole row.

`shifted`: the entries of a group may not be centered around 0. Its smallest entry, the offset,
becomes the whole number 0, and its largest becomes 2^b − 1. So a group has a step and an offset,
and the machine computes with the offset plus the step times the nearest whole number. A group whose
entries are all equal stays unchanged.

    W  (d_out, d_in)    the matrix
    b                   bits, at least 2
    size                of a group; d_in is a multiple of it
    returns (d_out, d_in)    the matrix that the machine computes with

Hint: for b = 2 there are three whole numbers. Which entries of the row [1, 0.4, −0.6] remain? And
`grouped` doesn't need a loop: a matrix of another shape has the groups as its rows.
"""

import torch
from torch import Tensor


def rounded(W: Tensor, b: int) -> Tensor:
    # solution
    n = 2 ** (b - 1) - 1
    s = W.abs().amax(1, keepdim=True).clamp(min=1e-12) / n
    return (W / s).round() * s


def grouped(W: Tensor, b: int, size: int) -> Tensor:
    # solution
    return rounded(W.reshape(-1, size), b).view_as(W)


def shifted(W: Tensor, b: int, size: int) -> Tensor:
    # solution
    groups = W.reshape(-1, size)
    low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
    s = (high - low).clamp(min=1e-12) / (2**b - 1)
    return (low + ((groups - low) / s).round() * s).view_as(W)


# --- checks
from lessons.marking import agree, mistaken, normal

MOST = "W.abs().amax(1, keepdim=True)"
ROUNDED = {  # message: the pieces of the solution that the mistake replaces
    "One scale for the whole matrix: each row has its own, or small rows vanish.": {
        MOST: "W.abs().max()"
    },
    "You use a scale for each column; an output channel is a row.": {"amax(1": "amax(0"},
    "n is one number too many: with b bits and a sign, the largest is 2^(b−1) − 1.": {
        "2 ** (b - 1) - 1": "2 ** (b - 1)"
    },
    "You choose the scale by the largest signed entry: a row's largest negative entry becomes too "
    "large a number.": {"W.abs()": "W"},
    "You truncate instead of rounding to the nearest whole number.": {"round()": "floor()"},
    "n has a bit too many: one of the b is for the sign, so the largest is 2^(b−1) − 1.": {
        "2 ** (b - 1) - 1": "2**b - 1"
    },
    "You truncate toward 0 instead of rounding to the nearest whole number.": {
        "round()": "trunc()"
    },
    "You round up instead of to the nearest whole number.": {"round()": "ceil()"},
    "b is the number of bits; the largest whole number is 2^(b−1) − 1.": {"2 ** (b - 1) - 1": "b"},
    "You choose the scale by the mean size of a row: its largest entry would not fit.": {
        "amax": "mean"
    },
    "You round W before dividing it by its scale.": {"(W / s).round()": "W.round()"},
    "These are the whole numbers: multiply them by the scale to get back to W's size.": {
        "round() * s": "round()"
    },
}
SHIFTED = {
    "These groups are still centered around 0: where is the offset?": {
        "(low + ((groups - low) / s).round() * s).view_as(W)": "grouped(W, b, size)"
    },
    "You subtract the offset and never add it back.": {"low + (": "("},
    "The offset is missing: the smallest entry becomes 0.": {
        "low + ((groups - low) / s)": "(groups / s)"
    },
    "This is one step too many: 2^b whole numbers have 2^b − 1 steps between them.": {
        "(2**b - 1)": "2**b"
    },
    "This uses only half of the whole numbers: they go from 0 to 2^b − 1.": {
        "2**b - 1": "2 ** (b - 1) - 1"
    },
}
WRONG = [
    *((pieces, why) for why, pieces in (ROUNDED | SHIFTED).items()),
    ({".clamp(min=1e-12) / n": " / n"}, "divide by 0"),
    ({"grouped": "return rounded(W, b)"}, "whole row"),
    ({"grouped": "return rounded(W.T.reshape(-1, size), b).view_as(W.T).T"}, "down the columns"),
    ({"W.reshape(-1, size), b": "W.reshape(size, -1), b"}, "as many groups"),
]


def check(ask, draw):
    for b in (4, 8, 3):
        W = normal(draw, 6, 17) * torch.arange(1, 7).double()[:, None]
        W[:, 0] = -9.0 * torch.arange(1, 7)  # the largest of every row is negative
        likely = {why: mistaken(rounded, how)(W, b) for why, how in ROUNDED.items()}
        agree(ask("rounded", W, b), rounded(W, b), f"W, {b} bits", likely, note="d_out, d_in")
    zero = normal(draw, 2, 5)
    zero[1] = 0
    agree(ask("rounded", zero, 4), rounded(zero, 4), "a matrix with a row of zeros")
    for b, size in ((4, 8), (3, 4)):
        W = (
            normal(draw, 5, 16) * torch.arange(1, 17).double() + 3
        )  # different, and not centered around 0
        across = rounded(W.T.reshape(-1, size), b).view_as(W.T).T
        likely = {
            "The whole row still has one scale: `size` neighbors should share one.": rounded(W, b),
            "The groups run down the columns: neighbors in a row share a scale.": across,
            "You use as many groups as a group should have weights.": (
                rounded(W.reshape(size, -1), b).view_as(W)
            ),
        }
        agree(ask("grouped", W, b, size), grouped(W, b, size), "groups", likely, note="d_out, d_in")
        wanted = shifted(W, b, size)
        likely = {why: mistaken(shifted, how)(W, b, size) for why, how in SHIFTED.items()}
        agree(ask("shifted", W, b, size), wanted, "the shifted matrix", likely, note="d_out, d_in")
    alike = torch.ones(1, 8).double()
    agree(ask("shifted", alike, 4, 4), alike, "a group of equal entries")
    return "solved: no entry moves by more than half a step of its row or group, and zeros stay."
