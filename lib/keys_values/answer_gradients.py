"""Keys and gradients of a linear layer at the answer tokens of facts.

A key k is the layer's input at a token, and a gradient g is the gradient of the loss with respect
to its output there. Both come from one forward and one backward pass over the facts' texts. The
gradient of the layer's weight is the sum of outer products g kᵀ over the tokens; using the pairs
(k, g), editors compute a better update than a plain gradient step. No weight requires grad, and
below the lowest edited module there is no graph at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from .. import distributed
from ..cancellation import steps
from ..data import as_facts
from ..data.facts import Fact
from ..errors import EditError, FactError
from ..model.answer_rows import AnswerRows
from ..model.batching import sequences
from ..model.devices import on_card
from ..model.hooks import hooked_all
from ..model.lm import LM

Reduction = Literal["group_mean", "fact_mean"]

# Padded tokens of one pass. This does not determine which facts share a loss. It is small on a CPU,
# because the rows of one pass are padded to the longest; a GPU works on many at once.
TOKENS, TOKENS_CARD = 512, 2048


@dataclass(frozen=True)
class KeyGradients:
    """Keys and gradients of one module, float32, one column for each token.

    K      (d_in, n) keys, in the order of the groups
    G      (d_out, n) gradients of the same tokens
    group  (n,) the loss group of each column
    """

    K: Tensor
    G: Tensor
    group: Tensor

    def nonzero(self) -> KeyGradients:
        """Return the pairs, leaving out any with a key or gradient of exactly zero.

        Centering would move them away from zero, making them part of the update.
        """
        nonzero = (self.K != 0).any(0) & (self.G != 0).any(0)
        if nonzero.all():
            return self
        return KeyGradients(self.K[:, nonzero], self.G[:, nonzero], self.group[nonzero.cpu()])


def read(
    lm: LM,
    facts: as_facts.Given,
    modules: Sequence[str],
    group: int = 10,
    reduction: Reduction = "group_mean",
    target_eos: bool = False,
    *,
    on_device: bool = False,
    everywhere: bool = False,
) -> dict[str, KeyGradients]:
    """Return {module: its keys and gradients} at answer predictions, for the model as patched now.

    With reduction="group_mean", as published, the facts are divided into groups, longest first, and
    the loss of a group is the mean over all of its answer tokens. With "fact_mean", the loss of
    each fact is the mean over its own answer, whatever the groups are. Sequences do not interact,
    so any number of them can run in one pass using a weight per token. Several processes
    (lib/distributed.py) divide the groups among them, and all of them get all pairs.

    on_device   whether pairs stay on a GPU, each on its module's
    everywhere  whether pairs cover all tokens except each text's last, as in MEND; the loss is
                still the answers'

    Raises EditError for a loss that is not finite, in all processes, and FactError for an answer
    having no tokens.
    """
    # the rows, longest first, divided into groups
    rows = answer_rows(lm, as_facts.facts(facts), target_eos)
    rows = rows.take(sorted(range(len(rows)), key=lambda i: -len(rows.ids[i])))
    lengths = [len(p) + len(a) for p, a in zip(rows.prompts, rows.answers, strict=True)]
    answers, ends = [len(answer) for answer in rows.answers], rows.ends
    groups = [i // group for i in range(len(rows))]
    totals = [sum(answers[first : first + group]) for first in range(0, len(rows), group)]
    # the number of tokens over which each row's loss is averaged
    counts = [totals[g] for g in groups] if reduction == "group_mean" else answers
    share = torch.tensor([1 / count for count in counts])
    if everywhere:  # every token after a row's first is a predicted token
        texts = [[*p, *a] for p, a in zip(rows.prompts, rows.answers, strict=True)]
        rows = AnswerRows([text[:1] for text in texts], [text[1:] for text in texts])
    limit = TOKENS_CARD if on_card(lm.device) else TOKENS
    blocks = _blocks(lengths, group, limit)
    # each process reads its part of the rows, pass by pass
    with distributed.together(EditError):
        passes = []
        for block in steps(list(distributed.share(blocks)), "gradients of answers"):
            step = max(1, limit // lengths[block.start])  # a huge group takes several passes
            for first in range(block.start, block.stop, step):
                some = range(first, min(first + step, block.stop))
                part, decided = rows.take(some), ends[some.start : some.stop]
                row, position, _ = part.labels
                # tokens of a prompt have no weight in the loss
                answered = position >= torch.tensor(decided)[row]
                weight = torch.where(answered, share[some.start : some.stop][row], 0.0)
                passes.append((groups[first], *_pass(lm, part, weight, modules, decided)))
        _refuse([(first, loss) for first, _, loss in passes])
    # then all processes get all columns, in the order of the rows
    columns = torch.tensor(
        [g for g, answer in zip(groups, rows.answers, strict=True) for _ in answer]
    )
    whole = {}
    for name in modules:
        K, G = _whole(lm, name, [found[name] for _, found, _ in passes])
        if not (on_device and on_card(K.device)):  # moments need float64
            K, G = K.cpu(), G.cpu()
        whole[name] = KeyGradients(distributed.joined(K), distributed.joined(G), columns)
    return whole


def answer_rows(lm: LM, facts: Sequence[Fact], eos: bool = False) -> AnswerRows:
    """Return the rows of the facts' own prompts; FactError for an answer without tokens."""
    pairs = [(fact.text, fact.target_new) for fact in facts]
    rows = AnswerRows.of(lm.tokenizer, pairs, eos)
    for fact, answer in zip(facts, rows.answers, strict=True):
        if not answer:
            raise FactError(f"The answer of '{fact.text}' has no tokens. Use another answer.")
    return rows


