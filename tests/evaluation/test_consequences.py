"""Questions about consequences: a line for each kind, and only questions whose parts are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lib.data.facts import Probe
from lib.evaluation.answers import begins
from lib.evaluation.evaluate import baseline, evaluate
from lib.evaluation.single_edits import singly
from lib.lifelong.stream import stream
from lib.patch.patch import EMPTY, Patch

from ..support import tiny
from ..support.cases import small_cases
from ..support.streams import Noise

ONLY = {"metrics": ("portability",)}


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


@pytest.fixture(scope="module")
def patch(lm):
    W = lm.weight(lm.mlp_out(1))
    torch.manual_seed(3)
    return Patch({lm.mlp_out(1): W + 0.3 * torch.randn_like(W)}, base=lm.identity)


def said(lm, prompt: str, patch: Patch = EMPTY) -> str:
    """An answer that the model gives, as a target that is judged right."""
    with lm.patched(patch, only=True):
        text = lm.answer(prompt, max_new_tokens=32)
    target = text.split()[0]
    assert begins(text, target)
    return target


def asking(*probes: Probe, number: int = 0):
    return replace(small_cases()[number], portability=probes)


def values(scores, metric: str, event: str = "generation") -> list[float]:
    rows = scores.rows
    return rows[(rows["metric"] == metric) & (rows["event"] == event)]["value"].tolist()


def test_each_kind_has_a_line_of_its_own_beside_the_base_models(lm, patch):
    now, before = said(lm, "One is", patch), said(lm, "Two is")
    case = asking(
        Probe("One is", now, kind="alias"),
        Probe("Two is", before, kind="alias"),
        Probe("Two is", before, kind="reverse"),
        Probe("Three is", "zzz"),
    )
    scores = evaluate(lm, [case], patch, **ONLY)
    pooled = values(scores, "portability")
    assert len(pooled) == 4 and pooled[3] == 0.0
    assert values(scores, "portability: alias") == pooled[:2] and pooled[0] == 1.0
    assert values(scores, "portability: reverse") == pooled[2:3]
    assert values(scores, "portability: alias (base model)")[1] == 1.0
    assert values(scores, "portability: reverse (base model)") == [1.0]
    named = [metric for metric, _ in dict.fromkeys((m, None) for m, _ in scores.asked)]
    assert named == [
        "efficacy",
        "portability",
        "portability: alias",
        "portability: alias (base model)",
        "portability: reverse",
        "portability: reverse (base model)",
    ]
    assert set(scores.table().index) == set(named)
    line = scores.summary().set_index(["metric", "event"]).loc[("portability: alias", "generation")]
    assert line["prompts"] == 2 and line["low"] <= line["mean"] <= line["high"]


def test_an_empty_patch_scores_what_the_base_model_scores(lm):
    probes = [Probe(f"{word} is", said(lm, f"{word} is"), kind="one-hop") for word in "abc"]
    probes += [Probe(f"{word} was", "zzz", kind="one-hop") for word in "ab"]
    scores = evaluate(lm, [asking(*probes)], **ONLY)
    for event in ("generation", "generation_exact"):
        own = values(scores, "portability: one-hop", event)
        assert own == values(scores, "portability: one-hop (base model)", event)
    assert values(scores, "portability: one-hop") == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_only_questions_whose_parts_the_base_model_knows_count(lm, patch):
    known = Probe("One is", "zzz", (said(lm, "One is"),))  # by an alias
    other = Probe("zz zz", "zzz", wordings=("Two is",), aliases=(said(lm, "Two is"),))
    unknown = Probe("Three is", "qqq")
    asked = {"a": (known,), "b": (known, other), "c": (known, unknown), "d": (), "e": (unknown,)}
    probes = [Probe(f"{name} is", "x", kind="multi-hop", parts=p) for name, p in asked.items()]
    scores = evaluate(lm, [asking(*probes), asking(probes[4], number=1)], patch, **ONLY)
    rows = scores.rows
    for metric in ("portability", "portability: multi-hop", "portability: multi-hop (base model)"):
        counted = rows[(rows["metric"] == metric) & (rows["event"] == "generation")]
        assert counted["prompt"].tolist() == ["a is", "b is", "d is"], metric
    assert values(scores, "portability: multi-hop (parts known)") == [1.0, 1.0, 0.0, 0.0, 0.0]
    told = " ".join(repr(scores).split())  # it is broken into lines
    assert (
        "portability: multi-hop: 2 of 5 questions count, those whose parts the base model" in told
    )
    # the base model is asked the same whichever patch is measured, and once
    base = baseline(lm, [asking(*probes)], **ONLY)
    known = dict(base.generated)
    again = evaluate(lm, [asking(*probes)], patch, base=base, **ONLY)
    assert base.generated == known
    assert values(again, "portability: multi-hop (parts known)")[:2] == [1.0, 1.0]
    # where no question is left, the line is left out
    none = evaluate(lm, [asking(probes[4])], patch, **ONLY)
    assert values(none, "portability") == []
    assert "portability: multi-hop" not in none.table().index
    silent = evaluate(lm, [asking(*probes)], patch, ("teacher_forced",), **ONLY)
    assert len(values(silent, "portability: multi-hop", "teacher_forced")) == 3


def test_any_alias_of_any_wording_is_enough(lm, patch):
    now = said(lm, "One is", patch)
    asked = {
        "alias": Probe("One is", "zzz", aliases=("yyy", now), kind="alias"),
        "wording": Probe("zz zz", now, wordings=("yy yy", "One is"), kind="reverse"),
        "none": Probe("zz zz", "zzz", aliases=("yyy",), wordings=("One is",), kind="logical"),
    }
    scores = evaluate(lm, [asking(*asked.values())], patch, **ONLY)
    assert [values(scores, f"portability: {probe.kind}") for probe in asked.values()] == [
        [1.0],
        [1.0],
        [0.0],
    ]
    rows = scores.rows[scores.rows["metric"] == "portability: reverse"]
    (text,) = rows[rows["event"] == "generation"]["text"]
    assert begins(text, now)  # the text is that of the wording that was answered


def test_the_facts_of_a_batch_are_one_edit(lm, monkeypatch):
    first, second, third, fourth = small_cases()
    asked = Probe("Both are", "x", kind="multi-hop")
    cases = [
        first,
        replace(second, batch="b"),
        replace(third, batch="b", portability=(asked,)),
        fourth,
    ]
    edited, editor = [], Noise(lm)
    edit = editor.edit
    monkeypatch.setattr(editor, "edit", lambda facts, **_: edited.append(facts) or edit(facts))
    scores = singly(editor, cases, metrics=("portability",))
    assert edited == [[first.fact], [second.fact, third.fact], [fourth.fact]]
    assert len(scores.seconds) == 3 and "3 single edits" in scores.title
    assert list(dict.fromkeys(scores.rows["case"])) == [case.id for case in cases]
    assert ("portability: multi-hop", "generation") in scores.asked
    together = evaluate(lm, cases[1:3], edit([second.fact, third.fact]), pool=cases, **ONLY)
    one = scores.rows[scores.rows["case"] == third.id].reset_index(drop=True)
    two = together.rows[together.rows["case"] == third.id].reset_index(drop=True)
    assert one.equals(two)


def test_a_stream_has_the_lines_too_and_leaves_out_what_a_later_edit_contradicts(lm, tmp_path):
    cases = small_cases()
    asked = Probe("One is", "x", kind="alias", parts=(Probe("Two is", said(lm, "Two is")),))
    cases[0] = replace(cases[0], portability=(asked,))
    changed = replace(cases[0], fact=replace(cases[0].fact, target_new="Bern"), id="later")
    cases[1] = replace(cases[1], portability=(asked,))
    given = {"batch_size": 2, "evaluate_with": ONLY, "journal": tmp_path / "run"}
    run = stream(lm, Noise(lm), [*cases, changed], **given).finish()
    scores = run.scores[5]
    # of three facts with this question the first is contradicted
    assert "portability: alias: 2 of 2 questions count" in repr(scores)
    assert repr(stream(lm, Noise(lm), [*cases, changed], **given).scores[5]) == repr(scores)
    assert ("portability: alias (base model)", "generation") in scores.asked
    assert run.contradicted[5] == 1
    of = {
        metric: set(rows["case"])
        for metric, rows in scores.rows.groupby("metric")
        if metric.startswith("portability: ")
    }
    assert of and all(names == {"c1", "later"} for names in of.values())
