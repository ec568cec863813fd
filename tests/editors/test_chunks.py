"""AnyEdit's chunks: where values stand, what they add up to, and what is kept beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import lib
from lib.editors.shared.layer_spread import SpreadConfig
from lib.keys_values import chunked_values, target_value
from lib.keys_values.chunked_values import LongAnswer, spans

from ..support import tiny

LONG = lib.Fact(None, "Who built it?", "xy and qz, with stone and old wood, so they say")
OTHER = lib.Fact(None, "When?", "in qz years")
SEARCH = target_value.Search(v_lr=0.5, steps=12, decay=1e-3, clamp=20.0, kl_factor=0.0, enough=1e-2)
SPREAD = {"layers": (1, 2), "v_lr": 0.5, "steps": 12, "clamp": 20.0, "decay": 1e-3,
          "tokens": 600, "strength": 1e-4}  # fmt: skip
FAMILIES = ["llama", "gpt2", "gemma3_text", "opt", "falcon"]


@pytest.fixture(scope="module", params=FAMILIES)
def lm(request):
    return tiny.model(request.param)


@pytest.fixture(scope="module")
def llama():
    return tiny.model("llama")


def answer(lm, fact, width):
    return LongAnswer.of(lm.tokenizer, fact, width)


def log_probs(lm, text: LongAnswer, deltas, layer: int, place: str):
    """Log-probability of every answer token in one whole forward with all δ in place."""
    blocks = f"{lm.arch.blocks}.{layer}" if place == "block" else lm.mlp_out(layer)
    with chunked_values.added(lm, blocks, [list(zip(text.lookups, deltas, strict=True))], [0]):
        logits = lib.model.activations.record(lm, [text.ids]).logits[0]
    start = len(text.prompt) - 1
    chosen = logits[start:-1].log_softmax(-1)
    return chosen.gather(1, torch.tensor(text.answer)[:, None])[:, 0]


def test_spans_cover_the_answer_and_a_short_rest_joins_the_chunk_before():
    assert spans(42, 20) == [(0, 20), (20, 42)] and spans(45, 20)[-1] == (40, 45)
    assert spans(3, 20) == [(0, 3)] and spans(20, 20) == [(0, 20)] and spans(1, 1) == [(0, 1)]
    for length in range(1, 60):
        for width in range(1, 25):
            some = spans(length, width)
            assert [s for s, _ in some[1:]] == [e for _, e in some[:-1]]
            assert some[0][0] == 0 and some[-1][1] == length


def test_a_lookup_predicts_the_first_token_of_its_chunk(llama):
    text = answer(llama, LONG, 8)
    assert [text.ids[at + 1] for at in text.lookups] == [text.answer[s] for s, _ in text.spans]
    assert text.answer[-1] == llama.tokenizer.eos_token_id


def test_one_chunk_equals_the_search_for_the_whole_answer(lm):
    """With w ≥ N the value is that of the usual search at the prompt's last token."""
    fact = lib.Fact("tower", "I saw the {}", LONG.target_new)  # the subject ends the prompt
    settings = replace(SEARCH, target_eos=True)
    ((chunk,),) = chunked_values.search(lm, [answer(lm, fact, 1000)], 1, settings)
    (whole,) = target_value.search(lm, [fact], 1, ("{}",), settings, "block")
    for name in ("init", "delta", "mlp", "keys"):
        torch.testing.assert_close(getattr(chunk, name), getattr(whole, name), atol=1e-4, rtol=1e-4)
    assert len(chunk.loss) == len(whole.loss)


def test_with_one_chunk_memit_is_memit(lm):
    fact = lib.Fact("tower", "I saw the {}", LONG.target_new)
    usual = lib.EDITORS["memit"](
        lm, **SPREAD, templates=("{}",), kl_factor=0.0, target_eos=True
    ).edit([fact])
    chunked = lib.EDITORS["memit"](lm, **SPREAD, chunk=1000, hold=0.0).edit([fact])
    for layer in (1, 2):
        torch.testing.assert_close(
            *(lm.weight(lm.mlp_out(layer), patch) for patch in (usual, chunked)),
            atol=1e-3, rtol=1e-3,
        )  # fmt: skip


