"""The second moment C = E[k kᵀ] of a layer's keys over general text, cached by content.

C shows which directions the keys of ordinary text use, so that an edit can avoid them. It is not
centered, although ROME and MEMIT call it "covariance". The text is shipped with the library, given
by you, or written by the model itself (general_text.py).

Using n tokens, C is only estimated, and its inverse relies most on what was seen least. An edit
along Ĉ⁻¹k harms text n/(n − d) times as much as along C⁻¹k, whatever C is. Near one token per
dimension, no success rate therefore shows what the edit does elsewhere. With fewer than ten, the
estimate is shrunk towards a multiple of the identity (Ledoit and Wolf, 2004): C = (1 − r) Ĉ + r m I
with the mean eigenvalue m. The published r treats tokens as independent; neighboring tokens in a
text are not, so here the windows of the text are the observations.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import linear

from ..associative_memory import Moment
from ..cancellation import finished, raise_if_cancelled, steps
from ..computed_once import CachedTensors, Tensors, make_missing
from ..errors import EditError, EditWarning
from ..model import activations, batching
from ..model.devices import on_card, room
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from ..setting_fields import at_least
from .general_text import WANTED, Text, chosen

WINDOW = 256  # tokens read at once
BLOCK = 512  # columns of K Kᵀ computed at once, skipping blocks above the diagonal
OBSERVATIONS = 16  # minimum number of windows for estimating r: a short text has shorter windows
FEW = 5  # tokens per dimension below which a warning shows the cost of the shrunk C
# {tokens per dimension: harm to other text, as a multiple of the harm with ten}: means over keys in
# the worse of layers 3 and 20 of the default model (tests/keys_values/test_shrinkage.py)
COSTS = {3: 1.3, 2: 1.4, 1.5: 1.6, 1: 1.8, 0.5: 2, 0.1: 4, 0: 8}


def second_moment(
    lm: LM,
    layers: Sequence[int],
    text: Text = None,
    tokens: int | None = None,
    damping: float = 1e-4,
    skip_first: bool | None = None,
    *,
    among: Sequence[int] = (),
) -> dict[int, Moment]:
    """Return {layer: C = E[k kᵀ] + damping·(tr C / d_in)·I with its Cholesky factor}, float64, CPU.

    text        a file of general text, a list of texts, or a `datasets` dataset with a "text"; None
                uses the text shipped with the library, or if that has fewer than three tokens per
                input dimension, text written by the model
    tokens      number of tokens to read; None uses ten per input dimension. With fewer, C is
                shrunk, and with fewer than five, an EditWarning reports the cost
    damping     multiple of the mean eigenvalue added to the diagonal
    skip_first  whether position 0 of every window is left out; None leaves it out if the tokenizer
                adds no BOS. In this case, that position is the attention sink, whose one huge
                direction would be almost all of C.
    among       other layers whose C will be needed: a missing C is computed in the same pass, but
                only those of `layers` are loaded and factored

    All layers come from one pass, running no deeper than the highest. Raises EditError if the text
    cannot be read.
    """
    at_least(0, damping=damping)
    moments = stored_moments(lm, [*layers, *among], text, tokens, skip_first)
    make_missing(moments.values())
    return {
        layer: lm.once(
            ("second moment", moments[layer], damping), partial(_damped, moments[layer], damping)
        )
        for layer in steps(layers, "factors of second moments")
    }


def stored_moments(
    lm: LM, layers: Sequence[int], text: Text, tokens: int | None, skip_first: bool | None = None
) -> dict[int, CachedTensors]:
    """Return {layer: C without damping or shrinkage and its count of `tokens`, as stored}.

    With few tokens, it also includes its `shrinkage` r. For the other arguments, see
    `second_moment`.
    """
    skip_first = lm.leading_bos is None if skip_first is None else skip_first
    width = lm.weight(lm.mlp_out(layers[0])).shape[1]
    source = chosen(lm, text, tokens, width)
    label = f"{lm.stored_identity} {source.label} {source.tokens} {skip_first}"
    label += " shrunk" * source.few

    def make(missing: list[int]) -> Iterator[tuple[int, Tensors]]:
        # as many layers in one pass as memory allows; each has its own sum in any case
        at_once = max(1, room() // (8 * width * width))
        rows = windows(lm, source.read(), source.tokens)
        for first in range(0, len(missing), at_once):
            some = missing[first : first + at_once]
            sums, count, spreads = finished(
                reading(lm, some, rows, int(skip_first), few=source.few)
            )
            for layer in some:
                mean = sums.pop(layer).div_(count)
                yield layer, {"C": mean.float(), **about(mean, count, spreads.get(layer))}

    return {i: CachedTensors("moments", label, make, i) for i in layers}


def _damped(moment: CachedTensors, damping: float) -> Moment:
    C = shrunk(moment.tensors())
    C.diagonal().add_(damping * C.diagonal().mean())
    return Moment(C)


def about(mean: Tensor, count: int, spread: Spread | None) -> Tensors:
    """Return the data stored with a second moment: `tokens` and, if they are few, `shrinkage`."""
    found = {"tokens": torch.tensor(count)}
    return found if spread is None else {**found, "shrinkage": spread.shrinkage(mean)}


def shrunk(held: Tensors, name: str = "C") -> Tensor:
    """Return the stored second moment `name`, float64, shrunk if it has few tokens."""
    C = held[name].double()
    if "shrinkage" in held:
        warn_of_few(held, len(C))
        # (1 − r) Ĉ + r m I has the trace of Ĉ, so that a weight of C keeps its meaning
        r, mean = held["shrinkage"].item(), C.diagonal().mean()
        C = C.mul(1 - r)
        C.diagonal().add_(r * mean)
    return C


def warn_of_few(held: Tensors, width: int) -> None:
    """Warn about a statistic computed from fewer than FEW tokens per dimension."""
    if "shrinkage" in held and (ratio := int(held["tokens"]) / width) < FEW:
        cost = next(cost for least, cost in COSTS.items() if ratio >= least)
        warnings.warn(
            f"A statistic of {width:,} dimensions uses only {ratio:.1f} tokens of general text "
            f"for each, so it was shrunk by {held['shrinkage'].item():.0%}. Edits may change other "
            f"text up to about {cost} times as much as with {WANTED}. Give a longer `text`.",
            EditWarning,
            stacklevel=2,
        )


@dataclass
class Spread:
    """The differences between windows of a text, indicating the error of its second moment.

    size     tokens of a window
    windows  tokens of the windows seen
    squares  Σ ‖B Bᵀ‖² over windows B (d, t)
    """

    size: int
    windows: list[int] = field(default_factory=list)
    squares: float = 0.0

    @classmethod
    def of(cls, tokens: int) -> Spread:
        """Return the spread before reading a text of this many tokens."""
        return cls(min(WINDOW, max(1, tokens // OBSERVATIONS)))

    def see(self, X: Tensor) -> None:
        """Add the columns X (d, t) of some windows."""
        for B in X.split(self.size, 1):
            self.windows.append(B.shape[1])
            self.squares += (B.T @ B).square().sum().item()  # ‖BᵀB‖² = ‖B Bᵀ‖²

    def shrinkage(self, C: Tensor) -> Tensor:
        """Return the fraction r of C's spread, the mean over all windows, that is due to chance."""
        n, w = sum(self.windows), len(self.windows)
        square, d = C.square().sum().item(), len(C)
        # b = E‖Ĉ − C‖² ≈ w/(w − 1) Σ (t/n)² ‖BBᵀ/t − Ĉ‖², exact for windows of one length
        share = sum(t * t for t in self.windows) / n**2
        b = w / max(1, w - 1) * (self.squares / n**2 - share * square)
        # D = ‖Ĉ − m I‖² with the mean eigenvalue m
        D = square - d * C.diagonal().mean().item() ** 2
        r = min(1.0, max(0.0, b / D)) if w > 1 and D > 0 else 1.0  # one window shows no spread
        return torch.tensor(r, dtype=torch.float64)


