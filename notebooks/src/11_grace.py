# %% [markdown]
# <!-- badge -->
#
# # 11 · GRACE: leave the weights alone
#
# Every editor so far wrote into the weights, and weights fill up. What if nothing is written there,
# and corrections are kept in a list beside the model, which is looked up whenever a prompt comes?
#
# **You will** build the list with three rules, by hand · bend one activation instead of a matrix ·
# see a model that is equal to the last bit wherever the list is silent · measure how far a rewording
# lies from its fact · find out what every radius costs · make the list forget.
#
# **Needs** [notebook 01](01_linear_memory.ipynb) for keys, [notebook 04](04_rome.ipynb) for values.
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
from lib.editors.grace.codebook import Codebook, lookup
from notebooks.support import checks_11_grace as checks_11
from notebooks.support import drawings_11, models, score_tables, show
from notebooks.support import horen_11 as runs_11_horen
from notebooks.support import runs_11_grace as runs_11

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

# %%
K = torch.tensor([[0.0, 4.0]])  # (d, n)
eps = torch.tensor([3.0, 0.5])  # (n,)
q = torch.tensor([[2.8], [1.9], [4.2]])  # (m, d)


def slow(K, eps, q):
    distance = [(K[:, j] - q).norm().item() for j in range(K.shape[1])]
    i = min(range(len(distance)), key=distance.__getitem__)
    return i if distance[i] <= eps[i] else -1


print("entries that answer:", [slow(K, eps, row) for row in q])

K = torch.randn(6, 40, generator=draw)
eps = 2 * torch.randn(40, generator=draw).abs()
q = torch.randn(200, 6, generator=draw)
fast = lookup(K, eps, q)  # one matrix product: ‖k − q‖² = ‖k‖² − 2 k·q + ‖q‖²
assert [slow(K, eps, row) for row in q] == fast.entry.tolist()

# %% [markdown]
# At 2.8 nobody answers, which is written as −1. The entries are counted from 0.
#
# ## Three rules
#
# How does a new fact get into the codebook? It brings its key $q$ and its answer $y$. What happens
# depends on two questions: whether a ball of radius $\varepsilon_\text{init}$ around $q$ would touch
# the ball of the nearest key, and whether the nearest entry has the same answer. The drawing shows
# the three cases; dashed is what was before.

# %%
drawings_11.rules()

# %% [markdown]
# With $d$, the distance of $q$ to the nearest key $i$:
#
# * **add**, if $d > \varepsilon_i + \varepsilon_\text{init}$, so that the balls do not touch: a new
#   entry with the radius $\varepsilon_\text{init}$.
# * **expand**, if they touch and entry $i$ has the same answer: $\varepsilon_i \leftarrow
#   \max(\varepsilon_i, d)$. There is no new entry.
# * **split**, if they touch and the answers differ: a new entry with $\varepsilon = d/2$, and
#   $\varepsilon_i \leftarrow d/2 - 10^{-5}$.
#
# **Predict.** On a line, $\varepsilon_\text{init} = 1$. The facts come in this order: 0.0 is A, 0.8 is
# A, 1.5 is A, 2.0 is B. What does the codebook then say at 1.5, which it was taught?
#
# <details><summary>Work it out</summary>
#
# 0.8 is covered already, and 1.5 makes the ball grow to 1.5. Then 2.0 is within 1.5 + 1 of another
# answer, so both get half of the distance, about 1. Now 1.5 is closer to 2.0 than to 0.0, and inside
# its ball: it says B.
#
# </details>

# %%
book = Codebook.empty(1, 1)  # keys and values of one number
rules = {"eps_init": 1.0, "strict": False}  # strict=False: as published
stream = [(0.0, "A"), (0.8, "A"), (1.5, "A"), (2.0, "B"), (5.0, "B")]
for n, (at, label) in enumerate(stream):
    (event,) = book.write(torch.tensor([[at]]), [label], torch.zeros(1, 1), [n], **rules)
    entries = zip(book.K[0], book.eps, book.labels, strict=True)
    balls = [f"{k:g} ± {r:.5g} {y}" for k, r, y in entries]
    print(f"{at} {label}: {event.kind:6} → {', '.join(balls)}")
