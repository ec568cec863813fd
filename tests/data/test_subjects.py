"""The subject of a sentence: what the rule finds, and that it refuses where it cannot tell."""

from __future__ import annotations

import time

import pytest

import lib

FOUND = {
    "The Eiffel Tower is in": "The Eiffel Tower",
    "The mother tongue of Danielle Darrieux is": "Danielle Darrieux",
    "What artist created Call the Doctor?": "Call the Doctor",
    "Ann Cusack's profession is an": "Ann Cusack",
    "When was Ploughmen's Front established?": "Ploughmen's Front",
    "In Quebec City, an official language is": "Quebec City",
    "What is the twin city of Lyon? It is": "Lyon",
    "Who is the mother of Princess Athena of Denmark?": "Princess Athena of Denmark",
    "In what city did T. S. Eliot die?": "T. S. Eliot",
    'Who wrote "Zero for Conduct"?': "Zero for Conduct",
    "Time Machine (macOS) was a product of": "Time Machine (macOS)",
    "RC-135 is created by": "RC-135",
}
REFUSED = {
    "roti was created in": "No word of .* looks like a name",
    "It is in": "No word of .* looks like a name",
    "Did Anna meet Bert?": "may be 'Anna' or 'Bert'",
    "One, Two, Three, Four is by": "may be 'One' or 'Two' or 'Three' or another",
    "Ben Yehuda Street bombings can be found in": "'Ben Yehuda Street' in .* may be only part",
    "In Cold Blood was written by": "'Cold Blood' in .* may be only part",
    "Who Framed Roger Rabbit premiered in": "'Framed Roger Rabbit' in .* may be only part",
    "{} is in": "has a {}, but there is no subject",
    "{subject} lies in Italy, in": "has a {subject}, but there is no subject",
    "[X] borders Italy and": r"has a \[X\], but there is no subject",
    "____ is the capital of Italy and": "has a ____, but there is no subject",
    "Rome " * 1000: "5000 characters is too long",
    " ": "The sentence is empty",
    "?!\"')(": "No word of",
}


@pytest.mark.parametrize("sentence", FOUND)
def test_the_subject_is_found(sentence):
    fact = lib.Fact.from_sentence(sentence, "x", "y")
    assert fact.subject == FOUND[sentence] and fact.prompt.count("{}") == 1
    assert fact.text == sentence and (fact.target_new, fact.target_true) == ("x", "y")


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_sentence_is_refused_that_leaves_the_subject_open(sentence):
    with pytest.raises(lib.errors.FactError, match=REFUSED[sentence]):
        lib.Fact.from_sentence(sentence, "x")


def test_a_name_that_stands_there_twice_is_refused():
    with pytest.raises(lib.errors.FactError, match="may be 'Rome' or 'Rome'"):
        lib.Fact.from_sentence("Rome is the capital of Rome", "x")


@pytest.mark.parametrize("sentence", [None, 7, ["Rome is in"], b"Rome is in", "\ud800 Rome is in"])
def test_what_is_no_text_is_refused(sentence):
    with pytest.raises(lib.errors.FactError, match="The sentence"):
        lib.Fact.from_sentence(sentence, "x")


def test_a_long_sentence_takes_no_time():
    start = time.perf_counter()
    for text in ("A of " * 399, "(" * 1900 + "A", "A" + ")" * 1900, "'s" * 900, '"' * 1900):
        with pytest.raises(lib.errors.FactError):
            lib.Fact.from_sentence(text + " b", "x")
    assert time.perf_counter() - start < 1
