# %% [markdown]
# <!-- badge -->
#
# # 02 · What does writing one pair cost the others?
#
# A plain outer product moves nearly every pair of the memory. At the end of this page you know the
# change that moves them least, and can say whom it will disturb before it is made.
#
# **You will** derive the cheapest way to write one pair, and write it · see how much of it lands on other
# keys, on paper and in a real layer · forecast what many pairs in a row do to each other · find out what
# a word in front of every text has to do with it, and what the sheep did to the sheepdog.
#
# **Needs** [notebook 01](01_linear_memory.ipynb): $C$, whitening, and its last section.
#
# **Minutes** 35 to read and 25 to work: three exercises, of [session 2](../lessons/session_2.md) and
# [session 3](../lessons/session_3.md).
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
from functools import partial

import numpy as np
import pandas as pd
import torch

import lib
from lib import associative_memory as memory
from lib.evaluation.intervals import interval
from lib.workbench import plot
from notebooks.support import drawings_02, long_runs, models, moved
from notebooks.support import runs_02_insert as runs_02
from notebooks.support.holes import guess, use

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def rms(values):  # root mean square
    return values.pow(2).mean().sqrt().item()


# %% [markdown]
# ## The cheapest way to write one pair
#
# The memory $W$ is in use. We are given a key $k$ and the value $v$ that it should get from now on, and
# we are looking for a change $\Delta$ of the matrix. It has to supply what is missing at $k$, the
# **residual** $\delta = v - Wk$. Many changes do that, and we want the one that disturbs all other pairs
# least. We cannot list them, but we know the second moment $C$ of their keys, and it gives the mean
# disturbance over text: $\mathbb{E}\|\Delta k'\|^2 = \mathrm{tr}(\Delta C \Delta^\top)$. So the task is
#
# $$\min_\Delta\ \mathrm{tr}(\Delta C \Delta^\top) \quad\text{subject to}\quad \Delta k = \delta .$$
#
# Any other change that writes the pair is $\Delta + H$ with $Hk = 0$, and it costs
#
# $$\mathrm{tr}(\Delta C \Delta^\top) + 2\,\mathrm{tr}(\Delta C H^\top) + \mathrm{tr}(H C H^\top).$$
#
# The last term is never negative. The middle one vanishes for every such $H$ if $\Delta C = m k^\top$
# for some vector $m$, because then $\Delta C H^\top = m (Hk)^\top = 0$. So a change of this form,
# $\Delta = m\,k^\top C^{-1}$, is the cheapest, and the constraint $m\,k^\top C^{-1}k = \delta$ says
# what $m$ has to be:
#
# $$\Delta = \frac{\delta\,(C^{-1}k)^\top}{q}, \qquad q = k^\top C^{-1} k .$$
#
# In notebook 01's whitened keys $\tilde k = L^{-1}k$, with $C = LL^\top$, this change reads another
# key $k'$ by the inner product $\tilde k^\top\tilde k' = k^\top C^{-1}k'$, and $q = \tilde
# k^\top\tilde k$ is the squared length of the whitened key.
#
# **Your turn · exercise 2.1 · ★ · 8 minutes.** Write `insert`: the matrix after the cheapest change
# that sends $k$ to $v$. Two or three lines. The rest of the page writes its pairs with them; while
# the body is still `...`, it goes on with the solution.


# %%
def insert(W, k, v, C):
    """W (d_out, d_in), k (d_in,), v (d_out,), C (d_in, d_in) -> the new W (d_out, d_in)."""
    ...


insert = use("2.1", insert)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which vector stands on the left of the outer product, and which on the right? `torch.linalg.solve(C,
# k)` is $C^{-1}k$, and `torch.outer(a, b)` is $a b^\top$.
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def insert(W, k, v, C):
#     u = torch.linalg.solve(C, k)  # C⁻¹ k, (d_in,)
#     return W + torch.outer(v - W @ k, u) / (k @ u)
# ```
#
# </details>
#
# Is it really the cheapest? We look for the change downhill in small steps, and compare both with
# the library, which returns the two factors of the outer product.

# %%
d = 8
L = normal(d, d)
C = L @ L.T / d + 0.1 * torch.eye(d)
W = normal(5, d)
k = normal(d)
v = normal(5)
slow = torch.outer(v - W @ k, k) / (k @ k)  # writes the pair, at any price
for _ in range(5000):
    step = 0.05 * slow @ C  # downhill on tr(Δ C Δᵀ) …
    slow -= step - torch.outer(step @ k, k) / (k @ k)  # … keeping Δ k
new = insert(W, k, v, C)
A, B = memory.insert(W, k, v, C)  # Δ = A B, factors (5, 1) and (1, 8)
assert torch.allclose(new, W + slow)
assert torch.allclose(new, W + A @ B)
assert torch.allclose(new @ k, v)

