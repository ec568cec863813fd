"""Your own editor in a Python file, for the command line and the leaderboard."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from ...errors import EditError
from ...registry import EDITORS, of_library
from .base import Editor

MODULE = "own_editor"  # the name used for running a file


def editor_of(path: Path, text: str | None = None) -> type[Editor]:
    """Run a file and return the class of its editor, adding it to EDITORS.

    It is the only class of the file that is a `lib.Editor`, or is created from the file's function
    `edit(lm, facts, after)`. Without a name, it gets the file's name, prefixed with my_ if the
    library has an editor of that name. Raises EditError if the file has neither, and for a name
    used by the library.

    text  the file's content, if it is not read here
    """
    module = sys.modules[MODULE] = ModuleType(MODULE)  # where dataclasses look for names
    module.__file__ = str(path)
    text = path.read_text(encoding="utf-8") if text is None else text
    exec(compile(text, path, "exec"), vars(module))
    own = [
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, Editor) and found.__module__ == MODULE
    ]
    if not own and callable(edit := vars(module).get("edit")):
        own = [
            type(
                "Own",
                (Editor,),
                {
                    "__module__": MODULE,
                    "write": lambda self, facts, after: edit(self.lm, facts, after),
                },
            )
        ]
    if len(own) != 1:
        raise EditError(
            f"{path.name} needs a function edit(lm, facts, after), or one class that is a "
            f"lib.Editor, but it has {len(own)} such classes."
        )
    if not hasattr(own[0], "name"):
        taken = path.stem in EDITORS and of_library(EDITORS[path.stem])
        own[0].name = own[0].title = f"my_{path.stem}" if taken else path.stem
    EDITORS[own[0].name] = own[0]
    return own[0]
