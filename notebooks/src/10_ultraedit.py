# %% [markdown]
# <!-- badge -->
#
# # 10 · UltraEdit: statistics instead of a network
#
# MALMEN's network has to be trained anew for every model. What is left if one drops the network, and
# keeps only the units in which it reads its pairs?
#
# **You will** see what it means to standardize a gradient · merge moments exactly, whoever counted
# them · write one turn of UltraEdit · find out what it does with a gradient of zero · choose the step
# size for a model of any width · take the moments away, on three draws of facts.
#
# **Needs** [notebook 09](09_learning_to_edit.ipynb): pairs (k, g), and the regression that writes shifts.
#
# **Minutes** 25 to read and 25 to work: two exercises of [session 6](../lessons/session_6.md), both
# in two steps.
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
from dataclasses import replace

import numpy as np
import torch

import lib
from lib.keys_values import answer_gradients
from lib.keys_values.running_moments import KeyGradientMoments
from lib.workbench import plot
from notebooks.support import drawings_10, figures, long_runs, models, own_fact, show, sliders
from notebooks.support import runs_10_ultraedit as runs_10
from notebooks.support.holes import both, guess, use
from notebooks.support.score_tables import by_stream

draw = torch.Generator().manual_seed(0)
RUNS = "10_draws", "10_mend", "10_malmen", "10_rledit"
own = plot.editor_color("ultraedit")
COLORS = {"lifelong": own, "UltraEdit": own, "UltraEdit, preset": plot.EDITED}
COLORS |= {"first turn": plot.NEIGHBOR, "none": plot.BASE, "plain step": plot.BASE}


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def each(line, function):  # {line: function}; a wrong one has a line beside the solution's
    return {line + i * ", yours": f for i, f in enumerate(both(function).values())}


# %% [markdown]
# We take sixty facts of CounterFact and edit the output matrices of three MLPs. At each answer
# token we need the *pair* of notebook 09: the key $k$, which is what the matrix reads there, and
# the gradient $g$ of the loss with respect to what it puts out. One forward and one backward pass
# give the pairs of all facts.

# %%
lm = models.load(SCALE, sink="own")
rows = [row for name in RUNS for row in long_runs.rows(name)]
count = 8 if SCALE == "tiny" else 60
facts = [lib.Fact(**fact) for fact in rows[0]["facts"]][:count]
editor = runs_10.editor(lm, "lifelong")  # UltraEdit as published, for three MLPs
shapes = editor.modules()  # {matrix: (d_in, d_out)}
step, ridge = editor.config.step, editor.config.ridge
# {matrix: K (d_in, n), G (d_out, n)}, one column per answer token
found = answer_gradients.read(lm, facts, list(shapes))
last = list(shapes)[-1]
d_in, d_out = shapes[last]
n = found[last].K.shape[1]
print(f"{count} facts have {n} answer tokens; keys have {d_in} numbers, gradients {d_out}")

# %% [markdown]
# ## What is left without the network
#
# In MALMEN a network reads every pair and says how the output at the key $k$ should shift, and one
# ridge regression grants all these shifts. The network does not get the pair as it is: its inputs are
# *standardized*, each coordinate by its own mean $\mu$ and its own deviation $\sigma$ over many
# facts. **UltraEdit** drops the network and keeps the standardizing. The figure shows what this does
# to the two coordinates of the gradients with the largest and the smallest deviation.

# %%
G = found[last].G.double()
order = G.std(1).argsort()
two = [order[-1].item(), order[0].item()]  # large, and small
raw = G[two]
mean, deviation = raw.mean(1, keepdim=True), raw.std(1, keepdim=True)
drawings_10.standardized(raw.numpy(), ((raw - mean) / deviation).numpy())

