"""A free prompt continued before and after the edits, as HTML: pairs of texts side by side."""

from __future__ import annotations

from html import escape

from ..session.texts import Pair, Text, Writing

NO_EDIT = '<i class="nothing">No edit is live: the same as before.</i>'
HINT = "Underlined is the first token at which the two differ."


def unwritten() -> str:
    """The two panels before anything was asked."""
    first = '<i class="nothing">Press Go: how the model writes on by itself.</i>'
    second = '<i class="nothing">… and with your edits.</i>'
    return _pairs([_panel("Before", first) + _panel("After", second)])


def writing(said: Writing, done: bool) -> str:
    """All texts, two beside each other; once all are there, with the place where they part."""
    lead = "" if said.chat else f'<span class="lead">{escape(said.prompt)}</span>'
    rows = []
    for i, pair in enumerate(said.pairs):
        name = f" · sample {i + 1}" if len(said.pairs) > 1 else ""
        rows.append(_row(said, pair, name, lead, done))
    parted = done and any(pair.parting() is not None for pair in said.pairs)
    return _pairs(rows) + (f'<p class="source">{HINT}</p>' if parted else "")


def _row(said: Writing, pair: Pair, name: str, lead: str, done: bool) -> str:
    """One sample on both sides."""
    mark = pair.parting() if done else None
    edits = f"{said.live} edit{'s' * (said.live != 1)}"
    first = _text(pair.before, mark, lead, done)
    second = _text(pair.after, mark, lead, done) if said.live else NO_EDIT
    after = f"After {edits}" if said.live else "After"
    return _panel(f"Before{name}", first) + _panel(f"{after}{name}", second)


def _pairs(rows: list[str]) -> str:
    return f'<div class="pairs">{"".join(rows)}</div>'


def _panel(name: str, text: str) -> str:
    return f'<div class="panel"><h3>{name}</h3><p>{text}</p></div>'


def _text(text: Text | None, mark: int | None, lead: str, done: bool) -> str:
    """The lead and the tokens of one text; while it grows there is a caret."""
    if text is None:
        return ""
    if not done:
        return f'{lead}{escape("".join(text.pieces))}<i class="caret"></i>'
    parts = [
        f'<span class="parting">{escape(piece)}</span>' if place == mark else escape(piece)
        for place, piece in enumerate(text.pieces)
    ]
    return f"{lead}{''.join(parts)}{' …' if text.cut else ''}"
