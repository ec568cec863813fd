"""ROME: one fact into one layer (Meng et al., 2022), in the form of R-ROME (Gupta et al., 2024).

The output projection W of an MLP is read as a memory, and the last token of the subject is where a
fact is looked up. So three things have to be found: the key k that W reads there, a value v* that
makes the model give the new answer, and the matrix that says W k = v* and otherwise little else.

    1. k   is the input of W at the subject's last token, the mean over a few contexts.
    2. v*  is found by gradient descent: the weights are frozen, one vector δ moves.
    3. W   is changed by `insert` (interference.py), in closed form.

Left out: the library also writes the key of the bare prompt, finishes whole batches at once, and
runs only the blocks above the layer. Given: contexts (they come from the model itself; here three
sentences) and C, the second moment of the keys of general text (interference.second_moment).

    python -m notebooks.scratch.rome [FOLDER OF A MODEL]
"""

import torch

from . import common
from .interference import insert, second_moment

CONTEXTS = ("{}", "The first thing to know is this. {}", "I asked her again. {}", "It was late. {}")


def places(tokenizer, fact, contexts):
    """Token ids of the prompt in every context, and the positions of the subject's last token."""
    rows = [common.subject_end(tokenizer, fact, context) for context in contexts]
    return [ids for ids, _ in rows], [at for _, at in rows]


def keys(model, tokenizer, fact, module, contexts):
    """What the module reads at the subject's last token, (contexts, d_in)."""
    rows, at = places(tokenizer, fact, contexts)
    [(inputs, _)] = common.watch(model, common.padded(rows), module)
    return inputs[range(len(rows)), at]


def search_loss(nll, now, before, delta, size, kl_weight, decay):
    """What a value has to do: give the answer, leave the subject what it is, and stay small.

    L(δ) = mean NLL of the answer + kl_weight · KL(now ‖ before) + decay · ‖δ‖ / ‖v₀‖²

    nll (contexts,) of the answer; now and before (words,) log-probabilities of the word after the
    subject in "SUBJECT is a", with and without δ; size ‖v₀‖ of the value before the search.
    """
    kl = (now.exp() * (now - before)).sum()
    return nll.mean() + kl_weight * kl + decay * delta.norm() / size**2


def search_value(
    model, tokenizer, fact, module, contexts,
    steps=20, lr=0.5, clamp=4.0, kl_weight=0.0625, decay=0.5, enough=0.05,
):  # fmt: skip
    """The value v* (d_out,) that the module should put out at the subject's last token."""
    prompts, at = places(tokenizer, fact, contexts)
    answers = [common.answer_ids(tokenizer, fact.answer)] * len(prompts)
    # one row more, which has no answer: what does the model say about the subject itself?
    subject, end = common.subject_end(tokenizer, common.Fact(fact.subject, "{} is a", ""))
    ids, labels = common.with_answers([*prompts, subject], [*answers, [-100]])
    rows, at = range(len(ids)), [*at, end]

    [(_, outputs)] = common.watch(model, ids, module)
    start = outputs[0, at[0]]  # v₀ (d_out,), at the bare prompt
    delta = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=lr)
    before = None

    def add_delta(module, inputs, output):
        output = output.clone()
        output[rows, at] = output[rows, at] + delta
        return output

    for step in range(steps):
        with common.hooked(module, add_delta):
            logits = model(ids).logits  # (rows, length, words)
        now = logits[-1, end].log_softmax(-1)
        before = now.detach() if before is None else before  # δ is still 0
        nll = common.answer_loss(logits[:-1], labels[:-1])
        loss = search_loss(nll, now, before, delta, start.norm(), kl_weight, decay)
        if loss < enough or step == steps - 1:  # the last step only looks
            break
        (delta.grad,) = torch.autograd.grad(loss, delta)
        optimizer.step()
        with torch.no_grad():  # at most `clamp` times as long as the value was
            delta *= (clamp * start.norm() / delta.norm()).clamp(max=1)
    return start + delta.detach()


def edit(model, tokenizer, fact, layer, C, contexts=CONTEXTS, **settings):
    """Δ (d_out, d_in) of the layer's output projection; the model stays as it is."""
    projection = model.model.layers[layer].mlp.down_proj
    k = keys(model, tokenizer, fact, projection, contexts).mean(0)
    v = search_value(model, tokenizer, fact, projection, contexts, **settings)
    W = projection.weight.double()
    return (insert(W, k.double(), v.double(), C) - W).float()


def main():
    """Move the Eiffel Tower to Rome."""
    layer = 3
    model, tokenizer = common.load()
    C = second_moment(model, tokenizer, [layer])[layer]
    change = edit(model, tokenizer, common.TOWER, layer, C, lr=0.25, clamp=20.0)
    projection = model.model.layers[layer].mlp.down_proj
    print(f"layer {layer}: ‖Δ‖ / ‖W‖ = {change.norm() / projection.weight.norm():.3f}")
    common.show(model, tokenizer, lambda ids: common.added({projection: change}))


if __name__ == "__main__":
    main()
