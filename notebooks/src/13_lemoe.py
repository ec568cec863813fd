# %% [markdown]
# <!-- badge -->
#
# # 13 · LEMoE: experts that do not forget
#
# In WISE each new fact is trained into the matrix that older facts need. LEMoE trains no expert twice: every
# batch of facts gets one of its own, which is frozen afterwards. Then what can go wrong is above all that a
# prompt is sent to the wrong expert.
#
# **You will** see why a softmax turns every old expert down · write who is chosen, and the loss by which
# the router is fitted anew · see a router forget, and bring its facts back with your loss · take the
# method apart, one part at a time · misroute a prompt on purpose.
#
# **Needs** [notebook 11](11_grace.ipynb) for keys and scope, [notebook 12](12_wise.ipynb) for
# routing at the prompt.
#
# **Minutes** 25 to read and 15 to work: exercise 7.4 of [session 7](../lessons/session_7.md), in two
# parts.
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
import warnings
from dataclasses import replace
from functools import partial

import pandas as pd
import torch
from torch.nn.functional import normalize, silu

import lib
from lib.data.texts import irrelevant
from lib.editors.lemoe import routers
from lib.editors.lemoe.clusters import text_means
from lib.workbench import plot
from notebooks.support import drawings_13, long_runs, models
from notebooks.support import runs_13_lemoe as runs_13
from notebooks.support.holes import guess, use
from notebooks.support.runs_13_lemoe import OTHER, PARTS, STREAM
from notebooks.support.score_tables import gap, percent

pd.set_option("display.max_colwidth", None)  # prompts in tables are shown whole
_ = torch.manual_seed(0)
normal = torch.randn

# %% [markdown]
# ## A new expert for every batch
#
# The MLP of one layer stays as it is. Beside it stand **experts**, MLPs of the same form. A prompt
# chooses one of them, or none, and the output of the chosen one is added to that of the layer, at every
# token of the prompt and of the answer. When a batch of facts arrives, a new expert is added. Its output
# matrix is zero at first, so it says nothing yet. It is trained on this batch alone and then frozen.

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
v = normalize(normal(8), dim=0)
k = normalize(v + 0.25 * normal(8), dim=0)  # its own anchor
others = normalize(normal(300, 8), dim=1)  # of 300 batches to come
scores = kappa * torch.cat([k[None], others]) @ v
shares = [scores[:t].softmax(0)[0] for t in range(1, len(scores) + 1)]
for t in (1, 10, 100):
    assert torch.isclose(1 / shares[t], 1 / shares[t - 1] + (scores[t] - scores[0]).exp())
print(f"cosine of the prompt with its own anchor: {k @ v:.2f}")
for t in (1, 3, 10, 30, 100, 300):
    print(f"{t} experts: the winner's share is {shares[t - 1]:.2f}")

# %% [markdown]
# Everything is frozen, and the winner is turned down all the same: beside 99 random anchors 0.74 of its weight
# is left. This library uses a **hard gate** instead, $g = 1$ for the winner. As long as the router gives the
# old scores, an old answer can then change only if the new expert wins the prompt. A constant has no gradient,
# so during training the weight is written as $1 + g - [g]$, where $[g]$ counts as a constant: its value is 1,
# and its gradient is that of the share.
#
# And where no anchor is near? As published, *some* expert answers every prompt. The library has a **null
# anchor** with a constant score $b$ and no expert behind it. A prompt that scores below $b$ everywhere
# stays with the base model, to the last bit.
#
# **Your turn · exercise 7.4, first part · ★★ · 3 minutes.** Write `route`: the number of the expert that
# answers each prompt, −1 for nobody. Two lines. The prompts come as vectors of any length.


# %%
def route(keys, b, v, kappa):
    """keys (t, d) unit anchors, b a number, v (n, d) prompts -> (n,) experts' numbers, or −1."""
    ...


