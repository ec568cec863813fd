"""What every editor has in common: settings, checks before, checks after, the log.

`edit` is the same for all: it looks at the facts, lets the method's `write` make the next patch,
and refuses one that is not finite. A new editor is one class with a `Config`, its declarations, and
`write`; it is finished when its name in EDITORS keeps the conformance suite green.
"""

from __future__ import annotations

import tomllib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from . import decode
from .facts import Fact, encode_target
from .lm import LM
from .patch import EMPTY, Edit, LowRank, Patch


class EditError(ValueError):
    """An edit that cannot be made; nothing was changed."""


class EditWarning(UserWarning):
    """An edit that was made, but probably not as meant."""


@dataclass(frozen=True)
class Config:
    """Settings of an editor; `preset(lm)` fills them from `presets.toml` for the model at hand.

    `retired` names settings that files of earlier versions hold and this one has no more, each with
    the only value that is still accepted.
    """

    seed: int = 0

    retired: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        """Refuse a word that is none of a setting's; EditError names them."""
        for name, words in _words(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, str) and value not in words:
                raise EditError(f"{name} is {' or '.join(words)}, not '{value}'")

    @classmethod
    def preset(cls, lm: LM, editor: str, **settings: Any) -> Config:
        """The recorded settings for this model, or a guess by depth for one nobody has tuned.

        Raises EditError for a setting that the editor does not have.
        """
        settings = cls.current(editor, settings)
        known = {f.name for f in fields(cls)}
        unknown = settings.keys() - known
        if unknown:
            raise EditError(
                f"{editor} has no setting '{sorted(unknown)[0]}'; it has {', '.join(sorted(known))}"
            )
        found = _presets().get(editor, {})
        row = dict(found.get("any", {}))
        if "like" in row:  # the rows of another editor first, then its own
            found = _overlay(_presets()[row.pop("like")], found)
            row = dict(found["any"])
        if "depth" in row:
            last = min(lm.n_layers - 1, round(row.pop("depth") * lm.n_layers))
            row["layer"] = last
            if "width" in row:  # editors of several layers: a window that ends there
                first = max(0, last - row.pop("width") + 1)
                row["layers"] = tuple(range(first, last + 1))
        for pattern, values in found.items():
            if pattern != "any" and pattern.lower() in lm.name.lower():
                row.update(values)
        row = {k: v for k, v in row.items() if k in known}
        return cls(**{k: _tuples(v) for k, v in {**row, **settings}.items()})

    @classmethod
    def current(cls, editor: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings as this version has them: without retired ones, which are left at their value.

        Raises EditError for a retired setting with another value.
        """
        for name, value in cls.retired.items():
            if name in settings and _tuples(settings[name]) != value:
                raise EditError(
                    f"{editor} has no setting '{name}' any more: it is always {value!r}, and "
                    f"{settings[name]!r} is no longer supported"
                )
        return {name: value for name, value in settings.items() if name not in cls.retired}


@cache
def _words(config: type[Config]) -> dict[str, tuple[str, ...]]:
    """{setting: the words it may be}, from the annotations that say `Literal`."""
    found = {}
    for name, hint in get_type_hints(config).items():
        parts = (hint, *get_args(hint))  # Literal[...] | None
        words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
        if words:
            found[name] = tuple(words)
    return found


class Editor(ABC):
    """`edit(facts, after=patch) -> Patch`: maps a patch to the next one and changes nothing else.

    Class attributes say what an editor is and promises; the conformance suite
    tests what is declared.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    Config: ClassVar[type[Config]] = Config
    needs_subject: ClassVar[bool] = False  # facts must name their subject
    writes: ClassVar[Literal["weights", "routes", "prompt"]] = "weights"
    trained: ClassVar[bool] = False  # a network must be fitted first
    keeps: ClassVar[bool] = False  # an earlier edit holds after the next one
    scoped: ClassVar[bool] = False  # bit-equal outside its scope
    inner: ClassVar[bool] = False  # takes another editor

    def __init__(self, lm: LM, config: Config | None = None, **settings: Any) -> None:
        self.lm = lm
        if config is None:
            config = self.Config.preset(lm, self.name, **settings)
        elif settings:
            config = replace(config, **settings)
        self.config = config

    def edit(self, facts: Sequence[Fact], after: Patch = EMPTY) -> Patch:
        """The patch that also holds `facts`; neither the model nor `after` is changed.

        Raises EditError (a ValueError) when a fact does not fit or the result is not finite.
        """
        facts = [facts] if isinstance(facts, Fact) else list(facts)
        self.check(facts)
        if len(facts) == 1:
            self._warn_known(facts[0], after)
        patch = self.write(facts, after)
        for name, value in patch.weights.items():
            if value is not after.weights.get(name):
                self._finite(name, value)
        self._warn_below(after, patch)
        written = Edit(self.name, self._settings(), tuple(facts))
        return replace(patch, log=(*after.log, written), base=self.lm.identity)

    @abstractmethod
    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """The method itself: `after` with new weights, routes, rewrites and memory."""

    def check(self, facts: Sequence[Fact]) -> None:
        """Refuse facts that this editor cannot write, naming the row."""
        if not facts:
            raise EditError("there is no fact to edit")
        for row, fact in enumerate(facts):
            if not isinstance(fact, Fact):
                raise EditError(f"row {row} is a {type(fact).__name__}, not a lib.Fact")
            if self.needs_subject and fact.subject is None:
                raise EditError(
                    f"{self.name} writes at the subject's last token, but row {row} has no "
                    f"subject: '{fact.prompt}'"
                )

    def _warn_known(self, fact: Fact, after: Patch) -> None:
        """A warning, not an error, where the model already answers with the new target."""
        with self.lm.patched(after, only=True):
            target = encode_target(self.lm.tokenizer, fact.target_new)
            (score,) = decode.score(self.lm, self.lm.rows([fact.text])[0], [target])
        if score.hits.all():
            warnings.warn(
                f"the model already answers '{fact.text}' with '{fact.target_new.strip()}'",
                EditWarning,
                stacklevel=4,
            )

    def _warn_below(self, after: Patch, patch: Patch) -> None:
        """A warning where new weights lie below a route that decides by what they compute."""

        def layer(module: str) -> int:
            return int(module.removeprefix(f"{self.lm.arch.blocks}.").split(".")[0])

        new = [m for m, value in patch.weights.items() if value is not after.weights.get(m)]
        blocks = f"{self.lm.arch.blocks}."
        below = min((layer(m) for m in new if m.startswith(blocks)), default=self.lm.n_layers)
        for module, route in after.routes.items():
            if route.reads_states and module.startswith(blocks) and below <= layer(module):
                warnings.warn(
                    f"this edit changes layer {below}, below the {route.kind} route of layer "
                    f"{layer(module)}, which decides by what arrives there and may miss its facts",
                    EditWarning,
                    stacklevel=3,
                )

    def _settings(self) -> dict[str, Any]:
        return asdict(self.config)

    @classmethod
    def current(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a file of any version as this one writes them (`Config.current`)."""
        return cls.Config.current(cls.name, settings)

    def _finite(self, name: str, value: Tensor | LowRank) -> None:
        parts = [value] if isinstance(value, Tensor) else value.chunks[-1]
        if not all(torch.isfinite(part).all() for part in parts):
            raise EditError(
                f"{self.name} produced NaN or infinite weights for {name}; nothing was changed "
                "(try a smaller learning rate or another layer)"
            )


class Wrapper(Editor):
    """An editor around another one: `inner` is an Editor, a name, or (name, settings).

    The log keeps the inner editor's name and settings, so that a patch can be made again.
    """

    needs_subject = True  # as memit, the default inside; what is really inside decides in `check`
    inner = True

    def __init__(
        self,
        lm: LM,
        config: Config | None = None,
        *,
        inner: Editor | str | Sequence[Any] | None = None,
        **settings: Any,
    ) -> None:
        from .editors import EDITORS  # here, not above: editors are built on this file

        super().__init__(lm, config, **settings)
        if not isinstance(inner, Editor):
            name, given = inner if isinstance(inner, list | tuple) else (inner or "memit", {})
            inner = EDITORS[name](lm, **given)
        if inner.lm is not lm:
            raise EditError(f"the inner {inner.name} editor belongs to another model")
        if inner.writes != "weights":
            raise EditError(f"{self.name} changes weights, which {inner.name} does not write")
        self.inner = inner

    def check(self, facts: Sequence[Fact]) -> None:
        """Refuse what the inner editor refuses."""
        self.inner.check(facts)

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "inner": (self.inner.name, self.inner._settings())}

    @classmethod
    def current(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as this version writes them, those of the inner editor too."""
        from .editors import EDITORS  # here, not above: editors are built on this file

        found = super().current(settings)
        if "inner" in found:
            name, given = found["inner"]
            found["inner"] = (name, EDITORS[name].current(given))
        return found


def add_low_rank(
    lm: LM, after: Patch, updates: Mapping[str, tuple[Tensor, Tensor]], **changes: Any
) -> Patch:
    """`after` with ΔW = A @ B added per module; a long chain is folded into one matrix."""
    new: dict[str, Tensor | LowRank] = {}
    for module, (a, b) in updates.items():
        a, b = a.detach().float(), b.detach().float()
        held = after.weights.get(module)
        if isinstance(held, Tensor):
            new[module] = held + (a @ b).cpu()  # the product where the factors are
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


def _overlay(rows: dict[str, dict], own: dict[str, dict]) -> dict[str, dict]:
    return {name: {**rows.get(name, {}), **own.get(name, {})} for name in {**rows, **own}}


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


@cache
def _presets() -> dict[str, dict[str, dict[str, Any]]]:
    with (Path(__file__).parent / "presets.toml").open("rb") as file:
        return tomllib.load(file)
