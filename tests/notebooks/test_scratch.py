"""The methods from scratch do what the library does: the same facts, settings, contexts and C."""

from __future__ import annotations

import ast
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import lib
from lib import associative_memory as memory
from lib.editors.grace.codebook import Codebook
from lib.editors.lemoe.clusters import cluster_facts
from lib.editors.wise import merging
from lib.evaluation import superposition
from lib.keys_values import value_search
from lib.keys_values.second_moment import second_moment
from lib.keys_values.value_search import Search
from lib.model.generation import stop_ids
from notebooks.scratch import (
    alphaedit,
    common,
    grace,
    interference,
    lemoe,
    malmen,
    memit,
    mend,
    rome,
    ultraedit,
    wilke,
    wise,
)
from notebooks.scratch.common import Fact
from tests.support import editor_settings, tiny

from ..support.usual import few, sample

FOLDER = Path(rome.__file__).parent
METHODS = "interference rome memit alphaedit wilke mend malmen ultraedit grace wise lemoe".split()
CONTEXTS = ("{}", "So. {}", "Then I saw. {}")
CALM = ("A cat sat on the mat", "Seven days", "what is it", "In the morning he ran")


@dataclass(frozen=True)
class World:
    """A model with the facts that both sides write into it, and settings that suit it.

    lm      the library's model, whose transformers model and tokenizer the files take
    facts   facts of the library
    layer   where one layer is edited
    search  settings of the search for a value
    """

    lm: Any
    facts: tuple[lib.Fact, ...]
    layer: int
    search: Search

    @property
    def given(self):
        return self.lm.model, self.lm.tokenizer

    @property
    def tokens(self) -> int:
        """As few as the library does not shrink."""
        return 10 * self.lm.weight(self.lm.mlp_out(0)).shape[1]

    @property
    def own(self) -> list[Fact]:
        return [plain(fact) for fact in self.facts]

    @property
    def searched(self) -> dict[str, float]:
        """The search's settings by the names that the files have."""
        s = self.search
        return {
            "steps": s.steps,
            "lr": s.v_lr,
            "clamp": s.clamp,
            "kl_weight": s.kl_factor,
            "decay": s.decay,
            "enough": s.enough,
        }

    def projection(self, layer: int):
        return self.lm.model.get_submodule(self.lm.mlp_out(layer))


def plain(fact: lib.Fact) -> Fact:
    return Fact(fact.subject, fact.prompt, fact.target_new)


@cache
def tiny_world() -> World:
    facts = (
        lib.Fact("The old tower", "I saw {}", "xy"),
        lib.Fact("The bridge", "Who built {} there", "abc"),
        lib.Fact("A red cat", "{} sat on", "qz"),
    )
    search = Search(v_lr=0.3, steps=12, decay=0.5, clamp=3.0, kl_factor=0.0625, enough=0.05)
    return World(tiny.model("llama"), facts, 1, search)


def default_world(lm) -> World:
    facts = (
        lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome"),
        lib.Fact("Akira Kurosawa", "{} grew up in the country of", "Brazil"),
    )
    return World(lm, facts, 3, Search(v_lr=0.25, steps=5, clamp=20.0))


def near(mine: torch.Tensor, theirs: torch.Tensor, relative: float) -> None:
    """The two differ by less than this share of the library's length."""
    assert mine.shape == theirs.shape
    away = ((mine - theirs.to(mine)).norm() / theirs.norm()).item()
    assert away < relative, f"they are {away:.1e} apart"


def dense(world: World, patch: lib.Patch, module: str) -> torch.Tensor:
    """The change of one module in a patch, (d_out, d_in)."""
    held = patch.weights[module]
    return held - world.lm.weight(module) if isinstance(held, torch.Tensor) else held.dense()


@pytest.mark.parametrize("method", few(METHODS, 2))
def test_it_does_what_the_library_does(method):
    """Each method's own comparison is the function `check_…` below."""
    globals()[f"check_{method}"](tiny_world())


