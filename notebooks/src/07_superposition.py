# %% [markdown]
# <!-- badge -->
#
# # 07 · Superposition: why keys overlap
#
# If the keys of two facts overlap, editing one also changes the value of the other. How many keys can a layer
# distinguish? How strongly do the keys of a real layer overlap, and which of them do?
#
# **You will** derive when sequential editing is lossless, and for how many keys · examine the overlaps in a real model,
# layer by layer · find the component that most subjects have in common, and keep it · watch how editing the Eiffel
# Tower affects other places · predict which facts break, comparing the prediction with a rival.
#
# **Needs** whitening ([notebook 01](01_linear_memory.ipynb)), the insert ([02](02_insert.ipynb)), writing many
# edits at once ([05](05_memit.ipynb)) and keeping keys unchanged ([06](06_null_space.ipynb)).
#
# **Minutes** 25 for reading and 25 for working: an exercise from [session 3](../lessons/session_3.md), in four
# steps.

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
from torch.nn.functional import normalize

import lib
from lib import associative_memory as memory
from lib.data.facts import lookup
from lib.evaluation.superposition import superposition
from lib.workbench import plot
from notebooks.support import drawings_07, figures, long_runs, models, own_fact, show
from notebooks.support import runs_07_superposition as runs_07
from notebooks.support.holes import both, guess, use
from notebooks.support.score_tables import by_stream
from notebooks.support.sliders import Slider

lm = models.load(SCALE, sink="own")
draw = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


# %% [markdown]
# ## When is sequential editing lossless?
#
# Notebook 02 wrote pairs one after another and determined the final error: the output at the key of fact $j$ is its
# own value plus the contributions of all *later* edits. With the residuals $\delta_t$, the amount that edit $t$ had
# to add at its own key, the error of each fact after the last edit is
#
# $$W_T k_j - v_j = \sum_{t>j} \rho(t, j)\,\delta_t, \qquad
# \rho(t, j) = \frac{k_t^\top C^{-1} k_j}{k_t^\top C^{-1} k_t}.$$
#
# The sum is zero *whatever* the residuals are only if every $\rho(t, j)$ in it is zero. And $\rho(t, j) = 0$ if and
# only if $\rho(j, t) = 0$, since both have the same numerator. So **inserting facts one by one is lossless for all
# values if and only if the whitened keys are orthogonal**.
#
# This applies when edits are made one by one, without knowing the others. If all $n$ keys are known, a batch with
# equality constraints (EMMET, notebook 05) writes any $n \le d_\text{in}$ independent keys without loss, and
# keeping the earlier keys (notebook 06) does the same batch after batch.
#
# **Predict.** We write twenty keys, while twenty others are unknown to the method. Which of the two groups does
# sequential editing disturb, and which does a batch? Consider first keys that overlap, and then orthogonal ones.
#
# <details><summary>Answer</summary>
#
# Sequential editing disturbs both if keys overlap. A batch spares the written keys whatever their overlap, but not
# the others: if the solver isn't given a key, only orthogonality spares it.
#
# </details>


# %%
n = 20
ways = [f"{way}, {kind}" for kind in ("random", "orthogonal") for way in ("row", "batch")]
what = "wrong at the written keys", "changed at the other keys"
shares = {one: {way: [] for way in ways} for one in what}
for _ in range(20):
    W0, frame = normal(16, 64), torch.linalg.qr(normal(64, 64)).Q
    kinds = {"random": normalize(normal(64, 2 * n), dim=0), "orthogonal": frame[:, : 2 * n]}
    for kind, K in kinds.items():
        known, unknown = K[:, :n], K[:, n:]
        V = W0 @ known + normal(16, n)
        residuals, reach = memory.lifelong(W0, known, V)  # one after another, C = I
        R, B = memory.insert_many(W0, known, V)  # all at once
        for way, change in {"row": residuals @ reach, "batch": R @ B}.items():
            wrong, moved = (W0 + change) @ known - V, change @ unknown
            if way == "row":  # the sum above, where ρ (n, n) has written keys as rows
                assert torch.allclose(wrong, residuals @ memory.interference(known).tril(-1))
            for column, x in zip(shares.values(), (wrong, moved), strict=True):
                column[f"{way}, {kind}"].append((x.norm() / R.norm()).item())
