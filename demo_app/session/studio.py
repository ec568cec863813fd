"""What visitors may do: look, edit, write on; revise.py adds undo and switches. No Gradio here.

A long job is a generator: between its steps the model goes to whoever waits (worker.py), and no
patch is entered across a `yield`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import lib
from lib.evaluation.answers import begins

from . import edit_list as keep
from . import editor_settings as options
from . import interference
from .asking import Reader
from .choices import Forms, short
from .first_edits import Writing
from .revisions import Revising, digest
from .views import Subject, View
from .visitors import Session, Sessions
from .worker import Job, Trouble, Worker

EDITS = 20  # live at once
WRITE = 60  # tokens of "Write on", if nothing is chosen
LONGEST = 120


@dataclass(frozen=True)
class Written:
    """A free prompt continued: by the base model, and under `live` edits (None: not yet)."""

    before: str = ""
    after: str | None = None
    live: int = 0


class Studio(Writing, Forms, Revising):
    """The model, its one worker, the visitors and the examples: all that the page shares."""

    def __init__(self, lm: lib.LM) -> None:
        super().__init__(lm)
        self.worker, self.sessions, self.reader = Worker(), Sessions(), Reader(lm)
        self.unedited = keep.Said()  # by the model as it came, to prompts of edits
        self.writes: dict[tuple[str, int], float] = {}  # (editor, layer) -> size of its last write
        self.bytes = {name: digest(lm, name) for name in map(lm.mlp_out, range(lm.n_layers))}

    def close(self) -> None:
        """End the worker's thread."""
        self.worker.close()

    def visitor(self) -> Session:
        """A session that is nobody's: for what is computed before the page opens."""
        return Session()

    # ---- what a visitor may do: each gives a job -----------------------------------------------

    def _submit(self, session: Session, work: Any) -> Job:
        running = [old for old in session.jobs if not old.finished.is_set()]
        before = next((old for old in reversed(running) if isinstance(old, Job)), None)
        job = self.worker.submit(work, after=before)  # one visitor's jobs stay in their order
        session.jobs = [*running, job]
        return job

    def look(self, session: Session, subject: Subject) -> Job:
        """What the model says to a subject's prompts; with edits in force, before and after."""

        def work(job: Job) -> View:
            rows = self.reader.look(job, subject, session.patch)
            live, old = len(session.patches), self.reader.old(subject)
            session.view = View(subject, rows, live, old=old)
            return session.view

        return self._submit(session, work)

    def edit(
        self, session: Session, subject: Subject, editor: str | Sequence[str],
        layer: int | None = None, steps: int | None = None, keep_none: bool = False,
        more: str = "",
    ) -> Job:  # fmt: skip
        """Write the fact on top of the visitor's edits with each editor, and ask all again.

        Only one becomes an edit of the visitor's: the first that worked (`keep` takes another);
        none with keep_none=True. layer, steps and `more` (options.py) are for a single editor.
        """
        names = self.several(editor)
        settings = {}
        if len(names) == 1:
            settings = self.chosen(names[0], layer, steps)
            settings |= options.changes(self.lm, names[0], more)
            self.bounded(settings)

        def work(job: Job) -> Iterator[None]:
            if len(session.patches) >= EDITS:
                raise Trouble(
                    f"{EDITS} edits are live, as many as one visitor may have: undo some."
                )
            keep.sync(session, self.editors())
            fact, start, held = subject.case.fact, session.patch, list(session.patches)
            asks = [(text, group == "chat") for group, text, _ in self.reader.prompts(subject)]
            present = self.reader.base(job, asks, fact.target_new, 0.0, 0.1)[0].text
            if start:
                words = "Asking with your edits so far"
                found, *_ = self.reader.ask(job, asks[:1], fact.target_new, start, words, 0.1, 0.15)
                present = found[0].text
            yield
            columns = []
            for i, one in enumerate(names):
                begin, end = (0.15 + 0.8 * (i + part) / len(names) for part in (0, 1))
                columns.append((yield from self._column(job, one, subject, start, settings,
                                                        begin, end, len(names) > 1)))  # fmt: skip
            good = [i for i, column in enumerate(columns) if column.patch is not None]
            if keep_none:
                return View(subject, (), len(session.patches), columns=tuple(columns))
            if not good:
                raise Trouble(columns[0].error)
            if len(held) != len(session.patches) or session.patch is not start:
                raise Trouble("Your edits changed meanwhile, so this one was not kept: try again.")
            chosen = columns[good[0]]
            keep.add(session, chosen.patch, chosen.name, chosen.seconds)
            self._measure(job, session, 0, 0.95)
            self._measure(job, session, len(session.patches), 0.97)
            note = None
            if begins(present, fact.target_new):
                note = f"The model already answered “{fact.target_new}” before this edit."
            view = View(subject, chosen.rows, len(session.patches), note=note,
                        columns=tuple(columns), old=self.reader.old(subject))  # fmt: skip
            session.view = view.keep(good[0])
            return session.view

        return self._submit(session, work)

    def write(
        self, session: Session, prompt: str, chat: bool,
        tokens: int = WRITE, temperature: float = 0.0,
    ) -> Job:  # fmt: skip
        """Continue a free prompt, as the base model and with the visitor's edits.

        At most `tokens` new ones: the most probable each time or, by temperature, drawn with a
        fixed seed, the same before and after.
        """
        if not (prompt or "").strip():
            raise Trouble("The prompt is empty: write the beginning of a sentence.")
        short("prompt", prompt)
        prompt = prompt if chat else prompt.rstrip()
        tokens, heat = min(max(int(tokens), 1), LONGEST), min(max(float(temperature), 0.0), 2.0)

        def work(job: Job) -> Written:
            patch, said = session.patch, Written(live=len(session.patches))
            for name, one in {"before": lib.EMPTY, "after": patch}.items():
                if name == "after" and not patch:
                    break
                text = ""
                with self.lm.patched(one, only=True):
                    pieces = self.lm.generate(prompt, tokens, chat=chat, stream=True,
                                              temperature=heat)  # fmt: skip
                    for count, piece in enumerate(pieces, 1):
                        text += piece if count < tokens else f"{piece} …"
                        said = replace(said, **{name: text})
                        job.report(count / tokens, "Writing", partial=said)
            return said

        return self._submit(session, work)

    def answer(self, session: Session, prompt: str, chat: bool, tokens: int) -> Job:
        """One answer as the base model and with the visitor's edits: a dict of plain values."""
        if not (prompt or "").strip():
            raise Trouble("The prompt is empty: write the beginning of a sentence.")
        short("prompt", prompt)
        tokens = min(max(int(tokens), 1), WRITE)

        def work(job: Job) -> dict:
            found = {"live": len(session.patches)}
            for name, patch in {"before": lib.EMPTY, "after": session.patch}.items():
                with job.counting(self.lm, "Answering", tokens, 0.0, 1.0):
                    with self.lm.patched(patch, only=True):
                        found[name] = self.lm.answer(prompt, tokens, chat=chat)
            return found

        return self._submit(session, work)

    def predict(self, session: Session, subject: Subject, editor: str) -> Job:
        """Which facts in view this edit will disturb: an interference.Prediction."""

        def work(job: Job) -> interference.Prediction:
            keep.sync(session, self.editors())
            session.foretold = interference.predict(job, self, session, subject, editor)
            return session.foretold

        return self._submit(session, work)

    def measure(self, session: Session) -> Job:
        """What the last edit did to the facts in view, beside what was predicted."""

        def work(job: Job) -> Iterator[None]:
            if not session.patches:
                raise Trouble("There is no edit to measure: press Edit in the first tab.")
            keep.sync(session, self.editors())
            fact, line = session.patch.log[-1].facts, session.patch.log[-1]
            before = session.patches[-2] if len(session.patches) > 1 else lib.EMPTY
            told = session.foretold
            if told is None or told.fact not in fact or told.editor != line.editor:
                if not fact or line.editor not in self.editors():
                    raise Trouble("The last edit came from a file: write one in the first tab.")
                now = replace(session, patches=session.patches[:-1])  # as it was before the edit
                wanted = self.subject(fact[0].subject or "", fact[0].prompt, fact[0].target_new)
                told = interference.predict(job, self, now, wanted, line.editor)
                yield
            found = yield from interference.measure(job, self, session, before, told)
            session.foretold = found
            return found

        return self._submit(session, work)
