"""Measures again what lib/data/classroom.json claims about the default model.

    python -m tests.benchmarks.measure_classroom   # a table and every violation; exit code 1 on one

"Right" is the event *generation*: greedy free generation begins with the answer, then a boundary.
Not collected by pytest (two minutes on one thread); the functions can be imported.
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

from lib.model.packaged_models import packaged_model

FILE = Path(__file__).parents[2] / "lib" / "data" / "classroom.json"
NEW_TOKENS = 16
FLOORS = {
    "cases": 80,
    "relations": 10,
    "one-token subjects": 15,
    "different locality prompts": 30,
    "consequences": 150,
}
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
        room = [len(ids[part[-1]]) - len(ids[p]) for p in part]  # the last one is the longest
        tokens = torch.tensor([[0] * r + ids[p] for r, p in zip(room, part, strict=True)])
        mask = torch.tensor([[0] * r + [1] * (tokens.shape[1] - r) for r in room])
        made = model.generate(input_ids=tokens, attention_mask=mask, **how)
        texts = tokenizer.batch_decode(made[:, tokens.shape[1] :], skip_special_tokens=True)
        said.update(zip(part, texts, strict=True))
    return said


def words_before(text: str, subject: str) -> str | None:
    """What stands before the subject (its first letter in either case); None where it is absent."""
    first, rest = subject[0].upper() + subject[0].lower(), re.escape(subject[1:])
    found = re.search(rf"(?<!\w)[{first}]{rest}(?!\w)", text)
    return None if found is None else text[: found.start()].strip().casefold()


def changes_before(case: dict) -> list[bool]:
    """Per paraphrase: whether the words before the subject differ from the edit prompt's."""
    before = case["prompt"].split("{}")[0].strip().casefold()
    return [words_before(p, case["subject"]) != before for p in case["paraphrases"]]


def one_token(case: dict, tokenizer) -> bool:
    """Whether the subject is a single token at position 0 of the edit prompt."""
    ids = tokenizer(case["subject"]).input_ids
    whole = tokenizer(case["prompt"].replace("{}", case["subject"])).input_ids
    return case["prompt"].startswith("{}") and len(ids) == 1 and whole[:1] == ids


def form_problems(cases: list[dict]) -> list[tuple]:
    """(id, sentence) for everything that is wrong without asking the model."""
    found, subjects = [], Counter(c["subject"].casefold() for c in cases)
    for number, c in enumerate(cases):
        others = [n["prompt"] for n in c["neighborhood"]] + c["locality"]
        texts = [c["prompt"].replace("{}", c["subject"]), *c["paraphrases"], *others]
        before = [words_before(t, c["subject"]) for t in texts[1:]]
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
            "a paraphrase lacks the subject": None not in before[: len(c["paraphrases"])],
            "another prompt has the subject": set(before[len(c["paraphrases"]) :]) == {None},
        }
        found += [(number, sentence) for sentence, good in right.items() if not good]
    return found


def measure(cases: list[dict], model, tokenizer) -> tuple[dict, list[tuple]]:
    """The table (name -> number, or list of booleans) and the violations (id, sentence)."""
    bad = form_problems(cases)
    edits = [c["prompt"].replace("{}", c["subject"]) for c in cases]
    near = [n for c in cases for n in c["neighborhood"]]
    reworded = [p for c in cases for p in c["paraphrases"]]
    said = generate(model, tokenizer, [*edits, *reworded, *(n["prompt"] for n in near)])
    for c, edit in zip(cases, edits, strict=True):
        asked = [(edit, c["target_true"])] + [(n["prompt"], n["target"]) for n in c["neighborhood"]]
        bad += [(c["id"], f"{p!r} → {said[p]!r}") for p, a in asked if not begins_with(said[p], a)]
        if not any(begins_with(said[p], c["target_true"]) for p in c["paraphrases"]):
            bad.append((c["id"], "the model answers no paraphrase right"))
    same = [any(n["target"] == c["target_true"] for n in c["neighborhood"]) for c in cases]
    known = [begins_with(said[e], c["target_true"]) for e, c in zip(edits, cases, strict=True)]
    answers = [(p, c["target_true"]) for c in cases for p in c["paraphrases"]]
    short = [c["id"] for c in cases if one_token(c, tokenizer)]
    table = {
        "cases": len(cases),
        "relations": len({c["relation"] for c in cases}),
        "one-token subjects": len(short),
        "one-token subjects with an even id": len([i for i in short if i % 2 == 0]),
        "edit prompts answered right": known,
        "paraphrases answered right": [begins_with(said[p], a) for p, a in answers],
        "neighborhood answered right": [begins_with(said[n["prompt"]], n["target"]) for n in near],
        "same answer in a neighbor (cases)": same,
        "words before the subject changed (cases)": [any(changes_before(c)) for c in cases],
        "words before the subject changed (all)": [b for c in cases for b in changes_before(c)],
        "different locality prompts": len({p for c in cases for p in c["locality"]}),
        "consequences": sum(len(c.get("portability", [])) for c in cases),
        **consequences(cases, model, tokenizer),
    }
    bad += [("-", f"{name}: {table[name]} < {n}") for name, n in FLOORS.items() if table[name] < n]
    low = [name for name, n in SHARES.items() if sum(table[name]) < n * len(table[name])]
    bad += [("-", f"{name}: under {SHARES[name]:.0%}") for name in low]
    return table, bad


def consequences(cases: list[dict], model, tokenizer) -> dict[str, list[bool]]:
    """Of every kind of consequence: whether the model knows all parts of each question.

    A question without parts, such as a reverse one, is known in any case.
    """
    probes = [probe for c in cases for probe in c.get("portability", [])]
    parts = [part for probe in probes for part in probe.get("parts", [])]
    said = generate(model, tokenizer, [part["prompt"] for part in parts]) if parts else {}

    def known(part: dict) -> bool:
        answers = [part["target"], *part.get("aliases", [])]
        return any(begins_with(said[part["prompt"]], answer) for answer in answers)

    found: dict[str, list[bool]] = {}
    for probe in probes:
        right = all(known(part) for part in probe.get("parts", []))
        found.setdefault(f"consequences, {probe['kind']}: parts known", []).append(right)
    return found


def main() -> int:
    """Print the table and the violations."""
    start, folder = time.perf_counter(), packaged_model()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    cases = json.loads(FILE.read_text(encoding="utf-8"))
    table, bad = measure(cases, model, AutoTokenizer.from_pretrained(folder))
    for name, v in table.items():
        text = f"{sum(v)}/{len(v)} = {sum(v) / len(v):.1%}" if isinstance(v, list) else v
        print(f"{name:42}{text}")
    lines = [f"violation, id {number}: {sentence}" for number, sentence in bad]
    print(*lines, f"{len(bad)} violations, {time.perf_counter() - start:.0f} s", sep="\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