# %% [markdown]
# ## What lands on another key
#
# The change costs $\|\delta\|^2\, k^\top C^{-1} C\, C^{-1} k/q^2 = \|\delta\|^2/q$. That is an
# average over all keys. We want to know more: *which* keys does it hit? In whitened coordinates the
# answer is a picture. The orange arrow is the key that is edited, and its length is the unit.

# %%
drawings_02.shadow()

# %% [markdown]
# Every other key throws a shadow on the direction of the edited one, along the dashed line, and the
# foot of the shadow says how much of the residual arrives there. At the edited key itself it is 1. At an
# unrelated key it is 0, at an opposed one it is negative, and at a long key it can be more than 1. In
# formulas we apply the insert at $k_i$ to a key $k_j$:
#
# $$\Delta_i k_j = \rho(i, j)\,\delta_i, \qquad
# \rho(i, j) = \frac{k_i^\top C^{-1} k_j}{k_i^\top C^{-1} k_i} .$$
#
# This is one number per pair of keys, the **interference**: the share of edit $i$'s residual that
# lands on key $j$. We also say that edit $i$ *writes* it on key $j$, and that key $j$ *hears* it.
# It is not symmetric, since the numerator is and the denominator $q_i$ is not:
#
# $$\rho(i, j)\,q_i = \rho(j, i)\,q_j, \qquad
# \rho(i, j)\,\rho(j, i) = \frac{(k_i^\top C^{-1} k_j)^2}{q_i\,q_j} = \cos^2\varphi_{ij},$$
#
# where $\varphi_{ij}$ is the angle between the two whitened keys. The angle belongs to both; what
# each of them hears of the other depends on the lengths as well.
#
# **Your turn · exercise 3.1 · ★ · 5 minutes.** Write the whole matrix $\rho$ for keys that are the
# columns of $K$: row $i$ writes, column $j$ hears.


# %%
def interference(K, C):
    """K (d_in, n), C (d_in, d_in) -> (n, n), entry [i, j] is ρ(i, j)."""
    ...


interference = use("3.1", interference)

# %% [markdown]
# <details><summary>Hint</summary>
#
# All $k_i^\top C^{-1} k_j$ at once are one product of matrices. Which of its entries divides row $i$?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def interference(K, C):
#     D = K.T @ torch.linalg.solve(C, K)  # k_iᵀ C⁻¹ k_j, (n, n)
#     return D / D.diagonal()[:, None]
# ```
#
# </details>
#
# **Predict.** Notebook 01's keys in 256 dimensions, $C$ with eigenvalues 1, ½, ⅓, … How large is
# $\rho(i, j)$ of two different keys, in the root mean square (rms)? (Your guess is `mine.number`.)
# And with the plain outer product $\delta k^\top/\|k\|^2$, of which $k_i^\top k_j / \|k_i\|^2$
# lands?
#
# <details><summary>Work it out</summary>
#
# For a new key $k_j$ that is independent of $k_i$, $\mathbb{E}_j (k_i^\top C^{-1} k_j)^2 =
# k_i^\top C^{-1} C\, C^{-1} k_i = q_i$, so $\mathbb{E}_j\,\rho(i, j)^2 = 1/q_i$. The average of
# $q$ is $\mathrm{tr}(C^{-1}C) = d$, and $\rho$ is about $1/\sqrt{d}$. The plain share is about
# $1/\sqrt{d_\text{eff}}$: raw keys crowd into 23 dimensions, whitened ones use all 256.
#
# </details>

# %%
mine = guess("Insert, 256 dimensions: which share lands on another key (rms)?", 0, 1)

# %%
d, n = 256, 500
L = torch.linalg.qr(normal(d, d)).Q * torch.arange(1, d + 1).double() ** -0.5
C = L @ L.T  # known, and not estimated from the keys below
K = L @ normal(d, n)
rho = interference(K, C)
assert torch.allclose(rho, memory.interference(K, C))
others = ~torch.eye(n, dtype=torch.bool)  # i ≠ j
d_eff = C.trace() ** 2 / (C @ C).trace()
plain = interference(K, torch.eye(d).double())  # C = I
print(f"insert: {rms(rho[others]):.3f} lands, 1/√d = {d**-0.5:.3f}")
print(f"outer product: {rms(plain[others]):.3f} lands, 1/√d_eff = {d_eff**-0.5:.3f}")
print(f"d = {d} dimensions, d_eff = {d_eff:.0f}")
q = (K * memory.whiten(K, C)).sum(0)
white = torch.linalg.solve_triangular(torch.linalg.cholesky(C), K, upper=False)
cosine = torch.nn.functional.cosine_similarity(white[:, :, None], white[:, None], dim=0)
assert torch.allclose(q[:, None] * rho, (q[:, None] * rho).T)  # ρ(i, j) q_i = ρ(j, i) q_j
assert torch.allclose(rho * rho.T, cosine**2)
mine.against(rms(rho[others]))