figures.dots(shares, (), flat=True)

# %% [markdown]
# Each point is one random sample, and the numbers are fractions of the length of all residuals. A batch writes its keys
# without an error, while **changing the unknown keys even more than sequential editing does**, because writing similar
# keys exactly takes a larger change. Everything that a model knows and that we do not write is an unknown key.
#
# ## How many keys fit?
#
# In $d$ dimensions there are only $d$ orthogonal directions. If a layer has to distinguish more things than it has
# dimensions, it must let them overlap. How large is the largest cosine between two of $n$ keys, and how large is
# the root mean square, the **rms**, of all cosines? The first determines whether single pairs can be distinguished,
# the second how strongly the effects of many edits add up.
#
# **Predict.** In 256 dimensions at most 256 keys are orthogonal. How large is the largest cosine among 4,096 random
# keys?
#
# <details><summary>Work it out</summary>
#
# *Each pair can be good.* Two random directions exceed a cosine of $\varepsilon$ with probability at most
# $2e^{-d\varepsilon^2/2}$: this is the fraction of a sphere covered by two opposite caps, a result that goes back
# to Lévy. There are fewer than $n^2/2$ pairs. So less than one such pair is expected while
# $n < e^{d\varepsilon^2/4}$. Solving for the cosine gives $\varepsilon = \sqrt{4\ln n/d}$.
#
# *All together cannot.* The Gram matrix $G$ of $n$ unit keys has trace $n$ and at most $d$ nonzero eigenvalues
# $g_m$, so $\sum_{ij} G_{ij}^2 = \sum_m g_m^2 \ge n^2/d$ (Welch's bound). Without its diagonal, the mean square is
# at least $(n-d)/\big(d(n-1)\big)$, which approaches $1/d$ for large $n$. Random keys have $1/d$: for very many
# keys, no arrangement is better.
#
# </details>

# %%
largest = guess("The largest cosine among 4,096 random keys in 256 dimensions?", 0, 1)


# %%
def crowd(d):  # cosines among more and more random keys in d dimensions
    counts, found = [64 * 2**i for i in range(7)], {"largest": [], "rms": []}
    for n in counts:
        K = normalize(normal(int(d), n), dim=0)
        G = (K.T @ K).fill_diagonal_(0)
        found["largest"].append(G.abs().max().item())
        found["rms"].append(G.pow(2).sum().div(n * n - n).sqrt().item())
    return counts, found


def figure(d):
    counts, found = crowd(d)
    n = torch.tensor(counts)
    least = ((n - d).clamp(min=0) / (d * (n - 1))).sqrt()
    theory = {"√(4 ln n / d)": (4 * n.log() / d).sqrt(), "least possible rms": least}
    axes = f"number of random keys in {d:.0f} dimensions", "cosine between two keys"
    dashes = dict.fromkeys(theory, "--")
    return plot.lines(counts, found | theory, *axes, dashes=dashes, xlog=True, ylim=(0, 0.8))


largest.against(crowd(256)[1]["largest"][-1])
Slider(figure, "dimensions", (64, 128, 256, 512, 1024), 256)

# %% [markdown]
# Fitting more things than there are dimensions, by allowing a little overlap, is called **superposition**. But even if
# the overlap of each pair is small, the effects add up. Random keys have an rms of $1/\sqrt d$, so $T$ edits at such
# keys, with residuals of equal length and unrelated directions, shift a fact's value by about $\sqrt{T/d}\,\|\delta\|$.
# With $T = d$ that is one whole residual.
#
# ## The shape of overlaps
#
# This notebook is based on a paper (Hu et al., 2024; its $P$ is $\rho$) that summarizes the entries off the
# diagonal by their **kurtosis**, which is 0 for a Gaussian and large if a few values are far out. It measures how
# *unevenly* overlap is spread, not how much overlap there is; for that, we use the root mean square. With $m_p$ for
# the mean of the $p$-th powers of their deviations from the mean, it is $m_4/m_2^2 - 3$.
#
# **Your turn · exercise 3.3, first step · ★★ · 6 minutes.** Write `shape`: mean, standard deviation, rms and
# kurtosis of the entries off the diagonal.


