"""Readers of formats with one fact per row, a few paraphrases and a few unrelated prompts.

Each function makes the case of a row, and the keys above it identify the format
(`row_keys.Format`).
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
    """Read the published file, where `requested_rewrite` contains the fact, its prompt with a `{}`.

    CounterFact plus (EasyEdit) adds keys with tests: a question one hop further, another name for
    the subject, another of its properties, and neighborhood prompts following the edited sentence.
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
    """Read the copy with all keys at the top, with one paraphrase and one neighborhood prompt."""
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
    """Read the published file, teaching `alt`; UltraEdit's copy instead has one answer, `ans`.

    The ZsRE plus file (EasyEdit) with questions one hop further has one additional key.
    """
    around = row.unrelated(row.text("loc") + options.unrelated_suffix, "loc_ans")
    return _zsre(row, options, lambda new: _one_hop(row), **around)


@reads(
    "ZsRE plus, reverse",
    "subject, src, rephrase, alt, inverse question",
    also="answers, pred, cond",
)
def zsre_reverse(row: Row, options: Options) -> Case | None:
    """Read the ZsRE plus file asking back from the new answer; it has no unrelated question."""
    back = Probe(row.text("inverse question"), row.text("subject"), kind="reverse")
    return _zsre(row, options, lambda new: (back,))


@reads(
    "ZsRE plus, alias",
    "subject, src, rephrase, alt, alternative_subject, alter_subject_question",
    also="answers, pred, cond",
)
def zsre_alias(row: Row, options: Options) -> Case | None:
    """Read the ZsRE plus file with another name for the subject, without an unrelated question."""
    row.text("alternative_subject")  # part of the question
    asked = row.text("alter_subject_question")
    return _zsre(row, options, lambda new: (Probe(asked, new, kind="alias"),))


def _zsre(
    row: Row, options: Options, follows: Callable[[str], tuple[Probe, ...]], **around: Any
) -> Case | None:
    """Return the case from ZsRE's keys.

    follows  Returns the questions following from the given answer.
    around   The groups of unrelated prompts.
    """
    only, true_asked = row.has("ans"), options.target == "true" and not row.has("ans")
    right = row.texts("answers", short=True) if true_asked or row.has("answers") else ()
    if true_asked:
        if not right:
            raise FactError("Key 'answers' is empty.")
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
    """Read a row whose `ood_rephrase` is scored: its first word is the prompt for the rest."""
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
    """Read a text to write and one unrelated prompt, without paraphrases."""
    return Case(
        row.fact(row.text("prompt"), row.text("target_new"), None, options),
        **row.unrelated(row.text("locality_prompt"), "locality_ground_truth"),
    )


@reads("known facts", "subject, prompt, attribute", also="relation_id, template, prediction")
def known_facts(row: Row, options: Options) -> Case:
    """Read a fact that a model knows, for tracing: its true answer replaces the new one."""
    fact = row.fact(row.text("prompt"), row.text("attribute"), None, options)
    return Case(fact, relation=row.optional("relation_id"))


@reads(
    "this library's own",
    "subject, prompt, target_new",
    also="target_true, paraphrases, neighborhood, locality, portability, relation, batch",
)
def own(row: Row, options: Options) -> Case:
    """Read the library's own rows; their keys are a fact's and a case's fields (three needed)."""
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
    """Read a question about whether a claim is true, with all its paraphrases and no subject."""
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
    """Read a question about a change in Wikidata, with a paraphrase, possibly asked by a persona.

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
    """Read a question made from a Wikidata triple, one paraphrase and one unrelated question."""
    return Case(
        row.fact(row.text("prompt"), row.text("ans"), None, options),
        paraphrases=(row.text("rephrase_prompt"),),
        **row.unrelated(row.text("loc"), "loc_ans"),
    )


@reads("reversal", "child, parent, parent_type", also="child_prediction, can_reverse")
def reversal(row: Row, options: Options) -> Case:
    """Read a parent of a person, and the question back from the parent to the person."""
    child, kind, parent = row.text("child"), row.text("parent_type"), row.text("parent")
    back = Probe(f"The child of {parent} is", child, kind="reverse")
    fact = found_fact(child, f"{child}'s {kind} is", *options.answers(parent, None))
    return Case(fact, portability=(back,), relation=kind)


def _one_hop(row: Row) -> tuple[Probe, ...]:
    """Return the question one hop further, present in the files called "plus"."""
    if not row.has("portability"):
        return ()
    return row.part("portability").probe("New Question", "New Answer", kind="one-hop")
