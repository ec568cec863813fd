"""Causal tracing against a full forward per cell, its fixed points, averages, and the lens."""

from __future__ import annotations

from functools import partial

import pandas as pd
import pytest
import torch

import lib
from lib.model.architectures import ARCHS
from lib.workbench.interpret.causal_trace import (
    ROLES,
    Trace,
    average,
    average_total,
    embedding_deviation,
    layers_around,
    trace,
)
from lib.workbench.interpret.corrupted_runs import KINDS, Cell, Corrupted
from lib.workbench.interpret.logit_lens import lens

from ..support import tiny
from ..support.usual import few

FACT = lib.Fact("tower", "The {} leans to", "xy", "qz")  # bytes: the subject is tokens 4 to 8
ASKED = {"samples": 3, "noise": 2.0, "deviation": 0.3}
SUBJECT = range(4, 9)


@pytest.fixture(scope="module")
def lm():
    return tiny.model("llama")


def restore(lm, cells, samples=3, noise=2.0, deviation=0.3, seed=1):
    with Corrupted.opened(lm, FACT, None, samples, noise, deviation, seed) as runs:
        return runs.restore(cells)


def slow(lm, cells, samples=3, noise=2.0, deviation=0.3, seed=1):
    """p(answer) of each cell: whole forwards with hooks, clean states read from a clean run."""
    ids = lm.tokenizer(FACT.text).input_ids
    names = {
        "hidden": lm.arch.blocks + ".{}",
        "mlp": lm.arch.mlp_out,
        "attention": lm.arch.attn_out[0],
    }
    clean, hooks = {}, []

    def keep(module, inputs, output, name):
        wide = output[0] if isinstance(output, tuple) else output
        # a copy: falcon adds the attention's output to the MLP's in place
        clean[name] = wide.reshape(-1, wide.shape[-1]).clone()

    for name in (name.format(i) for name in names.values() for i in range(lm.n_layers)):
        hooks.append(lm.model.get_submodule(name).register_forward_hook(partial(keep, name=name)))
    logits = lm.run([ids]).logits[0, -1]
    for hook in hooks:
        hook.remove()
    p_clean, answer = logits.softmax(-1).max(0)
    shape = (samples, len(SUBJECT), lm.model.get_submodule(lm.arch.embed).weight.shape[1])
    change = noise * deviation * torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def corrupt(module, inputs, output):
        output = output.clone()
        output[:, SUBJECT[0] : SUBJECT[-1] + 1] += change
        return output

    def put_back(module, inputs, output, name, tokens):
        wide = output[0] if isinstance(output, tuple) else output
        there = wide.reshape(samples, -1, wide.shape[-1]).clone()
        there[:, list(tokens)] = clean[name][list(tokens)]
        there = there.reshape(wide.shape)
        return (there, *output[1:]) if isinstance(output, tuple) else there

    found = []
    for cell in cells:
        hooks = [lm.model.get_submodule(lm.arch.embed).register_forward_hook(corrupt)]
        for layer in cell.layers:
            name = names[cell.kind].format(layer)
            hook = partial(put_back, name=name, tokens=cell.tokens)
            hooks.append(lm.model.get_submodule(name).register_forward_hook(hook))
        logits = lm.run([ids] * samples).logits[:, -1]
        for hook in hooks:
            hook.remove()
        found.append(logits.softmax(-1)[:, answer].mean())
    return p_clean.item(), torch.stack(found or [p_clean])


@pytest.mark.parametrize("family", few(sorted(ARCHS), ("gpt2", "llama"), drawn=4))
def test_every_cell_equals_a_whole_forward_with_hooks(family):
    lm = tiny.model(family)
    end = len(FACT.text) - 1
    tokens, window = [4, 6, 8, 9, end], 2
    found = trace(lm, FACT, tokens=tokens, window=window, **ASKED)
    cells = [
        Cell(kind, (t,), layers_around(lm, kind, layer, window))
        for kind in KINDS
        for t in tokens
        for layer in range(4)
    ]
    p_clean, wanted = slow(lm, [Cell("mlp", (), ()), *cells])
    assert found.p_clean == pytest.approx(p_clean, abs=1e-5)
    assert found.p_corrupted == pytest.approx(wanted[0].item(), abs=1e-5)
    mine = torch.cat([found.table[kind][tokens].flatten() for kind in KINDS])
    torch.testing.assert_close(mine, wanted[1:], atol=1e-5, rtol=1e-4)
    assert mine.std() > 1e-5  # the comparison has something to compare
    assert found.table["mlp"][5].isnan().all()


