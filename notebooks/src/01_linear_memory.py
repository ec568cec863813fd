# %% [markdown]
# <!-- badge -->
#
# # 01 · In what sense is a linear layer a memory?
#
# The sheepdog moved, and nobody had edited it. ROME wrote into one matrix: what was in there? At
# the end of this page you can read a matrix as a list of pairs, also in a real model.
#
# **You will** derive the best matrix for a set of pairs, and its capacity · see what correlated
# keys do to it, and how their second moment $C$ helps · meet ridge as a remedy against noise ·
# look at real keys: how alike are they, and how soon do they give the matrix away?
#
# **Needs** matrix products, traces, eigenvalues, averages, and the end of
# [notebook 00](00_first_edit.ipynb).
#
# **Minutes** 35 to read and 25 to work: three exercises of [session 1](../lessons/session_1.md).
#
# The folded cell below finds the library and sets the number of threads. Run it and read on.

# %% tags=["setup"]
# @title Setup: finds the library, or fetches it where this notebook was opened alone
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = ""
here = Path(globals().get("__file__", "here")).resolve().parent
parts = ("lib/__init__.py", "notebooks")
root = next((p for p in (here, *here.parents) if all((p / x).exists() for x in parts)), None)
if root is None and not REPOSITORY:
    raise FileNotFoundError(
        "this notebook works inside the folder of its repository, which holds README.md, lib and "
        f"notebooks, and {here} is not in it: take that folder as a whole, and open the notebook there."
    )
if root is None:  # opened alone, as Colab does: fetch the rest
    address, root = f"https://github.com/{REPOSITORY}", here / REPOSITORY.split("/")[-1]
    print(f"Fetching {address} and what it needs: a few minutes, once.")
    clone = ["git", "clone", "--quiet", "--depth=1", address, str(root)]
    install = [sys.executable, "-m", "pip", "install", "-q", "-r", str(root / "requirements.txt")]
    try:
        for command in [install] if (root / parts[0]).exists() else [clone, install]:
            subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(
            f"{address} could not be fetched ({error}): clone it yourself, with `git clone "
            f"{address}`, install its requirements.txt and open the notebook in it."
        ) from None
if importlib.util.find_spec("torch") is None:  # a kernel of another Python
    raise ModuleNotFoundError(
        f"{sys.executable}, which runs this notebook, lacks what the notebooks need: install it with "
        f"`{sys.executable} -m pip install -r {root / 'requirements.txt'}`, or take another kernel."
    )
sys.path.insert(0, str(root))
os.environ.setdefault("OMP_NUM_THREADS", "2")  # both are read once, when torch is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads stall a busy machine
SCALE = os.environ.get("EDIT_SCALE", "small")  # "tiny", "small" or "full"

# %%
import numpy as np
import torch
from torch.nn.functional import normalize

import lib
from lib import associative_memory as memory
from lib.evaluation.intervals import interval
from lib.workbench import plot
from notebooks.support import drawings_01, models
from notebooks.support.holes import guess, use
from notebooks.support.runs_02_insert import loudness as rms_drawn

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def each_error(W, K, V):  # (n,) squared error at each key, as a share of ‖v‖² in the mean
    return (W @ K - V).pow(2).sum(0) / V.pow(2).sum(0).mean()


def error(W, K, V):  # squared recall error, as a share of the squared length of the values
    return each_error(W, K, V).mean().item()


def ends(drawn):  # the value, and the 95 % interval of the draws behind it
    return "{:.3f} ({:.3f} to {:.3f})".format(drawn[0], *np.percentile(drawn[1:], (2.5, 97.5)))


# %% [markdown]
# ## A list of pairs becomes a matrix
#
# A memory gets a list of pairs and has to give back the second of a pair when it is shown the
# first. Here both are vectors: a *key* $k_i$ with $d$ components, and its *value* $v_i$. What we
# are looking for is one matrix $W$ that answers every key with its value, $W k_i = v_i$. We write
# the keys as the columns of $K$ ($d \times n$) and the values as those of $V$.
#
# An early idea (Kohonen, 1972) adds up one outer product per pair. What comes back for the key
# $k_j$?
#
# $$W = \sum_i v_i k_i^\top = VK^\top, \quad Wk_j = v_j \|k_j\|^2 + \sum_{i\ne j} v_i k_i^\top k_j$$
#
# The first term is what we want, if the key has length 1. The sum is **crosstalk**: each other
# value is mixed in by as much as its key overlaps with $k_j$. For orthonormal keys the crosstalk is
# zero, and every value comes back.
#
# **Your turn · exercise 1.2 · ★★ · 8 minutes.** Write `outer_memory`: the matrix $W$, and the
# crosstalk at every key, for keys of any length and without a loop. The numbers below and the first
# curve of the next figure come out of it. While the body is still `...`, the page goes on with the
# solution.


