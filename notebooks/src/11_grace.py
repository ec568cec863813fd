# %% [markdown]
# <!-- badge -->
#
# # 11 · GRACE: leave the weights alone
#
# Every editor so far wrote into the weights, and weights fill up. What if nothing is written there,
# and corrections are kept in a list beside the model, to be looked up when a prompt comes?
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
from notebooks.support import models, show
from notebooks.support import runs_11_grace as runs_11

draw = torch.Generator().manual_seed(0)

# %% [markdown]
# ## A list of corrections
#
# One module of one layer gets a **codebook**. An entry has a **key** $k$: what the module read at
# the last token of a prompt; a **value** $v$: what it should put out there instead; and a
# **radius** $\varepsilon$. A new prompt brings its own input $q$, and
#
# $$i = \arg\min_j \|k_j - q\|, \qquad
# \text{output} = \begin{cases} v_i & \text{if } \|k_i - q\| \le \varepsilon_i \\
# W q & \text{otherwise: the model's own.} \end{cases}$$
#
# First the nearest key, *then* its own radius. That is not the same as "any ball that holds $q$":
#
# **Predict.** Keys at 0 with radius 3 and at 4 with radius 0.5. Who answers at 2.8?
#
# <details><summary>Work it out</summary>
#
# The nearest key is the one at 4, at a distance of 1.2, and its ball ends at 3.5. So nobody: the
# model itself, though the large ball of the other key reaches 2.8.
#
# </details>

# %%
K, eps = torch.tensor([[0.0, 4.0]]), torch.tensor([3.0, 0.5])  # (d, n), (n,)
q = torch.tensor([[2.8], [1.9], [4.2]])  # (m, d)


def slow(K, eps, q):
    distance = [(K[:, j] - q).norm().item() for j in range(K.shape[1])]
    i = min(range(len(distance)), key=distance.__getitem__)
    return i if distance[i] <= eps[i] else -1


print("entries that answer:", [slow(K, eps, row) for row in q])
K, eps, q = (torch.randn(*size, generator=draw) for size in ((6, 40), (40,), (200, 6)))
eps = 2 * eps.abs()
fast = lookup(K, eps, q)  # one matrix product: ‖k − q‖² = ‖k‖² − 2 k·q + ‖q‖²
assert [slow(K, eps, row) for row in q] == fast.entry.tolist()

# %% [markdown]
# Nobody (−1) at 2.8; the entries are counted from 0.
#
# ## Three rules
#
# A new fact has the key $q$ and the answer $y$. Let $d$ be its distance to the nearest key $i$:
#
# * **add**, if $d > \varepsilon_i + \varepsilon_\text{init}$, so that the balls do not touch: a new
#   entry with the radius $\varepsilon_\text{init}$.
# * **expand**, if they touch and entry $i$ has the same answer: $\varepsilon_i \leftarrow
#   \max(\varepsilon_i, d)$. No new entry.
# * **split**, if they touch and the answers differ: a new entry with $\varepsilon = d/2$, and
#   $\varepsilon_i \leftarrow d/2 - 10^{-5}$.
#
# **Predict.** On a line, $\varepsilon_\text{init} = 1$. The facts come in this order: 0.0 is A, 0.8 is
# A, 1.5 is A, 2.0 is B. What does the codebook then say at 1.5, which it was taught?
#
# <details><summary>Work it out</summary>
#
# 0.8 is covered, 1.5 makes the ball grow to 1.5. Then 2.0 is within 1.5 + 1 of another answer: both
# get half of the distance, about 1. Now 1.5 is closer to 2.0, and inside: it says B.
#
# </details>

# %%
book = Codebook.empty(1, 1)  # keys and values of one number
rules = {"eps_init": 1.0, "strict": False}  # strict=False: as published
for n, (at, label) in enumerate([(0.0, "A"), (0.8, "A"), (1.5, "A"), (2.0, "B"), (5.0, "B")]):
    (event,) = book.write(torch.tensor([[at]]), [label], torch.zeros(1, 1), [n], **rules)
    entries = book.K[0], book.eps, book.labels
    balls = [f"{k:g} ± {r:.5g} {y}" for k, r, y in zip(*entries, strict=True)]
    print(f"{at} {label}: {event.kind:6} → {', '.join(balls)}")
