# %% [markdown]
# <!-- badge -->
#
# # 08 · WilKE: the layer that fits the fact
#
# Does every fact have to go into the same layer? A published method says no, and is 46% ahead of the next best in
# its paper. By the end of this page you will know how to choose a layer for each fact, where such a gain can come
# from, and how to find out.
#
# **You will** write WilKE in two steps and run it on the real model · see what its score measures, and what it does
# not · predict before an edit whether it will ruin a model, and guard against it · see how much of the gain is then
# left.
#
# **Needs** [02](02_insert.ipynb) (insert), [02b](02b_first_token.ipynb) (attention sink) and
# [04](04_rome.ipynb) (ROME's two keys).
#
# **Minutes** 20 for reading and 35 for working: two exercises from [session 4](../lessons/session_4.md).

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
from dataclasses import replace

import numpy as np
import torch

import lib
from lib import associative_memory as memory
from lib.editors.shared.values_at_layers import search_layers
from lib.workbench import plot
from notebooks.support import figures, long_runs, models, own_fact, show
from notebooks.support import runs_04_rome as runs_04
from notebooks.support import runs_08_wilke as runs_08
from notebooks.support.holes import both, guess, use
from notebooks.support.score_tables import by_stream, detects
from notebooks.support.sliders import Slider

lm = models.load(SCALE, sink="own")
plain = models.load(SCALE)  # nothing prepended, as for GPT-2 and GPT-J
layers = range(min(7, lm.n_layers))  # the layers that WilKE tries
editors = runs_08.editors(lm, lm)  # with the settings of the stored runs
templates = editors["WilKE"].templates()  # the bare prompt, and two that prepend text
moments = lib.second_moment(lm, layers)
draw = torch.Generator().manual_seed(0)


def each(line, function):  # {line: function}; a wrong function gets its own line
    return {line + i * ", yours": f for i, f in enumerate(both(function).values())}


# %% [markdown]
# ## One number for each layer
#
# Before making an edit, we'd like to know which layer to put it in. WilKE gives each layer one number: the size of
# the change that the edit would make there, as a fraction of the matrix being changed. A large change, the
# reasoning goes, harms everything else that is stored in the matrix.
#
# In layer $l$, ROME computes a key $k$ and the part missing there, $\delta = v^\star - Wk$, and adds
# $\Delta = \delta\,u^\top / q$ with $u = C^{-1}k$ and $q = k^\top u$. The score is
#
# $$s_l = \frac{\|\Delta_l\|_F}{\|W_l\|_F}, \qquad l^\star = \arg\min_l s_l .$$
#
# The length of an outer product is the product of the two lengths, so we can compute it without forming a matrix:
#
# $$\|\Delta\|_F = \frac{\|\delta\|\,\|u\|}{q} \ge \frac{\|\delta\|}{\|k\|},$$
#
# since $q = k^\top u \le \|k\|\,\|u\|$ by the Cauchy–Schwarz inequality. So for a given matrix, a score can be
# small only if little is missing or the key is long. The paper calls this a strong *pattern* at the subject, and
# its measure the **pattern matching degree**.
#
# **Your turn · exercise 4.3 · ★★★ · 12 minutes.** You write WilKE in two steps, each checked separately. First
# comes the length of one change.


# %%
def size(delta, k, C):
    """δ (d_out,), k (d_in,), C (d_in, d_in) -> ‖Δ‖, one number."""
    ...


size = use("4.3", size)


def scores(Ws, ks, deltas, Cs, size=size):  # of all layers
    each_layer = zip(Ws, ks, deltas, Cs, strict=True)
    return torch.stack([size(delta, k, C) / W.norm() for W, k, delta, C in each_layer])


