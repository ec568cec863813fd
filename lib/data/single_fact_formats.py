"""Readers of the formats with one fact in a row, a few rewordings and a few unrelated prompts.

Each function makes the case of a row, and is told by the keys above it (`row_keys.Format`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import FactError
from .facts import Case, Probe, fill
from .row_keys import Options, Row, found_fact, reads


@reads(
    "CounterFact",
    "requested_rewrite, paraphrase_prompts, neighborhood_prompts",
    also=(
        "portability, unrelated_relation, distracting_neighborhood_prompts, alternative_subject, "
        "pararel_idx"
    ),
)
def counterfact(row: Row, options: Options) -> Case:
    """The published file: the fact stands in `requested_rewrite`, its prompt with a `{}`.

    CounterFact plus (EasyEdit) adds keys with tests: a question one hop further, another name of
    the subject, another property of it, and neighborhood prompts behind the edited sentence.
    """
    rewrite = row.part("requested_rewrite")
    prompt = rewrite.text("prompt")
    new = rewrite.part("target_new").text("str")
    true = rewrite.part("target_true").text("str")
    fact = rewrite.fact(prompt, new, true, options, marked=True)
    # other subjects with the same true answer
    near = [Probe(text, true) for text in row.texts("neighborhood_prompts")]
    if row.has("distracting_neighborhood_prompts"):
        near += [
            Probe(text, true, kind="distracting")
            for text in row.texts("distracting_neighborhood_prompts")
        ]
    if row.has("unrelated_relation"):
        near += row.part("unrelated_relation").probe("question", "object", kind="same-subject")
    follows = list(_one_hop(row))
    if row.has("alternative_subject"):
        asked = fill(fact.prompt, row.text("alternative_subject"))
        follows.append(Probe(asked, new, kind="alias"))
    return Case(
        fact,
        paraphrases=row.texts("paraphrase_prompts", fact.subject),
        neighborhood=tuple(near),
        portability=options.follow(follows, true),
        relation=rewrite.optional("relation_id"),
    )


@reads(
    "CounterFact, flat",
    "subject, prompt, target_new, ground_truth, rephrase_prompt, locality_prompt, "
    "locality_ground_truth",
)
def counterfact_flat(row: Row, options: Options) -> Case:
    """The copy whose keys all stand at the top, with one rewording and one neighborhood prompt."""
    new, true = row.text("target_new"), row.text("ground_truth")
    near = Probe(row.text("locality_prompt"), row.text("locality_ground_truth"))
    return Case(
        row.fact(row.text("prompt"), new, true, options),
        paraphrases=(row.text("rephrase_prompt"),),
        neighborhood=(near,),
    )


@reads(
    "ZsRE",
    "subject, src, rephrase, loc, loc_ans",
    also="alt, ans, answers, portability, pred, cond",
)
def zsre(row: Row, options: Options) -> Case | None:
    """The published file teaches `alt`; UltraEdit's copy has the one answer `ans` instead.

    The file of ZsRE plus (EasyEdit) that asks one hop further has one key more.
    """
    around = row.unrelated(row.text("loc") + options.unrelated_suffix, "loc_ans")
    return _zsre(row, options, lambda new: _one_hop(row), **around)


@reads(
    "ZsRE plus, reverse",
    "subject, src, rephrase, alt, inverse question",
    also="answers, pred, cond",
)
def zsre_reverse(row: Row, options: Options) -> Case | None:
    """The file of ZsRE plus that asks back from the new answer; it has no unrelated question."""
    back = Probe(row.text("inverse question"), row.text("subject"), kind="reverse")
    return _zsre(row, options, lambda new: (back,))


@reads(
    "ZsRE plus, alias",
    "subject, src, rephrase, alt, alternative_subject, alter_subject_question",
    also="answers, pred, cond",
)
def zsre_alias(row: Row, options: Options) -> Case | None:
    """The file of ZsRE plus that calls the subject by another name, without unrelated question."""
    row.text("alternative_subject")  # stands in the question
    asked = row.text("alter_subject_question")
    return _zsre(row, options, lambda new: (Probe(asked, new, kind="alias"),))


def _zsre(
    row: Row, options: Options, follows: Callable[[str], tuple[Probe, ...]], **around: Any
) -> Case | None:
    """The case of ZsRE's keys.

    follows  The questions that follow from the answer it is given.
    around   The groups of unrelated prompts.
    """
    only, true_asked = row.has("ans"), options.target == "true" and not row.has("ans")
    right = row.texts("answers", short=True) if true_asked or row.has("answers") else ()
    if true_asked:
        if not right:
            raise FactError("key 'answers' is empty")
        new, true = right[0], None
    elif only and not row.has("alt"):
        new, true = row.text("ans"), None
    else:
        if row["alt"] == "":  # the published file has such rows: there is nothing to teach
            return None
        new, true = row.text("alt"), next(iter(right), None)
    return Case(
        row.fact(row.text("src"), new, true, options),
        paraphrases=(row.text("rephrase"),),
        portability=() if true_asked else follows(new.strip()),
        **around,
    )


@reads(
    "temporal", "subject, prompt, target_new, ood_rephrase, locality_prompt, locality_ground_truth"
)
def temporal(row: Row, options: Options) -> Case:
    """The text `ood_rephrase` is scored, not answered: its first word is the prompt of the rest."""
    word, *rest = row.text("ood_rephrase").split(None, 1)
    return Case(
        row.fact(row.text("prompt"), row.text("target_new"), None, options),
        portability=tuple(Probe(word, text) for text in rest),
        **row.unrelated(row.text("locality_prompt"), "locality_ground_truth"),
    )


@reads(
    "SelfCheckGPT hallucination",
    "subject, prompt, target_new, locality_prompt, locality_ground_truth",
)
def selfcheck(row: Row, options: Options) -> Case:
    """A text to write and one unrelated prompt, without rewordings."""
    return Case(
        row.fact(row.text("prompt"), row.text("target_new"), None, options),
        **row.unrelated(row.text("locality_prompt"), "locality_ground_truth"),
    )


@reads("known facts", "subject, prompt, attribute", also="relation_id, template, prediction")
def known_facts(row: Row, options: Options) -> Case:
    """A fact that a model knows, for tracing: its true answer stands where a new one would."""
    fact = row.fact(row.text("prompt"), row.text("attribute"), None, options)
    return Case(fact, relation=row.optional("relation_id"))


@reads(
    "this library's own",
    "subject, prompt, target_new",
    also="target_true, paraphrases, neighborhood, locality, portability, relation, batch",
)
def own(row: Row, options: Options) -> Case:
    """The library's own, whose keys are the fields of a fact and of a case; three are needed."""
    new, true = row.text("target_new"), row.optional("target_true")
    follows = row.probes("portability") if row.has("portability") else ()
    return Case(
        row.fact(row.text("prompt"), new, true, options, marked=True),
        paraphrases=row.texts("paraphrases", row["subject"]) if row.has("paraphrases") else (),
        neighborhood=row.probes("neighborhood") if row.has("neighborhood") else (),
        locality=row.texts("locality") if row.has("locality") else (),
        portability=options.follow(follows, true),
        relation=row.optional("relation"),
        batch=row["batch"] if row.has("batch") else None,
    )


