# %% [markdown]
# <!-- badge -->
#
# # 11 · GRACE: leave the weights alone
#
# Every editor so far wrote into the weights, where a new fact can disturb older ones. What if nothing is
# written there, and corrections are kept in a list beside the model, which is looked up whenever a prompt
# comes?
#
# **You will** write the rule that says who answers a prompt, and the rules by which a fact enters the list ·
# replace one activation instead of changing a matrix · see a model that is equal to the last bit wherever the
# list is silent · measure how far a rewording lies from its fact, and what every radius costs · make the list
# forget.
#
# **Needs** [notebook 01](01_linear_memory.ipynb) for keys, [notebook 04](04_rome.ipynb) for values.
#
# **Minutes** 25 to read and 20 to work: exercise 7.2 of [session 7](../lessons/session_7.md), in two
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
from itertools import product

import pandas as pd
import torch
from torch.nn.functional import normalize

import lib
from lib.editors.grace import codebook
from lib.evaluation.intervals import DIFFERENCE, interval
from lib.workbench import plot, widgets
from notebooks.support import drawings_11, models, score_tables, show
from notebooks.support import runs_11_grace as runs_11
from notebooks.support.holes import guess, use

draw = torch.Generator().manual_seed(0)

# %% [markdown]
# ## A list of corrections
#
# The list is called a **codebook**, and it stands beside one module of one layer. An entry has three
# parts. Its **key** $k$ is what the module read at the last token of the fact's prompt. Its **value**
# $v$ is what the module should put out there instead. Its **radius** $\varepsilon$ says how near
# another prompt has to come for the entry to answer it as well. Entries are balls around their keys.
# When a prompt comes, only the *nearest* key has a say, and it answers only inside its own ball:

# %%
drawings_11.nearest()

# %% [markdown]
# In a formula: the prompt brings its own input $q$ of the module, and out comes
#
# $$i = \arg\min_j \|k_j - q\|, \qquad
# \text{output} = \begin{cases} v_i & \text{if } \|k_i - q\| \le \varepsilon_i \\
# W q & \text{otherwise: the model's own.} \end{cases}$$
#
# First the nearest key is found, and *then* its own radius is asked. That is not the same as "any
# ball that holds $q$".
#
# **Predict.** Keys on a line, at 0 with radius 3 and at 4 with radius 0.5. Who answers at 2.8?
#
# <details><summary>Work it out</summary>
#
# The nearest key is the one at 4, at a distance of 1.2, and its ball begins at 3.5. So nobody
# answers, and the model itself does, though the large ball of the other key reaches 2.8. This is
# the case of the drawing.
#
# </details>
#
# **Your turn · exercise 7.2, first part · ★★ · 5 minutes.** Write `lookup`: the answer of the entry that
# has the say, or None where the model itself answers. Four lines; an empty codebook never answers.


# %%
def lookup(K, eps, labels, q):
    """K (d, n) keys as columns, eps (n,), labels: n strings, q (d,) -> a string, or None."""
    ...


lookup = use("7.2", lookup)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many radii have to be looked at, once the nearest key is known?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def lookup(K, eps, labels, q):
#     if not labels:
#         return None
#     d, i = (K - q[:, None]).norm(dim=0).min(0)
#     return labels[int(i)] if d <= eps[i] else None
# ```
#
# </details>
#
# The two keys on the line, and then forty at random, where the library's fast form has to say the same.
# It asks for all prompts at once, by one matrix product, since
# $\|k - q\|^2 = \|k\|^2 - 2\,k^\top q + \|q\|^2$.

# %%
K, eps, labels = torch.tensor([[0.0, 4.0]]), torch.tensor([3.0, 0.5]), ["A", "B"]
for at in (2.8, 1.9, 4.2):
    print(f"at {at}:", lookup(K, eps, labels, torch.tensor([at])) or "the model itself")

K, labels = torch.randn(6, 40, generator=draw), [*map(str, range(40))]
eps = 2 * torch.randn(40, generator=draw).abs()
queries = torch.randn(200, 6, generator=draw)
entries = codebook.lookup(K, eps, queries).entry.tolist()  # -1: nobody answers
fast = [labels[i] if i >= 0 else None for i in entries]
assert [lookup(K, eps, labels, q) for q in queries] == fast

