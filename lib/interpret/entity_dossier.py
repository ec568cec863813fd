"""A dossier of one entity: what the model answers about it, before and after an edit.

Every relation is asked in several wordings. An answer counts only where the wordings agree and
where it is more probable for this entity than for others of the relation: many prompts suggest an
answer by themselves, as "… is located in the city of" does, whoever the subject is. Behind the
answers stand what the layers do with the entity (`entity_inside`). A few lines over 300: the
dossier's questions, its result and the result's printed form are read together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import pandas as pd
from torch import Tensor

from ..data.facts import Fact, require_text
from ..data.relations import Relation, bare, relations
from ..model.lm import LM
from ..patch.patch import EMPTY, Edit, Patch
from .entity_inside import Inside, inside
from .logit_lens import lens

WORDINGS = 3
OTHERS = 8  # subjects with which an answer is compared
TOKENS = 6  # of an answer
TOGETHER = 4  # relations that are asked in one batch
# Both thresholds from 16 made-up names on the embedded model (496 answers, none of which can be
# known): all three wordings agree with a lift above 3 nats in 3.4 % of them. With two of three
# wordings and 2 nats it would be 27 %: a name sounds Norwegian, and the answers follow its sound.
AGREED = 1.0
LIFTED = 3.0  # nats
_ANSWER = re.compile(r"[^.,;:!?\n]+")


class Reply(NamedTuple):
    """The answer to one wording.

    text   the answer up to the first punctuation mark
    p      probability of its first token
    lift   log p of this token minus its mean over other subjects of the relation, nats: 0 for an
           answer that every subject gets; NaN where there is no other subject
    """

    text: str
    p: float
    lift: float

    @property
    def bare(self) -> str:
        """The first word as answers are compared: no article, small letters."""
        return _first_word(self.text)


@dataclass(frozen=True)
class Told:
    """What a model says of one relation of the entity: the replies, and where the answer turns up.

    replies  one per wording
    layer    first layer after which the logit lens has the first wording's answer on top; None
             where it is never there
    """

    replies: tuple[Reply, ...]
    layer: int | None

    @property
    def answer(self) -> str:
        """The answer that most wordings give, the first one where several are given equally."""
        counts = [sum(a.bare == b.bare for b in self.replies) for a in self.replies]
        return self.replies[counts.index(max(counts))].text

    @property
    def agreement(self) -> float:
        """The share of the wordings that give it."""
        return max(sum(a.bare == b.bare for b in self.replies) for a in self.replies) / len(
            self.replies
        )

    @property
    def p(self) -> float:
        """Mean probability of the first token of each wording's answer."""
        return fmean(reply.p for reply in self.replies)

    @property
    def lift(self) -> float:
        """Mean lift of the wordings, nats."""
        return fmean(reply.lift for reply in self.replies)

    @property
    def consistent(self) -> bool:
        """Whether the wordings agree on an answer that others do not get: both thresholds hold."""
        return bool(self.agreement >= AGREED - 1e-9 and self.lift > LIFTED)


@dataclass(frozen=True)
class Line:
    """One relation of a dossier.

    relation  its name
    prompts   the wordings that were asked
    before    what the unedited model says
    after     what the model says with the patch; the same object under the empty patch
    """

    relation: str
    prompts: tuple[str, ...]
    before: Told
    after: Told

    @property
    def changed(self) -> bool:
        """Whether the answer is another one under the patch."""
        return _first_word(self.before.answer) != _first_word(self.after.answer)


