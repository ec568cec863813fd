"""What may lie on the table of “Was this edited?”: changed weights, and where they come from.

A suspect is a patch without its log: nothing that is examined says who wrote it or what. It is an
edit that the page makes and does not name, the visitor's own edits, or a file. A file is a patch,
or a safetensors file of a changed model, whole or in parts, under the names that the model's own
weights have. It comes from a stranger: what it promises is compared with the model before any of
it is read, and only matrices that differ are kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

import lib
from lib.cancellation import raise_if_cancelled
from lib.model.architectures import dense

from .choices import Choices
from .uploads import HEADER, read_patch
from .visitors import Session
from .worker import Trouble

MATRICES = 128_000_000  # bytes of changed matrices of one suspect, in float32
FLOATS = {"F64", "F32", "F16", "BF16"}  # types that a file of weights may have
# One of each kind of method that writes into the weights within seconds: this page's own choice
BLIND = ("rome", "memit", "emmet", "pmet", "alphaedit", "rect", "ft", "ft_m", "lora", "ultraedit")
NOTHING = "Nothing lies on the table: draw a blind edit, bring a file, or take your own edits."


@dataclass(frozen=True)
class Truth:
    """What is known about a suspect, and is shown at the end only.

    editor: the editor's name as the page writes it.
    fact: the (first) fact that it wrote; None where the log does not hold it.
    count: how many facts were written.
    rewordings: other prompts for the fact.
    """

    editor: str
    fact: lib.Fact | None
    count: int = 1
    rewordings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suspect:
    """Changed weights, and where they come from.

    name: what they are called on the page.
    patch: the weights alone.
    elsewhere: names of parameters that differ and that no patch can hold.
    truth: what was really done, where the page knows it.
    notes: what else a visitor should know, a sentence each.
    """

    name: str
    patch: lib.Patch
    elsewhere: tuple[str, ...] = ()
    truth: Truth | None = None
    notes: tuple[str, ...] = ()


def blind(
    lm: lib.LM, choices: Choices, draw: random.Random | None = None
) -> tuple[Callable[[], lib.Patch], Truth]:
    """(what makes an edit by a random editor about a random fact, what it will have been).

    draw: chooses; None takes one that nobody can foresee.
    """
    chosen = draw or random.SystemRandom()
    editor = chosen.choice([name for name in BLIND if name in choices.editors()])
    case = chosen.choice(list(choices.cases.values()))

    def make() -> lib.Patch:
        return bare(lib.EDITORS[editor](lm).edit([case.fact]))

    return make, Truth(choices.editors()[editor][0], case.fact, 1, case.paraphrases)


def own(choices: Choices, session: Session) -> Suspect:
    """The visitor's applied edits. Raises Trouble where they change no weights."""
    if not session.patch.weights:
        raise Trouble(
            "You have no live edit that changes weights: make one in the first tab, for example "
            "with ROME."
        )
    return _of_patch(choices, session.patch, "your own edits")


def brought(
    lm: lib.LM, choices: Choices, path: str | Path, name: str, most: int | None = None
) -> Suspect:
    """The suspect in a file: a patch, or weights of the model. Raises Trouble in one sentence.

    most: the largest file that is read, in bytes; None takes the whole model in float32.
    """
    size, largest = Path(path).stat().st_size, most or whole_model(lm)
    if size > largest:
        raise Trouble(
            f"{name} has {size / 1e6:.0f} MB; this page takes up to {largest / 1e6:.0f} MB, which "
            f"is all of {lm.name}."
        )
    with Path(path).open("rb") as file:
        header = int.from_bytes(file.read(8), "little")  # how every safetensors file begins
    if not 0 < header <= min(HEADER, size):
        raise Trouble(f"{name} is no safetensors file, or it is incomplete.")
    try:
        with safe_open(path, framework="pt") as file:
            if "patch" not in (file.metadata() or {}):
                return _of_weights(lm, file, name)
    except SafetensorError:
        raise Trouble(f"{name} is no safetensors file, or it is incomplete.") from None
    patch = read_patch(path, name)
    lm.check(patch)
    if not patch.weights:
        raise Trouble(
            f"{name} changes no weights: what it holds are routes or rewrites of prompts, which "
            "are read in the file itself."
        )
    return _of_patch(choices, patch, name)


