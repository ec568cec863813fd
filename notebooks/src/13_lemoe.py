# %% [markdown]
# <!-- badge -->
#
# # 13 · LEMoE: experts that do not forget
#
# In WISE all facts use a single matrix, and the router is a by-product of training it. LEMoE never trains an expert
# twice: every batch of facts gets its own expert, which is frozen afterwards, and a router is trained to find it. The
# remaining risk is sending a prompt to the wrong expert.
#
# **You will** see why a softmax turns every old expert down · refit a router to all stored facts · see a router forget,
# and bring its facts back · move the threshold below which no expert answers · plan which facts are grouped in an
# expert · keep experts and your router in your own file.
#
# **Needs** [notebook 11](11_grace.ipynb) for keys and scope, [notebook 12](12_wise.ipynb) for
# routing at the prompt.
#
# **Minutes** 20 to read and 30 to work: exercises 7.4 and 7.5 of [session 7](../lessons/session_7.md), each in two
# steps.

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

# %% [markdown]
# ## A new expert for every batch
#
# The MLP of one layer stays unchanged. In parallel to it we add **experts**, which are MLPs of the same form. A
# prompt chooses one of them, or none, and the output of the chosen expert is added to the layer's output at every
# token of the prompt and of the answer. When a batch of facts arrives, a new expert is added. Its output matrix
# starts at zero, adding nothing at first. It is trained only on this batch and then frozen.

# %%
import warnings
from dataclasses import replace
from functools import partial
from itertools import combinations
from statistics import mean

import torch
from torch.nn.functional import normalize, silu

import lib
from lib.data.texts import irrelevant
from lib.editors.lemoe import routers
from lib.editors.lemoe.clusters import cluster_facts, general_mean, text_means
from lib.workbench import plot
from notebooks.support import drawings_13, figures, hand_ins, long_runs, models, own_fact, show
from notebooks.support import runs_13_lemoe as runs_13
from notebooks.support.holes import both, guess, use
from notebooks.support.runs_11_grace import streams
from notebooks.support.score_tables import by_stream, detects
from notebooks.support.sliders import Slider

_ = torch.manual_seed(0)
normal = torch.randn
drawings_13.block()

# %% [markdown]
# In formulas, writing $f_i$ for expert $i$, $s_i$ for its score and $g_i$ for the weight of its output:
#
# $$\text{MLP}(x) + g_i\, f_i(x), \qquad i = \arg\max_m s_m .$$
#
# LEMoE's predecessor is called **MEMoE**. It has a fixed number of experts, training all of them on every batch,
# together with the router that chooses.
#
# ## Which expert is chosen, and how much it counts
#
# Each expert has an **anchor**, a unit vector $k_i$, which is a key as in GRACE. Each prompt has a unit vector $v$,
# computed from its tokens. The score is large if the two point in the same direction: $s_i = \kappa \cos(k_i, v)$
# with $\kappa = 16$. As published, the winner's weight $g$ is its weight in a softmax over all scores. Adding another
# expert adds a term to the denominator:
#
# $$g = \frac{e^{s}}{\sum_m e^{s_m}} \quad\Longrightarrow\quad
# \frac1{g_\text{new}} = \frac1g + e^{s_\text{new} - s} .$$
#
# **Predict.** Experts and anchors are frozen. Can adding an expert still change an old answer?
#
# <details><summary>Work it out</summary>
#
# Yes. $1/g$ grows with every expert added, no matter how far away its anchor is. So each batch turns down all
# experts, and a nearby anchor does so far more.
#
# </details>

# %%
kappa, lines, counts = 16.0, {}, range(1, 302)
for d in (8, routers.D_K):
    v = normalize(normal(d), dim=0)
    k = normalize(v + 0.7 * normalize(normal(d), dim=0), dim=0)  # its own anchor
    others = normalize(normal(300, d), dim=1)  # random anchors of 300 later batches
    scores = kappa * torch.cat([k[None], others]) @ v
    shares = [scores[:t].softmax(0)[0] for t in counts]
    for t in (1, 10, 100):
        assert torch.isclose(1 / shares[t], 1 / shares[t - 1] + (scores[t] - scores[0]).exp())
    lines[f"softmax, {d} dimensions"] = shares
