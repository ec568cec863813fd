"""Every error and warning of the library, and the errors of others as sentences.

Each message is one sentence that says to a person what is wrong and, where possible, what to do.
Where files are read and written, the libraries below raise errors of their own: EXPECTED lists
their kinds, and `sentence` puts each of them into words. An error of any other kind is a mistake in
this library, which a traceback describes best.
"""

from __future__ import annotations

import errno
import json
import os
import zipfile
import zlib

from safetensors import SafetensorError


class Error(Exception):
    """Every error that this library raises on purpose; its message is one sentence for a person."""


EXPECTED: tuple[type[Exception], ...] = (
    Error,
    ValueError,  # also of json, tomllib, msgspec, pandas, the codecs, and this library's own
    RuntimeError,  # also of torch, and RecursionError
    OSError,  # also of gzip
    MemoryError,
    OverflowError,  # a number that does not fit into a float or into what C calls an integer
    EOFError,  # a packed file that ends too early
    zlib.error,
    zipfile.BadZipFile,
    SafetensorError,
)
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # the machine's fault, no input's


class ArgumentError(Error, ValueError):
    """An argument has a value that cannot be used."""


class FactError(Error, ValueError):
    """A fact, a template or a data file is not valid; row and key are named where there are any."""


class DataWarning(UserWarning):
    """A data file was read, but not all of it: rows were left out, or keys that no case takes."""


class CacheWarning(UserWarning):
    """A file of the cache folder was damaged and is made again, or could not be kept."""


class FamilyError(Error, ValueError):
    """The model's architecture is unknown, or the way it was loaded leaves no plain matrices."""


class FetchError(Error, RuntimeError):
    """The default model could not be downloaded; the message says what to do instead."""


class PatchError(Error, ValueError):
    """A patch does not fit the model or another patch, or a file holds no patch."""


class EditError(Error, ValueError):
    """An edit, a statistic or loss that it needs, or a run of edits cannot be made.

    Nothing was changed, or a run stays at the batch before.
    """


class SlowWarning(UserWarning):
    """A stage takes long, and no bar says so; the message says how long."""


class EditWarning(UserWarning):
    """An edit was made, but probably not the one that was meant."""


class NetworkError(Error, ValueError):
    """An editor's trained network is missing, damaged, or belongs to another model."""


class JournalError(Error, ValueError):
    """A journal is in use, belongs to another run, or is damaged."""


class ForensicsError(Error, ValueError):
    """A suspect, its base or a list of candidates cannot be examined; nothing was changed."""


class ProbeError(Error, ValueError):
    """A probe of truth is not good enough to be used, or cannot see what a patch changes."""


class ExportError(Error, ValueError):
    """A patch cannot be written in this format, or the folder is taken; nothing was written."""


_WORDS = (  # kind -> what it says to a person; of an error's kinds the first counts
    (MemoryError, "there is not enough memory for this: {}"),
    (RecursionError, "a file or a value is nested too deeply"),
    (UnicodeDecodeError, "a file is not UTF-8 text: {}"),
    (json.JSONDecodeError, "a file is not valid JSON: {}"),
    ((EOFError, zlib.error, zipfile.BadZipFile), "a packed file is damaged or ends too early: {}"),
)


def sentence(error: BaseException) -> str:
    """What an error of one of the EXPECTED kinds says to a person, on one line of valid text."""
    said = _line(error)
    if isinstance(error, OSError) and error.errno is not None:
        where = "" if error.filename is None else f"'{_line(error.filename)}' cannot be used: "
        reason = os.strerror(error.errno)
        return where + reason[:1].lower() + reason[1:]
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words.format(said).removesuffix(": ")
    return said or f"something went wrong that says no more than its kind: {type(error).__name__}"


def _line(said: object) -> str:
    """The first thousand characters of a text on one line; half a character is escaped."""
    whole = str(said).encode("utf-8", "backslashreplace").decode()
    return " ".join(line.strip() for line in whole.splitlines()).strip()[:1000]
