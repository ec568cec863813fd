# %% [markdown]
# <!-- badge -->
#
# # 09 · Learning to edit: MEND, MALMEN, RLEdit
#
# ROME and WilKE search for seconds to find a single vector for a single fact. A gradient takes one forward and one
# backward pass, and it gives a direction for every weight. What can a network be trained to make of it?
#
# **You will** split a layer's gradient into keys and demands · see how a step for one fact affects other prompts · find
# out why such a network starts as the identity · train a small one on the model, without ever backpropagating through
# both at once.
#
# **Needs** [notebook 04](04_rome.ipynb) for keys, [notebook 05](05_memit.ipynb) for ridge regression.
#
# **Minutes** 35 to read and 30 to work: two exercises of [session 6](../lessons/session_6.md).
#
# Run the folded cell below, then continue reading.

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
from notebooks.support import figures, long_runs, models, own_fact, show, sliders
from notebooks.support import runs_09_learning_to_edit as runs_09
from notebooks.support.holes import both, guess, use

lm = models.load(SCALE, sink="own")
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
case = next(case for case in lib.classroom() if case.id == 0)
asked = {"the fact": tower.text, "reworded": case.paraphrases[0]}
asked |= {"Notre-Dame": case.neighborhood[0].prompt, "the Reichstag": case.neighborhood[3].prompt}
asked |= {"another question": "The capital of Japan is", "unrelated": case.locality[0]}
editors = runs_09.editors(lm, train=SCALE == "tiny")  # with the library's trained networks
mend, draw = editors["mend"], torch.Generator().manual_seed(0)
COLORS = {"plain step": plot.BASE, "units alone": plot.QUIET, "MEND, solved": plot.EDITED}
COLORS |= {"unedited": plot.QUIET, "last layer": plot.EDITED, "two layers below": plot.NEIGHBOR}
NETWORKS = "MEND", "MALMEN", "RLEdit"
WAYS = "plain step", "units alone", *NETWORKS, "UltraEdit", "MEND, solved", "unedited"
MARKS = dict(zip(WAYS, "osD^vPX*", strict=True))  # of every figure
KEPT, NEW = "neighbors kept (%)", "prompts with the new answer (%)"


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def each(line, function):  # {line: function}; a wrong function gets a line next to the solution's
    return {line + i * ", yours": f for i, f in enumerate(both(function).values())}


# %% [markdown]
# ## What a gradient consists of
#
# A *hypernetwork* reads something about the fact and outputs a change to a matrix. The gradient of the fact's loss is a
# natural input, but it is as large as the matrix itself. What is it made of?
#
# A linear layer maps the key $k_t$ of each token to $y_t = Wk_t$. Let $g_t = \partial L/\partial y_t$ be the gradient
# at the output for token $t$; the loss demands that $y_t$ move along $-g_t$. Now change $W$ by $dW$. The keys come from
# the layers below and don't change, so each $y_t$ moves by $dW\,k_t$, and $dL = \sum_t g_t^\top dW\,k_t = \big\langle
# \sum_t g_t k_t^\top, dW \big\rangle$. If the $g_t$ are the columns of $G$ and the $k_t$ the columns of $K$, then
#
# $$\frac{\partial L}{\partial W} = \sum_t g_t\,k_t^\top = G K^\top .$$
#
# **Predict.** For the prompt "The Eiffel Tower is located in the city of" and the answer "Rome", what is the rank of
# the gradient of a matrix with 576 rows?
#
# <details><summary>Answer</summary>
#
# At most the number of tokens that the layer reads. The matrix has 884,736 entries, but each token brings only
# $d_\text{in} + d_\text{out} = 2{,}112$ numbers. A network can read these.
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
    print(f"{where}: {pair.K.shape[1]} tokens, rank {rank};", end=" ")
    print(f"without the answer's position, {rest:.2f} ‖∂L/∂W‖ remains")

# %% [markdown]
# Two layers below the top, the attention above reads the outputs at all tokens, and each token adds 1 to the rank. But
# most of the gradient's length comes from the position that predicts the answer. Above the last layer, nothing looks at
# other tokens anymore, and "Rome" is a single token, so the gradient there is one outer product. As published, MALMEN
# reads only the positions that predict an answer token. MEND reads all tokens, and so do all networks of this library.
#
# ## A plain step
#
# The simplest edit is one step of gradient descent using a rate $\alpha$, $\Delta = -\alpha\,GK^\top$. It is made for
# one prompt, but every prompt meets the new matrix. At the key $q$ of another prompt, it changes the output by
#
# $$\Delta q = -\alpha \sum_t g_t\,\langle k_t, q\rangle .$$
#
# **Your turn · exercise 6.1 · ★ · 5 minutes.** Write `moved`, which returns this change without forming the large
# matrix $GK^\top$.


