# %% [markdown]
# <!-- badge -->
#
# # 19 · What twenty-six editors taught
#
# Twenty-two notebooks, twenty-six editors. This last notebook is short.
#
# **You will** read the map · use keys of the real model to see what each protection saves and costs · take eight ideas
# home · put a price on the harm of an edit.
#
# **Needs** the notebooks before it.
#
# **Minutes** 10 to read, without an exercise; in the [project](../lessons/project.md), you build your own editor.

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
import numpy as np
import torch

import lib
from lib import associative_memory as memory
from lib.workbench import plot
from notebooks.support import drawings_14, figures, models, show, which_editor
from notebooks.support import runs_14_lifelong as runs_14
from notebooks.support.holes import guess
from notebooks.support.score_tables import by_stream
from notebooks.support.sliders import Slider

lm = models.load(SCALE, sink="own")
layer = max(0, lm.n_layers // 6 - 1)  # the last of the layers that MEMIT edits here

# %% [markdown]
# ## The map
#
# Each row is an editor. A pale cell repeats the first editor of its group; a dark cell differs. All editors are shown
# as the library implements them. [The same map as a table](reference/map.md) links to each editor's notebook, paper
# code and file.

# %%
show.the_map()

# %% [markdown]
# ## One formula, five brackets
#
# Most editors that write weights use the formula $\Delta = R\,K^\top(\ldots)^{-1}$. The content of the bracket
# determines which other outputs are protected. Here we write twenty facts into one layer of the model, after twenty
# earlier facts. The keys $K$ come from the model, and each value should change by length 1, in a random direction. In
# $\lambda I$, $I$ is scaled by the mean of $C$'s diagonal, giving $\lambda$ the same meaning in both. The first row of
# the figure has no bracket at all. A point is the mean of twenty draws of the facts and directions, and its line
# extends from the lowest to the highest draw.
#
# **Predict.** That row is a gradient step, as long as a single pair would need. How much of a new fact is still missing
# after it?
#
# <details><summary>Work it out</summary>
#
# A single pair would arrive in full. But the outputs at the twenty keys are $R\,K^\top K$, and $K^\top K$ is not
# diagonal: keys of one layer have large directions in common ([notebook 01](01_linear_memory.ipynb)), so each key also
# receives a fraction of nineteen other answers. The bracket undoes this.
#
# </details>

# %%
missing = guess("A step without a bracket: how much of a new fact is missing?", 0, 1)

# %%
facts = [case.fact for case in lib.classroom()]
every = lm.keys(facts, layer).cpu().double()
some, draw = min(20, every.shape[1] // 3), torch.Generator().manual_seed(0)
C = lib.second_moment(lm, [layer])[layer].C.cpu().double()
rare = memory.null_space(C, quantile=0.8).Q  # directions that text rarely uses
plain = torch.eye(len(C), dtype=torch.float64) * C.diagonal().mean()
general, identity = memory.moment(C), memory.moment(plain)  # factored once for all draws
draws = []
for _ in range(20):
    order = torch.randperm(every.shape[1], generator=draw)
    R = torch.randn(64, some, generator=draw, dtype=torch.float64)
    # the requested change of each value has length 1
    draws.append((every[:, order[:some]], every[:, order[some : 2 * some]], R / R.norm(dim=0)))


# %%
def brackets(strength, earlier, K):
    """{bracket: B (n, d_in)}, with Δ = R B."""
    step = K.T / K.square().sum(0).mean()
    return {
        "none: a gradient step": step,
        "λI: UltraEdit, MALMEN": memory.reach(K, identity, strength),
        "C, equality: ROME, EMMET": memory.reach(K, general),
        "λC: MEMIT": memory.reach(K, general, strength),
        "λC and earlier keys: MEMIT with kept keys": memory.reach(K, general, strength, earlier),
        "rare directions, earlier keys: AlphaEdit": memory.reach_null(K, rare, 10.0, earlier),
    }


def lengths(strength):
    """{bracket: for each draw: missing from new facts, change of earlier facts, change of text}."""
    found = {}
    for earlier, K, R in draws:
        for name, B in brackets(strength, earlier, K).items():
            wrong = B @ K - torch.eye(some), B @ earlier
            missed, moved = ((R @ x).norm(dim=0).mean() for x in wrong)
            text = ((R @ B @ C) * (R @ B)).sum().sqrt()  # in the mean square over keys of text
            found.setdefault(name, []).append([float(missed), float(moved), float(text)])
    return {name: np.array(each) for name, each in found.items()}


# %%
NAMES = "a new fact: fraction missing", "an earlier fact: change", "text: change"


def drawn(strength):
    found = lengths(strength)
    points = {
        what: [(of[:, i].mean(), of[:, i].min(), of[:, i].max()) for of in found.values()]
        for i, what in enumerate(NAMES)
    }
    names = [name.replace(": ", "\n") for name in found]
    made = figures.whiskers(
        names, points, "in units of the requested change of a value", height=4.4
    )
    made.axes[0].set_xlim(-0.04, 1.04)  # one axis for every λ, so that only the points move
    return made


missing.against(lengths(1_000.0)["none: a gradient step"][:, 0].mean())
Slider(drawn, "λ", (1, 10, 100, 1_000, 10_000, 100_000), 1_000)

# %% [markdown]
# The step without a bracket misses most of the requested change, and changes ordinary text most. At this $\lambda$,
# $\lambda C$ writes more than $\lambda I$ while changing text less. Equality writes everything, at the cost of changing
# text and earlier facts. Earlier facts are preserved by only one thing: having their own keys in the bracket. A larger
# $\lambda$ reduces every change, including the new facts. At the smallest $\lambda$, each bracket with a $\lambda$
# writes everything, and only the bracket with earlier keys still leaves earlier facts unchanged.
#
# ## What we know now
#
# * **A layer is a memory.** Writing a pair changes every other answer, by the overlap of its key with the new key
#   ([02](02_insert.ipynb)).
# * **The bracket provides the protection.** The second moment protects general text, and kept keys protect earlier
#   facts ([05](05_memit.ipynb), [06](06_null_space.ipynb)). How far a neighbor shifts can be predicted using only keys
#   ([07](07_superposition.ipynb)), and an edit by ROME leaves a trace naming its subject, if that is on the list
#   ([17](17_was_it_edited.ipynb)).
# * **A fact can also be written outside the layers that look it up** ([03](03_where.ipynb)).
# * **Check the first token before you explain a gain.** At the first position of a text, keys are unlike all others,
#   and one-token subjects at the start of a prompt have almost the same key. This by itself can produce a gain like a
#   published one ([02b](02b_first_token.ipynb), [08](08_wilke.ipynb)).
# * **A gradient is also a pair of key and value** ([09](09_learning_to_edit.ipynb), [10](10_ultraedit.ipynb)). Training
#   or standardizing decides how to weigh such pairs.
# * **External memory leaves all weights unchanged, so everything depends on which prompts are answered**
#   ([11](11_grace.ipynb), [12](12_wise.ipynb), [13](13_lemoe.ipynb)). No radius that we tried separates rewordings from
#   neighbors.
# * **If something happens in a stream, it happens to all of its facts** ([14](14_lifelong.ipynb),
#   [15](15_judging.ipynb)). The stream is the observation, and every number comes with the unedited model's.
# * **Giving the new answer is not yet knowing it.** After ROME, a truth probe accepts the new answer and rejects the
#   old answer for only some of the facts ([18b](18b_truth_probe.ipynb)), and rounding to four bits can erase an edit
#   made of many small changes ([18](18_does_it_last.ipynb)).
#
# ## Gains and costs of an edit
#
# The figure shows both for every editor: higher points give more, and points further right leave more unchanged. On the
# left are means over the short streams of [notebook 14](14_lifelong.ipynb); on the right, means over a hundred facts
# from CounterFact and a hundred from ZsRE, written one by one. There, a neighbor counts if its continuation is
# unchanged, right or wrong. Along the dashed line, editors are worth as much as MEMIT, if losing a point costs as much
# as gaining a point brings. The dotted line is the unedited model's knowledge. The cross is the median editor's
# interval; a hundred facts in a row are a single observation and have no interval.

# %%
share = {c: runs_14.streams(runs_14.stored(), c) for c in runs_14.COLUMNS}
metrics = "retention", "generalization", "same_relation", "locality"  # the columns' in the hundreds
hundreds = {c: which_editor.hundred(m) for c, m in zip(share, metrics, strict=True)}


def place(of):  # {column: percentage} -> (unchanged, given)
    return (of["neighbors"] + of["unrelated"]) / 2, (of["held"] + of["reworded"]) / 2


def halves(name):  # half of Student's interval of both, over the streams
    each = [[100 * np.mean(one) for one in of[name]] for of in share.values()]
    both = place(dict(zip(share, np.array(each), strict=True)))
    return [(high - low) / 2 for _, low, high in map(by_stream, both)]


names = [name for some in runs_14.FAMILIES.values() for name in some]
streams = {n: place({c: 100 * runs_14.mean(of[n]) for c, of in share.items()}) for n in names}
longer = {
    n: place({c: 100 * np.mean(of[n]) for c, of in hundreds.items()})
    for n in names
    if n in hundreds["held"]
}
print("neighbors that the searches leave unchanged in the hundreds (%):", end=" ")
near = [
    100 * np.mean(hundreds["neighbors"][n]) for n in runs_14.FAMILIES["searches"] if n in longer
]
print(f"{min(near):.0f} to {max(near):.0f}")

# %%
ASIDE = [  # positions of names, in each panel; searches without an entry are between others
    {"WISE": (6, -11), "FT-M": (-31, -4), "FT-L": (-28, -4), "norm anchor": (6, 2)}
    | {"MEMIT": (6, -3), "PMET": (-28, -9)},
    {"WISE": (6, -9), "MEMOIR": (-44, 2), "AlphaEdit": (6, -3), "PMET": (6, -3)}
    | {"MEMIT": (-33, -9), "norm anchor": (6, 2), "synthetic documents": (-20, -13)}
    | {"FT-M": (-31, -10), "CrispEdit": (-46, -3), "retrieval": (-38, -12)},
]
# on the right, five editors near the origin share a label
corner = dict.fromkeys(("MALMEN", "MEND", "RLEdit", "steering"), "")
corner["FT-L"] = "FT-L, MALMEN, MEND,\nRLEdit, steering"
figure, axes = figures.panels(2, height=5.4, sharex=True, sharey=True)
titles = "short streams", "a hundred facts"
for ax, of, title, aside in zip(axes, (streams, longer), titles, ASIDE, strict=True):
    worth = sum(of["MEMIT"])
    ax.plot([0, 100], [worth, worth - 100], "--", color=plot.QUIET)
    for family, some in runs_14.FAMILIES.items():
        color = drawings_14.COLORS[family]
        for name in [name for name in some if name in of]:
            ax.plot(*of[name], "o", color=color, alpha=0.8)
            if family != "searches" or name in aside:
                look = {"textcoords": "offset points", "fontsize": 8}
                label = corner.get(name, name) if of is longer else name
                ax.annotate(label, of[name], aside.get(name, (6, -3)), **look)
    ax.set(xlabel="unchanged (%)", xlim=(-3, 118), ylim=(-3, 103), title=title)
    ax.grid(True)
known = place({c: 100 * runs_14.mean(of["base"]) for c, of in share.items()})
axes[0].axvline(known[0], color=plot.QUIET, linestyle=":")  # it doesn't know all neighbors
dx, dy = np.median([halves(name) for name in names], 0)
axes[0].errorbar(14, 60, dy, dx, color=plot.QUIET)
axes[0].set_ylabel("given: facts held and rewordings (%)")
figures.legend(figure, drawings_14.COLORS.values(), drawings_14.COLORS, 5)

# %% [markdown]
# **No editor reaches the upper right corner.** The searches come closest in the short streams. In the hundreds they
# leave few neighbors unchanged, and almost every editor using external memory is worth more. So without a price and a
# length there is no best editor; [notebook 14](14_lifelong.ipynb) has recommendations for single needs.
#
# All this concerns a single small model and facts of one sentence; the brackets concern a single layer. [Notebook
# 16](16_at_scale.ipynb) names what we have never run. How to turn an edit into knowledge, including its consequences,
# is an open question.
#
# ## References
#
# * Each editor's paper is linked in [the README](../README.md#the-editors), and the book's bibliography lists all of
#   them.
