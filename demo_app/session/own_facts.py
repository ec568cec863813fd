"""Test prompts for a fact that a visitor has typed, from the classroom relation that it means.

The form is checked before any work is done, so the subject that it gives has only borrowed
neighbors. Which relation the prompt means, the model has to be asked; that happens in the job.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import lib

from .consequences import borrowed
from .views import Subject
from .worker import Job

KEPT = 64  # typed facts whose prompts are kept
NEAREST = 3  # relations that are named where none fits


class OwnFacts:
    """Finds the test prompts of typed facts, on the worker's thread; those of 64 are kept."""

    def __init__(self, lm: lib.LM) -> None:
        self.lm = lm
        self._found: OrderedDict[tuple, tuple[lib.Case | None, tuple[str, ...]]] = OrderedDict()

    def warm(self, job: Job) -> None:
        """Read the wordings of all relations, so that the first typed fact need not wait."""
        lib.matches(self.lm, lib.Fact("It", "{} is", "x"))

    def judged(self, job: Job, subject: Subject, begin: float = 0.0) -> Subject:
        """A typed fact with the rewordings and neighbors of its relation; any other as it is.

        Consequences come along where an example of the relation has the same new answer. Where no
        relation fits it keeps what it has borrowed, and names the nearest relations.
        """
        if not subject.typed:
            return subject
        fact = subject.case.fact
        key = fact.subject, fact.prompt, subject.wanted
        if key not in self._found:
            job.report(begin, "Finding rewordings and neighbors for this fact")
            relation, nearest = subject.wanted, ()
            if not relation:
                ranked = lib.matches(self.lm, fact)
                nearest = tuple(match.relation.name for match in ranked[:NEAREST])
                relation = nearest[0] if ranked and ranked[0].fits else ""
            case = lib.case_for(self.lm, fact, relation) if relation else None
            self._found[key] = case, nearest
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        case, nearest = self._found[key]
        if case is None:
            return replace(subject, nearest=nearest)
        follows = tuple(borrowed(fact, case.relation, lib.classroom()))
        found = replace(case, fact=fact, portability=follows)
        return replace(subject, case=found, borrowed=None)
