"""The head of the page's HTML, for those who run no script: search engines, previews of links.

Gradio's own has its own title and picture, and puts ours in with a script. What a link is about
stands in its query, so each link has a title and a text of its own.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from html import escape
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..session import gallery

TITLE = "Edit a language model's memory"
CHARSET = '<meta charset="utf-8" />'
LONGEST = 160  # letters of a text that a preview shows
GRADIOS = re.compile(
    r'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*|<title>.*?</title>', re.DOTALL
)


def words(query: Mapping[str, str], facts: Callable[[Mapping[str, str]], str]) -> tuple[str, str]:
    """Title and text of a link to the page; one that names nothing tells of a surprise.

    facts: gives the sentence of the edit that a query names, "" where it names none.
    """
    exhibit = gallery.found(query)
    if exhibit is not None:
        return exhibit.title.replace("*", ""), exhibit.sentence.replace("*", "")
    if sentence := facts(query):
        return (
            f"“{sentence}”",
            "What if a language model believed this? Change one fact in a language model, see "
            "beside each other what changed and what should have stayed, and undo it exactly.",
        )
    first = gallery.gallery().exhibits[0].sentence.replace("*", "")
    return TITLE, f"{first} Change a fact yourself and see."


def tags(title: str, text: str, address: str, picture: str) -> str:
    """The tags of a head: title, description, and those of previews. Addresses are absolute."""
    title, text = escape(title), escape(textwrap.shorten(text, LONGEST, placeholder=" …"))
    pairs = {
        "og:title": title,
        "og:description": text,
        "og:type": "website",
        "og:url": escape(address),
        "og:image": escape(picture),
    }
    return (
        f'<title>{title}</title><meta name="description" content="{text}">'
        + "".join(f'<meta property="{key}" content="{value}">' for key, value in pairs.items())
        + '<meta name="twitter:card" content="summary_large_image">'
    )


def origin(scope: Scope) -> str:
    """The page's address as the visitor's browser has it: "https://name:port/root"."""
    headers = Headers(scope=scope)
    scheme = headers.get("x-forwarded-proto", scope["scheme"]).split(",")[0].strip()
    root = scope.get("root_path", "").rstrip("/")
    return f"{scheme}://{headers.get('host', '')}{root}"


class Head:
    """An ASGI application around another one, whose first page gets our head."""

    def __init__(self, app: ASGIApp, facts: Callable[[Mapping[str, str]], str]) -> None:
        """facts: as `words` takes it."""
        self.app, self.facts = app, facts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on; the HTML of the first page is changed on its way back."""
        asked = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if (scope["type"], scope.get("method")) != ("http", "GET") or asked not in ("", "/"):
            await self.app(scope, receive, send)
            return
        plain = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        answered: list[Message] = []

        async def keep(message: Message) -> None:
            answered.append(message)

        await self.app({**scope, "headers": plain}, receive, keep)
        start, *parts = answered
        headers = MutableHeaders(raw=start["headers"])
        body = b"".join(part.get("body", b"") for part in parts)
        if "text/html" in headers.get("content-type", ""):
            body = self.headed(body.decode("utf-8"), scope).encode()
        headers["content-length"] = str(len(body))
        await send(start)
        await send({"type": "http.response.body", "body": body})

    def headed(self, html: str, scope: Scope) -> str:
        """A page with our tags in the place of Gradio's."""
        query = scope.get("query_string", b"").decode("latin-1")
        here = origin(scope)
        address = f"{here}/?{query}" if query else f"{here}/"
        given = dict(parse_qsl(query))
        fact = gallery.found(given) is None and self.facts(given)
        picture = f"share.png?{query}" if fact else "preview.png"
        ours = tags(*words(given, self.facts), address, f"{here}/{picture}")
        before, charset, rest = html.partition(CHARSET)  # which has to stand near the beginning
        return before + charset + ours + GRADIOS.sub("", rest) if charset else html