# %%
def shape(rho):
    """rho (n, n) with diagonal 1 -> mean, sd, rms, kurtosis of the entries off the diagonal."""
    ...


shape = use("3.3", shape)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `rho[~torch.eye(n, dtype=torch.bool)]` selects the entries off the diagonal. For which of the four numbers is the
# mean subtracted first?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def shape(rho):
#     x = rho[~torch.eye(len(rho), dtype=torch.bool)]
#     away = x - x.mean()
#     m2 = away.pow(2).mean()
#     return x.mean(), m2.sqrt(), x.pow(2).mean().sqrt(), away.pow(4).mean() / m2**2 - 3
# ```
#
# </details>
#
# ## A real model
#
# Now we use the keys of a hundred real subjects, with $C$ estimated from general text.
#
# **Predict.** Do keys overlap more in early layers or in late ones? And do the keys of subjects with the same
# question overlap more than others?
#
# <details><summary>Answer</summary>
#
# More in late ones. Subjects with the same question overlap two to four times as much as others, in every layer.
#
# </details>

# %%
cases = lib.classroom()
facts = {case.fact.subject: case.fact for case in cases}
relation = {case.fact.subject: case.relation or "" for case in cases}
inner = sorted(list(facts)[:100], key=relation.get)
top, edited = lm.n_layers - 1, lib.EDITORS["rome"](lm).config.layer
layers = sorted({0, edited, *range(0, top, 3), top})


def of_keys(keys):  # {layer: K (d_in, n)} -> {layer: ρ (n, n)}
    found = {}
    for layer, K in keys.items():
        C = lib.second_moment(lm, [layer], among=layers)[layer].C
        found[layer] = memory.interference(K.cpu().double(), C.cpu().double())
    return found


def overlaps(facts, some=layers):
    return of_keys(lm.keys(facts, some))


def cosines(rho):  # of the whitened keys: ρ(i, j) ρ(j, i) is their square
    return rho.sign() * (rho * rho.T).clamp(min=0, max=1).sqrt()


# %%
own = overlaps([facts[name] for name in inner])
models.same(lm, own[edited], superposition(lm, [facts[name] for name in inner], edited).rho)
alike = torch.tensor([[relation[a] == relation[b] for b in inner] for a in inner])
apart = ~torch.eye(len(inner)).bool()
alike, other = alike & apart, ~alike
width = lm.keys([facts[inner[0]]], 0).shape[0]  # random keys have an rms of 1/√width
measures, table = ("mean", "sd", "rms", "kurtosis"), []
for layer in layers:
    row = {"layer": str(layer)}
    for i, f in enumerate(both(shape).values()):  # a wrong function gets its own columns
        numbers = map(float, f(own[layer]))
        row |= {x + i * ", yours": y for x, y in zip(measures, numbers, strict=True)}
    cosine = cosines(own[layer])
    groups = {"all": apart, "one question": alike, "others": other}
    row |= {
        f"cosine, {x}": cosine[pairs].pow(2).mean().sqrt().item() for x, pairs in groups.items()
    }
    row["over random keys'"] = row["cosine, all"] * width**0.5
    table.append(row)
show.Table(table)

# %% [markdown]
# **No layer has orthogonal keys.** In every layer the rms cosine of whitened keys (the rms of $\rho$ also depends on
# their lengths) is a multiple of the rms for random keys, smallest in the lowest layers, and largest above the middle.
# Subjects with the same question overlap at least twice as much as others.
#
# ## Which keys have heavy tails?
#
# The paper examined such matrices in eleven models and reports that the entries off the diagonal have a mean of
# zero and heavy tails, and that the tails are less heavy in higher layers. The paper takes this to be a property of
# *knowledge*. A rival explanation is that all keys look this way. A stored run compares 128 known facts with 128
# everyday things (*Bicycles are*), 128 tokens of arbitrary text, samples from $\mathcal N(0, C)$, and the same
# facts in the same model before training, whitened using that model's own $C$. As words of text recur, the cell also
# reads 128 tokens of text of which none comes twice.
#
# **Predict.** In how many of the 30 layers do known facts have heavier tails, that is a larger kurtosis, than
# tokens of plain text? And where is the mean of their overlaps larger than half of the spread?

