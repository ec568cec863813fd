"""What notebook 11 reads off the stored rows of HoReN's claims."""

from __future__ import annotations

from notebooks.support import horen_11


def test_ways_are_compared_over_the_same_cases():
    rows = [
        {"way": way, "crowd": 0, "at_general": values, "own_entry": values}
        for way, values in (("last, angle", [1.0, 0.5]), ("mean, angle", [0.5, 0.5]))
    ]
    said = horen_11.paired(rows, "mean, angle", "last, angle", "at_general")
    assert said.startswith("-25 points (95 %: ")
