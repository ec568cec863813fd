"""Readers for the public data files of knowledge editing: recognized from their keys."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .facts import Case, Fact, FactError, Probe, occurs_once, quoted, require_text


class Options(NamedTuple):
    """What the caller of `read_cases` chose and a format may need."""

    target: str = "new"
    unrelated_suffix: str = ""


class Format(NamedTuple):
    """A row of FORMATS: any of the keys in a file's first row makes the file one of this format."""

    name: str
    keys: tuple[str, ...]
    read: Callable[[dict, Options], Case | None]


def read_cases(
    path: str | Path, limit: int | None = None, target: str = "new", unrelated_suffix: str = ""
) -> list[Case]:
    """The cases of a data file, at most `limit`, in the file's order.

    JSON (a list of rows, or an object that holds one) and JSONL, which is read no further than the
    limit needs. The formats, recognized from the keys of row 0: CounterFact full
    (`requested_rewrite`) and flat (`rephrase_prompt`), ZsRE (`src`), temporal (`ood_rephrase`),
    SelfCheckGPT hallucination (`locality_prompt` and no rewordings), known facts (`known_id`), and
    this library's own (`paraphrases`).

    `target="new"` teaches the new answer; in ZsRE that is `alt`, with `answers[0]` as the true one,
    and rows whose `alt` is empty are left out with a warning. `target="true"` teaches the true
    answer (ZsRE: `answers[0]`). A format with one answer teaches it either way; in known facts it
    is the true one, good for tracing, not for editing. White space around these answers is dropped.
    `unrelated_suffix` goes behind ZsRE's unrelated questions ("?" in published comparisons).

    An unrelated prompt that has a reference answer (`loc_ans`, `locality_ground_truth`) is listed
    twice: in `neighborhood` with it, in `locality` without. CounterFact has no unrelated prompts.
    A row whose subject is not in its prompt exactly once keeps the plain prompt, with
    `subject=None`. `id` is the row's `case_id`, `known_id` or `id`, otherwise its number from 0.

    Raises FactError: no such file, no data file, unknown keys; inside a row it names row and key.
    read_cases("zsre.json", limit=1)[0].fact.target_new -> "unmanned aircraft"
    """
    if target not in ("new", "true"):
        raise FactError(f"target should be 'new' or 'true', not {quoted(str(target))}")
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise FactError(f"limit should be a whole number from 0 on, not {limit!r}")
    if limit == 0:
        return []
    options, path = Options(target, unrelated_suffix), Path(path)
    cases: list[Case] = []
    left_out: list[int] = []
    form = None
    with closing(_rows(path)) as rows:
        for number, row in enumerate(rows):
            try:
                form = form or _recognize(row)
                case = form.read(_object(row), options)
                if case is not None:
                    cases.append(replace(case, id=_id(row, number)))
                else:
                    left_out.append(number)
            except FactError as error:
                raise FactError(f"{path}, row {number}: {error}") from None
            if len(cases) == limit:
                break
    if left_out:
        shown = ", ".join(map(str, left_out[:10])) + (", …" if len(left_out) > 10 else "")
        warnings.warn(f"{path}: left out rows without a new answer: {shown}", stacklevel=2)
    if not cases:
        raise FactError(f"{path} holds no rows" + " with a new answer" * bool(left_out))
    return cases


def classroom() -> list[Case]:
    """The built-in cases, checked by hand: facts that the default model knows."""
    return read_cases(Path(__file__).with_name("classroom.json"))


