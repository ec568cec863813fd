# %% [markdown]
# <!-- badge -->
#
# # 07 · Superposition: why keys overlap
#
# Where the keys of two facts overlap, an edit of one also moves the value of the other. How many keys can a
# layer tell apart? How much do those of a real one overlap, and whose? At the end you can read it off a matrix.
#
# **You will** derive when a row of edits is lossless, and for how many keys · write $\rho$ and its kurtosis,
# and read matrices of overlaps with them, layer by layer · watch what an edit of the Eiffel Tower does to other
# places · write a forecast of which of 50 edits breaks, before you see the run.
#
# **Needs** whitening ([notebook 01](01_linear_memory.ipynb)), the insert and the openers of
# [02](02_insert.ipynb), many edits at once from [05](05_memit.ipynb), and kept keys from
# [06](06_null_space.ipynb).
#
# **Minutes** 25 to read and 25 to work: two exercises of [session 3](../lessons/session_3.md).
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

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import normalize

import lib
from lib import associative_memory as memory
from lib.data.facts import lookup
from lib.evaluation.intervals import bootstrap
from lib.evaluation.superposition import superposition
from lib.workbench import plot
from notebooks.support import drawings_07, long_runs, models
from notebooks.support import runs_07_superposition as runs_07
from notebooks.support.holes import guess, use
from notebooks.support.runs_02_insert import rank_correlation

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


# %% [markdown]
# ## When is a row of edits lossless?
#
# Notebook 02 wrote pairs one after another, and found what is wrong in the end: at the key of fact $j$ stands
# its own value plus what all *later* edits add there. What goes in are the keys and the residuals $\delta_t$,
# which are what edit $t$ had to add at its own key. What comes out is the error of each fact after the last
# edit:
#
# $$W_T k_j - v_j = \sum_{t>j} \rho(t, j)\,\delta_t, \qquad
# \rho(t, j) = \frac{k_t^\top C^{-1} k_j}{k_t^\top C^{-1} k_t}.$$
#
# The sum is zero *whatever* the residuals are only if every $\rho(t, j)$ in it is zero. And
# $\rho(t, j) = 0$ exactly if $\rho(j, t) = 0$, since both have the numerator in common. So **inserts
# one by one are lossless for all values exactly if the whitened keys are orthogonal**.
#
# **Your turn · exercise 3.1 · ★ · 5 minutes.** Write `interference`: the whole matrix $\rho$. Row $i$ belongs
# to the fact that is written, column $j$ to the one that is disturbed, or, as we say, that *hears* the edit.
# The matrices of this page are computed with it.


# %%
def interference(K, C):
    """K (d_in, n), keys as columns, C (d_in, d_in) -> ρ (n, n), entry [i, j] is ρ(i, j)."""
    ...


interference = use("3.1", interference)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which matrix holds all numerators at once, and where in it do the denominators stand?
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
# This holds for edits that are made one by one, each without knowing the facts of the others. If all $n$ keys
# are known, a batch with equality (EMMET, notebook 05) writes any $n \le d_\text{in}$ independent keys without
# loss, and kept keys (notebook 06) do the same batch after batch.
#
# **Predict.** Twenty keys that are known, and twenty that nobody mentions. Who is disturbed by
# edits in a row, who by a batch, if the keys overlap, and if they are orthogonal?
#
# <details><summary>Answer</summary>
#
# In a row, both are disturbed. The batch spares the known ones whatever their overlap, but not the
# others: what nobody tells the solver is spared by orthogonality alone.
#
# </details>

# %%
d, n, rows = 64, 20, []
for _ in range(20):
    W0, frame = normal(16, d), torch.linalg.qr(normal(d, d)).Q
    kinds = {
        "random keys": normalize(normal(d, 2 * n), dim=0),
        "orthogonal keys": frame[:, : 2 * n],
    }
    for kind, K in kinds.items():
        known, unknown = K[:, :n], K[:, n:]
        V = W0 @ known + normal(16, n)
        residuals, reach = memory.lifelong(W0, known, V)  # one after another, C = I
        R, B = memory.insert_many(W0, known, V)  # all at once
        for way, change in {"row": residuals @ reach, "batch": R @ B}.items():
            wrong, moved = (W0 + change) @ known - V, change @ unknown
            if way == "row":  # the sum above
                rho = interference(known, torch.eye(d, dtype=torch.float64))
                assert torch.allclose(wrong, residuals @ rho.tril(-1))
            shares = [(x.norm() / R.norm()).item() for x in (wrong, moved)]
            rows.append([kind, way, *shares])
