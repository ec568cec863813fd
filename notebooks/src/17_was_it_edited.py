# %% [markdown]
# <!-- badge -->
#
# # 17 · Was this model edited?
#
# Somebody hands you a model. Was a fact changed in it, and which? At the end of this page you can say
# what an edit leaves in the weights, name its subject with the unedited model at hand and without it,
# and say how much such a verdict is worth.
#
# **You will** derive the trace of an edit · write the filter that names an edited subject from the weights
# alone, and judge four models that may have been edited · ask what unedited models look like · take an edit
# out, with its control · and hide one.
#
# **Needs** the insert of [notebook 02](02_insert.ipynb), ROME from [04](04_rome.ipynb), and intervals
# from [15](15_judging.ipynb).
#
# **Minutes** 30 to read and 35 to work: the four exercises of [session 9](../lessons/session_9.md).
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
import pandas as pd
import torch

import lib
from lib.data.texts import HELD_OUT
from lib.evaluation.intervals import interval
from lib.workbench import plot
from lib.workbench.forensics.candidates import key_moments
from lib.workbench.forensics.investigation import THRESHOLD
from lib.workbench.forensics.matched_filter import matched_filter
from lib.workbench.forensics.reversal import PREFIXES
from lib.workbench.forensics.what_was_said import objects
from lib.workbench.plot.style import legend
from notebooks.support import drawings_17, models
from notebooks.support import runs_17_was_it_edited as runs_17
from notebooks.support.holes import guess, use
from notebooks.support.score_tables import percent

lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
rome = lib.EDITORS["rome"](lm)
layer = rome.config.layer
module = lm.mlp_out(layer)
W0 = lm.weight(module).cpu()

# %% [markdown]
# ## Why an edit leaves a trace
#
# ROME writes the pair of a key $k$ and a value with the cheapest change of one matrix. With the second
# moment $C$ of general text it was
#
# $$\Delta = \frac{r\,u^\top}{q}, \qquad u = C^{-1}k, \qquad q = k^\top C^{-1} k,$$
#
# where $r$ is what was missing in the value. That is a column times a row, so it has rank one, and its
# singular value decomposition can be read off:
#
# $$\sigma = \frac{\|r\|\,\|u\|}{q}, \qquad \text{left vector } \frac{r}{\|r\|}, \qquad
# \text{right vector } v = \frac{u}{\|u\|}, \qquad k \propto C v.$$
#
# The left vector says in which direction the output is pushed, and the right one *whose* key was written: $C v$ is a
# multiple of it. Whoever has $\Delta$, and text to estimate $C$ from, can compare $C v$ with the keys of subjects.
#
# **Predict.** The edit was made for the key $k$. Is $k$ the direction that $\Delta$ stretches most?
#
# <details><summary>Work it out</summary>
#
# No, $u$ is. Along $k$ it stretches by $\|r\|/\|k\|$ and along $u$ by $\sigma$, and the quotient of the two is
# $\|u\|\|k\|/q = 1/\cos(k, u)$, which is at least one. The cheapest change lies along directions that general
# text hardly uses. $k$ has only a small part there, so the change has to be large.
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
print(f"along k it stretches by {r.norm() / k.norm():.2f}, along u by {sigma[0]:.2f}")
print(f"1 / cos(k, u) = {k.norm() * u.norm() / q:.1f}")
drawings_17.trace()

# %% [markdown]
# In this drawing keys have two dimensions. On the left, keys of text spread far in one direction and little in the
# other, and $\hat u = u/\|u\|$ points nearly along the other. On the right, the edited matrix stretches directions
# near $\hat u$ far more than before, and those that text uses hardly more. So a look along $\hat u$ shows it best.
#
# ## Case A: the unedited model is at hand
#
# Four facts are edited by ROME, each in a copy of the model. Whoever has the unedited model can simply go
# back to it. What is left is to find out what was done. For the suspect in which the Eiffel Tower was moved,
# the figure shows the largest singular values of the difference $\Delta W$, of the same difference when the
# suspect was saved in bfloat16, and of the unedited matrix.
#
# **Predict.** One fact was edited. How many singular values stand above rounding?
#
# <details><summary>Answer</summary>
#
# Two, and in bfloat16 they stand far above rounding as well. This library's ROME writes two keys for one
# fact, the mean over contexts and that of the bare prompt (notebook 04). As published, it writes one. So
# a rank counts keys. It is a bound on the number of edits only for somebody who knows the editor.
#
# </details>

# %%
cases = lib.classroom()
facts = [cases[i] for i in (0, 57, 101, 34)]
names = list(dict.fromkeys(str(c.fact.subject) for c in cases if c.fact.subject))
patches = {str(c.fact.subject): rome.edit([c.fact]) for c in facts}
edited = {name: lm.weight(module, patch).cpu() for name, patch in patches.items()}
tower = str(facts[0].fact.subject)


def says(prompt, W):  # two tokens of the model with this matrix
    with lm.patched(lib.Patch(weights={module: W.float()})):
        return lm.answer(prompt, 2)


