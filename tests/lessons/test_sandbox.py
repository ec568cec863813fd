"""The sandbox against the attacks: with the system alone, with the hook alone, and without both.

The run without both is the control: there every attack reaches what it wants, so that the others
show the sandbox and not a slip in the attack. Each attack has a process of its own, forked by the
sandbox's server, which has torch ready.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import secrets
import socket
import sqlite3
import struct
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

import lib
from lessons import grader
from lessons.grading import class_folder, confinement, wire
from lessons.grading.exercise_source import exercises
from lessons.grading.leaderboard_entry import Entry, Failed
from lessons.grading.sandbox import Sandbox
from lessons.grading.verdict import grade
from lessons.marking import Wrong

from ..support import tiny
from . import attacks

INSERT = exercises("2.1")[0]
MISSING = confinement.obstacle()
on_landlock = pytest.mark.skipif(bool(MISSING), reason=f"no sandbox of the system: {MISSING}")
REFUSED = (
    "ermission|ermitted|not implemented|switched off|own folder|cannot be|their path|plain text"
    "|unable to open|open file failed|name not found|error in opening|unable to mmap|No such file"
    "|not allowed|False"
)


def state(folder: Path) -> dict:
    """All that an attack could have changed in a folder: names, contents, modes, times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        told = path.lstat()
        text = path.read_bytes() if path.is_file() else b""
        found[path.name] = (text, told.st_mode, told.st_mtime_ns, told.st_nlink, told.st_uid)
    return found


@pytest.fixture
def target(tmp_path):
    """Somebody else's folder and servers, and the constants by which attacks know them."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "secret.txt").write_text("secret")
    (out / "victim.txt").write_text("of a classmate")
    torch.save([1], out / "secret.pt")
    with sqlite3.connect(out / "secret.db") as data:
        data.execute("create table t as select 'secret' as x")
    data.close()
    (tmp_path / ".bashrc").write_text("secret")
    unix, abstract = f"/tmp/{secrets.token_hex(6)}.sock", secrets.token_hex(6)
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for place in (unix, f"\0{abstract}"):
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(place)
            server.listen()
        stack.callback(os.remove, unix)
        known = {
            "OUT": str(out),
            "LESSON": str(INSERT.path),
            "HOME": str(tmp_path),
            "PORT": tcp.getsockname()[1],
            "UNIX": unix,
            "ABSTRACT": abstract,
            "NAME": secrets.token_hex(6),
            "SYS_clone": 56 if platform.machine() == "x86_64" else 220,
        }
        yield out, known


def attacked(layers, target, names, hidden=()):
    """{attack: what it reached, or the sentence with which it was refused}, and what it changed."""
    out, known = target
    reached, refused, changed = {}, {}, []
    constants = "".join(f"{key} = {value!r}\n" for key, value in known.items())
    with Sandbox(hidden=hidden, seconds=5.0, wall=20.0, layers=layers) as sandbox:
        for name in names:
            body = "".join(f"    {line}\n" for line in attacks.CODES[name].splitlines())
            source = f"{constants}{attacks.BEFORE}\ndef body():\n{body}"
            source += "\ndef attack():\n    return bool(body())\n"
            before = state(out)
            try:
                with sandbox.open(source, "x.py") as student:
                    found = student.ask("attack")
                (reached if found else refused)[name] = found
            except Wrong as error:
                became = "exec" in name and "exit code 0" in str(error)  # another program
                (reached if became else refused)[name] = str(error)
            if state(out) != before:
                changed.append(name)
                restore(out, before)
    return reached, refused, changed


def restore(out: Path, before: dict) -> None:
    for path in out.iterdir():
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    for name, (text, mode, when, _, _) in before.items():
        (out / name).write_bytes(text)
        os.chmod(out / name, mode & 0o7777)
        os.utime(out / name, ns=(when, when))


@pytest.mark.slow
@on_landlock
def test_without_a_sandbox_every_attack_succeeds(target):
    reached, refused, changed = attacked((), target, attacks.CODES)
    assert not refused, refused
    assert len(reached) == len(attacks.CODES) and len(changed) >= 8


@on_landlock
@pytest.mark.parametrize(
    "layers",
    [("system",), pytest.param(("system", "hook"), marks=pytest.mark.slow)],
    ids="+".join,
)
def test_the_system_stops_every_attack(layers, target):
    reached, refused, changed = attacked(layers, target, attacks.CODES, hidden=[target[0]])
    assert not reached and not changed
    odd = {name: said for name, said in refused.items() if not re.search(REFUSED, str(said))}
    assert len(refused) == len(attacks.CODES) and not odd


@pytest.mark.slow
def test_the_hook_alone_stops_all_that_python_announces(target):
    known = [name for name in attacks.CODES if not name.startswith("deeper")]
    reached, _, changed = attacked(("hook",), target, known, hidden=[target[0]])
    assert not reached and not changed


def test_a_worker_whose_sandbox_does_not_close_runs_nothing(monkeypatch):
    with Sandbox(layers=("system",)) as sandbox:
        sandbox.layers, sandbox.hidden = ["system"], [None]  # realpath fails in there
        with pytest.raises(OSError, match="could not be closed"):
            sandbox.open("print('ran')", "x.py")


def decided(program: list[bytes], machine: str, number: int, *arguments: int) -> int:
    """What a filter answers to a system call: the kernel's own machine, in Python."""
    full = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=iIQ6Q", number, confinement.AUDIT_ARCH[machine], 0, *full)
    held, place = 0, 0
    while True:
        code, then, other, value = struct.unpack("=HBBI", program[place])
        place += 1
        if code == confinement.LOAD:
            held = struct.unpack_from("=I", data, value)[0]
        elif code == confinement.AND:
            held &= value
        elif code == confinement.EQUAL:
            place += then if held == value else other
        elif code == confinement.AT_LEAST:
            place += then if held >= value else other
        else:
            return value


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_of_both_architectures_by_its_own_rules(machine):
    program, column = confinement.instructions(machine, 77), ("x86_64", "aarch64").index(machine)
    rows = [row.split() for row in attacks.CALLS.replace("\n", " ").split(",")]
    for name, *numbers in rows:
        said = decided(program, machine, int(numbers[column]))
        assert said in (confinement.ERRNO | 1, confinement.ERRNO | 38), name
    allow, refuse = confinement.ALLOW, confinement.ERRNO | confinement.EPERM
    numbers = {name: columns.split()[column] for name, columns, _ in confinement.partly(77)}
    for name, arguments, wanted in (
        ("kill", (77, 9), allow),
        ("kill", (76, 9), refuse),
        ("kill", (2**32 - 1, 9), refuse),
        ("tgkill", (77, 78, 6), allow),
        ("tgkill", (1, 1, 6), refuse),
        ("clone", (0x3D0F00,), allow),  # what a C library asks for a thread
        ("clone", (17,), refuse),
        ("clone", (0x10000 | 0x10000000,), refuse),
        ("openat", (3, 0, 0o100), allow),
        ("openat", (3, 0, 0o1000), refuse),
        ("openat", (3, 0, 0o1001), allow),
        ("openat", (3, 0, 0o20200002), refuse),  # O_TMPFILE
        ("fcntl", (3, 4), allow),
        ("fcntl", (3, 8), refuse),
        ("ioctl", (0, 0x5401), allow),
        ("ioctl", (0, 0x5412), refuse),
        ("prlimit64", (0, 7, 0), allow),
        ("prlimit64", (1, 7, 0), refuse),
        ("prlimit64", (0, 7, 2**32), refuse),
        ("prctl", (22,), refuse),
    ):
        assert decided(program, machine, int(numbers[name]), *arguments) == wanted, (
            name,
            arguments,
        )
    assert decided(program, machine, 0 if machine == "x86_64" else 63) == allow
    assert decided(program, machine, 2**30 + 1) == confinement.ERRNO | confinement.ENOSYS  # x32
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[machine]
    assert decided(program, other, 0) == confinement.KILL


