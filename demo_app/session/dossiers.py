"""The dossier of one entity as a job: relation by relation, before and after a visitor's edits.

Behind the answers come keys, features, neighbors and causal traces, in steps between which others
are served.
"""

from __future__ import annotations

from collections.abc import Generator

import lib
from lib.interpret.entity_dossier import Dossier, consistent, naming
from lib.interpret.entity_effects import effects
from lib.interpret.entity_features import ASKED, features, measured
from lib.interpret.entity_inside import Inside
from lib.interpret.entity_keys import keys_and_neighbors, layers_to_see

from . import given
from .long_run import ticking
from .studio import Studio
from .visitors import Session
from .worker import Job

LONGEST = 120  # characters of an entity's name
ANSWERS = 0.7  # of the bar is for the answers


def asked(studio: Studio, session: Session, entity: str) -> Job:
    """What the model answers about an entity, and what its layers do: a Dossier, which grows.

    Raises Trouble for a name that is empty or too long. The model goes to whoever waits between two
    groups of relations.
    """
    name = given.text("name", entity, LONGEST).strip()

    def work(job: Job) -> Generator[None, None, Dossier]:
        patch, lines = session.patch, []
        edits, total = naming(patch, name), len(studio.choices.relations)
        for line in lib.dossier_lines(studio.lm, name, patch):
            lines.append(line)
            words = f"{len(lines)} of {total} relations asked about {name}"
            answers = Dossier(name, tuple(lines), edits)
            job.report(ANSWERS * len(lines) / total, words, partial=answers)
            yield
        lm, where = studio.lm, layers_to_see(studio.lm, patch)
        with ticking(job, lm, "Reading general text, once for all visitors", 20, ANSWERS, 0.9):
            lib.second_moment(lm, where[:1], among=where)
        yield
        keys, near = keys_and_neighbors(lm, name, patch, where)
        job.report(0.92, "Comparing the features that it opens")
        yield
        found = features(lm, name, patch, where)
        job.report(0.95, "Setting features to zero")
        yield
        known = lib.relations()
        asked = [known[one] for one in consistent(lines)][:ASKED]
        found, chance = measured(lm, name, found, asked, patch)
        traced = []
        for i, one in enumerate(asked):
            job.report(0.97 + 0.01 * i, f"Tracing how the answer to “{one.name}” is recalled")
            yield
            traced += effects(lm, name, [one], patch)
        names = tuple(one.name for one in asked)
        inside = Inside(keys, found, near, names, chance, tuple(traced))
        return Dossier(name, tuple(lines), edits, inside)

    return session.submit(studio.worker, work)
