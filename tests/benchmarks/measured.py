"""With which commit, settings and behavior each stored figure was measured.

    python -m tests.benchmarks.measured FIGURE                    after its rows were stored
    python -m tests.benchmarks.measured FIGURE --commit COMMIT    its new rows are of that commit
    python -m tests.benchmarks.measured FIGURE --again "what agreed" [--parts PART …]

A figure is a JSON file of rows, and `[figures]` of tables.toml names each. `measured.json` holds
its records: a commit, the settings, the digests of the rows, and under `of` what they depend on, as
it was then: for each editor that the rows name the SHA-256 of its file in tests/reference/current,
which its tests keep the code equal to, and a digest of its resolved preset for the model of the
rows; the SHA-256 of the metrics' file; and of a path of `lib` that has no such file, its own. While
all of these are today's, a table of the rows says nothing. Otherwise it says that they are earlier,
with date and commit. Rows of before there were such files have no `of`, so they are earlier, and so
are rows of another commit. Rows that are in no record fail `results --check`.

Speed is no behavior: the table of a figure of seconds always says when they were taken.
A row that names its own `commit` was measured there. A stored run of a notebook has no record: it
names its settings itself, and tests/notebooks/test_long_runs.py compares them with today's presets.

Rows of an earlier commit are today's where their program was run again and its rows, or the first
of them, agreed within 1e-3. That is what `--again` records, with what was made again, where and
when.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import time
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import lib
from lib.atomic_files import whole_file
from tests.benchmarks import command
from tests.reference import current

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILE = HERE / "measured.json"
WORDS = tomllib.loads((HERE / "tables.toml").read_text(encoding="utf-8"))
FIGURES: dict[str, dict[str, Any]] = WORDS["figures"]
RECORDED = [name for name, about in FIGURES.items() if "notebook" not in about]
MANY = 3  # commits that a caption names one by one

Record = dict[str, Any]
Source = str | tuple[str, Sequence[str]]  # a figure, or a figure and patterns of its parts


def records() -> dict[str, list[Record]]:
    """{figure: its records}."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


def path_of(figure: str) -> Path:
    """The JSON file of a figure."""
    return ROOT / FIGURES[figure].get("file", f"tests/benchmarks/{figure}.json")


