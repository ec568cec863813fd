"""The language model's part of training a hypernetwork: ∂L/∂W of the edited matrices, in batches.

Nothing here knows a network. The loss is a weighted sum over label positions, so how many texts run
at once is a matter of memory alone and never of the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from ...data.facts import Case, Fact, encode_prompt, encode_target
from ...errors import FactError
from ...keys_values import answer_gradients
from ...model import batching
from ...model.lm import LM
from ...patch.patch import Patch

TOKENS = 512  # padded tokens of one pass with weight gradients


class Text(NamedTuple):
    """Token ids that go in; what the last len(labels) positions shall say; weight of each."""

    ids: list[int]
    labels: list[int]
    weight: float = 0.0


class Outcome(NamedTuple):
    """Weighted loss on rewordings, weighted KL on unrelated texts, and {module: ∂(sum)/∂W}."""

    edit: float
    locality: float
    grads: dict[str, Tensor]

    @property
    def finite(self) -> bool:
        """Whether every number in it is."""
        whole = torch.tensor([self.edit, self.locality]).isfinite().all()
        return bool(whole) and all(g.isfinite().all() for g in self.grads.values())


def rewordings(lm: LM, cases: Sequence[Case], draw: Random, own: bool = False) -> list[Text]:
    """One rewording of every case (its own prompt where there is none) with the new answer.

    own: the prompt of the edit itself is one of those to draw from.
    """
    found = []
    for case in cases:
        options = case.paraphrases
        if own or not options:
            options = (case.fact.text, *options)
        prompt = draw.choice(options)
        target = encode_target(lm.tokenizer, case.fact.target_new)
        found.append(Text([*encode_prompt(lm.tokenizer, prompt), *target[:-1]], target))
    return found


def unrelated(lm: LM, cases: Sequence[Case], draw: Random, everywhere: bool) -> list[Text]:
    """One unrelated text of every case that has any; its labels only count positions.

    Those that predict the reference answer (the next token where there is none), or all of them.
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
        ids = [*ids, *target[:-1]]
        found.append(Text(ids, [-1] * len(ids) if everywhere else target))
    return found


def weighted(texts: Sequence[Text], group: int, factor: float) -> list[Text]:
    """Weights of the sum over groups of the mean over a group's label positions, times factor."""
    found = []
    for start in range(0, len(texts), group):
        some = texts[start : start + group]
        total = sum(len(text.labels) for text in some)
        found += [text._replace(weight=factor / total) for text in some]
    return found


def outcome(
    lm: LM,
    after: Patch,
    updates: Mapping[str, Tensor],
    said: Sequence[Text],
    calm: Sequence[Text],
    learn: bool = True,
) -> Outcome:
    """L = Σ w·NLL(said) + Σ w·KL(before ‖ edited)(calm) with W + ΔW, and its weight gradients.

    before is the model under `after`; updates {module: ΔW (d_out, d_in)} come on top of it. One
    batch is in memory at a time. learn=False gives no gradients. Raises ValueError for a text that
    is longer than the context.
    """
    batching.check_length(lm, [text.ids for text in (*said, *calm)])
    names, sums = list(updates), [0.0, 0.0]
    with lm.patched(after, only=True):
        masters = {}
        for name, delta in updates.items():
            W = lm.weight(name, after)
            masters[name] = (W + delta.to(W)).detach().requires_grad_(learn)
        grads = {name: torch.zeros_like(W) for name, W in masters.items()} if learn else {}
        for kind, texts in enumerate((said, calm)):
            for some in _batches(texts):
                before = _log_probs(lm, some) if kind else None
                with lm.bind(masters):
                    loss = _loss(lm, some, before, learn)
                    if learn:
                        found = torch.autograd.grad(loss, [masters[name] for name in names])
                        for name, g in zip(names, found, strict=True):
                            grads[name] += g
                sums[kind] += loss.item()
    return Outcome(sums[0], sums[1], grads)


def read_everywhere(
    lm: LM, facts: Sequence[Fact], modules: Sequence[str]
) -> dict[str, answer_gradients.Features]:
    """{module: pairs of all tokens} for the mean loss over each fact's own answer.

    As `features.read` with reduction="fact_mean", which keeps answer positions only.
    """
    rows, starts, share = [], [], []
    for fact in sorted(facts, key=lambda fact: -len(fact.text)):
        prompt = encode_prompt(lm.tokenizer, fact.text)
        target = encode_target(lm.tokenizer, fact.target_new)
        if not target:
            raise FactError(f"the answer of '{fact.text}' has no tokens")
        rows.append([*prompt, *target])
        weight = torch.zeros(len(rows[-1]) - 1)  # no loss at the prompt, yet its columns are kept
        weight[len(prompt) - 1 :] = 1 / len(target)
        starts.append(1)
        share.append(weight)
    size = max(1, answer_gradients.TOKENS // max(map(len, rows)))
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in modules}
    for first in range(0, len(rows), size):
        some = slice(first, first + size)
        found = answer_gradients.one_pass(lm, rows[some], starts[some], share[some], modules, first)
        for name, pair in found.items():
            parts[name].append(pair)
    columns = torch.tensor([i for i, row in enumerate(rows) for _ in row[1:]])
    return {
        name: answer_gradients.Features(
            torch.cat([K for K, _ in pairs], 1), torch.cat([G for _, G in pairs], 1), columns
        )
        for name, pairs in parts.items()
    }


def _batches(texts: Sequence[Text]) -> Iterator[list[Text]]:
    for group in batching.batches([text.ids for text in texts], TOKENS):
        yield [texts[i] for i in group]


def _log_probs(lm: LM, texts: Sequence[Text], learn: bool = False) -> Tensor:
    """(label positions, vocabulary), text by text, on the model as it is bound now."""
    seqs = batching.sequences(lm, [t.ids for t in texts])
    with lm.opened(seqs, grad=learn):
        hidden = lm.backbone(seqs.ids, seqs.real, use_cache=False).last_hidden_state
        wanted = torch.cat([hidden[i, -len(t.labels) :] for i, t in enumerate(texts)])
        return lm.head(wanted).log_softmax(-1)


def _loss(lm: LM, texts: Sequence[Text], before: Tensor | None, learn: bool) -> Tensor:
    log_probs = _log_probs(lm, texts, learn)
    weight = torch.tensor([t.weight for t in texts for _ in t.labels]).to(log_probs)
    with torch.enable_grad() if learn else nullcontext():
        if before is None:
            labels = torch.tensor([label for t in texts for label in t.labels])
            each = -log_probs.gather(1, labels.to(log_probs.device)[:, None])[:, 0]
        else:  # KL(before ‖ edited), in nats
            each = (before.exp() * (before - log_probs)).sum(-1)
        return each @ weight