drawn = pd.DataFrame(rows, columns=["keys", "by", "known ones wrong", "unknown ones moved"])
by = drawn[drawn["keys"] == "random keys"].groupby("by")["unknown ones moved"].apply(np.array)
less = by["batch"] - by["row"]  # of the same draws
print("unknown ones, batch less row: {:.2f} [{:.2f}, {:.2f}]".format(less.mean(), *bootstrap(less)))
drawn.groupby(["keys", "by"], sort=False).mean().unstack().round(2)

# %% [markdown]
# The numbers are shares of the length of all residuals together, means over twenty draws. What the edits in a
# row leave wrong is the sum above, to rounding. Knowing the keys repairs the known ones. The unknown ones
# move more by a batch, 0.68 instead of 0.52 on average; draw by draw the difference is 0.15, with a 95 % interval
# from 0.14 to 0.17. Everything that a model knows and that we do not write is an unknown key. So what editing
# costs depends on how much keys overlap, and this page measures it.
#
# ## How many keys fit?
#
# In $d$ dimensions there are only $d$ orthogonal directions. A layer that has to tell apart more things
# than it has dimensions must let them overlap: in the plane two keys need not, but three must.
#
# We ask two questions about $n$ keys of length 1 in $d$ dimensions: how large is the largest cosine
# between two of them, and how large is the root mean square (**rms**) of all cosines? The first decides
# whether single pairs can be told apart, the second what the sum over many edits amounts to.
#
# **Predict.** In 256 dimensions at most 256 keys are orthogonal. How large is the largest cosine among 4,096
# random keys? And if 256 edits each add a little at the key of one fact, is the sum still little?
#
# <details><summary>Work it out</summary>
#
# *Each pair can be good.* Two random directions exceed a cosine of $\varepsilon$ with probability
# at most $2e^{-d\varepsilon^2/2}$: this is the share of a sphere that two opposite caps take up, and
# goes back to Lévy. There are fewer than $n^2/2$ pairs. So less than one such pair is expected while
# $n < e^{d\varepsilon^2/4}$. Solved for the cosine it is $\varepsilon = \sqrt{4\ln n/d}$.
#
# *All together cannot.* The Gram matrix $G$ of $n$ unit keys has trace $n$ and at most $d$
# nonzero eigenvalues $g_m$, so $\sum_{ij} G_{ij}^2 = \sum_m g_m^2 \ge n^2/d$ (Welch's bound).
# Without its diagonal, the mean square is at least $(n-d)/\big(d(n-1)\big)$, which nears $1/d$ for
# large $n$. Random keys have $1/d$: for very many keys no arrangement is better.
#
# </details>

# %%
largest = guess("The largest cosine among 4,096 random keys in 256 dimensions?", 0, 1)

# %%
d = 256
counts = [64 * 2**i for i in range(7)]
found = {"largest": [], "rms": []}
for n in counts:
    K = normalize(normal(d, n), dim=0)
    G = (K.T @ K).fill_diagonal_(0)
    found["largest"].append(G.abs().max())
    found["rms"].append(G.pow(2).sum().div(n * n - n).sqrt())
n = torch.tensor(counts)
least = ((n - d).clamp(min=0) / (d * (n - 1))).sqrt()
theory = {"√(4 ln n / d)": (4 * n.log() / d).sqrt(), "least possible rms": least}
axes = "number of random keys in 256 dimensions", "cosine between two keys"
largest.against(found["largest"][-1].item())
plot.lines(counts, found | theory, *axes, dashes=dict.fromkeys(theory, "--"), xlog=True)