def test_the_chunks_losses_add_up_to_that_of_the_whole_answer(lm):
    """Each chunk's loss, searched behind kept text, is what a whole forward gives with all δ."""
    text = answer(lm, LONG, 8)
    assert len(text.spans) > 3
    place = "mlp_out" if lm.arch.post_norm else "block"
    (found,) = chunked_values.search(lm, [text], 1, SEARCH)
    chosen = log_probs(lm, text, [t.delta for t in found], 1, place)
    for (start, end), target in zip(text.spans, found, strict=True):
        # the last row of a curve is the loss at the δ that is given back
        assert -chosen[start:end].mean().item() == pytest.approx(target.loss[-1][1], rel=2e-3)
        assert target.loss[-1][1] < target.loss[0][1]
        assert target.delta.norm() <= 20 * target.init.norm() * (1 + 1e-5)


def test_states_before_the_search_are_those_of_the_model(lm):
    """δ of earlier chunks act at other tokens, so a chunk begins at the model's own state."""
    text, name = answer(lm, LONG, 8), lm.mlp_out(1)
    (found,) = chunked_values.search(lm, [text], 1, SEARCH)
    seen = lib.model.activations.module_inputs(lm, [text.ids], [name, lm.above(1)])
    for at, target in zip(text.lookups, found, strict=True):
        torch.testing.assert_close(target.keys[0], seen[name][at], atol=1e-4, rtol=1e-4)
        if not lm.arch.post_norm:
            torch.testing.assert_close(target.init, seen[lm.above(1)][at], atol=1e-4, rtol=1e-4)


def test_a_batch_of_answers_equals_one_by_one(lm):
    texts = [answer(lm, fact, 8) for fact in (LONG, OTHER)]
    assert len(texts[0].spans) != len(texts[1].spans)
    together = chunked_values.search(lm, texts, 1, SEARCH)
    for text, found in zip(texts, together, strict=True):
        (alone,) = chunked_values.search(lm, [text], 1, SEARCH)
        for a, b in zip(alone, found, strict=True):
            assert (a.v_star - b.v_star).norm() < 2e-3 * a.v_star.norm()


@pytest.mark.parametrize("hold", [0.0, None])
def test_keys_of_other_tokens_stay_where_they_are_held(llama, hold):
    """λ → 0 and fewer keys than inputs: Δ K = R at the lookups and Δ Kp = 0 elsewhere."""
    fact = lib.Fact(None, "Who?", "xy old qz")
    settings = {**SPREAD, "layers": (1,), "strength": 1e-9, "second_moment": False}
    editor = lib.EDITORS["memit"](llama, **settings, chunk=4, hold=hold)
    name, text = llama.mlp_out(1), answer(llama, fact, 4)
    patch = editor.edit([fact])
    change = llama.weight(name, patch) - llama.weight(name)
    keys = llama_keys(llama, text, name)
    moved = (change @ keys).norm(dim=0)
    at = torch.zeros(len(text.ids), dtype=torch.bool)
    at[text.lookups] = True
    (found,) = chunked_values.search(llama, [text], 1, editor.settings())
    wanted = torch.stack([t.delta for t in found]).norm(dim=1)
    torch.testing.assert_close(moved[at], wanted, rtol=2e-2, atol=1e-2)
    assert (moved[~at].max() < 0.02 * wanted.min()) == (hold is None)


def llama_keys(lm, text, name):
    """Keys (d_in, tokens) of all tokens of a text."""
    return lib.model.activations.module_inputs(lm, [text.ids], [name])[name].T


def test_chunks_say_more_of_a_long_answer_than_one_value(llama):
    """What the method is for; the end of the text is learned, and no subject is needed."""
    settings = {**SPREAD, "steps": 20, "clamp": 50.0, "decay": 0.0}
    chance = {}
    for chunk in (8, 1000):
        patch = lib.EDITORS["memit"](llama, **settings, chunk=chunk).edit([LONG])
        with llama.patched(patch):
            chance[chunk] = llama.score(LONG.text, LONG.target_new).mean().item()
    assert chance[8] > chance[1000] + 0.5


