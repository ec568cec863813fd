"""★★★ Two phases

A tiny editor that learns. Its network has two parameters per matrix, a (d_in,) and b (d_out,), and
computes for every pair

    k̃ = a ⊙ k̂,   g̃ = b ⊙ ĝ,   v = −η ⟨k, k̃⟩ g̃,   Δ = V Kᵀ (K Kᵀ + λ I)⁻¹.

Its loss comes from the *edited* language model, which is large: you get one function

    outcome(Δ)    → [L, D]: the loss with W + Δ, and the gradient ∂L/∂W there, (d_out, d_in)

which may be called once. Write it in three steps:

    shifts   V (d_out, n): the shift each pair asks for at the output of its own key
    granted  Δ (d_out, d_in): all shifts at all keys together, by the ridge regression
    learn    returns [L, ∂L/∂a (d_in,), ∂L/∂b (d_out,)]; it may call the two above

    outcome, K (d_in, n), K_hat (d_in, n), G_hat (d_out, n), a (d_in,), b (d_out,), eta, lam

Investigate: the chain rule splits at Δ. With D held fixed, ∂L/∂φ = ∂⟨D, Δ(φ)⟩/∂φ for every
parameter φ. Which of the two graphs do you need, the model's or the network's? Where should you
compute D?

Hint: `⟨D, Δ⟩` is (D * Δ).sum(), and torch.autograd.grad(that, (a, b)) does the rest, if a and b
require a gradient: a = a.clone().requires_grad_(). By hand: ∂L/∂V = D K (KᵀK + λ I)⁻¹.
"""

import torch
from torch import Tensor


def shifts(K: Tensor, K_hat: Tensor, G_hat: Tensor, a: Tensor, b: Tensor, eta: float) -> Tensor:
    # solution
    k_new, g_new = a[:, None] * K_hat, b[:, None] * G_hat  # (d_in, n), (d_out, n)
    return -eta * (K * k_new).sum(0) * g_new


def granted(V: Tensor, K: Tensor, lam: float) -> Tensor:
    # solution
    small = K.T @ K + lam * torch.eye(K.shape[1])  # (n, n)
    return V @ torch.linalg.solve(small, K.T)


def learn(
    outcome, K: Tensor, K_hat: Tensor, G_hat: Tensor, a: Tensor, b: Tensor, eta: float, lam: float
) -> list:
    # solution
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    delta = granted(shifts(K, K_hat, G_hat, a, b, eta), K, lam)
    # phase one: only the model, at W + Δ
    loss, D = outcome(delta.detach())
    # phase two: only the network, with D fixed
    return [loss, *torch.autograd.grad((D * delta).sum(), (a, b))]


# --- checks
from lessons.marking import Wrong, agree, normal, number, several, tensor

WRONG = [
    ({"(K * k_new)": "(K_hat * k_new)"}, "raw"),
    ({"-eta * (K": "eta * (K"}, "minus"),
    ({"(K * k_new)": "(K * K_hat)"}, "you ignore a"),
    ({"granted": "return V @ K.T"}, "outer products"),
    ({"granted": "return V @ torch.linalg.pinv(K)"}, "λ"),
    ({"delta.detach()": "torch.zeros_like(delta)"}, "unedited"),
    ({"D * delta": "(D @ K) * shifts(K, K_hat, G_hat, a, b, eta)"}, "regression"),
    ({"*torch.autograd.grad((D * delta).sum(), (a, b))": "a.grad, b.grad"}, "None"),
    ({"return [loss": "outcome(delta.detach() + 1e-4)\nreturn [loss"}, "once"),
    ({"(D * delta)": "(-D * delta)"}, "sign"),
]


class Model:
    """A tiny language model: L(Δ) of a layer, a nonlinearity, a readout, and its own keys."""

    def __init__(self, draw, d_out, d_in):
        self.W, self.out = normal(draw, d_out, d_in), normal(draw, 3, d_out)
        self.X, self.y = normal(draw, d_in, 7), torch.tensor([0, 1, 2, 0, 1, 2, 0])
        self.calls = 0

    def loss(self, delta):
        logits = self.out @ torch.tanh((self.W + delta) @ self.X)
        return torch.nn.functional.cross_entropy(logits.T, self.y)

    def outcome(self, delta):
        self.calls += 1
        if self.calls > 1:
            raise Wrong("outcome was called a second time: you may run the model once.")
        delta = tensor(delta, tuple(self.W.shape), "Δ").requires_grad_()
        loss = self.loss(delta)
        return [loss.item(), torch.autograd.grad(loss, delta)[0]]