def _rows(path: Path) -> Iterator[Any]:
    """Rows as they stand in the file; everything that can be wrong with a file is a FactError."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            if b"\0" in file.buffer.peek(4096):  # before a "line" of a huge binary file is read
                raise FactError(f"{path} is a binary file, not JSON or JSONL")
            first = next((line for line in file if line.strip()), "")
            if not first:
                raise FactError(f"{path} is empty")
            if first.lstrip()[0] not in "[{":
                start = quoted(first.strip()[:30])
                raise FactError(f"{path} is not JSON or JSONL: it begins with {start}")
            try:
                value = json.loads(first)
            except (ValueError, RecursionError):  # no row by itself: the file is one JSON value
                value = _parse(first + file.read(), str(path))
            if isinstance(value, list):
                yield from value
            elif _known(value):
                yield value
                lines = (line for line in file if line.strip())
                for number, line in enumerate(lines, 1):
                    yield _parse(line, f"{path}, row {number}")
            else:
                if any(line.strip() for line in file):
                    raise FactError(
                        f"{path} is JSONL whose rows are of no known format; known are {KNOWN}"
                    )
                yield from _held(value)
    except FactError:
        raise
    except FileNotFoundError:
        raise FactError(f"there is no file {path}") from None
    except UnicodeDecodeError:
        raise FactError(f"{path} is not text in UTF-8, so neither JSON nor JSONL") from None
    except OSError as error:
        raise FactError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # a path with a zero byte in it
        raise FactError(f"{str(path)!r} cannot be read: {error}") from None


def _held(value: dict) -> list:
    """The one list of rows that a JSON object holds, otherwise the object as the only row."""
    lists = [v for v in value.values() if isinstance(v, list) and all(type(r) is dict for r in v)]
    return lists[0] if len(lists) == 1 else [value]


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise FactError(f"{place} is not a data file: its JSON is nested too deeply") from None
    except ValueError as error:
        raise FactError(f"{place} is not valid JSON: {error}") from None


def _known(row: dict) -> Format | None:
    return next((form for form in FORMATS if any(key in row for key in form.keys)), None)


def _recognize(row: Any) -> Format:
    form = _known(_object(row))
    if form is None:
        keys = ", ".join(quoted(key) for key in list(row)[:8]) or "none"
        raise FactError(f"the keys ({keys}) are of no known format; known are {KNOWN}")
    return form


def _object(row: Any) -> dict:
    if not isinstance(row, dict):
        raise FactError(f"a row should be an object with keys, not {quoted(json.dumps(row))}")
    return row


# What a key holds; a dotted key goes into nested objects. Each error names the key.


def _get(row: dict, key: str) -> Any:
    value: Any = row
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise FactError(f"key '{key}' is missing")
        value = value[part]
    return value


def _text(row: dict, key: str) -> str:
    return require_text(_get(row, key), f"key '{key}'")


def _list(row: dict, key: str) -> list:
    values = _get(row, key)
    if not isinstance(values, list):
        raise FactError(f"key '{key}' should be a list, not {quoted(json.dumps(values))}")
    return values


def _texts(row: dict, key: str) -> tuple[str, ...]:
    return tuple(require_text(v, f"key '{key}[{i}]'") for i, v in enumerate(_list(row, key)))


def _probes(row: dict, key: str) -> tuple[Probe, ...]:
    items = {f"{key}[{i}]": item for i, item in enumerate(_list(row, key))}
    return tuple(Probe(_text(items, f"{k}.prompt"), _text(items, f"{k}.target")) for k in items)


def _id(row: dict, number: int) -> int | str:
    key = next((key for key in ("case_id", "known_id", "id") if key in row), None)
    return number if key is None else row[key] if type(row[key]) is int else _text(row, key)


def _relation(row: dict, key: str) -> str | None:
    return _text(row, key) if row.get(key) is not None else None


def _unrelated(prompt: str, row: dict, answer: str) -> dict[str, tuple]:
    """An unrelated prompt: in both groups; in one only where the file has no text as its answer."""
    reference = _get(row, answer)
    probes = () if reference in ("", None) else (Probe(prompt, _text(row, answer)),)
    return {"neighborhood": probes, "locality": (prompt,)}


def _fact(
    row: dict, prompt: str, new: str, true: str | None, options: Options, marked: bool = False
) -> Fact:
    """The fact of a row, from the answers themselves; `marked`: its prompt has the `{}` already."""
    if options.target == "true" and true is not None:
        new, true = true, None
    new, true = new.strip(), true and true.strip()
    subject = _get(row, "subject")
    if subject is not None and not isinstance(subject, str):
        raise FactError(f"key 'subject' should be text, not {quoted(json.dumps(subject))}")
    if marked and "{}" in prompt:
        return Fact(subject, prompt, new, true)
    if subject and subject.strip() and occurs_once(subject, prompt):
        head, _, tail = prompt.partition(subject)
        return Fact(subject, head + "{}" + tail, new, true)
    return Fact(None, prompt, new, true)


def _counterfact(row: dict, options: Options) -> Case:
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
    new, true = _text(row, "target_new"), _text(row, "ground_truth")
    near = Probe(_text(row, "locality_prompt"), _text(row, "locality_ground_truth"))
    return Case(
        _fact(row, _text(row, "prompt"), new, true, options),
        paraphrases=(_text(row, "rephrase_prompt"),),
        neighborhood=(near,),
    )


def _zsre(row: dict, options: Options) -> Case | None:
    answers = _texts(row, "answers") if options.target == "true" or "answers" in row else ()
    if options.target == "true":
        if not answers:
            raise FactError("key 'answers' is empty")
        new, true = answers[0], None
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
    """The text `ood_rephrase` is to be scored, not answered: its first word asks for the rest."""
    word, *rest = _text(row, "ood_rephrase").split(None, 1)
    return Case(
        _fact(row, _text(row, "prompt"), _text(row, "target_new"), None, options),
        portability=tuple(Probe(word, text) for text in rest),
        **_unrelated(_text(row, "locality_prompt"), row, "locality_ground_truth"),
    )


def _selfcheck(row: dict, options: Options) -> Case:
    return Case(
        _fact(row, _text(row, "prompt"), _text(row, "target_new"), None, options),
        **_unrelated(_text(row, "locality_prompt"), row, "locality_ground_truth"),
    )


def _known_facts(row: dict, options: Options) -> Case:
    fact = _fact(row, _text(row, "prompt"), _text(row, "attribute"), None, options)
    return Case(fact, relation=_relation(row, "relation_id"))


def _own(row: dict, options: Options) -> Case:
    new, true = _text(row, "target_new"), _text(row, "target_true")
    return Case(
        _fact(row, _text(row, "prompt"), new, true, options, marked=True),
        paraphrases=_texts(row, "paraphrases"),
        neighborhood=_probes(row, "neighborhood"),
        locality=_texts(row, "locality"),
        portability=_probes(row, "portability") if "portability" in row else (),
        relation=_relation(row, "relation"),
    )


FORMATS = (  # in this order: the keys of SelfCheckGPT's files are also in the two that have more
    Format("CounterFact", ("requested_rewrite", "neighborhood_prompts"), _counterfact),
    Format("CounterFact, flat", ("rephrase_prompt", "ground_truth"), _counterfact_flat),
    Format("ZsRE", ("src", "alt", "answers", "loc", "loc_ans"), _zsre),
    Format("temporal", ("ood_rephrase",), _temporal),
    Format("SelfCheckGPT hallucination", ("locality_prompt", "locality_ground_truth"), _selfcheck),
    Format("known facts", ("known_id", "attribute"), _known_facts),
    Format("classroom", ("paraphrases", "neighborhood", "portability"), _own),
)
KNOWN = "; ".join(f"{form.name} ({', '.join(form.keys)})" for form in FORMATS)
