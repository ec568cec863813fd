"""The operating system's sandbox: Landlock controls files, and a seccomp filter everything else.

`confine` closes both around the calling process, permanently. Code that runs in it afterwards, in
Python or machine code, can only read and write the given files. It can't start programs or
processes, open sockets, or reach other processes. Files can't be removed, because a removed file
that is still mapped would take up disk space without being listed anywhere. Landlock needs Linux
5.13; `obstacle` explains why a system doesn't have it. The filter allows a list of calls and
refuses all others, so that operations unknown to Landlock (chmod, truncate by path, signals and
sockets before its ABI 6) are blocked on every kernel. Neither mechanism hides `stat`: if a file's
path is known, its existence, size, and times remain visible.

This uses five system calls by ctypes instead of a package: on PyPI `landlock` is a development
release (1.0.0.dev5) and `py-landlock` an alpha (0.1.1) that looks for libc by running a compiler,
both without seccomp, and `pyseccomp` needs a libseccomp.so that many machines lack.

child.py starts without the packages of this repository, so this file imports only the standard
library.
"""

from __future__ import annotations

import ctypes
import glob
import os
import platform
import signal
import site
import socket
import struct
import sys
import sysconfig
from collections.abc import Iterable

# --- Landlock: bits as in <linux/landlock.h>
# Keeps libraries from starting threads when they are imported, since the sandbox requires a single
# thread. pandas imports pyarrow if it is installed, whose allocator starts a thread.
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
ONE_THREAD |= {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3
MAKE_DIR, MAKE_REG, TRUNCATE, IOCTL_DEV = 1 << 7, 1 << 8, 1 << 14, 1 << 15
HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}  # since ABI
TCP, SCOPED = 0b11, 0b11  # bind and connect (ABI 4); abstract sockets and signals (ABI 6)
READ = READ_FILE | READ_DIR
FILES = WRITE_FILE | READ | MAKE_REG | TRUNCATE  # no right to remove or to rename
OF_A_FILE = WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # rights that a rule on a file may have

# --- seccomp: instructions of the classic packet filter, as in <linux/bpf_common.h>
LOAD, AND, EQUAL, AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, ENOSYS = 1, 38
SECCOMP = {"x86_64": 317, "aarch64": 277}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NEW = 424  # newer calls have the same number everywhere; C libraries do without them at ENOSYS
# System calls used by Python and torch: name, number on x86_64, number on aarch64.
CALLS = """
read 0 63, write 1 64, close 3 57, lseek 8 62, pread64 17 67, pwrite64 18 68, readv 19 65,
writev 20 66, preadv 295 69, pwritev 296 70, stat 4 -, fstat 5 80, lstat 6 -, newfstatat 262 79,
statx 332 291, access 21 -, faccessat 269 48, readlink 89 -, readlinkat 267 78, getcwd 79 17,
chdir 80 49, fchdir 81 50, getdents 78 -, getdents64 217 61, dup 32 23, dup2 33 -, dup3 292 24,
pipe 22 -, pipe2 293 59, poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72, epoll_create 213 -,
epoll_create1 291 20, epoll_ctl 233 21, epoll_wait 232 -, epoll_pwait 281 22, eventfd2 290 19,
fsync 74 82, fdatasync 75 83, ftruncate 77 46, fadvise64 221 223, flock 73 32, sendfile 40 71,
copy_file_range 326 285, fstatfs 138 44, creat 85 -, mkdir 83 -, mkdirat 258 34, umask 95 166,
mmap 9 222, munmap 11 215, mremap 25 216, mprotect 10 226, madvise 28 233, brk 12 214,
msync 26 227, futex 202 98, set_robust_list 273 99, rseq 334 293, membarrier 324 283,
sched_yield 24 124, sched_getaffinity 204 123, getcpu 309 168, gettid 186 178,
set_tid_address 218 96, exit 60 93, exit_group 231 94, rt_sigaction 13 134, rt_sigprocmask 14 135,
rt_sigreturn 15 139, rt_sigpending 127 136, rt_sigsuspend 130 133, rt_sigtimedwait 128 137,
sigaltstack 131 132, restart_syscall 219 128, pause 34 -, alarm 37 -, setitimer 38 103,
getitimer 36 102, nanosleep 35 101, clock_nanosleep 230 115, clock_gettime 228 113,
clock_getres 229 114, gettimeofday 96 169, time 201 -, times 100 153, getrusage 98 165,
getrlimit 97 163, sysinfo 99 179, uname 63 160, getrandom 318 278, getpid 39 172, getppid 110 173,
getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177, getresuid 118 148,
getresgid 120 150, getgroups 115 158, getpgrp 111 -, recvfrom 45 207, sendto 44 206"""
# Calls allowed with some arguments: (name, numbers, [(argument, mask, allowed values), …]).
WHOLE, THREAD, NEW_NAMESPACES = 0xFFFFFFFF, 0x00010000, 0x7E020000
# O_TRUNC empties files even with O_RDONLY, and a file of O_TMPFILE has no name
OPEN_MODES = 0o20000000 | 0o1000 | 0o3, (0, 1, 2, 0o1001, 0o1002)
COMMANDS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032, 1034)  # without those that send signals
TERMINAL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # is it one, how wide, blocking


