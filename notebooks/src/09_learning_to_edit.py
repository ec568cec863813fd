# %% [markdown]
# <!-- badge -->
#
# # 09 · Learning to edit: MEND, MALMEN, RLEdit
#
# ROME and WilKE search for seconds to find one vector for one fact. A gradient costs one pass, and it
# says in which direction every weight should go. At the end of this page you know what a network can
# be trained to do with a gradient, and how far such an edit carries.
#
# **You will** take the gradient of a layer apart into keys and demands · find out what a step for one
# fact does at other prompts · build a network that begins as the identity · train a small one on the
# model, without ever backpropagating through the model and the network at once · write 1, 10 and 100
# facts with networks that were trained before.
#
# **Needs** [notebook 04](04_rome.ipynb) for keys, [notebook 05](05_memit.ipynb) for ridge.
#
# **Minutes** 30 to read and 20 to work: two exercises of [session 6](../lessons/session_6.md).
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

import pandas as pd
import torch

import lib
from lib import associative_memory as memory
from lib.data.facts import encode_prompt, encode_target
from lib.editors.hypernetwork import losses, network
from lib.keys_values import answer_gradients
from lib.model import activations
from lib.workbench import plot
from notebooks.support import drawings_09, long_runs, models
from notebooks.support import runs_09_learning_to_edit as runs_09
from notebooks.support.holes import guess, use
from notebooks.support.score_tables import gap, percent

lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
draw = torch.Generator().manual_seed(0)
MEASURED = runs_09.MEASURED  # written, reworded, neighbors


def line(name, row):  # of a table, in percent
    return {"edit": name} | {f"{what} (%)": percent(row[what]) for what in MEASURED}


def points(one, other):  # the difference in points, fact by fact, and its 95 % interval
    return "{:+.0f} ({:+.0f} to {:+.0f})".format(*gap(one, other))


def compared(pairs):  # a table of such differences, of (name, one, other)
    found = {say: {what: points(a[what], b[what]) for what in MEASURED} for say, a, b in pairs}
    return pd.DataFrame(found).T.rename_axis("in points (95 %)").to_string()


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
# A linear layer takes the key $k_t$ of each token to $y_t = Wk_t$. Let $g_t = \partial L/\partial y_t$ be
# the gradient at the output at token $t$; the loss demands that $y_t$ move along $-g_t$. Change $W$ by
# $dW$. The keys come from below and stay, and every $y_t$ moves by $dW\,k_t$, so $dL = \sum_t g_t^\top
# dW\,k_t = \big\langle \sum_t g_t k_t^\top, dW \big\rangle$. With all $g_t$ as the columns of $G$ and all
# $k_t$ as those of $K$,
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
text = losses.Text(encode_prompt(lm.tokenizer, tower.text), encode_target(lm.tokenizer, "Rome"))
nothing = {name: torch.zeros_like(lm.weight(name)) for name in (lower, top)}
texts = losses.weighted([text], 1, 1.0)
whole = losses.outcome(lm, lib.EMPTY, nothing, texts, []).grads  # autograd, ∂L/∂W
pairs = answer_gradients.read(lm, [tower], [lower, top], everywhere=True)
for name, pair in pairs.items():
    theirs = whole[name].cpu()
    models.same(lm, pair.G @ pair.K.T, theirs)
    few = answer_gradients.read(lm, [tower], [name])[name]  # where an answer token is predicted
    rest = (theirs - few.G @ few.K.T).norm() / theirs.norm()
    rank = torch.linalg.matrix_rank(theirs, rtol=1e-4).item()
    print(f"{name}: {pair.K.shape[1]} tokens, rank {rank}")
    print(f"   without the answer's position a part as long as {rest:.2f} ‖∂L/∂W‖ is left")

# %% [markdown]
# Two layers below the top, ten tokens make rank ten, since the attention above reads the outputs at
# all of them. But without the position that predicts the answer, a part of only 0.16 times the
# gradient's length is left. Above the last layer nothing looks at other tokens any more, and "Rome"
# is one token, so the gradient is one outer product. MALMEN as published reads only positions that
# predict an answer token. MEND reads all tokens, and so do the networks of MALMEN and RLEdit that
# come with this library.
#
# ## A plain step
#
# Before we train anything: what does the gradient do by itself? The simplest edit is one step of
# gradient descent with a rate $\alpha$, $\Delta = -\alpha\,GK^\top$. It was made for one prompt,
# but every prompt meets the new matrix. To the output at the key $q$ of another prompt it adds
#
# $$\Delta q = -\alpha \sum_t g_t\,\langle k_t, q\rangle .$$
#
# **Your turn · exercise 6.1 · ★ · 4 minutes.** Write `moved`: what the step adds at $q$, without forming
# the large matrix $GK^\top$. The next table is made with it. The guess below the hole is of this table,
# in the last layer.


