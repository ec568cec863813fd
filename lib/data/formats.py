"""The formats of the public data files of knowledge editing, one row of FORMATS for each.

A format is told from the keys of a file's first row, and it knows how to make a `Case` of a row.
The functions at the top are for the readers. Below them stand helpers that read one key of a row
and name it in their errors, and then one function per format. The file is longer than 300 lines
because there are many formats; each function is short.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from ..errors import FactError
from .facts import Case, Fact, Probe, occurs_once, quoted, require_text


class Options(NamedTuple):
    """The choices of the caller of `read_cases` that a format may need.

    target            "new" or "true": which answer is taught.
    unrelated_suffix  text that is put after ZsRE's unrelated questions.
    row               number of the row in its file, the seed of whatever is drawn for it.
    """

    target: str = "new"
    unrelated_suffix: str = ""
    row: int = 0


class Format(NamedTuple):
    """A row of FORMATS.

    name   the format as error messages call it.
    keys   keys of a row by which the format is told.
    read   makes the case of a row, or None where the row holds no new answer.
    takes  all keys that `read` looks at, ids, and keys that only describe the row (`pred`, `tag`).
    tells  whether `any` of the keys is enough, or `all` must be there.
    """

    name: str
    keys: tuple[str, ...]
    read: Callable[[dict, Options], Case | None]
    takes: frozenset[str]
    tells: Callable[[Iterable[bool]], bool] = any


def known(row: dict) -> Format | None:
    """The format of a file with this first row, None where no format fits."""
    return next((form for form in FORMATS if form.tells(key in row for key in form.keys)), None)


def recognize(row: Any) -> Format:
    """The format of a file with this first row; FactError lists the known formats if none fits."""
    form = known(as_object(row))
    if form is None:
        keys = ", ".join(quoted(key) for key in list(row)[:8]) or "none"
        raise FactError(f"the keys ({keys}) are of no known format; known are {KNOWN}")
    return form


def as_object(row: Any) -> dict:
    """The row itself; FactError when it is not an object with keys."""
    if not isinstance(row, dict):
        raise FactError(f"a row should be an object with keys, not {shown(row)}")
    return row


def case_of(form: Format, row: Any, options: Options) -> Case | None:
    """The case of a row, with its id; None where the row holds no new answer."""
    case = form.read(as_object(row), options)
    return None if case is None else replace(case, id=_id(row, options.row))


def unused_keys(form: Format, row: dict) -> list[str]:
    """The keys of a row that no field of its case takes, without ids and descriptions."""
    if row.keys() <= form.takes:  # nearly always, and many rows are read
        return []
    return [key for key in row if key not in form.takes]


def shown(value: Any) -> str:
    """A JSON value for an error message, shortened."""
    try:
        return quoted(json.dumps(value))
    except RecursionError:  # just flat enough to be read
        return "a deeply nested value"


# Helpers that read one key of a row. Each error names the key.


def _get(row: dict, key: str) -> Any:
    """The value of a key; a dotted key goes into nested objects."""
    value: Any = row
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise FactError(f"key '{key}' is missing")
        value = value[part]
    return value


def _text(row: dict, key: str) -> str:
    """The text of a key; FactError when it is missing, blank or no text."""
    return require_text(_get(row, key), f"key '{key}'")


def _list(row: dict, key: str) -> list:
    """The list of a key."""
    values = _get(row, key)
    if not isinstance(values, list):
        raise FactError(f"key '{key}' should be a list, not {shown(values)}")
    return values


def _texts(row: dict, key: str) -> tuple[str, ...]:
    """The texts of a key that holds a list of them."""
    return tuple(require_text(v, f"key '{key}[{i}]'") for i, v in enumerate(_list(row, key)))


def _probes(row: dict, key: str) -> tuple[Probe, ...]:
    """A list of objects with prompt and target as probes; errors name a part as `key[2].prompt`."""
    items = {f"{key}[{i}]": item for i, item in enumerate(_list(row, key))}
    return tuple(Probe(_text(items, f"{k}.prompt"), _text(items, f"{k}.target")) for k in items)


def _id(row: dict, number: int) -> int | str:
    """The row's own id, a whole number or text; its number in the file where it has none."""
    key = next((key for key in IDS if key in row), None)
    if key is None:
        return number
    return row[key] if type(row[key]) is int else _text(row, key)


def _relation(row: dict, key: str) -> str | None:
    """The text of a key that may be missing or null."""
    return _text(row, key) if row.get(key) is not None else None


