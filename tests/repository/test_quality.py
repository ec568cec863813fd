"""The quality benchmark: a run that is kept in parts gives what a run in one go gives."""

from __future__ import annotations

import pytest

import lib
from tests.benchmarks import quality

from ..support import tiny


def numbers(scores: lib.Scores) -> str:
    """The summary; KL of an edit that changes nothing is noise in the last bits."""
    found = scores.summary()
    return found[found["event"] != "kl_nats"].round(6).to_json()


@pytest.mark.slow
def test_a_run_in_parts_is_the_run_in_one_go_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "PART", 2)
    editor = lib.EDITORS["retrieval"](tiny.model("llama"))
    cases = [case for case in lib.classroom() if case.id % 2][:3]
    whole = lib.singly(editor, cases, progress=False)
    parted, base = quality.alone(editor, cases, tmp_path)
    assert numbers(parted) == numbers(whole) and numbers(base) == numbers(whole.base.scores)
    assert (parted.title, len(parted.seconds)) == (whole.title, 3)
    assert len(list(tmp_path.iterdir())) == 2
    made = []
    monkeypatch.setattr(editor, "edit", lambda facts, **_: made.append(facts) or lib.EMPTY)
    again, _ = quality.alone(editor, cases, tmp_path)
    assert numbers(again) == numbers(parted) and not made, "nothing is edited again"
    quality.alone(editor, cases[:2], tmp_path)
    assert len(made) == 2, "other cases are another run"
