"""The model's knowledge about one subject, as a job, before and after a visitor's edits."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import lib
from lib.data.relations import Relation, relations
from lib.workbench.instruments.dossier import Dossier, naming

from . import checks, kinds
from .studio import Studio
from .visitors import Session
from .worker import Job

LONGEST = 120  # maximum length of an entity's name, in characters
# questions that also suit something at a location, even though no relation is about its kind
PLACED = {
    "located in the city of",
    "country of city",
    "continent of",
}


def suiting(lm: lib.LM, entity: str) -> dict[str, Relation]:
    """The relations that are about entities of this kind.

    Returns all of them if neither the list nor the model can tell the entity's kind.
    """
    kind, every = kinds.kind_of(lm, entity), relations()
    if kind is None:
        return every
    found = {name: one for name, one in every.items() if kinds.suit(one, kind)}
    if kind == "building":
        found |= {name: one for name, one in every.items() if name in PLACED}
    return found or every


def fitting(lm: lib.LM, found: Dossier) -> Dossier:
    """A dossier without the lines that do not suit its entity."""
    names = suiting(lm, found.entity)
    return replace(found, lines=tuple(line for line in found.lines if line.relation in names))


def asked(studio: Studio, session: Session, entity: str) -> Job:
    """Ask about an entity: a Dossier, which grows.

    Raises Trouble for an empty or overlong name. Between two groups of relations, other visitors
    can use the model.
    """
    name = checks.text("name", entity, LONGEST).strip()

    def work(job: Job) -> Generator[None, None, Dossier]:
        patch, lines, wanted = session.patch, [], suiting(studio.lm, name)
        edits = naming(patch, name)
        for line in lib.workbench.dossier_lines(studio.lm, name, patch, wanted):
            lines.append(line)
            words = f"Asked {len(lines)} of {len(wanted)} relations about {name}"
            found = Dossier(name, tuple(lines), edits)
            job.report(len(lines) / len(wanted), words, partial=found)
            yield
        return found

    return session.submit(studio.worker, work, aside=True)
