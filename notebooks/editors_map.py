"""The map of all editors: `python -m notebooks.editors_map` writes it from editors_map.toml.

notebooks/reference/map.svg   the picture: which symbol of one formula each editor fills differently
notebooks/reference/map.md    the same as tables, with links to page, scratch file and library file
README.md                     the editors of each family, as links to their files

The picture is written as SVG by hand and not drawn by matplotlib, because it is rows of text: a
browser sets them in its own letters, and a screen reader reads them.
"""

from __future__ import annotations

import re
import sys
import tomllib
from html import escape
from pathlib import Path
from typing import Any

import lib

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "notebooks/reference/map.svg"
TABLE = ROOT / "notebooks/reference/map.md"
README = ROOT / "README.md"
MARKS = "<!-- editors -->\n", "<!-- end of editors -->"
INK, FAINT = "#16202e", "#8a93a1"
HUES = "#9b1fa0", "#1f5fa8", "#8a6a00"  # one for each column, and for its symbol in the formula
WIDTH, ROW, LEFT = 930, 27, (16, 140, 404, 652)  # of a row, and where its four columns begin

Group = dict[str, Any]


def read() -> dict[str, Any]:
    """The file as it is written."""
    return tomllib.loads((ROOT / "notebooks/editors_map.toml").read_text(encoding="utf-8"))


def groups() -> list[Group]:
    """The groups of the file, with every empty cell of an editor filled by the first one of its group.

    Each editor gets `own`, whether a cell is its own. ValueError where an editor of the library
    does not stand in exactly one group.
    """
    found = read()["group"]
    named = [editor["name"] for group in found for editor in group["editor"]]
    if sorted(named) != sorted(lib.EDITORS):
        differ = set(named) ^ set(lib.EDITORS) or {n for n in named if named.count(n) > 1}
        raise ValueError(f"editors_map.toml and the library differ in {', '.join(sorted(differ))}")
    for group in found:
        first = group["editor"][0]
        for editor in group["editor"]:
            kind = lib.EDITORS[editor["name"]]
            editor["title"] = kind.title
            editor["file"] = f"{kind.__module__.replace('.', '/')}.py"
            editor["paper"] = cited(kind.paper)
            editor["own"] = [bool(cell) for cell in editor["cells"]]
            pairs = zip(editor["cells"], first["cells"], strict=True)
            editor["cells"] = [cell or given for cell, given in pairs]
            editor["stored"] = editor.get("stored") or first.get("stored") or group["stored"]
            editor["cost"] = editor.get("cost") or first["cost"]
    return found


def table(of: list[Group]) -> str:
    """The page of the reference."""
    count = sum(len(group["editor"]) for group in of)
    parts = [
        f"# The map: {count} editors in three groups\n\n"
        "An MLP's output matrix W is a memory: given a key k, it returns a value W k. An editor changes the matrix "
        "or adds a memory next to it. Each row of the picture is an editor. If a cell is pale, the editor does the "
        "same there as the first editor of its group; the dark cells show its own ideas.\n\n"
        "![Each editor as the symbols of one formula](map.svg)\n",
        f"## By family\n\n{families(of)}",
    ]
    for group in of:
        head = ["editor", *group["columns"], "storage", "cost of an edit", "page"]
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


def cited(paper: str) -> str:
    """Who wrote a paper, and when, as a link where its number is known.

    "Hu et al., WilKE, 2024 (arXiv:2402.10987)" -> "[Hu et al. 2024](https://arxiv.org/…)"
    """
    found = re.fullmatch(r"(.*)\b(\d{4})(?: \(arXiv:([\d.]+)\))?", paper)
    if found is None:
        raise ValueError(f"a paper should end with its year, not '{paper}'")
    said = f"{found[1].split(',')[0].strip()} {found[2]}"
    return f"[{said}](https://arxiv.org/abs/{found[3]})" if found[3] else said


def families(of: list[Group]) -> str:
    """The idea, the notebook, and the paper of every editor, by family."""
    rows = ["| editor | idea | notebook, paper |", "| --- | --- | --- |"]
    for family, some in by_family(of).items():
        rows.append(f"| **{family}** | | |")
        for editor in some:
            page = f"[{editor['page'].split('_')[0]}](../{editor['page']}.ipynb)"
            name = f"[`{editor['name']}`](../../{editor['file']})"
            rows.append(f"| {name} | {editor['idea']} | {page}, {editor['paper']} |")
    return "\n".join(rows) + "\n"


def by_family(of: list[Group]) -> dict[str, list[Group]]:
    """{family: its editors}. ValueError unless every editor has exactly one family."""
    editors = {editor["name"]: editor for group in of for editor in group["editor"]}
    named = read()["families"]
    if sorted(sum(named.values(), [])) != sorted(editors):
        raise ValueError("the families of editors_map.toml should have every editor once")
    return {family: [editors[name] for name in names] for family, names in named.items()}


def short(of: list[Group]) -> str:
    """README's table: the editors of each family, as links to their files."""
    rows = ["| family | editors |", "| --- | --- |"]
    for family, some in by_family(of).items():
        links = ", ".join(f"[`{editor['name']}`]({editor['file']})" for editor in some)
        rows.append(f"| {family} | {links} |")
    return "\n".join(rows) + "\n"


def in_readme(text: str, rows: str) -> str:
    """README with these rows between its two marks."""
    before, rest = text.split(MARKS[0], 1)
    return f"{before}{MARKS[0]}{rows}{MARKS[1]}{rest.split(MARKS[1], 1)[1]}"


def picture(of: list[Group]) -> str:
    """The same as an SVG."""
    body, y = [], 10

    def text(x: int, words: str, size: int = 16, fill: str = INK, more: str = "") -> None:
        body.append(
            f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}"{more}>{escape(words)}</text>'
        )

    for group in of:
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
    label = "Each editor as its substitutes for the symbols of one formula"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 12}" role="img" '
        f'aria-label="{label}" font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif">\n'
        f'<rect width="{WIDTH}" height="{y + 12}" fill="#ffffff"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def main() -> int:
    """Write the three, and say where they are."""
    of = groups()
    TABLE.write_text(table(of), encoding="utf-8")
    PICTURE.write_text(picture(of), encoding="utf-8")
    readme = README.read_text(encoding="utf-8")
    README.write_text(in_readme(readme, short(of)), encoding="utf-8")
    print(", ".join(str(path.relative_to(ROOT)) for path in (PICTURE, TABLE, README)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
