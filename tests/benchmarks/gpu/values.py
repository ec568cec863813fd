"""Parts a, f and g: whether editors do on a card what they do on the CPU.

a  every editor in float32 and bf16 on the card against its patch of the CPU in float32, undo by the
   bytes of the model, and a stream that goes on from its journal
f  a model that lies on several cards
g  pretrained models: whether an edit is said afterwards
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import torch

import lib
from lib.model import packaged_models
from lib.model.lm import LM

from ...support import simulated, tiny
from ...support.simulated_checks import difference
from . import scale as scales
from .measure import Clock, Device
from .scale import LLAMA, SHAPES, Scale

Report = Callable[[dict[str, Any]], None]
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PRETRAINED = ("rome", "memit", "ultraedit", "ft_m", "grace", "wise", "retrieval")


def placement(
    scale: Scale, device: Device, clock: Clock, report: Report, editors: list[str]
) -> None:
    """Part a: one row for every editor and type, and one for every stream."""
    plain = scales.small(scale, "cpu", torch.float32)
    cards = {name: scales.small(scale, device.name, dtype) for name, dtype in TYPES.items()}
    before = {name: state(lm) for name, lm in cards.items()}
    report({"model": plain.name, "types": list(TYPES)})
    for name in ("ultraedit", "rome"):
        if name in editors:
            report(continued(scale, cards["float32"], name))
    one, two = ([fact] for fact in scales.facts(2))
    for name in editors:
        if clock.left() <= 0:
            return
        wanted = scales.editor(scale, plain, name, brief=True)
        seconds, first = device.timed(lambda wanted=wanted: wanted.edit(one, check=False))
        expected = wanted.edit(two, after=first, check=False)
        report({"editor": name, "on": "cpu", "seconds": seconds})
        for kind, lm in cards.items():
            report({"editor": name, "type": kind, **compared(
                scale, device, lm, plain, wanted, expected, (one, two), before[kind]
            )})  # fmt: skip


def state(lm: LM) -> tuple[str, list]:
    """All that undo has to restore: a hash of the parameters' bytes, the tensors and the hooks."""
    found, places = hashlib.sha256(), []
    for name, module in lm.model.named_modules():
        places.append((name, len(module._forward_hooks), len(module._forward_pre_hooks)))
        for key, p in module._parameters.items():
            if p is not None:
                places.append((name, key, id(p), str(p.device)))
                found.update(p.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest(), places


def compared(
    scale: Scale,
    device: Device,
    lm: LM,
    plain: LM,
    wanted: lib.Editor,
    expected: lib.Patch,
    turns: tuple,
    before: tuple,
) -> dict[str, Any]:
    """One editor on one model: its error, or its difference from the CPU's patch and its undo."""
    try:
        # the same network as on the CPU, where the editor has one
        more = {"network": wanted.config.network} if wanted.trained else {}
        given = scales.settings(scale, wanted.name, True, **more)
        made = lib.EDITORS[wanted.name](lm, preset="ours", **given)
        seconds, first = device.timed(lambda: made.edit(turns[0], check=False))
        found = made.edit(turns[1], after=first, check=False)
        with lm.patched(found):
            said = lm.answer(turns[0][0].text, 3)
        away = [p for w in found.weights.values() for p in _parts(w) if p.device.type != "cpu"]
        return {
            "seconds": seconds, "difference": difference(plain, found, expected), "said": said,
            "undone": state(lm) == before, "on_cpu": not away,
        }  # fmt: skip
    except Exception as error:  # one editor's failure is a result, and the next one is tried
        return {"error": f"{type(error).__name__}: {error}"[:300], "undone": state(lm) == before}


def _parts(weight: Any) -> list[torch.Tensor]:
    return (
        [weight]
        if isinstance(weight, torch.Tensor)
        else [x for pair in weight.chunks for x in pair]
    )


def continued(scale: Scale, lm: LM, name: str) -> dict[str, Any]:
    """A stream of three turns in one go, and left after the first and gone on with."""
    cases = [lib.Case(fact) for fact in scales.facts(6)]
    asked = {"events": ("teacher_forced",), "metrics": ()}
    with tempfile.TemporaryDirectory() as folder:

        def run(journal: str) -> Any:
            made = scales.editor(scale, lm, name, brief=True)
            where = Path(folder) / journal
            return lib.stream(lm, made, cases, 2, (), asked, progress=False, journal=where)

        whole = run("whole").finish().patch
        next(iter(run("left")))
        again = run("left").finish().patch
    gaps = [
        ((lm.weight(m, again) - lm.weight(m, whole)).norm()
         / (lm.weight(m, whole) - lm.weight(m)).norm()).item()
        for m in whole.weights
    ]  # fmt: skip
    return {"stream": name, "edits": len(cases), "difference": max(gaps, default=0.0)}


def several(scale: Scale, device: Device, clock: Clock, report: Report, editors: list[str]) -> None:
    """Part f: a model whose lower blocks lie on one card and its upper ones on another."""
    count = device.describe()["count"]
    if count < 2:
        report({"note": f"{count} card here: nothing to spread a model over"})
        return
    one, spread = _one_and_spread(scale, device)
    report({"cards": [str(place) for place in spread.devices]})
    (fact,) = scales.facts(1)
    for name in (name for name in ("ultraedit", "rome", "memit", "wise") if name in editors):
        if clock.left() <= 0:
            return
        patches = [
            scales.editor(scale, lm, name, brief=True).edit([fact], check=False)
            for lm in (one, spread)
        ]
        said = []
        for lm, patch in zip((one, spread), patches, strict=True):
            with lm.patched(patch):
                said.append(lm.answer(fact.text, 4))
        gap = difference(one, patches[1], patches[0])
        report({"editor": name, "difference": gap, "same answer": said[0] == said[1]})


def _one_and_spread(scale: Scale, device: Device) -> tuple[LM, LM]:
    """The same random model on one card, and dispatched over two as `device_map="auto"` does."""
    if scale.name == "tiny":
        both = [tiny.model("llama") for _ in range(2)]
        if device.type == "sim":
            return simulated.placed(both[0], 1), simulated.placed(both[1], 2)
    else:
        shape = {**SHAPES["8B"], "num_hidden_layers": 8}
        both = [scales.random_llama(shape, device.name, torch.bfloat16, LLAMA) for _ in range(2)]
    one, other = both
    split = accelerate.utils.get_balanced_memory(
        other.model, no_split_module_classes=["LlamaDecoderLayer"]
    )
    where = accelerate.infer_auto_device_map(
        other.model, split, no_split_module_classes=["LlamaDecoderLayer"]
    )
    return one, LM(accelerate.dispatch_model(other.model, where), other.tokenizer, other.name)


def pretrained(
    scale: Scale, device: Device, clock: Clock, report: Report, editors: list[str]
) -> None:
    """Part g: one fact of the classroom by several editors, on models that are on this machine."""
    if scale.name == "tiny":
        report({"note": "at tiny scale no pretrained model is loaded"})
        return
    case = lib.classroom()[0]
    asked = [case.fact.text, case.paraphrases[0], case.neighborhood[0].prompt]
    for model in packaged_models.PACKAGED.values():
        if not scales.kept(model):
            report({"model": model.name, "note": "its weights are not on this machine"})
            continue
        for kind, dtype in TYPES.items():
            lm = lib.load(model.name, dtype=dtype, device_map={"": device.name})
            report(
                {"model": model.name, "type": kind, "prompts": asked, "said": lm.answer(asked, 8)}
            )
            for name in (name for name in PRETRAINED if name in editors):
                if clock.left() <= 0:
                    return
                made = lib.EDITORS[name](lm, preset="ours")
                made.edit([lib.classroom()[1].fact], check=False)  # C and contexts are there now
                seconds, patch = device.timed(lambda made=made: made.edit([case.fact], check=False))
                with lm.patched(patch):
                    said = lm.answer(asked, 8)
                report({"model": model.name, "type": kind, "editor": name, "seconds": seconds,
                        "target": case.fact.target_new, "said": said})  # fmt: skip
