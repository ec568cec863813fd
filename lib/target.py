"""The value to write: v* by gradient descent through frozen layers, batched over facts.

One variable δ per fact is added at the subject's last token, and moved until the model gives the
new answer. Everything below the edited layer and everything before that token is constant, so only
the blocks above and the positions from there on run (replay.py). Source: ROME, section 3.1; MEMIT
uses the same optimizer with δ on the block's output.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from . import decode
from .facts import Fact, encode_target, lookup
from .patch import EMPTY
from .replay import Replay

if TYPE_CHECKING:
    from .lm import LM

STARTERS = ("The", "Therefore", "Because", "I", "You")


class TargetError(ValueError):
    """The optimization left the finite numbers; nothing was changed."""


@dataclass(frozen=True)
class Search:
    """Settings of the search for v*: names and published values in `presets.toml`.

    decay weighs ‖δ‖ / ‖init‖², clamp bounds ‖δ‖ by clamp·‖init‖, kl_factor weighs the KL term; the
    search ends when the total loss is under `enough`. 20 steps mean 19 updates: the last one only
    looks.
    """

    v_lr: float = 0.5
    steps: int = 20
    decay: float = 0.5
    clamp: float = 4.0
    kl_factor: float = 0.0625
    enough: float = 0.05
    target_eos: bool = False


@dataclass(frozen=True)
class Target:
    """What one search found: v_star = init + delta (d_out,), float32, and its loss per iteration.

    init is the module's own output at the bare prompt, key the input there and keys those under
    every template (t, d_in). loss rows: (total, nll, kl, decay, probability of the target).
    """

    v_star: Tensor
    init: Tensor
    delta: Tensor
    keys: Tensor
    loss: tuple[tuple[float, ...], ...]


def search(
    lm: LM,
    facts: Sequence[Fact],
    layer: int,
    templates: Sequence[str],
    settings: Search,
    place: Literal["mlp_out", "block"] = "mlp_out",
) -> list[Target]:
    """v* of every fact at one layer, on the model as it is patched now; the same as one by one.

    place="block" puts δ on the block's output (MEMIT); families with a norm behind the MLP are
    always searched at `mlp_out`. Raises TargetError when a loss is not finite.
    """
    rows, at, labels, owner = _rows(lm, facts, templates, settings.target_eos)
    name, n, t = lm.mlp_out(layer), len(facts), len(templates)
    inside = lm.arch.post_norm  # δ passes a norm before it reaches the residual stream
    replay = Replay(lm, rows, layer if inside else layer + 1, lookup=at, watch=[name])
    keys, values = (part[:, 0] for part in replay.seen[name])  # the lookup is column 0
    bare = torch.arange(n, device=values.device) * (t + 1)
    init = (values if place == "mlp_out" or inside else replay.hidden[:, 0])[bare].float()
    owner = torch.tensor(owner, device=init.device)

    targets = [(i, replay.column(i, p), token) for i, p, token in labels]
    which, column, token = (torch.tensor(x, device=init.device) for x in zip(*targets, strict=True))
    kl_rows = bare + t
    # NLL: mean over templates of the mean over the target's tokens
    lengths = torch.bincount(which, minlength=len(rows)).clamp(min=1)
    share = 1.0 / (t * lengths[which])

    delta = torch.zeros_like(init, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=settings.v_lr)
    limit, size = settings.clamp * init.norm(dim=1), init.norm(dim=1)
    done = torch.zeros(n, dtype=torch.bool, device=init.device)
    curves: list[list[tuple[float, ...]]] = [[] for _ in facts]
    before = None
    for step in range(settings.steps):
        with torch.enable_grad():
            states = _forward(lm, replay, delta[owner], name if inside else None)
            logits = lm.head(torch.cat([states[which, column], states[kl_rows, 0]]))
            log_probs = logits[: len(which)].log_softmax(-1)
            hit = log_probs.gather(1, token[:, None])[:, 0]
            nll = torch.zeros(n, device=hit.device).index_add(0, owner[which], -hit * share)
            now = logits[len(which) :].log_softmax(-1)  # the next token right behind the subject
            before = now.detach() if before is None else before
            # KL(now ‖ before) + decay ‖δ‖ / ‖init‖²
            kl = settings.kl_factor * (now.exp() * (now - before)).sum(1)
            decay = settings.decay * delta.norm(dim=1) / size**2
            loss = nll + kl + decay
        if not torch.isfinite(loss[~done]).all():
            raise TargetError(
                f"the search for a value at layer {layer} left the finite numbers at step {step}; "
                "nothing was changed (try a smaller v_lr)"
            )
        chance = torch.zeros(n, device=hit.device).index_add(0, owner[which], hit.exp() * share)
        table = torch.stack([loss, nll, kl, decay, chance]).T.tolist()
        for i in (~done).nonzero()[:, 0].tolist():
            curves[i].append(tuple(table[i]))
        done = done | (loss < settings.enough)
        if done.all() or step == settings.steps - 1:
            break
        (grad,) = torch.autograd.grad(loss.sum(), delta)  # facts do not mix: each gets its own
        delta.grad = grad
        held = delta.detach().clone()
        optimizer.step()
        with torch.no_grad():
            delta *= (limit / delta.norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)[:, None]
            delta[done] = held[done]  # a finished fact stays where it is
    delta = delta.detach()
    templates_of = torch.arange(t, device=init.device)
    return [
        Target(
            init[i] + delta[i],
            init[i],
            delta[i],
            keys[bare[i] + templates_of].float(),
            tuple(curves[i]),
        )
        for i in range(n)
    ]


def _rows(lm: LM, facts: Sequence[Fact], templates: Sequence[str], eos: bool):
    """Per fact: one row per template with the target behind it, and the KL row, which ends at its
    lookup.

    labels are (row, position that predicts it, token); owner[row] is the row's fact.
    """
    rows, at, labels, owner = [], [], [], []
    for i, fact in enumerate(facts):
        target = encode_target(lm.tokenizer, fact.target_new)
        target = target + [lm.tokenizer.eos_token_id] if eos else target
        for template in templates:
            ids, position = lookup(lm.tokenizer, fact, template)
            labels += [(len(rows), len(ids) - 1 + j, token) for j, token in enumerate(target)]
            rows.append(ids + target[:-1])
            at.append(position)
        ids, position = lookup(lm.tokenizer, replace(fact, prompt="{} is a"))
        rows.append(ids[: position + 1])
        at.append(position)
        owner += [i] * (len(templates) + 1)
    return rows, at, labels, owner


def _forward(lm: LM, replay: Replay, delta: Tensor, inside: str | None) -> Tensor:
    """States behind the final norm with δ added at the lookup; inside: at that module's output."""
    hidden = replay.hidden
    if inside is None:
        moved = hidden[:, :1] + delta[:, None].to(hidden.dtype)
        return replay.run(torch.cat([moved, hidden[:, 1:]], 1))

    def add(_: nn.Module, __: tuple, output: Tensor) -> Tensor:
        moved = output[:, :1] + delta[:, None].to(output.dtype)
        return torch.cat([moved, output[:, 1:]], 1)

    hook = lm.model.get_submodule(inside).register_forward_hook(add)
    try:
        return replay.run(hidden)
    finally:
        hook.remove()


