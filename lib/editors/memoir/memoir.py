"""MEMOIR: a residual matrix beside one projection; each edit may write only a few of its columns.

The residual matrix W_m begins as zero. A prompt's fingerprint says which columns are its own: those
of the inputs that the prompt moves most (fingerprint.py). An edit is trained within the columns of
its fingerprint. A query reads the columns of the stored fingerprint that its own overlaps most. So
edits disturb one another only where they share columns, and a prompt that resembles no edit is
answered by the base model alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...data.facts import Case, Fact, fill
from ...errors import EditError
from ...keys_values import context_templates as contexts
from ...model.answer_rows import AnswerRows
from ...model.partial_forward import Replay
from ...patch.patch import EMPTY, Patch
from ...settings import setting
from ..shared import routed
from ..shared.base import Editor
from ..shared.config import Config
from .fingerprint import Fingerprint, insert, means, pack_rows, permutation, unpack_rows
from .residual_memory import Residual, calibration_cases, threshold

State = dict[str, Any]


@dataclass(frozen=True)
class MemoirConfig(Config):
    """Settings of MEMOIR."""

    layer: int = setting(
        25, "Layer, counted from 0, whose MLP gets a residual matrix.", source="paper"
    )
    lr: float = setting(1.0, "Learning rate of gradient descent.", source="paper")
    n_iter: int = setting(30, "Steps of training per fact at most.", source="paper")
    k: int | None = setting(
        None, "Number of columns that an edit may write; None takes 2/7 of them.", source="paper"
    )
    tau: float | None = setting(
        None,
        "Overlap of fingerprints from which on a query is served; None measures it before the "
        "first edit on the even classroom cases.",
        source="paper",
    )
    clip: float = setting(1.0, "Largest norm of a gradient.", source="paper")
    weight_decay: float = setting(
        0.0,
        "Weight decay of all of the residual matrix at every step; the published value leaves a "
        "twentieth of an edit after 10,000.",
        source="paper",
        published=1e-5,
    )
    contexts: tuple[tuple[int, int], ...] = setting(
        ((5, 5), (10, 5)),
        "Contexts that the model writes, as pairs of a length in tokens and a number of texts.",
        source="paper",
    )
    context_start: int | str | None = setting(
        "words",
        "What contexts begin with: the published five words, a token id, or None for the end of "
        "text.",
        source="paper",
    )
    context_top_k: int = setting(
        5,
        "Number of likeliest tokens that contexts are drawn from; 0 draws from the whole "
        "vocabulary.",
        source="paper",
    )
    # options of ours

    enough: float = setting(0.02, "Loss up to which the training of a fact may end.", source="ours")
    settled: float = setting(
        1e-4, "Change of the loss in a step up to which training may end.", source="ours"
    )
    rehearse: int = setting(
        0,
        "Number of earlier facts, those whose fingerprints overlap most, that are trained along.",
        source="ours",
    )
    target_eos: bool = setting(
        False, "Whether the end of the text is learned as a token after the answer.", source="ours"
    )
    templates: tuple[str, ...] | None = setting(
        None,
        "Context templates, each with `{}` for the prompt; None lets the model write them.",
        source="ours",
    )
    irrelevant: tuple[str, ...] | None = setting(
        None,
        "Prompts whose mean input is subtracted before a fingerprint is taken; None takes those "
        "shipped with the library.",
        source="ours",
    )

    retired: ClassVar[Mapping[str, Any]] = {"joint": False}


class Memoir(Editor):
    """Sparse residual memory: an edit writes, and a query reads, the columns of a fingerprint."""

    name = "memoir"
    paper = "Wang et al., MEMOIR: Lifelong Model Editing with Minimal Overwrite and Informed Retention for LLMs, 2025 (arXiv:2506.07899)"  # noqa: E501
    Config = MemoirConfig
    config: MemoirConfig
    writes = "routes"
    scoped = True

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Train each fact into the columns of its mask, one after another."""
        c, lm = self.config, self.lm
        module = lm.mlp_out(c.layer)
        state = self._state(module, after)
        with lm.patched(routed.without_mine(after, module), only=True):
            route: Any = after.routes.get(module) or self._first(module)
            # the masks of all facts, added to those stored; `entries` are their places there
            prints, old = route.prints, unpack_rows(route.masks, len(route.prints.mu))
            texts = [fact.text for fact in facts]
            stored, entries = insert(old, prints.mask(means(lm, module, texts, prints.bos)))
            W, known = route.W.clone(), state["facts"]
            for fact, entry in zip(facts, entries, strict=True):
                # the fact under all templates, and earlier facts to rehearse (none as published)
                pairs = [(fill(t, fact.text), fact.target_new) for t in state["templates"]]
                rows = [(*pair, stored[entry]) for pair in pairs]
                rows += self._along(known, stored, entry)
                known = (*known, (fact.text, fact.target_new, entry))
                task = MaskedTraining(self, module, rows, len(pairs))
                W = W.to(task.replay.device)
                self.learn(task, W)
        if not torch.isfinite(W).all():
            raise EditError(f"{self.name} produced NaN or infinite weights; try a smaller lr")
        route = Residual(module, W.cpu(), pack_rows(stored), prints, route.tau)
        return routed.with_mine(after, module, route, self.name, {**state, "facts": known})

    def learn(self, task: MaskedTraining, W: Tensor) -> None:
        """Take up to `n_iter` SGD steps on W (d_out, d_in), in place, until the task has settled.

        Only the mask's columns get a gradient; weight decay acts on all of W_m, as published.
        """
        c = self.config
        # while steps are taken W_m is shrunk · W, plus `moved` (d_out, k) in the mask's columns
        moved = torch.zeros(len(W), len(task.columns), device=W.device, requires_grad=True)
        shrunk, fixed = 1.0, task.fixed(W)
        for _ in range(c.n_iter):
            with torch.enable_grad():
                loss = task.loss(fixed * shrunk, moved)
            now = loss.item()  # the one number of a step that is read, as a card waits for it
            if not math.isfinite(now):
                raise EditError(f"{self.name}: the loss is not finite; try a smaller lr")
            if task.settled(now, c.enough, c.settled):
                break
            (grad,) = torch.autograd.grad(loss, moved)
            # W_m ← (1 − η λ) W_m − η (m ⊙ ∇), with the gradient's norm clipped
            with torch.no_grad():
                grad *= (c.clip / (grad.norm() + 1e-6)).clamp(max=1.0)
                moved.mul_(1 - c.lr * c.weight_decay).sub_(c.lr * grad)
            shrunk *= 1 - c.lr * c.weight_decay
        W.mul_(shrunk)
        W[:, task.columns] += moved.detach()

    # ---- before the first edit: fingerprints and τ -------------------------------------------

    def _state(self, module: str, after: Patch) -> State:
        """What the editor remembers; EditError where it does not fit `after` or the settings.

        module     the module beside which the residual matrix stands
        templates  context templates
        facts      (prompt, target, number of the mask) of every fact so far
        """
        c, held = self.config, after.memory.get(self.name)
        if not routed.begun(after, module, self.name, held, "residual matrix"):
            return {"module": module, "templates": contexts.of(self.lm, c), "facts": ()}
        route: Any = after.routes[module]
        if c.k not in (None, route.prints.k) or c.tau not in (None, route.tau):
            raise EditError(
                f"the residual matrix has k = {route.prints.k} and tau = {route.tau:.3g}"
            )
        return dict(held)

    def _first(self, module: str) -> Residual:
        """The route before its first edit: no mask, and W_m = 0."""
        c, W = self.config, self.lm.weight(module)
        tau = self.calibrate(calibration_cases()) if c.tau is None else c.tau
        masks = torch.zeros(0, -(-W.shape[1] // 8), dtype=torch.uint8)
        return Residual(module, torch.zeros(W.shape), masks, self._prints(module), tau)

    def _prints(self, module: str) -> Fingerprint:
        """How masks are made, measured before the first edit on irrelevant texts."""
        c, lm = self.config, self.lm
        d_in = lm.weight(module).shape[1]
        if c.k is not None and not 0 < c.k <= d_in:
            raise EditError(f"k is a number of columns from 1 to {d_in}, not {c.k}")
        mu = means(lm, module, routed.irrelevant_texts(c), lm.leading_bos).mean(0)
        order, k = permutation(d_in, c.seed), c.k or round(2 / 7 * d_in)
        return Fingerprint(mu, order, k, lm.leading_bos)

    def calibrate(self, cases: Sequence[Case]) -> float:
        """τ for the base model, from rewordings and unrelated prompts of cases that are not edited.

        It lies midway between the 10 % quantile of the overlap with the own rewording and the 99 %
        quantile of that with any unrelated prompt. Raises EditError without either kind of prompt.
        """
        lm, module = self.lm, self.lm.mlp_out(self.config.layer)
        own = [(case.fact.text, text) for case in cases for text in case.paraphrases]
        unrelated = [text for case in cases for text in case.locality]
        if not own or not unrelated:
            raise EditError("calibration needs cases with rewordings and unrelated prompts")
        with lm.patched(EMPTY, only=True):
            prints = self._prints(module)
            edits, reworded, others = (
                prints.mask(means(lm, module, texts, prints.bos)).float()
                for texts in (*zip(*own, strict=True), unrelated)
            )
        # overlaps |q ∧ m| / k
        k = prints.k
        return threshold((edits * reworded).sum(1) / k, edits.unique(dim=0) @ others.T / k)

    # ---- what we added: rehearsal -------------------------------------------------------------

    def _along(self, known: tuple, stored: Tensor, entry: int) -> list[tuple[str, str, Tensor]]:
        """Earlier facts to rehearse, (prompt, target, mask) each: those that share most columns."""
        newest = {number: (text, target) for text, target, number in known if number != entry}
        shared = (stored & stored[entry]).sum(1)
        near = sorted(newest, key=lambda number: (-shared[number].item(), number))
        return [(*newest[number], stored[number]) for number in near[: self.config.rehearse]]


class MaskedTraining:
    """The training of one fact within the columns of its mask; its rows are captured once.

    rows  (prompt, target, mask) each
    own   how many of them, from the first on, are the fact's; the others are trained along
    """

    def __init__(
        self, editor: Memoir, module: str, rows: Sequence[tuple[str, str, Tensor]], own: int
    ) -> None:
        lm, c = editor.lm, editor.config
        self.lm, self.last = lm, torch.inf
        answers = AnswerRows.of(lm.tokenizer, [row[:2] for row in rows], c.target_eos)
        with torch.no_grad():
            self.replay = Replay.at_mlp(
                lm, answers.ids, c.layer, watch=[module], behind=answers.behind
            )
        masks, device = torch.stack([mask for *_, mask in rows]), self.replay.device
        self.columns, masks = masks[0].nonzero()[:, 0].to(device), masks.to(device)
        self.inputs = self.replay.seen[module][0].float() * masks[:, None]  # m ⊙ a
        self.labels = self.replay.labels(answers)
        # the loss is the mean of the fact's own rows plus the mean of the rows trained along
        sizes = torch.where(answers.labels[0] < own, own, max(1, len(rows) - own))
        self.share = (answers.share / sizes).float().to(device)

    def fixed(self, W: Tensor) -> Tensor:
        """W_m (m ⊙ a) (rows, length, d_out) of the matrix before the steps on this task."""
        return self.inputs @ W.T

    def loss(self, fixed: Tensor, moved: Tensor) -> Tensor:
        """Mean NLL (nats) of the rows' answers with `moved` (d_out, k) added in the columns."""
        shift = fixed + self.inputs[..., self.columns] @ moved.T
        row, column, token = self.labels
        log_probs = self.lm.head(self.replay.with_added(shift)[row, column]).log_softmax(-1)
        chosen = log_probs.gather(1, token[:, None])[:, 0]
        return -(chosen * self.share).sum()

    def settled(self, loss: float, enough: float, change: float) -> bool:
        """Notes a loss; True when it is small and does not move any more."""
        done = loss <= enough and abs(self.last - loss) <= change
        self.last = loss
        return done
