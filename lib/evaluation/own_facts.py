"""Test prompts for your own fact: finding the prepared relation that it means, and its tests.

A typed fact has no paraphrases and no neighbors. `matches` compares its prompt with the wordings of
the classroom's relations, using its words and the model's state at its last token, and `case_for`
builds paraphrases and neighbors using the matching relation.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..cancellation import steps
from ..data import as_facts
from ..data.facts import Case, Fact, Probe, quoted
from ..data.relations import Relation, bare, relations
from ..errors import DataWarning, FactError
from ..model import activations
from ..model.lm import LM
from ..patch.patch import EMPTY
from .answers import begins
from .prompt_batch import generated

# From a sweep on the default model over six depths (blocks 8 to 28 of 30) and five weights of the
# words (its rows are in git at 2f928b6): 324 prompts of the classroom, each compared only with the
# other wordings, and 300 prompts of CounterFact, 276 of which ask for a relation in the classroom.
# Before block 24, using weight 1, the nearest wording has the right relation for 79 and 94%. Using
# these two thresholds, 71 and 86% are accepted as the right relation, 18 and 2% as a wrong one (the
# classroom has relations differing by one word: sport of a person, sport of a team); of the 24
# prompts whose relation the classroom lacks, 9 are accepted ("is owned by" as developer). With the
# sink token, which was added later: 67 and 89%, 21 and 0%, and 10 of the 24.
DEPTH = 0.8
LEAST = 0.65
STATE = 0.15
# A verb that no wording of the relation has ("flows through the country of") means a different
# question if its embedding is far from all of their words. Of 22 accepted prompts putting a
# relation in their own words ("lies in the city of"), 20 are above this, and of 19 that only end
# like a wording ("invaded the country of"), 11 are below. The percentages above are without it.
OWN = 0.33
REWORDINGS = 3
NEIGHBORS = 6
TOGETHER = 8  # neighbors tested in one batch, until enough are answered correctly
_SMALL = frozenset("a an and are at by for in is it of on or s that the to was were".split())


class Match(NamedTuple):
    """A relation, and how well a prompt fits the nearest of its wordings.

    state  cosine of the states at the last token, -1 to 1
    words  fraction of common words, 0 to 1
    own    cosine of the prompt's own words, which no wording has, with the relation's nearest word:
           the smallest of them, 1.0 without such words
    """

    relation: Relation
    state: float
    words: float
    own: float = 1.0

    @property
    def score(self) -> float:
        """Return the sum of both, at most 2."""
        return self.state + self.words

    @property
    def fits(self) -> bool:
        """Return whether the prompt means this relation.

        The state by itself also has to support it: "{} is the capital of" has the words of "The
        capital of {} is", but asks in the other direction. Nor can any word of the prompt be far
        from all words of the relation: the meaning of "flows through the country of" does not come
        from it.
        """
        return self.score >= LEAST and self.state >= STATE and self.own >= OWN


def matches(
    lm: LM, fact: as_facts.Given, among: Mapping[str, Relation] | None = None
) -> list[Match]:
    """Return all relations, sorted by how well the fact's prompt fits one of their wordings.

    The best comes first. The states come from the unedited model, centered and scaled over the
    wordings of all relations.

    among  relations by name; by default the classroom's

    Raises FactError for a fact without a subject.
    """
    fact = as_facts.fact(fact)
    if fact.subject is None:
        raise FactError(
            "A fact without a subject does not belong to any relation. Give it a subject."
        )
    known = relations() if among is None else among
    if not known:
        return []
    wordings = tuple((name, text) for name, one in known.items() for text in one.templates)
    states, mean, scale = _scaled(lm, known, wordings)
    own = (_states(lm, [fact.text]) - mean) / scale
    near = torch.nn.functional.cosine_similarity(own, states)
    words = _words(fact.prompt)
    shared = torch.tensor(
        [
            len(words & other) / max(1, len(words | other))
            for other in (_words(template) for _, template in wordings)
        ]
    )
    best: dict[str, Match] = {}
    for (name, _), state, common in zip(wordings, near.tolist(), shared.tolist(), strict=True):
        match = Match(known[name], state, common)
        if name not in best or match.score > best[name].score:
            best[name] = match
    first, *others = sorted(best.values(), key=lambda match: -match.score)
    return [first._replace(own=_nearness(lm, words, first.relation)), *others]


def case_for(
    lm: LM,
    fact: as_facts.Given,
    relation: str | None = None,
    among: Mapping[str, Relation] | None = None,
    neighbors: int = NEIGHBORS,
) -> Case | None:
    """Return the fact as a case with test prompts, or None if it does not fit any relation.

    Its paraphrases are the relation's other wordings about this subject. Its neighbors are facts
    about other subjects that the unedited model answers correctly, without giving the new answer,
    so that a loss shows. Its unrelated prompts come from the relation.

    relation   its name, if known; by default the best of `matches`
    among      relations by name; by default the classroom's
    neighbors  the maximum number of neighbors

    Raises FactError for a fact without a subject or an unknown relation.
    """
    fact, known = as_facts.fact(fact), relations() if among is None else among
    if fact.subject is None:
        raise FactError(
            "A fact without a subject does not belong to any relation. Give it a subject."
        )
    if relation is None:
        first = next(iter(matches(lm, fact, known)), None)
        if first is None or not first.fits:
            return None
        found = first.relation
    elif relation in known:
        found = known[relation]
    else:
        raise FactError(
            f"There is no relation '{relation}'. Available relations: {', '.join(known)}"
        )
    return Case(
        fact,
        paraphrases=tuple(found.rewordings(fact.subject, fact.text, REWORDINGS)),
        neighborhood=tuple(_answered(lm, found, fact, neighbors)),
        locality=found.locality[:2],
        id="own",
        relation=found.name,
    )


def with_tests(lm: LM, cases: Sequence[Case]) -> list[Case]:
    """Return the cases; a case without any tests gets tests from `case_for`, keeping its id.

    A DataWarning names the facts for which it could not make any: only the edit itself is measured.
    """
    found, none = list(cases), []
    # only cases whose fact is their only prompt
    alone = [
        i
        for i, case in enumerate(found)
        if not (case.paraphrases or case.neighborhood or case.locality or case.portability)
    ]
    for i in steps(alone, "Making tests") if alone else ():
        fact = found[i].fact
        made = case_for(lm, fact) if fact.subject is not None else None
        if made is None:
            none.append(quoted(fact.text))
        else:
            found[i] = replace(made, id=found[i].id, batch=found[i].batch)
    if none:
        warnings.warn(
            f"No tests could be made for {len(none)} of {len(cases)} facts, so only the edit is "
            f"measured for them: {', '.join(none[:3])}{', …' if len(none) > 3 else ''}. Use a "
            "lib.Case to give paraphrases, neighborhood and locality.",
            DataWarning,
            stacklevel=4,
        )
    return found


def overlap(first: str, second: str) -> bool:
    """Return whether a text can give two answers at once because one begins with the other.

    overlap("the North Sea", "North Sea") -> True; overlap("New Delhi", "New York") -> False
    """
    return begins(bare(first), bare(second)) or begins(bare(second), bare(first))


def _answered(lm: LM, relation: Relation, fact: Fact, most: int) -> list[Probe]:
    """Return the first questions about other subjects that the unedited model answers correctly.

    It skips questions whose right answer is the new answer: there, the edit could not cause an
    error.
    """
    right: list[Probe] = []
    open_ones = [
        probe
        for probe in relation.others(str(fact.subject), [fact.text])
        if not overlap(probe.target, fact.target_new)
    ]
    while open_ones and len(right) < most:
        some, open_ones = open_ones[:TOGETHER], open_ones[TOGETHER:]
        with lm.patched(EMPTY, only=True):
            answers = generated(lm, [(probe.prompt, probe.target) for probe in some])
        right += [probe for probe in some if answers[probe.prompt, probe.target][1].begins]
    return right[:most]


def _scaled(
    lm: LM, known: Mapping[str, Relation], of: tuple[tuple[str, str], ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the states of wordings (relation, template), centered and scaled, with mean and scale.

    Each wording is about one of its relation's subjects; they are read once per model.
    """

    def make() -> tuple[Tensor, Tensor, Tensor]:
        texts = []
        for number, (name, template) in enumerate(of):
            subjects = [subject for subject, _ in known[name].answers] or ["It"]
            texts.append(known[name].ask(template, subjects[number % len(subjects)]))
        states = _states(lm, texts)
        mean, scale = states.mean(0), states.std(0, correction=0).clamp(min=1e-6)
        return (states - mean) / scale, mean, scale

    return lm.once(("wordings", lm.stored_identity, of), make)


