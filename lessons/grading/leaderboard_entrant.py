"""The program that runs a student's editor for the leaderboard: it has a model and makes patches.

leaderboard_entry.py starts it and sends facts. It never gets test prompts, and it returns files
containing numbers. Before loading the model and running the first line of the file, it closes the
sandbox of the exercises: it can still read Python, the library without its test prompts, the model
and cached statistics. It can still write to one folder, in which nothing can be removed or renamed,
so that the folder's size shows how much was written.
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

import safetensors.torch
import torch

import lib
from lessons.grading import audit_hook, confinement
from lessons.grading.leaderboard_entry import sentence
from lib.editors.shared.editor_file import editor_of
from lib.patch import tensor_file

FILE = 1 << 30  # bytes of a file that is written
LESSONS = Path(__file__).parents[1]
LIBRARY = Path(lib.__file__).parent


def enclose(asked: dict) -> None:
    """Give up network, other processes, and all files that an editor doesn't need, permanently."""
    import resource  # only on Unix, where this process runs

    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tempfile.gettempdir()  # finding it creates and removes a file
    # the library writes a temporary file and renames it, which is refused here
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
    """Answer requests, each a line of JSON, until the other side closes the connection."""
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
        # after loading the model, for which transformers uses ctypes
        audit_hook.install(asked["folder"], hidden(asked), folders=True, threads=True)
        source, text = asked["source"], asked["text"]
        # this process cannot read the file itself, so tracebacks quote its lines from here
        linecache.cache[source] = (1, None, text.splitlines(keepends=True), source)
        editor = editor_of(Path(source), text)(lm)
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
