"""GRACE: decisions that no cache, padding or batch changes; values; composition; parity."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path

import pytest
import torch

import lib
from lib.data.facts import encode_target
from lib.editors.grace.codebook import Codebook
from lib.editors.grace.deferral import Deferral
from lib.editors.shared.value_search import Place, ValueSearch, descend
from lib.model import activations, batching, generation, scoring
from lib.model.answer_rows import AnswerRows

from ..support import tiny

A = lib.Fact("The old tower", "I saw {}", "xy")
B = lib.Fact("The old tower", "Who built {}", "qz")
LONG = lib.Fact("a cat", "In the long grey evening he gave milk to {}", "qz")
ELSEWHERE = ["A cat sat on the mat", "Seven days", "x"]
# the final norm of a random model bounds what it can be sure of, so little is enough
TINY = {"layer": 1, "eps_init": 0.05, "n_iter": 120, "enough": 2.0}
NAME = "model.layers.1.mlp.down_proj"
FAMILIES = ("gpt2", "opt", "llama", "gemma3_text")
families = pytest.mark.parametrize("family", FAMILIES)


@cache
def edited(family: str = "llama") -> tuple[lib.LM, lib.Editor, lib.Patch]:
    lm = tiny.model(family)
    editor = lib.EDITORS["grace"](lm, **TINY)
    return lm, editor, editor.edit([A, B, LONG])


def logits(lm: lib.LM, *texts: str) -> list[torch.Tensor]:
    return list(lm.run(list(texts)).logits[:, -1])


# ---- decisions ---------------------------------------------------------------------------------


@families
def test_every_sequence_gets_the_decision_that_it_gets_alone(family):
    lm, _, patch = edited(family)
    texts = [ELSEWHERE[0], A.text, ELSEWHERE[2], LONG.text, B.text, ELSEWHERE[1]]
    base = lm.answer(texts, 20)
    wanted = [-1, 0, -1, 2, 1, -1]
    with lm.patched(patch):
        rows, _ = lm.rows(texts)
        name = lm.mlp_out(1)
        together = generation.generate(lm, rows, 20)
        assert together.choices[name].tolist() == wanted
        assert together.ids == generation.generate(lm, rows, 20, cache=False).ids
        alone = [generation.generate(lm, [row], 20) for row in rows]
        assert together.ids == [one.ids[0] for one in alone]
        assert [one.choices[name].item() for one in alone] == wanted
        sampled = generation.generate(lm, rows, 20, temperature=1.0, seed=3)
        assert sampled.choices[name].tolist() == wanted
        answers = lm.texts(rows, together.ids)
    for text, was, choice in zip(answers, base, wanted, strict=True):
        assert (text == was) == (choice < 0)
    assert [answers[i][:3] for i in (1, 3, 4)] == [" xy", " qz", " qz"]


@families
def test_out_of_scope_is_bit_equal_beside_rows_in_scope_too(family):
    lm, _, patch = edited(family)
    texts = [*ELSEWHERE, A.text]
    plain, alone = logits(lm, *texts), [logits(lm, text)[0] for text in ELSEWHERE]
    with lm.patched(patch):
        beside = logits(lm, *texts)
        assert all(map(torch.equal, [logits(lm, text)[0] for text in ELSEWHERE], alone))
    assert all(torch.equal(x, y) for x, y in zip(beside[:-1], plain, strict=False))
    assert not torch.equal(beside[-1], plain[-1])


def test_a_route_that_nobody_falls_into_returns_the_very_tensor():
    lm, _, patch = edited()
    route, output = patch.routes[NAME], torch.randn(2, 5, 32)
    seqs = batching.sequences(lm, lm.rows(["abcde", "abc"])[0])
    choice = torch.tensor([-1, -1])
    assert route.apply(torch.randn(2, 5, 48), output, choice, seqs) is output
    seqs.step(torch.zeros(2, 1, dtype=torch.long))  # behind the prompt "last" has nothing to do
    assert route.apply(None, output[:, :1], torch.tensor([0, 1]), seqs).data_ptr() == (
        output.data_ptr()
    )


def test_the_answer_does_not_change_the_decision(monkeypatch):
    lm, _, patch = edited()
    seen = []
    decide = Deferral.decide

    def watched(self, inputs, output, seqs):
        seen.append(decide(self, inputs, output, seqs).tolist())
        return torch.tensor(seen[-1])

    monkeypatch.setattr(Deferral, "decide", watched)
    with lm.patched(patch):
        for target in ("xy", "x", "a long answer of many tokens"):
            lm.score(A.text, target)
            lm.score(ELSEWHERE[0], target)
        lm.answer(A.text, 1)
    assert seen == [[0], [-1]] * 3 + [[0]]


def test_explain_says_which_entry_with_its_distance_and_radius():
    lm, _, patch = edited()
    with lm.patched(patch):
        _, notes = lm.answer([A.text, ELSEWHERE[0], B.text], 2, explain=True)
        _, single = lm.answer(B.text, 2, explain=True)
    assert [note["entry"] for (note,) in notes] == [0, -1, 1]
    for (note,) in notes:
        assert note["module"] == NAME and note["threshold"] == pytest.approx(0.05)
        assert (note["score"] <= note["threshold"]) == (note["entry"] >= 0)
    assert single[0]["entry"] == 1 and set(single[0]) == set(notes[0][0])


def test_the_model_itself_is_refused_and_so_is_its_beam_search():
    lm, _, patch = edited()
    ids = torch.tensor([lm.tokenizer(A.text).input_ids])
    with lm.patched(patch):
        for call in (
            lambda: lm.model(ids),
            lambda: lm.model.generate(ids, max_new_tokens=3, num_beams=2, do_sample=False),
        ):
            with pytest.raises(RuntimeError, match="lm.answer, lm.generate, lm.score or lm.run"):
                call()
    lm.model(ids)


def test_a_prompt_whose_end_is_not_in_the_call_is_refused():
    _, _, patch = edited()
    seqs = lib.Sequences(*(torch.ones(1, 3, dtype=torch.bool),) * 3, torch.tensor([5]))
    with pytest.raises(RuntimeError, match="must be run whole"):
        patch.routes[NAME].decide(torch.ones(1, 3, 48), torch.ones(1, 3, 32), seqs)


# ---- values ------------------------------------------------------------------------------------


@families
@pytest.mark.parametrize("replacement", ["last", "prompt", "all"])
def test_values_are_trained_at_the_positions_where_they_answer(family, replacement):
    lm = tiny.model(family)
    editor = lib.EDITORS["grace"](lm, **{**TINY, "replacement": replacement})
    facts = [A, lib.Fact("a cat", "Who fed {}", "qz")]
    patch = editor.edit(facts)
    with lm.patched(patch):
        rows, _ = lm.rows([*ELSEWHERE, *(fact.text for fact in facts)])
        done = generation.generate(lm, rows, 4)
        assert done.ids == generation.generate(lm, rows, 4, cache=False).ids
        assert lm.texts(rows, done.ids)[3][:3] == " xy"
        assert lm.texts(rows, done.ids)[4][:3] == " qz"
        for fact in facts:  # the loss that training ended with is what the model now has
            assert -lm.score(fact.text, fact.target_new).mean() < TINY["enough"]


@pytest.mark.parametrize("family, module", [
    ("gpt2", "transformer.h.{}.mlp.c_fc"), ("llama", "model.layers.{}.mlp.gate_proj"),
    ("opt", "model.decoder.layers.{}.fc1")])  # fmt: skip
def test_another_module_of_the_layer(family, module):
    lm = tiny.model(family)
    patch = lib.EDITORS["grace"](lm, **TINY, module=module).edit([A])
    assert list(patch.routes) == [module.format(1)]
    plain = lm.answer(ELSEWHERE, 5)
    with lm.patched(patch):
        assert lm.answer(A.text, 1) == " xy" and lm.answer(ELSEWHERE, 5) == plain


def test_the_first_loss_is_that_of_the_routed_model():
    """The shortcut (residual plus difference, from the prompt's end on) against the whole model."""
    for family in FAMILIES:
        lm = tiny.model(family)
        (prompt,), target = lm.rows([LONG.text])[0], [5, 6, 7]
        name = lm.mlp_out(1)
        width = lm.weight(name).shape[0]
        start = torch.randn(width, 1, generator=torch.Generator().manual_seed(0))
        key = activations.module_inputs_at(lm, [prompt], [len(prompt) - 1], [name])[name]
        for replacement in ("last", "prompt", "all"):
            route = Deferral(name, key.T, start, torch.ones(1), replacement)
            with lm.patched(lib.Patch(routes={name: route})):
                (score,) = scoring.score(lm, [prompt], [target])
            rows, ones = AnswerRows([prompt] * 2, [target] * 2), torch.ones(1)
            place = Place(name, 1, replacement)
            found = descend(lm, place, rows, [0, 0], start, ones, ValueSearch(n_iter=1))
            assert found.losses[0][0] == pytest.approx(-2 * score.log_probs.mean().item(), rel=1e-4)
            torch.testing.assert_close(found.keys, key.expand(2, -1), atol=1e-4, rtol=1e-4)


def test_facts_in_one_call_are_trained_as_one_by_one():
    lm, editor, patch = edited()
    one = lib.EMPTY
    for fact in (A, B, LONG):
        one = editor.edit([fact], after=one)
    for name, together in patch.routes[NAME].tensors().items():
        torch.testing.assert_close(one.routes[NAME].tensors()[name], together, atol=1e-3, rtol=1e-3)
    # an entry that a later edit does not touch keeps its value to the last bit
    two = editor.edit([LONG], after=editor.edit([A]))
    assert torch.equal(two.routes[NAME].V[:, 0], editor.edit([A]).routes[NAME].V[:, 0])


def test_facts_that_share_an_entry_train_it_together():
    lm = tiny.model("llama")
    editor = lib.EDITORS["grace"](lm, **{**TINY, "eps_init": 6.0})
    same = lib.Fact(B.subject, B.prompt, A.target_new)
    patch = editor.edit([A, same])
    route = patch.routes[NAME]
    assert route.K.shape[1] == 1 and patch.memory["grace"][NAME]["facts"].tolist() == [0, 1]
    with lm.patched(patch):
        assert lm.answer([A.text, same.text], 1) == [" xy", " xy"]


def test_the_newest_of_two_answers_to_one_prompt_wins():
    lm, editor, _ = edited()
    other = lib.Fact(A.subject, A.prompt, "qz")
    for patch in (editor.edit([A, other]), editor.edit([other], after=editor.edit([A, LONG]))):
        with lm.patched(patch):
            assert lm.answer(A.text, 1) == " qz"
        assert (patch.routes[NAME].eps == TINY["eps_init"]).all()
    twice = editor.edit([A, A])
    assert twice.routes[NAME].K.shape[1] == 1
    with pytest.warns(lib.EditWarning, match="1 of 2 facts fell to another entry"):
        editor.edit([A, other])


def test_random_starts_belong_to_their_fact():
    lm, _, _ = edited()
    still = {**TINY, "n_iter": 0, "value_init": "cold"}
    editor = lib.EDITORS["grace"](lm, **still)
    whole, half = editor.edit([A, B]), editor.edit([B], after=editor.edit([A]))
    assert torch.equal(whole.routes[NAME].V, half.routes[NAME].V)
    V = whole.routes[NAME].V
    assert 0 <= V.min() and V.max() < 1 and not torch.equal(V[:, 0], V[:, 1])
    other = lib.EDITORS["grace"](lm, **still, seed=7).edit([A])
    assert not torch.equal(other.routes[NAME].V[:, 0], V[:, 0])


def test_leaving_the_numbers_is_one_sentence_and_changes_nothing(monkeypatch):
    lm, editor, patch = edited()
    head = lm.head
    monkeypatch.setattr(lm, "head", lambda hidden: head(hidden) * torch.nan)
    with pytest.raises(lib.TargetError, match="left the finite numbers"):
        editor.edit([A], after=patch)
    assert all(p.grad is None and not p.requires_grad for p in lm.model.parameters())
    assert not lm.model.get_submodule(NAME)._forward_hooks


def test_radii_under_the_noise_are_said():
    lm, _, _ = edited()
    with pytest.warns(lib.EditWarning, match="1 of 1 entries have a radius under four times"):
        patch = lib.EDITORS["grace"](lm, **{**TINY, "eps_init": 1e-9}).edit([LONG])
    assert 0 < patch.memory["grace"][NAME]["noise"] < 1e-4


# ---- patches -----------------------------------------------------------------------------------


def test_a_file_goes_on_with_labels_and_facts(tmp_path):
    lm, editor, patch = edited()
    again = lib.Patch.load(patch.save(tmp_path / "p.safetensors"))
    more = [lib.Fact(None, "Seven days", "qz"), A]
    one, two = editor.edit(more, after=again), editor.edit(more, after=patch)
    assert all(
        torch.equal(one.routes[NAME].tensors()[name], part)
        for name, part in two.routes[NAME].tensors().items()
    )
    state = one.memory["grace"][NAME]
    assert state["facts_seen"] == 5 and state["facts_sizes"].tolist() == [2, 1, 1, 1]
    assert state.keys() == two.memory["grace"][NAME].keys()
    assert patch.routes[NAME].K.shape[1] == 3  # `after` is as it was


def test_a_damaged_codebook_is_one_sentence(tmp_path):
    lm, _, patch = edited()
    route = patch.routes[NAME]
    for bad in (
        Deferral(NAME, route.K, route.V[:, :2], route.eps),
        Deferral(NAME, route.K * torch.nan, route.V, route.eps),
    ):
        path = lib.Patch(routes={NAME: bad}).save(tmp_path / "p.safetensors")
        with pytest.raises(lib.PatchError, match="damaged: the grace route at"):
            lib.Patch.load(path)


def test_without_an_edit_the_radii_that_it_shrank_come_back():
    lm = tiny.model("llama")
    editor = lib.EDITORS["grace"](lm, **{**TINY, "eps_init": 6.0})
    patch = editor.edit([LONG], after=editor.edit([B], after=editor.edit([A])))
    assert patch.routes[NAME].eps[0] < 6.0  # B stands near A and split it
    rest, direct = patch.without(1, lm), editor.edit([LONG], after=editor.edit([A]))
    assert rest.facts == (A, LONG)
    assert all(
        torch.equal(part, direct.routes[NAME].tensors()[name])
        for name, part in rest.routes[NAME].tensors().items()
    )


def test_with_a_weight_patch_in_either_order():
    lm, editor, patch = edited()
    plain = lm.answer(A.text, 1)
    tune = lib.EDITORS["ft"](lm, layer=2, lr=0.02, epochs=60)
    fact = lib.Fact(None, "Seven days", "xy")
    over, under = editor.edit([A], after=tune.edit([fact])), tune.edit([fact], after=patch)
    for both in (over, under):
        assert both.weights.keys() == {lm.mlp_out(2)} and both.routes.keys() == {NAME}
        with lm.patched(both):
            assert lm.answer([A.text, fact.text], 1) == [" xy", " xy"]
    # joined or entered one inside the other; the codebook lies below, so its decisions stay
    joined = patch | tune.edit([fact])
    with lm.patched(joined):
        inside_both = logits(lm, A.text)[0]
        assert lm.answer(fact.text, 1) == " xy"
    with lm.patched(tune.edit([fact])), lm.patched(patch):
        assert torch.equal(logits(lm, A.text)[0], inside_both)
    assert lm.answer(A.text, 1) == plain


def test_the_same_module_is_refused():
    lm, editor, patch = edited()
    tune = lib.EDITORS["ft"](lm, layer=1, lr=0.02, epochs=3)
    weights = tune.edit([A])
    with pytest.raises(lib.EditError, match="another editor changed"):
        editor.edit([A], after=weights)
    with pytest.raises(lib.PatchError, match="changed weights and a route at once"):
        tune.edit([lib.Fact(None, "Seven days", "xy")], after=patch)
    with pytest.raises(lib.PatchError, match="both patches change"):
        patch | weights
    with pytest.raises(lib.EditError, match="replaces 'last', not 'all'"):
        lib.EDITORS["grace"](lm, **TINY, replacement="all").edit([A], after=patch)
    with pytest.raises(lib.EditError, match="no linear module of layer 1"):
        lib.EDITORS["grace"](lm, **TINY, module="model.layers.{}.mlp").edit([A])
    with pytest.raises(lib.EditError, match="no linear module of layer 1"):
        lib.EDITORS["grace"](lm, **TINY, module="model.layers.2.mlp.up_proj").edit([A])

    class Other(Deferral):
        kind = "another-for-tests"

    other = lib.Patch(routes={NAME: Other(NAME, *(patch.routes[NAME].tensors().values()))})
    with pytest.raises(lib.EditError, match="another editor changed"):
        editor.edit([A], after=other)


def test_two_codebooks_on_two_layers():
    lm, _, patch = edited()
    second = lib.EDITORS["grace"](lm, **{**TINY, "layer": 2})
    both = second.edit([lib.Fact(None, "Seven days", "qz")], after=patch)
    assert len(both.routes) == 2 and len(both.memory["grace"]) == 2
    with lm.patched(both):
        assert lm.answer([A.text, "Seven days"], 1) == [" xy", " qz"]
        _, notes = lm.answer("Seven days", 1, explain=True)
        assert sorted(note["entry"] for note in notes) == [-1, 0]


# ---- the embedded model ------------------------------------------------------------------------

REFERENCE = Path(__file__).parents[1] / "reference"
GOLD = json.loads(
    (Path(__file__).parents[1] / "reference" / "grace.json").read_text(encoding="utf-8")
)
DOWN = f"model.layers.{GOLD['settings']['layer']}.mlp.down_proj"
DIFFERS = 9  # the same answer after a prompt of another length: theirs splits, ours expands
KINDS = {"new": "add", "split": "split", "expand": "expand"}


@pytest.fixture(scope="module")
def gold(default_lm):
    """Keys (12, d_in) of the reference edits in one batch, their prompts and labels."""
    edits = GOLD["edits"]
    prompts, _ = default_lm.rows([edit["prompt"] for edit in edits])
    labels = [tuple(encode_target(default_lm.tokenizer, edit["target"])) for edit in edits]
    assert labels == [tuple(edit["label_ids"]) for edit in edits]
    keys = activations.module_inputs_at(default_lm, prompts, [len(p) - 1 for p in prompts], [DOWN])[
        DOWN
    ]
    return prompts, labels, keys.float()


def test_parity_of_keys_distances_events_and_radii(gold):
    _, labels, keys = gold
    book = Codebook.empty(keys.shape[1], 1)
    ours: dict[int, int] = {}  # entry by the edit that made it
    theirs: dict[int, int] = {}
    for i, edit in enumerate(GOLD["edits"]):
        assert keys[i].norm().item() == pytest.approx(edit["key_norm"], rel=1e-4)
        assert keys[i, :4].tolist() == pytest.approx(edit["key_head"], abs=1e-4)
        (event,) = book.write(
            keys[i : i + 1], [labels[i]], torch.zeros(1, 1), [i],
            eps_init=GOLD["settings"]["eps"], strict=False,
        )  # fmt: skip
        if event.kind in ("add", "split"):
            ours[i] = event.entry
        if edit["event"] != "expand":
            theirs[i] = len(theirs)
        if i:
            assert event.distance == pytest.approx(edit["nearest_distance"], rel=1e-4)
            near = next(made for made, entry in theirs.items() if entry == edit["nearest_entry"])
            assert event.nearest == ours[near]
        if i == DIFFERS:
            assert (edit["event"], event.kind) == ("split", "expand")
        else:
            assert event.kind == KINDS[edit["event"]]
            if i:
                now = book.eps[event.nearest].item()
                assert now == pytest.approx(edit["nearest_eps_after"], rel=1e-4)
    for made, eps in zip(GOLD["from_edit"], GOLD["eps"], strict=True):
        if made not in (DIFFERS, 2):  # 2 is the entry that edit 9 meets
            assert book.eps[ours[made]].item() == pytest.approx(eps, rel=1e-4)


def test_parity_of_the_first_losses(default_lm, gold):
    prompts, labels, keys = gold
    torch.manual_seed(GOLD["settings"]["seed"])
    draws = [torch.rand(1, 576)[0] for _ in range(GOLD["edits"][-1]["draw"] + 1)]
    new = [i for i, edit in enumerate(GOLD["edits"]) if edit["event"] != "expand"]
    rows = AnswerRows([prompts[i] for i in new], [list(labels[i]) for i in new])
    start = torch.stack([draws[GOLD["edits"][i]["draw"]] for i in new], 1)
    place = Place(DOWN, GOLD["settings"]["layer"])
    scale, settings = torch.ones(len(new)), ValueSearch(GOLD["settings"]["lr"], 1, 0.0)
    found = descend(default_lm, place, rows, range(len(new)), start, scale, settings)
    first = [curve[0] for curve in found.losses]
    assert first == pytest.approx([GOLD["edits"][i]["loss_first"] for i in new], rel=1e-4)
    # one step of Adam moves every number by the rate
    assert (found.values - start).abs().median().item() == pytest.approx(1.0, abs=1e-3)


def test_the_published_settings_write_the_reference_codebook(default_lm, gold):
    _, _, keys = gold
    facts = [lib.Fact(None, edit["prompt"], edit["target"]) for edit in GOLD["edits"]]
    editor = lib.EDITORS["grace"](
        default_lm, layer=25, eps_init=3.0, lr=1.0, value_init="cold", strict=False, n_iter=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lib.EditWarning)
        route = editor.edit(facts).routes[DOWN]
    made = [i for i in GOLD["from_edit"] if i != DIFFERS]
    torch.testing.assert_close(route.K, keys[made].T, atol=1e-3, rtol=1e-4)
    eps = {made: eps for made, eps in zip(GOLD["from_edit"], GOLD["eps"], strict=True)}
    eps[2] = GOLD["edits"][DIFFERS]["nearest_distance"]  # edit 9 expands it
    assert route.eps.tolist() == pytest.approx([eps[i] for i in made], rel=1e-4)


def test_the_embedded_model_answers_inside_its_radii_only(default_lm, gold):
    lm, (prompts, _, keys) = default_lm, gold
    alone = torch.cat(
        [activations.module_inputs_at(lm, [p], [len(p) - 1], [DOWN])[DOWN] for p in prompts]
    )
    noise = (alone - keys).norm(dim=1).max().item()
    assert noise < 1e-3  # of keys of norm 11 to 16
    facts = [lib.Fact(None, edit["prompt"], edit["target"]) for edit in GOLD["edits"][:4]]
    patch = lib.EDITORS["grace"](lm, layer=25, eps_init=3.0).edit(facts)
    book = patch.routes[DOWN]
    assert (book.eps > 4 * noise).all()
    elsewhere = "The capital of Japan is"
    plain = logits(lm, elsewhere)[0]
    with lm.patched(patch):
        answers, notes = lm.answer([*(f.text for f in facts), elsewhere], 6, explain=True)
        assert torch.equal(logits(lm, elsewhere)[0], plain)
        for i, fact in enumerate(facts):
            assert answers[i].startswith(" " + fact.target_new)
            assert notes[i][0]["entry"] == i and notes[i][0]["score"] < max(4 * noise, 1e-3)
    assert notes[-1][0]["entry"] == -1 and notes[-1][0]["score"] > 3.0
