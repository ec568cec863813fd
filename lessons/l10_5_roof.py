"""★★ Under which roof?

A processor makes at most `peak` multiply-adds in a second and reads at most `bandwidth` bytes, both
at once. Every weight has to be read before it is used, and one reading serves all tokens of a pass.
Say how long a piece of work takes at least, and from how many tokens in a pass on the arithmetic
takes longer than the reading, when each weight has `size` bytes.

    work       multiply-adds
    read       bytes
    returns    (seconds, tokens): two numbers

Hint: two things go on at once. Which of them decides when both are done? And for n tokens that pass
through N weights, how many multiply-adds and how many bytes are that?
"""

import torch


def roof(work: float, read: float, peak: float, bandwidth: float, size: float) -> tuple:
    # solution
    return max(work / peak, read / bandwidth), size * peak / bandwidth


# --- checks
from lessons.marking import agree, several

WRONG = [
    ("return work / peak + read / bandwidth, size * peak / bandwidth", "at once"),
    ("return min(work / peak, read / bandwidth), size * peak / bandwidth", "slower"),
    ("return max(work / peak, read / bandwidth), peak / bandwidth", "bytes of a weight"),
    ("return max(work / peak, read / bandwidth), bandwidth / (size * peak)", "upside down"),
    ("return max(work / peak, read / bandwidth), peak / (size * bandwidth)", "multiplied"),
    ("return max(work / peak, read / bandwidth)", "Two numbers"),
]


def check(ask, draw):
    cases = ((1e12, 5e9, 2e14, 4e12, 2), (4e9, 6e9, 5e10, 2e10, 4))
    for work, read, peak, bandwidth, size in cases:
        found = several(
            ask("roof", work, read, peak, bandwidth, size), 2, "Return two numbers: s, and tokens."
        )
        a, b = work / peak, read / bandwidth
        reasons = {
            "Reading and arithmetic go on at once, so their times do not add.": a + b,
            "The slower of the two decides when both are done.": min(a, b),
            "read is in bytes already: the size of a weight is in it.": max(a, size * b),
            "The seconds come first, then the tokens.": size * peak / bandwidth,
            "peak belongs to multiply-adds, bandwidth to bytes.": max(
                work / bandwidth, read / peak
            ),
            "This is a rate, multiply-adds per second; how long does the work take?": min(
                peak, work / read * bandwidth
            ),
        }
        agree(found[0], max(a, b), "seconds", reasons)
        corner = peak / bandwidth
        reasons = {
            "These are the multiply-adds per byte of this work; from how many tokens on is it "
            "`peak` that decides?": work / read,
            "This is multiply-adds per byte; a token brings one for the bytes of a weight.": corner,
            "It is upside down: more tokens are more arithmetic, and no more reading.": (
                1 / (size * corner)
            ),
            "It is upside down: this is bandwidth / peak.": 1 / corner,
            "The bytes of a weight should be multiplied: larger weights wait longer.": corner
            / size,
        }
        agree(found[1], size * corner, "tokens", reasons)
    return "solved: the slower of the two decides, and tokens share a reading."
