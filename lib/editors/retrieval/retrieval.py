"""Retrieval: the nearest stored fact is put before the prompt; no weight changes at all.

Retrieval is the baseline that every editor has to beat. The idea is from IKE (Zheng et al., 2023)
and from the RAG baseline of WikiBigEdit (2025). Here it has a threshold and needs no second model:
subjects are found by name, and relations by TF-IDF. Its weakness is that the model itself must copy
the answer out of the context.

IKE as published shows the model other facts first (`demos`, demonstrations.py), and puts all that
before every prompt (`always`), also where no stored fact answers it. A few lines over 300, because
a fifth of the file is settings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from msgspec import field
from torch import Tensor

from ...data.facts import Case, Fact, encode_prompt
from ...errors import EditError
from ...patch.patch import Patch
from ...patch.route import Rewrite
from ...patch.tensor_file import Real, Schema, check_names, convert
from ...settings import setting
from ..shared.base import Editor
from ..shared.config import Config
from .demonstrations import Order, choose, pool
from .tfidf import Vector, cosine, plain, vector

TAU_REL = 0.2  # least cosine of two texts without their subjects, where the subjects agree


@dataclass(frozen=True)
class RetrievalConfig(Config):
    """Settings of retrieval."""

    tau_free: float = setting(
        0.75,
        "Least cosine similarity of whole texts, for a prompt that names no stored subject.",
        source="ours",
    )
    demos: int = setting(
        0,
        "Demonstrations from other facts that stand before the stored one.",
        source="paper",
        published=32,
    )
    ratio: tuple[int, ...] = setting(
        (1, 3, 4),
        "Parts of the demonstrations that copy the fact, reword it, and leave another answer as "
        "it is.",
        source="paper",
    )
    order: Order = setting(
        "last",
        "Whether the demonstration most like the edit comes last, next to the prompt, or first.",
        source="paper",
    )
    pool: str | None = setting(
        None,
        "File of cases that demonstrations are taken from; None takes the even ones of the "
        "classroom.",
        source="paper",
    )
    always: bool = setting(
        False,
        "Whether the nearest stored fact is put before every prompt, also one that it does not "
        "answer; then nothing stays as it was.",
        source="paper",
        published=True,
    )

    added: ClassVar[Mapping[str, Any]] = {
        "demos": 0,
        "ratio": (1, 3, 4),
        "order": "last",
        "pool": None,
        "always": False,
    }

    def __post_init__(self) -> None:
        """Refuse a ratio that is not of three kinds."""
        super().__post_init__()
        if len(self.ratio) != 3 or not sum(self.ratio):
            raise EditError(f"ratio is three parts, copy, update and retain, not {self.ratio}")

    retired: ClassVar[Mapping[str, Any]] = {"tau_rel": TAU_REL}


@dataclass(frozen=True)
class Entry:
    """One stored fact.

    subject  its subject, or None where the prompt is plain text
    prompt   the prompt, with `{}` in the place of the subject
    target   the answer
    demos    texts of the demonstrations that are read before it
    """

    subject: str | None
    prompt: str
    target: str
    demos: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The prompt with the subject in place."""
        return self.prompt if self.subject is None else self.prompt.replace("{}", self.subject)


class NotesHeader(Schema):
    """The header of `Notes` in a patch file."""

    entries: list[tuple[str | None, str, str]]
    tau_rel: Real
    tau_free: Real
    demos: list[list[str]] = field(default_factory=list)
    always: bool = False