def _blocks(lengths: list[int], group: int, limit: int) -> list[range]:
    """Return blocks of rows for one pass: whole groups, as many as fit and at least one.

    The rows are sorted by length, limiting the padding. A process reads whole blocks, without
    extending a pass beyond one. The passes are therefore the same for any number of processes,
    which matters because the last bits of a product depend on the other rows.
    """
    found, first = [], 0
    while first < len(lengths):
        size = max(1, limit // lengths[first] // group) * group
        found.append(range(first, min(first + size, len(lengths))))
        first += size
    return found


def _whole(lm: LM, name: str, pairs: list[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
    """Return K and G of all passes, without columns if this process has read none."""
    if pairs:
        return (torch.cat(side, 1) for side in zip(*pairs, strict=True))
    weight = lm.model.get_submodule(name).weight
    d_out, d_in = weight.shape[::-1] if lm.arch.transposed else weight.shape
    return (torch.empty(d, 0, device=weight.device) for d in (d_in, d_out))


def one_pass(
    lm: LM, rows: AnswerRows, weight: Tensor, modules: Sequence[str]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return K and G of one padded pass, columns row by row, each on its module's device.

    There is one column for each answer token, read where the token is predicted; weight (labels,)
    contains the weight of each of these tokens in the loss.
    """
    found, loss = _pass(lm, rows, weight, modules, rows.ends)
    _refuse([(0, loss)])
    return found


def _refuse(losses: list[tuple[int, Tensor]]) -> None:
    """Raise EditError for the first (group, loss) that is not finite."""
    if not losses:
        return
    finite = torch.stack(
        [loss.isfinite() for _, loss in losses]
    ).tolist()  # waits for the GPU only once
    for (group, _), right in zip(losses, finite, strict=True):
        if not right:
            raise EditError(
                f"The loss of the facts from group {group} on is not finite. Nothing was changed."
            )


def _pass(
    lm: LM, rows: AnswerRows, weight: Tensor, modules: Sequence[str], ends: Sequence[int]
) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
    """Return K and G of one padded pass, and its loss, without waiting for a GPU.

    ends  last position of each prompt, where routes decide
    """
    # one padded batch, with the positions needed by routes and the loss; everything from the CPU is
    # sent before the run, since a busy GPU would make it wait
    behind = [len(row) - 1 - end for row, end in zip(rows.ids, ends, strict=True)]
    seqs = sequences(lm, rows.ids, behind, [0] * len(rows))  # padded on the right
    row, position, wanted = rows.labels.to(lm.device)
    at = row * seqs.ids.shape[1] + position  # places of the labels in the flattened pass
    weight = weight.to(lm.device)
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def save(name: str, _: nn.Module, given: tuple, output: Tensor) -> Tensor:
        if not output.requires_grad:  # nothing below needs a gradient: the graph begins here
            output = output.detach().requires_grad_()
        seen[name] = given[0].detach(), output
        return output * 1  # a new tensor: some models add to it in place

    # the modules' inputs and outputs of one forward pass, and the outputs' gradients of one
    # backward pass
    hooks = {name: partial(save, name) for name in modules}
    with lm.opened(seqs, grad=True), hooked_all(lm.model, hooks):
        hidden = lm.backbone(seqs.ids, seqs.real, use_cache=False).last_hidden_state
        log_probs = lm.head(_rows(hidden, at)).log_softmax(-1)
        chosen = log_probs.gather(1, wanted[:, None])[:, 0]
        loss = -chosen @ weight.to(log_probs)
        grads = torch.autograd.grad(loss, [output for _, output in seen.values()])
    found = {
        name: (_rows(k, at).float().T, _rows(g, at).float().T)
        for (name, (k, _)), g in zip(seen.items(), grads, strict=True)
    }
    return found, loss.detach()


def _rows(wide: Tensor, at: Tensor) -> Tensor:
    """Return positions `at` of a pass (rows, length, d), or of a flattened one: (n, d)."""
    return wide.reshape(-1, wide.shape[-1])[at.to(wide.device)]


def mlp_modules(
    lm: LM, down: Sequence[int], gate: Sequence[int], up: Sequence[int]
) -> dict[str, tuple[int, int]]:
    """Return {module: (d_in, d_out)} of the MLPs' output (down), gate and input (up) projections.

    down, gate and up are lists of layers. Raises EditError (a ValueError) for a projection that
    this model does not have as a separate module.
    """
    inner = lm.arch.mlp_in
    if (gate or up) and lm.arch.fused_in:
        raise EditError(f"{lm.name} stores gate and up in one matrix. Edit only `down`.")
    if gate and len(inner) < 2:
        raise EditError(f"The MLPs of {lm.name} have no gate. Edit `down` or `up`.")
    for layer in (*gate, *up):
        lm.mlp_out(layer)  # rejects a missing layer
    names = [
        *(lm.mlp_out(layer) for layer in down),
        *(inner[0].format(layer) for layer in gate),
        *(inner[-1].format(layer) for layer in up),
    ]
    turn = 1 if lm.arch.transposed else -1  # stored (d_in, d_out), or (d_out, d_in)
    return {name: tuple(lm.model.get_submodule(name).weight.shape[::turn]) for name in names}