def reading(
    lm: LM,
    layers: Sequence[int],
    rows: Sequence[list[int]],
    skip: int,
    patch: Patch = EMPTY,
    at_once: int = 8 * WINDOW,
    few: bool = False,
) -> Generator[float, None, tuple[dict[int, Tensor], int, dict[int, Spread]]]:
    """Compute Σ k kᵀ per layer under a patch, float64 on the CPU, and the number of keys, in steps.

    With `few`, the spread of each layer is also returned.

    The rows are token ids, of which the first `skip` are left out. A step runs `at_once` tokens and
    yields the fraction of the rows read so far; between two steps, the model is free. A layer's sum
    stays on its GPU until everything has been read, if there is enough memory.
    """
    names = {lm.mlp_out(layer): layer for layer in layers}
    sums: dict[int, Tensor] = {}
    spreads = {layer: Spread.of(sum(map(len, rows))) for layer in layers if few}
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
            if few:
                spreads[layer].see(keys)
        count, read = count + keys.shape[1], read + len(group)
        yield read / len(rows)
    whole = {i: (low := C.cpu()).tril_().add_(low.tril(-1).T) for i, C in sums.items()}
    return whole, count, spreads


def windows(lm: LM, source: str, tokens: int) -> list[list[int]]:
    """Return the rows of `cut` with an additional token each, since their first may be left out."""
    return cut(lm, source, tokens + tokens // WINDOW + 1)


def cut(lm: LM, source: str, tokens: int) -> list[list[int]]:
    """Return the text's first `tokens` tokens as rows of at most WINDOW ids, each after any BOS.

    A row has at least two tokens. Raises EditError for a text of fewer.
    """
    ids = lm.tokenizer(source, add_special_tokens=False)["input_ids"][:tokens]
    if len(ids) < 2:
        raise EditError("The text for C is empty. Give a longer text.")
    return [row for row in lm.windows(ids, WINDOW) if len(row) > 1]


def _zeros(width: int, device: torch.device) -> Tensor:
    """Return zeros (width, width), float64, on a GPU with enough memory, else on the CPU."""
    place = device if on_card(device) else torch.device("cpu")
    try:
        return torch.zeros(width, width, dtype=torch.float64, device=place)
    except torch.OutOfMemoryError:
        return torch.zeros(width, width, dtype=torch.float64)
