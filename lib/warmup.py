"""Moments to start from: features of fixed texts that are read but never edited.

With few columns the deviations are degenerate (one column standardizes to exactly zero), so the
first fact of a life could not be written. The classroom's prompts and rewordings serve every model.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from safetensors.torch import load_file, save_file

from . import features, fetch
from .facts import Fact
from .lm import LM
from .moments import Moments, Pairs
from .patch import EMPTY
from .readers import classroom

TEXTS = 256  # prompts and rewordings that are read


def warm_moments(
    lm: LM, modules: Sequence[str], group: int, reduction: str, full: bool = False
) -> Pairs:
    """Moments over the warm-up texts of modules that share one shape, on the base model.

    Twenty seconds for the default model, once: cached on disk by model, modules and texts.
    """
    facts = [
        Fact(None, text, case.fact.target_new)
        for case in classroom()
        for text in (case.fact.text, *case.paraphrases)
    ][:TEXTS]
    label = f"{lm.fingerprint} {lm.dtype} {sorted(modules)} {group} {reduction} {full} {facts}"
    name = hashlib.sha256(label.encode()).hexdigest()[:24]
    path = fetch.cache_folder() / "warmup" / f"{name}.safetensors"
    if path.exists():
        kept = load_file(path)
        n = int(kept.pop("n"))
        sides: dict[str, dict] = {"keys": {"n": n}, "grads": {"n": n}}
        for key, tensor in kept.items():
            side, _, field = key.partition("/")
            sides[side][field] = tensor
        return Pairs(Moments.load(sides["keys"]), Moments.load(sides["grads"]))
    with lm.patched(EMPTY, only=True):
        found = features.read(lm, facts, modules, group, reduction)
    d_in, d_out = (len(part) for part in (found[modules[0]].K, found[modules[0]].G))
    pairs = Pairs.empty(d_in, d_out, full).merge(found[name].kept() for name in modules)
    tensors = {
        f"{side}/{field}": tensor.contiguous()
        for side, state in pairs.state().items()
        for field, tensor in state.items()
        if field != "n"
    }
    tensors["n"] = pairs.keys.mean.new_tensor(pairs.count)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.tmp")
    save_file(tensors, part)
    part.replace(path)
    return pairs
