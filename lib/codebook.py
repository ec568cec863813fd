"""GRACE's codebook: keys with a radius each, and the value that answers inside it.

The nearest key decides, then its own radius: a query in a large ball of a farther key, but outside
the small ball of the nearest, is a miss. How entries come to be: `Codebook.write`, the table of
`Aging with GRACE` (Hartvigsen et al., 2023), section 3. No model here, only tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Label = tuple[int, ...]  # the tokens of a target
CLOSEST = 8  # candidates of the product that are measured again
GAP = 1e-5  # what a split leaves between two balls, as published


class Found(NamedTuple):
    """The nearest key of each query, (m,) each: its index, its distance, and its radius."""

    nearest: Tensor
    distance: Tensor
    radius: Tensor

    @property
    def entry(self) -> Tensor:
        """The entry that answers, -1 for none."""
        return torch.where(self.distance <= self.radius, self.nearest, -1)


class Event(NamedTuple):
    """What one fact did: add, expand, split, cover (nothing to do) or replace; to which entry.

    nearest and distance are those before the change, -1 and inf in an empty codebook.
    """

    kind: Literal["add", "expand", "split", "cover", "replace"]
    entry: int
    nearest: int
    distance: float

    @property
    def fresh(self) -> bool:
        """Whether the entry's value begins anew."""
        return self.kind in ("add", "split", "replace")


def lookup(K: Tensor, eps: Tensor, queries: Tensor) -> Found:
    """Nearest columns of K (d_in, n) for queries (m, d_in), all in float32; ties: smallest index.

    One matrix product for all queries. ‖k‖² − 2 k·q loses digits where distances are small against
    the keys, so the best few by it are measured again, as ‖k − q‖.
    """
    queries = queries.float()
    scores = (K * K).sum(0) - 2 * queries @ K  # (m, n), ‖k − q‖² but for ‖q‖²
    return _measured(K, eps, queries, scores)


def _measured(K: Tensor, eps: Tensor, queries: Tensor, scores: Tensor) -> Found:
    few = scores.topk(min(CLOSEST, K.shape[1]), dim=1, largest=False).indices.sort(1).values
    exact = (K.T[few] - queries[:, None]).norm(dim=2)  # (m, few)
    distance, place = exact.min(1)
    place = (exact == distance[:, None]).int().argmax(1)  # min promises no order among equals
    nearest = few.gather(1, place[:, None])[:, 0]
    return Found(nearest, distance, eps[nearest])