class Notes(Rewrite):
    """Puts `New Fact: {prompt} {target}.` before a prompt that a stored fact answers (IKE's form).

    The form matters to a small model: on 30 even classroom cases the default model copies 83 % of
    the answers from this one, 37 % from the bare sentence before the bare prompt (rewordings: 71 %
    and 29 %, by generation).
    """

    kind = "retrieval"
    axes = ("likeness to the nearest note", "threshold")

    def __init__(
        self, entries: tuple[Entry, ...], tau_free: float = 0.75, always: bool = False
    ) -> None:
        self.entries, self.tau_free, self.always = entries, tau_free, always

    def __call__(self, prompts: list[str]) -> list[str]:
        """The prompts, each after the fact that was found for it, or unchanged without one."""
        return [self.before(prompt, self.find(prompt)[0]) for prompt in prompts]

    def before(self, prompt: str, i: int) -> str:
        """The prompt after entry `i`, or unchanged for -1."""
        if i < 0:
            return prompt
        entry = self.entries[i]
        return f"{''.join(entry.demos)}New Fact: {entry.text} {entry.target}.\nPrompt: {prompt}"

    def find(self, prompt: str) -> tuple[int, float, float]:
        """(entry or -1, its cosine, the threshold that applied); among equals the newest."""
        found = self._answering(plain(prompt))
        if found[0] >= 0 or not self.always:
            return found
        score, i = self._nearest(vector(plain(prompt)))
        return (i if i >= 0 else len(self.entries) - 1), score, 0.0

    def _answering(self, query: str) -> tuple[int, float, float]:
        """The entry that answers a prompt, or -1, with its cosine and threshold."""
        # a stored subject in the prompt: only facts about it can answer, by their relation
        named = self._named(query)
        for subject in named:
            rest = vector(_without(query, subject))
            found = max((cosine(rest, self._rests[i]), i) for i in self._by_subject[subject])
            if found[0] >= TAU_REL:
                return found[1], found[0], TAU_REL
        if named:  # a known subject, another relation
            return -1, 0.0, TAU_REL
        # no stored subject: the nearest whole text, with a higher threshold
        score, i = self._nearest(vector(query))
        return (i, score, self.tau_free) if score >= self.tau_free else (-1, score, self.tau_free)

    def _named(self, query: str) -> list[str]:
        """Stored subjects that stand in the query as whole words, longest first."""
        return sorted({s for s in _spans(query) if s in self._by_subject}, key=len, reverse=True)

    def _nearest(self, query: Vector) -> tuple[float, int]:
        """Best cosine over all entries, by an inverted index."""
        scores: dict[int, float] = defaultdict(float)
        for term, weight in query.items():
            for i, other in self._terms.get(term, ()):
                scores[i] += weight * other
        return max(((score, i) for i, score in scores.items()), default=(0.0, -1))

    @cached_property
    def _by_subject(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for i, entry in enumerate(self.entries):
            if entry.subject is not None:
                found.setdefault(plain(entry.subject), []).append(i)
        return found

    @cached_property
    def _rests(self) -> list[Vector]:
        return [vector(plain(entry.prompt.replace("{}", " "))) for entry in self.entries]

    @cached_property
    def _terms(self) -> dict[str, list[tuple[int, float]]]:
        index: dict[str, list[tuple[int, float]]] = {}
        for i, entry in enumerate(self.entries):
            for term, weight in vector(plain(entry.text)).items():
                index.setdefault(term, []).append((i, weight))
        return index

    def explain(self, prompt: str) -> list[dict]:
        """The stored fact that is put before this prompt, its cosine and threshold."""
        i, score, threshold = self.find(prompt)
        fact = self.entries[i].text if i >= 0 else None
        return [{"entry": i, "fact": fact, "score": score, "threshold": threshold}]

    def tensors(self) -> dict[str, Tensor]:
        """None: the entries are text."""
        return {}

    def header(self) -> dict:
        """Entries and thresholds; the index is made again when a file is loaded."""
        entries = [[entry.subject, entry.prompt, entry.target] for entry in self.entries]
        found = {"entries": entries, "tau_rel": TAU_REL, "tau_free": self.tau_free}
        if any(entry.demos for entry in self.entries):
            found["demos"] = [list(entry.demos) for entry in self.entries]
        return {**found, "always": True} if self.always else found

    @classmethod
    def load(cls, tensors: dict[str, Tensor], header: dict) -> Notes:
        """The notes that `header` describes."""
        head = convert(header, NotesHeader)
        check_names("a rewrite", tensors, ())
        if head.tau_rel != TAU_REL:
            raise ValueError(f"notes with tau_rel {head.tau_rel}, here it is {TAU_REL}")
        for entry in head.entries:
            Fact(*entry)  # refuses texts that no fact has
        if len(head.demos) not in (0, len(head.entries)):
            raise ValueError("every note has its demonstrations, or none has")
        demos = head.demos or [[]] * len(head.entries)
        entries = zip(head.entries, demos, strict=True)
        return cls(
            tuple(Entry(*entry, demos=tuple(shown)) for entry, shown in entries),
            head.tau_free,
            head.always,
        )


class Retrieval(Editor):
    """Notes beside the model: the nearest stored fact is put before the prompt."""

    name = "retrieval"
    paper = "after Zheng et al., Can We Edit Factual Knowledge by In-Context Learning?, 2023"
    Config = RetrievalConfig
    config: RetrievalConfig
    speed = "fast"
    writes = "prompt"
    keeps = True
    scoped = True
    length_note = ", with the note that is put before the prompt"

    def length(self, fact: Fact, target: Sequence[int]) -> int:
        """Tokens of the note, the prompt and the answer, which is read once and written once."""
        notes = Notes((Entry(fact.subject, fact.prompt, fact.target_new.strip()),))
        return len(encode_prompt(self.lm.tokenizer, notes.before(fact.text, 0))) + len(target)

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """`after` with the facts added to its notes; an equal subject and prompt is replaced."""
        old = next((r for r in after.rewrites if isinstance(r, Notes)), Notes(()))
        entries = {(plain(e.subject or ""), plain(e.prompt)): e for e in old.entries}
        cases = pool(self.config.pool) if self.config.demos else []
        for fact in facts:
            key = plain(fact.subject or ""), plain(fact.prompt)
            entries.pop(key, None)  # the new one goes to the end: newest wins
            shown = self.demonstrations(fact, cases)
            entries[key] = Entry(fact.subject, fact.prompt, fact.target_new.strip(), shown)
        notes = Notes(tuple(entries.values()), self.config.tau_free, self.config.always)
        others = tuple(r for r in after.rewrites if not isinstance(r, Notes))
        return replace(after, rewrites=(*others, notes))

    def demonstrations(self, fact: Fact, cases: Sequence[Case]) -> tuple[str, ...]:
        """The demonstrations for a fact, in at most half of the model's context."""
        c, tokenizer = self.config, self.lm.tokenizer
        if not c.demos:
            return ()
        room = self.lm.context
        if room:
            own = len(encode_prompt(tokenizer, fact.text + fact.target_new))
            room = min(room // 2, room - 3 * own)  # the note, the prompt and the answer

        def fits(text: str) -> bool:
            return not room or len(encode_prompt(tokenizer, text)) <= room

        return choose(fact, cases, c.demos, c.ratio, c.order, fits)


def _spans(query: str, longest: int = 12) -> Iterator[str]:
    words = query.split()
    for i in range(len(words)):
        for j in range(i + 1, min(len(words), i + longest) + 1):
            yield " ".join(words[i:j])


def _without(query: str, subject: str) -> str:
    return " ".join(f" {query} ".replace(f" {subject} ", "  ", 1).split())
