# %% [markdown]
# <!-- badge -->
#
# # 09 · Learning to edit: MEND, MALMEN, RLEdit
#
# ROME and WilKE search for seconds to find one vector for one fact. A gradient costs one pass forward and one backward,
# and it says in which direction every weight should go. What can a network be trained to do with it?
#
# **You will** take the gradient of a layer apart into keys and demands · find out what a step for one fact does at
# other prompts · see why such a network begins as the identity · train a small one on the model, without ever
# backpropagating through the model and the network at once.
#
# **Needs** [notebook 04](04_rome.ipynb) for keys, [notebook 05](05_memit.ipynb) for ridge.
#
# **Minutes** 35 to read and 30 to work: two exercises of [session 6](../lessons/session_6.md).
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
from functools import partial

import numpy as np
import torch

import lib
from lib import associative_memory as memory
from lib.data.facts import encode_prompt, encode_target
from lib.editors.hypernetwork import losses, network
from lib.keys_values import answer_gradients
from lib.model import activations
from lib.workbench import plot
from notebooks.support import figures, long_runs, models, own_fact, sliders
from notebooks.support import runs_09_learning_to_edit as runs_09
from notebooks.support.holes import both, guess, use

lm = models.load(SCALE, sink="own")
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
case = next(case for case in lib.classroom() if case.id == 0)
asked = {"the fact": tower.text, "reworded": case.paraphrases[0]}
asked |= {"Notre-Dame": case.neighborhood[0].prompt, "the Reichstag": case.neighborhood[3].prompt}
asked |= {"another question": "The capital of Japan is", "unrelated": case.locality[0]}
editors = runs_09.editors(lm, train=SCALE == "tiny")  # with the networks that are shipped
mend, draw = editors["mend"], torch.Generator().manual_seed(0)
COLORS = {"plain step": plot.BASE, "units alone": plot.QUIET, "MEND, solved": plot.EDITED}
COLORS |= {"unedited": plot.QUIET, "last layer": plot.EDITED, "two layers below": plot.NEIGHBOR}
NETWORKS = "MEND", "MALMEN", "RLEdit"
WAYS = "plain step", "units alone", *NETWORKS, "UltraEdit", "MEND, solved"
MARKS = dict(zip(WAYS, "osD^vPX", strict=True))  # of every figure
KEPT, NEW = "neighbors kept (%)", "prompts that say the new answer (%)"


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def each(line, function):  # {line: function}; a wrong one has a line beside the solution's
    return {line + i * ", yours": f for i, f in enumerate(both(function).values())}


# %% [markdown]
# ## What a gradient consists of
#
# A *hypernetwork* reads something about the fact and writes a change of a matrix. The gradient of
# the fact's loss is natural to read, but as large as the matrix. What does it consist of?
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
    where = "the last layer" if name == top else "two layers below"
    print(f"{where}: {pair.K.shape[1]} tokens go in, rank {rank};", end=" ")
    print(f"without the answer's position {rest:.2f} ‖∂L/∂W‖ is left")

# %% [markdown]
# Two layers below the top the attention above reads the outputs at all tokens, and each adds 1 to the rank. But the
# position that predicts the answer carries most of the length. Above the last layer nothing looks at other tokens any
# more, and "Rome" is one token, so there the gradient is one outer product. MALMEN as published reads only positions
# that predict an answer token. MEND reads all tokens, and so do all networks of this library.
#
# ## A plain step
#
# The simplest edit is one step of gradient descent with a rate $\alpha$, $\Delta = -\alpha\,GK^\top$. It was made for one prompt,
# but every prompt meets the new matrix. To the output at the key $q$ of another prompt it adds
#
# $$\Delta q = -\alpha \sum_t g_t\,\langle k_t, q\rangle .$$
#
# **Your turn · exercise 6.1 · ★ · 4 minutes.** Write `moved`: what the step adds at $q$, without forming
# the large matrix $GK^\top$.


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
# The left panel shows a step for the tower: how much of $\Delta q$, at the last token of each
# prompt, lies along the tower's own shift. On the right is p(Rome) after such a step on all
# matrices that MEND edits. Where widgets work, move the rate $\alpha$; MEND's own edit stands
# beside it.
#
# **Predict.** For which of the prompts is the share large? Is there a rate that writes the fact and spares its
# neighbors?
#
# <details><summary>Answer</summary>
#
# It is large where the key is like the fact's key. The rate is a factor of the whole step: it scales what the fact
# gets and what the neighbor gets alike. So it separates them only where the neighbor's smaller share is too little to
# change its answer.
#
# </details>