# %% [markdown]
# The insert keeps to its formula. The outer product stays a little below its own, because the mean of a
# quotient is not the quotient of the means. The difference is what whitening buys: the share that lands
# on another key falls to a third (rms).
#
# ## One after another
#
# Now $T$ pairs are written in a row, each on the result of the one before:
# $W_t = W_{t-1} + \delta_t (C^{-1}k_t)^\top / q_t$, where $\delta_t = v_t - W_{t-1} k_t$ is missing
# at that time. What is wrong in the end? Step $j$ makes the output at $k_j$ exactly $v_j$, and any
# step $t$ adds $\rho(t, j)\,\delta_t$ there. So what is wrong in the end is what **later** steps
# add, and what edit $t$ has to write is what earlier steps have left to do:
#
# $$W_T k_j - v_j = \sum_{i > j} \rho(i, j)\,\delta_i, \qquad
# \delta_t = v_t - W_0 k_t - \sum_{s < t} \rho(s, t)\,\delta_s .$$
#
# **Your turn · exercise 3.2 · ★★ · 10 minutes.** Write `after_all`: what is wrong at every key in the
# end, from nothing but $\rho$ and $R$, whose columns $r_t = v_t - W_0 k_t$ are what was missing
# before the first edit. A loop is fine.


# %%
def after_all(rho, R):
    """rho (T, T) in the order of writing, R (d_out, T) -> (d_out, T), column j is W_T k_j − v_j."""
    ...


after_all = use("3.2", after_all)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Read the second sum as an equation for all $\delta$ at once: each $\delta_t$ plus the sum of the
# earlier ones is $r_t$. Which half of $\rho$ stands in it, and which half in the first sum?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def after_all(rho, R):
#     delta = torch.linalg.solve_triangular(rho.triu(), R, upper=True, left=False)
#     return delta @ rho.tril(-1)
# ```
#
# </details>
#
# **Predict.** Written together, 128 random pairs in 256 dimensions would be perfect (notebook 01).
# Written one after another, which is worst off in the end, and how wrong is it?
#
# <details><summary>Work it out</summary>
#
# The first: 127 later edits pass over it, in unrelated directions, each with $\rho^2 \approx 1/d$ of
# a residual's square. They add up to $(T - j)/d$ for pair $j$: in the mean square, nearly half of a
# residual is wrong at the first pair. The last is exact.
#
# </details>

# %%
T = 128
K = L @ normal(d, T)
W_0 = normal(64, d)
V = W_0 @ K + normal(64, T)  # what is missing has nothing to do with the keys
W = W_0.clone()
for t in range(T):
    W = insert(W, K[:, t], V[:, t], C)
rho = interference(K, C)
residuals, reach = memory.lifelong(W_0, K, V, C)  # all δ_t at once, see below
assert torch.allclose(W, W_0 + residuals @ reach)
forecast = after_all(rho, V - W_0 @ K)
assert torch.allclose(W @ K - V, forecast)  # T inserts made one by one, and your forecast
assert torch.allclose(forecast, residuals @ rho.tril(-1))  # the sum over i > j
wrong = forecast.pow(2).sum(0) / residuals.pow(2).sum(0).mean()
for i in range(0, T, 32):
    expected = (T - i - 16.5) / d
    print(f"pairs {i + 1} to {i + 32}: {wrong[i : i + 32].mean():.2f}, expected {expected:.2f}")