# %% [markdown]
# A coordinate with a large deviation does not count more than the others any longer, and the mean has
# moved to zero. In formulas, with a step $\eta$ and the strength $\lambda$ of the regression:
#
# $$\hat k = \frac{k - \mu_k}{\sigma_k}, \qquad \hat g = \frac{g - \mu_g}{\sigma_g}, \qquad
# v = -\eta\,\|\hat k\|^2\,\hat g, \qquad \Delta = V K^\top (K K^\top + \lambda I)^{-1} .$$
#
# The columns of $K$ are the keys themselves, and those of $V$ are the shifts $v$. A plain gradient
# step on the matrix would move the output at $k$ by $-\eta\|k\|^2 g$, which has the same form.
#
# Nothing is learned beforehand, no subject is needed, and no old fact is kept. From turn to turn,
# beside the edited weights, only $n$, $\mu$, $\sigma$ of keys and gradients stay.
#
# ## Moments that never forget
#
# The mean and the deviation are to be those of all facts that were ever edited, though the facts
# themselves are gone. What is kept is a **state**: a count $n$, a mean $\mu$ and the sum of squared
# deviations $S = \sum_i (x_i - \mu)^2$, from which $\sigma^2 = S/(n - 1)$. What we need is a rule that
# turns the states of two sets of numbers into the state of both together.
#
# Let the states $a$ and $b$ meet, and let $\delta = \mu_b - \mu_a$. The common mean is the mean of
# the two means, weighed by the counts, so it lies at $\mu_a + \delta\,n_b/n$.
# Around it $a$'s deviations are $(x_i - \mu_a) + (\mu_a - \mu)$. The first part sums to zero over
# $a$, so no mixed term is left when we square:
#
# $$S = S_a + n_a(\mu_a - \mu)^2 + S_b + n_b(\mu_b - \mu)^2 .$$
#
# The two distances are $\mu_a - \mu = -\delta\,n_b/n$ and $\mu_b - \mu = \delta\,n_a/n$.
# Put them in, and **Chan's merge** is there. It is exact for any split of the data.
#
# **Your turn · exercise 6.2 · ★★ · 10 minutes.** First write `chan`, the state of both sets from their two
# states. Then `settle`: a turn brings $m$ columns, which are
# merged into the state and then standardized with it. While there is only one column so far there is
# no deviation yet, and it is only centered. The moments of the turns below are counted with it.


# %%
def chan(n_a, mean_a, S_a, n_b, mean_b, S_b):
    """Two counts; means and sums (d,) -> n, mean, S of both together."""
    ...


def settle(n, mean, S, X):
    """n a number; mean, S (d,), all zero at first; X (d, m) -> the new n, mean, S, and X̂ (d, m)."""
    ...


chan = use("6.2", chan)
settle = use("6.2", settle)

# %% [markdown]
# <details><summary>Hint</summary>
#
# What do the two new terms of $S$ add up to, if $n_a n_b$ is taken out of both? And what is the
# state of the $m$ columns alone, if $m$ is 1?
#
# </details>
# <details><summary>Solution</summary>
#
# They add up to $\delta^2(n_a n_b^2 + n_b n_a^2)/n^2 = \delta^2\,n_a n_b/n$.
#
# ```python
# def chan(n_a, mean_a, S_a, n_b, mean_b, S_b):
#     n, shift = n_a + n_b, mean_b - mean_a
#     return n, mean_a + shift * n_b / n, S_a + S_b + shift**2 * n_a * n_b / n
#
#
# def settle(n, mean, S, X):
#     own = X.mean(1)
#     inner = (X - own[:, None]).pow(2).sum(1)
#     n, mean, S = chan(n, mean, S, X.shape[1], own, inner)
#     centered = X - mean[:, None]
#     return n, mean, S, centered / (S / (n - 1)).sqrt()[:, None] if n > 1 else centered
# ```
#
# </details>
#
# Where widgets work, move the place at which nine numbers are split in two: the mean of both stays where it is.
#
# **Predict.** It would be simpler to keep $\sum x$ and $\sum x^2$, which merge by adding, and to take
# $S = \sum x^2 - n\mu^2$. Try it for a thousand numbers around 1,000 with $\sigma = 1$, in float32.
# What is the variance?
#
# <details><summary>Work it out</summary>
#
# Both terms are near $10^9$, and float32 has seven digits, so each is off by up to a hundred or so.
# Their difference should be 1,000. One digit of the variance is safe.
#
# </details>


