"""The scores of an evaluation: rows, tables with intervals, and paired comparison.

The unit of every interval is the case: the mean is taken over a case's prompts first and over the
cases then. The file is longer than 300 lines because `Scores` is both the table that users print
and the one from which comparisons are drawn.
"""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from ..data.facts import Probe
from ..model.lm import LM
from ..model.lower_states import LowerStates
from ..patch.patch import EMPTY
from .answers import EVENTS, Verdict
from .conversation import CONVERSATION, NAMED, Ask, Reply
from .intervals import DIFFERENCE, SHARE, interval
from .interview import Interview, Prompt
from .model_answers import Answers
from .probe_prompts import BASE, LONG, METRICS, PARTS, Item, lines, right, stem

if TYPE_CHECKING:
    from .kept_base import KeptAnswers

COLUMNS = ["case", "metric", "event", "prompt", "value", "text", "answer"]
_ALL = (*EVENTS, "generation_exact")
_WITHOUT_OTHER = ("teacher_forced", "generation", "generation_exact")
_OVERLAPS = ("rouge_l", "token_f1", "prefix")  # of the words of two texts, see `long_answers`
EVENTS_OF = {  # metric -> the events that have a meaning for it, in the order of tables
    "efficacy": _ALL,
    "retention": _ALL,
    "generalization": _ALL,
    "specificity": _ALL,
    "portability": _WITHOUT_OTHER,
    "long_answer": _OVERLAPS,
    "long_reworded": _OVERLAPS,
    "long_part": ("rouge_l", "token_f1", "rouge_l_recall"),
    "locality": ("teacher_forced", "generation", "kl_nats"),
    "same_subject": ("teacher_forced", "generation"),
    "same_relation": ("teacher_forced", "generation"),
    "negation_leak": ("generation",),
    "negation_base": ("generation",),
    **dict.fromkeys(CONVERSATION, ("generation", "generation_exact", NAMED)),
}
LOWER_IS_BETTER = ("negation_leak", "kl_nats")
LABELS = {
    "same_subject": "same subject, another relation",
    "same_relation": "same relation, another subject",
    "long_answer": "long answer",
    "long_reworded": "long answer, asked in other words",
    "long_part": "parts of a long answer",
    "negation_leak": "negation leak (lower is better)",
    "negation_base": "negation leak of the base's own answers",
    "chat": "efficacy, asked in the chat template",
    "question": "efficacy, asked as a question",
    "after_two_turns": "efficacy, asked after two other turns",
    "other_language": "efficacy, asked in another language",
    "chat_neighbors": "specificity, asked in the chat template",
    "teacher_forced": "teacher-forced",
    "generation_exact": "generation, exact",
    "rouge_l": "ROUGE-L",
    "rouge_l_recall": "ROUGE-L, recall",
    "token_f1": "token F1",
    "prefix": "first words",
    "generation_named": "generation, named",
    "kl_nats": "KL(base ‖ edited), nats",
}


def events_of(metric: str) -> tuple[str, ...]:
    """The events that have a meaning for a metric, or for a line of a kind of consequences."""
    if metric.endswith(PARTS):
        return ("generation",)
    if metric.endswith(BASE) and stem(metric) not in CONVERSATION:
        return ("generation", "generation_exact")
    return EVENTS_OF[stem(metric)]


def asked(
    metrics: Collection[str], events: Collection[str], items: Iterable[Item] = ()
) -> list[tuple[str, str]]:
    """The (metric, event) pairs of the tables, in order; efficacy is always among them.

    items  The test items, whose kinds of consequences get lines of their own. Long answers have
           lines only where an item asks for one.

    Raises ValueError for a metric or an event that is not known.
    """
    _known("event", events, EVENTS)
    _known("metric", metrics, (*dict.fromkeys((*METRICS, *CONVERSATION)), "retention"))
    wanted = {*metrics, "efficacy"} | ({"negation_base"} if "negation_leak" in metrics else set())
    items = list(items)
    free = {"generation_exact", NAMED, *_OVERLAPS, "rouge_l_recall"}  # all are of generated text
    shown = {*events, "kl_nats"} | (free if "generation" in events else set())
    long = {item.metric for item in items if item.is_long}
    known = [m for m in EVENTS_OF if m in wanted and (m not in LONG or m in long)]
    names = list(dict.fromkeys(line for m in known for line in (m, *lines(items, m))))
    return [(m, e) for m in names for e in events_of(m) if e in shown]


