# %% [markdown]
# <!-- badge -->
#
# # 17 · Was this model edited?
#
# You are given a model. Was a fact changed in it, and which one? By the end of this page you will be able to name the
# subject of an edit from the weights, with or without the unedited model, and to judge how far you can trust such a
# verdict.
#
# **You will** find the trace of an edit · name its subject from the weights · remove the edit · and hide one.
#
# **Needs** [notebook 02](02_insert.ipynb) (the insert), [04](04_rome.ipynb) (ROME), [15](15_judging.ipynb) (intervals).
#
# **Minutes** 35 to read and 50 to work: the four exercises of [session 9](../lessons/session_9.md).

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
import math

import torch

import lib
from lib.evaluation.intervals import wilson
from lib.workbench import plot
from lib.workbench.forensics.edited_prompts import objects
from lib.workbench.forensics.investigation import THRESHOLD
from lib.workbench.forensics.matched_filter import matched_filter
from lib.workbench.forensics.reversal import PREFIXES
from notebooks.support import drawings_17, figures, long_runs, models, own_fact, show
from notebooks.support import runs_17_was_it_edited as runs_17
from notebooks.support.holes import both, guess, use
from notebooks.support.sliders import Slider

lm = models.load(SCALE, sink="own")
rome = lib.EDITORS["rome"](lm)
layer = rome.config.layer
module = lm.mlp_out(layer)
W0 = lm.weight(module).cpu()

# %% [markdown]
# ## Why does an edit leave a trace?
#
# ROME writes the pair of a key $k$ and a value using the cheapest change of a single matrix. With the second moment
# $C$ of general text, this change is
#
# $$\Delta = \frac{r\,u^\top}{q}, \qquad u = C^{-1}k, \qquad q = k^\top C^{-1} k,$$
#
# where $r$ is the missing part of the value. This is a column times a row. It has rank one, and you can read off its
# singular value decomposition:
#
# $$\sigma = \frac{\|r\|\,\|u\|}{q}, \qquad \text{left vector } \frac{r}{\|r\|}, \qquad
# \text{right vector } v = \frac{u}{\|u\|}, \qquad k \propto C v.$$
#
# The right vector shows *whose* key was written, because $C v$ is a multiple of that key. If you have $\Delta$, and
# text for estimating $C$, you can compare $C v$ with the keys of subjects.
#
# **Predict.** The edit was made for the key $k$. Is $k$ the direction that $\Delta$ stretches most?
#
# <details><summary>Work it out</summary>
#
# No, $u$ is. $\Delta$ stretches $k$ by $\|r\|/\|k\|$ and $u$ by $\sigma$, and the quotient of the two is
# $\|u\|\|k\|/q = 1/\cos(k, u)$, which is at least one. The cheapest change is made along directions that general text
# barely uses. $k$ has only a small component there, so the change has to be large.
#
# </details>

# %%
draw = torch.Generator().manual_seed(0)
d_out, d_in = 24, 32
root = torch.randn(d_in, d_in, generator=draw).double() / torch.arange(1, d_in + 1)
C0, k = root.T @ root, root.T @ torch.randn(d_in, generator=draw).double()
r = torch.randn(d_out, generator=draw).double()
u = torch.linalg.solve(C0, k)
q = k @ u
_, sigma, Vh = torch.linalg.svd(torch.outer(r, u) / q)
v = Vh[0] * Vh[0].dot(u).sign()
assert torch.allclose(sigma[0], r.norm() * u.norm() / q) and sigma[1] < 1e-10 * sigma[0]
assert torch.allclose(v, u / u.norm()) and torch.allclose(C0 @ v / (C0 @ v).norm(), k / k.norm())
assert torch.allclose(sigma[0] * k.norm() / r.norm(), k.norm() * u.norm() / q)
drawings_17.trace()

# %% [markdown]
# In this drawing, keys have two dimensions. On the left, $\hat u = u/\|u\|$ points almost along the direction that text
# uses little. On the right, the edited matrix stretches directions near $\hat u$ far more than before. So in two
# dimensions, looking along $\hat u$ shows the edit best. On the model, we compare this with looking along the plain
# key.
#
# ## Case A: with the unedited model
#
# We edit facts with ROME, each in a separate copy of the model, including your own fact. If you have the unedited
# model, you can simply restore it, and you only want to know what was changed. For one suspect, the figure shows the
# largest singular values of the difference $\Delta W$, of the same difference after saving in bfloat16, and of the
# unedited matrix.
#
# **Predict.** One fact was edited. How many singular values are above the rounding errors?
#
# <details><summary>Answer</summary>
#
# One. An editor that writes two keys for one fact would leave two. So the rank counts keys, and it reveals the number
# of edits only if you know the editor.
#
# </details>

