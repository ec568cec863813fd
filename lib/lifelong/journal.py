"""The journal of a stream is a folder from which a run killed at any moment goes on.

header.json          The run's model, editor, settings, cases, batch size and points.
rows.jsonl           One line per batch, appended: its row, and its facts' scores right after it.
point-N.json         The measurements after N edits.
patch-N.safetensors  The patch after N edits; only the newest is kept.
state.json           Written last: number of edits, patch, points, and the bytes of rows that count.

A file that state.json does not name does not exist: a run that goes on deletes it. Floats are
written by `repr`, which JSON reads back bit for bit.

Each JSON object ends in a key of its own, "sum": 16 hex digits of the SHA-256 of the bytes before
it. state.json names the SHA-256 of everything else that counts: of rows.jsonl up to the counted
byte, of each point and of the patch. So a damaged journal, or a file from another moment of the
run, is refused in a sentence that names the part. Only the newest patch is kept, so there is no
earlier state to go back to; a run that starts again gives the same result. Journals of format 1
have no checksums. What is written from then on has them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import pandas as pd
from filelock import FileLock, Timeout

from ..atomic_files import path_of, sha256, whole_file, written
from ..data.facts import Case
from ..data.short_repr import as_json
from ..errors import EXPECTED, ArgumentError, JournalError, sentence
from ..evaluation.scores import COLUMNS
from ..patch.identity import same_model
from ..patch.patch import EMPTY, Patch

FORMAT = 2  # grows when an older library would misread a journal; 2 has checksums
_SEAL = re.compile(rb', "sum": "([0-9a-f]{16})"\}\Z')
_OPEN: WeakValueDictionary[Path, Journal] = WeakValueDictionary()  # journals of this process
_GUARD = threading.Lock()  # two threads must not take the same folder at once


class SavedRun(NamedTuple):
    """The content of a journal: everything that a run needs to go on.

    edits    The number of edits made so far.
    patch    The patch after them.
    seconds  The time spent so far, {"edit", "evaluate"}.
    rows     The rows of the batches.
    written  The scores of each batch's facts right after it, one table per batch.
    points   {point: {"rows": DataFrame, "title", "perplexity", "contradicted"}}.
    """

    edits: int
    patch: Patch
    seconds: dict[str, float]
    rows: list[dict[str, Any]]
    written: list[pd.DataFrame]
    points: dict[int, dict[str, Any]]


class Journal:
    """A folder that belongs to one run of one process, until `close`, its end or its death.

    In the same process a later run takes it over, and the earlier one is refused from then on.

    folder  The folder's full path.
    stale   The folder may know more than the run, which reads it again before the next step.

    `current` gives the editor's settings of an earlier version's journal as this version has them,
    and `before` gives the run's header as version 0.1 wrote it.

    Raises JournalError where the folder is in use by another process, is no journal, is damaged, or
    is the journal of another run; WriteError where the disk is full.
    """

    def __init__(
        self,
        folder: str | Path,
        header: Mapping[str, Any],
        current: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
        before: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.folder = path_of(folder).resolve()
        self._lock = FileLock(self.folder / "lock", timeout=0, thread_local=False)
        self._busy, self.stale = False, True
        self._bytes, self._points = 0, list[int]()  # bytes of rows.jsonl that count, and points
        self._rows, self._sums = hashlib.sha256(), dict[str, str]()  # of those bytes and points
        self._current, self._before = current, before
        with _GUARD:
            self._take()
        try:
            self._header = {"format": FORMAT, **json.loads(json.dumps(header))}
            self._check()
        except BaseException:
            self.close()
            raise

    def _take(self) -> None:
        """Lock the folder, and close the journal that this process has open there."""
        former = _OPEN.get(self.folder)
        if former is not None:
            if former._busy:
                raise JournalError(f"the journal {self.folder} is in use by another thread")
            former.close()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise JournalError(f"the journal {self.folder} is in use by another process") from None
        except OSError as error:
            raise JournalError(f"{self.folder} cannot hold a journal: {error.strerror}") from None
        _OPEN[self.folder] = self

    def close(self) -> None:
        """Let others have the folder; its files stay as they are."""
        self._lock.release()

    @contextmanager
    def writing(self, restore: Callable[[], None]) -> Iterator[None]:
        """Hold the journal for one step of the run.

        Where an earlier step was interrupted, `restore` is called first. It brings the run back to
        the last state that counts.

        Raises JournalError where another run has taken the folder over.
        """
        if not self._lock.is_locked:
            raise JournalError(f"the journal {self.folder} was opened again by another run")
        self._busy = True
        try:
            if self.stale:
                restore()
                self.stale = False
            yield
            self.stale = False  # the step is over: the run knows all that the folder holds
        finally:
            self._busy = False

    def _check(self) -> None:
        """Write the header into an empty folder, or refuse a folder whose header is another."""
        path = self.folder / "header.json"
        if not path.exists():
            # the lock, and what a killed writer has left, may be there before the header
            names = {path.name for path in self.folder.iterdir()} - {"lock"}
            if others := [name for name in names if not re.fullmatch(r"\..*\.tmp", name)]:
                raise JournalError(f"{self.folder} is no journal: it holds {sorted(others)[0]}")
            self._write(path, self._header)
            self._format = FORMAT
            return
        try:
            data = path.read_bytes()
            number = json.loads(data)["format"]
        except (ValueError, KeyError, TypeError, RecursionError, OSError):
            number = None
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise JournalError(f"{path} is no header of a journal")
        if number > FORMAT:
            raise JournalError(f"{self.folder} has format {number}: update the library")
        with self._part("header.json"):
            stored, whole = unsealed(data)
            if number > 1 and not whole:
                raise ArgumentError("it has no checksum")
        try:
            if "settings" in stored:  # those of another editor say nothing here: its name differs
                stored["settings"] = json.loads(
                    json.dumps(
                        self._current(stored["settings"])
                        if stored.get("editor") == self._header.get("editor")
                        else self._header.get("settings")
                    )
                )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise JournalError(f"{self.folder} cannot go on: {error}") from None
        with self._part("header.json"):
            stored["format"] = FORMAT
            if "model" in stored and same_model(stored["model"], self._header["model"]):
                stored["model"] = self._header["model"]  # whatever its folder is called
            differing = list(_differences(stored, self._header))
        if differing:
            before = {"format": FORMAT, **json.loads(json.dumps(self._before()))}
            differing = min(differing, list(_differences(stored, before)), key=len)
        if differing:
            differs = ", ".join(
                "cases" if name == "cases" else f"{name} ({old!r:.60}, not {new!r:.60})"
                for name, old, new in differing
            )
            old = "; cases of version 0.1 are read by read_cases(…, as_written=True)"
            raise JournalError(
                f"{self.folder} is the journal of a run with other {differs}: name another folder"
                + old * any(name == "cases" for name, *_ in differing)
            )
        self._format = number

    def damaged(self, name: str, what: object) -> JournalError:
        """The error of a damaged part, which says how to go on; `what` goes on after the name."""
        return JournalError(
            f"the journal {self.folder} is damaged: {name} {what}; put back a whole copy of it, or "
            "delete the folder and run again from the start"
        )

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        """Turn whatever is wrong with a file that the body reads into one JournalError."""
        try:
            yield
        except FileNotFoundError:
            raise self.damaged(name, "is missing") from None
        except (LookupError, TypeError, AttributeError):
            raise self.damaged(name, "does not hold what belongs there") from None
        except EXPECTED as error:
            raise self.damaged(name, f"cannot be read ({sentence(error)})") from None

    def read(self, recent: int | None = None) -> SavedRun:
        """The run as state.json names it; whatever was written after that is deleted.

        recent  Only so many rows at the end are read, besides those with scores.
        """
        # 1. what counts: all that state.json names
        state = self._state()
        # 2. rows up to the counted byte, the points, and the newest patch
        with self._part("state.json"):
            self._bytes, name, edits = int(state["bytes"]), state["patch"], int(state["edits"])
            self._points = [int(point) for point in state["points"]]
            seconds = {key: float(state["seconds"][key]) for key in ("edit", "evaluate")}
            if name != (f"patch-{edits}.safetensors" if edits else None):
                raise ArgumentError(f"the patch {name!r:.60} is not one of {edits} edits")
        with self._part("rows.jsonl"):
            rows, tables = self._lines(recent)
            if edits != (rows[-1]["edits"] if rows else 0):
                raise ArgumentError(f"it does not hold {edits} edits")
        points, self._sums = {}, {}
        for n in self._points:
            with self._part(self._point(n).name):
                data = self._point(n).read_bytes()
                point, _ = unsealed(data)
                points[n] = {key: point[key] for key in ("title", "perplexity", "contradicted")}
                points[n]["rows"] = _frame(point["rows"])
                self._sums[self._point(n).name] = hashlib.sha256(data).hexdigest()
        sums = {"rows.jsonl": self._rows.hexdigest(), **self._sums}
        if name:
            with self._part(name):
                sums[name] = sha256(self.folder / name)
        # 3. each is the one that state.json means
        for part in {*sums, *state["sums"]} if "sums" in state else ():
            if sums.get(part) != state["sums"].get(part):
                raise self.damaged(part, "has another checksum than state.json says")
        patch = EMPTY
        if name:
            with self._part(name):
                patch = Patch.load(self.folder / name)
                if "sums" not in state and sum(map(len, patch.log)) != edits:
                    raise ArgumentError(f"it does not hold {edits} edits")
        # 4. only now that all of it could be read: delete what an interrupted step has left
        self._sweep(name, self._points)
        return SavedRun(edits, patch, seconds, rows, tables, points)

    def _state(self) -> dict[str, Any]:
        """The content of state.json; of a run that was stopped before its first save, nothing."""
        path = self.folder / "state.json"
        if not path.exists():
            seconds = {"edit": 0.0, "evaluate": 0.0}
            return {"edits": 0, "patch": None, "bytes": 0, "points": [], "seconds": seconds}
        with self._part("state.json"):
            state, whole = unsealed(path.read_bytes())
            # without checksums only a journal that has none at all may be
            if ("sums" in state) != whole or (self._format > 1 and not whole):
                raise ArgumentError("it has no checksums")
            return state

    def _lines(self, recent: int | None) -> tuple[list[dict[str, Any]], list[pd.DataFrame]]:
        """The rows, and the scores of each batch's facts; one line is in memory at a time."""
        rows: list[dict[str, Any]] = []
        tables, left = [], self._bytes  # bytes that count and are not read yet
        self._rows = hashlib.sha256()
        with (self.folder / "rows.jsonl").open("rb") if left else nullcontext(()) as lines:
            for line in lines:
                if left <= 0:
                    break  # this line was being written when the run was interrupted
                left -= len(line)
                self._rows.update(line)
                batch, _ = unsealed(line.removesuffix(b"\n"))
                first, last = batch["row"]["rows"]
                row = {**batch["row"], "rows": (first, last), "edits": int(batch["row"]["edits"])}
                rows.append(row)
                if recent is None or batch["facts"]:
                    tables.append(_frame(batch["facts"]))
                forget(rows, recent)
        if left:
            raise ArgumentError(f"it does not end after {self._bytes} bytes")
        return rows, tables

    def append(self, row: Mapping[str, Any], table: pd.DataFrame) -> None:
        """Write one batch; it counts from the next `save` on."""
        self.stale = True
        line = sealed({"row": row, "facts": _lists(table)}) + b"\n"
        path = self.folder / "rows.jsonl"
        with written(path):
            path.touch()
            with path.open("r+b") as file:
                file.truncate(self._bytes)  # whatever an interrupted batch has left
                file.seek(self._bytes)
                file.write(line)
            _sync(path)
        self._bytes += len(line)
        self._rows.update(line)

    def measured(self, point: int, rows: pd.DataFrame, **more: Any) -> None:
        """Write the scores at a point; they count from the next `save` on."""
        self.stale = True
        path = self._point(point)
        self._sums[path.name] = self._write(path, {**more, "rows": _lists(rows)})
        self._points.append(point)

    def save(self, edits: int, patch: Patch, seconds: Mapping[str, float]) -> Patch:
        """Make all that was written count; returns the patch as a resumed run has it.

        That patch is read from the file. A run that goes on and one that was never stopped then
        compute with tensors of the same layout, which the last bits of a product may depend on.
        """
        self.stale = True
        sums = {"rows.jsonl": self._rows.hexdigest(), **self._sums}
        # the patch first, under a name of its own, so that the old state stays readable …
        name = f"patch-{edits}.safetensors" if patch is not EMPTY else None
        if name:
            patch.save(self.folder / name)
            _sync(self.folder / name)
            sums[name] = sha256(self.folder / name)
            patch = Patch.load(self.folder / name)
        # … then, in one replacement, the state that names it; the old patch goes last
        state = {"edits": edits, "patch": name, "bytes": self._bytes, "points": self._points}
        self._write(self.folder / "state.json", {**state, "seconds": dict(seconds), "sums": sums})
        if self._format < FORMAT:  # an earlier version's journal has checksums from here on
            self._write(self.folder / "header.json", self._header)
            self._format = FORMAT
        self._sweep(name, self._points)
        return patch

    def _point(self, point: int) -> Path:
        return self.folder / f"point-{point}.json"

    def _write(self, path: Path, content: Mapping[str, Any]) -> str:
        """Write a small file whole or not at all, on the disk when this returns; its SHA-256."""
        data = sealed(content)
        with whole_file(path) as part:
            part.write_bytes(data)
            _sync(part)
        _sync(self.folder)
        return hashlib.sha256(data).hexdigest()

    def _sweep(self, patch: str | None, points: Iterable[int]) -> None:
        """Delete the former patch, and the files that an interrupted run has left."""
        named = {patch, *(self._point(n).name for n in points)}
        for path in self.folder.iterdir():
            if path.name.endswith(".tmp") and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.endswith(".tmp") or (
                path.name.startswith(("patch-", "point-")) and path.name not in named
            ):
                path.unlink(missing_ok=True)


