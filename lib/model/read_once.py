"""Reading every prompt only once for everything needed of it.

An evaluation uses the same prompt several times: for comparing the probabilities of answers,
predicting the next token, and generating text. `ask` reads a batch of prompts once, with a
key-value cache and one likely answer after each prompt. Further answers are read after the prompts,
and then every text grows token by token.

The likely answer is a draft of the text: its tokens stay as long as each is the most probable
token, making the text the same as when decoding token by token, and a wrong draft only costs time.
(Speculative decoding, as in Leviathan et al., 2023, with a draft needing no second model.)
Tokens not belonging to a text are masked after reading them.

Routes decide only once, at the prompt, as in `generation`. Under a route also reading the answer,
and for prompts longer than an attention window, everything needed of a prompt becomes a separate
question (`alone`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..cancellation import bar
from ..errors import ArgumentError
from . import generation
from .architectures import attention_window
from .batching import BATCH_TOKENS, EXTRA, check_length, grouped, pad, planned, sequences

if TYPE_CHECKING:
    from .lm import LM
    from .sequences import Sequences

# Padded tokens of a run on a CPU, without and with further tokens after it. 512 tokens are enough
# for large products, and states stay in the processor's cache: this is 1.6 times faster than 4096.
RUN = 512
GROWN = 1024  # more rows then share each following run of one token
ROWS = 64  # states whose logits are in memory at once: 13 MB for 50,000 tokens
Target = tuple[int, ...]


class TokenScores(NamedTuple):
    """The scores of one target's tokens, each given the true tokens before it.

    log_probs  (n_t,) log-probability of each token in nats.
    hits       (n_t,) bool: if the token is the most probable one.
    """

    log_probs: Tensor
    hits: Tensor


@dataclass
class Question:
    """One prompt with the questions about it.

    row      token ids of the prompt.
    targets  answers, as token ids, whose tokens are scored.
    state    if the last state of the prompt is needed.
    most     maximum number of tokens to generate; 0 generates nothing.
    draft    token ids that the model is likely to generate; by default the first target.
    """

    row: list[int]
    targets: Sequence[Target] = ()
    state: bool = False
    most: int = 0
    draft: Sequence[int] = ()


@dataclass
class Reply:
    """The answers to one question.

    scores  the scores of each target's tokens.
    state   (d,) the state after the final norm at the prompt's last token, if it was needed:
            `lm.head` computes the logits of the next token from it.
    ids     the new token ids, without the end-of-text token.
    """

    scores: dict[Target, TokenScores] = field(default_factory=dict)
    state: Tensor | None = None
    ids: list[int] = field(default_factory=list)


def ask(lm: LM, questions: Sequence[Question]) -> list[Reply]:
    """Return the reply to each question.

    Raises ValueError for an empty target, and if a prompt and target exceed the context.
    """
    if not all(target for q in questions for target in q.targets):
        raise ArgumentError("An empty target cannot be scored.")
    check_length(lm, [[*q.row, *target[:-1]] for q in questions for target in q.targets])
    lm.refuse_unknown(torch.tensor([i for q in questions for t in q.targets for i in t]).long())
    replies = [Reply() for _ in questions]
    # maximum number of columns after a prompt in a batch, including masked ones
    behind = max((q.most + len(q.draft) + sum(map(len, q.targets)) for q in questions), default=0)
    room = min(attention_window(lm.model.config) or 10**9, lm.context or 10**9)
    together = lm.arch.rewinds and not any(r.reads_answer for r in lm._routes.values())
    pairs = [
        (part, reply)
        for q, reply in zip(questions, replies, strict=True)
        for part in ([q] if together and len(q.row) + behind <= room else alone(q))
    ]
    # The text after one prompt leaves masked columns in all rows of its batch, which a row longer
    # than an attention window cannot have. Growing texts are better in separate batches
    kinds = grouped(((q.most > 0, len(_by_beginning(q)) > 1), (q, reply)) for q, reply in pairs)
    for (grows, _), some in kinds.items():
        lengths = [len(q.row) + len(_attached(q)) for q, _ in some]
        limit = (GROWN if grows else RUN) if lm.device.type == "cpu" else BATCH_TOKENS
        # every token added to a text needs a separate run, which the rows of a group share
        steps = max(q.most for q, _ in some)
        groups = planned(lengths, limit, EXTRA * (1 + steps))
        for group in bar(groups, "prompts asked", delay=2):
            _Batch(lm, *zip(*(some[j] for j in group), strict=True)).run()
    return replies


def alone(q: Question) -> list[Question]:
    """Return a separate question for each thing needed of a prompt.

    Targets differing only in their last token stay together, because the model reads the same.
    """
    parts = [Question(q.row, some) for some in _by_beginning(q).values()]
    wanted = [Question(q.row, (), q.state, q.most)] if q.state or q.most > 0 else []
    return parts + wanted


def _by_beginning(q: Question) -> dict[Target, list[Target]]:
    """Return the targets by the part that the model reads, which excludes the last token."""
    return grouped((target[:-1], target) for target in dict.fromkeys(q.targets))


def _attached(q: Question) -> tuple[int, ...]:
    """Return the tokens read in the same run as a prompt: its draft, or its first target.

    If nothing is generated, nothing after the target is needed, so its last token is not read.
    """
    if q.most > 0:
        return tuple(q.draft) or (q.targets[0] if q.targets else ())
    return max(q.targets, key=len)[:-1] if q.targets else ()


class _Batch:
    """Questions whose prompts are read in one run.

    attached  the tokens that are read after each prompt in this run.
    counts    (rows, columns) bool: the tokens that later tokens attend to.
    past      the key-value cache of these columns.
    """

    def __init__(self, lm: LM, questions: Sequence[Question], replies: Sequence[Reply]) -> None:
        self.lm, self.questions, self.replies = lm, questions, replies
        self.stops = generation.stop_ids(lm)
        self.attached = [_attached(q) for q in questions]
        self.counts = torch.zeros(0)
        self.past: Any = None

    def run(self) -> None:
        """Read the prompts with the attached tokens and further targets, and let the texts grow."""
        lm, sizes = self.lm, [len(more) for more in self.attached]
        targets = [list(dict.fromkeys(q.targets)) for q in self.questions]
        # a target is covered if all its tokens but the last are attached
        covered = [
            [target for target in some if more[: len(target) - 1] == target[:-1]]
            for some, more in zip(targets, self.attached, strict=True)
        ]
        rest = [
            [t for t in some if t not in done] for some, done in zip(targets, covered, strict=True)
        ]
        grows = any(q.most > 0 for q in self.questions)
        pairs = zip(self.questions, self.attached, strict=True)
        seqs = sequences(lm, [[*q.row, *more] for q, more in pairs], sizes)
        with lm.opened(seqs):
            out = lm.backbone(seqs.ids, seqs.real, use_cache=grows or any(rest))
            hidden = out.last_hidden_state
            states = [hidden[j, hidden.shape[1] - 1 - n :] for j, n in enumerate(sizes)]
            for q, reply, wide in zip(self.questions, self.replies, states, strict=True):
                if q.state:
                    reply.state = wide[0].clone()
            best = self._predict(states, covered) if grows or any(covered) else []
            self.counts, self.past = seqs.real.clone(), getattr(out, lm.cache_name, None)
            prompts = seqs.prompt
            while any(rest):
                now = [some[0] if some else () for some in rest]
                wide = self._read_behind(seqs, prompts, [target[:-1] for target in now])
                whole = [torch.cat([a[:1], b]) for a, b in zip(states, wide, strict=True)]
                self._predict(whole, [[target] if target else [] for target in now])
                rest = [some[1:] for some in rest]
            if grows:
                self._grow(seqs, best, prompts.shape[1])

    def _read_behind(
        self, seqs: Sequences, prompts: Tensor, ends: Sequence[Sequence[int]]
    ) -> list[Tensor]:
        """Return the states (length, d) of tokens read after the prompts, masking them afterwards.

        prompts  (rows, columns) bool: the prompts' tokens among the first columns.
        """
        ids, real = pad(self.lm, ends, [0] * len(ends))
        between = self.counts.shape[1] - prompts.shape[1]
        mask = torch.cat([torch.nn.functional.pad(prompts, (0, between)), real], 1)
        seqs.step(ids, real)
        name = self.lm.cache_name
        out = self.lm.backbone(ids, real, mask=mask, use_cache=True, **{name: self.past})
        self.past = out[name]
        self.counts = torch.cat([self.counts, torch.zeros_like(real)], 1)
        return [out.last_hidden_state[j, : len(end)] for j, end in enumerate(ends)]

    def _grow(self, seqs: Sequences, best: Sequence[list[int]], width: int) -> None:
        """Accept the attached tokens while they are right, continuing token by token afterwards.

        best   the most probable token after each prompt and after each attached token.
        width  the columns of the first run.
        """
        alive, tokens = [], []
        for i, (likely, draft) in enumerate(zip(best, self.attached, strict=True)):
            right, grows = 0, self._open(i)
            while grows and right < len(draft) and draft[right] == likely[right]:
                grows = self._accept(i, likely[right])
                right += 1
            if grows:
                self.counts[i, width - len(draft) + right : width] = False
                alive.append(i)
                tokens.append(likely[right])
        if alive:
            mask = generation.keep(self.lm, seqs, self.counts, self.past, alive)
            first = torch.tensor(tokens, device=self.lm.device)

            def choose(states: Tensor) -> Tensor:
                return self.lm.head(states).argmax(-1)

            generation.go_on(self.lm, seqs, mask, self.past, alive, first, choose, self._accept)

    def _open(self, i: int) -> bool:
        """Return whether a text may have a further token."""
        q = self.questions[i]
        return len(self.replies[i].ids) < min(q.most, (self.lm.context or 10**9) - len(q.row))

    def _accept(self, i: int, token: int) -> bool:
        """Keep the next token of a text, if it continues, and return whether it grows further."""
        if token in self.stops or not self._open(i):
            return False
        self.replies[i].ids.append(token)
        return self._open(i)

    def _predict(
        self, states: Sequence[Tensor], targets: Sequence[Sequence[Target]]
    ) -> list[list[int]]:
        """Return the most probable token after each row's states (length, d), row by row.

        The scores of the targets are stored; a target's tokens are predicted by the first states of
        its row.
        """
        sizes = [len(wide) for wide in states]
        starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
        wide = torch.cat(list(states)).to(self.lm.head_device)  # logits are large and stay there
        wanted = [
            (starts[i] + at, token)
            for i, some in enumerate(targets)
            for target in some
            for at, token in enumerate(target)
        ]
        places, tokens = torch.tensor(wanted, dtype=torch.long, device=wide.device).view(-1, 2).T
        log_probs = torch.zeros(len(wanted), device=wide.device)
        best = []
        for start in range(0, len(wide), ROWS):
            logits = self.lm.head(wide[start : start + ROWS])
            best.append(logits.argmax(-1))
            here = (start <= places) & (places < start + ROWS)
            place = places[here] - start
            log_probs[here] = logits[place, tokens[here]] - logits.logsumexp(-1)[place]
        tops = torch.cat(best)
        hits = (tops[places] == tokens).cpu()
        named = [(i, target) for i, some in enumerate(targets) for target in some]
        each = [len(target) for _, target in named]
        found = zip(named, log_probs.cpu().split(each), hits.split(each), strict=True)
        for (i, target), log_prob, hit in found:
            self.replies[i].scores[target] = TokenScores(log_prob, hit)
        return [part.tolist() for part in tops.cpu().split(sizes)]
