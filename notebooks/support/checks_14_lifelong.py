"""The checks of notebook 14's exercises.

Each returns a sentence that begins with "solved", or one that says what differs and the likely reason.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

LIMIT = 7  # questions for a stream of at most 100 edits: 2⁷ > 100
HARM = 0.1  # nats at unrelated prompts: twenty times what thirteen edits of notebook 14 cost before


def killer(
    function: Callable[[Callable[[int], float], int], int | str | None],
    harm: Sequence[float] = (),
) -> str:
    """Notebook 14: which edit took a stream past HARM, found with at most LIMIT questions.

    function(after, n) returns the number of that edit. after(i) is the harm after the first i
    edits. harm[i] is the harm of a real stream, with harm[0] = 0.
    """
    streams = [_stream(seed) for seed in range(20)]
    for n, (values, wanted) in enumerate(
        [*streams, *([(list(harm), _first(harm))] if harm else [])]
    ):
        asked: list[int] = []

        def after(i: int, values: Sequence[float] = values, asked: list[int] = asked) -> float:
            asked.append(i)
            if not 0 <= i < len(values):
                raise IndexError(f"after({i}): there are {len(values) - 1} edits")
            return values[i]

        try:
            found = function(after, len(values) - 1)
        except IndexError as error:
            return f"{error}; after(0) is the base model."
        if found is None or isinstance(found, str):
            return "not attempted."
        where = f"of {len(values) - 1} edits, number {wanted} did it"
        if found != wanted:
            reason = {
                wanted - 1: "that is the last good one",
                wanted + 1: "one too late",
                _longest(values): "that is the largest step, but the model was lost before it",
            }.get(
                found,
                f"after {found} the harm is {values[min(max(found, 0), len(values) - 1)]:.2f}",
            )
            return f"{where}, not {found}: {reason}."
        if len(set(asked)) > LIMIT:
            return (
                f"right, but {len(set(asked))} questions: {LIMIT} are enough. Halve what is left."
            )
        if n == len(streams):
            return f"solved: edit {found}, in {len(set(asked))} questions."
    return "solved: each question halves what is left."


def matrix(function: Callable[[Sequence[str]], tuple[float, float, float] | str | None]) -> str:
    """Notebook 14: written, held and what was lost for good, from a raster."""
    for seed in range(20):
        draw = random.Random(seed)
        texts, facts = [], []
        for end in range(3, 16, 3):
            facts = [bit if draw.random() < 0.7 else draw.choice("01") for bit in facts]
            facts += [draw.choice("1110") for _ in range(end - len(facts))]
            texts.append("".join(facts))
        found = function(list(texts))
        if found is None or isinstance(found, str):
            return "not attempted."
        found = tuple(float(x) for x in found)
        if len(found) != 3:
            return f"three shares (written, held, forgotten), not {len(found)}."
        wanted = _shares(texts)
        for name, mine, right in zip(("written", "held", "forgotten"), found, wanted, strict=True):
            if abs(mine - right) > 1e-6:
                return f"{name}: {mine:.3f}, wanted {right:.3f}{_likely(name, mine, texts)}."
    return (
        "solved: written minus held is less than forgotten, as some facts come back or come late."
    )


def _shares(texts: Sequence[str]) -> tuple[float, float, float]:
    first, n = _fresh(texts), len(texts[-1])
    lost = sum(a == "1" and b == "0" for a, b in zip(first, texts[-1], strict=True))
    return first.count("1") / n, texts[-1].count("1") / n, lost / n


def _fresh(texts: Sequence[str]) -> str:
    """Each fact as it was right after its own turn."""
    starts = [0, *map(len, texts)]
    return "".join(text[start:] for start, text in zip(starts, texts, strict=False))


def _likely(name: str, mine: float, texts: Sequence[str]) -> str:
    written, held, lost = _shares(texts)
    n = len(texts[-1])
    reasons = {
        "written": {held: "that is held", texts[0].count("1") / 3: "that is the first turn alone"},
        "held": {written: "that is written"},
        "forgotten": {
            written - held: "the difference hides facts that came back",
            (n - texts[-1].count("1")) / n: "what was never written cannot be forgotten",
        },
    }
    for value, reason in reasons[name].items():
        if abs(value - mine) < 1e-6:
            return f": {reason}"
    return ": a fact belongs to the turn in which its character appears"


def _stream(seed: int) -> tuple[list[float], int]:
    """Harm after 0, 1, … edits, never less than before but for noise, and who passes HARM."""
    draw = random.Random(seed)
    n = draw.randint(20, 100)
    at, values = draw.randint(1, n), [0.0]
    for i in range(1, n + 1):
        jump = draw.uniform(0.12, 0.3) if i == at else draw.uniform(0, 0.04 / n)
        if i > at and draw.random() < 0.1:
            jump = draw.uniform(0.05, 0.6)
        values.append(values[-1] + jump)
    return values, _first(values)


def _first(values: Sequence[float]) -> int:
    return next((i for i, value in enumerate(values) if value > HARM), -1)


def _longest(values: Sequence[float]) -> int:
    return max(range(1, len(values)), key=lambda i: values[i] - values[i - 1])
