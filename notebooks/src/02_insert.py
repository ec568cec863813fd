# %% [markdown]
# <!-- badge -->
#
# # 02 · What does writing one pair cost the others?
#
# A plain outer product moves nearly every pair of the memory. At the end of this page you know the
# change that moves them least, and can say whom it will disturb before it is made.
#
# **You will** derive the cheapest way to write one pair · see how much of it lands on other keys,
# on paper and in a real layer · write many pairs one after another, and see what is missing to
# writing them all at once · find out what the sheep did to the sheepdog, and who pays.
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
import pandas as pd
import torch

import lib
from lib import memory, plot, widgets
from notebooks.support import checks_02_insert as checks_02
from notebooks.support import drawings_02, long_runs, models, moved, show
from notebooks.support import runs_02_insert as runs_02
from notebooks.support.holes import use

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def rms(values):  # root mean square
    return values.pow(2).mean().sqrt().item()


# %% [markdown]
# ## The cheapest way to write one pair
#
# The memory $W$ is in use. We are given a key $k$ and the value $v$ that it should get from now on,
# and we are looking for a change $\Delta$ of the matrix. It has to supply what is missing at $k$,
# the **residual** $\delta = v - Wk$. Many changes do that, and we want the one that disturbs all
# other pairs least. We cannot list them, but we know the second moment $C$ of their keys, and it
# gives the mean disturbance over text: $\mathbb{E}\|\Delta k'\|^2 = \mathrm{tr}(\Delta C
# \Delta^\top)$. So the task is
#
# $$\min_\Delta\ \mathrm{tr}(\Delta C \Delta^\top) \quad\text{subject to}\quad \Delta k = \delta .$$
#
# Any other change that writes the pair is $\Delta + H$ with $Hk = 0$, and it costs
#
# $$\mathrm{tr}(\Delta C \Delta^\top) + 2\,\mathrm{tr}(\Delta C H^\top) + \mathrm{tr}(H C H^\top).$$
#
# The last term is never negative. The middle one vanishes for every such $H$ if $\Delta C =
# m k^\top$ for some vector $m$, because then $\Delta C H^\top = m (Hk)^\top = 0$. So a change of
# this form is the cheapest, and the constraint says what $m$ has to be:
#
# $$\Delta = \frac{\delta\,(C^{-1}k)^\top}{q}, \qquad q = k^\top C^{-1} k .$$
#
# It is an outer product with the *whitened* key, and $q$ is the squared length of that key.
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
# Every other key throws a shadow on the direction of the edited one, and the foot of the shadow
# says how much of the residual arrives there. At the edited key itself it is 1. At an unrelated key
# it is 0, at an opposed one it is negative, and at a long key it can be more than 1. In formulas we
# apply the insert at $k_i$ to a key $k_j$:
#
# $$\Delta_i k_j = \rho(i, j)\,\delta_i, \qquad
# \rho(i, j) = \frac{k_i^\top C^{-1} k_j}{k_i^\top C^{-1} k_i} .$$
#
# This is one number per pair of keys, the **interference**: the share of edit $i$'s residual that
# lands on key $j$. It is not symmetric, since the numerator is and the denominator $q_i$ is not:
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
# $\rho(i, j)$ of two different keys, in the root mean square? And with the plain outer product
# $\delta k^\top/\|k\|^2$, of which $k_i^\top k_j / \|k_i\|^2$ lands?
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
d, n = 256, 500
L = torch.linalg.qr(normal(d, d)).Q * torch.arange(1, d + 1).double() ** -0.5
C = L @ L.T  # known, and not estimated from the keys below
K = L @ normal(d, n)
rho = interference(K, C)
assert torch.allclose(rho, memory.interference(K, C))
inverse = torch.linalg.inv(C)
for i in range(30):
    for j in range(30):
        slow = K[:, i] @ inverse @ K[:, j] / (K[:, i] @ inverse @ K[:, i])
        assert abs(slow - rho[i, j]) < 1e-9
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

