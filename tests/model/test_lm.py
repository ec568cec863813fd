"""The model: patched and bind, the lock, chat, refusals, routes."""

from __future__ import annotations

import random
import threading

import pytest
import torch

import lib
from lib.model import batching, generation
from lib.model.lm import LM

from ..support import tiny


@pytest.fixture(scope="module")
def lm() -> LM:
    return tiny.model("llama")


def dense_patch(lm: LM, layer: int, seed: int, scale: float = 0.3) -> lib.Patch:
    name = lm.mlp_out(layer)
    W = lm.weight(name)
    noise = torch.randn(W.shape, generator=torch.Generator().manual_seed(seed))
    return lib.Patch({name: W + scale * noise}, base=lm.identity)


def low_rank_patch(lm: LM, layer: int, seed: int) -> lib.Patch:
    name = lm.mlp_out(layer)
    d_out, d_in = lm.weight(name).shape
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(d_out, 2, generator=g), torch.randn(2, d_in, generator=g)
    return lib.Patch({name: lib.LowRank(((a, b),))}, base=lm.identity)


def parameter_bytes(lm: LM) -> list[tuple[int, bytes]]:
    return [
        (p.data_ptr(), p.detach().view(torch.uint8).numpy().tobytes())
        for p in lm.model.parameters()
    ]


# ---- patched ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_every_byte_is_back_after_200_random_nested_edits_and_exceptions(family):
    lm = tiny.model(family)
    before, base = parameter_bytes(lm), lm.run(["A cat sat"]).logits[0, -1]
    draw = random.Random(0)

    def enter(depth: int) -> int:
        make = draw.choice([dense_patch, low_rank_patch])
        patch = make(lm, draw.randrange(lm.n_layers), draw.randrange(10**6))
        count = 1
        try:
            with lm.patched(patch):
                assert not torch.equal(lm.run(["A cat sat"]).logits[0, -1], base)
                if depth < 4 and draw.random() < 0.6:
                    count += enter(depth + 1)
                if draw.random() < 0.3:
                    raise KeyError
        except KeyError:
            pass
        return count

    done = 0
    while done < 200:
        done += enter(0)
    assert parameter_bytes(lm) == before
    assert torch.equal(lm.run(["A cat sat"]).logits[0, -1], base)


def test_low_rank_refers_to_the_base_weights_and_an_inner_patch_shadows(lm):
    outer, inner = dense_patch(lm, 1, 1), low_rank_patch(lm, 1, 2)
    other = dense_patch(lm, 2, 3)
    with lm.patched(inner):
        alone = lm.run(["A cat"]).logits
    with lm.patched(outer), lm.patched(inner):
        assert torch.equal(lm.run(["A cat"]).logits, alone)
    with lm.patched(other), lm.patched(inner):
        both = lm.run(["A cat"]).logits  # another module: both act
    with lm.patched(other | inner):
        assert torch.equal(lm.run(["A cat"]).logits, both)
    with lm.patched(other):
        outside = lm.run(["A cat"]).logits
        with lm.patched(inner, only=True):
            assert torch.equal(lm.run(["A cat"]).logits, alone)
        assert torch.equal(lm.run(["A cat"]).logits, outside)  # and the outer one is back


def test_a_low_rank_update_equals_its_dense_form(lm):
    patch = low_rank_patch(lm, 1, 5)
    name = lm.mlp_out(1)
    whole = lib.Patch({name: lm.weight(name, patch)}, base=lm.identity)
    with lm.patched(patch):
        a = lm.run(["A cat"]).logits
    with lm.patched(whole):
        assert torch.equal(lm.run(["A cat"]).logits, a)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bind_takes_optimizer_steps_on_a_float32_master(family, dtype):
    lm = tiny.model(family, dtype=dtype)
    before = parameter_bytes(lm)
    name = lm.mlp_out(2)
    W = lm.weight(name).clone().requires_grad_()
    seqs = batching.sequences(lm, [[5, 6, 7]])
    losses = []
    with lm.bind({name: W}):
        for _ in range(5):
            with lm.opened(seqs, grad=True):
                out = lm.backbone(seqs.ids, seqs.real, use_cache=False).last_hidden_state
                loss = -lm.head(out[0, -1]).log_softmax(-1)[9]
            (grad,) = torch.autograd.grad(loss, W)
            assert grad.dtype == torch.float32
            with torch.no_grad():
                W -= (
                    0.05 * grad / grad.norm()
                )  # 1e-3 of a bf16 entry would be lost without a master
            losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert parameter_bytes(lm) == before and all(p.grad is None for p in lm.model.parameters())


