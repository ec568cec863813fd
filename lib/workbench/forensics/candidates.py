"""A defender's data from a suspect: the second moment of its keys, and keys of candidates.

A candidate is a text that may have been edited: a subject, or a whole prompt. Its key in a layer is
the input of the MLP's output projection at the candidate's last token; for a subject, following a
neutral prefix. ROME, MEMIT and similar methods write at the subject; fine-tuning, LoRA, MEND and
UltraEdit write at the end of the prompt. A layer's keys depend only on the layers below, so both
can be read from the suspect itself, without the base model: exactly if one layer was edited, and
almost exactly above the first of several.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ...atomic_files import path_of
from ...cancellation import finished, steps
from ...data.facts import encode_prompt, fill, require_text
from ...errors import ForensicsError, sentence
from ...keys_values.general_text import Text, chosen
from ...keys_values.second_moment import WINDOW, about, cut, reading, shrunk
from ...model import activations, batching
from ...model.lm import LM
from ...patch.patch import EMPTY, Patch

PREFIX = "About {}"  # one token preceding the candidate: position 0 is the attention sink
BARE = "{}"  # whole prompts are used as they are
TOGETHER = 512  # candidates whose keys are held at once
MOST = 1_000_000  # candidates in one list


def key_moments(lm: LM, layers: Sequence[int], *given: Any, **settings: Any) -> dict[int, Tensor]:
    """Return the final result of `moment_steps` for the same arguments."""
    return finished(moment_steps(lm, layers, *given, **settings))


def moment_steps(
    lm: LM,
    layers: Sequence[int],
    patch: Patch = EMPTY,
    text: Text = None,
    tokens: int | None = None,
) -> Generator[float, None, dict[int, Tensor]]:
    """Compute {layer: C = E[k kᵀ] (d_in, d_in)}, float32, CPU, undamped, of the suspect's own keys.

    patch   the suspect is the model under this patch
    text    and `tokens`: as in `second_moment`

    This is `second_moment` for a suspect, in steps of about a thousand tokens, which yield the
    fraction read so far: between two steps, the model is free. Nothing is cached, because the
    suspect is not a base model. The first position of a window, the attention sink, is left out.
    Raises EditError if the text cannot be read or has fewer than two tokens.
    """
    width = lm.weight(lm.mlp_out(layers[0])).shape[1]
    source = chosen(lm, text, tokens, width)
    rows = cut(lm, source.read(), source.tokens)
    sums, count, spreads = yield from reading(lm, layers, rows, 1, patch, 4 * WINDOW, source.few)
    found = {}
    for layer in layers:
        mean = sums.pop(layer).div_(count)
        found[layer] = shrunk({"C": mean, **about(mean, count, spreads.get(layer))}).float()
    return found


def rows_of(lm: LM, names: Sequence[str], prefix: str = PREFIX) -> list[list[int]]:
    """Return the token ids of each candidate following the prefix, ending with its `{}`.

    A prefix "{}" leaves the candidates unchanged, for example for reading whole prompts at their
    last token. Raises ForensicsError for no candidates, too many, a blank one, or a prefix that
    does not end with `{}`; ValueError if a candidate is longer than the context.
    """
    if isinstance(names, str) or not names:
        raise ForensicsError("A list of at least one candidate is needed.")
    if len(names) > MOST:
        raise ForensicsError(f"{len(names):,} candidates are more than {MOST:,}. Use fewer.")
    if not isinstance(prefix, str) or not prefix.endswith("{}") or prefix.count("{}") != 1:
        raise ForensicsError("A prefix should end with its one {}, the place of the candidate.")
    rows = [
        encode_prompt(lm.tokenizer, fill(prefix, require_text(name, "A candidate").strip()))
        for name in names
    ]
    batching.check_length(lm, rows)
    return rows


def keys(
    lm: LM, rows: Sequence[list[int]], layers: Sequence[int], patch: Patch = EMPTY
) -> Iterator[tuple[list[int], dict[int, Tensor]]]:
    """Yield (places in `rows`, {layer: keys (m, d_in) at their last tokens}) in parts, float32.

    Each part has at most 512 rows of similar length, so a long list is never in memory as a whole.
    """
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    names = {lm.mlp_out(layer): layer for layer in layers}
    for start in steps(range(0, len(order), TOGETHER), "keys of candidates"):
        part = order[start : start + TOGETHER]
        some = [rows[i] for i in part]
        with lm.patched(patch, only=True):
            found = activations.module_inputs_at(lm, some, [len(r) - 1 for r in some], list(names))
        yield part, {names[name]: K.float().cpu() for name, K in found.items()}


def measured(
    lm: LM,
    names: Sequence[str],
    layers: Sequence[int],
    measure: Callable[[int, Tensor], Tensor],
    patch: Patch = EMPTY,
    prefix: str = PREFIX,
) -> Tensor:
    """Return the results of `measure` for all candidates' keys, (layers, …, n), in parts.

    measure  (layer, keys (m, d_in)) -> (…, m)
    """
    parts, order = [], []
    for part, found in keys(lm, rows_of(lm, names, prefix), layers, patch):
        parts.append(torch.stack([measure(layer, found[layer]) for layer in layers]))
        order += part
    return torch.cat(parts, -1)[..., torch.tensor(order).argsort()]


def read_names(path: str | Path, what: str = "subjects") -> list[str]:
    """Return the candidates in a text file, one per line, each once, skipping blank lines.

    what  a word for them, for error messages

    Raises ForensicsError if the file cannot be read as text or contains no candidate.
    """
    try:
        lines = path_of(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ForensicsError(
            f"The list of {what} {path} cannot be read: {sentence(error)}"
        ) from None
    found = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not found:
        raise ForensicsError(f"The list of {what} {path} is empty. Add one candidate per line.")
    return found


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table for JSON, with None for missing values."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def digest(names: Sequence[str]) -> str:
    """Return a short hash of a list of candidates, used for naming it in a report."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
