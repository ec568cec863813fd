"""With which commit, settings and code each stored figure was measured.

    python -m tests.benchmarks.measured FIGURE                    after its rows were stored
    python -m tests.benchmarks.measured FIGURE --commit COMMIT    its new rows are of that commit

A figure is a JSON file of rows, and `[figures]` of tables.toml names each. `measured.json` holds
its records: a commit, the settings, the hash of each part of `lib` that the figure depends on, as
it was at that commit, and the digests of the rows. Rows that are in no record fail
`results --check`, and a table whose code has changed since says at which commits it was measured.
The hashes are stored, so that a check needs no git: a checkout may have one commit alone.

For rows of before there were records, the commit is the one that stored them. A row that names its
own `commit` was measured there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import time
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from lib.atomic_files import whole_file
from tests.benchmarks import command

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILE = HERE / "measured.json"
WORDS = tomllib.loads((HERE / "tables.toml").read_text(encoding="utf-8"))
FIGURES: dict[str, dict[str, Any]] = WORDS["figures"]
KINDS = (".py", ".toml")  # of the files that are code
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
    """{part: its rows}; `inside` and `by` of tables.toml say where a file has its parts."""
    about = FIGURES[figure]
    rows: Any = json.loads(path_of(figure).read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    for key in about.get("inside", ()):
        found |= {name: value for name, value in rows.items() if name != key}
        rows = rows[key]
    if "by" in about:  # rows in a list, each with the name of its part
        for row in rows:
            found.setdefault(row[about["by"]], []).append(row)
        return found
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
def _files(path: str, at: str) -> str:
    """The files of a path with git's hashes, here or at a commit; empty where there are none."""
    if at:
        listed = [
            line.split(maxsplit=3)[2:] for line in git("ls-tree", "-r", at, path).splitlines()
        ]
    else:
        given = ROOT / path
        some = [given] if given.is_file() else given.rglob("*")
        listed = [(_blob(f), f.relative_to(ROOT).as_posix()) for f in some if f.suffix in KINDS]
    return "\n".join(sorted(f"{name} {sha}" for sha, name in listed if name.endswith(KINDS)))


def _blob(file: Path) -> str:
    """What `git hash-object` says of a file."""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def code(figure: str, at: str = "") -> dict[str, str]:
    """{part of `lib`: its hash} of what a figure depends on, here or at a commit.

    A part that is not there is left out, and so is every part at a commit that git does not know.
    """
    groups = WORDS["code"]
    paths = [path for name in FIGURES[figure].get("lib", ()) for path in groups.get(name, [name])]
    return {path: digest(_files(path, at)) for path in paths if _files(path, at)}


def record(path: Path, settings: Mapping[str, Any] | str, at: str = "", date: str = "") -> None:
    """Record what is new in a figure's file; a file that is no figure's is left alone.

    settings  what the program was given; of a path its name
    at        the commit where it ran, if not here
    """
    figure = next(
        (name for name in FIGURES if path_of(name).resolve() == Path(path).resolve()), None
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
        about |= {"settings": settings, "lib": code(figure, own)}
        kept.append({**about, "rows": dict(sorted(marks.items()))})
    every[figure] = kept
    write({name: every[name] for name in sorted(every)})


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
    for figure in FIGURES:
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
    """The line above a table whose code has changed since it was measured, otherwise nothing."""
    used, every = [], records()
    for source in sources:
        figure, patterns = (source, ("*",)) if isinstance(source, str) else source
        for one in every.get(figure, []):
            if any(fnmatchcase(part, pattern) for part in one["rows"] for pattern in patterns):
                used.append((one, one["lib"] != code(figure)))
    old = sorted((one for one, changed in used if changed), key=lambda one: one["date"])
    if not old:
        return ""
    commits = list(dict.fromkeys(one["commit"] for one in old))
    shown = f"{len(commits)} commits from {commits[0]} to {commits[-1]}"
    if len(commits) <= MANY:
        shown = " and ".join(filter(None, (", ".join(commits[:-1]), commits[-1])))
    notes = list(dict.fromkeys(one["note"] for one in old if "note" in one))
    begin = "Measured" if len(old) == len(used) else "In part measured"
    why = ", ".join(["", *notes]) if notes else "; the code that it depends on has changed since"
    return f"*{begin} at {shown}{why}.*\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.measured", description=__doc__.splitlines()[0]
    )
    parser.add_argument("figure", choices=FIGURES, metavar="FIGURE")
    parser.add_argument("--commit", default="", help="where its new rows were measured")
    parser.add_argument("--settings", default="presets of the commit")
    given = parser.parse_args()
    if given.commit and not (
        full := git("rev-parse", "--short=7", "--verify", f"{given.commit}^0")
    ):
        raise ValueError(f"git knows no commit '{given.commit}' here")
    at = full if given.commit else ""
    date = git("show", "-s", "--format=%cI", at)[:16] if at else ""
    record(path_of(given.figure), given.settings, at, date)


if __name__ == "__main__":
    command(main)
