"""Every error and warning of the library, and short messages for other errors.

Each message is one line saying what is wrong and, if possible, what to do. When files are read and
written, other libraries raise their own errors: EXPECTED lists their kinds, and `sentence` turns
each of them into a message. An error of any other kind is a mistake in this library, best described
by a traceback.
"""

from __future__ import annotations

import errno
import json
import os
import zipfile
import zlib

from safetensors import SafetensorError


class Error(Exception):
    """Every error that this library raises on purpose; its message is one line for users."""


EXPECTED: tuple[type[Exception], ...] = (
    Error,
    ValueError,  # also of json, tomllib, msgspec, pandas, the codecs, and this library's own
    RuntimeError,  # also of torch, and RecursionError
    OSError,  # also of gzip
    MemoryError,
    OverflowError,  # a number that does not fit into a float or a C integer
    EOFError,  # a compressed file ending too early
    zlib.error,
    zipfile.BadZipFile,
    SafetensorError,
)
NO_ROOM = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
}  # the machine's fault, not the input's


class ArgumentError(Error, ValueError):
    """An argument has a value that cannot be used."""


class FactError(Error, ValueError):
    """A fact, a template or a data file is not valid; row and key are named if there are any."""


class DataWarning(UserWarning):
    """A data file was only partly read, leaving out rows, or keys that no case uses."""


class CacheWarning(UserWarning):
    """A file of the cache folder was damaged and is created again, or could not be stored."""


class FamilyError(Error, ValueError):
    """The model's architecture is unknown, or it was loaded without plain matrices."""


class FetchError(Error, RuntimeError):
    """The default model could not be downloaded; the message describes an alternative."""


class PatchError(Error, ValueError):
    """A patch does not fit the model or another patch, or a file does not contain a patch."""


class EditError(Error, ValueError):
    """An edit, a statistic or loss that it needs, or a run of edits cannot be made.

    Nothing was changed, or a run stays at the previous batch.
    """


class SlowWarning(UserWarning):
    """A stage takes long without showing a bar; the message gives its duration."""


class EditWarning(UserWarning):
    """An edit was made, but probably not the intended one."""


class NetworkError(Error, ValueError):
    """An editor's trained network is missing, damaged, or belongs to another model."""


class JournalError(Error, ValueError):
    """A journal is in use, belongs to another run, or is damaged."""


class ForensicsError(Error, ValueError):
    """A suspect, its base or a list of candidates cannot be examined; nothing was changed."""


class ProbeError(Error, ValueError):
    """A probe of truth is not good enough to be used, or cannot detect a patch's changes."""


class ExportError(Error, ValueError):
    """A patch cannot be written in this format, or the folder is in use; nothing was written."""


_WORDS = (  # kind -> message; the first matching kind of an error is used
    (MemoryError, "There is not enough memory for this: {}"),
    (RecursionError, "A file or a value is nested too deeply."),
    (UnicodeDecodeError, "A file is not UTF-8 text: {}"),
    (json.JSONDecodeError, "A file is not valid JSON: {}"),
    (
        (EOFError, zlib.error, zipfile.BadZipFile),
        "A compressed file is damaged or ends too early: {}",
    ),
)


def sentence(error: BaseException) -> str:
    """Return the message for an error of one of the EXPECTED kinds, on one line of valid text."""
    said = _line(error)
    if isinstance(error, OSError) and error.errno is not None:
        where = "" if error.filename is None else f"'{_line(error.filename)}' cannot be used: "
        reason = os.strerror(error.errno)
        return where + reason[:1].lower() + reason[1:]
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words.format(said).removesuffix(": ")
    return (
        said or f"Something went wrong, but only the kind of error is known: {type(error).__name__}"
    )


def _line(said: object) -> str:
    """Return a text's first thousand characters on one line, escaping half characters."""
    whole = str(said).encode("utf-8", "backslashreplace").decode()
    return " ".join(line.strip() for line in whole.splitlines()).strip()[:1000]
