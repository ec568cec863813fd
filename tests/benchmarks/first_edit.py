"""Processor seconds of the first edit with each editor, when no statistics are cached.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.first_edit [--editors rome grace …]

Each editor has its own process, whose cache folder holds the default model and nothing else. It
edits one classroom fact ("first"), and then another one ("later"). Seconds are those of the
process, so that other work on the machine counts little. "missing" are the kinds of statistics that
the first edit has to make, and "said" are the warnings that tell how long a stage takes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import lib
from lib.atomic_files import whole_file
from lib.errors import SlowWarning
from tests.benchmarks import command, measured
from tests.benchmarks.edit_speed import only_models
from tests.benchmarks.rows import classroom

OUT = Path(__file__).with_suffix(".json")


def row(name: str) -> dict[str, Any]:
    """What the first two edits of this process cost."""
    first, later = (case.fact for case in classroom("tuning")[:2])
    start = time.process_time()
    lm = lib.load()
    editor, loaded = lib.EDITORS[name](lm, preset="ours"), time.process_time()
    missing = {one.kind for one in editor.statistics() if not one.is_there()}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        editor.edit([first])
        done = time.process_time()
        said = [str(one.message) for one in told if one.category is SlowWarning]
        lib.EDITORS[name](lm, preset="ours").edit([later])
    seconds = {"load": loaded - start, "first": done - loaded, "later": time.process_time() - done}
    return {
        **{key: round(value, 1) for key, value in seconds.items()},
        "missing": ", ".join(sorted(missing)) or "–",
        "said": said,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--editors", nargs="+", choices=sorted(lib.EDITORS), default=None)
    parser.add_argument("--one", choices=sorted(lib.EDITORS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return print(json.dumps(row(given.one)))
    found = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    for name in given.editors or sorted(lib.EDITORS):
        with tempfile.TemporaryDirectory() as folder:
            only_models(Path(folder))
            line = [sys.executable, "-m", "tests.benchmarks.first_edit", "--one", name]
            env = {**os.environ, "XDG_CACHE_HOME": folder}
            done = subprocess.run(line, env=env, check=True, stdout=subprocess.PIPE, text=True)
        found[name] = json.loads(done.stdout)
        print(name, found[name], flush=True)
        with whole_file(OUT) as part:
            part.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
    measured.record(OUT, {"threads": os.environ.get("OMP_NUM_THREADS")})


if __name__ == "__main__":
    command(main)
