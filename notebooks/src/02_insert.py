# %% [markdown]
# <!-- badge -->
#
# # 02 · What does writing one fact do to the others?
#
# At the end of this page you know the change of a memory that moves its other pairs least, and can say whom it will
# disturb before it is made.
#
# **You will** derive the cheapest way to write one pair, and write it · play with a memory of four keys ·
# forecast what many pairs in a row do to each other · find in a real layer what the sheep did to the
# sheepdog.
#
# **Needs** [notebook 01](01_linear_memory.ipynb): $C$, whitening, and its last section.
#
# **Minutes** 30 to read and 30 to work: three exercises, of [session 2](../lessons/session_2.md) and
# [session 3](../lessons/session_3.md).
#
# Run the folded cell below, and read on.

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
from IPython.display import display

import lib
from lib import associative_memory as memory
from lib.workbench import plot
from notebooks.support import drawings_02, hand_ins, long_runs, models, moved, own_fact, show
from notebooks.support import runs_02_insert as runs_02
from notebooks.support.figures import whiskers
from notebooks.support.holes import both, guess, use
from notebooks.support.sliders import Slider

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def rms(values):  # root mean square
    return values.pow(2).mean().sqrt().item()


def each(line, function):  # {line: function}; a wrong one has a line beside the solution's
    return {line + i * ", yours": f for i, f in enumerate(both(function).values())}


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
# **Your turn · exercise 2.1 · ★ · 8 minutes.** Write `insert`: the matrix after the cheapest change that sends $k$ to
# $v$. Two or three lines.


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
# Is it really the cheapest? We begin with the plain outer product, and look for a cheaper change downhill in small
# steps that keep $\Delta k$.

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
# ## What lands on another key
#
# The change costs $\|\delta\|^2\, k^\top C^{-1} C\, C^{-1} k/q^2 = \|\delta\|^2/q$. That is an average over all keys.
# *Which* keys does it hit? In whitened coordinates every other key throws a shadow on the direction of the edited one,
# which is the orange arrow. The foot of the shadow says how much of the residual arrives at that other key.
#
# The second picture has four keys on the left and the answers that a matrix gives to them on the right. The story
# buttons write an answer, mend what came along, and keep the first one while mending. Then drag any key or answer, or
# choose an editor of a later page.

# %%
display(drawings_02.shadow())
show.memory_picture()

# %% [markdown]
# At an unrelated key the share is 0, at an opposed one it is negative, and at a long key it can be more than 1. In
# formulas we apply the insert at $k_i$ to a key $k_j$:
#
# $$\Delta_i k_j = \rho(i, j)\,\delta_i, \qquad
# \rho(i, j) = \frac{k_i^\top C^{-1} k_j}{k_i^\top C^{-1} k_i} .$$
#
# This is one number per pair of keys, the **interference**: the share of edit $i$'s residual that
# arrives at key $j$. It is not symmetric, since the numerator is and the denominator $q_i$ is not:
#
# $$\rho(i, j)\,q_i = \rho(j, i)\,q_j, \qquad
# \rho(i, j)\,\rho(j, i) = \frac{(k_i^\top C^{-1} k_j)^2}{q_i\,q_j} = \cos^2\varphi_{ij},$$
#
# where $\varphi_{ij}$ is the angle between the two whitened keys. An edit at a key of small $q$, which is short once
# whitened, disturbs everybody, and such a key is disturbed by hardly anybody.
#
# **Your turn · exercise 3.1 · ★ · 5 minutes.** Write the whole matrix $\rho$ for keys that are the
# columns of $K$: row $i$ writes, column $j$ is hit.


# %%
def interference(K, C):
    """K (d_in, n), C (d_in, d_in) -> (n, n), entry [i, j] is ρ(i, j)."""
    ...


