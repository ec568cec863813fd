"""An editor around another one, which writes first and whose change is then altered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...data.facts import Fact
from ...errors import EditError
from ...model.lm import LM
from ...registry import EDITORS
from .base import Editor
from .config import Config


class Wrapper(Editor):
    """An editor around another one: `inner` is an Editor, a name, or (name, settings).

    The log keeps the inner editor's name and settings, so that a patch can be made again.
    """

    needs_subject = True  # as memit, the default inside; what is really inside decides in `check`
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

    def settings_dict(self) -> dict[str, Any]:
        """The settings by name, and the inner editor's under "inner"."""
        return {**super().settings_dict(), "inner": (self.inner.name, self.inner.settings_dict())}
