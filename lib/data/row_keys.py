"""Reading single keys of a row of a data file; every error names the key.

Public files write the same content in several forms: an answer is a text, a list of texts or a list
of such lists. A `Row` handles the forms, and the readers of the formats handle the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from ..errors import FactError
from .facts import Case, Fact, Probe, quoted, require_text
from .list_cells import bracketed, separated
from .normalized_text import around, normalized
from .placeholders import place


class Options(NamedTuple):
    """The options passed to `read_cases` that a format may need.

    target            "new" or "true": the answer to teach.
    unrelated_suffix  text appended to ZsRE's unrelated questions.
    """

    target: str = "new"
    unrelated_suffix: str = ""

    def answers(self, new: str, true: str | None) -> tuple[str, str | None]:
        """Return a row's answer to teach and its previous one; a single answer is always taught."""
        if self.target == "true" and true is not None:
            new, true = true, None
        return new.strip(), None if true is None else true.strip()

    def follow(self, probes: Iterable[Probe], true: str | None) -> tuple[Probe, ...]:
        """Return questions following from the new answer: none if the true answer is taught."""
        return () if self.target == "true" and true is not None else tuple(probes)


class Format(NamedTuple):
    """A data format: a function making a `Case` of its row, and keys for recognizing the row.

    name  the format's name in error messages.
    keys  the keys that every row has. Among the formats having all their keys in a file's first
          row, the format with the most keys is chosen.
    also  other keys that `read` uses, or that only describe the row.
    read  the function making the case of a row, the cases of a row with several facts, or None if
          the row contains no new answer.
    """

    name: str
    keys: tuple[str, ...]
    also: tuple[str, ...]
    read: Callable[[Row, Options], Case | list[Case] | None]


def reads(name: str, keys: str, also: str = "") -> Callable[[Callable], Format]:
    """Make a format from the function below; keys are written in one text, separated by commas."""
    return partial(Format, name, tuple(keys.split(", ")), tuple(filter(None, also.split(", "))))


class Row(dict):
    """A row of a data file, or an object inside one; a missing key is a FactError.

    said  texts read from cells with separators, as (key, words); one set for a row and all its
          objects
    """

    def __init__(self, row: Mapping, said: set[tuple[str, str]]) -> None:
        super().__init__(row)
        self.said = said

    def __missing__(self, key: str) -> Any:
        raise FactError(f"Key '{key}' is missing.")

    def typed(self, key: str, kind: type, words: str) -> Any:
        """Return the value of a key, raising FactError if its type does not match `words`."""
        if not isinstance(self[key], kind):
            raise FactError(f"Key '{key}' should be {words}, not {quoted(str(self[key]))}.")
        return self[key]

    def has(self, key: str) -> bool:
        """Return whether the key has a value; tables with columns use null for missing values."""
        return self.get(key) is not None

    def text(self, key: str) -> str:
        """Return the text of a key, which is not blank."""
        return require_text(self[key], f"Key '{key}'")

    def optional(self, key: str) -> str | None:
        """Return the text of a key that may be missing or null."""
        return self.text(key) if self.has(key) else None

    def listed(self, key: str) -> list:
        """Return the list of a key; a table's cell is its only item, or a list in brackets."""
        text = self[key].strip() if isinstance(self[key], str) else ""
        return bracketed(text) if text else self.typed(key, list, "a list")

    def texts(self, key: str, about: str | None = None, *, short: bool = False) -> tuple[str, ...]:
        """Return the texts of a key containing a list; for a cell, see `list_cells.separated`.

        about  the subject, if the texts are about it
        short  whether the texts are names or answers, not prompts
        """
        found = self.listed(key)
        if found == [str(self[key]).strip()]:
            found, words = separated(found[0], about, short)
            self.said |= {(key, words)} if words else set()
        return tuple(require_text(text, f"Key '{key}'") for text in found)

    def part(self, key: str) -> Row:
        """Return the object of a key."""
        return Row(self.typed(key, dict, "an object"), self.said)

    def parts(self, key: str) -> list[Row]:
        """Return the objects of a key containing a list of them."""
        found = self.listed(key)
        if not all(isinstance(item, dict) for item in found):
            raise FactError(f"Key '{key}' should be a list of objects.")
        return [Row(item, self.said) for item in found]

    def answers(self, key: str) -> tuple[str, ...]:
        """Return the right answers of a key: a text, a list of texts, or a list of lists of texts.

        The result is empty if the published value is empty (`""`, `[]` or `[[]]`).
        """
        found = [self[key]]
        for _ in range(2):
            found = [x for item in found for x in (item if isinstance(item, list) else [item])]
        texts = (require_text(x, f"Key '{key}'") for x in found if x != "")
        return tuple(dict.fromkeys(texts))

    def probe(self, prompt: str, target: str, **fields: Any) -> tuple[Probe, ...]:
        """Return the probe whose prompt and answers have these keys; none without an answer."""
        asked, right = self.text(prompt), self.answers(target)
        return (Probe(asked, right[0], right[1:], **fields),) if right else ()

    def probes(self, key: str) -> tuple[Probe, ...]:
        """Return the probes of a key whose list contains objects with a probe's fields as keys."""
        return tuple(
            Probe(
                item.text("prompt"),
                item.text("target"),
                item.texts("aliases", short=True) if item.has("aliases") else (),
                item.optional("kind"),
                item.texts("wordings") if item.has("wordings") else (),
                item.probes("parts") if item.has("parts") else (),
            )
            for item in self.parts(key)
        )

    def unrelated(self, prompt: str, answer: str) -> dict[str, Any]:
        """Return an unrelated prompt's groups: `locality`, and `neighborhood` given an answer."""
        near = () if self[answer] in ("", None) else (Probe(prompt, self.text(answer)),)
        return {"neighborhood": near, "locality": (prompt,)}

    def fact(
        self, prompt: str, new: str, true: str | None, options: Options, *, marked: bool = False
    ) -> Fact:
        """Return the fact of a row, given its prompt and both answers.

        marked  Whether the format's prompts have a `{}` for the subject. Otherwise, the subject's
                single occurrence becomes the `{}`, and if it does not occur exactly once, the fact
                has no subject.
        """
        new, true = options.answers(new, true)
        about = None if self["subject"] is None else self.typed("subject", str, "text")
        if marked and "{}" in prompt:
            return Fact(about, prompt, new, true)
        return found_fact(about, prompt, new, true)


def found_fact(subject: str | None, prompt: str, new: str, true: str | None = None) -> Fact:
    """Return the fact of a plain prompt, without a subject if it is not there exactly once."""
    if subject and place(prompt, subject):
        return Fact(subject, prompt, new, true)
    found = around(normalized(subject or ""), normalized(prompt))
    if len(found) != 1:
        return Fact(None, prompt, new, true)
    return Fact(found[0][1], "{}".join(found[0][::2]), new, true)