# %% [markdown]
# ## Three rules
#
# How does a new fact get into the codebook? It brings its key $q$ and its answer $y$. What happens
# depends on two questions: whether a ball of radius $\varepsilon_\text{init}$ around $q$ would touch
# the ball of the nearest key, and whether the nearest entry has the same answer. The drawing shows
# the three cases; dashed is what was before.

# %%
drawings_11.rules()

# %% [markdown]
# With $d$, the distance of $q$ to the nearest key $i$, the published rules are:
#
# * **add**, if $d > \varepsilon_i + \varepsilon_\text{init}$, so that the balls do not touch: a new
#   entry with the radius $\varepsilon_\text{init}$.
# * **expand**, if they touch and entry $i$ has the same answer: $\varepsilon_i \leftarrow
#   \max(\varepsilon_i, d)$. There is no new entry.
# * **split**, if they touch and the answers differ: a new entry with $\varepsilon = d/2$, and
#   $\varepsilon_i \leftarrow d/2$, less a gap of $10^{-5}$.
#
# **Predict.** A split should part two balls. Earlier splits have left entry $i$ with
# $\varepsilon_i = 0.15$, and a fact with another answer comes at $d = 1.1$, with
# $\varepsilon_\text{init} = 1$. What is $\varepsilon_i$ after it?
#
# <details><summary>Work it out</summary>
#
# They touch, since 1.1 is not above 0.15 + 1. So entry $i$ gets 0.55: it has *grown* to nearly four
# times its radius, over ground that an earlier split had given to somebody else.
#
# </details>
#
# So the library repairs two things, and so do you. A split never makes a ball larger. And where $d = 0$, the
# same prompt with another answer, the newest fact takes the place of the old one. (The gap plays no part below,
# and yours may leave it out.)
#
# **Your turn · exercise 7.2, second part · ★★ · 10 minutes.** Write `write`: the codebook after one fact
# more. About ten lines. Every codebook whose radius is varied below is made by your `write`.


# %%
def write(K, eps, labels, q, label, eps_init):
    """lookup's K, eps and labels, q (d,) and its answer -> [K, eps, labels], a new entry last."""
    ...


write = use("7.2", write)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which entry can a new fact change, and in which of the cases does it bring a key of its own? In each
# case write down the two radii before you write code.
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def write(K, eps, labels, q, label, eps_init):
#     eps, labels, radius = eps.clone(), list(labels), eps_init
#     if labels:
#         d, i = (K - q[:, None]).norm(dim=0).min(0)
#         if d <= eps[i] + eps_init:
#             if labels[int(i)] == label or d == 0:
#                 labels[int(i)] = label
#                 eps[i] = torch.maximum(eps[i], d)
#                 return [K, eps, labels]
#             radius = min(eps_init, d.item() / 2)
#             eps[i] = torch.minimum(eps[i], d / 2)
#     K = torch.cat([K, q[:, None]], 1)
#     return [K, torch.cat([eps, torch.tensor([radius], dtype=eps.dtype)]), labels + [label]]
# ```
#
# </details>
#
# **Predict.** On a line, $\varepsilon_\text{init} = 1$. The facts come in this order: 0.0 is A, 0.8 is
# A, 1.5 is A, 2.0 is B. What does the codebook then say at 1.5, which it was taught?
#
# <details><summary>Work it out</summary>
#
# 0.8 is covered already, and 1.5 makes the ball grow to 1.5. Then 2.0 is within 1.5 + 1 of another
# answer, so both get half of the distance, 1. Now 1.5 is closer to 2.0 than to 0.0, and inside
# its ball: it says B.
#
# </details>

# %%
book = torch.zeros(1, 0), torch.zeros(0), []
stream = [(0.0, "A"), (0.8, "A"), (1.5, "A"), (2.0, "B"), (5.0, "B")]
for at, label in stream:
    book = write(*book, torch.tensor([at]), label, 1.0)
    balls = [f"{k:g} ± {r:g} {y}" for k, r, y in zip(*book[0].tolist(), *book[1:], strict=True)]
    print(f"{at} {label} → {', '.join(balls)}")
print("at 1.5:", lookup(*book, torch.tensor([1.5])))

