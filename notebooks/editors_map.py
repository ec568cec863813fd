"""The map of all editors: `python -m notebooks.editors_map` writes it from editors_map.toml.

notebooks/reference/map.svg   the picture: which symbol of one formula each editor fills differently
notebooks/reference/map.md    the same as tables, with links to page, scratch file and library file

The picture is written as SVG by hand and not drawn by matplotlib, because it is rows of text: a
browser sets them in its own letters, and a screen reader reads them.
"""

from __future__ import annotations

import sys
import tomllib
from html import escape
from pathlib import Path
from typing import Any

import lib

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "notebooks/reference/map.svg"
TABLE = ROOT / "notebooks/reference/map.md"
INK, FAINT = "#16202e", "#8a93a1"
HUES = "#9b1fa0", "#1f5fa8", "#8a6a00"  # one for each column, and for its symbol in the formula
WIDTH, ROW, LEFT = 930, 27, (16, 140, 404, 652)  # of a row, and where its four columns begin

Group = dict[str, Any]


def groups() -> list[Group]:
    """The file, with every empty cell of an editor filled by the first one of its group.

    Each editor gets `own`, whether a cell is its own. ValueError where an editor of the library
    does not stand in exactly one group.
    """
    read = tomllib.loads((ROOT / "notebooks/editors_map.toml").read_text(encoding="utf-8"))["group"]
    named = [editor["name"] for group in read for editor in group["editor"]]
    if sorted(named) != sorted(lib.EDITORS):
        differ = set(named) ^ set(lib.EDITORS) or {n for n in named if named.count(n) > 1}
        raise ValueError(f"editors_map.toml and the library differ in {', '.join(sorted(differ))}")
    for group in read:
        first = group["editor"][0]
        for editor in group["editor"]:
            kind = lib.EDITORS[editor["name"]]
            editor["title"] = kind.title
            editor["file"] = f"{kind.__module__.replace('.', '/')}.py"
            editor["own"] = [bool(cell) for cell in editor["cells"]]
            pairs = zip(editor["cells"], first["cells"], strict=True)
            editor["cells"] = [cell or given for cell, given in pairs]
            editor["stored"] = editor.get("stored") or first.get("stored") or group["stored"]
            editor["cost"] = editor.get("cost") or first["cost"]
    return read


def table(read: list[Group]) -> str:
    """The page of the reference."""
    count = sum(len(group["editor"]) for group in read)
    parts = [
        f"# The map: {count} editors in three groups\n\n"
        "An MLP's output matrix W is a memory: it answers a key k with a value W k. An editor changes the matrix, or "
        "stands beside it. In the picture each row is an editor, and a pale cell is what the first editor of its "
        "group does there, so what is dark is an editor's own idea.\n\n![Each editor as the symbols of one formula]"
        "(map.svg)\n"
    ]
    for group in read:
        head = ["editor", *group["columns"], "where it is stored", "what an edit costs", "page"]
        rows = [head, ["---"] * len(head)]
        for editor in group["editor"]:
            page = f"[{editor['page'].split('_')[0]}](../{editor['page']}.ipynb)"
            if scratch := editor.get("scratch"):
                page += f", [from scratch](../scratch/{scratch}.py)"
            name = f"[`{editor['name']}`](../../{editor['file']})"
            rows.append([name, *editor["cells"], editor["stored"], editor["cost"], page])
        lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        parts.append(f"## {group['title']}\n\n`{group['formula']}`\n\n{lines}\n")
    return "\n".join(parts)


def picture(read: list[Group]) -> str:
    """The same as an SVG."""
    body, y = [], 10

    def text(x: int, words: str, size: int = 16, fill: str = INK, more: str = "") -> None:
        body.append(
            f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}"{more}>{escape(words)}</text>'
        )

    for group in read:
        y += 34
        text(LEFT[0], group["title"], 20, more=' font-weight="600"')
        y += 40
        formula = escape(group["formula"])
        for symbol, hue in zip(group.get("symbols", ()), HUES, strict=False):
            mark = f'<tspan fill="{hue}">{escape(symbol)}</tspan>'
            formula = formula.replace(escape(symbol), mark, 1)
        body.append(f'<text x="{LEFT[1]}" y="{y}" font-size="25" fill="{INK}">{formula}</text>')
        y += 32
        for x, column, hue in zip(LEFT[1:], group["columns"], HUES, strict=True):
            text(x, column, 15, hue, ' font-weight="600"')
        for n, editor in enumerate(group["editor"]):
            y += ROW
            if n % 2 == 0:
                body.append(
                    f'<rect x="8" y="{y - 19}" width="{WIDTH - 16}" height="{ROW}" fill="#f3f5f8"/>'
                )
            text(LEFT[0], editor["title"].split(" (")[0], 16, INK, ' font-weight="600"')
            for x, cell, own, hue in zip(
                LEFT[1:], editor["cells"], editor["own"], HUES, strict=True
            ):
                text(x, cell, 15, hue if own else FAINT)
        y += 14
    label = "Each editor as what it puts in the place of the symbols of one formula"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 12}" role="img" '
        f'aria-label="{label}" font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif">\n'
        f'<rect width="{WIDTH}" height="{y + 12}" fill="#ffffff"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def main() -> int:
    """Write both files, and say where they are."""
    read = groups()
    TABLE.write_text(table(read), encoding="utf-8")
    PICTURE.write_text(picture(read), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)}, {TABLE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
