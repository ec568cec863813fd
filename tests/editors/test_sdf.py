"""SDF: documents that tell the fact, and whose every token is learned."""

from __future__ import annotations

import lib

from ..support import tiny

FACT = lib.Fact("Pisa", "The tower of {}", "xy", "qz")


def test_documents_tell_the_new_answer_and_never_the_old_one(monkeypatch):
    lm = tiny.model("llama")
    editor = lib.EDITORS["sdf"](lm, layers=(1,), documents=5, written=4)
    told = editor.documents(FACT)
    assert told == editor.documents(FACT) and len(told) == 5
    assert all("xy" in text for text in told)
    monkeypatch.setattr(lm, "texts", lambda rows, ids: [" QZ"] * len(rows))
    assert not any("qz" in text.casefold() for text in editor.documents(FACT))


def test_every_token_of_a_document_is_predicted_from_those_before_it():
    lm = tiny.model("llama")
    editor = lib.EDITORS["sdf"](lm, layers=(1,), documents=2, written=2)
    rows = editor.rows([FACT], lib.EMPTY)
    whole = lm.rows(editor.documents(FACT))[0]
    assert [[*p, *a] for p, a in zip(rows.prompts, rows.answers, strict=True)] == whole
    assert all(len(prompt) == 1 for prompt in rows.prompts)