# %%
def outer_memory(K, V):
    """K (d_in, n), V (d_out, n) -> W (d_out, d_in), and the crosstalk (d_out, n)."""
    ...


outer_memory = use("1.2", outer_memory)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A sum of outer products is one matrix product, and so are all the answers. What is left of an answer
# when its own value is taken away?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def outer_memory(K, V):
#     W = V @ K.T
#     return W, W @ K - V * K.pow(2).sum(0)
# ```
#
# </details>
#
# **Predict.** In high dimensions random directions are nearly orthogonal. So take 160 random unit
# vectors in 256 dimensions as keys. How large is the crosstalk, compared with the values? (Where
# there is no field for it, type your guess as `share.number = …`.)
#
# <details><summary>Work it out</summary>
#
# Take $k_j$ as the first axis. The $d$ squared components of a unit vector sum to 1 and no axis is
# special, so $\mathbb{E}(k_i^\top k_j)^2 = 1/d$. Keys of both signs are equally likely, so mixed
# terms average out: $\mathbb{E}\|\text{crosstalk}\|^2 = \sum_{i \ne j} \|v_i\|^2 / d$, which for
# values of equal length is a share of $(n-1)/d$. Each overlap is small, but there are $n - 1$ of
# them.
#
# </details>

# %%
d = 256  # components of a key
n = 160  # pairs
share = guess("Crosstalk of random keys, as a share of the values' squared length?", 0, 10)
K = torch.linalg.qr(normal(d, n)).Q  # orthonormal keys
V = normal(d, n)
by_loop = torch.zeros(d, d, dtype=torch.float64)
for i in range(n):
    by_loop += torch.outer(V[:, i], K[:, i])
W, crosstalk = outer_memory(K, V)
assert torch.allclose(W, by_loop) and torch.allclose(W @ K, V)
print(f"orthonormal keys: a share of {(crosstalk.norm() / V.norm()).item() ** 2:.0e}")

# %%
K = normalize(normal(d, n), dim=0)
measured = (outer_memory(K, V)[1].norm() / V.norm()).item() ** 2
print(f"random keys: measured {measured:.2f}, expected (n − 1)/d = {(n - 1) / d:.2f}")
share.against(measured)

# %% [markdown]
# ## The best matrix
#
# Outer products ignore that keys overlap, and here the error has 0.61 of the values' squared
# length. So let us ask for the best matrix instead: which $W$ makes the squared error
# $\|WK - V\|^2$, summed over all entries, as small as possible? To see whether a $W$ can be
# improved, add any change $H$ and multiply out:
#
# $$\|(W + H)K - V\|^2 = \|WK - V\|^2 + 2\,\mathrm{tr}\big(H^\top (WK - V)K^\top\big) + \|HK\|^2 .$$
#
# If $(WK - V)K^\top = 0$, the middle term vanishes for every $H$ and the last one is never
# negative, so nothing helps. If it is not zero, the small step $H = -\varepsilon\,(WK - V)K^\top$
# does help. The best matrices are therefore exactly the solutions of the **normal equations**
# $W K K^\top = V K^\top$. Two of them differ by an $H$ with $HK = 0$. If the keys span the whole
# space, there is only one, $W = V K^\top (K K^\top)^{-1}$.
#
# **Your turn · exercise 1.1 · ★ · 5 minutes.** Write `fit` for keys that span the whole space. Below,
# your matrix is compared with one that was found downhill in small steps, and with the library's.


# %%
def fit(K, V):
    """K (d_in, n) with n > d_in, V (d_out, n) -> the W (d_out, d_in) of the normal equations."""
    ...


fit = use("1.1", fit)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.linalg.solve(A, B)` is the $X$ with $AX = B$. Here the unknown stands on the left of $KK^\top$:
# what do the normal equations say when both sides are transposed?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def fit(K, V):
#     M = K @ K.T  # (d_in, d_in), symmetric
#     return torch.linalg.solve(M, K @ V.T).T
# ```
#
# </details>

# %%
K = normal(8, 20)
V = normal(5, 20)
W = torch.zeros(5, 8, dtype=torch.float64)
for _ in range(3000):
    W -= 0.02 * (W @ K - V) @ K.T  # downhill on ‖W K − V‖²
