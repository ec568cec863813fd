# %% [markdown]
# <!-- badge -->
#
# # 12 · WISE: a side memory and a router
#
# GRACE kept every fact and reached no rewording. Weights reach them, and wear out. WISE writes into
# a second copy of one matrix, and decides at each prompt which of the two shall answer.
#
# **You will** derive a router from the edit itself · see why margins are needed · draw random masks
# and measure their overlap · merge two memories with TIES, step by step · find out how many facts a
# memory holds · put five editors on one stream.
#
# **Needs** [notebook 09](09_learning_to_edit.ipynb) for gradients, [notebook 11](11_grace.ipynb).
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
from lib import plot, widgets
from lib.editors.wise import merging, side_memory
from lib.model import generation
from notebooks.support import checks_12_wise as checks_12
from notebooks.support import models, show, stored_runs
from notebooks.support import runs_12_wise as runs_12

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw)


# %% [markdown]
# ## A router for nothing
#
# $W$ stays. A copy $W' = W + \tau$ is trained: the **side memory**. A prompt with inputs $a_p$ at
# its tokens goes to the copy if the copy says something else there:
#
# $$\Delta(x) = \frac1n \sum_p \|W'a_p - W a_p\| = \frac1n \sum_p \|\tau a_p\|
# \;\ge\; \varepsilon, \qquad \varepsilon = \min_{\text{edits } e} \Delta(x_e).$$
#
# Why should $\Delta$ know an edit? Gradients are sums of pairs, so $\tau = \sum_i v_i k_i^\top$,
# and $\tau q = \sum_i v_i \langle k_i, q\rangle$: large where $q$ is like a key that was trained.
# GRACE's nearest key is in there, without a border: it fades. (Papers call this score $\Delta$; the
# change of the weights, $\Delta$ so far, is $\tau$ here.)
#
# **Predict.** $n$ random keys of unit length in $d$ dimensions, values of unit length. How large is
# $\Delta$ at a key? At a random $q$, with $n = d$?
#
# <details><summary>Work it out</summary>
#
# Terms with random signs add in squares: $E\|\tau q\|^2 = \sum_i E\langle k_i, q\rangle^2 = n/d$.
# At a key its own pair is on top, $\sqrt{1 + (n-1)/d}$. With $n = d$: 1 for a stranger, 1.4 for an
# edit. The more is written, the less they differ.
#
# </details>

# %%
d, rows = 256, []
for n in (8, 64, 256):
    K, V = (torch.nn.functional.normalize(normal(size, n), dim=0) for size in (d, 64))
    tau, row = V @ K.T, {"facts": n}
    for cos in (1, 0.8, 0.5, 0):  # of q with a key
        q = cos * K + (1 - cos**2) ** 0.5 * normal(d, n) / d**0.5
        row[f"Δ at cosine {cos}"] = (tau @ q).norm(dim=0).mean().item()
    rows.append(row | {"√(n/d)": (n / d) ** 0.5})
show.Table(rows)

# %% [markdown]
# As derived: with eight facts strangers have 0.17 and edits 1.0, with 256 they have 1.0 and 1.4.
#
# ## Margins
#
# So the gap is not left to chance: WISE trains it. Beside the loss of the answer, with the copy
# alone answering, stand three hinges on $\Delta_e$ of the edit and $\Delta_i$ of irrelevant texts:
#
# $$\max(0, \Delta_i - \alpha) + \max(0, \beta - \Delta_e) +
# \max\big(0, \gamma - (\Delta_e - \Delta_i)\big).$$
#
# Here $\alpha$, $\beta$, $\gamma$ are 0.25, 1.5 and 1, in units of the usual length of $Wa$.
#
# ## Random masks
#
# Facts written one after another wear each other out. So WISE deals them into **shards**: each has
# a random mask of the share $\rho$ (not interference here) of all entries; its facts are trained inside
# it only. Then shards are merged. Two masks share $\rho^2$ of the entries, $k$ masks $\rho^k$.
#
# **Predict.** 884,736 entries, $\rho = 0.2$, 20 facts per shard: how many entries has a fact for
# itself? How many belong to two given shards?
#
# <details><summary>Work it out</summary>
#
# 176,947 / 20 = 8,847 for each fact, and $\rho^2 = 4$ % of the matrix, 35,389 entries, for both.
# That is a fifth of each shard, where the two must agree. (Published, 7B: 18,000 per fact.)
#
# </details>