# %%
heavier = guess(
    "In how many of 30 layers are the tails of facts heavier than those of text?", 0, 30
)

# %%
stored = runs_07.by_layer()
tails = {kind: [row["kurtosis"] for row in some] for kind, some in stored.items()}
more = [a > b for a, b in zip(tails["facts"], tails["text"], strict=True)]
less = [i for i, (a, b) in enumerate(zip(tails["facts"], tails["things"], strict=True)) if a < b]
high = [row["layer"] for row in stored["facts"] if row["measures"]["mean/sd"][1] > 0.5]
print(f"facts have heavier tails than text in {sum(more)} of {len(more)} layers")
print("and than things in all but", ", ".join(map(str, less)))
print(f"the mean is surely above half of the sd in layers {high[0]} to {high[-1]} ({len(high)})")
heavier.against(sum(more))
rows = [row for some in stored.values() for row in some]
once = []
for layer, rho in of_keys(runs_07.once_each(lm, layers)).items():
    mean, sd, _, heavy = map(float, shape(rho))
    values = {"kurtosis": [heavy] * 3, "mean/sd": [mean / sd] * 3}  # without an interval
    rows.append({"model": rows[0]["model"], "set": "once", "layer": layer, "measures": values})
    once.append(tails["facts"][layer] > heavy)
print(f"and than tokens none of which comes twice in {sum(once)} of the {len(once)} layers above")
drawings_07.overlaps_by_layer(rows, ("kurtosis", "mean/sd"))

# %% [markdown]
# Shaded bands are 95% intervals over subjects. **Heavy tails are not a mark of knowledge**: words of plain text have
# heavier tails in almost all layers, and in nine of eleven even if none of them recurs. Everyday things have lighter
# ones than facts from layer 6 on, and almost none above the middle. **Nor is the mean zero.** Above layer 9 it is about as large as the spread, for facts more than for
# text, and even more for the things, which all begin one short prompt. It's also there without any training. Whether it
# adds up over many edits depends on the residuals: in ROME's layer the residuals of different facts are almost at right
# angles ([measured](../tests/benchmarks/results/five_papers.md)), so there it does not.
#
# ## What most subjects have in common
#
# If the mean overlap is not zero, the whitened keys have a nonzero mean, and every edit writes along it. Notebook
# 06 keeps a key $k_0$ unchanged by requiring $\Delta k_0 = 0$. The cheapest insert that does so has
#
# $$A = C^{-1} - \frac{C^{-1}k_0 k_0^\top C^{-1}}{k_0^\top C^{-1}k_0}$$
#
# replacing $C^{-1}$: it removes the component along $k_0$, as seen by the whitened keys. We keep *one* key, the
# mean of 64 other subjects, and examine the same hundred.
#
# **Your turn · exercise 3.3, second and third step · ★★ · 9 minutes.** `common` is the fraction of the whitened
# keys' squared lengths that is contained in their mean, $n\|m\|^2/\sum_i\|x_i\|^2$: $1/n$ for unrelated keys.
# `keeping` is $\rho$ with $A$ replacing $C^{-1}$.
#
# **Predict.** We remove one of 1,536 directions. By what fraction does the squared interference fall in layer 21?


# %%
def common(K, C):
    """K (d_in, n), C (d_in, d_in) -> n‖m‖² over the sum of squared lengths, of whitened keys, a number."""
    ...


def keeping(K, k0, C):
    """K (d_in, n), k0 (d_in,), C (d_in, d_in) -> ρ (n, n) of inserts that leave k0 alone."""
    ...


common = use("3.3", common)
keeping = use("3.3", keeping)
fall = guess("By what fraction does the squared interference fall, with one key kept?", 0, 1)

