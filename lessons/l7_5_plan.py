"""★★ Plan the batches

Facts of one batch share an expert and its anchor, so similar facts belong together. Split n facts
into ⌈n / size⌉ batches of at most `size`, and measure how tight the batches are. The plan must not
depend on the order in which the facts arrive.

    plan     centers: the fact nearest to the mean of all, then always the fact that is farthest
             from its nearest center, until there are ⌈n / size⌉
             rounds, ten of them: sort all distances between a fact and a center, and starting from
             the shortest, assign the fact to the center if the fact isn't assigned yet and the
             center isn't full; then move each center to the mean of its facts (an empty center
             stays)
    tight    two means of cosines over pairs of different facts: over pairs in the same batch, and
             over all other pairs

    e (n, d)     one fact per row
    size         how many facts a batch may have
    batches      a list of lists of fact numbers
    plan: returns a list of batches, each a list of numbers from 0 to n − 1
    tight: returns two numbers, within and between

Hint: torch.cdist(e, centers) returns all distances, and divmod(place, number of centers) gives the
fact and the center for a place in the flattened matrix.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def plan(e: Tensor, size: int) -> list[list[int]]:
    # solution
    chosen = [int((e - e.mean(0)).norm(dim=1).argmin())]
    while len(chosen) < -(-len(e) // size):
        chosen.append(int(torch.cdist(e, e[chosen]).min(1).values.argmax()))
    centers = e[chosen]
    for _ in range(10):
        batches = [[] for _ in centers]
        left = set(range(len(e)))
        for flat in torch.cdist(e, centers).flatten().argsort(stable=True).tolist():
            i, c = divmod(flat, len(centers))
            if i in left and len(batches[c]) < size:
                batches[c].append(i)
                left.remove(i)
        means = [e[b].mean(0) if b else m for b, m in zip(batches, centers, strict=True)]
        centers = torch.stack(means)
    return [sorted(batch) for batch in batches if batch]


def tight(e: Tensor, batches: list[list[int]]) -> tuple[Tensor, Tensor]:
    # solution
    unit, owner = normalize(e, dim=1), torch.zeros(len(e), dtype=torch.long)
    for number, batch in enumerate(batches):
        owner[batch] = number
    cosines, same = unit @ unit.T, owner[:, None] == owner
    pairs = ~torch.eye(len(e), dtype=torch.bool)
    return cosines[same & pairs].mean(), cosines[~same].mean()


# --- checks
from lessons.marking import Wrong, agree, mistaken, normal, numbers

LIKELY = {  # message: the pieces of `plan` that the mistake replaces
    "The first facts fill the batches, so the plan depends on their order: sort all distances "
    "together.": {
        "torch.cdist(e, centers).flatten().argsort(stable=True).tolist()": (
            "[i * len(centers) + c for i, row in enumerate(torch.cdist(e, centers))"
            " for c in row.argsort().tolist()]"
        )
    },
    "The centers stay where they began: after each round, move each center to the mean of its "
    "facts.": {"range(10)": "range(1)"},
    "The centers start at the first facts, so the plan depends on their order.": {
        "centers = e[chosen]": "centers = e[: len(chosen)]"
    },
    "The first center is the fact nearest to the mean of all, not the first fact.": {
        "[int((e - e.mean(0)).norm(dim=1).argmin())]": "[0]"
    },
    "The next center is the fact farthest from its nearest center, not from the last center.": {
        "e[chosen]).min(1)": "e[chosen[-1:]]).min(1)"
    },
}
WRONG = [
    ({"plan": "return [list(range(i, min(i + size, len(e)))) for i in range(0, len(e), size)]"},
     "given order"),
    ({" and len(batches[c]) < size": ""}, "at most"),
    ({"left.remove(i)": "pass"}, "two experts"),
    *((pieces, why) for why, pieces in LIKELY.items()),
    ({"centers = e[chosen]": "centers = e[-len(chosen):]"}, "another order"),
    ({".min(1).values.argmax()": ".min(1).values.topk(4).indices[-1]"}, "depend on the order"),
    ({"same & pairs": "same"}, "a fact with itself"),
    ({"normalize(e, dim=1)": "e"}, "cosine"),
    ({"cosines[~same]": "cosines[pairs]"}, "all pairs"),
    ({"return cosines[same & pairs].mean(), cosines[~same].mean()":
      "return cosines[~same].mean(), cosines[same & pairs].mean()"}, "within comes first"),
]  # fmt: skip
SECONDS = 15


def company(batches):
    return sorted(sorted(batch) for batch in batches if batch)


def n_by_n(facts, size):
    return [
        company([[*range(len(e))][i : i + size] for i in range(0, len(e), size)]) for e in facts
    ]


def cost(e, batches):
    return sum((e[b] - e[b].mean(0)).pow(2).sum().item() for b in batches if b)


def check(ask, draw):
    n, size, facts, found = 18, 4, [], []
    for _ in range(12):  # every mistake shows in one of them
        centers = 3 * normal(draw, 4, 3)
        e = centers[torch.tensor([0] * 7 + [1] * 3 + [2] * 5 + [3] * 3)] + normal(draw, n, 3)
        facts.append(e[torch.randperm(n, generator=draw)])
        found.append(asked(ask, facts[-1], size))
    wanted = [company(plan(e, size)) for e in facts]
    if found != wanted:
        if found == n_by_n(facts, size):
            raise Wrong("plan: these are the facts in the given order. Use their positions.")
        for reason, pieces in LIKELY.items():
            other = mistaken(plan, pieces)
            if found == [company(other(e, size)) for e in facts]:
                raise Wrong(f"plan: {reason}")
        theirs, ours = (sum(map(cost, facts, plans)) for plans in (found, wanted))
        more = f"it costs {theirs / ours:.2f} times what ours does."
        for e, batches in zip(facts, found, strict=True):
            turn = torch.randperm(n, generator=draw)
            again = asked(ask, e[turn], size)
            if company([[int(turn[i]) for i in batch] for batch in again]) != batches:
                raise Wrong(f"plan: the same facts in another order get another plan, and {more}")
        raise Wrong(
            "plan: this plan doesn't depend on the order, but it differs from the "
            f"expected plan; {more}"
        )
    e, batches = normal(draw, 9, 5) + 0.5, [[0, 3, 5, 8], [1, 2], [4, 6, 7]]
    e[0] *= 4
    unit = e / e.norm(dim=1, keepdim=True)
    owner = torch.tensor([0, 1, 1, 0, 2, 0, 2, 2, 0])
    same, pairs = owner[:, None] == owner, ~torch.eye(9, dtype=torch.bool)
    every, raw = unit @ unit.T, e @ e.T
    within, between = every[same & pairs].mean(), every[~same].mean()
    apart = torch.stack([every[b][:, b][~torch.eye(len(b), dtype=torch.bool)].mean()
                         for b in batches])  # fmt: skip
    likely = {
        "tight: this includes the pairs of a fact with itself.": (
            torch.stack([every[same].mean(), between])
        ),
        "tight: these are products; a cosine uses unit vectors.": (
            torch.stack([raw[same & pairs].mean(), raw[~same].mean()])
        ),
        "tight: between is over pairs of different batches; here it is over all pairs.": (
            torch.stack([within, every[pairs].mean()])
        ),
        "tight: within comes first, and between second.": torch.stack([between, within]),
        "tight: this is the mean over batches of their means; each pair counts the same.": (
            torch.stack([apart.mean(), between])
        ),
    }
    two = "tight: return two numbers, within and between."
    agree(
        numbers(ask("tight", e, batches), 2, two, "tight"),
        torch.stack([within, between]),
        "tight",
        likely,
    )
    return "solved: similar facts share an expert, in whatever order they arrive."


def asked(ask, e, size):
    found = ask("plan", e, size)
    try:
        found = [[int(i) for i in batch] for batch in found]
    except (TypeError, ValueError):
        raise Wrong("plan: return a list of batches, each a list of numbers.") from None
    for number, batch in enumerate(found):
        if len(batch) > size:
            raise Wrong(
                f"plan: batch {number} has {len(batch)} facts, but it can have at most {size}."
            )
    flat = [i for batch in found for i in batch]
    for i in range(len(e)):
        if flat.count(i) != 1:
            how = "two experts" if flat.count(i) else "no expert"
            raise Wrong(f"plan: fact {i} has {how}.")
    if len(flat) > len(e):
        raise Wrong(f"plan: facts are numbered from 0 to {len(e) - 1}.")
    return company(found)
