# %% [markdown]
# <!-- badge -->
#
# # 01 · In what sense is a linear layer a memory?
#
# The sheepdog's answer changed even though we had not edited it. ROME wrote into one matrix: what was stored there?
# By the end of this page you will be able to read a matrix as a list of pairs, even in a real model.
#
# **You will** derive the best matrix for a set of pairs, and its capacity · see how correlated keys degrade it, and
# how their second moment $C$ helps · find out when a memory is worst, and fix it using ridge · look at real keys,
# and steal a layer from its pairs.
#
# **Needs** matrix products, traces, eigenvalues, averages, and the end of [notebook 00](00_first_edit.ipynb).
#
# **Minutes** 30 for reading and 50 for working: four exercises from [session 1](../lessons/session_1.md).

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
import math

import torch
from torch.nn.functional import normalize

import lib
from lib import associative_memory as memory
from lib.keys_values.second_moment import windows
from lib.model.activations import module_inputs
from lib.workbench import plot
from notebooks.support import drawings_01, models, own_fact, show
from notebooks.support.holes import both, guess, use
from notebooks.support.sliders import Slider

RECALL = "pairs per input dimension, n/d", "squared recall error (fraction of ‖V‖²)"
draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def error(W, K, V):  # squared recall error, as a fraction of the squared length of the values
    return ((W @ K - V).norm() / V.norm()).item() ** 2


def even_spectrum(d, n):  # eigenvalues of Ĉ from n tokens if C = I (Marchenko and Pastur, 1967)
    x = torch.linspace((1 - (d / n) ** 0.5) ** 2, (1 + (d / n) ** 0.5) ** 2, 4001).double()
    density = ((x[-1] - x) * (x - x[0])).clamp(min=0).sqrt() / x  # up to a constant factor
    below = density.cumsum(0)
    return x[torch.searchsorted(below / below[-1], (torch.arange(d, 0, -1) - 0.5) / d)]


def named(title, function):  # {label in a figure: function}; yours as well if it is wrong
    return dict(zip((title, f"{title}, yours"), both(function).values(), strict=False))


# %% [markdown]
# ## A list of pairs becomes a matrix
#
# A memory stores a list of pairs, returning the second element of a pair when given the first. Here both are vectors: a
# *key* $k_i$ with $d$ components, and its *value* $v_i$. We are looking for a single matrix $W$ that maps every key to
# its value, $W k_i = v_i$. We write the keys as the columns of $K$ ($d \times n$) and the values as the columns of $V$.
#
# An early idea (Kohonen, 1972) adds up one outer product per pair. What does it return for the key $k_j$?
#
# $$W = \sum_i v_i k_i^\top = VK^\top, \quad Wk_j = v_j \|k_j\|^2 + \sum_{i\ne j} v_i k_i^\top k_j$$
#
# The first term is the result we want, if the key has length 1. The sum is **crosstalk**: each other value is mixed
# in by as much as its key overlaps with $k_j$. For orthonormal keys the crosstalk is zero, and every value is
# returned.
#
# **Your turn · exercise 1.2 · ★★ · 8 minutes.** Write `outer_memory`: the matrix $W$, and the crosstalk at every
# key, for keys of any length and without using a loop.


# %%
def outer_memory(K, V):
    """K (d_in, n), V (d_out, n) -> W (d_out, d_in), and the crosstalk (d_out, n)."""
    ...


outer_memory = use("1.2", outer_memory)
share = guess("Crosstalk of random keys, as a fraction of the values' squared length?", 0, 10)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A sum of outer products is a single matrix product, and so are all the answers. What is left of an answer after
# subtracting its own value?
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
# **Predict.** In high dimensions random directions are almost orthogonal. Suppose we use 160 random unit vectors in 256
# dimensions as keys. How large is the crosstalk, compared with the values?
#
# <details><summary>Work it out</summary>
#
# Choose $k_j$ as the first axis. The $d$ squared components of a unit vector sum to 1 and no axis is special, so
# $\mathbb{E}(k_i^\top k_j)^2 = 1/d$. Keys of both signs are equally likely, so mixed terms average out:
# $\mathbb{E}\|\text{crosstalk}\|^2 = \sum_{i \ne j} \|v_i\|^2 / d$, which for values of equal length is a fraction
# of $(n-1)/d$. Each overlap is small, but there are $n - 1$ of them.
#
# </details>

# %%
d, n = 256, 160  # components of a key, and pairs
K = torch.linalg.qr(normal(d, n)).Q  # orthonormal keys
V = normal(d, n)
by_loop = torch.zeros(d, d, dtype=torch.float64)
for i in range(n):
    by_loop += torch.outer(V[:, i], K[:, i])