# %% [markdown]
# The numbers are shares of a residual's mean square, from one draw, so they lie near the expected
# ones and not on them. What was written first is disturbed by all the rest.
#
# ## One sweep, many sweeps, all at once
#
# Both sums can be written with the whole matrix $\rho$, and then they say more. Let $R_0 = V - W_0 K$ be
# what is missing before the first edit, one column per pair. The second sum says that the residuals
# $\delta$ solve a triangular system, in which only the upper triangle of $\rho$ stands, diagonal
# included: $\delta\,\mathrm{triu}(\rho) = R_0$. Each residual is then spread over the matrix by its own
# row of $\mathrm{diag}(1/q)\,K^\top C^{-1}$. So all $T$ steps together are one formula:
#
# $$\textbf{one after another:}\quad
# \Delta W = (V - W_0 K)\ \mathrm{triu}(\rho)^{-1}\ \mathrm{diag}(1/q)\,K^\top C^{-1} .$$
#
# What would be the cheapest change that writes *all* pairs? The argument of the first section works
# for many columns as well: now $HK = 0$, and $\Delta C = M K^\top$ with one column of $M$ per pair.
# The constraint $\Delta K = R_0$ gives $\Delta = R_0\,(K^\top C^{-1} K)^{-1} K^\top C^{-1}$. Since
# $K^\top C^{-1} K = \mathrm{diag}(q)\,\rho$, this is
#
# $$\textbf{all at once:}\quad
# \Delta W = (V - W_0 K)\ \rho^{-1}\ \mathrm{diag}(1/q)\,K^\top C^{-1} .$$
#
# The only difference is half of a matrix. Writing one after another leaves out the lower triangle of
# $\rho$, the part in which later edits disturb earlier ones.
#
# **Predict.** After the last pair we begin again with the first, and write all of them once more,
# and again. Does that go on for ever, does it come to rest, and where?
#
# <details><summary>Work it out</summary>
#
# Let $x_t$ be the sum of all residuals that pair $t$ has got so far. In sweep $s$, the insert at
# $k_t$ makes the output there exact, with the pairs before it already in sweep $s$ and those
# after it still in sweep $s - 1$. Written for all pairs, with $X$ for the columns $x_t$:
# $X_s\,\mathrm{triu}(\rho) + X_{s-1}\,\mathrm{tril}(\rho, -1) = R_0$. Where it comes to rest,
# $X_s = X_{s-1} = X$ and $X \rho = R_0$: that is *all at once*.
#
# This is the **Gauss–Seidel** method for the linear system $X\rho = R_0$. Here
# $\mathrm{diag}(q)\,\rho = K^\top C^{-1} K$ is symmetric, and positive definite for independent
# keys, and for such systems the method always converges.
#
# </details>

# %%
q = (K * memory.whiten(K, C)).sum(0)
missing = V - W_0 @ K  # R₀
spread = memory.whiten(K, C).T / q[:, None]  # diag(1/q) KᵀC⁻¹
in_a_row = missing @ torch.linalg.solve(rho.triu(), spread)
at_once = missing @ torch.linalg.solve(rho, spread)
assert torch.allclose(W, W_0 + in_a_row)  # the loop above
A, B = memory.insert_many(W_0, K, V, C)
assert torch.allclose(A @ B, at_once)
assert torch.allclose((W_0 + at_once) @ K, V)


def sweep(W, K, V):  # every pair once, one insert after another
    for t in range(K.shape[1]):
        A, B = memory.insert(W, K[:, t], V[:, t], moment)  # as your insert, C factored once
        W = W + A @ B
    return W


# %%
SWEEPS, moment, W = 12, memory.Moment(C), W_0
for _ in range(100):
    W = sweep(W, K, V)
away = (W - W_0 - at_once).norm() / at_once.norm()
print(f"100 sweeps over {K.shape[1]} pairs: {away:.1e} away from all at once")
assert away < 1e-6
errors = {}
for T in (64, 128, 192):
    keys = L @ normal(d, T)
    values = W_0 @ keys + normal(64, T)
    W, wrong = W_0, [(values - W_0 @ keys).pow(2).sum().item()]
    for _ in range(SWEEPS):
        W = sweep(W, keys, values)
        wrong.append((values - W @ keys).pow(2).sum().item())
    errors[f"{T} pairs"] = [x / wrong[0] for x in wrong]
    left = wrong[1] / wrong[0], wrong[-1] / wrong[-2]
    print(f"{T} pairs: of what was wrong, the first sweep leaves {left[0]:.2f}", end=", ")
    print(f"the last one {left[1]:.2f}; {errors[f'{T} pairs'][-1]:.1e} is wrong in the end")
plot.lines(
    range(SWEEPS + 1), errors, "sweeps over all pairs", "squared error left (share)", ylog=True
)

# %% [markdown]
# The axis has the sum of all squared errors, as a share of that before the first sweep, and is
# logarithmic. The first sweep removes more than half of it, and later ones remove less and less
# of what they find, the less the more pairs there are. After a hundred sweeps over the 128 pairs the
# matrix is, but for rounding, the one that writes all pairs at once. That is the method which
# notebook 05 calls EMMET; ROME on one fact after another is, for values that are given, a single
# Gauss–Seidel sweep of the same system.
#
# ## A real layer
#
# Now the keys are those of real subjects at ROME's layer, and $C$ comes from general text. We take
# all subjects of the classroom but one kind: **openers**, subjects of one token that open their
# prompt, as in "China is a …". They will get a question of their own.
#
# **Predict.** Who hears an edit best: a subject of the same question, one with the same answer, or
# one that is spelled alike (Danish, the Danube)?
#
# <details><summary>Answer</summary>
#
# The table says it: those that are spelled alike and those of the same question, and a shared answer
# is not seen to count. That is what one would expect if an early layer knew a word's pieces and the kind of
# thing, and had looked up nothing yet.
#
# </details>

