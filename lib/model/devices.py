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

import torch


def on_card(device: torch.device) -> bool:
    """Whether a device is a card that computes many rows at once and knows float64.

    Apple's graphics does not know float64, so it is treated as the CPU is.
    """
    return device.type not in ("cpu", "mps")
