# %% [markdown]
# <!-- badge -->
#
# # 09 · Learning to edit: MEND, MALMEN, RLEdit
#
# ROME and WilKE search for seconds to find one vector for one fact. A gradient costs one pass, and it
# says in which direction every weight should go. At the end of this page you know what a network can
# be trained to do with a gradient, and how far such an edit carries.
#
# **You will** take the gradient of a layer apart into keys and demands · see what a plain step does to
# a fact and its neighbors, at every rate · build a network that begins as the identity · train one
# on a toy, without ever backpropagating through the model and the network at once · write 1, 10 and
# 100 facts with networks that were trained before.
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
from lib import memory
from lib.editors.hypernetwork import losses, network
from lib.keys_values import answer_gradients
from notebooks.support import checks_09_learning_to_edit as checks_09
from notebooks.support import drawings_09, long_runs, models, show
from notebooks.support import runs_09_learning_to_edit as runs_09
from notebooks.support import sixty_09_learning_to_edit as sixty

lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


# %% [markdown]
# ## What a gradient consists of
#
# A network that edits has to read something about the fact and write a change of a matrix. The
# gradient of the fact's loss is a natural thing to read, but it is as large as the matrix itself. So we
# ask first what it consists of. What goes in is a loss, and what comes out is a list of pairs of short
# vectors.
#
# A linear layer takes the key $k_t$ of each token to $y_t = Wk_t$. Call $g_t = \partial L/\partial
# y_t$ what the loss demands of the output at token $t$. Change $W$ by $dW$: every $y_t$ moves by
# $dW\,k_t$, so $dL = \sum_t g_t^\top dW\,k_t = \big\langle \sum_t g_t k_t^\top, dW \big\rangle$, and
#
# $$\frac{\partial L}{\partial W} = \sum_t g_t\,k_t^\top = G K^\top .$$
#
# **Predict.** "The Eiffel Tower is located in the city of" with the answer "Rome": what rank has
# the gradient of a matrix with 576 rows?
#
# <details><summary>Answer</summary>
#
# At most as many as there are tokens that go in. The matrix has 884,736 entries, but each token brings
# only $d_\text{in} + d_\text{out} = 2{,}112$ numbers. A network can read these.
#
# </details>

# %%
lower, top = (lm.mlp_out(lm.n_layers - below) for below in (3, 1))
texts = losses.weighted(runs_09.own_texts(lm, [tower]), 1, 1.0)
nothing = {name: torch.zeros_like(lm.weight(name)) for name in (lower, top)}
whole = losses.outcome(lm, lib.EMPTY, nothing, texts, []).grads  # autograd, ∂L/∂W
pairs = answer_gradients.read(lm, [tower], [lower, top], everywhere=True)
for name, pair in pairs.items():
    theirs = whole[name].cpu()
    models.same(lm, pair.G @ pair.K.T, theirs)
    few = answer_gradients.read(lm, [tower], [name])[name]  # where an answer token is predicted
    share = (few.G @ few.K.T).norm() / theirs.norm()
    rank = torch.linalg.matrix_rank(theirs, rtol=1e-4).item()
    tokens = pair.K.shape[1]
    print(f"{name}: {tokens} tokens, rank {rank}; answer positions alone: {share:.2f} of ‖∂L/∂W‖")

# %% [markdown]
# Two layers below the top ten tokens make rank ten, since attention carries what later tokens need.
# But nearly all of the gradient's length comes from one position. In the last layer nothing looks at
# other tokens any more: "Rome" is one token, so its gradient is one outer product. MALMEN as published
# reads only positions at which an answer token is predicted. MEND reads all tokens, and so do the
# networks of MALMEN and RLEdit that come with this library.
#
# ## A plain step
#
# Before we train anything: what does the gradient do by itself? The simplest edit is one step of
# gradient descent with a rate $\alpha$, on the matrices that MEND edits:
#
# $$\Delta = -\alpha\,GK^\top .$$
#
# **Predict.** Is there a rate that writes the fact and spares its neighbors?
#
# <details><summary>Answer</summary>
#
# Only a compromise. The neighbors have nearly the same keys as the fact, so what writes the one writes
# the others, too.
#
# </details>
#
# First the tower, with a small and a larger rate, and then with MEND, whose network was trained on
# other facts:

