# %% [markdown]
# <!-- badge -->
#
# # 12 · WISE: a side memory and a router
#
# With its preset GRACE held nearly every fact, and no rewording got the new answer. An editor of weights can
# reach rewordings, but each edit changes the weights for all other prompts as well. WISE writes into a second
# copy of one matrix, and a **router** decides at each prompt which of the two matrices answers. One question
# leads through the page: does this router know the edited fact, so that rewordings get in and neighbors do not?
#
# **You will** derive a router from the edit itself · train it with margins, by a step of your own ·
# merge memories that were trained apart · see token by token how a prompt gets its score · tell
# a memory that forgets from one that is full · compare five editors.
#
# **Needs** [notebook 09](09_learning_to_edit.ipynb) for gradients, [notebook 11](11_grace.ipynb).
#
# **Minutes** 30 to read and 20 to work: two exercises of [session 7](../lessons/session_7.md).
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
from itertools import combinations, pairwise, product
from math import hypot

import pandas as pd
import torch
from IPython.display import display

import lib
from lib.data import texts
from lib.data.facts import encode_prompt, encode_target
from lib.editors.hypernetwork import losses
from lib.editors.wise import merging, route
from lib.evaluation.intervals import DIFFERENCE, SHARE, interval
from lib.model import activations, generation
from lib.workbench import plot, widgets
from notebooks.support import drawings_12, figures, models
from notebooks.support import runs_12_wise as runs_12
from notebooks.support.holes import guess, use
from notebooks.support.score_tables import MEASURED, gap, percent

pd.set_option("display.width", 100)
lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
config = runs_12.wise(lm).config
module = lm.mlp_out(config.layer)
W = lm.weight(module).cpu()
known = {}


def inputs(text):  # a (n, d_in), what the matrix reads at each token of a text
    if text not in known:
        ids = encode_prompt(lm.tokenizer, text)
        skip = int(len(ids) > 1 and ids[0] == lm.leading_bos)
        read = activations.module_inputs(lm, [ids], [module], skip)[module]
        known[text] = read.float().cpu()
    return known[text]


def score(tau, a):  # Δ, for the inputs a of a prompt
    return (a @ tau.T).norm(dim=1).mean().item()


# %% [markdown]
# ## Two paths
#
# One matrix of the model is copied: the output projection $W$ of one MLP. $W$ itself is never written
# again; it is the **main memory**. The copy $W' = W + \tau$ is trained on the edits; it is the **side
# memory**. A prompt arrives at the layer with one input $a_p$ for each of its tokens. The layer has to
# choose one of the two matrices for the whole answer, and it may only look at these inputs.

# %%
drawings_12.two_paths()

# %% [markdown]
# WISE asks how far the two matrices disagree. At each token of the prompt it measures the distance of
# the two outputs, and it takes the mean of the distances over the prompt. The side memory answers if
# this score is as large as it is for the edits themselves:
#
# $$\Delta(x) = \frac1n \sum_p \delta_p, \qquad \delta_p = \|W'a_p - W a_p\| = \|\tau a_p\|,
# \qquad \Delta(x) \ge \varepsilon = \min_{\text{edits } e} \Delta(x_e).$$
#
# ($\Delta$ is the score here, as in the paper, and `score` above. The change of the weights, $\Delta$
# in earlier notebooks, is $\tau$.)
#
# ## A router for nothing
#
# Suppose that nobody trains this router. Why should $\Delta$ know an edit all the same? A gradient is
# a sum of pairs (notebook 09). So a change that was made by gradients is $\tau = \sum_i v_i
# k_i^\top$, where the $k_i$ are inputs at tokens that were trained. At an input $q$ it gives $\tau q
# = \sum_i v_i \langle k_i, q\rangle$, which is large where $q$ is like one of the $k_i$. This
# resembles GRACE's nearest key, but there is no radius beyond which it is silent: $\tau q$ becomes
# smaller with the distance.
#
# **Predict.** Take $n$ random keys of unit length in $d$ dimensions, with values of unit length. How
# long is $\tau q$ at a key? And at a random $q$ of unit length, for $n = d$?
#
# <details><summary>Work it out</summary>
#
# Terms with random signs add in squares, so $E\|\tau q\|^2 = \sum_i E\langle k_i, q\rangle^2 = n/d$.
# At a key its own pair comes on top, which gives $\sqrt{1 + (n-1)/d}$. With $n = d$ it is 1 at a
# random input and 1.4 at a key. The more is written, the less they differ.
#
# </details>
#
# That is one token. A prompt has many, and $\Delta$ is their mean. Many tokens of a prompt ("The",
# "is", "in", "of") stand in other prompts too, and their inputs resemble trained keys there as well.
# The last column is a prompt of which half of the tokens are trained keys and half are random inputs.


# %%
draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw)


d = 256
rows = []
for n in (8, 64, 256):
    K = torch.nn.functional.normalize(normal(d, n), dim=0)
    V = torch.nn.functional.normalize(normal(64, n), dim=0)
    tau = V @ K.T
    row = {"pairs": n}
    for cos in (1, 0.8, 0.5, 0):  # the cosine of q with a key
        q = cos * K + (1 - cos**2) ** 0.5 * normal(d, n) / d**0.5
        row[f"δ, cos {cos}"] = (tau @ q).norm(dim=0).mean().item()
    row["√(n/d)"] = (n / d) ** 0.5
    row["Δ, half of the tokens"] = (row["δ, cos 1"] + row["δ, cos 0"]) / 2
    rows.append(row)