route = use("7.4", route)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which of the two sides of a cosine is no unit vector yet, and on which scale is $b$?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def route(keys, b, v, kappa):
#     best, i = (kappa * normalize(v, dim=-1) @ keys.T).max(1)
#     return torch.where(best > b, i, -1)
# ```
#
# </details>
#
# ## The refit
#
# What is $v$? LEMoE reads the **input embeddings** of the prompt and nothing else. Their mean $e$
# (centered and scaled) goes in, and a small network makes a vector of it: $v =
# W_\text{up}\,\text{SiLU}(W_\text{down}\,e)$. MEMoE's router is one matrix. It reads the mean hidden
# state of the prompt at the experts' layer, and the embedding of the subject if it knows it.
#
# There is one network for all experts. What should it be trained by? As we read the paper, it is trained
# together with the new anchor and the new expert, by the loss of the new facts.
#
# The library **refits** it instead, before each expert is trained, to the $e$ of all facts that are
# stored, those of earlier batches among them. The new anchor starts in the middle of its batch and is
# fitted along, and so is $b$. Older anchors stay as they are. (After the fit the library raises $b$ a
# little, since other texts are more varied than those it was fitted to.)
#
# The refit is a classification. A row of scores is $[b, s_1, \dots, s_t]$, and a softmax makes
# probabilities $p$ of it. A stored prompt belongs to its own expert, and a text that has nothing to do with
# any fact belongs to nobody, the first class. There are many more texts than facts, so each group has a
# mean of its own:
#
# $$L = \underset{\text{stored}}{\text{mean}}\, -\log p(\text{its own expert})
# \ +\ \underset{\text{texts}}{\text{mean}}\, -\log p(\text{nobody}) .$$
#
# **Your turn · exercise 7.4, second part · ★★ · 5 minutes.** Write `refit_loss` from the scores of both
# groups. Three lines. Two routers below are fitted with it.


# %%
def refit_loss(own, owner, calm):
    """own (n, 1 + t) scores of stored prompts, owner (n,), calm (m, 1 + t) of texts -> a number."""
    ...


refit_loss = use("7.4", refit_loss)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The experts are counted from 0, and $b$ stands in front of their scores. In which column is expert 0?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def refit_loss(own, owner, calm):
#     stored = own.log_softmax(1)[torch.arange(len(own)), owner + 1]
#     nobody = calm.log_softmax(1)[:, 0]
#     return -stored.mean() - nobody.mean()
# ```
#
# </details>
#
# Gradient descent on this loss changes the network, the newest anchor and $b$. We try it on three batches of
# points in 12 dimensions, with points all around that belong to nobody, and the library's `fit_anchors` has to
# find the same.


# %%
def vectors(net, e):  # v (n, d_k) of the prompts' e (n, d)
    down, up = net
    return silu(e @ down.T) @ up.T


def scored(net, keys, b, e):  # (n, 1 + t): b, then κ cos with every anchor
    cosines = normalize(vectors(net, e), dim=1) @ normalize(keys, dim=1).T
    return torch.cat([b.expand(len(e), 1), kappa * cosines], 1)


def refit(net, keys, b, e, owner, calm, steps, lr):  # the router after the fit
    down, up, key, b = (part.clone().requires_grad_() for part in (*net, keys[-1:], b))
    adam = torch.optim.Adam([down, up, key, b], lr=lr)
    for _ in range(steps):
        every = torch.cat([keys[:-1], key])  # the older anchors stay
        own, others = (scored((down, up), every, b, some) for some in (e, calm))
        loss = refit_loss(own, owner, others)
        adam.zero_grad()
        loss.backward()
        adam.step()
    every = normalize(torch.cat([keys[:-1], key]), dim=1)
    return (down.detach(), up.detach()), every.detach(), b.detach()


# %%
mine = torch.cat([normal(8, 12) + 3 * torch.eye(12)[t] for t in range(3)])
owner = torch.arange(24) // 8
rest = normal(60, 12)
scale = torch.zeros(12), torch.tensor(1.0)
router = routers.start(*scale, 32, 16, kappa, kappa / 2, seed=0)
for t in range(3):
    router = routers.grow(router, mine[owner == t])
middle = (router.down[0], router.up[0]), router.keys, router.bias
fitted = refit(*middle, mine, owner, rest, 200, 3e-3)
library = routers.AnchorFit(steps=200, lr=3e-3, reserve=0.0)
library = routers.fit_anchors(router, mine, owner, rest, 2, library)
table = []
for name, (net, keys, b) in {"in the middle": middle, "fitted": fitted}.items():
    choice, nobody = (route(keys, b, vectors(net, e), kappa) for e in (mine, rest))
    row = {"anchors": name, "own expert (%)": 100 * (choice == owner).float().mean().item()}
    row["nobody, as it should be (%)"] = 100 * (nobody < 0).float().mean().item()
    table.append(row | {"b": b.item()})
