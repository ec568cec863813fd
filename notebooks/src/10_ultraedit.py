# %% [markdown]
# <!-- badge -->
#
# # 10 · UltraEdit: statistics instead of a network
#
# MALMEN's network has to be retrained for every model. What is left if you drop the network and keep only the units
# in which it reads its pairs?
#
# **You will** standardize a gradient · merge moments exactly, no matter how the data was split · write one turn of
# UltraEdit · find out how it handles a gradient of zero · choose the step size · remove the moments · find out why
# rewordings don't follow.
#
# **Needs** [notebook 09](09_learning_to_edit.ipynb): pairs (k, g), and the regression for writing shifts.
#
# **Minutes** 25 to read and 40 to work: three exercises of [session 6](../lessons/session_6.md), in
# two and three steps.

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
import json
from dataclasses import replace

import numpy as np
import torch

import lib
from lib.keys_values import answer_gradients
from lib.keys_values.running_moments import KeyGradientMoments
from lib.workbench import plot
from notebooks.support import drawings_10, figures, long_runs, models, own_fact, show
from notebooks.support import runs_10_ultraedit as runs_10
from notebooks.support.holes import both, guess, use
from notebooks.support.score_tables import by_stream, detects

draw = torch.Generator().manual_seed(0)
RUNS = "10_draws", "10_mend", "10_malmen", "10_rledit"
OWN = plot.editor_color("ultraedit")
COLORS = {"lifelong": OWN, "UltraEdit": OWN, "UltraEdit, preset": plot.EDITED}
COLORS |= {"first turn": plot.NEIGHBOR, "none": plot.BASE, "plain step": plot.BASE}


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def each(line, function):  # {line: function}; a wrong function gets a line next to the solution's
    return {line + i * ", yours": f for i, f in enumerate(both(function).values())}


# %% [markdown]
# We take 60 facts from CounterFact and edit the output matrices of three MLPs. At each answer token we need the
# *pair* of notebook 09: the key $k$, which is the matrix's input at that token, and the gradient $g$ of the loss with
# respect to the matrix's output. A single forward and backward pass gives the pairs of all facts.

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
# ## UltraEdit without a network
#
# In MALMEN, a network reads every pair and predicts how the output at the key $k$ should shift, and a single ridge
# regression grants all these shifts. The network does not get the raw pair: its inputs are *standardized*, each
# coordinate by its own mean $\mu$ and its own standard deviation $\sigma$ over many facts. **UltraEdit** drops the
# network and keeps the standardizing. The figure shows the effect on two coordinates of the gradients, those with the
# largest and the smallest deviation.

# %%
G = found[last].G.double()
order = G.std(1).argsort()
two = [order[-1].item(), order[0].item()]  # large, and small
raw = G[two]
mean, deviation = raw.mean(1, keepdim=True), raw.std(1, keepdim=True)
drawings_10.standardized(raw.numpy(), ((raw - mean) / deviation).numpy())