W, crosstalk = outer_memory(K, V)
assert torch.allclose(W, by_loop) and torch.allclose(W @ K, V)
print(f"orthonormal keys: a fraction of {(crosstalk.norm() / V.norm()).item() ** 2:.0e}")

K = normalize(normal(d, n), dim=0)
measured = (outer_memory(K, V)[1].norm() / V.norm()).item() ** 2
print(f"random keys: measured {measured:.2f}, expected (n − 1)/d = {(n - 1) / d:.2f}")
share.against(measured)

# %% [markdown]
# ## The best matrix
#
# Outer products ignore the overlap between keys, losing more than half of the values' squared length. So let us look
# for the best matrix instead: which $W$ makes the squared error $\|WK - V\|^2$, summed over all entries, as small as
# possible? To find out whether a given $W$ can be improved, add any change $H$. To first order in $H$ the error changes
# by $\mathrm{tr}(H^\top G)$, with a matrix $G$, the **slope** at $W$.
#
# **Your turn · exercise 1.1, first step · ★ · 6 minutes.** Expand $\|(W + H)K - V\|^2$ on paper, and write `slope`.


# %%
def slope(W, K, V):
    """W (d_out, d_in), K (d_in, n), V (d_out, n) -> G (d_out, d_in)."""
    ...


slope = use("1.1", slope)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $\|A + B\|^2 = \|A\|^2 + 2\,\mathrm{tr}(B^\top A) + \|B\|^2$, and $\mathrm{tr}(XY) = \mathrm{tr}(YX)$. Which
# matrix is multiplied by $H^\top$?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def slope(W, K, V):
#     return 2 * (W @ K - V) @ K.T
# ```
#
# </details>

# %%
W, K, V, step = normal(3, 4), normal(4, 7), normal(3, 7), 1e-5
slow = torch.zeros(3, 4, dtype=torch.float64)  # central differences, entry by entry
for i in range(3):
    for j in range(4):
        H = torch.zeros(3, 4, dtype=torch.float64)
        H[i, j] = step
        up, down = (((W + sign * H) @ K - V).pow(2).sum() for sign in (1, -1))
        slow[i, j] = (up - down) / (2 * step)
assert torch.allclose(slope(W, K, V), slow)
for line, f in named("slope", slope).items():
    print(f"{line}: {(f(W, K, V) - slow).abs().max():.0e} away from central differences")

# %% [markdown]
# Expanding it gives
#
# $$\|(W + H)K - V\|^2 = \|WK - V\|^2 + 2\,\mathrm{tr}\big(H^\top (WK - V)K^\top\big) + \|HK\|^2 .$$
#
# If $(WK - V)K^\top = 0$, the middle term vanishes for every $H$ and the last term is never negative, so nothing
# helps. If it is not zero, the small step $H = -\varepsilon\,(WK - V)K^\top$ does help. The best matrices are
# therefore exactly the solutions of the **normal equations** $W K K^\top = V K^\top$. Two solutions differ by an
# $H$ with $HK = 0$. If the keys span the whole space, there is only one solution, $W = V K^\top (K K^\top)^{-1}$.
#
# **Exercise 1.1, second step · ★ · 5 minutes.** Write `fit` for keys that span the whole space.


# %%
def fit(K, V):
    """K (d_in, n) with n > d_in, V (d_out, n) -> the W (d_out, d_in) of the normal equations."""
    ...


