"""A free prompt continued before and after the edits, as HTML: pairs of texts, token by token."""

from __future__ import annotations

from html import escape

from ..session.texts import Alternatives, Pair, Text, Writing
from .render import bars, number

NO_EDIT = '<i class="nothing">No edit is live: the same as before.</i>'
HINT = (
    "Choose a token to see what else could stand there, and to put it there: both columns then "
    "go on from it. Underlined is the first token at which the two differ."
)
SIDES = {"before": "Before", "after": "After"}


def unwritten() -> str:
    """The two panels before anything was asked."""
    first = '<i class="nothing">Press Go: how the model writes on by itself.</i>'
    second = '<i class="nothing">… and with your edits.</i>'
    return _pairs([_panel("Before", first) + _panel("After", second)])


def writing(said: Writing, done: bool) -> str:
    """All texts, two beside each other; the tokens can be chosen once all of them are there."""
    lead = "" if said.chat else f'<span class="lead">{escape(said.prompt)}</span>'
    rows = []
    for i, pair in enumerate(said.pairs):
        name = f" · sample {i + 1}" if len(said.pairs) > 1 else ""
        rows.append(_row(said, pair, i, name, lead, done))
    return _pairs(rows) + (f'<p class="source">{HINT}</p>' if done else "")


def _row(said: Writing, pair: Pair, i: int, name: str, lead: str, done: bool) -> str:
    """One sample on both sides."""
    mark = pair.parting() if done else None
    edits = f"{said.live} edit{'s' * (said.live != 1)}"
    first = _text(pair.before, i, "before", mark, lead, done)
    second = _text(pair.after, i, "after", mark, lead, done) if said.live else NO_EDIT
    after = f"After {edits}" if said.live else "After"
    return _panel(f"Before{name}", first) + _panel(f"{after}{name}", second)


def _pairs(rows: list[str]) -> str:
    return f'<div class="pairs">{"".join(rows)}</div>'


def _panel(name: str, text: str) -> str:
    return f'<div class="panel"><h3>{name}</h3><p>{text}</p></div>'


def _text(text: Text | None, i: int, side: str, mark: int | None, lead: str, done: bool) -> str:
    """The lead and the tokens of one text; while it grows there is a caret, and nothing to press.

    Only the first token is a stop of the Tab key; the arrow keys lead from it to the others.
    """
    if text is None:
        return ""
    if not done:
        return f'{lead}{escape("".join(text.pieces))}<i class="caret"></i>'
    parts, stop = [], 0
    for place, piece in enumerate(text.pieces):
        if piece:
            kind = "t" + " forced" * (place < text.forced) + " parting" * (place == mark)
            title = ' title="forced"' if place < text.forced else ""
            parts.append(
                f'<span class="{kind}" role="button" tabindex="{stop}"{title} '
                f'data-at="{i}.{side}.{place}">{escape(piece)}</span>'
            )
            stop = -1
    return f"{lead}{''.join(parts)}{' …' if text.cut else ''}"


def alternatives(found: Alternatives) -> str:
    """What could stand at a place: a button for each token, with both probabilities."""
    place = found.place
    at = f"{place.pair}.{place.side}.{place.index}"
    edited = found.tokens[0].after is not None
    buttons = []
    for one in found.tokens:
        chance = f"before {number(one.before)}"
        if one.after is not None:
            chance += f" · after {number(one.after)}"
        here = ' aria-current="true"' if one.id == found.chosen else ""
        buttons.append(
            f'<li><button type="button" data-token="{one.id}" data-at="{at}"{here}>'
            f"<b>{_shown(one.text)}</b> <small>{chance}</small>"
            f"{bars(one.before, one.after)}</button></li>"
        )
    models = "either model puts" if edited else "the model puts"
    return (
        f'<div class="alternatives"><h3>What {models} after “{escape(_end(found.lead))}”</h3>'
        f"<ul>{''.join(buttons)}</ul></div>"
    )


def _shown(token: str) -> str:
    """A token as one can read it: spaces and line ends made visible where nothing else is there."""
    text = token.strip() or {"\n": "↵", " ": "␣"}.get(
        token, token.encode("unicode_escape").decode()
    )
    return escape(text) or "<i>(end, or part of a character)</i>"


def _end(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"…{text[-most:]}"
