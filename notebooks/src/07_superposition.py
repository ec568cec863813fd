# %% [markdown]
# <!-- badge -->
#
# # 07 · Superposition: why keys overlap
#
# Keys overlap, and every edit pays for it. How many can a layer tell apart? How much do those of a
# real one overlap, and whose? At the end of this page you can read it off a matrix.
#
# **You will** derive when a row of edits is lossless, and for how many keys · look at matrices of
# overlaps, layer by layer · find out what makes two subjects overlap, and watch the Eiffel Tower take
# others along · forecast which of 50 edits breaks, and check what the forecast is worth.
#
# **Needs** whitening ([notebook 01](01_linear_memory.ipynb)), the insert and $\rho$ of
# [02](02_insert.ipynb), all at once and kept keys of [05](05_memit.ipynb) and
# [06](06_null_space.ipynb).
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
from torch.nn.functional import normalize

import lib
from lib import memory, plot
from lib.data.facts import lookup
from lib.interpret.superposition import Superposition, superposition
from notebooks.support import checks_07_superposition as checks_07
from notebooks.support import drawings_07, long_runs, models, show
from notebooks.support import runs_07_superposition as runs_07
from notebooks.support.holes import use

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


# %% [markdown]
# ## When is a row of edits lossless?
#
# Notebook 02 wrote pairs one after another, and found what is wrong in the end: at the key of fact
# $j$ there arrives, beside its own value, what all *later* edits let through. What goes in are the
# keys and the residuals $\delta_t$ that the edits had to write, what comes out is the error of each
# fact after the last edit:
#
# $$W_T k_j - v_j = \sum_{t>j} \rho(t, j)\,\delta_t, \qquad
# \rho(t, j) = \frac{k_t^\top C^{-1} k_j}{k_t^\top C^{-1} k_t}.$$
#
# The sum is zero *whatever* the residuals are only if every $\rho(t, j)$ in it is zero. And
# $\rho(t, j) = 0$ exactly if $\rho(j, t) = 0$, since both have the numerator in common. So **inserts
# one by one are lossless for all values exactly if the whitened keys are orthogonal**.
#
# This is a statement about editors that do not know of each other's facts. If all $n$ keys are known,
# a batch with equality (EMMET, notebook 05) writes any $n \le d_\text{in}$ independent keys without
# loss, and kept keys (notebook 06) do the same batch after batch. In the language of notebook 02: one
# after another is $R\,\mathrm{triu}(\rho)^{-1}$, all at once is $R\,\rho^{-1}$, and the two are the same
# for all $R$ exactly if $\rho$ is diagonal.
#
# **Predict.** Twenty keys that are known, and twenty that nobody mentions. Who is disturbed by
# edits in a row, who by a batch, if the keys overlap, and if they are orthogonal?
#
# <details><summary>Answer</summary>
#
# In a row, both are disturbed. The batch spares the known ones whatever their overlap, but not the
# others: what nobody tells the solver is spared by orthogonality alone.
#
# </details>

# %%
d, n = 64, 20
W0 = normal(16, d)
frame = torch.linalg.qr(normal(d, d)).Q
keys = {"random keys": normalize(normal(d, 2 * n), dim=0), "orthogonal keys": frame[:, : 2 * n]}
for name, K in keys.items():
    known, unknown = K[:, :n], K[:, n:]
    V = W0 @ known + normal(16, n)
    residuals, reach = memory.lifelong(W0, known, V)  # one after another, C = I
    R, B = memory.insert_many(W0, known, V)
    for way, change in {"one after another": residuals @ reach, "all at once": R @ B}.items():
        wrong = ((W0 + change) @ known - V).norm() / R.norm()
        moved = (change @ unknown).norm() / R.norm()
        print(f"{name}, {way}: known ones wrong {wrong:.2f}, unknown ones moved {moved:.2f}")

# %% [markdown]
# The numbers are shares of the length of all residuals together. Knowing the keys repairs the known
# ones, at the cost of the unknown ones, which are moved a little more. Everything that a model knows
# and that we do not write is an unknown key. So the overlap of keys decides what editing costs, and
# this page counts it.
#
# ## How many keys fit?
#
# In $d$ dimensions there are only $d$ orthogonal directions. A layer that has to tell apart more things
# than it has dimensions must let them overlap. The drawing shows the smallest case: two keys in the
# plane need not overlap, five must, and then each of them hears each other one.

