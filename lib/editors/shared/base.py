"""The base class of all editors: settings, checks before and after an edit, and the log.

`edit` is the same for all editors. It checks the facts, calls the method's `write` for the next
patch, and rejects a patch containing NaN or infinite numbers. Its warnings are in edit_warnings.py.
A new editor is one class with a `Config`, its declarations, and `write`. It is finished if the
conformance suite is green with its name in EDITORS.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast, get_args

import torch
from torch import Tensor

from ...associative_memory import Moment
from ...cancellation import LOG, progress_after
from ...computed_once import CachedTensors, make_missing
from ...data import as_facts
from ...data.facts import Fact, encode_prompt, encode_target, quoted
from ...errors import EditError
from ...keys_values import context_templates
from ...keys_values.second_moment import second_moment, stored_moments
from ...model.lm import LM
from ...model.scoring import score
from ...patch.patch import EMPTY, Edit, LowRank, Patch
from ...registry import EDITORS, of_library
from ...setting_fields import shown
from . import edit_warnings
from .config import Config as AnyConfig  # `Config` is an attribute of `Editor`

C = TypeVar("C", bound=AnyConfig)


class Editor(ABC, Generic[C]):
    """An editor: `edit(facts, after=patch)` returns the next patch and changes nothing else.

    The class attributes declare the properties of a method, and the conformance suite tests them.

    name           name in EDITORS, in presets.toml and in the log
    paper          the source of the method
    Config         the class of its settings, by default the one in `Editor[…]`
    needs_subject  whether facts need to name their subject
    writes         the part of a patch that it fills: weights, routes, or rewrites of the prompt
    trained        whether a network must be fitted first
    keeps          whether an earlier edit survives the next one
    inner          whether it uses another editor
    factual        whether it makes the model give the facts' answers and, except in the weights,
                   leaves it bit-equal out of scope; False if every prompt is changed in the same
                   way
    geometry       "whitened" if updates are solved in the geometry of C, otherwise "plain"
    speed          "slow" if an edit takes near a minute on a CPU
    title          its name in figures and on the page; by default the name in capitals
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    Config: ClassVar[type[AnyConfig]] = AnyConfig
    config: C = cast(C, AnyConfig())
    needs_subject: ClassVar[bool] = False
    writes: ClassVar[Literal["weights", "routes", "prompt"]] = "weights"
    trained: ClassVar[bool] = False
    keeps: ClassVar[bool] = False
    inner: ClassVar[bool] = False
    factual: ClassVar[bool] = True
    geometry: ClassVar[Literal["plain", "whitened"]] = "plain"
    speed: ClassVar[Literal["fast", "usual", "slow"]] = "usual"
    title: ClassVar[str]

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        bases = vars(cls).get("__orig_bases__", ())
        named = [one for base in bases for one in get_args(base) if isinstance(one, type)]
        if named and "Config" not in vars(cls):
            cls.Config = named[0]
        if "name" in vars(cls) and "title" not in vars(cls):
            cls.title = cls.name.upper().replace("_", "-")

    def __init__(self, lm: LM, config: AnyConfig | None = None, **settings: Any) -> None:
        self.lm = lm
        if not hasattr(self, "name"):
            raise EditError(f"{type(self).__name__} has no name. Write name = '…' in the class.")
        if config is None:
            config = self.Config.preset(lm, self.name, **settings)
        elif not isinstance(config, self.Config):
            kind = self.Config.__name__
            raise EditError(f"The settings of {self.name} should be a {kind}, not {shown(config)}.")
        elif settings:
            config = replace(config, **self.Config.checked(self.name, settings))
        config.check_layers(lm)
        self.config = cast(C, config)

    @classmethod
    def published(cls, lm: LM) -> AnyConfig:
        """Return the settings of the paper: `EDITORS[name](lm, EDITORS[name].published(lm))`."""
        return cls.Config.published(lm, cls.name)

    def edit(self, facts: as_facts.Given, after: Patch = EMPTY, *, check: bool = True) -> Patch:
        """Return the patch that also contains `facts`; neither the model nor `after` is changed.

        If a fact is given twice, it counts twice where facts are weighed against each other. An
        EditWarning names facts contradicting each other, and quotes the model's answer if an edit
        did not succeed.

        check  whether to query the model before writing a single fact, and after editing; not
               needed when measuring the edit in any case

        Raises EditError (a ValueError) if a fact cannot be written or the result is not finite.
        """
        facts = as_facts.facts(facts)
        self.check(facts)
        if said := self.refusal(after):
            raise EditError(said)
        if len(facts) > 1:
            edit_warnings.contradictions(facts)
        elif check and not self.unsaid(facts, after):
            edit_warnings.already_said(facts[0])
        LOG.info("%s: writing %d facts", self.name, len(facts))
        with progress_after(0.0 if len(facts) > 2 else 3.0):
            make_missing(self.statistics(after))
            patch = self.write(facts, after)
        if not of_library(type(self)):  # ours need not be watched
            self._refuse_result(patch, after)
        for name, value in patch.weights.items():
            new = [value] if isinstance(value, Tensor) else value.chunks[-1]
            if value is not after.weights.get(name) and not all(map(_is_finite, new)):
                raise EditError(
                    f"{self.name} produced NaN or infinite weights for {name}. "
                    "Nothing was changed. Try a smaller learning rate or another layer."
                )
        if after.routes:
            edit_warnings.below_routes(self.lm, after, patch)
        edit = Edit(self.name, self.settings_dict(), tuple(facts))
        patch = replace(patch, log=(*after.log, edit), base=self.lm.identity)
        LOG.info("%s: written", self.name)
        if check and self.factual:
            edit_warnings.unsaid(self, facts, patch)
        return patch

    def _refuse_result(self, patch: Any, after: Patch) -> None:
        """Raise EditError unless `write` kept the model and returned a patch based on `after`."""
        if not self.lm.is_untouched:
            raise EditError(
                f"{self.name}: write changed the model's own weights, which nothing can undo. "
                "Load the model again, and return the change as a lib.Patch instead."
            )
        if not isinstance(patch, Patch):
            raise EditError(f"{self.name}: write returned {type(patch).__name__}, not a lib.Patch.")
        before, now = (
            {**one.weights, **one.routes, **{notes.kind: notes for notes in one.rewrites}}
            for one in (after, patch)
        )
        for name, old in before.items():
            new = now.get(name)
            # factors continue the earlier ones
            if new is None or (
                isinstance(old, LowRank)
                and isinstance(new, LowRank)
                and not any(new.chunks[0][0] is a for a, _ in old.chunks)
            ):
                raise EditError(
                    f"{self.name}: write returned a patch without the earlier edits of {name}. "
                    "Begin from `after`, not lib.EMPTY."
                )

    def statistics(self, after: Patch = EMPTY) -> Iterable[CachedTensors]:
        """Return the base model's precomputed results needed for editing after `after`.

        Before its first step, `edit` computes the missing parts, using one pass for all layers.
        """
        return ()

    @abstractmethod
    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Return `after` with new weights, routes, rewrites and memory: the method itself."""

    def layers(self) -> Sequence[int]:
        """Return the settings' `layers`, or a single `layer`; none if an editor has neither."""
        settings = vars(self.config)
        return settings.get("layers") or [settings[name] for name in ("layer",) if name in settings]

    def modules(self) -> Collection[str]:
        """Return the modules that an edit may change, or that get a route.

        By default these are the MLP output projections of the editor's layers.
        """
        return mlp_outputs(self.lm, self.layers()).values()

    def refusal(self, after: Patch = EMPTY) -> str | None:
        """Explain why no fact can be written after `after`, with advice; None if one can be.

        A module has new weights or the route of one editor, never both. This works without running
        the model, so a page may check every editor before anything is pressed.
        """
        for module in self.modules():
            # a route's kind is the name of its editor
            held = module in after.routes and after.routes[module].kind != self.name
            if held or (self.writes == "routes" and module in after.weights):
                break
        else:
            return None
        before = dict.fromkeys(
            line.editor
            for line in after.log
            if module in EDITORS[line.editor](self.lm, **line.settings).modules()
        )
        others = " and ".join(before) or "an earlier edit"
        return (
            f"{self.name} cannot follow {others} here. Both need the same matrix ({module}), "
            "which can have either new weights or one editor's memory. Use retrieval, "
            f"remove the edits by {others}, or choose another layer for {self.name}."
        )

    def check(self, facts: Sequence[Fact], first: int = 0) -> None:
        """Refuse facts that this editor cannot write, naming the row; rows count from `first`."""
        if not facts:
            raise EditError("There is no fact to edit.")
        context = self.lm.context or math.inf
        for row, fact in enumerate(facts, first):
            if self.needs_subject and fact.subject is None:
                raise EditError(
                    f"{self.name} writes at the subject's last token, but row {row} has no "
                    f"subject: '{fact.prompt}'"
                )
            text = self.asked(fact)
            # ASCII text has no more tokens than characters, so short texts need no count
            if (text + fact.target_new).isascii() and len(text + fact.target_new) + 16 <= context:
                continue
            prompt = encode_prompt(self.lm.tokenizer, text)
            tokens = len(prompt) + len(encode_target(self.lm.tokenizer, fact.target_new))
            if tokens > context:
                raise EditError(
                    f"Row {row}: with its answer, the text has {tokens:,} tokens, which "
                    f"exceeds the context of {context}. Shorten it: {quoted(fact.text)}"
                )

    def asked(self, fact: Fact) -> str:
        """Return the text that the model reads before it gives the fact's answer."""
        return fact.text

    def unsaid(self, facts: Sequence[Fact], patch: Patch) -> list[int]:
        """Return the numbers of facts whose answers are not the argmax under `patch`.

        Answers are compared token by token.

        Each token is predicted from the true ones before it. If a route also reads the answer, only
        the first token counts, because a person's question has no answer.
        """
        lm = self.lm
        first = 1 if any(route.reads_answer for route in patch.routes.values()) else None
        with lm.patched(patch, only=True):
            prompts, _ = lm.rows([fact.text for fact in facts])
            answers = [encode_target(lm.tokenizer, fact.target_new)[:first] for fact in facts]
            found = score(lm, prompts, answers)
        return [number for number, one in enumerate(found) if not one.hits.all()]

    def settings_dict(self) -> dict[str, Any]:
        """Return the settings by name, for the patch's log and a journal's header."""
        return asdict(self.config)


