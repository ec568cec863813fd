"""MEMOIR: a residual matrix for one projection; each edit may write only a few of its columns.

The residual matrix W_m starts at zero. A prompt's fingerprint selects the columns of the inputs
that the prompt moves most (fingerprint.py). An edit is trained within the columns of its
fingerprint. A query reads the columns of the stored fingerprint overlapping most with its own.
Edits therefore disturb one another only if they share columns, and a prompt not resembling any edit
is answered only by the base model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...cancellation import steps
from ...computed_once import CachedTensors, Tensors, text_hash
from ...data import as_facts
from ...data.facts import Fact, fill
from ...data.readers import classroom
from ...errors import EditError
from ...keys_values import context_templates as contexts
from ...model.answer_rows import AnswerRows
from ...patch.patch import EMPTY, Patch
from ...setting_fields import Amount, Count, Real, Size, Texts, from_paper, ours
from ..shared import routed
from ..shared.answer_training import Descent
from ..shared.base import Editor
from ..shared.config import Config
from ..shared.routed import CapturedRows, pack_bits, unpack_bits
from ..shared.shared_settings import ContextSettings, EndOfText
from .fingerprint import Fingerprint, insert, means, permutation
from .route import Residual, threshold

State = dict[str, Any]


@dataclass(frozen=True)
class MemoirConfig(ContextSettings, EndOfText, Config):
    """Settings of MEMOIR."""

    layer: Count = from_paper(25, "Layer, counted from 0, whose MLP gets a residual matrix.")
    lr: Amount = from_paper(1.0, "Learning rate of gradient descent.")
    n_iter: Count = from_paper(30, "Maximum number of training steps per fact.")
    k: Size | None = from_paper(
        None, "Number of columns that an edit may write; None uses 2/7 of them."
    )
    tau: Real | None = from_paper(
        None,
        "Overlap of fingerprints at which a query is answered; None measures it before the first "
        "edit, using the even classroom cases.",
    )
    clip: Amount = from_paper(1.0, "Largest norm of a gradient.")
    weight_decay: Amount = from_paper(
        0.0,
        "Weight decay of the whole residual matrix at every step; the published value leaves a "
        "twentieth of an edit after 10,000.",
        published=1e-5,
    )
    enough: Real = ours(0.02, "Loss at which the training of a fact may end.")
    settled: Real = ours(1e-4, "Change of the loss in a step at which training may end.")
    irrelevant: Texts | None = ours(
        None,
        "Prompts whose mean input is subtracted when computing a fingerprint; None uses the "
        "prompts shipped with the library.",
    )


class Memoir(Editor[MemoirConfig]):
    """Sparse residual memory: an edit writes, and a query reads, the columns of a fingerprint."""

    name = "memoir"
    paper = "Wang et al., MEMOIR: Lifelong Model Editing with Minimal Overwrite and Informed Retention for LLMs, 2025 (arXiv:2506.07899)"  # noqa: E501
    writes = "routes"

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Train each fact into the columns of its mask, one after another."""
        c, lm = self.config, self.lm
        module = lm.mlp_out(c.layer)
        state = self._state(module, after)
        with lm.patched(routed.without_route(after, module), only=True):
            route: Any = after.routes.get(module) or self._first(module)
            # the masks of all facts, added to those already stored; `entries` are their places
            # there
            prints, old = route.prints, unpack_bits(route.masks, len(route.mu))
            texts = [fact.text for fact in facts]
            stored, entries = insert(old, prints.mask(means(lm, module, texts, prints.bos)))
            W = route.W.clone()
            for fact, entry in zip(facts, steps(entries, f"{self.name}: facts"), strict=True):
                # the fact under all templates
                pairs = [(fill(t, fact.text), fact.target_new) for t in state["templates"]]
                rows = AnswerRows.of(lm.tokenizer, pairs, c.target_eos)
                captured = CapturedRows(lm, rows, c.layer, module, len(rows))
                W = self.train(captured, stored[entry], W)
        route = Residual(module, W.cpu(), pack_bits(stored), prints, route.tau)
        return routed.with_route(after, module, route, self.name, state)

    def train(self, captured: CapturedRows, mask: Tensor, W: Tensor) -> Tensor:
        """Return W_m (d_out, d_in) after up to `n_iter` SGD steps, until the loss has settled.

        Only the columns of the mask (d_in,) get a gradient. As published, weight decay acts on all
        of W_m.
        """
        c, replay = self.config, captured.replay
        decay, last = 1 - c.lr * c.weight_decay, float("inf")
        mask, W = mask.to(replay.device), W.to(replay.device).clone()
        columns = mask.nonzero()[:, 0]
        inputs = captured.inputs.float() * mask  # m ⊙ a
        fixed = inputs @ W.T  # W_m (m ⊙ a) using the matrix before the steps
        moved = torch.zeros(len(W), len(columns), device=W.device, requires_grad=True)

        def loss() -> Tensor:
            return captured.nll(replay.with_added(fixed + inputs[..., columns] @ moved.T))

        @torch.no_grad()
        def move() -> None:
            # W_m ← (1 − η λ) W_m − η (m ⊙ ∇)
            moved.mul_(decay).sub_(c.lr * moved.grad)
            if c.weight_decay:
                fixed.mul_(decay)
                W.mul_(decay)

        def settled(now: float) -> bool:
            nonlocal last
            change, last = abs(last - now), now
            return now <= c.enough and change <= c.settled

        Descent([moved], move, settled, self.name, c.clip).run(loss, c.n_iter)
        W[:, columns] += moved.detach()
        return W

    # ---- before the first edit: fingerprints and τ -------------------------------------------

    def _state(self, module: str, after: Patch) -> State:
        """Return the editor's state; EditError if it does not fit `after` or the settings.

        module     the module that the residual matrix extends
        templates  context templates
        """
        c, state = self.config, after.memory.get(self.name)
        if not routed.begun(after, module, self.name, state, "residual matrix"):
            return {"module": module, "templates": contexts.of(self.lm, c)}
        route: Any = after.routes[module]
        if c.k not in (None, route.prints.k) or c.tau not in (None, route.tau):
            raise EditError(
                f"The residual matrix has k = {route.prints.k} and tau = {route.tau:.3g}. Use the "
                "same settings."
            )
        return {"module": module, "templates": state["templates"]}

    def statistics(self, after: Patch = EMPTY) -> list[CachedTensors]:
        """Return the base-model statistics needed by the first edit."""
        return [] if self.name in after.memory else [self._measured()]

    def _measured(self) -> CachedTensors:
        """Return `mu` of the fingerprints on the base model, and `tau`."""
        c, lm, module = self.config, self.lm, self.lm.mlp_out(self.config.layer)
        # the even classroom cases; the odd cases are for reporting
        cases = [case for case in classroom() if case.id % 2 == 0] if c.tau is None else []

        def make(_: list[None]) -> Iterator[tuple[None, Tensors]]:
            tau = torch.tensor(
                self.calibrate(cases) if c.tau is None else c.tau, dtype=torch.float64
            )
            with lm.patched(EMPTY, only=True):
                yield None, {"mu": self._prints(module).mu, "tau": tau}

        asked = f"{c.k} {c.tau} {c.seed} {[*routed.irrelevant_texts(c)]} {cases}"
        return CachedTensors(
            "fingerprints", f"{lm.stored_identity} {module} {text_hash(asked)}", make
        )

    def _first(self, module: str) -> Residual:
        """Return the route before its first edit: no mask, and W_m = 0."""
        W, before = self.lm.weight(module), self._measured().tensors()
        masks = torch.zeros(0, -(-W.shape[1] // 8), dtype=torch.uint8)
        prints = self._prints(module, None if self.lm.is_patched else before["mu"])
        return Residual(module, torch.zeros(W.shape), masks, prints, before["tau"].item())

    def _prints(self, module: str, mu: Tensor | None = None) -> Fingerprint:
        """Return the rule for masks, measuring `mu` on irrelevant texts if it is not given."""
        c, lm = self.config, self.lm
        d_in = lm.weight(module).shape[1]
        if c.k is not None and not 0 < c.k <= d_in:
            raise EditError(f"k should be a number of columns from 1 to {d_in}, not {c.k}.")
        if mu is None:
            mu = means(lm, module, routed.irrelevant_texts(c), lm.leading_bos).mean(0)
        order, k = permutation(d_in, c.seed), c.k or round(2 / 7 * d_in)
        return Fingerprint(mu, order, k, lm.leading_bos)

    def calibrate(self, cases: as_facts.Given) -> float:
        """Return τ for the base model, from paraphrases and unrelated prompts of unedited cases.

        It is midway between the 10% quantile of the overlap with the own paraphrase and the 99%
        quantile of the overlap with any unrelated prompt. Raises EditError without either kind of
        prompt.
        """
        lm, module = self.lm, self.lm.mlp_out(self.config.layer)
        cases = as_facts.cases(cases)
        own = [(case.fact.text, text) for case in cases for text in case.paraphrases]
        unrelated = [text for case in cases for text in case.locality]
        if not own or not unrelated:
            raise EditError(
                "Calibration needs cases with paraphrases and unrelated prompts. Provide both."
            )
        with lm.patched(EMPTY, only=True):
            prints = self._prints(module)
            edits, reworded, others = (
                prints.mask(means(lm, module, texts, prints.bos)).float()
                for texts in (*zip(*own, strict=True), unrelated)
            )
        # overlaps |q ∧ m| / k
        k = prints.k
        return threshold((edits * reworded).sum(1) / k, edits.unique(dim=0) @ others.T / k)