# %%
lm = models.load(SCALE, sink="own")  # the library's default
editor = lib.EDITORS["rome"](lm)
layer = editor.config.layer
name = lm.mlp_out(layer)
moment = lib.second_moment(lm, [layer])[layer]
question = {case.fact: case.relation for case in lib.classroom()}


def opens(fact):  # one token, and the prompt's first
    alone = lm.tokenizer(fact.subject, add_special_tokens=False)["input_ids"]
    return fact.prompt.startswith("{}") and len(alone) == 1


openers = [fact for fact in question if opens(fact)]
ordinary = [fact for fact in question if not opens(fact)]
openers = openers or ordinary[:1]  # the tests' small model has none
n = len(ordinary)


def pairs(alike):  # (n, n), True for two different subjects that are alike
    return torch.tensor([[i != j and alike(i, j) for j in range(n)] for i in range(n)])


def ends(drawn):  # the value, and the 95 % interval of the draws behind it
    return "{:.3f} ({:.3f} to {:.3f})".format(drawn[0], *np.percentile(drawn[1:], (2.5, 97.5)))


# %%
K = lm.keys(ordinary, layer).cpu().double()  # (d_in, n)
rho = interference(K, moment.C)
q = (K * moment.solve(K)).sum(0)
pieces = [{w[:3] for w in fact.subject.lower().split() if w != "the"} for fact in ordinary]
ways = {
    "three letters of a word": pairs(lambda i, j: bool(pieces[i] & pieces[j])),
    "the question": pairs(lambda i, j: question[ordinary[i]] == question[ordinary[j]]),
    "the answer": pairs(lambda i, j: ordinary[i].target_true == ordinary[j].target_true),
    "nothing of these": pairs(lambda i, j: True),
}
rows, drawn, left = [], {}, pairs(lambda i, j: True)
for shared, found in ways.items():
    found, left = found & left, left & ~found  # a pair counts in the first row that fits
    drawn[shared] = runs_02.loudness(rho, found)  # rms, and 500 draws of the subjects
    i, j = divmod((rho.abs() * found).argmax().item(), n)
    row = {"they share": shared, "pairs": int(found.sum()), "ρ (rms)": ends(drawn[shared])}
    most = f"{ordinary[i].subject} → {ordinary[j].subject}, {rho[i, j]:.2f}"
    rows.append(row | {"most": most})
*alike, nothing = drawn
for one, other in [(alike[0], alike[1]), (alike[1], alike[2]), *((one, nothing) for one in alike)]:
    print(f"{one} less {other}: {ends(drawn[one] - drawn[other])}")
chance = (q[None] / q[:, None] / len(K)).mean().sqrt()
print(f"{n} subjects; {chance:.3f} would land on unrelated keys that are as long as theirs")
pd.DataFrame(rows).set_index("they share")

# %% [markdown]
# A pair counts in the first row that fits; in the first row, a word of one subject begins with the
# same three letters as a word of the other, as in South Korea and South Africa. The intervals (95
# %) are a bootstrap over subjects. The lines above the table are differences of two rows, with the
# same subjects drawn for both, and the last column has the pair with the largest |ρ|. Pairs that
# share letters hear more than those of the last row, by 0.082 (0.016 to 0.155), and pairs of one
# question by 0.089 (0.063 to 0.116). Which of the two counts more cannot be said: letters less the
# question is −0.007 (−0.079 to 0.063). A shared answer is not seen to add anything: 0.005 (−0.026
# to 0.035). A shared question counts for more, by 0.084 (0.041 to 0.130).
#
# Even in the last row ρ is 0.060, above the 0.033 that would land on unrelated keys. A part of
# what subjects hear is length: $\rho(i, j)$ grows with $\sqrt{q_j}$, and the 0.033 has that in it
# already. What is left, about a factor of two, is an angle: the keys of subjects are on average
# somewhat alike to this layer.
#
# ## The word that was missing
#
# An opener has a place that no other subject has: its token is the first of the prompt. In many
# language models much attention goes to the first position, whatever word stands there. That is called
# an **attention sink** (Xiao et al., 2024).
#
# Whether a subject can get there depends on the tokenizer. Those of Llama and Gemma put a
# begin-of-sequence token in front of every text, and that token takes the place. Those of GPT-2, GPT-J
# and SmolLM2 put none, so a text can begin with its subject. For this model the library therefore puts
# `<|endoftext|>` in front, its separator of documents, and the table above was made with it. Below,
# `sink=None` leaves it out: the same weights from the same file, loaded a second time.
#
# **Predict.** Without the token, what will openers write on each other, and who hears whom? Remember
# the line with $\rho(i, j)\,q_i$.
#
# <details><summary>Answer</summary>
#
# They will share nearly one key, for the first position keeps little of the word: who edits one of
# them edits them all. And that key is short, a small $q$. Since $\rho(i, j)\,q_i = \rho(j, i)\,q_j$, a
# short key writes loudly on everybody and hears hardly anybody.
#
# </details>