lines["hard gate"] = [1.0] * len(counts)
plot.lines(counts, lines, "experts", "weight of the same winner", xlog=True, ylim=(0, 1.05))

# %% [markdown]
# In 8 dimensions random anchors come near, and the winner is turned down although everything is frozen. In the router's
# own 64 they stay far away. Our form (`preset="ours"`), which is LEMoE on this page,
# instead uses a **hard gate**, setting $g = 1$ for the winner. As long as the router gives the old scores, an old
# answer can then change only if the new expert wins the prompt. A constant has no gradient, so when a loss trains the
# router, the weight is $1 + p - [p]$, where $p$ is the softmax weight and $[p]$ is treated as a constant: its value
# is 1, and its gradient is the gradient of $p$. This is known as the *straight-through* trick.
#
# And what if no anchor is near? As published, *some* expert answers every prompt. Our form adds a **null anchor**,
# which has a constant score $b$ and no expert. If all of a prompt's scores are below $b$, the prompt stays with the
# unedited model, to the last bit.
#
# ## The refit
#
# How is $v$ computed? LEMoE reads only the prompt's **input embeddings**. A small network takes their mean $e$
# (centered and scaled) and turns it into a vector: $v = W_\text{up}\,\text{SiLU}(W_\text{down}\,e)$. There is one
# network for all experts. How should it be trained? As we read the paper, it is trained together with the new anchor
# and the new expert, using the loss of the new facts.
#
# The library instead **refits** it (by default as well), before training each expert, to the $e$ of all stored facts.
# The new anchor starts in the middle of its batch and is fitted as well, and so is $b$. Older anchors are left
# unchanged.
#
# The refit is a classification. A row of scores is $[b, s_1, \dots, s_t]$, and applying a softmax gives probabilities
# $p$. A stored prompt belongs to its own expert, and a text that has nothing to do with any fact belongs to no
# expert, which is the first class. There are many more texts than facts, so each group has its own mean:
#
# $$L = \underset{\text{stored}}{\text{mean}}\, -\log p(\text{its own expert})
# \ +\ \underset{\text{texts}}{\text{mean}}\, -\log p(\text{nobody}) .$$
#
# **Your turn · exercise 7.4 · ★★ · 12 minutes.** Write `refit_loss`, using the scores of both groups. Then write
# `refit`, which takes Adam steps to minimize this loss, updating the network, the newest anchor and $b$. All routers
# below are fitted with it.


# %%
def scored(router, e, kappa=16.0):  # (n, 1 + t): b, then κ cos with every anchor
    down, up, keys, b = router
    v = silu(e @ down.T) @ up.T
    cosines = normalize(v, dim=1) @ normalize(keys, dim=1).T
    return torch.cat([b.expand(len(e), 1), kappa * cosines], 1)


def refit_loss(own, owner, calm):
    """own (n, 1 + t) scores of stored prompts, owner (n,), calm (m, 1 + t) of texts -> a number."""
    ...


def refit(router, e, owner, others, steps, lr):
    """router: a list of down, up, keys, b; e (n, m), owner (n,), others (k, m) -> a new router.

    The newest anchor is the last one. Anchors are unit vectors at the end.
    """
    ...


