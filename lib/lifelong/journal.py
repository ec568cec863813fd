"""The journal of a stream is a folder from which a run killed at any moment goes on.

header.json          The run's model, editor, settings, cases, batch size and points.
rows.jsonl           One line per batch, appended: its row, and its facts' scores right after it.
point-N.json         The measurements after N edits.
patch-N.safetensors  The patch after N edits; only the newest is kept.
state.json           Written last: number of edits, patch, points, and the bytes of rows that count.

A file that state.json does not name does not exist: a run that goes on deletes it. Floats are
written by `repr`, which JSON reads back bit for bit. The order in which these files are written
is the whole point, so writing, reading and clearing them stay in this one file of some 300 lines.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from weakref import WeakValueDictionary

import pandas as pd

from ..atomic_files import whole_file
from ..data.facts import Case
from ..errors import JournalError
from ..evaluation.scores import COLUMNS
from ..patch.patch import EMPTY, Patch

try:
    import fcntl
except ImportError:  # Windows: two processes are not kept apart there
    fcntl = None

FORMAT = 1
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

    `current` gives the editor's settings of an earlier version's journal as this version has them.

    Raises JournalError where the folder is in use by another process, is no journal, or is the
    journal of another run.
    """

    def __init__(
        self,
        folder: str | Path,
        header: Mapping[str, Any],
        current: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    ) -> None:
        self.folder = Path(folder).resolve()
        self._lock: BinaryIO | None = None
        self._busy, self.stale = False, True
        self._bytes, self._points = 0, list[int]()  # bytes of rows.jsonl that count, and points
        self._current = current
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"{folder} cannot hold a journal: {error.strerror}") from None
        with _GUARD:
            self._take()
        try:
            self._check({"format": FORMAT, **json.loads(json.dumps(header))})
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
        file = (self.folder / "lock").open("a+b")
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read().decode("ascii", "replace").strip()
            file.close()
            raise JournalError(
                f"the journal {self.folder} is in use by another process (number {owner or '?'})"
            ) from None
        # whoever is refused reads here which process holds the folder
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        self._lock, _OPEN[self.folder] = file, self

    def close(self) -> None:
        """Let others have the folder; its files stay as they are."""
        if self._lock is not None:
            self._lock.close()  # the lock goes with it
            self._lock = None

    @contextmanager
    def writing(self, restore: Callable[[], None]) -> Iterator[None]:
        """Hold the journal for one step of the run.

        Where an earlier step was interrupted, `restore` is called first. It brings the run back to
        the last state that counts.

        Raises JournalError where another run has taken the folder over.
        """
        if self._lock is None:
            raise JournalError(f"the journal {self.folder} was opened again by another run")
        self._busy = True
        try:
            if self.stale:
                restore()
            yield
        finally:
            self._busy = False

    def _check(self, header: dict[str, Any]) -> None:
        """Write the header into an empty folder, or refuse a folder whose header is another."""
        path = self.folder / "header.json"
        if not path.exists():
            if others := [p.name for p in self.folder.iterdir() if not _mine(p.name)]:
                raise JournalError(f"{self.folder} is no journal: it holds {sorted(others)[0]}")
            self._write(path, header)
            return
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            number = kept["format"]
        except (ValueError, KeyError, TypeError):
            raise JournalError(f"{path} is no header of a journal") from None
        if number > FORMAT:
            raise JournalError(f"{self.folder} has format {number}: update the library")
        try:
            if "settings" in kept:
                kept["settings"] = json.loads(json.dumps(self._current(kept["settings"])))
        except ValueError as error:
            raise JournalError(f"{self.folder} cannot go on: {error}") from None
        for name, old, new in _differences(kept, header):
            differs = name if name == "cases" else f"{name} ({old!r:.60}, not {new!r:.60})"
            raise JournalError(f"{self.folder} is the journal of a run with other {differs}")

    def read(self, recent: int | None = None) -> SavedRun:
        """The run as state.json names it; whatever was written after that is deleted.

        recent  Only so many rows at the end are read, besides those with scores.
        """
        # 1. what counts: nothing yet, or all that state.json names
        path = self.folder / "state.json"
        state: dict[str, Any] = {
            "edits": 0,
            "patch": None,
            "bytes": 0,
            "points": [],
            "seconds": None,
        }
        try:
            if path.exists():
                state = json.loads(path.read_text(encoding="utf-8"))
            # 2. rows up to the counted byte, and the points; lines after that byte are ignored
            self._bytes, self._points = state["bytes"], list(state["points"])
            rows, written = self._lines(recent)
            points = {n: json.loads(self._point(n).read_text("utf-8")) for n in self._points}
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise JournalError(
                f"the journal {self.folder} is damaged: {type(error).__name__} {error}"
            ) from None
        # 3. the newest patch, and the tables as DataFrames again
        patch = Patch.load(self.folder / state["patch"]) if state["patch"] else EMPTY
        for point in points.values():
            point["rows"] = _frame(point["rows"])
        # 4. only now that all of it could be read: delete what an interrupted step has left
        self._sweep(state)
        seconds = state["seconds"] or {"edit": 0.0, "evaluate": 0.0}
        return SavedRun(state["edits"], patch, seconds, rows, written, points)

    def _lines(self, recent: int | None) -> tuple[list[dict[str, Any]], list[pd.DataFrame]]:
        """The rows, and the scores of each batch's facts; one line is in memory at a time."""
        rows, written, left = [], [], self._bytes  # left: bytes that count and are not read yet
        path = self.folder / "rows.jsonl"
        if left and path.stat().st_size < left:
            raise ValueError(f"rows.jsonl has {path.stat().st_size} bytes, not {left}")
        with path.open("rb") if left else nullcontext(()) as lines:
            for line in lines:
                left -= len(line)
                if left < 0:
                    break  # this line was being written when the run was interrupted
                found = json.loads(line)
                rows.append({**found["row"], "rows": tuple(found["row"]["rows"])})
                if recent is None or found["facts"]:
                    written.append(_frame(found["facts"]))
                # the row that is no longer recent goes, unless it has scores
                if recent and len(rows) > recent and "scores" not in rows[-recent - 1]:
                    del rows[-recent - 1]
        return rows, written

    def append(self, row: Mapping[str, Any], written: pd.DataFrame) -> None:
        """Write one batch; it counts from the next `save` on."""
        self.stale = True
        line = (json.dumps({"row": row, "facts": _lists(written)}) + "\n").encode()
        path = self.folder / "rows.jsonl"
        path.touch()
        with path.open("r+b") as file:
            file.truncate(self._bytes)  # whatever an interrupted batch has left
            file.seek(self._bytes)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._bytes += len(line)

    def measured(self, point: int, rows: pd.DataFrame, **more: Any) -> None:
        """Write the scores at a point; they count from the next `save` on."""
        self.stale = True
        self._write(self._point(point), {**more, "rows": _lists(rows)})
        self._points.append(point)

    def save(self, edits: int, patch: Patch, seconds: Mapping[str, float]) -> Patch:
        """Make all that was written count; returns the patch as a resumed run has it.

        That patch is read from the file. A run that goes on and one that was never stopped then
        compute with tensors of the same layout, which the last bits of a product may depend on.
        """
        self.stale = True
        # the patch first, under a name of its own, so that the old state stays readable …
        name = f"patch-{edits}.safetensors" if patch is not EMPTY else None
        if name:
            patch.save(self.folder / name)
            _sync(self.folder / name)
            patch = Patch.load(self.folder / name)
        # … then, in one replacement, the state that names it; the old patch goes last
        state = {"edits": edits, "patch": name, "bytes": self._bytes, "points": self._points}
        state["seconds"] = dict(seconds)
        self._write(self.folder / "state.json", state)
        self._sweep(state)
        return patch

    def _point(self, point: int) -> Path:
        return self.folder / f"point-{point}.json"

    def _write(self, path: Path, content: Any) -> None:
        """Write a small file whole or not at all; it is on the disk when this returns."""
        with whole_file(path) as part, part.open("w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        _sync(self.folder)

    def _sweep(self, state: Mapping[str, Any]) -> None:
        """Delete the former patch, and the files that an interrupted run has left."""
        named = {state["patch"], *(self._point(n).name for n in state["points"])}
        for path in self.folder.iterdir():
            loose = path.name.startswith(("patch-", "point-")) and path.name not in named
            if loose or path.name.endswith(".tmp"):
                path.unlink(missing_ok=True)


def digest(cases: Iterable[Case]) -> str:
    """The hash of the cases' content, in their order; one case is held at a time."""
    found = hashlib.sha256()
    for case in cases:
        found.update(repr(case).encode())
    return found.hexdigest()


def _mine(name: str) -> bool:
    """Whether a file may be there before a journal has its header."""
    return name == "lock" or (name.startswith(".") and name.endswith(".tmp"))


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
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lists(rows: pd.DataFrame) -> list[list[Any]]:
    """A table as JSON can write it; NaN becomes null."""
    plain = rows[COLUMNS].astype(object)
    return plain.where(plain.notna(), None).to_numpy().tolist()


def _frame(lists: list[list[Any]]) -> pd.DataFrame:
    """The table that `_lists` wrote."""
    return pd.DataFrame(lists, columns=COLUMNS)
