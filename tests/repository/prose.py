"""How much a page of the course asks to be read: words, numbers, pictures, tables.

    python -m tests.repository.prose            all pages
    python -m tests.repository.prose 05 06      some of them

It reads the built notebooks as a reader sees them. Folded parts (answers to guesses, the setup
cell) are not counted, nor are code, formulas and the addresses of links.

    words      of the text
    numbers    written with digits in the text
    intervals  "12 to 30" in parentheses, or [12, 30], in the text
    in all     numbers in the text, in tables and in printed outputs
    ( )        parentheses in the text
    pictures   and tables, in the text and in outputs
    cells      of the notebook
    nothing    sentences such as "no difference is seen" that name no smallest difference

The limits are those of the course: a page is read to its end, and all of them together are a book
of 40,000 words.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)
UNSEEN = (
    (re.compile(r"<!--.*?-->", re.DOTALL), " "),
    (re.compile(r"```.*?```", re.DOTALL), " "),
    (re.compile(r"`[^`]*`"), " "),
    (re.compile(r"\$\$.*?\$\$", re.DOTALL), " "),
    (re.compile(r"\$[^$]*\$"), " "),
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), " "),
    (re.compile(r"\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"<[^>]+>"), " "),
)
ROW = re.compile(r"^\s*\|.*\|\s*$", re.MULTILINE)
REFERENCES = re.compile(r"^## References$.*", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*")
PAGE = re.compile(
    r"\b(?:notebooks?|pages?|sessions?|exercises?|layers?)\s+\d[\d.]*(?:(?:,| and| to)\s+\d[\d.]*)*"
)
INTERVAL = re.compile(
    r"\([−-]?\d[\d.,]*\s*%?\s*to\s*[−-]?\d[\d.,]*\s*%?\)|\[[−-]?\d[\d.,]*,\s*[−-]?\d[\d.,]*\]"
)
NOTHING = re.compile(
    r"no (?:clear )?difference|not (?:seen|shown) to|is not shown|nothing that (?:can be|is) seen",
    re.IGNORECASE,
)
SMALLEST = re.compile(r"smallest|at least|less than|more than|up to|within")


class Prose(NamedTuple):
    """What one page has."""

    words: int
    numbers: int
    intervals: int
    everywhere: int
    parentheses: int
    pictures: int
    tables: int
    cells: int
    nothing: int


NAMES = ("words", "numbers", "intervals", "in all", "( )", "pictures", "tables", "cells", "nothing")
LIMITS = Prose(2_200, 60, 8, 250, 15, 4, 3, 32, 0)  # pictures: at least so many
COURSE = {"words": 40_000, "numbers": 1_100}


def measured(notebook: dict) -> Prose:
    """Count a page, given as the JSON of its file."""
    cells = [cell for cell in notebook["cells"] if not _folded(cell)]
    texts = [_seen(_text(cell["source"])) for cell in cells if cell["cell_type"] == "markdown"]
    rows = [ROW.findall(text) for text in texts]
    prose = [ROW.sub(" ", text) for text in texts]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    printed = [text for output in outputs for text in _printed(output)]
    text = "\n".join(prose)
    counted = PAGE.sub(" ", text)
    numbers = len(NUMBER.findall(counted))
    return Prose(
        words=len(re.findall(r"\w[\w'’-]*", text)),
        numbers=numbers,
        intervals=len(INTERVAL.findall(text)),
        everywhere=numbers
        + sum(len(NUMBER.findall(row)) for found in rows for row in found)
        + sum(len(NUMBER.findall(part)) for part in printed),
        parentheses=text.count("("),
        pictures=sum(_picture(output) for output in outputs)
        + sum(
            _text(cell["source"]).count("![") for cell in cells if cell["cell_type"] == "markdown"
        ),
        tables=sum(_tables(text) for text in texts) + sum("<table" in part for part in printed),
        cells=len(notebook["cells"]),
        nothing=sum(
            bool(NOTHING.search(sentence)) and not SMALLEST.search(sentence)
            for sentence in re.split(r"(?<=[.:;])\s", text)
        ),
    )


def _text(source: str | Sequence[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def _folded(cell: dict) -> bool:
    return "setup" in cell.get("metadata", {}).get("tags", ())


def _seen(text: str) -> str:
    text = REFERENCES.sub(" ", FOLDED.sub(" ", text))
    for pattern, instead in UNSEEN:
        text = pattern.sub(instead, text)
    return text


def _tables(text: str) -> int:
    return len(re.findall(r"(?:^\s*\|.*\|\s*\n?)+", text, re.MULTILINE))


def _picture(output: dict) -> bool:
    data = output.get("data", {})
    return any(kind.startswith("image/") for kind in data) or "<svg" in _text(
        data.get("text/html", "")
    )


def _printed(output: dict) -> Iterator[str]:
    """What an output shows in letters; of one with a picture or HTML not its plain form as well."""
    if "text" in output:
        yield _text(output["text"])
        return
    data = output.get("data", {})
    if "text/html" in data:
        html = _text(data["text/html"])
        html = re.sub(r"<(svg|style|script)\b.*?</\1>", " ", html, flags=re.DOTALL)
        yield ("<table " if "<table" in html else "") + re.sub(r"<[^>]+>", " ", html)
    elif "text/markdown" in data:
        yield _text(data["text/markdown"])
    elif not any(kind.startswith("image/") for kind in data):
        yield _text(data.get("text/plain", ""))


def pages(names: Sequence[str] = ()) -> list[Path]:
    """The built pages whose names begin with one of `names`, or all of them."""
    return [
        path
        for path in sorted(NOTEBOOKS.glob("[0-9][0-9]*_*.ipynb"))
        if not names or path.name.startswith(tuple(names))
    ]


def above(found: Prose) -> list[str]:
    """The names of what a page has too much of, or of pictures too few."""
    most = {name: limit for name, limit in zip(NAMES, LIMITS, strict=True) if name != "pictures"}
    over = [name for name, value in zip(NAMES, found, strict=True) if value > most.get(name, value)]
    return over + ["pictures"] * (found.pictures < LIMITS.pictures)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; a star marks what is beyond its limit."""
    parser = argparse.ArgumentParser(prog="python -m tests.repository.prose")
    parser.add_argument("pages", nargs="*", help="their numbers; default: all")
    given = parser.parse_args(arguments)
    print(f"{'':24}" + "".join(f"{name:>11}" for name in NAMES))
    total = [0] * len(NAMES)
    for path in pages(given.pages):
        found = measured(json.loads(path.read_text(encoding="utf-8")))
        beyond = above(found)
        marked = (
            f"{value}{'*' if name in beyond else ' '}"
            for name, value in zip(NAMES, found, strict=True)
        )
        print(f"{path.stem:24}" + "".join(f"{one:>11}" for one in marked))
        total = [a + b for a, b in zip(total, found, strict=True)]
    print(f"{'all':24}" + "".join(f"{value} ".rjust(11) for value in total))
    print(
        f"{'at most (pictures: at least)':24}" + "".join(f"{value} ".rjust(11) for value in LIMITS)
    )


if __name__ == "__main__":
    main()
