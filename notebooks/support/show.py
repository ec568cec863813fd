"""The tables that a notebook shows beside the library's figures."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from IPython.display import HTML

TEXT = "text-align: left; vertical-align: top; white-space: normal; padding: 3px 14px 3px 0"
PICTURE = Path(__file__).parents[2] / "demo_app/html/memory.js"
MAP = PICTURE.parents[2] / "notebooks/reference/map.svg"
STILL = """<svg viewBox="-5 -95 260 115" width="260" role="img" aria-label="two keys and a share">
<g fill="none" stroke="#4b5865" stroke-width="2"><path stroke="#b34700" d="M0 0H150"/>
<path d="M0 0L105 -80"/><path stroke-dasharray="4 4" d="M105 -80V0"/></g>
<text x="156" y="5" fill="#b34700">edited key</text><text x="112" y="-78">another key</text>
<text x="98" y="16">ρ</text></svg><p>The picture "A layer is a memory" moves where the cell is run.</p>"""
AS_DRAWN = """<style>.memory-here.memory table{table-layout:auto;margin:0}
.memory-here.memory table tbody tr{background:none}.memory-here.memory h2{font-weight:700}
.memory-here.memory :is(th,td){text-align:left;max-width:none}</style>"""  # notebooks style tables
NUMBER = "text-align: right; vertical-align: top; padding: 3px 14px 3px 0"


class Table:
    """Rows (column -> text or number) as a table: text left and wrapped, numbers right.

    The numbers of a column have one format: none behind the point where the column's name says
    percent, otherwise as many decimals as its largest number needs.
    """

    def __init__(self, rows: Sequence[Mapping[str, object]]) -> None:
        self.rows = list(rows)
        self.digits = {c: decimals(c, [row[c] for row in self.rows]) for c in self.rows[0]}

    def _repr_html_(self) -> str:
        style = {c: NUMBER if isinstance(v, int | float) else TEXT for c, v in self.rows[0].items()}
        head = "".join(f'<th style="{style[c]}">{html.escape(c)}</th>' for c in style)
        lines = (
            "".join(f'<td style="{style[c]}">{html.escape(self.cell(row, c))}</td>' for c in style)
            for row in self.rows
        )
        body = "\n".join(f"<tr>{line}</tr>" for line in lines)
        return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"

    def __repr__(self) -> str:
        lines = [list(self.rows[0]), *([self.cell(row, c) for c in row] for row in self.rows)]
        return "\n".join(" | ".join(line) for line in lines)

    def cell(self, row: Mapping[str, object], column: str) -> str:
        """A value on one line: white space joined, numbers in the format of their column."""
        value = row[column]
        if isinstance(value, float):
            return f"{value:,.{self.digits[column]}f}"
        return " ".join(str(value).split())


def decimals(column: str, values: Sequence[object]) -> int:
    """How many digits behind the point the numbers of a column have."""
    if "%" in column:
        return 0
    sizes = [abs(v) for v in values if isinstance(v, float) and math.isfinite(v)]
    largest = max(sizes, default=0.0)
    return 3 if largest < 10 else 1 if largest < 100 else 0


def memory_picture() -> HTML:
    """The picture "A layer is a memory"; where no script runs, a still one in its place."""
    found = 'document.querySelectorAll(".memory-here:not(.memory)")'
    mount = f"for (const one of {found}) memoryPicture.mount(one);"
    script = PICTURE.read_text(encoding="utf-8")
    return HTML(
        f'{AS_DRAWN}<div class="memory-here">{STILL}</div>'
        f"<script>(() => {{\n{script}\n{mount}\n}})();</script>"
    )


def the_map() -> HTML:
    """The map of all editors, which `notebooks.editors_map` draws."""
    return HTML(MAP.read_text(encoding="utf-8"))