pd.DataFrame(rows).set_index("pairs").round(2)

# %% [markdown]
# As derived, a random input (cosine 0) has about $\sqrt{n/d}$: with eight pairs 0.17 against 1.0 at a key,
# with 256 it has 1.0 against 1.4. A prompt that shares half of its tokens with an edit stands halfway
# between, since $\Delta$ is a mean.
#
# ## Margins
#
# The gap between keys and other inputs becomes smaller as pairs are added, so WISE trains it. In every step of
# training two things go in beside the fact: $\Delta_e$ of the fact's own prompts, and $\Delta_i$ of
# texts that have nothing to do with it. Both must end on the right side of a fixed margin, and far
# enough from each other. A **hinge** $\max(0, \cdot)$ is zero as soon as its demand is met, so that
# only the loss of the answer is left (it is taken with $W'$ in place, whatever the router would say):
#
# $$\max(0, \Delta_i - \alpha) + \max(0, \beta - \Delta_e) +
# \max\big(0, \gamma - (\Delta_e - \Delta_i)\big).$$
#
# Each hinge is the mean over its terms above 0: the first has one for each text, the second one for each
# prompt of the fact, the third one for each pair of the two. The paper's margins for a 7B model are
# absolute numbers, 5, 20 and 10. Ours are $\alpha = 0.25$, $\beta = 1.5$ and $\gamma = 1$ in units of
# the mean length of $Wa$ on irrelevant texts, so that they fit models of any scale.
#
# The margins are reached by gradient descent, like the answer. One thing is to be watched: a memory may
# only change some of the entries of $\tau$, those of its **mask**. (What the mask is for comes below.)
#
# **Your turn · exercise 7.1 · ★★ · 10 minutes.** Write `margin_step`: one step downhill in the margin
# loss. It gets the inputs at the tokens of each text, and returns the new $\tau$. The memory of the next
# figure is trained with it.


# %%
def margin_step(tau, mask, own, others, margins, lr):
    """tau, mask (d_out, d_in); own, others: lists of inputs (tokens, d_in) -> the new τ.

    own are the edit's prompts, others irrelevant texts; margins are (alpha, beta, gamma)
    """
    ...


margin_step = use("7.1", margin_step)
margins = config.alpha, config.beta, config.gamma
some, tau = [normal(4, 6) for _ in range(5)], normal(3, 6).requires_grad_()
deltas = torch.stack([(a @ tau.T).norm(dim=1).mean() for a in some])
theirs = sum(route.hinges(deltas[:2], deltas[2:], *margins))  # the library's margin loss
theirs = tau - torch.autograd.grad(theirs, tau)[0]
ours = margin_step(tau.detach(), torch.ones(3, 6), some[:2], some[2:], margins, 1.0)
assert torch.allclose(ours, theirs, atol=1e-5)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Is $\max(0, x) + \max(0, y)$ the same as $\max(0, x + y)$? What shape do all pairs of $\Delta_e$ and
# $\Delta_i$ have? And which of the two is masked, $\tau$ or its gradient?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def margin_step(tau, mask, own, others, margins, lr):
#     (alpha, beta, gamma), tau = margins, tau.clone().requires_grad_()
#     edits = torch.stack([(a @ tau.T).norm(dim=1).mean() for a in own])
#     calm = torch.stack([(a @ tau.T).norm(dim=1).mean() for a in others])
#     gaps = gamma - (edits[None] - calm[:, None])
#     hinges = [terms.clamp(min=0) for terms in (calm - alpha, beta - edits, gaps)]
#     loss = sum(hinge.sum() / max(1, int((hinge > 0).sum())) for hinge in hinges)
#     return tau.detach() - lr * mask * torch.autograd.grad(loss, tau)[0]
# ```
#
# </details>
#
# Now we train a side memory for the tower, once with the answer's loss alone, and once with a step of
# yours behind every step for the answer. Thirty-two irrelevant texts stand for everything else. (The
# library adds both losses and takes one step for their sum.)
#
# **Predict.** At the start $\tau = 0$, so $\Delta = 0$ everywhere, and the hinge for the edit is wide
# open. Could your step begin the training alone, without the answer?
#
# <details><summary>Answer</summary>
#
# No. $\|\tau a\|$ has no derivative at $\tau = 0$: it grows alike in every output direction. (PyTorch takes
# 0 there.) The answer has to say in which direction the output should move; the margin only says how far.
#
# </details>

# %%
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
prompts = [tower.text, f"I have heard it again. {tower.text}"]
calm = [inputs(text) for text in texts.irrelevant()[:32]]
unit = torch.stack([(a @ W.T).norm(dim=1).mean() for a in calm]).mean()
own, others = ([a / unit for a in some] for some in (map(inputs, prompts), calm))
answer = encode_target(lm.tokenizer, tower.target_new)
rows = [losses.Text(encode_prompt(lm.tokenizer, text), answer, 0.5) for text in prompts]
mask = route.draw_mask(tuple(W.shape), 0.2, seed=0, shard=0)

