# %% [markdown]
# <!-- badge -->
#
# # 11 · GRACE: leave the weights alone
#
# Every editor so far wrote into the weights, where a new fact can disturb older facts. What if we keep corrections in a
# list outside the model, looking them up for every prompt?
#
# **You will** write the rules for adding a fact to the list and for choosing the entry that answers · replace one
# activation instead of changing a matrix · see a model that is equal to the last bit whenever the list is silent ·
# change the method's only number, the radius · keep a list in your own file.
#
# **Needs** [notebook 01](01_linear_memory.ipynb) for keys, [notebook 04](04_rome.ipynb) for values.
#
# **Minutes** 20 to read and 25 to work: exercise 7.2 of [session 7](../lessons/session_7.md), in four steps.

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
# ## A list of corrections
#
# The list is called a **codebook**, and it is attached to one module of one layer. An entry has three parts. Its
# **key** $k$ is the input of the module at the last token of the fact's prompt. Its **value** $v$ is what the module
# should output there instead. Its **radius** $\varepsilon$ determines how close another prompt has to be for the entry
# to answer it as well. Entries are balls around their keys. For a new prompt, only the *nearest* key counts, answering
# only inside its own ball:

# %%
from dataclasses import replace
from functools import partial
from itertools import product

import torch
from torch.nn.functional import normalize

import lib
from lib.editors.grace import codebook
from lib.editors.grace.route import Deferral
from lib.keys_values import value_search
from lib.workbench import plot
from notebooks.support import drawings_11, figures, hand_ins, models, own_fact, show
from notebooks.support import runs_11_grace as runs_11
from notebooks.support.holes import both, guess, use
from notebooks.support.score_tables import MEASURED, by_stream, detects
from notebooks.support.sliders import Slider

draw = torch.Generator().manual_seed(0)
drawings_11.nearest()

# %% [markdown]
# As a formula: if $q$ is the prompt's own input to the module, the output is
#
# $$i = \arg\min_j \|k_j - q\|, \qquad
# \text{output} = \begin{cases} v_i & \text{if } \|k_i - q\| \le \varepsilon_i \\
# W q & \text{otherwise: the model's own.} \end{cases}$$
#
# We first find the nearest key, and *then* check its radius.
#
# **Predict.** Keys on a line, at 0 with radius 3 and at 4 with radius 0.5. Which entry answers at 2.8?
#
# <details><summary>Work it out</summary>
#
# The nearest key is at 4, at a distance of 1.2, and its ball begins at 3.5. So no entry answers, leaving the prompt to
# the model, even though the large ball of the other key reaches 2.8. This is the case shown in the drawing.
#
# </details>
#
# **Your turn · exercise 7.2, first half · ★★ · 7 minutes.** Write `nearest`, the distance from $q$ to the nearest key
# and the number of that key. Then write `lookup`, which calls it, returning the label of the entry that answers, or
# None if the model itself answers. An empty codebook never answers.


# %%
def nearest(K, q):
    """K (d, n) keys as columns, n > 0, q (d,) -> the least distance, and the number of its key."""
    ...


def lookup(K, eps, labels, q):
    """K as above, eps (n,), labels: n strings, q (d,) -> a string, or None."""
    ...


nearest = use("7.2", nearest)
lookup = use("7.2", lookup)


def answers(book, queries):  # the library's fast form, for all queries (m, d) at once
    entries = codebook.lookup(*book[:2], queries).entry.tolist()  # -1: no entry answers
    return [book[2][i] if i >= 0 else None for i in entries]


K, labels = torch.randn(6, 40, generator=draw), [*map(str, range(40))]
eps = 2 * torch.randn(40, generator=draw).abs()
queries = torch.randn(200, 6, generator=draw)
assert [lookup(K, eps, labels, q) for q in queries] == answers((K, eps, labels), queries)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many radii do you have to check, once you know the nearest key?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def nearest(K, q):
#     d, i = (K - q[:, None]).norm(dim=0).min(0)
#     return d.item(), int(i)
#
#
# def lookup(K, eps, labels, q):
#     if not labels:
#         return None
#     d, i = nearest(K, q)
#     return labels[i] if d <= eps[i] else None
# ```
#
# </details>
#
# ## Three rules
#
# How does a new fact get into the codebook? It has a key $q$ and an answer $y$. The outcome depends on whether a ball
# of radius $\varepsilon_\text{init}$ around $q$ would touch the ball of the nearest key, and on whether the nearest
# entry has the same answer. Dashed lines show the state before.

