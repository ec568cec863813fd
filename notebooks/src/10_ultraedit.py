# %% [markdown]
# <!-- badge -->
#
# # 10 · UltraEdit: statistics instead of a network
#
# MALMEN's network has to be trained, for every model anew. How much of it was learning, and how
# much only the right units? At the end of this page you have edited with no network at all.
#
# **You will** merge moments exactly, whoever counted them · write one turn of UltraEdit in four
# lines · find the step size of a model of any width · see one fact standardize to nothing · take
# the moments away, 1,000 edits long.
#
# **Needs** [notebook 09](09_learning_to_edit.ipynb): pairs (k, g), and the regression that writes
# shifts.
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
from lib import plot
from lib.keys_values import answer_gradients
from lib.keys_values.running_moments import KeyGradientMoments, RunningMoments
from notebooks.support import checks_10_ultraedit as checks_10
from notebooks.support import models, show, stored_runs
from notebooks.support import runs_10_ultraedit as runs_10

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


# %% [markdown]
# ## What is left without the network
#
# In MALMEN every answer token asks for a shift $v = -\eta\,\langle k, \tilde k\rangle\,\tilde g$ of
# the output at its own key $k$, and one ridge regression grants all shifts. $\tilde k$ and
# $\tilde g$ come from a network that reads the *standardized* pair. **UltraEdit** takes the network
# out and keeps the standardizing, each coordinate by its own mean $\mu$ and deviation $\sigma$:
#
# $$\hat k = \frac{k - \mu_k}{\sigma_k}, \qquad \hat g = \frac{g - \mu_g}{\sigma_g}, \qquad
# v = -\eta\,\|\hat k\|^2\,\hat g, \qquad \Delta = V K^\top (K K^\top + \lambda I)^{-1} .$$
#
# A plain gradient step would move the output by $-\eta\|k\|^2 g$: the same, in other units. Dividing
# a gradient by its typical size, coordinate by coordinate, is what Adam does too. Adam's sizes come
# from the steps of one training; here they come from all facts that were ever edited. Nothing is
# learned, no subject is needed, and no old fact is kept. What is kept is $\mu$ and $\sigma$.
#
# ## Moments that never forget
#
# A **state** is a count $n$, a mean $\mu$ and the sum of squared deviations
# $S = \sum_i (x_i - \mu)^2$, so $\sigma^2 = S/(n - 1)$. Let two states $a$ and $b$ meet. Around the
# common mean, $a$'s deviations are $(x_i - \mu_a) + (\mu_a - \mu)$. The first part sums to zero
# over $a$, so no mixed term is left:
#
# $$S = S_a + n_a(\mu_a - \mu)^2 + S_b + n_b(\mu_b - \mu)^2 .$$
#
# With $\delta = \mu_b - \mu_a$ the common mean is $\mu_a + \delta\,n_b/n$, which leaves
# $\mu_a - \mu = -\delta\,n_b/n$ and $\mu_b - \mu = \delta\,n_a/n$. Put in:
#
# $$n = n_a + n_b, \qquad \mu = \mu_a + \delta\,\frac{n_b}{n}, \qquad
# S = S_a + S_b + \delta^2\,\frac{n_a n_b}{n} .$$
#
# This is **Chan's merge**, exact for any split of the data.
#
# **Predict.** Simpler: keep $\sum x$ and $\sum x^2$, which merge by adding, and take
# $S = \sum x^2 - n\mu^2$. A thousand numbers around 1,000 with $\sigma = 1$, in float32. What is
# the variance?
#
# <details><summary>Work it out</summary>
#
# Both terms are near $10^9$, and float32 has seven digits: each is off by up to a hundred or so.
# Their difference should be 1,000. The variance has hardly one right digit.
#
# </details>

# %%
x = 1000 + normal(4, 1000)
whole = RunningMoments.empty(4).merge(x)
for cuts in ((500,), (1, 2, 3, 999), range(100, 1000, 100)):
    state = RunningMoments.empty(4)
    for part in torch.tensor_split(x, list(cuts), dim=1):
        state = state.merge(part)
    assert torch.allclose(state.mean, whole.mean) and torch.allclose(state.S, whole.S)
