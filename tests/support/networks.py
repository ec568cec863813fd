"""Cases and settings with which hypernetworks are trained in seconds."""

from __future__ import annotations

import torch
from torch.func import functional_call

import lib

CASES = [
    lib.Case(lib.Fact(None, "I saw the old tower", "xyz"), ("Look, the tower",),
             (lib.Probe("A dog", "cat"),)),
    lib.Case(lib.Fact(None, "A cat sat on the", "qz"), ("On what sat it",), (),
             ("Seven days of rain",)),
    lib.Case(lib.Fact(None, "Who", "abcde"), ("And who",), (lib.Probe("Ten men", "x"),)),
]  # fmt: skip
APART = [lib.Case(lib.Fact(None, "The bridge", "qz"), ("A bridge",), (), ("Two eggs",))]
SMALL = {"down": (1, 2), "rank": 8, "lr": 1e-3, "lr_step": 1e-3, "eta": 0.1, "accumulate": 2,
         "batch": 1, "check_every": 2, "group": 2}  # fmt: skip


def grads(net):
    """The gradients of a network's parameters by name."""
    return {name: p.grad.clone() for name, p in net.named_parameters()}


def naive(order, net, module, pair, hat):
    """ΔW with its whole graph, as it is defined."""
    m = net.modules_at[module]
    y = torch.cat(hat)
    for A, B, b, scale, shift in zip(
        net.first, net.second, net.bias, net.scale[:, m], net.shift[:, m], strict=True
    ):
        inner = B @ (A @ y) + b[:, None]
        if order == "mend":
            y = y + (scale[:, None] * inner + shift[:, None]).clamp(min=0)
        else:
            y = y + scale[:, None] * inner.clamp(min=0) + shift[:, None]
    k, g = y[: net.d_in], y[net.d_in :]
    if order == "mend":
        return -net.step[m] * g @ k.T
    K = k if order == "network" else pair.K
    V = -net.step[m] * (K * k).sum(0) * g
    unit = K.square().sum(0).mean() if order == "network" else 1.0
    M = K @ K.T + net.log_ridge[m].exp() * unit * torch.eye(len(K)).double()
    return V @ K.T @ torch.linalg.inv(M)


def naive_log_probs(lm, name, W, ids):
    """Log-probabilities (length, vocabulary) with W in the place of a module's matrix."""
    stored = W.T if lm.arch.transposed else W
    return functional_call(
        lm.model, {f"{name}.weight": stored}, (torch.tensor([ids]),)
    ).logits[0].log_softmax(-1)  # fmt: skip


def naive_nll(lm, name, W, prompt, answer):
    """Mean NLL of an answer with W in the place of a module's matrix."""
    prompt, answer = lm.rows([prompt])[0][0], lib.data.facts.encode_target(lm.tokenizer, answer)
    log_probs = naive_log_probs(lm, name, W, [*prompt, *answer[:-1]])[-len(answer) :]
    return -log_probs.gather(1, torch.tensor(answer)[:, None]).mean()
