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
from lessons.marking import agree

WRONG = [
    ({"(2 * looks - 1)": "looks"}, "backward"),
    ({"(2 * looks - 1)": "2 * looks"}, "after the last look"),
    ({"L - layer - 1": "L - layer"}, "above the edited layer"),
    ({"tail * (L": "length * (L"}, "only the tokens"),
    (
        {"again = rows * (tail * (L - layer - 1) * c + h)": "again = once"},
        "everything in every pass",
    ),
    ({"1) * c + h)": "1) * c)"}, "head"),
    ({"once + ": ""}, "before the first look"),
    ({"3 * d * inner": "2 * d * inner"}, "three matrices"),
    ({"rows * (tail": "(tail"}, "each of the rows"),
]


def count(shape, layer, rows, length, tail, looks, *, passes=None, above=None, mlp=3, head=1,
          once=1, times=None):  # fmt: skip
    L, d = shape["layers"], shape["d"]
    c = 2 * d**2 + 2 * d * shape["kv"] + mlp * d * shape["inner"]
    h = d * shape["vocabulary"]
    whole = rows * (length * L * c + h)
    again = (rows if times is None else times) * (
        tail * (L - layer - 1 if above is None else above) * c + head * h
    )
    return once * whole + (2 * looks - 1 if passes is None else passes) * again


def check(ask, draw):
    small = {"layers": 30, "d": 576, "inner": 1536, "kv": 192, "vocabulary": 49152}
    large = {"layers": 32, "d": 4096, "inner": 14336, "kv": 1024, "vocabulary": 128256}
    for shape, given in ((small, (3, 5, 12, 4, 20)), (large, (4, 2, 9, 3, 25))):
        layer, rows, length, tail, looks = given
        likely = {
            "The backward passes are missing, one after each look but the last.": (
                count(shape, *given, passes=looks)
            ),
            "Don't add a backward pass after the last look.": count(
                shape, *given, passes=2 * looks
            ),
            "There are L − layer − 1 blocks above the edited layer.": count(
                shape, *given, above=shape["layers"] - layer
            ),
            "In a look, only the tokens from the subject's last token on go through the blocks.": (
                count(shape, layer, rows, length, length, looks)
            ),
            "This runs everything in every pass; the layers below the edited layer are cached.": (
                count(shape, -1, rows, length, length, looks)
            ),
            "In every look, one token of each row goes through the head.": (
                count(shape, *given, head=0)
            ),
            "Once, before the first look, everything goes through the whole model.": (
                count(shape, *given, once=0)
            ),
            "An MLP of a llama has three matrices: gate, up, down.": count(shape, *given, mlp=2),
            "A look includes each of the rows.": count(shape, *given, times=1),
            "The first pass includes each of the rows.": count(shape, *given, once=1 / rows),
            "In a look, the head reads one token of each row instead of the whole tail.": (
                count(shape, *given, head=tail)
            ),
            "Keys and values have the width kv: 2 d² + 2 d · kv.": (
                count(shape | {"kv": shape["d"]}, *given)
            ),
            "There are only looks − 1 backward passes: 2 looks − 1 in all.": (
                count(shape, *given, passes=2 * looks + 1)
            ),
            "A backward pass costs as much as its forward pass, not twice as much.": (
                count(shape, *given, passes=3 * looks - 2)
            ),
            "A look repeats the blocks *above* the edited layer; you count the blocks up to it.": (
                count(shape, *given, above=layer + 1)
            ),
            "Before the first look all `length` tokens go through the model, not only the tail.": (
                count(shape, layer, rows, tail, tail, looks)
            ),
            "In the first pass, too, one token of each row goes through the head.": (
                count(shape, *given) + rows * (length - 1) * shape["d"] * shape["vocabulary"]
            ),
            "The first pass also goes through the head.": (
                count(shape, *given) - rows * shape["d"] * shape["vocabulary"]
            ),
            "You count a multiplication and an addition as two; here they count as one.": (
                2 * count(shape, *given)
            ),
        }
        agree(ask("multiply_adds", shape, *given), count(shape, *given), "multiply-adds", likely)
    return f"solved: {count(small, 3, 5, 12, 4, 20) / 1e9:.0f} billion for a fact of a small model."
