"""The console of a command: no output can stop the command or lose its work."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CLOSED = 141  # the exit code if nothing is reading the output, as given by a shell for SIGPIPE


@contextmanager
def printable() -> Iterator[None]:
    """Set up standard output and errors for the body of a command.

    A character missing from the console's encoding becomes a question mark. If the reader has
    closed the pipe (`| head`), the command ends silently, with the exit code `CLOSED`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not if replaced by a notebook or a test
            stream.reconfigure(errors="replace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # discard the rest of the buffer, preventing Python from complaining about it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(CLOSED) from None
