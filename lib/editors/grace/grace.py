"""GRACE: corrections in a codebook beside one module (Hartvigsen et al., 2023).

A codebook is a list of entries. An entry's key is what the module reads at a prompt's last token,
its value is what the module should put out there, and its deferral radius says how far from the key
it answers (codebook.py). Only values are trained. Outside all radii the model is the base model,
bit for bit (deferral.py is the route that does this).
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
from ...keys_values.conversation_forms import Forms
from ...model import activations
from ...model.answer_rows import AnswerRows
from ...patch.patch import Patch
from ...settings import setting
from ..shared import routed
from ..shared.base import Editor
from ..shared.config import Config
from ..shared.value_search import Place, Replacement, ValueSearch, descend
from .codebook import Codebook, Event
from .deferral import Deferral


@dataclass(frozen=True)
class GraceConfig(Config):
    """Settings of GRACE."""

    layer: int = setting(25, "Layer, counted from 0, that the codebook stands in.", source="paper")
    module: str | None = setting(
        None,
        "Module behind which the codebook stands, with `{}` for the layer; None takes the MLP's "
        "output projection.",
        source="paper",
    )
    eps_init: float = setting(1.0, "Deferral radius of a new entry.", source="paper")
    n_iter: int = setting(50, "Steps of training of a value at most.", source="paper")
    lr: float = setting(0.5, "Learning rate of Adam for the values.", source="paper", published=1.0)
    replacement: Replacement = setting(
        "last",
        "Positions that a value answers at: the prompt's last token, all of the prompt, or all "
        "tokens that come.",
        source="paper",
    )
    value_init: Literal["warm", "cold"] = setting(
        "warm",
        "Whether a value begins as the module's own output, with steps in units of its size, or "
        "with random numbers from 0 to 1.",
        source="paper",
        published="cold",
    )
    eps_expand: Literal["coverage", "moving_average"] = setting(
        "coverage",
        "What happens to an entry that gets one more wording: its radius grows, or its key moves "
        "halfway too.",
        source="paper",
    )

    # options of ours

    strict: bool = setting(
        True,
        "Whether radii follow the repaired rules, by which no entry answers for another's fact, or "
        "the published ones.",
        source="ours",
        published=False,
    )
    enough: float = setting(
        0.05,
        "Loss under which a value is done once its answer is the argmax; 0 takes all steps.",
        source="ours",
        published=0.0,
    )
    target_eos: bool = setting(
        False, "Whether the end of the text is learned as a token after the answer.", source="ours"
    )
    forms: conversation_forms.FormsSetting = setting(
        "prompt",
        "Forms in which a fact is learned: its prompt alone, also as a message in the chat "
        "template, or in a conversation, where a question that the model writes comes to it.",
        source="ours",
    )

    retired: ClassVar[Mapping[str, Any]] = {"only_errors": False}
    added: ClassVar[Mapping[str, Any]] = {"forms": "prompt"}


class Grace(Editor):
    """A codebook of corrections beside the weights, each within its radius."""

    name = "grace"
    paper = "Hartvigsen et al., Aging with GRACE, 2023 (arXiv:2211.11031)"
    Config = GraceConfig
    config: GraceConfig
    speed = "fast"
    writes = "routes"
    keeps = True
    scoped = True

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Write all facts into the codebook in their order, then train the values they touch."""
        c, lm = self.config, self.lm
        place = self.place(after)
        module = place.module
        old: Any = after.routes.get(module)
        remembered = after.memory.get(self.name, {})  # one state per codebook
        state = remembered.get(module)
        forms = conversation_forms.of(lm, facts, c.forms)
        prompts, targets = self.ids(facts, after, forms)
        with lm.patched(routed.without_mine(after, module), only=True):
            # a fact's key: what the module reads at the prompt's last token; each of its forms of
            # conversation has one more, at the last token of the reply's header
            at = [len(prompt) - 1 for prompt in prompts]
            keys = (
                activations.module_inputs_at(lm, prompts, at, [module])[module].float().cpu()
            )  # (m, d_in)
            if state is None:
                state = {"facts_seen": 0, "noise": self.noise(module, prompts, keys)}
            # its first value: what the module puts out there, or random numbers
            numbers = [state["facts_seen"] + i for i in range(len(facts))] * (1 + len(forms))
            fresh = self.fresh(lm.output(module, keys.to(lm.device)).cpu(), numbers)  # (m, d_out)
            # write all facts into the codebook: add, expand or split
            if old:
                book = Codebook.of(old.K, old.V, old.eps, state)
            else:
                book = Codebook.empty(keys.shape[1], fresh.shape[1])
            events = book.write(
                keys,
                [*map(tuple, targets)],
                fresh,
                numbers,
                eps_init=self.radii(keys, len(facts)),
                strict=c.strict,
                expand=c.eps_expand,
                noise=state["noise"],
            )
            # train the values of the entries that were touched until they give the targets
            measured = self.train(place, book, prompts, targets, events, keys)
        noise = max(state["noise"], measured)
        self.report(book, keys, targets, noise)
        state = {**book.state(), "facts_seen": state["facts_seen"] + len(facts), "noise": noise}
        route = Deferral(module, book.K, book.V, book.eps, c.replacement)
        return routed.with_mine(after, module, route, self.name, {**remembered, module: state})

    def radii(self, keys: Tensor, count: int) -> list[float]:
        """The first radius of each key: `eps_init`, and less where a form's keys are shorter.

        All messages in the chat template end with the same tokens, so that their keys are shorter
        and lie closer together than those of plain prompts. The radius of a form's key is
        eps_init times its length, as a share of the length of the prompt's own key, and never
        more than eps_init. The first `count` keys are those of the prompts.
        """
        eps, size = self.config.eps_init, keys.norm(dim=1)
        shares = (size / size[:count].repeat(len(keys) // count)).clamp(max=1.0)
        return [eps * share for share in shares.tolist()]

    def fresh(self, output: Tensor, numbers: list[int]) -> Tensor:
        """First values (m, d_out): the module's own output, or random ones.

        Random values are seeded by the fact's number, which counts over all edits, so that a list
        edited at once and in two halves begins alike.
        """
        if self.config.value_init == "warm":
            return output
        seeds = [torch.Generator().manual_seed(self.config.seed + number) for number in numbers]
        return torch.stack([torch.rand(output.shape[1], generator=seed) for seed in seeds])

    def train(
        self,
        place: Place,
        book: Codebook,
        prompts: list[list[int]],
        targets: list[list[int]],
        events: list[Event],
        keys: Tensor,
    ) -> float:
        """Train the values of all entries that `events` touched, in the book.

        Returns how far keys moved as they were read beside other rows, for `report`.
        """
        c = self.config
        # a fact whose entry was given to a newer one within this call has nothing to train
        live = [i for i, e in enumerate(events) if book.labels[e.entry] == tuple(targets[i])]
        touched = list(dict.fromkeys(events[i].entry for i in live))
        rows = AnswerRows(prompts, targets).take(live)
        entries = [touched.index(events[i].entry) for i in live]
        # steps are in units of the first value's root mean square, so that lr suits every model
        start = book.V[:, touched]
        size = start.square().mean(0).sqrt().clamp(min=1e-6)
        scale = size if c.value_init == "warm" else torch.ones_like(size)
        search = ValueSearch(c.lr, c.n_iter, c.enough)
        found = descend(self.lm, place, rows, entries, start, scale, search)
        if not torch.isfinite(found.values).all():
            raise EditError("grace produced NaN or infinite values; nothing was changed")
        book.V[:, touched] = found.values
        return (found.keys - keys[live]).norm(dim=1).max().item()

    # ---- before: where the codebook stands, and the facts as tokens -----------------------------

    def place(self, after: Patch) -> Place:
        """Where the codebook stands; EditError where it cannot."""
        c, lm = self.config, self.lm
        module = routed.linear(lm, c.layer, c.module)
        state = after.memory.get(self.name, {}).get(module)
        if routed.begun(after, module, self.name, state, "codebook"):
            route: Any = after.routes[module]
            held = route.replacement
            if held != c.replacement:
                raise EditError(
                    f"the codebook at {module} replaces '{held}', not '{c.replacement}'"
                )
        return Place(module, c.layer, c.replacement)

    def ids(
        self, facts: list[Fact], after: Patch, forms: Forms
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids of the facts' prompts and targets, and then of those in each form."""
        lm = self.lm
        end = [lm.tokenizer.eos_token_id] if self.config.target_eos else []
        targets = [[*encode_target(lm.tokenizer, fact.target_new), *end] for fact in facts]
        with lm.patched(after, only=True):
            prompts, _ = lm.rows([fact.text for fact in facts])
            for form in forms.variants:
                prompts += lm.rows([fact.text for fact in form], chat=True)[0]
                targets += [
                    [*encode_answer(lm.tokenizer, fact.target_new, forms.template), *end]
                    for fact in form
                ]
        return prompts, targets

    # ---- what we added: how exact a key is, and a warning for facts that were lost --------------

    def noise(self, module: str, prompts: list[list[int]], keys: Tensor) -> float:
        """How far a key moves when its prompt is padded beside a longer row, over a few prompts.

        Radii must be larger than this, or an entry misses its own prompt in another batch.
        """
        few = prompts[:4]
        rows = [*few, (max(few, key=len) * 2)[: self.lm.context]]
        found = activations.module_inputs_at(
            self.lm, rows, [len(row) - 1 for row in rows], [module]
        )[module]
        return (found[:-1].float().cpu() - keys[: len(few)]).norm(dim=1).max().item()

    def report(self, book: Codebook, keys: Tensor, targets: list[list[int]], noise: float) -> None:
        """Warn where the codebook cannot give facts back, and say how many."""
        entries = book.lookup(keys).entry.tolist()
        stolen = sum(
            entry < 0 or book.labels[entry] != tuple(target)
            for entry, target in zip(entries, targets, strict=True)
        )
        lost = book.lost(noise)
        if stolen or lost:
            warnings.warn(
                f"{stolen} of {len(keys)} facts fell to another entry at once, and {len(lost)} of "
                f"{len(book)} entries have a radius under four times the noise of a key "
                f"({noise:.1e}): they may miss their own prompt",
                EditWarning,
                stacklevel=4,
            )
