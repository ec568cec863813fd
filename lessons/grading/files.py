"""Files for grading: students' files are read safely, the teacher's files are written whole.

A class's folder also contains files from archives and systems. A student's hand-in may be a folder,
a pipe, or a picture named like a program. Paths that a teacher's command will write to are checked
before the work begins, and an earlier file is kept until the new file is complete.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from lessons.marking import clean
from lib.atomic_files import whole_file, whole_folder

LARGEST = 200_000  # bytes of a student's file
LIKE = 0.85  # similarity above which a name may be a misspelling of another
ROOM = 1 << 16  # bytes written to find out whether a table can be saved
# files that systems put into folders; names beginning with a dot are not hand-ins either
NOBODY = ("__macosx", "__pycache__", "lost+found", "$recycle.bin", "system volume information")
# Characters that a spreadsheet reads as the beginning of a formula, including full-width ones.
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


# endings of archives that the class report unpacks
ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar")


class Missing(ValueError):
    """There is no file with that name."""


def students(folder: Path) -> list[Path]:
    """The students' folders in a class's folder, and archives instead of a folder.

    Raises ValueError if there are none.
    """
    if not (found := listed(folder)):
        raise ValueError(f"there is no folder of a student in {folder}")
    return found


def listed(folder: Path) -> list[Path]:
    """The same folders and archives, or an empty list."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder. It should contain one folder per student")
    return [
        path
        for path in sorted(folder.iterdir())
        # a link would lead to another student's folder
        if (path.is_dir() or (path.is_file() and path.name.casefold().endswith(ARCHIVES)))
        and not path.is_symlink()
        and not path.name.startswith(".")
        and path.name.casefold() not in NOBODY
    ]


def readable(name: str) -> str:
    """A name on one line that can be written to any file; a name in another encoding as Latin-1.

    Macs write ü as two characters, so the name is normalized.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        name = os.fsencode(name).decode("latin-1")
    return unicodedata.normalize("NFC", " ".join(clean(name).split()))


def text_of(path: Path, largest: int = LARGEST) -> str:
    """A student's file as text. Raises ValueError with the reason why it is not run.

    The error is Missing if there is no file with that name, and lists files with similar names.
    """
    try:
        if path.parent.is_file():
            raise ValueError(f"{path.parent.name} is an archive. Unpack it into a folder")
        if path.is_symlink():
            raise ValueError("a link. Hand in the file itself")
        if not path.exists():
            near = ", ".join(alike(path)[:3])
            near = f", only {near}, which is another name" if near else ""
            raise Missing(f"there is no {path.name} in {path.parent}{near}")
        if not path.is_file():
            what = "a folder" if path.is_dir() else "a pipe or a device"
            raise ValueError(f"{path.name} is {what}. Hand in a plain file with that name")
        if path.stat().st_size > largest:
            raise ValueError(f"{path.name} is larger than {largest // 1000} kB. Hand in less")
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows prepend a mark
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text. Save it as UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {reason(error)}") from None
    if "\0" in text:
        raise ValueError(f"{path.name} is not the text of a program. Save it as UTF-8")
    if not text.strip():
        raise ValueError(f"{path.name} is empty")
    return text


def alike(path: Path) -> list[str]:
    """Names next to a missing file that resemble its own, except for letters and endings."""
    # unlike `iterdir`, `glob` finds nothing if there is no folder
    return sorted(one.name for one in path.parent.glob("*") if is_like(one.name, path.name))


def is_like(name: str, wanted: str) -> bool:
    """Return whether one name may be meant for another: `L2-1_Insert (1).py` for l2_1_insert.

    The correct name of another exercise does not count.
    """
    if re.fullmatch(r"l\d+_\d+_\w+\.py", name):
        return name == wanted
    given, own = (
        re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKC", one).casefold().partition(".py")[0])
        for one in (name, wanted)
    )
    last = wanted.rpartition("_")[2].partition(".")[0]
    return own in given or given == last or SequenceMatcher(None, given, own).ratio() > LIKE


def fills(folder: str, most: int, size: int, deepest: int = 1) -> bool:
    """Return whether a folder exceeds its limit on files, bytes, or nested folders.

    Raises OSError if a folder cannot be listed, which would hide its contents.
    """
    count, folders = 0, [(folder, 1)]
    while folders:
        place, depth = folders.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                count += 1
                size -= entry.stat(follow_symlinks=False).st_size
                if count > most or size < 0 or depth > deepest:
                    return True
                if entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, depth + 1))
    return False


def writable(*paths: Path | None) -> None:
    """Raise ValueError unless all these files can be written, before hours of work."""
    given = [path for path in paths if path is not None]
    if len({path.absolute() for path in given}) < len(given):
        raise ValueError(f"{given[0]} is given twice. Use a separate file for each")
    for path in given:
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent} for {path.name}")
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ValueError(f"{path} is not a plain file, so nothing is written to it")
        try:
            if path.exists() and not os.access(path, os.W_OK):
                raise PermissionError(None, "it is read-only")
            with tempfile.TemporaryFile(dir=path.parent) as file:
                file.write(bytes(ROOM))
        except OSError as error:
            raise ValueError(f"{path} could not be written: {reason(error)}") from None


def write(path: Path, text: str) -> None:
    """Write a complete file, or raise an OSError with its name, keeping the existing file."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="")


def free(*folders: Path) -> None:
    """Raise ValueError unless each of these folders can be created, before hours of work."""
    for folder in folders:
        if folder.exists() or folder.is_symlink():
            raise ValueError(f"{folder} is there already. Choose a new folder")
        writable(folder)


def write_folder(folder: Path, texts: Mapping[str, str]) -> None:
    """Create a folder with all of these files, given by relative paths, or raise an OSError."""
    with whole_folder(folder) as whole:
        for name, text in texts.items():
            (whole / name).parent.mkdir(parents=True, exist_ok=True)
            (whole / name).write_text(text, encoding="utf-8", newline="")


def as_csv(rows: Sequence[Sequence]) -> str:
    """A table as CSV, with a quote before names that a spreadsheet would read as formulas.

    Texts are quoted, so that programs splitting lines at another character than the comma don't
    find a formula inside a name either.
    """
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_NONNUMERIC).writerows(
        [f"'{name}" if name.startswith(FORMULA) else name, *points] for name, *points in rows
    )
    return file.getvalue()


def unfinished(path: Path) -> Path:
    """The path for a partial result, so that it does not replace an earlier complete result."""
    return path.with_name(f"{path.stem}-unfinished{path.suffix}")


def reason(error: BaseException) -> str:
    """An error in words, without the system's number and the error's type."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return said[0].lower() + said[1:]


def positive(given: str) -> float:
    """A number above 0, as given to a command."""
    number = float(given)
    if not 0 < number < math.inf:
        raise ValueError(given)
    return number