# %%
drawings_11.rules()

# %% [markdown]
# With $d$, the distance from $q$ to the nearest key $i$, the published rules are:
#
# * **add**, if $d > \varepsilon_i + \varepsilon_\text{init}$, so that the balls do not touch: a new entry with the
#   radius $\varepsilon_\text{init}$.
# * **expand**, if they touch and entry $i$ has the same answer: $\varepsilon_i \leftarrow \max(\varepsilon_i, d)$.
#   There is no new entry.
# * **split**, if they touch and the answers differ: a new entry with $\varepsilon = d/2$, and
#   $\varepsilon_i \leftarrow d/2$.
#
# **Predict.** A split should separate two balls. Earlier splits have left entry $i$ with $\varepsilon_i = 0.15$, and a
# fact with another answer arrives at $d = 1.1$, with $\varepsilon_\text{init} = 1$. What is $\varepsilon_i$ after the
# split?
#
# <details><summary>Work it out</summary>
#
# They touch, since 1.1 is not above 0.15 + 1. So entry $i$ gets 0.55: it has *grown* to almost four times its radius,
# covering an area that an earlier split had given to another entry.
#
# </details>
#
# So the library makes two corrections, and so will you. A split never makes a ball larger than it was or would have
# been. And if $d = 0$, the same prompt with another answer, the newest fact replaces the old fact: entry $i$ gets the
# new answer and keeps its radius. The first fact of all is added with $\varepsilon_\text{init}$.
#
# **Predict.** On a line, $\varepsilon_\text{init} = 1$. The facts come in this order: 0.0 is A, 0.8 is A, 1.5 is A, 2.0
# is B, 5.0 is B. What answer does the codebook give at 1.5, which it was taught?
#
# <details><summary>Work it out</summary>
#
# 0.8 is covered already, and 1.5 makes the ball grow to 1.5. Then 2.0 is within 1.5 + 1 of another answer, so both get
# half of the distance, 1. Now 1.5 is closer to 2.0 than to 0.0, and inside its ball: the answer is B.
#
# </details>
#
# **Your turn · exercise 7.2, second half · ★★ · 13 minutes.** Write `rule`, which returns the two new radii. Then
# `write` puts everything together, returning the codebook after adding a fact. Every codebook below is made using your
# `write`.


# %%
def rule(d, radius, same, eps_init):
    """d, ε_i, whether the answers agree, ε_init -> [the new ε_i, ε of a new entry or None]."""
    ...


def write(K, eps, labels, q, label, eps_init):
    """lookup's K, eps and labels, q (d,) and its answer -> [K, eps, labels], a new entry last."""
    ...


rule = use("7.2", rule)
write = use("7.2", write)
stream = [(0.0, "A"), (0.8, "A"), (1.5, "A"), (2.0, "B"), (5.0, "B")]
steps = {}
for whose, f in both(write).items():
    book, steps[whose] = [torch.zeros(1, 0), torch.zeros(0), []], []
    for at, label in stream:
        K, eps, labels = book  # copies go in: a `write` may change what it gets
        book = f(K, eps.clone(), [*labels], torch.tensor([at]), label, 1.0)
        steps[whose].append(book)
    print(f"{whose}, at 1.5:", lookup(*book, torch.tensor([1.5])))
drawings_11.growing(stream, steps)