def _known(what: str, given: Collection[str], known: Sequence[str]) -> None:
    for name in [given] if isinstance(given, str) else given:
        if name not in known or isinstance(given, str):
            raise ValueError(f"{what}s should be a list of {', '.join(known)}, not {given!r}")


@dataclass(eq=False)
class Scores:
    """The result of `evaluate`.

    rows        One row per prompt and event: case, metric, event, prompt, value, text, answer. The
                text is the generated one, as long as the event needed it, and None in other events.
                The answer is the wanted one, or the base model's own where that should be kept.
    asked       The (metric, event) pairs of the tables; a pair without a row shows no number.
    title       One line over the tables: editors, edits, batch size, cases, model.
    perplexity  The perplexity of held-out text, None where it was not measured.
    base        The base model's answers, which the next `evaluate` can use again.
    seconds     The seconds of each edit, None where nothing was edited for these scores.
    """

    rows: pd.DataFrame
    asked: Sequence[tuple[str, str]]
    title: str
    perplexity: float | None = None
    base: Base | None = field(default=None, repr=False)
    seconds: list[float] | None = field(default=None, repr=False, compare=False)

    def by_case(
        self, pairs: Collection[tuple[str, str]] | None = None
    ) -> dict[tuple[str, str], pd.DataFrame]:
        """Mean and number of each case's prompts, {(metric, event): DataFrame indexed by case}.

        pairs  which (metric, event) are wanted; None is all that have rows
        """
        groups = self.rows.groupby(["metric", "event"], sort=False)
        return {
            pair: group.groupby("case", sort=False)["value"].agg(["mean", "size"])
            for pair, group in groups
            if pairs is None or pair in pairs
        }

    def summary(self) -> pd.DataFrame:
        """One row per metric and event: mean, low, high (95 %), cases, prompts.

        The mean is nan where the data gave no row. The perplexity is a row of its own.
        """
        by_case, lines = self.by_case(), []
        nothing = pd.DataFrame({"mean": [], "size": []})
        for pair in self.asked:
            found = by_case.get(pair, nothing)
            low, high = interval(found["mean"], None if pair[1] == "kl_nats" else SHARE)
            lines.append(
                (*pair, found["mean"].mean(), low, high, len(found), int(found["size"].sum()))
            )
        if self.perplexity is not None:
            lines.append(("perplexity", "", self.perplexity, math.nan, math.nan, 0, 0))
        return pd.DataFrame(
            lines, columns=["metric", "event", "mean", "low", "high", "cases", "prompts"]
        )

    def json(self) -> dict[str, Any]:
        """The means as plain values: {metric: {event: mean or None}, "perplexity": number}."""
        by_case = self.by_case()
        found: dict[str, Any] = {}
        for metric, event in self.asked:
            cases = by_case.get((metric, event))
            mean = None if cases is None else float(cases["mean"].mean())
            found.setdefault(metric, {})[event] = mean
        return {**found, "perplexity": self.perplexity}

    def table(self) -> pd.DataFrame:
        """The summary for readers: one line per metric, one column per event, in percent."""
        rows = [row for row in self.summary().itertuples() if row.event]
        metrics = list(dict.fromkeys(row.metric for row in rows))
        every = (*_ALL, NAMED, *_OVERLAPS, "rouge_l_recall", "kl_nats")
        events = [e for e in every if any(row.event == e for row in rows)]
        cells = pd.DataFrame("", metrics, events)
        for row in rows:
            cells.at[row.metric, row.event] = _cell(row)
        return cells.rename(LABELS, axis=0).rename(LABELS, axis=1)

    def _footer(self) -> str:
        measured = "share of cases in %, with its 95 % interval"
        known = self.rows[self.rows["metric"].str.endswith(PARTS)].groupby("metric", sort=False)
        for metric, value in known["value"]:
            kind = str(metric).removesuffix(PARTS)
            those = "that" if kind in CONVERSATION else "whose parts"
            measured += (
                f"; {kind}: {int(value.sum())} of {len(value)} questions count, those {those} the "
                "base model knows"
            )
        return measured + ("" if self.perplexity is None else f"; perplexity {self.perplexity:.2f}")

    def __repr__(self) -> str:
        return f"{self.title}\n{self.table().to_string()}\n{self._footer()}"

    def _repr_html_(self) -> str:
        style = "text-align: left; font-weight: 600; padding: 4px 0"
        table = (
            self.table()
            .to_html(border=0)
            .replace(
                ">\n", f">\n  <caption style='{style}'>{html.escape(self.title)}</caption>\n", 1
            )
        )
        return f"<div>{table}<small>{self._footer()}</small></div>"