# %%
lm = models.load(SCALE)
module = lm.mlp_out(runs_12.wise(lm).config.layer)
shape = tuple(lm.weight(module).shape)
masks, all_of = [side_memory.draw_mask(shape, 0.2, seed=0, shard=i) for i in range(3)], True
for k, mask in enumerate(masks, start=1):
    all_of = mask & all_of
    size, p = mask.numel(), 0.2**k
    spread = 3 * (size * p * (1 - p)) ** 0.5
    print(f"in all of {k}: {all_of.sum():,}, expected {size * p:,.0f} ± {spread:,.0f}")

# %% [markdown]
# Shares multiply: all are within three deviations of what was expected.
#
# ## TIES, step by step
#
# A shard's change $\tau_s$ is a **task vector**. To join several, TIES **trims** each to the share
# of its largest entries, **elects** a sign per entry, that of the sum, and takes the **mean** over
# those who have that sign. Zeros have no vote, and no share in the divisor.

# %%
taus = [torch.tensor(t) for t in ((4, -1, 0.5, 2), (-2, -3, 1, 0.2), (3, 2, -0.1, -5.0))]
trimmed = []
for tau in taus:
    least = tau.abs().sort(descending=True).values[1]  # half of four
    trimmed.append(torch.where(tau.abs() >= least, tau, 0.0))
trimmed = torch.stack(trimmed)
elected = torch.where(trimmed.sum(0) >= 0, 1.0, -1.0)
agree = trimmed.sign() == elected
merged = (trimmed * agree).sum(0) / agree.sum(0).clamp(min=1)
assert torch.allclose(merged, merging.ties(taus, density=0.5))
for name, step in {"trim": trimmed, "elect": elected, "merge": merged}.items():
    print(f"{name:5} {step.tolist()}")

# %% [markdown]
# At the first entry the second vector is in a **sign conflict** and is left out. Other rules, on two
# masked shards: what is left of a change by the first, as a share of its length?


# %%
def dare(taus, density):  # drop at random, enlarge what is left
    return sum(tau * (torch.rand(tau.shape, generator=draw) < density) / density for tau in taus)


def slerp(taus, density):  # half of the way along the arc between two vectors
    angle = torch.arccos((taus[0] * taus[1]).sum() / taus[0].norm() / taus[1].norm())
    return sum(taus) * torch.sin(angle / 2) / torch.sin(angle)


rules = {**merging.RULES, "dare": dare, "slerp": slerp}
rules["magnitude"] = lambda taus, density: sum(merging.trim(tau, density) for tau in taus)
pair = [torch.where(mask, normal(*shape), 0.0)[:64] for mask in masks[:2]]
alone, both = (pair[0] != 0) & (pair[1] == 0), (pair[0] != 0) & (pair[1] != 0)
clash, rows = both & (pair[0] * pair[1] < 0), []
for name, rule in rules.items():
    found, row = rule(pair, density=0.53), {"rule": name}
    for what, here in {"alone": alone, "agreed": both & ~clash, "in conflict": clash}.items():
        row[what] = (found[here].norm() / pair[0][here].norm()).item()
    rows.append(row)
show.Table(rows)

# %% [markdown]
# TIES and its kin leave whole what only one shard changed. Averages halve it, and with masks that
# is most of the difference between rules. `dare` keeps the sum right and adds noise.
#
# ## Twelve facts, two shards
#
# The Eiffel Tower, ten odd facts of the classroom, the young sheep: six in each shard, one after
# another. Each step also sees 32 irrelevant texts and (not in the paper) up to twelve earlier facts
# of its shard: *rehearsal*. Then three merges. Every prompt is sent through the merged memory; the router comes later.

