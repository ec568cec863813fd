"""The base model's answers on disk: equal to what was said, of this model only, and opt-in."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pandas as pd
import pytest
import torch

import lib
from lib.arena.cells import BASE as UNEDITED
from lib.arena.cells import Cell
from lib.cli.main import main
from lib.data.facts import Case, Fact, Probe
from lib.evaluation import kept_base
from lib.evaluation.answer_file import FOLDER, LIMIT, Row
from lib.evaluation.conversation import CONVERSATION
from lib.evaluation.evaluate import baseline, evaluate
from lib.evaluation.interview import Interview
from lib.evaluation.kept_base import KeptAnswers, label
from lib.evaluation.probe_prompts import METRICS
from lib.evaluation.scores import Base
from lib.lifelong.stream import stream
from lib.patch.patch import EMPTY, Patch

from ..support import tiny
from ..support.cases import small_cases
from ..support.streams import Noise

EVERY = {
    "metrics": (*METRICS, *(name for name in CONVERSATION if name not in METRICS)),
    "text": "The sea is wide, and the harbor is small.",
}
FEW = {"metrics": ("efficacy", "locality", "perplexity"), "text": EVERY["text"]}
PARAGRAPH = " ".join("abcdefghijklmnopqrstuvwxyz")


@pytest.fixture(scope="module")
def lm():
    return tiny.chatting("llama")


@pytest.fixture(scope="module")
def patch(lm):
    W = lm.weight(lm.mlp_out(1))
    torch.manual_seed(3)
    return Patch({lm.mlp_out(1): W + 0.3 * torch.randn_like(W)}, base=lm.identity)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder of the files, in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "model-editing" / FOLDER


@pytest.fixture(scope="module")
def cases(lm):
    """Cases that have something for every metric; the base model knows one part of a question."""
    with lm.patched(EMPTY, only=True):
        known = lm.answer("Two is", 32).split()[0]
    part = Probe("Two is", known)
    chain = Probe("One is", "two", ("deux",), kind="multi-hop", wordings=("1 is",), parts=(part,))
    tower = Case(
        Fact("The Eiffel Tower", "{} is located in the city of", "Rome", "Paris"),
        paraphrases=("Where is the tower? In",),
        neighborhood=(Probe("Big Ben is in", "London"),),
        portability=(chain, Probe("Two is", known, kind="alias")),
        id="tower",
        relation="located in the city of",
    )
    long = Case(
        Fact("The alphabet", "{} goes", PARAGRAPH, "xyz"),
        paraphrases=("Say it:",),
        portability=(Probe("It begins with", "a b", kind="part"),),
        id="long",
    )
    return [*small_cases(), tower, long]


@contextmanager
def runs(lm):
    """A list that gets an entry whenever the model or its head is run."""
    found = []
    modules = (lm.model.base_model, lm.blocks[0], lm.model.get_output_embeddings())
    hooks = [m.register_forward_hook(lambda *given: found.append(given[0])) for m in modules]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def same_answers(a: Base, b: Base) -> None:
    """Everything that two bases hold is equal, bit by bit."""
    for name in ("begins", "said", "drafts", "replies"):
        assert getattr(a, name) == getattr(b, name), name
    assert a.states.keys() == b.states.keys()
    for prompt, state in a.states.items():
        assert state.dtype == b.states[prompt].dtype and torch.equal(state, b.states[prompt])
    pd.testing.assert_frame_equal(a.scores.rows, b.scores.rows, check_exact=True)
    assert a.scores.perplexity == b.scores.perplexity and repr(a.scores) == repr(b.scores)


def test_the_second_time_nothing_is_run_and_everything_is_equal(lm, cases, patch):
    with runs(lm) as count:
        plain = baseline(lm, cases, **EVERY)
        assert count
    first = baseline(lm, cases, keep_base=True, **EVERY)
    shown = {metric for metric, event in first.scores.asked}
    assert {*EVERY["metrics"]} - {"perplexity"} <= shown and len(shown) > 20
    with runs(lm) as count:
        second = baseline(lm, cases, keep_base=True, **EVERY)
        assert not count
    same_answers(plain, first)
    same_answers(plain, second)
    # a patch is measured against them as without the disk
    before, after = (evaluate(lm, cases, patch, base=base, **EVERY) for base in (plain, second))
    kl = before.rows["event"] == "kl_nats"
    assert kl.any() and before.rows[kl]["value"].max() > 0
    pd.testing.assert_frame_equal(before.rows[~kl], after.rows[~kl], check_exact=True)
    pd.testing.assert_frame_equal(before.rows[kl], after.rows[kl], atol=1e-6)
    assert repr(before) == repr(after)


def test_scores_come_back_bit_by_bit(lm):
    def asked():
        interview = Interview(lm)
        interview.score("Ann is in", " Rome")
        interview.score("Ann is in", (5, 6, 7))
        interview.state("Ann is in")
        interview.generate("Bob", ("Rome", "Paris"), chat=True)
        return KeptAnswers(lm).heard(interview)

    first, second = asked(), asked()
    assert first.scores.keys() == second.scores.keys() and len(first.scores) == 2
    for pair, score in first.scores.items():
        assert torch.equal(score.log_probs, second.scores[pair].log_probs)
        assert torch.equal(score.hits, second.scores[pair].hits)
        assert score.hits.dtype == second.scores[pair].hits.dtype
    assert first.chat == second.chat and first.ids == second.ids and len(first.chat) == 1


def test_another_wanted_answer_is_another_question(lm):
    base = Base(lm.identity, on_disk=True)
    for target in ("Rome", "Oslo", ("Rome",), ("Rome", "Oslo")):
        for chat in (False, True):
            interview = Interview(lm)
            interview.generate("Ann is in", target, chat=chat)
            with runs(lm) as count:
                base.answers(lm).heard(interview)
                assert count, (target, chat)


def test_without_being_asked_for_nothing_is_written(lm, cases, patch, folder):
    base = baseline(lm, cases[:2], **FEW)
    evaluate(lm, cases[:2], patch, base=base, **FEW)
    evaluate(lm, cases[:1], **FEW)
    stream(lm, Noise(lm), cases[:1], evaluate_with=FEW, progress=False).finish()
    assert not folder.exists()


def test_a_patched_model_is_never_kept(lm, cases, patch, folder):
    base = Base(lm.identity, on_disk=True)
    with lm.patched(patch):
        assert not isinstance(base.answers(lm), KeptAnswers)
        inside = baseline(lm, cases[:2], keep_base=True, **FEW)
    assert inside.scores.rows.equals(baseline(lm, cases[:2], **FEW).scores.rows)
    with lm.patched(patch):  # the caller's patch stays, and the base is read beside it
        scores = evaluate(lm, cases[:2], base=Base(lm.identity, on_disk=True), **FEW)
    assert scores.json()["locality"]["teacher_forced"] < 1
    again = baseline(lm, cases[:2], keep_base=True, **FEW)
    assert again.scores.rows.equals(inside.scores.rows)


def files(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_what_decides_the_answers_decides_the_file(lm, monkeypatch):
    labels = [label(lm)]
    assert label(lm) == label(tiny.chatting("llama")) == labels[0]
    labels.append(label(tiny.model("llama")))  # no chat template, another context
    labels.append(label(tiny.chatting("llama", dtype=torch.bfloat16)))
    one = tiny.chatting("llama")
    with torch.no_grad():  # a weight that the fingerprint does not look at
        one.model.get_submodule(one.mlp_out(1)).weight[3, 5] += 1e-6
    assert one.identity == lm.identity
    labels.append(label(one))
    two = tiny.chatting("llama")
    two.model.config.rms_norm_eps *= 2
    labels.append(label(two))
    three = tiny.chatting("llama")
    three.tokenizer.add_tokens(["zzz"])
    labels.append(label(three))
    monkeypatch.setattr(kept_base, "FORM", kept_base.FORM - 1)
    labels.append(label(lm))
    assert len(set(labels)) == len(labels) == 7


def test_the_label_does_not_depend_on_what_was_asked_before():
    lm = tiny.chatting("llama")
    before = label(lm)
    lm.tokenizer.backend_tokenizer.enable_padding(length=9)
    lm.tokenizer.backend_tokenizer.enable_truncation(9)
    assert label(lm) == before
    lm.tokenizer.backend_tokenizer.no_padding()
    lm.tokenizer.backend_tokenizer.no_truncation()
    lm.answer("Ann", 3, chat=True)
    assert label(lm) == before


def test_another_model_and_an_old_form_are_asked_anew(lm, cases, folder, monkeypatch):
    baseline(lm, cases[:1], keep_base=True, **FEW)
    assert len(files(folder)) == 1
    other = tiny.chatting("llama", seed=1)
    with runs(other) as count:
        found = baseline(other, cases[:1], keep_base=True, **FEW)
        assert count
    assert found.scores.rows.equals(baseline(other, cases[:1], **FEW).scores.rows)
    monkeypatch.setattr(kept_base, "FORM", kept_base.FORM + 1)
    with runs(lm) as count:
        baseline(lm, cases[:1], keep_base=True, **FEW)
        assert count
    assert len(files(folder)) == 3


def test_weights_that_are_written_to_are_noticed_and_an_equal_name_is_not_enough(cases):
    lm = tiny.model("llama")
    base = Base(lm.identity, on_disk=True)
    file = base.answers(lm).file()
    assert base.answers(lm).file() is file
    with torch.no_grad():
        for p in lm.model.parameters():
            p.add_(0.1)
    assert base.answers(lm).file().path != file.path
    half = tiny.model("llama", dtype=torch.bfloat16)
    assert half.identity == tiny.model("llama").identity
    assert base.answers(half).lm is half and base.answers(half).file().path != file.path


WRONG = {
    "score": [Row("[true]", bytes(12)), Row("[true, true, true]", bytes(8)), Row("[1, 0, 1]")],
    "said": [Row('["x"]'), Row('["x", [true, true], []]'), Row('["x", [true, true, true], [-1]]')],
    "begin": [Row("[[0,0,0,0,0,0,0,0,0], null, []]"), Row("[" * 5000), Row(f'[{[0] * 9}, "", []]')],
    "state": [Row('"torch.float32"', bytes(4)), Row('"torch.float64"', bytes(4 * 32)), Row("{}")],
}


@pytest.mark.parametrize(("kind", "row"), [(k, row) for k, rows in WRONG.items() for row in rows])
def test_a_row_that_does_not_fit_its_question_is_asked_anew(lm, kind, row):
    def interview():
        made = Interview(lm)
        made.score("Ann", (5, 6, 7))
        made.generate("Ann", "Rome")
        made.begin("Ann")
        made.state("Ann")
        return made

    keys = [one.key for one in kept_base.wanted(interview())]
    (key,) = [key for key in keys if json.loads(key)[0] == kind]
    KeptAnswers(lm).file().write({key: row})
    wanted, found = interview().ask(), KeptAnswers(lm).heard(interview())
    assert found.said == wanted.said and found.begins == wanted.begins
    assert torch.equal(found.states["Ann"], wanted.states["Ann"])
    pair = "Ann", (5, 6, 7)
    assert torch.equal(found.scores[pair].hits, wanted.scores[pair].hits)


def test_half_precision_comes_back_as_it_was():
    lm = tiny.model("llama", dtype=torch.bfloat16)

    def state():
        interview = Interview(lm)
        interview.state("Ann is in")
        return KeptAnswers(lm).heard(interview).states["Ann is in"]

    first, second = state(), state()
    assert first.dtype == second.dtype == torch.bfloat16 and torch.equal(first, second)


def test_an_evaluation_goes_on_without_a_disk(lm, cases, tmp_path):
    (tmp_path / "model-editing").write_text("not a folder")
    with pytest.warns(UserWarning, match="are not kept"):
        kept = baseline(lm, cases[:2], keep_base=True, **FEW)
    assert kept.scores.rows.equals(baseline(lm, cases[:2], **FEW).scores.rows)


def test_a_damaged_file_does_not_change_a_table(lm, cases, folder):
    plain = baseline(lm, cases[:2], keep_base=True, **FEW)
    (path,) = folder.iterdir()
    path.write_bytes(b"garbage" * 1000)
    with pytest.warns(UserWarning, match="was damaged"):
        again = baseline(lm, cases[:2], keep_base=True, **FEW)
    same_answers(plain, again)
    with runs(lm) as count:
        same_answers(plain, baseline(lm, cases[:2], keep_base=True, **FEW))
        assert not count


def test_streams_and_arenas_read_what_another_has_kept(lm, cases, folder, tmp_path):
    more = {"evaluate_with": FEW, "progress": False}
    plain = stream(lm, Noise(lm), cases[:3], 3, **more).finish()
    first = stream(lm, Noise(lm), cases[:3], 3, keep_base=True, **more).finish()
    (path,) = folder.iterdir()
    size = path.stat().st_size
    second = stream(lm, Noise(lm), cases[:3], 3, keep_base=True, **more)
    with runs(lm) as count:
        second._start()
        assert not count
    second.finish()
    for run in (first, second):
        assert run.json()["scores"].keys() == {"0", "3"}
        for point in (0, 3):
            rows, wanted = run.scores[point].rows, plain.scores[point].rows
            pd.testing.assert_frame_equal(rows, wanted, atol=1e-6)
    assert path.stat().st_size == size
    data = {"small": cases[:3]}
    made = lib.Arena(lm, data, tmp_path / "arena", (2,), editors=["grace"], keep_base=True)
    cell = Cell(UNEDITED, "small", 2)
    assert made._base(cell).on_disk
    assert not lib.Arena(lm, data, tmp_path / "arena", (2,), editors=["grace"])._base(cell).on_disk


def test_a_run_that_goes_on_from_its_journal_reads_the_same(lm, cases, tmp_path):
    more = {"evaluate_with": FEW, "progress": False, "keep_base": True}
    whole = stream(lm, Noise(lm), cases[:2], eval_at=(0, 1, 2), **more).finish()
    begun = stream(lm, Noise(lm), cases[:2], eval_at=(0, 1, 2), journal=tmp_path / "j", **more)
    next(iter(begun))
    begun.journal.close()
    again = stream(lm, Noise(lm), cases[:2], eval_at=(0, 1, 2), journal=tmp_path / "j", **more)
    again.finish()
    for point in (0, 1, 2):
        a, b = whole.scores[point].rows, again.scores[point].rows
        pd.testing.assert_frame_equal(a, b, atol=1e-6)


def test_the_command_keeps_them_only_with_its_option(monkeypatch, tmp_path, folder, capsys):
    lm = tiny.model("llama")
    monkeypatch.setattr("lib.cli.options.load", lambda *_: lm)
    rows = [
        {"prompt": f"I saw a {w}", "subject": w, "ans": "xy", "rephrase_prompt": f"Look, a {w}",
         "loc": "A dog", "loc_ans": "qz"} for w in ("cat", "bat")
    ]  # fmt: skip
    data, out = tmp_path / "d.jsonl", tmp_path / "out.json"
    data.write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "text").write_text(EVERY["text"])
    for module in ("perplexity", "kept_base"):  # a short text in place of the shipped one
        monkeypatch.setattr(f"lib.evaluation.{module}.HELD_OUT", tmp_path / "text")
    command = ["stream", "--editor", "ft_m", "--data", str(data), "--batch", "2", "--set"]
    command += ["layer=1", "--eval-at", "0", "--json", str(out)]
    found = []
    for more in ([], ["--keep-base"], ["--keep-base"]):
        assert main([*command, *more]) == 0
        found.append(json.loads(out.read_text())["scores"])
        assert len(files(folder)) == len(more[:1])
    assert found[0] == found[1] == found[2]


def test_the_help_says_how_to_forget_them(capsys):
    for command in ("stream", "arena"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        said = " ".join(capsys.readouterr().out.split())
        assert "--keep-base" in said and f"delete {FOLDER} in the cache folder" in said
        assert f"at most {LIMIT >> 20} MB" in said
