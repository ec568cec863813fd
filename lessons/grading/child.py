"""The program inside the sandbox's process: it has torch ready and forks a worker for every file.

sandbox.py starts it by path, without this package in reach. A worker runs one student's file, then
calls its functions with what the grader sends and returns what they return. It never learns what
would have been right.
"""

from __future__ import annotations

import contextlib
import json
import linecache
import os
import resource
import socket
import sys
from types import ModuleType

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import wire  # noqa: E402

sys.path.remove(HERE)
import torch  # noqa: E402

LINES = 400  # characters of an error's text
REFUSED = {
    "the network is switched off": ("socket.",),
    "other processes and threads are switched off": (
        "subprocess.",
        "os.system",
        "os.exec",
        "os.fork",
        "os.posix_spawn",
        "os.spawn",
        "os.kill",
        "pty.",
        "_thread.start_new_thread",
        "signal.pthread_kill",
    ),
    "the limits cannot be changed": ("resource.",),
    "ctypes is switched off": ("ctypes.",),
}
CHANGES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.symlink",
    "os.truncate",
    "shutil.",
)


def serve(grader: socket.socket) -> None:
    """Forks a worker for every message; answers with its number, then with how it ended."""
    torch.set_num_threads(1)
    torch.linalg.solve(torch.eye(2), torch.eye(2))  # the library behind it is opened now, not later
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
    """One file: run it, then answer calls until the grader closes the pipe."""
    os.setsid()
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(settings["folder"])
    os.environ.update(HOME=settings["folder"], TMPDIR=settings["folder"])
    if settings["path"]:
        sys.path.append(settings["path"])
    token, name = bytes.fromhex(settings["token"]), settings["name"]
    first = wire.receive(requests, token)
    limit(settings["memory"], settings["seconds"])
    sys.addaudithook(guard(settings["folder"], settings["hidden"]))

    def reply(message: dict) -> None:
        with contextlib.suppress(Exception):  # the student's own stdout, perhaps replaced or full
            sys.stdout.flush()
        wire.send(answers, token, message)

    def function(number: int):
        def ask(*args):
            reply({"query": number, "args": [wire.pack(arg) for arg in args]})
            heard = wire.receive(requests, token)
            if heard is None or "error" in heard:
                raise ValueError("no answer" if heard is None else heard["error"])
            return wire.unpack(heard["value"])

        return ask

    module = ModuleType("exercise")
    module.__file__ = name
    linecache.cache[name] = (1, None, first["source"].splitlines(keepends=True), name)
    sys.modules["exercise"] = module
    try:
        exec(compile(first["source"], name, "exec"), module.__dict__)
        reply({"value": None})
    except BaseException as error:
        reply({"error": report(error, name)})
        return
    while (call := wire.receive(requests, token)) is not None:
        try:
            torch.manual_seed(0)
            if not callable(called := getattr(module, call["call"], None)):
                raise AttributeError(f"there is no function {call['call']}")
            found = called(*[wire.unpack(arg, function) for arg in call["args"]])
            reply({"value": wire.pack(found)})
        except BaseException as error:
            reply({"error": report(error, name)})


def limit(memory: int, seconds: int) -> None:
    """Memory beyond what torch holds already, CPU seconds in all, files, processes: for good."""
    sizes = [
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 4 << 20),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),  # no effect for root; `guard` refuses there
    ]
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
        sizes.append((resource.RLIMIT_AS, held + memory))
    for kind, size in sizes:
        resource.setrlimit(kind, (size, size))


def guard(folder: str, hidden: list[str]):
    """A hook that refuses network, processes, changes outside the folder, and the solutions."""
    realpath, fsdecode, inside = os.path.realpath, os.fsdecode, os.path.commonpath
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    folder, hidden = realpath(folder), [realpath(place) for place in (*hidden, "/proc")]

    def within(path, place: str) -> bool:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return True  # a number: opened before
        return inside([realpath(fsdecode(path)), place]) == place

    def refuse(event: str, args: tuple) -> None:
        for reason, starts in REFUSED.items():
            if event.startswith(starts):
                raise PermissionError(f"{reason} while a file is graded")
        if event == "open":
            path, mode, flags = args
            changes = isinstance(mode, str) and set(mode) & set("wax+")
            if (changes or (flags or 0) & writing) and not within(path, folder):
                raise PermissionError("files can be written in the own folder only")
            if any(within(path, place) for place in hidden if not isinstance(path, int)):
                raise PermissionError("solutions, checks and other students' files cannot be read")
        elif event.startswith(CHANGES) and not all(within(path, folder) for path in args):
            raise PermissionError("files can be changed in the own folder only")

    return refuse


def report(error: BaseException, name: str) -> dict:
    """Return what went wrong, and in which line of the student's file."""
    line, trace = None, error.__traceback__
    if isinstance(error, SyntaxError) and error.filename == name:
        line = error.lineno
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    try:
        text = str(error.msg if isinstance(error, SyntaxError) else error)
    except BaseException:
        text = ""
    code = linecache.getline(name, line).strip() if line else ""
    own = isinstance(error, wire.Foreign)
    return {
        "type": type(error).__name__,
        "text": text[:LINES],
        "line": line,
        "code": code,
        "foreign": own,
    }


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