# %% [markdown]
# <details><summary>Hint</summary>
#
# A change is $\delta$ times a row vector. How long is that row?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def size(delta, k, C):
#     u = torch.linalg.solve(C, k)
#     return delta.norm() * u.norm() / (k @ u)
# ```
#
# </details>
#
# Is a small change harmless? Consider a layer with two inputs, of which general text uses one a hundred times as
# much as the other: $C = \mathrm{diag}(100, 1)$. The key, of length 1, turns from the common direction to the rare
# one.
#
# **Predict.** At which end is the change longer? At which end does it affect the outputs for general text more?
#
# <details><summary>Work it out</summary>
#
# Along either axis, $u$ is parallel to $k$, so $\|\Delta\|_F = \|\delta\|/\|k\|$ at *both* ends. The output at a key
# $x$ of general text changes, in the mean square, by
# $\mathbb{E}\|\Delta x\|^2 = \mathrm{tr}(\Delta C \Delta^\top) = \|\delta\|^2\,u^\top C u/q^2 = \|\delta\|^2/q$,
# since $u^\top C u = u^\top k = q$. For the common direction, $q$ is
# a hundred times smaller, so the harm is a hundred times larger.
#
# </details>

# %%
W, delta = torch.eye(3, 2).double(), torch.randn(3, generator=draw).double()
degrees = range(0, 91, 3)


def turned(times):  # the change and its harm while the key turns, with C = diag(times, 1)
    C = torch.diag(torch.tensor([times, 1.0]).double())
    harm = "harm to text, tr(ΔCΔᵀ) / ‖δ‖²"
    found = {line: [] for line in (*each("change, ‖Δ‖ / ‖δ‖", size), harm)}
    for angle in torch.tensor(degrees).double().deg2rad():
        k = torch.stack([angle.cos(), angle.sin()])
        change = torch.mm(*memory.insert(W, k, W @ k + delta, C))  # by the library, as a matrix
        assert torch.isclose(change.norm(), size(delta, k, C))
        assert torch.isclose(change.norm() / W.norm(), scores([W], [k], [delta], [C])[0])
        for line, f in each("change, ‖Δ‖ / ‖δ‖", size).items():
            found[line].append((f(delta, k, C) / delta.norm()).item())
        cost = torch.trace(change @ C @ change.T) / delta.norm() ** 2
        assert torch.isclose(cost, 1 / (k @ torch.linalg.solve(C, k)))  # q as in notebook 02
        found[harm].append(cost.item())
    axes = "angle between the key and the common direction (degrees)", "for a δ of length 1"
    dashes = {line: "--" for line in found if "yours" in line}
    colors = {"change, ‖Δ‖ / ‖δ‖": plot.EDITED, harm: plot.UNRELATED}
    return plot.lines(degrees, found, *axes, ylog=True, dashes=dashes, colors=colors)


Slider(turned, "common/rare", [1, 3, 10, 30, 100, 300, 1000], 100)

# %% [markdown]
# The change is equally long at both ends, but the harm is not. **The score measures weights; the effect on text is
# $1/q$.** Move the slider to 1: the score measures harm only if text uses all directions equally.
#
# ## WilKE on the real model
#
# The second step is the method itself. Facts are written one after another, each in the layer with its smallest
# score, and each new fact is written into the model as edited so far.


# %%
def wilke(search, facts, Ws, Cs):
    """search(fact, Ws) -> ks, values: k (d_in,) and v* (d_out,) in every layer of a model with Ws.

    Ws, Cs: one matrix per layer. Returns the new Ws, a list, and the layer of each fact, a list.
    """
    ...


