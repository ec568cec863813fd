# %% [markdown]
# <!-- badge -->
#
# # 01 · In what sense is a linear layer a memory?
#
# The sheepdog moved, and nobody had edited it. ROME wrote into one matrix: what was in there? At
# the end of this page a matrix is a list of pairs to you, also in a real model.
#
# **You will** derive the best matrix for a set of pairs, and its capacity · see what correlated
# keys do to it, and how their second moment $C$ helps · meet ridge as insurance against noise ·
# look at real keys: how alike are they, and how many give the matrix away?
#
# **Needs** matrix products, averages, and the last page of [notebook 00](00_first_edit.ipynb).
#
# The folded cell below finds the library and sets the number of threads. Run it and read on.

# %% tags=["setup"]
# @title Setup: finds the library, or fetches it where this notebook was opened alone
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = ""
here = Path(globals().get("__file__", "here")).resolve().parent
root = next((p for p in (here, *here.parents) if (p / "lib" / "__init__.py").is_file()), None)
if root is None and REPOSITORY:  # opened alone, as Colab does: fetch the rest
    root = here / REPOSITORY.split("/")[-1]
    clone = ["git", "clone", "--quiet", "--depth=1", f"https://github.com/{REPOSITORY}", str(root)]
    install = [sys.executable, "-m", "pip", "install", "-q", "-r", str(root / "requirements.txt")]
    for command in [install] if root.is_dir() else [clone, install]:
        subprocess.run(command, check=True)
if root is None:
    raise FileNotFoundError("lib/__init__.py is in no folder above: open this in a checkout.")
sys.path.insert(0, str(root))
os.environ.setdefault("OMP_NUM_THREADS", "2")  # both are read once, when torch is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads stall a busy machine
SCALE = os.environ.get("EDIT_SCALE", "small")  # "tiny", "small" or "full"

# %%
import torch
from torch.nn.functional import normalize

import lib
from lib import memory, plot
from notebooks.support import checks_common as checks
from notebooks.support import models, show

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def error(W, K, V):  # squared recall error, as a share of the squared length of the values
    return ((W @ K - V).norm() / V.norm()).item() ** 2


# %% [markdown]
# ## A list of pairs becomes a matrix
#
# We want a matrix $W$ that answers each *key* $k_i$ with its *value* $v_i$. Keys are the columns of
# $K$ ($d \times n$), values those of $V$. The oldest idea adds up one outer product per pair:
#
# $$W = \sum_i v_i k_i^\top = VK^\top, \quad Wk_j = v_j \|k_j\|^2 + \sum_{i\ne j} v_i k_i^\top k_j$$
#
# The last sum is **crosstalk**. For orthonormal keys it is zero, and every value comes back.

# %%
d, n = 256, 160
K, V = torch.linalg.qr(normal(d, n)).Q, normal(d, n)  # orthonormal keys
W = torch.zeros(d, d, dtype=torch.float64)
for i in range(n):
    W += torch.outer(V[:, i], K[:, i])
assert torch.allclose(W, V @ K.T) and torch.allclose(W @ K, V)

# %% [markdown]
# **Predict.** In high dimensions random directions are nearly orthogonal. So take 160 random unit
# vectors in 256 dimensions as keys. How large is the crosstalk, compared with the values?
#
# <details><summary>Work it out</summary>
#
# Take $k_j$ as the first axis. The $d$ squared components of a unit vector sum to 1 and no axis is
# special, so $\mathbb{E}(k_i^\top k_j)^2 = 1/d$. Keys of both signs are equally likely, so mixed
# terms average out: $\mathbb{E}\|\text{crosstalk}\|^2 = \sum_{i \ne j} \|v_i\|^2 / d$, for values
# of equal length a share of $(n-1)/d$. Each overlap is small, but there are $n - 1$ of them.
#
# </details>

# %%
K = normalize(normal(d, n), dim=0)
print(f"measured {error(V @ K.T, K, V):.2f}, expected (n − 1)/d = {(n - 1) / d:.2f}")

# %% [markdown]
# ## The best matrix
#
# Outer products ignore that keys overlap, and 61 % of the squared length is wrong. Which $W$ makes
# $\|WK - V\|^2$, summed over all entries, smallest? Add any change $H$ and multiply out:
#
# $$\|(W + H)K - V\|^2 = \|WK - V\|^2 + 2\,\mathrm{tr}\big(H^\top (WK - V)K^\top\big) + \|HK\|^2 .$$
#
# If $(WK - V)K^\top = 0$, the middle term vanishes and no $H$ helps. If not, a small step
# $H = -\varepsilon\,(WK - V)K^\top$ does. So the best matrices are the solutions of the **normal
# equations** $W K K^\top = V K^\top$. Two of them differ by an $H$ with $HK = 0$; if the keys span
# the whole space there is only one, $W = V K^\top (K K^\top)^{-1}$. First the obvious way, downhill
# in small steps, then the formula, then the library:

# %%
K, V = normal(8, 20), normal(5, 20)
W = torch.zeros(5, 8, dtype=torch.float64)
for _ in range(3000):
    W -= 0.02 * (W @ K - V) @ K.T
formula = torch.linalg.solve(K @ K.T, K @ V.T).T  # K Kᵀ is symmetric
assert torch.allclose(W, formula) and torch.allclose(W, memory.fit(K, V))

# %% [markdown]
# ## Capacity
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
    K, V = normalize(normal(d, n), dim=0), normal(d, n)
    found["outer products"].append(error(V @ K.T, K, V))
    found["least squares"].append(error(memory.fit(K, V), K, V))
r = torch.linspace(0.02, 2, 200)
theory = {"(n − 1)/d": (r - 1 / d).clamp(min=0), "max(0, 1 − d/n)": (1 - 1 / r).clamp(min=0)}
x = dict.fromkeys(found, [n / d for n in counts]) | dict.fromkeys(theory, r)
colors = dict(zip([*found, *theory], plot.CYCLE[:2] * 2, strict=True))
axes = "pairs per input dimension, n/d", "squared recall error (share of ‖V‖²)"
plot.lines(x, found | theory, *axes, colors=colors, dashes=dict.fromkeys(found, " "))

# %% [markdown]
# Dots are measured, lines are the two formulas. Outer products are wrong from the second pair on.
# Least squares is perfect up to $n = d$, then forgets evenly.
#
# ## Correlated keys
#
# Real keys are not spread evenly. Let $C = \mathbb{E}[k k^\top]$ be their **second moment**. For
# two independent keys
#
# $$\mathbb{E}(k_i^\top k_j)^2 = \mathbb{E}\,k_i^\top (k_j k_j^\top) k_i
# = \mathbb{E}\,k_i^\top C k_i = \mathrm{tr}(C^2)$$
#
# while $\mathbb{E}\|k\|^2 = \mathrm{tr}\,C$. Relative to their length they overlap by
# $\mathrm{tr}(C^2)/(\mathrm{tr}\,C)^2$ instead of $1/d$, as if they lived in only
# $d_\text{eff} = (\mathrm{tr}\,C)^2 / \mathrm{tr}(C^2)$ dimensions: $d$ if all eigenvalues are
# equal, 1 if one is huge.
#
# The cure is **whitening**. Split $C = LL^\top$ and measure keys as $\tilde k = L^{-1}k$. Their
# second moment is $L^{-1} C L^{-\top} = I$, evenly spread again, and inner products need no $L$ at
# all: $\tilde k_i^\top \tilde k_j = k_i^\top C^{-1} k_j$. Least squares does this by itself: with
# $KK^\top = n\hat C$ its solution is a sum of outer products again,
# $W = \frac1n \sum_i v_i\,(\hat C^{-1} k_i)^\top$.

# %%
L = torch.linalg.qr(normal(d, d)).Q * torch.arange(1, d + 1).double() ** -0.5
C, n = L @ L.T, 2000  # eigenvalues 1, 1/2, 1/3, …
K = L @ normal(d, n)
d_eff = C.trace() ** 2 / (C @ C).trace()
grams = {"raw": (K.T @ K, d_eff), "whitened": (K.T @ memory.Moment(C).solve(K), d)}
for name, (G, expected) in grams.items():
    overlap = (G.pow(2).sum() - G.diagonal().pow(2).sum()) / (n * n - n) / G.diagonal().mean() ** 2
    print(f"{name}: keys overlap as in {1 / overlap:.1f} dimensions, expected {expected:.1f}")
V, solved = normal(d, n), memory.Moment(K @ K.T / n).solve(K)  # Ĉ⁻¹ K
slow = sum(torch.outer(V[:, i], solved[:, i]) for i in range(n)) / n
assert torch.allclose(slow, memory.fit(K, V))