short = x.float()
sums = (short.square().sum(1) - short.sum(1).square() / 1000) / 999
merged = (whole.S / 999).tolist()
print("variance, merged  ", ", ".join(f"{s:.3f}" for s in merged))
print("variance, two sums", ", ".join(f"{s:.3f}" for s in sums.tolist()))

# %% [markdown]
# Any split merges to the same. The two sums are wrong in the second digit, or the first.
#
# ## One turn, by hand
#
# A hundred facts of CounterFact, three layers. The *features* $k$, $g$ of all come from one forward
# and backward pass; then moments; then standardize, scale, solve. One state per shape of matrix.

# %%
lm = models.load(SCALE)
STREAM = runs_10.STREAM  # of the stored run: the editor's settings, lines, points
if stored_runs.long():
    for rows in runs_10.Lifelong(lm, runs_10.counterfact(1000), STREAM).lines():
        stored_runs.save("10_moments", STREAM, rows)
rows = stored_runs.load("10_moments", STREAM)["rows"]
count = 8 if SCALE == "tiny" else STREAM["batch"]
cases = [lib.Case(lib.Fact(**fact)) for fact in rows[0]["facts"]]
cases, facts = cases[: 2 * count], [case.fact for case in cases]
editor = runs_10.Lifelong(lm, cases, STREAM).editor("lifelong")
step, strength, shapes = editor.config.step, editor.config.ridge, editor.modules()
d_in, d_out = next(iter(shapes.values()))

# {module: K (d_in, n), G (d_out, n)}
found = answer_gradients.read(lm, facts[:count], list(shapes))
seen = KeyGradientMoments.empty(d_in, d_out).merge(found.values())
patch = editor.edit(facts[:count])
for name, pair in found.items():
    K, (k_hat, g_hat) = pair.K.double(), seen.standardize(pair)
    V = -step / d_in * k_hat.square().sum(0) * g_hat  # (d_out, n)
    reach = K.T @ torch.linalg.inv(K @ K.T + strength * torch.eye(d_in).double())
    dual = torch.linalg.inv(K.T @ K + strength * torch.eye(K.shape[1]).double()) @ K.T
    change = (lm.weight(name, patch) - lm.weight(name)).cpu().double()
    assert torch.allclose(reach, dual, atol=1e-9)  # as in notebook 05
    assert (change - V @ reach).norm() < 1e-3 * change.norm() or lm.dtype != torch.float32
arrives = (reach @ K).diagonal().median()
print(f"{K.shape[1]} answer tokens: a matrix {K.shape[1]} wide to invert instead of {d_in}")
print(f"median ‖k‖² {K.square().sum(0).median():.1f}, λ = {strength:g}; {arrives:.2f} arrives")

# %% [markdown]
# The same to rounding, and a matrix 124 wide is inverted instead of 1,536. $\lambda$ is small
# beside $\|k\|^2$, so nearly every shift is granted (0.97, the median).
#
# ## How large a step?
#
# **Predict.** The paper has $\eta = 10^{-6}$ for all its models. How large is $\|\hat k\|^2$, and
# what follows for a smaller model?
#
# <details><summary>Work it out</summary>
#
# Over the rows that the moments have seen, every coordinate has $\sum_i \hat k_i^2 = n - 1$: that
# is what $\sigma$ means. So $\|\hat k\|^2$ is $d_\text{in}(n - 1)/n \approx d_\text{in}$ on
# average, and the step is about $\eta\,d_\text{in}$: 0.0164 with the 16,384 inputs of GPT-J's
# output projection, 0.0015 with our 1,536.
#
# </details>
#
# So the library's setting is `step` $= \eta\,d_\text{in}$, free of the width.

# %%
table = []
for some in (0.0, 1e-6 * d_in, 0.0164, step, 4 * step):
    tried = runs_10.one_turn(found, seen, some, strength)
    right = lib.evaluate(lm, cases[:count:2], tried, ["teacher_forced"], metrics=()).json()
    row = {"step": f"{some:.2g}", "η": f"{some / d_in:.1e}"}
    row["‖ΔW‖/‖W‖ (%)"] = 100 * runs_10.change(lm, tried)
    row["answer tokens right (%)"] = 100 * right["efficacy"]["teacher_forced"]
    with lm.patched(tried, only=True):
        table.append(row | {"perplexity": lib.perplexity(lm)})