def test_all_cells_without_a_choice_and_nothing_in_front_of_the_subject(lm):
    found = trace(lm, FACT, kinds=["hidden"], **ASKED)
    cells = [Cell("hidden", (t,), (layer,)) for t in range(len(FACT.text)) for layer in range(4)]
    wanted = slow(lm, cells)[1].reshape(-1, 4)
    torch.testing.assert_close(found.table["hidden"], wanted, atol=1e-5, rtol=1e-4)
    assert (found.indirect("hidden")[:4] == 0).all() and found.subject == (4, 8)
    assert "".join(found.tokens) == FACT.text and found.layers == (0, 1, 2, 3)
    # the last state of the last token is all that the head reads
    assert found.table["hidden"][-1, -1].item() == pytest.approx(found.p_clean, abs=1e-5)
    assert found.known is (found.answer == " qz")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_restoring_all_is_the_clean_run_and_restoring_nothing_the_noisy_one(family):
    lm, every = tiny.model(family), tuple(range(len(FACT.text)))
    cells = [
        Cell("hidden", every, (0,)),
        Cell("hidden", tuple(SUBJECT), (0,)),  # the rest is clean up to here, by causality or not
        Cell("hidden", (), ()),
        Cell("mlp", (), (1, 2)),
        Cell("attention", every, ()),
    ]
    p_clean, p_corrupted, p = restore(lm, cells)
    assert abs(p_clean - p_corrupted) > 1e-4
    assert p[0].item() == pytest.approx(p_clean, abs=1e-5)
    torch.testing.assert_close(p[2:], torch.full((3,), p_corrupted), atol=1e-6, rtol=0)
    mixed = [Cell("mlp", (4, 9), (1, 3)), Cell("hidden", (5, 8), (0, 2))]
    torch.testing.assert_close(restore(lm, mixed)[2], slow(lm, mixed)[1], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_no_noise_no_effect_and_the_same_seed_the_same_table(lm):
    quiet = trace(lm, FACT, **{**ASKED, "noise": 0.0})
    assert quiet.total_effect == pytest.approx(0, abs=1e-6)
    assert all(quiet.indirect(kind).abs().max() < 1e-6 for kind in KINDS)
    one, same = trace(lm, FACT, **ASKED), trace(lm, FACT, **ASKED)
    other = trace(lm, FACT, seed=2, **ASKED)
    assert all(torch.equal(one.table[kind], same.table[kind]) for kind in KINDS)
    assert one.p_corrupted == same.p_corrupted != other.p_corrupted
    text = trace(lm, FACT.text, "tower", **ASKED)
    assert text.p_clean == one.p_clean and text.known is None


def test_tracing_sees_the_patched_model_and_leaves_no_hook(lm):
    name = lm.mlp_out(1)
    before = trace(lm, FACT, kinds=["mlp"], **ASKED)
    with lm.patched(lib.Patch({name: lm.weight(name) * 2})):
        inside = trace(lm, FACT, kinds=["mlp"], **ASKED)
        p_clean, _ = slow(lm, [])
    assert inside.p_clean == pytest.approx(p_clean, abs=1e-5) != before.p_clean
    assert trace(lm, FACT, kinds=["mlp"], **ASKED).p_clean == before.p_clean
    with pytest.raises(ValueError):
        trace(lm, FACT, layers=[9])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.model.modules())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"kinds": ["mlps"]}, "kind should be one of hidden, mlp, attention, not 'mlps'"),
        ({"samples": 0}, "samples should be a number of at least 1, not 0"),
        ({"subject": "tower"}, "A Fact already has a subject"),
    ],
)
def test_wrong_settings_are_named(lm, more, message):
    with pytest.raises(ValueError, match=message):
        trace(lm, FACT, **more)


def test_a_subject_is_needed(lm):
    with pytest.raises(lib.errors.FactError, match="no subject"):
        trace(lm, lib.Fact(None, "The tower leans to", "xy"))
    with pytest.raises(ValueError, match="Give both"):
        trace(lm, "The tower leans to")
    with pytest.raises(ValueError, match="tokens 0 to 17"):
        restore(lm, [Cell("mlp", (18,), (0,))])


def test_windows_are_clipped_to_the_model(lm):
    assert layers_around(lm, "hidden", 2) == (2,)
    assert layers_around(lm, "mlp", 1, 2) == (0, 1) and layers_around(lm, "mlp", 3, 3) == (2, 3)
    assert layers_around(lm, "attention", 2) == (0, 1, 2, 3)


def test_deviation_pools_the_entries_of_all_subjects(lm):
    table = lm.model.get_submodule(lm.arch.embed).weight
    ids = lm.tokenizer("towercat").input_ids
    both = embedding_deviation(lm, [FACT, "cat"])
    assert both == pytest.approx(table[ids].std().item(), rel=1e-5)