# %%
def moved(K, G, q, alpha):
    """K (d_in, n), G (d_out, n), q (d_in,), a number -> Δ q (d_out,)."""
    ...


moved = use("6.1", moved)
share = guess("What percentage of the tower's own shift reaches Notre-Dame's prompt?", 0, 100)

# %% [markdown]
# <details><summary>Hint</summary>
#
# There are two ways to put brackets in $GK^\top q$. Which way needs only short vectors?
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
# The left panel shows a step for the tower: at the last token of each prompt, the part of $\Delta q$ that points along
# the tower's own shift. The right panel shows p(Rome) after such a step on all matrices that MEND edits, compared with
# MEND's own edit. Where widgets work, move the rate $\alpha$.
#
# **Predict.** For which prompts is this part large? Is there a rate that writes the fact and spares its neighbors?
#
# <details><summary>Answer</summary>
#
# It is large if the prompt's key is similar to the fact's key. The rate multiplies the whole step, scaling the shifts
# of the fact and of the neighbor by the same factor. So it separates them only if the neighbor's smaller part is too
# small to change its answer.
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
rome = partial(runs_09.told, lm, list(asked.values()), "Rome")  # {patch: p(Rome) in %}
fixed = {"unedited": rome(lib.EMPTY), "MEND": rome(mend.edit([tower]))}


def step(rate):
    plain = runs_09.Plain(lm, mend.modules(), rate).edit([tower])
    says = {f"plain step, α = {rate:g}": rome(plain)}
    panels = {"part of the tower's shift (%)": arrives, "p(Rome) (%)": fixed | says}
    return figures.bars(list(asked), panels, COLORS)


sliders.Slider(step, "α", (0.003, 0.01, 0.02, 0.03, 0.06), 0.02)

# %% [markdown]
# In the last layer, more than half of the shift reaches a neighbor, and even more reaches another question whose answer
# is a city. A neighbor asks for the same kind of word, so its key is similar to the fact's key, and no rate can change
# these proportions within a layer. On the right, the step with the rate first shown makes both neighbors say "Rome".
# MEND spares the other question and, in part, the Reichstag, but not Notre-Dame.
#
# The next cell writes your own fact with MEND.

# %%
fact = own_fact.read() or tower
with lm.patched(mend.edit([fact])):
    after = lm.answer(fact.text, 5)
print(f"{fact.text} …\nbefore: {lm.answer(fact.text, 5)!r}\nafter:  {after!r}")

# %% [markdown]
# One fact is just an example. The stored runs take three draws of twenty facts that no network was trained on. First, ten
# facts of each draw, 26 different ones in all, are written one by one, each into the unedited model. We test the fact
# itself, one rewording, and two neighbors, and all answers are generated. We compare the plain step with the three
# networks of this library: MEND was trained on single facts, MALMEN on batches, RLEdit on streams. *Units alone* is MEND
# before its training, at four sizes of its step. **UltraEdit**, the editor of the next page, has no network.
#
# You can choose the size of a step without any training. So a network gains something only if it is above the *curve*
# of all sizes. (Any point between two sizes can be reached by tossing a coin for each fact.) The table gives each
# network's height above both curves at the same percentage of neighbors, with its 95% interval over these facts, and the
# smallest gain that this design would have detected (power .8). In the figure, better edits are farther to the right and
# closer to the top. Large marks are means, and small marks are draws.

# %%
names = "09_mend", "09_units", "09_malmen", "09_rledit"
shares = runs_09.Shares([row for run in names for row in long_runs.rows(run)])
curves = {"plain step": [f"plain step, α = {rate:g}" for rate in runs_09.RATES]}
curves["units alone"] = ["units alone"] + [f"units, η = {eta:g}" for eta in runs_09.SIZES]
table = []
for way in NETWORKS:
    for curve, ways in curves.items():
        row = {"network": way, "curve": curve}
        for what in ("written", "reworded"):
            gap, detects = shares.beyond(way, ways, what)
            row |= {f"{what}: above by": gap, f"{what}: detectable": round(detects)}
        table.append(row)
show.Table(table)

