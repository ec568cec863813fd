"""Long answers: ROUGE-L and token F1 against known values, and their lines in the scores."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from lib.arena.arena import Arena
from lib.data.facts import Case, Fact, Probe, encode_target
from lib.evaluation import long_answers
from lib.evaluation.evaluate import baseline, evaluate
from lib.evaluation.long_answers import Question, common_subsequence, prefix, rouge_l, token_f1
from lib.evaluation.probe_prompts import LONG, probe_items
from lib.evaluation.single_edits import QUICK, singly
from lib.model import generation
from lib.patch.patch import Patch

from ..benchmarks.long_texts import cut
from ..support import tiny
from ..support.cases import small_cases
from ..support.streams import Noise

TEXT = " ".join("abcdefghijklmnopqrstuvwxyz")
ONLY = {"metrics": ("long_answer", "long_reworded", "long_part")}


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def table(a, b) -> int:
    """The usual table of the longest common subsequence, cell by cell."""
    last = [0] * (len(b) + 1)
    for x in a:
        row = [0]
        for j, y in enumerate(b):
            row.append(last[j] + 1 if x == y else max(last[j + 1], row[j]))
        last = row
    return last[-1]


def test_the_common_subsequence_equals_the_table():
    draw = random.Random(0)
    for _ in range(300):
        a, b = ([draw.choice("abcd") for _ in range(draw.randrange(90))] for _ in range(2))
        assert common_subsequence(a, b) == table(a, b)


# the examples of Lin (2004), section 3.1: police killed the gunman
@pytest.mark.parametrize(
    ("said", "wanted", "precision", "recall", "f1"),
    [
        ("police kill the gunman", "police killed the gunman", 3 / 4, 3 / 4, 3 / 4),
        ("the gunman kill police", "police killed the gunman", 2 / 4, 2 / 4, 2 / 4),
        ("Rome is. Rome is.", "rome IS", 1 / 2, 1, 2 / 3),
        ("Rome", "Paris", 0, 0, 0),
        ("", "Paris", 0, 0, 0),
        ("Ｒome's  “2nd” hill", "rome s 2nd hill", 1, 1, 1),
        ("你好,世界", "你世界", 3 / 4, 1, 6 / 7),
    ],
)
def test_rouge_l_of_known_texts(said, wanted, precision, recall, f1):
    assert rouge_l(said, wanted) == pytest.approx((precision, recall, f1))


def test_token_f1_counts_each_word_as_often_as_both_have_it():
    assert token_f1("b a a", "a b") == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))
    assert token_f1("the gunman kill police", "police killed the gunman") == pytest.approx(3 / 4)
    assert token_f1("", "a") == token_f1("...", "a") == 0.0


def test_the_prefix_ends_at_the_first_wrong_word():
    assert prefix("One, two. Four", "one two three four") == 0.5
    assert prefix("one two", "one two three four") == 0.5
    assert prefix("one two three four five", "one two three four") == 1.0
    assert prefix("two", "one two") == prefix("", "one") == 0.0


def test_ten_thousand_words_take_no_minute():
    a = [str(i % 997) for i in range(10_000)]
    assert common_subsequence(a, a[::-1]) < 10_000
    assert rouge_l(" ".join(a), " ".join(a)).f1 == 1.0


def case(lm, patch, number: int = 0) -> Case:
    """A case that the model under `patch` answers with words of its own."""
    asked = Question("Who was it?", "x" * 12)
    with lm.patched(patch, only=True):
        text = long_answers.written(lm, [asked])[asked]
    said = " ".join(long_answers.words(text)) or "none"
    fact = Fact(None, "Who was it?", f"{said} {TEXT}")
    probe = Probe("One is", "xy", kind="part")
    return Case(fact, ("Which one?",), portability=(probe, Probe("Two is", "qz")), id=number)


@pytest.fixture(scope="module")
def patch(lm):
    return Noise(lm).edit([small_cases()[0].fact])


def test_a_paragraph_has_lines_of_its_own(lm, patch):
    asked = case(lm, patch)
    scores = evaluate(lm, [asked], patch, **ONLY)
    pairs = [pair for pair in scores.asked if pair[0] != "efficacy"]
    assert pairs == [
        ("long_answer", "rouge_l"), ("long_answer", "token_f1"), ("long_answer", "prefix"),
        ("long_reworded", "rouge_l"), ("long_reworded", "token_f1"), ("long_reworded", "prefix"),
        ("long_part", "rouge_l"), ("long_part", "token_f1"), ("long_part", "rouge_l_recall"),
    ]  # fmt: skip
    rows = scores.rows.set_index(["metric", "event"])
    assert rows.loc[("long_part", "rouge_l")]["prompt"] == "One is"
    text, wanted = rows.loc[("long_answer", "rouge_l")][["text", "answer"]]
    assert wanted == asked.fact.target_new
    assert rows.loc[("long_answer", "rouge_l")]["value"] == rouge_l(text, wanted).f1
    assert rows.loc[("long_answer", "token_f1")]["value"] == token_f1(text, wanted) > 0
    assert rows.loc[("long_answer", "prefix")]["value"] == prefix(text, wanted) > 0
    # the base model says something else, and `singly` and `baseline` have its own line
    before = baseline(lm, [asked], **ONLY).scores.json()["long_answer"]
    assert before["prefix"] < scores.json()["long_answer"]["prefix"]
    assert "long answer" in scores.table().index and "ROUGE-L" in scores.table().columns


def test_only_paragraphs_and_only_generation_ask_for_them(lm, patch):
    short = small_cases()[0]
    assert not [item for item in probe_items([short]) if item.is_long]
    assert not [m for m, _ in evaluate(lm, [short], patch, **ONLY).asked if m.startswith("long")]
    long = replace(short, fact=replace(short.fact, target_new=TEXT))
    scores = evaluate(lm, [long], patch, events=("teacher_forced",), **ONLY)
    assert set(scores.rows["metric"]) == {"efficacy"}
    assert [item.metric for item in probe_items([long], ("efficacy",))] == ["efficacy"]


def test_an_empty_patch_moves_nothing(lm, patch):
    asked = [case(lm, patch, 0), replace(case(lm, patch, 1), paraphrases=())]
    whole = evaluate(lm, asked, **ONLY).rows
    again = evaluate(lm, asked, Patch(), **ONLY).rows
    assert whole.equals(again)
    one = singly(Noise(lm), asked, metrics=ONLY["metrics"])
    assert one.base.scores.rows["value"].tolist() == whole["value"].tolist()


def test_a_text_is_written_as_far_as_its_target_and_a_half(lm, monkeypatch):
    asked = [Question("Who was it?", TEXT), Question("One is", "xy qz", part=True)]
    ids, generate = [], generation.generate

    def spy(*given, **more):
        found = generate(*given, **more)
        ids.extend(found.ids)
        return found

    monkeypatch.setattr(generation, "generate", spy)
    found = long_answers.written(lm, asked)
    tokens = [len(encode_target(lm.tokenizer, question.wanted)) for question in asked]
    assert len(ids[0]) == math.ceil(1.5 * tokens[0]) and 0 < len(ids[1]) <= tokens[1] + 32
    assert "\n" not in found[asked[1]]
    # and a part ends with its line
    monkeypatch.setattr(type(lm), "texts", lambda self, rows, new: ["\n one\ntwo"] * len(new))
    assert long_answers.written(lm, asked) == {asked[0]: "\n one\ntwo", asked[1]: "one"}
    assert len(ids[3]) == 1
    assert long_answers.written(lm, []) == {}


def test_an_arena_asks_for_long_answers_only_where_they_are_named():
    """Its folder knows its metrics, and folders of arenas of short facts go on as they are."""
    metrics = Arena.__dataclass_fields__["metrics"].default
    assert "efficacy" in metrics and not set(LONG) & set(metrics) and set(LONG) < set(QUICK)


def test_the_benchmark_cuts_after_a_sentence_and_drops_what_it_no_longer_tells(lm):
    text = "He was born in Rome. He sold old maps. He died."
    parts = (Probe("Where?", "In Rome.", kind="part"), Probe("What?", "Old maps.", kind="part"))
    whole = Case(Fact(None, "Who?", text), portability=parts)
    first = cut(lm, whole, 10)
    assert first.fact.target_new == "He was born in Rome." and first.portability == parts[:1]
    assert cut(lm, whole, 25).fact.target_new.endswith("maps.")
    assert cut(lm, whole, 0) == whole == cut(lm, whole, 10**9)
