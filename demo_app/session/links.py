"""Links that reopen the page with the fact, the editors and the own prompts in view.

An address can contain anything. The page ignores the parts that it cannot use, and says so in one
sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

from . import editor_settings
from .choices import BESIDE, Choices
from .views import View
from .worker import Trouble

PLACE = "place"  # in the page's address: "lab", or one of its questions
SURPRISES, LAB, TAKE, MEMORY = "surprises", "lab", "take", "memory"
QUESTIONS = (MEMORY, "dossier", "interference", "lifelong", "layers", "trace", "lasts", TAKE)
KEYS = ("example", "subject", "prompt", "target", "editors", "own", "settings")


@dataclass(frozen=True)
class Opened:
    """The contents of an address.

    fact: subject, prompt and new answer; None leaves the form's fact unchanged.
    label: the example in the form's list; "" if the fact is not an example.
    editors: the editors to tick.
    own: the visitor's own prompts, one per line.
    settings: lines of settings for the editors.
    ignored: a sentence naming the parts that were left out, or None.
    """

    fact: tuple[str, str, str] | None = None
    label: str = ""
    editors: tuple[str, ...] = ()
    own: str = ""
    settings: str = ""
    ignored: str | None = None


def place(query: Mapping[str, str]) -> tuple[str, str]:
    """(place, question) from an address: ("lab", "trace") for ?place=trace, else ("", "")."""
    name = str(query.get(PLACE) or "")
    if name in QUESTIONS:
        return LAB, name
    return (name if name in (SURPRISES, LAB) else ""), ""


def slug(text: str) -> str:
    """Letters and digits joined by hyphens, for addresses and file names."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))[:48].strip("-") or "edit"


def link(choices: Choices, view: View) -> str:
    """The query that makes a view's edit again: "?example=the-eiffel-tower&editors=rome"."""
    subject, fact = view.subject, view.subject.case.fact
    query = {"subject": fact.subject, "prompt": fact.prompt, "target": fact.target_new}
    if choices.example_of(fact):
        query = {"example": slug(fact.subject)}
    if view.columns:
        own = [one.editor for one in view.columns if view.stored or one.patch or not one.stored]
        query["editors"] = ",".join(own)
    edits = [column.patch.log[-1] for column in view.columns if column.patch]
    if lines := [one for edit in edits for one in editor_settings.lines_of(choices.lm, edit)]:
        query["settings"] = "\n".join(lines)
    if subject.own:
        query["own"] = "\n".join(subject.own)
    return "?" + urlencode(query, safe=",")


def opened(choices: Choices, query: Mapping[str, str]) -> Opened:
    """Parse an address; never raises."""
    given = {key: str(query.get(key) or "").strip() for key in KEYS}
    left_out = []
    example, fact = _fact(choices, given)
    if fact is None and any(given[key] for key in KEYS[:4]):
        left_out.append("fact")
    names = list(dict.fromkeys(name.strip() for name in given["editors"].split(",") if name))
    editors = tuple(name for name in names if name in choices.editors)[:BESIDE]
    if len(editors) < len(names):
        left_out.append("editors" if not editors else "some of the editors")
    checks = {
        "own": ("prompts", partial(choices.subject, "A", "{} is", "b")),
        "settings": ("settings", partial(editor_settings.of_each, choices.lm, editors)),
    }
    for key, (name, check) in checks.items():
        try:
            check(given[key])
        except Trouble:
            given[key] = ""
            left_out.append(name)
    said = f"The page cannot use these parts of the link: {', '.join(left_out)}."
    ignored = said if left_out else None
    return Opened(fact, example, editors, given["own"], given["settings"], ignored)


def sentence(choices: Choices, query: Mapping[str, str]) -> str:
    """The belief that an address asks for: "China is … of Paris", or "" without a fact."""
    subject, prompt, target = opened(choices, query).fact or ("", "", "")
    return f"{prompt.replace('{}', subject)} {target}".strip()


def _fact(choices: Choices, given: Mapping[str, str]) -> tuple[str, tuple[str, str, str] | None]:
    """(label, fact) for an example given by name, or for a fact that is spelled out."""
    for name in choices.examples:
        fact = choices.example(name).fact
        if given["example"] and given["example"] in (slug(fact.subject), slug(name)):
            return name, (fact.subject, fact.prompt, fact.target_new)
    try:
        fact = choices.subject(given["subject"], given["prompt"], given["target"]).case.fact
    except Trouble:
        return "", None
    return choices.example_of(fact), (fact.subject, fact.prompt, fact.target_new)
