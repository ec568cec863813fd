"""Was it edited? The matched filter and the reversal on real edits of the embedded model.

    python -m tests.benchmarks.forensics WORK --subjects FILE --text FILE --editors rome --facts 12
    python -m tests.benchmarks.forensics WORK --prompts FILE --text FILE --editors ft,lora
    python -m tests.benchmarks.forensics WORK --subjects FILE --text FILE --negatives bf16,int8

The defender reads C from a text of its own (FILE) and asks the candidates of its own list (FILE,
one per line) behind "About {}": neither is the editor's. With `--prompts` the candidates are whole
prompts, read as they are: the classroom's and those of FILE. WORK keeps the reading of the base
model, the edits, and is gone on with after a stop; results go to forensics.json, a row per suspect
with the hash of the text, those of whole prompts under "prompts". The subjects of today's rows are
the first 5,000 different ones of CounterFact's flat file that the classroom lacks.

Half of the facts are classroom cases with even numbers, on which settings and thresholds are to be
chosen, and the odd ones are reported. results/was_it_edited.md says which of today's were seen on
both halves.

`forensics_reading` says what is saved against a whole examination; `--whole` reads everything of
the suspect anew, which checks that. Negatives are always read in whole, in the layers that
`--layers` names; C of each is kept in WORK.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import lib
from lib.atomic_files import whole_file
from lib.data.facts import encode_target
from lib.workbench.cli.options import numbers
from lib.workbench.forensics.candidates import BARE, PREFIX, digest, key_moments, read_names
from lib.workbench.forensics.matched_filter import matched_filter
from lib.workbench.forensics.reversal import PREFIXES, removed, subject_space
from lib.workbench.forensics.what_was_said import objects
from tests.benchmarks import command, measured
from tests.benchmarks.forensics_negatives import NEGATIVES, negative
from tests.benchmarks.forensics_reading import (
    DAMPINGS,
    Reading,
    by_damping,
    explained,
    largest,
    verdict,
)
from tests.benchmarks.rows import classroom

OUT = Path(__file__).with_suffix(".json")
QUIET = [prefix for prefix in PREFIXES if prefix != "{}"]  # none begins as a prompt may
VARIANTS: dict[str, dict[str, Any]] = {
    "16 prefixes, damping 0.1": {"damping": 0.1},
    "16 prefixes, damping 1": {"damping": 1.0},
    "16 prefixes, damping 10": {"damping": 10.0},
    "15 prefixes, damping 1": {"damping": 1.0, "prefixes": QUIET},
    "one prefix, damping 0.01": {"damping": 0.01, "prefixes": [PREFIX]},
}


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


def without_top(lm: lib.LM, layers: list[int], k: int, patch: lib.Patch) -> lib.Patch:
    """The published reversal: the suspect without the k largest singular components of layers.

    Source: P. Youssef et al., "Tracing and Reversing Edits in LLMs" (2026), from descriptions of
    the paper; its code was not to be had.
    """
    spaces = {}
    for layer in layers:
        W = lm.weight(lm.mlp_out(layer), patch).cpu()
        spaces[layer] = torch.linalg.svd(W, full_matrices=False)[2][:k].T.contiguous()
    return removed(lm, spaces, patch)


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
    for half in ("tuning", "tables"):
        halves.append([case for case in classroom(half) if case.fact.subject])
    draw = random.Random(0)
    for half in halves:
        draw.shuffle(half)
    for i in range(count):
        found += [half[i * size : (i + 1) * size] for half in halves]
    return [batch for batch in found if len(batch) == size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for the base model's reading and the edits")
    listed = parser.add_mutually_exclusive_group(required=True)
    listed.add_argument("--subjects", type=Path, help="candidates, one per line")
    listed.add_argument("--prompts", type=Path, help="whole prompts as candidates, one per line")
    parser.add_argument("--text", type=Path, required=True, help="the defender's text for C")
    parser.add_argument("--editors", default="", help="rome, memit, …")
    parser.add_argument("--batch", type=int, default=1, help="facts in one suspect")
    parser.add_argument("--facts", type=int, default=12, help="suspects from each half")
    parser.add_argument("--skip", type=int, default=0, help="so many of each half are left out")
    parser.add_argument("--half", choices=("even", "odd"), help="one half only")
    parser.add_argument("--negatives", default="", help=f"of {', '.join(NEGATIVES)}")
    parser.add_argument("--layers", help="where negatives are read: 0-8 (default: everywhere)")
    parser.add_argument("--whole", action="store_true", help="read suspects in whole, too")
    parser.add_argument("--known", action="store_true", help="no suspects but the stored ones")
    parser.add_argument("--no-reversal", action="store_true", help="name suspects only")
    parser.add_argument("--minutes", type=float, default=4, help="begin nothing after these")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    until = time.time() + 60 * given.minutes
    warnings.simplefilter("ignore", lib.errors.EditWarning)
    lm = lib.load(dtype="float32")
    given.work.mkdir(parents=True, exist_ok=True)
    own = [_own(case, given) for case in classroom("all") if case.fact.subject]
    names = list(dict.fromkeys([*own, *read_names(given.prompts or given.subjects)]))
    reading = Reading(lm, given.work, names, given.text, BARE if given.prompts else PREFIX)
    text = digest(given.text.read_text(encoding="utf-8").splitlines())
    whole: dict[str, Any] = {}
    if given.out.exists():
        whole = json.loads(given.out.read_text(encoding="utf-8"))
    stored = whole.setdefault("prompts", {}) if given.prompts else whole
    if stored.setdefault("sha256", digest(names)) != digest(names):
        raise ValueError(f"{given.out} was made with another list of candidates")
    stored |= {"candidates": len(names)}
    suspects, negatives = (stored.setdefault(name, {}) for name in ("suspects", "negatives"))

    def keep() -> None:
        with whole_file(given.out) as part:
            part.write_text(json.dumps(whole, indent=0) + "\n", encoding="utf-8")

    if "untouched" not in negatives or "z_of_layers" not in negatives["untouched"]:
        found = reading.filtered(lib.EMPTY, [])
        negatives["untouched"] = verdict(found, [], []) | {"z_of_layers": largest(found)}
    if not given.prompts and "natural" not in stored:
        stored["natural"] = {f"{d:g}": reading.natural(d) for d in DAMPINGS}
    keep()
    for editor in filter(None, given.editors.split(",")):
        for cases in batches(editor, given.batch, given.facts)[2 * given.skip :]:
            key = f"{editor} {given.batch} {cases[0].id}"
            wanted = f"{key} whole" if given.whole else key
            if given.half not in (None, _half(cases)):
                continue
            known = suspects.get(wanted, {})
            if given.known and not known:
                continue
            if time.time() > until or known:
                continue
            row = suspect(reading, given, editor, cases)
            suspects[wanted] = row | {"text": text}
            keep()
            first = row["own"][0]
            print(wanted, row["first"], row["layers"], f"z {row['z']:.1f}", first, flush=True)
    for name in filter(None, given.negatives.split(",")):
        layers = numbers("--layers", given.layers, 999) if given.layers else reading.layers
        known = negatives.get(name, {})
        enough = set(known.get("read", ())) >= set(layers)
        if time.time() > until or enough:
            continue
        patch = negative(lm, name, given.work, given.text)
        moments = _moments(reading, given, name, patch, layers)
        found = matched_filter(lm, names, moments, patch, reading.prefix)
        row = verdict(found, [], [])
        about = {"read": layers, "z_of_layers": largest(found), "text": text}
        negatives[name] = row | about
        keep()
        print(name, row["z"], row["first"], row["layers"], flush=True)
    measured.record(given.out, vars(given))


def _own(case: lib.Case, given: Any) -> str:
    """The candidate that a case is: its subject, or its whole prompt."""
    return case.fact.text if given.prompts else str(case.fact.subject)


def _half(cases: list[lib.Case]) -> str:
    return "odd" if cases[0].id % 2 else "even"


def _moments(
    reading: Reading, given: Any, name: str, patch: lib.Patch, layers: list[int]
) -> dict[int, Tensor]:
    """C of a negative's layers, read once and kept in the folder."""
    path = given.work / f"moments-{name}.safetensors"
    if not path.exists() or not load_file(path).keys() >= {str(layer) for layer in layers}:
        found = key_moments(reading.lm, layers, patch, given.text)
        with whole_file(path) as part:
            save_file({str(layer): C for layer, C in found.items()}, part)
    kept = load_file(path)
    return {layer: kept[str(layer)] for layer in layers}


