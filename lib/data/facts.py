"""Facts and test cases, and their token ids.

A fact is the content of an edit: a subject, a prompt with one `{}` for the subject, and the new
answer. A case is a fact with its test prompts. Nothing here depends on a model. Functions returning
token ids take a tokenizer, and they tokenize prompt and answer separately, so an answer has the
same ids after every prompt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from ..errors import FactError
from .normalized_text import around, normalized
from .placeholders import place
from .short_repr import Short, only_if_set, quoted


def require_text(value: object, name: str) -> str:
    """Return the value, normalized, if it is non-blank text; otherwise FactError names it."""
    if not isinstance(value, str):
        kinds = {type(None): "null", list: "a list", tuple: "a list", dict: "an object"}
        kind = kinds.get(type(value), f"{value!r:.40}")
        raise FactError(f"{name} is {kind}, but should be text.")
    value = normalized(value)
    if not value.strip():
        raise FactError(f"{name} is empty.")
    return require_encodable(value, name)


def require_encodable(value: str, name: str) -> str:
    """Return the text itself if a tokenizer can encode it; otherwise FactError names it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FactError(
            f"{name} contains an incomplete character (a lone surrogate): {quoted(value)}"
        ) from None
    return value


def fill(template: str, text: str) -> str:
    """Return the template with its one `{}` replaced by the text, leaving other braces unchanged.

    `str.format` would fail on those. Raises FactError unless there is exactly one `{}`.
    fill("Yesterday. {}", "Set {1} is") -> "Yesterday. Set {1} is"
    """
    if template.count("{}") != 1:
        raise FactError(f"Template {quoted(template)} needs exactly one {{}} for the text.")
    return template.replace("{}", text)


@dataclass(frozen=True, repr=False)
class Fact(Short):
    """One fact to write: a prompt about a subject, and its new answer.

    subject      the subject's text. None: the prompt is plain text, and editors needing a subject
                 reject the fact.
    prompt       text with one `{}` for the subject, or plain text without a subject.
    target_new   the answer that the edit should teach.
    target_true  the previous answer, if it is known.

    All texts are normalized (`normalized_text`): "Rome " is taught as "Rome", and an accent has one
    spelling. A prompt that does not name the subject can mark its place differently, as in
    "{subject} is in", "[X] is in" or "____ is in" (`placeholders`); the mark becomes `{}`. Raises
    FactError for an empty text, unless exactly one place is marked, and for a marked place without
    a subject: "{subject}" anywhere, "____" or "%s" at the beginning.
    Fact("The Eiffel Tower", "{} is in", "Rome").text -> "The Eiffel Tower is in"
    """

    subject: str | None
    prompt: str
    target_new: str
    target_true: str | None = None

    def __post_init__(self) -> None:
        _tidy(self, prompt="The prompt", target_new="target_new", target_true="target_true")
        if self.subject is None:
            place(self.prompt, None)  # rejects a place for a subject
            return
        spelled = self.subject
        _tidy(self, subject="The subject")
        if "{}" not in self.prompt and (mark := place(self.prompt, self.subject)):
            object.__setattr__(self, "prompt", self.prompt.replace(mark, "{}"))
        if (marks := self.prompt.count("{}")) != 1:
            raise FactError(
                f"The prompt {quoted(self.prompt)} has {marks or 'no'} {{}}. Use exactly one, for "
                f"the subject {quoted(self.subject)}."
                if marks or self.subject in self.prompt
                else f"Subject {quoted(self.subject)} does not occur in the prompt "
                f"{quoted(self.prompt)}. Write {{}} for it."
            )
        # spaces at the subject's ends, separating it from the words around it, move into the prompt
        if self.subject != spelled:
            before = " " if spelled[0].isspace() and re.search(r"\S\{\}", self.prompt) else ""
            behind = " " if spelled[-1].isspace() and re.search(r"\{\}\S", self.prompt) else ""
            object.__setattr__(self, "prompt", self.prompt.replace("{}", f"{before}{{}}{behind}"))

    @classmethod
    def find(
        cls, prompt: str, subject: str, target_new: str, target_true: str | None = None
    ) -> Fact:
        """Return the fact of a plain-text prompt, replacing the subject's one occurrence with `{}`.

        The subject has to occur in the prompt as whole words: if it does not occur exactly as
        written, different quotation marks and then a different letter case are accepted. A prompt
        that already has its `{}` is used unchanged, and a prompt that does not name the subject may
        contain another placeholder. Raises FactError if the subject is missing from the prompt,
        occurs only inside a longer word, or occurs more than once.
        Fact.find("Rome is in", "Rome", "Spain").prompt -> "{} is in"
        """
        prompt, subject = require_text(prompt, "The prompt"), require_text(subject, "The subject")
        if ("{}" in prompt and "{}" not in subject) or place(prompt, subject):
            return cls(subject, prompt, target_new, target_true)
        found = around(subject, prompt)
        if len(found) > 1 or (not found and subject in prompt):
            raise FactError(
                f"Subject {quoted(subject)} occurs "
                f"{'more than once' if found else 'only inside a longer word'} in the prompt "
                f"{quoted(prompt)}. Write {{}} for the intended occurrence."
            )
        if found:
            subject, prompt = found[0][1], "{}".join(found[0][::2])
        return cls(subject, prompt, target_new, target_true)

    @classmethod
    def from_sentence(cls, sentence: str, target_new: str, target_true: str | None = None) -> Fact:
        """Return the fact of a sentence whose subject is not given, using `subjects.find_subject`.

        Check the result's subject and prompt before writing it: two names joined by a small word
        are treated as one ("War and Peace", but also "Rome and Paris"). Raises FactError if the
        rule cannot identify the subject; in that case, give it to `Fact.find`.
        Fact.from_sentence("The Eiffel Tower is in", "Rome").subject -> "The Eiffel Tower"
        """
        from .subjects import find_subject  # it quotes using the functions of this file

        return cls.find(sentence, find_subject(sentence), target_new, target_true)

    @property
    def text(self) -> str:
        """Return the prompt with the subject filled in; braces inside the subject survive."""
        return self.prompt if self.subject is None else fill(self.prompt, self.subject)


