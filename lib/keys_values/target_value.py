"""The search for the value v* that makes the model give a fact's new answer.

One variable δ per fact is added at the subject's last token and moved by gradient descent until the
model gives the new answer. The weights stay frozen. Everything below the edited layer and
everything before that token is constant, so only the blocks above and the positions from there on
run (model/partial_forward.py). Source: ROME, section 3.1. MEMIT uses the same optimizer with δ on
the block's output.

The file is longer than 300 lines because the settings, the published loop (`Batch.run`) and its
loss (`Batch.look`) are read together. `FactBatch` stands beside them as the usual way to bring δ
into the model; WilKE's search over layers (editors/shared/layer_search.py) is another one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..data.facts import Fact, encode_answer, encode_target, lookup
from ..errors import TargetError
from ..model.answer_rows import AnswerRows, select_labels
from ..model.devices import on_card
from ..model.lm import LM
from ..model.partial_forward import Replay
from ..settings import setting
from .conversation_forms import NONE, Forms


@dataclass(frozen=True)
class Search:
    """Settings of the search for v*; the papers' values are in the editors and in presets.toml."""

    v_lr: float = setting(0.5, "Learning rate of Adam in the search for the value.", source="paper")
    steps: int = setting(
        20, "Steps of the search at most; the last one only looks at the loss.", source="paper"
    )
    decay: float = setting(
        0.5, "Weight of the found change's length in its search.", source="paper"
    )
    clamp: float = setting(
        4.0,
        "Bound on the change's length, as a multiple of the length of the state there.",
        source="paper",
    )
    kl_factor: float = setting(
        0.0625,
        "Weight of the KL divergence of the prediction right after the subject.",
        source="paper",
    )
    enough: float = setting(0.05, "Total loss under which the search ends.", source="paper")
    # The order of the fields is part of the name of a file in the cache: see `anchor_norm`.
    target_eos: bool = setting(
        False, "Whether the end of the text is learned as a token after the answer.", source="ours"
    )
    relax: bool = setting(
        False,
        "PMET's rule: once all target tokens are the argmax their loss counts a tenth, and a KL "
        "term of at most 0.01 ends the search.",
        source="paper",
    )


@dataclass(frozen=True)
class Target:
    """The result of one search, float32.

    v_star  (d_out,) the value, init + delta
    init    (d_out,) the state at the place and at the lookup of the bare prompt, before the search
    delta   (d_out,) the change of it that was found
    mlp     (d_out,) the MLP's own output there, which is `init` for place="mlp_out"
    keys    (t, d_in) the MLP's input at the lookup under every template, the bare prompt first,
            and then in every form of conversation
    loss    one row (total, nll, kl, decay, probability of the target) per iteration
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
    forms: Forms = NONE,
) -> list[Target]:
    """v* of every fact at one layer, on the model as it is patched now, as if one by one.

    The answer has to come under every template, and in every form of conversation in `forms`.
    place="mlp_out" puts δ on the MLP's output (ROME), "block" on the block's output (MEMIT), and
    "pmet" one δ on the MLP's and one on the attention's output, and the MLP's is given back.
    Families with a norm after the MLP are always searched at `mlp_out`, because there δ passes the
    norm before it reaches the residual stream. Raises TargetError when a loss is not finite.
    """
    place = "mlp_out" if lm.arch.post_norm else place
    found: list[Target | None] = [None] * len(facts)
    for group in _groups(lm, facts, templates, forms):
        some = [facts[i] for i in group]
        batch = FactBatch(lm, some, layer, templates, settings, place, forms.take(group))
        for i, target in zip(group, batch.run(), strict=True):
            found[i] = target
    return found


# Replayed tokens at once. On a CPU more than 256 is slower (more padding, and activations leave the
# cache): 27 against 32 s for 16 facts with five templates at 1024.
POSITIONS = {"cpu": 256, "card": 4096}
SPLIT = 16  # number of rows with templates from which on the KL rows run by themselves


def most_positions(lm: LM) -> int:
    """The number of tokens that are replayed at once on the model's device."""
    return POSITIONS["card" if on_card(lm.device) else "cpu"]