# %% [markdown]
# <details><summary>Hint</summary>
#
# In which of the cases does a new fact not add a key? And what has to happen to the answer of entry $i$ then?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def rule(d, radius, same, eps_init):
#     if d > radius + eps_init:
#         return [radius, eps_init]
#     if same or d == 0:
#         return [max(radius, d), None]
#     return [min(radius, d / 2), min(eps_init, d / 2)]
#
#
# def write(K, eps, labels, q, label, eps_init):
#     eps, labels, radius = eps.clone(), list(labels), eps_init
#     if labels:
#         d, i = nearest(K, q)
#         eps[i], radius = rule(d, eps[i].item(), labels[i] == label, eps_init)
#         if radius is None:
#             labels[i] = label
#             return [K, eps, labels]
#     K = torch.cat([K, q[:, None]], 1)
#     return [K, torch.cat([eps, torch.tensor([radius], dtype=eps.dtype)]), labels + [label]]
# ```
#
# </details>
#
# Each row is the codebook after adding the fact marked by the triangle. **A split takes space from earlier facts**,
# without any warning.
#
# ## The Eiffel Tower, without a weight
#
# Now we edit a real model. As in ROME, we find the value using gradient descent on $v$ until the layers above say
# "Rome". The module is the output matrix of an MLP in a late layer. We write the tower, the sheep, and your own fact if
# you have typed one.
#
# Then we do the edit by hand: a hook writes $v$ over the module's output at the last token, and the model has to give
# the same answer as with the patch. For a prompt far away, the patched model has to give the very numbers of the
# unedited model, not similar but equal.
#
# `explain=True` returns the entry that answered, and the distance to the nearest key. No weight has changed, so nothing
# could have been disturbed. But which prompts are reached?

# %%
lm = models.load(SCALE, sink="own")
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
mine = own_fact.read()
editor, patch = lib.EDITORS["grace"](lm), lib.EMPTY
for fact in [tower, sheep] + [mine] * (mine is not None):
    patch = editor.edit([fact], after=patch)
((module, route),) = patch.routes.items()
size = 4 * sum(len(side) for side in (route.K, route.V))
print(f"{module}, of {lm.n_layers} layers: {len(route.eps)} entries, {size:,} bytes each,")
print(f"with a radius of {editor.config.eps_init:g} at the start")


# %%
own = lm.run([tower.text], [module]).seen[module][0][0, -1]  # its input at the last token
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
    far: "unrelated",
    sheep.text: "the edit",
    "A young sheep is called a": "rewording",
}
if mine is not None:
    asked |= {mine.text: "your fact", f"They say {mine.text}": "rewording"}
before = lm.answer(list(asked), 3)
with lm.patched(patch):
    after, notes = lm.answer(list(asked), 3, explain=True)
rows = []
for (prompt, group), was, answer, (note,) in zip(asked.items(), before, after, notes, strict=True):
    who = f"entry {note['entry'] + 1}" if note["entry"] >= 0 else "the model"
    row = {"group": group, "prompt": prompt, "before": was, "after": answer, "answered by": who}
    rows.append(row | {"distance": f"{note['score']:.1f}"})
show.Table(rows)

# %% [markdown]
# The edits hold, and neighbors and unrelated prompts get the unedited model's answers. But among the rewordings, only
# one, differing by a single verb, is inside its ball. So we need a larger radius. Which?
#
# ## How far away is a rewording?
#
# Three streams of the built-in facts, without a fact in common, each have a codebook. We measure four distances: from a
# rewording to its own edit, from a neighbor and from an unrelated prompt to the nearest edit, and from an edit to the
# nearest other edit.
#
# **Predict.** All four are distances between keys with as many numbers as the module's input. Can a radius separate
# rewordings from neighbors?
#
# <details><summary>Answer</summary>
#
# Not well, although the median rewording is closer. Unrelated prompts are well separated from most rewordings.
#
# </details>

# %%
cases = runs_11.streams(4 if SCALE == "tiny" else 30)
keys = [runs_11.read(lm, some, module) for some in cases]
apart = {  # by stream
    "rewording to its own edit": lambda one: one.others["rewording"] - one.edits[one.owner],
    "neighbor to the nearest edit": lambda one: to_nearest(one.others["neighbor"], one),
    "unrelated to the nearest edit": lambda one: to_nearest(one.others["unrelated"], one),
    "edit to the nearest other": lambda one: to_nearest(one.edits, one),
}