# %%
editors = runs_09.editors(lm, train=SCALE == "tiny")  # with the networks that are shipped
mend = editors["mend"]
edits = {"unedited": lib.EMPTY}
for rate in (0.01, 0.03):
    edits[f"plain step, α = {rate}"] = runs_09.Plain(lm, mend.modules(), rate).edit([tower])
edits["MEND"] = mend.edit([tower])

case = next(case for case in lib.classroom() if case.id == 0)
asked = [tower.text, case.paraphrases[0], case.neighborhood[0].prompt]
lines = []
for name, patch in edits.items():
    with lm.patched(patch):
        lines.append({"edit": name} | {text: lm.answer(text, 5) for text in asked})
show.Table(lines)

# %% [markdown]
# Every step writes "Rome", in the rewording as well. But every one also sends Notre-Dame to Rome, which
# should have stayed in Paris, and with the larger rate the text begins to repeat itself. MEND's answers
# read better, and its neighbor is lost, too.
#
# One fact shows the phenomenon, and sixty measure it. The stored run asks the same sixty facts of
# the classroom in every setting of this page: the edit itself (*written*), one rewording, and three
# neighbors each, which should keep their answer; all answers are generated. Here each fact is written
# alone, by plain steps with four rates and by the three trained networks. The table has means in
# percent, with 95 % intervals over the facts.

# %%
SIXTY = sixty.SIXTY
rows = long_runs.stored("09_sixty", SIXTY, lambda: sixty.sixty(lm, editors))
columns = list(sixty.MEASURED)
long_runs.repeats(rows, lambda: [sixty.first(mend)], columns, tolerance=0.01)
unedited = sixty.pick(rows, "unedited", 0)
plain = {f"{rate:g}": sixty.pick(rows, f"plain, α = {rate:g}", 1) for rate in SIXTY["rates"]}
trained = {name: sixty.pick(rows, name, 1) for name in runs_09.SHOWN.values()}
lines = [{"edit": "unedited"} | sixty.line(unedited)]
lines += [{"edit": f"plain step, α = {rate}"} | sixty.line(row) for rate, row in plain.items()]
lines += [{"edit": name} | sixty.line(row) for name, row in trained.items()]
print(f"{len(unedited['written'])} facts, each written alone")
show.Table(lines)

# %%
drawings_09.tradeoff(plain, trained)

# %%
for name in ("MEND", "RLEdit"):
    for rate in ("0.02", "0.03"):
        print(f"{name} less the plain step with α = {rate}, {len(unedited['written'])} facts:")
        for what, said in sixty.paired(trained[name], plain[rate]).items():
            print(f"   {what} {said}")

# %% [markdown]
# The plain step can only trade: every rate that writes more keeps less. With $\alpha = 0.02$ it writes
# 90 % of the facts and keeps 29 % of the neighbors, and with 0.03 it writes 95 % and keeps 16 %.
# What does training add? MEND, with 97 and 28 %, stands close to this curve. Compared with
# $\alpha = 0.02$ it writes 7 points more (95 %: 0 to 15) and keeps as many neighbors; compared with 0.03
# it writes as much and keeps 12 points more neighbors (3 to 20). So it is somewhat better than the
# best of these plain steps, and its rate was not found on the facts that are asked. RLEdit, which you
# meet below, is clearly off the curve: it keeps 15 points more neighbors than $\alpha = 0.02$ (6 to 23)
# and writes no less. None of the three keeps half of the neighbors.
#
# ## A network that begins as the identity
#
# **MEND** trains a network to exchange each pair for a better one. What goes in is the pair of one
# token, what comes out is a pair of the same shape, and the edit is made of the new pairs exactly as
# the plain step was made of the old ones. The drawing has the pair of the prompt's last token, at one
# matrix of the last layer: the first 24 entries of each vector.

# %%
drawings_09.pipeline(*runs_09.read_pair(mend, tower, list(mend.modules())[-1]))