# %%
print("UltraEdit less the plain step with α = 0.02:", end=" ")
for what in runs_09.MEASURED:
    print(what, shares.less("UltraEdit", "plain step, α = 0.02", "alone", what), end="; ")
single = curves | {way: [way] for way in (*NETWORKS, "UltraEdit", "unedited")}
figures.tradeoff(shares.places(single, "alone"), KEPT, NEW, COLORS, MARKS)

# %% [markdown]
# **The plain step can only trade**: every rate that writes more keeps fewer neighbors. The networks are some points above
# its curve, and some points below the curve of the units, but every interval contains 0. The units, using a third of
# their first step, write every fact and keep about as many neighbors as the networks do. **So we see no gain by training
# here.** A gain of 18 to 22 points over the units would have been detected, or of 23 to 28 points over the plain step; a
# smaller gain could have been missed. And each network was trained only once.
#
# UltraEdit, which isn't trained at all, writes nine of ten facts in each draw and keeps far more of the neighbors. But
# very few of its rewordings follow. **If you look only at neighbors, a narrow edit seems to be a good edit.** Training
# isn't the only difference between UltraEdit and the networks: it edits lower layers and reads only the answer's tokens.
#
# ## A network that begins as the identity
#
# **MEND** trains a network to replace each pair with a better one. The edit is made from the new pairs, just as the
# plain step is made from the old ones. The network reads $x = [\hat k; \hat g]$, the key and the gradient of one token,
# both standardized to mean 0 and deviation 1 over the training data, and returns $[\tilde k; \tilde g]$. It has two
# layers. Each has matrices $A$ and $B$ of rank $r$ and a vector $b$, which all edited matrices share, and a scale $s$
# and an offset $t$ for each edited matrix. Using $\odot$ for multiplication coordinate by coordinate,
#
# $$x \leftarrow x + \max\big(0,\ s \odot (B A x + b) + t\big), \qquad
# \Delta = -\eta \sum_i \tilde g_i\,\tilde k_i^\top .$$
#
# At first, $B$, $b$ and $t$ are zero. So the network returns its input, and the untrained editor is a plain step in
# standardized units: *units alone* in the figure.
#
# **Predict.** $A$ is drawn at random, and $B = 0$. Which of the two changes in the first training step?
#
# <details><summary>Work it out</summary>
#
# The derivative of $BAx$ with respect to $A$ contains the factor $B = 0$. So only $B$ changes at first, and $A$ follows
# from the second step on. At 0, the derivative of $\max(0, \cdot)$ is taken to be 1, because otherwise nothing would
# ever change.
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
# MEND adds up outer products. With $n$ facts, each key also receives the demands of all other facts,
# $\Delta k_j = -\eta\sum_i \tilde g_i\,\langle \tilde k_i, k_j\rangle$, and the sum grows with the number of facts.
# **MALMEN** asks first, then solves. Every token asks for a shift $v_i$ of the output at its own key: the shift that its
# outer product would cause there by itself. The ridge regression of notebook 01 then grants all shifts $V$ at all keys
# $K$ together, as well as it can:
#
# $$v_i = -\eta\,\langle k_i, \tilde k_i\rangle\,\tilde g_i, \qquad
# \Delta = V K^\top (K K^\top + \lambda I)^{-1} = V (K^\top K + \lambda I)^{-1} K^\top .$$
#
# The form on the right is the push-through identity of notebook 05. As published, $K$ contains the model's keys. The
# networks of this library use $\tilde k$ instead.
#
# We take a very small network, with one factor for each coordinate: $\tilde k = a \odot \hat k$ and
# $\tilde g = b \odot \hat g$. If $a = b = 1$, it is the identity.
#
# **Your turn · exercise 6.4, first two steps · ★★★ · 10 minutes.** Write `shifts`, which returns the shifts that the
# pairs ask for, and `granted`, which returns the change that the regression makes of them.


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
# Each pair has its own number $\langle k_i, \tilde k_i\rangle$. And the matrix to invert is only as wide as there are
# pairs.
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
# The figure uses made-up keys with a common part, in units in which $\hat k = k$. *Summed* adds up the outer products,
# *granted* is your regression. Where widgets work, move the length of the common part.
#
# **Predict.** Suppose that the common part is as long as the rest of each key. For a hundred facts, how many times as
# large as the requested shifts is the error of the sum?

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
    return plot.lines(sizes, found, "facts in one update", "error / requested shifts", xlog=True)


sliders.Slider(misses, "common part", (0.0, 0.3, 1.0, 2.0), 1.0)

