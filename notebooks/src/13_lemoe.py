# %% [markdown]
# <!-- badge -->
#
# # 13 · LEMoE: experts that do not forget
#
# In WISE each new fact is trained into what older ones need. The other way: never train anything
# twice. Every batch of facts gets an expert of its own, which is then frozen. All that can still go
# wrong is to ask the wrong expert.
#
# **You will** see why a softmax turns every old expert down · fit anchors that choose, and one that
# chooses nobody · group facts before they are written · take the method apart, one part at a time ·
# misroute a prompt on purpose.
#
# **Needs** [notebook 11](11_grace.ipynb) for keys and scope, [notebook 12](12_wise.ipynb) for
# routing at the prompt.
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
from lib.editors.lemoe import anchor_router
from lib.editors.lemoe.fact_clusters import cluster_facts
from notebooks.support import checks_13_lemoe as checks_13
from notebooks.support import models, show, stored_runs
from notebooks.support import runs_13_lemoe as runs_13

_ = torch.manual_seed(0)
normal = torch.randn

# %% [markdown]
# ## A new expert for every batch
#
# One MLP of the model gets company. Expert $i$ is an MLP of the same form, $f_i$, and the layer's
# output becomes
#
# $$\text{MLP}(x) + g_i\, f_i(x), \qquad i = \arg\max_m s_m .$$
#
# A new expert is a copy of the layer's MLP with an output matrix of zeros: it says nothing yet. It is
# trained on one batch of facts and then **frozen**. **MEMoE**, the method before, has a fixed number
# of experts and trains them all on every batch, together with the router that chooses.
#
# Who chooses here? Every expert has an **anchor**, a unit vector $k_i$, a key in GRACE's sense; a
# prompt has a unit vector $v$ (no value here); the score is $s_i = \kappa \cos(k_i, v)$ with
# $\kappa = 16$. As published, the weight $g$ is the winner's share of a softmax:
#
# $$g = \frac{e^{s}}{\sum_m e^{s_m}} \quad\Longrightarrow\quad
# \frac1{g_\text{new}} = \frac1g + e^{s_\text{new} - s} .$$
#
# **Predict.** Experts and keys are frozen. Can an old answer still change when an expert is added?
#
# <details><summary>Work it out</summary>
#
# Yes: $1/g$ grows with every expert, however far away it stands. Each batch turns all old experts
# down a little. With a **hard gate**, $g = 1$ for the winner, nothing changes unless the new one wins.
# (In training its gradient is still that of the share: $1 + g - [g]$, $[\cdot]$ a constant.)
#
# </details>

# %%
kappa, v = 16.0, torch.nn.functional.normalize(normal(8), dim=0)
k = torch.nn.functional.normalize(v + 0.25 * normal(8), dim=0)  # its own anchor
keys = [k, *torch.nn.functional.normalize(normal(300, 8), dim=1)]  # and of 300 batches to come
scores = kappa * torch.stack(keys) @ v
shares = [scores[:t].softmax(0)[0] for t in range(1, len(keys) + 1)]
for t in (1, 10, 100):
    assert torch.isclose(1 / shares[t], 1 / shares[t - 1] + (scores[t] - scores[0]).exp())
found = ", ".join(f"{t}: {shares[t - 1]:.2f}" for t in (1, 3, 10, 30, 100, 300))
print(f"cosine {k @ v:.2f}; share of the winner among so many experts: {found}")

# %% [markdown]
# Frozen, and turned down all the same: among 100 experts the winner has 0.74 of its weight left.
#
# ## Anchors, and one for nobody
#
# What is $v$? LEMoE reads the prompt's **input embeddings** and nothing else: their mean $e$
# (centered, scaled), then $v = \text{unit}(W_\text{up}\,\text{SiLU}(W_\text{down}\,e))$. MEMoE reads
# hidden states, which is more, but every edit below changes them. Embeddings stay.
#
# As published *some* expert answers every prompt. The library adds a **null anchor**: a constant
# score $b$, with no expert behind it. A prompt near no anchor stays with the base model, to the last
# bit. Projection and $b$ are fitted before the expert is trained, on all $e$ stored so far (one per
# fact, one per subject) and on texts that must stay (CE: cross-entropy):
#
# $$L = \text{mean CE}(\text{softmax}(b, s_1, \dots, s_t),\ \text{own expert})
# \ +\ \text{mean CE}(\cdot,\ \text{nobody}) .$$
#
# A new anchor starts in the middle of its batch; old ones stay. Below: three batches of points in 12
# dimensions, and points all around that belong to nobody, before and after a fit.