# %%
cases = lib.classroom()
facts = [cases[i].fact for i in (0, 57, 101, 34)]
if (mine := own_fact.read()) is not None:
    facts.append(mine)
patches = {str(fact.subject): rome.edit([fact], check=False) for fact in facts}
names = list(dict.fromkeys([*runs_17.candidates(), *patches]))
if len(names) % 2 == 0:  # an odd number, to have one in the middle
    names.remove(next(name for name in names if name not in patches))
edited = {name: lm.weight(module, patch).cpu() for name, patch in patches.items()}
tower = str(facts[0].subject)


def says(prompt, W):  # two tokens of the model with this matrix
    with lm.patched(lib.Patch(weights={module: W.float()})):
        return lm.answer(prompt, 2).strip()


D = edited[tower] - W0
saved = edited[tower].bfloat16().float() - W0
shown = {"ΔW": D, "ΔW, saved in bfloat16": saved, "the unedited matrix": W0}
values = {what: torch.linalg.svdvals(M.double())[:12] for what, M in shown.items()}
series = {what: some.clamp(min=1e-7).tolist() for what, some in values.items()}
colors = {"ΔW": plot.EDITED, "the unedited matrix": plot.BASE}
axes = "singular value, largest first", "size"
plot.lines(range(1, 1 + len(values["ΔW"])), series, *axes, colors=colors, ylog=True)

# %% [markdown]
# ### Whose key is it, and which answer?
#
# For each candidate subject, we read its key after a neutral prefix, "About {}", and compute how much of its length
# is along $C v$. A score of one means that it is the key that was written.
#
# For the answer, it is easier to use prompts: both models complete ten neutral sentences about the subject, such as
# "{} is", and we sort the tokens by their contribution to the divergence between the two.

# %%
K = runs_17.keys_of(lm, names, layer)  # (n, d_in), after "About {}"
own_C = lib.second_moment(lm, [layer])[layer].C.double()
table, written = [], {}
for fact, (name, W) in zip(facts, edited.items(), strict=True):
    written[name] = own_C @ runs_17.largest((W - W0).double(), 1)[:, 0]  # C v
    scores = torch.cosine_similarity(K.double(), written[name][None]).abs()
    two, who = scores.topk(2)
    told = objects(lm, name, patches[name], lib.EMPTY, most=3)["token"]
    row = {"edited": name, "first": names[who[0]], "score": two[0].item()}
    row |= {"second": names[who[1]], "its score": two[1].item(), "new answer": fact.target_new}
    table.append(row | {"more probable than before": ", ".join(map(repr, told.str.strip()))})
show.Table(table)

# %% [markdown]
# If the list contains the subject, it comes first every time, far ahead of the second, which is often a *relative*:
# another monument, holiday or language. The answer is less certain: for one of the four subjects, it is not among the
# three tokens listed.
#
# ## Case B: without the unedited model
#
# Now we have only the suspect and a list of candidates. Among the singular values of $W$, an edit need not be
# conspicuous: the tower's is about as large as the unedited matrix's.
#
# But every candidate $s$ shows us where to look. If *this candidate* was edited, the edit is along
# $\hat u_s = C^{-1}k_s/\|C^{-1}k_s\|$, whatever the new answer is. So we measure how far $W$ stretches that
# direction. This is a *matched filter*; we know of no publication using it for this purpose.
#
# $$T_s = \|W \hat u_s\|, \qquad T_s^2 \approx \|W_0 \hat u_s\|^2 + \sigma^2 \cos^2(\hat u_s, u).$$
#
# (We leave out the cross term $2\,\langle W_0 \hat u_s, \Delta \hat u_s\rangle$: $r$ has no reason to point along
# $W_0 \hat u_s$.) We don't have $W_0$, but the other candidates show what is usual. So we take the distance from
# their median, in units of their spread. Both must be robust:
#
# $$z_s = \frac{T_s - \operatorname{median} T}{1.4826\,\operatorname{median}|T - \operatorname{median} T|}.$$
#
# If we used the mean and the standard deviation, the edited candidate would be hidden by the spread that it causes.
# However large its $T$ is, such a $z$ among $n$ candidates **never exceeds $(n-1)/\sqrt n$**.
#
# <details><summary>Work it out</summary>
#
# After subtracting the mean, let one number be $x$. The other $n - 1$ numbers add up to $-x$. The sum of their squares
# is smallest if all are equal, giving $x^2/(n-1)$, which also gives equality below. So the deviation $s$ satisfies
#
# $$(n-1)\,s^2 \ge x^2 + \frac{x^2}{n-1} = \frac{n}{n-1}\,x^2, \qquad\text{and}\qquad
# \frac xs \le \frac{n-1}{\sqrt n}.$$
#
# </details>
#
# **Your turn · exercise 9.1 · ★ · 5 minutes.** Write `stands_out`, which computes this robust $z$.
#
# **Your turn · exercise 9.2 · ★★ · 10 minutes.** Write `named`, the filter: whose direction does $W$ stretch more
# than expected? Return the candidate with the largest $z$ if this $z$ reaches the threshold, and None otherwise,
# because we must not accuse an unedited model. The function is handed in as a separate file, so repeat the
# computation of $z$ in it instead of calling `stands_out`.


