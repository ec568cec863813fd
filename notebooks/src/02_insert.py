# %% [markdown]
# <!-- badge -->
#
# # 02 · What does writing one pair cost the others?
#
# A plain outer product moves nearly every pair of the memory. At the end of this page you know the
# change that moves them least, and can say whom it will disturb before it is made.
#
# **You will** derive the cheapest way to write one pair · see how much of it lands on other keys,
# on paper and in a real layer · find out what the sheep did to the sheepdog, and who pays.
#
# **Needs** [notebook 01](01_linear_memory.ipynb): $C$, whitening, and its last page.
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
import numpy as np
import torch

import lib
from lib import memory, plot, widgets
from notebooks.support import checks_02_insert as checks_02
from notebooks.support import models, show, stored_runs
from notebooks.support import runs_02_insert as runs_02

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


# %% [markdown]
# ## The cheapest way to write one pair
#
# The memory $W$ is in use. For it to answer a key $k$ with $v$, a change $\Delta$ has to supply
# what is missing there, the **residual** $\delta = v - Wk$. What it does to the other pairs we
# cannot list, but the second moment $C$ of their keys gives the mean over text,
# $\mathbb{E}\|\Delta k'\|^2 = \mathrm{tr}(\Delta C \Delta^\top)$. So:
#
# $$\min_\Delta\ \mathrm{tr}(\Delta C \Delta^\top) \quad\text{subject to}\quad \Delta k = \delta .$$
#
# Any other change that writes the pair is $\Delta + H$ with $Hk = 0$, and costs
# $\mathrm{tr}(\Delta C \Delta^\top) + 2\,\mathrm{tr}(\Delta C H^\top) + \mathrm{tr}(H C H^\top)$.
# The middle term vanishes for every such $H$ if $\Delta C = m k^\top$ for some vector $m$, because
# then $\Delta C H^\top = m (Hk)^\top = 0$. The constraint fixes $m$:
#
# $$\Delta = \frac{\delta\,(C^{-1}k)^\top}{q}, \qquad q = k^\top C^{-1} k .$$
#
# An outer product with the *whitened* key. First downhill in small steps, then the library:

# %%
d = 8
L = normal(d, d)
C, W, k, v = L @ L.T / d + 0.1 * torch.eye(d), normal(5, d), normal(d), normal(5)
slow = torch.outer(v - W @ k, k) / (k @ k)  # writes the pair, at any price
for _ in range(5000):
    step = 0.05 * slow @ C  # downhill on tr(Δ C Δᵀ) …
    slow -= step - torch.outer(step @ k, k) / (k @ k)  # … keeping Δ k
A, B = memory.insert(W, k, v, C)  # Δ = A B, factors (5, 1) and (1, 8)
assert torch.allclose(slow, A @ B) and torch.allclose((W + A @ B) @ k, v)

# %% [markdown]
# ## What lands on another key
#
# Its cost, $\|\delta\|^2\, k^\top C^{-1} C\, C^{-1} k/q^2 = \|\delta\|^2/q$, is an average. Whom
# does it hit? Apply the insert at $k_i$ to a key $k_j$:
#
# $$\Delta_i k_j = \rho(i, j)\,\delta_i, \qquad
# \rho(i, j) = \frac{k_i^\top C^{-1} k_j}{k_i^\top C^{-1} k_i} .$$
#
# One number per pair of keys, the **interference**: the share of edit $i$'s residual that lands on
# key $j$. With the plain outer product $\delta k^\top/\|k\|^2$ it was $k_i^\top k_j / \|k_i\|^2$.
#
# **Predict.** Notebook 01's keys in 256 dimensions, $C$ with eigenvalues 1, ½, ⅓, … How large is
# either share, in the root mean square over many pairs?
#
# <details><summary>Work it out</summary>
#
# The average cost says $\mathbb{E}_j\,\rho(i, j)^2 = 1/q_i$, and
# $\mathbb{E}\,q = \mathrm{tr}(C^{-1}C) = d$, so $\rho$ is about $1/\sqrt{d}$. The plain share is
# $1/\sqrt{d_\text{eff}}$: raw keys crowd into 23 dimensions, whitened ones use all 256.
#
# </details>

