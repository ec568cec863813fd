# %% [markdown]
# <!-- badge -->
#
# # 09 · Learning to edit: MEND, MALMEN, RLEdit
#
# Seconds of searching per fact, for one vector. A gradient costs one pass, and it points somewhere.
# At the end of this page networks that were trained to edit have turned gradients into edits.
#
# **You will** take the gradient of a layer apart into keys and demands · see what a plain step does
# to a fact and its neighbors · build a network that begins as the identity · train it without ever
# backpropagating through the language model and the network at once · write 1, 10, 100 facts.
#
# **Needs** [notebook 04](04_rome.ipynb) for keys, [notebook 05](05_memit.ipynb) for ridge.
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
from lib.editors.hypernetwork import losses, network
from lib.keys_values import answer_gradients
from notebooks.support import checks_09_learning_to_edit as checks_09
from notebooks.support import models, show
from notebooks.support import runs_09_learning_to_edit as runs_09

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


# %% [markdown]
# ## What a gradient consists of
#
# A linear layer takes the key $k_t$ of each token to $y_t = Wk_t$. Call $g_t = \partial L/\partial
# y_t$ what the loss demands of the output at token $t$. Change $W$ by $dW$: every $y_t$ moves by
# $dW\,k_t$, so $dL = \sum_t g_t^\top dW\,k_t = \big\langle \sum_t g_t k_t^\top, dW \big\rangle$:
#
# $$\frac{\partial L}{\partial W} = \sum_t g_t\,k_t^\top = G K^\top .$$
#
# **Predict.** "The Eiffel Tower is located in the city of" with the answer "Rome": what rank has
# the gradient of a matrix of 576 × 1,536? How many numbers are in it?
#
# <details><summary>Answer</summary>
#
# As many as there are tokens that go in, at most. The matrix has 884,736 entries, but each token
# brings only $d_\text{in} + d_\text{out} = 2{,}112$ numbers: that is what a network can read.
#
# </details>

# %%
lm = models.load(SCALE)
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
lower, top = (lm.mlp_out(lm.n_layers - below) for below in (3, 1))
texts = losses.weighted(runs_09.own_texts(lm, [tower]), 1, 1.0)
nothing = {name: torch.zeros_like(lm.weight(name)) for name in (lower, top)}
whole = losses.outcome(lm, lib.EMPTY, nothing, texts, []).grads  # autograd, ∂L/∂W
pairs = losses.read_everywhere(lm, [tower], [lower, top])
for name, pair in pairs.items():
    theirs = whole[name].cpu()
    product = pair.G @ pair.K.T
    assert (product - theirs).norm() < 1e-3 * theirs.norm() or lm.dtype != torch.float32
    few = answer_gradients.read(lm, [tower], [name])[name]  # where an answer token is predicted
    share = (few.G @ few.K.T).norm() / theirs.norm()
    rank, tokens = torch.linalg.matrix_rank(theirs, rtol=1e-4).item(), pair.K.shape[1]
    print(f"{name}: {tokens} tokens, rank {rank}; answer positions alone: {share:.2f} of ‖∂L/∂W‖")

# %% [markdown]
# Two layers below the top ten tokens make rank ten, since attention carries what later tokens need;
# but nearly all of its length comes from one position. In the last layer nothing looks at other
# tokens any more: "Rome" is one token, so its gradient is one outer product. MALMEN as published
# reads answer positions only; MEND reads all, and so do our networks of MALMEN and RLEdit.
#
# ## A plain step
#
# $\Delta = -\alpha\,GK^\top$: one step of gradient descent with the rate $\alpha$, on the matrices
# that MEND edits. Twelve facts of the classroom, each alone. Tokens: of the new answer, right given
# those before; reworded: the same with a prompt of other words; neighbors: the true answer is still
# more probable than the new one.
#
# **Predict.** Is there a rate that writes the fact and spares the neighbors?
#
# <details><summary>Answer</summary>
#
# Only a compromise: at $\alpha = 0.03$ all twelve are written, and 28 % of the neighbors are left.
#
# </details>

