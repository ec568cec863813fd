"""Test prompts for a fact that a visitor has typed.

Where its prompt is a wording of a classroom relation, rewordings and neighbors are that relation's.
Anywhere else names of the same kind as the visitor's subject are put into the same prompt: what the
model answers firmly about them, in the sense of the fact, is a neighbor. Where it is sure of fewer
than three, facts of the classroom about names of this kind stand beside them, which ask something
else and are shown without being counted; where there are too few as well, there is none. A prompt
of the visitor's own that asks the same of another subject is a neighbor as well. Of the rewordings
those stay that the unedited model answers in the sense of the fact, because another says nothing
about the edit. At most 24 prompts are asked: one for the kind, four for the rewordings, and the
names and facts.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import lib
from lib.data.facts import Probe
from lib.data.relations import Relation, bare
from lib.evaluation.answers import begins, plain
from lib.evaluation.own_facts import overlap

from . import kinds
from .asking import Asker
from .consequences import borrowed
from .verdicts import about
from .views import Answer, Ask, Subject, clause
from .worker import Job

KEPT = 64  # typed facts whose prompts are kept
SURE = 0.5  # share of common words from which on a prompt is a wording of its relation
TRIED = 11  # names of the subject's kind that are put into the same prompt
ALIKE = 2  # of them whose answers begin with the same token
FACTS = 8  # facts about names of this kind that are asked where the same prompt says too little
LEAST = 3  # neighbors and such facts together; fewer are not asked
FIRM = 0.2  # probability of an answer from which on the model is said to be firm
MOST = 6  # neighbors of a typed fact
OPENINGS = ("Let us go on. ", "Somebody wrote this: ", "The text reads as follows. ")


class OwnFacts:
    """Finds the test prompts of typed facts, on the worker's thread; those of 64 are kept."""

    def __init__(self, lm: lib.LM, asker: Asker) -> None:
        self.lm, self.asker = lm, asker
        self._found: OrderedDict[tuple, lib.Case] = OrderedDict()

    def warm(self, job: Job) -> None:
        """Read the wordings of all relations, so that the first typed fact need not wait."""
        lib.evaluation.own_facts.matches(self.lm, lib.Fact("It", "{} is", "x"))

    def judged(self, job: Job, subject: Subject) -> Subject:
        """A typed fact with the rewordings and neighbors that test it; any other as it is.

        Consequences come along where an example of its relation has the same new answer.
        """
        if not subject.typed:
            return subject
        fact = subject.case.fact
        key = fact.subject, fact.prompt, fact.target_new
        if key not in self._found:
            job.report(0.0, "Finding rewordings and neighbors for this fact")
            self._found[key] = self._case(job, subject)
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        case = self._found[key]
        mine = self._asked_as_well(job, subject)
        others = [one for one in case.neighborhood if one.prompt not in subject.own]
        return replace(subject, case=replace(case, neighborhood=(*mine, *others)))

    def _asked_as_well(self, job: Job, subject: Subject) -> list[Probe]:
        """The visitor's own prompts that ask the same of another subject, as neighbors."""
        fact, same = subject.case.fact, filter(subject.same, subject.own)
        asks = [(text, False) for text in same if not about(text, [fact])]
        said = self.asker.base(job, asks, fact.target_new, 0.18, 0.2)
        found = [Probe(text, clause(one.text)) for (text, _), one in zip(asks, said, strict=True)]
        return [one for one in found if one.target and not overlap(one.target, fact.target_new)]

    def _case(self, job: Job, subject: Subject) -> lib.Case:
        """The fact as a case."""
        fact = subject.case.fact
        ranked, case = lib.evaluation.own_facts.matches(self.lm, fact), None
        sure = ranked and ranked[0].fits and ranked[0].words >= SURE
        if sure and kinds.suits(ranked[0].relation, str(fact.subject)):
            case = lib.case_for(self.lm, fact, ranked[0].relation.name)
        if case is not None:
            follows = tuple(borrowed(fact, case.relation, lib.classroom()))
            known = {plain(answer) for _, answer in ranked[0].relation.answers}
            again = self._in_its_sense(job, fact, case.paraphrases, known)
            return replace(case, fact=fact, portability=follows, paraphrases=again)
        texts = [f"{opening}{fact.text}" for opening in OPENINGS]
        again = self._in_its_sense(job, fact, texts, set())
        firm = self._neighbors(job, fact, ranked[0].relation)
        return replace(subject.case, paraphrases=again, neighborhood=firm)

    def _in_its_sense(
        self, job: Job, fact: lib.Fact, texts: Sequence[str], known: set[str]
    ) -> tuple[str, ...]:
        """The rewordings that the unedited model answers firmly, with what it says to the fact's
        own prompt or with an answer that is known of its relation.
        """
        asks = [(text, False) for text in (fact.text, *texts)]
        said = self.asker.base(job, asks, fact.target_new, 0.0, 0.08)
        answers = [clause(one.text) for one in said]
        sense = {plain(answers[0]), *known} - {""}
        chances = self._chances(asks, answers, said)
        return tuple(
            text
            for (text, _), one, chance in list(zip(asks, said, chances, strict=True))[1:]
            if chance >= FIRM and any(begins(one.text, answer) for answer in sense)
        )

    def _neighbors(self, job: Job, fact: lib.Fact, relation: Relation) -> tuple[Probe, ...]:
        """The same prompt about other names of the subject's kind; where the model is sure of too
        few of them, beside them what it knows of other subjects of this kind.
        """
        kind = kinds.kind_of(self.lm, str(fact.subject))
        if kind is None:
            return ()
        own = bare(str(fact.subject))
        other = [n for n in kinds.alike(kind) if own not in bare(n) and bare(n) not in own]
        same = self._surest([relation.ask(fact.prompt, name) for name in other[:TRIED]])
        found = self._firm(job, fact, dict.fromkeys(same))
        if len(found) < LEAST:
            facts = [one for one in kinds.facts(kind) if own not in one.prompt.casefold()]
            right = {one.prompt: one.target for one in facts[:FACTS]}
            found = self._firm(job, fact, dict.fromkeys(one.prompt for one in found) | right)
        return tuple(found) if len(found) >= LEAST else ()

    def _surest(self, texts: Sequence[str]) -> list[str]:
        """The prompts behind which one token is likely, the surest first."""
        with self.lm.patched(lib.EMPTY, only=True):
            surest = self.lm.next_token(texts).max(1)  # of the token behind each prompt
        found: list[str] = []
        seen: Counter[int] = Counter()
        for i in surest.values.argsort(descending=True).tolist():
            token = int(surest.indices[i])
            seen[token] += 1
            if surest.values[i] >= math.log(FIRM) and seen[token] <= ALIKE:
                found.append(texts[i])
        return found

    def _firm(self, job: Job, fact: lib.Fact, asked: Mapping[str, str | None]) -> list[Probe]:
        """Neighbors among {prompt: its answer, where it is known}, with what the model is sure of.

        Each has another answer, because one that everybody gets says nothing about a subject; none
        repeats the prompt, and none is the new answer. A known answer has to be given, and another
        has to be of the new one's form.
        """
        asks = [(text, False) for text in asked]
        said = self.asker.base(job, asks, fact.target_new, 0.08, 0.18)
        answers = [
            clause(one.text) if right is None else right * begins(one.text, right)
            for right, one in zip(asked.values(), said, strict=True)
        ]
        chances = self._chances(asks, answers, said)
        found: dict[str, Probe] = {}
        for (text, right), answer, chance in zip(asked.items(), answers, chances, strict=True):
            new = plain(answer) not in found and not overlap(answer, fact.target_new)
            suits = right is not None or form(fact.target_new) in ("word", form(answer))
            if chance >= FIRM and new and suits and answer.casefold() not in text.casefold():
                found[plain(answer)] = Probe(text, answer)
        return list(found.values())[:MOST]

    def _chances(
        self, asks: Sequence[Ask], answers: Sequence[str], said: Sequence[Answer]
    ) -> list[float]:
        """The unedited model's probability of each answer; 0 for one that says nothing."""
        pairs = [(ask, answer or None) for ask, answer in zip(asks, answers, strict=True)]
        found = self.asker.chances(pairs, dict(zip(asks, said, strict=True)))
        return [chance or 0.0 for chance in found]


def form(answer: str) -> str:
    """What an answer is by its looks, "number", "name" or "word": a year is no answer to who."""
    word = ["-", *(clause(answer) or answer).split()][-1]
    named = "name" if word[0].isupper() else "word"
    return "number" if any(map(str.isdigit, word)) else named
