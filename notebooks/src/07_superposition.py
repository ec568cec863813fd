# %% [markdown]
# <!-- badge -->
#
# # 07 · Superposition: why keys overlap
#
# Keys overlap, and every edit pays for it. How many can a layer tell apart? How much do those of a
# real one overlap, and whose? At the end of this page you can read it off a matrix.
#
# **You will** derive when editing is lossless, and for how many keys · read a matrix of overlaps ·
# find out what makes two subjects overlap, layer by layer · forecast which of 50 edits breaks.
#
# **Needs** whitening ([notebook 01](01_linear_memory.ipynb)), the insert of [02](02_insert.ipynb).
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
import pandas as pd
import torch
from torch.nn.functional import normalize

import lib
from lib import plot
from lib.data.facts import lookup
from lib.evaluation.answers import begins
from lib.interpret.superposition import Superposition, scaling, statistics, superposition
from notebooks.support import checks_07_superposition as checks_07
from notebooks.support import models, show, stored_runs

draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


# %% [markdown]
# ## Lossless means orthogonal
#
# After $T$ inserts fact $j$ is off by what the later ones let through (notebook 02):
#
# $$W_T k_j - v_j = \sum_{t>j} \rho(t, j)\,\delta_t, \qquad
# \rho(t, j) = \frac{k_t^\top C^{-1} k_j}{k_t^\top C^{-1} k_t}.$$
#
# The sum is zero *whatever* the residuals $\delta_t$ are only if every $\rho(t, j)$ is: **editing is
# lossless when whitened keys are orthogonal**, and only then.
#
# ## How many keys fit?
#
# **Predict.** In 256 dimensions only 256 keys are orthogonal. If we forgive cosines up to 0.35, how
# many fit: 300, or thousands? And does "a little" overlap stay little?
#
# <details><summary>Work it out</summary>
#
# *Each pair can be good.* Two random directions exceed a cosine of $\varepsilon$ with probability
# at most $2e^{-d\varepsilon^2/2}$ (Johnson and Lindenstrauss). Of fewer than $n^2/2$ pairs less than
# one is expected to while $n < e^{d\varepsilon^2/4}$, here 2,500; or $\varepsilon = \sqrt{4\ln n/d}$.
#
# *All together cannot.* The Gram matrix $G$ of $n$ unit keys has trace $n$ and at most $d$
# nonzero eigenvalues $g_m$, so $\sum_{ij} G_{ij}^2 = \sum_m g_m^2 \ge n^2/d$ (Welch's bound).
# Without its diagonal, the mean square is at least $(n-d)/\big(d(n-1)\big)$, which nears $1/d$.
# Random keys have $1/d$: for very many keys no arrangement is better.
#
# </details>

# %%
d, counts = 256, [64 * 2**i for i in range(7)]
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
plot.lines(counts, found | theory, *axes, dashes=dict.fromkeys(theory, "--"), xlog=True)

# %% [markdown]
# The 4,096 keys stay below 0.35: that is **superposition**, more things than dimensions. Sums pay
# for it by the root mean square (**rms**): $T$ edits of one size move a fact by
# $\sqrt{T/d}\,\|\delta\|$.
#
# ## Reading a matrix of overlaps
#
# The paper behind this page (Hu et al.; its $P$ is $\rho$) sums up the entries off the diagonal by
# their **kurtosis**, $m_4/m_2^2 - 3$, with $m_p$ the mean of their deviations to the power $p$: 0 for
# a Gaussian, large when a few values lie far out.
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

# %%
one = normalize(normal(4096, 50), dim=0)
twins = torch.cat([one, 0.9 * one + 0.19**0.5 * normalize(normal(4096, 50), dim=0)], 1)
sets = {"random, d = 64": normal(64, 100), "random, d = 4096": normal(4096, 100), "twins": twins}
columns = ["rms", "share > 0.1", "kurtosis", "tail"]
numbers = {name: Superposition.of(K).statistics() for name, K in sets.items()}
show.Table([{"keys": name, **{c: row[c] for c in columns}} for name, row in numbers.items()])