def edited_by(
    reading: Reading, given: Any, editor: str, cases: list[lib.Case]
) -> tuple[lib.Patch, float]:
    """A suspect's patch, made or read from the folder, and the CPU seconds that making it took."""
    path = given.work / f"{editor}-{given.batch}-{cases[0].id}.safetensors"
    seconds = 0.0
    if not path.exists():
        began = time.process_time()
        lib.EDITORS[editor](reading.lm).edit([case.fact for case in cases], check=False).save(path)
        seconds = time.process_time() - began
    return lib.Patch.load(path), seconds


def suspect(reading: Reading, given: Any, editor: str, cases: list[lib.Case]) -> dict[str, Any]:
    """One suspect: made, or read from the folder, and examined."""
    lm = reading.lm
    patch, seconds = edited_by(reading, given, editor, cases)
    own = [_own(case, given) for case in cases]
    edited = [i for i in reading.layers if lm.mlp_out(i) in patch.weights]
    if given.whole:
        moments = key_moments(lm, reading.layers, patch, given.text)
        return verdict(
            matched_filter(lm, reading.names, moments, patch, reading.prefix), own, edited
        )
    found = reading.filtered(patch, own)
    row: dict[str, Any] = {"half": _half(cases), "edited": edited, "seconds": seconds}
    row |= verdict(found, own, edited) | {"z_of_layers": largest(found)}
    if edited:
        row["damping"] = by_damping(reading, patch, own, edited[0])
    if given.prompts:
        row["with_base"] = explained(reading, patch, own)
    if edited and not (given.prompts or given.no_reversal):
        row["reversal"] = [reversals(reading, patch, case, edited) for case in cases[:3]]
    return row


if __name__ == "__main__":
    command(main)