# %%
def moments(parts, dtype=torch.float64):  # mean and deviation of all columns, part after part
    zero = torch.zeros(len(parts[0]), dtype=dtype)
    state = 0, zero, zero
    for X in parts:
        *state, _ = settle(*state, X.to(dtype))
    count, mean, S = state
    return mean, (S / (count - 1)).sqrt()


x = 1000 + normal(4, 1000)
for cuts in ((500,), (1, 2, 3, 999), range(100, 1000, 100)):
    assert torch.allclose(moments(torch.tensor_split(x, list(cuts), dim=1))[1], x.std(1))
short = x[:1].float()
sums = (short.square().sum() - short.sum().square() / 1000) / 999
merged = moments(short.split(100, dim=1), torch.float32)[1].square().item()
print(f"variance: {x[0].var():.3f}; merged in float32 {merged:.3f}, from two sums {sums:.3f}")

# %%
mean_k, sigma_k = moments([pair.K for pair in found.values()])  # of our facts
mean_g, sigma_g = moments([pair.G for pair in found.values()])
seen = KeyGradientMoments.empty(d_in, d_out).merge(found.values())  # the library's
pairs = (mean_g, seen.grads.mean), (sigma_k, seen.keys.deviation)
assert all(torch.allclose(ours, theirs.double(), rtol=1e-3, atol=1e-5) for ours, theirs in pairs)

nine = torch.tensor((0.2, 1.0, 1.3, 2.1, 2.9, 3.3, 4.6, 5.2, 6.1)).double()


def split(at):
    a, b = nine[:at], nine[at:]
    states = [(len(x), x.mean(), (x - x.mean()).square().sum()) for x in (a, b)]
    joint = {line: float(f(*states[0], *states[1])[1]) for line, f in each("of both", chan).items()}
    return drawings_10.merge(a.tolist(), b.tolist(), joint)


sliders.Slider(split, "a has", tuple(range(1, 9)), 6)

# %% [markdown]
# Any split gives the same moments, and the library counts the same ones. Merging keeps its digits in float32, and
# the two sums lose theirs.
#
# ## One turn
#
# The regression inverts a matrix that is $d_\text{in}$ wide. By the push-through identity of
# notebook 05 it can as well invert one that is only as wide as there are tokens:
#
# $$\Delta = V K^\top (K K^\top + \lambda I)^{-1} = V (K^\top K + \lambda I)^{-1} K^\top = Y K^\top .$$
#
# Each of the $d_\text{in}$ numbers of $\hat k$ has a deviation of 1, so $\|\hat k\|^2$ grows with the width.
# The library therefore sets $\eta = \text{step}/d_\text{in}$, with a `step` that does not depend on it.
#
# **Your turn · exercise 6.3, first part · ★★ · 7 minutes.** Write `turn`, which returns $Y$. All
# changes of this page are written with it.


# %%
def turn(K, K_hat, G_hat, step, lam):
    """K, K_hat (d_in, n), G_hat (d_out, n), two numbers -> Y (d_out, n)."""
    ...


turn = use("6.3", turn)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Each column has its own $\|\hat k\|^2$. And which keys does the matrix read when the model runs, $k$
# or $\hat k$?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def turn(K, K_hat, G_hat, step, lam):
#     d_in, n = K.shape
#     V = -step / d_in * (K_hat * K_hat).sum(0) * G_hat
#     return torch.linalg.solve(K.T @ K + lam * torch.eye(n), V.T).T
# ```
#
# </details>


# %%
def units(pair):  # K̂ and Ĝ
    K, G = pair.K.double(), pair.G.double()
    return (K - mean_k[:, None]) / sigma_k[:, None], (G - mean_g[:, None]) / sigma_g[:, None]


def write(parts, hats=units, step=step, turn=turn):
    weights = {}
    for name, pair in parts.items():
        K = pair.K.double()
        weights[name] = lib.LowRank(((turn(K, *hats(pair), step, ridge).float(), K.T.float()),))
    return lib.Patch(weights=weights)