# %%
def moved(K, G, q, alpha):
    """K (d_in, n), G (d_out, n), q (d_in,), a number -> Δ q (d_out,)."""
    ...


moved = use("6.1", moved)
share = guess("How many % of the tower's own shift arrive at Notre-Dame's prompt?", 0, 100)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $GK^\top q$ can be put in brackets in two ways. Which one has only short vectors?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def moved(K, G, q, alpha):
#     return -alpha * (G @ (K.T @ q))
# ```
#
# </details>
#
# Now a step for the tower, asked at the last token of other prompts. The number is the part of $\Delta q$
# in the direction of the tower's own shift, in percent of that shift.
#
# **Predict.** For which of the prompts is it large? Is there a rate that writes the fact and spares its
# neighbors?
#
# <details><summary>Answer</summary>
#
# It is large where the key is like the fact's key. The rate is a factor of the whole step: it scales
# what the fact gets and what the neighbor gets alike. So there is only a compromise.
#
# </details>

# %%
case = next(case for case in lib.classroom() if case.id == 0)
asked = {"the fact": tower.text, "reworded": case.paraphrases[1]}
asked |= {"Notre-Dame": case.neighborhood[0].prompt, "the Reichstag": case.neighborhood[3].prompt}
asked |= {"another question": "The capital of Japan is", "unrelated": case.locality[0]}
seen = lm.run(list(asked.values()), [lower, top]).seen
arrives = {}
for name, pair in pairs.items():
    shifts = [moved(pair.K, pair.G, q[-1].float().cpu(), 0.01) for q in seen[name][0]]
    own = shifts[0]  # what the step adds at the fact's own prompt
    arrives[name] = [100 * (shift @ own / own.square().sum()).item() for shift in shifts]
share.against(arrives[top][2])
columns = {"in the last layer (%)": arrives[top], "two layers below (%)": arrives[lower]}
print("\n".join(f"{what}: {text}" for what, text in asked.items()))
pd.DataFrame(columns, index=list(asked)).round(0).astype(int)

# %% [markdown]
# The rewording gets 76 % of the shift in the last layer, which is what one wants. Notre-Dame gets
# 64 %, the Reichstag 66 %, and a question about Japan 68 %; the recipe gets 21 %. In these prompts
# the keys of the last layer tell a question for a place from a recipe, and hardly tell one place from
# another. Two layers below, the question about Japan gets only 37 %.
#
# What does the model say then? We take the step on all matrices that MEND edits, with a small and a
# larger rate, and let MEND itself edit beside it. Its network was trained on other facts.

# %%
editors = runs_09.editors(lm, train=SCALE == "tiny")  # with the networks that are shipped
mend = editors["mend"]
edits = {"unedited": lib.EMPTY}
for rate in (0.01, 0.03):
    edits[f"plain step, α = {rate}"] = runs_09.Plain(lm, mend.modules(), rate).edit([tower])
edits["MEND"] = mend.edit([tower])
asked = {"the fact": tower.text, "reworded": case.paraphrases[0]}
asked["Notre-Dame"] = case.neighborhood[0].prompt
said = {}
for name, patch in edits.items():
    with lm.patched(patch):
        said[name] = [" ".join(answer.split()) for answer in lm.answer(list(asked.values()), 5)]
print("\n".join(f"{what}: {text}" for what, text in asked.items()))
pd.DataFrame(said, index=list(asked)).T

# %% [markdown]
# Every edit writes "Rome", in the rewording as well. But every one also sends Notre-Dame to Rome,
# which should have stayed in Paris, and with the larger rate the text begins to repeat itself. MEND's
# text repeats itself less than that.
#
# One fact is an example. To measure, a stored run asks sixty facts of the classroom: the edit itself
# (*written*), one rewording, and three neighbors each, which should keep their answer; all answers are
# generated. Here each fact is written alone, by plain steps with four rates and by three trained
# networks: MEND's, and two that are explained below, MALMEN's and RLEdit's. The first table has means in
# percent with 95 % intervals over the facts, and the differences in the second one are paired, fact by
# fact. In the figure an edit is better the farther it stands to the right and to the top.

# %%
SIXTY = runs_09.SIXTY
make, again = partial(runs_09.sixty, lm, editors), list(MEASURED)
sixty = long_runs.known("09_sixty", SIXTY, make, 1, again, tolerance=0.01)  # MEND on a few, again


def pick(way, update, turns=None, rows=sixty):  # one row: a share for each of the sixty facts
    found = (row for row in rows if (row["way"], row["update"]) == (way, update))
    return next(row for row in found if row.get("turns") == turns)