def _unrelated(prompt: str, row: dict, answer: str) -> dict[str, Any]:
    """The groups of an unrelated prompt: `locality`, and `neighborhood` if it has an answer."""
    reference = _get(row, answer)
    probes = () if reference in ("", None) else (Probe(prompt, _text(row, answer)),)
    return {"neighborhood": probes, "locality": (prompt,)}


def _fact(
    row: dict, prompt: str, new: str, true: str | None, options: Options, marked: bool = False
) -> Fact:
    """The fact of a row, given its prompt and both answers.

    `marked` says that the format's prompts have a `{}` for the subject. Elsewhere the subject's one
    occurrence becomes the `{}`; where it does not occur exactly once, the fact has no subject.
    """
    if options.target == "true" and true is not None:
        new, true = true, None
    new, true = new.strip(), None if true is None else true.strip()
    subject = _get(row, "subject")
    if subject is not None and not isinstance(subject, str):
        raise FactError(f"key 'subject' should be text, not {shown(subject)}")
    if marked and "{}" in prompt:
        return Fact(subject, prompt, new, true)
    if subject and subject.strip() and occurs_once(subject, prompt):
        head, _, tail = prompt.partition(subject)
        return Fact(subject, head + "{}" + tail, new, true)
    return Fact(None, prompt, new, true)


def _counterfact(row: dict, options: Options) -> Case:
    """The published file: the fact stands in `requested_rewrite`, its prompt with a `{}`."""
    prompt = _text(row, "requested_rewrite.prompt")
    new = _text(row, "requested_rewrite.target_new.str")
    true = _text(row, "requested_rewrite.target_true.str")
    rewrite = row["requested_rewrite"]
    near = _texts(row, "neighborhood_prompts")  # other subjects with the same true answer
    return Case(
        _fact(rewrite, prompt, new, true, options, marked=True),
        paraphrases=_texts(row, "paraphrase_prompts"),
        neighborhood=tuple(Probe(text, true) for text in near),
        relation=_relation(rewrite, "relation_id"),
    )


def _counterfact_flat(row: dict, options: Options) -> Case:
    """The copy whose keys all stand at the top, with one rewording and one neighborhood prompt."""
    new, true = _text(row, "target_new"), _text(row, "ground_truth")
    near = Probe(_text(row, "locality_prompt"), _text(row, "locality_ground_truth"))
    return Case(
        _fact(row, _text(row, "prompt"), new, true, options),
        paraphrases=(_text(row, "rephrase_prompt"),),
        neighborhood=(near,),
    )


def _zsre(row: dict, options: Options) -> Case | None:
    """The published file teaches `alt`; UltraEdit's copy has the one answer `ans` instead."""
    asked = options.target == "true" and "ans" not in row
    answers = _texts(row, "answers") if asked or "answers" in row else ()
    if asked:
        if not answers:
            raise FactError("key 'answers' is empty")
        new, true = answers[0], None
    elif "ans" in row and "alt" not in row:
        new, true = _text(row, "ans"), None
    else:
        if _get(row, "alt") == "":  # the published file has such rows: there is nothing to teach
            return None
        new, true = _text(row, "alt"), next(iter(answers), None)
    return Case(
        _fact(row, _text(row, "src"), new, true, options),
        paraphrases=(_text(row, "rephrase"),),
        **_unrelated(_text(row, "loc") + options.unrelated_suffix, row, "loc_ans"),
    )


def _temporal(row: dict, options: Options) -> Case:
    """The text `ood_rephrase` is scored, not answered: its first word is the prompt of the rest."""
    word, *rest = _text(row, "ood_rephrase").split(None, 1)
    return Case(
        _fact(row, _text(row, "prompt"), _text(row, "target_new"), None, options),
        portability=tuple(Probe(word, text) for text in rest),
        **_unrelated(_text(row, "locality_prompt"), row, "locality_ground_truth"),
    )


def _selfcheck(row: dict, options: Options) -> Case:
    """A text to write and one unrelated prompt, without rewordings."""
    return Case(
        _fact(row, _text(row, "prompt"), _text(row, "target_new"), None, options),
        **_unrelated(_text(row, "locality_prompt"), row, "locality_ground_truth"),
    )


def _known_facts(row: dict, options: Options) -> Case:
    """A fact that a model knows, for tracing: its true answer stands where a new one would."""
    fact = _fact(row, _text(row, "prompt"), _text(row, "attribute"), None, options)
    return Case(fact, relation=_relation(row, "relation_id"))