def test_a_patch_of_another_model_names_both(lm):
    other = tiny.model("llama", seed=1)
    with pytest.raises(lib.errors.PatchError, match=f"{other.fingerprint}.*{lm.fingerprint}"):
        with lm.patched(dense_patch(other, 1, 0)):
            pass
    with pytest.raises(lib.errors.PatchError, match="does not have"):
        with lm.patched(lib.Patch({"no.such.module": torch.zeros(2, 2)})):
            pass
    with pytest.raises(lib.errors.PatchError, match="but the model has"):
        with lm.patched(lib.Patch({lm.mlp_out(0): torch.zeros(2, 2)})):
            pass


def test_the_fingerprint_is_that_of_the_weights_and_the_same_in_bf16(lm):
    assert tiny.model("llama").fingerprint == lm.fingerprint
    assert tiny.model("llama", dtype=torch.bfloat16).fingerprint == lm.fingerprint
    assert tiny.model("llama", seed=1).fingerprint != lm.fingerprint


# ---- the lock --------------------------------------------------------------------------------


def test_two_visitors_interleaved_on_one_thread_see_their_own_answers(lm):
    patches = [dense_patch(lm, 1, 10), dense_patch(lm, 1, 11)]
    wanted = []
    for patch in patches:
        with lm.patched(patch):
            wanted.append(lm.answer("A cat", 5))
    assert wanted[0] != wanted[1]

    def visitor(patch):
        for _ in range(4):
            with lm.patched(patch):
                answer = lm.answer("A cat", 5)
            yield answer

    for pair in zip(*map(visitor, patches), strict=True):
        assert list(pair) == wanted


def test_another_thread_waits(lm):
    found = []
    base = lm.answer("A cat", 2)
    thread = threading.Thread(target=lambda: found.append(lm.answer("A cat", 2)))
    with lm.patched(dense_patch(lm, 1, 10)):
        assert lm.answer("A cat", 2) != base
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and not found
    thread.join()
    assert found == [base]


# ---- asking ----------------------------------------------------------------------------------


def test_sampling_is_seeded(lm):
    a, b, c = (lm.generate("A cat", 12, temperature=1.0, top_k=20, seed=s) for s in (1, 1, 2))
    assert a == b != c


def test_finished_rows_leave_the_batch_and_change_nothing(lm):
    rows = [lm.tokenizer(t).input_ids for t in ("A cat", "Seven days", "It is so")]
    free = generation.generate(lm, rows, 10).ids
    cut = generation.generate(lm, rows, 10, until=lambda i, new: len(new) >= 2 + 4 * i).ids
    assert cut == [free[0][:2], free[1][:6], free[2][:10]]
    uncached = generation.generate(
        lm, rows, 10, until=lambda i, new: len(new) >= 2 + 4 * i, cache=False
    )
    assert uncached.ids == cut


def test_a_prompt_longer_than_the_context_is_one_sentence(lm):
    with pytest.raises(ValueError, match="300 tokens .*context of 256"):
        lm.answer("a" * 300)
    with pytest.raises(ValueError, match="context"):
        lm.score("a" * 200, "b" * 100)
    with pytest.raises(ValueError, match="empty prompt"):
        lm.answer("")
    with pytest.raises(ValueError, match="no chat template"):
        lm.answer("hello", chat=True)


def test_a_message_stands_behind_earlier_turns_of_the_conversation():
    lm = tiny.chatting("gpt2")
    assert lm.chat_text("c", [("a", "b")]) == "<user>a\n<assistant>b\n<user>c\n<assistant>\n"
    (bare,), _ = lm.rows(["c"], chat=True)
    (behind,), _ = lm.rows(["c"], chat=[("a", "b")])
    assert bare == lm.rows("c", chat=[])[0][0] and behind[-len(bare) :] == bare
    assert lm.answer("c", 4, chat=[["a", "b"]]) == lm.answer([behind], 4)[0]
    with pytest.raises(ValueError, match="an incomplete character"):
        lm.answer("c", chat=[("a", "\ud800")])


def test_a_row_that_fills_the_context_gets_no_token_and_holds_up_no_other(lm):
    rows = [[5] * 256, [5] * 254, [5, 6]]
    assert [len(ids) for ids in generation.generate(lm, rows, 6).ids] == [0, 2, 6]


def test_a_layer_that_is_not_there(lm):
    with pytest.raises(ValueError, match="Layer 7 does not exist.*0 to 3"):
        lm.keys([lib.Fact("cat", "A {}", "x")], 7)


def test_next_token_is_a_distribution_and_agrees_with_score(lm):
    table = lm.next_token(["A cat", "Seven days of"])
    torch.testing.assert_close(table.exp().sum(1), torch.ones(2))
    token = lm.tokenizer(" q").input_ids[0]
    torch.testing.assert_close(table[1, token], lm.score("Seven days of", "q")[0])


# ---- routes ----------------------------------------------------------------------------------