D = edited[tower] - W0
saved = edited[tower].bfloat16().float() - W0
shown = {"ΔW": D, "ΔW, saved in bfloat16": saved, "the unedited matrix": W0}
values = {what: torch.linalg.svdvals(M.double())[:12].tolist() for what, M in shown.items()}
print("ΔW:", ", ".join(f"{x:.2f}" for x in values["ΔW"][:3]))
series = {what: [max(x, 1e-7) for x in some] for what, some in values.items()}
places = range(1, len(values["ΔW"]) + 1)
colors = {"ΔW": plot.EDITED, "the unedited matrix": plot.BASE}
plot.lines(places, series, "singular value, largest first", "size", colors=colors, ylog=True)

# %% [markdown]
# ### Whose key, and which answer?
#
# For each candidate subject we read its key behind a neutral prefix, "About {}", and ask how much of it lies
# in the span of $C v$, for the right vectors $v$ of $\Delta W$. A score of one means that it lies in the span of the
# keys that were written. (Behind "About" a name has not quite these keys, but $C$ is the editor's own here.)
#
# The left vector points to the answer, but many layers lie behind it, and it is easier to ask. Ten neutral sentences
# about the subject ("{} is", …) are completed by both models, and the tokens are ordered by their part in the
# divergence of the two.

# %%
K = runs_17.keys_of(lm, names, layer)  # (n, d_in), behind "About {}"
own_C = lib.second_moment(lm, [layer])[layer].C.float()
table = []
for case, (name, W) in zip(facts, edited.items(), strict=True):
    _, S, Vh = torch.linalg.svd(W - W0, full_matrices=False)
    V = Vh[: int((S > 1e-5 * S[0]).sum())].T
    Q = torch.linalg.qr(own_C @ V).Q
    score, who = ((K @ Q).norm(dim=1) / K.norm(dim=1)).topk(2)
    told = objects(lm, name, patches[name], lib.EMPTY, most=3)["token"]
    row = {"edited": name, "first": names[who[0]], "score": score[0].item()}
    row |= {"next": names[who[1]], "its score": score[1].item(), "new": case.fact.target_new}
    table.append(row | {"likelier than before": ", ".join(map(repr, told.str.strip()))})
pd.DataFrame(table).set_index("edited").round(2)

# %% [markdown]
# The subject comes first in four of four, in a list that contains it. In three of them the second is a
# *relative*, a subject of the same kind: another monument, another holiday, another language.
#
# The answer is less sure. Two of the four new answers come first; for the Rijksmuseum, moved to Oslo, *Norwegian*
# comes second, and for Halloween none of the three tokens points to May. (`lib.workbench.difference` and `lib.workbench.subjects` do this.)
#
# ## Case B: no unedited model
#
# Only the suspect is there, and a list of candidates. An edit need not stand out among the singular values of
# $W$: the tower's has 9.58 at most, and the twelve of the unedited matrix in the figure above are all larger.
# (Benaych-Georges and Nadakuditi have worked out when a change of low rank shows there; see the references.)
#
# But every candidate $s$ says where to look. If *it* was edited, the edit lies along
# $\hat u_s = C^{-1}k_s/\|C^{-1}k_s\|$, whatever the new answer is. So measure how far $W$ stretches that
# direction (this filter is the project's own; we know of no publication of it):
#
# $$T_s = \|W \hat u_s\|, \qquad T_s^2 \approx T_0^2 + \sigma^2 \cos^2(\hat u_s, u).$$
#
# $T_0 = \|W_0 \hat u_s\|$ is that of the unedited matrix. (This is for one key, and leaves out a cross term, which is
# small where the direction of the answer is unlike what $W_0$ puts out there.)
#
# We do not have $T_0$, but the other candidates tell what is usual. So we take the distance from their median, in
# units of their spread. Both must be robust, or else the edited candidate hides behind the spread that it makes:
#
# $$z_s = \frac{T_s - \operatorname{median} T}{1.4826\,\operatorname{median}|T - \operatorname{median} T|}.$$
#
# So a $z$ belongs to a matrix and to a list. Where the page says no more, the matrix is that of the edited layer
# and the list has the 203 subjects of the course's cases.
#
# **Your turn · exercise 9.1 · ★ · 5 minutes.** Write `stands_out`, this robust $z$.


# %%
def stands_out(T):
    """T (n,), n odd: norms of the candidates -> z (n,); all 0 where the spread is 0."""
    ...


stands_out = use("9.1", stands_out)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Try T = [1, 1.1, 0.9, 1, 50]. Which numbers describe the four that were not edited?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def stands_out(T):
#     away = T - T.median()
#     spread = 1.4826 * away.abs().median()
#     return away / spread if spread > 0 else torch.zeros_like(T)
# ```
#
# </details>
#
# **Your turn · exercise 9.2 · ★★ · 10 minutes.** Write `named`, the filter: whose direction does $W$ stretch
# more than it should? A candidate is **ranked first** if its $z$ is the largest, and **detected** if its $z$
# reaches the threshold. The answer is the candidate that is both, and None where there is none, because an
# unedited model must not be accused. (The threshold is 8. Further down unedited models are compared with it.)