fit = use("1.1", fit)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.linalg.solve(A, B)` is the $X$ with $AX = B$. Here the unknown is on the left of $KK^\top$: what do the
# normal equations look like after transposing both sides?
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
#
# With fewer independent keys than dimensions, $KK^\top$ has no inverse, and many matrices answer all keys perfectly.
# Which should we choose? The shortest, that is, the matrix with the smallest $\|W\|^2$, because it adds nothing that
# the pairs do not require. It is called the **minimum-norm solution**. Its rows are combinations of the keys, $W = M
# K^\top$: any part of a row that is orthogonal to every key would make the row longer without changing an answer.
# Solving $M K^\top K = V$ for $M$ gives the formula for few keys,
#
# $$W = V (K^\top K)^{-1} K^\top .$$
#
# The factor after $V$ is the *pseudo-inverse* of $K$. In your `fit`, for many keys, it is $K^\top (KK^\top)^{-1}$.

# %%
K, V = normal(8, 20), normal(5, 20)
W = torch.zeros(5, 8, dtype=torch.float64)
for _ in range(3000):
    W -= 0.02 * (W @ K - V) @ K.T  # downhill on ‖W K − V‖²
assert torch.allclose(W, memory.fit(K, V))
print(f"downhill in small steps: {(W - fit(K, V)).abs().max():.0e} away from your matrix")

K, V = normal(8, 3), normal(5, 3)  # three keys in eight dimensions
shortest = V @ torch.linalg.solve(K.T @ K, K.T)
assert torch.allclose(shortest, memory.fit(K, V))
X = torch.eye(5, 8, dtype=torch.float64)
more = shortest + X - memory.fit(K, X @ K)  # W + H with H K = 0
print("three pairs in eight dimensions, the formula's matrix, and the same plus an H:")
for matrix in (shortest, more):
    print(f"  error {error(matrix, K, V):.0e}, length {matrix.norm():.2f}")

# %% [markdown]
# ## Capacity
#
# How many pairs can such a memory hold? We draw $n$ random keys and values, measuring the squared recall error as a
# fraction of the values' squared length.
#
# **Predict.** $n$ random pairs, $d$ inputs, least squares. Up to which $n$ is recall perfect? And beyond that:
# collapse, or something gentler?
#
# <details><summary>Work it out</summary>
#
# Up to $n = d$ independent keys, $WK = V$ has a solution. Beyond that, the formula gives $WK = V\Pi$ with
# $\Pi = K^\top (KK^\top)^{-1} K$: symmetric, $\Pi^2 = \Pi$, so a projector, with
# $\mathrm{tr}\,\Pi = \mathrm{tr}\big((KK^\top)^{-1}KK^\top\big) = d$. If $V$'s entries are independent of the keys
# and of each other, with mean 0 and variance $\sigma^2$, each row $r$ loses
# $\mathbb{E}\|r - r\Pi\|^2 = \sigma^2\,\mathrm{tr}(I - \Pi) = \sigma^2 (n - d)$ of its $\sigma^2 n$: a fraction of
# $1 - d/n$.
#
# </details>

# %%
counts = [d * i // 8 for i in (1, 2, 4, 6, 8, 10, 12, 14, 16)]
outer, best = named("outer products", outer_memory), named("least squares", fit)
found = {name: [] for name in (*outer, *best)}
for n in counts:
    K, V = normalize(normal(d, n), dim=0), normal(d, n)
    for name, one in outer.items():  # keys of length 1: the error is the crosstalk
        found[name].append((one(K, V)[1].norm() / V.norm()).item() ** 2)
    for name, one in best.items():
        found[name].append(error(one(K, V) if n > d else memory.fit(K, V), K, V))
r = torch.linspace(0.02, 2, 200)  # n/d
theory = {"(n − 1)/d": (r - 1 / d).clamp(min=0), "max(0, 1 − d/n)": (1 - 1 / r).clamp(min=0)}
x = dict.fromkeys(found, [n / d for n in counts]) | dict.fromkeys(theory, r)
colors = {"outer products": 0, "least squares": 1, **dict(zip(theory, (0, 1), strict=True))}
colors = {name: plot.CYCLE[i] for name, i in colors.items()}
plot.lines(x, found | theory, *RECALL, colors=colors, dashes=dict.fromkeys(found, " "))

# %% [markdown]
# Dots are measurements; lines are the two formulas. Outer products make errors from the second pair on. Least squares
# stores up to $d$ pairs exactly. Above that, it loses a fraction $1 - d/n$ but doesn't collapse, as long as it is
# queried with exactly the keys that were written.
#
# ## Correlated keys
#
# The keys of a real layer are not spread evenly over all directions. Their spread is described by the **second
# moment** of the keys, the $d \times d$ matrix $C = \mathbb{E}[k k^\top]$. For a unit vector $u$, the number
# $u^\top C u = \mathbb{E}(u^\top k)^2$ measures how much the keys use the direction $u$. From $n$ keys it is
# estimated as $\hat C = \frac1n K K^\top$.
#
# How much do two independent keys overlap? Average over $k_j$ first, then over $k_i$:
#
# $$\mathbb{E}(k_i^\top k_j)^2 = \mathbb{E}\,k_i^\top (k_j k_j^\top) k_i
# = \mathbb{E}\,k_i^\top C k_i = \mathrm{tr}(C^2) .$$
#
# Their squared length is $\mathbb{E}\|k\|^2 = \mathrm{tr}\,C$. Relative to it they overlap by
# $\mathrm{tr}(C^2)/(\mathrm{tr}\,C)^2$, compared with $1/d$ for evenly spread keys. They overlap as if they lived
# in only
#
# $$d_\text{eff} = \frac{(\mathrm{tr}\,C)^2}{\mathrm{tr}(C^2)}$$
#
# dimensions. This number is $d$ if all eigenvalues of $C$ are equal, and 1 if one of them is huge.
#
# ## Whitening
#
# The cure is to measure keys in other coordinates, in which they *are* spread evenly. Split the second moment as
# $C = L L^\top$, for example using the Cholesky factor. The keys look as if evenly spread vectors had been
# multiplied by $L$. So we undo the multiplication by setting $\tilde k = L^{-1} k$.
#
# 1. The whitened keys are spread evenly:
#    $\mathbb{E}[\tilde k \tilde k^\top] = L^{-1}\,\mathbb{E}[kk^\top]\,L^{-\top}
#    = L^{-1} L L^\top L^{-\top} = I$.
# 2. Computing their inner products doesn't require $L$ at all, because $L^{-\top} L^{-1} = (LL^\top)^{-1}$:
#    $\tilde k_i^\top \tilde k_j = k_i^\top L^{-\top} L^{-1} k_j = k_i^\top C^{-1} k_j$.
# 3. Least squares whitens automatically. Its normal equations $W K K^\top = V K^\top$ contain $KK^\top = n\hat C$,
#    so the solution is a sum of outer products again, with $\hat C^{-1} k_i$ replacing $k_i$:
#
# $$W = \tfrac1n\, V K^\top \hat C^{-1} = \frac1n \sum_i v_i\,(\hat C^{-1} k_i)^\top .$$
#
# The next cell draws keys in a plane before and after whitening, and measures all three lines on keys in 256
# dimensions with the eigenvalues 1, 1/2, 1/3, …

# %%
n = 2000
L = torch.linalg.qr(normal(d, d)).Q * torch.arange(1, d + 1).double() ** -0.5
C = L @ L.T
K, V = L @ normal(d, n), normal(d, n)
d_eff = C.trace() ** 2 / (C @ C).trace()
inner = {"raw": (K.T @ K, d_eff), "whitened": (K.T @ memory.Moment(C).solve(K), d)}
for name, (products, expected) in inner.items():
    length = products.diagonal()  # squared lengths of the keys
    others = products.pow(2).sum() - length.pow(2).sum()  # over all pairs i ≠ j
    overlap = others / (n * n - n) / length.mean() ** 2
    print(f"{name}: keys overlap as in {1 / overlap:.0f} dimensions, expected {expected:.0f}")
solved = memory.Moment(K @ K.T / n).solve(K)  # Ĉ⁻¹ K
slow = torch.zeros(d, d, dtype=torch.float64)
for i in range(n):
    slow += torch.outer(V[:, i], solved[:, i]) / n
assert torch.allclose(slow, fit(K, V))

flat = torch.tensor([[1.5, 0], [0.75, 0.3]]).double()  # any L; here C = L Lᵀ is a flat ellipse
even = normal(2, 300)
even[:, 0], even[:, 1] = torch.tensor([[1.9, 0.9], [1.2, -1.6]])
drawings_01.whitening(flat @ even, flat, (0, 1))

# %% [markdown]
# The ellipse is the set of keys with $k^\top C^{-1} k = 4$, and whitening makes it round. All that the two arrows
# share is the direction that all keys share.
#
# ## Ridge
#
# With few keys, $KK^\top$ has no inverse, and if the keys are noisy, its weak directions can be mostly noise.
# **Ridge** keeps both the error and $W$ small by minimizing $\|WK - V\|^2 + \lambda \|W\|^2$. The second term is
# the error of $d$ additional pairs, whose keys are the columns of $\sqrt\lambda\, I$ and whose values are zero. So
# the normal equations become
#
# $$W \,(K K^\top + \lambda I) = V K^\top ,$$
#
# with one solution for every $\lambda > 0$. Along a direction in which $KK^\top$ has the eigenvalue $s$, the
# least-squares answer is shrunk by $s/(s + \lambda)$: directions seen often are kept, and directions rarely seen
# are given up. Since $(KK^\top + \lambda I)K = K(K^\top K + \lambda I)$, the solution can be written with the
# inverse on either side of $K^\top$,
#
# $$W = V K^\top (KK^\top + \lambda I)^{-1} = V (K^\top K + \lambda I)^{-1} K^\top .$$
#
# For $\lambda \to 0$, the first form becomes the formula for many keys, and the second the formula for few.
#
# How large should $\lambda$ be? A subject's key is a little different in every sentence. Suppose that each of the $n$
# keys arrives as $k_i + \varepsilon$, with noise of mean 0 and covariance $\sigma^2 I$. In the expected error the
# mixed term vanishes, and each pair adds $\mathbb{E}\|W\varepsilon\|^2 = \sigma^2\|W\|^2$. So the matrix with the
# smallest expected error is ridge with $\lambda = n \sigma^2$.
#
# **Exercise 1.1, third step · ★ · 6 minutes.** Write `ridge` as one call of `fit`, adding the $d$ extra pairs. The
# next figure is drawn from it.


# %%
def ridge(K, V, lam):
    """K (d_in, n) with any n, V (d_out, n), λ > 0 -> W (d_out, d_in), by one call of fit."""
    ...


ridge = use("1.1", ridge)

noise = 0.05  # σ, in each component of a key
counts = [d * i // 8 for i in (*range(1, 13), 14, 16)]
pairs = [(L @ normal(d, n), normal(d, n)) for n in counts]
arriving = [K + noise * normal(*K.shape) for K, _ in pairs]
worst = guess("Without ridge and with noise on the keys, at which n/d is the error largest?", 0, 2)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.cat([K, more], 1)` appends columns to $K$. What are the values of the new keys?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def ridge(K, V, lam):
#     more = lam**0.5 * torch.eye(len(K)).to(K)  # d_in keys, whose values are 0
#     nothing = torch.zeros(len(V), len(K)).to(V)
#     return fit(torch.cat([K, more], 1), torch.cat([V, nothing], 1))
# ```
#
# </details>
#
# The pairs are written with keys spread as in the last section. When they are read, the keys contain
# noise with a tenth of their squared length.
#
# **Predict.** Without ridge, which memory suffers most from the noise: half full, exactly full, or holding twice as
# many pairs as inputs?
#
# <details><summary>Work it out</summary>
#
# The noise adds $n\sigma^2\|W\|^2$. Around $n = d$, the pairs just determine the matrix, and some direction is used
# by almost no key. Along it, $W$ has to be huge to produce the values. If there are more pairs than inputs, they
# can no longer all be answered exactly, which makes $W$ shorter again.
#
# </details>