# %% [markdown]
# ## Ridge
#
# With few keys $KK^\top$ is singular, and with noisy ones its weak directions are mostly noise.
# Ridge asks for a small $W$ too: minimize $\|WK - V\|^2 + \lambda \|W\|^2$. That is the old problem
# with $d$ more pairs, which say that the columns of $\sqrt\lambda\, I$ give nothing, so the normal
# equations become $W \,(K K^\top + \lambda I) = V K^\top$, with one solution for every
# $\lambda > 0$. Along a direction in which $KK^\top$ has eigenvalue $s$, least squares is shrunk by
# $s/(s + \lambda)$: what was seen often is kept, what was hardly seen is given up.

# %%
K, V, strength = normal(d, 40), normal(d, 40), 3.0
more_keys, more_values = strength**0.5 * torch.eye(d), torch.zeros(d, d)
slow = memory.fit(torch.cat([K, more_keys], 1), torch.cat([V, more_values], 1))
assert torch.allclose(slow, memory.ridge(K, V, strength))  # the form with one solve

# %% [markdown]
# ## A layer of a real model
#
# The matrix edited in notebook 00 is the output projection of an MLP. Its input at a token is the
# key, its output the value. We read the keys at the last token of the classroom's subjects, without
# those that begin a prompt: the first token is a story of its own (notebook 02). $C$ is a mean over
# fifteen thousand tokens of general text.

# %%
lm = models.load(SCALE)
layer = lib.EDITORS["rome"](lm).config.layer
name = lm.mlp_out(layer)
W = lm.weight(name).cpu().double()
facts = {c.fact.subject: c.fact for c in lib.classroom() if not c.fact.prompt.startswith("{}")}
subjects, facts = list(facts), list(facts.values())
K = lm.keys(facts, layer).cpu().double()  # (d_in, n)
run = lm.run(facts[0].text, watch=[name])  # one of them the slow way, with all its tokens
inputs, outputs = (x[0].cpu().double() for x in run.seen[name])  # (tokens, d_in), (tokens, d_out)
at = (inputs - K[:, 0]).norm(dim=1).argmin()
print(f"layer {layer}: {W.shape[1]} inputs, {W.shape[0]} outputs, keys of {len(facts)} subjects")
print(f"{facts[0].text!r}: key read at {lm.tokenizer.decode(run.ids[0, at : at + 1])!r}")
assert (W @ K[:, 0] - outputs[at]).norm() < 1e-2 * outputs[at].norm()
moment = lib.second_moment(lm, [layer])[layer]
values = torch.linalg.eigvalsh(moment.C)
print(f"{len(values)} dimensions, effectively {values.sum() ** 2 / values.pow(2).sum():.0f}")
plot.spectrum(values)

# %% [markdown]
# $Wk = v$ holds to the letter. The spectrum falls all the way and reaches no zero: no direction is
# free for new facts, but some are used far more than others, as if there were 602 and not 1,536.
#
# **Predict.** Two subjects, taken at random: is the cosine of their keys near 0? Does whitening
# bring all pairs to 0?
#
# <details><summary>Answer</summary>
#
# Raw cosines lean to the positive side: the keys share what they share with all text. Whitening
# removes that and draws the bulk toward 0. What remains is a tail of pairs alike for this layer.
#
# </details>

# %%
pairs = torch.triu_indices(K.shape[1], K.shape[1], 1)
white = torch.linalg.solve_triangular(moment.factor, K, upper=False)  # L⁻¹ K, C = L Lᵀ
sets = {"raw": K, "whitened": white, "random vectors": normal(*K.shape)}
sets = {group: normalize(keys, dim=0) for group, keys in sets.items()}
groups = {group: (keys.T @ keys)[*pairs] for group, keys in sets.items()}
spread = {group: values.pow(2).mean().sqrt().item() for group, values in groups.items()}
top = groups["whitened"].topk(4)
ends = zip(*pairs[:, top.indices].tolist(), top.values.tolist(), strict=True)
print("closest:", ", ".join(f"{subjects[i]} – {subjects[j]} {c:.2f}" for i, j, c in ends))
print("root mean square:", ", ".join(f"{group} {x:.3f}" for group, x in spread.items()))
if SCALE != "tiny":
    assert spread["random vectors"] < spread["whitened"] < spread["raw"]
plot.histogram(groups, "cosine between the keys of two subjects")

# %% [markdown]
# Random vectors are the narrow peak. Real keys spread wider, 5.3 times when raw, 3.0 times when
# whitened, and the tail at the right survives: languages, and countries of one region.
#
# **Predict.** Somebody hides $W$ and shows us only pairs $(k, Wk)$ from running text. We fit the
# shortest matrix that explains them. How many pairs give us $W$ itself? How many give good answers
# to *new* tokens?
#
# <details><summary>Answer</summary>
#
# Each independent key fixes one of $d_\text{in}$ dimensions, so $d_\text{in}$ of them are needed,
# and before that about $1 - n/d_\text{in}$ of $\|W\|^2$ is missing. New tokens come out better:
# their keys lie mostly in the strong directions of $C$, which are learned first.
#
# </details>

