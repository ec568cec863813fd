# %% [markdown]
# <!-- badge -->
#
# # 12 · WISE: a side memory and a router
#
# GRACE kept every fact and reached no rewording. Editors of weights reach rewordings, and the weights
# wear out. WISE writes into a second copy of one matrix, and decides at each prompt which of the two
# matrices answers.
#
# **You will** derive a router from the edit itself · see why margins are needed · draw random masks
# and measure their overlap · merge two memories with TIES, step by step · see token by token why a
# prompt is let in · find out how many facts a memory holds · put five editors on the same facts.
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
from lib import widgets
from lib.editors.wise import merging, route
from lib.model import generation
from notebooks.support import checks_12_wise as checks_12
from notebooks.support import drawings_12, long_runs, models, show
from notebooks.support import runs_12_wise as runs_12

lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
module = lm.mlp_out(runs_12.wise(lm).config.layer)
draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw)


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
# (Papers call the score $\Delta$. The change of the weights, which was $\Delta$ in earlier notebooks,
# is $\tau$ here.)
#
# ## A router for nothing
#
# Nobody trains this router, so why should $\Delta$ know an edit? A gradient is a sum of pairs
# (notebook 09). So a change that was made by gradients is $\tau = \sum_i v_i k_i^\top$, where the $k_i$
# are inputs at tokens that were trained. At an input $q$ it gives
# $\tau q = \sum_i v_i \langle k_i, q\rangle$, which is large where $q$ is like one of the $k_i$.
# GRACE's nearest key is in there, but without a border: what it says fades with the distance.
#
# **Predict.** Take $n$ random keys of unit length in $d$ dimensions, with values of unit length. How
# long is $\tau q$ at a key? And at a random $q$ of unit length, for $n = d$?
#
# <details><summary>Work it out</summary>
#
# Terms with random signs add in squares, so $E\|\tau q\|^2 = \sum_i E\langle k_i, q\rangle^2 = n/d$.
# At a key its own pair comes on top, which gives $\sqrt{1 + (n-1)/d}$. With $n = d$ it is 1 for a
# stranger and 1.4 for an edit. The more is written, the less they differ.
#
# </details>
#
# That is one token. A prompt has many, and $\Delta$ is their mean. Most tokens of a prompt ("The",
# "is", "in", "of") stand in other prompts too, and their inputs resemble trained keys there as well.
# The last column is a prompt of which half of the tokens are trained keys and half are strangers.

# %%
d = 256
rows = []
for n in (8, 64, 256):
    K = torch.nn.functional.normalize(normal(d, n), dim=0)
    V = torch.nn.functional.normalize(normal(64, n), dim=0)
    tau = V @ K.T
    row = {"pairs": n}
    for cos in (1, 0.8, 0.5, 0):  # of q with a key
        q = cos * K + (1 - cos**2) ** 0.5 * normal(d, n) / d**0.5
        row[f"δ at cosine {cos}"] = (tau @ q).norm(dim=0).mean().item()
    row["√(n/d)"] = (n / d) ** 0.5
    row["Δ, half of the tokens"] = (row["δ at cosine 1"] + row["δ at cosine 0"]) / 2
    rows.append(row)
show.Table(rows)

# %% [markdown]
# As derived, a stranger has $\sqrt{n/d}$: with eight pairs 0.17 against 1.0 at a key, with 256 it has
# 1.0 against 1.4. And a prompt that shares half of its tokens with an edit stands halfway between.
#
# ## Margins
#
# The gap between edits and strangers closes as pairs are added, so WISE trains it. In every step of
# training two things go in beside the fact: $\Delta_e$ of the fact's own prompt, and $\Delta_i$ of
# texts that have nothing to do with it. Both must end on the right side of a fixed margin, and far
# enough from each other. A hinge $\max(0, \cdot)$ is zero as soon as its demand is met, so that
# the training is then left to the answer, which the copy alone has to give:
#
# $$\max(0, \Delta_i - \alpha) + \max(0, \beta - \Delta_e) +
# \max\big(0, \gamma - (\Delta_e - \Delta_i)\big).$$
#
# The paper's margins for a 7B model are absolute numbers, 5, 20 and 10. Ours are $\alpha = 0.25$,
# $\beta = 1.5$ and $\gamma = 1$ in units of the mean length of $Wa$ on irrelevant texts, so that they
# mean the same in every model.
#
# ## Random masks
#
# Facts that are written one after another wear each other out. WISE deals them into **shards**. Each
# shard has a mask: a random share $\rho$ (not the interference of notebook 02) of all entries of the
# matrix. Its facts may change these entries only, and afterwards the shards are merged into one $\tau$.
# Two masks share $\rho^2$ of the entries, $k$ masks $\rho^k$. Below is a corner of two of them.

