"""The endpoints for programs, using plain values: /edit, /answer, /compare, /share and /settings.

Each gradio_client Client is one visitor. Its edits accumulate, no other visitor sees them, and they
are dropped when the client closes, along with any calls still waiting. A call that was already sent
is completed even if the program no longer wants the answer. The endpoints belong to Gradio, so this
module is in the same layer as the tabs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypedDict, get_type_hints

import gradio as gr

from .session import checks, sharing
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
    """One editor's result; only `editor`, `error` and `rows` if there is no edit."""

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
    """Addresses for sharing one edit, relative to the page's, and the rows they show."""

    link: str
    picture: str
    verdict: str
    rows: list[Asked]


def endpoints(studio: Studio, examples: Examples | None = None) -> None:
    """Add the endpoints to the page that is being built."""

    async def done(request: gr.Request, start: Callable[[Session], Job]) -> Any:
        """Return the result of a visitor's job, which is stopped when the visitor leaves.

        Waiting doesn't occupy one of the web server's threads, so many calls can wait.
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
        """Write one fact on top of this visitor's edits, and test every prompt again.

        The prompt contains {} or the subject itself. own: more prompts, one per line. settings: the
        editor's settings, one name = value per line, as listed by /settings. The edit is live even
        if `written` is false. Returns the built-in relation whose prompts test the fact (`kind`;
        null if none fits), the measurements, and every row before and after. `verdict` and `good`
        are the same as on the page: `good` is null if a row does not count, and `written` is null
        if the model already gave the new answer, leaving nothing to change.
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
        """Make the same edit with up to four editors, leaving this visitor's edits unchanged.

        Returns one entry per editor, as from /edit, with `error` if an editor rejects the fact or
        cannot write on top of this visitor's edits. If none of them can, the call fails and gives
        their reasons.
        """
        view = await edited(request, (subject, prompt, target, own), editors, keep="none")
        return [summary(column) for column in view.columns]

    async def answer(
        prompt: str, chat: bool = False, tokens: int = 16, request: gr.Request = None
    ) -> dict:
        """The model's answers: {"before": …, "after": …, "live": number of live edits}."""
        return await done(request, lambda session: studio.answer(session, prompt, chat, tokens))

    def settings(editor: str = "rome") -> list[dict]:
        """An editor's settings: value for this model, published value, and effect of each."""
        if not isinstance(editor, str) or editor not in studio.choices.editors:
            said = f"Unknown editor “{checks.short(editor)}”."
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
        """The link and the picture for an edit, given an example's name or a typed fact.

        saw: how many rows you predicted and out of how many, for example 5-6. The rows come from
            the stored examples or from an edit made here recently; otherwise there are none.
        """
        query = dict(example=example, subject=subject, prompt=prompt, target=target)
        query |= dict(editor=editor, saw=saw)
        stored = examples.view if examples is not None else lambda subject: None
        try:
            for name, value in query.items():
                if not isinstance(value, str):
                    raise Trouble(f"The {name} should be text.")
            found = sharing.shared(studio.choices, studio.first_edits, stored, query)
        except Trouble as error:
            raise gr.Error(str(error), print_exception=False) from None
        link, picture = sharing.addresses(studio.choices, found)
        rows = found.rows if found.rows[0].after is not None else ()
        verdict = outcome(rows).word if rows else ""
        return SharedEdit(link=link, picture=picture, verdict=verdict, rows=list(map(asked, rows)))

    for function in (edit, compare, answer, share, settings):
        function.__annotations__ = get_type_hints(function)  # gradio cannot read strings
        gr.api(function, concurrency_limit=None)


def summary(column: Column) -> Result:
    """One editor's result as plain values; `neighbors_kept` is None if no neighbor counts."""
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
    """Return a row as plain values."""
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