# %%


def errors(solve, strength):  # on keys as they arrive and as written, with λ = strength · n σ²
    fits = [solve(K, V, strength * K.shape[1] * noise**2) for K, V in pairs]
    written = [error(W, K, V) for W, (K, V) in zip(fits, pairs, strict=True)]
    every = zip(fits, arriving, pairs, strict=True)
    return [error(W, keys, V) for W, keys, (_, V) in every], written, fits


def figure(strength):
    curves = {"noisy keys, without ridge": plain}
    for name, solve in named("ridge", ridge).items():
        curves[f"noisy keys, {name}"], curves[f"as written, {name}"], _ = errors(solve, strength)
    looks = {"ylim": (0, 2), "colors": {"noisy keys, without ridge": plot.BASE}}
    return plot.lines([n / d for n in counts], curves, *RECALL, **looks)


noisy, written, fits = errors(memory.ridge, 1)  # λ = n σ², by the form with one solve
for n, (K, V), W, one, two in zip(counts, pairs, fits, written, noisy, strict=True):
    assert torch.allclose(W, ridge(K, V, n * noise**2), atol=1e-6)
    assert abs(one + n * noise**2 * (W.norm() / V.norm()) ** 2 - two) < 0.1 * two
plain, *_ = errors(lambda K, V, _: memory.fit(K, V), 0)
worst.against(counts[plain.index(max(plain))] / d)
Slider(figure, "λ, in units of n σ²", [10 ** (i / 2) for i in range(-6, 5)], 1)