# %% [markdown]
# <details><summary>Hint</summary>
#
# With whitened keys $X$, $K^\top C^{-1}K = X^\top X$. What is the sum of all its entries, and of its diagonal?
#
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def common(K, C):
#     D = K.T @ torch.linalg.solve(C, K)  # x_i · x_j of the whitened keys
#     return D.mean() / D.diagonal().mean()
#
#
# def keeping(K, k0, C):
#     U, u0 = torch.linalg.solve(C, K), torch.linalg.solve(C, k0)
#     D = K.T @ U - torch.outer(K.T @ u0, u0 @ K) / (k0 @ u0)
#     return D / D.diagonal()[:, None]
# ```
#
# </details>

# %%
others = list(facts)[100:164]
upper = min(layers, key=lambda layer: abs(layer - 21))  # one of the layers with the largest overlap
keys = lm.keys([facts[name] for name in [*inner, *others]], layers)


def ways(layer, K, rest):  # {kept key: ρ} for the keys K, and their C
    C = lib.second_moment(lm, [layer], among=layers)[layer].C.cpu().double()
    kept = {"the mean of other subjects": rest.mean(1), "one other subject": rest[:, 0]}
    kept["a random direction"] = torch.linalg.cholesky(C) @ normal(width)
    found = {"nothing": memory.interference(K, C)}
    for name, k0 in kept.items():
        for i, f in enumerate(both(keeping).values()):
            found[name + i * ", yours"] = f(K, k0, C)
    return found, C


# %%
rms, in_common, falls = {}, [], []
for layer in layers:
    K, rest = keys[layer].cpu().double().split([len(inner), len(others)], dim=1)
    found, C = ways(layer, K, rest)
    for name, rho in found.items():
        rms.setdefault(name, []).append(float(shape(rho)[2]))
    in_common.append([float(f(K, C)) for f in both(common).values()])
    for tested, kept in ((K, rest), (rest, K))[: 1 + (layer == upper)]:
        if layer == upper:
            two = [shape(rho) for rho in list(ways(layer, tested, kept)[0].values())[:2]]
            falls.append(1 - float(two[1][2] / two[0][2]) ** 2)
            for name, (mean, sd, size, _) in zip(("nothing", "the mean"), two, strict=True):
                print(f"layer {layer}, {name} kept: mean {mean:.3f}, sd {sd:.3f}, rms {size:.3f}")
for i, whose in enumerate(both(common)):
    said = ", ".join(f"{100 * shares[i]:.0f}" for shares in in_common)
    print(f"fraction in the mean key, {whose}, in %: {said}; by chance {1 / len(inner):.0%}")
print("the squared interference falls by", " and ".join(f"{x:.0%}" for x in falls), "(two splits)")
fall.against(falls[0])
plot.layer_curve(layers, rms, "rms of ρ, with a key kept", edited)

# %% [markdown]
# **In the layers with the largest overlap, keeping one key removes more than half of the squared interference**, and
# still does after swapping the two sets of subjects. The mean of the overlaps falls to almost zero, while their spread
# stays the same. Not just any key works: keeping a random direction or a single other subject's key changes next to
# nothing. So there is a direction that most subjects have in common. In ROME's layer, where the mean key contains 2% of
# the squared lengths, there is little to remove.
#
# ## Which pairs are in the tail?
#
# **Predict.** Which subjects overlap most in layer 0, and which in the last layer?
#
# <details><summary>Answer</summary>
#
# In layer 0, subjects with the same *last token*, where the key is read (as in the published examples: Mayakovsky
# and Bukovsky). In the last layer, subjects of the same kind.
#
# </details>