refit_loss = use("7.4", refit_loss)
refit = use("7.4", refit)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The experts are numbered from 0, and $b$ comes before their scores. In which column is expert 0? Which tensors
# require a gradient in the fit, and which anchors are constant?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def refit_loss(own, owner, calm):
#     stored = own.log_softmax(1)[torch.arange(len(own)), owner + 1]
#     nobody = calm.log_softmax(1)[:, 0]
#     return -stored.mean() - nobody.mean()
#
#
# def refit(router, e, owner, others, steps, lr):
#     old = router[2][:-1]
#     parts = [part.clone().requires_grad_() for part in (*router[:2], router[2][-1:], router[3])]
#     adam = torch.optim.Adam(parts, lr=lr)
#     for _ in range(steps):
#         down, up, key, b = parts
#         now = [down, up, torch.cat([old, key]), b]
#         loss = refit_loss(scored(now, e), owner, scored(now, others))
#         adam.zero_grad()
#         loss.backward()
#         adam.step()
#     down, up, key, b = (part.detach() for part in parts)
#     return [down, up, normalize(torch.cat([old, key]), dim=1), b]
# ```
#
# </details>


# %%
def route(keys, b, v, kappa):  # the expert that answers, −1 for none
    best, i = (kappa * normalize(v, dim=-1) @ keys.T).max(1)
    return torch.where(best > b, i, -1)


mine = torch.cat([normal(8, 12) + 3 * torch.eye(12)[t] for t in range(3)])  # three batches
owner, rest = torch.arange(24) // 8, normal(60, 12)
router = routers.start(torch.zeros(12), torch.tensor(1.0), 32, 16, kappa, kappa / 2, seed=0)
for t in range(3):
    router = routers.grow(router, mine[owner == t])
ways = {"in the middle": [router.down[0], router.up[0], router.keys, router.bias]}
for whose, f in both(refit).items():
    ways[f"fitted, {whose}"] = f(ways["in the middle"], mine, owner, rest, 200, 3e-3)
for name, (down, up, keys, b) in ways.items():
    choice, nobody = (route(keys, b, silu(e @ down.T) @ up.T, kappa) for e in (mine, rest))
    print(f"{name}: {int((choice == owner).sum())} of 24 prompts find their expert,", end=" ")
    print(f"and {int((nobody < 0).sum())} of 60 texts no expert")
library = routers.AnchorFit(steps=200, lr=3e-3, reserve=0.0)
library = routers.fit_anchors(router, mine, owner, rest, 2, library)
ours = refit(ways["in the middle"], mine, owner, rest, 200, 3e-3)
assert torch.allclose(ours[2], library.keys, atol=1e-3)

# %% [markdown]
# If an anchor starts at the mean of its batch, it finds most of its own prompts, but it also attracts many texts
# belonging to no expert. After fitting, all are where they should be, but these are the points used for the fit.
#
# ## The tower and the sheep
#
# Now we use the real model, adding experts in parallel to the MLP of one layer. The first batch contains the tower
# and three facts of the classroom. The second batch, written in a later edit, contains the sheep and three others,
# including your own fact if you have typed one. We use both gates.

# %%
lm = models.load(SCALE, sink="own")
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
typed, classroom = own_fact.read(), lib.classroom()[1::2]
facts = [case.fact for case in classroom[:6]]
one, two = [tower, *facts[:3]], [sheep, *facts[3:5], typed or facts[5]]
lemoe = partial(lib.EDITORS["lemoe"], lm, **runs_13.LEMOE)
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
    print(f"{gate} gate: the second edit has moved logits at the tower by {moved:.2g}")

# %%
asked = {
    tower.text: "the edit",
    "The Eiffel Tower stands in the city of": "rewording",
    "Tourists who want to see the Eiffel Tower travel to the city of": "rewording",
    "The Louvre is located in the city of": "neighbor",
    "The recipe for bread begins with": "unrelated",
    sheep.text: "the edit",
    "A young sheep is called a": "rewording",
    "The young of a cow is called a": "neighbor",
}
prompts, table = list(asked), []
said, base = lm.answer(prompts, 2), lm.next_token(prompts)
with lm.patched(patch):
    says, notes = lm.answer(prompts, 2, explain=True)
    edited = lm.next_token(prompts)