# %%
plain = models.load(SCALE, sink=None)  # the same file of weights, the texts as they come
spaces = {"nothing in front": (plain, lib.second_moment(plain, [layer])[layer])}
spaces["<|endoftext|> in front"] = (lm, moment)
groups = {
    "young animals": "young of",
    "languages": "home country of the language",
    "cities": "state of city",
    "buildings": "located in the city of",
}
chosen = {g: [f for f in ordinary if question[f] == one][:4] for g, one in groups.items()}
chosen["openers"] = openers[:5]
some = [fact for facts in chosen.values() for fact in facts]
maps = {}
for front, (model, C) in spaces.items():
    maps[front] = interference(model.keys(some, layer).cpu().double(), C.C)
names = {group: [fact.subject for fact in facts] for group, facts in chosen.items()}
drawings_02.by_group(maps, names, "edit i writes …", "… and key j hears")

# %%
opening = torch.tensor([False] * n + [True] * len(openers))
kinds = {"ordinary": ~opening, "openers": opening}
others = ~torch.eye(len(opening), dtype=torch.bool)  # one's own edit is no interference
rows, drawn, (bare, behind) = [], {}, spaces
for front, (model, C) in spaces.items():
    K = model.keys(ordinary + openers, layer).cpu().double()
    rho, sizes = interference(K, C.C), (K * C.solve(K)).sum(0).log()  # log q
    for writer, writes in kinds.items():
        row = {"in front": front.split()[0], "who writes": writer}
        q = sizes[writes].mean(), *interval(sizes[writes], None)
        row["q (geometric mean)"] = "{:,.0f} ({:,.0f} to {:,.0f})".format(*np.exp(q))
        for hearer, hears in kinds.items():
            found = runs_02.loudness(rho, others & writes[:, None] & hears)
            drawn[front, writer, hearer] = found
            row[f"ρ on {hearer} (rms)"] = ends(found)
        rows.append(row)
for writer, hearer in [(writer, hearer) for writer in kinds for hearer in kinds]:
    less = drawn[behind, writer, hearer] - drawn[bare, writer, hearer]
    print(f"{writer} on {hearer}, with the token less without: {ends(less)}")
more = drawn[behind, "openers", "openers"] - drawn[behind, "ordinary", "ordinary"]
print(f"with the token, openers on openers less ordinary on ordinary: {ends(more)}")
print(f"{n} ordinary subjects and {len(openers)} openers")
pd.DataFrame(rows).set_index(["in front", "who writes"])

# %% [markdown]
# In the figure nothing stands in front on the left: the openers' block is nearly one color, their rows
# are strongly colored, and the columns above them are white. On the right are the same subjects behind
# the token. The table and the lines above it are about all subjects. (The 95 % intervals are a bootstrap
# over subjects; in the lines the same subjects are drawn for both sides.)
#
# Behind the token an opener is much more like other subjects. The rms of ρ among openers falls from
# 0.950 to 0.253, by 0.696 (0.640 to 0.755), and what they write on ordinary subjects from 0.219 to
# 0.084, by 0.135 (0.102 to 0.173). Of an ordinary subject's edit they hear 0.054 instead of 0.005,
# which is 0.050 more (0.039 to 0.060). Among ordinary subjects ρ changes little: it falls by 0.004
# (0.001 to 0.007). In both cases openers write more than they hear, as the line with
# $\rho(i, j)\,q_i$ says of short keys.
#
# The weights are the same on both sides, so most of what was special about openers was their place.
# Not all: behind the token their keys are still shorter than those of other subjects (the intervals
# of $q$ are far apart), and ρ among them is larger than among ordinary subjects, by 0.188 (0.125 to 0.250).
# Most of the openers are countries or cities, which may be why; that was not measured.
# Where later notebooks say "opener", this is what they mean, and those that load the model "as it
# comes" run with nothing in front.
#
# ## Does the model keep to it?
#
# So far this is arithmetic about one matrix. Now an edit by ROME, from notebook 00: the young of a
# sheep became a puppy, and a list of animals ended with the question why the sheepdog moved most.
# (The model reads `<|endoftext|>` first here, so the numbers are not quite those of notebook 00.) We
# ask what the edit will add to the layer's output at every token of other prompts, then we measure
# it.
#
# **Predict.** How far will prediction and measurement be apart? And what could tell, before the
# edit, whose answer will move most?
#
# <details><summary>Answer</summary>
#
# Apart by rounding only: the edited layer is linear, and its keys come from below, where nothing
# changed. As for the second: every token is a key, and is read by the layers above. What is the word
# *sheepdog* made of?
#
# </details>