# %% [markdown]
# At 1.5 it says B: a split takes ground from what was taught before.
#
# The rules ask for "the same answer". In this library that means the same tokens. The public code of
# GRACE compares the *means* of label tensors instead, in which the positions of the prompt hold −100. So
# the same answer counts as two where the prompts differ in length, and two answers with the same tokens
# in another order count as one.
#
# ## The Eiffel Tower, without a weight
#
# Now a real model. The value is found as in ROME: gradient descent on $v$ until the layers above say
# "Rome". The module is the output matrix of the MLP in the layer that the next cell prints, far up,
# so only a few layers have to be run in the search. We write two facts.

# %%
lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
editor = lib.EDITORS["grace"](lm)
patch = editor.edit([sheep], after=editor.edit([tower]))
((module, route),) = patch.routes.items()
size = 4 * sum(len(side) for side in (route.K, route.V))
print(f"{module}, of {lm.n_layers} layers: {len(route.eps)} entries, {size} bytes each")

# %% [markdown]
# First we check the keys: the first one is what the module reads at the last token of the tower's
# prompt. Then we do the edit by hand. A hook writes $v$ over the module's output at the last token,
# and the model has to say the same as with the patch. For a prompt far away the patched model has to
# give the very numbers of the base model, not close ones but equal ones.
#
# Whoever asks for an answer may also ask why it was given: `explain=True` returns the entry, the distance
# and the radius. Entry 0 in the table is the model itself.

# %%
own = lm.run([tower.text], [module]).seen[module][0][0, -1]  # what it reads at the last token
models.same(lm, own.cpu(), route.K[:, 0])


def put(_, inputs, output):  # the obvious way: write v over the output at the last token
    output = output.clone()
    output[0, -1] = route.V[:, 0]
    return output


hook = lm.model.get_submodule(module).register_forward_hook(put)
by_hand = lm.next_token(tower.text)
hook.remove()
far = "The recipe for bread begins with"
base = lm.next_token(far)
with lm.patched(patch):
    assert torch.allclose(lm.next_token(tower.text), by_hand, atol=1e-3)
    assert torch.equal(lm.next_token(far), base)  # not close: equal

# %%
tourists = "Tourists who want to see the Eiffel Tower travel to the city of"
asked = {
    tower.text: "the edit",
    "The Eiffel Tower stands in the city of": "rewording",
    "In which city would you find the Eiffel Tower? It is in the city of": "rewording",
    tourists: "rewording",
    "The Louvre is located in the city of": "neighbor",
    "The Colosseum is located in the city of": "neighbor",
    far: "unrelated",
    sheep.text: "the other edit",
    "A young sheep is called a": "rewording",
}
before = lm.answer(list(asked), 3)
with lm.patched(patch):
    answers, notes = lm.answer(list(asked), 3, explain=True)
rows = []
said = zip(asked.items(), before, answers, notes, strict=True)
for (prompt, group), was, answer, (note,) in said:
    row = {"group": group, "prompt": prompt, "before": was, "after": answer}
    row |= {"entry": note["entry"] + 1, "distance": f"{note['score']:.1f}"}
    rows.append(row | {"radius": f"{note['threshold']:.1f}"})
show.Table(rows)

# %% [markdown]
# Both edits hold, and neighbors are not touched. But every rewording is missed: the nearest lies at
# 7.8, and the radius is 4. So take a larger radius. Which one?
#
# ## Three distances
#
# A radius works if rewordings are closer to their fact than anything else is. So we ask the odd facts of
# the classroom for three distances: from a rewording to its own edit, from an edit to the nearest
# other edit, and from an unrelated prompt to the nearest edit. `runs_11.read` collects the keys of
# all these prompts at the module, which are rows here.
#
# **Predict.** All three are distances between keys with as many numbers as the module reads. Can a radius
# separate the histograms?
#
# <details><summary>Answer</summary>
#
# Unrelated prompts stand a little apart. Rewordings and other edits lie on top of each other.
#
# </details>

