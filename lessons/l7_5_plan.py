"""★★★ Who shares an expert?

Facts of one batch share an expert and its anchor, so like facts belong together. n points are to be
dealt into ⌈n / size⌉ batches of at most `size`. How bad a plan is:

    cost = Σ over batches, Σ over its points i, of ‖e_i − mean of the batch‖²

Find a plan with at most 1.1 times the cost of ours, summed over twelve sets of points. And the plan
must not depend on the order in which the facts come: the same points, shuffled, have to end up in
the same company.

    e (n, d)     one fact per row; n is 18 here
    size         4 here, and the facts come in clumps that are not of this size
    returns a list of batches, each a list of numbers from 0 to n − 1

Investigate: what does "take the first fact and its nearest three" do for the last batches? Where
should centers start, so that no order counts? When all are dealt, can two facts of different
batches change places for the better?
"""

import torch
from torch import Tensor


def plan(e: Tensor, size: int) -> list[list[int]]:
    # solution
    n, d = e.shape
    chosen = [int((e - e.mean(0)).norm(dim=1).argmin())]
    while len(chosen) < -(-n // size):  # always the one farthest from those that were taken
        chosen.append(int(torch.cdist(e, e[chosen]).min(1).values.argmax()))
    centers = e[chosen]
    for _ in range(10):  # the shortest distances first, while there is room
        owner, room = [-1] * n, [size] * len(centers)
        for flat in torch.cdist(e, centers).flatten().argsort(stable=True).tolist():
            i, c = divmod(flat, len(centers))
            if owner[i] < 0 and room[c]:
                owner[i], room[c] = c, room[c] - 1
        batches = [[i for i in range(n) if owner[i] == c] for c in range(len(centers))]
        centers = torch.stack(
            [e[b].mean(0) if b else m for b, m in zip(batches, centers, strict=True)]
        )

    def cost(batch):
        return (e[batch] - e[batch].mean(0)).pow(2).sum().item() if batch else 0.0

    while True:  # the best swap or move, until none helps
        found = []
        for a in range(len(batches)):
            for b in range(len(batches)):
                for i in batches[a]:
                    for j in [*batches[b], *[None] * (len(batches[b]) < size)]:
                        if a == b or (j is not None and a > b):
                            continue
                        one = [x for x in batches[a] if x != i] + [j] * (j is not None)
                        two = [x for x in batches[b] if x != j] + [i]
                        now = cost(batches[a]) + cost(batches[b])
                        found.append((cost(one) + cost(two) - now, a, b, one, two))
        gain, a, b, one, two = min(found)
        if gain > -1e-9:
            return batches
        batches[a], batches[b] = one, two


# --- checks
from lessons.marking import Wrong, normal

CAPPED = (
    "n = len(e)\ncenters = e[{start}]\nfor _ in range(10):\n"
    "    owner = torch.cdist(e, centers).argmin(1)\n"
    "    centers = torch.stack([e[owner == c].mean(0) if (owner == c).any() else centers[c]\n"
    "                           for c in range(len(centers))])\n"
    "return [(owner == c).nonzero()[:, 0].tolist() for c in range(len(centers))]"
)
WRONG = [
    (
        "return [list(range(i, min(i + size, len(e)))) for i in range(0, len(e), size)]",
        "as they came",
    ),
    (
        "left, out = list(range(len(e))), []\nwhile left:\n"
        "    near = sorted(left, key=lambda j: (e[j] - e[left[0]]).norm().item())[:size]\n"
        "    out.append(near)\n    left = [j for j in left if j not in near]\nreturn out",
        "order",
    ),
    (CAPPED.format(start="[i * n // 5 for i in range(5)]"), "room"),
    (
        "rank = e[:, 0].argsort().tolist()\n"
        "return [rank[i : i + size] for i in range(0, len(rank), size)]",
        "times ours",
    ),
]
SECONDS = 15


def cost(e, batches):
    return sum((e[b] - e[b].mean(0)).pow(2).sum().item() for b in batches if b)


def check(ask, draw):
    n, size, theirs, ours = 18, 4, 0.0, 0.0
    for _ in range(12):  # of four, a plan without swaps passes one time in four by luck
        centers = 3 * normal(draw, 4, 3)
        e = centers[torch.tensor([0] * 7 + [1] * 3 + [2] * 5 + [3] * 3)] + normal(draw, n, 3)
        e = e[torch.randperm(n, generator=draw)]
        found = asked(ask, e, size)
        if found == [list(range(i, min(i + size, n))) for i in range(0, n, size)]:
            raise Wrong("These are the facts as they came: look at where they lie.")
        turn = torch.randperm(n, generator=draw)
        again = asked(ask, e[turn], size)
        names = [{int(turn[i]) for i in batch} for batch in again if batch]
        if sorted(map(sorted, names)) != sorted(sorted(b) for b in found if b):
            raise Wrong("The same facts in another order get another plan.")
        theirs, ours = theirs + cost(e, found), ours + cost(e, plan(e, size))
    ratio = theirs / ours
    if ratio > 1.1:
        raise Wrong(
            f"The same plan whatever the order, but it costs {ratio:.2f} times ours. Can two facts "
            "change places for the better?"
        )
    return f"solved: {ratio:.2f} times our cost, and the order does not matter."


def asked(ask, e, size):
    found = ask("plan", e, size)
    try:
        found = [[int(i) for i in batch] for batch in found]
    except (TypeError, ValueError):
        raise Wrong("Return a list of batches, each a list of numbers.") from None
    if sorted(i for batch in found for i in batch) != list(range(len(e))):
        raise Wrong(f"Every number from 0 to {len(e) - 1} should be there once.")
    if max(map(len, found)) > size:
        raise Wrong(f"A batch has {max(map(len, found))} facts, and there is room for {size}.")
    if len([b for b in found if b]) > -(-len(e) // size):
        raise Wrong(f"More batches than needed: {-(-len(e) // size)} hold them all.")
    return found
