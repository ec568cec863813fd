"""Scores of several models side by side, in percent and with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping

import lib

from . import show

METRICS = {
    "efficacy": "the edit's own prompt",
    "generalization": "rewordings",
    "specificity": "neighbors",
}
EVENTS = {
    "probability": "probability: the new answer is more probable than the old one",
    "teacher_forced": "teacher-forced: each token of it is the first choice, given those before",
    "generation": "generation: the model, writing freely, begins with it",
    "generation_exact": "generation, exact: and writes nothing after it",
}


def by_metric(scores: Mapping[str, lib.Scores], event: str) -> show.Table:
    """One row per group of prompts, one column per model: the share of right answers."""
    cells = {name: _cells(found) for name, found in scores.items()}
    return show.Table(
        [
            {
                "right answers (%)": shown,
                **{name: found[metric, event] for name, found in cells.items()},
            }
            for metric, shown in METRICS.items()
        ]
    )


def by_event(scores: Mapping[str, lib.Scores], metric: str) -> show.Table:
    """One row per event, one column per model: the share of right answers in one group."""
    cells = {name: _cells(found) for name, found in scores.items()}
    return show.Table(
        [
            {
                "what counts as right (%)": shown,
                **{name: found[metric, event] for name, found in cells.items()},
            }
            for event, shown in EVENTS.items()
        ]
    )


def _cells(scores: lib.Scores) -> dict[tuple[str, str], str]:
    """{(metric, event): "78 [44, 98]"}, in percent."""
    return {
        (row.metric, row.event): f"{100 * row.mean:.0f} [{100 * row.low:.0f}, {100 * row.high:.0f}]"
        for row in scores.summary().itertuples()
    }
