"""The program that runs one editor of the leaderboard: it holds a model and makes the patches.

leaderboard_entry.py starts it and sends facts. It never gets test prompts, and it hands back files
with numbers in them.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import lib

TEXT = 300  # characters of an error


class Written(lib.Editor):
    """A student's function `edit(lm, facts, after)` as an editor."""

    name = "own"
    paper = "none yet"

    def __init__(self, lm: lib.LM, function: Any, name: str) -> None:
        super().__init__(lm, lib.Config())
        self.function, self.name = function, name

    def write(self, facts: list[lib.Fact], after: lib.Patch) -> lib.Patch:
        found = self.function(self.lm, facts, after)
        if not isinstance(found, lib.Patch):
            raise TypeError(f"edit returned a {type(found).__name__}, not a lib.Patch")
        return found


def editor_of(source: str, lm: lib.LM) -> lib.Editor:
    """The editor of a name ("rome") or of a file: its class, or its function `edit`."""
    if not source.endswith(".py"):
        return lib.EDITORS[source](lm)
    path = Path(source)
    spec = importlib.util.spec_from_file_location("own_editor", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["own_editor"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    own = [
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, lib.Editor)
        and found.__module__ == "own_editor"
    ]
    if len(own) == 1:
        for name, default in (("name", path.stem), ("paper", Written.paper)):
            if not hasattr(own[0], name):
                setattr(own[0], name, default)
        return own[0](lm)
    if own or not callable(getattr(module, "edit", None)):
        raise TypeError(
            f"{path.name} needs a function edit(lm, facts, after), or one class that is a "
            f"lib.Editor; it has {len(own)} such classes"
        )
    return Written(lm, module.edit, path.stem)


def serve(pipe: socket.socket) -> None:
    """Answers requests, a line of JSON each, until the other side closes."""
    lines = pipe.makefile("rw", encoding="utf-8", newline="\n")

    def reply(**message: Any) -> None:
        lines.write(json.dumps(message) + "\n")
        lines.flush()

    asked = json.loads(lines.readline())
    if asked["memory"]:
        resource.setrlimit(resource.RLIMIT_AS, (asked["memory"], asked["memory"]))
    warnings.simplefilter("ignore")
    last = lib.EMPTY
    try:
        editor = editor_of(asked["source"], lib.load(asked["model"]))
        reply(ready=editor.name)
    except BaseException as error:
        reply(error=sentence(error))
        return
    for line in lines:
        asked = json.loads(line)
        try:
            if asked["do"] == "save":
                last.save(asked["to"])
            else:
                facts = [lib.Fact(**fact) for fact in asked["facts"]]
                last = editor.edit(facts, after=last if asked["on"] == "last" else lib.EMPTY)
            reply(done=True)
        except BaseException as error:
            reply(error=sentence(error))


def sentence(error: BaseException) -> str:
    """An error in one line."""
    text = str(error).strip().split("\n")[0][:TEXT]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
