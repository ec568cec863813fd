"""What those read of the page who run no script: the head of its HTML, and the page /memory."""

import asyncio
import re

from demo_app.app import ROUTES
from demo_app.html import head, memory
from demo_app.session import gallery

RAW = (
    '<!doctype html><html><head><meta charset="utf-8" />'
    '<meta property="og:title"\n content="Gradio" />'
    '<meta name="twitter:title" content="Gradio" /></head><body>größer</body></html>'
)


def asked(path="/", query="", html=RAW, kind=b"text/html; charset=utf-8", parts=3, **more):
    """(status, headers, text) of a page behind `Head`, whose body comes in parts."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)
        body, step = html.encode(), -(-len(html.encode()) // parts)
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-type", kind), length]})  # fmt: skip
        for at in range(0, len(body), step):
            last = at + step >= len(body)
            await send({"type": "http.response.body", "body": body[at : at + step],
                        "more_body": not last})  # fmt: skip

    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(),
             "scheme": "http", "root_path": "", **more,
             "headers": [(b"host", b"here:7860"), (b"accept-encoding", b"br"),
                         *more.get("headers", ())]}  # fmt: skip
    sent = []

    async def send(message):
        sent.append(message)

    facts = {"tower": "The tower is in <Rome>"}
    told = head.Head(app, lambda given: facts.get(given.get("example"), ""))
    asyncio.run(told(scope, None, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return dict(sent[0]["headers"]), body.decode(), seen[0]


def content(text, name):
    return re.search(rf'(?:property|name)="{name}" content="([^"]*)"', text)[1]


def test_the_first_page_says_what_it_is_without_a_script():
    headers, text, scope = asked()
    assert int(headers[b"content-length"]) == len(text.encode())
    assert "Gradio" not in text and text.endswith("<body>größer</body></html>")
    assert text.index("charset") < text.index("<title>")
    assert content(text, "og:title") == "Edit a language model&#x27;s memory"
    assert "sheepdog" in content(text, "og:description")
    assert content(text, "og:image") == "http://here:7860/preview.png"
    assert not any(name == b"accept-encoding" for name, _ in scope["headers"])


def test_a_link_has_words_of_its_own():
    secure = {"headers": [(b"x-forwarded-proto", b"https")], "root_path": "/demo"}
    _, text, _ = asked(query="example=tower", **secure, path="/demo/")
    assert content(text, "og:title") == "“The tower is in &lt;Rome&gt;”"
    assert content(text, "og:url") == "https://here:7860/demo/?example=tower"
    assert content(text, "og:image") == "https://here:7860/demo/share.png?example=tower"
    for saw, begins in {"5-6": "I saw 5 of 6 coming. Would you?", "7-6": "What if"}.items():
        _, text, _ = asked(query=f"example=tower&saw={saw}")
        assert content(text, "og:description").startswith(begins)
        assert content(text, "og:image").endswith(f"share.png?example=tower&amp;saw={saw}")
    for shown in gallery.gallery().exhibits:
        _, text, _ = asked(query=f"gallery={shown.key}")
        assert len(content(text, "og:description")) <= 200
        assert "*" not in content(text, "og:title")
    _, text, _ = asked(query="gallery=%00%ff&example=%22%3E%3Cscript%3E&a&=")
    assert "<script>" not in text


def test_the_picture_is_one_page_that_asks_no_server():
    page = memory.page("https://here")
    assert content(page, "og:image") == "https://here/memory.png"
    assert not re.findall(r'(?:src|href)="(?!\./\?)', page)
    assert memory.PREVIEW.stat().st_size < 100_000
    assert {route.path for route in ROUTES} == {"/preview.png", "/memory", "/memory.png"}
