"""What today's presets do on the embedded model: a stored figure is current while this holds.

    python -m tests.reference.current                     compare all files with what the code does
    python -m tests.reference.current rome metrics        compare these
    python -m tests.reference.current --write [NAME…]     make those that are missing or differ

The folder `current` holds a small JSON file for each editor and one for the metrics. An editor's
file has its resolved settings, and two edits by them, the second on top of the first: what the
model then says, the probability of some answers, and eight fixed random projections of all that
each edit changed, in place of its matrices. The file `metrics` has all rows of an evaluation of ten
cases. `tests/editors/test_current.py` keeps the code equal to the files but for rounding, and
`tests/benchmarks/measured.py` names their SHA-256 in the record of a figure.
So a file that the code agrees with stays as it is, byte for byte. Each is written whole or not at
all, and a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

import lib
from lib.atomic_files import whole_file
from lib.evaluation.answers import EVENTS
from lib.evaluation.metrics import TABLE
from lib.model.presets_file import Presets
from lib.model.scoring import score
from tests.benchmarks import command

FOLDER = Path(__file__).with_suffix("")
METRICS = "metrics"
NAMES = (*sorted(lib.EDITORS), METRICS)
EMBEDDED = "SmolLM2-135M-Instruct behind <|endoftext|>"  # how presets call what `lib.load` gives
LAYERS = {EMBEDDED: 30, EMBEDDED.split()[0]: 30, "gemma-3-270m": 18}  # of models with stored rows
# Of a probability, and of a change's own size. An editor that trains weights by many steps carries
# roundings on: on another processor RECT, SDF and LeMoE change projections by up to a hundredth of
# the change, and CrispEdit, which decomposes covariances with near directions, by four.
CLOSE, OF_SIZE = 1e-3, 5e-3
FURTHER = {"rect": 2e-2, "sdf": 2e-2, "lemoe": 2e-2, "lora": 2e-2, "wise": 2e-2, "crispedit": 1e-1}
PROJECTIONS = 8
CASES = (1, 3)  # of the classroom: "Shanghai" has more than one token
EVALUATED = 10
MOVED = 12  # the layer to whose output projection noise is added

Reference = dict[str, Any]


def path(name: str) -> Path:
    """The file of an editor, or of the metrics."""
    return FOLDER / f"{name}.json"


@cache
def marks() -> dict[str, str]:
    """{editor, or "metrics": the SHA-256 of its file}, of those that are there."""
    return {
        name: hashlib.sha256(path(name).read_bytes()).hexdigest()
        for name in NAMES
        if path(name).exists()
    }


def settings(editor: str, model: str = EMBEDDED) -> dict[str, Any]:
    """Today's preset `ours` of an editor for a model with stored rows, which is not loaded.

    Rows of stored figures were made by it; where an editor has no such form, it is the default.
    """
    named = SimpleNamespace(
        name=model,
        n_layers=LAYERS[model],
        presets=Presets(),
    )
    return asdict(lib.EDITORS[editor].Config.preset(named, editor, preset="ours"))


@cache
def digest(editor: str, model: str = EMBEDDED) -> str:
    """A digest of the resolved preset of an editor for a model."""
    text = json.dumps(settings(editor, model), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def of_other_settings() -> list[str]:
    """One sentence for each editor whose file is missing or is of another preset than today's."""
    return [
        f"tests/reference/current has no file of today's preset of {editor}: "
        f"python -m tests.reference.current --write {editor}"
        for editor in sorted(lib.EDITORS)
        if not path(editor).exists() or stored(editor)["settings_digest"] != digest(editor)
    ]


def stored(name: str) -> Reference:
    """The content of a file."""
    return json.loads(path(name).read_text(encoding="utf-8"))


# --- what is computed


def made(lm: lib.LM, name: str) -> Reference:
    """What the code does now, for an editor or for the metrics."""
    return evaluated(lm) if name == METRICS else edited(lm, name)


