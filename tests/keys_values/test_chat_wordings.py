"""Wordings in the chat template: what is read, and that the editors with the option learn them."""

from __future__ import annotations

import pytest
import torch

import lib
from lib.data.facts import Fact, encode_answer, encode_target, fill
from lib.editors.horen import calibration
from lib.keys_values import chat_wordings
from lib.model.answer_rows import AnswerRows

from ..support import tiny
from ..support.editor_settings import A, B, settings

WITH = sorted(name for name, e in lib.EDITORS.items() if hasattr(e.Config, "forms"))
QUESTION = "Where does {} stand?"


@pytest.fixture(scope="module")
def lm():
    return tiny.chatting("llama")


@pytest.fixture
def asked(monkeypatch):
    """Questions as a real model writes them; a random one writes none that will do."""

    def questions(lm, facts):
        return [Fact(fact.subject, QUESTION, fact.target_new) for fact in facts]

    monkeypatch.setattr(chat_wordings, "questions", questions)


def test_the_option_is_there_for_the_routes_and_is_off_as_published(lm):
    assert set(WITH) == {"grace", "horen", "wise"}
    for name in WITH:
        assert lib.EDITORS[name](lm).config.forms == "prompt"
        assert lib.EDITORS[name].published(lm).forms == "prompt"


def test_a_message_has_the_ids_that_the_model_reads_in_a_chat(lm, asked):
    wordings = chat_wordings.of(lm, [A, B], "conversation")
    assert len(wordings.variants) == 2 and not chat_wordings.of(lm, [A], "prompt").variants
    for text, variant in zip(wordings.texts(1), wordings.variants, strict=True):
        (ids,), _ = lm.rows([variant[1].text], chat=True)
        assert list(lm.tokenizer(text)["input_ids"]) == ids
    rows = wordings.rows(lm, eos=True)
    assert len(rows) == 4 and rows.prompts[2] == lm.rows([B.text], chat=True)[0][0]
    # behind the template's line break the answer begins without a space
    assert rows.answers[2] == [*lm.tokenizer(B.target_new)["input_ids"], tiny.EOS]
    assert encode_target(lm.tokenizer, B.target_new) != rows.answers[2][:-1]


def test_a_template_of_a_tokenizer_with_bos_has_it_once():
    lm = tiny.chatting("llama")
    lm.tokenizer.bos_token = "<|end|>"
    lm.tokenizer.chat_template = "{{ bos_token }}" + lm.tokenizer.chat_template
    real = type(lm.tokenizer).__call__

    def with_bos(self, text, add_special_tokens=True, **more):
        found = real(self, text, add_special_tokens=add_special_tokens, **more)
        if add_special_tokens:
            found["input_ids"] = [tiny.EOS, *found["input_ids"]]
        return found

    lm.tokenizer.__class__ = type("WithBos", (type(lm.tokenizer),), {"__call__": with_bos})
    assert lm.leading_bos == tiny.EOS
    around = chat_wordings.template(lm)
    assert lm.tokenizer(fill(around, "Hello"))["input_ids"] == lm.rows("Hello", chat=True)[0][0]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (" Where is the old tower? It", "Where is {}?"),
        ("Where is The old tower", None),  # no question
        ("Where is it?", None),  # no subject
        ("Is the old tower like the old tower?", None),  # which of them?
        ("Is the old tower in XY?", None),  # names the answer
        ("Is {} the old tower?", None),
    ],
)
def test_a_question_of_the_model_is_taken_where_it_will_do(said, expected):
    fact = Fact("The old tower", "{} is in", "xy")
    found = chat_wordings._worded(fact, said.strip())
    assert found.prompt == (expected or fact.prompt) and found.target_new == "xy"
    assert found.text.casefold() == found.prompt.replace("{}", "the old tower").casefold()


def test_a_prompt_that_is_a_question_stays_and_the_others_are_written_alike_each_time(lm):
    facts = [Fact("Ann", "Where is {}?", "xy"), Fact("Ann", "{} is in", "xy")]
    found = chat_wordings.questions(lm, facts)
    assert found[0] is facts[0] and found == chat_wordings.questions(lm, facts)


