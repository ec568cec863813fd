"""HoReN: a codebook whose entries are found by the angle of an averaged query (Fang et al., 2026).

As in GRACE, only values beside one module are trained, and the model is the base model, bit for
bit, wherever no entry answers. Three things differ: a key is the direction of the mean over the
last part of the prompt, a query takes a damped Hopfield step before it is compared (hopfield.py),
and a value is added to the module's output in place of standing for it.

Ours: the codebook has no random first entry, which could only take queries from others. A value
starts at zero. The newest of two facts with one prompt wins. The threshold is calibrated on this
model (calibration.py), and an entry's own prompt always reaches it. The choice is made once, at the
prompt; the authors' code decides again at every generated token. With `forms` a fact has an entry
for its prompt and more for messages in the chat template, whose answers begin without a space.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ...data.facts import Fact, encode_answer, encode_target
from ...errors import EditError, EditWarning
from ...keys_values import conversation_forms
from ...model import activations
from ...model.answer_rows import AnswerRows
from ...patch.patch import Patch
from ...settings import setting
from ..shared import routed
from ..shared.base import Editor
from ..shared.config import Config
from ..shared.value_search import Place, ValueSearch, descend
from . import calibration
from .hopfield import ROUNDS, Dynamics, Hopfield, MeanOf, Query, nearest

Label = tuple[int, ...]  # the tokens of a target
SAME = 1e-6  # two keys whose cosine is this near to 1 are one prompt


@dataclass(frozen=True)
class HorenConfig(Config):
    """Settings of HoReN."""

    layer: int = setting(29, "Layer, counted from 0, that the codebook stands in.", source="paper")
    module: str | None = setting(
        None,
        "Module behind which the codebook stands, with `{}` for the layer; None takes the MLP's "
        "output projection.",
        source="paper",
    )
    share: float = setting(
        0.5,
        "Share of the prompt's tokens, from its end, that a query is the mean of.",
        source="paper",
    )
    beta: float = setting(
        20.0, "Sharpness of the softmax that weighs the keys in a Hopfield step.", source="paper"
    )
    alpha: float = setting(
        0.1, "Part of a Hopfield step that is taken; 0 leaves the query as it is.", source="paper"
    )
    rounds: int = setting(1, "Hopfield steps at most.", source="paper")
    tau: float | None = setting(
        None,
        "Cosine above which an entry answers; None takes a quantile of what general text and the "
        "other facts reach.",
        source="paper",
        published=0.85,
    )
    n_iter: int = setting(50, "Steps of training of a value at most.", source="paper")
    lr: float = setting(0.5, "Learning rate of Adam for the values.", source="paper", published=1.0)
    value_init: Literal["zero", "warm", "cold"] = setting(
        "zero",
        "Whether a value begins at zero or as the module's own output, with steps in units of that "
        "output's size, or with random numbers from 0 to 1.",
        source="paper",
        published="cold",
    )

    # options of ours

    quantile: float = setting(
        0.999, "Share of strangers that a calibrated threshold keeps out.", source="ours"
    )
    exclude_sink: bool = setting(
        True,
        "Whether the prompt's first token, whose input is huge in many models, is left out of the "
        "mean.",
        source="ours",
        published=False,
    )
    mean_of: MeanOf = setting(
        "inputs",
        "Whether the query is the mean of the inputs, in which loud tokens weigh more, or of their "
        "directions.",
        source="ours",
    )
    enough: float = setting(
        0.05,
        "Loss under which a value is done once its answer is the argmax; 0 takes all steps.",
        source="ours",
        published=0.0,
    )
    strict: bool = setting(
        True,
        "Whether a new answer to a stored prompt takes the old entry's place, and the threshold "
        "never exceeds what an entry's own prompt reaches.",
        source="ours",
        published=False,
    )
    forms: conversation_forms.FormsSetting = setting(
        "prompt",
        "Forms in which a fact is learned: its prompt alone, also as a message in the chat "
        "template, or in a conversation, where a question that the model writes comes to it.",
        source="ours",
    )

    added: ClassVar[Mapping[str, Any]] = {"forms": "prompt"}

    def __post_init__(self) -> None:
        """Refuse shares and steps that are none."""
        super().__post_init__()
        bounds = {"share": (0, 1), "alpha": (0, 1), "rounds": (0, ROUNDS), "tau": (-1, 1)}
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise EditError(f"{name} is a number from {least} to {most}, not {value}")
        if not self.share:
            raise EditError("share is above 0: a query is the mean of one token at least")


def in_chat(before: Tensor, entries: list[int], count: int) -> Tensor:
    """Which entries (count,) were made by a message in the chat template.

    before   (n,) bool, the same of the entries that were there
    entries  those of this call's messages
    """
    chat = torch.zeros(count, dtype=torch.bool)
    chat[: len(before)] = before
    for entry in entries:
        chat[entry] |= entry >= len(before)
    return chat


class Horen(Editor):
    """A codebook of corrections found by angle, each added at the prompt's end."""

    name = "horen"
    paper = "Fang et al., HoReN, 2026 (arXiv:2605.08143)"
    Config = HorenConfig
    config: HorenConfig
    speed = "fast"
    writes = "routes"
    keeps = True
    scoped = True

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Write all facts into the codebook in their order, then train the values they touch."""
        c, lm = self.config, self.lm
        module = routed.linear(lm, c.layer, c.module)
        remembered = after.memory.get(self.name, {})  # one state per codebook
        state = remembered.get(module)
        begun = routed.begun(after, module, self.name, state, "codebook")
        query, dynamics = self.rule(after, module if begun else None)
        prompts, targets = self.rows(facts)
        old: Any = after.routes.get(module)
        with lm.patched(routed.without_mine(after, module), only=True):
            found = calibration.queries(lm, prompts, module, query)  # (m, d_in)
            noise = self.noise(module, prompts, found, query)
            tau = c.tau if c.tau is not None else (-1.0 if old is None else old.tau)
            labels = [] if state is None else routed.tuples_of("labels", state)
            K, labels, entries = self.place(old, labels, found, targets, dynamics, tau, len(facts))
            V = self.values(old, K, entries, module, prompts, targets, labels)
            # entries of messages in the chat template, whose strangers are other messages
            known = 0 if old is None else old.K.shape[1]
            before = (state or {}).get("chat", torch.zeros(known, dtype=torch.bool))
            if before.shape != (known,):
                raise EditError(
                    f"this patch has {known} keys and {len(before)} marks of chat entries"
                )
            chat = in_chat(before, entries[len(facts) :], K.shape[1])
            plain, messages = found[: len(facts)], found[len(facts) :]
            general = calibration.general_queries(lm, module, query) if c.tau is None else None
            tau = self.threshold(K, labels, ~chat, plain, dynamics, general, noise)
            taus = None
            if chat.any() and c.tau is None:
                general = calibration.general_queries(lm, module, query, chat=True)
                high = self.threshold(K, labels, chat, messages, dynamics, general, noise)
                taus = torch.where(chat, high, tau).float()
            least = torch.tensor(tau) if taus is None else taus
            lost = calibration.missed(lm, facts, module, query, K, dynamics, least)
        if lost:
            warnings.warn(
                f"{lost} of {len(facts)} facts are not found when '{calibration.PREFIX.strip()}' "
                f"stands before their prompts (threshold {tau:.3f})",
                EditWarning,
                stacklevel=3,
            )
        seen = len(facts) + (0 if state is None else int(state["facts_seen"]))
        kept = {**routed.flat_tuples("labels", labels), "facts_seen": seen}
        if chat.any():
            kept["chat"] = chat
        route = Hopfield(module, K, V, query, dynamics, tau, taus)
        return routed.with_mine(after, module, route, self.name, {**remembered, module: kept})

    def rows(self, facts: list[Fact]) -> tuple[list[list[int]], list[Label]]:
        """Token ids of the facts' prompts and targets, and then of those in each further form."""
        lm = self.lm
        forms = conversation_forms.of(lm, facts, self.config.forms)
        targets = [tuple(encode_target(lm.tokenizer, fact.target_new)) for fact in facts]
        prompts, _ = lm.rows([fact.text for fact in facts])
        for form in forms.variants:
            prompts += lm.rows([fact.text for fact in form], chat=True)[0]
            targets += [
                tuple(encode_answer(lm.tokenizer, fact.target_new, forms.template)) for fact in form
            ]
        return prompts, targets

    def rule(self, after: Patch, module: str | None) -> tuple[Query, Dynamics]:
        """How queries are made and moved; EditError where the codebook's way is another."""
        c = self.config
        query = Query(c.share, c.exclude_sink, c.mean_of)
        dynamics = Dynamics(c.beta, c.alpha, c.rounds)
        held: Any = None if module is None else after.routes[module]
        if held is not None and held.query != query:
            raise EditError(
                f"the keys of the codebook at {module} are means of another kind: give it the "
                "same share, exclude_sink and mean_of"
            )
        return query, dynamics

    def place(
        self,
        old: Any,
        labels: list[Label],
        found: Tensor,
        targets: list[Label],
        dynamics: Dynamics,
        tau: float,
        plain: int,
    ) -> tuple[Tensor, list[Label], list[int]]:
        """Keys (d_in, n) with the facts in them, all labels, and the entry of each fact.

        A fact that an entry with its label answers becomes one more wording of it. Any other gets
        an entry of its own, but where it has the key of another (strict): it takes that entry. Rows
        from the place `plain` on are messages, each with a key of its own.
        """
        K = found.new_empty(found.shape[1], 0) if old is None else old.K
        labels, entries = list(labels), []
        if len(labels) != K.shape[1]:
            raise EditError(f"this patch has {K.shape[1]} keys and {len(labels)} labels")
        for i, (q, label) in enumerate(zip(found, targets, strict=True)):
            score, entry = (x.item() for x in nearest(dynamics.cosines(K, q[None])))
            same = entry >= 0 and float(K[:, int(entry)] @ q) > 1 - SAME
            if entry >= 0 and labels[int(entry)] == label and (same or score > tau and i < plain):
                entries.append(int(entry))
            elif self.config.strict and same:
                labels[int(entry)] = label
                entries.append(int(entry))
            else:
                K = torch.cat([K, q[:, None]], 1)
                entries.append(len(labels))
                labels.append(label)
        return K, labels, entries

    def values(
        self,
        old: Any,
        K: Tensor,
        entries: list[int],
        module: str,
        prompts: list[list[int]],
        targets: list[Label],
        labels: list[Label],
    ) -> Tensor:
        """Values (d_out, n) of all entries, those that the facts touched trained for them."""
        c, lm = self.config, self.lm
        ends = [len(prompt) - 1 for prompt in prompts]
        keys = activations.module_inputs_at(lm, prompts, ends, [module])[module]
        outputs = lm.output(module, keys).float().cpu()  # (m, d_out)
        known = 0 if old is None else old.V.shape[1]
        V = torch.zeros(outputs.shape[1], K.shape[1])
        if old is not None:
            V[:, :known] = old.V
        # a fact whose entry was given to a newer one within this call has nothing to train
        live = [i for i, entry in enumerate(entries) if labels[entry] == targets[i]]
        touched = list(dict.fromkeys(entries[i] for i in live))
        sizes = torch.ones(len(touched))
        for place, entry in enumerate(touched):
            first = next(i for i in live if entries[i] == entry)
            if c.value_init == "cold":
                drawn = torch.Generator().manual_seed(c.seed + entry)
                begin = torch.rand(len(V), generator=drawn)
            else:
                sizes[place] = outputs[first].square().mean().sqrt().clamp(min=1e-6)
                begin = outputs[first] if c.value_init == "warm" else torch.zeros(len(V))
            if entry >= known:
                V[:, entry] = begin
        rows = AnswerRows(prompts, targets).take(live)
        at = Place(module, c.layer, added=True)
        search = ValueSearch(c.lr, c.n_iter, c.enough)
        owners = [touched.index(entries[i]) for i in live]
        made = descend(lm, at, rows, owners, V[:, touched], sizes, search)
        if not torch.isfinite(made.values).all():
            raise EditError("horen produced NaN or infinite values; nothing was changed")
        V[:, touched] = made.values
        return V

    def threshold(
        self,
        K: Tensor,
        labels: list[Label],
        kind: Tensor,
        found: Tensor,
        dynamics: Dynamics,
        general: Tensor | None,
        noise: float,
    ) -> float:
        """The cosine above which an entry answers: as set, or calibrated on general queries.

        kind   (n,) bool: the entries whose threshold it is; labels and K are those of all
        found  (m, d_in) the queries of this call that belong to them

        It is calibrated with the keys of these entries alone, so that it is as strict as in a book
        without others. What the own prompts reach is asked with all keys, since a step moves a
        query towards all of them.
        """
        c = self.config
        if general is None:
            assert c.tau is not None
            tau = c.tau
        else:
            mine = [label for label, one in zip(labels, kind.tolist(), strict=True) if one]
            tau = calibration.threshold(K[:, kind], mine, general, dynamics, c.quantile, c.seed)
        if not c.strict:
            return tau
        # the own prompts of this call's facts, and of a sample of the others
        keys = K.T[kind]
        some = torch.randperm(len(keys), generator=torch.Generator().manual_seed(c.seed))
        own = torch.cat([found, keys[some[: calibration.FACTS]]])
        reached = nearest(dynamics.cosines(K, own)[:, kind])[0].min().item()
        return min(tau, reached - 4 * noise - SAME)

    def noise(self, module: str, prompts: list[list[int]], found: Tensor, query: Query) -> float:
        """How far a query moves when its prompt is padded beside a longer row; of a few prompts."""
        few = prompts[:4]
        rows = [*few, (max(few, key=len) * 2)[: self.lm.context]]
        again = calibration.queries(self.lm, rows, module, query)[:-1]
        return (again - found[: len(few)]).norm(dim=1).max().item()