lines, steps = {}, 3 if SCALE == "tiny" else 15
for name, weight in {"the answer alone": 0, "with margins": config.margin_weight / 2}.items():
    tau, curve = torch.zeros_like(W), []
    for _ in range(steps):
        found = losses.outcome(lm, lib.EMPTY, {module: tau}, rows, [])
        deltas = [[score(tau, a) for a in some] for some in (own, others)]
        curve.append((found.edit, sum(deltas[0]) / 2, max(deltas[1])))
        tau = tau - config.lr * mask * found.grads[module].cpu()  # the answer
        if weight:  # and the router
            tau = margin_step(tau, mask, own, others, margins, weight * config.lr)
    _, edit, other = zip(*curve, strict=True)
    lines |= {f"edit, {name}": edit, f"texts, {name}": other}
    print("{}: loss {:.2f}, Δ {:.2f} of the edit, {:.2f} of a text".format(name, *curve[-1]))
colors = dict(zip(lines, ("#d95f0e", "#2c3e9e") * 2, strict=True))
look = {"colors": colors, "dashes": dict.fromkeys([*lines][:2], "--")}
plot.lines(range(steps), lines, "steps", "Δ, in units of ‖Wa‖", **look)

# %% [markdown]
# For the answer alone one step is enough: after it the dashed lines are flat. It leaves hardly any router:
# the edit stands at 0.84, and the highest of the texts at 0.75. Your steps pull the edit up and the texts
# down, until the edit is at 1.81 and the highest text at 0.44, and the answer stays. So for this fact it is the
# margins that open the gap. (The edit's line is the mean of its two prompts, that of the texts the largest
# of the 32, and these are the texts that the margins were trained on. Their margin, $\alpha = 0.25$, is not
# reached after fourteen steps.)
#
# ## Random masks
#
# Facts that are written one after another into the same entries can damage each other. WISE deals them
# into **shards**. Each shard has a mask: a random share $\rho$ (not the interference of notebook 02)
# of all entries of the matrix. Its facts may change these entries only, and afterwards the shards are
# merged into one $\tau$. Two masks share $\rho^2$ of the entries, $k$ masks $\rho^k$.
#
# **Predict.** The matrix has 884,736 entries, $\rho = 0.2$, and a shard has 20 facts. How many entries
# are there for each fact? What share of the matrix belongs to two given shards?
#
# <details><summary>Work it out</summary>
#
# A shard has a fifth of the entries, about 177,000, which is about 8,850 for each fact. Two shards
# share $\rho^2$, one entry of 25, about 35,400. That is a fifth of each shard, and there a merge has to
# choose.
#
# </details>
#
# ## Trim, elect, merge
#
# What a shard has learned, $\tau_s$, is called a **task vector**. Several of them go into a merge, and
# one comes out. A plain mean would halve everything that only one of two shards has changed. TIES
# avoids that in three steps. It **trims** each vector to a share of its entries, the largest, it
# **elects** a sign for each entry, that of the sum of what is left, and it takes the **mean** over those
# vectors that have this sign. A zero has no vote, and it does not count in the divisor.
#
# **Your turn · exercise 7.3 · ★★ · 10 minutes.** Write `ties`. The memories below are merged with it. (Do
# it by hand first, and keep half of each: $(4, -1, 0.5, 2)$, $(-2, -3, 1, 0.2)$ and $(3, 2, -0.1, -5)$.)


# %%
def ties(taus, density):
    """taus, a list of tensors of one shape; density, the share that is kept -> their merge."""
    ...


ties = use("7.3", ties)
masks = [route.draw_mask(tuple(W.shape), 0.2, seed=0, shard=i) for i in range(2)]
sizes = W.numel(), masks[0].sum(), masks[0].sum() // 20, (masks[0] & masks[1]).sum()
print("entries: {:,}; in a mask {:,}, for each of 20 facts {:,}; in two {:,}".format(*sizes))
print(ties([torch.tensor(t) for t in ((4, -1, 0.5, 2), (-2, -3, 1, 0.2), (3, 2, -0.1, -5.0))], 0.5))

# %% [markdown]
# <details><summary>Hint</summary>
#
# `tau.abs().flatten().topk(count).indices` are the places of the largest entries. By what is the sum
# over those who agree divided, where only one of them agrees?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def ties(taus, density):
#     trimmed = []
#     for tau in taus:
#         kept = torch.zeros_like(tau).flatten()
#         places = tau.abs().flatten().topk(round(density * tau.numel())).indices
#         kept[places] = tau.flatten()[places]
#         trimmed.append(kept.view_as(tau))
#     stack = torch.stack(trimmed)
#     chosen = (stack.sign() == stack.sum(0).sign()) & (stack != 0)
#     return (stack * chosen).sum(0) / chosen.sum(0).clamp(min=1)
# ```
#
# By hand: after the trim they are $(4, 0, 0, 2)$, $(-2, -3, 0, 0)$ and $(3, 0, 0, -5)$. There are two
# **sign conflicts**. The mean leaves out the second vector at the first entry, and the first vector at
# the last.
#
# </details>
#
# Now the real layer. Twelve facts are written one after another, six in each of two shards: the Eiffel
# Tower, ten others of the classroom and the young sheep of notebook 00. Every step of training sees the
# fact's prompt in a few contexts, 32 irrelevant texts for the margins, and the earlier facts of the same
# shard (up to twelve), which are trained again. We call this *rehearsal*, and it is ours. (The replay in the
# paper's appendix is another one: it keeps the scores of earlier facts in place, and does not train
# their answers again.)
#
# What does a merge leave of the first shard? We look separately at the entries that only this one has
# changed (*alone*), that both changed with the same sign (*agreed*), and with opposite signs (*in
# conflict*), and project the merge $x$ on $\tau_1$ there: $c = \langle x, \tau_1\rangle / \|\tau_1\|^2$,
# which is 1 where $\tau_1$ is there in full.