class WhitenedEditor(Editor[C]):
    """The base of ROME and the MEMIT family, whose updates are weighed by C of general text."""

    needs_subject = True
    geometry = "whitened"

    def statistics(self, after: Patch = EMPTY) -> Iterable[CachedTensors]:
        """Return C of the layers' keys, unless it is the identity."""
        c: Any = self.config
        if not c.second_moment:
            return ()
        return stored_moments(self.lm, self.layers(), c.text, c.tokens).values()

    def moment(self, layer: int) -> Moment | None:
        """Return the second moment C of a layer's keys, or None for the identity."""
        c: Any = self.config
        if not c.second_moment:
            return None
        return second_moment(self.lm, [layer], c.text, c.tokens, c.damping)[layer]

    def templates(self, after: Patch = EMPTY) -> tuple[str, ...]:
        """Return the context templates: given, kept from an earlier edit, or by the base model."""
        kept = after.memory.get(self.name, {}).get("templates")
        return context_templates.of(self.lm, self.config, kept)


def mlp_outputs(lm: LM, layers: Sequence[int]) -> dict[int, str]:
    """Return {layer: its MLP's output projection}; EditError for layers that do not ascend."""
    if list(layers) != sorted(set(layers)):
        raise EditError(f"Layers should ascend without repeats, not {tuple(layers)}.")
    return {layer: lm.mlp_out(layer) for layer in layers}