# %%
def slow(router, e):  # who answers a prompt with the mean embedding e (d,)
    inner = router.down[0] @ e
    v = router.up[0] @ (inner * inner.sigmoid())
    scores = [router.kappa * (k @ v).item() / v.norm().item() for k in router.keys]
    best = max(range(len(scores)), key=scores.__getitem__)
    return best if scores[best] > router.bias else -1


mine = torch.cat([normal(8, 12) + 3 * torch.eye(12)[t] for t in range(3)])
owner, rest = torch.arange(24) // 8, normal(60, 12)
router = anchor_router.start(torch.zeros(12), torch.tensor(1.0), 32, 16, kappa, kappa / 2, seed=0)
for t in range(3):
    router = anchor_router.grow(router, mine[owner == t])
fitted = anchor_router.fit_anchors(
    router, mine, owner, rest, 2, anchor_router.AnchorFit(steps=200, lr=3e-3, reserve=0.0)
)
table = []
for name, some in {"in the middle": router, "fitted": fitted}.items():
    choice, others = some.choose(mine), some.choose(rest)
    assert choice.tolist() == [slow(some, e) for e in mine]  # fast: all at once
    row = {"anchors": name, "own expert (%)": 100 * (choice == owner).float().mean().item()}
    row["nobody, as it should be (%)"] = 100 * (others < 0).float().mean().item()
    table.append(row | {"b": some.bias.item()})
assert torch.equal(router.keys[:2], fitted.keys[:2])  # old anchors are frozen
show.Table(table)

# %% [markdown]
# ## Who shares an expert?
#
# In the middle of its batch an anchor finds nearly all of its own, and half of the rest. Fitted, all.
# The anchor is shared, so **order planning** groups facts before writing, alike inside a batch. For
# $\lceil n/b \rceil$ batches of at most $b$: begin with the fact nearest to the middle of all, then
# take the one farthest from what was taken; then ten rounds of $k$-means with limited room: hand
# out the shortest distances first, move the centers. No chance is involved.