# %% [markdown]
# The largest cosine among 4,096 random keys is 0.33. That more things fit than there are dimensions, as long as
# a little overlap is allowed, is called **superposition**. But what is small for one pair adds up: by the rms,
# $T$ edits at random keys, whose residuals are equally long and unrelated in direction, move a fact by about
# $\sqrt{T/d}\,\|\delta\|$, so with $T = d$ by as much as one residual.
#
# ## One number for a matrix of overlaps?
#
# The paper behind this page (Hu et al., 2024; its $P$ is $\rho$) sums up the entries off the diagonal by their
# **kurtosis**. What goes in are all $\rho(i, j)$ with $i \ne j$, what comes out is one number that is 0 for a
# Gaussian and large when a few values lie far out. With $m_p$ for the mean of the $p$-th powers of their
# deviations from the mean it is $m_4/m_2^2 - 3$.
#
# **Predict.** 100 random keys in 64 dimensions, or 50 pairs of twins (cosine 0.9) in 4096: which
# kurtosis is higher? Where would you rather edit?
#
# <details><summary>Answer</summary>
#
# The twins' is higher, and still one would rather edit there: each key overlaps with one other and hardly with
# the rest, so their rms is the smaller one, 0.092 against 0.123. Kurtosis says how *unevenly* overlap is
# spread, not how much there is: rms and large entries must stand beside it.
#
# </details>
#
# **Your turn · exercise 3.3, its first part · ★★ · 8 minutes.** Write `tails`: the root mean square and
# the kurtosis of the entries off the diagonal. The tables below are made with it.


# %%
def tails(rho):
    """rho (n, n) with diagonal 1 -> (root mean square, kurtosis) of the entries off the diagonal."""
    ...


tails = use("3.3", tails)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `rho[~torch.eye(n, dtype=torch.bool)]` takes the entries off the diagonal. From which of the two
# numbers is the mean taken away first?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def tails(rho):
#     x = rho[~torch.eye(len(rho), dtype=torch.bool)]
#     away = x - x.mean()
#     return x.pow(2).mean().sqrt(), away.pow(4).mean() / away.pow(2).mean() ** 2 - 3
# ```
#
# </details>


# %%
def off(rho):
    return rho[~torch.eye(len(rho), dtype=torch.bool)]


one = normalize(normal(4096, 50), dim=0)
twins = torch.cat([one, 0.9 * one + 0.19**0.5 * normalize(normal(4096, 50), dim=0)], 1)
sets = {"random, d = 64": normal(64, 100), "random, d = 4096": normal(4096, 100), "twins": twins}
rows = []
for name, K in sets.items():
    rho = interference(K, torch.eye(len(K), dtype=torch.float64))
    rms, kurtosis = tails(rho)
    large = (off(rho).abs() > 0.1).double().mean()
    row = {"rms": rms, "share > 0.1": large, "kurtosis": kurtosis}
    rows.append({"keys": name} | {what: float(x) for what, x in row.items()})
pd.DataFrame(rows).set_index("keys").round(3)

# %% [markdown]
# ## A real model
#
# Now the keys are those of real subjects, and $C$ comes from general text. This page reads its prompts with
# nothing in front of them. So one group has to be set apart: the openers of page 02b, subjects of one token
# at the first position, whose key tells of a *place* more than of a name (below, the median cosine of two of
# them is 0.95). Such pairs would crowd out all others, so we go on with 100 other subjects.
#
# The figure shows their $\rho$ in six layers. Subjects that are asked the same question lie side by
# side, and a square frames each question with at least four of them.
#
# **Predict.** Do keys overlap more in early layers or in late ones? And where will the framed blocks
# stand out, which would mean that a layer knows what kind of thing it reads?
#
# <details><summary>Answer</summary>
#
# More in late ones, and there the blocks stand out too. In an early layer a key knows little beyond
# its last token.
#
# </details>

# %%
lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
cases = lib.classroom()
facts = {case.fact.subject: case.fact for case in cases}
relation = {case.fact.subject: case.relation or "" for case in cases}
token = {name: lookup(lm.tokenizer, fact) for name, fact in facts.items()}  # ids, place of the last
opening = [name for name in facts if token[name][1] == 0]
inner = [name for name in facts if token[name][1] > 0][:100]
inner.sort(key=relation.get)
top, edited = lm.n_layers - 1, lib.EDITORS["rome"](lm).config.layer
layers = sorted({0, edited, *range(0, top, 3), top})