assert torch.allclose(fitted[1], library.keys, atol=1e-3)
assert torch.equal(route(*fitted[1:], vectors(fitted[0], mine), kappa), library.choose(mine))
pd.DataFrame(table).set_index("anchors").round(2)

# %% [markdown]
# In the middle of its batch an anchor finds nearly all of its own prompts, but it also takes half of
# the prompts that belong to nobody. After the fit all 24 and all 60 are where they should be. (They are
# the points that it was fitted on.)
#
# The third part of the method is **order planning**. Facts that are alike are put into one batch, because they
# share an anchor. The plan is a $k$-means in which every batch has limited room; below no gain from it is seen.
#
# ## The tower and the sheep
#
# Now the real model. Experts stand beside the MLP of one layer. The tower and four facts of the
# classroom are the first batch; the sheep and four others are the second, in a later edit.

# %%
lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
classroom = lib.classroom()[1::2]
facts = [case.fact for case in classroom[:8]]
one, two = [tower, *facts[:4]], [sheep, *facts[4:]]
lemoe = partial(lib.EDITORS["lemoe"], lm, batch_size=5, steps=20, templates=("{}",))
for gate in ("softmax", "hard"):
    editor = lemoe(gate=gate)
    first = editor.edit(one)
    patch = editor.edit(two, after=first)
    (older,), (newer,) = (some.routes.values() for some in (first, patch))
    frozen = older.experts[0], newer.experts[0]
    assert all(torch.equal(frozen[0][part], frozen[1][part]) for part in frozen[0])
    assert torch.equal(older.router.keys, newer.router.keys[:1])
    logits = []
    for some in (first, patch):
        with lm.patched(some):
            logits.append(lm.run([tower.text]).logits)
    moved = (logits[1] - logits[0]).abs().max().item()
    print(f"{gate} gate: after the second edit, logits at the tower have moved by {moved:.2g}")
size = sum(t.nbytes for t in newer.experts[0].values()) / 1e6
model = sum(p.nbytes for p in lm.model.parameters()) / 1e6
print(f"one expert is {size:.1f} MB, {size / 5:.1f} MB per fact")
print(f"the model has {model:.0f} MB, as many as the experts of {5 * model / size:.0f} facts")

# %%
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
prompts, table = list(asked), []
said, base = lm.answer(prompts, 3), lm.next_token(prompts)
with lm.patched(patch):
    says, notes = lm.answer(prompts, 3, explain=True)
    edited = lm.next_token(prompts)
for i, (prompt, (note,)) in enumerate(zip(prompts, notes, strict=True)):
    assert torch.equal(base[i], edited[i]) == (note["entry"] < 0)  # nobody: the base model exactly
    row = {"group": asked[prompt], "prompt": prompt, "before": said[i].strip()}
    row |= {"after": says[i].strip(), "expert": note["entry"] + 1}
    table.append(row | {"score": note["score"], "b": note["threshold"]})
pd.DataFrame(table).set_index(["group", "prompt"]).round(1)

# %% [markdown]
# Expert 0 is the model itself. Under the hard gate the second edit has not moved the logits at the tower at
# all; under the softmax it has, by 0.0036 so far. The tower is in Rome, also in a rewording of nearly the same
# words. The rewording with tourists finds no expert: it scores −4.2, and $b$ is 8. "The young of a cow" scores
# 12, since all its words but one are the sheep's, and is called a puppy now.
#
# With two anchors we can draw the whole router. Every prompt is a point, with its two scores as
# coordinates, and the dashed lines are where the decision changes.


# %%
def read(router, texts):  # what the router reads, e (n, d)
    return router.pooled(text_means(lm, texts))


near = [lib.classroom()[0], *classroom[:8]]
texts = {
    "edit": [fact.text for fact in [*one, *two]],
    "rewording": [text for case in near for text in case.paraphrases],
    "neighbor": [probe.prompt for case in near for probe in case.neighborhood],
    "unrelated": [text for case in near for text in case.locality],
    "notes": [prompts[i] for i in (2, 3, 7)],
}
points = {}
for group, some in texts.items():
    e = read(newer.router, list(dict.fromkeys(some)))
    points[group] = newer.router.scores(e)[:, 1:].tolist()
