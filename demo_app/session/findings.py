"""The plain values of “Was this model edited?”: what was found, taken out again, and told.

tracing.py computes them; a stored example holds them, and html/trace.py shows them.
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.workbench.forensics.matched_filter import Suspect


@dataclass(frozen=True)
class Place:
    """One layer that was looked at.

    where: its name, "layer 3".
    value: the largest z of any candidate in it.
    name: the candidate with this z.
    null: the largest z that the unedited model has in this layer with the same candidates and the
        same text; None where that was not read.
    """

    where: str
    value: float
    name: str = ""
    null: float | None = None


@dataclass(frozen=True)
class Findings:
    """What was found in changed weights, looked at without their base.

    verdict: one sentence.
    places: the layers, in the model's order.
    suspects: the candidates for whom most speaks, the first one first.
    candidates: how many subjects were compared with each other.
    threshold: the least z that is called a suspect.
    """

    verdict: str
    places: tuple[Place, ...]
    suspects: tuple[Suspect, ...]
    candidates: int
    threshold: float

    @property
    def first(self) -> Suspect | None:
        """The first suspect; None where nobody stands out."""
        return next((one for one in self.suspects[:1] if one.z >= self.threshold), None)


@dataclass(frozen=True)
class Way:
    """What the model says one way or another, compared with the unedited model.

    name: the way: "edited weights, the same path" or "reversed".
    back: prompts about the subject whose next token is the unedited model's.
    asked: how many were asked.
    kept: the same as `back` for prompts about other subjects.
    others: how many of them were asked.
    left: ‖W − W₀‖_F / ‖ΔW‖_F: 1 for the edit as it is, 0 for the unedited model.
    """

    name: str
    back: int
    asked: int
    kept: int
    others: int
    left: float


@dataclass(frozen=True)
class Said:
    """One prompt and what the model answers: unedited, edited, reversed ("" where nothing was)."""

    prompt: str
    base: str
    edited: str
    reversed: str = ""


@dataclass(frozen=True)
class Undone:
    """What reversal without the base model reached.

    subject: whom it took out.
    layers: of which layers.
    ways: the edited weights through the same path, which is the control, and the reversal.
    said: some prompts with the answers.
    """

    subject: str
    layers: tuple[int, ...]
    ways: tuple[Way, ...]
    said: tuple[Said, ...] = ()


@dataclass(frozen=True)
class Told:
    """What it really was, beside what was named.

    editor: the editor's name as the page writes it.
    count: how many facts it wrote.
    text: the prompt of the (first) fact.
    target: its new answer.
    layers: the layers in which weights differ.
    place: at which place of the list the subject was named; None where it was not.
    layer_hit: whether the layers of the first suspect are among those that differ.
    said: the fact's prompt and rewordings with the answers.
    """

    editor: str
    count: int
    text: str
    target: str
    layers: str
    place: int | None
    layer_hit: bool | None
    said: tuple[Said, ...] = ()


@dataclass(frozen=True)
class Traced:
    """A finished trace: what was found, taken out again, and told."""

    findings: Findings
    undone: Undone | None = None
    told: Told | None = None