# %% [markdown]
# If the keys have a common part, the error of the sum is several times as large as the requested shifts; the regression
# misses by almost nothing for up to 100 keys of 256 coordinates. What about real facts? The stored runs write all
# twenty facts of a draw in one update and test ten of them. There are three draws, and the third shares facts with the
# other two. *MEND, solved* takes the pairs of MEND's trained network and combines them using the regression on $k$.

# %%
many = {"plain step": ["plain step, α = 0.01"]}
many |= {way: [way] for way in (*NETWORKS, "MEND, solved", "UltraEdit", "unedited")}
for way in (*NETWORKS, "MEND, solved", "UltraEdit"):
    written = ", ".join(f"{x:.0f}" for x in shares(way, "together", "written"))
    print(f"{way}: {written} % written, draw by draw")
print("neighbors kept after twenty in one update, mean of three draws [95 %]:")
for one, other in (("MEND, solved", "MEND"), ("MALMEN", "MEND, solved"), ("MALMEN", "UltraEdit")):
    print(f"{one} less {other}:", shares.less(one, other, "together", "neighbors"))
figures.tradeoff(shares.places(many, "together"), KEPT, NEW, COLORS, MARKS)

# %% [markdown]
# **The sum breaks down.** With twenty facts, MEND, which was trained on single facts, writes none of the ten tested, and
# its neighbors are gone. If the same pairs of the same network are combined by the regression on $k$, about half of the
# facts are written, and most of the neighbors are kept.
#
# MALMEN and RLEdit also solve a regression, but in this library they read all tokens and solve on their own keys
# $\tilde k$, so this MALMEN is not the published one. RLEdit writes most facts, while MALMEN writes many or few of them,
# depending on the draw. Rewordings follow, but very few neighbors are kept. The figure can't show whether this is due to
# $\tilde k$ or to the networks; MALMEN was trained on updates of ten facts at most. UltraEdit again keeps neighbors but
# loses rewordings. **No edit in this figure keeps most neighbors and makes most rewordings follow.**
#
# ## Two phases
#
# How is such a network trained? Its loss $L$ depends on the answers of the *edited* model: the loss of rewordings with
# $W + \Delta$, plus the KL divergence of other texts from the unedited model. By the chain rule, the gradient flows from
# $L$ through the language model to $\Delta$, then through the regression to the network. A single graph for all this
# would have to include the language model and the network at once, for all texts. But the chain can be cut at $\Delta$.
# Let $D = \partial L/\partial W$ at $W + \Delta$, a full matrix for each edited layer. Then for every parameter
# $\varphi$ of the network,
#
# $$\frac{\partial L}{\partial \varphi} =
# \Big\langle D, \frac{\partial \Delta}{\partial \varphi} \Big\rangle
# = \frac{\partial}{\partial \varphi} \langle D, \Delta(\varphi) \rangle
# \quad\text{with } D \text{ held fixed.}$$
#
# **Phase one** runs the language model, adding up $D$ text by text. **Phase two** uses only the network, on the graph of
# $\langle D, \Delta(\varphi) \rangle$. The keys come from the language model, so they are constants. **RLEdit** trains on
# streams, because in a stream an editor meets a model that has been edited many times. Each of its training steps is a
# whole stream: turn $i$ edits the model left by turn $i - 1$, and its loss includes its own facts and, with weights
# $0.95^j$, the facts from $j$ turns earlier.
#
# **Your turn · exercise 6.4, last step · ★★★ · 15 minutes.** Write `learn`, which returns the loss of an update and its
# gradients with respect to $a$ and $b$, using the two functions above. You get the model as a function `outcome`, which
# maps a change $\Delta$ to the loss with $W + \Delta$ and the matrix $D$. You may call it once. Your function will train
# a network on the model below.


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
# Which parts of the path from $a$ and $b$ to $L$ need a graph? And at which matrix do you need $D$ before anything can
# be backpropagated?
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
# Now for the model. We edit the output matrix of the last MLP and test the first token of an answer. The only parts
# above this layer are the norm and the head, so as far as the edit is concerned, the whole language model is one line:
# `log_p`. We read the matrix's input $k$ and the block's output $h$ only once. The network learns from a hundred facts
# of the classroom, using ten in each update; its $L$ includes one rewording and one neighbor of each.


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
def outcome(facts):  # phase one: `learn` may call it once
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


