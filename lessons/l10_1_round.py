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
from lessons.marking import agree, normal

WRONG = [
    ({"abs().amax(1, keepdim=True)": "abs().max()"}, "each row"),
    ({"abs().amax(1": "abs().amax(0"}, "column"),
    ({"n = 2 ** (b - 1) - 1": "n = 2 ** (b - 1)"}, "one number too many"),
    ({"W.abs().": "W."}, "largest negative"),
    ({"(W / s).round()": "(W / s).floor()"}, "nearest"),
    ({"(W / s).round() * s": "(W / s).round()"}, "back"),
    ({".clamp(min=1e-12) / n": " / n"}, "divide by 0"),
    ({"grouped": "return rounded(W, b)"}, "whole row"),
    ({"grouped": "return rounded(W.T.reshape(-1, size), b).view_as(W.T).T"}, "down the columns"),
    ({"W.reshape(-1, size), b": "W.reshape(size, -1), b"}, "as many groups"),
    ({"shifted": "return grouped(W, b, size)"}, "around 0"),
    ({"low + (": "("}, "add it back"),
    ({"(2**b - 1)": "2**b"}, "one step too many"),
    ({"(2**b - 1)": "(2 ** (b - 1) - 1)"}, "half of the"),
]


def check(ask, draw):
    for b in (4, 8, 3):
        W = normal(draw, 6, 17) * torch.arange(1, 7).double()[:, None]
        W[:, 0] = -9.0 * torch.arange(1, 7)  # the largest of every row is negative
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
            "You use a scale for each column; an output channel is a row.": (
                (W / column).round() * column
            ),
            "n is one number too many: with b bits and a sign, the largest is 2^(b−1) − 1.": (
                (W / wide).round() * wide
            ),
            "You choose the scale by the largest signed entry: a row's largest negative entry "
            "becomes too large a number.": (W / signed).round() * signed,
            "You truncate instead of rounding to the nearest whole number.": (W / s).floor() * s,
            "n has a bit too many: one of the b is for the sign, so the largest is 2^(b−1) − 1.": (
                (W / large).round() * large
            ),
            "You truncate toward 0 instead of rounding to the nearest whole number.": (
                W / s
            ).trunc()
            * s,
            "You round up instead of to the nearest whole number.": (W / s).ceil() * s,
            "b is the number of bits; the largest whole number is 2^(b−1) − 1.": (
                (W * b / most).round() * most / b
            ),
            "You choose the scale by the mean size of a row: its largest entry would not fit.": (
                (W / mean).round() * mean
            ),
            "You round W before dividing it by its scale.": W.round() * s,
            "These are the whole numbers: multiply them by the scale to get back to W's size.": (
                (W / s).round()
            ),
        }
        agree(ask("rounded", W, b), (W / s).round() * s, f"W, {b} bits", likely, note="d_out, d_in")
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
        low = W.reshape(-1, size).amin(1, keepdim=True).expand(-1, size).reshape_as(W)
        likely = {
            "These groups are still centered around 0: where is the offset?": grouped(W, b, size),
            "You subtract the offset and never add it back.": wanted - low,
            "The offset is missing: the smallest entry becomes 0.": levels(W, size, 2**b - 1, 0),
            "This is one step too many: 2^b whole numbers have 2^b − 1 steps between them.": levels(
                W, size, 2**b
            ),
            "This uses only half of the whole numbers: they go from 0 to 2^b − 1.": levels(
                W, size, 2 ** (b - 1) - 1
            ),
        }
        agree(ask("shifted", W, b, size), wanted, "the shifted matrix", likely, note="d_out, d_in")
    alike = torch.ones(1, 8).double()
    agree(ask("shifted", alike, 4, 4), alike, "a group of equal entries")
    return "solved: no entry moves by more than half a step of its row or group, and zeros stay."


def levels(W, size, steps, offset=1):
    groups = W.reshape(-1, size)
    low = groups.amin(1, keepdim=True)
    s = (groups.amax(1, keepdim=True) - low) / steps
    return (offset * low + ((groups - offset * low) / s).round() * s).view_as(W)
