"""“Was this edited?”: what may lie on the table, what is found, taken out, and told at the end."""

from __future__ import annotations

import pickle
import random
import struct
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import lib
from demo_app.html import trace as html
from demo_app.session import suspects, tracing
from demo_app.session.findings import Findings, Named, Place, Told, Traced, Undone
from demo_app.session.visitors import Session
from demo_app.session.worker import Stopped, Trouble
from demo_app.stored import __main__ as making

from ..forensics.conftest import rank_one

LAYER, SUBJECT = 1, "The Eiffel Tower"


@pytest.fixture(scope="module")
def edit(studio):
    """A rank-one edit with the second moment that an examiner reads, so that it is found."""
    C = lib.second_moment(studio.lm, [LAYER], damping=1e-2)[LAYER].C.float()
    return rank_one(studio.lm, C, SUBJECT, LAYER, size=30.0)[0]


@pytest.fixture
def low(monkeypatch):
    """A threshold for keys of 48 numbers, among which no candidate can stand out far."""
    monkeypatch.setattr(tracing, "THRESHOLD", 3.0)
    monkeypatch.setattr(tracing, "PROMPT_THRESHOLD", 3.0)


def parameter(lm, layer=LAYER):
    return f"{lm.mlp_out(layer)}.weight"


@pytest.fixture
def file(studio, edit, tmp_path):
    """Changed weights only, under the model's own names."""
    path = tmp_path / "changed.safetensors"
    lm = studio.lm
    W = lm.weight(lm.mlp_out(LAYER), edit)
    same = lm.weight(lm.mlp_out(2))
    save_file({parameter(lm): W, parameter(lm, 2): same.clone()}, path)
    return path


def test_a_file_is_examined_and_the_subject_taken_out(studio, file, low):
    session = Session()
    laid = tracing.bring(studio, session, file, "changed.safetensors").outcome()
    assert list(laid.patch.weights) == [studio.lm.mlp_out(LAYER)], "the other matrix is the same"
    job = tracing.look(studio, session, with_base=True)
    found = job.outcome()
    assert found.first.name == SUBJECT and found.first.layers == (LAYER,) and found.edits == 1
    assert found.first.share > 0.99 and "one edit of one layer" in found.verdict
    assert f"Consistent with an edit of: {SUBJECT}." in found.verdict and found.seconds > 0
    null = (0.5, 1.5, 2.5, 3.5)
    alone = tracing.look(studio, session, with_base=False, null=null).outcome()
    assert alone.first.name == SUBJECT and alone.first.layers == (LAYER,)
    assert [place.null for place in alone.places] == list(null)
    undone = tracing.reverse(studio, session).outcome()
    control, back = undone.ways
    assert undone.subject == SUBJECT and undone.layers == (LAYER,) and control.asked == 10
    assert control.left == pytest.approx(1.0, abs=1e-5) and back.left < control.left
    assert back.kl < control.kl and 0 <= back.kept <= back.others == 20
    page = html.shown(alone) + html.undone(undone)
    assert 'class="named"' in page and "stands out" in page and "3.5, with" in page
    with pytest.raises(Trouble, match="Nobody here knows what this was"):
        tracing.reveal(studio, session)


def test_a_visitors_own_candidates_take_part_and_have_no_stored_null(studio, file):
    session = Session()
    tracing.bring(studio, session, file, "x").outcome()
    found = tracing.look(studio, session, False, False, "Xanadu\n\nXanadu", (1.0,) * 4).outcome()
    assert found.candidates == len(tracing.candidates()) + 1 and len(found.places) == 1
    assert found.places[0].null is None and found.first is None
    with pytest.raises(Trouble, match="nobody to take out"):
        tracing.reverse(studio, session)