# %%
sheep = lib.Case(lib.Fact("sheep", "The young of a {} is called a", "puppy"))
cases = [lib.classroom()[0], *lib.classroom()[1:21:2], sheep]
cases, size = (cases[:4], 2) if SCALE == "tiny" else (cases, 6)
apart = runs_12.shards(lm, cases, size)
taus = [memory.tau for memory in apart.routes[module].memories]
first, second = taus
assert not first[~masks[0]].any() and not second[~masks[1]].any()  # exactly 0 outside the masks
both = (first != 0) & (second != 0)
places = {"alone": (first != 0) & (second == 0)}
places |= {"agreed": both & (first * second > 0), "in conflict": both & (first * second < 0)}
lines = []
for name, rule in {"TIES": ties, "linear mean": lambda taus, density: sum(taus) / 2}.items():
    tau = rule(taus, config.density)
    c = {what: tau[at] @ first[at] / first[at].square().sum() for what, at in places.items()}
    lines.append({"merge": name} | {f"c, {what}": x.item() for what, x in c.items()})
clash = places["in conflict"].sum() / both.sum()
print(f"{both.sum():,} shared entries, {clash:.0%} of them in sign conflict")
theirs = merging.ties(taus, density=config.density)
clear = first + second != 0  # a sum of exactly 0 has no sign, and counts as + in the library
assert torch.allclose(ties(taus, config.density)[clear], theirs[clear], atol=1e-6)
pd.DataFrame(lines).set_index("merge").round(2)

# %% [markdown]
# Half of the shared entries are in conflict, as if the signs had been drawn at random. TIES leaves in full
# what only the first shard has changed, and the linear mean halves it: with these masks that is four fifths
# of a shard. Where both agree the two rules are equal. In conflict the larger entry wins with its full
# value: $c$ is 0.76 and not 1 because some of the winners are the second shard's. (The trim takes nothing
# away here, because a shard has a fifth of the entries and the trim keeps more than half.)
#
# ## Who is sent where?
#
# Now the router. We measure $\Delta$ under the merged memory, which was trained with rehearsal, for the twelve
# edits, their rewordings, their neighbors, unrelated prompts, and the prompts of 45 other facts of the classroom,
# *strangers*, none with an edit's sentence. The threshold $\varepsilon$ is the least
# $\Delta$ of an edit (so the share of it that a prompt has to reach, `act_ratio`, is 1). The third cell below
# trains the twelve facts twice more, with other seeds: other masks, other contexts.
#
# **Predict.** Which group is closest to the edits? What share of the neighbors is let in?
#
# <details><summary>Answer</summary>
#
# Neither rewordings nor neighbors are seen to be closer than the other: about half of either is let in. A router
# that knew the edited fact would let in none of the neighbors.
#
# </details>

# %%
merged = ties(taus, config.density)
eps = min(score(merged, inputs(case.fact.text)) for case in cases)
patch = runs_12.through(apart, merged, eps)


def layer(a, prompt):  # WISE's layer: the inputs of a row, of which so many are the prompt's
    reached = score(merged, a[:prompt]) >= eps
    return a @ (W + merged).T if reached else a @ W.T


def share(values, limits=SHARE):  # mean and 95 % interval, in percent
    return tuple(100 * x for x in (sum(values) / len(values), *interval(values, limits)))


def change(one, other, limits=DIFFERENCE):  # paired, in points, and 95 % interval: "-15 [-29, -2]"
    found = [x - y for x, y in zip(one, other, strict=True)]
    return "{:+d} [{:d}, {:d}]".format(*(round(x) for x in share(found, limits)))


for text in (cases[0].fact.text, cases[0].locality[0]):
    with lm.patched(patch):
        a, out = lm.run([text], [module]).seen[module]
    models.same(lm, layer(a[0].float().cpu(), a.shape[1]), out[0].float().cpu())
neighbors = guess("Neighbors let in (%)?", 0, 100)


# %%
def reach(tau, kinds):  # Δ / ε of each prompt; ε is the least Δ of an edit
    eps = min(score(tau, inputs(case.fact.text)) for case in cases)
    deltas = {k: [[score(tau, inputs(x)) for x in some] for some in kinds[k]] for k in kinds}
    return {kind: [torch.tensor(some) / eps for some in deltas[kind]] for kind in kinds}


def let_in(found):  # of each fact's prompts the share with Δ ≥ ε
    return [(some >= 1).float().mean().item() for some in found]


