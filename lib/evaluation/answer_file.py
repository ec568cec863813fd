"""A file of questions and answers that several processes read and write.

It is an SQLite database, because that is safe when two processes write at once and when one is
killed in the middle, and because a row is found without reading the others. Its name is a hash of a
label that names everything on which the answers depend. Each row carries a mark over the label,
what was asked and what was said, so that a damaged row, or one of another label, counts as one that
is not there. The file never stops whoever uses it: where it cannot be read or written, a warning
says so once, and everything is asked anew.

All files lie in the folder `base-answers` of the cache folder. Together they take at most 512 MB;
then nothing more is taken. What was asked stands there in plain text. Deleting the folder, at any
time, is the way to forget it.
"""

from __future__ import annotations

import hashlib
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple

from ..atomic_files import cached

FOLDER = "base-answers"  # in the cache folder
LIMIT = 512 * 2**20  # bytes of all files together
LONGEST = 2**20  # bytes of a row; what is longer is not kept
WAIT = 10.0  # seconds that another process may take to write
_TABLE = "CREATE TABLE answers (asked TEXT PRIMARY KEY, said TEXT, numbers BLOB, mark BLOB)"
_SCHEMA = {("table", "answers", _TABLE), ("index", "sqlite_autoindex_answers_1", None)}
_SPARE = 1024  # bytes of a row for its mark, and for what SQLite adds
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Row(NamedTuple):
    """What was said: a JSON text, and the bytes of numbers that belong to it."""

    said: str
    numbers: bytes = b""


class DamageError(ValueError):
    """The file is none of ours, or not whole."""


class AnswerFile:
    """The rows of one label, {what was asked: Row}; both are texts that the caller understands.

    path      the file, which need not exist.
    readable  whether the file is still tried.
    writable  whether it still takes rows; False once it is full.
    """

    def __init__(self, label: str) -> None:
        self.path = cached(FOLDER, label, ".sqlite")
        self.readable = self.writable = True
        self._key = hashlib.sha256(label.encode()).digest()
        self._warned = False

    def read(self, asked: Iterable[str]) -> dict[str, Row]:
        """The rows that are there."""
        found: dict[str, Row] = {}
        if not self.readable:
            return found
        with self._harmless():
            if self.path.exists():
                with self._opened("rw") as data:
                    data.execute("BEGIN")
                    for one in asked if _is_made(data) else ():
                        row = self._row(data, one)
                        if row is not None:
                            found[one] = row
        return found

    def write(self, rows: Mapping[str, Row]) -> dict[str, Row]:
        """Keep rows, all or none; returns the rows that another process was first to keep.

        Where there is a row already it stays, so that everybody reads the same.
        """
        earlier: dict[str, Row] = {}
        if not (rows and self.readable and self.writable):
            return earlier
        with self._harmless():
            # what somebody asks of a model is nobody else's business
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._opened("rwc") as data:
                self._bound(data)
                data.execute("BEGIN IMMEDIATE")
                if not _is_made(data):
                    data.execute(_TABLE)
                for asked, row in rows.items():
                    kept = self._row(data, asked)
                    if kept is not None:
                        earlier[asked] = kept
                        continue
                    size = len(asked.encode()) + len(row.said.encode()) + len(row.numbers)
                    if size + _SPARE <= LONGEST:
                        values = (asked, *row, self._mark(asked, *row))
                        data.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", values)
                data.execute("COMMIT")
        return earlier

    @contextmanager
    def _opened(self, mode: str) -> Iterator[sqlite3.Connection]:
        """The database for one reading or writing; what is not committed is undone at the end.

        Nothing stays open between, so that threads and forked processes share nothing.
        """
        address = f"{self.path.absolute().as_uri()}?mode={mode}"
        data = sqlite3.connect(address, timeout=WAIT, isolation_level=None, uri=True)
        with closing(data):
            data.text_factory = bytes  # a damaged text need not be UTF-8
            data.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
            data.execute("PRAGMA trusted_schema = OFF")
            if self.path.stat().st_size > LIMIT:
                raise DamageError(f"it has more than {LIMIT} bytes")
            yield data

    def _bound(self, data: sqlite3.Connection) -> None:
        """Let the database grow only as far as the other files of the folder leave room."""
        others = 0
        for file in self.path.parent.iterdir():
            if not file.name.startswith(self.path.name):
                with suppress(FileNotFoundError):  # another process has just deleted its journal
                    others += file.stat().st_size
        ((size,),) = data.execute("PRAGMA page_size").fetchall()
        # the least that SQLite understands is 1, and it never goes below what is there
        data.execute(f"PRAGMA max_page_count = {max(1, (LIMIT - others) // size)}")

    def _row(self, data: sqlite3.Connection, asked: str) -> Row | None:
        """The row of a question, None where there is none that can be believed."""
        choice = "SELECT said, numbers, mark FROM answers WHERE asked = ?"
        try:
            found = data.execute(choice, (asked,)).fetchone()
            if found is None or not all(isinstance(part, bytes) for part in found):
                return None
            row = Row(found[0].decode(), found[1])
        except (sqlite3.DataError, UnicodeDecodeError):  # it is longer than any of ours, or no text
            return None
        return row if found[2] == self._mark(asked, *row) else None

    def _mark(self, asked: str, said: str, numbers: bytes) -> bytes:
        """A hash of the label and the row."""
        digest = hashlib.blake2b(digest_size=8, key=self._key)
        for part in (asked.encode(), said.encode(), numbers):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        return digest.digest()

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        """Whatever is wrong with file or folder ends the body, and the first time a warning."""
        try:
            yield
        except (sqlite3.Error, OSError, DamageError) as error:
            code = getattr(error, "sqlite_errorcode", None)
            if isinstance(error, DamageError) or (code is not None and code & 0xFF in _DAMAGE):
                self.readable = self._removed()
                why = f"{self.path.name} was damaged ({error}) and is begun anew"
            elif code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
                self.writable = False
                why = (
                    f"there is no room for more ({error}; all files together may take "
                    f"{LIMIT >> 20} MB). Delete the folder to begin anew"
                )
            else:
                self.readable = False
                why = f"{error}"
            if not self._warned:
                self._warned = True
                said = f"answers of the base model are not kept in {self.path.parent}: {why}"
                warnings.warn(said, stacklevel=2)

    def _removed(self) -> bool:
        """Delete the file; whether that was possible."""
        try:
            # the journal first: beside a new file it would be taken for the new one's
            for name in (f"{self.path.name}-journal", f"{self.path.name}-wal", self.path.name):
                with suppress(FileNotFoundError):
                    self.path.with_name(name).unlink()
        except OSError:
            return False
        return True


def _is_made(data: sqlite3.Connection) -> bool:
    """Whether the table is there; DamageError where there is anything else.

    A table that is a view in truth could compute rows without end.
    """
    found = data.execute("SELECT type, name, sql FROM sqlite_master").fetchmany(3)
    texts = {tuple(part and part.decode(errors="replace") for part in row) for row in found}
    if texts and texts != _SCHEMA:
        raise DamageError("it holds other tables")
    return bool(texts)