# %%
cases = lib.classroom()[1::2][: 8 if SCALE == "tiny" else None]
keys = runs_11.read(lm, cases, module)
between = torch.cdist(keys.edits, keys.edits).fill_diagonal_(torch.inf)
to_edits = {group: torch.cdist(some, keys.edits) for group, some in keys.others.items()}
length = keys.edits.norm(dim=1).median()
print(f"{len(cases)} edits; a key has {keys.edits.shape[1]} numbers and a length of {length:.1f}")
nearest = to_edits["rewording"].argmin(1)
print("rewordings whose nearest edit is their own:", runs_11.share(nearest == keys.owner))
for n in (4, 8) if SCALE == "tiny" else (10, 30, len(cases)):
    some = [torch.randperm(len(cases), generator=draw)[:n] for _ in range(50)]
    medians = [between[i][:, i].min(1).values.median() for i in some]
    print(f"{n} edits stored: the nearest other one is {sum(medians) / 50:.1f} away, median")
groups = {
    "rewording to its own edit": (keys.others["rewording"] - keys.edits[keys.owner]).norm(dim=1),
    "edit to the nearest other": between.min(1).values,
    "unrelated to the nearest edit": to_edits["unrelated"].min(1).values,
}
print("medians:", ", ".join(f"{name} {d.median():.1f}" for name, d in groups.items()))
colors = dict(zip(groups, (plot.CYCLE[2], plot.EDITED, plot.UNRELATED), strict=True))
marks = {"radius of the preset": editor.config.eps_init}
plot.histogram(groups, "distance of two keys", bins=25, marks=marks, colors=colors)

# %% [markdown]
# A rewording is 16.7 from its fact, and an edit 18.8 from the nearest other one (medians). But the
# histograms lie on top of each other, and no radius separates them. A key is what one layer reads at the
# *last token*, and other words in front of it change it about as much as going over to the nearest of a
# hundred other facts. And yet for 71 % of the rewordings the nearest of all 101 edits is their own. So
# the keys often tell *which* fact is meant. Their distance is a poor sign of *whether* one is meant:
# unrelated prompts stand only a little further away, and other edits even less so.
#
# The two histograms are not of one kind. A rewording has one distance, that to its own fact. An edit has a
# hundred distances to others, and we took the smallest. So the orange histogram moves to the left as more
# edits are stored, and each ball has less room: the printed lines show it for random choices of the edits.
#
# ## Any radius?
#
# Now move the radius from 0 to 40. Full lines: one radius for all entries, and the nearest key
# decides. Dashed lines: your `write`, with that radius as $\varepsilon_\text{init}$. Values play no
# part here, since who answers depends on keys, labels and radii alone. All groups are counted alike: a
# prompt counts as soon as any entry answers it. The dotted line counts the rewordings that get the
# answer of their own fact.
#
# **Predict.** $\varepsilon_\text{init}$ may be as large as you like. To what share of the rewordings can
# GRACE give the answer of their own fact, at best?
#
# <details><summary>Answer</summary>
#
# About one in seven, at the best of the radii that we try on these prompts. However large a ball begins, it is
# cut to half of the distance once a fact with another answer has it as its nearest, and few rewordings lie so
# near.
#
# </details>

# %%
at_best = guess("How many rewordings get their own answer from GRACE at best, in %?", 0, 100)
targets = [case.fact.target_new for case in cases]
of_neighbors = torch.tensor([i for i, case in enumerate(cases) for _ in case.neighborhood])
owners = {"rewording": keys.owner, "neighbor": of_neighbors}  # (m,), to which fact each belongs
facts = torch.arange(len(cases))[:, None]  # by_fact: (facts, m), the mean over a fact's prompts
by_fact = {group: normalize((of == facts).double(), p=1) for group, of in owners.items()}


def written(eps_init):  # all edits, one after another: K, eps and labels
    book = keys.edits.T[:, :0], torch.zeros(0), []
    for key, label in zip(keys.edits, targets, strict=True):
        book = write(*book, key, label, eps_init)
    return book


def given(book, queries):  # the answers that a codebook gives to queries (m, d)
    entries = codebook.lookup(*book[:2], queries).entry.tolist()
    return [book[2][i] if i >= 0 else None for i in entries]


def reached(book):  # by group, whether each prompt is answered by any entry; and rightly so
    found = {group: given(book, some) for group, some in keys.others.items()}
    hits = {group: [label is not None for label in some] for group, some in found.items()}
    owned = zip(found["rewording"], keys.owner.tolist(), strict=True)
    return hits | {"own answer": [label == targets[i] for label, i in owned]}