wilke = use("4.3", wilke)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A loop: searching, the missing part, the scores, the layer, the change, recording the layer. Which matrices do you
# use when searching for the second fact's value?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def wilke(search, facts, Ws, Cs):
#     Ws, chosen = list(Ws), []
#     for fact in facts:
#         ks, values = search(fact, Ws)
#         deltas = [v - W @ k for v, W, k in zip(values, Ws, ks, strict=True)]
#         sizes = [size(delta, k, C) for delta, k, C in zip(deltas, ks, Cs, strict=True)]
#         scores = torch.stack([one / W.norm() for one, W in zip(sizes, Ws, strict=True)])
#         best = scores.argmin().item()
#         u = torch.linalg.solve(Cs[best], ks[best])
#         Ws[best] = Ws[best] + torch.outer(deltas[best], u) / (ks[best] @ u)
#         chosen.append(best)
#     return Ws, chosen
# ```
#
# </details>
#
# On the real model, computing a score costs a whole edit, because it requires searching for $v^\star$ in every layer.
# The cell below writes two facts in this way, followed by your own from notebook 00. Keys are means over the bare
# prompt and two templates. The result must match the first two rows of a stored run made using the library.

# %%
modules = [lm.mlp_out(layer) for layer in layers]
Cs = [moments[layer].C.cpu().double() for layer in layers]
live = []


def patched(Ws):
    return lib.Patch({name: W.float() for name, W in zip(modules, Ws, strict=True)})


def search(fact, Ws):  # the keys and the values of a fact in every layer of the model as it is now
    with lm.patched(patched(Ws)):
        found = search_layers(lm, fact, layers, templates, editors["WilKE"].config.search())
    ks = [one.keys.mean(0).cpu().double() for one in found]
    values = [one.v_star.cpu().double() for one in found]
    missing = [v - W @ k for v, W, k in zip(values, Ws, ks, strict=True)]
    live.append(
        {x: scores(Ws, ks, missing, Cs, f).tolist() for x, f in each("scores", size).items()}
    )
    return ks, values


# %%
facts = [case.fact for case in runs_04.draws()["first"][:2]]
mine = own_fact.read()
facts += [mine] if mine else []
Ws, chosen = wilke(search, facts, [lm.weight(name).cpu().double() for name in modules], Cs)
rows = [row for row in long_runs.rows("08_three") if row["line"] == "WilKE"]
stored = [{"scores": list(row["scores"].values()), "layer": row["layer"]} for row in rows]
live = [row | {"layer": layer} for row, layer in zip(live, chosen, strict=True)]
long_runs.repeats(stored, lambda: live[:2], ["scores", "layer"], tolerance=0.02)
table = []
for fact, layer in zip(facts, chosen, strict=True):
    line = {"prompt": fact.text, "before": lm.answer(fact.text, 4)}
    with lm.patched(patched(Ws)):
        table.append(line | {"after": lm.answer(fact.text, 4), "written into layer": layer})
show.Table(table)

# %% [markdown]
# The stored run writes three streams of ten facts; two of these streams have no fact in common. The figure shows
# the scores of twelve facts. Three are about China, Rome and Britain: **openers**, as notebook 02b calls
# single-token subjects at the beginning of their prompt.
#
# **Predict.** Do all facts prefer the same layer? Type your number into the field above the figure.
#
# <details><summary>Answer</summary>
#
# No. The first layer is the most frequent choice, but no layer fits all.
#
# </details>

# %%
in_zero = guess("How many of the thirty edits does WilKE put into layer 0?", 0, 30)
first = "opener"

# %%
COLORS = {"other": plot.BASE, "your fact": plot.EDITED, "yours": plot.QUIET}


def over_layers(lines):  # (name, values) pairs -> {name: [(layers, values), …]}
    found = {}
    for name, y in lines:
        found.setdefault(name, []).append((range(len(y)), y))
    return found


in_zero.against(sum(row["layer"] == 0 for row in rows))
twelve = [row for row in rows if row["draw"] == "first"]
twelve += [row for row in rows if row["draw"] == "mixed" and row["opens"]]
curves = [(first if row["opens"] else "other", list(row["scores"].values())) for row in twelve]
curves += [("your fact", row["scores"]) for row in live[2:]]
curves += [("yours", row["scores, yours"]) for row in live if "scores, yours" in row]
of = {name: np.array([y for x, y in curves if x == name]) for name in (first, "other")}
print(
    f"openers: at most {(of[first] / of['other'].max(0)).max():.1f} times the largest other score"
)
shown = {"": over_layers(curves)}
what = "score s, change relative to the matrix"
figures.curves(shown, "layer", what, log=shown, best=True, colors=COLORS)