# %% [markdown]
# A coordinate with a large deviation no longer counts more than the others, and the mean has moved to zero. As
# formulas, using a step $\eta$ and the strength $\lambda$ of the regression:
#
# $$\hat k = \frac{k - \mu_k}{\sigma_k}, \qquad \hat g = \frac{g - \mu_g}{\sigma_g}, \qquad
# v = -\eta\,\|\hat k\|^2\,\hat g, \qquad \Delta = V K^\top (K K^\top + \lambda I)^{-1} .$$
#
# The columns of $K$ are the keys themselves, and the columns of $V$ are the shifts $v$. A plain gradient step on the
# matrix would move the output at $k$ by $-\eta\|k\|^2 g$, which has the same form.
#
# UltraEdit needs no training in advance and no subject, and it keeps no old facts. Apart from the edited weights,
# only $n$, $\mu$, $\sigma$ of keys and gradients are carried from turn to turn.
#
# ## Moments that never forget
#
# We want the mean and the deviation over all facts ever edited, even though the facts themselves are gone. So we keep
# a **state**: a count $n$, a mean $\mu$ and the sum of squared deviations $S = \sum_i (x_i - \mu)^2$, from which
# $\sigma^2 = S/(n - 1)$. We then need a rule for merging the states of two sets of numbers into the state of their
# union.
#
# Suppose that we merge the states $a$ and $b$, and let $\delta = \mu_b - \mu_a$. The common mean is the mean of the
# two means, weighted by the counts, so it is $\mu_a + \delta\,n_b/n$. Around it, $a$'s deviations are
# $(x_i - \mu_a) + (\mu_a - \mu)$. The first part sums to zero over $a$, so there is no cross term after squaring:
#
# $$S = S_a + n_a(\mu_a - \mu)^2 + S_b + n_b(\mu_b - \mu)^2 .$$
#
# The two distances are $\mu_a - \mu = -\delta\,n_b/n$ and $\mu_b - \mu = \delta\,n_a/n$. Substituting them gives
# **Chan's merge**, which is exact for any split of the data.
#
# **Your turn · exercise 6.2 · ★★ · 10 minutes.** First write `chan`, which computes the state of both sets from their
# two states. Then write `settle`: a turn brings $m$ columns, which are merged into the state and then standardized
# using it. As long as there is only one column in total, the deviation is undefined, and the column is only centered.
# All moments on this page are computed with your `settle`.


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
# What do the two new terms of $S$ add up to when you factor out $n_a n_b$? And what is the state of the $m$ columns
# by themselves if $m$ is 1?
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
# **Predict.** It would be simpler to keep $\sum x$ and $\sum x^2$, which can be merged by adding, and to compute
# $S = \sum x^2 - n\mu^2$. Try this for a thousand numbers around 1,000 with $\sigma = 1$, using float32. What is the
# variance?
#
# <details><summary>Work it out</summary>
#
# Both terms are near $10^9$, and float32 has seven digits, so each is off by up to a hundred or so. Their difference
# should be 1,000. One digit of the variance is safe.
#
# </details>


# %%
def moments(parts, dtype=torch.float64):  # mean and deviation of all columns, part by part
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

mean_k, sigma_k = moments([pair.K for pair in found.values()])  # of our facts
mean_g, sigma_g = moments([pair.G for pair in found.values()])
seen = KeyGradientMoments.empty(d_in, d_out).merge(found.values())  # the library's
pairs = (mean_g, seen.grads.mean), (sigma_k, seen.keys.deviation)
assert all(torch.allclose(ours, theirs.double(), rtol=1e-3, atol=1e-5) for ours, theirs in pairs)

# %% [markdown]
# Any split gives the same moments as the library's. In float32, merging keeps its digits, and the two sums lose theirs.
#
# ## One turn
#
# The regression inverts a matrix that is $d_\text{in}$ wide. By the push-through identity of notebook 05, you can
# instead invert a matrix that is only as wide as the number of tokens:
#
# $$\Delta = V K^\top (K K^\top + \lambda I)^{-1} = V (K^\top K + \lambda I)^{-1} K^\top = Y K^\top .$$
#
# Each of the $d_\text{in}$ numbers of $\hat k$ has a deviation of 1, so $\|\hat k\|^2$ grows with the width. The
# library therefore sets $\eta = \text{step}/d_\text{in}$, using a `step` that doesn't depend on the width.
#
# **Your turn · exercise 6.3, first part · ★★ · 7 minutes.** Write `turn`, which returns $Y$. All changes on this page
# are written with it.


# %%
def turn(K, K_hat, G_hat, step, lam):
    """K, K_hat (d_in, n), G_hat (d_out, n), two numbers -> Y (d_out, n)."""
    ...


turn = use("6.3", turn)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Each column has its own $\|\hat k\|^2$. And which keys does the matrix read when the model is running, $k$ or
# $\hat k$?
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


