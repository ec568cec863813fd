"""LEMoE: one small expert for every batch of facts, and anchors that choose among them (Wang, 2024).

An expert is a copy of one layer's MLP whose output is added to the layer's; its last matrix starts
at zero, so a new expert says nothing. Only the newest is trained, the others stay as they are.

Who answers is decided by the prompt's words alone: the mean e of its input embeddings is projected
to a unit vector, and the expert with the nearest anchor wins, or the null anchor, with which the
model stays as it is. No edit changes input embeddings, so none can lead a prompt astray. Before an
expert is trained, projection and new anchor are fitted to all stored prompts, old anchors frozen
(`refit`). Facts of one call are put into batches of neighbors (`plan`).

Left out: experts of low rank, and the published router, whose projection moves with each expert's
loss. Given: contexts, and texts about no fact: for the center of embeddings and the null anchor.

    python -m notebooks.scratch.lemoe [FOLDER OF A MODEL]
"""

from contextlib import nullcontext

import torch
from torch.nn import functional as F

from . import common
from .memit import FACTS, OTHERS


class Mixture:
    """Experts, the router's projection and anchors, and what stands for every stored prompt."""

    def __init__(self, center, scale, width=128, size=64, kappa=16.0, null=8.0, seed=0):
        draw, d = torch.Generator().manual_seed(seed), len(center)
        self.center, self.scale, self.kappa = center, scale, kappa
        self.down = torch.randn(width, d, generator=draw) / d**0.5
        self.up = torch.randn(size, width, generator=draw) / width**0.5
        self.anchors, self.null = torch.zeros(0, size), torch.tensor(null)
        self.experts, self.stored, self.owner = [], torch.zeros(0, d), torch.zeros(0).long()


def embedded(model, tokenizer, texts):
    """The mean input embedding of each text, (texts, d)."""
    embed = model.get_input_embeddings()
    return torch.stack([embed(torch.tensor(tokenizer(text).input_ids)).mean(0) for text in texts])