def overlaps(facts, some=layers):  # {layer: ρ (n, n)}
    keys, found = lm.keys(facts, some), {}
    for layer in some:
        C = lib.second_moment(lm, [layer], among=layers)[layer].C
        found[layer] = interference(keys[layer].cpu().double(), C.cpu().double())
    return found


def cosines(rho):  # of the whitened keys: ρ(i, j) ρ(j, i) is their square
    return rho.sign() * (rho * rho.T).clamp(min=0, max=1).sqrt()


# %%
own = overlaps([facts[name] for name in inner])
by_library = superposition(lm, [facts[name] for name in inner], edited).rho
models.same(lm, own[edited], by_library)
of_openers = overlaps([facts[name] for name in opening or inner[:2]], [edited])[edited]
medians = [off(cosines(rho)).median() for rho in (of_openers, own[edited])]
print(f"layer {edited}, median cosine: {len(opening)} openers {medians[0]:.2f}, "
      f"{len(inner)} others {medians[1]:.2f}")  # fmt: skip
one_question = torch.tensor([[relation[a] == relation[b] for b in inner] for a in inner])
shown = [layers[round(i * (len(layers) - 1) / 5)] for i in range(6)]
shown[1] = edited
shown = list(dict.fromkeys(shown))
squares = torch.stack([(own[layer].pow(2) + own[layer].T.pow(2)) / 2 for layer in shown])
both = (runs_07.over_names(squares, group) for group in (one_question, ~one_question))
(within, draws), (between, same_draws) = both
ends = np.nanpercentile((draws / same_draws) ** 0.5, (2.5, 97.5), axis=0)
for layer, *two, low, high in zip(shown, within**0.5, between**0.5, *ends, strict=True):
    print("layer {}: rms ρ {:.3f} within a question, {:.3f} between questions, ".format(layer, *two)
          + f"{two[0] / two[1]:.1f} [{low:.1f}, {high:.1f}] times as large")  # fmt: skip
sizes = pd.Series([relation[name] for name in inner]).value_counts(sort=False)
print("framed, from above:", ", ".join(name for name, size in sizes.items() if size > 3))
drawings_07.matrices({layer: own[layer] for layer in shown}, list(map(relation.get, inner)))

# %% [markdown]
# Every row is an edit, every column a key that hears it. In layers 0 and 3 the matrices are pale, and most
# frames are hard to see in them. Not all: the two questions about states of the USA, "state capital of" and
# "state of city", are one dark block near the lower corner from layer 0 on. In these six layers the rms of
# $\rho$ is 2.7 to 3.8 times as large within a question as between questions, and no interval reaches below 1.9
# (a bootstrap over the subjects, the same ones for both). But both grow: from 0.189 and 0.061 in layer 0 to 0.397
# and 0.118 in layer 12. From there on many frames stand out. Whole rows and columns are darker than others, and
# in the upper layers most entries are positive, as if most subjects had a part in common.
#
# The table goes through all layers. "3σ above" is the share of the $\rho(i, j)$ that lie more than three
# standard deviations above their mean, "3σ below" the share that lie as far below it. For a Gaussian both are
# 0.13 %. A larger share means that more pairs stand far out than in a Gaussian. "Two pairs less" is the
# kurtosis without the two pairs of subjects that have the largest entries, both entries of each.

# %%
rows = []
keys = lm.keys([facts[name] for name in inner], layers)
for layer, rho in own.items():
    rms, kurtosis = tails(rho)
    entries = off(rho)
    larger = off(torch.maximum(rho.abs(), rho.T.abs()))  # of the two entries of a pair
    less = entries[larger < larger.topk(4).values[-1]]  # without the two pairs that overlap most
    away = less - less.mean()
    raw = normalize(keys[layer].cpu().double(), dim=0)
    upper = torch.ones_like(rho).triu(1).bool()
    row = {"layer": layer, "rms": rms, "share > 0.1": (entries.abs() > 0.1).double().mean()}
    row["kurtosis"] = kurtosis
    z = (entries - entries.mean()) / entries.std()
    row["3σ above (%)"], row["3σ below (%)"] = (100 * (x > 3).double().mean() for x in (z, -z))
    row["two pairs less"] = away.pow(4).mean() / away.pow(2).mean() ** 2 - 3
    row["angle, whitened (°)"] = cosines(rho)[upper].acos().rad2deg().median()
    row["angle, raw (°)"] = (raw.T @ raw)[upper].clamp(-1, 1).acos().rad2deg().median()
    row["rms / random keys"] = rms * len(keys[layer]) ** 0.5
    rows.append({what: float(x) for what, x in row.items()})
