"""A dossier of one entity: what the model answers about it, before and after an edit.

Every relation is asked in several wordings. An answer counts only where the wordings agree and
where it is more probable for this entity than for others of the relation: many prompts suggest an
answer by themselves, as "… is located in the city of" does, whoever the subject is. Behind the
answers stand what the layers do with the entity (`entity_inside`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..data.facts import Fact, require_text
from ..data.relations import Relation, bare, relations
from ..model.lm import LM
from ..patch.patch import EMPTY, Edit, Patch
from .entity_answers import AGREED, LIFTED, Reply, Told, first_word, said, told
from .entity_inside import Inside, inside
from .usual_answers import usual

__all__ = ["AGREED", "LIFTED", "Dossier", "Line", "Reply", "Told", "dossier", "dossier_lines"]

WORDINGS = 3
OTHERS = 8  # subjects with which an answer is compared
FIRST, TOGETHER = 4, 9  # relations that are asked in the first batch, and in each further one


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
        return first_word(self.before.answer) != first_word(self.after.answer)


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
            total_moved = f"{moved} answer{'s' * (moved != 1)}"
            text += f", {now} with the patch, which changed {total_moved}, firm or not"
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
    on_disk: bool = False,
) -> Iterator[Line]:
    """The lines of a dossier, each as soon as its relation has been asked.

    among     relations by their names; by default the classroom's 31
    wordings  the most wordings of a relation
    others    the most other subjects with which an answer is compared
    on_disk   keep what other subjects are answered in the cache folder, where the next process
              finds it; on the embedded model it is most of the time of a first dossier

    The model is free between two lines, so that others may use it. Raises FactError for a blank
    entity, ValueError for fewer than one wording or other subject.
    """
    require_text(entity, "the entity")
    if wordings < 1 or others < 1:
        raise ValueError("a dossier needs at least one wording and one other subject")
    known = relations() if among is None else among
    return _lines(lm, entity.strip(), patch, known, wordings, others, on_disk)


def keep_usual(lm: LM, relation: Relation) -> None:
    """Keep on disk what other subjects of a relation are answered, which most entities need."""
    usual(lm, relation, relation.templates[:WORDINGS], "", OTHERS, on_disk=True)


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
    on_disk: bool,
) -> Iterator[Line]:
    """The lines, some relations at a time: a step of generation reads all weights once.

    The first lines are there soon, and later ones share their steps with more others.
    """
    rest = list(known.values())
    size = FIRST
    while rest:
        some, rest, size = rest[:size], rest[size:], TOGETHER
        means, prompts = [], []
        for relation in some:
            templates = relation.templates[:wordings]
            prompts.append(tuple(relation.ask(template, entity) for template in templates))
            means.append(usual(lm, relation, templates, entity, others, on_disk))
        flat = [prompt for asked in prompts for prompt in asked]
        heard = said(lm, flat)
        before = after = told(lm, prompts, heard, means)
        if patch:
            now = said(lm, flat, patch, [one.ids for one in heard])
            after = told(lm, prompts, now, means, patch)
        for relation, asked, *both in zip(some, prompts, before, after, strict=True):
            yield Line(relation.name, asked, *both)


def _shown(told: Told) -> str:
    text = told.answer or "–"
    return text if told.consistent else f"({text})"
