"""Retrieval: the nearest stored fact is put before the prompt; no weight changes at all.

Retrieval is the baseline that every editor has to beat. The idea is from IKE (Zheng et al., 2023)
and from the RAG baseline of WikiBigEdit (2025). Here it has thresholds and needs no second model:
subjects are found by name, and relations by TF-IDF. Its weakness is that the model itself must copy
the answer out of the context. IKE puts its facts before every prompt (`always`), also where no
stored fact answers it; the demonstrations that it shows first are not made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...data.facts import Fact
from ...errors import ArgumentError
from ...patch.patch import Patch
from ...patch.route import Rewrite
from ...patch.tensor_file import Real, Schema
from ...setting_fields import from_paper
from ..shared.base import Editor
from ..shared.config import Config
from .finding import Entry, Finder
from .tfidf import plain

TAU_REL, TAU_FREE = Finder.tau_rel, Finder.tau_free


@dataclass(frozen=True)
class RetrievalConfig(Config):
    """Settings of retrieval."""

    always: bool = from_paper(
        False,
        "Whether the nearest stored fact is put before every prompt, also one that it does not "
        "answer; then nothing stays as it was.",
        published=True,
    )


class Notes(Finder, Rewrite):
    """The stored facts of a patch."""

    kind = "retrieval"

    class Header(Schema):
        """What a file holds; the thresholds are those of every finder."""

        entries: list[tuple[str | None, str, str]]
        tau_rel: Real
        tau_free: Real
        demos: list[list[str]] = []
        always: bool = False

    def explain(self, prompt: str) -> list[dict]:
        """The stored fact that is put before this prompt, its cosine and threshold."""
        i, score, threshold = self.find(prompt)
        fact = self.entries[i].text if i >= 0 else None
        return [{"entry": i, "fact": fact, "score": score, "threshold": threshold}]

    def header(self) -> dict:
        """Entries and thresholds; the index is made again when a file is loaded."""
        entries = [[entry.subject, entry.prompt, entry.target] for entry in self.entries]
        demos = [list(entry.demos) for entry in self.entries]
        return {
            **{"entries": entries, "tau_rel": TAU_REL, "tau_free": TAU_FREE},
            **({"demos": demos} if any(demos) else {}),
            **({"always": True} if self.always else {}),
        }

    @classmethod
    def from_file(cls, tensors: Mapping[str, Any], head: Any) -> Notes:
        """The notes of a file; ValueError for texts that no fact has, and for other thresholds."""
        for entry in head.entries:
            Fact(*entry)
        if (head.tau_rel, head.tau_free) != (TAU_REL, TAU_FREE):
            raise ArgumentError(
                f"its thresholds are not {TAU_REL} and {TAU_FREE}, as they are here"
            )
        if len(head.demos) not in (0, len(head.entries)):
            raise ArgumentError("every note has its demonstrations, or none has")
        demos = head.demos or [[]] * len(head.entries)
        entries = [
            Entry(subject, prompt, target, tuple(shown))
            for (subject, prompt, target), shown in zip(head.entries, demos, strict=True)
        ]
        return cls(tuple(entries), head.always)


class Retrieval(Editor[RetrievalConfig]):
    """Notes beside the model: the nearest stored fact is put before the prompt."""

    name = "retrieval"
    title = "Retrieval"
    paper = "after Zheng et al., Editing Factual Knowledge In Context, 2023 (arXiv:2305.12740)"
    speed = "fast"
    writes = "prompt"
    keeps = True

    def asked(self, fact: Fact) -> str:
        """The note and then the prompt."""
        return Entry(fact.subject, fact.prompt, fact.target_new.strip()).before(fact.text)

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """`after` with the facts added to its notes; an equal subject and prompt is replaced."""
        old = next((r for r in after.rewrites if isinstance(r, Notes)), Notes(()))
        entries = {_key(entry): entry for entry in old.entries}
        for fact in facts:
            entries.pop(_key(fact), None)  # the new one goes to the end: newest wins
            entries[_key(fact)] = Entry(fact.subject, fact.prompt, fact.target_new.strip())
        notes = Notes(tuple(entries.values()), self.config.always)
        others = tuple(r for r in after.rewrites if not isinstance(r, Notes))
        return replace(after, rewrites=(*others, notes))


def _key(note: Fact | Entry) -> tuple[str, str]:
    """What a note is about: of two that agree in it the newer one is kept."""
    return plain(note.subject or ""), plain(note.prompt)