@pytest.mark.slow
@pytest.mark.parametrize("method", sample(METHODS, 1))
def test_it_does_so_on_the_embedded_model(method, plain_lm):
    # in float32 the gradients of thirty layers are rounded, and the changes 3e-4 apart
    lm = in_double() if method in ("mend", "malmen", "ultraedit") else plain_lm
    globals()[f"check_{method}"](default_world(lm))


@cache
def in_double() -> lib.LM:
    return lib.load(dtype="float64", sink=None)


def check_interference(world):
    draw = torch.Generator().manual_seed(3)
    K, V = (torch.randn(d, 5, generator=draw, dtype=torch.float64) for d in (10, 6))
    W, X = (torch.randn(d, 10, generator=draw, dtype=torch.float64) for d in (6, 40))
    C = X.T @ X / 40
    many = torch.randn(10, 30, generator=draw, dtype=torch.float64)
    near(interference.fit(many, W @ many), memory.fit(many, W @ many), 1e-9)
    a, b = memory.insert(W, K[:, 0], V[:, 0], C)
    near(interference.insert(W, K[:, 0], V[:, 0], C), W + a @ b, 1e-9)
    a, b = memory.lifelong(W, K, V, C)
    near(interference.after_all(W, K, V, C), W + a @ b, 1e-9)
    rho = memory.interference(K, C)
    near(interference.interference(K, C), rho, 1e-9)
    cosine = interference.whitened_cosine(K, C)
    near(cosine * cosine, rho * rho.T, 1e-9)
    entries = rho[~torch.eye(5, dtype=torch.bool)]
    assert interference.kurtosis(rho).item() == pytest.approx(superposition.kurtosis(entries))
    orthonormal = torch.eye(10, dtype=torch.float64)[:, :5]
    near(interference.outer_products(orthonormal, V) @ orthonormal, V, 1e-12)
    # C of general text, on the model
    lm, layers = world.lm, [world.layer, world.layer + 1]
    mine = interference.second_moment(*world.given, layers, tokens=world.tokens)
    theirs = second_moment(lm, layers, tokens=world.tokens)
    for layer in layers:
        near(mine[layer], theirs[layer].C, 1e-5)


def check_rome(world):
    lm, layer, fact = world.lm, world.layer, world.facts[0]
    settings = {"layer": layer, "templates": CONTEXTS, "keys": "mean", "tokens": world.tokens}
    editor = lib.EDITORS["rome"](lm, **settings, **searched(world))
    found = value_search.search(lm, [fact], layer, CONTEXTS, world.search)[0]
    projection = world.projection(layer)
    v = rome.search_value(*world.given, plain(fact), projection, CONTEXTS, **world.searched)
    near(v, found.v_star, 1e-3)
    near(v - found.init, found.delta, 1e-3)
    K = rome.keys(*world.given, plain(fact), projection, CONTEXTS)
    near(K, found.keys, 1e-5)
    # given the value, the closed form
    C = editor.moment(layer).C
    W = projection.weight.double()
    change = interference.insert(W, K.mean(0).double(), found.v_star.double(), C) - W
    theirs = dense(world, editor.edit([fact]), lm.mlp_out(layer))
    near(change, theirs, 1e-5)
    near(rome.edit(*world.given, plain(fact), layer, C, CONTEXTS, **world.searched), theirs, 1e-3)


def check_memit(world):
    lm, facts, layers = world.lm, list(world.facts), (world.layer, world.layer + 1)
    settings = {
        "layers": layers,
        "templates": CONTEXTS,
        "strength": weight(world),
        "tokens": world.tokens,
    }
    editor = lib.EDITORS["memit"](lm, **settings, **searched(world))
    theirs = editor.edit(facts)
    # the values, searched behind the last block
    found = value_search.search(lm, facts, layers[-1], CONTEXTS, world.search, "block")
    Z = torch.stack([target.v_star for target in found], 1).double()
    given = *world.given, world.own, layers
    mine = memit.search_states(*world.given, world.own, layers[-1], CONTEXTS, **world.searched)
    near(mine, Z, 1e-3)
    # given the values, the loop over layers
    C = {layer: editor.moment(layer).C for layer in layers}
    changes = memit.spread(*given, Z, memit_solve(C, world), CONTEXTS)
    for layer in layers:
        near(changes[world.projection(layer)], dense(world, theirs, lm.mlp_out(layer)), 1e-5)
    changes = memit.edit(*given, C, weight(world), CONTEXTS, **world.searched)
    for layer in layers:
        near(changes[world.projection(layer)], dense(world, theirs, lm.mlp_out(layer)), 1e-3)