used = {case.fact.prompt for case in cases}
strangers = [case for case in lib.classroom()[2::4] if case.fact.prompt not in used]
kinds = {
    "rewording": [case.paraphrases for case in cases if case.paraphrases],
    "neighbor": [[x.prompt for x in case.neighborhood] for case in cases if case.neighborhood],
    "unrelated": [case.locality for case in cases if case.locality],
    "stranger": [[case.fact.text] for case in strangers],
}
found = reach(merged, kinds)
neighbors.against(share(let_in(found["neighbor"]))[0])
print(pd.Series(found, name="let in (%)").map(let_in).map(percent).to_string())
spread = {"edited": [score(merged, inputs(case.fact.text)) for case in cases]}
spread |= {kind: (eps * torch.cat(found[kind])).tolist() for kind in [*kinds][:3]}
widgets.ThresholdExplorer(patch.routes[module], spread)

# %%
trained, rows, entered = {0: merged}, [], []
for seed in (1, 2):
    memories = runs_12.shards(lm, cases, size, seed=seed).routes[module].memories
    trained[seed] = ties([memory.tau for memory in memories], config.density)
for seed, tau in trained.items():
    found = reach(tau, kinds)
    entered.append(let_in(found["stranger"]))
    pair = found["neighbor"], found["rewording"]
    row = {"seed": seed} | {f"{kind} (%)": percent(let_in(found[kind])) for kind in kinds}
    means = [[x.mean().item() for x in some] for some in pair]
    less = {"let in, difference": change(*map(let_in, pair)), "of Δ/ε": change(*means, None)}
    rows.append(row | less | {"facts": len(pair[0])})
pd.DataFrame(rows).set_index("seed")

# %% [markdown]
# All edits pass, since the threshold is the least of them. No unrelated prompt does, so these get exactly
# the numbers of the base model. But only half of the rewordings are let in, and 57, 42 and 42 % of the neighbors. Of
# the strangers 38, 22 and 24 % are.
#
# Does the router prefer rewordings? The two differences in the table are neighbors less rewordings, fact by
# fact, in points and in % of $\varepsilon$ (all intervals of this page are 95 % intervals). With none of the
# three seeds is a difference seen.
#
# The shares say little: with seed 0 anything from −28 to 34 points is possible. $\Delta$ says more: that of the
# neighbors is 3 % of $\varepsilon$ lower (12 % lower to 6 % higher), and the median of unrelated prompts is 0.52.
#
# (Here $\varepsilon$ is measured again after every fact and every merge; the paper takes each fact's $\Delta$
# from its training.)
#
# Why do neighbors get in? The next cell shows the color of $\delta_p$ at each token of six prompts, and what the
# model says to them before the twelve edits and after them. (Of each prompt the table names the two tokens
# with the largest $\delta$, and has the length of the input $a$ at the first three tokens.)

# %%
asked = {
    "edit": cases[0].fact.text,
    "rewording": cases[0].paraphrases[1],
    "another rewording": cases[0].paraphrases[0],
    "neighbor": "The Reichstag is located in the city of",
    "another neighbor": "The Colosseum is located in the city of",
    "unrelated": cases[0].locality[0],
}
before = lm.answer(list(asked.values()), 5)
with lm.patched(patch):
    after, notes = lm.answer(list(asked.values()), 5, explain=True)
rows, shown = [], []
for (group, text), old, new, (note,) in zip(asked.items(), before, after, notes, strict=True):
    row = {"prompt": group, "before": old.strip(), "after": new.strip()}
    each = (inputs(text) @ merged.T).norm(dim=1)
    ids = encode_prompt(lm.tokenizer, text)[-len(each) :]
    shown.append((group, [lm.tokenizer.decode([i]) for i in ids], each.tolist()))
    most = ", ".join(shown[-1][1][i].strip() for i in each.topk(2).indices)
    row |= {"Δ / ε": round(note["score"] / eps, 2), "largest δ": most}
    lengths = inputs(text).norm(dim=1)[:3].tolist()
    rows.append(row | {"‖a‖ at tokens 1 to 3": ", ".join(f"{x:.1f}" for x in lengths)})
display(drawings_12.tokens(shown, eps))
pd.DataFrame(rows).set_index("prompt")

# %% [markdown]
# It is not the tower that lights up most. The largest $\delta$ of the edit are at "of" and "in", two words of
# its sentence, and the Reichstag's prompt has the same words. The first token is white in all six prompts,
# because its input is short: $\|a\|$ is 1.1 or 1.2 there, so $\|\tau a\|$ is small, too. (At "which" it is
# 1.0, and at the other second and third tokens 13 to 39.)
#
# After the edits the tower stands in Rome, and so does the Reichstag. Both rewordings stay below
# $\varepsilon$ and get the old answer, Paris. The Colosseum's prompt is let in too, but its answer was Rome
# before, so it still begins with Rome. (The edit trained one word, and not where the answer ends.)
#
# Is it the template, then? The next cell exchanges the subject, the sentence or both with those of the
# strangers. Then it splits the strangers in two ways by the pairs of neighboring words ("city of") that stand
# in an edit's sentence, too: is the *last* pair of the prompt one of them, and are *half or more* of its pairs?
# For each stranger it counts by how many of the three seeds' memories its prompt is let in.

# %%
facts = [case.fact for case in cases]
swaps = {
    "its sentence": lambda fact, other: fact.prompt.format(other.subject),
    "its subject": lambda fact, other: other.prompt.format(fact.subject),
    "neither": lambda fact, other: other.text,
}
left = {what: [] for what in swaps}
for what, fact in product(swaps, facts):
    each = [score(merged, inputs(swaps[what](fact, case.fact))) for case in strangers]
    left[what].append(sum(each) / len(each) / score(merged, inputs(fact.text)))