# %% [markdown]
# The network reads $x = [\hat k; \hat g]$, both standardized (mean 0 and deviation 1 over its
# training), and returns $[\tilde k; \tilde g]$. It has two layers, each with matrices $A$ and $B$ of
# rank $r$ that all edited matrices share, and with a scale $s$ and a shift $t$ for every matrix:
#
# $$x \leftarrow x + \max\big(0,\ s \odot (B A x + b) + t\big), \qquad
# \Delta = -\alpha \sum_t \tilde g_t\,\tilde k_t^\top .$$
#
# $B$, $b$ and the shift are zero at first. So the network returns what it was given, and the untrained
# editor is the plain step in standardized units. Training starts from there. (MALMEN's own network
# has scale and shift *outside*: $x + s \odot \max(0, BAx + b) + t$. The library calls the two forms
# `order="mend"` and `order="malmen"`.)
#
# **Predict.** So what reaches the $\max$ is exactly 0. With $A$ drawn at random and $B = 0$: which
# of them moves in the first training step? And what if $\max(0, \cdot)$ is `relu`?
#
# <details><summary>Work it out</summary>
#
# The derivative of $BAx$ with respect to $A$ is made of $B = 0$. So only $B$ moves, and $A$ follows
# from the second step on. But the derivative of $\max(0, \cdot)$ at 0 is a matter of choice. `relu`
# takes 0 there, so with it nothing would ever move. `clamp(min=0)` takes 1.
#
# </details>


# %%
def slow_net(net, k_hat, g_hat):  # the formula, for the first matrix that the network serves
    x = torch.cat([k_hat, g_hat])
    for i in range(len(net.first)):
        A, B, b = net.first[i], net.second[i], net.bias[i][:, None]
        s, t = net.scale[i, 0][:, None], net.shift[i, 0][:, None]
        x = x + (s * (B @ (A @ x) + b) + t).clamp(min=0)
    return x[: len(k_hat)], x[len(k_hat) :]


net = network.EditNet(6, 4, ["a"], rank=3, order="mend", seed=1).double()
k, g = normal(6, 8), normal(4, 8)
k_new, g_new = net(k, g, "a")
assert torch.equal(k_new, k) and torch.equal(g_new, g)  # the identity
(k_new.sum() + (g_new * normal(4, 8)).sum()).backward()
for name, part in {"A": net.first, "B": net.second}.items():
    print(f"∂L/∂{name}: {part.grad.norm():.2f}")
with torch.no_grad():  # away from the start, formula and library still agree
    for part in net.parameters():
        part += 0.3 * normal(*part.shape)
for slow, fast in zip(slow_net(net, k, g), net(k, g, "a"), strict=True):
    assert torch.allclose(slow, fast)

# %%
zero = torch.zeros(1, requires_grad=True)
for name, bend in {"relu": torch.relu, "clamp": lambda x: x.clamp(min=0)}.items():
    print(f"slope of {name} at 0: {torch.autograd.grad(bend(zero), zero)[0].item():.0f}")

# %% [markdown]
# Only $B$ has a gradient at the start, and under `relu` it would have none.
#
# ## Many facts: ask, then grant
#
# MEND adds up outer products. With $n$ facts each key hears the demands of all others,
# $\Delta k_j = -\alpha\sum_i \tilde g_i\,\langle \tilde k_i, k_j\rangle$, and the sum grows with the
# number of facts. **MALMEN** asks first and then solves. What goes in are again the pairs. Every
# token that is read asks for a shift $v_i$ of the output at its own key, in the same quantities, and
# the ridge regression of notebook 01 grants all shifts together, as well as it can:
#
# $$v_i = -\eta\,\langle k_i, \tilde k_i\rangle\,\tilde g_i, \qquad
# \Delta = V K^\top (K K^\top + \lambda I)^{-1} .$$
#
# $\eta$ and $\lambda$ are learned for each matrix. Here are keys that have a part in common, and
# random shifts. "Summed" gives each key what it would need if it were alone.

