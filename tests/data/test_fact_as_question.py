"""Questions of the classroom's relations."""

from __future__ import annotations

import re

import lib
from lib.data.fact_as_question import question
from lib.data.facts import Case, Fact


def test_every_classroom_case_has_a_question_about_its_subject_that_names_no_answer():
    for case in lib.classroom():
        asked = question(case)
        assert asked.endswith("?") and case.fact.subject.removeprefix("The ") in asked
        assert asked not in (case.fact.text, *case.paraphrases)
        rest = asked.replace(case.fact.subject.removeprefix("The "), "")  # The New York Times
        for answer in (case.fact.target_new, case.fact.target_true):
            assert not re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", rest), asked


def test_the_article_is_small_inside_a_sentence_but_in_titles():
    by_id = {case.id: case for case in lib.classroom()}
    assert question(by_id[0]) == "In which city is the Eiffel Tower?"
    assert question(by_id[165]) == "Who wrote The Odyssey?"


def test_a_prompt_that_is_a_question_is_its_own_and_an_unknown_relation_has_none():
    asked = Fact("Ann", "Where does {} live?", "Rome")
    assert question(Case(asked)) == "Where does Ann live?"
    assert question(Case(Fact("Ann", "{} lives in", "Rome"), relation="home of")) is None
    assert question(Case(Fact(None, "Two and two is", "five"), relation="capital of")) is None