notes = dict(zip(("tourists", "the Colosseum", "a cow"), points.pop("notes"), strict=True))
drawings_13.regions(points, newer.router.bias.item(), ("the tower", "the sheep"), notes)

# %% [markdown]
# All 18 unrelated prompts lie in the region in which nobody answers. Rewordings and neighbors lie on both sides of
# the lines, and none of these lines separates one group from the other.
#
# ## A router that forgets
#
# Now the same two batches with the network trained as we read the paper: with each expert, by the loss of
# its facts, and a softmax gate. We look at the vectors $v$ of the first batch before and after the second
# edit.

# %%
published = lemoe(routing="paper", gate="softmax")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", lib.errors.EditWarning)  # it says how many facts are misrouted
    first = published.edit(one)
    second = published.edit(two, after=first)
(was,), (now,) = (some.routes.values() for some in (first, second))
e, table = read(now.router, [fact.text for fact in one]), []
own, new = was.router.scores(e)[:, 1], now.router.scores(e)[:, 1:]
turned = (was.router.values(e) * now.router.values(e)).sum(1)
with lm.patched(second):
    says = lm.answer([fact.text for fact in one], 3)
for i, fact in enumerate(one):
    row = {"fact of the first batch": f"{fact.text} {fact.target_new}"}
    row |= {"cos(v before, v after)": turned[i].item(), "own score before": own[i].item()}
    row |= {"own score after": new[i, 0].item(), "score at the new anchor": new[i, 1].item()}
    table.append(row | {"says now": says[i].strip()})
pd.DataFrame(table).set_index("fact of the first batch").round(2)

# %% [markdown]
# The first batch's anchor is frozen, and the facts' embeddings cannot change. But the network between the
# two was trained on with the second batch, and nothing in its loss mentions the first. So the vectors $v$
# have turned away from their own anchor and towards the new one, and the new expert takes the prompts. It
# was never told what they should say, and none of the five facts is held any more.
#
# But the first expert is frozen: what it learned is still there. So let us take this router, as the second
# edit has left it, and go downhill from there in your `refit_loss`, with all ten facts and with the texts
# that belong to nobody. No expert is touched.
#
# **Predict.** How many of the ten facts does the model say then?
#
# <details><summary>Answer</summary>
#
# All ten, if each prompt finds its own expert again. Nothing has happened to the experts.
#
# </details>

# %%
after_refit = guess("How many of the ten facts are said after the refit?", 0, 10)

# %%
router, state = now.router, second.memory["lemoe"]
e, owner = state["e"], state["owner"]  # of all that is stored
calm = read(router, irrelevant())
start = (router.down[0], router.up[0]), router.keys, torch.tensor(kappa / 2)
(down, up), keys, b = refit(*start, e, owner, calm, 300, 3e-3)
router = replace(router, down=down[None], up=up[None], keys=keys, bias=b)
((place, old),) = second.routes.items()  # the same experts behind this router
parts = old.experts, old.activation, router, old.scale, old.gate, old.bos
mended = replace(second, routes={place: type(old)(place, *parts)})
count = {}
for name, some in {"first edit": first, "second edit": second, "refit": mended}.items():
    with lm.patched(some):
        says = lm.answer([fact.text for fact in [*one, *two]], 3)
    pairs = zip(says, [*one, *two], strict=True)
    right = [said.strip().startswith(fact.target_new) for said, fact in pairs]
    count[name] = sum(right)
    print(f"after the {name}: {sum(right[:5])} of the first five, {sum(right[5:])} of the others")
after_refit.against(count["refit"])

# %% [markdown]
# All five are back, and the other five are still said. No expert was touched: what had been lost was the
# way to it. This is one run with ten facts, and the facts are those of the fit; the next sections count
# forty, and other prompts.
#
# ## Routing over time
#
# Forty facts of the classroom, five per batch (a stored run). After each batch we ask the router who
# answers the facts written so far, and count how many go to the expert that answered them when they
# were learned. There are five routers. From here on every line has one name, in the text, in the figure and
# in the tables:
#
# * **LEMoE** is the method as it is here: anchors on embeddings, fitted anew with every batch, with a null
#   anchor.
# * **Our reading** is how we read the paper: anchors on embeddings that are trained with the expert and
#   nothing else, no null anchor, and a softmax gate.
# * **MEMoE's matrix** is LEMoE with the router of MEMoE, one matrix on hidden states, in place of anchors. The
#   whole matrix is trained with each new expert. In **MEMoE's matrix, old rows frozen** only the row of the
#   new expert is.
# * **MEMoE** has four experts, which are trained on every batch together with that matrix.
#
# **Predict.** Which of them keep old prompts where they were?
#
# <details><summary>Answer</summary>
#
# LEMoE keeps all forty, after every batch, and MEMoE nearly all. The matrix with frozen rows loses a third of
# them, and the other two lose most.
#
# </details>