# %%
def named(W, K, C, threshold):
    """W (d_out, d_in), K (d_in, n) a key per candidate, C (d_in, d_in) -> its number or None."""
    ...


named = use("9.2", named)

# %% [markdown]
# <details><summary>Hint</summary>
#
# In which direction would an edit of each candidate lie, and how long must this direction be for the
# norms to be comparable?
#
# </details>
# <details><summary>Solution</summary>
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
# Now four models that somebody else has prepared. Three of them carry one edit by ROME each, of a subject drawn
# from the list; one was not touched. Their order is drawn, too.
#
# The filter is given the layer. All else is the defender's own: another text than the editor's, another prefix,
# and a little damping of $C$, because the text is short. (Keys are what enters the matrix, so an edit of the matrix
# changes neither them nor $C$, and the suspect gives the same ones as the unedited model.)
#
# The next cell prints the verdicts and asks how many are right. The one after it tells the truth: it draws the $z$ of
# every candidate in every model, and prints that of the edited subject with its rank. The dashed line is the threshold.
#
# **Predict.** What does the filter lose without $C^{-1}$, so along the raw key $k$ itself?
#
# <details><summary>Answer</summary>
#
# A large part of $z$: the edit has only a small part along $k$. (The second cell prints this $z$, too.)
#
# </details>

# %%
C = key_moments(lm, [layer], lib.EMPTY, HELD_OUT)[layer]  # (d_in, d_in)
eye = torch.eye(len(C))
damped = C + 0.01 * C.diagonal().mean() * eye
U = torch.linalg.solve(damped, K.T)  # (d_in, n)


def norms(W, U=U):  # T of every candidate
    return (W.to(U.dtype) @ U).norm(dim=0) / U.norm(dim=0)


draw = torch.Generator().manual_seed(1)  # another seed draws other models
drawn = [cases[i] for i in torch.randperm(len(cases), generator=draw)[:3]]
unknown = [(None, W0)]
for case in drawn:
    unknown.append((str(case.fact.subject), lm.weight(module, rome.edit([case.fact])).cpu()))
unknown = [unknown[i] for i in torch.randperm(4, generator=draw)]
verdicts = []
for number, (_, W) in enumerate(unknown, 1):
    found = named(W, K.T, damped, THRESHOLD)
    verdicts.append(None if found is None else names[found])
    print(f"model {number}: {verdicts[-1] or 'nobody stands out'}")
right = guess("Of how many of the four has `named` said the right thing?", 0, 4)

# %%
z = torch.stack([stands_out(norms(W)) for _, W in unknown])  # (4, n)
own = torch.tensor([[name == subject for name in names] for subject, _ in unknown])
for number, ((subject, W), row) in enumerate(zip(unknown, z, strict=True), 1):
    who = row.argmax() if subject is None else names.index(subject)
    print(f"model {number}, {subject or 'not edited, the largest'}: z {row[who]:.1f}, rank",
          f"{1 + int((row > row[who]).sum())}; along k {stands_out(norms(W, K.T))[who]:.1f}")  # fmt: skip
right.against(sum(said == subject for said, (subject, _) in zip(verdicts, unknown, strict=True)))
number = torch.arange(1, 5)[:, None].expand_as(z)
colors = {"all other candidates": plot.BASE, "the edited subject": plot.EDITED}
shown = {what: (number[some], z[some]) for what, some in zip(colors, (~own, own), strict=True)}
figure = plot.scatter(shown, "model", "z of each candidate", colors=colors, height=3.4)
figure.axes[0].axhline(THRESHOLD, c=plot.QUIET, lw=1, ls="--")
figure.axes[0].set_xticks(range(1, 5))
figure

# %% [markdown]
# `named` is right about three of the four. It misses Louis Armstrong, who is ranked first but not detected: his $z$ is
# 7.2. In each of the three edited models the raw key gives the subject a smaller $z$: 7.4, 4.6 and 11.0.
#
# ### Which layer?
#
# Nor does the defender know the layer, so he has to look at more than one. Here are the four suspects of case A.

# %%
whole = key_moments(lm, range(lm.n_layers), text=HELD_OUT)
quiet = matched_filter(lm, names, whole)
lower = {i: moment for i, moment in whole.items() if i <= layer + 5}
rest = [float("nan")] * (lm.n_layers - len(lower))
curves = {"unedited": quiet.z.max(1).values.tolist()}
for name, W in edited.items():
    loud = matched_filter(lm, names, lower, patches[name])  # in the edited layer it gives our z:
    assert SCALE == "tiny" or torch.allclose(loud.z[layer], stands_out(norms(W)), atol=0.01)
    curves[f"{name}, edited"] = loud.z.max(1).values.tolist() + rest
    first = [f"{names[who]} {z:.1f}" for z, who in zip(*loud.z[layer].topk(2), strict=True)]
    print(f"{name}, edited, layer {layer}:", ", then ".join(first))
