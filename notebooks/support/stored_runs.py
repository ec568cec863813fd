"""The stored runs: rows of runs that are too long for a notebook, kept as JSON in notebooks/data.

`python -m notebooks.build --long NN` makes them, and they are checked when they are read. A `LongRun`
names its settings and its jobs. `make` keeps the rows of each job that is done, and a run that was
stopped goes on with the first job that is not finished. `long_runs` is what a page uses of them.

A file belongs to the notebook whose number begins its name; other notebooks may read it too.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib.atomic_files import whole_file

DATA = Path(__file__).resolve().parents[1] / "data"
NEXT = DATA / "next"  # runs that no page shows yet
# our form of a method whose default is the paper's: the stored rows of before 2.0 are of it
OURS = {"preset": "ours"}
FIELDS = ("command", "date", "machine", "settings", "settings_hash", "rows")


class StoredError(ValueError):
    """A stored run is missing, damaged, or not the one its notebook asks for."""


class OutOfTimeError(Exception):
    """The minutes of the command are over; the rows so far are in the file."""


@dataclass(frozen=True)
class LongRun:
    """A stored run that can be stopped: its name, its settings, and its jobs by name.

    settings  everything that decides the rows, with `reading` of the model and `configs` of editors.
    jobs      functions that give the rows of one job each. A job that was stopped begins again, so
              it should take minutes at most.
    command   what makes the file, where that is not `notebooks.build --long`.
    """

    name: str
    settings: Mapping[str, Any]
    jobs: Mapping[str, Callable[[], Iterable[Mapping[str, Any]]]]
    command: str = ""


def long_run(
    lm: Any,
    name: str,
    lines: Mapping[str, tuple[Any, Mapping[str, Any]]],
    jobs: Mapping[str, Callable[[], Iterable[Mapping[str, Any]]]],
    **settings: Any,
) -> LongRun:
    """A run whose settings begin with the model's `reading` and the `configs` of its lines."""
    own = {"reading": reading(lm), "editors": configs(lm, lines)}
    return LongRun(name, own | settings, jobs)


def reading(lm: Any) -> str:
    """The token that the model reads in front of every text, "none" where there is none."""
    return lm.name.partition(" behind ")[2] or "none"


def configs(lm: Any, lines: Mapping[str, tuple[Any, Mapping[str, Any]]]) -> dict[str, Any]:
    """{line: editor and all its settings, with the presets of this model}.

    lines  {line: (class of the editor, the settings that differ from the preset)}
    """
    return {
        line: {"editor": kind.name, **asdict(kind.Config.preset(lm, kind.name, **changes))}
        for line, (kind, changes) in lines.items()
    }


def make(run: LongRun, minutes: float = math.inf, *, folder: Path = NEXT) -> Path:
    """Make what is missing of a run and return the path of its file.

    The rows of a job, with their CPU seconds in "cpu", are kept in `folder/name.part.jsonl` when it
    is done.
    OutOfTimeError when the minutes are over, or will be before the next job can end, judging by the
    longest one so far. StoredError where the file was begun with other settings.
    """
    end = time.monotonic() + 60 * minutes
    path, part = folder / f"{run.name}.json", folder / f"{run.name}.part.jsonl"
    digest = settings_hash(run.settings)
    for made in (DATA / path.name, path):  # a page shows it already, or not yet
        if made.is_file() and read(made)["settings_hash"] == digest:
            return made
    rows, longest = _finished(part, run, digest), 0.0
    for job, rows_of in run.jobs.items():
        if job in rows:
            continue
        if time.monotonic() + longest > end:
            raise OutOfTimeError(f"{run.name}: {len(rows)} of {len(run.jobs)} jobs are done")
        begun, spent, own = time.monotonic(), time.process_time(), []
        for row in rows_of():
            now = time.process_time()
            own.append(_plain(row) | {"cpu": round(now - spent, 2)})
            spent = now
            if time.monotonic() > end:
                raise OutOfTimeError(f"{run.name}: {len(rows)} of {len(run.jobs)} jobs are done")
        with part.open("a", encoding="utf-8") as file:
            file.write(_line({"job": job, "rows": own}))
        rows[job], longest = own, max(longest, time.monotonic() - begun)
    every = [row for job in run.jobs for row in rows[job]]
    save(run.name, run.settings, every, folder=folder, command=run.command)
    part.unlink(missing_ok=True)
    return path


def _finished(part: Path, run: LongRun, digest: str) -> dict[str, list[dict[str, Any]]]:
    """{finished job: its rows}; the file is written anew without what was cut off, or begun."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in part.read_text(encoding="utf-8").splitlines() if part.is_file() else []:
        try:
            value = json.loads(line)
        except json.JSONDecodeError:  # the process was killed within this line
            continue
        if value.get("settings_hash", digest) != digest:
            raise StoredError(
                f"{part.name} was started with other settings. Delete it to start over"
            )
        if "job" in value:
            found[value["job"]] = value["rows"]
    head = {"settings_hash": digest, "settings": _plain(run.settings)}
    kept = [{"job": job, "rows": rows} for job, rows in found.items()]
    with whole_file(part) as file:
        file.write_text("".join(map(_line, [head, *kept])), encoding="utf-8")
    return found


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def settings_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the settings as canonical JSON: order and tuple-or-list do not count.

    {"b": (1, 2), "a": 1.0} and {"a": 1.0, "b": [1, 2]} have the same hash.
    """
    text = json.dumps(_plain(settings), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def save(
    name: str,
    settings: Mapping[str, Any],
    rows: Iterable[Mapping[str, Any]],
    *,
    folder: Path = DATA,
    command: str = "",
) -> Path:
    """Write `folder/name.json`, one row per line, and return its path."""
    head = {
        "command": command or _command(name),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "settings": _plain(settings),
        "settings_hash": settings_hash(settings),
    }
    lines = [json.dumps(_plain(row), ensure_ascii=False, allow_nan=False) for row in rows]
    text = json.dumps(head, ensure_ascii=False, allow_nan=False, indent=1).removesuffix("\n}")
    text += ',\n "rows": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"
    path = folder / f"{name}.json"
    with whole_file(path) as file:
        file.write_text(text, encoding="utf-8")
    return path


def read(path: Path) -> dict[str, Any]:
    """Read a stored run: the fields of FIELDS. StoredError if it is not whole or was edited."""
    again = f"run `{_command(path.stem)}`."
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise StoredError(f"{path.name} is not JSON ({error}); {again}") from None
    missing = [field for field in FIELDS if not isinstance(run, dict) or field not in run]
    if missing:
        raise StoredError(f"{path.name} lacks {', '.join(missing)}; {again}")
    if settings_hash(run["settings"]) != run["settings_hash"]:
        raise StoredError(f"{path.name}: settings_hash doesn't match its settings; {again}")
    return run


def machine() -> str:
    """Describe this machine in words, without naming it: "AMD EPYC, 2 cores, NVIDIA H200"."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor() or platform.machine()
    parts = [cpu, f"{os.cpu_count()} cores"]
    torch = sys.modules.get("torch")  # never imported for this
    if torch is not None and torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def _command(name: str) -> str:
    return f"python -m notebooks.build --long {name.split('_')[0]}"


def _plain(value: Any) -> Any:
    """Turn tuples, ranges, paths, NumPy and torch numbers into what JSON gives back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # a number or an array of NumPy or torch
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        raise StoredError(f"{value} cannot be stored; use None for a value that is not there.")
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise StoredError(f"a {type(value).__name__} cannot be stored: {value!r}")
