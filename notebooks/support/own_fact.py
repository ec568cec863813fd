"""The student's own fact: typed once, on page 00, kept in `my/`, and carried along from there."""

from __future__ import annotations

import json

import lib
from lib.atomic_files import whole_file

from . import hand_ins

PARTS = "subject", "prompt", "answer"


def keep(subject: str = "", prompt: str = "", answer: str = "") -> lib.Fact | None:
    """Keep a fact for the pages that follow, and return it; of empty texts what is kept already.

    FactError says what is wrong with it, such as a prompt without `{}` for the subject.
    """
    if not (subject or prompt or answer):
        return read()
    fact, path = lib.Fact(subject, prompt, answer), hand_ins.MY / "own_fact.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part:
            texts = dict(zip(PARTS, (subject, prompt, answer), strict=True))
            part.write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
        print(f"Your fact is saved, and later notebooks will use it: {fact.text} → {answer}")
    except (OSError, lib.Error) as error:  # the page goes on with it
        print(f"It could not be saved for later notebooks ({error}).")
    return fact


def read() -> lib.Fact | None:
    """The fact that was typed; None, and one printed sentence, where there is none."""
    try:
        kept = json.loads((hand_ins.MY / "own_fact.json").read_text(encoding="utf-8"))
        fact = lib.Fact(*(kept[part] for part in PARTS))
    except (OSError, ValueError, KeyError, TypeError):
        print("You haven't entered your own fact yet. Type one in notebook 00 to use it here.")
        return None
    print(f"Using your own fact: {fact.text} → {fact.target_new}")
    return fact