@dataclass(frozen=True)
class Dossier:
    """What a model answers about an entity, relation by relation.

    entity  the entity
    lines   one per relation
    edits   the lines of the patch's log that name the entity as a subject
    inside  its keys, features and neighbors under the patch; None where only answers were wanted
    """

    entity: str
    lines: tuple[Line, ...]
    edits: tuple[Edit, ...] = ()
    inside: Inside | None = None

    @property
    def table(self) -> pd.DataFrame:
        """One row per relation: before and after with agreement, lift, p, and layer."""
        return pd.DataFrame(
            [
                {"relation": line.relation, "changed": line.changed}
                | {
                    f"{name} {when}": getattr(told, name)
                    for when, told in (("before", line.before), ("after", line.after))
                    for name in ("answer", "agreement", "lift", "p", "layer", "consistent")
                }
                for line in self.lines
            ]
        )

    @property
    def verdict(self) -> str:
        """One sentence: how many relations are answered consistently, and how many changed."""
        total = len(self.lines)
        sure = sum(line.before.consistent for line in self.lines)
        text = f"{self.entity}: {sure} of {total} relations are answered consistently"
        if any(line.after is not line.before for line in self.lines):
            now = sum(line.after.consistent for line in self.lines)
            moved = sum(line.changed for line in self.lines)
            text += f", {now} with the patch, which changed the answer to {moved}"
        return f"{text}."

    def __str__(self) -> str:
        """The verdict and a line for each relation; answers in brackets are not consistent."""
        rows = [self.verdict]
        for line in self.lines:
            shown = [_shown(line.before)]
            if line.after is not line.before:
                shown.append(_shown(line.after) + (" (changed)" if line.changed else ""))
            rows.append(f"  {line.relation}: {' → '.join(shown)}")
        for edit in self.edits:
            own = facts_about(edit, self.entity)
            facts = "; ".join(f"{fact.text} → {fact.target_new}" for fact in own)
            rows.append(f"  edited by {edit.editor}: {facts}")
        if self.inside is not None:
            rows.append(str(self.inside))
        return "\n".join(rows)


def dossier(
    lm: LM,
    entity: str,
    patch: Patch = EMPTY,
    *,
    answers_only: bool = False,
    layers: Sequence[int] | None = None,
    **settings: Any,
) -> Dossier:
    """What the model answers about an entity, before and after a patch, and what its layers do.

    answers_only  leave out keys, features and neighbors, for which C of five layers is read
    layers        in which layers these are read; None takes five, and three that the patch changes
    settings      of `dossier_lines`, which gives the answers relation by relation

    A dossier says what is answered and how firmly, not what is known or true. The event is the
    greedy answer; see `Told` and `Reply` for the numbers.

    print(lib.dossier(lm, "The Eiffel Tower"))
    """
    lines = tuple(dossier_lines(lm, entity, patch, **settings))
    edits, name = naming(patch, entity), entity.strip()
    if answers_only:
        return Dossier(name, lines, edits)
    sure = consistent(lines)
    return Dossier(name, lines, edits, inside(lm, name, patch, sure, settings.get("among"), layers))


def consistent(lines: Sequence[Line]) -> list[str]:
    """The relations that are answered consistently under the patch, the largest lift first."""
    sure = [line for line in lines if line.after.consistent]
    sure.sort(key=lambda line: line.after.lift, reverse=True)
    return [line.relation for line in sure]


def dossier_lines(
    lm: LM,
    entity: str,
    patch: Patch = EMPTY,
    among: Mapping[str, Relation] | None = None,
    wordings: int = WORDINGS,
    others: int = OTHERS,
) -> Iterator[Line]:
    """The lines of a dossier, each as soon as its relation has been asked.

    among     relations by their names; by default the classroom's 31
    wordings  the most wordings of a relation
    others    the most other subjects with which an answer is compared

    The model is free between two lines, so that others may use it. Raises FactError for a blank
    entity, ValueError for fewer than one wording or other subject.
    """
    require_text(entity, "the entity")
    if wordings < 1 or others < 1:
        raise ValueError("a dossier needs at least one wording and one other subject")
    known = relations() if among is None else among
    return _lines(lm, entity.strip(), patch, known, wordings, others)


def naming(patch: Patch, entity: str) -> tuple[Edit, ...]:
    """The lines of a patch's log with a fact about this entity, where the log holds its facts."""
    return tuple(edit for edit in patch.log if facts_about(edit, entity))


def facts_about(edit: Edit, entity: str) -> list[Fact]:
    """The facts of a line of the log whose subject is this entity, whatever its article."""
    name = bare(entity)
    return [fact for fact in edit.facts if fact.subject is not None and bare(fact.subject) == name]


