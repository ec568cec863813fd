"""Runs scripts in forks of one process that has imported what all of them import.

Each script still runs as `__main__` in a process, a folder and a cache of its own; only the seconds
that torch, transformers and matplotlib take to be imported are spent once and not per script.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = 120  # seconds
SERVER = """
import json, os, runpy, signal, sys, traceback
import matplotlib.pyplot
import lib.workbench.plot
from notebooks.support import models, show, stored_runs

for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(job["longest"])  # ends the process
            for stream, name in ((1, "out"), (2, "err")):
                file = os.open(os.path.join(job["folder"], name), os.O_CREAT | os.O_WRONLY)
                os.dup2(file, stream)
            os.chdir(job["folder"])
            os.environ.update(job["env"])
            sys.argv, sys.path[0] = [job["script"]], os.path.dirname(job["script"])
            runpy.run_path(job["script"], run_name="__main__")
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Scripts:
    """The process that forks; `run` is `subprocess.run` for a script."""

    def __init__(self, cache: Path):
        env = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cache)}
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, script: Path, folder: Path, **env: str) -> subprocess.CompletedProcess:
        """The script's exit code (negative: the signal that ended it) and what it printed."""
        job = {"script": str(script), "folder": str(folder), "env": env, "longest": LONGEST}
        print(json.dumps(job), file=self.server.stdin, flush=True)
        code = int(self.server.stdout.readline())
        out, err = ((folder / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return subprocess.CompletedProcess(str(script), code, out, err)

    def close(self) -> None:
        self.server.stdin.close()
        self.server.wait(30)
        self.server.stdout.close()