# %% [markdown]
# More than half of the edits go into layer 0, and the others are spread over five more layers. The three openers have
# large scores in most layers, but never twice the largest of the others. **No change in this figure is long**: the
# largest is a seventh of its matrix. So which changes did WilKE avoid in the paper to gain so much?
#
# ## The edits that ruin a model
#
# WilKE's authors saw two ways in which sequential editing with ROME fails: slowly, or through a **flash**, one single
# edit that ruins the model. Almost all of their flash facts have a short subject at the beginning of the prompt, and
# the authors say that the layer doesn't fit these facts. In notebook 04 we met another explanation. *Published* ROME
# takes its direction from the mean key $\bar k$, and its length from the bare prompt's key $k_0$:
#
# $$\Delta = (v^\star - Wk_0)\,\frac{u^\top}{u^\top k_0}, \qquad u = C^{-1}\bar k .$$
#
# R-ROME, whose key is used by this library's ROME and by `wilke` with `preset="ours"`, uses $\bar k$ everywhere. If
# about the same amount is missing at both keys, the published change is longer by the factor
# $|u^\top\bar k / u^\top k_0|$. **We can compute this factor from the keys before searching or writing anything.**
#
# The next cell computes the factor for the twelve facts in seven layers, on our model and on the same model with
# nothing prepended to the text. GPT-2 and GPT-J, on which ROME and WilKE were published, read texts this way.
#
# **Predict.** For which facts, in which layers and in which model will the factor be far from 1?
#
# <details><summary>Answer</summary>
#
# Without the token, an opener is the very first thing that the model reads. Its position is the attention sink, where
# the key is almost the same for every subject, as we saw in notebook 02b. After a template the subject is an ordinary
# word. So from the layer where the sink begins, the two keys have little in common.
#
# </details>

# %%
cases = {case.id: case for case in lib.classroom()}
facts = [cases[row["case"]].fact for row in twelve]


def factors(model):  # the lines of one panel: the factor of each fact in every layer
    found, moments = torch.zeros(len(facts), len(layers)), lib.second_moment(model, layers)
    for layer in layers:
        K, C = model.keys(facts, layer, templates).cpu().double(), moments[layer].C.cpu().double()
        U = torch.linalg.solve(C, K.mean(0))
        found[:, layer] = ((U * K.mean(0)).sum(0) / (U * K[0]).sum(0)).abs()
    return [
        (first if row["opens"] else "other", y)
        for row, y in zip(twelve, found.tolist(), strict=True)
    ]


shown = {"nothing prepended": plain, "with the token": lm}
shown = {what: over_layers(factors(model)) for what, model in shown.items()}
longer = "times longer under the published key"
figures.curves(shown, "layer", longer, log=shown, colors=COLORS)

# %% [markdown]
# **Without the token** the changes for the three openers are about twenty times too long, and up to eighty, from
# layer 3 on, where ROME writes in this model. In layer 1 they are less than half as long as they should be, which
# helps make the scores small there. The other nine facts don't show this in any layer. **With the token** the three
# are like the others.
#
# So if a method looks for a small change, it will avoid layer 3 for just these facts. The next cell shows this by
# running the library's WilKE with the published key and nothing prepended. It tries the three layers in which the
# factor is small, and ROME's layer. We also write each candidate edit on its own and measure two things: the
# probability of the new answer, and how far unrelated text shifts (the KL divergence of the next token).