# %%
seen = lm.run(list(asked.values()), [lower, top]).seen
arrives = {}
for where, name in {"last layer": top, "two layers below": lower}.items():
    for line, f in each(where, moved).items():
        pair = pairs[name]
        shifts = [f(pair.K, pair.G, q[-1].float().cpu(), 0.01) for q in seen[name][0]]
        own = shifts[0]  # what the step adds at the fact's own prompt
        arrives[line] = [100 * (shift @ own / own.square().sum()).item() for shift in shifts]
share.against(arrives["last layer"][2])
rome = partial(
    runs_09.told, lm, list(asked.values()), "Rome"
)  # its probability under a patch, in %
fixed = {"unedited": rome(lib.EMPTY), "MEND": rome(mend.edit([tower]))}


def step(rate):
    plain = runs_09.Plain(lm, mend.modules(), rate).edit([tower])
    says = {f"plain step, α = {rate:g}": rome(plain)}
    panels = {"share of the tower's shift (%)": arrives, "p(Rome) (%)": fixed | says}
    return figures.bars(list(asked), panels, COLORS)


sliders.Slider(step, "α", (0.003, 0.01, 0.02, 0.03, 0.06), 0.02)

# %% [markdown]
# In the last layer more than half of the shift arrives at a neighbor, and more than that at another question whose
# answer is a city. The key of a neighbor, which asks for the same kind of word, is like the fact's, and no rate
# changes these shares in one layer. On the right the step at the rate first shown makes both neighbors say "Rome".
# MEND spares the other question, the Reichstag in part, and Notre-Dame not.
#
# The next cell writes your own fact with MEND.

# %%
fact = own_fact.read() or tower
with lm.patched(mend.edit([fact])):
    after = lm.answer(fact.text, 5)
print(f"{fact.text} …\nbefore: {lm.answer(fact.text, 5)!r}\nafter:  {after!r}")

# %% [markdown]
# One fact is an example. The stored runs take three draws of twenty facts, which no network was trained on, and ask for
# each the edit itself, one rewording, and two neighbors. All answers are generated. First, ten of each draw are written
# one by one. Beside the plain step stand the three networks of this library: MEND, trained on single facts, MALMEN, on
# batches, and RLEdit, on streams. *Units alone* is what they begin with, MEND before its training, at four sizes of the
# step. **UltraEdit**, the editor of the next page, has no network. An edit is better the farther it stands to the right
# and to the top. Small marks are draws, large ones are means.
#
# A network gains only if it stands above the curves of the plain step and of the units, where they keep as many
# neighbors. The cell prints how far, and from which size on such a distance would have been detected (power .8).

# %%
names = "09_mend", "09_units", "09_malmen", "09_rledit"
rows = [x for run in names for x in long_runs.rows(run)]
shares = runs_09.Shares(rows)  # in %, one per draw
single = {"plain step": [f"plain step, α = {rate:g}" for rate in runs_09.RATES]}
single["units alone"] = [f"units, η = {eta:g}" for eta in runs_09.SIZES[::-1]] + ["units alone"]
single |= {way: [way] for way in (*NETWORKS, "UltraEdit")}
print("above the curve, mean of three draws [95 %]:")
for way in NETWORKS:
    for curve in ("plain step", "units alone"):
        found = (
            f"{what} {shares.beyond(way, single[curve], what)}" for what in ("written", "reworded")
        )
        print(f"{way}, {curve}:", "; ".join(found))
said = {
    what: shares.less("UltraEdit", single["plain step"][1], "alone", what)
    for what in runs_09.MEASURED
}
print("UltraEdit less the plain step with α = 0.02:", ", ".join(map(" ".join, said.items())))
figures.tradeoff(shares.places(single, "alone"), KEPT, NEW, COLORS, MARKS)