table = pd.DataFrame(rows).astype({"layer": int}).set_index("layer")
table.round(3).T

# %% [markdown]
# None of these layers has orthogonal keys: rms $\rho$ is between 2.5 and 6.9 times that of random keys.
# Kurtosis falls with depth, as published, from 28 in layer 0 to 5 in layer 21. But layer 3, where ROME writes,
# breaks the order with 10, and after layer 21 it rises again. And it depends on few entries: without the two
# pairs that overlap most, of 4,950, the 28 of layer 0 become 13. Up to there rms *grows*, from 0.068 to 0.175:
# the bulk gets wider, and the tail stands out less.
#
# Between two whitened keys the typical angle is nearly a right one, between raw keys it is 83 degrees in layer
# 0 and 55 in the last one. There whitening takes away most of what all keys have in common. The tail is on the
# positive side. In every layer between 1.7 and 2.1 % of the entries lie more than three standard deviations
# above the mean, many times as many as a Gaussian has. Below it at most 0.12 % do, and from layer 9 on none.
#
# ## Who sits in the tail?
#
# **Predict.** Which subjects overlap most in layer 0, and which in the last layer?
#
# <details><summary>Answer</summary>
#
# In layer 0 those with the same *last token*, where the key is read (as in the published examples: Mayakovsky
# and Bukovsky), and then those with tokens of one kind, as Swedish and Finnish. In the last layer athletes with
# athletes and teams with teams, whatever their last tokens, and two whose true answers are near, Garibaldi
# (Italian) and risotto (Italy).
#
# </details>

# %%
rows = []
for layer in (0, edited, top):
    rho = own[layer].clone().fill_diagonal_(0)
    larger = torch.where(rho.abs() >= rho.T.abs(), rho, 0)  # each pair once, by its larger side
    for place in larger.abs().flatten().topk(4).indices.tolist():
        i, j = divmod(place, len(rho))
        ends = [token[inner[side]] for side in (i, j)]
        words = [lm.tokenizer.decode([ids[at]]).strip() for ids, at in ends]
        row = {"layer": layer, "i": inner[i], "j": inner[j], "last tokens": " · ".join(words)}
        row |= {"ρ(i, j)": rho[i, j].item(), "ρ(j, i)": rho[j, i].item()}
        rows.append(row | {"cosine": cosines(rho)[i, j].item()})
pd.DataFrame(rows).set_index("layer").round(3)

# %% [markdown]
# That is a warning for our running example. "The Eiffel Tower" ends in *Tower*, as other names do. We forecast,
# before any edit, by $\rho$ how much of an edit of the Eiffel Tower lands on six other places in ROME's layer;
# then we move it to Rome and ask for all of them. $\rho$ counts one key for each fact, and this library's ROME
# writes two (see notebook 04). So the column "lands" has what the edit $\Delta W$ really adds at each key $k$:
# $\Delta W k$, along what it adds at the tower's own key, and as a share of that.
#
# **Predict.** Which of the others hear the edit? And which will move to Rome with it?
#
# <details><summary>Answer</summary>
#
# Those whose names end in the same token hear it, and that is known before the edit. Which of them will move is
# not: it may depend on how firm the old answer was, and on the layers above.
#
# </details>

# %%
places = """The Eiffel Tower, The Leaning Tower, The Willis Tower, The Tokyo Tower, The Tower Bridge,
The Louvre, The Statue of Liberty"""
prompt = "{} is located in the city of"
towers = [lib.Fact(" ".join(name.split()), prompt, "Rome") for name in places.split(",")]
heard = overlaps(towers, [edited])[edited][0]
asked = [fact.text for fact in towers]


