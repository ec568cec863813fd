"""`evaluate` measures an edit: it asks a patched model all test prompts of some cases.

Every number names its metric and its event (see `answers`), and "before" always means the base
model, which is asked once per prompt (see `queries`). The unit of every interval is the case.

In three steps: the prompts of all cases and metrics are listed (`probe_prompts`), each is asked
once (`queries`), and JUDGES, a table of one function per event, makes the values of its rows.
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

BASE_MODEL = "base model"  # how a title calls the model without a patch


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
    """Scores of the cases under a patch, each metric in each event that has a meaning for it.

    base        The base model's answers, from `baseline` or an earlier `scores.base`.
    metrics     The metrics to measure, those of `metrics.TABLE` and "perplexity". By default
                METRICS, of which only "chat" is in the chat template, and facts without tests get
                those of `case_for`; efficacy is always there.
    pool        The cases from which negatives are made, by default the cases themselves.
    text        The held-out text for the perplexity, by default the shipped one.
    kl_prompts  The most unrelated prompts that get a KL.

    Raises ValueError without a case, for an unknown event or metric, for base answers of another
    model, and for a prompt that is too long.
    """
    at_least(0, kl_prompts=kl_prompts)
    some = list(as_facts.cases(cases))
    if not some:
        raise ArgumentError("there is no case to evaluate")
    if metrics is METRICS:
        some = with_tests(lm, some)
    asked(metrics, events)  # refuses unknown names before any work
    others = None if pool is None else as_facts.cases(pool)
    items = probe_items(some, metrics, others, patch.facts, seed)
    return measure(
        lm, items, patch, events, base, metrics=metrics, text=text, kl_prompts=kl_prompts
    )


def baseline(lm: LM, cases: as_facts.Given, **settings: Any) -> Base:
    """The base model's answers, for `evaluate(base=…)`; its own scores are in `.scores`.

    settings   Arguments of `evaluate` by name.
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
    """Scores of test items that `probe_items` made before; `evaluate` does both in one call."""
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
    """Ask the base model all that `measure` will need; returns the items that these events need.

    Items in the chat template are left out where the tokenizer has none, items that are judged by
    generation alone where that event is not asked for, and questions with a part that the base
    model does not know.
    """
    chat = bool(getattr(lm.tokenizer, "chat_template", None))
    items = [i for i in items if chat or not i.metric.chat]
    if "generation" not in events:
        items = [i for i in items if not i.metric.generated]
    base.read(lm, items, settings.get("kl_prompts", 512))
    return [i for i in items if i.metric.about == PARTS or base.knows(i)]


class _Found(NamedTuple):
    """The answers that prompts are judged by.

    now        The edited model's.
    base       The base model's.
    same       Whether the present model is the base model: what that said of itself is known.
    kl         {prompt: KL(base ‖ edited) of the next token, in nats}.
    positive   {case: its edit prompt}.
    """

    now: Answers
    base: Base
    same: bool
    kl: dict[str, float]
    positive: dict[int | str, str]

    def said(self, item: Item) -> dict[tuple[str, Any], tuple[str, Verdict]]:
        """The generated texts by which an item is judged, of the model that it asks."""
        return (self.now if item.metric.about == EDITED else self.base).generated


def _ask(
    lm: LM, items: Sequence[Item], events: Sequence[str], base: Base, spread: Sequence[str]
) -> _Found:
    """Ask the model, as it is patched now, each prompt once.

    spread  Prompts whose next-token distribution is compared with the base model's.
    """
    same = not lm.is_patched
    queries = Queries(lm)
    # score the base model's own beginnings at the prompts that should be left alone …
    for item in items:
        if item.answer is None and not same:
            ids = base.beginnings[item.prompt][0]
            if ids and set(events) - {"probability"}:
                queries.score(item.prompt, ids)
            if "generation" in events:
                queries.begin(item.prompt)
    # … and the wanted answers, beside their rivals, at all others
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
    """The rows of one prompt, one per event: the values of COLUMNS."""
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


# (value, generated text) of a prompt by one event; a value of None stands for no row
Judged = tuple[float | None, str | None]


def _probability(found: _Found, item: Item) -> Judged:
    """Whether the wanted answer is more probable per token than its rival."""
    if not item.has_rival:
        return None, None
    now, other = (found.now.scored[item.prompt, text] for text in (item.answer, item.other))
    return bool(now.log_probs.mean() > other.log_probs.mean()), None


def _teacher_forced(found: _Found, item: Item) -> Judged:
    """The share of the answer's tokens that are the most probable ones.

    Where the base model generates nothing, there is no token to score.
    """
    target: Any = item.answer
    if target is None:
        target = found.base.beginnings[item.prompt][0]
        if found.same and target:
            return 1.0, None
    score = found.now.scored.get((item.prompt, target))
    return None if score is None else score.hits.float().mean().item(), None


def _generation(found: _Found, item: Item) -> Judged:
    """Whether the text begins with the answer, or with the base model's own beginning."""
    if item.metric.about == PARTS:
        return found.base.knows(item), None
    if item.answer is not None:
        return _text_is("begins")(found, item)
    ids, text = found.base.beginnings[item.prompt]
    now = ids
    # where every token of the base's beginning is still the argmax, it is generated as well
    if _teacher_forced(found, item)[0] != 1:
        now, text = found.now.beginnings.get(item.prompt, (ids, text))
    return now[: max(1, len(ids))] == ids, text


def _text_is(what: str) -> Callable[[_Found, Item], Judged]:
    """A judge of generated text by one entry of its verdict."""

    def judge(found: _Found, item: Item) -> Judged:
        generated = found.said(item)
        # of several wordings, one that is answered rightly is enough
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
    """The title over every table: editors, number of edits, batch size, cases and model."""
    on = f"{cases} case{'s' * (cases != 1)} on {lm.name}"
    if not patch.log:
        return f"{'unlogged patch' if patch else BASE_MODEL}, {on}"
    largest = max(min(len(edit), edit.batch or len(edit)) for edit in patch.log)
    editors = " + ".join(dict.fromkeys(edit.editor for edit in patch.log))
    edits = sum(map(len, patch.log))
    return f"{editors}, {edits} edit{'s' * (edits != 1)} in batches of {largest}, {on}"