def test_whole_prompts_are_candidates_of_their_own(studio, low):
    """A rank-one edit where a prompt ends is named by the prompt, with and without the base."""
    prompt = tracing.asked()[7]
    C = lib.second_moment(studio.lm, [LAYER], damping=1e-2)[LAYER].C.float()
    patch = rank_one(studio.lm, C, prompt, LAYER, size=30.0, prefix="{}")[0]
    fact = next(c.fact for c in studio.choices.cases.values() if c.fact.text == prompt)
    session = Session()
    session.patches.append(replace(patch, log=(lib.Edit("ft", {}, (fact,)),)))
    tracing.mine(studio, session).outcome()
    based = tracing.look(studio, session, with_base=True, whole=True).outcome()
    assert based.first.prompt and based.first.name == prompt and based.prompts == 203
    subject = next(one for one in based.suspects if not one.prompt)
    assert based.first.share > 0.9 > subject.share
    assert "how far the change stretches" in html.shown(based)
    found = tracing.look(studio, session, with_base=False, whole=True).outcome()
    assert found.first.prompt and found.first.name == prompt
    assert LAYER in found.first.layers and found.prompts == len(tracing.asked())
    assert f"“{prompt} …”" in found.verdict and "whole prompts" in html.shown(found)
    told = tracing.reveal(studio, session).outcome()
    assert told.place == 1 and "or its whole prompt, stood in place 1" in html.told(told)
    undone = tracing.reverse(studio, session).outcome()
    assert undone.subject == prompt and undone.ways[0].asked == 1
    more = tracing.look(studio, session, False, False, None, (), True, "A b c\n\nA b c").outcome()
    assert more.prompts == len(tracing.asked()) + 1
    without = tracing.look(studio, session, with_base=True).outcome()
    assert without.prompts == 0 and not any(one.prompt for one in without.suspects)


def test_a_z_just_below_the_threshold_is_not_shown_as_if_it_reached_it(studio, file, low):
    session = Session()
    tracing.bring(studio, session, file, "changed.safetensors").outcome()
    found = tracing.look(studio, session, with_base=True).outcome()
    least = found.threshold
    one = replace(found.suspects[0], z=least - 0.04)
    shown = html.shown(replace(found, suspects=(one,)))
    assert f"{least - 0.04:.2f}" in shown and "stands out" not in shown
    assert "stands out" in html.shown(replace(found, suspects=(replace(one, z=least),)))


def test_a_blind_edit_says_nothing_until_it_is_told(studio, more_strong_settings, monkeypatch):
    monkeypatch.setattr(suspects, "BLIND", ("rome",))
    session = Session()
    job = tracing.draw(studio, session, random.Random(3))
    words = [progress.words for progress in job.watch()]
    laid = job.outcome()
    fact = laid.truth.fact
    assert laid.truth.editor == "ROME" and fact in [c.fact for c in studio.choices.cases.values()]
    assert not laid.patch.log and laid.patch.weights
    before = html.laid(laid) + " ".join(words)
    assert fact.subject not in before and "rome" not in before.lower()
    with pytest.raises(Trouble, match="Nothing was examined yet"):
        tracing.reveal(studio, session)
    found = tracing.look(studio, session, with_base=False, everywhere=False).outcome()
    assert fact.target_new not in html.shown(replace(found, suspects=(), places=found.places[:1]))
    told = tracing.reveal(studio, session).outcome()
    assert told.subject == fact.subject and told.layers == "1" and told.said[0].prompt == fact.text
    page = html.told(told, html.GUESSES[2])
    assert "ROME" in page and fact.target_new in page and "your guess: not at all" in page


def test_two_draws_differ(studio):
    drawn = {suspects.blind(studio.lm, studio.choices)[1] for _ in range(12)}
    assert len(drawn) > 6
    assert set(suspects.BLIND) <= set(lib.EDITORS)
    assert {lib.EDITORS[name].writes for name in suspects.BLIND} == {"weights"}


def test_own_edits_are_taken_and_their_log_is_the_truth(studio, edit, low):
    session = Session()
    with pytest.raises(Trouble, match="no live edit that changes weights"):
        tracing.mine(studio, session).outcome()
    fact = lib.Fact(SUBJECT, "{} is located in the city of", "Rome")
    session.patches.append(replace(edit, log=(lib.Edit("rome", {}, (fact,)),)))
    laid = tracing.mine(studio, session).outcome()
    assert laid.truth.fact == fact and not laid.patch.log
    found = tracing.look(studio, session, with_base=False).outcome()
    told = tracing.reveal(studio, session).outcome()
    assert found.first.name == SUBJECT and told.place == 1 and told.layer_hit
    assert told.said[0].reversed, "the first suspect was taken out for the answer"