# %%
def stands_out(T):
    """T (n,), n odd: norms of the candidates -> z (n,); all 0 where the spread is 0."""
    ...


def named(W, K, C, threshold):
    """W (d_out, d_in), K (d_in, n) a key per candidate, C (d_in, d_in) -> its number or None."""
    ...


stands_out = use("9.1", stands_out)
named = use("9.2", named)

# %% [markdown]
# <details><summary>Hint for 9.1</summary>
#
# Try T = [1, 1.1, 0.9, 1, 50]. Which numbers describe the four unedited candidates?
#
# </details>
# <details><summary>Solution of 9.1</summary>
#
# ```python
# def stands_out(T):
#     away = T - T.median()
#     spread = 1.4826 * away.abs().median()
#     return away / spread if spread > 0 else torch.zeros_like(T)
# ```
#
# </details>
# <details><summary>Hint for 9.2</summary>
#
# In which direction would an edit of each candidate be, and which length must you give this direction so that the
# norms are comparable?
#
# </details>
# <details><summary>Solution of 9.2</summary>
#
# ```python
# def named(W, K, C, threshold):
#     U = torch.linalg.solve(C, K)
#     T = (W @ U).norm(dim=0) / U.norm(dim=0)
#     away = T - T.median()
#     z = away / (1.4826 * away.abs().median())
#     best = int(z.argmax())
#     return best if z[best] >= threshold else None
# ```
#
# </details>
#
# Now we look at four models prepared by someone else, in random order. Three contain one edit by ROME each, and one is
# unedited. The filter is given the layer. Everything else belongs to the defender: a different text than the editor's,
# a different prefix, and a little damping of $C$, because the text is short. Editing the matrix changes neither its
# keys nor $C$.
#
# **Predict.** How much does the filter lose without $C^{-1}$, that is, when looking along the raw key $k$ itself?
#
# <details><summary>Answer</summary>
#
# It loses a third to a half of $z$, as printed by the cell after the verdicts, but no verdict. The edit has only a
# small component along $k$, and in this layer it is large enough.
#
# </details>

# %%
moments = runs_17.moments(lm)  # {layer: C} of the unedited model, from a text of the defender
C = moments[layer].double()
damped = C + 0.01 * C.diagonal().mean() * torch.eye(len(C), dtype=C.dtype)
U = torch.linalg.solve(damped, K.T.double())  # (d_in, n)


def norms(W, U=U):  # T of every candidate
    return (W.double() @ U).norm(dim=0) / U.norm(dim=0)


draw = torch.Generator().manual_seed(1)  # another seed draws other models
unknown = [(None, W0)]
for i in torch.randperm(len(cases), generator=draw)[:3]:
    patch = rome.edit([cases[i].fact], check=False)
    unknown.append((str(cases[i].fact.subject), lm.weight(module, patch).cpu()))
unknown = [unknown[i] for i in torch.randperm(4, generator=draw)]
verdicts = []
for number, (_, W) in enumerate(unknown, 1):
    found = [f(W.double(), K.T.double(), damped, THRESHOLD) for f in both(named).values()]
    who = [names[int(i)] if i is not None and i == i else "nobody" for i in found]
    verdicts.append(who[0])
    print(f"model {number}: {who[0]}" + "".join(f" (yours: {one})" for one in who[1:]))
right = guess("For how many of the four is `named` right?", 0, 4)

# %%
right.against(sum(a == (b or "nobody") for a, (b, _) in zip(verdicts, unknown, strict=True)))
figure, (left, right) = figures.panels(2, height=3.8, sharey=True)
for x, (subject, W) in enumerate(unknown, 1):
    places = x + torch.linspace(-0.35, 0.35, len(names))  # side by side, in the order of the list
    for i, f in enumerate(both(stands_out).values()):  # a wrong solution is also drawn
        left.plot(places, f(norms(W)), "o^"[i], markersize=3, color=plot.BASE, alpha=0.5)
    if subject:
        at = names.index(subject)
        T = norms(W)
        z, raw = (stands_out(some)[at].item() for some in (T, norms(W, K.T.double())))
        plain = ((T - T.mean()) / T.std())[at].item()
        left.plot(places[at], z, "D", color=plot.EDITED)
        left.annotate(subject, (x, z), (0, 7), textcoords="offset points", ha="center")
        print(
            f"{subject}: z {z:.0f}, along the raw key {raw:.0f}; by mean and deviation {plain:.1f}"
        )
