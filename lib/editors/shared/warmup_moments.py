"""Moments that UltraEdit starts from: those of fixed texts that are read but never edited.

With few columns the deviations are degenerate. One column standardizes to exactly zero, so the
first fact of a stream could not be written. The classroom's prompts and rewordings give moments for
every model.
"""

from __future__ import annotations

from collections.abc import Sequence

from safetensors.torch import load_file, save_file

from ...atomic_files import cached, whole_file
from ...data.facts import Fact
from ...data.readers import classroom
from ...keys_values import answer_gradients
from ...keys_values.answer_gradients import Reduction
from ...keys_values.running_moments import KeyGradientMoments, RunningMoments
from ...model.lm import LM
from ...patch.patch import EMPTY

TEXTS = 256  # prompts and rewordings that are read


def warm_moments(
    lm: LM, modules: Sequence[str], group: int, reduction: Reduction, full: bool = False
) -> KeyGradientMoments:
    """Moments over the warm-up texts, of modules that share one shape, on the base model.

    They take twenty seconds for the default model and are cached on disk by model, modules and
    texts. full=True keeps the whole scatter of the gradients.
    """
    facts = [
        Fact(None, text, case.fact.target_new)
        for case in classroom()
        for text in (case.fact.text, *case.paraphrases)
    ][:TEXTS]
    label = f"{lm.fingerprint} {lm.dtype} {sorted(modules)} {group} {reduction} {full} {facts}"
    path = cached("warmup", label)
    if path.exists():
        kept = load_file(path)
        n = int(kept.pop("n"))
        sides: dict[str, dict] = {"keys": {"n": n}, "grads": {"n": n}}
        for key, tensor in kept.items():
            side, _, field = key.partition("/")
            sides[side][field] = tensor
        return KeyGradientMoments(
            RunningMoments.load(sides["keys"]), RunningMoments.load(sides["grads"])
        )
    with lm.patched(EMPTY, only=True):
        found = answer_gradients.read(lm, facts, modules, group, reduction)
    d_in, d_out = (len(part) for part in (found[modules[0]].K, found[modules[0]].G))
    pairs = KeyGradientMoments.empty(d_in, d_out, full).merge(
        found[name].kept() for name in modules
    )
    tensors = {
        f"{side}/{field}": tensor.contiguous()
        for side, state in pairs.state().items()
        for field, tensor in state.items()
        if field != "n"
    }
    tensors["n"] = pairs.keys.mean.new_tensor(pairs.count)
    with whole_file(path) as part:
        save_file(tensors, part)
    return pairs