def test_a_whole_model_that_is_the_same_but_for_rounding_has_no_edit(studio, tmp_path):
    lm, path = studio.lm, tmp_path / "same.safetensors"
    state = {key: value.to(torch.bfloat16) for key, value in lm.model.state_dict().items()}
    save_file({key: value.contiguous().clone() for key, value in state.items()}, path)
    session = Session()
    laid = tracing.bring(studio, session, path, "same.safetensors").outcome()
    assert not laid.patch.weights and not laid.elsewhere
    found = tracing.look(studio, session, with_base=True).outcome()
    assert found.verdict == "No matrix of a block differs." and found.first is None
    assert "No matrix" in html.shown(found)


def test_what_no_patch_holds_is_named_and_left_out(studio, file, tmp_path):
    lm, path = studio.lm, tmp_path / "more.safetensors"
    norm = f"{lm.arch.blocks}.0.input_layernorm.weight"
    moved = lm.model.state_dict()[norm] + 1
    save_file({norm: moved, "nobody.knows": torch.ones(2)}, path)
    session = Session()
    laid = tracing.bring(studio, session, path, "more").outcome()
    assert laid.elsewhere == (norm,) and not laid.patch.weights
    assert "nobody.knows" in html.laid(laid) and "1 parameters that no patch" in html.laid(laid)
    found = tracing.look(studio, session, with_base=True).outcome()
    assert "input_layernorm" in found.verdict


def test_a_name_without_the_models_prefix_is_the_same_weight(studio, edit, tmp_path):
    lm, path = studio.lm, tmp_path / "bare.safetensors"
    W = lm.weight(lm.mlp_out(LAYER), edit)
    save_file({parameter(lm).removeprefix(f"{lm.model.base_model_prefix}."): W}, path)
    assert suspects.brought(lm, studio.choices, path, "bare").patch.weights


def _tensor(lm, **changes):
    W = lm.weight(lm.mlp_out(LAYER)).clone()
    W[0, 0] = changes.get("entry", 7.0)
    return changes.get("shape", lambda one: one)(W).to(changes.get("dtype", torch.float32))


BAD = {
    "pickle": ("no safetensors file", lambda lm, p: p.write_bytes(pickle.dumps({"a": 1}) * 99)),
    "empty": ("no safetensors file", lambda lm, p: p.write_bytes(b"")),
    "promise": (
        "no safetensors file",
        lambda lm, p: p.write_bytes(struct.pack("<Q", 10**9) + b"{}" * 9),
    ),
    "long": (
        "no safetensors file",
        lambda lm, p: _promise(p, parameter(lm), [10**9, 10**9]),
    ),
    "shape": (
        "has the shape",
        lambda lm, p: save_file({parameter(lm): _tensor(lm, shape=lambda W: W[:3].clone())}, p),
    ),
    "nan": (
        "infinite or missing",
        lambda lm, p: save_file({parameter(lm): _tensor(lm, entry=float("nan"))}, p),
    ),
    "whole numbers": (
        "as I8",
        lambda lm, p: save_file({parameter(lm): _tensor(lm, dtype=torch.int8)}, p),
    ),
    "other model": (
        "holds no weights of tiny-llama",
        lambda lm, p: save_file({"h.0.mlp.c_proj.weight": torch.ones(2, 2)}, p),
    ),
    "truncated": (
        "no safetensors file",
        lambda lm, p: (save_file({parameter(lm): _tensor(lm)}, p), _cut(p)),
    ),
}


def _promise(path, name, shape):
    text = f'{{"{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[0,4000000000]}}}}'.encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 64)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_in_a_sentence(studio, tmp_path, kind):
    said, write = BAD[kind]
    path = tmp_path / "bad.safetensors"
    write(studio.lm, path)
    session = Session()
    with pytest.raises(Trouble, match=said) as error:
        tracing.bring(studio, session, path, "bad.safetensors").outcome()
    assert str(error.value).endswith(".") and str(tmp_path) not in str(error.value)
    assert session.trial is None


