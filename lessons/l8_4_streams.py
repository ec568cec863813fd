"""★★ Is one better, or was it luck?

Two editors have written the *same* m streams of facts, and each fact has a value under each. Facts
are easy or hard for both, so use the differences, fact by fact. An event that breaks the model in a
stream breaks it for all of its facts, so the stream is the observation. Compute the mean difference
of each stream, and from these m numbers x₁ … x_m their mean and Student's 95% interval:

    x̄ ± t s / √m,    s² = Σ (xⱼ − x̄)² / (m − 1)

`paired` computes this for two editors. `unbeaten` compares many: the leader is the editor with the
highest mean, in which each stream counts once. It returns the names of all editors, including the
leader, that the leader is not shown to be ahead of.

    a, b    lists with a tensor (n,) per stream: the values of A and B for its facts; n may differ
    t       the factor of Student's distribution for m streams
    returns (x̄, low, high), the mean of a − b and the ends of its interval

    values  {name of an editor: a list with a tensor per stream}
    ahead   a function of two such lists, as `paired` with its t: (x̄, low, high)
    returns a list of names, in the order of `values`

Hint: how many observations are there, m or the number of all facts? And which end of an interval
has to be on which side of 0, so that the leader is shown to be ahead?
"""

from collections.abc import Callable

import torch
from torch import Tensor


def paired(a: list[Tensor], b: list[Tensor], t: float) -> tuple[Tensor, Tensor, Tensor]:
    # solution
    x = torch.stack([(one - other).mean() for one, other in zip(a, b, strict=True)])
    half = t * x.std() / len(x) ** 0.5
    return x.mean(), x.mean() - half, x.mean() + half


def unbeaten(
    values: dict[str, list[Tensor]],
    ahead: Callable[[list[Tensor], list[Tensor]], tuple[float, float, float]],
) -> list[str]:
    # solution
    means = {name: sum(one.mean() for one in some) / len(some) for name, some in values.items()}
    leader = max(means, key=means.get)
    return [name for name, some in values.items() if ahead(values[leader], some)[1] <= 0]


# --- checks
from lessons.marking import Wrong, agree, mistaken, normal, numbers

APART = (
    "You add the variances of A and B, as if they had written different facts: their common part "
    "cancels in differences fact by fact."
)
OF_A, OF_B = ("torch.stack([v.mean() for v in a])", "torch.stack([v.mean() for v in b])")
PAIRED = {  # message: the pieces of `paired` that the mistake replaces
    "You treat all facts as independent. An event in a stream affects all of its facts: the "
    "stream is the observation.": {
        "torch.stack": "torch.cat",
        ".mean() for one, other": " for one, other",
    },
    APART: {"x.std()": f"({OF_A}.var() + {OF_B}.var()) ** 0.5"},
    "s² divides by m − 1, because x̄ is computed from the same m numbers.": {
        "x.std()": "x.std(correction=0)"
    },
    "1.96 is for a known s. Five streams give a poor estimate of it, so t is larger.": {
        "t * x": "1.96 * x"
    },
    "This is the interval for a single stream. How sure is the mean of m?": {
        " / len(x) ** 0.5": ""
    },
    "You divide by m, but the mean of m numbers has a standard error of s / √m.": {
        "len(x) ** 0.5": "len(x)"
    },
    "The signs of the differences are lost. If B is ahead, A loses.": {
        "(one - other)": "(one - other).abs()"
    },
    "The interval is centered at 0; center it at x̄.": {
        "x.mean() - half, x.mean() + half": "-half, half"
    },
    "This is the mean of all facts, so a long stream counts more. Each stream counts once.": {
        "x.mean()": "torch.cat([one - other for one, other in zip(a, b, strict=True)]).mean()"
    },
    "You use s² instead of s.": {"x.std()": "x.var()"},
    "Half of the width is t s / √m on *each* side.": {"t * x": "t / 2 * x"},
    "√m is the root of all m streams; the 1 is subtracted only in s².": {
        "len(x) ** 0.5": "(len(x) - 1) ** 0.5"
    },
    "This s is from A's means only: use the scatter of the differences.": {
        "x.std()": f"{OF_A}.std()"
    },
    "Reversed: this is b − a; return a − b.": {"one - other": "other - one"},
}
WRONG = [
    *((pieces, why) for why, pieces in PAIRED.items()),
    ({"[1] <= 0": "[0] <= 0"}, "only the leader"),
    ({"[1] <= 0": "[1] > 0"}, "beaten"),
    ({"values[leader], some": "some, values[leader]"}, "reversed"),
    ({"sum(one.mean() for one in some) / len(some)": "torch.cat(some).mean()"},
     "Each stream counts once"),
]  # fmt: skip


def check(ask, draw):
    t, a, b = 2.776, [], []
    for i, n in enumerate((24, 12, 30, 20, 16)):
        hard = 0.5 + 0.2 * normal(draw, n) + 0.1 * i
        a.append(hard + 0.06 + 0.03 * normal(draw, 1) + 0.08 * normal(draw, n))
        b.append(hard + 0.08 * normal(draw, n))
    found = numbers(ask("paired", a, b, t), 3, "Return three numbers: mean, low, high.")
    likely = {why: torch.stack(mistaken(paired, how)(a, b, t)) for why, how in PAIRED.items()}
    wanted, apart = torch.stack(paired(a, b, t)), likely[APART]
    agree(found, wanted, "(mean, low, high)", likely)
    chosen(ask)
    wide = ((apart[2] - apart[1]) / (wanted[2] - wanted[1])).item()
    return f"solved: without the pairs the interval would be {wide:.1f} times as wide."


def chosen(ask):
    """Four editors on three streams; the second is short, and every editor is best in it."""

    def stream(*means):
        sizes = (4, 40, 4)
        return [torch.full((n,), mean).double() for n, mean in zip(sizes, means, strict=True)]

    values = {
        "low": stream(0.1, 0.2, 0.1),
        "near": stream(0.9, 0.5, 0.6),
        "leader": stream(0.8, 0.6, 0.9),
        "long": stream(0.5, 0.8, 0.5),
        "behind": stream(0.6, 0.4, 0.7),
    }
    reads = {
        "These are the editors that the leader is shown to be ahead of: return the others.": [
            "low",
            "behind",
        ],
        "You return only the leader: a lead that may be chance does not beat. Which end decides?": [
            "leader"
        ],
        "The interval is reversed: it should be the interval of the leader minus the other.": [
            *values
        ],
        "This leader has the highest mean over all facts. Each stream counts once.": [
            "near",
            "leader",
            "long",
            "behind",
        ],
    }
    found = ask("unbeaten", values, lambda a, b: paired(a, b, 4.303))
    wanted = unbeaten(values, lambda a, b: paired(a, b, 4.303))
    said = f"the names should be {wanted}, but you returned {found}."
    if found != wanted:
        raise Wrong(f"unbeaten: {next((why for why in reads if reads[why] == found), said)}")