(given,) = book.lookup(torch.tensor([[1.5]])).entry
print("at 1.5:", book.labels[given])

# %% [markdown]
# At 1.5 it says B: a split takes ground from what was taught before. What is "the same answer"? The
# public code compares the *means* of label tensors, in which the prompt's positions hold −100. Then
# one answer behind two prompts counts as two, and two answers may count as one. Here answers are
# the same if their tokens are.

# %%
padded = {"Rome after 5 tokens": [-100] * 5 + [7268], "Rome after 9": [-100] * 9 + [7268]}
padded |= {"3 then 9 after 5": [-100] * 5 + [3, 9], "9 then 3 after 5": [-100] * 5 + [9, 3]}
for name, ids in padded.items():
    print(f"{name}: mean {sum(ids) / len(ids):.2f}")

# %% [markdown]
# ## The Eiffel Tower, without a weight
#
# The value is found as in ROME: gradient descent on $v$ until the layers above say "Rome". The
# module is the output matrix of the MLP in layer 25 of 30, so only five layers are run.

# %%
lm = models.load(SCALE)
tower = lib.Fact("The Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
sheep = lib.Fact("sheep", "The young of a {} is called a", "puppy", target_true="lamb")
editor = lib.EDITORS["grace"](lm)
patch = editor.edit([sheep], after=editor.edit([tower]))
((module, route),) = patch.routes.items()

own = lm.run([tower.text], [module]).seen[module][0][0, -1]  # what it reads at the last token
assert (own.cpu() - route.K[:, 0]).norm() < 1e-3 * own.norm()


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
print(f"{len(route.eps)} entries, {4 * sum(len(side) for side in (route.K, route.V))} bytes each")

# %% [markdown]
# Nothing in the model has changed; a prompt outside every ball gets the very numbers of the base
# model. Whoever asks for the answer may also ask why it was given:

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
with lm.patched(patch):
    answers, notes = lm.answer(list(asked), 3, explain=True)
rows = [
    {
        "group": asked[p],
        "prompt": p,
        "says": a,
        "entry": n[0]["entry"] + 1,
        "distance": n[0]["score"],
        "radius": n[0]["threshold"],
    }
    for p, a, n in zip(asked, answers, notes, strict=True)
]
show.Table(rows)

# %% [markdown]
# Entry 0 is the model itself. Both edits hold, neighbors are not touched, and every rewording is
# missed: the nearest lies at 7.8, the radius is 4. So take a larger radius. Which?
#
# ## Three distances
#
# A radius works if rewordings are closer to their fact than anything else is. So ask the 101 odd
# facts of the classroom: how far is a rewording from its own edit? An edit from the nearest other
# one? An unrelated prompt from the nearest edit?
#
# **Predict.** All three are distances between keys of 1,536 numbers with a length of about 27. Do
# the histograms part?
#
# <details><summary>Answer</summary>
#
# Unrelated prompts stand a little apart. Rewordings and other edits lie on top of each other.
#
# </details>

# %%
cases = lib.classroom()[1::2][: 8 if SCALE == "tiny" else None]
keys = runs_11.read(lm, cases, module)
away, to_edit = keys.nearest("unrelated")
groups = {
    "rewording to its own edit": keys.to_own(),
    "edit to the nearest other": keys.to_others(),
    "unrelated to the nearest edit": away,
}
print("medians:", ", ".join(f"{name} {d.median():.1f}" for name, d in groups.items()))
near, which = keys.nearest("rewording")
print(f"rewordings whose nearest edit is their own: {(which == keys.owner).float().mean():.0%}")
colors = dict(zip(groups, (plot.CYCLE[0], plot.EDITED, plot.UNRELATED), strict=True))
marks = {"radius of the preset": editor.config.eps_init}
plot.histogram(groups, "distance of two keys", bins=25, marks=marks, colors=colors)

# %% [markdown]
# A rewording is 16.7 from its fact, and the next other fact 18.8: no line can be drawn between them.
# A key is what one layer reads at the *last token*, and other words in front change it as much as
# another subject does. And yet: of all 101 facts, the nearest is the right one for 71 % of the
# rewordings. Keys know *which* fact is meant. What they do not tell is whether any is.
#
# ## Any radius?
#
# Now move the radius from 0 to 40. Full lines: one radius for all entries, the nearest key decides.
# Dashed lines: GRACE's rules, with that radius as $\varepsilon_\text{init}$.
#
# **Predict.** $\varepsilon_\text{init}$ may be as large as you like. What share of the rewordings can
# GRACE answer at best?
#
# <details><summary>Answer</summary>
#
# 15 %. However large a ball begins, the next fact with another answer cuts it to half of the
# distance between them, and at half of that distance there are hardly any rewordings yet.
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
axes = "radius", "prompts that the codebook answers (%)"
plot.lines(radii, {n: shares[n] for n in names}, *axes, colors=colors, dashes=dashes, ylim=(0, 104))

# %%
show.Table(runs_11.table(keys, (4, 8, 16, 100)))

# %% [markdown]
# With one radius for all, rewordings come in together with neighbors: at 16 it is 43 % of the ones
# and 46 % of the others. (A rewording counts if it gets its own answer.) GRACE's rules keep
# neighbors out, 2.5 %, and rewordings too. From 16 on nothing changes any more: the median radius is
# 9.4 whatever it began with. With small radii every edit answers its own prompt; with large ones one
# of 101 is lost, to a split that came later.
#
# ## The scope, prompt by prompt
#
# Two numbers decide about a prompt: its distance to the nearest key, and that key's radius. With
# them the scope of a codebook can be drawn as it is, without a projection that would bend it. In a
# running notebook a slider moves the radius at which all balls begin, here 16.

# %%
at = 16.0
widgets.RadiusExplorer(*keys, radius=at, limit=40.0)

# %% [markdown]
# Every point is a prompt; full ones are answered. Rewordings (dark blue) and neighbors (light) are
# one cloud, and the line cuts off its corner: 36 of 236 rewordings, 9 of 358 neighbors, nothing
# unrelated. The row at 16 are balls that no split has touched, and it holds most of the hits. A
# higher line would let both in: what is missing is not a better radius, but a better number.
#
# ## Exercise: the split rule, and a theft
#
# First: three rules on a line, as published, with $\varepsilon_\text{init} = 1$. Give keys, radii
# and labels after one fact more. Then a codebook that answers a rewording, since it was written,
# too: find a fact about something else that takes this rewording away. (Which prompts lie near it?)


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
# * A correction can live beside the weights: key, value, radius. Nothing is overwritten, and out of
#   reach the model is the base model to the last bit.
# * Add, expand, split: a split halves the ground, and may take what was taught before.
# * The nearest key is often the right one. *How near* is near enough no radius can tell.
#
# ## Where it breaks
#
# Forty facts with the preset, and the tokens of answers that are right; neighbors: the true answer
# is still ahead of the new one; unrelated: the next word is what it was.

# %%
some = cases[:40]
before = runs_11.look(lm, some, lib.EMPTY)
after = runs_11.look(lm, some, editor.edit([case.fact for case in some]))
rows = {"base": before, f"with {len(some)} facts": after}
show.Table([{"model": name} | runs_11.percent(row) for name, row in rows.items()])

# %% [markdown]
# Retention and locality cannot be better: all forty facts are held, unrelated text has not moved at
# all (KL 0). And 6.5 % of the rewordings are right, which is what the base model has without any
# edit: **rewordings** break it. In the runs of the WISE paper, on models of 7B, it is 8 % after 1,000
# edits. Editors of weights have it the other way round. Can one have both? That is
# [notebook 12](12_wise.ipynb).
#
# ## References
#
# * Hartvigsen et al.: *Aging with GRACE: Lifelong Model Editing with Discrete Key-Value Adaptors*,
#   2023, [arXiv:2211.11031](https://arxiv.org/abs/2211.11031).
# * Wang et al.: *WISE*, 2024, [arXiv:2405.14768](https://arxiv.org/abs/2405.14768): the 8 %.