# %%
few = tuple(range(min(4, lm.n_layers)))
mixed = replace(editors["WilKE"].config, keys="mixed", layers=few)
mixed = lib.EDITORS["wilke"](plain, mixed)
moved = runs_08.divergence(plain)
tests = {"score s": [], "KL at unrelated prompts (nats)": [], "p of the new answer": []}
for fact in (cases[row["case"]].fact for row in twelve if row["opens"]):
    tried = mixed.matches(fact)
    edits = [{plain.mlp_out(one.layer): lib.LowRank((one.update,))} for one in tried]
    kl, p = [moved(lib.Patch(edit)) for edit in edits], []
    for edit in edits:
        with plain.patched(lib.Patch(edit)):
            p.append(plain.score(fact.text, fact.target_new).sum().exp().item())
    for lines, values in zip(tests.values(), ([one.score for one in tried], kl, p), strict=True):
        lines.append((fact.subject, values))
tests = {what: over_layers(lines) for what, lines in tests.items()}
figures.curves(tests, "layer", log=list(tests)[:2], best=list(tests)[:2])

# %% [markdown]
# In layer 3 each of these changes is longer than the whole matrix and shifts unrelated text most: flashes are made
# of such changes. WilKE chooses layer 1, where the change is about fifty times smaller and unrelated text shifts
# less than a third as much, while the new answer becomes more probable for two of the three. **This is the gain**: a
# rescue from changes that should never have been so long. The choice isn't the best one either: layer 0 has larger scores than layer 1, but
# does far less harm for China and Rome, and as much for Britain. The score measures weights.
#
# ## The flash, edit by edit
#
# If that is the whole story, the damage in a stream must come from these edits. Four stored streams of ten facts
# have no fact in common, and each has two openers. Two have nothing prepended; two have the token. After every edit
# we measured the KL divergence at unrelated prompts. *Published* editors use the published key, the others the mean
# key.
#
# **Your turn · exercise 4.5, first step · ★★★ · 5 minutes.** Write `jumps`: the increase in KL due to each edit,
# and the kind of the stream: "calm" below 0.02 nats at the end, otherwise "flash" if one edit contributed more than
# half of the final value, otherwise "build-up".
#
# **Predict.** What fraction of all increases is due to the edits of the two openers, in a stream of ten by
# published ROME?


# %%
def jumps(kl):
    """kl (T,) after each edit -> its rise at each edit, the first from 0, (T,), and the kind, a string."""
    ...


jumps = use("4.5", jumps)
by_openers = guess("What percentage of the increases in KL is due to the two openers?", 0, 100)

# %% [markdown]
# <details><summary>Hint</summary>
#
# After a flash, all later values are also large. Which of two numbers shows that a single edit caused it?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def jumps(kl):
#     rises = torch.diff(kl, prepend=kl.new_zeros(1))
#     if kl[-1] < 0.02:
#         return rises, "calm"
#     return rises, "flash" if rises.max() > kl[-1] / 2 else "build-up"
# ```
#
# </details>

# %%
six = [row for i in (1, 2) for row in long_runs.paper(f"wilke_six_{i}")["rows"]]
FRONTS = {"nothing prepended": "front", "with the token": "behind"}
arms = ["ROME published", "WilKE published", "ROME mean", "WilKE mean"]
opened, at = [], range(1, 11)


def streams(arm, front="nothing prepended"):  # two, each of ten rows
    some = [row for row in six if row["arm"] == arm and row["reading"] == FRONTS[front]]
    return [some[:10], some[10:]]


def opens(row):  # the rows mark openers only where nothing is prepended
    return runs_08.opens(plain if row["reading"] == "front" else lm, cases[row["case"]].fact)


def of_kl(arm, front="nothing prepended"):  # for the two streams
    return [torch.tensor([row["kl"] for row in own]).double() for own in streams(arm, front)]


for line, f in [pair for arm in arms for pair in each(arm, jumps).items()]:
    told = [f(kl) for kl in of_kl(line.removesuffix(", yours"))]
    said = "; ".join(f"{kind}, largest increase {rises.max():.3f} nats" for rises, kind in told)
    print(f"{line}, nothing prepended: {said}")
