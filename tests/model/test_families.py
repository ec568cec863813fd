"""The page of all families is what its command kept, and a family becomes again what it became."""

from __future__ import annotations

import pytest
import torch
import transformers
from packaging.version import parse as version

from ..support.usual import sample
from . import families

ROWS = families.kept_rows()


@pytest.mark.skipif(
    version(transformers.__version__) != families.MADE_WITH, reason="the page is of another release"
)
def test_the_page_is_that_of_the_rows():
    assert families.PAGE.read_text(encoding="utf-8") == families.page([*ROWS.values()])
    assert list(ROWS) == sorted(ROWS) and ROWS.keys() <= set(families.FAMILIES)


def test_no_traceback_of_ours_and_a_reason_for_each_that_is_not_edited():
    for family, row in ROWS.items():
        assert row["kind"] != "broken", row
        assert row["kind"] == "exact" or row["said"], family
        assert "not undone" not in row["said"] and "answers otherwise" not in row["said"], row


def test_a_name_that_is_no_family_changes_nothing():
    before = families.STORE.read_bytes(), families.PAGE.read_bytes()
    with pytest.raises(SystemExit, match="no causal family called nosuch"):
        families.main(["llama", "nosuch"])
    assert before == (families.STORE.read_bytes(), families.PAGE.read_bytes())


@families.of_older
def test_a_head_may_read_a_multiple_of_the_states():
    lm = families.built("minicpm3")
    assert lm.arch.logit_factor == pytest.approx(8)
    ids = torch.arange(5, 14)[None]
    with torch.no_grad():
        torch.testing.assert_close(lm.run(ids.tolist()).logits[0], lm.model(ids).logits[0])


@pytest.mark.slow
@families.of_older
@pytest.mark.parametrize("family", sample(ROWS, 8))
def test_a_family_becomes_what_it_became(family):
    found, kept = families.asked(family), ROWS[family]
    assert (found["kind"], found.get("editors")) == (kept["kind"], kept.get("editors"))