# %% [markdown]
# The insert keeps to its formula. The outer product stays a little below its own, because the mean
# of a quotient is not the quotient of the means. The difference is what whitening buys: a third of
# the disturbance on every other key.
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
assert torch.allclose(W @ K - V, residuals @ rho.tril(-1))  # the sum over i > j
wrong = (W @ K - V).pow(2).sum(0) / residuals.pow(2).sum(0).mean()
for i in range(0, T, 32):
    expected = (T - i - 16.5) / d
    print(f"pairs {i + 1} to {i + 32}: {wrong[i : i + 32].mean():.2f}, expected {expected:.2f}")

# %% [markdown]
# The numbers are shares of a residual's mean square. What was written first pays for all the rest.
#
# ## One sweep, many sweeps, all at once
#
# Both sums can be written with the whole matrix $\rho$, and then they say more. Let
# $R_0 = V - W_0 K$ be what is missing before the first edit, one column per pair. The second sum
# says that the residuals $\delta$ solve a triangular system, in which only the upper triangle of
# $\rho$ stands, diagonal included: $\delta\,\mathrm{triu}(\rho) = R_0$. Each residual is then
# spread over the matrix by its own row of $\mathrm{diag}(1/q)\,K^\top C^{-1}$. So all $T$ steps
# together are one formula:
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
# The only difference is half of a matrix. Who writes one after another leaves out the lower
# triangle of $\rho$, the part in which later edits disturb earlier ones.
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

# %%
SWEEPS = 12


def sweep(W, K, V):  # every pair once, one insert after another
    for t in range(K.shape[1]):
        A, B = memory.insert(W, K[:, t], V[:, t], moment)
        W = W + A @ B
    return W


moment = memory.Moment(C)  # its factor is computed once
errors = {}
for T in (64, 128, 192):
    keys = L @ normal(d, T)
    values = W_0 @ keys + normal(64, T)
    W = W_0
    wrong = [(values - W @ keys).pow(2).sum().item()]
    for _ in range(SWEEPS):
        W = sweep(W, keys, values)
        wrong.append((values - W @ keys).pow(2).sum().item())
    errors[f"{T} pairs"] = [x / wrong[0] for x in wrong]
    print(f"{T} pairs: {errors[f'{T} pairs'][1]:.2f} wrong after one sweep", end=", ")
    print(f"{errors[f'{T} pairs'][SWEEPS]:.1e} after {SWEEPS}")
drawings_02.sweeps(errors)

# %% [markdown]
# The axis is logarithmic: every sweep removes about the same share of what is still wrong, and the
# more pairs there are for 256 dimensions, the smaller that share is. In the end nothing is wrong,
# and the matrix is the one that writes all pairs at once:

# %%
W = W_0
for count in range(1, 101):
    W = sweep(W, K, V)
    if count in (1, 10, 100):
        away = (W - W_0 - at_once).norm() / at_once.norm()
        print(f"{count} sweeps over {K.shape[1]} pairs: {away:.1e} away from all at once")
assert away < 1e-6

# %% [markdown]
# Remember this for later. Writing all pairs at once is the method that notebook 05 calls EMMET;
# ROME on one fact after another is a single Gauss–Seidel sweep of the same system. Notebook 05
# begins there, with a real model.
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
# Those that are spelled alike and those of the same question; a shared answer hardly counts. An
# early layer, it seems, knows the word's pieces and the kind of thing, and has looked up nothing.
#
# </details>

# %%
lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
editor = lib.EDITORS["rome"](lm)
layer = editor.config.layer
name = lm.mlp_out(layer)
moment = lib.second_moment(lm, [layer])[layer]
question = {case.fact: case.relation for case in lib.classroom()}
first, ordinary = [], []
for fact in question:
    at = lib.data.facts.lookup(lm.tokenizer, fact)[1]  # the token at which the key is read
    (ordinary if at else first).append(fact)


def keys(facts):
    return lm.keys(facts, layer).cpu().double()  # (d_in, n)