# %%
radii, shares = range(0, 41, 2), {}
one_ball = torch.ones(len(cases))
for radius in radii:
    ways = {"one radius": (keys.edits.T, radius * one_ball, targets), "splits": written(radius)}
    for way, book in ways.items():
        for group, hits in reached(book).items():
            shares.setdefault(f"{group}, {way}", []).append(100 * sum(hits) / len(hits))
library = codebook.Codebook.empty(keys.edits.shape[1], 1)  # its rules are the same
library.write(keys.edits, targets, torch.zeros(len(cases), 1), range(len(cases)), eps_init=radius)
assert library.labels == book[2] and torch.allclose(library.eps, book[1], atol=1e-3)
at_best.against(max(shares["own answer, splits"]))
hidden = "unrelated, splits", "own answer, splits"  # 0 at every radius; close to the rewordings
names = [name for name in shares if name not in hidden]
print("at 40:", ", ".join(f"{name} {shares[name][-1]:.0f} %" for name in names))
kinds = {"rewording": plot.CYCLE[2], "neighbor": plot.NEIGHBOR, "unrelated": plot.UNRELATED}
colors = {name: kinds.get(name.split(",")[0], plot.CYCLE[2]) for name in names}
dashes = {name: "--" for name in names if "splits" in name} | {"own answer, one radius": ":"}
axes = "radius", "prompts that the codebook answers (%)"
plot.lines(radii, {n: shares[n] for n in names}, *axes, colors=colors, dashes=dashes, ylim=(0, 104))


# %%
def points(mean, ends):
    return "{:+.0f} ({:+.0f} to {:+.0f})".format(*(100 * x for x in (mean, *ends)))


def apart(hits):  # the share of rewordings less that of neighbors, fact by fact
    own, near = (by_fact[group] @ torch.tensor(hits[group]).double() for group in owners)
    return points((own - near).mean(), interval(own - near, DIFFERENCE))


def drawn(values):  # (1 + 1000,): that of all, and the middle 95 % of the draws
    return points(values[0], values[1:].quantile(values.new_tensor([0.025, 0.975])))


books = {"16 for all": (keys.edits.T, 16 * one_ball, targets)}
books |= {f"{radius}, with splits": written(radius) for radius in (4, 8, 16, 100)}
rows = []
for radius, book in books.items():
    row = {"radius": radius, "median radius": f"{book[1].median():.1f}"}
    held = [lookup(*book, key) == label for key, label in zip(keys.edits, targets, strict=True)]
    hits = {"edit": held} | reached(book)
    row |= {group: runs_11.share(some) for group, some in hits.items()}
    rows.append(row | {"rewordings less neighbors (points)": apart(hits)})
show.Table(rows)

# %% [markdown]
# The first row of the table has one radius for all, the others have splits. Behind the counts stand 95 %
# intervals that take every prompt by itself. The last column is paired, fact by fact: the share of a fact's
# rewordings that are answered, less that of its neighbors, and the mean over the facts with its interval.
#
# With one radius of 16 for all, the codebook answers 59 % of the rewordings (43 % with the answer of their own
# fact) and 46 % of the neighbors. The difference is 13 points (4 to 21): rewordings come in somewhat more often
# than neighbors, but together with them. With one radius of 40 everything is answered, and 72 % of the
# rewordings get their own answer. GRACE's rules keep most of both groups out: with 16 they answer 15 % of the
# rewordings and 3 % of the neighbors, a difference of 13 points (7 to 19).
#
# The median radius is 9.4 whether the balls began with 16 or with 100, since most of them have been cut. With
# small radii every edit answers its own prompt. With large ones one of 101 is lost to a later fact.
#
# Two numbers decide about a prompt: its distance to the nearest key, and that key's radius. With
# these two the scope of a codebook can be drawn as it is, without a projection that would bend it. Every
# point is a prompt, and full ones are answered. In a running notebook a slider moves the radius at
# which all balls begin, here 16.

# %%
widgets.RadiusExplorer(*keys, radius=16.0, limit=40.0)

