# %% [markdown]
# <!-- badge -->
#
# # 13 · LEMoE: experts that do not forget
#
# In WISE each new fact is trained into the matrix that older facts need. LEMoE never trains anything
# twice: every batch of facts gets an expert of its own, which is frozen afterwards. Then only one
# thing can still go wrong, that a prompt is sent to the wrong expert.
#
# **You will** see why a softmax turns every old expert down · fit anchors that choose an expert, and
# one that chooses nobody · see which prompts each of them answers · measure LEMoE as it is published
# and as it is in this library · take it apart, one part at a time · misroute a prompt on purpose.
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
import warnings

import torch

import lib
from lib import plot
from lib.editors.lemoe import routers
from notebooks.support import checks_13_lemoe as checks_13
from notebooks.support import drawings_13, figures, long_runs, models, show
from notebooks.support import runs_13_lemoe as runs_13

_ = torch.manual_seed(0)
normal = torch.randn

# %% [markdown]
# ## A new expert for every batch
#
# The MLP of one layer stays as it is. Beside it stand **experts**, MLPs of the same form. A prompt
# chooses one of them, or none, and the output of the chosen one is added to that of the layer, at
# every token of the prompt and of the answer. When a batch of facts arrives, a new expert is added.
# Its output matrix is zero at first, so it says nothing yet. It is trained on this batch alone and
# then frozen.

# %%
drawings_13.block()

# %% [markdown]
# In formulas, with $f_i$ for expert $i$, $s_i$ for its score and $g_i$ for the weight of its output:
#
# $$\text{MLP}(x) + g_i\, f_i(x), \qquad i = \arg\max_m s_m .$$
#
# The method before LEMoE is called **MEMoE**. It has a fixed number of experts and trains all of them
# on every batch, together with the router that chooses.
#
# ## Who is chosen, and how much it counts
#
# Each expert has an **anchor**, a unit vector $k_i$, which is a key as in GRACE. A prompt has a unit
# vector $v$, made of its tokens. What comes out is a score, large if the two point the same way:
# $s_i = \kappa \cos(k_i, v)$ with $\kappa = 16$. As published, the winner's weight $g$ is its share in
# a softmax over all scores. If one more expert is added, the denominator gets one more term:
#
# $$g = \frac{e^{s}}{\sum_m e^{s_m}} \quad\Longrightarrow\quad
# \frac1{g_\text{new}} = \frac1g + e^{s_\text{new} - s} .$$
#
# **Predict.** Experts and anchors are frozen. Can an old answer still change when an expert is added?
#
# <details><summary>Work it out</summary>
#
# Yes. $1/g$ grows with every expert that is added, however far away it stands, so each batch turns all
# old experts down a little.
#
# </details>

# %%
kappa = 16.0
v = torch.nn.functional.normalize(normal(8), dim=0)
k = torch.nn.functional.normalize(v + 0.25 * normal(8), dim=0)  # its own anchor
others = torch.nn.functional.normalize(normal(300, 8), dim=1)  # of 300 batches to come
scores = kappa * torch.cat([k[None], others]) @ v
shares = [scores[:t].softmax(0)[0] for t in range(1, len(scores) + 1)]
for t in (1, 10, 100):
    assert torch.isclose(1 / shares[t], 1 / shares[t - 1] + (scores[t] - scores[0]).exp())
print(f"cosine of the prompt with its own anchor: {k @ v:.2f}")
for t in (1, 3, 10, 30, 100, 300):
    print(f"{t} experts: the winner's share is {shares[t - 1]:.2f}")