# %%
shape = tuple(lm.weight(module).shape)
rho = 0.2
masks = [route.draw_mask(shape, rho, seed=0, shard=i) for i in range(3)]
drawings_12.masks(*masks[:2])

# %% [markdown]
# **Predict.** The matrix has 884,736 entries, $\rho = 0.2$, and a shard has 20 facts. How many entries
# does a fact have for itself? What share of the matrix belongs to two given shards?
#
# <details><summary>Work it out</summary>
#
# A shard has a fifth of the entries, about 177,000, so a fact has about 8,850. Two shards share
# $\rho^2$, one entry of 25, about 35,400. That is a fifth of each shard, and there the two must agree.
# (The paper reports about 18,000 entries for a fact of a 7B model as enough.)
#
# </details>

# %%
all_of = torch.ones(shape, dtype=torch.bool)
for k, mask in enumerate(masks, start=1):
    all_of = mask & all_of
    p = rho**k
    expected = mask.numel() * p
    spread = 3 * (expected * (1 - p)) ** 0.5
    print(f"in all of {k}: {all_of.sum():,}, expected {expected:,.0f} ± {spread:,.0f}")
print(f"entries {masks[0].numel():,}; for each of 20 facts {masks[0].sum() // 20:,}")

# %% [markdown]
# Shares multiply: all three counts are within three standard deviations of what was expected.
#
# ## TIES, step by step
#
# What a shard has learned, $\tau_s$, is called a **task vector**. Several of them go into a merge, and
# one comes out. A plain mean would halve everything that only one of two shards has changed. TIES
# avoids that in three steps. It **trims** each vector to the share of its largest entries, it
# **elects** a sign for each entry, that of the sum, and it takes the **mean** over those vectors that
# have this sign. A zero has no vote, and it does not count in the divisor.

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
# At the first entry the second vector has the other sign, which is a **sign conflict**, and it is left
# out of the mean.
#
# What does a merge leave of one shard? Take two masked random shards $\tau_1$ and $\tau_2$, and look
# separately at the entries that only the first one changes (*alone*), that both change with the same
# sign (*agreed*), and with opposite signs (*in conflict*). On each part we split the merged change $x$
# into a multiple of $\tau_1$ and a rest at right angles to it, $x = c\,\tau_1 + r$:
#
# $$c = \frac{\langle x, \tau_1\rangle}{\|\tau_1\|^2}, \qquad
# \text{noise} = \frac{\|r\|}{\|\tau_1\|}.$$
#
# $c = 1$ means that $\tau_1$ is there in full. A length $\|x\|$ alone would not do: it counts what points
# the other way, and noise, as if it were kept. We add three rules that the library does not have.
# (SLERP is taken between the two changes here. WISE's own takes it between the two whole matrices,
# which are so nearly parallel that it is the linear mean.)


# %%
def dare(taus, density):  # drop at random, enlarge what is left
    return sum(tau * (torch.rand(tau.shape, generator=draw) < density) / density for tau in taus)


def slerp(taus, density):  # half of the way along the arc between two vectors
    angle = torch.arccos((taus[0] * taus[1]).sum() / taus[0].norm() / taus[1].norm())
    return sum(taus) * torch.sin(angle / 2) / torch.sin(angle)


def magnitude(taus, density):  # trim, then add
    return sum(merging.trim(tau, density) for tau in taus)


rules = {**merging.RULES, "magnitude": magnitude, "dare": dare, "slerp": slerp}
pair = [torch.where(mask, normal(*shape), 0.0)[:64] for mask in masks[:2]]
show.Table(runs_12.left_of(pair, rules, density=0.53))