n = len(names)
enough = next(n for n in range(2, 999) if (n - 1) / math.sqrt(n) >= THRESHOLD)
print(f"by mean and deviation at most {(n - 1) / math.sqrt(n):.1f} among {n} candidates,", end=" ")
print(f"and below {THRESHOLD:g} with fewer than {enough}")
left.set(xlabel="model", ylabel="z", xlim=(0.3, 4.9), xticks=range(1, 5))
left.set_title(f"each point one of {len(names)} candidates")
for name in [None, *edited][:3]:
    looked = matched_filter(lm, names, moments, patches.get(name, lib.EMPTY))
    color = plot.EDITED if name else plot.BASE
    right.plot(list(moments), looked.z.max(1).values, "-o", color=color, markersize=4)
    top = looked.z.max().item()
    aside = {"xytext": (30, -3)} if name else {"xytext": (0, -15), "ha": "center"}
    right.annotate(name or "unedited", (layer, top), textcoords="offset points", **aside)
right.set(xlabel="layer", title="largest z of all candidates")
for ax in (left, right):
    ax.axhline(THRESHOLD, color=plot.QUIET, linestyle="--")
figure

# %% [markdown]
# On the left, `named` is right about all four. With mean and deviation, all three edits come close to the bound,
# whatever their $z$ is; with a list of 60 candidates, no edit could reach the threshold. On the right, the defender
# doesn't know the layer and looks at ten of them. Above the edited layer, the largest $z$ is again about the same as
# in the unedited model, although keys have changed there: the filter detects the change of the matrix.

# %%
K0 = runs_17.keys_of(lm, names, 0)
views = {"along û": runs_17.directions(moments[0], K0), "along the raw key": K0.T.double()}
for fact in facts[:2]:
    patch = lib.EDITORS["rome"](lm, layer=0).edit([fact], check=False)
    at, W = names.index(str(fact.subject)), lm.weight(lm.mlp_out(0), patch).cpu()
    for view, X in views.items():
        z = stands_out(norms(W, X))
        print(f"{fact.subject} in layer 0, {view}: z {z[at]:.1f}, the first is {names[z.argmax()]}")

# %% [markdown]
# In the bottom layer, $C^{-1}$ makes the difference. Along $\hat u$, the filter names Halloween. Along the raw key,
# another candidate comes first. The tower stays below the threshold there either way.
#
# ## What do unedited models look like?
#
# A $z$ of four sounds like a chance of one in thirty thousand. But nothing guarantees that $T$ is Gaussian, and the
# largest $z$ of many candidates and layers always belongs to one of them. So a threshold has to come from unedited
# models, and it applies to one list of candidates.
#
# A stored run has looked at seven such models: the model itself, the model rounded in three ways, and the model
# trained on other text with three seeds, as on [page 18](18_does_it_last.ipynb). It has also edited single facts,
# each in a separate copy of the model. ROME edited six even-numbered facts, which may be used for choosing a
# threshold. The threshold is then tested on three draws of odd-numbered facts, each containing six edits by ROME and
# one by MEMIT.
#
# The library's threshold of 8 was chosen on the model *without* a token prepended to its texts. The cell prints the
# two numbers between which the even draw would have put it here. Move the slider to try other thresholds.
#
# **Predict.** MEMIT writes the same facts into five layers, a part in each. How many of three does the filter name?

# %%
spread = guess("How many of MEMIT's three edits are named at a threshold of 8?", 0, 3)

# %%
rows = long_runs.rows("17_suspects")
innocent = [row["one layer"]["other"]["z"] for row in rows if "editor" not in row]


def looked(editor, *draws, how="one layer"):
    return [row[how] for row in rows if row.get("editor") == editor and row["draw"] in draws]


def named_in(editor, draw, threshold):  # whether each edit's subject is named
    some = looked(editor, draw)
    return [one["own"] >= max(threshold, one["other"]["z"]) for one in some]


even = [one["own"] for one in looked("ROME", runs_17.EVEN)]
print(f"largest z of an unedited model {max(innocent):.1f}, least of an even edit {min(even):.1f}")
several = [one["own"] for one in looked("MEMIT", *runs_17.DRAWS, how="up to five")]
print("MEMIT, summed over up to five layers:", *several)
hits = [hit for draw in runs_17.DRAWS for hit in named_in("ROME", draw, THRESHOLD)]
ends = "{:.0f}, {:.0f}".format(*(100 * end for end in wilson(sum(hits), len(hits))))
print(f"ROME's edits named: {sum(hits)} of {len(hits)}, interval [{ends}] %")
kin = [one["other"] for one in looked("ROME", *runs_17.DRAWS)]
kin = [one["name"] for one in kin if one["z"] >= THRESHOLD]
print(f"models in which another candidate also passes: {len(kin)} ({', '.join(kin)})")
spread.against(sum(sum(named_in("MEMIT", draw, THRESHOLD)) for draw in runs_17.DRAWS))
strips = {"unedited\nmodels": (innocent, plot.BASE)}
for editor in runs_17.EDITORS:
    odd = looked(editor, *runs_17.DRAWS)
    strips[f"{editor},\nits subject"] = [one["own"] for one in odd], plot.EDITED
    strips[f"{editor},\nthe rest"] = [one["other"]["z"] for one in odd], plot.NEIGHBOR


