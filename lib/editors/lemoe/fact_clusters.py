"""LEMoE's order of facts: batches of neighbors, by a k-means without random numbers.

Facts of one batch share an expert and its anchor. The more alike they are, the easier the anchor is
found by all of them and by none of the others.
"""

from __future__ import annotations

import random
from typing import Literal

import torch
from torch import Tensor

Order = Literal["cluster", "given", "random"]
ROUNDS = 10  # of the k-means, at most


def cluster_facts(e: Tensor, size: int, order: Order = "cluster", seed: int = 0) -> list[list[int]]:
    """Batches of fact numbers, at most `size` each, for points e (n, d); every fact exactly once.

    "cluster" puts neighbors together, with batches in the order of their smallest number; the same
    points always give the same batches. "given" takes facts as they come, "random" shuffles them by
    `seed`.
    cluster_facts([[0.], [10.], [.1], [10.1]], 2) -> [[0, 2], [1, 3]]
    """
    if order not in ("cluster", "given", "random"):
        raise ValueError(f"there is no order '{order}': it is cluster, given or random")
    if size < 1:
        raise ValueError("a batch holds at least one fact")
    numbers = list(range(len(e)))
    if order == "random":
        random.Random(seed).shuffle(numbers)
    if order != "cluster" or len(e) <= size:
        return [numbers[i : i + size] for i in range(0, len(numbers), size)]
    # k-means with room for `size` points per center
    e = e.double()
    centers = spread(e, -(-len(e) // size))
    for _ in range(ROUNDS):
        # every point to a center, then every center into the middle of its points
        owner = assign(e, centers, size)
        some = [owner == c for c in range(len(centers))]
        moved = [e[s].mean(0) if s.any() else centers[c] for c, s in enumerate(some)]
        if torch.equal(torch.stack(moved), centers):
            break
        centers = torch.stack(moved)
    groups = [(owner == c).nonzero()[:, 0].tolist() for c in range(len(centers))]
    return sorted(group for group in groups if group)


def spread(e: Tensor, count: int) -> Tensor:
    """First centers (count, d), which are points of e (n, d) far from each other.

    The point nearest to the mean comes first, then always the one farthest from its nearest center;
    ties: the smallest number.
    """
    chosen = [int((e - e.mean(0)).norm(dim=1).argmin())]
    nearest = (e - e[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (e - e[chosen[-1]]).norm(dim=1))
    return e[chosen]


def assign(e: Tensor, centers: Tensor, size: int) -> Tensor:
    """(n,) int64: a center for each point, with `size` points at most; shortest distances first."""
    # not cdist: its product form rounds equal distances apart
    distance = (e[:, None] - centers[None]).norm(dim=2)
    owner = torch.full((len(e),), -1)
    room, left = [size] * len(centers), len(e)
    order = distance.flatten().sort(stable=True).indices
    for flat in order.tolist():
        i, c = divmod(flat, len(centers))
        if owner[i] < 0 and room[c]:
            owner[i], room[c], left = c, room[c] - 1, left - 1
            if not left:
                break
    return owner
