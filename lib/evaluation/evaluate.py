"""Measuring an edit by running a patched model on all test prompts of some cases.

Every number is labeled with its metric and its event (see `answers`). "Before" always means the
base model. The unit of every interval is the case.

There are three steps: list the prompts of all cases and metrics (`probe_prompts`), read each of
them once (`prompt_batch`), and judge the answers, using one function per event (JUDGES).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import pandas as pd

from ..data import as_facts
from ..errors import ArgumentError
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from ..setting_fields import at_least
from .answers import EVENTS, Verdict
from .metrics import EDITED, METRICS, NAMED, PARTS, asked, counted
from .own_facts import with_tests
from .perplexity import perplexity
from .probe_prompts import Item, probe_items
from .prompt_batch import Answers, Base, Queries, positives, unrelated
from .scores import COLUMNS, Scores

BASE_MODEL = "base model"  # the name of the model without a patch in a title


def evaluate(
    lm: LM,
    cases: as_facts.Given,
    patch: Patch = EMPTY,
    events: Sequence[str] = EVENTS,
    base: Base | None = None,
    *,
    metrics: Collection[str] = METRICS,
    pool: as_facts.Given | None = None,
    text: str | None = None,
    kl_prompts: int = 512,
    seed: int = 0,
) -> Scores:
    """Return scores of the cases under a patch, for each metric and each meaningful event of it.

    base        the base model's answers, from `baseline` or an earlier `scores.base`.
    metrics     the metrics to measure, those of `metrics.TABLE` and "perplexity". By default
                METRICS, of which only "chat" uses the chat template; facts without tests then get
                tests from `case_for`. Efficacy is always included.
    pool        the cases for making negatives, by default the cases themselves.
    text        the held-out text for the perplexity, by default the shipped one.
    kl_prompts  maximum number of unrelated prompts that get a KL.

    Raises ValueError without a case, for an unknown event or metric, for base answers of another
    model, and for a prompt that is too long.
    """
    at_least(0, kl_prompts=kl_prompts)
    some = list(as_facts.cases(cases))
    if not some:
        raise ArgumentError("There is no case to evaluate.")
    if metrics is METRICS:
        some = with_tests(lm, some)
    asked(metrics, events)  # refuses unknown names before any work
    others = None if pool is None else as_facts.cases(pool)
    items = probe_items(some, metrics, others, patch.facts, seed)
    return measure(
        lm, items, patch, events, base, metrics=metrics, text=text, kl_prompts=kl_prompts
    )


def baseline(lm: LM, cases: as_facts.Given, **settings: Any) -> Base:
    """Return the base model's answers, for `evaluate(base=…)`; its own scores are in `.scores`.

    settings   arguments of `evaluate` by name.
    """
    with lm.patched(EMPTY, only=True):
        scores = evaluate(lm, cases, **settings)
    scores.base.scores = scores
    return scores.base


def measure(
    lm: LM,
    items: Sequence[Item],
    patch: Patch = EMPTY,
    events: Sequence[str] = EVENTS,
    base: Base | None = None,
    *,
    metrics: Collection[str] = METRICS,
    text: str | None = None,
    kl_prompts: int = 512,
) -> Scores:
    """Return scores of test items from `probe_items`; `evaluate` does both in one call."""
    base = Base(lm.identity) if base is None else base
    lines = dict.fromkeys(item.metric for item in items)
    pairs = asked(metrics, events, lines)
    items = read(lm, items, base, events, kl_prompts=kl_prompts)
    with lm.patched(patch):
        found = _ask(lm, items, events, base, unrelated(items, kl_prompts))
        ppl = perplexity(lm, text) if "perplexity" in metrics else None
    rows = [row for item in items for row in _rows(found, item, events)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    name = title(lm, patch, table["case"].nunique())
    return Scores(table, pairs, name, ppl, base, counted=counted(lines))


def read(
    lm: LM, items: Sequence[Item], base: Base, events: Sequence[str] = EVENTS, **settings: Any
) -> list[Item]:
    """Query the base model for all that `measure` needs, returning the items for these events.

    Three kinds of items are left out: those in the chat template if the tokenizer has none, those
    judged only by generation if that event is not used, and questions with a part that the base
    model does not know.
    """
    chat = bool(getattr(lm.tokenizer, "chat_template", None))
    items = [i for i in items if chat or not i.metric.chat]
    if "generation" not in events:
        items = [i for i in items if not i.metric.generated]
    base.read(lm, items, settings.get("kl_prompts", 512))
    return [i for i in items if i.metric.about == PARTS or base.knows(i)]


class _Found(NamedTuple):
    """The answers for judging prompts.

    now        the edited model's.
    base       the base model's.
    same       if the present model is the base model, so that its own answers are known.
    kl         {prompt: KL(base ‖ edited) of the next token, in nats}.
    positive   {case: its edit prompt}.
    """

    now: Answers
    base: Base
    same: bool
    kl: dict[str, float]
    positive: dict[int | str, str]

    def said(self, item: Item) -> dict[tuple[str, Any], tuple[str, Verdict]]:
        """Return the generated texts for judging an item, from the model whose answers it uses."""
        return (self.now if item.metric.about == EDITED else self.base).generated


def _ask(
    lm: LM, items: Sequence[Item], events: Sequence[str], base: Base, spread: Sequence[str]
) -> _Found:
    """Run the model, with its current patch, on each prompt once.

    spread  prompts for comparing the next-token distribution with the base model's.
    """
    same = not lm.is_patched
    queries = Queries(lm)
    # score the base model's own beginnings at the prompts that should not change …
    for item in items:
        if item.answer is None and not same:
            ids = base.beginnings[item.prompt][0]
            if ids and set(events) - {"probability"}:
                queries.score(item.prompt, ids)
            if "generation" in events:
                queries.begin(item.prompt)
    # … and the new answers, together with competing answers, at all others
    for item in items:
        if item.answer is None or item.metric.about != EDITED:
            continue
        if not item.metric.generated and set(events) - {"generation"}:
            queries.score(item.prompt, item.answer)
            if item.has_rival and "probability" in events:
                queries.score(item.prompt, item.other)
        if "generation" in events:
            for prompt in item.prompts:
                queries.generate(prompt, item.right, chat=item.metric.chat)
    for prompt in () if same else spread:
        queries.state(prompt)
    now = queries.ask(base.ids)
    if same:
        base.ids |= now.ids
    kl = dict.fromkeys(spread, 0.0) if same else base.divergences(lm, now.states)
    return _Found(now, base, same, kl, positives(items))


def _rows(found: _Found, item: Item, events: Sequence[str]) -> list[tuple]:
    """Return the rows of one prompt, one per event: the values of COLUMNS."""
    if item.metric.stated:
        if not found.said(item)[found.positive[item.case], item.answer][1].begins:
            return []  # a fact that the model does not state cannot leak
    answer = item.answer
    if answer is None:
        answer = found.base.beginnings[item.prompt][1]
    judged = [(event, JUDGES[event](found, item)) for event in item.metric.among(events)]
    return [
        (item.case, item.metric.name, event, item.prompt, float(value), text, answer)
        for event, (value, text) in judged
        if value is not None
    ]


# (value, generated text) of a prompt by one event; without a row the value is None
Judged = tuple[float | None, str | None]


def _probability(found: _Found, item: Item) -> Judged:
    """Return whether the new answer is more probable per token than its rival."""
    if not item.has_rival:
        return None, None
    now, other = (found.now.scored[item.prompt, text] for text in (item.answer, item.other))
    return bool(now.log_probs.mean() > other.log_probs.mean()), None


def _teacher_forced(found: _Found, item: Item) -> Judged:
    """Return the fraction of the answer's tokens having the highest probability.

    If the base model generates nothing, there are no tokens for scoring.
    """
    target: Any = item.answer
    if target is None:
        target = found.base.beginnings[item.prompt][0]
        if found.same and target:
            return 1.0, None
    score = found.now.scored.get((item.prompt, target))
    return None if score is None else score.hits.float().mean().item(), None


def _generation(found: _Found, item: Item) -> Judged:
    """Return whether the text begins with the answer, or with the base model's own beginning."""
    if item.metric.about == PARTS:
        return found.base.knows(item), None
    if item.answer is not None:
        return _text_is("begins")(found, item)
    ids, text = found.base.beginnings[item.prompt]
    now = ids
    # if every token of the base's beginning is still the argmax, it is also generated
    if _teacher_forced(found, item)[0] != 1:
        now, text = found.now.beginnings.get(item.prompt, (ids, text))
    return now[: max(1, len(ids))] == ids, text


