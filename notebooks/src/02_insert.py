# %% [markdown]
# <!-- badge -->
#
# # 02 · What does writing one fact do to the others?
#
# By the end of this page you will know which change of a memory disturbs its other pairs least, its cost if $C$ is only
# estimated, and which pairs it will disturb.
#
# **You will** derive the cheapest way to write one pair, and write it · repair an estimate of $C$ · predict the
# disturbance when many pairs are written one after another · find in a real layer what editing the sheep did to the
# sheepdog.
#
# **Needs** [notebook 01](01_linear_memory.ipynb): $C$, whitening, and its last section.
#
# **Minutes** 30 for reading and 40 for working: four exercises, from [session 2](../lessons/session_2.md) and
# [session 3](../lessons/session_3.md).

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
from itertools import islice

import torch

import lib
from lib import associative_memory as memory
from lib.keys_values.general_text import general_text
from lib.keys_values.second_moment import Spread, windows
from lib.model.activations import module_inputs
from lib.workbench import plot
from notebooks.support import drawings_02, hand_ins, long_runs, models, moved, own_fact, show
from notebooks.support import runs_02_insert as runs_02
from notebooks.support.figures import curves as lines_of
from notebooks.support.figures import whiskers
from notebooks.support.holes import both, guess, use
from notebooks.support.sliders import Slider

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def rms(values):  # root mean square
    return values.pow(2).mean().sqrt().item()


def each(line, function):  # {line: function}; a wrong function gets its own line
    return {line + i * ", yours": f for i, f in enumerate(both(function).values())}


# %% [markdown]
# ## The cheapest way to write one pair
#
# The memory $W$ is in use. We are given a key $k$ and the value $v$ that it should have from now on, and we are
# looking for a change $\Delta$ of the matrix. It has to supply the part still missing at $k$, the **residual**
# $\delta = v - Wk$. Many changes do that, and we want the change disturbing all other pairs least. We can't list
# those pairs, but we know the second moment $C$ of their keys, which gives the mean disturbance over text:
# $\mathbb{E}\|\Delta k'\|^2 = \mathrm{tr}(\Delta C \Delta^\top)$. So the task is
#
# $$\min_\Delta\ \mathrm{tr}(\Delta C \Delta^\top) \quad\text{subject to}\quad \Delta k = \delta .$$
#
# Any other change that writes the pair is $\Delta + H$ with $Hk = 0$, and it costs
#
# $$\mathrm{tr}(\Delta C \Delta^\top) + 2\,\mathrm{tr}(\Delta C H^\top) + \mathrm{tr}(H C H^\top).$$
#
# The last term is never negative. The middle one vanishes for every such $H$ if $\Delta C = m k^\top$ for some
# vector $m$, because then $\Delta C H^\top = m (Hk)^\top = 0$. So a change of this form,
# $\Delta = m\,k^\top C^{-1}$, is the cheapest, and the constraint $m\,k^\top C^{-1}k = \delta$ determines $m$:
#
# $$\Delta = \frac{\delta\,(C^{-1}k)^\top}{q}, \qquad q = k^\top C^{-1} k .$$
#
# In notebook 01's whitened keys $\tilde k = L^{-1}k$, with $C = LL^\top$, this change reads another key $k'$
# through the inner product $\tilde k^\top\tilde k' = k^\top C^{-1}k'$, and $q = \tilde k^\top\tilde k$ is the
# squared length of the whitened key.
#
# **Your turn · exercise 2.1 · ★ · 8 minutes.** Write `insert`: the matrix after the cheapest change that sends $k$
# to $v$. Two or three lines.


# %%
def insert(W, k, v, C):
    """W (d_out, d_in), k (d_in,), v (d_out,), C (d_in, d_in) -> the new W (d_out, d_in)."""
    ...


insert = use("2.1", insert)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which vector goes on the left of the outer product, and which on the right? `torch.linalg.solve(C, k)` is
# $C^{-1}k$, and `torch.outer(a, b)` is $a b^\top$.
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
# Is it really the cheapest? Starting from the plain outer product, we look for a cheaper change by going downhill in
# small steps preserving $\Delta k$.

# %%
d = 8
L = normal(d, d)
C = L @ L.T / d + 0.1 * torch.eye(d)
W, k, v = normal(5, d), normal(d), normal(5)
slow, prices = torch.outer(v - W @ k, k) / (k @ k), []  # writes the pair, at any price
for _ in range(5000):
    prices.append((slow @ C * slow).sum().item())  # tr(Δ C Δᵀ)
    step = 0.05 * slow @ C  # downhill on it …
    slow -= step - torch.outer(step @ k, k) / (k @ k)  # … keeping Δ k
