"""Context templates: short beginnings, written by the model itself, that stand before a prompt.

A template is a text with one `{}`, into which the prompt is put. A key and a value that hold after
several beginnings hold for the fact and not only for one sentence. `of` says which templates an
editor uses, and `contexts` lets the model write them.
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
    """The templates of an editor: given, else kept from an earlier edit, else written by the model.

    config is the editor's, with `templates` (None where they are not given), `contexts` and `seed`.
    Where it has no `context_start` or `context_top_k`, MEMIT's five words and 5 are taken.
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
    """Context templates: "{}" alone, and sentences that the base model wrote, each before "{}".

    lengths  pairs of a length in tokens, with the start token, and a number of sentences
    start    a token id, "words" for one sentence from each of five words in turn (MEMIT), or None
             for the token alone with which texts begin: BOS where the tokenizer adds one, otherwise
             the end-of-text token (ROME, whose GPT-2 has one token for both)
    seed     seed of the sampling; the authors' code has none, so the same edit gives other patches
    top_k    number of likeliest tokens to draw from; 0 draws from the whole vocabulary

    Where the model wrote a token that is no text, such as the beginning of an image, which Gemma 3
    puts first in one text of seventeen, it writes once more without those tokens.
    """
    # the same words each time, so they are written once
    asked = "contexts", lm.stored_identity, tuple(map(tuple, lengths)), start, seed, top_k
    return lm.once(asked, lambda: _write(lm, lengths, start, seed, top_k))


def _write(
    lm: LM, lengths: Sequence[tuple[int, int]], start: int | str | None, seed: int, top_k: int
) -> tuple[str, ...]:
    """Have the base model write what `contexts` gives."""
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
