"""Test prompts for a fact that a visitor has typed.

If its prompt is a wording of a built-in relation, the relation supplies rewordings and neighbors.
Otherwise, we put names of the same kind as the visitor's subject into the same prompt and use those
that the model answers firmly, in the sense of the fact, as neighbors. If it is sure of fewer than
three, we add built-in facts about names of this kind; they ask a different question and are
displayed without being counted. If there are still too few, there are no neighbors. A visitor's own
prompt asking the same about another subject also counts as a neighbor. We keep a rewording only if
the unedited model answers it in the sense of the fact, because other rewordings say nothing about
the edit. At most 24 prompts are run: one for the kind, four for the rewordings, and the names and
facts.
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
SURE = 0.5  # fraction of common words required for a prompt to count as a wording of its relation
TRIED = 11  # names of the subject's kind to try in the same prompt
ALIKE = 2  # maximum number of them whose answers begin with the same token
FACTS = 8  # facts about names of this kind to try if the same prompt is not enough
LEAST = 3  # minimum number of neighbors and such facts together
FIRM = 0.2  # minimum probability of a firm answer
MOST = 6  # maximum number of neighbors for a typed fact
OPENINGS = ("Let us go on. ", "Somebody wrote this: ", "The text reads as follows. ")


class OwnFacts:
    """Finds test prompts for typed facts, on the worker's thread, and keeps those for 64 facts."""

    def __init__(self, lm: lib.LM, asker: Asker) -> None:
        self.lm, self.asker = lm, asker
        self._found: OrderedDict[tuple, lib.Case] = OrderedDict()

    def warm(self, job: Job) -> None:
        """Read the wordings of all relations, so that the first typed fact doesn't have to wait."""
        lib.evaluation.own_facts.matches(self.lm, lib.Fact("It", "{} is", "x"))

    def with_tests(self, job: Job, subject: Subject) -> Subject:
        """A typed fact with rewordings and neighbors to test it; any other subject is returned
        unchanged.

        Includes consequences if an example of its relation has the same new answer.
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
        """The visitor's own prompts that ask the same about another subject, as neighbors."""
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
        """The rewordings that the unedited model answers firmly, either as it answers the fact's
        own prompt or with a known answer for its relation.
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
        """The same prompt about other names of the subject's kind. If the model is sure of too few,
        add facts that it knows about other subjects of this kind.
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
        """The prompts with a likely next token, the most confident first."""
        with self.lm.patched(lib.EMPTY, only=True):
            surest = self.lm.next_token(texts).max(1)  # after each prompt
        found: list[str] = []
        seen: Counter[int] = Counter()
        for i in surest.values.argsort(descending=True).tolist():
            token = int(surest.indices[i])
            seen[token] += 1
            if surest.values[i] >= math.log(FIRM) and seen[token] <= ALIKE:
                found.append(texts[i])
        return found

    def _firm(self, job: Job, fact: lib.Fact, asked: Mapping[str, str | None]) -> list[Probe]:
        """Neighbors from {prompt: its answer, if known}, keeping the answers that the model is sure
        of.

        The answers must differ from each other, because an answer shared by all subjects says
        nothing about any of them. None of them may repeat the prompt or equal the new answer. A
        known answer has to be given; any other answer needs the same form as the new one.
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
        """The unedited model's probability of each answer, or 0 for an empty answer."""
        pairs = [(ask, answer or None) for ask, answer in zip(asks, answers, strict=True)]
        found = self.asker.chances(pairs, dict(zip(asks, said, strict=True)))
        return [chance or 0.0 for chance in found]


def form(answer: str) -> str:
    """The form of an answer, "number", "name" or "word": a year cannot answer "who"."""
    word = ["-", *(clause(answer) or answer).split()][-1]
    named = "name" if word[0].isupper() else "word"
    return "number" if any(map(str.isdigit, word)) else named
