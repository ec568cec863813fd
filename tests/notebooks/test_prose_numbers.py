"""Every number with a unit in a notebook's prose is printed by a cell of the same notebook.

A number counts as printed where the text of an output, rounded as the prose rounds it, shows it;
a share of .67 is 67 %. What cannot be printed is listed below, each with its reason: numbers of a
paper, sizes that follow from the question, definitions.
"""

from __future__ import annotations

import html
import json
import re
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

BUILT = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9]*.ipynb"))
UNITS = (
    "%|percent|points?|nats?|bits?|seconds?|s|ms|minutes?|min|hours?|[kMGT]i?B|TFLOPs?|GFLOPs?|"
    "×|times|tokens|facts|neighbors|prompts|edits|dimensions"
)
NUMBER = re.compile(rf"(?<![\w.,/^{{\\-])(\d{{1,3}}(?:,\d{{3}})+|\d*\.?\d+)\s?({UNITS})(?!\w)")
PRINTED = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?|\.\d+")

# what the prose says and no cell prints: words of the notebook, and why
ELSEWHERE: dict[str, dict[str, str]] = {
    "10_ultraedit": {
        "an efficacy of 84% with lifelong moments": "Gu et al. 2025, the ablation",
    },
}


def prose(cell) -> str:
    """The words of a cell, without code, formulas, marks, and the minutes of an exercise."""
    text = "".join(cell["source"])
    for pattern in (r"```.*?```", r"`[^`]*`", r"\$\$.*?\$\$", r"\$[^$]*\$"):
        text = re.sub(pattern, " … ", text, flags=re.S)
    text = re.sub(r"<[^>]+>|[*_]|★ · \d+ minutes", "", text)
    return " ".join(text.split())


def printed(notebook) -> set[Decimal]:
    """The numbers in the text of all outputs, and in the code of the cells."""
    found = set()
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        texts = ["".join(cell["source"])]
        for output in cell["outputs"]:
            texts.append("".join(output.get("text", "")))
            for kind, data in output.get("data", {}).items():
                if kind.startswith("text/") or "svg" in kind:
                    texts.append(re.sub(r"<[^>]+>", " ", html.unescape("".join(data))))
        for text in texts:
            found |= {Decimal(one.replace(",", "")) for one in PRINTED.findall(text)}
    return found


def rounded(value: Decimal, like: Decimal) -> set[Decimal]:
    """A value with as many decimals as another number, with either rule for halves."""
    return {value.quantize(like, rounding) for rounding in (ROUND_HALF_EVEN, ROUND_HALF_UP)}


def missing(notebook, elsewhere=()) -> list[str]:
    """The numbers that no output shows, each with the words around it."""
    known, found = printed(notebook), []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        text = prose(cell)
        for one in NUMBER.finditer(text):
            number = Decimal(one[1].replace(",", ""))
            scales = (1, 100) if one[2] in ("%", "percent", "points", "point") else (1,)
            if any(number in rounded(value * by, number) for value in known for by in scales):
                continue
            words = text[max(0, one.start() - 60) : one.end() + 40]
            if not any(allowed in words for allowed in elsewhere):
                found.append(f"{one[0]!r} in “{words}”")
    return found


@pytest.mark.parametrize("path", BUILT, ids=lambda path: path.stem)
def test_numbers_in_prose_stand_in_the_outputs(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert not missing(notebook, ELSEWHERE.get(path.stem, ()))