for own, kl in zip(streams(arms[0]), of_kl(arms[0]), strict=True):
    rises = jumps(kl)[0].clamp(min=0)
    opened.append(sum(rises[i] for i, row in enumerate(own) if opens(row)) / rises.sum())
for front in FRONTS:
    some = (row for own in streams(arms[0], front) for row in own if opens(row))
    names = (f"{cases[row['case']].fact.subject} (edit {row['edit']})" for row in some)
    print(f"openers, {front}:", ", ".join(names))

# %%
by_openers.against(100 * np.mean(opened))
shown = {x: {arm: [(at, kl) for kl in of_kl(arm, x)] for arm in arms} for x in FRONTS}
made = figures.curves(shown, "edit", "KL at unrelated prompts (nats)")
for ax, front in zip(made.axes, FRONTS, strict=True):
    for row in (row for arm in arms for own in streams(arm, front) for row in own if opens(row)):
        ax.plot(row["edit"], row["kl"], "o", color=plot.QUIET, markersize=4)
made

# %% [markdown]
# **With nothing prepended, published ROME's curve is flat except for steps.** Each step is the edit of an opener
# (gray dots), and these two edits cause 99% of all increases. The keys identified them in advance. Published WilKE
# has the same steps, at an eighth and a thirtieth of the height. With the mean key, nothing happens, whichever editor
# chooses the layer. With the token prepended, nothing happens at openers with either key. Ten edits show no slow
# build-up.
#
# ## A guard
#
# *Careful* is ROME with the published key, in its own layer, but checking the factor first. If the factor is too large,
# it writes both keys, as two columns with one $v^\star$: the insert from notebook 05 for $K = [k_0, \bar k]$.
#
# **Your turn · exercise 4.5, second step · ★★★ · 10 minutes.** Write `careful`.


# %%
def careful(W, search, facts, C, limit):
    """search(fact, W) -> k0, k̄ (d_in,), v* (d_out,). Returns the new W, and the factor of each fact, a list."""
    ...


careful = use("4.5", careful)

# %% [markdown]
# <details><summary>Hint</summary>
#
# What is missing at each of the two columns? And which $2 \times 2$ matrix replaces $q$?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def careful(W, search, facts, C, limit):
#     log = []
#     for fact in facts:
#         k0, mean, v_star = search(fact, W)
#         u = torch.linalg.solve(C, mean)
#         log.append((u @ mean / (u @ k0)).abs().item())
#         if log[-1] > limit:
#             K = torch.stack([k0, mean], 1)
#             U = torch.linalg.solve(C, K)
#             W = W + torch.linalg.solve(K.T @ U, (v_star[:, None] - W @ K).T).T @ U.T
#         else:
#             W = W + torch.outer(v_star - W @ k0, u) / (u @ k0)
#     return W, log
# ```
#
# </details>
#
# The cell uses it for writing the first three facts of the first stream, with nothing prepended; the third is an
# opener. The table below contains all streams.

# %%
rome = runs_08.of_paper(plain, "ROME published")
layer, before = rome.config.layer, rome.templates()
C, name = rome.moment(layer).C.cpu().double(), plain.mlp_out(layer)
moved = runs_08.divergence(plain)


def one_layer(fact, W):  # k0, the mean key and v* on the model with this matrix
    with plain.patched(lib.Patch({name: W.float()})):
        (found,) = search_layers(plain, fact, [layer], before, rome.config.search())
    return found.keys[0].double(), found.keys.mean(0).double(), found.v_star.double()


stored, lines = streams("careful")[0][:3], {}


# %%
for line, f in each("careful", careful).items():
    W, made = plain.weight(name).cpu().double(), []
    for fact in (cases[row["case"]].fact for row in stored):
        W, (far,) = f(W, one_layer, [fact], C, 3.0)
        patch = lib.Patch({name: W.float()})
        made.append({"factor": float(far), "kl": moved(patch)})
        with plain.patched(patch):
            said = plain.answer(fact.text, 4).strip()
        told = f"factor {far:.2f}, KL {made[-1]['kl']:.3f} nats, answer: {said}"
        print(f"{line}: {fact.text} … {told}")
    lines[f"{line}, here"] = [([1, 2, 3], [x["kl"] for x in made])]
    if line == "careful":
        long_runs.repeats(stored, lambda made=made: made, ["factor", "kl"], tolerance=0.1)