# %%
def judged(threshold):
    made, (left, bars) = figures.panels(2, height=3.8, width_ratios=(1.7, 1))
    for x, (z, color) in enumerate(strips.values()):
        places = [x + 0.04 * (i % 7 - 3) for i in range(len(z))]
        left.plot(places, [max(one, 1) for one in z], "o", color=color, markersize=5, alpha=0.7)
    left.axhline(threshold, color=plot.QUIET, linestyle="--")
    ticks = [1, 2, 5, 10, 20, 50, 100]
    left.set(yscale="log", ylabel="z", ylim=(1, 100), yticks=ticks, yticklabels=ticks)
    left.minorticks_off()
    left.set_xticks(range(len(strips)), strips, fontsize=figures.SMALL)
    for i, draw in enumerate(runs_17.DRAWS):
        shares = [named_in(editor, draw, threshold) for editor in runs_17.EDITORS]
        shares.append([one["other"]["z"] >= threshold for one in looked("ROME", draw)])
        shares = [100 * sum(some) / len(some) for some in shares]
        at = [x + 0.08 * (i - 1) for x in range(3)]
        look = {"color": plot.CYCLE[i], "marker": figures.MARKERS[i], "linestyle": ""}
        bars.plot(at, shares, **look, label=f"{draw} draw", alpha=0.85)
    bars.set_xticks(range(3), ["ROME,\nnamed", "MEMIT,\nnamed", "ROME: another\nalso above"])
    bars.set(ylim=(-4, 104), ylabel="edits (%)")
    return figures.legend(made, *bars.get_legend_handles_labels(), 3)


Slider(judged, "threshold", [2, 3, 4, 5, 6, 8, 10, 15, 20, 30], THRESHOLD)

# %% [markdown]
# Every edit by ROME is named, in all three draws, while no unedited model reaches the threshold; the interval shows how
# much 18 edits can prove. The even draw would also have allowed the threshold of 8.
#
# Two conclusions do not follow. First, **a relative of the subject may also pass the threshold**, as Paris does for
# Rome and Poland for Hungary: its $\hat u$ has a component along the subject's. If the edited subject were not on the
# list, only the relative would be accused. Second, **if no candidate stands out, this does not mean that nothing was
# edited**. None of the three MEMIT edits is detected, because each of the five layers holds only part of the edit.
# Summing $z$ over up to five layers, divided by the root of their number, puts two of the three above every unedited
# model, but still below the threshold.
#
# And the unedited models are variants of a single model. Showing that fewer than one in a hundred is accused would
# take about three hundred independent models, none of them accused.
#
# ## Taking it out
#
# We now know the layer and the subject, but don't have the unedited model. The published way (Youssef et al., 2026)
# drops the largest singular components of the matrix, for example 11 of them. Ours reads the subject's key after $p$
# prefixes, computes $U = (C + \lambda I)^{-1}K$ with
# $\lambda = \text{damping} \cdot \operatorname{tr} C/d_\text{in}$, and removes the action of $W$ on the space spanned
# by $U$:
#
# $$\tilde W = W - \text{strength} \cdot W P, \qquad P \text{ the orthogonal projector on the columns
# of } U.$$
#
# Both ways need a **control** made using the same method: the space of *another* subject, and the 11 largest
# components of *another* model. The *edited* answer has to stay. If it also disappeared, removing any space of this
# size might break the edit.
#
# **Your turn · exercise 9.3 · ★★ · 10 minutes.** Write `taken_out`. Beware: two prefixes may give the same key.


# %%
def taken_out(W, K, C, damping, strength):
    """W (d_out, d_in), K (d_in, p) the subject's keys, C (d_in, d_in) -> the new W."""
    ...


taken_out = use("9.3", taken_out)