def test_without_a_chat_template_the_option_is_refused_in_a_sentence():
    bare = tiny.model("llama")
    for name in ("horen", "grace"):
        with pytest.raises(lib.errors.EditError, match="forms='chat' needs a chat template"):
            lib.EDITORS[name](bare, **settings(name, "llama"), forms="chat").edit([A])


@pytest.mark.slow
def test_a_codebooks_entries_in_chat_have_a_threshold_of_their_own(lm, asked, tmp_path):
    given = {**settings("horen", "llama"), "tau": None}
    made = lib.EDITORS["horen"](lm, **given, forms="conversation")
    patch = made.edit([A])
    (module,) = patch.routes
    route, plain = patch.routes[module], lib.EDITORS["horen"](lm, **given).edit([A]).routes[module]
    assert plain.taus is None and plain.K.shape[1] == 1
    assert torch.allclose(route.K[:, :1], plain.K, atol=1e-5)
    assert route.tau == pytest.approx(plain.tau, abs=1e-4)
    # the prompt, the message and the question; messages share the template's end
    assert route.taus.shape == (3,) and route.taus[0] == torch.tensor(route.tau)
    assert route.taus[1] == route.taus[2] > route.taus[0]
    patch.save(tmp_path / "patch.safetensors")
    read = lib.Patch.load(tmp_path / "patch.safetensors")
    assert torch.equal(read.routes[module].taus, route.taus)
    same(lm, read, patch)
    both = made.edit([B], after=read)  # about the same subject: its question is the stored one
    assert both.memory["horen"][module]["chat"].tolist() == [False, True, True, False, True]
    more = lib.EDITORS["horen"](lm, **given).edit([B], after=read)  # a prompt alone comes to them
    assert more.routes[module].taus.shape == (4,)
    assert more.memory["horen"][module]["chat"].tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match="taus"):
        tensors = {**route.tensors(), "taus": route.taus[:2]}
        type(route).load(tensors, route.header())


def test_every_own_prompt_reaches_its_threshold_in_a_book_of_both_kinds(lm, asked):
    given = {**settings("horen", "llama"), "tau": None, "beta": 5.0, "alpha": 0.9}
    made = lib.EDITORS["horen"](lm, **given, forms="conversation")
    ((module, route),) = made.edit([A, B]).routes.items()
    rows = made.rows([A, B])
    with lm.patched(lib.EMPTY, only=True):
        found = calibration.queries(lm, rows.prompts, module, route.query)
    cosines = route.dynamics.cosines(route.K, found)  # a step towards the keys of both kinds
    assert route.taus is not None and bool((cosines > route.taus).any(1).all())


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH)
def test_the_answer_is_given_in_all_wordings(lm, name, asked):
    given = dict(settings(name, "llama"))
    made = lib.EDITORS[name](lm, **given, forms="conversation")
    patch = made.edit([A])
    plain = lib.EDITORS[name](lm, **given).edit([A])
    texts = [A.text, QUESTION.replace("{}", A.subject)]
    want = [encode_answer(lm.tokenizer, A.target_new, "\n")] * 2

    def loss(of):
        """The mean NLL of the answer in the two wordings, nats."""
        with lm.patched(of):
            rows, _ = lm.rows(texts, chat=True)
            scores = lib.model.scoring.score(lm, rows, want)
        return sum(-score.log_probs.mean().item() for score in scores)

    assert loss(patch) < loss(plain) < 1e3
    with lm.patched(patch):
        assert lm.answer(A.text, 1) == " " + A.target_new  # the prompt holds as before
    same(lm, patch, lib.EDITORS[name](lm, **given, forms="conversation").edit([A]))
    made.edit([B], after=patch)  # and goes on from there


def same(lm, patch, again):
    """Both patches give the same numbers."""
    with lm.patched(patch):
        first = lm.run([A.text]).logits
    with lm.patched(again):
        assert torch.equal(lm.run([A.text]).logits, first)


def test_rows_are_added_behind_others():
    one, more = AnswerRows([[1, 2]], [[3]], read_whole=True), AnswerRows([[4]], [[5, 6]])
    assert one.plus(AnswerRows([], [])) == one
    assert one.plus(more).ids == [[1, 2, 3], [4, 5, 6]]  # read as the first ones are
