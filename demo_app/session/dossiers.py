"""What the model knows about one subject, as a job: before and after a visitor's edits."""

from __future__ import annotations

from collections.abc import Generator

import lib
from lib.data.relations import relations
from lib.workbench.instruments.dossier import Dossier, naming

from . import given, kinds
from .studio import Studio
from .visitors import Session
from .worker import Job

LONGEST = 120  # characters of an entity's name


def asked(studio: Studio, session: Session, entity: str) -> Job:
    """What the model answers about an entity: a Dossier, which grows.

    Raises Trouble for a name that is empty or too long. The model goes to whoever waits between two
    groups of relations.
    """
    name = given.text("name", entity, LONGEST).strip()

    def work(job: Job) -> Generator[None, None, Dossier]:
        patch, lines = session.patch, []
        edits, total = naming(patch, name), len(relations())
        ranked = sorted(relations().items(), key=lambda one: not kinds.suits(one[1], name))
        for line in lib.workbench.dossier_lines(studio.lm, name, patch, dict(ranked)):
            lines.append(line)
            words = f"{len(lines)} of {total} relations asked about {name}"
            found = Dossier(name, tuple(lines), edits)
            job.report(len(lines) / total, words, partial=found)
            yield
        return found

    return session.submit(studio.worker, work, aside=True)
