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
from lessons.marking import Wrong, agree, normal, number, several

MERGE = "n, mean, S = chan(n, mean, S, X.shape[1], own, inner)"
WRONG = [
    ({"chan": "return n_a + n_b, (mean_a + mean_b) / 2, S_a + S_b"}, "weigh them"),
    ({MERGE: f"both = S + inner\n{MERGE}\nS = both"}, "means also differ"),
    ({"(X - own[:, None]).pow(2).sum(1)": "X.var(1) * X.shape[1]"}, "one column"),
    ({MERGE: f"half = (mean + own) / 2\n{MERGE}\nmean = half"}, "counts"),
    ({"S / (n - 1)": "S / n"}, "n − 1"),
    ({"n, mean, S = chan(": "now = chan(", "return n, mean, S, ": "return *now, "}, "before"),
]


def check(ask, draw):
    d, scale = 5, torch.tensor([1.0, 10.0, 0.1, 3.0, 1.0]).double()
    (mean_a, mean_b), (S_a, S_b) = normal(draw, 2, d), normal(draw, 2, d).exp()
    found = several(
        ask("chan", 3, mean_a, S_a, 5, mean_b, S_b), 3, "chan: return three things: n, mean, S."
    )
    n, mean, S = chan(3, mean_a, S_a, 5, mean_b, S_b)
    if number(found[0], "n") != n:
        raise Wrong(f"chan: 3 columns and 5 more: n should be {n}.")
    likely = {
        "chan: you weigh the two means equally: weigh them by their counts.": (mean_a + mean_b) / 2
    }
    agree(found[1], mean, "chan: μ", likely)
    likely = {
        "chan: the two means also differ: add δ² n_a n_b / n.": S_a + S_b,
        "chan: δ² n_a n_b is divided by n.": S_a + S_b + (mean_b - mean_a) ** 2 * 15,
    }
    agree(found[2], S, "chan: S", likely)
    for sizes in ((3, 1, 6), (1, 4), (2, 1, 1)):
        n, mean, S = 0, torch.zeros(d).double(), torch.zeros(d).double()
        for t, m in enumerate(sizes):
            X = scale[:, None] * (normal(draw, d, m) + 4 + t)
            found = several(ask("settle", n, mean, S, X), 4, "Return four things: n, mean, S, X̂.")
            alone = "" if m > 1 else " after a turn of one column, whose own S is 0"
            own = X.mean(1)
            total, after, wanted, standard = settle(n, mean, S, X)
            if number(found[0], "n") != n + m:
                raise Wrong(f"{n} columns and {m} more: n should be {n + m}.")
            within = (X - own[:, None]).pow(2).sum(1)
            agree(
                found[1],
                after,
                "μ" + alone,
                {
                    "You weigh the two means equally: weigh them by their counts.": (mean + own)
                    / 2,
                    "δ has the weight n_a / n here; use the new columns' weight, n_b / n.": (
                        mean + (own - mean) * n / (n + m)
                    ),
                },
            )
            slip = S + within * m / max(1, m - 1) + (own - mean) ** 2 * n * m / total
            likely = {
                "You use deviations inside each part, but the two means also differ: δ² n_a n_b / "
                "n.": S + within,
                "δ is not squared: δ² n_a n_b / n.": S + within + (own - mean) * n * m / total,
                "The S of all earlier turns is lost: add this turn's S to it.": within,
                "m times the unbiased variance is not Σ (x − μ)²: one column would be NaN, and "
                "more columns count too much.": slip,
            }
            agree(found[2], wanted, "S" + alone, likely)
            centered = X - after[:, None]
            sigma = (wanted / max(1, total - 1)).sqrt()[:, None] if total > 1 else 1.0
            past = (X - mean[:, None]) / (S / (n - 1)).sqrt()[:, None] if n > 1 else X
            likely = {
                "σ² is S over n − 1 here, not over n.": centered / (wanted / total).sqrt()[:, None],
                "σ is the root of S / (n − 1): this is divided by σ².": centered / sigma**2,
                "Centered by the mean of this turn; μ is the mean of everything seen so far.": (
                    (X - own[:, None]) / sigma
                ),
                "Standardized with the state before this turn; merge first.": (
                    past if n > 1 else X - mean[:, None]
                ),
            }
            agree(found[3], standard, "X̂" + alone, likely, note="one column per column of X")
            n, mean, S = total, after, wanted
    return "solved: any split of the stream into turns leaves the same state."