# %%
rows, ids = [], {name: lookup(lm.tokenizer, facts[name]) for name in inner}
end = [ids[name][0][ids[name][1]] for name in inner]
print("pairs with the same last token:", sum(end.count(one) - 1 for one in end) // 2)
for layer in (0, edited, top):
    near = cosines(own[layer]).triu(1)
    best = [divmod(at, len(near)) for at in near.flatten().topk(30).indices.tolist()]
    same = sum(end[i] == end[j] for i, j in best)
    print(f"layer {layer}: of the 30 closest pairs {30 - same} have different last tokens")
    for place in near.flatten().topk(3).indices.tolist():
        pair = [inner[side] for side in divmod(place, len(near))]
        words = [lm.tokenizer.decode([ids[name][0][ids[name][1]]]).strip() for name in pair]
        row = {"layer": str(layer), "subjects": " · ".join(pair), "last tokens": " · ".join(words)}
        rows.append(row | {"cosine": near.flatten()[place].item()})
show.Table(rows)

# %% [markdown]
# Only two pairs have the same last token. In layer 0 they are far ahead of all others, and in the last layer just one
# of them is among the 30 closest.
#
# "The Eiffel Tower" ends in *Tower*, as other names do. Before any edit, $\rho$ predicts how much of an edit of the
# Eiffel Tower reaches six other places in ROME's layer, and your own fact. Then we move the tower to Rome, and ask
# the model where all of them are. The column "lands" shows the edit's actual contribution at each key, as a
# fraction of its contribution at the tower's own key.
#
# **Predict.** Which of the others are affected by the edit? And which will move to Rome with it?
#
# <details><summary>Answer</summary>
#
# Places with names ending in the same token are affected, and we know this before the edit. But we don't know which of
# them will move: that may depend on how firm the old answer was, and on the layers above.
#
# </details>

# %%
names = """The Eiffel Tower, The Leaning Tower, The Willis Tower, The Tokyo Tower, The Tower Bridge,
The Louvre, The Statue of Liberty"""
names = [" ".join(name.split()) for name in names.split(",")]
towers = [lib.Fact(name, "{} is located in the city of", "Rome") for name in names]
if (mine := own_fact.read()) is not None:
    towers.append(mine)
heard = overlaps(towers, [edited])[edited][0]
patch = lib.EDITORS["rome"](lm).edit(towers[:1], check=False)
a, b = patch.weights[lm.mlp_out(edited)].chunks[-1]  # ΔW = a b
landed = a @ (b @ lm.keys(towers, edited).cpu())  # ΔW k of every place
lands = (landed[:, 0] @ landed) / landed[:, 0].square().sum()  # as a fraction of the tower's
texts = [fact.text for fact in towers]
before = lm.answer(texts, 4)
with lm.patched(patch):
    after = lm.answer(texts, 4)
columns = "subject", "ρ", "lands", "before", "after"
values = [fact.subject for fact in towers], heard.tolist(), lands.tolist(), before, after
show.Table([dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)])

# %% [markdown]
# The Louvre receives next to nothing of the edit: it is in the same city as the tower, but its name doesn't contain the
# word. The three other names ending in *Tower* receive much of it, about as much as $\rho$ predicted. The effect on the
# answer is another matter. Two of the three move to Rome, and the Tower Bridge, which receives little, moves to Bristol. (The
# unedited model also did not know where two of the four are.) So before the edit, $\rho$ shows which places will be
# pushed, but not where they will end up. This is an example.
#
# ## From the token to the kind of thing
#
# Does the last token matter less in higher layers, and the kind of thing more? We use 42 names, such as Michael
# Jordan and the river Jordan, pairing them so that the two have the last token in common and little else. The
# classroom's subjects with the same relation are of the same kind, and most have no token in common. We put all of
# them into the same sentence, computing the mean cosine of the whitened keys over the pairs of each group. The
# shaded bands are 95% intervals, from a bootstrap over the names.

# %%
mixed = {name: lib.Fact(name, "Everybody has heard of {}", "?") for name in runs_07.NAMES + inner}
ends = [lookup(lm.tokenizer, fact)[0][-1] for fact in mixed.values()]
ends = torch.tensor(ends)[:, None] == torch.tensor(ends)[None]
kin = torch.tensor([[relation.get(a, a) == relation.get(b, b) for b in mixed] for a in mixed])
listed = torch.tensor([name not in relation for name in mixed])  # by us: some are of one kind
groups = {"same last token": ends, "same relation": kin & ~ends}
groups["neither"] = ~kin & ~ends & ~(listed[:, None] & listed)
by_layer = torch.stack([cosines(rho) for rho in overlaps(list(mixed.values())).values()])
curves, bands, draws = {}, {}, {}
for name, group in groups.items():
    curves[name], draws[name] = runs_07.over_names(by_layer, group)
    bands[name] = np.nanpercentile(draws[name], (2.5, 97.5), axis=0)