def moved(patch):  # ‖ΔW‖/‖W‖ of all edited matrices together, in %
    names = list(patch.weights) or [last]
    new, old = ([lm.weight(name, one).flatten() for name in names] for one in (patch, lib.EMPTY))
    return 100 * ((torch.cat(new) - torch.cat(old)).norm() / torch.cat(old).norm()).item()


# %%
theirs, ours = editor.edit(facts, check=False), write(found)
for name in shapes:
    models.same(lm, *(lm.weight(name, patch) - lm.weight(name) for patch in (ours, theirs)))
K = found[last].K.double()
granted = torch.linalg.solve(K.T @ K + ridge * torch.eye(n), K.T @ K).diagonal().median()
print(
    f"the median token is granted {granted:.0%} of its shift; the weights move {moved(ours):.1f} %"
)

# %% [markdown]
# Your turn of the sixty facts is the library's, matrix for matrix. Half of the shifts lose 2 % at
# most.
#
# ## A gradient of zero
#
# In the first figure a gradient of zero, the cross, is not at zero after standardizing, since the
# mean is taken off. A fact that the model knew for certain would have no gradient, and a plain step
# would not move for it. What does UltraEdit do?
#
# Let all gradients of a turn be $g = 0$. Then $\hat g = -\mu_g/\sigma_g$ at every token. So the shifts $v$
# of all tokens have the same direction and differ in their length only: $V$ has rank one, and
# $\Delta = a\,b^\top$ as well.
#
# **Your turn · exercise 6.3, second part · ★★ · 5 minutes.** Write `at_zero`: the two vectors $a$ and
# $b$. The turn of known facts below is written with them.


# %%
def at_zero(K, K_hat, mean_g, sigma_g, step, lam):
    """K, K_hat (d_in, n), mean_g, sigma_g (d_out,), two numbers -> a (d_out,), b (d_in,)."""
    ...


at_zero = use("6.3", at_zero)
few = count // 2
new = answer_gradients.read(lm, facts[:few], list(shapes))
print(f"a turn of {few} new facts moves the weights by {moved(write(new)):.1f} %")
far = guess(f"By how many percent does one of {few} facts whose gradients are all zero?", 0, 20)

# %% [markdown]
# <details><summary>Hint</summary>
#
# What is the same in all columns of $V$, and what is a number of each column?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def at_zero(K, K_hat, mean_g, sigma_g, step, lam):
#     size = step / len(K) * (K_hat * K_hat).sum(0)
#     b = K @ torch.linalg.solve(K.T @ K + lam * torch.eye(K.shape[1]), size)
#     return mean_g / sigma_g, b
# ```
#
# </details>
#
# Now we take prompts that the model answers rightly with the highest probability, and write them in one
# turn: as they are, and with every gradient set to 0. The plain step is `turn` without standardizing,
# with the one step size with which new facts move the weights as far as UltraEdit moves them.
#
# **Predict.** How far do both rules move the weights for known facts, and for gradients of zero? And
# what happens to the loss of the *new* facts when known ones are written?
#
# <details><summary>Work it out</summary>
#
# The plain step moves nothing for zero gradients. UltraEdit asks every one of these tokens for the
# same shift along $\mu_g/\sigma_g$. It lies along the mean gradient and not against it, so the loss
# of the new facts *rises*.
#
# </details>


# %%
probes = [probe for case in lib.classroom() for probe in case.neighborhood]
asked = list(dict.fromkeys((probe.prompt, probe.target) for probe in probes))[: 2 * few]
sure = {pair: lm.score(*pair).sum().exp().item() for pair in asked}
known = [lib.Fact(None, *pair) for pair in sorted(asked, key=sure.get)[-few:]]
as_read = answer_gradients.read(lm, known, list(shapes))
zero = {name: replace(pair, G=0 * pair.G) for name, pair in as_read.items()}


def in_rank_one(at_zero):
    weights = {}
    for name, pair in as_read.items():
        a, b = at_zero(pair.K.double(), units(pair)[0], mean_g, sigma_g, step, ridge)
        weights[name] = lib.LowRank(((a[:, None].float(), b[None].float()),))
    return lib.Patch(weights=weights)