# %% [markdown]
# Everything is frozen, and the winner is turned down all the same: among 100 experts 0.74 of its weight
# is left. This library uses a **hard gate** instead, $g = 1$ for the winner. An old answer can then
# change only if the new expert wins the prompt. A constant has no gradient, so during training the
# weight is written as $1 + g - [g]$, where $[g]$ counts as a constant: its value is 1, and its gradient
# is that of the share.
#
# ## Anchors, and one for nobody
#
# What is $v$? LEMoE reads the **input embeddings** of the prompt and nothing else. Their mean $e$
# (centered and scaled) goes in, and a small network makes a unit vector of it:
# $v = \text{unit}(W_\text{up}\,\text{SiLU}(W_\text{down}\,e))$. MEMoE's router is one matrix. It reads
# the mean hidden state of the prompt at the experts' layer, and the embedding of the subject if it
# knows it.
#
# As published, the network and the new anchor are trained together with the expert, by the loss of its
# facts. *Some* expert answers every prompt. The library does three things differently:
#
# * The network is **refitted** before each expert is trained, on the $e$ of all facts stored so far.
#   The new anchor is fitted along, starting from the middle of its batch. Older anchors stay.
# * A **null anchor** has a constant score $b$ and no expert behind it. A prompt that scores below $b$
#   everywhere stays with the base model, to the last bit.
# * The gate is hard.
#
# The refit is a classification. The $e$ of a fact (and of its subject) belongs to its own expert, and
# the $e$ of irrelevant texts belongs to nobody. CE is the cross-entropy:
#
# $$L = \text{mean CE}(\text{softmax}(b, s_1, \dots, s_t),\ \text{own expert})
# \ +\ \text{mean CE}(\cdot,\ \text{nobody}) .$$
#
# We try it on three batches of points in 12 dimensions, with points all around that belong to nobody.


# %%
def slow(router, e):  # who answers a prompt with the mean embedding e (d,)
    inner = router.down[0] @ e
    v = router.up[0] @ (inner * inner.sigmoid())
    scores = [router.kappa * (k @ v).item() / v.norm().item() for k in router.keys]
    best = max(range(len(scores)), key=scores.__getitem__)
    return best if scores[best] > router.bias else -1


mine = torch.cat([normal(8, 12) + 3 * torch.eye(12)[t] for t in range(3)])
owner = torch.arange(24) // 8
rest = normal(60, 12)
scale = torch.zeros(12), torch.tensor(1.0)
router = routers.start(*scale, 32, 16, kappa, kappa / 2, seed=0)
for t in range(3):
    router = routers.grow(router, mine[owner == t])

# %%
fit = routers.AnchorFit(steps=200, lr=3e-3, reserve=0.0)
fitted = routers.fit_anchors(router, mine, owner, rest, 2, fit)
assert torch.equal(router.keys[:2], fitted.keys[:2])  # old anchors are frozen
table = []
for name, some in {"in the middle": router, "fitted": fitted}.items():
    choice = some.choose(mine)
    nobody = some.choose(rest) < 0
    assert choice.tolist() == [slow(some, e) for e in mine]  # the library's is fast: all at once
    row = {"anchors": name, "own expert (%)": 100 * (choice == owner).float().mean().item()}
    row["nobody, as it should be (%)"] = 100 * nobody.float().mean().item()
    table.append(row | {"b": some.bias.item()})
show.Table(table)

# %% [markdown]
# In the middle of its batch an anchor finds nearly all of its own prompts, but it also takes half of
# the prompts that belong to nobody. After the fit all 24 and all 60 are where they should be. (They are
# the points that it was fitted on.)
#
# The third part of the method is **order planning**. Facts that are alike are put into one batch,
# because they share an anchor. The plan is a $k$-means in which every batch has limited room. You will
# write it in an exercise; below it turns out to gain nothing measurable.
#
# ## The tower and the sheep
#
# Now the real model. Experts stand beside the MLP of one layer. The tower and four facts of the
# classroom are the first batch; the sheep and four others are the second, in a later edit.

# %%
lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
classroom = [case.fact for case in runs_13.cases(8)]
one = [tower, *classroom[:4]]
two = [sheep, *classroom[4:]]
held = {}
for gate in ("hard", "softmax"):
    editor = runs_13.editor(lm, gate=gate)
    first = editor.edit(one)
    held[gate] = first, editor.edit(two, after=first)

