"""Prompts that are read once, for everything that is wanted of them.

An evaluation asks the same prompt several times: how probable one answer is and another, which
token comes next, and what the model writes by itself. `ask` reads each prompt once, with a
key-value cache. One wanted answer is read in the same run, further ones behind it.

Greedy answers are decoded with drafts. A draft is a text that the model is likely to write, such
as the wanted answer or what the model wrote before an edit. One run reads several tokens of it at
once, and a draft's token stands only where it is the most probable one, so the answer is the one
that token-by-token decoding gives, and a wrong draft costs time alone. (Speculative decoding, as
in Leviathan et al., 2023, with a draft that needs no second model.)

Routes decide at the prompt and are not asked again, as in `generation`. A route that reads the
answer too, and prompts longer than an attention window, are served by `scoring` and `generation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from . import generation, scoring
from .architectures import attention_window
from .batching import check_length, pad, planned, sequences
from .kept_states import States, behind, gathered
from .scoring import TokenScores

if TYPE_CHECKING:
    from .lm import LM

PORTION = 2048  # tokens of the prompts that stand in memory with their keys and values
RUN = 512  # padded tokens of one run, as in `scoring`
AHEAD = 8  # tokens of a draft that are read at once: a draft may be wrong from its second token on
ROWS = 64  # states whose logits stand in memory at once: 13 MB where 50,000 tokens are known


@dataclass
class Question:
    """One prompt, and what is wanted of it.

    row      token ids of the prompt.
    targets  answers, as token ids, whose tokens are scored.
    state    whether the last state of the prompt is wanted.
    most     tokens to generate at most; 0 generates nothing.
    drafts   texts, as token ids, that the model is likely to generate; targets are tried too.
    until    until(new_ids) may end the generation early.
    """

    row: list[int]
    targets: Sequence[tuple[int, ...]] = ()
    state: bool = False
    most: int = 0
    drafts: Sequence[Sequence[int]] = ()
    until: Callable[[list[int]], bool] | None = None


@dataclass
class Reply:
    """The answers to one question.

    scores  the scores of each target's tokens.
    state   (d,) the state after the final norm at the prompt's last token, where it was wanted:
            `lm.head` makes the logits of the next token from it.
    ids     the new token ids, without the end-of-text token.
    """

    scores: dict[tuple[int, ...], TokenScores] = field(default_factory=dict)
    state: Tensor | None = None
    ids: list[int] = field(default_factory=list)


class _Chunk(NamedTuple):
    """Tokens that are read behind a prompt.

    question  its number in the portion.
    begun     the states that they are read behind: of a run, and the row in it.
    ids       the tokens.
    targets   the targets whose tokens but the last are the first ones of these.
    grows     whether the answer is decoded along these tokens.
    """

    question: int
    begun: tuple[States, int]
    ids: tuple[int, ...]
    targets: tuple[tuple[int, ...], ...] = ()
    grows: bool = True


def ask(lm: LM, questions: Sequence[Question]) -> list[Reply]:
    """The reply to each question.

    Raises ValueError for an empty target, and for a prompt and target that exceed the context.
    """
    if not all(target for q in questions for target in q.targets):
        raise ValueError("an empty target cannot be scored")
    check_length(lm, [[*q.row, *target[:-1]] for q in questions for target in q.targets])
    replies = [Reply() for _ in questions]
    window = attention_window(lm.model.config)
    reach = max((max([q.most, *map(len, q.targets)]) for q in questions), default=0) + AHEAD
    apart: list[int] = []
    together: list[int] = []
    for i, q in enumerate(questions):
        (apart if window and len(q.row) + reach > window else together).append(i)
    _ask_apart(lm, [questions[i] for i in apart], [replies[i] for i in apart])
    for some in _portions([len(questions[i].row) for i in together]):
        chosen = [together[j] for j in some]
        _Portion(lm, [questions[i] for i in chosen], [replies[i] for i in chosen]).run()
    return replies


def _portions(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The numbers of the rows, the longest first, in parts of at most PORTION padded tokens."""
    part: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if part and sum(lengths[j] for j in part) + lengths[i] > PORTION:
            yield part
            part = []
        part.append(i)
    if part:
        yield part