# %% [markdown]
# The twins' kurtosis is 88, their rms below that of d = 64. (*tail*: entries beyond four standard
# deviations, as a multiple of a Gaussian's.)
#
# ## A real model
#
# **Predict.** Do keys overlap more in early layers or in late ones? And how alike are those of
# "Paris" and "Newton", which are one token each and open their sentences?
#
# <details><summary>Answer</summary>
#
# More in late ones. The two become nearly one key: they stand in the attention sink (notebook 02).
# To write "Paris" is to write "Newton". After whitening the typical pair is near 90°, raw it is not.
#
# </details>

# %%
lm, cases = models.load(SCALE), lib.classroom()
top, edited = lm.n_layers - 1, lib.EDITORS["rome"](lm).config.layer
layers = sorted({0, edited, *range(0, top, 3), top})
token = {c.fact.subject: lookup(lm.tokenizer, c.fact) for c in cases}  # ids, place of the last
every = superposition(lm, [c.fact for c in cases], layers)
opening = [i for i, (_, at) in enumerate(token.values()) if at == 0]
inner = [i for i, (_, at) in enumerate(token.values()) if at > 0][:100]
for layer in layers[:3]:
    own, rest = (every[layer].cosines[who][:, who].median() for who in (opening, inner))
    print(f"layer {layer}: {len(opening)} openers {own:.2f}, {len(inner)} others {rest:.2f}")

# %% [markdown]
# Median cosines of whitened keys, 0.95 in layer 3. The openers tell of a *place*, not of knowledge,
# and would be the whole tail, so we go on with 100 others.

# %%
kept = {layer: one.take(inner) for layer, one in every.items()}
angles = {"whitened_angle": "angle, whitened (°)", "activation_angle": "angle, raw (°)"}
depth = pd.DataFrame([one.statistics() for one in kept.values()])
times = depth["rms"] / depth["1/√d_in"]
print(f"rms: {times.min():.1f} to {times.max():.1f} times that of random keys")
show.Table(depth[["layer", *columns, *angles]].rename(columns=angles).to_dict("records"))

# %% [markdown]
# No layer is lossless. Kurtosis falls, as published, from 28 to 5 in layer 21 (then it rises again).
# But rms *grows* meanwhile: the bulk gets wider, until the tail stands out less. Here are the tails:

# %%
x = torch.linspace(0, 5, 101)
gauss = torch.erfc(x / 2**0.5)
tails = {f"layer {at}": kept[at].beyond(x) / gauss for at in layers[::3]}
tails["Gaussian"] = gauss / gauss
axes = "distance from the mean (standard deviations)", "entries farther out (× a Gaussian's)"
plot.lines(x, tails, *axes, ylog=True, colors={"Gaussian": plot.BASE})

# %% [markdown]
# Measured in their own width the layers look alike: at four standard deviations there are over a
# hundred times too many entries, at five thousands.
#
# **Predict.** Which subjects sit in the tail of layer 0, and which in that of the last?
#
# <details><summary>Answer</summary>
#
# In layer 0 those with the same *last token*, where the key is read (as in the published examples:
# Mayakovsky and Bukovsky). Later those of one kind, or about to get one answer: athletes, teams, and
# Garibaldi with risotto (Italy). Attention must first fetch the words before the last.
#
# </details>

# %%
rows = []
for layer in (0, edited, top):
    for pair in kept[layer].pairs(4).to_dict("records"):
        last = [token[pair[side]] for side in "ij"]
        ends = [lm.tokenizer.decode([ids[at]]).strip() for ids, at in last]
        rows.append({"layer": layer, **pair, "last tokens": " · ".join(ends)})
show.Table(rows)

# %% [markdown]
# Where do the two change places? Eight pairs of names share a last token and little else, classroom
# subjects of one relation a kind and mostly no token. Now all stand in one sentence.

