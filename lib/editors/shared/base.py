"""The base class of all editors: settings, checks before and after an edit, and the log.

`edit` is the same for all editors. It checks the facts, lets the method's `write` make the next
patch, and refuses a patch that is not finite. A new editor is one class with a `Config`, its
declarations, and `write`. It is finished when its name in EDITORS keeps the conformance suite
green.
"""

from __future__ import annotations

import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast, get_args

import torch
from torch import Tensor

from ...associative_memory import Moment
from ...cancellation import LOG, progress_after
from ...computed_once import CachedTensors, make_missing
from ...data import as_facts
from ...data.facts import Fact, encode_prompt, encode_target, quoted
from ...errors import EditError, EditWarning
from ...evaluation.answers import begins, plain
from ...keys_values import context_templates
from ...keys_values.second_moment import second_moment, stored_moments
from ...model import generation
from ...model.lm import LM
from ...model.scoring import score
from ...patch.patch import EMPTY, Edit, LowRank, Patch
from ...registry import EDITORS, of_library
from ...setting_fields import shown
from .config import Config as AnyConfig  # `Config` is an attribute of `Editor`

C = TypeVar("C", bound=AnyConfig)
QUOTED = 3  # facts that a warning quotes at most


class Editor(ABC, Generic[C]):
    """An editor: `edit(facts, after=patch)` gives the next patch and changes nothing else.

    The class attributes declare the properties of a method, and the conformance suite tests them.

    name           name in EDITORS, in presets.toml and in the log
    own            whether a user wrote it, so that its results are looked at; it is set by itself
    paper          the source of the method
    Config         the class of its settings, by default the one that `Editor[…]` names
    needs_subject  whether facts must name their subject
    writes         the part of a patch that it fills: weights, routes, or rewrites of the prompt
    trained        whether a network must be fitted first
    keeps          whether an earlier edit holds after the next one
    inner          whether it takes another editor
    factual        whether it makes the model give the facts' answers and, beside the weights,
                   leaves it bit-equal out of scope; False where every prompt is changed alike
    geometry       "whitened" where updates are solved in the geometry of C, otherwise "plain"
    speed          "slow" where an edit takes near a minute on a CPU
    title          how figures and the page write it; by default the name in capitals
    color          its color in every figure; editors of one color share an idea or are never drawn
                   together (lib/workbench/plot/palette.py)
    search_grid    the arguments of `scan` with which `tune` searches its settings, the most
                   important one first; empty where it cannot. A first stage tries layers with the
                   editor's own settings, so the grid need not hold these.
    page           what the page uses it for beside the list of all editors: "opening" (the first
                   screen), "blind" (edits whose editor is guessed), "warm" (writes the ready
                   example in the background), and in the stress test "race" (may be chosen),
                   "ticked" (is chosen) and "baseline" (always runs)

    An editor with a name of its own inherits neither title nor search grid nor uses of the page.
    """

    name: ClassVar[str]
    own: ClassVar[bool]
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
    color: ClassVar[str] = "#16202e"
    search_grid: ClassVar[Mapping[str, Any]] = {}
    page: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.own = not of_library(cls)
        bases = vars(cls).get("__orig_bases__", ())
        named = [one for base in bases for one in get_args(base) if isinstance(one, type)]
        if named and "Config" not in vars(cls):
            cls.Config = named[0]
        if "name" in vars(cls):
            own = {"title": cls.name.upper().replace("_", "-"), "search_grid": {}, "page": ()}
            for name in own.keys() - vars(cls).keys():
                setattr(cls, name, own[name])

    def __new__(cls, *given: Any, **more: Any) -> Self:
        """An editor, unless its class lacks something: EditError says what."""
        called, config, takes = cls.__name__, cls.Config, inspect.signature(cls.write)
        for wrong, said in (
            (
                not hasattr(cls, "name"),
                f"has no name: write name = '{called.lower()}' in the class",
            ),
            (
                not (isinstance(config, type) and issubclass(config, AnyConfig)),
                "has a Config that does not inherit lib.Config: write class Config(lib.Config)",
            ),
            (
                "write" in cls.__abstractmethods__
                or (len(takes.parameters) < 3 and "*" not in str(takes)),
                "has no method write(self, facts, after), which returns the next patch",
            ),
        ):
            if wrong:
                raise EditError(f"the editor {called} {said}")
        return super().__new__(cls)

    def __init__(self, lm: LM, config: AnyConfig | None = None, **settings: Any) -> None:
        self.lm = lm
        if config is None:
            config = self.Config.preset(lm, self.name, **settings)
        elif not isinstance(config, self.Config):
            kind = self.Config.__name__
            raise EditError(f"the settings of {self.name} are a {kind}, not {shown(config)}")
        elif settings:
            config = replace(config, **self.Config.checked(self.name, settings))
        config.check_layers(lm)
        self.config = cast(C, config)

    @classmethod
    def published(cls, lm: LM) -> AnyConfig:
        """The settings of the paper: `EDITORS[name](lm, EDITORS[name].published(lm))`."""
        return cls.Config.published(lm, cls.name)

    def edit(self, facts: as_facts.Given, after: Patch = EMPTY, *, check: bool = True) -> Patch:
        """The patch that also holds `facts`; neither the model nor `after` is changed.

        A fact given twice counts twice where facts are weighed against each other. An EditWarning
        names facts that contradict each other, and quotes what the model says where an edit did not
        take.

        check  whether the model is asked the facts after the edit, which takes one forward; whoever
               measures the edit in any case leaves it out

        Raises EditError (a ValueError) when a fact does not fit or the result is not finite.
        """
        facts = as_facts.facts(facts)
        self.check(facts)
        if module := self.conflict(after):
            raise EditError(self._conflict_said(module, after))
        if len(facts) > 1:
            self._warn_contradictions(facts)
        elif not self.unsaid(facts, after):
            warnings.warn(
                f"the model already answers '{facts[0].text}' with '{facts[0].target_new.strip()}'",
                EditWarning,
                stacklevel=3,
            )
        LOG.info("%s: writing %d facts", self.name, len(facts))
        with progress_after(0.0 if len(facts) > 2 else 3.0):
            make_missing(self.statistics(after))
            patch = self.write(facts, after)
        if self.own:  # ours need not be watched
            self._refuse_result(patch, after)
        for name, value in patch.weights.items():
            new = [value] if isinstance(value, Tensor) else value.chunks[-1]
            if value is not after.weights.get(name) and not all(map(_is_finite, new)):
                raise EditError(
                    f"{self.name} produced NaN or infinite weights for {name}; nothing was changed "
                    "(try a smaller learning rate or another layer)"
                )
        if after.routes:
            self._warn_below(after, patch)
        edit = Edit(self.name, self.settings_dict(), tuple(facts))
        patch = replace(patch, log=(*after.log, edit), base=self.lm.identity)
        LOG.info("%s: written", self.name)
        if check and self.factual:
            self._warn_unsaid(facts, patch)
        return patch

    def _refuse_result(self, patch: Any, after: Patch) -> None:
        """Raise EditError unless `write` left the model alone and returned a patch on `after`."""
        if not self.lm.is_untouched:
            raise EditError(
                f"{self.name}: write changed the model's own weights, which nothing can undo: load "
                "the model again, and return the change as a lib.Patch instead"
            )
        if not isinstance(patch, Patch):
            raise EditError(
                f"{self.name}: write returned "
                f"{'None' if patch is None else type(patch).__name__}, not a lib.Patch: return "
                "after.with_weights({module: W}) or lib.add_low_rank(self.lm, after, …)"
            )
        lost = [
            name
            for name, old in {**after.weights, **after.routes}.items()
            for new in [{**patch.weights, **patch.routes}.get(name)]
            if new is None
            or isinstance(old, LowRank)  # factors go on from the earlier ones
            and isinstance(new, LowRank)
            and {id(a) for a, _ in old.chunks}.isdisjoint(id(a) for a, _ in new.chunks)
        ]
        if lost or (after.rewrites and not patch.rewrites):
            raise EditError(
                f"{self.name}: write returned a patch without the earlier edits"
                f"{' of ' * bool(lost)}{', '.join(lost[:1])}: begin from `after`, not lib.EMPTY"
            )

    def statistics(self, after: Patch = EMPTY) -> Iterable[CachedTensors]:
        """All that an edit on top of `after` reads of what is computed once for the base model.

        `edit` makes what is missing of it before its first step, all layers in one pass.
        """
        return ()

    @abstractmethod
    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """The method itself: `after` with new weights, routes, rewrites and memory."""

    def layers(self) -> Sequence[int]:
        """The settings' `layers`, or `layer` alone; none where an editor has neither."""
        settings = vars(self.config)
        return settings.get("layers") or [settings[name] for name in ("layer",) if name in settings]

    def modules(self) -> Collection[str]:
        """Modules that an edit may change, or behind which it puts a route.

        Unless an editor says otherwise they are the MLP output projections of its layers.
        """
        return mlp_outputs(self.lm, self.layers()).values()

    def refusal(self, after: Patch = EMPTY) -> str | None:
        """Why no fact can be written on top of `after`, and what can be done; None where one can.

        A module has new weights or the route of one editor, never both. No model is run, so that a
        page may ask every editor before anything is pressed.
        """
        module = self.conflict(after)
        return self._conflict_said(module, after) if module else None

    def _conflict_said(self, module: str, after: Patch) -> str:
        """Why this module cannot be had beside `after`, and what can be done."""
        before = dict.fromkeys(
            line.editor
            for line in after.log
            if module in EDITORS[line.editor](self.lm, **line.settings).modules()
        )
        able = [
            name
            for name, kind in EDITORS.items()
            if kind.writes == self.writes and kind.factual and not kind.trained
            if name != self.name
            if not kind(self.lm).conflict(after)
        ]
        others = " and ".join(before) or "an earlier edit"
        return (
            f"{self.name} cannot follow {others} here: both need the same matrix ({module}), which "
            "has either new weights or the memory of one editor beside it. Choose "
            f"{', '.join(able[:3])}{' or ' * bool(able)}retrieval, take out what {others} wrote, "
            f"or give {self.name} another layer"
        )

    def conflict(self, after: Patch) -> str | None:
        """The first module that it needs and cannot have beside `after`, None if there is none."""
        for module in self.modules():
            # a route's kind is the name of its editor
            held = module in after.routes and after.routes[module].kind != self.name
            if held or (self.writes == "routes" and module in after.weights):
                return module
        return None

    def check(self, facts: Sequence[Fact], first: int = 0) -> None:
        """Refuse facts that this editor cannot write, naming the row; rows count from `first`."""
        if not facts:
            raise EditError("there is no fact to edit")
        stops = list(map(self.lm.tokenizer.decode, generation.stop_ids(self.lm)))
        for row, fact in enumerate(facts, first):
            if self.needs_subject and fact.subject is None:
                raise EditError(
                    f"{self.name} writes at the subject's last token, but row {row} has no "
                    f"subject: '{fact.prompt}'"
                )
            # of ASCII no tokenizer makes more tokens than characters: short texts need no count
            text, most = fact.text + fact.target_new, self.lm.context or math.inf
            short = text.isascii() and not self.length_note and len(text) + 16 <= most
            if not short or any(stop in fact.target_new for stop in stops):
                self._check_tokens(row, fact)

    def _check_tokens(self, row: int, fact: Fact) -> None:
        """Refuse an answer that the model could not read, or could not write to its end."""
        tokenizer, context, stops = self.lm.tokenizer, self.lm.context, generation.stop_ids(self.lm)
        target = encode_target(tokenizer, fact.target_new)
        tokens = self.length(fact, target)
        if context and tokens > context:
            raise EditError(
                f"row {row}: the prompt and its answer have {tokens:,} tokens"
                f"{self.length_note}, which exceeds the context of {context}: {quoted(fact.text)}"
            )
        inside = [token for token in target[:-1] if token in stops]
        if inside:
            raise EditError(
                f"row {row}: the answer holds {tokenizer.decode(inside[:1])!r}, which ends a text, "
                f"so the model could not go on behind it: {quoted(fact.target_new)}"
            )

    length_note: ClassVar[str] = ""  # what else `length` counts, for the message

    def length(self, fact: Fact, target: Sequence[int]) -> int:
        """The most tokens that the model has to read to give the fact's whole answer."""
        return len(encode_prompt(self.lm.tokenizer, fact.text)) + len(target)

    def unsaid(self, facts: Sequence[Fact], patch: Patch) -> list[int]:
        """The facts, by number, whose answers are not the argmax under `patch`, token by token.

        Each token is predicted from the true ones before it. Where a route reads the answer too,
        only the first token counts, since a person's question has no answer to read.
        """
        lm = self.lm
        first = 1 if any(route.reads_answer for route in patch.routes.values()) else None
        with lm.patched(patch, only=True):
            prompts, _ = lm.rows([fact.text for fact in facts])
            answers = [encode_target(lm.tokenizer, fact.target_new)[:first] for fact in facts]
            found = score(lm, prompts, answers)
        return [number for number, one in enumerate(found) if not one.hits.all()]

    def _warn_contradictions(self, facts: Sequence[Fact]) -> None:
        """Warn where one prompt has several answers; case, blanks and quotes make no difference."""
        first: dict[str, int] = {}
        found = [
            f"{quoted(fact.text)} is {quoted(facts[other].target_new.strip())} in row {other} and "
            f"{quoted(fact.target_new.strip())} in row {row}"
            for row, fact in enumerate(facts)
            for other in [first.setdefault(" ".join(plain(fact.text).split()), row)]
            if plain(facts[other].target_new) != plain(fact.target_new)
        ]
        if found:
            warnings.warn(
                f"the facts contradict each other: {'; '.join(found[:QUOTED])}"
                + f", and {len(found) - QUOTED} more" * (len(found) > QUOTED),
                EditWarning,
                stacklevel=4,
            )

    def _warn_unsaid(self, facts: Sequence[Fact], patch: Patch) -> None:
        """Warn where the model does not say what was written, and quote what it says instead."""
        facts = list({fact.text: fact for fact in facts}.values())  # a prompt's last answer counts
        missed = [facts[i] for i in self.unsaid(facts, patch)]
        asked = missed[:QUOTED]
        lengths = [len(encode_target(self.lm.tokenizer, fact.target_new)) for fact in asked]
        with self.lm.patched(patch, only=True):
            texts = self.lm.answer([fact.text for fact in asked], max(lengths) + 8) if asked else []
        said = [
            f"{quoted(fact.text)} is answered with {quoted(' '.join(text.split()))}, not with "
            f"{quoted(fact.target_new.strip())}"
            for fact, text in zip(asked, texts, strict=True)
            if not begins(text, fact.target_new)  # it may be said in other tokens, or quoted
        ]
        count = len(missed) - len(asked) + len(said)
        if count:
            warnings.warn(
                f"{self.name}: the model does not give {count} of {len(facts)} new answers: "
                f"{'; '.join(said)}",
                EditWarning,
                stacklevel=4,
            )

    def _warn_below(self, after: Patch, patch: Patch) -> None:
        """Warn where new weights lie below a route that decides by the states they change."""
        blocks = f"{self.lm.arch.blocks}."

        def layer(module: str) -> int:
            return int(module.removeprefix(blocks).split(".")[0])

        changed = (m for m, value in patch.weights.items() if value is not after.weights.get(m))
        below = min((layer(m) for m in changed if m.startswith(blocks)), default=self.lm.n_layers)
        for module, route in after.routes.items():
            if route.reads_states and module.startswith(blocks) and below <= layer(module):
                warnings.warn(
                    f"this edit changes layer {below}, below the {route.kind} route of layer "
                    f"{layer(module)}, which decides by what arrives there and may miss its facts",
                    EditWarning,
                    stacklevel=4,
                )

    def settings_dict(self) -> dict[str, Any]:
        """The settings by name, as the patch's log and a journal's header keep them."""
        return asdict(self.config)