# %% [markdown]
# TIES leaves in full what only the first shard has changed, $c = 1$. Where both agree it makes
# their mean. Where they are in conflict, $c$ is about a half, but no entry is a half: the larger of
# the two wins with its full value, so 48 % of these entries are reversed, and the others are as
# they were. (The trim takes nothing away here, because a shard has a fifth of the entries and the
# trim keeps more than half, so `ties` and `sign` are equal.)
#
# The linear mean halves what is alone. That is four fifths of each shard, so with masks it is most
# of the difference between the rules. `magnitude` is the sum, which overshoots where both agree.
# `dare` is the sum on average, and adds noise nearly as long as $\tau_1$ itself.
#
# ## Twelve facts, two shards
#
# Now the real layer. Twelve facts are written one after another: the Eiffel Tower, ten odd facts of the
# classroom and the young sheep, six in each shard. Every step of training sees the fact's prompt in a
# few contexts, 32 irrelevant texts for the margins, and up to twelve earlier facts of the same
# shard, which are trained again. We call this *rehearsal*, and it is ours. (The paper has a replay too,
# in its appendix. It keeps the scores of earlier facts in place, for a variant that keeps several merged
# memories; it does not train their answers again.)
#
# Then the two shards are merged by three rules. To see what a memory *knows*, every prompt is sent
# through the merged memory for now; the router comes after that.

# %%
sheep = lib.Case(lib.Fact("sheep", "The young of a {} is called a", "puppy"))
cases = [lib.classroom()[0], *runs_12.facts()[:10], sheep]
size = 6
if SCALE == "tiny":
    cases = cases[:4]
    size = 2
apart, memories = runs_12.shards(lm, cases, size)
taus = [memory.tau for memory in memories]
for tau, mask in zip(taus, masks[:2], strict=True):
    assert not tau[~mask].any()  # outside its mask a shard is exactly 0
shared = (taus[0] != 0) & (taus[1] != 0)
clash = (taus[0] * taus[1] < 0).sum() / shared.sum()
print(f"{shared.sum():,} shared entries, {clash:.0%} of them in sign conflict")

# %%
merged = {name: runs_12.through(apart, rule(taus)) for name, rule in merging.RULES.items()}
show.Table(runs_12.asked_of(lm, cases, {"unedited": lib.EMPTY, **merged}))

# %% [markdown]
# Half of the shared entries are in conflict, as with coins. It does not matter here: all twelve
# facts survive all three merges. The merged memory knows 91 % of the rewordings, and 83 % after the
# linear merge, a difference well inside the intervals. GRACE reached none of them. What remains is
# the question whether the memory is asked.
#
# ## Who is sent where?
#
# Now the router. We measure $\Delta$ under the merged memory for the twelve edits, their rewordings,
# their neighbors, and unrelated prompts. The threshold $\varepsilon$ is the least $\Delta$ of an edit
# (so the share of it that a prompt has to reach, `act_ratio`, is 1).
#
# **Predict.** Which group is closest to the edits?
#
# <details><summary>Answer</summary>
#
# Rewordings and neighbors, and about equally. Nothing unrelated is let in.
#
# </details>

# %%
tau = merging.ties(taus)
router = runs_12.Router.of(lm, apart)
texts = runs_12.groups(cases)
every = [text for case in lib.classroom() for text in case.locality]
texts["unrelated"] = list(dict.fromkeys(every))
found = {group: router.deltas(tau, some).tolist() for group, some in texts.items()}
eps = min(found["edited"])
patch = runs_12.through(apart, tau, eps)
widgets.ThresholdExplorer(patch.routes[module], found)

# %%
rows = [{"group": group, "prompts": len(each)} for group, each in found.items()]
for row, each in zip(rows, found.values(), strict=True):
    row["let in"] = sum(x >= eps for x in each)
    row["let in (%)"] = 100 * row["let in"] / len(each)
    row["median Δ / ε"] = torch.tensor(each).median().item() / eps
show.Table(rows)