lines = {arm: [(at, of_kl(arm)[0])] for arm in (arms[0], "careful")} | lines
what = "KL at unrelated prompts (nats)"
colors = {"careful, here": plot.EDITED}
figures.curves({what: lines}, "edit", log=[what], colors=colors)


# %%
def kept(arm, front):  # neighbors, stream by stream, in %
    return [100 * np.mean(own[-1]["neighbors"]) for own in streams(arm, front)]


pairs = [*zip(arms[1::2], arms[::2], strict=True), ("careful", arms[0]), ("careful", arms[1])]
for one, other in pairs:
    for front in list(FRONTS)[: 1 + (one != "careful")]:
        said = " and ".join(f"{x:+.0f}" for x in np.subtract(kept(one, front), kept(other, front)))
        print(f"neighbors, {one} less {other}, {front}: {said} points")
ends = {x: [] for x in ("WilKE", "ROME")}  # of the streams of the first figure, with the token
for row in long_runs.rows("08_three"):
    if row["line"] in ends and row["edit"] == 10:
        ends[row["line"]].append(100 * np.mean([*row["specificity"].values()]))
gaps = np.subtract(ends["WilKE"], ends["ROME"]).tolist()
print("… and in the first three streams:", ", ".join(f"{x:+.0f}" for x in gaps), "points;", end=" ")
gaps += np.subtract(*(kept(x, "with the token") for x in ("WilKE mean", "ROME mean"))).tolist()
middle, low, high = by_stream(gaps)
print(f"all five {middle:+.0f} [{low:+.0f}, {high:+.0f}], {detects(gaps):.0f} would be detected")
table = []
columns = {"held": "facts held", "reworded": "rewordings", "neighbors": "neighbors"}
for arm, front in [(arm, front) for front in FRONTS for arm in [*arms, "careful"]]:
    runs = [own for own in streams(arm, front) if own]
    ends = [own[-1] for own in runs]
    first_ones = [
        x for own in runs for row, x in zip(own, own[-1]["held"], strict=True) if opens(row)
    ]
    row = {"after ten edits": f"{arm}, {front}"}
    for what, column in columns.items():
        row[f"{column} (%)"] = ", ".join(f"{100 * np.mean(end[what]):.0f}" for end in ends)
    row["openers held"] = f"{sum(first_ones):.0f} of {len(first_ones)}" if first_ones else "–"
    table.append(row | {"KL (nats)": ", ".join(f"{end['kl']:.3f}" for end in ends)})
show.Table(table[:-1])  # the guard was not run with the token, because it has nothing to do there

# %% [markdown]
# Each table cell shows both streams. **The guard achieves most of the gain while keeping the layer fixed**: it
# preserves as many neighbors as published WilKE, but holds one fact fewer in each stream, and its KL is larger in the
# second. The mean key fails on all four openers, as in notebook 04, so it preserves the most neighbors but holds
# fewer facts. The guard misses two, among them Rome, and published WilKE one. With the token, every editor holds
# three of four.
#
# What does choosing the layer do by itself? Give both editors the *same* key, the mean key. With nothing prepended,
# WilKE then preserves fewer neighbors than ROME in both streams. With the token, we add the three streams written
# above, giving five; some facts occur in more than one. Some streams favor WilKE and others ROME, and a gain of less
# than 18 points would not have been detected.
#
# ## The published measure
#
# The paper uses a different protocol. Every fact is edited, tested, and then **rolled back**: the same editor writes
# the old answer back. Five proportions are counted: the edited facts (ES), rewordings (GS) and neighbors (LS) that
# are right at that point; and after rolling back, the edited facts (ERS) and other facts (ORS) that still have their
# old answer. $S$ is their harmonic mean.
#
# **Your turn · exercise 4.5, last step · ★ · 3 minutes.** Write `S`, for a list of proportions from 0 to 1. A
# proportion of 0 counts as 0.0001, as in the authors' program.