def to_nearest(queries, one):  # the difference of each query and the nearest edit, but itself
    distances = torch.cdist(queries, one.edits)
    near = distances.where(distances > 0.1, torch.inf)  # its own is 0, up to rounding
    return queries - one.edits[near.argmin(1)]


for name, of in apart.items():
    found = [of(one).norm(dim=1) for one in keys]
    by = ", ".join(f"{some.median():.1f}" for some in found)
    print(f"{name}: median {torch.cat(found).median():.1f} (streams {by})")
own = [torch.cdist(one.others["rewording"], one.edits).argmin(1) == one.owner for one in keys]
print(f"rewordings whose nearest edit is their own: {torch.cat(own).float().mean():.0%}")

# %% [markdown]
# For four of five rewordings the nearest edit is their own. So a key is good at showing *which* fact is meant. The
# distance is worse at showing *whether* a fact is meant: a typical rewording is closer than a typical neighbor in each
# of the three streams, but the two overlap widely.
#
# The last distance explains the effect of the rules. An edit and the nearest other edit are some twenty apart, so **a
# split leaves each of them a ball of half of that. Half of twenty is less than fifteen, the distance within which we
# find half of the rewordings.** However large the balls begin, most rewordings are outside after the splits.
#
# ## Which radius?
#
# Now we change the initial radius of all balls. A solid line keeps this radius for all entries, and the nearest key
# decides. A dashed line uses your `write`. A rewording or an edit counts if it gets the answer of its own fact, a
# neighbor as soon as any entry answers it. Lines are means over the three streams, with the shading extending from the
# lowest to the highest stream.
#
# **Predict.** At the best radius, for what percentage of the rewordings do GRACE's rules give the right answer?

# %%
at_best = guess(
    "At the best radius, what percentage of rewordings get the right answer by GRACE's rules?",
    0,
    100,
)
radii = range(0, 31)


def one_radius(one, radius):
    return one.edits.T, torch.full((len(one.edits),), float(radius)), one.labels


def by_rules(one, radius, write):  # all edits of a stream, one after another: K, eps and labels
    book = [one.edits.T[:, :0], torch.zeros(0), []]
    for key, label in zip(one.edits, one.labels, strict=True):
        book = write(*book, key, label, float(radius))
    return book


def shares(
    one, book
):  # in %: rewordings with their own answer, neighbors with any, edits with their own
    own = [one.labels[i] for i in one.owner.tolist()]
    right, held = (
        [a == b for a, b in zip(answers(book, asked), labels, strict=True)]
        for asked, labels in ((one.others["rewording"], own), (one.edits, one.labels))
    )
    reached = [a is not None for a in answers(book, one.others["neighbor"])]
    return [100 * sum(some) / len(some) for some in (right, reached, held)]


# %%
kinds = {"rewordings": plot.CYCLE[2], "neighbors": plot.NEIGHBOR, "unrelated": plot.UNRELATED}
ways = {"one radius": one_radius, "rules": partial(by_rules, write=write)}
for f in [*both(write).values()][1:]:
    ways["rules, yours"] = partial(by_rules, write=f)
found = {  # {way: (streams, radii, 3)}
    way: torch.tensor([[shares(one, make(one, r)) for r in radii] for one in keys])
    for way, make in ways.items()
}
lines, bands, colors, dashes = {}, {}, {}, {}
groups = {name: kinds[name] for name in ("rewordings", "neighbors")} | {"edits": plot.EDITED}
for way, some in found.items():
    for i, (group, color) in enumerate(groups.items()):
        if group == "edits" and way == "one radius":
            continue  # each is its own nearest key
        lines[name := f"{group}, {way}"] = some[..., i].mean(0)
        bands[name] = some[..., i].amin(0), some[..., i].amax(0)
        colors[name], dashes[name] = color, "--" if "rules" in way else "-"
