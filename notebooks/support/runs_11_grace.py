"""The experiments of notebook 11: whom would codebooks of every radius answer?

Keys of prompts around many edits are read once. Nothing is trained here, because a decision depends
on keys, labels and radii alone.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

import lib
from lib.data.facts import encode_target
from lib.editors.grace.codebook import Codebook
from lib.evaluation.intervals import interval
from lib.model import activations

ROWS = 50  # prompts of one forward


class Keys(NamedTuple):
    """The keys of n edits and of the prompts around them.

    edits   (n, d), a key per edit
    labels  token ids of each edit's answer
    others  {group: (m, d)}, keys of rewordings, neighbors and unrelated prompts
    owner   (m,), to which edit each rewording belongs
    """

    edits: Tensor
    labels: list[tuple[int, ...]]
    others: dict[str, Tensor]
    owner: Tensor

    def book(self, radius: float) -> Codebook:
        """All edits written one after another with eps_init = radius; no values."""
        n = len(self.edits)
        book = Codebook.empty(self.edits.shape[1], 1)
        book.write(self.edits, self.labels, torch.zeros(n, 1), range(n), eps_init=radius)
        return book

    def to_own(self) -> Tensor:
        """Distance of each rewording to its own edit, (m,)."""
        return (self.others["rewording"] - self.edits[self.owner]).norm(dim=1)

    def to_others(self) -> Tensor:
        """Distance of each edit to the nearest other edit, (n,)."""
        return torch.cdist(self.edits, self.edits).fill_diagonal_(torch.inf).min(1).values

    def crowding(self, counts: Sequence[int], draws: int = 50) -> dict[int, float]:
        """The median distance to the nearest other edit where so many are stored, by their number.

        Each is a mean over random choices of that many edits.
        """
        distances = torch.cdist(self.edits, self.edits).fill_diagonal_(torch.inf)
        draw = torch.Generator().manual_seed(0)
        found = {}
        for n in counts:
            some = [torch.randperm(len(distances), generator=draw)[:n] for _ in range(draws)]
            medians = [distances[i][:, i].min(1).values.median().item() for i in some]
            found[n] = sum(medians) / draws
        return found

    def nearest(self, group: str) -> tuple[Tensor, Tensor]:
        """Distance to the nearest edit, and which it is, (m,) each."""
        return torch.cdist(self.others[group], self.edits).min(1)


def read(lm: lib.LM, cases: Sequence[lib.Case], module: str) -> Keys:
    """Keys of the cases' edits, rewordings, neighbors and unrelated prompts at a module."""
    texts = {
        "edit": [case.fact.text for case in cases],
        "rewording": [text for case in cases for text in case.paraphrases],
        "neighbor": [probe.prompt for case in cases for probe in case.neighborhood],
        "unrelated": list(dict.fromkeys(text for case in cases for text in case.locality)),
    }
    found = {}
    for group, some in texts.items():
        rows, parts = lm.rows(some)[0], []
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            ends = [len(row) - 1 for row in part]
            parts.append(
                activations.module_inputs_at(lm, part, ends, [module])[module].float().cpu()
            )
        found[group] = torch.cat(parts)
    labels = [tuple(encode_target(lm.tokenizer, case.fact.target_new)) for case in cases]
    owner = torch.tensor([i for i, case in enumerate(cases) for _ in case.paraphrases])
    return Keys(found.pop("edit"), labels, found, owner)


def sweep(keys: Keys, radii: Sequence[float]) -> dict[str, list[float]]:
    """Return shares (%) by radius of the prompts that an entry answers.

    A rewording counts when it gets its own answer, a neighbor or an unrelated prompt when it gets
    any. Once all entries have one radius, and once GRACE's rules change it from there on.
    """
    found: dict[str, list[float]] = {}
    own = [keys.labels[i] for i in keys.owner.tolist()]
    for radius in radii:
        fixed, book = _fixed(keys, radius), keys.book(radius)
        for how, some in {"one radius": fixed, "with splits": book}.items():
            for group, queries in keys.others.items():
                given = _given(some, queries)
                hits = [label is not None for label in given]
                if group == "rewording":
                    hits = map(operator.eq, given, own)
                found.setdefault(f"{group}, {how}", []).append(_share(hits))
    return found


def table(keys: Keys, radii: Sequence[float]) -> list[dict[str, Any]]:
    """By eps_init: entries, their median radius, and the prompts that get an answer.

    Counts have their share and its 95 % interval. A rewording counts where it gets its own answer.
    """
    rows = []
    for radius in radii:
        book = keys.book(radius)
        row = {"eps_init": f"{radius:g}", "keys": len(book)}
        row["median radius"] = f"{book.eps.median().item():.1f}"
        row["edits"] = share(map(operator.eq, _given(book, keys.edits), keys.labels))
        own = [keys.labels[i] for i in keys.owner.tolist()]
        given = _given(book, keys.others["rewording"])
        row["rewordings"] = share(map(operator.eq, given, own))
        for name, group in {"neighbors": "neighbor", "unrelated": "unrelated"}.items():
            given = _given(book, keys.others[group])
            row[name] = share(label is not None for label in given)
        rows.append(row)
    return rows


def share(hits: Iterable[bool]) -> str:
    """A share of prompts and its 95 % interval, as text: "35 of 236, 15 % (11 to 20)"."""
    found = [float(hit) for hit in hits]
    low, high = interval(found)
    mean = 100 * sum(found) / len(found)
    return f"{sum(found):.0f} of {len(found)}, {mean:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def look(
    lm: lib.LM, cases: Sequence[lib.Case], patch: lib.Patch, asked: int = 40
) -> dict[str, float]:
    """Return shares of up to `asked` cases, spread evenly.

    held, reworded  answer tokens that are right
    neighbors       cases whose true answer stays ahead
    unrelated       next words that are unchanged
    kl              KL from the base model at unrelated prompts, in nats
    """
    cases = cases[:: max(1, len(cases) // asked)]
    metrics = ["generalization", "specificity", "locality"]
    found = lib.evaluate(lm, cases, patch, ["teacher_forced", "probability"], metrics=metrics)
    found = found.json()
    return {
        "held": found["efficacy"]["teacher_forced"],
        "reworded": found["generalization"]["teacher_forced"],
        "neighbors": found["specificity"]["probability"],
        "unrelated": found["locality"]["teacher_forced"],
        "kl": found["locality"]["kl_nats"],
    }


def percent(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shares of `look` as a table shows them."""
    shares = {f"{name} (%)": 100 * row[name] for name in ("held", "reworded", "neighbors")}
    return shares | {"unrelated (%)": 100 * row["unrelated"], "KL": row["kl"]}


def _fixed(keys: Keys, radius: float) -> Codebook:
    n = len(keys.edits)
    K, eps = keys.edits.T.contiguous(), torch.full((n,), float(radius))
    return Codebook(K, torch.zeros(1, n), eps, keys.labels, [(i,) for i in range(n)])


def _given(book: Codebook, queries: Tensor) -> list[tuple[int, ...] | None]:
    entries = book.lookup(queries).entry.tolist()
    return [book.labels[entry] if entry >= 0 else None for entry in entries]


def _share(hits: Iterable[bool]) -> float:
    hits = list(hits)
    return 100 * sum(hits) / len(hits)
