"""Cases and sessions of a visitor, and the result of a run step by step."""

from __future__ import annotations

from dataclasses import replace

import lib
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
        session.patches.append(lib.EDITORS[editor](studio.lm).edit([fact], after=session.patch))
    return session