def look():  # the answers, the next token's log-probabilities, p(Rome)
    p = [score.sum().exp().item() for score in lm.score(asked, ["Rome"] * len(asked))]
    return lm.answer(asked, 5), lm.next_token(asked).exp(), p


# %%
before, p_before, rome_before = look()
patch = lib.EDITORS["rome"](lm).edit(towers[:1])
a, b = patch.weights[lm.mlp_out(edited)].chunks[-1]  # ΔW = a b, of rank two
landed = a @ (b @ lm.keys(towers, edited))  # ΔW k of every place
lands = (landed[:, 0] @ landed) / landed[:, 0].square().sum()  # as a share of the tower's
with lm.patched(patch):
    after, p_after, rome_after = look()
first = p_before.argmax(1, keepdim=True)  # the token with which the old answer begins
table = {"subject": [fact.subject for fact in towers], "ρ(tower, it)": heard.tolist()}
table |= {"lands": lands.tolist(), "before": before, "after": after}
for what, p in {"before": p_before, "after": p_after}.items():
    table[f"p(old), {what}"] = p.gather(1, first)[:, 0].tolist()
table |= {"p(Rome), before": rome_before, "p(Rome), after": rome_after}
pd.DataFrame(table).set_index("subject").round(3)

# %% [markdown]
# The Louvre hears next to nothing of the edit: it shares the city with the tower, but not the word. On the three
# other names that end in *Tower* between four and just over five tenths of the residual land, and 0.148 on the
# Tower Bridge, which has the word before its last. The forecast by one key is off by at most 0.045, at the
# Statue of Liberty. What that does to the answer is another matter. The column p(old)
# follows the first token of the old answer. The Leaning Tower, for which the model had only a guess before
# (0.030), moves to Rome. The Willis Tower hears most; its old answer falls from 0.633 to 0.201, and it leaves
# Chicago for New York. The Tokyo Tower, whose own name says where it is, stays, with 0.723 instead of 0.958. So
# here $\rho$ says before the edit who will be pushed, and not who will fall. That the firmness of the old
# answer decides is an idea from three towers, and no more.
#
# ## From the token to the kind of thing
#
# Does the last token matter less in higher layers, and the kind of thing more? Forty-two names share a last token
# in pairs and little else. The classroom's subjects of one relation share the kind, and mostly no token. Now
# all of them stand in one sentence (so the classroom adds a few pairs with a common last token), and we take
# the mean cosine of the whitened keys over the pairs of each group. In the group "neither" there are no pairs of
# two of the forty-two names, since some of these are of one kind, as the cities. The shades are 95 % intervals, a
# bootstrap over the names.

# %%
names = """Michael Jordan, the river Jordan, George Washington, the state of Washington, New York,
the Duke of York, the Pacific Ocean, Frank Ocean, Freddie Mercury, the planet Mercury, Jack London,
the Tower of London, Kevin Bacon, Francis Bacon, the car maker Lincoln, Abraham Lincoln,
Whitney Houston, the city of Houston, Irving Berlin, East Berlin, Joaquin Phoenix, the bird Phoenix,
Kate Hudson, the river Hudson, Bruno Mars, the planet Mars, Queen Victoria, Lake Victoria,
the island of Java, the language Java, the river Amazon, the company Amazon, Anatole France,
the country of France, Charles Darwin, the port of Darwin, Tom Holland, the province of Holland,
Stephen Austin, the city of Austin, Charlie Parker, the pen maker Parker"""
names = list(dict.fromkeys([" ".join(name.split()) for name in names.split(",")] + inner))
mixed = [lib.Fact(name, "Everybody has heard of {}", "?") for name in names]
mixed = {fact.subject: fact for fact in mixed}
ends = torch.tensor([lookup(lm.tokenizer, fact)[0][-1] for fact in mixed.values()])
ends = ends[:, None] == ends[None]
kin = [[relation.get(a, a) == relation.get(b, b) for b in mixed] for a in mixed]
kin = torch.tensor(kin) & ~ends
listed = torch.tensor([name not in relation for name in mixed])  # by us: some are of one kind
rest = ~kin & ~ends & ~(listed[:, None] & listed)
groups = {"same last token": ends, "same relation": kin, "neither": rest}

