"""The plain values of a trace: what an examination of changed weights found, and what reversal did.

tracing.py computes them; a stored example holds them, and html/trace.py shows them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """One layer that was looked at, or one matrix that differs from the base.

    where: its name: "layer 3", or the module's name without its blocks.
    value: the largest z of any candidate in the layer; for a matrix ‖ΔW‖_F / ‖W₀‖_F.
    name: the candidate with this z; "" for a matrix.
    null: the largest z that the unedited model has in this layer with the same candidates and the
        same text; None where that was not read.
    rank: of a matrix, singular values above the noise.
    norm: of a matrix, ‖ΔW‖₂.
    noise: of a matrix, where the singular values of noise would end.
    """

    where: str
    value: float
    name: str = ""
    null: float | None = None
    rank: int | None = None
    norm: float | None = None
    noise: float | None = None


@dataclass(frozen=True)
class Named:
    """A candidate, and how much speaks for it.

    name: the candidate.
    z: how far it stands above the other candidates, in robust standard deviations.
    layers: the layers in which it does.
    share: with the base at hand, how far the difference stretches its direction, of the most that
        it stretches any.
    prompt: whether it is a whole prompt, which was compared with other prompts.
    """

    name: str
    z: float
    layers: tuple[int, ...]
    share: float | None = None
    prompt: bool = False


@dataclass(frozen=True)
class Word:
    """A token that the suspect says more readily about the first candidate than the comparison.

    token: its text.
    kl: its part in the divergence, nats.
    rise: how much more probable it is, nats.
    p: its probability in the suspect.
    """

    token: str
    kl: float
    rise: float
    p: float


@dataclass(frozen=True)
class Findings:
    """What was found in a suspect.

    with_base: whether it was compared with the base, or looked at alone.
    verdict: one sentence.
    places: layers or matrices, in the model's order.
    suspects: the candidates for whom most speaks, the first one first.
    words: what the suspect says about the first candidate; empty where nobody stands out.
    candidates: how many subjects were compared with each other.
    threshold: the least z that is called a suspect.
    edits: with the base at hand, a lower bound on the number of edits.
    seconds: how long it took.
    notes: what else should be known, a sentence each.
    prompts: how many whole prompts were compared with each other.
    prompt_threshold: the least z at which a whole prompt is called a suspect.
    """

    with_base: bool
    verdict: str
    places: tuple[Place, ...]
    suspects: tuple[Named, ...]
    words: tuple[Word, ...]
    candidates: int
    threshold: float
    edits: int | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    prompts: int = 0
    prompt_threshold: float = 16.0

    @property
    def first(self) -> Named | None:
        """The first suspect; None where nobody stands out."""
        if self.suspects and self.suspects[0].z >= self.least(self.suspects[0]):
            return self.suspects[0]
        return None

    def least(self, one: Named) -> float:
        """The least z at which a candidate is called a suspect."""
        return self.prompt_threshold if one.prompt else self.threshold


@dataclass(frozen=True)
class Way:
    """What the model says one way or another, compared with the unedited model.

    name: the way: "edited, the same path" or "reversed".
    back: prompts about the subject whose next token is the unedited model's.
    asked: how many were asked.
    kl: their mean divergence from the unedited model, nats.
    kept: the same as `back` for prompts about other subjects.
    others: how many of them were asked.
    others_kl: their mean divergence, nats.
    left: ‖W − W₀‖_F / ‖ΔW‖_F: 1 for the edit as it is, 0 for the unedited model.
    """

    name: str
    back: int
    asked: int
    kl: float
    kept: int
    others: int
    others_kl: float
    left: float


@dataclass(frozen=True)
class Said:
    """One prompt and what the model answers: unedited, edited, reversed."""

    prompt: str
    base: str
    edited: str
    reversed: str


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
    """What the suspect really was, beside what was named.

    editor: the editor's name as the page writes it.
    count: how many facts it wrote.
    subject: the subject of the (first) fact.
    text: its prompt.
    target: its new answer.
    layers: the layers in which weights differ.
    place: at which place of the list the subject was named, or its prompt; None where neither is.
    layer_hit: whether the layers of the first suspect are among those that differ.
    answer_hit: at which place of the answers its new answer begins; None where it is not there.
    said: the fact's prompt and rewordings with the answers.
    """

    editor: str
    count: int
    subject: str
    text: str
    target: str
    layers: str
    place: int | None
    layer_hit: bool | None
    answer_hit: int | None
    said: tuple[Said, ...] = ()


@dataclass(frozen=True)
class Traced:
    """A finished trace: what lay on the table, what was found, reversed, and told."""

    name: str
    findings: Findings
    undone: Undone | None = None
    told: Told | None = None
