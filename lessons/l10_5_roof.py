"""★★ Under which roof?

A processor makes at most `peak` multiply-adds per second and reads at most `bandwidth` bytes, both
at once. It has to read every weight before using it, and one read serves all tokens of a pass.
Compute the minimum time for a piece of work, and the number of tokens per pass from which the
arithmetic takes longer than the reading, if each weight has `size` bytes.

    work       multiply-adds
    read       bytes
    returns    (seconds, tokens): two numbers

Hint: two things happen at once. Which of them determines when both are done? And if n tokens pass
through N weights, how many multiply-adds and how many bytes is that?
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
    ("return max(work / peak, read / bandwidth), peak / (size * bandwidth)", "Multiply"),
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
            "Reading and arithmetic happen at once, so their times do not add.": a + b,
            "The slower of the two decides when both are done.": min(a, b),
            "read is already in bytes: it includes the size of a weight.": max(a, size * b),
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
            "These are the multiply-adds per byte of this work; from how many tokens on does "
            "`peak` decide?": work / read,
            "This is multiply-adds per byte; a token adds one for the bytes of a weight.": corner,
            "It is upside down: more tokens need more arithmetic, but no more reading.": (
                1 / (size * corner)
            ),
            "It is upside down: this is bandwidth / peak.": 1 / corner,
            "Multiply by the bytes of a weight: larger weights wait longer.": corner / size,
        }
        agree(found[1], size * corner, "tokens", reasons)
    return "solved: the slower of the two decides, and tokens share a read."