def check_alphaedit(world):
    lm, layers, L2 = world.lm, (world.layer, world.layer + 1), weight(world)
    settings = {
        "layers": layers,
        "templates": CONTEXTS,
        "L2": L2,
        "quantile": 0.8,
        "tokens": world.tokens,
    }
    editor = lib.EDITORS["alphaedit"](lm, **settings, **searched(world))
    first = editor.edit(world.facts[:1])
    second = editor.edit(world.facts[1:2], after=first)
    C = interference.second_moment(*world.given, layers, tokens=world.tokens)
    Q = {layer: alphaedit.null_space(C[layer], 0.8) for layer in layers}
    for layer in layers:
        theirs = editor.null_space(layer).Q
        near(Q[layer] @ Q[layer].T, theirs @ theirs.T, 1e-3)
        Q[layer] = theirs
    kept = {layer: torch.zeros(len(C[layer]), 0, dtype=torch.float64) for layer in layers}
    more = {"contexts": CONTEXTS, **world.searched}
    one, kept = alphaedit.edit(*world.given, world.own[:1], layers, Q, L2, kept, **more)
    with common.added(one):
        two, kept = alphaedit.edit(*world.given, world.own[1:2], layers, Q, L2, kept, **more)
    for layer in layers:
        module, name = world.projection(layer), lm.mlp_out(layer)
        near(one[module], dense(world, first, name), 1e-3)
        near(one[module] + two[module], dense(world, second, name), 1e-3)
        near(kept[layer], torch.cat(second.memory["alphaedit"]["keys"][str(layer)], 1), 1e-3)
    # the closed forms
    draw = torch.Generator().manual_seed(5)
    K, R, Kp = (torch.randn(d, n, generator=draw).double() for d, n in ((12, 3), (5, 3), (12, 4)))
    basis = torch.linalg.qr(torch.randn(12, 7, generator=draw).double()).Q
    near(
        alphaedit.insert_null(K, R, basis, 0.3, Kp), R @ memory.reach_null(K, basis, 0.3, Kp), 1e-9
    )
    C, W = Kp @ Kp.T + torch.eye(12), torch.zeros(5, 12, dtype=torch.float64)
    reach = memory.reach(K, C, 2.0, Kp)
    near(alphaedit.insert_kept(K, R, 2.0 * C + Kp @ Kp.T), R @ reach, 1e-9)
    batches = [(K[:, i : i + 1], R[:, i : i + 1]) for i in range(3)]
    near(alphaedit.fold(W, batches, C, 2.0), alphaedit.fold(W, [(K, R)], C, 2.0), 1e-9)


def check_wilke(world):
    lm, fact = world.lm, world.facts[0]
    layers = (0, 1, 2) if is_tiny(world) else (1, 3)
    settings = {"layers": layers, "templates": CONTEXTS, "keys": "mean", "tokens": world.tokens}
    editor = lib.EDITORS["wilke"](lm, **settings, **searched(world))
    theirs = editor.matches(fact)
    C = {layer: editor.moment(layer).C for layer in layers}
    changes, matches = wilke.edit(*world.given, plain(fact), C, CONTEXTS, **world.searched)
    for match in theirs:
        assert matches[match.layer].score == pytest.approx(match.score, rel=1e-3)
    best = min(theirs, key=lambda match: match.score)
    assert wilke.choose(matches) == best.layer
    a, b = best.update
    ((module, change),) = changes.items()
    assert module is world.projection(best.layer)
    near(change, a @ b, 1e-3)
    # the score is the size of the change
    size = (change.norm() / module.weight.norm()).item()
    assert matches[best.layer].score == pytest.approx(size, rel=1e-4)