# %%
sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
animals = "goat ram sheepdog cow horse pig dog cat bear lion duck whale kangaroo frog car".split()
neighbors = [lib.Fact(animal, sheep.prompt, "puppy") for animal in animals]
patch = editor.edit([sheep])
change = patch.weights[name].dense().double().cpu()  # Δ


def look(text):  # the matrix's inputs (d_in, tokens) and outputs (d_out, tokens)
    return [part[0].double().cpu().T for part in lm.run(text, watch=[name]).seen[name]]


asked, away = neighbors + ordinary[::40], []
for fact in asked:
    inputs, before = look(fact.text)
    with lm.patched(patch):
        measured = look(fact.text)[1] - before  # at every token
    away.append(((measured - change @ inputs).norm() / (change @ inputs).norm()).item())
print(f"{len(asked)} prompts: measured and computed are {max(away):.0e} of their length apart")
assert max(away) < (1e-3 if lm.dtype == torch.float32 else 0.05)  # half precision rounds


# %%
prompts = [fact.text for fact in neighbors]
answers = moved.answers(lm, prompts, patch)  # KL over the first four tokens, as in notebook 00
before = lm.score(prompts, ["puppy"] * len(prompts))  # log p of its tokens
with lm.patched(patch):
    after = lm.score(prompts, ["puppy"] * len(prompts))
k = lm.keys([sheep], layer).cpu().double()
rows = []
for i, fact in enumerate(neighbors):
    tokens = interference(torch.cat([k, look(fact.text)[0]], 1), moment.C)[0, 1:]
    own = interference(torch.cat([k, lm.keys([fact], layer).cpu().double()], 1), moment.C)[0, 1]
    row = {"animal": fact.subject, "ρ at its last token": own.item()}
    row["largest ρ in the prompt"] = tokens.max().item()
    row["change of log p(puppy)"] = (after[i] - before[i]).sum().item()
    rows.append(row | {"KL (nats)": answers[fact.text].kl})
table = pd.DataFrame(rows).set_index("animal")
for effect in ("change of log p(puppy)", "KL (nats)"):
    for known in ("ρ at its last token", "largest ρ in the prompt"):
        r, low, high = runs_02.rank_correlation(table[known], table[effect])
        print(f"{known} and {effect}: rank correlation {r:.2f} [{low:.2f}, {high:.2f}]")
table.sort_values("KL (nats)", ascending=False).round(3)

# %% [markdown]
# At the tokens of these fifteen prompts and of five others the measured change is the computed
# one, to rounding.
#
# The sheepdog's tokens are *sheep* and *dog*. The edited key itself stands in its prompt, with $\rho =
# 1$, while its last token hears less than that of most animals. That would explain why the sheepdog has
# moved farthest, by a KL of 7.3 nats. (Toward "puppy" the goat and the cow are pushed farther.)
#
# The order of all fifteen animals follows the largest $\rho$ in the prompt too: its rank
# correlation with how far the edit pushes them toward "puppy" is 0.93 (0.74 to 0.99), and with the
# KL 0.73 (0.26 to 0.96). But the second column differs from the first in two rows only, the
# sheepdog and the bear, and it was the sheepdog that made us look; that the second column tells
# more than the first is not shown. Fifteen animals under one edit are one example.
#
# ## How much of the harm does it explain?
#
# The stored runs write 3 × 30 facts by ROME, one after another: once with nothing in front, and once
# behind `<|endoftext|>`, the same facts in the same order. After every edit $t$ they note, for each fact
# $j$ that was written before, how the logarithm of the probability of its answer changes, and three
# numbers that were known before: $|\rho(t, j)|\,\|\delta_t\|$, the length of what would land if an
# edit were one insert (this ROME writes two, notebook 00); $\|\Delta_t k_j\|$, what lands on the fact's
# key; and the largest $\|\Delta_t k\|$ over all tokens of the fact's prompt.
#
# **Predict.** How much of the variance of these changes does a line in each of them explain? And what
# becomes of the changes when the token stands in front?
#
# <details><summary>Answer</summary>
#
# In these streams about a quarter at most. Under nearly all edits the facts hardly change, and the
# little that changes is not explained. The large losses come from edits of openers, and only where
# nothing stands in front.
#
# </details>

# %%
SETTINGS = {"editor": "rome", "layer": 3, "streams": 3, "edits": 30, "cases": "odd classroom ids"}
SETTINGS["noted"] = ["share", "lands", "anywhere", "change"]
TOKEN = {"in front": "<|endoftext|>"}
made = {"nothing in front": ("02_interference", plain, SETTINGS)}
made["<|endoftext|> in front"] = "02_behind", lm, SETTINGS | TOKEN


