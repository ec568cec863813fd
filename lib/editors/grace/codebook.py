"""GRACE's codebook: a list of entries, each answering the queries near its key.

An entry has a key (a point in the space of a module's inputs), a value (the desired output there),
and a deferral radius: the distance from the key up to which the entry answers and beyond which it
defers to the model. Only the nearest key decides, making a query outside the small ball of its
nearest key a miss, even if it is in the large ball of a key farther away.

The table in `Codebook.write` shows how a new fact adds, expands or splits entries, following "Aging
with GRACE" (Hartvigsen et al., 2023), section 3. There is no model here, only tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..shared.routed import flat_tuples, tuples_of

Label = Sequence[int]  # the tokens of a target
GAP = 1e-5  # gap that a split leaves between two balls, as published


class Found(NamedTuple):
    """The nearest key of each of m queries.

    nearest   (m,): its index among the entries
    distance  (m,): its distance from the query
    radius    (m,): its deferral radius
    """

    nearest: Tensor
    distance: Tensor
    radius: Tensor

    @property
    def entry(self) -> Tensor:
        """Return the answering entry, -1 for none."""
        return torch.where(self.distance <= self.radius, self.nearest, -1)


class Event(NamedTuple):
    """The effect of one fact on the codebook.

    kind      add, expand, split, replace, or cover if the fact was already in its entry's ball
    entry     the entry that now holds the fact
    nearest   the nearest entry before the change, -1 in an empty codebook
    distance  the distance of the fact's key from that entry, inf in an empty codebook
    """

    kind: Literal["add", "expand", "split", "cover", "replace"]
    entry: int
    nearest: int
    distance: float

    @property
    def fresh(self) -> bool:
        """Return whether the entry has a new, still untrained value."""
        return self.kind in ("add", "split", "replace")


def lookup(
    K: Tensor, eps: Tensor, queries: Tensor, squares: Tensor | None = None, closest: int = 8
) -> Found:
    """Find the nearest columns of K (d_in, n) for queries (m, d_in), in float32.

    Among equals, the smallest index wins. eps (n,) are the radii; squares (n,) are the keys'
    squared lengths, if known. All queries share one matrix product. The resulting ‖k‖² − 2 k·q
    loses digits when distances are small compared with the keys, so the closest few are measured
    again.
    """
    queries = queries.float()
    squares = (K * K).sum(0) if squares is None else squares
    scores = squares - 2 * queries @ K  # (m, n): ‖k − q‖² up to ‖q‖², which is equal within a row
    # the few keys with the lowest scores, in the order of the entries
    best = scores.topk(min(closest, K.shape[1]), dim=1, largest=False).indices.sort(1).values
    # their exact distances, and the nearest; among equals, argmax guarantees an order but min does
    # not
    exact = (K.T[best] - queries[:, None]).norm(dim=2)  # (m, closest)
    distance = exact.min(1).values
    first = (exact == distance[:, None]).int().argmax(1)
    nearest = best.gather(1, first[:, None])[:, 0]
    return Found(nearest, distance, eps[nearest])


@dataclass
class Codebook:
    """The entries, and the rules for writing facts into them.

    K        (d_in, n): keys, float32
    V        (d_out, n): values, float32
    eps      (n,): deferral radii, float32
    labels   the tokens of each entry's target; entries of one label may share a ball
    fact_of  the numbers of the facts that each entry represents

    `write` replaces these tensors without changing the old ones, so a patch holding them is
    unaffected.
    """

    K: Tensor
    V: Tensor
    eps: Tensor
    labels: list[Label]
    fact_of: list[tuple[int, ...]]

    @classmethod
    def empty(cls, d_in: int, d_out: int) -> Codebook:
        """Return a codebook without entries."""
        return cls(torch.empty(d_in, 0), torch.empty(d_out, 0), torch.empty(0), [], [])

    def __len__(self) -> int:
        return len(self.labels)

    def lookup(self, queries: Tensor) -> Found:
        """Return the nearest entries of queries (m, d_in)."""
        return lookup(self.K, self.eps, queries)

    def write(
        self,
        queries: Tensor,
        labels: Sequence[Label],
        fresh: Tensor,
        facts: Sequence[int],
        *,
        eps_init: float | Sequence[float],
        strict: bool = True,
        expand: Literal["coverage", "moving_average"] = "coverage",
        noise: float = 0.0,
    ) -> list[Event]:
        """Write facts one after another, each by its distance d to the nearest key i, radius ε_i.

        queries are the facts' keys (m, d_in), fresh their first values (m, d_out), facts their
        numbers; eps_init may be one number for each of them; noise is how much a key changes with
        the other rows in its batch. The rules:

            no key, or d > ε_i + eps_init        add     ε = eps_init
            d ≤ ε_i + eps_init, same label       expand  ε_i = d if d > ε_i; "moving_average" also
                                                         moves the key halfway to the query
            d ≤ ε_i + eps_init, another label    split   ε = d/2, ε_i = d/2 − 1e-5

        strict repairs three problems with these published rules. A split never enlarges a ball.
        When a query equals the key up to rounding (1e-6 of its length, or 4 · noise), it replaces
        label and value, so that the newest fact wins; the published rule leaves radii of −1e-5 and
        0 there. And a ball expands by that rounding beyond the query, which would otherwise lie on
        its edge, missing it half of the time.
        """
        # make space for m more entries, copying the old tensors rather than changing them
        n, m = len(self), len(labels)
        K = torch.cat([self.K, self.K.new_empty(self.K.shape[0], m)], 1)
        V = torch.cat([self.V, self.V.new_empty(self.V.shape[0], m)], 1)
        eps = torch.cat([self.eps, self.eps.new_empty(m)])
        squares = torch.cat([(self.K * self.K).sum(0), self.eps.new_empty(m)])
        labels_of, fact_of, events = list(self.labels), list(self.fact_of), []
        balls = [eps_init] * m if isinstance(eps_init, float | int) else eps_init
        given = zip(queries.float(), labels, fresh, facts, balls, strict=True)
        for query, label, value, fact, ball in given:
            # find the nearest key
            i, d, radius = -1, float("inf"), 0.0
            kind: Literal["add", "expand", "split", "cover", "replace"]
            if n:
                found = lookup(K[:, :n], eps[:n], query[None], squares[:n])
                i, d, radius = int(found.nearest), float(found.distance), float(found.radius)
            rounding = max(1e-6 * query.norm().item(), 4 * noise) if strict else 0.0
            # decide by the table above, and choose the entry containing the fact
            if d > radius + ball:
                kind, at = "add", n
            elif label == labels_of[i]:
                kind, at = "expand" if d + rounding > radius else "cover", i
            elif strict and d <= rounding:
                kind, at = "replace", i
            else:
                kind, at = "split", n
            # "add" and "split" create an entry; the others write the fact into the nearest one
            if at == n:
                K[:, n], squares[n], eps[n] = query, query @ query, ball
                labels_of.append(label)
                fact_of.append((fact,))
                n += 1
            elif kind == "replace":
                labels_of[i], fact_of[i] = label, (fact,)
            else:
                fact_of[i] = tuple(dict.fromkeys((*fact_of[i], fact)))
            # update the radii
            if kind == "expand":
                eps[i] = d + rounding
                if expand == "moving_average":
                    K[:, i] = (K[:, i] + query) / 2
                    squares[i] = K[:, i] @ K[:, i]
            elif kind == "split":
                half = d / 2
                eps[at] = min(ball, half) if strict else half
                eps[i] = min(radius, half - GAP) if strict else half - GAP
            # a new value if the entry is new or has a new label
            event = Event(kind, at, i, d)
            if event.fresh:
                V[:, at] = value
            events.append(event)
        self.K, self.V, self.eps = K[:, :n], V[:, :n], eps[:n]
        self.labels, self.fact_of = labels_of, fact_of
        return events

    def lost(self, noise: float) -> list[int]:
        """Return entries having a radius under four times a key's noise.

        These may miss their own fact. The same prompt gives slightly different keys when running on
        its own, padded, or in a batch. `noise` is the distance between them.
        """
        return (self.eps < 4 * noise).nonzero()[:, 0].tolist()

    def state(self) -> dict[str, Tensor]:
        """Return labels and facts as four tensors, which are easier to store in a file."""
        return {**flat_tuples("labels", self.labels), **flat_tuples("facts", self.fact_of)}

    @classmethod
    def of(cls, K: Tensor, V: Tensor, eps: Tensor, state: dict[str, Tensor]) -> Codebook:
        """Return the codebook with the tensors from `state()`."""
        return cls(K, V, eps, tuples_of("labels", state), tuples_of("facts", state))