# %% [markdown]
# The clouds of rewordings and neighbors overlap, and the line cuts off their corner: 36 of 236 rewordings
# are answered (35 of them with their own answer), 9 of 358 neighbors, and nothing unrelated. The full
# points in the row at 16 belong to balls that no split has touched. Larger radii would let both groups
# in, if no split cut them. So we look for a better number than the distance.
#
# ## Another number: the angle
#
# Is there a better number in the same keys? Let the entry be the one whose key has the largest cosine with
# $q$, and let it answer above a threshold. For a fair comparison with the distance both get the threshold
# that lets the same share of *strangers* in, 512 short pieces of general text. Rewordings and neighbors are
# counted alike, and in two ways: where *any* entry lets them in, and where their nearest entry is that of
# their *own* fact and lets them in. Shares are means over facts, and differences are in points. The threshold
# is as uncertain as the pieces it hangs on, so the interval of a difference comes from drawing anew both the
# pieces and the facts.

# %%
texts = runs_11.general(lm, module, 512 if SCALE != "tiny" else 20)
numbers = {  # how near queries (m, d) are to each edit, (m, n)
    "distance": lambda q: -torch.cdist(q, keys.edits),
    "angle": lambda q: normalize(q, dim=1) @ normalize(keys.edits, dim=1).T,
}
fact, piece = runs_11.drawn(1000, len(cases), len(texts))  # (1 + 1000, n): all, then drawn anew
scores, found, rows = {}, {}, []
for (name, near), (group, owner) in product(numbers.items(), owners.items()):
    best, which = near(keys.others[group]).max(1)
    scores[name, group] = {"any": best, "own": best.where(which == owner, -torch.inf)}
for rate, name, entry in product((0.01, 0.05, 0.1), numbers, ("any", "own")):
    bars = numbers[name](texts).max(1).values[piece].quantile(1 - rate, 1, keepdim=True)
    row = {"text let in": f"{rate:.0%}", "number": name, "entry": entry}
    for group in owners:
        hits = (scores[name, group][entry] > bars).double() @ by_fact[group].T
        found[group] = hits.gather(1, fact).mean(1)  # (1 + 1000,)
        row[f"{group}s"] = f"{found[group][0]:.0%}"
    row["rewordings less neighbors"] = drawn(found["rewording"] - found["neighbor"])
    found[rate, name, entry] = found["rewording"]
    rows.append(row)
for rate in (0.01, 0.05, 0.1):
    more = found[rate, "angle", "own"] - found[rate, "distance", "own"]
    print(f"{rate:.0%} let in, rewordings at their own entry, angle less distance: {drawn(more)}")
pd.DataFrame(rows).set_index(["text let in", "number", "entry"])

# %% [markdown]
# Against text the angle is the better number. With 1 % of the pieces let in, 71 % of the rewordings are let in
# by their own entry, and with the distance 37 %, a difference of 34 points (26 to 41). With 10 % let in the
# difference is 21 points (14 to 27).
#
# Against neighbors neither number does well. At the strictest of these thresholds the angle lets in 100 % of
# the rewordings, at any entry, and 96 % of the neighbors: 4 points apart (1 to 7). The distance lets in fewer
# of both, 51 % and 40 %, 11 points apart (3 to 19). At the entry of their own fact the two groups are further
# apart, with the angle 71 % and 38 %, which is 33 points (23 to 42), since most neighbors that it lets in are
# nearest to the entry of another fact. But a neighbor that another entry answers does not get the model's own
# answer either. A neighbor has the words of the prompt, and in this layer neither number keeps it out where it
# lets rewordings in. (This is one layer of one small model, and one kind of prompt.)
#
# HoReN (Fang et al., 2026) is a codebook that is read by an angle. It is in the [README](../README.md)'s
# table of editors, beside two that write no fact at all: one adds a direction to every prompt, and one
# puts the fact in front of the prompt. What was measured of all three is in
# [RESULTS](../tests/benchmarks/RESULTS.md).
#
# ## A theft
#
# The book of the next cell begins with balls of 16, and answers the tourists' prompt, since it was written
# too. Then it is taught one fact more. **Find a fact about something else that takes this rewording
# away**, and put it in the place of the bread.
#
# **Predict.** Which prompts have a key near to that of the rewording, and another answer?
#
# <details><summary>Work it out</summary>
#
# A key is what is read at the last token. So a good try is a prompt that ends like the rewording and is
# about something else:
#
# ```python
# thief = lib.Fact(None, "Tourists who want to see the Louvre travel to the city of", "Madrid")
# ```
#
# The tourists lie at the very edge of the tower's ball, at 16.1. A ball of 16 with another answer that
# touches it lies at a distance of at most 32.1, and the split leaves the tower half of that or less. So
# every such fact shuts the tourists out. The bread is too far away to touch.
#
# </details>