def partly(pid: int) -> list[tuple[str, str, list[tuple[int, int, tuple[int, ...]]]]]:
    """Return the calls allowed only with some arguments, for the process `pid`."""
    return [
        ("open", "2 -", [(1, *OPEN_MODES)]),
        ("openat", "257 56", [(2, *OPEN_MODES)]),
        ("fcntl", "72 25", [(1, WHOLE, COMMANDS)]),
        ("ioctl", "16 29", [(1, WHOLE, TERMINAL)]),
        ("clone", "56 220", [(0, THREAD | NEW_NAMESPACES, (THREAD,))]),  # a thread, no process
        ("kill", "62 129", [(0, WHOLE, (pid,))]),
        ("tgkill", "234 131", [(0, WHOLE, (pid,))]),
        # a process can read its own limits, but not set them: the address of new limits is 0
        ("prlimit64", "302 261", [(0, WHOLE, (0, pid)), (2, WHOLE, (0,)), (-2, WHOLE, (0,))]),
        ("prctl", "157 167", [(0, WHOLE, (15, 16, 0x53564D41))]),  # names of threads, of memory
    ]


def obstacle() -> str:
    """Explain why this system cannot confine a process; return an empty text if it can."""
    if not sys.platform.startswith("linux"):
        return "this system is not Linux"
    if platform.machine() not in SECCOMP or sys.maxsize < 1 << 32:
        return f"there is no list of system calls for {platform.machine()}"
    if landlock_abi() < 1:
        return "the kernel has no Landlock, or it is switched off"
    action = ctypes.c_uint32(ERRNO)  # SECCOMP_GET_ACTION_AVAIL: is there a filter that refuses?
    if _system(SECCOMP[platform.machine()], 2, 0, ctypes.byref(action)) != 0:
        return "the kernel has no seccomp filters, or it is not allowed to use them"
    return ""


def no_process() -> str:
    """Explain why no student's file can be run here; return an empty text if it can."""
    if hasattr(os, "fork") and hasattr(socket, "send_fds"):
        return ""
    return (
        "on this system no student's file is run, because nothing would limit what it does. Grade "
        "in WSL, on Linux, or on macOS"
    )


def protection() -> str:
    """Return one line about the protection on this system, for people who grade."""
    if no_process():
        return "no student's file is run on this system"
    if why := obstacle():
        return f"audit hook only ({why}). Grade only code that you have read"
    return f"Landlock (ABI {landlock_abi()}) and seccomp, audit hook"


def landlock_abi() -> int:
    """Return the version of Landlock that the kernel offers; 0 or less if there is none."""
    if not sys.platform.startswith("linux"):
        return 0
    return _system(CREATE_RULESET, None, ctypes.c_size_t(0), 1)


def confine(
    read: Iterable[str],
    write: Iterable[str],
    *,
    hidden: Iterable[str] = (),
    folders: bool = False,
    graphics: bool = False,
) -> None:
    """Close the sandbox around this process, which must have one thread. Raises OSError.

    read      files and folders that may be read, with all their contents
    write     folders in which files may be created, written, and read, but not removed or renamed
    hidden    files and folders in `read` that may not be read
    folders   whether folders may also be created in `write`
    graphics  whether the devices of NVIDIA's cards stay accessible, for CUDA
    """
    if len(os.listdir("/proc/self/task")) != 1:
        raise OSError("the sandbox requires a single thread, but there are several")
    if _libc().prctl(38, *map(ctypes.c_ulong, (1, 0, 0, 0))) != 0:  # PR_SET_NO_NEW_PRIVS
        raise OSError(ctypes.get_errno(), "new privileges could not be given up")
    # PR_SET_PDEATHSIG: it ends with the process that started it, even if that has stopped it
    _libc().prctl(1, *map(ctypes.c_ulong, (signal.SIGKILL, 0, 0, 0)))
    rules = [
        *visible(read, hidden),
        *((path, FILES | MAKE_DIR if folders else FILES) for path in write),
        ("/dev/null", READ_FILE | WRITE_FILE | TRUNCATE),
    ]
    if graphics:
        rules += [
            *((p, OF_A_FILE) for p in (*glob.glob("/dev/nvidia*"), "/dev/nvidia-caps")),
            ("/dev/nvidia-caps", READ | WRITE_FILE | IOCTL_DEV),
            *((path, READ) for path in ("/proc", "/sys", "/usr/local", "/etc/nvidia")),
        ]
    _restrict_files(rules)
    _filter_calls(graphics)


