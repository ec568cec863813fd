"""The dossier of one entity as a job: relation by relation, before and after a visitor's edits.

Behind the answers come keys, neighbors and features, and at last a causal trace, which takes as
long as half of the answers: each is shown as soon as it is there. Between the steps others are
served.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace

import lib
from lib.data.relations import Relation
from lib.interpret.entity_dossier import Dossier, consistent, keep_usual, naming
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
ANSWERS = 0.6  # of the bar is for the answers
TRACED = 1  # answers whose recall is traced: each takes as long as a dozen relations' answers


def asked(studio: Studio, session: Session, entity: str) -> Job:
    """What the model answers about an entity, and what its layers do: a Dossier, which grows.

    Raises Trouble for a name that is empty or too long. The model goes to whoever waits between two
    groups of relations.
    """
    name = given.text("name", entity, LONGEST).strip()

    def work(job: Job) -> Generator[None, None, Dossier]:
        patch, lines = session.patch, []
        edits, total = naming(patch, name), len(studio.choices.relations)
        for line in lib.dossier_lines(studio.lm, name, patch, on_disk=studio.keep):
            lines.append(line)
            words = f"{len(lines)} of {total} relations asked about {name}"
            answers = Dossier(name, tuple(lines), edits)
            job.report(ANSWERS * len(lines) / total, words, partial=answers)
            yield
        lm, where = studio.lm, layers_to_see(studio.lm, patch)
        with ticking(job, lm, "Reading general text, once for all visitors", 20, ANSWERS, 0.7):
            lib.second_moment(lm, where[:1], among=where)
        yield
        keys, near = keys_and_neighbors(lm, name, patch, where)
        job.report(0.73, "Comparing the features that it opens")
        yield
        found = features(lm, name, patch, where)
        job.report(0.78, "Setting features to zero")
        yield
        known = lib.relations()
        asked = [known[one] for one in consistent(lines)][:ASKED]
        found, chance = measured(lm, name, found, asked, patch)
        inside = Inside(keys, found, near, tuple(one.name for one in asked), chance)
        for one in asked[:TRACED]:
            words = f"Tracing how the answer to “{one.name}” is recalled"
            job.report(0.85, words, partial=Dossier(name, tuple(lines), edits, inside))
            yield
            traced = effects(lm, name, [one], patch)
            inside = replace(inside, effects=(*inside.effects, *traced))
        return Dossier(name, tuple(lines), edits, inside)

    return session.submit(studio.worker, work)


def warm_up(studio: Studio) -> None:
    """Read in the background what every dossier needs of the model, and keep it on disk.

    That is what other subjects are answered, and the second moment of the layers that are looked
    at. The next start finds both. Whoever comes goes first.
    """
    lm = studio.lm

    def usual(relation: Relation) -> Callable[[Job], None]:
        def work(job: Job) -> None:
            with job.counting(lm, f"Asking about others: {relation.name}", 4, 0.0, 1.0):
                keep_usual(lm, relation)

        return work

    def moments(job: Job) -> None:
        where = layers_to_see(lm)
        with ticking(job, lm, "Reading general text", 20):
            lib.second_moment(lm, where[:1], among=where)

    studio.worker.whenever(*map(usual, lib.relations().values()), moments)