# %%
by_layer = torch.stack([cosines(rho) for rho in overlaps(list(mixed.values())).values()])
curves, bands = {}, {}
for name, group in groups.items():
    label = f"{name} ({int(group.triu(1).sum()):,} pairs)"
    curves[label], draws = runs_07.over_names(by_layer, group)
    bands[label] = np.nanpercentile(draws, (2.5, 97.5), axis=0)
for layer in (0, 9, top):
    at = layers.index(layer) if layer in layers else -1
    said = [f"{name} {y[at]:.2f} [{bands[name][0][at]:.2f}, {bands[name][1][at]:.2f}]"
            for name, y in curves.items()]  # fmt: skip
    print(f"layer {layers[at]}: " + ", ".join(said))
plot.layer_curve(layers, curves, "mean cosine of whitened keys", edited, bands=bands)

# %% [markdown]
# In layer 0 a name *is* nearly its last token (cosine 0.99), and the kind of thing counts for little (0.10). In
# the last layer the kind counts for more: 0.46 (0.38 to 0.53), against 0.18 (0.15 to 0.21) for pairs that share
# neither, and pairs with a common last token are at 0.29 (0.18 to 0.44). That the kind counts for more than the
# token there is not shown, since these two intervals overlap and no paired one was taken. The two curves cross
# near layer 9, where their intervals are wide and overlap: at which layer exactly, we cannot say from 23 pairs.
#
# ## Which of 50 edits breaks first?
#
# Now $\rho$ is put to the test. In a stored run ROME writes fifty facts (the classroom's odd numbers) one after
# another. After every edit all facts so far are asked. The matrix $\rho$ of the fifty keys, in the order of the
# edits, is known before the first of them, and so the forecast comes first: one number per fact, the higher the
# sooner it should break. All residuals count as equally long, and each fact again with one key.
#
# **Your turn · exercise 3.3, its second part · ★★ · 6 minutes.** Write `forecast`: the length of what
# lands on each fact in the end.


# %%
def forecast(rho):
    """rho (n, n) in the order of the edits, row i is edit i -> one number per fact (n,)."""
    ...


forecast = use("3.3", forecast)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which edits can harm fact $j$ at all: those before it or those after it? And if residuals point in
# unrelated directions, do their signs matter?
#
# </details>
# <details><summary>Solution</summary>
#
# Only later edits, $i > j$, and the length of a sum of unrelated vectors is the root of the sum of
# their squares: $\sqrt{\sum_{i>j} \rho(i, j)^2}$.
#
# ```python
# def forecast(rho):
#     return rho.tril(-1).norm(dim=0)
# ```
#
# </details>
#
# **Predict.** Can $\rho$ alone tell which facts will fall? The rival forecast is age: the older a fact,
# the more edits have passed over it. And what is left of the forecast without the five openers?
#
# <details><summary>Answer</summary>
#
# Over all edits its rank correlation is above that of age. Without the openers nothing is left of it
# that one could see, and next to no harm either.
#
# </details>

# %%
fifty = [case.fact for case in cases[1::2][:50]]
rho = overlaps(fifty, [edited])[edited]
opener = [lookup(lm.tokenizer, fact)[1] == 0 for fact in fifty]
mine = forecast(rho)
first = mine.argsort(descending=True)[:6].tolist()
print("first to break:", ", ".join(f"{fifty[i].subject} {mine[i]:.2f}" for i in first))
print("openers:", ", ".join(fact.subject for fact, at in zip(fifty, opener, strict=True) if at))
well = guess("The rank correlation of this forecast with what the facts will lose?", -1, 1)