# %%
drawings_07.room()

# %% [markdown]
# We ask two questions about $n$ keys of length 1 in $d$ dimensions: how large is the largest cosine
# between two of them, and how large is the root mean square (**rms**) of all cosines? The first decides
# whether single pairs can be told apart, the second what the sum over many edits amounts to.
#
# **Predict.** In 256 dimensions only 256 keys are orthogonal. If we forgive cosines up to 0.35, how
# many fit: 300, or thousands? And does "a little" overlap stay little?
#
# <details><summary>Work it out</summary>
#
# *Each pair can be good.* Two random directions exceed a cosine of $\varepsilon$ with probability
# at most $2e^{-d\varepsilon^2/2}$: this is the share of a sphere that two opposite caps take up, and
# goes back to Lévy. There are fewer than $n^2/2$ pairs. So less than one such pair is expected while
# $n < e^{d\varepsilon^2/4}$, here 2,500. Solved for the cosine it is $\varepsilon = \sqrt{4\ln n/d}$.
#
# *All together cannot.* The Gram matrix $G$ of $n$ unit keys has trace $n$ and at most $d$
# nonzero eigenvalues $g_m$, so $\sum_{ij} G_{ij}^2 = \sum_m g_m^2 \ge n^2/d$ (Welch's bound).
# Without its diagonal, the mean square is at least $(n-d)/\big(d(n-1)\big)$, which nears $1/d$ for
# large $n$. Random keys have $1/d$: for very many keys no arrangement is better.
#
# </details>

# %%
d = 256
counts = [64 * 2**i for i in range(7)]
found = {"largest": [], "rms": []}
for n in counts:
    K = normalize(normal(d, n), dim=0)
    G = (K.T @ K).fill_diagonal_(0)
    found["largest"].append(G.abs().max())
    found["rms"].append(G.pow(2).sum().div(n * n - n).sqrt())
n = torch.tensor(counts)
least = ((n - d).clamp(min=0) / (d * (n - 1))).sqrt()
theory = {"√(4 ln n / d)": (4 * n.log() / d).sqrt(), "least possible rms": least}
axes = "number of random keys in 256 dimensions", "cosine between two keys"
print(f"largest cosine of {counts[-1]:,} keys: {found['largest'][-1]:.2f}")
plot.lines(counts, found | theory, *axes, dashes=dict.fromkeys(theory, "--"), xlog=True)

# %% [markdown]
# The largest cosine among 4,096 random keys is 0.36. That more things fit than there are dimensions, as long as
# a little overlap is allowed, is called **superposition**. Sums pay for it by the rms: $T$ edits with
# residuals of one length move a fact by about $\sqrt{T/d}\,\|\delta\|$.
#
# ## One number for a matrix of overlaps?
#
# The paper behind this page (Hu et al., 2024; its $P$ is $\rho$) sums up the entries off the diagonal
# by their **kurtosis**. What goes in are all $\rho(i, j)$ with $i \ne j$, what comes out is one number
# that is 0 for a Gaussian and large when a few values lie far out. With $m_p$ for the mean of their
# deviations to the power $p$ it is $m_4/m_2^2 - 3$.
#
# **Predict.** 100 random keys in 64 dimensions, or 50 pairs of twins (cosine 0.9) in 4096: which
# kurtosis is higher? Where would you rather edit?
#
# <details><summary>Answer</summary>
#
# The twins' is higher, and still they are better: each has one relative. Kurtosis says how
# *unevenly* overlap is spread, not how much there is: rms and large entries must stand beside it.
#
# </details>
#
# **Your turn · exercise 3.3 · ★★ · 8 minutes.** Write `tails`: the root mean square and the kurtosis
# of the entries off the diagonal. The table below is made with it.


# %%
def tails(rho):
    """rho (n, n) with diagonal 1 -> (root mean square, kurtosis) of the entries off the diagonal."""
    ...