def networks_of(world: World, name: str, **settings):
    """An editor with a trained network, and what `mend.read_networks` reads of its file."""
    if is_tiny(world):
        # the last layer too, where only the tokens that predict an answer have a gradient
        settings = {**editor_settings.quick(name), **settings, "down": (1, 3)}
        path = Path(editor_settings.NETWORKS.name) / f"{name}-{settings.get('keys')}.safetensors"
        editor = lib.EDITORS[name](world.lm, **settings)
        editor.fit(editor_settings.TRAINING, checkpoint=path, steps=6)
    else:
        # networks and settings are those of the model behind its token, which scratch leaves out
        preset = lib.EDITORS[name].Config.preset(lib.load(), name)
        [path] = mend.FILES.glob(f"{name}-*.safetensors")
        editor = lib.EDITORS[name](world.lm, **{**asdict(preset), "network": str(path)})
    return editor, mend.read_networks(path)


def check_mend(world):
    editor, networks = networks_of(world, "mend")
    patch = editor.edit(world.facts[:1])
    changes = mend.edit(*world.given, world.own[:1], networks)
    assert set(networks) == set(patch.weights)
    for name in networks:
        near(changes[world.lm.model.get_submodule(name)], dense(world, patch, name), 1e-4)


def check_malmen(world):
    published = {"order": "mend", "keys": "raw", "tokens": "answer", "reduction": "fact_mean"}
    ours = {"order": "mend", "keys": "network", "tokens": "all"}
    for settings in (published, ours) if is_tiny(world) else (ours,):
        raw = settings["keys"] == "raw"
        editor, networks = networks_of(world, "malmen", **settings)
        patch = editor.edit(world.facts)
        networks = with_seen(world, networks, everywhere=not raw)
        given = *world.given, world.own, networks
        changes = malmen.edit(*given, raw=raw, everywhere=not raw)
        for name in networks:
            near(changes[world.lm.model.get_submodule(name)], dense(world, patch, name), 1e-4)
    if is_tiny(world):
        check_two_phases(world, networks)


def with_seen(world: World, networks: dict, everywhere: bool) -> dict:
    """The networks with moments that have seen the facts, as the library's have when it edits."""
    modules = [world.lm.model.get_submodule(name) for name in networks]
    pairs = mend.keys_and_gradients(*world.given, world.own, modules, everywhere)
    seen, given = {}, networks.items()
    for (_, (_, _, keys, gradients)), module in zip(given, modules, strict=True):
        shape, (K, G) = module.weight.shape, mend.asking(*pairs[module])
        keys, gradients = seen.get(shape, (keys, gradients))
        seen[shape] = ultraedit.merge(keys, K), ultraedit.merge(gradients, G)
    return {
        name: (parameters, number, *seen[module.weight.shape])
        for (name, (parameters, number, *_)), module in zip(given, modules, strict=True)
    }


def check_two_phases(world: World, networks: dict) -> None:
    """Phase two gives the gradient that one graph through network and language model gives."""
    model, tokenizer = world.given
    reworded = Fact("the tower", "Look at {} now", "xy")
    found = malmen.pairs_of(model, tokenizer, world.own, networks)
    parameters = found[0][1]
    names = ("first", "second", "bias", "scale", "shift", "step", "log_ridge")
    leaves = [parameters[name].requires_grad_() for name in names]
    edited = {}
    for name, (module, *given) in zip(networks, found, strict=True):
        edited[f"{name}.weight"] = module.weight + malmen.change(*given).float()
    ids, labels = common.with_answers(
        [tokenizer(reworded.text).input_ids], [common.answer_ids(tokenizer, reworded.answer)]
    )
    logits = torch.func.functional_call(model, edited, (ids,)).logits
    whole = torch.autograd.grad(common.answer_loss(logits, labels).sum(), leaves)
    changes = {module: malmen.change(*given).detach().float() for module, *given in found}
    malmen.phase_two(found, malmen.phase_one(model, tokenizer, changes, [reworded]))
    for leaf, gradient in zip(leaves, whole, strict=True):
        near(leaf.grad, gradient, 1e-3)