@pytest.mark.parametrize("name", ["memit", "alphaedit"])
def test_memory_keeps_texts_and_no_templates(llama, name):
    more = {"quantile": 0.9} if name == "alphaedit" else {}
    editor = lib.EDITORS[name](llama, **SPREAD, **more, chunk=8, keep_keys=True)
    first = editor.edit([LONG])
    kept = first.memory[name]
    assert kept.keys() == {"keys"}
    keys = torch.cat(kept["keys"]["1"], 1)
    assert keys.shape == (48, len(answer(llama, LONG, 8).ids))
    with llama.patched(first):
        torch.testing.assert_close(
            keys, llama_keys(llama, answer(llama, LONG, 8), llama.mlp_out(1)),
            atol=1e-4, rtol=1e-4,
        )  # fmt: skip
    second = editor.edit([OTHER], after=first)
    assert editor.without(second, 0, exact=False) is None
    # contexts of an edit without chunks stay what they were
    usual = lib.EDITORS[name](llama, **SPREAD, **more, templates=("{}", "So. {}"))
    before = usual.edit([lib.Fact("tower", "The {} is", "xy")])
    after = editor.edit([LONG], after=before)
    assert after.memory[name]["templates"] == ("{}", "So. {}")
    torch.testing.assert_close(
        llama.weight(llama.mlp_out(1), editor.edit([LONG])),
        llama.weight(llama.mlp_out(1), first), rtol=0, atol=0,
    )  # fmt: skip


def test_wrong_settings_and_facts_are_one_sentence(llama):
    with pytest.raises(lib.EditError, match="chunk is at least 1, not 0"):
        lib.EDITORS["memit"](llama, chunk=0)
    with pytest.raises(lib.EditError, match="chunk is .*, not 'x'"):
        lib.EDITORS["memit"](llama, chunk="x")
    with pytest.raises(lib.EditError, match="hold is at least 0"):
        lib.EDITORS["memit"](llama, hold=-1.0)
    with pytest.raises(lib.EditError, match="row 0 has no subject"):
        lib.EDITORS["memit"](llama, **SPREAD).edit([LONG])
    wide = lib.EDITORS["memit"](llama, **SPREAD, chunk=10**9)
    assert len(wide._answers([LONG])[0].spans) == 1
    assert not hasattr(SpreadConfig(), "chunk")  # only where it is published


@pytest.mark.parametrize("name", ["ft", "lora", "wise", "grace", "memit", "retrieval"])
def test_what_no_model_could_write_is_refused(llama, name, monkeypatch):
    monkeypatch.setattr(llama.model.generation_config, "eos_token_id", llama.tokenizer.eos_token_id)
    settings = {"chunk": 20} if name == "memit" else {}
    editor = lib.EDITORS[name](llama, **settings)
    tower = lib.Fact("tower", "The {} is", "xy")
    with pytest.raises(lib.EditError, match="row 1: the prompt .* exceeds the context of 256"):
        editor.edit([tower, lib.Fact(None, "Why?", "word " * 10_000)])
    with pytest.raises(lib.EditError, match=r"row 0: the answer holds '<\|end\|>', which ends"):
        editor.edit([lib.Fact(None, "Why?", "one <|end|> two")])
    with pytest.raises(lib.FactError, match="target_new is empty"):
        lib.Fact(None, "Why?", " ")


def test_retrieval_counts_its_note(llama):
    editor = lib.EDITORS["retrieval"](llama)
    answer = "x" * 120  # tokens are bytes: read in the note, and written behind the prompt
    with pytest.raises(lib.EditError, match="with the note that is put before the prompt, which"):
        editor.edit([lib.Fact(None, "Why?", answer)])
    assert editor.edit([lib.Fact(None, "Why?", "x" * 100)]).rewrites