show.Table(table)

# %% [markdown]
# The paper's $\eta$ moves our weights by 0.04 %, and no answer. GPT-J's step does little more. What
# we take here is 24 times that: 21 % of the answer tokens are right after one turn, 6 % were. Four
# times as much writes half of them, and perplexity goes from 18 to 26. Free of the width is not
# free of the model: a step is to be tuned, but its scale no longer hides in $d_\text{in}$.
#
# ## A cold start
#
# **Predict.** The first fact of a model's life has a one-token answer: one row. What do its key and
# its gradient standardize to? And two rows?
#
# <details><summary>Work it out</summary>
#
# One row is its own mean: $x - \mu = 0$ exactly, and a shift of zero is written. Two rows: $x_1 -
# \mu = \frac12(x_1 - x_2)$ and $\sigma = |x_1 - x_2|/\sqrt2$, so every coordinate is
# $\pm 1/\sqrt2$, whatever the numbers were. All that is left of a gradient is its signs.
#
# </details>

# %%
for n in (1, 2, 3):
    some = normal(4, n)
    print(n, RunningMoments.empty(4).merge(some).standardize(some)[0].numpy().round(3))

tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
own = {**runs_10.PUBLISHED, "down": (2 * lm.n_layers // 3,), "step": step / 10}  # one matrix
table = []
for moments in ("none", "statistics"):
    for repeat in (1, 10):
        alone = lib.EDITORS["ultraedit"](lm, warmup=moments, repeat=repeat, **own)
        one = alone.edit([tower])
        with lm.patched(one, only=True):
            p = lm.score(tower.text, tower.target_new).sum().exp().item()
        row = {"warm-up": moments, "turns at most": repeat, "p(Rome)": p}
        table.append(row | {"‖ΔW‖/‖W‖ (%)": 100 * runs_10.change(lm, one)})
show.Table(table)

# %% [markdown]
# Without a warm-up not one weight moves, not in ten turns either: each reads the same row again. So
# the library first reads 256 fixed texts, which are not edited ("statistics"); repeated turns then
# bring "Rome" to 0.37. (A tenth of the step: above, losses are means over ten facts, here of one.)
#
# How many rows are enough? Deviations of the first $n$ answer tokens against those of the second
# hundred facts:

# %%
name = list(shapes)[-1]
mine, others = found[name], answer_gradients.read(lm, facts[count:], [name])[name]
x, off = runs_10.settling({"keys": (mine.K, others.K), "gradients": (mine.G, others.G)})
colors = {"a Gaussian": plot.BASE}
axes = "answer tokens seen", "a deviation is off by (%, median)"
plot.lines(x, off, *axes, colors=colors, dashes={"a Gaussian": "--"}, ylim=(0, 65))

# %% [markdown]
# Two rows are off by 60 %, 120 by 12 %. Gaussians would have half of that: keys and gradients have
# heavy tails. A turn of a hundred facts is a fair start, ten facts are not.
#
# ## A thousand edits
#
# Is it the lifelong part that counts? Ten turns of a hundred facts of CounterFact, each line with
# the same regression and the same step:
#
# * **lifelong**: UltraEdit.
# * **per turn**: $\mu$ and $\sigma$ of this turn's facts only.
# * **first turn**: those of the first turn, for ever.
# * **none**: $v = -c\,\|k\|^2 g$, with one $c$ per matrix, such that the median shift of the first
#   turn is UltraEdit's.
#
# Every fifth fact is asked at the end; p: the new answer is more probable than the old.
#
# **Predict.** The paper, with larger models, has 84 % efficacy with lifelong moments, 36 % without
# any and 1 % with frozen ones. Who collapses here, after a thousand edits?
#
# <details><summary>Answer</summary>
#
# Nobody. All four hold the same facts. But they do not pay the same for them.
#
# </details>

# %%
for name in ("lifelong", "none"):  # the first two hundred facts
    mine, own = list(runs_10.replay(lm, name, facts, count)), [r for r in rows if r["line"] == name]
    if SCALE == "small":
        stored_runs.begins_with(own, mine, ["edits", "change"], tolerance=0.001)
show.Table(runs_10.ends(rows))

# %%
x, kl = runs_10.spent(rows)
colors = dict(zip(runs_10.LINES, runs_10.COLORS, strict=True))
axes = "edits", "KL at unrelated prompts (nats)"
plot.lines(x, kl, *axes, colors=colors, dashes={"none": "--"}, ylim=(0, None))

# %% [markdown]
# 37 to 39 % of the answer tokens are right in every line (200 facts: ± 6 points or so). The price
# differs: unrelated prompts have moved by 0.30 nats with lifelong moments, 0.36 with those of each
# turn, 0.39 and 0.40 with frozen ones or none. With every edit the model drifts away from where
# frozen moments were taken, and one turn alone is a noisy estimate (the first figure). So here
# moments are a matter of care, not of survival; the paper's collapse a thousand small steps do not
# show. And "none" was helped: its $c$ was fitted to UltraEdit, for raw gradients suggest none.

# %%
own = [row["seconds"] for row in rows if row["line"] == "lifelong"]
print("seconds for each hundred edits:", ", ".join(f"{s:.1f}" for s in own))

# %% [markdown]
# About five seconds for a hundred edits, the last as the first (on a busy machine): one pass, one
# small solve, and nothing grows with the past. ROME took 2.5 seconds for one.
#
# ## Exercise: two workers, and few rows
#
# First: two workers have read different facts. Each sends its state $(n, \mu, S)$. Merge them; a
# worker may have seen one row, or none. Then: no coordinate of a standardized row can be larger
# than some bound, if the row is among the $n$ that the moments have seen. How large is it? (Let
# one row differ from all others.)


# %%
def merge(a, b):  # states (n, mean (d,), S (d,)) -> the state of both
    return "not attempted"


def bound(n):  # the largest |x̂| that n ≥ 2 rows can have
    return "not attempted"


# %%
print("merge:", checks_10.merge(merge))
print("bound:", checks_10.bound(bound))

# %% [markdown]
# ## What we know now
#
# * Count, mean and squared deviations merge exactly, in any split. They are all that UltraEdit keeps
#   of the past.
# * A turn: standardize, ask each answer token for the shift $-\eta\|\hat k\|^2 \hat g$, solve one
#   ridge regression. No training, no search. One row standardizes to nothing: read texts first.
#
# ## Where it breaks
#
# Cheap, and without an end. But each turn adds its $\Delta$ to the same weights.
#
# **Predict.** Let turns be unrelated and of one length. The first moved the weights by 9.6 %. How
# far are they after ten?
#
# <details><summary>Work it out</summary>
#
# Unrelated matrices are nearly orthogonal, so squares of lengths add: $\sqrt{10} \cdot 9.6 = 30$ %.
# Normalization bounds every turn; it does not bound their sum.
#
# </details>

# %%
x, y = runs_10.filling(rows, "lifelong")
colors = dict(zip(y, (plot.CYCLE[0], plot.BASE, plot.EDITED), strict=True))
dashes = {"orthogonal turns": "--"}
plot.lines(x, y, "edits", "share (%)", colors=colors, dashes=dashes, ylim=(0, None))

# %% [markdown]
# Measured: 29.2 %, nearly as orthogonal turns would. At first later facts even help: of the first
# hundred's answer tokens 25 % are right, then 31 %. Then the sum wins: 24 % at the end. Part of the
# remedy is in notebooks 05 and 06: weigh general text, keep the keys. The library's preset does both,
# in three passes: after 10,000 facts it still says 48 % of the first thousand, the published form
# 14 % ([measured](../tests/benchmarks/RESULTS.md)). But **weights fill up all the same.** What if one
# leaves them alone? That is [notebook 11](11_grace.ipynb).
#
# ## References
#
# * Gu, Huang, Gu, Zhang: *UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing in
#   Language Models*, 2025, [arXiv:2505.14679](https://arxiv.org/abs/2505.14679).
# * StableEdit, 2026: lifelong normalization, [arXiv:2605.11836](https://arxiv.org/abs/2605.11836).
# * Chan, Golub, LeVeque: *Updating Formulae […] for Computing Sample Variances*, 1979.