# %%
ROUTERS = ["LEMoE", "MEMoE", "MEMoE's matrix, old rows frozen", "our reading", "MEMoE's matrix"]
rows = long_runs.stored("13_experts", STREAM, partial(runs_13.every, lm))
of = {line: [row for row in rows if row["line"] == line] for line in {r["line"] for r in rows}}
forty = [case.fact for case in lib.classroom()[1:81:2]]
again = [row for row, _ in runs_13.written(lm, forty, {}, batches=1)]  # the first batch once more
long_runs.repeats(of["LEMoE"], lambda: again, ["edits", "expert"])
x, y = {}, {}
for line in ROUTERS:
    learned = []  # the expert that first answered each fact
    for row in (row for row in of[line] if "expert" in row):
        learned += row["expert"][len(learned) :]
        same = [a == b for a, b in zip(row["expert"], learned, strict=True)]
        x.setdefault(line, []).append(row["edits"])
        y.setdefault(line, []).append(100 * sum(same) / len(same))
    print(f"{line}: {y[line][-1]:.0f} % after 40 facts")
plot.lines(x, y, "edits", "prompts routed as when learned (%)", ylim=(0, 104))

# %% [markdown]
# Only LEMoE sends every fact to its expert after every batch. MEMoE keeps 95 % of the routes. (It forgets for
# another reason: its experts are trained again.) Of the three others the matrix with old rows frozen keeps
# 68 %, our reading 15 % and MEMoE's matrix as a whole 12 %. The likely reason is what we have
# just seen: each new expert is trained as the answer to its own batch, and nothing in that training speaks for
# old prompts. Frozen anchors and embeddings do not help: they fix $e$, but not what the network makes of it.
#
# ## Which part counts?
#
# The paper's LEMoE is three changes to MEMoE: insertion (a new expert for each batch instead of four
# that are trained again and again), anchors on embeddings (instead of a matrix on hidden states), and order
# planning. The library adds the refit, the null anchor and the hard gate. The stored runs have a line without
# each of them, all on the same forty facts. In the line "no refit" the null anchor and the hard gate are there,
# and the network and the newest anchor are trained with the expert alone, as in our reading. "Reads hidden
# states" is LEMoE with its anchors, and hidden states in place of embeddings. Two lines are run once more on
# forty other facts of the classroom, the next odd numbers.
#
# **Predict.** LEMoE holds 39 of the forty facts. Which part is worth most, and how many are held without it?
#
# <details><summary>Answer</summary>
#
# The refit. Without it, and with everything else in place, six are held.
#
# </details>

# %%
without = guess("How many of the forty facts are held without the most important part?", 0, 40)

# %%
groups = {
    "the base model": ["unedited"],
    "as it is here": ["LEMoE", "rank 16"],
    "without one part": ["no refit", "no null anchor", "reads hidden states", "softmax gate"]
    + ["no insertion", "no planning"],
    "without several": ["no refit, no null anchor", "our reading", "our reading, low rate"],
    "MEMoE's router": ["MEMoE's matrix", "MEMoE's matrix, old rows frozen", "MEMoE"],
    "forty other facts": [f"{line}, other facts" for line in OTHER["lines"]],
}
parts, others = (
    long_runs.stored(name, settings, partial(runs_13.every, lm, settings))
    for name, settings in {"13_parts": PARTS, "13_other": OTHER}.items()
)
columns = ("held", "reworded", "neighbors", "unrelated")
done = [row for row in [*rows, *parts] if "held" in row and "order" not in row]
ends, table = {row["line"]: row for row in done}, []
ends |= {f"{row['line']}, other facts": row for row in others if "held" in row}
for group, lines in groups.items():
    for line in lines:
        shares = {f"{column} (%)": percent(ends[line][column]) for column in columns}
        table.append({"group": group, "line": line} | shares)
