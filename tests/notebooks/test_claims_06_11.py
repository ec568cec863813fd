"""What notebook 06 reads off the stored rows of CrispEdit's claims."""

from __future__ import annotations

import pytest

from notebooks.support import flat_06


def made_up():
    rows = []
    for draw in (0, 1):
        rows.append({"draw": draw, "arm": "unedited", "rewordings": [0.0], "neighbors": [1.0]})
        for place, arm in enumerate(flat_06.ARMS):
            own = {"draw": draw, "arm": arm, "steps": 5, "predicted": 1e-3 * (place + 1)}
            size = 2e-3 * (place + 1)  # the prediction is half of what is measured
            own["text"] = [[size * s * s, size * s * s] for s in (0.5, 1.0)]
            own |= {"tokens": [100, 50], "kl": [0.01 * place], "unrelated": [1.0]}
            own |= {"held": [1.0], "rewordings": [0.5], "neighbors": [1.0 - 0.1 * min(place, 5)]}
            rows.append(own)
    return rows, {"strengths": [0.5, 1.0]}


def test_the_theory_is_read_off_rows_that_follow_it():
    rows, settings = made_up()
    found = flat_06.theory(rows, settings)
    assert found["edits"] == 2 * len(flat_06.ARMS) and found["slope"] == pytest.approx(2.0)
    assert found["rank"] > 0.9 and found["factor"] == pytest.approx(2.0, rel=1e-3)


def test_arms_are_compared_over_the_same_cases():
    rows, _ = made_up()
    said = flat_06.paired(rows, "turned", "all directions", "neighbors")
    assert said.startswith("-30 points (95 %: ")
    assert flat_06.paired(rows, "inputs", "all directions", "text").startswith("+2.0 millinats")
    # a draw that one of them lacks does not count
    short = [row for row in rows if (row["arm"], row["draw"]) != ("inputs", 1)]
    assert flat_06.paired(short, "inputs", "all directions", "text").startswith("+2.0")
    (base, first, *others) = flat_06.table(rows)
    assert base["written (%)"] == "0" and first["steps"] == "5, 5"
    assert len(others) == len(flat_06.ARMS) - 1