def trained(learn, seed, turns=True):  # a and b; the seed decides the order
    a, b = (torch.ones(len(mean), device=lm.device) for mean, _ in units)
    adam, order = torch.optim.Adam([a, b], lr=0.05), torch.Generator().manual_seed(seed)
    for _ in range(12 if SCALE == "tiny" else 60):
        some = torch.randperm(100, generator=order)[:10]
        parts = (x[:, some] for x in taught)
        _, a.grad, b.grad = learn(outcome(take(lesson, some)), *parts, a, b, 0.001, 10.0)
        b.grad = b.grad if turns else None  # if b stays 1, only lengths are learned
        adam.step()
    return a, b


# %%
def examine(a, b, eta=0.001):  # neighbors kept and facts written, in % of facts not trained on
    found = {"neighbors": [], "written": []}
    for some in torch.arange(60).split(10):
        facts, (K, K_hat, G_hat) = take(exam, some), (x[:, some] for x in examined)
        change = granted(shifts(K, K_hat, G_hat, a, b, eta), K, 10.0)
        for what, part in {"written": facts[0], "neighbors": facts[2]}.items():
            k, h, wanted = part
            found[what] += (100.0 * (log_p(k, h, change).argmax(1) == wanted)).tolist()
    return np.array([*found.values()])


ones = [torch.ones(len(mean), device=lm.device) for mean, _ in units]
curve = [examine(*ones, eta) for eta in (3e-3, 2e-3, 1e-3, 3e-4)]  # from few neighbors to many
toy = {"units alone": [[place.mean(1)] for place in curve]}
seeds = range(2 if SCALE == "tiny" else 3)
learned = {line: partial(trained, f) for line, f in each("trained", learn).items()}
learned["lengths alone"] = partial(trained, learn, turns=False)
for line, f in learned.items():
    orders = [examine(*f(seed)) for seed in seeds]
    toy[line] = [[place.mean(1) for place in orders]]
    gap, detects = runs_09.above(sum(orders) / len(orders), curve)
    print(f"{line}: written {gap} above the curve of the units (detects {detects:.0f})")
look = COLORS | {"lengths alone": plot.NEIGHBOR}, {"trained": "D", "lengths alone": "s"}
figures.tradeoff({"": toy}, KEPT, "facts written (%)", *look)

# %% [markdown]
# The figure tests 60 facts that no update has seen. The units give a curve for four values of $\eta$. **Here, training
# gains**: three networks, trained on three orders of the facts, are far above this curve, by 31 points on average (17
# to 46). But they keep only a third of the neighbors. Because the regression uses $K$ itself, $a$ only sets the length
# of each fact's shift, by $\langle k, \tilde k\rangle$, while $b$ can turn it. *Lengths alone* trains only $a$, and we
# see no gain (0 points, −7 to 7; 10 points would have been detected). **So the gain needs $b$.** All three networks
# have the same layer and the same facts, and only the first token is tested.
#
# ## What we know now
#
# * A gradient of a linear layer is $\sum g k^\top$, one pair per token. At another key $q$, each $g$ arrives multiplied
#   by $\langle k, q\rangle$.
# * A network that begins as the identity is at first a plain step on standardized pairs. MEND adds up outer products;
#   MALMEN asks for shifts and lets a regression grant them. Training needs one matrix per edited layer of the language
#   model, $D = \partial L/\partial W$, so the model and the network never share a graph.
# * A trained network has to be compared with a plain step and with its own units before training, at every size of the
#   step. Compared in this way, a network of two vectors gained much, but for the library's networks we see no gain; 22
#   points or more over the units would have been detected. UltraEdit kept many more neighbors, and lost the rewordings.
# * With twenty facts in one update, the sum of MEND's pairs wrote nothing. Using a regression instead, the same pairs
#   wrote about half of the facts and spared most neighbors. No editor kept most neighbors and carried most rewordings.
#
# An edit now takes only one gradient, but a network has to be trained first, separately for each model. UltraEdit needs
# no training. How does it work? That is [notebook 10](10_ultraedit.ipynb).
#
# ## References
#
# * Mitchell et al.: *Fast Model Editing at Scale* (MEND), 2022,
#   [arXiv:2110.11309](https://arxiv.org/abs/2110.11309).
# * Tan, Zhang, Fu: *Massive Editing for Large Language Models via Meta Learning* (MALMEN), 2024,
#   [arXiv:2311.04661](https://arxiv.org/abs/2311.04661).
# * Li et al.: *Reinforced Lifelong Editing for Language Models* (RLEdit), 2025,
#   [arXiv:2502.05759](https://arxiv.org/abs/2502.05759).