class WhitenedEditor(Editor[C]):
    """The base of ROME and the MEMIT family: what is written is weighed by C of general text."""

    needs_subject = True
    geometry = "whitened"

    def statistics(self, after: Patch = EMPTY) -> Iterable[CachedTensors]:
        """C of the layers' keys, unless it is the identity."""
        c: Any = self.config
        if not c.second_moment:
            return ()
        return stored_moments(self.lm, self.layers(), c.text, c.tokens).values()

    def moment(self, layer: int) -> Moment | None:
        """The second moment C of a layer's keys, or None for the identity."""
        c: Any = self.config
        if not c.second_moment:
            return None
        return second_moment(self.lm, [layer], c.text, c.tokens, c.damping)[layer]

    def templates(self, after: Patch = EMPTY) -> tuple[str, ...]:
        """The context templates: given, kept from an earlier edit, or written by the base model."""
        kept = after.memory.get(self.name, {}).get("templates")
        return context_templates.of(self.lm, self.config, kept)


def mlp_outputs(lm: LM, layers: Sequence[int]) -> dict[int, str]:
    """{layer: its MLP's output projection}; EditError for layers that do not ascend."""
    if list(layers) != sorted(set(layers)):
        raise EditError(f"layers must ascend without repeats, not {tuple(layers)}")
    return {layer: lm.mlp_out(layer) for layer in layers}