def moved(patch):  # ‖ΔW‖/‖W‖ over all edited matrices, in %
    names = list(patch.weights) or [last]
    new, old = ([lm.weight(name, one).flatten() for name in names] for one in (patch, lib.EMPTY))
    return 100 * ((torch.cat(new) - torch.cat(old)).norm() / torch.cat(old).norm()).item()


theirs, ours = editor.edit(facts, check=False), write(found)
for name in shapes:
    models.same(lm, *(lm.weight(name, patch) - lm.weight(name) for patch in (ours, theirs)))
K = found[last].K.double()
granted = torch.linalg.solve(K.T @ K + ridge * torch.eye(n), K.T @ K).diagonal().median()
print(f"the median token gets {granted:.0%} of its shift; the weights move {moved(ours):.1f} %")

# %% [markdown]
# For the 60 facts, our turn matches the library's in every matrix. Half of the shifts lose at most 2%.
#
# ## A gradient of zero
#
# In the first figure, a gradient of zero (the cross) is no longer at zero after standardizing, because the mean is
# subtracted. If the model knew a fact for certain, the fact would have no gradient, and a plain step would not move
# for it. How does UltraEdit treat such a fact?
#
# Suppose that all gradients of a turn are $g = 0$. Then $\hat g = -\mu_g/\sigma_g$ at every token. So the shifts $v$
# of all tokens point in the same direction, differing only in length: $V$ has rank one, and so does
# $\Delta = a\,b^\top$.
#
# **Your turn · exercise 6.3, second part · ★★ · 5 minutes.** Write `at_zero`, returning the two vectors $a$ and $b$.
# We write the turn of known facts below with them.


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
# Which part is the same in all columns of $V$, and which number differs from column to column?
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
# Now we take prompts that the model answers correctly with the highest probability, and write them in a single turn:
# unmodified, and with every gradient set to 0. The plain step is `turn` without standardizing, using the single step
# size at which new facts move the weights as far as they do with UltraEdit.
#
# **Predict.** How far do both rules move the weights for known facts, and for gradients of zero? And what happens to
# the loss of the *new* facts when we write known ones?
#
# <details><summary>Work it out</summary>
#
# The plain step moves nothing if the gradients are zero. UltraEdit requests the same shift along $\mu_g/\sigma_g$ at
# every one of these tokens. The shift points along the mean gradient, not against it, so the loss of the new facts
# *rises*.
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


plain = lambda pair: (pair.K.double(), pair.G.double())  # noqa: E731
c = moved(write(new)) / moved(write(new, plain, 1.0))
turns = {"new": new, "known": as_read, "known, g = 0": zero}

# %%
patches = {"plain step": {name: write(some, plain, c) for name, some in turns.items()}}
for line, f in each("UltraEdit", turn).items():
    patches[line] = {name: write(some, turn=f) for name, some in turns.items()}
ends = [lm.weight(last, x) - lm.weight(last) for x in (in_rank_one(at_zero), write(zero))]
models.same(lm, *ends)
for line, f in list(each("at_zero", at_zero).items())[1:]:
    patches[line] = {"known, g = 0": in_rank_one(f)}
far.against(moved(patches["UltraEdit"]["known, g = 0"]))
before = loss(lib.EMPTY)
change = "loss of the new facts, change (nats)"
measures = {"weights moved (%)": moved, change: lambda x: loss(x) - before}
bars = {
    what: {
        line: [of(own[x]) if x in own else np.nan for x in turns] for line, own in patches.items()
    }
    for what, of in measures.items()
}
far_new, *moves = bars["weights moved (%)"]["UltraEdit"]
_, *rises = bars[change]["UltraEdit"]
for x, move, rise in zip(list(turns)[1:], moves, rises, strict=True):
    print(
        f"UltraEdit, {x}: {move / far_new:.0%} as far as new ones, whose loss rises by {rise:.2f}"
    )
