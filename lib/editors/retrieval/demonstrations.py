"""Demonstrations for retrieval: other facts, each with a prompt and its right answer (IKE, 2023).

A demonstration shows the model what a new fact changes and what it leaves. There are three kinds:
copy (the fact's own prompt gets the new answer), update (a rewording gets it, too) and retain (a
prompt about something else keeps its own answer). They come from other facts, the ones most like
the edit, and never name the edit's subject or its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ...data.facts import Case, Fact
from ...data.readers import classroom, read_cases
from .tfidf import Vector, cosine, plain, vector

KINDS = ("copy", "update", "retain")
Order = Literal["last", "first"]
MOST_CASES = 2000  # of a pool that are compared with an edit


@dataclass(frozen=True)
class Demo:
    """One demonstration.

    kind  one of KINDS
    case  the number in the pool of the fact that it is about
    text  its text, with two line breaks at its end
    """

    kind: str
    case: int
    text: str


def pool(path: str | None) -> list[Case]:
    """The cases of a file, or the even ones of the classroom; the odd ones are for reporting."""
    if path is None:
        return [case for case in classroom() if isinstance(case.id, int) and case.id % 2 == 0]
    return list(read_cases(Path(path), limit=MOST_CASES))


def choose(
    fact: Fact,
    cases: Sequence[Case],
    count: int,
    ratio: Sequence[int],
    order: Order,
    fits: Callable[[str], bool],
) -> tuple[str, ...]:
    """The texts of at most `count` demonstrations for a fact, in the order in which they are read.

    ratio  parts of copy, update and retain
    order  "last": the most similar one last, next to the prompt; "first": it comes first
    fits   whether a text of all of them is short enough; the least similar are left out until so

    Of each kind the most similar to the edit are taken, at most one of a case. A fact's own subject
    or new answer stands in none.
    """
    names = {plain(text) for text in (fact.subject or "", fact.target_new)} - {""}
    query = _vector(_shown(fact.text, fact.target_new, fact.text, ""))
    scored = [
        (cosine(query, _vector(demo.text)), -number, demo)
        for number, demo in enumerate(_demos(cases))
        if not any(f" {name} " in f" {plain(demo.text)} " for name in names)
    ]
    scored.sort(key=lambda one: one[:2], reverse=True)
    chosen = []
    for kind, wanted in zip(KINDS, _parts(count, ratio), strict=True):
        seen: set[int] = set()
        for score, place, demo in scored:
            if len(seen) == wanted:
                break
            if demo.kind == kind and demo.case not in seen:
                seen.add(demo.case)
                chosen.append((score, place, demo.text))
    chosen.sort(reverse=True)  # the most similar first
    texts = [text for *_, text in chosen]
    while texts and not fits("".join(texts)):
        texts.pop()
    return tuple(texts[::-1] if order == "last" else texts)


def _demos(cases: Sequence[Case]) -> Iterator[Demo]:
    """All demonstrations that cases can give."""
    for number, case in enumerate(cases):
        text, target = case.fact.text, case.fact.target_new.strip()
        probes = [("copy", text, target)]
        probes += [("update", prompt, target) for prompt in case.paraphrases]
        probes += [("retain", probe.prompt, probe.target.strip()) for probe in case.neighborhood]
        for kind, prompt, answer in probes:
            yield Demo(kind, number, _shown(text, target, prompt, answer))


def _shown(text: str, target: str, prompt: str, answer: str) -> str:
    return f"New Fact: {text} {target.strip()}.\nPrompt: {prompt} {answer}\n\n"


def _parts(count: int, ratio: Sequence[int]) -> list[int]:
    """`count` in parts of this ratio, rounded down, the rest to the largest remainders.

    4 in (1, 3, 4) -> 1, 1, 2
    """
    whole = sum(ratio)
    parts = [count * part // whole for part in ratio]
    rest = sorted(range(len(ratio)), key=lambda i: -(count * ratio[i] % whole))
    for i in rest[: count - sum(parts)]:
        parts[i] += 1
    return parts


@lru_cache(maxsize=20_000)
def _vector(text: str) -> Vector:
    return vector(plain(text))
