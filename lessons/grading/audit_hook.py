"""Python's audit hook: a second layer after the system's sandbox, or the only layer without one.

It refuses operations that Python announces (files, processes, network), and replaces some functions
that open files in machine code without announcing it. It always runs, because its messages are
better than the system's. It is not a wall: machine code can get around it, and so can anyone who
knows Python's internals.

child.py starts without the packages of this repository, so this file imports only the standard
library and torch.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FunctionType, SimpleNamespace

import torch

REFUSED = (
    ("the network is switched off", ("socket.",)),
    (
        "other processes and threads are switched off",
        ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill")
        + ("pty.", "_thread.start_new_thread", "signal.pthread_kill"),
    ),
    ("the limits cannot be changed", ("resource.",)),
    ("ctypes is switched off", ("ctypes.",)),
    ("databases are switched off", ("sqlite3.",)),
    (  # a removed file that is still mapped takes up space without being listed anywhere
        "removing and renaming is switched off",
        ("os.remove", "os.rename", "os.rmdir", "shutil.move", "shutil.rmtree"),
    ),
    (
        "looking into the interpreter is switched off",
        ("gc.get_", "sys.settrace", "sys.setprofile", "sys.addaudithook"),
    ),
)
CHANGES = {  # event: how many of its last arguments are folders that the paths are relative to
    "os.mkdir": 1,
    "os.chmod": 1,
    "os.chown": 1,
    "os.link": 2,
    "os.symlink": 1,
    "os.truncate": 0,
    "os.utime": 1,
    "os.setxattr": 0,
    "os.removexattr": 0,
    "os.chflags": 0,
    "os.lchmod": 0,
    "shutil.": 0,
}
SILENT = (  # functions without an event, not needed for any answer
    (os, ("mknod", "mkfifo", "setpriority", "sched_setaffinity", "sched_setscheduler"))
    + ("other processes and special files are switched off",),
    (os, ("sched_setparam", "pidfd_open", "memfd_create"), "other processes are switched off"),
    (os, ("posix_fallocate",), "reserving disk space without writing is switched off"),
    (signal, ("pidfd_send_signal",), "other processes are switched off"),
    (sys.modules["_signal"], ("pidfd_send_signal",), "other processes are switched off"),
    ("_posixsubprocess", ("fork_exec",), "other processes are switched off"),
    ("torch._C._distributed_c10d", ("TCPStore", "FileStore"), "the network is switched off"),
)
# Functions that open the file of their first argument in machine code, and how: "r" only reads,
# unless the second argument, `shared`, is true. safetensors reads with the second function.
OPENING = (
    (torch, "from_file", "r"),
    (torch.UntypedStorage, "from_file", "r"),
    (torch._C, "PyTorchFileReader", "r"),
    (torch._C, "PyTorchFileWriter", "w"),
)


def install(
    folder: str, hidden: Iterable[str], *, folders: bool = False, threads: bool = False
) -> None:
    """Refuse network, processes, changes outside the folder, and reading `hidden`, permanently.

    folders   whether folders may be created in `folder`
    threads   whether Python may start threads
    """
    refuse = guard(folder, hidden, folders=folders, threads=threads)
    _replace(refuse)
    sys.addaudithook(refuse)


def guard(
    folder: str, hidden: Iterable[str], *, folders: bool = False, threads: bool = False
) -> Callable[[str, tuple], None]:
    """Return the hook, which raises PermissionError with a sentence.

    It only uses its own cells: tuples, and copies of Python's functions that no other code can
    reach by name, so that patching a module changes nothing here.
    """
    paths = _own_paths()
    realpath, pathlike = paths.realpath, os.PathLike
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    nameless = getattr(os, "O_TMPFILE", 0)  # on Linux
    folder, hidden = realpath(folder), tuple(realpath(place) for place in (*hidden, "/proc"))
    allowed = ("_thread.start_new_thread",) if threads else ()
    plain = (str, bytes, type(Path()))
    refused, changing = REFUSED, tuple(CHANGES.items())

    def within(path, place: str) -> bool:
        if not isinstance(path, (str, bytes, pathlike)):
            return True  # the number of an open file
        if type(path) not in plain:  # its text may change when read again
            raise PermissionError("a path is plain text or a pathlib.Path while a file is graded")
        text = path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else str(path)
        path = realpath(text)
        return path == place or path.startswith(place.rstrip("/") + "/")

    def refuse(event: str, args: tuple) -> None:
        for reason, starts in refused:
            if event.startswith(starts) and event not in allowed:
                raise PermissionError(f"{reason} while a file is graded")
        if event == "open":
            path, mode, flags = args
            if nameless and (flags or 0) & nameless == nameless:
                raise PermissionError("files without a name cannot be made while a file is graded")
            changes = isinstance(mode, str) and set(mode) & set("wax+")
            if (changes or (flags or 0) & writing) and not within(path, folder):
                raise PermissionError("files can only be written in the file's own folder")
            if any(within(path, place) for place in hidden if not isinstance(path, int)):
                raise PermissionError("solutions, checks and other students' files cannot be read")
            return
        for start, beside in changing:
            if event.startswith(start):
                relative = args[len(args) - beside :] if beside else ()
                if any(number != -1 for number in relative):
                    raise PermissionError("files can only be changed by their path (no dir_fd)")
                if not all(within(path, folder) for path in args):
                    raise PermissionError("files can only be changed in the file's own folder")
                if event == "os.mkdir" and not folders:
                    raise PermissionError("no folders can be created in the file's own folder")

    return _alone(refuse, within)


def _alone(function: FunctionType, *others: FunctionType) -> FunctionType:
    """The function, and the functions in its cells, with copied builtins as their globals."""
    for each in (*others, function):
        held = {"__builtins__": vars(builtins).copy(), "__name__": "guard"}
        found = FunctionType(each.__code__, held, each.__name__, None, each.__closure__)
        for cell in function.__closure__ or ():
            if cell.cell_contents is each:
                cell.cell_contents = found
    return found


def _own_paths() -> SimpleNamespace:
    """A second copy of os.path that uses its own copy of `os`."""
    spec = importlib.util.find_spec(os.path.__name__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.os = SimpleNamespace(**vars(os))
    module.__dict__["__builtins__"] = vars(builtins).copy()
    return module


def _replace(refuse: Callable[[str, tuple], None]) -> None:
    """Replace functions that Python does not announce to a hook."""

    def refusal(reason: str) -> Callable:
        def refused(*args, **kwargs):
            raise PermissionError(f"{reason} while a file is graded")

        return refused

    def checked(function: Callable, mode: str) -> Callable:
        def opening(*args, **kwargs):
            path = args[0] if args else kwargs.get("filename")
            shared = args[1] if len(args) > 1 else kwargs.get("shared")
            if isinstance(path, (str, bytes, os.PathLike)):
                refuse("open", (path, "r+" if shared else mode, 0))
            return function(*args, **kwargs)

        return opening

    def opened(path, flags, mode=0o777, *, dir_fd=None):
        if dir_fd is not None:  # the event "open" does not contain the folder
            raise PermissionError("files can only be opened by their path (no dir_fd)")
        return plain(path, flags, mode)

    plain = os.open
    system = sys.modules[os.name]
    os.open = system.open = opened
    for place, names, reason in SILENT:
        place = sys.modules.get(place) if isinstance(place, str) else place
        for name in names:
            for module in (place, system if place is os else None):
                if hasattr(module, name):
                    setattr(module, name, refusal(reason))
    for place, name, mode in OPENING:
        found = checked(getattr(place, name), mode)
        setattr(place, name, staticmethod(found) if isinstance(place, type) else found)