# %%
def slow_plan(e, size):  # e (n, d) -> batches of fact numbers
    n, chosen = range(len(e)), [int((e - e.mean(0)).norm(dim=1).argmin())]
    while len(chosen) < -(-len(e) // size):
        chosen.append(max(n, key=lambda i: min((e[i] - e[c]).norm() for c in chosen)))
    centers = [e[c] for c in chosen]
    for _ in range(10):
        batches = [[] for _ in centers]
        for _, i, c in sorted(((e[i] - m).norm(), i, c) for i in n for c, m in enumerate(centers)):
            if len(batches[c]) < size and not any(i in batch for batch in batches):
                batches[c].append(i)
        centers = [e[sorted(batch)].mean(0) for batch in batches]
    return sorted(map(sorted, batches))


print("facts at 0, 10, 0.1, 10.1:", slow_plan(torch.tensor([[0.0], [10.0], [0.1], [10.1]]), 2))
for n in (7, 12, 20):
    some = normal(n, 3).double()
    assert slow_plan(some, 4) == cluster_facts(some, 4)

# %% [markdown]
# ## The tower and the sheep
#
# Experts stand beside the MLP of layer 20 of 30. The tower and four facts of the classroom are the
# first batch, the sheep and four others the second, in a later edit.

# %%
lm = models.load(SCALE)
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
classroom = [case.fact for case in runs_13.cases(8)]
one, two = [tower, *classroom[:4]], [sheep, *classroom[4:]]
held = {}
for gate in ("hard", "softmax"):
    editor = runs_13.editor(lm, gate=gate)
    first = editor.edit(one)
    held[gate] = first, editor.edit(two, after=first)
    logits = []
    for patch in held[gate]:
        with lm.patched(patch):
            logits.append(lm.run([tower.text]).logits)
    ((module, a),), ((_, b),) = (patch.routes.items() for patch in held[gate])
    assert all(torch.equal(t, b.experts[0][name]) for name, t in a.experts[0].items())  # frozen
    assert torch.equal(a.router.keys, b.router.keys[:1])
    moved = (logits[1] - logits[0]).abs().max().item()
    print(f"{gate} gate: after the second edit, logits at the tower have moved by {moved:.2g}")
size = sum(t.nbytes for t in a.experts[0].values()) / 1e6
print(f"{module}: one expert is {size:.1f} MB, {size / len(one):.1f} MB per fact")

# %%
patch = held["hard"][1]
asked = {
    tower.text: "the edit",
    "The Eiffel Tower stands in the city of": "rewording",
    "Tourists who want to see the Eiffel Tower travel to the city of": "rewording",
    "The Colosseum is located in the city of": "neighbor",
    "The recipe for bread begins with": "unrelated",
    sheep.text: "the other edit",
    "A young sheep is called a": "rewording",
    "The young of a cow is called a": "neighbor",
}
base = lm.next_token(list(asked))
with lm.patched(patch):
    answers, notes = lm.answer(list(asked), 3, explain=True)
    edited = lm.next_token(list(asked))
for (note,), before, after in zip(notes, base, edited, strict=True):
    assert torch.equal(before, after) == (note["entry"] < 0)  # nobody: the base model, bit for bit
table = [
    {
        "group": asked[p],
        "prompt": p,
        "says": a,
        "expert": n["entry"] + 1,
        "score": n["score"],
        "null anchor": n["threshold"],
    }
    for p, a, (n,) in zip(asked, answers, notes, strict=True)
]
show.Table(table)

# %% [markdown]
# Expert 0 is the model itself. The second edit has not moved the first by a bit; under the softmax it
# has, by 0.004 so far. A rewording in nearly the same words is answered, the one with tourists is not
# (−4, and 8 are needed). "The young of a cow" scores 12: all its words but one are the sheep's.
#
# ## Routing over time
#
# Forty facts of the classroom, five per call. After each call: who answers the prompts so far, the
# same expert as when they were learned? Anchors and new experts (LEMoE), against MEMoE's router on
# hidden states, one matrix for four experts that all batches train; and that router with new experts.
#
# **Predict.** MEMoE's router is never told to keep old prompts where they were. After eight batches,
# how many of them still go where they went?
#
# <details><summary>Answer</summary>
#
# 95 %, which is not the trouble. But it may not be combined with new experts: then 12 %.
#
# </details>

# %%
STREAM = runs_13.STREAM  # of the stored run
if stored_runs.long():
    for rows in runs_13.every(lm):
        stored_runs.save("13_experts", STREAM, rows)
rows = stored_runs.load("13_experts", STREAM)["rows"]
facts = [case.fact for case in runs_13.cases(10)]
live = [row for row, _ in runs_13.written(lm, facts, STREAM["lines"]["without order"])]
if SCALE == "small":  # the first two calls again
    own = [row for row in rows if row["line"] == "without order"]
    stored_runs.begins_with(own, live, ["edits", "expert"])
x, y = runs_13.routed(rows)
colors = dict(zip(y, (plot.EDITED, plot.BASE, plot.CYCLE[0]), strict=True))
plot.lines(x, y, "edits", "prompts routed as when learned (%)", colors=colors, ylim=(0, 104))

# %% [markdown]
# By anchors all forty prompts go where they went, after every call. MEMoE's nearly all; it forgets as
# its experts are trained again. With new experts the same router collapses: each is trained as the
# answer to its batch, no old prompt objects, and in the end the newest takes every prompt.
#
# ## Which part counts?
#
# LEMoE is three changes to MEMoE: insertion (a new expert instead of four that are used again),
# anchors (instead of hidden states), order planning (instead of facts as they come).
#
# **Predict.** Which of the three costs most when it is missing?
#
# <details><summary>Answer</summary>
#
# The anchors, by far.
#
# </details>

# %%
names, shares = runs_13.ends(rows)
columns = ["held", "reworded", "neighbors", "unrelated"]
plot.heatmap(
    shares, names, columns, "prompts", "after 40 edits", "right or kept (%)", limits=(0, 100)
)

# %%
show.Table(runs_13.differences(rows))

# %% [markdown]
# In points, with 95 % intervals of the paired differences. Without anchors 80 of 100 facts are gone.
# Without insertion 8, where each expert has served twice; yet it answers 14 more of the
# rewordings, as a wider scope does, and pays with neighbors. Order planning gains nothing. ZsRE says
# the same of 80 facts in tens: anchors −69 [−76, −61], insertion −21 [−28, −15], order 0, all of
# MEMoE −46 [−55, −37] facts held (`tests/benchmarks/lemoe_ablation.json`).
#
# And neighbors: 99 % are right in the base model, 61 % now. A neighbor's prompt has most of the words
# of the edit's, so nearly its mean. The paper's locality of 100 % is that of unrelated questions.
#
# ## Does the order matter?
#
# The same forty facts, shuffled three times. The groups of a plan stay the same then, but batches are
# written in the order of their first facts, and the projection is fitted anew with each.

# %%
for name, held in runs_13.orders(rows, "held")[1].items():
    print(f"{name}: held in the four orders {', '.join(f'{share:.0f}' for share in held)} %")
x, y = runs_13.orders(rows, "reworded")
colors = dict(zip(y, (plot.EDITED, plot.CYCLE[1], plot.BASE), strict=True))
axes = "order of the facts (0: as given)", "rewordings right (%)"
plot.lines(x, y, *axes, colors=colors, ylim=(0, None))

# %% [markdown]
# LEMoE holds all facts in every order, MEMoE 70 to 85 %. Rewordings vary by 12 points with the plan
# and by 14 without, and without it they are 8 points higher on average: here planning costs. (Why?
# Like facts in one batch have to be told apart, and an expert may learn the exact words. A guess.)
#
# ## Exercise: place anchors, and misroute a prompt
#
# First: six facts in the plane, two per batch: $v_0, v_1$ belong to anchor 0, $v_2, v_3$ to anchor 1,
# $v_4, v_5$ to anchor 2; three texts must stay. Give unit keys and $b$, for $\kappa = 16$. Then a
# prompt not about the tower that its expert answers. (What does a mean of embeddings not see?)


# %%
def place(v, far):  # v (6, 2) and far (3, 2) unit vectors -> keys (3, 2), b
    return "not attempted"


prompt = None  # "your prompt"

# %%
print("place:", checks_13.place(place))
print("misroute:", checks_13.misroute(lm, patch, tower, prompt))

# %% [markdown]
# ## What we know now
#
# * What is frozen is not forgotten, if it is found. A softmax over frozen experts forgets all the
#   same; a hard gate does not.
# * A router that reads embeddings alone cannot be moved by edits. A null anchor keeps the rest of the
#   model as it was.
# * A mean of embeddings knows which words, not in which order.
#
# ## Where it breaks
#
# A fact costs 2 MB: after 250 the experts are as large as the model. What is asked in other words is
# not found; what is asked in the same words about something else is. We have met editors of weights,
# a list, a side memory, experts, and each wins at something. **Which of all these should I use?**
# For that, all of them have to run on one stream, in [notebook 14](14_lifelong.ipynb).
#
# ## References
#
# * Wang, Li: *LEMoE: Advanced Mixture of Experts Adaptor for Lifelong Model Editing of Large Language
#   Models*, 2024, [arXiv:2406.20030](https://arxiv.org/abs/2406.20030).
# * Wang, Li: *MEMoE: Enhancing Model Editing with Mixture of Experts Adaptors*, 2024,
#   [arXiv:2405.19086](https://arxiv.org/abs/2405.19086).