def rows_of(figure: str) -> dict[str, Any]:
    """{part: its rows}; `inside` of tables.toml says where a file has its parts."""
    about = FIGURES[figure]
    rows: Any = json.loads(path_of(figure).read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    for key in about.get("inside", ()):
        found |= {name: value for name, value in rows.items() if name != key}
        rows = rows[key]
    return found | rows


def digest(value: Any) -> str:
    """A short digest of a JSON value, or of a text."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def git(*words: str) -> str:
    """What git says, empty where there is no git or it refuses."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def commit() -> str:
    """The commit of this checkout, with a plus where `lib` differs from it."""
    changed = git("status", "--porcelain", "lib")
    return (git("rev-parse", "--short=7", "HEAD") or "unknown") + "+" * bool(changed)


@cache
def _sum(path: str) -> str:
    """The SHA-256 of the Python code of a file or folder."""
    given = ROOT / path
    files = [given] if given.is_file() else sorted(given.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def behind(figure: str, parts: Iterable[str]) -> dict[str, str]:
    """{what these rows of a figure depend on: its sum or digest today}.

    Editors are those that the names of the rows hold as words.
    """
    about, found = FIGURES[figure], {}
    for part in parts:
        words = re.findall(r"[a-z0-9_.]+", part.lower().removesuffix(".json"))
        model = next((name for name in current.LAYERS if name in part), "")
        model = model or about.get("model", current.EMBEDDED)
        for editor in filter(lib.EDITORS.__contains__, words):
            found[f"{editor} on {model}"] = current.digest(editor, model)
            found[editor] = current.marks().get(editor, "")
    for name in about.get("of", ()):
        found[name] = current.marks().get(name, "") if name == current.METRICS else _sum(name)
    return dict(sorted(found.items()))


def is_current(figure: str, known: Record) -> bool:
    """Whether all that a record's rows depend on is as it was; what has no file is not known."""
    now = behind(figure, known["rows"])
    return all(now.values()) and known.get("of") == now


def record(path: Path, settings: Mapping[str, Any] | str, at: str = "", date: str = "") -> None:
    """Record what is new in a figure's file; a file that is no figure's is left alone.

    settings  what the program was given; of a path its name
    at        the commit where it ran, if not here
    """
    figure = next(
        (name for name in RECORDED if path_of(name).resolve() == Path(path).resolve()), None
    )
    if figure is None:
        return
    if not isinstance(settings, str):
        named = {k: v.name if isinstance(v, Path) else v for k, v in settings.items()}
        settings = {k: v for k, v in named.items() if v is not None and k not in ("out", "json")}
    rows, every = rows_of(figure), records()
    now = {part: digest(value) for part, value in rows.items()}
    kept = []
    for known in every.get(figure, []):
        same = {part: mark for part, mark in known["rows"].items() if now.get(part) == mark}
        kept += [{**known, "rows": same}] if same else []
    new: dict[str, dict[str, str]] = {}
    for part in now.keys() - {part for known in kept for part in known["rows"]}:
        new.setdefault(_named(rows[part]) or at, {})[part] = now[part]
    for own, marks in sorted(new.items()):
        about = {"commit": own or commit(), "date": date or time.strftime("%Y-%m-%dT%H:%M")}
        about |= {"settings": settings}
        if about["commit"] == commit():  # nobody can say what the files of another one were
            about["of"] = behind(figure, marks)
        kept.append({**about, "rows": dict(sorted(marks.items()))})
    every[figure] = kept
    write({name: every[name] for name in sorted(every)})


def again(figure: str, what: str, parts: Sequence[str] = ()) -> None:
    """Record that rows of a figure were made again today, and that they agreed.

    what   which of them were made again
    parts  the parts of the figure that this is said of, by default all
    """
    every, kept = records(), []
    if unknown := set(parts) - rows_of(figure).keys():
        raise ValueError(f"{figure} has no part '{min(unknown)}'")
    now = {"commit": commit(), "date": time.strftime("%Y-%m-%dT%H:%M"), "what": what}
    for known in every.get(figure, []):
        said = {part: mark for part, mark in known["rows"].items() if part in parts or not parts}
        if rest := {part: mark for part, mark in known["rows"].items() if part not in said}:
            kept.append({**known, "rows": rest})
        if said:
            kept.append({**known, "again": now, "of": behind(figure, said), "rows": said})
    every[figure] = kept
    write(every)


def _named(row: Any) -> str:
    """The commit that a row names, or several: "4d26a9b, 0abafd6"."""
    if not isinstance(row, dict):
        return ""
    return row.get("commit") or ", ".join(row.get("commits", ()))


def write(every: Mapping[str, Sequence[Record]]) -> None:
    """Write all records, one in a line."""
    parts = []
    for figure, some in every.items():
        lines = ",\n".join(f"  {json.dumps(one, ensure_ascii=False)}" for one in some)
        parts.append(f" {json.dumps(figure)}: [\n{lines}\n ]")
    with whole_file(FILE) as part:
        part.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def missing() -> list[str]:
    """One sentence for each stored figure that has rows without a record, or no line at all."""
    named = {path_of(name) for name in FIGURES}
    files = [path for path in HERE.rglob("*.json") if path != FILE]
    found = [f"tables.toml has no line [figures] for {p.name}" for p in files if p not in named]
    every = records()
    for figure in RECORDED:
        if path_of(figure).exists():
            known = {pair for one in every.get(figure, []) for pair in one["rows"].items()}
            now = {(part, digest(value)) for part, value in rows_of(figure).items()}
            if now - known:
                part = min(now - known)[0]
                found.append(
                    f"measured.json does not say where '{part}' of {figure} was measured: "
                    f"python -m tests.benchmarks.measured {figure}"
                )
    return found


def caption(sources: Iterable[Source]) -> str:
    """The line above a table that has rows of earlier behavior, or seconds; otherwise nothing."""
    used, every = [], records()
    for source in sources:
        figure, patterns = (source, ("*",)) if isinstance(source, str) else source
        taken = FIGURES[figure].get("seconds", False)
        for one in every.get(figure, []):
            if any(fnmatchcase(part, pattern) for part in one["rows"] for pattern in patterns):
                used.append((one, taken or not is_current(figure, one)))
    old = sorted((one for one, said in used if said), key=lambda one: one["date"])
    if not old:
        return ""
    days = {one["commit"]: one["date"][:10] for one in old}
    shown = [f"{day} ({commit})" for commit, day in days.items()]
    ends = f"{len(shown)} commits from {shown[0]} to {shown[-1]}"
    if len(shown) <= MANY:
        ends = " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
    begin = "Taken" if taken else "Earlier" if len(old) == len(used) else "In part earlier"
    return f"*{begin}: {ends}.*\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.measured", description=__doc__.splitlines()[0]
    )
    parser.add_argument("figure", choices=RECORDED, metavar="FIGURE")
    parser.add_argument("--commit", default="", help="where its new rows were measured")
    parser.add_argument("--settings", default="presets of the commit")
    parser.add_argument("--again", metavar="WHAT", help="what was made again today, and agreed")
    parser.add_argument("--parts", nargs="+", default=(), help="of which this is said")
    given = parser.parse_args()
    if given.again:
        again(given.figure, given.again, given.parts)
        return
    if given.commit and not (
        full := git("rev-parse", "--short=7", "--verify", f"{given.commit}^0")
    ):
        raise ValueError(f"git knows no commit '{given.commit}' here")
    at = full if given.commit else ""
    date = git("show", "-s", "--format=%cI", at)[:16] if at else ""
    record(path_of(given.figure), given.settings, at, date)


if __name__ == "__main__":
    command(main)
