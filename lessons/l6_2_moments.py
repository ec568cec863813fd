"""★★ Units that settle

UltraEdit standardizes keys and gradients using all columns seen so far. It represents the past by a
state per coordinate: a count n, the mean μ, and the sum of squared deviations S = Σ (x − μ)². Every
turn first merges its own columns into the state, and then uses it to standardize them:

    δ = μ_b − μ_a     μ = μ_a + δ n_b / n     S = S_a + S_b + δ² n_a n_b / n     n = n_a + n_b
    x̂ = (x − μ) / σ,  σ = √(S / (n − 1))

where a is the state so far and b the columns of this turn.

Write `chan`, which merges two states into (n, mean, S), and `settle`, which may call it:

    n: a number, 0 at first     mean (d,)     S (d,), both zero at first     X (d, m), m ≥ 1
    returns (n, mean, S, X̂): the new state, and the columns standardized by it, (d, m)

While n is 1, there is no σ yet: only center. A turn of one column is not an exception: what is its
own S?

Hint: X.mean(1) is (d,); mean[:, None] makes a column of it.
"""

import torch
from torch import Tensor


def chan(
    n_a: int, mean_a: Tensor, S_a: Tensor, n_b: int, mean_b: Tensor, S_b: Tensor
) -> tuple[int, Tensor, Tensor]:
    # solution
    n, shift = n_a + n_b, mean_b - mean_a
    return n, mean_a + shift * n_b / n, S_a + S_b + shift**2 * n_a * n_b / n


def settle(n: int, mean: Tensor, S: Tensor, X: Tensor) -> tuple[int, Tensor, Tensor, Tensor]:
    # solution
    own = X.mean(1)
    inner = (X - own[:, None]).pow(2).sum(1)
    n, mean, S = chan(n, mean, S, X.shape[1], own, inner)
    centered = X - mean[:, None]
    return n, mean, S, centered / (S / (n - 1)).sqrt()[:, None] if n > 1 else centered


# --- checks
from lessons.marking import Wrong, agree, mistaken, normal, number, several

MERGE = "n, mean, S = chan(n, mean, S, X.shape[1], own, inner)"
CHAN = {  # place in the result: message: the pieces of the solution that the mistake replaces
    1: {
        "chan: you weigh the two means equally: weigh them by their counts.": {
            "mean_a + shift * n_b / n": "(mean_a + mean_b) / 2"
        }
    },
    2: {
        "chan: the two means also differ: add δ² n_a n_b / n.": {" + shift**2 * n_a * n_b / n": ""},
        "chan: δ² n_a n_b is divided by n.": {"n_a * n_b / n": "n_a * n_b"},
    },
}
SETTLE = {
    1: {
        "You weigh the two means equally: weigh them by their counts.": {
            MERGE: f"half = (mean + own) / 2; {MERGE}; mean = half"
        },
        "δ has the weight n_a / n here; use the new columns' weight, n_b / n.": {
            MERGE: f"other = mean + (own - mean) * n / (n + X.shape[1]); {MERGE}; mean = other"
        },
    },
    2: {
        "You use deviations inside each part, but the two means also differ: δ² n_a n_b / n.": {
            MERGE: f"both = S + inner; {MERGE}; S = both"
        },
        "δ is not squared: δ² n_a n_b / n.": {
            MERGE: f"S = S + (own - mean - (own - mean) ** 2) * n * X.shape[1] / (n + X.shape[1]); "
            f"{MERGE}"
        },
        "The S of all earlier turns is lost: add this turn's S to it.": {
            MERGE: f"{MERGE}; S = inner"
        },
        "m times the unbiased variance is not Σ (x − μ)²: one column would be NaN, and more "
        "columns count too much.": {
            "(X - own[:, None]).pow(2).sum(1)": (
                "X.var(1, correction=min(1, X.shape[1] - 1)) * X.shape[1]"
            )
        },
    },
    3: {
        "σ² is S over n − 1 here, not over n.": {"S / (n - 1)": "S / n"},
        "σ is the root of S / (n − 1): this is divided by σ².": {".sqrt()": ""},
        "Centered by the mean of this turn; μ is the mean of everything seen so far.": {
            "X - mean[:, None]": "X - own[:, None]"
        },
        "Standardized with the state before this turn; merge first.": {
            "n, mean, S = chan(": "now = chan(",
            "return n, mean, S, ": "return *now, ",
        },
    },
}
WRONG = [
    (how, why) for part in (CHAN, SETTLE) for some in part.values() for why, how in some.items()
]


def check(ask, draw):
    d, scale = 5, torch.tensor([1.0, 10.0, 0.1, 3.0, 1.0]).double()
    (mean_a, mean_b), (S_a, S_b) = normal(draw, 2, d), normal(draw, 2, d).exp()
    given = 3, mean_a, S_a, 5, mean_b, S_b
    found = several(ask("chan", *given), 3, "chan: return three things: n, mean, S.")
    if number(found[0], "n") != 8:
        raise Wrong("chan: 3 columns and 5 more: n should be 8.")
    for place, some in CHAN.items():
        likely = {why: mistaken(chan, how)(*given)[place] for why, how in some.items()}
        agree(found[place], chan(*given)[place], ("n", "chan: μ", "chan: S")[place], likely)
    for sizes in ((3, 1, 6), (1, 4), (2, 1, 1)):
        state = 0, torch.zeros(d).double(), torch.zeros(d).double()
        for t, m in enumerate(sizes):
            given = *state, scale[:, None] * (normal(draw, d, m) + 4 + t)
            found = several(ask("settle", *given), 4, "Return four things: n, mean, S, X̂.")
            alone = "" if m > 1 else " after a turn of one column, whose own S is 0"
            wanted, state = settle(*given), settle(*given)[:3]
            if number(found[0], "n") != state[0]:
                raise Wrong(f"{given[0]} columns and {m} more: n should be {state[0]}.")
            for place, some in SETTLE.items():
                likely = {why: mistaken(settle, how)(*given)[place] for why, how in some.items()}
                note = "one column per column of X" * (place == 3)
                agree(
                    found[place],
                    wanted[place],
                    ("n", "μ", "S", "X̂")[place] + alone,
                    likely,
                    note=note,
                )
    return "solved: any split of the stream into turns leaves the same state."