def _own(row: dict, options: Options) -> Case:
    """The classroom's format, whose keys are the fields of a fact and of a case."""
    new, true = _text(row, "target_new"), _text(row, "target_true")
    return Case(
        _fact(row, _text(row, "prompt"), new, true, options, marked=True),
        paraphrases=_texts(row, "paraphrases"),
        neighborhood=_probes(row, "neighborhood"),
        locality=_texts(row, "locality"),
        portability=_probes(row, "portability") if "portability" in row else (),
        relation=_relation(row, "relation"),
    )


def _fever(row: dict, options: Options) -> Case | None:
    """One of several rewordings, drawn by the row's number: the same one at every reading."""
    if _get(row, "alt") == "":
        return None
    wordings = _texts(row, "equiv_prompt")
    drawn = random.Random(f"fever {options.row}").sample(wordings, min(1, len(wordings)))
    plain = {"subject": None, **row}  # the published rows name none
    return Case(
        _fact(plain, _text(row, "prompt"), _text(row, "alt"), None, options),
        paraphrases=tuple(drawn),
        **_unrelated(_text(row, "unrel_prompt"), row, "unrel_ans"),
    )


def _wikibigedit(row: dict, options: Options) -> Case:
    """A persona's question is one more rewording, a question of several hops a consequence."""
    hops = row.get("mhop") is not None and row.get("mhop_ans") is not None
    return Case(
        _fact(row, _text(row, "update"), _text(row, "ans"), None, options),
        paraphrases=(_text(row, "rephrase"), *_one_or_more(row, "personas")),
        portability=(Probe(_text(row, "mhop"), _text(row, "mhop_ans")),) if hops else (),
        **_unrelated(_text(row, "loc"), row, "loc_ans"),
    )


def _ultraeditbench(row: dict, options: Options) -> Case:
    """One rewording and one unrelated prompt for each fact."""
    return Case(
        _fact(row, _text(row, "prompt"), _text(row, "ans"), None, options),
        paraphrases=(_text(row, "rephrase_prompt"),),
        **_unrelated(_text(row, "loc"), row, "loc_ans"),
    )


def _one_or_more(row: dict, key: str) -> tuple[str, ...]:
    """The texts of a key that may hold one text, a list of texts, or null, or be missing."""
    value = row.get(key)
    if value is None:
        return ()
    return _texts(row, key) if isinstance(value, list) else (_text(row, key),)


IDS = ("case_id", "known_id", "id")


def _row(
    name: str,
    keys: str,
    read: Callable[[dict, Options], Case | None],
    takes: str,
    tells: Callable[[Iterable[bool]], bool] = any,
) -> Format:
    """A row of FORMATS, whose `takes` is written as one text of words."""
    return Format(name, tuple(keys.split()), read, frozenset([*takes.split(), *IDS]), tells)


# fmt: off
FORMATS = (  # the first that fits is taken, because formats share some of their keys
    _row("UltraEditBench", "ans rephrase_prompt", _ultraeditbench,
         "subject prompt ans rephrase_prompt loc loc_ans", all),
    _row("FEVER", "equiv_prompt unrel_prompt unrel_ans", _fever,
         "subject prompt pred alt equiv_prompt unrel_prompt unrel_ans"),
    _row("WikiBigEdit", "update personas mhop", _wikibigedit,
         "tag subject update ans rephrase personas mhop mhop_ans loc loc_ans"),
    _row("CounterFact", "requested_rewrite neighborhood_prompts", _counterfact,
         "requested_rewrite paraphrase_prompts neighborhood_prompts pararel_idx"),
    _row("CounterFact, flat", "rephrase_prompt ground_truth", _counterfact_flat,
         "subject prompt target_new ground_truth rephrase_prompt locality_prompt "
         "locality_ground_truth"),
    _row("ZsRE", "src alt answers loc loc_ans", _zsre,
         "subject src pred rephrase alt ans answers loc loc_ans cond"),
    _row("temporal", "ood_rephrase", _temporal,
         "subject prompt target_new ood_rephrase locality_prompt locality_ground_truth"),
    _row("SelfCheckGPT hallucination", "locality_prompt locality_ground_truth", _selfcheck,
         "subject prompt target_new locality_prompt locality_ground_truth"),
    _row("known facts", "known_id attribute", _known_facts,
         "subject prompt attribute template prediction relation_id"),
    _row("classroom", "paraphrases neighborhood portability", _own,
         "relation subject prompt target_new target_true paraphrases neighborhood locality "
         "portability"),
)
# fmt: on
KNOWN = "; ".join(f"{form.name} ({', '.join(form.keys)})" for form in FORMATS)
