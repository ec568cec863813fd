"""The program that runs a student's editor for the leaderboard: it has a model and makes patches.

leaderboard_entry.py starts it and sends facts. It never gets test prompts, and it hands back files
with numbers in them. It closes the sandbox of the exercises, before the model is loaded and the
file's first line runs: what stays readable is Python, the library without its test prompts, the
model and cached statistics; what stays writable is one folder, in which nothing can be removed or
renamed, so that its size is all that was written.
"""

from __future__ import annotations

import contextlib
import json
import linecache
import socket
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import safetensors.torch
import torch

import lib
from lessons.grading import audit_hook, confinement
from lessons.grading.leaderboard_entry import sentence
from lib.patch import tensor_file

FILE = 1 << 30  # bytes of a file that is written
LESSONS = Path(__file__).parents[1]
LIBRARY = Path(lib.__file__).parent


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


def editor_of(source: str, lm: lib.LM, text: str) -> lib.Editor:
    """The editor of a file's text: its class, or its function `edit`."""
    path, module = Path(source), ModuleType("own_editor")
    module.__file__ = source
    linecache.cache[source] = (1, None, text.splitlines(keepends=True), source)
    sys.modules["own_editor"] = module  # dataclasses look it up
    exec(compile(text, source, "exec"), module.__dict__)
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


def enclose(asked: dict) -> None:
    """Give up all files but those that an editor needs, network and other processes, for good."""
    import resource  # Unix alone has it, and runs this process

    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tempfile.gettempdir()  # is found by a file that is made and removed
    # the library writes a file beside and renames it; here it is written in its place
    tensor_file.whole_file = contextlib.nullcontext
    tensor_file.save_file = lambda tensors, path, metadata: path.write_bytes(
        safetensors.torch.save(tensors, metadata)
    )
    if confinement.obstacle():
        return
    confinement.confine(
        [*confinement.python_files(), str(LIBRARY), *asked["read"]],
        [asked["folder"]],
        hidden=hidden(asked),
        folders=True,
        graphics=asked["graphics"],
    )


def hidden(asked: dict) -> list[str]:
    """Return what an editor may not read: lessons, hand-ins, and every copy of the test prompts."""
    packages = [Path(place) for place in confinement.python_files() if "-packages" in place]
    prompts = [path for place in packages for path in place.glob("*/data/classroom.json")]
    found = [LESSONS, LIBRARY / "data" / "classroom.json", *prompts]
    return [*map(str, found), *asked["hidden"]]


def serve(pipe: socket.socket) -> None:
    """Answers requests, a line of JSON each, until the other side closes."""
    lines = pipe.makefile("rw", encoding="utf-8", newline="\n")

    def reply(error: str | None = None) -> None:
        lines.write(json.dumps({"error": error}) + "\n")
        lines.flush()

    asked = json.loads(lines.readline())
    if asked["memory"]:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (asked["memory"], asked["memory"]))
    warnings.simplefilter("ignore")
    last = lib.EMPTY
    try:
        enclose(asked)
        torch.set_num_threads(asked["threads"])
        lm = lib.load(asked["model"])
        # after the model, which transformers loads with ctypes
        audit_hook.install(asked["folder"], hidden(asked), folders=True, threads=True)
        editor = editor_of(asked["source"], lm, asked["text"])
        reply()
    except BaseException as error:
        reply(sentence(error))
        return
    for line in lines:
        asked = json.loads(line)
        try:
            if asked["do"] == "save":
                last.save(asked["to"])
            else:
                facts = [lib.Fact(**fact) for fact in asked["facts"]]
                last = editor.edit(
                    facts, after=last if asked["on"] == "last" else lib.EMPTY, check=False
                )
            reply()
        except BaseException as error:
            reply(sentence(error))


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
