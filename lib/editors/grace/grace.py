"""GRACE: corrections in a codebook next to one module (Hartvigsen et al., 2023).

A codebook is a list of entries. An entry's key is the module's input at a prompt's last token, its
value is the module's desired output there, and it answers for inputs within its deferral radius of
the key (codebook.py). Only values are trained. Outside all radii, the model is identical to the
base model, bit for bit (route.py contains the route that implements this).
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
        "Positions where a value is used: the prompt's last token, all of the prompt, or all "
        "later tokens.",
    )
    value_init: Literal["warm", "cold"] = from_paper(
        "warm",
        "How a value starts: as the module's own output, with steps in units of its size, or as "
        "random numbers from 0 to 1.",
        published="cold",
    )
    eps_expand: Literal["coverage", "moving_average"] = from_paper(
        "coverage",
        "What another wording does to an entry: its radius grows, or its key also moves halfway.",
    )
    strict: bool = ours(
        True,
        "Whether radii follow the repaired rules, by which no entry answers for another's fact, "
        "or the published rules.",
        published=False,
    )


class Grace(CodebookEditor[GraceConfig]):
    """A codebook of corrections outside the weights, each applying within its radius."""

    name = "grace"
    paper = "Hartvigsen et al., Aging with GRACE, 2023 (arXiv:2211.11031)"

    def extend(
        self, module: str, old: Any, state: Any, count: int, rows: AnswerRows
    ) -> tuple[Deferral, dict[str, Any]]:
        """Add, expand or split an entry for each fact, then train the values of these entries."""
        c, lm = self.config, self.lm
        # a fact's key: the module's input at the prompt's last token; each of its chat forms has
        # another key, at the last token of the reply's header
        keys = self.keys(module, rows.prompts)  # (m, d_in)
        if state is None:
            state = {"facts_seen": 0, "noise": self.noise(module, rows.prompts, keys)}
        # its first value: the module's output there, or random numbers, counted over all edits so
        # that editing a list at once or in two halves starts with the same numbers
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
        # reading the keys again in a batch with other rows shows how reproducible a key is
        noise = max(state["noise"], (again - keys[live]).norm(dim=1).max().item())
        self.warn_lost(book, noise)
        route = Deferral(module, book.K, book.V, book.eps, c.replacement)
        return route, {**book.state(), "facts_seen": seen + count, "noise": noise}

    def keys(self, module: str, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Return the module's inputs (m, d_in) at the prompts' last tokens."""
        ends = [len(prompt) - 1 for prompt in prompts]
        found = activations.module_inputs_at(self.lm, prompts, ends, [module])
        return found[module].float().cpu()

    def radii(self, keys: Tensor, count: int) -> list[float]:
        """Return the starting radius of each key: `eps_init`, or less in the chat template.

        All messages in the chat template end with the same tokens, so their keys are shorter and
        closer together than the keys of plain prompts. The radius of a form's key is eps_init times
        the ratio of its length to the length of the prompt's own key (all of it if both are 0), and
        never more than eps_init. The first `count` keys belong to the prompts.
        """
        eps, size = self.config.eps_init, keys.norm(dim=1)
        shares = (size / size[:count].repeat(len(keys) // count)).nan_to_num(1.0).clamp(max=1.0)
        return [eps * share for share in shares.tolist()]

    def check_rules(self, old: Any, module: str) -> None:
        """Reject a codebook whose values apply at other positions."""
        wanted = self.config.replacement
        if old is not None and old.replacement != wanted:
            raise EditError(
                f"The codebook at {module} replaces '{old.replacement}', not '{wanted}'. Use the "
                "same positions."
            )

    def warn_lost(self, book: Codebook, noise: float) -> None:
        """Warn about radii so small that entries may miss their own prompt."""
        lost = book.lost(noise)
        if lost:
            warnings.warn(
                f"{len(lost)} of {len(book)} entries have a radius under four times the noise of "
                f"a key ({noise:.1e}). They may miss their own prompt.",
                EditWarning,
                stacklevel=5,
            )