at_best.against(found["rules"][..., 0].mean(0).max().item())
for way in ("one radius", "rules"):
    right, reached, _ = found[way][:, 14].mean(0)
    print(f"radius 14, {way}: {right:.0f} % of rewordings, {reached:.0f} % of neighbors")
for radius in (14, 30):
    sizes = [len(by_rules(one, radius, write)[2]) for one in keys]
    lost = [
        round(len(one.labels) * (1 - h / 100))
        for one, h in zip(keys, found["rules"][:, radius, 2].tolist(), strict=True)
    ]
    print(f"radius {radius}: {sizes} entries for {len(keys[0].labels)} facts; facts lost: {lost}")
look = {"bands": bands, "colors": colors, "dashes": dashes, "ylim": (0, 104)}
plot.lines(radii, lines, "initial radius", "prompts answered (%)", **look)

# %% [markdown]
# **A single radius for all is a trade-off:** every radius that reaches more rewordings reaches more neighbors. At 14 it
# answers half of the rewordings, and one in five neighbors. **GRACE's rules barely trade at all:** they keep almost all
# neighbors out, and three of four rewordings as well, because splitting has shrunk most balls.
#
# The facts themselves suffer little, because a split leaves each its own key. Only a fact that expanded an entry has
# not added a key. In the two streams where that happened, the fact is lost.
#
# Every point of the next figure is a prompt of the three streams; filled points are answered. **Move the radius**:
# which points come in, and which are shut out by a split?


# %%
def scope(radius):
    points = {group: ([], []) for group in keys[0].others}
    for one in keys:
        K, eps, _ = by_rules(one, radius, write)
        for group, queries in one.others.items():
            seen = codebook.lookup(K, eps, queries)
            for side, values in zip(points[group], (seen.distance, seen.radius), strict=True):
                side.extend(values.tolist())
    axes = "distance to the nearest key", "radius of that key"
    colors = dict(zip(points, kinds.values(), strict=True))
    return plot.scope_map(points, *axes, colors=colors, top=radius + 3.0)


Slider(scope, "initial radius", [*range(2, 31, 2)], 14)

# %% [markdown]
# Points on the topmost level belong to balls that no split has touched; all others have been shrunk. With a large
# radius barely any ball is left whole.
#
# ## Another number: the angle
#
# Can we get a better number from the same keys? Now the key with the largest cosine with $q$ determines the entry,
# which answers if the cosine is above a threshold. We set every threshold to let in the same percentage of *others*:
# neighbors on the left, and on the right pieces of general text. Higher curves are better, and each line is a stream.
#
# **Predict.** Which prompts does the angle keep out better than the distance does: neighbors, general text, or both?
#
# <details><summary>Answer</summary>
#
# General text, by far. Against neighbors it is better in two of three streams if only a few are let in, and barely
# better otherwise.
#
# </details>

# %%
texts = runs_11.general(lm, module, 200 if SCALE != "tiny" else 20)
near = {  # queries (m, d), edits (n, d) -> how near they are, (m, n)
    "distance": lambda q, edits: -torch.cdist(q, edits),
    "angle": lambda q, edits: normalize(q, dim=1) @ normalize(edits, dim=1).T,
}
curves = {}  # {panel: {line: for each stream x and y}}
for what, (name, f) in product(("neighbors", "pieces of general text"), near.items()):
    for one in keys:
        best, which = f(one.others["rewording"], one.edits).max(1)
        best = best.where(which == one.owner, -torch.inf)  # its own entry, or it does not count
        others = one.others["neighbor"] if what == "neighbors" else texts
        bars = f(others, one.edits).amax(1).sort(descending=True).values
        x, y = torch.arange(len(bars)) / len(bars), (best > bars[:, None]).float().mean(1)
        curves.setdefault(what, {}).setdefault(name, []).append((100 * x, 100 * y))
for what, by in curves.items():
    for name, lines in by.items():
        strict = ", ".join(f"{y[len(y) // 20]:.0f} %" for _, y in lines)
        print(f"5 % of {what} let in, rewordings by {name}: {strict}")
