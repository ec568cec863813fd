"""The search for the values of a long answer: one value for every few of its tokens (AnyEdit).

A single state cannot make a model say a hundred tokens. So the answer is cut into chunks, and each
chunk has a value of its own at the token just before it, which has to carry this chunk alone. The
values are searched from left to right, each with those before it in place. Source: Jiang et al.,
AnyEdit (2025, arXiv:2502.05628); the loop of one search is that of `target_value`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..data.facts import Fact, encode_prompt, encode_target
from ..model.answer_rows import AnswerRows
from ..model.batching import BATCH_TOKENS
from ..model.hooks import hooked
from ..model.lm import LM
from ..model.partial_forward import Replay
from .target_value import Batch, Place, Search, Target, most_positions

Deltas = Sequence[tuple[int, Tensor]]  # (position, δ) of the values that are in place already


@dataclass(frozen=True)
class LongAnswer:
    """A prompt and its answer as token ids, and the chunks that the answer is cut into.

    prompt  ids of the prompt.
    answer  ids of the answer, with the end of the text as its last token.
    spans   first token and end of every chunk, counted in the answer.

    The prompt [5, 6] with the answer [7, 8, 9] and spans [(0, 2), (2, 3)], for example, has its
    lookups at tokens 1 and 3.
    """

    prompt: list[int]
    answer: list[int]
    spans: list[tuple[int, int]]

    @classmethod
    def of(cls, tokenizer: Any, fact: Fact, width: int) -> LongAnswer:
        """The fact's prompt and answer, cut into chunks of `width` tokens.

        Prompt and answer are tokenized separately, so that no token reaches across their border.
        """
        answer = [*encode_target(tokenizer, fact.target_new), tokenizer.eos_token_id]
        return cls(encode_prompt(tokenizer, fact.text), answer, spans(len(answer), width))

    @property
    def ids(self) -> list[int]:
        """The ids of the prompt and of the whole answer."""
        return [*self.prompt, *self.answer]

    @property
    def lookups(self) -> list[int]:
        """For each chunk the position of the token just before it, where its value stands."""
        return [len(self.prompt) + start - 1 for start, _ in self.spans]


def spans(length: int, width: int) -> list[tuple[int, int]]:
    """First token and end of every chunk; a last one under a quarter of the width is joined.

    The published program leaves such a rest alone. It may be the end-of-text token by itself.
    spans(42, 20) -> [(0, 20), (20, 42)]
    """
    starts = list(range(0, length, width))
    if len(starts) > 1 and 4 * (length - starts[-1]) < width:
        starts.pop()
    return list(zip(starts, [*starts[1:], length], strict=True))


def search(
    lm: LM,
    answers: Sequence[LongAnswer],
    layer: int,
    settings: Search,
    place: Place = "block",
) -> list[list[Target]]:
    """The values of every chunk of every answer at one layer, on the model as it is patched now.

    The loss of a chunk is the mean NLL of its own tokens behind the true text before them, and the
    decay. There are no context templates and no KL term. Families with a norm after the MLP are
    searched at "mlp_out". Raises TargetError when a loss is not finite.
    """
    place = "mlp_out" if lm.arch.post_norm else place
    found: list[list[Target]] = [[] for _ in answers]
    for j in range(max(len(answer.spans) for answer in answers)):
        for group in _groups(lm, answers, j):
            some = [answers[i] for i in group]
            # a chunk is the answer to all the text before it
            heads = [answer.ids[: answer.lookups[j] + 1] for answer in some]
            rows = AnswerRows(heads, [a.answer[slice(*a.spans[j])] for a in some])
            behind = [len(ids) - len(a.prompt) for ids, a in zip(rows.ids, some, strict=True)]
            before = [
                [(at, t.delta) for at, t in zip(answers[i].lookups, found[i], strict=False)]
                for i in group
            ]
            batch = ChunkBatch(lm, rows, behind, before, layer, settings, place)
            for i, target in zip(group, batch.run(), strict=True):
                found[i].append(target)
    return found


def _groups(lm: LM, answers: Sequence[LongAnswer], j: int) -> Iterator[list[int]]:
    """The answers that have a chunk j, in groups of bounded work, those with more text first."""
    order = [i for i, answer in enumerate(answers) if j < len(answer.spans)]
    order.sort(key=lambda i: -(answers[i].lookups[j]))
    while order:
        width = max(end - start for start, end in (answers[i].spans[j] for i in order))
        longest = answers[order[0]].lookups[j] + width
        size = max(1, min(most_positions(lm) // width, BATCH_TOKENS // longest))
        yield order[:size]
        order = order[size:]


class ChunkBatch(Batch):
    """The search for one chunk of some answers: one vector for each.

    before  for every row the positions and changes of the chunks before. They act while the row is
            read once, so the kept attention keys and values of that text hold them, and each step
            of the search runs the chunk's own positions only.
    """

    def __init__(
        self,
        lm: LM,
        rows: AnswerRows,
        behind: Sequence[int],
        before: Sequence[Deltas],
        layer: int,
        settings: Search,
        place: Place,
    ) -> None:
        name, at = lm.mlp_out(layer), rows.ends
        # where a change of the MLP's output enters, as `Replay.at_mlp` has it
        module = name if lm.arch.post_norm else f"{lm.arch.blocks}.{layer}"
        with added(lm, module, before, at) if any(before) else nullcontext():
            self.replay = Replay.at_mlp(lm, rows.ids, layer, lookup=at, watch=[name], behind=behind)
        keys, values = (part[:, 0] for part in self.replay.seen[name])  # the lookup's column
        super().__init__(
            lm,
            layer,
            settings,
            init=(self.replay.hidden[:, 0] if place == "block" else values).float(),
            mlp=values.float(),
            keys=keys[:, None].float(),
            labels=self.replay.labels(rows),
            share=rows.share,
        )

    def forward(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """States with each row's δ added at column 0, the lookup; there is no row for a KL term."""
        moved = delta[0, self.owner][:, None].to(self.replay.hidden.dtype)
        states = self.replay.with_added(moved)
        return states, states[:, 0].detach()

    def drop(self, rows: list[int], vectors: list[int]) -> None:
        """Select the rows that stay in the captured replay."""
        self.replay = self.replay.take(rows)


def added(lm: LM, module: str, deltas: Sequence[Deltas], at: Sequence[int]) -> Any:
    """A context in which a module's output is changed at some positions of each row.

    at  the lookup of every row, by which a replay aligns them: row i is moved to the right by
        max(at) − at[i] columns.
    """
    columns = [
        (i, max(at) - at[i] + position, delta)
        for i, row in enumerate(deltas)
        for position, delta in row
    ]
    rows, places = (torch.tensor([c[k] for c in columns], device=lm.device) for k in (0, 1))
    moves = torch.stack([delta for *_, delta in columns])

    def hook(_: nn.Module, __: tuple, output: Any) -> Any:
        whole = output[0] if isinstance(output, tuple) else output
        wide = whole.reshape(len(deltas), -1, whole.shape[-1]).clone()  # opt's MLP sees one row
        here = rows.to(wide.device), places.to(wide.device)
        # summed in float32, so that a bf16 state is rounded once
        wide[here] = (wide[here].float() + moves.to(wide.device)).to(wide.dtype)
        wide = wide.reshape(whole.shape)
        return (wide, *output[1:]) if isinstance(output, tuple) else wide

    return hooked(lm.model.get_submodule(module), hook)
