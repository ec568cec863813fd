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
from lib.editors.grace.route import Deferral
from lib.editors.shared.entry_values import EntrySearch, EntrySite, descend
from lib.editors.shared.shared_settings import EntryTraining
from lib.errors import EditWarning
from lib.model import activations, generation, scoring
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


# ---- decisions ---------------------------------------------------------------------------------


def test_a_prompt_whose_end_is_not_in_the_call_is_refused():
    _, _, patch = edited()
    seqs = lib.model.sequences.Sequences(
        *(torch.ones(1, 3, dtype=torch.bool),) * 3, torch.tensor([5])
    )
    with pytest.raises(RuntimeError, match="Run the prompt as a whole"):
        patch.routes[NAME].decide(torch.ones(1, 3, 48), torch.ones(1, 3, 32), seqs)


def test_in_a_model_of_zeros_all_prompts_have_one_key():
    lm = tiny.model("llama")
    with torch.no_grad():
        for weight in lm.model.parameters():
            weight.zero_()
    editor = lib.EDITORS["grace"](lm, layer=1, n_iter=2)
    route = editor.edit([A]).routes[NAME]
    assert route.eps.tolist() == [1.0] and route.V.isfinite().all()
    with pytest.warns(EditWarning, match="the model does not give . of 2 new answers"):
        editor.edit([A, B])


# ---- values ------------------------------------------------------------------------------------


@pytest.mark.slow
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
            place = EntrySite(name, 1, replacement)
            given = rows, [0, 0], start, ones, EntryTraining(n_iter=1)
            _, (((loss,),),) = EntrySearch(lm, place, *given).run(0.5, looks=1, moves=0)
            assert loss == pytest.approx(-2 * score.log_probs.mean().item(), rel=1e-4)
            found = descend(lm, place, *given)
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
    with pytest.warns(
        lib.errors.EditWarning, match="contradict each other: .* is 'xy' in row 0 and 'qz'"
    ):
        editor.edit([A, other])


def test_random_starts_belong_to_their_fact():
    lm, _, _ = edited()
    still = {**TINY, "n_iter": 0, "value_init": "cold"}
    editor = lib.EDITORS["grace"](lm, **still)
    whole, half = editor.edit([A, B]), editor.edit([B], after=editor.edit([A]))
    assert torch.equal(whole.routes[NAME].V, half.routes[NAME].V)
    V = whole.routes[NAME].V
    assert 0 <= V.min() and V.max() < 1 and not torch.equal(V[:, 0], V[:, 1])


def test_radii_under_the_noise_are_said():
    lm, _, _ = edited()
    with pytest.warns(
        lib.errors.EditWarning, match="1 of 1 entries have a radius under four times"
    ):
        patch = lib.EDITORS["grace"](lm, **{**TINY, "eps_init": 1e-9}).edit([LONG])
    assert 0 < patch.memory["grace"][NAME]["noise"] < 1e-4


# ---- patches -----------------------------------------------------------------------------------


def test_what_does_not_fit_is_a_sentence():
    lm, _, patch = edited()
    with pytest.raises(lib.errors.EditError, match="replaces 'last', not 'all'"):
        lib.EDITORS["grace"](lm, **TINY, replacement="all").edit([A], after=patch)
    for module in ("model.layers.{}.mlp", "model.layers.2.mlp.up_proj"):
        with pytest.raises(lib.errors.EditError, match="not a linear module of layer 1"):
            lib.EDITORS["grace"](lm, **TINY, module=module).edit([A])


# ---- the embedded model ------------------------------------------------------------------------

REFERENCE = Path(__file__).parents[1] / "reference"
GOLD = json.loads(
    (Path(__file__).parents[1] / "reference" / "grace.json").read_text(encoding="utf-8")
)
DOWN = f"model.layers.{GOLD['settings']['layer']}.mlp.down_proj"
DIFFERS = 9  # the same answer after a prompt of another length: theirs splits, ours expands
KINDS = {"new": "add", "split": "split", "expand": "expand"}


@pytest.fixture(scope="module")
def gold(plain_lm):
    """Keys (12, d_in) of the reference edits in one batch, their prompts and labels."""
    edits = GOLD["edits"]
    prompts, _ = plain_lm.rows([edit["prompt"] for edit in edits])
    labels = [tuple(encode_target(plain_lm.tokenizer, edit["target"])) for edit in edits]
    assert labels == [tuple(edit["label_ids"]) for edit in edits]
    keys = activations.module_inputs_at(plain_lm, prompts, [len(p) - 1 for p in prompts], [DOWN])[
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


def test_parity_of_the_first_losses(plain_lm, gold):
    prompts, labels, keys = gold
    torch.manual_seed(GOLD["settings"]["seed"])
    draws = [torch.rand(1, 576)[0] for _ in range(GOLD["edits"][-1]["draw"] + 1)]
    new = [i for i, edit in enumerate(GOLD["edits"]) if edit["event"] != "expand"]
    rows = AnswerRows([prompts[i] for i in new], [list(labels[i]) for i in new])
    start = torch.stack([draws[GOLD["edits"][i]["draw"]] for i in new], 1)
    place = EntrySite(DOWN, GOLD["settings"]["layer"])
    scale, settings = (
        torch.ones(len(new)),
        EntryTraining(n_iter=1, lr=GOLD["settings"]["lr"], enough=0.0),
    )
    given = rows, list(range(len(new))), start, scale, settings
    _, curves = EntrySearch(plain_lm, place, *given).run(0.5, looks=1, moves=0)
    found, first = descend(plain_lm, place, *given), [loss for ((loss,),) in curves]
    assert first == pytest.approx([GOLD["edits"][i]["loss_first"] for i in new], rel=1e-4)
    # one step of Adam moves every number by the rate
    assert (found.values - start).abs().median().item() == pytest.approx(1.0, abs=1e-3)


def test_the_published_settings_write_the_reference_codebook(plain_lm, gold):
    _, _, keys = gold
    facts = [lib.Fact(None, edit["prompt"], edit["target"]) for edit in GOLD["edits"]]
    editor = lib.EDITORS["grace"](
        plain_lm, layer=25, eps_init=3.0, lr=1.0, value_init="cold", strict=False, n_iter=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lib.errors.EditWarning)
        route = editor.edit(facts).routes[DOWN]
    made = [i for i in GOLD["from_edit"] if i != DIFFERS]
    torch.testing.assert_close(route.K, keys[made].T, atol=1e-3, rtol=1e-4)
    eps = {made: eps for made, eps in zip(GOLD["from_edit"], GOLD["eps"], strict=True)}
    eps[2] = GOLD["edits"][DIFFERS]["nearest_distance"]  # edit 9 expands it
    assert route.eps.tolist() == pytest.approx([eps[i] for i in made], rel=1e-4)