def contexts(lm: LM, lengths: Sequence[tuple[int, int]], start: int | str | None, seed: int,
             top_k: int = 5) -> tuple[str, ...]:  # fmt: skip
    """Context templates: "{}" and sentences that the base model wrote itself, each put before "{}".

    lengths: (tokens, how many), the start token counted. start: a token id, "words" for one context
    from each of five words (MEMIT), or None for the end-of-text token alone (ROME). Seeded, where
    the authors' code is not: otherwise the same edit gives a different patch.
    """
    start = lm.tokenizer.eos_token_id if start is None else start
    made = ["{}"]
    with lm.patched(EMPTY, only=True):
        for length, count in lengths:
            if start == "words":
                rows = [lm.tokenizer(STARTERS[i % len(STARTERS)]).input_ids for i in range(count)]
            else:
                rows = [[int(start)]] * count
            new = decode.generate(
                lm,
                rows,
                length - len(rows[0]),
                temperature=1.0,
                top_k=top_k or None,
                seed=seed + length,
            )
            for row, ids in zip(rows, new.ids, strict=True):
                text = lm.tokenizer.decode([*row, *ids], skip_special_tokens=True)
                text = unicodedata.normalize("NFKD", text).replace("\n\n", " ")
                made.append(text.replace("{", " ").replace("}", " ").strip() + ". {}")
    return tuple(made)