figures.bars(list(turns), bars, COLORS)

# %% [markdown]
# These facts are known, but not for certain: using their own gradients, UltraEdit moves the weights 86% as far as for
# new facts. When every gradient is 0, the plain step does nothing, and UltraEdit still moves the weights 10% as far,
# raising the loss of the new facts three times as much as with the known facts' own gradients. (This is a single set
# of facts.) The library skips gradients that are exactly 0, but writes small
# gradients like any others.
#
# ## How large a step?
#
# The paper uses $\eta = 10^{-6}$ for all its models, including GPT-J, whose output projections read keys of 16,384
# numbers.
#
# **Predict.** Which `step` does this correspond to for GPT-J, and which for our model?
#
# <details><summary>Work it out</summary>
#
# Over the tokens included in the moments, every coordinate has $\sum_i \hat k_i^2 = n - 1$, by the definition of
# $\sigma$. So $\|\hat k\|^2$ is $d_\text{in}(n - 1)/n \approx d_\text{in}$ on average, and a shift is about
# $\eta\,d_\text{in}$ times $\hat g$. This is 0.0164 for GPT-J, and 0.0015 with our 1,536.
#
# </details>
#
# We try one turn of 60 facts with both steps and with larger ones, testing every third fact.

# %%
cases = [lib.Case(fact) for fact in facts[::3]]
sizes = {"unedited": 0.0, "the paper's η": 1e-6 * d_in, "GPT-J's step": 0.0164}
sizes |= {"ours, a quarter": 0.1, "ours": step, "four times": 4 * step}
table = []
for line, f in each("", turn).items():
    for name, size in sizes.items():
        tried = write(found, step=size, turn=f) if size else lib.EMPTY
        events = ["teacher_forced", "generation"]
        scores = lib.evaluate(lm, cases, tried, events, metrics=["perplexity"])
        right = scores.by_case()
        row = {"step": f"{size:.4f}: {name}{line}"}
        for event, column in zip(events, ("tokens right (%)", "facts given (%)"), strict=True):
            row[column] = 100 * float(right["efficacy", event]["mean"].mean())
        table.append(row | {"perplexity of other text": float(scores.perplexity)})
show.Table(table)

# %% [markdown]
# The paper's $\eta$ writes nothing here, and GPT-J's step barely more. The model gives 40% of the facts only at a step a
# hundred times as large, which damages other text. So even a step that doesn't depend on the width has to be tuned.
#
# ## A cold start
#
# The moments of a turn come from the turn itself and from all turns before it. At the start there are no earlier
# turns, and there may be only one fact.
#
# **Predict.** The first fact of a model's life has a one-token answer, so there is only one column. What do its key
# and its gradient standardize to? And what if there are two columns?
#
# <details><summary>Work it out</summary>
#
# A single column is its own mean, so $x - \mu = 0$ exactly, and UltraEdit writes a shift of zero. With two columns,
# $x_1 - \mu = \frac12(x_1 - x_2)$ and $\sigma = |x_1 - x_2|/\sqrt2$, so every coordinate is $\pm 1/\sqrt2$, whatever
# the numbers were. All that is left of a gradient is its signs.
#
# </details>
#
# Now we write the Eiffel Tower, or your own fact from page 00, as the first fact of a model's life. We edit a single
# matrix, with and without a *warm-up*, which reads fixed texts without editing anything, and let the editor repeat
# its turn up to ten times.