assert torch.allclose(W, memory.fit(K, V))
print(f"downhill in small steps: {(W - fit(K, V)).abs().max():.0e} away from your matrix")

# %% [markdown]
# The formula of your `fit` needs many keys. With fewer independent keys than dimensions $KK^\top$ has
# no inverse, and many matrices answer all keys perfectly. Which one shall we take? The shortest, the
# one with the least $\|W\|^2$, since it adds nothing that the pairs do not ask for. It is called the
# **minimum-norm solution**. Its rows are combinations of the keys, $W = M K^\top$: a part of a row
# that is orthogonal to every key would make it longer and change no answer. From $M K^\top K = V$
# follows the formula for few keys,
#
# $$W = V (K^\top K)^{-1} K^\top .$$
#
# The matrix behind $V$ is the *pseudo-inverse* of $K$, here for few keys. For many keys the
# pseudo-inverse is $K^\top (KK^\top)^{-1}$, the matrix behind $V$ in your `fit`. So both formulas are
# $V$ times the pseudo-inverse, and the library's `fit` takes whichever the keys allow.

# %%
K = normal(8, 3)  # three keys in eight dimensions
V = normal(5, 3)
shortest = V @ torch.linalg.solve(K.T @ K, K.T)
assert torch.allclose(shortest, memory.fit(K, V))
print(f"three pairs in eight dimensions: error {error(shortest, K, V):.0e}")

# %% [markdown]
# ## Capacity
#
# How many pairs does such a memory hold? We draw $n$ random keys and values, and measure the
# squared error at recall as a share of the values' squared length.
#
# **Predict.** $n$ random pairs, $d$ inputs, least squares. Up to which $n$ is recall perfect? And
# above: collapse, or something gentler?
#
# <details><summary>Work it out</summary>
#
# Up to $n = d$ independent keys, $WK = V$ has a solution. Above, the formula gives $WK = V\Pi$ with
# $\Pi = K^\top (KK^\top)^{-1} K$: symmetric, $\Pi^2 = \Pi$, so a projector, with
# $\mathrm{tr}\,\Pi = \mathrm{tr}\big((KK^\top)^{-1}KK^\top\big) = d$. If $V$'s entries are
# independent of the keys and of each other, with mean 0 and variance $\sigma^2$, each row $r$ loses
# $\mathbb{E}\|r - r\Pi\|^2 = \sigma^2\,\mathrm{tr}(I - \Pi) = \sigma^2 (n - d)$ of its
# $\sigma^2 n$: a share of $1 - d/n$.
#
# </details>

