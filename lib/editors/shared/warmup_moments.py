"""The moments that UltraEdit starts from, computed by reading fixed texts without editing them.

With few columns, the deviations are degenerate. A single column standardizes to exactly zero, so
the first fact of a stream could not be written. The classroom's prompts and paraphrases provide
moments for every model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from ... import distributed
from ...atomic_files import sha256
from ...computed_once import CachedTensors, Tensors
from ...data.facts import Fact, fill
from ...data.texts import CLASSROOM
from ...keys_values import answer_gradients
from ...keys_values.answer_gradients import Reduction
from ...keys_values.running_moments import KeyGradientMoments
from ...model.lm import LM
from ...patch.patch import EMPTY

TEXTS = 256  # prompts and paraphrases to read


def stored(
    lm: LM, modules: Sequence[str], group: int, reduction: Reduction, full: bool = False
) -> CachedTensors:
    """Return moments over the warm-up texts, for modules sharing one shape, on the base model.

    Computing them takes 20 seconds for the default model, so they are stored by model, modules and
    texts; see `loaded`. full=True keeps the whole scatter of the gradients.
    """

    def make(_: list[None]) -> Iterator[tuple[None, Tensors]]:
        rows = json.loads(CLASSROOM.read_text(encoding="utf-8"))
        facts = [
            Fact(None, text, row["target_new"])
            for row in rows
            for text in (fill(row["prompt"], row["subject"]), *row["paraphrases"])
        ][:TEXTS]
        # some processes may have them cached, others not
        with distributed.alone(), lm.patched(EMPTY, only=True):
            found = answer_gradients.read(lm, facts, modules, group, reduction)
        d_in, d_out = (len(part) for part in (found[modules[0]].K, found[modules[0]].G))
        pairs = KeyGradientMoments.empty(d_in, d_out, full).merge(
            found[name].nonzero() for name in modules
        )
        tensors = {
            f"{side}/{field}": tensor
            for side, state in pairs.state().items()
            for field, tensor in state.items()
            if field != "n"
        }
        yield None, tensors | {"n": pairs.keys.mean.new_tensor(pairs.keys.n)}

    label = f"{lm.stored_identity} {sorted(modules)} {group} {reduction} {full}"
    return CachedTensors("warmup", f"{label} {TEXTS} {sha256(CLASSROOM)}", make)


def loaded(kept: Tensors) -> KeyGradientMoments:
    """Return the moments in the tensors of `stored`."""
    state = {
        side: {key.split("/")[-1]: kept[key] for key in kept if key.startswith((side, "n"))}
        for side in ("keys", "grads")
    }
    return KeyGradientMoments.load(state)