# %% [markdown]
# **The plain step can only trade**: each rate that writes more keeps fewer neighbors. The trained networks stand a little
# above its curve. But the units alone, at a third of the size with which they begin, write everything and keep about
# as many neighbors as the networks do, and from their curve no network is told apart. **So no gain by training is shown
# here.** A gain as large as those at the ends of the lines would have been detected, a smaller one not.
#
# UltraEdit, for which nothing is trained, writes nine of ten facts in each draw and keeps far more of the
# neighbors. But hardly any of its rewordings follow. **Who looks at neighbors alone would take a narrow edit for a
# good one.** UltraEdit differs from the trained networks in more than the training, since it edits lower layers
# and reads only the tokens of the answer.
#
# ## A network that begins as the identity
#
# **MEND** trains a network to exchange each pair for a better one. The edit is made of the new pairs as the plain
# step was made of the old ones. The network reads $x = [\hat k; \hat g]$, the key and the gradient of one token,
# both standardized to mean 0 and deviation 1 over its training, and returns $[\tilde k; \tilde g]$. It has two
# layers, each with matrices $A$ and $B$ of rank $r$ and a vector $b$ that all edited matrices share, and with a
# scale $s$ and an offset $t$ for every edited matrix. With $\odot$ for a product coordinate by coordinate,
#
# $$x \leftarrow x + \max\big(0,\ s \odot (B A x + b) + t\big), \qquad
# \Delta = -\eta \sum_i \tilde g_i\,\tilde k_i^\top .$$
#
# $B$, $b$ and $t$ are zero at first. So the network returns what it was given, and the untrained editor is
# a plain step in standardized units: the *units alone* of the figure.
#
# **Predict.** $A$ is drawn at random and $B = 0$: which of the two moves in the first training step?
#
# <details><summary>Work it out</summary>
#
# The derivative of $BAx$ with respect to $A$ has $B = 0$ as a factor. So of the two only $B$ moves, and $A$
# follows from the second step on. At 0 the derivative of $\max(0, \cdot)$ is taken to be 1, or nothing would
# ever move.
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


# %% [markdown]
# ## Many facts: ask, then grant
#
# MEND adds up outer products. With $n$ facts each key hears the demands of all others,
# $\Delta k_j = -\eta\sum_i \tilde g_i\,\langle \tilde k_i, k_j\rangle$, and the sum grows with the
# number of facts. **MALMEN** asks first and then solves. Every
# token asks for a shift $v_i$ of the output at its own key: what its own outer product alone would add
# there. The ridge regression of notebook 01 then grants
# all shifts $V$ at all keys $K$ together, as well as it can:
#
# $$v_i = -\eta\,\langle k_i, \tilde k_i\rangle\,\tilde g_i, \qquad
# \Delta = V K^\top (K K^\top + \lambda I)^{-1} = V (K^\top K + \lambda I)^{-1} K^\top .$$
#
# The right form is the push-through identity of notebook 05. The $K$ of the regression are the model's keys as
# published. The networks of this library put $\tilde k$ in their place.
#
# We take a very small network: one factor for every coordinate, $\tilde k = a \odot \hat k$ and
# $\tilde g = b \odot \hat g$. At $a = b = 1$ it is the identity.
#
# **Your turn · exercise 6.4, first two steps · ★★★ · 6 minutes.** Write `shifts`, what the pairs ask for, and
# `granted`, what the regression makes of it.


# %%
def shifts(K, K_hat, G_hat, a, b, eta):
    """K, K_hat (d_in, n), G_hat (d_out, n), a (d_in,), b (d_out,), a number -> V (d_out, n)."""
    ...


def granted(V, K, lam):
    """V (d_out, n), K (d_in, n), a number -> Δ (d_out, d_in)."""
    ...


shifts = use("6.4", shifts)
granted = use("6.4", granted)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Each pair has one number $\langle k_i, \tilde k_i\rangle$ of its own. And the matrix to invert is as wide as there are pairs.
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def shifts(K, K_hat, G_hat, a, b, eta):
#     k_new, g_new = a[:, None] * K_hat, b[:, None] * G_hat
#     return -eta * (K * k_new).sum(0) * g_new
#
#
# def granted(V, K, lam):
#     small = K.T @ K + lam * torch.eye(K.shape[1])
#     return V @ torch.linalg.solve(small, K.T)
# ```
#
# </details>
#
# The figure has made-up keys with a part that all of them share, in units in which $\hat k = k$. *Summed* adds
# the outer products up, *granted* is your regression. Where widgets work, move the length of the shared part.
#
# **Predict.** With a shared part as long as what each key has of its own, how many times what was asked for does the
# sum of a hundred facts miss?

# %%
d, sizes = 256, (1, 3, 10, 30, 100)
own, common, asks = normal(d, 100), normal(d, 1), normal(16, 100)
ones = torch.ones(d).double(), torch.ones(16).double()