for i, (prompt, (note,)) in enumerate(zip(prompts, notes, strict=True)):
    assert torch.equal(base[i], edited[i]) == (note["entry"] < 0)  # no expert: unedited
    who = f"expert {note['entry'] + 1}" if note["entry"] >= 0 else "nobody"
    row = {"group": asked[prompt], "prompt": prompt, "before": said[i].strip()}
    table.append(row | {"after": says[i].strip(), "answered by": who})
show.Table(table)

# %% [markdown]
# Using the hard gate, the second edit has not changed a logit at the tower. Using the softmax, it has, although with
# two experts by very little. The rewording with almost the same words follows, while the rewording about tourists
# finds no expert. "The young of a cow" has all words but one in common with the sheep's prompt, and is called a
# puppy.
#
# With two anchors, we can draw the whole router. Every prompt is a point whose coordinates are its two scores, and
# the dashed lines show where the decision changes. **Move $b$**, the score that a prompt has to exceed: the slider
# starts at the value chosen by the fit.


# %%
def read(router, texts):  # the router's input, e (n, d)
    return router.pooled(text_means(lm, texts))


near = [lib.classroom()[0], *classroom[:6]]
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
notes = dict(zip(("tourists", "the Louvre", "a cow"), points.pop("notes"), strict=True))


def regions(b):
    return drawings_13.regions(points, b, ("the tower", "the sheep"), notes)


fitted = round(newer.router.bias.item(), 1)
Slider(regions, "b", sorted({*range(-8, 15, 2), fitted}), fitted)

# %% [markdown]
# All unrelated prompts are in the region in which no expert answers. There are rewordings and neighbors in every
# region, and **no $b$ lets rewordings in while keeping neighbors out**.
#
# ## A router that forgets
#
# Now we train the network on the same two batches, the way we read the paper: together with each expert, using the
# loss of its facts and a softmax gate. The first batch's anchor is frozen, and the facts' embeddings cannot change.
# But the network between the two is trained further on the second batch, and nothing in its loss mentions the first.
#
# The first expert is also frozen: everything it has learned is still there. So afterwards we take this router and fit
# it using your `refit`, to all eight facts and to the texts that belong to no expert. **We leave every expert
# unchanged.**
#
# **Predict.** How many of the first four facts does the model give after the second edit? And after the refit?
#
# <details><summary>Answer</summary>
#
# After refitting, all four, if each prompt finds its own expert again. The experts themselves haven't changed.
#
# </details>

# %%
lost = guess("How many of the first four facts does the model give after the second edit?", 0, 4)

# %%
published = lemoe(routing="paper", gate="softmax")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", lib.errors.EditWarning)  # it warns that facts are misrouted
    first = published.edit(one)
    second = published.edit(two, after=first)


def behind(patch, refit):  # the same experts, with a router fitted to all stored prompts
    ((place, old),), state = patch.routes.items(), patch.memory["lemoe"]
    router, calm = old.router, read(old.router, irrelevant())
    b = torch.tensor(kappa / 2) if router.bias is None else router.bias
    start = [router.down[0], router.up[0], router.keys, b]
    down, up, keys, b = refit(start, state["e"], state["owner"], calm, 300, 3e-3)
    router = replace(router, down=down[None], up=up[None], keys=keys, bias=b)
    return replace(patch, routes={**patch.routes, place: replace(old, router=router)})


# %%
stages = {"first edit": first, "second edit": second}
for f in both(refit).values():
    stages["refit" + ", yours" * (len(stages) > 2)] = behind(second, f)