def _is_finite(tensor: Tensor) -> bool:
    """Whether it holds no NaN and nothing infinite, which would be among its ends."""
    return not tensor.numel() or bool(torch.stack(tensor.aminmax()).isfinite().all())


def _on_cpu(change: Tensor) -> Tensor:
    """A tensor on the CPU, from CUDA by way of pinned memory.

    That memory is kept for the next one. The pages of new memory take ten times as long.
    """
    if change.is_cuda:
        change = torch.empty_like(change, device="cpu", pin_memory=True).copy_(change)
    return change.cpu()


def add_low_rank(
    lm: LM, after: Patch, updates: Mapping[str, tuple[Tensor, Tensor]], **changes: Any
) -> Patch:
    """`after` with ΔW = A @ B added per module; a long chain is folded into one matrix."""
    new: dict[str, Tensor | LowRank] = {}
    for module, (a, b) in updates.items():
        a, b = a.detach().float(), b.detach().float()
        held = after.weights.get(module)
        if isinstance(held, Tensor):
            new[module] = held + _on_cpu(a @ b)  # the product is taken on the factors' device
            continue
        a, b = a.cpu(), b.cpu()
        chain = LowRank(((a, b),)) if held is None else held.plus(a, b)
        d_out, d_in = chain.shape
        # past this rank the factors are no smaller than half the matrix and cost a product on entry
        if chain.rank > d_out * d_in / (2 * (d_out + d_in)):
            new[module] = lm.weight(module).cpu() + chain.dense()
        else:
            new[module] = chain
    return after.with_weights(new, **changes)