# %% [markdown]
# <details><summary>Hint</summary>
#
# What is $U U^\top$ if two columns of $U$ are almost parallel, and how does `torch.linalg.pinv(U)` handle this?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def taken_out(W, K, C, damping, strength):
#     d = len(C)
#     damped = C + damping * C.trace() / d * torch.eye(d, dtype=C.dtype)
#     U = torch.linalg.solve(damped, K)
#     return W - strength * W @ U @ torch.linalg.pinv(U)
# ```
#
# </details>
#
# The table shows the answers of case A's suspects, and the figure shows ROME's edits in the three odd draws. Its
# panels count prompts at which the unedited model's next token is back, prompts at which the edited token stays, and
# neighbors whose next token is the unedited model's.
#
# **Predict.** Does either way bring back the old *matrix*?
#
# <details><summary>Answer</summary>
#
# No. Removing the space also removes the unedited model's values on it, and only the unedited model has them.
#
# </details>

# %%
table = []
for fact, (name, W) in zip(facts, edited.items(), strict=True):
    row = {"subject": name, "unedited": says(fact.text, W0), "edited": says(fact.text, W)}
    for i, f in enumerate(both(taken_out).values()):
        for title, whose in (("16 prefixes", name), ("of another", names[names.index(name) - 1])):
            behind = runs_17.keys_of(lm, [whose], layer, PREFIXES).T.double()
            row[title + i * ", yours"] = says(fact.text, f(W.double(), behind, C, 1.0, 1.0))
    table.append(row)
show.Table(table)

# %%
ways = "16 prefixes", "11 components", "16 prefixes of another", "11 components of another"
shares = {}
for i, title in enumerate(
    ("old token back (%)", "edited token stays (%)", "neighbors unchanged (%)")
):
    shares[title] = {}
    for way in ways:
        each = [
            [row["out"][way][i] for row in rows if row["draw"] == draw and "out" in row]
            for draw in runs_17.DRAWS
        ]
        each = [[one for one in some if one is not None] for some in each]
        shares[title][way] = [100 * sum(some) / len(some) for some in each]
    if not i:
        for way in ways[:2]:
            back = [
                row["out"][way][i] for row in rows if row["draw"] in runs_17.DRAWS and "out" in row
            ]
            print(f"{way}: the old token is back in {sum(back):g} of {len(back)}")
made = figures.dots(shares, [f"{draw} draw" for draw in runs_17.DRAWS], joined=False)
for ax in made.axes:
    ax.set_ylim(-4, 104)
made

# %% [markdown]
# Removing 11 components brings the old token back in 16 of 18 cases, removing the space of the 16 prefixes in 12, and
# most neighbors are unchanged. **Both controls hold: when we remove the space of
# another subject or the components of another model, the edited token stays in place, every time.** So the edit does
# not break when just any space of this size is removed. We get an answer back, not the matrix.
#
# ## How to hide
#
# The person who edits can read all this. The defender looks along $\hat u$, so an adversary can write the pair using
# a change that does *nothing* there. Among all $\Delta$ with $\Delta k = r$ and $\Delta \hat u = 0$, the cheapest on
# general text is the insert with two pairs, one of which has the value zero. It exists unless $k$ and $\hat u$ are
# parallel. With both pairs in $K = (\hat u, k)$ it is, as on page 02,
#
# $$\Delta_\text{silent} = (0, r)\,(K^\top C^{-1} K)^{-1} K^\top C^{-1}.$$
#
# Every mixture $(1-t)\Delta_\text{cheapest} + t\,\Delta_\text{silent}$ also writes the pair, and a smaller $t$ costs
# less. We measure the **price** as the mean squared change on general text, $\operatorname{tr} \Delta C \Delta^\top$.
#
# **Your turn · exercise 9.4 · ★★★ · 15 minutes.** Write the three steps, each of which is checked separately. `hide`
# lets the pair be written and keeps the defender's largest $z$ below the threshold, paying as little as possible. You
# may query the defender 20 times. If $t = 0$ isn't detected, return it; if every $t$ is detected, return $t = 1$.


# %%
def cheapest(W, k, v, C):
    """W (d_out, d_in), k (d_in,), v (d_out,), C your own -> the Δ of notebook 02."""
    ...


def silent(W, k, v, C):
    """-> the cheapest Δ that writes the pair and does nothing at û."""
    ...


def hide(W, k, v, C, threshold, defender):
    """defender(W) -> his largest z. -> new W; it may call the other two."""
    ...


