"""★★ What a search cannot avoid

We count the multiply-adds that ROME's value search needs. Passing a token through a matrix costs
one multiply-add per weight. In a llama of `layers` blocks that is, for one token,

    c = 2 d² + 2 d · kv + 3 d · inner    in each block        h = d · vocabulary    in the head

The search makes `looks` forward passes of `rows` sequences, and after each but the last a backward
pass, which costs the same as its forward pass. In every pass, only the tokens from the subject's
last token on (`tail` of them) go through the blocks *above* the edited layer, and one token of each
row goes through the head: the layers below don't change and are cached. Once, before the first
look, all `length` tokens of each row go through all blocks, and one token through the head.

    shape    {"layers", "d", "inner", "kv", "vocabulary"}
    layer    the edited layer, counted from 0: of 30 layers, 30 − layer − 1 are above it
    returns  multiply-adds, a number

Hint: how many passes do 20 looks need, and which parts of a pass occur once for each row?
"""

import torch


def multiply_adds(shape: dict, layer: int, rows: int, length: int, tail: int, looks: int) -> float:
    # solution
    L, d, inner, kv = (shape[name] for name in ("layers", "d", "inner", "kv"))
    c, h = 2 * d**2 + 2 * d * kv + 3 * d * inner, d * shape["vocabulary"]
    once = rows * (length * L * c + h)
    again = rows * (tail * (L - layer - 1) * c + h)
    return once + (2 * looks - 1) * again


# --- checks
from lessons.marking import agree, mistaken

AGAIN, TIMES = "rows * (tail * (L - layer - 1) * c + h)", "(2 * looks - 1)"
LIKELY = {  # message: the pieces of the solution that the mistake replaces
    "The backward passes are missing, one after each look but the last.": {TIMES: "looks"},
    "Don't add a backward pass after the last look.": {TIMES: "2 * looks"},
    "There are L − layer − 1 blocks above the edited layer.": {"L - layer - 1": "L - layer"},
    "In a look, only the tokens from the subject's last token on go through the blocks.": {
        "tail *": "length *"
    },
    "This runs everything in every pass; the layers below the edited layer are cached.": {
        AGAIN: "once"
    },
    "In every look, one token of each row goes through the head.": {"1) * c + h": "1) * c"},
    "Once, before the first look, everything goes through the whole model.": {"once + ": ""},
    "An MLP of a llama has three matrices: gate, up, down.": {"3 * d * inner": "2 * d * inner"},
    "A look includes each of the rows.": {"rows * (tail": "(tail"},
    "The first pass includes each of the rows.": {"rows * (length": "(length"},
    "In a look, the head reads one token of each row instead of the whole tail.": {
        "1) * c + h": "1) * c + tail * h"
    },
    "Keys and values have the width kv: 2 d² + 2 d · kv.": {"d * kv": "d * d"},
    "There are only looks − 1 backward passes: 2 looks − 1 in all.": {TIMES: "(2 * looks + 1)"},
    "A backward pass costs as much as its forward pass, not twice as much.": {
        TIMES: "(3 * looks - 2)"
    },
    "A look repeats the blocks *above* the edited layer; you count the blocks up to it.": {
        "L - layer - 1": "layer + 1"
    },
    "Before the first look all `length` tokens go through the model, not only the tail.": {
        "length * L": "tail * L"
    },
    "In the first pass, too, one token of each row goes through the head.": {
        "L * c + h": "L * c + length * h"
    },
    "The first pass also goes through the head.": {"L * c + h": "L * c"},
    "You count a multiplication and an addition as two; here they count as one.": {
        f"once + {TIMES} * again": f"2 * (once + {TIMES} * again)"
    },
}
WRONG = [(pieces, why) for why, pieces in LIKELY.items()]


def check(ask, draw):
    small = {"layers": 30, "d": 576, "inner": 1536, "kv": 192, "vocabulary": 49152}
    large = {"layers": 32, "d": 4096, "inner": 14336, "kv": 1024, "vocabulary": 128256}
    for shape, *numbers in ((small, 3, 5, 12, 4, 20), (large, 4, 2, 9, 3, 25)):
        given = shape, *numbers
        likely = {why: mistaken(multiply_adds, how)(*given) for why, how in LIKELY.items()}
        agree(ask("multiply_adds", *given), multiply_adds(*given), "multiply-adds", likely)
    cost = multiply_adds(small, 3, 5, 12, 4, 20)
    return f"solved: {cost / 1e9:.0f} billion for a fact of a small model."