def test_a_patch_that_changes_no_weights_or_is_for_another_model_is_refused(studio, tmp_path):
    fact = lib.Fact("cat", "I saw a {}", "xy")
    routed = lib.EDITORS["retrieval"](studio.lm).edit([fact]).save(tmp_path / "r.safetensors")
    with pytest.raises(Trouble, match="changes no weights"):
        tracing.bring(studio, Session(), routed, "r.safetensors").outcome()
    other = lib.Patch({studio.lm.mlp_out(0): torch.ones(32, 48)}, base="gpt-9 abc")
    other.save(tmp_path / "o.safetensors")
    with pytest.raises(Trouble, match="this patch is for gpt-9"):
        tracing.bring(studio, Session(), tmp_path / "o.safetensors", "o").outcome()


def test_what_is_too_large_is_refused_before_it_is_read(studio, file, monkeypatch):
    with pytest.raises(Trouble, match="this page takes up to 0 MB"):
        suspects.brought(studio.lm, studio.choices, file, "large", most=10)
    monkeypatch.setattr(suspects, "MATRICES", 100)
    with pytest.raises(Trouble, match="in more matrices than this page compares"):
        suspects.brought(studio.lm, studio.choices, file, "large")


def test_an_examination_can_be_stopped_and_another_table_does_not_get_its_result(studio, file):
    session = Session()
    with pytest.raises(Trouble, match="Nothing lies on the table"):
        tracing.look(studio, session, True)
    tracing.bring(studio, session, file, "x").outcome()
    job = tracing.look(studio, session, with_base=False)
    for progress in job.watch():
        if progress.share > 0.05:
            session.stop()
    with pytest.raises(Stopped):
        job.outcome()
    assert session.trial.findings is None and not studio.lm.is_patched
    job = tracing.look(studio, session, with_base=True)
    session.trial = tracing.Trial(session.trial.suspect)
    with pytest.raises(Trouble, match="Something else lies on the table"):
        job.outcome()
    assert session.trial.findings is None and not session.empty


@pytest.mark.parametrize("wrong", [3, ["a"], "x" * 5000])
def test_wrong_values_are_one_sentence(studio, file, wrong):
    session = Session()
    tracing.bring(studio, session, file, "x").outcome()
    with pytest.raises(Trouble):
        tracing.look(studio, session, wrong)
    with pytest.raises(Trouble):
        tracing.look(studio, session, True, more=wrong)
    with pytest.raises(Trouble):
        tracing.look(studio, session, True, whole=True, prompts=wrong)
    with pytest.raises(Trouble):
        tracing.look(studio, session, True, whole=wrong)


def test_names_from_files_and_visitors_are_escaped(studio, tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    path = tmp_path / "evil.safetensors"
    save_file({parameter(studio.lm): _tensor(studio.lm), evil: torch.ones(1)}, path)
    laid = suspects.brought(studio.lm, studio.choices, path, evil)
    found = Findings(False, evil, (Place("layer 0", 1.0, evil),), (Named(evil, 9.0, (0,)),), (),
                     2, 8.0, notes=(evil,))  # fmt: skip
    told = Told(evil, 2, evil, evil, evil, "1", None, None, None)
    undone = Undone(evil, (0,), ())
    page = html.laid(laid) + html.shown(found) + html.told(told) + html.undone(undone)
    page += html.shown(replace(found, suspects=(Named(evil, 9.0, (0,), prompt=True),), prompts=1))
    page += html.caption(Traced(evil, found), evil)
    assert "<img" not in page and "&lt;img" in page


def test_the_stored_example_is_made_as_a_visitors_own(studio, more_strong_settings):
    null = making.make(studio, "natural")
    assert len(null) == studio.lm.n_layers and all(z > 0 for z in null)
    with pytest.raises(Trouble, match="nobody to take out"):
        making.make(studio, "traced", null)  # a random model's edit does not stand out
