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


def by_generation(table: str, metric: str, column: str) -> Cell:
    """The cell of a metric by generation, of a table that has all events."""
    return cell(table, metric, column, "generation")


@cache
def stored(file: str) -> Any:
    """A JSON file."""
    return json.loads((ROOT / file).read_text(encoding="utf-8"))


def share(values: Any) -> float:
    """The mean of values."""
    values = list(values)
    return sum(values) / len(values)


def rows_of(name: str) -> list[dict[str, Any]]:
    """The rows of a notebook's stored run."""
    return stored(f"notebooks/data/{name}.json")["rows"]


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


def perplexity(name: str, edits: int) -> float:
    """Of a run, the largest perplexity of any draw after so many facts."""
    return max(round(row["perplexity"], 1) for row in rows_of(name) if row["edits"] == edits)


def times_longer() -> list[float]:
    """How many times as long the authors' programs take, where they were compared."""
    found = stored(f"{BENCHMARKS}/speed_now.json").values()
    name = "authors_over_ours_per_rate"
    return [row[name] for row in found if isinstance(row, dict) and row.get(name)]


def families() -> list[str]:
    """How many families there are, edited exactly, with limits, refused, and not built."""
    text = (ROOT / "notebooks/reference/families.md").read_text(encoding="utf-8")
    text = " ".join(text.replace("*", "").split())
    pattern = (
        r"became of the (\d+) causal families .*?: (\d+) are edited exactly, (\d+) with a limit "
        r"that is named, (\d+) are refused by name, (\d+) cannot be built"
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


def on_page(page: str, pattern: str) -> list[str]:
    """What a pattern finds in a page's text, whose numbers test_prose_numbers checks."""
    source = (ROOT / f"notebooks/src/{page}.py").read_text(encoding="utf-8")
    found = re.search(pattern, " ".join(re.sub(r"^# ?", "", source, flags=re.M).split()))
    assert found, f"page {page} no longer says: {pattern}"
    return list(found.groups())


def moved_without_C() -> tuple[int, int]:
    """Of page 04's facts those whose unrelated text moves more with C = I than as set, and all."""
    kl: dict[str, dict[int, float]] = {}
    for row in rows_of("04_parts"):
        kl.setdefault(row["part"], {})[row["case"]] = row["kl"]
    here = kl["as set"]
    return sum(kl["C = I"][case] > here[case] for case in here), len(here)


FUNCTIONS = (
    on_page,
    moved_without_C,
    cell,
    by_generation,
    ends,
    share,
    lost,
    held_of,
    perplexity,
    times_longer,
    families,
    on_the_page,
    on_a_card,
    longest,
)
NAMES = {function.__name__: function for function in FUNCTIONS}


def sentence(claim: dict[str, Any]) -> str:
    """A claim as its rows say it."""
    values = [eval(rule, {**NAMES, "round": round}) for rule in claim["values"]]
    return claim["said"].format(*values)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim["said"][:40])
def test_a_sentence_says_what_its_rows_say(claim):
    said = sentence(claim)
    for place in claim["places"]:
        text = " ".join((ROOT / place).read_text(encoding="utf-8").split())
        assert said in text, f"{place} should say: {said}"


def test_a_changed_number_is_found(monkeypatch):
    claim = next(one for one in CLAIMS if "looks true" in one["said"])
    table = tables()["believed"]
    before = sentence(claim)
    monkeypatch.setitem(tables(), "believed", table.replace("| 19 |", "| 20 |"))
    assert sentence(claim) == before.replace("for 19 after", "for 20 after") != before