tails = use("3.3", tails)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `rho[~torch.eye(n, dtype=torch.bool)]` takes the entries off the diagonal. From which of the two
# numbers is the mean taken away first?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def tails(rho):
#     x = rho[~torch.eye(len(rho), dtype=torch.bool)]
#     away = x - x.mean()
#     return x.pow(2).mean().sqrt(), away.pow(4).mean() / away.pow(2).mean() ** 2 - 3
# ```
#
# </details>

# %%
one = normalize(normal(4096, 50), dim=0)
twins = torch.cat([one, 0.9 * one + 0.19**0.5 * normalize(normal(4096, 50), dim=0)], 1)
sets = {"random, d = 64": normal(64, 100), "random, d = 4096": normal(4096, 100), "twins": twins}
table = []
for name, K in sets.items():
    rho = memory.interference(K)  # C = I
    rms, kurtosis = tails(rho)
    large = (rho.fill_diagonal_(0).abs() > 0.1).sum() / (len(rho) ** 2 - len(rho))
    row = Superposition.of(K).statistics()
    assert abs(row["rms"] - rms) < 1e-6 and abs(row["kurtosis"] - kurtosis) < 1e-3
    table.append(
        {"keys": name, "rms": rms.item(), "share > 0.1": large.item(), "kurtosis": kurtosis.item()}
    )
show.Table(table)

# %% [markdown]
# ## A real model
#
# Now the keys are those of real subjects, and $C$ comes from general text. Before we look at the
# matrices, one group has to be set apart: **openers**, subjects of one token that open their prompt.
# They stand in the attention sink (notebook 02), where the key tells of a *place* and not of a name.
#
# **Predict.** How alike are the keys of "Paris" and "Newton", both openers?

