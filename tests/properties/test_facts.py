"""Properties of facts and data files: any text is kept exactly or refused in one sentence."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from lib.data.facts import Case, Fact, Probe, encode_prompt, encode_target, fill, lookup
from lib.data.negation import negate
from lib.data.normalized_text import around, normalized
from lib.data.readers import read_cases
from lib.errors import FactError

from ..support import tiny

ANY = st.text(st.characters(), max_size=20)  # every character, half ones (surrogates) too
WHOLE = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
TEXT = WHOLE.filter(lambda text: normalized(text) and "{}" not in normalized(text))


def encodable(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


@st.composite
def facts(draw) -> Fact:
    """A fact with a subject, whose mark stands anywhere."""
    head, tail = draw(st.tuples(WHOLE | st.just(""), WHOLE | st.just("")))
    assume(normalized(head + "{}" + tail).count("{}") == 1)
    return Fact(draw(TEXT), head + "{}" + tail, draw(TEXT), draw(TEXT))


def one_sentence(error: Exception) -> None:
    assert str(error) and "\n" not in str(error)
    str(error).encode()  # can be printed, sent and logged


@given(ANY | st.none(), ANY, ANY, ANY | st.none())
@example("\ud800", "{} is", "x", None)
@example("a", "{} is \udfff", "x", "y")
def test_a_fact_is_kept_exactly_or_refused_in_one_sentence(subject, prompt, new, true):
    texts = [text if text is None else normalized(text) for text in (subject, prompt, new, true)]
    marks = texts[1].count("{}")
    fine = all(text is None or text and encodable(text) for text in texts)
    fine = fine and marks == (subject is not None)
    try:
        fact = Fact(subject, prompt, new, true)
    except FactError as error:
        one_sentence(error)
        assert not fine
    else:
        assert fine
        assert [fact.subject, fact.target_new, fact.target_true] == [texts[0], *texts[2:]]
        # a blank at the subject's end that parts it from the next word stands in the prompt
        assert fact.prompt.replace(" {", "{").replace("} ", "}") == (
            texts[1].replace(" {", "{").replace("} ", "}")
        )
        assert fact == Fact(fact.subject, fact.prompt, fact.target_new, fact.target_true)
        assert hash(fact) == hash(Fact(subject, prompt, new, true))


@given(TEXT, WHOLE, WHOLE, TEXT)
def test_a_subject_is_found_where_it_occurs_once(subject, head, tail, new):
    prompt = head + subject + tail
    assume("{}" not in prompt)
    try:
        fact = Fact.find(prompt, subject, new)
    except FactError as error:
        one_sentence(error)
        assert len(around(normalized(subject), normalized(prompt))) != 1
    else:
        assert fact.text == normalized(prompt)


@given(ANY, ANY)
def test_filling_replaces_the_one_mark(template, text):
    try:
        filled = fill(template, text)
    except FactError as error:
        one_sentence(error)
        assert template.count("{}") != 1
    else:
        head, _, tail = template.partition("{}")
        assert filled == head + text + tail


def span_is_right(tokenizer, fact: Fact, template: str = "{}") -> None:
    """The lookup token ends the subject: decoded up to it, the text reaches the subject's end."""
    ids, at = lookup(tokenizer, fact, template)
    text = fill(template, fact.text)
    end = template.index("{}") + fact.prompt.index("{}") + len(fact.subject.rstrip())
    assert ids == encode_prompt(tokenizer, text)
    read = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    assert read[at][0] < end  # it begins inside the subject or before it
    later = [start for start, stop in read[at + 1 :] if stop > start]
    assert not later or later[0] >= end or read[at][0] <= later[0] < end <= read[at][1]


@given(facts(), st.sampled_from(["{}", "Yesterday. {}", "東京 {}", "a\n{} b"]))
def test_the_lookup_token_is_the_subjects_last(fact, template):
    span_is_right(tiny.tokenizer(), fact, template)


@settings(max_examples=60)
@given(facts())
def test_the_lookup_token_of_the_embedded_tokenizer(default_lm, fact):
    span_is_right(default_lm.tokenizer, fact)


@given(ANY)
def test_an_answer_keeps_its_text(target):
    tokenizer = tiny.tokenizer()
    try:
        ids = encode_target(tokenizer, target)
    except FactError as error:
        one_sentence(error)
        assert not normalized(target) or not encodable(target)
    else:
        said = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        assert said == " " + normalized(target)


@given(facts())
def test_a_negated_prompt_keeps_the_subject(fact):
    assert fact.subject in negate(fact) and negate(fact) != fact.text


probes = st.lists(st.builds(Probe, TEXT, TEXT), max_size=2)
cases = st.builds(
    Case, facts(), st.lists(TEXT, max_size=2), probes, st.lists(TEXT, max_size=2), probes,
    id=st.integers(-(2**63), 2**63) | TEXT, relation=TEXT | st.none(),
)  # fmt: skip


def row(case: Case) -> dict:
    """A case in the library's own format."""
    fact = case.fact
    return {
        "id": case.id, "relation": case.relation, "subject": fact.subject, "prompt": fact.prompt,
        "target_new": fact.target_new, "target_true": fact.target_true,
        "paraphrases": case.paraphrases, "locality": case.locality,
        "neighborhood": [vars(probe) for probe in case.neighborhood],
        "portability": [vars(probe) for probe in case.portability],
    }  # fmt: skip


@settings(max_examples=30)
@given(st.lists(cases, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_cases_come_back_from_every_form_of_a_file(wanted, ascii_only, indented):
    rows = [row(case) for case in wanted]
    lines = "\n".join(json.dumps(r, ensure_ascii=ascii_only) for r in rows)
    whole = json.dumps({"cases": rows}, ensure_ascii=ascii_only, indent=2 if indented else None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.json"
        path.write_bytes(lines.encode())
        assert read_cases(path) == wanted
        path.write_bytes(whole.encode())
        assert read_cases(path) == wanted