def edited(lm: lib.LM, editor: str) -> Reference:
    """Two edits by today's preset, the second on top of the first."""
    cases = [case for case in lib.classroom() if case.id in CASES]
    make, patch, edits = lib.EDITORS[editor](lm, preset="ours"), lib.EMPTY, []
    for case in cases:
        patch = make.edit([case.fact], after=patch, check=False)
        edits.append(
            {
                "fact": f"{case.fact.text} -> {case.fact.target_new}",
                **_said(lm, cases, patch),
                "changes": {place: _projected(change) for place, change in _changes(lm, patch)},
            }
        )
    return {
        "settings_digest": digest(editor),
        "settings": asdict(make.config),
        "edits": edits,
    }


def evaluated(lm: lib.LM, first: int = EVALUATED) -> Reference:
    """The rows of all metrics, for ten cases, of which five are told and whose model is moved.

    No editor that writes weights takes part, so the file changes with the metrics alone.

    first  How many of the cases are evaluated; their rows are the same without the others'.
    """
    cases = [  # of each group of prompts the first: more of a kind say no more of a metric
        replace(
            case,
            paraphrases=case.paraphrases[:1],
            neighborhood=case.neighborhood[:1],
            locality=case.locality[:1],
            portability=case.portability[:1],
        )
        for case in lib.classroom()[:EVALUATED]
    ]
    told = lib.EDITORS["retrieval"](lm).edit([case.fact for case in cases[::2]], check=False)
    module = lm.mlp_out(MOVED)
    drawn = torch.Generator().manual_seed(0)
    factors = [torch.randn(n, 8, generator=drawn) for n in lm.weight(module).shape]
    patch = told.with_weights({module: lib.LowRank(((0.003 * factors[0], factors[1].T),))})
    names = [*(m.name for m in TABLE.values() if m.name != "negation_base"), "perplexity"]
    if path(METRICS).exists():  # a metric that came later changes nothing in rows of the others
        names = stored(METRICS)["metrics"]
    scores = lib.evaluate(lm, cases[:first], patch, EVENTS, metrics=names, pool=cases, text=_text())
    # verdicts only: the length of a generated text may change
    table = scores.rows.drop(columns="text")
    table = table.assign(value=table["value"].map(_short)).astype(object)
    rows = table.where(table.notna(), None).to_dict("split")["data"]
    log = _short(math.log(scores.perplexity))
    return {"metrics": names, "log_perplexity": log, "rows": rows}


def _text() -> str:
    """The beginning of the shipped text: the whole of it takes longer and says no more."""
    return (Path(lib.__file__).parent / "data" / "held_text.txt").read_text(encoding="utf-8")[:3000]


def _said(lm: lib.LM, cases: Sequence[lib.Case], patch: lib.Patch) -> dict[str, Any]:
    """Answers to prompts of the cases, and the probabilities of their old and new answers."""
    asked = {
        prompt: (case.fact.target_new, case.fact.target_true)
        for case in cases
        for prompt in (case.fact.text, case.paraphrases[0], case.neighborhood[0].prompt)
    }
    pairs = [(prompt, answer) for prompt, answers in asked.items() for answer in answers]
    with lm.patched(patch):
        rows, _ = lm.rows([prompt for prompt, _ in pairs])
        scores = score(lm, rows, [answer for _, answer in pairs])
        answers = lm.answer([*asked], max_new_tokens=6)
    found = [
        [prompt, answer, _short(one.log_probs.sum().exp().item())]
        for (prompt, answer), one in zip(pairs, scores, strict=True)
    ]
    return {"answers": dict(zip(asked, answers, strict=True)), "probabilities": found}


