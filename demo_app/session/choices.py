"""The examples and editors that a visitor may choose, and the check of what was typed.

A form is checked before any work is done: whatever is wrong with it becomes one sentence.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import lib
from lib.data.placeholders import MARKS

from ..editor_roles import ABOUT, ROLES
from . import consequences, editor_settings, given
from .views import Subject, capital
from .worker import Trouble

EXAMPLES = Path(__file__).parents[1] / "examples.json"
OWN = 8  # prompts of the visitor's own
ASKING = {"what", "who", "where", "when", "which", "how", "why"}  # they are about nothing
BESIDE = 4  # editors side by side
OURS = " Here in our form, not the paper's."


class Choices:
    """The examples and editors of a model, and the check of what was typed.

    cases: {number: case} of the classroom, as far as the model knows them.
    examples: {label: number of the case} of the examples that are offered.
    editors: {name: (how it is written, a sentence about it)} of all editors that can edit here.
    ready: the label of the example that stands in the form when the page opens: the one that is
        meant for it, or the first that the model knows.
    """

    def __init__(self, lm: lib.LM) -> None:
        self.lm = lm
        offered = json.loads(EXAMPLES.read_text(encoding="utf-8"))
        self.cases = {case.id: case for case in lib.classroom(lm.name)}
        shown = [i for i in (offered["ready"], *offered["cases"]) if i in self.cases] or self.cases
        self.examples = {self.label(self.cases[i].fact): i for i in dict.fromkeys(shown)}
        self.ready = next(iter(self.examples))
        self.editors = {
            name: (editor.title, ABOUT[name] + OURS * editor_settings.of_ours(lm, name))
            for name, editor in lib.EDITORS.items()
            if can_edit(editor, lm)
        }

    @staticmethod
    def label(fact: lib.Fact) -> str:
        """How an example is listed: "The Eiffel Tower → Rome"."""
        return f"{capital(fact.subject)} → {fact.target_new}"

    def example_of(self, fact: lib.Fact) -> str:
        """The label of the example that is this fact; "" where none is."""
        label = self.label(fact)
        known = label in self.examples and self.example(label).fact.text == fact.text
        return label if known else ""

    def used(self, use: str) -> list[str]:
        """The editors that can edit here and that have this role on the page."""
        return [name for name in self.editors if use in ROLES.get(name, ())]

    def refused(
        self, after: lib.Patch, editors: Iterable[str], settings: Mapping[str, dict[str, Any]]
    ) -> dict[str, str]:
        """{editor: why it cannot write on top of `after`, and what can be done}; nothing is run."""
        found = {}
        for name in editors if after else ():
            with suppress(ValueError):  # settings that do not fit are told where it writes
                found[name] = self.writer(name, **settings.get(name, {})).refusal(after)
        return {name: said for name, said in found.items() if said}

    @staticmethod
    def kind(editor: str) -> type[lib.Editor]:
        """The editor's class. Raises Trouble with the names there are."""
        if not isinstance(editor, str) or editor not in lib.EDITORS:
            known = ", ".join(lib.EDITORS)
            raise Trouble(f"There is no editor '{given.short(editor)}'; there are {known}.")
        return lib.EDITORS[editor]

    def writer(self, editor: str, **settings: Any) -> lib.Editor:
        """The editor with the page's settings, but for these."""
        return self.kind(editor)(self.lm, preset="ours", **settings)

    def several(self, editors: str | Sequence[str]) -> list[str]:
        """The editors of a form, each once. Raises Trouble for none, too many or unknown ones."""
        names = given.names("editors", editors)
        if not names:
            raise Trouble("No editor is chosen: please tick one.")
        if len(names) > BESIDE:
            raise Trouble(f"{len(names)} editors are too many side by side: up to {BESIDE} fit.")
        for name in names:
            self.kind(name)
            if name not in self.editors:
                raise Trouble(f"{name} has no trained network for {self.lm.name}.")
        return names

    def example(self, label: str) -> lib.Case:
        """The case behind a label."""
        if not isinstance(label, str) or label not in self.examples:
            raise Trouble(f"There is no example '{given.short(label)}'.")
        return self.cases[self.examples[label]]

    def ready_subject(self, label: str = "") -> Subject:
        """An example with its test prompts; that of the form when the page opens, if not named."""
        fact = self.example(label or self.ready).fact
        return self.subject(fact.subject, fact.prompt, fact.target_new)

    def subject(self, subject: str, prompt: str, target: str, own: str = "") -> Subject:
        """The fact that a form asks for, checked. Raises Trouble in one sentence.

        A fact of the classroom brings its test prompts, and the consequences of its new answer. Any
        other has unrelated prompts only, until the model was asked for more (see own_facts.py).
        """
        for name, text in ("subject", subject), ("prompt", prompt), ("new answer", target):
            given.text(name, text)
        most = 2 * OWN * given.CHARACTERS
        lines = tuple(dict.fromkeys(given.lines("list of your own prompts", own, most)))
        if len(lines) > OWN:
            raise Trouble(f"{len(lines)} prompts of your own are too many: this page takes {OWN}.")
        for line in lines:
            given.text("prompt of your own", line)
        try:
            fact = lib.Fact.find(prompt.strip(), subject.strip(), target.strip())
            lines = lib.Case(fact, locality=lines).locality  # with the subject in its place
        except lib.errors.FactError as error:
            raise Trouble(f"{capital(str(error)).rstrip('.')}.") from None
        for case in self.cases.values():
            if case.fact.text == fact.text and case.fact.subject == fact.subject:
                fact = replace(fact, target_true=case.fact.target_true)
                follows = case.portability
                if fact.target_new != case.fact.target_new:
                    follows = tuple(consequences.borrowed(fact, case.relation, self.cases.values()))
                return Subject(replace(case, fact=fact, portability=follows), own=lines)
        unrelated = self.example(self.ready).locality
        case = lib.Case(fact, locality=unrelated, id="own")
        return Subject(case, lines, typed=True)


