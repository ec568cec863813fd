"""What the model says before and after: all prompts of one case as rows. No Gradio here."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import kl_div

import lib
from lib.events import begins

if TYPE_CHECKING:
    from .worker import Job

TOKENS = 12  # of an answer; a longer new answer gets a few more than itself
KEPT = 256  # prompts whose base answer is kept: one distribution of the next token each
_SENTENCE = re.compile(r".*?[.!?](?=\s|$)|[^\n]*", re.S)


@dataclass(frozen=True)
class Answer:
    """An answer to a prompt: text, and log-probabilities (vocabulary,) of the next token."""

    text: str
    next_token: Tensor

    @property
    def shown(self) -> str:
        """Its first sentence, or what there is of it with "…"."""
        return first_sentence(self.text)


@dataclass(frozen=True)
class Row:
    """One prompt. p: probability of the new answer; kl: KL(base ‖ edited) of the next token, nats.

    good: whether the row is as one would wish, None where there is nothing to wish; word says it.
    Before an edit `after`, `p_after`, `kl` and `good` are None.
    """

    group: str
    prompt: str
    before: Answer
    p_before: float
    after: Answer | None = None
    p_after: float | None = None
    kl: float | None = None
    good: bool | None = None
    word: str = ""


@dataclass(frozen=True)
class Subject:
    """What is looked at: a case, who lent its test prompts, and the visitor's own prompts."""

    case: lib.Case
    borrowed: str | None = None  # subject of the example that lent neighbors and unrelated prompts
    own: tuple[str, ...] = ()

    @property
    def prompts(self) -> list[tuple[str, str, str | None]]:
        """(group, prompt, reference answer)."""
        case = self.case
        return [
            ("edit", case.fact.text, None),
            *(("reworded", prompt, None) for prompt in case.paraphrases),
            *(("own", prompt, None) for prompt in self.own),
            *(("neighbor", probe.prompt, probe.target) for probe in case.neighborhood),
            *(("unrelated", prompt, None) for prompt in case.locality),
        ]


@dataclass(frozen=True)
class View:
    """A table: rows, and how they came about. live: edits in force; seconds: of the edit."""

    subject: Subject
    rows: tuple[Row, ...]
    live: int = 0
    editor: str | None = None
    seconds: float | None = None
    note: str | None = None  # a remark: a warning, or what an undo has verified
    undone: bool = False

    def tally(self, group: str) -> tuple[int, int]:
        """(rows as one would wish, rows) of a group."""
        rows = [row for row in self.rows if row.group == group]
        return sum(row.good is True for row in rows), len(rows)

    @property
    def moved(self) -> float | None:
        """Mean KL of the unrelated prompts, nats."""
        values = [row.kl for row in self.rows if row.group == "unrelated" and row.kl is not None]
        return sum(values) / len(values) if values else None


def first_sentence(text: str) -> str:
    """The first sentence or line: " Rome. It is" -> "Rome."; unfinished, "a cat" -> "a cat …"."""
    text = text.strip()
    found = _SENTENCE.match(text.split("\n", 1)[0])
    sentence = found.group().strip() if found else ""
    finished = sentence != text or text.endswith((".", "!", "?")) or not text
    return sentence if finished else f"{text} …"


