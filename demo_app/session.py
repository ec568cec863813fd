"""What visitors may ask for. No Gradio here: everything returns a job or plain values."""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import lib
from lib.events import begins

from .compare import Reader, Subject, View
from .visitors import Session, Sessions
from .worker import Job, Trouble, Worker

EXAMPLES = Path(__file__).with_name("examples.json")
CHARACTERS = 600  # of a prompt
OWN = 8  # prompts of the visitor's own
EDITS = 20  # live at once
WRITE = 60  # tokens of "Write on"
NAMES = {
    "retrieval": "Retrieval", "alphaedit": "AlphaEdit", "ultraedit": "UltraEdit", "wilke": "WilKE",
    "norm_anchor": "Norm anchor (NAS)", "rledit": "RLEdit", "lora": "LoRA", "lemoe": "LEMoE",
}  # fmt: skip
SMALL = set(
    "a an and are at by did do does for from in is it of on or that the to was were".split()
)
STEPS = ("steps", "epochs")  # what editors call the length of their search


@dataclass(frozen=True)
class Written:
    """A free prompt continued: by the base model, and under `live` edits (None: not yet)."""

    before: str = ""
    after: str | None = None
    live: int = 0


class Studio:
    """The model, its one worker, the visitors and the examples: all that the page shares."""

    def __init__(self, lm: lib.LM) -> None:
        self.lm, self.worker, self.sessions = lm, Worker(), Sessions()
        self.reader = Reader(lm)
        offered = json.loads(EXAMPLES.read_text(encoding="utf-8"))
        self.cases = {case.id: case for case in lib.classroom()}
        self.examples = {self.label(self.cases[i].fact): i for i in offered["cases"]}
        self.ready = self.label(self.cases[offered["ready"]].fact)
        self._passes: dict[tuple, int] = {}  # (editor, steps) -> how many the last edit took
        self.bytes = {name: _digest(lm, name) for name in map(lm.mlp_out, range(lm.n_layers))}

    def close(self) -> None:
        """End the worker's thread."""
        self.worker.close()

    def visitor(self) -> Session:
        """A session that is nobody's: for what is computed before the page opens."""
        return Session()

    # ---- what there is to choose ---------------------------------------------------------------

    @staticmethod
    def label(fact: lib.Fact) -> str:
        """How an example is listed: "The Eiffel Tower → Rome"."""
        return f"{fact.subject[:1].upper()}{fact.subject[1:]} → {fact.target_new}"

    @staticmethod
    def editors() -> dict[str, tuple[str, str]]:
        """{name: (how it is written, its first sentence)} of all editors that need no training."""
        return {
            name: (NAMES.get(name, name.upper().replace("_", "-")), _sentence(editor))
            for name, editor in lib.EDITORS.items()
            if not editor.trained
        }

    def settings(self, editor: str) -> dict[str, int | None]:
        """The editor's own layer and number of steps here, None for what it does not have."""
        config = self.kind(editor).Config.preset(self.lm, editor)
        steps = next((getattr(config, name) for name in STEPS if hasattr(config, name)), None)
        layer = None if hasattr(config, "layers") else getattr(config, "layer", None)
        return {"layer": layer, "steps": steps}

    @staticmethod
    def kind(editor: str) -> type[lib.Editor]:
        """The editor's class. Raises Trouble with the names there are."""
        if editor not in lib.EDITORS:
            raise Trouble(f"There is no editor '{editor}'; there are {', '.join(lib.EDITORS)}.")
        return lib.EDITORS[editor]

    def example(self, label: str) -> lib.Case:
        """The case behind a label."""
        if label not in self.examples:
            raise Trouble(f"There is no example '{label}'.")
        return self.cases[self.examples[label]]

    def subject(self, subject: str, prompt: str, target: str, own: str = "") -> Subject:
        """What a form asks for, checked. Raises Trouble in one sentence.

        A fact of the classroom brings its own test prompts, whatever its new answer; any other
        borrows neighbors and unrelated prompts from the classroom fact with the nearest prompt.
        """
        subject, prompt, target = (text or "" for text in (subject, prompt, target))
        for name, text in ("subject", subject), ("prompt", prompt), ("new answer", target):
            if not text.strip():
                raise Trouble(f"The {name} is empty: please write one.")
            _short(name, text)
        try:
            fact = lib.Fact.find(prompt.strip(), subject.strip(), target.strip())
        except lib.FactError as error:
            raise Trouble(_sentence_of(error)) from None
        lines = tuple(
            dict.fromkeys(line.strip() for line in (own or "").splitlines() if line.strip())
        )
        if len(lines) > OWN:
            raise Trouble(f"{len(lines)} prompts of your own are too many: this page takes {OWN}.")
        for line in lines:
            _short("prompt of your own", line)
        for case in self.cases.values():
            if case.fact.text == fact.text and case.fact.subject == fact.subject:
                return Subject(replace(case, fact=fact), own=lines)
        lender = self._lender(fact)
        borrowed = replace(lender, fact=fact, paraphrases=(), portability=(), id="own")
        return Subject(borrowed, lender.fact.subject, lines)

    def _lender(self, fact: lib.Fact) -> lib.Case:
        """The classroom case whose prompt shares most words; no neighbor names the subject."""
        wanted, name = _words(fact.prompt), re.sub(r"^the ", "", fact.subject.casefold())

        def alike(case: lib.Case) -> float:
            has = _words(case.fact.prompt)
            return len(wanted & has) / max(len(wanted | has), 1)

        first = self.example(self.ready)  # it lends where nothing is alike
        free = [
            case
            for case in (first, *self.cases.values())
            if not any(name in probe.prompt.casefold() for probe in case.neighborhood)
        ]
        return max(free or [first], key=alike)

    # ---- what a visitor may do: each gives a job -----------------------------------------------

    def _submit(self, session: Session, work: Any) -> Job:
        job = self.worker.submit(work)
        session.jobs = [old for old in session.jobs if not old.finished.is_set()] + [job]
        return job

    def look(self, session: Session, subject: Subject) -> Job:
        """What the model says to a subject's prompts; with edits in force, before and after."""

        def work(job: Job) -> View:
            rows = self.reader.look(job, subject, session.patch)
            session.view = View(subject, rows, len(session.patches))
            return session.view

        return self._submit(session, work)

    def edit(
        self, session: Session, subject: Subject, editor: str,
        layer: int | None = None, steps: int | None = None,
    ) -> Job:  # fmt: skip
        """Write the subject's fact on top of the visitor's edits, then ask everything again."""
        kind, name = self.kind(editor), self.editors()[editor][0]
        own = self.settings(editor)
        known = {"layer": layer, "steps": steps}
        chosen = {k: int(v) for k, v in known.items() if v is not None and own[k] is not None}
        if not 1 <= chosen.get("steps", 1) <= 100:
            raise Trouble(f"{chosen['steps']} steps cannot be taken: 1 to 100 can.")
        if "steps" in chosen:
            word = next(word for word in STEPS if hasattr(kind.Config(), word))
            chosen[word] = chosen.pop("steps")

        def work(job: Job) -> View:
            if len(session.patches) >= EDITS:
                raise Trouble(
                    f"{EDITS} edits are live, as many as one visitor may have: undo some."
                )
            fact, patch = subject.case.fact, session.patch
            prompts = [prompt for _, prompt, _ in subject.prompts]
            base = self.reader.base(job, prompts, fact.target_new, 0.0, 0.2)
            present = base[0].text
            if patch:
                words = "Asking with your edits so far"
                found, _ = self.reader.ask(
                    job, prompts[:1], fact.target_new, patch, words, 0.2, 0.25
                )
                present = found[0].text
            key = editor, chosen.get("steps", chosen.get("epochs", own["steps"]))
            expected = self._passes.get(key, (key[1] or 0) + 14)
            started = time.perf_counter()
            with job.counting(self.lm, f"{name} is writing", expected, 0.25, 0.75) as passes:
                patch = kind(self.lm, **chosen).edit([fact], after=patch)
            seconds, self._passes[key] = time.perf_counter() - started, passes()
            rows = self.reader.look(job, subject, patch, begin=0.75)
            note = None
            if begins(present, fact.target_new):
                note = f"The model already answered “{fact.target_new}” before this edit."
            session.patches.append(patch)
            view = View(subject, rows, len(session.patches), name, seconds, note)
            session.view = view
            return view

        return self._submit(session, work)

    def undo(self, session: Session, everything: bool = False) -> Job:
        """Take back the last edit, or all, and prove it: bytes of weights, answers asked again."""

        def work(job: Job) -> View:
            if not session.patches:
                raise Trouble(
                    "There is no edit to undo; edits are dropped after an hour of silence."
                )
            last = session.patch
            left = [] if everything else session.patches[:-1]
            patch = left[-1] if left else lib.EMPTY
            subject = session.view.subject
            rows = self.reader.look(job, subject, patch, fresh=True)
            self._verify(last)
            same = sum(row.before.text == row.after.text for row in rows)
            session.patches[:] = left
            proof = "The model's weights are byte-identical to those it came with"
            if left:
                live = f"{len(left)} edit{'s' * (len(left) > 1)} of yours still live"
                note = f"Undone. {live}. {proof}: an edit is only laid over them."
            else:
                note = (
                    f"Undone. {proof}, and {same} of {len(rows)} answers are the model's own again."
                )
            session.view = View(subject, rows, len(left), note=note, undone=True)
            return session.view

        return self._submit(session, work)

    def write(self, session: Session, prompt: str, chat: bool) -> Job:
        """Continue a free prompt, as the base model and with the visitor's edits."""
        if not (prompt or "").strip():
            raise Trouble("The prompt is empty: write the beginning of a sentence.")
        _short("prompt", prompt)
        prompt = prompt if chat else prompt.rstrip()

        def work(job: Job) -> Written:
            patch, said = session.patch, Written(live=len(session.patches))
            for name, one in {"before": lib.EMPTY, "after": patch}.items():
                if name == "after" and not patch:
                    break
                text = ""
                with self.lm.patched(one, only=True):
                    pieces = self.lm.generate(prompt, WRITE, chat=chat, stream=True)
                    for count, piece in enumerate(pieces, 1):
                        text += piece if count < WRITE else f"{piece} …"
                        said = replace(said, **{name: text})
                        job.report(count / WRITE, "Writing", partial=said)
            return said

        return self._submit(session, work)

    def _verify(self, patch: lib.Patch) -> None:
        """Raise unless every matrix the patch touched is what it was, byte for byte."""
        for name in {*patch.weights, *patch.routes} & self.bytes.keys():
            if _digest(self.lm, name) != self.bytes[name]:
                raise Trouble(f"The weights of {name} are not what they were: restart the page.")


def _digest(lm: lib.LM, module: str) -> tuple[int, str]:
    """Address and SHA-256 of a matrix's bytes."""
    W = lm.model.get_submodule(module).weight.detach()
    raw = W.cpu().contiguous().view(torch.uint8).numpy()
    return W.data_ptr(), hashlib.sha256(raw).hexdigest()


def _short(name: str, text: str) -> None:
    if len(text) > CHARACTERS:
        raise Trouble(
            f"The {name} has {len(text):,} characters; this page takes up to {CHARACTERS}."
        )


def _sentence(editor: type[lib.Editor]) -> str:
    first = " ".join((editor.__doc__ or "").split("\n\n")[0].split())
    text = first.split(": ", 1)[-1]  # "FT-L: fine-tuning of …": the name stands in the list already
    return text[:1].upper() + text[1:]


def _sentence_of(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def _words(prompt: str) -> set[str]:
    """The words of a prompt that tell what it asks; a prompt of small words only has none."""
    return set(re.findall(r"\w+", prompt.casefold())) - SMALL