A, B = memory.insert(W, k, v, C)  # Δ = A B, factors (5, 1) and (1, 8)
new = insert(W, k, v, C)
assert torch.allclose(new, W + slow)
assert torch.allclose(new, W + A @ B)
assert torch.allclose(new @ k, v)
costs = {"plain outer product": prices[0], "downhill from it": prices[-1]}
for line, f in each("insert", insert).items():
    change = f(W, k, v, C) - W
    costs[line] = (change @ C * change).sum().item()
print("tr(Δ C Δᵀ):", ", ".join(f"{line} {cost:.3f}" for line, cost in costs.items()))

# %% [markdown]
# ## What if $C$ is only estimated?
#
# $n$ tokens of text give an estimate $\hat C$. Using $\hat u = \hat C^{-1}k$ as the direction still writes the pair
# exactly, and the cost for text is $\|\delta\|^2\,\hat u^\top C\hat u/(k^\top\hat u)^2$. How much more is this than
# the minimum, $\|\delta\|^2/q$?
#
# Let keys be $L$ times evenly spread vectors, with $C = LL^\top$. Then $\hat C = L S L^\top$, with the second
# moment $S$ of $n$ *evenly spread* samples, and the ratio is
# $\tilde k^\top S^{-2}\tilde k\;\tilde k^\top\tilde k/(\tilde k^\top S^{-1}\tilde k)^2$. No direction is special to
# $S$, so this is about $m_2/m_1^2$, where $m_j$ is the mean of $\lambda^{-j}$ over its eigenvalues. For notebook
# 01's spectrum of evenly spread keys (Marchenko and Pastur) with $\gamma = d/n$, $m_1 = 1/(1 - \gamma)$ and
# $m_2 = 1/(1 - \gamma)^3$. So
#
# $$\frac{\text{harm}}{\text{least harm}} = \frac{n}{n - d}, \quad\text{whatever } C \text{ is.}$$
#
# The inverse relies most on the directions seen least, and near $n = d$ some directions are almost never seen, just
# by chance.
#
# The repair is $(1 - r)\,\hat C + r\,m I$ with the mean eigenvalue $m$. Its $r$ is the fraction of the spread
# $\|\hat C - mI\|^2$ that is due to chance, and we can estimate this fraction from the text itself: each of $w$
# windows has a second moment $C_B$, and $\hat C$ is their mean, and its squared error is about
# $b = \sum_B \|C_B - \hat C\|^2/(w(w - 1))$. So $r = b/\|\hat C - mI\|^2$, at most 1 (Ledoit and Wolf).
#
# **Your turn · exercise 2.2 · ★★ · 15 minutes, in two steps.** `harm`: the cost of inserting along the columns of
# $U$, as a multiple of the minimum. `shrink`: the repaired matrix, and $r$.


# %%
def harm(U, K, C):
    """U, K (d_in, n), C (d_in, d_in) -> (n,): tr(Δ C Δᵀ) of each insert, over the least."""
    ...


def shrink(windows):
    """List of w tensors (d_in, t), keys as columns -> the new matrix (d_in, d_in), and r."""
    ...


harm = use("2.2", harm)
shrink = use("2.2", shrink)
worse = guess("Ĉ from one and a half tokens per dimension: how many times the least harm?", 1, 100)

# %% [markdown]
# <details><summary>Hint</summary>
#
# For $\Delta = ab^\top$, $\mathrm{tr}(\Delta C\Delta^\top) = \|a\|^2\,b^\top C b$. What is $b$ if $\Delta k = \delta$?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def harm(U, K, C):
#     q = (K * torch.linalg.solve(C, K)).sum(0)  # 1/q is the least price
#     return (U * (C @ U)).sum(0) / (K * U).sum(0) ** 2 * q
#
#
# def shrink(windows):
#     w, t = len(windows), windows[0].shape[1]
#     each = [B @ B.T / t for B in windows]
#     C = sum(each) / w
#     target = C.trace() / len(C) * torch.eye(len(C), dtype=C.dtype)  # m I
#     b = sum((one - C).square().sum() for one in each) / (w * (w - 1))
#     r = (b / (C - target).square().sum()).clamp(max=1)
#     return (1 - r) * C + r * target, r
# ```
#
# </details>
#
# **Predict.** In a real layer, which is more harmful at one and a half tokens per dimension: using $\hat C$, or no
# $C$ at all?

# %%
lm = models.load(SCALE, sink="own")
editor = lib.EDITORS["rome"](lm)
layer = editor.config.layer
name, moment = lm.mlp_out(layer), lib.second_moment(lm, [layer])[layer]
question = {case.fact: case.relation for case in lib.classroom()}
facts = [*question]
K = lm.keys(facts, layer).cpu().double()  # (d_in, n)
wide = len(K)
text = windows(lm, general_text(None), 3 * wide)
text = module_inputs(lm, text, [name], int(lm.leading_bos is None))[name].float().cpu().T