# %%
make = partial(runs_07.in_a_row, lm)
same = ["subject", "rho", "held", "p"]
rows = long_runs.known("07_first_to_break", runs_07.SETTINGS, make, 2, same, tolerance=0.02)
print("written:", sum(row["held"][-1] for row in rows), "held at the end:", sum(rows[-1]["held"]))
which = {"all": [True] * len(rows), "openers": opener}
which["all but openers"] = [not at for at in opener]
table = []
for name, edits in which.items():
    if any(edits):
        fall = pd.Series(runs_07.falls(rows, edits))
        line = {"these edits": name, "they are": sum(edits), "fall of p, sum": f"{fall.sum():.3f}"}
        from_rho = forecast(rho * torch.tensor(edits)[:, None])  # what these edits alone do
        ways = {"forecast": pd.Series(from_rho.numpy()), "age": -pd.Series(range(len(rows)))}
        for way, values in ways.items():
            r, low, high = rank_correlation(values, fall)
            line[f"{way}, 50 facts"] = f"{r:.2f} [{low:.2f}, {high:.2f}]"
            if (name, way) == ("all", "forecast"):
                well.against(r)
                print("all edits, forecast less age: " + runs_07.ahead(fall, **ways))
        table.append(line)
pd.DataFrame(table).set_index("these edits")

# %% [markdown]
# Each line takes by how much these edits lower the probability of each fact's new answer, and the forecast from
# these edits alone; the rank correlations are over the fifty facts. Right after their own edits 47 facts are
# held, at the end 44. A fact is *lost* at an edit when the model's answer began with the new one before it, and
# does not after it. It can come back, so one fact can be lost twice. The next cell looks at single meetings of
# a fact that is held and a later edit.

# %%
met = runs_07.meetings(rows, opener)
for first in ("yes", "no"):
    for far in (True, False):
        some = [row for row in met if row["an opener"] == first and (row["|ρ|"] > 0.3) == far]
        what = f"an opener among them: {first}, |ρ| {'above' if far else 'up to'} 0.3"
        print(f"{what}: {len(some)} meetings, {sum(row['lost'] for row in some)} losses")
pd.DataFrame([row for row in met if row["lost"]]).drop(columns="lost").set_index("fact").round(3)

# %% [markdown]
# Over all edits $\rho$ orders the facts better than age does: 0.66 against 0.45, and on the same facts the
# difference is 0.21 (0.06 to 0.39). The forecast puts China first, and China is lost first, to Rome; of the six
# that it puts first, Illinois and zebras are never lost. But the other two lines say where the correlation
# comes from. All probabilities together fall by 6.547, and the five openers make 6.326 of it. What the other 45
# edits do is 0.221 in sum, and $\rho$ does not forecast it visibly: the rank correlation is 0.03, with an
# interval from −0.25 to 0.31. The losses say the same. Five of seven have an opener among the two, and four of
# these are among the 11 meetings of openers above 0.3. Among all others there are 3 meetings above 0.3, without
# a loss, and two losses in the 924 meetings below. So in this run $\rho$ forecasts what openers do, whose keys
# are those of the attention sink (page 02b). And it says how far a value is moved, not how much an answer
# can stand. This is one row of fifty facts, in one order.
#
# ## What we know now
#
# * Inserts one by one are lossless for all values only with orthogonal whitened keys, and a batch spares all
#   facts that nobody names only with keys orthogonal to theirs. No layer that we read has such keys. Facts that
#   are named can be written without loss as long as their keys are independent: all at once, or with kept keys.
# * Random keys overlap by $1/\sqrt d$ (rms). Real ones here overlap 2.5 to 6.9 times as much: in layer 0
#   above all by the last token, in the upper layers by the kind of thing as well.
# * Kurtosis says how uneven overlap is, and may depend on a few pairs: read rms and large entries beside it.
# * In the run of fifty, $\rho$ forecasts the harm that openers do. What the other edits did there is so little
#   that there was hardly anything to forecast.
#
# ## Where it breaks
#
# ROME writes all facts in one layer. For some that may be a bad one, whose key tells little but the last token,
# or is the sink's. **Which layer fits which fact?** [Notebook 08](08_wilke.ipynb) asks each fact.
#
# ## References
#
# * Hu, Cao, Chen, Liu, Zhao: *Knowledge in Superposition: Unveiling the Failures of Lifelong Knowledge
#   Editing for Large Language Models*, 2024, [arXiv:2408.07413](https://arxiv.org/abs/2408.07413).
# * Elhage et al.: *Toy Models of Superposition*, 2022,
#   [arXiv:2209.10652](https://arxiv.org/abs/2209.10652).
# * Welch: *Lower Bounds on the Maximum Cross Correlation of Signals*, 1974.