for what in swaps:
    print("{} kept: {:.0f} % of Δ ({:.0f} to {:.0f})".format(what, *share(left[what], None)))
for one, other in combinations(swaps, 2):
    print(f"{one} less {other}: {change(left[one], left[other], None)} points, {len(facts)} edits")

pairs = {x for fact in facts for part in fact.prompt.split("{}") for x in pairwise(part.split())}
hits = [[x in pairs for x in pairwise(case.fact.text.split())] for case in strangers]
entry = [sum(some) / len(some) for some in zip(*entered, strict=True)]  # over the seeds
shared = {"last": [x[-1] for x in hits], "half or more": [2 * sum(x) >= len(x) for x in hits]}
for what, some in shared.items():
    one, other = ([x for x, y in zip(entry, some, strict=True) if y == side] for side in (1, 0))
    (p, low, high), (q, least, most) = share(one), share(other)
    ends = p - q - hypot(p - low, most - q), p - q + hypot(high - p, q - least)  # Newcombe's
    print(f"{what} shared: {percent(one)} % of {len(one)}, else {percent(other)} % of {len(other)}")
    print("  difference {:+.0f} [{:.0f}, {:.0f}] points".format(p - q, *ends))

# %% [markdown]
# With its sentence kept 84 % of the edit's $\Delta$ is left, with its subject kept 80 %, and with neither
# still 81 %. Edit by edit no difference is seen: each of the three intervals over the twelve edits holds 0.
#
# Of the 13 strangers that share the last pair 46 % are let in, and of the others 21 %. No difference is seen (25
# points, −2 to 51). Of the eight that share half or more of their pairs, as "Mexico is a country whose official
# language is", 87 % are let in, and of the others 15 %. Here a difference is seen (72 points, 43 to 84). But it was
# the second split that we tried, and nobody drew the groups by chance: the words need not be the cause.
#
# ## The decision at the prompt
#
# In this library the decision is taken once, at the tokens of the prompt, and kept to the end of the answer.
# The public code of WISE takes it anew at every call of the model, and while an answer is generated with a
# cache a call has a single token. Would every token of the answer decide alike?

# %%
back, rows = [], []
for fact in facts:
    with lm.patched(patch):
        (prompt,), _ = lm.rows([fact.text])
        answer = generation.generate(lm, [prompt], 8).ids[0]
        if not back:  # of the tower, without a cache
            assert answer == generation.generate(lm, [prompt], 8, cache=False).ids[0]
    read = activations.module_inputs(lm, [prompt + answer], [module], 0)[module].float().cpu()
    each = ((read @ merged.T).norm(dim=1)[-len(answer) :] / eps).tolist()
    row = {"δ / ε": fact.subject, "answer begins": lm.tokenizer.decode(answer[:2]).strip()}
    rows.append(row | dict(enumerate(each, 1)))
    back.append(float(min(each) < 1))
said = "{:.0f} % of the edits ({:.0f} to {:.0f})".format(*share(back))
print(f"at some token of the answer δ is below ε: {said}")
pd.DataFrame(rows).set_index(["δ / ε", "answer begins"]).round(2)

# %% [markdown]
# Each row has $\delta/\varepsilon$ at the first eight tokens of an edit's answer. With all edits but the one about
# China (92 %, 68 to 99) some number is below 1, where a decision at this token would choose $W$. But these
# answers were written under one decision at the prompt. What the router that decides anew would write was not
# measured.
#
# ## Is a shard full, or does it forget?
#
# A shard can lose facts for two reasons. It **forgets** where facts that come later damage earlier ones. Its
# **capacity** is exceeded where its entries cannot hold so many facts at all. To tell the two apart, one mask
# is filled with 80 facts of the classroom, one after another: without rehearsal, as in the paper (**WISE**),
# and with rehearsal (**WISE + rehearsal**). What is held with rehearsal is within the capacity.
#
# Two more runs are without rehearsal: the same facts in *another order*, drawn at random, and in four shards
# of 20, one after another. The shards stay *apart* first, and a prompt gets the one with the largest $\Delta$
# among those whose $\varepsilon$ it reaches. Later they are merged. These are stored runs, each made once.
#
# The model writes its answers freely, through the router. A fact is *held* if its answer begins with the new
# one, and a rewording *follows* likewise. A neighbor *stays* if its answer begins with the true one, and an
# unrelated prompt if the first sentence of its answer, up to eight tokens, is what it was.
#
# **Predict.** With 80 facts in one mask there are 2,200 entries for each. Which of the four twenties is held
# without rehearsal, and which is lost? Nobody writes into a full shard again: are its facts safe?
#
# <details><summary>Answer</summary>
#
# The last twenty are held. Of each older twenty a quarter or more is not (in the first order). A full shard
# keeps its facts, but the router does not find it for all of them.
#
# </details>

# %%
stored = runs_12.rows(lm, "12_stream", "12_order", "12_merges")
WAYS = "WISE + rehearsal", "WISE", "WISE, another order"
SHARDS = [f"four shards, {rule}" for rule in ("apart", "ties", "linear")]
LET_IN = "rewordings let in", "neighbors let in"