def _cell(row: Any) -> str:
    if math.isnan(row.mean):
        return "–"
    scale, digits = (1, 4) if row.event == "kl_nats" else (100, 0)
    between = (
        ""
        if math.isnan(row.low)
        else f" [{scale * row.low:.{digits}f}, {scale * row.high:.{digits}f}]"
    )
    return f"{scale * row.mean:.{digits}f}{between}"


def compare(a: Scores, b: Scores, pairs: Collection[tuple[str, str]] | None = None) -> pd.DataFrame:
    """The paired difference a − b of each metric and event, or of those in `pairs`.

    Columns: metric, event, difference, low, high (95 %), n, better. The interval is over the
    cases that both have. `better` is "a", "b", or "no difference" where the interval holds
    0 or n is 1. Raises ValueError without a common case.
    """
    same = _cases(a) & _cases(b)
    if not same:
        raise ValueError("the two scores have no case in common, so there is nothing to pair")
    common, lines = {case for case, _ in same}, []
    left, right = a.by_case(pairs), b.by_case(pairs)
    for metric, event in a.asked:
        if (metric, event) not in left.keys() & right.keys():
            continue
        paired = (left[metric, event]["mean"] - right[metric, event]["mean"]).dropna()
        difference = paired[paired.index.isin(common)]
        low, high = interval(difference, None if event == "kl_nats" else DIFFERENCE)
        lower = {metric, event} & set(LOWER_IS_BETTER)
        better = "no difference"
        if low > 0 or high < 0:
            better = "a" if (low > 0) != bool(lower) else "b"
        lines.append((metric, event, difference.mean(), low, high, len(difference), better))
    return pd.DataFrame(
        lines, columns=["metric", "event", "difference", "low", "high", "n", "better"]
    )


def _cases(scores: Scores) -> set[tuple]:
    """Each case with its edit prompt, since equal ids of two files are not the same case."""
    edits = scores.rows[scores.rows["metric"].isin(("efficacy", "retention"))]
    return set(zip(edits["case"], edits["prompt"], strict=True))