def plan(e, size):
    """Numbers of the points e (n, d) in batches of at most `size` neighbors, always the same ones.

    k-means with room for `size` points at each center: the shortest distances are granted first.
    The first center is the point nearest to the mean, then always the one farthest from all centers.
    plan([[0.], [10.], [.1], [10.1]], 2) -> [[0, 2], [1, 3]]
    """
    count = -(-len(e) // size)
    centers = e[(e - e.mean(0)).norm(dim=1).argmin()][None]
    while len(centers) < count:
        nearest = (e[:, None] - centers).norm(dim=2).min(1).values
        centers = torch.cat([centers, e[nearest.argmax()][None]])
    for _ in range(10):
        distances, groups, free = (e[:, None] - centers).norm(dim=2), {}, set(range(len(e)))
        for flat in distances.flatten().sort(stable=True).indices.tolist():
            i, c = divmod(flat, count)  # point i and center c, the closest pairs first
            if i in free and len(groups.setdefault(c, [])) < size:
                groups[c].append(i)
                free.remove(i)
        for c, group in groups.items():
            centers[c] = e[group].mean(0)
    return sorted(sorted(group) for group in groups.values() if group)


def projected(down, up, e):
    """Unit vectors (n, size) of e (n, d)."""
    return F.normalize(F.silu(e @ down.T) @ up.T, dim=-1)


def scores(down, up, anchors, null, kappa, e):
    """Scores (n, 1 + experts) of e (n, d): the null anchor's b, then κ cos(anchor, projection)."""
    cosines = projected(down, up, e) @ F.normalize(anchors, dim=-1).T
    return torch.cat([null.expand(len(e), 1), kappa * cosines], 1)


def route(mix, e):
    """The expert of each e (n, d), −1 for none: the nearest anchor, or the null anchor."""
    return scores(mix.down, mix.up, mix.anchors, mix.null, mix.kappa, e).argmax(1) - 1


def refit(mix, calm, lr=1e-3, steps=60, reserve=1.0):
    """Fit projection, newest anchor and b so that each stored prompt finds its own expert.

    A cross-entropy over [b, s₁ … s_t]: stored prompts belong to their experts, calm texts (m, d) to
    nobody. Old anchors are frozen. b is fitted lower by `reserve` and raised by it afterwards, since
    other texts are more varied than the calm ones.
    """
    moving = mix.down, mix.up, mix.anchors[-1:], mix.null - reserve
    leaves = [tensor.clone().requires_grad_() for tensor in moving]
    optimizer, nobody = torch.optim.Adam(leaves, lr=lr), torch.zeros(len(calm)).long()

    def now(e, reserve=0.0):
        down, up, key, null = leaves
        return scores(down, up, torch.cat([mix.anchors[:-1], key]), null + reserve, mix.kappa, e)

    for step in range(5 * steps):  # longer than `steps` only while a prompt is misled
        found = now(mix.stored, reserve).argmax(1) - 1
        if step >= steps and torch.equal(found, mix.owner):
            break
        loss = F.cross_entropy(now(mix.stored), mix.owner + 1) + F.cross_entropy(now(calm), nobody)
        for leaf, gradient in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
            leaf.grad = gradient
        optimizer.step()
    mix.down, mix.up, newest, null = (leaf.detach() for leaf in leaves)
    mix.anchors = torch.cat([mix.anchors[:-1], F.normalize(newest, dim=-1)])
    mix.null = null + reserve


def answer(expert, x):
    """What an expert adds, (…, d): its own gated MLP of x (…, d)."""
    gate, up, down = expert
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T


def train(model, tokenizer, facts, mlp, expert, contexts, lr, steps, enough):
    """The expert after it has learned the answers of its facts behind all contexts."""
    texts = [context.replace("{}", fact.text) for context in contexts for fact in facts]
    answers = [common.answer_ids(tokenizer, fact.answer) for fact in facts] * len(contexts)
    ids, labels = common.with_answers([tokenizer(text).input_ids for text in texts], answers)
    expert = [matrix.clone().requires_grad_() for matrix in expert]
    optimizer = torch.optim.AdamW(expert, lr=lr, weight_decay=0.0)
    for _ in range(steps):
        with common.hooked(mlp, lambda _, x, y: y + answer(expert, x[0])):
            loss = common.answer_loss(model(ids).logits, labels).mean()
        if loss <= enough:
            break
        for matrix, gradient in zip(expert, torch.autograd.grad(loss, expert), strict=True):
            matrix.grad = gradient
        optimizer.step()
    return [matrix.detach() for matrix in expert]


def edit(
    model, tokenizer, facts, mlp, mix, calm, contexts=("{}",),
    batch=16, lr=3e-3, steps=60, enough=0.05,
):  # fmt: skip
    """Learn the facts, in place: an anchor and an expert for each batch; calm (m, d) is nobody's."""
    means = embedded(model, tokenizer, [fact.text for fact in facts])
    for group in plan(means - mix.center, batch):
        some, number = [facts[i] for i in group], len(mix.experts)
        subjects = embedded(model, tokenizer, dict.fromkeys(fact.subject for fact in some))
        e = (torch.cat([means[group], subjects]) - mix.center) / mix.scale
        old = [i for i, row in enumerate(mix.stored) if ((row - e).abs().amax(1) >= 1e-6).all()]
        mix.stored = torch.cat([mix.stored[old], e])  # a prompt that is stored twice: the newest
        mix.owner = torch.cat([mix.owner[old], torch.full((len(e),), number)])
        middle = projected(mix.down, mix.up, e[: len(group)]).mean(0, keepdim=True)
        mix.anchors = torch.cat([mix.anchors, F.normalize(middle, dim=-1)])
        refit(mix, calm)
        new = [mlp.gate_proj.weight, mlp.up_proj.weight, torch.zeros_like(mlp.down_proj.weight)]
        mix.experts.append(train(model, tokenizer, some, mlp, new, contexts, lr, steps, enough))


def answering(model, tokenizer, mlp, mix, ids):
    """A context in which the expert of the prompt `ids`, if any, adds its answer at every token."""
    e = model.get_input_embeddings()(torch.tensor(ids)).mean(0, keepdim=True)
    expert = int(route(mix, (e - mix.center) / mix.scale))
    if expert < 0:
        return nullcontext()
    return common.hooked(mlp, lambda _, x, y: y + answer(mix.experts[expert], x[0]))


def main():
    """Three facts in two batches."""
    model, tokenizer = common.load()
    mlp = model.model.layers[20].mlp
    [center] = embedded(model, tokenizer, [common.text("general_text.txt")[:40_000]])
    calm = embedded(model, tokenizer, common.text("irrelevant.txt").splitlines()) - center
    mix = Mixture(center, calm.square().mean().sqrt())
    edit(model, tokenizer, FACTS, mlp, mix, calm / mix.scale, batch=2, steps=12)
    print(f"{len(mix.experts)} experts; owners of prompts and subjects: {mix.owner.tolist()}")
    common.show(model, tokenizer, lambda ids: answering(model, tokenizer, mlp, mix, ids), OTHERS)


if __name__ == "__main__":
    main()
