"""A stream's journal: a folder for resuming a run after being killed at any moment.

header.json        The run's model, editor, settings, cases, batch size and points.
rows.jsonl         One line per batch: its row, its facts' scores right after it, and the
                   measurement if the batch ends at a point. Point 0 has its own line.
patch.safetensors  The newest patch, written last: only the edits in its log count.

Lines after these edits are removed when a run resumes. Floats are written using `repr`, making JSON
read them back bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import pandas as pd
from filelock import FileLock, Timeout

from ..atomic_files import path_of, whole_file
from ..data.facts import Case
from ..data.short_repr import as_json
from ..errors import ArgumentError, JournalError, sentence
from ..evaluation.scores import COLUMNS
from ..patch.patch import EMPTY, Patch, same_model

FORMAT = 3  # of 2.0; earlier formats had a state in addition to the patch
_OPEN: WeakValueDictionary[Path, Journal] = WeakValueDictionary()  # journals of this process


class SavedRun(NamedTuple):
    """The content of a journal: everything needed for resuming a run.

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
    """A folder belonging to one run of one process until it is closed, ends or is killed.

    In the same process, a later run takes it over, for example when a notebook cell runs again, and
    the earlier run is rejected afterwards.

    folder  The folder's full path.

    Raises JournalError if the folder is in use by another process, is not a journal, is damaged, or
    is the journal of another run.
    """

    def __init__(self, folder: str | Path, header: Mapping[str, Any]) -> None:
        self.folder = path_of(folder).resolve()
        self._rows, self._patch = self.folder / "rows.jsonl", self.folder / "patch.safetensors"
        self._lock = FileLock(self.folder / "lock", timeout=0, thread_local=False)
        if former := _OPEN.get(self.folder):
            former.close()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise JournalError(
                f"The journal {self.folder} is in use by another process. Wait for it, or use "
                "another folder."
            ) from None
        except OSError as error:
            raise JournalError(
                f"{self.folder} cannot contain a journal: {error.strerror}"
            ) from None
        _OPEN[self.folder] = self
        try:
            self._check({"format": FORMAT, **json.loads(json.dumps(header))})
        except BaseException:
            self.close()  # a notebook keeps the traceback, and with it this object
            raise

    def close(self) -> None:
        """Release the folder for others; its files are unchanged."""
        self._lock.release()

    def _held(self) -> None:
        """Raise JournalError if another run has taken over the folder."""
        if not self._lock.is_locked:
            raise JournalError(
                f"The journal {self.folder} was opened again by another run. Continue with that "
                "run."
            )

    def _check(self, header: dict[str, Any]) -> None:
        """Write the header into an empty folder, or reject a folder with a different header."""
        path = self.folder / "header.json"
        if not path.exists():
            # the lock and leftovers of a killed writer may exist before the header
            names = [path.name for path in self.folder.iterdir()]
            if others := [n for n in names if n != "lock" and not n.endswith(".tmp")]:
                raise JournalError(
                    f"{self.folder} is not a journal. It contains {sorted(others)[0]}."
                )
            with whole_file(path) as part:
                part.write_text(json.dumps(header), encoding="utf-8")
            return
        try:
            stored = dict(json.loads(path.read_bytes()))
            same = same_model(str(stored.get("model", "")), header.get("model", ""))
        except (ValueError, TypeError, RecursionError, OSError):
            raise JournalError(f"{path} is not a journal's header. Use another folder.") from None
        if stored.get("format") != FORMAT:
            raise JournalError(
                f"{self.folder} was written by another version. Continue with modeledit==1.0, or "
                "update the library if it is newer."
            )
        if same:
            stored["model"] = header.get("model")  # even if its folder has another name
        old, new = _flat(stored), _flat(header)
        if differing := [name for name in old | new if old.get(name) != new.get(name)]:
            differs = ", ".join(
                name
                if name == "cases"
                else f"{name} ({old.get(name)!r:.60}, not {new.get(name)!r:.60})"
                for name in differing
            )
            raise JournalError(
                f"{self.folder} is the journal of a run with other {differs}. Use another folder."
            )

    def read(self) -> SavedRun:
        """Return the run up to its newest patch, removing any lines after that."""
        self._held()
        done, size = 0, 0
        try:
            patch = Patch.load(self._patch) if self._patch.exists() else EMPTY
            edits = sum(map(len, patch.log))
            found = SavedRun(edits, patch, {"edit": 0.0, "evaluate": 0.0}, [], [], {})
            for line in self._lines():
                now = json.loads(line)
                if now["edits"] > edits:
                    break
                done, size = now["edits"], size + len(line)
                found.seconds.update({key: float(now["seconds"][key]) for key in found.seconds})
                if "point" in now:
                    point, keys = now["point"], ("title", "perplexity", "contradicted")
                    found.points[done] = {key: point[key] for key in keys}
                    found.points[done]["rows"] = _frame(point["rows"])
                if "row" in now:
                    first, last = now["row"]["rows"]
                    found.rows.append({**now["row"], "rows": (first, last)})
                    if now["facts"]:  # in a sampled run, most batches have none
                        found.written.append(_frame(now["facts"]))
            if done != edits:
                raise ArgumentError(f"{self._rows.name} does not contain {edits} edits")
        except Exception as error:  # any error caused by a damaged file
            raise JournalError(
                f"The journal {self.folder} is damaged ({sentence(error)}). Restore a whole copy "
                "of it, or delete the folder and run again from the start."
            ) from None
        if self._rows.exists():
            os.truncate(self._rows, size)
        return found

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines that were completely written."""
        with suppress(FileNotFoundError), self._rows.open("rb") as lines:
            yield from (line for line in lines if line.endswith(b"\n"))

    def append(
        self,
        edits: int,
        seconds: Mapping[str, float],
        row: Mapping[str, Any] | None = None,
        facts: pd.DataFrame | None = None,
        point: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the line of a batch, of a point or of both; it counts after the next `save`.

        Raises JournalError if another run has taken over the folder.
        """
        self._held()
        line: dict[str, Any] = {"edits": edits, "seconds": dict(seconds)}
        if row is not None and facts is not None:
            line |= {"row": row, "facts": _lists(facts)}
        if point is not None:
            line["point"] = {**point, "rows": _lists(point["rows"])}
        with self._rows.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def save(self, patch: Patch) -> Patch:
        """Make everything written count, returning the patch as a resumed run will read it.

        That patch is read from the file. A resumed run and an uninterrupted run then compute with
        tensors of the same layout, which can affect the last bits of a product.
        """
        patch.save(self._patch)
        with self._patch.open("r+b") as file:  # Windows only waits for a file open for writing
            os.fsync(file.fileno())
        return Patch.load(self._patch)


def digest(cases: Iterable[Case]) -> str:
    """Return the hash of the cases' content, in their order, holding one case at a time."""
    found = hashlib.sha256()
    for case in cases:
        found.update(as_json(case).encode())
    return found.hexdigest()


def _flat(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a header by name; entries of an inner object have both names."""
    nested = {name: value for name, value in header.items() if isinstance(value, dict)}
    inner = {f"{a} {b}": value for a, some in nested.items() for b, value in some.items()}
    return {name: value for name, value in header.items() if name not in nested} | inner


def _lists(rows: pd.DataFrame) -> list[list[Any]]:
    """Return a table in a form that JSON can store; NaN becomes null."""
    plain = rows[COLUMNS].astype(object)
    return plain.where(plain.notna(), None).to_numpy().tolist()


def _frame(lists: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Return the table written by `_lists`."""
    return pd.DataFrame(lists, columns=COLUMNS)