(last,) = second.routes.values()
e, paths = read(last.router, [fact.text for fact in one]), {}
for name, some in stages.items():
    with lm.patched(some):
        says = lm.answer([fact.text for fact in [*one, *two]], 2)
    right = [s.strip().startswith(f.target_new) for s, f in zip(says, [*one, *two], strict=True)]
    said = f"{sum(right[:4])} of the first four" + f", {sum(right[4:])} of the others" * bool(paths)
    print(f"after the {name}: {said}")
    if name == "second edit":
        lost.against(sum(right[:4]))
    (there,) = some.routes.values()
    new = replace(there.router, keys=last.router.keys, bias=there.router.bias)
    paths[name] = new.scores(e)[:, 1:].tolist()
drawings_13.turned(paths)

# %% [markdown]
# **The experts are intact, and the path to them was lost.** The second batch taught the network vectors suiting the
# second batch, turning the vectors of the first away from their own anchor, three toward the newer anchor, where the
# lines rise. The newer expert never saw their answers. The refit turns them back. This is an example, and the facts are
# the same as in the fit.
#
# ## Frozen, retrained, or misrouted
#
# Now we write three streams of 33 facts, with no fact in common, in five batches each
# ([measured](../tests/benchmarks/results/five_papers.md)), testing all facts so far after each batch. Each column is
# the time after a batch, and each row is a fact. The three editors use the paper's form, with a softmax gate,
# differing in one respect:
#
# * **As we read the paper**: the network and the newest anchor are trained with the expert, with nothing else holding
#   them.
# * **Anchors fitted**: the library's default, in which the router is refitted to all stored prompts, as in your
#   `refit`.
# * **Two experts in turn**: no experts are added. Two experts are retrained again and again, using the fitted router.
#
# **Predict.** Which of them loses facts one by one, and which loses them batch by batch?
#
# <details><summary>Answer</summary>
#
# A router that forgets loses a batch as a whole. An expert that is retrained loses some facts of each.
#
# </details>

# %%
rows, raster = long_runs.paper("lemoe_parts")["rows"], {}
read_so, fitted, in_turn = "as we read the paper", "anchors fitted", "two experts in turn"
for line in (read_so, fitted, in_turn):
    whole, none, own = 0, 0, []
    for row in (row for row in rows if row["arm"] == line):
        held = ["".join(f"{x == 1:d}" for x in after) for after in row["held"]]
        raster[f"{line}, stream {row['stream'] + 1}"] = held
        starts = [sum(map(len, row["batches"][:i])) for i in range(len(row["batches"]))]
        older = [held[-1][a:b] for a, b in zip(starts, starts[1:], strict=False)]
        whole, none = (
            whole + sum("0" not in x for x in older),
            none + sum("1" not in x for x in older),
        )
        own.append(100 * mean(row["routed"][-1][: starts[-1]]))
    print(f"{line}: of 12 older batches {whole} are held whole and {none} lost whole;", end=" ")
    print(f"{mean(own):.0f} % of their prompts find their own expert")
figures.rasters(
    [1, 2, 3, 4, 5], raster, "batches written", "fact, in the order of writing", columns=3
)

# %% [markdown]
# If the anchors are fitted, every batch is held. **As we read the paper, every earlier prompt goes to the newest
# expert**, and an older batch keeps only a few facts, which that expert happens to give. So facts that are lost
# together are a single event, and the intervals below count streams. When two experts are trained in turn, they find
# every prompt and mostly forget fact by fact.
#
# The paper holds most of a thousand facts, leaving open how its router is trained. So our result says nothing about
# its router, only what happens if nothing in the training remembers old prompts.
#
# ## Which part counts?
#
# Another line shows the effect of removing another part: with **no null anchor**, some expert answers every prompt.
#
# **Predict.** Which parts help to hold facts, and how many neighbors do they cost?
#
# <details><summary>Answer</summary>
#
# The refit helps to hold facts, and it may have a price, if a router that finds its facts also lets their neighbors in.
# The null anchor protects unrelated prompts.
#
# </details>

# %%
keys = "reliability", "generalization", "neighbors", "locality"
columns = dict(zip(keys, ("facts", "rewordings", "neighbors", "unrelated"), strict=True))