points = [shares(one, by_rules(one, 14, write))[1::-1] for one in keys]
rules = "GRACE's rules, radius 14"
curves["neighbors"][rules] = [([x], [y]) for x, y in points]
said = "other prompts answered (%)", "rewordings answered correctly (%)"
figures.curves(curves, *said, colors={rules: plot.QUIET}, ylim=(0, 104))

# %% [markdown]
# The angle keeps text out at barely any cost: almost every rewording whose best entry is its own is let in before the
# first pieces of text. Against neighbors it is better in two of the three streams if only a few of them are let in.
# **Neither number separates rewordings from neighbors well.** The crosses are GRACE's rules, which let in almost no
# neighbors.
#
# HoReN (Fang et al., 2026) is a codebook using an angle, and the right panel shows a reason for this choice.
#
# ## A theft
#
# A codebook with an initial radius of 14 answers the tourists' prompt. Then we teach it another fact. **Find a fact
# about something else that takes this rewording away**, and use it instead of the bread.
#
# <details><summary>Hint</summary>
#
# A split leaves the tower half of its distance to the thief. Which prompts have a key close to the tower's, and another
# answer? A key is the input at the last token.
#
# </details>
# <details><summary>Solution</summary>
#
# A prompt ending like the rewording, but about something else:
#
# ```python
# thief = lib.Fact(None, "Tourists who want to see the Louvre travel to the city of", "Madrid")
# ```
#
# </details>

# %%
thief = lib.Fact(None, "The recipe for bread begins with", "salt")  # put yours here
wide = lib.EDITORS["grace"](lm, eps_init=14.0)
before = wide.edit([tower])
with lm.patched(wide.edit([thief], after=before)):
    answer, ((note,),) = lm.answer([tourists], 3, explain=True)
near = f"the nearest key is {note['score']:.1f} away and has a radius of {note['threshold']:.1f}"
print("not yet:" if note["entry"] == 0 else "stolen:", f"{near}; {answer[0].split()}")

# %% [markdown]
# ## A codebook in your own file
#
# Combining keys and radii from your `write`, a value from ROME's search, and the library's route gives an editor, which
# the cell below saves as `my/grace.py`. The search changes a subject's last token, so we make the whole prompt the
# subject.


# %%
def edit(lm, facts, after):
    """GRACE: `after` with each fact in a codebook at one layer, four fifths up."""
    layer = round(0.78 * lm.n_layers)
    module, bare = lm.mlp_out(layer), replace(after, routes={})  # learned with no entry answering
    d_out, d_in = lm.weight(module).shape
    K, V, eps, labels = torch.zeros(d_in, 0), torch.zeros(d_out, 0), torch.zeros(0), []
    if module in after.routes:
        old = after.routes[module]
        K, V, eps, labels = old.K, old.V, old.eps.clone(), list(after.memory["mine"]["labels"])
    for fact in facts:
        whole = lib.Fact(fact.text, "{}", fact.target_new)
        settings = value_search.Search(kl_factor=0.0)
        with lm.patched(bare, only=True):
            (found,) = value_search.search(lm, [whole], layer, ["{}"], settings)
        key, value = found.keys[0].cpu(), found.v_star.cpu()
        K, eps, labels = write(K, eps, labels, key, fact.target_new, 14.0)
        V = torch.cat([V, value[:, None]], 1)[:, : len(labels)]
        V[:, nearest(K, key)[1]] = value  # also that of an entry which only grew
    kept = {**after.memory, "mine": {"labels": tuple(labels)}}
    return replace(after, routes={**after.routes, module: Deferral(module, K, V, eps)}, memory=kept)


# %%
hand_ins.Editor("grace.py").grow(nearest, rule, write, edit)
some = [tower, sheep] + [mine] * (mine is not None)
patch = edit(lm, some[1:], edit(lm, some[:1], lib.EMPTY))
with lm.patched(patch):
    for fact in some:
        print(f"{fact.text} → {lm.answer(fact.text, 3).strip()}")
