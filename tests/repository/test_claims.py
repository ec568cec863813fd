"""Sentences with numbers say what the stored rows say (claims.toml)."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import lib
from lib.evaluation.intervals import wilson  # noqa: F401  # for rules
from lib.workbench.forensics.investigation import THRESHOLD

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CLAIMS = tomllib.loads((HERE / "claims.toml").read_text(encoding="utf-8"))["claims"]
PAGES = [
    ROOT / "tests/benchmarks/RESULTS.md",
    *sorted((ROOT / "tests/benchmarks/results").glob("*.md")),
]
BENCHMARKS = "tests/benchmarks"


class Cell(NamedTuple):
    """A cell of a table: as it stands, and its numbers without their signs."""

    text: str
    mean: str
    low: str = ""
    high: str = ""

    def __format__(self, how: str) -> str:
        return self.text


@cache
def tables() -> dict[str, str]:
    """{name: the text of each generated table}."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    return dict(re.findall(r"<!-- table: ([\w-]+) -->\n(.*?)<!-- end -->", text, re.DOTALL))


def cell(table: str, row: str, column: str, event: str = "") -> Cell:
    """The cell of a generated table; what stands in brackets behind an editor may be left out."""
    head: list[str] = []
    for line in tables()[table].splitlines():
        cells = [one.strip() for one in line.strip("| ").split(" | ")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        elif event and event != cells[1]:
            continue
        elif column in head and re.sub(r"^`([\w]+)`( \(.*\))?$", r"\1", cells[0]) == row:
            text = cells[head.index(column)]
            return Cell(text, *re.findall(r"\d+(?:\.\d+)?", text)[:3])
    raise KeyError(f"{table} has no row '{row}' with a column '{column}'")


@cache
def stored(file: str) -> Any:
    """A JSON file."""
    return json.loads((ROOT / file).read_text(encoding="utf-8"))


def share(values: Any) -> float:
    """The mean of values."""
    values = list(values)
    return sum(values) / len(values)


def rows_of(name: str, **where: Any) -> list[dict[str, Any]]:
    """The rows of a notebook's stored run, those that have these values in their columns."""
    every = stored(f"notebooks/data/{name}.json")["rows"]
    return [row for row in every if where.items() <= {key: row.get(key) for key in where}.items()]


def lost(name: str, first: int, last: int) -> list[int]:
    """Of each draw the points of the neighbors that are lost between two numbers of edits."""
    by = {
        (row["draw"], row["edits"]): share(v for v in row["neighbors"] if v is not None)
        for row in rows_of(name)
        if "neighbors" in row
    }
    draws = dict.fromkeys(draw for draw, _ in by)
    return [round(100 * (by[draw, first] - by[draw, last])) for draw in draws]


def ends(values: Iterable[float]) -> tuple[float, float]:
    """The smallest and the largest."""
    found = list(values)
    return min(found), max(found)


def held_of(line: str, edits: int) -> list[int]:
    """Of each draw of page 06 the share in % that a line holds after so many facts."""
    return [
        round(100 * share(row["held"]))
        for row in rows_of("06_lines")
        if (row["line"], row["edits"]) == (line, edits)
    ]


def kept(without: str, line: str) -> list[int]:
    """Of each draw of page 06 how many points more a line holds after 250 facts than another."""
    held = {
        (row["draw"], row["line"]): share(row["held"]) for row in rows_of("06_lines", edits=250)
    }
    draws = dict.fromkeys(draw for draw, _ in held)
    return [round(100 * (held[draw, line] - held[draw, without])) for draw in draws]


def perplexity(name: str, edits: int) -> float:
    """Of a run, the largest perplexity of any draw after so many facts."""
    return max(round(row["perplexity"], 1) for row in rows_of(name) if row["edits"] == edits)


def times_longer() -> list[float]:
    """How many times as long the authors' programs take, of each comparison."""
    return [row["ratio"] for row in stored(f"{BENCHMARKS}/authors_speed.json").values()]


def families() -> list[str]:
    """How many families there are, edited exactly, with limits, refused, and not built."""
    text = (ROOT / "notebooks/reference/families.md").read_text(encoding="utf-8")
    text = " ".join(text.replace("*", "").split())
    pattern = (
        r"tested the (\d+) causal families .*?: (\d+) are edited exactly, (\d+) with a limit that "
        r"is listed, (\d+) are rejected with an explanation, (\d+) cannot be built"
    )
    found = re.search(pattern, text)
    assert found, "the page of families says its numbers in other words"
    return list(found.groups())


def on_the_page() -> list[float]:
    """The median seconds of a call with a fact of one's own, of each editor."""
    found = stored(f"{BENCHMARKS}/presses.json").values()
    return [row["own"] for row in found if isinstance(row, dict) and "own" in row]


def on_a_card(key: str) -> list[float]:
    """A number of every editor that was timed at 8B."""
    parts = stored(f"{BENCHMARKS}/gpu.json")["parts"]
    rows = [row for part in ("b", "alphaedit", "speed h200") for row in parts[part]["rows"]]
    return [row[key] for row in rows if "over_floor" in row]


def longest() -> dict[str, Any]:
    """UltraEdit's whole stream of 20,000 edits on a card."""
    rows = stored(f"{BENCHMARKS}/gpu.json")["parts"]["long h200"]["rows"]
    return next(row for row in rows if row.get("edits") == row.get("wanted") == 20000)


def of_its_own(step: str) -> list[float]:
    """[GB of memory of its own that a step of a model of 8 billion weights took on a CPU]."""
    run = stored("tests/benchmarks/large_model.json")["32"]
    return [(run["steps"][step]["anonymous"] - run["before"]["anonymous"]) / 1e9]


def text_of(place: str) -> str:
    """The words of a file, of a page's source without the signs of its comments."""
    text = (ROOT / place).read_text(encoding="utf-8")
    plain = re.sub(r"^# ?", "", text, flags=re.M) if place.endswith(".py") else text
    return " ".join(plain.split())


def on_page(page: str, pattern: str) -> list[str]:
    """What a pattern finds in a page, whose numbers test_prose_numbers checks, or another file."""
    found = re.search(pattern, text_of(page if "." in page else f"notebooks/src/{page}.py"))
    assert found, f"page {page} no longer says: {pattern}"
    return list(found.groups())


def five_less_one() -> list[float]:
    """Of each stream of page 05 how much more of the facts five layers write with the largest λ."""
    kept = {
        (row["draw"], len(row["layers"])): share(row["written"])
        for row in rows_of("05_batch", strength=10_000)
    }
    return [kept[draw, 5] - kept[draw, 1] for draw in dict.fromkeys(draw for draw, _ in kept)]


def named(editor: str) -> list[float]:
    """Of each odd draw of page 17 the share of an editor's edits whose subject is named."""
    draws = [rows_of("17_suspects", editor=editor, draw=x) for x in ("first", "second", "third")]
    seen = [[row["one layer"] for row in rows] for rows in draws]
    return [share(z["own"] >= max(THRESHOLD, z["other"]["z"]) for z in draw) for draw in seen]


def less_in_each_draw(one: str, other: str, what: str) -> list[float]:
    """By how much one way of writing single facts is ahead of another, in each draw of page 09."""
    found = (rows_of("09_mend", way=way, when="alone") for way in (one, other))
    return [share(a[what]) - share(b[what]) for a, b in zip(*found, strict=True)]


def damage(way: str) -> list[float]:
    """Of each stream of page 10 the KL divergence of a way with its largest step, in the end."""
    long = stored("tests/benchmarks/papers/ultraedit_long_zsre.json")["rows"]
    ends = [row for row in long if row.get("turn") == 10]
    ends = [row for row in ends if (row["way"], row["scale"]) == (way, 1.0)]
    return [share(row["kl"]) for row in [*rows_of("10_draws", way=way, scale=4.0), *ends]]


def preset(editor: str, setting: str, model: str = "") -> Any:
    """A setting as it is published, or as a model's preset has it."""
    table = tomllib.loads((ROOT / "lib/editors/presets.toml").read_text(encoding="utf-8"))[editor]
    return table.get(model, {}).get(setting, getattr(lib.EDITORS[editor].Config(), setting))


WORDS = {
    3: "three",
    4: "four",
    6: "six",
    12: "twelve",
    20: "twenty",
    70: "seventy",
}  # as sentences write numbers


def moved_without_C() -> tuple[int, int]:
    """Of page 04's facts those whose unrelated text moves more with C = I than as set, and all."""
    here = {row["case"]: row["kl"] for row in rows_of("04_parts", part="as set")}
    return sum(x["kl"] > here[x["case"]] for x in rows_of("04_parts", part="C = I")), len(here)


def sentence(claim: dict[str, Any]) -> str:
    """A claim as its rows say it."""
    values = [eval(rule, globals()) for rule in claim["values"]]
    return claim["said"].format(*values)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim["said"][:40])
def test_a_sentence_says_what_its_rows_say(claim):
    said = sentence(claim)
    for place in claim["places"]:
        assert said in text_of(place), f"{place} should say: {said}"