@reads("FEVER", "prompt, alt, equiv_prompt, unrel_prompt, unrel_ans", also="pred")
def fever(row: Row, options: Options) -> Case:
    """A question whether a claim is true, with all its rewordings; it names no subject."""
    return Case(
        found_fact(None, row.text("prompt"), *options.answers(row.text("alt"), None)),
        paraphrases=row.texts("equiv_prompt"),
        **row.unrelated(row.text("unrel_prompt"), "unrel_ans"),
    )


@reads(
    "WikiBigEdit",
    "subject, update, ans, rephrase, loc, loc_ans",
    also="personas, mhop, mhop_ans, tag, object, relation",
)
def wikibigedit(row: Row, options: Options) -> Case:
    """A question about a change in Wikidata, with a rewording; a persona may ask it, too.

    The question some hops further may be missing or null.
    """
    asks = [key for key in ("rephrase", "personas") if row.has(key)]
    hops = row.has("mhop") and row.has("mhop_ans")
    return Case(
        row.fact(row.text("update"), row.text("ans"), None, options),
        paraphrases=tuple(map(row.text, asks)),
        portability=row.probe("mhop", "mhop_ans", kind="multi-hop") if hops else (),
        **row.unrelated(row.text("loc"), "loc_ans"),
    )


@reads("UltraEditBench", "subject, prompt, ans, rephrase_prompt, loc, loc_ans")
def ultraeditbench(row: Row, options: Options) -> Case:
    """A question made of a triple of Wikidata, one rewording and one unrelated question."""
    return Case(
        row.fact(row.text("prompt"), row.text("ans"), None, options),
        paraphrases=(row.text("rephrase_prompt"),),
        **row.unrelated(row.text("loc"), "loc_ans"),
    )


@reads("reversal", "child, parent, parent_type", also="child_prediction, can_reverse")
def reversal(row: Row, options: Options) -> Case:
    """A parent of a person, and the question back from the parent to the person."""
    child, kind, parent = row.text("child"), row.text("parent_type"), row.text("parent")
    back = Probe(f"The child of {parent} is", child, kind="reverse")
    fact = found_fact(child, f"{child}'s {kind} is", *options.answers(parent, None))
    return Case(fact, portability=(back,), relation=kind)


def _one_hop(row: Row) -> tuple[Probe, ...]:
    """The question one hop further that the files called "plus" have."""
    if not row.has("portability"):
        return ()
    return row.part("portability").probe("New Question", "New Answer", kind="one-hop")