def made(tokens, subject, value):
    """A trace of one kind and two layers with a constant effect per token."""
    p = torch.tensor(value)[:, None].expand(-1, 2) + 0.1
    return Trace(tuple("x" * tokens), subject, "a", None, 0.9, 0.1, (3, 5), {"mlp": p})


def test_roles_cover_subjects_of_every_length():
    names = dict(zip(ROLES, "FMLafe", strict=True))

    def short(tokens, first, last):
        roles = made(tokens, (first, last), [0.0] * tokens).roles
        return "".join(names.get(role, ".") for role in roles)

    assert short(9, 1, 4) == ".FMMLaffe"
    assert short(5, 0, 0) == "Laffe" and short(3, 0, 1) == "FLe"
    assert short(4, 1, 3) == ".FMe"  # the prompt ends with its subject


def test_averages_are_over_facts_and_hold_intervals():
    traces = [
        made(6, (0, 3), [0.1, 0.2, 0.4, 0.5, 0.0, 0.6]),
        made(4, (1, 1), [9.0, 0.3, 0.0, 0.2]),
        made(5, (1, 2), [9.0, 0.2, 0.7, 0.0, 0.1]),
    ]
    table = average(traces)
    assert list(table.columns) == ["kind", "layer", "role", "effect", "low", "high", "facts"]
    at = table.set_index(["kind", "role", "layer"])
    assert at.loc["mlp", "last subject", 3].effect == pytest.approx(0.5)  # (.5 + .3 + .7) / 3
    assert at.loc["mlp", "middle subject", 5].effect == pytest.approx(0.3)  # one fact, two tokens
    assert at.loc["mlp", "middle subject", 5].facts == 1
    assert at.loc["mlp", "first subject", 5].facts == 2 and "further" not in set(table.role)
    row = at.loc["mlp", "last", 3]
    assert row.low <= row.effect <= row.high and row.high - row.low > 0.1
    assert average_total(traces) == pytest.approx((0.8, 0.8, 0.8))
    with pytest.raises(ValueError, match="no trace"):
        average([])
    with pytest.raises(ValueError, match="different kinds or layers"):
        average([traces[0], Trace(("a",), (0, 0), "a", None, 1, 0, (0,), {})])


def collect(module, inputs, output, seen):
    seen.append(output[0] if isinstance(output, tuple) else output)


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_the_lens_reads_every_block_through_norm_and_head(family):
    lm = tiny.model(family)
    prompts = ["The tower", "A cat sat on the"]
    table = lens(lm, prompts, ["xy", "zoo"])
    assert len(table) == 2 * 4 * 2
    norm = lm.model.get_submodule(lm.arch.final_norm)
    for prompt in prompts:
        seen = []
        hooks = [block.register_forward_hook(partial(collect, seen=seen)) for block in lm.blocks]
        last = lm.next_token(prompt)
        for hook in hooks:
            hook.remove()
        for answer in ("xy", "zoo"):
            token = lib.data.facts.encode_target(lm.tokenizer, answer)[0]
            rows = table[(table.prompt == prompt) & (table.answer == answer)]
            assert list(rows.layer) == [0, 1, 2, 3]
            for layer, row in enumerate(rows.itertuples()):
                wanted = lm.head(norm(seen[layer][0, -1])).log_softmax(-1)
                assert row.log_prob == pytest.approx(wanted[token].item(), abs=1e-4)
                order = wanted.argsort(descending=True)
                assert row.rank == 1 + (order == token).nonzero().item()
            assert row.log_prob == pytest.approx(last[token].item(), abs=1e-4)


def test_the_lens_takes_answers_per_prompt_and_a_patch(lm):
    table = lens(lm, ["The tower", "A cat"], [["xy"], ["qz", "xy"]])
    assert table.groupby("prompt", sort=False).size().tolist() == [4, 8]
    name = lm.mlp_out(2)
    patched = lens(lm, "The tower", ["xy"], lib.Patch({name: torch.zeros_like(lm.weight(name))}))
    same = table[table.prompt == "The tower"].log_prob.to_numpy() == pytest.approx(
        patched.log_prob.to_numpy(), abs=1e-5
    )
    assert not same and isinstance(patched, pd.DataFrame)
    head = table[table.prompt == "The tower"].log_prob[:2].tolist()
    assert patched.log_prob[:2].tolist() == pytest.approx(head, abs=1e-5)  # below the edit
    with pytest.raises(ValueError, match="2 prompts but 1 lists"):
        lens(lm, ["a", "b"], [["xy"]])