# %%
editors = runs_09.editors(lm, train=SCALE == "tiny")  # with the networks that are shipped
mend = editors["mend"]
cases = runs_09.short(case for case in lib.classroom() if case.id % 2)
ask = 2 if SCALE == "tiny" else 12
rates = (0.01, 0.03, 0.1)
tried = {f"plain, α = {rate:g}": runs_09.Plain(lm, mend.modules(), rate) for rate in rates}
tried["MEND"] = mend
alone = {name: runs_09.batches(lm, editor, cases, 1, ask) for name, editor in tried.items()}
rows = {"nothing": runs_09.ask(lm, cases[:ask], lib.EMPTY)} | alone
show.Table([{"edit": name} | row for name, row in rows.items()])

# %% [markdown]
# A plain step writes, and its neighbors say the same. The last line has a network trained on other
# facts: it writes all, most rewordings too, and keeps half of the neighbors. The rate that wrote
# all kept 28 %, and we found that rate by looking at these facts.
#
# ## A network that begins as the identity
#
# **MEND** exchanges each pair for a better one. The network reads $x = [\hat k; \hat g]$, both
# standardized (mean 0 and deviation 1 over its training), and returns $[\tilde k; \tilde g]$. Two
# layers of rank $r$, with a scale $s$ and a shift $t$ for every matrix:
#
# $$x \leftarrow x + \max\big(0,\ s \odot (B A x + b) + t\big), \qquad
# \Delta = -\alpha \sum_t \tilde g_t\,\tilde k_t^\top .$$
#
# $B$, $b$ and $t$ are zero at first: the network returns what it was given, and the untrained
# editor is the plain step in standardized units. Training can only improve on that.
#
# **Predict.** So what reaches the $\max$ is exactly 0. With $A$ drawn at random and $B = 0$: which
# of them moves in the first training step? And what if $\max(0, \cdot)$ is `relu`?
#
# <details><summary>Work it out</summary>
#
# $\partial(BAx)$ with respect to $A$ is made of $B = 0$: only $B$ moves, and $A$ follows from the
# second step on. But the derivative of $\max(0, \cdot)$ at 0 is a matter of choice. `relu` takes 0
# there, so with it nothing would ever move. `clamp(min=0)` takes 1.
#
# </details>

# %%
net = network.EditNet(6, 4, ["a"], rank=3, order="mend", seed=1).double()
k, g = normal(6, 8), normal(4, 8)
k_new, g_new = net(k, g, "a")
assert torch.equal(k_new, k) and torch.equal(g_new, g)  # the identity
(k_new.sum() + (g_new * normal(4, 8)).sum()).backward()
for name, part in {"A": net.first, "B": net.second}.items():
    print(f"∂L/∂{name}: {part.grad.norm():.2f}")
zero = torch.zeros(1, requires_grad=True)
for name, bend in {"relu": torch.relu, "clamp": lambda x: x.clamp(min=0)}.items():
    print(f"slope of {name} at 0: {torch.autograd.grad(bend(zero), zero)[0].item():.0f}")

# %% [markdown]
# Only $B$ has a gradient, and under `relu` nobody would.
#
# ## Many facts: ask, then grant
#
# MEND adds up outer products. With $n$ facts each key hears the demands of all others,
# $\Delta k_j = -\alpha\sum_i \tilde g_i\,\langle \tilde k_i, k_j\rangle$. **MALMEN** asks and then
# solves. Every answer token asks for a shift of the output at its own key, in the same quantities,
#
# $$v_i = -\eta\,\langle k_i, \tilde k_i\rangle\,\tilde g_i, \qquad
# \Delta = V K^\top (K K^\top + \lambda I)^{-1},$$
#
# and the ridge regression of notebook 01 grants all shifts as well as it can. $\eta$ and $\lambda$
# are learned for each matrix. Keys that have a part in common, random shifts:

# %%
table, d = [], 256
for n in (1, 10, 100):
    K = normal(d, n) + normal(d, 1)  # a part that all keys share
    V = normal(16, n)
    summed = V @ (K / K.square().sum(0)).T  # each alone would be granted exactly
    ways = {"summed": summed, "solved": V @ memory.reach(K, None, 1.0)}
    miss = {how: ((change @ K - V).norm() / V.norm()).item() for how, change in ways.items()}
    table.append({"facts": n} | {f"{how}: error / shift": x for how, x in miss.items()})
show.Table(table)

# %% [markdown]
# With ten facts the sum misses by more than it was asked for, with a hundred by 5.7 times as much.
# The regression writes them within 1 %. On which keys? As published, on the raw ones. Ours may
# stand on the network's, $\tilde k$ in the place of $k$, with $\lambda$ in units of the mean
# $\|\tilde k\|^2$; at $\lambda = 0$ a lone token then has exactly MEND's outer product. MEND's
# network again, nothing trained:

# %%
asked = {2: 2, 4: 2} if SCALE == "tiny" else {10: 30, 100: 12}  # facts in one update: asked
show.Table(runs_09.joined(mend, cases[:100], asked))

# %% [markdown]
# Solved, ten facts no longer break one another. On $k$ neighbors are spared, on $\tilde k$ rewordings
# follow. Our MALMEN and RLEdit stand on $\tilde k$, and training has to win neighbors back.
#
# ## Two phases
#
# A network is judged by what the *edited* model says: $L$ is the loss of rewordings with $W +
# \Delta$, plus the KL divergence of unrelated texts from the model before. By the chain rule the
# gradient goes from $L$ through the language model to $\Delta$, and on through the regression to
# the network. That does not fit in one graph, but it splits at $\Delta$. Let $G = \partial
# L/\partial W$ at $W + \Delta$, one matrix per edited layer. Then for every parameter $\varphi$:
#
# $$\frac{\partial L}{\partial \varphi} =
# \Big\langle G, \frac{\partial \Delta}{\partial \varphi} \Big\rangle
# = \frac{\partial}{\partial \varphi} \langle G, \Delta(\varphi) \rangle
# \quad\text{with } G \text{ held fixed.}$$
#
# **Phase one**: the language model, text by text, adds up $G$ and is done. **Phase two**: the
# network alone, on a few columns at a time. For MALMEN, with $M = KK^\top + \lambda I$:
#
# $$\langle G, V K^\top M^{-1} \rangle = \langle G M^{-1} K, V \rangle
# \quad\Rightarrow\quad \frac{\partial L}{\partial V} = G M^{-1} K,$$
#
# and the network gets the gradient of $\langle \partial L/\partial V, V(\varphi) \rangle$. The
# keys come from the language model, so they are constants. Does it hold? A toy of two layers, once
# in a single graph, once in phases:

# %%
toy = runs_09.Toy(draw)  # L(W) for a small model, a pair (K, G) and a network
by = {"MEND": lib.EDITORS["mend"](lm)}
for keys, order in {"raw": "malmen", "network": "mend"}.items():
    by[f"MALMEN, {keys} keys"] = lib.EDITORS["malmen"](lm, keys=keys, order=order)
for name, editor in by.items():
    net, turn = toy.network(editor.order)
    toy.loss(toy.change(turn, editor)).backward()  # one graph
    used = {part: p for part, p in net.named_parameters() if p.grad is not None}
    wanted = {part: p.grad.clone() for part, p in used.items()}
    net.zero_grad()
    update = editor.update(turn)  # ΔW = A B, no graph
    W = (toy.W + update[0] @ update[1]).requires_grad_()
    (G,) = torch.autograd.grad(toy.loss(W - toy.W), W)  # phase one
    editor.backward(turn, update, G)  # phase two
    worst = max((p.grad - wanted[part]).abs().max().item() for part, p in used.items())
    largest = max(g.abs().max().item() for g in wanted.values())
    assert worst < 1e-9 * max(1, largest)
    print(f"{name}: {len(wanted)} groups of parameters, largest difference {worst:.0e}")

# %% [markdown]
# ## Exercise: how much ridge?
#
# One parameter is left: MALMEN learns $\ell = \log\lambda$. Given $G$, what are
# $\partial L/\partial V$ and $\partial L/\partial\ell$? (From $M M^{-1} = I$: $d(M^{-1}) =
# -M^{-1}\,dM\,M^{-1}$. And what is $dM$, if $\ell$ changes?)


# %%
def by_ridge(G, K, V, log_ridge):  # -> ∂L/∂V (d_out, n), ∂L/∂ℓ
    return "not attempted"


# %%
print(checks_09.by_ridge(by_ridge))

