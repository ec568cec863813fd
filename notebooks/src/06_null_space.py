# %% [markdown]
# <!-- badge -->
#
# # 06 · Null spaces and kept keys
#
# A hundred facts fit into one batch. Then comes the next. At the end of this page you have seen
# five hundred edits, and can say which part of a method does what.
#
# **You will** write batch after batch with the result of one · write where ordinary text does not
# go, and find no such place · try three other brakes · take a method apart, 500 edits long.
#
# **Needs** [notebook 05](05_memit.ipynb): $\lambda C$, and its last page.
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

import lib
from lib import memory, plot
from lib.editors import prune, rect
from lib.evaluation.intervals import wilson
from notebooks.support import checks_06_null_space as checks_06
from notebooks.support import models, show, stored_runs
from notebooks.support import runs_06_null_space as runs_06

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


# %% [markdown]
# ## Remember what was written
#
# MEMIT weighs a batch against general text. The facts of yesterday are not general text, so nothing
# protects them. Put all batches so far into one sum of squares:
#
# $$\min_W\ \lambda\,\mathrm{tr}\big((W - W_0)\,C\,(W - W_0)^\top\big)
# + \sum_{s \le t} \|W K_s - V_s\|^2 .$$
#
# The gradient vanishes for $W_t M_t = N_t$, with $M_t = \lambda C + \sum K_s K_s^\top$ and
# $N_t = \lambda W_0 C + \sum V_s K_s^\top$. One more batch adds one term to each, so
# $W_t M_t = W_{t-1} M_{t-1} + V_t K_t^\top$. Put in $M_{t-1} = M_t - K_t K_t^\top$:
#
# $$W_t = W_{t-1} + (V_t - W_{t-1} K_t)\,K_t^\top M_t^{-1}, \qquad
# M_t = \lambda C + K_p K_p^\top + K_t K_t^\top .$$
#
# This is **recursive least squares**: MEMIT, with the **kept keys** $K_p$ of all earlier batches in
# the inverse. Their values are not needed.
#
# **Predict.** How far are ten such batches from one batch with everything in it?
#
# <details><summary>Answer</summary>
#
# Nothing but rounding: each step solves the whole problem. As long as keys and values stay what
# they were, that is; in a model of many layers they move a little with every edit below.
#
# </details>

# %%
d, n, strength = 64, 50, 5.0
L = normal(d, d)
C, W0, K, V = L @ L.T / d + 0.1 * torch.eye(d), normal(16, d), L @ normal(d, n) / 8, normal(16, n)


def fold(insert, *settings):  # ten batches of five
    W = W0
    for i in range(0, n, 5):
        pairs, kept = (K[:, i : i + 5], V[:, i : i + 5]), K[:, :i]
        W = W + torch.matmul(*insert(W, *pairs, *settings, kept))
    return W


plain = fold(lambda W, k, v, kept: memory.insert_many(W, k, v, C, strength))
keeping = fold(memory.insert_many, C, strength)
together = W0 + torch.matmul(*memory.insert_many(W0, K, V, C, strength))
assert (keeping - together).abs().max() < 1e-9
for way, W in {"plain": plain, "kept keys": keeping}.items():
    wrong = (W @ K - V).pow(2).sum(0) / (V - W0 @ K).pow(2).sum(0)
    print(f"{way}: missing of the first five {wrong[:5].mean():.3f}, last {wrong[-5:].mean():.3f}")

# %% [markdown]
# To nine digits; the plain fold lost a fifth of its first five. The same algebra takes pairs out of
# the middle of a stream: `memory.exchange`.
#
# ## Write where no text goes
#
# **AlphaEdit** has another idea. Let $Q$ ($d_\text{in} \times r$, orthonormal columns) span the
# directions that no key of general text ever uses, and $P = QQ^\top$. Then $\Delta P K_0 = 0$ for
# all these keys $K_0$: no damage, and no $\lambda C$ is needed. Minimize
#
# $$\|(W + \Delta P)K - V\|^2 + \|\Delta P K_p\|^2 + L_2 \|\Delta P\|^2 .$$
#
# Write $\Delta P = YQ^\top$. Then $\|YQ^\top\| = \|Y\|$, and what is left is MEMIT with kept keys
# for the shorter keys $Q^\top K$, with $C = I$, $\lambda = L_2$ and, as before, $R = V - WK$:
#
# $$\Delta P = R\,(Q^\top K)^\top \big(Q^\top (K_p K_p^\top + KK^\top)\,Q + L_2\big)^{-1} Q^\top .$$