# %%
for gate, patches in held.items():
    ((module, a),), ((_, b),) = (patch.routes.items() for patch in patches)
    assert all(torch.equal(t, b.experts[0][name]) for name, t in a.experts[0].items())  # frozen
    assert torch.equal(a.router.keys, b.router.keys[:1])
    logits = []
    for patch in patches:
        with lm.patched(patch):
            logits.append(lm.run([tower.text]).logits)
    moved = (logits[1] - logits[0]).abs().max().item()
    print(f"{gate} gate: after the second edit, logits at the tower have moved by {moved:.2g}")
size = sum(t.nbytes for t in a.experts[0].values()) / 1e6
model = sum(p.nbytes for p in lm.model.parameters()) / 1e6
print(f"{module}: one expert is {size:.1f} MB, {size / len(one):.1f} MB per fact")
print(f"the model has {model:.0f} MB, as many as the experts of {5 * model / size:.0f} facts")
d_out, d_in = lm.weight(lm.mlp_out(editor.config.layer)).shape
print(f"an expert of rank 16 is {4 * 16 * (d_in + d_out) / 1e6:.2f} MB")

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
prompts = list(asked)
said = lm.answer(prompts, 3)
base = lm.next_token(prompts)
with lm.patched(patch):
    says, notes = lm.answer(prompts, 3, explain=True)
    edited = lm.next_token(prompts)

# %%
table = []
for i, prompt in enumerate(prompts):
    (note,) = notes[i]
    assert torch.equal(base[i], edited[i]) == (note["entry"] < 0)  # nobody: the base model exactly
    row = {"group": asked[prompt], "prompt": prompt, "before": said[i], "after": says[i]}
    row["expert"] = note["entry"] + 1
    row["score"] = note["score"]
    table.append(row | {"b": note["threshold"]})
show.Table(table)

# %% [markdown]
# Expert 0 is the model itself. Under the hard gate the second edit has not moved the first by a
# bit; under the softmax it has, by a little so far. The tower is in Rome, also in a rewording of
# nearly the same words. The rewording with tourists finds no expert: it scores −4.2, and $b$ is 8.
# "The young of a cow" scores 12, since all its words but one are the sheep's, and is called a puppy
# now.
#
# With two anchors we can draw the whole router. Every prompt is a point, with its two scores as
# coordinates, and the dashed lines are where the decision changes.

# %%
(route,) = patch.routes.values()
some = [lib.classroom()[0], *runs_13.cases(8)]
points = runs_13.scored(lm, route, [*one, *two], some)
notes = {"tourists": prompts[2], "the Colosseum": prompts[3], "a cow": prompts[7]}
places = runs_13.scores(lm, route, list(notes.values()))
notes = dict(zip(notes, places, strict=True))
drawings_13.regions(points, route.router.bias.item(), ("the tower", "the sheep"), notes)

# %% [markdown]
# All 18 unrelated prompts lie in the region in which nobody answers. Rewordings and neighbors lie
# between them and the edits, on both sides of the lines, and no line separates one group from the
# other.
#
# ## Routing over time
#
# Forty facts of the classroom, five per batch (a stored run). After each batch we ask the router who
# answers the facts written so far, and count how many go to the expert that answered them when they
# were learned. There are five routers:
#
# * anchors on embeddings, fitted anew with every batch, with a null anchor: LEMoE as it is here;
# * anchors on embeddings that are trained with the expert and nothing else: LEMoE as published;
# * MEMoE's matrix on hidden states, with new experts, once trained as a whole, and once with the rows of
#   old experts frozen;
# * MEMoE itself, with four experts that are trained on every batch.
#
# **Predict.** Which of them keep old prompts where they were?
#
# <details><summary>Answer</summary>
#
# The fitted anchors keep all forty, after every batch, and MEMoE nearly all. The other three lose
# most of them, and LEMoE as published loses as many as the matrix on hidden states.
#
# </details>

