"""What a defender reads once from the base model, and the verdict on a suspect.

C and the keys of most candidates are those of the base model, so that 5,000 candidates fit into
seconds per suspect. In the first edited layer that is exact. Above it, the suspect's own candidates
and the 32 others whose keys the edit moves most are read again from the suspect.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import lib
from lib.atomic_files import whole_file
from lib.workbench.forensics.candidates import BARE, PREFIX, key_moments, keys, rows_of
from lib.workbench.forensics.investigation import WIDTHS
from lib.workbench.forensics.matched_filter import (
    DAMPING,
    SINK,
    Filter,
    Filtered,
    filter_of,
    robust_z,
)

DAMPINGS = (0.01, 0.1, 1.0)
AGAIN = 32  # candidates that are read again above the first edited layer


class Reading:
    """What is read once from the base model: C and all keys of all layers, kept in a folder.

    C is kept in the folder itself, and what belongs to whole prompts in its folder "prompts".
    """

    def __init__(
        self, lm: lib.LM, work: Path, names: list[str], text: Path, prefix: str = PREFIX
    ) -> None:
        self.lm, self.names, self.prefix = lm, names, prefix
        self.layers = list(range(lm.n_layers))
        moments = work / "moments.safetensors"
        self.work = work = work / "prompts" if prefix == BARE else work
        work.mkdir(parents=True, exist_ok=True)
        stored = work / "keys.npy"
        if not moments.exists():
            found = key_moments(lm, self.layers, text=text)
            with whole_file(moments) as part:
                save_file({str(layer): C for layer, C in found.items()}, part)
        self.moments = {int(layer): C for layer, C in load_file(moments).items()}
        if not (work / "names.json").exists():
            width = self.moments[0].shape[0]
            shape = (lm.n_layers, len(names), width)
            array = np.lib.format.open_memmap(stored, "w+", dtype=np.float16, shape=shape)
            for part, found in keys(lm, rows_of(lm, names, prefix), self.layers):
                for layer, K in found.items():
                    array[layer, part] = K.half().numpy()
            array.flush()
            (work / "names.json").write_text(json.dumps(names), encoding="utf-8")
        if json.loads((work / "names.json").read_text(encoding="utf-8")) != names:
            raise ValueError(f"{work} was made with another list of candidates")
        self.stored = np.load(stored, mmap_mode="r")
        self.norms = self._norms()

    def keys(self, layer: int) -> Tensor:
        """(n, d_in), float32."""
        return torch.from_numpy(np.array(self.stored[layer])).float()

    def _norms(self, damping: float = DAMPING) -> Tensor:
        """(L, n) T of the base model, and sinks; kept in the folder."""
        path = self.work / f"norms-{damping:g}.safetensors"
        if not path.exists():
            rows, lengths = [], []
            for layer in self.layers:
                K = self.keys(layer)
                rows.append(self.base_filter(layer, damping).norms(K))
                lengths.append(K.norm(dim=1))
            with whole_file(path) as part:
                save_file({"norms": torch.stack(rows), "lengths": torch.stack(lengths)}, part)
        found = load_file(path)
        lengths = found["lengths"]
        self.sinks = lengths < lengths.median(1, keepdim=True).values / SINK
        return found["norms"]

    def natural(self, damping: float) -> list[float]:
        """The largest z of each layer of the base model, at another damping."""
        norms = self._norms(damping)
        return largest(Filtered(tuple(self.names), tuple(self.layers), norms, self.sinks))

    def weight(self, layer: int, patch: lib.Patch = lib.EMPTY) -> Tensor:
        return self.lm.weight(self.lm.mlp_out(layer), patch).cpu()

    @lru_cache(maxsize=120)  # noqa: B019  (one reading lives as long as the program)
    def base_filter(self, layer: int, damping: float = DAMPING) -> Filter:
        """The filter of a layer of the base model."""
        return filter_of(self.weight(layer), self.moments[layer], damping)

    def filter(self, layer: int, patch: lib.Patch) -> Filter:
        """The filter of a layer under a patch, with C of the base model."""
        base = self.base_filter(layer)
        if self.lm.mlp_out(layer) not in patch.weights:
            return base
        return Filter(base.P, self.weight(layer, patch) @ base.P)

    @lru_cache(maxsize=12)  # noqa: B019
    def directions(self, layer: int, damping: float) -> Tensor:
        """û of all candidates, (n, d_in)."""
        U = self.keys(layer) @ self.base_filter(layer, damping).P
        return U / U.norm(dim=1, keepdim=True)

    def filtered(self, patch: lib.Patch, own: list[str]) -> Filtered:
        """The norms under a patch; see the module's docstring for what is read again."""
        norms = self.norms.clone()
        edited = sorted(i for i in self.layers if self.lm.mlp_out(i) in patch.weights)
        if not edited:
            return Filtered(tuple(self.names), tuple(self.layers), norms, self.sinks)
        for layer in edited:
            Y = self.directions(layer, DAMPING) @ self.weight(layer, patch).T
            norms[layer] = Y.norm(dim=1)
        first = edited[0]
        change = self.weight(first, patch) - self.weight(first)
        moved = (self.keys(first) @ change.T).norm(dim=1)
        again = set(moved.topk(min(AGAIN, len(moved))).indices.tolist())
        again |= {self.names.index(name) for name in own}
        order = sorted(again)
        above = [layer for layer in self.layers if layer > first]
        filters = {layer: self.filter(layer, patch) for layer in above}
        rows = rows_of(self.lm, [self.names[i] for i in order], self.prefix)
        for part, found in keys(self.lm, rows, above, patch):
            places = [order[i] for i in part]
            for layer, K in found.items():
                norms[layer, places] = filters[layer].norms(K)
        return Filtered(tuple(self.names), tuple(self.layers), norms, self.sinks)


