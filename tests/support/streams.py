"""An editor that writes noise, and the plain fold of its edits: what streams are tested with."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lib.data.facts import Case, Fact
from lib.editors.shared.base import Editor
from lib.editors.shared.config import Config
from lib.errors import EditError
from lib.patch.patch import EMPTY, Patch

from .cases import small_cases


@dataclass(frozen=True)
class NoiseConfig(Config):
    size: float = 0.2


class Noise(Editor):
    """Moves one matrix at random, the same way for the same facts; refuses the answer "no"."""

    name = "noise"
    paper = "none"
    Config = NoiseConfig
    calls = 0

    def write(self, facts, after):
        Noise.calls += 1
        if any(fact.target_new == "no" for fact in facts):
            raise EditError("the answer 'no' cannot be written")
        torch.manual_seed(sum(map(ord, "".join(fact.text for fact in facts))))
        module = self.lm.mlp_out(1)
        W = self.lm.weight(module, after)
        return after.with_weights({module: W + self.config.size * torch.randn_like(W)})


def fold(editor, cases, size):
    patches, patch = [EMPTY], EMPTY
    for start in range(0, len(cases), size):
        patch = editor.edit([case.fact for case in cases[start : start + size]], after=patch)
        patches.append(patch)
    return patches


def same(p: Patch, q: Patch) -> bool:
    return p.weights.keys() == q.weights.keys() and all(
        torch.equal(p.weights[name], q.weights[name]) for name in p.weights
    )


def contradicting():
    cases = small_cases()
    fact = cases[0].fact
    again = Case(Fact(" ann", "{} is in  the city of", "Bonn"), ("Where is ann? In",), id="c4")
    same = Case(Fact("Ann", fact.prompt, '"bonn"'), id="c5")
    return [*cases, again, same]
