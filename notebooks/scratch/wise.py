"""WISE: a side memory learns the edits, and a router asks how far it moves the output (Wang, 2024).

The side memory is a copy W + τ of one output projection. Which of the two answers a prompt is read
off the memory itself, by the mean of ‖τ a‖ over the prompt's tokens a: training makes it large on
edits and small on everything else, by three margins (`margin_loss`), and a threshold ε is the least
that any edit has reached.

Facts are learned in shards. Each shard moves only its own random entries of τ, so that a later one
does not wear it out, and full shards are merged into one memory where they agree in sign (`ties`).

Left out: all calibration (whitened steps, facts trained along, thresholds measured again after a
merge), and text about earlier memories. Given: contexts, and texts that are about no fact.

    python -m notebooks.scratch.wise [FOLDER OF A MODEL]
"""

from contextlib import nullcontext

import torch

from . import common
from .memit import FACTS, OTHERS

CONTEXTS = ("{}", "I asked her again. {}")


class Side:
    """Memories [τ (d_out, d_in), ε], the number of facts so far, and the mask of the open shard."""

    def __init__(self):
        self.memories, self.facts, self.mask = [], 0, None


def difference(tau, a):
    """How far a memory moves the output on a prompt: the mean of ‖τ a‖ over its tokens a (L, d_in)."""
    return (a @ tau.T).norm(dim=1).mean()


def margin_loss(edits, others, alpha, beta, gamma):
    """Three hinges on differences: of others below α, of edits above β, and γ between any two.

    edits (n,), others (m,). Each hinge is the mean over what is not yet satisfied, 0 where all is.
    """
    gaps = gamma - (edits[None] - others[:, None])  # (m, n)
    loss = 0.0
    for terms in (others - alpha, beta - edits, gaps):
        above = terms > 0
        loss = loss + terms.where(above, 0.0).sum() / above.sum().clamp(min=1)
    return loss


def descend(tau, gradient, mask, lr):
    """One step: only the shard's own entries move, and none by more than 1 in all."""
    return (tau - lr * gradient.where(mask, 0.0)).clamp(-1, 1)


def train(model, tokenizer, fact, module, tau, mask, others, margins, contexts, lr, steps, enough):
    """τ after one fact, and the mean difference of its prompts; others is a list of (L, d_in)."""
    prompts = [tokenizer(context.replace("{}", fact.text)).input_ids for context in contexts]
    answers = [common.answer_ids(tokenizer, fact.answer)] * len(prompts)
    ids, labels = common.with_answers(prompts, answers)
    [(inputs, _)] = common.watch(model, ids, module)
    own = [row[: len(prompt)] for row, prompt in zip(inputs, prompts, strict=True)]

    def differences(tau, texts):
        return torch.stack([difference(tau, a) for a in texts])

    for _ in range(steps):
        tau = tau.detach().requires_grad_()
        with common.hooked(module, lambda m, x, y, tau=tau: y + x[0] @ tau.T):
            answer = common.answer_loss(model(ids).logits, labels).mean()
        margin = margin_loss(differences(tau, own), differences(tau, others), *margins)
        loss = answer + margin
        if loss <= enough:
            break
        (gradient,) = torch.autograd.grad(loss, tau)
        tau = descend(tau.detach(), gradient, mask, lr)
    return tau.detach(), differences(tau, own).mean().item()


def ties(taus, density):
    """Shards as one τ: trim small entries, elect a sign for each, average what has this sign.

    (4, −1, .5, 2), (−2, −3, 1, .2), (3, 2, −.1, −5) at density ½ -> (3.5, −3, 0, −5)
    """
    trimmed = []
    for tau in taus:
        least = tau.abs().flatten().topk(max(1, round(density * tau.numel()))).values[-1]
        trimmed.append(tau.where(tau.abs() >= least, 0.0))
    stack = torch.stack(trimmed)  # (shards, d_out, d_in)
    elected = (stack != 0) & ((stack > 0) == (stack.sum(0) >= 0))
    return stack.where(elected, 0.0).sum(0) / elected.sum(0).clamp(min=1)


def choose(differences, thresholds):
    """The memory with the largest difference among those whose threshold is reached, or None."""
    reached = [m for m in range(len(thresholds)) if differences[m] >= thresholds[m]]
    return max(reached, key=lambda m: differences[m], default=None)


def edit(
    model, tokenizer, facts, module, side, calm, margins, contexts=CONTEXTS, lr=5.0, steps=25,
    enough=0.02, share=0.2, per_shard=2, shards=2, density=0.53,
):  # fmt: skip
    """Learn the facts one by one, in place; calm [(L, d_in)] are inputs of texts to leave alone."""
    for fact in facts:
        shard, place = divmod(side.facts, per_shard)
        if place == 0:  # a new shard, with entries of its own
            draw = torch.Generator().manual_seed(shard)
            side.mask = torch.rand(module.weight.shape, generator=draw) < share
            side.memories.append([torch.zeros_like(module.weight), float("inf")])
        tau, eps = side.memories[-1]
        others = [calm[side.facts % len(calm)]]
        given = side.mask, others, margins, contexts, lr, steps, enough
        tau, reached = train(model, tokenizer, fact, module, tau, *given)
        side.memories[-1], side.facts = [tau, min(eps, reached)], side.facts + 1
        if side.facts % (per_shard * shards) == 0:  # all shards are full
            taus, thresholds = zip(*side.memories[-shards:], strict=True)
            side.memories[-shards:] = [[ties(taus, density), min(thresholds)]]


def answering(model, module, side, ids, ratio=0.88):
    """A context in which the memory that the prompt `ids` reaches adds τ a at every token."""
    [(inputs, _)] = common.watch(model, torch.tensor([ids]), module)
    differences = [difference(tau, inputs[0]).item() for tau, _ in side.memories]
    m = choose(differences, [ratio * eps for _, eps in side.memories])
    if m is None:
        return nullcontext()
    return common.hooked(module, lambda _, x, y: y + x[0] @ side.memories[m][0].T)


def main():
    """Two facts in two shards, merged into one memory; uncalibrated, it answers neighbors too."""
    model, tokenizer = common.load()
    module, side, calm = model.model.layers[25].mlp.down_proj, Side(), []
    for text in common.text("irrelevant.txt").splitlines()[:12]:
        [(inputs, output)] = common.watch(model, torch.tensor([tokenizer(text).input_ids]), module)
        calm.append(inputs[0])
    unit = output.norm(dim=-1).mean().item()  # margins in units of the module's own output
    margins = (0.25 * unit, 1.0 * unit, 0.5 * unit)
    edit(model, tokenizer, FACTS[:2], module, side, calm, margins, per_shard=1)
    [(tau, eps)] = side.memories
    print(
        f"two shards in one memory: {(tau != 0).float().mean():.0%} of its entries, ε = {eps:.1f}"
    )
    common.show(model, tokenizer, lambda ids: answering(model, module, side, ids), OTHERS)


if __name__ == "__main__":
    main()
