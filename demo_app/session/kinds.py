"""What kind of thing a subject is, by what the model itself makes of its name.

A neighbor of a visitor's fact should be a subject of the same kind: of the Danube another river.
The page has a list of well-known names by their kinds (names.json). Names of one kind have states
near each other behind "… is a", so a subject is of the kind whose names it is nearest to, by the
linear discriminant that `python -m tests.support.read_kinds` learns from all names and stores. For
a model without a stored one the names of the list alone have a kind.
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
DEPTH = 0.8  # of the block whose input is compared
GROUPS = {  # kinds that are of one kind in a wider sense
    "writer scientist musician artist actor athlete politician thinker": "person",
    "company organization team newspaper university band": "organization",
    "book film tv song painting": "work",
    "river mountain lake sea island country city state building": "place",
    "software vehicle object game": "product",
}
GROUP = {kind: group for kinds, group in GROUPS.items() for kind in kinds.split()}
# Log-odds against kinds of other groups from which on a subject is said to be of a kind: with it
# 95 % of those said are right, of names that the discriminant has not seen (see read_kinds.py).
CLEAR = 12.0


@cache
def named() -> dict[str, tuple[str, ...]]:
    """{kind: names of it, the best known first}."""
    held = json.loads(NAMES.read_text(encoding="utf-8"))
    return {kind: tuple(names) for kind, names in held["kinds"].items()}


@cache
def listed() -> dict[str, str]:
    """{name: its kind} of the list, without names of two things, as the film and ship Titanic."""
    pairs = [(bare(name), kind) for kind, names in named().items() for name in names]
    count = Counter(name for name, _ in pairs)
    return {name: kind for name, kind in pairs if count[name] == 1}


def suits(relation: Relation, subject: str) -> bool:
    """Whether a relation is about things of the subject's kind; True for one not in the list."""
    kind = listed().get(bare(subject))
    return kind is None or suit(relation, kind)


def suit(relation: Relation, kind: str) -> bool:
    """Whether a relation is about things of this kind.

    What the country of a city is asks nothing about a mountain, and where a building stands nothing
    about a person. People are of one kind there.
    """
    of = {listed().get(bare(name), "") for name, _ in relation.answers}
    people = GROUP.get(kind) == "person" and "person" in map(GROUP.get, of)
    return kind in of or people


def alike(kind: str) -> list[str]:
    """Names of a kind, the best known first; people are asked about as people, of each kind in
    turn.
    """
    of = [names for one, names in named().items() if GROUP.get(one) == "person"]
    every = zip_longest(*of) if GROUP.get(kind) == "person" else [named()[kind]]
    return [name for some in every for name in some if name]


@cache
def facts(kind: str) -> tuple[Probe, ...]:
    """Facts of the classroom about names of this kind, and then of its group, of each relation in
    turn.

    A relation is about the kinds of which it has most subjects: "Mars" is no planet where the gods
    of myths are asked about. Who wrote a book says nothing about other works.
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
    # those of another kind come last; people are asked about as people
    ranked = found if mine == "person" else sorted(found, key=lambda pair: pair[0])
    return tuple(probe for _, probe in ranked)


def states(lm: lib.LM, names: list[str]) -> Tensor:
    """The unedited model's states (n, d) behind "… is a"."""
    block = min(round(DEPTH * lm.n_layers), lm.n_layers - 1)
    with lm.patched(lib.EMPTY, only=True):
        texts = [PROMPT.format(name) for name in names]
        return activations.states_at_ends(lm, texts, block).float().cpu()


def file_of(lm: lib.LM) -> Path:
    """Where the discriminant of a model's weights is stored, whether it is or not."""
    return NAMES.with_name(f"kinds-{lm.fingerprint}.safetensors")


def kind_of(lm: lib.LM, subject: str) -> str | None:
    """The kind of a subject; None where no kind is clearly nearest.

    A name of the list is of the kind under which it stands.
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