# %%
STREAM = runs_13.STREAM
rows = long_runs.stored("13_experts", STREAM, lambda: runs_13.every(lm))
facts = [case.fact for case in runs_13.cases()]
live = (row for row, _ in runs_13.written(lm, facts, STREAM["lines"]["LEMoE"], batches=1))
long_runs.repeats(
    [row for row in rows if row["line"] == "LEMoE"], lambda: live, ["edits", "expert"]
)
x, y = runs_13.routed(rows)
for name, line in y.items():
    print(f"{name}: {line[-1]:.0f} % after 40 facts")
plot.lines(x, y, "edits", "prompts routed as when learned (%)", ylim=(0, 104))

# %% [markdown]
# Only the fitted anchors send every fact to its expert after every batch. MEMoE's matrix keeps 95 %
# of them. (MEMoE forgets for another reason: its experts are trained again.) Of the three others
# the one with frozen rows keeps 68 %, LEMoE as published 15 % and the whole matrix 12 %.
#
# Why does LEMoE as published lose them? We write the tower's batch and the sheep's batch once more, with
# the published router, and look at the vectors $v$ of the first batch before and after the second edit.

# %%
published = runs_13.editor(lm, routing="paper", gate="softmax")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", lib.EditWarning)  # it says how many facts are misrouted
    first = published.edit(one)
    second = published.edit(two, after=first)
show.Table(runs_13.drift(lm, first, second, one))

# %% [markdown]
# The first batch's anchor is frozen, and the facts' embeddings cannot change. But the network
# between the two was trained on with the second batch, and nothing in its loss mentions the first.
# So the vectors $v$ have turned away from their own anchor and towards the new one, and the new
# expert takes the prompts. It was never told what they should say, and none of the five facts is
# held any more.
#
# The other two lose facts in the same way: each new expert is trained as the answer to its own
# batch, and no old prompt objects. Frozen anchors do not help, and embeddings do not either. They
# fix $e$, but not what the network makes of it.
#
# ## Which part counts?
#
# The paper's LEMoE is three changes to MEMoE: insertion (a new expert for each batch instead of four
# that are trained again and again), anchors on embeddings (instead of a matrix on hidden states), and order
# planning. The library adds the refit, the null anchor and the hard gate. The stored run has a line
# without each of them, all on the same forty facts. "No anchors" is LEMoE with MEMoE's matrix, which is
# how papers take anchors away.
#
# **Predict.** Which line loses most?
#
# <details><summary>Answer</summary>
#
# Those without the refit: "no anchors", and LEMoE as published.
#
# </details>

# %%
names, shares, between = runs_13.ends(rows)
columns = ["held", "reworded", "neighbors", "unrelated"]
label = "right, or kept (%)"
for name in ("LEMoE", "as published", "published rate", "MEMoE"):
    said = ", ".join(
        f"{c} {x:.0f} %" for c, x in zip(columns, shares[names.index(name)], strict=True)
    )
    print(f"{name}: {said}")
figures.shares(shares, names, columns, "prompts", "after 40 facts", label=label, between=between)

# %%
lines = (
    "as published",
    "published rate",
    "MEMoE",
    "no insertion",
    "no order",
    "no anchors",
    "rank 16",
)
show.Table(runs_13.differences(rows, [(line, "LEMoE") for line in lines]))