@dataclass
class Base:
    """The base model's answers, asked once and used again by every later evaluation.

    model       The identity of the model that gave them.
    begins      {prompt: (ids, text)}, the first tokens that it generates.
    states      {prompt: state (d,)}, from which its head makes the logits of the next token. A
                state has a hundredth of the numbers of the distribution.
    said        {(prompt, target): (text, verdict)}, its generations; a target may be a tuple.
    drafts      {(prompt, chat): ids}, all tokens that it generated. After an edit most answers are
                still these, so they are tried as drafts.
    replies     {question: reply}, what it says in conversation.
    scores      Its own `Scores`, where they were measured.
    lower       Its states inside the model at prompts that were read, from which a patched model is
                run; they are made on a CPU only, and take at most 64 MB.
    on_disk     Whether answers are kept on disk and read from there, for other processes that ask
                the same (`kept_base`). The prompts are written there as well.
    """

    model: str
    begins: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    states: dict[str, Tensor] = field(default_factory=dict)
    said: dict[tuple[str, Any], tuple[str, Verdict]] = field(default_factory=dict)
    drafts: dict[Prompt, tuple[int, ...]] = field(default_factory=dict)
    replies: dict[Ask, Reply] = field(default_factory=dict)
    scores: Scores | None = None
    lower: LowerStates | None = field(default=None, repr=False, compare=False)
    on_disk: bool = False
    _kept: KeptAnswers | None = field(default=None, init=False, repr=False, compare=False)

    def answers(self, lm: LM) -> Answers:
        """Where the answers of the model come from as it is now: from the disk for the base."""
        if not self.on_disk or lm.is_patched:
            return Answers(lm)
        if self._kept is None or self._kept.lm is not lm:
            from .kept_base import KeptAnswers  # some Pythons are built without its database

            self._kept = KeptAnswers(lm)
        return self._kept

    def kept(self, lm: LM) -> AbstractContextManager[None]:
        """In the body, prompts that were read before begin at the states that were kept of them."""
        if {device.type for device in lm.devices} != {"cpu"}:
            return nullcontext()  # on a card nobody has measured what it saves
        if self.lower is None or self.lower.lm is not lm:
            self.lower = LowerStates(lm)
        return self.lower.used()

    def read(self, lm: LM, items: Sequence[Item], kl_prompts: int) -> None:
        """Ask the base model everything that is not known yet; an entered patch is left out."""
        if self.model != lm.identity:
            raise ValueError(
                f"these base answers are of {self.model}, the model here is {lm.identity}"
            )
        # collect the questions whose answers are missing …
        positive = {item.case: item.prompt for item in items if item.metric == "efficacy"}
        begins = {i.prompt for i in items if i.answer is None} - self.begins.keys()
        pairs: set[tuple[str, Any]] = {
            (prompt, i.answer)
            for i in items
            if i.metric == "negation_base"
            for prompt in (i.prompt, positive[i.case])
        }
        plain = [i for i in items if i.ask is None]
        pairs |= {(p, i.right) for i in plain if i.metric.endswith(BASE) for p in i.prompts}
        pairs |= {pair for i in plain for part in i.parts for pair in _wordings(part)}
        pairs -= self.said.keys()
        asks = {i.ask for i in items if i.ask and i.metric.endswith(BASE)}
        asks |= {i.known for i in items if i.known}
        asks -= self.replies.keys()
        spread = [p for p in unrelated(items, kl_prompts) if p not in self.states]
        # … and ask them, sorted, so that the batches do not depend on the order of a set
        interview = Interview(lm)
        for prompt in sorted(begins):
            interview.begin(prompt)
        for prompt, target in sorted(pairs, key=lambda pair: (pair[0], str(pair[1]))):
            interview.generate(prompt, target)
        for prompt in spread:
            interview.state(prompt)
        with lm.patched(EMPTY, only=True):
            answers = self.answers(lm)
            heard = answers.heard(interview, self.drafts)
            if asks:
                self.replies |= answers.replies(sorted(asks, key=str))
        self.begins |= heard.begins
        self.said |= heard.said
        self.states |= heard.states
        self.drafts |= heard.ids

    def next_token(self, lm: LM, prompts: Sequence[str]) -> Tensor:
        """Log-probabilities (n, vocabulary) of the base's next tokens, float32, on its head."""
        states = torch.stack([self.states[prompt] for prompt in prompts])
        with lm.patched(EMPTY, only=True):
            return lm.head(states.to(lm.head_device)).log_softmax(-1)

    def knows(self, item: Item) -> bool:
        """Whether the base model answers every part that the item's answer is put together from.

        For a question in another language: whether it names the old answer in that language.
        """
        if item.known:
            return self.replies[item.known].named
        return all(
            any(self.said[pair][1].begins for pair in _wordings(part)) for part in item.parts
        )


def _wordings(part: Probe) -> list[tuple[str, Any]]:
    """The (prompt, target) pairs of a question, one for each of its wordings."""
    return [(prompt, right(part.target, part.aliases)) for prompt in part.prompts]


def unrelated(items: Sequence[Item], limit: int) -> list[str]:
    """The first `limit` different locality prompts."""
    return list(dict.fromkeys(i.prompt for i in items if i.metric == "locality"))[:limit]


def portions(prompts: Sequence[str], size: int = 64) -> Iterator[Sequence[str]]:
    """The prompts, at most 64 at a time, which bounds the tables of next-token probabilities."""
    return (prompts[i : i + size] for i in range(0, len(prompts), size))