cheapest = use("9.4", cheapest)
silent = use("9.4", silent)
hide = use("9.4", hide)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many queries does it take to determine $t$ to one in a thousand, if each halves an interval? This assumes that
# the largest $z$ falls as $t$ grows. The figure below checks this.
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def cheapest(W, k, v, C):
#     u = torch.linalg.solve(C, k)
#     return torch.outer(v - W @ k, u) / (u @ k)
#
#
# def silent(W, k, v, C):
#     K = torch.stack([torch.linalg.solve(C, k), k], 1)  # û, up to its length, and k
#     U = torch.linalg.solve(C, K)
#     R = torch.stack([torch.zeros_like(v), v - W @ k], 1)  # what is missing at each
#     return R @ torch.linalg.solve(K.T @ U, U.T)
#
#
# def hide(W, k, v, C, threshold, defender):
#     seen, unseen = cheapest(W, k, v, C), silent(W, k, v, C)
#     if defender(W + seen) < threshold:
#         return W + seen
#     low, high = 0.0, 1.0  # the defender sees low, and not high
#     for _ in range(12):
#         t = (low + high) / 2
#         caught = defender(W + (1 - t) * seen + t * unseen) >= threshold
#         low, high = (t, high) if caught else (low, t)
#     return W + (1 - high) * seen + high * unseen
# ```
#
# </details>
#
# The adversary writes the very pair that ROME wrote, so at $t = 0$ it is ROME's edit. Of three defenders, two have a
# different text than the editor and different prefixes, and one reads the *editor's* text. The page hides the edit
# from each of the three in turn, marking the first queries of `hide` by their numbers.
#
# **Predict.** In notebook 02's whitened coordinates, the cheapest change points along $\tilde k$. How much does the
# silent change cost? And is it hidden from a defender using another text?
#
# <details><summary>Work it out</summary>
#
# The silent change points along the part of $\tilde k$ that is orthogonal to $\tilde u$. This part is shorter, so the
# change has to be larger: the price is $1/(1 - \cos^2(\tilde k, \tilde u))$ times the lowest. A defender using another
# text or prefix looks along a slightly different direction, so this defender may still see the edit.
#
# </details>

# %%
start, k, W = W0.double(), written[tower], edited[tower].double()
given = start, k, W @ k, own_C


def price(change):
    return ((change @ own_C) * change).sum().item()


low = cheapest(*given)
assert SCALE == "tiny" or (low - (W - start)).norm() < 1e-2 * low.norm()  # ROME's own change
L = torch.linalg.cholesky(own_C)
pair = torch.stack([k, torch.linalg.solve(own_C, k)], 1)
one, other = torch.linalg.solve_triangular(L, pair, upper=False).T  # whitened k and û
costs = price(silent(*given)) / price(low)
by_formula = 1 / (1 - torch.cosine_similarity(one, other, dim=0).item() ** 2)
assert SCALE == "tiny" or math.isclose(costs, by_formula, rel_tol=0.01)
print(f"the silent change costs {costs:.1f} times as much as the cheapest")
looks = runs_17.defended(lm)  # {defender: directions to look along}
full, questions = silent(*given) - low, {}


def seen_by(who, W):
    return stands_out(norms(W, looks[who])).max().item()


for who in looks:
    for i, f in enumerate(both(hide).values()):
        kept = questions.setdefault(who + i * ", yours", [])

        def asked(W, who=who, kept=kept):
            t = ((W - start - low) * full).sum() / full.square().sum()
            kept.append((t.item(), seen_by(who, W)))
            return kept[-1][1]

        found = f(*given, THRESHOLD, asked)
        print(
            f"from {who}{i * ', yours'}: {len(kept)} questions, z {seen_by(who, found):.1f},",
            end=" ",
        )
        print(f"price {price(found - start) / price(low):.1f}, {says(facts[0].text, found)!r}")

# %%
figure, (left, right) = figures.panels(2, height=4, width_ratios=(1.5, 1))
hidden = [
    [row["hiding"] for row in rows if row["draw"] == draw and "hiding" in row]
    for draw in runs_17.DRAWS
]
steps, dashes = [i / 8 for i in range(9)], ("-", "--")
for number, who in enumerate(looks):
    color = plot.CYCLE[number]
    for line, f in zip(dashes, both(silent).values(), strict=False):
        z = [seen_by(who, start + low.lerp(f(*given), t)) for t in steps]
        left.plot(steps, z, line, color=color)
    for i, (t, z) in enumerate(questions[who][:5], 1):  # 1 is t = 0, then the halvings
        left.plot(t, z, "o", color=color, markersize=4)
        left.annotate(str(i), (t, z), (3, 3), textcoords="offset points", color=color)
    for i, some in enumerate(hidden):
        shares = [[one["z"][who][at] >= THRESHOLD for one in some] for at in (0, 1)]
        y = [100 * sum(each) / len(each) for each in shares]
        x = [at + 0.16 * (number - 1) + 0.04 * (i - 1) for at in (0, 1)]  # side by side
        right.plot(x, y, "-", color=color, marker=figures.MARKERS[i], alpha=0.7, label=who)
left.axhline(THRESHOLD, color=plot.QUIET, linestyle=":")
left.set(xlabel="t, from cheapest to silent", ylabel="largest z", title=tower)
right.set_xticks(range(2), ["openly", "hidden"])
right.set(ylabel="detected, three draws (%)", xlim=(-0.4, 1.4), ylim=(-4, 104))
handles = {line.get_label(): line for line in right.lines[::-1]}
figures.legend(figure, list(handles.values())[::-1], list(handles)[::-1], 3)