# %%
counts = [d * i // 8 for i in (1, 2, 4, 6, 8, 10, 12, 14, 16)]
found = {"outer products": [], "least squares": []}
for n in counts:
    K = normalize(normal(d, n), dim=0)
    V = normal(d, n)
    found["outer products"].append(error(outer_memory(K, V)[0], K, V))
    found["least squares"].append(error(memory.fit(K, V), K, V))
r = torch.linspace(0.02, 2, 200)  # n/d
theory = {"(n − 1)/d": (r - 1 / d).clamp(min=0), "max(0, 1 − d/n)": (1 - 1 / r).clamp(min=0)}
x = dict.fromkeys(found, [n / d for n in counts]) | dict.fromkeys(theory, r)
colors = dict(zip([*found, *theory], plot.CYCLE[:2] * 2, strict=True))
axes = "pairs per input dimension, n/d", "squared recall error (share of ‖V‖²)"
plot.lines(x, found | theory, *axes, colors=colors, dashes=dict.fromkeys(found, " "))

# %% [markdown]
# Dots are measured, lines are the two formulas. The error of outer products grows from the second
# pair on. Least squares is perfect up to $n = d$, and then a share of $1 - d/n$ is wrong.
#
# ## Correlated keys
#
# The keys of a real layer are not spread evenly over all directions: as we shall see, some
# directions are used far more than others. We want to know what this does to crosstalk, and how to
# undo it. What describes the spread is the **second moment** of the keys, the $d \times d$ matrix
# $C = \mathbb{E}[k k^\top]$. For a unit vector $u$, the number
# $u^\top C u = \mathbb{E}(u^\top k)^2$ says how much the keys use the direction $u$. From $n$ keys
# that we have seen we can estimate it as $\hat C = \frac1n K K^\top$, and the more keys there are,
# the closer $\hat C$ comes to $C$.
#
# How much do two independent keys overlap? Take the average over $k_j$ first, then over $k_i$:
#
# $$\mathbb{E}(k_i^\top k_j)^2 = \mathbb{E}\,k_i^\top (k_j k_j^\top) k_i
# = \mathbb{E}\,k_i^\top C k_i = \mathrm{tr}(C^2) .$$
#
# Their squared length is $\mathbb{E}\|k\|^2 = \mathrm{tr}\,C$. Relative to it they overlap by
# $\mathrm{tr}(C^2)/(\mathrm{tr}\,C)^2$, where evenly spread keys had $1/d$. They overlap as if they
# lived in only
#
# $$d_\text{eff} = \frac{(\mathrm{tr}\,C)^2}{\mathrm{tr}(C^2)}$$
#
# dimensions. This number is $d$ if all eigenvalues of $C$ are equal, and 1 if one of them is huge.
#
# ## Whitening
#
# The cure is to measure keys in other coordinates, in which they *are* spread evenly. Split the
# second moment as $C = L L^\top$; such an $L$ exists for every $C$, and the Cholesky factor is one.
# The keys look as if somebody had taken evenly spread vectors and multiplied them by $L$. So we
# undo that and take $\tilde k = L^{-1} k$. Here are keys in a plane, before and after.

# %%
L = torch.tensor([[1.5, 0], [0.75, 0.3]]).double()  # any L; here C = L Lᵀ is a flat ellipse
even = normal(2, 300)
even[:, 0] = torch.tensor([1.9, 0.9])
even[:, 1] = torch.tensor([1.2, -1.6])
drawings_01.whitening(L @ even, L, (0, 1))

# %% [markdown]
# The ellipse is the set of keys with $k^\top C^{-1} k = 4$, and whitening makes it round. The two
# arrows seemed to be nearly one direction. They only share the direction that all keys share, and
# are quite different otherwise. Three lines say what happened in the picture.
#
# 1. The whitened keys are spread evenly:
#    $\mathbb{E}[\tilde k \tilde k^\top] = L^{-1}\,\mathbb{E}[kk^\top]\,L^{-\top}
#    = L^{-1} L L^\top L^{-\top} = I$.
# 2. For their inner products one needs no $L$ at all, because $L^{-\top} L^{-1} = (LL^\top)^{-1}$:
#    $\tilde k_i^\top \tilde k_j = k_i^\top L^{-\top} L^{-1} k_j = k_i^\top C^{-1} k_j$.
# 3. Least squares whitens by itself. In its normal equations $W K K^\top = V K^\top$ stands
#    $KK^\top = n\hat C$, so the solution is a sum of outer products again, with $\hat C^{-1} k_i$
#    in the place of $k_i$:
#
# $$W = \tfrac1n\, V K^\top \hat C^{-1} = \frac1n \sum_i v_i\,(\hat C^{-1} k_i)^\top .$$
#
# The first two lines are about $C$, which describes all keys that may come. In the third stands
# $\hat C$, since least squares knows only the keys that it was given. The next cell measures all
# three on keys in 256 dimensions with the eigenvalues 1, 1/2, 1/3, …

# %%
n = 2000
L = torch.linalg.qr(normal(d, d)).Q * torch.arange(1, d + 1).double() ** -0.5
C = L @ L.T
K = L @ normal(d, n)
d_eff = C.trace() ** 2 / (C @ C).trace()
inner = {"raw": (K.T @ K, d_eff), "whitened": (K.T @ memory.Moment(C).solve(K), d)}
for name, (products, expected) in inner.items():
    length = products.diagonal()  # squared lengths of the keys
    others = products.pow(2).sum() - length.pow(2).sum()  # over all pairs i ≠ j
    overlap = others / (n * n - n) / length.mean() ** 2
    print(f"{name}: keys overlap as in {1 / overlap:.1f} dimensions, expected {expected:.1f}")
V = normal(d, n)
C_hat = K @ K.T / n
solved = memory.Moment(C_hat).solve(K)  # Ĉ⁻¹ K
slow = torch.zeros(d, d, dtype=torch.float64)
for i in range(n):
    slow += torch.outer(V[:, i], solved[:, i]) / n
assert torch.allclose(slow, fit(K, V))

# %% [markdown]
# ## Ridge
#
# With few keys $KK^\top$ has no inverse, and with noisy ones its weak directions can be mostly
# noise. **Ridge** is the usual remedy: it asks for a small error and for a small $W$ at once and
# minimizes $\|WK - V\|^2 + \lambda \|W\|^2$. What comes out? There is no need to derive it anew:
# the second term is the error of $d$ more pairs, which say that the columns of $\sqrt\lambda\, I$
# give nothing. So the normal equations become
#
# $$W \,(K K^\top + \lambda I) = V K^\top ,$$
#
# with one solution for every $\lambda > 0$. Along a direction in which $KK^\top$ has the eigenvalue
# $s$, the answer of least squares is shrunk by $s/(s + \lambda)$: what was seen often is kept, and
# what was hardly seen is given up. Since $(KK^\top + \lambda I)K = K(K^\top K + \lambda I)$, the
# solution can be written with the inverse on either side of $K^\top$,
#
# $$W = V K^\top (KK^\top + \lambda I)^{-1} = V (K^\top K + \lambda I)^{-1} K^\top .$$
#
# For $\lambda \to 0$ the first form becomes the formula for many keys, and the second the one for few.
#
# How large should $\lambda$ be? A subject's key is a little different in every sentence. Let each of
# the $n$ keys arrive as $k_i + \varepsilon$, with noise of mean 0 and covariance $\sigma^2 I$. In the
# expected error the mixed term vanishes, and $\mathbb{E}\|W\varepsilon\|^2 = \sigma^2\|W\|^2$ is
# added for every pair. So the matrix with the smallest expected error is ridge with
# $\lambda = n \sigma^2$.
#
# The next cell writes 200 pairs whose keys are spread as in the last section, once for each of many
# $\lambda$, and asks for them with the keys as they were written and with noise on them.
#
# **Predict.** The noise has a tenth of the keys' squared length. Which share of the values' squared
# length is wrong without ridge, a tenth as well? And how much worse than the best $\lambda$ is one that
# is ten times too small, or ten times too large?

# %%
n, noise = 200, 0.05  # pairs, and σ, the noise in each component of a key
K, V = L @ normal(d, n), normal(d, n)
best = n * noise**2  # λ = n σ²
more_keys, more_values = best**0.5 * torch.eye(d), torch.zeros(d, d)
slow = memory.fit(torch.cat([K, more_keys], 1), torch.cat([V, more_values], 1))
assert torch.allclose(slow, memory.ridge(K, V, best))  # the form with one solve
arriving = [K + noise * normal(d, n) for _ in range(20)]
print(f"noise: {d * noise**2 / C.trace():.2f} of the keys' squared length")
factors = [0, *(10 ** (i / 4) for i in range(-12, 9))]  # λ in units of n σ²
fits = [memory.ridge(K, V, factor * best) for factor in factors]  # 0: without ridge
noisy = [sum(each_error(W, keys, V) for keys in arriving) / len(arriving) for W in fits]
written = torch.tensor([error(W, K, V) for W in fits])
added = torch.stack([best * W.norm() ** 2 / V.norm() ** 2 for W in fits])
for i in map(factors.index, (0, 0.1, 1, 10)):
    more = noisy[i] - noisy[factors.index(1)]  # at each pair
    print(f"λ = {factors[i]:g} n σ²: keys as written {written[i]:.3f}, noisy {noisy[i].mean():.2f};",
          "{:.2f} more ({:.2f} to {:.2f})".format(more.mean(), *interval(more, None)))  # fmt: skip
curves = {
    "noisy keys": [each.mean() for each in noisy[1:]],
    "keys as written": written[1:],
    "noisy keys, expected": (written + added)[1:],
}
axes = "λ, in units of n σ²", "squared recall error (share of ‖V‖²)"
plot.lines(factors[1:], curves, *axes, xlog=True, dashes={"noisy keys, expected": ":"})

# %% [markdown]
# A line says the error on the keys as they were written, then that on noisy keys, and how much larger
# the second is than with $\lambda = n\sigma^2$. Without ridge, at $\lambda = 0$, all pairs fit exactly,
# and on noisy keys the error is larger than the values themselves, 1.10 of their squared length. The
# noise is small, but it is multiplied by a large $W$: in the mean it adds $n\sigma^2\|W\|^2$ to the error
# on the keys as written. The sum of both is the dotted curve, and the measured one lies on it. With
# $\lambda = n\sigma^2$ the error on noisy keys is 0.31, and the price is an error of 0.164 on the keys as
# written. A $\lambda$ ten times smaller costs 0.28 more on noisy keys (0.28 to 0.29), and one ten times
# larger 0.24 more (0.23 to 0.24). (The 95 % intervals are over the 200 pairs, with the same noisy keys
# for every $\lambda$. Keys and values were drawn once.)
#
# ## A layer of a real model
#
# The matrix edited in notebook 00 is the output projection of an MLP. Its input at a token is the
# key, its output the value. We read the keys at the last token of the classroom's subjects, without
# those that begin a prompt, because the first token of a prompt can behave unlike all others
# (notebook 02). First we make sure that the layer really multiplies by $W$ and does nothing else.

# %%
lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
layer = lib.EDITORS["rome"](lm).config.layer
name = lm.mlp_out(layer)
W = lm.weight(name).cpu().double()
facts = {c.fact.subject: c.fact for c in lib.classroom() if not c.fact.prompt.startswith("{}")}
subjects = list(facts)
facts = list(facts.values())
K = lm.keys(facts, layer).cpu().double()  # (d_in, n)
print(f"layer {layer}: {W.shape[1]} inputs, {W.shape[0]} outputs, keys of {len(facts)} subjects")
run = lm.run(facts[0].text, watch=[name])  # one of them the slow way, with all its tokens
inputs, outputs = (x[0].cpu().double() for x in run.seen[name])  # (tokens, d_in), (tokens, d_out)
at = (inputs - K[:, 0]).norm(dim=1).argmin()
print(f"{facts[0].text!r}: key read at {lm.tokenizer.decode(run.ids[0, at : at + 1])!r}")
assert (W @ K[:, 0] - outputs[at]).norm() < 1e-2 * outputs[at].norm()

# %% [markdown]
# The cell has checked on one key that $Wk$ is the layer's output, to within a hundredth of its
# length. Now the second moment $C$ of this layer's keys, a mean over tokens of general text. If the
# keys were spread evenly, all eigenvalues of $C$ would be equal. But we have only $\hat C$, from
# $n$ tokens. Even where $C = I$, its eigenvalues spread from $(1 - \sqrt{d/n})^2$ to
# $(1 + \sqrt{d/n})^2$ (Marchenko and Pastur), and since $\mathbb{E}\,\mathrm{tr}(\hat C^2)$ is
# about $d + d^2/n$, they look like only $d/(1 + d/n)$ dimensions. Both are printed for comparison.

# %%
moment = lib.second_moment(lm, [layer])[layer]
values = torch.linalg.eigvalsh(moment.C).flip(0)  # largest first
d_eff = values.sum() ** 2 / values.pow(2).sum()
print(f"{len(values)} dimensions, effectively {d_eff:.0f}")
largest, smallest = values[[0, -1]] / values.mean()
print(f"largest eigenvalue {largest:.0f} times the mean, smallest {smallest:.2g} times")
tokens = 10 * len(values)  # that `second_moment` reads
ratio = len(values) / tokens
low, high = (1 - ratio**0.5) ** 2, (1 + ratio**0.5) ** 2
print(
    f"an even spectrum seen through {tokens:,} independent tokens: {high:.2g} and {low:.2g} times"
)
print(f"and effectively {len(values) / (1 + ratio):,.0f} dimensions")
curves = {"this layer": values, "spread evenly": values.mean().expand(len(values))}
axes = "index of the eigenvalue, largest first", "eigenvalue of C"
plot.lines(range(1, len(values) + 1), curves, *axes, ylog=True)

# %% [markdown]
# The spectrum falls all the way and reaches no zero: general text leaves no direction quite unused,
# but uses some far more than others. With independent tokens, their limited number alone would
# explain neither the largest eigenvalue nor the smallest. The 602 are rather too few, because the
# same effect lowers them; by how much we do not know, since the tokens of a text are not
# independent of each other.
#
# **Predict.** Two subjects, taken at random: is the cosine of their keys near 0? Does whitening
# bring all pairs to 0?
#
# <details><summary>Answer</summary>
#
# Raw cosines lean to the positive side, as they do when keys have a part in common. Whitening draws
# the bulk toward 0, though not as far as random vectors. What remains is a tail of pairs that are
# alike for this layer.
#
# </details>
#
# **Your turn · exercise 1.3 · ★★ · 8 minutes.** Write the cosines of all whitened keys. The next
# figure is drawn from them.


# %%
def whitened_cosines(K, C):
    """K (d_in, n), C (d_in, d_in) -> (n, n), the cosine between L⁻¹ k_i and L⁻¹ k_j, C = L Lᵀ."""
    ...


whitened_cosines = use("1.3", whitened_cosines)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Line 2 of the section on whitening needs no $L$. Which two lengths does a cosine divide by?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def whitened_cosines(K, C):
#     G = K.T @ torch.linalg.solve(C, K)  # k̃_iᵀ k̃_j, (n, n)
#     length = G.diagonal().sqrt()
#     return G / length[:, None] / length[None]
# ```
#
# </details>

# %%
pairs = torch.triu_indices(K.shape[1], K.shape[1], 1)  # i < j
unit, random = normalize(K, dim=0), normalize(normal(*K.shape), dim=0)
tables = {
    "raw": unit.T @ unit,
    "whitened": whitened_cosines(K, moment.C),
    "random vectors": random.T @ random,
}
others = ~torch.eye(K.shape[1], dtype=torch.bool)  # i ≠ j
drawn = {group: rms_drawn(table, others) for group, table in tables.items()}
cosines = {group: table[*pairs] for group, table in tables.items()}
print(f"{pairs.shape[1]:,} pairs of subjects; root mean square of the cosines (95 %):")
for group, values in drawn.items():
    print(f"{group} {ends(values)}, {(cosines[group] > 0.3).sum()} pairs above 0.3")
for group in ("raw", "random vectors"):  # the same subjects are drawn for both sides
    print(f"{group} less whitened: {ends(drawn[group] - drawn['whitened'])}")
top = cosines["whitened"].topk(4)
closest = [" – ".join(subjects[i] for i in pairs[:, place]) for place in top.indices]
for pair, cosine in zip(closest, top.values, strict=True):
    print(
        f"{pair}: cosine {cosine:.2f}, whitened, an angle of {cosine.acos().rad2deg():.0f} degrees"
    )
ordered = {group: values.sort().values for group, values in cosines.items()}
beyond = torch.arange(pairs.shape[1], 0, -1) / pairs.shape[1]
axes = "cosine between the keys of two subjects", "share of the pairs with at least this"
plot.lines(ordered, dict.fromkeys(ordered, beyond), *axes, ylog=True)

# %% [markdown]
# In the root mean square the whitened cosines are 0.076. The raw ones are larger by 0.056 (0.045 to
# 0.068), and those of random vectors smaller by 0.051 (0.038 to 0.065). The intervals are a bootstrap
# over subjects, with the same subjects drawn for all three.
#
# A curve ends at its most similar pair. The axis of shares is logarithmic, because the tail
# matters: of the 7,750 pairs 338 have a raw cosine above 0.3 and 92 a whitened one, but no pair of
# random vectors has. Three of the four closest pairs are pairs of languages, the fourth is Poland
# and Romania. Their keys are not the same, as the angles say, but no pair of random vectors in the
# figure comes near their cosines.
#
# ## How soon do pairs give the matrix away?
#
# Somebody hides $W$ and shows us only pairs $(k, Wk)$ from running text. That $d_\text{in}$
# independent pairs fix the matrix is no surprise, it is linear algebra. The way there is more
# interesting. With fewer pairs we take the shortest matrix that explains them. It agrees with $W$
# on the span of the $n$ keys that we have seen and gives nothing outside, so a share of about
# $1 - n/d_\text{in}$ of $\|W\|^2$ is missing.
#
# **Predict.** We ask this matrix for *new* tokens, which it has never seen. Is the error there
# larger than the share that is missing of $W$, equal to it, or smaller?
#
# <details><summary>Answer</summary>
#
# Smaller. Of a new key only the part outside the span is answered wrongly. New keys lie mostly in
# the strong directions of $C$, and those are the directions that the first keys have filled.
#
# </details>
#
# Two controls stand beside it. *Even keys* are drawn with $C = I$, all directions alike. *Drawn keys*
# have the layer's own $C$ but are independent of each other, while in a text words recur.

# %%
width = W.shape[1]
text = lib.data.texts.GENERAL.read_text(encoding="utf-8")
ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"][: 3 * width // 2]
windows = [ids[i : i + 128] for i in range(0, len(ids), 128)]
# without the first token of each window, which can be unlike all others (notebook 02)
keys = torch.cat([lm.run([w], watch=[name]).seen[name][0][0, 1:].cpu() for w in windows])
keys = keys.double()[torch.randperm(len(keys), generator=draw)].T  # (d_in, tokens)
shares = (0.125, 0.25, 0.5, 0.75, 1.0, 1.25)  # pairs per input
kinds = {"even keys": normal(*keys.shape)}
kinds["drawn keys"] = torch.linalg.cholesky(moment.C) @ normal(*keys.shape)
kinds["new tokens"] = keys
found = {"missing of W": []} | {f"error on {kind}": [] for kind in reversed(kinds)}
for share in shares:
    for kind, own in kinds.items():
        known, new = own[:, : int(share * width)], own[:, 5 * width // 4 :]
        fitted = memory.fit(known, W @ known)
        wrong = each_error(fitted, new, W @ new)
        found[f"error on {kind}"].append(wrong.mean().item())
        if share == 0.5:
            print("n/d = 0.5: {}, 95 % {:.2f} to {:.2f}".format(kind, *interval(wrong, None)))
    found["missing of W"].append(error(fitted, torch.eye(width).double(), W))  # new tokens' matrix
    print(f"n/d = {share}:", ", ".join(f"{n} {x[-1]:.2f}" for n, x in found.items()))
axes = "pairs per input dimension, n/d", "share of the squared length"
found["1 − n/d"] = [max(0, 1 - share) for share in shares]
plot.lines(shares, found, *axes, dashes={"1 − n/d": ":"}, colors={"1 − n/d": plot.QUIET})

# %% [markdown]
# What is missing of $W$ follows $1 - n/d$, and the error on even keys does, too: with half as many
# pairs as inputs, 0.50 of their answers' squared length is wrong (0.50 to 0.51). On new tokens it
# is only 0.30 (0.26 to 0.34), and on drawn keys 0.33 (0.32 to 0.33). So it is the spread of the
# keys that helps. Recurring words are not needed for it, and a further gain from them is not shown: at
# this $n/d$ the two intervals overlap. (The intervals are over the keys that are asked;
# even and drawn keys were drawn once.) Enough independent pairs give away any matrix; how soon new
# keys are answered depends on how the keys are spread.
#
# ## What we know now
#
# * A matrix can be read as the least-squares answer to a list of pairs. $d$ inputs hold up to
#   $d$ independent pairs exactly; above that, random values lose a share of $1 - d/n$.
# * A sum of outer products mixes the values of keys that overlap. Whitening takes out what the second
#   moment says about all keys, and the overlap that is left is $k_i^\top C^{-1} k_j$.
# * Against noise of variance $\sigma^2$ on $n$ keys, ridge with $\lambda = n\sigma^2$ has the smallest
#   expected error. It pays with an error on the keys as they were written.
# * This real layer uses all its directions, but not evenly: the keys of subjects overlap more than
#   random vectors, and half as many pairs as inputs leave an error of 0.30 on new tokens, where
#   even keys have 0.50.
#
# ## Where it breaks
#
# Write one new pair into a memory in use. The obvious way adds what is missing as an outer product,
# $W' = W + (v - Wk)\,k^\top / \|k\|^2$, and the new pair is exact. We give a subject of the real
# layer the value of another, look at all the rest, then go on subject by subject.

# %%
V = W @ K
wanted = V.roll(1, 1)  # every subject gets the value of the one before it
written = W.clone()
for i in range(K.shape[1]):
    k = K[:, i]
    written += torch.outer(wanted[:, i] - written @ k, k) / (k @ k)
    if i == 0:
        moved = ((written @ K - V).norm(dim=0) / V.norm(dim=0))[1:]  # a share of their length
print(f"one pair: {(moved > 0.001).sum()} of {len(moved)} others moved, in the mean by")
print("{:.0%} of their length ({:.0%} to {:.0%})".format(moved.mean(), *interval(moved, None)))
print(f"all pairs in a row: error {error(written, K, wanted):.2f}, all at once",
      f"by least squares: {error(memory.fit(K, wanted), K, wanted):.2f}")  # fmt: skip

# %% [markdown]
# One pair moves nearly all the others by more than a thousandth of their length, and in the mean by
# a fifth. Written in a row, the later pairs spoil the earlier ones: 0.38 of the squared length is
# wrong at the end. A matrix that holds them all exists, but we cannot refit the real one: nobody
# has the pairs that it was made from. All we know of them is $C$.
#
# **How do we write one pair at the least cost to those that we cannot see?**
# [Notebook 02](02_insert.ipynb) derives that, and comes back to the sheep and its neighbors.
#
# ## References
#
# * Kohonen: *Correlation Matrix Memories*, IEEE Transactions on Computers, 1972.
# * Geva, Schuster, Berant, Levy: *Transformer Feed-Forward Layers Are Key-Value Memories*, 2021,
#   [arXiv:2012.14913](https://arxiv.org/abs/2012.14913).
# * Bau et al.: *Rewriting a Deep Generative Model*, 2020,
#   [arXiv:2007.15646](https://arxiv.org/abs/2007.15646): the second moment enters editing.