# %% [markdown]
# The exactly full memory is worst. Without ridge, its error goes off the figure, then falls again as more pairs are
# written, which is known as *double descent*. With $\lambda = n\sigma^2$ the peak is gone; the price is an error on the
# keys as they were written, even if all pairs would have fitted. Try other values of $\lambda$.
#
# ## A layer of a real model
#
# The matrix edited in notebook 00 is the output projection of an MLP. Its input at a token is the key, its output the
# value. We read the keys at the last token of the built-in facts' subjects, and of your own subject if you entered a
# fact.
#
# If the layer's keys were spread evenly, all eigenvalues of $C$, a mean over tokens of general text, would be
# equal. However, we have only $\hat C$, estimated from $n$ tokens. Even if $C = I$, its eigenvalues spread from
# $(1 - \sqrt{d/n})^2$ to $(1 + \sqrt{d/n})^2$, with a density derived by Marchenko and Pastur. The figure compares
# the layer with this density.

# %%
lm = models.load(SCALE, sink="own")
layer = lib.EDITORS["rome"](lm).config.layer
name = lm.mlp_out(layer)
W = lm.weight(name).cpu().double()
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
mine = own_fact.read() or tower
facts = {one.subject: one for one in (*(case.fact for case in lib.classroom()), tower, mine)}
subjects = list(facts)
K = lm.keys(list(facts.values()), layer).cpu().double()  # (d_in, n)
seen = lm.run(tower.text, watch=[name]).seen[name]
inputs, outputs = (x[0].cpu().double() for x in seen)  # (tokens, d_in), (tokens, d_out)
k = K[:, subjects.index(tower.subject)]
at = (inputs - k).norm(dim=1).argmin()
assert (W @ k - outputs[at]).norm() < 1e-2 * outputs[at].norm()

