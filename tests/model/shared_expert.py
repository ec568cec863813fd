"""Who follows an edit of a routed and of the shared expert, on tiny models that have both.

    python -m tests.model.shared_expert     # a minute; writes shared_expert.json

ROME writes SUBJECTS of each model one by one into the expert that the fact is sent to, and into the
shared one. Asked are the same subjects under other wordings, and other subjects under the fact's
own wording. Each of these prompts is *sent alike* where its subject's last token gets the written
routed expert, with any weight, and *sent elsewhere* where it does not. Stored are the median gains
of the new answer in nats. The models are random, so that neighbors are no neighbors in meaning: the
numbers say where a change arrives, not how good an edit is.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import median

import lib
from lib.data.facts import lookup
from lib.model.experts import mixtures
from lib.model.hooks import hooked
from lib.model.lm import LM

from . import families

STORE = Path(__file__).with_suffix(".json")
FAMILIES = ("deepseek_v3", "qwen2_moe", "hunyuan_v1_moe", "granitemoeshared")
SUBJECTS = ("The old tower", "My uncle Bob", "A small harbor", "The red river", "Queen Ada")
OWN = "I saw {}"
WORDINGS = ("They wrote about {}", "{}", "Near the city lies {}", "We talked of {}", "Who is {}")


def sent(lm: LM, fact: lib.Fact, layer: int) -> set[int]:
    """The routed experts that get the subject's last token in a layer."""
    ids, at = lookup(lm.tokenizer, fact)
    found: list[set[int]] = []
    mlp = mixtures(lm.model, lm.arch)[layer]
    with hooked(mlp.experts, lambda _, args, __: found.append({*args[1][at].tolist()})):
        lm.run([ids[: at + 1]])
    return found[0]


def measured(family: str) -> dict[str, dict[str, list[float]]]:
    """{expert that is written: {kind of prompt: gains}} of one family."""
    lm = families.built(family)
    gains: dict[str, dict[str, list[float]]] = {}
    for which in ("routed", "shared"):
        gains[which] = defaultdict(list)
        for subject in SUBJECTS:
            fact = lib.Fact(subject, OWN, "xy")
            lm.write_expert("routed")
            editor = lib.EDITORS["rome"](lm, **families.settings("rome", lm))
            layer = editor.config.layer
            with lm.sent(fact):
                number = int(lm.mlp_out(layer).split(".")[-2])
            asked = {("the fact", fact)}
            asked |= {("wording", lib.Fact(subject, text, "xy")) for text in WORDINGS}
            asked |= {("subject", lib.Fact(s, OWN, "xy")) for s in SUBJECTS if s != subject}
            alike = {one: number in sent(lm, one, layer) for _, one in asked}
            before = {one: lm.score(one.text, "xy").sum() for _, one in asked}
            lm.write_expert(which)
            with lm.patched(editor.edit([fact])):
                for kind, one in asked:
                    gain = (lm.score(one.text, "xy").sum() - before[one]).item()
                    where = "alike" if alike[one] else "elsewhere"
                    gains[which][kind if kind == "the fact" else f"{kind}, {where}"].append(gain)
    return gains


def row(family: str) -> dict[str, dict[str, tuple[float, int]]]:
    """{expert: {kind of prompt: (median gain, how many)}} of one family."""
    return {
        which: {kind: (round(median(some), 2), len(some)) for kind, some in sorted(kinds.items())}
        for which, kinds in measured(family).items()
    }


if __name__ == "__main__":
    rows = {family: row(family) for family in FAMILIES}
    STORE.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1))