def loss(patch):  # of the new facts, in nats per token
    with lm.patched(patch, only=True):
        scores = [lm.score(fact.text, fact.target_new) for fact in facts[:few]]
    return np.mean([-score.mean().item() for score in scores])


# %%
plain = lambda pair: (pair.K.double(), pair.G.double())  # noqa: E731
c = moved(write(new)) / moved(write(new, plain, 1.0))
turns = {"new": new, "known": as_read, "known, g = 0": zero}
patches = {"plain step": {name: write(some, plain, c) for name, some in turns.items()}}
for line, f in each("UltraEdit", turn).items():
    patches[line] = {name: write(some, turn=f) for name, some in turns.items()}
models.same(
    lm, *(lm.weight(last, x) - lm.weight(last) for x in (in_rank_one(at_zero), write(zero)))
)
for line, f in list(each("at_zero", at_zero).items())[1:]:
    patches[line] = {"known, g = 0": in_rank_one(f)}
far.against(moved(patches["UltraEdit"]["known, g = 0"]))
before = loss(lib.EMPTY)
bars = {
    "weights moved (%)": moved,
    "loss of the new facts, change (nats)": lambda x: loss(x) - before,
}
none = float("nan")
bars = {
    what: {line: [of(own[x]) if x in own else none for x in turns] for line, own in patches.items()}
    for what, of in bars.items()
}
figures.bars(list(turns), bars, COLORS)

# %% [markdown]
# These facts are known but not for certain: with their own gradients the plain step moves the weights three quarters
# as far as for new ones, and UltraEdit nearly nine tenths. With every gradient at 0 the plain step does nothing, and
# UltraEdit moves them little. But its shift is not harmless: the loss of the new facts rises, and more than when the
# known facts keep their own gradients. So taking the mean off is by itself enough to do harm. Over all columns that
# the moments have seen the mean of $\hat g$ is zero, so such shifts nearly cancel. In a turn of known facts they do
# not. The library leaves out gradients that are exactly 0, but writes small ones like any others.
#
# ## How large a step?
#
# The paper has $\eta = 10^{-6}$ for all its models, among them GPT-J, whose output projections read
# keys of 16,384 numbers.
#
# **Predict.** Which `step` is this for GPT-J, and which one for our model?
#
# <details><summary>Work it out</summary>
#
# Over the tokens that the moments have seen, every coordinate has $\sum_i \hat k_i^2 = n - 1$: that is
# what $\sigma$ means. So $\|\hat k\|^2$ is $d_\text{in}(n - 1)/n \approx d_\text{in}$ on average, and a
# shift is about $\eta\,d_\text{in}$ times $\hat g$. This is 0.0164 for GPT-J, and 0.0015 with our 1,536.
#
# </details>
#
# We try one turn of sixty facts with both, and with larger steps, and ask every third fact.

# %%
cases = [lib.Case(fact) for fact in facts[::3]]
sizes = (1e-6 * d_in, 0.0164, 0.1, step, 4 * step)
names = "answer tokens right (%)", "perplexity of other text"
curves = {what: {line: [(sizes, [])] for line in each("your turn", turn)} for what in names}
for line, f in each("your turn", turn).items():
    for size in sizes:
        tried = write(found, step=size, turn=f)
        scores = lib.evaluate(lm, cases, tried, ["teacher_forced"], metrics=["perplexity"])
        right = scores.by_case()["efficacy", "teacher_forced"]["mean"].mean()
        for what, value in zip(names, (100 * right, scores.perplexity), strict=True):
            curves[what][line][0][1].append(float(value))
figures.curves(curves, "step", xlog=True, mean=True)

# %% [markdown]
# The paper's $\eta$, the first point, writes little, and GPT-J's step, the second, not much more.
# What writes half of the tokens here is a hundred times as large, and other text pays for it. So a
# step that does not depend on the width still has to be tuned for the model.
#
# ## A cold start
#
# The moments of a turn come from the turn itself and from all turns before it. At the beginning there
# are none before it, and there may be only one fact.
#
# **Predict.** The first fact of a model's life has a one-token answer, so there is one column. What
# do its key and its gradient standardize to? And if there are two columns?
#
# <details><summary>Work it out</summary>
#
# One column is its own mean: $x - \mu = 0$ exactly, and a shift of zero is written. Two columns: $x_1
# - \mu = \frac12(x_1 - x_2)$ and $\sigma = |x_1 - x_2|/\sqrt2$, so every coordinate is
# $\pm 1/\sqrt2$, whatever the numbers were. All that is left of a gradient is its signs.
#
# </details>
#
# Now the Eiffel Tower, or your own fact from page 00, as the first of a model's life. We edit one matrix, with and without a
# *warm-up*, which reads fixed texts and edits nothing, and let the editor repeat its turn up to ten times.

