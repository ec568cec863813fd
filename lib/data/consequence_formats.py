"""Readers of the formats that ask for consequences of an edit: KnowEdit, RippleEdits and MQuAKE.

Each function makes the case of a row, or the cases of a row with several facts, and is told by the
keys above it (`row_keys.Format`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..errors import FactError
from .facts import Case, Fact, Probe, fill
from .row_keys import Options, Row, found_fact, reads

# how the files name their kinds; what is not listed keeps its own name
KINDS = {
    "Reasoning": "one-hop",
    "Compositionality_I": "one-hop",  # from the new answer one fact further
    "Compositionality_II": "one-hop",  # from another subject to the edited one
    "Subject_Aliasing": "alias",
    "Logical_Generalization": "logical",
    "Relation_Specificity": "same-subject",
    "Relation_Specifity": "same-subject",  # the spelling of the published file
    "Forgetfulness": "one-to-many",  # another answer that was right before and still is
}


@reads("KnowEdit", "subject, prompt, target_new, portability, locality", also="ground_truth")
def knowedit(row: Row, options: Options) -> Case:
    """wiki_recent and wiki_counterfact: the tests stand by kind, an answer is a list of names.

    `ground_truth` is the answer before the edit, which wiki_recent does not have. Some published
    tests have no answer (`[[]]`); they are left out.
    """
    return _knowedit(row, row.optional("ground_truth"), (), options)


@reads(
    "KnowEdit ZsRE",
    "subject, prompt, target_new, ground_truth, rephrase_prompt, portability, locality",
    also="cond",
)
def knowedit_zsre(row: Row, options: Options) -> Case:
    """KnowEdit's ZsRE, with one rewording and the old answers as a list."""
    right = row.answers("ground_truth")
    true = right[0] if right else None
    return _knowedit(row, true, (row.text("rephrase_prompt"),), options)


def _knowedit(row: Row, true: str | None, reworded: tuple[str, ...], options: Options) -> Case:
    """The case of the keys that both have.

    A logical generalization whose answer is the subject asks in the other direction: nearly all of
    ZsRE's do, and some of the others. A question that names the subject itself is none.
    """
    near = tuple(_by_kind(row.part("locality")))
    fact = row.fact(row.text("prompt"), row.text("target_new"), true, options)
    subject = (row["subject"] or "").casefold()
    follows = [
        replace(probe, kind="reverse")
        if probe.kind == "logical"
        and subject in map(str.casefold, probe.answers)
        and subject not in probe.prompt.casefold()
        else probe
        for probe in _by_kind(row.part("portability"))
    ]
    return Case(
        fact,
        paraphrases=reworded,
        neighborhood=near,
        locality=tuple(probe.prompt for probe in near),
        portability=options.follow(follows, true),
    )


@reads("KnowEdit WikiBio", "text, labels, concept, locality")
def wikibio(row: Row, options: Options) -> Case:
    """KnowEdit's WikiBio: the true next sentence of a biography that a model went on wrongly."""
    near = tuple(_by_kind(row.part("locality")))
    new, true = options.answers(row.text("labels"), None)
    return Case(
        found_fact(row.text("concept"), row.text("text"), new, true),
        neighborhood=near,
        locality=tuple(probe.prompt for probe in near),
    )


def _by_kind(groups: Row) -> Iterable[Probe]:
    """The probes of an object {kind: list of prompts with answers}."""
    for name in groups:
        if groups.has(name):
            kind = KINDS.get(name, name)
            for item in groups.parts(name):
                yield from item.probe("prompt", "ground_truth", kind=kind)


_SENTENCE = re.compile(r"(.*\s(?:is followed by|is|are|follows))\s+(\S.*)", re.S)
_CONSEQUENCES = (
    "Logical_Generalization",
    "Subject_Aliasing",
    "Compositionality_I",
    "Compositionality_II",
)


@reads(
    "RippleEdits",
    "edit, Logical_Generalization, Subject_Aliasing, Compositionality_I, Compositionality_II",
    also="Relation_Specifity, Relation_Specificity, Forgetfulness, example_type",
)
def rippleedits(row: Row, options: Options) -> Case:
    """A sentence as the edit, and tests by kind, each with conditions.

    The new answer is what follows the sentence's last verb. The conditions of a test are questions
    that the model had to answer before the edit; they become the parts of its probe. Where a test
    has several queries, each is a probe of its own, and of several answers one is enough, while the
    paper asks for all of them.
    """
    edit = row.part("edit")
    prompt, new = _parts(edit)
    original = edit.part("original_fact") if edit.has("original_fact") else None
    true = _parts(original)[1] if original else None
    # "COUNTRY_OF_BIRTH" -> "… country of birth of SUBJECT is"
    relation = edit.text("relation")
    words = re.escape(relation.replace("_", " "))
    named = re.search(rf"{words}s? of (.+) (?:is|are)$", prompt, re.I)
    spelled = "Relation_Specifity" if row.has("Relation_Specifity") else "Relation_Specificity"
    kept = [spelled, *(["Forgetfulness"] if row.has("Forgetfulness") else [])]
    near = tuple(probe for key in kept for probe in _queries(row, key))
    follows = [probe for key in _CONSEQUENCES for probe in _queries(row, key)]
    return Case(
        found_fact(named[1] if named else None, prompt, *options.answers(new, true)),
        neighborhood=near,
        locality=tuple(probe.prompt for probe in near),
        portability=options.follow(follows, true),
        relation=relation,
    )


