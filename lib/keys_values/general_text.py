"""The text used for computing statistics: shipped, given, or written by the model itself.

The shipped text was written by the default model itself (temperature 1, whole vocabulary, starting
from token id 0; general_text.json). Compared with C = I, it reduced the damage on neutral held-out
keys by 40% at layer 5 and to a fifth at layer 8. Public-domain prose gave an equally good C: 10%
more damage at layer 5, 7% less at layer 8, and edits held equally often. We ship the model's own
text because it follows the model's own input distribution, has no license, and is not about the
very facts that get edited.

A wide model needs more text than that. If the shipped text has fewer than `ENOUGH` tokens for each
dimension of a statistic, the model writes its own in the same way, once, into the cache folder. A
statistic with fewer than `WANTED` is shrunk (second_moment.py).
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch

from ..atomic_files import cache_folder, path_of, whole_file
from ..cancellation import steps
from ..computed_once import CachedTensors, Tensors, text_hash
from ..data.texts import GENERAL
from ..errors import EditError, SlowWarning, sentence
from ..model import generation
from ..model.lm import LM
from ..patch.patch import EMPTY
from ..setting_fields import shown

WANTED = 10  # tokens per dimension of a statistic: 15,360 for C of the default model
ENOUGH = 3  # tokens per dimension below which a model writes additional text itself
ROWS, LENGTH, SEED = 64, 256, 1  # texts written together, their tokens, and the first seed
TRIES = 8  # sample at most this multiple of the needed tokens, because texts may end early
MOST = 1 << 24  # characters to read from a list or a dataset: more than any width needs

Text = str | os.PathLike | Iterable[Any] | None  # a file, texts or rows with a "text", or shipped


class General(NamedTuple):
    """A general text that already exists, or is written when reading it.

    label   its name in the labels of statistics
    tokens  desired number of its tokens
    few     whether it gives a statistic fewer than WANTED tokens per dimension
    read    returns the text
    """

    label: str
    tokens: int
    few: bool
    read: Callable[[], str]


def chosen(lm: LM, text: Text, tokens: int | None, width: int) -> General:
    """Return the text for a statistic of `width` dimensions.

    text    None uses the shipped text, or text that the model writes itself if that is too short
    tokens  desired number; None uses WANTED per dimension
    """
    tokens = tokens or WANTED * width
    source = general_text(text)
    label = text_hash(source)
    count = lm.once(("tokens of a text", lm.stored_identity, label), lambda: _count(lm, source))
    least = min(tokens, ENOUGH * width)
    own = own_text(lm, least) if text is None and count < least else None
    few = min(count if own is None else least, tokens) < WANTED * width

    def read() -> str:
        return source if own is None else own.tensors()["utf8"].numpy().tobytes().decode()

    return General(label if own is None else text_hash(own.label), tokens, few, read)


def general_text(text: Text) -> str:
    """Return the text of a file, of a list or dataset, or the shipped text when given None.

    The items of a list are texts, or rows with a "text" like a `datasets` dataset's, of which the
    first 16 million characters are read. Raises EditError if a file cannot be read or an
    item is neither.
    """
    if text is not None and not isinstance(text, str | os.PathLike):
        return "\n\n".join(_texts(text))
    path = GENERAL if text is None else path_of(text)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EditError(f"The text for C, {path}, cannot be read: {sentence(error)}") from None


def text_file(text: Any) -> Any:
    """Return the path of a text, first writing a list or a dataset to a file in the cache folder.

    Anything else is returned unchanged.
    """
    if isinstance(text, str) or not isinstance(text, Iterable):
        return text
    whole = general_text(text)
    path = cache_folder() / "texts" / f"{text_hash(whole)[:24]}.txt"
    with whole_file(path) as part:
        part.write_text(whole, encoding="utf-8", newline="\n")
    return str(path)


def _texts(items: Iterable[Any]) -> Iterator[str]:
    """Yield the texts of a list or a dataset, up to MOST characters."""
    if isinstance(items, Mapping):  # the splits of a dataset
        raise EditError(f"The text for C has parts. Give one of them: {', '.join(map(str, items))}")
    left = MOST
    for item in items:
        found = item.get("text") if isinstance(item, Mapping) else item
        if not isinstance(found, str):
            raise EditError(
                "The text for C should consist of texts, or of rows with a 'text', not of "
                f"{shown(item)}."
            )
        yield found
        left -= len(found)
        if left < 0:
            return


def own_text(lm: LM, tokens: int) -> CachedTensors:
    """Return text written by the base model, with at least this many tokens, as UTF-8 bytes.

    It is sampled at temperature 1 over the whole vocabulary, starting each time from the token
    beginning texts.
    """

    def make(_: list[None]) -> Iterator[tuple[None, Tensors]]:
        start = lm.tokenizer.eos_token_id if lm.leading_bos is None else lm.leading_bos
        write = partial(generation.generate, lm, [[start or 0]] * ROWS, temperature=1.0)
        texts: list[str] = []
        count, times = 0, -(-tokens // (ROWS * LENGTH))
        with lm.patched(EMPTY, only=True):
            began = time.monotonic()
            write(max_new_tokens=5, seed=SEED)
            seconds = (time.monotonic() - began) / 5 * LENGTH * times
            warnings.warn(
                f"{lm.name} writes {tokens:,} tokens of general text, because the shipped text is "
                f"too short for its width. This takes about {seconds:.0f} s, once.",
                SlowWarning,
                2,
            )
            expected = steps(range(times), "general text written")
            for number in chain(expected, range(times, TRIES * times)):  # texts may end early
                ids = write(max_new_tokens=LENGTH, seed=SEED + number).ids
                found = lm.tokenizer.batch_decode(ids, skip_special_tokens=True)
                texts += [text.strip() for text in found if text.strip()]
                count = _count(lm, "\n\n".join(texts))
                if count >= tokens:
                    break
        if count < tokens:
            raise EditError(
                f"{lm.name} wrote only {count:,} of {tokens:,} tokens of general text. Give a text."
            )
        whole = "\n\n".join(texts).encode()
        yield None, {"utf8": torch.frombuffer(bytearray(whole), dtype=torch.uint8)}

    return CachedTensors("texts", f"{lm.stored_identity} {SEED} {ROWS} {LENGTH} {tokens}", make)


def _count(lm: LM, text: str) -> int:
    return len(lm.tokenizer(text, add_special_tokens=False)["input_ids"])
