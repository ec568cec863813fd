"""Asks the model all prompts about a subject, before and after an edit, and judges each answer.

The base model's answers are kept because every visitor's table begins with them. They also serve as
drafts of later answers: the answers to most prompts do not change, so a single run of the edited
model can verify the whole text (`lib/model/read_once.py`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

import lib
from lib.data.facts import encode_target
from lib.evaluation.answers import plain
from lib.evaluation.prompt_batch import Base
from lib.model import read_once, scoring

from . import verdicts
from .consequences import known
from .views import STAY, UNASKED, Answer, Ask, Row, Subject, View, clause
from .worker import Job

TOKENS = 12  # tokens in an answer; if the new answer is longer, its length plus MORE
# tokens in a chat answer, a full sentence; more if the prompt is long, since it may be repeated
CHAT = 24
MORE = 4
KNOWN = 12  # approximate passes for asking about the facts that a consequence depends on
KEPT = 512  # prompts whose base answer is kept, each with a next-token distribution
# upper limit for these distributions; with Gemma's 262144 tokens, each takes 1 MB
BYTES = 100 << 20

Pair = tuple[Ask, str | None]  # a prompt and an answer to it


class Asker:
    """Asks one model, on the worker's thread, and keeps the base model's answers to 512 prompts.

    It keeps fewer if their next-token distributions would exceed 100 MB.
    """

    def __init__(self, lm: lib.LM) -> None:
        self.lm = lm
        self.chats = bool(getattr(lm.tokenizer, "chat_template", None))
        self._base: OrderedDict[tuple[Ask, int], Answer] = OrderedDict()
        self._chance: OrderedDict[Pair, float | None] = OrderedDict()
        self._parts = Base(lm.identity)

    def prompts(self, subject: Subject) -> list[tuple[str, str, tuple[str, ...]]]:
        """A subject's prompts, leaving out chat if the model has no template for it."""
        return [one for one in subject.prompts if one[0] != "chat" or self.chats]

    def unasked(self, subject: Subject) -> View:
        """The view of a subject before the model has been asked anything."""
        rows = (Row(group, text, UNASKED, None) for group, text, _ in self.prompts(subject))
        return View(subject, tuple(rows))

    def old(self, subject: Subject) -> str | None:
        """The current answer: from the case or, once available, from the base model."""
        fact = subject.case.fact
        ask = fact.text, False
        known = self._base.get((ask, self.size(ask, fact.target_new)))
        old = fact.target_true or (clause(known.text) if known else "")
        return None if plain(old) in ("", plain(fact.target_new)) else old

    def look(
        self,
        job: Job,
        subject: Subject,
        patch: lib.Patch,
        begin: float = 0.0,
        fresh: bool = False,
        end: float = 1.0,
        words: str = "Testing every prompt again",
        start: lib.Patch = lib.EMPTY,
        only: int | None = None,
    ) -> tuple[Row, ...]:
        """The rows for a subject: the base model's answers and, if there is a patch, the answers
        under it.

        fresh=True asks the model again even under the empty patch, as a proof after an undo. only:
        the number of prompts to ask, starting with the edit itself; None for all. begin, end: the
        part of the job's bar to fill. start: the patch that the last edit was made on top of; the
        verdicts compare with the answers under it.
        """
        target = subject.case.fact.target_new
        prompts = self.prompts(subject)[:only]
        asks = [(text, group == "chat") for group, text, _ in prompts]
        meant = subject.case.fact in patch.facts  # otherwise, no new answer is expected in the rows
        mine = [fact for fact in patch.facts if fact.subject != subject.case.fact.subject]
        middle = begin + (end - begin) * 0.4 if patch or fresh else end
        before = self.base(job, asks, target, begin, middle)
        said = dict(zip(asks, before, strict=True))
        so_far, new = self.old(subject), [(ask, target) for ask in asks]
        old = [  # a neighbor has its own old answer
            (ask, clause(said[ask].text) or None if group in STAY else so_far)
            for ask, (group, *_) in zip(asks, prompts, strict=True)
        ]
        was = [self.chances(pairs, said) for pairs in (new, old)]
        plain_rows = tuple(
            Row(group, text, a.text, p, old=o)
            for (group, text, _), a, p, o in zip(prompts, before, *was, strict=True)
        )
        if not (patch or fresh):
            return plain_rows

        after, chances = self.ask(job, asks, target, patch, words, middle, end, (new, old))
        earlier: Sequence[Answer | None] = [None] * len(asks)
        if not meant:  # every live edit came earlier
            earlier = after
        elif start:
            earlier, _ = self.ask(job, asks, target, start, words, end, end)
        follows = {probe.prompt: probe for probe in subject.case.portability} if meant else {}
        with job.counting(self.lm, "Testing what the model knows", KNOWN, end, end):
            parts = known(self.lm, self._parts, follows.values())
        rows: list[Row] = []
        for row, (group, prompt, right), old, under, new, p_after, old_after in zip(
            plain_rows, prompts, before, earlier, after, *chances, strict=True
        ):
            more = {"p_after": p_after, "old_after": old_after, "kl": verdicts.divergence(old, new)}
            row = replace(row, after=new.text, earlier=under and under.text, **more)
            if group == "follows" and not parts.get(prompt):
                right = ()
            first = rows[0] if rows else None
            rows.append(verdicts.judged(row, target, first, right, mine, meant))
        return tuple(rows)

    def base(
        self, job: Job, asks: Sequence[Ask], target: str, begin: float, end: float
    ) -> list[Answer]:
        """The base model's answers, computed once per prompt."""
        keys = [(ask, self.size(ask, target)) for ask in asks]
        missing = [key[0] for key in dict.fromkeys(keys) if key not in self._base]
        if missing:
            words = "Asking the unedited model"
            # the same run also gives the probability of this answer
            new = [(ask, target) for ask in missing]
            _, (chances,) = self.ask(job, missing, target, lib.EMPTY, words, begin, end, (new,))
            self._chance.update(zip(new, chances, strict=True))
        found = [self._base[key] for key in keys]
        for key in keys:
            self._base.move_to_end(key)
        fit = BYTES // max([1, *(one.next_token.nbytes for one in found)])
        while len(self._base) > max(min(KEPT, fit), len(asks)):
            self._base.popitem(last=False)
        return found

    def ask(
        self,
        job: Job,
        asks: Sequence[Ask | str],
        target: str,
        patch: lib.Patch,
        words: str,
        begin: float,
        end: float,
        wanted: Sequence[Sequence[Pair]] = (),
    ) -> tuple[list[Answer], list[list[float | None]]]:
        """Answers under a patch, and the probabilities of wanted answers, one list for each list of
        pairs.

        target: determines the maximum length of an answer. wanted: lists of (prompt, answer) for
            the new and the old answers, each starting with the fact's own. The patch is entered and
            left in here.
        """
        pairs: list[Ask] = [(ask, False) if isinstance(ask, str) else ask for ask in asks]
        once, first = list(dict.fromkeys(pairs)), [some[0][1] for some in wanted[:2]]
        sizes = [self.size(ask, target) for ask in once]
        ends = {pair: tuple(self._ids(*pair)) for some in wanted for pair in some if pair[1]}
        with (
            job.counting(self.lm, words, max(sizes) + 4, begin, end),
            self.lm.patched(patch, only=True),
        ):
            rows = [self.lm.rows([text], chat=chat)[0][0] for text, chat in once]
            asked = [
                read_once.Question(
                    row,
                    [end for (of, _), end in ends.items() if of == ask],
                    state=True,
                    most=size,
                    # always ask the unedited model in the same way, to get the same bits
                    draft=self._expected(ask, target, *first) if patch else (),
                )
                for ask, row, size in zip(once, rows, sizes, strict=True)
            ]
            replies = read_once.ask(self.lm, asked)
            texts = self.lm.texts(rows, [reply.ids for reply in replies])
            states = torch.stack([reply.state for reply in replies])
            table = self.lm.head(states).log_softmax(-1).cpu()
        found = {
            ask: (Answer(text, row.clone(), reply.ids), reply)
            for ask, text, row, reply in zip(once, texts, table, replies, strict=True)
        }
        if not patch:
            for ask, (answer, _) in found.items():
                self._base.setdefault((ask, self.size(ask, target)), answer)
        chances = {
            pair: math.exp(found[pair[0]][1].scores[end].log_probs.sum().item())
            for pair, end in ends.items()
        }
        return [found[ask][0] for ask in pairs], [[chances.get(one) for one in w] for w in wanted]

    def _expected(
        self, ask: Ask, target: str, new: str | None = None, old: str | None = None
    ) -> Sequence[int]:
        """Token ids of a likely answer under a patch, or () if there is no guess.

        This is the unedited model's answer, with the old answer replaced by the new one.
        """
        known = self._base.get((ask, self.size(ask, target)))
        if known is None:
            return ()
        if new is not None and old is not None and old in known.text:
            text = known.text.replace(old, new)
            return self.lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        return known.ids

    def chances(self, pairs: Sequence[Pair], said: Mapping[Ask, Answer]) -> list[float | None]:
        """The base model's probability of each full answer as the continuation of a prompt,
        computed once.

        It is the product over the answer's tokens. A single token's probability is already in the
        stored answer; only longer answers need another run.
        """
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._chance]
        ends = {(ask, text): self._ids(ask, text) for ask, text in missing if text is not None}
        one = {pair: end[0] for pair, end in ends.items() if len(end) == 1}
        sums = {pair: said[pair[0]].next_token[token] for pair, token in one.items()}
        long = [pair for pair in ends if pair not in sums]
        if long:
            with self.lm.patched(lib.EMPTY, only=True):
                rows = [self.lm.rows([text], chat=chat)[0][0] for (text, chat), _ in long]
                scores = scoring.score(self.lm, rows, [ends[pair] for pair in long])
            sums |= {pair: score.log_probs.sum() for pair, score in zip(long, scores, strict=True)}
        chances = {pair: math.exp(sums[pair].item()) if pair in sums else None for pair in missing}
        self._chance.update(chances)
        found = [self._chance[pair] for pair in pairs]
        while len(self._chance) > 8 * KEPT:
            self._chance.popitem(last=False)
        return found

    def _ids(self, ask: Ask, answer: str) -> list[int]:
        tokenizer = self.lm.tokenizer
        if ask[1]:  # a chat reply starts without a space
            return tokenizer(answer.strip(), add_special_tokens=False)["input_ids"]
        return encode_target(tokenizer, answer)

    def size(self, ask: Ask, target: str) -> int:
        """The maximum number of tokens in an answer, leaving enough for the new answer."""
        prompt, chat = ask
        own = len(self._ids(ask, target)) + MORE
        if not chat:
            return max(TOKENS, own)
        repeated = self.lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return max(CHAT, len(repeated) + own)