def check(ask, draw):
    d_in, d_out, n, eta, lam = 8, 5, 4, 0.4, 1.5
    model, K = Model(draw, d_out, d_in), normal(draw, d_in, n)
    K_hat, G_hat = normal(draw, d_in, n), normal(draw, d_out, n)
    a, b = ((1 + 0.3 * normal(draw, d)).requires_grad_() for d in (d_in, d_out))
    pairs = K, K_hat, G_hat, a, b, eta
    V = shifts(*pairs)
    agree(
        ask("shifts", *pairs),
        V,
        "shifts",
        {
            "shifts: v has ⟨k, k̃⟩ with the raw key k; you use k̂ instead.": (
                shifts(K_hat, *pairs[1:])
            ),
            "shifts: you use ‖k̃‖² instead of ⟨k, k̃⟩.": shifts(a[:, None] * K_hat, *pairs[1:]),
            "shifts: every pair has its own ⟨k, k̃⟩; this is the sum over all of them.": (
                -eta * (K * a[:, None] * K_hat).sum() * b[:, None] * G_hat
            ),
            "shifts: v goes against g̃; the minus is missing.": -V,
            "shifts: you ignore a: k̃ is a ⊙ k̂.": shifts(*pairs[:3], torch.ones(d_in), b, eta),
            "shifts: you ignore b: g̃ is b ⊙ ĝ.": shifts(*pairs[:4], torch.ones(d_out), eta),
        },
    )
    agree(
        ask("granted", V, K, lam),
        granted(V, K, lam),
        "granted",
        {
            "granted: you sum outer products; the regression is missing.": V @ K.T,
            "granted: where is λ? KᵀK + λ I.": granted(V, K, 0.0),
            "granted: λ is added to every entry; λ I has it only on the diagonal.": (
                V @ torch.linalg.solve(K.T @ K + lam, K.T)
            ),
        },
    )
    found = several(
        ask("learn", model.outcome, K, K_hat, G_hat, a, b, eta, lam),
        3,
        "Return a list of three: L, ∂L/∂a, ∂L/∂b.",
    )
    if found[1] is None or found[2] is None:
        raise Wrong("A gradient is None: nothing was backpropagated; use torch.autograd.grad.")
    if model.calls == 0:
        raise Wrong("The model was never called.")
    delta = granted(V, K, lam)
    loss = model.loss(delta)
    wanted = torch.cat(torch.autograd.grad(loss, (a, b), retain_graph=True))
    theirs = torch.cat([tensor(found[1], (d_in,), "∂L/∂a"), tensor(found[2], (d_out,), "∂L/∂b")])

    def through(inner):
        return torch.cat(torch.autograd.grad(inner.sum(), (a, b), retain_graph=True))

    def gradient(at):
        at = at.detach().requires_grad_()
        return torch.autograd.grad(model.loss(at), at)[0]

    def other(near=K, ridge=lam, keys=K, rate=eta):
        wrong = granted(shifts(near, K_hat, G_hat, a, b, rate), keys, ridge)
        return through(gradient(wrong) * wrong)

    D = gradient(delta)
    likely = {
        "D is from the unedited model: the loss is for W + Δ, so compute D there.": (
            through(gradient(torch.zeros_like(delta)) * delta)
        ),
        "This is the gradient as if Δ k were v: the regression between V and Δ is missing.": (
            through((D @ K) * V)
        ),
        "v has ⟨k, k̃⟩ with the raw key k; you use k̂ instead.": other(K_hat),
        "The regression has no λ here: KᵀK + λ I.": other(ridge=0.0),
        "v = −η ⟨k, k̃⟩ g̃ goes against g̃; the minus is missing.": other(rate=-eta),
        "You solve the regression for k̂, but the layer sees the raw keys.": other(keys=K_hat),
        "This minimizes ‖Δ‖: where is D, the gradient of the loss?": through(delta.pow(2)),
        "The sign is wrong: use ⟨D, Δ⟩, so that a step against it lowers L.": -wanted,
    }
    agree(theirs, wanted, "the gradient (a, then b)", likely)
    if abs(number(found[0], "L") - loss.item()) > 1e-5:
        raise Wrong("The gradients are right, but L is not the loss with W + Δ.")
    return "solved: the same numbers as with a single graph through the model, using one run."