# %%
def S(parts):
    """A list of shares -> their harmonic mean, a number."""
    ...


S = use("4.5", S)

# %% [markdown]
# <details><summary>Hint</summary>
#
# If one of five proportions is 0 and the others are 1, is the editor a good one?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def S(parts):
#     return len(parts) / sum(1 / max(part, 1e-4) for part in parts)
# ```
#
# </details>
#
# The values below were published for GPT-2 XL after 64 edits. Nothing is prepended to the texts it reads. ROME and
# WilKE use the published key.
#
# **Predict.** Which proportion determines ROME's $S$?
#
# <details><summary>Answer</summary>
#
# The smallest: facts that were never edited and no longer have their answer.
#
# </details>

# %%
PARTS = {"ROME": [84.4, 59.6, 24.4, 25.0, 3.9], "MEMIT": [86.5, 41.2, 37.5, 100.0, 95.5]}
PARTS["WilKE"] = [98.4, 65.6, 33.8, 98.4, 85.1]
LATER = {"ROME": (9.5, 9.4), "MEMIT": (66.4, 13.3), "WilKE": (47.6, 19.4)}  # after 256 and 1,024
table = []
for editor, parts in PARTS.items():
    row = {"editor": editor} | dict(zip(("ES", "GS", "LS", "ERS", "ORS"), parts, strict=True))
    for line, f in each("S after 64", S).items():
        row[line] = round(100 * f([x / 100 for x in parts]), 1)
    table.append(row | {"after 256": LATER[editor][0], "after 1,024": LATER[editor][1]})
ahead = LATER["WilKE"][1] / LATER["MEMIT"][1] - 1
print(f"WilKE is {ahead:.0%} ahead of MEMIT after 1,024 edits")
show.Table(table)

# %% [markdown]
# ROME's $S$ is close to its smallest proportion: it has lost facts that it never edited. The 46% is correct, but
# describes a single point of a curve. After 1,024 edits, all three editors have almost completely failed, and WilKE
# has the largest of three small values of $S$; after 256, MEMIT is well ahead. And the table contains neither a ROME
# with another key nor a guard, so we don't know how much of the curve comes from the layer.
#
# ## What we know now
#
# * WilKE puts each fact into the layer in which it needs the smallest change relative to the matrix. The score
#   measures weights, not harm, and computing it requires a search in every layer.
# * A flash is a single edit that ruins the model. Ours were openers, with nothing prepended, under the published
#   key: $u^\top k_0$ is a small fraction of $u^\top\bar k$ there, and the change is divided by it. The keys show
#   this before the edit.
# * Writing both keys of such facts, in ROME's own layer, preserved as many neighbors as choosing layers and held one
#   fact fewer in each stream. If a token is prepended, there is nothing to guard against. When both use the same key,
#   we see no gain from the layer.
# * To find out where a gain comes from, try removing *only* the supposed cause and check whether the gain also
#   disappears.
#
# Even ROME needs a search for every fact. **Optimization per fact is slow: can a network learn to edit?** [Notebook
# 09](09_learning_to_edit.ipynb) looks at some that have.
#
# ## References
#
# * Hu et al.: *WilKE: Wise-Layer Knowledge Editor for Lifelong Knowledge Editing*, 2024,
#   [arXiv:2402.10987](https://arxiv.org/abs/2402.10987).
# * Gupta, Baskaran, Anumanchipalli: *Rebuilding ROME*, 2024,
#   [arXiv:2403.07175](https://arxiv.org/abs/2403.07175): the mixed key, and "disabling" edits.