def largest(found: Filtered) -> list[float]:
    """The largest z of each layer."""
    return found.z.max(1).values.tolist()


def verdict(found: Filtered, own: list[str], edited: list[int]) -> dict[str, Any]:
    """The largest z of a suspect, the ten that it names, and where its own candidates stand.

    in_layer is the best place of an own candidate in any edited layer, among all that are not own.
    """
    rows = found.z[[found.layers.index(layer) for layer in edited]]
    mine = [found.names.index(name) for name in own]
    rest = rows.clone()
    rest[:, mine] = -torch.inf
    order = found.top(len(found.names), WIDTHS)
    place = {one.name: (rank, one) for rank, one in enumerate(order, 1)}
    other = next((one for one in order if one.name not in own), None)
    return {
        "z": order[0].z,
        "first": order[0].name,
        "layers": list(order[0].layers),
        "ten": [one.name for one in order[:10]],
        "other": other and {"name": other.name, "z": other.z, "layers": list(other.layers)},
        "own": [
            {
                "name": name,
                "rank": place[name][0],
                "z": place[name][1].z,
                "layers": list(place[name][1].layers),
                "in_edited": bool(set(place[name][1].layers) & set(edited)),
                "in_layer": _place(rows[:, i], rest),
            }
            for name, i in zip(own, mine, strict=True)
        ],
    }


def _place(z: Tensor, rest: Tensor) -> int | None:
    """The best place of z (layers,) among those of the others (layers, n); None without a layer."""
    return 1 + int((rest > z[:, None]).sum(1).min()) if len(z) else None


def explained(reading: Reading, patch: lib.Patch, own: list[str]) -> dict[str, Any] | None:
    """How far the difference from the base stretches candidates, as `difference.prompts`.

    With the stored keys, the defender's C, and the whole difference. None where no output
    projection of an MLP differs.
    """
    lm, found = reading.lm, []
    for layer in reading.layers:
        if lm.mlp_out(layer) in patch.weights:
            change = reading.weight(layer, patch) - reading.weight(layer)
            T = (reading.directions(layer, DAMPING) @ change.T).norm(dim=1)
            found.append(robust_z(T, reading.sinks[layer]))
    if not found:
        return None
    z = torch.stack(found).sum(0) / len(found) ** 0.5
    order = z.argsort(descending=True).tolist()
    places = [reading.names.index(name) for name in own]
    return {
        "ten": [reading.names[i] for i in order[:10]],
        "own": [
            {"name": reading.names[i], "rank": order.index(i) + 1, "z": z[i].item()}
            for i in places
        ],
        "other": max(z[i].item() for i in order if i not in places),
    }  # fmt: skip


def by_damping(reading: Reading, patch: lib.Patch, own: list[str], layer: int) -> dict[str, Any]:
    """z of the suspect's own candidates in its first edited layer under each damping.

    Beside them the largest z of another candidate, and of any in the base model's matrix.
    """
    found, W = {}, reading.weight(layer, patch)
    places = [reading.names.index(name) for name in own]
    for damping in DAMPINGS:
        norms = (reading.directions(layer, damping) @ W.T).norm(dim=1)[None]
        z = Filtered(tuple(reading.names), (layer,), norms, reading.sinks[layer][None]).z[0]
        others = z.clone()
        others[places] = -torch.inf
        base = (reading.directions(layer, damping) @ reading.weight(layer).T).norm(dim=1)
        natural = robust_z(base, reading.sinks[layer]).max().item()
        found[f"{damping:g}"] = {
            "own": z[places].tolist(), "other": others.max().item(), "natural": natural,
        }  # fmt: skip
    return found
