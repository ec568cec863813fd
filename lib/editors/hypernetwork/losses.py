"""The loss of an edited language model, and its gradient ∂L/∂W at the edited matrices.

This is the language model's part of training a hypernetwork; nothing here depends on a network. The
loss measures whether paraphrases of an edit get the new answer and unrelated texts keep their
predictions. It is a weighted sum over label positions, so running more or fewer texts at once
changes only the memory used and never the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from ...data.facts import Case, encode_prompt, encode_target
from ...model import batching
from ...model.answer_rows import AnswerRows
from ...model.lm import LM
from ...patch.patch import Patch

TOKENS = 512  # padded tokens in one pass with weight gradients


class Text(NamedTuple):
    """A text of the loss. The last token of its answer is predicted but not read.

    prompt  token ids of the prompt
    answer  token ids of the answer, which only mark the positions when two models are compared
    weight  weight of each label position in the loss
    """

    prompt: list[int]
    answer: list[int]
    weight: float = 0.0

    @property
    def ids(self) -> list[int]:
        """Return the tokens that the model reads."""
        return [*self.prompt, *self.answer[:-1]]


class Outcome(NamedTuple):
    """The loss of an edited model and its gradients.

    edit      weighted NLL (nats) of the new answers on paraphrases
    locality  weighted KL divergence (nats) from the model before the edit on unrelated texts
    grads     {module: (d_out, d_in) gradient of the sum of both with respect to its weight}
    """

    edit: float
    locality: float
    grads: dict[str, Tensor]

    @property
    def finite(self) -> bool:
        """Return whether all of its numbers are finite."""
        whole = torch.tensor([self.edit, self.locality]).isfinite().all()
        return bool(whole) and all(g.isfinite().all() for g in self.grads.values())


def rewordings(lm: LM, cases: Sequence[Case], draw: Random, own: bool = False) -> list[Text]:
    """Return one paraphrase of every case (or its own prompt if it has none) with the new answer.

    With own=True, the sampled prompts include the prompt of the edit itself.
    """
    found = []
    for case in cases:
        options = case.paraphrases
        if own or not options:
            options = (case.fact.text, *options)
        prompt = draw.choice(options)
        target = encode_target(lm.tokenizer, case.fact.target_new)
        found.append(Text(encode_prompt(lm.tokenizer, prompt), target))
    return found


def unrelated(lm: LM, cases: Sequence[Case], draw: Random, everywhere: bool) -> list[Text]:
    """Return one unrelated text of every case that has any; its answer marks the positions used.

    These are the positions that predict the reference answer, or only the next token if there is no
    reference answer. With `everywhere`, all positions count. An unknown next token is -1.
    """
    found = []
    for case in cases:
        options = [(p.prompt, p.target) for p in case.neighborhood]
        known = {prompt for prompt, _ in options}
        options += [(prompt, None) for prompt in case.locality if prompt not in known]
        if not options:
            continue
        prompt, answer = draw.choice(options)
        ids = encode_prompt(lm.tokenizer, prompt)
        target = [-1] if answer is None else encode_target(lm.tokenizer, answer)
        if everywhere:  # every token after the first is a predicted token
            ids, target = ids[:1], [*ids[1:], *target]
        found.append(Text(ids, target))
    return found


def weighted(texts: Sequence[Text], group: int, factor: float) -> list[Text]:
    """Return the texts with weights making the loss `factor` times a sum over groups of texts.

    Each group adds the mean over all label positions of its texts.
    """
    groups = [texts[start : start + group] for start in range(0, len(texts), group)]
    totals = [sum(len(text.answer) for text in some) for some in groups]
    return [
        text._replace(weight=factor / total)
        for some, total in zip(groups, totals, strict=True)
        for text in some
    ]


def outcome(
    lm: LM,
    after: Patch,
    updates: Mapping[str, Tensor],
    rewording_texts: Sequence[Text],
    unrelated_texts: Sequence[Text],
    learn: bool = True,
) -> Outcome:
    """Return L = Σ w·NLL(rewordings) + Σ w·KL(before ‖ edited)(unrelated) and its gradients.

    updates          {module: ΔW (d_out, d_in)}, added to the weights under `after`
    rewording_texts  paraphrases with the new answers
    unrelated_texts  texts whose reference is the model under `after`, called "before"
    learn            False skips the gradients

    Only one batch is in memory at a time. Raises ValueError if a text is longer than the context.
    """
    batching.check_length(lm, [text.ids for text in (*rewording_texts, *unrelated_texts)])
    names, sums = list(updates), [0.0, 0.0]
    with lm.patched(after, only=True):
        # copies of the edited weights, the only tensors that get gradients
        masters = {
            name: (W + delta.to(W)).detach().requires_grad_(learn)
            for name, delta in updates.items()
            for W in [lm.weight(name, after)]
        }
        grads = {name: torch.zeros_like(W) for name, W in masters.items()} if learn else {}
        for kind, texts in enumerate((rewording_texts, unrelated_texts)):
            for group in batching.batches([text.ids for text in texts], TOKENS):
                some = [texts[i] for i in group]
                # compute the KL term's reference first, with the original weights
                before = _log_probs(lm, some) if kind else None
                with lm.bind(masters):
                    loss = _loss(lm, some, before, learn)
                    if learn:
                        found = torch.autograd.grad(loss, [masters[name] for name in names])
                        for name, g in zip(names, found, strict=True):
                            grads[name] += g
                sums[kind] += loss.item()
    return Outcome(sums[0], sums[1], grads)


def _rows(texts: Sequence[Text]) -> AnswerRows:
    return AnswerRows([text.prompt for text in texts], [text.answer for text in texts])


def _log_probs(lm: LM, texts: Sequence[Text], learn: bool = False) -> Tensor:
    """Return log-probabilities (label positions, vocabulary), text by text, as bound now."""
    rows = _rows(texts)
    seqs = batching.sequences(lm, rows.ids)
    with lm.opened(seqs, grad=learn):
        hidden = lm.backbone(seqs.ids, seqs.real, use_cache=False).last_hidden_state
        row, column, _ = batching.padded_labels(rows).to(hidden.device)
        return lm.head(hidden[row, column]).log_softmax(-1)


def _loss(lm: LM, texts: Sequence[Text], before: Tensor | None, learn: bool) -> Tensor:
    """Return the weighted NLL of the answers, or the weighted KL divergence from `before`."""
    log_probs = _log_probs(lm, texts, learn)
    weight = torch.tensor([t.weight for t in texts for _ in t.answer]).to(log_probs)
    with torch.enable_grad() if learn else nullcontext():
        if before is None:
            token = _rows(texts).labels[2].to(log_probs.device)
            each = -log_probs.gather(1, token[:, None])[:, 0]
        else:  # KL(before ‖ edited), in nats
            each = (before.exp() * (before - log_probs)).sum(-1)
        return each @ weight