def means(line, key):  # for each stream, in %
    return [100 * mean(row["said"][key]) for row in rows if row["arm"] == line]


def less(line, other, key):
    gaps = [a - b for a, b in zip(means(line, key), means(other, key), strict=True)]
    middle, low, high = by_stream(gaps)
    gap = f"{middle:+.0f} [{low:+.0f}, {high:+.0f}] points, detects {detects(gaps):.0f}"
    print(f"{columns[key]}, {line} less {other}: {gap if high > low else 'no difference'}")


for key in keys:
    less("no null anchor", fitted, key)
less(read_so, fitted, "neighbors")
for line in (read_so, fitted, "no null anchor", in_turn):
    gone = 100 - 100 * sum(means(line, "neighbors")) / sum(means("unedited", "neighbors"))
    print(f"{line}: {gone:.0f} % of the neighbors that the unedited model has are lost")
ours = [row for row in long_runs.rows("13_streams") if "reworded" in row]
for what, line in (("with", "LEMoE"), ("without", "no refit")):
    kept = [f"{100 * mean(row['neighbors']):.0f}" for row in ours if row["line"] == line]
    print(
        f"our form, sixteen facts, {what} the refit: {', '.join(kept)} % of the neighbors are kept"
    )

# %%
lines = ["unedited", fitted, "no null anchor", read_so, in_turn]
found = {f"{name} (%)": {line: means(line, key) for line in lines} for key, name in columns.items()}
found.pop("facts (%)")  # the last columns above have them
made = figures.dots(found, [f"stream {i + 1}" for i in range(runs_13.STREAMS)], joined=False)
for ax in made.axes:
    ax.set_ylim(-4, 104)
made

# %% [markdown]
# **The null anchor protects unrelated prompts and some neighbors.** Without it just as many facts are held. In each
# stream more rewordings follow without it, but the interval contains 0.
#
# **The refit may have a price.** In two of three streams, the router that forgets preserves *more* neighbors, here as
# well as in our form, but only a difference of 30 points would have been detected. Every form loses more than a third of
# the unedited model's neighbors, likely for the same reason as the cow: a neighbor's prompt has most words in common
# with the edit's prompt, giving almost the same mean.
#
# ## Plan the batches
#
# The facts of a batch get the same expert and anchor. So, before training anything, LEMoE deals similar facts into
# the same batch, comparing the mean embeddings of their prompts, which are the router's input. (Answers could not be
# used: when the editor is used, the answer isn't there.) It is a clustering in which each cluster has room for $b$
# facts.
#
# **Your turn · exercise 7.5 · ★★ · 15 minutes.** Write `plan`. The first center is the fact nearest to the mean of
# all facts, and each further center is the fact farthest from its nearest center. Then repeat ten rounds: sort all
# distances between facts and centers, deal out the shortest first while there is room, and move each center to the
# mean of its facts. Then write `tight`, the mean cosine of two different facts in the same batch, and of two facts in
# different batches.


# %%
def plan(e, size):
    """e (n, d), one fact per row -> a list of batches, each a list of at most `size` numbers."""
    ...


def tight(e, batches):
    """-> the mean cosine of pairs within a batch, and of pairs in different batches."""
    ...


plan = use("7.5", plan)
tight = use("7.5", tight)
eight = read(newer.router, [fact.text for fact in [*one, *two]])


def cost(batches):  # squared distances to the means of the batches
    return sum((eight[b] - eight[b].mean(0)).square().sum().item() for b in batches)