# %% [markdown]
# LEMoE holds 39 of the 40 facts. The fortieth is titanium: its new symbol "Al" is written, and the
# model goes on within the word, since nobody taught it where to stop.
#
# Without the anchors 85 points are lost, as one would expect of the paper's most important part.
# But LEMoE as published holds only 15 %, and MEMoE, which it is meant to improve on, 68 %. Is that
# our learning rate, which was chosen for few steps? The line "published rate" has the paper's rate
# and up to 150 steps instead of 20, and holds 18 %. (The paper reports 80 % held, 60 % of
# rewordings and 100 % of unrelated prompts after a thousand facts of ZsRE in a model of 7B with at most
# five experts. It leaves open how the router is trained; ours is one reading of it, and whether its
# own holds the facts better we cannot say.)
#
# Without insertion 8 points are lost, but the interval reaches 0; each of the four experts has
# served twice by then. Order planning gains nothing. Experts of rank 16 hold nearly as much as
# whole MLPs. (The library's benchmark on 80 facts of ZsRE, in batches of ten and by teacher
# forcing, has the same order: −69 points [−76, −61] without anchors, −46 [−55, −37] for MEMoE, −21
# [−28, −15] without insertion, and 0 [−1, 0] without a plan.)
#
# One column speaks for the old method. MEMoE is ahead of LEMoE in rewordings by 17 points, and the
# line without insertion by 15. A wider scope does that, and the neighbors pay for it: MEMoE keeps
# 16 % of them and 19 % of the unrelated prompts. LEMoE loses half of its neighbors too, since a
# neighbor's prompt has most of the words of the edit's prompt, and so nearly the same mean. (The
# paper's 100 % is that of unrelated questions; its table has no neighbors.)
#
# ## Four things at once
#
# "No anchors" takes four things away together: the embeddings, the null anchor, the refit on all that is
# stored, and the freezing of what belongs to old experts. To see which of them counts, the stored run
# has lines in which only one thing changes. "Reads hidden states" is LEMoE with everything else in
# place: anchors are fitted, old ones are frozen, and there is a null anchor.

# %%
pairs = [
    ("reads hidden states", "LEMoE"),  # the embeddings alone
    ("no null anchor", "LEMoE"),  # the null anchor alone
    ("no null, no refit", "no null anchor"),  # the refit alone
    ("as published", "no null, no refit"),  # the gate alone
    ("no anchors", "hidden, old rows frozen"),  # the freezing alone, in MEMoE's matrix
]
show.Table(runs_13.differences(rows, pairs))

# %%
lines = ("LEMoE", "reads hidden states", "no null anchor", "no null, no refit", "MEMoE")
show.Table(runs_13.reached(rows, lines))

# %% [markdown]
# * **The embeddings** are not what holds the facts. With hidden states and everything else in place
#   nothing is lost, 0 points [−6, 5]. More rewordings follow and more neighbors are lost, 19 points
#   each. The paper's reason for embeddings is that edits move hidden states. Here they cannot: all
#   experts stand at one layer, and nothing below it is edited.
# * **The null anchor** does not hold facts either. It buys 55 points of unrelated prompts for 32
#   points of rewordings.
# * **The refit** is what holds them. Without it 82 points are lost, and the second table says how: 93
#   % of the rewordings and 85 % of the neighbors go to the expert that answers their fact now,
#   because one expert, the newest, takes nearly everything. Most facts go there too, and it does not
#   know them.
# * **The gate** makes no difference at eight experts.
# * **Freezing old rows** of MEMoE's matrix holds 28 points more, [7, 46], than training all of it.
#
# So the line "no anchors" is right about its number and misleading about its reason: what it takes
# away with the anchors is the rehearsal of old prompts in the router.
#
# ## Does the order matter?
#
# The same forty facts were also written in four shuffled orders. (The groups of a plan stay the same
# then. But the batches are written in the order of their first facts, and the network is fitted anew
# with each.) A dot is one order, a bar is their mean.

# %%
found = {"held (%)": "held", "rewordings (%)": "reworded"}
found = {title: runs_13.orders(rows, what) for title, what in found.items()}
for title, lines in found.items():
    for name, shares in lines.items():
        print(f"{title}, {name}: {', '.join(f'{share:.0f}' for share in shares)}")
    more = [a - b for a, b in zip(lines["no order"], lines["LEMoE"], strict=True)]
    print(f"{title}, no order less LEMoE: {', '.join(f'{points:+.0f}' for points in more)} points")
drawings_13.orders(found)