# %%
K0 = normal(d, 40) @ normal(40, 2000)  # text that leaves 24 of 64 directions free
Q = memory.null_space(K0 @ K0.T / 2000, 1e-9).Q
old, new, R = K[:, :20], K[:, 20:30], (V - W0 @ K)[:, 20:30]
inside = Q.T @ (old @ old.T + new @ new.T) @ Q + 10 * torch.eye(Q.shape[1])
small = R @ (Q.T @ new).T @ torch.linalg.inv(inside) @ Q.T
assert torch.allclose(small, torch.matmul(*memory.insert_null(W0, new, V[:, 20:30], Q, 10.0, old)))
W = fold(memory.insert_null, Q, 10.0)
assert (W - W0 - torch.matmul(*memory.insert_null(W0, K, V, Q, 10.0))).abs().max() < 1e-9
print(f"{Q.shape[1]} free directions; text moves by at most {((W - W0) @ K0).abs().max():.0e}")

# %% [markdown]
# With a true null space text does not move at all. The fold equals one batch here, too, but that is
# the doing of $K_p$, not of $P$.
#
# ## Is there such a place?
#
# **Predict.** 1,536 inputs, $C$ from fifteen thousand tokens. How many eigenvalues are zero?
#
# <details><summary>Answer</summary>
#
# None (notebook 01). So one takes those below a **threshold** $\tau$, and the promise becomes a
# bound: with eigenvectors $x_i$ of eigenvalues $c_i < \tau$ the mean damage is $\mathrm{tr}(\Delta
# C \Delta^\top) = \sum_i c_i \|\Delta x_i\|^2 \le \tau \|\Delta\|^2$.
#
# </details>

# %%
lm = models.load(SCALE)
alpha = lib.EDITORS["alphaedit"](lm, quantile=0.8)  # the lowest 80 % of all directions
layers, top = alpha.config.layers, alpha.config.layers[-1]
general, space = lib.second_moment(lm, layers)[top], alpha.null_space(top)
values, vectors = torch.linalg.eigh(general.C)
K = lm.keys([case.fact for case in lib.classroom()], top).cpu().double()
rows = []
for quantile in (0.2, 0.5, 0.8, 0.95):
    found = memory.null_space_of(values, vectors, threshold=None, quantile=quantile)
    inside = ((found.Q.T @ K).norm() / K.norm()).item() ** 2
    row = {"directions": found.Q.shape[1], "threshold τ": found.threshold}
    row["text inside (%)"], row["subjects inside (%)"] = 100 * found.share, 100 * inside
    rows.append(row)
show.Table(rows)

# %%
plot.spectrum(values, space.threshold)

# %% [markdown]
# Nothing is empty. Four fifths of the directions hold 48 % of general text, and 73 % of what the
# subjects' keys are made of: a place with room for facts, but not without traffic.
#
# ## Three other brakes
#
# **Norm anchors** (NAS) look at the values. A value is searched within a distance of the *present*
# state, say $v = Wk + c\,\|Wk\|\,e$ with a random direction $e$. Written, it makes $W$ larger, so
# the next state and its step are larger, too. NAS rescales every $v$ to the length $\bar n$ that
# values have on the base model.
#
# **Predict.** Random unit keys in $d = 64$ dimensions, $c = 0.75$. What becomes of $\|W\|^2$ in a
# thousand edits, with and without the anchor?
#
# <details><summary>Work it out</summary>
#
# An edit replaces what $W$ had along $k$, on average $\|W\|^2/d$, by $\|v\|^2$. Without the anchor
# $\mathbb{E}\|v\|^2 = (1 + c^2)\|W\|^2/d$, so each multiplies $\|W\|^2$ by $1 + c^2/d$:
# exponential. With it, $\|W'\|^2 = \|W\|^2(1 - 1/d) + \bar n^2$ settles at $d\,\bar n^2$.
#
# </details>

