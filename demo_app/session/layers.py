"""Explains a failed edit or a moved neighbor: its search, where its answer changes, and other
layers.

This examines the latest edit, whether it became live or not. The same edit is made in layers spread
over the model, each time on top of the same earlier edits, so the visitor can keep another layer's
edit instead.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import lib
from lib.data.facts import encode_target
from lib.keys_values import value_search
from lib.workbench.interpret.logit_lens import lens

from . import editor_settings
from .edits import patch_of
from .interference import likeness
from .studio import Studio
from .subject_in_view import listed
from .views import Column, Subject, View
from .visitors import Session
from .worker import Job, Trouble

FIVE = 5  # layers side by side

Ranks = dict[str, list[int]]  # {answer: its rank after every layer}


@dataclass(frozen=True)
class Turn:
    """Ranks of two answers after every layer.

    answers: the old answer and the new one.
    was: their ranks before the edit, under the earlier edits that are live.
    now: their ranks under the edit.
    edited: the layers that the edit writes.
    """

    answers: tuple[str, str]
    was: Ranks
    now: Ranks
    edited: tuple[int, ...]

    @property
    def found(self) -> str:
        """The layer where the new answer overtakes the old one, as a sentence."""
        old, new = self.answers
        was, now = self.was[new], self.now[new]
        pairs = list(zip(now, self.now[old], strict=True))
        ahead = [layer for layer in range(len(now)) if all(a < b for a, b in pairs[layer:])]
        if not ahead:
            return f"“{new}” never overtakes “{old}” for good: it ends at rank {now[-1]:,}."
        return (
            f"From layer {ahead[0]} on, “{new}” ranks above “{old}”. It ends at rank "
            f"{now[-1]:,}; before the edit, at {was[-1]:,}."
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The ranks at about six layers."""
        count = len(self.was[self.answers[0]])
        each = range(0, count, max(1, count // 6))
        return tuple(
            f"“{answer}” {name}: " + ", ".join(f"layer {i} rank {table[answer][i]:,}" for i in each)
            for name, table in (("before", self.was), ("after", self.now))
            for answer in self.answers
        )


@dataclass(frozen=True)
class Tried:
    """An edit, and the same edit in other layers.

    view: one column for each layer, from the bottom up; the chosen column belongs to the edit
        itself.
    loss: for each step of its search, the total, the new answer's loss, the KL and the decay, in
        nats, and the probability of the new answer; empty if its editor doesn't search for a value.
    turn: the answers' ranks; None if both answers begin with the same token.
    tokens: the number of tokens in the new answer.
    first: the first of these tokens as text, if the answer begins with it; otherwise "".
    nearest: among the neighbors with the fact's question, the one with the most similar key, and
        its ρ; None unless it moved.
    """

    view: View
    loss: tuple[tuple[float, ...], ...] = ()
    turn: Turn | None = None
    tokens: int = 0
    first: str = ""
    nearest: tuple[str, float] | None = None

    @property
    def layers(self) -> list[int]:
        """The last layer that each column writes."""
        return [int(re.findall(r"\d+", column.name)[-1]) for column in self.view.columns]

    @property
    def layer(self) -> int:
        """The last layer of the edit itself."""
        return self.layers[self.view.chosen]


def compare(studio: Studio, session: Session) -> Job:
    """Make the visitor's last edit in five layers: a Tried, which grows.

    Raises Trouble if there is no edit, or if its editor has no layer to choose.
    """
    about, patch, kept = _asked(studio, session)
    line, held, lm = patch.log[-1], session.edits, studio.lm
    before = held[:-1] if kept else held
    start = patch_of(before)
    fact, own = about.case.fact, editor_settings.changed(lm, line)
    writer, shown = _writer(studio, line), studio.choices.editors[line.editor][0]
    width, here = len(writer.layers()), writer.layers()[-1]

    def settings(last: int) -> dict[str, Any]:
        """The edit's own settings, moving its layers so that they end at this one."""
        if last == here:
            return own
        some = tuple(range(max(0, last - width + 1), last + 1))
        return own | ({"layers": some} if "layers" in vars(writer.config) else {"layer": last})

    def work(job: Job) -> Generator[None, None, Tried]:
        asked, found = studio.own_facts.with_tests(job, about), Tried(View(about, ()))
        places = spread(lm.n_layers, here)
        kinds = [studio.choices.writer(line.editor, **settings(last)) for last in places]
        wanted = [one for kind in kinds for one in kind.statistics(start)]
        studio.first_edits.prepare(job, line.editor, wanted, 0.0, 0.1)
        yield
        columns: dict[int, Column] = {}
        for i, last in enumerate(sorted(places, key=lambda place: place != here)):
            begin, end = (0.2 + 0.8 * (i + part) / len(places) for part in (0, 1))
            column = yield from studio.first_edits.column(
                job, line.editor, asked, start, settings(last), begin, end
            )
            many = listed(list(kinds[places.index(last)].layers()))
            words = f"layer{'s' * (not many.isdecimal())} {many}"
            columns[last] = replace(column, name=f"{shown}, {words}")
            columns = dict(sorted(columns.items()))
            if last == here:
                near = _nearest(job, studio, line.editor, asked, column, last)
                tokens, first = _begins(lm, fact.target_new, column)
                found = replace(found, nearest=near, tokens=tokens, first=first)
                loss = _loss(job, lm, writer, fact, start)
                turn = _turn(job, lm, fact, start, column.patch or patch, writer.layers())
                found = replace(found, loss=loss, turn=turn)
            every, old = tuple(columns.values()), studio.asker.old(asked)
            view = View(asked, (), len(held), columns=every, kept=kept, old=old)
            found = replace(found, view=view.show(list(columns).index(here)))
            job.report(end, f"{words.capitalize()} is done", found)
            yield
        session.layers = found.view
        return found

    return session.submit(studio.worker, work, aside=True)


def spread(count: int, own: int) -> list[int]:
    """The middle layer of each fifth of the model, replacing the nearest with the edit's own layer.

    (30 layers, 5) -> [5, 9, 15, 21, 27]
    """
    middles = {(2 * i + 1) * count // (2 * FIVE) for i in range(FIVE)}
    nearest = min(sorted(middles), key=lambda layer: abs(layer - own))
    return sorted(middles - {nearest} | {own})


def _asked(studio: Studio, session: Session) -> tuple[Subject, lib.Patch, bool]:
    """The latest edit's subject, its patch, and whether it is the last live edit.

    It is the edit by the editor in view, if the visitor made it; otherwise it is the last live
    edit.
    """
    view, held = session.view, session.edits
    column = view.column if view is not None and view.live == len(held) else None
    if view is not None and column is not None and column.patch is not None:
        return view.subject, column.patch, view.kept
    if not held:
        raise Trouble("You have no edit to examine. Make one in “Try” first.")
    if len(held[-1].line.facts) > 1:
        raise Trouble("Your last edit wrote many facts at once. Edit a single fact first.")
    fact = held[-1].fact
    about = studio.choices.subject(fact.subject or "", fact.prompt, fact.target_new)
    return about, held[-1].patch, True


def _writer(studio: Studio, line: lib.Edit) -> lib.Editor:
    """The editor of an edit. Raises Trouble if it has no layer to choose."""
    writer = studio.choices.writer(line.editor, **line.settings)
    chosen = [name for name in ("layer", "layers") if name in vars(writer.config)]
    if len(chosen) != 1 or not writer.layers():  # an editor with both settings chooses for itself
        name = studio.choices.editors[line.editor][0]
        raise Trouble(f"{name} has no layer to choose. Examine an edit by ROME instead.")
    return writer


def _loss(
    job: Job, lm: lib.LM, writer: Any, fact: lib.Fact, start: lib.Patch
) -> tuple[tuple[float, ...], ...]:
    """One edit's search, step by step, if its editor searches for the layer's value."""
    if not hasattr(writer.config, "search"):
        return ()
    templates, settings = writer.templates(start), writer.config.search()
    words, where = "Searching its value again", (writer.layers()[-1], templates, settings)
    with job.counting(lm, words, settings.steps, 0.1, 0.2), lm.patched(start, only=True):
        found = value_search.search(lm, [fact], *where, getattr(writer, "site", "mlp_out"))
    return found[0].loss


def _begins(lm: lib.LM, new: str, column: Column) -> tuple[int, str]:
    """The number of tokens in the new answer, and the first token if the model's answer begins with
    it.
    """
    ids, after = encode_target(lm.tokenizer, new), column.rows[0].after if column.rows else ""
    right = bool(after and after.strip()) and encode_target(lm.tokenizer, after)[0] == ids[0]
    return len(ids), lm.tokenizer.decode(ids[:1]).strip() if right else ""


def _nearest(
    job: Job, studio: Studio, editor: str, asked: Subject, column: Column, layer: int
) -> tuple[str, float] | None:
    """The neighbor with the key most similar to the fact's, in the editor's geometry, and its ρ.

    None unless it moved, or if the editor writes no weights.
    """
    if studio.choices.editor_class(editor).writes != "weights":
        return None
    fact = asked.case.fact
    head, _, tail = fact.prompt.partition("{}")
    rows = [r for r in column.rows if r.group == "neighbor" and asked.same(r.prompt)]
    names = [row.prompt.removeprefix(head).removesuffix(tail).strip() for row in rows]
    facts = [fact, *(lib.Fact(name, fact.prompt, "x") for name in names)]
    if not any(row.good is False for row in rows):
        return None
    rho = likeness(job, studio, facts, editor, layer)
    most = max(range(len(rows)), key=lambda i: rho[i])
    return (names[most], rho[most]) if rows[most].good is False else None


def _turn(
    job: Job,
    lm: lib.LM,
    fact: lib.Fact,
    start: lib.Patch,
    patch: lib.Patch,
    edited: Sequence[int],
) -> Turn | None:
    """The ranks of the old and the new answer in each layer, before the edit and under it."""
    with job.counting(lm, "Reading every layer", 4, 0.2, 0.2):
        with lm.patched(lib.EMPTY, only=True):
            old = fact.target_true or lm.answer(fact.text, 1).strip() or "the"
        answers = old, fact.target_new
        if len({encode_target(lm.tokenizer, answer)[0] for answer in answers}) == 1:
            return None
        was, now = (_ranks(lm, fact.text, answers, one) for one in (start, patch))
    return Turn(answers, was, now, tuple(edited))


def _ranks(lm: lib.LM, prompt: str, answers: tuple[str, str], patch: lib.Patch) -> Ranks:
    with lm.patched(patch, only=True):
        table = lens(lm, prompt, list(answers), patch)
    return {
        answer: table[table["answer"] == answer].sort_values("layer")["rank"].tolist()
        for answer in answers
    }