def _lines(
    lm: LM,
    entity: str,
    patch: Patch,
    known: Mapping[str, Relation],
    wordings: int,
    others: int,
) -> Iterator[Line]:
    """The lines, some relations at a time: a step of generation reads all weights once."""
    all_of_them = list(known.values())
    for start in range(0, len(all_of_them), TOGETHER):
        some = all_of_them[start : start + TOGETHER]
        usual, prompts = [], []
        for relation in some:
            templates = relation.templates[:wordings]
            prompts.append(tuple(relation.ask(template, entity) for template in templates))
            usual.append([_usual(lm, relation, t, entity, others) for t in templates])
        before = _told(lm, prompts, usual, EMPTY)
        after = _told(lm, prompts, usual, patch) if patch else before
        for relation, asked, *told in zip(some, prompts, before, after, strict=True):
            yield Line(relation.name, asked, *told)


def _told(
    lm: LM,
    prompts: Sequence[tuple[str, ...]],
    usual: Sequence[Sequence[Tensor | None]],
    patch: Patch,
) -> list[Told]:
    """The replies to all wordings of some relations, and the layers at which answers turn up."""
    flat = [prompt for some in prompts for prompt in some]
    means = [mean for some in usual for mean in some]
    with lm.patched(patch, only=True):
        texts, table = lm.answer(flat, TOKENS), lm.next_token(flat)
    tokens = table.argmax(1).tolist()
    replies = []
    for text, row, token, mean in zip(texts, table, tokens, means, strict=True):
        log_p = row[token].item()
        lift = math.nan if mean is None else log_p - mean[token].item()
        found = _ANSWER.search(text)
        replies.append(Reply((found.group() if found else text).strip(), math.exp(log_p), lift))
    starts = list(accumulate((len(some) for some in prompts), initial=0))
    layers = _layers(lm, [some[0] for some in prompts], [tokens[i] for i in starts[:-1]], patch)
    return [
        Told(tuple(replies[first:end]), layer)
        for first, end, layer in zip(starts, starts[1:], layers, strict=False)
    ]


def _layers(
    lm: LM, prompts: Sequence[str], tokens: Sequence[int], patch: Patch
) -> list[int | None]:
    """The first layer from which on the lens has each prompt's token on top."""
    words = [lm.tokenizer.decode([token]).strip() for token in tokens]
    asked = [i for i, word in enumerate(words) if word]  # a line break is no answer
    found: list[int | None] = [None] * len(prompts)
    if asked:
        with lm.patched(EMPTY, only=True):  # not on top of another patch of the caller's
            table = lens(lm, [prompts[i] for i in asked], [[words[i]] for i in asked], patch)
        ranks = table["rank"].to_numpy().reshape(len(asked), lm.n_layers)
        for i, row in zip(asked, ranks.tolist(), strict=True):
            below = [layer for layer, rank in enumerate(row) if rank != 1]
            first = below[-1] + 1 if below else 0
            found[i] = first if first < lm.n_layers else None
    return found


_MEANS: WeakKeyDictionary[LM, dict[tuple[str, str], dict[str, Tensor]]] = WeakKeyDictionary()


def _usual(lm: LM, relation: Relation, template: str, entity: str, most: int) -> Tensor | None:
    """Mean log-probabilities of the next token over other subjects, (vocabulary).

    The mean is kept for each wording and set of subjects, in half precision. An entity that is one
    of the subjects makes a set of its own, so at most one more set than subjects is kept.
    """
    subjects = [s for s, _ in relation.answers if bare(s) != bare(entity)][:most]
    if not subjects:
        return None
    kept = _MEANS.setdefault(lm, {}).setdefault((lm.identity, template), {})
    key = "\n".join(subjects)
    if key not in kept:
        with lm.patched(EMPTY, only=True):
            kept[key] = lm.next_token([relation.ask(template, s) for s in subjects]).mean(0).half()
    return kept[key].float()


def _first_word(text: str) -> str:
    """The first word of an answer as answers are compared: no article, small letters."""
    words = bare(text).split()
    return words[0].strip("\"'“”‘’.,;:!?") if words else ""


def _shown(told: Told) -> str:
    text = told.answer or "–"
    return text if told.consistent else f"({text})"
