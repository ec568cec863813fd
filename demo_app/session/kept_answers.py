"""The unedited model's answers to the offered examples, kept on disk.

Half of what an edit of an example costs is asking the model as it is, and that is the same at every
start of the page. So the first to ask leaves the answers in the cache folder, and later ones read
them. The file's name is a hash of everything on which the answers depend: the model's fingerprint
and number type, the tokens of every prompt, and how long answers may get. Nothing that a visitor
has typed is written. A file that is damaged is removed, and counts as one that is not there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from msgspec import UNSET, Meta, UnsetType
from torch import Tensor

import lib
from lib.atomic_files import cached
from lib.patch import tensor_file
from lib.patch.tensor_file import Schema, TokenId

log = logging.getLogger(__name__)

FORM = 1  # of the file; another form gets another name
KEY, TABLE = "answers", "next_token"
Ask = tuple[str, bool]  # a prompt, and whether it is asked in chat form
Chance = Annotated[float, Meta(ge=0, le=1.001)]


class Said(Schema):
    """One answer: its text, and its token ids."""

    text: Annotated[str, Meta(max_length=4000)]
    ids: Annotated[list[TokenId], Meta(max_length=512)]


class Header(Schema):
    """What the file holds beside the distributions of the next token.

    said: an answer for each prompt.
    chances: {an answer: its probability behind each prompt}.
    """

    said: list[Said]
    chances: dict[str, list[Chance]]
    sha256: str | UnsetType = UNSET


@dataclass(frozen=True)
class Answers:
    """What the unedited model says to a list of prompts.

    texts, ids: the answers.
    next_token (prompts, vocabulary,): log-probabilities of the token after each prompt.
    chances: {an answer: its probability behind each prompt}.
    """

    texts: Sequence[str]
    ids: Sequence[Sequence[int]]
    next_token: Tensor
    chances: Mapping[str, Sequence[float]]


class KeptAnswers:
    """Reads and writes the answers of one model.

    offered: gives the examples: the prompts of each, and its new answer.
    """

    def __init__(
        self, lm: lib.LM, offered: Callable[[], Iterable[tuple[Sequence[Ask], str]]]
    ) -> None:
        self.lm, self.offered = lm, offered
        self._examples: dict[tuple[Ask, ...], str] | None = None

    def is_example(self, asks: Sequence[Ask], target: str | None = None) -> bool:
        """Whether these are all prompts of an offered example, and this is its new answer."""
        if self._examples is None:
            self._examples = {tuple(prompts): new for prompts, new in self.offered()}
        known = self._examples.get(tuple(asks))
        return known is not None and target in (None, known)

    def path(self, asks: Sequence[Ask], size: int) -> Path:
        """The file of the answers to these prompts, of at most `size` tokens."""
        rows = [self.lm.rows([text], chat=chat)[0][0] for text, chat in asks]
        lm = self.lm
        label = [FORM, lm.fingerprint, str(lm.dtype), lm.device.type, list(map(list, asks)), rows]
        return cached("page-answers", json.dumps([*label, size]))

    def read(self, asks: Sequence[Ask], size: int) -> Answers | None:
        """The answers to an example's prompts; None where they are not kept."""
        if not self.is_example(asks):
            return None
        path = self.path(asks, size)
        if not path.is_file():
            return None
        try:
            text, tensors = tensor_file.read(path, KEY)
            header = tensor_file.decode(text, Header)
            tensor_file.check_sum(text, tensors)
            table = tensors[TABLE]
            fits = table.shape == (len(asks), self.lm.vocabulary) and table.dtype == torch.float32
            counts = {len(header.said), *map(len, header.chances.values())}
            if not fits or counts != {len(asks)} or not bool((table <= 1e-3).all()):
                raise ValueError("it does not hold what it should")
        except Exception as error:  # whatever a file may hold: it is asked anew, and replaced
            log.info("%s is not read: %s", path.name, error)
            with suppress(OSError):
                path.unlink()
            return None
        texts, ids = [one.text for one in header.said], [one.ids for one in header.said]
        return Answers(texts, ids, table, header.chances)

    def write(self, asks: Sequence[Ask], size: int, found: Answers) -> None:
        """Keep the answers to an example's prompts, where there is room for them."""
        header = {
            "said": [
                {"text": text, "ids": list(ids)}
                for text, ids in zip(found.texts, found.ids, strict=True)
            ],
            "chances": {answer: list(values) for answer, values in found.chances.items()},
        }
        try:
            tensor_file.write(self.path(asks, size), KEY, header, {TABLE: found.next_token}, Header)
        except (OSError, ValueError) as error:
            log.info("the answers are not kept: %s", error)