def check_ultraedit(world):
    lm, layers = world.lm, (world.layer, world.layer + 1)
    settings = {
        "down": layers,
        "step": 0.1,
        "ridge": 0.5,
        "reduction": "fact_mean",
        "few": None,
        "repeat": 1,
        "strength": 0.0,
        "keep_keys": False,
        "warmup": "none",
    }
    editor = lib.EDITORS["ultraedit"](lm, **settings)
    modules = [world.projection(layer) for layer in layers]
    moments = tuple(ultraedit.empty(d) for d in modules[0].weight.shape[::-1])
    patch, total = lib.EMPTY, dict.fromkeys(modules, 0.0)
    for some in (slice(0, 2), slice(1, 3)):
        patch = editor.edit(world.facts[some], after=patch)
        with common.added(total):
            given = *world.given, world.own[some], modules, moments
            changes, moments = ultraedit.edit(*given, step=0.1, ridge=0.5)
        total = {module: total[module] + changes[module] for module in modules}
        for layer, module in zip(layers, modules, strict=True):
            near(total[module], dense(world, patch, lm.mlp_out(layer)), 1e-4)
    (kept,) = patch.memory["ultraedit"]["moments"].values()
    assert moments[0][0] == kept["keys"]["n"]
    near(moments[1][2], kept["grads"]["S"], 1e-4)
    # a token without a gradient asks for nothing
    K, G = (torch.randn(d, 4) for d in modules[0].weight.shape[::-1])
    silent = torch.cat([G, torch.zeros(len(G), 1)], 1)
    more = torch.cat([K, K[:, :1]], 1)
    given = *moments, 1e-3, 0.5
    near(ultraedit.turn(more, silent, *given), ultraedit.turn(K, G, *given), 1e-9)


def check_grace(world):
    lm, fact = world.lm, world.facts[0]
    layer = 3 if is_tiny(world) else 25
    module, name = world.projection(layer), lm.mlp_out(layer)
    other = lib.Fact(fact.subject, fact.prompt, world.facts[1].target_new)
    near_by = lib.Fact("The new tower", fact.prompt, world.facts[1].target_new)
    again = lib.Fact(fact.subject, "Look, " + fact.prompt, fact.target_new)
    away = [grace.key_and_output(*at(world, module, f))[0] for f in (fact, near_by, again)]
    radius = 0.7 * max((key - away[0]).norm().item() for key in away[1:])
    editor = lib.EDITORS["grace"](lm, layer=layer, eps_init=radius, n_iter=12)
    book, patch, kinds = grace.Codebook(), lib.EMPTY, []
    for given in (fact, again, near_by, world.facts[1], other):
        patch = editor.edit([given], after=patch)
        kinds.append(grace.edit(*world.given, plain(given), module, book, radius, steps=12)[0])
        route = patch.routes[name]
        near(torch.stack(book.keys, 1), route.K, 1e-5)
        torch.testing.assert_close(torch.tensor(book.radii), route.eps, rtol=1e-3, atol=1e-4)
        near(torch.stack(book.values, 1), route.V, 1e-3)
    assert {"add", "split", "replace"} <= set(kinds) and len(set(kinds)) == 4
    same_answers(world, patch, lambda ids: grace.answering(lm.model, module, book, ids))
    # the rule alone, on a hundred keys in a plane
    draw, theirs, mine = torch.Generator().manual_seed(2), Codebook.empty(2, 1), grace.Codebook()
    events = []
    for number, key in enumerate(4 * torch.rand(100, 2, generator=draw)):
        label = number % 2
        given = key[None], [(label,)], torch.zeros(1, 1), [number]
        events += theirs.write(*given, eps_init=0.5)
        assert grace.place(mine, key, torch.zeros(1), label, 0.5)[0] in (events[-1].kind, "expand")
    assert {"add", "expand", "split"} <= {event.kind for event in events}
    torch.testing.assert_close(torch.tensor(mine.radii), theirs.eps, rtol=1e-6, atol=8e-6)