def _changes(lm: lib.LM, patch: lib.Patch) -> Iterator[tuple[str, Tensor]]:
    """Everything that a patch puts in the place of, or beside, the model's own numbers."""
    for module, weight in sorted(patch.weights.items()):
        low = isinstance(weight, lib.LowRank)
        yield module, weight.dense() if low else weight - lm.weight(module).cpu()
    beside = {**patch.routes, **{str(i): one for i, one in enumerate(patch.rewrites)}}
    for place, one in sorted(beside.items()):
        for name, tensor in sorted(one.tensors().items()):
            yield f"{place}/{name}", tensor


def _projected(change: Tensor) -> dict[str, Any]:
    """The size of a tensor, its norm, and eight random projections that are the same each time."""
    T = change.double().nan_to_num(0.0, 0.0, 0.0)
    T = T.reshape(-1, T.shape[-1]) if T.dim() > 1 else T.reshape(1, -1)
    drawn = torch.Generator().manual_seed(0)
    left, right = (torch.randn(PROJECTIONS, n, generator=drawn).double() for n in T.shape)
    # uᵀ T v for eight pairs of vectors: each has the variance ‖T‖²
    values = ((left @ T) * right).sum(1)
    return {
        "shape": list(change.shape),
        "norm": _short(T.norm().item()),
        "projections": [_short(value) for value in values.tolist()],
    }


def _short(value: float | None) -> float | None:
    """Seven digits, which is more than is compared."""
    return None if value is None else float(f"{value:.7g}")


# --- how it is compared


def differences(now: Reference, then: Reference, name: str = METRICS) -> list[str]:
    """What differs by more than processors round in the file `name`, in one sentence each."""
    of_size = FURTHER.get(name, OF_SIZE)
    return list(_differences(json.loads(json.dumps(now, default=str)), then, "", CLOSE, of_size))


def _differences(now: Any, then: Any, place: str, near: float, of_size: float) -> Iterator[str]:
    if isinstance(then, Mapping) and isinstance(now, Mapping) and now.keys() == then.keys():
        if "norm" in then:  # projections are as long as what they project
            near = of_size * abs(then["norm"])
        for key in then:
            yield from _differences(now[key], then[key], f"{place}/{key}", near, of_size)
    elif isinstance(then, list) and isinstance(now, list) and len(now) == len(then):
        for number, pair in enumerate(zip(now, then, strict=True)):
            yield from _differences(*pair, f"{place}/{number}", near, of_size)
    elif isinstance(then, float) and isinstance(now, float):
        if not abs(now - then) <= near:
            yield f"{place} is {now:.7g}, not {then:.7g}"
    elif now != then:
        yield f"{place} is {str(now)[:80]!r}, not {str(then)[:80]!r}"


def main() -> None:
    """Compare the files, or write those that are missing or differ."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.reference.current", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--write", action="store_true", help="make again what differs")
    parser.add_argument("names", nargs="*", metavar="NAME", help="editors, or metrics; all if none")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in NAMES]:
        raise ValueError(f"there is no reference '{unknown[0]}'; there are {', '.join(NAMES)}")
    lm, red = lib.load(dtype="float32"), 0
    warnings.simplefilter("ignore", lib.errors.EditWarning)
    for name in given.names or NAMES:
        # a run that was stopped goes on: whole files of today's settings are not made again
        if given.write and not given.names and path(name).exists():
            if name == METRICS or stored(name)["settings_digest"] == digest(name):
                continue
        began = time.process_time()
        now = made(lm, name)
        found = differences(now, stored(name), name) if path(name).exists() else ["it is missing"]
        if found and given.write:
            FOLDER.mkdir(exist_ok=True)
            with whole_file(path(name)) as part:
                part.write_text(text(now), encoding="utf-8")
        red += bool(found) and not given.write
        seconds = time.process_time() - began
        said = f"{found[0]}{', written' * given.write}" if found else "as it is"
        print(f"{seconds:6.1f} s  {name}: {said}", flush=True)
    sys.exit(bool(red))


def text(content: Reference) -> str:
    """JSON with one line for each entry of the outer two levels, so that a change can be read."""
    return json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n"


if __name__ == "__main__":
    command(main)
