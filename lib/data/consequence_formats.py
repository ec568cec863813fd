"""Readers of the formats testing consequences of an edit: KnowEdit and MQuAKE.

Each function makes the case of a row, or several cases for a row with several facts. The keys above
it identify the format (`row_keys.Format`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..errors import FactError
from .facts import Case, Fact, Probe
from .row_keys import Options, Row, reads

# names used by the files for their kinds; all other kinds keep their own names
KINDS = {
    "Reasoning": "one-hop",
    "Compositionality_I": "one-hop",  # from the new answer, one fact further
    "Compositionality_II": "one-hop",  # from another subject to the edited subject
    "Subject_Aliasing": "alias",
    "Logical_Generalization": "logical",
    "Relation_Specificity": "same-subject",
    "Relation_Specifity": "same-subject",  # the spelling of the published file
    "Forgetfulness": "one-to-many",  # another answer that was right before and still is
}


@reads("KnowEdit", "subject, prompt, target_new, portability, locality", also="ground_truth")
def knowedit(row: Row, options: Options) -> Case:
    """Read wiki_recent and wiki_counterfact, grouping tests by kind; answers are lists of names.

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
    """Read KnowEdit's ZsRE, with one paraphrase and the old answers as a list."""
    right = row.answers("ground_truth")
    true = right[0] if right else None
    return _knowedit(row, true, (row.text("rephrase_prompt"),), options)


def _knowedit(row: Row, true: str | None, reworded: tuple[str, ...], options: Options) -> Case:
    """Return the case from the keys that both formats have.

    A logical generalization having the subject as its answer asks in the reverse direction: almost
    all questions in ZsRE do, and some of the others. A question naming the subject itself does not.
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


def _by_kind(groups: Row) -> Iterable[Probe]:
    """Yield the probes of an object {kind: list of prompts with answers}."""
    for name in groups:
        if groups.has(name):
            kind = KINDS.get(name, name)
            for item in groups.parts(name):
                yield from item.probe("prompt", "ground_truth", kind=kind)


@reads(
    "MQuAKE",
    "requested_rewrite, questions, new_answer, new_answer_alias, new_single_hops",
    also="answer, answer_alias, single_hops, orig",
)
def mquake(row: Row, options: Options) -> list[Case]:
    """Return one case for each edit of a row; the last has the question following from all.

    The question has three wordings, and answering one correctly is enough. Its parts are the facts
    of the chain that no edit of the row writes. With `target="true"`, the question is instead about
    the chain before the edits.
    """
    edits = row.parts("requested_rewrite")
    if not edits:
        raise FactError("Key 'requested_rewrite' is empty.")
    wordings = row.texts("questions")
    if not wordings:
        raise FactError("Key 'questions' is empty.")
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
            _rewrite(edit, options),
            paraphrases=(edit.text("question"),),
            portability=(last,) if edit is edits[-1] else (),
            relation=edit.optional("relation_id"),
        )
        for edit in edits
    ]


def _rewrite(edit: Row, options: Options) -> Fact:
    """Return the fact of one edit, whose prompt has a `{}`."""
    new = edit.part("target_new").text("str")
    true = edit.part("target_true").text("str")
    return edit.fact(edit.text("prompt"), new, true, options, marked=True)
