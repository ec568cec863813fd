"""The second moment S = E[g gᵀ] of a layer's output gradients over general text, cached as C is.

g is the gradient, with respect to the output of an MLP's output projection at one token, of the
cross entropy summed over all tokens of the row that the model predicts: the effect on all later
tokens is in it. C says which inputs general text uses, and S which outputs matter to it. Together
they are the curvature of the layer's weights (curvature.py). The positions are those that predict a
token. A row's last one is left out, and its first one where C leaves it out.

The theory (the Fisher matrix) asks for tokens that are drawn from the model's own prediction. As
published, S takes the text's own tokens. On text that the model wrote itself at temperature 1, as
the shipped text is for the default model, both have the same expectation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..atomic_files import cached, whole_file
from ..cancellation import raise_if_cancelled
from ..model import activations, batching
from ..model.answer_rows import AnswerRows
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from .answer_gradients import one_pass
from .curvature import Curvature, Eigen, curvature
from .matrix_cache import kept
from .null_space import eigen
from .second_moment import (
    TOKENS_PER_WIDTH,
    WINDOW,
    accumulated,
    general_text,
    stored_moments,
    windows,
)

Labels = Literal["data", "sampled"]
AT_ONCE = 4 * WINDOW  # tokens of one pass, whose activations are all kept for the backward


class Moments(NamedTuple):
    """A (d_in, d_in) and S (d_out, d_out), float64, of a layer, each with its count of tokens."""

    A: Tensor
    S: Tensor
    inputs: int
    outputs: int

    def merged(self, K: Tensor, G: Tensor, count: int, weight: float | None) -> Moments:
        """The weighted means of these moments and of the columns K (d_in, m) and G (d_out, n).

        count   tokens that the columns stand for: K Kᵀ and G Gᵀ are sums over so many
        weight  of each of these tokens against one of the text; None gives all of them together a
                tenth of the text's weight
        """

        def mean(moment: Tensor, columns: Tensor, tokens: int) -> Tensor:
            w = 0.1 * tokens / count if weight is None else weight
            more = columns.double() @ columns.double().T
            # (n M + w Σ x xᵀ) / (n + w n_e)
            return (tokens * moment + w * more) / (tokens + w * count)

        A, S = mean(self.A, K, self.inputs), mean(self.S, G, self.outputs)
        return Moments(A, S, self.inputs, self.outputs)


def output_moment(
    lm: LM,
    layers: Sequence[int],
    text: str | Path | None = None,
    tokens: int | None = None,
    skip_first: bool | None = None,
    labels: Labels = "data",
) -> dict[int, tuple[Tensor, int]]:
    """{layer: S (d_out, d_out) float64 on the CPU, and the number of tokens in it}.

    text        a file of general text; None takes the text shipped with the library
    tokens      number of tokens to read; None takes ten per output dimension
    skip_first  whether position 0 of every window is left out, as in `second_moment`
    labels      tokens whose cross entropy is taken: those of the text ("data"), or those drawn from
                the model's own prediction at each position ("sampled", seed 0)

    All layers come from one pass forward and backward. Raises StatsError when the text cannot be
    read or is empty.
    """
    return {
        layer: _load(str(path))
        for layer, path in _stored(lm, layers, text, tokens, skip_first, labels).items()
    }


def moments(
    lm: LM,
    layers: Sequence[int],
    text: str | Path | None = None,
    tokens: int | None = None,
    labels: Labels = "data",
    patch: Patch | None = None,
) -> dict[int, Moments]:
    """{layer: A and S of the same text}, undamped, A being the C of `second_moment`.

    patch  None takes the base model's, which are cached; under a patch they are read anew
    """
    if patch is not None:
        return _moments_under(patch, lm, layers, text, tokens, labels)
    paths, _, _ = stored_moments(lm, layers, text, tokens, None)
    found = output_moment(lm, layers, text, tokens, labels=labels)
    made = {}
    for layer in layers:
        held = load_file(paths[layer])
        made[layer] = Moments(
            held["C"].double(), found[layer][0], int(held["tokens"]), found[layer][1]
        )
    return made


def _moments_under(
    patch: Patch, lm: LM, layers: Sequence[int], text: Any, tokens: int | None, labels: Labels
) -> dict[int, Moments]:
    source, skip = general_text(text), lm.leading_bos is None
    names = {layer: lm.mlp_out(layer) for layer in layers}
    d_out, d_in = lm.weight(names[layers[0]]).shape
    some, few = tokens or TOKENS_PER_WIDTH * d_in, tokens or TOKENS_PER_WIDTH * d_out
    A, inputs = accumulated(lm, layers, source, some, skip, patch)
    S, outputs = _accumulate(lm, list(names.values()), source, few, skip, labels, patch)
    return {
        layer: Moments(A[layer] / inputs, S[name] / outputs, inputs, outputs)
        for layer, name in names.items()
    }


def curvatures(
    lm: LM,
    layers: Sequence[int],
    energy: float,
    text: str | Path | None = None,
    tokens: int | None = None,
    labels: Labels = "data",
) -> dict[int, Curvature]:
    """{layer: the curvature of its MLP's output projection over general text}, float64.

    energy is that of `curvature`; the other arguments are those of `output_moment`.
    """
    inputs, _, _ = stored_moments(lm, layers, text, tokens, None)
    outputs = _stored(lm, layers, text, tokens, None, labels)
    found = {}
    for layer in layers:
        raise_if_cancelled()
        A = eigen(str(inputs[layer]), lm.device)
        found[layer] = curvature(A, _output_eigen(str(outputs[layer])), energy)
    return found


def _stored(
    lm: LM,
    layers: Sequence[int],
    text: str | Path | None,
    tokens: int | None,
    skip_first: bool | None,
    labels: Labels,
) -> dict[int, Path]:
    """{layer: file with its S}; files that are missing are made, all in one pass."""
    if skip_first is None:
        skip_first = lm.leading_bos is None
    names = {layer: lm.mlp_out(layer) for layer in layers}  # refuses a layer that is not there
    tokens = tokens or TOKENS_PER_WIDTH * lm.weight(names[layers[0]]).shape[0]
    source = general_text(text)
    content = hashlib.sha256(source.encode()).hexdigest()
    label = f"{lm.fingerprint} {lm.dtype} {content} {tokens} {skip_first} {labels}"
    paths = {layer: cached("output_moments", f"{label} {layer}") for layer in layers}
    missing = {layer: names[layer] for layer, path in paths.items() if not path.exists()}
    if missing:
        sums, count = _accumulate(lm, list(missing.values()), source, tokens, skip_first, labels)
        for layer, name in missing.items():
            with whole_file(paths[layer]) as part:
                save_file({"S": sums.pop(name) / count, "tokens": torch.tensor(count)}, part)
    return paths


def _accumulate(
    lm: LM,
    names: list[str],
    source: str,
    tokens: int,
    skip_first: bool,
    labels: Labels,
    patch: Patch = EMPTY,
) -> tuple[dict[str, Tensor], int]:
    """{module: Σ g gᵀ}, float64 on the CPU, and the number of gradients in each sum."""
    texts = windows(lm, source, tokens)
    generator = torch.Generator().manual_seed(0)
    sums: dict[str, Tensor] = {}
    count = 0
    with lm.patched(patch, only=True):
        for group in batching.batches(texts, limit=AT_ONCE):
            raise_if_cancelled()
            part = [texts[i] for i in group]
            rows = AnswerRows([row[:1] for row in part], [row[1:] for row in part])
            if labels == "sampled":
                rows = _Drawn(rows.prompts, rows.answers, drawn=_draw(lm, rows, generator))
            # the sum over all tokens of all rows: rows do not interact
            found = one_pass(lm, rows, torch.ones(rows.labels.shape[1]), names, 0)
            wanted = rows.labels[1] >= int(skip_first)
            for name, (_, G) in found.items():  # (d_out, tokens): float32 products
                G = G[:, wanted.to(G.device)]
                more = (G @ G.T).cpu().double()
                sums[name] = sums[name].add_(more) if name in sums else more
            count += int(wanted.sum())
    return sums, count


@dataclass(frozen=True)
class _Drawn(AnswerRows):
    """Rows whose predicted tokens (m,) are others than those that the model reads next."""

    drawn: Tensor | None = None

    @cached_property
    def labels(self) -> Tensor:
        """The labels of `AnswerRows`, with the drawn tokens."""
        places = AnswerRows(self.prompts, self.answers).labels[:2]
        return torch.cat([places, self.drawn[None]]) if self.drawn is not None else places


def _draw(lm: LM, rows: AnswerRows, generator: torch.Generator) -> Tensor:
    """One token (m,) for each label, drawn from the model's prediction at its position."""
    drawn = []
    for ids in rows.ids:
        shares = activations.record(lm, [ids]).logits[0].float().softmax(-1).cpu()
        drawn.append(torch.multinomial(shares, 1, generator=generator)[:, 0])
    return torch.cat(drawn)


def _load(path: str) -> tuple[Tensor, int]:
    held = load_file(path)
    return held["S"], int(held["tokens"])


@kept
def _output_eigen(path: str) -> Eigen:
    """Eigenvalues (ascending) and eigenvectors of S, float64."""
    values, vectors = torch.linalg.eigh(_load(path)[0])
    return values, vectors