# %%
pairs = """Michael Jordan, the river Jordan, George Washington, the state of Washington, New York,
the Duke of York, the Pacific Ocean, Frank Ocean, Freddie Mercury, the planet Mercury, Jack London,
the Tower of London, Kevin Bacon, Francis Bacon, the car maker Lincoln, Abraham Lincoln"""
names = [" ".join(name.split()) for name in pairs.split(",")] + list(kept[0].subjects)
sentence, kind = "Everybody has heard of {}", {c.fact.subject: c.relation for c in cases}
mixed = superposition(lm, names, layers, prompt=sentence)
names = mixed[0].subjects
end = [lookup(lm.tokenizer, lib.Fact(name, sentence, "?"))[0][-1] for name in names]
ij = torch.triu_indices(len(names), len(names), 1)
same = torch.tensor([end[i] == end[j] for i, j in ij.T])
kin = torch.tensor([kind.get(names[i], i) == kind.get(names[j], j) for i, j in ij.T])
groups = {"same last token": same, "same relation": kin & ~same, "neither": ~kin & ~same}
cosines = torch.stack([mixed[layer].cosines[*ij] for layer in layers])  # (layers, pairs)
curves = {f"{name} ({i.sum()} pairs)": cosines[:, i].mean(1) for name, i in groups.items()}
plot.layer_curve(layers, curves, "mean cosine of whitened keys", edited)

# %% [markdown]
# They cross in layer 9, a third of the way up. Below, a name is its last token, above, the kind of
# thing that it names. Nowhere is it *just this one*, which is why neighbors move.
#
# ## Does width help?
#
# **Predict.** Keep some of a layer's neurons only: what do rms and kurtosis do?
#
# <details><summary>Answer</summary>
#
# Rms falls, but more slowly: what two subjects share is no accident. Kurtosis tends to rise, as only
# chance, the bulk, averages out: one way to read the paper's finding that larger models have more.
#
# </details>

