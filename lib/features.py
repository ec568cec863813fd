"""What a fact asks of a layer: its inputs k and the gradients g of its outputs, at answer tokens.

One forward and one backward pass of the edit text. The gradient of a linear layer's weight is the
sum of outer products g kᵀ over the tokens; editors on this page turn the pairs (k, g) into a better
update than a plain step. No weight requires grad, and below the lowest edited module there is no
graph at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from . import decode
from .editor import EditError
from .facts import Fact, FactError, encode_prompt, encode_target

if TYPE_CHECKING:
    from .lm import LM

TOKENS = 2048  # padded tokens of one pass; which facts share a loss is the group's business


class FeatureError(ValueError):
    """A loss that is not finite, named by its group; nothing was changed."""


@dataclass(frozen=True)
class Features:
    """Pairs of one module, columns in the order of the groups: K (d_in, n), G (d_out, n), float32.

    group (n,) is the loss group of each column.
    """

    K: Tensor
    G: Tensor
    group: Tensor

    def kept(self) -> Features:
        """Without columns whose key or gradient is exactly zero: centering would move them."""
        keep = (self.K != 0).any(0) & (self.G != 0).any(0)
        return self if keep.all() else Features(self.K[:, keep], self.G[:, keep], self.group[keep])


def read(
    lm: LM,
    facts: Sequence[Fact],
    modules: Sequence[str],
    group: int = 10,
    reduction: Literal["group_mean", "fact_mean"] = "group_mean",
    target_eos: bool = False,
) -> dict[str, Features]:
    """{module: its pairs} on the model as it is patched now, at the positions that predict targets.

    group_mean: facts, longest first, are cut into groups; the loss is the mean over all answer
    tokens of a group (published). fact_mean: over each fact's own, independent of the grouping.
    Sequences do not interact, so any number runs in one pass with a weight per token. Raises
    FeatureError for a loss that is not finite, FactError for an answer without tokens.
    """
    rows, starts = [], []
    for fact in facts:
        prompt = encode_prompt(lm.tokenizer, fact.text)
        target = encode_target(lm.tokenizer, fact.target_new)
        target = target + [lm.tokenizer.eos_token_id] if target_eos else target
        if not target:
            raise FactError(f"the answer of '{fact.text}' has no tokens")
        rows.append([*prompt, *target])
        starts.append(len(prompt))
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))  # stable: longest first
    rows, starts = [rows[i] for i in order], [starts[i] for i in order]
    labels = [len(row) - start for row, start in zip(rows, starts, strict=True)]
    groups = [i // group for i in range(len(rows))]
    totals = [0] * (groups[-1] + 1)
    for i, count in zip(groups, labels, strict=True):
        totals[i] += count
    share = {"group_mean": [1 / totals[g] for g in groups], "fact_mean": [1 / n for n in labels]}
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in modules}
    first = 0
    while first < len(rows):  # rows are sorted: a slice pads little
        last = first + max(1, TOKENS // len(rows[first]))
        some = slice(first, last)
        found = one_pass(
            lm, rows[some], starts[some], share[reduction][some], modules, groups[first]
        )
        for name, pair in found.items():
            parts[name].append(pair)
        first = last
    columns = torch.tensor([g for g, n in zip(groups, labels, strict=True) for _ in range(n)])
    return {
        name: Features(*(torch.cat(side, 1) for side in zip(*pairs, strict=True)), columns)
        for name, pairs in parts.items()
    }


def one_pass(
    lm: LM,
    rows: list[list[int]],
    starts: list[int],
    share: list[float],
    modules: Sequence[str],
    group: int,
) -> dict[str, tuple[Tensor, Tensor]]:
    """K and G of one padded pass, columns row by row."""
    inputs = [row[:-1] for row in rows]  # the last answer token is never an input
    length = max(map(len, inputs))
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    real = torch.zeros(len(rows), length, dtype=torch.bool)
    labels = torch.full((len(rows), length), -1)
    weight = torch.zeros(len(rows), length)
    for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
        n = len(row) - 1
        ids[i, :n], real[i, :n] = torch.tensor(row[:-1]), True  # padded on the right
        labels[i, start - 1 : n] = torch.tensor(row[start:])
        weight[i, start - 1 : n] = share[i]
    at = labels >= 0
    seqs = decode.sequences(lm, inputs)
    seqs.ids, seqs.real, seqs.prompt = ids.to(lm.device), real.to(lm.device), real.to(lm.device)
    seqs.last = real.sum(1) - 1
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def hook(name: str) -> Any:
        def save(_: nn.Module, given: tuple, output: Tensor) -> Tensor:
            if not output.requires_grad:  # nothing below needs a gradient: the graph begins here
                output = output.detach().requires_grad_()
            seen[name] = given[0].detach(), output
            return output * 1  # a new tensor: some models add to it in place

        return save

    with lm.opened(seqs, grad=True), ExitStack() as hooks:
        for name in modules:
            module = lm.model.get_submodule(name)
            hooks.callback(module.register_forward_hook(hook(name)).remove)
        hidden = lm.backbone(seqs.ids, seqs.real, use_cache=False).last_hidden_state
        where = at.to(hidden.device)
        log_probs = lm.head(hidden[where]).log_softmax(-1)
        wanted = labels[at].to(log_probs.device)
        loss = -log_probs.gather(1, wanted[:, None])[:, 0] @ weight[at].to(log_probs)
        if not torch.isfinite(loss):
            raise FeatureError(
                f"the loss of the facts from group {group} on is not finite; nothing was changed"
            )
        grads = torch.autograd.grad(loss, [output for _, output in seen.values()])
    shape, found = at.shape, {}
    for (name, (k, _)), g in zip(seen.items(), grads, strict=True):
        found[name] = tuple(
            wide.reshape(*shape, -1)[at.to(wide.device)].float().T.cpu() for wide in (k, g)
        )
    return found


def mlp_modules(
    lm: LM, down: Sequence[int], gate: Sequence[int], up: Sequence[int]
) -> dict[str, tuple[int, int]]:
    """{module: (d_in, d_out)} of MLP projections by layer: output, gate, and input (or up).

    Raises EditError (a ValueError) for a projection that this model does not have by itself.
    """
    inner = lm.arch.mlp_in
    if (gate or up) and lm.arch.fused_in:
        raise EditError(f"{lm.name} holds gate and up in one matrix: edit `down` only")
    if gate and len(inner) < 2:
        raise EditError(f"the MLPs of {lm.name} have no gate: edit `down` or `up`")
    for layer in (*gate, *up):
        lm.mlp_out(layer)  # refuses a layer that is not there
    names = [lm.mlp_out(layer) for layer in down]
    names += [inner[0].format(layer) for layer in gate]
    names += [inner[-1].format(layer) for layer in up]
    turn = 1 if lm.arch.transposed else -1  # stored (d_in, d_out), or (d_out, d_in)
    return {name: tuple(lm.model.get_submodule(name).weight.shape[::turn]) for name in names}


def all_right(lm: LM, facts: Sequence[Fact]) -> bool:
    """Whether every answer token is the argmax, given the true ones before it."""
    rows, targets = [], []
    for fact in facts:
        rows.append(encode_prompt(lm.tokenizer, fact.text))
        targets.append(encode_target(lm.tokenizer, fact.target_new))
    return all(score.hits.all() for score in decode.score(lm, rows, targets))
