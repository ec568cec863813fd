"""WISE: masks, margins, thresholds, routing, continuing exactly, and the authors' own figures."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import lib
from lib.editors.wise import training, wise
from lib.editors.wise.route import (
    ActivationDifference,
    Side,
    SideMemory,
    draw_mask,
    hinges,
    pack,
    unpack,
)
from lib.keys_values.second_moment import second_moment
from lib.model import activations, batching
from lib.model.answer_rows import AnswerRows
from lib.model.sequences import Counted, Sequences

from ..support import tiny
from ..support.side_memory import CALM, SETTINGS, SHORT

GOLDEN = json.loads((Path(__file__).parents[1] / "reference" / "wise.json").read_text("utf-8"))
FACTS = [
    lib.Fact("The old tower", "I saw {}", "xy"),
    lib.Fact("The old tower", "Who built {}", "qz"),
    lib.Fact("Anna", "{} lives in", "xy"),
    lib.Fact("A ship", "Where does {} sail", "qz"),
    lib.Fact("Peter", "Ask {} about", "xyz"),
    lib.Fact("The sea", "{} is as blue as", "qz"),
]


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def editor(lm, **more):
    return lib.EDITORS["wise"](lm, **{**SETTINGS, **more})


@cache
def three(retrieve: bool = True, remeasure: bool = True) -> list[lib.Patch]:
    """The patches after 1 … 6 facts, in shards of two and merges of four."""
    lm, patches = tiny.model("llama"), [lib.EMPTY]
    made = editor(lm, **{**SHORT, "retrieve": retrieve, "remeasure": remeasure})
    for fact in FACTS:
        patches.append(made.edit([fact], after=patches[-1]))
    return patches[1:]


def route(patch: lib.Patch) -> Side:
    (found,) = patch.routes.values()
    return found


# ---- masks --------------------------------------------------------------------------------------


def test_masks_have_the_size_and_the_overlap_of_chance():
    a, b, c = (draw_mask((576, 1536), 0.2, 0, shard) for shard in range(3))
    assert abs(a.sum().item() - 176_947) <= 1_129
    assert abs((a & b).sum().item() - 35_389) <= 553
    assert abs((a & b & c).sum().item() - 7_078) <= 252
    assert torch.equal(a, draw_mask((576, 1536), 0.2, 0, 0))
    assert not torch.equal(a, draw_mask((576, 1536), 0.2, 1, 0))


def test_bits_come_back():
    mask = torch.rand(13, 7) < 0.3
    assert pack(mask).numel() == 12 and torch.equal(unpack(pack(mask), (13, 7)), mask)


def test_an_edit_changes_nothing_outside_its_mask(lm):
    patch = editor(lm).edit(FACTS[:2])
    mask = draw_mask((32, 48), 0.2, 0, 0)
    (memory,) = route(patch).memories
    assert torch.equal(unpack(patch.memory["wise"]["mask"], (32, 48)), mask)
    assert not memory.tau[~mask].any() and memory.tau[mask].count_nonzero() > 0.9 * mask.sum()
    decayed = editor(lm, weight_decay=1e-2).edit(FACTS[:1])
    assert not route(decayed).memories[0].tau[~mask].any()


def test_the_box_bounds_every_entry(lm):
    tau = route(editor(lm, lr=3.0, norm_constraint=0.25).edit(FACTS[:1])).memories[0].tau
    assert tau.abs().max() == 0.25


# ---- margins ------------------------------------------------------------------------------------


def test_delta_is_the_mean_length_over_the_prompt_without_its_bos_and_without_padding():
    ids = torch.tensor([[0, 9, 5, 6, 7], [9, 9, 5, 6, 0]])
    real = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 0]]).bool()
    prompt = torch.tensor([[0, 1, 1, 0, 0], [1, 1, 0, 0, 0]]).bool()
    seqs = Sequences(ids, real, prompt, last=torch.tensor([2, 1]))
    score = ActivationDifference(bos=9)
    mean = score.counted(seqs)
    assert mean.int().tolist() == [[0, 0, 1, 0, 0], [0, 1, 0, 0, 0]]  # a second 9 is no BOS
    assert torch.equal(ActivationDifference().counted(seqs), prompt)
    assert torch.equal(ActivationDifference(pool="row", bos=9).counted(seqs), real)
    tau, a, places = torch.randn(3, 4), torch.randn(2, 5, 4), Counted(prompt)
    found = places.means(score.tokens(places.values(a) @ tau.T, torch.zeros(4, 3)))
    lengths = (a @ tau.T).norm(dim=-1) * prompt
    torch.testing.assert_close(found, lengths.sum(1) / prompt.sum(1))


def test_margins_by_hand():
    inside, outside = torch.tensor([4.0, 30.0]), torch.tensor([7.0])
    assert [h.item() for h in hinges(inside, outside, 5, 20, 10)] == [2.0, 16.0, 13.0]
    inside, outside = torch.tensor([25.0, 18.0]), torch.tensor([1.0, 9.0, 15.0])
    # α: 4 and 10; β: 2; γ: pairs below 10 apart are 25−15? no (10), 18−9 (9), 18−15 (3) -> 1, 7
    assert [h.item() for h in hinges(inside, outside, 5, 20, 10)] == [7.0, 2.0, 4.0]
    held = hinges(torch.tensor([21.0]), torch.tensor([4.0]), 5, 20, 10)
    assert [h.item() for h in held] == [0.0, 0.0, 0.0]


@pytest.mark.slow
def test_training_separates_the_fact_from_what_is_irrelevant(lm):
    made = editor(lm, lr=0.1, n_iter=300, irrelevant_n=4, beta=0.5, alpha=0.4, gamma=0.05,
                  margin_weight=5.0)  # fmt: skip
    patch = made.edit(FACTS[:1])
    outside = [note[0]["entry"] for note in lm_notes(lm, patch, list(CALM))]
    assert outside == [-1] * 4 and lm_notes(lm, patch, [FACTS[0].text])[0][0]["entry"] == 0
    texts, state = reader(lm, patch), patch.memory["wise"]
    with lm.patched(lib.EMPTY):
        rows = lm.rows([f.replace("{}", FACTS[0].text) for f in SETTINGS["templates"]])[0]
        tau = route(patch).memories[0].tau
        inside, calm = texts.delta(tau, rows), texts.delta(tau, lm.rows(list(CALM))[0])
    assert inside.min() > calm.max()
    unit = state["unit"]
    assert sum(hinges(inside / unit, calm / unit, 0.4, 0.5, 0.05)) < 0.02


# ---- thresholds and merging ---------------------------------------------------------------------


def test_the_threshold_is_the_least_delta_and_never_rises_by_an_edit(lm):
    made, patch, seen = editor(lm), lib.EMPTY, []
    whole = wise.Wise.train

    def watched(self, rows, tau, mask):
        tau = whole(self, rows, tau, mask)
        with torch.no_grad():  # after the last step, over the fact's own rows
            seen.append(rows.delta(tau)[: len(SETTINGS["templates"])].mean().item())
        return tau

    made.train = watched.__get__(made)
    for i, fact in enumerate(FACTS[:4]):
        patch = made.edit([fact], after=patch)
        (memory,) = route(patch).memories
        assert memory.eps == pytest.approx(min(seen), rel=1e-5) and memory.facts == i + 1
    assert len(set(seen)) == 4


def test_a_tracked_threshold_is_that_of_the_memory_as_it_is_now(lm):
    patch = editor(lm, track=True).edit(FACTS[:4])
    found = scores(lm, patch, [fact.text for fact in FACTS[:4]])[:, 0]
    (memory,) = route(patch).memories
    assert memory.eps == pytest.approx(found.min().item(), rel=1e-5)


def test_a_new_editor_reads_no_text_again_unless_something_below_has_changed(lm, monkeypatch):
    first = editor(lm).edit(FACTS[:1])
    read, real = [], activations.padded_inputs
    monkeypatch.setattr(activations, "padded_inputs", lambda *a: read.append(a[1]) or real(*a))
    again = editor(lm).edit(FACTS[:1])
    assert not read and torch.equal(route(first).memories[0].tau, route(again).memories[0].tau)
    below = lib.EDITORS["ft"](lm, layer=0, lr=0.01, epochs=2).edit(FACTS[1:])
    editor(lm).edit(FACTS[:1], after=below)
    assert read


def test_a_calibrated_threshold_lies_between_texts_kept_apart_and_the_facts(lm):
    calm = tuple(f"{a} {b}" for a in ("The cat", "A dog", "Rain") for b in ("ran", "sat", "fell"))
    more = {"track": True, "irrelevant": calm}
    found = {}
    for share in (None, 0.0, 0.5, 1.0):
        made = editor(lm, calibrate=share, **more)
        patch = made.edit(FACTS[:2])
        found[share] = route(patch).memories[0].eps
    apart = [tuple(lib.data.facts.encode_prompt(lm.tokenizer, text)) for text in calm[3::4]]
    delta = reader(lm, patch).delta(route(patch).memories[0].tau, [list(ids) for ids in apart])
    assert found[0.0] == pytest.approx(delta.quantile(0.95).item(), rel=1e-5)
    assert found[0.5] == pytest.approx((found[0.0] + found[1.0]) / 2)
    assert found[0.0] < found[0.5] < found[1.0]
    assert found[None] != found[1.0]  # without it all texts are trained on
    with pytest.raises(lib.errors.EditError, match="calibrates thresholds only with track=True"):
        editor(lm, calibrate=0.5, track=False, irrelevant=calm)


def test_shards_close_and_merge_when_they_should():
    kept = [[m.facts for m in route(p).memories] for p in three()]
    assert kept == [[1], [2], [2, 1], [4], [4, 1], [4, 2]]
    once = [[m.facts for m in route(p).memories] for p in three(retrieve=False)]
    assert once == kept  # the second merge would come after eight
    before, after = route(three()[2]).memories, route(three()[3]).memories
    assert three()[3].memory["wise"]["groups"] == () and len(before) == 2
    masks = [draw_mask((32, 48), 0.2, 0, i) for i in range(2)]
    assert not after[0].tau[~(masks[0] | masks[1])].any()
    only = masks[0] & ~masks[1]  # ties: where one shard alone has something it is kept whole
    assert torch.equal(after[0].tau[only], before[0].tau[only])


def test_a_merge_measures_again_unless_told_not_to(lm):
    plain, fresh = three(remeasure=False)[3], three()[3]
    shards = [memory.eps for memory in route(three()[1]).memories]
    report = plain.memory["wise"]["merges"][0]
    assert report["facts"] == 4 and report["old"] == report["eps"] <= min(shards)
    (memory,) = route(plain).memories
    assert memory.eps == report["old"]
    (memory,) = route(fresh).memories
    found = scores(lm, fresh, [fact.text for fact in FACTS[:4]])[:, 0]
    low = found.quantile(0.05)
    wanted = low if found.min() < low / 2 else found.min()
    assert memory.eps == pytest.approx(wanted.item(), rel=1e-5)
    assert fresh.memory["wise"]["merges"][0]["under"] == int((found < report["old"]).sum())


def test_a_later_merge_joins_or_appends(lm):
    for retrieve, count in ((True, 2), (False, 1)):
        made = editor(lm, **{**SHORT, "save_freq": 1, "merge_freq": 2, "retrieve": retrieve})
        patch = made.edit(FACTS[:4])
        assert len(route(patch).memories) == count
        assert sum(memory.facts for memory in route(patch).memories) == 4


# ---- the route ----------------------------------------------------------------------------------


def test_the_rule_by_hand():
    def chosen(*rows, open_first=False):
        memories = tuple(SideMemory(torch.zeros(1, 1), eps, 1) for eps in (20.0, 5.0))
        return Side(memories, 1.0, ActivationDifference()).choose(torch.tensor(rows)).tolist()

    assert chosen([30.0, 25.0], [18.0, 12.0], [3.0, 4.0]) == [0, 1, -1]
    assert chosen([20.0, 4.9]) == [0]  # Δ = threshold is in
    wider = Side((SideMemory(torch.zeros(1, 1), 20.0, 1),), 0.88, ActivationDifference())
    assert wider.choose(torch.tensor([[17.6], [17.5]])).tolist() == [0, -1]


def scores(lm, patch, texts):
    """Δ of prompts under every memory, one prompt at a time."""
    found, module = [], next(iter(patch.routes))
    for row in lm.rows(texts)[0]:
        run = lm.run([row], watch=[module])
        seqs = batching.sequences(lm, [row])
        found.append(route(patch).scores(*run.seen[module], seqs))
    return torch.cat(found)


def reader(lm, patch):
    """What reads texts on the base model, as a patch compares them."""
    return training.TextReader(lm, lm.mlp_out(1), route(patch).score)


def lm_notes(lm, patch, texts):
    with lm.patched(patch):
        return lm.answer(texts, 1, explain=True)[1]


def test_what_does_not_fit_is_a_sentence(lm):
    with pytest.raises(lib.errors.EditError, match=f"side memories at {lm.mlp_out(1)}"):
        editor(lm, layer=2).edit(FACTS[:1], after=three()[0])
    with pytest.raises(lib.errors.EditError, match="a multiple of save_freq"):
        editor(lm, save_freq=3, merge_freq=4)


# ---- files and going on -------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_shards_and_merges_go_on_from_a_file_bit_for_bit(stop, tmp_path):
    """Inside a shard, between shards, before and after the merge; the rest is one call."""
    half = lib.Patch.load(three()[stop - 1].save(tmp_path / "half.safetensors"))
    made = editor(tiny.model("llama"), **{**SHORT, "retrieve": True})
    pairs = [route(p).memories for p in (made.edit(FACTS[stop:], after=half), three()[-1])]
    for one, other in zip(*pairs, strict=True):
        assert torch.equal(one.tau, other.tau) and one.eps == other.eps


def test_irrelevant_texts_come_in_turn_and_from_call_to_call(lm):
    made, seen, whole = editor(lm, n_iter=1, irrelevant_n=3), [], wise.Wise.train

    def watched(self, rows, tau, mask):
        seen.append([lm.tokenizer.decode(row) for row in rows.margins.irrelevant])
        return whole(self, rows, tau, mask)

    made.train = watched.__get__(made)
    made.edit(FACTS[2:3], after=made.edit(FACTS[:2]))
    turn = [*CALM, *CALM, *CALM]
    assert seen == [turn[0:3], turn[3:6], turn[6:9]]


def test_rehearsal_trains_earlier_facts_along(lm):
    plain = editor(lm, n_iter=30).edit(FACTS[:3])
    along = editor(lm, n_iter=30, rehearse=8).edit(FACTS[:3])
    kept = []
    for patch in (plain, along):
        with lm.patched(replace(patch, routes={m: everywhere(r) for m, r in patch.routes.items()})):
            kept.append(lm.score(FACTS[0].text, "xy").sum().item())
    assert kept[1] > kept[0]


def test_a_whitened_step_is_the_plain_one_times_the_inverse_second_moment(lm):
    more = {"n_iter": 1, "mask_ratio": 1.0, "norm_constraint": None}
    plain, made = editor(lm, **more), editor(lm, whiten=0.3, **more)
    steps = [route(one.edit(FACTS[:1])).memories[0].tau.double() for one in (plain, made)]
    C = second_moment(lm, [1], damping=0.0)[1].C  # (d_in, d_in)
    mean = C.trace() / len(C)
    inverse = torch.linalg.inv(C + 0.3 * mean * torch.eye(len(C), dtype=C.dtype))
    torch.testing.assert_close(steps[1], steps[0] @ inverse * mean, rtol=1e-4, atol=1e-8)
    assert (steps[1] - steps[0]).norm() > 0.1 * steps[0].norm()
    with pytest.raises(
        lib.errors.EditError, match="whiten should be a number of at least 1e-06 or None, not 0"
    ):
        editor(lm, whiten=0.0)


def everywhere(route: Side) -> Side:
    return Side(
        tuple(replace(m, eps=0.0) for m in route.memories),
        route.act_ratio,
        route.score,
        route.module,
    )


def test_replay_keeps_past_prompts_dark_and_a_present_one_lit(lm):
    made = editor(lm, **{**SHORT, "retrieve": True, "replay": True})
    patch = made.edit(FACTS[:5])
    assert patch.memory["wise"]["past"] == (tuple(fact.text for fact in FACTS[:4]),)
    assert editor(lm, **{**SHORT, "retrieve": True}).edit(FACTS[:5]).memory["wise"]["past"] == ()
    texts, rows = reader(lm, patch), lm.rows([fact.text for fact in FACTS])[0]
    given = replace(made.config, alpha=0.1, beta=2.0, gamma=0.5)
    margins = training.Margins(given, 3.0, rows[5:], past=rows[:2], present=rows[4:5])
    tau = route(patch).memories[-1].tau
    delta = texts.delta(tau, [*rows[:2], rows[4]]) / 3.0
    wanted = (delta[:2] - 0.1).clamp(min=0).sum() + (2.0 - delta[2]).clamp(min=0)
    answers = [AnswerRows.of(lm.tokenizer, some) for some in ([(FACTS[5].text, "xy")], [], [])]
    whole, alone = (
        training.FactTraining(texts, 1, some, *answers).losses(tau)[1].item()
        for some in (margins, margins._replace(past=(), present=()))
    )
    assert whole - alone == pytest.approx(wanted.item(), rel=1e-5) and wanted > 0
    with pytest.raises(lib.errors.EditError, match="only with retrieve=True"):
        editor(lm, replay=True)


# ---- the authors' figures -----------------------------------------------------------------------


def numpy_masks() -> list[torch.Tensor]:
    """Masks as published: np.random.choice([1, 0], n, p) draws a uniform number per entry."""
    draw = np.random.RandomState(GOLDEN["settings"]["numpy_seed"])
    share = GOLDEN["settings"]["mask_ratio"]
    return [torch.from_numpy(draw.random_sample(576 * 1536) < share).view(576, 1536) for _ in "01"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_losses_and_delta_are_those_of_the_reference(number, plain_lm, monkeypatch):
    """The first fact of each of its two shards: losses at the first and the last step, and Δ."""
    golden, edit = GOLDEN["settings"], GOLDEN["edits"][number]
    mask, seen = numpy_masks()[number], []
    whole = training.FactTraining.losses

    def losses(self, tau):
        answer, margin = whole(self, tau)
        # there the mean counts one position more, which adds nothing
        n = len(self.captured.rows.answers[0])
        answer = answer * n / (n + 1)
        seen.append([answer.item(), margin.item(), self.delta(tau).mean().item()])
        return answer, margin

    monkeypatch.setattr(training.FactTraining, "losses", losses)
    monkeypatch.setattr(wise, "draw_mask", lambda *_: mask)
    made = lib.EDITORS["wise"](
        plain_lm, layer=golden["layer"], lr=golden["lr"], n_iter=golden["iterations"],
        alpha=golden["alpha"], beta=golden["beta"], gamma=golden["gamma"], units="absolute",
        pool="row", activation="hidden", remeasure=False, rehearse=0, weight_decay=1e-5,
        margin_weight=1.0, track=False, calibrate=None, whiten=None, target_eos=False,
        templates=tuple(GOLDEN["templates"]), irrelevant_n=1, norm_constraint=1.0,
        irrelevant=(edit["training_locality_text"],),
    )  # fmt: skip
    weight = plain_lm.weight(plain_lm.mlp_out(golden["layer"]))
    assert weight.norm().item() == pytest.approx(GOLDEN["main_weight_norm"], rel=1e-5)
    patch = made.edit([lib.Fact(None, edit["prompt"], edit["target"])])
    assert seen[0][:2] == pytest.approx(edit["loss_first"][1:], abs=2e-3)
    # its last loss and its ε are those before the last of the six steps
    assert seen[5][:2] == pytest.approx(edit["loss_last"][1:], rel=0.01)
    assert seen[5][2] == pytest.approx(edit["activation_saved"], rel=1e-3)
    # it decays entries outside the mask too: .05 of the norm's 40, squared
    tau = route(patch).memories[0].tau
    assert tau.norm().item() == pytest.approx(edit["side_delta_norm"], rel=1e-3)
