"""Was it edited? The matched filter and the reversal on real edits of the embedded model.

    python -m tests.benchmarks.forensics WORK --subjects FILE --text FILE --editors rome --facts 12
    python -m tests.benchmarks.forensics WORK --subjects FILE --text FILE --negatives bf16,int8

The defender reads C from a text of its own (FILE) and asks the candidates of its own list (FILE,
one per line) behind "About {}": neither is the editor's. WORK keeps the reading of the base model,
the edits, and is gone on with after a stop; results go to forensics.json, a row per suspect.

Half of the facts are classroom cases with even numbers, on which settings and thresholds are to be
chosen, and the odd ones are reported. RESULTS.md says which of today's were seen on both halves.

What is saved against a whole examination, so that 5,000 candidates fit into seconds per edit: C and
the keys of most candidates are those of the base model. In the first edited layer that is exact.
Above it, the subjects and the 32 other candidates whose keys the edit moves most are read again
from the suspect. `--whole` reads everything of the suspect anew, which checks this. Negatives are
always read in whole, in the layers that `--layers` names.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import lib
from lib.atomic_files import whole_file
from lib.cli.options import numbers
from lib.data.facts import encode_target
from lib.forensics.candidates import PREFIX, digest, key_moments, keys, read_names, rows_of
from lib.forensics.investigation import WIDTHS
from lib.forensics.matched_filter import SINK, Filtered, matched_filter
from lib.forensics.objects import objects
from lib.forensics.reversal import PREFIXES, removed, subject_space, without_top
from lib.keys_values.stretch import DAMPING, Filter, filter_of
from tests.benchmarks import command
from tests.benchmarks.forensics_negatives import NEGATIVES, negative

OUT = Path(__file__).with_suffix(".json")
DAMPINGS = (0.01, 0.1, 1.0)
AGAIN = 32  # candidates that are read again above the first edited layer
QUIET = [prefix for prefix in PREFIXES if prefix != "{}"]  # none begins as a prompt may
VARIANTS: dict[str, dict[str, Any]] = {
    "16 prefixes, damping 0.1": {"damping": 0.1},
    "16 prefixes, damping 1": {"damping": 1.0},
    "16 prefixes, damping 10": {"damping": 10.0},
    "15 prefixes, damping 1": {"damping": 1.0, "prefixes": QUIET},
    "one prefix, damping 0.01": {"damping": 0.01, "prefixes": [PREFIX]},
}


class Reading:
    """What is read once from the base model: C and all keys of all layers, kept in a folder."""

    def __init__(self, lm: lib.LM, work: Path, names: list[str], text: Path) -> None:
        self.lm, self.work, self.names = lm, work, names
        self.layers = list(range(lm.n_layers))
        moments, stored = work / "moments.safetensors", work / "keys.npy"
        if not moments.exists():
            found = key_moments(lm, self.layers, text=text)
            with whole_file(moments) as part:
                save_file({str(layer): C for layer, C in found.items()}, part)
        self.moments = {int(layer): C for layer, C in load_file(moments).items()}
        if not (work / "names.json").exists():
            width = self.moments[0].shape[0]
            shape = (lm.n_layers, len(names), width)
            array = np.lib.format.open_memmap(stored, "w+", dtype=np.float16, shape=shape)
            for part, found in keys(lm, rows_of(lm, names), self.layers):
                for layer, K in found.items():
                    array[layer, part] = K.half().numpy()
            array.flush()
            (work / "names.json").write_text(json.dumps(names), encoding="utf-8")
        if json.loads((work / "names.json").read_text(encoding="utf-8")) != names:
            raise ValueError(f"{work} was made with another list of subjects")
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
        return _largest(Filtered(tuple(self.names), tuple(self.layers), norms, self.sinks))

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
            W = self.weight(layer, patch)
            norms[layer] = (self.directions(layer, DAMPING) @ W.T).norm(dim=1)
        first = edited[0]
        change = self.weight(first, patch) - self.weight(first)
        moved = (self.keys(first) @ change.T).norm(dim=1)
        again = set(moved.topk(min(AGAIN, len(moved))).indices.tolist())
        again |= {self.names.index(name) for name in own}
        order = sorted(again)
        above = [layer for layer in self.layers if layer > first]
        filters = {layer: self.filter(layer, patch) for layer in above}
        rows = rows_of(self.lm, [self.names[i] for i in order])
        for part, found in keys(self.lm, rows, above, patch):
            places = [order[i] for i in part]
            for layer, K in found.items():
                norms[layer, places] = filters[layer].norms(K)
        return Filtered(tuple(self.names), tuple(self.layers), norms, self.sinks)


def verdict(found: Filtered, own: list[str], edited: list[int]) -> dict[str, Any]:
    """The largest z of a suspect, what it names, and where its own subjects stand."""
    widths = WIDTHS
    order = found.top(len(found.names), widths)
    place = {one.name: (rank, one) for rank, one in enumerate(order, 1)}
    other = next((one for one in order if one.name not in own), None)
    return {
        "z": order[0].z,
        "first": order[0].name,
        "layers": list(order[0].layers),
        "other": other and {"name": other.name, "z": other.z, "layers": list(other.layers)},
        "own": [
            {
                "name": name,
                "rank": place[name][0],
                "z": place[name][1].z,
                "layers": list(place[name][1].layers),
                "in_edited": bool(set(place[name][1].layers) & set(edited)),
            }
            for name in own
        ],
    }


def by_damping(reading: Reading, patch: lib.Patch, own: list[str], layer: int) -> dict[str, Any]:
    """z of the suspect's own subjects in its first edited layer under each damping."""
    found, W = {}, reading.weight(layer, patch)
    places = [reading.names.index(name) for name in own]
    for damping in DAMPINGS:
        norms = (reading.directions(layer, damping) @ W.T).norm(dim=1)[None]
        z = Filtered(tuple(reading.names), (layer,), norms, reading.sinks[layer][None]).z[0]
        others = z.clone()
        others[places] = -torch.inf
        found[f"{damping:g}"] = {"own": z[places].tolist(), "other": others.max().item()}
    return found