# %% [markdown]
# For the defender reading the adversary's text, the bisection closes in on the threshold, and hiding just enough costs
# less than silence. Its curve rises again near $t = 1$, and the other two rise at first, so the hint's assumption fails
# slightly at both ends. The other two see every $t$, so `hide` ends at $t = 1$ and escapes neither: they compute $C$
# from another text, giving another $\hat u$. In the stored run (right), we queried the first of them about each edit,
# and the two still detect almost every edit. The price is more than four times the lowest there. **Hiding from a
# defender requires knowing where the defender looks.** MEMIT hides without meaning to, by writing in more layers.
#
# ## Where it breaks
#
# Suppose that the adversary also has the other text. The silent change then has three pairs, two of them with the
# value zero: the tower's $\hat u$ for either text. We show it to all three, and to a fourth defender, reading the
# other text with a new prefix.
#
# **Predict.** How much does the second silence cost, and does the fourth defender see the edit?

# %%
blind = [
    looks[who][:, names.index(tower)] for who in ("the editor's text", "the one who was asked")
]
P = torch.stack([*blind, k], 1)
R = torch.zeros(len(start), 3, dtype=P.dtype)
R[:, 2] = W @ k - start @ k
V = torch.linalg.solve(own_C, P)
quiet = R @ torch.linalg.solve(P.T @ V, V.T)
print(f"silent by both texts, {price(quiet) / price(low):.1f} times the lowest price; largest z:")
fresh = runs_17.keys_of(lm, runs_17.candidates(), layer, ["The story of {}"])
looks["a fourth, with a new prefix"] = runs_17.directions(C, fresh)
for who in looks:
    z = stands_out(norms(start + quiet, looks[who]))
    print(f"{who}: {z.max():.1f}, that of the tower {z[names.index(tower)]:.1f}")

# %% [markdown]
# For a third more, it escapes all four, including the defender with the new prefix, though the editor's text comes
# close to the threshold. So for this edit, the defender's secret is the *text* used for $C$, not the prompt. We have
# not tried a defender with a third text.
#
# ## The verdict
#
# What may you write in a report? Choose one of the four models, and write the sentence that you would sign, as
# `claim`. The cell reads it, filling in a form for the same model.

# %%
number, claim = 3, ""  # which model, and your sentence about it
if claim and "edit" in claim.lower() and "consistent with" not in claim.lower():
    print("Not yet: a z does not show that this was done, only what it is consistent with.")
elif claim:
    print(f"Yours: {claim}")
z = stands_out(norms(unknown[number - 1][1]))
two, who = z.topk(2)
verdict = "no candidate of the list stands out"
if two[0] >= THRESHOLD:
    verdict = f"consistent with an edit of {names[who[0]]}"
print(
    f"Model {number}: {verdict}.",
    f"Measured: robust z along û in layer {layer}, among {len(names)} candidates.",
    f"Largest z {two[0]:.1f}, the next {two[1]:.1f}, threshold {THRESHOLD:g}.",
    f"Compared with {len(innocent)} unedited models, all variants of one: at most {max(innocent):.1f}.",
    "Not covered: subjects on no list, other matrices, edits spread over layers, hidden edits.",
    sep="\n",
)

# %% [markdown]
# The form uses the wording "consistent with an edit of", and never "edited", because a change made for another
# purpose may give the same numbers.
#
# ## What we know now
#
# * An edit of rank one contains its key: $k \propto C v$. With the unedited model, the subject came first every time.
#   Without it, the matched filter looks along the $\hat u$ of each candidate, comparing the candidates.
# * Every single edit by ROME was named, in three draws, and none by MEMIT, which spreads an edit over five layers. A
#   $z$ needs robust units, which have no bound, and a threshold from unedited models.
# * Removing an edit needs a control: doing the same for other subjects and other models has to leave the edit in
#   place. It did.
# * Hiding requires the defender's $C$. Using another text, the adversary pays four times the lowest price, and is
#   detected nevertheless.
#
# In most of the course, we looked at edits right after making them. **Does it last?** [Notebook
# 18](18_does_it_last.ipynb) rounds such models, trains them further, and casts doubt on their replies.
#
# ## References
#
# * Youssef et al.: *Tracing and Reversing Edits in LLMs*, 2026; known here from descriptions, because
#   its code was not available.
# * Youssef et al.: *Has this Fact been Edited? Detecting Knowledge Edits in Language Models*, 2025,
#   [arXiv:2405.02765](https://arxiv.org/abs/2405.02765).
# * Benaych-Georges, Nadakuditi: *The Singular Values and Vectors of Low Rank Perturbations of Large
#   Rectangular Random Matrices*, 2012.