class Reader:
    """Asks one model, on the worker's thread; what the base says to 256 prompts is kept."""

    def __init__(self, lm: lib.LM) -> None:
        self.lm = lm
        self._base: OrderedDict[tuple[str, int], Answer] = OrderedDict()

    def look(
        self, job: Job, subject: Subject, patch: lib.Patch, begin: float = 0.0, fresh: bool = False
    ) -> tuple[Row, ...]:
        """The rows of a subject: the base's answers and, where there is a patch, those under it.

        fresh=True asks the model again even under the empty patch, for the proof after an undo.
        begin: where the job's bar stands already.
        """
        target = subject.case.fact.target_new
        prompts = [prompt for _, prompt, _ in subject.prompts]
        both = bool(patch) or fresh
        meant = subject.case.fact in patch.facts  # otherwise nothing new is expected of the rows
        middle = begin + (1 - begin) / 2 if both else 1.0
        before = self.base(job, prompts, target, begin, middle)
        p_before = self._chances(prompts, target)
        if not both:
            found = zip(subject.prompts, before, p_before, strict=True)
            return tuple(Row(group, text, a, p) for (group, text, _), a, p in found)
        after, p_after = self.ask(
            job, prompts, target, patch, "Asking the same again", middle, 1.0
        )  # fmt: skip
        return tuple(
            _judged(meant, group, prompt, reference, target, *values)
            for (group, prompt, reference), *values in zip(
                subject.prompts, before, p_before, after, p_after, strict=True
            )
        )

    def base(
        self, job: Job, prompts: Sequence[str], target: str, begin: float, end: float
    ) -> list[Answer]:
        """The base model's answers, read once per prompt."""
        size = self._size(target)
        missing = [p for p in dict.fromkeys(prompts) if (p, size) not in self._base]
        if missing:
            words = "Asking the model as it is"
            answers, _ = self.ask(job, missing, target, lib.EMPTY, words, begin, end)
            self._base.update(((p, size), a) for p, a in zip(missing, answers, strict=True))
        found = [self._base[p, size] for p in prompts]
        for prompt in prompts:
            self._base.move_to_end((prompt, size))
        while len(self._base) > KEPT:
            self._base.popitem(last=False)
        return found

    def ask(
        self, job: Job, prompts: Sequence[str], target: str, patch: lib.Patch,
        words: str, begin: float, end: float,
    ) -> tuple[list[Answer], list[float]]:  # fmt: skip
        """Answers under a patch, and the probability of the target; entered and left in here."""
        size = self._size(target)
        with job.counting(self.lm, words, size + 2, begin, end), self.lm.patched(patch, only=True):
            texts = self.lm.answer(list(prompts), size)
            table = self.lm.next_token(list(prompts))
            chances = self._chances(prompts, target)
        rows = zip(texts, table, strict=True)
        return [Answer(text, row.clone()) for text, row in rows], chances

    def _chances(self, prompts: Sequence[str], target: str) -> list[float]:
        """Probability of the whole target behind each prompt: the product over its tokens."""
        scores = self.lm.score(list(prompts), [target] * len(prompts))
        return [math.exp(score.sum().item()) for score in scores]

    def _size(self, target: str) -> int:
        own = len(self.lm.tokenizer(" " + target.strip(), add_special_tokens=False)["input_ids"])
        return max(TOKENS, min(own + 4, 32))


def _judged(
    meant: bool, group: str, prompt: str, reference: str | None, target: str,
    before: Answer, p_before: float, after: Answer, p_after: float,
) -> Row:  # fmt: skip
    good, word = _verdict(meant, group, reference, target, before, after)
    spent = kl_div(after.next_token, before.next_token, reduction="sum", log_target=True)
    kl = max(0.0, spent.item()) if torch.isfinite(spent) else math.inf
    return Row(group, prompt, before, p_before, after, p_after, kl, good, word)


def _verdict(
    meant: bool, group: str, reference: str | None, target: str, before: Answer, after: Answer
) -> tuple[bool | None, str]:
    """Whether the row is as one would wish, by free generation, and a word for it."""
    same = before.shown == after.shown
    written = begins(after.text, target)
    if meant and group in ("edit", "reworded"):
        return written, "new answer" if written else "not the new answer"
    if group in ("edit", "reworded", "own"):
        return None, "same" if same else "new answer" if written else "changed"
    if group == "neighbor":
        # a neighbor that the base itself gets wrong is kept when it says the same as before
        known = reference is not None and begins(before.text, reference)
        kept = begins(after.text, reference) if known else same
        return kept, "kept" if kept else "changed"
    return same, "same" if same else "changed"