look = {"colors": {"unedited": plot.BASE}, "ylim": (0, None), "named": False}
figure = plot.lines(range(lm.n_layers), curves, "layer", "largest z of all candidates", **look)
figure.axes[0].axhline(THRESHOLD, c=plot.QUIET, lw=1, ls="--", label=f"z = {THRESHOLD:g}")
legend(figure, figure.axes[0])
figure

# %% [markdown]
# In the edited layer the largest $z$ is in all four that of the edited subject. In one of the four a second candidate
# passes the threshold of 8, too: Christmas, a relative of Halloween. Above the edited layer the largest $z$ is again
# about that of the unedited model, though keys have changed there: what shows is the matrix. (To save time $C$ is the
# unedited model's, which is exact up to the edited layer, and only five layers above it were read.)
#
# ## What unedited models look like
#
# A $z$ of four sounds like one chance in thirty thousand. But there are many candidates and many
# layers, and nobody has said that $T$ is Gaussian. The cell below counts the candidates above a bound in all layers of
# the unedited model. It also gives the largest $z$ in any layer of seven stored variants of it, from the project's
# benchmark (`python -m tests.benchmarks.forensics`), which has a longer list.
#
# The cell after it asks whether a change about nobody on the list can accuse somebody. It draws 20 pieces of held-out
# text and writes along the $\hat u$ of each one's last token, by a change of rank one whose column is drawn at
# random. Each change is made twice: as long as the tower's edit, the shortest of the four, and as long as that of
# Halloween, the longest. (To see whether the change can be seen at all, the piece of text takes the tower's place in
# the list.)
#
# **Predict.** How many candidates have a $z$ above three, and how large is the largest? And how many of the 20
# changes of the longer kind let somebody pass the threshold who has nothing to do with it?
#
# <details><summary>Answer</summary>
#
# Above two, three and four more than a Gaussian has (above four it is one candidate): here the tail is
# heavier. (The same candidates are counted in all layers, so the counts are not independent, and no interval
# is given.) So a threshold cannot come from a table of the normal distribution. It has to come from models
# that nobody edited, and it belongs to a list of candidates: of more of them the largest tends to be larger.
#
# Two of 20 change enough: a candidate's $\hat u$ has a small part along that of another text, and its
# $T^2$ grows by about $\sigma^2\cos^2$ of the two, so with the square of the length.
#
# </details>

# %%
every = quiet.z.flatten()
for bound in (2, 3, 4, 5):
    chance = 0.5 * torch.erfc(torch.tensor(bound / 2**0.5)).item()
    expected = f"a Gaussian would have {chance * len(every):.3g}"
    print(f"z above {bound}: {int((every > bound).sum())} of {len(every)}, {expected}")
where, who = divmod(int(every.argmax()), len(names))
print(f"the largest: {every.max():.1f} ({names[who]}, layer {where})")
stored = runs_17.stored()  # rows of the benchmark
innocent = sorted((row["z"], what, row["first"]) for what, row in stored["negatives"].items())
extremes = ["{:.1f} ({}: {})".format(*row) for row in (innocent[0], innocent[-1])]
print(f"stored, {stored['candidates']:,} candidates, {len(innocent)} variants of the unedited model:"
      " largest z from", " to ".join(extremes))  # fmt: skip
accused = guess("After how many of the 20 longer changes is somebody else accused?", 0, 20)

# %%
draw = torch.Generator().manual_seed(0)
words = HELD_OUT.read_text(encoding="utf-8").split()
ends = torch.randint(40, len(words), (20,), generator=draw).tolist()
pieces = [" ".join(words[end - 40 : end]) for end in ends]
theirs = torch.linalg.solve(damped, runs_17.keys_of(lm, pieces, layer, ["{}"]).T)  # (d_in, 20)
columns = torch.randn(20, len(W0), generator=draw)
for name in (tower, "Halloween"):
    length, every_z = (edited[name] - W0).norm(), []
    for column, line in zip(columns, theirs.T, strict=True):
        change = torch.outer(column, line)
        listed = torch.cat([line[:, None], U[:, 1:]], 1)  # the piece stands first, for the tower
        every_z.append(stands_out(norms(W0 + length * change / change.norm(), listed)))
    z = torch.stack(every_z)
    largest, who = z[:, 1:].max(1)
    over = largest >= THRESHOLD
    print(
        f"as long as the edit of {name} ({length:.1f}), 20 draws:",
        f"z of the piece itself {z[:, 0].min():.1f} to {z[:, 0].max():.1f}",
        f"largest z of anybody else {largest.min():.1f} to {largest.max():.1f}",
        f"somebody else accused in {int(over.sum())}, {percent(over.tolist())} %: "
        + (", ".join(names[1 + i] for i in who[over]) or "nobody"),
        sep="\n  ",
    )
accused.against(int(over.sum()))