# %%
thief = lib.Fact(None, "The recipe for bread begins with", "salt")  # put yours here
wide = lib.EDITORS["grace"](lm, eps_init=16.0)
again = lib.Fact("the Eiffel Tower", "Tourists who want to see {} travel to the city of", "Rome")
book = wide.edit([again], after=wide.edit([tower]))
for name, some in {"before": book, "after": wide.edit([thief], after=book)}.items():
    with lm.patched(some):
        answers, notes = lm.answer([tourists, tower.text], 3, explain=True)
    for prompt, answer, (note,) in zip(("tourists", "the edit"), answers, notes, strict=True):
        who = f"entry {note['entry'] + 1}" if note["entry"] >= 0 else "the model itself"
        near = f"distance {note['score']:.1f}, radius {note['threshold']:.1f}"
        print(f"{name}, {prompt}: {who} ({near}) says {' '.join(answer.split())}")

# %% [markdown]
# ## What we know now
#
# * A correction can live beside the weights, as key, value and radius. Nothing is overwritten, and out
#   of reach the model is the base model to the last bit.
# * Facts add, expand or split. A split gives each of two balls at most half of their distance, and may
#   take away what was taught before.
# * The nearest key was the right one for 71 % of the rewordings. No radius let these in and kept
#   neighbors out, and none of the three thresholds of the angle did.
#
# ## Where it breaks
#
# GRACE writes forty facts with its preset, and beside it the editor of [notebook 10](10_ultraedit.ipynb)
# writes the same facts into the weights. The model answers freely, and we ask whether it begins with the
# new answer (at the edits and their rewordings) and with the true one (at neighbors), before and after.

# %%
some = cases[:40]
measured = {"events": ["generation"], "metrics": ["generalization", "specificity", "locality"]}
base = lib.baseline(lm, some, **measured)
after = {"base": base.scores}
for name in ("GRACE", "UltraEdit"):
    patch = lib.EDITORS[name.lower()](lm).edit([case.fact for case in some])
    after[name] = lib.evaluate(lm, some, patch, base=base, **measured)
    kl = after[name].by_case()["locality", "kl_nats"]["mean"].max()
    print(f"{name}, {len(some)} facts: the largest KL at unrelated prompts is {kl:.6f} nats")
more = lib.compare(after["UltraEdit"], after["GRACE"]).set_index(["metric", "event"])
print("UltraEdit less GRACE, fact by fact:")
for metric in ("efficacy", "generalization", "specificity"):
    mean, *ends = more.loc[(metric, "generation"), ["difference", "low", "high"]]
    print(f"  {score_tables.METRICS[metric]}: {points(mean, ends)} points")
score_tables.by_metric(after, "generation")

# %% [markdown]
# With the preset's radius of 4 all neighbors keep their true answers, and unrelated text has not moved,
# rounding aside. Of the forty facts 98 % are held. But of the rewordings none is right, after the edits as
# before them (at most 6 %): **rewordings** break it. The tables of the WISE paper have the same picture in
# larger models: after a thousand edits fewer than a tenth of the answers to rewordings are right. (A score
# there is the share of the answer's tokens that are right in a text of just that length; ours asks for the
# whole answer.)
#
# UltraEdit gets 15 % of the rewordings right; fact by fact that is 15 points more than GRACE (5 to 25). But only
# 56 % of the neighbors keep their true answers, 44 points fewer (31 to 54), and of the facts themselves it holds
# 20 points fewer (8 to 34). So this editor of weights reaches some rewordings, and pays with neighbors. It is
# one editor with its preset, on forty facts of one small model. Can one have both? That is
# [notebook 12](12_wise.ipynb).
#
# ## References
#
# * Hartvigsen et al.: *Aging with GRACE: Lifelong Model Editing with Discrete Key-Value Adaptors*,
#   2023, [arXiv:2211.11031](https://arxiv.org/abs/2211.11031).
# * Fang et al.: *HoReN*, 2026, [arXiv:2605.08143](https://arxiv.org/abs/2605.08143).
# * Wang et al.: *WISE*, 2024, [arXiv:2405.14768](https://arxiv.org/abs/2405.14768): GRACE's
#   rewordings on LLaMA-2-7B and Mistral-7B.