# %%
some, both = [c.fact for c in cases if c.fact.subject in kept[0].subjects], [edited, top]
keys, moments = lm.keys(some, both), lib.second_moment(lm, both)
order, rows = torch.randperm(kept[0].d_in, generator=draw), []
for layer in both:
    for part in (32, 8, 2):
        i = order[: len(order) // part]
        row = Superposition.of(keys[layer][i], moments[layer].C[i][:, i], layer=layer).statistics()
        rows.append({"of": f"1/{part} of the neurons", **row})
whole = statistics(lm, some, both, [25, 50, 100]).assign(of="all neurons")
random = scaling([models.load("tiny")], some).assign(of="a random model")
table = pd.concat([pd.DataFrame(rows), whole, random])
show.Table(table[["of", "layer", "subjects", "d_in", "1/√d_in", *columns]].to_dict("records"))

# %% [markdown]
# 32 times the width would make random keys overlap 5.7 times less; ours do 3.3 and 2.6 times less.
# With a hub at hand, `scaling(["gpt2", "gpt2-medium", "gpt2-large"], some)` compares a family.
#
# ## Which of 50 edits breaks first?
#
# In a stored run, whose first two edits we repeat, ROME writes fifty facts (the classroom's odd
# numbers) one after another. A fact is *lost* when the model's answer no longer begins with it.

# %%
SETTINGS = {"editor": "rome", "cases": "classroom()[1::2]", "edits": 50, "tokens": 8}


def in_a_row(edits):
    facts = [c.fact for c in lib.classroom()[1::2][:edits]]
    editor, patch, new = lib.EDITORS["rome"](lm), lib.EMPTY, [fact.target_new for fact in facts]
    K, rho = lm.keys(facts, edited).cpu(), superposition(lm, facts, edited).rho
    for n, fact in enumerate(facts):
        patch = editor.edit([fact], after=patch)
        a, b = patch.weights[lm.mlp_out(edited)].chunks[-1]  # ΔW = a b
        asked = [one.text for one in facts[: n + 1]]
        with lm.patched(patch):
            said = lm.answer(asked, SETTINGS["tokens"])
            p = [round(x.sum().exp().item(), 4) for x in lm.score(asked, new[: n + 1])]
        held = [int(begins(*both)) for both in zip(said, new, strict=False)]
        row = {"subject": fact.subject, "residual": (a @ (b @ K[:, n])).norm().item()}
        yield row | {"rho": [round(r, 4) for r in rho[n, :n].tolist()], "held": held, "p": p}


if stored_runs.long():
    stored_runs.save("07_first_to_break", SETTINGS, in_a_row(SETTINGS["edits"]))
rows = stored_runs.load("07_first_to_break", SETTINGS)["rows"]
live = list(in_a_row(2))
if SCALE == "small":
    stored_runs.begins_with(rows, live, keys=["subject", "rho", "held", "p"], tolerance=0.02)
print("written:", sum(row["held"][-1] for row in rows), "held at the end:", sum(rows[-1]["held"]))

# %% [markdown]
# **Predict.** Can ρ alone name the first fact to break? The baseline is age.
#
# <details><summary>Answer</summary>
#
# Yes, but few break: ρ says how far a value is moved, not how far it stood from the edge.
#
# </details>
#
# ## Exercise: the forecast
#
# From `rho`, keys in the order of their edits, make a number per fact, the higher the sooner it
# should break. All residuals count alike.


# %%
def forecast(rho):  # (n, n) -> (n,)
    return "not attempted"


print(checks_07.forecast(forecast))

# %%
n = len(rows)
rho = torch.stack([torch.tensor(row["rho"] + [0.0] * (n - len(row["rho"]))) for row in rows])
length = torch.tensor([row["residual"] for row in rows])[:, None]
# √Σ ρ(i, j)² over i > j: the length of the sum for residuals in random directions
guesses = {"age": torch.arange(n, 0, -1), "ρ": rho.norm(dim=0), "ρ‖δ‖": (rho * length).norm(dim=0)}
fall = pd.Series([rows[j]["p"][j] - rows[-1]["p"][j] for j in range(n)]).rank()
for name, guess in guesses.items():
    print(f"{name}: rank correlation with the fall of p {fall.corr(pd.Series(guess).rank()):.2f}")
place = guesses["ρ"].argsort(descending=True).argsort() + 1
met = [  # a held fact meets an edit
    {
        "fact": rows[j]["subject"],
        "place in the forecast": place[j].item(),
        "edit": t + 1,
        "by": rows[t]["subject"],
        "|ρ|": abs(rows[t]["rho"][j]),
        "lost": not rows[t]["held"][j],
    }
    for t in range(1, n)
    for j in range(t)
    if rows[t - 1]["held"][j]
]
for far in (True, False):
    breaks = [row["lost"] for row in met if (row["|ρ|"] > 0.3) == far]
    print(f"|ρ| {'above' if far else 'up to'} 0.3: {len(breaks)} meetings, {sum(breaks)} losses")
show.Table([row for row in met if row.pop("lost")])

# %% [markdown]
# China, put first, is lost first, to Rome: two openers. Four of seven losses come from the 14 overlaps
# above 0.3, three from the other 1,047. Over all facts ρ is a better guide than age (0.66 to 0.45).
#
# ## What we know now
#
# * Lossless editing needs orthogonal whitened keys. No layer of this model has them.
# * Random keys overlap by $1/\sqrt d$; real ones more, by last token below, by kind above.
# * Kurtosis says how uneven overlap is: read rms and large entries beside it.
# * "Lossy" is proved for one layer and fixed keys; answers bear a lot of it.
#
# ## Where it breaks
#
# One layer takes all facts, and for some it is a bad one: all it sees is the last token, or the
# sink. **Which layer fits which fact?** [Notebook 08](08_wilke.ipynb) asks each fact.
#
# ## References
#
# * Hu et al., 2024: *Knowledge in Superposition*, [2408.07413](https://arxiv.org/abs/2408.07413).
# * Elhage et al., 2022: *Toy Models of Superposition*, [2209.10652](https://arxiv.org/abs/2209.10652).