moment = lib.second_moment(lm, [layer])[layer]
values = torch.linalg.eigvalsh(moment.C).flip(0)  # largest first
width = len(values)
curves = {"this layer": values / values.mean()}
# `second_moment` reads ten tokens per input
curves["evenly spread keys"] = even_spectrum(width, 10 * width)
for whose, found in curves.items():
    print(
        f"{whose}: {width} inputs, as {found.sum() ** 2 / found.pow(2).sum():.0f} evenly spread ones"
    )
axes = "index of the eigenvalue, largest first", "eigenvalue of C / mean eigenvalue"
plot.lines(range(1, width + 1), curves, *axes, ylog=True)

# %% [markdown]
# The spectrum does not reach zero (we add a ten-thousandth of the mean, which is too little to matter): general
# text leaves no direction entirely unused, but uses some far more than others. The layer's curve begins far above
# the curve of evenly spread keys and ends below it, and its keys overlap as if they lived in less than half as many
# dimensions.
#
# **Predict.** If we pick two subjects at random, is the cosine of their keys near 0? Does whitening bring all pairs
# to 0?
#
# <details><summary>Answer</summary>
#
# Raw cosines lean toward the positive side, because keys have a component in common. Whitening draws the bulk toward
# 0, though not as close as for random vectors, and leaves a tail of pairs that this layer can hardly tell apart.
#
# </details>
#
# **Your turn · exercise 1.3 · ★★ · 8 minutes.** Write the cosines of all whitened keys. The next figure is drawn
# from them.


# %%
def whitened_cosines(K, C):
    """K (d_in, n), C (d_in, d_in) -> (n, n), the cosine between L⁻¹ k_i and L⁻¹ k_j, C = L Lᵀ."""
    ...


whitened_cosines = use("1.3", whitened_cosines)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Line 2 of the section on whitening doesn't need $L$. Which two lengths does a cosine divide by?
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
couples = torch.triu_indices(K.shape[1], K.shape[1], 1)  # i < j
unit, random = normalize(K, dim=0), normalize(normal(*K.shape), dim=0)
tables = {"raw": unit.T @ unit, "random vectors": random.T @ random}
tables |= {name: one(K, moment.C) for name, one in named("whitened", whitened_cosines).items()}
cosines = {group: table[*couples] for group, table in tables.items()}
closest = [
    " – ".join(subjects[i] for i in couples[:, j]) for j in cosines["whitened"].topk(5).indices
]
means = ", ".join(f"{group} {found.mean():.3f}" for group, found in cosines.items())
print(f"mean cosine: {means}")
print("the closest pairs, whitened:", ", ".join(closest))
near = tables["whitened"][subjects.index(mine.subject)].topk(5).indices[1:]
print(f"closest to {mine.subject}:", ", ".join(subjects[i] for i in near))
ordered = {group: found.sort().values for group, found in cosines.items()}
beyond = torch.arange(couples.shape[1], 0, -1) / couples.shape[1]
axes = "cosine between the keys of two subjects", "fraction of pairs with at least this cosine"
figure = plot.lines(ordered, dict.fromkeys(ordered, beyond), *axes, ylog=True, named=False)
plot.style.legend(figure, figure.axes[0])
figure

# %% [markdown]
# Each curve ends at its most similar pair. Whitening removes most of what all keys have in common: their mean cosine
# falls. The remaining similarity is of another kind: countries pair with their inhabitants and neighbors, languages
# with languages. The light bulb paired with the Eiffel Tower shows that not every close pair has a reason that we can
# name.
#
# ## Steal a layer
#
# Suppose $W$ is hidden, and we only see pairs of it from running text, with noise on the values, a tenth of their size.
# We fit a matrix to the pairs and put it into the model. The layer is now layer 0: without it, the model babbles.
#
# What does noise on the values cost at a *new* key? With more pairs than inputs, $\hat W - W$ is
# $EK^\top(KK^\top)^{-1}$, where $E$ is the noise. For independent keys, the error at a new key is $d/(n - d)$ times
# the square of the noise: almost nothing with many pairs, and unbounded at $n = d$.
#
# Ridge should help, but the thief cannot use $W$ to find the right $\lambda$. He sets some pairs aside for testing.
#
# **Your turn · exercise 1.6 · ★★ · 15 minutes, in three steps.** `excess` is the squared error of ridge at new
# pairs for each $\lambda$ in a list, as a fraction of $\|V_\text{new}\|^2$. `choose` returns the $\lambda$ that is
# best on the last fifth of the pairs after fitting on the first $4n/5$, rounded down. `stolen` is ridge on all
# pairs, using this $\lambda$.


