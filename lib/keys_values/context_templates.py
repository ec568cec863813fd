"""Context templates: short beginnings, written by the model itself, preceding a prompt.

A template is a text with one `{}`, which is replaced by the prompt. If a key and a value hold after
several beginnings, they hold for the fact and not only for one sentence. `of` returns an
editor's templates, and `contexts` lets the model write them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import partial
from typing import Any

from ..model import generation
from ..model.lm import LM
from ..patch.patch import EMPTY

STARTERS = ("The", "Therefore", "Because", "I", "You")


def of(lm: LM, config: Any, kept: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return an editor's templates: given, kept from an earlier edit, or written by the model.

    config belongs to the editor, with `templates` (None if they are not given), `contexts` and
    `seed`. If it lacks `context_start` or `context_top_k`, MEMIT's five words and 5 are used.
    """
    if config.templates is not None:
        return tuple(config.templates)
    if kept:
        return tuple(kept)
    start = getattr(config, "context_start", "words")
    top_k = getattr(config, "context_top_k", 5)
    return contexts(lm, config.contexts, start, config.seed, top_k)


def contexts(
    lm: LM,
    lengths: Sequence[tuple[int, int]],
    start: int | str | None,
    seed: int,
    top_k: int = 5,
) -> tuple[str, ...]:
    """Return context templates: "{}" by itself, and sentences from the base model followed by "{}".

    lengths  pairs of a length in tokens, with the start token, and a number of sentences
    start    a token id, "words" for one sentence from each of five words in turn (MEMIT), or None
             for only the token beginning texts: BOS if the tokenizer adds one, otherwise the
             end-of-text token (ROME, whose GPT-2 has one token for both)
    seed     seed for sampling; the authors' code has none, so the same edit gives different patches
    top_k    number of most likely tokens for sampling; 0 samples from the whole vocabulary

    If the model writes a non-text token, such as the beginning of an image, which Gemma 3 puts
    first in one text of seventeen, it writes again without using those tokens.
    """
    # the same words each time, so they are written only once
    asked = "contexts", lm.stored_identity, tuple(map(tuple, lengths)), start, seed, top_k
    return lm.once(asked, lambda: _write(lm, lengths, start, seed, top_k))


def _write(
    lm: LM, lengths: Sequence[tuple[int, int]], start: int | str | None, seed: int, top_k: int
) -> tuple[str, ...]:
    """Let the base model write the result of `contexts`."""
    if start is None:
        start = lm.tokenizer.eos_token_id if lm.leading_bos is None else lm.leading_bos
    markup = set(getattr(lm.tokenizer, "added_tokens_decoder", ())) - {lm.tokenizer.eos_token_id}
    made = ["{}"]
    with lm.patched(EMPTY, only=True):
        for length, count in lengths:
            if start == "words":
                rows = [lm.tokenizer(STARTERS[i % len(STARTERS)]).input_ids for i in range(count)]
            else:
                rows = [[int(start)]] * count
            write = partial(
                generation.generate,
                lm,
                rows,
                length - len(rows[0]),
                temperature=1.0,
                top_k=top_k or None,
                seed=seed + length,
            )
            new = write()
            if any(markup.intersection(ids) for ids in new.ids):
                new = write(never=sorted(markup))
            for row, ids in zip(rows, new.ids, strict=True):
                text = lm.tokenizer.decode([*row, *ids], skip_special_tokens=True)
                text = unicodedata.normalize("NFKD", text).replace("\n\n", " ")
                made.append(text.replace("{", " ").replace("}", " ").strip() + ". {}")
    return tuple(made)
