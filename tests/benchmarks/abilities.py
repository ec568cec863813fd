"""Abilities: what a model could do before its edits, and whether it still can.

Five kinds of items come with the library, small enough for a model of 135M and without any network:
cloze sentences and pairs of a grammatical and an ungrammatical sentence, judged by which of the
continuations is more probable; arithmetic of one digit and relations of words, judged by what the
model says by itself; and a page of text, judged by the nats that it costs per token. No item is
about a subject of the classroom.

Only items that the unedited model has right count, so every loss shows: the unedited model scores
100 % by construction, and the table says how many items those were.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lib.data.texts import HELD_OUT, known_by
from lib.errors import ArgumentError
from lib.evaluation.intervals import Estimate
from lib.evaluation.perplexity import passage_losses
from lib.evaluation.prompt_batch import generated
from lib.evaluation.results import Results
from lib.model import scoring
from lib.model.lm import LM
from lib.patch.patch import EMPTY, Patch

ABILITIES = Path(__file__).parents[1] / "data" / "abilities.json"  # what an edit should not cost
KINDS = ("cloze", "grammar", "arithmetic", "word relations")
COLUMNS = ["kind", "item", "prompt", "answer", "right", "base"]
PAGE = "page, nats more"
PASSAGE = 128  # tokens of a passage of the page, the unit of its interval


class Ability(NamedTuple):
    """One item.

    kind    one of KINDS
    prompt  the text that stands before the answer
    answer  the right continuation
    wrong   continuations that must be less probable; none: the model must say the answer itself
    """

    kind: str
    prompt: str
    answer: str
    wrong: tuple[str, ...] = ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The right continuation, then the wrong ones."""
        return self.answer, *self.wrong


@cache
def items(model: str | None = None) -> tuple[Ability, ...]:
    """The items that come with the library, kind by kind.

    model  Name of a model, as `lm.name` has it; only the items that it has right come back where
           that was measured (`known_by`), and all items for any other model.
    """
    kinds = json.loads(ABILITIES.read_text(encoding="utf-8"))
    measured = known_by(model)
    return tuple(
        Ability(kind, prompt, answer, tuple(wrong[0] if wrong else ()))
        for kind in KINDS
        for place, (prompt, answer, *wrong) in enumerate(kinds[kind])
        if measured is None or place in measured["abilities"][kind]
    )


@dataclass(eq=False, repr=False)
class Abilities(Results):
    """The result of `abilities`.

    rows    One row per item that the unedited model has right: kind, item, prompt, answer, right
            (with the patch) and base (always True), so that other selections can be made.
    asked   How many items of each kind were asked, {kind: number}.
    page    Nats per token of each passage of the page, columns base and edited.
    title   One line over the table: edits and model.
    before  What the unedited model has right and what each passage costs it, for the next call.
    """

    footer = (
        "kept: share in % of the items that the unedited model has right, with its 95 % interval; "
        "page: nats per token that a text costs more"
    )
    rows: pd.DataFrame
    asked: dict[str, int]
    page: pd.DataFrame
    title: str
    before: tuple[list[bool], list[float]]

    def estimates(self) -> dict[str, Estimate]:
        """The share kept of each kind and of all items, and the nats that the page costs more."""
        right = self.rows["right"].astype(float)
        found = {kind: Estimate.of(right[self.rows["kind"] == kind]) for kind in self.asked}
        found["all"] = Estimate.of(right)
        if len(self.page):
            more = self.page["edited"] - self.page["base"]
            found[PAGE] = Estimate.of(more.to_numpy(), None)
        return found

    def json(self) -> dict[str, Any]:
        """The means as plain values: {kind: share kept or None, …, "all": …, "page": nats more}."""
        means = {kind: found.mean for kind, found in self.estimates().items()}
        means["page"] = means.pop(PAGE, math.nan)
        return {kind: None if math.isnan(mean) else float(mean) for kind, mean in means.items()}

    def table(self) -> pd.DataFrame:
        """The share kept of each kind, in percent, and how many items it is of.

        The share of "all" is the mean over items. The page has its own line: the nats per token
        that a text costs more, over its passages, with a paired interval.
        """
        asked = {**self.asked, "all": sum(self.asked.values()), PAGE: len(self.page)}
        lines = {
            kind: (one.cell(kind != PAGE), f"{one.n} of {asked[kind]}")
            for kind, one in self.estimates().items()
        }
        columns = ["kept", "right before the edit"]
        table = pd.DataFrame.from_dict(lines, orient="index", columns=columns)
        return table.rename_axis("ability")


def abilities(
    lm: LM,
    patch: Patch = EMPTY,
    some: Sequence[Ability] | None = None,
    base: Abilities | None = None,
) -> Abilities:
    """What the model with a patch still can do of what it could without.

    The model is asked twice, without any patch and with this one; patches that are active already
    are set aside for the time being.

    some  the items, by default those that come with the library: all of them, or where it is
          known which of them the model has right, those
    base  an earlier result with the same model and items, so that the unedited model is not asked
          again

    Raises ValueError for a base with other items.
    """
    some = items(lm.name) if some is None else list(some)
    if base is None:
        with lm.patched(EMPTY, only=True):
            before = _right(lm, some), _page(lm)
    else:
        before = base.before
        if len(before[0]) != len(some):
            raise ArgumentError(f"the base has {len(before[0])} items, where {len(some)} are asked")
    with lm.patched(patch, only=True):
        after, page = _right(lm, some), _page(lm)
    rows = [
        (item.kind, number, item.prompt, item.answer, now, True)
        for number, (item, was, now) in enumerate(zip(some, before[0], after, strict=True))
        if was
    ]
    asked = dict(Counter(item.kind for item in some))
    edits = sum(map(len, patch.log))
    return Abilities(
        pd.DataFrame(rows, columns=COLUMNS),
        asked,
        pd.DataFrame({"base": before[1], "edited": page}),
        f"abilities after {edits} edits, {lm.name}",
        before,
    )


def _right(lm: LM, some: Sequence[Ability]) -> list[bool]:
    """Whether the model, as it is patched now, has each item right."""
    written = generated(lm, [(item.prompt, item.answer) for item in some if not item.wrong])
    pairs = [(item.prompt, text) for item in some if item.wrong for text in item.choices]
    rows, _ = lm.rows([prompt for prompt, _ in pairs])
    scored = scoring.score(lm, rows, [answer for _, answer in pairs])
    p = {pair: one.log_probs.sum().item() for pair, one in zip(pairs, scored, strict=True)}
    return [
        all(p[item.prompt, item.answer] > p[item.prompt, other] for other in item.wrong)
        if item.wrong
        else written[item.prompt, item.answer][1].begins
        for item in some
    ]


def _page(lm: LM) -> list[float]:
    """The nats per token of every passage of the held-out page, each read by itself."""
    text = HELD_OUT.read_text(encoding="utf-8")
    return [loss.mean().item() for loss in passage_losses(lm, text, PASSAGE, 0.5)]