# %%
def excess(K, V, K_new, V_new, lams):
    """K (d_in, n), V (d_out, n), K_new (d_in, m), V_new (d_out, m) -> (len(lams),)."""
    ...


def choose(K, V, lams):
    """The λ of the list lams that is best on pairs that were held out."""
    ...


def stolen(K, V, lams):
    """K (d_in, n), V (d_out, n), list of λ > 0 -> Ŵ (d_out, d_in)."""
    ...


excess = use("1.6", excess)
choose = use("1.6", choose)
stolen = use("1.6", stolen)
peak = guess("As many pairs as inputs, no ridge: error at new tokens, in units of ‖V‖²?", 0, 100000)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Only $s + \lambda$ depends on $\lambda$ if $KK^\top = Q\,\mathrm{diag}(s)\,Q^\top$. And which pairs must not be
# used for testing?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def excess(K, V, K_new, V_new, lams):
#     s, Q = torch.linalg.eigh(K @ K.T)
#     A, B = V @ K.T @ Q, Q.T @ K_new
#     errors = [(A / (s + lam) @ B - V_new).square().sum() for lam in lams]
#     return torch.stack(errors) / V_new.square().sum()
#
#
# def choose(K, V, lams):
#     n = K.shape[1] * 4 // 5
#     errors = excess(K[:, :n], V[:, :n], K[:, n:], V[:, n:], lams)
#     return lams[errors.argmin()]
#
#
# def stolen(K, V, lams):
#     M = K @ K.T + choose(K, V, lams) * torch.eye(len(K)).to(K)
#     return torch.linalg.solve(M, K @ V.T).T
# ```
#
# </details>
#
# **Predict.** What does the model answer with a matrix stolen from $n = d$ pairs? And with $\lambda$?

