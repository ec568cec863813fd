"""★★★ Worse, or was it chance?

T facts were written one after another. After every edit, the loss of each earlier fact was
measured, so a late edit has many losses and an early one few. Some edits are special, and their
mean loss per pair is larger than that of the others. Could it be chance? If the label *special*
means nothing, it could just as well belong to others. Shuffle it n times, and return the fraction

    p = (1 + how many shuffles have a gap at least as large as the real one) / (n + 1),

in which the real labels count as one more shuffle. The gap is the mean loss of all pairs of special
edits, minus the mean loss of all other pairs.

    losses   (pairs,), the loss of an earlier fact by an edit
    edit     (pairs,), which edit it was, from 0 to T − 1; each edit has at least one pair
    special  (T,), True or False
    shuffle(x)  the entries of x in a random order; call it n times
    returns p, a number

Hint: which label is shuffled, and over what? The pairs of one edit share that edit.
"""

from collections.abc import Callable

from torch import Tensor


def by_chance(losses: Tensor, edit: Tensor, special: Tensor, shuffle: Callable, n: int) -> float:
    # solution
    def gap(special):
        ours = special[edit]  # a label for every pair
        return losses[ours].mean() - losses[~ours].mean()

    real = gap(special)
    return (1 + sum((gap(shuffle(special)) >= real).item() for _ in range(n))) / (n + 1)


# --- checks
import torch

from lessons.marking import Wrong, agree, normal

WRONG = [
    ({"gap(shuffle(special))": "gap_of(shuffle(special[edit]))", "real = gap(special)":
      "def gap_of(ours):\n    return losses[ours].mean() - losses[~ours].mean()\n\n"
      "real = gap(special)"}, "many pairs"),
    ({"ours = special[edit]  # a label for every pair":
      "means = losses.new_tensor([losses[edit == e].mean().item() for e in range(len(special))])",
      "losses[ours].mean() - losses[~ours].mean()":
      "means[special].mean() - means[~special].mean()"}, "per pair"),
    ({">= real": "> real"}, "at least"),
    ({"(1 + sum(": "(sum(", "/ (n + 1)": "/ n"}, "one more shuffle"),
    ({"gap(shuffle(special)) >= real": "gap(shuffle(special)).abs() >= real.abs()"}, "direction"),
    ({">= real": "<= real"}, "at most"),
]  # fmt: skip


def check(ask, draw):
    for chosen in ([2, 7], [4], [3, 5, 6]):
        once(ask, draw, chosen)
    return "solved: the label belongs to the edit, so it is shuffled over edits."


def once(ask, draw, chosen):
    T, n = 9, 60
    edit = torch.arange(T).repeat_interleave(torch.arange(T) + 1)  # later edits have more pairs
    special, seen = torch.zeros(T, dtype=torch.bool), []
    special[chosen] = True
    whole = 1.5 * normal(draw, T) + special  # an edit acts on all of its pairs
    losses = whole[edit] + 0.3 * normal(draw, len(edit))

    def shuffle(x):
        if x.shape != special.shape:
            raise Wrong(
                f"You shuffle {len(x)} labels, one for each pair. One edit has many pairs, and "
                f"what it does to one it may do to all: shuffle the labels of the {T} edits."
            )
        seen.append(x[torch.randperm(T, generator=draw)])
        return seen[-1]

    found = ask("by_chance", losses, edit, special, shuffle, n)
    if len(seen) != n:
        raise Wrong(f"There should be {n} shuffles, but you called `shuffle` {len(seen)} times.")
    if any(one.dtype != torch.bool or one.sum() != special.sum() for one in seen):
        raise Wrong("Shuffle `special`, the labels of the edits, and nothing else.")

    def per_pair(labels):
        ours = labels[edit]
        return losses[ours].mean() - losses[~ours].mean()

    def per_edit(labels):
        means = torch.stack([losses[edit == t].mean() for t in range(T)])
        return means[labels].mean() - means[~labels].mean()

    made, real = torch.stack([per_pair(one) for one in seen]), per_pair(special)
    over_edits = torch.stack([per_edit(one) for one in seen]), per_edit(special)
    likely = {
        "The gap is per pair: an edit with many pairs counts more than one with few.": (
            p(*over_edits)
        ),
        "Count gaps *at least* as large as the real one: an equal gap counts.": (
            (1 + (made > real).sum()) / (n + 1)
        ),
        "The real labels count as one more shuffle, above and below the line: p is never 0.": (
            (made >= real).sum() / n
        ),
        "The real labels count above the line, but not below it.": (1 + (made >= real).sum()) / n,
        "A gap in the other direction doesn't count: are special edits the more harmful ones?": (
            p(made.abs(), real.abs())
        ),
        "You count gaps at most as large as the real one: count those at least as large.": (
            p(-made, -real)
        ),
    }
    agree(found, p(made, real), "p", likely)


def p(made, real):
    """The fraction of the gaps, and of the real one, that are at least as large as it."""
    return (1 + (made >= real - 1e-12).sum()) / (len(made) + 1)
