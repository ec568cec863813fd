"""Retrieval: prepending the nearest stored fact to the prompt, without changing any weight.

Retrieval is the baseline that every editor has to beat. The idea is from IKE (Zheng et al., 2023)
and from the RAG baseline of WikiBigEdit (2025). Here it uses thresholds and no second model:
subjects are found by name, and relations by TF-IDF. Its weakness is that the model itself must copy
the answer from the context. IKE prepends its facts to every prompt (`always`), even if no stored
fact answers it; the demonstrations that it shows first are not implemented here.
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
        "Whether the nearest stored fact is prepended to every prompt, even if it does not answer "
        "the prompt; then no output stays unchanged.",
        published=True,
    )


class Notes(Finder, Rewrite):
    """The stored facts of a patch."""

    kind = "retrieval"

    class Header(Schema):
        """The content of a file; every finder uses the same thresholds."""

        entries: list[tuple[str | None, str, str]]
        tau_rel: Real
        tau_free: Real
        demos: list[list[str]] = []
        always: bool = False

    def explain(self, prompt: str) -> list[dict]:
        """Return the stored fact to prepend to this prompt, its cosine and threshold."""
        i, score, threshold = self.find(prompt)
        fact = self.entries[i].text if i >= 0 else None
        return [{"entry": i, "fact": fact, "score": score, "threshold": threshold}]

    def header(self) -> dict:
        """Return entries and thresholds; the index is rebuilt when a file is loaded."""
        entries = [[entry.subject, entry.prompt, entry.target] for entry in self.entries]
        demos = [list(entry.demos) for entry in self.entries]
        return {
            **{"entries": entries, "tau_rel": TAU_REL, "tau_free": TAU_FREE},
            **({"demos": demos} if any(demos) else {}),
            **({"always": True} if self.always else {}),
        }

    @classmethod
    def from_file(cls, tensors: Mapping[str, Any], head: Any) -> Notes:
        """Return a file's notes; ValueError for texts that no fact has, and other thresholds."""
        for entry in head.entries:
            Fact(*entry)
        if (head.tau_rel, head.tau_free) != (TAU_REL, TAU_FREE):
            raise ArgumentError(
                f"Its thresholds differ from {TAU_REL} and {TAU_FREE}, the values used here."
            )
        if len(head.demos) not in (0, len(head.entries)):
            raise ArgumentError("Either every note or no note must have demonstrations.")
        demos = head.demos or [[]] * len(head.entries)
        entries = [
            Entry(subject, prompt, target, tuple(shown))
            for (subject, prompt, target), shown in zip(head.entries, demos, strict=True)
        ]
        return cls(tuple(entries), head.always)


class Retrieval(Editor[RetrievalConfig]):
    """Notes outside the model: the nearest stored fact is prepended to the prompt."""

    name = "retrieval"
    title = "Retrieval"
    paper = "after Zheng et al., Editing Factual Knowledge In Context, 2023 (arXiv:2305.12740)"
    speed = "fast"
    writes = "prompt"
    keeps = True

    def asked(self, fact: Fact) -> str:
        """Return the note followed by the prompt."""
        return Entry(fact.subject, fact.prompt, fact.target_new.strip()).before(fact.text)

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Return `after` with the facts added to its notes, replacing equal subject and prompt."""
        old = next((r for r in after.rewrites if isinstance(r, Notes)), Notes(()))
        entries = {_key(entry): entry for entry in old.entries}
        for fact in facts:
            entries.pop(_key(fact), None)  # append the new note at the end: the newest wins
            entries[_key(fact)] = Entry(fact.subject, fact.prompt, fact.target_new.strip())
        notes = Notes(tuple(entries.values()), self.config.always)
        others = tuple(r for r in after.rewrites if not isinstance(r, Notes))
        return replace(after, rewrites=(*others, notes))


def _key(note: Fact | Entry) -> tuple[str, str]:
    """Return the key of a note: if two notes agree in it, the newer one is kept."""
    return plain(note.subject or ""), plain(note.prompt)