# %%
lm = models.load(SCALE)  # as it comes: without the token that `lib.load()` puts in front of texts
cases = lib.classroom()
top, edited = lm.n_layers - 1, lib.EDITORS["rome"](lm).config.layer
layers = sorted({0, edited, *range(0, top, 3), top})
token = {c.fact.subject: lookup(lm.tokenizer, c.fact) for c in cases}  # ids, place of the last
relation = {c.fact.subject: c.relation for c in cases}
every = superposition(lm, [c.fact for c in cases], layers)
names = list(token)
opening = [i for i, name in enumerate(names) if token[name][1] == 0]
inner = [i for i, name in enumerate(names) if token[name][1] > 0][:100]
for layer in layers[:3]:
    own, rest = (every[layer].cosines[who][:, who].median() for who in (opening, inner))
    print(f"layer {layer}: {len(opening)} openers {own:.2f}, {len(inner)} others {rest:.2f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# The numbers are median cosines of whitened keys. From layer 3 on, all openers have nearly one key. To
# write "Paris" is to write "Newton".
#
# </details>
#
# The openers would be the whole tail of every matrix, so we go on with 100 other subjects. The figure
# shows their $\rho$ in six layers. Subjects that are asked the same question lie side by side, and
# thin lines part the questions.
#
# **Predict.** Do keys overlap more in early layers or in late ones? And where will there be blocks on
# the diagonal, which would mean that a layer knows what kind of thing it reads?
#
# <details><summary>Answer</summary>
#
# More in late ones, and the blocks are there too. In an early layer a key knows little beyond its
# last token.
#
# </details>

# %%
inner.sort(key=lambda i: relation[names[i]] or "")
kept = {layer: one.take(inner) for layer, one in every.items()}
shown = [layers[round(i * (len(layers) - 1) / 5)] for i in range(6)]
shown[1] = edited
matrices = {layer: kept[layer].rho for layer in dict.fromkeys(shown)}
drawings_07.matrices(matrices, [relation[name] for name in kept[0].subjects])

# %% [markdown]
# Every row is an edit, every column a key that hears it. In layers 0 and 3 the matrices are pale, with a
# few dark points off the diagonal, and the blocks on the diagonal are faint. From layer 12 on they
# stand out: there two subjects of the same question share a part of their keys. Whole rows and columns
# are darker than others, and nearly everything is positive: in the upper layers every subject has some
# of what all subjects share.

# %%
table = []
for layer, one in kept.items():
    row = one.statistics()
    line = {"layer": layer} | {name: row[name] for name in ("rms", "share > 0.1", "kurtosis")}
    line["kurtosis, 2 pairs less"] = runs_07.without_largest(one, 2)
    line["angle, whitened (°)"] = row["whitened_angle"]
    line["angle, raw (°)"] = row["activation_angle"]
    line["rms / random keys"] = row["rms"] / row["1/√d_in"]
    table.append(line)
show.Table(table)

# %% [markdown]
# No layer has orthogonal keys: rms $\rho$ is between 2.5 and 6.9 times that of random keys. Kurtosis falls
# with depth, as published, from 28 in layer 0 to 5 in layer 21. But layer 3, where ROME writes, breaks
# the order with 10, and after layer 21 it rises again. And it hangs on little: without the two pairs that
# overlap most, of 4,950, the 28 of layer 0 become 13. Meanwhile rms *grows*, from 0.068 to 0.175. The
# bulk gets wider, until the tail stands out less.
#
# Between two whitened keys the typical angle is nearly a right one, between raw keys it is 55 degrees in
# the last layer: whitening takes away most of what all keys have in common.
#
# What does such a tail look like? The figure draws how many of the pairs have which overlap, on a
# logarithmic axis, and over it the Gaussian that has the same width. Where there is more than the
# Gaussian, there are pairs of subjects that overlap for a reason.

# %%
drawings_07.tails({layer: kept[layer].off_diagonal() for layer in (0, edited, top)})

# %% [markdown]
# In every layer the tail is on the positive side. There are pairs that overlap by more than one half,
# where a Gaussian of the same width would have as good as none.
#
# ## Who sits in the tail?
#
# **Predict.** Which subjects overlap most in layer 0, and which in the last layer?
#
# <details><summary>Answer</summary>
#
# In layer 0 those with the same *last token*, where the key is read (as in the published examples:
# Mayakovsky and Bukovsky). Later those of one kind, or about to get one answer. Attention must first
# fetch the words before the last.
#
# </details>

# %%
table = []
for layer in (0, edited, top):
    for pair in kept[layer].pairs(4).to_dict("records"):
        ends = []
        for side in "ij":
            ids, at = token[pair[side]]
            ends.append(lm.tokenizer.decode([ids[at]]).strip())
        table.append({"layer": layer, **pair, "last tokens": " · ".join(ends)})
show.Table(table)

# %% [markdown]
# That is a warning for our running example. "The Eiffel Tower" ends in *Tower*, as other names do. We
# compute, before any edit, how much of an edit of the Eiffel Tower lands on six other places in ROME's
# layer; then we move it to Rome and ask for all of them.
#
# **Predict.** Which of the others will move to Rome with it?
#
# <details><summary>Answer</summary>
#
# Of those that hear it, the names with the same last token, the one whose old answer was not firm.
#
# </details>

# %%
places = """The Eiffel Tower, The Leaning Tower, The Willis Tower, The Tokyo Tower, The Tower Bridge,
The Louvre, The Statue of Liberty"""
prompt = "{} is located in the city of"
facts = [lib.Fact(" ".join(name.split()), prompt, "Rome") for name in places.split(",")]
overlap = superposition(lm, facts, edited).rho[0]
asked = [fact.text for fact in facts]
before = lm.answer(asked, 5)
with lm.patched(lib.EDITORS["rome"](lm).edit(facts[:1])):
    after = lm.answer(asked, 5)
    p = [score.sum().exp().item() for score in lm.score(asked, ["Rome"] * len(asked))]
table = []
for i, fact in enumerate(facts):
    row = {"subject": fact.subject, "ρ(tower, it)": overlap[i].item(), "before": before[i]}
    table.append(row | {"after": after[i], "p(Rome) after": p[i]})
show.Table(table)

# %% [markdown]
# The Louvre hears nothing of the edit: it shares the city with the tower, but not the word. On the three
# other names that end in *Tower* between four and five tenths of the residual land. What that does
# to the answer is another matter. The Leaning Tower, for which the model had only a guess before, moves
# to Rome. The Willis Tower hears most, and it leaves Chicago for New York. The Tokyo Tower, whose own name
# says where it is, stays. So $\rho$ says before the edit who will be pushed, and not who will fall.
#
# ## From the token to the kind of thing
#
# Where in the model does the last token stop to matter, and where does the kind begin? Sixteen names
# share a last token in pairs and little else. The classroom's subjects of one relation share the kind,
# and mostly no token. Now all of them stand in one sentence, and we take the mean cosine of the
# whitened keys over the pairs of each group. The shades are 95 % intervals, a bootstrap over the names.

# %%
sentence = "Everybody has heard of {}"
pairs = [" ".join(name.split()) for name in runs_07.NAMES.split(",")]
mixed = superposition(lm, pairs + list(kept[0].subjects), layers, prompt=sentence)
groups = runs_07.pair_groups(lm, mixed[0].subjects, sentence, relation)
curves, bands = {}, {}
for name, group in groups.items():
    label = f"{name} ({int(group.triu(1).sum()):,} pairs)"
    curves[label], bands[label] = runs_07.mean_cosines(list(mixed.values()), group)
for layer in (0, 9, top):
    at = layers.index(layer) if layer in layers else -1
    said = [f"{name} {y[at]:.2f} [{bands[name][0][at]:.2f}, {bands[name][1][at]:.2f}]"
            for name, y in curves.items()]  # fmt: skip
    print(f"layer {layers[at]}: " + ", ".join(said))
plot.layer_curve(layers, curves, "mean cosine of whitened keys", edited, bands=bands)

# %% [markdown]
# In layer 0 a name *is* its last token (cosine 0.99), and the kind of thing hardly counts. In the upper
# layers the kind counts for more: 0.46 in the last one, against 0.18 for pairs that share nothing. The two
# curves meet around layer 9, but there are ten pairs with a common last token, and their interval is
# wide: where they cross, and how much a shared token still counts in the upper layers, we cannot say
# with so few. Nowhere is a key *just this one thing*, which is why neighbors move.
#
# ## Does width help?
#
# A wider layer has more room. Random keys overlap by $1/\sqrt d$, so four times the width would halve
# their rms. We keep only some of a layer's neurons, chosen at random, and see what becomes of the
# overlap of real keys.
#
# **Predict.** From 1/32 of the neurons to all of them: what do rms and kurtosis do?
#
# <details><summary>Answer</summary>
#
# Rms falls, but more slowly than for random keys, because what two subjects share is no accident.
# Kurtosis tends to rise, since only chance, in the bulk of the pairs, averages out.
#
# </details>

# %%
facts = [c.fact for c in cases if c.fact.subject in kept[0].subjects]
table = runs_07.parts(lm, facts, [edited, top], [32, 8, 2, 1])
for column in list(table[0])[1:]:
    if "kurtosis" not in column:
        print(f"{column}: {table[0][column] / table[-1][column]:.1f} times smaller at full width")
show.Table(table)

# %% [markdown]
# At 32 times the width random keys overlap 5.7 times less. Ours overlap 3.6 times less in layer 3, and
# 2.0 times less in the last layer. Kurtosis rises in the last layer, and in layer 3 from the half of the
# neurons on. The paper finds that larger models have a higher kurtosis, and this may be a part of the
# reason. But we have only thinned out one model here; a family of models of different sizes was not
# measured.
#
# ## Which of 50 edits breaks first?
#
# Now $\rho$ is put to the test. In a stored run, whose first two edits we repeat, ROME writes fifty
# facts (the classroom's odd numbers) one after another. After every edit all facts so far are asked,
# and a fact is *lost* when the model's answer no longer begins with it. Five of the fifty are openers.

# %%
SETTINGS = runs_07.SETTINGS


def make():
    return runs_07.in_a_row(lm, SETTINGS["edits"])


rows = long_runs.stored("07_first_to_break", SETTINGS, make)
same = ["subject", "rho", "held", "p"]
long_runs.repeats(rows, lambda: runs_07.in_a_row(lm, 2), same, tolerance=0.02)
opener = runs_07.opens(lm, [case.fact for case in cases[1::2][: len(rows)]])
print("written:", sum(row["held"][-1] for row in rows), "held at the end:", sum(rows[-1]["held"]))
print("openers:", ", ".join(r["subject"] for r, first in zip(rows, opener, strict=True) if first))

# %% [markdown]
# ## Exercise: the forecast
#
# From the matrix `rho`, with the keys in the order of their edits, make one number per fact, the
# higher the sooner it should break. All residuals count alike. $\rho(i, j)$ stands in row $i$ and
# column $j$: what edit $i$ does to fact $j$.
#
# <details><summary>A hint</summary>
#
# Which edits can harm fact $j$ at all: those before it or those after it? And if residuals point in
# unrelated directions, do their signs matter?
#
# </details>
#
# <details><summary>A solution</summary>
#
# Only later edits, $i > j$, and the length of a sum of unrelated vectors is the root of the sum of
# their squares: $\sqrt{\sum_{i>j} \rho(i, j)^2}$, in code `return rho.tril(-1).norm(dim=0)`.
#
# </details>


# %%
def forecast(rho):  # (n, n) -> (n,)
    return "not attempted"


# %%
print(checks_07.forecast(forecast))

# %% [markdown]
# **Predict.** Can $\rho$ alone tell which facts will fall? The rival forecast is age: the older a fact,
# the more edits have passed over it. And what is left of the forecast without the five openers?
#
# <details><summary>Answer</summary>
#
# Over all edits it beats age. Without the openers nothing is left of it, and next to no harm either.
#
# </details>

# %%
show.Table(runs_07.forecasts(rows, opener))

# %% [markdown]
# Each line takes the fall of a fact's probability that these edits cause, and the forecast from these
# edits alone.

# %%
met = runs_07.meetings(rows, opener)
for first in ("yes", "no"):
    for far in (True, False):
        some = [row for row in met if row["an opener"] == first and (row["|ρ|"] > 0.3) == far]
        what = f"an opener among them: {first}, |ρ| {'above' if far else 'up to'} 0.3"
        print(f"{what}: {len(some)} meetings, {sum(row['lost'] for row in some)} losses")
show.Table([{k: v for k, v in row.items() if k != "lost"} for row in met if row["lost"]])

# %% [markdown]
# Over all edits $\rho$ orders the facts better than age does (0.66 against 0.45, with intervals that
# overlap). China is put first and is lost first, to Rome. But the other two lines say where this comes
# from. All probabilities together fall by 6.55, and the five openers make 6.33 of it. What the other 45
# edits do is 0.22 in sum, and $\rho$ does not forecast it at all: the rank correlation is 0.03, with an
# interval from −0.25 to 0.31. The losses say the same. Five of seven have an opener among the two, and four
# of these are among the 11 meetings of openers above 0.3. Among all others there are 3 meetings above 0.3,
# without a loss, and two losses in the 924 meetings below. So $\rho$ forecasts the attention sink, as
# notebook 02 found for the variance. It says how far a value is moved, and not how far it stood
# from the edge.
#
# ## What we know now
#
# * Inserts one by one are lossless for all values only with orthogonal whitened keys, and so is every
#   editor for the facts that nobody names. No layer of this model has such keys. Facts that are named can
#   be written without loss whatever their overlap: all at once, or with kept keys.
# * Random keys overlap by $1/\sqrt d$. Real ones overlap several times more, by the last token in the
#   lower layers, by the kind of thing in the upper ones.
# * Kurtosis says how uneven overlap is, and hangs on a few pairs: read rms and large entries beside it.
# * $\rho$ forecasts the harm that openers do. What ordinary edits do to each other in this model is so
#   little that there is nothing to forecast.
#
# ## Where it breaks
#
# One layer takes all facts, and for some it is a bad one: all it sees is the last token, or the
# sink. **Which layer fits which fact?** [Notebook 08](08_wilke.ipynb) asks each fact.
#
# ## References
#
# * Hu, Cao, Chen, Liu, Zhao: *Knowledge in Superposition: Unveiling the Failures of Lifelong Knowledge
#   Editing for Large Language Models*, 2024, [arXiv:2408.07413](https://arxiv.org/abs/2408.07413).
# * Elhage et al.: *Toy Models of Superposition*, 2022,
#   [arXiv:2209.10652](https://arxiv.org/abs/2209.10652).
# * Welch: *Lower Bounds on the Maximum Cross Correlation of Signals*, 1974.