def misses(part):
    found, steps = {}, each("granted", granted)
    for n in sizes:
        K, G_hat = own[:, :n] + part * common, asks[:, :n]
        eta = 1 / K.square().sum(0).mean()
        V = shifts(K, K, G_hat, *ones, eta)
        wanted = granted(V, K, 1.0)
        models.same(lm, wanted, V @ memory.reach(K, None, 1.0))  # the library's
        changes = {"summed": -eta * G_hat @ K.T} | {line: f(V, K, 1.0) for line, f in steps.items()}
        for line, f in list(each("granted", shifts).items())[1:]:
            changes[line] = granted(f(K, K, G_hat, *ones, eta), K, 1.0)
        for line, change in changes.items():
            found.setdefault(line, []).append(((change @ K - V).norm() / V.norm()).item())
    return plot.lines(sizes, found, "facts in one update", "error / what was asked", xlog=True)


sliders.Slider(misses, "shared part", (0.0, 0.3, 1.0, 2.0), 1.0)

# %% [markdown]
# With keys that share a part the sum misses by several times what was asked for; the regression
# misses by next to nothing up to its hundred keys of 256 coordinates. How do real facts take it?
# The stored runs write all twenty of a draw in one update and ask ten of them. *MEND, solved* takes
# the pairs of MEND's trained network and joins them by the regression on $k$.

# %%
many = {"plain step": ["plain step, α = 0.01"]}
many |= {way: [way] for way in (*NETWORKS, "MEND, solved", "UltraEdit")}
for way in (*NETWORKS, "MEND, solved", "UltraEdit"):
    print(
        f"{way}: written",
        *(f"{x:.0f}" for x in shares(way, "together", "written")),
        "% in each draw",
    )
print("neighbors kept after twenty in one update, mean of three draws [95 %]:")
for one, other in (("MEND, solved", "MEND"), ("MALMEN", "MEND, solved"), ("MALMEN", "UltraEdit")):
    print(f"{one} less {other}:", shares.less(one, other, "together", "neighbors"))
figures.tradeoff(shares.places(many, "together"), KEPT, NEW, COLORS, MARKS)

# %% [markdown]
# **The sum breaks down.** With twenty facts MEND, which was trained on single facts, writes none of those asked, and
# its neighbors are gone. The same pairs of the same network, joined by the regression on $k$, write about half of them
# and keep most of the neighbors.
#
# MALMEN and RLEdit solve, too, but this library's read all tokens and solve on their own keys $\tilde k$, so this
# MALMEN is not the published one. RLEdit writes most facts, MALMEN many of them or few, and with the facts their
# rewordings follow, but hardly any neighbor is kept. Whether that comes from $\tilde k$ or from the networks the
# figure does not tell; MALMEN was trained on updates of ten at most. UltraEdit again keeps neighbors and not
# rewordings. **No edit of this figure makes most rewordings follow and keeps most neighbors.**
#
# ## Two phases
#
# How is such a network trained? It is judged by what the *edited* model says: $L$ is the loss of
# rewordings with $W + \Delta$, plus the KL divergence of other texts from the model before. By the chain
# rule the gradient goes from $L$ through the language model to $\Delta$, and on through the regression to
# the network. One graph of all this would have to hold the language model and the network at once, for
# all texts. But the chain can be cut at $\Delta$. Let $D = \partial L/\partial W$ at $W + \Delta$, one
# whole matrix per edited layer. Then for every parameter $\varphi$ of the network
#
# $$\frac{\partial L}{\partial \varphi} =
# \Big\langle D, \frac{\partial \Delta}{\partial \varphi} \Big\rangle
# = \frac{\partial}{\partial \varphi} \langle D, \Delta(\varphi) \rangle
# \quad\text{with } D \text{ held fixed.}$$
#
# **Phase one**: the language model, text by text, adds up $D$ and is done. **Phase two**: the
# network alone, on the graph of $\langle D, \Delta(\varphi) \rangle$. The keys come from the language model, so they
# are constants. **RLEdit** trains on streams, as an editor in a stream meets a model that has been edited many times. One
# of its training steps is a whole stream: turn $i$ edits what turn $i - 1$ left, and is judged by its own facts and,
# with weights $0.95^j$, by those of $j$ turns before.
#
# **Your turn · exercise 6.4, last step · ★★★ · 8 minutes.** Write `learn`: the loss of an update, and its
# gradients with respect to $a$ and $b$, with the two functions above. You get the model as a
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
#     delta = granted(shifts(K, K_hat, G_hat, a, b, eta), K, lam)
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


def standardized(facts):  # K, K̂ and Ĝ
    two = pair(facts)
    return two[0], *((x - mean) / std for x, (mean, std) in zip(two, units, strict=True))


taught, examined = standardized(lesson), standardized(exam)  # no edit changes them