# %% [markdown]
# LEMoE holds 39 facts in every order, and MEMoE between 24 and 33. Without a plan between 38 and 39
# are held, and in each of the five orders more rewordings follow than with it. So planning does not
# help here, and it may cost rewordings. These are five orders of one set of facts; another set was
# not tried.
#
# ## Exercises: anchors, a plan, and a misrouted prompt
#
# 1. Six facts in the plane, two per batch: $v_0, v_1$ belong to anchor 0, $v_2, v_3$ to anchor 1 and
#    $v_4, v_5$ to anchor 2. Three texts must stay with the base model. Give unit keys and $b$, for
#    $\kappa = 16$.
# 2. Write the plan. For $n$ facts and batches of at most $b$ there are $\lceil n/b \rceil$ centers. The
#    first is the fact nearest to the mean of all facts; each further one is the fact farthest from
#    those taken so far. Then ten rounds: go through all pairs of a fact and a center, the shortest
#    distance first, and put the fact into that batch if neither is full or taken; move every center to
#    the mean of its batch. Return the batches, each sorted, in the order of their first facts.
# 3. Find a prompt that is not about the tower and that the tower's expert answers.
#
# <details><summary>Hints</summary>
#
# 1. The middle of a batch is the sum of its two $v$, made a unit vector. $b$ lies between the largest
# score of a text and the least of a fact at its own anchor. 2. `sorted` of triples (distance, fact,
# center) is the order in which facts are dealt out. 3. What does a mean of embeddings not see?
#
# </details>
#
# <details><summary>Solutions</summary>
#
# ```python
# def place(v, far):
#     keys = torch.nn.functional.normalize(v[0::2] + v[1::2], dim=1)
#     own = 16 * (v * keys.repeat_interleave(2, 0)).sum(1)
#     return keys, (own.min() + 16 * (far @ keys.T).max()) / 2
#
# def plan(e, size):
#     n = range(len(e))
#     chosen = [int((e - e.mean(0)).norm(dim=1).argmin())]
#     while len(chosen) < -(-len(e) // size):
#         chosen.append(max(n, key=lambda i: min((e[i] - e[c]).norm() for c in chosen)))
#     centers = [e[c] for c in chosen]
#     for _ in range(10):
#         batches = [[] for _ in centers]
#         triples = [((e[i] - m).norm(), i, c) for i in n for c, m in enumerate(centers)]
#         for _, i, c in sorted(triples):
#             if len(batches[c]) < size and not any(i in batch for batch in batches):
#                 batches[c].append(i)
#         centers = [e[sorted(batch)].mean(0) for batch in batches]
#     return sorted(map(sorted, batches))
#
# prompt = "The Tower of the city is located in Eiffel"  # the same words in another order
# ```
#
# </details>


# %%
def place(v, far):  # v (6, 2) and far (3, 2) unit vectors -> keys (3, 2), b
    return "not attempted"


def plan(e, size):  # e (n, d) -> batches of fact numbers
    return "not attempted"


prompt = None  # "your prompt"

# %%
print("place:", checks_13.place(place))
print("plan:", checks_13.plan(plan))
print("misroute:", checks_13.misroute(lm, patch, tower, prompt))

# %% [markdown]
# ## What we know now
#
# * What is frozen is not forgotten, as long as it is found. A softmax turns frozen experts down with
#   every new one, a hard gate does not.
# * What finds it is a router that is fitted on everything stored so far. Embeddings and frozen
#   anchors alone do not: as published, the shared network moves old prompts away from their experts.
# * A null anchor keeps the rest of the model as it was, to the last bit, and costs rewordings.
# * A mean of embeddings knows which words a prompt has, and not in which order.
#
# ## Where it breaks
#
# With five facts to an expert of the MLP's own form the experts are soon as large as the model.
# Experts of rank 16 are far smaller, and notebook 16 counts with those. What is asked in other
# words is often not found, and what is asked in the same words about something else is. We have met
# editors of weights, a list, a side memory and experts, and each of them is ahead in something.
# **Which of all these should I use?** For that, all of them have to run on one stream, in [notebook
# 14](14_lifelong.ipynb).
#
# ## References
#
# * Wang, Li: *LEMoE: Advanced Mixture of Experts Adaptor for Lifelong Model Editing of Large Language
#   Models*, 2024, [arXiv:2406.20030](https://arxiv.org/abs/2406.20030).
# * Wang, Li: *MEMoE: Enhancing Model Editing with Mixture of Experts Adaptors*, 2024,
#   [arXiv:2405.19086](https://arxiv.org/abs/2405.19086).
