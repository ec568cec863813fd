"""Reads single keys of a row; every error names the key, inside lists as `key[2].prompt`.

Public files write the same thing in several shapes: an answer is a text, a list of texts or a list
of such lists. A `Row` knows the shapes, and the readers of the formats know the keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..errors import FactError
from .facts import Fact, Probe, occurs_once, quoted, require_text

TYPES: dict[str, tuple[type, str]] = {  # what a format may say of a key
    "text": (str, "text"),
    "list": (list, "a list"),
    "object": (dict, "an object"),
}


class Options(NamedTuple):
    """The choices of the caller of `read_cases` that a format may need.

    target            "new" or "true": which answer is taught.
    unrelated_suffix  text that is put after ZsRE's unrelated questions.
    row               number of the row in its file, the seed of whatever is drawn for it.
    """

    target: str = "new"
    unrelated_suffix: str = ""
    row: int = 0

    def answers(self, new: str, true: str | None) -> tuple[str, str | None]:
        """The answer to teach and the one so far, of a row's two; a single one is taught always."""
        if self.target == "true" and true is not None:
            new, true = true, None
        return new.strip(), None if true is None else true.strip()

    def follow(self, probes: Iterable[Probe], true: str | None) -> tuple[Probe, ...]:
        """Questions that follow from the new answer: none where the true one is taught."""
        return () if self.target == "true" and true is not None else tuple(probes)


def shown(value: Any) -> str:
    """A JSON value for an error message, shortened."""
    try:
        return quoted(json.dumps(value))
    except RecursionError:  # just flat enough to be read
        return "a deeply nested value"
    except (TypeError, ValueError):  # rows that come from no file may hold anything
        return f"a value of type {type(value).__name__}"


def wrong_type(key: str, value: Any, expected: str) -> str:
    """What an error says of a key whose value is not of this type, a name of TYPES."""
    kinds = {type(None): "null", list: "a list", dict: "an object", str: "text"}
    kind = kinds.get(type(value)) or shown(value)
    return f"key '{key}' is {kind}, where {TYPES[expected][1]} is expected"


class Row:
    """A row of a data file, or an object inside one, whose keys are read by what they should hold.

    row   the object itself.
    name  where it stands in its row, "" for the row itself.
    """

    def __init__(self, row: Any, name: str = "") -> None:
        if not isinstance(row, dict):
            if name:
                raise FactError(wrong_type(name, row, "object"))
            raise FactError(f"a row should be an object with keys, not {shown(row)}")
        self.row, self.name = row, name

    def full(self, key: str) -> str:
        """The key with the place of this object in front of it, as errors name it."""
        return f"{self.name}.{key}" if self.name else key

    def value(self, key: str) -> Any:
        """The value of a key; FactError when it is missing."""
        if key not in self.row:
            raise FactError(f"key '{self.full(key)}' is missing")
        return self.row[key]

    def has(self, key: str) -> bool:
        """Whether the key has a value; a table with columns has a null for a missing one."""
        return self.row.get(key) is not None

    def text(self, key: str) -> str:
        """The text of a key; FactError when it is missing, blank or no text."""
        return require_text(self.value(key), f"key '{self.full(key)}'")

    def optional(self, key: str) -> str | None:
        """The text of a key that may be missing or null."""
        return self.text(key) if self.has(key) else None

    def listed(self, key: str) -> list[Any]:
        """The list of a key."""
        values = self.value(key)
        if not isinstance(values, list):
            raise FactError(f"key '{self.full(key)}' should be a list, not {shown(values)}")
        return values

    def texts(self, key: str) -> tuple[str, ...]:
        """The texts of a key that holds a list of them."""
        name = self.full(key)
        return tuple(require_text(v, f"key '{name}[{i}]'") for i, v in enumerate(self.listed(key)))

    def one_or_more(self, key: str) -> tuple[str, ...]:
        """The texts of a key that may hold one text, a list of texts, or null, or be missing."""
        if not self.has(key):
            return ()
        return self.texts(key) if isinstance(self.row[key], list) else (self.text(key),)

    def part(self, key: str) -> Row:
        """The object of a key."""
        return Row(self.value(key), self.full(key))

    def parts(self, key: str) -> list[Row]:
        """The objects of a key that holds a list of them."""
        name = self.full(key)
        return [Row(item, f"{name}[{i}]") for i, item in enumerate(self.listed(key))]

    def answers(self, key: str) -> tuple[str, ...]:
        """The right answers of a key: a text, a list of texts, or a list of lists of texts.

        The result is empty where the published value is empty (`""`, `[]` or `[[]]`).
        """
        found, waiting = [], [(self.full(key), self.value(key), 0)]
        while waiting:
            name, given, depth = waiting.pop()
            if isinstance(given, list) and depth < 2:
                inner = [(f"{name}[{i}]", item, depth + 1) for i, item in enumerate(given)]
                waiting.extend(reversed(inner))
            elif not isinstance(given, str) or given.strip():
                found.append(require_text(given, f"key '{name}'"))
        return tuple(dict.fromkeys(found))

    def probe(self, prompt: str, target: str, **fields: Any) -> tuple[Probe, ...]:
        """The probe whose prompt and answers stand under these keys; none without an answer."""
        asked, right = self.text(prompt), self.answers(target)
        return (Probe(asked, right[0], right[1:], **fields),) if right else ()

    def probes(self, key: str) -> tuple[Probe, ...]:
        """The probes of a key whose list holds objects with the fields of a probe as keys."""
        return tuple(
            Probe(
                item.text("prompt"),
                item.text("target"),
                item.one_or_more("aliases"),
                item.optional("kind"),
                item.one_or_more("wordings"),
                item.probes("parts") if item.has("parts") else (),
            )
            for item in self.parts(key)
        )

    def unrelated(self, prompt: str, answer: str) -> dict[str, Any]:
        """The groups of an unrelated prompt: `locality`, and `neighborhood` if it has an answer."""
        reference = self.value(answer)
        near = () if reference in ("", None) else (Probe(prompt, self.text(answer)),)
        return {"neighborhood": near, "locality": (prompt,)}

    def fact(
        self,
        prompt: str,
        new: str,
        true: str | None,
        options: Options,
        *,
        marked: bool = False,
    ) -> Fact:
        """The fact of a row, given its prompt and both answers.

        marked  Whether the format's prompts have a `{}` for the subject. Elsewhere the subject's
                one occurrence becomes the `{}`, and where it does not occur exactly once, the fact
                has no subject.
        """
        new, true = options.answers(new, true)
        about = self.value("subject")
        if about is not None and not isinstance(about, str):
            raise FactError(f"key '{self.full('subject')}' should be text, not {shown(about)}")
        if marked and "{}" in prompt:
            return Fact(about, prompt, new, true)
        return found_fact(about, prompt, new, true)


def found_fact(subject: str | None, prompt: str, new: str, true: str | None = None) -> Fact:
    """The fact of a plain prompt, without a subject where it is not in the prompt exactly once."""
    if subject and subject.strip() and occurs_once(subject, prompt):
        head, _, tail = prompt.partition(subject)
        return Fact(subject, head + "{}" + tail, new, true)
    return Fact(None, prompt, new, true)