unedited = pick("unedited", 0)
plain = {f"{rate:g}": pick(f"plain, α = {rate:g}", 1) for rate in SIXTY["rates"]}
trained = {name: pick(name, 1) for name in ("MEND", "MALMEN", "RLEdit")}
named = {"unedited": unedited} | {f"plain step, α = {rate}": row for rate, row in plain.items()}
named |= trained
table = pd.DataFrame([line(name, row) for name, row in named.items()])
print(table.set_index("edit").to_string(), end="\n\n")
pairs = [(name, f"plain step, α = {rate}") for rate in ("0.02", "0.03") for name in trained]
pairs += [("RLEdit", "MEND"), ("RLEdit", "MALMEN")]
print(compared((f"{one} less {other}", named[one], named[other]) for one, other in pairs))
drawings_09.tradeoff(plain, trained)

# %% [markdown]
# The plain step can only trade: of the four rates, each that writes more keeps less. With $\alpha =
# 0.02$ it writes 90 % of the facts and keeps 29 % of the neighbors, and with 0.03 it writes 95 % and
# keeps 16 %. What does training add to that?
#
# * Beside $\alpha = 0.02$ MEND writes perhaps 7 points more (the interval, 0 to 15, just touches 0). In
#   what MALMEN and RLEdit write no difference is seen. In neighbors none is seen for MEND (−1, −9 to 6) and
#   MALMEN (3, −5 to 11), and RLEdit keeps 15 points more (6 to 23).
# * Beside 0.03 no difference is seen in what any of the three writes, and all three keep more neighbors:
#   MEND 12 points (3 to 20), MALMEN 16 (7 to 25) and RLEdit 28 (19 to 37). MALMEN and RLEdit may pay for
#   it with rewordings (−10, −21 to 0, for both).
#
# So MEND and MALMEN stand close to the curve of the plain step, and RLEdit stands off it. It keeps 16
# points more neighbors than MEND (9 to 22) and 12 more than MALMEN (6 to 18). Still, none of the three
# keeps half of the neighbors.
#
# ## A network that begins as the identity
#
# **MEND** trains a network to exchange each pair for a better one. What goes in is the pair of one
# token, what comes out is a pair of the same shape, and the edit is made of the new pairs exactly as
# the plain step was made of the old ones.
#
# The network reads $x = [\hat k; \hat g]$, the key and the gradient of one token, both standardized (mean
# 0 and deviation 1 over its training), and returns $[\tilde k; \tilde g]$. It has two layers, each with
# matrices $A$ and $B$ of rank $r$ and a vector $b$ that all edited matrices share, and with a scale $s$
# and an offset $t$ for every edited matrix ($\odot$ multiplies coordinate by coordinate). With the new
# pairs of all tokens $i$ the edit is $\Delta$:
#
# $$x \leftarrow x + \max\big(0,\ s \odot (B A x + b) + t\big), \qquad
# \Delta = -\alpha \sum_i \tilde g_i\,\tilde k_i^\top .$$
#
# $B$, $b$ and $t$ are zero at first. So the network returns what it was given, and the untrained
# editor is a plain step in standardized units (which also takes a mean off each pair). Training starts
# from there. (MALMEN's own network has scale and offset *outside*: $x + s \odot \max(0, BAx + b) + t$. The
# library calls the two forms `order="mend"` and `order="malmen"`.)
#
# **Predict.** At the start, then, what stands beside 0 in the $\max$ is exactly 0. $A$ is drawn at random
# and $B = 0$: which of the two moves in the first training step? And what if $\max(0, \cdot)$ is `relu`?
#
# <details><summary>Work it out</summary>
#
# The derivative of $BAx$ with respect to $A$ has $B = 0$ as a factor. So of the two only $B$ moves, and $A$
# follows from the second step on. But the derivative of $\max(0, \cdot)$ at 0 is a matter of choice.
# `relu` takes 0 there, so with it nothing would ever move. `clamp(min=0)` takes 1.
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
zero = torch.zeros(2, requires_grad=True)
(zero[0].relu() + zero[1].clamp(min=0)).backward()
print(f"slopes at 0: relu {zero.grad[0]:.0f}, clamp {zero.grad[1]:.0f}")

# %% [markdown]
# Of $A$ and $B$ only $B$ has a gradient at the start, and under `relu` it would have none either.
#
# ## Many facts: ask, then grant
#
# MEND adds up outer products. With $n$ facts each key hears the demands of all others,
# $\Delta k_j = -\alpha\sum_i \tilde g_i\,\langle \tilde k_i, k_j\rangle$, and the sum grows with the
# number of facts. **MALMEN** asks first and then solves. What goes in are again the pairs. Every
# token that is read asks for a shift $v_i$ of the output at its own key: what its own outer product
# $-\eta\,\tilde g_i \tilde k_i^\top$ alone would add there. The ridge regression of notebook 01 then grants
# all shifts (the columns of $V$) at all keys (those of $K$) together, as well as it can:
#
# $$v_i = -\eta\,\langle k_i, \tilde k_i\rangle\,\tilde g_i, \qquad
# \Delta = V K^\top (K K^\top + \lambda I)^{-1} .$$
#
# $\eta$ and $\lambda$ are learned for each matrix. The next cell has made-up keys with a part in common,
# and random shifts. "Summed" adds for each key the outer product that it would need if it were alone.