def python_files() -> list[str]:
    """Return the folders of Python, its packages, and the system's libraries.

    Folders added by an editable installation or by PYTHONPATH are not included, because they may
    contain the teacher's work.
    """
    paths = sysconfig.get_paths()
    found = [
        *(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *(*site.getsitepackages(), os.path.join(sys.base_prefix, "lib")),
        *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"),
        *("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom"),
        *("/dev/zero", "/sys/devices/system/cpu", "/proc/cpuinfo", "/proc/meminfo"),
    ]
    return [os.path.realpath(path) for path in dict.fromkeys(found)]


def visible(paths: Iterable[str], hidden: Iterable[str]) -> list[tuple[str, int]]:
    """Return (path, rights) for reading the paths, split up so that nothing hidden can be opened.

    Landlock can only grant access, to a folder with all its contents. So if a folder contains
    something hidden, its other members are granted individually. Its names can still be listed,
    because Python looks for modules that way.
    """
    hidden = [os.path.realpath(path) for path in hidden]
    found = []
    for path in map(os.path.realpath, paths):
        if any(_within(path, place) for place in hidden):
            continue
        if not any(_within(place, path) for place in hidden):
            found.append((path, READ))
        elif os.path.isdir(path):
            found += [(path, READ_DIR), *visible((e.path for e in os.scandir(path)), hidden)]
    return found


def _within(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _system(number: int, *args) -> int:
    """The result of a system call; -1 with errno if it failed."""
    call = _libc().syscall
    call.restype = ctypes.c_long
    return call(ctypes.c_long(number), *args)


def _restrict_files(rules: list[tuple[str, int]]) -> None:
    """Let Landlock refuse everything that the kernel can refuse, except for the rules."""
    abi = landlock_abi()
    handled = HANDLED[max(known for known in HANDLED if known <= abi)]
    asked = struct.pack("QQQ", handled, TCP, SCOPED)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = _system(CREATE_RULESET, asked, ctypes.c_size_t(len(asked)), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "Landlock could not create a set of rules")
    try:
        for path, rights in rules:
            try:
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                rights &= handled if os.path.isdir(path) else handled & OF_A_FILE
                if _system(ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, place), 0) != 0:
                    raise OSError(ctypes.get_errno(), f"Landlock does not accept a rule for {path}")
            finally:
                os.close(place)
        if _system(RESTRICT_SELF, ruleset, 0) != 0:
            raise OSError(ctypes.get_errno(), "Landlock could not be switched on")
    finally:
        os.close(ruleset)


def _filter_calls(graphics: bool) -> None:
    """Let seccomp allow the listed calls, report newer calls as missing, and refuse all others."""
    machine = platform.machine()
    program = b"".join(instructions(machine, os.getpid(), graphics))
    held = ctypes.create_string_buffer(program)
    filled = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(held))
    # SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_TSYNC: for every thread of the process
    if _system(SECCOMP[machine], 1, 1, filled) != 0:
        raise OSError(ctypes.get_errno(), "the seccomp filter was not accepted")


def instructions(machine: str, pid: int, graphics: bool = False) -> list[bytes]:
    """Return the filter as instructions of eight bytes, for "x86_64" or "aarch64".

    It sees struct seccomp_data: the number at 0, the architecture at 4, six arguments of eight
    bytes from 16 on. With `graphics`, ioctl and mlock are allowed, which CUDA needs.
    """
    column = ("x86_64", "aarch64").index(machine)

    def number(columns: str) -> int | None:
        text = columns.split()[column]
        return None if text == "-" else int(text)

    def step(code: int, value: int, then: int = 0, other: int = 0) -> bytes:
        return struct.pack("=HBBI", code, then, other, value)

    found = [step(LOAD, 4), step(EQUAL, AUDIT_ARCH[machine], 1), step(RETURN, KILL), step(LOAD, 0)]
    rules = {}
    for row in CALLS.replace("\n", " ").split(","):
        rules[number(row.strip().partition(" ")[2])] = []
    for _, columns, conditions in partly(pid):
        rules[number(columns)] = conditions
    if graphics:
        rules |= {number(columns): [] for columns in ("16 29", "149 228", "150 229")}
    rules.pop(None, None)
    for call, conditions in rules.items():
        block = []
        for place, mask, values in conditions:
            # a negative number means the upper half of an argument, for pointers
            block += [step(LOAD, 16 + 8 * abs(place) + 4 * (place < 0)), step(AND, mask)]
            block += [step(EQUAL, v, len(values) - i) for i, v in enumerate(values)]
            block += [step(RETURN, ERRNO | EPERM)]
        block += [step(RETURN, ALLOW)]
        found += [step(EQUAL, call, 0, len(block)), *block]
    found += [step(AT_LEAST, NEW, 0, 1), step(RETURN, ERRNO | ENOSYS)]
    return [*found, step(RETURN, ERRNO | EPERM)]
