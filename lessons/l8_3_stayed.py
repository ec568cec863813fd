"""★★ Two ways to have stayed

What an edit should leave alone is measured in two ways, and they are not the same:

    specificity   neighborhood prompts (other subjects, same relation): the true answer is still
                  more probable than the edit's new one
    locality      unrelated prompts: the model says what the *base model* said, right or wrong

Both are shares of prompts. Cases have different numbers of prompts, and the unit is the case: first
the mean over a case's prompts, then the mean over cases. Return both.

    p_true, p_new          lists with a tensor (m,) per case: probabilities at neighborhood prompts
    before, after, truth   lists with a tensor (k,) per case: answers (as numbers) of the base model
                           and of the edited one at unrelated prompts, and the right answers
    returns (specificity, locality)

Hint: (a > b).double().mean() is a share. Is a base model that was wrong, and still says the same,
harmed by the edit?
"""

import torch
from torch import Tensor


def stayed(
    p_true: list[Tensor],
    p_new: list[Tensor],
    before: list[Tensor],
    after: list[Tensor],
    truth: list[Tensor],
) -> tuple[Tensor, Tensor]:
    # solution
    near = [(t > n).double().mean() for t, n in zip(p_true, p_new, strict=True)]
    far = [(b == a).double().mean() for b, a in zip(before, after, strict=True)]
    return torch.stack(near).mean(), torch.stack(far).mean()


# --- checks
from lessons.marking import agree, several, tensor

MEANS = (
    "near = [({near}).double().mean() for t, n in zip(p_true, p_new)]\n"
    "far = [({far}).double().mean() for b, a, r in zip(before, after, truth)]\n"
    "return torch.stack(near).mean(), torch.stack(far).mean()"
)
WRONG = [
    (
        "near, far = torch.cat(p_true) > torch.cat(p_new), torch.cat(before) == torch.cat(after)\n"
        "return near.double().mean(), far.double().mean()",
        "unit",
    ),
    (MEANS.format(near="t > n", far="a == r"), "base model"),
    (MEANS.format(near="t > 0.5", far="a == b"), "compare"),
    (MEANS.format(near="n > t", far="a == b"), "taken over"),
    (MEANS.format(near="t > n", far="(b == r) & (a == b)"), "harm"),
]


def check(ask, draw):
    def some(n, low=0.0):
        return low + (1 - low) * torch.rand(n, generator=draw).double()

    def answers(n):
        return torch.randint(0, 5, (n,), generator=draw)

    p_true, p_new, before, after, truth = [], [], [], [], []
    for m in (2, 9, 3, 14, 1):
        p_true.append(some(m) * 0.7)
        p_new.append(some(m) * (0.2 if m > 5 else 0.6))
        before.append(answers(m + 3))
        moved = some(m + 3) < (0.1 if m > 5 else 0.5)
        after.append(torch.where(moved, answers(m + 3), before[-1]))
        # the base is sometimes wrong, and what moved is sometimes right
        truth.append(torch.where(some(m + 3) < 0.4, after[-1].roll(1), after[-1]))
    found = ask("stayed", p_true, p_new, before, after, truth)
    several(found, 2, "Return two numbers: specificity, locality.")
    near, far = (
        tensor(x, (), name) for x, name in zip(found, ("specificity", "locality"), strict=True)
    )

    def mean(rule, *lists):
        return torch.stack([rule(*x).double().mean() for x in zip(*lists, strict=True)]).mean()

    pooled = (torch.cat(p_true) > torch.cat(p_new)).double().mean()
    likely = {
        "This is a mean over all prompts: a case with many prompts counts for many. The unit is "
        "the case.": pooled,
        "Specificity does not ask whether the true answer is likely, but to compare it with the "
        "new one.": mean(lambda t, n: t > 0.5, p_true, p_new),
        "This is the share of neighbors that the edit has taken over.": (
            mean(lambda t, n: n > t, p_true, p_new)
        ),
    }
    agree(near, mean(torch.gt, p_true, p_new), "specificity", likely)
    likely = {
        "Locality compares with what the base model said, not with what is right.": (
            mean(torch.eq, after, truth)
        ),
        "A wrong answer of the base that stays is no harm done: locality does not ask for truth.": (
            mean(lambda b, a, r: (b == r) & (a == b), before, after, truth)
        ),
        "This is a mean over all prompts: the unit is the case.": (
            (torch.cat(before) == torch.cat(after)).double().mean()
        ),
    }
    agree(far, mean(torch.eq, before, after), "locality", likely)
    return f"solved: specificity {near:.0%}, locality {far:.0%}: report both, and name them."