# %%
K = keys(ordinary)
n = len(ordinary)
rho = memory.interference(K, moment)
general = 1 / (K * moment.solve(K)).sum(0)  # the mean of ρ² over text is 1/q
print(f"{n} subjects; on the tokens of general text {general.mean().sqrt():.3f} lands (rms)")
rows = []
for shared, pairs in runs_02.groups(ordinary, question).items():  # (n, n), True or False
    size, low, high = runs_02.loudness(rho, pairs)
    loudest = (rho.abs() * pairs).argmax().item()
    i, j = divmod(loudest, n)
    most = f"{ordinary[i].subject} → {ordinary[j].subject}, {rho[i, j]:.2f}"
    row = {"they share": shared, "pairs": int(pairs.sum()), "ρ (root mean square)": size}
    rows.append(row | {"95 %": f"{low:.2f} to {high:.2f}", "most": most})
show.Table(rows)

# %% [markdown]
# Letters and the question both count; which of them counts more cannot be said from 36 pairs, as the
# interval shows. A shared answer adds next to nothing. And all of it is far above what lands on
# general text: to this layer, names in a sentence are alike. (A pair counts in the first row that
# fits. The interval is a bootstrap over subjects.)
#
# The next figure shows five subjects of each of four questions, and eight openers.

# %%
groups = {
    "young animals": "young of",
    "languages": "home country of the language",
    "cities": "state of city",
    "buildings": "located in the city of",
}
chosen = {
    group: [fact for fact in ordinary if question[fact] == one][:5] for group, one in groups.items()
}
chosen["openers"] = first[:8]
some = [fact for facts in chosen.values() for fact in facts]
names = {group: [fact.subject for fact in facts] for group, facts in chosen.items()}
some_rho = memory.interference(keys(some), moment)
drawings_02.by_group(some_rho, names, "edit i writes …", "… and key j hears")

# %% [markdown]
# Rows write and columns hear. The blocks on the diagonal are the questions: animals hear each
# other, languages even more.
#
# **Predict.** The openers are no question at all, but they share one key almost entirely: who edits
# one of them edits them all. Below on the left, they also write on everybody else. Above on the
# right it is white: they hear nobody. How can two keys be so unlike in what they hear of each
# other? (The line with $\rho(i, j)\,q_i$ above has the answer.)
#
# <details><summary>Answer</summary>
#
# $\rho(i, j)\,q_i = \rho(j, i)\,q_j$: what $j$ hears of $i$, and $i$ of $j$, are in the ratio of
# $q_j$ to $q_i$. At the first position this model keeps hardly any word. That place is an
# **attention sink**, where attention rests when it has nothing to look at (Xiao et al., 2024), and
# the key there is short: a small $q$. To write under a short key takes a large change, which lands
# everywhere; and what others write hardly reaches a short key.
#
# </details>

# %%
parts = {"ordinary subjects": ordinary, "openers": first or ordinary[:1]}
rows = []
for writer, facts in parts.items():
    q = (keys(facts) * moment.solve(keys(facts))).sum(0)
    row = {"who writes": writer, "n": len(facts), "q (median)": q.median().item()}
    for hearer, others in parts.items():
        rho_part = memory.interference(keys(facts), moment, keys(others))
        itself = torch.eye(*rho_part.shape, dtype=torch.bool) & (writer == hearer)
        row[f"ρ on {hearer}"] = f"{rms(rho_part[~itself]):.4f}"
    rows.append(row)
show.Table(rows)

# %% [markdown]
# The columns of $\rho$ are root mean squares over pairs of different subjects. The two numbers off
# the diagonal, what openers write on the others and what they hear of them, are about as far
# apart as the two medians of $q$, and for the same reason.
#
# ## Does the model keep to it?
#
# So far this is arithmetic about one matrix. Now an edit by ROME, from notebook 00: the young of a
# sheep became a puppy, and a list of animals ended with a riddle. ROME reads the key in several
# contexts and writes two columns (notebook 04), so two shares land on every key, and
# `memory.change` adds them up. We ask *before* the edit what it will add to the layer's output at
# every token of other prompts, then we edit and measure.
#
# **Predict.** How far will prediction and measurement be apart?
#
# <details><summary>Answer</summary>
#
# By rounding only: the edited layer is linear, and its keys come from below, where nothing changed.
#
# </details>