def trained(learn, seed, turns=True):  # a and b, after updates of facts drawn with this seed
    a, b = (torch.ones(len(mean), device=lm.device) for mean, _ in units)
    adam, order = torch.optim.Adam([a, b], lr=0.05), torch.Generator().manual_seed(seed)
    for _ in range(12 if SCALE == "tiny" else 60):
        some = torch.randperm(100, generator=order)[:10]
        parts = (x[:, some] for x in taught)
        _, a.grad, b.grad = learn(outcome(take(lesson, some)), *parts, a, b, 0.001, 10.0)
        b.grad = b.grad if turns else None  # b stays 1: lengths alone are learned
        adam.step()
    return a, b


# %%
def examine(a, b, eta=0.001):  # (neighbors kept, facts written) in % of facts that no step has seen
    found = {"neighbors": [], "written": []}
    for some in torch.arange(60).split(10):
        facts, (K, K_hat, G_hat) = take(exam, some), (x[:, some] for x in examined)
        change = granted(shifts(K, K_hat, G_hat, a, b, eta), K, 10.0)
        for what, part in {"written": facts[0], "neighbors": facts[2]}.items():
            k, h, wanted = part
            found[what] += (log_p(k, h, change).argmax(1) == wanted).float().tolist()
    return [100 * sum(some) / len(some) for some in found.values()]


ones = [torch.ones(len(mean), device=lm.device) for mean, _ in units]
curve = [examine(*ones, eta) for eta in (3e-3, 2e-3, 1e-3, 3e-4)]  # from few neighbors to many
toy = {"units alone": [[place] for place in curve]}
seeds = range(2 if SCALE == "tiny" else 5)
learned = {line: partial(trained, f) for line, f in each("trained", learn).items()}
learned["lengths alone"] = partial(trained, learn, turns=False)
for line, f in learned.items():
    toy[line] = [[examine(*f(seed)) for seed in seeds]]
    over = [round(y - np.interp(x, *zip(*curve, strict=True))) for x, y in toy[line][0]]
    print(f"{line}: written above the curve of the units, points in each order: {over}")
figures.tradeoff(
    {"": toy}, KEPT, "facts written (%)", COLORS, {"trained": "D", "lengths alone": "s"}
)

# %% [markdown]
# The figure asks facts that no update has seen. The units alone make a curve over four values of $\eta$. **Here training
# gains**: five networks, which have seen their facts in five orders, all write far more than the curve does where as
# many neighbors are kept. But only a third of the neighbors are kept there. As the regression stands on $K$ itself, $a$
# only sets how long the shift of each fact is, by $\langle k, \tilde k\rangle$; $b$ can turn it. TEXT09B The
# layer and the facts are the same in all five, and what is asked is the first token.
#
# ## What we know now
#
# * A gradient of a linear layer is $\sum g k^\top$: one pair per token. At another key $q$ its step
#   arrives by $\langle k, q\rangle$.
# * A network that begins as the identity makes, before its training, a plain step on standardized
#   pairs. MEND adds up outer products; MALMEN asks for shifts and lets a regression grant them.
# * The network's gradient needs one matrix per edited layer of the language model, $D = \partial
#   L/\partial W$. Model and network never share a graph.
# * A trained network has to be compared with a plain step and with units without a network, at every size of the step.
#   A network of two vectors wrote far more than those of its units that spare as many neighbors, in each of five
#   orders. No gain is shown for the networks of the library: their units, in a smaller step, do as well. UltraEdit kept
#   many more neighbors, and lost the rewordings.
# * With twenty facts in one update the sum of MEND's pairs wrote nothing. With a regression in its place the same pairs
#   wrote about half of the facts and spared most neighbors. No editor kept most neighbors and carried most rewordings.
#
# Editing takes one gradient now, but the training came first, for each model anew. UltraEdit, which needs none, has
# stood in the figures already. How does it work? That is [notebook 10](10_ultraedit.ipynb).
#
# ## References
#
# * Mitchell et al.: *Fast Model Editing at Scale* (MEND), 2022,
#   [arXiv:2110.11309](https://arxiv.org/abs/2110.11309).
# * Tan, Zhang, Fu: *Massive Editing for Large Language Models via Meta Learning* (MALMEN), 2024,
#   [arXiv:2311.04661](https://arxiv.org/abs/2311.04661).
# * Li et al.: *Reinforced Lifelong Editing for Language Models* (RLEdit), 2025,
#   [arXiv:2502.05759](https://arxiv.org/abs/2502.05759).
