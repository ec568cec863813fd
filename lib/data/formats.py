"""The formats of the public data files of knowledge editing, one entry of FORMATS for each.

To add a format, write the function that makes a `Case` of its row beside those of its like, and its
entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

from ..errors import FactError
from . import consequence_formats as follows
from . import single_fact_formats as single
from .facts import Case, quoted
from .normalized_text import as_written
from .row_keys import Options, Row

IDS = ("case_id", "known_id", "id")


class Format(NamedTuple):
    """An entry of FORMATS.

    name  the format as error messages call it.
    keys  the keys that every row has. A file is of the format that has the most of them, of those
          whose keys are all in its first row.
    read  makes the case of a row, the cases of a row with several facts, or None where the row
          holds no new answer.
    also  further keys that `read` looks at, or that only describe the row.
    """

    name: str
    keys: tuple[str, ...]
    read: Callable[[Row, Options], Case | list[Case] | None]
    also: tuple[str, ...] = ()


def _keys(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


OWN = Format(
    "this library's own",
    _keys("subject, prompt, target_new"),
    single.own,
    _keys("target_true, paraphrases, neighborhood, locality, portability, relation, batch"),
)
FORMATS = (
    OWN,  # first: of two formats with as many keys the first counts
    Format(
        "CounterFact",
        _keys("requested_rewrite, paraphrase_prompts, neighborhood_prompts"),
        single.counterfact,
        _keys(
            "portability, unrelated_relation, distracting_neighborhood_prompts, "
            "alternative_subject, pararel_idx"
        ),
    ),
    Format(
        "CounterFact, flat",
        _keys(
            "subject, prompt, target_new, ground_truth, rephrase_prompt, locality_prompt, "
            "locality_ground_truth"
        ),
        single.counterfact_flat,
    ),
    Format(
        "ZsRE",
        _keys("subject, src, rephrase, loc, loc_ans"),
        single.zsre,
        _keys("alt, ans, answers, portability, pred, cond"),
    ),
    Format(
        "ZsRE plus, reverse",
        _keys("subject, src, rephrase, alt, inverse question"),
        single.zsre_reverse,
        _keys("answers, pred, cond"),
    ),
    Format(
        "ZsRE plus, alias",
        _keys("subject, src, rephrase, alt, alternative_subject, alter_subject_question"),
        single.zsre_alias,
        _keys("answers, pred, cond"),
    ),
    Format(
        "KnowEdit",
        _keys("subject, prompt, target_new, portability, locality"),
        follows.knowedit,
        _keys("ground_truth"),
    ),
    Format(
        "KnowEdit ZsRE",
        _keys("subject, prompt, target_new, ground_truth, rephrase_prompt, portability, locality"),
        follows.knowedit_zsre,
        _keys("cond"),
    ),
    Format("KnowEdit WikiBio", _keys("text, labels, concept, locality"), follows.wikibio),
    Format(
        "RippleEdits",
        _keys(
            "edit, Logical_Generalization, Subject_Aliasing, Compositionality_I, "
            "Compositionality_II"
        ),
        follows.rippleedits,
        _keys("Relation_Specifity, Relation_Specificity, Forgetfulness, example_type"),
    ),
    Format(
        "MQuAKE or AKEW",
        _keys("requested_rewrite, questions, new_answer, new_answer_alias, new_single_hops"),
        follows.mquake,
        _keys("answer, answer_alias, single_hops, orig"),
    ),
    Format(
        "QAEdit",
        _keys("prompt, target, subject, rephrase, locality"),
        single.qaedit,
        _keys("source"),
    ),
    Format(
        "temporal",
        _keys("subject, prompt, target_new, ood_rephrase, locality_prompt, locality_ground_truth"),
        single.temporal,
    ),
    Format(
        "SelfCheckGPT hallucination",
        _keys("subject, prompt, target_new, locality_prompt, locality_ground_truth"),
        single.selfcheck,
    ),
    Format(
        "known facts",
        _keys("subject, prompt, attribute"),
        single.known_facts,
        _keys("relation_id, template, prediction"),
    ),
    Format(
        "reversal",
        _keys("child, parent, parent_type"),
        single.reversal,
        _keys("child_prediction, can_reverse"),
    ),
)
KNOWN = ", ".join(form.name for form in FORMATS[1:])


def known(row: Any) -> Format | None:
    """The format of a file with this first row; None where it has the keys of none."""
    fitting = [form for form in FORMATS if isinstance(row, dict) and row.keys() >= {*form.keys}]
    if fitting[:1] == [OWN] and "locality" in row and not isinstance(row["locality"], dict):
        return OWN  # in the others it is an object
    return max(fitting, key=lambda form: len(form.keys), default=None)


def recognize(row: Any) -> Format:
    """The format of a file with this first row; FactError names the format that comes closest."""
    form = known(row)
    if form is not None:
        return form
    if not isinstance(row, dict):
        raise FactError(f"a row should be an object with keys, not {quoted(str(row))}")
    near = max(FORMATS, key=lambda one: len(row.keys() & {*one.keys}) / len(one.keys))
    missing = [key for key in near.keys if key not in row]
    # a file with rows for each language, or rows that hold one for each
    inside = {
        key: some[0] if isinstance(some, list) and some else some for key, some in row.items()
    }
    if len(parts := [quoted(str(key)) for key, one in inside.items() if known(one)]) > 1:
        raise FactError(
            f"there are rows for each of {', '.join(parts[:5])}: give those of one only"
        )
    if 2 * len(missing) > len(near.keys):
        keys = ", ".join(quoted(str(key)[:40]) for key in list(row)[:8]) or "none"
        raise FactError(
            f"the keys ({keys}) are of no known format; a row of one's own has "
            f"{', '.join(OWN.keys)}, and known are {KNOWN}, of which {near.name} comes closest"
        )
    said = " and ".join(f"key '{key}' is missing" for key in missing)
    raise FactError(f"{said} (the format that comes closest is {near.name})")


def cases_of(form: Format, row: Any, number: int, options: Options) -> list[Case]:
    """The cases of a row with their ids, normalized or as written; none without a new answer.

    Several facts of a row are a batch with the row's id, and their ids are numbered from 1.
    """
    if not isinstance(row, dict):
        raise FactError(f"a row should be an object with keys, not {quoted(str(row))}")
    try:
        with as_written() if options.as_written else nullcontext():
            found = form.read(Row(row), options)
        name = next((row[key] for key in IDS if row.get(key) is not None), number)
        if isinstance(name, bool) or not isinstance(name, (int, str)):
            raise FactError(f"the id should be a number or text, not {quoted(str(name))}")
    except (ValueError, SyntaxError) as error:  # a FactError, or of a list in brackets
        raise FactError(f"{error} (read as {form.name})") from None
    if found is None:
        return []
    if isinstance(found, Case):
        return [replace(found, id=name)]
    if len(found) == 1:
        return [replace(found[0], id=name)]
    return [replace(case, id=f"{name}/{n}", batch=name) for n, case in enumerate(found, 1)]


def unused_keys(form: Format, row: dict) -> list[str]:
    """The keys of a row that no field of its case takes, without ids and descriptions."""
    taken = {*form.keys, *form.also, *IDS}
    return [key for key in row if key not in taken and row[key] is not None]
