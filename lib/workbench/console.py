"""The console of a command: nothing that it prints can stop the command or lose its work."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CLOSED = 141  # the exit code where nobody reads any more, as a shell gives it for SIGPIPE


@contextmanager
def printable() -> Iterator[None]:
    """Standard output and errors for the body of a command.

    A letter that the console does not have becomes a question mark. Where the reader has closed the
    pipe (`| head`), the command ends without a word, with the exit code `CLOSED`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not where a notebook or a test took its place
            stream.reconfigure(errors="replace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # what is still in the buffer goes nowhere, or Python would complain of it at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(CLOSED) from None