# %%
sheep = lib.Case(lib.Fact("sheep", "The young of a {} is called a", "puppy"))
cases = [lib.classroom()[0], *runs_12.facts()[:10], sheep]
cases, size = (cases[:4], 2) if SCALE == "tiny" else (cases, 6)
apart, memories = runs_12.shards(lm, cases, size)
taus = [memory.tau for memory in memories]
assert not any(tau[~mask].any() for tau, mask in zip(taus, masks[:2], strict=True))  # exactly 0
shared = (taus[0] != 0) & (taus[1] != 0)
clash = (taus[0] * taus[1] < 0).sum().item()
print(f"{shared.sum():,} shared entries, {clash / shared.sum():.0%} of them in sign conflict")

merged = {name: runs_12.through(apart, merging.RULES[name](taus)) for name in merging.RULES}
rows = [{"memory": "none"} | runs_12.answered(lm, cases, lib.EMPTY)]
rows += [{"memory": name} | runs_12.answered(lm, cases, patch) for name, patch in merged.items()]
show.Table(rows)

# %% [markdown]
# Half of the shared entries are in conflict, like coins. It does not matter here. All twelve facts
# survive every merge, and the memory knows 95 % of the rewordings, 89 % after a linear one. GRACE
# reached none. So now: will it be asked?
#
# ## Who is sent where?
#
# Now the router: $\Delta$ of the twelve edits, of their rewordings, of neighbors, and of unrelated
# prompts, under the merged memory. The threshold is the least $\Delta$ of an edit (`act_ratio` 1).
#
# **Predict.** Which group is closest to the edits?
#
# <details><summary>Answer</summary>
#
# Rewordings and neighbors, and equally so: half of each is let in. Nothing unrelated is.
#
# </details>

# %%
tau = merging.ties(taus)
found = {g: runs_12.deltas(lm, merged["ties"], texts) for g, texts in runs_12.groups(cases).items()}
eps = min(found["edited"])
patch = runs_12.through(apart, tau, eps)
widgets.ThresholdExplorer(patch.routes[module], found)

# %% [markdown]
# The margins hold what they were trained for: unrelated prompts stay below, and get the numbers of
# the base model, to the last bit. But of rewordings only half pass the least of the edits, and of
# neighbors as many: $\Delta$ knows what the facts are *about*, cities and young animals, hardly which
# one is meant. No margin asked for that. A lower threshold (in a running notebook: the slider) lets in
# more of both. The library's preset has one, 0.4 of the way up from irrelevant texts to $\varepsilon$
# (`calibrate`); this notebook and its stored run pin the published rule, `None`, derived above.
#
# ## The decision at the prompt
#
# $\Delta$ is a mean over the tokens of the *prompt*; the decision is taken once and kept. The
# public code takes it anew at every call, from the tokens of that call: with a cache that is one
# token. Would every token of an answer decide alike?

# %%
tower = cases[0].fact.text
with lm.patched(patch):
    ids, _ = lm.rows([tower])
    cached = generation.generate(lm, ids, 8).ids[0]
    again = generation.generate(lm, ids, 8, cache=False).ids[0]
assert cached == again
inputs = lm.run([tower + lm.tokenizer.decode(cached)], [module]).seen[module][0][0]
each = (inputs.cpu() @ tau.T).norm(dim=1)[-len(cached) :]
words = [lm.tokenizer.decode([token]).strip() or "⏎" for token in cached]
print("the answer:", lm.tokenizer.decode(cached).strip(), f"(ε = {eps:.0f})")
print("Δ of its tokens alone:", ", ".join(f"{w} {x:.0f}" for w, x in zip(words, each, strict=True)))

# %% [markdown]
# With the cache and without it the answers are equal. But $\Delta$ of single tokens falls below
# $\varepsilon$ in mid-answer: there the public code would go back to $W$. (To stop was never taught.)
#
# ## How many facts in a shard?
#
# One mask, one fact after another, 80 odd facts of the classroom (stored run); at 10, 20, 40 and 80
# up to forty of them are asked, through the router. Twice: with up to twelve earlier facts trained
# along, and without.
#
# **Predict.** 80 facts leave 2,212 entries for each. What is still right?
#
# <details><summary>Answer</summary>
#
# 78 % without rehearsal, where 20 facts were all held and 40 nearly; everything with it.
#
# </details>

