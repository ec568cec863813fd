"""Streams of the classroom's facts that share none, dealt in one way for all pages."""

from __future__ import annotations

import lib


def dealt(streams: int, facts: int) -> list[list[lib.Case]]:
    """Streams of so many odd facts of the classroom, of which no two share one.

    Neighbors in the list are of one relation, so they go to different streams. ValueError for more
    facts than there are.
    """
    odd = [case for case in lib.classroom() if case.id % 2]
    if streams * facts > len(odd):
        raise ValueError(f"there are {len(odd)} odd facts, not {streams} × {facts}")
    return [odd[i::streams][:facts] for i in range(streams)]