def _text_is(what: str) -> Callable[[_Found, Item], Judged]:
    """Return a function that judges generated text by one field of its verdict."""

    def judge(found: _Found, item: Item) -> Judged:
        generated = found.said(item)
        # one right answer is enough if there are several wordings
        text, verdict = max(
            (generated[prompt, item.right] for prompt in item.prompts),
            key=lambda one: (getattr(one[1], what), one[1].begins),
        )
        return getattr(verdict, what), text

    return judge


JUDGES: dict[str, Callable[[_Found, Item], Judged]] = {
    "probability": _probability,
    "teacher_forced": _teacher_forced,
    "generation": _generation,
    "generation_exact": _text_is("exact"),
    NAMED: _text_is("named"),
    "kl_nats": lambda found, item: (found.kl.get(item.prompt), None),
}


def title(lm: LM, patch: Patch, cases: int) -> str:
    """Return the title of every table: editors, number of edits, batch size, cases and model."""
    on = f"{cases} case{'s' * (cases != 1)} on {lm.name}"
    if not patch.log:
        return f"{'unlogged patch' if patch else BASE_MODEL}, {on}"
    largest = max(min(len(edit), edit.batch or len(edit)) for edit in patch.log)
    editors = " + ".join(dict.fromkeys(edit.editor for edit in patch.log))
    edits = sum(map(len, patch.log))
    return f"{editors}, {edits} edit{'s' * (edits != 1)} in batches of {largest}, {on}"