# %%
d, c = 64, 0.75
free = held = normal(d, d)
length = (d * (1 + c**2)) ** 0.5  # n̄, a mean value on the base model
for _ in range(1000):
    k, e = (x / x.norm() for x in (normal(d), normal(d)))
    free = free + torch.outer(c * (free @ k).norm() * e, k)
    v = held @ k + c * (held @ k).norm() * e
    held = held + torch.outer(v * length / v.norm() - held @ k, k)
expected = {"free": d * d * (1 + c * c / d) ** 1000, "anchored": d * length**2}
for way, W in {"free": free, "anchored": held}.items():
    print(f"{way}: ‖W‖² from {d * d:,} to {W.norm() ** 2:,.0f}, expected {expected[way]:,.0f}")

# %% [markdown]
# **RECT** and **PRUNE** look at the update. RECT keeps the 40 % of its entries that are largest
# beside those of $W$. PRUNE lets the singular values of all that was written grow above
# $\sigma_\max(W_0)$ by their logarithm only. Each subject of a layer is to get the next's value:

# %%
W = lm.weight(lm.mlp_out(top)).cpu().double()
R, B = memory.insert_many(W, K, (W @ K).roll(1, 1), general, 1000.0)
sigma = torch.linalg.matrix_norm(W, 2).item()
updates = {"as solved": R @ B, "RECT": rect.mask((R @ B).float(), W.float(), 0.4).double()}
updates |= {"four times that": 4 * R @ B, "PRUNE of it": prune.shrink(4 * R @ B, sigma, 2.718)}
rows = []
for way, change in updates.items():
    row = {"update": way, "arrives (%)": 100 * ((change @ K * R).sum() / R.norm() ** 2).item()}
    row["largest σ / σ of W"] = torch.linalg.matrix_norm(change, 2).item() / sigma
    rows.append(row | {"mean damage": (change @ general.C * change).sum().item()})
show.Table(rows)

# %% [markdown]
# RECT keeps 55 % for a damage of 48; simply writing 55/74 of the update would cost
# 28, since damage is a square. PRUNE's 193 % for 379 would cost 334 by a plain factor. A brake that
# does not ask whom it serves is no better than a smaller step.
#
# ## Five hundred edits
#
# Is it the projector or the kept keys? Take both apart: $2 \times 2$ editors, each with 500 facts
# of CounterFact (Meng et al., 2022) in batches of 50, the same values for all, searched on the base
# model. And ROME, one fact after another.
#
# | | nothing kept | kept keys |
# |---|---|---|
# | **all directions, $\lambda C$** | MEMIT | MEMIT, kept keys |
# | **null space, $L_2$** | projector only | AlphaEdit |
#
# Strengths are the library's, $\lambda = 1000$ and $L_2 = 10$; two lines more write nearly exactly,
# $\lambda = 30$. Every fifth fact is asked, shares are in %; p: the new answer is more probable.
#
# **Predict.** Who still holds the facts at the end? Whose model still speaks?
#
# <details><summary>Answer</summary>
#
# Whoever keeps the keys holds the facts, with the projector or without it. And the model speaks as
# long as general text weighs enough.
#
# </details>

# %%
STREAM = runs_06.STREAM  # editors, strengths, batches, points
if stored_runs.long():
    for rows in runs_06.Lifelong(lm, runs_06.counterfact(500), STREAM).lines():
        stored_runs.save("06_lifelong", STREAM, rows)
rows = stored_runs.load("06_lifelong", STREAM)["rows"]
first = [lib.Case(lib.Fact(**fact)) for fact in rows[0]["facts"]][: 4 if SCALE == "tiny" else 50]
live = runs_06.Lifelong(lm, first, STREAM | {"batch": len(first)})
for name in ("MEMIT", "AlphaEdit"):  # the first batch of either
    mine, own = next(live.line(name)), [row for row in rows if row["line"] == name]
    if SCALE == "small":
        stored_runs.begins_with(own, [mine], ["change", "size", "sigma"], tolerance=0.005)
show.Table(runs_06.ends(rows))

# %%
x, held = runs_06.over(rows)
for name in ("AlphaEdit", "projector only"):  # with 95 % intervals, of 100 facts
    ends = [f"{100 * end:.0f}" for end in wilson(round(held[name][-1]), 100)]
    print(f"{name}: {held[name][-1]:.0f} % (95 %: {' to '.join(ends)})")
