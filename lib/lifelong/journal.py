"""The journal of a stream is a folder from which a run killed at any moment goes on.

header.json        The run's model, editor, settings, cases, batch size and points.
rows.jsonl         One line per batch: its row, its facts' scores right after it, and the
                   measurement, where the batch ends at a point. Point 0 has a line of its own.
patch.safetensors  The newest patch, written last: as many edits count as its log has facts.

Lines behind these edits are cut when a run goes on. Floats are written by `repr`, which JSON reads
back bit for bit.
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

FORMAT = 3  # of 2.0; earlier ones had a state beside the patch
_OPEN: WeakValueDictionary[Path, Journal] = WeakValueDictionary()  # journals of this process


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

    In the same process a later run takes it over, as a notebook's cell does that runs again, and
    the earlier one is refused from then on.

    folder  The folder's full path.

    Raises JournalError where the folder is in use by another process, is no journal, is damaged, or
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
            raise JournalError(f"the journal {self.folder} is in use by another process") from None
        except OSError as error:
            raise JournalError(f"{self.folder} cannot hold a journal: {error.strerror}") from None
        _OPEN[self.folder] = self
        try:
            self._check({"format": FORMAT, **json.loads(json.dumps(header))})
        except BaseException:
            self.close()  # a notebook keeps the traceback, and with it this object
            raise

    def close(self) -> None:
        """Let others have the folder; its files stay as they are."""
        self._lock.release()

    def _held(self) -> None:
        """Raise JournalError where another run has taken the folder over."""
        if not self._lock.is_locked:
            raise JournalError(f"the journal {self.folder} was opened again by another run")

    def _check(self, header: dict[str, Any]) -> None:
        """Write the header into an empty folder, or refuse a folder whose header is another."""
        path = self.folder / "header.json"
        if not path.exists():
            # the lock, and what a killed writer has left, may be there before the header
            names = [path.name for path in self.folder.iterdir()]
            if others := [n for n in names if n != "lock" and not n.endswith(".tmp")]:
                raise JournalError(f"{self.folder} is no journal: it holds {sorted(others)[0]}")
            with whole_file(path) as part:
                part.write_text(json.dumps(header), encoding="utf-8")
            return
        try:
            stored = dict(json.loads(path.read_bytes()))
            same = same_model(str(stored.get("model", "")), header.get("model", ""))
        except (ValueError, TypeError, RecursionError, OSError):
            raise JournalError(f"{path} is no header of a journal") from None
        if stored.get("format") != FORMAT:
            raise JournalError(
                f"{self.folder} was written by another version: go on with modeledit==1.0, or "
                "update the library if it is newer"
            )
        if same:
            stored["model"] = header.get("model")  # whatever its folder is called
        old, new = _flat(stored), _flat(header)
        if differing := [name for name in old | new if old.get(name) != new.get(name)]:
            differs = ", ".join(
                name
                if name == "cases"
                else f"{name} ({old.get(name)!r:.60}, not {new.get(name)!r:.60})"
                for name in differing
            )
            raise JournalError(
                f"{self.folder} is the journal of a run with other {differs}: name another folder"
            )

    def read(self) -> SavedRun:
        """The run up to its newest patch; lines behind that are cut."""
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
                    if now["facts"]:  # of a sampled run most batches have none
                        found.written.append(_frame(now["facts"]))
            if done != edits:
                raise ArgumentError(f"{self._rows.name} does not hold {edits} edits")
        except Exception as error:  # whatever a damaged file makes of the readers
            raise JournalError(
                f"the journal {self.folder} is damaged ({sentence(error)}): put back a whole copy "
                "of it, or delete the folder and run again from the start"
            ) from None
        if self._rows.exists():
            os.truncate(self._rows, size)
        return found

    def _lines(self) -> Iterator[bytes]:
        """The lines that were written to their end."""
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
        """Write the line of a batch, of a point or of both; it counts from the next `save` on.

        Raises JournalError where another run has taken the folder over.
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
        """Make all that was written count; returns the patch as a resumed run has it.

        That patch is read from the file. A run that goes on and one that was never stopped then
        compute with tensors of the same layout, which the last bits of a product may depend on.
        """
        patch.save(self._patch)
        with self._patch.open("r+b") as file:  # Windows waits only for a file open for writing
            os.fsync(file.fileno())
        return Patch.load(self._patch)


def digest(cases: Iterable[Case]) -> str:
    """The hash of the cases' content, in their order; one case is held at a time."""
    found = hashlib.sha256()
    for case in cases:
        found.update(as_json(case).encode())
    return found.hexdigest()


def _flat(header: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a header by their names; those of an inner object have both names."""
    nested = {name: value for name, value in header.items() if isinstance(value, dict)}
    inner = {f"{a} {b}": value for a, some in nested.items() for b, value in some.items()}
    return {name: value for name, value in header.items() if name not in nested} | inner


def _lists(rows: pd.DataFrame) -> list[list[Any]]:
    """A table as JSON can write it; NaN becomes null."""
    plain = rows[COLUMNS].astype(object)
    return plain.where(plain.notna(), None).to_numpy().tolist()


def _frame(lists: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """The table that `_lists` wrote."""
    return pd.DataFrame(lists, columns=COLUMNS)
