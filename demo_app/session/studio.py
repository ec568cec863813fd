"""The studio: all that the page shares, and what visitors may do with it.

It holds the model, the one worker that runs it, the visitors, and the parts that know how things
are done: the choices, the asker, the first edits and the revisions. It looks and edits by itself. A
long job is a generator: between its steps the model goes to whoever waits (see worker.py).
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Sequence
from functools import partial

import lib
from lib.computed_once import make_missing

from . import editor_settings, given
from .asking import Asker
from .choices import Choices
from .edits import AppliedEdit, Health, patch_of
from .first_edits import FirstEdits
from .own_facts import OwnFacts
from .revisions import Revisions
from .verdicts import said
from .views import EDITS, Subject, View
from .visitors import Session, Sessions
from .worker import Job, Trouble, Worker

WRITE = 60  # tokens of an answer at most


class Studio:
    """The model and everything that its visitors share.

    lm: the model.
    worker: the thread that does all model work.
    sessions: the visitors.
    choices: examples, editors, and the check of what was typed.
    asker: asks all prompts of a subject, before and after an edit.
    health: asks whether edits hold, and whether the model still reads well.
    own_facts: finds the test prompts of facts that visitors type.
    first_edits: writes facts, and keeps the edits of the unedited model.
    revisions: keeps another edit, and undoes.
    """

    def __init__(self, lm: lib.LM) -> None:
        self.lm = lm
        self.worker, self.sessions = Worker(), Sessions()
        self.choices, self.asker = Choices(lm), Asker(lm)
        self.health = Health(lm, self.asker)
        self.own_facts = OwnFacts(lm, self.asker)
        self.first_edits = FirstEdits(lm, self.asker, self.choices)
        self.revisions = Revisions(lm, self.worker, self.asker, self.choices, self.health)

    def close(self) -> None:
        """End the worker's thread."""
        self.worker.close()

    def warm_up(self) -> None:
        """Edit the ready example in the background, make what other editors read, ask examples.

        Whoever comes goes first.
        """
        subject = self.choices.ready_subject()

        def ahead(job: Job, kind: str = "") -> None:
            every = [one for e in known for one in self.choices.writer(e).statistics()]
            with job.counting(self.lm, "Preparing", 1, 0.0, 1.0):
                make_missing(one for one in every if one.kind.startswith(kind))

        known, examples = self.choices.editors, self.choices.examples
        warm, look = self.first_edits.warm, partial(self.asker.look, patch=lib.EMPTY)
        steps = [partial(warm, editor=one, subject=subject) for one in self.choices.used("warm")]
        self.worker.whenever(
            self.health.read,
            *steps[:1],
            partial(ahead, kind="moments"),  # of all layers in one pass over the text
            *steps[1:],
            self.own_facts.warm,
            lambda _: importlib.import_module("lib.workbench.plot.style"),  # with matplotlib
            ahead,
            *(partial(look, subject=one) for one in map(self.choices.ready_subject, examples)),
        )

    # ---- what a visitor may do: each gives a job -----------------------------------------------

    def look(self, session: Session, subject: Subject) -> Job:
        """What the model says to a subject's prompts; with edits in force, before and after."""

        def work(job: Job) -> View:
            asked = self.own_facts.judged(job, subject)
            rows = self.asker.look(job, asked, session.patch, 0.2 * asked.typed)
            live, old = len(session.edits), self.asker.old(asked)
            session.view = View(asked, rows, live, old=old)
            return session.view

        return session.submit(self.worker, work, partial=self.asker.unasked(subject))

    def edit(
        self,
        session: Session,
        subject: Subject,
        editor: str | Sequence[str],
        keep: str = "said",
        more: str = "",
        listed: bool = True,
        anyway: bool = False,
    ) -> Job:
        """Write the fact on top of the visitor's edits with each editor, and ask all again.

        At most one becomes an edit of the visitor's: the first that the model says, and where it
        says none, none until the visitor takes it (`revisions.keep`). keep="any": then the first
        that was made; "none": none in any case. more: lines of settings.
        listed: whether somebody looks on. Then the list of edits is shown behind it, and with it
        how likely ordinary text still is; and a last edit that wrote the same fact makes room.
        anyway: whether a fact is written that the unedited model gives by itself, where somebody
        looks on and no edit is live.

        Raises Trouble at once where none of the editors can follow the edits that are live.
        """
        names = self.choices.several(editor)
        settings = editor_settings.of_each(self.lm, names, more)

        def below() -> tuple[AppliedEdit, ...]:
            held = session.edits
            same = listed and held and held[-1].line.facts == (subject.case.fact,)
            held = held[:-1] if same else held
            refused = self.choices.refused(patch_of(held), names, settings)
            if len(refused) == len(names):
                raise Trouble(". ".join(refused.values()))
            return held

        def work(job: Job) -> Generator[None, None, View]:
            edits, held = session.edits, below()
            start, again = patch_of(held), held is not edits
            if len(held) >= EDITS:
                raise Trouble(
                    f"{EDITS} edits are live, as many as one visitor may have: undo some."
                )
            asked, before = self.own_facts.judged(job, subject), ()
            if listed and keep != "none":  # somebody looks on, and sees what the model says so far
                before = self.asker.look(job, asked, lib.EMPTY, 0.2 * asked.typed, end=0.3)
                old = self.asker.old(asked)
                job.report(0.3, "Now the edit", View(asked, before, len(held), old=old))
                true = said(before[0].before, [subject.case.fact.target_new])
                if true and keep == "said" and not (edits or anyway):
                    session.view = View(asked, before, already=True)
                    return session.view
            yield
            columns = []
            for i, one in enumerate(names):
                begin, end = (0.3 + 0.6 * (i + part) / len(names) for part in (0, 1))
                column = yield from self.first_edits.column(
                    job, one, asked, start, settings[one], begin, end, () if i else before
                )
                columns.append(column)
                if column.rows and one != names[-1]:  # what is there is shown while others write
                    so_far = View(asked, (), len(held), columns=tuple(columns), stored=True)
                    job.report(end, f"{column.name} is done", so_far.show(i))
            old, made = self.asker.old(asked), tuple(columns)
            view = View(asked, (), len(held), columns=made, old=old, again=again)
            if keep == "none":
                return view
            good = [i for i, column in enumerate(columns) if column.patch is not None]
            if not good:
                raise Trouble(columns[0].error)
            if session.edits is not edits:
                raise Trouble("Your edits changed meanwhile, so this one was not kept: try again.")
            took = [i for i in good if columns[i].rows[0].good is not False]
            best = (took or good)[0]
            if not took and keep == "said":
                session.view = view.show(best)
                return session.view
            kept = columns[best]
            now = (*held, AppliedEdit(kept.patch, kept.name, kept.rows[0]))
            warning = None
            if listed:
                now, warning = self.health.checked(job, now)
            session.edits, session.warning = now, warning
            session.view = view.keep(best)
            return session.view

        if not session.before:  # else an earlier job may take out what is in the way
            below()
        return session.submit(self.worker, work, partial=self.asker.unasked(subject))

    def answer(
        self, session: Session, prompt: str, chat: bool, tokens: int, shown: View | None = None
    ) -> Job:
        """One answer as the base model and with the visitor's edits: a dict of plain values.

        shown: what is in view; where no edit is live and this is a stored example, its edit counts.
        """
        prompt, chat = given.text("prompt", prompt), given.flag("Asking as chat", chat)
        tokens = min(max(given.whole("number of tokens", tokens), 1), WRITE)

        def work(job: Job) -> dict:
            after, found = session.patch, {"live": len(session.edits)}
            if shown is not None and shown.stored and not after:
                editor, about = shown.column.editor, shown.subject
                after = self.first_edits.first(job, editor, about, lib.EMPTY, {}, 0, 0.5).patch
                found["example"] = f"the stored edit by {shown.column.name}"
            for name, patch in {"before": lib.EMPTY, "after": after}.items():
                with job.counting(self.lm, "Answering", tokens, 0.0, 1.0):
                    with self.lm.patched(patch, only=True):
                        found[name] = self.lm.answer(prompt, tokens, chat=chat)
            return found

        return session.submit(self.worker, work)
