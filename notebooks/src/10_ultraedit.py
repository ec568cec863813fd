# %% [markdown]
# <!-- badge -->
#
# # 10 · UltraEdit: statistics instead of a network
#
# MALMEN's network has to be trained anew for every model. How much of what it does was learned, and
# how much is only a matter of the right units? At the end of this page you have edited with no
# network at all.
#
# **You will** see what it means to standardize a gradient · merge moments exactly, whoever counted
# them · write one turn of UltraEdit in four lines · find the step size for a model of any width · see
# one fact standardize to nothing · take the moments away, and compare at equal damage.
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
from notebooks.support import drawings_10, long_runs, models, show, tables_10
from notebooks.support import runs_10_ultraedit as runs_10

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


# %% [markdown]
# The next cell loads the model and the rows of a long run, from which it takes a hundred facts of
# CounterFact. We edit the output matrices of three MLPs. At each answer token we need the *pair* of
# notebook 09: the key $k$, which is what the matrix reads there, and the gradient $g$ of the loss
# with respect to what it puts out. One forward and one backward pass give the pairs of all facts.

# %%
lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
STREAM = runs_10.STREAM  # the editor's settings, the ways that are compared, the questions


def long_run():
    return runs_10.Lifelong(lm, runs_10.counterfact(STREAM["length"]), STREAM).rows()


rows = long_runs.stored("10_moments", STREAM, long_run)
count = 8 if SCALE == "tiny" else STREAM["batch"]
facts = [lib.Fact(**fact) for fact in rows[0]["facts"]][: 2 * count]
editor = runs_10.Lifelong(lm, (), STREAM).editor("lifelong")
shapes = editor.modules()  # {matrix: (d_in, d_out)}
d_in, d_out = next(iter(shapes.values()))

# %%
# {matrix: K (d_in, n), G (d_out, n)}, one column per answer token
found = answer_gradients.read(lm, facts[:count], list(shapes))
last = list(shapes)[-1]
n = found[last].K.shape[1]
print(f"{count} facts have {n} answer tokens; keys have {d_in} numbers, gradients {d_out}")

# %% [markdown]
# ## What is left without the network
#
# What goes into a turn is the pairs of its facts, and what comes out is one change $\Delta$ of each
# matrix. In MALMEN a network reads every pair and says how the output at the key $k$ should shift,
# and one ridge regression grants all these shifts. The network does not get the pair as it is: its
# inputs are *standardized*, each coordinate by its own mean $\mu$ and its own deviation $\sigma$ over
# many facts. **UltraEdit** drops the network and keeps the standardizing. The figure shows what it
# does to two coordinates of the gradients that we have just read.

# %%
G = found[last].G.double()
order = G.std(1).argsort()
two = [order[int(share * (d_out - 1))].item() for share in (0.99, 0.25)]  # large, and small
alone = RunningMoments.empty(d_out).merge(G)
raw, scaled = G[two], alone.standardize(G)[two]
drawings_10.standardized(raw.numpy(), scaled.numpy())

# %% [markdown]
# A coordinate with a large deviation does not count more than the others any longer, and the mean has
# moved to zero. In formulas, with a step $\eta$ and the strength $\lambda$ of the regression:
#
# $$\hat k = \frac{k - \mu_k}{\sigma_k}, \qquad \hat g = \frac{g - \mu_g}{\sigma_g}, \qquad
# v = -\eta\,\|\hat k\|^2\,\hat g, \qquad \Delta = V K^\top (K K^\top + \lambda I)^{-1} .$$
#
# The columns of $K$ are the keys themselves, and those of $V$ are the shifts $v$. A plain gradient
# step on the matrix would move the output at $k$ by $-\eta\|k\|^2 g$, which has the same form. To
# divide a gradient by its typical size, coordinate by coordinate, is what Adam does too. But Adam
# takes no mean off, and this makes a difference that the figure shows as well: **a gradient of zero**
# (the cross) is not at zero after standardizing. Where $g$ has the sign of $\mu_g$ and is smaller, its
# sign even turns.
#
# **Predict.** A fact that the model knows already has nearly no gradient, so a plain step would
# hardly move a weight for it. What does UltraEdit do?
#
# <details><summary>Work it out</summary>
#
# With $g = 0$ it asks for $\hat g = -\mu_g/\sigma_g$, the same direction for all such facts: it pushes
# against the mean gradient of the facts that were edited. So known facts do move the weights.
#
# </details>

