"""LEMoE's order of facts: batches of neighbors by the mean input embeddings of their prompts.

Facts of one batch share an expert and its anchor. The more similar they are, the easier it is for
all of them, and none of the others, to find the anchor. A leading BOS does not count. Input
embeddings depend only on the tokens, so edits of the layers above never change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ...data.facts import encode_prompt
from ...data.texts import GENERAL
from ...model.lm import LM

Order = Literal["cluster", "given"]
ROUNDS = 10  # of the k-means, at most
NUMBERS = 10_000_000  # differences between points and centers held at once
CHARACTERS = 40_000  # of the general text, for the mean embedding


def text_means(lm: LM, texts: Sequence[str]) -> Tensor:
    """Return mean input embeddings (n, d) of texts, each read individually, on the CPU."""
    rows, bos = [encode_prompt(lm.tokenizer, text) for text in texts], lm.leading_bos
    rows = [ids[bos is not None and len(ids) > 1 :] for ids in rows]
    each = _embedded(lm, [token for ids in rows for token in ids])
    return torch.stack([part.mean(0) for part in each.split([len(ids) for ids in rows])])


def general_mean(lm: LM) -> Tensor:
    """Return the mean input embedding (d,) of general text, which raw means have in common."""
    text = GENERAL.read_text(encoding="utf-8")[:CHARACTERS]
    return _embedded(lm, lm.tokenizer(text).input_ids).mean(0)


def _embedded(lm: LM, ids: Sequence[int]) -> Tensor:
    """Return the input embeddings (length, d) of token ids, float32 on the CPU."""
    embed = lm.model.get_submodule(lm.arch.embed)
    with torch.no_grad():
        return embed(torch.tensor([ids], device=lm.device))[0].float().cpu()


def cluster_facts(e: Tensor, size: int, order: Order = "cluster") -> list[list[int]]:
    """Return batches of at most `size` fact numbers for points e (n, d), each fact exactly once.

    "cluster" puts neighbors together, ordering batches by their smallest number; the same points
    always give the same batches. "given" uses facts in the given order.
    cluster_facts([[0.], [10.], [.1], [10.1]], 2) -> [[0, 2], [1, 3]]
    """
    if order == "given" or len(e) <= size:
        numbers = range(len(e))
        return [list(numbers[i : i + size]) for i in numbers[::size]]
    # k-means with space for `size` points per center
    e = e.double()
    centers = spread(e, -(-len(e) // size))
    for _ in range(ROUNDS):
        # assign every point to a center, then move every center to the mean of its points
        owner = assign(e, centers, size)
        some = [owner == c for c in range(len(centers))]
        moved = [e[s].mean(0) if s.any() else centers[c] for c, s in enumerate(some)]
        if torch.equal(torch.stack(moved), centers):
            break
        centers = torch.stack(moved)
    groups = [(owner == c).nonzero()[:, 0].tolist() for c in range(len(centers))]
    return sorted(group for group in groups if group)


def spread(e: Tensor, count: int) -> Tensor:
    """Return the first centers (count, d): points of e (n, d) far from each other.

    Starting with the point nearest to the mean, each new center is the point farthest from its
    nearest center, breaking ties by the smallest number.
    """
    chosen = [int((e - e.mean(0)).norm(dim=1).argmin())]
    nearest = (e - e[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (e - e[chosen[-1]]).norm(dim=1))
    return e[chosen]


def assign(e: Tensor, centers: Tensor, size: int) -> Tensor:
    """Return a center for each point, (n,) int64, with at most `size` points per center.

    Shortest distances are assigned first.
    """
    # not cdist: its product form rounds equal distances apart. In parts: for 10,000 points with 625
    # centers and d = 4,096, all differences at once would take 205 GB
    points = max(1, NUMBERS // centers.numel())
    distance = torch.cat([(some[:, None] - centers).norm(dim=2) for some in e.split(points)])
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