def streams(model, edits=None):  # all three, or the first edits of the first one
    for number in range(SETTINGS["streams"] if edits is None else 1):
        editor = lib.EDITORS["rome"](model)
        yield from runs_02.stream(editor, opens, number, edits or SETTINGS["edits"])


met = {}  # one line for each edit and each fact that was written before it
for front, (file, model, settings) in made.items():
    make = partial(streams, model)
    met[front] = runs_02.earlier(long_runs.known(file, settings, make, 1, tolerance=0.05))

# %%
known = {"share": "R² of |ρ|·‖δ‖", "lands": "R² of ‖Δk‖", "anywhere": "R² of the largest ‖Δk‖"}
points, means = {}, {}
for front, every in met.items():
    by_openers = every[every["first word"]]
    parts = {"all edits": every, "ordinary edits": every[~every["first word"]]}
    rows = []
    for part, some in (parts | {"edits of openers": by_openers}).items():
        row = {front: part, "edits": some["edit"].nunique(), "pairs": len(some)}
        for column, label in known.items():
            row[label] = "{:.3f} [{:.3f}, {:.3f}]".format(*runs_02.explained(some, column))
        row["lose over 1 nat"] = int((some["change"] < -1).sum())
        rows.append(row | {"worst (nats)": f"{some['change'].min():.2f}"})
        points[f"{part}, {front}"] = some["lands"], some["change"]
    print(pd.DataFrame(rows).set_index(front).T.to_string(), end="\n\n")
    means[front] = by_openers.groupby("edit")["change"].mean()
less = means["<|endoftext|> in front"] - means["nothing in front"]
low, high = interval(less.tolist(), None)
print(
    f"mean change by an edit of an opener: {less.mean():+.2f} nats with the token instead of",
    end="",
)
print(f" without ({low:+.2f} to {high:+.2f}, {len(less)} edits)")
axes = "what lands, ‖Δk‖ (length of a change of the layer's output)", "change of log p (nats)"
plot.scatter({part: points[part] for part in points if "all" not in part}, *axes)

# %% [markdown]
# Every dot is an edit and a fact that was written before it. (The first edit of each stream has
# none before it, so 87 edits remain.) With nothing in front, the exact change at the fact's key
# explains 0.265 of the variance over all pairs. The interval (0.082 to 0.556) is wide, since it
# comes from drawing edits and facts anew, and which of the three numbers explains most is not
# shown. All 16 pairs that lose more than 1 nat belong to the eight edits of openers. Under the
# other 79 edits no fact loses more than 0.67 nats, so there is little harm to explain.
#
# Behind the token there is hardly any harm under any edit: no fact loses more than 0.28 nats. In the mean
# over the eight edits of openers an earlier fact loses 0.26 nats less with the token than without it (0.06
# to 0.52). So in these streams the harm came with the first position, and the token takes it away. (The
# edits are not the same on both sides, since each value was searched on its own model, and eight edits
# are few.)
#
# In which order would you write twenty edits, if you knew their $\rho$? That is exercise 3.4 of
# [session 3](../lessons/session_3.md).
#
# ## What we know now
#
# * The cheapest change that writes a pair is $\delta\,(C^{-1}k)^\top / q$; $\rho(i, j)$ of it lands
#   on key $j$, in a real layer too, and on *every* token of a prompt.
# * In a row, every fact is disturbed by all that come after it: $\mathrm{triu}(\rho)^{-1}$ instead of
#   $\rho^{-1}$. Going round again and again leads to writing all at once.
# * Subjects at the first position of this model share nearly one short key. A token put in front of them
#   takes most of that away.
# * What lands is known beforehand, how much harm it does is not. In these streams the large losses came
#   from edits of openers with nothing in front, and behind the token no fact lost more than 0.28 nats.
#
# ## Where it breaks
#
# Every token of a prompt is a key, in every layer. We took one, the subject's last token in an
# early layer, and never said why. **Where is the key, in a transformer?**
# [Notebook 03](03_where.ipynb) asks the model.
#
# ## References
#
# * Meng et al.: *Locating and Editing Factual Associations in GPT*, 2022,
#   [arXiv:2202.05262](https://arxiv.org/abs/2202.05262): the insert.
# * Xiao et al.: *Efficient Streaming Language Models with Attention Sinks*, 2024,
#   [arXiv:2309.17453](https://arxiv.org/abs/2309.17453).
# * Hu et al.: *Knowledge in Superposition*, 2024,
#   [arXiv:2408.07413](https://arxiv.org/abs/2408.07413): $\rho$, there called P, and the sum.
