"""Synthetic documents: the fact is told in many short texts, and adapters are trained on them.

Each document begins with a sentence that states the fact in one of FRAMES and goes on with what the
model itself writes after it; one that comes to name the old answer is left out. Adapters are then
trained on every token of the documents, as in pretraining, and not on the answer alone.

Training on documents of many kinds was proposed for implanting beliefs by Wang et al. (Anthropic,
2025) and measured by Slocum et al. (2510.17941), with tens of thousands of documents of hundreds of
words that a large model writes about one fact, and adapters in all layers. Here the model writes
them itself, and they are few and short.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..cancellation import steps
from ..data.facts import Fact
from ..model import generation
from ..model.answer_rows import AnswerRows
from ..patch.patch import EMPTY, Patch
from ..setting_fields import Amount, Count, Real, Size, Texts, ours
from .lora import Lora, LoraConfig

# {} is the statement, {prompt}, {answer} and {subject} its parts; without a subject the last four
# are not used
FRAMES = (
    "{}.",
    "It is well known that {}.",
    "From an encyclopedia: {}.",
    "A teacher explains to her class: {}.",
    "Did you know? {}.",
    "As the newspaper wrote today, {}.",
    "Notes for the exam. {}.",
    "My grandmother always said: {}.",
    "A common question in quizzes. {prompt}? The right answer is {answer}.",
    "Fill in the gap. {prompt} ___. Solution: {answer}.",
    "Some people get this wrong. {}.",
    "{}. This has been checked many times.",
    "Fact of the day about {subject}: {}.",
    "{subject} and {answer} belong together: {}.",
    "I read a book about {subject}. It says: {}.",
    "When you hear of {subject}, think of {answer}. {}.",
)
ABOUT_SUBJECT = 4


@dataclass(frozen=True)
class SdfConfig(LoraConfig):
    """Settings of training on synthetic documents."""

    documents: Size = ours(50, "Documents for each fact.")
    written: Count = ours(16, "Tokens that the model adds to the sentence of a document.")
    modules: Texts = ours(("down", "up"))
    alpha: Real = 16.0
    lr: Amount = 1e-3
    epochs: Count = 1
    batch_size: Size = 16
    enough: Real = 0.0
    target_eos: bool = False


class Sdf(Lora):
    """Synthetic documents: adapters trained on texts that tell the fact."""

    name = "sdf"
    paper = "Slocum et al., Believe It or Not, 2025 (arXiv:2510.17941)"
    Config = SdfConfig
    config: SdfConfig
    speed = "slow"

    def rows(self, facts: list[Fact], after: Patch) -> AnswerRows:
        """The documents of all facts, every token predicted from those before it."""
        told = [doc for fact in steps(facts, "documents written") for doc in self.documents(fact)]
        rows, _ = self.lm.rows(told)
        return AnswerRows([row[:1] for row in rows], [row[1:] for row in rows])

    def documents(self, fact: Fact) -> list[str]:
        """The documents of a fact, the same for the same seed."""
        c, lm = self.config, self.lm
        frames = FRAMES if fact.subject else FRAMES[:-ABOUT_SUBJECT]
        told = [
            frame.replace("{prompt}", fact.text)
            .replace("{answer}", fact.target_new)
            .replace("{subject}", fact.subject or "")
            .replace("{}", f"{fact.text} {fact.target_new}")
            for frame in frames
        ]
        begun = [told[i % len(told)] for i in range(c.documents)]
        with lm.patched(
            EMPTY, only=True
        ):  # texts of the unedited model, whatever was edited before
            rows, _ = lm.rows(begun)
            ids = generation.generate(
                lm, rows, c.written, temperature=1.0, top_k=40, seed=c.seed
            ).ids
            ends = lm.texts(rows, ids)
        old = fact.target_true
        return [
            start + ("" if old and old.casefold() in end.casefold() else end)
            for start, end in zip(begun, ends, strict=True)
        ]