runs_06.curves(x, held)

# %% [markdown]
# Dashes keep nothing, full lines keep keys; MEMIT's (blue) lie right under the projector's (brown).
# **It is the kept keys**: 83 of a hundred facts are held with them, 64 without, and the projector
# changes neither number. Nobody collapses: perplexity grows 1.13 to 1.19 times. What hurts the model
# is a small $\lambda$: 1.43 and 1.66 times, and there kept keys hold more facts (62 against 39) but
# cost more text. ROME, one layer and one fact at a time, is worst: 63 after 150.
#
# ## Seen coming?
#
# Questions after each batch are slow, norms of the edited matrices cost nothing:
# $\|\Delta W\|/\|W_0\|$ (change), $\|W\|/\|W_0\|$ (size), $\sigma_\max(W)/\sigma_\max(W_0)$
# (sigma). When has one moved by more than a tenth? **Predict.** Which first, and what does it tell?
#
# <details><summary>Answer</summary>
#
# The change moves at once, in everybody: it says only that something was written. The largest
# singular value stays where it was until directions pile up.
#
# </details>

# %%
show.Table(runs_06.warnings(rows, 0.9, 1.1))

# %% [markdown]
# The change is no warning, the size a vague one. $\sigma_\max$ tells them apart: at $\lambda = 30$
# it has jumped to 1.61 times after 100 edits, four hundred before the perplexity shows it, while
# the four others stay below 1.03. It warned of ROME too: out at 25, when every fact still held.
#
# ## Exercise: a bound on the damage
#
# You know the eigenvalues of $C$, and that an update has $\|\Delta\|_F \le s$. A mean damage
# $\mathbb{E}\|\Delta k\|^2$ of at most $b$ over text is allowed. How many directions may the "null
# space" have, at most, so that this is *guaranteed*, whatever the update?


# %%
def directions(values, s, b):  # eigenvalues, ascending -> how many of the lowest
    return "not attempted"


# %%
print(checks_06.directions(directions))

# %% [markdown]
# ## What we know now
#
# * With kept keys batch after batch equals one batch. They hold the facts; the projector does not.
# * No direction of a real layer is free of text: a threshold bounds the damage, $\tau \|\Delta\|^2$.
# * What keeps the model speaking is the weight on general text. $\sigma_\max$ warns when it is too
#   small.
#
# ## Where it breaks
#
# The damage was never zero. Write every odd subject of the classroom alone. How much lands
# elsewhere, in shares of what arrives at its own key? In the last two lines the even subjects are
# kept keys.

# %%
odd, even = K[:, 1::2], K[:, ::2]
ways = {
    "equality": lambda k: memory.reach(k, general),
    "MEMIT": lambda k: memory.reach(k, general, 1000.0),
    "projector only": lambda k: memory.reach_null(k, space.Q, 10.0),
    "MEMIT, kept keys": lambda k: memory.reach(k, general, 1000.0, even),
    "AlphaEdit": lambda k: memory.reach_null(k, space.Q, 10.0, even),
}
show.Table(runs_06.lands(ways, odd, even, general.C))

# %% [markdown]
# Kept keys bring what lands on the even subjects from 0.049 down to 0.009, with a projector or
# without. On text the projector does no better than $C^{-1}$ (0.021 against 0.017), which is the
# best direction there is. And the other odd subjects, of whom nobody told the solver, hear nearly
# as much as before. **Damage is never zero: why?** Because keys overlap, and we cannot keep those
# that we do not know. How many can a layer tell apart? [Notebook 07](07_superposition.ipynb) counts.
#
# ## References
#
# * Fang et al.: *AlphaEdit*, 2025, [arXiv:2410.02355](https://arxiv.org/abs/2410.02355).
# * Liu et al., 2026: NAS, [arXiv:2602.02543](https://arxiv.org/abs/2602.02543).
# * Ma et al., 2025: PRUNE, [arXiv:2405.16821](https://arxiv.org/abs/2405.16821).
# * Gu et al., 2024: RECT, [arXiv:2401.04700](https://arxiv.org/abs/2401.04700).