interference = use("3.1", interference)
mine = guess("Insert, 256 dimensions: which share lands on another key (rms)?", 0, 1)

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
# **Predict.** Notebook 01's keys in 256 dimensions, $C$ with eigenvalues 1, ½, ⅓, … How large is $\rho(i, j)$ of two
# different keys, in the root mean square (rms)? And with the plain outer product $\delta k^\top/\|k\|^2$, of which
# $k_i^\top k_j / \|k_i\|^2$ lands?
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
    print(f"{line}: {rms(shares[line]):.3f} lands (rms), 1/√{size:.0f} = {size**-0.5:.3f}")
mine.against(rms(rho[others]))

# %% [markdown]
# This is what whitening buys: the share that lands on another key falls to a third.
#
# ## One after another
#
# Now $T$ pairs are written in a row, each on the result of the one before: $W_t = W_{t-1} + \delta_t (C^{-1}k_t)^\top /
# q_t$, where $\delta_t = v_t - W_{t-1} k_t$ is missing at that time. Edit $t$ finds on its key what earlier edits have
# left there, and has to make up for it. With $r_t = v_t - W_0 k_t$ for what was missing before the first edit,
#
# $$\delta_t = r_t - \sum_{s < t} \rho(s, t)\,\delta_s .$$
#
# What is wrong in the end? Step $j$ makes the output at $k_j$ exactly $v_j$, whatever came before. Each step
# $i$ after it adds $\rho(i, j)\,\delta_i$ there, and nobody takes that away again:
#
# $$W_T k_j - v_j = \sum_{i > j} \rho(i, j)\,\delta_i .$$
#
# **Your turn · exercise 3.2 · ★★ · 12 minutes, in three steps.** The first two need nothing but $\rho$ and the matrix
# $R$ with the columns $r_t$: `asks` returns all $\delta_t$, and `after_all` what is wrong at every key in the end.
# The third step comes in the next section.


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
# Read the first sum as an equation for all $\delta$ at once: each $\delta_t$ plus the sum of the
# earlier ones is $r_t$. Which half of $\rho$ stands in it, and which half in the second sum?
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
# **Predict.** Written together, 128 random pairs in 256 dimensions would be perfect (notebook 01). Written one after
# another, which is worst off in the end? Which has most to write?
#
# <details><summary>Work it out</summary>
#
# The first is worst off: 127 later edits pass over it, in unrelated directions, each with $\rho^2 \approx 1/d$
# of a residual's square. They add up to $(T - j)/d$ for pair $j$: in the mean square, nearly half of a
# residual is wrong at the first pair. The last is exact. But on average it is the last that has most to write: its
# own residual, and what 127 others have left on its key.
#
# </details>
#
# The figure writes $T$ pairs with your `insert`, one by one, and sets your forecast beside it. Move $T$.


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


def size(
    columns,
):  # mean squares of sixteen neighbors in the row, as a share of what was missing at first
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
    axes = "place in the row", "mean square, in units of a residual's"
    return plot.lines(range(8, T, 16), lines, *axes, ylim=(0, 2.2), colors=colors, dashes=dashes)


Slider(in_the_end, "T", range(32, most + 1, 16), 128)

# %% [markdown]
# Every fact is disturbed by all that come after it, so the first ones are worst off. And the last ones have to write
# more than was missing at first, because they write against what the others have left on their keys. This is one draw
# of pairs, and the lines are not smooth. When the row gets nearly as long as the layer is wide, what is left to write
# grows quickly.
#
# ## One sweep, many sweeps, all at once
#
# The first sum says that the residuals solve a triangular system, in which only the upper triangle of $\rho$
# stands, diagonal included: $\delta\,\mathrm{triu}(\rho) = R$. Each residual is then spread over the matrix by
# its own row of $\mathrm{diag}(1/q)\,K^\top C^{-1}$. So all $T$ steps together are one formula:
#
# $$\textbf{one after another:}\quad
# \Delta W = R\ \mathrm{triu}(\rho)^{-1}\ \mathrm{diag}(1/q)\,K^\top C^{-1} .$$
#
# What would be the cheapest change that writes *all* pairs? The argument of the first section works
# for many columns as well: now $HK = 0$, and $\Delta C = M K^\top$ with one column of $M$ per pair.
# The constraint $\Delta K = R$ gives $\Delta = R\,(K^\top C^{-1} K)^{-1} K^\top C^{-1}$. Since
# $K^\top C^{-1} K = \mathrm{diag}(q)\,\rho$, this is
#
# $$\textbf{all at once:}\quad
# \Delta W = R\ \rho^{-1}\ \mathrm{diag}(1/q)\,K^\top C^{-1} .$$
#
# The only difference is half of a matrix. Writing one after another leaves out the lower triangle of
# $\rho$, the part in which later edits disturb earlier ones. All at once, every value arrives exactly.
#
# **Exercise 3.2, the third step.** Write the whole row as one formula. It may call `asks`.


