"""Which editor when: eight lines that stand on page 14 and in the README, from the stored streams.

    python -m notebooks.support.which_editor    writes them, and page 14's picture, for the README

The numbers are read from the stored rows of page 14, and the picture is the one of its output.
"""

from __future__ import annotations

import base64
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import five_streams, stored_runs

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "notebooks" / "quality_and_damage.png"
HEADING = "## Which editor when"
ADVICE = (  # what you need, what to take and why; {editor: column} is a share with its interval
    "**A note before the prompt is allowed**: `retrieval`. It keeps {retrieval: neighbors} of the neighbors and follows "
    "{retrieval: reworded} of the rewordings, and no weight changes.",
    "**One fact, in the weights**: `rome`, and no stream of them. After 24 edits its published form holds "
    "{ROME, published: held} and leaves {ROME, published: unrelated} of unrelated texts as they were.",
    "**Many facts in the weights, in batches**: `memit` with `keep_keys`. It follows {MEMIT: reworded} of the rewordings "
    "and keeps {MEMIT: neighbors} of the neighbors.",
    "**Many facts in the weights, and unrelated text must not move**: `ultraedit`. It leaves "
    "{UltraEdit: unrelated} of unrelated texts as they were, but follows only {UltraEdit: reworded} of the rewordings.",
    "**The weights must not change, and only the exact prompt should**: `grace`. It holds {GRACE: held}, keeps "
    "{GRACE: neighbors} of the neighbors and follows {GRACE: reworded} of the rewordings.",
    "**The weights must not change, and rewordings should follow**: `memoir`. It follows {MEMOIR: reworded} of the "
    "rewordings and keeps {MEMOIR: neighbors} of the neighbors; `wise` follows {WISE: reworded} and keeps {WISE: neighbors}.",
    "**You have time to train a network and many similar edits**: `mend` for one edit, `malmen` for one batch, and "
    "neither for a stream: after 24 edits they hold {MEND: held} and {MALMEN: held}.",
    "**You want a baseline**: `ft_m`. It holds {FT-M: held} and follows {FT-M: reworded} of the rewordings, and keeps "
    "{FT-M: neighbors} of the neighbors.",
)


class Lines(list):
    """Lines that a notebook shows as a list in Markdown."""

    def _repr_markdown_(self) -> str:
        return "\n".join(f"* {line}" for line in self)

    def __repr__(self) -> str:
        return self._repr_markdown_()


def lines(rows: Sequence[Mapping[str, Any]]) -> Lines:
    """The eight lines, of the rows of five streams, which every editor in them has run."""

    def filled(field: re.Match[str]) -> str:
        return share(rows, *field.groups())

    return Lines(re.sub(r"\{([^:}]+): (\w+)\}", filled, line) for line in ADVICE)


def share(rows: Sequence[Mapping[str, Any]], name: str, column: str) -> str:
    """ "53 % [42, 64]": the mean share over five streams, with its interval."""
    streams = five_streams.by_stream(rows, column)[name]
    low, high = (100 * end for end in five_streams.interval(streams))
    return f"{100 * np.mean([np.mean(one) for one in streams]):.0f} % [{low:.0f}, {high:.0f}]"


def stored() -> list[str]:
    """The eight lines of the stored rows."""
    names = five_streams.NAME, "14_orders_more"
    runs = (stored_runs.read(stored_runs.DATA / f"{name}.json") for name in names)
    return lines([row for run in runs for row in run["rows"]])


def picture() -> bytes:
    """The picture of quality against damage, as page 14 has it."""
    book = json.loads((ROOT / "notebooks" / "14_lifelong.ipynb").read_text(encoding="utf-8"))
    for cell in book["cells"]:
        if "drawings_14.quality_and_damage(" in "".join(cell["source"]):
            return base64.b64decode(cell["outputs"][0]["data"]["image/png"])
    raise LookupError("14_lifelong.ipynb shows no picture of quality and damage")


def in_readme(text: str) -> list[str]:
    """The lines under the heading, each on one line."""
    part = text.split(f"{HEADING}\n", 1)[1].split("\n## ", 1)[0]
    return [" ".join(one.split()) for one in re.findall(r"^\* (.*(?:\n  .*)*)", part, re.M)]


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(f"{HEADING}\n", 1)
    intro, old = rest.split("\n* ", 1)
    after = re.sub(r"\A(?:.*\n(?:  .*\n)*)(?:\* .*\n(?:  .*\n)*)*", "", old)
    bullets = (textwrap.fill(f"* {line}", 120, subsequent_indent="  ", break_on_hyphens=False)
               for line in stored())  # fmt: skip
    text = f"{before}{HEADING}\n{intro}\n" + "\n".join(bullets) + f"\n{after}"
    readme.write_text(text, encoding="utf-8")
    PICTURE.write_bytes(picture())


if __name__ == "__main__":
    main()
