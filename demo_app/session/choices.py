"""The examples and editors that a visitor can choose, and validation of the form.

A form is checked before any work is done, turning each problem into one sentence.
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
from . import checks, consequences, editor_settings
from .views import Subject, capital
from .worker import Trouble

EXAMPLES = Path(__file__).parents[1] / "examples.json"
OWN = 8  # maximum number of the visitor's own prompts
# question words, which cannot be a subject
ASKING = {"what", "who", "where", "when", "which", "how", "why"}
BESIDE = 4  # maximum number of editors side by side
OURS = " Uses our settings instead of the paper's."


class Choices:
    """A model's examples and editors, and validation of the form.

    cases: {number: case} of the built-in facts that the model knows.
    examples: {label: number of the case} of the examples on offer.
    editors: {name: (title, a sentence about it)} of every editor that can edit this model.
    ready: the label of the example in the form when the page opens: the intended one or, if the
        model doesn't know it, the first that it knows.
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
        """An example's entry in the list: "The Eiffel Tower → Rome"."""
        return f"{capital(fact.subject)} → {fact.target_new}"

    def example_of(self, fact: lib.Fact) -> str:
        """The label of this fact's example, or "" if there is none."""
        label = self.label(fact)
        known = label in self.examples and self.example(label).fact.text == fact.text
        return label if known else ""

    def used(self, use: str) -> list[str]:
        """The editors that can edit this model and have this role on the page."""
        return [name for name in self.editors if use in ROLES.get(name, ())]

    def refused(
        self, after: lib.Patch, editors: Iterable[str], settings: Mapping[str, dict[str, Any]]
    ) -> dict[str, str]:
        """{editor: the reason it cannot write on top of `after`, and how to fix it}, without
        running anything.
        """
        found = {}
        for name in editors if after else ():
            with suppress(ValueError):  # invalid settings are reported when the edit is made
                found[name] = self.writer(name, **settings.get(name, {})).refusal(after)
        return {name: said for name, said in found.items() if said}

    @staticmethod
    def editor_class(editor: str) -> type[lib.Editor]:
        """The editor's class. Raises Trouble with the available names."""
        if not isinstance(editor, str) or editor not in lib.EDITORS:
            known = ", ".join(lib.EDITORS)
            raise Trouble(f"Unknown editor '{checks.short(editor)}'. Available: {known}.")
        return lib.EDITORS[editor]

    def writer(self, editor: str, **settings: Any) -> lib.Editor:
        """The editor with the page's settings, except for those given."""
        return self.editor_class(editor)(self.lm, preset="ours", **settings)

    def several(self, editors: str | Sequence[str]) -> list[str]:
        """The editors in a form, without duplicates. Raises Trouble for no editors, too many, or
        unknown names.
        """
        names = checks.names("editors", editors)
        if not names:
            raise Trouble("No editor is selected. Please tick one.")
        if len(names) > BESIDE:
            raise Trouble(f"{len(names)} editors are too many. Choose at most {BESIDE}.")
        for name in names:
            self.editor_class(name)
            if name not in self.editors:
                raise Trouble(f"{name} has no trained network for {self.lm.name}.")
        return names

    def example(self, label: str) -> lib.Case:
        """The case for a label."""
        if not isinstance(label, str) or label not in self.examples:
            raise Trouble(f"Unknown example '{checks.short(label)}'.")
        return self.cases[self.examples[label]]

    def ready_subject(self, label: str = "") -> Subject:
        """An example with its test prompts; by default, the example in the form when the page
        opens.
        """
        fact = self.example(label or self.ready).fact
        return self.subject(fact.subject, fact.prompt, fact.target_new)

    def subject(self, subject: str, prompt: str, target: str, own: str = "") -> Subject:
        """The fact requested in a form, validated. Raises Trouble with one sentence.

        A built-in fact includes its test prompts and the consequences of its new answer. Any other
        fact has only unrelated prompts until the model provides more (see own_facts.py).
        """
        for name, text in ("subject", subject), ("prompt", prompt), ("new answer", target):
            checks.text(name, text)
        most = 2 * OWN * checks.CHARACTERS
        lines = tuple(dict.fromkeys(checks.lines("list of your own prompts", own, most)))
        if len(lines) > OWN:
            raise Trouble(f"{len(lines)} of your own prompts are too many. The maximum is {OWN}.")
        for line in lines:
            checks.text("prompt on your list", line)
        try:
            fact = lib.Fact.find(prompt.strip(), subject.strip(), target.strip())
            lines = lib.Case(fact, locality=lines).locality  # with the subject filled in
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


def with_placeholder(subject: Any, prompt: Any) -> Any:
    """Insert a placeholder for the subject if the prompt only continues from it.

    ("The Louvre", "is located in") -> "{} is located in", ("长城", "位于") -> "{}位于":
    this applies to text that doesn't begin with a capital, doesn't contain the subject, and has no
    placeholder. Anything else is left for validation.
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
    """The reverse, for the form: "{} is located in" -> "is located in"."""
    text = prompt.removeprefix("{}").lstrip()
    return text if with_placeholder("{}", text) == prompt else prompt


def shown(fact: lib.Fact) -> str:
    """The sentence from the subject onward, or the whole sentence if the subject is inside it."""
    text = continued(fact.prompt)
    return fact.text if "{}" in text else text


def recognized(subject: Any, prompt: Any) -> tuple[Any, Any]:
    """Subject and prompt, recognizing the subject in a whole sentence if none was given.

    ("", "The Louvre is located in") -> ("The Louvre", "{} is located in"). If the rule doesn't
    recognize a subject, both are left for validation.
    """
    texts = isinstance(subject, str) and isinstance(prompt, str)
    if texts and subject.strip().casefold() in ASKING:
        subject, prompt = "", f"{subject.strip()} {prompt}"  # "What", "is the capital of Spain?"
    if texts and not subject.strip():
        with suppress(lib.errors.FactError):
            found = lib.Fact.from_sentence(prompt, "x")
            return found.subject, found.prompt
    return subject, with_placeholder(subject, prompt)


def can_edit(editor: type[lib.Editor], lm: lib.LM) -> bool:
    """Return whether an editor can edit this model; a trained editor needs a trained network."""
    return not editor.trained or any(
        path.exists() for made in [editor(lm)] for path in (made.path, made.shipped)
    )
