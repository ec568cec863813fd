"""★★ Is one better, or was it luck?

Two editors have written the *same* m streams of facts, and each fact has a value under each. Facts
are easy or hard for both, so look at the differences, fact by fact. And what breaks the model in a
stream breaks it for all of its facts, so the stream is the observation. Take the mean difference of
each stream, and from these m numbers x₁ … x_m their mean and Student's 95 % interval:

    x̄ ± t s / √m,    s² = Σ (xⱼ − x̄)² / (m − 1)

    a, b    lists with a tensor (n,) per stream: the values of A and B for its facts; n may differ
    t       the factor of Student's distribution for m streams
    returns (x̄, low, high), the mean of a − b and the ends of its interval

Hint: how many observations are there, m or the number of all facts?
"""

import torch
from torch import Tensor


def paired(a: list[Tensor], b: list[Tensor], t: float) -> tuple[Tensor, Tensor, Tensor]:
    # solution
    x = torch.stack([(one - other).mean() for one, other in zip(a, b, strict=True)])
    half = t * x.std() / len(x) ** 0.5
    return x.mean(), x.mean() - half, x.mean() + half


# --- checks
from lessons.marking import agree, normal, several, tensor

BODY = (
    "x = torch.stack([(one - other).mean() for one, other in zip(a, b)])\n"
    "half = t * x.std() / len(x) ** 0.5\nreturn x.mean(), x.mean() - half, x.mean() + half"
)
WRONG = [
    (BODY.replace("torch.stack", "torch.cat").replace(".mean() for", " for"), "observation"),
    (
        BODY.replace("x.std()", "(A.var() + B.var()) ** 0.5").replace(
            "half", "A, B = (torch.stack([v.mean() for v in one]) for one in (a, b))\nhalf", 1
        ),
        "fact by fact",
    ),
    (BODY.replace("x.std()", "x.std(correction=0)"), "m − 1"),
    (BODY.replace("t * x", "1.96 * x"), "1.96"),
    (BODY.replace(" / len(x) ** 0.5", ""), "single stream"),
    (BODY.replace("one - other", "other - one"), "turned round"),
    (BODY.replace("(one - other)", "(one - other).abs()"), "signs"),
]


def check(ask, draw):
    t, a, b = 2.776, [], []
    for i, n in enumerate((24, 12, 30, 20, 16)):
        hard = 0.5 + 0.2 * normal(draw, n) + 0.1 * i
        a.append(hard + 0.06 + 0.03 * normal(draw, 1) + 0.08 * normal(draw, n))
        b.append(hard + 0.08 * normal(draw, n))
    found = ask("paired", a, b, t)
    several(found, 3, "Return three numbers: mean, low, high.")
    found = torch.stack([tensor(x, (), "a number") for x in found])
    x = torch.stack([(one - other).mean() for one, other in zip(a, b, strict=True)])
    A, B = (torch.stack([values.mean() for values in one]) for one in (a, b))
    single = torch.cat([one - other for one, other in zip(a, b, strict=True)])

    def ends(mean, s, n=5, t=t):
        return torch.stack([mean, mean - t * s / n**0.5, mean + t * s / n**0.5])

    sizes = torch.stack([(one - other).abs().mean() for one, other in zip(a, b, strict=True)])
    wanted, apart = ends(x.mean(), x.std()), ends(x.mean(), (A.var() + B.var()) ** 0.5)
    likely = {
        "All facts are taken as independent here. What happens to a stream happens to all of its "
        "facts: the stream is the observation.": ends(single.mean(), single.std(), len(single)),
        "The variances of A and B are added, as if they had written other facts: what both share "
        "drops out of differences taken fact by fact.": apart,
        "s² divides by m − 1, as x̄ is itself made from the m numbers.": (
            ends(x.mean(), x.std(correction=0))
        ),
        "1.96 is for an s that is known. From five streams it is known badly, so t is larger.": (
            ends(x.mean(), x.std(), t=1.96)
        ),
        "This says where a single stream lies. How sure is the mean of m?": (
            ends(x.mean(), x.std(), 1)
        ),
        "Divided by m: the mean of m numbers has a standard error of s / √m.": (
            ends(x.mean(), x.std(), 25)
        ),
        "The signs of the differences are lost: where B is ahead, A loses.": (
            ends(sizes.mean(), sizes.std())
        ),
        "The interval lies around 0; it belongs around x̄.": torch.stack(
            [x.mean(), *ends(0 * x.mean(), x.std())[1:]]
        ),
        "This is the mean of all facts: a long stream has more to say. Each stream counts once.": (
            ends(single.mean(), x.std())
        ),
        "s² stands in the place of s.": ends(x.mean(), x.var()),
        "Half of the width is t s / √m on *each* side.": ends(x.mean(), x.std(), t=t / 2),
        "s is that of A's means alone: it is the differences that scatter.": (
            ends(x.mean(), A.std())
        ),
        "Turned round: a − b was asked, and this is b − a.": ends(-x.mean(), x.std()),
    }
    agree(found, wanted, "(mean, low, high)", likely)
    wide = ((apart[2] - apart[1]) / (wanted[2] - wanted[1])).item()
    return f"solved: without the pairs the interval would be {wide:.1f} times as wide."
