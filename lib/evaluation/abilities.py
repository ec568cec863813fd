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

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from ..data.texts import ABILITIES, HELD_OUT, known_by
from ..model import scoring
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from .intervals import interval
from .interview import generated

KINDS = ("cloze", "grammar", "arithmetic", "word relations")
COLUMNS = ["kind", "item", "prompt", "answer", "right", "base"]
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


@dataclass(eq=False)
class Abilities:
    """The result of `abilities`.

    rows    One row per item that the unedited model has right: kind, item, prompt, answer, right
            (with the patch) and base (always True), so that other selections can be made.
    asked   How many items of each kind were asked, {kind: number}.
    page    Nats per token of each passage of the page, columns base and edited.
    title   One line over the table: edits and model.
    before  What the unedited model has right and what each passage costs it, for the next call.
    """

    rows: pd.DataFrame
    asked: dict[str, int]
    page: pd.DataFrame
    title: str
    before: tuple[list[bool], list[float]] = field(repr=False, compare=False)

    def summary(self) -> pd.DataFrame:
        """One row per kind and one for all: share kept, low, high (95 %), items, asked.

        The share of "all" is the mean over items. The page has its own line: the nats per token
        that a text costs more, over its passages, with a paired interval.
        """
        lines = []
        for kind in (*self.asked, "all"):
            some = self.rows if kind == "all" else self.rows[self.rows["kind"] == kind]
            right = some["right"].to_numpy(dtype=float)
            asked = sum(self.asked.values()) if kind == "all" else self.asked[kind]
            mean = right.mean() if len(right) else math.nan
            lines.append((kind, mean, *interval(right), len(right), asked))
        more = (self.page["edited"] - self.page["base"]).to_numpy()
        if len(more):
            lines.append(
                ("page, nats more", more.mean(), *interval(more, None), len(more), len(more))
            )
        return pd.DataFrame(lines, columns=["kind", "kept", "low", "high", "items", "asked"])

    def json(self) -> dict[str, Any]:
        """The means as plain values: {kind: share kept or None, …, "all": …, "page": nats more}."""
        found = {row.kind: row.kept for row in self.summary().itertuples()}
        found["page"] = found.pop("page, nats more", math.nan)
        return {kind: None if math.isnan(mean) else float(mean) for kind, mean in found.items()}

    def table(self) -> pd.DataFrame:
        """The summary for readers, in percent."""
        cells = []
        for row in self.summary().itertuples():
            scale, digits = (1, 4) if row.kind.startswith("page") else (100, 0)
            low, high = (f"{scale * end:.{digits}f}" for end in (row.low, row.high))
            kept = "–" if math.isnan(row.kept) else f"{scale * row.kept:.{digits}f} [{low}, {high}]"
            cells.append((row.kind, kept, f"{row.items} of {row.asked}"))
        table = pd.DataFrame(cells, columns=["ability", "kept", "right before the edit"])
        return table.set_index("ability")

    def __repr__(self) -> str:
        return f"{self.title}\n{self.table().to_string()}\n{_FOOTER}"

    def _repr_html_(self) -> str:
        caption = f"<p><b>{html.escape(self.title)}</b></p>"
        return f"<div>{caption}{self.table().to_html(border=0)}<small>{_FOOTER}</small></div>"


_FOOTER = (
    "kept: share in % of the items that the unedited model has right, with its 95 % interval; "
    "page: nats per token that a text costs more"
)


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
            raise ValueError(f"the base has {len(before[0])} items, where {len(some)} are asked")
    with lm.patched(patch, only=True):
        after, page = _right(lm, some), _page(lm)
    rows = [
        (item.kind, number, item.prompt, item.answer, now, True)
        for number, (item, was, now) in enumerate(zip(some, before[0], after, strict=True))
        if was
    ]
    asked = {kind: sum(item.kind == kind for item in some) for kind in _kinds(some)}
    edits = sum(map(len, patch.log))
    return Abilities(
        pd.DataFrame(rows, columns=COLUMNS),
        asked,
        pd.DataFrame({"base": before[1], "edited": page}),
        f"abilities after {edits} edits, {lm.name}",
        before,
    )


def _kinds(some: Sequence[Ability]) -> list[str]:
    return list(dict.fromkeys(item.kind for item in some))


def _right(lm: LM, some: Sequence[Ability]) -> list[bool]:
    """Whether the model, as it is patched now, has each item right."""
    said = generated(lm, [(item.prompt, item.answer) for item in some if not item.wrong])
    pairs = [
        (item.prompt, answer)
        for item in some
        if item.wrong
        for answer in (item.answer, *item.wrong)
    ]
    rows, _ = lm.rows([prompt for prompt, _ in pairs])
    found = scoring.score(lm, rows, [answer for _, answer in pairs])
    p = {pair: scores.log_probs.sum().item() for pair, scores in zip(pairs, found, strict=True)}
    right = []
    for item in some:
        pair = item.prompt, item.answer
        if item.wrong:
            right.append(all(p[pair] > p[item.prompt, other] for other in item.wrong))
        else:
            right.append(said[pair][1].begins)
    return right


def _page(lm: LM) -> list[float]:
    """The nats per token of every passage of the held-out page, each read by itself."""
    ids = lm.tokenizer(HELD_OUT.read_text(encoding="utf-8"), add_special_tokens=False).input_ids
    lead = [] if lm.leading_bos is None else [lm.leading_bos]
    size = min(PASSAGE, lm.context or PASSAGE) - len(lead)
    rows = [lead + ids[i : i + size] for i in range(0, len(ids), size)]
    rows = [row for row in rows if len(row) > size // 2]
    found = scoring.score(lm, [row[:1] for row in rows], [row[1:] for row in rows])
    return [-scores.log_probs.mean().item() for scores in found]
