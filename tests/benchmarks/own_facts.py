"""Where the thresholds of typed facts and of the dossier come from.

    python -m tests.benchmarks.own_facts --counterfact FILE

The first part asks for how many prompts the nearest wording, by words and state, is of the right
relation: the classroom's prompts, each compared with the other wordings only, and CounterFact's,
whose relation ids name the classroom's relations below. It tries six depths of the state and five
weights of the words, then the thresholds of `lib.matches` at its own depth. The second part makes
dossiers of made-up names, of which no answer can be known, and counts those that pass as known.
FILE is CounterFact as published (rows with "requested_rewrite"). Results in own_facts.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lib
from lib.atomic_files import whole_file
from lib.data.relations import relations
from lib.evaluation import own_facts
from lib.interpret import entity_dossier
from lib.model import activations
from tests.benchmarks import command

OUT = Path(__file__).with_suffix(".json")
BLOCKS = (8, 12, 16, 20, 24, 28)
WEIGHTS = (0.0, 0.25, 0.5, 1.0, None)  # of the words beside the state; None: the words alone
# CounterFact's relation ids -> the classroom's relations that mean the same
MEANT = {
    "P103": ("mother tongue of",), "P178": ("developer of",), "P176": ("developer of",),
    "P30": ("continent of",), "P159": ("headquarters of",), "P37": ("official language of",),
    "P17": ("country of city",), "P641": ("sport of", "sport of the team"),
    "P36": ("capital of", "state capital"), "P495": ("country of origin of",),
    "P27": ("country of birth of",),
}  # fmt: skip
MADE_UP = (
    "Torvik Ansgard", "The Bellowen Tower", "Quorland", "Misha Drellov", "Zebulon Harkness",
    "Port Velmara", "The Oster Bridge", "Lanvexia", "Professor Ilda Trosk", "Brunnick", "Kestrova",
    "Olen Marrowby", "The Tale of Sennick", "Vaskarine", "Dorrinfold", "Emil Santovar",
)  # fmt: skip


def states(lm: lib.LM, texts: list[str]) -> dict[int, Tensor]:
    """The unedited model's states at the last tokens before each of BLOCKS, (n, d)."""
    rows, _ = lm.rows(texts)
    names = {block: f"{lm.arch.blocks}.{block}" for block in BLOCKS}
    found = activations.module_inputs_at(
        lm, rows, [len(row) - 1 for row in rows], list(names.values())
    )
    return {block: found[name].float().reshape(len(rows), -1) for block, name in names.items()}


def unit(X: Tensor, of: Tensor) -> Tensor:
    """States centered and scaled over the wordings, as vectors of length 1."""
    X = (X - of.mean(0)) / of.std(0, correction=0)
    return X / X.norm(dim=1, keepdim=True)


def shares(prompts: list[str], wordings: list[str]) -> Tensor:
    """The share of common words of each prompt with each wording."""
    words = [own_facts._words(wording) for wording in wordings]
    return torch.tensor(
        [[own_facts._share(own_facts._words(p), word) for word in words] for p in prompts]
    )


def matching(lm: lib.LM, counterfact: Path) -> dict[str, Any]:
    """How often the nearest wording is of the right relation, and what the thresholds accept."""
    asked = []  # (relation, template, text): each wording about two subjects
    for name, relation in relations().items():
        subjects = [subject for subject, _ in relation.answers]
        for i, template in enumerate(relation.templates):
            for k in (0, 1):
                subject = subjects[(2 * i + 7 * k) % len(subjects)]
                asked.append((name, template, relation.ask(template, subject)))
    rewrites = [row["requested_rewrite"] for row in json.loads(counterfact.read_text())]
    names, wordings = [name for name, _, _ in asked], [template for _, template, _ in asked]
    known = states(lm, [text for _, _, text in asked])
    typed = states(lm, [row["prompt"].replace("{}", row["subject"]) for row in rewrites])
    inside = torch.tensor([row["relation_id"] in MEANT for row in rewrites])
    itself = torch.tensor([[a == b for b in wordings] for a in wordings])
    words = shares(wordings, wordings), shares([row["prompt"] for row in rewrites], wordings)

    def nearest(block: int, weight: float | None, which: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of each prompt: whether the nearest wording is right, its score, its state's cosine."""
        of = known[block]
        near = unit(known[block] if which == 0 else typed[block], of) @ unit(of, of).T
        score = words[which] if weight is None else near + weight * words[which]
        best = (score.masked_fill(itself, -9) if which == 0 else score).max(1)
        meant = [(name,) for name in names]
        if which == 1:
            meant = [MEANT.get(row["relation_id"], ()) for row in rewrites]
        right = [names[j] in meant[i] for i, j in enumerate(best.indices.tolist())]
        return torch.tensor(right), best.values, near[range(len(near)), best.indices]

    def share(chosen: Tensor) -> float:
        return round(chosen.float().mean().item(), 4)

    grid = []
    for block in BLOCKS:
        for weight in WEIGHTS:
            own, other = nearest(block, weight, 0)[0], nearest(block, weight, 1)[0][inside]
            grid.append(
                {"block": block, "weight": weight, "classroom": share(own),
                 "counterfact": share(other)}
            )  # fmt: skip
    block = min(round(own_facts.DEPTH * lm.n_layers), lm.n_layers - 1)
    accepted = {}
    for which, name in enumerate(("classroom", "counterfact")):
        right, score, state = nearest(block, 1.0, which)
        fits = (score >= own_facts.LEAST) & (state >= own_facts.STATE)
        has = inside if which else torch.ones(len(right), dtype=torch.bool)
        accepted[name] = {
            "prompts": int(has.sum()), "right": share((right & fits)[has]),
            "wrong": share((~right & fits)[has]),
        }  # fmt: skip
        if which:
            accepted["no such relation"] = {
                "prompts": int((~has).sum()), "accepted": share(fits[~has]),
            }  # fmt: skip
    return {"grid": grid, "block": block, "accepted": accepted}


def made_up(lm: lib.LM) -> dict[str, Any]:
    """The share of answers about made-up names that pass each pair of thresholds."""
    told = [line.before for name in MADE_UP for line in lib.dossier(lm, name).lines]
    passed = {}
    for agreed in (2 / 3, entity_dossier.AGREED):
        for lifted in (1.0, 2.0, entity_dossier.LIFTED, 4.0):
            count = sum(one.agreement >= agreed - 1e-9 and one.lift > lifted for one in told)
            passed[f"{agreed:.2f} of the wordings, {lifted} nats"] = round(count / len(told), 4)
    return {"names": len(MADE_UP), "answers": len(told), "passed": passed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counterfact", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    lm = lib.load(dtype="float32")
    found: dict[str, Any] = {"model": lm.fingerprint, "date": time.strftime("%Y-%m-%d")}
    for name, part in (
        ("relations", lambda: matching(lm, given.counterfact)),
        ("made-up names", lambda: made_up(lm)),
    ):
        found[name] = part()
        with whole_file(given.out) as file:
            file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps(found[name]), flush=True)


if __name__ == "__main__":
    command(main)
