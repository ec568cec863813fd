"""The lines that say whose example one sees: a stored one, or the visitor's own."""

from __future__ import annotations

from html import escape


def edit_of(model: str, fact: str, editor: str, why: str = "") -> str:
    """Over a stored example of an edit; `why` is the reason why it is no example of one's own."""
    lead = f"{escape(why)} So here stands the stored example: " if why else "Stored example: "
    return _line(f"{lead}<b>{escape(fact)}</b>, written by {escape(editor)} on {escape(model)}.")


def race_of(model: str, edits: int, batch: int) -> str:
    """Over a stored stress test."""
    return _line(
        f"Stored example: <b>{edits} facts of the classroom</b> in batches of {batch}, on "
        f"{escape(model)}. A test of your own replaces it."
    )


def none_of(model: str, what: str) -> str:
    """Where nothing is stored for a model; `what` says how to have it all the same."""
    return _line(f"No example is stored for {escape(model)}. {escape(what)}")


def own(words: str) -> str:
    """Over something computed for the visitor."""
    return _line(f"<b>Yours</b>: {escape(words)}")


def _line(inside: str) -> str:
    return f'<p class="stored">{inside}</p>'