# %%
def in_a_row(W, K, V, C):
    """W (d_out, d_in), K (d_in, T), V (d_out, T), C (d_in, d_in) -> W_T (d_out, d_in)."""
    ...


in_a_row = use("3.2", in_a_row)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $\rho$ and $q$ can both be read from $K^\top C^{-1}K$. The rest of the line is a product of what `asks`
# returns with a matrix that you have as well.
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
# **Predict.** After the last pair we begin again with the first, and write all of them once more, and again. Does
# that come to rest, and where?
#
# <details><summary>Work it out</summary>
#
# Let $x_t$ be the sum of all residuals that pair $t$ has got so far. In sweep $s$, the insert at
# $k_t$ makes the output there exact, with the pairs before it already in sweep $s$ and those
# after it still in sweep $s - 1$. Written for all pairs, with $X$ for the columns $x_t$:
# $X_s\,\mathrm{triu}(\rho) + X_{s-1}\,\mathrm{tril}(\rho, -1) = R$. Where it comes to rest,
# $X_s = X_{s-1} = X$ and $X \rho = R$: that is *all at once*.
#
# This is the **Gauss–Seidel** method for the linear system $X\rho = R$. Here
# $\mathrm{diag}(q)\,\rho = K^\top C^{-1} K$ is symmetric, and positive definite for independent
# keys, and for such systems the method always converges.
#
# </details>

# %%
SWEEPS, errors = 12, {}
assert torch.allclose(in_a_row(W_0, K, V, C), W)  # the loop above
A, B = memory.insert_many(W_0, K, V, C)
assert torch.allclose((W_0 + A @ B) @ K, V)
for T in (64, 128, 192):
    keys, values = K[:, :T], V[:, :T]
    for line, row in each(f"{T} pairs", in_a_row).items():
        now, wrong = W_0, []
        for _ in range(SWEEPS + 1):
            wrong.append((values - now @ keys).pow(2).sum().item())
            now = row(now, keys, values, C)
        errors[line] = [x / wrong[0] for x in wrong]
now = W_0
for _ in range(100):
    now = in_a_row(now, K[:, :128], V[:, :128], C)
A, B = memory.insert_many(W_0, K[:, :128], V[:, :128], C)
print(f"128 pairs, 100 sweeps: {(now - W_0 - A @ B).norm() / (A @ B).norm():.0e} from all at once")
assert torch.allclose(now, W_0 + A @ B, atol=1e-4)
looks = {"ylog": True, "dashes": {line: "--" for line in errors if "yours" in line}}
plot.lines(range(SWEEPS + 1), errors, "sweeps", "squared error left (share)", **looks)

