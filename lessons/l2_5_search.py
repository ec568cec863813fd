"""★★★ ROME's search, in four steps

ROME searches for a vector δ at the end of the subject, using gradient descent on this loss:

    − mean over t of log p(aₜ)   +   w · KL(now ‖ before)   +   decay · ‖δ‖ / ‖v₀‖²

The first term asks for the new answer a₁ … a_T, token by token. The second asks that the next word
right after the subject stay the same: KL(now ‖ before) = Σ p_now log(p_now / p_before). The third
asks for a short δ. Write the terms one by one, combine them, and then run the descent:

    nll           only the first term
    drift         KL(now ‖ before), without its weight w
    search_loss   all three; it may call the two above
    descend       the search. Start at δ = 0. look(δ) returns the loss there and its gradient. Stop
                  if the loss is below `enough`. Otherwise step(δ, gradient) returns the next δ,
                  which is then cut to at most clamp · ‖v₀‖. After `moves` steps the search is over
                  in any case. Returns δ.

    answer  (T, words)   log-probabilities of every word at the positions of the answer's tokens
    tokens  (T,)         the answer's tokens, as whole numbers
    now     (words,)     log-probabilities of the next word right after the subject, with δ
    before  (words,)     the same without δ
    delta   (d,)         δ          v0  (d,)    the layer's own output
    w, decay, clamp, enough             numbers; moves is a whole one
    nll, drift and search_loss return one number, descend returns δ (d,)

Investigate: what would δ become without the second term, and what without the third?

Hint: which of the log-probabilities have to become probabilities? And what remains of δ if you
multiply it by clamp · ‖v₀‖ / ‖δ‖, and when should you not do so?
"""

from collections.abc import Callable

import torch
from torch import Tensor


def nll(answer: Tensor, tokens: Tensor) -> Tensor:
    # solution
    return -answer[torch.arange(len(tokens)), tokens].mean()


def drift(now: Tensor, before: Tensor) -> Tensor:
    # solution
    return (now.exp() * (now - before)).sum()


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
    return nll(answer, tokens) + w * drift(now, before) + decay * delta.norm() / v0.norm() ** 2


def descend(
    look: Callable, step: Callable, v0: Tensor, moves: int, clamp: float, enough: float
) -> Tensor:
    # solution
    delta = torch.zeros_like(v0)
    for _ in range(moves):
        loss, slope = look(delta)
        if loss < enough:
            break
        delta = step(delta, slope)
        delta = delta * (clamp * v0.norm() / delta.norm()).clamp(max=1)
    return delta


# --- checks
from lessons.marking import agree, normal

WRONG = [
    ({"-answer": "answer"}, "more probable"),
    ({"tokens].mean()": "tokens].sum()"}, "mean over the tokens"),
    ({"torch.arange(len(tokens)), tokens": ":, tokens"}, "Every row is used for every token"),
    ({"now.exp() * (now - before)": "before.exp() * (before - now)"}, "now ‖ before"),
    ({"now.exp() *": "now *"}, "by its logarithm"),
    ({"+ w *": "- w *"}, "subtracted"),
    ({"delta.norm() / v0.norm() ** 2": "(delta.norm() / v0.norm()) ** 2"}, "squared"),
    ({" + decay * delta.norm() / v0.norm() ** 2": ""}, "third"),
    ({"delta * (clamp * v0.norm() / delta.norm()).clamp(max=1)": "delta"}, "longer than"),
    ({"clamp * v0.norm()": "clamp * 1"}, "in units of"),
    ({".clamp(max=1)": ""}, "shorter"),
    ({"loss < enough": "False"}, "continues"),
    ({"loss < enough": "False", "step(delta, slope)": "step(delta, -slope)"}, "uphill"),
]


def check(ask, draw):
    answer = normal(draw, 3, 9).log_softmax(-1)
    tokens = torch.tensor([4, 0, 7])
    now, before = normal(draw, 2, 9).log_softmax(-1)
    delta, v0, w, decay = normal(draw, 6), 2 * normal(draw, 6), 0.3, 0.7
    chosen = answer[torch.arange(3), tokens]
    first, kl = -chosen.mean(), (now.exp() * (now - before)).sum()
    short = decay * delta.norm() / v0.norm() ** 2
    agree(
        ask("nll", answer, tokens),
        first,
        "nll",
        {
            "The sign is wrong: a smaller loss should mean a more probable answer.": -first,
            "This is the sum over the answer's tokens: use the mean over the tokens.": 3 * first,
            "Every row is used for every token: use only aₜ from row t.": (
                -answer[:, tokens].mean()
            ),
            "The first term uses the logarithm of a probability, and yours uses the probability.": (
                -chosen.exp().mean()
            ),
        },
    )
    agree(
        ask("drift", now, before),
        kl,
        "drift",
        {
            "The KL is reversed: it is KL(now ‖ before), weighed by the model's present "
            "probabilities.": (before.exp() * (before - now)).sum(),
            "A KL weighs by a probability, and yours weighs by its logarithm.": (
                now * (now - before)
            ).sum(),
            "The sign is flipped: p_now is divided by p_before, and both are logarithms here.": -kl,
        },
    )
    agree(
        ask("search_loss", answer, tokens, now, before, delta, v0, w, decay),
        first + w * kl + short,
        "the loss",
        {
            "In the third term only ‖v₀‖ is squared.": first + w * kl + short * delta.norm(),
            "In the third term ‖v₀‖ is not squared.": first + w * kl + short * v0.norm(),
            "The second term is missing: nothing preserves the subject's identity.": first + short,
            "The second term has no weight w.": first + kl + short,
            "The KL is subtracted: descent would then change the subject's identity.": (
                first - w * kl + short
            ),
            "The third term is missing: nothing keeps δ short.": first + w * kl,
        },
    )
    goal = 3 * v0.norm() * delta / delta.norm()

    def look(at, sign=1):  # a valley whose lowest point is the goal
        return (at - goal).norm(), sign * (at - goal) / (at - goal).norm()

    def step(at, slope):
        return at - 0.23 * v0.norm() * slope

    for clamp, enough in ((0.4, 0.1), (5.0, v0.norm().item())):
        agree(
            ask("descend", look, step, v0, 15, clamp, enough),
            descend(look, step, v0, 15, clamp, enough),
            "δ",
            {
                "descend: δ becomes longer than clamp · ‖v₀‖: cut it after each step.": (
                    descend(look, step, v0, 15, 1e9, enough)
                ),
                "descend: the maximal length of δ is in units of ‖v₀‖: clamp · ‖v₀‖.": descend(
                    look, step, v0, 15, clamp / v0.norm().item(), enough
                ),
                "descend: this also makes δ longer, up to the bound. Leave it unchanged if it is "
                "shorter.": (descend(look, lambda *at: 9**9 * step(*at), v0, 15, clamp, enough)),
                "descend: the search continues although the loss is below `enough`.": descend(
                    look, step, v0, 15, clamp, 0.0
                ),
                "descend: this moves uphill: a step already points against the gradient.": descend(
                    lambda at: look(at, -1), step, v0, 15, clamp, enough
                ),
            },
            1e-4,
        )
    return "solved: descent gives a likelier answer, the same subject, and a short δ."
