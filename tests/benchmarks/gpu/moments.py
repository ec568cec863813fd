"""Part e: the matrices that are made once for a model, with a cold cache.

C is the second moment of a layer's keys over general text, and the null space its eigenvectors.
Both cost more than any edit, and each layer has its own. What is made here for one layer stays in
the run's cache, where the editors of parts b and d find it.
"""

from __future__ import annotations

from lib.keys_values import general_text, null_space, second_moment
from lib.model.lm import LM

from .measure import Clock, Device
from .scale import Scale
from .values import Report


def cold(
    scale: Scale, device: Device, clock: Clock, report: Report, editors: list[str], lm: LM
) -> None:
    """A row for C and the null space of one layer, for C of five, and for each null space more."""
    del editors
    width = lm.weight(lm.mlp_out(0)).shape[1]
    tokens = scale.tokens or general_text.WANTED * width
    moments(device, report, lm, (scale.single,), tokens)
    if clock.left() <= 0:
        return
    last = spaces(device, report, lm, scale.single, tokens, 1)
    if clock.left() <= 0:
        return
    moments(device, report, lm, scale.layers, tokens + 1)  # another number: no layer is there yet
    for done, layer in enumerate(scale.layers, 2):
        if clock.left() < 1.2 * last:  # it would not end in time
            return
        last = spaces(device, report, lm, layer, tokens + 1, done)


def moments(device: Device, report: Report, lm: LM, layers: tuple[int, ...], tokens: int) -> None:
    """A row for C of some layers, which are read in one pass."""
    device.clear_peak()
    seconds, _ = device.timed(lambda: second_moment.second_moment(lm, layers, tokens=tokens))
    report({"what": "C", "layers": len(layers), "seconds": seconds, "peak": device.peak()})


def spaces(device: Device, report: Report, lm: LM, layer: int, tokens: int, number: int) -> float:
    """A row for the null space of one layer whose C is there; its seconds."""
    device.clear_peak()
    seconds, _ = device.timed(lambda: null_space.null_space(lm, [layer], None, 0.5, tokens=tokens))
    report({"what": "null space", "number": number, "seconds": seconds, "peak": device.peak()})
    return seconds