every = [[[0, *x], sorted({*range(8)} - {0, *x})] for x in combinations(range(1, 8), 3)]
assert sorted(map(sorted, plan(eight, 4))) == sorted(cluster_facts(eight, 4))  # the library's
print(
    f"two batches of this plan cost {cost(plan(eight, 4)) / min(map(cost, every)):.2f} times the best of all 35 plans"
)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which values does `torch.cdist(e, centers).flatten().argsort()` list, and how can you use `divmod` to read them?
# Which entries of a mask `owner[:, None] == owner` are not pairs?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def plan(e, size):
#     chosen = [int((e - e.mean(0)).norm(dim=1).argmin())]
#     while len(chosen) < -(-len(e) // size):
#         chosen.append(int(torch.cdist(e, e[chosen]).min(1).values.argmax()))
#     centers = e[chosen]
#     for _ in range(10):
#         batches = [[] for _ in centers]
#         left = set(range(len(e)))
#         for flat in torch.cdist(e, centers).flatten().argsort(stable=True).tolist():
#             i, c = divmod(flat, len(centers))
#             if i in left and len(batches[c]) < size:
#                 batches[c].append(i)
#                 left.remove(i)
#         means = [e[b].mean(0) if b else m for b, m in zip(batches, centers, strict=True)]
#         centers = torch.stack(means)
#     return [sorted(batch) for batch in batches if batch]
#
#
# def tight(e, batches):
#     unit, owner = normalize(e, dim=1), torch.zeros(len(e), dtype=torch.long)
#     for number, batch in enumerate(batches):
#         owner[batch] = number
#     cosines, same = unit @ unit.T, owner[:, None] == owner
#     pairs = ~torch.eye(len(e), dtype=torch.bool)
#     return cosines[same & pairs].mean(), cosines[~same].mean()
# ```
#
# </details>
#
# The paper reports up to 20 points for ordering facts this way. The stored rows contain three plans for the same 33
# facts: in clusters, made by `plan`, as given, and shuffled.
#
# **Predict.** Which of the plans loses facts, and which loses neighbors?
#
# <details><summary>Answer</summary>
#
# None of them loses a fact, and we see no difference in neighbors.
#
# </details>

# %%
gained = guess("Facts held in clusters less facts held when shuffled, in points?", -100, 100)

# %%
table, plans = [], {"in clusters": fitted, "as given": "order given", "shuffled": "facts shuffled"}
for name, line in plans.items():
    row = {"plan": name, "cosine within": [], "between": []}
    for done in (row for row in rows if row["arm"] == line):
        facts = [case.fact.text for case in streams(33)[done["stream"]]]
        e, batches = text_means(lm, facts) - general_mean(lm), done["batches"]
        if line == fitted and SCALE == "small":  # the rows have your plan
            assert sorted(map(sorted, plan(e, 7))) == sorted(batches)
        for key, x in zip(("cosine within", "between"), tight(e, batches), strict=True):
            row[key].append(float(x))
    row |= {key: mean(row[key]) for key in ("cosine within", "between")}
    table.append(row | {f"{said} (%)": mean(means(line, key)) for key, said in columns.items()})
shuffled = plans["shuffled"]
gained.against(mean(means(fitted, "reliability")) - mean(means(shuffled, "reliability")))
less(fitted, shuffled, "neighbors")
show.Table(table)

# %% [markdown]
# The plan does its job: facts in the same batch are more similar than others, while in the other plans they are not.
# **But facts are at the ceiling**: a fitted router finds every one in any order, so the paper's 20 points could not
# appear. In neighbors we see no effect, and would have detected 23 points.
#
# ## Experts and your router, in your own file
#
# The library trains an expert for each batch of your `plan`, in the published way, and your `refit` finds the path to
# all of them. The cell below saves this editor in `my/lemoe.py` and compares it with the library's.


