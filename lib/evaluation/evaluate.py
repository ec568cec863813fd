"""`evaluate` measures an edit: it asks a patched model all test prompts of some cases.

Every number names its metric and its event (see `answers`), and "before" always means the base
model, which is asked once per prompt and whose answers are kept. The unit of every interval is the
case. A few lines over 300, because `evaluate` explains all of its arguments.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch.nn.functional import kl_div

from ..data.facts import Case, Fact
from ..errors import FactError
from ..model.lm import LM
from ..patch.patch import EMPTY, Patch
from .answers import EVENTS, plain
from .conversation import CONVERSATION, NAMED
from .interview import Interview
from .long_answers import Question, prefix, rouge_l, token_f1
from .probe_prompts import BASE, LONG, METRICS, PARTS, Item, probe_items, stem
from .scores import COLUMNS, Base, Scores, asked, events_of, portions, unrelated


def evaluate(
    lm: LM,
    cases: Case | Sequence[Case],
    patch: Patch = EMPTY,
    events: Sequence[str] = EVENTS,
    base: Base | None = None,
    *,
    metrics: Collection[str] = METRICS,
    pool: Sequence[Case] | None = None,
    text: str | None = None,
    kl_prompts: int = 512,
    seed: int = 0,
) -> Scores:
    """Scores of the cases under a patch, each metric in each event that has a meaning for it.

    base        The base model's answers, from `baseline` or an earlier `scores.base`. Those of
                `Base(lm.identity, on_disk=True)` are kept on disk, see `baseline`.
    metrics     The metrics to measure, those of METRICS and CONVERSATION, by default METRICS, in
                which only "chat" is of a conversation; efficacy is always among them.
    pool        The cases from which negatives are made, by default the cases themselves.
    text        The held-out text for the perplexity, by default the shipped one.
    kl_prompts  The most unrelated prompts that get a KL.

    Raises ValueError without a case, for an unknown event or metric, for base answers of another
    model, and for a prompt that is too long.
    """
    cases = [cases] if isinstance(cases, Case) else list(cases)
    if not cases:
        raise ValueError("there is no case to evaluate")
    asked(metrics, events)  # refuses unknown names before any work
    items = probe_items(cases, metrics, pool, _written(patch), seed)
    return measure(
        lm, items, patch, events, base, metrics=metrics, text=text, kl_prompts=kl_prompts
    )


def baseline(
    lm: LM, cases: Case | Sequence[Case], *, keep_base: bool = False, **settings: Any
) -> Base:
    """The base model's answers, for `evaluate(base=…)`; its own scores are in `.scores`.

    keep_base  Keep all that the base model is asked in the cache folder, prompts included, and ask
               only what is not there: another process with the same cases runs the model no more.
    settings   Arguments of `evaluate` by name.
    """
    with lm.patched(EMPTY, only=True):
        scores = evaluate(lm, cases, **{"base": Base(lm.identity, on_disk=keep_base), **settings})
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
    pairs = asked(metrics, events, items)
    items = read(lm, items, base, events, kl_prompts=kl_prompts)
    with base.kept(lm), lm.patched(patch):
        # what this very model has said at a prompt need not be asked again
        same = set() if lm.is_patched else set(base.begins)
        found = _Found(lm, items, events, base, unrelated(items, kl_prompts), same)
        ppl = base.answers(lm).perplexity(text) if "perplexity" in metrics else None
    rows = pd.DataFrame(list(found.rows(items)), columns=COLUMNS)
    return Scores(rows, pairs, title(lm, patch, rows["case"].nunique()), ppl, base)


def read(
    lm: LM, items: Sequence[Item], base: Base, events: Sequence[str] = EVENTS, **settings: Any
) -> list[Item]:
    """Ask the base model all that `measure` will need; returns the items that these events need.

    Items in the chat template are left out where the tokenizer has none, items that are judged by
    generation alone where that event is not asked for, and questions with a part that the base
    model does not know.
    """
    chat = bool(getattr(lm.tokenizer, "chat_template", None))
    items = [i for i in items if chat or stem(i.metric) not in CONVERSATION]
    if "generation" not in events:
        alone = ("negation_leak", "negation_base", *CONVERSATION, *LONG)
        items = [i for i in items if stem(i.metric) not in alone and not i.metric.endswith(BASE)]
    base.read(lm, items, settings.get("kl_prompts", 512))
    return [i for i in items if i.metric.endswith(PARTS) or base.knows(i)]


class _Found:
    """All answers of the patched model to some items, each prompt read once.

    scores  {(prompt, target): log-probabilities and argmax hits of the target's tokens}.
    said    {(prompt, target): (text, verdict)} of free generation.
    replies {question: reply} in conversation.
    long    {question: text}, what is written to questions with a long answer.
    moved   {prompt: (ids, text)}, the answers to kept prompts where they may have changed.
    kl      {prompt: KL(base ‖ edited) of the next token, in nats}.
    same    Kept prompts at which the present model is the base model.
    """

    def __init__(
        self,
        lm: LM,
        items: Sequence[Item],
        events: Sequence[str],
        base: Base,
        spread: list[str],
        same: Collection[str] = (),
    ) -> None:
        self.events, self.base, self.same = events, base, same
        interview = Interview(lm)
        # score the base model's own beginnings at the prompts that should be left alone …
        kept = [i.prompt for i in items if i.answer is None and i.prompt not in same]
        for prompt in kept:
            ids = base.begins[prompt][0]
            if ids and set(events) - {"probability"}:
                interview.score(prompt, ids)
            if "generation" in events:
                interview.begin(prompt, expected=ids)
        # … and the wanted answers, beside their rivals, at all others
        for item in items:
            if item.answer is None or item.of_base or item.is_long:
                continue
            if item.ask is not None:
                continue
            if item.metric != "negation_leak" and set(events) - {"generation"}:
                interview.score(item.prompt, item.answer)
                if _comparable(item) and "probability" in events:
                    interview.score(item.prompt, item.other)
            if "generation" in events:
                for prompt in item.prompts:
                    interview.generate(prompt, item.right)
        moving = [prompt for prompt in spread if prompt not in same]
        for prompt in moving:
            interview.state(prompt)
        answers = base.answers(lm)
        heard = answers.heard(interview, base.drafts)
        self.scores, self.said = heard.scores, heard.said
        # where every token of the base's beginning is still the argmax, it is generated as well
        self.moved = {p: begun for p, begun in heard.begins.items() if self._hits(p) != 1}
        if not lm.is_patched:
            base.drafts |= heard.ids
        # items of long answers are there only where texts are generated
        self.long = answers.written(_question(item) for item in items if item.is_long)
        # in conversation, too, only generated texts are judged
        self.replies = answers.replies(
            [i.ask for i in items if i.ask is not None and not i.of_base]
        )
        # a few prompts at a time: each needs a whole distribution over the vocabulary
        self.kl = dict.fromkeys(set(spread) & set(same), 0.0)
        for part in portions(moving):
            before = base.next_token(lm, part)
            states = torch.stack([heard.states[p] for p in part])
            after = lm.head(states.to(before.device)).log_softmax(-1)
            spent = kl_div(after, before, reduction="none", log_target=True).sum(1)
            self.kl.update(zip(part, spent.clamp(min=0).tolist(), strict=True))

    def _hits(self, prompt: str) -> float | None:
        """The share of the base's beginning whose tokens are still the argmax."""
        ids = self.base.begins[prompt][0]
        if prompt in self.same and ids:
            return 1.0
        score = self.scores.get((prompt, ids))
        return None if score is None else score.hits.float().mean().item()

    def rows(self, items: Sequence[Item]) -> Iterator[tuple]:
        """The rows of the table: the values of COLUMNS for every item and event."""
        positive = {i.case: i.prompt for i in items if i.metric == "efficacy"}
        answers = {"negation_leak": self.said, "negation_base": self.base.said}
        for item in items:
            if item.metric.endswith(PARTS):
                known = float(self.base.knows(item))
                if "generation" in self.events:
                    yield (
                        item.case,
                        item.metric,
                        "generation",
                        item.prompt,
                        known,
                        None,
                        item.answer,
                    )
                continue
            said = answers.get(item.metric)
            if said and not said[positive[item.case], item.answer][1].begins:
                continue  # a fact that the model does not state cannot leak
            if item.is_long:
                values = self._long(item)
            elif item.ask is not None:
                values = self._replied(item)
            else:
                values = self._kept(item) if item.answer is None else self._given(item)
            answer = self.base.begins[item.prompt][1] if item.answer is None else item.answer
            for event, value, text in values:
                yield item.case, item.metric, event, item.prompt, float(value), text, answer

    def _given(self, item: Item) -> Iterator[tuple[str, float, str | None]]:
        """The values of an item that names its answer, as (event, value, text)."""
        pair = (item.prompt, item.answer)
        score = None if item.of_base else self.scores.get(pair)
        if score is not None and "probability" in self.events and _comparable(item):
            other = self.scores[item.prompt, item.other]
            yield "probability", bool(score.log_probs.mean() > other.log_probs.mean()), None
        if score is not None and "teacher_forced" in self.events:
            yield "teacher_forced", score.hits.float().mean().item(), None
        said = self.base.said if item.of_base else self.said
        if "generation" in self.events:
            found = [said[p, item.right] for p in item.prompts]
            # of several wordings, one that is answered rightly is enough
            text, verdict = next((one for one in found if one[1].begins), found[0])
            yield "generation", verdict.begins, text
            if "generation_exact" in events_of(item.metric):
                exact = next((one for one in found if one[1].exact), (text, verdict))
                yield "generation_exact", exact[1].exact, exact[0]

    def _long(self, item: Item) -> Iterator[tuple[str, float, str | None]]:
        """The values of an item whose answer is compared with the written one by its words."""
        question = _question(item)
        text, wanted = self.long[question], question.wanted
        overlap = rouge_l(text, wanted)
        found = {
            "rouge_l": overlap.f1,
            "token_f1": token_f1(text, wanted),
            "prefix": prefix(text, wanted),
            "rouge_l_recall": overlap.recall,
        }
        for event in events_of(item.metric):
            yield event, found[event], text

    def _replied(self, item: Item) -> Iterator[tuple[str, float, str | None]]:
        """The values of an item in conversation, as (event, value, text)."""
        reply = (self.base.replies if item.of_base else self.replies)[item.ask]
        yield "generation", reply.begins, reply.text
        yield "generation_exact", reply.exact, reply.text
        yield NAMED, reply.named, reply.text

    def _kept(self, item: Item) -> Iterator[tuple[str, float, str | None]]:
        """The values of an item whose answer is the base model's own beginning.

        Where the base model generates nothing, there is no token to score.
        """
        ids, text = self.base.begins[item.prompt]
        hits = self._hits(item.prompt)
        if "teacher_forced" in self.events and hits is not None:
            yield "teacher_forced", hits, None
        if "generation" in self.events:
            now, text = self.moved.get(item.prompt, (ids, text))
            yield "generation", now[: max(1, len(ids))] == ids, text
        if item.metric == "locality" and item.prompt in self.kl:
            yield "kl_nats", self.kl[item.prompt], None


def _question(item: Item) -> Question:
    return Question(item.prompt, item.answer or "", item.metric == "long_part")


def _comparable(item: Item) -> bool:
    """Whether the item has a rival answer that differs from the wanted one."""
    return item.other is not None and plain(item.other) != plain(item.answer)


def _written(patch: Patch) -> Sequence[Fact]:
    """The facts of the patch, as far as they can still be read."""
    try:
        return patch.facts
    except FactError as error:
        warnings.warn(f"negatives may be edited facts themselves: {error}", stacklevel=3)
        return [fact for edit in patch.log for fact in edit.facts]


def title(lm: LM, patch: Patch, cases: int) -> str:
    """The title over every table: editors, number of edits, batch size, cases and model."""
    on = f"{cases} case{'s' * (cases != 1)} on {lm.name}"
    if not patch.log:
        return f"{'unlogged patch' if patch else 'base model'}, {on}"
    largest = max(min(len(edit), edit.batch or len(edit)) for edit in patch.log)
    editors = " + ".join(dict.fromkeys(edit.editor for edit in patch.log))
    edits = sum(map(len, patch.log))
    return f"{editors}, {edits} edit{'s' * (edits != 1)} in batches of {largest}, {on}"
