"""HoReN: finding a codebook's entries by the angle of an averaged query (Fang et al., 2026).

As in GRACE, only values for one module's output are trained, and the model is the base model, bit
for bit, unless an entry answers. There are three differences: a key is the direction of the mean
over the last part of the prompt, a query takes a damped Hopfield step before it is compared
(route.py), and a value is added to the module's output instead of replacing it.

Our changes: the codebook has no random first entry, which could only take queries from others. A
value starts at zero. If two facts share a prompt, the newest wins. The threshold is calibrated on
this model (calibration.py), and an entry's own prompt always reaches it. The choice is made once,
at the prompt; the authors' code decides again at every generated token. With `forms`, a fact has an
entry for its prompt and additional entries for messages in the chat template, where answers begin
without a space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from msgspec import Meta
from torch import Tensor

from ...computed_once import CachedTensors
from ...errors import EditError
from ...model import activations
from ...model.answer_rows import AnswerRows
from ...patch.patch import EMPTY, Patch
from ...setting_fields import Count, Real, Share, from_paper, ours
from ..shared.codebooks import CodebookConfig, CodebookEditor, Label
from ..shared.entry_values import EntrySite
from ..shared.routed import flat_tuples, linear, nearest, tuples_of
from . import calibration
from .route import Dynamics, Hopfield, PositiveShare, Query, Rounds

Cosine = Annotated[float, Meta(ge=-1, le=1, description="a number from -1 to 1")]
SAME = 1e-6  # keys belong to the same prompt if their cosine is this close to 1


@dataclass(frozen=True)
class HorenConfig(CodebookConfig):
    """Settings of HoReN."""

    layer: Count = 29
    share: PositiveShare = from_paper(
        0.5,
        "Fraction of the prompt's tokens, counted from its end, over which a query is averaged.",
    )
    beta: Real = from_paper(
        20.0, "Sharpness of the softmax that weights the keys in a Hopfield step."
    )
    alpha: Share = from_paper(
        0.1, "Fraction of a Hopfield step to apply; 0 leaves the query unchanged."
    )
    rounds: Rounds = from_paper(1, "Maximum number of Hopfield steps.")
    tau: Cosine | None = from_paper(
        None,
        "Cosine above which an entry answers; None uses a quantile of the cosines that general "
        "text and the other facts reach.",
        published=0.85,
    )
    value_init: Literal["zero", "warm", "cold"] = from_paper(
        "zero",
        "How a value starts: at zero or as the module's own output, with steps in units of that "
        "output's size, or with random numbers from 0 to 1.",
        published="cold",
    )
    quantile: Share = ours(
        0.999, "Fraction of unrelated queries excluded by a calibrated threshold."
    )
    exclude_sink: bool = ours(
        True,
        "Whether the prompt's first token, whose input is huge in many models, is excluded from "
        "the mean.",
        published=False,
    )
    strict: bool = ours(
        True,
        "Whether a new answer to a stored prompt replaces the old entry, and the threshold never "
        "exceeds the cosine that an entry's own prompt reaches.",
        published=False,
    )


class Horen(CodebookEditor[HorenConfig]):
    """A codebook of corrections found by angle, each added at the prompt's end."""

    name = "horen"
    title = "HoReN"
    paper = "Fang et al., HoReN, 2026 (arXiv:2605.08143)"

    @property
    def query(self) -> Query:
        """Return the rule turning a prompt into a query; a key is a fact prompt's query."""
        return Query(self.config.share, self.config.exclude_sink)

    @property
    def dynamics(self) -> Dynamics:
        """Return the step that a query takes before it is compared with the keys."""
        return Dynamics(self.config.beta, self.config.alpha, self.config.rounds)

    def statistics(self, after: Patch = EMPTY) -> list[CachedTensors]:
        """Return queries of general text, and of messages if an entry is one; none if τ is set."""
        c, lm = self.config, self.lm
        module = linear(lm, c.layer, c.module)
        state = after.memory.get(self.name, {}).get(module, {})
        chats = {False, c.forms != "prompt" or "chat" in state} if c.tau is None else ()
        return [calibration.general_queries(lm, module, self.query, chat) for chat in chats]

    def extend(
        self, module: str, old: Any, state: Any, count: int, rows: AnswerRows
    ) -> tuple[Hopfield, dict[str, Any]]:
        """Give every fact an entry, train the values of these entries, and set the threshold."""
        c = self.config
        queries = self.keys(module, rows.prompts)  # (m, d_in)
        noise = self.noise(module, rows.prompts, queries)
        before = 0 if old is None else old.K.shape[1]
        labels = [] if state is None else tuples_of("labels", state)
        K, labels, entries = self.enter(old, labels, queries, rows.answers, count)
        V = self.values(old, K, entries, module, rows, labels)
        # entries of messages in the chat template, which are compared with other messages
        chat = torch.zeros(K.shape[1], dtype=torch.bool)
        chat[:before] = chat[:before] if state is None else state.get("chat", chat[:before])
        chat[[entry for entry in entries[count:] if entry >= before]] = True
        tau = self.threshold(module, K, labels, ~chat, queries[:count], noise)
        taus = None
        if chat.any() and c.tau is None:
            messages = queries[count:]
            high = self.threshold(module, K, labels, chat, messages, noise, chat=True)
            taus = torch.where(chat, high, tau).float()
        route = Hopfield(module, K, V, self.query, self.dynamics, tau, taus)
        seen = count + (0 if state is None else int(state["facts_seen"]))
        state = {**flat_tuples("labels", labels), "facts_seen": seen}
        return route, {**state, "chat": chat} if chat.any() else state

    def keys(self, module: str, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Return the queries (m, d_in) of the prompts."""
        return calibration.queries(self.lm, prompts, module, self.query)

    def check_rules(self, old: Any, module: str) -> None:
        """Reject a codebook whose keys are a different kind of mean."""
        if old is not None and old.query != self.query:
            raise EditError(
                f"The keys of the codebook at {module} are a different kind of mean. Use the same "
                "share and exclude_sink."
            )

    def enter(
        self, old: Any, labels: list[Label], queries: Tensor, targets: Sequence[Label], plain: int
    ) -> tuple[Tensor, list[Label], list[int]]:
        """Return keys (d_in, n) including the facts, all labels, and the entry of each fact.

        If an entry with the fact's label already answers it, the fact becomes one more wording of
        that entry. Otherwise it gets its own entry, unless it has the same key as another one
        (strict): then it replaces that entry. Rows from number `plain` on are messages, each with
        its own key.
        """
        K = queries.new_empty(queries.shape[1], 0) if old is None else old.K
        known = -1.0 if old is None else old.tau
        tau = known if self.config.tau is None else self.config.tau
        labels, entries = list(labels), []
        if len(labels) != K.shape[1]:
            raise EditError(f"This patch has {K.shape[1]} keys but {len(labels)} labels.")
        for i, (query, label) in enumerate(zip(queries, targets, strict=True)):
            score, at = (x.item() for x in nearest(self.dynamics.cosines(K, query[None])))
            entry = int(at)
            same = entry >= 0 and float(K[:, entry] @ query) > 1 - SAME
            if entry >= 0 and labels[entry] == label and (same or (score > tau and i < plain)):
                entries.append(entry)
            elif self.config.strict and same:
                labels[entry] = label
                entries.append(entry)
            else:
                K = torch.cat([K, query[:, None]], 1)
                entries.append(len(labels))
                labels.append(label)
        return K, labels, entries

    def values(
        self,
        old: Any,
        K: Tensor,
        entries: list[int],
        module: str,
        rows: AnswerRows,
        labels: list[Label],
    ) -> Tensor:
        """Return the values (d_out, n) of all entries, training the entries used by the facts."""
        c, lm = self.config, self.lm
        read = activations.module_inputs_at(lm, rows.prompts, rows.ends, [module])[module]
        outputs = lm.output(module, read).float().cpu()  # (m, d_out)
        before = 0 if old is None else old.V.shape[1]
        V, scale = torch.zeros(outputs.shape[1], K.shape[1]), torch.ones(K.shape[1])
        if old is not None:
            V[:, :before] = old.V
        if c.value_init == "cold":
            fresh = range(before, K.shape[1])
            V[:, before:] = self.random_values(len(V), fresh).T if fresh else 0.0
        else:  # an entry's first row gives the unit of its steps, and possibly their start
            for i in reversed(range(len(rows))):
                entry = entries[i]
                if labels[entry] == rows.answers[i]:
                    scale[entry] = outputs[i].square().mean().sqrt().clamp(min=1e-6)
                    if entry >= before and c.value_init == "warm":
                        V[:, entry] = outputs[i]
        at = EntrySite(module, c.layer, added=True)
        self.train(at, V, scale, rows, entries, labels)
        return V

    def threshold(
        self,
        module: str,
        K: Tensor,
        labels: list[Label],
        own: Tensor,
        queries: Tensor,
        noise: float,
        chat: bool = False,
    ) -> float:
        """Return the cosine above which entries answer: as set, or calibrated on general queries.

        own      (n,) bool: the entries using this threshold; labels and K belong to all entries
        queries  (m, d_in) of this call for these entries
        chat     whether they are messages in the chat template

        Calibration uses only the keys of these entries, making the threshold as strict as in a
        codebook without others. For the cosines of the own prompts, all keys are used, because a
        step moves a query towards all of them.
        """
        c, tau = self.config, self.config.tau
        if tau is None:
            general = calibration.general_queries(self.lm, module, self.query, chat).tensors()["Q"]
            some = [label for label, one in zip(labels, own.tolist(), strict=True) if one]
            tau = calibration.threshold(K[:, own], some, general, self.dynamics, c.quantile, c.seed)
        if not c.strict:
            return tau
        # the own prompts of this call's facts, and of a sample of the others
        drawn = torch.randperm(int(own.sum()), generator=torch.Generator().manual_seed(c.seed))
        asked = torch.cat([queries, K.T[own][drawn[: calibration.FACTS]]])
        reached = nearest(self.dynamics.cosines(K, asked)[:, own])[0].min().item()
        return min(tau, reached - 4 * noise - SAME)