token, kind, _ = draws.values()  # the same draws of names, so the difference is paired
gaps = np.nanpercentile(token - kind, (2.5, 97.5), axis=0).T
for layer, (low, high) in zip(layers, gaps, strict=True):
    seen = (
        f"detects {1.43 * (high - low) / 2:.2f}"  # z of a power of .8 added: (1.96 + 0.84) / 1.96
    )
    print(f"layer {layer}: token less kind [{low:+.2f}, {high:+.2f}], {seen}")
plot.layer_curve(layers, curves, "mean cosine of whitened keys", edited, bands=bands)

# %% [markdown]
# In layer 0 a name *is* almost just its last token. Up to layer 6 the token counts for more than the kind. From
# layer 12 on, every printed interval contains 0, and a difference below about 0.2 would not have been detected.
#
# ## Which facts break?
#
# Now we put $\rho$ to the test. In a stored run, we write the 101 facts with odd numbers one after another, with
# equality constraints and one key each, as in the sum at the top, repeating this in three orders. The matrix $\rho$
# is known before any edit, so we make the prediction first: one number per fact, and the higher it is, the sooner
# the fact should break. The residuals are not known yet, so we treat them all as equally long and as pointing in
# unrelated directions, in which case squares add up.
#
# **Your turn · exercise 3.3, last step · ★★ · 6 minutes.** Write `forecast`: the length of the total contribution
# that each fact receives in the end.


# %%
def forecast(rho):
    """rho (n, n) in the order of the edits, row i is edit i -> one number per fact (n,)."""
    ...


forecast = use("3.3", forecast)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which edits can harm fact $j$ at all: the edits before it or the edits after it? And if residuals point in
# unrelated directions, do their signs matter?
#
# </details>
# <details><summary>Solution</summary>
#
# Only later edits, $i > j$, and the length of a sum of unrelated vectors is the root of the sum of
# their squares: $\sqrt{\sum_{i>j} \rho(i, j)^2}$.
#
# ```python
# def forecast(rho):
#     return rho.tril(-1).norm(dim=0)
# ```
#
# </details>
#
# A prediction has to beat a simpler **rival**. Our rival ignores the keys, counting how many edits came later. The
# older a fact, the more edits could have disturbed it.
#
# **Predict.** How far is a value shifted in the end, and how far does the probability of the new answer fall? Which
# of the two does $\rho$ predict better than the rival does, and by how much?
#
# <details><summary>Answer</summary>
#
# It predicts how far values are shifted, placing almost all of them in the right order, since the sum is exact and
# only the residuals are left out. It is less good at predicting how much an answer loses, because all the layers
# above come in between. In both cases it is ahead of the rival.
#
# </details>

# %%
well = guess("The rank correlation of ρ's prediction with the loss of the answers?", -1, 1)
fact_of = {case.id: case.fact for case in cases}
by_order = {}
for order, some in runs_07.orders().items():
    ids = [case.id for case in some][: 8 if SCALE == "tiny" else None]
    rho = overlaps([fact_of[i] for i in ids], [edited])[edited]
    by_order[order] = {whose: f(rho).tolist() for whose, f in both(forecast).items()}
    by_order[order]["edits that came later"] = list(range(len(ids), 0, -1))
    first = torch.tensor(next(iter(by_order[order].values()))).argsort(descending=True)[:3]
    print(f"{order} order, first to break:", ", ".join(fact_of[ids[i]].subject for i in first))

# %%
found = {
    f"rank correlation with {x}": {} for x in ("how far values shift", "how much answers lose")
}
rows, known = long_runs.rows("07_orders"), []
for row in rows:
    lost = [own - end for own, end in zip(row["own"], row["end"], strict=True)]
    three = next(iter(by_order[row["order"]].values())), row["wrong"], lost
    ten = [set(torch.tensor(x).argsort(descending=True)[:10].tolist()) for x in three]
    moved, fell = (len(ten[0] & one) for one in ten[1:])
    print(
        f"{row['order']} order: {sum(row['held'])} of {len(row['held'])} facts held, "
        f"{sum(lost) / len(lost):.2f} of a probability lost in the mean;\n"
        f"  of the ten predicted first, {moved} are among the ten shifted farthest, "
        f"{fell} among those that lost most"
    )
    for line, values in by_order[row["order"]].items():
        for what, truth in zip(found, (row["wrong"], lost), strict=True):
            r = runs_07.ranks(values, truth[: len(values)])
            found[what].setdefault(line.replace("the solution", "ρ"), []).append(r)
    known.append(runs_07.ranks(row["wrong"], lost))