# %%
d = 256
L = torch.linalg.qr(normal(d, d)).Q * torch.arange(1, d + 1).double() ** -0.5
K = L @ normal(d, 500)
C = K @ K.T / 500  # the second moment of exactly these keys
inverse, rho, q = torch.linalg.inv(C), memory.interference(K, C), (K * memory.whiten(K, C)).sum(0)
for i in range(30):
    for j in range(30):
        k, other = K[:, i], K[:, j]
        assert abs(k @ inverse @ other / (k @ inverse @ k) - rho[i, j]) < 1e-9
assert torch.allclose(q[:, None] * rho, (q[:, None] * rho).T)  # ρ(i, j) q_i = ρ(j, i) q_j
assert torch.allclose(rho.pow(2).mean(1), 1 / q)  # the mean over the sample that made C
for way, shares in {"outer product": memory.interference(K), "insert": rho}.items():
    print(f"{way}: root mean square of the share that lands {shares.pow(2).mean().sqrt():.3f}")

# %% [markdown]
# That is 1/√23 (nearly) and 1/√256. $\rho$ is not symmetric: an edit whose key is short after
# whitening has a small $q_i$, needs a large $\Delta$, and lands everywhere.
#
# ## One after another
#
# Now $T$ pairs in a row: $W_t = W_{t-1} + \delta_t (C^{-1}k_t)^\top / q_t$, where
# $\delta_t = v_t - W_{t-1} k_t$ is missing at that time. Step $j$ makes the output at $k_j$ exactly
# $v_j$; any step adds $\rho(t, j)\,\delta_t$. So wrong in the end is what **later** steps let
# through, and what edit $t$ has to write is what earlier steps have left to do:
#
# $$W_T k_j - v_j = \sum_{i > j} \rho(i, j)\,\delta_i, \qquad
# \delta_t = v_t - W_0 k_t - \sum_{s < t} \rho(s, t)\,\delta_s .$$
#
# The second is a triangular system: solve it, and all $T$ steps are known at once.
#
# **Predict.** Written together, 128 random pairs in 256 dimensions would be perfect (notebook 01).
# Written one after another, which is worst off in the end, and how wrong is it?
#
# <details><summary>Work it out</summary>
#
# The first: 127 later edits pass over it, in unrelated directions, each with $\rho^2 \approx 1/d$
# of a residual's square. They add up to $(T - j)/d$: half wrong. The last is exact.
#
# </details>

# %%
T, C = 128, L @ L.T
K, V, W = L @ normal(d, T), normal(64, T), torch.zeros(64, d).double()
residuals, reach = memory.lifelong(W, K, V, C)  # all at once, from W₀ = 0
for t in range(T):
    A, B = memory.insert(W, K[:, t], V[:, t], C)
    W = W + A @ B
assert torch.allclose(W, residuals @ reach)
assert torch.allclose(W @ K - V, residuals @ memory.interference(K, C).tril(-1))  # i > j
wrong = (W @ K - V).pow(2).sum(0) / residuals.pow(2).sum(0).mean()
for i in range(0, T, 32):
    expected = (T - i - 16.5) / d
    print(f"pairs {i + 1} to {i + 32}: {wrong[i : i + 32].mean():.2f}, expected {expected:.2f}")

# %% [markdown]
# In shares of a mean squared residual. What was written first pays for all the rest.
#
# ## A real layer
#
# Now real subjects at ROME's layer, and $C$ from general text. The lines compare all of the
# classroom; the figure shows five subjects of each of four questions, and ten **openers**,
# subjects of one token that open their prompt ("China is a …").
#
# **Predict.** Who hears an edit best: a subject of the same question, one with the same answer, or
# one that is spelled alike (Danish, the Danube)?
#
# <details><summary>Answer</summary>
#
# Those that are spelled alike, then those of the same question; a shared answer hardly counts. An
# early layer, it seems, knows the word's pieces and the kind of thing, and has looked up nothing.
#
# </details>

# %%
lm = models.load(SCALE)
editor = lib.EDITORS["rome"](lm)
layer = editor.config.layer
name, moment = lm.mlp_out(layer), lib.second_moment(lm, [layer])[layer]
question, first, ordinary = {c.fact: c.relation for c in lib.classroom()}, [], []
for fact in question:  # at which token is the subject's key read?
    (ordinary if lib.data.facts.lookup(lm.tokenizer, fact)[1] else first).append(fact)