# %% [markdown]
# All edits pass, since the threshold is the least of them, and no unrelated prompt does. An
# unrelated prompt gets exactly the numbers of the base model. But only half of the rewordings are
# let in, and about as many of the neighbors, 56 %. Their medians are nearly equal too. $\Delta$
# knows what the facts are *about*, cities and young animals, and hardly which city is meant. (The
# library's own setting puts the threshold lower, `calibrate`, which lets in more of both; in a
# running notebook you can try that with the slider. This page uses the published rule.)
#
# Why is that so? The drawing below shows four prompts with the color of $\delta_p$ at each token.

# %%
asked = {
    "edit": cases[0].fact.text,
    "rewording": cases[0].paraphrases[1],
    "neighbor": "The Reichstag is located in the city of",
    "unrelated": cases[0].locality[0],
}
shown = [(g, *runs_12.by_token(lm, tau, module, text)) for g, text in asked.items()]
for group, tokens, each in shown:
    said = ", ".join(f"{t.strip()} {x:.0f}" for t, x in zip(tokens, each, strict=True))
    print(f"{group}: {said}")
drawings_12.tokens(shown, eps)

# %% [markdown]
# What lights up is not the tower. The largest $\delta$ of the edit are at "in" and "of", at the end
# of the template, and the neighbor has the same words there. So the Reichstag is let in by its
# "located in the city of". The tourists stay outside although they name the tower, because these
# words are missing. This is what the derivation said: $\Delta$ is a mean over tokens, and few of
# them are the subject's.
#
# What does the model say now?

# %%
asked = {text: group for group, text in asked.items()}
asked |= {
    cases[0].paraphrases[0]: "rewording",
    "The Colosseum is located in the city of": "neighbor",
}
before = lm.answer(list(asked), 6)
with lm.patched(patch):
    after, notes = lm.answer(list(asked), 6, explain=True)
rows = []
for i, (prompt, group) in enumerate(asked.items()):
    (note,) = notes[i]
    row = {"group": group, "prompt": prompt, "before": before[i], "after": after[i]}
    rows.append(row | {"Δ / ε": note["score"] / eps})
show.Table(rows)

# %% [markdown]
# The tower stands in Rome, and so does the Reichstag. Both rewordings stay below $\varepsilon$ and
# get the old answer, Paris. The Colosseum was in Rome before. (The model repeats the new answer
# because the edit trained one word and not the end of the answer.)
#
# ## The decision at the prompt
#
# $\Delta$ is a mean over the tokens of the *prompt*. In this library the decision is taken once, at the
# prompt, and kept to the end of the answer. The public code of WISE takes it anew at every call of the
# model, from the tokens of that call, and while an answer is generated with a cache that is a single
# token. Would every token of the answer decide alike?

# %%
tower = cases[0].fact.text
with lm.patched(patch):
    ids, _ = lm.rows([tower])
    cached = generation.generate(lm, ids, 8).ids[0]
    again = generation.generate(lm, ids, 8, cache=False).ids[0]
assert cached == again
_, each = runs_12.by_token(lm, tau, module, tower + lm.tokenizer.decode(cached))
words = [lm.tokenizer.decode([token]).strip() or "⏎" for token in cached]
each = each[-len(cached) :]
print(f"the answer: {lm.tokenizer.decode(cached).strip()}")
print(
    "δ/ε of its tokens:", ", ".join(f"{w} {x / eps:.2f}" for w, x in zip(words, each, strict=True))
)

# %% [markdown]
# With the cache and without it the answers are equal. But from the fifth token on $\delta$ is below
# $\varepsilon$: a router that decides anew at every token would go back to $W$ in the middle of the
# answer.
#
# ## How many facts in a shard?
#
# One mask is filled with facts, one after another, 80 of the classroom in all (a stored run). At 20, 40,
# 60 and 80 facts we ask for all facts so far, through the router. This is done twice: with up to twelve
# earlier facts trained along, and without, as it is published.
#
# **Predict.** With 80 facts each has 2,200 entries. What is still held, with and without rehearsal?
#
# <details><summary>Answer</summary>
#
# With rehearsal nearly all. Without it three quarters, where of the first twenty nearly all were
# held.
#
# </details>

