"""★★★ What the search goes downhill in

ROME looks for a vector δ behind the subject, and the loss says what it should do. Return this loss:

    − mean over t of log p(aₜ)   +   w · KL(now ‖ before)   +   decay · ‖δ‖ / ‖v₀‖²

The first term wants the new answer a₁ … a_T, token by token. The second wants the next word right
after the subject to stay what it was: KL(now ‖ before) = Σ p_now log(p_now / p_before). The third
wants a short δ.

    answer  (T, words)   log-probabilities of every word where the answer's tokens stand
    tokens  (T,)         the answer's tokens, as whole numbers
    now     (words,)     log-probabilities of the next word right after the subject, with δ
    before  (words,)     the same without δ
    delta   (d,)         δ          v0  (d,)    the layer's own output
    w, decay             two numbers
    returns one number

Investigate: what would δ become without the second term, and what without the third?

Hint: all of these are log-probabilities. Which of them has to become a probability first?
"""

import torch
from torch import Tensor


def search_loss(
    answer: Tensor,
    tokens: Tensor,
    now: Tensor,
    before: Tensor,
    delta: Tensor,
    v0: Tensor,
    w: float,
    decay: float,
) -> Tensor:
    # solution
    nll = -answer[torch.arange(len(tokens)), tokens].mean()
    kl = (now.exp() * (now - before)).sum()
    return nll + w * kl + decay * delta.norm() / v0.norm() ** 2


# --- checks
from lessons.marking import agree, normal, tensor

ANSWER = "-answer[torch.arange(len(tokens)), tokens].mean()"
KL = "(now.exp() * (now - before)).sum()"
DECAY = "decay * delta.norm() / v0.norm() ** 2"
WRONG = [
    (f"return -{ANSWER} + w * {KL} + {DECAY}", "more probable"),
    (f"return {ANSWER.replace('mean', 'sum')} + w * {KL} + {DECAY}", "mean over the tokens"),
    (f"return {ANSWER} + w * (before.exp() * (before - now)).sum() + {DECAY}", "now ‖ before"),
    (f"return {ANSWER} + w * (now * (now - before)).sum() + {DECAY}", "probability"),
    (f"return {ANSWER} + w * {KL} + decay * (delta.norm() / v0.norm()) ** 2", "squared"),
    (f"return {ANSWER} + w * {KL}", "third"),
]


def check(ask, draw):
    answer = normal(draw, 3, 9).log_softmax(-1)
    tokens = torch.tensor([4, 0, 7])
    now, before = normal(draw, 2, 9).log_softmax(-1)
    delta, v0, w, decay = normal(draw, 6), 2 * normal(draw, 6), 0.3, 0.7
    found = tensor(
        ask("search_loss", answer, tokens, now, before, delta, v0, w, decay), (), "the loss"
    )
    chosen = answer[torch.arange(3), tokens]
    nll, kl = -chosen.mean(), (now.exp() * (now - before)).sum()
    short = decay * delta.norm() / v0.norm() ** 2
    turned = (before.exp() * (before - now)).sum()
    likely = {
        "Going downhill here makes the answer less likely: a smaller loss should mean a more "
        "probable answer.": -nll + w * kl + short,
        "The answer's tokens are added up; asked for is their mean over the tokens.": -chosen.sum()
        + w * kl
        + short,
        "The KL is turned round: it is KL(now ‖ before), weighed by what the model says now.": nll
        + w * turned
        + short,
        "A KL weighs by a probability, and this one weighs by its logarithm.": nll
        + w * (now * (now - before)).sum()
        + short,
        "In the third term only ‖v₀‖ is squared.": nll
        + w * kl
        + decay * (delta.norm() / v0.norm()) ** 2,
        "Every row is asked for every token: row t belongs to aₜ alone.": (
            -answer[:, tokens].mean() + w * kl + short
        ),
        "In the third term ‖v₀‖ is not squared.": nll + w * kl + short * v0.norm(),
        "The second term is missing: nothing keeps the subject what it was.": nll + short,
        "The KL is subtracted: downhill would then lead away from what the subject was.": (
            nll - w * kl + short
        ),
        "The first term has the logarithm of a probability, and this one the probability.": (
            -chosen.exp().mean() + w * kl + short
        ),
        "The third term is missing: nothing keeps δ short.": nll + w * kl,
    }
    agree(found, nll + w * kl + short, "the loss", likely)
    return "solved: downhill means a likelier answer, the same subject, and a short δ."