def _ask_apart(lm: LM, questions: Sequence[Question], replies: Sequence[Reply]) -> None:
    """The same by one run for each thing that is wanted."""
    _score_apart(lm, questions, replies)
    for q, reply in zip(questions, replies, strict=True):
        if q.state:
            seqs = sequences(lm, [q.row])
            with lm.opened(seqs):
                hidden = lm.backbone(seqs.ids, seqs.real, use_cache=False).last_hidden_state
            reply.state = hidden[0, -1].clone()
    asked = [i for i, q in enumerate(questions) if q.most > 0]
    if asked:

        def until(i: int, ids: list[int]) -> bool:
            q = questions[asked[i]]
            return len(ids) >= q.most or bool(q.until and q.until(ids))

        most = max(questions[i].most for i in asked)
        rows = [questions[i].row for i in asked]
        found = generation.generate(lm, rows, most, until=until).ids
        for i, ids in zip(asked, found, strict=True):
            replies[i].ids = ids


def _score_apart(lm: LM, questions: Sequence[Question], replies: Sequence[Reply]) -> None:
    """The scores alone, each target read behind its whole prompt."""
    pairs = [(i, target) for i, q in enumerate(questions) for target in q.targets]
    if pairs:
        rows, ends = [questions[i].row for i, _ in pairs], [target for _, target in pairs]
        for (i, target), scores in zip(pairs, scoring.score(lm, rows, ends), strict=True):
            replies[i].scores[target] = scores


