"""What Unix alone has is used where it is there: without it the library edits, and saves its work.

Other systems are not at hand, so modules and functions that Windows lacks are hidden here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HIDDEN = """
import builtins, os, signal, socket, sys, warnings

OURS = ("lib", "lessons", "notebooks", "demo_app")
UNIX = ("resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline")
plain = builtins.__import__

def imported(name, globals=None, *more, **rest):
    importer = (globals or {}).get("__name__", "").split(".")[0]
    if name == "fcntl" or name in UNIX and importer in OURS:  # psutil takes this for Linux
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)
    return plain(name, globals, *more, **rest)

builtins.__import__ = imported
warnings.simplefilter("ignore")  # filelock says that it has a slower way
import lib
import lib.workbench, lessons.grader, lessons.leaderboard, notebooks.support.holes, demo_app.app
from tests.support import tiny
lm = tiny.model("llama")  # what others import late, they do here
for name in "fork sysconf killpg setsid getuid sched_getaffinity mkfifo WNOHANG".split():
    delattr(os, name)
for name in "SIGALRM SIGKILL SIGSTOP SIGCONT SIGXCPU alarm setitimer".split():
    delattr(signal, name)
for name in "AF_UNIX send_fds recv_fds".split():
    delattr(socket, name)
"""
LIBRARY = """
from pathlib import Path
from tests.support.cases import small_cases

folder, cases = Path(sys.argv[1]), small_cases()
editor = lib.EDITORS["ft_m"](lm, layer=1, epochs=1)
patch = editor.edit([cases[0].fact])
patch.save(folder / "one.safetensors")
patch.save(folder / "one.safetensors")
assert lib.Patch.load(folder / "one.safetensors").log == patch.log
run = lib.stream(lm, editor, cases[:2], journal=folder / "run").finish()
assert run.edits == 2 and run.json()["peak_memory_bytes"] is None
again = lib.stream(lm, editor, cases[:2], journal=folder / "run")
assert again.edits == 2
lib.workbench.export_peft(lm, patch, folder / "adapter")
"""
LESSONS = """
from lessons import grader, leaderboard

for words in (["start", "2.1", "--my", "my"], ["solution", "2.1"]):
    assert grader.main(words) == 0
sys.stdout.flush()
for words in (["check", "2.1", "--my", "my"], ["class", ".", "2", "--out", "../report"]):
    assert grader.main(words) == 2
assert leaderboard.main(["my/l2_1_insert.py"]) == 2
from notebooks.support.holes import use
from lessons.l2_1_insert import insert
use("2.1", insert)
"""


def run(script: str, folder: Path) -> subprocess.CompletedProcess:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-c", HIDDEN + script, str(folder)],
        cwd=folder,
        env={**env, "PYTHONPATH": path, "MY_EXERCISES": str(folder / "my")},
        capture_output=True,
        text=True,
    )


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="hides what this system lacks")


@pytest.mark.slow
def test_the_library_edits_saves_and_streams_without_what_unix_alone_has(tmp_path):
    done = run(LIBRARY, tmp_path)
    assert done.returncode == 0, done.stderr
    assert not [path for path in tmp_path.rglob("*.tmp")]


@pytest.mark.slow
def test_the_grader_says_that_it_runs_no_file_here_and_hands_out_exercises(tmp_path):
    done = run(LESSONS, tmp_path)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 3 and len(set(said)) == 1, done.stderr
    assert "on this system no student's file is run" in said[0] and "WSL" in said[0]
    assert (tmp_path / "my" / "l2_1_insert.py").is_file() and "2.1 ✓" in done.stdout
