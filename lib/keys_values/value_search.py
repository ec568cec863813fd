"""Searching for the value v* that makes the model give a fact's new answer.

One variable δ per fact is added at the subject's last token and optimized by gradient descent until
the model gives the new answer. The weights stay frozen. Everything below the edited layer and
everything before that token is constant, so only the blocks above and the following positions are
run (model/partial_forward.py). Source: ROME, section 3.1. MEMIT uses the same optimizer with δ
on the block's output.

`VectorSearch` is the loop of every search for values: here for facts, in editors/shared/ for the
entries of a codebook (entry_values.py) and for several layers at once (values_at_layers.py).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..cancellation import steps
from ..data import as_facts
from ..data.facts import Fact, encode_answer, encode_target, lookup
from ..errors import EditError
from ..model.answer_rows import AnswerRows, select_labels
from ..model.batching import batches
from ..model.devices import on_card
from ..model.lm import LM
from ..model.partial_forward import Replay

Site = Literal["mlp_out", "block", "pmet"]  # the place of adding δ


@dataclass(frozen=True)
class Search:
    """Settings of the search for v*, explained in editors/shared/shared_settings.py.

    enough  the search of a fact ends if its total loss is less than this
    relax   PMET's rule: when all target tokens are the argmax, their loss counts a tenth, and a KL
            term of at most 0.01 ends the search
    """

    v_lr: float = 0.5
    steps: int = 20
    decay: float = 0.5
    clamp: float = 4.0
    kl_factor: float = 0.0625
    enough: float = 0.05
    # The order of the fields is part of the name of a file in the cache: see `anchor_norm`.
    target_eos: bool = False
    relax: bool = False


@dataclass(frozen=True)
class Target:
    """The result of one search, float32.

    v_star  (d_out,) the value, init + delta
    init    (d_out,) the state at the site and at the lookup of the bare prompt, before the search
    delta   (d_out,) its change by the search
    mlp     (d_out,) the MLP's own output there, which is `init` for site="mlp_out"
    keys    (t, d_in) the MLP's input at the lookup under every template, the bare prompt first
    loss    one row (total, nll, kl, decay, probability of the target) per iteration
    """

    v_star: Tensor
    init: Tensor
    delta: Tensor
    mlp: Tensor
    keys: Tensor
    loss: tuple[tuple[float, ...], ...]


def search(
    lm: LM,
    facts: as_facts.Given,
    layer: int,
    templates: Sequence[str],
    settings: Search,
    site: Site = "mlp_out",
) -> list[Target]:
    """Return v* of every fact at one layer, on the model with its present patch, as if one by one.

    The model should give the answer under every template. site="mlp_out" adds δ to the MLP's output
    (ROME), "block" to the block's output (MEMIT), and "pmet" one δ to the MLP's and one to the
    attention's output, and returns the MLP's. In families with a norm after the MLP the site is
    always `mlp_out`, because there δ passes the norm before it reaches the residual stream. Raises
    EditError if a loss is not finite.
    """
    facts = as_facts.facts(facts)
    site = "mlp_out" if lm.arch.post_norm else site
    found: list[Target | None] = [None] * len(facts)
    for group in steps(list(_groups(lm, facts, templates)), f"values for {len(facts)} facts"):
        some = [facts[i] for i in group]
        batch = OneLayer(lm, some, layer, templates, settings, site)
        for i, target in zip(group, batch.targets(), strict=True):
            found[i] = target
    return found


# Replayed tokens at once. On a CPU more than 256 is slower (more padding, and activations leave the
# cache): 27 against 32 s for 16 facts with five templates at 1024.
POSITIONS = {"cpu": 256, "card": 4096}
SPLIT = 16  # from this number of rows with templates on, the KL rows are run separately


def most_positions(lm: LM) -> int:
    """Return the number of tokens that are replayed at once on the model's device."""
    return POSITIONS["card" if on_card(lm.device) else "cpu"]


def _groups(lm: LM, facts: Sequence[Fact], templates: Sequence[str]) -> Iterator[list[int]]:
    """Return facts in groups of bounded work, sorted by the text's length after the subject."""
    read = [(*lookup(lm.tokenizer, f), encode_target(lm.tokenizer, f.target_new)) for f in facts]
    work = [range((len(ids) - at + len(answer)) * len(templates)) for ids, at, answer in read]
    return batches(work, most_positions(lm))


