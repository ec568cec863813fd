"""Cases and sessions of a visitor, and the result of a run step by step."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx

import lib
from demo_app.session.edits import AppliedEdit
from demo_app.session.visitors import Session

WORDS = ("alpha", "bravo", "cedar", "delta", "ember", "frost")


def cases(count: int = 4) -> list[lib.Case]:
    return [
        lib.Case(
            lib.Fact(word, "{} is", ("xy", "qz")[i % 2]), id=i,
            neighborhood=(lib.Probe(f"The {word} was", "a"),),
        )
        for i, word in enumerate(WORDS[:count])
    ]  # fmt: skip


def through(steps):
    """The result of a generator, and the progress it gave."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return end.value, seen


def edited(studio, *targets: str, editor: str = "ft") -> Session:
    session = Session()
    for target in targets:
        fact = replace(cases()[0].fact, target_new=target)
        live(session, lib.EDITORS[editor](studio.lm).edit([fact], after=session.patch))
    return session


def live(session: Session, patch: lib.Patch) -> None:
    """Make a patch the visitor's newest edit."""
    name = patch.log[-1].editor.upper() if patch.log else "a file"
    session.edits = (*session.edits, AppliedEdit(patch, name))


class Caller:
    """A visitor who sends whatever JSON can say, over plain HTTP; one id, one stream of answers."""

    def __init__(self, url: str, name: str, **headers: str) -> None:
        self.http = httpx.Client(base_url=url.rstrip("/"), timeout=60, headers=headers)
        self.name = name

    def endpoints(self) -> dict[str, dict]:
        """{name: its entry in the page's configuration} of all that a program may call."""
        found = self.http.get("/config").json()["dependencies"]
        return {one["api_name"]: one for one in found if one["api_name"]}

    def join(self, query: str = "", **body: Any) -> httpx.Response:
        """Put a call in line; the values need not be ones that UTF-8 can write.

        query  The page's address behind the question mark, which the browser sends with each call.
        """
        text = json.dumps({"session_hash": self.name, "data": [], **body})
        headers = {"content-type": "application/json"}
        address = f"/gradio_api/queue/join?{query}"
        return self.http.post(address, content=text, headers=headers)

    def answers(self, count: int) -> dict[str, dict]:
        """{number of a call: its last message} of as many calls as were put in line."""
        found = {}
        place = f"/gradio_api/queue/data?session_hash={self.name}"
        while len(found) < count:  # the server ends the stream whenever nothing is under way
            with self.http.stream("GET", place) as stream:
                for line in stream.iter_lines():
                    said = json.loads(line[5:]) if line.startswith("data:") else {}
                    if said.get("msg") == "process_completed":
                        found[said["event_id"]] = said
                    if said.get("msg") == "close_stream" or len(found) == count:
                        break
        return found
