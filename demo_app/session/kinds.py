"""The kind of thing that a subject is, inferred from the model's own states.

A neighbor of a visitor's fact should be a subject of the same kind: for the Danube, another river.
The page has a list of well-known names sorted by kind (names.json). Names of the same kind have
similar states after "… is a", so we assign a subject to the kind of the nearest names, using the
linear discriminant that `python -m tests.support.read_kinds` fits to all names and stores. For a
model without a stored discriminant, only the names on the list have a kind.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from itertools import zip_longest
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

import lib
from lib.data.facts import Probe
from lib.data.relations import Relation, bare, relations
from lib.model import activations

NAMES = Path(__file__).with_name("names.json")
PROMPT = "{} is a"
DEPTH = 0.8  # relative depth of the block whose input is compared
GROUPS = {  # kinds that belong to the same broader kind
    "writer scientist musician artist actor athlete politician thinker": "person",
    "company organization team newspaper university band": "organization",
    "book film tv song painting": "work",
    "river mountain lake sea island country city state building": "place",
    "software vehicle object game": "product",
}
GROUP = {kind: group for kinds, group in GROUPS.items() for kind in kinds.split()}
# Minimum log-odds against kinds from other groups for assigning a kind. With this threshold, 95% of
# the assignments are right on names that the discriminant has not seen (see read_kinds.py).
CLEAR = 12.0


@cache
def named() -> dict[str, tuple[str, ...]]:
    """{kind: its names, best known first}."""
    held = json.loads(NAMES.read_text(encoding="utf-8"))
    return {kind: tuple(names) for kind, names in held["kinds"].items()}


@cache
def listed() -> dict[str, str]:
    """{name: its kind} for the list, leaving out ambiguous names such as Titanic, a film and a
    ship.
    """
    pairs = [(bare(name), kind) for kind, names in named().items() for name in names]
    count = Counter(name for name, _ in pairs)
    return {name: kind for name, kind in pairs if count[name] == 1}


def suits(relation: Relation, subject: str) -> bool:
    """Return whether a relation suits the subject's kind, or True for an unlisted subject."""
    kind = listed().get(bare(subject))
    return kind is None or suit(relation, kind)


def suit(relation: Relation, kind: str) -> bool:
    """Return whether a relation is about things of this kind.

    The question for a city's country doesn't make sense for a mountain, nor the location of a
    building for a person. All people count as one kind here.
    """
    of = {listed().get(bare(name), "") for name, _ in relation.answers}
    people = GROUP.get(kind) == "person" and "person" in map(GROUP.get, of)
    return kind in of or people


def alike(kind: str) -> list[str]:
    """Names of a kind, best known first; for people, names from every kind of person in turn."""
    of = [names for one, names in named().items() if GROUP.get(one) == "person"]
    every = zip_longest(*of) if GROUP.get(kind) == "person" else [named()[kind]]
    return [name for some in every for name in some if name]


@cache
def facts(kind: str) -> tuple[Probe, ...]:
    """Built-in facts about names of this kind, then of its group, taken from each relation in turn.

    A relation belongs to the kinds that most of its subjects have: "Mars" doesn't count as a planet
    in questions about the gods of myths. The author of a book says nothing about other works.
    """
    mine, turns = GROUP.get(kind, kind), []
    for relation in relations().values():
        kinds = [listed().get(bare(subject), "") for subject, _ in relation.answers]
        groups = [GROUP.get(one, one) for one in kinds]
        most = max((groups.count(one) for one in groups if one), default=0)
        if groups.count(mine) >= max(2, most / 2):
            of = zip(relation.answers, kinds, groups, strict=True)
            turns.append(
                [
                    (one != kind, Probe(relation.ask(relation.templates[0], subject), answer))
                    for (subject, answer), one, group in of
                    if group == mine and (mine != "work" or one == kind)
                ]
            )
    found = [pair for turn in zip_longest(*turns) for pair in turn if pair is not None]
    # put other kinds last, except for people
    ranked = found if mine == "person" else sorted(found, key=lambda pair: pair[0])
    return tuple(probe for _, probe in ranked)


def states(lm: lib.LM, names: list[str]) -> Tensor:
    """The unedited model's states (n, d) after "… is a"."""
    block = min(round(DEPTH * lm.n_layers), lm.n_layers - 1)
    with lm.patched(lib.EMPTY, only=True):
        texts = [PROMPT.format(name) for name in names]
        return activations.states_at_ends(lm, texts, block).float().cpu()


def file_of(lm: lib.LM) -> Path:
    """The path for the discriminant of a model's weights, which may not exist."""
    return NAMES.with_name(f"kinds-{lm.fingerprint}.safetensors")


def kind_of(lm: lib.LM, subject: str) -> str | None:
    """The kind of a subject, or None if no kind is clearly nearest.

    For a name on the list, its kind there.
    """
    path = file_of(lm)
    if bare(subject) in listed() or not path.is_file():
        return listed().get(bare(subject))
    found = load_file(path)
    near = (states(lm, [subject])[0] @ found["W"].float() + found["b"]).tolist()
    (first, kind), *others = sorted(zip(near, named(), strict=True), reverse=True)
    mine = GROUP.get(kind, kind)
    second = max(score for score, other in others if GROUP.get(other, other) != mine)
    return kind if first - second >= CLEAR else None