@dataclass(eq=False, kw_only=True)
class VectorSearch(ABC):
    """Gradient descent for several vectors δ at once, one forward and one backward pass per step.

    Because vectors do not mix, each has its own gradient, Adam state (elementwise) and end, and the
    rows of a finished vector are no longer run. A subclass defines the loss (`terms`) and how
    finished rows are left out (`drop`).

    where   the site of the vectors, for a message
    init    (n, d_out) states at the site before adding δ
    labels  (3, m) row, column, and token of the answers
    share   (m,) weight of each label's loss
    owner   (rows,) the vector changing each row, numbered among the active ones
    sites   number of δ in each vector; they are optimized together
    active  (a,) numbers of the vectors that are not finished; `alive` is the same as a list
    """

    lm: LM
    where: str
    init: Tensor
    labels: Tensor
    share: Tensor
    owner: Tensor
    sites: int = 1

    def __post_init__(self) -> None:
        self.share = self.share.float().to(self.init.device)
        self.owner = self.owner.to(self.init.device)
        self.alive = list(range(len(self.init)))
        self.active = torch.arange(len(self.init), device=self.init.device)

    @abstractmethod
    def terms(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the terms of a step, for the active vectors of δ (sites, n, d_out).

        First (k, a) numbers whose first row is the loss, then (a,) if each vector continues.
        """

    @abstractmethod
    def drop(self, rows: list[int], vectors: list[int]) -> None:
        """Continue only with these rows and vectors, numbered among those still running."""

    def run(
        self, lr: float, looks: int, moves: int, limit: Tensor | None = None
    ) -> tuple[Tensor, list[list[tuple[float, ...]]]]:
        """Return δ (sites, n, d_out), and for each vector the terms of every step.

        lr     learning rate of Adam
        looks  maximum number of steps computing the loss
        moves  maximum number of steps changing δ
        limit  (n,) bound on the length of each δ
        """
        n = len(self.init)
        delta = torch.zeros(self.sites, *self.init.shape, device=self.init.device)
        delta.requires_grad_()
        optimizer = torch.optim.Adam([delta], lr=lr)
        curves: list[list[tuple[float, ...]]] = [[] for _ in range(n)]
        for step in steps(range(looks), "steps of the search"):
            # the loss of every active vector, and its terms
            with torch.enable_grad():
                terms, going = self.terms(delta)
                loss = terms[0]
            # all numbers of the step are copied to the CPU at once, as CUDA waits for each copy
            rows = torch.cat([terms.detach(), going[None]]).T.tolist()
            if not all(math.isfinite(row[0]) for row in rows):
                raise EditError(
                    f"The value search at {self.where} produced NaN or infinity at step {step}. "
                    "Nothing was changed. Try a smaller learning rate."
                )
            for i, row in zip(self.alive, rows, strict=True):
                curves[i].append(tuple(row[:-1]))
            still = [bool(row[-1]) for row in rows]
            if step == moves or not any(still):
                break
            # vectors do not mix, so the gradient of the sum over the active ones gives each its own
            (delta.grad,) = torch.autograd.grad(loss, delta, grad_outputs=going.to(loss.dtype))
            before = delta.detach().clone()
            optimizer.step()
            moving = torch.zeros(n, dtype=torch.bool, device=delta.device)
            moving = moving.index_copy(0, self.active, going)
            with torch.no_grad():
                if limit is not None:
                    bound = limit / delta.norm(dim=2).clamp(min=1e-12)
                    delta *= bound.clamp(max=1.0)[..., None]
                # Adam's momentum also changes finished vectors, so restore them
                delta.copy_(torch.where(moving[:, None], delta, before))
            # the rows of finished vectors are not run any more
            if not all(still):
                self.alive = [i for i, goes in zip(self.alive, still, strict=True) if goes]
                self._select(going)
        return delta.detach(), curves

    def answers(self, log_probs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return NLL, if all tokens are the argmax, and probability of each row's answer, (rows,).

        log_probs  (m, vocabulary) at the labels
        """
        row, _, token = self.labels
        hit = log_probs.gather(1, token[:, None])[:, 0]
        zeros = torch.zeros(len(self.owner), device=hit.device)
        nll = zeros.index_add(0, row, -hit * self.share)
        wrong = zeros.index_add(0, row, (log_probs.argmax(1) != token).float())
        return nll, wrong == 0, zeros.index_add(0, row, hit.detach().exp() * self.share)

    def sums(self, values: Tensor) -> Tensor:
        """Return the sum of some rows' values (rows,) for each active vector, (a,)."""
        zeros = torch.zeros(len(self.active), device=values.device)
        return zeros.index_add(0, self.owner, values.float())

    def _select(self, going: Tensor) -> None:
        """Continue with the vectors that are not finished, which are marked in going (a,)."""
        stays = going[self.owner]
        self.labels, selected = select_labels(self.labels, stays)
        self.share = self.share[selected]
        self.drop(stays.nonzero()[:, 0].tolist(), going.nonzero()[:, 0].tolist())
        self.owner = (going.long().cumsum(0) - 1)[self.owner[stays]]
        self.active = self.active[going]


@dataclass(eq=False, kw_only=True)
class FactSearch(VectorSearch):
    """The search of ROME, section 3.1, with a subclass for each way of adding δ (`forward`).

    mlp     (n, d_out) the MLP's own output at the lookup of the bare prompt
    keys    (n, t, d_in) the MLP's inputs at the lookup under each template
    before  log-probabilities after the subjects at the first step
    """

    settings: Search
    mlp: Tensor
    keys: Tensor
    before: Tensor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.size = self.init.norm(dim=1)

    @abstractmethod
    def forward(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Return states after the final norm with δ (sites, active, d_out) added at the lookup.

        First come the states of the rows with templates, (rows, L, d), then the states of the KL
        rows at the position for predicting the token after the subject, (active, d).
        """

    def targets(self) -> list[Target]:
        """Return the results of the search, with the first δ if there are several."""
        settings = self.settings
        # ‖δ‖ is at most clamp · ‖init‖
        limit = settings.clamp * self.size
        delta, curves = self.run(settings.v_lr, settings.steps, settings.steps - 1, limit)
        found = zip(self.init, delta[0], self.mlp, self.keys, curves, strict=True)
        return [
            Target(init + moved, init, moved, mlp, keys, tuple(curve))
            for init, moved, mlp, keys, curve in found
        ]

    def terms(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Return total, NLL, KL, decay and probability (5, active), and which vectors continue."""
        settings, active = self.settings, self.active
        row, column, _ = self.labels
        moved = delta[:, active]
        states, subjects = self.forward(moved)
        logits = self.lm.head(torch.cat([states[row, column], subjects]))
        of_rows, right, chances = self.answers(logits[: len(row)].log_softmax(-1))
        nll, known = self.sums(of_rows), self.sums(~right) == 0
        # PMET: when all target tokens are the argmax, their loss counts a tenth
        if settings.relax:
            nll = torch.where(known, 0.1 * nll, nll)
        now = logits[len(row) :].log_softmax(-1)  # the next token right after the subject
        self.before = now.detach() if self.before is None else self.before
        # KL(now ‖ before) + decay ‖δ‖ / ‖init‖²
        kl = settings.kl_factor * (now.exp() * (now - self.before)).sum(1)
        decay = settings.decay * moved.norm(dim=2).sum(0) / self.size[active] ** 2
        loss = nll + kl + decay
        # a vector is finished if its loss is small enough
        going = loss >= settings.enough
        if settings.relax:
            going &= ~(known & (kl <= 0.01))
        return torch.stack([loss, nll, kl, decay, self.sums(chances)]), going

    def drop(self, rows: list[int], vectors: list[int]) -> None:
        """Select the predictions after the subjects."""
        self.before = self.before[vectors]


class OneLayer(FactSearch):
    """The search for some facts at one layer: one vector for each fact."""

    def __init__(
        self,
        lm: LM,
        facts: Sequence[Fact],
        layer: int,
        templates: Sequence[str],
        settings: Search,
        site: Site,
    ) -> None:
        rows, at, self.subjects = rows_of(lm, facts, templates, settings.target_eos)
        n, t = len(facts), len(templates)
        name = lm.mlp_out(layer)
        modules = (name, lm.attn_out(layer)) if site == "pmet" else (name,)
        # The KL rows end at their lookup. With many longer rows they are run separately, using
        # one column instead of padding; with few, one more pass over the weights would cost more.
        cut = n * t if n * t >= SPLIT else len(rows)
        self.replay = Replay.at_mlp(
            lm,
            rows.ids[:cut],
            layer,
            modules,
            lookup=at[:cut],
            watch=[name],
            behind=rows.behind[:cut],
        )
        self.short = None
        if rows.ids[cut:]:
            self.short = Replay.at_mlp(lm, rows.ids[cut:], layer, modules, lookup=at[cut:])
        keys, values = (part[: n * t, 0] for part in self.replay.seen[name])  # the lookup's column
        mlp = values[::t].float()  # rows are sorted by fact, the bare prompt first
        super().__init__(
            lm=lm,
            where=f"layer {layer}",
            settings=settings,
            init=self.replay.hidden[: n * t : t, 0].float() if site == "block" else mlp,
            mlp=mlp,
            keys=keys.unflatten(0, (n, t)).float(),
            labels=self.replay.labels(rows),
            # NLL: mean over templates of the mean over the answer's tokens
            share=rows.share / t,
            owner=torch.arange(n).repeat_interleave(t),
            sites=len(modules),
        )

    def forward(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Return states with each row's δ added at column 0, the lookup."""
        own = [i for i, row in enumerate(self.subjects) if row >= len(self.owner)]
        if self.short is None:
            states = _moved(self.replay, torch.cat([delta[:, self.owner], delta[:, own]], 1))
            return states, states[self.subjects, 0]
        states = _moved(self.replay, delta[:, self.owner])
        first = torch.cat([states[:, 0], _moved(self.short, delta[:, own])[:, 0]])
        return states, first[self.subjects]

    def drop(self, rows: list[int], vectors: list[int]) -> None:
        """Select the rows that stay in the captured replays."""
        super().drop(rows, vectors)
        n, subjects = len(self.owner), [self.subjects[i] for i in vectors]
        own = [row for row in subjects if row >= n]
        stay = {row: i for i, row in enumerate([*rows, *own])}
        self.subjects = [stay[row] for row in subjects]
        self.replay = self.replay.take(rows if self.short else list(stay))
        if self.short:
            self.short = self.short.take([row - n for row in own]) if own else None


def rows_of(
    lm: LM, facts: Sequence[Fact], templates: Sequence[str], eos: bool
) -> tuple[AnswerRows, list[int], list[int]]:
    """Return the rows of one search, the lookup position in each, and each fact's row of the KL.

    For each fact there is one row per template, with its answer. The KL term is computed at the
    lookup of "SUBJECT is a": in the bare prompt if it begins with these tokens, or in one more row.
    """
    rows, subjects = [], []  # a row is its prompt, its answer, and its lookup position
    end = [lm.tokenizer.eos_token_id] if eos else []
    for fact in facts:
        for template in templates:
            ids, at = lookup(lm.tokenizer, fact, template)
            rows.append((ids, encode_answer(lm.tokenizer, fact.target_new, template) + end, at))
    for i, fact in enumerate(facts):
        ids, at = lookup(lm.tokenizer, fact, prompt="{} is a")
        bare, _, end_of_subject = rows[i * len(templates)]
        begins = bare[: end_of_subject + 1] == ids[: at + 1]
        subjects.append(i * len(templates) if begins else len(rows))
        if not begins:
            rows.append((ids[: at + 1], [], at))
    prompts, answers, places = zip(*rows, strict=True)
    return AnswerRows(prompts, answers), list(places), subjects


def _moved(replay: Replay, delta: Tensor) -> Tensor:
    """Return states after the final norm with δ (sites, rows, d_out) added at the lookup."""
    return replay.with_added(*delta[:, :, None].to(replay.hidden.dtype))