def slow_harm(U, K, C):  # every Δ, for a δ of length 1
    prices = []
    for k, *directions in zip(K.T, U.T, torch.linalg.solve(C, K).T, strict=True):
        changes = [u[None] / (k @ u) for u in directions]
        prices.append([(change @ C @ change.T).item() for change in changes])
    paid, least = torch.tensor(prices, dtype=torch.float64).T
    return paid / least


def estimates(X, n):  # from the first n keys: Ĉ, barely damped, and the windows
    t = min(256, max(1, n // 16))  # tokens of a window
    parts = X[:, : n // t * t].split(t, 1)
    C = sum(B @ B.T for B in parts).double() / (n // t * t)
    return C + 1e-4 * C.diagonal().mean() * torch.eye(len(C)), [*parts]


# %%
ratios = (0.1, 0.2, 0.5, 0.8, 1, 1.1, 1.5, 2, 3)  # tokens per dimension
curves = {}


def measure(line, *given):  # the mean harm over the keys is a point of this line
    for whose, f in each(line, harm).items():
        curves.setdefault(whose, []).append(f(*given).mean().item())


variances = 1 / torch.arange(1, 257).double()
even = torch.randn(256, 832, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
drawn, hit = (variances.sqrt()[:, None] * even).split([768, 64], 1)
for ratio in ratios:
    C, _ = estimates(drawn, int(256 * ratio))
    measure("drawn keys", torch.linalg.solve(C, hit), hit, variances.diag())
    C, parts = estimates(text, int(wide * ratio))
    measure("text, Ĉ", torch.linalg.solve(C, K), K, moment.C)
    made = {line: f(parts) for line, f in each("text, shrunk", shrink).items()}
    for line, (S, _) in made.items():
        price = harm(torch.linalg.solve(S.double(), K), K, moment.C)
        curves.setdefault(line, []).append(price.mean().item())
    if ratio == 1.1:
        few = {
            "Ĉ, 1.1 tokens per dimension": C,
            "the same, shrunk": made["text, shrunk"][0].double(),
        }
spread = Spread(parts[0].shape[1])  # the library's, without a matrix for each window
spread.see(torch.cat(parts, 1))
assert abs(made["text, shrunk"][1] - spread.shrinkage(C)) < 0.01
some = torch.linalg.solve(C, K)[:, :8], K[:, :8], moment.C
assert torch.allclose(harm(*some), slow_harm(*some))
measure("C = I", K, K, moment.C)
for line, found in curves.items():
    print(f"{line}:", " ".join(f"{price:.2f}" for price in found))
worse.against(curves["text, Ĉ"][ratios.index(1.5)])
upper = lm.n_layers * 2 // 3
U = lm.keys(facts, upper).cpu().double()
price = harm(U, U, lib.second_moment(lm, [upper])[upper].C).mean()
print(f"C = I in layer {upper}: {price:.1f}")
x = dict.fromkeys(curves, ratios) | {"n/(n − d)": torch.linspace(1.03, 3, 100)}
curves = {line: found * len(ratios) if len(found) == 1 else found for line, found in curves.items()}
curves["n/(n − d)"] = x["n/(n − d)"] / (x["n/(n − d)"] - 1)
looks = {
    "dashes": {"drawn keys": " ", "n/(n − d)": "-", "C = I": ":"},
    "xlog": True,
    "ylog": True,
    "ylim": (1, 50),
}
figure = plot.lines(x, curves, "tokens per dimension, n/d", "harm / least harm", **looks)
axis = figure.axes[0].yaxis
axis.set_ticks([], minor=True)
axis.set_ticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
figure

# %% [markdown]
# Randomly drawn keys follow the law. The curve for text is above it: words recur, so a token is less evidence than an
# independent sample. With one and a half tokens per dimension, $\hat C$ does 5.8 times the least harm, compared with
# 3.6 times using no $C$ at all. Even a fifth of a token per dimension is better. In layer 20, using no $C$ does 14.6
# times the least harm, so leaving it out costs very different amounts in two layers. The shrunk estimate has no peak.
# (The reference, the library's $C$ from ten tokens per dimension, includes the same tokens.)
#
# Is the harm visible in the model? After searching once for ROME's value for the tower, we write it using four
# matrices.

# %%
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", "Paris")
k = lm.keys([tower], layer).cpu().double()[:, 0]
added = editor.edit([tower]).weights[name].dense().cpu().double() @ k
W = lm.weight(name).cpu().double()
alike = [c for c in lib.classroom() if c.relation == question[facts[0]]]
near = {probe.prompt: probe.target for c in alike for probe in c.neighborhood}
unrelated = sorted({prompt for case in lib.classroom() for prompt in case.locality})
far, lines = moved.next_token(lm, unrelated), []
matrices = {"C": moment.C, **few, "C = I": torch.eye(wide).double()}
for line, matrix in {"unedited": None, **matrices}.items():
    new = W if matrix is None else insert(W, k, W @ k + added, matrix)
    patch = lib.Patch(weights={name: new.to(lm.weight(name))})
    with lm.patched(patch):
        said, *answers = lm.answer([tower.text, *near], 6)
    kept = sum(a.strip().startswith(true) for a, true in zip(answers, near.values(), strict=True))
    lines.append({"written with": line, "the tower": said, f"right, of {len(near)}": kept})
    lines[-1]["KL, unrelated (0.001 nats)"] = 1000 * far(patch)
show.Table(lines)

# %% [markdown]
# At the prompt of the edit the answer is *Rome* with all four, and a difference of a few neighbors is too small to
# draw a conclusion. The KL divergence at unrelated prompts is several times as large with $\hat C$ as with the same
# estimate after shrinking. In this one edit, using no $C$ disturbs them as little as using the full one. The
# library shrinks its estimate if it has fewer than ten tokens per dimension.
#
# ## What lands on another key
#
# The change costs $\|\delta\|^2\, k^\top C^{-1} C\, C^{-1} k/q^2 = \|\delta\|^2/q$. That is an average over all
# keys. *Which* keys does it affect? In whitened coordinates every other key casts a shadow on the direction of the
# edited key. The tip of the shadow shows how much of the residual reaches that other key.
#
# The picture shows four keys on the left and the matrix's answers to them on the right. The story buttons write an
# answer, repair the side effects, and keep the first answer while repairing. Then drag any key or answer, or choose
# an editor from a later page.

# %%
show.memory_picture()

# %% [markdown]
# At an unrelated key this fraction is 0, at an opposed key it is negative, and at a long key it can be more than 1.
# As a formula, we apply the insert at $k_i$ to a key $k_j$:
#
# $$\Delta_i k_j = \rho(i, j)\,\delta_i, \qquad
# \rho(i, j) = \frac{k_i^\top C^{-1} k_j}{k_i^\top C^{-1} k_i} .$$
#
# This is one number per pair of keys, the **interference**: the fraction of edit $i$'s residual that reaches key
# $j$. It is not symmetric, because the numerator is symmetric and the denominator $q_i$ is not:
#
# $$\rho(i, j)\,q_i = \rho(j, i)\,q_j, \qquad
# \rho(i, j)\,\rho(j, i) = \frac{(k_i^\top C^{-1} k_j)^2}{q_i\,q_j} = \cos^2\varphi_{ij},$$
#
# where $\varphi_{ij}$ is the angle between the two whitened keys. An edit at a key with small $q$, which is short
# after whitening, disturbs all other keys, and almost no other edit disturbs such a key.
#
# **Your turn · exercise 3.1 · ★ · 5 minutes.** Write the whole matrix $\rho$ for keys given as the columns of $K$:
# row $i$ is the key being edited, column $j$ the key being affected.


# %%
def interference(K, C):
    """K (d_in, n), C (d_in, d_in) -> (n, n), entry [i, j] is ρ(i, j)."""
    ...


interference = use("3.1", interference)
mine = guess("Insert, 256 dimensions: which fraction reaches another key (rms)?", 0, 1)

# %% [markdown]
# <details><summary>Hint</summary>
#
# All $k_i^\top C^{-1} k_j$ at once are a single matrix product. Which of its entries divides row $i$?
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
# **Predict.** Notebook 01's keys in 256 dimensions, $C$ with eigenvalues 1, ½, ⅓, … How large is $\rho(i, j)$ for
# two different keys, in the root mean square (rms)? And for the plain outer product $\delta k^\top/\|k\|^2$, where
# the fraction is $k_i^\top k_j / \|k_i\|^2$?
#
# <details><summary>Work it out</summary>
#
# For an independent new key $k_j$, $\mathbb{E}_j (k_i^\top C^{-1} k_j)^2 = k_i^\top C^{-1} C\, C^{-1} k_i = q_i$,
# so $\mathbb{E}_j\,\rho(i, j)^2 = 1/q_i$. The average of $q$ is $d$, and $\rho$ is about $1/\sqrt{d}$. The plain
# fraction is about $1/\sqrt{d_\text{eff}}$: raw keys crowd into 23 dimensions.
#
# </details>

# %%
d, n = 256, 500
L = torch.linalg.qr(normal(d, d)).Q * torch.arange(1, d + 1).double() ** -0.5
C = L @ L.T  # known, and not estimated from the keys below
K = L @ normal(d, n)
rho, others = interference(K, C), ~torch.eye(n, dtype=torch.bool)  # i ≠ j
assert torch.allclose(rho, memory.interference(K, C))
d_eff = C.trace() ** 2 / (C @ C).trace()
shares = {"plain outer product": interference(K, torch.eye(d).double())[others]}  # C = I
shares["insert"] = rho[others]
q = (K * memory.whiten(K, C)).sum(0)
white = torch.linalg.solve_triangular(torch.linalg.cholesky(C), K, upper=False)
cosine = torch.nn.functional.cosine_similarity(white[:, :, None], white[:, None], dim=0)
assert torch.allclose(q[:, None] * rho, (q[:, None] * rho).T)  # ρ(i, j) q_i = ρ(j, i) q_j
assert torch.allclose(rho * rho.T, cosine**2)
for line, size in (("insert", d), ("plain outer product", d_eff.item())):
    print(f"{line}: {rms(shares[line]):.3f} arrives (rms), 1/√{size:.0f} = {size**-0.5:.3f}")
mine.against(rms(rho[others]))

# %% [markdown]
# This is the benefit of whitening: the fraction that reaches another key falls to a third.
#
# ## One after another
#
# Now we write $T$ pairs sequentially, each on top of the previous result:
# $W_t = W_{t-1} + \delta_t (C^{-1}k_t)^\top / q_t$, where $\delta_t = v_t - W_{t-1} k_t$ is missing at that time.
# At its key, edit $t$ finds the contributions of earlier edits and has to compensate for them. With
# $r_t = v_t - W_0 k_t$ for the part missing before the first edit,
#
# $$\delta_t = r_t - \sum_{s < t} \rho(s, t)\,\delta_s .$$
#
# What is wrong in the end? Step $j$ makes the output at $k_j$ exactly $v_j$, regardless of the steps before. Each later
# step $i$ adds $\rho(i, j)\,\delta_i$ there, and nothing removes it again:
#
# $$W_T k_j - v_j = \sum_{i > j} \rho(i, j)\,\delta_i .$$
#
# **Your turn · exercise 3.2 · ★★ · 12 minutes, in three steps.** The first two need nothing but $\rho$ and the
# matrix $R$ with the columns $r_t$: `asks` returns all $\delta_t$, and `after_all` the final error at every key.
# The third step follows in the next section.


# %%
def asks(rho, R):
    """rho (T, T) in the order of writing, R (d_out, T) -> δ (d_out, T)."""
    ...


def after_all(rho, R):
    """The same -> (d_out, T), column j is W_T k_j − v_j. It may call `asks`."""
    ...


asks = use("3.2", asks)
after_all = use("3.2", after_all)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Read the first sum as an equation for all $\delta$ at once: each $\delta_t$ plus the sum of the earlier $\delta$ is
# $r_t$. Which half of $\rho$ does it contain, and which half is in the second sum?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def asks(rho, R):
#     return torch.linalg.solve_triangular(rho.triu(), R, upper=True, left=False)
#
#
# def after_all(rho, R):
#     return asks(rho, R) @ rho.tril(-1)
# ```
#
# </details>
#
# **Predict.** If they were written together, 128 random pairs in 256 dimensions would be perfect (notebook 01).
# Written one after another, which is worst off in the end? Which has most to write?
#
# <details><summary>Work it out</summary>
#
# The first is worst off: 127 later edits disturb it, each with $\rho^2 \approx 1/d$ of a residual's square, in the
# mean square almost half of a residual. The last is exact, but has most to write: its own residual, plus a
# correction for the contributions of 127 others at its key.
#
# </details>
#
# The figure writes $T$ pairs with your `insert`, one by one, showing your prediction next to the result. Try
# changing $T$.


# %%
most = 240
K, W_0 = L @ normal(d, most), normal(64, d)
V = W_0 @ K + normal(64, most)  # what is missing has nothing to do with the keys
W, written = W_0.clone(), []
for t in range(most):
    written.append(V[:, t] - W @ K[:, t])  # δ_t
    W = insert(W, K[:, t], V[:, t], C)
delta, unit = torch.stack(written, 1), (V - W_0 @ K).pow(2).mean()
residuals, reach = memory.lifelong(W_0, K, V, C)  # the library's
assert torch.allclose(residuals, delta) and torch.allclose(W_0 + residuals @ reach, W)


def size(columns):  # mean squares over 16 neighboring edits, in units of what was missing at first
    return (columns.pow(2).mean(0).reshape(-1, 16).mean(1) / unit).tolist()


# %%
def in_the_end(T):  # of the first T pairs
    T = int(T)
    rho, R = interference(K[:, :T], C), (V - W_0 @ K)[:, :T]
    now = W_0 + delta[:, :T] @ reach[:T]
    assert torch.allclose(asks(rho, R), delta[:, :T])
    assert torch.allclose(after_all(rho, R), now @ K[:, :T] - V[:, :T])
    lines = {line: size(f(rho, R)) for line, f in each("to write", asks).items()}
    lines |= {line: size(f(rho, R)) for line, f in each("wrong in the end", after_all).items()}
    lines["later edits / d"] = [(T - i - 8.5) / d for i in range(0, T, 16)]
    inks = {"to": plot.EDITED, "wrong": plot.NEIGHBOR, "later": plot.QUIET}
    colors = {line: inks[line.split()[0]] for line in lines}
    dashes = {line: "--" for line in lines if "yours" in line} | {"later edits / d": ":"}
    axes = "position in the sequence", "mean square, in units of a residual's"
    return plot.lines(range(8, T, 16), lines, *axes, ylim=(0, 2.2), colors=colors, dashes=dashes)


Slider(in_the_end, "T", range(32, most + 1, 16), 128)

# %% [markdown]
# Every fact is disturbed by all later facts, so the first facts are worst off. And the last facts have to write more
# than was missing at first, compensating for the contributions of the others at their keys.
#
# ## One sweep, many sweeps, all at once
#
# The first sum means that the residuals solve a triangular system, which contains only the upper triangle of
# $\rho$, including the diagonal: $\delta\,\mathrm{triu}(\rho) = R$. Each residual is then spread over the matrix by
# its own row of $\mathrm{diag}(1/q)\,K^\top C^{-1}$. So all $T$ steps together are one formula:
#
# $$\textbf{one after another:}\quad
# \Delta W = R\ \mathrm{triu}(\rho)^{-1}\ \mathrm{diag}(1/q)\,K^\top C^{-1} .$$
#
# What would be the cheapest change for writing *all* pairs? The argument of the first section also works for many
# columns: now $HK = 0$, and $\Delta C = M K^\top$ with one column of $M$ per pair. The constraint $\Delta K = R$
# gives $\Delta = R\,(K^\top C^{-1} K)^{-1} K^\top C^{-1}$. Since $K^\top C^{-1} K = \mathrm{diag}(q)\,\rho$, this
# is
#
# $$\textbf{all at once:}\quad
# \Delta W = R\ \rho^{-1}\ \mathrm{diag}(1/q)\,K^\top C^{-1} .$$
#
# The only difference is half of a matrix. Writing the pairs one after another means omitting the lower triangle of
# $\rho$, which describes how later edits disturb earlier edits. When all pairs are written at once, every value is
# stored exactly.
#
# **Exercise 3.2, the third step.** Write the whole sequence as one formula. It may call `asks`.


# %%
def in_a_row(W, K, V, C):
    """W (d_out, d_in), K (d_in, T), V (d_out, T), C (d_in, d_in) -> W_T (d_out, d_in)."""
    ...


in_a_row = use("3.2", in_a_row)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $\rho$ and $q$ can both be read from $K^\top C^{-1}K$. The rest of the line multiplies the output of `asks` by a
# matrix that you also have.
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def in_a_row(W, K, V, C):
#     U = torch.linalg.solve(C, K)  # C⁻¹ k_i, (d_in, T)
#     q = (K * U).sum(0)
#     delta = asks(K.T @ U / q[:, None], V - W @ K)
#     return W + delta / q @ U.T
# ```
#
# </details>
#
# Repeating the sweep from the first pair again and again leads from one formula to the other: this is the
# **Gauss–Seidel** method for $X\rho = R$, and its limit is called EMMET in notebook 05. For given values, applying
# ROME to one fact after another is one such sweep.

# %%
assert torch.allclose(in_a_row(W_0, K, V, C), W)  # the loop above
A, B = memory.insert_many(W_0, K, V, C)
assert torch.allclose((W_0 + A @ B) @ K, V)
now = W_0
for _ in range(100):
    now = in_a_row(now, K[:, :128], V[:, :128], C)
A, B = memory.insert_many(W_0, K[:, :128], V[:, :128], C)
print(f"128 pairs, 100 sweeps: {(now - W_0 - A @ B).norm() / (A @ B).norm():.0e} from all at once")
assert torch.allclose(now, W_0 + A @ B, atol=1e-4)
for line, f in each("in_a_row", in_a_row).items():
    wrong = (f(W_0, K, V, C) @ K - V).pow(2).sum() / (V - W_0 @ K).pow(2).sum()
    print(f"{line}: squared error left after one sweep of {most} pairs {wrong:.2f}")

# %% [markdown]
# ## A real layer
#
# Now we use the keys of the classroom's subjects at ROME's layer, with $C$ estimated from general text. The figure
# sorts all pairs of subjects into four kinds. If several kinds fit, a pair counts for the first. Subjects have
# letters in common if a word of one begins with the same three letters as a word of the other.
#
# **Predict.** Which subject is affected most by an edit: one with the same question, one with the same answer, or
# one with a similar spelling, such as Danish and the Danube?

# %%
n, K = len(facts), lm.keys(facts, layer).cpu().double()  # (d_in, n)
rho = interference(K, moment.C)
pieces = [{w[:3] for w in fact.subject.lower().split() if w != "the"} for fact in facts]


def pairs(alike):  # (n, n), True for two different subjects that are similar
    return torch.tensor([[i != j and alike(i, j) for j in range(n)] for i in range(n)])


left = pairs(lambda i, j: True)
ways = {
    "letters": pairs(lambda i, j: bool(pieces[i] & pieces[j])),
    "the question": pairs(lambda i, j: question[facts[i]] == question[facts[j]]),
    "the answer": pairs(lambda i, j: facts[i].target_true == facts[j].target_true),
    "none of these": left,
}

# %%
found, counts = {line: [] for line in each("ρ", interference)}, []
for shared, chosen in ways.items():
    chosen, left = chosen & left, left & ~chosen  # a pair counts only in the first row that fits
    for line, f in each("ρ", interference).items():
        found[line].append(runs_02.loudness(f(K, moment.C), chosen))
    counts.append(f"{shared} ({chosen.sum()} pairs)")
angle = (rho * rho.T)[chosen].clamp(min=0).sqrt().median()  # |cos φ|
print(f"whitened keys with nothing in common: median |cosine| {angle:.3f}, ", end="")
print(f"of random keys {0.6745 / len(K) ** 0.5:.3f}")
own = own_fact.read() or lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
hits = interference(torch.cat([lm.keys([own], layer).cpu().double(), K], 1), moment.C)[0, 1:]
loud = [i for i in hits.argsort(descending=True).tolist() if facts[i].subject != own.subject][:4]
said = ", ".join(f"{facts[i].subject} {hits[i]:.2f}" for i in loud)
print(f"An edit of {own.subject} would affect most: {said}")
whiskers(counts, found, "ρ of pairs with … in common, rms and 95% interval over subjects")

# %% [markdown]
# **It is the question and the spelling that matter.** Among subjects that have neither in common, subjects with the
# same answer overlap no more than any two: if their ρ were half again as large, the interval would show it.
#
# Even subjects that have nothing in common have keys that are more similar than random directions. So each edit
# disturbs all other subjects a little.
#
# ## Does the model behave as predicted?
#
# Notebook 00 edited the sheep, and the sheepdog's answer shifted most. Using ROME, we edit three animals, replacing
# the young of each with another's, and test 17 others, among them *sheepdog*, *dogfish* and *horsefly*. We predict
# the edit's contribution to the layer's output at every token of every prompt before measuring it.
#
# **Predict.** How far apart will prediction and measurement be? And before editing, how could we predict whose
# answer will shift most?
#
# <details><summary>Answer</summary>
#
# Apart only by rounding: the edited layer is linear, and its keys come from the layers below. As for the second
# question: what is the word *sheepdog* made of?
#
# </details>


# %%
def look(text):  # the matrix's inputs (d_in, tokens) and outputs (d_out, tokens)
    return [part[0].double().cpu().T for part in lm.run(text, watch=[name]).seen[name]]


inside = {"sheep": "sheepdog", "dog": "dogfish", "horse": "horsefly"}
animals = "goat ram cow pig cat bear lion duck whale kangaroo frog car".split()


def last_key(animal):  # (d_in, 1)
    return lm.keys([lib.Fact(animal, "The young of a {} is called a", "-")], layer).cpu().double()


# %%
edits, away, asked = {}, 0.0, "The young of a {} is called a"
for animal, young in zip(inside, ("puppy", "kitten", "chick"), strict=True):
    patch, points = editor.edit([lib.Fact(animal, asked, young)]), {}
    change, k = patch.weights[name].dense().double().cpu(), last_key(animal)
    others = [one for one in [*inside, *inside.values(), *animals] if one != animal]
    kl = moved.answers(lm, [asked.format(one) for one in others], patch)
    for one, far in zip(others, kl, strict=True):
        inputs, before = look(asked.format(one))
        with lm.patched(patch):
            measured = look(asked.format(one))[1] - before  # at every token
        away = max(away, (measured - change @ inputs).norm() / (change @ inputs).norm())
        shares = interference(torch.cat([k, last_key(one), inputs], 1), moment.C)[0, 1:]
        points[one] = shares[0].item(), shares[1:].max().item(), far
    edits[f"{animal} → {young}"] = points
print(f"measured and computed differ by at most {away:.0e} of their length")
assert away < (1e-3 if lm.dtype == torch.float32 else 0.05)  # half precision rounds
for edit, points in edits.items():
    last, largest, kl = (torch.tensor(x) for x in zip(*points.values(), strict=True))
    rest = torch.tensor([inside[edit.split()[0]] != one for one in points])  # without the compound
    orders = [
        "{:.2f} ({:.2f} without the compound)".format(
            *(runs_02.rank_correlation(x[some], kl[some])[0] for some in (rest | True, rest))
        )
        for x in (last, largest)
    ]
    print(f"{edit}, rank correlation with KL: last token {orders[0]}, largest ρ {orders[1]}")
around = [[word for word in inside.values() if animal in word] for animal in inside]
drawings_02.reached(edits, around)

# %% [markdown]
# Every dot is an animal: hollow at the $\rho$ of its last token, full at the largest $\rho$ in its prompt. For most
# animals the two coincide. *Sheepdog* consists of the tokens *sheep* and *dog*, and *dogfish* and *horsefly* are
# split in the same way. So their prompts contain an edited key, with a fraction of 1. The *dog* inside *sheepdog* has
# no leading space and is another token, but a similar one. In each edit the words containing the edited one shift
# most. **Every token of a prompt is a key**. The two measures differ for few animals: in all three edits, ordering
# the answers by the largest $\rho$ works better, mostly because of the word that contains the edited one: without it,
# little of the advantage is left.
#
# ## Where it breaks
#
# We know what reaches each key up to rounding. Does this predict whose *answer* suffers? The stored run uses ROME to
# write three streams of 30 facts, one after another. After every edit it records, for each earlier fact, the length
# of what the edit added at its key and the loss of its answer's log-probability. We sort a stream's pairs by this
# length and cut them into tenths.
#
# **Predict.** Typically, what fraction of an edit reaches an earlier fact? In the tenth reached most, how much does
# the middle fact lose?

# %%
rows = long_runs.rows("02_behind")
long_runs.repeats(rows, lambda: islice(runs_02.stream(lm, 0), 1), ["lands", "change"], 0.05)
drawn = {"the middle pair": {}, "one pair in ten loses more than this": {}}
for stream, every in runs_02.earlier(rows).groupby("stream"):
    size, loss = every["lands"], -every["change"]
    tenth = (10 * size.rank(pct=True) - 1e-9) // 1  # 0 … 9
    lands, losses = size.groupby(tenth).median().tolist(), loss.groupby(tenth)
    middle, large = losses.median().tolist(), losses.quantile(0.9).tolist()
    for panel, y in zip(drawn, (middle, large), strict=True):
        drawn[panel][f"stream {stream + 1}"] = [(lands, y)]
    print(f"stream {stream + 1}: median fraction {100 * every['share'].median():.1f} %;", end=" ")
    print(
        f"rank correlation of length and loss {runs_02.rank_correlation(size, loss)[0]:.2f};",
        end=" ",
    )
    print(f"the most reached tenth gets {lands[-1] / lands[0]:.0f} times as much as the least,")
    print(
        f"  and loses {middle[-1]:.4f} nats in the middle, {loss[tenth == 9].max():.2f} at most;",
        end=" ",
    )
    print(
        f"where most lands the loss is {loss[size.idxmax()]:.3f}, the largest is {loss.max():.3f}"
    )
hand_ins.Editor("editor.py").grow(insert)
axes = "length of an edit's contribution at a key", "loss of the fact's log p (nats)"
lines_of(drawn, *axes, xlog=True)

# %% [markdown]
# Two or three percent of an edit reaches an earlier fact. The most reached tenth gets about a hundred times as much
# as the least, and its middle fact still loses almost nothing: when a fact has just been written, its answer has a
# log-probability near 0, where it barely changes. Large losses are more frequent there in two streams. All three rank
# correlations are positive, but chance gives three of one sign in one case of four. In the second stream, the fact
# receiving most also lost most; that edit's subject begins its prompt ([notebook 02b](02b_first_token.ipynb)). So
# **we know in advance what reaches each key, but barely the harm of a single edit** ([notebook
# 07](07_superposition.ipynb) asks about a hundred).
#
# ## An editor of your own
#
# The functions from some pages accumulate in a single file, `my/editor.py`, which will edit the model at the end of
# notebook 06. The last cell added your `insert` to it.
#
# ## What we know now
#
# * The cheapest change that writes a pair is $\delta\,(C^{-1}k)^\top / q$, and the fraction $\rho(i, j)$ of it reaches
#   key $j$, even in a real layer, and *every* token of a prompt is such a key. We know this fraction in advance, but
#   not how much harm it does.
# * Estimated from too little text, $\hat C$ can be worse than no $C$, and looking at the edited fact doesn't reveal it.
#   Shrinking repairs the estimate.
# * When facts are written sequentially, each is disturbed by all later facts: the change contains
#   $\mathrm{triu}(\rho)^{-1}$, whereas writing all at once uses $\rho^{-1}$.
# * In an early layer, subjects resemble each other in spelling and in kind, not in their answers.
#
# We used one key, the subject's last token in an early layer, without saying why. **Where is the key, in a
# transformer?** [Notebook 03](03_where.ipynb) asks the model.
#
# ## References
#
# * Meng et al.: *Locating and Editing Factual Associations in GPT*, 2022,
#   [arXiv:2202.05262](https://arxiv.org/abs/2202.05262): the insert.
# * Hu et al.: *Knowledge in Superposition*, 2024,
#   [arXiv:2408.07413](https://arxiv.org/abs/2408.07413): $\rho$, there called P, and the sum.
