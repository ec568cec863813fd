"""Whether a paper's claim was seen here, by two numbers that were fixed before the rows were made.

The numbers of each claim stand in claims.toml, and git says that they are older than the rows. What
is measured is turned so that more of it speaks for the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SAME, OPPOSITE, UNSEEN = "same direction", "opposite", "not seen"
Z, POWER = 1.96, 0.84  # of a 95 % interval, and of a difference that is found four times in five


def verdict(interval: Sequence[float], same: float = 0.0, opposite: float = 0.0) -> str:
    """What a 95 % interval says of a claim: "same direction", "opposite" or "not seen".

    It is the same where the whole interval lies above `same`, and the opposite where it lies below
    `opposite`. ((.2, .4), 0, 0) -> "same direction"; ((−.1, .4), 0, 0) -> "not seen".
    """
    low, high = interval
    return SAME if low > same else OPPOSITE if high < opposite else UNSEEN


def overall(verdicts: Sequence[str]) -> str:
    """One verdict of a claim about every layer: the same in all of them, opposite in most."""
    if all(one == SAME for one in verdicts):
        return SAME
    return OPPOSITE if 2 * sum(one == OPPOSITE for one in verdicts) > len(verdicts) else UNSEEN


def detectable(interval: Sequence[float]) -> float:
    """The smallest difference that an interval of this width finds four times in five."""
    low, high = interval
    return (Z + POWER) * (high - low) / (2 * Z)


def judged(
    said: str, ends: Sequence[float], rule: Mapping[str, float], unit: str = "points"
) -> tuple[str, str]:
    """What came out with its verdict, and from what size on a difference would have been seen.

    unit  "points" where the measure is a share, else what the measure is in
    """
    answer = verdict(ends, rule["same"], rule["opposite"])
    if answer == UNSEEN:
        least = detectable(ends)
        size = f"{100 * least:.0f}" if unit == "points" else f"{least:.2g}"
        said += f" (smallest detectable difference: {size} {unit})"
    return said, answer
