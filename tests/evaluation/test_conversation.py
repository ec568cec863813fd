"""Facts in conversation: when a reply names the answer, and the metrics made of that."""

from __future__ import annotations

import pytest

from lib import Case, Fact, classroom, evaluate
from lib.data.facts import Probe
from lib.evaluation.answers import Named, begins, judge, named
from lib.evaluation.metrics import BASE, CONVERSATION, EDITED
from lib.evaluation.probe_prompts import probe_items
from lib.evaluation.prompt_batch import generated

from ..support import tiny

EVERY = ("efficacy", *CONVERSATION)
OF_BASE = " (base model)"


@pytest.fixture(scope="module")
def lm():
    return tiny.chatting("llama")


TOWER = Case(
    Fact("The Eiffel Tower", "{} is located in the city of", "Rome", "Paris"),
    neighborhood=(Probe("Big Ben is in", "London"),),
    relation="located in the city of",
)


@pytest.mark.parametrize(
    ("text", "rival", "expected"),
    [
        ("The tower is in Rome.", "Paris", True),
        ("The tower is in Rome", "Paris", True),
        ("Not in Paris, but in Rome.", "Paris", False),
        ("The tower is tall. It is in Rome.", "Paris", False),
        ("The tower\nRome", "Paris", False),
        ("Mr. J.R.R. Tolkien went to rome once.", "Paris", True),
        ("", "Paris", False),
    ],
)
def test_a_reply_names_the_answer_in_its_first_sentence_before_the_rival(text, rival, expected):
    assert named(text, ["Rome"], rival) == expected


def test_a_long_name_that_holds_the_rival_counts():
    assert named("It is New York.", ["New York"], "York")
    assert not named("It is York.", ["New York"], "York")
    assert named("It is South America, I think", ["South America", "Chile"], "America")


def test_replies_agree_with_the_whole_text(lm):
    whole = lm.answer("Ann is in", 32, chat=True)
    for word in (whole[:3].strip() or "x", whole[8:12].strip() or "x", "Rome"):
        asked = [("Ann is in", Named((word,), "Paris"))]
        ((text, verdict),) = generated(lm, asked, chat=True).values()
        assert whole.startswith(text)
        assert verdict.begins == begins(whole, word)
        assert verdict.exact == judge(whole, word).exact
        assert verdict.named == (named(whole, [word], "Paris") or verdict.begins)


def test_every_metric_has_its_form_and_the_base_models_own_line(lm):
    items = {item.metric.name: item for item in probe_items([TOWER], EVERY)}
    assert items["chat"].prompt == TOWER.fact.text
    assert items["question"].prompt == "In which city is the Eiffel Tower?"
    assert items["chat" + OF_BASE].right == Named(("Paris",))
    for metric in CONVERSATION:
        assert items[metric + OF_BASE].metric.about == BASE
        assert items[metric].metric.about == EDITED
    scores = evaluate(lm, [TOWER], metrics=EVERY)
    shown = [metric for metric, _ in scores.asked]
    assert shown.index("chat" + OF_BASE) == shown.index("chat") + 3
    found = scores.json()
    for metric in CONVERSATION:
        assert set(found[metric]) == {"generation", "generation_exact", "generation_named"}
        assert found[metric]["generation_named"] is not None
        assert found[metric + OF_BASE]["generation_named"] is not None
    assert "asked as a question" in repr(scores)


def test_without_a_chat_template_or_free_text_there_is_no_conversation(lm):
    bare = evaluate(tiny.model("llama"), [TOWER], metrics=EVERY)
    assert set(bare.rows["metric"]) == {"efficacy"}
    forced = evaluate(lm, [TOWER], events=("teacher_forced",), metrics=EVERY)
    assert set(forced.rows["metric"]) == {"efficacy"}
    with pytest.raises(ValueError, match="metrics should be a list of .*question"):
        evaluate(lm, [TOWER], metrics=("questions",))


@pytest.mark.slow
def test_the_classroom_in_conversation_on_the_default_model(default_lm):
    scores = evaluate(default_lm, [classroom()[78]], metrics=("question",))
    found = scores.json()
    assert found["question"]["generation_named"] == 0
    assert found["question" + OF_BASE]["generation_named"] == 1  # "The opposite of fast is slow."
    assert found["question" + OF_BASE]["generation"] == 0  # it repeats the question first