def reversals(reading: Reading, patch: lib.Patch, case: lib.Case, layers: list[int]) -> Any:
    """What each way of taking the edit out gives back; `control` takes nothing out."""
    lm, subject = reading.lm, str(case.fact.subject)
    asked = [case.fact.text, *case.paraphrases[:1]]
    near = [probe.prompt for probe in case.neighborhood[:3]]
    prompts = [*asked, *near, *case.locality[:1]]
    base, edited = (_tokens(lm, prompts, p) for p in (lib.EMPTY, patch))
    spaces = {
        name: {i: subject_space(lm, i, subject, reading.moments[i], patch, **s) for i in layers}
        for name, s in VARIANTS.items()
    }
    chosen = spaces["16 prefixes, damping 1"]
    ways = {name: removed(lm, space, patch) for name, space in spaces.items()}
    ways["control"] = removed(lm, chosen, patch, strength=0.0)
    ways["published, k = 1"] = without_top(lm, layers, 1, patch)
    ways["published, k = 11"] = without_top(lm, layers, 11, patch)
    found = {"edited": _kept(base, edited, edited, len(asked), len(near))}
    for name, way in ways.items():
        now = _tokens(lm, prompts, way)
        found[name] = _kept(base, edited, now, len(asked), len(near))
    goal = encode_target(lm.tokenizer, case.fact.target_new)[0]
    told = objects(lm, subject, patch, ways["16 prefixes, damping 1"])
    word = lm.tokenizer.decode([goal])
    place = told.index[told.token == word].tolist()
    return {"ways": found, "object_rank": place[0] + 1 if place else None}


def _tokens(lm: lib.LM, prompts: list[str], patch: lib.Patch) -> list[int]:
    with lm.patched(patch, only=True):
        return lm.next_token(prompts).argmax(1).tolist()


def _kept(base: list[int], edited: list[int], now: list[int], asked: int, near: int) -> Any:
    """Shares of likeliest next tokens: as the base model's, and as the edited one's."""
    same = [a == b for a, b in zip(now, base, strict=True)]
    parts = {"edit": same[:1], "reworded": same[1:asked], "neighbors": same[asked : asked + near],
             "unrelated": same[asked + near :]}  # fmt: skip
    found = {name: float(np.mean(some)) if some else None for name, some in parts.items()}
    found["still_edited"] = float(now[0] == edited[0] and edited[0] != base[0])
    return found


