"""What a defender reads from a suspect: the second moment of its keys, and keys of candidates.

A candidate is a text that somebody may have edited: a subject, or a whole prompt. Its key in a
layer is what the MLP's output projection reads at the candidate's last token, for a subject behind
a neutral prefix. Methods of the ROME and MEMIT kind write at the subject; fine-tuning, LoRA, MEND
and UltraEdit write where the prompt ends. Keys of a layer depend on the layers below only, so both
can be read from the suspect itself, without the base model: exactly where one layer was edited, and
nearly so above the first of several.
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

PREFIX = "About {}"  # one token before the candidate: position 0 is the attention sink
BARE = "{}"  # whole prompts stand as they are
TOGETHER = 512  # candidates whose keys are held at once
MOST = 1_000_000  # candidates in one list


def key_moments(lm: LM, layers: Sequence[int], *given: Any, **settings: Any) -> dict[int, Tensor]:
    """What `moment_steps` of the same arguments gives at its end."""
    return finished(moment_steps(lm, layers, *given, **settings))


def moment_steps(
    lm: LM,
    layers: Sequence[int],
    patch: Patch = EMPTY,
    text: Text = None,
    tokens: int | None = None,
) -> Generator[float, None, dict[int, Tensor]]:
    """{layer: C = E[k kᵀ] (d_in, d_in)}, float32 on the CPU, undamped, of the suspect's own keys.

    patch   the suspect is the model under this patch
    text    and `tokens`: those of `second_moment`

    It is `second_moment` of a suspect, in steps of about a thousand tokens, which yield the share
    that is read: between two steps the model is free. Nothing is cached, because the suspect is
    nobody's base model. The first position of a window, the attention sink, is left out. Raises
    EditError when the text cannot be read or has fewer than two tokens.
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
    """Token ids of each candidate behind the prefix, which ends with its `{}`.

    A prefix "{}" reads the candidates as they are: whole prompts, say, at their last token. Raises
    ForensicsError for no candidates, too many, a blank one, or a prefix that does not end with
    `{}`; ValueError for one that is longer than the context.
    """
    if isinstance(names, str) or not names:
        raise ForensicsError("a list of at least one candidate is needed")
    if len(names) > MOST:
        raise ForensicsError(f"{len(names):,} candidates are more than {MOST:,}")
    if not isinstance(prefix, str) or not prefix.endswith("{}") or prefix.count("{}") != 1:
        raise ForensicsError("a prefix ends with its one {}, where the candidate stands")
    rows = [
        encode_prompt(lm.tokenizer, fill(prefix, require_text(name, "A candidate").strip()))
        for name in names
    ]
    batching.check_length(lm, rows)
    return rows


def keys(
    lm: LM, rows: Sequence[list[int]], layers: Sequence[int], patch: Patch = EMPTY
) -> Iterator[tuple[list[int], dict[int, Tensor]]]:
    """(places in `rows`, {layer: keys (m, d_in) at their last tokens}), part after part, float32.

    Each part has at most 512 rows of similar length, so that a long list never stands in memory.
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
    """What `measure` makes of all candidates' keys, (layers, …, n), read part after part.

    measure  (layer, keys (m, d_in)) -> (…, m)
    """
    parts, order = [], []
    for part, found in keys(lm, rows_of(lm, names, prefix), layers, patch):
        parts.append(torch.stack([measure(layer, found[layer]) for layer in layers]))
        order += part
    return torch.cat(parts, -1)[..., torch.tensor(order).argsort()]


def read_names(path: str | Path, what: str = "subjects") -> list[str]:
    """The candidates in a text file, one per line, each once; blank lines are passed over.

    what  what they are, for the sentences of errors

    Raises ForensicsError for a file that cannot be read as text, and for one without a candidate.
    """
    try:
        lines = path_of(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ForensicsError(
            f"the list of {what} {path} cannot be read: {sentence(error)}"
        ) from None
    found = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not found:
        raise ForensicsError(f"the list of {what} {path} is empty")
    return found


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON can have them: what is missing becomes None."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def digest(names: Sequence[str]) -> str:
    """A short hash of a list of candidates, by which a report names it."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