def _is_finite(tensor: Tensor) -> bool:
    """Return whether its minimum and maximum are finite, which excludes NaN and infinite values."""
    return not tensor.numel() or bool(torch.stack(tensor.aminmax()).isfinite().all())


def _on_cpu(change: Tensor) -> Tensor:
    """Return a tensor on the CPU, copied from CUDA using pinned memory.

    That memory is kept for copying the next tensor, because using new pages takes ten times as
    long.
    """
    if change.is_cuda:
        change = torch.empty_like(change, device="cpu", pin_memory=True).copy_(change)
    return change.cpu()


def add_low_rank(
    lm: LM, after: Patch, updates: Mapping[str, tuple[Tensor, Tensor]], **changes: Any
) -> Patch:
    """Return `after` with ΔW = A @ B added per module, merging a long chain into one matrix."""
    new: dict[str, Tensor | LowRank] = {}
    for module, (a, b) in updates.items():
        a, b = a.detach().float(), b.detach().float()
        held = after.weights.get(module)
        if isinstance(held, Tensor):
            new[module] = held + _on_cpu(a @ b)  # the product is computed on the factors' device
            continue
        a, b = a.cpu(), b.cpu()
        chain = LowRank(((a, b),)) if held is None else held.plus(a, b)
        d_out, d_in = chain.shape
        # above this rank the factors are more than half of the matrix and cost a product on entry
        if chain.rank > d_out * d_in / (2 * (d_out + d_in)):
            new[module] = lm.weight(module).cpu() + chain.dense()
        else:
            new[module] = chain
    return after.with_weights(new, **changes)
