"""What notebook 16 measures: how long a part of a pass takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch

import lib
from lib.model.partial_forward import Replay


def times(
    lm: lib.LM, prompts: Sequence[str], starts: Sequence[int], repeats: int = 5
) -> list[float]:
    """Seconds of one look from each block on, the median; the output head is in all of them.

    Of CPU time where the model is on a CPU: a busy machine then does not count.
    """
    clock = time.process_time if lm.device.type == "cpu" else time.perf_counter
    rows, _ = lm.rows(list(prompts))
    last = torch.tensor([len(row) - 1 for row in rows])
    replays = {start: Replay(lm, rows, start) for start in starts}
    found: dict[int, list[float]] = {start: [] for start in starts}
    for _ in range(repeats):  # in turn: a busy machine is busy for all of them
        for start, replay in replays.items():
            begin = clock()
            with torch.no_grad():
                states = replay.run(replay.hidden)
                with lm.opened(replay.seqs):
                    lm.head(states[torch.arange(len(rows)), last.to(states.device)])
            found[start].append(clock() - begin)
    return [statistics.median(values) for values in found.values()]
