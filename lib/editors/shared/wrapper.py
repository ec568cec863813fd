"""The base of RECT and PRUNE: an editor wrapping another one, whose change it alters."""

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
    """An editor wrapping another editor, `inner`, given as an Editor, a name, or (name, settings).

    By keeping the inner editor's name and settings, the log makes it possible to repeat a patch.
    """

    needs_subject = True  # like MEMIT, the default; in `check`, the inner editor decides
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
            raise EditError(
                f"The inner {wrapped.name} editor belongs to another model. Create it for this "
                "model."
            )
        if wrapped.writes != "weights":
            raise EditError(
                f"{self.name} changes weights, but {wrapped.name} does not write weights. Choose "
                "another inner editor."
            )
        self.wrapped: Editor = wrapped

    def check(self, facts: Sequence[Fact], first: int = 0) -> None:
        """Reject the facts that the inner editor rejects."""
        self.wrapped.check(facts, first)

    def modules(self) -> Collection[str]:
        """Return the inner editor's modules."""
        return self.wrapped.modules()

    def statistics(self, after: Patch = EMPTY) -> Iterable[CachedTensors]:
        """Return the statistics needed by the inner editor."""
        return self.wrapped.statistics(after)

    def settings_dict(self) -> dict[str, Any]:
        """Return the settings by name, with the inner editor's under "inner"."""
        inner = (self.wrapped.name, self.wrapped.settings_dict())
        return {**super().settings_dict(), "inner": inner}


def _named(inner: Any) -> tuple[str, Any]:
    """Return the name and settings of an inner editor; EditError if `inner` has none."""
    name, given = inner if isinstance(inner, list | tuple) and len(inner) == 2 else (inner, {})
    if not isinstance(name, str):
        raise EditError(
            f"inner should be an editor's name, or its name and settings, not {shown(inner)}."
        )
    return name, given