# %%
STREAM = runs_12.STREAM
rows = long_runs.stored("12_stream", STREAM, lambda: runs_12.every(lm))
name = "WISE, no rehearsal"
own = [row for row in rows if row["line"] == name]
live = runs_12.stream(lm, name, calls=1)  # the first two facts again
long_runs.repeats(own, lambda: live, ["edits", "eps"], tolerance=0.5)
show.Table(runs_12.filled(rows, int(masks[0].sum())))

# %% [markdown]
# The lines of this table ask for different facts, because there are more of them each time. The figure
# asks for the *same* first twenty facts while the shard is filled.

# %%
drawings_12.full(STREAM["points"], runs_12.first_twenty(rows))

# %%
for line in ("WISE", "WISE, no rehearsal"):
    for group in ("held", "reworded", "neighbors"):
        change = runs_12.paired(rows, (line, 80), (line, 20), group, 20)
        print(f"{line}, first twenty facts, 80 facts less 20: {group} {change}")
both = ("WISE", 80), ("WISE, no rehearsal", 80)
for group in ("held", "reworded", "neighbors"):
    print(f"rehearsal less none, all 80 facts: {group} {runs_12.paired(rows, *both, group, 80)}")

# %% [markdown]
# Without rehearsal the shard **forgets**. Of all facts so far it holds 95 % at 20, 92 % at 40, 87 %
# at 60 and 74 % at 80 facts, and of the same first twenty facts 20 points are lost on the way,
# [−40, −2]. With rehearsal none of the twenty is lost, and of all 80 facts 24 points more are held,
# [14, 34]. (One of the twenty is missing at every point, titanium. Its new symbol "Al" is written,
# and the model goes on within the word, since nobody taught it where to stop.)
#
# Look at the two columns on the right. Without rehearsal the least $\Delta$ of any fact falls,
# $\varepsilon$ falls with it, and from 40 facts on nearly every rewording and every neighbor is let
# in, and some unrelated prompts too. With rehearsal $\varepsilon$ stays up, and the router is
# stricter: at 80 facts it lets in 71 % of the rewordings and 72 % of the neighbors. In every line
# of the table the two shares are about equal. How strict the router is can be chosen; what it
# cannot do is tell a rewording from a neighbor.
#
# ## The impossible triangle
#
# An editor should hold its facts, rewordings should follow, and everything else should stay.
# Authors call this the *impossible triangle*, since nobody has had all three in a long stream. Here
# are five editors on the same forty facts, and the unedited model on these facts (the stored run
# again). WISE and fine-tuning write one fact after another, MEMIT and UltraEdit ten in each call,
# GRACE all in one. Whoever had all three would stand in the upper right corner of both panels.

# %%
names, shares = runs_12.together(rows)
drawings_12.triangle(
    {
        name: dict(zip(runs_12.MEASURED, some, strict=True))
        for name, some in zip(names, shares, strict=True)
    }
)

# %%
show.Table(
    [
        {"editor": name}
        | {
            f"{group} (%)": runs_12.percent(runs_12.at(rows, name, 40)[group][:40])
            for group in runs_12.MEASURED
        }
        for name in names
    ]
)

# %%
for other in ("MEMIT", "GRACE", "UltraEdit", "fine-tuning"):
    groups = [(g, runs_12.paired(rows, ("WISE", 40), (other, 40), g, 40)) for g in runs_12.MEASURED]
    print(f"WISE less {other}:", "; ".join(f"{group} {said}" for group, said in groups))