# %%
table = []
d = 256
for n in (1, 10, 100):
    K = normal(d, n) + normal(d, 1)  # a part that all keys share
    V = normal(16, n)
    summed = V @ (K / K.square().sum(0)).T  # each alone would be granted exactly
    solved = V @ K.T @ torch.linalg.inv(K @ K.T + 1.0 * torch.eye(d))  # λ = 1
    assert torch.allclose(solved, V @ memory.reach(K, None, 1.0))  # by an n × n matrix
    row = {"facts": str(n)}
    for how, change in {"summed": summed, "solved": solved}.items():
        row[f"{how}: error / shift"] = ((change @ K - V).norm() / V.norm()).item()
    table.append(row)
pd.DataFrame(table).set_index("facts").round(3)

# %% [markdown]
# With ten facts the sum misses by more than the length of what was asked for, and with a hundred by more
# than five times this length. The regression misses by less than 1 %.
#
# On which keys should it be solved? As published it is on the raw ones, the *model's keys* $k$. Ours may
# also stand on the *network's keys*, what the network made of them: $\tilde k$ in the place of $k$ in both
# formulas, with $\lambda$ in units of the mean
# $\|\tilde k\|^2$; at $\lambda = 0$ a lone token then has exactly MEND's outer product. The table joins the
# pairs of MEND's network in three ways, ten facts in one update, and nothing is trained for it:

# %%
RAW, OWN = "regression on k", "regression on k̃"
joined = {"summed": pick("MEND", 10), RAW: pick("solved on k", 10), OWN: pick("solved on k̃", 10)}
table = pd.DataFrame([line(how, row) for how, row in joined.items()]).set_index("edit")
print(table.rename_axis("MEND's pairs").to_string(), end="\n\n")
pairs = (RAW, "summed"), (OWN, RAW)
print(compared((f"{one} less {other}", joined[one], joined[other]) for one, other in pairs))

# %% [markdown]
# On $k$ the regression writes 32 points more facts than the sum (15 to 47), and it keeps 58 points more
# neighbors (46 to 67). The two kinds of keys differ: on $\tilde k$ rewordings are 25 points more than on
# $k$ (10 to 39), and neighbors 54 points fewer (44 to 63); in what is written no difference is seen. Our
# MALMEN and RLEdit solve on $\tilde k$, and are trained so. The tables below show whether the training
# wins the neighbors back.
#
# ## Two phases
#
# How is such a network trained? It is judged by what the *edited* model says: $L$ is the loss of
# rewordings with $W + \Delta$, plus the KL divergence of other texts from the model before. By the chain
# rule the gradient goes from $L$ through the language model to $\Delta$, and on through the regression to
# the network. One graph of all this would have to hold the language model and the network at once, for
# all texts. But the chain can be cut at $\Delta$. Let $D = \partial L/\partial W$ at $W + \Delta$, one
# whole matrix per edited layer. ($G$ has the gradients of single tokens as its columns, as before. The
# file of exercise 6.4 writes $G$ for $D$.) Then for every parameter $\varphi$ of the network
#
# $$\frac{\partial L}{\partial \varphi} =
# \Big\langle D, \frac{\partial \Delta}{\partial \varphi} \Big\rangle
# = \frac{\partial}{\partial \varphi} \langle D, \Delta(\varphi) \rangle
# \quad\text{with } D \text{ held fixed.}$$
#
# **Phase one**: the language model, text by text, adds up $D$ and is done. **Phase two**: the
# network alone, on the graph of $\langle D, \Delta(\varphi) \rangle$. (By hand one can go on to
# $\partial L/\partial V = D M^{-1} K$ with $M = KK^\top + \lambda I$, which is how MALMEN bounds the
# memory: the network then runs on a few columns at a time.) The keys come from the language model, so they
# are constants.
#
# We train a very small network: one factor for every coordinate, $\tilde k = a \odot \hat k$ and
# $\tilde g = b \odot \hat g$. At $a = b = 1$ it is the identity.
#
# **Your turn · exercise 6.4 · ★★★ · 10 minutes.** Write `learn`: the loss of an update, and its
# gradients with respect to $a$ and $b$. The update is MALMEN's, on the raw keys $K$. You get the model as a
# function `outcome`, from the change $\Delta$ to the loss with $W + \Delta$ and the matrix $D$, and you may
# call it once. Your function trains a network on the model below.


