"""A sandbox's server that is done serves the next sandbox: each start takes seconds for torch."""

from __future__ import annotations

import pytest

from lessons.grading.sandbox import Sandbox


@pytest.fixture(scope="session", autouse=True)
def servers():
    """Servers that wait for a file. One that was ended, or gave no answer, is not kept."""
    waiting, plain = [], {name: getattr(Sandbox, name) for name in ("open", "line", "close")}

    def open_(sandbox, *given, **named):
        sandbox.silent = True
        if sandbox.server is None and waiting:
            sandbox.server, sandbox.socket = waiting.pop()
        return plain["open"](sandbox, *given, **named)

    def line(sandbox, seconds):
        sandbox.silent = True  # also where Ctrl-C ends the waiting
        said = plain["line"](sandbox, seconds)
        sandbox.silent = said is None
        return said

    def close(sandbox):
        # an interrupt ends a server in the middle of a file, after which no line comes
        if sandbox.server is not None and sandbox.server.poll() is None and not sandbox.silent:
            waiting.append((sandbox.server, sandbox.socket))
            sandbox.server = None
        plain["close"](sandbox)

    with pytest.MonkeyPatch.context() as patched:
        for name, instead in (("open", open_), ("line", line), ("close", close)):
            patched.setattr(Sandbox, name, instead)
        yield waiting
    for server, socket in waiting:
        socket.close()
        server.kill()
        server.wait()
