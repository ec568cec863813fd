"""Make the statistics of the packaged models that come with the library.

    python -m tests.benchmarks.ship_statistics

They are the small ones that take long: what UltraEdit starts from, the anchors of norms, and what
MEMOIR reads, for the two packaged models as `lib.load` gives them.
Each is made in an empty cache folder and put where `lib.computed_once` looks first.
"""

from __future__ import annotations

import os
import shutil
import tempfile

import lib
from lib.computed_once import SHIPPED, make_missing
from tests.benchmarks import command

MODELS = ("smollm2-135m-instruct", "gemma-3-270m")
EDITORS = ("ultraedit", "norm_anchor", "memoir")


def main() -> None:
    models = [lib.load(name, dtype="float32") for name in MODELS]
    for folder in SHIPPED.glob("*"):
        shutil.rmtree(folder)
    with tempfile.TemporaryDirectory() as empty:
        os.environ["XDG_CACHE_HOME"] = empty
        for lm in models:
            for editor in EDITORS:
                found = lib.EDITORS[editor](lm).statistics()
                wanted = [one for one in found if one.kind != "moments"]
                make_missing(wanted)
                for one in wanted:
                    there = SHIPPED / one.kind / one.path.name
                    there.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(one.path, there)
                    print(f"{lm.name}, {editor}: {one.kind}/{there.name}", flush=True)


if __name__ == "__main__":
    command(main)
