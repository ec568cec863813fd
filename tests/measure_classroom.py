"""Re-measures what lib/classroom.json claims about the default model.

    python -m tests.measure_classroom            # table and violations; exit code 1 on a violation

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
FLOORS = {"cases": 80, "relations": 10, "one_token": 15, "different_locality_prompts": 30}
REQUIRED = "id relation subject prompt target_new target_true paraphrases neighborhood locality"


def begins_with(text: str, answer: str) -> bool:
    """Whether text begins with the answer, then a boundary; case and leading quotes are ignored."""
    text = text.lstrip(" \n\"'“”‘’").casefold()
    answer = answer.strip(" \"'“”‘’").casefold()
    rest = text[len(answer) :]
    return text.startswith(answer) and not rest[:1].isalnum()


@torch.no_grad()
def generate(model, tokenizer, prompts: list[str], batch: int = 64) -> dict[str, str]:
    """Prompt -> greedy continuation, left-padded batches of similar length, no chat template."""
    ids = {p: tokenizer(p).input_ids for p in prompts}
    order = sorted(ids, key=lambda p: len(ids[p]))
    pad, out = tokenizer.pad_token_id or 0, {}
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        width = max(len(ids[p]) for p in part)
        tokens = torch.tensor([[pad] * (width - len(ids[p])) + ids[p] for p in part])
        mask = torch.tensor([[0] * (width - len(ids[p])) + [1] * len(ids[p]) for p in part])
        made = model.generate(
            input_ids=tokens,
            attention_mask=mask,  # transformers makes position ids from it
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=pad,
        )
        rows = tokenizer.batch_decode(made[:, width:], skip_special_tokens=True)
        out.update(zip(part, rows, strict=True))
    return out


def words_before(text: str, subject: str) -> str | None:
    """What stands before the subject (its first letter in either case), None where it is absent."""
    first = f"[{re.escape(subject[0].upper() + subject[0].lower())}]"
    found = re.search(rf"(?<!\w){first}{re.escape(subject[1:])}(?!\w)", text)
    return None if found is None else text[: found.start()].strip().casefold()


def moved(case: dict) -> list[bool]:
    """Per paraphrase: whether the words before the subject differ from the edit prompt's."""
    before = case["prompt"].split("{}")[0].strip().casefold()
    return [words_before(p, case["subject"]) != before for p in case["paraphrases"]]


def one_token(case: dict, tokenizer) -> bool:
    """Whether the subject is a single token at position 0 of the edit prompt."""
    subject, prompt = case["subject"], case["prompt"].format(case["subject"])
    ids = tokenizer(subject).input_ids
    return prompt.startswith(subject) and len(ids) == 1 and tokenizer(prompt).input_ids[:1] == ids


def problems_of_form(cases: list[dict]) -> list[tuple]:
    """(id, sentence) for everything that is wrong without asking the model."""
    found = []
    subjects = Counter(c["subject"].casefold() for c in cases)
    for number, c in enumerate(cases):
        edit = c["prompt"].format(c["subject"])
        texts = [edit, *c["paraphrases"], *c["locality"]] + [n["prompt"] for n in c["neighborhood"]]
        checks = {
            "a key is missing": all(key in c for key in REQUIRED.split()),
            "ids do not count up from 0": c["id"] == number,
            "the prompt has not exactly one {}": c["prompt"].count("{}") == 1,
            "the subject occurs in another case": subjects[c["subject"].casefold()] == 1,
            "the new target is the true one": not begins_with(c["target_new"], c["target_true"]),
            "fewer than 2 paraphrases": len(c["paraphrases"]) >= 2,
            "fewer than 3 neighborhood prompts": len(c["neighborhood"]) >= 3,
            "fewer than 2 locality prompts": len(c["locality"]) >= 2,
            "a prompt stands there twice": len(set(texts)) == len(texts),
            "a prompt ends in a space": all(t == t.strip() for t in texts),
            "a paraphrase lacks the subject": None
            not in [words_before(p, c["subject"]) for p in c["paraphrases"]],
            "a neighborhood or locality prompt has the subject": not any(
                words_before(t, c["subject"]) is not None for t in texts[1 + len(c["paraphrases"]) :]
            ),
        }
        found += [(c["id"], sentence) for sentence, good in checks.items() if not good]
    return found


def measure(cases: list[dict], model, tokenizer) -> tuple[dict, list[tuple]]:
    """The table (name -> number or (right, all)) and the violations (id, sentence)."""
    edits = {c["id"]: c["prompt"].format(c["subject"]) for c in cases}
    tests = [n["prompt"] for c in cases for n in c["neighborhood"]]
    tests += [p for c in cases for p in c["paraphrases"]] + list(edits.values())
    said = generate(model, tokenizer, tests)
    bad, known, reworded, near, same = problems_of_form(cases), [], [], [], []
    for c in cases:
        known.append(begins_with(said[edits[c["id"]]], c["target_true"]))
        answers = [begins_with(said[p], c["target_true"]) for p in c["paraphrases"]]
        reworded += answers
        same.append(any(n["target"] == c["target_true"] for n in c["neighborhood"]))
        if not known[-1]:
            bad.append((c["id"], f"{edits[c['id']]!r} gives {said[edits[c['id']]]!r}"))
        if not any(answers):
            bad.append((c["id"], "no paraphrase gives the true answer"))
        for n in c["neighborhood"]:
            near.append(begins_with(said[n["prompt"]], n["target"]))
            if not near[-1]:
                bad.append((c["id"], f"{n['prompt']!r} gives {said[n['prompt']]!r}"))
    short = [c["id"] for c in cases if one_token(c, tokenizer)]
    table = {
        "cases": len(cases),
        "relations": len({c["relation"] for c in cases}),
        "one_token": len(short),
        "one_token with an even id": sum(i % 2 == 0 for i in short),
        "edit prompts answered right": (sum(known), len(known)),
        "paraphrases answered right": (sum(reworded), len(reworded)),
        "neighborhood answered right": (sum(near), len(near)),
        "cases with a neighbor of the same answer": (sum(same), len(same)),
        "cases with words before the subject changed": (sum(any(moved(c)) for c in cases), len(cases)),
        "paraphrases with words before the subject changed": (
            sum(sum(moved(c)) for c in cases),
            len(reworded),
        ),
        "different_locality_prompts": len({p for c in cases for p in c["locality"]}),
        "portability prompts": sum(len(c.get("portability", [])) for c in cases),
    }
    bad += [("-", f"{name}: {table[name]} < {n}") for name, n in FLOORS.items() if table[name] < n]
    for name, floor in {
        "cases with words before the subject changed": 0.5,
        "paraphrases answered right": 0.7,
    }.items():
        if table[name][0] < floor * table[name][1]:
            bad.append(("-", f"{name}: under {floor:.0%}"))
    return table, bad


def main() -> int:
    start = time.perf_counter()
    cases = json.loads(FILE.read_text(encoding="utf-8"))
    folder = default_model()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    table, bad = measure(cases, model, tokenizer)
    for name, value in table.items():
        text = f"{value[0]}/{value[1]} ({value[0] / value[1]:.1%})" if type(value) is tuple else value
        print(f"{name.replace('_', ' '):52}{text}")
    for number, sentence in bad:
        print(f"violation, id {number}: {sentence}")
    print(f"{len(bad)} violations, {time.perf_counter() - start:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