# %%
def learn(outcome, K, K_hat, G_hat, a, b, eta, lam):
    """K, K_hat (d_in, n), G_hat (d_out, n), a (d_in,), b (d_out,), eta, lam -> [L, ∂L/∂a, ∂L/∂b].

    outcome(Δ) -> [L, D], for Δ (d_out, d_in) without a graph.
    """
    ...


learn = use("6.4", learn)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which parts of the way from $a$ and $b$ to $L$ need a graph? At which matrix has the model to be asked
# for $D$, before anything is backpropagated?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def learn(outcome, K, K_hat, G_hat, a, b, eta, lam):
#     a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
#     asked = (K * (a[:, None] * K_hat)).sum(0)  # ⟨k, k̃⟩, (n,)
#     V = -eta * asked * (b[:, None] * G_hat)
#     delta = V @ torch.linalg.solve(K.T @ K + lam * torch.eye(K.shape[1]), K.T)
#     loss, D = outcome(delta.detach())  # phase one: the model alone, at W + Δ
#     return [loss, *torch.autograd.grad((D * delta).sum(), (a, b))]  # phase two
# ```
#
# </details>
#
# Now the model. We edit the output matrix of the last MLP, and ask for the first token of an answer.
# Nothing stands above this layer but the norm and the head, so that the whole language model, as far as
# the edit is concerned, is one line: `log_p`. What the matrix reads, $k$, and what leaves the block, $h$,
# are read once. The network learns from a hundred facts of the classroom, ten of them in each update; its
# $L$ asks one rewording and one neighbor of each.


# %%
def read(prompts):  # k and h at the last token of each prompt: (d_in, n), (d_out, n)
    ids, _ = lm.rows(prompts)
    names = [top, lm.arch.final_norm]
    seen = activations.module_inputs_at(lm, ids, [len(row) - 1 for row in ids], names)
    return [seen[name].T.float() for name in names]


def known(cases):  # k, h and the wanted token of facts, of rewordings, of neighbors
    near = [case.neighborhood[0] for case in cases]
    texts = [case.fact.text for case in cases], [case.paraphrases[0] for case in cases]
    words = [case.fact.target_new for case in cases], [probe.target for probe in near]
    new, old = ([encode_target(lm.tokenizer, word)[0] for word in some] for some in words)
    asked = zip((*texts, [probe.prompt for probe in near]), (new, new, old), strict=True)
    return [(*read(some), torch.tensor(tokens, device=lm.device)) for some, tokens in asked]


def log_p(k, h, change=None):  # of the next token, with W + Δ: (n, words)
    h = h if change is None else h + change @ k
    return lm.head(lm.model.get_submodule(lm.arch.final_norm)(h.T)).log_softmax(-1)


def nll(k, h, wanted, change=None):
    return -log_p(k, h, change)[range(len(wanted)), wanted]


# %%
def outcome(facts):  # phase one: what `learn` may call once
    _, reworded, (k, h, _) = facts
    before = log_p(k, h)

    def ask(change):
        change.requires_grad_()
        now = log_p(k, h, change)
        loss = nll(*reworded, change).mean() + (before.exp() * (before - now)).sum(-1).mean()
        return [loss.item(), torch.autograd.grad(loss, change)[0]]

    return ask


def pair(facts):  # keys and gradients of the facts themselves
    k, h, wanted = facts[0]
    h = h.clone().requires_grad_()
    return k, torch.autograd.grad(nll(k, h, wanted).sum(), h)[0]


def take(facts, some):
    return [[x[..., some] for x in part] for part in facts]


# %%
even, odd = ([case for case in lib.classroom() if case.id % 2 == rest] for rest in (0, 1))
lesson, exam = known(even[:100]), known(odd[:60])
units = [(x.mean(1, keepdim=True), x.std(1, keepdim=True)) for x in pair(lesson)]


def update(facts, ask, a, b, eta=0.001, lam=10.0):  # one update of some facts, with your function
    both = pair(facts)
    hats = [(x - mean) / std for x, (mean, std) in zip(both, units, strict=True)]
    return learn(ask, both[0], *hats, a, b, eta, lam)


a, b = (torch.ones(len(mean), device=lm.device) for mean, _ in units)
adam, curve = torch.optim.Adam([a, b], lr=0.02), []
for _ in range(12 if SCALE == "tiny" else 300):
    some = torch.randperm(100, generator=draw)[:10]
    facts = take(lesson, some)
    loss, a.grad, b.grad = update(facts, outcome(facts), a, b)
    adam.step()
    curve.append(loss)
print(
    f"mean loss of the first fifty updates {sum(curve[:50]) / 50:.2f},",
    f"of the last fifty {sum(curve[-50:]) / 50:.2f}",
)