# %% [markdown]
# Nobody has all three. GRACE holds its facts and moves nothing else, and no rewording follows. With
# fine-tuning 75 % of the rewordings follow, and 8 % of the unrelated prompts stay as they were.
# MEMIT has the most rewordings and, GRACE aside, the most neighbors, 87 and 81 %, since many facts
# at once are what it is made for. But it keeps only 56 % of the unrelated prompts, and notebook 06
# has seen where that leads. WISE moves nothing unrelated here; 41 % of the rewordings follow, and
# 53 % of the neighbors stay.
#
# In pairs: MEMIT is ahead of WISE by 46 points in rewordings and by 28 in neighbors, and WISE is
# ahead by 44 points in unrelated prompts; what they hold does not differ for certain. (A prompt
# counts as kept if the first sentence of the answer, up to eight tokens, is the same as before,
# word for word. All editors have the library's settings, WISE those of this page.) The paper has
# a thousand facts in a model of 7B, and counts held, reworded and unrelated: MEMIT 69, 65 and 62 %,
# GRACE 93, 8 and 100 %, WISE 77, 72 and 100 %. It has no neighbors.
#
# ## Exercises: the layer, and a merge by hand
#
# 1. Write the layer with its router. It gets $W$, a list of memories $(\tau_m, \varepsilon_m)$, the
#    inputs $a$ at all tokens of a row, and the number of tokens that are the prompt; the others are the
#    answer. It returns the outputs at all tokens. Among the memories that are reached, the one with the
#    largest $\Delta$ answers.
# 2. Merge three vectors by TIES, keeping half of each: $(3, -2, 0.4, 1)$, $(-2, -4, 1, 0.2)$ and
#    $(-1.5, 1, 0.3, -5)$. Give four numbers.
# 3. Write a function that finds the entries with a sign conflict after the trim.
#
# <details><summary>Hints</summary>
#
# 1. Compute all $\Delta_m$ from the first `prompt` rows of `a` before you decide anything. 2. Half of
# four entries are two. 3. An entry is in conflict if some vector is above 0 there *and* another is
# below; zeros after the trim are neither. `merging.trim` trims.
#
# </details>
#
# <details><summary>Solutions</summary>
#
# ```python
# def forward(W, memories, a, prompt):
#     deltas = [(a[:prompt] @ tau.T).norm(dim=1).mean() for tau, _ in memories]
#     reached = [m for m, (_, eps) in enumerate(memories) if deltas[m] >= eps]
#     if not reached:
#         return a @ W.T
#     best = max(reached, key=lambda m: deltas[m])
#     return a @ (W + memories[best][0]).T
#
# by_hand = [-1.75, -3, 0, -5]
#
# def conflict(taus, density):
#     kept = torch.stack([merging.trim(tau, density) for tau in taus])
#     return ((kept > 0).any(0) & (kept < 0).any(0)).nonzero()[:, 0].tolist()
# ```
#
# After the trim the vectors are $(3, -2, 0, 0)$, $(-2, -4, 0, 0)$ and $(-1.5, 0, 0, -5)$. The first
# entry sums to $-0.5$, so the two negative ones win and their mean is $-1.75$.
#
# </details>


# %%
def forward(W, memories, a, prompt):  # [(τ, ε)], a (n, d_in) -> outputs (n, d_out)
    return "not attempted"


by_hand = None  # [first, second, third, fourth]


def conflict(taus, density):  # vectors (n,) -> indices where two that are left disagree
    return "not attempted"


# %%
print("layer:", checks_12.forward(forward))
print("merge:", checks_12.by_hand(by_hand))
print("conflict:", checks_12.conflict(conflict))

# %% [markdown]
# ## What we know now
#
# * $\Delta$ is the edit's own echo. It is large at prompts like those that were trained, and it fades
#   instead of ending. So rewordings get in, and neighbors with them.
# * At random inputs the echo grows with $\sqrt{n/d}$. Margins push it down for unrelated texts; no
#   margin asks for neighbors.
# * Masks keep shards mostly apart. TIES leaves what is apart as it was and votes where they meet.
# * A shard without rehearsal forgets from about forty facts on, here and with these settings.
#
# ## Where it breaks
#
# All facts go through one matrix and one threshold. Without rehearsal the first ones are
# **forgotten**. With it every step trains up to twelve rows more, and the texts of earlier facts
# have to be kept. What if each batch of facts had a memory of its own, in which nobody writes any
# more? That is [notebook 13](13_lemoe.ipynb).
#
# ## References
#
# * Wang et al.: *WISE: Rethinking the Knowledge Memory for Lifelong Model Editing of Large Language
#   Models*, 2024, [arXiv:2405.14768](https://arxiv.org/abs/2405.14768).
# * Yadav et al.: *TIES-Merging*, 2023, [arXiv:2306.01708](https://arxiv.org/abs/2306.01708).