def whole_model(lm: lib.LM) -> int:
    """Bytes of a file with all weights of a model in float32, and room for its header."""
    return 4 * sum(one.numel() for one in lm.model.parameters()) + HEADER


def bare(patch: lib.Patch) -> lib.Patch:
    """The weights of a patch alone: no log, no memory of an editor, nothing beside the weights."""
    return lib.Patch(patch.weights, base=patch.base)


def _of_patch(choices: Choices, patch: lib.Patch, name: str) -> Suspect:
    """A patch as a suspect; its log is kept back as the truth."""
    notes = []
    if patch.routes or patch.rewrites:
        notes.append("What it holds beside the weights (routes, prompts) is left out here.")
    truth = None
    if patch.log:
        names = dict.fromkeys(edit.editor for edit in patch.log)
        known = choices.editors()
        said = ", ".join(known[one][0] if one in known else one for one in names)
        facts = patch.facts
        truth = Truth(said, facts[0] if facts else None, len(facts))
    return Suspect(name, bare(patch), truth=truth, notes=tuple(notes))


def _of_weights(lm: lib.LM, file: Any, name: str) -> Suspect:
    """The matrices of an open file of weights that differ from the model's own."""
    here = lm.model.state_dict()
    prefix = f"{lm.model.base_model_prefix}."
    known = {stem.removeprefix(prefix): stem for stem in here} | {stem: stem for stem in here}
    keys = list(file.keys())
    if not any(key in known for key in keys):
        first = f"its first tensor is “{keys[0][:60]}”" if keys else "it is empty"
        raise Trouble(f"{name} holds no weights of {lm.name}: {first}.")
    strange = [key for key in keys if key not in known]
    for key in keys:
        _fits(file.get_slice(key), here.get(known.get(key, "")), key, name, lm.name)
    weights, elsewhere, held = {}, [], 0
    for key in keys:
        if key in strange:
            continue
        raise_if_cancelled()
        stem = known[key]
        new, old = file.get_tensor(key), here[stem].detach().cpu()
        if not torch.isfinite(new).all():
            raise Trouble(f"{name} holds infinite or missing numbers in {key[:80]}.")
        if torch.equal(new, old.to(new.dtype)):  # but for the rounding of a smaller type
            continue
        module = stem.removesuffix(".weight")
        if not _editable(lm, stem, new):
            elsewhere.append(stem)
            continue
        held += 4 * new.numel()
        if held > MATRICES:
            raise Trouble(
                f"{name} differs from {lm.name} in more matrices than this page compares "
                f"({MATRICES / 1e6:.0f} MB): on your own machine `python -m lib forensics` "
                "compares whole models."
            )
        weights[module] = dense(new, lm.arch.transposed).contiguous()
    notes = []
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        notes.append(f"The model has no “{strange[0][:60]}”{more}; that was passed over.")
    if elsewhere:
        notes.append(
            f"{len(elsewhere)} parameters that no patch can hold differ as well (embeddings, "
            "norms, biases); they are named, and are not part of what is examined."
        )
    patch = lib.Patch(weights, base=lm.identity if weights else "")
    return Suspect(name, patch, tuple(elsewhere), notes=tuple(notes))


def _fits(part: Any, own: Tensor | None, key: str, name: str, model: str) -> None:
    """Raise Trouble unless a tensor of the file is one of floats, with the model's shape."""
    if own is None:
        return
    if part.get_dtype() not in FLOATS:
        raise Trouble(
            f"{name} holds {key[:80]} as {part.get_dtype()}; this page reads floating-point "
            "numbers."
        )
    shape = tuple(part.get_shape())
    if shape != tuple(own.shape):
        raise Trouble(
            f"{name} does not fit {model}: {key[:80]} has the shape {list(shape)[:4]}, and the "
            f"model's is {list(own.shape)}."
        )


def _editable(lm: lib.LM, stem: str, new: Tensor) -> bool:
    """Whether a parameter is a matrix of a block that a patch can hold."""
    if not (stem.startswith(f"{lm.arch.blocks}.") and stem.endswith(".weight") and new.ndim == 2):
        return False
    module = stem.removesuffix(".weight")
    try:
        lm.check(lib.Patch({module: dense(new, lm.arch.transposed)}))
    except lib.PatchError:
        return False
    return True