# %% [markdown]
# ## Training
#
# The library brings three networks for its model, trained on 2,000 to 5,000 rows of CounterFact;
# each file keeps its curve. One step: read pairs, write, ask rewordings and unrelated texts, two
# phases, Adam. MEND learns from single facts; MALMEN goes on from its network, with one to ten.
#
# **RLEdit** trains on streams. The others learn from edits of the untouched model; in a stream they
# meet a model that has been edited many times. So let one training step be a whole stream: turn $i$
# edits what turn $i - 1$ left, and is judged by its own facts and, with weights $0.95^j$, by those
# of $j$ turns before. Reinforcement learning only in name: the "reward" is minus a loss with a
# known gradient. Ours goes on from MALMEN's network. In streams steps pile up, so they become
# small; a first edit of up to ten facts takes 1.4 of them (`first_scale`, ours).

# %%
x, y = runs_09.curves(editors)
axes = "training steps", "validation loss (% of the first)"
plot.lines(x, y, *axes, colors=runs_09.COLORS, ylim=(0, None))

# %% [markdown]
# On facts kept apart MEND's loss falls to 9 % of the untrained editor's, a plain step in good
# units; MALMEN's to 67 % of what MEND's network had, joined by the regression; RLEdit's to 8 % of
# what MALMEN's had in streams, most of it in four steps. Losses differ: only shares compare.
#
# ## One, ten, a hundred
#
# Facts that no network was trained on: each alone, in batches of ten, all hundred in one update;
# and as streams of six and of ten turns of ten, asked at the end. Twelve facts are asked each time.
#
# **Predict.** Who wins with one fact, who with a hundred, who in the stream?
#
# <details><summary>Answer</summary>
#
# One fact: all that were trained. A hundred, or six turns: RLEdit. Ten turns: the plain step.
#
# </details>

# %%
many = cases[:4] if SCALE == "tiny" else cases[:100]
sizes = (1, 2, 4) if SCALE == "tiny" else (1, 10, 100)
found, table = {}, []
for name, editor in {"plain step": tried["plain, α = 0.01"], **editors}.items():
    one = alone.get({"plain step": "plain, α = 0.01", "mend": "MEND"}.get(name))
    found[name] = [one or runs_09.batches(lm, editor, many, 1, ask)]
    found[name] += [runs_09.batches(lm, editor, many, size, ask) for size in sizes[1:]]
    for turns in (6, 10):
        said = runs_09.stream(lm, editor, many[: turns * sizes[1]], sizes[1], ask)
        table.append({"stream": runs_09.SHOWN.get(name, name), "turns": turns} | said)
show.Table(table)

# %%
y, colors, dashes = runs_09.by_size(found)
axes = "facts in one update", "prompts answered as wanted (%)"
plot.lines(sizes, y, *axes, colors=colors, dashes=dashes, xlog=True, ylim=(0, 105))

# %% [markdown]
# MEND writes every single fact, half of ten and none of a hundred: its outer products pile up.
# MALMEN writes all of ten, the most it ever saw, and 21 % of a hundred; RLEdit 83 % of these, and
# keeps 58 % of the neighbors. Six turns, as long as its training streams, it holds to 67 %, MEND
# and MALMEN not at all. After ten its facts are gone, too: the plain step, with 21 %, is ahead.
#
# ## What we know now
#
# * A gradient of a linear layer is $\sum g k^\top$: one pair per token, small enough for a network
#   to read and to exchange.
# * A network that begins as the identity is a plain step before its training. MEND adds up outer
#   products; MALMEN asks for shifts and lets a regression grant them.
# * Its gradient needs of the language model one matrix per edited layer, $G = \partial L/\partial
#   W$. Model and network never share a graph.
# * The stream is its own task: RLEdit trains on trajectories, and holds as far as they went.
#
# ## Where it breaks
#
# Editing takes one pass now, but the training came first, and it is bound to this one model:

# %%
for name, editor in editors.items():
    print(runs_09.cost(name, editor))

# %% [markdown]
# Another model, or other layers, and all of it is void: **a network needs training, per model.** How
# much of it is learned, and how much only the right units? That is [notebook 10](10_ultraedit.ipynb).
#
# ## References
#
# * Mitchell et al.: *Fast Model Editing at Scale* (MEND), 2022,
#   [arXiv:2110.11309](https://arxiv.org/abs/2110.11309).
# * Tan, Zhang, Fu: *Massive Editing for Large Language Models via Meta Learning* (MALMEN), 2024,
#   [arXiv:2311.04661](https://arxiv.org/abs/2311.04661).
# * Li et al.: *Reinforced Lifelong Editing for Language Models* (RLEdit), 2025,
#   [arXiv:2502.05759](https://arxiv.org/abs/2502.05759).
