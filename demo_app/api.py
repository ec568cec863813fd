"""The endpoints for programs: /edit, /answer, /compare, /share and /settings, plain values.

With gradio_client one Client is one visitor: its edits pile up, are seen by nobody else, and are
dropped when it closes, as is what it still waits for. A call that has been sent is made, whether or
not the program still wants the answer. The endpoints are Gradio's, so this file stands on the floor
of the tabs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypedDict, get_type_hints

import gradio as gr

from .session import given, sharing
from .session.editor_settings import listed
from .session.studio import Studio
from .session.verdicts import outcome
from .session.views import Column, Row, View, moved, tally
from .session.visitors import Session
from .session.worker import Job, Stopped, Trouble
from .stored.examples import Examples


class Asked(TypedDict):
    """One prompt before and after an edit; `good` is null if the row does not count."""

    group: str
    prompt: str
    before: str
    after: str | None
    p_new: list[float | None]
    p_old: list[float | None]
    kl_nats: float | None
    good: bool | None
    verdict: str


class Result(TypedDict, total=False):
    """One editor's result; only `editor`, `error` and `rows` if it made no edit."""

    editor: str
    error: str
    verdict: str
    written: bool | None
    rewordings: list[int]
    consequences: list[int]
    neighbors_kept: list[int] | None
    unrelated_kl_nats: float | None
    seconds: float
    stored: bool
    rows: list[Asked]


class Edited(Result, total=False):
    """The result of an edit that is live, with its relation and the number of live edits."""

    kind: str | None
    live: int


class SharedEdit(TypedDict):
    """One edit to pass on: addresses relative to the page's, and what they show."""

    link: str
    picture: str
    verdict: str
    rows: list[Asked]


def endpoints(studio: Studio, examples: Examples | None = None) -> None:
    """Add the endpoints to the page that is being built."""

    async def done(request: gr.Request, start: Callable[[Session], Job]) -> Any:
        """The result of a visitor's job, which is stopped when the visitor leaves.

        It waits without a thread of the web server, so that many may wait.
        """
        try:
            job = start(studio.sessions.get(request.session_hash))
            try:
                return await asyncio.wrap_future(job.ended)
            finally:
                job.stop()
        except (Trouble, Stopped) as error:  # not shown as HTML, so not escaped
            said = str(error) or "Stopped; nothing was changed."
            raise gr.Error(said, print_exception=False) from None

    async def edited(request: gr.Request, fact: tuple, editor: Any, **more: Any) -> View:
        return await done(
            request,
            lambda session: studio.edit(session, studio.choices.subject(*fact), editor, **more),
        )

    async def edit(
        subject: str,
        prompt: str,
        target: str,
        editor: str = "rome",
        own: str = "",
        settings: str = "",
        request: gr.Request = None,
    ) -> Edited:
        """Write one fact on top of this visitor's edits, and ask everything again.

        The prompt has {} or the subject itself in it; own: more prompts, one per line. settings:
        of the editor, one name = value per line, as /settings lists them. The edit is live even
        where `written` is false. Gives the relation of the classroom whose prompts test the fact
        (`kind`; null: none fits), what was measured, and every row before and after. `verdict` and
        `good` are those of the page: `good` is null where a row does not count, and `written` is
        null where the model gave the new answer before, so that there was nothing to change.
        """
        fact = subject, prompt, target, own
        view = await edited(request, fact, editor, keep="any", more=settings, listed=False)
        kind, live = view.subject.case.relation, view.live
        return {**summary(view.columns[0]), "kind": kind, "live": live}

    async def compare(
        subject: str,
        prompt: str,
        target: str,
        editors: list[str],
        own: str = "",
        request: gr.Request = None,
    ) -> list[Result]:
        """The same edit by up to four editors side by side; this visitor's edits stay as they were.

        One entry per editor, as /edit gives it; with `error` where an editor refuses the fact,
        or cannot follow this visitor's edits; where none can, the call fails with their sentences.
        """
        view = await edited(request, (subject, prompt, target, own), editors, keep="none")
        return [summary(column) for column in view.columns]

    async def answer(
        prompt: str, chat: bool = False, tokens: int = 16, request: gr.Request = None
    ) -> dict:
        """What the model says: {"before": …, "after": …, "live": this visitor's edits}."""
        return await done(request, lambda session: studio.answer(session, prompt, chat, tokens))

    def settings(editor: str = "rome") -> list[dict]:
        """The settings of an editor: value for this model, published value, and what each does."""
        if not isinstance(editor, str) or editor not in studio.choices.editors:
            said = f"There is no editor “{given.short(editor)}” here."
            raise gr.Error(said, print_exception=False)
        return listed(studio.lm, editor)

    def share(
        example: str = "",
        subject: str = "",
        prompt: str = "",
        target: str = "",
        editor: str = "rome",
        saw: str = "",
    ) -> SharedEdit:
        """The link and the picture of an edit, of an example by its name or of a typed fact.

        saw: how many rows you foresaw, of how many, such as 5-6. The rows are those in the store,
        or those of an edit that was made here lately; otherwise there are none.
        """
        query = dict(example=example, subject=subject, prompt=prompt, target=target)
        query |= dict(editor=editor, saw=saw)
        stored = examples.view if examples is not None else lambda subject: None
        try:
            for name, value in query.items():
                if not isinstance(value, str):
                    raise Trouble(f"The {name} should be a text.")
            found = sharing.shared(studio.choices, studio.first_edits, stored, query)
        except Trouble as error:
            raise gr.Error(str(error), print_exception=False) from None
        link, picture = sharing.addresses(studio.choices, found)
        rows = found.rows if found.rows[0].after is not None else ()
        verdict = outcome(rows).word if rows else ""
        return SharedEdit(link=link, picture=picture, verdict=verdict, rows=list(map(asked, rows)))

    for function in (edit, compare, answer, share, settings):
        function.__annotations__ = get_type_hints(function)  # gradio reads no type that is a text
        gr.api(function, concurrency_limit=None)


def summary(column: Column) -> Result:
    """One editor's result as plain values; `neighbors_kept` is None where no neighbor counts."""
    if column.patch is None:
        return {"editor": column.editor, "error": column.error, "rows": []}
    kept = tally(column.rows, "neighbor")
    return {
        "editor": column.editor,
        "verdict": outcome(column.rows).word,
        "written": column.rows[0].good,
        "rewordings": list(tally(column.rows, "reworded")),
        "consequences": list(tally(column.rows, "follows")),
        "neighbors_kept": list(kept) if kept[1] else None,
        "unrelated_kl_nats": moved(column.rows),
        "seconds": column.seconds,
        "stored": column.stored,
        "rows": [asked(row) for row in column.rows],
    }


def asked(row: Row) -> Asked:
    """A row as plain values."""
    return {
        "group": row.group,
        "prompt": row.prompt,
        "before": row.before,
        "after": row.after,
        "p_new": [row.p_before, row.p_after],
        "p_old": [row.old, row.old_after],
        "kl_nats": row.kl,
        "good": row.good,
        "verdict": row.word,
    }
