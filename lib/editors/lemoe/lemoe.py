"""LEMoE: a new expert beside one MLP for every batch of facts, and anchors that choose among them.

An expert is a small network that learned one batch of facts; what it says is added to the MLP's
output (experts.py). A router decides at the prompt which expert answers, or none: every expert has
an anchor, a key near which prompts are its own (anchor_router.py). The method has three parts. Old
experts and their anchors are frozen, so what was written stays as it was written. The router reads
input embeddings alone, so no edit can lead a prompt astray by changing hidden states. Facts that
are alike are edited together (fact_clusters.py). With the three parts switched off it is MEMoE, the
method before it, which is kept for comparison.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ...data.facts import Fact, fill
from ...errors import EditError, EditWarning
from ...keys_values import context_templates as contexts
from ...patch.patch import Patch
from ...settings import setting
from ..shared import routed
from ..shared.base import Editor
from ..shared.config import Config
from . import anchor_router
from .anchor_router import AnchorFit
from .expert_rows import ExpertRows
from .expert_training import ExpertTraining, train
from .experts import Expert, Experts
from .fact_clusters import Order, cluster_facts
from .new_expert import activation, fresh, place
from .prompt_embedding import general_mean, text_means
from .router_training import Anchored, ByHidden, Routing


@dataclass(frozen=True)
class LemoeConfig(Config):
    """Settings of LEMoE; insert=False and routing="hidden" make it MEMoE."""

    layer: int = setting(17, "Layer, counted from 0, whose MLP gets experts.", source="paper")
    expert: Literal["ffn", "lora"] = setting(
        "ffn",
        "Whether an expert is a copy of the layer's MLP with a zero output projection or a change "
        "of low rank of the output projection.",
        source="paper",
    )
    insert: bool = setting(
        True,
        "Whether every batch gets a new expert while old ones are frozen, or a fixed number of "
        "experts is trained in turn.",
        source="paper",
    )
    experts: int = setting(4, "Number of experts where none is added, as in MEMoE.", source="paper")
    routing: Literal["fitted", "paper", "hidden"] = setting(
        "fitted",
        "Whether anchors are fitted on all stored prompts before the expert is trained, are "
        "trained with the expert by its loss, or give way to MEMoE's router on hidden states.",
        source="paper",
        published="paper",
    )
    gate: Literal["hard", "softmax"] = setting(
        "hard",
        "Whether the winning expert counts fully or by its softmax share, which shrinks as experts "
        "are added.",
        source="paper",
        published="softmax",
    )
    lr: float = setting(
        3e-3, "Learning rate of Adam for an expert.", source="paper", published=2e-4
    )
    order: Order = setting(
        "cluster", "How the facts of one call are put into batches.", source="paper"
    )
    scale: float = setting(
        1.0, "Weight λ of what the expert adds to the MLP's output.", source="paper"
    )

    # options of ours: what the paper leaves open, and prompts that no expert should answer

    rank: int = setting(16, "Rank of an expert of low rank.", source="ours")
    batch_size: int = setting(16, "Number of facts of one expert.", source="ours")
    steps: int = setting(60, "Steps of training of an expert at most.", source="ours")
    enough: float = setting(0.05, "Mean loss at which an expert is done.", source="ours")
    d_k: int = setting(64, "Length of an anchor.", source="ours")
    width: int = setting(128, "Hidden width of the anchors' projection.", source="ours")
    kappa: float = setting(
        16.0,
        "Factor of the cosine in an anchor's score: how sharply the nearest wins.",
        source="ours",
    )
    null: float = setting(
        0.5,
        "Where the score of the null anchor, which stands for no expert, starts, in units of "
        "kappa.",
        source="ours",
    )
    reserve: float = setting(
        1.0,
        "By how much the null anchor's score is raised after the fit, since texts that must stay "
        "are more varied than those it was fitted on.",
        source="ours",
    )
    contexts: tuple[tuple[int, int], ...] = setting(
        ((10, 2),),
        "Contexts that the model writes, as pairs of a length in tokens and a number of texts.",
        source="ours",
        published=(),
    )
    target_eos: bool = setting(
        False, "Whether the end of the text is learned as a token after the answer.", source="ours"
    )
    templates: tuple[str, ...] | None = setting(
        None,
        "Context templates, each with `{}` for the prompt; None lets the model write them.",
        source="ours",
    )
    irrelevant: tuple[str, ...] | None = setting(
        None,
        "Texts that must stay with the base model; None takes those shipped with the library.",
        source="ours",
    )

    retired: ClassVar[Mapping[str, Any]] = {
        "projection": "shared",
        "views": ("prompt", "subject"),
        "route_steps": 60,
        "route_lr": 1e-3,
    }


@dataclass
class _Work:
    """What one edit works on; its parts are replaced, never changed in place.

    module   the module beside which the experts stand
    act      name of their activation function
    bos      id of a leading BOS, None without one
    experts  the experts so far
    routing  the router, and how it learns
    state    what the editor remembers (see `_start`)
    """

    module: str
    act: str
    bos: int | None
    experts: list[Expert]
    routing: Routing
    state: dict[str, Any]


class Lemoe(Editor):
    """A mixture of experts that grows by one per batch, with anchors on input embeddings."""

    name = "lemoe"
    paper = "Wang and Li, LEMoE: Advanced Mixture of Experts Adaptor for Lifelong Model Editing of LLMs, EMNLP 2024 (arXiv:2406.20030)"  # noqa: E501
    Config = LemoeConfig
    config: LemoeConfig
    writes = "routes"
    keeps = True
    scoped = True

    def write(self, facts: list[Fact], after: Patch) -> Patch:
        """Deal the facts into batches of neighbors, and learn a new expert for each batch."""
        c, lm = self.config, self.lm
        facts = list({fact.text: fact for fact in facts}.values())  # the last answer to a prompt
        module = place(lm, c.layer, c.expert)
        held = self._held(module, after)
        with lm.patched(routed.without_mine(after, module), only=True):
            work = self._work(module, after.routes[module] if held else None, after)
            # the order of facts: neighbors by their mean input embeddings, (n, d), share a batch
            means = text_means(lm, [fact.text for fact in facts])
            for batch in cluster_facts(means - work.state["mu"], c.batch_size, c.order, c.seed):
                self._add([facts[i] for i in batch], means[batch], work)
        lost, stored = work.routing.lost(), int(work.state["prompt"].sum())
        if lost:
            warnings.warn(
                f"{lost} of {stored} stored prompts are not answered by their own expert",
                EditWarning,
                stacklevel=3,
            )
        experts, router = tuple(work.experts), work.routing.router
        route = Experts(module, experts, work.act, router, c.scale, c.gate, work.bos)
        return routed.with_mine(after, module, route, self.name, work.state)

    def _add(self, facts: list[Fact], means: Tensor, work: _Work) -> None:
        """Learn one batch of facts, whose prompts have these mean embeddings (n, d)."""
        c, state = self.config, work.state
        # a new expert, which says nothing yet; without `insert` there are always c.experts of them
        together = c.routing == "hidden" and not c.insert  # MEMoE: all experts, at every batch
        which = state["batches"] if c.insert else state["batches"] % c.experts
        if c.insert and which != len(work.experts):  # of a file: it could promise any number
            raise EditError(
                f"this patch's memory counts {which} batches beside {len(work.experts)} experts"
            )
        count = c.experts if together else which + 1
        new = range(len(work.experts), count)
        seeds = [1_000_003 * c.seed + number for number in new]
        work.experts += [fresh(self.lm, c.layer, c.expert, c.rank, seed) for seed in seeds]
        state["batches"] += 1
        state["facts"] += len(facts)
        # its anchor, which is fitted before the expert is trained
        work.routing.add(facts, means, which, len(new))
        # train the expert to give the answers behind all templates; the other experts are frozen
        pairs = [(fill(t, f.text), f.target_new) for t in state["templates"] for f in facts]
        rows = ExpertRows(self.lm, work.module, c.layer, pairs, work.bos, c.target_eos)
        by = ExpertTraining(c.lr, c.steps, c.enough, c.scale, c.gate)
        alone = None if together else which
        work.experts = train(rows, work.experts, work.routing, alone, work.act, by)

    # ---- what is there already --------------------------------------------------------------

    def _held(self, module: str, after: Patch) -> bool:
        """Whether `after` holds experts already; EditError where the settings do not fit them."""
        state = after.memory.get(self.name)
        if not routed.begun(after, module, self.name, state, "experts"):
            routed.refuse_others(after, self.lm.arch.embed)  # anchors read input embeddings
            return False
        for key, value in self._stays().items():
            if state[key] != value:
                raise EditError(f"this patch holds experts with {key} {state[key]}, not {value}")
        return True

    def _stays(self) -> dict[str, Any]:
        """Settings that all edits of one stream share.

        In files a router may also have a projection for each expert, which is not made here.
        """
        own = {name: getattr(self.config, name) for name in ("insert", "routing", "gate", "scale")}
        return {"projection": "shared", **own}

    def _work(self, module: str, route: Any, after: Patch) -> _Work:
        """Experts, router and state to go on with, those of `after` or those of a first edit."""
        lm, calm = self.lm, routed.irrelevant_texts(self.config)
        if self.config.experts < 1 or self.config.batch_size < 1:
            raise EditError("lemoe needs an expert and a fact per batch")
        means = text_means(lm, calm)
        if route is None:
            state = self._start(module, means)
        else:
            # cloned: a file's memory is laid out otherwise, and sums may differ in the last bit
            held = after.memory[self.name]
            state = {n: v.clone() if isinstance(v, Tensor) else v for n, v in held.items()}
        routing = self._routing(state, route and route.router, calm, means)
        act = route.activation if route else activation(lm, self.config.expert)
        experts = list(route.experts) if route else []
        return _Work(module, act, lm.leading_bos, experts, routing, state)

    def _start(self, module: str, calm: Tensor) -> dict[str, Any]:
        """What the editor remembers before its first expert; calm (m, d): texts that must stay.

        module     the module beside which the experts stand, and the settings that must not change
        batches    number of batches written
        facts      number of facts written
        templates  context templates
        mu         (d,): center of mean embeddings
        sigma      (): their scale
        e          (n, d): what stands for every stored prompt, and for the facts' subjects
        owner      (n,): the expert of each
        prompt     (n,): which of them are prompts; the others are subjects
        """
        c, mu = self.config, general_mean(self.lm)
        nobody = torch.zeros(0, dtype=torch.long)
        return {
            "module": module,
            **self._stays(),
            "batches": 0,
            "facts": 0,
            "templates": contexts.of(self.lm, c),
            "mu": mu,
            "sigma": (calm - mu).square().mean().sqrt(),
            "e": torch.zeros(0, len(mu)),
            "owner": nobody,
            "prompt": nobody.bool(),
        }

    def _routing(
        self,
        state: dict,
        router: Any,  # that of earlier batches, None before the first
        texts: Sequence[str],
        calm: Tensor,
    ) -> Routing:
        """The router, `router` or a first one, with how it learns."""
        c = self.config
        if c.routing == "hidden":
            return ByHidden(self.lm, state, router, c.layer, texts, c.seed)
        fit = AnchorFit(reserve=c.reserve) if c.routing == "fitted" else None
        if router is None:
            null = c.null * c.kappa if fit else None
            mu, sigma = state["mu"], state["sigma"]
            router = anchor_router.start(mu, sigma, c.width, c.d_k, c.kappa, null, c.seed)
        return Anchored(self.lm, state, router, calm, fit)