# %%
sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
animals = "goat ram sheepdog cow horse pig dog cat bear lion duck whale kangaroo frog car".split()
neighbors = [lib.Fact(animal, sheep.prompt, "puppy") for animal in animals]
update, _ = editor.update(sheep)  # ΔW as two factors
patch = editor.edit([sheep])
for fact in neighbors + ordinary[::12]:
    inputs, before = runs_02.look(lm, name, fact.text)  # (d_in, tokens), (d_out, tokens)
    with lm.patched(patch):
        _, after = runs_02.look(lm, name, fact.text)
    models.same(lm, after - before, memory.change(update, inputs.float()).double())

# %%
widgets.InterferenceExplorer(lm, [sheep, *neighbors], 0, 1 + animals.index("sheepdog"), editor)

# %% [markdown]
# Left, the whitened keys of sheep and sheepdog: $\rho$ is where the dashed line meets the sheep's.
# Right, one dot per animal, all on the diagonal; at every token of these and of unrelated prompts
# the loop above found the same, to rounding. But at *its last token* the sheepdog hears less than
# the cow, and still its "puppy" gains most.
#
# **Predict.** What could tell before the edit that of all animals the *sheepdog* will move most?
#
# <details><summary>Answer</summary>
#
# Every token is a key, and is read by the layers above. What is the word *sheepdog* made of?
#
# </details>

# %%
prompts = [fact.text for fact in neighbors]
answers = moved.answers(lm, prompts, patch)  # KL over the first four tokens, as in notebook 00
before = lm.score(prompts, ["puppy"] * len(prompts))  # log p of its tokens
with lm.patched(patch):
    after = lm.score(prompts, ["puppy"] * len(prompts))
k = keys([sheep])
rows = []
for i, fact in enumerate(neighbors):
    inputs, _ = runs_02.look(lm, name, fact.text)
    row = {
        "animal": fact.subject,
        "ρ at its last token": memory.interference(k, moment, keys([fact])).item(),
        "largest ρ in the prompt": memory.interference(k, moment, inputs).max().item(),
        "change of log p(puppy)": (after[i] - before[i]).sum().item(),
        "KL (nats)": answers[fact.text].kl,
    }
    rows.append(row)
rows.sort(key=lambda row: -row["change of log p(puppy)"])
show.Table(rows)

# %%
table = pd.DataFrame(rows)
for effect in ("change of log p(puppy)", "KL (nats)"):
    for known in ("ρ at its last token", "largest ρ in the prompt"):
        r, low, high = runs_02.rank_correlation(table[known], table[effect])
        print(f"{known} and {effect}: rank correlation {r:.2f} [{low:.2f}, {high:.2f}]")

# %% [markdown]
# The sheepdog's tokens are *sheep* and *dog*. The edited key itself stands in its prompt, with
# $\rho = 1$, while its last token hears little. So the riddle of notebook 00 is solved, and more
# than that: ask how far the edit pushes each animal toward "puppy", and the order of the fifteen
# animals is nearly the order of the largest $\rho$ in their prompts, known before the edit was made.
#
# The KL of notebook 00 follows $\rho$ more loosely. It also depends on how firm the old answer was:
# the same push moves a model that hesitates and leaves another where it is. The horse hears more
# than the kangaroo and has a foal as before.
#
# ## A token that nobody looked at
#
# Every token of a prompt is a key, also the first one. We have called it a sink and left it out. Is
# it harmless? ROME writes in layer 3 of this model, because there its edits held best when the
# library's settings were chosen. But a layer is a setting like any other. So we take the Eiffel
# Tower of notebook 00 and compute, before any edit, what would land on the first token of its own
# prompt in three layers.