def test_what_is_hidden_is_cut_out_of_what_is_readable(tmp_path):
    for name in ("a/b/c.txt", "a/b/d.txt", "a/e.txt", "f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = dict(confinement.visible([str(tmp_path)], [str(tmp_path / "a/b/c.txt")]))
    lists, reads = confinement.READ_DIR, confinement.READ
    top = tmp_path.resolve()
    assert found == {
        str(top): lists,
        str(top / "a"): lists,
        str(top / "a/b"): lists,
        str(top / "a/b/d.txt"): reads,
        str(top / "a/e.txt"): reads,
        str(top / "f.txt"): reads,
    }
    assert confinement.visible([str(top / "a")], [str(top)]) == []


def frame(text: bytes, token=b"t" * wire.TOKEN) -> bytes:
    return token + struct.pack(">Q", len(text)) + text


def test_a_frame_is_refused_before_it_is_read_or_parsed(tmp_path):
    path = tmp_path / "frame"
    token, start = b"t" * wire.TOKEN, time.process_time()
    many = b"[]," * ((wire.LARGEST - 20) // 3)
    huge = frame(b'{"value":[' + b"[]," * 10_000_000 + b"[]]}")
    for text, why in (
        (huge[: wire.TOKEN + 100], "bytes at once"),  # 30 MB are announced: none of them is read
        (frame(b'{"value":[' + many + b"1]}"), "values at once"),
        (frame(b'{"value":' + b"[" * 4000 + b"]" * 4000 + b"}"), "no message"),
        (frame(b'{"value":' + b"[" * 50 + b"]" * 50 + b"}"), "lists in each other"),
        (frame(b'{"valu":1}'), "no message"),
        (frame(b'{"query":"1"}'), "no message"),
        (frame(b'{"error":{"type":1,"text":""}}'), "no message"),
        (frame(b"[1]"), "no message"),
        (frame(b"{}", b"x" * wire.TOKEN), "token"),
    ):
        path.write_bytes(text)
        read = os.open(path, os.O_RDONLY)
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(wire.Garbled, match=why):
            wire.unpack(wire.receive(read, token, wire.Answer).value)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 8000  # kB
        os.close(read)
    assert time.process_time() - start < 1.0


def test_the_disk_is_not_filled_and_what_is_left_at_the_exit_says_nothing():
    with Sandbox(seconds=3.0, wall=10.0) as sandbox:
        many = "for n in range(10**6):\n    open(str(n), 'w').close()\n"
        with pytest.raises(Wrong, match="files"):
            sandbox.open(many, "x.py")
        large = "for n in range(90):\n    open(str(n), 'wb').write(bytes(4 << 20))\n"
        with pytest.raises(Wrong, match="files|ended"):
            sandbox.open(large + "while True:\n    pass\n", "x.py")
        text = (
            "import atexit\natexit.register(print, 'solved')\ndef insert(*a):\n    raise SystemExit"
        )
        verdict = grade(INSERT, text, sandbox)
        assert verdict.status == "wrong" and "ended itself" in verdict.message


def test_all_hand_ins_are_read_before_the_first_is_run(tmp_path, monkeypatch):
    students = tmp_path / "students"
    for name in ("a_mallory", "b_bob"):
        (students / name).mkdir(parents=True)
        (students / name / INSERT.path.name).write_text(INSERT.solution)
    plain = class_folder.grade_file

    def spoil(*args):
        for path in students.rglob("*.py"):
            path.write_text("")
        return plain(*args)

    monkeypatch.setattr(class_folder, "grade_file", spoil)
    out = tmp_path / "report"
    call = ["class", str(students), "2.1", "--jobs", "1", "--out", str(out)]
    assert grader.main(call) == 0
    report = json.loads((out / "messages.json").read_text())
    assert [one["solved"] for one in report["students"].values()] == [1, 1]
    assert report["protection"] == confinement.protection()


EDITOR = """
import json, os, socket, subprocess
from pathlib import Path
import torch, lib

def edit(lm, facts, after):
    said = {}
    for name, attack in ATTACKS.items():
        try:
            said[name] = str(attack())[:20]
        except BaseException as error:
            said[name] = None
    Path("own").mkdir()
    Path("own/note.txt").write_text("x")
    for _ in range(2):  # is computed and kept in the own folder, then read there
        lib.second_moment(lm, [1])
    raise ValueError(json.dumps({name: told for name, told in said.items() if told}))

ATTACKS = {
    "test prompts": lambda: lib.classroom()[0].fact.subject,
    "test prompts by path": lambda: (Path(lib.__file__).parent / "data/classroom.json").read_text(),
    "solutions": lambda: Path(LESSON).read_text(),
    "hand-in": lambda: Path(HAND_IN).read_text(),
    "hand-in mapped": lambda: torch.from_file(HAND_IN, size=4, dtype=torch.uint8),
    "hand-in written": lambda: torch.from_file(HAND_IN, True, 4, dtype=torch.uint8).fill_(0),
    "home": lambda: os.listdir(os.path.dirname(HAND_IN)),
    "parent": lambda: Path(f"/proc/{os.getppid()}/cmdline").read_text(),
    "network": lambda: socket.create_connection(("127.0.0.1", PORT)),
    "fork": lambda: os.fork(),
    "program": lambda: subprocess.run(["/bin/true"]),
    "cache": lambda: (Path(MODEL) / "new").write_text("x"),
    "environment": lambda: os.environ["OF_THE_TEACHER"],
}
"""


@pytest.mark.slow
@on_landlock
def test_an_editor_of_the_leaderboard_reaches_neither_prompts_nor_hand_ins(
    tmp_path, target, monkeypatch
):
    monkeypatch.setenv("OF_THE_TEACHER", "x")
    out, known = target
    lm, folder = tiny.model("llama"), tmp_path / "model"
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    places = {"HAND_IN": str(out / "victim.txt"), "MODEL": str(folder), **known}
    text = "".join(f"{key} = {value!r}\n" for key, value in places.items()) + EDITOR
    before = state(out)
    with Entry("own.py", str(folder), 60.0, text=text, hidden=[out]) as entry:
        with pytest.raises(Failed) as failed:
            entry.edit([lib.Fact("Ada", "{} lives in", "Rome")])
        assert str(failed.value) == "ValueError: {}", entry._ended()
    assert state(out) == before
