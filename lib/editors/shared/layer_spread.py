"""The loop of the MEMIT family: values are searched at the last layer and written into several.

Every method of the family searches the state z that the last edited layer should put out. Then it
goes through its layers from below. At each layer it takes the difference R that is still missing at
the top, divided by the number of layers left, and writes it at this layer's keys, Δ = R B. The
methods differ in three steps, which subclasses override: `values` gives z, `solve` gives B from the
keys, and `keep` gives the memory for later batches.

The file is longer than 300 lines because half of it is settings. `Spread.write` is the published
loop. What we added are the search on the base model, norm anchors, keys of two columns, families
with a norm after the MLP (`_each_layer`), and taking a batch away (`without`).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor

from ... import memory
from ...data.facts import Fact
from ...errors import EditError, EditWarning
from ...keys_values import context_templates as contexts
from ...keys_values import conversation_forms, target_value
from ...keys_values.conversation_forms import NONE, Forms
from ...keys_values.second_moment import second_moment
from ...patch.patch import EMPTY, LowRank, Patch
from ...settings import setting
from . import value_norm
from .base import Editor, add_low_rank
from .config import Config


@dataclass(frozen=True)
class SpreadConfig(Config):
    """Settings of the MEMIT family."""

    layers: tuple[int, ...] = setting(
        (5,), "Edited layers, ascending; values are searched at the last of them.", source="paper"
    )
    strength: float = setting(
        15_000.0,
        "Number λ of samples of general text that the new facts are weighed against.",
        source="paper",
    )
    keep_keys: bool = setting(
        False,
        "Whether the keys of earlier batches are kept too, so that later edits leave them alone.",
        source="paper",
    )
    v_lr: float = setting(0.5, "Learning rate of Adam in the search for the value.", source="paper")
    steps: int = setting(
        25, "Steps of the search at most; the last one only looks at the loss.", source="paper"
    )
    decay: float = setting(
        0.5, "Weight of the found change's length in its search.", source="paper"
    )
    clamp: float = setting(
        0.75,
        "Bound on the change's length, as a multiple of the length of the state there.",
        source="paper",
    )
    kl_factor: float = setting(
        0.0625,
        "Weight of the KL divergence of the prediction right after the subject.",
        source="paper",
    )
    contexts: tuple[tuple[int, int], ...] = setting(
        ((10, 5),),
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
    second_moment: bool = setting(
        True,
        "Whether C, the second moment of general text, weighs the keys; without it C is the "
        "identity.",
        source="paper",
    )
    # options of ours

    keys: Literal["mean", "both"] = setting(
        "mean",
        "Whether a fact writes the mean of its keys, half of it the bare prompt's, or two columns.",
        source="ours",
    )
    values_on: Literal["current", "base"] = setting(
        "current", "Model on which values are searched: the edited one, or the base.", source="ours"
    )
    anchor: Literal["base"] | None = setting(
        None,
        "Whether searched values are scaled to their mean norm on the base model (norm anchors).",
        source="ours",
    )
    anchor_n: int = setting(
        200, "Number of facts from which the anchors' norm is measured.", source="ours"
    )
    anchor_skip: float | None = setting(
        2.0,
        "Multiple of the anchors' norm from which on a value is not written; None writes all.",
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
    forms: conversation_forms.FormsSetting = setting(
        "prompt",
        "Forms in which a fact is learned: its prompt alone, also as a message in the chat "
        "template, or in a conversation, where a question that the model writes comes to it.",
        source="ours",
    )
    text: str | None = setting(
        None,
        "File of general text for C; None takes the text shipped with the library.",
        source="ours",
    )
    tokens: int | None = setting(
        None,
        "Number of tokens of general text that C is estimated from; None takes ten for each of "
        "its rows.",
        source="ours",
    )
    damping: float = setting(
        1e-4,
        "Multiple of its mean eigenvalue that is added to the diagonal of C.",
        source="ours",
        published=0.0,
    )

    added: ClassVar[Mapping[str, Any]] = {"forms": "prompt"}


class Spread(Editor):
    """A method that spreads a change of the last layer over several (MEMIT, Algorithm 1)."""

    Config = SpreadConfig
    config: SpreadConfig
    needs_subject = True
    geometry = "whitened"
    place: target_value.Place = "block"  # where z is searched and the residual measured

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Write the whole batch, layer by layer from below."""
        self._layers()
        state, lm, layers = after.memory.get(self.name, {}), self.lm, self.config.layers
        templates = self.templates(state)
        forms = conversation_forms.of(lm, facts, self.config.forms)
        if lm.arch.post_norm:  # nothing spreads through a norm
            patch, notes = self._each_layer(facts, after, state, templates, forms)
        else:
            # search the states z at the last layer
            with lm.patched(after if self.config.values_on == "current" else EMPTY, only=True):
                z, notes = self.values(facts, templates, forms)  # (d_out, n)
            patch = after
            for i, layer in enumerate(layers):
                # read this layer's keys and the last layer's states, as the layers before left them
                with lm.patched(patch, only=True):
                    K, h = self.read(facts, layer, templates, forms)
                # R = (z − h) / layers left, so the last layer takes the whole rest
                R = self.share(z - h, len(layers) - i)
                patch = self._put(patch, layer, R, K, self.beside(facts, layer, patch, state))
        kept = self.keep(facts, patch, state, templates, forms)
        state = {**state, **notes, **kept, "templates": templates}
        return replace(patch, memory={**after.memory, self.name: state})

    def values(
        self, facts: list[Fact], templates: tuple[str, ...], forms: Forms = NONE
    ) -> tuple[Tensor, dict]:
        """The states z (d_out, n) on the model as it is patched now, and notes for the memory."""
        found = self._search(facts, self.config.layers[-1], templates, self.place, forms)
        if self.config.anchor is None:
            return torch.stack([t.v_star for t in found], 1).cpu(), {}
        return self._anchored(found, self.place)

    def solve(self, layer: int, K: Tensor, state: Mapping[str, Any]) -> Tensor:
        """The reach B (n, d_in) of the keys K (d_in, n), both float64, with which Δ = R B."""
        config = self.config
        return memory.reach(K, self.moment(layer), config.strength, kept_keys(state, layer))

    def beside(
        self, facts: list[Fact], layer: int, patch: Patch, state: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The memory that a layer is solved with: as it is, unless a subclass keeps more keys."""
        return state

    def keep(
        self,
        facts: list[Fact],
        patch: Patch,
        state: Mapping[str, Any],
        templates: tuple[str, ...],
        forms: Forms = NONE,
    ) -> dict[str, Any]:
        """The memory for later batches: keys of all layers, read again on the edited model."""
        if not self.config.keep_keys:
            return {}
        names = {layer: self.lm.mlp_out(layer) for layer in self.config.layers}
        with self.lm.patched(patch, only=True):
            seen = self.lm.at_subjects(facts, list(names.values()), templates)
            said = self._said(list(names.values()), forms)
        return joined(
            state, {layer: self._key(seen[name], said[name]) for layer, name in names.items()}
        )

    def without(self, patch: Patch, i: int, *, exact: bool = True) -> Patch | None:
        """`patch` without line `i`, by one solve for each line after it, from the kept keys.

        All lines must be calls of this editor with the same settings, one call per line. The change
        must still be in factors, and every call's keys still apart. The result equals editing again
        without the line where no line reads what another one changes, which holds for one layer
        with values searched on the base model. With several layers it is only close to that, and
        given only with exact=False.
        """
        # None where there is no closed form
        on_base = all(line.settings.get("values_on") == "base" for line in patch.log)
        if exact and not (len(patch.weights) == 1 and on_base):
            return None
        if not 0 <= i < len(patch.log) or patch.routes or patch.rewrites:
            return None
        if any(line.editor != self.name or line.calls != 1 for line in patch.log):
            return None
        settings = [self.current(line.settings) for line in patch.log]
        if any(other != settings[0] for other in settings):
            return None
        state, n = patch.memory.get(self.name, {}), len(patch.log)
        kept = {int(layer): parts for layer, parts in state.get("keys", {}).items()}
        names = {layer: self.lm.mlp_out(layer) for layer in kept}
        if not kept or set(names.values()) != patch.weights.keys():
            return None
        for layer, parts in kept.items():
            value = patch.weights[names[layer]]
            if not isinstance(value, LowRank) or not len(value.chunks) == len(parts) == n:
                return None
        # the lines before line i stay, and those after it are solved again, layer by layer
        left, weights = {}, {}
        for layer, parts in kept.items():
            chunks = cast(LowRank, patch.weights[names[layer]]).chunks
            before = list(parts[:i])  # calls before line i stand as they are, in the same storage
            again = list(chunks[:i])
            for t in range(i + 1, n):
                K = parts[t].double()
                # R' = U − ΔW'K with U = R + ΔW K: the line wants the same change U of the outputs
                # at its keys, and the lines before it now give ΔW'K of it
                R = chunks[t][0].double() + _product(chunks[:t], K) - _product(again, K)
                B = self.solve(layer, K, {**state, "keys": {str(layer): tuple(before)}})
                again.append((R.float(), B.float()))
                before.append(parts[t])
            left[str(layer)] = tuple(before)
            if again:
                weights[names[layer]] = LowRank(tuple(again))
        log = patch.log[:i] + patch.log[i + 1 :]
        memory = {**patch.memory, self.name: {**state, "keys": left}} if log else {}
        base = patch.base if log else ""
        return replace(patch, weights=weights, memory=memory, log=log, base=base)

    def share(self, rest: Tensor, left: int) -> Tensor:
        """The part of the rest (d_out, n) that this layer writes, with `left` layers to go."""
        return rest / left

    def read(
        self, facts: list[Fact], layer: int, templates: tuple[str, ...], forms: Forms = NONE
    ) -> tuple[Tensor, Tensor]:
        """Keys K (d_in, n) at `layer` and states h (d_out, n) at the last layer, as patched now."""
        name, top = self.lm.mlp_out(layer), self.lm.above(self.config.layers[-1])
        said = self._said([name], forms)[name]
        if len(templates) == 1:
            seen = self.lm.at_subjects(facts, [name, top])
            return self._key(seen[name], said), seen[top][0].T.cpu()
        seen = self.lm.at_subjects(facts, [name], templates)
        return self._key(seen[name], said), self.lm.at_subjects(facts, [top])[top][0].T.cpu()

    def _said(self, modules: list[str], forms: Forms) -> dict[str, tuple[Tensor, ...]]:
        """{module: its inputs (n, d_in) at the subjects in each form}, on the CPU."""
        found = [self.lm.at_subjects(form, modules, [forms.template]) for form in forms.variants]
        return {name: tuple(seen[name][0].cpu() for seen in found) for name in modules}

    def moment(self, layer: int) -> memory.Moment | None:
        """The second moment C of a layer's keys, or None for the identity."""
        config = self.config
        if not config.second_moment:
            return None
        given = config.text, config.tokens, config.damping
        return second_moment(self.lm, [layer], *given, among=config.layers)[layer]

    def templates(self, state: Mapping[str, Any]) -> tuple[str, ...]:
        """The context templates: given, kept from an earlier edit, or written by the base model."""
        return contexts.of(self.lm, self.config, state.get("templates"))

    def _search(
        self,
        facts: list[Fact],
        layer: int,
        templates: tuple[str, ...],
        place: target_value.Place,
        forms: Forms,
    ) -> list[target_value.Target]:
        return target_value.search(self.lm, facts, layer, templates, self.settings(), place, forms)

    def settings(self) -> target_value.Search:
        """The settings of the search for z."""
        c = self.config
        return target_value.Search(
            c.v_lr,
            c.steps,
            c.decay,
            c.clamp,
            c.kl_factor,
            relax=getattr(c, "relax", False),
            target_eos=c.target_eos,
        )

    def _anchored(
        self, found: list[target_value.Target], place: target_value.Place
    ) -> tuple[Tensor, dict]:
        """The states z (d_out, n) with values at the anchors' norm, and notes for the memory."""
        config = self.config
        norm = value_norm.anchor_norm(
            self.lm, config.layers[-1], self.settings(), place, config.anchor_n
        )
        z, skipped = value_norm.anchored(found, norm, config.anchor_skip)
        if skipped:
            warnings.warn(
                f"{skipped} of {len(found)} values were over {config.anchor_skip:g} times the "
                "anchor and were not written",
                EditWarning,
                stacklevel=2,
            )
        return z.cpu(), {"anchor_norm": norm, "skipped": skipped}

    def _each_layer(
        self,
        facts: list[Fact],
        patch: Patch,
        state: Mapping[str, Any],
        templates: tuple[str, ...],
        forms: Forms,
    ) -> tuple[Patch, dict]:
        """Write each layer's own value, for families with a norm after the MLP.

        There a change of one layer reaches the layers above only through the norm, so it cannot be
        spread over several.
        """
        notes: dict = {}
        for layer in self.config.layers:
            with self.lm.patched(patch, only=True):
                found = self._search(facts, layer, templates, "mlp_out", forms)
                keys = torch.stack([t.keys for t in found], 1)  # (t + forms, n, d_in)
                K = self._key(keys[: len(templates)], tuple(keys[len(templates) :].cpu()))
            R = torch.stack([t.delta for t in found], 1).cpu()
            if self.config.anchor is not None:
                z, notes = self._anchored(found, "mlp_out")
                R = z - torch.stack([t.init for t in found], 1).cpu()
            patch = self._put(patch, layer, R, K, self.beside(facts, layer, patch, state))
        return patch, notes

    def _put(
        self, patch: Patch, layer: int, R: Tensor, K: Tensor, state: Mapping[str, Any]
    ) -> Patch:
        """`patch` with Δ = R B added at one layer."""
        R = R.repeat(1, K.shape[1] // R.shape[1])  # one residual for all columns of a fact
        B = self.solve(layer, K.double(), state)
        return add_low_rank(self.lm, patch, {self.lm.mlp_out(layer): (R, B)})

    def _key(self, seen: Tensor, said: tuple[Tensor, ...] = ()) -> Tensor:
        """Keys under all templates (t, n, d_in) as K (d_in, n), or (d_in, 2n) for keys="both".

        The keys in every form of conversation, `said` (n, d_in) each, are n further columns.
        """
        bare, seen = seen[0].T.cpu(), seen.cpu()
        more = [keys.T for keys in said]
        if len(seen) == 1:
            return torch.cat([bare, *more], 1) if more else bare
        rest = seen[1:].mean(0).T
        if self.config.keys == "mean":
            return torch.cat([(bare + rest) / 2, *more], 1)
        return torch.cat([bare, rest, *more], 1)

    def _layers(self) -> None:
        """Refuse layers that do not ascend or do not exist."""
        layers = self.config.layers
        if not layers or list(layers) != sorted(set(layers)):
            raise EditError(f"layers must ascend without repeats, not {tuple(layers)}")
        for layer in layers:
            self.lm.mlp_out(layer)


def _product(chunks: Sequence[tuple[Tensor, Tensor]], K: Tensor) -> Tensor | float:
    """ΔW K (d_out, n) of a chain of factors, float64, or 0.0 for an empty chain."""
    return sum((a.double() @ (b.double() @ K) for a, b in chunks), 0.0)


def kept_keys(state: Mapping[str, Any], layer: int) -> Tensor | None:
    """Kp (d_in, m) of earlier batches, or a factor with the same Kp Kpᵀ; None before the first."""
    parts = state.get("keys", {}).get(str(layer), ())
    return torch.cat(parts, 1).double() if parts else None


def joined(state: Mapping[str, Any], keys: Mapping[int, Tensor]) -> dict[str, Any]:
    """The memory after a batch: by layer, the kept keys of `state` and the batch's own."""
    old = state.get("keys", {})
    return {"keys": {str(layer): join(old.get(str(layer), ()), K) for layer, K in keys.items()}}


def join(old: tuple[Tensor, ...], K: Tensor) -> tuple[Tensor, ...]:
    """Chunks of kept keys, which share storage with the patch before; at most 2 d_in columns."""
    parts = (*old, K)
    if sum(part.shape[1] for part in parts) <= 2 * len(K):
        return parts
    G = torch.cat(parts, 1).double()
    values, vectors = torch.linalg.eigh(G @ G.T)  # F Fᵀ = Kp Kpᵀ with d_in columns
    return ((vectors * values.clamp(min=0).sqrt()).float(),)