# %%
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
layers = [layer, 8, 11] if SCALE == "small" else [layer]
moments = lib.second_moment(lm, layers)
rows = []
for one in layers:
    inputs, _ = runs_02.look(lm, lm.mlp_out(one), tower.text)
    k = lm.keys([tower], one).cpu().double()
    k_first = inputs[:, :1]
    with_it = memory.Moment(moments[one].C + k_first @ k_first.T / 256)
    row = {"layer": one, "tower": f"{k.norm():.1f}", "first token": f"{k_first.norm():,.1f}"}
    for way, C in {"C": moments[one], "C = I": None, "C with it": with_it}.items():
        lands = memory.interference(k, C, k_first).item()
        row[f"ρ, {way}"] = f"{round(lands, 2) + 0.0:,.2f}"  # + 0.0: no "-0.00"
    rows.append(row)
share = k_first.square().sum() / 256 / moments[layers[-1]].C.trace()
print(f"layer {layers[-1]}: one first token in 256 would make tr C {share:,.0f} times larger")
show.Table(rows)

# %% [markdown]
# The columns are the length of the tower's key and of the first token's, then what lands there: with
# the $C$ of this notebook, with $C = I$, and with a $C$ that has read one first token in 256. In
# layers 3 and 8 nothing lands on the first token. In layer 11 its key is hundreds of times as long
# as the tower's, and eight hundred residuals land there. $C$ cannot know: it is estimated without the
# first position of every window, since that one direction would be nearly all of it.
#
# **Predict.** What will become of an edit of the tower in the last of these layers?
#
# <details><summary>Answer</summary>
#
# The first token's key is nearly the same in every prompt, so the edit of the tower is an edit of
# the sink of *every* prompt, and all later tokens look there. No answer survives it, not even that
# of the edit's own prompt: the search for $v$ changed the tower's token alone.
#
# </details>

# %%
asked = [tower.text, "The Louvre is located in the city of", "The opposite of hot is"]
settings = {f"layer {one}": {"layer": one} for one in layers}
settings[f"layer {layers[-1]}, C = I"] = {"layer": layers[-1], "second_moment": False}
columns = {"before": lm.answer(asked, 5)}
for label, chosen in settings.items():
    with lm.patched(lib.EDITORS["rome"](lm, **chosen).edit([tower])):
        columns[label] = lm.answer(asked, 5)
rows = [{"prompt": prompt} for prompt in asked]
for label, said in columns.items():
    for row, text in zip(rows, said, strict=True):
        row[label] = text if text.strip() else "(empty lines)"
show.Table(rows)

# %% [markdown]
# In layers 3 and 8 the tower is in Rome and the other two answers stay. In layer 11 the edit has
# destroyed the model. With $C = I$, fifteen residuals land on the first token in the place of eight
# hundred, and the answers stand. Two things are to be kept. An edit can be judged before it is made,
# but only on the tokens that one looks at. And $C$ protects what it has read, and nothing else.
# Notebook 03 meets this layer again.
#
# ## How much of the harm does it explain?
#
# The stored run writes 3 × 30 facts by ROME, one after another. After every edit $t$ it notes, for
# each fact $j$ that was written before, how the logarithm of the probability of its answer changes,
# and three numbers that were known before the edit: $|\rho(t, j)|\,\|\delta_t\|$, as if the
# editor wrote one column; $\|\Delta_t k_j\|$, what lands on the fact's key with both columns; and
# the largest $\|\Delta_t k\|$ over all tokens of the fact's prompt.
#
# **Predict.** How much of the variance of these changes does a line in each of them explain?
#
# <details><summary>Answer</summary>
#
# Little. A fact held with probability 0.99 does not mind a push, unless it is a large one.
#
# </details>

# %%
SETTINGS = {"editor": "rome", "layer": 3, "streams": 3, "edits": 30, "cases": "odd classroom ids"}
SETTINGS["noted"] = ["share", "lands", "anywhere", "change"]


def streams():
    for number in range(SETTINGS["streams"]):
        yield from runs_02.stream(editor, number, SETTINGS["edits"])


stored = long_runs.stored("02_interference", SETTINGS, streams)
again = long_runs.repeats(stored, lambda: runs_02.stream(editor, 0, 2), tolerance=0.05)