# %%
seen = KeyGradientMoments.empty(d_in, d_out).merge(found.values())
step, strength = editor.config.step, editor.config.ridge
known = runs_10.known_facts(lm, count // 2)
sure = [lm.score(fact.text, fact.target_new).sum().exp().item() for fact in known]
print(f"{len(known)} known facts: the answer has at least {min(sure):.2f} before any edit")
pairs = answer_gradients.read(lm, known, list(shapes))
new = answer_gradients.read(lm, facts[: len(known)], list(shapes))
scale = runs_10.fitted(new, seen, step)  # plain shifts as long as UltraEdit's for new facts
table = []
for name, some in {"new facts": new, "known facts": pairs}.items():
    row = {"turn of": f"{len(known)} {name}", "‖g‖": some[last].G.norm(dim=0).median().item()}
    row["‖ĝ‖"] = seen.standardize(some[last])[1].norm(dim=0).median().item()
    change = runs_10.change(lm, runs_10.plain_turn(some, scale, strength))
    row["plain: ‖ΔW‖/‖W‖, in %"] = f"{100 * change:.1f}"
    change = runs_10.change(lm, runs_10.one_turn(some, seen, step, strength))
    table.append(row | {"UltraEdit: ‖ΔW‖/‖W‖, in %": f"{100 * change:.1f}"})
show.Table(table)

# %% [markdown]
# The known facts have gradients a third as long, and standardized ones that are less than half as long
# as those of new facts. Still both rules move the weights nearly as far for them: the plain one by 4.3
# instead of 5.5 %, UltraEdit by 4.8 %. So UltraEdit does write what is known already, a little more
# than a plain step does. The difference is small here, because a fact whose answer has a probability
# of 0.44 or more still has a gradient of its own.
#
# Nothing is learned beforehand, no subject is needed, and no old fact is kept. What is kept from
# turn to turn is $\mu$ and $\sigma$ of keys and gradients.
#
# ## Moments that never forget
#
# The mean and the deviation are to be those of all facts that were ever edited, though the facts
# themselves are gone. What is kept is a **state**: a count $n$, a mean $\mu$ and the sum of squared
# deviations $S = \sum_i (x_i - \mu)^2$, from which $\sigma^2 = S/(n - 1)$. What we need is a rule that
# turns the states of two sets of numbers into the state of both together.

# %%
drawings_10.merge((0.2, 1.0, 1.3, 2.1, 2.9, 3.3), (4.6, 5.2, 6.1))

# %% [markdown]
# Let the states $a$ and $b$ meet, and let $\delta = \mu_b - \mu_a$. The common mean is the mean of
# the two means, weighed by the counts, so it lies at $\mu_a + \delta\,n_b/n$, as the drawing shows.
# Around it $a$'s deviations are $(x_i - \mu_a) + (\mu_a - \mu)$. The first part sums to zero over
# $a$, so no mixed term is left when we square:
#
# $$S = S_a + n_a(\mu_a - \mu)^2 + S_b + n_b(\mu_b - \mu)^2 .$$
#
# The drawing has the two distances: $\mu_a - \mu = -\delta\,n_b/n$ and $\mu_b - \mu = \delta\,n_a/n$.
# With them the two new terms add up to $\delta^2(n_a n_b^2 + n_b n_a^2)/n^2$, and this is
# $\delta^2\,n_a n_b/n$:
#
# $$n = n_a + n_b, \qquad \mu = \mu_a + \delta\,\frac{n_b}{n}, \qquad
# S = S_a + S_b + \delta^2\,\frac{n_a n_b}{n} .$$
#
# This is **Chan's merge**, and it is exact for any split of the data.
#
# **Predict.** It would be simpler to keep $\sum x$ and $\sum x^2$, which merge by adding, and to take
# $S = \sum x^2 - n\mu^2$. Try it for a thousand numbers around 1,000 with $\sigma = 1$, in float32.
# What is the variance?
#
# <details><summary>Work it out</summary>
#
# Both terms are near $10^9$, and float32 has seven digits, so each is off by up to a hundred or so.
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
    assert torch.allclose(state.mean, whole.mean)
    assert torch.allclose(state.S, whole.S)
short = x.float()
sums = (short.square().sum(1) - short.sum(1).square() / 1000) / 999
merged = (whole.S / 999).tolist()
print("variance, merged  ", ", ".join(f"{s:.3f}" for s in merged))
print("variance, two sums", ", ".join(f"{s:.3f}" for s in sums.tolist()))

# %% [markdown]
# Any split merges to the same state. The two sums are wrong in the second digit, or in the first.
#
# ## One turn, by hand
#
# Now a whole turn. The pairs are read already, and the moments have seen them. What is left to do for
# each matrix is four lines: standardize, ask for shifts, invert, multiply. We write them down and let
# the library do the same turn.


# %%
def turn(pair):
    K = pair.K.double()  # (d_in, n)
    k_hat, g_hat = seen.standardize(pair)  # both with the moments of all that was seen
    V = -step / d_in * k_hat.square().sum(0) * g_hat  # the shift that each token asks for
    reach = K.T @ torch.linalg.inv(K @ K.T + strength * torch.eye(d_in).double())
    return V @ reach


patch = editor.edit(facts[:count])  # the library's turn
for name, pair in found.items():
    change = (lm.weight(name, patch) - lm.weight(name)).cpu().double()
    models.same(lm, change, turn(pair))

# %% [markdown]
# The regression inverts a matrix that is $d_\text{in}$ wide. By the push-through identity of notebook
# 05 it can as well invert one that is only as wide as the number of tokens. And how much of a shift
# does it grant? That depends on $\lambda$ beside $\|k\|^2$, as in MEMIT.

# %%
K = found[last].K.double()
wide = K.T @ torch.linalg.inv(K @ K.T + strength * torch.eye(d_in).double())
narrow = torch.linalg.inv(K.T @ K + strength * torch.eye(n).double()) @ K.T
assert torch.allclose(wide, narrow, atol=1e-9)
arrives = (narrow @ K).diagonal().median()
print(f"a matrix {n} wide to invert instead of {d_in}")
print(f"median ‖k‖² {K.square().sum(0).median():.1f}, λ = {strength:g}: {arrives:.2f} arrives")

# %% [markdown]
# $\lambda$ is small beside $\|k\|^2$, so nearly all of the median shift is granted.
#
# ## How large a step?
#
# The step $\eta$ is the one number that has to be chosen. The paper has $\eta = 10^{-6}$ for all its
# models. Before we try it, we ask how long the shift is that it leads to.
#
# **Predict.** How large is $\|\hat k\|^2$, and what follows for a smaller model?
#
# <details><summary>Work it out</summary>
#
# Over the tokens that the moments have seen, every coordinate has $\sum_i \hat k_i^2 = n - 1$: that
# is what $\sigma$ means. So $\|\hat k\|^2$ is $d_\text{in}(n - 1)/n \approx d_\text{in}$ on average,
# and the shift is about $\eta\,d_\text{in}$ times $\hat g$. This is 0.0164 with the 16,384 inputs of
# GPT-J's output projection, and 0.0015 with our 1,536.
#
# </details>
#
# So the library's setting is `step` $= \eta\,d_\text{in}$, which does not depend on the width. We try
# one turn of a hundred facts with several steps, and ask every second fact.

# %%
cases = [lib.Case(fact) for fact in facts[:count:2]]
table = []
for some in (0.0, 1e-6 * d_in, 0.0164, step, 4 * step):
    tried = runs_10.one_turn(found, seen, some, strength)
    scores = lib.evaluate(lm, cases, tried, ["teacher_forced"], metrics=["perplexity"])
    right = scores.by_case()["efficacy", "teacher_forced"]["mean"].tolist()
    row = {"step": f"{some:.2g}", "η": f"{some / d_in:.1e}"}
    row["‖ΔW‖/‖W‖, in %"] = f"{100 * runs_10.change(lm, tried):.2f}"
    row[f"answer tokens right, {len(cases)} facts (%)"] = tables_10.percent(right)
    table.append(row | {"perplexity": scores.perplexity})
print(f"the step that we take is {step / 0.0164:.0f} times GPT-J's")
show.Table(table)

# %% [markdown]
# The paper's $\eta$ hardly moves our weights, and not one answer. GPT-J's step does little more. The
# step that we take is 24 times GPT-J's: 21 % of the answer tokens are right after one turn, and 6 %
# were before any edit. With four times that it is half of them, but the perplexity of other text goes
# from 18 to 26. A step that is free of the width is not free of the model: it still has to be tuned,
# but its scale no longer hides in $d_\text{in}$.
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

# %%
for columns in (1, 2, 3):
    some = normal(4, columns)
    hat = RunningMoments.empty(4).merge(some).standardize(some)
    print(f"{columns} columns, the first coordinate:", hat[0].numpy().round(3))

# %% [markdown]
# Now the Eiffel Tower, as the first fact of a model's life. We edit one matrix, with and without a
# *warm-up*, and let the editor repeat its turn up to ten times. (The step is a tenth of the one
# above, because there a loss was the mean over ten facts, and here it is that of one.)

# %%
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
own = {**runs_10.PUBLISHED, "down": (2 * lm.n_layers // 3,), "step": step / 10}
tries = [("no edit", None, 0), ("none", "none", 1), ("none", "none", 10)]
tries += [("statistics", "statistics", 1), ("statistics", "statistics", 10)]
table = []
for name, moments, repeat in tries:
    one = lib.EMPTY
    if moments:
        alone = lib.EDITORS["ultraedit"](lm, warmup=moments, repeat=repeat, **own)
        one = alone.edit([tower])
    with lm.patched(one, only=True):
        p = lm.score(tower.text, tower.target_new).sum().exp().item()
        says = lm.answer(tower.text, 5)
    row = {"warm-up": name, "turns at most": repeat, "p(Rome)": p}
    row["‖ΔW‖/‖W‖, in %"] = f"{100 * runs_10.change(lm, one):.2f}"
    table.append(row | {"it says": says})
show.Table(table)

# %% [markdown]
# Without a warm-up not one weight moves, and not in ten turns either, because each reads the same
# column again. So the library first reads fixed texts, which are not edited ("statistics"). One turn
# then hardly changes the probability of "Rome", and repeated turns bring it to 0.37, which is enough
# for the answer.
#
# How many columns are enough? We take the deviations of the first $m$ answer tokens and compare them
# with those of another hundred facts. Independent Gaussians of the same numbers show what chance alone
# would do.

# %%
mine = found[last]
others = answer_gradients.read(lm, facts[count:], [last])[last]
sides = {"keys": (mine.K, others.K), "gradients": (mine.G, others.G)}
x, off = runs_10.settling(sides)
for name, y in off.items():
    ends = ", ".join(f"{at} columns {value:.0f} %" for at, value in zip(x, y, strict=True))
    print(f"{name}: off by {ends}")
colors = {"independent Gaussians": plot.BASE}
dashes = {"independent Gaussians": "--"}
axes = "answer tokens seen", "a deviation is off by (%, median)"
plot.lines(x, off, *axes, colors=colors, dashes=dashes, ylim=(0, 65))

# %% [markdown]
# The deviations of two columns are off about as much as those of two Gaussian columns would be. Later
# they settle more slowly: at 120 columns they are off about twice as much as Gaussians. There are two
# possible reasons, and this figure does not tell them apart. The numbers may have heavier tails than a
# Gaussian. Or the columns are not independent, because tokens of one answer, and facts of one relation,
# are alike. Either way, a turn of a hundred facts is a fair start, and one of ten facts is not.
#
# ## A thousand edits
#
# Is it important that the moments are lifelong? The stored run writes ten turns of a hundred facts of
# CounterFact in four ways, each with the same regression:
#
# * **lifelong** is UltraEdit.
# * **per turn** takes $\mu$ and $\sigma$ of the present turn only. They fit the model as it is now, but
#   come from about 120 tokens.
# * **first turn** takes those of the first turn, for ever. The model moves away from them.
# * **none** standardizes nothing: $v = -c\,\|k\|^2 g$. The raw gradients do not say how large $c$
#   should be, so it gets help: one $c$ per matrix, with which the median shift of the first turn is
#   as long as UltraEdit's.
#
# A way with a larger step holds more facts and does more damage. So the ways can be compared only
# where they do the same damage, and therefore each of the last three is run with two steps. At the
# end every eighth fact is asked, 125 in all, and 60 unrelated prompts.
#
# **Predict.** For larger models the paper reports an efficacy of 84 % with lifelong moments, 36 %
# without any and 1 % with frozen ones. Who collapses here, after a thousand edits?
#
# <details><summary>Answer</summary>
#
# Nobody. With the same step all four hold about the same facts. But they do not pay the same for them.
#
# </details>

# %%
for way in ("lifelong", "none"):  # the first two hundred facts, once more
    own = [row for row in rows if (row["way"], row["scale"]) == (way, 1.0)]
    again = lambda way=way: runs_10.replay(lm, way, facts, count)  # noqa: E731
    long_runs.repeats(own, again, ["edits", "change"], tolerance=0.002)
show.Table(tables_10.shown(rows))

# %% [markdown]
# The columns are: answer tokens that are right, given those before them; prompts that are answered as
# wanted when the model writes freely (the edits' own, rewordings, neighbors); unrelated prompts whose
# first four tokens are unchanged; and the KL divergence from the base model over these four tokens,
# summed, as a mean over the prompts. The neighbors cannot tell us much here, because the base model
# itself gives the true answer to few of them. The figure shows what each way gets for its damage.

# %%
axes = "KL at unrelated prompts (nats)", "answer tokens right (%)"
drawings_10.tradeoff(tables_10.tradeoff(rows), *axes, runs_10.COLORS)

# %% [markdown]
# To compare at the *same* damage we take the KL of lifelong moments, go to that KL
# on the line of each other way, and subtract fact by fact.

# %%
for what in ("tokens", "held"):
    for way, (same, *change) in tables_10.same_damage(rows, what).items():
        said = "{:+.0f} points (95 %: {:+.0f} to {:+.0f})".format(*(100 * x for x in change))
        print(f"{what}, {way} (step {same:.2f}) less lifelong: {said}")

# %% [markdown]
# With the same step every way has 29 % of the answer tokens right, and nobody collapses. The price
# differs: the KL is 1.15 nats with lifelong moments (95 %: 1.00 to 1.32), and 1.58 nats with those of
# the first turn or with none; these intervals do not overlap. But the price can also be lowered by a
# smaller step, and that costs few facts. At the *same* KL the other ways are 1 to 3 points behind, and
# each of the six intervals includes 0. So what these thousand edits show is that moments set the size
# of the step well. That lifelong ones hold more for the same damage is possible, but so few facts do
# not show it, and the paper's collapse does not appear with this small model and these steps. The paper
# does not say how its ablation was set up; and "none" was helped here, because its $c$ was fitted.
#
# ## Exercise: two workers, few columns, and a turn
#
# First: two workers have read different facts. Each sends its state $(n, \mu, S)$. Merge them; a
# worker may have seen one column, or none. Second: no coordinate of a standardized column can be
# larger than some bound, if the column is among the $n$ that the moments have seen. How large is it?
# Third: write UltraEdit's turn yourself, for one matrix.
#
# <details><summary>Hints</summary>
#
# Merge: if both counts are 0 there is nothing to divide by; otherwise it is Chan's rule, and a state
# of count 0 needs no special case. Bound: let one column differ from all others, which are equal.
# Turn: the moments standardize, but the regression sees the keys as they are.
#
# </details>
#
# <details><summary>Solutions</summary>
#
# ```python
# def merge(a, b):
#     n = a[0] + b[0]
#     delta = b[1] - a[1]
#     return n, a[1] + delta * b[0] / n, a[2] + b[2] + delta**2 * a[0] * b[0] / n
#
# def bound(n):
#     return (n - 1) / n**0.5
#
# def ultraedit(K, G, mean_k, sigma_k, mean_g, sigma_g, eta, ridge):
#     k_hat = (K - mean_k[:, None]) / sigma_k[:, None]
#     g_hat = (G - mean_g[:, None]) / sigma_g[:, None]
#     V = -eta * k_hat.square().sum(0) * g_hat
#     return V @ torch.linalg.solve(K.T @ K + ridge * torch.eye(K.shape[1]).to(K), K.T)
# ```
#
# The bound: one column is 1 and the others are 0, so $\mu = 1/n$, $S = (1 - \frac1n)^2 +
# (n - 1)\frac1{n^2} = \frac{n - 1}n$ and $\sigma = 1/\sqrt n$. That gives $(1 - \frac1n)\sqrt n$.
#
# </details>


# %%
def merge(a, b):  # states (n, mean (d,), S (d,)) -> the state of both
    return "not attempted"


def bound(n):  # the largest |x̂| that n ≥ 2 columns can have
    return "not attempted"


# K (d_in, n), G (d_out, n), means and deviations -> Δ (d_out, d_in)
def ultraedit(K, G, mean_k, sigma_k, mean_g, sigma_g, eta, ridge):
    return "not attempted"


# %%
print("merge:", checks_10.merge(merge))
print("bound:", checks_10.bound(bound))
print("ultraedit:", checks_10.turn(ultraedit))

# %% [markdown]
# ## What we know now
#
# * Count, mean and squared deviations merge exactly, in any split. They are all that UltraEdit keeps
#   of the past.
# * A turn standardizes, asks each answer token for the shift $-\eta\|\hat k\|^2 \hat g$, and solves one
#   ridge regression. There is no training and no search.
# * To standardize is more than to rescale: known facts move the weights too, and one lone column
#   standardizes to nothing, so texts have to be read first.
#
# ## Where it breaks
#
# A turn is cheap, and there can be as many as one likes. But each adds its $\Delta$ to the same
# weights.
#
# **Predict.** Let the changes of all turns be unrelated and of one length. How far are the weights
# after fifteen turns, compared with the first?
#
# <details><summary>Work it out</summary>
#
# Unrelated matrices are nearly orthogonal, so squares of lengths add: $\sqrt{15} \approx 3.9$ times
# as far. Standardizing bounds every turn, but it does not bound their sum.
#
# </details>

# %%
edits, moved, first, seconds = tables_10.filling(rows)
print(f"weights moved by {moved[0]:.1f} % after one turn, {moved[-1]:.1f} % after {len(edits)}")
print(f"orthogonal turns: {moved[0] * len(edits) ** 0.5:.1f} %")
for early, late in ((100, 400), (100, 1500), (400, 1500)):
    change = [100 * x for x in tables_10.first_later(rows, early, late)]
    said = "{:+.0f} points (95 %: {:+.0f} to {:+.0f})".format(*change)
    print(f"first hundred facts, tokens right, from {early} to {late} edits: {said}")
print(f"CPU seconds per turn: {min(seconds):.1f} to {max(seconds):.1f}")
drawings_10.filling(edits, moved, first, seconds)

# %% [markdown]
# The weights have moved nearly as far as orthogonal turns would move them, 35.2 % after fifteen turns.
# What do the first hundred facts notice of it? Up to 400 edits later facts even seem to help, but the
# gain may be chance: its interval includes 0. From there to 1,500 edits they lose 10 points (95 %: 1
# to 19). We chose the highest point as the start, though, and the change from the first turn to the
# last is −5 points, with an interval that includes 0. So this stream hints at the fading, but does not
# prove it. In a longer one, after 10,000 facts, the published form says 14 % of the first thousand
# ([measured](../tests/benchmarks/RESULTS.md)). A turn costs about five CPU seconds, the last like the
# first.
#
# Part of the remedy is in notebooks 05 and 06: weigh general text, and keep the keys. The library's
# preset does both, in three passes, and says 48 % of them. But **weights fill up all the same.** What
# if one leaves them alone? That is [notebook 11](11_grace.ipynb).
#
# ## References
#
# * Gu, Huang, Gu, Zhang: *UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing in
#   Language Models*, 2025, [arXiv:2505.14679](https://arxiv.org/abs/2505.14679).
# * StableEdit, 2026: lifelong normalization, [arXiv:2605.11836](https://arxiv.org/abs/2605.11836).
# * Chan, Golub, LeVeque: *Updating Formulae […] for Computing Sample Variances*, 1979.
