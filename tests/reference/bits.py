"""Whether a change of the code left all numbers as they were, bit for bit. Temporary.

    python -m tests.reference.bits --write    on the commit before
    python -m tests.reference.bits            on the commit after: says what differs

Digests of two edits in a row by every editor on tiny models of three families, of an evaluation's
rows, an answer, a score and a stream of three batches. One thread, about two minutes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from pathlib import Path

import torch

import lib
from tests.support.editor_settings import ELSEWHERE, A, B, model, settings

FILE = Path(__file__).with_suffix(".json")
FAMILIES = ("gpt2", "llama", "gemma3_text")
C = lib.Fact("My cat", "{} sleeps on", "xy")


def digest(*values: object) -> str:
    made = hashlib.sha256()
    for value in values:
        if isinstance(value, torch.Tensor):
            value = (
                value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
            )
        made.update(value if isinstance(value, bytes) else repr(value).encode())
    return made.hexdigest()[:16]


def changed(lm: lib.LM, patch: lib.Patch) -> str:
    """What a patch does: the weights under it and the tensors of its routes."""
    weights = [(name, lm.weight(name, patch)) for name in sorted(patch.weights)]
    routes = [
        (name, *sorted(route.tensors().items())) for name, route in sorted(patch.routes.items())
    ]
    return digest(*(part for pair in weights for part in pair), *(
        part for name, *pairs in routes for pair in pairs for part in (name, *pair)
    ), [(f.text, f.target_new) for edit in patch.log for f in edit.facts])  # fmt: skip


def found() -> dict[str, str]:
    digests = {}
    for family in FAMILIES:
        lm = model(family)
        for name in sorted(lib.EDITORS):
            editor = lib.EDITORS[name](lm, **settings(name, family))
            first = editor.edit([A])
            second = editor.edit([C], after=first)
            digests[f"{family} {name}"] = changed(lm, first) + changed(lm, second)
        cases = [
            lib.Case(fact, paraphrases=(f"Say: {fact.text}",), locality=tuple(ELSEWHERE))
            for fact in (A, B, C, lib.Fact("The sea", "{} is", "qz"))
        ]
        editor = lib.EDITORS["rome"](lm, **settings("rome", family))
        patch = editor.edit([A])
        rows = lib.evaluate(lm, cases, patch).rows
        digests[f"{family} evaluate"] = digest(rows.to_csv(index=False))
        with lm.patched(patch):
            digests[f"{family} answer"] = digest(lm.answer(A.text), lm.generate([A.text]))
            scored = lm.score([A.text, ELSEWHERE[0]], ["xy", "qz"])
        digests[f"{family} score"] = digest(scored)
        run = lib.stream(lm, editor, cases[:3], batch_size=1).finish()
        digests[f"{family} stream"] = changed(lm, run.patch) + digest(
            [{k: v for k, v in row.items() if k not in ("seconds", "scores")} for row in run.rows]
        )
    return digests


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    now = found()
    if "--write" in sys.argv:
        FILE.write_text(json.dumps(now, indent=1) + "\n")
    before = json.loads(FILE.read_text())
    differ = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    print(*differ, f"{len(now)} digests, {len(differ)} differ", sep="\n")
    sys.exit(bool(differ))