def completed(subject: Any, prompt: Any) -> Any:
    """The prompt with the subject's place in it, where it only goes on from the subject.

    ("The Louvre", "is located in") -> "{} is located in", ("长城", "位于") -> "{}位于": a text that
    begins with no capital, does not name the subject and holds no placeholder. Anything else is
    left to the check of the form.
    """
    if not (isinstance(prompt, str) and isinstance(subject, str) and subject.strip()):
        return prompt
    text = prompt.strip()
    named = MARKS.search(text) or subject.strip().casefold() in text.casefold()
    if not text or text[0].isupper() or named:
        return prompt
    joined = text[0] in "'’,、，" or unicodedata.east_asian_width(text[0]) in "WF"
    return f"{{}}{'' if joined else ' '}{text}"


def continued(prompt: str) -> str:
    """The opposite for the form: "{} is located in" -> "is located in"."""
    text = prompt.removeprefix("{}").lstrip()
    return text if completed("{}", text) == prompt else prompt


def shown(fact: lib.Fact) -> str:
    """How the sentence goes on from the subject; the whole of it where that stands inside."""
    text = continued(fact.prompt)
    return fact.text if "{}" in text else text


def taken(subject: Any, prompt: Any) -> tuple[Any, Any]:
    """Subject and prompt, with the subject that a whole sentence has where none was given.

    ("", "The Louvre is located in") -> ("The Louvre", "{} is located in"). Where the rule cannot
    tell the subject, both are left to the check of the form.
    """
    texts = isinstance(subject, str) and isinstance(prompt, str)
    if texts and subject.strip().casefold() in ASKING:
        subject, prompt = "", f"{subject.strip()} {prompt}"  # "What", "is the capital of Spain?"
    if texts and not subject.strip():
        with suppress(lib.errors.FactError):
            found = lib.Fact.from_sentence(prompt, "x")
            return found.subject, found.prompt
    return subject, completed(subject, prompt)


def can_edit(editor: type[lib.Editor], lm: lib.LM) -> bool:
    """Whether it can edit this model: one that is trained needs a network that was."""
    return not editor.trained or any(
        path.exists() for made in [editor(lm)] for path in (made.path, made.shipped)
    )