# %% [markdown]
# The first sweep removes more than half of what was wrong, and later ones a smaller part of what is left. They lead to
# the matrix that writes all pairs at once, the method which notebook 05 calls EMMET. ROME on one fact after another is,
# for values that are given, a single Gauss–Seidel sweep of the same system.
#
# ## A real layer
#
# Now the keys are those of the classroom's subjects at ROME's layer, and $C$ comes from general text. The figure sorts
# all pairs of subjects into four kinds. A pair counts for the first kind that fits. To share letters means that a word
# of one begins with the same three letters as a word of the other.
#
# **Predict.** Who is hit most by an edit: a subject of the same question, one with the same answer, or
# one that is spelled alike, as Danish and the Danube?
#
# <details><summary>What one could think</summary>
#
# An early layer knows a word's pieces, and perhaps the kind of thing that it names. Has it looked up an answer
# yet? If it has, subjects with one answer should be near each other.
#
# </details>

# %%
lm = models.load(SCALE, sink="own")
editor = lib.EDITORS["rome"](lm)
layer = editor.config.layer
name, moment = lm.mlp_out(layer), lib.second_moment(lm, [layer])[layer]
question = {case.fact: case.relation for case in lib.classroom()}
facts, n = [*question], len(question)
K = lm.keys(facts, layer).cpu().double()  # (d_in, n)
rho = interference(K, moment.C)
pieces = [{w[:3] for w in fact.subject.lower().split() if w != "the"} for fact in facts]


def pairs(alike):  # (n, n), True for two different subjects that are alike
    return torch.tensor([[i != j and alike(i, j) for j in range(n)] for i in range(n)])


left = pairs(lambda i, j: True)
ways = {
    "letters": pairs(lambda i, j: bool(pieces[i] & pieces[j])),
    "the question": pairs(lambda i, j: question[facts[i]] == question[facts[j]]),
    "the answer": pairs(lambda i, j: facts[i].target_true == facts[j].target_true),
    "nothing of these": left,
}

# %%
found, counts = {line: [] for line in each("ρ", interference)}, []
for shared, chosen in ways.items():
    chosen, left = chosen & left, left & ~chosen  # a pair counts in the first row that fits
    for line, f in each("ρ", interference).items():
        found[line].append(runs_02.loudness(f(K, moment.C), chosen))
    counts.append(f"{shared} ({chosen.sum()} pairs)")
angle = (rho * rho.T)[chosen].clamp(min=0).sqrt().median()  # |cos φ|
print(f"whitened keys that share nothing: median |cosine| {angle:.3f}, ", end="")
print(f"of random ones {0.6745 / len(K) ** 0.5:.3f}")
own = own_fact.read() or lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome")
hits = interference(torch.cat([lm.keys([own], layer).cpu().double(), K], 1), moment.C)[0, 1:]
loud = [i for i in hits.argsort(descending=True).tolist() if facts[i].subject != own.subject][:4]
said = ", ".join(f"{facts[i].subject} {hits[i]:.2f}" for i in loud)
print(f"An edit of {own.subject} would hit most: {said}")
whiskers(counts, found, "ρ of pairs that share …, rms and 95 % over subjects")

# %% [markdown]
# **It is the question and the spelling that count.** Among subjects that share neither, those with the same answer
# overlap no more than any two: were their ρ half as large again, the interval would show it. In an early layer the
# word and the kind of thing are there, and the answer is not.
#
# Even subjects that share nothing have keys that are more alike than random directions. So each edit disturbs all
# other subjects a little.
#
# ## Does the model keep to it?
#
# Notebook 00 edited the sheep, and the sheepdog moved most. We edit three animals by ROME, each to another's young,
# and ask seventeen others, among them *sheepdog*, *dogfish* and *horsefly*. What the edit adds to the layer's output
# at every token of every prompt is predicted, then measured.
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
print(f"measured and computed are {away:.0e} of their length apart, at most")
assert away < (1e-3 if lm.dtype == torch.float32 else 0.05)  # half precision rounds
for edit, points in edits.items():
    last, largest, kl = (torch.tensor(x) for x in zip(*points.values(), strict=True))
    orders = [f"{runs_02.rank_correlation(x, kl)[0]:.2f}" for x in (last, largest)]
    print(f"{edit}, rank correlation with KL: last token {orders[0]}, largest ρ {orders[1]}")