# %%
first = lm.mlp_out(0)
hidden = lm.weight(first).cpu().double()
text = lib.data.texts.GENERAL.read_text(encoding="utf-8")
seen = module_inputs(lm, windows(lm, text, 7 * width // 2), [first], skip=1)[first].cpu().double()
seen = seen[torch.randperm(len(seen), generator=draw)].T  # (d_in, tokens)
values = hidden @ seen
values += 0.1 * values.pow(2).mean().sqrt() * normal(*values.shape)
new = seen[:, 3 * width :]  # for testing only, never shown
lams = [seen.pow(2).mean().item() * 10.0**power for power in (-1, 0, 1, 2, 3)]

some, told, few = seen[:, : width // 4], values[:, : width // 4], new[:, :200]
by_lam = [error(ridge(some, told, lam), few, hidden @ few) for lam in lams]
by_lam = torch.tensor(by_lam, dtype=torch.float64)  # one solve per λ, from scratch
assert torch.allclose(excess(some, told, few, hidden @ few, lams), by_lam)
shares = (0.5, 0.75, 1, 1.25, 1.5, 3)  # pairs per input
thieves = {"no ridge": lambda K, V, lams: memory.fit(K, V)} | named("chosen λ", stolen)
thefts = {line: [] for line in thieves}
for share in shares:
    n = int(share * width)
    for line, thief in thieves.items():
        thefts[line].append(thief(seen[:, :n], values[:, :n], lams))
curves = {
    line: [error(found, new, hidden @ new) for found in some] for line, some in thefts.items()
}
for line, found in curves.items():
    print(f"{line}, error at new tokens:", " ".join(f"{one:,.3g}" for one in found))
print(f"independent keys, n/d = 1.5: {0.01 * 1 / (1.5 - 1):.2f};", end=" ")
more = windows(lm, text, 12 * width)[len(windows(lm, text, 7 * width // 2)) :]  # text not yet seen
tokens = [token for row in more for token in row[1:]]
once = module_inputs(lm, more, [first], skip=1)[first].cpu().double()
once = torch.stack([*dict(zip(tokens, once, strict=True)).values()][: 3 * width // 2]).T
given = hidden @ once
given += 0.1 * given.pow(2).mean().sqrt() * normal(*given.shape)
print(f"text, no token twice: {error(memory.fit(once, given), new, hidden @ new):.2f}")
peak.against(curves["no ridge"][shares.index(1)])
axes = "pairs per input dimension, n/d", "error on new keys (fraction of ‖V‖²)"
plot.lines(shares, curves, *axes, ylog=True)

# %%
prompts = ["The Eiffel Tower is located in the city of", "The young of a sheep is called a"]
held_out = lib.data.texts.HELD_OUT.read_text(encoding="utf-8")[:2000]
lines = []
tables = {"unedited": (first, hidden), "W = 0": (first, 0 * hidden)}
for share in (1, 1.5, 3):
    for line, some in thefts.items():
        tables[f"{share} d pairs, {line}"] = first, some[shares.index(share)]
tables[f"layer {layer} instead, W = 0"] = name, 0 * W
for line, (module, matrix) in tables.items():
    with lm.patched(lib.Patch(weights={module: matrix.to(lm.weight(module))})):
        said = lm.answer(prompts, 4)
        loss = math.log(lib.perplexity(lm, held_out))
    lines.append({"matrix": line, "tower": said[0], "sheep": said[1], "nats per token": loss})
show.Table(lines)

# %% [markdown]
# Without ridge, the stolen matrix has learned the noise: at $n = d$ its error is tens of thousands of times as large as
# the values, and the model is worse than with no matrix at all. Using the $\lambda$ chosen on held-out pairs, there is
# no peak, and the model speaks English, but names a wrong city. At one and a half pairs per input, it says *Paris* and
# *lamb*; without ridge, it does so only at three. At one and a half and without ridge, the error would be .02 if the
# keys were independent; for text it is 1.83. Words recur, and a key of layer 0 depends on little but its word: with no
# token twice, the error is also .02.
#
# The rows with $W = 0$ are the control. In layer 3 the model also says *Paris* and *lamb* without a matrix, so stealing
# it would prove nothing there. This is one layer, one text and one sample of the noise.
#
# ## What we know now
#
# * A matrix can be read as the least-squares answer to a list of pairs. $d$ inputs hold up to $d$ independent pairs
#   exactly; above that, random values lose a fraction of $1 - d/n$.
# * A sum of outer products mixes the values of overlapping keys. Whitening removes the part of the overlap that the
#   second moment describes for all keys, leaving $k_i^\top C^{-1} k_j$.
# * A memory that is exactly full suffers most from noise on its keys. Using ridge with $\lambda = n\sigma^2$ gives the
#   smallest expected error, at the price of an error on the keys as they were written.
# * A real layer uses all its directions, but unevenly. After whitening, the closest pairs of subjects are mostly of one
#   kind, some having letters in common.
#
# ## Where it breaks
#
# Write one new pair into a memory in use. The obvious way is to add the missing part as an outer product,
# $W' = W + (v - Wk)\,k^\top / \|k\|^2$, and the new pair is exact. We give a subject of the real layer the value of
# another and look at all the rest. Then we continue subject by subject, in three orders.

# %%
V = W @ K
wanted = V.roll(1, 1)  # every subject gets the value of the one before it


def in_a_row(order):  # pair by pair, adding the missing part as an outer product
    written = W.clone()
    for i in order:
        k = K[:, i]
        written += torch.outer(wanted[:, i] - written @ k, k) / (k @ k)
    return written


moved = ((in_a_row([0]) @ K - V).norm(dim=0) / V.norm(dim=0))[1:]  # a fraction of their length
print(
    f"one pair: {(moved > 0.01).sum()} of {len(moved)} others change by more than 1% of their length"
)
orders = [torch.randperm(len(subjects), generator=draw) for _ in range(3)]
rows = ", ".join(f"{error(in_a_row(order), K, wanted):.2f}" for order in orders)
print(f"all pairs one after another, three orders: a fraction of {rows} is wrong at the end")
print(f"all at once, by least squares: {error(memory.fit(K, wanted), K, wanted):.2f}")

# %% [markdown]
# Writing one pair changes most of the others. When we write all pairs sequentially, in each of three orders, they
# corrupt one another. A matrix storing all of them exists, but we don't have the pairs that the real matrix was made
# from. All we know about them is $C$.
#
# **How can we write one pair at the least cost to the pairs that we cannot see?** [Notebook 02](02_insert.ipynb)
# derives the answer, then returns to the sheep and its neighbors.
#
# ## References
#
# * Kohonen: *Correlation Matrix Memories*, IEEE Transactions on Computers, 1972.
# * Marchenko, Pastur: *Distribution of Eigenvalues for Some Sets of Random Matrices*, 1967.
# * Belkin, Hsu, Ma, Mandal: *Reconciling Modern Machine-Learning Practice and the Classical
#   Bias-Variance Trade-Off*, 2019, [arXiv:1812.11118](https://arxiv.org/abs/1812.11118): double descent.
# * Geva, Schuster, Berant, Levy: *Transformer Feed-Forward Layers Are Key-Value Memories*, 2021,
#   [arXiv:2012.14913](https://arxiv.org/abs/2012.14913).
# * Bau et al.: *Rewriting a Deep Generative Model*, 2020,
#   [arXiv:2007.15646](https://arxiv.org/abs/2007.15646): the second moment enters editing.
