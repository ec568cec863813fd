"""Makes tests/data/abilities.json from candidates: keeps what the embedded model has right.

    python -m tests.make_abilities CANDIDATES.json     # writes tests/data/abilities.json
    python -m tests.make_abilities                     # measures the file that is there

CANDIDATES.json is {kind: [[prompt, answer] or [prompt, answer, [wrong, …]], …]}. Cloze sentences
get their wrong answers here: those of twelve other sentences, so that a model has to have read this
one. "Right" is as tests.benchmarks.abilities says. Not collected by pytest (one minute).
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import lib
from tests.benchmarks.abilities import ABILITIES, KINDS, Ability, _right, items

OTHERS = 12


def candidates(path: Path) -> list[Ability]:
    """The candidates of a file; cloze sentences with the answers of others as wrong ones."""
    given = json.loads(path.read_text(encoding="utf-8"))
    draw, some = random.Random(0), []
    answers = sorted({answer for _, answer, *_ in given["cloze"]})
    for kind in KINDS:
        for prompt, answer, *wrong in given[kind]:
            others = tuple(wrong[0]) if wrong else ()
            if kind == "cloze":
                others = tuple(draw.sample([a for a in answers if a != answer], OTHERS))
            some.append(Ability(kind, prompt, answer, others))
    return some


def main() -> int:
    """Write the file, or say which of its items the embedded model has wrong."""
    lm = lib.load(dtype="float32")
    some = candidates(Path(sys.argv[1])) if len(sys.argv) > 1 else list(items())
    right = _right(lm, some)
    for kind in KINDS:
        own = [good for good, item in zip(right, some, strict=True) if item.kind == kind]
        print(f"{kind:16}{sum(own)} of {len(own)}")
    if len(sys.argv) > 1:
        lines = []
        for kind in KINDS:
            kept = [i for good, i in zip(right, some, strict=True) if good and i.kind == kind]
            rows = [
                json.dumps(
                    [i.prompt, i.answer, *([i.wrong] if i.wrong else [])], ensure_ascii=False
                )
                for i in kept
            ]
            lines.append(f"{json.dumps(kind)}: [\n" + ",\n".join(rows) + "\n]")
        ABILITIES.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
