"""Unpacks an archive that a student hands in into one of the grader's folders.

Nothing is trusted: an archive containing a path that leads out of the folder, a link, a device, a
password, or more bytes or files than a hand-in has is rejected, and none of it is graded.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO

from lessons.grading import files
from lessons.marking import short

PACKED, UNPACKED, MOST, DEEPEST = 20 << 20, 64 << 20, 1000, 12  # bytes, bytes, files, folders
# errors of archive readers for other or truncated files
NONE = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, NotImplementedError)
NONE += (RuntimeError, UnicodeError, OverflowError)


def unpack(path: Path, into: Path, times: int = 1) -> None:
    """Write an archive's files, with their dates, or raise ValueError with the reason why not.

    The archive of a class can be `times` as large as a student's archive.
    """
    left, count = UNPACKED * times, 0
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > PACKED * times:
            raise ValueError(f"it is a link, or larger than {PACKED * times >> 20} MB")
        saved = path.stat().st_mtime
        for name, size, when, read in _zip(path) if zipfile.is_zipfile(path) else _tar(path, times):
            left, count = left - size, count + 1
            if left < 0 or count > MOST * times:
                raise ValueError(_much(times))
            if read is None or (place := _inside(name)) is None:
                continue
            target = into / place
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as whole:
                whole.write(read(size))
            try:
                os.utime(target, (when or saved, when or saved))
            except (OSError, OverflowError, ValueError):
                os.utime(target, (saved, saved))
    except NONE as error:
        raise ValueError(f"it cannot be unpacked ({files.reason(error)})") from None


def names(path: Path) -> Iterator[str]:
    """The names in an archive, up to the first that is refused."""
    try:
        for name, *_ in _zip(path) if zipfile.is_zipfile(path) else _tar(path, 1):
            yield name
    except (*NONE, ValueError):
        return


# a member's name, its size in bytes, its date, and a function to read it if it is a file
Member = tuple[str, int, float, Callable[[int], bytes] | None]


def _zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for one in archive.infolist():
            _plain(one.filename, one.external_attr >> 16)
            if one.flag_bits & 1:
                raise ValueError("it needs a password")
            if one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("its compression method is not supported")
            try:
                when = datetime(*one.date_time).timestamp()
            except (ValueError, OverflowError):
                when = 0.0
            # files that are too large are refused before being opened
            read = None if one.is_dir() else lambda size, one=one: archive.open(one).read(size)
            yield one.filename, one.file_size, when, read


def _much(times: int) -> str:
    return f"it contains more than {UNPACKED * times >> 20} MB or {MOST * times} files"


def _tar(path: Path, times: int) -> Iterator[Member]:
    with path.open("rb") as start:
        packed = start.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as stream:
        with tarfile.open(fileobj=_Bounded(stream, times), mode="r|") as archive:
            for one in archive:
                _plain(one.name, 0 if one.isreg() or one.isdir() else stat.S_IFLNK)
                file = archive.extractfile(one)
                yield one.name, one.size, one.mtime, file and file.read


class _Bounded:
    """A stream with a limit, because even a header can claim a billion bytes."""

    def __init__(self, stream: IO[bytes], times: int) -> None:
        self.stream, self.times = stream, times
        self.left = (UNPACKED + (2 * MOST << 10)) * times

    def read(self, size: int) -> bytes:
        found = self.stream.read(size)
        self.left -= len(found)
        if self.left < 0:
            raise ValueError(_much(self.times))
        return found


def _plain(name: str, mode: int) -> None:
    """Raise ValueError for a link, a device, or a path leading out of the archive."""
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"{short(name)} in it is a link or a device. Pack only your folder my/")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name):
        raise ValueError(f"{short(name)} in it leads out of the archive")


def _inside(name: str) -> Path | None:
    """The path of a file inside its archive, or None for files added by systems."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    ours = all(not p.startswith(".") and p.casefold() not in files.NOBODY for p in parts)
    return Path(*parts) if ours and 0 < len(parts) <= DEEPEST else None
