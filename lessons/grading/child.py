"""The program inside the sandbox's process: it has torch ready and forks a worker for every file.

sandbox.py starts it by its path, so that it cannot import this package. A worker gives up
everything that a student's file doesn't need (confinement.py, audit_hook.py), runs the file, and
calls its functions with the grader's inputs, returning their results. It never learns the correct
answers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import linecache
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import audit_hook  # noqa: E402
import confinement  # noqa: E402
import wire  # noqa: E402

sys.path.remove(HERE)
import torch  # noqa: E402

OPEN = 128  # files open at a time


def serve(grader: socket.socket) -> None:
    """Fork a worker for every message; send its process id, and its exit code when it ends."""
    torch.set_num_threads(1)
    torch.linalg.solve(torch.eye(2), torch.eye(2))  # opens its library before the sandbox closes
    torch.optim.Adam([torch.zeros(1)])  # importing its 800 modules is too slow in the sandbox
    grader.sendall(b"ready\n")
    while True:
        text, pipes, _, _ = socket.recv_fds(grader, 1 << 16, 3)
        if not text:
            return
        pid = os.fork()
        if pid == 0:
            try:
                grader.close()
                work(json.loads(text), *pipes)
            finally:
                os._exit(0)
        for pipe in pipes:
            os.close(pipe)
        grader.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        grader.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def work(settings: dict, requests: int, answers: int, log: int) -> None:
    """Close the sandbox, run one file, and answer calls until the grader closes the pipe."""
    token, name, largest = bytes.fromhex(settings["token"]), settings["name"], settings["largest"]
    first = wire.receive(requests, token, wire.Task)

    def reply(message: wire.Answer) -> None:
        with contextlib.suppress(Exception):  # the student's stdout may be replaced or full
            sys.stdout.flush()
        wire.send(answers, token, message, largest=largest)

    def function(number: int):
        def ask(*args):
            reply(wire.Answer(query=number, args=[wire.pack(arg) for arg in args]))
            heard = wire.receive(requests, token, wire.Task)
            if heard is None or heard.error is not None:
                raise ValueError("no answer" if heard is None else heard.error)
            return wire.unpack(heard.value)

        return ask

    try:
        enclose(settings, log)
    except Exception as error:  # the file is not run in a sandbox that is only half closed
        reply(wire.Answer(error=wire.Failure(wire.NOT_CLOSED, f"{type(error).__name__}: {error}")))
        return
    module = ModuleType("exercise")
    module.__file__ = name
    linecache.cache[name] = (1, None, first.source.splitlines(keepends=True), name)
    sys.modules["exercise"] = module
    try:
        exec(compile(first.source, name, "exec"), module.__dict__)
        reply(wire.Answer())
    except BaseException as error:
        reply(wire.Answer(error=wire.failure(error, name)))
        return
    while (call := wire.receive(requests, token, wire.Task)) is not None:
        try:
            torch.manual_seed(0)
            if not callable(called := getattr(module, call.call, None)):
                raise AttributeError(f"there is no function {call.call}")
            args = [wire.unpack(arg, function) for arg in call.args]
            value = wire.pack(called(*args))
            reply(wire.Answer(value=value, changed=wire.changed(called, args, call.args)))
        except BaseException as error:
            reply(wire.Answer(error=wire.failure(error, name)))


def enclose(settings: dict, log: int) -> None:
    """Give up everything except the file's folder, Python's files, and the pipes, permanently."""
    folder, layers, library = settings["folder"], settings["layers"], settings["library"]
    os.setsid()
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    # libraries look up the user's name, for which they would read /etc/passwd; torch makes a folder
    os.environ.update(HOME=folder, TMPDIR=folder, USER="student", LOGNAME="student")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.tempdir = folder
    if library:
        sys.meta_path.append(Library(library))
    limit(settings["memory"], settings["seconds"])
    if "system" in layers:
        readable = [*confinement.python_files(), *filter(None, [library])]
        confinement.confine(readable, [folder], hidden=settings["hidden"])
    if "hook" in layers:
        audit_hook.install(folder, settings["hidden"])


class Library:
    """Finds `lib` in its folder, without making other folders next to it importable."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the package is, or None for any other name."""
        if name != "lib":
            return None
        return importlib.util.spec_from_file_location(
            name,
            os.path.join(self.folder, "__init__.py"),
            submodule_search_locations=[self.folder],
        )


def limit(memory: int, seconds: int) -> None:
    """Limit memory beyond torch's, CPU seconds in total, files, and processes, permanently."""
    sizes = [
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, wire.FILE),
        (resource.RLIMIT_NOFILE, OPEN),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),  # no effect for root; the filter and the hook refuse there
    ]
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
        sizes.append((resource.RLIMIT_AS, held + memory))
    for kind, size in sizes:
        resource.setrlimit(kind, (size, size))


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