def at(name, edits):  # the row of a line after so many edits: shares, one for each fact
    some = [row for row in stored if row["line"] == name and "held" in row]
    row = next(row for row in some if row["edits"] in (0, edits))
    return row | {f"{kind}s let in": each for kind, each in row.get("let_in", {}).items()}


def line(name, edits, groups=MEASURED, count=None):  # of a table: shares of the facts
    row = at(name, edits)
    return {"line": name, "facts": edits} | {f"{x} (%)": row[x][:count] for x in groups}


held = guess("Of the first twenty facts, what share (%) is held at 80, without rehearsal?", 0, 100)


# %%
def at_once(name):  # held when the twenty that a fact is one of had just been written
    return [x for row in stored if row["line"] == name for x in row.get("held", [])[-20:]]


alone, routed, sent = (at(SHARDS[0], 80)[x] for x in ("own", "held", "sent"))
twenties = {
    **{f"{name}, at once": at_once(name) for name in WAYS[:2]},
    **{f"{name}, at 80": at(name, 80)["held"] for name in (*WAYS, SHARDS[0])},
    "four shards, each asked alone": alone,
}
lines = {
    x: {f"{n - 19} to {n}": percent(each[n - 20 : n]) for n in (20, 40, 60, 80)}
    for x, each in twenties.items()
}
display(pd.DataFrame(lines).T.rename_axis("held (%), facts"))
held.against(share(at("WISE", 80)["held"][:20])[0])
for name, n in zip(WAYS, (60, 60, 20), strict=True):
    less = change(at(name, 80)["held"][:n], at_once(name)[:n])
    print(f"{name}, facts 1 to {n}, at 80 less at once (points): {less}")
