"""Parts b, c and d: what edits cost on a model of 8 billion weights.

b  every editor: seconds and memory of an edit against the floor, and generation with its patch
c  UltraEdit: a long stream in turns of two sizes, with the time of features, moments and solves
d  many facts: MEMIT and AlphaEdit in one batch, WISE, GRACE and LEMoE one after another
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import lib
from lib.keys_values import answer_gradients
from lib.keys_values.running_moments import KeyGradientMoments
from lib.model.lm import LM

from . import scale as scales
from .measure import Clock, Device, Products
from .scale import MANY_LAYERS, Scale
from .values import Report

AT_ONCE = ("ultraedit", "memit", "ft", "malmen")  # are also given many facts in one call
PROMPTS = ("The recipe for this cake begins", "In the morning the boats", "A long letter came",
           "The committee said")  # fmt: skip


def every_editor(
    scale: Scale, device: Device, clock: Clock, report: Report, editors: list[str], lm: LM
) -> None:
    """Part b: a row for every editor, and one more for those that take many facts at once."""
    weights = sum(p.numel() for p in lm.model.parameters())
    about = {"model": lm.name, "weights": weights, "type": str(lm.dtype)}
    report({"rates": device.measure_rates(*scale.rates), **about})
    counts = [(name, 1) for name in editors]
    counts += [(name, min(100, scale.many)) for name in editors if name in AT_ONCE]
    for name, count in counts:
        if clock.left() <= 0:
            return
        try:
            report({"editor": name, "facts": count, **one_editor(scale, device, lm, name, count)})
        except Exception as error:  # one editor's failure is a result, and the next one is tried
            said = f"{type(error).__name__}: {error}"[:300]
            report({"editor": name, "facts": count, "error": said})


def one_editor(scale: Scale, device: Device, lm: LM, name: str, count: int) -> dict[str, Any]:
    """Seconds, floor, memory and generation of one editor with so many facts in a call."""
    places = {"layer": scale.single, "layers": (scale.single,)}
    # the matrices C and the null space cost more than all edits of this part: one layer has them
    whitened = lib.EDITORS[name].geometry == "whitened" or lib.EDITORS[name].inner
    one = places if whitened and name not in MANY_LAYERS else {}
    made = scales.editor(scale, lm, name, brief=False, **one)
    some, others = scales.facts(count), scales.facts(count, first=count)
    made.edit(scales.facts(count, first=2 * count), check=False)  # what is made once is there now
    with Products(device) as products:
        made.edit(some, check=False)
    device.clear_peak()
    seconds, patch = device.timed(lambda: made.edit(others, check=False))
    found = {
        "seconds": seconds / count, "floor": products.seconds / count,
        "over_floor": seconds / products.seconds if products.seconds else None,
        "multiply_adds": products.count / count, "peak": device.peak(),
    }  # fmt: skip
    if count > 1:
        return found
    return {**found, **generation(scale, device, lm, patch)}


def generation(scale: Scale, device: Device, lm: LM, patch: lib.Patch) -> dict[str, float]:
    """Tokens per second outside the scope of a patch, with and without it, in turn."""
    rows, new = scale.rows
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(rows)]
    spent: dict[str, list[float]] = {"base": [], "patched": []}
    for _ in range(3):
        for name, some in {"base": lib.EMPTY, "patched": patch}.items():
            with lm.patched(some):
                spent[name].append(device.timed(lambda: lm.generate(prompts, new))[0])
    base, patched = (
        statistics.median(times[1:]) for times in spent.values()
    )  # the first is warm-up
    return {
        "tokens_base": rows * new / base, "tokens_patched": rows * new / patched,
        "slower": patched / base - 1,
    }  # fmt: skip


def long_stream(
    scale: Scale, device: Device, clock: Clock, report: Report, editors: list[str], lm: LM
) -> None:
    """Part c: the stream in turns of each size, as far as half of the time reaches."""
    if "ultraedit" not in editors:
        return
    for size in scale.turns:
        report(turns_of(scale, device, clock.part(0.5), lm, size))


def turns_of(scale: Scale, device: Device, clock: Clock, lm: LM, size: int) -> dict[str, Any]:
    """The stream in turns of one size, and where its seconds go."""
    made = scales.editor(scale, lm, "ultraedit", brief=False)
    patch = made.edit(scales.facts(size, first=scale.edits), check=False)  # warm, and not counted
    edits = 0
    parts = {
        "features": (answer_gradients, "read"),
        "moments": (KeyGradientMoments, "merge"),
        "solves": (made, "solve"),
    }
    spent = dict.fromkeys(parts, 0.0)
    device.clear_peak()
    with ExitStack() as stack:
        for name, (owner, attribute) in parts.items():
            timed = _noting(device, getattr(owner, attribute), spent, name)
            stack.enter_context(mock.patch.object(owner, attribute, timed))
        start = device.now()
        while not edits or (edits < scale.edits and clock.left() > 0):
            patch = made.edit(scales.facts(size, first=edits), after=patch, check=False)
            edits += size
        seconds = device.now() - start
    return {
        "turn": size, "edits": edits, "wanted": scale.edits, "seconds": seconds, **spent,
        "else": seconds - sum(spent.values()), "peak": device.peak(),
        "extrapolated": {str(n): seconds * n / edits for n in (scale.edits, 1_000_000)},
    }  # fmt: skip


def _noting(device: Device, function: Callable, spent: dict[str, float], name: str) -> Callable:
    def call(*args: Any, **more: Any) -> Any:
        seconds, found = device.timed(lambda: function(*args, **more))
        spent[name] += seconds
        return found

    return call


def many_facts(
    scale: Scale, device: Device, clock: Clock, report: Report, editors: list[str], lm: LM
) -> None:
    """Part d: one batch for two editors, one fact after another for three."""
    places = {"layer": scale.single, "layers": (scale.single,)}
    for name in (name for name in ("memit", "alphaedit") if name in editors):
        made = scales.editor(scale, lm, name, brief=False, templates=("{}",), **places)
        made.edit(scales.facts(1, first=scale.many), check=False)
        device.clear_peak()
        seconds, _ = device.timed(
            lambda made=made: made.edit(scales.facts(scale.many), check=False)
        )
        report({"editor": name, "facts": scale.many, "seconds": seconds, "peak": device.peak()})
    for name in (name for name in ("grace", "wise", "lemoe") if name in editors):
        own, edits = clock.part(0.2), 0
        made = scales.editor(scale, lm, name, brief=False)
        patch = made.edit(scales.facts(1, first=scale.beside), check=False)
        device.clear_peak()
        start = device.now()
        while edits < scale.beside and own.left() > 0:
            patch = made.edit(scales.facts(1, first=edits), after=patch, check=False)
            edits += 1
        row = {"editor": name, "facts": edits, "wanted": scale.beside}
        report({**row, "seconds": device.now() - start, "peak": device.peak()})