def batches(editor: str, size: int, count: int) -> list[list[lib.Case]]:
    """Batches of cases, each of one half, drawn with one seed; even and odd ones in turns."""
    found: list[list[lib.Case]] = []
    halves = []
    for parity in (0, 1):
        cases = [c for c in lib.classroom() if c.fact.subject and c.id % 2 == parity]
        halves.append(cases)
    draw = random.Random(0)
    for half in halves:
        draw.shuffle(half)
    for i in range(count):
        found += [half[i * size : (i + 1) * size] for half in halves]
    return [batch for batch in found if len(batch) == size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for the base model's reading and the edits")
    parser.add_argument("--subjects", type=Path, required=True, help="candidates, one per line")
    parser.add_argument("--text", type=Path, required=True, help="the defender's text for C")
    parser.add_argument("--editors", default="", help="rome, memit, …")
    parser.add_argument("--batch", type=int, default=1, help="facts in one suspect")
    parser.add_argument("--facts", type=int, default=12, help="suspects from each half")
    parser.add_argument("--negatives", default="", help=f"of {', '.join(NEGATIVES)}")
    parser.add_argument("--layers", help="where negatives are read: 0-8 (default: everywhere)")
    parser.add_argument("--whole", action="store_true", help="read suspects in whole, too")
    parser.add_argument("--minutes", type=float, default=4, help="begin nothing after these")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    until = time.time() + 60 * given.minutes
    warnings.simplefilter("ignore", lib.EditWarning)
    lm = lib.load(dtype="float32")
    given.work.mkdir(parents=True, exist_ok=True)
    own = {str(case.fact.subject): None for case in lib.classroom() if case.fact.subject}
    names = list(dict.fromkeys([*own, *read_names(given.subjects)]))
    reading = Reading(lm, given.work, names, given.text)
    stored = {"candidates": len(names), "sha256": digest(names), "suspects": {}, "negatives": {}}
    if given.out.exists():
        stored |= json.loads(given.out.read_text(encoding="utf-8"))
    if stored["sha256"] != digest(names):
        raise ValueError(f"{given.out} was made with another list of subjects")

    def keep() -> None:
        with whole_file(given.out) as part:
            part.write_text(json.dumps(stored, indent=0) + "\n", encoding="utf-8")

    stored["negatives"].setdefault("untouched", verdict(reading.filtered(lib.EMPTY, []), [], []))
    stored.setdefault("natural", {f"{d:g}": reading.natural(d) for d in DAMPINGS})
    keep()
    for editor in filter(None, given.editors.split(",")):
        for cases in batches(editor, given.batch, given.facts):
            key = f"{editor} {given.batch} {cases[0].id}"
            wanted = f"{key} whole" if given.whole else key
            if wanted in stored["suspects"] or time.time() > until:
                continue
            row = suspect(reading, given, editor, cases)
            stored["suspects"][wanted] = row
            keep()
            first = row["own"][0]
            print(wanted, row["first"], row["layers"], f"z {row['z']:.1f}", first, flush=True)
    for name in filter(None, given.negatives.split(",")):
        if name in stored["negatives"] or time.time() > until:
            continue
        patch = negative(lm, name, given.work, given.text)
        layers = numbers("--layers", given.layers, 999) if given.layers else reading.layers
        moments = key_moments(lm, layers, patch, given.text)
        found = matched_filter(lm, names, moments, patch)
        row = verdict(found, [], [])
        stored["negatives"][name] = {**row, "read": layers, "z_of_layers": _largest(found)}
        keep()
        print(name, row["z"], row["first"], row["layers"], flush=True)


def _largest(found: Filtered) -> list[float]:
    """The largest z of each layer."""
    return found.z.max(1).values.tolist()


def suspect(reading: Reading, given: Any, editor: str, cases: list[lib.Case]) -> dict[str, Any]:
    """One suspect: made, or read from the folder, and examined."""
    lm = reading.lm
    path = given.work / f"{editor}-{given.batch}-{cases[0].id}.safetensors"
    if not path.exists():
        lib.EDITORS[editor](lm).edit([case.fact for case in cases]).save(path)
    patch = lib.Patch.load(path)
    own = [str(case.fact.subject) for case in cases]
    edited = [i for i in reading.layers if lm.mlp_out(i) in patch.weights]
    if given.whole:
        moments = key_moments(lm, reading.layers, patch, given.text)
        return verdict(matched_filter(lm, reading.names, moments, patch), own, edited)
    found = reading.filtered(patch, own)
    row: dict[str, Any] = {"half": "odd" if cases[0].id % 2 else "even", "edited": edited}
    row |= verdict(found, own, edited) | {"z_of_layers": _largest(found)}
    if edited:
        row["damping"] = by_damping(reading, patch, own, edited[0])
        row["reversal"] = [reversals(reading, patch, case, edited) for case in cases[:3]]
    return row


if __name__ == "__main__":
    command(main)
