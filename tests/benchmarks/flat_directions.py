"""Does it help an edit to keep to the directions in which general text is flat (CrispEdit's claim)?

    python -m tests.benchmarks.flat_directions --draws 0      # three minutes of one core
    python -m tests.benchmarks.flat_directions --draws 1

The same facts are written by arms that differ in the directions they may move in, and by the closed
forms, AlphaEdit and MEMIT, with all outputs alike and with each weighed by how much text reads it.
All are compared at one efficacy: an arm that is trained step by step stops after the first step at
which nine facts of ten are generated, and a closed form's change is made weaker until that is just
so.
What is measured then is what the edit did to text, to neighbors and to rewordings. The rows
go to the JSON file of its name after each arm, and arms that are there already stay as they are.
Notebook 06 shows them (notebooks/support/flat_06.py).

An arm has as many free directions as CrispEdit, but "all directions". "inputs" puts S := I, as a
null space of the inputs does. "turned" has CrispEdit's pattern of free directions in random bases.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import lib
from lib.atomic_files import whole_file
from lib.editors.crispedit import CrispEdit, FlatAdam
from lib.editors.shared import epochs
from lib.evaluation.answers import begins
from lib.interpret import predicted_kl
from lib.keys_values.curvature import Curvature
from lib.model.answer_rows import AnswerRows
from tests.benchmarks import command

OUT = Path(__file__).with_suffix(".json")

SETTINGS: dict[str, Any] = {
    "cases": "odd classroom cases, in draws one after another",
    "facts": 16,
    "draws": 2,
    "efficacy": 0.9,  # the share of the facts that are generated when an arm stops
    "steps": 40,  # at most
    "strengths": [0.5, 1.0],  # at which the divergence is measured on text
    "text": 512,  # tokens of held-out text
    "closed forms": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0],  # strengths that are tried, in order
}
ASKED = ("generalization", "specificity")
WEIGHED = {"outputs": "curvature"}
CLOSED: dict[str, tuple[str, dict[str, Any]]] = {
    "AlphaEdit": ("alphaedit", {}),
    "AlphaEdit, outputs weighed": ("alphaedit", WEIGHED),
    "MEMIT": ("memit", {}),
    "MEMIT, outputs weighed": ("memit", WEIGHED),
}
ARMS = ("all directions", "inputs", "inputs and outputs", "turned", *CLOSED)


def other(flat: Curvature, arm: str, seed: int = 0) -> Curvature:
    """The curvature that an arm keeps to, with as many free directions as CrispEdit's `flat`.

    "all directions" is the exception: there every direction is free.
    """
    U, V, sharpness, mask = flat.outputs, flat.inputs, flat.sharpness, flat.flat
    if arm == "all directions":
        mask = torch.ones_like(mask)
    elif arm == "inputs":  # S := I: a direction is as sharp as its input is in use
        sharpness = sharpness.sum(0, keepdim=True).expand_as(sharpness).contiguous()
        order = sharpness.T.flatten().argsort(stable=True)  # whole inputs, one after another
        mask = torch.zeros(mask.numel(), dtype=torch.bool)
        mask[order[: int(flat.flat.sum())]] = True
        mask = mask.view(*flat.flat.T.shape).T.contiguous()
    elif arm == "turned":
        draw = torch.Generator().manual_seed(seed)
        U, V = (
            torch.linalg.qr(torch.randn(*M.shape, generator=draw, dtype=M.dtype))[0] for M in (U, V)
        )
    return Curvature(U, V, sharpness, mask, flat.threshold)


class Reached(Exception):  # noqa: N818
    """The efficacy is reached."""


def said(lm: lib.LM, cases: Sequence[lib.Case]) -> float:
    """The share of the cases whose new answer the model begins with, as it is bound now."""
    with torch.no_grad():
        texts = lm.answer([case.fact.text for case in cases], 6)
    return sum(
        begins(text, case.fact.target_new) for text, case in zip(texts, cases, strict=True)
    ) / len(cases)


def trained(
    lm: lib.LM, cases: Sequence[lib.Case], flat: Mapping[int, Curvature], settings: Mapping
) -> tuple[lib.Patch, int, float]:
    """The patch after the first step with the efficacy wanted, the steps, and the efficacy.

    flat  {layer: the directions that are free}; Adam moves the coordinates along them
    """
    editor = CrispEdit(lm, layers=tuple(flat))
    names = editor.places()
    pairs = [(case.fact.text, case.fact.target_new) for case in cases]
    rows = AnswerRows.of(lm.tokenizer, pairs)
    start = [lm.weight(name) for name in names.values()]
    steps = FlatAdam(start, list(flat.values()), "basis", editor.config.lr)
    by = epochs.Epochs(settings["steps"], len(cases), 0.0, 0, name="flat")
    count, reached = 0, 0.0

    def look() -> None:
        nonlocal count, reached
        count, reached = count + 1, said(lm, cases)
        if reached >= settings["efficacy"]:
            raise Reached

    with lm.bind(dict(zip(names.values(), steps.weights, strict=True))):
        try:
            epochs.train(lm, rows, min(names), steps.weights, steps, by, after_step=look)
        except Reached:
            pass
    moved = zip(names.values(), start, steps.changes(), strict=True)
    patch = lib.EMPTY.with_weights({name: (W.double() + D).float() for name, W, D in moved})
    return patch, count, reached


def weakest(
    lm: lib.LM, cases: Sequence[lib.Case], patch: lib.Patch, settings: Mapping
) -> tuple[lib.Patch, float, float]:
    """The patch at the least strength with the efficacy wanted, the strength, and the efficacy."""
    for strength in settings["closed forms"]:
        weaker = lib.scaled(lm, patch, strength)
        with lm.patched(weaker):
            reached = said(lm, cases)
        if reached >= settings["efficacy"]:
            break
    return weaker, strength, reached


def draw_of(settings: Mapping[str, Any], draw: int) -> list[lib.Case]:
    """The cases of one draw."""
    odd, n = [case for case in lib.classroom() if case.id % 2], settings["facts"]
    return odd[draw * n : (draw + 1) * n]


def arm_row(
    lm: lib.LM, cases: Sequence[lib.Case], arm: str, settings: Mapping, base: lib.Scores
) -> dict[str, Any]:
    """One arm on one draw.

    steps       of training, or a closed form's strength
    free, kept  shares of the directions, and of the curvature that lies in them; means over layers
    predicted   ½ Σ tr(S Δ A Δᵀ), nats per token
    text        KL(base ‖ edited) on held-out text: by strength, a mean per window, nats per token
    held, rewordings, neighbors   by generation, one share per case
    """
    config = CrispEdit(lm).config
    flat = CrispEdit(lm).curvatures({})
    begun, row = time.process_time(), {"arm": arm}
    if arm in CLOSED:
        editor, more = CLOSED[arm]
        whole = lib.EDITORS[editor](lm, **more).edit([case.fact for case in cases])
        row["cpu_seconds"] = round(time.process_time() - begun, 1)
        patch, row["steps"], row["efficacy"] = weakest(lm, cases, whole, settings)
    else:
        own = {layer: other(one, arm, layer) for layer, one in flat.items()}
        patch, row["steps"], row["efficacy"] = trained(lm, cases, own, settings)
        row |= {"layers": list(config.layers), "lr": config.lr, "energy": config.energy}
        row["free"] = round(sum(one.free for one in own.values()) / len(own), 4)
        row["cpu_seconds"] = round(time.process_time() - begun, 1)  # with the questions in between
    row["predicted"] = predicted_kl.predicted(lm, patch)
    some = [lib.scaled(lm, patch, strength) for strength in settings["strengths"]]
    sums, counts = predicted_kl.by_window(lm, some, tokens=settings["text"])
    row["text"] = [[round(x, 7) for x in line] for line in (sums / counts).tolist()]
    row["tokens"] = counts.tolist()
    found = lib.evaluate(lm, cases, patch, ["generation"], metrics=list(ASKED), base=base.base)
    of = found.by_case()
    pairs = {
        "held": ("efficacy", "generation"),
        "rewordings": ("generalization", "generation"),
        "neighbors": ("specificity", "generation"),
    }
    for name, pair in pairs.items():
        row[name] = [round(float(x), 6) for x in of[pair]["mean"]]
    return row


def rows(
    lm: lib.LM, settings: Mapping[str, Any], draw: int, known: Sequence[str] = ()
) -> Iterator[dict]:
    """One row per arm of a draw that is not known, after one of the unedited model."""
    cases = draw_of(settings, draw)
    asked = {"events": ["generation"], "metrics": list(ASKED)}
    base = lib.baseline(lm, cases, **asked).scores
    if "unedited" not in known:
        of = base.by_case()
        row = {"draw": draw, "arm": "unedited", "cases": [case.id for case in cases]}
        for name, metric in {"rewordings": "generalization", "neighbors": "specificity"}.items():
            row[name] = of[metric, "generation"]["mean"].round(6).tolist()
        yield row
    for arm in ARMS:
        if arm not in known:
            yield {"draw": draw, **arm_row(lm, cases, arm, settings, base)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", default="0,1")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    lm = lib.load(dtype="float32")
    kept = json.loads(given.out.read_text()) if given.out.exists() else {"rows": []}
    for draw in (int(one) for one in given.draws.split(",")):
        known = [row["arm"] for row in kept["rows"] if row["draw"] == draw]
        if len(known) == 1 + len(ARMS):
            continue
        for row in rows(lm, SETTINGS, draw, known):
            made = {
                "command": "python -m tests.benchmarks.flat_directions",
                "model": lm.identity,
                "date": time.strftime("%Y-%m-%d"),
                "settings": SETTINGS,
                "rows": sorted([*kept["rows"], row], key=lambda row: row["draw"]),
            }
            kept = json.loads(json.dumps(made))
            with whole_file(given.out) as part:
                part.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            print(draw, row["arm"], row.get("steps"), row.get("efficacy"), flush=True)


if __name__ == "__main__":
    command(main)