for what, lines in found.items():
    mine, *_, rival = lines.values()
    gap = by_stream([a - b for a, b in zip(mine, rival, strict=True)])
    print("{}: ρ less the rival {:+.2f} [{:+.2f}, {:+.2f}]".format(what, *gap))
well.against(sum(mine) / len(mine))
lines["how far it was shifted"] = known
figures.dots(found, [f"{row['order']} order" for row in rows], flat=True, from_zero=True)

# %% [markdown]
# **$\rho$ puts the facts almost in the order of how far
# their values will be shifted.** The rival is not bad at it, since later edits add up whatever their keys, but $\rho$
# is ahead in each order. **It is less good at predicting how much an answer will lose, but still better than the rival
# in each order.** Both printed intervals exclude 0. Of the ten facts that it lists first, most are among the ten whose
# values shift farthest, and only two to four among the ten that lose most, where one would be expected by chance.
#
# The last line shows why no prediction of this kind can do much better. Even knowing how far each value has really
# been shifted would barely improve the ordering of the losses. The three orders contain the same facts, so the
# intervals apply to other orders of these facts, not to other facts.
#
# ## What we know now
#
# * Inserting facts one by one is lossless for all values only with orthogonal whitened keys, and no layer that we
#   examined has such keys. Writing a batch, or keeping keys, spares only the facts that the method is given.
# * Random keys overlap by $1/\sqrt d$. Real keys overlap several times as much: in low layers mainly because of the
#   last token, in the upper layers also because of the kind of thing.
# * Kurtosis shows whether overlap is spread evenly or concentrated in a few pairs, the rms how much of it there is.
#   Tails are even heavier for words of plain text, recurring or not. Above the lower layers the mean is not zero: subjects have a
#   component in common, and keeping one key removes most of it.
# * A prediction based on $\rho$ has to beat the count of the edits that came later. It does, for how far a value is
#   shifted and for how much an answer loses.
#
# ## Where it breaks
#
# What if ROME wrote the same 101 facts in layer 0, where a key is little but its last token? We count the facts at which
# more than half of a single other edit would arrive, and edit one of two subjects that end in *Nations*.

# %%
hundred = [fact_of[case.id] for case in runs_07.orders()["first"]]
pair = [facts[name] for name in ("The United Nations", "The Wealth of Nations")]
table = [{"layer": "unedited"} | {fact.text: lm.answer(fact.text, 4) for fact in pair}]
for layer, rho in overlaps(hundred, [0, edited]).items():
    hit, own = (rho.fill_diagonal_(0) > 0.5).any(0).sum(), overlaps(pair, [layer])[layer][0, 1]
    print(
        f"layer {layer}: ρ of the pair {own:.2f}; more than half arrives at {hit} of {len(rho)} facts"
    )
    patch = lib.EDITORS["rome"](lm, layer=layer).edit(pair[:1], check=False)
    with lm.patched(patch):
        table.append({"layer": str(layer)} | {fact.text: lm.answer(fact.text, 4) for fact in pair})
show.Table(table)

# %% [markdown]
# In layer 0 almost all of an edit of one reaches the other, whose answer changes. But few facts are hit in either layer.
# **Which layer fits which fact?** [Notebook 08](08_wilke.ipynb) answers this fact by fact.
#
# ## References
#
# * Hu, Cao, Chen, Liu, Zhao: *Knowledge in Superposition: Unveiling the Failures of Lifelong Knowledge
#   Editing for Large Language Models*, 2024, [arXiv:2408.07413](https://arxiv.org/abs/2408.07413).
# * Elhage et al.: *Toy Models of Superposition*, 2022,
#   [arXiv:2209.10652](https://arxiv.org/abs/2209.10652).
# * Welch: *Lower Bounds on the Maximum Cross Correlation of Signals*, 1974.
