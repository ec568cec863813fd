"""The HTML head for readers that run no scripts, such as search engines and link previews.

Gradio's own head has its own title and picture, and adds ours using a script. The subject of a link
is in its query, so each link gets its own title and text.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from contextlib import suppress
from html import escape
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..session import gallery, sharing
from ..session.worker import Trouble

TITLE = "Edit a language model's memory"
CHARSET = '<meta charset="utf-8" />'
LONGEST = 160  # characters of text shown in a preview
GRADIOS = re.compile(
    r'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*|<title>.*?</title>', re.DOTALL
)


def words(query: Mapping[str, str], facts: Callable[[Mapping[str, str]], str]) -> tuple[str, str]:
    """Title and text of a link to the page; a link without a fact describes a surprising edit.

    facts: returns the sentence for a query's edit, or "" if it has none.
    """
    exhibit = gallery.found(query)
    if exhibit is not None:
        return exhibit.title.replace("*", ""), exhibit.sentence.replace("*", "")
    if sentence := facts(query):
        return (
            f"“{sentence}”",
            f"{_score(query)}What if a language model believed this? Change one fact, compare "
            "what changed with what should have stayed, and undo it exactly.",
        )
    first = gallery.gallery().exhibits[0].sentence.replace("*", "")
    return TITLE, f"{first} Try changing a fact yourself."


def _score(query: Mapping[str, str]) -> str:
    """The sender's score as a question, or "" if the query doesn't contain a valid score."""
    with suppress(Trouble):
        if found := sharing.score(query.get("saw", "")):
            return f"{sharing.invitation(found)} "
    return ""


def tags(title: str, text: str, address: str, picture: str) -> str:
    """The tags in the head: title, description, and link preview. Addresses are absolute."""
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
    """The page's address as seen by the visitor's browser: "https://name:port/root"."""
    headers = Headers(scope=scope)
    scheme = headers.get("x-forwarded-proto", scope["scheme"]).split(",")[0].strip()
    root = scope.get("root_path", "").rstrip("/")
    return f"{scheme}://{headers.get('host', '')}{root}"


class Head:
    """An ASGI application that wraps another and puts our head into its first page."""

    def __init__(self, app: ASGIApp, facts: Callable[[Mapping[str, str]], str]) -> None:
        """facts: as for `words`."""
        self.app, self.facts = app, facts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, changing the HTML of the first page on its way back."""
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
        """A page with our tags instead of Gradio's."""
        query = scope.get("query_string", b"").decode("latin-1")
        here = origin(scope)
        address = f"{here}/?{query}" if query else f"{here}/"
        given = dict(parse_qsl(query))
        fact = gallery.found(given) is None and self.facts(given)
        picture = f"share.png?{query}" if fact else "preview.png"
        ours = tags(*words(given, self.facts), address, f"{here}/{picture}")
        before, charset, rest = html.partition(CHARSET)  # it has to come near the beginning
        return before + charset + ours + GRADIOS.sub("", rest) if charset else html
