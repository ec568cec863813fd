"""The process in which parts run: `python -m tests.benchmarks.gpu.worker`, started by the entry.

It writes a line of JSON for each row to the pipe that it was given, and nothing else there.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from . import scale as scales
from .measure import Clock
from .moments import cold
from .scale import SCALES, large
from .speed import every_editor, long_stream, many_facts
from .values import placement, pretrained, several

# part: (what it does, whether it needs the large model)
PARTS = {
    "a": (placement, False), "e": (cold, True), "b": (every_editor, True), "c": (long_stream, True),
    "d": (many_facts, True), "f": (several, False), "g": (pretrained, False),
}  # fmt: skip


def work(order: dict[str, Any], send: Callable[[dict[str, Any]], Any]) -> None:
    """Run the parts that were ordered: {"device", "scale", "editors", "parts": {name: seconds}}.

    Editors take their turns in the order in which they are named.
    """
    device = scales.device_of(order["device"])
    scale, editors = SCALES[order["scale"]], order["editors"] or scales.every()
    send({"device": device.describe()})
    made = None
    for name, limit in order["parts"].items():
        part, needs = PARTS[name]
        send({"part": name, "state": "begun"})
        clock, start = Clock(limit), time.monotonic()
        report = partial(_row, send, name)
        try:
            if needs and made is None:
                seconds, made = device.timed(lambda: large(scale, device.name))
                report({"made": made.name, "seconds": seconds})
            part(scale, device, clock, report, editors, *([made] if needs else []))
            ended = "done" if clock.left() > 0 else "stopped at its limit"
        except Exception as error:  # a card may be unusable now: the next part gets a new process
            ended = f"failed: {type(error).__name__}: {error}"[:300]
        send({"part": name, "state": ended, "seconds": time.monotonic() - start})
        if ended.startswith("failed"):
            return


def collected(order: dict[str, Any]) -> list[dict[str, Any]]:
    """All messages of an order that is worked on in this process."""
    found: list[dict[str, Any]] = []
    work(order, found.append)
    return found


def _row(send: Callable[[dict[str, Any]], Any], part: str, row: dict[str, Any]) -> None:
    send({"part": part, "row": row})


def main() -> None:
    """Read the order from standard input, work, and answer on the pipe that it names."""
    order = json.loads(sys.stdin.readline())
    torch.set_num_threads(order["threads"])
    warnings.simplefilter("ignore")
    with os.fdopen(order["pipe"], "w", buffering=1) as pipe, scales.own_cache():
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        work(order, lambda message: pipe.write(json.dumps(message) + "\n"))


def _end_with(parent: int) -> None:
    """End this process when the one that started it has ended, however it did."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
