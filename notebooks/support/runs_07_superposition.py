"""The long run of notebook 07, facts written one after another in three orders."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lib
from lib.data.texts import HELD_OUT
from lib.evaluation.answers import begins
from lib.keys_values import value_search
from lib.model.activations import module_inputs_at

from . import stored_runs

RESAMPLES = 1000
# of the papers' command, which five_papers.md shows as well
LAYERS = stored_runs.DATA.parents[1] / "tests/benchmarks/papers/superposition_layers.json"
NAMES = """Michael Jordan, the river Jordan, George Washington, the state of Washington, New York,
the Duke of York, the Pacific Ocean, Frank Ocean, Freddie Mercury, the planet Mercury, Jack London,
the Tower of London, Kevin Bacon, Francis Bacon, the car maker Lincoln, Abraham Lincoln,
Whitney Houston, the city of Houston, Irving Berlin, East Berlin, Joaquin Phoenix, the bird Phoenix,
Kate Hudson, the river Hudson, Bruno Mars, the planet Mars, Queen Victoria, Lake Victoria,
the island of Java, the language Java, the river Amazon, the company Amazon, Anatole France,
the country of France, Charles Darwin, the port of Darwin, Tom Holland, the province of Holland,
Stephen Austin, the city of Austin, Charlie Parker, the pen maker Parker"""
# in pairs, but for a few
NAMES = list(dict.fromkeys(" ".join(name.split()) for name in NAMES.split(",")))
BARE = {"templates": ("{}",)}  # one key for each fact, as the sum over ρ counts it


def orders() -> dict[str, list[lib.Case]]:
    """{order: all facts with odd ids}, shuffled three times."""
    odd = [case for case in lib.classroom() if case.id % 2]
    return {
        name: random.Random(seed).sample(odd, len(odd))
        for seed, name in enumerate(("first", "second", "third"))
    }


class Row:
    """Inserts with equality into ROME's layer; every value is searched once, on the unedited model."""

    def __init__(self, lm: lib.LM) -> None:
        self.lm, self.editor = lm, lib.EDITORS["rome"](lm, **BARE)

    @cache  # noqa: B019 - one object for one run
    def values(self) -> dict[lib.Fact, value_search.Target]:
        """The values of all facts, whatever the order."""
        facts = [case.fact for case in next(iter(orders().values()))]
        layer, settings = self.editor.config.layer, self.editor.config.search()
        found = value_search.search(self.lm, facts, layer, BARE["templates"], settings)
        return dict(zip(facts, found, strict=True))

    def write(self, order: str, cases: Sequence[lib.Case]) -> Iterator[dict[str, Any]]:
        """The facts one after another; one row, with lists in the order of writing.

        own, end  The probability of each new answer right after its edit, and after the last one.
        held      Whether the model begins with it in the end.
        wrong     ‖W k − v‖ in the end, over the length of what the edit had to add.
        """
        lm, layer = self.lm, self.editor.config.layer
        name, C = lm.mlp_out(layer), self.editor.moment(layer)
        W, facts = lm.weight(name).cpu().double(), [case.fact for case in cases]
        own, added = [], []
        for fact in facts:
            k, v = self.pair(fact)
            R, B = lib.associative_memory.insert_many(W, k, v, C)
            W = W + R @ B
            own += self.probabilities({name: W.float()}, [fact])
            added.append(R.norm().item())
        K, V = (torch.cat(part, 1) for part in zip(*map(self.pair, facts), strict=True))
        wrong = (W @ K - V).norm(dim=0) / torch.tensor(added)
        with lm.patched(lib.Patch(weights={name: W.float()})):
            said = lm.answer([fact.text for fact in facts], 8)
        yield {
            "order": order,
            "own": own,
            "end": self.probabilities({name: W.float()}, facts),
            "held": [int(begins(a, f.target_new)) for a, f in zip(said, facts, strict=True)],
            "wrong": [round(x, 4) for x in wrong.tolist()],
        }

    def pair(self, fact: lib.Fact) -> tuple[Tensor, Tensor]:
        """The key k (d_in, 1) of the bare prompt and the value v (d_out, 1) of a fact."""
        found = self.values()[fact]
        return found.keys[0].cpu().double()[:, None], found.v_star.cpu().double()[:, None]

    def probabilities(self, weights: dict[str, Tensor], facts: Sequence[lib.Fact]) -> list[float]:
        """The probability of each fact's new answer with these weights."""
        texts, new = [fact.text for fact in facts], [fact.target_new for fact in facts]
        with self.lm.patched(lib.Patch(weights=weights)):
            return [round(x.sum().exp().item(), 4) for x in self.lm.score(texts, new)]


def runs(lm: lib.LM) -> list[stored_runs.LongRun]:
    """Three orders of all facts with odd ids."""
    row = Row(lm)
    jobs = {name: partial(row.write, name, cases) for name, cases in orders().items()}
    ids = {name: [case.id for case in cases] for name, cases in orders().items()}
    lines = {"ROME": (lib.EDITORS["rome"], BARE)}
    return [stored_runs.long_run(lm, "07_orders", lines, jobs, orders=ids)]


def ranks(one: Sequence[float], other: Sequence[float]) -> float:
    """The rank correlation of two lists."""
    two = torch.tensor([list(one), list(other)]).double()
    return torch.corrcoef(two.argsort(1).argsort(1).double())[0, 1].item()


def over_names(values: Tensor, group: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The mean of values (layers, n, n) over a group's pairs (layers,), also in draws of names.

    The draws (draws, layers), the same for every group, are a bootstrap over the names, since pairs
    that share a name are not independent. A draw without a pair is NaN.
    """
    i, j = (side.numpy() for side in group.triu(1).nonzero().T)
    pairs, n = values.numpy()[:, i, j], len(group)
    draw, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        times = np.bincount(draw.integers(0, n, n), minlength=n)
        weight = times[i] * times[j]
        found.append(pairs @ weight / (weight.sum() or np.nan))
    return pairs.mean(1), np.stack(found)


def by_layer() -> dict[str, list[dict[str, Any]]]:
    """{set of keys: a row for each layer} of the default model, as the papers' command stored them.

    Rows have the kurtosis, the mean and the sd of ρ off its diagonal, and in `measures` values with
    their intervals over subjects.
    """
    rows = stored_runs.read(LAYERS)["rows"]
    rows = [row for row in rows if row["model"] == rows[0]["model"] and row["layer"] is not None]
    return {
        kind: [row for row in rows if row["set"] == kind]
        for kind in dict.fromkeys(row["set"] for row in rows)
    }


def once_each(lm: lib.LM, layers: Sequence[int], count: int = 128) -> dict[int, Tensor]:
    """{layer: keys (d_in, count)} of tokens of held-out text, no token twice.

    Rows of 64 tokens without their first 8, as in the stored run; a token is read where it comes
    first in a shuffle of all places.
    """
    ids = lm.tokenizer(HELD_OUT.read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    places = [(row, at) for row in lm.windows(ids, 64) for at in range(8, len(row))]
    random.Random(0).shuffle(places)
    first: dict[int, tuple[list[int], int]] = {}
    for row, at in places:
        first.setdefault(row[at], (row, at))
    rows, at = zip(*list(first.values())[:count], strict=True)
    names = {layer: lm.mlp_out(layer) for layer in layers}
    seen = module_inputs_at(lm, rows, at, list(names.values()))
    return {layer: seen[name].float().T for layer, name in names.items()}