def _groups(
    lm: LM, facts: Sequence[Fact], templates: Sequence[str], forms: Forms
) -> Iterator[list[int]]:
    """Facts in groups of bounded work, sorted by how much text follows the subject."""
    lengths = []
    for i, fact in enumerate(facts):
        places = [lookup(lm.tokenizer, fact)]
        places += [lookup(lm.tokenizer, form[i], forms.template) for form in forms.variants]
        behind = max(len(ids) - at for ids, at in places)
        lengths.append(behind + len(encode_target(lm.tokenizer, fact.target_new)))
    order = sorted(range(len(facts)), key=lambda i: -lengths[i])
    limit = most_positions(lm)
    while order:
        size = max(1, limit // (lengths[order[0]] * (len(templates) + len(forms))))
        yield order[:size]
        order = order[size:]


class Batch(ABC):
    """The search for several vectors δ at once, with one forward and one backward pass per step.

    Vectors do not mix, so each has its own gradient, Adam state (elementwise) and end, and the rows
    of a finished one do not run any more. A subclass says how δ reaches the model (`forward`) and
    how finished rows are left out (`drop`).

    init    (n, d_out) states at the place before δ is added
    mlp     (n, d_out) the MLP's own output at the lookup of the bare prompt
    keys    (n, t, d_in) the MLP's inputs at the lookup under each template
    labels  (3, m) row, column, and token of the answers; the t rows of a vector stand together
    share   (m,) one over the length of each label's answer
    places  number of δ that each vector consists of; they are searched together, and the first is
            given back
    alive   numbers of the vectors that are not finished; `active` holds them beside the states
    """

    def __init__(
        self,
        lm: LM,
        layer: int,
        settings: Search,
        *,
        init: Tensor,
        mlp: Tensor,
        keys: Tensor,
        labels: Tensor,
        share: Tensor,
        places: int = 1,
    ) -> None:
        self.lm, self.layer, self.settings, self.places = lm, layer, settings, places
        self.init, self.mlp, self.keys, self.labels = init, mlp, keys, labels
        self.n, t = keys.shape[:2]
        self.alive = list(range(self.n))
        self.active = torch.arange(self.n, device=init.device)
        self.owner = self.active.repeat_interleave(t)  # the vector that moves each row
        # NLL: mean over templates of the mean over the answer's tokens
        self.share = (share / t).float().to(init.device)
        self.before: Tensor | None = None  # log-probabilities of the KL rows at the first look

    @abstractmethod
    def forward(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """States after the final norm with δ (places, active, d_out) added at the lookup.

        First those of the rows with templates, (rows, L, d). Then those of the KL rows at the
        position that predicts the token after the subject, (active, d).
        """

    @abstractmethod
    def drop(self, rows: list[int], vectors: list[int]) -> None:
        """Go on with these rows and vectors only, numbered among those that still ran."""

    def run(self) -> list[Target]:
        """The loop of ROME, section 3.1."""
        settings, n = self.settings, self.n
        delta = torch.zeros(self.places, *self.init.shape, device=self.init.device)
        delta.requires_grad_()
        optimizer = torch.optim.Adam([delta], lr=settings.v_lr)
        size = self.init.norm(dim=1)
        curves: list[list[tuple[float, ...]]] = [[] for _ in range(n)]
        for step in range(settings.steps):
            # the loss of every vector that is still searched, and the terms it is made of
            with torch.enable_grad():
                terms = self.look(delta, size)  # (5, active)
                loss = terms[0]
            # a vector whose loss is small enough is finished
            going = loss >= settings.enough
            if settings.relax:
                going &= ~(self.right & (terms[2] <= 0.01))
            # all numbers of the step come to the CPU at once, as a card waits for each that is read
            rows = torch.cat([terms, going[None]]).T.tolist()
            if not all(math.isfinite(row[0]) for row in rows):
                raise TargetError(
                    f"the search for a value at layer {self.layer} left the finite numbers at "
                    f"step {step}; nothing was changed (try a smaller v_lr)"
                )
            for i, row in zip(self.alive, rows, strict=True):
                curves[i].append(tuple(row[:-1]))
            still = [bool(row[-1]) for row in rows]
            if step == settings.steps - 1 or not any(still):
                break
            # vectors do not mix: the gradient of the sum over those going on gives each its own
            (delta.grad,) = torch.autograd.grad(loss, delta, grad_outputs=going.to(loss.dtype))
            held = delta.detach().clone()
            optimizer.step()
            moves = torch.zeros(n, dtype=torch.bool, device=delta.device)
            moves = moves.index_copy(0, self.active, going)
            with torch.no_grad():
                # ‖δ‖ is at most clamp · ‖init‖
                bound = settings.clamp * size / delta.norm(dim=2).clamp(min=1e-12)
                delta *= bound.clamp(max=1.0)[..., None]
                # Adam's momentum also moves finished vectors: they are put back
                delta.copy_(torch.where(moves[:, None], delta, held))
            # the rows of finished vectors do not run any more
            if not all(still):
                self.alive = [i for i, goes in zip(self.alive, still, strict=True) if goes]
                self.keep(going)
        delta = delta.detach()[0]
        found = zip(self.init, delta, self.mlp, self.keys, curves, strict=True)
        return [
            Target(init + moved, init, moved, mlp, keys, tuple(curve))
            for init, moved, mlp, keys, curve in found
        ]

    def look(self, delta: Tensor, size: Tensor) -> Tensor:
        """Total, NLL, KL, decay and probability (5, active) of the vectors still searched."""
        settings, active = self.settings, self.active
        m, (row, column, token) = len(active), self.labels
        going = delta[:, active]
        states, short = self.forward(going)
        logits = self.lm.head(torch.cat([states[row, column], short]))
        log_probs = logits[: len(row)].log_softmax(-1)
        hit = log_probs.gather(1, token[:, None])[:, 0]
        zeros, owner = torch.zeros(m, device=hit.device), self.owner[row]
        nll = zeros.index_add(0, owner, -hit * self.share)
        # PMET: once all target tokens are the argmax their loss counts a tenth
        if settings.relax:
            wrong = zeros.index_add(0, owner, (log_probs.argmax(1) != token).float())
            self.right = wrong == 0
            nll = torch.where(self.right, 0.1 * nll, nll)
        now = logits[len(row) :].log_softmax(-1)  # the next token right after the subject
        self.before = now.detach() if self.before is None else self.before
        # KL(now ‖ before) + decay ‖δ‖ / ‖init‖²
        kl = settings.kl_factor * (now.exp() * (now - self.before)).sum(1)
        decay = settings.decay * going.norm(dim=2).sum(0) / size[active] ** 2
        chance = zeros.index_add(0, owner, hit.exp() * self.share)
        return torch.stack([nll + kl + decay, nll, kl, decay, chance])

    def keep(self, going: Tensor) -> None:
        """Go on with the vectors that are not finished; going (active,) says which they are."""
        stays = going[self.owner]
        self.labels, kept = select_labels(self.labels, stays)
        self.share = self.share[kept]
        self.drop(stays.nonzero()[:, 0].tolist(), going.nonzero()[:, 0].tolist())
        self.owner = (going.long().cumsum(0) - 1)[self.owner[stays]]
        self.active, self.before = self.active[going], self.before[going]


class FactBatch(Batch):
    """The search for some facts at one layer: one vector for each fact."""

    def __init__(
        self,
        lm: LM,
        facts: Sequence[Fact],
        layer: int,
        templates: Sequence[str],
        settings: Search,
        place: Place,
        forms: Forms = NONE,
    ) -> None:
        rows, at = rows_of(lm, facts, templates, settings.target_eos, forms)
        n, t = len(facts), len(templates) + len(forms)
        name = lm.mlp_out(layer)
        modules = (name, lm.arch.attn_out.format(layer)) if place == "pmet" else (name,)
        # The KL rows end at their lookup. Beside many longer rows they run alone, on one column
        # instead of on padding; beside few, one more pass over the weights would cost more.
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
        mlp = values[::t].float()  # rows stand fact by fact, the bare prompt first
        super().__init__(
            lm,
            layer,
            settings,
            init=self.replay.hidden[: n * t : t, 0].float() if place == "block" else mlp,
            mlp=mlp,
            keys=keys.unflatten(0, (n, t)).float(),
            labels=self.replay.labels(rows),
            share=rows.share,
            places=len(modules),
        )

    def forward(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """States with each row's δ added at column 0, the lookup."""
        if self.short is None:
            states = _moved(self.replay, torch.cat([delta[:, self.owner], delta], 1))
            return states, states[len(self.owner) :, 0]
        return _moved(self.replay, delta[:, self.owner]), _moved(self.short, delta)[:, 0]

    def drop(self, rows: list[int], vectors: list[int]) -> None:
        """Select the rows that stay in the captured replays."""
        if self.short is None:
            self.replay = self.replay.take([*rows, *(len(self.owner) + i for i in vectors)])
        else:
            self.replay, self.short = self.replay.take(rows), self.short.take(vectors)


def rows_of(
    lm: LM, facts: Sequence[Fact], templates: Sequence[str], eos: bool, forms: Forms = NONE
) -> tuple[AnswerRows, list[int]]:
    """The rows that one search reads, and the lookup position in each of them.

    Fact by fact there is one row per template and one per form, with the fact's answer. Then
    follows one row per fact for the KL term: "SUBJECT is a", which ends at its lookup and has no
    answer.
    """
    prompts, answers, at = [], [], []
    end = [lm.tokenizer.eos_token_id] if eos else []
    for i, fact in enumerate(facts):
        rows = [(fact, template) for template in templates]
        rows += [(form[i], forms.template) for form in forms.variants]
        for worded, template in rows:
            ids, position = lookup(lm.tokenizer, worded, template)
            prompts.append(ids)
            answers.append([*encode_answer(lm.tokenizer, fact.target_new, template), *end])
            at.append(position)
    for fact in facts:
        ids, position = lookup(lm.tokenizer, replace(fact, prompt="{} is a"))
        prompts.append(ids[: position + 1])
        answers.append([])
        at.append(position)
    return AnswerRows(prompts, answers), at


def _moved(replay: Replay, delta: Tensor) -> Tensor:
    """States after the final norm with δ (places, rows, d_out) added at the lookup."""
    return replay.with_added(*delta[:, :, None].to(replay.hidden.dtype))