# %%
for columns in (1, 2):
    some, nothing = normal(4, columns), torch.zeros(4).double()
    hat = settle(0, nothing, nothing, some)[-1]
    print(f"{columns} columns, the first coordinate:", hat[0].numpy().round(2))
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
fact = own_fact.read() or tower
own = {"down": (2 * lm.n_layers // 3,), "step": step / 10}  # all other settings are unchanged
table = []
for warm, repeat in ((None, 0), ("none", 1), ("none", 10), ("statistics", 1), ("statistics", 10)):
    one = lib.EMPTY
    if warm:
        alone = lib.EDITORS["ultraedit"](lm, editor.config, warmup=warm, repeat=repeat, **own)
        one = alone.edit([fact], check=False)
    with lm.patched(one, only=True):
        p = lm.score(fact.text, fact.target_new).sum().exp().item()
        says = lm.answer(fact.text, 5)
    row = {"warm-up": warm or "no edit", "maximum turns": repeat, "p(new) (%)": 100 * p}
    table.append(row | {"weights moved": "yes" if moved(one) else "no", "answer": says.strip()})
show.Table(table)

# %% [markdown]
# Without a warm-up, not a single weight moves, however often the turn is repeated, because each turn reads the same
# column again. With a warm-up, repeating the turn brings the answer.
#
# ## What the moments are for
#
# Standardizing looks like **Adam**, which also divides every coordinate of a gradient by its usual size. But Adam
# tracks each weight separately and forgets old steps, while UltraEdit tracks the two factors and forgets nothing. And
# Adam divides by $\sqrt{\mathbb E[g^2]}$, not by the deviation, and subtracts no mean, so a gradient of zero stays zero.
#
# The stored runs write 60 facts of CounterFact in three turns, and a hundred of ZsRE in ten, three times each. *First
# turn* keeps using the moments of the first turn, and *none* standardizes nothing: $v = -c\,\|k\|^2 g$, choosing $c$
# so that the median shift of the first turn is as long as UltraEdit's. Lines connect the step sizes of a variant:
# better edits are farther to the left and closer to the top. The left panel also includes UltraEdit in our form
# (`preset="ours"`) and the networks of notebook 09.
#
# **Predict.** Others quote the paper with an efficacy of 84% with lifelong moments, 36% without any and 1% with
# frozen ones. Which variant collapses here?
#
# <details><summary>Answer</summary>
#
# None of the three.
#
# </details>


# %%
def apart(name, one, less):  # (damage, held) of each stream
    (kl, held), (kl_0, held_0) = np.transpose(one), np.transpose(less)
    gaps = list(held - held_0)
    middle, low, high = by_stream(gaps)
    print(f"{name}: held {middle:+.0f} points [{low:+.0f}, {high:+.0f}],", end=" ")
    print(f"detects {detects(gaps):.0f}; damage", *(f"{x:.1f} ×" for x in kl / kl_0))


SHOWN = {"ultraedit": "UltraEdit, preset", "mend": "MEND", "malmen": "MALMEN", "rledit": "RLEdit"}
panels = {"sixty edits, CounterFact": {}, "a hundred edits, ZsRE": {}}
panel, other = panels.values()
for way, scale in dict.fromkeys((row["way"], row["scale"]) for row in rows if row["way"] != "base"):
    drawn = [row for row in rows if (row["way"], row["scale"]) == (way, scale)]
    panel.setdefault(SHOWN.get(way, way), []).append(
        [(np.mean(row["kl"]), 100 * np.mean(row["held"])) for row in drawn]
    )
ends = [row for row in long_runs.paper("ultraedit_long_zsre")["rows"] if row.get("turn") == 10]
for way in ("lifelong", "first turn", "none"):
    for scale in (0.25, 0.5, 1.0):
        drawn = [row for row in ends if (row["way"], row["scale"]) == (way, scale)]
        other.setdefault(way, []).append(
            [(np.mean(row["kl"]), 100 * np.mean(row["said"])) for row in drawn]
        )
for title, lines in panels.items():
    for way in ("first turn", "none"):
        apart(f"{title}, {way}, less lifelong moments", lines[way][-1], lines["lifelong"][-1])
apart("a hundred, half of the largest step less the largest", *other["lifelong"][1:])
apart("sixty, RLEdit less lifelong moments", panel["RLEdit"][-1], panel["lifelong"][-1])

damage = "KL divergence at unrelated prompts (nats)"
figures.tradeoff(panels, damage, "facts held (%)", COLORS, xscale="log")

# %% [markdown]
# **Frozen moments do the most damage**: with the same step more than twice as much as lifelong ones, in all six
# streams. In the 60 edits they also hold fewer facts. Without any moments, the damage was larger in the 60 edits but
# not in the hundred, and only a difference of 43 points in facts held would have been detected. In the hundred, half
# of the largest step does a quarter to a third of its damage; more facts held is not shown.
#
# Our form makes more passes and includes old keys and general text in the regression (notebooks 05 and 06). It holds
# three of four facts, at less than a twentieth of the damage of the largest step. **So what is left without a
# network?** More facts than MEND's and MALMEN's networks hold, and those networks almost destroy the model. Only
# RLEdit's network, trained on streams, holds more facts than the units by themselves, doing one and a half to three
# times their damage.
#
# ## Why rewordings do not follow
#
# UltraEdit writes a prompt, and rewordings rarely follow ([notebook 14](14_lifelong.ipynb)). At a rewording, the
# matrix can only act on the part of its key $k'$ that it has in common with the keys of the edit:
#
# $$\Delta k' = V\,(K^\top K + \lambda I)^{-1} K^\top k' .$$
#
# The $n$ numbers to the right of $V$ show how much of each shift arrives at $k'$.
#
# **Your turn · exercise 6.5 · ★★★ · 15 minutes.** `arrives` returns these numbers. `share` is everything that arrives
# at $k'$ along this fact's own $v_i$, including shifts of other facts, which may point the same way. `wider` splits
# wordings for the last section: the last `kept` wordings of each fact are tested, and all wordings before them are
# written.


# %%
def arrives(K, lam, k_new):
    """K (d_in, n), a number, k_new (d_in,) -> (n,): how much of each token's shift is in Δ k′."""
    ...


def share(V, K, lam, k_new, i):
    """V (d_out, n), the others as above, i from 0 -> ⟨v_i, Δ k′⟩ / ‖v_i‖², a number."""
    ...


def wider(facts, kept):
    """facts [[wordings, answer], …] -> [written, asked]: [prompt, answer] each; `kept` are asked."""
    ...


arrives = use("6.5", arrives)
share = use("6.5", share)
wider = use("6.5", wider)

# %% [markdown]
# <details><summary>Hint</summary>
#
# At one of the edit's own keys, with a small λ, which numbers must `arrives` give?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def arrives(K, lam, k_new):
#     return torch.linalg.solve(K.T @ K + lam * torch.eye(K.shape[1]), K.T @ k_new)
#
#
# def share(V, K, lam, k_new, i):
#     arrived = V @ arrives(K, lam, k_new)
#     return V[:, i] @ arrived / (V[:, i] @ V[:, i])
#
#
# def wider(facts, kept):
#     written = [[prompt, answer] for prompts, answer in facts for prompt in prompts[:-kept]]
#     asked = [[prompt, answer] for prompts, answer in facts for prompt in prompts[-kept:]]
#     return [written, asked]
# ```
#
# </details>
#
# We read 30 facts in three ways: each in its own wording, in another wording, and in its own wording about *another
# subject*. We read them right before the answer, in `down`, in the layers of this page, and in `gate, up`, in the
# last third, following the authors' setting for Llama. We also read them at the subject's last token in layer 3,
# following ROME.
#
# **Predict.** Type in two fractions, and decide which of the two columns, rewording or another subject, is higher for
# each.
#
# <details><summary>Work it out</summary>
#
# Right before the answer, one wording has *of* and another has *is*, while the same wording about another subject has
# the same token. All wordings have the subject's token in common.
#
# </details>

# %%
WHERE = ("own", "rewording", "another subject")
arms = {"down": runs_10.arm(lm, "plain"), "gate, up": runs_10.arm(lm, "modules × ¼")}
places = {place: list(writer.modules()) for place, writer in arms.items()}
worded = runs_10.worded(4 if SCALE == "tiny" else 30)
every = list(dict.fromkeys(name for names in places.values() for name in names))
read = {what: runs_10.first_tokens(lm, worded[what], every) for what in worded}
at_answer = guess("Which fraction of a shift arrives at a rewording, in `down`?", 0, 1)
at_subject = guess("And of ROME's shift, at the subject's last token in layer 3?", 0, 1)


# %%
def arriving(f, place, what):  # for each fact, the mean over the matrices of a place
    shares = []
    for name in places[place]:
        K, new = read["own"][name][0], read[what][name][0]
        shares.append([float(f(K, ridge, k)[i]) for i, k in enumerate(new.T)])
    return np.mean(shares, 0)


strips = {place: {what: arriving(arrives, place, what) for what in WHERE} for place in places}
for f in list(both(arrives).values())[1:]:
    strips["down, yours"] = {what: arriving(f, "down", what) for what in WHERE}
layer = lib.EDITORS["rome"](lm).config.layer
K = {what: lm.keys(worded[what], layer).cpu().double() for what in WHERE}
U = torch.linalg.solve(lib.second_moment(lm, [layer])[layer].C.cpu().double(), K["own"])
strips["ROME"] = {what: ((U * K[what]).sum(0) / (U * K["own"]).sum(0)).numpy() for what in WHERE}
at_answer.against(np.median(strips["down"]["rewording"]))
at_subject.against(np.median(strips["ROME"]["rewording"]))
for place, columns in strips.items():
    medians = (f"{what} {np.median(columns[what]):.2f}" for what in WHERE)
    print(f"{place}, median fraction that arrives:", ", ".join(medians))


# %%
def log_p(patch):  # log p of the new answers at the rewordings
    with lm.patched(patch, only=True):
        scores = [lm.score(fact.text, fact.target_new) for fact in worded["rewording"]]
    return np.array([score.sum().item() for score in scores])


base, gains = log_p(lib.EMPTY), {}
for place, writer in arms.items():
    gained = log_p(writer.edit(worded["own"], check=False)) - base
    gains[place] = strips[place]["rewording"], gained
    r = np.corrcoef(*gains[place])[0, 1]
    print(f"{place}: correlation of fraction and gain at the rewordings {r:.2f}")
colors = {"down": OWN, "gate, up": plot.EDITED, "ROME": plot.BASE}
drawings_10.arriving(strips, gains, colors)

# %% [markdown]
# **All wordings contain the subject's token, but right before the answer each has its own key.** In `down`, the key at
# that token belongs to the wording: the median rewording gets 20% of the shift, the same words about another subject
# get 85%. ROME's key belongs to the subject: 92% and 11%. The keys of `gate` and `up`
# in the last third are in between. For a single fact, this fraction predicts only roughly how much log p it gains
# (right panel).
#
# ## What we know now
#
# * UltraEdit is MALMEN without its network, leaving the standardized units and the regression. Its moments merge
#   exactly, in any split.
# * Standardizing does more than rescaling. If a gradient is zero, it requests a shift along the mean gradient, which
#   moves the weights little and raises the loss of other facts. And if there is only one column, it standardizes to
#   nothing, so UltraEdit has to read texts first.
# * Choosing the step means trading facts against damage. Of the moments, only those frozen in the first turn are
#   clearly worse.
# * At the token right before the answer, a shift reaches the same words about another subject better than other words
#   about the same subject. At the subject's token, the opposite is true.
#
# ## Where it breaks
#
# If rewordings have their own keys, you might also write some of them. We write one wording of each fact, then two,
# and test a third. The table shows the results for 60 facts, using stored rows, together with two other remedies.
#
# **Predict.** Does writing the second wording help the third?
#
# <details><summary>Answer</summary>
#
# The model *gives* no more of them, but more often prefers the new answer to the old one.
#
# </details>

# %%
texts = [
    [[one.text for one in some], some[0].target_new]
    for some in zip(*(worded[x] for x in ("own", "rewording", "third")), strict=True)
]
asked = read["third"][last][0]
for kept, name in ((2, "one wording"), (1, "two wordings")):
    some = [lib.Fact(None, *pair) for pair in wider(texts, kept)[0]]
    K, G = runs_10.first_tokens(lm, some, [last])[last]
    K_hat, G_hat = units(replace(found[last], K=K, G=G))
    V = -step / d_in * (K_hat * K_hat).sum(0) * G_hat
    for line, f in each("", share).items():
        shares = [float(f(V, K, ridge, k, (3 - kept) * i)) for i, k in enumerate(asked.T)]
        print(f"{name} written{line}: at a third wording arrives {np.median(shares):.2f} (median)")
SUSPECTS = {"plain": "as above", "two wordings": "two wordings written"}
SUSPECTS |= {"subject's token": "at the subject's last token", "modules × ¼": "in gate, up"}
stored, table = {row["arm"]: row for row in long_runs.paper("ultraedit_suspects")["rows"]}, []
for arm, name in SUSPECTS.items():
    row = stored[arm]
    line = {"sixty facts": name, "facts given (%)": 100 * np.mean(row["facts"]["generation"])}
    for event, of in (("generation", "said"), ("probability", "more probable than the old")):
        line[f"rewordings, {of} (%)"] = 100 * np.mean(row["reworded"][event])
    table.append(line | {"KL, unrelated (nats)": np.mean(row["kl"])})
for event, of in (("generation", "said"), ("probability", "likelier than the old")):
    two, one = (stored[arm]["reworded"][event] for arm in ("two wordings", "plain"))
    gaps = 100 * np.subtract(two, one)
    half = 2.0 * gaps.std(ddof=1) / len(gaps) ** 0.5  # Student's factor for sixty facts
    ends = f"{gaps.mean():+.0f} points [{gaps.mean() - half:+.0f}, {gaps.mean() + half:+.0f}]"
    print(f"rewordings, {of}, two wordings less one: {ends}, over {len(gaps)} facts")
file = root / "tests/benchmarks/long_stream.json"
for point in json.loads(file.read_text(encoding="utf-8"))["ultraedit, preset"]["points"]:
    for one in point["first"]:
        if (one["metric"], one["event"]) == ("efficacy", "generation") and point["edits"] in (
            1000,
            10_000,
        ):
            print(f"{100 * one['mean']:.0f} of the first hundred held after {point['edits']:,}")
show.Table(table)

# %% [markdown]
# With two wordings, 42% of a shift arrives at the third instead of 40%. (Both are above the figure's 20%, as `share`
# includes the shifts of other facts, and this is a third wording.) The model *gives* the new answer to as many
# rewordings and prefers it to the old one for 12 points more, in one stream, and the damage nearly doubles. At the
# subject's last token, it gives twice as many. Writing other modules helps most:
# using `gate` and `up`, with their own step, the model gives all 60 facts and 63% of the rewordings, at a third of
# the damage.
#
# But every turn still adds its $\Delta$ to the same weights, and **weights fill up**: in a stream of ten thousand
# facts, plotted in [notebook 16](16_at_scale.ipynb), 77 of the first hundred were held after a thousand edits, and 49
# at the end. What if we leave the weights unchanged? That is the topic of [notebook 11](11_grace.ipynb).
#
# ## References
#
# * Gu, Huang, Gu, Zhang: *UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing in
#   Language Models*, 2025, [arXiv:2505.14679](https://arxiv.org/abs/2505.14679).
# * StableEdit, 2026: lifelong normalization, [arXiv:2605.11836](https://arxiv.org/abs/2605.11836).
# * Chan, Golub, LeVeque: *Updating Formulae […] for Computing Sample Variances*, 1979.