# The kinds of questions about the consequences of a fact, and what each of them tests. Data files
# use their own names for them; a kind that is not listed here keeps the file's name.
KINDS = {
    "one-hop": "one step on from the fact, by one more fact that the model has to know",
    "multi-hop": "the end of a chain of facts, of which one or more are edited",
    "alias": "the fact itself, with its subject called by another name",
    "reverse": "from the answer back to the subject",
    "logical": "what else follows from the fact by the meaning of its relation",
    "part": "something that a long answer says",
}


@dataclass(frozen=True, repr=False)
class Probe(Short):
    """A test prompt and its reference answer.

    prompt    the text of the question.
    target    the reference answer.
    aliases   other correct texts.
    kind      what the prompt tests: for consequences, one of KINDS if one fits; for prompts that
              should keep their answer, the reason why they are near the fact. None: not given.
    wordings  other wordings of the prompt; answering one wording correctly is enough.
    parts     questions from which the answer is put together, apart from the edited facts. A model
              that does not know one of them cannot draw the consequence.

    Lists become tuples. Raises FactError if a text is empty or a part is not a Probe.
    """

    prompt: str
    target: str
    aliases: tuple[str, ...] = only_if_set(())
    kind: str | None = only_if_set(None)
    wordings: tuple[str, ...] = only_if_set(())
    parts: tuple[Probe, ...] = only_if_set(())

    def __post_init__(self) -> None:
        names = {"prompt": "A test prompt", "target": "A reference answer"}
        _tidy(self, **names, kind="The kind of a test prompt")
        _tuples(self, texts=("aliases", "wordings"), probes=("parts",))

    @property
    def answers(self) -> tuple[str, ...]:
        """Return the correct texts, starting with the reference answer."""
        return self.target, *self.aliases

    @property
    def prompts(self) -> tuple[str, ...]:
        """Return the wordings of the question, starting with the prompt."""
        return self.prompt, *self.wordings


@dataclass(frozen=True, repr=False)
class Case(Short):
    """A fact with its test prompts.

    fact          the fact to write.
    paraphrases   rewordings of its prompt, which should give the new answer.
    neighborhood  prompts about other facts, which should keep their reference answer.
    locality      unrelated prompts, which should get the base model's answer.
    portability   questions about consequences of the fact, with their answers and kinds.
    id            number or name of the case in its data file.
    relation      name of the fact's relation, if the file gives one.
    batch         name of the case's batch, if several facts belong together. They are edited
                  together, or one after another, and the questions of the last case follow from all
                  of them.

    Lists become tuples, so a case can be hashed. In a prompt that does not name the subject, a
    placeholder becomes the subject (`placeholders`): any placeholder in `paraphrases` and
    `portability`, but in the other groups only one that names the place, such as "{subject}".
    Answers are left unchanged. Raises FactError if a group contains anything else, or a placeholder
    that cannot be filled.
    """

    fact: Fact
    paraphrases: tuple[str, ...] = ()
    neighborhood: tuple[Probe, ...] = ()
    locality: tuple[str, ...] = ()
    portability: tuple[Probe, ...] = ()
    id: int | str = 0
    relation: str | None = None
    batch: int | str | None = only_if_set(None)

    def __post_init__(self) -> None:
        _tuples(self, texts=("paraphrases", "locality"), probes=("neighborhood", "portability"))
        for name in ("paraphrases", "portability", "locality", "neighborhood"):
            about, given = name in ("paraphrases", "portability"), getattr(self, name)
            filled = tuple(_filled(one, self.fact.subject, about) for one in given)
            object.__setattr__(self, name, filled)
        for name, value in {"id": self.id, "batch": self.batch or 0}.items():
            if isinstance(value, bool) or not isinstance(value, (int, str)):
                raise FactError(f"The {name} should be a number or text, not {quoted(str(value))}.")
        _tidy(self, relation="The relation")


