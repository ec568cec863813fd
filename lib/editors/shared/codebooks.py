"""The frame of GRACE and HoReN, turning facts into entries of a codebook for one linear module.

An entry has a key, used by prompts to find it, a value, which changes the module's output there,
and a label, the answer's tokens. Each editor's own `extend` implements the differences: making and
finding keys, and handling a fact whose key is near another key.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...data.facts import Fact, encode_answer, encode_target
from ...errors import EditError
from ...keys_values import chat_wordings
from ...model.answer_rows import AnswerRows
from ...patch.patch import Patch
from ...patch.route import Route
from ...setting_fields import Count, from_paper
from . import routed
from .base import Editor
from .config import Config
from .entry_values import EntrySite, descend
from .shared_settings import ChatWordings, EntryTraining

Label = Sequence[int]  # the tokens of an answer


@dataclass(frozen=True)
class CodebookConfig(EntryTraining, ChatWordings, Config):
    """Settings of an editor with a codebook."""

    layer: Count = from_paper(25, "Layer, counted from 0, that contains the codebook.")
    module: str | None = from_paper(
        None,
        "Module whose output the codebook changes, with `{}` for the layer; None uses the MLP's "
        "output projection.",
    )


B = TypeVar("B", bound=CodebookConfig)


class CodebookEditor(Editor[B]):
    """A codebook of corrections outside the weights; only values are trained."""

    speed = "fast"
    writes = "routes"
    keeps = True

    def modules(self) -> list[str]:
        """Return the module whose output the codebook changes."""
        return [routed.linear(self.lm, self.config.layer, self.config.module)]

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Write all facts into the codebook in their order, then train the values they use."""
        lm = self.lm
        (module,) = self.modules()
        states = after.memory.get(self.name, {})  # one for each codebook
        begun = routed.begun(after, module, self.name, states.get(module), "codebook")
        old = after.routes[module] if begun else None
        self.check_rules(old, module)
        with lm.patched(after, only=True):
            rows = self.rows(facts)
        with lm.patched(routed.without_route(after, module), only=True):
            route, state = self.extend(module, old, states.get(module), len(facts), rows)
        return routed.with_route(after, module, route, self.name, {**states, module: state})

    @abstractmethod
    def check_rules(self, old: Any, module: str) -> None:
        """Raise EditError if the codebook `old` was written by different rules."""

    @abstractmethod
    def extend(
        self, module: str, old: Any, state: Any, count: int, rows: AnswerRows
    ) -> tuple[Route, dict[str, Any]]:
        """Return the codebook including the facts, and the editor's state for it.

        old, state  from earlier edits, None before the first
        rows        the prompts of `count` facts, followed by the prompts in each further form
        """

    @abstractmethod
    def keys(self, module: str, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Return the keys (m, d_in) of prompts, float32 on the CPU, for the model as patched."""

    def rows(self, facts: list[Fact]) -> AnswerRows:
        """Return prompts and answers of the facts, then of their messages in each further form."""
        lm, chat = self.lm, chat_wordings.of(self.lm, facts, self.config.forms)
        eos = getattr(self.config, "target_eos", False)  # a setting of GRACE only
        end = [lm.tokenizer.eos_token_id] if eos else []
        prompts, _ = lm.rows([fact.text for fact in facts])
        answers = [encode_target(lm.tokenizer, fact.target_new) for fact in facts]
        for wording in chat.variants:
            prompts += lm.rows([fact.text for fact in wording], chat=True)[0]
            answers += [
                encode_answer(lm.tokenizer, fact.target_new, chat.template) for fact in wording
            ]
        return AnswerRows(prompts, [(*answer, *end) for answer in answers])

    def random_values(self, width: int, numbers: Sequence[int]) -> Tensor:
        """Return random first values (m, width) from 0 to 1, each seeded by a number."""
        seeds = [torch.Generator().manual_seed(self.config.seed + number) for number in numbers]
        return torch.stack([torch.rand(width, generator=seed) for seed in seeds])

    def train(
        self,
        at: EntrySite,
        V: Tensor,
        scale: Tensor,
        rows: AnswerRows,
        entries: Sequence[int],
        labels: Sequence[Label],
    ) -> tuple[list[int], Tensor]:
        """Train the values (columns of V, in place), stopping when the model gives the answers.

        entries  the entry of each row; labels cover all entries. A row is skipped if a newer fact
                 within this call replaced its entry.
        scale    (n,) the unit of each entry's steps

        Returns the numbers of the trained rows, and their keys when reading them in a batch with
        others.
        """
        live = [i for i, entry in enumerate(entries) if labels[entry] == rows.answers[i]]
        touched = list(dict.fromkeys(entries[i] for i in live))
        owners = [touched.index(entries[i]) for i in live]
        given = owners, V[:, touched], scale[touched], self.config
        found = descend(self.lm, at, rows.take(live), *given)
        if not torch.isfinite(found.values).all():
            raise EditError(
                f"{self.name} produced NaN or infinite values. Nothing was changed. Use a smaller "
                "lr."
            )
        V[:, touched] = found.values
        return live, found.keys

    def noise(self, module: str, prompts: Sequence[Sequence[int]], keys: Tensor) -> float:
        """Return how far a key moves when padding its prompt to a longer row; for a few prompts.

        A threshold must leave more room than this; otherwise an entry misses its own prompt in
        another batch.
        """
        some = list(map(list, prompts[:4]))
        longer = (max(some, key=len) * 2)[: self.lm.context]
        again = self.keys(module, [*some, longer])[:-1]
        return (again - keys[: len(some)]).norm(dim=1).max().item()
