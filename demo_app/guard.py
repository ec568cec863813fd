"""Protects the page's web server by deciding who can call it.

A malicious web page can make a visitor's browser call a server on the visitor's own machine. It can
do so using a domain that it points at that machine (DNS rebinding), so we only answer requests for
one of the page's own names. Or it can call from another origin; those calls are rejected.
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

ANY = "*"  # as a host: answer requests for any name


def hosts_of(host: str, more: Iterable[str] = ()) -> frozenset[str]:
    """The host names that a page listening on a host answers to.

    A page open to the whole network answers to this machine's names and to every numeric address,
    which an attacker cannot redirect. The name "0.0.0.0" in the result means this.
    """
    own = host.strip("[]").casefold()
    found = {"localhost", "127.0.0.1", "::1", own, *(name.casefold() for name in more)}
    address = _address(own)
    if own != "localhost" and not (address and address.is_loopback):
        name = socket.gethostname().casefold()
        found |= {"0.0.0.0", name, f"{name.split('.')[0]}.local"}
    return frozenset(name for name in found if name)


class Guard:
    """An ASGI application wrapped around another."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        """hosts: as returned by `hosts_of`."""
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reject the request, or pass it on."""
        answer = self.app
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            host = headers.get("host", "")
            if not self.known(host):
                answer = PlainTextResponse(
                    "This page does not answer to that name. Start it with --allow-host NAME.", 400
                )
            elif not self.same(headers.get("origin"), host):
                answer = PlainTextResponse("Calls from other websites are not answered.", 403)
        await answer(scope, receive, send)

    def known(self, host: str) -> bool:
        """Return whether a Host header, with or without a port, is one of the page's names."""
        name = _name(f"//{host}")
        digits = "0.0.0.0" in self.hosts and name is not None and _address(name) is not None
        return digits or ANY in self.hosts or name in self.hosts

    def same(self, origin: str | None, host: str) -> bool:
        """Return whether a call comes from this page itself or from a program."""
        if origin is None or ANY in self.hosts:
            return True
        return urlsplit(origin).netloc.casefold() == host.casefold() and bool(host)


async def unknown(request: Request, error: Exception) -> JSONResponse:
    """The answer to a call for an endpoint that the page doesn't have."""
    return JSONResponse({"detail": "This page has no such endpoint."}, 404)


HANDLERS = {KeyError: unknown, FnIndexInferError: unknown}  # raised by Gradio for such a call


def lifespan(
    hosts: frozenset[str], inside: Callable[[ASGIApp], ASGIApp]
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Install the guard around an application while it starts, so that no call gets past it.

    inside: wraps the application before the guard does.
    """

    @asynccontextmanager
    async def begin(app: Any) -> AsyncIterator[None]:
        gradio_internals.put_before(app, lambda stack: Guard(inside(stack), hosts))
        app.state.loop = asyncio.get_running_loop()  # a page started later uses it as well
        yield

    return begin


def _name(address: str) -> str | None:
    """The host of "//host:port", without port and brackets, or None if it is not valid."""
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018  raises ValueError if the port is not a number
    except ValueError:
        return None
    return parts.hostname if parts.username is None and not parts.path else None


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a name spells out, or None for any other name."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