# %% [markdown]
# Each change is plain to see at its own key, where $z$ is 51 or more. (That is more than the tower's, likely because it
# is written along the very $\hat u$ that the defender computes.) Of the changes as long as the tower's edit none
# accuses somebody else (0 to 12 %), and the largest $z$ is 5.8. Of those as long as Halloween's two of 20 do, which is
# 10 % (2 to 29): *force* and *titanium* pass the threshold, with at most 8.6. So a change that writes a text on no list
# can accuse somebody. (The intervals are over draws in this one matrix, and say nothing about other models.)
#
# The seven stored variants are one model as it is, rounded, merged or trained further, so they hardly
# count as several. None reaches 8; the largest $z$ among them is 6.6. To show that fewer than one in a hundred are
# accused would take (at 95 %) about three hundred independent models, none accused.
#
# ## Many suspects
#
# The benchmark has stored suspects of 18 editors that change a matrix. Its list has 5,203 candidates, and its $C$ is of
# one of two longer texts. (To save time $C$, and above the first edited layer most keys, are the unedited model's.)
# Here are the suspects with one fact of the odd-numbered cases; more are in
# [RESULTS.md](../tests/benchmarks/RESULTS.md#was-it-edited).
#
# An edit may be spread over several layers. So a candidate's $z$ is added up over $w$ layers in a row, and the sum is
# divided by $\sqrt w$. The largest such value, over all runs of one to five layers, is the $z$ of the candidate here.
#
# The cell first judges fourteen edits by ROME by the threshold of 8, which was set after a look at a few such edits.
# Its table then has three families of editors, with three shares:
#
# * **ranked first**: of the edited facts, those above all candidates that were not edited, in a layer that was;
# * **detected**: of the edited facts, those whose $z$ reaches the threshold;
# * **false alarm**: of the suspects, those in which somebody reaches it who was *not* edited.
#
# The table's threshold is not 8. The suspects are dealt into two halves that share no fact, and each half is judged by
# the threshold at which one in twenty of the *other* half has a false alarm.
#
# Several editors have edited the same facts. So every fact counts once, with the mean over its suspects, and $n$
# is the number of facts. The last line compares the first two families on the facts that both have edited.
#
# **Predict.** ROME writes in one layer. MEMIT and its kin (AlphaEdit, PMET, RECT, PRUNE and NormAnchor) mostly spread
# an edit over several. How often is the subject of such an edit ranked first?
#
# <details><summary>Answer</summary>
#
# In about half of them. Likely a part of the edit in each layer is harder to see than all of it in one.
#
# </details>

# %%
by_editor = runs_17.singles(stored)  # suspects with one edited fact
every = [row for rows in by_editor.values() for row in rows]
hits = [row["own"][0]["z"] >= max(THRESHOLD, row["other"]["z"]) for row in by_editor["rome"]]
share = "{} of {} ({:.0%} to {:.0%})".format(sum(hits), len(hits), *interval(hits))
print(f"ROME: ranked first and detected {share}; rows of {stored['date']}")
others = torch.tensor([row["other"]["z"] for row in every])
bounds = [half.quantile(0.95).item() for half in (others[1::2], others[::2])]
print("thresholds that the two halves set: {1:.1f} and {0:.1f}".format(*bounds))
alarms = [
    f"{row['other']['name']} {row['other']['z']:.2f} (edited: {row['own'][0]['name']})"
    for place, row in enumerate(every)
    if row["other"]["z"] >= bounds[place % 2]
]
print(f"{len(alarms)} of {len(every)} suspects with a false alarm:", *alarms, sep="\n  ")
pd.DataFrame(runs_17.detected(stored, bounds)).set_index("editors")

# %% [markdown]
# Of the fourteen suspects by ROME thirteen are ranked first and detected (71 to 99 %).
#
# An edit of ROME, WilKE or EMMET is ranked first in 98 % (81 to 100), one of MEMIT and its kin in 52 % (34 to 70). On
# the 14 facts that both have edited the difference is 37 points (11 to 60).
#
# Of the 36 suspects of UltraEdit and of eight editors that train none is ranked first. But all nine were given the same
# four facts, so $n$ is four (0 to 42 %). The likely reason is that they write mainly where the *prompt* ends, and no
# subject stands there.
#
# The two halves set 9.6 and 6.6, so fifty suspects do not fix a threshold well. By these 90 % of the edits of ROME,
# WilKE and EMMET are detected (69 to 98) and 38 % of those of MEMIT and its kin (21 to 57), on the shared facts 40
# points fewer (13 to 63).
#
# There is a false alarm in 19 % (7 to 43) and 9 % (2 to 24). On the shared facts the difference is 18 points (−3 to
# 40), so which has more is not decided. The aim was one in twenty over all editors together; one family may have more.
#
# One of the eight false alarms is the edited subject by another name, *United Nations* for *The United Nations*. (It
# counts, because the next candidate's $z$ was not stored.) In two more the name ends with the subject's,
# as *Liquid Gold* with *gold*. In two it is Balfe, just above the lower threshold. He has 6.6 in the merged variant
# above, too, where no fact was edited.
#
# ## Taking it out
#
# Layer and subject are known now, and the unedited model is not at hand. The published way (Youssef et al., 2026)
# drops the largest singular components of the matrix, one or eleven of them. Ours reads the subject's key behind
# $p$ prefixes, takes $U = (C + \lambda I)^{-1}K$ with $\lambda = \text{damping} \cdot
# \operatorname{tr} C/d_\text{in}$, and takes away what $W$ does on the space that they span:
#
# $$\tilde W = W - \text{strength} \cdot W P, \qquad P \text{ the orthogonal projector on the columns
# of } U.$$
#
# A good part of the edit should lie in this space, of which general text uses little. Both ways need a **control**,
# made by the same method. For the prefixes it takes out the space of *another* subject; for the eleven components it
# takes out the eleven largest of *another* model. The *edited* answer has to stay. If it went, too, a hole of this
# size anywhere might break the edit.
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
# What is $U U^\top$ when two columns of $U$ are nearly parallel, and what does `torch.linalg.pinv(U)`
# do about it?
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
# **Predict.** Which of the ways gives the old answers back? Does any give the old *matrix* back? And would a hole
# of the same size anywhere else do it as well?
#
# <details><summary>Answer</summary>
#
# On these four prompts eleven components and sixteen prefixes give three old answers back each, and not the
# same three. No matrix comes back: what the unedited model had on the space is lost as well. And holes of the same
# size elsewhere leave every edited answer.
#
# </details>
#
# Three cells follow:
#
# * The first has the answers of the four suspects, with damping 1. Behind each answer stand the size of the hole in the
#   unedited matrix, $\|W_0 P\|$, and of what is left of the edit, $\|\Delta W (I - P)\|$, both over $\|\Delta W\|$.
# * The second has the controls, seven of each kind for each suspect: the components of the three other suspects and of
#   the four models above (one is unedited), and the spaces of seven other subjects, drawn from the list. It says how
#   often the edited answer is kept, and the means of both sizes.
# * The third has stored rows of fourteen suspects: shares of next tokens that are the unedited model's again, for the
#   edit's own prompt, one rewording, three neighbors and one unrelated prompt of each. Its last line has paired
#   differences, in points.


