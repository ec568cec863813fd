"""A profile of one entity: the model's answers about it, before and after an edit.

Every relation is tested in several wordings. An answer counts only if the wordings agree and if it
is more probable for this entity than for others of the relation: many prompts suggest an answer by
themselves, such as "… is located in the city of", whoever the subject is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...data import as_facts
from ...data.facts import Fact, require_text
from ...data.relations import Relation, bare, relations
from ...model.lm import LM
from ...patch.patch import EMPTY, Edit, Patch
from .dossier_answers import EntityAnswers, answers, first_word, usual_answers

WORDINGS = 3
OTHERS = 8  # subjects compared with an answer
FIRST, TOGETHER = 4, 9  # relations in the first batch, and in each further batch


@dataclass(frozen=True)
class Line:
    """One relation of a dossier.

    relation  its name
    prompts   the wordings used
    before    the unedited model's answers
    after     the answers with the patch; the same object under the empty patch
    """

    relation: str
    prompts: tuple[str, ...]
    before: EntityAnswers
    after: EntityAnswers

    @property
    def changed(self) -> bool:
        """True if the answer is different under the patch."""
        return first_word(self.before.answer) != first_word(self.after.answer)


@dataclass(frozen=True)
class Dossier:
    """A model's answers about an entity, relation by relation.

    entity  the entity
    lines   one per relation
    edits   the lines of the patch's log naming the entity as a subject
    """

    entity: str
    lines: tuple[Line, ...]
    edits: tuple[Edit, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """One row per relation: before and after with agreement, lift, p, and layer."""
        return pd.DataFrame(
            [
                {"relation": line.relation, "changed": line.changed}
                | {
                    f"{name} {when}": getattr(found, name)
                    for when, found in (("before", line.before), ("after", line.after))
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
        """Return the verdict and a line for each relation, inconsistent answers in brackets."""
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
        return "\n".join(rows)


def dossier(lm: LM, entity: str | as_facts.Given, patch: Patch = EMPTY, **settings: Any) -> Dossier:
    """Return the model's answers about an entity, before and after a patch.

    settings  of `dossier_lines`, giving the answers relation by relation

    A dossier shows the answers and their firmness, without showing whether anything is known or
    true. The event is the greedy answer; for the numbers, see `EntityAnswers` and `Reply`.

    print(lib.workbench.dossier(lm, "The Eiffel Tower"))
    """
    entity = entity if isinstance(entity, str) else as_facts.fact(entity).subject or ""
    lines = tuple(dossier_lines(lm, entity, patch, **settings))
    return Dossier(entity.strip(), lines, naming(patch, entity))


def dossier_lines(
    lm: LM,
    entity: str,
    patch: Patch = EMPTY,
    among: Mapping[str, Relation] | None = None,
    wordings: int = WORDINGS,
    others: int = OTHERS,
) -> Iterator[Line]:
    """Yield the lines of a dossier, each as soon as its relation has been tested.

    among     relations by name; by default the classroom's 31
    wordings  maximum number of wordings of a relation
    others    maximum number of other subjects compared with an answer

    The model is free between two lines for other uses. Raises FactError for a blank entity.
    """
    require_text(entity, "The entity")
    entity = entity.strip()
    # some relations at a time: a step of generating reads all weights once. The first lines come
    # soon, and later lines share their steps with more lines
    rest = list((relations() if among is None else among).values())
    size = FIRST
    while rest:
        some, rest, size = rest[:size], rest[size:], TOGETHER
        usual, prompts = [], []
        for relation in some:
            templates = relation.templates[:wordings]
            prompts.append(tuple(relation.ask(template, entity) for template in templates))
            usual.append(usual_answers(lm, relation, templates, entity, others))
        before = after = answers(lm, prompts, usual)
        if patch:
            after = answers(lm, prompts, usual, patch)
        for relation, asked, *both in zip(some, prompts, before, after, strict=True):
            yield Line(relation.name, asked, *both)


def naming(patch: Patch, entity: str) -> tuple[Edit, ...]:
    """Return the lines of a patch's log with a fact about this entity, if the log has its facts."""
    return tuple(edit for edit in patch.log if facts_about(edit, entity))


def facts_about(edit: Edit, entity: str) -> list[Fact]:
    """Return the facts of a line of the log whose subject is this entity, ignoring its article."""
    name = bare(entity)
    return [fact for fact in edit.facts if fact.subject is not None and bare(fact.subject) == name]


def _shown(found: EntityAnswers) -> str:
    text = found.answer or "–"
    return text if found.consistent else f"({text})"
