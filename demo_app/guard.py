"""Stands before the page's web server: who may call it.

A web page of a stranger can make a visitor's browser call a server on the visitor's own machine. It
can do so under a name of its own that it lets point to that machine (DNS rebinding), so only names
are answered that are the page's; and it can do so from another origin: those calls are refused.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from gradio.route_utils import FnIndexInferError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from . import gradio_internals

ANY = "*"  # as a host: the page answers to every name


def hosts_of(host: str, more: Iterable[str] = ()) -> frozenset[str]:
    """The names that a page listening on a host answers to.

    A page on the whole network answers to this machine's names, and to every address in digits,
    which no stranger can let point elsewhere: it is marked by "0.0.0.0" among the names.
    """
    own = host.strip("[]").casefold()
    found = {"localhost", "127.0.0.1", "::1", own, *(name.casefold() for name in more)}
    address = _address(own)
    if own != "localhost" and not (address and address.is_loopback):
        name = socket.gethostname().casefold()
        found |= {"0.0.0.0", name, f"{name.split('.')[0]}.local"}
    return frozenset(name for name in found if name)


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        """hosts: as `hosts_of` gives them."""
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        answer = self.app
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            host = headers.get("host", "")
            if not self.known(host):
                answer = PlainTextResponse(
                    "This page does not answer to that name: start it with --allow-host NAME.", 400
                )
            elif not self.same(headers.get("origin"), host):
                answer = PlainTextResponse("Calls from other pages are not answered.", 403)
        await answer(scope, receive, send)

    def known(self, host: str) -> bool:
        """Whether a Host header, with or without a port, names this page."""
        name = _name(f"//{host}")
        digits = "0.0.0.0" in self.hosts and name is not None and _address(name) is not None
        return digits or ANY in self.hosts or name in self.hosts

    def same(self, origin: str | None, host: str) -> bool:
        """Whether a call comes from this page itself, or from a program."""
        if origin is None or ANY in self.hosts:
            return True
        return urlsplit(origin).netloc.casefold() == host.casefold() and bool(host)


async def unknown(request: Request, error: Exception) -> JSONResponse:
    """What is answered where a call names no endpoint of the page."""
    return JSONResponse({"detail": "There is no such endpoint on this page."}, 404)


HANDLERS = {KeyError: unknown, FnIndexInferError: unknown}  # what Gradio raises for such a call


def lifespan(
    hosts: frozenset[str], inside: Callable[[ASGIApp], ASGIApp]
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Puts the guard before an application as it starts, so that no call comes before the guard.

    inside: puts around the application what stands behind the guard.
    """

    @asynccontextmanager
    async def begin(app: Any) -> AsyncIterator[None]:
        gradio_internals.put_before(app, lambda stack: Guard(inside(stack), hosts))
        app.state.loop = asyncio.get_running_loop()  # a page that comes later begins in it, too
        yield

    return begin


def _name(address: str) -> str | None:
    """The host of "//host:port" without port and brackets; None for what is no address."""
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018  raises for what is no number
    except ValueError:
        return None
    return parts.hostname if parts.username is None and not parts.path else None


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a name writes in digits; None for any other name."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
