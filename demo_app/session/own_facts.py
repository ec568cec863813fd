"""Test prompts for a fact that a visitor has typed.

Where its prompt is a wording of a classroom relation, rewordings and neighbors are that relation's.
Anywhere else names of the same kind as the visitor's subject are put into the same prompt: what the
model answers firmly about them is a neighbor. Where fewer than three are answered so, there is
none, and locality is not tested. Of the rewordings those stay that the unedited model answers in
the sense of the fact, because another says nothing about the edit.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import lib
from lib.data.facts import Probe
from lib.data.relations import Relation, bare
from lib.evaluation.answers import begins, plain

from . import kinds
from .asking import Asker
from .consequences import borrowed
from .views import LEAST, Answer, Ask, Subject, clause
from .worker import Job

KEPT = 64  # typed facts whose prompts are kept
NEAREST = 3  # relations that are named where none fits
SURE = 0.6  # share of common words from which on a prompt is a wording of its relation
TRIED = 18  # names of the subject's kind that are put into the same prompt
ASKED, ALIKE = 10, 2  # of them whose answers are read; those of them that begin with one token
FIRM = 0.3  # probability of an answer from which on the model is said to be firm
MOST = 6  # neighbors of a typed fact
OPENINGS = ("Let us go on. ", "Somebody wrote this: ", "The text reads as follows. ")


class OwnFacts:
    """Finds the test prompts of typed facts, on the worker's thread; those of 64 are kept."""

    def __init__(self, lm: lib.LM, asker: Asker) -> None:
        self.lm, self.asker = lm, asker
        self._found: OrderedDict[tuple, tuple[lib.Case, tuple[str, ...]]] = OrderedDict()

    def warm(self, job: Job) -> None:
        """Read the wordings of all relations, so that the first typed fact need not wait."""
        lib.evaluation.own_facts.matches(self.lm, lib.Fact("It", "{} is", "x"))

    def learn(self, job: Job) -> None:
        """Read names of all kinds, for the same reason."""
        kinds.of_model(self.lm)

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
            known = {plain(answer) for _, answer in ranked[0].relation.answers}
            again = self._in_its_sense(job, fact, case.paraphrases, known, begin)
            return replace(case, fact=fact, portability=follows, paraphrases=again), ()
        texts = [f"{opening}{fact.text}" for opening in OPENINGS]
        again = self._in_its_sense(job, fact, texts, set(), begin)
        firm = tuple(self._firm(job, fact, ranked[0].relation, begin))
        nearest = tuple(match.relation.name for match in ranked[:NEAREST])
        return replace(subject.case, paraphrases=again, neighborhood=firm), nearest

    def _in_its_sense(
        self, job: Job, fact: lib.Fact, texts: Sequence[str], known: set[str], begin: float
    ) -> tuple[str, ...]:
        """The rewordings that the unedited model answers firmly, with what it says to the fact's
        own prompt or with an answer that is known of its relation.
        """
        asks = [(text, False) for text in (fact.text, *texts)]
        said = self.asker.base(job, asks, fact.target_new, begin, begin + 0.02)
        answers = [clause(one.text) for one in said]
        sense = {plain(answers[0]), *known} - {""}
        chances = self._chances(asks, answers, said)
        return tuple(
            text
            for (text, _), one, chance in list(zip(asks, said, chances, strict=True))[1:]
            if chance >= FIRM and any(begins(one.text, answer) for answer in sense)
        )

    def _firm(self, job: Job, fact: lib.Fact, relation: Relation, begin: float) -> list[Probe]:
        """The same prompt about other names of the subject's kind, with answers that the unedited
        model is sure of.

        Each has another answer, because one that everybody gets says nothing about a subject; none
        repeats the prompt, and none is the new answer.
        """
        own = bare(fact.subject or "")
        kind = kinds.kind_of(self.lm, str(fact.subject))
        names = [] if kind is None else kinds.named()[kind]
        other = [name for name in names if bare(name) not in own and own not in bare(name)]
        texts = list(dict.fromkeys(relation.ask(fact.prompt, name) for name in other[:TRIED]))
        if not texts:
            return []
        with self.lm.patched(lib.EMPTY, only=True):
            surest = self.lm.next_token(texts).max(1)  # of the token behind each prompt
        asks: list[Ask] = []
        seen: Counter[int] = Counter()
        for i in surest.values.argsort(descending=True).tolist():
            token = int(surest.indices[i])
            if surest.values[i] >= math.log(FIRM) and seen[token] < ALIKE and len(asks) < ASKED:
                seen[token] += 1
                asks.append((texts[i], False))
        if len(asks) < LEAST:
            return []
        said = self.asker.base(job, asks, fact.target_new, begin + 0.02, begin + 0.05)
        answers = [clause(one.text) for one in said]
        chances = self._chances(asks, answers, said)
        found: dict[str, Probe] = {}
        for (text, _), answer, chance in zip(asks, answers, chances, strict=True):
            new = plain(answer) not in {*found, plain(fact.target_new)}
            if chance >= FIRM and new and answer.casefold() not in text.casefold():
                found[plain(answer)] = Probe(text, answer)
        return list(found.values())[:MOST] if len(found) >= LEAST else []

    def _chances(
        self, asks: Sequence[Ask], answers: Sequence[str], said: Sequence[Answer]
    ) -> list[float]:
        """The unedited model's probability of each answer; 0 for one that says nothing."""
        pairs = [(ask, answer or None) for ask, answer in zip(asks, answers, strict=True)]
        with self.lm.patched(lib.EMPTY, only=True):
            found = self.asker.chances(pairs, dict(zip(asks, said, strict=True)))
        return [chance or 0.0 for chance in found]