(given,) = book.lookup(torch.tensor([[1.5]])).entry
print("at 1.5:", book.labels[given])

# %% [markdown]
# At 1.5 it says B: a split takes ground from what was taught before.
#
# The rules ask for "the same answer", and that has to be decided somehow. The public code compares
# the *means* of label tensors, in which the positions of the prompt hold −100. Then the same answer
# counts as two answers if the prompts differ in length, and two answers may count as one:

# %%
padded = {"Rome after 5 tokens": [-100] * 5 + [7268], "Rome after 9": [-100] * 9 + [7268]}
padded |= {"3 then 9 after 5": [-100] * 5 + [3, 9], "9 then 3 after 5": [-100] * 5 + [9, 3]}
for name, ids in padded.items():
    print(f"{name}: mean {sum(ids) / len(ids):.2f}")

# %% [markdown]
# In this library answers are the same if their tokens are.
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

# %% [markdown]
# Nothing in the model has changed. And whoever asks for the answer may also ask why it was given:
# `explain=True` returns the entry, the distance and the radius. Entry 0 in the table is the model
# itself.

# %%
asked = {
    tower.text: "the edit",
    "The Eiffel Tower stands in the city of": "rewording",
    "In which city would you find the Eiffel Tower? It is in the city of": "rewording",
    "Tourists who want to see the Eiffel Tower travel to the city of": "rewording",
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
for (prompt, group), was, answer, (note,) in zip(
    asked.items(), before, answers, notes, strict=True
):
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
# A radius works if rewordings are closer to their fact than anything else is. So we ask the 101 odd
# facts of the classroom for three distances: from a rewording to its own edit, from an edit to the
# nearest other edit, and from an unrelated prompt to the nearest edit. `runs_11.read` collects the
# keys of all these prompts at the module; `to_own`, `to_others` and `nearest` are the distances.
#
# **Predict.** All three are distances between keys with as many numbers as the module reads. Do the
# histograms part?
#
# <details><summary>Answer</summary>
#
# Unrelated prompts stand a little apart. Rewordings and other edits lie on top of each other.
#
# </details>

# %%
cases = lib.classroom()[1::2][: 8 if SCALE == "tiny" else None]
keys = runs_11.read(lm, cases, module)
length = keys.edits.norm(dim=1).median()
print(f"{len(cases)} edits; a key has {keys.edits.shape[1]} numbers and a length of {length:.1f}")
away, to_edit = keys.nearest("unrelated")
groups = {
    "rewording to its own edit": keys.to_own(),
    "edit to the nearest other": keys.to_others(),
    "unrelated to the nearest edit": away,
}
print("medians:", ", ".join(f"{name} {d.median():.1f}" for name, d in groups.items()))
colors = dict(zip(groups, (plot.CYCLE[0], plot.EDITED, plot.UNRELATED), strict=True))
marks = {"radius of the preset": editor.config.eps_init}
plot.histogram(groups, "distance of two keys", bins=25, marks=marks, colors=colors)

# %%
near, which = keys.nearest("rewording")
print("rewordings whose nearest edit is their own:", runs_11.share(which == keys.owner))
for n, distance in keys.crowding([4, 8] if SCALE == "tiny" else [10, 30, len(cases)]).items():
    print(f"{n} edits stored: the nearest other one is {distance:.1f} away, median")

# %% [markdown]
# A rewording is 16.7 from its fact, and an edit 18.8 from the nearest other one (medians). But the
# histograms lie on top of each other, and no radius separates them. A key is what one layer reads at
# the *last token*, and other words in front of it change it as much as another subject does. And yet:
# for 71 % of the rewordings the nearest of all 101 edits is their own. Keys know *which* fact is meant.
# What they do not tell is whether any is meant at all.
#
# The two histograms are not of one kind. A rewording has one distance, that to its own fact. An edit
# has a hundred distances to others, and we took the smallest. So the orange histogram moves to the
# left as more edits are stored, and each ball has less room: the second line shows it for random
# choices of the edits. It is a likely reason for what the end of this page reports from larger models.
#
# ## Any radius?
#
# Now move the radius from 0 to 40. Full lines: one radius for all entries, and the nearest key
# decides. Dashed lines: GRACE's rules, with that radius as $\varepsilon_\text{init}$. Values play no
# part here, since who answers depends on keys, labels and radii alone. A rewording counts if it gets
# its own answer, and a neighbor or an unrelated prompt if it gets any.
#
# **Predict.** $\varepsilon_\text{init}$ may be as large as you like. What share of the rewordings can
# GRACE answer at best?
#
# <details><summary>Answer</summary>
#
# About one in seven, at the best of the radii that we try on these prompts. However large a ball
# begins, the next fact with another answer cuts it to half of the distance between them, and at half
# of that distance there are hardly any rewordings yet.
#
# </details>

# %%
radii = range(0, 41, 2)
shares = runs_11.sweep(keys, radii)
names = [name for name in shares if name != "unrelated, with splits"]  # 0 at every radius
kinds = {"rewording": plot.CYCLE[0], "neighbor": plot.NEIGHBOR, "unrelated": plot.UNRELATED}
colors = {name: kinds[name.split(",")[0]] for name in names}
dashes = {name: "--" for name in names if "splits" in name}
middle = {name: round(shares[name][list(radii).index(16)]) for name in names}
print("at 16:", ", ".join(f"{name} {share} %" for name, share in middle.items()))
best = max(shares["rewording, with splits"])
print(f"rewordings with splits, the best of {len(radii)} radii: {best:.0f} %")
axes = "radius", "prompts that the codebook answers (%)"
plot.lines(radii, {n: shares[n] for n in names}, *axes, colors=colors, dashes=dashes, ylim=(0, 104))

# %%
show.Table(runs_11.table(keys, (4, 8, 16, 100)))

# %% [markdown]
# With one radius for all, rewordings come in together with neighbors: at 16 the codebook answers 43 %
# of the ones and 46 % of the others. GRACE's rules keep the neighbors out, 3 % of 358, and most of the
# rewordings as well. The table has counts with their 95 % intervals. From 16 on the radii hardly
# change, because nearly every ball has been cut: their median is 9.4 whether they began with 16 or with
# 100. The shares still fall a little. With small radii every edit answers its own prompt. With large
# ones one of 101 is lost, to a split that came later.
#
# ## The scope, prompt by prompt
#
# Two numbers decide about a prompt: its distance to the nearest key, and that key's radius. With
# them the scope of a codebook can be drawn as it is, without a projection that would bend it. Every
# point is a prompt, and full ones are answered. In a running notebook a slider moves the radius at
# which all balls begin, here 16.

# %%
at = 16.0
widgets.RadiusExplorer(*keys, radius=at, limit=40.0)

# %% [markdown]
# Rewordings and neighbors are one cloud, and the line cuts off its corner: 36 of 236 rewordings are
# answered (35 of them with their own answer), 9 of 358 neighbors, and nothing unrelated. The full
# points in the row at 16 belong to balls that no split has touched. A higher line would let both
# groups in: what is missing is not a better radius, but a better number than the distance.
#
# ## By angle, and by a mean
#
# **HoReN** (2026) is a codebook with another number. The key of a prompt is not what the module read at
# the last token, but the *direction* of the mean over the last half of the prompt. A query is compared
# by its cosine with the keys. Before that it takes one damped step of a Hopfield network towards them,
#
# $$z = K\,\mathrm{softmax}(\beta K^\top q), \qquad
# q \leftarrow (1 - \alpha)\,q + \alpha\, z / \|z\| \ \text{ of length one},
# \qquad \beta = 20,\ \alpha = 0.1,$$
#
# and the entry with the largest cosine answers if that is above a threshold $\tau$. Its value is added
# to the output, and does not stand for it. The authors' thresholds, 0.55 to 0.85, are those of their
# models. Here $\tau$ is calibrated: of a thousand pieces of general text one may pass.
#
# **Predict.** One key is far ahead of all others. Which prompts does the step let in that a lower
# threshold would not?
#
# <details><summary>Work it out</summary>
#
# None. The softmax is nearly one at that key, so $z = k$, and a cosine $s$ becomes
# $((1-\alpha)s + \alpha)/\sqrt{(1-\alpha)^2 + \alpha^2 + 2\alpha(1-\alpha)s}$. That grows with $s$, so
# the order of prompts stays, and only the number at which to cut moves. The step can matter only where
# several keys are near: it draws the query to their mean.
#
# </details>

# %%
horen = lib.EDITORS["horen"](lm)
angled = horen.edit([sheep], after=horen.edit([tower]))
((_, by_angle),) = angled.routes.items()
k, a = by_angle.K[:, :1], by_angle.dynamics.alpha
other = torch.randn(len(k), generator=draw)
other -= (other @ k[:, 0]) * k[:, 0]
s = torch.linspace(0.3, 0.95, 14)
queries = s[:, None] * k[:, 0] + (1 - s**2).sqrt()[:, None] * other / other.norm()
moved = by_angle.dynamics.cosines(k, queries)[:, 0]
formula = ((1 - a) * s + a) / ((1 - a) ** 2 + a**2 + 2 * a * (1 - a) * s).sqrt()
assert torch.allclose(moved, formula, atol=1e-5) and (moved.diff() > 0).all()

with lm.patched(angled):
    answers, notes = lm.answer(list(asked), 3, explain=True)
rows = []
for (prompt, group), answer, (note,) in zip(asked.items(), answers, notes, strict=True):
    row = {"group": group, "prompt": prompt, "after": answer, "entry": note["entry"] + 1}
    rows.append(row | {"cosine": f"{note['score']:.2f}", "threshold": f"{note['threshold']:.2f}"})
show.Table(rows)

# %% [markdown]
# Now every rewording is answered, and so are the Louvre and the Colosseum: the Louvre's cosine, 0.87, is as
# large as that of the best rewording. Text is left alone. The threshold keeps strangers out, and a
# neighbor is none.
#
# **The claims.** HoReN's authors say that averaging finds rewordings and leaves strangers alone, and
# that the step makes it robust. Both can be tested without training a value, since who answers depends
# on keys alone. Five ways to look up an entry, all in layer 27, over the 101 odd facts: by distance or
# by cosine, at the last token or as a mean over the last half, and that with the step. A rewording
# counts where the nearest entry is its own *and* the threshold is passed. For a fair comparison each way
# has the threshold that lets 1 % of 256 pieces of general text in, or 5 or 20 % of the 358 neighbors.
#
# **Predict.** Which change helps: the angle, the mean, or the step?
#
# <details><summary>Answer</summary>
#
# The angle, and only the angle.
#
# </details>

# %%
roc = runs_11_horen.read()
show.Table(runs_11_horen.table(roc["rows"]))

# %%
for one, other in {
    "last, angle": "last, distance",
    "mean, angle": "last, angle",
    "mean, one step": "mean, angle",
}.items():
    print(f"{one} less {other}:")
    for what, said in runs_11_horen.COLUMNS.items():
        print(f"  {said}: {runs_11_horen.paired(roc['rows'], one, other, what)}")
drawings_11.roc(roc["rates"], {g: runs_11_horen.curves(roc, g) for g in ("general", "neighbor")})

# %% [markdown]
# **The angle helps.** Where 1 % of text is let in, 79 % of the rewordings reach their entry by the cosine
# at the last token, and 52 % by GRACE's distance: 27 points more (20 to 33). **The mean does not.** It
# finds 23 points *fewer* than the last token at that threshold (16 to 29), and 32 points fewer where
# 20 % of the neighbors are let in (25 to 39). **The step changes nothing** that these intervals could
# see: −1 points (−3 to 2). So both claims do not hold here, and what HoReN has over GRACE on this model
# comes from the cosine alone. A likely reason is that a neighbor shares the words of the prompt, which
# is what a mean keeps, and differs in the subject. And no way tells rewordings from neighbors: with 5 %
# of the neighbors at most 17 % of the rewordings come in. All this is one small model and one kind of
# prompt; in its layers 8 to 20 a mean does find more than the last token, where both find little. The
# authors report larger models and the questions of ZsRE.
#
# **A crowd.** With more keys the softmax spreads over all of them. The own key keeps more than half of
# its mass about as long as $\beta(s - \mu) > \ln n + \beta^2\sigma^2/2$, with $\mu$ and $\sigma$ the mean and
# the spread of the cosines between different keys. The crowd here are prompts of CounterFact (Meng
# et al., 2022), stored beside the 101 facts, and in the last row also beginnings of these prompts.
#
# **Predict.** From how many keys on is the step mostly an average over the book?
#
# <details><summary>Answer</summary>
#
# From about a thousand on. With a hundred half of the rewordings still have their own key in front.
#
# </details>

# %%
show.Table(runs_11_horen.crowding(roc["rows"]))

# %% [markdown]
# With 101 keys the rule asks for a cosine of 0.72, and half of the rewordings have it. With 10,101 keys it
# asks for 1.00, which nothing has, and 12 % of the rewordings have more than half of the mass all the
# same: the rule takes the cosines as normally distributed, and is too strict here. From a thousand keys
# on the step is mostly an average over the book. It does little harm, because it is so small
# ($\alpha = 0.1$): the nearest entry is the right one for 51 % of the rewordings with it and for 52 %
# without it. Keys of as many facts would be less alike than these, many of which
# are beginnings of one prompt.
#
# ## A direction for every prompt
#
# What if nothing decides? **Steering** (contrastive activation addition) takes the mean difference of a
# layer's states between the wanted and the other answer, and adds it to *every* prompt. An edit of rank
# one adds $r\,(b^\top k)$: much at its own key, little elsewhere. Steering is the case in which $b^\top k$
# is the same for all keys. The other extreme changes no state at all: **IKE** writes the fact in front of
# every prompt. (It shows other facts before it, when to use them and when not; they did not help here.)
#
# **Predict.** The tower is to be in Rome. What does each of the three say of the Louvre, and of bread?
#
# <details><summary>Answer</summary>
#
# GRACE says what it said before. Steering says the same of the Louvre as of the tower, and moves bread.
#
# </details>

# %%
steered = lib.EDITORS["steer"](lm).edit([tower])
told = lib.EDITORS["retrieval"](lm, always=True).edit([tower])
said = {"unedited": before}
for name, some in {"GRACE": patch, "steering": steered, "the fact in front": told}.items():
    with lm.patched(some):
        said[name] = lm.answer(list(asked), 3)
show.Table(
    [
        {"group": group, "prompt": prompt, **{name: texts[i] for name, texts in said.items()}}
        for i, (prompt, group) in enumerate(asked.items())
    ]
)

# %% [markdown]
# Neither writes the fact. Steering turns "Paris, France" into "Paris, Italy", at the Louvre as at the tower,
# and bread changes its words too: the direction is "something Italian", given to everybody. **It
# is not editing**, since nothing in it depends on the prompt. The fact in front is copied at two rewordings,
# not at its own prompt; it leaves the Louvre alone, and changes how bread begins, since it stands before that
# prompt, too. One fact and one strength of steering are an illustration and no measurement.
#
# ## Exercise: the split rule, and a theft
#
# First: three rules on a line, as published, with $\varepsilon_\text{init} = 1$. Give keys, radii
# and labels after one fact more. Then a codebook that answers a rewording, since it was written,
# too: find a fact about something else that takes this rewording away.
#
# <details><summary>Hints</summary>
#
# Rules: an empty codebook adds. Otherwise find the nearest key first, and then go through the three
# cases; a prompt that is covered already changes nothing, since $\max(\varepsilon_i, d)$ is
# $\varepsilon_i$. Theft: a key is what is read at the last token. Which prompts end like the
# rewording, but are about something else?
#
# </details>
#
# <details><summary>Solutions</summary>
#
# ```python
# def write(keys, radii, labels, q, label):
#     if not keys:
#         return [q], [1.0], [label]
#     i = min(range(len(keys)), key=lambda j: abs(keys[j] - q))
#     d = abs(keys[i] - q)
#     if d > radii[i] + 1:
#         return [*keys, q], [*radii, 1.0], [*labels, label]
#     if labels[i] == label:
#         radii[i] = max(radii[i], d)
#         return keys, radii, labels
#     radii[i] = d / 2 - 1e-5
#     return [*keys, q], [*radii, d / 2], [*labels, label]
#
# thief = lib.Fact(None, "Tourists who want to see the Louvre travel to the city of", "Madrid")
# ```
#
# </details>


# %%
def write(keys, radii, labels, q, label):  # lists -> keys, radii, labels with (q, label)
    return "not attempted"


# %%
print("write:", checks_11.write(write))

# %%
wide = lib.EDITORS["grace"](lm, eps_init=at)
again = lib.Fact("the Eiffel Tower", "Tourists who want to see {} travel to the city of", "Rome")
held = wide.edit([again], after=wide.edit([tower]))
thief = None  # lib.Fact(None, "your prompt", "your answer")

print("steal:", checks_11.steal(wide, held, tower, again.text, thief))

# %% [markdown]
# ## What we know now
#
# * A correction can live beside the weights, as key, value and radius. Nothing is overwritten, and out
#   of reach the model is the base model to the last bit.
# * Facts add, expand or split. A split halves the ground, and may take what was taught before.
# * The nearest key is often the right one. *How near* is near enough no radius can tell.
# * The cosine at the last token finds more rewordings than the distance does, at equal strangers. HoReN's
#   mean finds fewer on this model, and its Hopfield step changes nothing that was seen.
#
# ## Where it breaks
#
# Forty facts with the preset, and beside it with HoReN's. The model answers freely, and we ask whether it
# begins with the new answer (at the edits and their rewordings) and with the true one (at neighbors),
# before and after.

# %%
some = cases[:40]
asked = {"events": ["generation"], "metrics": ["generalization", "specificity", "locality"]}
base = lib.baseline(lm, some, **asked)
after = {"base": base.scores}
for name, one in {"GRACE": editor, "HoReN": horen}.items():
    written = one.edit([case.fact for case in some])
    after[name] = lib.evaluate(lm, some, written, base=base, **asked)
    kl = after[name].by_case()["locality", "kl_nats"]["mean"].max()
    print(f"{name}, {len(some)} facts: the largest KL at unrelated prompts is {kl:g} nats")
score_tables.by_metric(after, "generation")

# %% [markdown]
# GRACE's locality cannot be better: all neighbors keep their true answers, and unrelated text has not
# moved at all. Of the facts 98 % are held. But of the rewordings none is right, after the edits as before
# them: **rewordings** break it. HoReN answers 54 % of them, and pays with half of the neighbors (51 % are
# kept): the other end of the same line. In the tables of the WISE paper GRACE answers 36 % of the rewordings
# after one edit, and after a thousand it is 8 % on LLaMA-2-7B and 2 % on Mistral-7B. (A score there
# is the share of the answer's tokens that are right in a text of just that length; ours asks for the
# whole answer.) Editors of weights have it the other way round. Can one have both? That is
# [notebook 12](12_wise.ipynb).
#
# ## References
#
# * Hartvigsen et al.: *Aging with GRACE: Lifelong Model Editing with Discrete Key-Value Adaptors*,
#   2023, [arXiv:2211.11031](https://arxiv.org/abs/2211.11031).
# * Fang et al.: *HoReN*, 2026, [arXiv:2605.08143](https://arxiv.org/abs/2605.08143).
# * Rimsky et al.: *Steering Llama 2 via Contrastive Activation Addition*, 2024,
#   [arXiv:2312.06681](https://arxiv.org/abs/2312.06681).
# * Zheng et al.: *Can We Edit Factual Knowledge by In-Context Learning?*, 2023: IKE.
# * Meng et al.: *Locating and Editing Factual Associations in GPT*, 2022,
#   [arXiv:2202.05262](https://arxiv.org/abs/2202.05262): CounterFact.
# * Wang et al.: *WISE*, 2024, [arXiv:2405.14768](https://arxiv.org/abs/2405.14768): GRACE's
#   rewordings on LLaMA-2-7B and Mistral-7B.
