"""The value to write: v* by gradient descent through frozen layers, batched over facts.

One variable δ per fact is added at the subject's last token, and moved until the model gives the
new answer. Everything below the edited layer and everything before that token is constant, so only
the blocks above and the positions from there on run (replay.py). Source: ROME, section 3.1; MEMIT
uses the same optimizer with δ on the block's output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from .errors import TargetError
from .facts import Fact, encode_target, lookup
from .lm import LM
from .replay import Replay


@dataclass(frozen=True)
class Search:
    """Settings of the search for v*: names and published values in `presets.toml`.

    decay weighs ‖δ‖ / ‖init‖², clamp bounds ‖δ‖ by clamp·‖init‖, kl_factor weighs the KL term; the
    search ends when the total loss is under `enough`. 20 steps mean 19 updates: the last one only
    looks. relax=True is PMET's rule: once every target token is the argmax the NLL counts a tenth,
    and the search ends as soon as the KL term is at most 0.01.
    """

    v_lr: float = 0.5
    steps: int = 20
    decay: float = 0.5
    clamp: float = 4.0
    kl_factor: float = 0.0625
    enough: float = 0.05
    target_eos: bool = False
    relax: bool = False


@dataclass(frozen=True)
class Target:
    """What one search found: v_star = init + delta (d_out,), float32, and its loss per iteration.

    init is what stood at the place, at the bare prompt; mlp the MLP's own output there (the same
    for place="mlp_out"), key its input and keys those under every template (t, d_in). loss rows:
    (total, nll, kl, decay, probability of the target).
    """

    v_star: Tensor
    init: Tensor
    delta: Tensor
    mlp: Tensor
    keys: Tensor
    loss: tuple[tuple[float, ...], ...]


Place = Literal["mlp_out", "block", "pmet"]


def search(
    lm: LM,
    facts: Sequence[Fact],
    layer: int,
    templates: Sequence[str],
    settings: Search,
    place: Place = "mlp_out",
) -> list[Target]:
    """v* of every fact at one layer, on the model as it is patched now; the same as one by one.

    place="block" puts δ on the block's output (MEMIT), "pmet" one δ on the attention's and one on
    the MLP's output, of which the second is given back; families with a norm behind the MLP are
    always searched at `mlp_out`. Raises TargetError when a loss is not finite.
    """
    inside = lm.arch.post_norm  # δ passes a norm before it reaches the residual stream
    places = {
        "mlp_out": (lm.mlp_out(layer),),
        "pmet": (lm.mlp_out(layer), lm.arch.attn_out.format(layer)),
        "block": (),
    }["mlp_out" if inside else place]
    above = not inside and place != "pmet"  # the block above is the first that can feel δ
    found: list[Target | None] = [None] * len(facts)
    for group in _groups(lm, facts, templates):
        some = [facts[i] for i in group]
        batch = Batch(lm, some, layer, templates, settings, places, above)
        for i, target in zip(group, batch.run(), strict=True):
            found[i] = target
    return found


# Replayed tokens at once. On a CPU more than 256 is slower (more padding, and activations leave the
# cache): 27 against 32 s for 16 facts with five templates at 1024.
POSITIONS = {"cpu": 256, "cuda": 4096}
SPLIT = 16  # from so many rows on the KL rows are run by themselves


def _groups(lm: LM, facts: Sequence[Fact], templates: Sequence[str]) -> Iterator[list[int]]:
    """Facts in groups of bounded work, those with equally much text behind the subject together."""
    lengths = []
    for fact in facts:
        ids, at = lookup(lm.tokenizer, fact)
        lengths.append(len(ids) - at + len(encode_target(lm.tokenizer, fact.target_new)))
    order = sorted(range(len(facts)), key=lambda i: -lengths[i])
    limit = POSITIONS.get(lm.device.type, POSITIONS["cpu"])
    while order:
        size = max(1, limit // (lengths[order[0]] * len(templates)))
        yield order[:size]
        order = order[size:]


def answered(rows: Sequence[Sequence[int]], labels: Sequence[tuple[int, int, int]]) -> list[int]:
    """How many tokens at each row's end are answer: a route decides at the prompt's end."""
    counts = Counter(i for i, *_ in labels)
    return [max(0, counts[i] - 1) for i in range(len(rows))]


class Batch:
    """The search for some facts at once: δ (places, n, d_out), one forward and backward a step.

    Facts do not mix, so each has its own gradient, Adam state (elementwise) and stop; the rows of a
    finished fact are not run any more.
    """

    def __init__(
        self,
        lm: LM,
        facts: Sequence[Fact],
        layer: int,
        templates: Sequence[str],
        settings: Search,
        places: tuple[str, ...],
        above: bool,
    ) -> None:
        self.lm, self.settings, self.layer = lm, settings, layer
        rows, at, labels = rows_of(lm, facts, templates, settings.target_eos)
        self.n, self.t = n, t = len(facts), len(templates)
        name = lm.mlp_out(layer)
        start = layer + 1 if above else layer
        # The KL rows end at their lookup. Beside many longer rows they run alone, on one column
        # instead of on padding; beside few, one more pass over the weights would cost more.
        cut = n * t if n * t >= SPLIT else len(rows)
        behind = answered(rows, labels)
        self.replay = Replay(
            lm, rows[:cut], start, lookup=at[:cut], watch=[name], behind=behind[:cut]
        )
        self.short = Replay(lm, rows[cut:], start, lookup=at[cut:]) if rows[cut:] else None
        device = self.replay.hidden.device
        keys, values = (part[:, 0] for part in self.replay.seen[name])  # the lookup is column 0
        self.mlp = values[: n * t : t].float()  # rows stand fact by fact, the bare prompt first
        self.init = self.mlp if places else self.replay.hidden[: n * t : t, 0].float()
        self.keys = keys[: n * t].unflatten(0, (n, t)).float()
        # where δ goes in: None is the input of block layer + 1; above, mlp_out's output is that too
        self.places = (None,) if above else places
        self.owner = torch.arange(n, device=device).repeat_interleave(t)
        self._label([(i, self.replay.column(i, p), token) for i, p, token in labels])

    def _label(self, labels: list[tuple[int, int, int]]) -> None:
        n, t, device = self.n, self.t, self.owner.device
        self.labels = torch.tensor(labels, device=device).T  # row, column, token
        lengths = torch.bincount(self.owner[self.labels[0]], minlength=n) // t
        # NLL: mean over templates of the mean over the target's tokens
        self.share = 1.0 / (t * lengths[self.owner[self.labels[0]]])
        self.active = torch.arange(n, device=device)
        self.before: Tensor | None = None

    def run(self) -> list[Target]:
        """The loop of ROME, section 3.1."""
        settings, n = self.settings, self.n
        delta = torch.zeros(len(self.places), *self.init.shape, device=self.init.device)
        delta.requires_grad_()
        optimizer = torch.optim.Adam([delta], lr=settings.v_lr)
        size = self.init.norm(dim=1)
        curves: list[list[tuple[float, ...]]] = [[] for _ in range(n)]
        for step in range(settings.steps):
            with torch.enable_grad():
                terms = self.look(delta, size)  # (5, active)
                loss = terms[0]
            if not torch.isfinite(loss).all():
                raise TargetError(
                    f"the search for a value at layer {self.layer} left the finite numbers at "
                    f"step {step}; nothing was changed (try a smaller v_lr)"
                )
            for i, row in zip(self.active.tolist(), terms.T.tolist(), strict=True):
                curves[i].append(tuple(row))
            going = loss >= settings.enough
            if settings.relax:
                going &= ~(self.right & (terms[2] <= 0.01))
            if step == settings.steps - 1 or not going.any():
                break
            # facts do not mix: the gradient of the sum gives each its own
            (delta.grad,) = torch.autograd.grad(loss[going].sum(), delta)
            held = delta.detach().clone()
            optimizer.step()
            stays = torch.ones(n, dtype=torch.bool, device=delta.device)
            stays[self.active[going]] = False
            with torch.no_grad():
                delta *= (settings.clamp * size / delta.norm(dim=2).clamp(min=1e-12)).clamp(
                    max=1.0
                )[..., None]
                delta[:, stays] = held[:, stays]  # a finished fact stays where it is
            if not going.all():
                self.keep(going)
        delta = delta.detach()[0]
        return [
            Target(self.init[i] + delta[i], self.init[i], delta[i], self.mlp[i], self.keys[i],
                   tuple(curves[i])) for i in range(n)
        ]  # fmt: skip

    def look(self, delta: Tensor, size: Tensor) -> Tensor:
        """Rows (total, nll, kl, decay, probability), one column per fact still going."""
        settings, active = self.settings, self.active
        m, (which, column, token) = len(active), self.labels
        going = delta[:, active]
        states, short = self.forward(going)
        logits = self.lm.head(torch.cat([states[which, column], short]))
        log_probs = logits[: len(which)].log_softmax(-1)
        hit = log_probs.gather(1, token[:, None])[:, 0]
        zeros, owner = torch.zeros(m, device=hit.device), self.owner[which]
        nll = zeros.index_add(0, owner, -hit * self.share)
        if settings.relax:
            wrong = zeros.index_add(0, owner, (log_probs.argmax(1) != token).float())
            self.right = wrong == 0
            nll = torch.where(self.right, 0.1 * nll, nll)
        now = logits[len(which) :].log_softmax(-1)  # the next token right behind the subject
        self.before = now.detach() if self.before is None else self.before
        # KL(now ‖ before) + decay ‖δ‖ / ‖init‖²
        kl = settings.kl_factor * (now.exp() * (now - self.before)).sum(1)
        decay = settings.decay * going.norm(dim=2).sum(0) / size[active] ** 2
        chance = zeros.index_add(0, owner, hit.exp() * self.share)
        return torch.stack([nll + kl + decay, nll, kl, decay, chance])

    def forward(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """States behind the final norm: (rows, L, d) with templates, (facts, d) of the KL rows."""
        if self.short is None:
            together = torch.cat([delta[:, self.owner], delta], 1)
            states = _forward(self.lm, self.replay, together, self.places)
            return states, states[len(self.owner) :, 0]
        states = _forward(self.lm, self.replay, delta[:, self.owner], self.places)
        return states, _forward(self.lm, self.short, delta, self.places)[:, 0]

    def keep(self, going: Tensor) -> None:
        """Leave the rows of finished facts out of all that follows."""
        rows, facts = going[self.owner].nonzero()[:, 0], going.nonzero()[:, 0].tolist()
        place = torch.zeros_like(self.owner)
        place[rows] = torch.arange(len(rows), device=rows.device)
        stays = going[self.owner[self.labels[0]]]
        self.labels, self.share = self.labels[:, stays].clone(), self.share[stays]
        self.labels[0] = place[self.labels[0]]
        self.drop(rows.tolist(), facts)
        self.owner = (going.long().cumsum(0) - 1)[self.owner[rows]]
        self.active, self.before = self.active[going], self.before[going]

    def drop(self, rows: list[int], facts: list[int]) -> None:
        """Go on with these rows and facts only."""
        if self.short is None:
            self.replay = self.replay.take([*rows, *(len(self.owner) + i for i in facts)])
        else:
            self.replay, self.short = self.replay.take(rows), self.short.take(facts)


def rows_of(lm: LM, facts: Sequence[Fact], templates: Sequence[str], eos: bool):
    """Fact by fact one row per template with the target behind it, then the KL row of each fact.

    labels are (row, position that predicts it, token); a KL row ends at its lookup.
    """
    rows, at, labels = [], [], []
    for fact in facts:
        target = encode_target(lm.tokenizer, fact.target_new)
        target = target + [lm.tokenizer.eos_token_id] if eos else target
        for template in templates:
            ids, position = lookup(lm.tokenizer, fact, template)
            labels += [(len(rows), len(ids) - 1 + j, token) for j, token in enumerate(target)]
            rows.append(ids + target[:-1])
            at.append(position)
    for fact in facts:
        ids, position = lookup(lm.tokenizer, replace(fact, prompt="{} is a"))
        rows.append(ids[: position + 1])
        at.append(position)
    return rows, at, labels


def _forward(lm: LM, replay: Replay, delta: Tensor, places: Sequence[str | None]) -> Tensor:
    """States behind the final norm with δ added at the lookup, at the output of each of `places`.

    None is the input of the first replayed block.
    """

    def plus(output: Tensor, change: Tensor) -> Tensor:
        # opt's MLP sees rows and positions as one dimension
        wide = output.reshape(len(change), -1, output.shape[-1])
        moved = wide[:, :1] + change[:, None].to(output.dtype)
        return torch.cat([moved, wide[:, 1:]], 1).reshape(output.shape)

    hidden = replay.hidden
    if places == (None,):
        return replay.run(plus(hidden, delta[0]))
    with ExitStack() as hooks:
        for name, change in zip(places, delta, strict=True):
            add = lm.model.get_submodule(name).register_forward_hook(
                lambda _, __, output, change=change: plus(output, change)
            )
            hooks.callback(add.remove)
        return replay.run(hidden)