@dataclass
class Codebook:
    """K (d_in, n) keys, V (d_out, n) values, eps (n,) radii, float32; labels and facts per entry.

    `write` changes it; the tensors that it was made with are not changed, so a patch that holds
    them stays as it is.
    """

    K: Tensor
    V: Tensor
    eps: Tensor
    labels: list[Label]
    fact_of: list[tuple[int, ...]]

    @classmethod
    def empty(cls, d_in: int, d_out: int) -> Codebook:
        """No entry yet."""
        return cls(torch.empty(d_in, 0), torch.empty(d_out, 0), torch.empty(0), [], [])

    def __len__(self) -> int:
        return len(self.labels)

    def lookup(self, queries: Tensor) -> Found:
        """Nearest entries of queries (m, d_in)."""
        return lookup(self.K, self.eps, queries)

    def write(
        self,
        queries: Tensor,
        labels: Sequence[Label],
        fresh: Tensor,
        facts: Sequence[int],
        *,
        eps_init: float,
        strict: bool = True,
        expand: Literal["coverage", "moving_average"] = "coverage",
        noise: float = 0.0,
    ) -> list[Event]:
        """Facts (m, d_in) with their labels, one after another; `fresh` (m, d_out): first values.

        d is the distance to the nearest key i, of radius ε_i:

            no key, or d > ε_i + eps_init        add     ε = eps_init
            d ≤ ε_i + eps_init, same label       expand  ε_i = d where d > ε_i; "moving_average"
                                                         also moves the key halfway to the query
            d ≤ ε_i + eps_init, another label    split   ε = d/2, ε_i = d/2 − 1e-5

        strict repairs three things in that. A split never enlarges a ball. A query that is the key
        itself, up to rounding (1e-6 of its length, or 4 · noise), replaces label and value (the
        newest fact wins), where the published rule leaves radii of −1e-5 and 0. And a ball expands
        by that rounding beyond the query, which would otherwise lie on its edge and miss it half
        of the time.
        """
        n, m = len(self), len(labels)
        K = torch.cat([self.K, self.K.new_empty(self.K.shape[0], m)], 1)
        V = torch.cat([self.V, self.V.new_empty(self.V.shape[0], m)], 1)
        eps = torch.cat([self.eps, self.eps.new_empty(m)])
        squares = torch.cat([(self.K * self.K).sum(0), self.eps.new_empty(m)])
        labels_of, fact_of, events = list(self.labels), list(self.fact_of), []
        for query, label, value, fact in zip(queries.float(), labels, fresh, facts, strict=True):
            i, d, radius = -1, float("inf"), 0.0
            if n:
                scores = squares[:n] - 2 * query @ K[:, :n]
                found = _measured(K[:, :n], eps[:n], query[None], scores[None])
                i, d, radius = (part.item() for part in found)
            rounding = max(1e-6 * query.norm().item(), 4 * noise) if strict else 0.0
            if d > radius + eps_init:
                kind, at = "add", n
            elif label == labels_of[i]:
                kind, at = "expand" if d + rounding > radius else "cover", i
            elif strict and d <= rounding:
                kind, at = "replace", i
            else:
                kind, at = "split", n
            if at == n:
                K[:, n], squares[n], eps[n] = query, query @ query, eps_init
                labels_of.append(label)
                fact_of.append((fact,))
                n += 1
            elif kind == "replace":
                labels_of[i], fact_of[i] = label, (fact,)
            else:
                fact_of[i] = (*fact_of[i], fact)
            if kind == "expand":
                eps[i] = d + rounding
                if expand == "moving_average":
                    K[:, i] = (K[:, i] + query) / 2
                    squares[i] = K[:, i] @ K[:, i]
            elif kind == "split":
                half = d / 2
                eps[at] = min(eps_init, half) if strict else half
                eps[i] = min(radius, half - GAP) if strict else half - GAP
            event = Event(kind, at, i, d)
            if event.fresh:
                V[:, at] = value
            events.append(event)
        self.K, self.V, self.eps = K[:, :n], V[:, :n], eps[:n]
        self.labels, self.fact_of = labels_of, fact_of
        return events

    def lost(self, noise: float) -> list[int]:
        """Entries whose radius lies under four times the noise of a key: they may miss themselves.

        The same prompt gives slightly different keys alone, padded, and in a batch.
        """
        return (self.eps < 4 * noise).nonzero()[:, 0].tolist()

    def state(self) -> dict[str, Tensor]:
        """Labels and facts as four tensors, which a file holds more easily than tuples."""
        return {**_flat("labels", self.labels), **_flat("facts", self.fact_of)}

    @classmethod
    def of(cls, K: Tensor, V: Tensor, eps: Tensor, state: dict[str, Tensor]) -> Codebook:
        """The codebook with what `state()` gave."""
        return cls(K, V, eps, _tuples("labels", state), _tuples("facts", state))


def _flat(name: str, rows: Sequence[tuple[int, ...]]) -> dict[str, Tensor]:
    whole = torch.tensor([number for row in rows for number in row], dtype=torch.long)
    return {name: whole, f"{name}_sizes": torch.tensor([*map(len, rows)], dtype=torch.long)}


def _tuples(name: str, state: dict[str, Tensor]) -> list[tuple[int, ...]]:
    numbers = iter(state[name].tolist())
    return [tuple(next(numbers) for _ in range(size)) for size in state[f"{name}_sizes"].tolist()]
