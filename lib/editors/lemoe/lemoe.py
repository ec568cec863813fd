"""LEMoE: a new expert for every batch of facts, added to one MLP, chosen by means of anchors.

An expert is a small network that learned one batch of facts; its output is added to the MLP's
output (experts.py). A router decides at the prompt which expert answers, or none: every expert has
an anchor, a key attracting the prompts near it (routers.py). The method has three parts. Old
experts and their anchors are frozen, so earlier edits stay exactly as they were written. The router
reads only input embeddings, so no edit can misroute a prompt by changing hidden states. Similar
facts are edited together (clusters.py). With these three parts disabled, it is MEMoE, the preceding
method, which is kept for comparison.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ...cancellation import steps
from ...data.facts import Fact, fill
from ...errors import EditError, EditWarning
from ...keys_values import context_templates as contexts
from ...patch.patch import Patch
from ...setting_fields import Amount, Count, Real, Size, Texts, from_paper, ours
from ..shared import routed
from ..shared.base import Editor
from ..shared.config import Config
from ..shared.shared_settings import EndOfText
from . import routers
from .clusters import Order, cluster_facts, general_mean, text_means
from .experts import Expert, ExpertRows, Experts, activation, fresh, module_for
from .learning import Anchored, ByHidden, Routing, train
from .routers import D_K, AnchorFit


@dataclass(frozen=True)
class LemoeConfig(EndOfText, Config):
    """Settings of LEMoE; insert=False and routing="hidden" make it MEMoE."""

    layer: Count = from_paper(17, "Layer, counted from 0, whose MLP gets experts.")
    expert: Literal["ffn", "lora"] = from_paper(
        "ffn",
        "Kind of expert: a copy of the layer's MLP with a zero output projection, or a low-rank "
        "change of the output projection.",
    )
    insert: bool = from_paper(
        True,
        "Whether every batch gets a new expert while old experts are frozen; otherwise a fixed "
        "number of experts is trained in turn.",
    )
    experts: Size = from_paper(4, "Number of experts if none is added, as in MEMoE.")
    routing: Literal["fitted", "paper", "hidden"] = from_paper(
        "fitted",
        "How prompts find their expert: by anchors fitted on all stored prompts before the expert "
        "is trained, by anchors trained with the expert by its loss, as published, which sent "
        "every prompt to the newest expert wherever we tested it, or by MEMoE's router on hidden "
        "states.",
        published="paper",
    )
    gate: Literal["hard", "softmax"] = from_paper(
        "softmax",
        "Whether the winning expert counts fully or by its softmax fraction, which shrinks as "
        "experts are added.",
    )
    lr: Amount = from_paper(3e-3, "Learning rate of Adam for an expert.", published=2e-4)
    order: Order = from_paper("cluster", "How the facts of one call are grouped into batches.")
    scale: Real = from_paper(1.0, "Weight λ of the expert's contribution to the MLP's output.")

    rank: Size = ours(16, "Rank of a low-rank expert.")
    batch_size: Size = ours(16, "Number of facts per expert.")
    steps: Count = ours(60, "Maximum number of training steps of an expert.")
    enough: Real = ours(0.05, "Mean loss at which an expert is done.")
    width: Size = ours(128, "Hidden width of the anchors' projection.")
    kappa: Real = ours(
        16.0, "Factor of the cosine in an anchor's score, controlling how sharply the nearest wins."
    )
    null: Real | None = ours(
        None,
        "Initial score of the null anchor, which represents no expert, in units of kappa; None "
        "leaves it out, so that some expert answers every prompt.",
    )
    reserve: Real = ours(
        1.0,
        "Increase of the null anchor's score after the fit, since texts that must stay are more "
        "varied than those used for fitting.",
    )
    contexts: tuple[tuple[Count, Count], ...] = ours(
        (),
        "Contexts written by the model, as pairs of a length in tokens and a number of texts.",
    )
    templates: Texts | None = ours(
        None, "Context templates, each with `{}` for the prompt; None lets the model write them."
    )
    irrelevant: Texts | None = ours(
        None,
        "Texts that must stay with the base model; None uses the texts shipped with the library.",
    )


class Lemoe(Editor[LemoeConfig]):
    """A mixture of experts, growing by one per batch, with anchors on input embeddings."""

    name = "lemoe"
    title = "LEMoE"
    paper = "Wang and Li, LEMoE: Advanced Mixture of Experts Adaptor for Lifelong Model Editing of LLMs, EMNLP 2024 (arXiv:2406.20030)"  # noqa: E501
    writes = "routes"
    keeps = True

    def modules(self) -> tuple[str, str]:
        """Return the module extended by experts, and the input embeddings used by anchors."""
        return module_for(self.lm, self.config.layer, self.config.expert), self.lm.arch.embed

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Divide the facts into batches of neighbors, and learn a new expert for each batch."""
        c, lm = self.config, self.lm
        facts = list({fact.text: fact for fact in facts}.values())  # the last answer to a prompt
        (module, _), act = self.modules(), activation(lm, c.expert)
        old = self._old(module, after)
        texts = routed.irrelevant_texts(c)
        with lm.patched(routed.without_route(after, module), only=True):
            irrelevant = text_means(lm, texts)
            state = self._state(module, after, irrelevant)
            routing = self._routing(state, old and old.router, texts, irrelevant)
            experts = [] if old is None else list(old.experts)
            # the order of facts: neighbors by their mean input embeddings, (n, d), share a batch
            means = text_means(lm, [fact.text for fact in facts])
            for batch in steps(
                cluster_facts(means - state["mu"], c.batch_size, c.order), f"{self.name}: experts"
            ):
                experts = self._add([facts[i] for i in batch], means[batch], experts, routing, act)
        lost, stored = routing.lost(), int(state["prompt"].sum())
        if lost:
            warnings.warn(
                f"{lost} of {stored} stored prompts are not answered by their own expert.",
                EditWarning,
                stacklevel=3,
            )
        router, bos = routing.router, lm.leading_bos
        route = Experts(module, tuple(experts), act, router, c.scale, c.gate, bos)
        return routed.with_route(after, module, route, self.name, state)

    def _add(
        self, facts: list[Fact], means: Tensor, experts: list[Expert], routing: Routing, act: str
    ) -> list[Expert]:
        """Return all experts, with one added for these facts (or, as in MEMoE, trained again).

        means are the mean input embeddings (n, d) of their prompts; act names the experts'
        activation function. The editor's state, which is part of the routing, is updated.
        """
        c, lm, state = self.config, self.lm, routing.state
        # a new expert, which does not add anything yet; without `insert`, there are always
        # c.experts of them
        together = c.routing == "hidden" and not c.insert  # MEMoE: all experts, at every batch
        which = state["batches"] if c.insert else state["batches"] % c.experts
        if c.insert and which != len(experts):  # from a file, which could claim any number
            raise EditError(
                f"This patch's memory counts {which} batches but {len(experts)} experts."
            )
        new = range(len(experts), c.experts if together else which + 1)
        seeds = [1_000_003 * c.seed + number for number in new]
        experts = experts + [fresh(lm, c.layer, c.expert, c.rank, seed) for seed in seeds]
        state["batches"] += 1
        state["facts"] += len(facts)
        # its anchor, which is fitted before the expert is trained
        routing.add(facts, means, which, len(new))
        # train the expert to give the answers after all templates, keeping the other experts frozen
        pairs = [(fill(t, f.text), f.target_new) for t in state["templates"] for f in facts]
        rows = ExpertRows(lm, state["module"], c.layer, pairs, lm.leading_bos, c.target_eos)
        return train(rows, experts, routing, None if together else which, act, c)

    # ---- existing state -----------------------------------------------------------------------

    def _old(self, module: str, after: Patch) -> Any:
        """Return the route of earlier edits, or None; EditError if the settings do not fit them."""
        state = after.memory.get(self.name)
        if not routed.begun(after, module, self.name, state, "experts"):
            return None
        for key, value in self._stays().items():
            if state[key] != value:
                raise EditError(
                    f"This patch contains experts with {key} {state[key]}, not {value}. Use the "
                    "same setting."
                )
        return after.routes[module]

    def _stays(self) -> dict[str, Any]:
        """Return the settings that all edits of one stream share.

        In files, a router may also have a projection for each expert, which is not created here.
        """
        own = {name: getattr(self.config, name) for name in ("insert", "routing", "gate", "scale")}
        return {"projection": "shared", **own}

    def _state(self, module: str, after: Patch, irrelevant: Tensor) -> dict[str, Any]:
        """Return the editor's state; irrelevant (m, d) are mean embeddings.

        module     the module that experts extend, and the settings that must not change
        batches    number of batches written
        facts      number of facts written
        templates  context templates
        mu         (d,): center of mean embeddings
        sigma      (): their scale
        e          (n, d): a vector for every stored prompt, and for the facts' subjects
        owner      (n,): the expert of each
        prompt     (n,): which of them are prompts; the others are subjects
        """
        if self.name in after.memory:
            # cloned: a file's memory layout is different, and sums may differ in the last bit
            before = after.memory[self.name]
            return {n: v.clone() if isinstance(v, Tensor) else v for n, v in before.items()}
        mu, nobody = general_mean(self.lm), torch.zeros(0, dtype=torch.long)
        return {
            "module": module,
            **self._stays(),
            "batches": 0,
            "facts": 0,
            "templates": contexts.of(self.lm, self.config),
            "mu": mu,
            "sigma": (irrelevant - mu).square().mean().sqrt(),
            "e": torch.zeros(0, len(mu)),
            "owner": nobody,
            "prompt": nobody.bool(),
        }

    def _routing(
        self,
        state: dict,
        router: Any,  # from earlier batches, None before the first
        texts: Sequence[str],
        irrelevant: Tensor,
    ) -> Routing:
        """Return the router, `router` or a new router, together with its way of learning."""
        c = self.config
        if c.routing == "hidden":
            return ByHidden(self.lm, state, router, c.layer, texts, c.seed)
        fit = AnchorFit(reserve=c.reserve) if c.routing == "fitted" else None
        if router is None:
            null = c.null * c.kappa if fit and c.null is not None else None
            mu, sigma = state["mu"], state["sigma"]
            router = routers.start(mu, sigma, c.width, D_K, c.kappa, null, c.seed)
        return Anchored(self.lm, state, router, irrelevant, fit)