# %%
for columns in (1, 2):
    some, nothing = normal(4, columns), torch.zeros(4).double()
    hat = settle(0, nothing, nothing, some)[-1]
    print(f"{columns} columns, the first coordinate:", hat[0].numpy().round(2))
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
fact = own_fact.read() or tower
own = {"down": (2 * lm.n_layers // 3,), "step": step / 10}  # all else as before
table = []
for warm, repeat in ((None, 0), ("none", 1), ("none", 10), ("statistics", 1), ("statistics", 10)):
    one = lib.EMPTY
    if warm:
        alone = lib.EDITORS["ultraedit"](lm, editor.config, warmup=warm, repeat=repeat, **own)
        one = alone.edit([fact], check=False)
    with lm.patched(one, only=True):
        p = lm.score(fact.text, fact.target_new).sum().exp().item()
        says = lm.answer(fact.text, 5)
    row = {"warm-up": warm or "no edit", "turns at most": repeat, "p(new) (%)": 100 * p}
    table.append(row | {"weights moved": "yes" if moved(one) else "no", "it says": says.strip()})
show.Table(table)

# %% [markdown]
# Without a warm-up not one weight moves, and not in ten turns either, because each reads the same column
# again. With one, the first turn changes the probability little, and repeated turns bring the answer.
#
# ## Sixty edits
#
# Does it matter that the moments are lifelong? The stored runs write three turns of twenty facts of
# CounterFact, on three draws of facts, in three ways with one regression and the largest step
# above:
#
# * **lifelong** is UltraEdit as published. It is run with half the step as well.
# * **first turn** takes the moments of the first turn, for ever. The model moves away from them.
# * **none** standardizes nothing: $v = -c\,\|k\|^2 g$. The raw gradients do not say how large $c$
#   should be, so it gets help: one $c$ per matrix, with which the median shift of the first turn is
#   as long as UltraEdit's.
#
# Next to them are UltraEdit in our form (`preset="ours"`), which makes up to 3 passes and keeps old keys as
# notebook 06 does, and the trained networks of notebook 09. A way that writes more also damages
# more, so both are drawn: an edit is better the farther it stands to the left and to the top. Every
# third fact is asked at the end, by generation, and the damage is the KL divergence of fifteen
# unrelated prompts.
#
# **Predict.** For larger models the paper reports an efficacy of 84 % with lifelong moments, 36 %
# without any and 1 % with frozen ones. Who collapses here?

# %%
draws = list(runs_10.DRAWS)
every = {(row["way"], row["scale"], row["draw"]): row for row in rows}


def drawn(way, scale):  # (KL, facts held in %) of every draw
    own = [every[way, scale, one] for one in draws]
    return [(np.mean(row["kl"]), 100 * np.mean(row["held"])) for row in own]


SHOWN = {"ultraedit": "UltraEdit, preset", "mend": "MEND", "malmen": "MALMEN", "rledit": "RLEdit"}
lines = {}
for way, scale in dict.fromkeys((way, scale) for way, scale, _ in every if way != "base"):
    lines.setdefault(SHOWN.get(way, way), []).append(drawn(way, scale))
print("less lifelong moments with the same step, mean of three draws [95 %]:")
for way in ("first turn", "none"):
    gaps = np.subtract(drawn(way, 4.0), drawn("lifelong", 4.0)).T.tolist()
    ends = [by_stream(one) for one in gaps]
    print("{}: KL {:+.2f} nats [{:+.2f}, {:+.2f}],".format(way, *ends[0]), end=" ")
    print("held {:+.0f} points [{:+.0f}, {:+.0f}]".format(*ends[1]))
damage = "KL divergence at unrelated prompts (nats)"
figures.tradeoff({"": lines}, damage, "facts held (%)", COLORS, xscale="log")

# %% [markdown]
# None of the three collapses, but **the moments matter**, and what they change is mostly the
# damage. With the same step the moments of the first turn do more than twice the damage of lifelong
# ones, in every draw, and hold fewer facts. Without any moments the damage is about twice as large
# too, and no gain in facts held is shown. A smaller step spares more still: with half of it
# lifelong moments hold somewhat fewer facts, for a quarter of the damage. Twenty facts of a draw
# are asked, so that of the facts held only a difference of 15 to 30 points could have been seen.
#
# Our form (*UltraEdit, preset* in the figure) is far from the rest: with more passes, and old keys and general text in the regression (notebooks 05, 06),
# it holds three of four facts at less than a twentieth of the damage of the largest step.
#
# Of the trained networks only RLEdit's, which has learned from streams, holds most facts after three turns, with more than
# twice the damage of the largest step. MEND adds outer products to a model that it no longer knows, and has destroyed it; MALMEN
# nearly so. **So what is left without a network?** The units and the regression alone hold more facts than MALMEN's
# network and fewer than RLEdit's, and they do less damage than either. Of these networks only the one that was trained on
# streams brings more than the units, and it pays for it.
#
# ## What we know now
#
# * UltraEdit is MALMEN without its network: the standardized units and the regression are left. One
#   forward and one backward pass and one regression make a turn, with no search and no training.
# * Count, mean and squared deviations merge exactly, in any split. They are all that UltraEdit
#   keeps of the past.
# * To standardize is more than to rescale. A gradient of zero asks for a shift along the mean
#   gradient, which moves the weights little and raises the loss of other facts. And one lone column
#   standardizes to nothing, so texts have to be read first.
# * With one large step lifelong moments did about half the damage of none and less than half of
#   those of a first turn, in three draws of facts.
#
# ## Where it breaks
#
# A turn is cheap, and there can be as many as one likes. But each adds its $\Delta$ to the same weights.
#
# **Predict.** Let the changes of all turns be unrelated and of one length. How far are the weights
# after three turns, compared with the first?
#
# <details><summary>Work it out</summary>
#
# Unrelated matrices are nearly orthogonal, so squares of lengths add: $\sqrt3 \approx 1.7$ times
# as far. Standardizing gives the shifts of every turn about one size. It does not bound the sum of all
# turns.
#
# </details>

# %%
turns = [runs_10.TURN * i for i in range(1, len(rows[1]["change"]) + 1)]
far = {}
for way in ("lifelong", "first turn", "none"):
    own = [every[way, 4.0, one]["change"] for one in draws]
    far[way] = 100 * np.mean(own, 0)
far["orthogonal turns"] = far["lifelong"][0] * np.sqrt(np.arange(1, len(turns) + 1))
colors = COLORS | {"orthogonal turns": plot.QUIET}
dashes = {"orthogonal turns": "--"}
plot.lines(turns, far, "edits", "‖ΔW‖ / ‖W‖ (%)", colors=colors, dashes=dashes, ylim=(0, None))

# %% [markdown]
# With lifelong moments the weights move as orthogonal turns would move them, and with those of the first
# turn faster. Part of the remedy is in notebooks 05 and 06: weigh general text, and keep the keys. But
# **weights fill up all the same**: in a stream of ten thousand facts, which [notebook
# 16](16_at_scale.ipynb) draws, half of the first hundred are gone at the end. What if one leaves the
# weights alone? That is [notebook 11](11_grace.ipynb).
#
# ## References
#
# * Gu, Huang, Gu, Zhang: *UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing in
#   Language Models*, 2025, [arXiv:2505.14679](https://arxiv.org/abs/2505.14679).
# * StableEdit, 2026: lifelong normalization, [arXiv:2605.11836](https://arxiv.org/abs/2605.11836).
# * Chan, Golub, LeVeque: *Updating Formulae […] for Computing Sample Variances*, 1979.
