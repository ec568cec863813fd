"""A model's answers about an entity: all wordings of some relations, generated together."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from statistics import fmean
from typing import NamedTuple

from torch import Tensor

from ...data.relations import Relation, bare
from ...model.lm import LM
from ...patch.patch import EMPTY, Patch
from ..interpret.logit_lens import lens

TOKENS = 6  # of an answer
# Both thresholds from 16 made-up names on the default model (496 answers, none of which can be
# known): all three wordings agree with a lift above 3 nats in 3.4% of them. With two of three
# wordings and 2 nats, it would be 27%: a name sounds Norwegian, and the answers follow its sound.
# On 34 others, it is 2.3% (the rows are in git at 2f928b6).
AGREED = 1.0
LIFTED = 3.0  # nats
_ANSWER = re.compile(r"[^.,;:!?\n]+")


class EntityReply(NamedTuple):
    """The answer to one wording.

    text   the answer up to the first punctuation mark
    p      probability of its first token
    lift   log p of this token minus its mean over other subjects of the relation, nats: 0 for an
           answer that every subject gets; NaN if there is no other subject
    """

    text: str
    p: float
    lift: float


@dataclass(frozen=True)
class EntityAnswers:
    """A model's answers to one relation of the entity, and the layer where the answer appears.

    replies  one per wording
    layer    first layer after which the first wording's answer is on top in the logit lens; None if
             it never is
    """

    replies: tuple[EntityReply, ...]
    layer: int | None

    @property
    def _counts(self) -> list[int]:
        """The number of replies agreeing with each reply."""
        words = [first_word(reply.text) for reply in self.replies]
        return [words.count(word) for word in words]

    @property
    def answer(self) -> str:
        """The answer given by most wordings, the first if several are given equally often."""
        return self.replies[self._counts.index(max(self._counts))].text

    @property
    def agreement(self) -> float:
        """The fraction of the wordings that give it."""
        return max(self._counts) / len(self.replies)

    @property
    def p(self) -> float:
        """Mean probability of the first token of each wording's answer."""
        return fmean(reply.p for reply in self.replies)

    @property
    def lift(self) -> float:
        """Mean lift of the wordings, nats."""
        return fmean(reply.lift for reply in self.replies)

    @property
    def consistent(self) -> bool:
        """True if the wordings agree on an answer that others do not get: both thresholds hold."""
        return bool(self.agreement >= AGREED - 1e-9 and self.lift > LIFTED)


def answers(
    lm: LM,
    prompts: Sequence[Sequence[str]],
    usual: Sequence[Sequence[Tensor | None]],
    patch: Patch = EMPTY,
) -> list[EntityAnswers]:
    """Return the model's answers under a patch, relation by relation.

    prompts  the wordings of each relation
    usual    for each wording the mean log-probabilities (vocabulary) of the next token for other
             subjects, as in `usual_answers`
    """
    flat = [prompt for some in prompts for prompt in some]
    means = [mean for some in usual for mean in some]
    with lm.patched(patch, only=True):
        table = lm.next_token(flat).cpu()
        texts = lm.answer(flat, TOKENS)
    tokens = table.argmax(1).tolist()
    replies = []
    for text, token, row, mean in zip(texts, tokens, table, means, strict=True):
        log_p = row[token].item()
        lift = math.nan if mean is None else log_p - mean[token].item()
        replies.append(EntityReply(until_mark(text), math.exp(log_p), lift))
    starts = list(accumulate((len(some) for some in prompts), initial=0))
    layers = _layers(lm, [some[0] for some in prompts], [tokens[i] for i in starts[:-1]], patch)
    return [
        EntityAnswers(tuple(replies[first:end]), layer)
        for first, end, layer in zip(starts, starts[1:], layers, strict=False)
    ]


def usual_answers(
    lm: LM, relation: Relation, templates: Sequence[str], entity: str, most: int
) -> list[Tensor | None]:
    """Return mean log-probabilities (vocabulary) of the next token over other subjects.

    There is one mean per template.

    entity  the subject to leave out
    most    maximum number of other subjects, using the relation's first subjects

    None represents a template without other subjects. The means depend only on the model and these
    subjects, so they are kept in memory, in half precision.
    """
    subjects = [s for s, _ in relation.answers if bare(s) != bare(entity)][:most]

    def asked(prompts: list[str]) -> Tensor:
        with lm.patched(EMPTY, only=True):
            return lm.next_token(prompts).mean(0).half().cpu()

    found: list[Tensor | None] = []
    for template in templates:
        prompts = [relation.ask(template, subject) for subject in subjects]
        key = ("usual answers", lm.stored_identity, *prompts)
        found.append(lm.once(key, partial(asked, prompts)).float() if prompts else None)
    return found


def _layers(
    lm: LM, prompts: Sequence[str], tokens: Sequence[int], patch: Patch
) -> list[int | None]:
    """Return the first layer from which each prompt's token stays on top in the logit lens."""
    words = [lm.tokenizer.decode([token]).strip() for token in tokens]
    asked = [i for i, word in enumerate(words) if word]  # a line break is not an answer
    found: list[int | None] = [None] * len(prompts)
    if asked:
        with lm.patched(EMPTY, only=True):  # not on top of another patch applied by the caller
            table = lens(lm, [prompts[i] for i in asked], [[words[i]] for i in asked], patch)
        ranks = table["rank"].to_numpy().reshape(len(asked), lm.n_layers)
        for i, row in zip(asked, ranks.tolist(), strict=True):
            below = [layer for layer, rank in enumerate(row) if rank != 1]
            first = below[-1] + 1 if below else 0
            found[i] = first if first < lm.n_layers else None
    return found


def first_word(text: str) -> str:
    """Return an answer's first word for comparing: without its article, in lower case."""
    words = bare(text).split()
    return words[0].strip("\"'“”‘’.,;:!?") if words else ""


def until_mark(text: str) -> str:
    """Return a text up to its first punctuation mark. " Rome, the" -> "Rome"."""
    found = _ANSWER.search(text)
    return (found.group() if found else text).strip()