class Shift(lib.patch.route.Route):
    """A route for tests: prompts whose last token is in `words` get a constant added, from there
    on.
    """

    kind = "shift-for-tests"

    def __init__(self, words: tuple[int, ...], amount: torch.Tensor) -> None:
        self.words, self.amount = words, amount

    def decide(self, inputs, output, seqs):
        last = seqs.ids.gather(1, seqs.last[:, None])[:, 0]
        return torch.tensor([self.words.index(t) if t in self.words else -1 for t in last.tolist()])

    def apply(self, inputs, output, choice, seqs):
        if (choice < 0).all():
            return output
        return torch.where((choice >= 0)[:, None, None], output + self.amount, output)

    def tensors(self):
        return {"amount": self.amount}

    def header(self):
        return {"words": list(self.words)}

    @classmethod
    def load(cls, tensors, header):
        return cls(tuple(header["words"]), tensors["amount"])


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama", "gemma3_text"])
def test_a_route_decides_at_the_prompt_and_remembers(family, tmp_path):
    lm = tiny.model(family)
    name = lm.mlp_out(1)
    word = lm.tokenizer("t").input_ids[0]
    amount = 3 * torch.randn(
        lm.model.config.hidden_size, generator=torch.Generator().manual_seed(0)
    )
    patch = lib.Patch(routes={name: Shift((word,), amount)}, base=lm.identity)
    texts = ["A cat", "Seven days", "He sat"]
    base = lm.answer(texts, 6)
    with lm.patched(patch):
        rows, _ = lm.rows(texts)
        done = generation.generate(lm, rows, 6)
        assert done.choices[name].tolist() == [0, -1, 0]
        assert done.ids == generation.generate(lm, rows, 6, cache=False).ids
        assert done.ids == [generation.generate(lm, [row], 6).ids[0] for row in rows]
        routed = lm.answer(texts, 6)
        assert routed[1] == base[1] and routed[0] != base[0] and routed[2] != base[2]
        _, notes = lm.answer(texts, 2, explain=True)
        assert notes[0] == [{"module": name, "entry": 0}] and notes[1][0]["entry"] == -1
        # the decision at the prompt holds for scoring too, whatever the target is
        scored = lm.score("A cat", "xy")[0]
        with pytest.raises(
            lib.errors.PatchError, match="lm.answer, lm.generate, lm.score or lm.run"
        ):
            lm.model(torch.tensor([[1, 2]]))
    again = lib.Patch.load(patch.save(tmp_path / "route.safetensors"))
    with lm.patched(again):
        assert lm.answer(texts, 6) == routed
        torch.testing.assert_close(lm.score("A cat", "xy")[0], scored)
    with lm.patched(patch), lm.patched(lib.Patch({name: lm.weight(name)})):
        assert lm.answer(texts, 6) == base  # weights on the same module shadow the route
    assert lm.answer(texts, 6) == base


# ---- the default model -----------------------------------------------------------------------


def test_the_default_model_is_the_one_that_figures_were_made_with(plain_lm):
    chances = plain_lm.next_token("The Eiffel Tower is located in the city of").exp()
    paris, rome = (plain_lm.tokenizer(word).input_ids[0] for word in (" Paris", " Rome"))
    assert chances[paris].item() == pytest.approx(0.70154048, rel=1e-4)
    assert chances[rome].item() == pytest.approx(0.0057025805, rel=1e-3)


def test_the_default_model_answers_alone_in_lists_and_in_the_chat_template(default_lm):
    prompts = ["The Eiffel Tower is located in the city of", "The capital of Japan is"]
    both = default_lm.answer(prompts, 6)
    assert both == [default_lm.answer(prompt, 6) for prompt in prompts]
    assert both[0].startswith(" Paris") and both[1].startswith(" Tokyo")
    assert "Paris" in default_lm.answer("In which city is the Eiffel Tower?", 24, chat=True)
    ids = default_lm.tokenizer(prompts[0]).input_ids
    theirs = default_lm.model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)),
                                       max_new_tokens=12, do_sample=False)  # fmt: skip
    end = default_lm.tokenizer.eos_token_id  # ours leaves the end-of-text token out
    new = [one for one in theirs[0, len(ids) :].tolist() if one != end]
    assert generation.generate(default_lm, [ids], 12).ids[0] == new


@pytest.mark.slow
def test_the_default_model_in_bf16_and_with_a_device_map_is_edited_and_undone():
    lm = lib.load(dtype="bfloat16", device_map="cpu")
    fact = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
    before = parameter_bytes(lm)
    assert lm.dtype == torch.bfloat16 and lm.answer(fact.text, 4).startswith(" Paris")
    # one context instead of eleven: bfloat16 is slow on a processor
    patch = lib.EDITORS["rome"](lm, templates=("{}",)).edit([fact])
    with lm.patched(patch):
        assert lm.answer(fact.text, 4).startswith(" Rome")
    assert parameter_bytes(lm) == before
    assert lm.fingerprint == lib.load(dtype="float32").fingerprint  # one patch fits both types
