"""The formats of the public data files of knowledge editing, one entry of FORMATS for each.

An entry names the keys that a row has and the function that makes a `Case` of it. To add a format,
write its function beside those of its like and its entry here; a test says whether its keys tell
it from every other format. A row is of the format that explains its keys best: the fewest of them
may be missing, of another type or left over. Where something is missing or of another type, the
error says so and names the format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from ..errors import FactError
from . import consequence_formats as follows
from . import long_text_formats as texts
from . import single_fact_formats as single
from .facts import Case, quoted
from .row_keys import TYPES, Options, Row, wrong_type

IDS = ("case_id", "known_id", "id")
Read = Callable[[Row, Options], "Case | list[Case] | None"]


class Format(NamedTuple):
    """An entry of FORMATS.

    name     the format as error messages call it.
    read     makes the case of a row, the cases of a row with several facts, or None where the row
             holds no new answer.
    needs    {key: type}, the keys that a row must have; the type is a name of TYPES or None.
    may      {key: type}, the keys that it may have besides.
    without  keys that it must not have.
    takes    all keys that `read` looks at, ids, and keys that only describe the row (`pred`).
    """

    name: str
    read: Read
    needs: dict[str, str | None]
    may: dict[str, str | None]
    without: tuple[str, ...]
    takes: frozenset[str]

    def problems(self, row: dict) -> list[str]:
        """What keeps the row from this format, one clause for each key."""
        found = []
        for key, kind in self.needs.items():
            there, value = _inside(row, key)
            if not there:
                found.append(f"key '{key}' is missing")
            elif kind and not isinstance(value, TYPES[kind][0]):
                found.append(wrong_type(key, value, kind))
        for key, kind in self.may.items():
            there, value = _inside(row, key)
            if kind and there and value is not None and not isinstance(value, TYPES[kind][0]):
                found.append(wrong_type(key, value, kind))
        found += [
            f"key '{key}' does not belong there" for key in self.without if _inside(row, key)[0]
        ]
        return found


def _format(name: str, read: Read, keys: str) -> Format:
    """An entry of FORMATS, its keys written as one text.

    key        a row must have the key; `key:list`, `key:text`, `key:object` also say of which type.
    key?       a row may have it.
    (key)      it only describes the row, and nobody reads it.
    -key       a row must not have it.
    a.0.b      a key inside objects and lists.
    """
    needs: dict[str, str | None] = {}
    may: dict[str, str | None] = {}
    without, told = [], list(IDS)
    for word in (word.strip() for word in keys.split(",")):
        if word.startswith("("):
            told.append(word[1:-1])
        elif word.startswith("-"):
            without.append(word[1:])
        else:
            key, _, kind = word.partition(":")
            (may if key.endswith("?") else needs)[key.removesuffix("?")] = kind or None
    top = [key.split(".")[0] for key in (*needs, *may)]
    return Format(name, read, needs, may, tuple(without), frozenset([*top, *told]))


FORMATS = (
    _format(
        "CounterFact",
        single.counterfact,
        "requested_rewrite:object, paraphrase_prompts, neighborhood_prompts, portability?:object, "
        "unrelated_relation?, distracting_neighborhood_prompts?, alternative_subject?, "
        "(pararel_idx)",
    ),
    _format(
        "CounterFact, flat",
        single.counterfact_flat,
        "subject, prompt, target_new, ground_truth, rephrase_prompt, locality_prompt, "
        "locality_ground_truth",
    ),
    _format(
        "ZsRE",
        single.zsre,
        "subject, src, rephrase, loc, loc_ans, alt?, ans?, answers?, portability?:object, (pred), "
        "(cond)",
    ),
    _format(
        "ZsRE plus, reverse",
        single.zsre_reverse,
        "subject, src, rephrase, alt, inverse question, answers?, (pred), (cond)",
    ),
    _format(
        "ZsRE plus, alias",
        single.zsre_alias,
        "subject, src, rephrase, alt, alternative_subject, alter_subject_question, answers?, "
        "(pred), (cond)",
    ),
    _format(
        "KnowEdit",
        follows.knowedit,
        "subject, prompt, target_new, portability:object, locality:object, ground_truth?:text",
    ),
    _format(
        "KnowEdit ZsRE",
        follows.knowedit_zsre,
        "subject, prompt, target_new, ground_truth:list, rephrase_prompt, portability:object, "
        "locality:object, (cond)",
    ),
    _format("KnowEdit WikiBio", follows.wikibio, "text, labels, concept, locality:object"),
    _format(
        "RippleEdits",
        follows.rippleedits,
        "edit:object, Logical_Generalization, Subject_Aliasing, Compositionality_I, "
        "Compositionality_II, Relation_Specifity?, Relation_Specificity?, Forgetfulness?, "
        "(example_type)",
    ),
    _format(
        "MQuAKE",
        follows.mquake,
        "requested_rewrite:list, questions, new_answer, new_answer_alias, new_single_hops, answer, "
        "answer_alias, single_hops, -requested_rewrite.0.fact_new_uns, "
        "-requested_rewrite.0.fact_new, -requested_rewrite.0.unsfact_triplets_GPT, (orig)",
    ),
    _format(
        "AKEW",
        follows.akew,
        "requested_rewrite:list, requested_rewrite.0.fact_new_uns, questions, new_answer, "
        "new_answer_alias, new_single_hops, (answer), (answer_alias), (single_hops), (orig)",
    ),
    _format("QAEdit", single.qaedit, "prompt, target, subject, rephrase, locality:list, (source)"),
    _format("UnKE", texts.unke, "question, para_question, answer, sub_question, sub_answer"),
    _format("EditEverything", texts.editevery, "question, answer, category"),
    _format(
        "UltraEditBench",
        single.ultraeditbench,
        "subject, prompt, ans, rephrase_prompt, loc, loc_ans",
    ),
    _format(
        "FEVER",
        single.fever,
        "prompt, alt, equiv_prompt, unrel_prompt, unrel_ans, subject?, (pred)",
    ),
    _format(
        "WikiBigEdit",
        single.wikibigedit,
        "subject, update, ans, rephrase, loc, loc_ans, personas?, mhop?, mhop_ans?, (tag)",
    ),
    _format(
        "temporal",
        single.temporal,
        "subject, prompt, target_new, ood_rephrase, locality_prompt, locality_ground_truth",
    ),
    _format(
        "SelfCheckGPT hallucination",
        single.selfcheck,
        "subject, prompt, target_new, locality_prompt, locality_ground_truth",
    ),
    _format(
        "known facts",
        single.known_facts,
        "subject, prompt, attribute, relation_id?, (template), (prediction)",
    ),
    _format(
        "reversal",
        single.reversal,
        "child, parent, parent_type, (child_prediction), (can_reverse)",
    ),
    _format(
        "this library's own",
        single.own,
        "subject, prompt, target_new, target_true, paraphrases, neighborhood, locality, "
        "portability?, relation?, batch?",
    ),
)
OWN = FORMATS[-1]
KNOWN = f"{', '.join(form.name for form in FORMATS)} ({', '.join(OWN.needs)})"


def nearest(row: dict) -> tuple[Format, list[str]] | None:
    """The format that explains the row's keys best, with its problems; None where none is near.

    A format is near where at least half of the keys that it needs are there, and two.
    """
    given = [key for key, value in row.items() if value is not None]  # null: a table's empty column
    best: tuple[tuple[int, int], Format, list[str]] | None = None
    for form in FORMATS:
        problems = form.problems(row)
        here = len(form.needs.keys() & row.keys())
        if here < 2 or 2 * here < len(form.needs):
            continue
        left_over = sum(key not in form.takes for key in given)
        rank = (len(problems) + left_over, -here)
        if best is None or rank < best[0]:
            best = rank, form, problems
    return best and best[1:]


def known(row: dict) -> Format | None:
    """The format of a file with this first row, also a damaged one; None where none is near."""
    found = nearest(row)
    return found and found[0]


def recognize(row: Any) -> Format:
    """The format of a file with this first row.

    FactError names what is missing for the format that comes closest, or lists the known formats.
    """
    found = nearest(Row(row).row)
    if found is None:
        keys = ", ".join(quoted(str(key)) for key in list(row)[:8]) or "none"
        raise FactError(f"the keys ({keys}) are of no known format; known are {KNOWN}")
    form, problems = found
    if problems:
        raise FactError(f"{_said(problems)} (the format that comes closest is {form.name})")
    return form


def cases_of(form: Format, row: Any, options: Options) -> list[Case]:
    """The cases of a row, with their ids; none where the row holds no new answer.

    Several facts of a row are a batch with the row's id, and their ids are numbered from 1.
    """
    whole = Row(row)
    try:
        found = form.read(whole, options)
        name = _id(whole, options.row)
    except FactError as error:
        problems = form.problems(whole.row)
        raise FactError(f"{_said(problems) or error} (read as {form.name})") from None
    if found is None:
        return []
    if isinstance(found, Case):
        return [replace(found, id=name)]
    if len(found) == 1:
        return [replace(found[0], id=name)]
    return [replace(case, id=f"{name}/{n}", batch=name) for n, case in enumerate(found, 1)]


def unused_keys(form: Format, row: dict) -> list[str]:
    """The keys of a row that no field of its case takes, without ids and descriptions."""
    if row.keys() <= form.takes:  # nearly always, and many rows are read
        return []
    return [key for key in row if key not in form.takes and row[key] is not None]


def _said(problems: list[str]) -> str:
    """Up to three problems as one clause."""
    return " and ".join(problems[:3]) + (" and more" if len(problems) > 3 else "")


def _inside(row: Any, key: str) -> tuple[bool, Any]:
    """Whether a dotted key is there, and its value."""
    for part in key.split("."):
        if isinstance(row, list) and part.isdigit() and int(part) < len(row):
            row = row[int(part)]
        elif isinstance(row, dict) and part in row:
            row = row[part]
        else:
            return False, None
    return True, row


def _id(row: Row, number: int) -> int | str:
    """The row's own id, a whole number or text; its number in the file where it has none."""
    key = next((key for key in IDS if row.has(key)), None)
    if key is None:
        return number
    return row.row[key] if type(row.row[key]) is int else row.text(key)
