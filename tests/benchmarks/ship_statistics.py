"""Make the statistics of the packaged models that come with the library.

    python -m tests.benchmarks.ship_statistics [MODEL …]

They are the small ones that take long: what UltraEdit starts from, the anchors of norms, what
MEMOIR reads, and what HoReN's threshold is taken from, for the packaged models as `lib.load` gives
them. HoReN's are shipped for the default model only, because a model's take 3 MB. Each is made in
an empty cache folder and put where `lib.computed_once` looks first. If no model is named, files
that no editor reads any more are removed.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

import lib
from lib.computed_once import SHIPPED, make_missing
from lib.model.packaged_models import DEFAULT, PACKAGED
from tests.benchmarks import command

EDITORS = ("ultraedit", "norm_anchor", "memoir")
DEFAULTS = (*EDITORS, "horen")  # of the default model


def main() -> None:
    names = sys.argv[1:] or sorted(PACKAGED)
    models = [lib.load(name, dtype="float32") for name in names]
    if not sys.argv[1:]:
        for folder in SHIPPED.glob("*"):
            shutil.rmtree(folder)
    with tempfile.TemporaryDirectory() as empty:
        os.environ["XDG_CACHE_HOME"] = empty
        for lm in models:
            default = lm.name.split()[0] == DEFAULT.name
            for editor in DEFAULTS if default else EDITORS:
                forms = [lib.EDITORS[editor](lm, preset=name) for name in (None, "ours")]
                found = [one for form in forms for one in form.statistics()]
                wanted = [one for one in dict.fromkeys(found) if one.kind != "moments"]
                make_missing(wanted)
                for one in wanted:
                    there = SHIPPED / one.kind / one.path.name
                    there.parent.mkdir(parents=True, exist_ok=True)
                    if one.path != there:
                        shutil.copyfile(one.path, there)
                    print(f"{lm.name}, {editor}: {one.kind}/{there.name}", flush=True)


if __name__ == "__main__":
    command(main)
