"""GRACE: corrections in a codebook beside one module (Hartvigsen et al., 2023).

A codebook is a list of entries. An entry's key is what the module reads at a prompt's last token,
its value is what the module should put out there, and its deferral radius says how far from the key
it answers (codebook.py). Only values are trained. Outside all radii the model is the base model,
bit for bit (route.py is the route that does this).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ...errors import EditError, EditWarning
from ...model import activations
from ...model.answer_rows import AnswerRows
from ...setting_fields import Amount, from_paper, ours
from ..shared.codebooks import CodebookConfig, CodebookEditor
from ..shared.entry_values import EntrySite, Replacement
from ..shared.shared_settings import EndOfText
from .codebook import Codebook
from .route import Deferral


@dataclass(frozen=True)
class GraceConfig(CodebookConfig, EndOfText):
    """Settings of GRACE."""

    eps_init: Amount = from_paper(1.0, "Deferral radius of a new entry.")
    replacement: Replacement = from_paper(
        "last",
        "Positions that a value answers at: the prompt's last token, all of the prompt, or all "
        "tokens that come.",
    )
    value_init: Literal["warm", "cold"] = from_paper(
        "warm",
        "Whether a value begins as the module's own output, with steps in units of its size, or "
        "with random numbers from 0 to 1.",
        published="cold",
    )
    eps_expand: Literal["coverage", "moving_average"] = from_paper(
        "coverage",
        "What happens to an entry that gets one more wording: its radius grows, or its key moves "
        "halfway too.",
    )
    strict: bool = ours(
        True,
        "Whether radii follow the repaired rules, by which no entry answers for another's fact, or "
        "the published ones.",
        published=False,
    )


class Grace(CodebookEditor[GraceConfig]):
    """A codebook of corrections beside the weights, each within its radius."""

    name = "grace"
    paper = "Hartvigsen et al., Aging with GRACE, 2023 (arXiv:2211.11031)"

    def extend(
        self, module: str, old: Any, state: Any, count: int, rows: AnswerRows
    ) -> tuple[Deferral, dict[str, Any]]:
        """Add, expand or split an entry for each fact, then train the values of these entries."""
        c, lm = self.config, self.lm
        # a fact's key: what the module reads at the prompt's last token; each of its forms of
        # conversation has one more, at the last token of the reply's header
        keys = self.keys(module, rows.prompts)  # (m, d_in)
        if state is None:
            state = {"facts_seen": 0, "noise": self.noise(module, rows.prompts, keys)}
        # its first value: what the module puts out there, or random numbers. A number counts over
        # all edits, so that a list edited at once and in two halves begins alike.
        seen = state["facts_seen"]
        numbers = [*range(seen, seen + count)] * (len(rows) // count)
        values = lm.output(module, keys.to(lm.device)).cpu()  # (m, d_out)
        if c.value_init == "cold":
            values = self.random_values(values.shape[1], numbers)
        if old is None:
            book = Codebook.empty(keys.shape[1], values.shape[1])
        else:
            book = Codebook.of(old.K, old.V, old.eps, state)
        events = book.write(
            keys,
            rows.answers,
            values,
            numbers,
            eps_init=self.radii(keys, count),
            strict=c.strict,
            expand=c.eps_expand,
            noise=state["noise"],
        )
        # steps in units of the first value's root mean square suit every model with one lr
        size = book.V.square().mean(0).sqrt().clamp(min=1e-6)
        scale = size if c.value_init == "warm" else torch.ones_like(size)
        at, entries = EntrySite(module, c.layer, c.replacement), [event.entry for event in events]
        live, again = self.train(at, book.V, scale, rows, entries, book.labels)
        # keys that were read beside other rows say once more how exact a key is
        noise = max(state["noise"], (again - keys[live]).norm(dim=1).max().item())
        self.warn_lost(book, noise)
        route = Deferral(module, book.K, book.V, book.eps, c.replacement)
        return route, {**book.state(), "facts_seen": seen + count, "noise": noise}

    def keys(self, module: str, prompts: Sequence[Sequence[int]]) -> Tensor:
        """What the module reads (m, d_in) at the prompts' last tokens."""
        ends = [len(prompt) - 1 for prompt in prompts]
        found = activations.module_inputs_at(self.lm, prompts, ends, [module])
        return found[module].float().cpu()

    def radii(self, keys: Tensor, count: int) -> list[float]:
        """The first radius of each key: `eps_init`, and less where a form's keys are shorter.

        All messages in the chat template end with the same tokens, so that their keys are shorter
        and lie closer together than those of plain prompts. The radius of a form's key is
        eps_init times its length, as a share of the length of the prompt's own key (all of it where
        both are 0), and never more than eps_init. The first `count` keys are those of the prompts.
        """
        eps, size = self.config.eps_init, keys.norm(dim=1)
        shares = (size / size[:count].repeat(len(keys) // count)).nan_to_num(1.0).clamp(max=1.0)
        return [eps * share for share in shares.tolist()]

    def check_rules(self, old: Any, module: str) -> None:
        """Refuse a codebook whose values stand at other positions."""
        wanted = self.config.replacement
        if old is not None and old.replacement != wanted:
            raise EditError(
                f"the codebook at {module} replaces '{old.replacement}', not '{wanted}'"
            )

    def warn_lost(self, book: Codebook, noise: float) -> None:
        """Warn where radii are so small that entries may miss their own prompt."""
        lost = book.lost(noise)
        if lost:
            warnings.warn(
                f"{len(lost)} of {len(book)} entries have a radius under four times the noise of a "
                f"key ({noise:.1e}): they may miss their own prompt",
                EditWarning,
                stacklevel=5,
            )
