"""AnyEdit's chunks for the MEMIT family: long answers, written with a value every few tokens.

`Chunked` stands between `Spread` and an editor that has the setting `chunk`. Where it is set, a
fact contributes one key and one value for every chunk of its answer
(keys_values/chunked_values.py), and the keys at all other tokens of the same text are kept. Nothing
else of the family's loop changes. Facts then need no subject, because the first chunk is looked up
at the prompt's last token. Source: Jiang et al., AnyEdit: Edit Any Knowledge Encoded in Language
Models, 2025 (arXiv:2502.05628), MEMIT_ARE and AlphaEdit_ARE of the released code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...data.facts import Fact
from ...errors import EditError
from ...keys_values import chunked_values, target_value
from ...keys_values.chunked_values import LongAnswer
from ...keys_values.conversation_forms import NONE, Forms
from ...model import activations
from ...model.batching import batches, check_length
from ...patch.patch import Patch
from ...settings import setting
from .layer_spread import Spread, SpreadConfig, joined

ENOUGH = 1e-2  # the published loss under which the search for a chunk's value ends


@dataclass(frozen=True)
class ChunkConfig(SpreadConfig):
    """Settings of a method of the MEMIT family that can write long answers."""

    chunk: int | None = setting(
        None,
        "Tokens of an answer that one value carries (AnyEdit): each chunk is written at the token "
        "before it, the end of the text is learned too, and there are no contexts and no KL term; "
        "None writes one value at the subject.",
        source="ours",
    )
    hold: float | None = setting(
        None,
        "Weight of the keys at all other tokens of the same text, whose outputs shall stay, where "
        "answers are written in chunks; None takes the published 1.",
        source="ours",
    )


class Chunked(Spread):
    """The family's loop, in which the setting `chunk` writes long answers chunk by chunk."""

    Config = ChunkConfig
    config: ChunkConfig

    @property
    def wants_subject(self) -> bool:
        """A subject is needed only where no chunks are written."""
        return self.config.chunk is None

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Write the whole batch; contexts of other edits in the memory stay as they are."""
        if self.config.chunk is not None and self.config.forms != "prompt":
            raise EditError(
                "chunks are written for the prompt alone: leave out chunk, or set forms='prompt'"
            )
        patch = super().write(facts, after)
        if self.config.chunk is None:
            return patch
        state = {**patch.memory[self.name]}
        del state["templates"]
        known = after.memory.get(self.name, {})
        state |= {name: known[name] for name in ("templates",) if name in known}
        return replace(patch, memory={**patch.memory, self.name: state})

    def templates(self, state: Mapping[str, Any]) -> tuple[str, ...]:
        """The bare prompt alone where chunks are written."""
        return super().templates(state) if self.config.chunk is None else ("{}",)

    def settings(self) -> target_value.Search:
        """The settings of the search, without a KL term where chunks are written."""
        found = super().settings()
        if self.config.chunk is None:
            return found
        return replace(found, kl_factor=0.0, enough=ENOUGH)

    def _search(
        self,
        facts: list[Fact],
        layer: int,
        templates: tuple[str, ...],
        place: target_value.Place,
        forms: Forms = NONE,
    ) -> list[target_value.Target]:
        if self.config.chunk is None:
            return super()._search(facts, layer, templates, place, forms)
        found = chunked_values.search(self.lm, self._answers(facts), layer, self.settings(), place)
        return [target for chunks in found for target in chunks]

    def read(
        self, facts: list[Fact], layer: int, templates: tuple[str, ...], forms: Forms = NONE
    ) -> tuple[Tensor, Tensor]:
        """Keys K (d_in, n) at `layer` and states h (d_out, n) at the last layer, as patched now.

        With chunks there is one column for each chunk, fact by fact.
        """
        if self.config.chunk is None:
            return super().read(facts, layer, templates, forms)
        name, top = self.lm.mlp_out(layer), self.lm.above(self.config.layers[-1])
        columns = [a.lookups for a in self._answers(facts)]
        seen = self._seen(facts, [name, top])
        K, h = (
            torch.cat([wide[at] for wide, at in zip(seen[module], columns, strict=True)]).T
            for module in (name, top)
        )
        return K, h

    def beside(
        self, facts: list[Fact], layer: int, patch: Patch, state: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The memory with the keys at all other tokens of these texts among those that are kept."""
        weight = 1.0 if self.config.hold is None else self.config.hold
        if self.config.chunk is None or not weight:
            return state
        name = self.lm.mlp_out(layer)
        with self.lm.patched(patch, only=True):
            seen = self._seen(facts, [name])[name]
        others = []
        for wide, answer in zip(seen, self._answers(facts), strict=True):
            free = torch.ones(len(wide), dtype=torch.bool)
            free[answer.lookups] = False
            others.append(wide[free])
        # a weight h of ‖Δ k‖² is a factor √h of the key
        Kp = math.sqrt(weight) * torch.cat(others).T
        keys = state.get("keys", {})
        return {**state, "keys": {**keys, str(layer): (*keys.get(str(layer), ()), Kp)}}

    def keep(
        self,
        facts: list[Fact],
        patch: Patch,
        state: Mapping[str, Any],
        templates: tuple[str, ...],
        forms: Forms = NONE,
    ) -> dict[str, Any]:
        """The memory for later batches; with chunks, the keys at all tokens of the texts.

        The released code keeps no key of an earlier text.
        """
        if self.config.chunk is None or not self.config.keep_keys:
            return super().keep(facts, patch, state, templates, forms)
        names = {layer: self.lm.mlp_out(layer) for layer in self.config.layers}
        with self.lm.patched(patch, only=True):
            seen = self._seen(facts, list(names.values()))
        return joined(state, {layer: torch.cat(seen[name]).T for layer, name in names.items()})

    def without(self, patch: Patch, i: int, *, exact: bool = True) -> Patch | None:
        """`patch` without line `i` as for `Spread`; with chunks only editing again gives it."""
        if any(line.settings.get("chunk") is not None for line in patch.log):
            return None
        return super().without(patch, i, exact=exact)

    def _answers(self, facts: list[Fact]) -> list[LongAnswer]:
        """The facts as ids, cut into chunks."""
        width = self.config.chunk or 1
        return [LongAnswer.of(self.lm.tokenizer, fact, width) for fact in facts]

    def _seen(self, facts: list[Fact], modules: Sequence[str]) -> dict[str, list[Tensor]]:
        """{module: its inputs (tokens, width) at every token of each fact's text}, on the CPU."""
        rows = [answer.ids for answer in self._answers(facts)]
        check_length(self.lm, rows)
        found: dict[str, list[Tensor]] = {name: [Tensor()] * len(rows) for name in modules}
        for group in batches(rows):
            seen = activations.module_inputs(self.lm, [rows[i] for i in group], modules)
            sizes = [len(rows[i]) for i in group]
            for name, wide in seen.items():
                for i, part in zip(group, wide.float().cpu().split(sizes), strict=True):
                    found[name][i] = part
        return found