def check_wise(world):
    lm = world.lm
    layer, lr, beta = (3, 0.3, 4.0) if is_tiny(world) else (25, 5.0, 20.0)
    module, margins = world.projection(layer), (0.25 * beta, beta, 0.5 * beta)
    alpha, beta, gamma = margins
    settings = {
        "layer": layer,
        "lr": lr,
        "n_iter": 6,
        "templates": CONTEXTS,
        "irrelevant": CALM,
        "units": "absolute",
        "alpha": alpha,
        "beta": beta,
        "gamma": gamma,
        "save_freq": 1,
        "merge_freq": 2,
        "retrieve": True,
        "remeasure": False,
        "mask_ratio": 0.4,
        "margin_weight": 1.0,
        "whiten": None,
        "calibrate": None,
        "track": False,
        "rehearse": 0,
        "target_eos": False,
        "irrelevant_n": 1,
        "act_ratio": 0.88,
        "density": 0.5,
    }
    calm = [read_inputs(world, module, text) for text in CALM]
    more = {"lr": lr, "steps": 6, "share": 0.4, "per_shard": 1, "shards": 2, "density": 0.5}
    side, patch = wise.Side(), lib.EMPTY
    for fact in (*world.facts, world.facts[0])[:3]:  # the first two are merged, the third is open
        patch = lib.EDITORS["wise"](lm, **settings).edit([fact], after=patch)
        wise.edit(*world.given, [plain(fact)], module, side, calm, margins, CONTEXTS, **more)
    route = patch.routes[lm.mlp_out(layer)]
    assert len(side.memories) == len(route.memories) == 2
    room = 1e-3 if is_tiny(world) else 2e-2  # steps along margins of which some switch off
    for (tau, eps), memory_ in zip(side.memories, route.memories, strict=True):
        near(tau, memory_.tau, room)
        assert eps == pytest.approx(memory_.eps, rel=room)
    # the same memory, or none, for every prompt
    for text in (*(fact.text for fact in world.facts), *CALM):
        a = read_inputs(world, module, text)
        moved = [wise.difference(tau, a).item() for tau, _ in side.memories]
        theirs = route.choose(torch.tensor([moved])).item()
        mine = wise.choose(moved, [0.88 * eps for _, eps in side.memories])
        assert (-1 if mine is None else mine) == theirs
    same_answers(world, patch, lambda ids: wise.answering(lm.model, module, side, ids))
    # the parts by themselves
    draw = torch.Generator().manual_seed(7)
    taus = [torch.randn(4, 6, generator=draw) for _ in range(3)]
    near(wise.ties(taus, 0.5), merging.ties(taus, density=0.5), 1e-5)
    by_hand = [[4, -1, 0.5, 2], [-2, -3, 1, 0.2], [3, 2, -0.1, -5]]
    merged = wise.ties([torch.tensor([row]) for row in by_hand], 0.5)
    assert merged.tolist() == [[3.5, -3.0, 0.0, -5.0]]
    edits, others = torch.tensor([4.0, 30.0]), torch.tensor([7.0])
    assert wise.margin_loss(edits, others, 5, 20, 10).item() == 2 + 16 + 13
    assert wise.choose([18, 12], [20, 5]) == 1 and wise.choose([30, 25], [20, 5]) == 0
    assert wise.choose([3, 4], [20, 5]) is None