# %%
def prefixes(name):  # I - P, for the 16 prefixes of a subject
    behind = runs_17.keys_of(lm, [name], layer, PREFIXES).T.double()
    return taken_out(eye.double(), behind, C.double(), 1.0, 1.0).float()


def largest(W, count):  # I - P, for the largest components of a matrix
    V = torch.linalg.svd(W, full_matrices=False)[2][:count]
    return eye - V.T @ V


def parts(W, Q):  # the hole in W0, and what is left of the edit
    return torch.stack([(W0 - W0 @ Q).norm(), ((W - W0) @ Q).norm()]) / (W - W0).norm()


table = []
for case, (name, W) in zip(facts, edited.items(), strict=True):
    ways = eye, largest(W, 1), largest(W, 11), prefixes(name)
    table.append({"subject": name, "unedited": says(case.fact.text, W0)})
    for way, Q in zip(runs_17.WAYS.values(), ways, strict=True):
        told = says(case.fact.text, W @ Q).strip()
        table[-1][way] = "{} ({:.2f}, {:.2f})".format(told, *parts(W, Q))
pd.DataFrame(table).set_index("subject").T

# %%
order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0))
spaces = [prefixes(names[i]) for i in order if names[i] not in edited][:7]
elevens = [largest(W, 11) for W in (*edited.values(), *(W for _, W in unknown))]
table, kept = [], {"11 largest of another": [], "16 prefixes of another": []}
for place, (case, (name, W)) in enumerate(zip(facts, edited.items(), strict=True)):
    table.append({"subject": name})
    some = [Q for at, Q in enumerate(elevens) if at != place]
    for control, holes in zip(kept, (some, spaces), strict=True):
        said = [says(case.fact.text, W @ Q) == says(case.fact.text, W) for Q in holes]
        kept[control].append(sum(said) / len(said))
        mean = torch.stack([parts(W, Q) for Q in holes]).mean(0)
        table[-1][control] = "{:.0%} ({:.2f}, {:.2f})".format(kept[control][-1], *mean)
print("kept:", {control: f"{percent(x)} % of 4 x 7" for control, x in kept.items()})
pd.DataFrame(table).set_index("subject").T

# %%
pd.DataFrame(runs_17.taken_out(stored)).set_index("what is taken out")

# %% [markdown]
# Both controls hold: each of the four edits keeps its answer every time, 100 % of 4 × 7 (over the four edits 55 to
# 100). The holes of a control are about as large as the edit's own, but they leave nearly all of the edit. The four
# edits' own prefixes leave 0.66, 0.63, 0.68 and 0.82 of it, and their own components 0.89, 0.41, 0.70 and 0.46. So it
# is not the size of the hole that brings the answer back. That a part of the edit goes is the likely reason.
#
# A control says something only about edits that its own way has taken out: for the prefixes these are all but Swedish,
# and for the components all but the tower.
#
# In the stored rows sixteen prefixes give the edit's prompt its old token in 93 % (71 to 99), eleven components
# in 71 % (45 to 90). In pairs the difference is 21 points (−10 to 51), so which of the two is better is not decided.
# (And the prefixes' number and damping were picked on ten edits, some of them among these 14.)
#
# Nor is it decided which costs less elsewhere: the prefixes leave 12 points more of the neighbors' tokens as they were
# (−8 to 32), and 0 points more of the unrelated prompts' (−23 to 24).
#
# ## How to hide
#
# Everything above is public, so somebody who edits can read it. The defender looks along $\hat u$. So write
# the pair by a change that does *nothing* there. Among all $\Delta$ with $\Delta k = r$ and $\Delta \hat u =
# 0$ the cheapest on general text is the insert with two pairs, of which one has the value zero (exercise 2.4 of
# [session 2](../lessons/session_2.md)). It exists unless $k$ and $\hat u$ are parallel. Every mixture
# $(1-t)\Delta_\text{cheapest} + t\,\Delta_\text{hidden}$ writes the pair as well, and a smaller $t$ costs less.
#
# **Your turn · exercise 9.4 · ★★★ · 10 minutes.** Write `hide`: the pair is written, the defender's
# largest $z$ stays below the threshold, and you pay as little as you can. He may be asked 20 times. (Where he
# does not see $t = 0$, return that; where he sees every $t$, return $t = 1$.)


