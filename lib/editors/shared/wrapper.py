"""The base of RECT and PRUNE: an editor around another one, whose change it alters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from ...computed_once import CachedTensors
from ...data.facts import Fact
from ...errors import EditError
from ...model.lm import LM
from ...patch.patch import EMPTY, Patch
from ...registry import EDITORS
from ...setting_fields import shown
from .base import C, Editor
from .config import Config


class Wrapper(Editor[C]):
    """An editor around another one, `inner`, which is an Editor, a name, or (name, settings).

    The log keeps the inner editor's name and settings, so that a patch can be made again.
    """

    needs_subject = True  # as MEMIT, the default; in `check` the editor that is inside decides
    inner = True
    geometry = "whitened"

    def __init__(
        self,
        lm: LM,
        config: Config | None = None,
        *,
        inner: Editor | str | Sequence[Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(lm, config, **settings)
        if not isinstance(inner, Editor):
            name, given = _named("memit" if inner is None else inner)
            inner = EDITORS[name](lm, **EDITORS[name].Config.checked(name, given))
        wrapped: Any = inner
        if wrapped.lm is not lm:
            raise EditError(f"the inner {wrapped.name} editor belongs to another model")
        if wrapped.writes != "weights":
            raise EditError(f"{self.name} changes weights, which {wrapped.name} does not write")
        self.wrapped: Editor = wrapped

    def check(self, facts: Sequence[Fact], first: int = 0) -> None:
        """Refuse the facts that the inner editor refuses."""
        self.wrapped.check(facts, first)

    def modules(self) -> Collection[str]:
        """The inner editor's."""
        return self.wrapped.modules()

    def statistics(self, after: Patch = EMPTY) -> Iterable[CachedTensors]:
        """What the inner editor reads."""
        return self.wrapped.statistics(after)

    def settings_dict(self) -> dict[str, Any]:
        """The settings by name, and the inner editor's under "inner"."""
        inner = (self.wrapped.name, self.wrapped.settings_dict())
        return {**super().settings_dict(), "inner": inner}


def _named(inner: Any) -> tuple[str, Any]:
    """Name and settings of an inner editor; EditError where `inner` gives none."""
    name, given = inner if isinstance(inner, list | tuple) and len(inner) == 2 else (inner, {})
    if not isinstance(name, str):
        raise EditError(f"inner is an editor's name, or its name and settings, not {shown(inner)}")
    return name, given
