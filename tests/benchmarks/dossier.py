"""What a dossier is worth: how often it takes a made-up name for known, and edges without a run.

    python -m tests.benchmarks.dossier --minutes 4

The first part asks everything about fifty made-up names, of which no answer can be known, and
counts the answers that pass as consistent. The thresholds were chosen on sixteen of them
(`own_facts`); the other thirty-four were not looked at before. The second part compares what an
entity's bare embedding opens (`static_edges`), and what it opens in context (`features`), with what
the model answers about it: the share of tokens that are among the five likeliest next tokens of any
relation, beside the same share for the tokens of other entities. Rows in dossier.json, one per
name, which is gone on with after a stop.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import lib
from lib.atomic_files import whole_file
from lib.data.relations import relations
from lib.interpret.entity_dossier import AGREED, LIFTED
from lib.interpret.entity_features import features
from lib.interpret.static_edges import static_edges
from tests.benchmarks import command
from tests.benchmarks.own_facts import MADE_UP as SEEN

OUT = Path(__file__).with_suffix(".json")
FRESH = (
    "Harlen Voss", "Mirabel Tanquist", "The Kelvarn Cathedral", "Ostrellia", "Lake Pirrowen",
    "Dorvane Industries", "Captain Yusel Abrandt", "The Song of Ferrimond", "Ganthilde",
    "Pellucore", "Mount Zarvik", "Irina Solvestad", "The Wenlow Museum", "Tamberlyn",
    "Sir Edric Polwhistle",
    "Nuvexa", "The Battle of Crennick", "Abel Montrachet", "Korvisk", "The Glass Orchard of Nim",
    "Quillan Ashgrove", "Saint Orsilda", "Verhallen Motors", "The Ilmarin River", "Jorun Takeshi",
    "Bastenholm", "Felix Undervale", "The Theory of Broken Tides", "Zhenmora", "Ravello Dintz",
    "The Marrow Keys", "Oluwaseun Briarcliff", "Thessaline", "Piotr Galloway-Nemec",
)  # fmt: skip
TOP = 5  # next tokens of a relation that count as answers
LEAST = (2 / 3, AGREED)
NATS = (1.0, 2.0, LIFTED, 4.0)


def made_up(lm: lib.LM, name: str) -> dict[str, Any]:
    """How many answers about a made-up name pass each pair of thresholds."""
    told = [line.before for line in lib.dossier_lines(lm, name)]
    passed = {
        f"{agreed:.2f} of the wordings, {lifted} nats": sum(
            one.agreement >= agreed - 1e-9 and one.lift > lifted for one in told
        )
        for agreed in LEAST
        for lifted in NATS
    }
    return {"seen": name in SEEN, "answers": len(told), "passed": passed}


def entities() -> list[str]:
    """The first subject of each relation of the classroom."""
    return list(dict.fromkeys(one.answers[0][0] for one in relations().values()))


def opened(lm: lib.LM, entity: str) -> dict[str, Any]:
    """The tokens of an entity's static edges and features, and of the model's answers."""
    prompts = [one.ask(one.templates[0], entity) for one in relations().values()]
    likely = lm.next_token(prompts).topk(TOP).indices.flatten().tolist()
    words = [one.up[0] for layer in features(lm, entity) for one in layer.top]
    return {
        "edges": _plain(edge.token for edge in static_edges(lm, entity)),
        "features": _plain(words),
        "answers": _plain(lm.tokenizer.decode([token]) for token in likely),
    }


def _plain(tokens: Any) -> list[str]:
    """Tokens as they are compared: without white space, in small letters, each once, no blank."""
    return sorted({token.strip().casefold() for token in tokens} - {""})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=4, help="begin nothing after these")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    until = time.time() + 60 * given.minutes
    lm = lib.load(dtype="float32")
    found: dict[str, Any] = {"model": lm.fingerprint, "made up": {}, "entities": {}}
    if given.out.exists():
        found |= json.loads(given.out.read_text(encoding="utf-8"))
    todo = [("made up", made_up, name) for name in FRESH]
    todo += [("entities", opened, name) for name in entities()]
    todo += [("made up", made_up, name) for name in SEEN]
    for part, ask, name in todo:
        if name in found[part] or time.time() > until:
            continue
        began = time.process_time()
        found[part][name] = ask(lm, name)
        found["date"] = time.strftime("%Y-%m-%d")
        with whole_file(given.out) as file:
            file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(part, name, f"{time.process_time() - began:.1f} s", flush=True)


if __name__ == "__main__":
    command(main)