def _states(lm: LM, texts: list[str]) -> Tensor:
    """Return the unedited model's states (n, d) at the last tokens, before the block at `DEPTH`."""
    block = min(round(DEPTH * lm.n_layers), lm.n_layers - 1)
    with lm.patched(EMPTY, only=True):
        return activations.states_at_ends(lm, texts, block).float().cpu()


def _nearness(lm: LM, words: set[str], relation: Relation) -> float:
    """Return how near the prompt's own words are to the relation's words (see `Match.own`)."""
    known = sorted(set().union(*map(_words, relation.templates)))
    own = sorted(words - {*known})
    if not own or not known:
        return 1.0
    table = lm.model.get_input_embeddings().weight.detach()
    mean = lm.once(("embedding", lm.stored_identity), lambda: table.float().mean(0))
    tokens = [lm.tokenizer(f" {word}", add_special_tokens=False).input_ids for word in own + known]
    vectors = torch.stack([table[ids].float().mean(0) - mean for ids in tokens])
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    return float((vectors[: len(own)] @ vectors[len(own) :].T).max(1).values.min())


def _words(prompt: str) -> set[str]:
    """Return the words that carry a prompt's question."""
    return set(re.findall(r"\w+", prompt.replace("{}", " ").casefold())) - _SMALL