# %%
width, text = W.shape[1], lib.data.texts.GENERAL.read_text(encoding="utf-8")
ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"][: 3 * width // 2]
windows = [ids[i : i + 128] for i in range(0, len(ids), 128)]
keys = torch.cat([lm.run([w], watch=[name]).seen[name][0][0, 1:].cpu() for w in windows])
keys = keys.double()[torch.randperm(len(keys), generator=draw)].T  # (d_in, tokens)
rows, new = [], keys[:, 5 * width // 4 :]
for share in (0.25, 0.5, 0.75, 1.0, 1.25):
    known = keys[:, : int(share * width)]
    fitted = memory.fit(known, W @ known)
    missing, wrong = error(fitted, torch.eye(width).double(), W), error(fitted, new, W @ new)
    rows.append({"pairs / inputs": share, "missing of W": missing, "error on new": wrong})
show.Table(rows)

# %% [markdown]
# A layer *is* its pairs: $d_\text{in}$ of them give it away, and typical answers come sooner.
#
# ## Exercises
#
# **Recall of noisy keys.** A subject's key is a little different in every sentence. Let each key
# arrive as $k_i + \varepsilon$, with fresh noise of mean 0 and covariance $s^2 I$. Which $W$ has
# the smallest *expected* error, summed over the pairs? (Multiply out
# $\mathbb{E}\|W(k + \varepsilon) - v\|^2$: what does the noise add?)
#
# **When is $W$ unique?** Return *another* matrix with the same recall, $W'K = WK$, or `None` where
# there is none.


# %%
def robust(K, V, s):  # W (d_out, d_in)
    return "not attempted"


def twin(W, K):  # W' (d_out, d_in), or None
    return "not attempted"


# %%
print("noisy keys:", checks.robust(robust))
print("unique:", checks.twin(twin))

# %% [markdown]
# ## What we know now
#
# * A matrix is the least-squares answer to a list of pairs. $d$ inputs hold $d$ pairs exactly;
#   above that, random values lose a share of $1 - d/n$.
# * Overlap is crosstalk, and the overlap that counts is $k_i^\top C^{-1} k_j$.
# * A real layer uses all its directions, and its subjects overlap more than random vectors.
#
# ## Where it breaks
#
# Write one new pair into a memory in use. The obvious way adds what is missing as an outer product,
# $W' = W + (v - Wk)\,k^\top / \|k\|^2$, and the new pair is exact. We give a subject of the real
# layer the value of another, look at all the rest, then go on subject by subject.

# %%
V, written = W @ K, W.clone()
wanted = V.roll(1, 1)  # every subject gets the value of the one before it
for i in range(K.shape[1]):
    k = K[:, i]
    written += torch.outer(wanted[:, i] - written @ k, k) / (k @ k)
    if i == 0:
        moved = ((written @ K - V).norm(dim=0) / V.norm(dim=0))[1:]  # a share of their length
print(f"one pair: {(moved > 0.001).sum()} of {len(moved)} others moved,", end=" ")
print(f"by {moved.mean():.0%} of their length on average, {moved.max():.0%} at most")
in_a_row, at_once = error(written, K, wanted), error(memory.fit(K, wanted), K, wanted)
print(f"all pairs in a row: error {in_a_row:.2f}, all at once by least squares: {at_once:.2f}")

# %% [markdown]
# One pair moves nearly all the others, by a fifth of their length, and the next ones spoil it in
# turn. A matrix that holds them all exists, but we cannot refit the real one: nobody has the pairs
# that it was made from. All we know of them is $C$.
#
# **How do we write one pair at the least cost to those that we cannot see?** In [notebook
# 02](02_insert.ipynb) the sheep's neighbors get their answer, too.
#
# ## References
#
# * Kohonen: *Correlation Matrix Memories*, IEEE Transactions on Computers, 1972.
# * Geva, Schuster, Berant, Levy: *Transformer Feed-Forward Layers Are Key-Value Memories*, 2021,
#   [arXiv:2012.14913](https://arxiv.org/abs/2012.14913).
# * Bau et al.: *Rewriting a Deep Generative Model*, 2020,
#   [arXiv:2007.15646](https://arxiv.org/abs/2007.15646): the second moment enters editing.
