"""The studio: everything that the page's visitors share, and the actions available to them.

It contains the model, the single worker that runs it, the visitors, and the parts that do the work:
the choices, the asker, the first edits and the revisions. Testing and editing are implemented here.
A long job is a generator, and other visitors can use the model between its steps (see worker.py).
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Sequence
from functools import partial

import lib
from lib.computed_once import make_missing

from . import checks, editor_settings
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

WRITE = 60  # maximum number of tokens in an answer


class Studio:
    """The model and everything that its visitors share.

    lm: the model.
    worker: the thread that does all model work.
    sessions: the visitors.
    choices: the examples and editors, and validation of the form.
    asker: asks all prompts about a subject, before and after an edit.
    health: tests whether edits hold, and whether the edited model still predicts text well.
    own_facts: finds test prompts for facts that visitors type.
    first_edits: writes facts, and keeps the edits of the unedited model.
    revisions: keeps a different edit, and undoes edits.
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
        """In the background, edit the opening example, prepare other editors, and test all
        examples.

        Visitors always go first.
        """
        subject = self.choices.ready_subject()

        def ahead(job: Job, kind: str = "") -> None:
            every = [one for e in known for one in self.choices.writer(e).statistics()]
            with job.counting(self.lm, "Preparing", 1, 0.0, 1.0):
                make_missing(one for one in every if one.kind.startswith(kind))

        known, examples = self.choices.editors, self.choices.examples
        warm, look = self.first_edits.warm, partial(self.asker.look, patch=lib.EMPTY)
        steps = [partial(warm, editor=one, subject=subject) for one in self.choices.used("warm")]
        self.worker.in_background(
            self.health.read,
            *steps[:1],
            partial(ahead, kind="moments"),  # for all layers, in a single pass over the text
            *steps[1:],
            self.own_facts.warm,
            lambda _: importlib.import_module("lib.workbench.plot.style"),  # includes matplotlib
            ahead,
            *(partial(look, subject=one) for one in map(self.choices.ready_subject, examples)),
        )

    # ---- visitors' actions; each returns a job ---------------------------------------------------

    def look(self, session: Session, subject: Subject) -> Job:
        """The model's answers to a subject's prompts; if edits are live, before and after."""

        def work(job: Job) -> View:
            asked = self.own_facts.with_tests(job, subject)
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
        """Write the fact with each editor on top of the visitor's edits, and test every prompt.

        At most one result becomes the visitor's edit: the first that makes the model give the new
        answer. If none does, none is kept until the visitor chooses one (`revisions.keep`). With
        keep="any", the first successful patch is kept in this case; with keep="none", nothing is
        ever kept.
        more: lines of settings.
        listed: whether a person is looking at the page. If so, the list of edits is shown
            afterwards, along with the model's perplexity on ordinary text, and a previous edit of
            the same fact is replaced.
        anyway: whether to write a fact even if the unedited model already gives the new answer;
            only matters if a person is looking and no edit is live.

        Raises Trouble immediately if none of the editors can write on top of the live edits.
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
                    f"{EDITS} edits are live, the maximum for one visitor. Undo some first."
                )
            asked, before = self.own_facts.with_tests(job, subject), ()
            if listed and keep != "none":  # a person is looking: show the current answers first
                before = self.asker.look(job, asked, lib.EMPTY, 0.2 * asked.typed, end=0.3)
                old = self.asker.old(asked)
                job.report(0.3, "Starting the edit", View(asked, before, len(held), old=old))
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
                # show finished results while other editors are still writing
                if column.rows and one != names[-1]:
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
                raise Trouble(
                    "Your edits changed in the meantime, so this one was not kept. Try again."
                )
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

        if not session.before:  # otherwise an earlier job may remove the obstacle
            below()
        return session.submit(self.worker, work, partial=self.asker.unasked(subject))

    def answer(
        self, session: Session, prompt: str, chat: bool, tokens: int, shown: View | None = None
    ) -> Job:
        """One answer from the base model and with the visitor's edits: a dict of plain values.

        shown: the current view. If no edit is live and the view is a stored example, use the
            example's edit.
        """
        prompt, chat = checks.text("prompt", prompt), checks.flag("The chat option", chat)
        tokens = min(max(checks.whole("number of tokens", tokens), 1), WRITE)

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
