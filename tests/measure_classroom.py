"""Measures again what lib/classroom.json claims about the default model.

    python -m tests.measure_classroom            # a table and every violation; exit code 1 on one

"Right" is the event *generation*: greedy free generation begins with the answer, then a boundary.
Not collected by pytest (about two minutes on one thread); the functions can be imported.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lib.fetch import default_model

FILE = Path(__file__).parents[1] / "lib" / "classroom.json"
NEW_TOKENS = 16
KEYS = "id relation subject prompt target_new target_true paraphrases neighborhood locality".split()
FLOORS = {"cases": 80, "relations": 10, "one-token subjects": 15, "different locality prompts": 30}
SHARES = {"words before the subject changed (cases)": 0.5, "paraphrases answered right": 0.7}
QUOTES = "\"'“”‘’"


def begins_with(text: str, answer: str) -> bool:
    """Whether text begins with the answer, then a boundary; case and leading quotes are ignored."""
    text, answer = text.lstrip(" \n" + QUOTES).casefold(), answer.strip(" " + QUOTES).casefold()
    return text.startswith(answer) and not text[len(answer) :][:1].isalnum()


@torch.no_grad()
def generate(model, tokenizer, prompts: list[str], batch: int = 96) -> dict[str, str]:
    """Prompt -> greedy continuation; left-padded batches of similar length, no chat template."""
    ids = {p: tokenizer(p).input_ids for p in prompts}
    order, said = sorted(ids, key=lambda p: len(ids[p])), {}
    how = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "pad_token_id": 0}
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        width = max(len(ids[p]) for p in part)
        tokens = torch.tensor([[0] * (width - len(ids[p])) + ids[p] for p in part])
        mask = torch.tensor([[0] * (width - len(ids[p])) + [1] * len(ids[p]) for p in part])
        made = model.generate(input_ids=tokens, attention_mask=mask, **how)
        texts = tokenizer.batch_decode(made[:, width:], skip_special_tokens=True)
        said.update(zip(part, texts, strict=True))
    return said


def words_before(text: str, subject: str) -> str | None:
    """What stands before the subject (its first letter in either case); None where it is absent."""
    first = f"[{re.escape(subject[0].upper() + subject[0].lower())}]"
    found = re.search(rf"(?<!\w){first}{re.escape(subject[1:])}(?!\w)", text)
    return None if found is None else text[: found.start()].strip().casefold()


def changes_before(case: dict) -> list[bool]:
    """Per paraphrase: whether the words before the subject differ from the edit prompt's."""
    before = case["prompt"].split("{}")[0].strip().casefold()
    return [words_before(p, case["subject"]) != before for p in case["paraphrases"]]


def one_token(case: dict, tokenizer) -> bool:
    """Whether the subject is a single token at position 0 of the edit prompt."""
    ids = tokenizer(case["subject"]).input_ids
    whole = tokenizer(case["prompt"].format(case["subject"])).input_ids
    return case["prompt"].startswith("{}") and len(ids) == 1 and whole[:1] == ids


def form_problems(cases: list[dict]) -> list[tuple]:
    """(id, sentence) for everything that is wrong without asking the model."""
    found, subjects = [], Counter(c.get("subject", "").casefold() for c in cases)
    for number, c in enumerate(cases):
        if missing := [key for key in KEYS if key not in c]:
            found.append((number, f"keys missing: {missing}"))
            continue
        others = [n["prompt"] for n in c["neighborhood"]] + c["locality"]
        texts = [c["prompt"].format(c["subject"]), *c["paraphrases"], *others]
        right = {
            "the ids do not count up from 0": c["id"] == number,
            "the prompt has not exactly one {}": c["prompt"].count("{}") == 1,
            "the subject occurs in another case": subjects[c["subject"].casefold()] == 1,
            "the new target is the true one": not begins_with(c["target_new"], c["target_true"]),
            "fewer than 2 paraphrases": len(c["paraphrases"]) >= 2,
            "fewer than 3 neighborhood prompts": len(c["neighborhood"]) >= 3,
            "fewer than 2 locality prompts": len(c["locality"]) >= 2,
            "the same text twice": len(set(texts)) == len(texts),
            "a text begins or ends in a space": all(t == t.strip() for t in texts),
            "a paraphrase lacks the subject": all(
                words_before(p, c["subject"]) is not None for p in c["paraphrases"]
            ),
            "the subject is in a neighborhood or locality prompt": all(
                words_before(t, c["subject"]) is None for t in others
            ),
        }
        found += [(number, sentence) for sentence, good in right.items() if not good]
    return found


def measure(cases: list[dict], model, tokenizer) -> tuple[dict, list[tuple]]:
    """The table (name -> number, or list of booleans) and the violations (id, sentence)."""
    bad = form_problems(cases)
    edits = [c["prompt"].format(c["subject"]) for c in cases]
    near = [n for c in cases for n in c["neighborhood"]]
    reworded = [p for c in cases for p in c["paraphrases"]]
    said = generate(model, tokenizer, [*edits, *reworded, *(n["prompt"] for n in near)])
    for c, edit in zip(cases, edits, strict=True):
        asked = [(edit, c["target_true"])] + [(n["prompt"], n["target"]) for n in c["neighborhood"]]
        bad += [(c["id"], f"{p!r} → {said[p]!r}") for p, a in asked if not begins_with(said[p], a)]
        if not any(begins_with(said[p], c["target_true"]) for p in c["paraphrases"]):
            bad.append((c["id"], "the model answers no paraphrase right"))
    truth = {edit: c["target_true"] for c, edit in zip(cases, edits, strict=True)}
    answers = [(p, c["target_true"]) for c in cases for p in c["paraphrases"]]
    short = [c["id"] for c in cases if one_token(c, tokenizer)]
    table = {
        "cases": len(cases),
        "relations": len({c["relation"] for c in cases}),
        "one-token subjects": len(short),
        "one-token subjects with an even id": len([i for i in short if i % 2 == 0]),
        "edit prompts answered right": [begins_with(said[p], a) for p, a in truth.items()],
        "paraphrases answered right": [begins_with(said[p], a) for p, a in answers],
        "neighborhood answered right": [begins_with(said[n["prompt"]], n["target"]) for n in near],
        "a neighbor has the same answer (cases)": [
            any(n["target"] == c["target_true"] for n in c["neighborhood"]) for c in cases
        ],
        "words before the subject changed (cases)": [any(changes_before(c)) for c in cases],
        "words before the subject changed (all)": [b for c in cases for b in changes_before(c)],
        "different locality prompts": len({p for c in cases for p in c["locality"]}),
        "portability prompts": sum(len(c.get("portability", [])) for c in cases),
    }
    bad += [("-", f"{name}: {table[name]} < {n}") for name, n in FLOORS.items() if table[name] < n]
    for name, n in SHARES.items():
        if sum(table[name]) < n * len(table[name]):
            bad.append(("-", f"{name}: under {n:.0%}"))
    return table, bad


def main() -> int:
    """Print the table and the violations."""
    start, folder = time.perf_counter(), default_model()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    cases = json.loads(FILE.read_text(encoding="utf-8"))
    table, bad = measure(cases, model, AutoTokenizer.from_pretrained(folder))
    for name, v in table.items():
        text = f"{sum(v)}/{len(v)} = {sum(v) / len(v):.1%}" if isinstance(v, list) else v
        print(f"{name:42}{text}")
    for number, sentence in bad:
        print(f"violation, id {number}: {sentence}")
    print(f"{len(bad)} violations, {time.perf_counter() - start:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