def keys(facts):
    return lm.keys(facts, layer).cpu().double()  # (d_in, n)


K, n = keys(ordinary), len(ordinary)
rho, quiet = memory.interference(K, moment).abs(), 1 / (K * moment.solve(K)).sum(0)
print(f"root mean square of ρ on the tokens of general text: {quiet.mean().sqrt():.3f}")
for shared, pairs in runs_02.groups(ordinary, question).items():  # (n, n), True or False
    size, (i, j) = rho[pairs].pow(2).mean().sqrt(), divmod((rho * pairs).argmax().item(), n)
    most = f"{ordinary[i].subject} → {ordinary[j].subject} {rho[i, j]:.2f}"
    print(f"on a subject that shares {shared}: {size:.3f}, most {most}")
some = []
for one in ("young of", "home country of the language", "state of city", "located in the city of"):
    some += [fact for fact in ordinary if question[fact] == one][:5]
some += first[:10]
rho, subjects = memory.interference(keys(some), moment), [fact.subject for fact in some]
axes = "key j, where it lands", "edit i", "ρ(i, j), share of the residual that lands"
plot.heatmap(rho, subjects, subjects, *axes, center=0, limits=(-1, 1))

# %% [markdown]
# Rows write, columns receive. Blocks are questions: animals hear each other, languages even more.
# The last block is no question at all: openers share one key almost entirely. At the first
# position such a model keeps hardly any word but an **attention sink**, a place for attention to
# rest (Xiao et al., 2024). Who edits one of them edits them all; the lines leave them out.
#
# Letters are in front (0.20: Sweden is heard by the Swedish language), then the question (0.16). A
# shared answer adds next to nothing (0.07 against 0.06). And all of it is far above general text,
# 0.02: to this layer, names in a sentence are alike.
#
# ## Does the model keep to it?
#
# So far this is arithmetic about one matrix. Now an edit by ROME, from notebook 00: the young of a
# sheep became a puppy, and a list of animals ended with a riddle. ROME reads the key in several
# contexts and writes two columns (notebook 04), so two shares land: `memory.change`. We ask
# *before* the edit what it will add to the layer's output at every token of other prompts.
#
# **Predict.** How far will prediction and measurement be apart? And what in it could tell that of
# all animals the *sheepdog* will move most?
#
# <details><summary>Answer</summary>
#
# By rounding only: the edited layer is linear, and its keys come from below, where nothing changed.
# As to the sheepdog: every token is a key, and is read by the layers above. What is it made of?
#
# </details>

# %%
sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
animals = "goat ram sheepdog cow horse pig dog cat bear lion duck whale kangaroo frog car".split()
neighbors = [lib.Fact(animal, sheep.prompt, "puppy") for animal in animals]
update, patch, k, rows = editor.update(sheep)[0], editor.edit([sheep]), keys([sheep]), []
for fact in neighbors + ordinary[::12]:
    inputs, before, base = runs_02.look(lm, name, fact)  # keys (d_in, tokens), outputs, next token
    predicted = memory.change(update, inputs)  # (d_out, tokens)
    with lm.patched(patch):
        _, after, edited = runs_02.look(lm, name, fact)
    error = (after - before - predicted).norm() / predicted.norm()
    assert error < 1e-4 or lm.dtype != torch.float32
    rho = memory.interference(k, moment, torch.cat([keys([fact]), inputs.double()], 1))[0].tolist()
    row = {"animal": fact.subject, "ρ at its last token": rho[0], "largest ρ in prompt": max(rho)}
    rows.append(row | {"KL (nats)": (base.exp() * (base - edited)).sum().item()})
widgets.InterferenceExplorer(lm, [sheep, *neighbors], 0, animals.index("sheepdog") + 1, editor)

# %% [markdown]
# Left, the whitened keys of sheep and sheepdog: $\rho$ is where the dashed line meets the sheep's.
# Right, one dot per animal, all on the diagonal; at every token of these and of unrelated prompts
# the loop found the same, to rounding. But at *its last token* the sheepdog hears less than the
# cow, and still its "puppy" gains most. So look at all tokens of each prompt:

# %%
show.Table(sorted(rows[: len(animals)], key=lambda row: -row["KL (nats)"]))

