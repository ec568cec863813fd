"""Rows that no choice saw: batches edit the base model, and what has ended is not run again."""

from __future__ import annotations

import lib
from lib.evaluation.asked_together import Base
from tests.benchmarks import paired

from ..support import tiny


def test_each_batch_edits_the_base_model_and_a_kept_run_is_read(tmp_path, monkeypatch):
    editor = lib.EDITORS["retrieval"](tiny.model("llama"))
    cases, base = lib.classroom()[:4], Base(editor.lm.identity)
    made, edit = [], editor.edit
    monkeypatch.setattr(editor, "edit", lambda facts, **_: made.append(len(facts)) or edit(facts))
    given = (editor.lm, editor, cases, 3, base, tmp_path / "retrieval.json")
    found, again = paired.alone(*given), paired.alone(*given)
    assert made == [3, 1] and set(found.rows["case"]) == {case.id for case in cases}
    assert again.summary().round(6).equals(found.summary().round(6))
    bare = paired.alone(editor.lm, None, cases, 3, base, tmp_path / "base.json")
    kept = bare.summary().set_index(["metric", "event"])["mean"]
    assert kept["locality", "generation"] == 1 and len(made) == 2


def test_a_stream_gives_each_point_beside_the_base_model(tmp_path):
    editor = lib.EDITORS["retrieval"](tiny.model("llama"))
    found = list(paired.stream(editor, lib.classroom()[:3], 1, [1, 3], tmp_path / "journal"))
    assert [point for point, _ in found] == [0, 1, 0, 3]
    assert {len(set(scores.rows["case"])) for point, scores in found if not point} == {3}
