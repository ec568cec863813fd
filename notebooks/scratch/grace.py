"""GRACE: leave the weights alone and keep a codebook beside one module (Hartvigsen et al., 2023).

Every entry of the codebook is a ball in the space of what the module reads at a prompt's last
token: a key (its center), a radius, the value that the module shall put out there, and the answer
that the value was trained for. A prompt whose key falls into the ball of its *nearest* entry gets
that value; every other prompt runs through the model as if nothing were there, bit for bit.

Only values are trained. How far a ball reaches is decided by a rule, one fact after another: `rule`.
It is the published one with one repair, which the library has too: a split never enlarges a ball.

Left out: values at more than the prompt's last token, random first values, and the allowance for
rounding where a prompt lies on the edge of its ball. Given: the radius of a new entry.

    python -m notebooks.scratch.grace [FOLDER OF A MODEL]
"""

from contextlib import nullcontext

import torch

from . import common

GAP = 1e-5  # what a split leaves between two balls


class Codebook:
    """The entries: keys (n lists of d_in), values (d_out), radii, and the answers they stand for."""

    def __init__(self):
        self.keys, self.values, self.radii, self.answers = [], [], [], []

    def nearest(self, key):
        """The entry with the nearest key, and how far away it is; (None, inf) in an empty book."""
        if not self.keys:
            return None, float("inf")
        distance, i = (torch.stack(self.keys) - key).norm(dim=1).min(0)
        return int(i), distance.item()

    def find(self, key):
        """The entry that answers for this key, or None."""
        i, distance = self.nearest(key)
        return i if i is not None and distance <= self.radii[i] else None


def rule(distance, radius, same_answer, first_radius):
    """What a new fact does to its nearest entry: (kind, that entry's radius, the new entry's).

    A new ball would have `first_radius`. Where it does not touch the nearest one, it is added.
    Where it does, one answer shares a ball, which grows; two answers meet halfway.
    """
    if distance > radius + first_radius:
        return "add", radius, first_radius
    if same_answer:
        return "expand", max(radius, distance), None
    if distance <= GAP:  # the same prompt: the newest fact wins
        return "replace", radius, None
    return "split", min(radius, distance / 2 - GAP), min(first_radius, distance / 2)


def key_and_output(model, module, ids):
    """What the module reads (d_in,) and puts out (d_out,) at the last token of a prompt."""
    [(inputs, outputs)] = common.watch(model, torch.tensor([ids]), module)
    return inputs[0, -1], outputs[0, -1]


def train_value(model, tokenizer, fact, module, value, steps=50, lr=0.5, enough=0.05):
    """The value (d_out,) with which the model gives the fact's answer, by gradient descent.

    Steps are taken in units of the value's own size, so that one rate suits every model.
    """
    prompt = tokenizer(fact.text).input_ids
    answer = common.answer_ids(tokenizer, fact.answer)
    ids, labels = common.with_answers([prompt], [answer])
    size = value.square().mean().sqrt()
    delta = torch.zeros_like(value, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=lr)

    def put_in(module, inputs, output):
        output = output.clone()
        output[0, len(prompt) - 1] = value + size * delta
        return output

    for _ in range(steps):
        with common.hooked(module, put_in):
            logits = model(ids).logits
        loss = common.answer_loss(logits, labels)[0]
        wanted = labels[0] != -100
        right = (logits[0].argmax(-1) == labels[0])[wanted].all()
        if right and loss < enough:
            break
        (delta.grad,) = torch.autograd.grad(loss, delta)
        optimizer.step()
    return value + size * delta.detach()


def place(book, key, output, answer, first_radius):
    """Make room for one fact, in place: what happened, and the number of the entry that holds it."""
    i, distance = book.nearest(key)
    same = i is not None and book.answers[i] == answer
    kind, old, new = rule(distance, 0.0 if i is None else book.radii[i], same, first_radius)
    if i is not None:
        book.radii[i] = old
    if new is not None:  # "add" and "split" make an entry
        i = len(book.keys)
        book.keys.append(key)
        book.radii.append(new)
        book.values.append(output)
        book.answers.append(answer)
    elif kind == "replace":
        book.values[i], book.answers[i] = output, answer
    return kind, i


def edit(model, tokenizer, fact, module, book, first_radius, **settings):
    """Write one fact into the codebook, in place, and train the value of its entry."""
    key, output = key_and_output(model, module, tokenizer(fact.text).input_ids)
    kind, i = place(book, key, output, fact.answer, first_radius)
    book.values[i] = train_value(model, tokenizer, fact, module, book.values[i], **settings)
    return kind, i


def answering(model, module, book, ids):
    """A context in which the codebook answers the prompt `ids`, if it is one of its own."""
    i = book.find(key_and_output(model, module, ids)[0])

    def put_in(module, inputs, output):
        output = output.clone()
        output[0, len(ids) - 1] = book.values[i]  # only there, also while the answer grows
        return output

    return nullcontext() if i is None else common.hooked(module, put_in)


def main():
    """The tower, the tower once more in other words, and a fact nearby."""
    model, tokenizer = common.load()
    module, book = model.model.layers[25].mlp.down_proj, Codebook()
    louvre = common.Fact("The Louvre", common.TOWER.prompt, "Vienna")
    again = common.Fact("the Eiffel Tower", "If you want to visit {}, you have to go to", "Rome")
    for fact in (common.TOWER, again, louvre):
        kind, i = edit(model, tokenizer, fact, module, book, first_radius=4.0)
        print(f"{kind:8} entry {i}: {fact.text} … {fact.answer}")
    print("radii:", ", ".join(f"{radius:.2f}" for radius in book.radii))
    common.show(model, tokenizer, lambda ids: answering(model, module, book, ids))


if __name__ == "__main__":
    main()