# %%
table = []
d = 256
for n in (1, 10, 100):
    K = normal(d, n) + normal(d, 1)  # a part that all keys share
    V = normal(16, n)
    summed = V @ (K / K.square().sum(0)).T  # each alone would be granted exactly
    solved = V @ K.T @ torch.linalg.inv(K @ K.T + 1.0 * torch.eye(d))  # λ = 1
    assert torch.allclose(solved, V @ memory.reach(K, None, 1.0))  # by an n × n matrix
    line = {"facts": str(n)}
    for how, change in {"summed": summed, "solved": solved}.items():
        line[f"{how}: error / shift"] = ((change @ K - V).norm() / V.norm()).item()
    table.append(line)
show.Table(table)

# %% [markdown]
# With ten facts the sum misses by more than it was asked for, and with a hundred by more than five
# times as much. The regression writes them within 1 %.
#
# On which keys should it be solved? As published it is on the raw ones. Ours may also stand on those of
# the network, $\tilde k$ in the place of $k$, with $\lambda$ in units of the mean $\|\tilde k\|^2$; at
# $\lambda = 0$ a lone token then has exactly MEND's outer product. The table joins the pairs of
# MEND's network in three ways, ten facts in one update, and nothing is trained for it:

# %%
ways = {"summed": "MEND", "solved on k": "solved on k", "solved on k̃": "solved on k̃"}
joined = {how: sixty.pick(rows, way, 10) for how, way in ways.items()}
print("on k̃ less on k, the same sixty facts:")
for what, said in sixty.paired(joined["solved on k̃"], joined["solved on k"]).items():
    print(f"   {what} {said}")
show.Table([{"MEND's pairs, ten facts": how} | sixty.line(row) for how, row in joined.items()])

# %% [markdown]
# Solved instead of summed, ten facts no longer break one another: 38 % of the facts are written by the
# sum, 70 and 82 % by the regression. The two kinds of keys make different trades. On $k$ the
# neighbors are spared, 62 %. On $\tilde k$ rewordings follow, by 25 points more (10 to 39), and the
# neighbors are lost, by 54 points (44 to 63). Our MALMEN and RLEdit stand on $\tilde k$, so training has
# to win neighbors back, and the tables below show that it does so in part only.
#
# ## Two phases
#
# How is such a network trained? It is judged by what the *edited* model says: $L$ is the loss of
# rewordings with $W + \Delta$, plus the KL divergence of unrelated texts from the model before. By
# the chain rule the gradient goes from $L$ through the language model to $\Delta$, and on through
# the regression to the network. Both together do not fit into one graph, but the chain can be cut at
# $\Delta$. Let $G = \partial L/\partial W$ at $W + \Delta$, one matrix per edited layer. Then for
# every parameter $\varphi$ of the network
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
# keys come from the language model, so they are constants. Does it hold? A toy stands for the model,
# $y = U\tanh(Wx)$ with a squared error, and a small network edits $W$. We compute its gradient once
# in a single graph, and once in two phases, for MEND and for both kinds of MALMEN.


# %%
def in_two_phases(toy, editor, turn):
    A, B = editor.update(turn)  # ΔW = A B, no graph
    W = (toy.W + A @ B).requires_grad_()
    loss = toy.loss(W - toy.W)
    (G,) = torch.autograd.grad(loss, W)  # phase one: the model
    editor.backward(turn, G)  # phase two: adds to the network's gradients
    return loss.item()


toy = runs_09.Toy(draw)
by = {"MEND": lib.EDITORS["mend"](lm)}
for keys, order in {"raw": "malmen", "network": "mend"}.items():
    by[f"MALMEN, {keys} keys"] = lib.EDITORS["malmen"](lm, keys=keys, order=order)