def forget(rows: list[dict[str, Any]], recent: int | None) -> None:
    """Delete the row that is no longer one of the last `recent` ones, unless it has scores."""
    if recent and len(rows) > recent and "scores" not in rows[-recent - 1]:
        del rows[-recent - 1]


def sealed(content: Mapping[str, Any]) -> bytes:
    """A JSON object that is not empty, with its checksum as the last key."""
    body = json.dumps(content).encode()
    return body[:-1] + f', "sum": "{_checksum(body)}"}}'.encode()


def unsealed(data: bytes) -> tuple[dict[str, Any], bool]:
    """The JSON object in `data` without its checksum, and whether it had one.

    Raises ValueError where the checksum does not fit, or where the data are no JSON object.
    """
    content = json.loads(data)
    if not isinstance(content, dict):
        raise ArgumentError("it is no JSON object")
    if content.pop("sum", None) is None:
        return content, False
    seal = _SEAL.search(data)
    if seal is None or seal[1].decode() != _checksum(data[: seal.start()] + b"}"):
        raise ArgumentError("it has another checksum than its content")
    return content, True


def _checksum(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]


def digest(cases: Iterable[Case], written: Callable[[Case], str] = as_json) -> str:
    """The hash of the cases' content, in their order; one case is held at a time.

    written  how a case is written; version 0.1 took `repr`
    """
    found = hashlib.sha256()
    for case in cases:
        found.update(written(case).encode())
    return found.hexdigest()


def _differences(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(name, old, new) of every entry that differs; a nested one has all names on its way."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _differences(old.get(key), new.get(key), f"{name} {key}".strip())
    elif old != new:
        yield name, old, new


def _sync(path: Path) -> None:
    """Wait until a file, or the list of a folder's files, is on the disk."""
    if path.is_dir() and os.name == "nt":  # folders cannot be opened there
        return
    # Windows waits only for a file that is open for writing, and Unix opens no folder for it
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lists(rows: pd.DataFrame) -> list[list[Any]]:
    """A table as JSON can write it; NaN becomes null."""
    plain = rows[COLUMNS].astype(object)
    return plain.where(plain.notna(), None).to_numpy().tolist()


def _frame(lists: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """The table that `_lists` wrote."""
    return pd.DataFrame(lists, columns=COLUMNS)