# %%
def price(change):
    return ((change @ own_C.double()) * change).sum().item()


def defender(W):
    return stands_out(norms(W)).max().item()


def hide(W, k, v, C, threshold, defender):
    """W (d_out, d_in), k (d_in,), v (d_out,), C your own; defender(W) -> his largest z. -> new W"""
    ...


hide = use("9.4", hide)

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many questions does it take to know $t$ to one in a thousand, if each halves an interval? (This assumes that the
# largest $z$ falls with $t$. The cell below looks.)
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def hide(W, k, v, C, threshold, defender):
#     def insert(K):  # writes the last key, keeps the others
#         U = torch.linalg.solve(C, K)
#         R = torch.zeros(len(W), K.shape[1], dtype=W.dtype)
#         R[:, -1] = v - W @ k
#         return R @ torch.linalg.solve(K.T @ U, U.T)
#
#     cheapest = insert(k[:, None])
#     if defender(W + cheapest) < threshold:
#         return W + cheapest
#     hidden = insert(torch.stack([torch.linalg.solve(C, k), k], 1))
#     low, high = 0.0, 1.0  # the defender sees low, and not high
#     for _ in range(12):
#         t = (low + high) / 2
#         seen = defender(W + (1 - t) * cheapest + t * hidden) >= threshold
#         low, high = (t, high) if seen else (low, t)
#     return W + (1 - high) * cheapest + high * hidden
# ```
#
# </details>
#
# The adversary has the editor's $C$, and gives the key of the bare name the value that ROME's edit gives it. The
# defender whom `hide` asks has his own text (held out) and the prefix "About", so each computes a $\hat u$ of his own.
#
# The first cell hides the four facts. For two it draws the subject's own $z$ at five $t$, for the asked defender and
# for one who reads the *editor's* text; the dotted line is the threshold. Its table has for all four
#
# * the cosines of the adversary's $\hat u$ to those of the two defenders,
# * the asked one's $T$ at $t = 0$ and $t = 1$, and his largest $z$ at both and after `hide`,
# * the *price*: the mean squared change on general text, $\operatorname{tr} \Delta C \Delta^\top$, over that of the
#   cheapest change.
#
# The second cell has 24 other stored facts, drawn from cases that neither this page nor the benchmark has edited alone.
# Each prompt begins with its subject, which has several tokens. The table counts those whose cheapest change the asked
# defender ranks first and detects, and shows them to two others, who differ from him in text or prefix. One line
# says how many he detects at each of the five $t$. The price is a geometric mean over those hidden from him.
#
# **Predict.** The insert was the cheapest change of all. What is the price of the hidden one? And is it
# hidden from a defender whose text and prefix the adversary does not know?
#
# <details><summary>Work it out</summary>
#
# In notebook 02's whitened coordinates, $\tilde x = L^{-1}x$, all directions cost the same. The cheapest change lies
# along $\tilde k$, and the hidden one along the part of $\tilde k$ that is orthogonal to $\tilde u$. This part is
# shorter, so the change has to be larger: at $t = 1$ the price is $1/(1 - \cos^2(\tilde k, \tilde u))$.
# A defender with *another* text and prefix looks along a somewhat different direction from the one that
# was avoided, so he may still see the edit.
#
# </details>

# %%
same = torch.linalg.solve(own_C + 0.01 * own_C.diagonal().mean() * eye, K.T)
steps, start, table, curves = [0, 0.25, 0.5, 0.75, 1], W0.double(), [], {}
for case, (name, W) in zip(facts, edited.items(), strict=True):
    k, place = runs_17.keys_of(lm, [name], layer, ["{}"])[0].double(), names.index(name)
    given = start, k, W.double() @ k, own_C.double()
    bounds = float("inf"), float("-inf"), THRESHOLD  # t = 0, t = 1, and as much as is needed
    cheapest, hidden, secret = made = [hide(*given, bound, defender) for bound in bounds]
    assert SCALE == "tiny" or all((M @ k - given[2]).norm() < 1e-3 * given[2].norm() for M in made)
    u, row = torch.linalg.solve(given[3], k), {"subject": name}
    for text, X in {"asked": U, "editor's text": same}.items():
        row[f"cos, {text}"] = f"{torch.cosine_similarity(u, X[:, place], dim=0):.2f}"
        z = [stands_out(norms(cheapest.lerp(hidden, t), X))[place].item() for t in steps]
        curves |= {f"{name}, {text}": z} if case in facts[::2] else {}
    row["T at 0, 1"] = f"{norms(cheapest)[place]:.2f}, {norms(hidden)[place]:.2f}"
    row["largest z at 0, 1, hidden"] = ", ".join(f"{defender(M):.1f}" for M in made)
    row["price"] = f"{price(secret - start) / price(cheapest - start):.1f}"
    table.append(row | {"says": says(case.fact.text, secret)})
print(pd.DataFrame(table).set_index("subject").to_string(), end="\n\n")
print({who: [round(x, 1) for x in z] for who, z in curves.items() if "asked" in who})
dashes = {who: "--" for who in curves if "asked" not in who}
figure = plot.lines(steps, curves, "t", "z of the subject", dashes=dashes, height=3.6)
figure.axes[0].axhline(THRESHOLD, c=plot.QUIET, lw=1, ls=":")
figure

# %%
pd.DataFrame(runs_17.hiding("17_hidden", lm, hide)).set_index("24 other facts")

# %% [markdown]
# Of the four, the Eiffel Tower is hidden, just below the threshold, and the Rijksmuseum is not. Halloween had
# nothing to hide at this one key, and "Swedish" was never written: its bare name stands at the first position,
# where all keys are the sink's (page 02b).
#
# And $z$ need not fall with $t$. The tower's falls from 11.0 to 6.0, but that of the Rijksmuseum rises from 18.7 to
# 19.5 before it ends at 17.5. Its $T$ is 6.78 at both ends, so what moves its $z$ from end to end is the other
# candidates alone. At $t = 1$ the change does nothing along the *adversary's* $\hat u$, and the asked defender looks
# along another.
#
# Of the 24 other facts 18 are ranked first and detected when they are written openly. After `hide` all 18 still give
# the new answer (87 to 100 %). The asked defender still detects 11 of them, 61 % (38 to 81), in pairs 39 points fewer
# (15 to 60). He detects these 11 at each of the five $t$, so on this grid the halving missed none. The other seven cost
# 3.5 times as much as openly (3.0 to 3.9).
#
# A defender who reads the editor's text computes nearly the adversary's own $\hat u$ (cosine 0.96 for the tower and the
# Rijksmuseum, where the asked one has 0.48 and 0.44). He detects all 18 openly, and none after `hide` (0 to 12 %). One
# with another prefix detects 44 % after it (24 to 66), in pairs 50 points fewer (24 to 71).
#
# So where nobody stands out, there may still be an edit, and not only a hidden one: of single edits of MEMIT and its
# kin 38 % are detected (21 to 57). Hiding in more layers, or by fine-tuning afterwards, was not tried here.
#
# ## What we know now
#
# * An edit of rank one contains its subject: the key is a multiple of $C v$. With the unedited model and a list at hand
#   the subject came first in four of four, the new answer in two. The rank counts keys, not edits.
# * Without it the matched filter looks along the $\hat u$ of each candidate, and compares the candidates. It
#   ranked first and detected 13 of 14 stored single edits by ROME (71 to 99 %, in sample), and none of four facts by
#   UltraEdit or any of eight editors that train (0 to 42 %).
# * A $z$ means little without unedited models to compare with. Here its tail is heavier than a Gaussian's. The
#   verdict is "consistent with an edit of", never "edited". A relative may be accused, and after two of 20 long changes
#   that wrote a text on no list (2 to 29 %) somebody else was.
# * Taking an edit out needs a control. Sixteen prefixes brought three of four old answers back, and so did
#   eleven components. Those of other subjects and other models left every edit. Neither brought back the matrix.
# * Somebody who knows the filter can try to hide from it, at a price that general text pays. Of 18 edits that were
#   detected openly 61 % still were after hiding (38 to 81), and none by one who reads the adversary's text (0 to 12).
#
# ## Where it breaks
#
# Edits of subjects that are on no list are not found. Editors that train were not found by a list of subjects, and
# subjects at the first position share the sink's key. The unedited models were few, and variants of one. All of it is
# one small model, without the front token of `lib.load()`, and one kind of matrix.
#
# Most edits of the course were looked at right after they were made. **Does it last?** [Notebook
# 18](18_does_it_last.ipynb) rounds such models, trains them on, and doubts what they say.
#
# ## References
#
# * Youssef et al.: *Tracing and Reversing Edits in LLMs*, 2026; known here from descriptions, because
#   its code was not available.
# * Youssef et al.: *Has this Fact been Edited? Detecting Knowledge Edits in Language Models*, 2025,
#   [arXiv:2405.02765](https://arxiv.org/abs/2405.02765).
# * Benaych-Georges, Nadakuditi: *The Singular Values and Vectors of Low Rank Perturbations of Large
#   Rectangular Random Matrices*, 2012.