# %%
STREAM = runs_12.STREAM
if stored_runs.long():
    for rows in runs_12.every(lm):
        stored_runs.save("12_stream", STREAM, rows)
rows = stored_runs.load("12_stream", STREAM)["rows"]
own = [row for row in rows if row["line"] == "WISE, no rehearsal"]
if SCALE == "small":
    live = runs_12.stream(lm, "WISE, no rehearsal", count=2)
    stored_runs.begins_with(own, live, ["edits", "eps"], tolerance=0.5)
for row in [row for row in rows if "held" in row and "eps" in row]:
    each = masks[0].sum() / row["edits"]
    print(f"{row['line']}, {row['edits']} edits: ε {row['eps']:.0f}, {each:,.0f} entries for each")
x, y = runs_12.density(rows)
colors = dict(zip(y, 2 * (plot.EDITED, plot.CYCLE[0], plot.NEIGHBOR), strict=True))
dashes = {name: "--" for name in y if "rehearsal" in name}
axes = "edits in the shard", "right (%)"
plot.lines(x, y, *axes, colors=colors, dashes=dashes, ylim=(0, 104))

# %% [markdown]
# Dashed, without rehearsal as in the paper: 100 % at 20 facts, 95 % at 40, 78 % at 80. A shard of
# this size holds 20 to 40 facts and then **forgets**; $\varepsilon$, the least of all, falls from
# 104 to 61 and 75, and some unrelated prompts pass. Rehearsal holds all eighty; its $\varepsilon$
# stays higher, which keeps rewordings out. (With forty facts asked, 78 % may be 63 to 88 %.)
#
# ## The impossible triangle
#
# Facts should be held, rewordings follow, everything else stay. Five editors on the same forty
# facts (stored run), MEMIT and UltraEdit in turns of ten; measured as in notebook 11.

# %%
names, shares = runs_12.triangle(rows, 40)
columns = ["held", "reworded", "neighbors", "unrelated"]
plot.heatmap(shares, names, columns, "asked after 40 edits", "editor", "share (%)", limits=(0, 100))

# %% [markdown]
# At forty facts MEMIT comes closest, 92.5, 88, 97 and 93 %: many facts at once is what it is made
# for, but unrelated words move already, and notebook 06 has seen where that leads. GRACE holds all
# and moves nothing, and reaches no rewording; WISE moves nothing unrelated and reaches half of
# them, at the cost of neighbors. In the paper, after 1,000 facts in a model of 7B, MEMIT has 69, 65
# and 62 % (held, reworded, unrelated), GRACE 93, 8 and 100, WISE 77, 72 and 100.
#
# ## Exercise: merge by hand
#
# First by TIES, keeping half: $(3, -2, 0.4, 1)$, $(-2, -4, 1, 0.2)$, $(-1.5, 1, 0.3, -5)$. Four
# numbers. Then a function that finds the entries with a sign conflict after the trim.

# %%
by_hand = None  # [first, second, third, fourth]


def conflict(taus, density):  # vectors (n,) -> indices where two that are left disagree
    return "not attempted"


print("merge:", checks_12.by_hand(by_hand))
print("conflict:", checks_12.conflict(conflict))

# %% [markdown]
# ## What we know now
#
# * $\Delta$ is the edit's own echo: large at prompts like those that were trained, and it fades
#   instead of ending. That is how rewordings get in.
# * The echo of strangers grows with $\sqrt{n/d}$; margins push it down as long as there is room.
# * Masks keep shards mostly apart; TIES adds what is apart and votes where they meet.
#
# ## Where it breaks
#
# All facts go through one matrix and one threshold. Without rehearsal the first are **forgotten**;
# with it every step trains twelve more rows, and what was said must be kept. **One memory, many
# edits.** What if each batch had a memory of its own, in which nobody writes any more? That is
# [notebook 13](13_lemoe.ipynb).
#
# ## References
#
# * Wang et al.: *WISE: Rethinking the Knowledge Memory for Lifelong Model Editing of Large Language
#   Models*, 2024, [arXiv:2405.14768](https://arxiv.org/abs/2405.14768).
# * Yadav et al.: *TIES-Merging*, 2023, [arXiv:2306.01708](https://arxiv.org/abs/2306.01708).