# %% [markdown]
# The sheepdog's tokens are *sheep* and *dog*: the edited key itself stands in its prompt,
# $\rho = 1$, while its last token hears only 0.14. Cow and goat follow, with 0.47. Below them the
# order is loose: the whale hears 0.36 and hardly moves. The ram, another word, moves least.
#
# ## How much of the harm does it explain?
#
# The stored run writes 3 × 30 facts by ROME, one after another. After every edit $t$ it notes, for
# each fact $j$ written before, what lands, $|\rho(t, j)|\,\|\delta_t\|$, and how $\log p$ of its
# answer changes.
#
# **Predict.** How much of the variance of these changes does what lands explain?
#
# <details><summary>Answer</summary>
#
# Little. A fact held with probability 0.99 does not mind a push, unless it is a large one.
#
# </details>

# %%
SETTINGS = {"editor": "rome", "layer": 3, "streams": 3, "edits": 30, "cases": "odd classroom ids"}
if stored_runs.long():
    streams = [runs_02.stream(editor, i, SETTINGS["edits"]) for i in range(SETTINGS["streams"])]
    stored_runs.save("02_interference", SETTINGS, [row for rows in streams for row in rows])
rows, live = (
    stored_runs.load("02_interference", SETTINGS)["rows"],
    list(runs_02.stream(editor, 0, 2)),
)
if SCALE == "small":
    stored_runs.begins_with(rows, live, list(live[0]), tolerance=0.05)

every, x, y = np.array(runs_02.earlier(rows)), {}, {}
parts = {"ordinary edits": every[every[:, 3] == 0], "openers": every[every[:, 3] == 1]}
for part, pairs in {"all edits": every, **parts}.items():
    r2, low, high = runs_02.explained(*pairs[:, 1:3].T, units=pairs[:, 0])
    print(f"{part}: {len(pairs)} pairs, R² = {r2:.3f}, 95 % over facts {low:.3f} to {high:.3f}")
    x[part], y[part] = pairs[pairs[:, 1].argsort(), 1:3].T
del y["all edits"]
axes = "what lands, |ρ|·‖δ‖ (length of a change of the layer's output)", "change of log p (nats)"
figure = plot.lines(x, y, *axes)
for line in figure.axes[0].lines:
    line.set(marker="o", linestyle="none", markersize=3)
figure

# %% [markdown]
# Every dot is an edit and an earlier fact. Over all of them, what lands explains 0.23 of the
# variance (0.09 to 0.46), mostly by the eight edits of openers. Among ordinary ones it is 0.006
# (0 to 0.03): there is hardly any harm to explain. Even where half a residual lands (27), nothing
# happens.
#
# ## Exercise: in which order?
#
# Twenty edits are given by their interference, their residuals $v_j - W_0 k_j$ and their $q$. Find
# an order that does less damage, $\sum_j \|W_T k_j - v_j\|^2$, than the one given.
#
# <details><summary>A hint</summary>
#
# Take two edits alone: the earlier one gets $\rho^2 \|\delta\|^2$ from the later. When is it better
# to swap them? Remember $\rho(i, j)\,q_i = \rho(j, i)\,q_j$.
#
# </details>


# %%
def order(rho, residuals, q):  # (20, 20), (d_out, 20), (20,) -> a list of the numbers 0 to 19
    return "not attempted"


# %%
print(checks_02.order(order))

# %% [markdown]
# ## What we know now
#
# * The cheapest change that writes a pair is $\delta\,(C^{-1}k)^\top / q$; $\rho(i, j)$ of it lands
#   on key $j$, in a real layer too. In a row, every fact collects what later ones let through.
# * All of this is known beforehand. What harm it does is decided in the layers above.
#
# ## Where it breaks
#
# Every token of a prompt is a key, in every layer; the sheepdog has shown what that means. We took
# one, the subject's last token in an early layer, and never said why. **Where is the key, in a
# transformer?** [Notebook 03](03_where.ipynb) asks the model.
#
# ## References
#
# * Meng et al.: *Locating and Editing Factual Associations in GPT*, 2022: the insert.
# * Xiao et al.: *Efficient Streaming Language Models with Attention Sinks*, 2024,
#   [arXiv:2309.17453](https://arxiv.org/abs/2309.17453).
# * Hu et al.: *Knowledge in Superposition*, 2024,
#   [arXiv:2408.07413](https://arxiv.org/abs/2408.07413): $\rho$, there called P, and the sum.
