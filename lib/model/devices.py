"""Devices: recognizing GPUs, and the rule for using several GPUs.

A model larger than one GPU is loaded with `device_map="auto"`: its blocks are then on several GPUs,
with states moving from GPU to GPU. Nothing else in the library depends on the device of a block,
because of one rule, followed in four places:

* `LM.backbone` and `LM.head` return their result on the device of their input, and `LM.weight`
  returns a matrix on its module's device.
* A `Replay` uses the device of its first block, `Replay.device`. Its hidden states, its
  observations, its labels and all results of `run` are there.
* A route gets the module's inputs and its `Sequences` on the device of the module's output. Only
  `Patchable` calls routes, so only there is anything moved.
* A patch is on the CPU: editors move their results there when they are done.

Copying between a GPU and the CPU makes the program wait for the GPU, and so does reading any number
from it (`.item()`, `.tolist()`, a boolean index). Training loops therefore read one small tensor
per step, containing everything needed to judge the step.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import torch

from ..errors import ArgumentError
from ..setting_fields import nearest, shown

DTYPES: dict[str, torch.dtype | Literal["auto"]] = {  # torch's names, and common ones
    "auto": "auto",
    **dict.fromkeys(("float32", "float", "fp32"), torch.float32),
    **dict.fromkeys(("bfloat16", "bf16"), torch.bfloat16),
    **dict.fromkeys(("float16", "half", "fp16"), torch.float16),
    **dict.fromkeys(("float64", "double", "fp64"), torch.float64),
}
SPREAD = ("auto", "balanced", "balanced_low_rank", "sequential", "disk")  # words in a device_map


def dtype_of(given: Any) -> torch.dtype | Literal["auto"]:
    """Return the weight type given by a word or a torch.dtype; ArgumentError if it is neither.

    dtype_of("bf16") -> torch.bfloat16
    """
    word = str(given).removeprefix("torch.").lower()
    if word not in DTYPES or not isinstance(given, str | torch.dtype):
        known = "float32, bfloat16, float16, float64 and auto"
        raise ArgumentError(
            f"dtype={shown(given)} is unknown. Available types: {known}{nearest(word, DTYPES)}"
        )
    return DTYPES[word]


def refuse_missing(device_map: Any) -> None:
    """Raise ArgumentError for a device_map with a device that this machine does not have."""
    for place in device_map.values() if isinstance(device_map, Mapping) else [device_map]:
        try:
            torch.empty(0, device=None if place in SPREAD else place)
        except Exception:  # each kind of device has its own error
            cards = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
            here = ", ".join(["cpu", *cards, *["mps"] * torch.backends.mps.is_available()])
            raise ArgumentError(
                f"device_map={shown(device_map)} needs the device {shown(place)}, which does not "
                f"exist here. Use {here}, or the word 'auto'."
            ) from None


def room() -> int:
    """Return the bytes of this machine's memory that statistics may use at once: a quarter."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):  # not available on Windows
        return 4 << 30


def on_card(device: torch.device) -> bool:
    """Return whether a device is a GPU computing many rows at once and supporting float64.

    Apple's GPUs do not support float64, so they are treated like the CPU.
    """
    return device.type not in ("cpu", "mps")
