"""MEMOIR: a zero matrix beside one projection, of which each edit may write only a few columns.

The columns are those of the prompt's fingerprint, and a query reads the columns of the stored
fingerprint that its own overlaps most, so edits disturb one another only where they share columns
and what resembles no edit is answered by the base model alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contexts import contexts
from ..editor import Config, EditError, Editor
from ..facts import Case, Fact, encode_prompt, encode_target, fill
from ..fingerprint import (
    Fingerprint,
    Residual,
    calibration_cases,
    insert,
    means,
    pack_rows,
    permutation,
    threshold,
    unpack_rows,
)
from ..patch import EMPTY, Patch
from ..replay import Replay

IRRELEVANT = Path(__file__).parents[1] / "irrelevant.txt"
State = dict[str, Any]


@dataclass(frozen=True)
class MemoirConfig(Config):
    """Settings of MEMOIR.

    k: columns that an edit may write, None for 2/7 of them. tau: overlap from which on a query is
    served; None: measured once, before the first edit, on the even classroom cases (`calibrate`).
    n_iter: SGD steps per fact, ended early by a loss of at most `enough` that changed by at most
    `settled`. clip: largest norm of a gradient. weight_decay: of all of W_m, at every step;
    published 1e-5, which leaves .05 of an edit after 10,000. rehearse: so many
    earlier facts, those whose masks overlap most, are trained along within the new one's columns;
    published 0. irrelevant: prompts whose mean is taken off, None for those of irrelevant.txt.
    """

    layer: int = 25
    lr: float = 1.0
    n_iter: int = 30
    k: int | None = None
    tau: float | None = None
    enough: float = 0.02
    settled: float = 1e-4
    clip: float = 1.0
    weight_decay: float = 0.0
    rehearse: int = 0
    target_eos: bool = False
    templates: tuple[str, ...] | None = None
    contexts: tuple[tuple[int, int], ...] = ((5, 5), (10, 5))
    context_start: int | str | None = "words"
    context_top_k: int = 5
    irrelevant: tuple[str, ...] | None = None

    retired: ClassVar[Mapping[str, Any]] = {"joint": False}


class Memoir(Editor):
    """Sparse residual memory: an edit writes, and a query reads, the columns of a fingerprint."""

    name = "memoir"
    paper = "Wang et al., MEMOIR: Lifelong Model Editing with Minimal Overwrite and Informed Retention for LLMs, 2025 (arXiv:2506.07899)"  # noqa: E501
    Config = MemoirConfig
    writes = "routes"
    scoped = True

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Each fact into the columns of its mask, one after another."""
        c, lm = self.config, self.lm
        module = lm.mlp_out(c.layer)
        state = self._state(module, after)
        below = replace(after, routes={m: r for m, r in after.routes.items() if m != module})
        with lm.patched(below, only=True):
            route = after.routes.get(module) or self._first(module)
            prints, old = route.prints, unpack_rows(route.masks, len(route.prints.mu))
            texts = [fact.text for fact in facts]
            stored, entries = insert(old, prints.mask(means(lm, module, texts, prints.bos)))
            W, known = route.W.to(lm.device).clone(), state["facts"]
            for fact, entry in zip(facts, entries, strict=True):
                pairs = [(fill(t, fact.text), fact.target_new) for t in state["templates"]]
                rows = [(*pair, stored[entry]) for pair in pairs] + self._along(
                    known, stored, entry
                )
                known = (*known, (fact.text, fact.target_new, entry))
                self.learn(Task(self, module, rows, len(pairs)), W)
        if not torch.isfinite(W).all():
            raise EditError(f"{self.name} produced NaN or infinite weights; try a smaller lr")
        route = Residual(module, W.cpu(), pack_rows(stored), prints, route.tau)
        routes = {**after.routes, module: route}
        memory = {**after.memory, self.name: {**state, "facts": known}}
        return replace(after, routes=routes, memory=memory)

    def calibrate(self, cases: Sequence[Case]) -> float:
        """τ for the base model from rewordings and unrelated prompts of cases, not the edited ones.

        Midway between the 10 % quantile of the overlap with the own rewording and the 99 % quantile
        of that with any unrelated prompt. Raises EditError without either kind of prompt.
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
        k = prints.k
        return threshold((edits * reworded).sum(1) / k, edits.unique(dim=0) @ others.T / k)

    def learn(self, task: Task, W: Tensor) -> None:
        """At most `n_iter` SGD steps on W (d_out, d_in), in place, until the task has settled.

        Only the mask's columns get a gradient; weight decay acts on all of W_m, as published.
        """
        c = self.config
        moved = torch.zeros(len(W), len(task.columns), device=W.device, requires_grad=True)
        shrunk, fixed = 1.0, task.fixed(W)  # W_m is shrunk·W, and `moved` more in the columns
        for _ in range(c.n_iter):
            with torch.enable_grad():
                loss = task.loss(fixed * shrunk, moved)
            if not torch.isfinite(loss):
                raise EditError(f"{self.name}: the loss is not finite; try a smaller lr")
            if task.settled(loss.item(), c.enough, c.settled):
                break
            (grad,) = torch.autograd.grad(loss, moved)
            with torch.no_grad():
                grad *= (c.clip / (grad.norm() + 1e-6)).clamp(max=1.0)
                moved.mul_(1 - c.lr * c.weight_decay).sub_(c.lr * grad)
            shrunk *= 1 - c.lr * c.weight_decay
        W.mul_(shrunk)
        W[:, task.columns] += moved.detach()

    def _state(self, module: str, after: Patch) -> State:
        """module, templates, and the facts so far with the number of their mask; checked."""
        c, lm = self.config, self.lm
        held, route = after.memory.get(self.name), after.routes.get(module)
        if held is None:
            if route is not None or module in after.weights:
                raise EditError(f"another editor changed {module} before: choose another layer")
            templates = c.templates or contexts(
                lm, c.contexts, c.context_start, c.seed, c.context_top_k
            )
            return {"module": module, "templates": tuple(templates), "facts": ()}
        if held["module"] != module or not isinstance(route, Residual):
            raise EditError(f"the residual matrix is at {held['module']}: edit that layer")
        if c.k not in (None, route.prints.k) or c.tau not in (None, route.tau):
            kept = route.prints.k, route.tau
            raise EditError("the residual matrix has k = {} and tau = {:.3g}".format(*kept))
        return dict(held)

    def _first(self, module: str) -> Residual:
        """The route before its first edit: no mask, and W_m = 0."""
        c, W = self.config, self.lm.weight(module)
        tau = self.calibrate(calibration_cases()) if c.tau is None else c.tau
        masks = torch.zeros(0, -(-W.shape[1] // 8), dtype=torch.uint8)
        return Residual(module, torch.zeros(W.shape), masks, self._prints(module), tau)

    def _prints(self, module: str) -> Fingerprint:
        c, lm = self.config, self.lm
        d_in, bos = lm.weight(module).shape[1], lm.tokenizer.bos_token_id
        if c.k is not None and not 0 < c.k <= d_in:
            raise EditError(f"k is a number of columns from 1 to {d_in}, not {c.k}")
        bos = bos if bos is not None and encode_prompt(lm.tokenizer, "a")[0] == bos else None
        texts = c.irrelevant or IRRELEVANT.read_text(encoding="utf-8").splitlines()
        mu = means(lm, module, texts, bos).mean(0)
        return Fingerprint(mu, permutation(d_in, c.seed), c.k or round(2 / 7 * d_in), bos)

    def _along(self, known: tuple, stored: Tensor, entry: int) -> list[tuple[str, str, Tensor]]:
        """(prompt, target, mask) of the earlier facts to rehearse: the largest overlaps first."""
        newest = {number: (text, target) for text, target, number in known if number != entry}
        shared = (stored & stored[entry]).sum(1)
        near = sorted(newest, key=lambda number: (-shared[number].item(), number))
        return [(*newest[number], stored[number]) for number in near[: self.config.rehearse]]


class Task:
    """What one fact trains on: its rows behind the residual matrix, captured once.

    rows: (prompt, target, mask) each; the first `own` are the fact's, the rest are trained along.
    The model runs again from the block after the layer, or from the layer's own block where a norm
    follows the MLP, which makes the block's output nonlinear in what the projection puts out.
    """

    def __init__(
        self, editor: Memoir, module: str, rows: Sequence[tuple[str, str, Tensor]], own: int
    ) -> None:
        self.lm, self.module = editor.lm, module
        self.last = torch.inf
        tokenizer, c, device = self.lm.tokenizer, editor.config, self.lm.device
        end = [tokenizer.eos_token_id] if c.target_eos else []
        prompts = [encode_prompt(tokenizer, text) for text, _, _ in rows]
        answers = [encode_target(tokenizer, target) + end for _, target, _ in rows]
        ids = [p + a[:-1] for p, a in zip(prompts, answers, strict=True)]
        start = c.layer + (not self.lm.arch.post_norm)
        with torch.no_grad():
            behind = [len(answer) - 1 for answer in answers]
            self.replay = Replay(self.lm, ids, start, watch=[module], behind=behind)
        masks = torch.stack([mask for *_, mask in rows]).to(device)
        self.columns = masks[0].nonzero()[:, 0]
        self.inputs = self.replay.seen[module][0].float() * masks[:, None]  # m ⊙ a
        places = [
            (i, len(prompts[i]) - 1 + j) for i, a in enumerate(answers) for j in range(len(a))
        ]
        self.row, self.column = map(list, zip(*places, strict=True))
        self.labels = torch.tensor(sum(answers, []), device=device)
        sizes = own, max(1, len(rows) - own)  # a mean over each group of the rows' means
        share = [1 / len(answers[i]) / sizes[i >= own] for i in self.row]
        self.share = torch.tensor(share, device=device)

    def fixed(self, W: Tensor) -> Tensor:
        """W_m (m ⊙ a) (rows, length, d_out) of the matrix as it is before the next steps."""
        return self.inputs @ W.T

    def loss(self, fixed: Tensor, moved: Tensor) -> Tensor:
        """Mean NLL (nats) of the rows' answers with `moved` (d_out, k) added in the columns."""
        shift = fixed + self.inputs[..., self.columns] @ moved.T
        states = self._states(shift)[self.row, self.column]
        log_probs = self.lm.head(states).log_softmax(-1)
        return -(log_probs.gather(1, self.labels[:, None])[:, 0] * self.share).sum()

    def settled(self, loss: float, enough: float, change: float) -> bool:
        """Notes a loss; True when it is small and does not move any more."""
        done = loss <= enough and abs(self.last - loss) <= change
        self.last = loss
        return done

    def _states(self, shift: Tensor) -> Tensor:
        lm, replay, hidden = self.lm, self.replay, self.replay.hidden
        if not lm.arch.post_norm:  # the block adds what its MLP puts out to the stream
            return replay.run((hidden.float() + shift.to(hidden.device)).to(hidden.dtype))
        hook = lm.model.get_submodule(self.module).register_forward_hook(
            lambda _, given, out: (out.float() + shift.view(out.shape)).to(out.dtype)
        )
        try:
            return replay.run(hidden)
        finally:
            hook.remove()