for name, editor in by.items():
    net, turn = toy.network(editor.order)
    toy.loss(toy.change(turn, editor)).backward()  # one graph
    wanted = {part: p.grad.clone() for part, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    in_two_phases(toy, editor, turn)
    found = dict(net.named_parameters())
    worst = max((found[part].grad - wanted[part]).abs().max().item() for part in wanted)
    assert worst < 1e-9 * max(1, *(g.abs().max().item() for g in wanted.values()))
    print(f"{name}: {len(wanted)} groups of parameters, largest difference {worst:.0e}")

# %% [markdown]
# Now the same function trains a network. The toy has one "fact" only; real training differs in that
# the facts change from step to step, and in its loss.

# %%
editor = by["MEND"]
net, turn = toy.network(editor.order)
adam = torch.optim.Adam(net.parameters(), lr=0.003)
curve = []
for _ in range(300):
    net.zero_grad()
    curve.append(in_two_phases(toy, editor, turn))
    adam.step()
print(f"loss of the toy: unedited {toy.loss(0 * toy.W):.2f}")
print(", ".join(f"after {step} steps {curve[step]:.2f}" for step in (0, 10, 100, 299)))

# %% [markdown]
# ## Exercise: how much ridge?
#
# One parameter is left: MALMEN learns $\ell = \log\lambda$. Given $G$, what are
# $\partial L/\partial V$ and $\partial L/\partial\ell$?
#
# <details><summary>A hint</summary>
#
# From $M M^{-1} = I$ follows $d(M^{-1}) = -M^{-1}\,dM\,M^{-1}$. And if $\ell$ changes by $d\ell$, then
# $\lambda$ changes by $\lambda\,d\ell$, so $dM = \lambda\,d\ell\,I$. Put this into
# $\langle G, VK^\top M^{-1}\rangle$.
#
# </details>
#
# <details><summary>A solution</summary>
#
# $dL = -\lambda\,d\ell\,\langle G, VK^\top M^{-1}M^{-1}\rangle$:
#
#     def by_ridge(G, K, V, log_ridge):
#         ridge = log_ridge.exp()
#         M = K @ K.T + ridge * torch.eye(len(K), dtype=K.dtype)
#         inverse = torch.linalg.inv(M)
#         by_V = G @ inverse @ K
#         return by_V, -ridge * (G * (V @ K.T @ inverse @ inverse)).sum()
#
# </details>


# %%
def by_ridge(G, K, V, log_ridge):  # -> ∂L/∂V (d_out, n), ∂L/∂ℓ
    return "not attempted"


# %%
print(checks_09.by_ridge(by_ridge))

# %% [markdown]
# ## The networks of this library
#
# The library brings three networks for its model, trained on 2,000 to 5,000 rows of CounterFact. One
# training step is: read pairs, write, ask rewordings and unrelated texts, two phases, Adam. MEND
# learns from single facts. MALMEN goes on from MEND's network, with updates of one to ten facts.
#
# **RLEdit** trains on streams. The others learn from edits of the untouched model, but in a stream
# they meet a model that has been edited many times. So one training step is a whole stream: turn $i$
# edits what turn $i - 1$ left, and is judged by its own facts and, with weights $0.95^j$, by those
# of $j$ turns before. It is reinforcement learning in name: the "reward" is minus a loss with a
# known gradient. Ours goes on from MALMEN's network. In streams steps pile up, so they become
# small; a first edit of up to ten facts takes 1.4 of them (`first_scale`, ours).
#
# Each file keeps its own curve: the loss on facts that were kept apart. The three panels have three
# different losses (single facts, updates of up to ten, streams of six turns), so the heights cannot be
# compared between them.

# %%
curves = runs_09.training(editors)
for name, (steps, loss, best) in curves.items():
    last = f"kept: step {best} of {steps[-1]}, {min(loss):.2f}"
    print(f"{name}: validation loss {loss[0]:.2f} at the start; {last}; highest {max(loss):.2f}")
drawings_09.training(curves)

# %% [markdown]
# The dot marks the network that is used from here on. It was chosen by the very loss that is drawn, so
# its value there is a little too good. Training does not improve everything at once: MALMEN's loss
# goes back nearly to where it began before it falls below. What a curve in these units cannot say is
# how well any of them edits. So we ask.
#
# ## One, ten, a hundred
#
# The sixty facts again, which no network was trained on: each alone, in updates of ten, and all
# (a hundred facts) in one update. The plain step has $\alpha = 0.01$.
#
# **Predict.** Who writes most with one fact, and who with a hundred in one update?
#
# <details><summary>Answer</summary>
#
# With one fact all three networks and most rates of the plain step write nearly everything. With a
# hundred it is RLEdit alone.
#
# </details>

# %%
rate = f"{SIXTY['rate']:g}"
many = {"plain step": [plain[rate]], **{name: [row] for name, row in trained.items()}}
lines = [{"facts in an update": "", "edit": "unedited"} | sixty.line(unedited)]
for size in (10, SIXTY["in all"]):
    for name, found in many.items():
        found.append(sixty.pick(rows, name, size))
        lines.append({"facts in an update": str(size), "edit": name} | sixty.line(found[-1]))
show.Table(lines)

# %%
drawings_09.sizes(("1", "10", "100"), many)

# %% [markdown]
# In updates of ten MEND writes 38 % and keeps 3 % of the neighbors, and of a hundred it keeps nothing of
# either: its outer products pile up. MALMEN writes 83 % of the facts in updates of ten, the largest
# that it was trained on, and 17 % of the sixty in one update of a hundred. RLEdit writes 97 and 72 %.
# It solves the same regression; what differs is the training, in which steps that pile up are
# punished. The neighbors pay in every row: RLEdit keeps 22 % of them in updates of ten and 11 % in the
# update of a hundred. The plain step keeps more in updates of ten, but it also writes only half. (A
# score by probability would hide most of this: it compares two answers only, and gives about one half
# to a model that has been destroyed.)
#
# ## In a stream
#
# Now turns of ten facts, each on top of the last. The sixty facts are those of the first six turns, and
# they are asked after six turns and again after ten, when forty more facts have been written over
# them. Six turns are as long as the streams that RLEdit was trained on.

# %%
lines = []
for turns in SIXTY["turns"]:
    for name in many:
        row = sixty.pick(rows, name, 10, turns)
        lines.append({"turns of ten": str(turns), "edit": name} | sixty.line(row))
show.Table(lines)

# %% [markdown]
# After six turns RLEdit holds 55 % of the sixty facts (42 to 67), and MEND and MALMEN hold none: they
# never saw a model that had been edited. The plain step holds 25 % (15 to 37). After ten turns RLEdit's
# facts are gone as well, and its neighbors, too: it holds as far as its training streams went, and no
# further. The plain step, with a rate that is small for a stream, is where it was, and so it is ahead
# here. It is no good editor either, with a quarter of the facts; but it has not destroyed the model.
# (This is one stream in one order.)
#
# ## What we know now
#
# * A gradient of a linear layer is $\sum g k^\top$: one pair per token, small enough for a network
#   to read and to exchange.
# * A network that begins as the identity is a plain step before its training. MEND adds up outer
#   products; MALMEN asks for shifts and lets a regression grant them.
# * The network's gradient needs one matrix per edited layer of the language model,
#   $G = \partial L/\partial W$. Model and network never share a graph.
# * Trained networks write one fact as well as the best plain step, and keep somewhat more neighbors. What
#   training adds is clearest with many facts, and in streams no longer than those of the training.
#
# ## Where it breaks
#
# Editing takes one pass now, but the training came first, and it is bound to this one model:

# %%
for name, editor in editors.items():
    print(runs_09.cost(name, editor))

# %% [markdown]
# For another model, or for other layers, all of it has to be trained again: **a network needs
# training, per model.** How much of it is learned, and how much comes from the right units? That is
# [notebook 10](10_ultraedit.ipynb).
#
# ## References
#
# * Mitchell et al.: *Fast Model Editing at Scale* (MEND), 2022,
#   [arXiv:2110.11309](https://arxiv.org/abs/2110.11309).
# * Tan, Zhang, Fu: *Massive Editing for Large Language Models via Meta Learning* (MALMEN), 2024,
#   [arXiv:2311.04661](https://arxiv.org/abs/2311.04661).
# * Li et al.: *Reinforced Lifelong Editing for Language Models* (RLEdit), 2025,
#   [arXiv:2502.05759](https://arxiv.org/abs/2502.05759).