# %%
def examine(*network):  # facts that no step has seen, in updates of ten
    found, losses = {what: [] for what in MEASURED}, []
    for some in torch.arange(60).split(10):
        facts, made = take(exam, some), []
        first = outcome(facts)

        def ask(change, first=first, made=made):  # phase one, which keeps the change
            made.append(change.detach())
            return first(change)

        losses.append(update(facts, ask, *network)[0])
        for (k, h, wanted), rows in zip(facts, found.values(), strict=True):
            rows += (log_p(k, h, made[0]).argmax(1) == wanted).float().tolist()
    return found, sum(losses) / len(losses)


# %%
ones = [torch.ones_like(x) for x in (a, b)]
identity = {f"{eta:g}": examine(*ones, eta) for eta in (3e-4, 1e-3, 2e-3, 3e-3)}
taught = examine(a, b)
named = {f"identity, η = {eta}": both for eta, both in identity.items()} | {"trained": taught}
table = pd.DataFrame([line(name, row) | {"loss": loss} for name, (row, loss) in named.items()])
print(table.set_index("edit").round(2).to_string(), end="\n\n")
pairs = ((f"trained less identity, η = {eta}", identity[eta][0]) for eta in ("0.002", "0.003"))
print(compared((say, taught[0], other) for say, other in pairs))
drawings_09.tradeoff(
    {eta: row for eta, (row, _) in identity.items()}, {"trained": taught[0]}, "identity, η"
)

# %% [markdown]
# The mean loss falls from 3.45 in the first fifty updates to 2.00 in the last, and facts that no step has
# seen follow: their loss is 2.90, where the identity has 4.41 with the same $\eta$ and nothing better
# with the others. The identity trades facts for neighbors, as the plain step did. The trained network stands
# off this curve. Beside the identity with $\eta = 0.002$ it writes 18 points more facts (7 to 29), and no
# difference in neighbors is seen (2, −7 to 10). All that it can have learned is how much each coordinate of
# $\hat k$ and $\hat g$ counts, since it has nothing else: 2,112 numbers. (This is one layer, one order of
# the updates, and the first token of each answer. And seven of ten neighbors are lost all the same.)
#
# ## The networks of this library
#
# The library brings three networks for its model, trained on rows of CounterFact. They are larger than
# yours: they have two layers as above in the place of two factors, edit several matrices in the upper
# layers, and read all tokens. A training step is the same: read pairs, write, ask rewordings and unrelated
# texts, two phases, Adam. MEND learns from single facts. MALMEN goes on from MEND's network, with updates
# of one to ten facts.
#
# **RLEdit** trains on streams. The others learn from edits of the untouched model, but in a stream
# they meet a model that has been edited many times. So one training step is a whole stream: turn $i$
# edits what turn $i - 1$ left, and is judged by its own facts and, with weights $0.95^j$, by those of
# $j$ turns before, up to a window. It is reinforcement learning in name: the "reward" is minus a loss
# whose gradient is known. Ours goes on from MALMEN's network. In a stream steps pile up, so its
# training punishes long ones, and we multiply the first edit of a model, of up to ten facts, by 1.4
# (`first_scale`, chosen on other facts than those of this page).
#
# Each file keeps its own curve: the loss on facts that were kept apart. The three have three different
# losses (single facts, updates of up to ten, streams of six turns). So each is drawn as a share of what
# it was at the start, and their heights cannot be compared.

# %%
curves = runs_09.training(editors)
for name, (steps, loss, best, cost) in curves.items():
    kept = f"kept: step {best} of {steps[-1]}, {min(loss):.2f}"
    print(f"{name}: {cost}\n   validation loss {loss[0]:.2f} at the start; {kept}")
falls = {name: torch.tensor(loss) / loss[0] for name, (_, loss, *_) in curves.items()}
steps = {name: found[0] for name, found in curves.items()}
plot.lines(steps, falls, "training steps", "validation loss, 1 at the start", ylog=True)

# %% [markdown]
# The network with the least loss is the one that this page uses, in the tables above as well. It was chosen
# by the very loss that is drawn, so its value is a little too good. MALMEN's loss does not fall steadily:
# it rises again several times. These curves cannot say how well any of the three edits, so we ask facts.
#
# ## One, ten, a hundred
#
# The sixty facts again, which no network was trained on. A table above had each alone. Now
# they are written in updates of ten, and with forty more in one update of a hundred.
#
# The plain step needs care here. It has been the *sum* over the facts, so that with one rate its length
# grows with their number. That is no fair opponent. Beside the sum with $\alpha = 0.01$ (the row *plain
# step*) the table therefore has the *mean*, which is the sum with $\alpha/n$, at three rates. The rows of
# the regression have MEND's pairs, solved on the model's keys $k$ as above; MEND was trained on single
# facts and never on an update. RLEdit also writes without its larger first step, with 1 in the place of
# 1.4. (In an update of a hundred it has no larger one, so both rows are the same. In the second table 10
# and 100 are the facts of an update.)
#
# **Predict.** Who writes most with one fact, and who with a hundred in one update?
#
# <details><summary>Answer</summary>
#
# With one fact all three networks and most rates of the plain step write nearly everything. With a
# hundred RLEdit writes most, and about half of the facts come from MEND's pairs by the regression alone.
#
# </details>

