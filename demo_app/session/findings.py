"""The plain values of “Was this model edited?”: the findings, the removal, and the answer.

tracing.py computes them, stored examples contain them, and html/trace.py renders them.
"""

from __future__ import annotations

from dataclasses import dataclass

from lib.workbench.forensics.matched_filter import Suspect


@dataclass(frozen=True)
class Place:
    """One examined layer.

    where: its name, "layer 3".
    value: the largest z of any candidate in it.
    name: the candidate with this z.
    null: the unedited model's largest z in this layer with the same candidates and the same text;
        None if it was not measured.
    """

    where: str
    value: float
    name: str = ""
    null: float | None = None


@dataclass(frozen=True)
class Findings:
    """The findings from examining changed weights without their base.

    verdict: one sentence.
    places: the layers, in the model's order.
    suspects: the candidates with the strongest evidence, strongest first.
    candidates: the number of subjects compared with each other.
    threshold: the smallest z of a suspect.
    """

    verdict: str
    places: tuple[Place, ...]
    suspects: tuple[Suspect, ...]
    candidates: int
    threshold: float

    @property
    def first(self) -> Suspect | None:
        """The first suspect, or None if no candidate stands out."""
        return next((one for one in self.suspects[:1] if one.z >= self.threshold), None)


@dataclass(frozen=True)
class Way:
    """The answers under one set of weights, compared with the unedited model's.

    name: the weights: "edited weights, the same path" or "reversed".
    back: the number of prompts about the subject with the unedited model's next token.
    asked: the number of prompts about the subject.
    kept: the same as `back` for prompts about other subjects.
    others: the number of prompts about other subjects.
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
    """One prompt and the model's answers: unedited, edited, reversed ("" if nothing was)."""

    prompt: str
    base: str
    edited: str
    reversed: str = ""


@dataclass(frozen=True)
class Undone:
    """The effect of a reversal without the base model.

    subject: the removed subject.
    layers: the layers it was removed from.
    ways: the edited weights through the same path, as the control, and the reversal.
    said: some prompts with the answers.
    """

    subject: str
    layers: tuple[int, ...]
    ways: tuple[Way, ...]
    said: tuple[Said, ...] = ()


@dataclass(frozen=True)
class Told:
    """The real edit, compared with the findings.

    editor: the editor's name on the page.
    count: the number of facts it wrote.
    text: the prompt of the (first) fact.
    target: its new answer.
    layers: the layers with changed weights.
    place: the subject's position in the list of suspects; None if it is not listed.
    layer_hit: whether all the first suspect's layers are among the changed layers.
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
    """A completed trace: findings, removal, and answer."""

    findings: Findings
    undone: Undone | None = None
    told: Told | None = None
