"""The second moment C = E[k kᵀ] of a layer's keys over general text, cached by content.

C says which directions the keys of ordinary text use, so that an edit can avoid them. It is not
centered, although ROME and MEMIT call it "covariance". The text is a file that the user names, or
the one shipped with the library.

The shipped text was written by the default model itself (temperature 1, whole vocabulary, from
token id 0; general_text.json). Compared with C = I it cut the damage on neutral held-out keys by
40 % at layer 5 and to a fifth at layer 8. Public-domain prose gave an equally good C: 10 % more
damage at layer 5, 7 % less at layer 8, and edits held equally often. The model's own text is
shipped because it is the model's own input distribution, has no license, and is not about the very
facts that get edited.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from ..associative_memory import Moment
from ..atomic_files import path_of, plain_text
from ..cancellation import finished, raise_if_cancelled, steps
from ..computed_once import Stored, Tensors, make_missing, remembered, room, text_hash
from ..data.texts import GENERAL
from ..errors import EditError
from ..model import activations, batching
from ..model.devices import on_card
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from ..setting_fields import Amount

WINDOW = 256  # tokens read at once
BLOCK = 512  # columns of K Kᵀ made at once: only those blocks that do not lie above the diagonal
TOKENS_PER_WIDTH = 10  # tokens wanted per input dimension: 15,360 for the default model


def second_moment(
    lm: LM,
    layers: Sequence[int],
    text: str | Path | None = None,
    tokens: int | None = None,
    damping: Amount = 1e-4,
    skip_first: bool | None = None,
    *,
    among: Sequence[int] = (),
) -> dict[int, Moment]:
    """{layer: C = E[k kᵀ] + damping·(tr C / d_in)·I with its Cholesky factor}, float64 on the CPU.

    text        a file of general text; None takes the text shipped with the library
    tokens      number of tokens to read; None takes ten per input dimension
    damping     multiple of the mean eigenvalue that is added to the diagonal
    skip_first  whether position 0 of every window is left out; None leaves it out where the
                tokenizer adds no BOS. There that position is the attention sink, whose one huge
                direction would be nearly all of C.
    among       further layers whose C will be wanted: it is made in the same pass where it is
                missing, but only those of `layers` are loaded and factored

    All layers come from one pass, which runs no deeper than the highest. Raises EditError when the
    text has fewer tokens than d_in and damping is 0, or cannot be read.
    """
    moments = stored_moments(lm, [*layers, *among], text, tokens, skip_first)
    make_missing(moments.values())
    return {
        layer: remembered(
            ("second moment", moments[layer], damping), partial(_damped, moments[layer], damping)
        )
        for layer in steps(layers, "factors of second moments")
    }


def stored_moments(
    lm: LM, layers: Sequence[int], text: Any, tokens: int | None, skip_first: bool | None = None
) -> dict[int, Stored]:
    """{layer: C without damping and its count of `tokens`, as it is or will be stored}.

    The other arguments are those of `second_moment`.
    """
    skip_first = lm.leading_bos is None if skip_first is None else skip_first
    width = lm.weight(lm.mlp_out(layers[0])).shape[1]
    tokens = tokens or TOKENS_PER_WIDTH * width
    source = general_text(text)
    label = f"{lm.stored_identity} {text_hash(source)} {tokens} {skip_first}"

    def make(missing: list[int]) -> Iterator[tuple[int, Tensors]]:
        # as many layers in one pass as there is room for; each has a sum of its own in any case
        at_once = max(1, room() // (8 * width * width))
        rows = windows(lm, source, tokens)
        for first in range(0, len(missing), at_once):
            some = missing[first : first + at_once]
            sums, count = finished(reading(lm, some, rows, int(skip_first)))
            for layer in some:
                mean = sums.pop(layer).div_(count).float()
                yield layer, {"C": mean, "tokens": torch.tensor(count)}

    # in a mixture of experts C is that of the expert to which a layer's tokens are sent
    return {i: Stored("moments", label + lm.sent_to.get(i, ""), make, i) for i in layers}


def _damped(moment: Stored, damping: float) -> Moment:
    held = moment.tensors()
    C, count = held["C"].double(), int(held["tokens"])
    del held  # the room of the float32 matrix is free for the factor
    if count < len(C) and not damping:
        raise EditError(f"the text has {count} tokens for {len(C)} inputs: C is singular")
    C.diagonal().add_(damping * C.diagonal().mean())
    return Moment(C)


def reading(
    lm: LM,
    layers: Sequence[int],
    rows: Sequence[list[int]],
    skip: int,
    patch: Patch = EMPTY,
    at_once: int = 8 * WINDOW,
) -> Generator[float, None, tuple[dict[int, Tensor], int]]:
    """Σ k kᵀ per layer, float64 on the CPU, and the number of keys in it, under a patch; in steps.

    The rows are token ids, of which the first `skip` are left out. A step runs `at_once` tokens and
    yields the share of the rows that is read; between two steps the model is free. A layer's sum is
    on its card until all was read, where there is room for it.
    """
    names = {lm.mlp_out(layer): layer for layer in layers}
    sums: dict[int, Tensor] = {}
    count = read = 0
    groups = list(batching.batches(rows, limit=at_once))
    for group in steps(groups, f"second moments of {len(layers)} layer{'s' * (len(layers) > 1)}"):
        with lm.patched(patch, only=True):
            seen = activations.module_inputs(lm, [rows[i] for i in group], list(names), skip)
        for name, layer in names.items():
            raise_if_cancelled()
            keys = seen.pop(name).float().T.contiguous()  # (d_in, tokens)
            if layer not in sums:
                sums[layer] = _zeros(len(keys), keys.device)
            for at in range(0, len(keys), BLOCK):  # float32 products into a float64 sum
                more = linear(keys[at:], keys[at : at + BLOCK])
                sums[layer][at:, at : at + BLOCK] += more.to(sums[layer].device)
        count, read = count + keys.shape[1], read + len(group)
        yield read / len(rows)
    return {i: (low := C.cpu()).tril_().add_(low.tril(-1).T) for i, C in sums.items()}, count


def windows(lm: LM, source: str, tokens: int) -> list[list[int]]:
    """The rows of `cut` with a token more for each, since the first of each may be left out."""
    return cut(lm, source, tokens + tokens // WINDOW + 1)


def cut(lm: LM, source: str, tokens: int) -> list[list[int]]:
    """The text's first `tokens` tokens as rows of at most WINDOW ids, each behind a BOS if any.

    A row has at least two tokens. Raises EditError for a text of fewer.
    """
    ids = lm.tokenizer(source, add_special_tokens=False)["input_ids"][:tokens]
    if len(ids) < 2:
        raise EditError("the text for C is empty")
    return [row for row in lm.windows(ids, WINDOW) if len(row) > 1]


def _zeros(width: int, device: torch.device) -> Tensor:
    """Zeros (width, width), float64, on a card that has room for them, else on the CPU."""
    place = device if on_card(device) else torch.device("cpu")
    try:
        return torch.zeros(width, width, dtype=torch.float64, device=place)
    except torch.OutOfMemoryError:
        return torch.zeros(width, width, dtype=torch.float64)


def general_text(text: str | Path | None) -> str:
    """The text of a file, or for None the one shipped; EditError where it cannot be read."""
    path = GENERAL if text is None else path_of(text)
    try:
        return plain_text(path)
    except OSError as error:
        raise EditError(f"the text for C, {path}, cannot be read: {error.strerror}") from None