one, other = (p.routes[module] for p in (patch, wide.edit(some[1:], after=wide.edit(some[:1]))))
models.same(lm, one.K, other.K)
models.same(lm, one.eps, other.eps)

# %% [markdown]
# `python -m lessons.leaderboard my/grace.py` tests it on facts that you have not seen. What would you change first: the
# radius, the number being compared, or the layer?
#
# ## What we know now
#
# * A correction can be stored outside the weights, as key, value and radius. Nothing is overwritten, and if no key is
#   near, the output is the unedited model's, to the last bit.
# * Facts add, expand or split. A split gives each of two balls at most half of their distance, and may take away a fact
#   for which an entry was only expanded.
# * The nearest key is the right one for four of five rewordings. But a radius or an angle reaching most rewordings also
#   reaches many neighbors. GRACE's rules let in few of both.
#
# ## Where it breaks
#
# Keys have shown which prompts are answered. Do the generated answers agree? In each of the three streams, GRACE writes
# twelve facts using a radius of 14, while the editor of [notebook 10](10_ultraedit.ipynb) writes them into the weights.
# We check whether the model begins with the new answer at edits and rewordings, and with the true answer at neighbors.
# The radius was chosen in the figure above, which includes these facts.

# %%
event = {"events": ["generation"], "metrics": ["generalization", "specificity"]}
editors = {"GRACE": wide, "UltraEdit": lib.EDITORS["ultraedit"](lm, preset="ours")}
columns = {what: MEASURED[what] for what in ("held", "reworded", "neighbors")}
shown = {what: {} for what in columns}
for every in cases:
    some = every[: 2 if SCALE == "tiny" else 12]
    base = lib.baseline(lm, some, **event)
    scores = {"unedited": base.scores}
    for name, one in editors.items():
        patch = one.edit([case.fact for case in some], check=False)
        scores[name] = lib.evaluate(lm, some, patch, base=base, **event)
    for name, one in scores.items():
        for what, metric in columns.items():
            share = 100 * one.json()[metric]["generation"]
            shown[what].setdefault(name, []).append(share)
for what, by in shown.items():
    gaps = [a - b for a, b in zip(by["GRACE"], by["UltraEdit"], strict=True)]
    middle, low, high = by_stream(gaps)
    print(f"{what}, GRACE less UltraEdit: {middle:+.0f} points [{low:+.0f}, {high:+.0f}],", end=" ")
    print(f"{detects(gaps):.0f} would be detected")
rows = [
    {"answered correctly (%), by stream": what}
    | {name: ", ".join(f"{share:.0f}" for share in some) for name, some in by.items()}
    for what, by in shown.items()
]
show.Table(rows)

# %% [markdown]
# The answers agree with the keys. GRACE holds almost all facts, and a third of the rewordings follow. A codebook of
# twelve facts has fewer splits than a codebook of thirty, so its balls are larger, catching some neighbors in two of
# the three streams. UltraEdit leaves fewer neighbors in each of the streams, but every interval reaches 0, and only
# differences of 33 to 41 points would have been detected. So this does not rank the two.
#
# Both **miss two of three rewordings**, or more. With the preset's radius of 8, as in notebooks 12 and 14, GRACE
# reaches barely any rewordings, losing barely any neighbors; and UltraEdit, which gets all twelve facts in one call
# here, gets them in several calls there. The nearest key often identified the right fact. We still need a number
# showing whether any fact is meant. Can it be learned? That is [notebook 12](12_wise.ipynb).
#
# ## References
#
# * Hartvigsen et al.: *Aging with GRACE: Lifelong Model Editing with Discrete Key-Value Adaptors*,
#   2023, [arXiv:2211.11031](https://arxiv.org/abs/2211.11031).
# * Fang et al.: *HoReN*, 2026, [arXiv:2605.08143](https://arxiv.org/abs/2605.08143).
# * Wang et al.: *WISE*, 2024, [arXiv:2405.14768](https://arxiv.org/abs/2405.14768): GRACE's
#   rewordings on LLaMA-2-7B and Mistral-7B.