def _filled(given: Any, subject: str | None, bare: bool) -> Any:
    """Return a text or a probe, its placeholder replaced by the subject (`placeholders.place`)."""
    if not isinstance(given, Probe):
        return given.replace(mark, subject) if (mark := place(given, subject, bare)) else given
    prompt, *wordings = (_filled(text, subject, bare) for text in given.prompts)
    parts = tuple(_filled(part, subject, False) for part in given.parts)
    made = {"prompt": prompt, "wordings": tuple(wordings), "parts": parts}
    return given if made.items() <= vars(given).items() else replace(given, **made)


def _tidy(owner: Fact | Probe | Case, **names: str) -> None:
    """Normalize these fields, given with their names in messages; FactError for non-text values.

    None is kept if it is the field's default.
    """
    for name, called in names.items():
        value = getattr(owner, name)
        if value is not None or not hasattr(type(owner), name):
            object.__setattr__(owner, name, require_text(value, called))


def _tuples(owner: Probe | Case, texts: tuple[str, ...], probes: tuple[str, ...]) -> None:
    """Turn these fields, which hold texts or probes, into tuples; FactError names wrong values."""
    for name in (*texts, *probes):
        group = getattr(owner, name)
        if group == ():  # most are empty, and many rows are read
            continue
        if not isinstance(group, (list, tuple)):
            raise FactError(f"{name} should be a list, not {quoted(str(group))}.")
        if name in texts:
            group = [require_text(item, f"{name}[{number}]") for number, item in enumerate(group)]
        object.__setattr__(owner, name, tuple(group))


def encode_prompt(tokenizer: Any, text: str) -> list[int]:
    """Return a prompt's token ids, including special tokens added by the tokenizer itself.

    Raises FactError for text that cannot be encoded.
    """
    return list(tokenizer(require_encodable(text, "The prompt"))["input_ids"])


def encode_target(tokenizer: Any, target: str) -> list[int]:
    """Return the token ids of an answer following a prompt: a leading space, no special tokens.

    White space before the target becomes that one space. Tokenizers of the sentencepiece kind add
    their own "▁" before every text, and some also add a BOS or UNK. The answer is therefore
    tokenized after a word, and the word's own tokens are removed. This removes only the tokenizer's
    additions: in " 中国", the first "▁" is the space, and it stays.
    With GPT-2's tokenizer "Rome" and " Rome" -> [10598].
    """
    return _behind(tokenizer, "a", " " + require_text(target, "The target").lstrip())


def encode_answer(tokenizer: Any, target: str, before: str) -> list[int]:
    """Return the token ids of an answer following a template or prompt `before`.

    If that ends in a line break, like a chat template before the reply, the answer begins without a
    space. Otherwise these are the ids of `encode_target`.
    """
    if not before.endswith("\n"):
        return encode_target(tokenizer, target)
    # after a word and a line break, since some tokenizers add a "▁" at the beginning of a text
    return _behind(tokenizer, "a\n", require_text(target, "The target").strip())


def _behind(tokenizer: Any, ahead: str, text: str) -> list[int]:
    """Return the ids of a text following another; its own ids if the tokenizer merges them."""
    first = list(tokenizer(ahead, add_special_tokens=False)["input_ids"])
    both = list(tokenizer(ahead + text, add_special_tokens=False)["input_ids"])
    if both[: len(first)] == first:
        return both[len(first) :]
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def lookup(
    tokenizer: Any, fact: Fact, template: str = "{}", prompt: str | None = None
) -> tuple[list[int], int]:
    """Return the ids of the fact's prompt inside the template, and the index of its lookup token.

    prompt  another prompt about the subject, replacing the fact's

    The lookup token is the last token of the subject at `{}`, even if the subject also occurs
    elsewhere. The index counts from 0 without padding; the ids are those of `encode_prompt`. The
    whole string is tokenized once with character offsets, choosing the last token starting
    before the subject's end. White space at the subject's end is ignored, special tokens are never
    chosen, and a token reaching beyond the subject counts. Raises FactError without a subject,
    without `{}` in the template, and for a tokenizer without offsets.
    With GPT-2's tokenizer: lookup(…, Fact("Paris", "The city of {} is", "Rome")) -> (5 ids, 3)
    """
    if fact.subject is None:
        raise FactError(f"The fact {quoted(fact.prompt)} has no subject to look up.")
    if not getattr(tokenizer, "is_fast", False):
        raise FactError(
            f"{type(tokenizer).__name__} is a slow tokenizer without character offsets, so the "
            "subject's tokens cannot be found. Load the fast one."
        )
    prompt = fact.prompt if prompt is None else prompt
    text = fill(require_encodable(template, "The template"), fill(prompt, fact.subject))
    end = template.index("{}") + prompt.index("{}") + len(fact.subject.rstrip())
    read = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    spans = zip(read["offset_mapping"], read["special_tokens_mask"], strict=True)
    # special tokens have the empty span (0, 0): an end-of-text token would always come last
    before = [i for i, ((start, _), special) in enumerate(spans) if start < end and not special]
    if not before:
        raise FactError(f"The tokenizer leaves no token of the subject {quoted(fact.subject)}.")
    return list(read["input_ids"]), before[-1]
