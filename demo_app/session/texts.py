"""The plain values of a free prompt that was continued, token by token, before and after edits."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Text:
    """A continuation.

    ids: the new tokens.
    pieces: what each of them adds to the text; "" where a character is not complete yet.
    cut: whether it ends because it may not be longer.
    """

    ids: tuple[int, ...] = ()
    pieces: tuple[str, ...] = ()
    cut: bool = False


@dataclass(frozen=True)
class Pair:
    """One continuation by the unedited model and one with the edits, drawn with the same seed.

    before, after: None while they are not written; after also where no edit is live.
    """

    before: Text | None = None
    after: Text | None = None

    def parting(self) -> int | None:
        """The place of the first token at which the two differ; None where they do not."""
        if self.before is None or self.after is None or self.before.ids == self.after.ids:
            return None
        pairs = zip(self.before.ids, self.after.ids, strict=False)
        ends = min(len(self.before.ids), len(self.after.ids))
        return next((i for i, (one, other) in enumerate(pairs) if one != other), ends)


@dataclass(frozen=True)
class Writing:
    """A free prompt and what was written behind it.

    prompt, chat, tokens, heat: as they were asked for.
    pairs: one, or one per sample.
    live: how many edits were applied.
    """

    prompt: str
    chat: bool
    tokens: int
    heat: float
    pairs: tuple[Pair, ...] = (Pair(),)
    live: int = 0

    def put(self, number: int, side: str, text: Text) -> Writing:
        """The same with another text on one side of a pair."""
        pairs = list(self.pairs)
        one = pairs[number]
        pairs[number] = replace(one, after=text) if side == "after" else replace(one, before=text)
        return replace(self, pairs=tuple(pairs))
