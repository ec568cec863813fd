"""Test prompts for a fact that a visitor has typed.

Where its prompt is a wording of a classroom relation, rewordings and neighbors are that relation's.
Anywhere else other subjects are put into the same prompt: what the model answers firmly about them
is a neighbor. Where fewer than three are answered so, there is none, and locality is not tested.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import lib
from lib.data.facts import Probe
from lib.evaluation.answers import plain
from lib.evaluation.own_facts import Match

from .asking import Asker
from .consequences import borrowed
from .views import Subject, clause
from .worker import Job

KEPT = 64  # typed facts whose prompts are kept
NEAREST = 3  # relations that are named where none fits
SURE = 0.6  # share of common words from which on a prompt is a wording of its relation
KINDS, EACH = 4, 8  # relations whose subjects are tried in the same prompt, and subjects of each
FIRM = 0.3  # probability of an answer from which on the model is said to be firm
LEAST, MOST = 3, 6  # neighbors of a typed fact
OPENINGS = ("Let us go on. ", "Somebody wrote this: ", "The text reads as follows. ")
QUESTION = "Question: How does this sentence go on? {}\nAnswer:"


class OwnFacts:
    """Finds the test prompts of typed facts, on the worker's thread; those of 64 are kept."""

    def __init__(self, lm: lib.LM, asker: Asker) -> None:
        self.lm, self.asker = lm, asker
        self._found: OrderedDict[tuple, tuple[lib.Case, tuple[str, ...]]] = OrderedDict()

    def warm(self, job: Job) -> None:
        """Read the wordings of all relations, so that the first typed fact need not wait."""
        lib.evaluation.own_facts.matches(self.lm, lib.Fact("It", "{} is", "x"))

    def judged(self, job: Job, subject: Subject, begin: float = 0.0) -> Subject:
        """A typed fact with the rewordings and neighbors that test it; any other as it is.

        Consequences come along where an example of its relation has the same new answer. Where no
        relation is sure, the nearest ones are named.
        """
        if not subject.typed:
            return subject
        fact = subject.case.fact
        key = fact.subject, fact.prompt, fact.target_new
        if key not in self._found:
            job.report(begin, "Finding rewordings and neighbors for this fact")
            self._found[key] = self._case(job, subject, begin)
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        case, nearest = self._found[key]
        return replace(subject, case=case, nearest=nearest)

    def _case(self, job: Job, subject: Subject, begin: float) -> tuple[lib.Case, tuple[str, ...]]:
        """The fact as a case, and the relations that come nearest where none is sure."""
        fact = subject.case.fact
        ranked, case = lib.evaluation.own_facts.matches(self.lm, fact), None
        if ranked and ranked[0].fits and ranked[0].words >= SURE:
            case = lib.case_for(self.lm, fact, ranked[0].relation.name)
        if case is not None:
            follows = tuple(borrowed(fact, case.relation, lib.classroom()))
            return replace(case, fact=fact, portability=follows), ()
        again = (*(f"{opening}{fact.text}" for opening in OPENINGS), QUESTION.format(fact.text))
        firm = tuple(self._firm(job, fact, ranked, begin))
        nearest = tuple(match.relation.name for match in ranked[:NEAREST])
        return replace(subject.case, paraphrases=again, neighborhood=firm), nearest

    def _firm(self, job: Job, fact: lib.Fact, ranked: Sequence[Match], begin: float) -> list[Probe]:
        """The same prompt about other subjects, with answers that the unedited model is sure of.

        Each has another answer, because one that everybody gets says nothing about a subject; none
        repeats the prompt, and none is the new answer.
        """
        prompts = {
            match.relation.ask(fact.prompt, name): name.casefold()
            for match in ranked[:KINDS]
            for name, _ in match.relation.answers[:EACH]
        }
        own = (fact.subject or "").casefold()
        asks = [
            (text, False) for text, name in prompts.items() if name not in own and own not in name
        ]
        if not asks:
            return []
        said = self.asker.base(job, asks, fact.target_new, begin, begin + 0.05)
        answers = [clause(one.text) for one in said]
        with self.lm.patched(lib.EMPTY, only=True):
            pairs = [(ask, answer or None) for ask, answer in zip(asks, answers, strict=True)]
            chances = self.asker.chances(pairs, dict(zip(asks, said, strict=True)))
        found: dict[str, Probe] = {}
        for (text, _), answer, chance in zip(asks, answers, chances, strict=True):
            new = plain(answer) not in {*found, plain(fact.target_new)}
            if chance is not None and chance >= FIRM and new:
                if answer.casefold() not in text.casefold():
                    found[plain(answer)] = Probe(text, answer)
        return list(found.values())[:MOST] if len(found) >= LEAST else []