without.against(sum(ends["no refit"]["held"]))
print(f"LEMoE holds {sum(ends['LEMoE']['held']):.0f} of {len(ends['LEMoE']['held'])} facts")
pd.DataFrame(table).set_index(["group", "line"])

# %% [markdown]
# LEMoE holds 39 of the 40 facts, and without the refit it holds six, 15 %. Then it does not help that the null
# anchor and the hard gate are there: the four lines with anchors and without the refit hold 15 to 18 %, MEMoE's
# matrix 12 %, and with its old rows frozen 40 %. On the forty other facts LEMoE holds 98 % again, and 10 %
# without the refit.
#
# Our reading of the paper is no more than that. The paper reports 80 % held, 60 % of rewordings and 100 % of
# unrelated prompts, after a thousand facts of ZsRE in a model of 7B with at most five experts. It leaves open
# how the router is trained. So a reading that ends at 15 % says nothing about the paper's own router; it shows
# what happens when nothing in the training remembers old prompts. It is hardly our learning rate, which was
# chosen for few steps: with the paper's lower rate and up to 150 steps instead of 20 ("our reading, low rate")
# it is 18 %.
#
# Beware of the columns on the right in lines that hold little. Those that hold 12 to 18 % keep 66 to 81 % of
# the neighbors, and LEMoE 49 %; but the base model keeps 100 % and holds nothing, so a high number there is no
# merit by itself. Only among lines that hold their facts does a higher number there say which is better. LEMoE
# loses half of its neighbors. The likely reason is that of the cow: a neighbor's prompt has most of the words
# of the edit's prompt, and so nearly the same mean. (The paper's 100 % is that of unrelated questions; its
# table has no neighbors.)
#
# One thing speaks for the old method. MEMoE, with 68 % held, has the better rewordings, 35 against 18 %; the
# next table has the paired difference, 17 points (1 to 32). Its scope is wider, also where it should not be:
# MEMoE keeps 16 % of the neighbors and 19 % of the unrelated prompts.
#
# ## One thing at a time
#
# Which differences between two lines are larger than chance? First come the same forty facts in five orders,
# for three of the lines. The differences in brackets are intervals over the forty facts, each with its mean over
# the five orders. The table then has paired differences in points, with the interval over the facts: each line
# less the line at the left. Against LEMoE, the first six lines lack one part each. The pairs at the end
# differ in one thing too: the refit where there is no null anchor, the null anchor where there is no refit, the
# gate where there is neither, the frozen rows of MEMoE's matrix, and the refit on the other facts.

# %%
means = {}  # of every fact, over the five orders
for what in ("held", "reworded"):
    for line in STREAM["orders"]["lines"]:
        found = [row[what] for row in rows if row["line"] == line and what in row]
        means[line] = torch.tensor(found).mean(0).tolist()
        found = [f"{100 * sum(some) / len(some):.0f}" for some in found]
        print(f"{what} in five orders, {line}: {', '.join(found)} %")
    for line in STREAM["orders"]["lines"][1:]:
        change = map(round, gap(means[line], means["LEMoE"]))
        print(f"{what}, {line} less LEMoE: {{:+d}} points [{{:+d}}, {{:+d}}]".format(*change))

# %%
compared = {  # with the first line: those behind it
    "LEMoE": ["no refit", "no null anchor", "reads hidden states", "softmax gate"]
    + ["no insertion", "no planning", "our reading", "MEMoE's matrix", "MEMoE"],
    "no null anchor": ["no refit, no null anchor"],
    "no refit": ["no refit, no null anchor"],
    "no refit, no null anchor": ["our reading"],
    "MEMoE's matrix, old rows frozen": ["MEMoE's matrix"],
    "LEMoE, other facts": ["no refit, other facts"],
}
table = []
for whole, lines in compared.items():
    for line in lines:
        row = {"points less": whole, "line": line}
        for what in columns:  # mean, low, high of the paired differences
            change = map(round, gap(ends[line][what], ends[whole][what]))
            row[what] = "{:+d} [{:+d}, {:+d}]".format(*change)
        table.append(row)
pd.DataFrame(table).set_index(["points less", "line"])