around = [[word for word in inside.values() if animal in word] for animal in inside]
drawings_02.reached(edits, around)

# %% [markdown]
# Every dot is an animal: hollow at the $\rho$ of its last token, full at the largest $\rho$ in its prompt. For most
# the two are one. *Sheepdog* is made of the tokens *sheep* and *dog*, and *dogfish* and *horsefly* are made in the
# same way. So a key that was edited stands in their prompts, with a share of 1. The *dog* inside of *sheepdog* has no
# space in front and is another token, but a near one. In each edit the words around the edited one move most.
# **Every token of a prompt is a key**, and in all three edits the largest $\rho$ among them orders the answers better
# than the last token's.
#
# ## How much harm does it do?
#
# What lands is known to rounding. Does it say whose *answer* suffers? The stored run writes three streams of thirty
# facts by ROME, one after another. After every edit it notes for each earlier fact which share of the edit landed on
# its key, and how the log-probability of its answer has changed.
#
# **Predict.** Which share of an edit lands on an earlier fact, typically? And if three times as much lands there as on
# another, does that fact lose more?
#
# <details><summary>What one could think</summary>
#
# The ρ above says something about the first question. For the second, remember how many layers come after
# this one.
#
# </details>

# %%
rows = long_runs.rows("02_behind")
long_runs.repeats(rows, lambda: islice(runs_02.stream(lm, 0), 1), ["lands", "change"], 0.05)
points = {}
for stream, every in runs_02.earlier(rows).groupby("stream"):
    size, change = every["lands"], every["change"]
    r = runs_02.rank_correlation(size, change.abs())[0], runs_02.rank_correlation(size, -change)[0]
    print(f"stream {stream + 1}: median share {100 * every['share'].median():.1f} %", end="; ")
    print(f"where most lands the change is {change[size.idxmax()]:+.3f} nats,")
    print(
        f"  the largest loss is {-change.min():.3f} nats; rank correlation of the length ", end=""
    )
    print(f"with |change| {r[0]:.2f}, with the loss {r[1]:.2f}")
    points[f"stream {stream + 1}"] = size, change
hand_ins.Editor("editor.py").grow(insert)
axes = "length of what an edit puts on the key of an earlier fact", "change of its log p (nats)"
plot.scatter(points, *axes)

# %% [markdown]
# Two or three percent of an edit land on an earlier fact, and most answers do not notice. In the second stream the fact
# on which most landed of all is the one that lost most. In the two others such a fact hardly moved. So **what lands is
# known beforehand, and the harm that a single edit does is hardly known** ([page 07](07_superposition.ipynb) asks the
# same of a hundred). It depends on what the layers above make of it. That thirty facts do so little harm is a property of this model as the library loads it; [page
# 02b](02b_first_token.ipynb) takes one token away.
#
# ## What we know now
#
# * The cheapest change that writes a pair is $\delta\,(C^{-1}k)^\top / q$, and the share $\rho(i, j)$ of it lands
#   on key $j$, in a real layer too, and on *every* token of a prompt.
# * In a row, every fact is disturbed by all that come after it: the change has $\mathrm{triu}(\rho)^{-1}$ where to write
#   all at once takes $\rho^{-1}$. Going round again and again leads to the latter.
# * In an early layer subjects are alike by spelling and by kind, and not by their answers.
# * What lands is known beforehand, how much harm it does is not.
#
# ## An editor of your own
#
# The functions of some pages grow into one file, `my/editor.py`, which will edit the model at the end of notebook 06.
# The last cell has put your `insert` there, as the first.
#
# In which order would you write twenty edits, if you knew their $\rho$? That is exercise 3.4 of
# [session 3](../lessons/session_3.md).
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
# * Hu et al.: *Knowledge in Superposition*, 2024,
#   [arXiv:2408.07413](https://arxiv.org/abs/2408.07413): $\rho$, there called P, and the sum.