def _parts(edit: Row) -> tuple[str, str]:
    """A sentence of RippleEdits as prompt and answer, which is what follows its last verb."""
    sentence = edit.text("prompt").strip()
    found = _SENTENCE.fullmatch(sentence.removesuffix("."))
    if found is None:
        raise FactError("key 'prompt' has no 'is', 'are' or 'follows' in front of an answer")
    return found[1], found[2]


def _queries(row: Row, key: str) -> Iterable[Probe]:
    """The test queries of a kind, with the conditions as their parts."""
    for test in row.parts(key):
        parts = [p for query in test.parts("condition_queries") for p in _query(query)]
        for query in test.parts("test_queries"):
            for probe in _query(query):
                yield Probe(
                    probe.prompt, probe.target, probe.aliases, KINDS[key], parts=tuple(parts)
                )


def _query(query: Row) -> tuple[Probe, ...]:
    """One query with all its answers and their other names; none without an answer."""
    prompt, answers = query.text("prompt"), query.parts("answers")
    right = [
        text for one in answers for text in (one.text("value"), *one.texts("aliases", short=True))
    ]
    return (Probe(prompt, right[0], tuple(right[1:])),) if right else ()


@reads(
    "MQuAKE or AKEW",
    "requested_rewrite, questions, new_answer, new_answer_alias, new_single_hops",
    also="answer, answer_alias, single_hops, orig",
)
def mquake(row: Row, options: Options) -> list[Case]:
    """One case for each edit of a row; the last has the question that follows from all of them.

    The question has three wordings, and one right answer is enough. Its parts are those facts of
    the chain that no edit of the row writes. With `target="true"` the chain before the edits is
    asked for instead. AKEW's rows have the same keys and state each new answer as a text.
    """
    edits = row.parts("requested_rewrite")
    if not edits:
        raise FactError("key 'requested_rewrite' is empty")
    if edits[0].has("fact_new_uns"):
        return _akew(row, edits, options._replace(target="new"))
    facts = [_rewrite(edit, options) for edit in edits]
    follows = [((), (edit.text("question"),)) for edit in edits]
    return _batch(row, edits, facts, follows, options)


def _akew(row: Row, edits: list[Row], options: Options) -> list[Case]:
    """MQuAKE's rows where each edit is a text that states the fact; its triples are asked as well.

    The texts state the new answers only, so `target="true"` changes nothing.
    """
    facts, follows = [], []
    for edit in edits:
        plain = _rewrite(edit, options)
        text = edit.text("fact_new_uns").strip()
        facts.append(found_fact(plain.subject, edit.text("question"), text))
        parts = [Probe(plain.text, plain.target_new, kind="part")]
        for triple in edit.parts("unsfact_triplets_GPT"):
            prompt = triple.text("prompt")
            if "{}" in prompt:
                prompt = fill(prompt, triple.text("subject"))
            parts.append(Probe(prompt, triple.text("target"), kind="part"))
        follows.append((tuple(parts), ()))
    return _batch(row, edits, facts, follows, options)


def _rewrite(edit: Row, options: Options) -> Fact:
    """The fact of one edit, whose prompt has a `{}`."""
    new = edit.part("target_new").text("str")
    true = edit.part("target_true").text("str")
    return edit.fact(edit.text("prompt"), new, true, options, marked=True)


def _batch(
    row: Row,
    edits: list[Row],
    facts: list[Fact],
    follows: Sequence[tuple[tuple[Probe, ...], tuple[str, ...]]],
    options: Options,
) -> list[Case]:
    """The cases of a row's edits, each with its fact and its own (questions, rewordings)."""
    wordings = row.texts("questions")
    if not wordings:
        raise FactError("key 'questions' is empty")
    before = options.target == "true"
    right = row.text("answer" if before else "new_answer")
    aliases = row.texts("answer_alias" if before else "new_answer_alias", short=True)
    written = {edit.text("question") for edit in edits}
    hops = [
        Probe(
            hop.text("cloze"),
            hop.text("answer"),
            hop.texts("answer_alias", short=True),
            wordings=(hop.text("question"),),
        )
        for hop in row.parts("single_hops" if before else "new_single_hops")
    ]
    parts = [hop for hop in hops if hop.wordings[0] not in written]
    last = Probe(wordings[0], right, aliases, "multi-hop", wordings[1:], tuple(parts))
    return [
        Case(
            fact,
            paraphrases=reworded,
            portability=(*own, last) if number == len(facts) - 1 else own,
            relation=edit.optional("relation_id"),
        )
        for number, (edit, fact, (own, reworded)) in enumerate(
            zip(edits, facts, follows, strict=True)
        )
    ]