# %% [markdown]
# * **The refit** is what holds the facts. Without it, and with everything else in place, 82 points are lost
#   [66, 91], and on the other facts 88 [72, 95]. It also keeps unrelated prompts: without it 51 points of them
#   are lost [37, 63], on the other facts 30 [20, 38]. So a null anchor that is not fitted spares them far less.
#   On the other facts 29 points of the rewordings are lost too [14, 43]; on the first forty no loss is seen.
# * **The embeddings** do not hold them. With hidden states and everything else in place no loss is seen, 0
#   points [−6, 5]. More rewordings follow, by 19 points [6, 31], and more neighbors are lost, by 19 [8, 28].
#   The paper's reason for embeddings is that edits move hidden states. Here they cannot: all experts stand at
#   one layer, and nothing below it is edited.
# * **The null anchor** does not hold facts either, 0 points [−6, 5]. With it 55 points more of the unrelated
#   prompts are kept [38, 67] and 21 points more of the neighbors [12, 28], and 32 points fewer rewordings
#   follow [21, 41].
# * **The gate** makes no difference that one sees at eight experts, also on the line that works: with the
#   softmax it holds the same number of facts, 0 points [−6, 5]. That fits the first section, where among
#   ten anchors the winner's share was 0.99. More experts were not tried.
# * **Insertion**: without it 8 points are lost, but the interval reaches 0; each of the four experts has served
#   twice by then. Rewordings gain 15 points [3, 26], and neighbors lose 13 [4, 22].
# * **Freezing old rows** of MEMoE's matrix holds 28 points more, [7, 46], than training all of it.
# * **Order planning** gains nothing that one sees. LEMoE holds 98 % in every order, and without a plan it
#   is 95 to 98 %. As the means of five orders, rewordings without a plan are 7 points ahead, but the interval
#   is −1 to 15. MEMoE holds between 60 and 82 %, 28 points less than LEMoE [19, 36], and is ahead in
#   rewordings, by 18 points [6, 29].
#
# So the 85 points that LEMoE loses with MEMoE's matrix do not tell what a router should read. With the anchors
# the refit to old prompts is taken away too, and the refit alone is worth about as much.
#
# ## A misrouted prompt
#
# **Find a prompt that is not about the tower and that the tower's expert answers.**
#
# **Predict.** What does a mean of embeddings not see?
#
# <details><summary>Work it out</summary>
#
# The order of the words. `prompt = "The Tower of the city is located in Eiffel"` has the same words as the
# tower's own prompt, and nearly the same mean. Put it into the cell: does the tower's expert answer it?
#
# </details>

# %%
prompt = "The Louvre is located in the city of"  # put yours here
with lm.patched(patch):
    says, notes = lm.answer([tower.text, prompt], 4, explain=True)
for text, said, (note,) in zip((tower.text, prompt), says, notes, strict=True):
    who = "nobody" if note["entry"] < 0 else f"expert {note['entry'] + 1}"
    print(f"{text} … {who} answers, with a score of {note['score']:.1f}: {' '.join(said.split())}")

# %% [markdown]
# ## What we know now
#
# * A frozen expert keeps its facts, as long as their prompts are sent to it. A softmax turns it down with every
#   new expert, a hard gate does not; in the answers of eight experts no difference is seen.
# * A router that is fitted to everything stored so far sends them there. Embeddings and frozen anchors alone do
#   not: a shared network that learns from new facts only moves old prompts away from their experts.
# * Where the null anchor wins, the model answers as before, to the last bit. It spares unrelated prompts and
#   neighbors, and costs rewordings.
# * A mean of embeddings knows which words a prompt has, and not in which order.
#
# ## Where it breaks
#
# With five facts to an expert of the MLP's own form the experts are soon as large as the model. Experts of rank
# 16 are far smaller (above they hold 92 %), and notebook 16 counts with those. What is asked in other words is
# often not found, and what is asked in the same words about something else is. We have met editors of weights,
# a list, a side memory and experts, and each of them is ahead in something. **Which of all these should I
# use?** For that, all of them have to run on one stream, in [notebook 14](14_lifelong.ipynb).
#
# ## References
#
# * Wang, Li: *LEMoE: Advanced Mixture of Experts Adaptor for Lifelong Model Editing of Large Language
#   Models*, 2024, [arXiv:2406.20030](https://arxiv.org/abs/2406.20030).
# * Wang, Li: *MEMoE: Enhancing Model Editing with Mixture of Experts Adaptors*, 2024,
#   [arXiv:2405.19086](https://arxiv.org/abs/2405.19086).
