"""What the library asks of a device: whether it is a graphics card, and the rule of several cards.

A model larger than one card is loaded with `device_map="auto"`: its blocks then live on several
cards, and states travel from card to card. Nothing else in the library needs to know where a block
is, because of one rule that these four places keep:

* `LM.backbone` and `LM.head` give their result back beside what they were given, and `LM.weight`
  gives a matrix where its module is.
* A `Replay` lives on the device of its first block, `Replay.device`. Its hidden states, what it has
  seen, its labels and all that `run` gives are there.
* A route gets the module's inputs and its `Sequences` on the device of the module's output. Only
  `Patchable` calls routes, so only there anything is moved.
* A patch is on the CPU: editors bring their results there when they are done.

A copy between a card and the CPU makes the program wait for the card, and so does every number
that is read from it (`.item()`, `.tolist()`, a boolean index). Loops of training therefore read one
small tensor per step, which holds all that the step is judged by.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import torch

from ..errors import ArgumentError
from ..setting_fields import nearest, shown

DTYPES: dict[str, torch.dtype | Literal["auto"]] = {  # by torch's words, and by those of many
    "auto": "auto",
    **dict.fromkeys(("float32", "float", "fp32"), torch.float32),
    **dict.fromkeys(("bfloat16", "bf16"), torch.bfloat16),
    **dict.fromkeys(("float16", "half", "fp16"), torch.float16),
    **dict.fromkeys(("float64", "double", "fp64"), torch.float64),
}
SPREAD = ("auto", "balanced", "balanced_low_rank", "sequential", "disk")  # words of a device_map


def dtype_of(given: Any) -> torch.dtype | Literal["auto"]:
    """The type of weights that a word or a torch.dtype names; ArgumentError where none is named.

    dtype_of("bf16") -> torch.bfloat16
    """
    word = str(given).removeprefix("torch.").lower()
    if word not in DTYPES or not isinstance(given, str | torch.dtype):
        known = "float32, bfloat16, float16, float64 and auto"
        raise ArgumentError(f"dtype={shown(given)}: there are {known}{nearest(word, DTYPES)}")
    return DTYPES[word]


def refuse_missing(device_map: Any) -> None:
    """Raise ArgumentError for a device_map with a device that this machine does not have."""
    for place in device_map.values() if isinstance(device_map, Mapping) else [device_map]:
        try:
            torch.empty(0, device=None if place in SPREAD else place)
        except Exception:  # each kind of device has an error of its own
            cards = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
            here = ", ".join(["cpu", *cards, *["mps"] * torch.backends.mps.is_available()])
            raise ArgumentError(
                f"device_map={shown(device_map)}: there is no device {shown(place)} here, but "
                f"{here}; or the word 'auto'"
            ) from None


def room() -> int:
    """Bytes of this machine's memory that statistics may take at once: a quarter."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):  # Windows does not say
        return 4 << 30


def on_card(device: torch.device) -> bool:
    """Whether a device is a card that computes many rows at once and knows float64.

    Apple's graphics does not know float64, so it is treated as the CPU is.
    """
    return device.type not in ("cpu", "mps")
