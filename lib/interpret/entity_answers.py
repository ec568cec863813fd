"""What a model answers about an entity: every wording of some relations, asked together.

A prompt is read once, for the answer and for the probability of its first token, and an answer is
read no further than to its first punctuation mark. What the unedited model says is the draft of
what an edited one says (`model/questions.py`): most answers are the same, and are then verified in
one run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.relations import bare
from ..model import questions
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from .logit_lens import lens

TOKENS = 6  # of an answer
# Both thresholds from 16 made-up names on the embedded model (496 answers, none of which can be
# known): all three wordings agree with a lift above 3 nats in 3.4 % of them. With two of three
# wordings and 2 nats it would be 27 %: a name sounds Norwegian, and the answers follow its sound.
# On 34 others it is 2.3 % (tests/benchmarks/dossier.json).
AGREED = 1.0
LIFTED = 3.0  # nats
_ANSWER = re.compile(r"[^.,;:!?\n]+")


class Reply(NamedTuple):
    """The answer to one wording.

    text   the answer up to the first punctuation mark
    p      probability of its first token
    lift   log p of this token minus its mean over other subjects of the relation, nats: 0 for an
           answer that every subject gets; NaN where there is no other subject
    """

    text: str
    p: float
    lift: float

    @property
    def bare(self) -> str:
        """The first word as answers are compared: no article, small letters."""
        return first_word(self.text)


@dataclass(frozen=True)
class Told:
    """What a model says of one relation of the entity: the replies, and where the answer turns up.

    replies  one per wording
    layer    first layer after which the logit lens has the first wording's answer on top; None
             where it is never there
    """

    replies: tuple[Reply, ...]
    layer: int | None

    @property
    def answer(self) -> str:
        """The answer that most wordings give, the first one where several are given equally."""
        counts = [sum(a.bare == b.bare for b in self.replies) for a in self.replies]
        return self.replies[counts.index(max(counts))].text

    @property
    def agreement(self) -> float:
        """The share of the wordings that give it."""
        return max(sum(a.bare == b.bare for b in self.replies) for a in self.replies) / len(
            self.replies
        )

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
        """Whether the wordings agree on an answer that others do not get: both thresholds hold."""
        return bool(self.agreement >= AGREED - 1e-9 and self.lift > LIFTED)


@dataclass(frozen=True)
class Said:
    """The continuation of one prompt.

    ids         the new tokens.
    text        their text up to the first punctuation mark.
    next_token  (vocabulary,) log-probabilities of the token behind the prompt, nats.
    """

    ids: tuple[int, ...]
    text: str
    next_token: Tensor


def said(
    lm: LM, prompts: Sequence[str], patch: Patch = EMPTY, drafts: Sequence[Sequence[int]] = ()
) -> list[Said]:
    """The greedy continuation of each prompt under a patch.

    drafts  what the model is likely to write, one list of tokens for each prompt; a wrong one costs
            time and changes nothing
    """
    with lm.patched(patch, only=True):
        rows, _ = lm.rows(list(prompts))
        given = [[draft] for draft in drafts] or [[] for _ in rows]
        asked = [
            questions.Question(row, state=True, most=TOKENS, drafts=some, until=_ended(lm, row))
            for row, some in zip(rows, given, strict=True)
        ]
        replies = questions.ask(lm, asked)
        texts = lm.texts(rows, [reply.ids for reply in replies])
        states = torch.stack([reply.state for reply in replies])
        table = lm.head(states).log_softmax(-1).cpu()
    return [
        Said(tuple(reply.ids), _answer(text), row)
        for reply, text, row in zip(replies, texts, table, strict=True)
    ]


def told(
    lm: LM,
    prompts: Sequence[Sequence[str]],
    heard: Sequence[Said],
    usual: Sequence[Sequence[Tensor | None]],
    patch: Patch = EMPTY,
) -> list[Told]:
    """What was said of some relations, beside what other subjects get, and at which layers.

    prompts  the wordings of each relation
    heard    what the model said to all of them, in their order, under the patch
    usual    for each wording the mean log-probabilities (vocabulary) of the next token for other
             subjects; None where there is no other
    """
    means = [mean for some in usual for mean in some]
    tokens = [int(one.next_token.argmax()) for one in heard]
    replies = []
    for one, token, mean in zip(heard, tokens, means, strict=True):
        log_p = one.next_token[token].item()
        lift = math.nan if mean is None else log_p - mean[token].item()
        replies.append(Reply(one.text, math.exp(log_p), lift))
    starts = list(accumulate((len(some) for some in prompts), initial=0))
    layers = _layers(lm, [some[0] for some in prompts], [tokens[i] for i in starts[:-1]], patch)
    return [
        Told(tuple(replies[first:end]), layer)
        for first, end, layer in zip(starts, starts[1:], layers, strict=False)
    ]


def _layers(
    lm: LM, prompts: Sequence[str], tokens: Sequence[int], patch: Patch
) -> list[int | None]:
    """The first layer from which on the lens has each prompt's token on top."""
    words = [lm.tokenizer.decode([token]).strip() for token in tokens]
    asked = [i for i, word in enumerate(words) if word]  # a line break is no answer
    found: list[int | None] = [None] * len(prompts)
    if asked:
        with lm.patched(EMPTY, only=True):  # not on top of another patch of the caller's
            table = lens(lm, [prompts[i] for i in asked], [[words[i]] for i in asked], patch)
        ranks = table["rank"].to_numpy().reshape(len(asked), lm.n_layers)
        for i, row in zip(asked, ranks.tolist(), strict=True):
            below = [layer for layer, rank in enumerate(row) if rank != 1]
            first = below[-1] + 1 if below else 0
            found[i] = first if first < lm.n_layers else None
    return found


def first_word(text: str) -> str:
    """The first word of an answer as answers are compared: no article, small letters."""
    words = bare(text).split()
    return words[0].strip("\"'“”‘’.,;:!?") if words else ""


def _answer(text: str) -> str:
    """A text up to its first punctuation mark."""
    found = _ANSWER.search(text)
    return (found.group() if found else text).strip()


def _ended(lm: LM, row: list[int]) -> Callable[[list[int]], bool]:
    """Whether the tokens behind a row go beyond the first punctuation mark of its answer."""

    def until(ids: list[int]) -> bool:
        text = lm.texts([row], [ids])[0]
        found = _ANSWER.search(text)
        return found is not None and found.end() < len(text)

    return until