def check_lemoe(world):
    lm, layer = world.lm, 1 if is_tiny(world) else 20
    mlp = lm.model.get_submodule(f"model.layers.{layer}.mlp")
    settings = {
        "layer": layer,
        "lr": 1e-2 if is_tiny(world) else 3e-3,
        "steps": 5,
        "width": 32,
        "batch_size": 1,
        "templates": CONTEXTS[:2],
        "irrelevant": CALM,
    }
    editor = lib.EDITORS["lemoe"](lm, preset="ours", **settings)
    first = editor.edit(world.facts[:2])
    patch = editor.edit(world.facts[-1:], after=first)
    state, route = patch.memory["lemoe"], next(iter(patch.routes.values()))
    mix = lemoe.Mixture(state["mu"], state["sigma"], width=32)
    calm = (lemoe.embedded(*world.given, CALM) - mix.center) / mix.scale
    more = {"contexts": CONTEXTS[:2], "batch": 1, "lr": settings["lr"], "steps": 5}
    for some in (world.own[:2], world.own[-1:]):
        lemoe.edit(*world.given, some, mlp, mix, calm, **more)
    assert torch.equal(mix.owner, state["owner"]) and len(mix.experts) == len(route.experts)
    near(mix.stored, state["e"], 1e-5)
    near(mix.anchors, route.router.keys, 1e-3)
    assert mix.null.item() == pytest.approx(route.router.bias.item(), rel=1e-3)
    for mine, theirs in zip(mix.experts, route.experts, strict=True):
        for matrix, name in zip(mine, ("gate", "up", "down"), strict=True):
            near(matrix, theirs[name], 2e-2)  # Adam's first steps have the size of the rate
    e = torch.cat([mix.stored, calm])
    assert torch.equal(lemoe.route(mix, e), route.router.choose(e))
    answer = lambda ids: lemoe.answering(*world.given, mlp, mix, ids)  # noqa: E731
    same_answers(world, patch, answer)
    # the order of facts
    points = torch.randn(11, 3, generator=torch.Generator().manual_seed(1))
    for some in (points, torch.tensor([[0.0], [10.0], [0.1], [10.1]])):
        assert lemoe.plan(some, 2) == cluster_facts(some, 2)
    assert lemoe.plan(points, 20) == [list(range(11))]


def read_inputs(world: World, module, text: str) -> torch.Tensor:
    ids = torch.tensor([world.lm.tokenizer(text).input_ids])
    [(inputs, _)] = common.watch(world.lm.model, ids, module)
    return inputs[0]


def at(world: World, module, fact: lib.Fact):
    return world.lm.model, module, world.lm.tokenizer(fact.text).input_ids


def same_answers(world: World, patch: lib.Patch, edited) -> None:
    """Facts and other prompts are answered alike by the patch and by the file's own route."""
    texts = [*(fact.text for fact in world.facts), "A cat sat on the mat", "Seven days"]
    said, mine = [], []
    for text in texts:
        with world.lm.patched(patch):
            said.append(world.lm.generate(text, 4))
        ids = world.lm.tokenizer(text).input_ids
        with edited(ids):
            written = common.write_on(world.lm.model, ids, 4)[0]
        ends = [i for i, word in enumerate(written) if word in stop_ids(world.lm)]
        written = written[: ends[0]] if ends else written
        mine.append(world.lm.tokenizer.decode(written, skip_special_tokens=True))
    assert mine == said


def weight(world: World) -> float:
    """How much general text counts."""
    return 5.0 if is_tiny(world) else 500.0


def is_tiny(world: World) -> bool:
    return world.lm.name.startswith("tiny")


def memit_solve(C: dict, world: World):
    return lambda layer, K, R: memit.insert_many(K, R, C[layer], weight(world))


def searched(world: World) -> dict[str, Any]:
    """The search's settings by the library's names."""
    s = world.search
    return {
        "v_lr": s.v_lr,
        "steps": s.steps,
        "decay": s.decay,
        "clamp": s.clamp,
        "kl_factor": s.kl_factor,
    }


# ---- the files themselves ------------------------------------------------------------------------


def files() -> list[Path]:
    return sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_nothing_but_torch_and_transformers_is_imported(path):
    """Above all not the library: a file must stand by itself."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, f"{path.name} imports from outside its folder"
    # safetensors comes with transformers; it reads the file of a trained network
    assert found <= {"torch", "transformers", "safetensors"} | sys.stdlib_module_names