# %%
def edit(lm, facts, after):
    """LEMoE: `after` with an expert for each batch of facts, chosen by my own router."""
    settings = {"batch_size": 4, "steps": 20, "templates": ("{}",), "routing": "paper"}
    editor, patch = lib.EDITORS["lemoe"](lm, preset="ours", **settings), after  # its gate is hard
    with warnings.catch_warnings():  # the router is fitted below
        warnings.simplefilter("ignore", lib.errors.EditWarning)
        for batch in plan(text_means(lm, [fact.text for fact in facts]), 4):
            patch = editor.edit([facts[i] for i in batch], after=patch, check=False)
    ((place, old),), state = patch.routes.items(), patch.memory["lemoe"]
    router, calm = old.router, old.router.pooled(text_means(lm, irrelevant()))
    b = torch.tensor(8.0) if router.bias is None else router.bias
    start = [router.down[0], router.up[0], router.keys, b]
    down, up, keys, b = refit(start, state["e"], state["owner"], calm, 300, 3e-3)
    router = replace(router, down=down[None], up=up[None], keys=keys, bias=b)
    return replace(patch, routes={**patch.routes, place: replace(old, router=router)})


# %%
hand_ins.Editor("lemoe.py").grow(scored, refit_loss, refit, plan, edit)
said, eight = lm.answer(texts["unrelated"], 2), [*one, *two]
done = {who for f in (refit_loss, refit, plan) for who in both(f)} == {"yours"}
file = "your file" if done else "the solution's file"
for name, some in {file: edit(lm, eight, lib.EMPTY), "the library": patch}.items():
    with lm.patched(some):
        says = lm.answer([fact.text for fact in eight], 2)
        kept = [a == b for a, b in zip(lm.answer(texts["unrelated"], 2), said, strict=True)]
    right = [s.strip().startswith(f.target_new) for s, f in zip(says, eight, strict=True)]
    print(f"{name}: {sum(right)} of 8 facts are given,", end=" ")
    print(f"{sum(kept)} of {len(kept)} unrelated answers are unchanged")
    if SCALE == "small" and not models.another():
        assert all(right[:4]), says  # the last facts may be yours

# %% [markdown]
# After fitting, the library raises $b$ a little, because other texts vary more than the texts used in the fit. The
# file doesn't. `python -m lessons.leaderboard my/lemoe.py` tests it on facts that you haven't seen.
#
# ## What we know now
#
# * A frozen expert keeps its facts as long as their prompts are sent to it. Adding an expert turns it down if a
#   softmax is used, but not with a hard gate.
# * The path can be lost: when a common network learns only from new facts, it sends old prompts to other experts,
#   losing a batch as a whole.
# * Fitting a router to everything stored so far sends them back, without changing any expert.
# * If the null anchor wins, the model's answer is unchanged, to the last bit. This protects unrelated prompts.
# * Whether a router that forgets preserves more neighbors is not shown.
# * Grouping similar facts makes tight batches. With a fitted router, which finds every fact, nothing was left to gain.
#
# ## Where it breaks
#
# **Predict.** Every batch adds a copy of the layer's MLP. After how many batches are the experts as large as the whole
# model?

# %%
batches = guess("After how many batches are the experts as large as the model?", 1, 1000)

# %%
expert = sum(part.numel() for part in newer.experts[0].values()) / 1e6
whole, counts = sum(part.numel() for part in lm.model.parameters()) / 1e6, range(0, 101, 5)
print(f"an expert has {expert:.2f} million weights, the model {whole:.1f}")
batches.against(-(-whole // expert))
lines = {"experts": [t * expert for t in counts], "the model": [whole] * len(counts)}
plot.lines(list(counts), lines, "batches", "weights (millions)")

# %% [markdown]
# The experts soon outgrow the model. **Which of all these editors should I use?** To answer this, we have to run all of
# them on the same stream, in [notebook 14](14_lifelong.ipynb).
#
# ## References
#
# * Wang, Li: *LEMoE: Advanced Mixture of Experts Adaptor for Lifelong Model Editing of Large Language
#   Models*, 2024, [arXiv:2406.20030](https://arxiv.org/abs/2406.20030).
# * Wang, Li: *MEMoE: Enhancing Model Editing with Mixture of Experts Adaptors*, 2024,
#   [arXiv:2405.19086](https://arxiv.org/abs/2405.19086).