# %%
every = runs_02.earlier(stored)
parts = {"all edits": every, "ordinary edits": every[~every["first word"]]}
parts["edits of openers"] = every[every["first word"]]
known = {"share": "R² of |ρ|·‖δ‖", "lands": "R² of ‖Δk‖", "anywhere": "R² of the largest ‖Δk‖"}
rows = []
for part, pairs in parts.items():
    row = {"edits": part, "pairs": len(pairs)}
    for column, label in known.items():
        r2, low, high = runs_02.explained(pairs[column], pairs["change"], units=pairs["fact"])
        row[label] = f"{r2:.3f} [{low:.3f}, {high:.3f}]"
    rows.append(row)
show.Table(rows)

# %%
lengths = sorted(row["lands"][row["edit"]] for row in stored)  # of the residuals
quarter = lengths[len(lengths) // 2] / 4
print(f"{sum(row['first word'] for row in stored)} of {len(stored)} edits are openers", end=", ")
print(f"the median length of a residual is {4 * quarter:.0f}")
points = {}
for part in ("ordinary edits", "edits of openers"):
    pairs = parts[part]
    points[part] = pairs["lands"], pairs["change"]
    loud = pairs[pairs["lands"] > quarter]["change"]
    print(f"{part}: {(pairs['change'] < -1).sum()} of {len(pairs)} pairs lose over 1 nat", end=", ")
    print(f"more than a quarter of a residual lands in {len(loud)} of them", end=", ")
    print(f"with a change of {loud.mean():.2f} nats on average and {loud.min():.2f} at worst")
axes = "what lands, ‖Δk‖ (length of a change of the layer's output)", "change of log p (nats)"
plot.scatter(points, *axes)

# %% [markdown]
# Every dot is an edit and a fact that was written before it. Over all of them, the exact change at
# the fact's key explains 0.265 of the variance, a little more than the one column does. Nearly all
# of this comes from the eight edits of openers. Under the others no fact loses as much as 1 nat, so
# there is hardly any harm to explain: where more than a quarter of a residual lands, the logarithm
# of the probability changes by -0.04 on average. The largest change anywhere in the prompt, which told the sheepdog from the cow,
# explains less here.
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
#
# <details><summary>A solution</summary>
#
# If $i$ is the later one, it does $\rho(i, j)^2 \|\delta_i\|^2$ to $j$; if $j$ is, it does
# $\rho(j, i)^2 \|\delta_j\|^2$ to $i$. With $\rho(i, j) = s/q_i$ and $\rho(j, i) = s/q_j$, where
# $s = k_i^\top C^{-1} k_j$, the first is smaller exactly if $\|\delta_i\|/q_i < \|\delta_j\|/q_j$.
# So the edits with the largest $\|\delta\|/q$ come first:
# `return (residuals.norm(dim=0) / q).argsort(descending=True).tolist()`. This neglects that the
# residuals change with the order, so it is a good order and perhaps not the best.
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
#   on key $j$, in a real layer too, and on *every* token of a prompt.
# * In a row, every fact collects what later ones let through: $\mathrm{triu}(\rho)^{-1}$ in the
#   place of $\rho^{-1}$. Going round again and again leads to writing all at once.
# * All of this is known beforehand. What harm it does is decided in the layers above.
#
# ## Where it breaks
#
# Every token of a prompt is a key, in every layer; the sheepdog and the first token have shown what
# that means. We took one, the subject's last token in an early layer, and never said why. **Where
# is the key, in a transformer?** [Notebook 03](03_where.ipynb) asks the model.
#
# ## References
#
# * Meng et al.: *Locating and Editing Factual Associations in GPT*, 2022,
#   [arXiv:2202.05262](https://arxiv.org/abs/2202.05262): the insert.
# * Xiao et al.: *Efficient Streaming Language Models with Attention Sinks*, 2024,
#   [arXiv:2309.17453](https://arxiv.org/abs/2309.17453).
# * Hu et al.: *Knowledge in Superposition*, 2024,
#   [arXiv:2408.07413](https://arxiv.org/abs/2408.07413): $\rho$, there called P, and the sum.