print("four shards, each asked alone less through the router (points):", change(alone, routed))
away = [i for i, shard in enumerate(sent) if shard != i // 20]
kept = [f"{sum(each[i] for i in away):.0f} held" for each in (routed, alone)]
print(f"by the scores, another shard for {len(away)} of 80:", ", by their own shards ".join(kept))
lost = [i + 1 for i in range(80) if i not in away and routed[i] < alone[i]]
print(f"the first shard: {[sent[i] for i in away].count(0)}; lost at their own shards: {lost}")

# %% [markdown]
# Without rehearsal the shard **forgets**. Its router lets in every fact, since $\varepsilon$ is measured again
# after each, so what is lost is the answer. Of the first sixty facts 33 points are lost by the end (21 to 45),
# and in another order 40 points of the first twenty (16 to 60). With rehearsal no loss is seen (−2 points, −7
# to 3).
#
# In four shards apart it is the **router** that fails. Asked alone, each shard holds 95 or 100 % of its facts,
# 25 points more than through the router (16 to 35). By the scores the prompts of 20 facts go to a shard that
# never saw them, 19 times to the first. One of these facts is held, and their own shards hold all 20. (Fact 26
# is lost as well, although the scores choose its own shard. Which shard wrote its answer was not stored.)
#
# **Whom does the router let in?** Each row of the figure compares the *same* twenty facts, the first of their
# order. A difference is seen where an interval does not reach 0. The table asks whether the router tells a
# rewording from a neighbor. It compares the two fact by fact, for all facts so far.

# %%
first = {
    **{f"{x}, 80 less 20": (at(x, 80), at(x, 20)) for x in WAYS},
    "rehearsal less WISE, at 80": (at(WAYS[0], 80), at(WAYS[1], 80)),
}
found = {
    what: [gap(one[what][:20], other[what][:20]) for one, other in first.values()]
    for what in ("reworded", "neighbors", *LET_IN)
}
figure = figures.whiskers([*first], found, "difference, first twenty facts (points)", height=4.2)
figure.axes[0].axvline(0, color="#8a9099", linewidth=1.2, zorder=0)
display(figure)
places = [*product(WAYS, (20, 80)), *product(SHARDS[1:], [80])]
table = pd.DataFrame([line(*place, LET_IN) for place in places]).set_index(["line", "facts"])
less = [change(two, one) for one, two in table.to_numpy()]
table.map(percent).assign(**{"neighbors less rewordings": less})

# %% [markdown]
# The figure: with rehearsal the router becomes *stricter*, for rewordings and for neighbors. Fewer rewordings
# follow, and more neighbors stay. Without rehearsal it becomes *looser* for both in the first order; in the
# other one, where nearly all were let in from the start, no change is seen, and yet fewer rewordings follow.
#
# The table: in none of the eight lines is a difference seen. At 80 facts, with rehearsal, about seven of ten
# are let in from either group (difference 1 point, −8 to 10). Without it nearly all are, so what follows and
# what stays is decided by the answers of $W'$.
#
# **What is left of all eighty?** The first table has the shares, and the second one paired differences in
# points.


# %%
def differences(title, pairs, count=None):  # paired differences, in points
    found = [
        {title: name} | {x: change(a[x][:count], b[x][:count]) for x in MEASURED}
        for name, a, b in pairs
    ]
    return pd.DataFrame(found).set_index(title)


one, four = at("WISE", 80), [(name, at(name, 80)) for name in SHARDS]
pairs = [(WAYS[0], at(WAYS[0], 80)), *four]
pairs = [(f"{name} less WISE", row, one) for name, row in pairs]
pairs.append(("ties less linear", four[1][1], four[2][1]))
table = pd.DataFrame([line(name, 80) for name in (*WAYS[:2], *SHARDS)])
display(table.drop(columns="facts").set_index("line").map(percent))
differences("all eighty facts", pairs)

# %% [markdown]
# With rehearsal 98 % of the eighty facts are held, 24 points more than without (14 to 34). Of the rewordings no
# difference is seen (−6 points, −15 to 2). The mask is the same, so its capacity is enough for the facts' own
# prompts: what one shard loses without rehearsal is forgotten, and there is no lack of entries.
#
# Do four shards hold more facts than one? With none of the three is that seen:
#
# * *Apart* no difference is seen in what they hold (0 points, −13 to 12). Of the rewordings 16 points fewer
#   follow (6 to 26), and of the neighbors 8 points fewer stay (just above 0 to 16).
# * Merged by *TIES* they hold 15 points fewer than one shard (2 to 29). Of the neighbors 21 points are lost
#   (14 to 27), and of the unrelated prompts 13 points (8 to 19).
# * The *linear mean* holds 32 points fewer than TIES (18 to 46), as the coefficients above suggest. It keeps
#   34 points more of the neighbors than one shard (26 to 40), and loses 10 points of the unrelated prompts (4
#   to 16).
#
# ## The impossible triangle
#
# An editor should hold its facts, rewordings should follow, and everything else should stay. The authors of
# WISE call this the *impossible triangle*, and say that no editor before theirs has all three in a long
# stream. Here are five editors on the same forty facts (the stored run again). WISE and fine-tuning write one
# fact after another, MEMIT and UltraEdit ten in each call, GRACE all in one. An editor with all three would
# stand in the upper right corner of both panels, and hold close to 100 % (in the legend).

# %%
editors = [row["line"] for row in stored if row["edits"] in (0, 40) and "held" in row]
points = {name: at(name, 40) for name in editors}
pairs = [(name, "MEMIT") for name in editors[1:] if name != "MEMIT"] + [WAYS[:2]]
display(
    differences("the forty facts", [(f"{x} less {y}", points[x], points[y]) for x, y in pairs], 40)
)
drawings_12.triangle(
    {name: {g: share(row[g][:40]) for g in MEASURED} for name, row in points.items()}
)

# %% [markdown]
# No editor has all three. With GRACE 87 points fewer of the rewordings follow than with MEMIT (73 to 93), and
# with UltraEdit 78 (62 to 86). Fine-tuning keeps 49 points fewer of the unrelated prompts than MEMIT (35 to 59).
# MEMIT is the nearest to the corner on the left, but on the right only fine-tuning lies below it.
#
# WISE keeps 54 points fewer of the neighbors than MEMIT (40 to 64), and 30 points more of the unrelated prompts
# (18 to 41). Of the rewordings no difference is seen (−14 points, −28 to just above 0).
#
# With rehearsal 32 points fewer of the rewordings follow than without it (19 to 44), while 25 points more of
# the neighbors stay (15 to 35) and 14 points more of the unrelated prompts (5 to 22). (All editors have the
# library's settings, WISE those of this page and one shard, and each was run once.)
#
# The paper writes a thousand facts into a model of 7B, and counts right tokens (notebook 11). Of held, reworded
# and unrelated GRACE has 93, 8 and 100 %, WISE 77, 72 and 100 %, and MEMIT 69, 65 and 62 % with all facts at once
# (one after another 4, 4 and 2 %). It has no neighbors.
#
# ## What we know now
#
# * $\Delta$ says how far the side memory moves the output at a prompt. It is large at prompts like
#   those that were trained, and becomes smaller gradually, without a border.
# * Does the router know the edited fact? Nothing here shows it: no difference between rewordings and
#   neighbors is seen, neither in $\Delta$ (11 facts, three seeds, with rehearsal) nor in who is let in (80 facts).
# * Margins push $\Delta$ down for the texts they are trained on (seen with one fact); no margin asks for
#   neighbors. Of the prompts of 45 other facts, with other sentences, 22 to 38 % are let in (three seeds), most
#   often where half or more of the word pairs are an edit's. That these are the cause is not shown.
# * A shard without rehearsal forgets: of the first sixty facts 33 points are lost by the end of eighty. It is
#   not full: with rehearsal the same mask holds 98 % of eighty.
# * Four shards apart keep their facts, but the scores send 20 of the eighty to a wrong shard, and 19 of these
#   are lost. Merged by TIES they hold 15 points fewer than one shard. (Each was trained only once.)
#
# ## Where it breaks
#
# In one shard the first facts are **forgotten**, or the texts of earlier facts have to be kept for rehearsal.
# Shards apart keep their facts, but $\Delta$ does not always find the right one. What if each batch of facts
# had a memory of its own, and a router were trained to find it? That is [notebook 13](13_lemoe.ipynb).
#
# ## References
#
# * Wang et al.: *WISE: Rethinking the Knowledge Memory for Lifelong Model Editing of Large Language
#   Models*, 2024, [arXiv:2405.14768](https://arxiv.org/abs/2405.14768).
# * Yadav et al.: *TIES-Merging*, 2023, [arXiv:2306.01708](https://arxiv.org/abs/2306.01708).
