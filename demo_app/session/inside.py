"""What happened inside an edit: where the answer turns, and how far the weights have moved."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

import lib
from lib.data.facts import encode_target
from lib.interpret import damage
from lib.interpret.logit_lens import lens

from .studio import Studio
from .subject_in_view import layers_of, subject_of
from .visitors import Session
from .worker import Job, Trouble

Ranks = dict[str, list[int]]  # {answer: its rank after every layer}


@dataclass(frozen=True)
class Layers:
    """Ranks of two answers after every layer.

    answers: the old answer and the new one.
    was: their ranks in the unedited model.
    now: their ranks under the edits.
    edited: the layers that the edits touch.
    """

    answers: tuple[str, str]
    was: Ranks
    now: Ranks
    edited: tuple[int, ...]

    @property
    def found(self) -> str:
        """Where the new answer overtakes the old one."""
        old, new = self.answers
        was, now = self.was[new], self.now[new]
        pairs = list(zip(now, self.now[old], strict=True))
        ahead = [layer for layer in range(len(now)) if all(a < b for a, b in pairs[layer:])]
        if not ahead:
            return f"“{new}” does not overtake “{old}” for good: it ends at rank {now[-1]:,}."
        return (
            f"From layer {ahead[0]} on “{new}” stands before “{old}”, and it ends at rank "
            f"{now[-1]:,}; before the edit at {was[-1]:,}."
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The ranks at about six layers."""
        count = len(self.was[self.answers[0]])
        each = range(0, count, max(1, count // 6))
        return tuple(
            f"“{answer}” {name}: " + ", ".join(f"layer {i} rank {table[answer][i]:,}" for i in each)
            for name, table in (("before", self.was), ("after", self.now))
            for answer in self.answers
        )


@dataclass(frozen=True)
class Changes:
    """How far the weights of each layer have moved.

    share: {layer: ‖W − W₀‖/‖W₀‖} of the layers that an edit has changed.
    layers: how many layers the model has.
    """

    share: dict[int, float]
    layers: int

    @property
    def found(self) -> str:
        """How many layers changed, and which most."""
        if not self.share:
            return "No weight changed: these edits stand beside the model or in its prompt."
        top = max(self.share, key=lambda layer: self.share[layer])
        return (
            f"The weights of {len(self.share)} of {self.layers} layers changed, layer {top} most: "
            f"by {100 * self.share[top]:.2f} % of its norm."
        )


def look(studio: Studio, session: Session) -> Job:
    """What a visitor's edits do to the prompt in view: (Layers, Changes)."""
    lm, patch = studio.lm, session.patch
    if not patch:
        raise Trouble("No edit is live: make one in “Try” first.")
    fact = subject_of(studio.choices, session).case.fact

    def work(job: Job) -> Generator[None, None, tuple[Layers, Changes]]:
        with job.counting(lm, "Reading every layer", 4, 0.0, 0.7):
            with lm.patched(lib.EMPTY, only=True):
                old = fact.target_true or lm.answer(fact.text, 1).strip() or "the"
            answers = old, fact.target_new
            if len({encode_target(lm.tokenizer, answer)[0] for answer in answers}) == 1:
                raise Trouble(
                    f"“{answers[0]}” and “{answers[1]}” begin with the same token, so their ranks "
                    "are one line."
                )
            was, now = (_ranks(lm, fact.text, answers, one) for one in (lib.EMPTY, patch))
        yield
        job.report(0.7, "Measuring the weights")
        edited = tuple(layers_of(lm, patch))
        return Layers(answers, was, now, edited), changes(lm, patch)

    return session.submit(studio.worker, work, aside=True)


def _ranks(lm: lib.LM, prompt: str, answers: tuple[str, str], patch: lib.Patch) -> Ranks:
    with lm.patched(patch, only=True):
        table = lens(lm, prompt, list(answers), patch)
    return {
        answer: table[table["answer"] == answer].sort_values("layer")["rank"].tolist()
        for answer in answers
    }


def changes(lm: lib.LM, patch: lib.Patch) -> Changes:
    """‖W − W₀‖/‖W₀‖ of every layer in which a patch changes weights."""
    if not patch.weights:
        return Changes({}, lm.n_layers)
    moved = damage.steps(lm, [patch]).iloc[0]
    change, whole = np.zeros(lm.n_layers), np.zeros(lm.n_layers)
    for name, size in moved.items():
        (layer,) = layers_of(lm, lib.Patch(weights={name: patch.weights[name]})) or (0,)
        change[layer] += size**2
        whole[layer] += lm.weight(name).norm().item() ** 2
    share = {i: math.sqrt(change[i] / whole[i]) for i in range(lm.n_layers) if whole[i]}
    return Changes(share, lm.n_layers)