class _Portion:
    """Questions whose prompts' keys and values stand in memory together.

    targets  the targets of each question that are scored here.
    found    for each question and target the log-probability and the hit of each token so far.
    ready    questions that grow token by token from here on: where they stand, and the next token.
    """

    def __init__(self, lm: LM, questions: Sequence[Question], replies: Sequence[Reply]) -> None:
        self.lm, self.questions, self.replies = lm, questions, replies
        self.stops, self.context = generation.stop_ids(lm), lm.context or 10**9
        self.limits = [min(q.most, self.context - len(q.row)) for q in questions]
        self.ready: list[tuple[int, tuple[States, int], int]] = []
        self.apart = any(route.reads_answer for route in lm._routes.values())
        self.targets = [[] if self.apart else list(dict.fromkeys(q.targets)) for q in questions]
        self.found: list[dict[tuple[int, ...], list[tuple[float, bool]]]] = [
            {target: [] for target in targets} for targets in self.targets
        ]

    def run(self) -> None:
        """Read the prompts, then targets and drafts behind them, then generate what is left."""
        if self.apart:
            _score_apart(self.lm, self.questions, self.replies)
        chunks: list[_Chunk] = []
        lengths = [len(q.row) + len(self._attached(i)) for i, q in enumerate(self.questions)]
        for group in planned(lengths, RUN):
            chunks += self._read_prompts(group)
        while chunks:
            groups = planned([len(chunk.ids) for chunk in chunks], RUN)
            chunks = [new for some in groups for new in self._read([chunks[j] for j in some])]
        if self.ready:
            self._grow()
        for reply, found in zip(self.replies, self.found, strict=True):
            for target, tokens in found.items():
                log_probs, hits = zip(*tokens, strict=True)
                reply.scores[target] = TokenScores(torch.tensor(log_probs), torch.tensor(hits))

    def _attached(self, i: int) -> tuple[int, ...]:
        """The tokens that are read in the same run as a prompt: those of a target.

        They are needed to score it. Where an answer is generated too, the target is its first
        draft, and what comes behind it is wanted as well.
        """
        targets = self.targets[i]
        if not targets:
            return ()
        if not self.limits[i] > 0:
            return max(targets, key=len)[:-1]
        return targets[0][: self.context - len(self.questions[i].row)]

    def _read_prompts(self, group: Sequence[int]) -> list[_Chunk]:
        """Read a group of prompts with a target each; returns the tokens to read behind them."""
        lm, attached = self.lm, [self._attached(i) for i in group]
        rows = [[*self.questions[i].row, *more] for i, more in zip(group, attached, strict=True)]
        # a target is covered where all its tokens but the last are read here
        covered = [
            [target for target in self.targets[i] if more[: len(target) - 1] == target[:-1]]
            for i, more in zip(group, attached, strict=True)
        ]
        apart = [
            [target for target in self.targets[i] if target not in some]
            for i, some in zip(group, covered, strict=True)
        ]
        keep = any(apart) or any(self.limits[i] > 0 for i in group)
        seqs = sequences(lm, rows, [len(more) for more in attached])
        last = [seqs.ids.shape[1] - 1 - len(more) for more in attached]  # columns
        with lm.opened(seqs):
            out = lm.backbone(seqs.ids, seqs.real, use_cache=keep)
            hidden = out.last_hidden_state
            for j, i in enumerate(group):
                if self.questions[i].state:
                    self.replies[i].state = hidden[j, last[j]].clone()
            starts = _starts([1 + len(more) for more in attached])
            wanted = [
                (starts[j] + at, target, at)
                for j, i in enumerate(group)
                for target in self.targets[i]
                for at in range(len(target) if target in covered[j] else 1)
            ]
            if not keep and not wanted:
                return []
            columns = torch.arange(hidden.shape[1], device=hidden.device)
            first = torch.tensor(last, device=hidden.device)[:, None]
            owners = [i for i, more in zip(group, attached, strict=True) for _ in (0, *more)]
            best = self._predict(hidden[columns >= first], wanted, owners)
        if not keep:
            return []
        prompts = States(out.past_key_values, seqs.prompt, seqs.memo)
        grown = States(out.past_key_values, seqs.real.clone(), seqs.memo)
        chunks = []
        for j, i in enumerate(group):
            for way in _longest([target[:-1] for target in apart[j]]):
                scored = tuple(t for t in apart[j] if way[: len(t) - 1] == t[:-1])
                apart[j] = [target for target in apart[j] if target not in scored]
                chunks.append(_Chunk(i, (prompts, j), way, scored, grows=False))
            if self.limits[i] > 0:
                said = best[starts[j] : starts[j + 1]]
                chunks += self._follow(i, (grown, j), last[j], attached[j], said)
        return chunks

    def _read(self, chunks: Sequence[_Chunk]) -> list[_Chunk]:
        """Read tokens behind prompts, score them and accept what is right of drafts.

        Returns what drafts expect further on.
        """
        lm = self.lm
        begun = gathered(lm, [chunk.begun for chunk in chunks])
        ids, real = pad(lm, [chunk.ids[::-1] for chunk in chunks])
        ids, real = ids.flip(1), real.flip(1)  # padding stands behind the tokens
        counts = torch.cat([begun.counts, real], 1)
        starts = _starts([len(chunk.ids) for chunk in chunks])
        wanted = [
            (start + at, target, at + 1)
            for start, chunk in zip(starts, chunks, strict=False)
            for target in chunk.targets
            for at in range(len(target) - 1)
        ]
        seqs = behind(begun, ids, real)
        with lm.opened(seqs):
            out = lm.backbone(ids, real, mask=counts, past_key_values=begun.cache, use_cache=True)
            owners = [chunk.question for chunk in chunks for _ in chunk.ids]
            best = self._predict(out.last_hidden_state[real], wanted, owners)
        states = States(out.past_key_values, counts, begun.memo)
        first, further = begun.counts.shape[1], []
        for r, chunk in enumerate(chunks):
            if chunk.grows:
                said = best[starts[r] : starts[r + 1]]
                further += self._follow(chunk.question, (states, r), first, chunk.ids[1:], said)
        return further

    def _follow(
        self,
        i: int,
        where: tuple[States, int],
        column: int,
        draft: Sequence[int],
        said: Sequence[int],
    ) -> list[_Chunk]:
        """Let an answer grow along a draft that was read, as far as it is right.

        column  the column of the token in front of the draft.
        said    the most probable token behind that token and behind each one of the draft.

        Returns what another draft expects further on, if there is one.
        """
        states, row = where
        for at, token in enumerate(said):
            if not self._accept(i, token):
                return []
            if draft[at : at + 1] != (token,):
                break
        states.counts[row, column + at + 1 :] = False  # what was read behind it was wrong
        ahead = self._ahead(i)
        if len(ahead) > 1:
            return [_Chunk(i, where, ahead)]
        self.ready.append((i, where, token))
        return []

    def _grow(self) -> None:
        """Generate token by token where no draft fits."""
        ready, self.ready = self.ready, []
        begun = gathered(self.lm, [where for _, where, _ in ready])
        tokens = torch.tensor([token for *_, token in ready], device=self.lm.device)
        ids = tokens[:, None]
        seqs, fresh = behind(begun, ids, torch.ones_like(ids, dtype=torch.bool)), set()

        def accept(i: int, token: int) -> bool:
            """As `_accept`, but that the first token was accepted before."""
            if i in fresh:
                return self._accept(i, token)
            fresh.add(i)
            return True

        def choose(states: Tensor) -> Tensor:
            return self.lm.head(states).argmax(-1)

        rows = [i for i, *_ in ready]
        del ready
        with self.lm.opened(seqs):
            generation.go_on(self.lm, seqs, begun.counts, begun.cache, rows, tokens, choose, accept)

    def _accept(self, i: int, token: int) -> bool:
        """Keep the next token of an answer, unless it ends there; whether it grows further."""
        ids, until = self.replies[i].ids, self.questions[i].until
        if token in self.stops or len(ids) >= self.limits[i]:
            return False
        ids.append(token)
        return not (until and until(ids)) and len(ids) < self.limits[i]

    def _ahead(self, i: int) -> tuple[int, ...]:
        """The last token of an answer so far, and the tokens that a draft expects behind it."""
        ids, q = self.replies[i].ids, self.questions[i]
        fitting = [d for d in (*q.targets, *q.drafts) if list(d[: len(ids)]) == ids]
        # an answer's last token need not be read
        end = min(len(ids) + AHEAD, self.limits[i]) - 1
        return ids[-1], *max(fitting, key=len, default=ids)[len(ids) : end]

    def _predict(
        self,
        states: Tensor,
        wanted: Sequence[tuple[int, tuple[int, ...], int]],
        owners: Sequence[int],
    ) -> list[int]:
        """The most probable token behind each of the states (n, d); keeps what is `wanted`.

        wanted  (place of the state, target, number of the target's token), by ascending token.
        owners  (n) the question of each state.
        """
        best: list[int] = []
        for start in range(0, len(states), ROWS):
            logits = self.lm.head(states[start : start + ROWS])
            best += logits.argmax(-1).tolist()
            here = [one for one in wanted if start <= one[0] < start + ROWS]
            if not here:
                continue
            places = torch.tensor([place - start for place, *_ in here], device=logits.device)
            tokens = torch.tensor([target[at] for _, target, at in here], device=logits.device)
            log_probs = logits[places, tokens] - logits.logsumexp(-1)[places]
            for (place, target, at), log_prob in zip(here, log_probs.tolist(), strict=True):
                hit = best[place] == target[at]
                self.found[owners[place]][target].append((log_prob, hit))
        return best


def _starts(lengths: Sequence[int]) -> list[int]:
    """Where each of several parts begins when they stand in a row, and where the last one ends.

    (2, 3) -> [0, 2, 5]
    """
    return [0, *accumulate(lengths)]


def _longest(ways: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The tuples that are not the beginning of another one.

    ((1,), (1, 2), (3,)) -> [(1, 2), (3,)]
    """
    found: list[tuple[int, ...]] = []
    for way in sorted(ways, key=len, reverse=True):
        if not any(other[: len(way)] == way for other in found):
            found.append(way)
    return found
