"""Which editor when: eight lines that stand on page 14 and in the README, from the stored streams.

    python -m notebooks.support.which_editor    writes them into the README

The numbers are read from the stored rows of page 14.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import five_streams, stored_runs

ROOT = Path(__file__).resolve().parents[2]
HEADING = "## Which editor when"
ADVICE = (  # what you need, what to take and what it gives; {editor: column} is a share
    "**A note before the prompt is allowed**: `retrieval` keeps {retrieval: neighbors} of the neighbors and follows "
    "{retrieval: reworded} of the rewordings.",
    "**One fact in the weights**: `rome`. In a stream its published form leaves only {ROME, published: unrelated} of "
    "unrelated texts as they were.",
    "**Many facts in the weights**: `memit` with `keep_keys` follows {MEMIT: reworded} of the rewordings and keeps "
    "{MEMIT: neighbors} of the neighbors.",
    "**Unrelated text must not move**: `ultraedit` leaves {UltraEdit: unrelated} of it as it was and follows only "
    "{UltraEdit: reworded} of the rewordings.",
    "**The weights stay and only the exact prompt changes**: `grace` holds {GRACE: held} and keeps {GRACE: neighbors} "
    "of the neighbors.",
    "**The weights stay and rewordings follow**: `memoir` follows {MEMOIR: reworded} of them and keeps "
    "{MEMOIR: neighbors} of the neighbors.",
    "**A network may be trained**: `mend` for one edit, `malmen` for a batch. After a stream they hold {MEND: held} "
    "and {MALMEN: held}.",
    "**A baseline**: `ft_m` holds {FT-M: held}, follows {FT-M: reworded} of the rewordings and keeps "
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
    """ "53 %": the mean share over five streams."""
    streams = five_streams.by_stream(rows, column)[name]
    return f"{100 * np.mean([np.mean(one) for one in streams]):.0f} %"


def stored() -> list[str]:
    """The eight lines of the stored rows."""
    names = five_streams.NAME, "14_orders_more"
    runs = (stored_runs.read(stored_runs.DATA / f"{name}.json") for name in names)
    return lines([row for run in runs for row in run["rows"]])


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


if __name__ == "__main__":
    main()