# %%
MEAN, sizes = runs_09.MEAN, (10, SIXTY["in all"])
means = long_runs.known("09_mean", MEAN, partial(runs_09.mean, mend), 1, list(MEASURED))
orders = long_runs.stored("09_orders", runs_09.ORDERS, partial(runs_09.orders, editors))
many = {name: [pick(name, size) for size in sizes] for name in ("plain step", *trained)}
many[RAW] = [pick("solved on k", size, rows=[*sixty, *means]) for size in sizes]
ONCE = runs_09.UNSCALED  # 1 in the place of 1.4; a hundred facts have no larger step
many[ONCE] = [pick(ONCE, 10, rows=orders), many["RLEdit"][1]]
lines = []
for i, size in enumerate(sizes):
    rows = {name: found[i] for name, found in many.items()}
    for rate in MEAN["rates"]:
        rows[f"mean, α = {rate:g}"] = pick(f"plain, mean, α = {rate:g}", size, rows=means)
    lines += [{"facts": size} | line(name, row) for name, row in rows.items()]
print(pd.DataFrame(lines).set_index(["facts", "edit"]).to_string(), end="\n\n")
pairs = [("100: RLEdit less " + RAW, many["RLEdit"][1], many[RAW][1])]
pairs += [("MALMEN, 100 less 10", *reversed(many["MALMEN"]))]
for one in ("MALMEN", "RLEdit", ONCE):
    pairs.append((f"10: {one} less {OWN}", many[one][0], joined[OWN]))
pairs.append((f"10: RLEdit less {ONCE}", many["RLEdit"][0], many[ONCE][0]))
print(compared(pairs))

# %% [markdown]
# In updates of ten MEND writes 38 % and keeps 3 % of the neighbors, and in the update of a hundred
# both are 0 %: its outer products pile up. Another length of the step does not help the plain step
# much. With ten facts the mean with $\alpha = 0.1$ is the sum with 0.01, and in one update of a
# hundred none of the rates writes more than 3 %.
#
# What helps is the regression. MEND's pairs, solved on $k$, write 70 % in updates of ten and 52 % in one
# of a hundred, and they keep 62 and 68 % of the neighbors: no other row that writes half of the facts
# keeps so many.
#
# And the training? MALMEN, on $\tilde k$, writes 83 % in updates of ten, the largest that it was trained
# on, and 17 % in the one of a hundred, 67 points fewer (53 to 77). RLEdit writes 97 and 72 %. In the large
# update these are 20 points more than MEND's pairs on $k$ (6 to 33), with 57 points fewer neighbors (47 to
# 66). Is it the training that costs these neighbors, or the keys? With ten facts in an update the trained
# networks can be compared with MEND's pairs on the same keys $\tilde k$:
#
# * For MALMEN no difference is seen: 2 points of the facts (−10 to 13), −2 of the rewordings (−15 to 11)
#   and 3 of the neighbors (−3 to 8).
# * RLEdit writes 15 points more (6 to 25) and keeps 14 points *more* neighbors (8 to 21). Its larger first
#   step is not what wins them: it costs RLEdit 12 points of the neighbors (6 to 18), with no difference
#   seen in facts (−2, −7 to 3), and without it the gain is 26 points (18 to 34).
#
# So on these keys no cost of the training in neighbors is seen. The keys have a cost, the 54 points in
# the table of MEND's pairs, and RLEdit wins some of them back, but far from all. Its network differs from
# MEND's in more than one thing, in the streams of its training, in where it began, and in $\eta$ and
# $\lambda$. Which of these counts was not tested.
#
# ## In a stream
#
# Now turns of ten facts, each on top of the last. After six turns we ask for the sixty facts that have
# been written; six turns are as long as the streams that RLEdit was trained on. After ten turns we ask
# for the same sixty facts again, when forty more have been written over them. Does the order of the facts
# matter? RLEdit, with and without its larger first step, and the plain step with $\alpha = 0.01$ (*plain
# step* in the tables) and with half of it write the hundred facts in five orders. Order 0 is the one of
# the other tables. The four others are drawn, so other facts come first in them. After three turns the
# thirty facts so far are asked as well. The second table is of *order 0 only*: MEND and MALMEN, which
# never saw an edited model in their training, and the plain step with $\alpha = 0.02$ were not run in the
# others.
#
# **Predict.** Will five orders tell the same story after six turns? And after ten?
#
# <details><summary>Answer</summary>
#
# After ten turns, yes: RLEdit has lost nearly everything in all of them. After six, no: it is ahead of the
# plain step in three orders, and in the two others it is not.
#
# </details>

