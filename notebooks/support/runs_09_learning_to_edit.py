"""The experiments of notebook 09: editors with trained networks beside a plain gradient step.

`Toy` is a model of two layers on which the page compares the training rule with autograd.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lib
from lib import memory
from lib.data.facts import encode_prompt, encode_target
from lib.editors.hypernetwork import losses, network, network_file
from lib.keys_values import answer_gradients, running_moments

NAMES = "mend", "malmen", "rledit"
SHOWN = {"mend": "MEND", "malmen": "MALMEN", "rledit": "RLEdit"}
TOY = {"rank": 4, "check_every": 1}  # networks that are trained in a second, on a random model
TOYS = {"mend": {"accumulate": 2}, "malmen": {"batch": 4}, "rledit": {"batch": 2, "turns": 2}}


def own_texts(lm: lib.LM, facts: Iterable[lib.Fact]) -> list[losses.Text]:
    """Every fact's own prompt with its new answer."""
    found = []
    for fact in facts:
        target = encode_target(lm.tokenizer, fact.target_new)
        found.append(losses.Text(encode_prompt(lm.tokenizer, fact.text), target))
    return found


def editors(lm: lib.LM, train: bool = False) -> dict[str, Any]:
    """Return {name: editor} with trained networks.

    With `train` they get tiny ones that are trained here, for a model for which none are shipped.
    """
    if not train:
        found = {name: lib.EDITORS[name](lm) for name in NAMES}
        for editor in found.values():
            editor.networks()  # named here if there are none
        return found
    even, folder = [case for case in lib.classroom() if case.id % 2 == 0], Path(tempfile.mkdtemp())
    found = {}
    for name in NAMES:
        found[name] = lib.EDITORS[name](lm, **TOY, **TOYS[name])
        found[name].fit(short(even)[:8], short(even)[8:10], folder / f"{name}.safetensors", steps=2)
    return found


def short(cases: Iterable[lib.Case]) -> list[lib.Case]:
    """Cases with one rewording and three neighbors each: a fifth of the prompts."""
    return [
        replace(case, paraphrases=case.paraphrases[:1], neighborhood=case.neighborhood[:3])
        for case in cases
    ]


class Plain:
    """One step of gradient descent on some modules: ΔW = −α Σ g kᵀ over all tokens, all facts."""

    def __init__(self, lm: lib.LM, modules: Iterable[str], rate: float) -> None:
        self.lm, self.names, self.rate = lm, list(modules), rate

    def edit(self, facts: Sequence[lib.Fact], after: lib.Patch = lib.EMPTY) -> lib.Patch:
        """The patch after the step."""
        with self.lm.patched(after, only=True):
            found = answer_gradients.read(
                self.lm, facts, self.names, group=1, reduction="fact_mean", everywhere=True
            )
        updates = {name: (-self.rate * pair.G, pair.K.T) for name, pair in found.items()}
        return lib.add_low_rank(self.lm, after, updates)


class Solved:
    """MEND's pairs (k̃, g̃), joined by a ridge regression on the raw or on the network's keys."""

    def __init__(self, mend: Any, keys: str) -> None:
        self.mend, self.lm, self.keys = mend, mend.lm, keys

    def edit(self, facts: Sequence[lib.Fact], after: lib.Patch = lib.EMPTY) -> lib.Patch:
        """The patch after one update; λ is the mean squared length of the keys."""
        nets, updates = self.mend.networks(), {}
        turns = self.mend.module_updates(nets, nets.moments, self.mend.read(facts, after))
        for name, turn in turns.items():
            with torch.no_grad():
                _, keys, grads = zip(*turn.parts(), strict=True)
                own, g = torch.cat(keys, 1).double(), torch.cat(grads, 1).double()
                K = own if self.keys == "network" else turn.pair.K.double()
                V = -turn.step * (K * own).sum(0) * g  # v = −α ⟨k, k̃⟩ g̃
                updates[name] = V, memory.reach(K, ridge=1.0)
        return lib.add_low_rank(self.lm, after, updates)


def training(found: Mapping[str, Any]) -> dict[str, tuple[list, list, int]]:
    """{editor: (steps, validation loss, the step whose network was kept)}.

    A network's file keeps its own curve.
    """
    curves = {}
    for name, editor in found.items():
        said = header(editor)
        history = said["history"]
        steps, losses = [row[0] for row in history], [row[2] for row in history]
        curves[SHOWN[name]] = steps, losses, said["step"]
    return curves


def read_pair(editor: Any, fact: lib.Fact, name: str) -> tuple[tuple, tuple]:
    """(k̂, ĝ) and (k̃, g̃) of one module at the token that predicts the answer."""
    nets = editor.networks()
    turn = editor.module_updates(nets, nets.moments, editor.read([fact], lib.EMPTY))[name]
    with torch.no_grad():
        after = turn.net(*turn.hat, name)
    return tuple(tuple(side[:, -1].cpu().tolist() for side in pair) for pair in (turn.hat, after))


def header(editor: Any) -> dict[str, Any]:
    """Return the header of the file that holds an editor's network."""
    path = editor.path if editor.path.exists() else editor.shipped
    return network_file.load(path, editor.lm.fingerprint, editor.name)[0]


def cost(name: str, editor: Any) -> str:
    """One line: parameters of the network, and how many edits made it."""
    said = header(editor)
    size = sum(p.numel() for net in editor.networks().nets.values() for p in net.parameters())
    made, facts = said["settings"], str(said["settings"]["batch"])
    facts = f"1 to {facts}" if made.get("varied") else facts
    edits = made["accumulate"] * made.get("turns", 1)
    line = f"{said['step']:,} training steps, each of {edits} edits with {facts} facts"
    return f"{SHOWN[name]}: {size:,} parameters, {line.replace(' 1 facts', ' one fact')}"


class Toy:
    """A model of two layers, y = U tanh(W x), with a loss; a pair (K, G) and a network for W."""

    def __init__(self, draw: torch.Generator) -> None:
        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draw, dtype=torch.float64)

        self.W, self.U, self.x, self.y = normal(4, 5), normal(3, 4), normal(5, 6), normal(3, 6)
        self.pair = answer_gradients.KeyGradients(
            normal(5, 7), normal(4, 7), torch.zeros(7, dtype=torch.long)
        )
        self.noise = normal

    def loss(self, change: Tensor) -> Tensor:
        """Half the squared error with W + ΔW."""
        return 0.5 * (self.U @ torch.tanh((self.W + change) @ self.x) - self.y).square().sum()

    def network(self, order: str) -> tuple[network.EditNet, network.ModuleUpdate]:
        """A network that has left its start, and what it is asked."""
        net = network.EditNet(5, 4, ["W"], rank=3, order=order, step=0.1, seed=3).double()
        with torch.no_grad():
            for p in net.parameters():
                p += 0.1 * self.noise(*p.shape)
        hat = (
            running_moments.KeyGradientMoments.empty(5, 4).merge([self.pair]).standardize(self.pair)
        )
        return net, network.ModuleUpdate(net, "W", self.pair, hat, chunk=3)

    def change(self, turn: network.ModuleUpdate, editor: Any) -> Tensor:
        """ΔW in one graph: the network, then the editor's sum or regression."""
        K, ridge = turn.pair.K, turn.ridge
        k, g = turn.net(*turn.hat, "W")
        if editor.name == "mend":
            return -turn.step * g @ k.T
        if editor.config.keys == "network":
            K, ridge = k, ridge * k.square().sum(0).mean()
        V = -turn.step * (K * k).sum(0) * g
        return V @ K.T @ torch.linalg.inv(K @ K.T + ridge * torch.eye(5).double())