# %%
streams = pd.DataFrame(orders[1:]).set_index(["turns", "way", "order"])[["written", "neighbors"]]
five = streams.drop(index=runs_09.TWICE, level="way")  # it was written in one order only
means = five.map(lambda some: 100 * sum(some) / len(some)).groupby(
    level=["way", "turns"], sort=False
)
ends = means.agg(lambda some: f"{some.min():.0f} to {some.max():.0f}").unstack()
print("smallest and largest share of the five orders after so many turns, in %:")
print(ends.to_string(), end="\n\n")
once = [pick(name, 10, turns) for name in ("MEND", "MALMEN") for turns in SIXTY["turns"]]
once += [row for row in orders if row["way"] == runs_09.TWICE]
lines = [{"turns": row["turns"]} | line(row["way"], row) for row in once]
print("order 0 only:", pd.DataFrame(lines).set_index(["edit", "turns"]).to_string(), sep="\n")
print("\nRLEdit less another way, in points (95 %), the facts so far in each order:")
found, ways = {}, (ONCE, "plain step", "plain step, α = 0.005")
for turns, what in ((3, "written"), (6, "written"), (6, "neighbors")):
    shares = streams[what][turns]
    for seed in range(runs_09.ORDERS["orders"]):
        pairs = {way: points(shares["RLEdit", seed], shares[way, seed]) for way in ways}
        found[turns, what, seed] = pairs
pd.DataFrame(found).T.rename_axis(["turns", "share", "order"])

# %% [markdown]
# After three turns RLEdit holds 83 to 93 % of the facts so far, in each order 50 to 73 points more than
# the plain step with either of the two smaller rates. After six turns it depends on the order:
#
# * In three of the five RLEdit is ahead of the plain step, by 25 to 52 points with $\alpha = 0.01$ and by
#   35 to 53 points with half of it. In order 2 no difference from either is seen.
# * In order 1 RLEdit holds not one fact: it is 30 points behind $\alpha = 0.01$ (18 to 42) and 22 behind
#   half of it (11 to 33). There the larger first step makes the difference: without it RLEdit holds 80
#   points more (67 to 88), and in order 4 it holds 22 points more (10 to 34). In the three other orders no
#   difference in facts is seen between the two.
# * In all five it keeps fewer neighbors than the plain step, by 20 to 50 points with $\alpha = 0.01$.
#
# After ten turns RLEdit holds at most 8 % in any order and keeps at most 3 % of the neighbors, with the
# larger first step or without. MEND and MALMEN, in their one order, hold none of the sixty facts after six
# turns already.
#
# With order 0 alone this page would have told another story: RLEdit 30 points ahead after six turns,
# and no difference seen with the larger first step. The intervals would not have warned us: they count the
# facts of one stream as if they were independent, but a model that breaks loses all of them together.
# The plain step, with the two smaller rates, loses everything in no order, but of the sixty facts it
# holds at most 30 %, so it is no good editor either. With $\alpha = 0.02$, in the one order that was
# run, no fact is left after three turns.
#
# ## What we know now
#
# * A gradient of a linear layer is $\sum g k^\top$: one pair per token, small enough for a network
#   to read and to exchange. At another key $q$ its step arrives by $\langle k, q\rangle$.
# * A network that begins as the identity makes, before its training, a plain step on standardized
#   pairs. MEND adds up outer products; MALMEN asks for shifts and lets a regression grant them.
# * The network's gradient needs one matrix per edited layer of the language model,
#   $D = \partial L/\partial W$. Model and network never share a graph.
# * With one fact, MEND, MALMEN and RLEdit kept 12, 16 and 28 points more neighbors than the plain step
#   with $\alpha = 0.03$, and no difference in what they wrote was seen.
# * With many facts outer products pile up, and a regression helps: on $k$ it spares neighbors, on
#   $\tilde k$ more rewordings follow. With ten facts in an update RLEdit wrote more and kept more
#   neighbors than MEND's pairs on the same keys $\tilde k$.
# * In streams of a hundred facts RLEdit lost nearly all of the sixty that were
#   asked, in each of five orders; in one order all were gone after six turns, which is as long as the
#   streams of its training, and there it held 80 points more without its larger first step.
#
# ## Where it breaks
#
# Editing takes one pass now, but the training came first, and it is bound to this one model. For another
# model, or for other layers, all of it has to be done again: **a network needs training, per model.**
# How much of it is learned, and how much comes from the right units? That is
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
